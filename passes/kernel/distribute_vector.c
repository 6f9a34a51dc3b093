/* Distribution for one thread with vector registers.
 *
 * A nest becomes loops over its rows and, inside, over vectors of columns. Small nests (register
 * tiles) are unrolled whole, so that arrays are only indexed by constants and live in registers.
 * Where some access could leave its tensor, the nest is emitted twice under one test of the tile's
 * corners: free of checks for tiles that lie inside, guarded element by element for the border.
 *
 * Dots are in distribute_dot.c.
 */
#include "passes/kernel/distribute_vector.h"
#include <string.h>

enum { REGISTER_NEST = 48, UNROLL_COLUMNS = 4, UNROLL_ROWS = 16, UNROLL_STORES = 8 };

int vectors_of(int cols, int width) { return (cols + width - 1) / width; }

/* Elements from one row of a tile's array to the next. */
int tile_row_stride(const Spread *s, const Tile *tile) {
  return tile->cols == 1 ? 1 : vectors_of(tile->cols, s->facts->vector) * s->facts->vector;
}

Buffer *tile_storage(Spread *s, const Tile *tile) {
  if (!s->storage[tile->id])
    s->storage[tile->id] = kernel_buffer(s->to, tile->name, SPACE_LOCAL, tile->dtype,
                                         (int64_t)tile->rows * tile_row_stride(s, tile));
  return s->storage[tile->id];
}

/* ---- nests ---- */

typedef struct VectorWalk {
  Walk walk;
  Buffer **folded; /* by statement: vector accumulator of a column fold */
} VectorWalk;

static Affine array_cell(Walk *w, const Tile *tile, Buffer **buffer) {
  *buffer = tile_storage(w->spread, tile);
  Affine at = affine_scale(tile_row(tile, &w->position), tile_row_stride(w->spread, tile));
  return tile->cols == 1 ? at : affine_add(at, w->position.col);
}

static void keep_in_array(Walk *w, const Tile *tile, KValue *value) {
  Buffer *buffer;
  Affine at = array_cell(w, tile, &buffer);
  vector_store(w->spread, w->block, buffer, at, value);
}

/* One more vector into a fold: over rows into the result's array, over columns into lanes. */
static void fold_step(Walk *w, int index) {
  Spread *s = w->spread;
  const Stmt *from = w->nest->stmt[index];
  KValue *value = walk_value(w, from->tile_arg[0]);
  Buffer **folded = ((VectorWalk *)w)->folded;
  Buffer *buffer = from->fold_rows ? tile_storage(s, from->tile) : folded[index];
  Affine at = from->fold_rows && from->tile->cols > 1 ? w->position.col : affine_constant(0);
  if (!from->fold_rows && w->tail) {
    Stmt *lane = stmt_add(s->to, w->block, STMT_INDEX_VALUE);
    lane->col_factor = 1;
    lane->value = kernel_value(s->to, DT_f32, w->width);
    KValue *tail = stmt_const(s->to, w->block, w->tail, DT_f32, w->width);
    KValue *inside = stmt_let(s->to, w->block, K_lt, DT_f32, w->width, lane->value, tail, NULL);
    KValue *other = stmt_const(s->to, w->block, kop_neutral(from->kop), value->dtype, w->width);
    value = stmt_let(s->to, w->block, K_select, value->dtype, w->width, inside, value, other);
  }
  KValue *old = vector_load(s, w->block, buffer, at, value->dtype, w->width)->value;
  KValue *sum = stmt_let(s->to, w->block, from->kop, value->dtype, w->width, old, value, NULL);
  vector_store(s, w->block, buffer, at, sum);
}

static void columns(Walk *w, Block *block, bool unrolled) {
  Spread *s = w->spread;
  int cols = w->nest->domain->cols, whole = cols / w->width * w->width;
  w->tail = 0;
  if (whole == w->width) {
    w->position.col = affine_constant(0);
    walk_body(w, block);
  } else if (whole > 0) {
    IndexVar *col = kernel_var(s->to, "c", 0, whole - w->width);
    Stmt *loop = stmt_for(s->to, block, col, 0, whole, w->width);
    bool few = w->width > 1 && whole <= UNROLL_COLUMNS * w->width;
    loop->unroll = unrolled || few ? -1 : w->width > 1 ? UNROLL_COLUMNS : 0;
    w->position.col = affine_var(col, 1);
    walk_body(w, &loop->body);
  }
  if (cols > whole) {
    w->position.col = affine_constant(whole);
    w->tail = cols - whole;
    walk_body(w, block);
    w->tail = 0;
  }
}

