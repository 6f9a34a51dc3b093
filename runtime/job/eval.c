/* eval: zero-shot classification and image-text retrieval on a data set.
 *
 * Results go to the folder --out: zeroshot.csv (a row a volume) and zeroshot.json, or
 * retrieval.json and latents.safetensors; the table (or the JSON) goes to stdout. Volumes are read
 * ahead while the image encoder runs; each goes through it once.
 */
#include "runtime/base/json.h"
#include "runtime/data/metrics.h"
#include "runtime/job/command.h"
#include "runtime/job/encode.h"
#include "runtime/job/progress.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int64_t ranks[] = {1, 5, 10, 50, 100};
enum { N_RANKS = 5 };

typedef struct Eval {
  Job *job;
  const char *out;
  Zeroshot zeroshot;
  Dataset dataset;
  float *latents; /* [dataset.count][width] */
} Eval;

static void pick_in_order(void *context, int64_t step, int64_t *samples) {
  const Eval *e = context;
  for (int64_t q = 0; q < e->zeroshot.image.batch; q++) { /* the last one fills the batch up */
    int64_t index = step * e->zeroshot.image.batch + q;
    samples[q] = index < e->dataset.count ? index : e->dataset.count - 1;
  }
}

static bool encode_all(Eval *e, Batches *batches, VolumePort *port, int64_t turns, Error *error) {
  const Encoder *image = &e->zeroshot.image;
  int64_t *samples = ARENA_ARRAY(e->job->arena, int64_t, image->batch);
  Progress progress;
  progress_start(&progress, "encode", 0, e->dataset.count);
  bool good = true;
  for (int64_t t = 0; good && t < turns; t++) {
    int64_t first = t * image->batch, left = e->dataset.count - first;
    int64_t fresh = left < image->batch ? left : image->batch;
    good = batches_take(batches, port, NULL, samples, error) &&
           encoder_run(image, fresh, e->latents + first * image->width, error);
    if (good)
      progress_update(&progress, first + fresh, "");
  }
  progress_finish(&progress);
  return good;
}

static bool encode_volumes(Eval *e, Error *error) {
  const Encoder *image = &e->zeroshot.image;
  VolumePort port;
  Batches *batches;
  if (!volume_port(e->job, image->entry, &port, error) ||
      !job_dataset(e->job, "valid", port.size, &e->dataset, error))
    return false;
  int64_t turns = (e->dataset.count + image->batch - 1) / image->batch;
  e->latents = mem_alloc(sizeof(float) * (size_t)(e->dataset.count * image->width));
  BatchSource source = {.dataset = &e->dataset,
                        .batch = image->batch,
                        .voxels = port.voxels,
                        .pick = pick_in_order,
                        .context = e,
                        .end = turns,
                        .threads = job_loaders(e->job)};
  if (!batches_open(&batches, &source, error))
    return false;
  bool good = encode_all(e, batches, &port, turns, error);
  batches_close(batches);
  return good;
}

static bool write_text(const Eval *e, const char *name, const Text *text, Error *error) {
  return command_output(arena_printf(e->job->arena, "%s/%s", e->out, name), text, error);
}

static void csv_head(Text *csv) {
  text_add(csv, "VolumeName");
  for (int c = 0; c < CTRATE_LABELS; c++)
    text_add(csv, ",%s", ctrate_label_names[c]);
  text_add(csv, "\n");
}

static bool write_csv(const Eval *e, const double *probabilities, Error *error) {
  Text csv = {0};
  csv_head(&csv);
  for (int i = 0; i < e->dataset.count; i++) {
    text_add(&csv, "%s", e->dataset.samples[i].volume);
    for (int c = 0; c < CTRATE_LABELS; c++)
      text_add(&csv, ",%.9g", probabilities[i * CTRATE_LABELS + c]);
    text_add(&csv, "\n");
  }
  bool good = write_text(e, "zeroshot.csv", &csv, error);
  text_free(&csv);
  return good;
}

static void json_head(const Eval *e, Text *json, int used) {
  text_add(json, "{\n\"model\": ");
  json_add_string(json, e->job->plan->model);
  text_add(json, ",\n\"variant\": ");
  json_add_string(json, e->job->plan->variant);
  text_add(json, ",\n\"volumes\": %d,\n\"scored\": %d", e->dataset.count, used);
}

static bool report(const Eval *e, const char *name, const Text *json, const Text *table,
                   Error *error) {
  return write_text(e, name, json, error) &&
         command_output(NULL, options_flag(&e->job->options, "json") ? json : table, error);
}

