/* Factors of attention's products as pairs of bf16, for machines that multiply these. */
#ifndef TRICOT_PASSES_LOWER_ATTENTION_PAIRS_H
#define TRICOT_PASSES_LOWER_ATTENTION_PAIRS_H
#include "passes/lower/frame.h"

/* Two tiles of one shape as one i32 tile of pairs; f32 is rounded. */
Tile *frame_pairs(Frame *, Tile *first, Tile *second);
/* [columns, rows] of a tile [rows, columns], as the left factor of a dot: it is kept in the block's
 * memory and read from there. */
Tile *frame_turned(Frame *, Tile *);
/* [columns / 2, rows], pairs of neighbours in a row, of a bf16 tile [rows, columns]. */
Tile *frame_turned_pairs(Frame *, Tile *);
#endif
