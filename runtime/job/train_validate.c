/* Evaluation during training. See train_validate.h. */
#include "runtime/job/train_validate.h"
#include "runtime/job/command.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool find_metric(Validation *v, Error *error) {
  const char *wanted = options_text(&v->job->options, "best");
  Text names = {0};
  for (int i = 0; i < OVERALL_FIELDS; i++) {
    if (strcmp(overall_fields[i].name, wanted ? wanted : "auroc_macro") == 0)
      v->metric = &overall_fields[i];
    text_add(&names, "%s%s", i ? ", " : "", overall_fields[i].name);
  }
  if (!v->metric)
    error_set(error, "--best: error: \"%.60s\" is none of %.800s", wanted, names.at);
  text_free(&names);
  return v->metric != NULL;
}

bool validation_request(Validation *v, Job *job, JobRequest *request, Error *error) {
  const char *every = options_text(&job->options, "evaluate-every");
  *v = (Validation){.job = job, .best = NAN};
  if (!every || strcmp(every, "0") == 0)
    return true;
  if (strcmp(every, "epoch") == 0)
    v->every = -1; /* known with the data */
  else if (!parse_whole(every, 1, INT64_MAX, &v->every))
    return error_set(error, "--evaluate-every: error: \"%.60s\" is not epoch or a number of steps",
                     every);
  return find_metric(v, error) && zeroshot_request(&v->zeroshot, job, false, request, error);
}

static const char *best_path(const Validation *v) {
  return arena_printf(v->job->arena, "%s/best.safetensors", v->out);
}

/* What best.safetensors has reached, where it is of this training's past. */
static void read_best(Validation *v, int64_t done) {
  TensorFile file;
  if (done == 0 || access(best_path(v), R_OK) != 0 ||
      !tensor_file_open(&file, best_path(v), NULL))
    return;
  const char *metric = tensor_file_metadata(&file, "metric");
  const char *value = tensor_file_metadata(&file, "value");
  const char *step = tensor_file_metadata(&file, "step");
  if (metric && value && step && strcmp(metric, v->metric->name) == 0 && atoll(step) <= done)
    v->best = strtod(value, NULL);
  tensor_file_close(&file);
}

static bool open_csv(Validation *v, int64_t done, Error *error) {
  const char *path = arena_printf(v->job->arena, "%s/validation.csv", v->out);
  bool fresh = done == 0 || !train_log_there(path);
  if (!fresh && !train_log_cut(path, done, error))
    return false;
  v->csv = fopen(path, fresh ? "wb" : "ab");
  if (!v->csv)
    return error_set(error, "%s: error: cannot be written: %s", path, strerror(errno));
  fputs(fresh ? "step" : "", v->csv);
  for (int i = 0; fresh && i < OVERALL_FIELDS; i++)
    fprintf(v->csv, ",%s", overall_fields[i].name);
  fputs(fresh ? "\n" : "", v->csv);
  fflush(v->csv);
  return true;
}

bool validation_open(Validation *v, const char *out, const int64_t size[3], int64_t in_epoch,
                     int64_t done, Error *error) {
  if (!v->every)
    return true;
  v->out = out;
  if (v->every < 0)
    v->every = in_epoch;
  if (!job_dataset_split(v->job, "valid", size, &v->dataset, error))
    return false;
  read_best(v, done);
  return open_csv(v, done, error) && zeroshot_attach(&v->zeroshot, v->job, error);
}

static bool write_results(Validation *v, int64_t step, const OverallMetrics *overall,
                          TrainLog *log, Error *error) {
  Text json = {0};
  fprintf(v->csv, "%lld", (long long)step);
  text_add(&json, "\"validation\": {");
  for (int i = 0; i < OVERALL_FIELDS; i++) {
    double value = metric_value(overall, &overall_fields[i]);
    fprintf(v->csv, ",%.9g", value);
    text_add(&json, "%s\"%s\": ", i ? ", " : "", overall_fields[i].name);
    text_add(&json, isfinite(value) ? "%.9g" : "null", value);
  }
  text_add(&json, "}");
  fputs("\n", v->csv);
  bool good = (fflush(v->csv) == 0 && !ferror(v->csv)) ||
              error_set(error, "%s/validation.csv: error: cannot be written: %s", v->out,
                        strerror(errno));
  good = good && train_log_note(log, step, json.at, error);
  text_free(&json);
  return good;
}

bool validation_step(Validation *v, int64_t step, const WeightNotes *notes, TrainLog *log,
                     char *line, size_t room, Error *error) {
  OverallMetrics overall;
  *line = 0;
  if (!v->every || step % v->every != 0)
    return true;
  if (!zeroshot_evaluate(&v->zeroshot, &v->dataset, &overall, error) ||
      !write_results(v, step, &overall, log, error))
    return false;
  double value = metric_value(&overall, v->metric);
  bool better = isfinite(value) && !(value <= v->best);
  snprintf(line, room, "step %lld: zero-shot on %d volumes: %s %.4f%s", (long long)step,
           v->dataset.count, v->metric->name, value, better ? ", the best so far" : "");
  if (!better)
    return true;
  WeightNotes best = *notes;
  best.metric = v->metric->name;
  best.value = value;
  v->best = value;
  return weights_write(best_path(v), v->job, step, &best, error);
}

void validation_close(Validation *v) {
  if (v->csv)
    fclose(v->csv);
  if (v->every)
    zeroshot_close(&v->zeroshot);
  if (v->dataset.arena)
    dataset_close(&v->dataset);
}
