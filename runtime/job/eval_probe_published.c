/* eval probe --as-published: the fine-tuning of the released DCFormer code.
 *
 * A head (ReLU, dropout 0.3, linear) on the unit image latents is trained while the frozen encoder
 * stays in training mode: its norms use the statistics of the batch, and their running averages
 * move. AdamW as in pre-training, a rate of 1e-5 * batch / 256, gradients clipped at 1.0, fixed
 * weights of positives, 17 epochs, no schedule. One processor group of the original sees batches of
 * 8 and eight of them make a step; here --probe-accumulate batches of --probe-batch make one.
 */
#include "runtime/base/random.h"
#include "runtime/job/eval_probe.h"
#include "runtime/job/ports.h"
#include "runtime/job/progress.h"
#include <stdlib.h>
#include <string.h>

/* In the order of CT-RATE's labels, digit for digit as published (the same as CT-CLIP's). */
static const double published_weights[CTRATE_LABELS] = {
    9.211362733, 2.384068466, 8.295479204, 32.8629776,  2.992233613, 6.064870808,
    3.176470588, 4.187083754, 3.022222222, 1.216071737, 1.677849552, 3.152851834,
    7.123261694, 18.16629381, 13.8480647,  6.335045662, 10.81701149, 13.40695067};

static const double dropout = 0.3;

typedef struct Published {
  ProbeTask *task;
  Encoder encoder; /* in training mode */
  VolumePort port;
  Batches *batches;
  int64_t accumulate, epochs, in_epoch; /* in_epoch: batches of an epoch */
  double weights[CTRATE_LABELS];
  ProbeAdamW adamw;
  double *gradient, *sum, *moments, *features, *probabilities;
  float *latents;
  uint8_t *labels;
  int64_t *samples, steps;
  int64_t *order; /* of the reading thread */
  int64_t order_epoch;
  Text log; /* CSV */
  double best;
  int64_t best_epoch;
} Published;

/* The released code passes over these files. */
static bool is_used(const char *volume) {
  static const char *const skipped[] = {"train_1267_a_4", "train_11755_a_3", "train_11755_a_4"};
  for (size_t i = 0; i < sizeof skipped / sizeof *skipped; i++) {
    size_t length = strlen(skipped[i]);
    if (strncmp(volume, skipped[i], length) == 0 && (volume[length] == 0 || volume[length] == '.'))
      return false;
  }
  return true;
}

static void pick_batch(void *context, int64_t step, int64_t *samples) {
  Published *p = context;
  if (p->order_epoch != step / p->in_epoch) {
    p->order_epoch = step / p->in_epoch;
    random_permutation(p->task->eval->seed, (uint64_t)p->order_epoch, p->order, p->task->n_rows);
  }
  for (int64_t q = 0; q < p->encoder.batch; q++)
    samples[q] = p->task->rows[p->order[step % p->in_epoch * p->encoder.batch + q]];
}

/* Adds a batch's gradient; returns its loss. */
static bool add_batch(Published *p, int64_t number, double *loss, Error *error) {
  const Probe *head = &p->task->head;
  int64_t batch = p->encoder.batch, width = head->width;
  if (!batches_take(p->batches, &p->port, p->samples, error) ||
      !encoder_run(&p->encoder, batch, p->latents, error))
    return false;
  for (int64_t q = 0; q < batch; q++) {
    probe_relu_features(p->latents + q * width, width, dropout, p->task->eval->seed ^ 0x64726f70,
                        (uint64_t)(number * batch + q), p->features + q * width);
    probe_task_labels(p->task, (int)p->samples[q], p->labels + q * head->classes);
  }
  *loss = probe_loss(head, p->features, p->labels, batch, p->weights, p->gradient);
  for (int64_t i = 0; i < probe_size(head); i++)
    p->sum[i] += p->gradient[i];
  return true;
}

static void step(Published *p, int64_t batches) {
  const Probe *head = &p->task->head;
  for (int64_t i = 0; i < probe_size(head); i++)
    p->sum[i] /= (double)batches;
  probe_adamw(head, &p->adamw, p->sum, p->moments, ++p->steps);
  memset(p->sum, 0, sizeof *p->sum * (size_t)probe_size(head));
}

