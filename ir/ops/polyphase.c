/* The polyphase components of a tensor (Vaidyanathan, "Multirate digital filters, filter banks,
 * polyphase networks, and applications: a tutorial", 1990): the elements whose indices leave given
 * rests when divided by the strides, dense and side by side. An op that reads a tensor with these
 * strides reads its components without.
 */
#include "ir/ops/rules.h"

bool shape_polyphase(const OpCall *call, Type *out, Error *error) {
  const Type *x = call->in[0];
  const int64_t *stride, *phases;
  int64_t axis = call_int(call, "axis");
  int n = call_attr(call, "phases")->n;
  if (!call_ints(call, "stride", x->rank, 1, &stride, error) ||
      !call_ints(call, "phases", -1, 0, &phases, error))
    return false;
  if (axis < 0 || axis >= x->rank)
    return error_set(error, "there is no axis %lld", (long long)axis);
  if (n == 0 || n % x->rank)
    return error_set(error, "phases has %d numbers, which is no multiple of %d", n, x->rank);
  for (int i = 0; i < n; i++)
    if (phases[i] >= stride[i % x->rank] || phases[i] >= x->dim[i % x->rank])
      return error_set(error, "phase %lld is not below its stride and the size of its axis",
                       (long long)phases[i]);
  *out = *x;
  for (int a = 0; a < x->rank; a++)
    out->dim[a] = (x->dim[a] + stride[a] - 1) / stride[a];
  out->dim[axis] *= n / x->rank;
  return true;
}

void eval_polyphase(const Node *node, double *const *in, double *const *out) {
  const Type *x = in_type(node, 0), *y = out_type(node, 0);
  const int64_t *stride = node_ints(node, "stride", NULL), axis = node_int(node, "axis");
  int n;
  const int64_t *phases = node_ints(node, "phases", &n);
  int64_t step[MAX_RANK], all = type_elements(y), count = n / x->rank;
  type_strides(x, step);
  Walk walk = walk_start(y, 0, step); /* for its indices */
  for (int64_t i = 0; i < all; i++, walk_next(&walk)) {
    const int64_t *phase = phases + walk.index[axis] % count * x->rank;
    int64_t from = 0;
    bool inside = true;
    for (int a = 0; a < x->rank; a++) {
      int64_t place = a == axis ? walk.index[a] / count : walk.index[a];
      place = place * stride[a] + phase[a];
      inside &= place < x->dim[a];
      from += place * step[a];
    }
    out[0][i] = inside ? in[0][from] : 0;
  }
}

/* Each component is a slice, with zeros up to the common size; a new axis behind `axis` joins them.
 */
void expand_polyphase(Builder *b, const Node *old, Value *const *in, Value **out) {
  const Type *x = &in[0]->type, *y = out_type(old, 0);
  const int64_t *stride = node_ints(old, "stride", NULL), axis = node_int(old, "axis");
  int n, rank = x->rank;
  const int64_t *phases = node_ints(old, "phases", &n);
  int64_t count = n / rank, zero[MAX_RANK] = {0}, one[MAX_RANK], apart[MAX_RANK];
  Value **parts = ARENA_ARRAY(b->graph->arena, Value *, count);
  for (int a = 0; a < rank; a++) { /* [.., places of axis, 1, ..], joined along the 1 */
    one[a] = 1;
    apart[a + (a > axis)] = a == axis ? y->dim[a] / count : y->dim[a];
  }
  apart[axis + 1] = 1;
  for (int64_t p = 0; p < count; p++) {
    int64_t after[MAX_RANK], missing = 0;
    Value *part = &build_node(b, "slice", 1, in, "start", rank, phases + p * rank, "stop", rank,
                              x->dim, "step", rank, stride, NULL)
                       ->out[0];
    for (int a = 0; a < rank; a++)
      missing += after[a] = apart[a + (a > axis)] - part->type.dim[a];
    if (missing)
      part = &build_node(b, "pad", 1, &part, "before", rank, zero, "after", rank, after, "step",
                         rank, one, NULL)
                  ->out[0];
    parts[p] = build_reshape(b, part, rank + 1, apart);
  }
  Value *joined = parts[0];
  if (count > 1)
    joined = &build_node(b, "concat", (int)count, parts, "axis", axis + 1, NULL)->out[0];
  out[0] = build_reshape(b, joined, rank, y->dim);
}
