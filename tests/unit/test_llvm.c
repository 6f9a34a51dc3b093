/* The LLVM back end's control flow, memory accesses and outputs. Every array handed to a kernel
 * ends at an unmapped page, so that one lane too many is a crash; results are compared with plain
 * loops written here. The machine code of a matmul tile is read for what it must and must not
 * contain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "codegen/emit.h"
#include "tests/unit/edge_array.h"
#include "tests/unit/kernel_make.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- running ---- */

static Jit *compile(Kernel *kernel) {
  Error error = {""};
  Jit *jit = jit_build(&kernel, 1, 1, &error);
  if (!jit)
    fail_msg("%s", error.text);
  assert_non_null(jit_find(jit, kernel->name));
  return jit;
}

/* All blocks, in `pieces` calls. */
static void run_pieces(Kernel *kernel, void *const *arguments, int pieces) {
  Jit *jit = compile(kernel);
  int64_t blocks = kernel_blocks(kernel);
  KernelCode *code = jit_find(jit, kernel->name);
  for (int i = pieces; i-- > 0;)
    code(arguments, blocks * i / pieces, blocks * (i + 1) / pieces);
  jit_free(jit);
}

static int vector_lanes(void) {
  CpuLevel level;
  assert_true(cpu_level_find("native", &level, NULL));
  return level.facts.vector;
}

/* ---- tests ---- */

static void elementwise_with_a_tail(void **state) {
  (void)state;
  for (int width = 1; width <= 16; width *= 2)
    for (int count = 33; count <= 48; count += 5) {
      Arena *arena = arena_new();
      Kernel *kernel = kernel_new(arena, "scale", STAGE_LOOP);
      Buffer *x = kernel_argument(kernel, "x", vector_type(DT_f32, count), false);
      Buffer *y = kernel_argument(kernel, "y", vector_type(DT_f32, count), true);
      IndexVar *block = kernel_grid(kernel, "block", (count + width - 1) / width);
      Affine lanes = plus(number(count), times(block, -width));
      Stmt *in = load_stmt(kernel, &kernel->body, x, times(block, width), width);
      KValue *half = stmt_const(kernel, &kernel->body, 0.5, DT_f32, width);
      KValue *scaled = stmt_let(kernel, &kernel->body, K_mul, DT_f32, width, in->value, half, NULL);
      Stmt *out = store(kernel, &kernel->body, y, times(block, width), scaled);
      in->has_lanes = out->has_lanes = width > 1;
      in->lanes = out->lanes = lanes;
      float *from = edge_floats(count, 7), *to = edge_floats(count, 8);
      run_pieces(kernel, (void *[]){from, to}, 3);
      for (int i = 0; i < count; i++)
        assert_true(to[i] == from[i] * 0.5f);
      free_floats(from, count);
      free_floats(to, count);
      arena_free(arena);
    }
}

/* Masked lanes of global, local and dynamic places; a store of no lanes; lanes from a loop. */
static void lanes_are_respected(void **state) {
  (void)state;
  enum { WIDTH = 8, COUNT = 13 };
  Arena *arena = arena_new();
  Kernel *kernel = kernel_new(arena, "lanes", STAGE_LOOP);
  Buffer *x = kernel_argument(kernel, "x", vector_type(DT_f32, COUNT), false);
  Buffer *y = kernel_argument(kernel, "y", vector_type(DT_f32, 10 * WIDTH), true);
  Buffer *local = kernel_buffer(kernel, "local", SPACE_LOCAL, DT_f32, WIDTH);
  IndexVar *count = kernel_var(kernel, "count", -1, WIDTH);
  Stmt *loop = stmt_for(kernel, &kernel->body, count, -1, WIDTH + 1, 1);
  Block *body = &loop->body;
  KValue *filler = stmt_const(kernel, body, 7, DT_f32, WIDTH);
  store(kernel, body, local, number(0), filler);
  Stmt *in = load_stmt(kernel, body, x, plus(number(COUNT), times(count, -1)), WIDTH);
  Stmt *keep = store(kernel, body, local, number(0), in->value);
  Stmt *again = load_stmt(kernel, body, local, number(0), WIDTH);
  Stmt *out = store(kernel, body, y, plus(number(WIDTH), times(count, WIDTH)), again->value);
  in->has_lanes = keep->has_lanes = true;
  in->lanes = times(count, 1);
  keep->lanes = plus(times(count, 1), number(1));
  (void)out;
  float *from = edge_floats(COUNT, 3), *to = edge_floats(10 * WIDTH, 4);
  run_pieces(kernel, (void *[]){from, to}, 1);
  for (int n = -1; n <= WIDTH; n++)
    for (int l = 0; l < WIDTH; l++) {
      float loaded = l < n ? from[COUNT - n + l] : 0, expected = l < n + 1 ? loaded : 7;
      assert_true(to[(n + 1) * WIDTH + l] == expected);
    }
  free_floats(from, COUNT);
  free_floats(to, 10 * WIDTH);
  arena_free(arena);
}

