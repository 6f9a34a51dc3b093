/* Distribution for many threads that share a block.
 *
 * The elements of a domain are dealt to the threads in turn: element e = pass * threads + thread,
 * row by row. A tile whose every reader walks the same domain stays with its thread, in a local
 * array with one cell a pass; any other tile (operands of dots, folds and what is broadcast from
 * them) lives in shared memory. The sync pass puts the barriers in.
 */
#include "passes/kernel/distribute.h"
#include <math.h>
#include <string.h>

enum { UNROLL_PASSES = 16 };

static int64_t passes_of(const Spread *s, const Tile *tile) {
  int64_t elements = (int64_t)tile->rows * tile->cols;
  return (elements + s->to->threads - 1) / s->to->threads;
}

/* Does every statement that mentions the tile walk the tile's own domain, element for element? */
static bool stays_with_thread(const Spread *s, const Block *block, const Tile *tile) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *stmt = block->at[i];
    bool operand = stmt->access.gather == tile;
    for (int a = 0; a < MAX_KOP_ARGS; a++)
      operand |= stmt->tile_arg[a] == tile;
    bool mentioned = operand || stmt->tile == tile;
    bool crosses = stmt->kind == STMT_TILE_FOLD || (stmt->kind == STMT_TILE_DOT && operand);
    if (mentioned && (crosses || !same_domain(stmt_domain(stmt), tile)))
      return false;
    if (!stays_with_thread(s, &stmt->body, tile) || !stays_with_thread(s, &stmt->other, tile))
      return false;
  }
  return true;
}

static Buffer *storage(Spread *s, const Tile *tile) {
  if (!s->storage[tile->id]) {
    bool mine = stays_with_thread(s, &s->from->body, tile);
    int64_t cells = mine ? passes_of(s, tile) : (int64_t)tile->rows * tile->cols;
    s->storage[tile->id] =
        kernel_buffer(s->to, tile->name, mine ? SPACE_LOCAL : SPACE_SHARED, tile->dtype, cells);
  }
  return s->storage[tile->id];
}

/* One element of a domain: its pass, its rows and column. */
typedef struct Element {
  Affine pass;
  Position position;
  Block *block;
} Element;

static Affine split(Spread *s, Block *block, Affine at, int64_t divisor, int64_t modulus) {
  if (modulus == 1)
    return affine_constant(0);
  if (divisor == 1 && affine_high(&at) < modulus)
    return at;
  Stmt *stmt = stmt_add(s->to, block, STMT_INDEX);
  stmt->at = at;
  stmt->divisor = divisor;
  stmt->modulus = affine_high(&at) / divisor < modulus ? 0 : modulus;
  stmt->var = kernel_var(s->to, "e", 0, modulus - 1);
  return affine_var(stmt->var, 1);
}

/* Opens the loop over a domain's elements of this thread. */
static Element each_element(Spread *s, Block *to, const Tile *domain) {
  int64_t elements = (int64_t)domain->rows * domain->cols, passes = passes_of(s, domain);
  Element e = {.pass = affine_constant(0), .block = to};
  if (passes > 1) {
    IndexVar *pass = kernel_var(s->to, "pass", 0, passes - 1);
    Stmt *loop = stmt_for(s->to, to, pass, 0, passes, 1);
    loop->unroll = passes <= UNROLL_PASSES ? -1 : 0;
    e.pass = affine_var(pass, 1);
    e.block = &loop->body;
  }
  Affine at = affine_add(affine_scale(e.pass, s->to->threads), affine_var(s->to->thread, 1));
  if (elements % s->to->threads) {
    Stmt *inside = stmt_add(s->to, e.block, STMT_IF);
    Guard guard = {at, elements, 0};
    vec_push(s->arena, &inside->guards, guard);
    e.block = &inside->body;
  }
  e.position.col = split(s, e.block, at, 1, domain->cols);
  int64_t below = domain->cols;
  for (int j = MAX_ROW_AXES - 1; j >= 0; j--) {
    e.position.row[j] = affine_constant(0);
    if (j >= domain->n_axes)
      continue;
    e.position.row[j] = split(s, e.block, at, below, domain->axis[j]);
    below *= domain->axis[j];
  }
  return e;
}

static Stmt *load(Spread *s, Block *block, Buffer *buffer, Affine at, Dtype dtype) {
  Stmt *stmt = stmt_add(s->to, block, STMT_LOAD);
  stmt->buffer = buffer;
  stmt->at = at;
  stmt->value = kernel_value(s->to, dtype, 1);
  return stmt;
}

static void store(Spread *s, Block *block, Buffer *buffer, Affine at, KValue *value) {
  Stmt *stmt = stmt_add(s->to, block, STMT_STORE);
  stmt->buffer = buffer;
  stmt->at = at;
  stmt->value_arg[0] = value;
}

