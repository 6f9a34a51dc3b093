/* The tables a compiled model brings to the runtime. This text is also copied into the C file that
 * is generated for it, so it stands alone. Any change here raises EMBEDDED_VERSION. */
#ifndef TRICOT_RUNTIME_EMBEDDED_ABI_H
#define TRICOT_RUNTIME_EMBEDDED_ABI_H
#include <stddef.h>
#include <stdint.h>

enum { EMBEDDED_VERSION = 2 };

typedef void EmbeddedKernel(void *const *arguments, int64_t begin, int64_t end);

/* The model compiled for one level of processor. */
typedef struct EmbeddedLevel {
  const char *name; /* "x86-64-v4" */
  const unsigned char *plan;
  size_t plan_size;
  int n_kernels; /* names as in the plan */
  const char *const *kernel_names;
  EmbeddedKernel *const *kernels;
  size_t code_size; /* of its object file, for people */
} EmbeddedLevel;

/* Code of one CUDA architecture: a cubin, or PTX that ends in a zero byte. */
typedef struct EmbeddedImage {
  const char *name; /* "sm_90a", of PTX "compute_80" */
  const unsigned char *code;
  size_t code_size;
} EmbeddedImage;

/* The model compiled for CUDA devices; one plan fits all images. */
typedef struct EmbeddedCuda {
  const unsigned char *plan;
  size_t plan_size;
  int n_images; /* 0: there is no such part */
  const EmbeddedImage *images;
} EmbeddedCuda;

typedef struct Embedded {
  int version; /* EMBEDDED_VERSION */
  int n_levels;
  const EmbeddedLevel *levels;
  EmbeddedCuda cuda;
  const unsigned char *weights; /* a safetensors file, or NULL */
  size_t weights_size;
} Embedded;

/* main() of an executable. */
int tricot_embedded_main(const Embedded *embedded, int argc, char **argv);
#endif