/* With the encoder in evaluation mode, its running averages as they are now. */
static bool score_epoch(Published *p, int64_t epoch, double loss, Error *error) {
  ProbeTask *t = p->task;
  Eval *e = t->eval;
  Arena *scratch = arena_new();
  OverallMetrics o = {0};
  Labelled labelled;
  Error inner;
  bool good = encode_volumes(&e->zeroshot.image, &e->dataset, e->latents, error);
  for (int64_t i = 0; good && i < e->dataset.count; i++) {
    probe_relu_features(e->latents + i * t->head.width, t->head.width, 0, 0, 0, p->features);
    probe_probabilities(&t->head, p->features, p->probabilities + i * t->head.classes);
  }
  labelled_take(scratch, &e->dataset, p->probabilities, t->head.classes, e->zeroshot.findings,
                e->zeroshot.labels, &labelled);
  ClassMetrics *classes = ARENA_ARRAY(scratch, ClassMetrics, t->head.classes);
  if (good && labelled.predictions.samples > 0)
    good = metrics_classify(&labelled.predictions, classes, &o, &inner) ||
           error_set(error, "probe: %.900s", inner.text);
  if (good) {
    text_add(&p->log, "%lld,%.9g,%.9g,%.9g,%.9g\n", (long long)epoch, loss, o.accuracy,
             o.f1_weighted, o.auroc_macro);
    fprintf(stderr,
            "probe: epoch %lld, loss %.5f, accuracy %.4f, F1 (weighted) %.4f, AUROC "
            "(macro) %.4f\n",
            (long long)epoch, loss, o.accuracy, o.f1_weighted, o.auroc_macro);
    if (epoch == 1 || o.accuracy > p->best) {
      p->best = o.accuracy;
      p->best_epoch = epoch;
    }
  }
  arena_free(scratch);
  return good;
}

static bool train_epoch(Published *p, Progress *progress, int64_t epoch, Error *error) {
  double sum = 0, loss = 0;
  int64_t pending = 0;
  for (int64_t b = 0; b < p->in_epoch; b++) {
    int64_t number = epoch * p->in_epoch + b;
    if (!add_batch(p, number, &loss, error))
      return false;
    sum += loss;
    if (++pending == p->accumulate || b + 1 == p->in_epoch) {
      step(p, pending);
      pending = 0;
    }
    char note[48];
    snprintf(note, sizeof note, "loss %.5f", loss);
    progress_update(progress, number + 1, note);
  }
  progress_clear(progress);
  return score_epoch(p, epoch + 1, sum / (double)p->in_epoch, error);
}

static bool train(Published *p, Error *error) {
  BatchSource source = {.dataset = &p->task->train,
                        .batch = p->encoder.batch,
                        .voxels = p->port.voxels,
                        .gather = p->port.gather,
                        .pick = pick_batch,
                        .context = p,
                        .end = p->epochs * p->in_epoch};
  if (!batches_open(&p->batches, &source, error))
    return false;
  Progress progress;
  progress_start(&progress, "probe", 0, source.end);
  bool good = true;
  for (int64_t epoch = 0; good && epoch < p->epochs; epoch++)
    good = train_epoch(p, &progress, epoch, error);
  progress_finish(&progress);
  batches_close(p->batches);
  return good;
}

static void prepare(Published *p) {
  ProbeTask *t = p->task;
  Eval *e = t->eval;
  Arena *arena = e->job->arena;
  int64_t size = probe_size(&t->head), batch = p->encoder.batch;
  const Options *o = &e->job->options;
  p->adamw =
      (ProbeAdamW){.lr = options_real(o, "probe-lr", 1e-5 * (double)(batch * p->accumulate) / 256),
                   .beta1 = 0.9,
                   .beta2 = 0.95,
                   .eps = 1e-8,
                   .decay = 0.05,
                   .clip = 1};
  for (int c = 0; c < t->head.classes; c++)
    p->weights[c] = published_weights[e->zeroshot.labels[c]];
  p->gradient = ARENA_ARRAY(arena, double, size);
  p->sum = ARENA_ARRAY(arena, double, size);
  p->moments = ARENA_ARRAY(arena, double, 2 * size);
  p->features = ARENA_ARRAY(arena, double, batch * t->head.width);
  p->latents = ARENA_ARRAY(arena, float, batch * t->head.width);
  p->labels = ARENA_ARRAY(arena, uint8_t, batch * t->head.classes);
  p->samples = ARENA_ARRAY(arena, int64_t, batch);
  p->order = ARENA_ARRAY(arena, int64_t, t->n_rows);
  p->order_epoch = -1;
  p->probabilities = ARENA_ARRAY(arena, double, (int64_t)e->dataset.count * t->head.classes);
  e->latents = mem_alloc(sizeof(float) * (size_t)(e->dataset.count * t->head.width));
  probe_initialize(&t->head, e->seed);
}

