/* Dots larger than the registers, for one thread with vectors.
 *
 * The accumulator lies in its tile's array. It is walked in panels of some rows by two vectors,
 * each of which is held in registers while k runs through its whole extent: loaded, summed up,
 * stored. The inner loop is that of a small dot (distribute_dot.c): a row of B as vectors, an
 * element of A spread over the lanes for each row.
 *
 * Where the machine multiplies pairs of bf16 a step takes two k. B in pairs already (i32) is read
 * as any other B and its rows are steps; of plain bf16 two rows are put in turns, lane by lane.
 *
 * Operands that are only loaded are read where they lie, if the whole tile is inside its tensor; at
 * the border they are copied into their tiles' arrays first.
 */
#include "passes/kernel/distribute_vector.h"

enum { PANEL_VECTORS = 2, PANEL_ROWS = 8 };

typedef struct Operand {
  const Tile *tile;
  const Access *access; /* NULL: in the tile's array */
} Operand;

typedef struct Panel {
  Spread *spread;
  const Tile *sum;
  Operand a, b;
  Affine row, col; /* of the panel's corner */
  int rows, vectors, width;
  bool paired;  /* B's rows are pairs of k */
  int step;     /* of A's columns, from one row of B to the next */
  Buffer *held; /* rows x vectors accumulators */
} Panel;

/* Element or vector of an operand at a row and column. */
static KValue *operand_value(Spread *s, Block *block, const Operand *x, Affine row, Affine col,
                             int width) {
  if (x->access) {
    Position position = {.row = {row, affine_constant(0), affine_constant(0), affine_constant(0)},
                         .col = col};
    Address address = address_of(s, block, x->access, &position, width > 1);
    Buffer *buffer = spread_buffer(s, x->access->buffer);
    return vector_load(s, block, buffer, address.flat, x->tile->dtype, width)->value;
  }
  Affine at = affine_add(affine_scale(row, tile_row_stride(s, x->tile)), col);
  return vector_load(s, block, tile_storage(s, x->tile), at, x->tile->dtype, width)->value;
}

/* ---- panels ---- */

/* Moves the panel between the accumulator's array and the registers. */
static void move(Panel *p, Block *block, bool in) {
  Spread *s = p->spread;
  Buffer *home = tile_storage(s, p->sum);
  for (int row = 0; row < p->rows; row++)
    for (int v = 0; v < p->vectors; v++) {
      Affine at = affine_scale(affine_offset(p->row, row), tile_row_stride(s, p->sum));
      at = affine_offset(affine_add(at, p->col), (int64_t)v * p->width);
      Affine here = affine_constant((int64_t)(row * p->vectors + v) * p->width);
      KValue *value =
          vector_load(s, block, in ? home : p->held, in ? at : here, DT_f32, p->width)->value;
      vector_store(s, block, in ? p->held : home, in ? here : at, value);
    }
}

static void panel_step(Panel *p, Block *block, Affine k) {
  Spread *s = p->spread;
  KValue *b[PANEL_VECTORS];
  for (int v = 0; v < p->vectors; v++)
    b[v] = widened(
        s, block,
        operand_value(s, block, &p->b, k, affine_offset(p->col, (int64_t)v * p->width), p->width));
  for (int row = 0; row < p->rows; row++) {
    KValue *a = widened(s, block, operand_value(s, block, &p->a, affine_offset(p->row, row), k, 1));
    if (p->width > 1)
      a = stmt_let(s->to, block, K_splat, DT_f32, p->width, a, NULL, NULL);
    for (int v = 0; v < p->vectors; v++) {
      Affine at = affine_constant((int64_t)(row * p->vectors + v) * p->width);
      KValue *old = vector_load(s, block, p->held, at, DT_f32, p->width)->value;
      KValue *next = stmt_let(s->to, block, K_fma, DT_f32, p->width, a, b[v], old);
      vector_store(s, block, p->held, at, next);
    }
  }
}

