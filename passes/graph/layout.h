/* Between the files of the layout pass: how the new graph holds values of the old one.
 *
 *   layout.c          the walk; elementwise ops and the other ops that work in any order of axes
 *   layout_reshape.c  ops through which a reshape can be carried: other reshapes, row-wise products
 *   layout_spatial.c  spatial ops as tap ops on channels-last tensors
 */
#ifndef TRICOT_PASSES_GRAPH_LAYOUT_H
#define TRICOT_PASSES_GRAPH_LAYOUT_H
#include "passes/graph/common.h"

/* An order of axes: a value in it is v with value = reshape(permute(v, perm), the value's type);
 * view is the shape of permute(v, perm). Direct when view is the value's own shape. */
typedef struct Order {
  Type view;
  int64_t perm[MAX_RANK];
} Order;

typedef struct Seen {
  Value *base; /* the old value in this order */
  Order order;
} Seen;

typedef struct Layout {
  Arena *arena;
  Seen *seen;       /* by old value id */
  const bool *data; /* by old value id: changes from call to call */
  Map usual;        /* by shape: the Order in which data of that shape was last seen */
} Layout;

static inline Seen *layout_seen(const Layout *layout, const Value *old) {
  return &layout->seen[old->id];
}
Order order_of_author(const Type *type);
/* Direct, axis i of the value being axis perm[i] of base. */
Order order_direct(const Type *type, const int64_t *perm);
bool order_is_authors(const Order *order, const Type *type);
bool order_is_direct(const Order *order, const Type *type);

/* The old value in an order, moved there if need be. */
Value *layout_get(Layout *layout, Builder *b, const Value *old, const Order *order);
Value *layout_get_plain(Layout *layout, Builder *b, const Value *old);
/* What layout_get would move: 0 nothing of size, 1 something computed from parameters, 4 data. */
int layout_cost(const Layout *layout, const Value *old, const Order *order);
void layout_set(Layout *layout, const Value *old, Value *base, const Order *order);

/* These return false when the op needs the author's order. */
bool layout_reshape(Layout *layout, Builder *b, const Node *old);
bool layout_permute(Layout *layout, const Node *old);
bool layout_reduce_folded(Layout *layout, Builder *b, const Node *old);
bool layout_broadcast_folded(Layout *layout, Builder *b, const Node *old);
bool layout_matmul(Layout *layout, Builder *b, const Node *old);

/* Rewrites a node with OPF_SPATIAL into tap ops on [N,A0,A1,A2,C] tensors. */
void layout_spatial(Layout *layout, Builder *b, const Node *old);
#endif
