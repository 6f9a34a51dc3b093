/* batch_norm, batch_norm_train and layer_norm.
 *
 * Variances are means of squared distances from the mean: the difference of two large sums would
 * lose f32's digits. The expansions and the gradients build the statistics with the same helper,
 * hence the same ops in the same order, so that merging equal nodes leaves one copy of each.
 */
#include "ir/ops/rules.h"
#include <math.h>

static const char *const channel_operands[] = {"x", "the weight", "the bias", "the running mean",
                                               "the running variance"};

/* ---- shapes ---- */

/* Operands 1..last are vectors with one element for each place on x's axis. */
static bool want_vectors(const OpCall *call, int axis, int last, Error *error) {
  const Type *x = call->in[0];
  if (!want_float(call, 0, error))
    return false;
  Type vector = type_of(x->dtype, 1, x->dim + axis);
  for (int i = 1; i <= last; i++)
    if (!want_type(call, i, channel_operands[i], &vector, error))
      return false;
  return true;
}

bool shape_batch_norm(const OpCall *call, Type *out, Error *error) {
  *out = *call->in[0];
  if (out->rank < 2)
    return error_set(error, "x has no channel axis");
  return want_vectors(call, 1, 4, error);
}

bool shape_batch_norm_train(const OpCall *call, Type *out, Error *error) {
  Type count = type_of(DT_i64, 0, NULL);
  if (!shape_batch_norm(call, out, error) || !want_type(call, 5, "the count", &count, error))
    return false;
  if (type_elements(&out[0]) == out->dim[1])
    return error_set(error, "batch statistics need more than one element for each channel");
  for (int i = 1; i < 4; i++)
    out[i] = *call->in[i + 2];
  return true;
}

bool shape_layer_norm(const OpCall *call, Type *out, Error *error) {
  *out = *call->in[0];
  if (out->rank < 1)
    return error_set(error, "x has no axes");
  return want_vectors(call, out->rank - 1, 2, error);
}

/* ---- evaluation ---- */

/* x as [outer][channels][inner] */
typedef struct Planes {
  int64_t outer, channels, inner;
} Planes;

static Planes planes_of(const Type *x) {
  return (Planes){x->dim[0], x->dim[1], dim_product(x, 2, x->rank)};
}

static double mean_of(const Planes *p, const double *x, int64_t channel, double from, bool square) {
  double sum = 0;
  for (int64_t n = 0; n < p->outer; n++)
    for (int64_t i = 0; i < p->inner; i++) {
      double distance = x[(n * p->channels + channel) * p->inner + i] - from;
      sum += square ? distance * distance : distance;
    }
  return sum / (double)(p->outer * p->inner);
}

static void normalise(const Planes *p, int64_t channel, double mean, double variance, double eps,
                      double *const *in, double *y) {
  for (int64_t n = 0; n < p->outer; n++)
    for (int64_t i = 0; i < p->inner; i++) {
      int64_t at = (n * p->channels + channel) * p->inner + i;
      y[at] = (in[0][at] - mean) / sqrt(variance + eps) * in[1][channel] + in[2][channel];
    }
}

void eval_batch_norm(const Node *node, double *const *in, double *const *out) {
  Planes p = planes_of(in_type(node, 0));
  for (int64_t c = 0; c < p.channels; c++)
    normalise(&p, c, in[3][c], in[4][c], node_float(node, "eps"), in, out[0]);
}

void eval_batch_norm_train(const Node *node, double *const *in, double *const *out) {
  Planes p = planes_of(in_type(node, 0));
  double momentum = node_float(node, "momentum"), n = (double)(p.outer * p.inner);
  for (int64_t c = 0; c < p.channels; c++) {
    double mean = mean_of(&p, in[0], c, 0, false), variance = mean_of(&p, in[0], c, mean, true);
    normalise(&p, c, mean, variance, node_float(node, "eps"), in, out[0]);
    out[1][c] = (1 - momentum) * in[3][c] + momentum * mean;
    out[2][c] = (1 - momentum) * in[4][c] + momentum * variance * n / (n - 1);
  }
  out[3][0] = in[5][0] + 1;
}

