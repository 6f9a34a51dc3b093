/* Distribution for many threads that share a block: nests and folds.
 *
 * Each domain's layout (thread_layout.c) says which units of it a thread has. A tile whose every
 * reader walks the same domain stays with its thread, in a local array; any other tile (operands of
 * dots, what is broadcast) lies in shared memory. Threads fold their own units first, in order, and
 * leave what they have in shared memory, where the values for one result are added in order again.
 * The sync pass puts the barriers in.
 */
#include "passes/kernel/distribute_thread.h"
#include <string.h>

enum { MOST_OWN = 64 }; /* cells */

int64_t shared_pitch(Dtype dtype, int64_t columns) {
  int64_t bytes = columns * (int64_t)dtype_size(dtype), access = 16;
  bool even = bytes % access == 0 && bytes / access % 2 == 0;
  return even ? columns + access / (int64_t)dtype_size(dtype) : columns;
}

int64_t thread_slot_cells(const Tile *tile) {
  return tile->rows * shared_pitch(tile->dtype, tile->cols);
}

Buffer *thread_storage(Spread *s, const Tile *tile) {
  if (!s->storage[tile->id]) {
    const Layout *layout = layout_of(s, tile);
    bool mine = threads_of(s)->stays[tile->id];
    int64_t cells = mine ? (int64_t)layout->units * layout->vector
                         : thread_slot_cells(tile) * (threads_of(s)->two_slots[tile->id] ? 2 : 1);
    s->storage[tile->id] =
        kernel_buffer(s->to, tile->name, mine ? SPACE_LOCAL : SPACE_SHARED, tile->dtype, cells);
  }
  return s->storage[tile->id];
}

/* ---- nests ---- */

typedef struct ThreadWalk {
  Walk walk;
  Unit unit;
  const Tile *domain;
  Buffer **folded; /* by statement: the thread's own sums */
} ThreadWalk;

/* Where a thread keeps what it computed of a tile that others read too, to read it itself without
 * waiting for anybody; NULL: nobody does, or it is too much. */
static Buffer *own_array(Spread *s, const Tile *tile) {
  Threads *t = threads_of(s);
  const Layout *layout = layout_of(s, tile);
  if (!t->own[tile->id] && t->read_own[tile->id] && layout->units * layout->vector <= MOST_OWN)
    t->own[tile->id] = kernel_buffer(s->to, tile->name, SPACE_LOCAL, tile->dtype,
                                     (int64_t)layout->units * layout->vector);
  return t->own[tile->id];
}

/* In shared memory. Cells of a tile of one row or one column, read from a larger domain, are that
 * row's or column's. */
Affine shared_cell(const Walk *w, const Tile *tile) {
  Affine at = tile->rows == 1 ? affine_constant(0)
                              : affine_scale(tile_row(tile, &w->position),
                                             shared_pitch(tile->dtype, tile->cols));
  at = affine_add(at, threads_of(w->spread)->slot[tile->id]);
  return tile->cols == 1 ? at : affine_add(at, w->position.col);
}

static Affine cell(Walk *w, const Tile *tile, Buffer **buffer) {
  const ThreadWalk *walk = (const ThreadWalk *)w;
  *buffer = thread_storage(w->spread, tile);
  if ((*buffer)->space == SPACE_LOCAL)
    return affine_scale(walk->unit.number, w->width);
  Buffer *own = same_domain(walk->domain, tile) ? own_array(w->spread, tile) : NULL;
  if (!own)
    return shared_cell(w, tile);
  *buffer = own;
  return affine_scale(walk->unit.number, w->width);
}

static void keep(Walk *w, const Tile *tile, KValue *value) {
  const ThreadWalk *walk = (const ThreadWalk *)w;
  Spread *s = w->spread;
  if (threads_of(s)->source[tile->id])
    return;
  Buffer *buffer = thread_storage(s, tile);
  Affine number = affine_scale(walk->unit.number, w->width);
  if (buffer->space == SPACE_LOCAL) {
    vector_store(s, w->block, buffer, number, value);
    return;
  }
  vector_store(s, w->block, buffer, shared_cell(w, tile), value);
  if (own_array(s, tile))
    vector_store(s, w->block, own_array(s, tile), number, value);
}

/* The value of a source, computed here. */
static KValue *source_value(Walk *w, const Tile *tile) {
  const Stmt *source = threads_of(w->spread)->source[tile->id];
  if (!source)
    return NULL;
  Walk here = *w;
  if (tile->cols == 1) {
    here.width = 1;
    here.position.col = affine_constant(0);
  }
  for (int j = 0; j < MAX_ROW_AXES && tile->rows == 1; j++)
    here.position.row[j] = affine_constant(0);
  return walk_source(&here, source);
}

static bool folded_here(const Spread *s, const Stmt *stmt) {
  return stmt->kind == STMT_TILE_FOLD && layout_folds(layout_of(s, stmt->tile_arg[0]));
}

/* The place of a unit's sums in the thread's own array. */
static Affine fold_place(const ThreadWalk *w, const Stmt *from) {
  return affine_scale(from->fold_rows ? w->unit.column : w->unit.row, w->walk.width);
}

