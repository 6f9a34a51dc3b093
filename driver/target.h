/* Targets: where kernels run, by the names that --target takes. One table, in target.c. */
#ifndef TRICOT_DRIVER_TARGET_H
#define TRICOT_DRIVER_TARGET_H
#include "ir/target.h"
#include "runtime/base/arena.h"
#include "runtime/base/fault.h"
#include "runtime/cuda/image.h"

typedef enum TargetKind {
  TARGET_CPU,       /* by LLVM */
  TARGET_CUDA,      /* by NVRTC: a device of this machine, or code for an architecture */
  TARGET_C,         /* C text, by the C compiler of this machine */
  TARGET_CUDA_SHIM, /* CUDA text over codegen/cuda_shim.h, by the same */
  TARGET_INTERP     /* the graph interpreter */
} TargetKind;

typedef struct Target {
  TargetKind kind;
  const char *text;  /* its name as given, as plans hold it */
  const char *level; /* CPU: "native", "x86-64-v3"; C: "native", for its facts; else NULL */
  bool named;        /* CPU: the level was named; CUDA: the architecture or device was */
  bool code_only;    /* CUDA: code for `arch`, which need not be on this machine */
  CudaArch arch;
  bool ptx;   /* with code_only: as PTX ("compute_80") */
  int device; /* CUDA, not code_only: its number */
} Target;

/* "cpu:x86-64-v4", "cuda:1". Texts of the target live in `arena`. */
bool target_parse(Arena *, const char *name, Target *, Error *);
/* "cuda:sm_80,cuda:sm_90a,cpu", "cpu:x86-64-v3,x86-64-v4": a word that is no target is a further
 * argument of the one before it; repetitions are left out. How many, 1 to room; 0: wrong. */
int target_list(Arena *, const char *names, Target *, int room, Error *);
/* What schedules may know of it. False: a level that this build does not know. */
bool target_facts(const Target *, Facts *, Error *);
/* For help texts: "cpu, cpu:LEVEL, cuda, …". */
const char *target_names(Arena *);
#endif
