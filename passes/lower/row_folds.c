/* Folds over rows inside a kernel: accumulators, a tile's part, partial results of blocks.
 *
 * Sums and extrema are one accumulator each. A variance is a mean and a sum of squared distances
 * from it, with the number of elements seen; two sets of elements are joined by mean = mean_a + d *
 * n_b / n,   squares = squares_a + squares_b + d^2 * n_a * n_b / n, d = mean_b - mean_a, n = n_a +
 * n_b (Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
 * variances", 1979), so that nothing is lost when the mean is large. A tile is one such set, so is
 * a block.
 */
#include "passes/lower/frame.h"

RowFolds row_folds_of(Lower *lower) {
  RowFolds folds = {0};
  for (int n = 0; n < lower->body->nodes.count; n++) {
    Node *node = lower->body->nodes.at[n];
    if (node->op->cls == OP_REDUCE && !node_folds_columns(node))
      vec_push(lower->arena, &folds.nodes, node);
  }
  folds.sums = ARENA_ARRAY(lower->arena, Tile *, folds.nodes.count + 1);
  folds.means = ARENA_ARRAY(lower->arena, Tile *, folds.nodes.count + 1);
  return folds;
}

static const bool *values_after_folds(const Lower *lower) {
  const Graph *body = lower->body;
  bool *late = ARENA_ARRAY(lower->arena, bool, body->n_values);
  for (int n = 0; n < body->nodes.count; n++) {
    Node *node = body->nodes.at[n];
    bool after = node->op->cls == OP_REDUCE && !node_folds_columns(node);
    for (int i = 0; i < node->n_in; i++)
      after |= late[node->in[i]->id];
    for (int i = 0; i < node->n_out; i++)
      late[node->out[i].id] = after;
  }
  return late;
}

bool frame_is_early(const Frame *frame, const Value *value) {
  return !frame->late || !frame->late[value->id];
}

bool frame_is_late(const Frame *frame, const Value *value) {
  return frame->late && frame->late[value->id];
}

/* ---- accumulators ---- */

static void assign(Frame *frame, Tile *to, Kop kop, Tile *a, Tile *b, Tile *c) {
  stmt_map(frame->kernel, frame->block, to, kop, a, b, c);
}

void row_folds_start(Frame *frame, RowFolds *folds, bool columns) {
  frame->late = values_after_folds(frame->lower);
  folds->columns = columns;
  for (int i = 0; i < folds->nodes.count; i++) {
    const Node *node = folds->nodes.at[i];
    folds->sums[i] = frame_fill(frame, kop_neutral(fold_kop(node)), DT_f32, false, columns);
    if (!fold_is_variance(node))
      continue;
    folds->means[i] = frame_fill(frame, 0, DT_f32, false, columns);
    if (!folds->count)
      folds->count = frame_fill(frame, 0, DT_f32, false, false);
  }
}

Tile *row_folds_join(Frame *frame, const Moments *to, const Moments *from) {
  Tile *total = frame_map(frame, K_add, to->count, from->count, NULL);
  Tile *one = frame_fill(frame, 1, DT_f32, false, false); /* where both are empty */
  Tile *share =
      frame_map(frame, K_div, from->count, frame_map(frame, K_max, total, one, NULL), NULL);
  Tile *apart = frame_map(frame, K_sub, from->mean, to->mean, NULL);
  Tile *step = frame_map(frame, K_mul, apart, share, NULL);
  assign(frame, to->mean, K_add, to->mean, step, NULL);
  assign(frame, to->squares, K_add, to->squares, from->squares, NULL);
  Tile *weighted = frame_map(frame, K_mul, step, to->count, NULL);
  assign(frame, to->squares, K_fma, apart, weighted, to->squares);
  return total;
}

Tile *frame_whole(Frame *frame, Tile *tile) {
  if ((tile->n_axes > 0) == (frame->n_axes > 0) && tile->cols == frame->cols)
    return tile;
  Tile *zero = frame_fill(frame, 0, tile->dtype, true, true);
  return frame_map(frame, K_add, zero, tile, NULL);
}

Tile *frame_rows_inside(Frame *frame) {
  Tile *inside = NULL;
  for (int d = 0; d + 1 < frame->rank; d++) {
    const Place *place = &frame->place[d];
    int64_t reach = affine_high(&place->at);
    for (int j = 0; j < frame->n_axes; j++)
      reach += place->row[j] * (frame->axis[j] - 1);
    if (reach < frame->extent[d])
      continue;
    Tile *end = frame_fill(frame, (double)frame->extent[d], DT_f32, false, false);
    Tile *below = frame_map(frame, K_lt, frame_coordinate(frame, place, 0), end, NULL);
    inside = inside ? frame_map(frame, K_mul, inside, below, NULL) : below;
  }
  return inside;
}

/* How many of the tile's elements are in the space. */
static Tile *count_inside(Frame *frame, const RowFolds *folds, Tile *inside) {
  int rows = (int)frame_rows(frame), cols = folds->columns ? 1 : frame->cols;
  if (!inside)
    return frame_fill(frame, rows * cols, DT_f32, false, false);
  if (inside->n_axes)
    return frame_fold(frame, K_add, inside, true);
  return frame_map(frame, K_mul, inside, frame_fill(frame, rows, DT_f32, false, false), NULL);
}

static Tile *fold_all(Frame *frame, const RowFolds *folds, Kop kop, Tile *tile) {
  if (!folds->columns)
    tile = frame_fold(frame, kop, tile, false);
  return tile->n_axes ? frame_fold(frame, kop, tile, true) : tile;
}

