/* Pairs for attention: see attention.h.
 *
 * A dot of pairs wants neighbours along k in one i32, on both sides. Where k lies along a tile's
 * columns, as channels do in tokens that are the left factor, neighbours are such a pair already.
 * Where k lies along rows, two tiles, one of the even and one of the odd rows, are put together
 * element by element; no lanes move but where two vectors are taken in turns. What has to be turned
 * besides goes through the block's memory (kernel_scratch), where it stays in the first-level
 * cache: a left factor is read from there element by element anyway, and of two neighbours in a row
 * one load makes a pair.
 */
#include "passes/lower/attention.h"

static Tile *boxed(Frame *frame, Dtype dtype, int rows, int cols) {
  return kernel_tile(frame->kernel, "pairs", dtype, rows > 1, &rows, cols);
}

Tile *frame_pairs(Frame *frame, Tile *first, Tile *second) {
  Tile *pairs = boxed(frame, DT_i32, first->rows, first->cols);
  stmt_map(frame->kernel, frame->block, pairs, K_pair, first, second, NULL);
  return pairs;
}

/* The tile in memory of its own. */
static Buffer *kept(Frame *frame, Tile *tile) {
  Type type = {tile->dtype, 2, {tile->rows, tile->cols}};
  Access to = {.buffer = kernel_scratch(frame->kernel, "kept", type), .rank = 2};
  to.dim[0] = (AccessDim){.at = affine_constant(0), .row = {tile->rows > 1}, .divisor = 1};
  to.dim[1] = (AccessDim){.at = affine_constant(0), .col = tile->cols > 1, .divisor = 1};
  frame_store(frame, &to, tile);
  return to.buffer;
}

/* Columns `first`, first + every, … of a kept tile as rows. */
static Tile *turned(Frame *frame, Buffer *from, int first, int every) {
  int rows = (int)from->type.dim[0], cols = (int)from->type.dim[1] / every;
  Access access = {.buffer = from, .rank = 2};
  access.dim[0] = (AccessDim){.at = affine_constant(0), .col = rows > 1, .divisor = 1};
  access.dim[1] =
      (AccessDim){.at = affine_constant(first), .row = {cols > 1 ? every : 0}, .divisor = 1};
  return frame_load_box(frame, &access, "turned", cols > 1, &cols, rows)->tile;
}

Tile *frame_turned(Frame *frame, Tile *tile) { return turned(frame, kept(frame, tile), 0, 1); }

Tile *frame_turned_pairs(Frame *frame, Tile *tile) {
  CHECK(tile->dtype == DT_bf16 && tile->cols % 2 == 0);
  Buffer *from = kept(frame, tile);
  Tile *first = turned(frame, from, 0, 2);
  return frame_pairs(frame, first, turned(frame, from, 1, 2));
}
