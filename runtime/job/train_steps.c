/* Running optimizer steps. See train_steps.h. */
#include "runtime/job/train_steps.h"
#include "runtime/job/ports.h"
#include "runtime/job/progress.h"
#include "runtime/job/trace.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const negatives_names[2] = {"micro", "batch"};

enum { MAX_LATENTS = 4 };

/* ---- what is asked of the host ---- */

bool stepper_shapes(const char *text, TextShape *shapes, int *count, Error *error) {
  for (*count = 0; text && *text; text += *text == ',') {
    char *end;
    TextShape shape = {0, strtoll(text, &end, 10)};
    if (end > text && *end == 'x')
      shape = (TextShape){shape.length, strtoll(end + 1, &end, 10)};
    if (*count == TEXT_SHAPES || (*end && *end != ',') || shape.length < 2 || shape.rows < 0)
      return error_set(error,
                       "--text-shapes: error: \"%.80s\" is not like 64,128 or 6x512 (%d at "
                       "most)",
                       text, TEXT_SHAPES);
    shapes[(*count)++] = shape;
    text = end;
  }
  return true;
}

static bool add_entry(JobRequest *request, const char *entry, const char *name, const char *sets,
                      int64_t times, Error *error) {
  int i = request->n_entries;
  if (i == JOB_MAX_ENTRIES)
    return error_set(error, "--text-shapes: error: too many shapes");
  request->entries[i] = entry;
  request->names[i] = name;
  request->sets[i] = sets;
  request->times[i] = times;
  request->n_entries++;
  return true;
}

static bool add_forms(Arena *arena, JobRequest *request, const char *entry, const TextShape *shapes,
                      int count, Error *error) {
  bool good = add_entry(request, entry, NULL, NULL, 0, error);
  for (int i = 0; good && i < count; i++) {
    long long rows = (long long)shapes[i].rows, length = (long long)shapes[i].length;
    good =
        add_entry(request, entry, arena_printf(arena, "%s.%lldx%lld", entry, rows, length),
                  arena_printf(arena, "text.rows=%lld;text.length=%lld", rows, length), 0, error);
  }
  return good;
}

bool stepper_request(Arena *arena, JobRequest *request, int64_t accumulate, Negatives negatives,
                     const TextShape *shapes, int n, Error *error) {
  if (accumulate == 1)
    return add_forms(arena, request, "train_step", shapes, n, error);
  bool good = negatives == NEGATIVES_MICRO
                  ? add_forms(arena, request, "train_micro", shapes, n, error)
                  : add_forms(arena, request, "train_embed", shapes, n, error) &&
                        add_entry(request, "train_contrast", NULL, NULL, accumulate, error) &&
                        add_forms(arena, request, "train_backward", shapes, n, error);
  return good && add_entry(request, "train_apply", NULL, NULL, 0, error);
}

/* ---- opening ---- */

static bool scalar_output(const Job *job, int entry, const char *name, Error *error) {
  Type type;
  if (program_output(job->program, entry, name, &type) && type_elements(&type) == 1)
    return true;
  return error_set(error, "%s of model %s gives no scalar \"%s\"", job->plan->entries[entry].name,
                   job->plan->model, name);
}

static bool open_form(Stepper *s, int entry, StepForms *forms, Error *error) {
  if (forms->count == STEP_FORMS)
    return true;
  StepForm *form = &forms->at[forms->count++];
  const char *name = s->job->plan->entries[entry].name;
  *form = (StepForm){.entry = entry};
  if (!volume_port(s->job, entry, &form->volume, error) ||
      !text_form_open(s->job, entry, &form->text, error))
    return false;
  if (form->volume.batch != form->text.batch)
    return error_set(error, "%s takes %lld volumes but %lld texts", name,
                     (long long)form->volume.batch, (long long)form->text.batch);
  const StepForm *first = &s->first.at[0]; /* one reader fills them all */
  bool same = volume_ports_agree(&form->volume, &first->volume);
  return same || error_set(error, "%s takes other batches than %s, or keeps other voxels of them",
                           name, s->job->plan->entries[first->entry].name);
}

