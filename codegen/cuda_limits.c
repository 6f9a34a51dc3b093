/* What a multiprocessor of each CUDA architecture holds, from the table "Technical Specifications
 * per Compute Capability" of the CUDA C++ Programming Guide, edition 13.0. Registers are given out
 * to warps by 256, shared memory to blocks by 128 bytes, 1 KiB a block is the system's.
 */
#include "codegen/emit.h"

enum { REGISTERS = 65536, REGISTER_UNIT = 256, SHARED_UNIT = 128, RESERVED = 1024 };

static const struct Limits {
  int capability; /* ten times */
  int threads, blocks;
  int shared_kib;
} limits[] = {
    {75, 1024, 16, 64},   {80, 2048, 32, 164},  {86, 1536, 16, 100},  {87, 1536, 16, 164},
    {88, 1536, 16, 100},  {89, 1536, 24, 100},  {90, 2048, 32, 228},  {100, 2048, 32, 228},
    {103, 2048, 32, 228}, {110, 1536, 24, 228}, {120, 1536, 24, 100}, {121, 1536, 24, 100},
};

enum { LEAST_THREADS = 384, LARGE_THREADS = 256, LARGE_ARRAYS = 208, SHARED_OF_80 = 164 << 10 };

static int64_t rounded(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

static void lower(int64_t *most, int64_t other) {
  if (other < *most)
    *most = other;
}

int cuda_blocks_held(CudaArch arch, int threads, int registers, int64_t shared_bytes) {
  for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
    const struct Limits *l = &limits[i];
    if (l->capability != arch.capability)
      continue;
    int64_t warps = (threads + WARP_LANES - 1) / WARP_LANES, blocks = l->blocks;
    int64_t of_warp = rounded((int64_t)registers * WARP_LANES, REGISTER_UNIT);
    lower(&blocks, l->threads / (warps * WARP_LANES));
    if (of_warp)
      lower(&blocks, REGISTERS / of_warp / warps);
    int64_t reserved = arch.capability >= 80 ? RESERVED : 0;
    int64_t shared = rounded(shared_bytes, SHARED_UNIT) + reserved;
    if (shared)
      lower(&blocks, (int64_t)l->shared_kib * 1024 / shared);
    return (int)blocks;
  }
  return 0;
}

int cuda_least_blocks(int threads, int64_t shared_bytes, int64_t local_elements) {
  int64_t wanted = local_elements > LARGE_ARRAYS ? LARGE_THREADS : LEAST_THREADS;
  int64_t blocks = wanted / rounded(threads, WARP_LANES);
  lower(&blocks, SHARED_OF_80 / (rounded(shared_bytes, SHARED_UNIT) + RESERVED));
  return blocks < 1 ? 1 : (int)blocks;
}
