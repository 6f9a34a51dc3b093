/* Compiled CUDA code. An image holds all kernels of a program for one architecture: a cubin, which
 * runs on devices of its compute capability's major number from its minor number on, or PTX, which
 * the driver compiles for any device from there on. A cubin of an architecture with its own
 * features (sm_90a) runs on exactly that one.
 */
#ifndef TRICOT_RUNTIME_CUDA_IMAGE_H
#define TRICOT_RUNTIME_CUDA_IMAGE_H
#include <stdbool.h>
#include <stddef.h>

typedef struct CudaArch {
  int capability; /* ten times the compute capability: 80, 90, 120 */
  char feature;   /* 'a': only this architecture; 'f': its family; 0 */
} CudaArch;

typedef struct CudaImage {
  CudaArch arch;
  bool ptx;         /* text that ends in a zero byte; else a cubin */
  const void *data; /* size bytes, owned by whoever made the image */
  size_t size;
} CudaImage;

enum { CUDA_ARCH_TEXT = 16 };

/* "sm_90a", or of PTX "compute_90a". Writes to text[CUDA_ARCH_TEXT] and returns it. */
const char *cuda_arch_text(CudaArch arch, bool ptx, char *text);
/* The reverse, of either word. False: it is none. */
bool cuda_arch_parse(const char *text, CudaArch *arch, bool *ptx);
/* Which image a device of that capability (ten times) takes: the cubin made for the most, else the
 * PTX for the most; -1: none runs there. */
int cuda_image_choose(const CudaImage *images, int count, int capability);
#endif
