/* The index and movement templates: rows chosen by number, tensors put side by side or padded.
 *
 * concat is a sum of loads, each of which is zero outside its operand; pad is one load with a fill.
 * The gradient of an embedding adds rows in token order, each block owning some columns of the
 * whole table, so no two blocks meet and the order of additions is fixed.
 */
#include "passes/lower/taps.h"
#include <string.h>

/* Access to a dense operand whose coordinate d is (output place d - before[d]) / step[d]. */
static Access shifted(Frame *frame, Value *operand, const int64_t *before, const int64_t *step) {
  ViewMap map = frame_resolve(frame, operand);
  CHECK(!map.base->node && view_map_keeps_bounds(&map, &operand->type));
  Access access = {.rank = map.type.rank, .buffer = frame_buffer(frame, map.base, map.type, false)};
  CHECK(map.type.rank == frame->rank);
  for (int d = 0; d < access.rank; d++) {
    access.dim[d] = (AccessDim){.at = affine_offset(frame->place[d].at, -before[d]),
                                .col = frame->place[d].col,
                                .divisor = step ? step[d] : 1};
    memcpy(access.dim[d].row, frame->place[d].row, sizeof access.dim[d].row);
  }
  return access;
}

static void concat(Frame *frame, const Node *node) {
  int axis = (int)node_int(node, "axis");
  int64_t before[MAX_RANK] = {0};
  Tile *sum = NULL;
  for (int i = 0; i < node->n_in; i++) {
    Access access = shifted(frame, node->in[i], before, NULL);
    Tile *part = frame_load(frame, &access, node->out[0].type.dtype, 0);
    before[axis] += node->in[i]->type.dim[axis];
    if (sum)
      stmt_map(frame->kernel, frame->block, sum, K_add, sum, part, NULL);
    else
      sum = part;
  }
  frame->tile[node->out[0].id] = sum;
}

static void pad(Frame *frame, const Node *node) {
  Access access =
      shifted(frame, node->in[0], node_ints(node, "before", NULL), node_ints(node, "step", NULL));
  frame->tile[node->out[0].id] =
      frame_load(frame, &access, node->out[0].type.dtype, node_float(node, "value"));
}

static void embedding(Frame *frame, const Node *node) {
  ViewMap table = frame_resolve(frame, node->in[0]), ids = frame_resolve(frame, node->in[1]);
  Access index = {.rank = ids.type.rank, .buffer = frame_buffer(frame, ids.base, ids.type, false)};
  for (int d = 0; d < ids.type.rank; d++) {
    index.dim[d] = (AccessDim){.at = frame->place[d].at, .divisor = 1};
    memcpy(index.dim[d].row, frame->place[d].row, sizeof index.dim[d].row);
  }
  Tile *id = frame_load(frame, &index, node->in[1]->type.dtype, 0);
  const Place *column = &frame->place[frame->rank - 1];
  Access access = {.rank = 2, .buffer = frame_buffer(frame, table.base, table.type, false)};
  access.gather = id;
  access.gather_dim = 0;
  access.dim[0] = (AccessDim){.at = affine_constant(0), .divisor = 1};
  access.dim[1] = (AccessDim){.at = column->at, .col = column->col, .divisor = 1};
  frame->tile[node->out[0].id] = frame_load(frame, &access, node->out[0].type.dtype, 0);
}

static void embedding_gradient(Lower *lower) {
  const Node *node = lower->anchor;
  int64_t width = node->out[0].type.dim[1], tokens = type_elements(&node->in[1]->type);
  Frame frame;
  for (int d = 0; d < 2; d++) { /* first zeros everywhere, then the rows one by one */
    frame_start(&frame, lower, d ? "" : "_zero");
    frame_dims(&frame, &node->out[0].type);
    int cols = (int)(width < 16 ? width : 16);
    if (d)
      frame.extent[0] = 1;
    place_output(
        &frame, &(Tiling){.box = {1, 1}, .cols = d ? cols : (int)width, .columns_outermost = true});
    Access out = {.rank = 2,
                  .buffer = frame_buffer(&frame, &node->out[0], node->out[0].type, true)};
    for (int i = 0; i < 2; i++)
      out.dim[i] = (AccessDim){.at = frame.place[i].at, .col = frame.place[i].col, .divisor = 1};
    if (!d) {
      frame_store(&frame, &out, frame_fill(&frame, 0, DT_f32, false, true));
      frame_finish(&frame, "zero");
      continue;
    }
    Stmt *loop;
    IndexVar *token = frame_loop(&frame, "token", 0, tokens, 1, &loop);
    ViewMap dy = frame_resolve(&frame, node->in[0]), ids = frame_resolve(&frame, node->in[1]);
    Type line = {ids.type.dtype, 1, {tokens}}, rows = {dy.type.dtype, 2, {tokens, width}};
    CHECK(view_map_is_dense(&dy, &node->in[0]->type) &&
          view_map_is_dense(&ids, &node->in[1]->type));
    Access index = {.rank = 1, .buffer = frame_buffer(&frame, ids.base, line, false)};
    index.dim[0] = (AccessDim){.at = affine_var(token, 1), .divisor = 1};
    Access row = {.rank = 2, .buffer = frame_buffer(&frame, dy.base, rows, false)};
    row.dim[0] = (AccessDim){.at = affine_var(token, 1), .divisor = 1};
    row.dim[1] = out.dim[1];
    out.gather = frame_load(&frame, &index, line.dtype, 0);
    out.gather_dim = 0;
    frame_store(&frame, &out, frame_load(&frame, &row, DT_f32, 0));
    Stmt *store = loop->body.at[loop->body.count - 1];
    store->accumulate = true;
    frame_finish(&frame, node->op->name);
  }
}

void lower_gather(Lower *lower) {
  const Node *node = lower->anchor;
  if (strcmp(node->op->name, "embedding_grad") == 0) {
    embedding_gradient(lower);
    return;
  }
  Frame frame;
  frame_start(&frame, lower, "");
  frame_dims(&frame, &node->out[0].type);
  Tiling tiling = {.cols = 1};
  for (int d = 0; d < frame.rank; d++)
    tiling.box[d] = 1;
  int64_t width = frame.rank ? frame.extent[frame.rank - 1] : 1;
  CHECK(frame.rank > 0);
  tiling.cols = (int)width;
  place_output(&frame, &tiling);
  if (strcmp(node->op->name, "concat") == 0)
    concat(&frame, node);
  else if (strcmp(node->op->name, "pad") == 0)
    pad(&frame, node);
  else if (strcmp(node->op->name, "embedding") == 0)
    embedding(&frame, node);
  else
    FAULT("no lowering for op %s", node->op->name);
  frame_store_outputs(&frame, NULL);
  frame_finish(&frame, node->op->name);
}
