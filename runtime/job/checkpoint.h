/* Checkpoints: everything needed to continue a training as if it had never stopped.
 *
 * A safetensors file with parameters, buffers and optimizer state under their own names, so it also
 * serves wherever weights are wanted; the facts below are in its metadata.
 */
#ifndef TRICOT_RUNTIME_JOB_CHECKPOINT_H
#define TRICOT_RUNTIME_JOB_CHECKPOINT_H
#include "runtime/job/job.h"

typedef enum Schedule { SCHEDULE_CONSTANT, SCHEDULE_COSINE } Schedule; /* of the learning rate */
extern const char *const schedule_names[2];

/* What decides a training besides its data, weights and program. */
typedef struct CheckpointFacts {
  int64_t step;  /* steps done */
  int64_t steps; /* to do in all */
  int64_t batch, accumulate, warmup, seed;
  int64_t schedule, negatives; /* as Schedule and Negatives of train_steps.h */
  double lr, lr_end;           /* after the warm-up; at the end of a cosine */
  double clip;                 /* norm of the gradient; 0: no bound */
  uint64_t data;               /* fingerprint of the list of samples */
} CheckpointFacts;

/* The learning rate of a step that follows `step` others: a linear warm-up, then constant or half a
 * cosine from lr to lr_end. */
double checkpoint_rate(const CheckpointFacts *facts, int64_t step);

/* What weights say of themselves, for those who use them (job.h reads it back). */
typedef struct WeightNotes {
  const char *orientation; /* of the volumes trained on: "LPS", "mixed", "" unknown */
  const char *prepare;     /* prepare_options_text */
  const char *metric;      /* that chose them, or NULL; its value */
  double value;
} WeightNotes;

/* Atomic: the file is whole or as it was before. */
bool checkpoint_write(const char *path, Job *job, const CheckpointFacts *facts,
                      const WeightNotes *notes, Error *error);
/* Parameters and buffers alone, after `step` steps. */
bool weights_write(const char *path, Job *job, int64_t step, const WeightNotes *notes,
                   Error *error);
bool checkpoint_read_facts(const char *path, CheckpointFacts *facts, Error *error);
/* Loads all tensors, state included, into the job's program. */
bool checkpoint_load(const char *path, Job *job, Error *error);

/* "FOLDER/checkpoint-00000120.safetensors" */
char *checkpoint_path(Arena *arena, const char *folder, int64_t step);
/* The newest checkpoint in the folder; NULL when there is none. */
char *checkpoint_newest(Arena *arena, const char *folder);
/* Removes all but the newest `keep` checkpoints of at most `step` steps; keep 0: none. */
void checkpoint_prune(const char *folder, int64_t step, int64_t keep);
#endif
