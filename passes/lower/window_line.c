/* Maxima over boxes of taps, line by line.
 *
 * A maximum over a box is one over the box's lines of what is the maximum across them. A block that
 * owns a whole line of positions therefore runs through the lines of the operand that the box
 * reaches first, side by side from their beginnings to their ends, and keeps their maximum in its
 * own memory; tiles of positions then read a few neighbours from there. What this wins is not
 * operations but the order of reading: a handful of streams from one end to the other, which the
 * hardware reads ahead, where tiles jump from line to line.
 *
 * Which tap was the largest is kept too where somebody asks. Of equal ones the first tap counts,
 * whatever the order in which taps are listed.
 */
#include "passes/lower/window.h"
#include <math.h>
#include <string.h>

enum {
  POSITIONS = 4,
  AXIS = 3,
  LEAST_LINES = 2,
  MAX_TAPS = 128
}; /* AXIS: dimension of a line's positions */

/* Taps as a product of lines, which start at offsets along the first two axes, and of offsets along
 * them. Tap numbers are base[line] + step * (place of the offset): so one number tells a line. */
typedef struct Box {
  int lines, inner;
  int64_t start[2][MAX_TAPS], base[MAX_TAPS]; /* by line, in the order of their bases */
  int64_t along[MAX_TAPS], step;              /* ascending */
} Box;

static int tap_at(const int64_t *taps, int count, int64_t plane, int64_t row, int64_t along) {
  for (int t = 0; t < count; t++)
    if (taps[3 * t] == plane && taps[3 * t + 1] == row && taps[3 * t + 2] == along)
      return t;
  return -1;
}

/* The offsets along the line of the first tap, in ascending order. */
static void list_along(Box *box, const int64_t *taps, int count) {
  for (int t = 0; t < count; t++) {
    if (taps[3 * t] != taps[0] || taps[3 * t + 1] != taps[1])
      continue;
    int at = box->inner++;
    for (; at > 0 && box->along[at - 1] > taps[3 * t + 2]; at--)
      box->along[at] = box->along[at - 1];
    box->along[at] = taps[3 * t + 2];
  }
}

static bool find_box(const Node *node, Box *box) {
  int n;
  const int64_t *taps = node_ints(node, "taps", &n);
  int count = n / 3;
  *box = (Box){0};
  if (count < 2 || count > MAX_TAPS)
    return false;
  list_along(box, taps, count);
  for (int t = 0; t < count; t++) { /* a line for each tap at the first offset */
    if (taps[3 * t + 2] != box->along[0])
      continue;
    box->start[0][box->lines] = taps[3 * t];
    box->start[1][box->lines] = taps[3 * t + 1];
    box->base[box->lines++] = t;
  }
  if (box->lines < LEAST_LINES || box->inner < 2 || box->lines * box->inner != count)
    return false;
  box->step = tap_at(taps, count, box->start[0][0], box->start[1][0], box->along[1]) - box->base[0];
  for (int l = 0; l < box->lines; l++)
    for (int i = 0; i < box->inner; i++)
      if (tap_at(taps, count, box->start[0][l], box->start[1][l], box->along[i]) !=
          box->base[l] + i * box->step)
        return false;
  return true;
}

static bool somebody_reads(const Graph *body, const Value *value) {
  for (int n = 0; n < body->nodes.count; n++)
    for (int i = 0; i < body->nodes.at[n]->n_in; i++)
      if (body->nodes.at[n]->in[i] == value)
        return true;
  for (int i = 0; i < body->outputs.count; i++)
    if (body->outputs.at[i].value == value)
      return true;
  return false;
}

bool window_line_pays(const Frame *frame, const Node *node, const Tiling *tiling) {
  const Facts *facts = frame->lower->facts;
  const Type *x = &node->in[0]->type;
  Box box;
  bool along_line = tiling->box[0] * tiling->box[1] * tiling->box[2] == 1;
  return facts->threads == 1 && strcmp(node->op->name, "tap_max") == 0 && find_box(node, &box) &&
         along_line && x->dim[4] % contraction_columns(facts, x->dim[4]) == 0 &&
         stored_bytes(node->in[0]) > facts->l2 &&
         x->dim[AXIS] * x->dim[4] * (int64_t)sizeof(float) <= facts->l2 / 8;
}

/* ---- the block's memory ---- */

