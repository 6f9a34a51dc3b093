/* Convolutions of three taps along an axis with half the products (Winograd, 1980; Lavin and Gray,
 * arXiv 1509.09308: F(4,3) in one dimension).
 *
 * Four neighbouring results of a line of three taps need six products instead of twelve, of sums of
 * the six inputs with sums of the three weights:
 *
 *   y = A^T ((G g) * (B^T x))
 *
 * where g and x are matrices and rows of channels, so that a product is one of matrices. A star of
 * taps is taken apart into lines, one along each axis, whose results add up; so are contractions
 * whose results only meet in a sum.
 *
 * A block owns tiles of positions along the last axis of space, closed under groups of four along
 * every axis that has a line. For each line it makes the transformed inputs of some groups, in its
 * own memory, multiplies them point by point, and adds the results to the tile's sums. When all
 * lines are done it goes on with the epilogue. The weights are transformed by a kernel ahead.
 *
 * The gradient by the weights is winograd_gradient.c's.
 *
 * In: contractions with taps, of f32, stride 1, for one thread. Sums are rounded otherwise than tap
 * by tap, with errors half as large again (docs/performance.md), in a fixed order as ever.
 */
#include "passes/lower/winograd.h"
#include "passes/lower/contraction.h"
#include <string.h>

enum {
  ROWS = 8, /* groups that are multiplied together; positions of a tile along the last axis */
  MAX_LINES = 9,
  LEAST_DEPTH = 16, /* channels: below, transforms cost what products save */
  WEIGHT_ROWS = 8
};
static const double least_gain = 1.3; /* products of taps for one of points */
static const double most_waste = 1.15;

/* Taps number tap[0..2] at offset - 1, offset, offset + 1 along the axis; -1: none. */
typedef struct Line {
  const Node *node;
  int axis, tap[3];
  int64_t offset[3]; /* of the middle one */
} Line;

typedef struct Winograd {
  Frame frame;
  Value *result; /* of the body: what all contractions add up to */
  VEC(const Node *) nodes;
  Line lines[MAX_LINES];
  int n_lines;
  int64_t depth; /* input channels */
  int box[3];    /* positions of a tile along the axes of space */
  int weights;   /* scratch tensor [lines, WINOGRAD_POINTS, depth, columns] */
  Affine corner[3];
  Buffer *points, *products; /* [WINOGRAD_POINTS, ROWS, depth], [WINOGRAD_POINTS, ROWS, columns] */
  Buffer *sums;              /* [box…, columns]; NULL: there is one line */
} Winograd;

/* ---- what can be done so ---- */

/* Takes the node's taps apart into lines of two or three; false where some are left over. */
static bool find_lines(Winograd *w, const Node *node) {
  int n;
  const int64_t *taps = node_ints(node, "taps", &n);
  int count = n / 3, first = w->n_lines;
  bool used[MAX_LINES * 3] = {false};
  if (count > MAX_LINES * 3)
    return false;
  for (int axis = 0; axis < 3; axis++)
    for (int t = 0; t < count; t++) {
      Line line = {.node = node, .axis = axis, .tap = {t, -1, -1}};
      memcpy(line.offset, &taps[3 * t], sizeof line.offset);
      line.offset[axis]++;
      for (int u = 0; u < count; u++) {
        int64_t along = taps[3 * u + axis] - taps[3 * t + axis];
        bool same = true;
        for (int other = 0; other < 3; other++)
          same &= other == axis || taps[3 * u + other] == taps[3 * t + other];
        if (same && !used[u] && (along == 1 || along == 2))
          line.tap[along] = u;
      }
      if (used[t] || line.tap[2] < 0)
        continue;
      if (w->n_lines == MAX_LINES)
        return false;
      for (int i = 0; i < 3; i++)
        if (line.tap[i] >= 0)
          used[line.tap[i]] = true;
      w->lines[w->n_lines++] = line;
    }
  for (int t = 0; t < count; t++)
    if (!used[t])
      return false;
  return w->n_lines > first;
}

