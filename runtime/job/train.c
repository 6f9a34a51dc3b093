/* train: steps of train_step over a data set, with a log, checkpoints and resume.
 *
 * Everything that decides a step is a function of the seed and the step's number (the order of
 * samples, the learning rate) or is in the checkpoint, so a resumed training gives the bits of an
 * uninterrupted one. SIGINT and SIGTERM let the step finish and write a checkpoint; a second one
 * ends the process at once.
 */
#include "runtime/base/map.h"
#include "runtime/base/random.h"
#include "runtime/job/checkpoint.h"
#include "runtime/job/ports.h"
#include "runtime/job/progress.h"
#include "runtime/job/source.h"
#include "runtime/job/train_log.h"
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

typedef struct Order { /* of the samples; used by one reading thread at a time */
  int64_t count, batch;
  uint64_t seed;
  int64_t epoch; /* whose permutation is in `at`, -1: none */
  int64_t *at;
} Order;

typedef struct Train {
  Job *job;
  int entry;
  const char *out, *resume;
  CheckpointFacts facts;
  VolumePort volume;
  TextPort text;
  Dataset dataset;
  WordPiece *pieces;
  Order order;
  Batches *batches;
  TrainLog log;
  Progress progress;
  int64_t *samples;           /* of the current step */
  int64_t every, keep, saved; /* checkpoints: steps between, how many, step of the last one */
  bool spoiled;               /* the weights hold what made the loss infinite: nothing to save */
} Train;

static volatile sig_atomic_t stop_wanted;

static void on_signal(int number) {
  (void)number;
  stop_wanted = 1;
}

static void catch_signals(struct sigaction old[2]) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
  stop_wanted = 0;
  sigaction(SIGINT, &action, &old[0]);
  sigaction(SIGTERM, &action, &old[1]);
}

static void restore_signals(const struct sigaction old[2]) {
  sigaction(SIGINT, &old[0], NULL);
  sigaction(SIGTERM, &old[1], NULL);
}

/* Fisher and Yates' shuffle with a stream of numbers for every epoch. */
static void shuffle(Order *o, int64_t epoch) {
  for (int64_t i = 0; i < o->count; i++)
    o->at[i] = i;
  for (int64_t i = o->count - 1; i > 0; i--) {
    int64_t k = (int64_t)(random_uniform(o->seed, (uint64_t)epoch, (uint64_t)i) * (double)(i + 1));
    int64_t held = o->at[i];
    o->at[i] = o->at[k];
    o->at[k] = held;
  }
  o->epoch = epoch;
}

static void pick_batch(void *context, int64_t step, int64_t *samples) {
  Order *o = context;
  int64_t in_epoch = o->count / o->batch; /* what is left over sits this epoch out */
  if (o->epoch != step / in_epoch)
    shuffle(o, step / in_epoch);
  memcpy(samples, o->at + step % in_epoch * o->batch, sizeof *samples * (size_t)o->batch);
}

static double rate_at(const CheckpointFacts *f, int64_t step) {
  return step < f->warmup ? f->lr * (double)(step + 1) / (double)f->warmup : f->lr;
}

static uint64_t fingerprint(const Dataset *dataset) {
  uint64_t hash = (uint64_t)dataset->count;
  for (int i = 0; i < dataset->count; i++)
    hash = hash_bytes(dataset->samples[i].volume, strlen(dataset->samples[i].volume), hash);
  return hash;
}

/* What a checkpoint fixes may be repeated on the command line, not contradicted. */
static bool resume_facts(Train *t, const CheckpointFacts *now, Error *error) {
  CheckpointFacts *f = &t->facts;
  const Options *o = &t->job->options;
  if (options_count(o, "seed", f->seed) != f->seed)
    return error_set(error, "%s: error: was trained with --seed %lld", t->resume,
                     (long long)f->seed);
  if (now->batch != f->batch)
    return error_set(error, "%s: error: was trained in batches of %lld, this program takes %lld",
                     t->resume, (long long)f->batch, (long long)now->batch);
  if (now->data != f->data)
    return error_set(error, "%s: error: was trained on another list of volumes", t->resume);
  f->lr = options_real(o, "lr", f->lr);
  f->warmup = options_count(o, "warmup", f->warmup);
  return true;
}

