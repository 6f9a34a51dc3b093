/* The gradient of convolution weights: dw[t,c,o] = sum over positions p of x[p*stride + tap t, c] *
 * dy[p, o].
 *
 * Much is summed into little, so blocks share out the positions: a block takes a strip of them for
 * some input channels and a few vectors of output channels, keeps dw of all its taps in its own
 * memory, which is first-level cache, and runs through the strip once, along the axis of the taps:
 * then all but one of the rows of x that a step reads have been read by the step before. Per row of
 * positions it takes up one register tile [input channels, output channels] of dw after the other;
 * both rows stay in the cache meanwhile. A second kernel adds the strips in order.
 *
 * What is summed may be computed here (passes/graph/fuse_prologue.c): the block makes a row of dy
 * in its own memory ahead of the register tiles, and stores it where others read it too.
 *
 * With one input channel or a few, a register tile would be too low to keep the machine busy; where
 * the taps lie on a line, they are its rows instead.
 */
#include "passes/lower/taps.h"
#include <string.h>

enum { STRIPS = 32, FEW_BLOCKS = 256, ROWS = 12, LOW = 4, AXES = 4, MADE = 8 };
/* LOW: input channels that make a low tile; AXES: batch and space; MADE: positions of a tile in
 * which dy is computed */

typedef struct WeightGradient {
  Lower *lower;
  const Node *node;
  Frame frame;
  const Type *dw; /* [T,C,O] */
  bool taps_are_rows;
  int rows;         /* of a register tile */
  int64_t channels; /* input channels of a block */
  Affine channel;   /* the block's first */
  int order[AXES];  /* of the axes of positions: those shared out first, the row's last */
  int strip_axes;   /* leading axes in this order that are shared out */
  int64_t strips;
  Affine strip;
  Affine at[AXES]; /* where the block stands in the positions; 0 in the last axis */
  Taps taps;
  Buffer *sums; /* [T, channels, cols] */
  Buffer *made; /* [positions of a row, cols]: dy, where this kernel computes it; else NULL */
} WeightGradient;

/* Do the taps follow each other, equally far apart, along one axis, not that of the rows? */
static bool on_a_line(const int64_t *taps, int n, int64_t *step) {
  int moving = 0;
  for (int axis = 0; axis < 3; axis++) {
    step[axis] = n > 3 ? taps[3 + axis] - taps[axis] : 0;
    moving += step[axis] != 0;
  }
  for (int t = 3; t < n; t++)
    if (taps[t] - taps[t - 3] != step[t % 3])
      return false;
  return moving == 1 && step[2] == 0; /* rows and columns of a tile lie along different axes */
}

/* Batch, then axes without taps, then those with; rows lie along the last axis in any case. */
static void choose_order(WeightGradient *w) {
  int n;
  const int64_t *taps = node_ints(w->node, "taps", &n);
  bool moves = false; /* along the first axis of space */
  for (int t = 3; t < n; t++)
    moves |= t % 3 == 0 && taps[t] != taps[0];
  int order[AXES] = {0, moves ? 2 : 1, moves ? 1 : 2, 3};
  memcpy(w->order, order, sizeof order);
}

static void choose(WeightGradient *w) {
  const Facts *facts = w->lower->facts;
  int64_t taps = w->dw->dim[0], channels = w->dw->dim[1], step[3];
  int n;
  const int64_t *offsets = node_ints(w->node, "taps", &n);
  w->frame.cols = contraction_columns(facts, w->dw->dim[2]);
  w->taps_are_rows = channels < LOW && taps <= ROWS && on_a_line(offsets, n, step);
  int across = (int)ceil_div(w->frame.cols, facts->vector);
  int fit = (facts->registers - across - 1) / across;
  int64_t extent[2] = {channels, 1};
  int box[MAX_RANK];
  choose_box(1, extent, 1, fit < ROWS ? fit : ROWS, 0.5, box);
  w->rows = w->taps_are_rows ? (int)taps : box[0];
  int64_t room = facts->l1 / 2 / (taps * w->frame.cols * (int64_t)sizeof(float));
  w->channels = w->taps_are_rows ? channels : ceil_div(channels, w->rows) * w->rows;
  if (!w->taps_are_rows && w->channels > room)
    w->channels = room / w->rows > 0 ? room / w->rows * w->rows : w->rows;
}

bool weight_gradient_makes_rows(const Facts *facts, const Node *node) {
  if (facts->threads > 1 || strcmp(node->op->name, "tap_conv_grad_weight") != 0)
    return false;
  Lower lower = {.facts = facts};
  WeightGradient w = {.lower = &lower, .node = node, .dw = &node->out[0].type};
  choose(&w);
  return w.channels >= w.dw->dim[1]; /* each row is one block's alone */
}

