/* log.csv. See train_log.h. Losses and rates are written so that they read back exactly. */
#include "runtime/job/train_log.h"
#include "runtime/base/file.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char header[] = "step,epoch,loss,lr,seconds\n";
static const size_t MAX_LOG = (size_t)4 << 30;

/* Rewrites the log with the rows up to step `done`; a half-written last row goes too. */
static bool cut_log(const char *path, int64_t done, Error *error) {
  Arena *arena = arena_new();
  char *text;
  size_t size;
  Writing writing;
  bool good = file_read(arena, path, MAX_LOG, &text, &size, error);
  if (good && strncmp(text, header, sizeof header - 1) != 0)
    good = error_set(error, "%s: error: is not the log of a training", path);
  if (good)
    good = writing_open(&writing, path, error);
  if (good) {
    fputs(header, writing.stream);
    for (char *row = text + sizeof header - 1, *end; (end = strchr(row, '\n')); row = end + 1)
      if (strtoll(row, NULL, 10) <= done)
        fwrite(row, 1, (size_t)(end + 1 - row), writing.stream);
    good = writing_commit(&writing, error);
  }
  arena_free(arena);
  return good;
}

bool train_log_open(TrainLog *log, const char *path, int64_t done, Error *error) {
  *log = (TrainLog){0};
  FILE *old = done > 0 ? fopen(path, "rb") : NULL;
  if (old) {
    fclose(old);
    if (!cut_log(path, done, error))
      return false;
  }
  log->stream = fopen(path, old ? "ab" : "wb");
  if (!log->stream)
    return error_set(error, "%s: error: cannot be written: %s", path, strerror(errno));
  log->path = mem_alloc(strlen(path) + 1);
  strcpy(log->path, path);
  if (!old)
    fputs(header, log->stream);
  return true;
}

bool train_log_row(TrainLog *log, int64_t step, int64_t epoch, double loss, double lr,
                   double seconds, Error *error) {
  fprintf(log->stream, "%lld,%lld,%.9g,%.9g,%.3f\n", (long long)step, (long long)epoch, loss, lr,
          seconds);
  if (fflush(log->stream) != 0)
    return error_set(error, "%s: error: cannot be written: %s", log->path, strerror(errno));
  return true;
}

void train_log_close(TrainLog *log) {
  if (log->stream)
    fclose(log->stream);
  free(log->path);
  *log = (TrainLog){0};
}
