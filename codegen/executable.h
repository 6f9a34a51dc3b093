/* Executables and libraries: plans and code of one or several CPU levels, linked with the runtime.
 *
 * executable_build writes a C file that carries the plans and the tables of kernels, compiles it
 * with the C compiler ($CC or cc), and links it with the levels' objects and the runtime library
 * found beside the running tricot command. When it starts, the program takes the best level the CPU
 * can run; below the lowest it says so and exits 1.
 */
#ifndef TRICOT_CODEGEN_EXECUTABLE_H
#define TRICOT_CODEGEN_EXECUTABLE_H
#include "runtime/base/fault.h"
#include <stddef.h>

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

typedef enum ExecutableKind {
  EXECUTABLE_PROGRAM, /* the verbs train eval predict run info bench */
  EXECUTABLE_SHARED,  /* OUT (.so) and OUT with .h: the C interface of runtime/tricot.h */
  EXECUTABLE_STATIC   /* OUT (.a) with everything but system libraries, and the same header */
} ExecutableKind;

/* weights: a safetensors file to carry inside, or NULL. Nothing is left behind after an error. */
bool executable_build(const char *out, ExecutableKind kind, const LevelObject *levels, int count,
                      const char *weights, Error *error);
#endif