static void fold_unit(Walk *walk, int index) {
  ThreadWalk *w = (ThreadWalk *)walk;
  Spread *s = walk->spread;
  const Stmt *from = walk->nest->stmt[index];
  KValue *value = walk_value(walk, from->tile_arg[0]);
  Affine at = fold_place(w, from);
  Buffer *sums = w->folded[index];
  KValue *old = vector_load(s, walk->block, sums, at, value->dtype, walk->width)->value;
  KValue *sum =
      stmt_let(s->to, walk->block, from->kop, value->dtype, walk->width, old, value, NULL);
  vector_store(s, walk->block, sums, at, sum);
}

static void start_fold(ThreadWalk *w, Block *to, int index) {
  Spread *s = w->walk.spread;
  const Stmt *from = w->walk.nest->stmt[index];
  const Tile *domain = w->walk.nest->domain;
  int count = from->fold_rows ? unit_columns(s, domain) : unit_rows(s, domain),
      width = w->walk.width;
  Buffer *sums = w->folded[index] =
      kernel_buffer(s->to, "fold", SPACE_LOCAL, from->tile->dtype, (int64_t)count * width);
  IndexVar *i = kernel_var(s->to, "z", 0, (int64_t)(count - 1) * width);
  Stmt *loop = stmt_for(s->to, to, i, 0, (int64_t)count * width, width);
  loop->unroll = -1;
  KValue *zero = stmt_const(s->to, &loop->body, kop_neutral(from->kop), from->tile->dtype, width);
  vector_store(s, &loop->body, sums, affine_var(i, 1), zero);
}

/* For every result, the values at `first`, `first + step`, … of an array, in order. */
static void fold_in_order(Spread *s, Block *to, const Stmt *from, Buffer *values, int length,
                          int64_t row_step, int64_t column_step, int64_t step) {
  const Tile *result = from->tile;
  Dtype dtype = result->dtype;
  Unit u = units_open(s, to, result, UNITS_ALL);
  int width = layout_of(s, result)->vector;
  Buffer *sum = kernel_buffer(s->to, "fold", SPACE_LOCAL, dtype, width);
  Affine zero = affine_constant(0);
  vector_store(s, u.block, sum, zero,
               stmt_const(s->to, u.block, kop_neutral(from->kop), dtype, width));
  IndexVar *i = kernel_var(s->to, "i", 0, length - 1);
  Stmt *loop = stmt_for(s->to, u.block, i, 0, length, 1);
  Affine at = affine_add(affine_scale(tile_row(result, &u.position), row_step),
                         affine_scale(u.position.col, column_step));
  at = affine_add(at, affine_var(i, step));
  CHECK(width == 1 || column_step == 1);
  KValue *value = vector_load(s, &loop->body, values, at, dtype, width)->value;
  KValue *old = vector_load(s, &loop->body, sum, zero, dtype, width)->value;
  vector_store(s, &loop->body, sum, zero,
               stmt_let(s->to, &loop->body, from->kop, dtype, width, old, value, NULL));
  ThreadWalk w = {.walk = {.spread = s, .block = u.block, .position = u.position, .width = width},
                  .unit = u,
                  .domain = result};
  keep(&w.walk, result, vector_load(s, u.block, sum, zero, dtype, width)->value);
}

/* What each thread has goes to shared memory: [slots, columns], or [rows, slots]. */
static void finish_fold(ThreadWalk *w, Block *to, int index) {
  Spread *s = w->walk.spread;
  const Stmt *from = w->walk.nest->stmt[index];
  const Tile *domain = w->walk.nest->domain;
  bool by_rows = from->fold_rows;
  int slots = fold_slots(s, domain, by_rows), width = w->walk.width;
  Dtype dtype = from->tile->dtype;
  Buffer *left = kernel_buffer(s->to, "slots", SPACE_SHARED, dtype,
                               (int64_t)slots * (by_rows ? domain->cols : domain->rows));
  w->unit = units_open(s, to, domain, by_rows ? UNITS_FIRST_OF_COLUMN : UNITS_FIRST_OF_ROW);
  Block *block = w->unit.block;
  Affine slot = fold_slot(s, block, domain, by_rows);
  KValue *sum = vector_load(s, block, w->folded[index], fold_place(w, from), dtype, width)->value;
  if (by_rows) {
    vector_store(s, block, left, affine_add(affine_scale(slot, domain->cols), w->unit.position.col),
                 sum);
    fold_in_order(s, to, from, left, slots, 0, 1, domain->cols);
    return;
  }
  if (width > 1) {
    Kop kop = from->kop == K_max ? K_hmax : from->kop == K_min ? K_hmin : K_hadd;
    sum = stmt_let(s->to, block, kop, dtype, 1, sum, NULL, NULL);
  }
  Affine row = tile_row(domain, &w->unit.position);
  vector_store(s, block, left, affine_add(affine_scale(row, slots), slot), sum);
  fold_in_order(s, to, from, left, slots, slots, 0, 1);
}

