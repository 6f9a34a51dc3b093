/* The loader's side of cuda_shim.h: one host per loaded library, for use by several threads. */
#ifndef TRICOT_CODEGEN_SHIM_HOST_H
#define TRICOT_CODEGEN_SHIM_HOST_H
#ifndef TRICOT_SHIM_HOST
#define TRICOT_SHIM_HOST
#endif
#include "codegen/cuda_shim.h"
#include "runtime/base/arena.h"
#include "runtime/base/fault.h"
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

typedef struct ShimHost {
  TricotHost base; /* first: the kernels see only this */
  uint64_t seed;   /* of the order of threads */
  pthread_mutex_t lock;
  bool failed; /* some kernel broke the rules of barriers */
  Error error; /* the first such failure */
} ShimHost;

void shim_init(ShimHost *host);
void shim_close(ShimHost *host);
uint64_t shim_seed(ShimHost *host);
void shim_report(ShimHost *host, const char *format, ...) __attribute__((format(printf, 2, 3)));
#endif
