/* The attention template: softmax(q k^T) v and its gradients without the matrix of scores.
 *
 * A block owns some tokens of one head, its *lanes*, and walks over blocks of tokens of the
 * other side, its *steps* (Dao et al., arXiv 2205.14135 and 2307.08691): in the forward kernel and
 * that of dq lanes are queries and steps keys, in that of dk and dv it is the other way round.
 * Score tiles are [steps, lanes]: what belongs to a lane (its maximum, its sum) lies along vectors,
 * folds go over rows, and every product has a loaded operand on the left and an array on the right:
 *
 *   scores[steps, lanes] += x[steps, channels] . y[channels, lanes]
 *   out[channels, lanes] += x^T[channels, steps] . weights[steps, lanes]
 *
 * Tiles of lanes are turned when loaded and turned back when stored, once a block. No two blocks
 * write the same element, and sums go over steps in order.
 *
 * With groups, a kernel ahead finds for each block of lanes the steps among which its partners lie,
 * the only ones it walks over: packed and padded texts cost what their tokens cost. A query without
 * any partner sees all keys (ir/ops/attention.c).
 *
 * On machines that multiply pairs of bf16, tensors of such are multiplied so: a block of steps is
 * taken in two *parts*, the even ones and the odd ones, so that what is computed of scores comes as
 * two tiles whose elements are pairs, rounded to bf16; sums of weights are of what was not rounded.
 */
#include "passes/lower/attention.h"
#include <string.h>

enum { SCAN = 512 };                   /* steps looked at together for a range */
static const double far_below = -1e30; /* any score, and still finite */

/* ---- tiles ---- */

static Tile *tile_of(Attention *a, Dtype dtype, int rows, int cols) {
  return kernel_tile(a->frame.kernel, "t", dtype, rows > 1 ? 1 : 0, &rows, cols);
}

static Tile *number(Attention *a, double value, int rows, int cols) {
  Stmt *s = stmt_add(a->frame.kernel, a->frame.block, STMT_TILE_FILL);
  s->number = value;
  return s->tile = tile_of(a, DT_f32, rows, cols);
}

static Tile *scalar(Attention *a, double value) { return number(a, value, 1, 1); }

static Tile *map_into(Attention *a, Tile *to, Kop kop, Tile *x, Tile *y, Tile *z) {
  stmt_map(a->frame.kernel, a->frame.block, to, kop, x, y, z);
  return to;
}

/* The result has the first operand's rows and columns. */
static Tile *map(Attention *a, Kop kop, Tile *x, Tile *y, Tile *z) {
  return map_into(a, tile_of(a, DT_f32, x->rows, x->cols), kop, x, y, z);
}

static Tile *fold(Attention *a, Kop kop, Tile *x, bool rows) {
  return frame_fold(&a->frame, kop, x, rows);
}

/* The index at + every * row of each row, or at + column of each column, as a number. */
static Tile *positions(Attention *a, Affine at, int every, int rows, int cols) {
  Stmt *s = stmt_add(a->frame.kernel, a->frame.block, STMT_TILE_INDEX);
  s->at = at;
  s->row_factor[0] = rows > 1 ? every : 0;
  s->col_factor = cols > 1;
  return s->tile = tile_of(a, DT_f32, rows, cols);
}

/* ---- accesses ---- */

static Tile *load_tile(Attention *a, Value *value, int rank, const Place *place, int rows,
                       int cols) {
  Frame *frame = &a->frame;
  frame->rank = rank;
  memcpy(frame->place, place, sizeof *place * (size_t)rank);
  Access access = frame_access(frame, value);
  return frame_load_box(frame, &access, "t", rows > 1, &rows, cols)->tile;
}

/* What the region gives of a result: itself, or the same in bf16; NULL: nobody reads it. */
static Value *wanted(const Attention *a, const Value *value) {
  const Graph *body = a->frame.lower->body;
  for (int i = 0; i < body->outputs.count; i++) {
    Value *out = body->outputs.at[i].value;
    const Node *maker = out->node;
    if (out == value || (maker && maker->op->cls == OP_EW && maker->in[0] == value))
      return out;
  }
  return NULL;
}

