/* The rows template: elementwise work, views and folds over columns, with nothing to anchor it.
 *
 * The space is flattened into as few groups as the accesses allow. The last group is the columns: a
 * whole row when a fold needs it, else a long run. Other groups make the grid; the innermost of
 * them contributes a few rows to the tile so that a block has some thousand elements of work.
 */
#include "passes/lower/frame.h"

enum { BLOCK_ELEMENTS = 2048, MIN_BLOCKS = 64, TOGETHER = 64, MOVED_COLUMNS = 128 };
/* MOVED_COLUMNS: what is stored in another order is collected in an array of the block, some rows
 * of so many columns, so that the lines it goes to are filled at once */

static Place grid_place(Frame *frame, const char *name, int64_t extent, int64_t step) {
  Place place = {.at = affine_constant(0)};
  if (extent > step)
    place.at = affine_var(kernel_grid(frame->kernel, name, ceil_div(extent, step)), step);
  return place;
}

static bool stores_moved(const Frame *frame) {
  const Graph *body = frame->lower->body;
  ViewMap map;
  for (int i = 0; i < body->outputs.count; i++)
    if (frame_stores_moved(frame, body->outputs.at[i].value, &map))
      return true;
  return false;
}

static void place_rows(Frame *frame, bool whole_rows) {
  int last = frame->n_groups - 1;
  int64_t cols = frame->extent[last], rows = 1, total = 1;
  for (int g = 0; g < frame->n_groups; g++)
    total *= frame->extent[g];
  int64_t block = total / MIN_BLOCKS < BLOCK_ELEMENTS ? total / MIN_BLOCKS : BLOCK_ELEMENTS;
  int vector = frame->lower->facts->vector * frame->lower->facts->threads;
  if (block < vector)
    block = vector;
  block = ceil_div(block, vector) * vector;
  if (last == 0 && !whole_rows && cols > block)
    cols = block; /* one long axis: the ragged end is clipped by the tensors' own size */
  else if (last > 0 && !whole_rows && stores_moved(frame))
    cols = divisor_below(cols, MOVED_COLUMNS);
  if (last > 0)
    rows = divisor_below(frame->extent[last - 1], cols < block ? block / cols : 1);
  frame->cols = (int)cols;
  for (int g = 0; g < last; g++)
    frame->place[g] = grid_place(frame, "r", frame->extent[g], g == last - 1 ? rows : 1);
  frame->place[last] = grid_place(frame, "c", frame->extent[last], cols);
  frame->place[last].col = 1;
  if (rows > 1) {
    frame->n_axes = 1;
    frame->axis[0] = (int)rows;
    frame->place[last - 1].row[0] = 1;
  }
}

static const Type *row_space(const Lower *lower, bool *folds) {
  const Graph *body = lower->body;
  const Type *space = NULL;
  *folds = false;
  for (int n = 0; n < body->nodes.count; n++)
    if (node_folds_columns(body->nodes.at[n])) {
      space = &body->nodes.at[n]->in[0]->type;
      *folds = true;
    }
  if (space)
    return space;
  Value *first = body->outputs.at[0].value;
  ViewMap map;
  Frame any = {.lower = (Lower *)lower};
  return frame_stores_moved(&any, first, &map) ? &map.base->type : &first->type;
}

void lower_rows(Lower *lower) {
  Frame frame;
  bool folds;
  const Type *space = row_space(lower, &folds);
  frame_start(&frame, lower, "");
  frame_flatten(&frame, space, folds ? 1u << (space->rank - 1) : 0);
  place_rows(&frame, folds);
  frame_stream_large(&frame);
  frame_store_outputs(&frame, NULL);
  frame_finish(&frame, "rows");
}

/* A strip's part of a scratch tensor [strips, elements]; elements 1: one number. */
static Tile *load_strip(Frame *frame, int temp, const Type *type, IndexVar *strip) {
  Access access = {.rank = 2, .buffer = frame_temp(frame, temp, *type, false)};
  access.dim[0] = (AccessDim){.at = affine_var(strip, 1), .divisor = 1};
  access.dim[1] = (AccessDim){.at = affine_constant(0), .divisor = 1};
  int64_t stride = 1; /* the partial is dense in the result's own order */
  for (int g = frame->n_groups - 1; g >= 0 && type->dim[1] > 1; g--) {
    access.dim[1].at = affine_add(access.dim[1].at, affine_scale(frame->place[g].at, stride));
    for (int j = 0; j < MAX_ROW_AXES; j++)
      access.dim[1].row[j] += stride * frame->place[g].row[j];
    access.dim[1].col += stride * frame->place[g].col;
    stride *= frame->extent[g];
  }
  return frame_load(frame, &access, DT_f32, 0);
}