static Tile *only_inside(Frame *frame, Tile *inside, Tile *tile, double neutral) {
  return inside ? frame_map(frame, K_select, inside, tile,
                            frame_fill(frame, neutral, DT_f32, false, false))
                : tile;
}

/* Mean and squared distances of one tile's elements. */
static Moments moments_of(Frame *frame, const RowFolds *folds, Tile *value, Tile *inside,
                          Tile *count) {
  Tile *sum = fold_all(frame, folds, K_add, only_inside(frame, inside, value, 0));
  Tile *some =
      !inside ? count
              : frame_map(frame, K_max, count, frame_fill(frame, 1, DT_f32, false, false), NULL);
  Tile *mean = frame_map(frame, K_div, sum, some, NULL);
  Tile *apart = only_inside(frame, inside, frame_map(frame, K_sub, value, mean, NULL), 0);
  Tile *squares = fold_all(frame, folds, K_add, frame_map(frame, K_mul, apart, apart, NULL));
  return (Moments){count, mean, squares};
}

Tile *row_folds_part(Frame *frame, const Node *fold, bool ragged) {
  RowFolds by_columns = {.columns = true};
  Kop kop = fold_kop(fold);
  Tile *inside = ragged ? frame_rows_inside(frame) : NULL;
  Tile *value = frame_whole(frame, frame_value(frame, fold->in[0]));
  return fold_all(frame, &by_columns, kop, only_inside(frame, inside, value, kop_neutral(kop)));
}

void row_folds_add(Frame *frame, RowFolds *folds, bool ragged) {
  Tile *inside = ragged ? frame_rows_inside(frame) : NULL, *total = NULL;
  Tile *count = folds->count ? count_inside(frame, folds, inside) : NULL;
  for (int i = 0; i < folds->nodes.count; i++) {
    Node *node = folds->nodes.at[i];
    Kop kop = fold_kop(node);
    Tile *value = frame_whole(frame, frame_value(frame, node->in[0]));
    if (folds->means[i]) {
      Moments to = {folds->count, folds->means[i], folds->sums[i]};
      Moments part = moments_of(frame, folds, value, inside, count);
      total = row_folds_join(frame, &to, &part);
      continue;
    }
    value = only_inside(frame, inside, value, kop_neutral(kop));
    assign(frame, folds->sums[i], kop, folds->sums[i], fold_all(frame, folds, kop, value), NULL);
  }
  if (total)
    assign(frame, folds->count, K_add, total, frame_fill(frame, 0, DT_f32, false, false), NULL);
}

void row_folds_results(Frame *frame, RowFolds *folds) {
  for (int i = 0; i < folds->nodes.count; i++)
    frame->tile[folds->nodes.at[i]->out[0].id] =
        folds->means[i] ? frame_map(frame, K_div, folds->sums[i], folds->count, NULL)
                        : folds->sums[i];
}

/* ---- partial results ---- */

/* Stores an accumulator as strip `strip` of a scratch tensor [strips, elements of `value`]. */
static int store_strip(Frame *frame, const bool *reduced, Value *value, Affine strip,
                       int64_t strips, Tile *tile) {
  Type type = {DT_f32, 2, {strips, value ? type_elements(&value->type) : 1}};
  int temp = frame_partial(frame->lower, value, K_add, &type).temp;
  Access access = {.rank = 2, .buffer = frame_temp(frame, temp, type, true)};
  access.dim[0] = (AccessDim){.at = strip, .divisor = 1};
  access.dim[1] = (AccessDim){.at = affine_constant(0), .divisor = 1};
  int64_t stride = 1;
  for (int g = frame->n_groups - 1; g >= 0 && value; g--) {
    if (reduced ? reduced[g] : g != frame->n_groups - 1)
      continue;
    access.dim[1].at = affine_add(access.dim[1].at, affine_scale(frame->place[g].at, stride));
    access.dim[1].col += stride * frame->place[g].col;
    stride *= frame->extent[g];
  }
  frame_store(frame, &access, tile);
  return temp;
}

/* The number of rows is the same for all columns: the block of the first ones stores it. */
static int store_count(Frame *frame, const bool *reduced, Affine strip, int64_t strips,
                       Tile *count) {
  const Place *columns = &frame->place[frame->n_groups - 1];
  Block *outside = frame->block;
  if (!affine_is_constant(&columns->at)) {
    Stmt *first = stmt_add(frame->kernel, frame->block, STMT_IF);
    Guard guard = {columns->at, 1, 0};
    vec_push(frame->lower->arena, &first->guards, guard);
    frame->block = &first->body;
  }
  int temp = store_strip(frame, reduced, NULL, strip, strips, count);
  frame->block = outside;
  return temp;
}

void row_folds_finish(Frame *frame, RowFolds *folds, const bool *reduced, Affine strip,
                      int64_t strips) {
  Lower *lower = frame->lower;
  VEC(Partial) partials = {0};
  int count_temp = -1;
  for (int i = 0; i < folds->nodes.count; i++) {
    Node *node = folds->nodes.at[i];
    Partial partial = {.value = &node->out[0], .kop = fold_kop(node), .mean_temp = -1};
    partial.temp = store_strip(frame, reduced, partial.value, strip, strips, folds->sums[i]);
    if (folds->means[i]) {
      partial.mean_temp =
          store_strip(frame, reduced, partial.value, strip, strips, folds->means[i]);
      if (count_temp < 0)
        count_temp = store_count(frame, reduced, strip, strips, folds->count);
    }
    vec_push(lower->arena, &partials, partial);
  }
  frame_finish(frame, "fold");
  lower_finish(lower, partials.at, partials.count, (int)strips, count_temp);
}
