/* Between the two files of the layout pass: values of the old graph and the order of axes in which
 * the new graph holds them. */
#ifndef TRICOT_PASSES_GRAPH_LAYOUT_H
#define TRICOT_PASSES_GRAPH_LAYOUT_H
#include "passes/graph/common.h"

/* An old value is permute(base, perm): its axis i is axis perm[i] of base. */
typedef struct Seen {
  Value *base;
  int64_t perm[MAX_RANK];
} Seen;

typedef struct Layout {
  Arena *arena;
  Seen *seen;       /* by old value id */
  const bool *data; /* by old value id: changes from call to call */
} Layout;

/* The value v for which old = permute(v, perm); NULL perm: old's own order. */
Value *layout_get(Layout *layout, Builder *b, const Value *old, const int64_t *perm);
/* Records that old = permute(base, perm); NULL perm: base is in old's own order. */
void layout_set(Layout *layout, const Value *old, Value *base, const int64_t *perm);

/* Rewrites a node with OPF_SPATIAL into tap ops on [N,A0,A1,A2,C] tensors. */
void layout_spatial(Layout *layout, Builder *b, const Node *old);
#endif
