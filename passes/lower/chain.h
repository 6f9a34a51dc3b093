/* Inside the chain template: what its stages (chain.c) and its sums over rows (chain_sums.c) share.
 */
#ifndef TRICOT_PASSES_LOWER_CHAIN_H
#define TRICOT_PASSES_LOWER_CHAIN_H
#include "passes/lower/taps.h"

/* Stages of values that stages do not compute: read or computed from what is read, at any time; and
 * known when all rows have been summed. */
enum { STAGE_ANY = -1, STAGE_SUMMED = 1 << 20 };

typedef struct Chain {
  Frame frame;
  Lower *lower;
  VEC(Node *) anchors;         /* each row of the result follows from a row */
  VEC(Node *) products, folds; /* sums over rows: of products of two values, of one value */
  int *stage;                  /* by body value id */
  int stages, now;
  bool summed;       /* there are sums */
  bool *keep;        /* by body value id: another stage or a product needs the rows */
  int64_t row_bytes; /* of the kept values, a row */
  Buffer **kept;     /* by body value id: the block's rows, [rows, columns] */
  Buffer **sums;     /* by body value id: of products [K,N] and folds [columns] */
  bool ragged;       /* rows may lie outside the space */
  int64_t strips;
  Affine strip;            /* this block's */
  int64_t steps[MAX_RANK]; /* tiles of a strip, by dimension */
} Chain;

/* The tensor whose rows an operand of a contraction has. */
Value *chain_rows_of(const Chain *chain, Value *operand);
/* The stage that stores a value: its own, or the last one with its columns. */
int chain_storing_stage(const Chain *chain, const Value *value);

/* Gives every block a strip of positions, tiles of `box`; the loops are opened apart. */
void chain_place_strips(Chain *chain, const int *box);
void chain_open_strip(Chain *chain, const int *box);
/* Sums: memory with neutral elements; what the rows of this stage, or of all stages, add; partial
 * results, and kernels that go on from them. */
void chain_clear_sums(Chain *chain);
void chain_add_folds(Chain *chain);
void chain_add_products(Chain *chain);
void chain_finish(Chain *chain);
#endif
