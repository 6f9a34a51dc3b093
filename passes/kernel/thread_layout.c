/* How the threads of a block share out domains of rows x columns.
 *
 * Every domain of a kernel has one layout, so what one nest leaves in a thread's array the next one
 * over the same domain finds there. Results of dots lie as matrix units want their accumulators
 * where the shape allows it, whether such a unit is then used or not: sums by multiply-adds read
 * each staged element for many products too. Everything else is shared out so that neighbouring
 * threads touch neighbouring memory, 16 bytes at a time.
 */
#include "passes/kernel/distribute_thread.h"

enum {
  MOST_UNITS = 64, /* of fragments: two accumulators each */
  UNROLLED_UNITS = 32,
  MOST_LANES = 8,
  LEAST_GROUP = 8 /* threads to a row, so that accesses of 16 bytes fill lines */
};

Threads *threads_of(const Spread *s) { return s->own; }

const Layout *layout_of(const Spread *s, const Tile *domain) {
  return &threads_of(s)->layouts[domain->id];
}

/* ---- choosing ---- */

typedef struct Uses {           /* of a domain by the kernel's statements */
  bool dots;                    /* results of dots */
  bool narrow;                  /* elements of less than 4 bytes are loaded or stored */
  bool scalars[MOST_LANES + 1]; /* by vector: accesses that cannot be vectors */
} Uses;

static void find_uses(const Spread *s, const Block *block, const Tile *domain, Uses *uses) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *stmt = block->at[i];
    const Tile *walked = stmt_domain(stmt);
    if (stmt->kind == STMT_TILE_LOAD && s->deferred[stmt->tile->id])
      continue; /* an operand of dots has a layout of its own */
    bool ours = stmt->kind != STMT_TILE_PREFETCH && walked && same_domain(walked, domain);
    bool moves = stmt->kind == STMT_TILE_LOAD || stmt->kind == STMT_TILE_STORE;
    uses->dots |= ours && stmt->kind == STMT_TILE_DOT;
    uses->narrow |= ours && moves && dtype_size(stmt->access.buffer->type.dtype) < 4;
    for (int v = 2; ours && v <= MOST_LANES; v *= 2)
      uses->scalars[v] |= walk_needs_scalars(s, stmt, domain, v);
    find_uses(s, &stmt->body, domain, uses);
    find_uses(s, &stmt->other, domain, uses);
  }
}

/* The grid of warps that makes each read least of both operands: 16 rows a piece down, 8 columns a
 * piece across. False: none fits. */
static bool fragments(int threads, const Tile *domain, Layout *layout) {
  int warps = threads / WARP, pieces_down = domain->rows / FRAGMENT_ROWS;
  int pieces_across = domain->cols / FRAGMENT_COLUMNS, least = 0;
  if (threads % WARP || domain->rows % FRAGMENT_ROWS || domain->cols % FRAGMENT_COLUMNS)
    return false;
  for (int down = warps; down; down /= 2) {
    if (warps % down || (down & (down - 1)) || pieces_down % down || pieces_across % (warps / down))
      continue;
    int rows = pieces_down / down, columns = pieces_across / (warps / down);
    int reads = FRAGMENT_ROWS * rows + FRAGMENT_COLUMNS * columns;
    if (least && reads >= least)
      continue;
    least = reads;
    *layout = (Layout){.kind = LAYOUT_FRAGMENT,
                       .vector = 2,
                       .warps_down = down,
                       .down = rows,
                       .across = columns,
                       .units = 2 * rows * columns};
  }
  return least && layout->units <= MOST_UNITS;
}

/* So that neighbouring threads touch neighbouring memory. */
static Layout share_out(const Spread *s, const Tile *domain, const Uses *uses) {
  Layout layout = {.kind = LAYOUT_DEALT, .vector = 1};
  int threads = s->to->threads;
  for (int v = 2; v <= (uses->narrow ? MOST_LANES : MOST_LANES / 2); v *= 2)
    if (domain->cols % v == 0 && !uses->scalars[v] &&
        (int64_t)domain->rows * domain->cols / v >= threads)
      layout.vector = v;
  int across = domain->cols / layout.vector;
  int64_t units = (int64_t)domain->rows * across;
  int group = (int)greatest_divisor(across, threads), groups = threads / group;
  layout.units = (int)((units + threads - 1) / threads);
  if (domain->rows >= groups && (group == across || group >= LEAST_GROUP)) {
    layout.kind = LAYOUT_GROUPED;
    layout.per_row = group;
    layout.units = (domain->rows + groups - 1) / groups * (across / group);
  }
  return layout;
}

