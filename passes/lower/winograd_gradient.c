/* The gradient of convolution weights of three taps along an axis with half the products
 * (winograd.c, winograd.h): sums over groups of four positions are taken at six points,
 *
 *   dg = G^T sum over groups of (A dy) * (B^T x)
 *
 * where * is, point by point, the product of a column of input channels with a row of output
 * channels, and turned into the taps' gradients when all is summed.
 *
 * A block takes a strip of positions and keeps the sums of all points in its own memory. In a step
 * it transforms x and dy of some groups into its memory, computing dy there where the region does
 * (fuse_prologue.c) and storing it if others read it, and takes up one register tile of sums after
 * the other, as weight_gradient.c does with taps. A second kernel adds the strips in order.
 *
 * In: f32, stride 1, positions that are whole groups, all input channels in one block.
 */
#include "passes/lower/taps.h"
#include "passes/lower/winograd.h"
#include <string.h>

enum {
  AXES = 4,
  STRIPS = 32,
  FEW_BLOCKS = 256,
  ROWS = 12,
  GROUPS = 64,
  MADE = 8,
  LEAST_DEPTH = 16
};
/* AXES: batch and space; GROUPS: of a step at most; MADE: groups that are transformed at a time */

typedef struct WinogradGradient {
  Lower *lower;
  const Node *node;
  Frame frame;
  const Type *dw, *dy; /* [3,C,O], [batch, space, O] */
  int axis;            /* of positions, the taps' */
  int tap[3];          /* numbers of the taps at offset - 1, offset, offset + 1 */
  int64_t offset[3];   /* of the middle one */
  int rows;            /* of a register tile: input channels */
  int64_t channels;    /* in whole register tiles */
  int64_t step[AXES];  /* positions of a step */
  int64_t groups;      /* of a step */
  int order[AXES];
  int64_t strips;
  Affine strip, at[AXES]; /* where the step stands */
  int inner;              /* the axis of the last loop over steps; -1: none */
  Buffer *x, *y, *sums;   /* [POINTS, groups, channels], [POINTS, groups, cols], [POINTS, channels,
                             cols] */
} WinogradGradient;

/* ---- what can be done so ---- */

static bool find_line(WinogradGradient *w) {
  int n;
  const int64_t *taps = node_ints(w->node, "taps", &n);
  if (n != 9)
    return false;
  for (int axis = 0; axis < 3; axis++) {
    int64_t low = taps[axis];
    for (int t = 1; t < 3; t++)
      low = taps[3 * t + axis] < low ? taps[3 * t + axis] : low;
    int found = 0;
    for (int t = 0; t < 3; t++) {
      int64_t along = taps[3 * t + axis] - low;
      bool line = along <= 2;
      for (int other = 0; other < 3; other++)
        line &= other == axis || taps[3 * t + other] == taps[other];
      if (line && !(found >> along & 1)) {
        w->tap[along] = t;
        found |= 1 << along;
      }
    }
    if (found != 7)
      continue;
    memcpy(w->offset, taps, sizeof w->offset);
    w->offset[axis] = low + 1;
    w->axis = 1 + axis;
    return true;
  }
  return false;
}

/* A step: four rows beside each other along the taps' axis, as long as the groups are few enough;
 * or four rows along another whose groups lie along them. */
static bool choose_step(WinogradGradient *w) {
  const int64_t *extent = w->dy->dim;
  int last = AXES - 1, beside = w->axis == last ? last - 1 : w->axis;
  for (int a = 0; a < AXES; a++)
    w->step[a] = 1;
  w->step[beside] = WINOGRAD_RESULTS;
  w->step[last] = divisor_below(extent[last], GROUPS);
  w->groups = w->step[last];
  return extent[beside] % WINOGRAD_RESULTS == 0 && w->groups % (2 * MADE) == 0 &&
         (w->axis != last || w->step[last] % (WINOGRAD_RESULTS * MADE) == 0);
}

