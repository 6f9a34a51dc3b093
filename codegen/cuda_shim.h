/* Stands in front of CUDA text when a C compiler compiles it for this machine (see cuda_shim.c).
 *
 * The loaded object gets `tricot_host` from the loader before any kernel runs. A kernel is called
 * once for each thread of a block; TRICOT_SYNC gives the other threads their turn. The loader
 * includes this file too, for the structs; it depends on nothing.
 */
#ifndef TRICOT_CUDA_SHIM_H
#define TRICOT_CUDA_SHIM_H

/* The thread and block being run, and the block's shared memory. */
typedef struct TricotPlace {
  int block, thread;
  unsigned char *shared;
} TricotPlace;

/* One kernel, as its wrapper describes it. */
typedef struct TricotShimKernel {
  const char *name;
  void (*thread)(void *const *arguments); /* the kernel's body for the current place */
  int threads;
  long long shared_bytes, stack_bytes; /* stack: of local arrays alone */
  int has_barrier;
} TricotShimKernel;

/* Ops of warps. Of matrices: the sum of TRICOT_MATRIX, how many, and 8 if they are turned. */
enum { TRICOT_MMA_BF16 = 1, TRICOT_MMA_TF32 = 2, TRICOT_MATRIX = 16 };

typedef struct TricotHost TricotHost;
struct TricotHost {
  const TricotPlace *(*place)(void);
  void (*barrier)(int line);
  /* What the 32 lanes of a warp do together when the last of them comes: gives this lane's result,
   * which stays until its next. Operands: of an mma a, b, c; of matrices the place of a row. */
  void *(*warp)(int line, int op, const void *a, const void *b, const void *c);
  /* Copies into shared memory, done at the wait for their group; nothing is there before. */
  void (*copy)(void *to, const void *from, int bytes, int valid);
  void (*commit)(void);
  void (*wait)(int groups);
  void (*run)(TricotHost *, const TricotShimKernel *, void *const *arguments, long long begin,
              long long end);
};

#ifndef TRICOT_SHIM_HOST
TricotHost *tricot_host;
#define TRICOT_KERNEL(threads, blocks) static void
#define TRICOT_BLOCK (tricot_host->place()->block)
#define TRICOT_THREAD (tricot_host->place()->thread)
#define TRICOT_SYNC() tricot_host->barrier(__LINE__)
#define TRICOT_WARP(op, a, b, c) tricot_host->warp(__LINE__, op, a, b, c)
#define TRICOT_SHARED(T, name, offset) T *name = (T *)(tricot_host->place()->shared + (offset))
#define TRICOT_CONSTANT static const
#define TRICOT_HELPER static inline __attribute__((unused))
#define TRICOT_ALIGNED(bytes) __attribute__((aligned(bytes)))
#define TRICOT_INFINITY __builtin_inff()
#define TRICOT_NAN __builtin_nanf("")
float fmaf(float, float, float), sqrtf(float), floorf(float), rintf(float), fabsf(float);
#endif
#endif
