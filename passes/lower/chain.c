/* The chain template: anchors that follow each other row by row (passes/graph/fuse_chain.c).
 *
 * A block computes a few positions. For one anchor after the other it runs through the columns of
 * the result, computes a register tile of them with everything elementwise that follows, and keeps
 * the tile in the block's own tensor [rows, columns], where the next anchor reads its left operand.
 * The last anchor's results are stored.
 */
#include "passes/lower/taps.h"
#include <string.h>

enum { ROWS = 12, GPU_ROWS = 16 };

typedef struct Chain {
  Frame frame;
  const Lower *lower;
  VEC(Node *) anchors;
  int *stage; /* by body value id: the anchor after which it is known */
  int now;
} Chain;

static void find_stages(Chain *chain) {
  const Graph *body = chain->lower->body;
  chain->stage = ARENA_ARRAY(chain->lower->arena, int, body->n_values);
  for (int i = 0; i < body->inputs.count; i++)
    chain->stage[body->inputs.at[i].value->id] = -1;
  for (int n = 0; n < body->nodes.count; n++) {
    Node *node = body->nodes.at[n];
    int stage = -1;
    for (int i = 0; i < node->n_in; i++)
      if (chain->stage[node->in[i]->id] > stage)
        stage = chain->stage[node->in[i]->id];
    if (node->op->cls == OP_CONTR || node->op->cls == OP_WINDOW) {
      vec_push(chain->lower->arena, &chain->anchors, node);
      stage = chain->anchors.count - 1;
    }
    for (int i = 0; i < node->n_out; i++)
      chain->stage[node->out[i].id] = stage;
  }
}

static bool known_now(const Frame *frame, const Value *value) {
  const Chain *chain = (const Chain *)frame;
  return chain->stage[value->id] == chain->now;
}

static Tiling choose_tiling(const Chain *chain) {
  const Frame *frame = &chain->frame;
  const Facts *facts = chain->lower->facts;
  const Node *first = chain->anchors.at[0];
  int last = frame->rank - 1;
  Tiling tiling = {.cols = (int)frame->extent[last]};
  choose_box(last, frame->extent, (1u << last) - 1, facts->threads > 1 ? GPU_ROWS : ROWS, 0.5,
             tiling.box);
  if (op_attr_index(first->op, "stride") >= 0)
    tiling.band = choose_band(facts, first, tiling.box);
  return tiling;
}

/* One anchor and what follows it, for all its columns. */
static Buffer *compute(Chain *chain, Buffer *left) {
  Frame *frame = &chain->frame;
  const Node *node = chain->anchors.at[chain->now];
  int last = frame->rank - 1;
  int64_t width = node->out[0].type.dim[last];
  Block *outside = frame->block;
  Stmt *loop;
  memset(frame->tile, 0, sizeof(Tile *) * (size_t)chain->lower->body->n_values);
  frame->extent[last] = width;
  frame->cols = contraction_columns(chain->lower->facts, width);
  frame->place[last] = (Place){.at = affine_constant(0), .col = 1};
  if (width > frame->cols)
    frame->place[last].at = affine_var(frame_loop(frame, "j", 0, width, frame->cols, &loop), 1);
  if (node->op->cls == OP_WINDOW) {
    window_announce(frame, node);
    window_results(frame, node);
  } else {
    Tile *sum = frame_fill(frame, 0, DT_f32, true, true);
    contraction_add(frame, node, left, sum);
    frame->tile[node->out[0].id] = sum;
  }
  Buffer *kept = NULL;
  if (chain->now + 1 < chain->anchors.count) {
    Value *value = chain->anchors.at[chain->now + 1]->in[0], *narrow = narrow_source(value);
    value = narrow ? narrow : value;
    kept = kernel_scratch(frame->kernel, value->name,
                          (Type){value->type.dtype, 2, {frame_rows(frame), width}});
    Access access = frame_rows_access(frame, kept, frame->place[last].at);
    frame_store(frame, &access, frame_value(frame, value));
  }
  frame_store_outputs(frame, known_now);
  frame->block = outside;
  return kept;
}

void lower_chain(Lower *lower) {
  Chain chain = {.lower = lower};
  Frame *frame = &chain.frame;
  find_stages(&chain);
  frame_start(frame, lower, "");
  frame_dims(frame, &chain.anchors.at[chain.anchors.count - 1]->out[0].type);
  Tiling tiling = choose_tiling(&chain);
  place_output(frame, &tiling);
  frame_stream_large(frame);
  frame_announce(frame);
  Buffer *left = NULL;
  for (; chain.now < chain.anchors.count; chain.now++)
    left = compute(&chain, left);
  frame->kernel->schedule =
      (Schedule){.rows = (int)frame_rows(frame), .cols = frame->cols, .unroll_k = 4, .strips = 1};
  frame_finish(frame, "chain");
}
