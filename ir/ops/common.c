/* Helpers of the op rules, and the rules that belong to no family. See rules.h. */
#include "ir/ops/rules.h"

/* ---- shape rules ---- */

int64_t call_int(const OpCall *call, const char *name) { return call_attr(call, name)->i; }

bool call_ints(const OpCall *call, const char *name, int count, int64_t least, const int64_t **ints,
               Error *error) {
  const Attr *attr = call_attr(call, name);
  if (count >= 0 && attr->n != count)
    return error_set(error, "%s wants %d numbers, got %d", name, count, attr->n);
  for (int i = 0; i < attr->n; i++)
    if (attr->ints[i] < least)
      return error_set(error, "%s has %lld, the least possible is %lld", name,
                       (long long)attr->ints[i], (long long)least);
  *ints = attr->ints;
  return true;
}

bool want_type(const OpCall *call, int i, const char *what, const Type *type, Error *error) {
  if (type_equal(call->in[i], type))
    return true;
  return error_set(error, "%s is %s, expected %s", what, type_text(call->in[i]), type_text(type));
}

bool want_float(const OpCall *call, int i, Error *error) {
  if (dtype_is_float(call->in[i]->dtype))
    return true;
  return error_set(error, "wants a floating-point operand, got %s", type_text(call->in[i]));
}

Type type_of(Dtype dtype, int rank, const int64_t *dim) {
  Type type = {.dtype = dtype, .rank = rank};
  for (int i = 0; i < rank; i++)
    type.dim[i] = dim[i];
  return type;
}

/* ---- evaluation ---- */

int64_t dim_product(const Type *type, int from, int to) {
  int64_t product = 1;
  for (int i = from; i < to; i++)
    product *= type->dim[i];
  return product;
}

void type_strides(const Type *type, int64_t *stride) {
  int64_t step = 1;
  for (int i = type->rank - 1; i >= 0; i--) {
    stride[i] = step;
    step *= type->dim[i];
  }
}

Walk walk_start(const Type *shape, int64_t base, const int64_t *step) {
  Walk walk = {.rank = shape->rank, .at = base};
  for (int i = 0; i < shape->rank; i++) {
    walk.dim[i] = shape->dim[i];
    walk.step[i] = step[i];
  }
  return walk;
}

int64_t walk_next(Walk *walk) {
  int64_t at = walk->at;
  for (int i = walk->rank - 1; i >= 0; i--) {
    walk->at += walk->step[i];
    if (++walk->index[i] < walk->dim[i])
      break;
    walk->at -= walk->dim[i] * walk->step[i];
    walk->index[i] = 0;
  }
  return at;
}

/* ---- gradients ---- */

Value *stretch(Builder *b, Value *x, const Type *like) {
  return build_broadcast(b, x, like->rank, like->dim);
}

Value *build_mean(Builder *b, Value *x, int n_axes, const int64_t *axes) {
  if (!x)
    return NULL;
  double count = 1;
  for (int i = 0; i < n_axes; i++)
    count *= (double)x->type.dim[axes[i]];
  return build_scale(b, build_reduce(b, "reduce_sum", x, n_axes, axes), 1 / count);
}

Value *keep_where(Builder *b, Value *condition, Value *x) {
  return x ? build_select(b, condition, x, build_like(b, 0, x)) : NULL;
}

void grad_none(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  (void)b, (void)dout, (void)need, (void)din;
  FAULT("op %s has no gradient rule", node->op->name);
}

void grad_zero(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  (void)b, (void)node, (void)dout, (void)need, (void)din;
}

/* ---- FLOPs ---- */

double flops_zero(const Node *node) {
  (void)node;
  return 0;
}

double flops_norm(const Node *node) { return 5 * (double)type_elements(in_type(node, 0)); }
