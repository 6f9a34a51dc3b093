/* eval probe: how much a linear head finds in the image latents of frozen towers.
 *
 * Strict: the towers are in evaluation mode, each volume is encoded once, and logistic regression
 * with a little L2 is fitted to the unit latents until its gradient vanishes. --as-published is the
 * procedure of the released code: see eval_probe_published.c.
 */
#include "runtime/job/eval_probe.h"
#include "runtime/job/ports.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char train_split[] = "train";
enum { ITERATIONS = 5000 };

/* ---- what both ways share ---- */

bool probe_task_open(ProbeTask *t, Error *error) {
  Eval *e = t->eval;
  Zeroshot *z = &e->zeroshot;
  Arena *arena = e->job->arena;
  VolumePort port;
  if (!zeroshot_settings(z, e->job, error) || !eval_fingerprint(e, error) ||
      !encoder_open(&z->image, e->job, "encode_image", "image_latents", error) ||
      !volume_port(e->job, z->image.entry, &port, error) ||
      !job_dataset(e->job, "valid", port.size, &e->dataset, error) ||
      !job_dataset_split(e->job, train_split, port.size, &t->train, error))
    return false;
  int kept = 0; /* findings that are labels: nothing else can be learnt */
  for (int f = 0; f < z->n_findings; f++)
    if (z->labels[f] >= 0) {
      z->findings[kept] = z->findings[f];
      z->labels[kept++] = z->labels[f];
    } else {
      fprintf(stderr,
              "eval: warning: \"%s\" is no label of the data set; the probe leaves it out\n",
              z->findings[f]);
    }
  z->n_findings = kept;
  if (kept == 0)
    return error_set(error, "model %s: none of the findings is a label of the data set",
                     e->job->plan->model);
  if (strcmp(e->split, train_split) == 0)
    fprintf(stderr, "eval: warning: the probe is trained and scored on the same split\n");
  t->head = (Probe){.width = z->image.width, .classes = kept};
  t->head.values = ARENA_ARRAY(arena, double, probe_size(&t->head));
  t->rows = ARENA_ARRAY(arena, int, t->train.count + 1);
  return true;
}

bool probe_task_rows(ProbeTask *t, bool (*use)(const char *volume), Error *error) {
  for (int i = 0; i < t->train.count; i++)
    if (t->train.samples[i].has_labels && (!use || use(t->train.samples[i].volume)))
      t->rows[t->n_rows++] = i;
  return t->n_rows > 0 || error_set(error, "split %s: error: no volume has labels", train_split);
}

void probe_task_labels(const ProbeTask *t, int sample, uint8_t *labels) {
  for (int c = 0; c < t->head.classes; c++)
    labels[c] = t->train.samples[sample].labels[t->eval->zeroshot.labels[c]];
}

bool probe_task_write(const ProbeTask *t, Error *error) {
  const Probe *h = &t->head;
  int64_t size = probe_size(h);
  float *values = ARENA_ARRAY(t->eval->job->arena, float, size);
  for (int64_t i = 0; i < size; i++)
    values[i] = (float)h->values[i];
  Tensor tensors[] = {{"weight", {DT_f32, 2, {h->classes, h->width}}, values},
                      {"bias", {DT_f32, 1, {h->classes}}, values + h->classes * h->width}};
  return tensor_file_write(
      arena_printf(t->eval->job->arena, "%s/probe-head.safetensors", t->eval->out), tensors, 2,
      NULL, NULL, 0, error);
}

/* ---- strict ---- */

/* Positives weigh as much as negatives in all, so that 0.5 is a fair threshold. */
static void balance(const ProbeTask *t, const uint8_t *labels, double *weights) {
  for (int c = 0; c < t->head.classes; c++) {
    int64_t positives = 0;
    for (int64_t r = 0; r < t->n_rows; r++)
      positives += labels[r * t->head.classes + c];
    weights[c] = positives ? (double)(t->n_rows - positives) / (double)positives : 1;
  }
}

static double fit(ProbeTask *t, const float *latents, double l2) {
  int64_t width = t->head.width;
  double *features = mem_alloc(sizeof *features * (size_t)(t->n_rows * width));
  uint8_t *labels = mem_alloc((size_t)(t->n_rows * t->head.classes));
  double *weights = mem_alloc(sizeof *weights * (size_t)t->head.classes);
  for (int64_t r = 0; r < t->n_rows; r++) {
    probe_unit_features(latents + t->rows[r] * width, 1, width, features + r * width);
    probe_task_labels(t, t->rows[r], labels + r * t->head.classes);
  }
  balance(t, labels, weights);
  double left = probe_fit(&t->head, features, labels, t->n_rows, weights, l2, ITERATIONS);
  free(features);
  free(labels);
  free(weights);
  return left;
}

static bool strict(ProbeTask *t, Error *error) {
  Eval *e = t->eval;
  float *latents = NULL;
  double l2 = options_real(&e->job->options, "probe-l2", 1e-4);
  if (!(l2 > 0))
    return error_set(error,
                     "--probe-l2: error: must be above 0: without it there may be no minimum");
  bool good = probe_task_rows(t, NULL, error) &&
              eval_latents(e, &e->dataset, e->split, &e->latents, error) &&
              eval_latents(e, &t->train, train_split, &latents, error);
  double left = good ? fit(t, latents, l2) : 0;
  free(latents);
  if (!good)
    return false;
  if (left > 1e-6)
    fprintf(stderr, "eval: warning: the probe has not converged, a gradient of %.2g is left\n",
            left);
  int64_t width = t->head.width;
  double *features = mem_alloc(sizeof *features * (size_t)width);
  double *probabilities =
      mem_alloc(sizeof *probabilities * (size_t)(e->dataset.count * t->head.classes + 1));
  for (int64_t i = 0; i < e->dataset.count; i++) {
    probe_unit_features(e->latents + i * width, 1, width, features);
    probe_probabilities(&t->head, features, probabilities + i * t->head.classes);
  }
  Text more = {0}, about = {0};
  text_add(&more,
           ",\n  \"probe\": {\"kind\": \"strict\", \"train_split\": \"%s\", "
           "\"train_volumes\": %lld, \"l2\": %.9g, \"gradient_left\": %.3g}",
           train_split, (long long)t->n_rows, l2, left);
  text_add(&about,
           "Logistic regression on the unit image latents of %lld training volumes, towers "
           "in evaluation mode, classes balanced, L2 %g.\n",
           (long long)t->n_rows, l2);
  good = probe_task_write(t, error) && eval_scores(e, probabilities, more.at, about.at, error);
  text_free(&more);
  text_free(&about);
  free(features);
  free(probabilities);
  return good;
}

bool eval_probe(Eval *e, Error *error) {
  ProbeTask task = {.eval = e};
  bool published = options_flag(&e->job->options, "as-published"), good;
  if (published) {
    good = probe_published(&task, error);
  } else {
    JobRequest request = {
        .entries = {"encode_image"}, .n_entries = 1, .batches = {1}, .trained = true};
    good =
        job_open(e->job, &request, error) && probe_task_open(&task, error) && strict(&task, error);
  }
  dataset_close(&task.train);
  return good;
}
