/* Convolutions over taps by blocks of many threads: every cell of the input that any tap of the
 * tile touches is brought to the block's memory once, with zeros for what lies outside; then each
 * tap's rows are those of a box moved about in it. Channels pass by in chunks that fit. The
 * weights of a chunk come along where they fit too, so that threads meet once a chunk, not once a
 * tap.
 */
#include "passes/lower/halo.h"
#include "passes/kernel/kernel_pass.h"
#include <string.h>

enum { LEAST_CHUNK = 16, MOST_CHUNK = 64 };

/* Coordinates of operand 0 where every tap has offset[]. */
static Access operand_at(Frame *frame, const Node *node, const Contraction *c, Affine chunk,
                         const Affine *offset) {
  Place out[MAX_RANK], k[MAX_K] = {0};
  for (int d = 0; d < frame->rank; d++) {
    out[d] = frame->place[d];
    out[d].col = 0; /* columns of the operand are channels */
  }
  k[1] = (Place){.at = chunk, .col = 1};
  return operand_access(frame, node->in[0], c->a, out, k, offset);
}

static Access at_ends(Frame *frame, const Node *node, const Contraction *c, Affine chunk, int end) {
  Affine offset[3];
  for (int axis = 0; axis < 3; axis++) {
    int64_t reach[2];
    tap_range(node, axis, &reach[0], &reach[1]);
    offset[axis] = affine_constant(reach[end]);
  }
  return operand_at(frame, node, c, chunk, offset);
}

int64_t halo_cells(const Node *node, const int *box) {
  const int64_t *stride = node_ints(node, "stride", NULL);
  int64_t cells = 1, low, high;
  for (int axis = 0; axis < 3; axis++) {
    tap_range(node, axis, &low, &high);
    cells *= stride[axis] * (box[axis] - 1) + high - low + 1;
  }
  return cells;
}

/* The input's box for a tile; false: its cells do not lie in a box of ordinary steps. */
static bool find_spans(const Frame *frame, const Access *low, const Access *high, Halo *halo) {
  int axes = 0;
  halo->channel = -1;
  for (int d = 0; d < low->rank; d++) {
    const AccessDim *dim = &low->dim[d];
    Affine between = affine_add(high->dim[d].at, affine_scale(dim->at, -1));
    if (dim->divisor > 1 || !affine_is_constant(&between) || between.constant < 0)
      return false;
    halo->span[d] = between.constant + 1;
    for (int j = 0; j < frame->n_axes; j++) {
      if (dim->row[j] < 0 || (dim->row[j] && dim->col))
        return false;
      halo->span[d] += dim->row[j] * (frame->axis[j] - 1);
    }
    axes += halo->span[d] > 1;
    if (dim->col == 1 && halo->channel < 0)
      halo->channel = d;
    else if (dim->col)
      return false;
  }
  return halo->channel == low->rank - 1 && axes <= MAX_ROW_AXES;
}

static int64_t row_bytes(Dtype dtype, int64_t columns) {
  return shared_pitch(dtype, columns) * (int64_t)dtype_size(dtype);
}

static bool spans_of(Frame *frame, const Node *node, const Contraction *c, Halo *halo) {
  if (c->tap_k != 0 || c->n_k != 2 || c->k_extent[0] < 2)
    return false;
  Affine none = affine_constant(0);
  Access low = at_ends(frame, node, c, none, 0), high = at_ends(frame, node, c, none, 1);
  halo->dtype = low.buffer->type.dtype;
  halo->rank = low.rank;
  return find_spans(frame, &low, &high, halo);
}

/* Room for the cells of any of the region's convolutions, which come one after the other. */
static void find_room(Frame *frame, Halo *halo) {
  const Graph *body = frame->lower->body;
  memcpy(halo->room, halo->span, sizeof halo->room);
  for (int n = 0; n < body->nodes.count; n++) {
    const Node *node = body->nodes.at[n];
    if (node->op->cls != OP_CONTR || (node->op->flags & OPF_BORDER))
      continue;
    Contraction c = contraction_of(node);
    Halo other;
    if (!spans_of(frame, node, &c, &other) || other.rank != halo->rank ||
        other.dtype != halo->dtype)
      continue;
    for (int d = 0; d < halo->rank; d++)
      if (other.span[d] > halo->room[d])
        halo->room[d] = other.span[d];
  }
}

bool halo_plan(Frame *frame, const Node *node, const Contraction *c, Halo *halo) {
  const Facts *facts = frame->lower->facts;
  if (facts->threads == 1 || !spans_of(frame, node, c, halo))
    return false;
  find_room(frame, halo);
  int64_t depth = c->k_extent[1], cells = 1, room = facts->shared;
  for (int d = 0; d < halo->rank; d++)
    cells *= d == halo->channel ? 1 : halo->room[d];
  Dtype of_a = halo->dtype, of_b = stored_dtype(node->in[1]);
  halo->chunk = depth < MOST_CHUNK ? depth : MOST_CHUNK;
  while (halo->chunk > LEAST_CHUNK && cells * row_bytes(of_a, halo->chunk) > room * 2 / 3)
    halo->chunk /= 2;
  if (depth % halo->chunk)
    halo->chunk = depth <= MOST_CHUNK ? depth : LEAST_CHUNK;
  int64_t bytes = cells * row_bytes(of_a, halo->chunk);
  halo->span[halo->channel] = halo->room[halo->channel] = halo->chunk;
  halo->weights = bytes + c->k_extent[0] * halo->chunk * row_bytes(of_b, frame->cols) <= room;
  return depth % halo->chunk == 0 && bytes <= room * 2 / 3;
}

