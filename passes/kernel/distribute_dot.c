/* Dots, and announcements of loads, for one thread with vector registers.
 *
 * A dot walks k in order; for every k it loads one row of B as vectors and spreads one element of A
 * per row (the outer-product form: no shuffles, accumulators stay put). A tile of A that lies
 * outside its tensor as a whole adds nothing and is skipped; where single rows may lie outside,
 * elements are read through per-row pointers, which point at zeros for those rows, so the inner
 * loop has no tests.
 *
 * Where the machine multiplies pairs of bf16 a step takes two k. B in pairs already (i32) is read
 * as any other B; of plain bf16 two rows are put in turns, lane by lane.
 */
#include "passes/kernel/distribute_vector.h"

enum { CACHE_LINE = 64 }; /* bytes */

typedef struct Dot {
  Spread *spread;
  const Tile *sum, *a, *b;
  const Access *access_a, *access_b; /* NULL: the operand lies in its tile's array */
  bool inside_a;                     /* nothing of A lies outside, whatever its coordinates say */
  int width;                         /* lanes of a vector of columns */
  int across;                        /* vectors of columns */
  int tail;                          /* lanes of the last one, 0: all */
  bool checked;
  bool paired;      /* B's rows are pairs of k */
  int step;         /* of A's columns, from one row of B to the next */
  Affine k;         /* row of B */
  Guards uniform;   /* hold wherever the dot is emitted */
  Buffer **pointer; /* by row: where A's row is, in the checked version */
} Dot;

bool dot_takes_pairs(const Spread *s, const Tile *a, const Tile *b, int width) {
  return s->facts->bf16_pairs && width > 1 && b->dtype == DT_bf16 && a->dtype == DT_bf16;
}

static Position row_position(const Tile *tile, int row) {
  Position position = {.col = affine_constant(0)};
  for (int j = tile->n_axes - 1; j >= 0; j--) {
    position.row[j] = affine_constant(row % tile->axis[j]);
    row /= tile->axis[j];
  }
  for (int j = tile->n_axes; j < MAX_ROW_AXES; j++)
    position.row[j] = affine_constant(0);
  return position;
}

/* The element of A in a row and the column `later` behind that of this step. */
static KValue *element_of_a(Dot *d, Block *block, int row, int later) {
  Spread *s = d->spread;
  Affine column = affine_offset(affine_scale(d->k, d->step), later);
  if (!d->access_a) {
    Affine at = affine_offset(column, (int64_t)row * tile_row_stride(s, d->a));
    return vector_load(s, block, tile_storage(s, d->a), at, d->a->dtype, 1)->value;
  }
  Affine along = affine_scale(column, access_col_stride(s, d->access_a));
  if (d->pointer)
    return vector_load(s, block, d->pointer[row], along, d->a->dtype, 1)->value;
  Position position = row_position(d->a, row);
  Affine flat = affine_constant(0);
  for (int i = 0; i < d->access_a->rank; i++)
    flat = affine_add(flat, affine_scale(access_value(&d->access_a->dim[i], &position),
                                         access_stride(s, d->access_a, i)));
  return vector_load(s, block, spread_buffer(s, d->access_a->buffer), affine_add(flat, along),
                     d->a->dtype, 1)
      ->value;
}

static KValue *vector_of_b(Dot *d, Block *block, int v) {
  Spread *s = d->spread;
  int width = d->width;
  if (!d->access_b) {
    Affine at = affine_offset(affine_scale(d->k, tile_row_stride(s, d->b)), v * width);
    return vector_load(s, block, tile_storage(s, d->b), at, d->b->dtype, width)->value;
  }
  Position position = {.col = affine_constant(v * width)};
  position.row[0] = d->k;
  for (int j = 1; j < MAX_ROW_AXES; j++)
    position.row[j] = affine_constant(0);
  Address address = address_of(s, block, d->access_b, &position, width > 1);
  Stmt *stmt = vector_load(s, block, spread_buffer(s, d->access_b->buffer), address.flat,
                           d->b->dtype, width);
  if (v == d->across - 1 && d->tail) {
    stmt->has_lanes = true;
    stmt->lanes = affine_constant(d->tail);
  } else if (d->checked && address.col_limited && affine_low(&address.limit) < width) {
    stmt->has_lanes = true;
    stmt->lanes = address.limit;
  }
  if (d->checked && width == 1)
    stmt->guards = address.guards;
  return stmt->value;
}

