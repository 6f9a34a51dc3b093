/* Counter-based random numbers: Philox 4x32-10 (Salmon et al., SC'11). The same (seed, stream,
 * index) gives the same number on every machine and in any order. */
#ifndef TRICOT_BASE_RANDOM_H
#define TRICOT_BASE_RANDOM_H
#include <stdint.h>
void random_bits(uint64_t seed, uint64_t stream, uint64_t index, uint32_t out[4]);
double random_uniform(uint64_t seed, uint64_t stream, uint64_t index); /* [0, 1) */
double random_normal(uint64_t seed, uint64_t stream, uint64_t index);  /* mean 0, variance 1 */
/* A permutation of 0 .. count-1 (Fisher and Yates). */
void random_permutation(uint64_t seed, uint64_t stream, int64_t *at, int64_t count);
#endif
