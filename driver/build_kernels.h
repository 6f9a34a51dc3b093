/* What driver/build.c asks about kernels. */
#ifndef TRICOT_DRIVER_BUILD_KERNELS_H
#define TRICOT_DRIVER_BUILD_KERNELS_H
#include "driver/build.h"

/* The number of a LOOP stage kernel among build->kernels: an old one that is equal but for its
 * names, or the next. */
int build_kernel(Build *build, Kernel *kernel);
/* A kernel of the TILE stage that copies so many bytes, a multiple of 4. */
Kernel *build_copy_kernel(Arena *arena, int64_t bytes);
void build_dump_kernel(const Build *build, const Kernel *kernel);
/* False after located errors: the graph has element types that kernels do not compute with. */
bool build_types_supported(Build *build, const Graph *graph);
/* The f32 and bf16 tensors a kernel writes. In `arena`. */
const PlanResult *build_results(Arena *arena, const Kernel *kernel, int *count);
#endif