static bool settle_facts(Train *t, Error *error) {
  Job *job = t->job;
  const Options *o = &job->options;
  CheckpointFacts now = {.batch = t->volume.batch,
                         .warmup = options_count(o, "warmup", 0),
                         .seed = options_count(o, "seed", 0),
                         .lr = options_real(o, "lr", job_number(job, "optimizer.lr", 1e-4)),
                         .data = fingerprint(&t->dataset)};
  int64_t in_epoch = t->dataset.count / now.batch;
  if (in_epoch == 0)
    return error_set(error, "%d volumes are fewer than a batch of %lld", t->dataset.count,
                     (long long)now.batch);
  int64_t epochs = options_count(o, "epochs", 1);
  if (epochs > INT64_MAX / in_epoch)
    return error_set(error, "--epochs %lld: error: too many", (long long)epochs);
  now.steps = options_count(o, "steps", epochs * in_epoch);
  if (!t->resume) {
    t->facts = now;
    return true;
  }
  if (!resume_facts(t, &now, error) || !checkpoint_load(t->resume, job, error))
    return false;
  if (options_text(o, "steps") || options_text(o, "epochs"))
    t->facts.steps = now.steps;
  return true;
}

static bool open_program(Train *t, Error *error) {
  Job *job = t->job;
  JobRequest request = {.entries = {"train_step"}, .n_entries = 1, .training = true};
  if (t->resume) {
    if (!checkpoint_read_facts(t->resume, &t->facts, error))
      return false;
    request.batch = t->facts.batch;
  }
  if (!job_open(job, &request, error))
    return false;
  t->entry = program_entry(job->program, "train_step");
  if (!volume_port(job, t->entry, &t->volume, error) || !text_port(job, t->entry, &t->text, error))
    return false;
  if (t->volume.batch != t->text.batch)
    return error_set(error, "train_step takes %lld volumes but %lld texts",
                     (long long)t->volume.batch, (long long)t->text.batch);
  Type type;
  if (!program_output(job->program, t->entry, "loss", &type) || type_elements(&type) != 1)
    return error_set(error, "train_step of model %s gives no scalar \"loss\"", job->plan->model);
  return true;
}

static bool open_data(Train *t, Error *error) {
  Job *job = t->job;
  if (!job_dataset(job, "train", t->volume.size, &t->dataset, error))
    return false;
  t->pieces = job_open_vocabulary(job, error);
  if (!t->pieces || !settle_facts(t, error))
    return false;
  t->order = (Order){.count = t->dataset.count,
                     .batch = t->facts.batch,
                     .seed = (uint64_t)t->facts.seed,
                     .epoch = -1,
                     .at = ARENA_ARRAY(job->arena, int64_t, t->dataset.count)};
  t->samples = ARENA_ARRAY(job->arena, int64_t, t->facts.batch);
  BatchSource source = {.dataset = &t->dataset,
                        .pieces = t->pieces,
                        .batch = t->facts.batch,
                        .voxels = t->volume.voxels,
                        .length = t->text.length,
                        .pick = pick_batch,
                        .context = &t->order,
                        .first = t->facts.step,
                        .end = t->facts.steps,
                        .threads = job_loaders(job)};
  return make_folders(t->out, error) &&
         train_log_open(&t->log, arena_printf(job->arena, "%s/log.csv", t->out), t->facts.step,
                        error) &&
         batches_open(&t->batches, &source, error);
}

static bool not_finite(Train *t, double loss, double lr, Error *error) {
  Text text = {0};
  t->spoiled = true;
  text_add(&text, "step %lld: error: the loss is %s at learning rate %g; training stops. Volumes:",
           (long long)t->facts.step + 1, isnan(loss) ? "not a number" : "infinite", lr);
  for (int64_t q = 0; q < t->facts.batch && text.size < 700; q++)
    text_add(&text, " %.100s", t->dataset.samples[t->samples[q]].volume);
  if (t->saved > 0)
    text_add(&text, "; the last checkpoint is of step %lld", (long long)t->saved);
  error_set(error, "%s", text.at);
  text_free(&text);
  return false;
}

