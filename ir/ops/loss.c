/* Over the last axis: softmax, logsumexp, l2_normalize; and the contrastive loss of CLIP (Radford
 * et al., arXiv 2103.00020). Exponentials are taken after subtracting each row's largest element.
 */
#include "ir/ops/rules.h"
#include <math.h>
#include <stdlib.h>

/* ---- shapes ---- */

bool shape_last_to_one(const OpCall *call, Type *out, Error *error) {
  *out = *call->in[0];
  if (out->rank < 1)
    return error_set(error, "x has no axes");
  out->dim[out->rank - 1] = 1;
  return want_float(call, 0, error);
}

bool shape_contrastive_loss(const OpCall *call, Type *out, Error *error) {
  const Type *images = call->in[0];
  if (images->rank != 2)
    return error_set(error, "images has %d axes, expected 2", images->rank);
  *out = type_of(images->dtype, 0, NULL);
  return want_float(call, 0, error) && want_type(call, 1, "texts", images, error) &&
         want_type(call, 2, "factor", out, error);
}

/* ---- evaluation ---- */

static double largest(const double *x, int64_t width, int64_t step) {
  double most = -INFINITY;
  for (int64_t i = 0; i < width; i++)
    most = x[i * step] > most ? x[i * step] : most;
  return most;
}

static double logsumexp(const double *x, int64_t width, int64_t step) {
  double most = largest(x, width, step), sum = 0;
  for (int64_t i = 0; i < width; i++)
    sum += exp(x[i * step] - most);
  return most + log(sum);
}

/* Width of the rows of operand 0; a scalar is one row of one. */
static int64_t row_width(const Node *node, int64_t *rows) {
  const Type *x = in_type(node, 0);
  int64_t width = x->rank ? x->dim[x->rank - 1] : 1;
  *rows = type_elements(x) / width;
  return width;
}

void eval_softmax(const Node *node, double *const *in, double *const *out) {
  int64_t rows, width = row_width(node, &rows);
  for (int64_t r = 0; r < rows; r++) {
    const double *x = in[0] + r * width;
    double total = logsumexp(x, width, 1);
    for (int64_t i = 0; i < width; i++)
      out[0][r * width + i] = exp(x[i] - total);
  }
}

void eval_logsumexp(const Node *node, double *const *in, double *const *out) {
  int64_t rows, width = row_width(node, &rows);
  for (int64_t r = 0; r < rows; r++)
    out[0][r] = logsumexp(in[0] + r * width, width, 1);
}

void eval_l2_normalize(const Node *node, double *const *in, double *const *out) {
  int64_t rows, width = row_width(node, &rows);
  for (int64_t r = 0; r < rows; r++) {
    const double *x = in[0] + r * width;
    double sum = 0;
    for (int64_t i = 0; i < width; i++)
      sum += x[i] * x[i];
    for (int64_t i = 0; i < width; i++)
      out[0][r * width + i] = x[i] / fmax(sqrt(sum), node_float(node, "eps"));
  }
}

/* Row t of the logits belongs to text t, column i to image i; the pairs are on the diagonal. */
void eval_contrastive_loss(const Node *node, double *const *in, double *const *out) {
  int64_t size, width = row_width(node, &size);
  double *logits = mem_alloc(sizeof *logits * (size_t)(size * size)), sum = 0;
  for (int64_t t = 0; t < size; t++)
    for (int64_t i = 0; i < size; i++) {
      double dot = 0;
      for (int64_t k = 0; k < width; k++)
        dot += in[1][t * width + k] * in[0][i * width + k];
      logits[t * size + i] = in[2][0] * dot;
    }
  for (int64_t i = 0; i < size; i++)
    sum += logsumexp(logits + i * size, size, 1) + logsumexp(logits + i, size, size) -
           2 * logits[i * size + i];
  out[0][0] = sum / (2 * (double)size);
  free(logits);
}

/* ---- softmax and logsumexp ---- */

static Value *fold_last(Builder *b, const char *op, Value *x) {
  if (!x || !x->type.rank)
    return x;
  int64_t last = x->type.rank - 1;
  return build_reduce(b, op, x, 1, &last);
}

void expand_softmax(Builder *b, const Node *old, Value *const *in, Value **out) {
  (void)old;
  Value *e = build_unary(b, "exp", minus(b, in[0], fold_last(b, "reduce_max", in[0])));
  out[0] = over(b, e, fold_last(b, "reduce_sum", e));
}

void grad_softmax(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  Value *d = dout[0], *y = &node->out[0];
  if (d && need[0])
    din[0] = times(b, y, minus(b, d, fold_last(b, "reduce_sum", times(b, d, y))));
}

void expand_logsumexp(Builder *b, const Node *old, Value *const *in, Value **out) {
  (void)old;
  Value *most = fold_last(b, "reduce_max", in[0]);
  Value *sum = fold_last(b, "reduce_sum", build_unary(b, "exp", minus(b, in[0], most)));
  out[0] = plus(b, most, build_unary(b, "log", sum));
}

void grad_logsumexp(Builder *b, const Node *node, Value *const *dout, const bool *need,
                    Value **din) {
  if (dout[0] && need[0])
    din[0] = times(b, dout[0], build_unary(b, "exp", minus(b, node->in[0], &node->out[0])));
}

/* ---- l2_normalize ---- */

static Value *row_norm(Builder *b, Value *x) {
  return build_unary(b, "sqrt", fold_last(b, "reduce_sum", times(b, x, x)));
}

static Value *at_least(Builder *b, Value *x, double least) {
  return build_binary(b, "max", x, build_like(b, least, x));
}

void expand_l2_normalize(Builder *b, const Node *old, Value *const *in, Value **out) {
  out[0] = over(b, in[0], at_least(b, row_norm(b, in[0]), node_float(old, "eps")));
}

/* A row shorter than eps is only scaled; a longer one loses its gradient's part along itself. */
void grad_l2_normalize(Builder *b, const Node *node, Value *const *dout, const bool *need,
                       Value **din) {
  Value *d = dout[0], *y = &node->out[0];
  double eps = node_float(node, "eps");
  if (!d || !need[0])
    return;
  Value *norm = row_norm(b, node->in[0]);
  Value *longer = build_binary(b, "lt", build_like(b, eps, norm), norm);
  Value *along = keep_where(b, longer, fold_last(b, "reduce_sum", times(b, d, y)));
  din[0] = over(b, minus(b, d, times(b, y, along)), at_least(b, norm, eps));
}

/* ---- contrastive_loss ---- */

void expand_contrastive_loss(Builder *b, const Node *old, Value *const *in, Value **out) {
  (void)old;
  static const int64_t swap[] = {1, 0}, both[] = {0, 1};
  Value *logits = times(b, in[2], build_matmul(b, in[1], in[0], false, true));
  Value *by_text = build_unary(b, "logsumexp", logits);
  Value *by_image = build_unary(b, "logsumexp", build_permute(b, logits, swap));
  Value *positive = times(b, in[2], fold_last(b, "reduce_sum", times(b, in[0], in[1])));
  Value *excess = minus(b, build_scale(b, plus(b, by_text, by_image), 0.5), positive);
  out[0] = build_reshape(b, build_mean(b, excess, 2, both), 0, NULL);
}