/* Stores a result, which is dense, if somebody reads it. */
static void store_tile(Attention *a, Value *value, const Place *place, Tile *tile) {
  value = wanted(a, value);
  if (!value)
    return;
  tile = frame_cast(&a->frame, tile, value->type.dtype);
  Access access = {.rank = value->type.rank,
                   .buffer = frame_buffer(&a->frame, value, value->type, true)};
  for (int d = 0; d < access.rank; d++) {
    access.dim[d].divisor = 1;
    place_add(&access.dim[d], &place[d], 1);
  }
  frame_store(&a->frame, &access, tile);
}

static Place at_place(Affine at) { return (Place){.at = at}; }

/* The places of [batch, tokens, heads, channels] where tokens, or every second one, are rows and
 * channels columns, or, turned, the other way round. */
static void token_places(const Attention *a, Affine token, int every, bool turned, Place *place) {
  place[0] = at_place(a->n);
  place[TOKENS] = (Place){.at = token, .row = {turned ? 0 : every}, .col = turned};
  place[HEADS] = at_place(a->head);
  place[CHANNELS] = (Place){.at = affine_constant(0), .row = {turned}, .col = !turned};
}

static Tile *load_tokens(Attention *a, Value *value, Affine token, int tokens, int every,
                         bool turned) {
  Place place[4];
  int channels = (int)value->type.dim[CHANNELS];
  token_places(a, token, every, turned, place);
  if ((turned ? channels : tokens) == 1)
    place[turned ? CHANNELS : TOKENS].row[0] = 0;
  return load_tile(a, value, 4, place, turned ? channels : tokens, turned ? tokens : channels);
}

/* Steps of a part, its first one, and those in `value` as [steps, channels]. */
static int part_rows(const Attention *a) { return a->step.block / a->parts; }

static Affine part_at(const Attention *a, int part) { return affine_offset(a->step_at, part); }

static Tile *load_part(Attention *a, Value *value, int part) {
  return load_tokens(a, value, part_at(a, part), part_rows(a), a->parts, false);
}

/* One number a query, [batch, tokens, heads, 1]: a row of lanes, or columns of steps. */
static Parts load_numbers(Attention *a, Value *value) {
  bool lanes = a->queries_are_lanes;
  int count = lanes ? a->lane.block : part_rows(a);
  Place place[4] = {
      at_place(a->n), {.col = lanes}, at_place(a->head), at_place(affine_constant(0))};
  place[TOKENS].row[0] = !lanes && count > 1 ? a->parts : 0;
  Parts numbers = {0};
  for (int part = 0; part < (lanes ? 1 : a->parts); part++) {
    place[TOKENS].at = lanes ? a->at : part_at(a, part);
    numbers.at[part] = load_tile(a, value, 4, place, lanes ? 1 : count, lanes ? count : 1);
  }
  return lanes ? (Parts){{numbers.at[0], numbers.at[0]}} : numbers;
}

static Tile *load_group(Attention *a, Value *value, Affine at, int every, int rows, int cols) {
  Place place[2] = {at_place(a->n), {.at = at, .row = {rows > 1 ? every : 0}, .col = cols > 1}};
  return load_tile(a, value, 2, place, rows, cols);
}

static void store_tokens(Attention *a, Value *value, Tile *turned) {
  Place place[4];
  token_places(a, a->at, 1, true, place);
  place[CHANNELS].row[0] = turned->rows > 1;
  store_tile(a, value, place, turned);
}

/* ---- which steps a block of lanes walks over ---- */

/* 1 where step column and lane row are partners. A query that sees no key has the log of its sum
 * far below zero: as a step, it is everybody's partner. */
static Tile *partners(Attention *a, Affine steps_at, int count, Tile *lane_group) {
  Tile *step_group = load_group(a, a->step.group, steps_at, 1, 1, count);
  Tile *seen =
      map_into(a, tile_of(a, DT_f32, a->lane.block, count), K_eq, lane_group, step_group, NULL);
  if (!a->queries_are_lanes) {
    Place place[4] = {at_place(a->n),
                      {.at = steps_at, .col = count > 1},
                      at_place(affine_constant(0)),
                      at_place(affine_constant(0))};
    Tile *lse = load_tile(a, a->lse, 4, place, 1, count);
    Tile *lonely = map(a, K_lt, lse, scalar(a, -a->penalty / 2), NULL);
    seen = map(a, K_max, seen, lonely, NULL);
  }
  if (a->step.tokens % count == 0)
    return seen;
  Tile *index = positions(a, steps_at, 1, 1, count);
  Tile *inside = map(a, K_lt, index, scalar(a, (double)a->step.tokens), NULL);
  return map(a, K_mul, seen, inside, NULL);
}