/* The cell of a tile that belongs to an element of some domain it broadcasts to. */
static Affine cell(Spread *s, const Tile *tile, const Element *e) {
  if (storage(s, tile)->space == SPACE_LOCAL)
    return e->pass;
  Affine at = affine_scale(tile_row(tile, &e->position), tile->cols);
  return tile->cols == 1 ? at : affine_add(at, e->position.col);
}

/* ---- nests ---- */

static KValue *tile_value(Spread *s, const Element *e, KValue **value, const Tile *tile) {
  if (!value[tile->id])
    value[tile->id] = load(s, e->block, storage(s, tile), cell(s, tile, e), tile->dtype)->value;
  return value[tile->id];
}

static KValue *access_load(Spread *s, const Element *e, const Stmt *from, Dtype dtype) {
  Address address = address_of(s, e->block, &from->access, &e->position, false);
  KValue *dynamic = NULL;
  const Tile *gather = from->access.gather;
  if (gather)
    dynamic = load(s, e->block, storage(s, gather), cell(s, gather, e), gather->dtype)->value;
  Stmt *stmt = load(s, e->block, spread_buffer(s, from->access.buffer), address.flat, dtype);
  stmt->guards = address.guards;
  stmt->number = from->number;
  stmt->dynamic = dynamic;
  stmt->dynamic_factor = address.dynamic;
  return stmt->value;
}

static void access_store(Spread *s, const Element *e, const Stmt *from, KValue *value) {
  if (from->accumulate) {
    CHECK(from->tile_arg[0]->rows == 1); /* rows that meet in one cell would race */
    KValue *old = access_load(s, e, from, value->dtype);
    value = stmt_let(s->to, e->block, K_add, value->dtype, 1, old, value, NULL);
  }
  Address address = address_of(s, e->block, &from->access, &e->position, false);
  KValue *dynamic = NULL;
  const Tile *gather = from->access.gather;
  if (gather)
    dynamic = load(s, e->block, storage(s, gather), cell(s, gather, e), gather->dtype)->value;
  Stmt *stmt = stmt_add(s->to, e->block, STMT_STORE);
  stmt->buffer = spread_buffer(s, from->access.buffer);
  stmt->at = address.flat;
  stmt->guards = address.guards;
  stmt->value_arg[0] = value;
  stmt->dynamic = dynamic;
  stmt->dynamic_factor = address.dynamic;
}

static void statement(Spread *s, const Element *e, KValue **value, const Stmt *from) {
  KValue *args[MAX_KOP_ARGS] = {0}, *result = NULL;
  Affine at;
  Stmt *index;
  switch (from->kind) {
  case STMT_TILE_FILL:
    result = stmt_const(s->to, e->block, from->number, from->tile->dtype, 1);
    break;
  case STMT_TILE_INDEX:
    at = affine_add(from->at, affine_scale(e->position.col, from->col_factor));
    for (int j = 0; j < MAX_ROW_AXES; j++)
      if (from->row_factor[j])
        at = affine_add(at, affine_scale(e->position.row[j], from->row_factor[j]));
    index = stmt_add(s->to, e->block, STMT_INDEX_VALUE);
    index->at = at;
    result = index->value = kernel_value(s->to, from->tile->dtype, 1);
    break;
  case STMT_TILE_LOAD: result = access_load(s, e, from, from->tile->dtype); break;
  case STMT_TILE_MAP:
    for (int i = 0; i < kop_info[from->kop].arity; i++)
      args[i] = tile_value(s, e, value, from->tile_arg[i]);
    result = stmt_let(s->to, e->block, from->kop, from->tile->dtype, 1, args[0], args[1], args[2]);
    break;
  case STMT_TILE_STORE:
    access_store(s, e, from, tile_value(s, e, value, from->tile_arg[0]));
    return;
  default: FAULT("not a statement of a nest");
  }
  value[from->tile->id] = result;
}

