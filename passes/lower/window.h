/* Maxima over boxes of taps by whole lines of positions (window_line.c). */
#ifndef TRICOT_PASSES_LOWER_WINDOW_H
#define TRICOT_PASSES_LOWER_WINDOW_H
#include "passes/lower/taps.h"

typedef struct WindowLine {
  const Node *node;
  int inner;            /* taps along a line, */
  const int64_t *along; /* their offsets, */
  int64_t step;         /* and what the number of a tap grows by from one to the next */
  Taps lines;           /* the others: where lines are, and the number of their first tap */
  int64_t left;         /* positions ahead of the operand's first */
  int64_t read;         /* of the operand, in whole tiles */
  int64_t size;         /* of the line in memory */
  Buffer *most, *which; /* [size, channels] maxima, and numbers of their lines; NULL: not asked */
} WindowLine;

/* Does it pay to fold the op's box line by line? Where it does, tiling.inner_loop must be set
 * before the output is placed. */
bool window_line_pays(const Frame *, const Node *, const Tiling *);
/* Ahead of the loop over a line's tiles: the maxima across the lines, into the block's memory. */
void window_line_start(Frame *, const Node *, const Tiling *);
/* The results at the frame's tile, from there. */
void window_line_results(Frame *);
#endif