/* mean over ragged rows: vector sums in a local array, hadd, then one scalar store */
static void reduction(void **state) {
  (void)state;
  enum { ROWS = 5, COLS = 83, WIDTH = 16 };
  Arena *arena = arena_new();
  Kernel *kernel = kernel_new(arena, "sum", STAGE_LOOP);
  Buffer *x = kernel_argument(kernel, "x", (Type){DT_f32, 2, {ROWS, COLS}}, false);
  Buffer *y = kernel_argument(kernel, "y", vector_type(DT_f32, ROWS), true);
  Buffer *sums = kernel_buffer(kernel, "sums", SPACE_LOCAL, DT_f32, WIDTH);
  IndexVar *row = kernel_grid(kernel, "row", ROWS);
  IndexVar *at = kernel_var(kernel, "at", 0, COLS - 1);
  KValue *zero = stmt_const(kernel, &kernel->body, 0, DT_f32, WIDTH);
  store(kernel, &kernel->body, sums, number(0), zero);
  Stmt *loop = stmt_for(kernel, &kernel->body, at, 0, COLS, WIDTH);
  loop->unroll = 2;
  Stmt *in = load_stmt(kernel, &loop->body, x, plus(times(row, COLS), times(at, 1)), WIDTH);
  in->has_lanes = true;
  in->lanes = plus(number(COLS), times(at, -1));
  KValue *old = load(kernel, &loop->body, sums, number(0), WIDTH);
  KValue *sum = stmt_let(kernel, &loop->body, K_add, DT_f32, WIDTH, old, in->value, NULL);
  store(kernel, &loop->body, sums, number(0), sum);
  KValue *all = load(kernel, &kernel->body, sums, number(0), WIDTH);
  KValue *total = stmt_let(kernel, &kernel->body, K_hadd, DT_f32, 1, all, NULL, NULL);
  store(kernel, &kernel->body, y, times(row, 1), total);
  float *from = edge_floats(ROWS * COLS, 5), *to = edge_floats(ROWS, 6);
  run_pieces(kernel, (void *[]){from, to}, 2);
  for (int r = 0; r < ROWS; r++) {
    float expected = 0; /* small integers: exact in any order */
    for (int c = 0; c < COLS; c++)
      expected += from[r * COLS + c];
    assert_true(to[r] == expected);
  }
  free_floats(from, ROWS * COLS);
  free_floats(to, ROWS);
  arena_free(arena);
}

/* A 1-D stencil whose taps leave the array: y[i] = sum over t of x[i + offset[t]] * w[t], outside
 * -3. `width` consecutive channels c of rows i; taps unrolled or looped over. */
