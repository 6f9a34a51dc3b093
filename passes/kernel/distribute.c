/* Distribution: TILE stage to LOOP stage.
 *
 * Consecutive statements over the same rows and columns become one loop nest, so that what they
 * hand each other stays in registers; a tile that outlives its nest gets an array. Statements over
 * a smaller domain (a bias row, a row's mean) that do not depend on the open nest are emitted ahead
 * of it. How a nest walks its domain is the target's affair: one thread with vectors of columns
 * (distribute_vector.c) or many threads with an element each (distribute_thread.c); which one
 * follows from the facts alone.
 */
#include "passes/kernel/distribute.h"
#include "passes/kernel/distribute_thread.h"

const Tile *stmt_domain(const Stmt *s) {
  return s->kind == STMT_TILE_STORE || s->kind == STMT_TILE_FOLD ? s->tile_arg[0] : s->tile;
}

bool same_domain(const Tile *a, const Tile *b) {
  if (a->cols != b->cols || a->n_axes != b->n_axes)
    return false;
  for (int j = 0; j < a->n_axes; j++)
    if (a->axis[j] != b->axis[j])
      return false;
  return true;
}

static bool reads(const Stmt *s, const Tile *tile) {
  for (int i = 0; i < MAX_KOP_ARGS; i++)
    if (s->tile_arg[i] == tile)
      return true;
  return s->access.gather == tile || (s->kind == STMT_TILE_DOT && s->tile == tile);
}

bool nest_defines(const Nest *nest, const Tile *tile) {
  for (int i = 0; i < nest->count; i++)
    if (nest->stmt[i]->tile == tile)
      return true;
  return false;
}

bool nest_touches(const Nest *nest, const Tile *tile) {
  for (int i = 0; i < nest->count; i++)
    if (nest->stmt[i]->tile == tile || reads(nest->stmt[i], tile))
      return true;
  return false;
}

bool nest_private(const Spread *spread, const Nest *nest, const Tile *tile) {
  int here = 0;
  for (int i = 0; i < nest->count; i++) {
    bool defines = nest->stmt[i]->tile == tile, uses = reads(nest->stmt[i], tile);
    if (here == 0 && uses)
      return false;
    here += defines || uses;
  }
  return here == spread->references[tile->id];
}

/* Do two accesses to one tensor touch an element of the nest's domain at the same cell, or never
 * the same cell at all? They do where along some dimension they move alike and lie apart by what no
 * number of steps makes up for. */
static bool keep_apart(const Access *a, const Access *b) {
  bool same = true, apart = false;
  if (a->gather || b->gather)
    return false;
  for (int d = 0; d < a->rank; d++) {
    const AccessDim *x = &a->dim[d], *y = &b->dim[d];
    Affine between = affine_add(x->at, affine_scale(y->at, -1));
    int64_t step = x->col < 0 ? -x->col : x->col;
    bool alike = x->col == y->col && x->divisor == 1 && y->divisor == 1;
    for (int j = 0; j < MAX_ROW_AXES; j++) {
      alike &= x->row[j] == y->row[j];
      step = greatest_divisor(x->row[j] < 0 ? -x->row[j] : x->row[j], step);
    }
    bool fixed = alike && affine_is_constant(&between);
    same &= fixed && between.constant == 0;
    apart |= fixed && (step ? between.constant % step != 0 : between.constant != 0);
  }
  return same || apart;
}

/* May the statement join the nest, or must the nest end before it? */
static bool joins(const Nest *nest, const Stmt *s) {
  if (nest->count == MAX_NEST || !same_domain(nest->domain, stmt_domain(s)))
    return false;
  for (int i = 0; i < nest->count; i++) {
    const Stmt *earlier = nest->stmt[i];
    bool stores = earlier->kind == STMT_TILE_STORE || s->kind == STMT_TILE_STORE;
    if (stores && s->access.buffer && s->access.buffer == earlier->access.buffer &&
        s->access.buffer->space == SPACE_SHARED && !keep_apart(&s->access, &earlier->access))
      return false; /* what one element of the domain stores another may read */
    if (earlier->kind == STMT_TILE_FOLD && (reads(s, earlier->tile) || s->tile == earlier->tile))
      return false; /* a fold is complete only after the nest */
    if (earlier->tile && s->access.gather == earlier->tile)
      return false; /* numbers of rows are read from their array */
    /* a broadcast operand is read from its array: it must be complete before the nest */
    if (earlier->tile && reads(s, earlier->tile) && !same_domain(earlier->tile, nest->domain))
      return false;
  }
  return true;
}