/* Entry point NAME itself, then NAME.<anything>. */
static bool open_forms(Stepper *s, int entry, StepForms *forms, Error *error) {
  const Plan *plan = s->job->plan;
  size_t length = strlen(plan->entries[entry].name);
  if (!open_form(s, entry, forms, error))
    return false;
  for (int e = 0; e < plan->n_entries; e++)
    if (strncmp(plan->entries[e].name, plan->entries[entry].name, length) == 0 &&
        plan->entries[e].name[length] == '.' && !open_form(s, e, forms, error))
      return false;
  return true;
}

/* The contrast takes the latents of all batches; embed gives those of one, backward takes their
 * gradients. */
static bool open_latents(Stepper *s, Error *error) {
  Job *job = s->job;
  const PlanEntry *contrast = &job->plan->entries[s->contrast];
  Latents *l = &s->latents;
  for (int i = 0; i < contrast->n_inputs; i++) {
    const PlanPort *port = &contrast->inputs[i];
    if (strcmp(port->name, "share") == 0)
      continue;
    const char *gradient = arena_printf(job->arena, "grad.%s", port->name);
    Type part, seed;
    if (l->count == MAX_LATENTS || !program_output(job->program, s->embed, port->name, &part) ||
        !program_input(job->program, s->backward, gradient, &seed) || !type_equal(&part, &seed) ||
        type_bytes(&port->type) != type_bytes(&part) * (size_t)s->accumulate ||
        !program_output(job->program, s->contrast, gradient, NULL))
      return error_set(error,
                       "train_contrast's \"%.60s\" does not fit train_embed and "
                       "train_backward: was this program compiled for another --accumulate?",
                       port->name);
    l->names[l->count] = port->name;
    l->bytes[l->count] = type_bytes(&part);
    l->values[l->count] = arena_alloc(job->arena, type_bytes(&port->type));
    l->gradients[l->count++] = arena_alloc(job->arena, type_bytes(&port->type));
  }
  return true;
}

bool stepper_open(Stepper *s, Job *job, int64_t accumulate, Negatives negatives, Error *error) {
  *s = (Stepper){.job = job, .negatives = negatives, .accumulate = accumulate};
  int *const entries[] = {&s->step, &s->micro, &s->apply, &s->embed, &s->contrast, &s->backward};
  static const char *const names[] = {"train_step",  "train_micro",    "train_apply",
                                      "train_embed", "train_contrast", "train_backward"};
  for (int i = 0; i < 6; i++)
    *entries[i] = program_entry(job->program, names[i]);
  bool whole = accumulate > 1 && negatives == NEGATIVES_BATCH;
  int forward = accumulate == 1 ? s->step : whole ? s->embed : s->micro;
  int losses = whole ? s->contrast : forward, last = accumulate == 1 ? s->step : s->apply;
  if (!open_forms(s, forward, &s->first, error) || !scalar_output(job, losses, "loss", error) ||
      !scalar_output(job, last, "grad_norm", error))
    return false;
  s->batch = s->first.at[0].volume.batch;
  s->samples = ARENA_ARRAY(job->arena, int64_t, accumulate * s->batch);
  s->ahead_samples = ARENA_ARRAY(job->arena, int64_t, s->batch);
  return !whole || (open_forms(s, s->backward, &s->second, error) && open_latents(s, error));
}

int64_t stepper_reads(const Stepper *s) {
  return s->accumulate > 1 && s->negatives == NEGATIVES_BATCH ? 2 * s->accumulate : s->accumulate;
}

static double output(const Stepper *s, int entry, const char *name) {
  Type type;
  const void *at = program_output(s->job->program, entry, name, &type);
  return dtype_load(type.dtype, at, 0);
}

/* The form with the fewest cells that takes the whole batch. */
static StepForm *choose_form(const Stepper *s, StepForms *forms, const Batch *batch) {
  StepForm *best = &forms->at[0];
  for (int i = 1; i < forms->count; i++) {
    StepForm *form = &forms->at[i];
    if (form->text.shape.rows * form->text.shape.length <
            best->text.shape.rows * best->text.shape.length &&
        text_form_takes(&form->text, batch->texts, s->batch) == s->batch)
      best = form;
  }
  best->uses++;
  return best;
}

