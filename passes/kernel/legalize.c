/* Legalisation: scalar functions no target spells become sequences of ops that every target spells.
 *
 * In:  LOOP stage; LET statements of exp, log, tanh, erf, rsqrt (f32) and sign (any type).
 * Out: the same kernel without them; each value keeps its id, new values get new ids. Results are
 *      the same bits on every target, because every op used is correctly rounded everywhere.
 *
 * All polynomials were fitted for this file: minimax fits by iteratively reweighted least squares
 * (Lawson's method) in double precision on 2001 to 4001 Chebyshev points, weighted so that the
 * error of the finished function is relative; then rounded to float and measured over dense grids
 * (tests/unit/test_legalize.c repeats the measurement). bench/fit_functions.py makes the numbers.
 * Conversions of NaN to integers are avoided everywhere: they are undefined on some targets.
 * max and min give their second operand where unordered, so the argument is put second: NaN stays.
 */
#include "passes/kernel/kernel_pass.h"
#include <math.h>

typedef struct Writer {
  Kernel *kernel;
  Block *block;
  int width;
  Loc loc;
} Writer;

static void place(Writer *w) { w->block->at[w->block->count - 1]->loc = w->loc; }

static KValue *number(Writer *w, double value) {
  KValue *result = stmt_const(w->kernel, w->block, value, DT_f32, w->width);
  return place(w), result;
}

static KValue *whole(Writer *w, Dtype dtype, int64_t value) {
  KValue *result = stmt_const(w->kernel, w->block, (double)value, dtype, w->width);
  return place(w), result;
}

static KValue *op(Writer *w, Kop kop, Dtype dtype, KValue *a, KValue *b, KValue *c) {
  KValue *result = stmt_let(w->kernel, w->block, kop, dtype, w->width, a, b, c);
  return place(w), result;
}

static KValue *real1(Writer *w, Kop kop, KValue *a) { return op(w, kop, DT_f32, a, NULL, NULL); }
static KValue *real2(Writer *w, Kop kop, KValue *a, KValue *b) {
  return op(w, kop, DT_f32, a, b, NULL);
}
static KValue *real3(Writer *w, Kop kop, KValue *a, KValue *b, KValue *c) {
  return op(w, kop, DT_f32, a, b, c);
}
static KValue *int2(Writer *w, Kop kop, KValue *a, int64_t b) {
  return op(w, kop, DT_i32, a, whole(w, DT_i32, b), NULL);
}

/* c[0] + c[1] x + … by Horner's rule. */
static KValue *polynomial(Writer *w, KValue *x, const float *c, int count) {
  KValue *sum = number(w, c[count - 1]);
  for (int i = count - 2; i >= 0; i--)
    sum = real3(w, K_fma, sum, x, number(w, c[i]));
  return sum;
}

/* low <= x <= high; NaN stays NaN. */
static KValue *clamp(Writer *w, KValue *x, double low, double high) {
  KValue *raised = real2(w, K_max, number(w, low), x);
  return real2(w, K_min, number(w, high), raised);
}

/* 2^n as a float for the i32 n, -126 <= n <= 127: n + 127 moved into the exponent field. */
static KValue *power_of_two(Writer *w, KValue *n) {
  KValue *biased = int2(w, K_add, n, 127);
  return op(w, K_bits, DT_f32, int2(w, K_shl, biased, 23), NULL, NULL);
}

/* exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2.
 * Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits of the sum, so that no
 * conversion is needed. The scale is applied in two halves: the result may be subnormal or
 * infinite. */
