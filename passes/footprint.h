/* What a lowered graph takes in memory: a home for every value, and how long it is needed.
 *
 * Parameters, buffers and state live in persistent memory; what an entry point without updates
 * derives from those alone in its prepared memory, for good; everything else in the arena, by
 * lifetime. Steps are nodes: node n runs at step n, inputs are there from step -1 on.
 *
 * An updated tensor is written over the old one when the region that computes it reads that element
 * by element and nobody reads it later. In the same way a value of the arena is written over an
 * operand that is read for the last time.
 */
#ifndef TRICOT_PASSES_FOOTPRINT_H
#define TRICOT_PASSES_FOOTPRINT_H
#include "ir/graph.h"
#include "passes/memory_plan.h"

typedef enum HomeKind {
  HOME_NONE,
  HOME_PERSISTENT,
  HOME_VIEW, /* of a parameter, persistent too (docs/plan.md, Views) */
  HOME_ARENA,
  HOME_PREPARED
} HomeKind;

typedef struct Home {
  HomeKind kind;
  int at; /* PERSISTENT: number of the graph's input; VIEW: node that makes it; else of a slot */
} Home;

/* The slots of one memory, and what each is for. */
typedef struct Holding {
  VEC(MemorySlot) slots;
  VEC(MemoryNote) notes;
} Holding;

typedef struct Footprint {
  Arena *arena;
  const Graph *graph;
  bool *prepared;  /* by value id: depends on persistent tensors alone */
  Home *home;      /* by value id */
  int *last_use;   /* by value id: step; MEMORY_FOREVER for outputs */
  Home *output;    /* by output: where it is at the end; the old tensor of one that is replaced */
  int guard_node;  /* the last node that loss and grad_norm need, -1: nothing to guard */
  Holding kept, derived; /* arena and prepared memory */
} Footprint;

/* Homes of the graph's inputs. With `whole`, inputs are kept as they are given, feeds or not. */
void footprint_start(Footprint *f, Arena *arena, const Graph *graph, bool whole);
/* Homes of all values, and of the outputs. */
void footprint_values(Footprint *f);
/* Instead: the whole graph is one step, which writes every output to a home of its own; they go to
 * written[]. */
void footprint_outputs_apart(Footprint *f, Home *written);
/* A home for something that is needed from step `first` to step `last`. */
Home footprint_add(Footprint *f, bool prepared, const Type *type, int first, int last,
                   const char *name, Loc loc);
/* The node that keeps input `value` compact, or NULL. */
const Node *footprint_feed(const Graph *graph, const Value *value);
/* Bytes of the persistent tensors and views the graph names, after footprint_values. */
int64_t footprint_persistent(const Footprint *f);
#endif
