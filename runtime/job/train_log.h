/* The logs of a training, on disk as soon as a step is done: log.csv with a row a step, and
 * log.jsonl with the same and the volumes of the step. */
#ifndef TRICOT_RUNTIME_JOB_TRAIN_LOG_H
#define TRICOT_RUNTIME_JOB_TRAIN_LOG_H
#include "runtime/base/arena.h"
#include "runtime/base/fault.h"
#include <stdint.h>
#include <stdio.h>

typedef struct TrainLog {
  struct {
    FILE *stream;
    const char *path;
  } files[2];
} TrainLog;

typedef struct TrainRow {
  int64_t step, epoch; /* from 1 */
  double loss, lr, grad_norm;
  double seconds, waited;     /* of the step; of it, for data */
  const char *const *volumes; /* that went in */
  int64_t n_volumes;
} TrainRow;

/* Starts new logs in `folder`, or (done > 0) continues them: rows of later steps than `done` are
 * dropped, so that a resumed training leaves the logs that an uninterrupted one would have. */
bool train_log_open(TrainLog *log, Arena *arena, const char *folder, int64_t done, Error *error);
bool train_log_row(TrainLog *log, const TrainRow *row, Error *error);
/* Is there a log to continue? An empty one was killed before its header was written. */
bool train_log_there(const char *path);
/* Takes the rows of steps after `done` out of a CSV file whose first column is the step. */
bool train_log_cut(const char *path, int64_t done, Error *error);
/* A line of log.jsonl for what is no step: `json` is the inside of an object. */
bool train_log_note(TrainLog *log, int64_t step, const char *json, Error *error);
void train_log_close(TrainLog *log);
#endif
