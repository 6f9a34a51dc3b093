/* Emitters: finished kernels (LOOP stage) to text, objects or callable code.
 *
 * Every CPU kernel has one C signature:
 *   void NAME(void *const *arguments, int64_t begin, int64_t end)
 * which runs blocks begin..end-1 of the grid (numbered with the last axis fastest); arguments[i] is
 * the storage of argument i. CUDA kernels take the argument pointers one by one and run block
 * blockIdx.x with `threads` threads.
 */
#ifndef TRICOT_CODEGEN_EMIT_H
#define TRICOT_CODEGEN_EMIT_H
#include "ir/kernel.h"
#include "ir/target.h"
#include "runtime/cuda/image.h"

typedef void KernelCode(void *const *arguments, int64_t begin, int64_t end);

/* ---- text (emit_text.c and its dialects) ---- */
typedef enum TextDialect { TEXT_C, TEXT_CUDA } TextDialect;
/* A whole translation unit for the kernels: prelude, then one function each. The CUDA text compiles
 * with NVRTC as it is, and with a C compiler over codegen/cuda_shim.h. */
/* Values are f32 or integers (another type is a fault); C kernels have one thread. No argument that
 * a kernel writes may overlap another argument. */
void emit_text(TextDialect dialect, Kernel *const *kernels, int count, Text *text);
/* Two kernels that measure a device's arithmetic (runtime/cuda/peak.h). They live in the arena. */
void peak_kernels(Arena *, Kernel *kernels[2]);
/* Bytes of dynamic shared memory a launch of the CUDA text must give a block. */
int64_t kernel_shared_bytes(const Kernel *kernel);
/* The same, and where each shared buffer lies, by id. */
int64_t shared_places(const Kernel *kernel, int64_t *offset);
/* Elements of the arrays that a thread has at a time. */
int64_t kernel_local_elements(const Kernel *kernel);

/* Compiles C text, or CUDA text over the host shim, with the C compiler ($CC or cc) into a shared
 * object in a private temporary folder, loads it, and finds every kernel. The shim's functions have
 * the CPU signature too and run each block's threads as fibers with real barriers. */
typedef struct TextLibrary TextLibrary;
TextLibrary *text_library_build(TextDialect dialect, Kernel *const *kernels, int count, Error *);
KernelCode *text_library_find(const TextLibrary *, const char *name); /* NULL: no such kernel */
void text_library_free(TextLibrary *); /* an error that nobody asked for is a fault here */
/* Over the shim: the seed of the order in which threads run (0 at first), and whether all kernels
 * since the last check kept the rules of barriers; a kernel stops at the block that broke them. */
void text_library_seed(TextLibrary *, uint64_t seed);
bool text_library_check(TextLibrary *, Error *);

/* ---- NVRTC (nvrtc.c): loaded at run time, absence is an ordinary answer ---- */
bool nvrtc_available(Error *why_not);
bool nvrtc_version(int *major, int *minor); /* false: there is none */
typedef struct Cubin {
  unsigned char *bytes; /* arena memory */
  size_t size;
  const char *log;
} Cubin;
/* arch: "sm_80", "sm_90a"; "compute_80" gives PTX. */
bool nvrtc_compile(Arena *, const char *text, const char *name, const char *arch, Cubin *, Error *);
/* The text for several architectures side by side, a thread each as far as there are CPUs. Each
 * image says what it shall be (arch, ptx) and gets data and size. Fails with the first image's
 * error. */
bool nvrtc_compile_all(Arena *, const char *text, const char *name, CudaImage *images, int count,
                       Error *);
/* What runs where none of the cubins does: PTX of the lowest of the architectures. */
CudaImage nvrtc_floor(const CudaImage *images, int count);
/* What one kernel of a cubin needs, from its .nv.info section. */
typedef struct CubinResources {
  int registers;        /* per thread */
  int64_t local_bytes;  /* per thread in memory: spilled registers and arrays with moving indices */
  int64_t shared_bytes; /* per block, beside what the launch gives; sm_90 and later reserve 1024 */
} CubinResources;
bool cubin_resources(const Cubin *, const char *kernel, CubinResources *, Error *);
/* How many blocks of so many threads and so much shared memory (of the launch, and reserved by the
 * code) a multiprocessor of the architecture holds; 0: its limits are not known here. */
int cuda_blocks_held(CudaArch, int threads, int registers, int64_t shared_bytes);
/* How many blocks a multiprocessor shall have registers for: 384 threads of them, of which each may
 * use 168 (told less, the compiler takes fewer and spills), if it has the shared memory for so
 * many, that of sm_80; 256 threads where each has arrays of more than 208 elements. */
int cuda_least_blocks(int threads, int64_t shared_bytes, int64_t local_elements);

/* ---- LLVM (emit_llvm.c, llvm_target.c): CPU only ---- */
/* What a CPU level is: the facts for schedules, and what LLVM is told. NULL: unknown name.
 * Names: "native", "x86-64-v3", "x86-64-v4", "aarch64". */
typedef struct CpuLevel {
  const char *name, *triple, *cpu, *features;
  Facts facts;
} CpuLevel;
bool cpu_level_find(const char *name, CpuLevel *level, Error *);

typedef struct Jit Jit;
/* Compiles kernels for this machine; `threads` modules at a time (compile time scales with
 * cores). */
Jit *jit_build(Kernel *const *kernels, int count, int threads, Error *);
KernelCode *jit_find(const Jit *, const char *name);
void jit_free(Jit *);
/* Position-independent object file for a level; symbols are NAME + suffix. kind: "object", "asm",
 * "llvm" (text). Same input, same bytes. */
bool llvm_emit(Kernel *const *kernels, int count, const CpuLevel *, const char *suffix,
               const char *kind, Text *out, Error *);
#endif