/* A tensor of the block's own with the elements of a tile that is loaded and stored there; that of
 * an earlier op where it has the same form, for nobody needs its elements any more. */
static Buffer *bring(Frame *frame, const Access *from, const char *name, int n_axes,
                     const int *axis, int cols, const Type *type, const int *dim_of_axis,
                     Buffer **brought) {
  if (!*brought || !type_equal(&(*brought)->type, type))
    *brought = kernel_scratch(frame->kernel, name, *type);
  Buffer *buffer = *brought;
  Tile *tile = frame_load_box(frame, from, name, n_axes, axis, cols)->tile;
  Access to = {.buffer = buffer, .rank = type->rank};
  for (int d = 0; d < type->rank; d++)
    to.dim[d] = (AccessDim){.at = affine_constant(0), .divisor = 1};
  for (int j = 0; j < n_axes; j++)
    to.dim[dim_of_axis[j]].row[j] = 1;
  to.dim[type->rank - 1].col = 1;
  frame_store(frame, &to, tile);
  return buffer;
}

static Buffer *bring_rows(Frame *frame, const Node *node, const Contraction *c, const Halo *halo,
                          Affine chunk) {
  Access from = at_ends(frame, node, c, chunk, 0);
  int axis[MAX_ROW_AXES], dim_of_axis[MAX_ROW_AXES], n = 0;
  Type type = {from.buffer->type.dtype, from.rank, {0}};
  for (int d = 0; d < from.rank; d++) {
    type.dim[d] = halo->room[d];
    memset(from.dim[d].row, 0, sizeof from.dim[d].row);
    if (d == halo->channel || halo->span[d] == 1)
      continue;
    dim_of_axis[n] = d;
    axis[n] = (int)halo->span[d];
    from.dim[d].row[n++] = 1;
  }
  return bring(frame, &from, "halo", n, axis, (int)halo->chunk, &type, dim_of_axis,
               &frame->brought[0]);
}

static Access weights_access(Frame *frame, const Node *node, const Contraction *c, Place tap,
                             Place depth) {
  Place out[MAX_RANK], k[MAX_K] = {tap, depth};
  for (int d = 0; d < frame->rank; d++) {
    out[d] = frame->place[d];
    memset(out[d].row, 0, sizeof out[d].row);
  }
  return operand_access(frame, node->in[1], c->b, out, k, NULL);
}

static Buffer *bring_weights(Frame *frame, const Node *node, const Contraction *c, const Halo *halo,
                             Affine chunk) {
  Access from =
      weights_access(frame, node, c, (Place){.row = {1}}, (Place){.at = chunk, .row = {0, 1}});
  int axis[2] = {(int)c->k_extent[0], (int)halo->chunk}, dim_of_axis[2] = {0, 1};
  Type type = {from.buffer->type.dtype, 3, {axis[0], axis[1], frame->cols}};
  return bring(frame, &from, "weights", 2, axis, frame->cols, &type, dim_of_axis,
               &frame->brought[1]);
}

/* One tap's rows: the tile's box, moved. */
static Tile *tap_rows(Frame *frame, const Node *node, const Contraction *c, const Halo *halo,
                      Buffer *rows, const Affine *offset) {
  Affine none = affine_constant(0);
  Access low = at_ends(frame, node, c, none, 0), at = operand_at(frame, node, c, none, offset);
  Access access = at;
  access.buffer = rows;
  for (int d = 0; d < at.rank; d++)
    access.dim[d].at = affine_add(at.dim[d].at, affine_scale(low.dim[d].at, -1));
  Stmt *load = frame_load_box(frame, &access, "a", frame->n_axes, frame->axis, (int)halo->chunk);
  load->inside = true;
  return load->tile;
}

static Tile *tap_weights(Frame *frame, const Node *node, const Contraction *c, const Halo *halo,
                         Buffer *weights, Affine tap, Affine chunk) {
  int depth = (int)halo->chunk;
  Access access = {.buffer = weights, .rank = 3};
  if (!weights) {
    access = weights_access(frame, node, c, (Place){.at = tap}, (Place){.at = chunk, .row = {1}});
    return frame_load_box(frame, &access, "b", 1, &depth, frame->cols)->tile;
  }
  access.dim[0] = (AccessDim){.at = tap, .divisor = 1};
  access.dim[1] = (AccessDim){.at = affine_constant(0), .row = {1}, .divisor = 1};
  access.dim[2] = (AccessDim){.at = affine_constant(0), .col = 1, .divisor = 1};
  Stmt *load = frame_load_box(frame, &access, "b", 1, &depth, frame->cols);
  load->inside = true;
  return load->tile;
}

void halo_terms(Frame *frame, const Node *node, const Contraction *c, const Halo *halo, Tile *sum) {
  Block *outside = frame->block;
  Affine chunk = affine_constant(0), offset[3];
  Stmt *loop;
  Taps taps = taps_of(frame, node);
  if (c->k_extent[1] > halo->chunk)
    chunk = affine_var(frame_loop(frame, "kk", 0, c->k_extent[1], halo->chunk, &loop), 1);
  Buffer *rows = bring_rows(frame, node, c, halo, chunk);
  Buffer *weights = halo->weights ? bring_weights(frame, node, c, halo, chunk) : NULL;
  Affine tap = affine_var(frame_loop(frame, "k", 0, c->k_extent[0], 1, &loop), 1);
  taps_lookup(frame, &taps, tap, offset);
  Tile *a = tap_rows(frame, node, c, halo, rows, offset);
  Tile *b = tap_weights(frame, node, c, halo, weights, tap, chunk);
  frame_dot(frame, sum, a, b);
  frame->block = outside;
}
