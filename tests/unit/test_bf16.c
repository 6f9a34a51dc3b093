/* bf16: conversions of every pattern and of every tie, by dtype.c, the JIT, compiled C and the CUDA
 * text on the host shim, bit for bit; and dots of pairs against their meaning. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "codegen/emit.h"
#include "tests/unit/text_cases.h"
#include <stdlib.h>

enum { PATTERNS = 1 << 16, NEAR = 5, WIDTH = 16 };

static float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

/* The rule in words: the nearest of the two neighbours, the even one of a tie. */
static uint16_t rounded(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  if (isnan(x))
    return (uint16_t)(bits >> 16 | 64);
  if (isinf(x))
    return (uint16_t)(bits >> 16);
  uint32_t below = bits & 0xFFFF0000u;
  double low = float_of(below), at = x;
  /* past the largest finite one lies what would be the next, were there an exponent for it */
  double high = (below & 0x7F800000u) == 0x7F800000u - 0x00800000u && (below >> 16 & 127) == 127
                    ? ldexp(signbit(x) ? -1 : 1, 128)
                    : float_of(below + 0x10000u);
  double to_low = fabs(at - low), to_high = fabs(high - at);
  bool up = to_high < to_low || (to_high == to_low && (below >> 16 & 1));
  return (uint16_t)((below >> 16) + up);
}

/* Five floats around every pattern: itself, the tie above it, its neighbours, and noise. */
static float *interesting(void) {
  float *x = malloc(sizeof *x * PATTERNS * NEAR);
  static const uint32_t rest[NEAR] = {0, 0x8000, 0x7FFF, 0x8001, 0x1234};
  for (uint32_t p = 0; p < PATTERNS; p++)
    for (int i = 0; i < NEAR; i++)
      x[p * NEAR + (uint32_t)i] = float_of(p << 16 | rest[i]);
  return x;
}

static void test_dtype(void **state) {
  (void)state;
  float *x = interesting();
  for (int64_t i = 0; i < (int64_t)PATTERNS * NEAR; i++) {
    uint16_t got;
    dtype_store(DT_bf16, &got, 0, x[i]);
    assert_int_equal(got, rounded(x[i]));
  }
  for (uint32_t p = 0; p < PATTERNS; p++) {
    uint16_t bits = (uint16_t)p;
    float wide = (float)dtype_load(DT_bf16, &bits, 0), exact = float_of(p << 16);
    assert_true((isnan(wide) && isnan(exact)) || memcmp(&wide, &exact, 4) == 0);
  }
  free(x);
}

/* y = x in another type, `width` elements a block. */
static Kernel *cast_kernel(Arena *arena, Dtype from, Dtype to, int64_t elements, int width) {
  Kernel *k = kernel_new(arena, arena_printf(arena, "to_%s_%d", dtype_name(to), width), STAGE_LOOP);
  Buffer *x = kernel_argument(k, "x", vector_type(from, elements), false);
  Buffer *y = kernel_argument(k, "y", vector_type(to, elements), true);
  Affine at = affine_var(kernel_grid(k, "i", elements / width), width);
  KValue *value = add_load(k, &k->body, x, at, width);
  add_store(k, &k->body, y, at, stmt_let(k, &k->body, K_cast, to, width, value, NULL, NULL));
  return k;
}

static void check_casts(KernelCode *narrow, KernelCode *widen, int width) {
  float *x = interesting(), *wide = malloc(sizeof *wide * PATTERNS);
  uint16_t *got = malloc(sizeof *got * PATTERNS * NEAR), *all = malloc(sizeof *all * PATTERNS);
  assert_non_null(narrow);
  assert_non_null(widen);
  narrow((void *[]){x, got}, 0, (int64_t)PATTERNS * NEAR / width);
  for (int64_t i = 0; i < (int64_t)PATTERNS * NEAR; i++)
    assert_int_equal(got[i], rounded(x[i]));
  for (uint32_t p = 0; p < PATTERNS; p++)
    all[p] = (uint16_t)p;
  widen((void *[]){all, wide}, 0, PATTERNS / width);
  for (uint32_t p = 0; p < PATTERNS; p++) {
    uint32_t bits;
    memcpy(&bits, &wide[p], 4);
    assert_int_equal(bits, p << 16);
  }
  free(x), free(wide), free(got), free(all);
}

static const int widths[] = {1, 8, 16};
enum { WIDTHS = sizeof widths / sizeof *widths };

static void all_kernels(Arena *arena, Kernel **kernels) {
  for (int i = 0; i < WIDTHS; i++) {
    kernels[2 * i] = cast_kernel(arena, DT_f32, DT_bf16, (int64_t)PATTERNS * NEAR, widths[i]);
    kernels[2 * i + 1] = cast_kernel(arena, DT_bf16, DT_f32, PATTERNS, widths[i]);
    Error error;
    assert_true(kernel_check(kernels[2 * i], &error) && kernel_check(kernels[2 * i + 1], &error));
  }
}

