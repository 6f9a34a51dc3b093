/* Elementwise composites: relu, leaky_relu, sigmoid and the exact gelu.
 *
 * At the kink relu and leaky_relu take the left slope, as is customary.
 */
#include "ir/ops/rules.h"
#include <math.h>
#include <string.h>

static double relu(double x, double slope) { return (void)slope, x >= 0 || isnan(x) ? x : 0; }
static double leaky_relu(double x, double slope) { return x > 0 ? x : slope * x; }
static double sigmoid(double x, double slope) { return (void)slope, 1 / (1 + exp(-x)); }
static double gelu(double x, double slope) {
  return (void)slope, 0.5 * x * (1 + erf(x * M_SQRT1_2));
}

void eval_activation(const Node *node, double *const *in, double *const *out) {
  static const struct {
    const char *name;
    double (*call)(double, double);
  } rows[] = {{"relu", relu}, {"leaky_relu", leaky_relu}, {"sigmoid", sigmoid}, {"gelu", gelu}};
  double slope = op_attr_index(node->op, "slope") >= 0 ? node_float(node, "slope") : 0;
  int64_t n = type_elements(out_type(node, 0));
  for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
    if (strcmp(rows[row].name, node->op->name) != 0)
      continue;
    for (int64_t i = 0; i < n; i++)
      out[0][i] = rows[row].call(in[0][i], slope);
    return;
  }
  FAULT("activation %s has no evaluation", node->op->name);
}

static Value *positive(Builder *b, Value *x) {
  return build_binary(b, "lt", build_like(b, 0, x), x);
}

void expand_relu(Builder *b, const Node *old, Value *const *in, Value **out) {
  (void)old;
  out[0] = build_binary(b, "max", in[0], build_like(b, 0, in[0]));
}

void grad_relu(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  if (need[0])
    din[0] = keep_where(b, positive(b, node->in[0]), dout[0]);
}

void expand_leaky_relu(Builder *b, const Node *old, Value *const *in, Value **out) {
  Value *scaled = build_scale(b, in[0], node_float(old, "slope"));
  out[0] = build_select(b, positive(b, in[0]), in[0], scaled);
}

void grad_leaky_relu(Builder *b, const Node *node, Value *const *dout, const bool *need,
                     Value **din) {
  if (dout[0] && need[0])
    din[0] = build_select(b, positive(b, node->in[0]), dout[0],
                          build_scale(b, dout[0], node_float(node, "slope")));
}

void expand_sigmoid(Builder *b, const Node *old, Value *const *in, Value **out) {
  (void)old;
  Value *e = build_unary(b, "exp", build_unary(b, "neg", in[0]));
  out[0] = over(b, build_like(b, 1, in[0]), build_offset(b, e, 1));
}

void grad_sigmoid(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  Value *y = &node->out[0];
  if (dout[0] && need[0])
    din[0] = times(b, dout[0], minus(b, y, times(b, y, y)));
}

/* 1 + erf(x/sqrt 2): twice the normal distribution function. */
static Value *twice_phi(Builder *b, Value *x) {
  return build_offset(b, build_unary(b, "erf", build_scale(b, x, M_SQRT1_2)), 1);
}

void expand_gelu(Builder *b, const Node *old, Value *const *in, Value **out) {
  (void)old;
  out[0] = times(b, build_scale(b, in[0], 0.5), twice_phi(b, in[0]));
}

void grad_gelu(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  Value *x = node->in[0];
  if (!dout[0] || !need[0])
    return;
  Value *bell = build_unary(b, "exp", build_scale(b, times(b, x, x), -0.5));
  Value *density = build_scale(b, bell, 0.5 * M_SQRT1_2 * M_2_SQRTPI);
  Value *slope = plus(b, build_scale(b, twice_phi(b, x), 0.5), times(b, x, density));
  din[0] = times(b, dout[0], slope);
}
