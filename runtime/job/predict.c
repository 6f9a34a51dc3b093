/* predict: probabilities of findings for CT volumes, by zero-shot classification.
 *
 * A volume is brought into the orientation the weights were trained in (their metadata says), and
 * what was used of it is told: orientation, rescale, spacing, and where each comes from. A volume
 * that cannot be read is reported and does not stop the others; the exit status tells.
 */
#include "runtime/base/json.h"
#include "runtime/data/cache.h"
#include "runtime/data/orient.h"
#include "runtime/data/prepare_file.h"
#include "runtime/data/prepare_options.h"
#include "runtime/job/command.h"
#include "runtime/job/encode.h"
#include "runtime/job/progress.h"
#include "runtime/job/source.h"
#include <stdlib.h>
#include <string.h>

static const char notice[] = "For research use only. Not for diagnosis.";

typedef struct Prediction {
  const char *path;
  bool good, prepared; /* prepared: a model input already, nothing is known of the volume */
  Error error;
  PrepareReport report;
  double encode_seconds;
  double *probabilities; /* of the model's findings */
} Prediction;

typedef struct Predict {
  Job *job;
  Zeroshot zeroshot;
  VolumePort port;
  PrepareOptions options;
  Prediction *list;
  int count;
  double start_seconds; /* compiling, loading, encoding the prompts */
} Predict;

static bool ends_with(const char *text, const char *end) {
  size_t length = strlen(text), wanted = strlen(end);
  return length >= wanted && strcmp(text + length - wanted, end) == 0;
}

/* Everything but the size, which is the program's. */
static const char *without_size(const char *text) {
  const char *order = strstr(text, "order ");
  return order ? order : text;
}

/* The flag, else the settings, else what the weights were trained in, else as stored. */
static bool settle_orientation(Predict *p, Error *error) {
  const char *flag = options_text(&p->job->options, "orientation");
  const char *trained = p->job->trained_orientation;
  if (flag)
    return prepare_set(&p->options, "orientation", flag, NULL) ||
           error_set(error, "--orientation: error: \"%.40s\" is not stored or like LPS", flag);
  if (*p->options.orientation)
    return true;
  if (trained && axes_are_valid(trained))
    memcpy(p->options.orientation, trained, sizeof p->options.orientation);
  else
    fprintf(stderr, "predict: %s: volumes stay as stored\n",
            trained ? "the weights were trained on volumes of mixed orientations"
                    : "the weights do not say in which orientation they were trained");
  return true;
}

static bool settle_options(Predict *p, Error *error) {
  char text[PREPARE_TEXT_ROOM];
  const char *trained = p->job->trained_prepare;
  if (!job_prepare_options(p->job, p->port.size, &p->options, error))
    return false;
  prepare_options_text(&p->options, text);
  if (trained && strcmp(without_size(trained), without_size(text)) != 0)
    fprintf(stderr,
            "predict: warning: the weights were trained on volumes prepared with \"%s\", these "
            "are prepared with \"%s\"\n",
            trained, text);
  return settle_orientation(p, error);
}

/* Prepares a volume into the input: through memory of its own where the input keeps a part. */
static bool prepare_input(Predict *p, Prediction *one, const PrepareFacts *row, Error *error) {
  const VolumePort *port = &p->port;
  int threads = program_threads(p->job->program);
  if (!port->gather)
    return prepare_file(one->path, row, &p->options, threads, port->data, &one->report, error);
  float *whole = malloc(sizeof *whole * (size_t)gather_sample_whole(port->gather));
  bool good = whole || error_set(error, "%s: error: no memory for the prepared volume", one->path);
  good = good && prepare_file(one->path, row, &p->options, threads, whole, &one->report, error);
  if (good)
    gather_sample(port->gather, sizeof *whole, whole, port->data);
  free(whole);
  return good;
}

static bool read_volume(Predict *p, Prediction *one) {
  const char *metadata = options_text(&p->job->options, "metadata");
  PrepareFacts row;
  Error inner;
  one->prepared =
      ends_with(one->path, ".safetensors") || ends_with(one->path, VOLUME_FILE_ENDING);
  if (one->prepared)
    return cache_load_part(one->path, p->port.size, NULL, p->port.gather, p->port.data,
                           &one->error);
  if (metadata && !ctrate_facts(metadata, one->path, &row, &one->error))
    return false;
  bool good = prepare_input(p, one, metadata ? &row : NULL, &inner);
  if (good && *one->report.warning.text)
    fprintf(stderr, "%s\n", one->report.warning.text);
  if (!good)
    error_set(&one->error, "%.900s%s", inner.text,
              *p->options.orientation && !axes_are_valid(one->report.axes) &&
                      *one->report.axes
                  ? " (--orientation stored leaves it as it is)"
                  : "");
  return good;
}