static Kernel *stencil(Arena *arena, int rows, int width, int unroll, bool pointers) {
  static const int64_t offsets[] = {-2, 0, 1, 5};
  Kernel *kernel = kernel_new(arena, "stencil", STAGE_LOOP);
  Buffer *x = kernel_argument(kernel, "x", (Type){DT_f32, 2, {rows, width}}, false);
  Buffer *w = kernel_argument(kernel, "w", vector_type(DT_f32, 4), false);
  Buffer *y = kernel_argument(kernel, "y", (Type){DT_f32, 2, {rows, width}}, true);
  Buffer *sum = kernel_buffer(kernel, "sum", SPACE_LOCAL, DT_f32, width);
  Buffer *run = kernel_buffer(kernel, "run", SPACE_POINTER, DT_f32, width);
  const Table *table = kernel_table(kernel, "taps", 4, offsets);
  IndexVar *row = kernel_grid(kernel, "row", rows), *tap = kernel_var(kernel, "tap", 0, 3);
  IndexVar *by = kernel_var(kernel, "by", -2, 5);
  KValue *zero = stmt_const(kernel, &kernel->body, 0, DT_f32, width);
  store(kernel, &kernel->body, sum, number(0), zero);
  Stmt *loop = stmt_for(kernel, &kernel->body, tap, 0, 4, 1);
  loop->unroll = unroll;
  Block *body = &loop->body;
  Stmt *lookup = stmt_add(kernel, body, STMT_LOOKUP);
  lookup->var = by;
  lookup->table = table;
  lookup->at = times(tap, 1);
  Affine at = plus(times(row, width), times(by, width)), source = plus(times(row, 1), times(by, 1));
  Stmt *in;
  if (pointers) {
    Stmt *point = stmt_add(kernel, body, STMT_POINTER);
    point->buffer = run;
    point->base = x;
    point->at = at;
    guard_range(kernel, point, source, rows);
    in = load_stmt(kernel, body, run, number(0), width);
  } else {
    in = load_stmt(kernel, body, x, at, width);
    in->number = -3;
    guard_range(kernel, in, source, rows);
  }
  KValue *weight = load(kernel, body, w, times(tap, 1), 1);
  if (width > 1)
    weight = stmt_let(kernel, body, K_splat, DT_f32, width, weight, NULL, NULL);
  KValue *old = load(kernel, body, sum, number(0), width);
  KValue *new = stmt_let(kernel, body, K_fma, DT_f32, width, in->value, weight, old);
  store(kernel, body, sum, number(0), new);
  KValue *all = load(kernel, &kernel->body, sum, number(0), width);
  store(kernel, &kernel->body, y, times(row, width), all);
  return kernel;
}

static void stencil_with_guards_or_pointers(void **state) {
  (void)state;
  static const int offsets[] = {-2, 0, 1, 5};
  for (int i = 0; i < 16; i++) {
    Arena *arena = arena_new();
    int rows = i & 4 ? 9 : 1, width = i & 8 ? 16 : 1;
    Kernel *kernel = stencil(arena, rows, width, i & 1 ? -1 : 0, i & 2);
    float *x = edge_floats(rows * width, 11), *y = edge_floats(rows * width, 12);
    float *w = edge_floats(4, 13);
    run_pieces(kernel, (void *[]){x, w, y}, rows > 1 ? 4 : 1);
    for (int r = 0; r < rows; r++)
      for (int c = 0; c < width; c++) {
        float expected = 0;
        for (int t = 0; t < 4; t++) {
          int from = r + offsets[t];
          float value = from >= 0 && from < rows ? x[from * width + c] : i & 2 ? 0 : -3;
          expected = fmaf(value, w[t], expected);
        }
        assert_true(y[r * width + c] == expected);
      }
    free_floats(x, rows * width);
    free_floats(y, rows * width);
    free_floats(w, 4);
    arena_free(arena);
  }
}

