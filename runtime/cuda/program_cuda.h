/* Programs whose steps run on a CUDA device.
 *
 * They are used like any other (runtime/program.h). Persistent tensors have one allocation on the
 * device and are copied to the host when somebody asks for one; inputs and outputs of an entry
 * point have places in one page-locked buffer, from and to which each run copies. Entry points
 * share one arena. Every entry point is captured when the program is opened as one or two graphs,
 * in front of and behind its guard, which each run replays; nothing is allocated then.
 */
#ifndef TRICOT_RUNTIME_CUDA_PROGRAM_CUDA_H
#define TRICOT_RUNTIME_CUDA_PROGRAM_CUDA_H
#include "runtime/cuda/driver.h"
#include "runtime/cuda/image.h"
#include "runtime/program.h"

typedef struct CudaCode {
  const CudaDevice *device; /* open; outlives the program */
  const CudaImage *images;  /* of all kernels of the plan, read on opening only */
  int n_images;
} CudaCode;

/* As program_open. Fails too when no image runs on the device, or its free memory does not hold
 * what cuda_program_bytes says. threads: of the host, for what it does itself. */
bool cuda_program_open(Program **program, const Plan *plan, const CudaCode *code, int threads,
                       Error *error);

/* Says that no image runs on the device, and which there are; returns false. */
bool cuda_no_image(const CudaCode *code, Error *error);

/* Device memory that a program with this plan takes. */
int64_t cuda_program_bytes(const Plan *plan);
#endif