/* Guards of an operand that depend on k: where one fails the whole term is zero. */
static void k_guards(Spread *s, const Access *access, const Affine *k, bool k_is_row,
                     Guards *guards) {
  for (int i = 0; access && i < access->rank; i++) {
    const AccessDim *dim = &access->dim[i];
    int64_t factor = k_is_row ? dim->row[0] : dim->col;
    if (factor == 0)
      continue;
    CHECK(dim->divisor == 1);
    Affine value = affine_add(dim->at, affine_scale(*k, factor));
    if (!k_is_row)
      for (int j = 0; j < MAX_ROW_AXES; j++)
        CHECK(dim->row[j] == 0); /* rows and k never share a coordinate that may leave */
    int64_t extent = access->buffer->type.dim[i];
    Guard guard = {value, extent, 0};
    if (affine_low(&value) < 0 || affine_high(&value) >= extent)
      vec_push(s->arena, guards, guard);
  }
}

/* Two steps of k at a time, on machines that have it. */
static bool takes_pairs(const Dot *d) {
  return dot_takes_pairs(d->spread, d->a, d->b, d->width) &&
         (!d->access_a || access_col_stride(d->spread, d->access_a) == 1);
}

/* Two elements of A, of this and the next k. */
static KValue *pair_of_a(Dot *d, Block *block, int row) {
  KValue *first = element_of_a(d, block, row, 0);
  if (d->a->dtype == DT_i32)
    return first;
  KValue *next = element_of_a(d, block, row, 1);
  return stmt_let(d->spread->to, block, K_pair, DT_i32, 1, first, next, NULL);
}

static KValue *pairs_of_b(Dot *d, Block *block, int v) {
  KValue *first = vector_of_b(d, block, v);
  if (d->paired)
    return first;
  Dot second = *d;
  second.k = affine_offset(d->k, 1);
  return stmt_let(d->spread->to, block, K_pair, DT_i32, d->width, first,
                  vector_of_b(&second, block, v), NULL);
}

static void dot_pair_step(Dot *d, Block *block) {
  Spread *s = d->spread;
  Buffer *sum = tile_storage(s, d->sum);
  KValue **b = ARENA_ARRAY(s->arena, KValue *, d->across);
  for (int v = 0; v < d->across; v++)
    b[v] = pairs_of_b(d, block, v);
  for (int row = 0; row < d->sum->rows; row++) {
    KValue *a = pair_of_a(d, block, d->a->n_axes ? row : 0);
    a = stmt_let(s->to, block, K_splat, DT_i32, d->width, a, NULL, NULL);
    for (int v = 0; v < d->across; v++) {
      Affine at = affine_constant((int64_t)row * tile_row_stride(s, d->sum) + v * d->width);
      KValue *old = vector_load(s, block, sum, at, DT_f32, d->width)->value;
      vector_store(s, block, sum, at,
                   stmt_let(s->to, block, K_dot2, DT_f32, d->width, a, b[v], old));
    }
  }
}

static void dot_step(Dot *d, Block *block) {
  Spread *s = d->spread;
  int width = d->width;
  Buffer *sum = tile_storage(s, d->sum);
  KValue **b = ARENA_ARRAY(s->arena, KValue *, d->across);
  for (int v = 0; v < d->across; v++)
    b[v] = widened(s, block, vector_of_b(d, block, v));
  for (int row = 0; row < d->sum->rows; row++) {
    KValue *a = widened(s, block, element_of_a(d, block, d->a->n_axes ? row : 0, 0));
    if (width > 1)
      a = stmt_let(s->to, block, K_splat, DT_f32, width, a, NULL, NULL);
    for (int v = 0; v < d->across; v++) {
      Affine at = affine_constant((int64_t)row * tile_row_stride(s, d->sum) + v * width);
      KValue *old = vector_load(s, block, sum, at, DT_f32, width)->value;
      KValue *next = stmt_let(s->to, block, K_fma, DT_f32, width, a, b[v], old);
      vector_store(s, block, sum, at, next);
    }
  }
}

/* The steps [low, high) of k. Where guards depend on k and these may fail here, they are tested. */
static void dot_steps(Dot *d, Block *block, int low, int high, bool sure) {
  Spread *s = d->spread;
  if (low >= high)
    return;
  d->k = affine_constant(low);
  if (high - low > 1) {
    IndexVar *k = kernel_var(s->to, "k", low, high - 1);
    Stmt *loop = stmt_for(s->to, block, k, low, high, 1);
    loop->unroll = s->from->schedule.unroll_k;
    d->k = affine_var(k, 1);
    block = &loop->body;
  }
  Guards guards = {0};
  if (!sure) {
    CHECK(d->step == 1 || d->inside_a);
    k_guards(s, d->inside_a ? NULL : d->access_a, &d->k, false, &guards);
    k_guards(s, d->access_b, &d->k, true, &guards);
  }
  if (guards.count) {
    Stmt *inside = stmt_add(s->to, block, STMT_IF);
    inside->guards = guards;
    block = &inside->body;
  }
  (d->paired ? dot_pair_step : dot_step)(d, block);
}

