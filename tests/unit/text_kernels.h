/* LOOP kernels written by hand that between them use every kind of statement.
 *
 * Each maker returns the kernel; what it computes stands in its comment and, as plain loops, in the
 * tests. `width` is the vector width (a power of two; 1 is scalar code).
 */
#ifndef TRICOT_TEST_TEXT_KERNELS_H
#define TRICOT_TEST_TEXT_KERNELS_H
#include "tests/unit/text_cases.h"

enum { ELEMENTS = 1003, ROWS = 7, COLUMNS = 45, LENGTH = 50, TAPS = 3, CHANNELS = 16, TOKENS = 9 };
enum { THREADS = 64, BLOCKS = 5, STEPS = 6 };

/* y[i] = max(2 x[i], x[i] - 1): blocks of four vectors, the last ones masked. */
static inline Kernel *make_elementwise(Arena *arena, int width) {
  Kernel *k = kernel_new(arena, arena_printf(arena, "elementwise_%d", width), STAGE_LOOP);
  k->doc = "max(2 x, x - 1)";
  Buffer *x = kernel_argument(k, "x", vector_type(DT_f32, ELEMENTS), false);
  Buffer *y = kernel_argument(k, "y", vector_type(DT_f32, ELEMENTS), true);
  int blocks = (ELEMENTS + 4 * width - 1) / (4 * width);
  IndexVar *i = kernel_grid(k, "i", blocks), *j = kernel_var(k, "j", 0, 3);
  Stmt *loop = stmt_for(k, &k->body, j, 0, 4, 1);
  loop->unroll = -1;
  Affine at = affine_add(affine_var(i, 4 * width), affine_var(j, width));
  Affine lanes = affine_offset(affine_scale(at, -1), ELEMENTS);
  KValue *v = add_load(k, &loop->body, x, at, width);
  Stmt *load = loop->body.at[loop->body.count - 1];
  KValue *two = stmt_const(k, &loop->body, 2, DT_f32, width);
  KValue *one = stmt_const(k, &loop->body, 1, DT_f32, width);
  KValue *twice = stmt_let(k, &loop->body, K_mul, DT_f32, width, v, two, NULL);
  KValue *less = stmt_let(k, &loop->body, K_sub, DT_f32, width, v, one, NULL);
  KValue *most = stmt_let(k, &loop->body, K_max, DT_f32, width, twice, less, NULL);
  Stmt *store = add_store(k, &loop->body, y, at, most);
  if (width > 1) {
    load->has_lanes = store->has_lanes = true;
    load->lanes = store->lanes = lanes;
  } else {
    add_guard(k, load, at, ELEMENTS, 0);
    add_guard(k, store, at, ELEMENTS, 0);
  }
  return k;
}

/* y[r] = the sum of row r: vectors added up in a local array, the rest masked, then hadd. */
static inline Kernel *make_row_sum(Arena *arena, int width) {
  Kernel *k = kernel_new(arena, arena_printf(arena, "row_sum_%d", width), STAGE_LOOP);
  Type type = {.dtype = DT_f32, .rank = 2, .dim = {ROWS, COLUMNS}};
  Buffer *x = kernel_argument(k, "x", type, false);
  Buffer *y = kernel_argument(k, "y", vector_type(DT_f32, ROWS), true);
  Buffer *sum = kernel_buffer(k, "sum", SPACE_LOCAL, DT_f32, width);
  IndexVar *r = kernel_grid(k, "row", ROWS), *c = kernel_var(k, "column", 0, COLUMNS + width);
  Affine zero = affine_constant(0);
  KValue *nothing = stmt_const(k, &k->body, 0, DT_f32, width);
  add_store(k, &k->body, sum, zero, nothing);
  Stmt *loop = stmt_for(k, &k->body, c, 0, COLUMNS, width);
  Affine at = affine_add(affine_var(r, COLUMNS), affine_var(c, 1));
  KValue *v = add_load(k, &loop->body, x, at, width);
  Stmt *load = loop->body.at[loop->body.count - 1];
  if (width > 1) {
    load->has_lanes = true;
    load->lanes = affine_offset(affine_var(c, -1), COLUMNS);
  }
  KValue *before = add_load(k, &loop->body, sum, zero, width);
  KValue *after = stmt_let(k, &loop->body, K_add, DT_f32, width, before, v, NULL);
  add_store(k, &loop->body, sum, zero, after);
  KValue *all = add_load(k, &k->body, sum, zero, width);
  KValue *total = stmt_let(k, &k->body, K_hadd, DT_f32, 1, all, NULL, NULL);
  add_store(k, &k->body, y, affine_var(r, 1), total);
  return k;
}

