/* The window template: per channel, a fold over taps (depthwise convolution, pools, their
 * gradients).
 *
 * A tile is a few positions by a few vectors of channels; one loop over taps loads the shifted tile
 * and folds it in. The gradient of depthwise weights turns the roles round: taps are the rows of
 * the result, positions are summed in strips, and the strips' partial results are added in order.
 */
#include "passes/lower/window.h"
#include <math.h>
#include <string.h>

enum { STRIPS = 64, POSITIONS = 16, OFTEN = 8, MAX_WRITTEN_OUT = 32 };
enum { GPU_ROWS = 128, GPU_LEAST_ROWS = 32 };

typedef struct Window {
  const Node *node;
  Frame *frame;
  Taps taps;
  Affine offset[3];
  IndexVar *tap; /* loop variable */
  Affine number; /* of the tap that it stands for */
  bool inside;   /* no tap of the tile reaches outside operand 0; taps are written out */
  bool phased;   /* taps are those of the tile's phase; they lead to the operand's own places */
  const Table *first, *numbers; /* phased: place of each phase's first tap in `numbers` */
} Window;

/* ---- phases ----
 * An op with divisors reads, for places that leave the same rests, the same taps: those that lead
 * to a place of the operand exactly. The tile's places leave one rest along each axis, its phase,
 * and taps are listed phase by phase, as offsets between places of the operand. */

static bool is_phased(const Frame *frame, const Node *node) {
  bool apart = false, all = op_attr_index(node->op, "divisor") >= 0;
  for (int axis = 0; all && axis < 3; axis++) {
    int64_t divisor = node_ints(node, "divisor", NULL)[axis];
    all = divisor == 1 || divisor == frame->apart[1 + axis] || frame->extent[1 + axis] == 1;
    apart |= divisor > 1;
  }
  if (all && apart && op_attr_index(node->op, "stride") >= 0)
    for (int axis = 0; axis < 3; axis++)
      all &= node_ints(node, "stride", NULL)[axis] == 1;
  return all && apart;
}

static void list_phases(Window *w) {
  Arena *arena = w->frame->lower->arena;
  int n;
  const int64_t *taps = node_ints(w->node, "taps", &n);
  const int64_t *divisor = node_ints(w->node, "divisor", NULL);
  int phases = (int)(divisor[0] * divisor[1] * divisor[2]), listed = 0;
  int64_t *first = ARENA_ARRAY(arena, int64_t, phases + 1);
  int64_t *numbers = ARENA_ARRAY(arena, int64_t, n / 3), *offset[3];
  for (int axis = 0; axis < 3; axis++)
    offset[axis] = ARENA_ARRAY(arena, int64_t, n / 3);
  for (int p = 0; p < phases; p++) {
    int64_t rest[3] = {p / divisor[2] / divisor[1], p / divisor[2] % divisor[1], p % divisor[2]};
    for (int t = 0; t < n / 3; t++) {
      bool exact = true;
      for (int axis = 0; axis < 3; axis++)
        exact &= (rest[axis] + taps[3 * t + axis]) % divisor[axis] == 0;
      for (int axis = 0; axis < 3 && exact; axis++)
        offset[axis][listed] = (rest[axis] + taps[3 * t + axis]) / divisor[axis];
      if (exact)
        numbers[listed++] = t;
    }
    first[p + 1] = listed;
  }
  CHECK(listed == n / 3); /* each tap belongs to one phase */
  static const char *const names[3] = {"tap0", "tap1", "tap2"};
  w->phased = true;
  w->first = kernel_table(w->frame->kernel, "first", phases + 1, first);
  w->numbers = kernel_table(w->frame->kernel, "number", listed, numbers);
  w->taps.count = listed;
  for (int axis = 0; axis < 3; axis++)
    w->taps.table[axis] = kernel_table(w->frame->kernel, names[axis], listed, offset[axis]);
}

