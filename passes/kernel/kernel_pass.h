/* From tiles to what emitters walk: the passes over one kernel.
 *
 *   distribute  TILE -> LOOP: tiles become loops over vectors and threads, arrays, addresses
 *   legalize    expands scalar ops no target spells (exp, log, tanh, erf, rsqrt, sign)
 *   sync        puts barriers between threads that communicate through shared memory
 */
#ifndef TRICOT_PASSES_KERNEL_PASS_H
#define TRICOT_PASSES_KERNEL_PASS_H
#include "ir/kernel.h"
#include "ir/target.h"

/* Elements from one row of `columns` to the next in the memory that a block's threads share: rows
 * of whole accesses of 16 bytes are an odd number of them apart, so that 8 rows read at one column
 * lie in different banks. */
int64_t shared_pitch(Dtype dtype, int64_t columns);
Kernel *kernel_distribute(const Kernel *tile_stage, const Facts *facts, Arena *arena);
void kernel_legalize(Kernel *kernel); /* in place, LOOP stage */
void kernel_sync(Kernel *kernel);     /* in place, LOOP stage; nothing to do with one thread */
/* All three. */
Kernel *kernel_finish(const Kernel *tile_stage, const Facts *facts, Arena *arena);
/* Finished kernels that need nothing of each other as one (join.c). Argument i of part p is number
 * argument[p][i] of n_arguments; parts may share those that all of them only read. Uses up the
 * parts; they live in `arena`. */
Kernel *kernel_join(Arena *arena, Kernel *const *parts, int count, const int *const *argument,
                    int n_arguments);
#endif
