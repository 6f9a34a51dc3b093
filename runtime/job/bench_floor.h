/* The least time a step could take on this machine. docs/bench.md says how it is computed. */
#ifndef TRICOT_RUNTIME_JOB_BENCH_FLOOR_H
#define TRICOT_RUNTIME_JOB_BENCH_FLOOR_H
#include "runtime/job/machine_peak.h"
#include "runtime/plan.h"

typedef struct StepFloor {
  double seconds;
  const char *bound; /* what sets it: "fma", "memory", "L3", "L2"; "" when it is 0 */
  /* of the step's bytes, those that come from (or go to) memory and each level of cache at best */
  double memory, l3, l2, l1;
} StepFloor;

/* The step's operations at the machine's peaks: dots of pairs at that of bf16. */
double bench_seconds_at_peak(const PlanStep *step, const MachinePeak *peak);
/* Fills floors[entry->n_steps] for an entry point that is run again and again. */
void bench_floors(const Plan *plan, const PlanEntry *entry, const MachinePeak *peak,
                  StepFloor *floors);
#endif
