/* Every scalar op in C and CUDA text at several widths, compiled and run, against kop_eval. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/text_cases.h"
#include <stdio.h>
#include <stdlib.h>

static TextLibrary *build(TextDialect dialect, Kernel *const *kernels, int count) {
  Error error = {""};
  TextLibrary *library = text_library_build(dialect, kernels, count, &error);
  if (!library) {
    Text text = {0};
    emit_text(dialect, kernels, count, &text);
    printf("%s\n", text.at);
    fail_msg("%s", error.text);
  }
  return library;
}

static void run(TextLibrary *library, const Kernel *k, void *const *arguments) {
  KernelCode *code = text_library_find(library, k->name);
  assert_non_null(code);
  /* in two calls: blocks must not depend on where a range begins */
  int64_t blocks = kernel_blocks(k), middle = blocks / 3;
  code(arguments, middle, blocks);
  code(arguments, 0, middle);
  Error error = {""};
  if (!text_library_check(library, &error))
    fail_msg("%s", error.text);
}

/* ---- every scalar op ---- */

static const Dtype types[] = {DT_f32, DT_i64, DT_i32, DT_i16, DT_i8, DT_u8};
enum { N_TYPES = 6, CELLS = 256, MAX_CASES = 64 };

typedef struct Case {
  Kop kop;
  Dtype result;
  KValue *value;
} Case;

/* Inputs: a, b, c of the type, a condition, shift counts. Outputs: one buffer a case. */
typedef struct KopKernel {
  Kernel *kernel;
  Dtype dtype;
  int width, n_cases;
  Case cases[MAX_CASES];
} KopKernel;

static bool legal(Kop kop, Dtype dtype) {
  const KopInfo *info = &kop_info[kop];
  if (info->kind == KOP_HORIZONTAL || info->kind == KOP_SPLAT)
    return true;
  return info->kind != KOP_CAST && *(dtype == DT_f32 ? info->c_float : info->c_int) != 0;
}

static void make_kop_kernel(Arena *arena, KopKernel *test, Dtype dtype, int width) {
  Kernel *k = kernel_new(arena, arena_printf(arena, "ops_%s_%d", dtype_name(dtype), width),
                         STAGE_LOOP);
  *test = (KopKernel){.kernel = k, .dtype = dtype, .width = width};
  k->doc = "every scalar op */ of one type";
  static const char *const names[] = {"a", "b", "c"};
  Buffer *in[5], *out[MAX_CASES];
  for (int i = 0; i < 3; i++)
    in[i] = kernel_argument(k, names[i], vector_type(dtype, CELLS), false);
  in[3] = kernel_argument(k, "new", vector_type(DT_f32, CELLS), false); /* a C++ keyword */
  in[4] = kernel_argument(k, "shift.count", vector_type(dtype, CELLS), false);
  for (int kop = 0; kop < K_COUNT; kop++)
    if (legal((Kop)kop, dtype)) {
      Dtype result = kop_info[kop].kind == KOP_COMPARE ? DT_f32 : dtype;
      test->cases[test->n_cases++] = (Case){(Kop)kop, result, NULL};
    }
  for (int to = 0; to < N_TYPES; to++)
    test->cases[test->n_cases++] = (Case){K_cast, types[to], NULL};
  if (dtype == DT_f32 || dtype == DT_i32)
    test->cases[test->n_cases++] = (Case){K_bits, dtype == DT_f32 ? DT_i32 : DT_f32, NULL};
  for (int i = 0; i < test->n_cases; i++)
    out[i] = kernel_argument(k, "out", vector_type(test->cases[i].result, CELLS), true);
  IndexVar *i = kernel_grid(k, "i", CELLS / width);
  Affine at = affine_var(i, width);
  KValue *v[5];
  for (int j = 0; j < 5; j++)
    v[j] = add_load(k, &k->body, in[j], at, width);
  KValue *one = add_load(k, &k->body, in[0], at, 1);
  for (int j = 0; j < test->n_cases; j++) {
    Case *c = &test->cases[j];
    const KopInfo *info = &kop_info[c->kop];
    bool shift = c->kop == K_shl || c->kop == K_shr;
    KValue *first = info->kind == KOP_SELECT ? v[3] : info->kind == KOP_SPLAT ? one : v[0];
    KValue *second = info->kind == KOP_SELECT ? v[0] : shift ? v[4] : v[1];
    KValue *third = info->kind == KOP_SELECT ? v[1] : v[2];
    int result_width = info->kind == KOP_HORIZONTAL ? 1 : width;
    c->value = stmt_let(k, &k->body, c->kop, c->result, result_width, first,
                        info->arity > 1 ? second : NULL, info->arity > 2 ? third : NULL);
    add_store(k, &k->body, out[j], at, c->value);
  }
}