bool store_walks_apart(const Spread *spread, const Stmt *s) {
  return s->kind == STMT_TILE_STORE && spread->facts->vector > 1 && s->tile_arg[0]->cols > 1 &&
         access_col_stride(spread, &s->access) != 1;
}

static bool independent(const Nest *nest, const Stmt *s) {
  if (s->kind == STMT_TILE_STORE || (s->tile && nest_touches(nest, s->tile)))
    return false;
  if (s->access.gather && nest_defines(nest, s->access.gather))
    return false;
  for (int i = 0; i < MAX_KOP_ARGS; i++)
    if (s->tile_arg[i] && nest_defines(nest, s->tile_arg[i]))
      return false;
  for (int i = 0; i < nest->count; i++) /* loads stay behind the nest's stores to the same tensor */
    if (nest->stmt[i]->kind == STMT_TILE_STORE && s->kind == STMT_TILE_LOAD &&
        nest->stmt[i]->access.buffer == s->access.buffer)
      return false;
  return true;
}

static void flush(Spread *spread, const SpreadHooks *hooks, Nest *nest, Block *to) {
  if (nest->count)
    hooks->nest(spread, to, nest);
  nest->count = 0;
}

/* Ahead of such a nest nothing need come: what is loaded next may be stored in the same nest. */
static bool only_fills(const Nest *nest) {
  for (int i = 0; i < nest->count; i++)
    if (nest->stmt[i]->kind != STMT_TILE_FILL)
      return false;
  return true;
}

static void add_to_nest(Spread *spread, const SpreadHooks *hooks, Nest *nest, const Stmt *s,
                        Block *to) {
  if (nest->count && (store_walks_apart(spread, s) || store_walks_apart(spread, nest->stmt[0])))
    flush(spread, hooks, nest, to);
  if (nest->count && !joins(nest, s)) {
    bool copies = spread->facts->threads > 1 && s->kind == STMT_TILE_LOAD && only_fills(nest);
    if (!copies && !same_domain(nest->domain, stmt_domain(s)) && independent(nest, s)) {
      Nest single = {.stmt = {s}, .count = 1, .domain = stmt_domain(s)};
      hooks->nest(spread, to, &single);
      return;
    }
    flush(spread, hooks, nest, to);
  }
  if (!nest->count)
    nest->domain = stmt_domain(s);
  nest->stmt[nest->count++] = s;
}

static bool is_dead(const Spread *spread, const Stmt *s) {
  return s->tile && s->kind != STMT_TILE_PREFETCH && !spread->live[s->tile->id];
}

void spread_block(Spread *spread, const SpreadHooks *hooks, const Block *from, Block *to) {
  Nest *nest = ARENA_NEW(spread->arena, Nest);
  for (int i = 0; i < from->count; i++) {
    const Stmt *s = from->at[i];
    if (is_dead(spread, s))
      continue;
    if (s->kind == STMT_TILE_LOAD && spread->deferred[s->tile->id])
      continue;
    if (s->kind >= STMT_TILE_FILL && s->kind <= STMT_TILE_STORE && s->kind != STMT_TILE_DOT) {
      add_to_nest(spread, hooks, nest, s, to);
      continue;
    }
    if (s->kind == STMT_TILE_PREFETCH) {
      hooks->prefetch(spread, to, s);
      continue;
    }
    flush(spread, hooks, nest, to);
    if (s->kind == STMT_TILE_DOT) {
      hooks->dot(spread, to, s);
      continue;
    }
    if (s->kind == STMT_FOR && hooks->loop && hooks->loop(spread, to, s))
      continue;
    if (hooks->settle)
      hooks->settle(spread, to);
    Stmt *copy = stmt_add(spread->to, to, s->kind);
    *copy = *s;
    copy->body = copy->other = (Block){0};
    spread_block(spread, hooks, &s->body, &copy->body);
    spread_block(spread, hooks, &s->other, &copy->other);
  }
  flush(spread, hooks, nest, to);
  if (hooks->settle)
    hooks->settle(spread, to);
}

