/* The contraction template: acc[rows, columns] += A[rows, k] . B[k, columns] on a register tile.
 *
 * Every contraction is described by how the coordinates of its two operands follow from output
 * dimensions, k axes and taps; the last k axis is the one inside `dot`, the others are loops. A is
 * read element by element and spread over the vector of columns, so any strides do; B is read along
 * its columns. When there are few output blocks and much to sum (weight gradients), the outermost k
 * axes become a grid of strips whose partial results are added in order by a second kernel.
 */
#include "passes/lower/contraction.h"
#include "passes/lower/halo.h"
#include <string.h>

enum {
  SHORT_TERM = 2,        /* input channels */
  MAX_WRITTEN_OUT = 160, /* taps */
  FEW_BLOCKS = 256,
  STRIPS = 32,
  GPU_K_BYTES = 64,
  TILE_STEPS = 50,
  WASTE = 32
};
/* WASTE: one tile in so many may lie past the end. TILE_STEPS: what starting and storing a register
 * tile costs, in steps of its inner loop */

int contraction_columns(const Facts *facts, int64_t width) {
  if (facts->threads > 1)
    return shared_columns(width);
  int across = width > facts->vector ? 2 : 1;
  return width < across * facts->vector ? (int)width : across * facts->vector;
}

/* Register tile: as many rows as accumulators fit beside one row of B and one element of A. */
static Tiling choose_tile(const Facts *facts, const Contraction *c, const Frame *frame,
                          const Node *node) {
  Tiling tiling = {0};
  tiling.cols = contraction_columns(facts, frame->extent[frame->rank - 1]);
  if (facts->threads > 1)
    return shared_tile(c, frame, node);
  int across = (int)ceil_div(tiling.cols, facts->vector);
  int rows_that_fit = (facts->registers - across - 1) / across;
  double steps = 1; /* of the tile: each multiplies all rows with one row of B */
  for (int j = 0; j < c->n_k; j++)
    steps *= (double)c->k_extent[j];
  choose_box(frame->rank - 1, frame->extent, c->box_dims, rows_that_fit < 12 ? rows_that_fit : 12,
             TILE_STEPS / steps, tiling.box);
  return tiling;
}

/* How many leading k axes become strips: 0 unless blocks are few. */
static int choose_strips(const Contraction *c, const Frame *frame, const Tiling *tiling,
                         int64_t *strips) {
  int64_t blocks = ceil_div(frame->extent[frame->rank - 1], tiling->cols);
  int axes = 0;
  for (int d = 0; d < frame->rank - 1; d++)
    blocks *= ceil_div(frame->extent[d], tiling->box[d]);
  *strips = 1;
  while (c->tap_k < 0 && axes < c->n_k - 1 && *strips < STRIPS && blocks * *strips < FEW_BLOCKS)
    *strips *= c->k_extent[axes++];
  return axes;
}

/* The stride of a k axis over positions: x is read at stride * position. */
static int64_t position_stride(const Node *node, const Contraction *c, int k) {
  return c->tap_out >= 0 && k >= 1 ? node_ints(node, "stride", NULL)[k - 1] : 1;
}

static void store_partial(Frame *frame, Tile *sum, const Affine *strip, int64_t strips,
                          Partial *partial) {
  Lower *lower = frame->lower;
  const Type *out = &lower->anchor->out[0].type;
  Type type = {DT_f32, out->rank + 1, {strips}};
  Access access = {.rank = type.rank};
  access.dim[0] = (AccessDim){.at = *strip, .divisor = 1};
  for (int d = 0; d < out->rank; d++) {
    type.dim[d + 1] = out->dim[d];
    AccessDim *dim = &access.dim[d + 1];
    *dim = (AccessDim){.at = frame->place[d].at, .divisor = 1, .col = frame->place[d].col};
    memcpy(dim->row, frame->place[d].row, sizeof dim->row);
  }
  *partial = frame_partial(lower, &lower->anchor->out[0], K_add, &type);
  access.buffer = frame_temp(frame, partial->temp, type, true);
  frame_store(frame, &access, sum);
}

/* The operands' accesses and the dot itself, for one chunk of the last k axis at `chunk`. */
static void dot_statements(Frame *frame, const Node *node, const Contraction *c, const Affine *k,
                           Affine chunk, int depth, const Affine *offset, Buffer *left, bool inside,
                           Tile *sum) {
  Place out_b[MAX_RANK], ka[MAX_K] = {0}, kb[MAX_K] = {0};
  for (int d = 0; d < frame->rank; d++) {
    out_b[d] = frame->place[d];
    memset(out_b[d].row, 0, sizeof out_b[d].row); /* B's rows are k */
  }
  for (int j = 0; j < c->n_k - 1; j++) {
    ka[j].at = affine_scale(k[j], position_stride(node, c, j));
    kb[j].at = k[j];
  }
  int j = c->n_k - 1;
  int64_t stride = position_stride(node, c, j);
  ka[j] = (Place){.at = affine_scale(chunk, stride), .col = stride};
  kb[j] = (Place){.at = chunk, .row = {1}};
  Place out_a[MAX_RANK];
  for (int d = 0; d < frame->rank; d++) {
    out_a[d] = frame->place[d];
    out_a[d].col = 0; /* A's columns are k */
  }
  Access a = left ? frame_rows_access(frame, left, chunk)
                  : operand_access(frame, node->in[0], c->a, out_a, ka, offset);
  Access b = operand_access(frame, node->in[1], c->b, out_b, kb, offset);
  Stmt *load_a = frame_load_box(frame, &a, "a", frame->n_axes, frame->axis, depth);
  load_a->inside = inside;
  Tile *tile_b = frame_load_box(frame, &b, "b", 1, &depth, frame->cols)->tile;
  frame_dot(frame, sum, load_a->tile, tile_b);
}