static bool predict_one(Predict *p, Prediction *one, float *latent) {
  const VolumePort *port = &p->port;
  one->good = read_volume(p, one);
  if (!one->good)
    return false;
  for (int64_t q = 1; q < port->batch; q++) /* where the program takes several, all are this one */
    memcpy(port->data + q * port->voxels, port->data, sizeof(float) * (size_t)port->voxels);
  double start = seconds_now();
  one->good = encoder_run(&p->zeroshot.image, 1, latent, &one->error);
  if (one->good)
    zeroshot_score(&p->zeroshot, latent, one->probabilities);
  one->encode_seconds = seconds_now() - start;
  return one->good;
}

/* ---- what comes out ---- */

static void add_json_facts(const Prediction *one, Text *out) {
  const PrepareReport *r = &one->report;
  const PrepareFacts *f = &r->facts;
  if (one->prepared) {
    text_add(out, ", \"prepared\": true, \"seconds\": {\"encode\": %.6f}", one->encode_seconds);
    return;
  }
  text_add(out,
           ", \"voxels\": [%lld, %lld, %lld], \"orientation\": {\"stored\": \"%s\", \"used\": "
           "\"%s\"}",
           (long long)r->voxels[0], (long long)r->voxels[1], (long long)r->voxels[2], r->stored,
           r->axes);
  text_add(out,
           ", \"rescale\": {\"scl_slope\": %.17g, \"scl_inter\": %.17g, \"slope\": %.17g, "
           "\"intercept\": %.17g, \"from\": \"%s\"}",
           r->scl_slope, r->scl_inter, f->slope, f->intercept,
           r->row_rescale ? "metadata" : "header");
  text_add(out, ", \"spacing\": {\"mm\": [%.9g, %.9g, %.9g], \"from\": \"%s\"}", f->spacing[0],
           f->spacing[1], f->spacing[2], r->row_spacing ? "metadata" : "header");
  text_add(out, ", \"seconds\": {\"read\": %.6f, \"resample\": %.6f, \"encode\": %.6f}",
           r->read_seconds, r->prepare_seconds, one->encode_seconds);
}

static void add_json(const Predict *p, Text *out) {
  char settings[PREPARE_TEXT_ROOM];
  prepare_options_text(&p->options, settings);
  text_add(out, "{\"notice\": \"%s\", \"model\": ", notice);
  json_add_string(out, p->job->plan->model);
  text_add(out, ", \"prepare\": ");
  json_add_string(out, settings);
  text_add(out, ", \"start_seconds\": %.6f, \"predictions\": [", p->start_seconds);
  for (int i = 0; i < p->count; i++) {
    const Prediction *one = &p->list[i];
    text_add(out, "%s\n  {\"volume\": ", i ? "," : "");
    json_add_string(out, one->path);
    if (!one->good) {
      text_add(out, ", \"error\": ");
      json_add_string(out, one->error.text);
      text_add(out, "}");
      continue;
    }
    add_json_facts(one, out);
    text_add(out, ", \"probabilities\": {");
    for (int c = 0; c < p->zeroshot.n_findings; c++) {
      text_add(out, "%s", c ? ", " : "");
      json_add_string(out, p->zeroshot.findings[c]);
      text_add(out, ": %.9g", one->probabilities[c]);
    }
    text_add(out, "}}");
  }
  text_add(out, "\n]}\n");
}