static bool write_results(Published *p, Error *error) {
  Eval *e = p->task->eval;
  Text more = {0}, about = {0};
  text_add(&more,
           ",\n  \"probe\": {\"kind\": \"as published\", \"train_volumes\": %lld, \"batch\": %lld, "
           "\"accumulate\": %lld, \"epochs\": %lld, \"lr\": %.9g, \"best_epoch\": %lld}",
           (long long)p->task->n_rows, (long long)p->encoder.batch, (long long)p->accumulate,
           (long long)p->epochs, p->adamw.lr, (long long)p->best_epoch);
  text_add(&about,
           "ReLU, dropout 0.3 and a linear layer on the unit image latents, the frozen encoder in "
           "training mode; %lld epochs, %lld batches of %lld a step, rate %g. Scores of the last "
           "epoch; the best accuracy, %.4f, was epoch %lld's.\n",
           (long long)p->epochs, (long long)p->accumulate, (long long)p->encoder.batch, p->adamw.lr,
           p->best, (long long)p->best_epoch);
  bool good = probe_task_write(p->task, error) && eval_write(e, "probe-log.csv", &p->log, error) &&
              eval_scores(e, p->probabilities, more.at, about.at, error);
  text_free(&more);
  text_free(&about);
  return good;
}

/* A compiled program has the encoder in training mode where it was asked for, in batches of then.
 */
static bool open_program(Job *job, const JobRequest *request, Error *error) {
  Error why;
  if (!job_open(job, request, &why)) {
    bool lacks = job->program && program_entry(job->program, request->names[0]) < 0;
    return error_set(error, "%s",
                     lacks ? "--as-published: error: this program has no image "
                             "encoder in training mode (tricot compile "
                             "--probe-batch N)"
                           : why.text);
  }
  return true;
}

static bool takes_batches(const Job *job, int64_t asked, int64_t batch, Error *error) {
  return !options_text(&job->options, "probe-batch") || asked == batch ||
         error_set(error, "--probe-batch %lld: error: this program takes %lld volumes at a time",
                   (long long)asked, (long long)batch);
}

bool probe_published(ProbeTask *t, Error *error) {
  Job *job = t->eval->job;
  const Options *o = &job->options;
  Published p = {.task = t,
                 .accumulate = options_count(o, "probe-accumulate", 8),
                 .epochs = options_count(o, "probe-epochs", 17)};
  JobRequest request = {.entries = {"encode_image", "encode_image"},
                        .names = {"encode_image_train"},
                        .training = {true},
                        .n_entries = 2,
                        .batches = {options_count(o, "probe-batch", 8), 1},
                        .trained = true};
  if (p.accumulate < 1 || p.epochs < 1 || request.batches[0] < 1)
    return error_set(
        error, "--probe-accumulate, --probe-epochs and --probe-batch: error: must be 1 or more");
  if (!open_program(job, &request, error) || !probe_task_open(t, error) ||
      !encoder_open(&p.encoder, job, "encode_image_train", "image_latents", error) ||
      !takes_batches(job, request.batches[0], p.encoder.batch, error) ||
      !volume_port(job, p.encoder.entry, &p.port, error) || !probe_task_rows(t, is_used, error))
    return false;
  p.in_epoch = t->n_rows / p.encoder.batch; /* what is left over sits the epoch out */
  if (p.in_epoch == 0)
    return error_set(error, "%lld labelled volumes are fewer than a batch of %lld",
                     (long long)t->n_rows, (long long)p.encoder.batch);
  prepare(&p);
  text_add(&p.log, "epoch,loss,accuracy,f1_weighted,auroc_macro\n");
  bool good = train(&p, error) && write_results(&p, error);
  text_free(&p.log);
  return good;
}
