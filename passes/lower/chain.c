/* The chain template: anchors that follow each other row by row (passes/graph/fuse_chain.c).
 *
 * A block computes a few positions at a time. For one stage after the other it runs through the
 * columns of the stage's results, computes a register tile of each of its anchors with everything
 * elementwise that follows, stores what others read, and keeps in its own tensors [rows, columns]
 * what later stages multiply. A stage has one anchor, or several side by side over one space.
 *
 * Where sums over all rows are asked for too, a block takes a strip of positions and adds them up
 * in its own memory (chain_sums.c).
 */
#include "passes/lower/chain.h"
#include "passes/lower/window.h"
#include <string.h>

enum { ROWS = 12, SUMMED_ROWS = 32, GPU_ROWS = 64, GPU_LEAST_ROWS = 16 };

Value *chain_rows_of(const Chain *chain, Value *operand) {
  return frame_resolve(&chain->frame, operand).base;
}

static bool keeps_rows(const Node *node) {
  return node->op->cls == OP_WINDOW || (node->op->cls == OP_CONTR && !node_sums_rows(node));
}

static int stage_of(Chain *chain, Node *node) {
  Arena *arena = chain->lower->arena;
  int stage = STAGE_ANY;
  for (int i = 0; i < node->n_in; i++)
    if (chain->stage[node->in[i]->id] > stage)
      stage = chain->stage[node->in[i]->id];
  if (node->op->cls == OP_REDUCE || node_sums_rows(node)) {
    if (node->op->cls == OP_REDUCE)
      vec_push(arena, &chain->folds, node);
    else
      vec_push(arena, &chain->products, node);
    return STAGE_SUMMED;
  }
  if (keeps_rows(node)) {
    vec_push(arena, &chain->anchors, node);
    stage++;
    chain->stages = stage + 1 > chain->stages ? stage + 1 : chain->stages;
  }
  return stage;
}

static void find_stages(Chain *chain) {
  Graph *body = (Graph *)chain->lower->body;
  chain->stage = ARENA_ARRAY(chain->lower->arena, int, body->n_values);
  for (int i = 0; i < body->inputs.count; i++)
    chain->stage[body->inputs.at[i].value->id] = STAGE_ANY;
  for (int n = 0; n < body->nodes.count; n++) {
    Node *node = body->nodes.at[n];
    int stage = stage_of(chain, node);
    for (int i = 0; i < node->n_out; i++)
      chain->stage[node->out[i].id] = stage;
  }
}

static int64_t columns_of(const Value *value) { return value->type.dim[value->type.rank - 1]; }

static int64_t stage_columns(const Chain *chain, int stage) {
  for (int a = 0; a < chain->anchors.count; a++)
    if (chain->stage[chain->anchors.at[a]->out[0].id] == stage)
      return columns_of(&chain->anchors.at[a]->out[0]);
  FAULT("a chain has no stage %d", stage);
}

int chain_storing_stage(const Chain *chain, const Value *value) {
  int stage = chain->stage[value->id];
  for (int s = chain->stages - 1; stage == STAGE_ANY && s >= 0; s--)
    if (stage_columns(chain, s) == columns_of(value))
      stage = s;
  CHECK(stage != STAGE_ANY);
  return stage;
}

static bool stored_now(const Frame *frame, const Value *value) {
  const Chain *chain = (const Chain *)frame;
  return chain_storing_stage(chain, value) == chain->now;
}

/* Rows of a block. Where sums are made, so many that a register tile of a sum is taken up rarely,
 * but no more than the first-level cache keeps; along one dimension, for they are what the products
 * sum over. */