static Access line_access(Buffer *buffer, Affine position, int64_t row, Affine column) {
  Access access = {.buffer = buffer, .rank = 2};
  access.dim[0] = (AccessDim){.at = position, .row = {row}, .divisor = 1};
  access.dim[1] = (AccessDim){.at = column, .col = 1, .divisor = 1};
  return access;
}

static void make_line(WindowLine *line, Frame *frame, const Box *box, int rows) {
  const Node *node = line->node;
  int64_t stride = node_ints(node, "stride", NULL)[2], low = box->along[0];
  int64_t high = box->along[box->inner - 1], width = node->in[0]->type.dim[4];
  int64_t tiles = ceil_div(frame->extent[AXIS], rows);
  line->left = low < 0 ? -low : 0;
  line->read = ceil_div(node->in[0]->type.dim[AXIS], POSITIONS) * POSITIONS;
  int64_t reach = stride * (tiles * rows - 1) + high + 1;
  line->size = line->left + (reach > line->read ? reach : line->read);
  Type type = {DT_f32, 2, {line->size, width}};
  line->most = kernel_scratch(frame->kernel, "line", type);
  if (somebody_reads(frame->lower->body, &node->out[1])) {
    type.dtype = DT_u8;
    line->which = kernel_scratch(frame->kernel, "which", type);
  }
}

static Tile *map(Frame *frame, Kop kop, Tile *to, Tile *a, Tile *b, Tile *c) {
  return stmt_map(frame->kernel, frame->block, to, kop, a, b, c)->tile;
}

static Tile *tile(Frame *frame, Dtype dtype) { return frame_tile(frame, dtype, true, true); }

/* Opens the loop over the channels' vectors. */
static void open_columns(Frame *frame) {
  Stmt *loop;
  int64_t width = frame->extent[4];
  frame->place[4] = (Place){.at = affine_constant(0), .col = 1};
  if (width > frame->cols)
    frame->place[4].at = affine_var(frame_loop(frame, "j", 0, width, frame->cols, &loop), 1);
}

static void store_line(const WindowLine *line, Frame *frame, Affine at, Tile *most, Tile *which) {
  Affine column = frame->place[4].at;
  Access access = line_access(line->most, at, frame->n_axes, column);
  frame_store(frame, &access, most);
  if (!line->which)
    return;
  access = line_access(line->which, at, frame->n_axes, column);
  frame_store(frame, &access, map(frame, K_cast, tile(frame, DT_u8), which, NULL, NULL));
}

/* Positions [from, to) of the line lie outside the operand. */
static void fill_outside(const WindowLine *line, Frame *frame, int64_t from, int64_t to) {
  Stmt *loop;
  Block *outside = frame->block;
  if (from >= to)
    return;
  frame->n_axes = 0;
  Affine at = affine_var(frame_loop(frame, "o", from, to, 1, &loop), 1);
  open_columns(frame);
  store_line(line, frame, at, frame_fill(frame, -INFINITY, DT_f32, false, true),
             line->which ? frame_fill(frame, 0, DT_f32, false, true) : NULL);
  frame->block = outside;
}

/* ---- across the lines ---- */

/* The operand at positions of the line number `tap`, which is a known number or a loop's. */
static Tile *load_line(const WindowLine *line, Frame *frame, const Affine *offset) {
  const int64_t *stride = node_ints(line->node, "stride", NULL);
  Coordinate c[MAX_RANK] = {{0, -1, -1, 1, 1},
                            {1, -1, 0, stride[0], 1},
                            {2, -1, 1, stride[1], 1},
                            {AXIS, -1, -1, 1, 1},
                            {4, -1, -1, 1, 1}};
  Access access = operand_access(frame, line->node->in[0], c, frame->place, NULL, offset);
  return frame_load(frame, &access, line->node->in[0]->type.dtype, -INFINITY);
}

/* Takes x in where it is larger, or as large and of a smaller number (`ties`). */
static void take(Frame *frame, Tile *most, Tile *which, Tile *x, Tile *number, bool ties) {
  if (!which) {
    map(frame, K_max, most, x, most, NULL);
    return;
  }
  Tile *larger = map(frame, K_lt, tile(frame, DT_f32), most, x, NULL);
  if (ties) {
    Tile *equal = map(frame, K_eq, tile(frame, DT_f32), most, x, NULL);
    Tile *before = map(frame, K_lt, tile(frame, DT_f32), number, which, NULL);
    larger = map(frame, K_max, tile(frame, DT_f32), larger,
                 map(frame, K_mul, tile(frame, DT_f32), equal, before, NULL), NULL);
  }
  map(frame, K_select, which, larger, number, which);
  map(frame, K_select, most, larger, x, most);
}

