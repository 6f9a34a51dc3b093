/* Zero-shot evaluation on held-out volumes while a training runs, and keeping the best weights.
 *
 * Results go to validation.csv, as notes into log.jsonl, and onto the screen. The weights with the
 * highest value of one metric so far are kept as best.safetensors, with that value in their
 * metadata, so that a resumed training knows what to beat. Evaluating changes nothing of the
 * training.
 */
#ifndef TRICOT_RUNTIME_JOB_TRAIN_VALIDATE_H
#define TRICOT_RUNTIME_JOB_TRAIN_VALIDATE_H
#include "runtime/job/checkpoint.h"
#include "runtime/job/encode.h"
#include "runtime/job/train_log.h"

typedef struct Validation {
  Job *job;
  const char *out;
  int64_t every; /* steps, 0: there is no evaluation */
  const MetricField *metric;
  double best; /* NaN: none yet */
  Zeroshot zeroshot;
  Dataset dataset;
  FILE *csv;
} Validation;

/* Reads --evaluate-every and --best; adds the entry points it needs to the request. */
bool validation_request(Validation *validation, Job *job, JobRequest *request, Error *error);
/* After job_open: the data set's split `valid`, prompts, and what a resumed training has reached
 * after `done` steps. in_epoch: steps of an epoch. */
bool validation_open(Validation *validation, const char *out, const int64_t size[3],
                     int64_t in_epoch, int64_t done, Error *error);
/* Evaluates when the step is one to evaluate after. *line is what to print, "" for nothing. */
bool validation_step(Validation *validation, int64_t step, const WeightNotes *notes, TrainLog *log,
                     char *line, size_t room, Error *error);
void validation_close(Validation *validation);
#endif