/* Vector accumulators of column folds, and the scalar each leaves behind. */
static void start_folds(Walk *w, Block *block, bool by_rows) {
  Spread *s = w->spread;
  Buffer **folded = ((VectorWalk *)w)->folded;
  for (int i = 0; i < w->nest->count; i++) {
    const Stmt *from = w->nest->stmt[i];
    if (from->kind != STMT_TILE_FOLD || from->fold_rows != by_rows)
      continue;
    double neutral = kop_neutral(from->kop);
    int width = w->width, length = by_rows ? tile_row_stride(s, from->tile) : width;
    if (by_rows && from->tile->cols == 1)
      width = 1;
    Buffer *buffer = by_rows ? tile_storage(s, from->tile) : folded[i];
    if (!buffer)
      buffer = folded[i] = kernel_buffer(s->to, "fold", SPACE_LOCAL, from->tile->dtype, width);
    if (length / width > REGISTER_NEST) {
      IndexVar *at = kernel_var(s->to, "z", 0, length - width);
      Stmt *loop = stmt_for(s->to, block, at, 0, length, width);
      KValue *value = stmt_const(s->to, &loop->body, neutral, from->tile->dtype, width);
      vector_store(s, &loop->body, buffer, affine_var(at, 1), value);
      continue;
    }
    KValue *value = stmt_const(s->to, block, neutral, from->tile->dtype, width);
    for (int at = 0; at < length; at += width)
      vector_store(s, block, buffer, affine_constant(at), value);
  }
}

static void finish_folds(Walk *w, Block *block) {
  Spread *s = w->spread;
  Buffer **folded = ((VectorWalk *)w)->folded;
  for (int i = 0; i < w->nest->count; i++) {
    const Stmt *from = w->nest->stmt[i];
    if (from->kind != STMT_TILE_FOLD || from->fold_rows)
      continue;
    KValue *sum =
        vector_load(s, block, folded[i], affine_constant(0), from->tile->dtype, w->width)->value;
    if (w->width > 1) {
      Kop kop = from->kop == K_max ? K_hmax : from->kop == K_min ? K_hmin : K_hadd;
      sum = stmt_let(s->to, block, kop, from->tile->dtype, 1, sum, NULL, NULL);
    }
    vector_store(s, block, tile_storage(s, from->tile), tile_row(from->tile, &w->position), sum);
  }
}

/* Arrays have rows of whole vectors, and what reads them by vectors reads all of the last one:
 * where columns are walked one by one, the lanes past them are zero. */
static void fill_ends(Walk *w, Block *block) {
  Spread *s = w->spread;
  int vector = s->facts->vector, cols = w->nest->domain->cols;
  for (int i = 0; i < w->nest->count && w->width == 1 && cols > 1 && cols % vector; i++) {
    const Stmt *from = w->nest->stmt[i];
    bool first = from->tile && from->kind != STMT_TILE_FOLD;
    for (int j = 0; first && j <= i; j++)
      for (int a = 0; a < MAX_KOP_ARGS; a++)
        first = first && w->nest->stmt[j]->tile_arg[a] != from->tile;
    if (!first || nest_private(s, w->nest, from->tile))
      continue;
    Affine at = affine_scale(tile_row(from->tile, &w->position), tile_row_stride(s, from->tile));
    KValue *zeros = stmt_const(s->to, block, 0, from->tile->dtype, vector);
    Affine last = affine_offset(at, cols / vector * vector);
    vector_store(s, block, tile_storage(s, from->tile), last, zeros);
  }
}

/* A store whose columns lie apart, rows side by side: one column after the other, so that each line
 * of memory is filled at once. */
static void store_by_columns(Walk *w, Block *block) {
  Spread *s = w->spread;
  const Tile *domain = w->nest->domain;
  Stmt *loop = NULL;
  IndexVar *col = kernel_var(s->to, "c", 0, domain->cols - 1);
  block = &stmt_for(s->to, block, col, 0, domain->cols, 1)->body;
  w->position.col = affine_var(col, 1);
  for (int j = 0; j < domain->n_axes; j++) {
    IndexVar *row = kernel_var(s->to, "p", 0, domain->axis[j] - 1);
    loop = stmt_for(s->to, block, row, 0, domain->axis[j], 1);
    w->position.row[j] = affine_var(row, 1);
    block = &loop->body;
  }
  if (loop)
    loop->unroll = loop->high.constant <= UNROLL_ROWS ? -1 : UNROLL_STORES;
  walk_body(w, block);
}