static void store_range(Attention *a, Affine lane_block, Tile *low, Tile *high) {
  Frame *frame = &a->frame;
  Type type = frame->lower->out->temps.at[a->ranges];
  for (int i = 0; i < 2; i++) {
    Tile *block =
        map(a, K_floor, map(a, K_div, i ? high : low, scalar(a, a->step.block), NULL), NULL, NULL);
    if (i)
      block = map(a, K_add, block, a->one, NULL);
    Tile *whole = map_into(a, tile_of(a, DT_i32, 1, 1), K_cast, block, NULL, NULL);
    Access access = {.rank = 3, .buffer = frame_temp(frame, a->ranges, type, true)};
    access.dim[0] = (AccessDim){.at = a->n, .divisor = 1};
    access.dim[1] = (AccessDim){.at = lane_block, .divisor = 1};
    access.dim[2] = (AccessDim){.at = affine_constant(i), .divisor = 1};
    frame_store(frame, &access, whole);
  }
}

static Affine grid(Attention *a, const char *name, int64_t extent) {
  if (extent == 1)
    return affine_constant(0);
  return affine_var(kernel_grid(a->frame.kernel, name, extent), 1);
}

static void lower_ranges(Attention *a, Lower *lower) {
  Frame *frame = &a->frame;
  int64_t batch = a->lane.group->type.dim[0], steps = a->step.tokens;
  int64_t blocks = ceil_div(a->lane.tokens, a->lane.block);
  Type type = {DT_i32, 3, {batch, blocks, 2}};
  vec_push(lower->arena, &lower->out->temps, type);
  a->ranges = lower->out->temps.count - 1;
  frame_start(frame, lower, a->queries_are_lanes ? "_ranges" : "_key_ranges");
  frame_dims(frame, &a->lane.x->type);
  a->n = grid(a, "n", batch);
  Affine block = grid(a, "i", blocks);
  a->at = affine_scale(block, a->lane.block);
  int lanes = a->lane.block, vector = lower->facts->vector;
  int scan = steps < SCAN ? (int)ceil_div(steps, vector) * vector : SCAN; /* whole vectors */
  a->one = scalar(a, 1);
  Tile *end = scalar(a, (double)steps), *none = scalar(a, -1);
  Tile *group = load_group(a, a->lane.group, a->at, 1, lanes, 1);
  Tile *low = number(a, (double)steps, lanes, 1), *high = number(a, -1, lanes, 1);
  Block *outside = frame->block;
  Stmt *loop;
  IndexVar *at = frame_loop(frame, "j", 0, steps, scan, &loop);
  Tile *seen = partners(a, affine_var(at, 1), scan, group);
  Tile *index = positions(a, affine_var(at, 1), 1, 1, scan);
  Tile *from = map_into(a, tile_of(a, DT_f32, lanes, scan), K_select, seen, index, end);
  Tile *to = map_into(a, tile_of(a, DT_f32, lanes, scan), K_select, seen, index, none);
  map_into(a, low, K_min, low, fold(a, K_min, from, false), NULL);
  map_into(a, high, K_max, high, fold(a, K_max, to, false), NULL);
  frame->block = outside;
  if (a->queries_are_lanes) { /* one that sees no key walks over all */
    Tile *lonely = map(a, K_lt, high, scalar(a, 0), NULL);
    map_into(a, low, K_select, lonely, scalar(a, 0), low);
    map_into(a, high, K_select, lonely, scalar(a, (double)(steps - 1)), high);
  }
  if (a->lane.tokens % lanes) { /* lanes past the last token want nothing */
    Tile *inside =
        map(a, K_lt, positions(a, a->at, 1, lanes, 1), scalar(a, (double)a->lane.tokens), NULL);
    map_into(a, low, K_select, inside, low, end);
    map_into(a, high, K_select, inside, high, none);
  }
  store_range(a, block, fold(a, K_min, low, true), fold(a, K_max, high, true));
  frame->kernel->schedule = (Schedule){.rows = lanes, .cols = scan, .unroll_k = 1, .strips = 1};
  frame_finish(frame, "ranges");
}

/* ---- what the three kernels share ---- */

