/* The expansions of exp, log, tanh, erf, rsqrt and sign against the double-precision library, over
 * floats of every exponent, by the interpreter and at two widths. Prints the largest errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "passes/kernel/kernel_pass.h"
#include <float.h>
#include <math.h>
#include <string.h>

enum { POINTS = 1 << 18 };

static float input[POINTS], output[POINTS];

/* y = kop(x) over all points, legalised and checked. */
static void apply(Kop kop, int width) {
  Arena *arena = arena_new();
  Error error = {0};
  Kernel *kernel = kernel_new(arena, "k", STAGE_LOOP);
  Type type = {DT_f32, 1, {POINTS}};
  Buffer *x = kernel_argument(kernel, "x", type, false);
  Buffer *y = kernel_argument(kernel, "y", type, true);
  IndexVar *i = kernel_grid(kernel, "i", POINTS / width);
  Stmt *load = stmt_add(kernel, &kernel->body, STMT_LOAD);
  load->buffer = x;
  load->at = affine_var(i, width);
  load->value = kernel_value(kernel, DT_f32, width);
  KValue *result = stmt_let(kernel, &kernel->body, kop, DT_f32, width, load->value, NULL, NULL);
  Stmt *store = stmt_add(kernel, &kernel->body, STMT_STORE);
  store->buffer = y;
  store->at = load->at;
  store->value_arg[0] = result;
  assert_false(kernel_check(kernel, &error)); /* not yet */
  kernel_legalize(kernel);
  if (!kernel_check(kernel, &error) || !kernel_eval(kernel, (void *[]){input, output}, 1, &error))
    fail_msg("%s", error.text);
  arena_free(arena);
}

/* Floats of all exponents and signs, spread evenly over their bit patterns, the specials first. */
static void all_exponents(void) {
  static const float special[] = {0.0f,   -0.0f,   INFINITY, -INFINITY, NAN,    1.0f,
                                  -1.0f,  FLT_MIN, FLT_MAX,  -FLT_MAX,  1e-45f, 88.72f,
                                  88.73f, -104.0f, -103.0f,  0.625f};
  for (uint32_t i = 0; i < POINTS; i++) {
    uint32_t bits = i * 16381u; /* about 2^32 / 2^18, odd */
    memcpy(&input[i], &bits, 4);
  }
  memcpy(input, special, sizeof special);
}

static void interval(double low, double high) {
  for (int i = 0; i < POINTS; i++)
    input[i] = (float)(low + (high - low) * i / (POINTS - 1));
}

/* |got - exact| in units of the float spacing at the exact value. */
static double ulps(float got, double exact) {
  float near = fabsf((float)exact);
  if (isnan(exact))
    return isnan(got) ? 0 : INFINITY;
  if (isinf(near) || isinf(got))
    return (float)exact == got ? 0 : INFINITY;
  double spacing = near == FLT_MAX ? 0x1p104 : (double)nextafterf(near, INFINITY) - near;
  return fabs(got - exact) / spacing;
}

typedef struct Worst {
  double ulp, absolute;
  float at;
} Worst;

static Worst measure(Kop kop, double (*exact)(double), int width) {
  Worst worst = {0, 0, 0};
  apply(kop, width);
  for (int i = 0; i < POINTS; i++) {
    double wanted = exact(input[i]), error = ulps(output[i], wanted);
    double absolute = isfinite(wanted) && isfinite(output[i]) ? fabs(output[i] - wanted) : 0;
    worst.at = error > worst.ulp ? input[i] : worst.at;
    worst.ulp = fmax(worst.ulp, error);
    worst.absolute = fmax(worst.absolute, absolute);
  }
  print_message("%s: at most %.3f ulp (at %.9g), %.3g absolute\n", kop_info[kop].name, worst.ulp,
                worst.at, worst.absolute);
  return worst;
}

static double inverse_root(double x) { return 1 / sqrt(x); }
static double sign(double x) { return (x > 0) - (x < 0); }

static void exponential(void **state) {
  (void)state;
  all_exponents();
  assert_true(measure(K_exp, exp, 16).ulp <= 2);
  interval(-104.5, 89.5);
  assert_true(measure(K_exp, exp, 1).ulp <= 2);
  interval(-0.75, 0.75);
  assert_true(measure(K_exp, exp, 8).ulp <= 2);
}

static void logarithm(void **state) {
  (void)state;
  all_exponents();
  assert_true(measure(K_log, log, 16).ulp <= 2);
  interval(0.5, 2);
  assert_true(measure(K_log, log, 1).ulp <= 2);
}

static void hyperbolic_tangent(void **state) {
  (void)state;
  all_exponents();
  assert_true(measure(K_tanh, tanh, 16).ulp <= 4);
  interval(-10, 10);
  assert_true(measure(K_tanh, tanh, 4).ulp <= 4);
}

static void error_function(void **state) {
  (void)state;
  all_exponents();
  Worst worst = measure(K_erf, erf, 16);
  assert_true(worst.absolute <= 4e-7 && worst.ulp <= 6);
  interval(-4.5, 4.5);
  assert_true(measure(K_erf, erf, 4).absolute <= 4e-7);
  interval(3.75, 100);
  apply(K_erf, 8);
  for (int i = 0; i < POINTS; i++)
    assert_true(output[i] == 1.0f); /* exactly: 1 - erf must vanish */
}

static void inverse_square_root(void **state) {
  (void)state;
  all_exponents();
  input[1] = 1; /* -0 gives -inf, as division says, where the library gives +inf at times */
  assert_true(measure(K_rsqrt, inverse_root, 16).ulp <= 1.5);
}

static void signs(void **state) {
  (void)state;
  all_exponents();
  assert_true(measure(K_sign, sign, 16).ulp == 0);
}

/* Values keep their ids, so that later statements see the results. */
static void ids_stay(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Kernel *kernel = kernel_new(arena, "k", STAGE_LOOP);
  KValue *x = stmt_const(kernel, &kernel->body, 0.5, DT_f32, 1);
  KValue *e = stmt_let(kernel, &kernel->body, K_exp, DT_f32, 1, x, NULL, NULL);
  KValue *twice = stmt_let(kernel, &kernel->body, K_add, DT_f32, 1, e, e, NULL);
  Error error;
  kernel_legalize(kernel);
  assert_true(kernel_check(kernel, &error));
  assert_int_equal(e->id, 1);
  assert_int_equal(twice->id, 2);
  for (int i = 0; i < kernel->values.count; i++)
    assert_int_equal(kernel->values.at[i]->id, i);
  arena_free(arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(exponential),
      cmocka_unit_test(logarithm),
      cmocka_unit_test(hyperbolic_tangent),
      cmocka_unit_test(error_function),
      cmocka_unit_test(inverse_square_root),
      cmocka_unit_test(signs),
      cmocka_unit_test(ids_stay),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
