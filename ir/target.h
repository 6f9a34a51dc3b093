/* What passes and schedules may know of a target: numbers, never names. */
#ifndef TRICOT_IR_TARGET_H
#define TRICOT_IR_TARGET_H
#include <stdbool.h>
#include <stdint.h>

typedef struct Facts {
  int vector;     /* f32 lanes of a vector register (16, 8, 4; 1: scalar code) */
  int registers;  /* vector registers (32, 16) */
  int threads;    /* threads that share one block (1 on CPUs, 128 or so on GPUs) */
  int blocks;     /* that fill a device, which runs those of a launch side by side and takes time
                     for the launch itself (0: neither is so) */
  int64_t shared; /* bytes of memory shared by a block's threads (0: none) */
  int64_t l1, l2; /* bytes of cache per core */
  bool matrix_units; /* warps multiply fragments of bf16 (KOP_MMA) */
  bool tf32;         /* products of f32 may go there with factors rounded to 11 bits */
  bool async_copies; /* from global to shared memory, beside the threads (STMT_COPY) */
  bool bf16_pairs; /* multiplies pairs of bf16 and adds them to f32 at twice the rate of f32 */
  bool tap_by_tap; /* convolutions are summed up so, not with fewer products (Winograd) */
} Facts;
#endif
