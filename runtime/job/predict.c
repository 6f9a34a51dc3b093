/* predict: probabilities of the 18 findings for CT volumes, by zero-shot classification.
 *
 * A volume that cannot be read is reported and does not stop the others; the exit status tells.
 */
#include "runtime/base/json.h"
#include "runtime/data/cache.h"
#include "runtime/job/command.h"
#include "runtime/job/encode.h"
#include "runtime/job/progress.h"
#include "runtime/job/source.h"
#include <string.h>

static const char notice[] = "For research use only. Not for diagnosis.";

typedef struct Prediction {
  const char *path;
  bool good;
  Error error;
  double probabilities[CTRATE_LABELS];
} Prediction;

static bool ends_with(const char *text, const char *end) {
  size_t length = strlen(text), wanted = strlen(end);
  return length >= wanted && strcmp(text + length - wanted, end) == 0;
}

static bool read_volume(const Job *job, const char *path, const VolumePort *port, Error *error) {
  if (ends_with(path, ".safetensors") || ends_with(path, VOLUME_FILE_ENDING))
    return cache_load(path, port->size, NULL, port->data, error);
  const char *metadata = options_text(&job->options, "metadata");
  PrepareOptions options;
  Volume volume;
  PrepareFacts facts;
  Error inner;
  if (!job_prepare_options(job, port->size, &options, error) || !volume_read(path, &volume, error))
    return false;
  bool good = metadata ? ctrate_facts(metadata, path, &facts, error)
                       : prepare_facts(&volume, path, &facts, error);
  if (good && !prepare_volume(&volume, &facts, &options, port->data, &inner))
    good = error_set(error, "%s: error: %.900s", path, inner.text);
  volume_free(&volume);
  return good;
}

static bool predict_one(const Zeroshot *z, const VolumePort *port, Prediction *p, float *latent) {
  p->good = read_volume(z->image.job, p->path, port, &p->error);
  if (!p->good)
    return false;
  for (int64_t q = 1; q < port->batch; q++) /* where the program takes several, all are this one */
    memcpy(port->data + q * port->voxels, port->data, sizeof(float) * (size_t)port->voxels);
  p->good = encoder_run(&z->image, 1, latent, &p->error);
  if (p->good)
    zeroshot_score(z, latent, p->probabilities);
  return p->good;
}

static void add_json(const Job *job, const Prediction *list, int count, Text *out) {
  text_add(out, "{\"notice\": \"%s\", \"model\": ", notice);
  json_add_string(out, job->plan->model);
  text_add(out, ", \"predictions\": [");
  for (int i = 0; i < count; i++) {
    text_add(out, "%s\n  {\"volume\": ", i ? "," : "");
    json_add_string(out, list[i].path);
    if (!list[i].good) {
      text_add(out, ", \"error\": ");
      json_add_string(out, list[i].error.text);
      text_add(out, "}");
      continue;
    }
    text_add(out, ", \"probabilities\": {");
    for (int c = 0; c < CTRATE_LABELS; c++) {
      text_add(out, "%s", c ? ", " : "");
      json_add_string(out, ctrate_label_names[c]);
      text_add(out, ": %.9g", list[i].probabilities[c]);
    }
    text_add(out, "}}");
  }
  text_add(out, "\n]}\n");
}

static void add_table(const Job *job, const Prediction *list, int count, Text *out) {
  (void)job;
  for (int i = 0; i < count; i++) {
    text_add(out, "%s%s\n", i ? "\n" : "", list[i].path);
    for (int c = 0; list[i].good && c < CTRATE_LABELS; c++)
      text_add(out, "  %-36s %6.3f%s\n", ctrate_label_names[c], list[i].probabilities[c],
               list[i].probabilities[c] > 0.5 ? "  present" : "");
    if (!list[i].good)
      text_add(out, "  %s\n", list[i].error.text);
  }
  text_add(out, "\n%s\n", notice);
}

static int predict(Job *job, Zeroshot *z, Error *error) {
  VolumePort port;
  int failed = 0;
  if (!zeroshot_open(z, job, error) || !volume_port(job, z->image.entry, &port, error))
    return -1;
  Prediction *list = ARENA_ARRAY(job->arena, Prediction, job->n_rest);
  float *latent = ARENA_ARRAY(job->arena, float, z->image.width);
  Progress progress;
  progress_start(&progress, "predict", 0, job->n_rest);
  for (int i = 0; i < job->n_rest; i++) {
    list[i].path = job->rest[i];
    if (!predict_one(z, &port, &list[i], latent)) {
      failed++;
      progress_clear(&progress);
      fprintf(stderr, "%s\n", list[i].error.text);
    }
    if (job->n_rest > 1)
      progress_update(&progress, i + 1, "");
  }
  progress_finish(&progress);
  Text out = {0};
  (options_flag(&job->options, "json") ? add_json : add_table)(job, list, job->n_rest, &out);
  bool good = command_output(options_text(&job->options, "out"), &out, error);
  text_free(&out);
  return good ? failed : -1;
}

int verb_predict(Job *job) {
  Error error = {""};
  Zeroshot zeroshot = {0};
  if (job->n_rest == 0)
    error_set(&error, "which volumes?");
  else
    job_need(job, "vocab", &error);
  if (*error.text)
    return job_usage(job, &error);
  int failed = predict(job, &zeroshot, &error);
  zeroshot_close(&zeroshot);
  if (failed < 0)
    return job_failed(&error);
  return failed ? EXIT_INPUT : EXIT_DONE;
}