/* y[p][c] = sum over t, k of x[p + offset(t)][k] w[t][k][c]: a pointer for each tap that is the
 * zeros outside, four positions a block in a register tile, loops unrolled whole. */
static inline Kernel *make_taps(Arena *arena, int width) {
  enum { TILE = 4 };
  Kernel *k = kernel_new(arena, arena_printf(arena, "taps_%d", width), STAGE_LOOP);
  Type type = {.dtype = DT_f32, .rank = 2, .dim = {LENGTH, CHANNELS}};
  Type weights = {.dtype = DT_f32, .rank = 3, .dim = {TAPS, CHANNELS, CHANNELS}};
  Buffer *x = kernel_argument(k, "x", type, false), *w = kernel_argument(k, "w", weights, false);
  Buffer *y = kernel_argument(k, "y", type, true);
  Buffer *sum = kernel_buffer(k, "sum", SPACE_LOCAL, DT_f32, TILE * CHANNELS);
  const Table *offsets = kernel_table(k, "offset", TAPS, (int64_t[]){-5, 0, 5});
  IndexVar *block = kernel_grid(k, "block", (LENGTH + TILE - 1) / TILE);
  IndexVar *p = kernel_var(k, "p", 0, TILE - 1), *c = kernel_var(k, "c", 0, CHANNELS - 1);
  IndexVar *t = kernel_var(k, "tap", 0, TAPS - 1), *e = kernel_var(k, "k", 0, CHANNELS - 1);
  IndexVar *offset = kernel_var(k, "offset", -5, 5);
  Affine cell = affine_add(affine_var(p, CHANNELS), affine_var(c, 1));
  Affine row = affine_add(affine_var(block, TILE), affine_var(p, 1));

  KValue *nothing = stmt_const(k, &k->body, 0, DT_f32, width);
  Stmt *clear = stmt_for(k, &k->body, p, 0, TILE, 1), *rows, *columns;
  columns = stmt_for(k, &clear->body, c, 0, CHANNELS, width);
  clear->unroll = columns->unroll = -1;
  add_store(k, &columns->body, sum, cell, nothing);

  Stmt *taps = stmt_for(k, &k->body, t, 0, TAPS, 1);
  Stmt *lookup = stmt_add(k, &taps->body, STMT_LOOKUP);
  lookup->var = offset;
  lookup->table = offsets;
  lookup->at = affine_var(t, 1);
  Buffer *from[TILE];
  for (int i = 0; i < TILE; i++) {
    Affine place = affine_offset(affine_add(affine_var(block, TILE), affine_var(offset, 1)), i);
    Stmt *pointer = stmt_add(k, &taps->body, STMT_POINTER);
    from[i] = kernel_buffer(k, "from", SPACE_POINTER, DT_f32, CHANNELS);
    pointer->buffer = from[i];
    pointer->base = x;
    pointer->at = affine_scale(place, CHANNELS);
    add_guard(k, pointer, place, LENGTH, 0);
    stmt_add(k, &taps->body, STMT_PREFETCH)->buffer = from[i];
  }
  Stmt *inner = stmt_for(k, &taps->body, e, 0, CHANNELS, 1);
  inner->unroll = 4;
  columns = stmt_for(k, &inner->body, c, 0, CHANNELS, width);
  columns->unroll = -1;
  Affine weight = affine_add(affine_var(t, CHANNELS * CHANNELS), affine_var(e, CHANNELS));
  KValue *b = add_load(k, &columns->body, w, affine_add(weight, affine_var(c, 1)), width);
  for (int i = 0; i < TILE; i++) {
    Affine at = affine_offset(affine_var(c, 1), i * CHANNELS);
    KValue *a = add_load(k, &columns->body, from[i], affine_var(e, 1), 1);
    KValue *every = stmt_let(k, &columns->body, K_splat, DT_f32, width, a, NULL, NULL);
    KValue *before = add_load(k, &columns->body, sum, at, width);
    KValue *after = stmt_let(k, &columns->body, K_fma, DT_f32, width, every, b, before);
    add_store(k, &columns->body, sum, at, after);
  }
  rows = stmt_for(k, &k->body, p, 0, TILE, 1);
  columns = stmt_for(k, &rows->body, c, 0, CHANNELS, width);
  rows->unroll = columns->unroll = -1;
  KValue *result = add_load(k, &columns->body, sum, cell, width);
  Affine to = affine_add(affine_scale(row, CHANNELS), affine_var(c, 1));
  add_guard(k, add_store(k, &columns->body, y, to, result), row, LENGTH, 0);
  return k;
}