static void open_kernel(Attention *a, Lower *lower, const char *suffix) {
  Frame *frame = &a->frame;
  const Type *x = &a->lane.x->type;
  frame_start(frame, lower, suffix);
  frame_dims(frame, x);
  a->n = grid(a, "n", x->dim[0]);
  a->head = grid(a, "h", x->dim[HEADS]);
  a->at = affine_scale(grid(a, "i", ceil_div(x->dim[TOKENS], a->lane.block)), a->lane.block);
  a->one = scalar(a, 1);
  a->penalty_tile = scalar(a, a->penalty);
  frame->kernel->schedule = (Schedule){.rows = a->step.block,
                                       .cols = a->lane.block,
                                       .unroll_k = 4,
                                       .strips = 1,
                                       .stage_a = lower->facts->threads > 1,
                                       .stage_b = lower->facts->threads > 1};
}

/* The number of one end of this block's range. */
static Affine range_end(Attention *a, int64_t blocks, int which) {
  Frame *frame = &a->frame;
  const Type *type = &frame->lower->out->temps.at[a->ranges];
  Stmt *s = stmt_add(frame->kernel, frame->block, STMT_LOOKUP);
  s->buffer = frame_temp(frame, a->ranges, *type, false);
  s->var = kernel_var(frame->kernel, which ? "past" : "first", 0, blocks);
  Affine lane_block = a->at; /* a multiple of the block's size */
  lane_block.constant /= a->lane.block;
  for (int t = 0; t < lane_block.count; t++)
    lane_block.term[t].factor /= a->lane.block;
  Affine row = affine_add(affine_scale(a->n, type->dim[1]), lane_block);
  s->at = affine_offset(affine_scale(row, 2), which);
  return affine_var(s->var, 1);
}

/* Opens the loop over steps. */
static void open_steps(Attention *a) {
  Frame *frame = &a->frame;
  int64_t blocks = ceil_div(a->step.tokens, a->step.block);
  Affine low = affine_constant(0), high = affine_constant(blocks);
  if (a->ranges >= 0) {
    low = range_end(a, blocks, 0);
    high = range_end(a, blocks, 1);
  }
  Stmt *loop;
  IndexVar *j = frame_loop(frame, "j", 0, blocks, 1, &loop);
  loop->low = low;
  loop->high = high;
  a->step_at = affine_var(j, a->step.block);
  for (int part = 0; part < a->parts && a->step.tokens % a->step.block; part++)
    a->real.at[part] = map(a, K_lt, positions(a, part_at(a, part), a->parts, part_rows(a), 1),
                           scalar(a, (double)a->step.tokens), NULL);
}

/* [channels, lanes] of the lanes' x or y, times a scale; or pairs [channels / 2, lanes]. */
static Tile *load_lanes(Attention *a, Value *value, double scale) {
  bool pairs = a->parts > 1;
  Tile *x = load_tokens(a, value, a->at, a->lane.block, 1, !pairs);
  if (scale != 1) {
    Tile *scaled = map(a, K_mul, frame_cast(&a->frame, x, DT_f32), scalar(a, scale), NULL);
    x = frame_cast(&a->frame, scaled, x->dtype);
  }
  return pairs ? frame_turned_pairs(&a->frame, x) : x;
}

static Tile *lane_groups(Attention *a) {
  return a->lane.group ? load_group(a, a->lane.group, a->at, 1, 1, a->lane.block) : NULL;
}

/* `other` for steps that are no tokens. */
static void mask(Attention *a, Parts *x, double other) {
  for (int part = 0; part < a->parts && a->real.at[part]; part++)
    map_into(a, x->at[part], K_select, a->real.at[part], x->at[part], scalar(a, other));
}

/* Sums of products of a step tensor's channels with a tile of lanes. */
static Parts products(Attention *a, Value *steps, Tile *lanes) {
  Parts sums = {0};
  for (int part = 0; part < a->parts; part++) {
    sums.at[part] = number(a, 0, part_rows(a), a->lane.block);
    frame_dot(&a->frame, sums.at[part], load_part(a, steps, part), lanes);
  }
  return sums;
}

/* Takes the penalty from scores of tokens of different groups. */
static void keep_apart(Attention *a, Parts *scores, Tile *groups) {
  for (int part = 0; part < a->parts && groups; part++) {
    Tile *s = scores->at[part];
    Tile *own = load_group(a, a->step.group, part_at(a, part), a->parts, part_rows(a), 1);
    Tile *apart = map_into(a, tile_of(a, DT_f32, s->rows, s->cols), K_eq, own, groups, NULL);
    apart = map(a, K_sub, apart, a->one, NULL);
    map_into(a, s, K_fma, apart, a->penalty_tile, s);
  }
}