static const bool *values_after(const Lower *lower, const Partial *partials, int count) {
  bool *late = ARENA_ARRAY(lower->arena, bool, lower->body->n_values);
  for (int i = 0; i < count; i++)
    late[partials[i].value->id] = true;
  for (int n = 0; n < lower->body->nodes.count; n++) {
    Node *node = lower->body->nodes.at[n];
    for (int i = 0; i < node->n_in; i++)
      late[node->out[0].id] |= late[node->in[i]->id];
  }
  return late;
}

/* Accumulators of some partial results: sums, means of variances, elements seen. */
typedef struct Totals {
  Tile **sums, **means, *seen;
} Totals;

static Totals start_totals(Frame *frame, const Partial *partials, int count, bool counted) {
  Arena *arena = frame->lower->arena;
  Totals t = {ARENA_ARRAY(arena, Tile *, count), ARENA_ARRAY(arena, Tile *, count), NULL};
  bool rows = frame->n_axes > 0;
  for (int i = 0; i < count; i++) {
    t.sums[i] = frame_fill(frame, kop_neutral(partials[i].kop), DT_f32, rows, true);
    if (partials[i].mean_temp >= 0)
      t.means[i] = frame_fill(frame, 0, DT_f32, rows, true);
  }
  if (counted)
    t.seen = frame_fill(frame, 0, DT_f32, false, false);
  return t;
}

static void join_totals(Frame *frame, const Partial *partials, int count, const Totals *to,
                        const Totals *from) {
  Tile *total = NULL;
  for (int i = 0; i < count; i++) {
    if (!to->means[i]) {
      stmt_map(frame->kernel, frame->block, to->sums[i], partials[i].kop, to->sums[i],
               from->sums[i], NULL);
      continue;
    }
    Moments a = {to->seen, to->means[i], to->sums[i]};
    Moments b = {from->seen, from->means[i], from->sums[i]};
    total = row_folds_join(frame, &a, &b);
  }
  if (total)
    stmt_map(frame->kernel, frame->block, to->seen, K_add, total,
             frame_fill(frame, 0, DT_f32, false, false), NULL);
}

/* Adds the strips from `first` on, `some` of them at most, to the totals. */
static void add_strips(Frame *frame, const Partial *partials, int count, int strips, Affine first,
                       int some, int count_temp, const Totals *to) {
  Type type = {DT_f32, 2, {strips, type_elements(&partials[0].value->type)}};
  Type numbers = {DT_f32, 2, {strips, 1}};
  Block *outside = frame->block;
  Stmt *loop;
  IndexVar *strip = frame_loop(frame, "s", 0, strips, 1, &loop);
  if (some < strips) {
    loop->low = first;
    loop->high = affine_offset(first, some);
    loop->high2 = affine_constant(strips);
    loop->has_high2 = true;
  }
  Totals one = {ARENA_ARRAY(frame->lower->arena, Tile *, count),
                ARENA_ARRAY(frame->lower->arena, Tile *, count), NULL};
  if (count_temp >= 0)
    one.seen = load_strip(frame, count_temp, &numbers, strip);
  for (int i = 0; i < count; i++) {
    one.sums[i] = load_strip(frame, partials[i].temp, &type, strip);
    if (partials[i].mean_temp >= 0)
      one.means[i] = load_strip(frame, partials[i].mean_temp, &type, strip);
  }
  join_totals(frame, partials, count, to, &one);
  frame->block = outside;
}

void lower_finish(Lower *lower, const Partial *partials, int count, int strips, int count_temp) {
  Frame frame;
  const Type *space = &partials[0].value->type;
  frame_start(&frame, lower, "_finish");
  frame.late = values_after(lower, partials, count);
  frame_flatten(&frame, space, 0);
  place_rows(&frame, false);
  Totals totals = start_totals(&frame, partials, count, count_temp >= 0);
  Block *outer = frame.block;
  if (strips <= TOGETHER) {
    add_strips(&frame, partials, count, strips, affine_constant(0), strips, count_temp, &totals);
  } else { /* sums of sums: rounding grows with the longer of the two, not with all strips */
    Stmt *loop;
    IndexVar *first = frame_loop(&frame, "f", 0, strips, TOGETHER, &loop);
    Totals part = start_totals(&frame, partials, count, count_temp >= 0);
    add_strips(&frame, partials, count, strips, affine_var(first, 1), TOGETHER, count_temp, &part);
    join_totals(&frame, partials, count, &totals, &part);
  }
  frame.block = outer;
  for (int i = 0; i < count; i++) {
    Tile *result = totals.sums[i];
    if (totals.means[i]) {
      result = frame_tile(&frame, DT_f32, frame.n_axes > 0, true);
      stmt_map(frame.kernel, frame.block, result, K_div, totals.sums[i], totals.seen, NULL);
    }
    frame.tile[partials[i].value->id] = result;
  }
  frame_store_outputs(&frame, frame_is_late);
  frame_finish(&frame, "finish");
}
