/* Tiles of contractions for blocks whose threads share memory.
 *
 * A block computes rows x columns with each thread's sums in registers; a larger tile reads each
 * operand less often. But there must be blocks for every multiprocessor several times over, so the
 * tile shrinks where a result is small. Boxes of convolutions are those whose tiles, taps and all,
 * read the fewest cells; their sides are powers of two, so that a row's coordinates are cheap.
 */
#include "passes/lower/halo.h"

enum { MOST_ROWS = 128, LEAST_ROWS = 32, WIDE = 64, NARROW = 32, PIECE = 8, ENOUGH_BLOCKS = 256 };
/* In cells read: what computing a position costs, and a tile for its own sake. */
enum { WORK = 2, TILE = 64 };

/* The widest column range of whole pieces that divides the width. */
int shared_columns(int64_t width) {
  if (width <= NARROW)
    return (int)width;
  for (int columns = WIDE; columns >= NARROW; columns -= PIECE)
    if (width % columns == 0)
      return columns;
  return NARROW;
}

/* The least power of two that covers the extent, at most `limit`. */
static int cover(int64_t extent, int limit) {
  int side = 1;
  while (side < extent && side < limit)
    side *= 2;
  return side;
}

static void choose_cube(const Frame *frame, const Node *node, int rows, int *box) {
  const int64_t *extent = frame->extent;
  double least = 0;
  int side[3];
  for (side[2] = cover(extent[3], rows); side[2] >= 1; side[2] /= 2)
    for (side[1] = cover(extent[2], rows / side[2]); side[1] >= 1; side[1] /= 2) {
      side[0] = cover(extent[1], rows / side[1] / side[2]);
      double tiles = 1, cells = (double)halo_cells(node, side);
      cells += (double)WORK * side[0] * side[1] * side[2] + TILE;
      for (int axis = 0; axis < 3; axis++)
        tiles *= (double)ceil_div(extent[1 + axis], side[axis]);
      if (least > 0 && tiles * cells >= least)
        continue;
      least = tiles * cells;
      for (int axis = 0; axis < 3; axis++)
        box[1 + axis] = side[axis];
    }
}

int shared_rows(const Frame *frame, int cols, int most, int least) {
  int64_t positions = ceil_div(frame->extent[frame->rank - 1], cols);
  for (int d = 0; d < frame->rank - 1; d++)
    positions *= frame->extent[d];
  while (most > least && positions < (int64_t)ENOUGH_BLOCKS * most)
    most /= 2;
  return most;
}

static int64_t blocks_of(const Frame *frame, const Tiling *tiling) {
  int64_t blocks = ceil_div(frame->extent[frame->rank - 1], tiling->cols);
  for (int d = 0; d < frame->rank - 1; d++)
    blocks *= ceil_div(frame->extent[d], tiling->box[d]);
  return blocks;
}

Tiling shared_tile(const Contraction *c, const Frame *frame, const Node *node) {
  Tiling tiling = {.cols = shared_columns(frame->extent[frame->rank - 1])};
  bool cube = c->tap_k == 0 && c->n_k == 2;
  for (int axis = 0; cube && axis < 3; axis++)
    cube = node_ints(node, "divisor", NULL)[axis] == 1;
  for (int rows = MOST_ROWS; rows >= LEAST_ROWS; rows /= 2) {
    if (cube) {
      for (int d = 0; d < frame->rank; d++)
        tiling.box[d] = 1;
      choose_cube(frame, node, rows, tiling.box);
    } else {
      choose_box(frame->rank - 1, frame->extent, c->box_dims, rows, 1, tiling.box);
    }
    if (blocks_of(frame, &tiling) >= ENOUGH_BLOCKS)
      break;
    if (tiling.cols > NARROW && tiling.cols % NARROW == 0 && rows == LEAST_ROWS)
      tiling.cols = NARROW;
  }
  return tiling;
}
