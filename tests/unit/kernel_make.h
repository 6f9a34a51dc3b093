/* Short words for tests that build LOOP-stage kernels by hand. All inline; affine expressions are
 * written as sums: plus(times(i, 8), times(j, 1)). */
#ifndef TRICOT_TESTS_KERNEL_MAKE_H
#define TRICOT_TESTS_KERNEL_MAKE_H
#include "ir/kernel.h"

static inline Affine times(const IndexVar *var, int64_t factor) { return affine_var(var, factor); }
static inline Affine plus(Affine a, Affine b) { return affine_add(a, b); }
static inline Affine number(int64_t constant) { return affine_constant(constant); }

static inline Type vector_type(Dtype dtype, int64_t elements) {
  return (Type){.dtype = dtype, .rank = 1, .dim = {elements}};
}

static inline Stmt *load_stmt(Kernel *kernel, Block *block, Buffer *buffer, Affine at, int width) {
  Stmt *stmt = stmt_add(kernel, block, STMT_LOAD);
  stmt->buffer = buffer;
  stmt->at = at;
  stmt->value = kernel_value(kernel, buffer->type.dtype, width);
  return stmt;
}

static inline KValue *load(Kernel *kernel, Block *block, Buffer *buffer, Affine at, int width) {
  return load_stmt(kernel, block, buffer, at, width)->value;
}

static inline Stmt *store(Kernel *kernel, Block *block, Buffer *buffer, Affine at, KValue *value) {
  Stmt *stmt = stmt_add(kernel, block, STMT_STORE);
  stmt->buffer = buffer;
  stmt->at = at;
  stmt->value_arg[0] = value;
  return stmt;
}

/* A loop written out by the emitter; the body is filled through the statement. */
static inline Stmt *unrolled(Kernel *kernel, Block *block, IndexVar *var, int64_t high,
                             int64_t step) {
  Stmt *stmt = stmt_for(kernel, block, var, 0, high, step);
  stmt->unroll = -1;
  return stmt;
}

static inline void guard_range(Kernel *kernel, Stmt *stmt, Affine value, int64_t extent) {
  Guard guard = {value, extent, 0};
  vec_push(kernel->arena, &stmt->guards, guard);
}

/* c[m,n] = a[m,k] b[k,n] in tiles of rows x columns: accumulators in a local array, k a real loop,
 * rows and vectors of a row unrolled. */
static inline Kernel *matmul_kernel(Arena *arena, const char *name, int m, int n, int k, int rows,
                                    int columns, int width, int unroll_k) {
  Kernel *kernel = kernel_new(arena, name, STAGE_LOOP);
  Buffer *a = kernel_argument(kernel, "a", (Type){DT_f32, 2, {m, k}}, false);
  Buffer *b = kernel_argument(kernel, "b", (Type){DT_f32, 2, {k, n}}, false);
  Buffer *c = kernel_argument(kernel, "c", (Type){DT_f32, 2, {m, n}}, true);
  Buffer *sums = kernel_buffer(kernel, "sums", SPACE_LOCAL, DT_f32, rows * columns);
  Buffer *line = kernel_buffer(kernel, "line", SPACE_LOCAL, DT_f32, columns);
  IndexVar *y = kernel_grid(kernel, "y", m / rows), *x = kernel_grid(kernel, "x", n / columns);
  IndexVar *inner = kernel_var(kernel, "k", 0, k - 1);
  IndexVar *row = kernel_var(kernel, "row", 0, rows - 1);
  IndexVar *column = kernel_var(kernel, "column", 0, columns - width);
  Affine sum_at = plus(times(row, columns), times(column, 1));

  KValue *zero = stmt_const(kernel, &kernel->body, 0, DT_f32, width);
  Stmt *over_row = unrolled(kernel, &kernel->body, row, rows, 1);
  Stmt *over_column = unrolled(kernel, &over_row->body, column, columns, width);
  store(kernel, &over_column->body, sums, sum_at, zero);

  Stmt *over_k = stmt_for(kernel, &kernel->body, inner, 0, k, 1);
  over_k->unroll = unroll_k;
  over_column = unrolled(kernel, &over_k->body, column, columns, width);
  Affine b_at = plus(times(inner, n), plus(times(x, columns), times(column, 1)));
  KValue *from_b = load(kernel, &over_column->body, b, b_at, width);
  store(kernel, &over_column->body, line, times(column, 1), from_b);
  over_row = unrolled(kernel, &over_k->body, row, rows, 1);
  Affine a_at = plus(times(inner, 1), plus(times(y, (int64_t)rows * k), times(row, k)));
  KValue *from_a = load(kernel, &over_row->body, a, a_at, 1);
  KValue *spread = stmt_let(kernel, &over_row->body, K_splat, DT_f32, width, from_a, NULL, NULL);
  over_column = unrolled(kernel, &over_row->body, column, columns, width);
  Block *body = &over_column->body;
  KValue *from_line = load(kernel, body, line, times(column, 1), width);
  KValue *old = load(kernel, body, sums, sum_at, width);
  KValue *new = stmt_let(kernel, body, K_fma, DT_f32, width, spread, from_line, old);
  store(kernel, body, sums, sum_at, new);

  over_row = unrolled(kernel, &kernel->body, row, rows, 1);
  over_column = unrolled(kernel, &over_row->body, column, columns, width);
  KValue *done = load(kernel, &over_column->body, sums, sum_at, width);
  Affine c_at = plus(times(y, (int64_t)rows * n), times(row, n));
  c_at = plus(c_at, plus(times(x, columns), times(column, 1)));
  store(kernel, &over_column->body, c, c_at, done);
  return kernel;
}
#endif