static bool is_plain(const Node *node) {
  if (strcmp(node->op->name, "tap_conv") != 0)
    return false;
  const int64_t *stride = node_ints(node, "stride", NULL);
  const int64_t *divisor = node_ints(node, "divisor", NULL);
  bool plain = stored_dtype(node->in[0]) == DT_f32 && stored_dtype(node->in[1]) == DT_f32;
  for (int axis = 0; axis < 3 && plain; axis++)
    plain = stride[axis] == 1 && divisor[axis] == 1;
  return plain;
}

static int uses_of(const Graph *body, const Value *value) {
  int uses = 0;
  for (int n = 0; n < body->nodes.count; n++)
    for (int i = 0; i < body->nodes.at[n]->n_in; i++)
      uses += body->nodes.at[n]->in[i] == value;
  for (int i = 0; i < body->outputs.count; i++)
    uses += body->outputs.at[i].value == value;
  return uses;
}

/* The value in which the results of all contractions have been added up, and which nothing else
 * enters; NULL: there is none. */
static Value *find_sum(const Winograd *w, const Graph *body) {
  bool *parts = ARENA_ARRAY(w->frame.lower->arena, bool, body->n_values);
  int left = w->nodes.count;
  Value *last = (Value *)&w->nodes.at[0]->out[0];
  for (int i = 0; i < left; i++)
    parts[w->nodes.at[i]->out[0].id] = true;
  for (int n = 0; n < body->nodes.count && left > 1; n++) {
    Node *node = body->nodes.at[n];
    if (strcmp(node->op->name, "add") != 0 || !parts[node->in[0]->id] || !parts[node->in[1]->id] ||
        node->in[0] == node->in[1] || uses_of(body, node->in[0]) != 1 ||
        uses_of(body, node->in[1]) != 1)
      continue;
    parts[node->out[0].id] = true;
    last = &node->out[0];
    left--;
  }
  return left == 1 ? last : NULL;
}

/* Positions of a tile: four along an axis with lines; a row of eight along the last. */
static void choose_tile(Winograd *w) {
  bool has[3] = {false};
  for (int l = 0; l < w->n_lines; l++)
    has[w->lines[l].axis] = true;
  w->box[0] = has[0] ? WINOGRAD_RESULTS : 1;
  w->box[1] = has[1] ? WINOGRAD_RESULTS : 1;
  w->box[2] = has[0] || has[1] ? ROWS : ROWS * WINOGRAD_RESULTS;
}

/* Positions computed for one that is wanted. */
static double waste(const Winograd *w) {
  double waste = 1;
  for (int axis = 0; axis < 3; axis++) {
    int64_t extent = w->frame.extent[1 + axis];
    waste *= (double)(ceil_div(extent, w->box[axis]) * w->box[axis]) / (double)extent;
  }
  return waste;
}

static bool choose(Winograd *w, Lower *lower) {
  const Graph *body = lower->body;
  int taps = 0;
  if (lower->facts->threads > 1 || lower->facts->tap_by_tap)
    return false;
  for (int n = 0; n < body->nodes.count; n++) {
    const Node *node = body->nodes.at[n];
    if (node->op->cls != OP_CONTR)
      continue;
    if (!is_plain(node) || !find_lines(w, node))
      return false;
    taps += (int)node->in[1]->type.dim[0];
    w->depth = node->in[1]->type.dim[1];
    for (int i = 0; i < w->nodes.count; i++)
      if (w->nodes.at[i]->in[1]->type.dim[1] != w->depth)
        return false;
    vec_push(lower->arena, &w->nodes, node);
  }
  choose_tile(w);
  w->result = find_sum(w, body);
  return w->result && w->depth >= LEAST_DEPTH && w->depth % lower->facts->vector == 0 &&
         taps * (double)WINOGRAD_RESULTS >= least_gain * WINOGRAD_POINTS * w->n_lines &&
         waste(w) <= most_waste;
}

/* ---- the kernel of the weights ---- */

static Type weights_type(const Winograd *w) {
  return (Type){DT_f32, 4, {w->n_lines, WINOGRAD_POINTS, w->depth, w->frame.extent[4]}};
}

