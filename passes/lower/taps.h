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

/* Splits row extents (innermost last) into a box of at most `limit` points with little waste. */
void choose_box(int rank, const int64_t *extent, unsigned allowed, int limit, int *box);
/* Gives every output dimension of a frame its place: grid variables, row axes by box[], columns. */
void place_output(Frame *frame, const int *box, int cols, bool columns_outermost);
#endif