static Layout choose_layout(const Spread *s, const Tile *domain) {
  Uses uses = {0};
  Layout layout;
  find_uses(s, &s->from->body, domain, &uses);
  if (uses.dots && !uses.scalars[2] && fragments(s->to->threads, domain, &layout))
    return layout;
  return share_out(s, domain, &uses);
}

/* The layout of a load by itself. */
static Layout deal(const Spread *s, const Stmt *load) {
  Uses uses = {.narrow = dtype_size(load->tile->dtype) < 4};
  for (int v = 2; v <= MOST_LANES; v *= 2)
    uses.scalars[v] = walk_needs_scalars(s, load, load->tile, v);
  return share_out(s, load->tile, &uses);
}

bool layout_folds(const Layout *layout) { return layout->kind != LAYOUT_DEALT; }

/* ---- where tiles are kept ---- */

/* Does every statement that mentions the tile walk the tile's own domain, element for element? */
static bool stays_with_thread(const Spread *s, const Block *block, const Tile *tile) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *stmt = block->at[i];
    bool operand = stmt->access.gather == tile;
    for (int a = 0; a < MAX_KOP_ARGS; a++)
      operand |= stmt->tile_arg[a] == tile;
    bool mentioned = operand || stmt->tile == tile;
    if (stmt->kind == STMT_TILE_FOLD && !operand)
      continue; /* the thread that has a unit of the result adds it up */
    bool crosses = (stmt->kind == STMT_TILE_FOLD && !layout_folds(layout_of(s, tile))) ||
                   (stmt->kind == STMT_TILE_DOT && operand);
    if (mentioned && (crosses || !same_domain(stmt_domain(stmt), tile)))
      return false;
    if (!stays_with_thread(s, &stmt->body, tile) || !stays_with_thread(s, &stmt->other, tile))
      return false;
  }
  return true;
}

static bool same_rows(const Tile *a, const Tile *b) {
  bool same = a->n_axes == b->n_axes;
  for (int j = 0; same && j < a->n_axes; j++)
    same = a->axis[j] == b->axis[j];
  return same;
}

static bool is_source(const Spread *s, const Stmt *stmt) {
  const Buffer *buffer = stmt->access.buffer;
  if (stmt->kind == STMT_TILE_LOAD && stmt->tile->cols > 1 &&
      walk_needs_scalars(s, stmt, stmt->tile, MOST_LANES))
    return false;
  return stmt->kind == STMT_TILE_FILL || stmt->kind == STMT_TILE_INDEX ||
         (stmt->kind == STMT_TILE_LOAD && buffer->space == SPACE_GLOBAL && !buffer->written &&
          !buffer->aliased && !stmt->access.gather &&
          (stmt->tile->rows == 1 || stmt->tile->cols == 1));
}

/* Sources of tiles with one definition, in scope wherever the tile is read element by element: what
 * is cheaper to compute or load again than to hand over. `open`: defined in this block or one
 * around it. */
static void find_sources(const Block *block, const Stmt **source, bool *open, bool *spoiled,
                         const Spread *s) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *stmt = block->at[i];
    for (int a = 0; a < MAX_KOP_ARGS; a++) {
      const Tile *read = stmt->tile_arg[a];
      bool whole = stmt->kind == STMT_TILE_DOT ||
                   (stmt->kind == STMT_TILE_FOLD && read && !layout_folds(layout_of(s, read)));
      if (read &&
          (whole || !open[read->id] || (read->rows > 1 && !same_rows(read, stmt_domain(stmt)))))
        spoiled[read->id] = true;
    }
    if (stmt->access.gather) /* numbers of rows are read from an array */
      spoiled[stmt->access.gather->id] = true;
    find_sources(&stmt->body, source, open, spoiled, s);
    find_sources(&stmt->other, source, open, spoiled, s);
    if (!stmt->tile || stmt->kind == STMT_TILE_PREFETCH)
      continue;
    int id = stmt->tile->id;
    spoiled[id] |= source[id] != NULL || !is_source(s, stmt) || s->deferred[id];
    source[id] = stmt;
    open[id] = true;
  }
  for (int i = 0; i < block->count; i++)
    if (block->at[i]->tile)
      open[block->at[i]->tile->id] = false;
}

