/* train: optimizer steps over a data set, with logs, checkpoints and resume.
 *
 * Everything that decides a step is a function of the seed and the step's number (the order of
 * samples, the learning rate) or is in the checkpoint, so a resumed training gives the bits of an
 * uninterrupted one. SIGINT and SIGTERM let the step finish and write a checkpoint; a second one
 * ends the process at once. A loss or gradient that is not finite ends the training before it
 * changes the weights (PlanEntry.guard) and is traced to the first tensor that went wrong.
 */
#include "runtime/base/map.h"
#include "runtime/base/random.h"
#include "runtime/job/checkpoint.h"
#include "runtime/job/progress.h"
#include "runtime/job/trace.h"
#include "runtime/job/train_log.h"
#include "runtime/job/train_steps.h"
#include "runtime/job/train_validate.h"
#include "runtime/region.h"
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

typedef struct Order { /* of the samples; used by one reading thread at a time */
  int64_t count, batch, accumulate, reads; /* reads: batches read for a step */
  uint64_t seed;
  int64_t epoch; /* whose permutation is in `at`, -1: none */
  int64_t *at;
} Order;

typedef struct Train {
  Job *job;
  const char *out, *resume;
  CheckpointFacts facts;
  Stepper stepper;
  Dataset dataset;
  WordPiece *pieces;
  Order order;
  Batches *batches;
  TrainLog log;
  Validation validation;
  WeightNotes notes;
  Progress progress;
  const char **volumes;       /* names of the current step's */
  int64_t every, keep, saved; /* checkpoints: steps between, how many, step of the last one */
  bool spoiled;               /* what is in memory is no state between two steps */
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

/* The samples of read number `read`. A contrast over the whole step reads its batches twice. */
static void pick_batch(void *context, int64_t read, int64_t *samples) {
  Order *o = context;
  int64_t step = read / o->reads, part = read % o->reads % o->accumulate;
  int64_t whole = o->batch * o->accumulate, in_epoch = o->count / whole;
  if (o->epoch != step / in_epoch) { /* what is left over sits this epoch out */
    o->epoch = step / in_epoch;
    random_permutation(o->seed, (uint64_t)o->epoch, o->at, o->count);
  }
  memcpy(samples, o->at + step % in_epoch * whole + part * o->batch,
         sizeof *samples * (size_t)o->batch);
}

static uint64_t fingerprint(const Dataset *dataset) {
  uint64_t hash = (uint64_t)dataset->count;
  for (int i = 0; i < dataset->count; i++)
    hash = hash_bytes(dataset->samples[i].volume, strlen(dataset->samples[i].volume), hash);
  return hash;
}

/* ---- what is asked for, what a checkpoint says ---- */

static int64_t choice(const Options *o, const char *name, const char *const *names, int count) {
  const char *given = options_text(o, name);
  for (int i = 0; given && i < count; i++)
    if (strcmp(given, names[i]) == 0)
      return i;
  return 0;
}

/* The facts that the program must be compiled for. */
static bool early_facts(Train *t, Error *error) {
  const Options *o = &t->job->options;
  CheckpointFacts *f = &t->facts;
  if (t->resume) {
    CheckpointFacts now;
    if (!checkpoint_read_facts(t->resume, &now, error))
      return false;
    if (options_count(o, "accumulate", now.accumulate) != now.accumulate ||
        choice(o, "loss.negatives", negatives_names, 2) != now.negatives)
      return error_set(error, "%s: error: was trained with --accumulate %lld --loss.negatives %s",
                       t->resume, (long long)now.accumulate, negatives_names[now.negatives]);
    *f = now;
    return true;
  }
  f->accumulate = options_count(o, "accumulate", 1);
  f->negatives = choice(o, "loss.negatives", negatives_names, 2);
  return f->accumulate >= 1 && f->accumulate <= 1 << 20
             ? true
             : error_set(error, "--accumulate %lld: error: 1 batch a step at least",
                         (long long)f->accumulate);
}

/* What a checkpoint fixes may be repeated on the command line, not contradicted. */
static bool resume_facts(Train *t, uint64_t data, Error *error) {
  CheckpointFacts *f = &t->facts;
  const Options *o = &t->job->options;
  if (options_count(o, "seed", f->seed) != f->seed)
    return error_set(error, "%s: error: was trained with --seed %lld", t->resume,
                     (long long)f->seed);
  if (t->stepper.batch != f->batch)
    return error_set(error, "%s: error: was trained in batches of %lld, this program takes %lld",
                     t->resume, (long long)f->batch, (long long)t->stepper.batch);
  if (data != f->data)
    return error_set(error, "%s: error: was trained on another list of volumes", t->resume);
  f->lr = options_real(o, "lr", f->lr);
  f->lr_end = options_real(o, "lr-end", f->lr_end);
  f->clip = options_real(o, "clip", f->clip);
  f->warmup = options_count(o, "warmup", f->warmup);
  if (options_text(o, "schedule"))
    f->schedule = choice(o, "schedule", schedule_names, 2);
  return true;
}

static bool settle_facts(Train *t, Error *error) {
  Job *job = t->job;
  const Options *o = &job->options;
  CheckpointFacts *f = &t->facts;
  uint64_t data = fingerprint(&t->dataset);
  int64_t whole = t->stepper.batch * f->accumulate, in_epoch = t->dataset.count / whole;
  if (in_epoch == 0)
    return error_set(error, "%d volumes are fewer than a step's %lld", t->dataset.count,
                     (long long)whole);
  int64_t epochs = options_count(o, "epochs", 1);
  if (epochs > INT64_MAX / in_epoch)
    return error_set(error, "--epochs %lld: error: too many", (long long)epochs);
  int64_t steps = options_count(o, "steps", epochs * in_epoch);
  if (t->resume) {
    if (!resume_facts(t, data, error) || !checkpoint_load(t->resume, job, error))
      return false;
    if (options_text(o, "steps") || options_text(o, "epochs"))
      f->steps = steps;
    return true;
  }
  f->batch = t->stepper.batch;
  f->steps = steps;
  f->warmup = options_count(o, "warmup", 0);
  f->seed = options_count(o, "seed", 0);
  f->schedule = choice(o, "schedule", schedule_names, 2);
  f->lr = options_real(o, "lr", job_number(job, "optimizer.lr", 1e-4));
  f->lr_end = options_real(o, "lr-end", 0);
  f->clip = options_real(o, "clip", 0);
  f->data = data;
  return f->clip >= 0 || error_set(error, "--clip %g: error: a norm is not negative", f->clip);
}

/* ---- opening ---- */

static bool open_program(Train *t, Error *error) {
  JobRequest request = {0};
  if (!early_facts(t, error))
    return false;
  if (t->resume)
    request.batch = t->facts.batch;
  TextShape shapes[TEXT_SHAPES];
  int n_shapes;
  if (!stepper_shapes(options_text(&t->job->options, "text-shapes"), shapes, &n_shapes, error) ||
      !stepper_request(t->job->arena, &request, t->facts.accumulate,
                       (Negatives)t->facts.negatives, shapes, n_shapes, error) ||
      !validation_request(&t->validation, t->job, &request, error))
    return false;
  return job_open(t->job, &request, error) && stepper_open(&t->stepper, t->job, t->facts.accumulate,
                                                           (Negatives)t->facts.negatives, error);
}

static bool open_batches(Train *t, Error *error) {
  int64_t reads = stepper_reads(&t->stepper);
  t->order = (Order){.count = t->dataset.count,
                     .batch = t->facts.batch,
                     .accumulate = t->facts.accumulate,
                     .reads = reads,
                     .seed = (uint64_t)t->facts.seed,
                     .epoch = -1,
                     .at = ARENA_ARRAY(t->job->arena, int64_t, t->dataset.count)};
  BatchSource source = {.dataset = &t->dataset,
                        .pieces = t->pieces,
                        .batch = t->facts.batch,
                        .voxels = t->stepper.first.at[0].volume.voxels,
                        .gather = t->stepper.first.at[0].volume.gather,
                        .length = t->stepper.first.at[0].text.longest,
                        .pick = pick_batch,
                        .context = &t->order,
                        .first = t->facts.step * reads,
                        .end = t->facts.steps * reads,
                        .threads = job_loaders(t->job),
                        .trace = t->job->trace};
  return batches_open(&t->batches, &source, error);
}

static bool open_data(Train *t, Error *error) {
  Job *job = t->job;
  if (!job_dataset(job, "train", t->stepper.first.at[0].volume.size, &t->dataset, error))
    return false;
  t->pieces = job_open_vocabulary(job, error);
  t->volumes = ARENA_ARRAY(job->arena, const char *, t->stepper.batch * t->facts.accumulate);
  t->notes = (WeightNotes){.orientation = dataset_orientation(&t->dataset),
                           .prepare = t->dataset.settings};
  if (!t->pieces || !settle_facts(t, error))
    return false;
  int padding = wordpiece_id(t->pieces, "[PAD]");
  t->stepper.padding = padding < 0 ? 0 : padding;
  return true;
}

/* ---- training ---- */

static void name_volumes(Train *t) {
  for (int64_t i = 0; i < t->facts.batch * t->facts.accumulate; i++)
    t->volumes[i] = t->dataset.samples[t->stepper.samples[i]].volume;
}

/* Says what went wrong where; weights of before the step are saved where they are intact. */
static bool not_finite(Train *t, const StepResult *result, double lr, Error *error) {
  Text text = {0};
  ProgramTrouble trouble;
  bool loss = !isfinite(result->loss);
  t->spoiled = !result->intact;
  text_add(&text, "step %lld: error: the %s is %s at learning rate %g; training stops. ",
           (long long)t->facts.step + 1, loss ? "loss" : "gradient's norm",
           isnan(loss ? result->loss : result->grad_norm) ? "not a number" : "infinite", lr);
  if (program_find_trouble(t->job->program, result->stopped, &trouble))
    text_add(&text, "First tensor that is not finite: %s %s%s%s%s (%lld of %lld values). ",
             strcmp(trouble.what, "step") == 0 ? "the result of" : trouble.what, trouble.name,
             *trouble.place ? " (" : "", trouble.place, *trouble.place ? ")" : "",
             (long long)trouble.bad, (long long)trouble.elements);
  text_add(&text, "Volumes:");
  for (int64_t q = 0; q < t->facts.batch * t->facts.accumulate && text.size < 800; q++)
    text_add(&text, " %.100s", t->volumes[q]);
  if (t->spoiled && t->saved > 0)
    text_add(&text, "; the last checkpoint is of step %lld", (long long)t->saved);
  error_set(error, "%s", text.at);
  text_free(&text);
  return false;
}

static bool save(Train *t, Error *error) {
  char *path = checkpoint_path(t->job->arena, t->out, t->facts.step);
  int64_t begin = monotonic_nanoseconds();
  if (!checkpoint_write(path, t->job, &t->facts, &t->notes, error))
    return false;
  trace_event(t->job->trace, 0, "checkpoint", "file", begin, monotonic_nanoseconds(), NULL);
  t->saved = t->facts.step;
  checkpoint_prune(t->out, t->saved, t->keep);
  return true;
}

static bool validate(Train *t, Error *error) {
  char line[200];
  int64_t begin = monotonic_nanoseconds();
  if (!validation_step(&t->validation, t->facts.step, &t->notes, &t->log, line, sizeof line, error))
    return false;
  if (*line) {
    trace_event(t->job->trace, 0, "evaluation", "evaluation", begin, monotonic_nanoseconds(), NULL);
    progress_clear(&t->progress);
    fprintf(stderr, "train: %s\n", line);
  }
  return true;
}

static void trace_step(const Train *t, const StepResult *result, int64_t begin) {
  char name[32], numbers[120];
  snprintf(name, sizeof name, "step %lld", (long long)t->facts.step + 1);
  snprintf(numbers, sizeof numbers, "\"loss\": %.6g, \"grad_norm\": %.6g, \"waited_us\": %.1f",
           result->loss, result->grad_norm, 1e6 * result->waited);
  trace_event(t->job->trace, 0, name, "step", begin, monotonic_nanoseconds(), numbers);
}

static bool step(Train *t, Error *error) {
  StepResult result;
  int64_t begin = monotonic_nanoseconds();
  double start = seconds_now(), lr = checkpoint_rate(&t->facts, t->facts.step);
  if (!stepper_run(&t->stepper, t->batches, lr, t->facts.clip, &result, error)) {
    t->spoiled = t->facts.accumulate > 1; /* norms have moved on, sums are half done */
    return false;
  }
  name_volumes(t);
  if (result.stopped >= 0)
    return not_finite(t, &result, lr, error);
  trace_step(t, &result, begin);
  TrainRow row = {.step = t->facts.step + 1,
                  .epoch =
                      t->facts.step / (t->order.count / (t->order.batch * t->order.accumulate)) + 1,
                  .loss = result.loss,
                  .lr = lr,
                  .grad_norm = result.grad_norm,
                  .seconds = seconds_now() - start,
                  .waited = result.waited,
                  .volumes = t->volumes,
                  .n_volumes = t->facts.batch * t->facts.accumulate};
  if (!train_log_row(&t->log, &row, error))
    return false;
  t->facts.step++;
  char note[64];
  snprintf(note, sizeof note, "epoch %lld  loss %.5f", (long long)row.epoch, result.loss);
  progress_update(&t->progress, t->facts.step, note);
  /* in this order: from a checkpoint on, all evaluations of its past are there */
  return validate(t, error) && (t->every <= 0 || t->facts.step % t->every != 0 || save(t, error));
}

/* Which text shapes the batches took. */
static void print_forms(const Train *t) {
  const StepForms *forms = &t->stepper.first;
  for (int i = 0; i < forms->count && forms->count > 1; i++)
    fprintf(stderr, "train: texts in %lld rows of %lld%s: %lld batches\n",
            (long long)forms->at[i].text.shape.rows, (long long)forms->at[i].text.shape.length,
            forms->at[i].text.packed ? ", shared" : "", (long long)forms->at[i].uses);
}

static bool run_steps(Train *t, Error *error) {
  Job *job = t->job;
  struct sigaction old[2];
  bool good = true;
  t->saved = t->facts.step;
  progress_start(&t->progress, "train", t->facts.step, t->facts.steps);
  catch_signals(old);
  while (good && t->facts.step < t->facts.steps && !stop_wanted)
    good = step(t, error);
  progress_finish(&t->progress);
  /* also when a volume could not be read: the steps before it are not lost */
  if (!t->spoiled && t->saved != t->facts.step && !save(t, good ? error : NULL))
    good = false;
  restore_signals(old);
  double first, stalled = batches_stalled(t->batches, &first);
  fprintf(stderr, "train: waited for volumes %.1f %% of the time, %.2f s for the first ones\n",
          100 * stalled / (seconds_now() - t->progress.started), first);
  print_forms(t);
  if (good && t->facts.step < t->facts.steps)
    fprintf(stderr, "train: stopped after step %lld; continue with --resume %s\n",
            (long long)t->facts.step, checkpoint_path(job->arena, t->out, t->facts.step));
  else if (good)
    good = weights_write(arena_printf(job->arena, "%s/model.safetensors", t->out), job,
                         t->facts.step, &t->notes, error);
  return good;
}

static void print_start(const Train *t) {
  const CheckpointFacts *f = &t->facts;
  const Plan *plan = t->job->plan;
  fprintf(stderr,
          "train: %s%s%s, %d volumes, batches of %lld x %lld, steps %lld to %lld, %d threads\n"
          "train: loss.negatives %s: each pair is contrasted with %lld others; learning rate %g, "
          "%s%s\n",
          plan->model, *plan->variant ? " " : "", plan->variant, t->dataset.count,
          (long long)f->accumulate, (long long)f->batch, (long long)f->step + 1,
          (long long)f->steps, program_threads(t->job->program), negatives_names[f->negatives],
          (long long)(f->batch * (f->negatives == NEGATIVES_BATCH ? f->accumulate : 1) - 1), f->lr,
          schedule_names[f->schedule], f->clip > 0 ? ", clipped" : "");
}

/* ---- --dry-run ---- */

static double persistent_bytes(const Plan *plan, bool files) {
  double sum = 0;
  for (int i = 0; i < plan->n_tensors; i++)
    if (!files || plan->tensors[i].role < PLAN_SCRATCH)
      sum += (double)type_bytes(&plan->tensors[i].type);
  return sum;
}

/* Steps, time, memory and disk, from two steps whose results are thrown away. */
static bool dry_run(Train *t, Error *error) {
  const CheckpointFacts *f = &t->facts;
  const Plan *plan = t->job->plan;
  StepResult result;
  double second = 0, arena = 0;
  for (int i = 0; i < 2 && f->step + i < f->steps; i++) {
    double start = seconds_now();
    if (!stepper_run(&t->stepper, t->batches, 0, 0, &result, error))
      return false;
    second = seconds_now() - start;
  }
  for (int e = 0; e < plan->n_entries; e++)
    if ((double)plan->entries[e].arena_bytes > arena)
      arena = (double)plan->entries[e].arena_bytes;
  double weights = persistent_bytes(plan, false), file = persistent_bytes(plan, true);
  double ahead = (double)batches_bytes(f->batch, t->stepper.first.at[0].volume.voxels);
  int64_t left = f->steps - f->step, checkpoints = t->every > 0 ? f->steps / t->every + 1 : 1;
  int64_t kept = t->keep > 0 && t->keep < checkpoints ? t->keep : checkpoints;
  char time[32], text[5][32];
  seconds_text(second * (double)left, time, sizeof time);
  bytes_text(weights, text[0], sizeof text[0]);
  bytes_text(arena, text[1], sizeof text[1]);
  bytes_text(ahead, text[2], sizeof text[2]);
  bytes_text(weights + arena + ahead, text[3], sizeof text[3]);
  bytes_text(file * (double)(kept + 1), text[4], sizeof text[4]);
  printf("steps   %lld of %lld volumes each, %lld an epoch of %d volumes\n"
         "time    %s: %.3f s a step (the second of two on this machine)\n"
         "memory  %s: weights and optimizer %s, one step %s, read ahead %s\n"
         "disk    %s in %s: %lld checkpoints and the weights\n",
         (long long)left, (long long)(f->batch * f->accumulate),
         (long long)(t->order.count / (f->batch * f->accumulate)), t->dataset.count, time, second,
         text[3], text[0], text[1], text[2], text[4], t->out, (long long)kept);
  return true;
}

/* ---- the verb ---- */

static bool train(Train *t, Error *error) {
  if (!open_program(t, error) || !open_data(t, error) || !open_batches(t, error))
    return false;
  print_start(t);
  if (options_flag(&t->job->options, "dry-run"))
    return dry_run(t, error);
  writing_sweep(t->out);
  return make_folders(t->out, error) &&
         train_log_open(&t->log, t->job->arena, t->out, t->facts.step, error) &&
         validation_open(&t->validation, t->out, t->stepper.first.at[0].volume.size,
                         t->order.count / (t->order.batch * t->order.accumulate), t->facts.step,
                         error) &&
         run_steps(t, error);
}

/* "--resume last": the newest checkpoint in the folder of results, if there is one. */
static const char *find_resume(const Train *t) {
  const char *given = options_text(&t->job->options, "resume");
  return given && strcmp(given, "last") == 0 ? checkpoint_newest(t->job->arena, t->out) : given;
}

int verb_train(Job *job) {
  Error error = {""};
  const Options *o = &job->options;
  Train t = {.job = job,
             .every = options_count(o, "checkpoint-every", 1000),
             .keep = options_count(o, "keep", 2)};
  t.out = job_need(job, "out", &error);
  if (!t.out || !job_need(job, "cache", &error) || !job_need(job, "vocab", &error))
    return job_usage(job, &error);
  if (!options_text(o, "loss.negatives"))
    error_set(&error, "--loss.negatives is missing: micro (a pair is contrasted with the others of "
                      "its batch) or batch (with all others of its step)");
  t.resume = find_resume(&t);
  if (t.resume && (options_text(o, "weights") || options_text(o, "checkpoint")))
    error_set(&error, "--resume brings its own weights");
  if (options_text(o, "steps") && options_text(o, "epochs"))
    error_set(&error, "give --steps or --epochs, not both");
  if (*error.text)
    return job_usage(job, &error);
  Trace trace;
  const char *trace_path = options_text(o, "trace");
  if (trace_path) {
    trace_open(&trace, "train");
    trace_row(&trace, 0, "training");
    job->trace = &trace;
  }
  bool good = train(&t, &error);
  batches_close(t.batches);
  if (trace_path) { /* also of a training that failed; its own error counts then */
    good = trace_write(&trace, trace_path, good ? &error : NULL) && good;
    trace_close(&trace);
  }
  train_log_close(&t.log);
  validation_close(&t.validation);
  if (t.dataset.arena)
    dataset_close(&t.dataset);
  wordpiece_free(t.pieces);
  return good ? EXIT_DONE : job_failed(&error);
}
