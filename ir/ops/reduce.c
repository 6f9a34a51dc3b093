/* Reductions: fold over axes, which stay with size 1. No axes at all: the operand unchanged. */
#include "ir/ops/rules.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool shape_reduce(const OpCall *call, Type *out, Error *error) {
  const Type *x = call->in[0];
  const int64_t *axes;
  bool seen[MAX_RANK] = {false};
  if (!call_ints(call, "axes", -1, 0, &axes, error))
    return false;
  if (call->op->cls == OP_COMPOSITE && !want_float(call, 0, error))
    return false;
  *out = *x;
  for (int i = 0; i < call_attr(call, "axes")->n; i++) {
    if (axes[i] >= x->rank)
      return error_set(error, "there is no axis %lld", (long long)axes[i]);
    if (seen[axes[i]])
      return error_set(error, "axis %lld is named twice", (long long)axes[i]);
    seen[axes[i]] = true;
    out->dim[axes[i]] = 1;
  }
  return true;
}

void eval_reduce(const Node *node, double *const *in, double *const *out) {
  const Type *x = in_type(node, 0), *y = out_type(node, 0);
  bool largest = strcmp(node->op->name, "reduce_max") == 0;
  bool mean = strcmp(node->op->name, "reduce_mean") == 0;
  int64_t step[MAX_RANK], n = type_elements(x), kept = type_elements(y);
  type_strides(y, step);
  for (int i = 0; i < x->rank; i++)
    if (y->dim[i] != x->dim[i])
      step[i] = 0;
  for (int64_t i = 0; i < kept; i++)
    out[0][i] = largest ? -INFINITY : 0;
  Walk walk = walk_start(x, 0, step);
  for (int64_t i = 0; i < n; i++) {
    double *at = &out[0][walk_next(&walk)];
    if (!largest)
      *at += in[0][i];
    else if (in[0][i] > *at || isnan(in[0][i]))
      *at = in[0][i];
  }
  for (int64_t i = 0; i < kept && mean; i++)
    out[0][i] /= (double)(n / kept);
}

void eval_variance(const Node *node, double *const *in, double *const *out) {
  const Type *x = in_type(node, 0), *y = out_type(node, 0);
  int64_t step[MAX_RANK], n = type_elements(x), kept = type_elements(y);
  type_strides(y, step);
  for (int i = 0; i < x->rank; i++)
    if (y->dim[i] != x->dim[i])
      step[i] = 0;
  double *mean = mem_alloc(sizeof(double) * (size_t)kept), share = (double)kept / (double)n;
  for (int64_t i = 0; i < kept; i++)
    mean[i] = out[0][i] = 0;
  Walk walk = walk_start(x, 0, step);
  for (int64_t i = 0; i < n; i++)
    mean[walk_next(&walk)] += in[0][i] * share;
  walk = walk_start(x, 0, step);
  for (int64_t i = 0; i < n; i++) {
    int64_t at = walk_next(&walk);
    double distance = in[0][i] - mean[at];
    out[0][at] += distance * distance * share;
  }
  free(mean);
}

/* 2 (x - mean) / n */
void grad_variance(Builder *b, const Node *node, Value *const *dout, const bool *need,
                   Value **din) {
  Value *x = node->in[0];
  int n_axes;
  const int64_t *axes = node_ints(node, "axes", &n_axes);
  double count = (double)(type_elements(&x->type) / type_elements(out_type(node, 0)));
  if (!dout[0] || !need[0])
    return;
  Value *mean = build_scale(b, build_reduce(b, "reduce_sum", x, n_axes, axes), 1 / count);
  Value *distance = minus(b, x, mean);
  din[0] = times(b, distance, build_scale(b, dout[0], 2 / count));
}

void grad_reduce_sum(Builder *b, const Node *node, Value *const *dout, const bool *need,
                     Value **din) {
  if (need[0])
    din[0] = stretch(b, dout[0], in_type(node, 0));
}

void grad_reduce_max(Builder *b, const Node *node, Value *const *dout, const bool *need,
                     Value **din) {
  Value *x = node->in[0];
  int n_axes;
  const int64_t *axes = node_ints(node, "axes", &n_axes);
  if (!dout[0] || !need[0])
    return;
  Value *equal = build_binary(b, "eq", x, &node->out[0]);
  Value *ones = keep_where(b, equal, build_like(b, 1, x));
  Value *share = over(b, dout[0], build_reduce(b, "reduce_sum", ones, n_axes, axes));
  din[0] = keep_where(b, equal, stretch(b, share, &x->type));
}

void expand_reduce_mean(Builder *b, const Node *old, Value *const *in, Value **out) {
  int n_axes;
  const int64_t *axes = node_ints(old, "axes", &n_axes);
  out[0] = build_mean(b, in[0], n_axes, axes);
}

void grad_reduce_mean(Builder *b, const Node *node, Value *const *dout, const bool *need,
                      Value **din) {
  double count = (double)(type_elements(in_type(node, 0)) / type_elements(out_type(node, 0)));
  if (need[0])
    din[0] = stretch(b, build_scale(b, dout[0], 1 / count), in_type(node, 0));
}