/* A row of B, or this one and the next, as pairs. */
static KValue *pairs_of_b(Panel *p, Block *block, Affine k, int v) {
  Spread *s = p->spread;
  Affine col = affine_offset(p->col, (int64_t)v * p->width);
  KValue *first = operand_value(s, block, &p->b, k, col, p->width);
  if (p->paired)
    return first;
  KValue *next = operand_value(s, block, &p->b, affine_offset(k, 1), col, p->width);
  return stmt_let(s->to, block, K_pair, DT_i32, p->width, first, next, NULL);
}

static KValue *pair_of_a(Panel *p, Block *block, Affine row, Affine k) {
  Spread *s = p->spread;
  Affine col = affine_scale(k, p->step);
  KValue *first = operand_value(s, block, &p->a, row, col, 1);
  if (p->a.tile->dtype == DT_i32)
    return first;
  KValue *next = operand_value(s, block, &p->a, row, affine_offset(col, 1), 1);
  return stmt_let(s->to, block, K_pair, DT_i32, 1, first, next, NULL);
}

/* Two steps of k at a time, on machines that have it; k is a row of B. */
static void panel_pair_step(Panel *p, Block *block, Affine k) {
  Spread *s = p->spread;
  KValue *b[PANEL_VECTORS];
  for (int v = 0; v < p->vectors; v++)
    b[v] = pairs_of_b(p, block, k, v);
  for (int row = 0; row < p->rows; row++) {
    KValue *a = pair_of_a(p, block, affine_offset(p->row, row), k);
    a = stmt_let(s->to, block, K_splat, DT_i32, p->width, a, NULL, NULL);
    for (int v = 0; v < p->vectors; v++) {
      Affine at = affine_constant((int64_t)(row * p->vectors + v) * p->width);
      KValue *old = vector_load(s, block, p->held, at, DT_f32, p->width)->value;
      vector_store(s, block, p->held, at,
                   stmt_let(s->to, block, K_dot2, DT_f32, p->width, a, b[v], old));
    }
  }
}

/* The steps [low, high), rows of B, `step` at a time. */
static void panel_steps(Panel *p, Block *block, int low, int high, int step) {
  void (*one)(Panel *, Block *, Affine) = p->paired || step == 2 ? panel_pair_step : panel_step;
  if (low >= high)
    return;
  if (low + step == high) {
    one(p, block, affine_constant(low));
    return;
  }
  IndexVar *k = kernel_var(p->spread->to, "k", low, high - step);
  Stmt *loop = stmt_for(p->spread->to, block, k, low, high, step);
  loop->unroll = p->spread->from->schedule.unroll_k;
  one(p, &loop->body, affine_var(k, 1));
}

static void panel(Panel *p, Block *block) {
  Spread *s = p->spread;
  int depth = p->b.tile->rows, paired = 0;
  if (dot_takes_pairs(s, p->a.tile, p->b.tile, p->width) &&
      (!p->a.access || access_col_stride(s, p->a.access) == 1))
    paired = depth / 2 * 2;
  p->held =
      kernel_buffer(s->to, "panel", SPACE_LOCAL, DT_f32, (int64_t)p->rows * p->vectors * p->width);
  move(p, block, true);
  panel_steps(p, block, 0, paired, 2);
  panel_steps(p, block, paired, depth, 1);
  move(p, block, false);
}

/* A loop over the whole steps of an extent, or nothing but its start where there is one step. */
static Affine walk(Spread *s, Block **block, int64_t extent, int64_t step) {
  if (extent <= step)
    return affine_constant(0);
  IndexVar *at = kernel_var(s->to, "p", 0, extent - step);
  Stmt *loop = stmt_for(s->to, *block, at, 0, extent, step);
  *block = &loop->body;
  return affine_var(at, 1);
}

