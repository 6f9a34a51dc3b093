/* Checkpoints: everything needed to continue a training as if it had never stopped.
 *
 * A safetensors file with parameters, buffers and optimizer state under their own names, so it also
 * serves wherever weights are wanted; the facts below are in its metadata.
 */
#ifndef TRICOT_RUNTIME_JOB_CHECKPOINT_H
#define TRICOT_RUNTIME_JOB_CHECKPOINT_H
#include "runtime/job/job.h"

typedef struct CheckpointFacts {
  int64_t step; /* steps done */
  int64_t steps, batch, warmup, seed;
  double lr;
  uint64_t data; /* fingerprint of the list of samples */
} CheckpointFacts;

/* Atomic: the file is whole or as it was before. */
bool checkpoint_write(const char *path, Job *job, const CheckpointFacts *facts, Error *error);
/* Parameters and buffers alone. */
bool weights_write(const char *path, Job *job, Error *error);
bool checkpoint_read_facts(const char *path, CheckpointFacts *facts, Error *error);
/* Loads all tensors, state included, into the job's program. */
bool checkpoint_load(const char *path, Job *job, Error *error);

/* "FOLDER/checkpoint-00000120.safetensors" */
char *checkpoint_path(Arena *arena, const char *folder, int64_t step);
/* Removes all but the newest `keep` checkpoints of at most `step` steps; keep 0: none. */
void checkpoint_prune(const char *folder, int64_t step, int64_t keep);
#endif