/* The steps at which no coordinate that varies with k can leave its tensor. */
static void sure_steps(const Access *access, bool k_is_row, int step, int *low, int *high) {
  for (int i = 0; access && i < access->rank; i++) {
    const AccessDim *dim = &access->dim[i];
    int64_t factor = k_is_row ? dim->row[0] : dim->col, extent = access->buffer->type.dim[i];
    if (factor == 0)
      continue;
    int64_t at_low = affine_low(&dim->at), at_high = affine_high(&dim->at) + factor * (step - 1);
    factor *= step;
    int64_t first = 0, end = 0;
    if (factor > 0 && at_low < 0)
      first = (-at_low + factor - 1) / factor;
    if (factor > 0 && extent > at_high)
      end = (extent - 1 - at_high) / factor + 1;
    *low = first > *low ? (int)(first < *high ? first : *high) : *low;
    *high = end < *high ? (int)end : *high;
  }
}

/* The steps [low, high) of k, none of which can leave a tensor. */
static void sure_dot_steps(Dot *d, Block *block, int low, int high) {
  Spread *s = d->spread;
  int pairs = !d->paired && takes_pairs(d) ? (high - low) / 2 : 0, end = low + 2 * pairs;
  Block *body = block;
  Affine first = affine_constant(low);
  if (pairs > 1) {
    IndexVar *pair = kernel_var(s->to, "k", 0, pairs - 1);
    Stmt *loop = stmt_for(s->to, block, pair, 0, pairs, 1);
    loop->unroll = s->from->schedule.unroll_k;
    first = affine_offset(affine_var(pair, 2), low);
    body = &loop->body;
  }
  d->k = first;
  if (pairs)
    dot_pair_step(d, body);
  dot_steps(d, block, end, high, true);
}

static void dot_loop(Dot *d, Block *block) {
  int depth = d->b->rows, low = 0, high = depth;
  sure_steps(d->inside_a ? NULL : d->access_a, false, d->step, &low, &high);
  sure_steps(d->access_b, true, 1, &low, &high);
  if (high <= low) {
    dot_steps(d, block, 0, depth, false);
    return;
  }
  dot_steps(d, block, 0, low, false);
  sure_dot_steps(d, block, low, high);
  dot_steps(d, block, high, depth, false);
}

static bool among(const Guards *guards, const Guard *guard) {
  for (int i = 0; i < guards->count; i++)
    if (guards->at[i].extent == guard->extent && guards->at[i].modulus == guard->modulus &&
        affine_equal(&guards->at[i].value, &guard->value))
      return true;
  return false;
}

/* One pointer a row of A: to its elements, or to zeros when the row lies outside. */
static void row_pointers(Dot *d, Block *block) {
  Spread *s = d->spread;
  const Access *access = d->access_a;
  int64_t along = access_col_stride(s, access);
  d->pointer = ARENA_ARRAY(s->arena, Buffer *, d->a->rows);
  for (int row = 0; row < d->a->rows; row++) {
    Position position = row_position(d->a, row);
    Access rows_only = *access;
    for (int i = 0; i < access->rank; i++)
      rows_only.dim[i].col = 0;
    Address address = address_of(s, block, &rows_only, &position, false);
    /* coordinates that vary with k are k_guards' business */
    Guards kept = {0};
    for (int g = 0; g < address.guards.count; g++) {
      bool varies = among(&d->uniform, &address.guards.at[g]);
      for (int i = 0; i < access->rank; i++) {
        Affine value = access_value(&access->dim[i], &position);
        varies |= access->dim[i].col && affine_equal(&value, &address.guards.at[g].value);
      }
      if (!varies)
        vec_push(s->arena, &kept, address.guards.at[g]);
    }
    Stmt *stmt = stmt_add(s->to, block, STMT_POINTER);
    CHECK(access->buffer->space == SPACE_GLOBAL);
    stmt->base = access->buffer;
    stmt->at = address.flat;
    stmt->guards = kept;
    stmt->buffer = d->pointer[row] =
        kernel_buffer(s->to, "row", SPACE_POINTER, d->a->dtype, along * (d->a->cols - 1) + 1);
  }
}

/* Coordinates of A that are the same for all rows and all k: where one is outside, so is the whole
 * tile, and the dot adds nothing. */
static void uniform_guards(const Dot *d, Guards *guards) {
  for (int i = 0; d->access_a && !d->inside_a && i < d->access_a->rank; i++) {
    const AccessDim *dim = &d->access_a->dim[i];
    bool varies = dim->col != 0 || dim->divisor > 1;
    for (int j = 0; j < d->a->n_axes; j++)
      varies |= dim->row[j] != 0;
    Guard guard = {dim->at, d->access_a->buffer->type.dim[i], 0};
    if (!varies && (affine_low(&dim->at) < 0 || affine_high(&dim->at) >= guard.extent))
      vec_push(d->spread->arena, guards, guard);
  }
}