static void place_block(WeightGradient *w) {
  Frame *frame = &w->frame;
  const Type *dy = &w->node->in[1]->type;
  int64_t blocks = ceil_div(w->dw->dim[2], frame->cols) * ceil_div(w->dw->dim[1], w->channels);
  w->strips = 1;
  w->strip = affine_constant(0);
  while (w->strip_axes < AXES - 1 && w->strips < STRIPS && blocks * w->strips < FEW_BLOCKS) {
    int axis = w->order[w->strip_axes++];
    int64_t extent = dy->dim[axis];
    Affine at =
        extent > 1 ? affine_var(kernel_grid(frame->kernel, "k", extent), 1) : affine_constant(0);
    w->at[axis] = at;
    w->strip = affine_add(affine_scale(w->strip, extent), at);
    w->strips *= extent;
  }
  frame->place[2] = (Place){.at = affine_constant(0), .col = 1};
  if (w->dw->dim[2] > frame->cols)
    frame->place[2].at = affine_var(
        kernel_grid(frame->kernel, "c", ceil_div(w->dw->dim[2], frame->cols)), frame->cols);
  w->channel = affine_constant(0);
  if (w->dw->dim[1] > w->channels)
    w->channel = affine_var(kernel_grid(frame->kernel, "i", ceil_div(w->dw->dim[1], w->channels)),
                            w->channels);
  if (w->rows > 1) {
    frame->n_axes = 1;
    frame->axis[0] = w->rows;
  }
}

/* Opens the loops over register tiles of dw: sets the frame's places of tap and input channel. */
static void each_tile(WeightGradient *w, Affine *tap, Affine *channel) {
  Frame *frame = &w->frame;
  Stmt *loop;
  *tap = *channel = affine_constant(0);
  if (!w->taps_are_rows && w->dw->dim[0] > 1)
    *tap = affine_var(frame_loop(frame, "t", 0, w->dw->dim[0], 1, &loop), 1);
  int step = w->taps_are_rows ? 1 : w->rows;
  if (w->channels > step)
    *channel = affine_var(frame_loop(frame, "r", 0, w->channels, step, &loop), 1);
  int64_t row = w->rows > 1;
  frame->place[0] = (Place){.at = *tap, .row = {w->taps_are_rows ? row : 0}};
  frame->place[1] =
      (Place){.at = affine_add(w->channel, *channel), .row = {w->taps_are_rows ? 0 : row}};
}

/* The register tile in the block's memory. */
static Access sums_access(const WeightGradient *w, Affine tap, Affine channel) {
  Access access = {.rank = 3, .buffer = w->sums};
  int64_t row = w->rows > 1;
  access.dim[0] = (AccessDim){.at = tap, .row = {w->taps_are_rows ? row : 0}, .divisor = 1};
  access.dim[1] = (AccessDim){.at = channel, .row = {w->taps_are_rows ? 0 : row}, .divisor = 1};
  access.dim[2] = (AccessDim){.at = affine_constant(0), .col = 1, .divisor = 1};
  return access;
}

/* ---- dy computed here ---- */

static bool is_made(const Frame *frame, const Value *value) {
  return value->node != frame->lower->anchor;
}

/* The frame among the positions of dy: `count` of them along the row, from `first` on. Returns the
 * frame as it was. */
static Frame enter_positions(WeightGradient *w, Affine first, int count) {
  Frame *frame = &w->frame, before = *frame;
  frame_dims(frame, &w->node->in[1]->type);
  for (int j = 0; j < AXES; j++)
    frame->place[j] = (Place){.at = w->at[j]};
  frame->place[AXES - 1].at = first;
  frame->place[AXES - 1].row[0] = count > 1;
  frame->place[AXES] = (Place){.at = before.place[2].at, .col = 1};
  frame->n_axes = count > 1;
  frame->axis[0] = count;
  memset(frame->tile, 0, sizeof(Tile *) * (size_t)w->lower->body->n_values);
  return before;
}

static void leave_positions(WeightGradient *w, const Frame *before) {
  Frame *frame = &w->frame;
  frame_dims(frame, w->dw);
  memcpy(frame->place, before->place, sizeof frame->place);
  memcpy(frame->axis, before->axis, sizeof frame->axis);
  frame->n_axes = before->n_axes;
  frame->block = before->block;
}

