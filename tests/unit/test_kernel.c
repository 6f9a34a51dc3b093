/* Kernels in memory: names, index arithmetic, scalar ops on edge values, counting, and text of
 * kernels made by the builders. What text can show is tested in tests/kernel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ir/kernel.h"
#include <math.h>
#include <string.h>

static void names_are_unique(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Kernel *kernel = kernel_new(arena, "k", STAGE_TILE);
  Type type = {DT_f32, 1, {4}};
  assert_string_equal(kernel_argument(kernel, "x", type, false)->name, "x");
  assert_string_equal(kernel_argument(kernel, "x", type, true)->name, "x1");
  assert_string_equal(kernel_var(kernel, "x", 0, 3)->name, "x2");
  assert_string_equal(kernel_tile(kernel, "x1", DT_f32, 0, NULL, 4)->name, "x3");
  assert_string_equal(kernel_table(kernel, "my table", 1, (int64_t[]){1})->name, "my_table");
  assert_string_equal(kernel_grid(kernel, "7", 3)->name, "v7");
  assert_string_equal(kernel_var(kernel, "", 0, 1)->name, "v");
  assert_string_equal(kernel_var(kernel, "r", 0, 1)->name, "r");
  assert_string_equal(kernel_var(kernel, "r", 0, 1)->name, "r1");
  assert_string_equal(kernel_var(kernel, "r", 0, 1)->name, "r2");
  arena_free(arena);
}

static void affine_normal_form(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Kernel *kernel = kernel_new(arena, "k", STAGE_LOOP);
  IndexVar *i = kernel_var(kernel, "i", 0, 9), *j = kernel_var(kernel, "j", -2, 3);
  Affine a = affine_add(affine_var(j, 3), affine_offset(affine_var(i, 4), 5));
  assert_int_equal(a.count, 2);
  assert_ptr_equal(a.term[0].var, i);
  assert_ptr_equal(a.term[1].var, j);
  assert_int_equal(affine_low(&a), 5 - 6);
  assert_int_equal(affine_high(&a), 5 + 36 + 9);
  Affine negative = affine_scale(a, -1);
  assert_int_equal(affine_low(&negative), -50);
  assert_int_equal(affine_high(&negative), 1);
  Affine zero = affine_add(a, negative);
  assert_true(affine_is_constant(&zero));
  assert_int_equal(zero.constant, 0);
  /* j := 2 i + 1 gives 10 i + 8, which is one term */
  Affine replaced = affine_substitute(a, j, affine_offset(affine_var(i, 2), 1));
  Affine wanted = affine_offset(affine_var(i, 10), 8);
  assert_true(affine_equal(&replaced, &wanted));
  assert_false(affine_equal(&replaced, &a));
  assert_true(affine_is_constant(&(Affine){0}));
  arena_free(arena);
}

static int64_t on_ints(Kop kop, Dtype dtype, int64_t a, int64_t b) {
  return kop_eval(kop, dtype, dtype, (Scalar[]){{.i = a}, {.i = b}}).i;
}

static float on_floats(Kop kop, float a, float b, float c) {
  return kop_eval(kop, DT_f32, DT_f32, (Scalar[]){{.f = a}, {.f = b}, {.f = c}}).f;
}

static void integers_wrap(void **state) {
  (void)state;
  assert_int_equal(on_ints(K_add, DT_i32, INT32_MAX, 1), INT32_MIN);
  assert_int_equal(on_ints(K_mul, DT_i64, INT64_MAX, 2), -2);
  assert_int_equal(on_ints(K_neg, DT_i64, INT64_MIN, 0), INT64_MIN);
  assert_int_equal(on_ints(K_sub, DT_u8, 3, 5), 254);
  assert_int_equal(on_ints(K_shl, DT_i32, 1, 31), INT32_MIN);
  assert_int_equal(on_ints(K_shr, DT_i32, -8, 1), -4);
  assert_int_equal(on_ints(K_max, DT_i8, -8, 1), 1);
  assert_int_equal(on_ints(K_abs, DT_i32, -8, 0), 8);
  assert_int_equal(on_ints(K_sign, DT_i16, -8, 0), -1);
}

static void floats_at_the_edges(void **state) {
  (void)state;
  assert_true(isnan(on_floats(K_max, 1, NAN, 0))); /* the second where unordered */
  assert_true(on_floats(K_max, NAN, 1, 0) == 1);
  assert_true(on_floats(K_min, NAN, 1, 0) == 1);
  assert_true(on_floats(K_round, 2.5f, 0, 0) == 2);
  assert_true(on_floats(K_round, 3.5f, 0, 0) == 4);
  /* one rounding: (1 + e)(1 - e) - 1 = -e^2 */
  float e = 0x1p-13f;
  assert_true(on_floats(K_fma, 1 + e, 1 - e, -1) == -0x1p-26f);
  assert_true(on_floats(K_lt, NAN, 1, 0) == 0);
  assert_true(on_floats(K_select, NAN, 3, 4) == 3);
  assert_true(on_floats(K_select, -0.0f, 3, 4) == 4);
}