static bool choose(WinogradGradient *w) {
  const Facts *facts = w->lower->facts;
  int64_t channels = w->dw->dim[1];
  int box[MAX_RANK];
  if (facts->threads > 1 || facts->tap_by_tap ||
      strcmp(w->node->op->name, "tap_conv_grad_weight") != 0 ||
      stored_dtype(w->node->in[0]) != DT_f32 || stored_dtype(w->node->in[1]) != DT_f32)
    return false;
  for (int a = 0; a < 3; a++)
    if (node_ints(w->node, "stride", NULL)[a] != 1)
      return false;
  w->frame.cols = contraction_columns(facts, w->dw->dim[2]);
  int across = (int)ceil_div(w->frame.cols, facts->vector);
  int fit = (facts->registers - across - 1) / across;
  choose_box(1, (int64_t[]){channels, 1}, 1, fit < ROWS ? fit : ROWS, 0.5, box);
  w->rows = box[0];
  w->channels = ceil_div(channels, w->rows) * w->rows;
  return channels >= LEAST_DEPTH && channels % facts->vector == 0 && channels == w->channels &&
         w->dw->dim[2] % w->frame.cols == 0 &&
         WINOGRAD_POINTS * w->channels * w->frame.cols * (int64_t)sizeof(float) <= facts->l2 &&
         find_line(w) && choose_step(w);
}

/* ---- positions ---- */

static void choose_order(WinogradGradient *w) {
  int order[AXES] = {0, 1, 2, 3}; /* the taps' axis late: steps share inputs along it */
  if (w->axis == 1)
    order[1] = 2, order[2] = 1;
  memcpy(w->order, order, sizeof order);
}

static void place_block(WinogradGradient *w) {
  Frame *frame = &w->frame;
  int64_t blocks = ceil_div(w->dw->dim[2], frame->cols);
  int shared = 0;
  w->strips = 1;
  w->strip = affine_constant(0);
  while (shared < AXES - 2 && w->strips < STRIPS && blocks * w->strips < FEW_BLOCKS) {
    int axis = w->order[shared++];
    int64_t steps = w->dy->dim[axis] / w->step[axis];
    w->at[axis] = affine_constant(0);
    if (steps == 1)
      continue;
    Affine at = affine_var(kernel_grid(frame->kernel, "k", steps), 1);
    w->at[axis] = affine_scale(at, w->step[axis]);
    w->strip = affine_add(affine_scale(w->strip, steps), at);
    w->strips *= steps;
  }
  frame->place[2] = (Place){.at = affine_constant(0), .col = 1};
  if (blocks > 1)
    frame->place[2].at = affine_var(kernel_grid(frame->kernel, "c", blocks), frame->cols);
  w->inner = -1;
  for (int j = shared; j < AXES; j++)
    w->order[j - shared] = w->order[j];
  for (int j = AXES - shared; j < AXES; j++)
    w->order[j] = -1;
}

/* Opens the loops over the steps of a strip. */
static void open_steps(WinogradGradient *w) {
  Frame *frame = &w->frame;
  for (int j = 0; j < AXES && w->order[j] >= 0; j++) {
    Stmt *loop;
    int axis = w->order[j];
    w->at[axis] = affine_constant(0);
    if (w->dy->dim[axis] == w->step[axis])
      continue;
    w->at[axis] = affine_var(frame_loop(frame, "k", 0, w->dy->dim[axis], w->step[axis], &loop), 1);
    w->inner = axis;
  }
}

/* The frame among positions: those numbered `number` of `count` groups from group `first` of the
 * step on, and further along by `ahead` of the last loop. Returns the frame as it was. */
static Frame enter_groups(WinogradGradient *w, Affine first, int count, int number, bool ahead) {
  Frame *frame = &w->frame, before = *frame;
  int last = AXES - 1, along = w->axis == last ? WINOGRAD_RESULTS : 1;
  frame_dims(frame, w->dy);
  for (int j = 0; j < AXES; j++)
    frame->place[j] = (Place){.at = w->at[j]};
  if (ahead && w->inner >= 0)
    frame->place[w->inner].at = affine_offset(w->at[w->inner], w->step[w->inner]);
  frame->place[last].at = affine_add(frame->place[last].at, affine_scale(first, along));
  frame->place[w->axis].at = affine_offset(frame->place[w->axis].at, number);
  frame->place[last].row[0] = count > 1 ? along : 0;
  frame->place[AXES] = (Place){.at = before.place[2].at, .col = 1};
  frame->n_axes = count > 1;
  frame->axis[0] = count;
  memset(frame->tile, 0, sizeof(Tile *) * (size_t)w->lower->body->n_values);
  return before;
}