/* Do rows of a load lie side by side in memory, and columns not? Then it is done with the two
 * exchanged: neighbouring threads read neighbouring memory. */
static bool lies_turned(const Spread *s, const Stmt *load) {
  int64_t down = 0;
  for (int d = 0; d < load->access.rank; d++)
    down += load->access.dim[d].row[0] * access_stride(s, &load->access, d);
  return load->tile->n_axes == 1 && load->tile->cols > 1 && !load->access.gather && down == 1 &&
         access_col_stride(s, &load->access) != 1;
}

static void stage_operand(Spread *s, const Tile *tile, int id) {
  Threads *t = threads_of(s);
  const Stmt *load = s->deferred[tile->id];
  if (!load)
    return;
  Tile *own = arena_copy(s->arena, tile, sizeof *tile);
  Stmt *staged = arena_copy(s->arena, load, sizeof *load);
  own->id = id;
  staged->tile = own;
  t->staged[tile->id] = staged;
  t->turned[tile->id] = lies_turned(s, load);
  if (t->turned[tile->id]) {
    own->axis[0] = own->rows = tile->cols;
    own->cols = tile->rows;
    for (int d = 0; d < load->access.rank; d++) {
      staged->access.dim[d].row[0] = load->access.dim[d].col;
      staged->access.dim[d].col = load->access.dim[d].row[0];
    }
  }
  t->layouts[id] = deal(s, staged);
}

static IndexVar *thread_part(Spread *s, const char *name, int divisor, int modulus) {
  Stmt *stmt = stmt_add(s->to, &s->to->body, STMT_INDEX);
  int64_t most = (s->to->threads - 1) / divisor;
  stmt->at = affine_var(s->to->thread, 1);
  stmt->divisor = divisor;
  stmt->modulus = most < modulus ? 0 : modulus;
  stmt->var = kernel_var(s->to, name, 0, most < modulus ? most : modulus - 1);
  return stmt->var;
}

static int log_of(int power) {
  int log = 0;
  while (1 << log < power)
    log++;
  return log;
}

/* Where a thread is in its warp, and its warp among others. */
static void name_places(Spread *s, const Layout *layout) {
  Threads *t = threads_of(s);
  int log = log_of(layout->warps_down);
  CHECK(log < MAX_WARPS_LOG);
  if (!t->lane_row) {
    t->lane_row = thread_part(s, "lane_row", 4, 8);
    t->lane_column = thread_part(s, "lane_column", 1, 4);
  }
  if (t->warp_row[log])
    return;
  t->warp_row[log] = thread_part(s, "warp_row", WARP, layout->warps_down);
  t->warp_column[log] = thread_part(s, "warp_column", WARP * layout->warps_down, s->to->threads);
}

/* Marks tiles that some nest over their own domain reads; sums of dots, which dots alone keep, are
 * cleared in a second walk. */
static void find_own_readers(const Block *block, bool *read_own, bool dots) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = block->at[i];
    if (s->kind == STMT_TILE_DOT && dots)
      read_own[s->tile->id] = false;
    for (int a = 0; a < MAX_KOP_ARGS && s->kind != STMT_TILE_DOT && !dots; a++)
      if (s->tile_arg[a] && same_domain(s->tile_arg[a], stmt_domain(s)))
        read_own[s->tile_arg[a]->id] = true;
    find_own_readers(&s->body, read_own, dots);
    find_own_readers(&s->other, read_own, dots);
  }
}

static bool any_mma(const Spread *s, const Block *block) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *stmt = block->at[i];
    if ((stmt->kind == STMT_TILE_DOT && may_be_mma(s, stmt)) || any_mma(s, &stmt->body) ||
        any_mma(s, &stmt->other))
      return true;
  }
  return false;
}

static void name_lanes(Spread *s) {
  Threads *t = threads_of(s);
  t->lane_of_8 = thread_part(s, "lane_8", 1, 8);
  t->lane_of_16 = thread_part(s, "lane_16", 1, 16);
  t->second_8 = thread_part(s, "second_8", 8, 2);
  t->second_16 = thread_part(s, "second_16", 16, 2);
}