static KValue *expand_exp(Writer *w, KValue *x) {
  static const float tail[] = {0.4999999403953552f, 0.1666652113199234f, 0.04166838899254799f,
                               0.00836874544620514f, 0.001381453825160861f};
  const double shifter = 12582912.0;
  const int64_t shifter_bits = 0x4B400000;
  KValue *c = clamp(w, x, -104.0, 89.0);
  KValue *log2e = number(w, 1.44269504088896341), *shift = number(w, shifter);
  KValue *t = real3(w, K_fma, c, log2e, shift);
  KValue *n = real2(w, K_sub, t, shift);
  /* ln 2 as the nearest float and the rest; the first step is exact */
  KValue *r = real3(w, K_fma, n, number(w, -0.693147182464599609375), c);
  r = real3(w, K_fma, n, number(w, 1.904654299957768e-09), r);
  KValue *square = real2(w, K_mul, r, r);
  KValue *p = real3(w, K_fma, polynomial(w, r, tail, 5), square, r);
  p = real2(w, K_add, p, number(w, 1.0));
  KValue *k = int2(w, K_sub, op(w, K_bits, DT_i32, t, NULL, NULL), shifter_bits);
  KValue *half = int2(w, K_shr, k, 1);
  KValue *rest = op(w, K_sub, DT_i32, k, half, NULL);
  p = real2(w, K_mul, p, power_of_two(w, half));
  return real2(w, K_mul, p, power_of_two(w, rest));
}

/* log(x) = e ln 2 + log(1 + f), x = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt(2). */
static KValue *expand_log(Writer *w, KValue *x) {
  static const float tail[] = {0.3333331346511841f,  -0.25000008940696716f, 0.2000211924314499f,
                               -0.1666799634695053f, 0.14219550788402557f,  -0.12405591458082199f,
                               0.11888174712657928f, -0.11675640940666199f, 0.06746601313352585f};
  const int64_t root_half_bits = 0x3F3504F3;
  /* subnormals are lifted by 2^25 first */
  KValue *tiny = real2(w, K_lt, x, number(w, 0x1p-126));
  KValue *lifted = real3(w, K_select, tiny, real2(w, K_mul, x, number(w, 0x1p25)), x);
  KValue *zero = number(w, 0.0);
  KValue *bias = real3(w, K_select, tiny, number(w, -25.0), zero);
  KValue *i = int2(w, K_sub, op(w, K_bits, DT_i32, lifted, NULL, NULL), root_half_bits);
  KValue *e = op(w, K_cast, DT_f32, int2(w, K_shr, i, 23), NULL, NULL);
  e = real2(w, K_add, e, bias);
  KValue *m = int2(w, K_add, int2(w, K_and, i, 0x7FFFFF), root_half_bits);
  KValue *f = real2(w, K_sub, op(w, K_bits, DT_f32, m, NULL, NULL), number(w, 1.0));
  KValue *square = real2(w, K_mul, f, f), *cube = real2(w, K_mul, f, square);
  KValue *y = real2(w, K_mul, cube, polynomial(w, f, tail, 9));
  /* ln 2 = 0.693359375 (9 bits, so that e times it is exact) and the rest */
  y = real3(w, K_fma, e, number(w, -2.1219444005469058e-4), y);
  y = real3(w, K_fma, square, number(w, -0.5), y);
  y = real3(w, K_fma, e, number(w, 0.693359375), real2(w, K_add, f, y));
  KValue *infinity = number(w, INFINITY), *below = number(w, -INFINITY);
  KValue *nan = real2(w, K_sub, infinity, infinity);
  KValue *others = real3(w, K_select, real2(w, K_eq, x, zero), below, nan);
  y = real3(w, K_select, real2(w, K_lt, x, infinity), y, x);
  return real3(w, K_select, real2(w, K_lt, zero, x), y, others);
}

/* Odd polynomial below 0.625, 1 - 2 / (exp(2|x|) + 1) with x's sign from there on. */
static KValue *expand_tanh(Writer *w, KValue *x) {
  static const float tail[] = {-0.3333328068256378f, 0.1333143562078476f, -0.053739115595817566f,
                               0.020637037232518196f, -0.005702602677047253f};
  KValue *size = real1(w, K_abs, x);
  KValue *u = real2(w, K_mul, x, x);
  KValue *cube = real2(w, K_mul, x, u);
  KValue *near = real3(w, K_fma, cube, polynomial(w, u, tail, 5), x);
  KValue *e = expand_exp(w, real2(w, K_add, size, size));
  KValue *one = number(w, 1.0), *two = number(w, 2.0);
  KValue *far = real2(w, K_sub, one, real2(w, K_div, two, real2(w, K_add, e, one)));
  KValue *mirrored = real1(w, K_neg, far);
  KValue *negative = real2(w, K_lt, x, number(w, 0.0));
  far = real3(w, K_select, negative, mirrored, far);
  return real3(w, K_select, real2(w, K_lt, size, number(w, 0.625)), near, far);
}