static Tiling choose_tiling(const Chain *chain) {
  const Frame *frame = &chain->frame;
  const Facts *facts = chain->lower->facts;
  const Node *first = chain->anchors.at[0];
  int last = frame->rank - 1, rows = facts->threads > 1 ? GPU_ROWS : ROWS;
  Tiling tiling = {.cols = (int)frame->extent[last]};
  unsigned dims = chain->summed && last > 0 ? 1u << (last - 1) : (1u << last) - 1;
  if (chain->summed && facts->threads == 1 && chain->row_bytes) {
    int64_t fit = facts->l1 / chain->row_bytes;
    rows = fit > SUMMED_ROWS ? SUMMED_ROWS : fit > rows ? (int)fit : rows;
  }
  if (facts->threads > 1) {
    rows = shared_rows(frame, tiling.cols, rows, GPU_LEAST_ROWS);
    while (rows > GPU_LEAST_ROWS && rows * chain->row_bytes > facts->shared / 2)
      rows /= 2;
  }
  choose_box(last, frame->extent, dims, rows, 0.5, tiling.box);
  if (!chain->summed && op_attr_index(first->op, "stride") >= 0)
    tiling.band = choose_band(facts, first, tiling.box);
  return tiling;
}

/* ---- rows in the block's memory ---- */

/* A factor that was rounded on the way is kept as it was rounded. */
static Dtype kept_dtype(const Value *value) { return narrow_source(value) ? DT_bf16 : DT_f32; }

static void keep(Chain *chain, const Value *value) {
  if (!chain->keep[value->id])
    chain->row_bytes += columns_of(value) * (int64_t)dtype_size(kept_dtype(value));
  chain->keep[value->id] = true;
}

static void choose_kept(Chain *chain) {
  chain->keep = ARENA_ARRAY(chain->lower->arena, bool, chain->lower->body->n_values);
  for (int a = 0; a < chain->anchors.count; a++) {
    Value *left = chain_rows_of(chain, chain->anchors.at[a]->in[0]);
    if (chain->stage[left->id] >= 0)
      keep(chain, left);
  }
  for (int p = 0; p < chain->products.count; p++)
    for (int i = 0; i < 2; i++)
      keep(chain, chain_rows_of(chain, chain->products.at[p]->in[i]));
}

static void make_kept(Chain *chain) {
  const Graph *body = chain->lower->body;
  chain->kept = ARENA_ARRAY(chain->lower->arena, Buffer *, body->n_values);
  for (int v = 0; v < body->inputs.count + body->nodes.count; v++) {
    const Value *value = v < body->inputs.count ? body->inputs.at[v].value
                                                : &body->nodes.at[v - body->inputs.count]->out[0];
    Type type = {kept_dtype(value), 2, {frame_rows(&chain->frame), columns_of(value)}};
    if (chain->keep[value->id])
      chain->kept[value->id] = kernel_scratch(chain->frame.kernel, value->name, type);
  }
}

/* The frame moves to a tile of `cols` columns, in a loop over all of them. */
static void open_columns(Chain *chain, int64_t columns, int cols) {
  Frame *frame = &chain->frame;
  int last = frame->rank - 1;
  Stmt *loop;
  memset(frame->tile, 0, sizeof(Tile *) * (size_t)chain->lower->body->n_values);
  frame->extent[last] = columns;
  frame->cols = cols;
  frame->place[last] = (Place){.at = affine_constant(0), .col = 1};
  if (columns > frame->cols)
    frame->place[last].at = affine_var(frame_loop(frame, "j", 0, columns, frame->cols, &loop), 1);
}

/* Rows outside the space count nothing where rows are summed up: they are kept as zeros. */
static void store_kept(Chain *chain, Value *value) {
  Frame *frame = &chain->frame;
  Tile *tile = frame_whole(frame, frame_cast(frame, frame_value(frame, value), DT_f32));
  Tile *inside = chain->ragged ? frame_rows_inside(frame) : NULL;
  if (inside)
    tile = frame_map(frame, K_select, inside, tile, frame_fill(frame, 0, DT_f32, false, false));
  Access access =
      frame_rows_access(frame, chain->kept[value->id], frame->place[frame->rank - 1].at);
  frame_store(frame, &access, frame_cast(frame, tile, kept_dtype(value)));
}

static void keep_values(Chain *chain) {
  const Graph *body = chain->lower->body;
  for (int n = 0; n < body->nodes.count; n++)
    if (chain->keep[body->nodes.at[n]->out[0].id] &&
        chain->stage[body->nodes.at[n]->out[0].id] == chain->now)
      store_kept(chain, &body->nodes.at[n]->out[0]);
}