/* What cell `i` of a case must be. */
static Scalar expected(const KopKernel *test, const Case *c, void *const *in, int64_t i) {
  const KopInfo *info = &kop_info[c->kop];
  Scalar args[3];
  if (info->kind == KOP_SPLAT)
    return cell_get(test->dtype, in[0], i / test->width * test->width);
  if (info->kind == KOP_HORIZONTAL) {
    Scalar lane[64];
    Kop fold = c->kop == K_hadd ? K_add : c->kop == K_hmax ? K_max : K_min;
    for (int l = 0; l < test->width; l++)
      lane[l] = cell_get(test->dtype, in[0], i + l);
    for (int half = test->width / 2; half; half /= 2)
      for (int l = 0; l < half; l++)
        lane[l] = kop_eval(fold, test->dtype, test->dtype, (Scalar[]){lane[l], lane[l + half]});
    return lane[0];
  }
  if (info->kind == KOP_SELECT) {
    args[0] = cell_get(DT_f32, in[3], i);
    args[1] = cell_get(test->dtype, in[0], i);
    args[2] = cell_get(test->dtype, in[1], i);
  } else {
    bool shift = c->kop == K_shl || c->kop == K_shr;
    args[0] = cell_get(test->dtype, in[0], i);
    args[1] = cell_get(test->dtype, in[shift ? 4 : 1], i);
    args[2] = cell_get(test->dtype, in[2], i);
  }
  return kop_eval(c->kop, test->dtype, c->result, args);
}

static void check_kop_kernel(TextLibrary *library, const KopKernel *test) {
  void *arguments[5 + MAX_CASES];
  for (int j = 0; j < 5 + test->n_cases; j++)
    arguments[j] = calloc(CELLS, 8);
  for (int j = 0; j < 3; j++)
    fill_cells(test->dtype, arguments[j], CELLS, (uint64_t)j + 3);
  fill_cells(DT_f32, arguments[3], CELLS, 77);
  for (int i = 0; i < CELLS; i += 2)
    ((float *)arguments[3])[i] = i % 4 ? -0.0f : 0.0f;
  for (int i = 0; i < CELLS && test->dtype != DT_f32; i++)
    cell_put(test->dtype, arguments[4], i,
             (Scalar){.i = i % (int64_t)(8 * dtype_size(test->dtype))});
  run(library, test->kernel, arguments);
  for (int j = 0; j < test->n_cases; j++) {
    const Case *c = &test->cases[j];
    int step = kop_info[c->kop].kind == KOP_HORIZONTAL ? test->width : 1;
    for (int64_t i = 0; i < CELLS; i += step) {
      Scalar want = expected(test, c, arguments, i), got = cell_get(c->result, arguments[5 + j], i);
      if (!cell_same(c->result, want, got))
        fail_msg("%s: %s to %s at %lld: %.9g/%lld, not %.9g/%lld", test->kernel->name,
                 kop_info[c->kop].name, dtype_name(c->result), (long long)i, (double)got.f,
                 (long long)got.i, (double)want.f, (long long)want.i);
    }
  }
  for (int j = 0; j < 5 + test->n_cases; j++)
    free(arguments[j]);
}

static void check_kops(TextDialect dialect, const int *widths, int n_widths) {
  Arena *arena = arena_new();
  KopKernel tests[64];
  Kernel *kernels[64];
  int count = 0;
  for (int w = 0; w < n_widths; w++)
    for (int t = 0; t < N_TYPES; t++) {
      make_kop_kernel(arena, &tests[count], types[t], widths[w]);
      kernels[count] = tests[count].kernel;
      count++;
    }
  TextLibrary *library = build(dialect, kernels, count);
  for (int i = 0; i < count; i++)
    check_kop_kernel(library, &tests[i]);
  printf("%d kernels, %d ops in each f32 kernel\n", count, tests[0].n_cases);
  text_library_free(library);
  arena_free(arena);
}

static void kops_in_c(void **state) {
  (void)state;
  check_kops(TEXT_C, (int[]){1, 4, 8, 16}, 4);
}

static void kops_in_cuda(void **state) {
  (void)state;
  check_kops(TEXT_CUDA, (int[]){1, 2, 4}, 3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(kops_in_c),
      cmocka_unit_test(kops_in_cuda),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
