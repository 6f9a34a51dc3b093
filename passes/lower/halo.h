/* Tap convolutions whose tile's input is brought to the block's memory once: see halo.c. */
#ifndef TRICOT_PASSES_LOWER_HALO_H
#define TRICOT_PASSES_LOWER_HALO_H
#include "passes/lower/contraction.h"

typedef struct Halo {
  int64_t chunk;          /* channels that are there at a time */
  int64_t span[MAX_RANK]; /* of the input's dimensions, as a tile and its taps reach; the channels'
                             is the chunk */
  int64_t room[MAX_RANK]; /* of the block's tensor that holds it, at least as much */
  int rank;               /* of the input */
  Dtype dtype;
  int channel;  /* the dimension of channels */
  bool weights; /* those of the chunk are there too */
} Halo;

/* Does it pay and fit for the frame's tiles? The frame has its places. */
bool halo_plan(Frame *, const Node *, const Contraction *, Halo *);
/* Adds all terms of the node at the frame's place to the sum. */
void halo_terms(Frame *, const Node *, const Contraction *, const Halo *, Tile *sum);
/* Cells that a tile of so many positions along the three axes reads, taps and all. */
int64_t halo_cells(const Node *, const int *box);
#endif