static Scalar cast(Kop kop, Dtype from, Dtype to, Scalar a) { return kop_eval(kop, from, to, &a); }

static void casts(void **state) {
  (void)state;
  assert_int_equal(cast(K_cast, DT_f32, DT_i32, (Scalar){.f = -2.9f}).i, -2);
  assert_int_equal(cast(K_cast, DT_f32, DT_u8, (Scalar){.f = 300}).i, 255);
  assert_int_equal(cast(K_cast, DT_f32, DT_i64, (Scalar){.f = 1e30f}).i, INT64_MAX);
  assert_int_equal(cast(K_cast, DT_f32, DT_i32, (Scalar){.f = NAN}).i, 0);
  assert_int_equal(cast(K_cast, DT_i64, DT_i8, (Scalar){.i = 384}).i, -128);
  assert_true(cast(K_cast, DT_i32, DT_f32, (Scalar){.i = 16777217}).f == 16777216.0f);
  assert_true(cast(K_cast, DT_f32, DT_bf16, (Scalar){.f = 1.00390625f}).f == 1.0f); /* a tie */
  assert_true(cast(K_cast, DT_f32, DT_f16, (Scalar){.f = 1e6f}).f == INFINITY);
  assert_int_equal(cast(K_bits, DT_f32, DT_i32, (Scalar){.f = -1.0f}).i, (int32_t)0xBF800000);
  assert_true(cast(K_bits, DT_i32, DT_f32, (Scalar){.i = 0x40000000}).f == 2.0f);
}

static void table_is_complete(void **state) {
  (void)state;
  Kop kop;
  for (int i = 0; i < K_COUNT; i++) {
    assert_true(kop_find(kop_info[i].name, &kop));
    assert_int_equal(kop, i);
    assert_in_range(kop_info[i].arity, 1, MAX_KOP_ARGS);
  }
  assert_false(kop_find("softmax", &kop));
}

/* A loop whose length depends on the block, a branch on the thread, vectors and a halving. */
static void flops_are_counted(void **state) {
  (void)state;
  static const char text[] =
      "loop kernel @k(%x: f32[64], %y: out f32[64]) {\n"
      "  grid %g = 5\n"
      "  grid %i = 3\n"
      "  threads %t = 4\n"
      "  %0 = load %x[0] : f32x8\n"
      "  for %k : [0, 3] = 0 to %i + 1 step 1 {\n" /* 1 + 2 + 3 rounds of 16 */
      "    %1 = fma %0, %0, %0 : f32x8\n"
      "  }\n"
      "  if 0 <= %t < 3 {\n" /* 3 threads of 7 */
      "    %2 = hadd %0 : f32\n"
      "  } else {\n" /* one of 1 */
      "    %3 = load %x[3] : f32\n"
      "    %4 = sqrt %3 : f32\n"
      "  }\n"
      "}\n"
      "tile kernel @t(%x: f32[8,8], %y: out f32[8,8]) {\n"
      "  grid %i = 2\n"
      "  %a = load %x[4*%i + r0, c] fill 0.0 : f32[4, 8]\n"
      "  %b = load %x[r0, c] fill 0.0 : f32[8, 8]\n"
      "  for %k : [0, 6] = 0 to 8 step 3 {\n"
      "    dot %a, %a, %b : f32[4, 8]\n"
      "  }\n"
      "  %s = fold add rows %a : f32[8]\n"
      "}\n"
      "tile kernel @open(%w: bf16[8,8], %ends: i32[2], %y: out f32[4,8]) {\n"
      "  grid %i = 3\n"
      "  %past : [0, 5] = lookup %ends[0]\n"
      "  %a = load %w[r0, c] fill 0.0 : bf16[4, 8]\n"
      "  %b0 = load %w[2*r0, c] fill 0.0 : bf16[4, 8]\n"
      "  %b1 = load %w[2*r0 + 1, c] fill 0.0 : bf16[4, 8]\n"
      "  %b = map pair %b0, %b1 : i32[4, 8]\n"
      "  %s = fill 0.0 : f32[4, 8]\n"
      "  dot %s, %a, %b : f32[4, 8]\n"
      "  for %k : [0, 4] = 0 to %past step 1 {\n" /* at most 5 rounds */
      "    %t = map add %s, %s : f32[4, 8]\n"
      "  }\n"
      "}\n";
  Arena *arena = arena_new();
  Diag diag;
  int count;
  diag_init(&diag, arena);
  Kernel **kernels = kernel_parse(arena, &diag, "text", text, sizeof text - 1, &count);
  assert_non_null(kernels);
  assert_int_equal(count, 3);
  KernelFlops open = kernel_flops(kernels[2]);
  assert_true(open.paired == 3 * 2.0 * 4 * 8 * 8 && open.open == 3 * 5.0 * 4 * 8);
  assert_true(open.all == open.paired + open.open);
  assert_true(kernel_flops(kernels[1]).paired == 0 && kernel_flops(kernels[1]).open == 0);
  assert_true(kernel_flops(kernels[0]).all == 5 * (4 * 16.0 * 6 + 3 * (3 * 7 + 1)));
  assert_true(kernel_flops(kernels[1]).all == 2 * (3 * 2.0 * 4 * 8 * 8 + 3 * 8));
  assert_int_equal(kernel_blocks(kernels[0]), 15);
  arena_free(arena);
}