/* A guarded vector load that is longer than its buffer, with and without lanes. */
static void guarded_loads_of_short_buffers(void **state) {
  (void)state;
  enum { WIDTH = 8, COUNT = 3, CASES = 4 };
  Arena *arena = arena_new();
  Kernel *kernel = kernel_new(arena, "short", STAGE_LOOP);
  Buffer *x = kernel_argument(kernel, "x", vector_type(DT_f32, COUNT), false);
  Buffer *y = kernel_argument(kernel, "y", vector_type(DT_f32, 2 * CASES * WIDTH), true);
  IndexVar *block = kernel_grid(kernel, "block", CASES);
  for (int which = 0; which < 2; which++) {
    Stmt *in = load_stmt(kernel, &kernel->body, x, times(block, which ? 1 : 100), WIDTH);
    in->number = 9;
    in->has_lanes = which;
    in->lanes = plus(number(COUNT), times(block, -1));
    guard_range(kernel, in, plus(times(block, 1), number(which ? 0 : 1)), which ? 3 : 1);
    store(kernel, &kernel->body, y, plus(times(block, 2 * WIDTH), number(which * WIDTH)),
          in->value);
  }
  float *from = edge_floats(COUNT, 21), *to = edge_floats(2 * CASES * WIDTH, 22);
  run_pieces(kernel, (void *[]){from, to}, 1);
  for (int b = 0; b < CASES; b++)
    for (int l = 0; l < WIDTH; l++) {
      assert_true(to[b * 2 * WIDTH + l] == 9);
      float expected = b >= 3 ? 9 : l < COUNT - b ? from[b + l] : 0;
      assert_true(to[b * 2 * WIDTH + WIDTH + l] == expected);
    }
  free_floats(from, COUNT);
  free_floats(to, 2 * CASES * WIDTH);
  arena_free(arena);
}

/* Grid decoding over any split, INDEX, INDEX_VALUE, gather by value, nested ragged loops, IF and
 * else, guards with a modulus, guarded stores. */
