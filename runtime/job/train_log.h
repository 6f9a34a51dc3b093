/* The log of a training: log.csv with one row a step, on disk as soon as the step is done. */
#ifndef TRICOT_RUNTIME_JOB_TRAIN_LOG_H
#define TRICOT_RUNTIME_JOB_TRAIN_LOG_H
#include "runtime/base/fault.h"
#include <stdint.h>
#include <stdio.h>

typedef struct TrainLog {
  FILE *stream;
  char *path;
} TrainLog;

/* Starts a new log, or (done > 0) continues one: rows of later steps than `done` are dropped, so
 * that a resumed training leaves the log that an uninterrupted one would have. */
bool train_log_open(TrainLog *log, const char *path, int64_t done, Error *error);
/* step and epoch count from 1. */
bool train_log_row(TrainLog *log, int64_t step, int64_t epoch, double loss, double lr,
                   double seconds, Error *error);
void train_log_close(TrainLog *log);
#endif