/* What is not computed by stages, each by itself: columns differ. */
static void keep_loaded(Chain *chain) {
  const Graph *body = chain->lower->body;
  for (int v = 0; v < body->inputs.count + body->nodes.count; v++) {
    Value *value = v < body->inputs.count ? body->inputs.at[v].value
                                          : &body->nodes.at[v - body->inputs.count]->out[0];
    if (!chain->keep[value->id] || chain->stage[value->id] != STAGE_ANY)
      continue;
    Block *outside = chain->frame.block;
    open_columns(chain, columns_of(value),
                 contraction_columns(chain->lower->facts, columns_of(value)));
    store_kept(chain, value);
    chain->frame.block = outside;
  }
}

/* ---- stages ---- */

static void compute_anchor(Chain *chain, const Node *node) {
  Frame *frame = &chain->frame;
  if (node->op->cls == OP_WINDOW) {
    window_announce(frame, node);
    window_results(frame, node);
    return;
  }
  Tile *sum = frame_fill(frame, 0, DT_f32, true, true);
  contraction_add(frame, node, chain->kept[chain_rows_of(chain, node->in[0])->id], sum);
  frame->tile[node->out[0].id] = sum;
}

/* Columns of a register tile: one vector where each element has two results to hold. */
static int tile_columns(const Chain *chain) {
  const Facts *facts = chain->lower->facts;
  int64_t columns = stage_columns(chain, chain->now);
  int cols = contraction_columns(facts, columns);
  for (int a = 0; a < chain->anchors.count; a++) {
    const Node *node = chain->anchors.at[a];
    if (chain->stage[node->out[0].id] == chain->now && node->n_out > 1 && facts->threads == 1 &&
        cols > facts->vector)
      cols = facts->vector;
  }
  return cols;
}

/* The stage's anchors and what follows them, for all their columns. */
static void compute_stage(Chain *chain) {
  Frame *frame = &chain->frame;
  Block *outside = frame->block;
  open_columns(chain, stage_columns(chain, chain->now), tile_columns(chain));
  for (int a = 0; a < chain->anchors.count; a++)
    if (chain->stage[chain->anchors.at[a]->out[0].id] == chain->now)
      compute_anchor(chain, chain->anchors.at[a]);
  keep_values(chain);
  chain_add_folds(chain);
  frame_store_outputs(frame, stored_now);
  frame->block = outside;
}

void lower_chain(Lower *lower) {
  Chain chain = {.lower = lower, .strips = 1};
  Frame *frame = &chain.frame;
  find_stages(&chain);
  frame_start(frame, lower, "");
  frame_dims(frame, &chain.anchors.at[chain.anchors.count - 1]->out[0].type);
  chain.summed = chain.products.count + chain.folds.count > 0;
  choose_kept(&chain);
  Tiling tiling = choose_tiling(&chain);
  const Node *first = chain.anchors.at[0];
  frame_stream_large(frame);
  tiling.inner_loop = !chain.summed && window_line_pays(frame, first, &tiling);
  if (chain.summed) {
    chain_place_strips(&chain, tiling.box);
    chain.ragged = rows_are_ragged(frame, &tiling);
  } else {
    place_output(frame, &tiling);
  }
  make_kept(&chain);
  Block *outside = frame->block;
  if (tiling.inner_loop) {
    window_line_start(frame, first, &tiling);
    open_inner_loop(frame, &tiling);
  }
  if (!chain.summed)
    frame_announce(frame);
  if (chain.summed) {
    chain_clear_sums(&chain);
    chain_open_strip(&chain, tiling.box);
  }
  keep_loaded(&chain);
  for (; chain.now < chain.stages; chain.now++)
    compute_stage(&chain);
  frame->kernel->schedule = (Schedule){.rows = (int)frame_rows(frame),
                                       .cols = frame->cols,
                                       .unroll_k = 4,
                                       .strips = (int)chain.strips};
  chain_add_products(&chain);
  frame->block = outside;
  if (chain.summed)
    chain_finish(&chain);
  else
    frame_finish(frame, "chain");
}