/* ---- addresses ---- */

Buffer *spread_buffer(const Spread *spread, Buffer *buffer) {
  return buffer->space == SPACE_SHARED ? spread->scratch[buffer->id] : buffer;
}

int64_t access_stride(const Spread *spread, const Access *access, int dim) {
  const Buffer *buffer = access->buffer;
  int64_t stride = 1;
  for (int d = access->rank - 1; d > dim; d--)
    stride *= d == access->rank - 1 && buffer->space == SPACE_SHARED ? spread->pitch[buffer->id]
                                                                     : buffer->type.dim[d];
  return stride;
}

int64_t access_col_stride(const Spread *spread, const Access *access) {
  int64_t sum = 0;
  for (int d = 0; d < access->rank; d++)
    sum += access->dim[d].col * access_stride(spread, access, d);
  return sum;
}

Affine access_value(const AccessDim *dim, const Position *position) {
  Affine value = dim->at;
  for (int j = 0; j < MAX_ROW_AXES; j++)
    if (dim->row[j])
      value = affine_add(value, affine_scale(position->row[j], dim->row[j]));
  return value;
}

static void add_guard(Spread *spread, Address *address, Affine value, int64_t extent,
                      int64_t modulus) {
  Guard guard = {value, extent, modulus};
  if (modulus == 0 && affine_low(&value) >= 0 && affine_high(&value) < extent)
    return;
  vec_push(spread->arena, &address->guards, guard);
}

/* (value / divisor) as a variable; values below zero are shifted up by a multiple first. */
static Affine divided(Spread *spread, Block *block, Affine value, int64_t divisor) {
  int64_t low = affine_low(&value), shift = low < 0 ? (-low + divisor - 1) / divisor : 0;
  Affine shifted = affine_offset(value, shift * divisor);
  Stmt *s = stmt_add(spread->to, block, STMT_INDEX);
  s->at = shifted;
  s->divisor = divisor;
  s->var =
      kernel_var(spread->to, "q", affine_low(&shifted) / divisor, affine_high(&shifted) / divisor);
  return affine_offset(affine_var(s->var, 1), -shift);
}

Address address_of(Spread *spread, Block *block, const Access *access, const Position *position,
                   bool vector_columns) {
  Address address = {.flat = affine_constant(0)};
  for (int d = 0; d < access->rank; d++) {
    const AccessDim *dim = &access->dim[d];
    int64_t extent = access->buffer->type.dim[d], stride = access_stride(spread, access, d);
    if (access->gather && access->gather_dim == d) {
      address.dynamic = stride;
      continue;
    }
    Affine value = access_value(dim, position);
    if (dim->col)
      value = affine_add(value, affine_scale(position->col, dim->col));
    if (dim->divisor > 1) {
      add_guard(spread, &address, value, 0, dim->divisor);
      add_guard(spread, &address, value, extent * dim->divisor, 0);
      value = divided(spread, block, value, dim->divisor);
    } else if (dim->col && vector_columns) {
      address.col_limited = true;
      address.limit = affine_add(affine_constant(extent), affine_scale(value, -1));
    } else {
      add_guard(spread, &address, value, extent, 0);
    }
    address.flat = affine_add(address.flat, affine_scale(value, stride));
  }
  return address;
}

KValue *widened(Spread *spread, Block *block, KValue *value) {
  return value->dtype == DT_f32
             ? value
             : stmt_let(spread->to, block, K_cast, DT_f32, value->width, value, NULL, NULL);
}

Affine tile_row(const Tile *tile, const Position *position) {
  if (position->flat_rows == tile->rows)
    return position->flat;
  Affine row = affine_constant(0);
  for (int j = 0; j < tile->n_axes; j++)
    row = affine_add(affine_scale(row, tile->axis[j]), position->row[j]);
  return row;
}

/* ---- analysis and entry ---- */

/* Is the tile one thread's second operand of a dot, loaded with columns that do not lie side by
 * side? Such a one is copied where it is loaded: once, if that is outside the loop around the dot.
 * Many threads copy operands in any case, and turn them. */
static bool crosses_memory(const Spread *spread, const Stmt *dot, const Tile *tile) {
  const Stmt *load = spread->deferred[tile->id];
  return spread->facts->threads == 1 && dot->tile_arg[1] == tile && load && tile->cols > 1 &&
         access_col_stride(spread, &load->access) != 1;
}

