/* The TILE half of the kernel interpreter: one statement acts on whole tiles. See kernel_machine.h.
 *
 * Tiles are rows x columns of scalars, row-major. Sums run in ascending order; a dot fuses its
 * multiply and add, as the loops it becomes do.
 */
#include "ir/kernel_machine.h"
#include <math.h>

/* The box coordinates of a row number, last axis fastest. */
static void box_of_row(const Tile *tile, int row, int64_t *box) {
  for (int i = 0; i < MAX_ROW_AXES; i++)
    box[i] = 0;
  for (int i = tile->n_axes - 1; i >= 0; i--) {
    box[i] = row % tile->axis[i];
    row /= tile->axis[i];
  }
}

static Scalar *row_of(const Machine *m, const Tile *tile, int row) {
  return m->tiles[tile->id] + (int64_t)row * tile->cols;
}

/* Coordinates of a row's first column, before division; the gathered one is filled in. */
static bool row_start(Machine *m, const Stmt *s, const Tile *tile, int row, int64_t *start) {
  const Access *access = &s->access;
  int64_t box[MAX_ROW_AXES];
  box_of_row(tile, row, box);
  for (int d = 0; d < access->rank; d++) {
    const AccessDim *dim = &access->dim[d];
    if (access->gather && access->gather_dim == d) {
      start[d] = row_of(m, access->gather, access->gather->rows == 1 ? 0 : row)->i;
      if (start[d] < 0 || start[d] >= access->buffer->type.dim[d])
        return machine_fail(m, s, 0, "gathers element %lld of %lld", (long long)start[d],
                            (long long)access->buffer->type.dim[d]);
      continue;
    }
    start[d] = machine_affine(m, 0, &dim->at);
    for (int i = 0; i < MAX_ROW_AXES; i++)
      start[d] += dim->row[i] * box[i];
  }
  return true;
}

/* The flat element for a column, -1 outside the tensor. */
static int64_t element(const Access *access, const int64_t *start, int col) {
  int64_t flat = 0;
  for (int d = 0; d < access->rank; d++) {
    const AccessDim *dim = &access->dim[d];
    bool gathered = access->gather && access->gather_dim == d;
    int64_t at = start[d] + (gathered ? 0 : dim->col * col);
    if (!gathered && dim->divisor != 1) {
      if (at % dim->divisor != 0)
        return -1;
      at /= dim->divisor;
    }
    if (at < 0 || at >= access->buffer->type.dim[d])
      return -1;
    flat = flat * access->buffer->type.dim[d] + at;
  }
  return flat;
}

static bool run_load(Machine *m, const Stmt *s) {
  const Tile *tile = s->tile;
  Scalar fill = machine_number(tile->dtype, s->number);
  int64_t start[MAX_RANK];
  for (int row = 0; row < tile->rows; row++) {
    Scalar *to = row_of(m, tile, row);
    if (!row_start(m, s, tile, row, start))
      return false;
    for (int col = 0; col < tile->cols; col++) {
      int64_t cell = element(&s->access, start, col);
      to[col] = fill;
      if (cell < 0 && s->inside)
        return machine_fail(m, s, 0, "row %d, column %d lie outside", row, col);
      if (cell >= 0 && !machine_read(m, s, 0, s->access.buffer, cell, &to[col]))
        return false;
    }
  }
  return true;
}

/* Rows of one store go to different cells, or their order would decide; each store is an epoch. */
static bool run_store(Machine *m, const Stmt *s) {
  const Tile *tile = s->tile_arg[0];
  const Buffer *buffer = s->access.buffer;
  int64_t start[MAX_RANK];
  m->epoch++;
  for (int row = 0; row < tile->rows; row++) {
    const Scalar *from = row_of(m, tile, row);
    if (!row_start(m, s, tile, row, start))
      return false;
    for (int col = 0; col < tile->cols; col++) {
      int64_t cell = element(&s->access, start, col);
      Scalar value = from[col], old;
      if (cell < 0)
        continue;
      if (s->accumulate) {
        if (!machine_read(m, s, 0, buffer, cell, &old))
          return false;
        value = kop_eval(K_add, tile->dtype, tile->dtype, (Scalar[]){old, value});
      } else if (machine_written_now(m, buffer, cell)) {
        return machine_fail(m, s, 0, "stores element %lld twice", (long long)cell);
      }
      if (!machine_write(m, s, 0, buffer, cell, value))
        return false;
    }
  }
  return true;
}