/* y[i] = x[i / 2 - 4] where i is even and x holds it, else -inf. */
static inline Kernel *make_guarded(Arena *arena) {
  Kernel *k = kernel_new(arena, "guarded", STAGE_LOOP);
  Buffer *x = kernel_argument(k, "x", vector_type(DT_f32, LENGTH), false);
  Buffer *y = kernel_argument(k, "y", vector_type(DT_f32, 2 * LENGTH + 16), true);
  IndexVar *i = kernel_grid(k, "i", 2 * LENGTH + 16), *half = kernel_var(k, "half", -8, LENGTH + 8);
  Stmt *index = stmt_add(k, &k->body, STMT_INDEX);
  index->var = half;
  index->at = affine_var(i, 1);
  index->divisor = 2;
  Affine from = affine_offset(affine_var(half, 1), -4);
  KValue *v = add_load(k, &k->body, x, from, 1);
  Stmt *load = k->body.at[k->body.count - 1];
  load->number = -INFINITY;
  add_guard(k, load, from, LENGTH, 0);
  add_guard(k, load, affine_var(i, 1), 0, 2);
  add_store(k, &k->body, y, affine_var(i, 1), v);
  return k;
}

/* y[t][c] = table[token[t]][c] / 255 from u8; tokens are i32 or i64. */
static inline Kernel *make_gather(Arena *arena, Dtype token, int width) {
  Kernel *k = kernel_new(arena, arena_printf(arena, "gather_%s_%d", dtype_name(token), width),
                         STAGE_LOOP);
  Buffer *tokens = kernel_argument(k, "tokens", vector_type(token, TOKENS), false);
  Type type = {.dtype = DT_u8, .rank = 2, .dim = {LENGTH, CHANNELS}};
  Type result = {.dtype = DT_f32, .rank = 2, .dim = {TOKENS, CHANNELS}};
  Buffer *table = kernel_argument(k, "table", type, false);
  Buffer *y = kernel_argument(k, "y", result, true);
  IndexVar *t = kernel_grid(k, "t", TOKENS), *c = kernel_var(k, "c", 0, CHANNELS - 1);
  KValue *which = add_load(k, &k->body, tokens, affine_var(t, 1), 1);
  Stmt *loop = stmt_for(k, &k->body, c, 0, CHANNELS, width);
  KValue *bytes = add_load(k, &loop->body, table, affine_var(c, 1), width);
  Stmt *load = loop->body.at[loop->body.count - 1];
  load->dynamic = which;
  load->dynamic_factor = CHANNELS;
  KValue *v = stmt_let(k, &loop->body, K_cast, DT_f32, width, bytes, NULL, NULL);
  KValue *all = stmt_const(k, &loop->body, 255, DT_f32, width);
  KValue *part = stmt_let(k, &loop->body, K_div, DT_f32, width, v, all, NULL);
  add_store(k, &loop->body, y, affine_add(affine_var(t, CHANNELS), affine_var(c, 1)), part);
  return k;
}

/* For row r: n = min(r + 2, 5); y[r] = sum over j < n of (10 r + 3 j) in even rows, minus that in
 * odd ones. Names that C and C++ reserve, two ends of a loop, two branches. */
static inline Kernel *make_branches(Arena *arena) {
  Kernel *k = kernel_new(arena, "branches", STAGE_LOOP);
  Buffer *y = kernel_argument(k, "y", vector_type(DT_i32, ROWS), true);
  IndexVar *r = kernel_grid(k, "v0", ROWS), *j = kernel_var(k, "float", 0, 4);
  Buffer *total = kernel_buffer(k, "new", SPACE_LOCAL, DT_i32, 1);
  Affine zero = affine_constant(0);
  add_store(k, &k->body, total, zero, stmt_const(k, &k->body, 0, DT_i32, 1));
  Stmt *loop = stmt_for(k, &k->body, j, 0, 5, 1);
  loop->has_high2 = true;
  loop->high2 = affine_offset(affine_var(r, 1), 2);
  Stmt *number = stmt_add(k, &loop->body, STMT_INDEX_VALUE);
  number->value = kernel_value(k, DT_i32, 1);
  number->at = affine_add(affine_var(r, 10), affine_var(j, 3));
  KValue *before = add_load(k, &loop->body, total, zero, 1);
  KValue *after = stmt_let(k, &loop->body, K_add, DT_i32, 1, before, number->value, NULL);
  add_store(k, &loop->body, total, zero, after);
  KValue *sum = add_load(k, &k->body, total, zero, 1);
  Stmt *branch = stmt_add(k, &k->body, STMT_IF);
  add_guard(k, branch, affine_var(r, 1), 0, 2);
  add_store(k, &branch->body, y, affine_var(r, 1), sum);
  KValue *minus = stmt_let(k, &branch->other, K_neg, DT_i32, 1, sum, NULL, NULL);
  add_store(k, &branch->other, y, affine_var(r, 1), minus);
  return k;
}