void threads_plan(Spread *s) {
  int n = s->from->tiles.count;
  Threads *t = s->own = ARENA_NEW(s->arena, Threads);
  *t = (Threads){.layouts = ARENA_ARRAY(s->arena, Layout, s->n_ids + 1),
                 .stays = ARENA_ARRAY(s->arena, bool, s->n_ids + 1),
                 .own = ARENA_ARRAY(s->arena, Buffer *, s->n_ids + 1),
                 .read_own = ARENA_ARRAY(s->arena, bool, s->n_ids + 1),
                 .source = ARENA_ARRAY(s->arena, const Stmt *, s->n_ids + 1),
                 .two_slots = ARENA_ARRAY(s->arena, bool, s->n_ids + 1),
                 .slot = ARENA_ARRAY(s->arena, Affine, s->n_ids + 1),
                 .staged = ARENA_ARRAY(s->arena, const Stmt *, n + 1),
                 .turned = ARENA_ARRAY(s->arena, bool, n + 1)};
  bool *open = ARENA_ARRAY(s->arena, bool, n + 1), *spoiled = ARENA_ARRAY(s->arena, bool, n + 1);
  for (int i = 0; i < n; i++) {
    t->layouts[i] = choose_layout(s, s->from->tiles.at[i]);
    if (t->layouts[i].kind == LAYOUT_FRAGMENT)
      name_places(s, &t->layouts[i]);
  }
  if (any_mma(s, &s->from->body))
    name_lanes(s);
  for (int i = 0; i < n; i++)
    stage_operand(s, s->from->tiles.at[i], n + i);
  find_sources(&s->from->body, t->source, open, spoiled, s);
  for (int i = 0; i < n; i++)
    if (spoiled[i])
      t->source[i] = NULL;
  find_own_readers(&s->from->body, t->read_own, false);
  find_own_readers(&s->from->body, t->read_own, true);
  for (int i = 0; i < n; i++)
    t->stays[i] = stays_with_thread(s, &s->from->body, s->from->tiles.at[i]);
}

/* ---- units ---- */

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

static Affine loop_over(Spread *s, Block **block, const char *name, int count, bool unrolled) {
  if (count == 1)
    return affine_constant(0);
  IndexVar *var = kernel_var(s->to, name, 0, count - 1);
  Stmt *loop = stmt_for(s->to, *block, var, 0, count, 1);
  loop->unroll = unrolled ? -1 : 0;
  *block = &loop->body;
  return affine_var(var, 1);
}

/* The coordinates of a row in its box. */
static void place_row(Spread *s, Unit *u, const Tile *domain, Affine row) {
  int64_t below = 1;
  u->position.flat = row;
  u->position.flat_rows = domain->rows;
  for (int j = MAX_ROW_AXES - 1; j >= 0; j--) {
    u->position.row[j] = affine_constant(0);
    if (j >= domain->n_axes)
      continue;
    u->position.row[j] = split(s, u->block, row, below, domain->axis[j]);
    below *= domain->axis[j];
  }
}

Position unit_place(Spread *s, Block *block, const Tile *domain, Affine row) {
  Unit u = {.block = block, .position = {.col = affine_constant(0)}};
  place_row(s, &u, domain, row);
  return u.position;
}

Affine fragment_row(const Spread *s, const Layout *layout) {
  const IndexVar *warp = threads_of(s)->warp_row[log_of(layout->warps_down)];
  return affine_var(warp, (int64_t)FRAGMENT_ROWS * layout->down);
}

Affine fragment_column(const Spread *s, const Layout *layout) {
  const IndexVar *warp = threads_of(s)->warp_column[log_of(layout->warps_down)];
  return affine_var(warp, (int64_t)FRAGMENT_COLUMNS * layout->across);
}

static void keep_inside(Spread *s, Unit *u, Affine at, int64_t extent) {
  if (affine_high(&at) < extent)
    return;
  Stmt *inside = stmt_add(s->to, u->block, STMT_IF);
  Guard guard = {at, extent, 0};
  vec_push(s->arena, &inside->guards, guard);
  u->block = &inside->body;
}

static void open_dealt(Spread *s, Unit *u, const Tile *domain, const Layout *layout) {
  int across = domain->cols / layout->vector;
  u->number = u->row =
      loop_over(s, &u->block, "unit", layout->units, layout->units <= UNROLLED_UNITS);
  u->column = affine_constant(0);
  Affine at = affine_add(affine_scale(u->number, s->to->threads), affine_var(s->to->thread, 1));
  keep_inside(s, u, at, (int64_t)domain->rows * across);
  u->position.col = affine_scale(split(s, u->block, at, 1, across), layout->vector);
  place_row(s, u, domain, split(s, u->block, at, across, domain->rows));
}