static Access weights_access(Winograd *w, Frame *frame, int line, int point, Affine k, int rows,
                             bool written) {
  Type type = weights_type(w);
  Access access = {.rank = 4, .buffer = frame_temp(frame, w->weights, type, written)};
  access.dim[0] = (AccessDim){.at = affine_constant(line), .divisor = 1};
  access.dim[1] = (AccessDim){.at = affine_constant(point), .divisor = 1};
  access.dim[2] = (AccessDim){.at = k, .row = {rows > 1}, .divisor = 1};
  access.dim[3] = (AccessDim){.at = frame->place[4].at, .col = 1, .divisor = 1};
  return access;
}

static void lower_weights(Winograd *w, Lower *lower) {
  Frame frame;
  frame_start(&frame, lower, "_weights");
  frame_dims(&frame, &w->nodes.at[0]->out[0].type);
  for (int d = 0; d < frame.rank; d++)
    frame.place[d] = (Place){.at = affine_constant(0)};
  frame.cols = contraction_columns(lower->facts, frame.extent[4]);
  frame.n_axes = 1;
  frame.axis[0] = WEIGHT_ROWS;
  Affine k = affine_constant(0);
  if (w->depth > WEIGHT_ROWS)
    k = affine_var(kernel_grid(frame.kernel, "k", ceil_div(w->depth, WEIGHT_ROWS)), WEIGHT_ROWS);
  int64_t columns = ceil_div(frame.extent[4], frame.cols);
  frame.place[4].col = 1;
  if (columns > 1)
    frame.place[4].at = affine_var(kernel_grid(frame.kernel, "c", columns), frame.cols);
  for (int l = 0; l < w->n_lines; l++) {
    Tile *g[3] = {0}, *u[WINOGRAD_POINTS];
    for (int t = 0; t < 3; t++) {
      if (w->lines[l].tap[t] < 0)
        continue;
      Coordinate c[MAX_RANK] = {{-1, 0, -1, 1, 1}, {-1, 1, -1, 1, 1}, {4, -1, -1, 1, 1}};
      Place at[2] = {{.at = affine_constant(w->lines[l].tap[t])}, {.at = k, .row = {1}}};
      Access access = operand_access(&frame, w->lines[l].node->in[1], c, frame.place, at, NULL);
      g[t] = frame_load(&frame, &access, DT_f32, 0);
    }
    winograd_weights(&frame, g, u);
    for (int p = 0; p < WINOGRAD_POINTS; p++) {
      Access to = weights_access(w, &frame, l, p, k, WEIGHT_ROWS, true);
      frame_store(&frame, &to, u[p]);
    }
  }
  frame.kernel->schedule =
      (Schedule){.rows = WEIGHT_ROWS, .cols = frame.cols, .unroll_k = 1, .strips = 1};
  frame_finish(&frame, "weights");
}

/* ---- groups of a line ---- */

/* Moves the frame to eight groups of the line in the block's tile: positions of their first
 * results, relative to the tile. Loops are opened over the rest of the tile. */
static void open_groups(Winograd *w, const Line *line) {
  Frame *frame = &w->frame;
  Stmt *loop;
  Place *place = &frame->place[1];
  for (int axis = 0; axis < 3; axis++)
    place[axis] = (Place){.at = affine_constant(0)};
  frame->n_axes = 0;
  int rows_along = line->axis < 2 ? 2 : w->box[1] > 1 ? 1 : 0; /* beside groups of the last axis */
  for (int axis = 0; axis < 3; axis++) {
    int step = axis == line->axis ? WINOGRAD_RESULTS : 1, count = w->box[axis] / step;
    if (count == 1)
      continue;
    if (axis == rows_along || axis == 2) {
      place[axis].row[frame->n_axes] = step;
      frame->axis[frame->n_axes++] = count;
    } else {
      place[axis].at = affine_var(frame_loop(frame, "g", 0, count, 1, &loop), step);
    }
  }
}