/* Loops over the k axes from `first` on, k[] of those before given, around the dot. inside: nothing
 * of the left operand lies outside; then taps are written out, their offsets known numbers. */
static void k_loops(Frame *frame, const Node *node, const Contraction *c, int first, Affine *k,
                    Buffer *left, bool inside, Tile *sum) {
  Block *outside = frame->block;
  Stmt *loop;
  Affine offset[3];
  Taps taps = {0};
  Halo halo;
  if (!left && first == 0 && halo_plan(frame, node, c, &halo)) {
    halo_terms(frame, node, c, &halo, sum);
    return;
  }
  if (!left && (c->tap_k >= 0 || c->tap_out >= 0))
    taps = taps_of(frame, node);
  if (c->tap_out >= 0)
    taps_lookup(frame, &taps, frame->place[c->tap_out].at, offset);
  for (int j = first; j < c->n_k - 1; j++) {
    k[j] = affine_constant(0);
    if (c->k_extent[j] > 1) {
      k[j] = affine_var(frame_loop(frame, "k", 0, c->k_extent[j], 1, &loop), 1);
      loop->unroll = inside ? 4 : 0;
    }
    if (j == c->tap_k && !left)
      taps_lookup(frame, &taps, k[j], offset);
  }
  int64_t depth = c->k_extent[c->n_k - 1];
  int most = GPU_K_BYTES / (int)dtype_size(stored_dtype(node->in[0]));
  int chunk = frame->lower->facts->threads > 1 && depth > most ? most : (int)depth;
  Affine at = affine_constant(0);
  if (depth > chunk)
    at = affine_var(frame_loop(frame, "kk", 0, depth, chunk, &loop), 1);
  dot_statements(frame, node, c, k, at, chunk, offset, left, inside, sum);
  frame->block = outside;
}

/* Few input channels: per tap there is so little to do that looking up its offset and testing
 * whether it lies inside would cost as much. */
static bool short_terms(const Frame *frame, const Contraction *c) {
  return frame->lower->facts->threads == 1 && c->tap_k == 0 && c->n_k == 2 &&
         c->k_extent[1] <= SHORT_TERM && c->k_extent[0] <= MAX_WRITTEN_OUT;
}

static void add_terms(Frame *frame, const Node *node, const Contraction *c, int first, Affine *k,
                      Buffer *left, Tile *sum) {
  Guards guards = {0};
  const Place k_places[MAX_K] = {0};
  if (left || !short_terms(frame, c) || !taps_inside(frame, node, c->a, k_places, &guards)) {
    k_loops(frame, node, c, first, k, left, false, sum);
    return;
  }
  Block *outside = frame->block;
  Stmt *choice = stmt_add(frame->kernel, frame->block, STMT_IF);
  choice->guards = guards;
  frame->block = &choice->body;
  k_loops(frame, node, c, first, k, NULL, true, sum);
  frame->block = &choice->other;
  k_loops(frame, node, c, first, k, NULL, false, sum);
  frame->block = outside;
}

void contraction_add(Frame *frame, const Node *node, Buffer *left, Tile *sum) {
  Contraction c = contraction_of(node);
  Affine k[MAX_K];
  add_terms(frame, node, &c, 0, k, left, sum);
}

void contraction_announce(Frame *frame, const Node *node) {
  if (node->op->flags & OPF_BORDER)
    return;
  Contraction c = contraction_of(node);
  Place first[MAX_K] = {[1] = {.col = 1}};
  if (c.tap_k >= 0)
    prefetch_taps(frame, node, c.a, first, (int)c.k_extent[1]);
}

static Schedule schedule_of(const Facts *facts, const Tile *sum, int64_t strips) {
  bool staged = facts->threads > 1;
  return (Schedule){.rows = sum->rows,
                    .cols = sum->cols,
                    .unroll_k = 4,
                    .strips = (int)strips,
                    .stage_a = staged,
                    .stage_b = staged};
}