/* Bytes of a three-armed star with stride 4, of overlapping loads, of a gather, of an update. */
static void bytes_are_counted(void **state) {
  (void)state;
  static const char text[] =
      "tile kernel @star(%x: f32[8,16,32], %w: f32[7,8], %y: out f32[2,4,8,8]) {\n"
      "  grid %i = 2\n"
      "  grid %j = 4\n"
      "  table %tap0 = [-1, 1, 0, 0, 0, 0, 0]\n"
      "  table %tap1 = [0, 0, -1, 1, 0, 0, 0]\n"
      "  table %tap2 = [0, 0, 0, 0, -1, 1, 0]\n"
      "  %s = fill 0.0 : f32[8, 8]\n"
      "  for %k : [0, 6] = 0 to 7 step 1 {\n"
      "    %a : [-1, 1] = lookup %tap0[%k]\n"
      "    %b : [-1, 1] = lookup %tap1[%k]\n"
      "    %c : [-1, 1] = lookup %tap2[%k]\n"
      "    %l = load %x[4*%i + %a, 4*%j + %b, 4*r0 + %c] fill 0.0 : f32[8, 1]\n"
      "    %m = load %w[%k, c] fill 0.0 : f32[1, 8]\n"
      "    dot %s, %l, %m : f32[8, 8]\n"
      "  }\n"
      "  store %y[%i, %j, r0, c] = %s : f32[8, 8]\n"
      "}\n"
      "tile kernel @rest(%x: f32[100], %ids: i64[3], %table: f32[20,5], %y: out f32[64]) {\n"
      "  grid %i = 2\n"
      "  shared %own : f32[4,16]\n" /* the block's: no memory */
      "  %a = load %x[8*%i + c] fill 0.0 : f32[16]\n" /* 0 .. 23 */
      "  store %own[2, c] = %a : f32[16]\n"
      "  %again = load %own[2, c] fill 0.0 : f32[16]\n"
      "  %b = load %x[3*c + 90] fill 0.0 : f32[8]\n"  /* 90, 93, 96, 99; the others are outside */
      "  %n = load %ids[r0] fill 0.0 : i64[3, 1]\n"
      "  %g = load %table[gather %n, c] fill 0.0 : f32[3, 5]\n"
      "  store %y[16*%i + c] = %a : f32[16]\n" /* 32 of 64 */
      "}\n";
  Arena *arena = arena_new();
  Diag diag;
  int count;
  int64_t moved[4], lines = 0;
  diag_init(&diag, arena);
  Kernel **kernels = kernel_parse(arena, &diag, "text", text, sizeof text - 1, &count);
  diag_print(&diag, stderr);
  assert_non_null(kernels);
  assert_int_equal(count, 2);
  for (int d = 0; d < 8; d++) /* lines of 16 along the last dimension: all of a row or none */
    for (int h = 0; h < 16; h++)
      if (d % 4 == 0 ? h % 4 != 2 && h != 15 : h % 4 == 0 && d % 4 != 2 && d != 7)
        lines += 2; /* no tap reaches the ends: 16 - 1 and 8 - 1 */
  int64_t sum = kernel_bytes(kernels[0], moved);
  assert_int_equal(moved[0], 64 * lines);
  assert_int_equal(moved[1], 4 * 7 * 8);
  assert_int_equal(moved[2], 4 * 2 * 4 * 8 * 8);
  assert_int_equal(sum, moved[0] + moved[1] + moved[2]);
  kernel_bytes(kernels[1], moved);
  assert_int_equal(moved[0], 4 * (24 + 4));
  assert_int_equal(moved[1], 8 * 3);
  assert_int_equal(moved[2], 4 * 3 * 5);
  assert_int_equal(moved[3], 4 * 32);
  arena_free(arena);
}

