/* log.csv and log.jsonl. See train_log.h. Losses and rates are written so that they read back
 * exactly. */
#include "runtime/job/train_log.h"
#include "runtime/base/file.h"
#include "runtime/base/json.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CSV, JSONL };
static const struct {
  const char *name, *header, *before_step; /* what stands in a row before the step's number */
} kinds[2] = {{"log.csv", "step,epoch,loss,lr,grad_norm,seconds,waited\n", ""},
              {"log.jsonl", "", "{\"step\": "}};
static const size_t MAX_LOG = (size_t)4 << 30;

/* The step a row belongs to; -1 where it has none. */
static int64_t step_of(const char *row, int kind) {
  size_t before = strlen(kinds[kind].before_step);
  return strncmp(row, kinds[kind].before_step, before) == 0 ? strtoll(row + before, NULL, 10) : -1;
}

/* Rewrites the log with the rows up to step `done`; a half-written last row goes too. */
static bool cut_log(const char *path, int kind, const char *begins, int64_t done, Error *error) {
  Arena *arena = arena_new();
  char *text;
  size_t size;
  Writing writing;
  bool good = file_read(arena, path, MAX_LOG, &text, &size, error);
  if (good && strncmp(text, begins, strlen(begins)) != 0)
    good = error_set(error, "%s: error: is not the log of a training", path);
  if (good)
    good = writing_open(&writing, path, error);
  if (good) {
    for (char *row = text, *end; (end = strchr(row, '\n')); row = end + 1) {
      int64_t step = step_of(row, kind);
      if ((step > 0 && step <= done) || (row == text && *begins)) /* the header stays */
        fwrite(row, 1, (size_t)(end + 1 - row), writing.stream);
    }
    good = writing_commit(&writing, error);
  }
  arena_free(arena);
  return good;
}

bool train_log_there(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && info.st_size > 0;
}

bool train_log_cut(const char *path, int64_t done, Error *error) {
  return cut_log(path, CSV, "step,", done, error);
}

static bool open_one(TrainLog *log, Arena *arena, const char *folder, int kind, int64_t done,
                     Error *error) {
  const char *path = arena_printf(arena, "%s/%s", folder, kinds[kind].name);
  bool old = done > 0 && train_log_there(path);
  if (old && !cut_log(path, kind, kinds[kind].header, done, error))
    return false;
  log->files[kind].path = path;
  log->files[kind].stream = fopen(path, old ? "ab" : "wb");
  if (!log->files[kind].stream)
    return error_set(error, "%s: error: cannot be written: %s", path, strerror(errno));
  if (!old)
    fputs(kinds[kind].header, log->files[kind].stream);
  return true;
}

bool train_log_open(TrainLog *log, Arena *arena, const char *folder, int64_t done, Error *error) {
  *log = (TrainLog){0};
  return open_one(log, arena, folder, CSV, done, error) &&
         open_one(log, arena, folder, JSONL, done, error);
}

static bool flush(TrainLog *log, int kind, Error *error) {
  if (fflush(log->files[kind].stream) == 0 && !ferror(log->files[kind].stream))
    return true;
  return error_set(error, "%s: error: cannot be written: %s", log->files[kind].path,
                   strerror(errno));
}

static void add_number(Text *text, double value) {
  text_add(text, isfinite(value) ? "%.9g" : "null", value);
}

bool train_log_row(TrainLog *log, const TrainRow *row, Error *error) {
  long long step = (long long)row->step, epoch = (long long)row->epoch;
  fprintf(log->files[CSV].stream, "%lld,%lld,%.9g,%.9g,%.9g,%.3f,%.3f\n", step, epoch, row->loss,
          row->lr, row->grad_norm, row->seconds, row->waited);
  Text text = {0};
  text_add(&text, "{\"step\": %lld, \"epoch\": %lld, \"loss\": ", step, epoch);
  add_number(&text, row->loss);
  text_add(&text, ", \"lr\": %.9g, \"grad_norm\": ", row->lr);
  add_number(&text, row->grad_norm);
  text_add(&text, ", \"seconds\": %.3f, \"waited\": %.3f, \"volumes\": [", row->seconds,
           row->waited);
  for (int64_t i = 0; i < row->n_volumes; i++) {
    text_add(&text, i ? ", " : "");
    json_add_string(&text, row->volumes[i]);
  }
  text_add(&text, "]}\n");
  fputs(text.at, log->files[JSONL].stream);
  text_free(&text);
  return flush(log, CSV, error) && flush(log, JSONL, error);
}

bool train_log_note(TrainLog *log, int64_t step, const char *json, Error *error) {
  fprintf(log->files[JSONL].stream, "{\"step\": %lld, %s}\n", (long long)step, json);
  return flush(log, JSONL, error);
}

void train_log_close(TrainLog *log) {
  for (int kind = 0; kind < 2; kind++)
    if (log->files[kind].stream)
      fclose(log->files[kind].stream);
  *log = (TrainLog){0};
}
