/* Sources and elementwise ops: operands and result of one shape (see graph.h on broadcasting).
 *
 * Comparisons give f32 zeros and ones whatever they compare; select takes such a condition.
 */
#include "ir/ops/rules.h"
#include <math.h>
#include <string.h>

/* ---- sources ---- */

static bool dtype_attr(const OpCall *call, Dtype *dtype, Error *error) {
  const char *name = call_attr(call, "dtype")->text;
  if (dtype_from_name(name, dtype))
    return true;
  return error_set(error, "there is no element type '%s'", name);
}

bool shape_source(const OpCall *call, Type *out, Error *error) {
  const Attr *shape = call_attr(call, "shape");
  const int64_t *dim;
  if (!dtype_attr(call, &out->dtype, error) || !call_ints(call, "shape", -1, 1, &dim, error))
    return false;
  if (shape->n > MAX_RANK)
    return error_set(error, "%d axes are more than %d", shape->n, MAX_RANK);
  *out = type_of(out->dtype, shape->n, dim);
  if (op_attr_index(call->op, "axis") >= 0) {
    int64_t axis = call_int(call, "axis");
    if (axis < 0 || axis >= out->rank)
      return error_set(error, "%s has no axis %lld", type_text(out), (long long)axis);
  }
  return true;
}

void eval_constant(const Node *node, double *const *in, double *const *out) {
  (void)in;
  int64_t n = type_elements(out_type(node, 0));
  double value = node_float(node, "value");
  for (int64_t i = 0; i < n; i++)
    out[0][i] = value;
}

void eval_iota(const Node *node, double *const *in, double *const *out) {
  (void)in;
  const Type *type = out_type(node, 0);
  int axis = (int)node_int(node, "axis");
  int64_t inner = dim_product(type, axis + 1, type->rank), n = type_elements(type);
  for (int64_t i = 0; i < n; i++)
    out[0][i] = (double)(i / inner % type->dim[axis]);
}

/* ---- shapes ---- */

bool shape_ew(const OpCall *call, Type *out, Error *error) {
  if (call->n_in == 2 && !type_equal(call->in[0], call->in[1]))
    return error_set(error, "the operands differ");
  *out = *call->in[0];
  return true;
}

bool shape_ew_float(const OpCall *call, Type *out, Error *error) {
  return want_float(call, 0, error) && shape_ew(call, out, error);
}

bool shape_cast(const OpCall *call, Type *out, Error *error) {
  *out = *call->in[0];
  return dtype_attr(call, &out->dtype, error);
}

bool shape_compare(const OpCall *call, Type *out, Error *error) {
  if (!shape_ew(call, out, error))
    return false;
  out->dtype = DT_f32;
  return true;
}

bool shape_select(const OpCall *call, Type *out, Error *error) {
  Type condition = *call->in[1];
  condition.dtype = DT_f32;
  if (!type_equal(call->in[1], call->in[2]))
    return error_set(error, "the two choices differ");
  *out = *call->in[1];
  return want_type(call, 0, "the condition", &condition, error);
}

/* ---- evaluation ---- */

typedef double Scalar(double x, double y, double z);

/* Unused arguments are part of the common form. */
#define SCALAR(name, expression)                                                                   \
  static double scalar_##name(double x, double y, double z) {                                      \
    (void)x, (void)y, (void)z;                                                                     \
    return expression;                                                                             \
  }
SCALAR(neg, -x)
SCALAR(abs, fabs(x))
SCALAR(sign, (x > 0) - (x < 0))
SCALAR(exp, exp(x))
SCALAR(log, log(x))
SCALAR(sqrt, sqrt(x))
SCALAR(rsqrt, 1 / sqrt(x))
SCALAR(tanh, tanh(x))
SCALAR(erf, erf(x))
SCALAR(floor, floor(x))
SCALAR(add, x + y)
SCALAR(sub, x - y)
SCALAR(mul, x *y)
SCALAR(div, x / y)
SCALAR(max, x >= y || isnan(x) ? x : y) /* a NaN wins from either side */
SCALAR(min, x <= y || isnan(x) ? x : y)
SCALAR(lt, x < y)
SCALAR(le, x <= y)
SCALAR(eq, x == y)
SCALAR(select, x != 0 ? y : z)