/* The left factor of sums over steps, [channels, steps] or pairs [channels, steps / 2], with zeros
 * past the last token, where another sample's may lie. Pairs are made at the head of a block of
 * steps, ahead of a dot: what is between two dots is one nest. */
static Tile *turned_steps(Attention *a, Value *value) {
  if (a->parts == 1)
    return load_tokens(a, value, a->step_at, a->step.block, 1, true);
  Parts x = {0};
  for (int part = 0; part < a->parts; part++) {
    Tile *read = x.at[part] = load_part(a, value, part), *real = a->real.at[part];
    if (real)
      map_into(a, x.at[part] = tile_of(a, read->dtype, read->rows, read->cols), K_select, real,
               read, frame_cast(&a->frame, scalar(a, 0), read->dtype));
  }
  return frame_turned(&a->frame, frame_pairs(&a->frame, x.at[0], x.at[1]));
}

/* And the right one: weights of steps. */
static Tile *joined(Attention *a, const Parts *x) {
  return a->parts > 1 ? frame_pairs(&a->frame, x->at[0], x->at[1]) : x->at[0];
}

static void close_kernel(Attention *a) { frame_finish(&a->frame, a->node->op->name); }

/* ---- forward ---- */

/* Adds a block of steps to the lanes' results: their weights are exp(score - the largest one so
 * far), and what was added under a smaller one shrinks. */
static void add_steps(Attention *a, Parts *scores, Tile *y, Tile *most, Tile *sum, Tile *out) {
  Parts p = {0}, sums = {0};
  Tile *larger = most;
  for (int part = 0; part < a->parts; part++)
    larger = map(a, K_max, larger, fold(a, K_max, scores->at[part], true), NULL);
  Tile *shrink = map(a, K_exp, map(a, K_sub, most, larger, NULL), NULL, NULL);
  map_into(a, most, K_max, larger, larger, NULL);
  for (int part = 0; part < a->parts; part++)
    p.at[part] = map(a, K_exp, map(a, K_sub, scores->at[part], larger, NULL), NULL, NULL);
  Tile *weights = joined(a, &p);
  for (int part = 0; part < a->parts; part++)
    sums.at[part] = fold(a, K_add, p.at[part], true);
  Tile *all = a->parts > 1 ? map(a, K_add, sums.at[0], sums.at[1], NULL) : sums.at[0];
  map_into(a, sum, K_fma, sum, shrink, all);
  map_into(a, out, K_mul, out, shrink, NULL);
  frame_dot(&a->frame, out, y, weights);
}

static void lower_forward(Attention *a, Lower *lower) {
  int lanes = a->lane.block;
  open_kernel(a, lower, "");
  Tile *q = load_lanes(a, a->lane.x, a->scale), *groups = lane_groups(a);
  Tile *out = number(a, 0, a->value_width, lanes);
  Tile *most = number(a, far_below, 1, lanes), *sum = number(a, 0, 1, lanes);
  Block *outside = a->frame.block;
  open_steps(a);
  Tile *y = turned_steps(a, a->step.y);
  Parts scores = products(a, a->step.x, q);
  keep_apart(a, &scores, groups);
  mask(a, &scores, far_below);
  add_steps(a, &scores, y, most, sum, out);
  a->frame.block = outside;
  Tile *share = map_into(a, tile_of(a, DT_f32, 1, lanes), K_div, a->one, sum, NULL);
  store_tokens(a, &a->node->out[0], map(a, K_mul, out, share, NULL));
  Place place[4] = {
      at_place(a->n), {.at = a->at, .col = 1}, at_place(a->head), at_place(affine_constant(0))};
  Tile *lse = map(a, K_add, most, map(a, K_log, sum, NULL, NULL), NULL);
  store_tile(a, &a->node->out[1], place, lse);
  close_kernel(a);
}

/* ---- backward ---- */

/* exp(scores - lse), zero for steps that are no tokens. */
static Parts probabilities(Attention *a, const Parts *scores, const Parts *lse) {
  Parts p = {0};
  for (int part = 0; part < a->parts; part++)
    p.at[part] = map(a, K_exp, map(a, K_sub, scores->at[part], lse->at[part], NULL), NULL, NULL);
  mask(a, &p, 0);
  return p;
}

