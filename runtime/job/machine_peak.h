/* What this machine can do, measured: the rates that kernels are judged by.
 *
 * A few loops over registers and over buffers of chosen sizes, run by a program's own workers, for
 * the vector registers of a program's level. Each rate is the best of several rounds, all threads
 * together. Peaks are taken in two halves, before and after what they judge, so that a machine
 * which is slower for a while slows down both; the better half counts.
 */
#ifndef TRICOT_RUNTIME_JOB_MACHINE_PEAK_H
#define TRICOT_RUNTIME_JOB_MACHINE_PEAK_H
#include "runtime/pool.h"

typedef struct MachinePeak {
  const char *vector; /* "avx512", "avx2", "sse2", "neon", "portable" */
  int threads;
  double f32;         /* floating operations a second, 2 a fused multiply-add */
  double bf16;        /* the same of dot products of bf16 pairs added to f32; 0: the CPU has none */
  double memory_read; /* bytes a second from memory */
  double memory_copy; /* read and written past the caches, both counted */
  double l2, l3;      /* bytes a second read from the cache; 0: not there, or no larger than L2 */
  int64_t l1_bytes, l2_bytes, l3_bytes; /* of all the workers' cores together; 0: not known */
} MachinePeak;

/* Measures with the pool's threads for about 0.15 s and keeps what is better than `peak` holds:
 * start from a zeroed one. `level`: of the program ("x86-64-v3", "native", …); names that are no
 * level of this processor's family stand for the best there is. */
bool machine_measure(MachinePeak *peak, Pool *pool, const char *level, Error *error);

/* The higher of both rates from memory. */
double machine_memory(const MachinePeak *peak);
#endif