/* Guards of A that differ between rows, at the tile's corners, and whether B's columns are all
 * there. */
static bool dot_guards(Dot *d, Guards *guards) {
  Spread *s = d->spread;
  bool possible = true;
  if (d->access_a && !d->inside_a) {
    Access rows_only = *d->access_a;
    Guards all = {0};
    for (int i = 0; i < rows_only.rank; i++)
      if (rows_only.dim[i].col)
        rows_only.dim[i] = (AccessDim){.at = affine_constant(0), .divisor = 1};
    corner_guards(s, &all, &rows_only, d->a, &possible);
    for (int i = 0; i < d->access_a->rank; i++)
      possible &= d->access_a->dim[i].divisor == 1; /* only pointers are told exact division */
    for (int i = 0; i < all.count; i++)
      if (!among(&d->uniform, &all.at[i]))
        vec_push(s->arena, guards, all.at[i]);
  }
  if (d->access_b) {
    Access cols_only = *d->access_b;
    for (int i = 0; i < cols_only.rank; i++)
      if (!cols_only.dim[i].col)
        cols_only.dim[i] = (AccessDim){.at = affine_constant(0), .divisor = 1};
    corner_guards(s, guards, &cols_only, d->b, &possible);
  }
  return possible;
}

void vector_dot(Spread *s, Block *to, const Stmt *from) {
  if (vector_panel_dot(s, to, from))
    return;
  const Stmt *load_a = s->deferred[from->tile_arg[0]->id];
  const Stmt *load_b = s->deferred[from->tile_arg[1]->id];
  Dot d = {.spread = s, .sum = from->tile, .a = from->tile_arg[0], .b = from->tile_arg[1]};
  d.access_a = load_a ? &load_a->access : NULL;
  d.access_b = load_b ? &load_b->access : NULL;
  d.inside_a = load_a && (load_a->inside || load_a->access.buffer->space == SPACE_SHARED);
  d.width = from->tile->cols == 1 ? 1 : s->facts->vector;
  d.across = vectors_of(from->tile->cols, d.width);
  d.tail = from->tile->cols % d.width;
  d.paired = d.b->dtype == DT_i32;
  d.step = d.paired && d.a->dtype == DT_bf16 ? 2 : 1;
  CHECK(!d.paired || (s->facts->bf16_pairs && d.width > 1));
  CHECK(!load_b || (access_col_stride(s, d.access_b) == 1) || from->tile->cols == 1);
  uniform_guards(&d, &d.uniform);
  if (d.uniform.count) {
    Stmt *some = stmt_add(s->to, to, STMT_IF);
    some->guards = d.uniform;
    to = &some->body;
  }
  Guards guards = {0};
  bool possible = dot_guards(&d, &guards);
  if (guards.count == 0 && possible) {
    dot_loop(&d, to);
    return;
  }
  Block *border = to;
  if (possible) {
    Stmt *inside = stmt_add(s->to, to, STMT_IF);
    inside->guards = guards;
    dot_loop(&d, &inside->body);
    border = &inside->other;
  }
  d.checked = true;
  if (d.access_a && !d.inside_a)
    row_pointers(&d, border);
  dot_loop(&d, border);
}

/* Every cache line of a tile that lies in its tensor whole. */
void vector_prefetch(Spread *s, Block *to, const Stmt *from) {
  const Tile *domain = from->tile;
  Guards guards = {0};
  bool possible = true;
  corner_guards(s, &guards, &from->access, domain, &possible);
  if (!possible || (domain->cols > 1 && access_col_stride(s, &from->access) != 1))
    return;
  if (guards.count) {
    Stmt *inside = stmt_add(s->to, to, STMT_IF);
    inside->guards = guards;
    to = &inside->body;
  }
  int line = CACHE_LINE / (int)dtype_size(domain->dtype);
  Affine last = affine_constant(0);
  for (int row = 0; row < domain->rows; row++)
    for (int col = 0; col < domain->cols; col += line) {
      Position position = row_position(domain, row);
      position.col = affine_constant(col);
      Affine at = address_of(s, to, &from->access, &position, true).flat;
      Affine step = affine_add(at, affine_scale(last, -1));
      if ((row || col) && affine_is_constant(&step) && step.constant >= 0 && step.constant < line)
        continue; /* within the line announced last, or nearly */
      Stmt *soon = stmt_add(s->to, to, STMT_PREFETCH);
      soon->buffer = spread_buffer(s, from->access.buffer);
      soon->at = last = at;
    }
}