void eval_layer_norm(const Node *node, double *const *in, double *const *out) {
  const Type *x = in_type(node, 0);
  int64_t width = x->dim[x->rank - 1], rows = type_elements(x) / width;
  Planes row = {1, 1, width};
  for (int64_t r = 0; r < rows; r++) {
    const double *from = in[0] + r * width;
    double mean = mean_of(&row, from, 0, 0, false), variance = mean_of(&row, from, 0, mean, true);
    for (int64_t i = 0; i < width; i++)
      out[0][r * width + i] =
          (from[i] - mean) / sqrt(variance + node_float(node, "eps")) * in[1][i] + in[2][i];
  }
}

/* ---- building blocks ---- */

/* A vector of channels as [1,C,1,…], of x's rank. */
static Value *beside(Builder *b, Value *vector, const Type *x) {
  int64_t dim[MAX_RANK];
  for (int i = 0; i < x->rank; i++)
    dim[i] = i == 1 ? x->dim[1] : 1;
  return build_reshape(b, vector, x->rank, dim);
}

static Value *as_vector(Builder *b, Value *x, int64_t size) {
  return build_reshape(b, x, 1, &size);
}

/* All axes but one. */
static int other_axes(const Type *x, int but, int64_t *axes) {
  int count = 0;
  for (int i = 0; i < x->rank; i++)
    if (i != but)
      axes[count++] = i;
  return count;
}

typedef struct Statistics {
  Value *mean, *centred, *variance, *rstd; /* all but centred with size 1 on the axes */
} Statistics;

static Value *rstd_of(Builder *b, Value *variance, double eps) {
  return build_unary(b, "rsqrt", build_offset(b, variance, eps));
}

static Statistics statistics_of(Builder *b, Value *x, int n_axes, const int64_t *axes, double eps) {
  Statistics s;
  s.mean = build_mean(b, x, n_axes, axes);
  s.centred = minus(b, x, s.mean);
  s.variance = build_mean(b, times(b, s.centred, s.centred), n_axes, axes);
  s.rstd = rstd_of(b, s.variance, eps);
  return s;
}

/* The same with the variance as one fold, so that both are made in one pass over x. */
static Statistics statistics_in_one_pass(Builder *b, Value *x, int n_axes, const int64_t *axes,
                                         double eps) {
  Statistics s;
  s.mean = build_mean(b, x, n_axes, axes);
  s.centred = minus(b, x, s.mean);
  s.variance = build_reduce(b, "variance", x, n_axes, axes);
  s.rstd = rstd_of(b, s.variance, eps);
  return s;
}

/* ---- batch_norm: running statistics, so one scale and one shift for each channel ---- */

void expand_batch_norm(Builder *b, const Node *old, Value *const *in, Value **out) {
  Value *scale = times(b, in[1], rstd_of(b, in[4], node_float(old, "eps")));
  Value *shift = minus(b, in[2], times(b, in[3], scale));
  const Type *x = in_type(old, 0);
  out[0] = plus(b, times(b, in[0], beside(b, scale, x)), beside(b, shift, x));
}

void grad_batch_norm(Builder *b, const Node *node, Value *const *dout, const bool *need,
                     Value **din) {
  Value *const *in = node->in, *d = dout[0];
  const Type *x = in_type(node, 0);
  int64_t axes[MAX_RANK];
  int n_axes = other_axes(x, 1, axes);
  if (!d)
    return;
  Value *rstd = rstd_of(b, in[4], node_float(node, "eps")), *scale = times(b, in[1], rstd);
  Value *sum = as_vector(b, build_reduce(b, "reduce_sum", d, n_axes, axes), x->dim[1]);
  if (need[0])
    din[0] = times(b, d, beside(b, scale, x));
  if (need[2])
    din[2] = sum;
  if (need[3])
    din[3] = build_unary(b, "neg", times(b, sum, scale));
  if (!need[1] && !need[4])
    return;
  Value *product = times(b, d, minus(b, in[0], beside(b, in[3], x)));
  Value *folded = build_reduce(b, "reduce_sum", product, n_axes, axes);
  Value *dw = times(b, as_vector(b, folded, x->dim[1]), rstd);
  if (need[1])
    din[1] = dw;
  if (need[4])
    din[4] = build_scale(b, times(b, times(b, dw, scale), rstd), -0.5);
}

