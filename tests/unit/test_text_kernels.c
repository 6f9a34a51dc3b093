/* Whole kernels as C text and as CUDA text over the host shim: against kernel_eval bit for bit, and
 * kernel_eval against plain loops; then what the shim must catch: lost and divergent barriers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/text_kernels.h"
#include <stdio.h>
#include <stdlib.h>

enum { MAX_ARGUMENTS = 8 };

typedef struct Arguments {
  int count;
  void *at[MAX_ARGUMENTS];
} Arguments;

/* Inputs the same for every run, outputs cleared. Integers stay in the range of what they index. */
static Arguments make_arguments(const Kernel *k) {
  Arguments arguments = {.count = k->n_arguments};
  for (int i = 0; i < k->n_arguments; i++) {
    const Buffer *b = k->buffers.at[i];
    int64_t elements = type_elements(&b->type);
    arguments.at[i] = calloc((size_t)elements, dtype_size(b->type.dtype));
    for (int64_t j = 0; j < elements && !b->written; j++) {
      int number = (int)((j * 37 + i * 11) % 101);
      Scalar cell = {.i = number % LENGTH};
      if (b->type.dtype == DT_f32)
        cell.f = (float)number * 0.37f - 15;
      cell_put(b->type.dtype, arguments.at[i], j, cell);
    }
  }
  return arguments;
}

static void free_arguments(Arguments *arguments) {
  for (int i = 0; i < arguments->count; i++)
    free(arguments->at[i]);
}

static Arguments by_interpreter(const Kernel *k) {
  Error error = {""};
  if (!kernel_check(k, &error))
    fail_msg("%s", error.text);
  Arguments arguments = make_arguments(k);
  if (!kernel_eval(k, arguments.at, 5, &error))
    fail_msg("%s", error.text);
  return arguments;
}

static TextLibrary *build(TextDialect dialect, Kernel *const *kernels, int count) {
  Error error = {""};
  TextLibrary *library = text_library_build(dialect, kernels, count, &error);
  if (!library)
    fail_msg("%s", error.text);
  return library;
}

static Arguments by_text(TextLibrary *library, const Kernel *k) {
  Arguments arguments = make_arguments(k);
  KernelCode *code = text_library_find(library, k->name);
  assert_non_null(code);
  int64_t blocks = kernel_blocks(k), middle = blocks / 3; /* two calls, the later part first */
  code(arguments.at, middle, blocks);
  code(arguments.at, 0, middle);
  return arguments;
}

static bool same_results(const Kernel *k, const Arguments *a, const Arguments *b) {
  for (int i = 0; i < k->n_arguments; i++) {
    Dtype dtype = k->buffers.at[i]->type.dtype;
    for (int64_t j = 0; j < type_elements(&k->buffers.at[i]->type); j++)
      if (!cell_same(dtype, cell_get(dtype, a->at[i], j), cell_get(dtype, b->at[i], j)))
        return false;
  }
  return true;
}

static void check_kernels(TextDialect dialect, Kernel *const *kernels, int count) {
  TextLibrary *library = build(dialect, kernels, count);
  Error error = {""};
  for (int i = 0; i < count; i++) {
    Arguments want = by_interpreter(kernels[i]), got = by_text(library, kernels[i]);
    if (!text_library_check(library, &error))
      fail_msg("%s", error.text);
    if (!same_results(kernels[i], &want, &got))
      fail_msg("kernel %s: the text computes something else", kernels[i]->name);
    free_arguments(&want);
    free_arguments(&got);
  }
  assert_null(text_library_find(library, "nobody"));
  text_library_free(library);
}

static int add_kernels(Arena *arena, Kernel **kernels, const int *widths, int n_widths) {
  int count = 0;
  for (int i = 0; i < n_widths; i++) {
    kernels[count++] = make_elementwise(arena, widths[i]);
    kernels[count++] = make_row_sum(arena, widths[i]);
    kernels[count++] = make_taps(arena, widths[i]);
    kernels[count++] = make_gather(arena, DT_i64, widths[i]);
    kernels[count++] = make_gather(arena, DT_i32, widths[i]);
  }
  kernels[count++] = make_guarded(arena);
  kernels[count++] = make_branches(arena);
  kernels[count++] = make_wide(arena);
  return count;
}

static void kernels_in_c(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Kernel *kernels[32];
  int count = add_kernels(arena, kernels, (int[]){1, 4, 8, 16}, 4);
  check_kernels(TEXT_C, kernels, count);
  arena_free(arena);
}

static void kernels_in_cuda(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Kernel *kernels[32];
  int count = add_kernels(arena, kernels, (int[]){1, 2, 4}, 3);
  check_kernels(TEXT_CUDA, kernels, count);
  arena_free(arena);
}