static void fill(Stepper *s, StepForm *form, const Batch *batch) {
  memcpy(form->volume.data, batch->volumes,
         sizeof(float) * (size_t)(s->batch * form->volume.voxels));
  int64_t texts = text_form_fill(&form->text, batch->texts, s->batch, s->padding);
  CHECK(texts == s->batch);
}

/* Takes the next batch into the inputs of the form that suits it; NULL after an error. */
static StepForm *take(Stepper *s, Batches *batches, StepForms *forms, int64_t part,
                      StepResult *result, Error *error) {
  double start = seconds_now();
  int64_t begin = monotonic_nanoseconds();
  Batch batch;
  if (!batches_wait(batches, &batch, error))
    return NULL;
  StepForm *form = choose_form(s, forms, &batch);
  memcpy(s->samples + part * s->batch, batch.samples, sizeof *s->samples * (size_t)s->batch);
  fill(s, form, &batch);
  batches_give_back(batches, true);
  result->waited += seconds_now() - start;
  trace_event(s->job->trace, 0, "take a batch", "data", begin, monotonic_nanoseconds(), NULL);
  return form;
}

/* What was taken ahead, or takes it. */
static StepForm *take_next(Stepper *s, Batches *batches, StepResult *result, Error *error) {
  StepForm *form = s->ahead;
  s->ahead = NULL;
  if (!form)
    return take(s, batches, &s->first, 0, result, error);
  memcpy(s->samples, s->ahead_samples, sizeof *s->samples * (size_t)s->batch);
  return form;
}

/* While a step runs on a device: gives it the next one's inputs. A batch that cannot be read is an
 * error of the step that needs it. */
static bool take_ahead(Stepper *s, Batches *batches, Error *error) {
  int64_t begin = monotonic_nanoseconds();
  Batch batch;
  Error later;
  if (!program_ahead(s->job->program, s->first.at[0].entry) || !batches_more(batches) ||
      !batches_wait(batches, &batch, &later))
    return true;
  StepForm *form = choose_form(s, &s->first, &batch);
  if (!program_ahead(s->job->program, form->entry)) /* the step's own turn is early enough */
    return form->uses--, true;
  fill(s, form, &batch);
  memcpy(s->ahead_samples, batch.samples, sizeof *s->samples * (size_t)s->batch);
  batches_give_back(batches, false);
  s->ahead = form;
  trace_event(s->job->trace, 0, "take a batch ahead", "data", begin, monotonic_nanoseconds(), NULL);
  return program_send(s->job->program, form->entry, error);
}

/* For those who look for what is not finite: this step's inputs again instead of the next one's. */
static bool take_back(Stepper *s, Batches *batches, StepForm *form, Error *error) {
  Batch batch;
  if (!s->ahead)
    return true;
  s->ahead = NULL;
  if (!batches_again(batches, 2, &batch, error))
    return false;
  fill(s, form, &batch);
  return true;
}

/* A loss or norm that is not finite is noted and ends the step. */
static void end_run(const Stepper *s, int entry, int64_t begin, StepResult *result) {
  trace_event(s->job->trace, 0, s->job->plan->entries[entry].name, "entry", begin,
              monotonic_nanoseconds(), NULL);
  if (program_stopped(s->job->program, entry))
    result->stopped = entry;
}

/* Runs an entry point. */
static bool run(Stepper *s, int entry, StepResult *result, Error *error) {
  int64_t begin = monotonic_nanoseconds();
  if (!program_run(s->job->program, entry, error))
    return false;
  end_run(s, entry, begin, result);
  return true;
}

static bool run_one(Stepper *s, Batches *batches, double lr, double clip, StepResult *result,
                    Error *error) {
  Program *program = s->job->program;
  StepForm *form = take_next(s, batches, result, error);
  if (!form)
    return false;
  port_set(s->job, form->entry, "lr", lr);
  port_set(s->job, form->entry, "clip", clip);
  int64_t begin = monotonic_nanoseconds();
  if (!program_start(program, form->entry, error))
    return false;
  bool sent = take_ahead(s, batches, error);
  if (!program_finish(program, form->entry, sent ? error : NULL) || !sent)
    return false;
  end_run(s, form->entry, begin, result);
  result->loss = output(s, form->entry, "loss");
  result->grad_norm = output(s, form->entry, "grad_norm");
  result->intact = true;
  return result->stopped < 0 || take_back(s, batches, form, error);
}