static void control_flow(void **state) {
  (void)state;
  enum { A = 3, B = 1, C = 4, D = 5, BLOCKS = A * B * C * D, CELLS = 12 };
  Arena *arena = arena_new();
  Kernel *kernel = kernel_new(arena, "flow", STAGE_LOOP);
  Buffer *pick = kernel_argument(kernel, "pick", vector_type(DT_u8, BLOCKS), false);
  Buffer *x = kernel_argument(kernel, "x", vector_type(DT_i32, 256 * 2), false);
  Buffer *y = kernel_argument(kernel, "y", (Type){DT_i32, 2, {BLOCKS, CELLS}}, true);
  IndexVar *a = kernel_grid(kernel, "a", A), *b = kernel_grid(kernel, "b", B);
  IndexVar *c = kernel_grid(kernel, "c", C), *d = kernel_grid(kernel, "d", D);
  Affine block = plus(plus(times(a, B * C * D), times(b, C * D)), plus(times(c, D), times(d, 1)));
  Block *body = &kernel->body;
  IndexVar *q = kernel_var(kernel, "q", 0, 6);
  Stmt *index = stmt_add(kernel, body, STMT_INDEX); /* q = (block + 2) / 3 % 7 */
  index->var = q;
  index->at = plus(block, number(2));
  index->divisor = 3;
  index->modulus = 7;
  Stmt *value = stmt_add(kernel, body, STMT_INDEX_VALUE); /* cells 0..3: q + 10 lane */
  value->value = kernel_value(kernel, DT_i32, 4);
  value->at = times(q, 1);
  value->col_factor = 10;
  Affine row = affine_scale(block, CELLS);
  store(kernel, body, y, row, value->value);
  KValue *which = load(kernel, body, pick, block, 1); /* cells 4, 5: x[1 + 2 pick .. ] */
  Stmt *gather = load_stmt(kernel, body, x, number(0), 2);
  gather->dynamic = which;
  gather->dynamic_factor = 2;
  store(kernel, body, y, plus(row, number(4)), gather->value);
  IndexVar *i = kernel_var(kernel, "i", 0, 5);
  Stmt *loop = stmt_for(kernel, body, i, 0, 6, 2); /* cells 6..: i from c to min(6, d + 1) by 2 */
  loop->low = times(c, 1);
  loop->has_high2 = true;
  loop->high2 = plus(times(d, 1), number(1));
  Stmt *choice = stmt_add(kernel, &loop->body, STMT_IF);
  Guard even = {plus(times(i, 1), times(a, 1)), 0, 3};
  vec_push(arena, &choice->guards, even);
  guard_range(kernel, choice, times(d, 1), 4);
  KValue *one = stmt_const(kernel, &choice->body, 1, DT_i32, 1);
  KValue *two = stmt_const(kernel, &choice->other, 2, DT_i32, 1);
  store(kernel, &choice->body, y, plus(row, plus(times(i, 1), number(6))), one);
  Stmt *guarded = store(kernel, &choice->other, y, plus(row, plus(times(i, 1), number(6))), two);
  guard_range(kernel, guarded, plus(times(a, 1), times(d, -1)), 2);
  Stmt *soon = stmt_add(kernel, body, STMT_PREFETCH);
  soon->buffer = x;
  soon->at = times(d, 16);

  uint8_t *picks = edge_array(BLOCKS);
  int32_t *from = edge_array(sizeof(int32_t) * 512), *to;
  int32_t expected[BLOCKS][CELLS];
  to = edge_array(sizeof expected);
  memset(expected, 0, sizeof expected);
  for (int n = 0; n < BLOCKS; n++)
    picks[n] = (uint8_t)(n * 37 + 130);
  for (int n = 0; n < 512; n++)
    from[n] = n * n;
  for (int n = 0; n < BLOCKS; n++) {
    int at[4] = {n / 20, 0, n / 5 % 4, n % 5}, *cell = expected[n];
    for (int l = 0; l < 4; l++)
      cell[l] = (n + 2) / 3 % 7 + 10 * l;
    for (int l = 0; l < 2; l++)
      cell[4 + l] = from[2 * picks[n] + l];
    for (int k = at[2]; k < 6 && k < at[3] + 1; k += 2) {
      if ((k + at[0]) % 3 == 0 && at[3] < 4)
        cell[6 + k] = 1;
      else if (at[0] - at[3] >= 0 && at[0] - at[3] < 2)
        cell[6 + k] = 2;
    }
  }
  for (int pieces = 1; pieces <= BLOCKS; pieces += 7) {
    memset(to, 0, sizeof expected);
    run_pieces(kernel, (void *[]){picks, from, to}, pieces);
    assert_memory_equal(to, expected, sizeof expected);
  }
  free_edge(picks, BLOCKS);
  free_edge(from, sizeof(int32_t) * 512);
  free_edge(to, sizeof expected);
  arena_free(arena);
}

/* A local array with computed places stays in memory and still works: y = x reversed. */
static void local_array_in_memory(void **state) {
  (void)state;
  enum { COUNT = 40 };
  Arena *arena = arena_new();
  Kernel *kernel = kernel_new(arena, "reverse", STAGE_LOOP);
  Buffer *x = kernel_argument(kernel, "x", vector_type(DT_f32, COUNT), false);
  Buffer *y = kernel_argument(kernel, "y", vector_type(DT_f32, COUNT), true);
  Buffer *cells = kernel_buffer(kernel, "cells", SPACE_LOCAL, DT_f32, COUNT);
  IndexVar *i = kernel_var(kernel, "i", 0, COUNT - 1), *j = kernel_var(kernel, "j", 0, COUNT - 1);
  Stmt *in = stmt_for(kernel, &kernel->body, i, 0, COUNT, 8);
  store(kernel, &in->body, cells, times(i, 1), load(kernel, &in->body, x, times(i, 1), 8));
  Stmt *out = stmt_for(kernel, &kernel->body, j, 0, COUNT, 1);
  Affine back = plus(number(COUNT - 1), times(j, -1));
  store(kernel, &out->body, y, times(j, 1), load(kernel, &out->body, cells, back, 1));
  float *from = edge_floats(COUNT, 31), *to = edge_floats(COUNT, 32);
  run_pieces(kernel, (void *[]){from, to}, 1);
  for (int n = 0; n < COUNT; n++)
    assert_true(to[n] == from[COUNT - 1 - n]);
  free_floats(from, COUNT);
  free_floats(to, COUNT);
  arena_free(arena);
}