static void leave_groups(WinogradGradient *w, const Frame *before) {
  Frame *frame = &w->frame;
  frame_dims(frame, w->dw);
  memcpy(frame->place, before->place, sizeof frame->place);
  memcpy(frame->axis, before->axis, sizeof frame->axis);
  frame->n_axes = before->n_axes;
  frame->cols = before->cols;
  frame->block = before->block;
}

/* Groups of the last axis lie in rows: where a row's groups are in the block's memory. */
static Access points_access(Buffer *points, int point, Affine group, int count) {
  Access access = {.buffer = points, .rank = 3};
  access.dim[0] = (AccessDim){.at = affine_constant(point), .divisor = 1};
  access.dim[1] = (AccessDim){.at = group, .row = {count > 1}, .divisor = 1};
  access.dim[2] = (AccessDim){.at = affine_constant(0), .col = 1, .divisor = 1};
  return access;
}

/* ---- a step ---- */

static bool is_made(const Frame *frame, const Value *value) {
  return value->node != frame->lower->anchor;
}

static void put_points(WinogradGradient *w, Buffer *points, Affine group, Tile *const *tile) {
  for (int p = 0; p < WINOGRAD_POINTS; p++) {
    Access to = points_access(points, p, group, MADE);
    frame_store(&w->frame, &to, tile[p]);
  }
}

/* A dy for some groups; dy is computed, and stored where others read it. */
static void transform_dy(WinogradGradient *w, Affine first, Affine group) {
  Frame *frame = &w->frame;
  Tile *dy[WINOGRAD_RESULTS], *y[WINOGRAD_POINTS];
  bool made = frame_resolve(frame, w->node->in[1]).base->node != NULL;
  for (int i = 0; i < WINOGRAD_RESULTS; i++) {
    Frame before = enter_groups(w, first, MADE, i, false);
    dy[i] = frame_whole(frame, frame_value(frame, w->node->in[1]));
    if (made)
      frame_store_outputs(frame, is_made);
    leave_groups(w, &before);
  }
  Frame before = enter_groups(w, first, MADE, 0, false);
  winograd_gradient(frame, dy, y);
  put_points(w, w->y, group, y);
  leave_groups(w, &before);
}

/* Input number i of some groups, of all input channels. */
static Access input_access(WinogradGradient *w, int i) {
  Frame *frame = &w->frame;
  Coordinate c[MAX_RANK];
  Place place[MAX_RANK];
  for (int d = 0; d <= AXES; d++) {
    c[d] = (Coordinate){d, -1, -1, 1, 1};
    place[d] = frame->place[d];
  }
  for (int a = 0; a < 3; a++)
    place[1 + a].at = affine_offset(place[1 + a].at, w->offset[a] + (1 + a == w->axis ? i - 1 : 0));
  place[AXES] = (Place){.at = affine_constant(0), .col = 1};
  return operand_access(frame, w->node->in[0], c, place, NULL, NULL);
}

/* B^T x for some groups. */
static void transform_x(WinogradGradient *w, Affine first, Affine group) {
  Frame *frame = &w->frame;
  Tile *d[WINOGRAD_POINTS], *v[WINOGRAD_POINTS];
  Frame before = enter_groups(w, first, MADE, 0, false);
  frame->cols = (int)w->dw->dim[1];
  for (int i = 0; i < WINOGRAD_POINTS; i++) {
    Access from = input_access(w, i);
    d[i] = frame_load(frame, &from, DT_f32, 0);
  }
  winograd_input(frame, d, v);
  put_points(w, w->x, group, v);
  leave_groups(w, &before);
}