/* A fold: every element of the result sums its run of the source, which lies in shared memory. */
static void spread_fold(Spread *s, Block *to, const Stmt *from) {
  const Tile *source = from->tile_arg[0];
  Element e = each_element(s, to, from->tile);
  double neutral = from->kop == K_max ? -INFINITY : from->kop == K_min ? INFINITY : 0;
  Buffer *sum = kernel_buffer(s->to, "fold", SPACE_LOCAL, source->dtype, 1);
  store(s, e.block, sum, affine_constant(0), stmt_const(s->to, e.block, neutral, source->dtype, 1));
  int64_t length = from->fold_rows ? source->rows : source->cols;
  IndexVar *i = kernel_var(s->to, "i", 0, length - 1);
  Stmt *loop = stmt_for(s->to, e.block, i, 0, length, 1);
  Affine at =
      from->fold_rows
          ? affine_add(affine_var(i, source->cols), e.position.col)
          : affine_add(affine_scale(tile_row(source, &e.position), source->cols), affine_var(i, 1));
  KValue *value = load(s, &loop->body, storage(s, source), at, source->dtype)->value;
  KValue *old = load(s, &loop->body, sum, affine_constant(0), source->dtype)->value;
  KValue *next = stmt_let(s->to, &loop->body, from->kop, source->dtype, 1, old, value, NULL);
  store(s, &loop->body, sum, affine_constant(0), next);
  KValue *result = load(s, e.block, sum, affine_constant(0), source->dtype)->value;
  store(s, e.block, storage(s, from->tile), cell(s, from->tile, &e), result);
}

static void spread_nest(Spread *s, Block *to, const Nest *nest) {
  Nest *plain = ARENA_NEW(s->arena, Nest);
  plain->domain = nest->domain;
  for (int i = 0; i < nest->count; i++)
    if (nest->stmt[i]->kind != STMT_TILE_FOLD)
      plain->stmt[plain->count++] = nest->stmt[i];
  if (plain->count) {
    Element e = each_element(s, to, nest->domain);
    KValue **value = ARENA_ARRAY(s->arena, KValue *, s->from->tiles.count);
    for (int i = 0; i < plain->count; i++)
      statement(s, &e, value, plain->stmt[i]);
    for (int i = 0; i < plain->count; i++) {
      const Tile *tile = plain->stmt[i]->tile;
      bool last = tile != NULL;
      for (int j = i + 1; last && j < plain->count; j++)
        last = plain->stmt[j]->tile != tile;
      if (last && !nest_private(s, plain, tile))
        store(s, e.block, storage(s, tile), cell(s, tile, &e), value[tile->id]);
    }
  }
  for (int i = 0; i < nest->count; i++)
    if (nest->stmt[i]->kind == STMT_TILE_FOLD)
      spread_fold(s, to, nest->stmt[i]);
}

/* ---- dots: both operands through shared memory, each thread sums its own elements ---- */

static void spread_dot(Spread *s, Block *to, const Stmt *from) {
  CHECK(from->tile_arg[1]->dtype != DT_i32); /* made where the facts say bf16_pairs */
  for (int i = 0; i < 2; i++) {
    const Stmt *operand = s->deferred[from->tile_arg[i]->id];
    if (operand) {
      Nest stage = {.stmt = {operand}, .count = 1, .domain = operand->tile};
      spread_nest(s, to, &stage);
    }
  }
  const Tile *a = from->tile_arg[0], *b = from->tile_arg[1];
  Element e = each_element(s, to, from->tile);
  Buffer *sum = kernel_buffer(s->to, "dot", SPACE_LOCAL, DT_f32, 1);
  Affine zero = affine_constant(0), home = cell(s, from->tile, &e);
  store(s, e.block, sum, zero, load(s, e.block, storage(s, from->tile), home, DT_f32)->value);
  Block *block = e.block;
  Affine k = affine_constant(0);
  if (a->cols > 1) {
    IndexVar *var = kernel_var(s->to, "k", 0, a->cols - 1);
    Stmt *loop = stmt_for(s->to, e.block, var, 0, a->cols, 1);
    loop->unroll = s->from->schedule.unroll_k;
    block = &loop->body;
    k = affine_var(var, 1);
  }
  Affine row = affine_scale(tile_row(a, &e.position), a->cols);
  Affine along = affine_scale(k, b->cols);
  if (b->cols > 1)
    along = affine_add(along, e.position.col);
  KValue *va =
      widened(s, block, load(s, block, storage(s, a), affine_add(row, k), a->dtype)->value);
  KValue *vb = widened(s, block, load(s, block, storage(s, b), along, b->dtype)->value);
  KValue *old = load(s, block, sum, zero, DT_f32)->value;
  store(s, block, sum, zero, stmt_let(s->to, block, K_fma, DT_f32, 1, va, vb, old));
  store(s, e.block, storage(s, from->tile), home, load(s, e.block, sum, zero, DT_f32)->value);
}

/* Many threads hide the time of memory by taking turns. */
static void spread_prefetch(Spread *s, Block *to, const Stmt *from) {
  (void)s, (void)to, (void)from;
}

void distribute_thread(Spread *spread) {
  static const SpreadHooks hooks = {spread_nest, spread_dot, spread_prefetch};
  kernel_thread(spread->to, "thread", spread->facts->threads);
  spread_block(spread, &hooks, &spread->from->body, &spread->to->body);
}
