/* Kernels that measure what a device can multiply. See runtime/cuda/peak.h.
 *
 * Chains of one operation on registers, several beside each other so that none waits for its own
 * last result. How many rounds there are is read from memory, so that nothing is worked out ahead.
 */
#include "codegen/emit.h"
#include "runtime/cuda/peak.h"
#include <string.h>

static const char head[] = "loop kernel @%s(%%rounds: i32[1], %%sums: out f32[%d]) {\n"
                           "  grid %%block = %d\n"
                           "  threads %%thread = %d\n"
                           "  local %%t : f32[%d]\n"
                           "  %%n : [0, %d] = lookup %%rounds[0]\n"
                           "  for %%i : [0, %d] = 0 to %d step 1 unroll {\n"
                           "    %%0 = iota %%thread + %%i : f32\n"
                           "    store %%t[%%i] = %%0 : f32\n"
                           "  }\n";

static const char fused[] = "  %1 = const 0.5 : f32\n"
                            "  for %k : [0, 1048575] = 0 to %n step 1 {\n"
                            "    for %j : [0, 15] = 0 to 16 step 1 unroll {\n"
                            "      %2 = load %t[%j] : f32\n"
                            "      %3 = fma %2, %1, %1 : f32\n"
                            "      store %t[%j] = %3 : f32\n"
                            "    }\n"
                            "  }\n";

/* Each factor is a pair of ones, or of small numbers. */
static const char matrix[] = "  %1 = const 1065369472 : i32x4\n"
                             "  %2 = const 939538432 : i32x2\n"
                             "  for %k : [0, 1048575] = 0 to %n step 1 {\n"
                             "    for %j : [0, 28] = 0 to 32 step 4 unroll {\n"
                             "      %3 = load %t[%j] : f32x4\n"
                             "      %4 = mma_bf16 %1, %2, %3 : f32x4\n"
                             "      store %t[%j] = %4 : f32x4\n"
                             "    }\n"
                             "  }\n";

static const char tail[] = "  for %%s : [1, %d] = 1 to %d step 1 unroll {\n"
                           "    %%10 = load %%t[0] : f32\n"
                           "    %%11 = load %%t[%%s] : f32\n"
                           "    %%12 = add %%10, %%11 : f32\n"
                           "    store %%t[0] = %%12 : f32\n"
                           "  }\n"
                           "  %%20 = load %%t[0] : f32\n"
                           "  store %%sums[%d*%%block + %%thread] = %%20 : f32\n"
                           "}\n";

static Kernel *make(Arena *arena, const char *name, const char *rounds, int sums) {
  Diag diag;
  int count;
  diag_init(&diag, arena);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  const char *text = arena_printf(arena, "%s%s%s",
                                  arena_printf(arena, head, name, PEAK_BLOCKS * PEAK_THREADS,
                                               PEAK_BLOCKS, PEAK_THREADS, sums, PEAK_MOST_ROUNDS,
                                               sums - 1, sums),
                                  rounds, arena_printf(arena, tail, sums - 1, sums, PEAK_THREADS));
#pragma GCC diagnostic pop
  Kernel **kernels = kernel_parse(arena, &diag, name, text, strlen(text), &count);
  Error error;
  if (!kernels || !kernel_check(kernels[0], &error)) {
    diag_print(&diag, stderr);
    FAULT("kernel %s", name);
  }
  kernels[0]->doc = "what this device can multiply";
  return kernels[0];
}

void peak_kernels(Arena *arena, Kernel *kernels[2]) {
  kernels[0] = make(arena, PEAK_FMA, fused, 16);
  kernels[1] = make(arena, PEAK_MMA, matrix, 32);
}