static Affine look_up(Window *w, const Table *table, Affine at) {
  Stmt *s = stmt_add(w->frame->kernel, w->frame->block, STMT_LOOKUP);
  int64_t low = table->values[0], high = low;
  for (int i = 1; i < table->count; i++) {
    low = table->values[i] < low ? table->values[i] : low;
    high = table->values[i] > high ? table->values[i] : high;
  }
  s->table = table;
  s->at = at;
  s->var = kernel_var(w->frame->kernel, "o", low, high);
  return affine_var(s->var, 1);
}

/* The taps of the frame's phase become the loop's. */
static void limit_taps(Window *w, Stmt *loop, Block *ahead) {
  const int64_t *divisor = node_ints(w->node, "divisor", NULL);
  Affine phase = affine_constant(0);
  for (int axis = 0; axis < 3; axis++)
    phase = affine_add(affine_scale(phase, divisor[axis]), w->frame->phase[1 + axis]);
  Block *inside = w->frame->block;
  w->frame->block = ahead;
  ahead->count--; /* the loop comes after what is looked up for it */
  loop->low = look_up(w, w->first, phase);
  loop->high = look_up(w, w->first, affine_offset(phase, 1));
  vec_push(w->frame->lower->arena, ahead, loop);
  w->frame->block = inside;
}

/* The place along an axis in units of the operand's places. */
static Place phase_place(const Frame *frame, int d) {
  Place place = frame->place[d];
  int64_t apart = frame->apart[d];
  place.at = affine_add(place.at, affine_scale(frame->phase[d], -1));
  CHECK(place.at.constant % apart == 0);
  place.at.constant /= apart;
  for (int i = 0; i < place.at.count; i++) {
    CHECK(place.at.term[i].factor % apart == 0);
    place.at.term[i].factor /= apart;
  }
  for (int j = 0; j < MAX_ROW_AXES; j++)
    place.row[j] /= apart;
  return place;
}

/* ---- taps ---- */

/* Coordinates of a tensor on the input's grid, read through the current tap. */
static void tapped_coordinates(const Window *w, Coordinate *c) {
  const Node *node = w->node;
  const int64_t *stride = NULL, *divisor = NULL;
  if (op_attr_index(node->op, "stride") >= 0)
    stride = node_ints(node, "stride", NULL);
  if (op_attr_index(node->op, "divisor") >= 0 && !w->phased)
    divisor = node_ints(node, "divisor", NULL);
  c[0] = (Coordinate){0, -1, -1, 1, 1};
  for (int d = 0; d < 3; d++)
    c[1 + d] = (Coordinate){1 + d, -1, d, stride ? stride[d] : 1, divisor ? divisor[d] : 1};
  c[4] = (Coordinate){4, -1, -1, 1, 1};
}

static Tile *load_tapped(Window *w, int operand, double fill) {
  Frame *frame = w->frame;
  Coordinate c[MAX_RANK];
  Place place[MAX_RANK];
  tapped_coordinates(w, c);
  for (int d = 0; d < frame->rank; d++)
    place[d] = w->phased && d >= 1 && d <= 3 ? phase_place(frame, d) : frame->place[d];
  Access access = operand_access(frame, w->node->in[operand], c, place, NULL, w->offset);
  int load = frame->block->count; /* a conversion may follow it */
  Tile *tile = frame_load(frame, &access, w->node->in[operand]->type.dtype, fill);
  frame->block->at[load]->inside = w->inside;
  return tile;
}

static Tile *map(Frame *frame, Kop kop, Tile *result, Tile *a, Tile *b, Tile *c) {
  return stmt_map(frame->kernel, frame->block, result, kop, a, b, c)->tile;
}

static Tile *tap_number(Window *w) {
  Stmt *s = stmt_add(w->frame->kernel, w->frame->block, STMT_TILE_INDEX);
  s->at = w->number;
  return s->tile = frame_tile(w->frame, DT_f32, false, false);
}

/* Opens the loop over taps. */
static void open_taps(Window *w) {
  Block *ahead = w->frame->block;
  Stmt *loop;
  w->tap = frame_loop(w->frame, "t", 0, w->taps.count, 1, &loop);
  loop->unroll = w->inside ? -1 : 0;
  w->number = affine_var(w->tap, 1);
  if (w->phased)
    limit_taps(w, loop, ahead);
  taps_lookup(w->frame, &w->taps, affine_var(w->tap, 1), w->offset);
  if (w->phased)
    w->number = look_up(w, w->numbers, affine_var(w->tap, 1));
}

