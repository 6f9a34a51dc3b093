/* Steps of an entry point while it is built: what driver/build.c makes of regions, build_join.c
 * puts together, and build.c turns into steps of the plan. */
#ifndef TRICOT_DRIVER_BUILD_STEP_H
#define TRICOT_DRIVER_BUILD_STEP_H
#include "driver/build.h"
#include "passes/footprint.h"

typedef struct Step {
  PlanStepKind kind;
  BuildStep from;
  Kernel *kernel; /* LOOP stage; NULL: a copy */
  bool conversion; /* does nothing but move elements */
  int n_args;
  Home *args;
  PlanRef *refs;  /* of the arguments, once memory is planned */
  int64_t *moved; /* bytes of each argument it must read and write */
  int64_t bytes;  /* of a copy */
} Step;

typedef VEC(Step) StepList;

/* Steps that do not need each other become one launch, on targets where a launch runs its blocks
 * side by side (Facts.blocks). A step may move ahead of others that it needs nothing of, but not
 * from behind the guard (a number of steps, which is updated). Reads refs. */
void join_steps(Arena *arena, const Facts *facts, StepList *steps, int *guard);
#endif
