/* What program.c and program_weights.c share. */
#ifndef TRICOT_RUNTIME_PROGRAM_PRIVATE_H
#define TRICOT_RUNTIME_PROGRAM_PRIVATE_H
#include "runtime/pool.h"
#include "runtime/program.h"
#include "runtime/region.h"

typedef struct BoundStep { /* a step with its addresses */
  ProgramKernel *kernel;   /* NULL: a copy */
  void **arguments;
} BoundStep;

typedef struct BoundEntry {
  Region prepared;
  bool stale;       /* prepared memory does not fit the persistent tensors any more */
  bool retired;     /* must not run any more */
  bool stopped;     /* the last run ended at the guard */
  bool reads_views; /* PLAN_VIEW tensors */
  BoundStep *prepare, *steps;
  int64_t *times, *starts; /* n_steps nanoseconds of the last run */
} BoundEntry;

struct Program {
  Arena *memory; /* of everything small below */
  const Plan *plan;
  Pool *pool;
  Region persistent, arena;
  void **tensors;      /* plan->n_tensors addresses in `persistent` */
  int64_t model_bytes; /* of `persistent`, up to the last parameter or buffer: what every entry
                          point may need. The optimizer's state comes when one that updates runs */
  BoundEntry *entries;
  BoundStep *refresh;
  bool views_stale; /* parameters were set from outside, or by an entry point that outdates views */
  bool frozen;      /* persistent tensors do not change any more */
  bool profile;
};
#endif