static void rows(Walk *w, Block *block, bool unrolled) {
  Spread *s = w->spread;
  const Tile *domain = w->nest->domain;
  if (w->nest->count == 1 && store_walks_apart(s, w->nest->stmt[0]) && domain->n_axes) {
    store_by_columns(w, block);
    return;
  }
  start_folds(w, block, true);
  for (int j = 0; j < domain->n_axes; j++) {
    w->position.row[j] = affine_constant(0);
    if (domain->axis[j] == 1)
      continue;
    IndexVar *row = kernel_var(s->to, "p", 0, domain->axis[j] - 1);
    Stmt *loop = stmt_for(s->to, block, row, 0, domain->axis[j], 1);
    loop->unroll = unrolled ? -1 : 0;
    w->position.row[j] = affine_var(row, 1);
    block = &loop->body;
  }
  fill_ends(w, block);
  start_folds(w, block, false);
  columns(w, block, unrolled);
  finish_folds(w, block);
}

/* ---- tests of a tile's corners ---- */

/* Adds guards that hold exactly when no element of the domain leaves the tensor. */
void corner_guards(Spread *s, Guards *guards, const Access *access, const Tile *domain,
                   bool *possible) {
  for (int d = 0; d < access->rank; d++) {
    const AccessDim *dim = &access->dim[d];
    if (access->gather && access->gather_dim == d)
      continue;
    int64_t low = 0, high = 0, extent = access->buffer->type.dim[d];
    for (int j = 0; j < domain->n_axes; j++)
      *(dim->row[j] < 0 ? &low : &high) += dim->row[j] * (domain->axis[j] - 1);
    *(dim->col < 0 ? &low : &high) += dim->col * (domain->cols - 1);
    Guard corner[2] = {{affine_offset(dim->at, low), extent * dim->divisor, 0},
                       {affine_offset(dim->at, high), extent * dim->divisor, 0}};
    if (dim->divisor > 1) {
      bool alike = dim->col % dim->divisor == 0;
      for (int j = 0; j < domain->n_axes; j++)
        alike &= dim->row[j] % dim->divisor == 0;
      if (!alike)
        *possible = false; /* divisibility differs from element to element */
      Guard divides = {dim->at, 0, dim->divisor};
      vec_push(s->arena, guards, divides);
    }
    for (int c = 0; c < (low == high ? 1 : 2); c++) {
      const Affine *value = &corner[c].value;
      if (affine_low(value) < 0 || affine_high(value) >= corner[c].extent)
        vec_push(s->arena, guards, corner[c]);
    }
  }
}

static bool needs_scalars(const Spread *s, const Nest *nest) {
  for (int i = 0; i < nest->count; i++)
    if (walk_needs_scalars(s, nest->stmt[i], nest->domain, s->facts->vector))
      return true;
  return false;
}

void vector_nest(Spread *s, Block *to, const Nest *nest) {
  const Tile *domain = nest->domain;
  static const WalkHooks hooks = {.cell = array_cell, .keep = keep_in_array, .fold = fold_step};
  VectorWalk walk = {.walk = {.spread = s, .nest = nest, .hooks = &hooks}};
  Walk *w = &walk.walk;
  w->width = domain->cols == 1 || needs_scalars(s, nest) ? 1 : s->facts->vector;
  w->value = ARENA_ARRAY(s->arena, KValue *, s->n_ids);
  walk.folded = ARENA_ARRAY(s->arena, Buffer *, nest->count);
  for (int j = 0; j < MAX_ROW_AXES; j++)
    w->position.row[j] = affine_constant(0);
  bool unrolled = domain->rows * vectors_of(domain->cols, w->width) <= REGISTER_NEST;
  Guards guards = {0};
  bool possible = true;
  for (int i = 0; i < nest->count; i++)
    if ((nest->stmt[i]->kind == STMT_TILE_LOAD && !nest->stmt[i]->inside) ||
        nest->stmt[i]->kind == STMT_TILE_STORE)
      corner_guards(s, &guards, &nest->stmt[i]->access, domain, &possible);
  if (guards.count && possible) {
    Stmt *inside = stmt_add(s->to, to, STMT_IF);
    inside->guards = guards;
    rows(w, &inside->body, unrolled);
    w->checked = true;
    rows(w, &inside->other, unrolled);
    return;
  }
  w->checked = guards.count > 0 || !possible;
  rows(w, to, unrolled);
}

void distribute_vector(Spread *spread) {
  static const SpreadHooks hooks = {
      .nest = vector_nest, .dot = vector_dot, .prefetch = vector_prefetch};
  spread_block(spread, &hooks, &spread->from->body, &spread->to->body);
}