int unit_columns(const Spread *s, const Tile *domain) {
  const Layout *layout = layout_of(s, domain);
  return layout->kind == LAYOUT_FRAGMENT ? layout->across
                                         : domain->cols / layout->vector / layout->per_row;
}

int unit_rows(const Spread *s, const Tile *domain) {
  return layout_of(s, domain)->units / unit_columns(s, domain);
}

static void open_grouped(Spread *s, Unit *u, const Tile *domain, const Layout *layout,
                         UnitChoice choice) {
  int columns = unit_columns(s, domain), rows = unit_rows(s, domain);
  int groups = s->to->threads / layout->per_row;
  bool unrolled = layout->units <= UNROLLED_UNITS;
  Affine thread = affine_var(s->to->thread, 1);
  Affine group = split(s, u->block, thread, layout->per_row, groups);
  Affine member = split(s, u->block, thread, 1, layout->per_row);
  u->row = loop_over(s, &u->block, "row", choice == UNITS_FIRST_OF_COLUMN ? 1 : rows, unrolled);
  Affine row = affine_add(affine_scale(u->row, groups), group);
  if (choice != UNITS_FIRST_OF_COLUMN)
    keep_inside(s, u, row, domain->rows);
  place_row(s, u, domain, row);
  u->column =
      loop_over(s, &u->block, "column", choice == UNITS_FIRST_OF_ROW ? 1 : columns, unrolled);
  u->number = affine_add(affine_scale(u->row, columns), u->column);
  u->position.col =
      affine_scale(affine_add(affine_scale(u->column, layout->per_row), member), layout->vector);
}

static void open_fragment(Spread *s, Unit *u, const Tile *domain, const Layout *layout,
                          UnitChoice choice) {
  const Threads *t = threads_of(s);
  bool first = choice == UNITS_FIRST_OF_COLUMN;
  Affine piece = loop_over(s, &u->block, "i", first ? 1 : layout->down, true);
  Affine half = loop_over(s, &u->block, "h", first ? 1 : 2, true);
  Affine row =
      affine_add(affine_scale(piece, FRAGMENT_ROWS), affine_scale(half, FRAGMENT_ROWS / 2));
  row = affine_add(row, affine_add(fragment_row(s, layout), affine_var(t->lane_row, 1)));
  place_row(s, u, domain, row);
  u->row = affine_add(affine_scale(piece, 2), half);
  u->column = loop_over(s, &u->block, "j", choice == UNITS_FIRST_OF_ROW ? 1 : layout->across, true);
  Affine column = affine_add(affine_scale(u->column, FRAGMENT_COLUMNS), fragment_column(s, layout));
  u->position.col = affine_add(column, affine_var(t->lane_column, layout->vector));
  u->number = affine_add(affine_scale(piece, 2 * (int64_t)layout->across),
                         affine_add(affine_scale(u->column, 2), half));
}

Unit units_open(Spread *s, Block *to, const Tile *domain, UnitChoice choice) {
  const Layout *layout = layout_of(s, domain);
  Unit u = {.block = to};
  if (layout->kind == LAYOUT_DEALT)
    open_dealt(s, &u, domain, layout);
  else if (layout->kind == LAYOUT_GROUPED)
    open_grouped(s, &u, domain, layout, choice);
  else
    open_fragment(s, &u, domain, layout, choice);
  return u;
}

/* ---- folds ---- */

int fold_slots(const Spread *s, const Tile *domain, bool by_rows) {
  const Layout *layout = layout_of(s, domain);
  int threads = s->to->threads;
  if (layout->kind == LAYOUT_GROUPED)
    return by_rows ? threads / layout->per_row : layout->per_row;
  return by_rows ? 8 * layout->warps_down : 4 * (threads / WARP / layout->warps_down);
}

Affine fold_slot(Spread *s, Block *block, const Tile *domain, bool by_rows) {
  const Layout *layout = layout_of(s, domain);
  const Threads *t = threads_of(s);
  Affine thread = affine_var(s->to->thread, 1);
  if (layout->kind == LAYOUT_GROUPED)
    return by_rows ? split(s, block, thread, layout->per_row, s->to->threads / layout->per_row)
                   : split(s, block, thread, 1, layout->per_row);
  int log = log_of(layout->warps_down);
  return by_rows ? affine_add(affine_var(t->warp_row[log], 8), affine_var(t->lane_row, 1))
                 : affine_add(affine_var(t->warp_column[log], 4), affine_var(t->lane_column, 1));
}
