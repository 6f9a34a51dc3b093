/* Taps in kernels: an op's list of offsets as three tables, looked up by tap number. */
#ifndef TRICOT_PASSES_LOWER_TAPS_H
#define TRICOT_PASSES_LOWER_TAPS_H
#include "passes/lower/frame.h"

typedef struct Taps {
  int count;
  const Table *table[3];
} Taps;

Taps taps_of(Frame *frame, const Node *node);
/* The three offsets of tap `number`, looked up in the frame's current block. */
void taps_lookup(Frame *frame, const Taps *taps, Affine number, Affine offset[3]);

/* How one coordinate of an anchor's operand follows from where the kernel stands:
 *   (out_factor * output dimension `out` + k axis `k` + tap offset `tap`) / divisor;  -1: absent */
typedef struct Coordinate {
  int out, k, tap;
  int64_t out_factor, divisor;
} Coordinate;

/* Access to an operand of the anchor through its views. place[]: of output dimensions; k[]: places
 * of the k axes; offset[]: of the current tap. */
Access operand_access(Frame *frame, Value *operand, const Coordinate *coordinates,
                      const Place *out_places, const Place *k_places, const Affine *offset);

/* Splits row extents (innermost last) into a box of at most `limit` points with little waste.
 * `overhead`: what a tile costs beside its points, in points. */
void choose_box(int rank, const int64_t *extent, unsigned allowed, int limit, double overhead,
                int *box);
/* How the blocks of an output lie and in which order they come. */
typedef struct Tiling {
  int box[MAX_RANK];      /* rows of a tile per dimension, the last one apart */
  int cols;               /* columns of a tile */
  bool columns_outermost; /* blocks of one column range come together */
  int64_t group; /* > 0: so many tiles of the last dimension before the columns come together, for
                    one column range after the other */
  int64_t apart[MAX_RANK]; /* > 1: places of a tile lie so far apart along the dimension; those
                              between belong to other tiles */
  bool inner_loop; /* the last dimension before the columns, or a group of it, is for a loop inside
                      the block */
  int64_t band;    /* > 0: dimension 2 is cut into bands of so many tiles, and dimension 1 runs
                      through one band after the other: what neighbouring planes share stays in
                      the cache */
} Tiling;

/* Gives every output dimension of a frame its place: grid variables, row axes by box[], columns. */
void place_output(Frame *frame, const Tiling *tiling);
/* Opens the loop over the tiles of the dimension that `inner_loop` left out of the grid. */
void open_inner_loop(Frame *frame, const Tiling *tiling);
/* May rows of a tile lie past the end of their dimension? */
bool rows_are_ragged(const Frame *frame, const Tiling *tiling);
/* The number of this block among those that differ in rows, and how many there are. */
Affine block_number(const Frame *frame, int64_t *count);
/* The band in which an op over taps reads every element from memory once, 0: no need. */
int64_t choose_band(const Facts *facts, const Node *node, const int *box);
/* Least and greatest offset of the node's taps along an axis. */
void tap_range(const Node *node, int axis, int64_t *low, int64_t *high);
/* Tests that hold where no tap of the tile reaches outside operand 0, in the dimensions of rows.
 * False: cannot be said. */
bool taps_inside(Frame *frame, const Node *node, const Coordinate *coordinates,
                 const Place *k_places, Guards *guards);
/* Announces the rows of the node's operand 0 that the next tile along dimension 2 is the first to
 * read, where they come from memory. `depth`: columns that a tile reads. */
void prefetch_taps(Frame *frame, const Node *node, const Coordinate *coordinates,
                   const Place *k_places, int depth);

/* ---- what templates do at the frame's current place ---- */

/* Adds the terms of a contraction to `sum`. `left`: the block's own tensor [rows, K] of the tile's
 * rows of operand 0; NULL: they are read from operand 0. */
void contraction_add(Frame *frame, const Node *node, Buffer *left, Tile *sum);
/* Announces what the next tile is the first to read of operand 0. */
void contraction_announce(Frame *frame, const Node *node);
/* The register tile of a contraction whose result is the frame's space, and its band. */
Tiling contraction_tiling(const Frame *frame, const Node *node);
/* For blocks of many threads (shared_tile.c): columns of a result so wide; rows of a tile, a power
 * of two from `least` to `most`, such that there are enough blocks. */
int shared_columns(int64_t width);
int shared_rows(const Frame *frame, int cols, int most, int least);
/* Columns of a tile of a contraction whose result is so wide. */
int contraction_columns(const Facts *facts, int64_t width);
/* The same for an op that is zero but for the border (compose.c). */
void outside_results(Frame *frame, const Node *node);
/* Announces what a window op will read of operand 0. */
void window_announce(Frame *frame, const Node *node);
/* Computes the results of a window op: sets the frame's tiles of them. */
void window_results(Frame *frame, const Node *node);
#endif