static Scalar *find_scalar(const char *name) {
  static const struct {
    const char *name;
    Scalar *call;
  } rows[] = {{"neg", scalar_neg},     {"abs", scalar_abs},      {"sign", scalar_sign},
              {"exp", scalar_exp},     {"log", scalar_log},      {"sqrt", scalar_sqrt},
              {"rsqrt", scalar_rsqrt}, {"tanh", scalar_tanh},    {"erf", scalar_erf},
              {"floor", scalar_floor}, {"add", scalar_add},      {"sub", scalar_sub},
              {"mul", scalar_mul},     {"div", scalar_div},      {"max", scalar_max},
              {"min", scalar_min},     {"lt", scalar_lt},        {"le", scalar_le},
              {"eq", scalar_eq},       {"select", scalar_select}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
    if (strcmp(rows[i].name, name) == 0)
      return rows[i].call;
  FAULT("elementwise op %s has no scalar evaluation", name);
}

void eval_ew(const Node *node, double *const *in, double *const *out) {
  Scalar *call = find_scalar(node->op->name);
  const double *x = in[0];
  const double *y = in[node->n_in > 1 ? 1 : 0], *z = in[node->n_in > 2 ? 2 : 0];
  int64_t n = type_elements(out_type(node, 0));
  for (int64_t i = 0; i < n; i++)
    out[0][i] = call(x[i], y[i], z[i]);
}

/* Doubles stand for f32 and f64; what is narrower than f32 is rounded to. */
void eval_cast(const Node *node, double *const *in, double *const *out) {
  Dtype dtype = out_type(node, 0)->dtype;
  bool whole = !dtype_is_float(dtype), narrow = dtype_size(dtype) < dtype_size(DT_f32);
  int64_t n = type_elements(out_type(node, 0));
  for (int64_t i = 0; i < n; i++) {
    unsigned char cell[sizeof(double)];
    out[0][i] = whole ? trunc(in[0][i]) : in[0][i];
    if (whole || !narrow)
      continue;
    dtype_store(dtype, cell, 0, in[0][i]);
    out[0][i] = dtype_load(dtype, cell, 0);
  }
}

/* ---- gradients ---- */

#define GRAD_UNARY(name, expression)                                                               \
  void grad_##name(Builder *b, const Node *node, Value *const *dout, const bool *need,             \
                   Value **din) {                                                                  \
    Value *d = dout[0], *x = node->in[0], *y = &node->out[0];                                      \
    (void)x, (void)y;                                                                              \
    if (d && need[0])                                                                              \
      din[0] = expression;                                                                         \
  }
GRAD_UNARY(neg, build_unary(b, "neg", d))
GRAD_UNARY(abs, times(b, d, build_unary(b, "sign", x)))
GRAD_UNARY(exp, times(b, d, y))
GRAD_UNARY(log, over(b, d, x))
GRAD_UNARY(sqrt, over(b, build_scale(b, d, 0.5), y))
GRAD_UNARY(rsqrt, build_scale(b, times(b, d, times(b, y, times(b, y, y))), -0.5))
GRAD_UNARY(tanh, minus(b, d, times(b, d, times(b, y, y))))

void grad_erf(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  Value *x = node->in[0];
  if (!dout[0] || !need[0])
    return;
  Value *bell = build_unary(b, "exp", build_unary(b, "neg", times(b, x, x)));
  din[0] = times(b, dout[0], build_scale(b, bell, M_2_SQRTPI));
}

void grad_cast(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  Dtype from = in_type(node, 0)->dtype;
  if (!dout[0] || !need[0] || !dtype_is_float(from) || !dtype_is_float(out_type(node, 0)->dtype))
    return;
  Value *in[] = {dout[0]};
  Node *back = build_node(b, "cast", 1, in, "dtype", dtype_name(from), NULL);
  din[0] = back ? &back->out[0] : NULL;
}

void grad_add(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  (void)b, (void)node;
  for (int i = 0; i < 2; i++)
    din[i] = need[i] ? dout[0] : NULL;
}

void grad_sub(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  (void)node;
  if (need[0])
    din[0] = dout[0];
  if (need[1])
    din[1] = build_unary(b, "neg", dout[0]);
}

void grad_mul(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  for (int i = 0; i < 2; i++)
    if (need[i])
      din[i] = times(b, dout[0], node->in[1 - i]);
}

void grad_div(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  Value *dx = over(b, dout[0], node->in[1]);
  if (need[0])
    din[0] = dx;
  if (need[1])
    din[1] = build_unary(b, "neg", times(b, dx, &node->out[0]));
}

/* The gradient goes where `first` (an f32 condition) says: to operand 0, else to operand 1. */
static void grad_pick(Builder *b, Value *first, Value *d, const bool *need, Value **din) {
  if (!d)
    return;
  if (need[0])
    din[0] = keep_where(b, first, d);
  if (need[1])
    din[1] = build_select(b, first, build_like(b, 0, d), d);
}

void grad_max(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  grad_pick(b, build_binary(b, "le", node->in[1], node->in[0]), dout[0], need, din);
}

void grad_min(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  grad_pick(b, build_binary(b, "le", node->in[0], node->in[1]), dout[0], need, din);
}

void grad_select(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  grad_pick(b, node->in[0], dout[0], need + 1, din + 1);
}