/* What the builders make prints, parses, and prints the same, although ids are out of order. */
static void built_kernels_print(void **state) {
  (void)state;
  static const char wanted[] = "loop kernel @k(%x: f32[64], %y: out f32[64]) {\n"
                               "  grid %i = 4\n"
                               "  for %k : [0, 3] = 0 to 4 step 1 {\n"
                               "    %0 = load %x[16*%i + 4*%k] : f32x4\n"
                               "    %2 = const 0.1 : f32x4\n"
                               "    %1 = mul %0, %2 : f32x4\n"
                               "    store %y[16*%i + 4*%k] = %1 : f32x4\n"
                               "  }\n"
                               "}\n";
  Arena *arena = arena_new();
  Kernel *kernel = kernel_new(arena, "k", STAGE_LOOP);
  Type type = {DT_f32, 1, {64}};
  Buffer *x = kernel_argument(kernel, "x", type, false);
  Buffer *y = kernel_argument(kernel, "y", type, true);
  IndexVar *k = kernel_var(kernel, "k", 0, 3), *i = kernel_grid(kernel, "i", 4);
  Stmt *loop = stmt_for(kernel, &kernel->body, k, 0, 4, 1);
  Affine at = affine_add(affine_var(k, 4), affine_var(i, 16));
  Stmt *load = stmt_add(kernel, &loop->body, STMT_LOAD);
  load->buffer = x;
  load->at = at;
  load->value = kernel_value(kernel, DT_f32, 4);
  KValue *product = kernel_value(kernel, DT_f32, 4);
  KValue *factor = stmt_const(kernel, &loop->body, 0.1f, DT_f32, 4);
  Stmt *let = stmt_add(kernel, &loop->body, STMT_LET);
  let->kop = K_mul;
  let->value = product;
  let->value_arg[0] = load->value;
  let->value_arg[1] = factor;
  Stmt *store = stmt_add(kernel, &loop->body, STMT_STORE);
  store->buffer = y;
  store->at = at;
  store->value_arg[0] = product;

  Error error;
  Text text = {0}, again = {0};
  Diag diag;
  int count;
  diag_init(&diag, arena);
  assert_true(kernel_check(kernel, &error));
  kernel_print(kernel, &text);
  assert_string_equal(text.at, wanted);
  Kernel **parsed = kernel_parse(arena, &diag, "text", text.at, text.size, &count);
  assert_non_null(parsed);
  assert_true(kernel_check(parsed[0], &error));
  kernel_print(parsed[0], &again);
  assert_string_equal(again.at, wanted);

  float input[64], output[64] = {0};
  for (int n = 0; n < 64; n++)
    input[n] = (float)n;
  assert_true(kernel_eval(kernel, (void *[]){input, output}, 1, &error));
  for (int n = 0; n < 64; n++)
    assert_true(output[n] == (float)n * 0.1f);
  text_free(&text);
  text_free(&again);
  arena_free(arena);
}

/* Text nobody prints, but anybody may write: an error with a place, whatever it asks for. */
static void absurd_text_is_refused(void **state) {
  (void)state;
  static const struct {
    const char *head, *again, *error;
  } cases[] = {
      {"tile kernel @k() {\n %a = fill 0 : f32[1024x1024x1024x1024, 4]\n}", "",
       "t:2:16: error: a tile of more than 1048576 rows"},
      {"tile kernel @k() {\n %a = fill 0 : f32[4x8]\n}", "",
       "t:2:23: error: expected ',' and the columns"},
      {"tile kernel @k() {\n", "if 0 <= 0 < 1 {", "error: blocks nested more than 256 deep"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Arena *arena = arena_new();
    Text text = {0};
    Diag diag;
    int count;
    diag_init(&diag, arena);
    text_add(&text, "%s", cases[i].head);
    for (int n = 0; n < 100000 && *cases[i].again; n++)
      text_add(&text, "%s", cases[i].again);
    assert_null(kernel_parse(arena, &diag, "t", text.at, text.size, &count));
    assert_int_equal(diag.errors, 1);
    if (!strstr(diag.messages.at[0], cases[i].error))
      fail_msg("case %zu: %s", i, diag.messages.at[0]);
    text_free(&text);
    arena_free(arena);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_are_unique),
      cmocka_unit_test(affine_normal_form),
      cmocka_unit_test(integers_wrap),
      cmocka_unit_test(floats_at_the_edges),
      cmocka_unit_test(casts),
      cmocka_unit_test(table_is_complete),
      cmocka_unit_test(flops_are_counted),
      cmocka_unit_test(bytes_are_counted),
      cmocka_unit_test(built_kernels_print),
      cmocka_unit_test(absurd_text_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
