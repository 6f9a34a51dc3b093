/* What the parts of the attention template share: attention.c, attention_blocks.c (sizes) and
 * attention_pairs.c (factors as pairs of bf16). */
#ifndef TRICOT_PASSES_LOWER_ATTENTION_H
#define TRICOT_PASSES_LOWER_ATTENTION_H
#include "passes/lower/frame.h"

enum { TOKENS = 1, HEADS, CHANNELS };

/* Something [steps of a part, lanes or 1], by part of the block of steps. */
typedef struct Parts {
  Tile *at[2];
} Parts;

/* What a lane or a step is. */
typedef struct Side {
  Value *x, *y; /* what scores are products of; what values or their gradients are */
  Value *group; /* [batch, tokens], NULL: none */
  int64_t tokens;
  int block; /* tokens of a tile */
} Side;

typedef struct Attention {
  Frame frame;
  const Node *node;
  Value *lse, *delta; /* gradients only */
  Side lane, step;
  int width, value_width;
  bool queries_are_lanes;
  int parts; /* of a block of steps: 2 where products are of pairs, else 1 */
  double scale, penalty;
  int ranges;         /* scratch: first and past step block of each lane block; -1: all */
  Affine n, head, at; /* of this block: batch, head, first lane */
  Affine step_at;     /* first token of this step */
  Parts real;         /* 1 for steps that are tokens; NULL where all are */
  Tile *penalty_tile, *one;
} Attention;

/* Fills in parts and the sides' blocks. */
void attention_choose(Attention *, const Facts *);

/* ---- pairs of bf16, for machines that multiply these ---- */

/* Two tiles of one shape as one i32 tile of pairs; f32 is rounded. */
Tile *frame_pairs(Frame *, Tile *first, Tile *second);
/* [columns, rows] of a tile [rows, columns], as the left factor of a dot: it is kept in the block's
 * memory and read from there. */
Tile *frame_turned(Frame *, Tile *);
/* [columns / 2, rows], pairs of neighbours in a row, of a bf16 tile [rows, columns]. */
Tile *frame_turned_pairs(Frame *, Tile *);
#endif