/* ---- one row of the table below per op ---- */

static void depthwise(Window *w) {
  Frame *f = w->frame;
  Tile *sum = frame_fill(f, 0, DT_f32, true, true);
  Block *outside = f->block;
  open_taps(w);
  Coordinate c[MAX_RANK] = {{-1, 0, -1, 1, 1}, {4, -1, -1, 1, 1}};
  Place tap = {.at = w->number};
  Access weight = operand_access(f, w->node->in[1], c, f->place, &tap, w->offset);
  Tile *wt = frame_load(f, &weight, DT_f32, 0), *x = load_tapped(w, 0, 0);
  map(f, K_fma, sum, x, wt, sum);
  f->block = outside;
  f->tile[w->node->out[0].id] = sum;
}

static void tap_sum(Window *w) {
  Frame *f = w->frame;
  Tile *sum = frame_fill(f, 0, DT_f32, true, true);
  Block *outside = f->block;
  open_taps(w);
  map(f, K_add, sum, sum, load_tapped(w, 0, 0), NULL);
  f->block = outside;
  f->tile[w->node->out[0].id] = sum;
}

static void fold_maximum(Window *w, Tile *best, Tile *which) {
  Frame *f = w->frame;
  Block *outside = f->block;
  open_taps(w);
  Tile *number = tap_number(w);
  Tile *x = load_tapped(w, 0, -INFINITY);
  Tile *larger = map(f, K_lt, frame_tile(f, DT_f32, true, true), best, x, NULL);
  map(f, K_select, which, larger, number, which);
  map(f, K_select, best, larger, x, best);
  f->block = outside;
}

/* Neighbouring places read the same elements: inside, where taps are known numbers, those are
 * loaded once. */
static void tap_max(Window *w) {
  Frame *f = w->frame;
  if (f->line) {
    window_line_results(f);
    return;
  }
  Tile *best = frame_fill(f, -INFINITY, DT_f32, true, true);
  Tile *which = frame_fill(f, 0, DT_f32, true, true);
  Coordinate c[MAX_RANK];
  Guards guards = {0};
  tapped_coordinates(w, c);
  bool whole_tiles = f->extent[f->rank - 1] % f->cols == 0;
  if (f->lower->facts->threads == 1 && w->taps.count <= MAX_WRITTEN_OUT && whole_tiles &&
      taps_inside(f, w->node, c, NULL, &guards)) {
    Block *outside = f->block;
    Stmt *choice = guards.count ? stmt_add(f->kernel, f->block, STMT_IF) : NULL;
    w->inside = true;
    if (choice) {
      choice->guards = guards;
      f->block = &choice->body;
    }
    fold_maximum(w, best, which);
    w->inside = false;
    if (choice) {
      f->block = &choice->other;
      fold_maximum(w, best, which);
    }
    f->block = outside;
  } else {
    fold_maximum(w, best, which);
  }
  f->tile[w->node->out[0].id] = best;
  f->tile[w->node->out[1].id] = map(f, K_cast, frame_tile(f, DT_u8, true, true), which, NULL, NULL);
}

static void tap_max_grad(Window *w) {
  Frame *f = w->frame;
  Tile *sum = frame_fill(f, 0, DT_f32, true, true);
  Tile *zero = frame_fill(f, 0, DT_f32, false, false);
  Block *outside = f->block;
  open_taps(w);
  Tile *number = tap_number(w);
  Tile *dy = load_tapped(w, 0, 0), *raw = load_tapped(w, 1, 255);
  Tile *which = map(f, K_cast, frame_tile(f, DT_f32, true, true), raw, NULL, NULL);
  Tile *mine = map(f, K_eq, frame_tile(f, DT_f32, true, true), which, number, NULL);
  Tile *part = map(f, K_select, frame_tile(f, DT_f32, true, true), mine, dy, zero);
  map(f, K_add, sum, sum, part, NULL);
  f->block = outside;
  f->tile[w->node->out[0].id] = sum;
}