static Tile *number_of(Frame *frame, Affine at) {
  Stmt *s = stmt_add(frame->kernel, frame->block, STMT_TILE_INDEX);
  s->at = at;
  return s->tile = frame_tile(frame, DT_f32, false, false);
}

/* The maximum across the lines at the frame's positions and columns, and which line has it. */
static void fold_lines(const WindowLine *line, Frame *frame) {
  Tile *most = frame_fill(frame, -INFINITY, DT_f32, true, true);
  Tile *which = line->which ? frame_fill(frame, 0, DT_f32, true, true) : NULL;
  Block *outside = frame->block;
  Affine offset[3];
  Stmt *loop;
  Affine number = affine_var(frame_loop(frame, "l", 0, line->lines.count, 1, &loop), 1);
  loop->unroll = -1;
  taps_lookup(frame, &line->lines, number, offset);
  Tile *x = load_line(line, frame, offset);
  take(frame, most, which, x, which ? number_of(frame, offset[2]) : NULL, false);
  frame->block = outside;
  store_line(line, frame, affine_offset(frame->place[AXIS].at, line->left), most, which);
}

/* Lines as taps: their offsets, and as the third axis their numbers. */
static Taps lines_of(const Box *box, Frame *frame) {
  Taps lines = {.count = box->lines};
  lines.table[0] = kernel_table(frame->kernel, "line0", box->lines, box->start[0]);
  lines.table[1] = kernel_table(frame->kernel, "line1", box->lines, box->start[1]);
  lines.table[2] = kernel_table(frame->kernel, "number", box->lines, box->base);
  return lines;
}

void window_line_start(Frame *frame, const Node *node, const Tiling *tiling) {
  WindowLine *line = ARENA_NEW(frame->lower->arena, WindowLine);
  Box box;
  CHECK(find_box(node, &box));
  line->node = node;
  line->inner = box.inner;
  line->step = box.step;
  line->along = arena_copy(frame->lower->arena, box.along, sizeof *box.along * (size_t)box.inner);
  make_line(line, frame, &box, tiling->box[AXIS]);
  line->lines = lines_of(&box, frame);
  const Frame before = *frame; /* of it, where the frame stands */
  Stmt *loop;
  frame->extent[4] = node->in[0]->type.dim[4];
  frame->cols = contraction_columns(frame->lower->facts, frame->extent[4]);
  fill_outside(line, frame, 0, line->left);
  fill_outside(line, frame, line->left + line->read, line->size);
  frame->n_axes = 1;
  frame->axis[0] = POSITIONS;
  Affine at = affine_var(frame_loop(frame, "w", 0, line->read, POSITIONS, &loop), 1);
  frame->place[AXIS] = (Place){.at = at, .row = {1}};
  open_columns(frame);
  fold_lines(line, frame);
  frame->extent[4] = before.extent[4];
  frame->cols = before.cols;
  frame->n_axes = before.n_axes;
  frame->axis[0] = before.axis[0];
  frame->block = before.block;
  memcpy(frame->place, before.place, sizeof before.place);
  frame->line = line;
}

/* ---- along the line ---- */

void window_line_results(Frame *frame) {
  const WindowLine *line = frame->line;
  int64_t stride = node_ints(line->node, "stride", NULL)[2];
  Tile *most = frame_fill(frame, -INFINITY, DT_f32, true, true);
  Tile *which = line->which ? frame_fill(frame, 0, DT_f32, true, true) : NULL;
  for (int t = 0; t < line->inner; t++) {
    Affine at = affine_scale(frame->place[AXIS].at, stride);
    at = affine_offset(at, line->left + line->along[t]);
    Access access = line_access(line->most, at, frame->n_axes ? stride : 0, frame->place[4].at);
    Tile *x = frame_load(frame, &access, DT_f32, 0), *number = NULL;
    if (which) {
      access.buffer = line->which;
      Tile *from =
          map(frame, K_cast, tile(frame, DT_f32), frame_load(frame, &access, DT_u8, 0), NULL, NULL);
      number = map(frame, K_add, tile(frame, DT_f32), from,
                   frame_fill(frame, (double)(t * line->step), DT_f32, false, false), NULL);
    }
    take(frame, most, which, x, number, t > 0);
  }
  frame->tile[line->node->out[0].id] = most;
  if (which)
    frame->tile[line->node->out[1].id] = map(frame, K_cast, tile(frame, DT_u8), which, NULL, NULL);
}
