/* Compiled models inside an executable or a library: choosing the part of them that fits this
 * machine, and opening a program on it.
 *
 * Targets are spelled as for the tricot command: "cpu" is the best level this processor can run,
 * "cpu:x86-64-v3" that one, "cuda" the first CUDA device, "cuda:1" the second. "auto" is a CUDA
 * device if there is one that a part runs on, else the processor. Without a target it is the
 * processor, or cuda in a model that has no part for processors. What was asked for by name and
 * cannot be had is an error, never another target.
 */
#ifndef TRICOT_RUNTIME_EMBEDDED_H
#define TRICOT_RUNTIME_EMBEDDED_H
#include "runtime/base/text.h"
#include "runtime/cuda/program_cuda.h"
#include "runtime/embedded_abi.h"

/* How demanding a level is, higher is better; 0: not a level executables are built for. */
int embedded_level_rank(const char *level);
/* Can this processor run code of the level? */
bool embedded_level_supported(const char *level);

/* The most demanding level that this processor supports, or the one called `wanted` (NULL: any).
 * NULL and an error that names what there is and what is needed. */
const EmbeddedLevel *embedded_choose(const Embedded *embedded, const char *wanted, Error *error);
/* Adds the parts as targets: "cpu:x86-64-v3, cuda:sm_80, cuda:compute_80". */
void embedded_parts(const Embedded *embedded, Text *out);

typedef struct EmbeddedModel {
  Arena *arena; /* of the plan */
  Plan plan;
  Program *program;
  CudaDevice device; /* that it runs on; without a driver where it is the processor */
  char where[240];   /* "cpu:x86-64-v4", "cuda:0 (NVIDIA H200), its code for sm_90a" */
  char note[500];    /* why target auto is the processor, or "" */
} EmbeddedModel;

/* Opens a program on a target (NULL: none named). Close it after failures too. */
bool embedded_open(EmbeddedModel *model, const Embedded *embedded, const char *target, int threads,
                   Error *error);
/* The plan that embedded_open would run (of cuda where the target is auto and there is such a
 * part), without a program: no device is needed. Texts live in `arena`. */
bool embedded_plan(Arena *arena, const Embedded *embedded, const char *target, Plan *plan,
                   Error *error);
void embedded_close(EmbeddedModel *model);
#endif
