/* Kernels that measure what a device can multiply: which there are in an image, and how they are
 * launched. The compiler puts them into every image (codegen/peak_kernels.c), where no plan names
 * them; runtime/cuda/rate.c runs them.
 *
 * Arguments: the number of rounds, i32[1]; memory for their sums, f32[PEAK_BLOCKS * PEAK_THREADS].
 * Any number of blocks up to PEAK_BLOCKS may be launched. Results mean nothing.
 */
#ifndef TRICOT_RUNTIME_CUDA_PEAK_H
#define TRICOT_RUNTIME_CUDA_PEAK_H

enum { PEAK_BLOCKS = 4096, PEAK_THREADS = 128, PEAK_MOST_ROUNDS = 1 << 20 };

/* Fused multiply-adds of f32, 16 chains a thread: 2 operations each. */
#define PEAK_FMA "tricot_peak_fma"
enum { PEAK_FMA_FLOPS = 2 * 16 }; /* of a thread in a round */

/* Matrix products of bf16 added to f32, 8 chains a warp: 16 x 8 x 16 products each. */
#define PEAK_MMA "tricot_peak_mma"
enum { PEAK_MMA_FLOPS = 2 * 16 * 8 * 16 * 8 / 32 };
#endif