static void make_row(WeightGradient *w) {
  int64_t length = w->node->in[1]->type.dim[AXES - 1];
  int count = (int)divisor_below(length, MADE);
  Frame *frame = &w->frame;
  Block *outside = frame->block;
  Affine first = affine_constant(0);
  Stmt *loop;
  if (length > count)
    first = affine_var(frame_loop(frame, "p", 0, length, count, &loop), 1);
  Frame before = enter_positions(w, first, count);
  Tile *row = frame_value(frame, w->node->in[1]);
  Access access = {.rank = 2, .buffer = w->made};
  access.dim[0] = (AccessDim){.at = first, .row = {count > 1}, .divisor = 1};
  access.dim[1] = (AccessDim){.at = affine_constant(0), .col = 1, .divisor = 1};
  frame_store(frame, &access, row);
  frame_store_outputs(frame, is_made);
  leave_positions(w, &before);
  frame->block = outside;
}

/* x and dy at one row of positions: the tiles' rows are input channels or taps, columns positions;
 * positions and output channels. */
static void operands(WeightGradient *w, Affine tap, Access *x, Access *dy) {
  Frame *frame = &w->frame;
  const int64_t *stride = node_ints(w->node, "stride", NULL);
  int n;
  const int64_t *taps = node_ints(w->node, "taps", &n);
  Affine offset[3];
  int64_t step[3] = {0};
  if (w->taps_are_rows) {
    on_a_line(taps, n, step);
    for (int axis = 0; axis < 3; axis++)
      offset[axis] = affine_constant(taps[axis]);
  } else {
    taps_lookup(frame, &w->taps, tap, offset);
  }
  bool long_row = w->node->in[1]->type.dim[AXES - 1] > 1;
  Coordinate cx[MAX_RANK], cy[MAX_RANK];
  Place kx[AXES], ky[AXES], out[3];
  for (int j = 0; j < AXES; j++) {
    int64_t s = j ? stride[j - 1] : 1;
    cx[j] = (Coordinate){-1, j, j - 1, 1, 1};
    if (j && step[j - 1])
      cx[j] = (Coordinate){0, j, j - 1, step[j - 1], 1};
    cy[j] = (Coordinate){-1, j, -1, 1, 1};
    kx[j] = (Place){.at = affine_scale(w->at[j], s), .col = j == AXES - 1 ? s : 0};
    ky[j] = (Place){.at = w->at[j], .row = {j == AXES - 1 && long_row}};
  }
  cx[4] = (Coordinate){1, -1, -1, 1, 1};
  cy[4] = (Coordinate){2, -1, -1, 1, 1};
  memcpy(out, frame->place, sizeof out);
  out[2].col = 0;
  *x = operand_access(frame, w->node->in[0], cx, out, kx, offset);
  out[2].col = 1;
  if (!w->made) {
    *dy = operand_access(frame, w->node->in[1], cy, out, ky, offset);
    return;
  }
  *dy = (Access){.rank = 2, .buffer = w->made};
  dy->dim[0] = (AccessDim){.at = affine_constant(0), .row = {long_row}, .divisor = 1};
  dy->dim[1] = (AccessDim){.at = affine_constant(0), .col = 1, .divisor = 1};
}

static Tile *load(Frame *frame, const Access *access, const char *name, int rows, int cols) {
  return frame_load_box(frame, access, name, rows > 1, &rows, cols)->tile;
}

/* Announces the rows that the next step along the last loop's axis is the first to read: a share of
 * them with every register tile, for the machine keeps track of a few at a time only. */
static void announce(WeightGradient *w, Affine tap, Affine channel) {
  Frame *frame = &w->frame;
  const int64_t *stride = node_ints(w->node, "stride", NULL);
  const Type *dy = &w->node->in[1]->type;
  int64_t length = dy->dim[AXES - 1], furthest[3], tiles = w->dw->dim[0] * w->channels;
  int n, axis = w->order[AXES - 2], share = (int)ceil_div(length, tiles), positions;
  const int64_t *taps = node_ints(w->node, "taps", &n);
  if (w->taps_are_rows || w->strip_axes == AXES - 1 ||
      stored_bytes(w->node->in[1]) <= w->lower->facts->l2)
    return;
  positions = share * w->rows;
  Affine along = affine_scale(affine_add(affine_scale(tap, w->channels), channel), share);
  for (int a = 0; a < 3; a++) {
    furthest[a] = taps[a];
    for (int t = a; t < n; t += 3)
      furthest[a] = a == axis - 1 && taps[t] > furthest[a] ? taps[t] : furthest[a];
  }
  Affine offset[3];
  Place out[3] = {[1] = {.at = w->channel, .col = 1}, [2] = {.at = frame->place[2].at, .col = 1}};
  if (w->made) {
    Frame before = enter_positions(w, along, positions);
    frame->place[axis].at = affine_offset(w->at[axis], 1);
    frame_announce(frame);
    leave_positions(w, &before);
  }
  for (int x = w->made != NULL; x < 2; x++) {
    Coordinate coordinates[MAX_RANK];
    Place places[AXES];
    for (int j = 0; j < AXES; j++) {
      int64_t s = x && j ? stride[j - 1] : 1;
      Affine at = j == AXES - 1 ? along : j == axis ? affine_offset(w->at[j], 1) : w->at[j];
      coordinates[j] = (Coordinate){-1, j, x ? j - 1 : -1, 1, 1};
      places[j] =
          (Place){.at = affine_scale(at, s), .row = {j == AXES - 1 && positions > 1 ? s : 0}};
    }
    for (int a = 0; a < 3; a++)
      offset[a] = affine_constant(a == 2 ? 0 : furthest[a]);
    coordinates[4] = (Coordinate){x ? 1 : 2, -1, -1, 1, 1};
    Stmt *s = stmt_add(frame->kernel, frame->block, STMT_TILE_PREFETCH);
    s->access = operand_access(frame, w->node->in[x ? 0 : 1], coordinates, out, places, offset);
    s->tile = kernel_tile(frame->kernel, "soon", s->access.buffer->type.dtype, positions > 1,
                          &positions, x ? (int)w->channels : frame->cols);
  }
}