static bool save(Train *t, Error *error) {
  char *path = checkpoint_path(t->job->arena, t->out, t->facts.step);
  if (!checkpoint_write(path, t->job, &t->facts, error))
    return false;
  t->saved = t->facts.step;
  checkpoint_prune(t->out, t->saved, t->keep);
  return true;
}

static bool step(Train *t, Error *error) {
  Job *job = t->job;
  Type type;
  double start = seconds_now(), lr = rate_at(&t->facts, t->facts.step);
  if (!batches_take(t->batches, &t->volume, &t->text, t->samples, error))
    return false;
  port_set(job, t->entry, "lr", lr);
  if (!program_run(job->program, t->entry, error))
    return false;
  const void *output = program_output(job->program, t->entry, "loss", &type);
  double loss = dtype_load(type.dtype, output, 0);
  int64_t epoch = t->facts.step / (t->order.count / t->order.batch) + 1;
  if (!train_log_row(&t->log, t->facts.step + 1, epoch, loss, lr, seconds_now() - start, error))
    return false;
  if (!isfinite(loss))
    return not_finite(t, loss, lr, error);
  t->facts.step++;
  char note[64];
  snprintf(note, sizeof note, "epoch %lld  loss %.5f", (long long)epoch, loss);
  progress_update(&t->progress, t->facts.step, note);
  if (t->every > 0 && t->facts.step % t->every == 0 && !save(t, error))
    return false;
  return true;
}

static bool train(Train *t, Error *error) {
  Job *job = t->job;
  if (!open_program(t, error) || !open_data(t, error))
    return false;
  fprintf(stderr, "train: %s%s%s, %d volumes, batches of %lld, steps %lld to %lld, %d threads\n",
          job->plan->model, *job->plan->variant ? " " : "", job->plan->variant, t->dataset.count,
          (long long)t->facts.batch, (long long)t->facts.step + 1, (long long)t->facts.steps,
          program_threads(job->program));
  struct sigaction old[2];
  bool good = true;
  t->saved = t->facts.step;
  progress_start(&t->progress, "train", t->facts.step, t->facts.steps);
  catch_signals(old);
  while (good && t->facts.step < t->facts.steps && !stop_wanted)
    good = step(t, error);
  progress_finish(&t->progress);
  double first, stalled = batches_stalled(t->batches, &first);
  double share = 100 * stalled / (seconds_now() - t->progress.started);
  fprintf(stderr, "train: waited for volumes %.1f %% of the time, %.2f s for the first ones\n",
          share, first);
  /* also when a volume could not be read: the steps before it are not lost */
  if (!t->spoiled && t->saved != t->facts.step && !save(t, good ? error : NULL))
    good = false;
  restore_signals(old);
  if (good && t->facts.step < t->facts.steps)
    fprintf(stderr, "train: stopped after step %lld; continue with --resume %s\n",
            (long long)t->facts.step, checkpoint_path(job->arena, t->out, t->facts.step));
  else if (good)
    good = weights_write(arena_printf(job->arena, "%s/model.safetensors", t->out), job, error);
  return good;
}

int verb_train(Job *job) {
  Error error = {""};
  const Options *o = &job->options;
  Train t = {.job = job,
             .resume = options_text(o, "resume"),
             .every = options_count(o, "checkpoint-every", 1000),
             .keep = options_count(o, "keep", 2)};
  t.out = job_need(job, "out", &error);
  if (!t.out || !job_need(job, "cache", &error) || !job_need(job, "vocab", &error))
    return job_usage(job, &error);
  if (t.resume && (options_text(o, "weights") || options_text(o, "checkpoint")))
    error_set(&error, "--resume brings its own weights");
  if (options_text(o, "steps") && options_text(o, "epochs"))
    error_set(&error, "give --steps or --epochs, not both");
  if (*error.text)
    return job_usage(job, &error);
  bool good = train(&t, &error);
  batches_close(t.batches);
  train_log_close(&t.log);
  if (t.dataset.arena)
    dataset_close(&t.dataset);
  wordpiece_free(t.pieces);
  return good ? EXIT_DONE : job_failed(&error);
}