/* ---- matmul ---- */

static double seconds(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (double)at.tv_sec + 1e-9 * (double)at.tv_nsec;
}

static void matmul_is_right(void **state) {
  (void)state;
  enum { M = 48, N = 64, K = 96 };
  int width = vector_lanes(), rows = width == 16 ? 8 : 4;
  Arena *arena = arena_new();
  Kernel *kernel = matmul_kernel(arena, "matmul", M, N, K, rows, 2 * width, width, 0);
  float *a = edge_floats(M * K, 41), *b = edge_floats(K * N, 42), *c = edge_floats(M * N, 43);
  void *arguments[] = {a, b, c};
  run_pieces(kernel, arguments, 5);
  for (int y = 0; y < M; y++)
    for (int x = 0; x < N; x++) {
      float sum = 0;
      for (int k = 0; k < K; k++)
        sum = fmaf(a[y * K + k], b[k * N + x], sum);
      assert_true(c[y * N + x] == sum);
    }
  Jit *jit = compile(kernel);
  KernelCode *code = jit_find(jit, "matmul");
  double best = 1;
  for (int i = 0; i < 200; i++) {
    double start = seconds();
    code(arguments, 0, kernel_blocks(kernel));
    best = fmin(best, seconds() - start);
  }
  printf("  %dx%d tile: %.1f GFLOP/s\n", rows, 2 * width, 2.0 * M * N * K / best * 1e-9);
  jit_free(jit);
  free_floats(a, M * K);
  free_floats(b, K * N);
  free_floats(c, M * N);
  arena_free(arena);
}

/* The loop around the first fma: from the label its backward jump goes to, to that jump. */
static char *hot_loop(Arena *arena, char *text, const char *fma_word, const char *jump_word) {
  char *fma = strstr(text, fma_word);
  assert_non_null(fma);
  char *jump = strstr(fma, jump_word);
  assert_non_null(jump);
  char label[64];
  assert_int_equal(sscanf(jump, "\t%*s %60[^\n]", label), 1);
  strcat(label, ":");
  char *start = strstr(text, label);
  assert_non_null(start);
  assert_true(start < fma);
  return arena_strndup(arena, start, (size_t)(jump - start));
}

static int count_of(const char *text, const char *word) {
  int count = 0;
  for (const char *at = text; (at = strstr(at, word)); at += strlen(word))
    count++;
  return count;
}

static char *emitted(Arena *arena, Kernel **kernels, int count, const char *level_name,
                     const char *kind, size_t *size) {
  CpuLevel level;
  Error error = {""};
  Text text = {0};
  if (!cpu_level_find(level_name, &level, &error) ||
      !llvm_emit(kernels, count, &level, "_x", kind, &text, &error))
    fail_msg("%s", error.text);
  char *copy = arena_copy(arena, text.at, text.size + 1);
  if (size)
    *size = text.size;
  text_free(&text);
  return copy;
}