/* The kernels are what their comments say. */
static void kernels_are_right(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Kernel *k = make_elementwise(arena, 8);
  Arguments a = by_interpreter(k);
  for (int i = 0; i < ELEMENTS; i++) {
    float x = ((float *)a.at[0])[i];
    assert_true(((float *)a.at[1])[i] == (2 * x > x - 1 ? 2 * x : x - 1));
  }
  free_arguments(&a);
  k = make_taps(arena, 4);
  a = by_interpreter(k);
  const float *x = a.at[0], *w = a.at[1], *y = a.at[2];
  for (int p = 0; p < LENGTH; p++)
    for (int c = 0; c < CHANNELS; c++) {
      float sum = 0;
      for (int t = 0; t < TAPS; t++)
        for (int e = 0; e < CHANNELS; e++) {
          int from = p + 5 * (t - 1);
          float value = from >= 0 && from < LENGTH ? x[from * CHANNELS + e] : 0;
          sum = fmaf(value, w[(t * CHANNELS + e) * CHANNELS + c], sum);
        }
      assert_true(y[p * CHANNELS + c] == sum);
    }
  free_arguments(&a);
  k = make_guarded(arena);
  a = by_interpreter(k);
  for (int i = 0; i < 2 * LENGTH + 16; i++) {
    int from = i / 2 - 4;
    bool held = i % 2 == 0 && from >= 0 && from < LENGTH;
    assert_true(((float *)a.at[1])[i] == (held ? ((float *)a.at[0])[from] : -INFINITY));
  }
  free_arguments(&a);
  k = make_branches(arena);
  a = by_interpreter(k);
  for (int r = 0; r < ROWS; r++) {
    int sum = 0;
    for (int j = 0; j < (r + 2 < 5 ? r + 2 : 5); j++)
      sum += 10 * r + 3 * j;
    assert_int_equal(((int32_t *)a.at[0])[r], r % 2 ? -sum : sum);
  }
  free_arguments(&a);
  arena_free(arena);
}

/* One kernel's text in full: what people read. */
static void text_is_readable(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Kernel *k = make_wide(arena);
  Source source = {"model.yaml", "", 0};
  k->doc = "wide sums";
  k->loc = (Loc){&source, 12, 3};
  Text c = {0}, cuda = {0};
  emit_text(TEXT_C, &k, 1, &c);
  emit_text(TEXT_CUDA, &k, 1, &cuda);
  assert_string_equal(strstr(c.at, "\n/* wide"),
                      "\n/* wide sums\n"
                      " * model.yaml:12 */\n"
                      "void wide(void *const *arguments, i64 begin, i64 end) {\n"
                      "  const i64 *restrict x = arguments[0]; /* i64[1000] */\n"
                      "  i64 *restrict y = arguments[1]; /* i64[1000] */\n"
                      "  for (i64 i = begin; i < end; i++) {\n"
                      "    i64 *to = y + (10*i);\n"
                      "    for (i64 j = 0; j < 10; j++) {\n"
                      "      const i64 v0 = (i64)(400000000*i + 40000000*j);\n"
                      "      const i64 v1 = x[10*i + j];\n"
                      "      const i64 v2 = 5;\n"
                      "      const i64 v3 = v1 * v2;\n"
                      "      const i64 v4 = v0 + v3;\n"
                      "      to[j] = v4;\n"
                      "    }\n"
                      "  }\n"
                      "}\n");
  assert_non_null(strstr(cuda.at, "(i64)(400000000ll*i + 40000000ll*j)"));
  assert_non_null(strstr(cuda.at, "const i64 v1 = x[10*i + j];"));
  text_free(&c);
  text_free(&cuda);
  arena_free(arena);
}

/* ---- threads ---- */

static void threads_share_memory(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Kernel *k = make_shared(arena, "mirror", true, true);
  assert_int_equal(kernel_shared_bytes(k), 16 + 4 * THREADS);
  Arguments want = by_interpreter(k);
  float sum = 0;
  for (int s = 0; s < STEPS; s++)
    sum += ((float *)want.at[0])[s * THREADS + 60];
  assert_true(((float *)want.at[1])[3] == sum);
  TextLibrary *library = build(TEXT_CUDA, &k, 1);
  for (uint64_t seed = 0; seed < 8; seed++) {
    text_library_seed(library, seed);
    Arguments got = by_text(library, k);
    assert_true(text_library_check(library, NULL));
    assert_true(same_results(k, &want, &got));
    free_arguments(&got);
  }
  text_library_free(library);
  free_arguments(&want);
  arena_free(arena);
}