/* One row of positions into every register tile. */
static void add_row(WeightGradient *w) {
  Frame *frame = &w->frame;
  Affine tap, channel;
  Access x, dy;
  int length = (int)w->node->in[1]->type.dim[AXES - 1];
  if (w->made)
    make_row(w);
  each_tile(w, &tap, &channel);
  announce(w, tap, channel);
  operands(w, tap, &x, &dy);
  Access sums = sums_access(w, tap, channel);
  Tile *sum = load(frame, &sums, "sum", w->rows, frame->cols);
  Tile *a = load(frame, &x, "a", w->rows, length), *b = load(frame, &dy, "b", length, frame->cols);
  frame_dot(frame, sum, a, b);
  frame_store(frame, &sums, sum);
}

static void store_sums(WeightGradient *w) {
  Frame *frame = &w->frame;
  Affine tap, channel;
  const Type *dw = w->dw;
  Type type = {DT_f32, 4, {w->strips, dw->dim[0], dw->dim[1], dw->dim[2]}};
  Partial partial = frame_partial(w->lower, &w->node->out[0], K_add, &type);
  Block *outside = frame->block;
  each_tile(w, &tap, &channel);
  Access from = sums_access(w, tap, channel);
  Access to = {.rank = 4, .buffer = frame_temp(frame, partial.temp, type, true)};
  to.dim[0] = (AccessDim){.at = w->strip, .divisor = 1};
  for (int d = 0; d < 3; d++) {
    const Place *place = &frame->place[d];
    to.dim[d + 1] = (AccessDim){.at = place->at, .col = place->col, .divisor = 1};
    memcpy(to.dim[d + 1].row, place->row, sizeof place->row);
  }
  frame_store(frame, &to, load(frame, &from, "sum", w->rows, frame->cols));
  frame->block = outside;
  frame_finish(frame, w->node->op->name);
  lower_finish(w->lower, &partial, 1, (int)w->strips, -1);
}

void lower_weight_gradient(Lower *lower) {
  WeightGradient w = {.lower = lower, .node = lower->anchor, .dw = &lower->anchor->out[0].type};
  Frame *frame = &w.frame;
  const Type *dy = &w.node->in[1]->type;
  Affine tap, channel;
  frame_start(frame, lower, "");
  frame_dims(frame, w.dw);
  choose(&w);
  choose_order(&w);
  place_block(&w);
  w.sums = kernel_scratch(frame->kernel, "sums",
                          (Type){DT_f32, 3, {w.dw->dim[0], w.channels, frame->cols}});
  if (frame_resolve(frame, w.node->in[1]).base->node)
    w.made =
        kernel_scratch(frame->kernel, "row", (Type){DT_f32, 2, {dy->dim[AXES - 1], frame->cols}});
  frame_stream_large(frame);
  if (!w.taps_are_rows)
    w.taps = taps_of(frame, w.node);
  Block *outside = frame->block;
  each_tile(&w, &tap, &channel);
  Access sums = sums_access(&w, tap, channel);
  frame_store(frame, &sums, frame_fill(frame, 0, DT_f32, true, true));
  frame->block = outside;
  w.at[AXES - 1] = affine_constant(0);
  for (int j = w.strip_axes; j < AXES - 1; j++) {
    Stmt *loop;
    int axis = w.order[j];
    w.at[axis] = dy->dim[axis] > 1
                     ? affine_var(frame_loop(frame, "k", 0, dy->dim[axis], 1, &loop), 1)
                     : affine_constant(0);
  }
  add_row(&w);
  frame->block = outside;
  frame->kernel->schedule =
      (Schedule){.rows = w.rows, .cols = frame->cols, .unroll_k = 4, .strips = (int)w.strips};
  store_sums(&w);
}
