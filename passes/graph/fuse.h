/* Inside fusion: what fuse.c and its helpers share. */
#ifndef TRICOT_PASSES_GRAPH_FUSE_H
#define TRICOT_PASSES_GRAPH_FUSE_H
#include "passes/graph/common.h"
#include "passes/view_map.h"

enum { WORTH_REPEATING = 1 << 14 /* elements: smaller tensors stay in cache anyway */ };

typedef struct Region {
  Type space;
  bool has_anchor, folds_columns, sealed;
  int stage;            /* anchors in a chain after the first */
  int terms;            /* anchors beside the first whose results meet */
  unsigned folded_rows; /* mask of axes folded by row folds; 0: none */
  VEC(Node *) members;  /* in topological order */
  int not_before;       /* node id: the region is built when its turn comes, or when it is read */
  int state;            /* of the final ordering */
} Region;

typedef struct Fusion {
  Arena *arena;
  const Graph *graph;
  const Facts *facts;
  bool chains, statistics, orders, terms, prologues; /* are wanted */
  bool renew;          /* is wanted, and the graph updates something */
  bool *has_memory;    /* by value id: a view or constant that must be written out */
  Region **region;     /* by node id */
  Node ***maker;       /* by node id and operand: see fuse_maker */
  const Node **reader; /* by value id: the first node that reads it, through views or not */
  bool *many;          /* by value id: another node or an output reads it too */
  bool *post;          /* by node id: runs after its region's row fold */
  bool *stored;        /* by node id: a view that its operand's region stores */
  bool *lazy;          /* by node id: waits for its only reader */
  int *stage;          /* by node id: in a chain, the number of the anchor it follows */
  GraphMap map;
  bool *emitted;    /* by node id: region built */
  int *mark, marks; /* by node id: visit stamps for path searches */
} Fusion;

/* The tensor with memory, or the computed value, that a value is a view of. */
ViewMap fuse_resolve(Fusion *f, Value *value);
bool fuse_is_base(void *fusion, const Value *value); /* IsBaseFn: has it memory, or is computed? */
bool fuse_is_compute(const Fusion *f, const Node *node);
/* Once it is settled which views have memory: the node of some region that computes what operand i
 * is a view of, or NULL: it comes from outside. */
void fuse_find_makers(Fusion *f);
static inline Node *fuse_maker(const Fusion *f, const Node *node, int i) {
  return f->maker[node->id][i];
}
/* Does some path lead from one region to the other through a third? */
bool fuse_path_outside(Fusion *f, const Region *start, const Region *goal);
bool fuse_same_shape(const Type *a, const Type *b); /* whatever the element types */
/* Makes one region of two, where one kernel can compute both. */
bool fuse_merge(Fusion *f, Region *into, Region *from);
void fuse_siblings(Fusion *f);
void fuse_small(Fusion *f);
/* Joins a contraction, alone in its region yet, to the region that computes its left operand. */
bool fuse_chain(Fusion *f, Node *node);

/* Joins a gradient of weights, alone in its region yet, to the elementwise region that computes
 * what it sums. */
bool fuse_prologue(Fusion *f, Node *node);
/* May two regions with anchors become one whose results meet in the same kernel? */
bool fuse_terms_meet(const Fusion *f, const Region *a, const Region *b);

/* Does the op give its region the shape of its loops (contractions, windows, indexing, moves)? */
bool op_anchors(const Node *node);
/* fuse_order.c: has the region that computes what `view` shows store it as the view's own memory.
 */
bool fuse_store(Fusion *f, Node *view);
/* May an anchor collect the columns of operand i itself, although they lie apart in memory? */
bool fuse_gathers(const Fusion *f, const Node *node, int i, const ViewMap *map);
/* A region that is one view whose elements lie in memory as they should: becomes a reshape. */
bool fuse_rename(Fusion *f, const Region *region);
bool fuse_updates(const Graph *graph); /* Does it update any persistent tensor? */
/* Is the node a view of a parameter that is to be kept from call to call? */
bool fuse_keeps(const Fusion *f, const Node *node);
/* The graph with outputs that renew the views of parameters which need memory. */
Graph *fuse_add_renewals(PassContext *context, Fusion *f);
/* The graph with cheap results repeated beside each reader that can absorb them. */
Graph *fuse_repeat_cheap(PassContext *context, const Graph *graph);
/* By node id: waits for its only reader and joins what that joins. */
bool *fuse_find_lazy(const Graph *graph, Arena *arena);
#endif
