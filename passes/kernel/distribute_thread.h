/* What the parts of distribution to many threads share: distribute_thread.c (nests, folds) and
 * distribute_thread_dot.c. */
#ifndef TRICOT_PASSES_KERNEL_DISTRIBUTE_THREAD_H
#define TRICOT_PASSES_KERNEL_DISTRIBUTE_THREAD_H
#include "passes/kernel/thread_layout.h"

/* The array of a tile: of each thread where the tile stays, else in shared memory. */
Buffer *thread_storage(Spread *, const Tile *);
/* Elements from one row of a tile to the next in shared memory: rows of whole accesses of 16 bytes
 * are kept an odd number of them apart, so that 8 rows read at one column lie in different banks.
 */
int64_t thread_pitch(Dtype, int64_t columns);
void thread_nest(Spread *, Block *to, const Nest *);
void thread_dot(Spread *, Block *to, const Stmt *);
#endif