static Access sums_access(const Winograd *w, int axis, int result) {
  Access access = {.rank = 4, .buffer = w->sums};
  for (int d = 0; d < 3; d++) {
    access.dim[d] = (AccessDim){.at = affine_constant(d == axis ? result : 0), .divisor = 1};
    place_add(&access.dim[d], &w->frame.place[1 + d], 1);
  }
  access.dim[3] = (AccessDim){.at = affine_constant(0), .col = 1, .divisor = 1};
  return access;
}

/* The line's operand where input number i of the groups lies, in the tile at `corner`. */
static Access input_access(Winograd *w, const Line *line, int i, const Affine *corner) {
  Frame *frame = &w->frame;
  Coordinate c[MAX_RANK];
  Place place[MAX_RANK];
  for (int d = 0; d < frame->rank; d++) {
    c[d] = (Coordinate){d, -1, -1, 1, 1};
    place[d] = frame->place[d];
  }
  for (int axis = 0; axis < 3; axis++) {
    int64_t offset = line->offset[axis] + (axis == line->axis ? i - 1 : 0);
    Affine at = affine_add(place[1 + axis].at, corner[axis]);
    place[1 + axis].at = affine_offset(at, offset);
  }
  place[4] = (Place){.at = affine_constant(0), .col = 1};
  return operand_access(frame, line->node->in[0], c, place, NULL, NULL);
}

/* Point number `point` of the groups in the block's points, or products. */
static Access points_access(const Winograd *w, Buffer *points, int point) {
  Access access = {.rank = 3, .buffer = points};
  access.dim[0] = (AccessDim){.at = affine_constant(point), .divisor = 1};
  access.dim[1] = (AccessDim){.at = affine_constant(0), .divisor = 1};
  int64_t stride = 1;
  for (int j = w->frame.n_axes - 1; j >= 0; j--) {
    access.dim[1].row[j] = stride;
    stride *= w->frame.axis[j];
  }
  access.dim[2] = (AccessDim){.at = affine_constant(0), .col = 1, .divisor = 1};
  return access;
}

static void announce_at(Winograd *w, const Line *line, int i, const Affine *corner) {
  Frame *frame = &w->frame;
  Stmt *soon = stmt_add(frame->kernel, frame->block, STMT_TILE_PREFETCH);
  soon->access = input_access(w, line, i, corner);
  soon->tile =
      kernel_tile(frame->kernel, "soon", DT_f32, frame->n_axes, frame->axis, (int)w->depth);
}

/* Input number i of the next tile, which no prefetcher sees coming: there are too many rows. Behind
 * the last tile of a line comes the first one of the next. */
static void announce_input(Winograd *w, const Line *line, int i) {
  Frame *frame = &w->frame;
  Affine next[3] = {w->corner[0], w->corner[1], affine_offset(w->corner[2], w->box[2])};
  if (line->axis == 2 && w->n_lines > 1)
    return; /* lines along other axes have */
  Block *outside = frame->block;
  Stmt *choice = stmt_add(frame->kernel, outside, STMT_IF);
  Guard more = {affine_add(affine_constant(frame->extent[3] - 1), affine_scale(next[2], -1)),
                frame->extent[3], 0};
  vec_push(frame->lower->arena, &choice->guards, more);
  frame->block = &choice->body;
  announce_at(w, line, i, next);
  frame->block = &choice->other;
  next[1] = affine_offset(next[1], w->box[1]);
  next[2] = affine_constant(0);
  announce_at(w, line, i, next);
  frame->block = outside;
}

static void make_points(Winograd *w, const Line *line) {
  Frame *frame = &w->frame;
  int cols = frame->cols;
  Tile *d[WINOGRAD_POINTS], *v[WINOGRAD_POINTS];
  frame->cols = (int)w->depth;
  for (int i = 0; i < WINOGRAD_POINTS; i++) {
    Access from = input_access(w, line, i, w->corner);
    d[i] = frame_load(frame, &from, DT_f32, 0);
  }
  winograd_input(frame, d, v);
  for (int p = 0; p < WINOGRAD_POINTS; p++) {
    Access to = points_access(w, w->points, p);
    frame_store(frame, &to, v[p]);
  }
  frame->cols = cols;
}