static void add_table_facts(const Prediction *one, Text *out) {
  const PrepareReport *r = &one->report;
  const PrepareFacts *f = &r->facts;
  if (one->prepared) {
    text_add(out, "  prepared already; encode %.3f s\n", one->encode_seconds);
    return;
  }
  text_add(out, "  %lld x %lld x %lld voxels, stored %s", (long long)r->voxels[0],
           (long long)r->voxels[1], (long long)r->voxels[2], r->stored);
  text_add(out, strcmp(r->stored, r->axes) ? ", turned to %s\n" : "\n", r->axes);
  text_add(out, "  HU = stored * %g + %g (header)", r->scl_slope, r->scl_inter);
  if (r->row_rescale)
    text_add(out, ", then * %g + %g (metadata)", f->slope, f->intercept);
  text_add(out, "\n  spacing %g x %g x %g mm (%s)\n", f->spacing[0], f->spacing[1], f->spacing[2],
           r->row_spacing ? "metadata" : "header");
  text_add(out, "  read %.3f s, resample %.3f s, encode %.3f s\n", r->read_seconds,
           r->prepare_seconds, one->encode_seconds);
}

static void add_table(const Predict *p, Text *out) {
  for (int i = 0; i < p->count; i++) {
    const Prediction *one = &p->list[i];
    text_add(out, "%s%s\n", i ? "\n" : "", one->path);
    if (!one->good) {
      text_add(out, "  %s\n", one->error.text);
      continue;
    }
    add_table_facts(one, out);
    for (int c = 0; c < p->zeroshot.n_findings; c++)
      text_add(out, "  %-36s %6.3f%s\n", p->zeroshot.findings[c], one->probabilities[c],
               one->probabilities[c] > 0.5 ? "  present" : "");
  }
  text_add(out, "\n%s\n", notice);
}

/* Entry points that will not run again give their memory back. */
static void keep_only(Job *job, const bool *used) {
  for (int e = 0; e < job->plan->n_entries; e++)
    if (!used[e])
      program_retire(job->program, e);
}

/* Weights stay as they are, so what is not needed for the prompts, and then for volumes, goes. */
static bool open_program(Predict *p, Error *error) {
  Job *job = p->job;
  JobRequest request = {.trained = true};
  if (!zeroshot_request(&p->zeroshot, job, false, &request, error) ||
      !job_open(job, &request, error))
    return false;
  bool *used = ARENA_ARRAY(job->arena, bool, job->plan->n_entries);
  int image = program_entry(job->program, "encode_image");
  if (!zeroshot_uses(&p->zeroshot, job, used, error))
    return false;
  used[image] = true;
  keep_only(job, used);
  program_freeze(job->program);
  if (!zeroshot_attach(&p->zeroshot, job, error))
    return false;
  memset(used, 0, sizeof *used * (size_t)job->plan->n_entries);
  used[image] = true;
  keep_only(job, used);
  return true;
}

/* The number of volumes that failed; -1 when nothing could be predicted. */
static int predict(Predict *p, Error *error) {
  Job *job = p->job;
  int failed = 0;
  double start = seconds_now();
  if (!open_program(p, error) || !volume_port(job, p->zeroshot.image.entry, &p->port, error) ||
      !settle_options(p, error))
    return -1;
  p->start_seconds = seconds_now() - start;
  p->count = job->n_rest;
  p->list = ARENA_ARRAY(job->arena, Prediction, p->count);
  float *latent = ARENA_ARRAY(job->arena, float, p->zeroshot.image.width);
  Progress progress;
  progress_start(&progress, "predict", 0, p->count);
  for (int i = 0; i < p->count; i++) {
    p->list[i].path = job->rest[i];
    p->list[i].probabilities = ARENA_ARRAY(job->arena, double, p->zeroshot.n_findings);
    if (!predict_one(p, &p->list[i], latent)) {
      failed++;
      progress_clear(&progress);
      fprintf(stderr, "%s\n", p->list[i].error.text);
    }
    if (p->count > 1)
      progress_update(&progress, i + 1, "");
  }
  progress_finish(&progress);
  Text out = {0};
  (options_flag(&job->options, "json") ? add_json : add_table)(p, &out);
  bool good = command_output(options_text(&job->options, "out"), &out, error);
  text_free(&out);
  return good ? failed : -1;
}

int verb_predict(Job *job) {
  Error error = {""};
  Predict p = {.job = job};
  if (job->n_rest == 0)
    error_set(&error, "which volumes?");
  else
    job_need(job, "vocab", &error);
  if (*error.text)
    return job_usage(job, &error);
  int failed = predict(&p, &error);
  zeroshot_close(&p.zeroshot);
  if (failed < 0)
    return job_failed(&error);
  return failed ? EXIT_INPUT : EXIT_DONE;
}