/* Volumes without labels get probabilities, but no part in the scores. */
static bool score_labelled(const Eval *e, const double *probabilities, Error *error) {
  int used = 0;
  double *scored = mem_alloc(sizeof(double) * (size_t)e->dataset.count * CTRATE_LABELS);
  uint8_t *labels = mem_alloc((size_t)e->dataset.count * CTRATE_LABELS);
  for (int i = 0; i < e->dataset.count; i++) {
    if (!e->dataset.samples[i].has_labels)
      continue;
    memcpy(scored + used * CTRATE_LABELS, probabilities + i * CTRATE_LABELS,
           sizeof(double) * CTRATE_LABELS);
    memcpy(labels + used * CTRATE_LABELS, e->dataset.samples[i].labels, CTRATE_LABELS);
    used++;
  }
  ClassMetrics classes[CTRATE_LABELS];
  OverallMetrics overall;
  Text json = {0}, table = {0};
  bool good =
      used == 0 || metrics_classify(scored, labels, used, CTRATE_LABELS, classes, &overall, error);
  json_head(e, &json, used);
  if (good && used) {
    text_add(&json, ",\n");
    metrics_add_classes(&json, ctrate_label_names, classes, CTRATE_LABELS, &overall);
    metrics_table_classes(&table, ctrate_label_names, classes, CTRATE_LABELS, &overall);
  }
  text_add(&json, "\n}\n");
  text_add(&table, "%d volumes, %d with labels; probabilities in %s/zeroshot.csv\n",
           e->dataset.count, used, e->out);
  good = good && report(e, "zeroshot.json", &json, &table, error);
  text_free(&json);
  text_free(&table);
  free(scored);
  free(labels);
  return good;
}

static bool eval_zeroshot(Eval *e, Error *error) {
  int count = e->dataset.count;
  double *probabilities = mem_alloc(sizeof(double) * (size_t)count * CTRATE_LABELS);
  for (int i = 0; i < count; i++)
    zeroshot_score(&e->zeroshot, e->latents + i * e->zeroshot.image.width,
                   probabilities + i * CTRATE_LABELS);
  bool good = write_csv(e, probabilities, error) && score_labelled(e, probabilities, error);
  free(probabilities);
  return good;
}

static bool write_latents(const Eval *e, const float *texts, Error *error) {
  Type type = {DT_f32, 2, {e->dataset.count, e->zeroshot.image.width}};
  Tensor tensors[] = {{"image_latents", type, e->latents}, {"text_latents", type, (void *)texts}};
  return tensor_file_write(arena_printf(e->job->arena, "%s/latents.safetensors", e->out), tensors,
                           2, NULL, NULL, 0, error);
}

static bool eval_retrieval(Eval *e, Error *error) {
  int count = e->dataset.count;
  int64_t width = e->zeroshot.image.width;
  float *texts = mem_alloc(sizeof(float) * (size_t)(count * width));
  const char **reports = ARENA_ARRAY(e->job->arena, const char *, count);
  double text_to_image[N_RANKS], image_to_text[N_RANKS];
  for (int i = 0; i < count; i++)
    reports[i] = e->dataset.samples[i].report;
  Text json = {0}, table = {0};
  bool good = encode_texts(&e->zeroshot.text, e->zeroshot.pieces, reports, count, texts, error) &&
              write_latents(e, texts, error) &&
              metrics_retrieve(e->latents, texts, count, width, ranks, N_RANKS, text_to_image,
                               image_to_text, error);
  if (good) {
    json_head(e, &json, count);
    text_add(&json, ",\n");
    metrics_add_retrieval(&json, ranks, N_RANKS, text_to_image, image_to_text);
    text_add(&json, "\n}\n");
    metrics_table_retrieval(&table, ranks, N_RANKS, text_to_image, image_to_text);
    good = report(e, "retrieval.json", &json, &table, error);
  }
  text_free(&json);
  text_free(&table);
  free(texts);
  return good;
}

int verb_eval(Job *job) {
  Error error = {""};
  Eval e = {.job = job};
  const char *kind = job->n_rest ? job->rest[0] : "";
  bool zeroshot = strcmp(kind, "zeroshot") == 0;
  if (job->n_rest != 1 || (!zeroshot && strcmp(kind, "retrieval") != 0))
    error_set(&error, "what to evaluate is zeroshot or retrieval%s%.60s%s", *kind ? ", not \"" : "",
              kind, *kind ? "\"" : "");
  else if ((e.out = job_need(job, "out", &error)) && job_need(job, "cache", &error))
    job_need(job, "vocab", &error);
  if (*error.text)
    return job_usage(job, &error);
  bool good = zeroshot_open(&e.zeroshot, job, &error) && make_folders(e.out, &error) &&
              encode_volumes(&e, &error) && (zeroshot ? eval_zeroshot : eval_retrieval)(&e, &error);
  free(e.latents);
  dataset_close(&e.dataset);
  zeroshot_close(&e.zeroshot);
  return good ? EXIT_DONE : job_failed(&error);
}
