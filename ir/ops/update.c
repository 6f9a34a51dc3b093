/* The optimizer step: AdamW with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101).
 *
 *   m' = beta1*m + (1-beta1)*g      v' = beta2*v + (1-beta2)*g^2
 *   p' = p*(1 - lr*decay) - lr * (m'/(1-beta1^step)) / (sqrt(v'/(1-beta2^step)) + eps)
 */
#include "ir/ops/rules.h"
#include <math.h>

bool shape_adamw(const OpCall *call, Type *out, Error *error) {
  static const char *const names[] = {"p", "the gradient", "m", "v", "the step", "lr"};
  Type scalar = type_of(DT_f32, 0, NULL);
  if (!want_float(call, 0, error))
    return false;
  for (int i = 1; i < 6; i++)
    if (!want_type(call, i, names[i], i < 4 ? call->in[0] : &scalar, error))
      return false;
  for (int i = 0; i < 3; i++)
    out[i] = *call->in[0];
  return true;
}

void eval_adamw(const Node *node, double *const *in, double *const *out) {
  double beta1 = node_float(node, "beta1"), beta2 = node_float(node, "beta2");
  double eps = node_float(node, "eps"), decay = node_float(node, "decay");
  double step = in[4][0], lr = in[5][0];
  int64_t n = type_elements(out_type(node, 0));
  for (int64_t i = 0; i < n; i++) {
    double g = in[1][i];
    double m = beta1 * in[2][i] + (1 - beta1) * g, v = beta2 * in[3][i] + (1 - beta2) * g * g;
    double first = m / (1 - pow(beta1, step)), second = v / (1 - pow(beta2, step));
    out[0][i] = in[0][i] * (1 - lr * decay) - lr * first / (sqrt(second) + eps);
    out[1][i] = m;
    out[2][i] = v;
  }
}

/* 1 - beta^step on scalars */
static Value *correction(Builder *b, Value *step, double beta) {
  Value *power = build_unary(b, "exp", build_scale(b, step, log(beta)));
  return minus(b, build_like(b, 1, power), power);
}

static Value *as_dtype(Builder *b, Value *x, Dtype dtype) {
  if (!x || x->type.dtype == dtype)
    return x;
  Node *cast = build_node(b, "cast", 1, &x, "dtype", dtype_name(dtype), NULL);
  return cast ? &cast->out[0] : NULL;
}

/* The scalars are worked out in f32, then cast to the parameter's type where that is another. */
void expand_adamw(Builder *b, const Node *old, Value *const *in, Value **out) {
  Value *p = in[0], *g = in[1], *step = in[4], *lr = in[5];
  double beta1 = node_float(old, "beta1"), beta2 = node_float(old, "beta2");
  Dtype dtype = in_type(old, 0)->dtype;
  Value *keep = build_offset(b, build_scale(b, lr, -node_float(old, "decay")), 1);
  Value *rate = over(b, lr, correction(b, step, beta1));
  Value *second = correction(b, step, beta2);
  Value *m = plus(b, build_scale(b, in[2], beta1), build_scale(b, g, 1 - beta1));
  Value *v = plus(b, build_scale(b, in[3], beta2), build_scale(b, times(b, g, g), 1 - beta2));
  Value *root = build_unary(b, "sqrt", over(b, v, as_dtype(b, second, dtype)));
  Value *change = over(b, m, build_offset(b, root, node_float(old, "eps")));
  out[0] =
      minus(b, times(b, p, as_dtype(b, keep, dtype)), times(b, as_dtype(b, rate, dtype), change));
  out[1] = m;
  out[2] = v;
}