/* ---- batch_norm_train ---- */

/* (1 - momentum) * old + momentum * new */
static Value *running(Builder *b, Value *old, Value *latest, double momentum) {
  return plus(b, build_scale(b, old, 1 - momentum), build_scale(b, latest, momentum));
}

void expand_batch_norm_train(Builder *b, const Node *old, Value *const *in, Value **out) {
  const Type *x = in_type(old, 0);
  int64_t axes[MAX_RANK], channels = x->dim[1];
  int n_axes = other_axes(x, 1, axes);
  double momentum = node_float(old, "momentum"), n = (double)(type_elements(x) / channels);
  Statistics s = statistics_in_one_pass(b, in[0], n_axes, axes, node_float(old, "eps"));
  Value *scale = times(b, beside(b, in[1], x), s.rstd);
  out[0] = plus(b, times(b, s.centred, scale), beside(b, in[2], x));
  out[1] = running(b, in[3], as_vector(b, s.mean, channels), momentum);
  Value *unbiased = build_scale(b, as_vector(b, s.variance, channels), n / (n - 1));
  out[2] = running(b, in[4], unbiased, momentum);
  out[3] = build_offset(b, in[5], 1);
}

/* Only y carries a gradient: the updated averages feed the next call, not this one's loss. */
void grad_batch_norm_train(Builder *b, const Node *node, Value *const *dout, const bool *need,
                           Value **din) {
  Value *const *in = node->in, *d = dout[0];
  const Type *x = in_type(node, 0);
  int64_t axes[MAX_RANK], channels = x->dim[1];
  int n_axes = other_axes(x, 1, axes);
  if (!d)
    return;
  double n = (double)(type_elements(x) / channels);
  Statistics s = statistics_in_one_pass(b, in[0], n_axes, axes, node_float(node, "eps"));
  Value *scale = times(b, beside(b, in[1], x), s.rstd);
  Value *sum = build_reduce(b, "reduce_sum", d, n_axes, axes);
  Value *product = build_reduce(b, "reduce_sum", times(b, d, s.centred), n_axes, axes);
  if (need[0]) {
    Value *along = build_scale(b, times(b, times(b, s.rstd, s.rstd), product), 1 / n);
    Value *rest = minus(b, minus(b, d, build_scale(b, sum, 1 / n)), times(b, s.centred, along));
    din[0] = times(b, rest, scale);
  }
  if (need[1])
    din[1] = as_vector(b, times(b, product, s.rstd), channels);
  if (need[2])
    din[2] = as_vector(b, sum, channels);
}

/* ---- layer_norm ---- */

void expand_layer_norm(Builder *b, const Node *old, Value *const *in, Value **out) {
  int64_t last = in_type(old, 0)->rank - 1;
  Statistics s = statistics_of(b, in[0], 1, &last, node_float(old, "eps"));
  out[0] = plus(b, times(b, times(b, s.centred, s.rstd), in[1]), in[2]);
}

void grad_layer_norm(Builder *b, const Node *node, Value *const *dout, const bool *need,
                     Value **din) {
  Value *const *in = node->in, *d = dout[0];
  const Type *w = in_type(node, 1);
  int64_t last = in_type(node, 0)->rank - 1;
  if (!d)
    return;
  Statistics s = statistics_of(b, in[0], 1, &last, node_float(node, "eps"));
  Value *normal = times(b, s.centred, s.rstd);
  if (need[0]) {
    Value *g = times(b, d, in[1]);
    Value *along = build_mean(b, times(b, g, normal), 1, &last);
    Value *rest = minus(b, minus(b, g, build_mean(b, g, 1, &last)), times(b, normal, along));
    din[0] = times(b, rest, s.rstd);
  }
  if (need[1])
    din[1] = build_sum_to(b, times(b, d, normal), w);
  if (need[2])
    din[2] = build_sum_to(b, d, w);
}