static bool apply(Stepper *s, double lr, double clip, StepResult *result, Error *error) {
  port_set(s->job, s->apply, "lr", lr);
  port_set(s->job, s->apply, "clip", clip);
  if (!run(s, s->apply, result, error))
    return false;
  result->grad_norm = output(s, s->apply, "grad_norm");
  return true;
}

static bool run_micro(Stepper *s, Batches *batches, StepResult *result, Error *error) {
  for (int64_t part = 0; part < s->accumulate; part++) {
    StepForm *form = take(s, batches, &s->first, part, result, error);
    if (!form)
      return false;
    port_set(s->job, form->entry, "share", 1.0 / (double)s->accumulate);
    if (!run(s, form->entry, result, error))
      return false;
    double loss = output(s, form->entry, "loss");
    result->loss += loss / (double)s->accumulate;
    if (!isfinite(loss)) {
      result->stopped = form->entry;
      return true;
    }
  }
  return true;
}

static bool embed_all(Stepper *s, Batches *batches, StepResult *result, Error *error) {
  for (int64_t part = 0; part < s->accumulate; part++) {
    StepForm *form = take(s, batches, &s->first, part, result, error);
    if (!form || !run(s, form->entry, result, error))
      return false;
    for (int k = 0; k < s->latents.count; k++)
      memcpy(s->latents.values[k] + (size_t)part * s->latents.bytes[k],
             program_output(s->job->program, form->entry, s->latents.names[k], NULL),
             s->latents.bytes[k]);
  }
  return true;
}

static const char *gradient_name(const char *latents, char *room, size_t size) {
  snprintf(room, size, "grad.%s", latents);
  return room;
}

static bool contrast_all(Stepper *s, StepResult *result, Error *error) {
  Program *program = s->job->program;
  char name[128];
  for (int k = 0; k < s->latents.count; k++)
    program_write(program, s->contrast, s->latents.names[k], s->latents.values[k]);
  port_set(s->job, s->contrast, "share", 1);
  if (!run(s, s->contrast, result, error))
    return false;
  result->loss = output(s, s->contrast, "loss");
  for (int k = 0; k < s->latents.count; k++)
    memcpy(s->latents.gradients[k],
           program_output(program, s->contrast,
                          gradient_name(s->latents.names[k], name, sizeof name), NULL),
           s->latents.bytes[k] * (size_t)s->accumulate);
  return true;
}

static bool back_all(Stepper *s, Batches *batches, StepResult *result, Error *error) {
  char name[128];
  for (int64_t part = 0; part < s->accumulate; part++) {
    StepForm *form = take(s, batches, &s->second, part, result, error);
    if (!form)
      return false;
    for (int k = 0; k < s->latents.count; k++)
      program_write(s->job->program, form->entry,
                    gradient_name(s->latents.names[k], name, sizeof name),
                    s->latents.gradients[k] + (size_t)part * s->latents.bytes[k]);
    port_set(s->job, form->entry, "share", 1);
    if (!run(s, form->entry, result, error))
      return false;
  }
  return true;
}

static bool run_whole(Stepper *s, Batches *batches, StepResult *result, Error *error) {
  if (!embed_all(s, batches, result, error) || !contrast_all(s, result, error))
    return false;
  if (!isfinite(result->loss)) { /* the last batch's latents stand for all */
    result->stopped = s->first.at[0].entry;
    result->intact = true;
    return true;
  }
  return back_all(s, batches, result, error);
}

bool stepper_run(Stepper *s, Batches *batches, double lr, double clip, StepResult *result,
                 Error *error) {
  *result = (StepResult){.stopped = -1};
  if (s->accumulate == 1)
    return run_one(s, batches, lr, clip, result, error);
  if (!(s->negatives == NEGATIVES_BATCH ? run_whole : run_micro)(s, batches, result, error))
    return false;
  return result->stopped >= 0 || apply(s, lr, clip, result, error);
}
