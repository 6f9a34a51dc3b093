/* The fixed sequence from a scheduled kernel to one that emitters take. See kernel_pass.h. */
#include "passes/kernel/kernel_pass.h"

Kernel *kernel_finish(const Kernel *tile_stage, const Facts *facts, Arena *arena) {
  Error error;
  Kernel *kernel = kernel_distribute(tile_stage, facts, arena);
  kernel_legalize(kernel);
  kernel_sync(kernel);
  if (!kernel_check(kernel, &error))
    FAULT("%s", error.text);
  return kernel;
}
