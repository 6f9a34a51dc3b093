/* View maps: a chain of views as one affine map from coordinates to coordinates.
 *
 * A VIEW op (permute, broadcast, slice, reshape) moves no data if its reader can compute where the
 * data is. A ViewMap says, for a value reached from a `base` tensor (something with memory of its
 * own) through views, where the element at the value's coordinates v lives in the base:
 *
 *     base coordinate b = offset[b] + sum over d of factor[b][d] * v[d]
 *
 * Reshapes are affine where they merge axes on the way to the base; a reshape that splits an axis
 * is absorbed only directly at the base, by reading the base's memory as the reshaped type.
 */
#ifndef TRICOT_PASSES_VIEW_MAP_H
#define TRICOT_PASSES_VIEW_MAP_H
#include "ir/op.h"

typedef struct ViewMap {
  Value *base; /* the tensor with memory */
  Type type;   /* how its memory is read: same elements, maybe another shape */
  int rank;    /* of the value the map starts from */
  int64_t offset[MAX_RANK];
  int64_t factor[MAX_RANK][MAX_RANK]; /* [base dim][value dim] */
} ViewMap;

/* Is this value a tensor with memory of its own? */
typedef bool IsBaseFn(void *context, const Value *value);

/* Walks up from `value` to its base. False when some reshape on the way cannot be absorbed; then
 * *stuck is the operand of that reshape (which, given memory of its own, would solve it). */
bool view_map_resolve(Value *value, IsBaseFn *is_base, void *context, ViewMap *map, Value **stuck);

/* Element stride in the base's memory of each of the value's dimensions, and of the origin. */
int64_t view_map_stride(const ViewMap *map, int dim);
int64_t view_map_origin(const ViewMap *map);
/* The map moves nothing: the value's elements are the base's memory from the start, in order. */
bool view_map_is_dense(const ViewMap *map, const Type *value);
/* Every base dimension is exactly one of the value's dimensions or fixed at 0 with extent 1:
 * reading outside the value is reading outside the base. */
bool view_map_keeps_bounds(const ViewMap *map, const Type *value);
/* Every base dimension is exactly one of the value's dimensions, from some place on, or fixed at
 * one place: what computes base elements one by one can store those of the value. */
bool view_map_selects(const ViewMap *map, const Type *value);
#endif