static void run_index(Machine *m, const Stmt *s) {
  const Tile *tile = s->tile;
  int64_t box[MAX_ROW_AXES], at = machine_affine(m, 0, &s->at);
  for (int row = 0; row < tile->rows; row++) {
    Scalar *to = row_of(m, tile, row), wide;
    box_of_row(tile, row, box);
    for (int col = 0; col < tile->cols; col++) {
      wide.i = at + s->col_factor * col;
      for (int i = 0; i < MAX_ROW_AXES; i++)
        wide.i += s->row_factor[i] * box[i];
      to[col] = kop_eval(K_cast, DT_i64, tile->dtype, &wide);
    }
  }
}

static void run_map(Machine *m, const Stmt *s) {
  const KopInfo *info = &kop_info[s->kop];
  const Tile *tile = s->tile;
  Dtype operand = s->tile_arg[info->kind == KOP_SELECT ? 1 : 0]->dtype;
  Scalar args[MAX_KOP_ARGS];
  for (int row = 0; row < tile->rows; row++) {
    Scalar *to = row_of(m, tile, row);
    for (int col = 0; col < tile->cols; col++) {
      for (int i = 0; i < info->arity; i++) {
        const Tile *arg = s->tile_arg[i];
        args[i] = row_of(m, arg, arg->rows == 1 ? 0 : row)[arg->cols == 1 ? 0 : col];
      }
      to[col] = kop_eval(s->kop, operand, tile->dtype, args);
    }
  }
}

/* sum += a . b with b in pairs of bf16; a too, or their elements side by side. */
static void run_pair_dot(Machine *m, const Stmt *s) {
  const Tile *tile = s->tile, *a = s->tile_arg[0], *b = s->tile_arg[1];
  for (int row = 0; row < tile->rows; row++) {
    Scalar *to = row_of(m, tile, row);
    const Scalar *left = row_of(m, a, row);
    for (int k = 0; k < b->rows; k++) {
      Scalar pair = left[k];
      if (a->dtype == DT_bf16)
        pair = kop_eval(K_pair, DT_bf16, DT_i32, left + 2 * (ptrdiff_t)k);
      const Scalar *right = row_of(m, b, k);
      for (int col = 0; col < tile->cols; col++)
        to[col] = kop_eval(K_dot2, DT_i32, DT_f32, (Scalar[]){pair, right[col], to[col]});
    }
  }
}

static void run_dot(Machine *m, const Stmt *s) {
  const Tile *tile = s->tile, *a = s->tile_arg[0], *b = s->tile_arg[1];
  if (b->dtype == DT_i32) {
    run_pair_dot(m, s);
    return;
  }
  for (int row = 0; row < tile->rows; row++) {
    Scalar *to = row_of(m, tile, row);
    const Scalar *left = row_of(m, a, row);
    for (int k = 0; k < a->cols; k++) {
      const Scalar *right = row_of(m, b, k);
      for (int col = 0; col < tile->cols; col++)
        to[col].f = fmaf(left[k].f, right[col].f, to[col].f);
    }
  }
}

static void run_fold(Machine *m, const Stmt *s) {
  const Tile *tile = s->tile, *a = s->tile_arg[0];
  int count = s->fold_rows ? a->rows : a->cols, others = s->fold_rows ? a->cols : a->rows;
  for (int i = 0; i < others; i++) {
    Scalar sum = s->fold_rows ? row_of(m, a, 0)[i] : row_of(m, a, i)[0];
    for (int j = 1; j < count; j++) {
      Scalar next = s->fold_rows ? row_of(m, a, j)[i] : row_of(m, a, i)[j];
      sum = kop_eval(s->kop, a->dtype, a->dtype, (Scalar[]){sum, next});
    }
    m->tiles[tile->id][i] = sum;
  }
}

bool machine_tile_statement(Machine *m, const Stmt *s) {
  switch (s->kind) {
  case STMT_TILE_FILL:
    for (int64_t i = 0; i < (int64_t)s->tile->rows * s->tile->cols; i++)
      m->tiles[s->tile->id][i] = machine_number(s->tile->dtype, s->number);
    return true;
  case STMT_TILE_INDEX: run_index(m, s); return true;
  case STMT_TILE_LOAD: return run_load(m, s);
  case STMT_TILE_MAP: run_map(m, s); return true;
  case STMT_TILE_DOT: run_dot(m, s); return true;
  case STMT_TILE_FOLD: run_fold(m, s); return true;
  case STMT_TILE_STORE: return run_store(m, s);
  case STMT_TILE_PREFETCH: return true;
  default: FAULT("statement kind %d", s->kind);
  }
}