static void count_references(Spread *spread, const Block *block, bool *other_use) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = block->at[i];
    if (is_dead(spread, s))
      continue;
    for (int t = 0; t < spread->from->tiles.count; t++) {
      const Tile *tile = spread->from->tiles.at[t];
      bool defines = s->tile == tile, uses = reads(s, tile);
      if (!defines && !uses)
        continue;
      spread->references[tile->id]++;
      if (s->kind == STMT_TILE_LOAD && defines && !spread->deferred[tile->id])
        spread->deferred[tile->id] = s;
      else if (s->kind != STMT_TILE_DOT || defines || crosses_memory(spread, s, tile))
        other_use[tile->id] = true;
    }
    count_references(spread, &s->body, other_use);
    count_references(spread, &s->other, other_use);
  }
}

/* Marks tiles from which a store follows; false: nothing new. */
static bool mark_live(const Block *block, bool *live) {
  bool more = false;
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = block->at[i];
    more |= mark_live(&s->body, live) || mark_live(&s->other, live);
    if (s->kind != STMT_TILE_STORE && !(s->tile && live[s->tile->id]))
      continue;
    const Tile *read[MAX_KOP_ARGS + 1] = {s->access.gather};
    for (int a = 0; a < MAX_KOP_ARGS; a++)
      read[a + 1] = s->tile_arg[a];
    for (int a = 0; a <= MAX_KOP_ARGS; a++)
      if (read[a] && !live[read[a]->id])
        more = live[read[a]->id] = true;
  }
  return more;
}

Kernel *kernel_distribute(const Kernel *from, const Facts *facts, Arena *arena) {
  CHECK(from->stage == STAGE_TILE);
  Spread spread = {.arena = arena, .facts = facts, .from = from};
  Kernel *to = spread.to = kernel_new(arena, from->name, STAGE_LOOP);
  kernel_take_names(to, from);
  to->doc = from->doc;
  to->loc = from->loc;
  to->threads = facts->threads;
  to->schedule = from->schedule;
  to->n_grid = from->n_grid;
  for (int i = 0; i < from->n_grid; i++)
    to->grid[i] = from->grid[i];
  for (int i = 0; i < from->n_arguments; i++)
    vec_push(arena, &to->buffers, from->buffers.at[i]);
  to->n_arguments = from->n_arguments;
  spread.scratch = ARENA_ARRAY(arena, Buffer *, from->buffers.count + 1);
  spread.pitch = ARENA_ARRAY(arena, int64_t, from->buffers.count + 1);
  for (int i = from->n_arguments; i < from->buffers.count; i++) {
    const Buffer *tensor = from->buffers.at[i];
    int64_t last = tensor->type.rank ? tensor->type.dim[tensor->type.rank - 1] : 1;
    spread.pitch[i] = facts->threads > 1 ? shared_pitch(tensor->type.dtype, last) : last;
    spread.scratch[i] =
        kernel_buffer(to, tensor->name, facts->threads > 1 ? SPACE_SHARED : SPACE_LOCAL,
                      tensor->type.dtype, type_elements(&tensor->type) / last * spread.pitch[i]);
  }
  for (int i = 0; i < from->tables.count; i++)
    vec_push(arena, &to->tables, from->tables.at[i]);
  for (int i = 0; i < from->vars.count; i++)
    vec_push(arena, &to->vars, from->vars.at[i]);

  int n_tiles = from->tiles.count;
  spread.n_ids = 2 * n_tiles;
  spread.storage = ARENA_ARRAY(arena, Buffer *, spread.n_ids + 1);
  spread.deferred = ARENA_ARRAY(arena, const Stmt *, n_tiles + 1);
  spread.references = ARENA_ARRAY(arena, int, spread.n_ids + 1);
  bool *other_use = ARENA_ARRAY(arena, bool, n_tiles + 1);
  spread.live = ARENA_ARRAY(arena, bool, n_tiles + 1);
  while (mark_live(&from->body, spread.live))
    ;
  count_references(&spread, &from->body, other_use);
  for (int t = 0; t < n_tiles; t++)
    if (other_use[t])
      spread.deferred[t] = NULL;
  (facts->threads > 1 ? distribute_thread : distribute_vector)(&spread);
  return to;
}