/* A fold of a tile whose units are dealt out: from shared memory as it is. */
static void fold_shared(Spread *s, Block *to, const Stmt *from) {
  const Tile *source = from->tile_arg[0];
  int64_t pitch = shared_pitch(source->dtype, source->cols);
  if (from->fold_rows)
    fold_in_order(s, to, from, thread_storage(s, source), source->rows, 0, 1, pitch);
  else
    fold_in_order(s, to, from, thread_storage(s, source), source->cols, pitch, 0, 1);
}

/* Without sources that only others read, and folds that wait for the whole tile. */
static Nest *what_remains(Spread *s, const Nest *nest) {
  Nest *rest = ARENA_NEW(s->arena, Nest);
  rest->domain = nest->domain;
  for (int i = 0; i < nest->count; i++) {
    const Stmt *stmt = nest->stmt[i];
    const Tile *tile = stmt->tile;
    bool read = !tile || !threads_of(s)->source[tile->id];
    for (int j = 0; j < nest->count && !read; j++)
      for (int a = 0; a < MAX_KOP_ARGS; a++)
        read |= nest->stmt[j]->tile_arg[a] == tile;
    if (read && (stmt->kind != STMT_TILE_FOLD || folded_here(s, stmt)))
      rest->stmt[rest->count++] = stmt;
  }
  return rest;
}

/* May the nest read shared memory? */
static bool reads_shared(const Nest *nest) {
  for (int i = 0; i < nest->count; i++) {
    const Stmt *s = nest->stmt[i];
    if (s->tile_arg[0] || s->access.gather ||
        (s->access.buffer && s->access.buffer->space == SPACE_SHARED))
      return true;
  }
  return nest->count == 0; /* folds of what lies there */
}

void thread_nest(Spread *s, Block *to, const Nest *nest) {
  static const WalkHooks hooks = {
      .cell = cell, .keep = keep, .value = source_value, .fold = fold_unit};
  Nest *rest = what_remains(s, nest);
  if (thread_copy(s, to, rest))
    return;
  if (reads_shared(rest))
    thread_settle(s, to);
  ThreadWalk w = {.walk = {.spread = s,
                           .hooks = &hooks,
                           .nest = rest,
                           .width = layout_of(s, nest->domain)->vector,
                           .checked = true},
                  .domain = nest->domain};
  w.walk.value = ARENA_ARRAY(s->arena, KValue *, s->n_ids);
  w.folded = ARENA_ARRAY(s->arena, Buffer *, rest->count + 1);
  for (int i = 0; i < rest->count; i++)
    if (rest->stmt[i]->kind == STMT_TILE_FOLD)
      start_fold(&w, to, i);
  if (rest->count) {
    w.unit = units_open(s, to, nest->domain, UNITS_ALL);
    w.walk.position = w.unit.position;
    walk_body(&w.walk, w.unit.block);
  }
  for (int i = 0; i < rest->count; i++)
    if (rest->stmt[i]->kind == STMT_TILE_FOLD)
      finish_fold(&w, to, i);
  for (int i = 0; i < nest->count; i++)
    if (nest->stmt[i]->kind == STMT_TILE_FOLD && !folded_here(s, nest->stmt[i]))
      fold_shared(s, to, nest->stmt[i]);
}

/* Many threads hide the time of memory by taking turns. */
static void no_prefetch(Spread *s, Block *to, const Stmt *from) { (void)s, (void)to, (void)from; }

/* ---- arrays that nobody reads ---- */

static void mark_read(const Block *block, bool *read) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = block->at[i];
    if (s->buffer && s->kind != STMT_STORE)
      read[s->buffer->id] = true;
    mark_read(&s->body, read);
    mark_read(&s->other, read);
  }
}

static void drop_stores(Block *block, const bool *read) {
  int kept = 0;
  for (int i = 0; i < block->count; i++) {
    Stmt *s = block->at[i];
    drop_stores(&s->body, read);
    drop_stores(&s->other, read);
    if (s->kind != STMT_STORE || s->buffer->space == SPACE_GLOBAL || read[s->buffer->id])
      block->at[kept++] = s;
  }
  block->count = kept;
}

/* Whether a nest will read what an earlier one kept is known when all have been written. */
static void drop_unread(Spread *s) {
  Kernel *k = s->to;
  bool *read = ARENA_ARRAY(s->arena, bool, k->buffers.count + 1);
  int kept = k->n_arguments;
  mark_read(&k->body, read);
  drop_stores(&k->body, read);
  for (int i = kept; i < k->buffers.count; i++)
    if (read[i]) {
      k->buffers.at[kept] = k->buffers.at[i];
      k->buffers.at[kept]->id = kept;
      kept++;
    }
  k->buffers.count = kept;
}

void distribute_thread(Spread *s) {
  static const SpreadHooks hooks = {thread_nest, thread_dot, no_prefetch, thread_pipeline,
                                    thread_settle};
  kernel_thread(s->to, "thread", s->facts->threads);
  threads_plan(s);
  spread_block(s, &hooks, &s->from->body, &s->to->body);
  drop_unread(s);
}