/* All panels of `vectors` vectors from column `col` on. */
static void column_of_panels(Panel *p, Block *block, int limit) {
  int rows = p->sum->rows, step = limit;
  for (int d = limit; d > limit / 2; d--) /* without a rest if that is to be had */
    if (rows % d == 0) {
      step = d;
      break;
    }
  step = step < rows ? step : rows;
  int whole = rows / step * step;
  Block *inner = block;
  p->rows = step;
  p->row = walk(p->spread, &inner, whole, step);
  panel(p, inner);
  if (whole < rows) {
    p->rows = rows - whole;
    p->row = affine_constant(whole);
    panel(p, block);
  }
}

static void all_panels(Panel *p, Block *block) {
  int across = tile_row_stride(p->spread, p->sum) / p->width;
  int limit = (p->spread->facts->registers - PANEL_VECTORS - 1) / PANEL_VECTORS;
  limit = limit < PANEL_ROWS ? limit : PANEL_ROWS;
  int whole = across / PANEL_VECTORS * PANEL_VECTORS;
  Block *inner = block;
  if (whole) {
    p->vectors = PANEL_VECTORS;
    p->col = walk(p->spread, &inner, (int64_t)whole * p->width, PANEL_VECTORS * p->width);
    column_of_panels(p, inner, limit);
  }
  if (whole < across) {
    p->vectors = across - whole;
    p->col = affine_constant((int64_t)whole * p->width);
    column_of_panels(p, block, limit);
  }
}

/* ---- operands ---- */

/* Reads an operand where it lies if vectors of it are there whole. */
static Operand operand(const Spread *s, const Tile *tile, bool by_vectors) {
  const Stmt *from = s->deferred[tile->id];
  Operand x = {tile, from ? &from->access : NULL};
  if (from && by_vectors && tile->cols % s->facts->vector != 0)
    x.access = NULL;
  return x;
}

static void copy(Spread *s, Block *block, const Tile *tile) {
  Nest *nest = ARENA_NEW(s->arena, Nest);
  nest->stmt[nest->count++] = s->deferred[tile->id];
  nest->domain = tile;
  vector_nest(s, block, nest);
}

bool vector_panel_dot(Spread *s, Block *to, const Stmt *dot) {
  const Tile *sum = dot->tile, *a = dot->tile_arg[0], *b = dot->tile_arg[1];
  int width = s->facts->vector, across = (sum->cols + width - 1) / width;
  bool plain = sum->n_axes <= 1 && a->n_axes == sum->n_axes && b->n_axes <= 1 && sum->cols > 1;
  if (!plain || sum->rows * across <= s->facts->registers - across - 1)
    return false;
  Panel p = {.spread = s, .sum = sum, .width = width, .paired = b->dtype == DT_i32};
  p.step = p.paired && a->dtype == DT_bf16 ? 2 : 1;
  CHECK(!p.paired || s->facts->bf16_pairs);
  p.a = operand(s, a, false);
  p.b = operand(s, b, true);
  Guards guards = {0};
  bool possible = true;
  if (p.a.access)
    corner_guards(s, &guards, p.a.access, a, &possible);
  if (p.b.access)
    corner_guards(s, &guards, p.b.access, b, &possible);
  Block *border = to;
  if (possible && (guards.count || p.a.access || p.b.access)) {
    Block *inside = to;
    if (guards.count) {
      Stmt *choice = stmt_add(s->to, to, STMT_IF);
      choice->guards = guards;
      inside = &choice->body;
      border = &choice->other;
    }
    if (s->deferred[b->id] && !p.b.access)
      copy(s, inside, b);
    all_panels(&p, inside);
    if (!guards.count)
      return true;
  }
  for (int i = 0; i < 2; i++)
    if (s->deferred[dot->tile_arg[i]->id])
      copy(s, border, dot->tile_arg[i]);
  p.a.access = p.b.access = NULL;
  all_panels(&p, border);
  return true;
}
