/* The terms template: contractions side by side whose results meet (passes/graph/fuse_terms.c).
 *
 * A block computes one line of positions, the last dimension before the columns, for some columns.
 * It runs through the line once for every contraction, so that each one's matrices stay in the
 * first-level cache meanwhile, and keeps the results in the block's own tensors [positions,
 * columns]. The last run has all results at hand: what follows them is computed and stored tile by
 * tile.
 *
 * Where threads share a block there are no such runs: each tile computes all results one after the
 * other (contraction.c).
 */
#include "passes/lower/taps.h"
#include <string.h>

typedef struct Terms {
  Frame frame;
  const Lower *lower;
  VEC(const Node *) anchors;
  Buffer **kept; /* by anchor, but for the last */
  Tiling tiling;
} Terms;

static void find_anchors(Terms *terms) {
  const Graph *body = terms->lower->body;
  for (int n = 0; n < body->nodes.count; n++)
    if (body->nodes.at[n]->op->cls == OP_CONTR)
      vec_push(terms->lower->arena, &terms->anchors, body->nodes.at[n]);
  terms->kept = ARENA_ARRAY(terms->lower->arena, Buffer *, terms->anchors.count);
}

/* One tile for all; the narrowest of their bands. */
static void choose_tiling(Terms *terms) {
  Frame *frame = &terms->frame;
  int64_t band = 0;
  for (int i = 0; i < terms->anchors.count; i++) {
    terms->tiling = contraction_tiling(frame, terms->anchors.at[i]);
    if (terms->tiling.band && (!band || terms->tiling.band < band))
      band = terms->tiling.band;
  }
  terms->tiling.band = band;
  terms->tiling.inner_loop = true;
}

/* The tile's rows in a tensor [rows of the axes outside the line…, positions of the line, columns]:
 * the axes are few and short where a tile spans whole lines. */
static Access kept_access(const Terms *terms, Buffer *kept) {
  const Frame *frame = &terms->frame;
  const Place *line = &frame->place[frame->rank - 2];
  Access access = {.buffer = kept, .rank = kept->type.rank};
  int last = access.rank - 2;
  for (int d = 0; d < access.rank; d++)
    access.dim[d] = (AccessDim){.at = affine_constant(0), .divisor = 1};
  for (int j = 0, d = 0; j < frame->n_axes; j++)
    if (line->row[j])
      access.dim[last].row[j] = 1;
    else
      access.dim[d++].row[j] = 1;
  access.dim[last].at = line->at;
  access.dim[last + 1].col = 1;
  return access;
}

static Buffer *keep(Terms *terms, const Node *anchor) {
  Frame *frame = &terms->frame;
  const Place *line = &frame->place[frame->rank - 2];
  int box = terms->tiling.box[frame->rank - 2];
  Type type = {.dtype = DT_f32};
  for (int j = 0; j < frame->n_axes; j++)
    if (!line->row[j])
      type.dim[type.rank++] = frame->axis[j];
  type.dim[type.rank++] = ceil_div(frame->extent[frame->rank - 2], box) * box;
  type.dim[type.rank++] = frame->cols;
  return kernel_scratch(frame->kernel, anchor->out[0].name, type);
}

static void run(Terms *terms, int i) {
  Frame *frame = &terms->frame;
  const Node *anchor = terms->anchors.at[i];
  Block *outside = frame->block;
  Place line = frame->place[frame->rank - 2];
  bool last = i + 1 == terms->anchors.count;
  memset(frame->tile, 0, sizeof(Tile *) * (size_t)terms->lower->body->n_values);
  open_inner_loop(frame, &terms->tiling);
  contraction_announce(frame, anchor);
  if (last)
    frame_announce(frame);
  Tile *sum = frame_fill(frame, 0, DT_f32, true, true);
  contraction_add(frame, anchor, NULL, sum);
  frame->tile[anchor->out[0].id] = sum;
  if (!last) {
    terms->kept[i] = keep(terms, anchor);
    Access access = kept_access(terms, terms->kept[i]);
    frame_store(frame, &access, sum);
  }
  for (int j = 0; last && j < i; j++) {
    Access access = kept_access(terms, terms->kept[j]);
    frame->tile[terms->anchors.at[j]->out[0].id] = frame_load(frame, &access, DT_f32, 0);
  }
  if (last) {
    frame_store_outputs(frame, NULL);
    frame->kernel->schedule =
        (Schedule){.rows = sum->rows, .cols = sum->cols, .unroll_k = 4, .strips = 1};
  }
  frame->block = outside;
  frame->place[frame->rank - 2] = line;
}

void lower_terms(Lower *lower) {
  if (lower->facts->threads > 1) {
    lower_contraction(lower);
    return;
  }
  Terms terms = {.lower = lower};
  Frame *frame = &terms.frame;
  find_anchors(&terms);
  frame_start(frame, lower, "");
  frame_dims(frame, &lower->anchor->out[0].type);
  choose_tiling(&terms);
  place_output(frame, &terms.tiling);
  frame_stream_large(frame);
  for (int i = 0; i < terms.anchors.count; i++)
    run(&terms, i);
  frame_finish(frame, "terms");
}