/* Both operands' points of all groups of the step. */
static void transform(WinogradGradient *w) {
  Frame *frame = &w->frame;
  Block *outside = frame->block;
  Stmt *loop;
  Affine rows_at = w->at[2], group = affine_constant(0);
  int64_t in_row = w->groups;
  if (w->axis == AXES - 1) { /* four rows along the axis before */
    in_row = w->groups / WINOGRAD_RESULTS;
    Affine row = affine_var(frame_loop(frame, "r", 0, WINOGRAD_RESULTS, 1, &loop), 1);
    w->at[2] = affine_add(rows_at, row);
    group = affine_scale(row, in_row);
  }
  Affine first = affine_constant(0);
  if (in_row > MADE)
    first = affine_var(frame_loop(frame, "g", 0, in_row, MADE, &loop), 1);
  group = affine_add(group, first);
  transform_dy(w, first, group);
  transform_x(w, first, group);
  frame->block = outside;
  w->at[2] = rows_at;
}

/* The register tile of a point and of input channels in the block's memory. */
static Access sums_access(const WinogradGradient *w, Affine point, Affine channel) {
  Access access = {.rank = 3, .buffer = w->sums};
  access.dim[0] = (AccessDim){.at = point, .divisor = 1};
  access.dim[1] = (AccessDim){.at = channel, .row = {w->rows > 1}, .divisor = 1};
  access.dim[2] = (AccessDim){.at = affine_constant(0), .col = 1, .divisor = 1};
  return access;
}

/* What the next step reads: of four rows beside each other, as many positions as fall to one
 * register tile of so many. */
static void announce(WinogradGradient *w, Affine tile, int64_t tiles) {
  Frame *frame = &w->frame;
  int positions = (int)ceil_div(w->step[AXES - 1], tiles), beside = w->axis, last = AXES - 1;
  if (w->inner < 0 || stored_bytes(w->node->in[0]) <= w->lower->facts->l2)
    return;
  beside = beside == last ? last - 1 : beside;
  for (int i = 0; i < WINOGRAD_RESULTS; i++) {
    Frame before = enter_groups(w, affine_constant(0), positions, 0, true);
    Place *along = &frame->place[last];
    along->at = affine_add(w->at[last], affine_scale(tile, positions));
    along->row[0] = positions > 1;
    frame->place[beside].at = affine_offset(frame->place[beside].at, i);
    frame_announce(frame);
    frame->cols = (int)w->dw->dim[1];
    Stmt *soon = stmt_add(frame->kernel, frame->block, STMT_TILE_PREFETCH);
    soon->access = input_access(w, w->axis == last ? 1 : 2); /* the furthest, or in place */
    soon->tile =
        kernel_tile(frame->kernel, "soon", DT_f32, frame->n_axes, frame->axis, frame->cols);
    leave_groups(w, &before);
  }
}

/* Adds the products of all groups of the step to the sums. */
static void add_products(WinogradGradient *w) {
  Frame *frame = &w->frame;
  Block *outside = frame->block;
  Stmt *loop;
  int groups = (int)w->groups;
  Affine point = affine_var(frame_loop(frame, "p", 0, WINOGRAD_POINTS, 1, &loop), 1);
  Affine channel = affine_constant(0), number = point;
  int64_t tiles = w->channels / w->rows;
  if (tiles > 1) {
    Affine tile = affine_var(frame_loop(frame, "t", 0, tiles, 1, &loop), 1);
    channel = affine_scale(tile, w->rows);
    number = affine_add(affine_scale(point, tiles), tile);
  }
  announce(w, number, WINOGRAD_POINTS * tiles);
  Access sums = sums_access(w, point, channel), a = {.buffer = w->x, .rank = 3};
  Access b = points_access(w->y, 0, affine_constant(0), groups);
  a.dim[0] = b.dim[0] = (AccessDim){.at = point, .divisor = 1};
  a.dim[1] = (AccessDim){.at = affine_constant(0), .col = 1, .divisor = 1};
  a.dim[2] = (AccessDim){.at = channel, .row = {w->rows > 1}, .divisor = 1};
  bool tall = w->rows > 1;
  Tile *sum = frame_load_box(frame, &sums, "sum", tall, &w->rows, frame->cols)->tile;
  Tile *left = frame_load_box(frame, &a, "a", tall, &w->rows, groups)->tile;
  frame_dot(frame, sum, left, frame_load_box(frame, &b, "b", 1, &groups, frame->cols)->tile);
  frame_store(frame, &sums, sum);
  frame->block = outside;
}