static const struct {
  const char *op;
  void (*statements)(Window *);
} rows[] = {
    {"tap_depthwise", depthwise},
    {"tap_sum", tap_sum},
    {"tap_max", tap_max},
    {"tap_max_grad", tap_max_grad},
};

/* Channels of a tile: up to two vectors that divide the channels evenly, or all of a few. */
static int choose_columns(const Facts *facts, int64_t width) {
  int vector = facts->threads > 1 ? 16 : facts->vector;
  if (width <= 2 * vector)
    return (int)width;
  return width % (2 * vector) == 0 || width % vector != 0 ? 2 * vector : vector;
}

/* ---- gradient of depthwise weights ---- */

static void weight_gradient(Lower *lower) {
  const Node *node = lower->anchor;
  const int64_t *stride = node_ints(node, "stride", NULL);
  const Type *dy_type = &node->in[1]->type;
  Frame frame;
  Stmt *loop;
  frame_start(&frame, lower, "");
  frame_dims(&frame, &node->out[0].type);

  /* strips over batch and the first axis; loops over the second; rows of the third */
  Place k[4];
  IndexVar *n = kernel_grid(frame.kernel, "n", dy_type->dim[0]);
  IndexVar *a0 = kernel_grid(frame.kernel, "a", dy_type->dim[1]);
  int64_t strips = dy_type->dim[0] * dy_type->dim[1];
  Affine strip = affine_add(affine_var(n, dy_type->dim[1]), affine_var(a0, 1));
  place_output(&frame,
               &(Tiling){.box = {1, 1}, .cols = choose_columns(lower->facts, frame.extent[1])});
  Affine offset[3];
  Taps taps = taps_of(&frame, node);
  taps_lookup(&frame, &taps, frame.place[0].at, offset);
  Tile *sum = frame_fill(&frame, 0, DT_f32, false, true);
  Block *outside = frame.block;
  k[0] = (Place){.at = affine_var(n, 1)};
  k[1] = (Place){.at = affine_var(a0, 1)};
  k[2] = (Place){.at = affine_var(frame_loop(&frame, "b", 0, dy_type->dim[2], 1, &loop), 1)};
  int64_t positions = divisor_below(dy_type->dim[3], POSITIONS);
  k[3] = (Place){.at = affine_constant(0)};
  if (dy_type->dim[3] > positions)
    k[3].at = affine_var(frame_loop(&frame, "c", 0, dy_type->dim[3], positions, &loop), 1);
  if (positions > 1) {
    frame.n_axes = 1;
    frame.axis[0] = (int)positions;
    k[3].row[0] = 1;
  }
  Place kx[4];
  for (int j = 0; j < 4; j++) {
    int64_t s = j ? stride[j - 1] : 1;
    kx[j] = (Place){.at = affine_scale(k[j].at, s), .row = {s * k[j].row[0]}};
  }
  Coordinate cx[MAX_RANK], cy[MAX_RANK];
  for (int d = 0; d < 4; d++) {
    cx[d] = (Coordinate){-1, d, d - 1, 1, 1};
    cy[d] = (Coordinate){-1, d, -1, 1, 1};
  }
  cx[4] = cy[4] = (Coordinate){1, -1, -1, 1, 1};
  Access x = operand_access(&frame, node->in[0], cx, frame.place, kx, offset);
  Access dy = operand_access(&frame, node->in[1], cy, frame.place, k, offset);
  Tile *tx = frame_load(&frame, &x, DT_f32, 0), *ty = frame_load(&frame, &dy, DT_f32, 0);
  Tile *product = map(&frame, K_mul, frame_tile(&frame, DT_f32, true, true), tx, ty, NULL);
  if (product->n_axes)
    product = frame_fold(&frame, K_add, product, true);
  map(&frame, K_add, sum, sum, product, NULL);
  frame.block = outside;

  const Type *out = &node->out[0].type;
  Type type = {DT_f32, 3, {strips, out->dim[0], out->dim[1]}};
  Partial partial = frame_partial(lower, &node->out[0], K_add, &type);
  Access store = {.rank = 3, .buffer = frame_temp(&frame, partial.temp, type, true)};
  store.dim[0] = (AccessDim){.at = strip, .divisor = 1};
  store.dim[1] = (AccessDim){.at = frame.place[0].at, .divisor = 1};
  store.dim[2] = (AccessDim){.at = frame.place[1].at, .col = 1, .divisor = 1};
  frame_store(&frame, &store, sum);
  frame_finish(&frame, node->op->name);
  lower_finish(lower, &partial, 1, (int)strips, -1);
}