/* x P(x^2) on |x| <= 3.75, where erf is 1 to within half an ulp; P in the variable
 * t = x^2 2/3.75^2 - 1, which lies in [-1, 1] and keeps Horner's rule well conditioned. No
 * division: fifteen fused steps cost less than one on the machines of interest. The fit is lifted
 * by 1.2e-7 towards the end so that the clamped result is exactly 1 there. */
static KValue *expand_erf(Writer *w, KValue *x) {
  static const float tail[] = {
      0.37705692648887634f,   -0.18803009390830994f,  0.13926900923252106f,  -0.1119382306933403f,
      0.0907360091805458f,    -0.0716233104467392f,   0.05364362150430679f,  -0.037275876849889755f,
      0.024896379560232162f,  -0.016801495105028152f, 0.009176799096167088f, -0.002947088796645403f,
      0.0018594503635540605f, -0.002240111120045185f, 0.0008846981800161302f};
  KValue *c = clamp(w, x, -3.75, 3.75);
  KValue *u = real2(w, K_mul, c, c);
  KValue *factor = number(w, 2.0 / (3.75 * 3.75)), *start = number(w, -1.0);
  KValue *t = real3(w, K_fma, u, factor, start);
  return clamp(w, real2(w, K_mul, c, polynomial(w, t, tail, 15)), -1.0, 1.0);
}

static KValue *expand_rsqrt(Writer *w, KValue *x) {
  KValue *root = real1(w, K_sqrt, x);
  return real2(w, K_div, number(w, 1.0), root);
}

static KValue *expand_sign(Writer *w, KValue *x) {
  bool real = dtype_is_float(x->dtype);
  KValue *part[3]; /* -1, 0, 1 */
  for (int i = -1; i <= 1; i++)
    part[i + 1] = real ? number(w, i) : whole(w, x->dtype, i);
  KValue *below = op(w, K_lt, DT_f32, x, part[1], NULL);
  KValue *above = op(w, K_lt, DT_f32, part[1], x, NULL);
  KValue *rest = op(w, K_select, x->dtype, below, part[0], part[1]);
  return op(w, K_select, x->dtype, above, part[2], rest);
}

static KValue *(*expansion(Kop kop))(Writer *, KValue *) {
  switch (kop) {
  case K_exp: return expand_exp;
  case K_log: return expand_log;
  case K_tanh: return expand_tanh;
  case K_erf: return expand_erf;
  case K_rsqrt: return expand_rsqrt;
  case K_sign: return expand_sign;
  default: return NULL;
  }
}

static void legalize_block(Kernel *kernel, Block *block) {
  Block out = {0};
  for (int i = 0; i < block->count; i++) {
    Stmt *stmt = block->at[i];
    legalize_block(kernel, &stmt->body);
    legalize_block(kernel, &stmt->other);
    KValue *(*expand)(Writer *, KValue *) = stmt->kind == STMT_LET ? expansion(stmt->kop) : NULL;
    if (!expand) {
      vec_push(kernel->arena, &out, stmt);
      continue;
    }
    CHECK(stmt->kop == K_sign || stmt->value->dtype == DT_f32);
    Writer writer = {kernel, &out, stmt->value->width, stmt->loc};
    KValue *last = expand(&writer, stmt->value_arg[0]);
    CHECK(last == kernel->values.at[kernel->values.count - 1]);
    out.at[out.count - 1]->value = stmt->value; /* the last statement gives the old value */
    kernel->values.count--;
  }
  *block = out;
}

void kernel_legalize(Kernel *kernel) {
  CHECK(kernel->stage == STAGE_LOOP);
  legalize_block(kernel, &kernel->body);
}
