/* Data movement that is not a view: concat and pad. Each operand element lands in one place of the
 * result.
 */
#include "ir/ops/rules.h"

static void scatter(const Type *from, const double *in, double *out, int64_t base,
                    const int64_t *step) {
  int64_t n = type_elements(from);
  Walk walk = walk_start(from, base, step);
  for (int64_t i = 0; i < n; i++)
    out[walk_next(&walk)] = in[i];
}

/* ---- concat ---- */

bool shape_concat(const OpCall *call, Type *out, Error *error) {
  int64_t axis = call_int(call, "axis");
  *out = *call->in[0];
  if (axis < 0 || axis >= out->rank)
    return error_set(error, "there is no axis %lld", (long long)axis);
  for (int i = 1; i < call->n_in; i++) {
    Type other = *call->in[i];
    if (other.rank != out->rank)
      return error_set(error, "operand %d has %d axes, the first has %d", i + 1, other.rank,
                       out->rank);
    int64_t length = other.dim[axis];
    other.dim[axis] = out->dim[axis];
    if (!type_equal(&other, out))
      return error_set(error, "operand %d differs from the first beyond axis %lld", i + 1,
                       (long long)axis);
    out->dim[axis] += length;
  }
  return true;
}

void eval_concat(const Node *node, double *const *in, double *const *out) {
  int64_t axis = node_int(node, "axis"), step[MAX_RANK], start = 0;
  type_strides(out_type(node, 0), step);
  for (int i = 0; i < node->n_in; i++) {
    scatter(in_type(node, i), in[i], out[0], start * step[axis], step);
    start += in_type(node, i)->dim[axis];
  }
}

void grad_concat(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  const Type *y = out_type(node, 0);
  int64_t axis = node_int(node, "axis"), start[MAX_RANK] = {0}, step[MAX_RANK];
  if (!dout[0])
    return;
  for (int i = 0; i < y->rank; i++)
    step[i] = 1;
  for (int i = 0; i < node->n_in; i++) {
    Type stop = *y;
    stop.dim[axis] = start[axis] + in_type(node, i)->dim[axis];
    if (need[i]) {
      Node *slice = build_node(b, "slice", 1, dout, "start", y->rank, start, "stop", y->rank,
                               stop.dim, "step", y->rank, step, NULL);
      din[i] = slice ? &slice->out[0] : NULL;
    }
    start[axis] = stop.dim[axis];
  }
}

/* ---- pad ---- */

bool shape_pad(const OpCall *call, Type *out, Error *error) {
  const Type *x = call->in[0];
  const int64_t *before, *after, *step;
  if (!call_ints(call, "before", x->rank, 0, &before, error) ||
      !call_ints(call, "after", x->rank, 0, &after, error) ||
      !call_ints(call, "step", x->rank, 1, &step, error))
    return false;
  *out = *x;
  for (int i = 0; i < x->rank; i++)
    out->dim[i] = before[i] + (x->dim[i] - 1) * step[i] + 1 + after[i];
  return true;
}

void eval_pad(const Node *node, double *const *in, double *const *out) {
  const Type *y = out_type(node, 0);
  const int64_t *before = node_ints(node, "before", NULL), *every = node_ints(node, "step", NULL);
  int64_t stride[MAX_RANK], step[MAX_RANK], base = 0, n = type_elements(y);
  double value = node_float(node, "value");
  type_strides(y, stride);
  for (int i = 0; i < y->rank; i++) {
    base += before[i] * stride[i];
    step[i] = stride[i] * every[i];
  }
  for (int64_t i = 0; i < n; i++)
    out[0][i] = value;
  scatter(in_type(node, 0), in[0], out[0], base, step);
}

void grad_pad(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  const Type *x = in_type(node, 0);
  const int64_t *before = node_ints(node, "before", NULL), *step = node_ints(node, "step", NULL);
  int64_t stop[MAX_RANK];
  if (!dout[0] || !need[0])
    return;
  for (int i = 0; i < x->rank; i++)
    stop[i] = before[i] + (x->dim[i] - 1) * step[i] + 1;
  Node *slice = build_node(b, "slice", 1, dout, "start", x->rank, before, "stop", x->rank, stop,
                           "step", x->rank, step, NULL);
  din[0] = slice ? &slice->out[0] : NULL;
}