/* y[t] = sum over s of x[s][63 - t] through shared memory, blocks apart. `before` and `after`:
 * barriers between the write and the read, and between the read and the next write. */
static inline Kernel *make_shared(Arena *arena, const char *name, bool before, bool after) {
  Kernel *k = kernel_new(arena, name, STAGE_LOOP);
  Buffer *x = kernel_argument(k, "x", vector_type(DT_f32, BLOCKS * STEPS * THREADS), false);
  Buffer *y = kernel_argument(k, "y", vector_type(DT_f32, BLOCKS * THREADS), true);
  Buffer *flag = kernel_buffer(k, "flag", SPACE_SHARED, DT_u8, 3);
  Buffer *row = kernel_buffer(k, "row", SPACE_SHARED, DT_f32, THREADS);
  Buffer *sum = kernel_buffer(k, "sum", SPACE_LOCAL, DT_f32, 1);
  (void)flag; /* moves the other buffer off the arena's start */
  IndexVar *block = kernel_grid(k, "block", BLOCKS);
  IndexVar *thread = kernel_thread(k, "thread", THREADS);
  IndexVar *step = kernel_var(k, "step", 0, STEPS - 1);
  Affine zero = affine_constant(0), mine = affine_var(thread, 1);
  add_store(k, &k->body, sum, zero, stmt_const(k, &k->body, 0, DT_f32, 1));
  Stmt *loop = stmt_for(k, &k->body, step, 0, STEPS, 1);
  Affine from = affine_add(affine_var(block, STEPS * THREADS), affine_var(step, THREADS));
  KValue *in = add_load(k, &loop->body, x, affine_add(from, mine), 1);
  add_store(k, &loop->body, row, mine, in);
  if (before)
    stmt_add(k, &loop->body, STMT_BARRIER);
  Affine mirror = affine_offset(affine_scale(mine, -1), THREADS - 1);
  KValue *other = add_load(k, &loop->body, row, mirror, 1);
  KValue *old = add_load(k, &loop->body, sum, zero, 1);
  KValue *more = stmt_let(k, &loop->body, K_add, DT_f32, 1, old, other, NULL);
  add_store(k, &loop->body, sum, zero, more);
  if (after)
    stmt_add(k, &loop->body, STMT_BARRIER);
  KValue *all = add_load(k, &k->body, sum, zero, 1);
  add_store(k, &k->body, y, affine_add(affine_var(block, THREADS), mine), all);
  return k;
}

/* y[i] = 40000000 i + 5 x[i]: indices beyond 32 bits, written through a pointer. */
static inline Kernel *make_wide(Arena *arena) {
  Kernel *k = kernel_new(arena, "wide", STAGE_LOOP);
  Buffer *x = kernel_argument(k, "x", vector_type(DT_i64, 1000), false);
  Buffer *y = kernel_argument(k, "y", vector_type(DT_i64, 1000), true);
  Buffer *to = kernel_buffer(k, "to", SPACE_POINTER, DT_i64, 10);
  IndexVar *i = kernel_grid(k, "i", 100), *j = kernel_var(k, "j", 0, 9);
  Stmt *pointer = stmt_add(k, &k->body, STMT_POINTER);
  pointer->buffer = to;
  pointer->base = y;
  pointer->at = affine_var(i, 10);
  Stmt *loop = stmt_for(k, &k->body, j, 0, 10, 1);
  Affine at = affine_add(affine_var(i, 10), affine_var(j, 1));
  Stmt *index = stmt_add(k, &loop->body, STMT_INDEX_VALUE);
  index->value = kernel_value(k, DT_i64, 1);
  index->at = affine_scale(at, 40000000);
  KValue *v = add_load(k, &loop->body, x, at, 1);
  KValue *five = stmt_const(k, &loop->body, 5, DT_i64, 1);
  KValue *part = stmt_let(k, &loop->body, K_mul, DT_i64, 1, v, five, NULL);
  KValue *sum = stmt_let(k, &loop->body, K_add, DT_i64, 1, index->value, part, NULL);
  add_store(k, &loop->body, to, affine_var(j, 1), sum);
  return k;
}
#endif
