/* Between the files of pass remat, which makes a graph of regions fit a memory budget.
 *
 *   remat.c         the pass: tries orders and copies until the plan fits; the error when none does
 *   remat_load.c    what a graph takes: its memory plan, and what is alive step by step
 *   remat_order.c   an order of the nodes in which results that free more than they take come early
 *   remat_choose.c  which value to compute again, and where
 */
#ifndef TRICOT_PASSES_GRAPH_REMAT_H
#define TRICOT_PASSES_GRAPH_REMAT_H
#include "passes/footprint.h"
#include "passes/graph/common.h"

/* Scratch that the kernels of a region need; bodies are shared by copies of their nodes. */
typedef struct Scratch {
  const Graph *body;
  int count;
  const Type *types;
} Scratch;

typedef struct ScratchTable {
  Arena *arena;
  const Facts *facts;
  VEC(Scratch) entries;
  int *slots; /* entry number + 1 by hash of the body's address; 0: free */
  int room;
} ScratchTable;

typedef VEC(int) Readers; /* node ids, ascending; last MEMORY_FOREVER where it is an output */

/* A graph and what it takes. Bytes are rounded to MEMORY_ALIGNMENT. */
typedef struct Load {
  const Graph *graph;
  Footprint memory;  /* with scratch, in the order in which lowering adds it */
  int64_t *alive;    /* by node id: in the arena while it runs */
  int64_t *through;  /* by node id: of these, all but its own results and scratch */
  int64_t *scratch;  /* by node id */
  int64_t most;      /* of alive */
  int peak;          /* the first step that has it */
  Readers *readers;  /* by value id of what has memory: nodes that read it, views seen through */
  int64_t fixed;     /* persistent and prepared memory */
} Load;

Load load_of(Arena *arena, const Graph *graph, ScratchTable *scratch);
/* The size of the arena after planning. */
int64_t load_plan(Load *load, Arena *arena);
/* The value whose memory a value is seen in. */
const Value *load_base(const Value *value);
int64_t value_bytes(const Value *value);

/* The graph with its nodes in another order; never more is alive than before but for scratch. */
Graph *remat_order(const Load *load, Arena *arena);

/* One choice. */
typedef struct Choice {
  const Value *value; /* NULL: nothing helps */
  double cost;        /* in bytes moved; operations count as bytes that take as long */
} Choice;

/* The best value to compute again so that less is alive above `target` bytes, and the graph with it
 * done; names in `banned` are left alone. `thrift` is the power to which costs count: 0 looks at
 * memory alone. New bodies of regions go to `bodies`. */
Graph *remat_choose(const Load *load, Arena *arena, Arena *bodies, int64_t target, double thrift,
                    const Map *banned, Choice *choice);
#endif
