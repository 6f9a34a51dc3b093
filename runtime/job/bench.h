/* What the files of bench share: one measurement of an entry point. */
#ifndef TRICOT_RUNTIME_JOB_BENCH_H
#define TRICOT_RUNTIME_JOB_BENCH_H
#include "runtime/job/bench_floor.h"
#include "runtime/job/job.h"

typedef struct Bench {
  Job *job;
  int entry, repeat;
  const PlanEntry *plan;
  double median, *seconds; /* of whole runs; all, sorted */
  double flops;            /* executed in a run */
  /* with steps; else by_step is NULL */
  double *by_step; /* n_steps medians in seconds */
  StepFloor *floors;
  MachinePeak peak;
} Bench;

/* The result for people, and as one JSON object. */
void bench_lines(const Bench *b, Text *out);
void bench_json(const Bench *b, Text *out);
/* Runs the entry point three more times and writes what happened when, on which thread, to a file
 * in the trace event format. */
bool bench_trace(Bench *b, const char *path, Error *error);
#endif
