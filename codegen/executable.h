/* Executables and libraries: plans and code of CPU levels and CUDA architectures, linked with the
 * runtime.
 *
 * executable_build writes a C file that carries the plans, the tables of kernels and the images,
 * compiles it with the C compiler ($CC or cc), and links it with the levels' objects and the
 * runtime library found beside the running tricot command. Of other libraries the output needs the
 * C library alone; the CUDA driver is opened when it is asked for. runtime/embedded.h says which
 * part a program takes when it starts.
 */
#ifndef TRICOT_CODEGEN_EXECUTABLE_H
#define TRICOT_CODEGEN_EXECUTABLE_H
#include "runtime/base/fault.h"
#include "runtime/cuda/image.h"

typedef struct LevelObject {
  const char *name;             /* "x86-64-v4" */
  const char *suffix;           /* of the kernels' symbols in the object */
  const unsigned char *object;  /* an ELF object file */
  size_t object_size;
  const unsigned char *plan;    /* flatbuffer, see codegen/plan_write.h */
  size_t plan_size;
  int n_kernels;
  const char *const *kernels;   /* names without the suffix, in the plan's order */
} LevelObject;

typedef struct CudaObject { /* n_images 0: none */
  const unsigned char *plan;
  size_t plan_size;
  const CudaImage *images; /* of one architecture each */
  int n_images;
} CudaObject;

typedef struct ExecutableParts {
  const LevelObject *levels;
  int n_levels;
  CudaObject cuda;
  const char *weights; /* a safetensors file to carry inside, or NULL */
} ExecutableParts;

typedef enum ExecutableKind {
  EXECUTABLE_PROGRAM, /* the verbs train eval predict run info bench */
  EXECUTABLE_SHARED,  /* OUT (.so) and OUT with .h: the C interface of runtime/tricot.h */
  EXECUTABLE_STATIC   /* OUT (.a) with everything but system libraries, and the same header */
} ExecutableKind;

/* Nothing is left behind after an error. */
bool executable_build(const char *out, ExecutableKind kind, const ExecutableParts *parts,
                      Error *error);
#endif