/* Without a barrier the results differ, under nearly every order of the threads. */
static void lost_barriers_show(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Kernel *kernels[] = {make_shared(arena, "no_first", false, true),
                       make_shared(arena, "no_second", true, false),
                       make_shared(arena, "no_barrier", false, false)};
  Kernel *whole = make_shared(arena, "whole", true, true);
  Arguments want = by_interpreter(whole);
  TextLibrary *library = build(TEXT_CUDA, kernels, 3);
  for (int i = 0; i < 3; i++) {
    Arguments race = make_arguments(kernels[i]);
    Error error = {""};
    assert_false(kernel_eval(kernels[i], race.at, 1, &error)); /* the interpreter says so too */
    free_arguments(&race);
    int seen = 0;
    for (uint64_t seed = 0; seed < 8; seed++) {
      text_library_seed(library, seed);
      Arguments got = by_text(library, kernels[i]);
      assert_true(text_library_check(library, NULL));
      seen += !same_results(whole, &want, &got);
      free_arguments(&got);
    }
    printf("%s: seen with %d of 8 seeds\n", kernels[i]->name, seen);
    assert_int_equal(seen, 8);
  }
  text_library_free(library);
  free_arguments(&want);
  arena_free(arena);
}

/* A barrier for half the threads; `other`: the other half has a barrier of its own. */
static Kernel *make_divergent(Arena *arena, const char *name, bool other) {
  Kernel *k = kernel_new(arena, name, STAGE_LOOP);
  Buffer *y = kernel_argument(k, "y", vector_type(DT_f32, THREADS), true);
  IndexVar *thread = kernel_thread(k, "thread", THREADS);
  KValue *one = stmt_const(k, &k->body, 1, DT_f32, 1);
  Stmt *branch = stmt_add(k, &k->body, STMT_IF);
  add_guard(k, branch, affine_var(thread, 1), THREADS / 2, 0);
  stmt_add(k, &branch->body, STMT_BARRIER);
  add_store(k, &branch->body, y, affine_var(thread, 1), one);
  if (other)
    stmt_add(k, &branch->other, STMT_BARRIER);
  add_store(k, &branch->other, y, affine_var(thread, 1), one);
  return k;
}

static void divergent_barriers_are_errors(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Kernel *kernels[] = {make_divergent(arena, "half", false), make_divergent(arena, "two", true)};
  static const char *const words[] = {"returned without reaching it", "waits at another barrier"};
  TextLibrary *library = build(TEXT_CUDA, kernels, 2);
  for (int i = 0; i < 2; i++) {
    Error error = {""};
    assert_false(kernel_check(kernels[i], &error));
    Arguments arguments = by_text(library, kernels[i]);
    assert_false(text_library_check(library, &error));
    printf("%s\n", error.text);
    assert_non_null(strstr(error.text, words[i]));
    assert_non_null(strstr(error.text, kernels[i]->name));
    assert_true(text_library_check(library, &error)); /* said once */
    free_arguments(&arguments);
  }
  text_library_free(library);
  arena_free(arena);
}

/* ---- the compiler ---- */

static void broken_compilers_are_errors(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Kernel *k = make_guarded(arena);
  Error error = {""};
  const char *kept = getenv("CC");
  char *old = kept ? strdup(kept) : NULL;
  setenv("CC", "tricot-no-such-compiler", 1);
  assert_null(text_library_build(TEXT_C, &k, 1, &error));
  printf("%s\n", error.text);
  assert_non_null(strstr(error.text, "tricot-no-such-compiler"));
  setenv("CC", "cc -DTRICOT_NAN=1 -include tricot-no-such-file.h", 1);
  assert_null(text_library_build(TEXT_C, &k, 1, &error));
  printf("%s\n", error.text);
  assert_non_null(strstr(error.text, "tricot-no-such-file.h"));
  if (old)
    setenv("CC", old, 1);
  else
    unsetenv("CC");
  free(old);
  arena_free(arena);
}

/* clang takes the same text, where there is one. */
static void clang_agrees(void **state) {
  (void)state;
  if (system("clang --version >/dev/null 2>&1") != 0) {
    printf("skipped: no clang\n");
    skip();
  }
  Arena *arena = arena_new();
  Kernel *kernels[32];
  setenv("CC", "clang", 1);
  check_kernels(TEXT_C, kernels, add_kernels(arena, kernels, (int[]){16}, 1));
  check_kernels(TEXT_CUDA, kernels, add_kernels(arena, kernels, (int[]){1}, 1));
  unsetenv("CC");
  arena_free(arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(kernels_are_right),
      cmocka_unit_test(text_is_readable),
      cmocka_unit_test(kernels_in_c),
      cmocka_unit_test(kernels_in_cuda),
      cmocka_unit_test(threads_share_memory),
      cmocka_unit_test(lost_barriers_show),
      cmocka_unit_test(divergent_barriers_are_errors),
      cmocka_unit_test(broken_compilers_are_errors),
      cmocka_unit_test(clang_agrees),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