void window_announce(Frame *frame, const Node *node) {
  Window w = {.node = node, .frame = frame};
  Coordinate c[MAX_RANK];
  if (op_attr_index(node->op, "stride") < 0)
    return;
  /* where an element is read a few times only, reading is all there is to do, and announcing it
   * only adds to it */
  int n;
  const int64_t *stride = node_ints(node, "stride", NULL);
  node_ints(node, "taps", &n);
  if (n / 3 < OFTEN * stride[0] * stride[1] * stride[2])
    return;
  if (op_attr_index(node->op, "divisor") >= 0)
    for (int d = 0; d < 3; d++)
      if (node_ints(node, "divisor", NULL)[d] > 1)
        return;
  tapped_coordinates(&w, c);
  prefetch_taps(frame, node, c, NULL, frame->cols);
}

void window_results(Frame *frame, const Node *node) {
  Window w = {.node = node, .frame = frame};
  if (is_phased(frame, node))
    list_phases(&w);
  else
    w.taps = taps_of(frame, node);
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
    if (strcmp(rows[i].op, node->op->name) == 0) {
      rows[i].statements(&w);
      return;
    }
  FAULT("no window lowering for op %s", node->op->name);
}

void lower_window(Lower *lower) {
  const Node *node = lower->anchor;
  if (strcmp(node->op->name, "tap_depthwise_grad_weight") == 0) {
    weight_gradient(lower);
    return;
  }
  Frame frame;
  frame_start(&frame, lower, "");
  frame_dims(&frame, &node->out[0].type);
  Tiling tiling = {.cols = choose_columns(lower->facts, frame.extent[4])};
  int vectors = (int)ceil_div(tiling.cols, lower->facts->vector);
  int rows_limit = lower->facts->threads > 1
                       ? shared_rows(&frame, tiling.cols, GPU_ROWS, GPU_LEAST_ROWS)
                       : lower->facts->registers / 4 / vectors;
  int64_t extent[4] = {frame.extent[0], frame.extent[1], frame.extent[2], frame.extent[3]};
  for (int d = 1; d < 4 && op_attr_index(node->op, "divisor") >= 0; d++) {
    tiling.apart[d] = extent[d] > 1 ? node_ints(node, "divisor", NULL)[d - 1] : 1;
    extent[d] = ceil_div(extent[d], tiling.apart[d]);
  }
  choose_box(4, extent, 0xE, rows_limit < 1 ? 1 : rows_limit, 1, tiling.box);
  RowFolds folds = row_folds_of(lower);
  tiling.inner_loop = folds.nodes.count > 0;
  place_output(&frame, &tiling);
  frame_stream_large(&frame);
  if (!folds.nodes.count) {
    window_announce(&frame, node);
    frame_announce(&frame);
    window_results(&frame, node);
    frame_store_outputs(&frame, NULL);
    frame_finish(&frame, node->op->name);
    return;
  }
  row_folds_start(&frame, &folds, true);
  Block *outside = frame.block;
  open_inner_loop(&frame, &tiling);
  window_announce(&frame, node);
  frame_announce(&frame);
  window_results(&frame, node);
  frame_store_outputs(&frame, frame_is_early);
  row_folds_add(&frame, &folds, rows_are_ragged(&frame, &tiling));
  frame.block = outside;
  int64_t strips;
  Affine number = block_number(&frame, &strips);
  row_folds_finish(&frame, &folds, NULL, number, strips);
}
