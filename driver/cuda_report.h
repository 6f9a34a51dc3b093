/* What the kernels of a build need on CUDA architectures: read from the compiled code. */
#ifndef TRICOT_DRIVER_CUDA_REPORT_H
#define TRICOT_DRIVER_CUDA_REPORT_H
#include "driver/compile.h"
#include <stdio.h>

typedef struct CudaUse { /* of one kernel on one architecture */
  CubinResources code;
  int64_t shared_bytes; /* of a block: what its launch gives and what the code has reserved */
  int blocks;           /* that a multiprocessor holds; 0: not known */
} CudaUse;

typedef struct CudaKernel {
  int number;            /* in the plan */
  const PlanStep *step;  /* one that runs it */
  double flops, traffic; /* of all steps that do, of one run of the entry point */
  bool hot;              /* see below */
  CudaUse *uses;         /* by architecture */
} CudaKernel;

typedef struct CudaReport {
  int n_archs;
  const CudaArch *archs;
  int count;
  CudaKernel *kernels; /* in the order they run first */
} CudaReport;

/* Reads images[0 .. n-1], cubins of what was built, for every entry point's steps. Hot are kernels
 * with a hundredth of their entry point's operations, or of its bytes. */
bool cuda_report(Compiled *, const CudaImage *images, int n, CudaReport *, Error *);
/* One line on `out` for each hot kernel that keeps registers in memory. How many. */
int cuda_report_warn(const Compiled *, const CudaReport *, FILE *out);
/* What kernel `number` of the plan needs on architecture `arch` of the report; NULL: no step runs
 * it. In `arena`. */
const char *cuda_report_words(Arena *, const CudaReport *, int number, int arch);
void cuda_report_table(const Compiled *, const CudaReport *, Text *out);
void cuda_report_json(const Compiled *, const CudaReport *, Text *out);
#endif