static void check_text(TextDialect dialect) {
  Arena *arena = arena_new();
  Kernel *kernels[2 * WIDTHS];
  Error error = {""};
  all_kernels(arena, kernels);
  TextLibrary *library = text_library_build(dialect, kernels, 2 * WIDTHS, &error);
  if (!library)
    fail_msg("%s", error.text);
  for (int i = 0; i < WIDTHS; i++)
    check_casts(text_library_find(library, kernels[2 * i]->name),
                text_library_find(library, kernels[2 * i + 1]->name), widths[i]);
  text_library_free(library);
  arena_free(arena);
}

static void test_c(void **state) {
  (void)state;
  check_text(TEXT_C);
}

static void test_shim(void **state) {
  (void)state;
  check_text(TEXT_CUDA);
}

/* y = dot2(pair(x0, x1), pair(x2, x3), c) */
static Kernel *dot_kernel(Arena *arena, int64_t elements, int width) {
  Kernel *k = kernel_new(arena, "dots", STAGE_LOOP);
  KValue *x[4], *pairs[2];
  Buffer *from[4];
  static const char *const names[] = {"x0", "x1", "x2", "x3"};
  for (int i = 0; i < 4; i++)
    from[i] = kernel_argument(k, names[i], vector_type(DT_bf16, elements), false);
  Buffer *c = kernel_argument(k, "c", vector_type(DT_f32, elements), false);
  Buffer *y = kernel_argument(k, "y", vector_type(DT_f32, elements), true);
  Affine at = affine_var(kernel_grid(k, "i", elements / width), width);
  for (int i = 0; i < 4; i++)
    x[i] = add_load(k, &k->body, from[i], at, width);
  for (int i = 0; i < 2; i++)
    pairs[i] = stmt_let(k, &k->body, K_pair, DT_i32, width, x[2 * i], x[2 * i + 1], NULL);
  KValue *sum = add_load(k, &k->body, c, at, width);
  add_store(k, &k->body, y, at,
            stmt_let(k, &k->body, K_dot2, DT_f32, width, pairs[0], pairs[1], sum));
  return k;
}

enum { DOTS = 4096 };

/* Runs the kernel; NULL: by the interpreter. Every result is the exact sum within two roundings,
 * and NaN where a factor is. */
static void check_dots(const Kernel *k, KernelCode *code) {
  static uint16_t x[4][DOTS];
  static float c[DOTS], y[DOTS];
  uint64_t random = 7;
  for (int i = 0; i < DOTS; i++) {
    for (int j = 0; j < 4; j++) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      dtype_store(DT_bf16, x[j], i, (double)(int64_t)random * 0x1p-62);
    }
    c[i] = (float)((double)(int64_t)(random << 20) * 0x1p-62);
  }
  dtype_store(DT_bf16, x[2], 5, NAN);
  dtype_store(DT_bf16, x[3], 9, INFINITY);
  void *arguments[] = {x[0], x[1], x[2], x[3], c, y};
  Error error;
  if (code)
    code(arguments, 0, kernel_blocks(k));
  else if (!kernel_eval(k, arguments, 3, &error))
    fail_msg("%s", error.text);
  for (int i = 0; i < DOTS; i++) {
    double part[4];
    for (int j = 0; j < 4; j++)
      part[j] = dtype_load(DT_bf16, x[j], i);
    double exact = c[i] + part[0] * part[2] + part[1] * part[3];
    double size = fabs(c[i]) + fabs(part[0] * part[2]) + fabs(part[1] * part[3]);
    if (isnan(exact) || isinf(exact))
      assert_true(isnan(exact) ? isnan(y[i]) : y[i] == (float)exact);
    else
      assert_true(fabs(y[i] - exact) <= size * 0x1p-22);
  }
}

static void test_dots(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Kernel *k = dot_kernel(arena, DOTS, WIDTH);
  Error error;
  if (!kernel_check(k, &error))
    fail_msg("%s", error.text);
  check_dots(k, NULL);
  arena_free(arena);
}

#if TRICOT_LLVM
static void test_jit(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Kernel *kernels[2 * WIDTHS + 1];
  Error error = {""};
  CpuLevel level;
  all_kernels(arena, kernels);
  kernels[2 * WIDTHS] = dot_kernel(arena, DOTS, WIDTH);
  assert_true(cpu_level_find("native", &level, &error));
  bool dots = level.facts.bf16_pairs;
  Jit *jit = jit_build(kernels, 2 * WIDTHS + dots, 1, &error);
  if (!jit)
    fail_msg("%s", error.text);
  for (int i = 0; i < WIDTHS; i++)
    check_casts(jit_find(jit, kernels[2 * i]->name), jit_find(jit, kernels[2 * i + 1]->name),
                widths[i]);
  if (dots)
    check_dots(kernels[2 * WIDTHS], jit_find(jit, "dots"));
  else
    print_message("this CPU has no AVX512-BF16: its dots of pairs are not tested\n");
  jit_free(jit);
  arena_free(arena);
}
#endif

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_dtype),
    cmocka_unit_test(test_c),
    cmocka_unit_test(test_shim),
    cmocka_unit_test(test_dots),
#if TRICOT_LLVM
    cmocka_unit_test(test_jit),
#endif
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