/* Products are put away one by one: the next one's sums need the registers. */
static void multiply_points(Winograd *w, int line) {
  Frame *frame = &w->frame;
  int depth = (int)w->depth;
  for (int p = 0; p < WINOGRAD_POINTS; p++) {
    announce_input(w, &w->lines[line], p); /* a few lines at a time */
    Tile *sum = frame_fill(frame, 0, DT_f32, true, true);
    Access a = points_access(w, w->points, p);
    Access b = weights_access(w, frame, line, p, affine_constant(0), depth, false);
    Access to = points_access(w, w->products, p);
    Tile *left = frame_load_box(frame, &a, "a", frame->n_axes, frame->axis, depth)->tile;
    frame_dot(frame, sum, left, frame_load_box(frame, &b, "b", 1, &depth, frame->cols)->tile);
    frame_store(frame, &to, sum);
  }
}

static void load_products(Winograd *w, Tile **m) {
  for (int p = 0; p < WINOGRAD_POINTS; p++) {
    Access from = points_access(w, w->products, p);
    m[p] = frame_load(&w->frame, &from, DT_f32, 0);
  }
}

/* The region's results where the frame stands. */
static void compute_results(Winograd *w, RowFolds *folds, Tile *sum) {
  Frame *frame = &w->frame;
  memset(frame->tile, 0, sizeof(Tile *) * (size_t)frame->lower->body->n_values);
  frame->tile[w->result->id] = sum;
  frame_store_outputs(frame, folds->nodes.count ? frame_is_early : NULL);
  if (folds->nodes.count)
    row_folds_add(frame, folds, waste(w) > 1);
}

/* The results of the only line, four times eight positions. */
static void finish_line(Winograd *w, RowFolds *folds, Tile *const *y) {
  Place *place = &w->frame.place[1], kept[3];
  memcpy(kept, place, sizeof kept);
  for (int i = 0; i < WINOGRAD_RESULTS; i++) {
    for (int axis = 0; axis < 3; axis++) {
      place[axis].at = affine_add(kept[axis].at, w->corner[axis]);
      if (axis == w->lines[0].axis)
        place[axis].at = affine_offset(place[axis].at, i);
    }
    compute_results(w, folds, y[i]);
  }
  memcpy(place, kept, sizeof kept);
}

/* Adds the line's results to the sums; the first line's are the sums. */
static void add_to_sums(Winograd *w, int number, Tile *const *y) {
  Frame *frame = &w->frame;
  Tile *old[WINOGRAD_RESULTS];
  int axis = w->lines[number].axis;
  for (int i = 0; i < WINOGRAD_RESULTS && number > 0; i++) {
    Access from = sums_access(w, axis, i);
    old[i] = frame_load(frame, &from, DT_f32, 0);
  }
  for (int i = 0; i < WINOGRAD_RESULTS; i++) {
    Access to = sums_access(w, axis, i);
    frame_store(frame, &to, number > 0 ? frame_map(frame, K_add, old[i], y[i], NULL) : y[i]);
  }
}

static void do_line(Winograd *w, RowFolds *folds, int number) {
  Frame *frame = &w->frame;
  Block *outside = frame->block;
  Tile *m[WINOGRAD_POINTS], *y[WINOGRAD_RESULTS];
  open_groups(w, &w->lines[number]);
  make_points(w, &w->lines[number]);
  multiply_points(w, number);
  load_products(w, m);
  winograd_output(frame, m, y);
  if (w->n_lines > 1)
    add_to_sums(w, number, y);
  else
    finish_line(w, folds, y);
  frame->block = outside;
}

/* ---- the kernel ---- */

/* Rows of eight positions of the tile, one after the other. */
static void open_results(Winograd *w) {
  Frame *frame = &w->frame;
  Stmt *loop;
  frame->n_axes = 1;
  frame->axis[0] = ROWS;
  for (int axis = 0; axis < 3; axis++) {
    int step = axis == 2 ? ROWS : 1;
    Place *place = &frame->place[1 + axis];
    *place = (Place){.at = affine_constant(0), .row = {axis == 2}};
    if (w->box[axis] > step)
      place->at = affine_var(frame_loop(frame, "i", 0, w->box[axis] / step, 1, &loop), step);
  }
}

