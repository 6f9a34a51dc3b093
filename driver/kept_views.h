/* Views of parameters that kernels of training read and that are kept from call to call, as tensors
 * of the plan (docs/plan.md, Views). Pass fuse leaves them as regions of views alone
 * (passes/graph/fuse_order.c); entry points that want the same view share it by name.
 */
#ifndef TRICOT_DRIVER_KEPT_VIEWS_H
#define TRICOT_DRIVER_KEPT_VIEWS_H
#include "driver/build.h"

/* Which of build->kept the region computes; a new one with its tensor if it is none yet. */
int kept_index(Build *build, const Graph *graph, const Node *region);
/* PassContext.kept: build->kept.count views. */
const Graph *const *kept_views(Build *build);
/* Does a finished entry point update a parameter, but not all views of it that are kept? */
bool kept_outdated(Build *build, const Graph *graph);
#endif
