/* How a contraction's operands are read: what the contraction template knows about each op. */
#ifndef TRICOT_PASSES_LOWER_CONTRACTION_H
#define TRICOT_PASSES_LOWER_CONTRACTION_H
#include "passes/lower/taps.h"

enum { MAX_K = 5 };

typedef struct Contraction {
  int n_k;
  int64_t k_extent[MAX_K];
  int tap_k;         /* the k axis that counts taps, -1: none */
  int tap_out;       /* the output dimension that counts taps, -1: none */
  unsigned box_dims; /* output dimensions that may have several rows in a tile */
  Coordinate a[MAX_RANK], b[MAX_RANK];
} Contraction;

/* The description of a contraction. A new contraction is a row in the table of contraction_of.c. */
Contraction contraction_of(const Node *node);

/* The tile of a block of many threads (shared_tile.c). */
Tiling shared_tile(const Contraction *, const Frame *, const Node *);

/* Lowers the anchor as a product of copied operands (product.c) where that pays; false: it does
 * not, and nothing was done. frame: the anchor's, nothing placed yet. */
bool lower_product(Lower *lower, const Frame *frame, const Contraction *, const Tiling *);
#endif