/* A sum over k axes that are cut into strips: partial results, added by a second kernel. */
static void lower_strips(Lower *lower, Frame *frame, const Contraction *c, const Tiling *tiling,
                         int strip_axes, int64_t strips) {
  const Node *node = lower->anchor;
  Affine k[MAX_K], strip = affine_constant(0);
  for (int j = 0; j < strip_axes; j++) {
    k[j] = c->k_extent[j] > 1 ? affine_var(kernel_grid(frame->kernel, "k", c->k_extent[j]), 1)
                              : affine_constant(0);
    strip = affine_add(affine_scale(strip, c->k_extent[j]), k[j]);
  }
  place_output(frame, tiling);
  Tile *sum = frame_fill(frame, 0, DT_f32, true, true);
  add_terms(frame, node, c, strip_axes, k, NULL, sum);
  frame->kernel->schedule = schedule_of(lower->facts, sum, strips);
  Partial partial;
  store_partial(frame, sum, &strip, strips, &partial);
  frame_finish(frame, node->op->name);
  lower_finish(lower, &partial, 1, (int)strips, -1);
}

/* The region's contractions at the current tile: one, and what corrects it at the border; or those
 * whose results meet in what follows. */
static void anchor_results(Frame *frame) {
  const Graph *body = frame->lower->body;
  for (int n = 0; n < body->nodes.count; n++) {
    const Node *node = body->nodes.at[n];
    if (node->op->cls == OP_CONTR && (node->op->flags & OPF_BORDER)) {
      outside_results(frame, node);
    } else if (node->op->cls == OP_CONTR) {
      Tile *sum = frame->tile[node->out[0].id] = frame_fill(frame, 0, DT_f32, true, true);
      contraction_add(frame, node, NULL, sum);
      frame->kernel->schedule = schedule_of(frame->lower->facts, sum, 1);
    }
  }
}

Tiling contraction_tiling(const Frame *frame, const Node *node) {
  Contraction c = contraction_of(node);
  Tiling tiling = choose_tile(frame->lower->facts, &c, frame, node);
  if (c.tap_k >= 0)
    tiling.band = choose_band(frame->lower->facts, node, tiling.box);
  return tiling;
}

/* Order of tiles where B is too large for the second-level cache: either all rows of A pass by for
 * each range of columns, or all of B for each group of rows that stay in that cache; whichever
 * moves less. */
static void choose_order(const Frame *frame, const Node *node, const Contraction *c,
                         Tiling *tiling) {
  const Facts *facts = frame->lower->facts;
  int d = frame->rank - 2;
  int64_t b = stored_bytes(node->in[1]), a = stored_bytes(node->in[0]);
  if (b <= facts->l2 / 2)
    return;
  tiling->columns_outermost = true;
  if (facts->threads > 1 || c->n_k > 1 || frame->rank < 2)
    return;
  int64_t row = c->k_extent[0] * (int64_t)dtype_size(stored_dtype(node->in[0])), outer = 1;
  int64_t tiles = ceil_div(frame->extent[d], tiling->box[d]), group = 0;
  for (int e = 0; e < d; e++)
    outer *= frame->extent[e];
  for (int64_t t = facts->l2 / 2 / (row * tiling->box[d]); t > 0 && !group; t--)
    if (t <= tiles && ceil_div(tiles, t) * t * WASTE <= tiles * (WASTE + 1))
      group = t;
  int64_t ranges = ceil_div(frame->extent[d + 1], tiling->cols);
  if (group && b * outer * ceil_div(tiles, group) < a * ranges)
    tiling->group = group;
}

void lower_contraction(Lower *lower) {
  const Node *node = lower->anchor;
  Frame frame;
  frame_start(&frame, lower, "");
  frame_dims(&frame, &node->out[0].type);
  Contraction c = node->op->flags & OPF_BORDER
                      ? (Contraction){.tap_k = -1, .tap_out = -1, .box_dims = 0xE}
                      : contraction_of(node);
  Tiling tiling = choose_tile(lower->facts, &c, &frame, node);
  int64_t strips;
  int strip_axes = choose_strips(&c, &frame, &tiling, &strips);
  if (strips > 1) {
    lower_strips(lower, &frame, &c, &tiling, strip_axes, strips);
    return;
  }
  choose_order(&frame, node, &c, &tiling);
  if (lower_product(lower, &frame, &c, &tiling))
    return;
  if (c.tap_k >= 0)
    tiling.band = choose_band(lower->facts, node, tiling.box);
  RowFolds folds = row_folds_of(lower);
  tiling.inner_loop = folds.nodes.count > 0;
  place_output(&frame, &tiling);
  frame_stream_large(&frame);
  if (folds.nodes.count)
    row_folds_start(&frame, &folds, true);
  Block *outside = frame.block;
  if (folds.nodes.count)
    open_inner_loop(&frame, &tiling);
  contraction_announce(&frame, node);
  frame_announce(&frame);
  anchor_results(&frame);
  frame_store_outputs(&frame, frame_is_early);
  if (!folds.nodes.count) {
    frame_finish(&frame, node->op->name);
    return;
  }
  row_folds_add(&frame, &folds, rows_are_ragged(&frame, &tiling));
  frame.block = outside;
  Affine number = block_number(&frame, &strips);
  row_folds_finish(&frame, &folds, NULL, number, strips);
}