/* Stores past the caches: of aligned vectors only, and nothing else changes. */
static void streamed_stores(void **state) {
  (void)state;
  enum { COUNT = 64, BLOCKS = 5 };
  Arena *arena = arena_new();
  Kernel *kernel = kernel_new(arena, "streamed", STAGE_LOOP);
  Buffer *x = kernel_argument(kernel, "x", vector_type(DT_f32, COUNT * BLOCKS), false);
  Buffer *y = kernel_argument(kernel, "y", vector_type(DT_f32, COUNT * BLOCKS), true);
  IndexVar *block = kernel_grid(kernel, "b", BLOCKS);
  int offsets[] = {0, 16, 33}; /* the last one is not aligned */
  for (int i = 0; i < 3; i++) {
    Affine at = affine_offset(affine_var(block, COUNT), offsets[i]);
    store(kernel, &kernel->body, y, at, load(kernel, &kernel->body, x, at, 16))->stream = true;
  }
  int count = COUNT * BLOCKS;
  float *from = edge_floats(count, 9), *to = edge_floats(count, 9),
        *expected = edge_floats(count, 9);
  for (int i = 0; i < count; i++) {
    to[i] = -1;
    expected[i] = i % COUNT < 32 || (i % COUNT >= 33 && i % COUNT < 49) ? from[i] : -1;
  }
  run_pieces(kernel, (void *[]){from, to}, 3);
  assert_memory_equal(to, expected, sizeof(float) * (size_t)count);
  char *text = emitted(arena, &kernel, 1, "x86-64-v4", "asm", NULL);
  assert_int_equal(count_of(text, "vmovntps"), 2);
  free_floats(from, count);
  free_floats(to, count);
  free_floats(expected, count);
  arena_free(arena);
}

static void matmul_code_is_tight(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Kernel *wide = matmul_kernel(arena, "wide", 64, 64, 512, 8, 32, 16, 0);
  char *loop = hot_loop(arena, emitted(arena, &wide, 1, "x86-64-v4", "asm", NULL), "vfmadd", "\tj");
  assert_int_equal(count_of(loop, "vfmadd"), 16);
  assert_int_equal(count_of(loop, "vbroadcastss\t"), 8);
  assert_int_equal(count_of(loop, "(%r"), 8 + 2); /* the broadcasts read memory, and two loads */
  assert_int_equal(count_of(loop, "%rsp") + count_of(loop, "%rbp"), 0);
  assert_true(count_of(loop, "%zmm") >= 3 * 16);
  assert_true(count_of(loop, "\n") <= 16 + 8 + 2 + 4);
  Kernel *narrow = matmul_kernel(arena, "narrow", 60, 64, 512, 6, 16, 8, 4);
  loop = hot_loop(arena, emitted(arena, &narrow, 1, "x86-64-v3", "asm", NULL), "vfmadd", "\tj");
  assert_int_equal(count_of(loop, "vfmadd"), 4 * 12);
  assert_int_equal(count_of(loop, "%rsp") + count_of(loop, "%rbp"), 0);
  assert_int_equal(count_of(loop, "%zmm"), 0);
  Kernel *arm = matmul_kernel(arena, "arm", 64, 60, 512, 8, 12, 4, 0);
  loop = hot_loop(arena, emitted(arena, &arm, 1, "aarch64", "asm", NULL), "fmla", "\tb.");
  assert_int_equal(count_of(loop, "fmla"), 24);
  assert_int_equal(count_of(loop, "sp,") + count_of(loop, "[sp"), 0);
  arena_free(arena);
}

/* ---- outputs ---- */

static void output_is_repeatable(void **state) {
  (void)state;
  static const char *const kinds[] = {"object", "asm", "llvm"};
  static const char *const levels[] = {"native", "x86-64-v3", "x86-64-v4", "aarch64"};
  Arena *arena = arena_new();
  Source source = {"/secret/place/model.yaml", "a\n", 2};
  Kernel *kernels[] = {stencil(arena, 9, 8, 0, true), stencil(arena, 9, 8, -1, false)};
  kernels[1]->name = "stencil2";
  kernels[0]->loc = (Loc){&source, 17, 3};
  for (int k = 0; k < 3; k++)
    for (int l = 0; l < 4; l++) {
      size_t size, again;
      char *first = emitted(arena, kernels, 2, levels[l], kinds[k], &size);
      char *second = emitted(arena, kernels, 2, levels[l], kinds[k], &again);
      assert_int_equal(size, again);
      assert_memory_equal(first, second, size);
      assert_null(memmem(first, size, "secret", 6));
      assert_non_null(memmem(first, size, "stencil_x", 9));
      assert_non_null(memmem(first, size, "stencil2_x", 10));
      assert_non_null(memmem(first, size, "model.yaml", 10));
    }
  assert_non_null(strstr(emitted(arena, kernels, 2, "x86-64-v3", "llvm", NULL), "line: 17"));
  arena_free(arena);
}