static void finish_sums(Winograd *w, RowFolds *folds) {
  Frame *frame = &w->frame;
  open_results(w);
  Access from = sums_access(w, -1, 0);
  Tile *sum = frame_load(frame, &from, DT_f32, 0);
  for (int axis = 0; axis < 3; axis++)
    frame->place[1 + axis].at = affine_add(frame->place[1 + axis].at, w->corner[axis]);
  compute_results(w, folds, sum);
}

/* Blocks: lines of tiles along the last axis; the tiles are for a loop. */
static void place_block(Winograd *w) {
  Frame *frame = &w->frame;
  int64_t batch = frame->extent[0], columns = ceil_div(frame->extent[4], frame->cols);
  frame->place[0] = (Place){.at = affine_constant(0)};
  frame->place[4] = (Place){.at = affine_constant(0), .col = 1};
  if (batch > 1)
    frame->place[0].at = affine_var(kernel_grid(frame->kernel, "n", batch), 1);
  for (int axis = 0; axis < 2; axis++) {
    int64_t tiles = ceil_div(frame->extent[1 + axis], w->box[axis]);
    w->corner[axis] = affine_constant(0);
    if (tiles > 1)
      w->corner[axis] = affine_var(kernel_grid(frame->kernel, "r", tiles), w->box[axis]);
  }
  if (columns > 1)
    frame->place[4].at = affine_var(kernel_grid(frame->kernel, "c", columns), frame->cols);
}

static void emit(Winograd *w, RowFolds *folds) {
  Frame *frame = &w->frame;
  Stmt *loop;
  place_block(w);
  frame_stream_large(frame);
  w->points =
      kernel_scratch(frame->kernel, "points", (Type){DT_f32, 3, {WINOGRAD_POINTS, ROWS, w->depth}});
  w->products = kernel_scratch(frame->kernel, "products",
                               (Type){DT_f32, 3, {WINOGRAD_POINTS, ROWS, frame->cols}});
  if (w->n_lines > 1)
    w->sums = kernel_scratch(frame->kernel, "sums",
                             (Type){DT_f32, 4, {w->box[0], w->box[1], w->box[2], frame->cols}});
  if (folds->nodes.count)
    row_folds_start(frame, folds, true);
  Block *outside = frame->block;
  w->corner[2] = affine_constant(0);
  if (frame->extent[3] > w->box[2])
    w->corner[2] = affine_var(frame_loop(frame, "v", 0, frame->extent[3], w->box[2], &loop), 1);
  for (int l = 0; l < w->n_lines; l++)
    do_line(w, folds, l);
  if (w->n_lines > 1)
    finish_sums(w, folds);
  frame->kernel->schedule =
      (Schedule){.rows = ROWS, .cols = frame->cols, .unroll_k = 4, .strips = 1};
  frame->block = outside;
}

bool lower_winograd(Lower *lower) {
  Winograd w = {.frame.lower = lower, .weights = -1};
  Frame *frame = &w.frame;
  const Type *space = &lower->anchor->out[0].type;
  if (space->rank != 5)
    return false;
  for (int d = 0; d < 5; d++)
    frame->extent[d] = space->dim[d];
  if (!choose(&w, lower))
    return false;
  Type type = weights_type(&w);
  vec_push(lower->arena, &lower->out->temps, type);
  w.weights = lower->out->temps.count - 1;
  lower_weights(&w, lower);
  frame_start(frame, lower, "");
  frame_dims(frame, space);
  frame->cols = contraction_columns(lower->facts, frame->extent[4]);
  RowFolds folds = row_folds_of(lower);
  emit(&w, &folds);
  if (!folds.nodes.count) {
    frame_finish(frame, "fewer products");
    return true;
  }
  int64_t strips;
  Affine block = block_number(frame, &strips);
  row_folds_finish(frame, &folds, NULL, block, strips);
  return true;
}
