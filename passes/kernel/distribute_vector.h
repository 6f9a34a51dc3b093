/* What the parts of distribution to one thread with vectors share: distribute_vector.c (nests) and
 * distribute_dot.c, distribute_panel.c. */
#ifndef TRICOT_PASSES_KERNEL_DISTRIBUTE_VECTOR_H
#define TRICOT_PASSES_KERNEL_DISTRIBUTE_VECTOR_H
#include "passes/kernel/distribute_walk.h"

int vectors_of(int cols, int width);
/* Elements from one row of a tile's array to the next, and the array (made when first asked for).
 */
int tile_row_stride(const Spread *, const Tile *);
Buffer *tile_storage(Spread *, const Tile *);
/* Adds guards that hold exactly when no element of the domain leaves the tensor. Clears *possible
 * where no guards can say so. */
void corner_guards(Spread *, Guards *, const Access *, const Tile *domain, bool *possible);

/* Has the machine dots of pairs, and are these factors such? */
bool dot_takes_pairs(const Spread *, const Tile *a, const Tile *b, int width);

void vector_nest(Spread *, Block *to, const Nest *);
void vector_dot(Spread *, Block *to, const Stmt *dot);
/* distribute_panel.c: emits a dot larger than the registers; false when it is none. */
bool vector_panel_dot(Spread *, Block *to, const Stmt *dot);
void vector_prefetch(Spread *, Block *to, const Stmt *prefetch);
#endif