static void many_kernels_on_threads(void **state) {
  (void)state;
  enum { KERNELS = 40 };
  Arena *arena = arena_new();
  Error error = {""};
  Kernel *kernels[KERNELS];
  int width = vector_lanes(), rows = width == 16 ? 8 : 4;
  for (int i = 0; i < KERNELS; i++)
    kernels[i] = matmul_kernel(arena, arena_printf(arena, "m%d", i), 16, 2 * width, i + 1, rows,
                               2 * width, width, i % 3);
  for (int threads = 1; threads <= 3; threads += 2) {
    double start = seconds();
    Jit *jit = jit_build(kernels, KERNELS, threads, &error);
    if (!jit)
      fail_msg("%s", error.text);
    printf("  %d threads: %.2f ms a kernel\n", threads, 1e3 * (seconds() - start) / KERNELS);
    float *a = edge_floats(16 * KERNELS, 1), *b = edge_floats(2 * width * KERNELS, 2);
    float *c = edge_floats(16 * 2 * width, 3);
    for (int i = 0; i < KERNELS; i++) {
      jit_find(jit, kernels[i]->name)((void *[]){a, b, c}, 0, kernel_blocks(kernels[i]));
      float sum = 0;
      for (int k = 0; k <= i; k++)
        sum = fmaf(a[15 * (i + 1) + k], b[k * 2 * width + 3], sum);
      assert_true(c[15 * 2 * width + 3] == sum);
    }
    assert_null(jit_find(jit, "nobody"));
    jit_free(jit);
    free_floats(a, 16 * KERNELS);
    free_floats(b, 2 * width * KERNELS);
    free_floats(c, 16 * 2 * width);
  }
  Jit *none = jit_build(NULL, 0, 2, &error);
  assert_non_null(none);
  assert_null(jit_find(none, "m0"));
  jit_free(none);
  arena_free(arena);
}

static void refusals(void **state) {
  (void)state;
  CpuLevel level;
  Error error = {""};
  Text text = {0};
  Arena *arena = arena_new();
  assert_false(cpu_level_find("x86-64-v5", &level, &error));
  assert_non_null(strstr(error.text, "\"x86-64-v5\""));
  assert_true(cpu_level_find("aarch64", &level, &error));
  assert_int_equal(level.facts.vector, 4);
  assert_false(llvm_emit(NULL, 0, &level, "", "elf", &text, &error));
  assert_non_null(strstr(error.text, "\"elf\""));
  level.triple = "pdp11-unknown-unix";
  assert_false(llvm_emit(NULL, 0, &level, "", "asm", &text, &error));
  assert_non_null(strstr(error.text, "pdp11"));
  Kernel *twins[] = {stencil(arena, 9, 1, 0, false), stencil(arena, 9, 1, 0, true)};
  assert_null(jit_build(twins, 2, 2, &error));
  assert_string_equal(error.text, "two kernels are named \"stencil\"");
  assert_true(cpu_level_find("aarch64", &level, &error));
  assert_false(llvm_emit(twins, 2, &level, "", "asm", &text, &error));
  text_free(&text);
  arena_free(arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(elementwise_with_a_tail),
      cmocka_unit_test(lanes_are_respected),
      cmocka_unit_test(reduction),
      cmocka_unit_test(stencil_with_guards_or_pointers),
      cmocka_unit_test(guarded_loads_of_short_buffers),
      cmocka_unit_test(control_flow),
      cmocka_unit_test(streamed_stores),
      cmocka_unit_test(local_array_in_memory),
      cmocka_unit_test(matmul_is_right),
      cmocka_unit_test(matmul_code_is_tight),
      cmocka_unit_test(output_is_repeatable),
      cmocka_unit_test(many_kernels_on_threads),
      cmocka_unit_test(refusals),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
