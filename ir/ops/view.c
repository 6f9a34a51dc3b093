/* Views: reshape, permute, broadcast and slice. A view's element is one element of its operand,
 * found by index arithmetic alone.
 */
#include "ir/ops/rules.h"
#include <string.h>

static bool check_rank(int rank, Error *error) {
  return rank <= MAX_RANK || error_set(error, "%d axes are more than %d", rank, MAX_RANK);
}

/* ---- reshape ---- */

bool shape_reshape(const OpCall *call, Type *out, Error *error) {
  const int64_t *dim;
  int rank = call_attr(call, "shape")->n;
  if (!check_rank(rank, error) || !call_ints(call, "shape", -1, 1, &dim, error))
    return false;
  *out = type_of(call->in[0]->dtype, rank, dim);
  if (type_elements(out) != type_elements(call->in[0]))
    return error_set(error, "%lld elements do not fill %s", (long long)type_elements(call->in[0]),
                     type_text(out));
  return true;
}

void eval_reshape(const Node *node, double *const *in, double *const *out) {
  memcpy(out[0], in[0], sizeof(double) * (size_t)type_elements(out_type(node, 0)));
}

void grad_reshape(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  const Type *type = in_type(node, 0);
  if (need[0])
    din[0] = build_reshape(b, dout[0], type->rank, type->dim);
}

/* ---- permute ---- */

bool shape_permute(const OpCall *call, Type *out, Error *error) {
  const Type *x = call->in[0];
  const int64_t *perm;
  bool seen[MAX_RANK] = {false};
  if (!call_ints(call, "perm", x->rank, 0, &perm, error))
    return false;
  *out = *x;
  for (int i = 0; i < x->rank; i++) {
    if (perm[i] >= x->rank || seen[perm[i]])
      return error_set(error, "perm does not name each of the %d axes once", x->rank);
    seen[perm[i]] = true;
    out->dim[i] = x->dim[perm[i]];
  }
  return true;
}

static void gather(const Node *node, const double *in, double *out, int64_t base,
                   const int64_t *step) {
  const Type *type = out_type(node, 0);
  int64_t n = type_elements(type);
  Walk walk = walk_start(type, base, step);
  for (int64_t i = 0; i < n; i++)
    out[i] = in[walk_next(&walk)];
}

void eval_permute(const Node *node, double *const *in, double *const *out) {
  const int64_t *perm = node_ints(node, "perm", NULL);
  int64_t stride[MAX_RANK], step[MAX_RANK];
  type_strides(in_type(node, 0), stride);
  for (int i = 0; i < out_type(node, 0)->rank; i++)
    step[i] = stride[perm[i]];
  gather(node, in[0], out[0], 0, step);
}

void grad_permute(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  const int64_t *perm = node_ints(node, "perm", NULL);
  int64_t inverse[MAX_RANK] = {0};
  for (int i = 0; i < in_type(node, 0)->rank; i++)
    inverse[perm[i]] = i;
  if (need[0])
    din[0] = build_permute(b, dout[0], inverse);
}

/* ---- broadcast ---- */

bool shape_broadcast(const OpCall *call, Type *out, Error *error) {
  const Type *x = call->in[0];
  const int64_t *dim;
  if (!call_ints(call, "shape", x->rank, 1, &dim, error))
    return false;
  *out = type_of(x->dtype, x->rank, dim);
  for (int i = 0; i < x->rank; i++)
    if (x->dim[i] != dim[i] && x->dim[i] != 1)
      return error_set(error, "axis %d has %lld elements and does not stretch to %lld", i,
                       (long long)x->dim[i], (long long)dim[i]);
  return true;
}

void eval_broadcast(const Node *node, double *const *in, double *const *out) {
  const Type *x = in_type(node, 0);
  int64_t step[MAX_RANK];
  type_strides(x, step);
  for (int i = 0; i < x->rank; i++)
    if (x->dim[i] == 1)
      step[i] = 0;
  gather(node, in[0], out[0], 0, step);
}

void grad_broadcast(Builder *b, const Node *node, Value *const *dout, const bool *need,
                    Value **din) {
  if (need[0])
    din[0] = build_sum_to(b, dout[0], in_type(node, 0));
}

/* ---- slice ---- */

bool shape_slice(const OpCall *call, Type *out, Error *error) {
  const Type *x = call->in[0];
  const int64_t *start, *stop, *step;
  if (!call_ints(call, "start", x->rank, 0, &start, error) ||
      !call_ints(call, "stop", x->rank, 1, &stop, error) ||
      !call_ints(call, "step", x->rank, 1, &step, error))
    return false;
  *out = *x;
  for (int i = 0; i < x->rank; i++) {
    if (start[i] >= stop[i] || stop[i] > x->dim[i])
      return error_set(error, "axis %d: %lld..%lld is not a range within its %lld elements", i,
                       (long long)start[i], (long long)stop[i], (long long)x->dim[i]);
    out->dim[i] = (stop[i] - start[i] + step[i] - 1) / step[i];
  }
  return true;
}

void eval_slice(const Node *node, double *const *in, double *const *out) {
  const int64_t *start = node_ints(node, "start", NULL), *every = node_ints(node, "step", NULL);
  int64_t stride[MAX_RANK], step[MAX_RANK], base = 0;
  type_strides(in_type(node, 0), stride);
  for (int i = 0; i < out_type(node, 0)->rank; i++) {
    base += start[i] * stride[i];
    step[i] = stride[i] * every[i];
  }
  gather(node, in[0], out[0], base, step);
}

void grad_slice(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  const Type *x = in_type(node, 0), *y = out_type(node, 0);
  const int64_t *start = node_ints(node, "start", NULL), *step = node_ints(node, "step", NULL);
  int64_t after[MAX_RANK];
  if (!dout[0] || !need[0])
    return;
  for (int i = 0; i < x->rank; i++)
    after[i] = x->dim[i] - (start[i] + (y->dim[i] - 1) * step[i] + 1);
  Node *pad = build_node(b, "pad", 1, dout, "before", x->rank, start, "after", x->rank, after,
                         "step", x->rank, step, NULL);
  din[0] = pad ? &pad->out[0] : NULL;
}