/* Gradients of scores, without the scale. */
static Parts score_gradients(Attention *a, const Parts *p, const Parts *dp, const Parts *delta) {
  Parts ds = {0};
  for (int part = 0; part < a->parts; part++) {
    Tile *apart = map(a, K_sub, dp->at[part], delta->at[part], NULL);
    ds.at[part] = map(a, K_mul, p->at[part], apart, NULL);
  }
  if (a->parts > 1)
    mask(a, &ds, 0);
  return ds;
}

/* Of queries: dq; of keys: dk and dv. One kernel that walks over a head's keys and adds to dq in
 * memory would need five products where these two need seven; tried, it took half as long again. */
static void lower_gradient(Attention *a, Lower *lower) {
  bool by_query = a->queries_are_lanes;
  int lanes = a->lane.block;
  open_kernel(a, lower, by_query ? "_query" : "_key");
  Tile *x = load_lanes(a, a->lane.x, a->scale), *groups = lane_groups(a);
  Tile *y = load_lanes(a, a->lane.y, 1);
  Parts lse = {0}, delta = {0};
  if (by_query) {
    lse = load_numbers(a, a->lse);
    delta = load_numbers(a, a->delta);
  }
  Tile *dx = number(a, 0, a->width, lanes);
  Tile *dy = by_query ? NULL : number(a, 0, a->value_width, lanes);
  Block *outside = a->frame.block;
  open_steps(a);
  Tile *left_x = turned_steps(a, a->step.x), *left_y = dy ? turned_steps(a, a->step.y) : NULL;
  if (!by_query) {
    lse = load_numbers(a, a->lse);
    delta = load_numbers(a, a->delta);
  }
  Parts scores = products(a, a->step.x, x), dp = products(a, a->step.y, y);
  keep_apart(a, &scores, groups);
  Parts p = probabilities(a, &scores, &lse), ds = score_gradients(a, &p, &dp, &delta);
  Tile *weights = dy ? joined(a, &p) : NULL, *gradients = joined(a, &ds);
  if (dy)
    frame_dot(&a->frame, dy, left_y, weights);
  frame_dot(&a->frame, dx, left_x, gradients);
  a->frame.block = outside;
  dx = map(a, K_mul, dx, scalar(a, a->scale), NULL);
  store_tokens(a, &a->node->out[by_query ? 0 : 1], dx);
  if (dy)
    store_tokens(a, &a->node->out[2], dy);
  close_kernel(a);
}

/* ---- entry ---- */

/* By queries or by keys: which of them are lanes. */
static Attention describe(Lower *lower, bool by_key) {
  const Node *node = lower->anchor;
  bool forward = node->n_out == 2;
  int first = forward ? 3 : 6;
  Side query = {.x = node->in[0], .y = forward ? NULL : node->in[3]};
  Side key = {.x = node->in[1], .y = node->in[2]};
  if (node->n_in > first) {
    query.group = node->in[first];
    key.group = node->in[first + 1];
  }
  query.tokens = query.x->type.dim[TOKENS];
  key.tokens = key.x->type.dim[TOKENS];
  Attention a = {.node = node,
                 .lse = forward ? NULL : node->in[4],
                 .delta = forward ? NULL : node->in[5],
                 .lane = by_key ? key : query,
                 .step = by_key ? query : key,
                 .width = (int)query.x->type.dim[CHANNELS],
                 .value_width = (int)key.y->type.dim[CHANNELS],
                 .queries_are_lanes = !by_key,
                 .scale = node_float(node, "scale"),
                 .penalty = node_float(node, "penalty"),
                 .frame.lower = lower,
                 .ranges = -1};
  attention_choose(&a, lower->facts);
  return a;
}

static void lower_backward(Lower *lower) {
  Attention by_query = describe(lower, false), by_key = describe(lower, true);
  const Value *out = by_query.node->out;
  Attention *sides[] = {&by_query, &by_key};
  bool needed[] = {wanted(&by_query, &out[0]) != NULL,
                   wanted(&by_query, &out[1]) || wanted(&by_query, &out[2])};
  for (int i = 0; i < 2; i++) {
    if (needed[i] && sides[i]->lane.group)
      lower_ranges(sides[i], lower);
    if (needed[i])
      lower_gradient(sides[i], lower);
  }
}

void lower_attention(Lower *lower) {
  if (lower->anchor->n_out > 2) {
    lower_backward(lower);
    return;
  }
  Attention a = describe(lower, false);
  if (a.lane.group)
    lower_ranges(&a, lower);
  lower_forward(&a, lower);
}