/* ---- the sums ---- */

static Affine open_tiles(WinogradGradient *w) {
  Stmt *loop;
  Frame *frame = &w->frame;
  frame->n_axes = w->rows > 1;
  frame->axis[0] = w->rows;
  if (w->channels == w->rows)
    return affine_constant(0);
  return affine_var(frame_loop(frame, "t", 0, w->channels, w->rows, &loop), 1);
}

static void clear_sums(WinogradGradient *w) {
  Frame *frame = &w->frame;
  Block *outside = frame->block;
  Stmt *loop;
  Affine point = affine_var(frame_loop(frame, "p", 0, WINOGRAD_POINTS, 1, &loop), 1);
  Access access = sums_access(w, point, open_tiles(w));
  frame_store(frame, &access, frame_fill(frame, 0, DT_f32, true, true));
  frame->block = outside;
}

/* G^T of the sums, as this strip's part of the result. */
static void store_sums(WinogradGradient *w) {
  Frame *frame = &w->frame;
  const Type *dw = w->dw;
  Type type = {DT_f32, 4, {w->strips, dw->dim[0], dw->dim[1], dw->dim[2]}};
  Partial partial = frame_partial(w->lower, &w->node->out[0], K_add, &type);
  Block *outside = frame->block;
  Tile *m[WINOGRAD_POINTS], *g[3];
  Affine channel = open_tiles(w);
  for (int p = 0; p < WINOGRAD_POINTS; p++) {
    Access from = sums_access(w, affine_constant(p), channel);
    m[p] = frame_load(frame, &from, DT_f32, 0);
  }
  winograd_weights_gradient(frame, m, g);
  for (int t = 0; t < 3; t++) {
    Access to = {.rank = 4, .buffer = frame_temp(frame, partial.temp, type, true)};
    to.dim[0] = (AccessDim){.at = w->strip, .divisor = 1};
    to.dim[1] = (AccessDim){.at = affine_constant(w->tap[t]), .divisor = 1};
    to.dim[2] = (AccessDim){.at = channel, .row = {w->rows > 1}, .divisor = 1};
    to.dim[3] = (AccessDim){.at = frame->place[2].at, .col = 1, .divisor = 1};
    frame_store(frame, &to, g[t]);
  }
  frame->block = outside;
  frame_finish(frame, "fewer products");
  lower_finish(w->lower, &partial, 1, (int)w->strips, -1);
}

bool lower_winograd_gradient(Lower *lower) {
  WinogradGradient w = {.lower = lower,
                        .node = lower->anchor,
                        .dw = &lower->anchor->out[0].type,
                        .dy = &lower->anchor->in[1]->type,
                        .frame.lower = lower};
  Frame *frame = &w.frame;
  if (!choose(&w))
    return false;
  int cols = frame->cols;
  frame_start(frame, lower, "");
  frame_dims(frame, w.dw);
  frame->cols = cols;
  choose_order(&w);
  place_block(&w);
  w.x = kernel_scratch(frame->kernel, "x",
                       (Type){DT_f32, 3, {WINOGRAD_POINTS, w.groups, w.channels}});
  w.y = kernel_scratch(frame->kernel, "y", (Type){DT_f32, 3, {WINOGRAD_POINTS, w.groups, cols}});
  w.sums =
      kernel_scratch(frame->kernel, "sums", (Type){DT_f32, 3, {WINOGRAD_POINTS, w.channels, cols}});
  frame_stream_large(frame);
  clear_sums(&w);
  Block *outside = frame->block;
  open_steps(&w);
  transform(&w);
  add_products(&w);
  frame->block = outside;
  frame->kernel->schedule =
      (Schedule){.rows = w.rows, .cols = cols, .unroll_k = 4, .strips = (int)w.strips};
  store_sums(&w);
  return true;
}
