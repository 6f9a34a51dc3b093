/* The two linear probes, strict and as published: what they share. */
#ifndef TRICOT_RUNTIME_JOB_EVAL_PROBE_H
#define TRICOT_RUNTIME_JOB_EVAL_PROBE_H
#include "runtime/job/eval.h"
#include "runtime/job/probe.h"

typedef struct ProbeTask {
  Eval *eval; /* whose dataset is scored */
  Dataset train;
  int *rows; /* labelled samples of train */
  int64_t n_rows;
  Probe head;
} ProbeTask;

/* With an open program: data of both splits, findings that are labels, a head of zeros. */
bool probe_task_open(ProbeTask *task, Error *error);
/* The volumes to train on: with labels, and for which `use` (NULL: all) holds. */
bool probe_task_rows(ProbeTask *task, bool (*use)(const char *volume), Error *error);
/* labels[classes] of a training sample. */
void probe_task_labels(const ProbeTask *task, int sample, uint8_t *labels);
/* OUT/probe-head.safetensors: weight [classes][width], bias [classes]. */
bool probe_task_write(const ProbeTask *task, Error *error);

/* All of --as-published, from opening the program on. */
bool probe_published(ProbeTask *task, Error *error);
#endif
