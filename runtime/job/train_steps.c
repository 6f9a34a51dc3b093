/* Running optimizer steps. See train_steps.h. */
#include "runtime/job/train_steps.h"
#include "runtime/job/ports.h"
#include "runtime/job/progress.h"
#include <math.h>
#include <string.h>

const char *const negatives_names[2] = {"micro", "batch"};

enum { MAX_LATENTS = 4 };

void stepper_request(JobRequest *request, int64_t accumulate, Negatives negatives) {
  static const char *const names[] = {"train_micro", "train_apply", "train_embed", "train_contrast",
                                      "train_backward"};
  int first = negatives == NEGATIVES_BATCH ? 1 : 0, end = negatives == NEGATIVES_BATCH ? 5 : 2;
  if (accumulate == 1) {
    request->entries[request->n_entries++] = "train_step";
    return;
  }
  for (int i = first; i < end; i++) {
    request->times[request->n_entries] = i == 3 ? accumulate : 1;
    request->entries[request->n_entries++] = names[i];
  }
}

static bool scalar_output(const Job *job, int entry, const char *name, Error *error) {
  Type type;
  if (program_output(job->program, entry, name, &type) && type_elements(&type) == 1)
    return true;
  return error_set(error, "%s of model %s gives no scalar \"%s\"", job->plan->entries[entry].name,
                   job->plan->model, name);
}

static bool open_ports(Stepper *s, int entry, VolumePort *volume, TextPort *text, Error *error) {
  if (!volume_port(s->job, entry, volume, error) || !text_port(s->job, entry, text, error))
    return false;
  if (volume->batch != text->batch)
    return error_set(error, "%s takes %lld volumes but %lld texts",
                     s->job->plan->entries[entry].name, (long long)volume->batch,
                     (long long)text->batch);
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
  s->forward = accumulate == 1 ? s->step : whole ? s->embed : s->micro;
  int losses = whole ? s->contrast : s->forward, last = accumulate == 1 ? s->step : s->apply;
  if (!open_ports(s, s->forward, &s->volume, &s->text, error) ||
      !scalar_output(job, losses, "loss", error) || !scalar_output(job, last, "grad_norm", error))
    return false;
  s->batch = s->volume.batch;
  s->samples = ARENA_ARRAY(job->arena, int64_t, accumulate * s->batch);
  return !whole || (open_ports(s, s->backward, &s->second_volume, &s->second_text, error) &&
                    open_latents(s, error));
}

int64_t stepper_reads(const Stepper *s) {
  return s->accumulate > 1 && s->negatives == NEGATIVES_BATCH ? 2 * s->accumulate : s->accumulate;
}

static double output(const Stepper *s, int entry, const char *name) {
  Type type;
  const void *at = program_output(s->job->program, entry, name, &type);
  return dtype_load(type.dtype, at, 0);
}

static bool take(Stepper *s, Batches *batches, VolumePort *volume, TextPort *text, int64_t part,
                 StepResult *result, Error *error) {
  double start = seconds_now();
  bool good = batches_take(batches, volume, text, s->samples + part * s->batch, error);
  result->waited += seconds_now() - start;
  return good;
}

/* Runs an entry point; a loss or norm that is not finite is noted and ends the step. */
static bool run(Stepper *s, int entry, StepResult *result, Error *error) {
  if (!program_run(s->job->program, entry, error))
    return false;
  if (program_stopped(s->job->program, entry))
    result->stopped = entry;
  return true;
}

static bool run_one(Stepper *s, double lr, double clip, StepResult *result, Error *error) {
  port_set(s->job, s->step, "lr", lr);
  port_set(s->job, s->step, "clip", clip);
  if (!run(s, s->step, result, error))
    return false;
  result->loss = output(s, s->step, "loss");
  result->grad_norm = output(s, s->step, "grad_norm");
  result->intact = true;
  return true;
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
    port_set(s->job, s->micro, "share", 1.0 / (double)s->accumulate);
    if (!take(s, batches, &s->volume, &s->text, part, result, error) ||
        !run(s, s->micro, result, error))
      return false;
    double loss = output(s, s->micro, "loss");
    result->loss += loss / (double)s->accumulate;
    if (!isfinite(loss)) {
      result->stopped = s->micro;
      return true;
    }
  }
  return true;
}

static bool embed_all(Stepper *s, Batches *batches, StepResult *result, Error *error) {
  for (int64_t part = 0; part < s->accumulate; part++) {
    if (!take(s, batches, &s->volume, &s->text, part, result, error) ||
        !run(s, s->embed, result, error))
      return false;
    for (int k = 0; k < s->latents.count; k++)
      memcpy(s->latents.values[k] + (size_t)part * s->latents.bytes[k],
             program_output(s->job->program, s->embed, s->latents.names[k], NULL),
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
    memcpy(program_input(program, s->contrast, s->latents.names[k], NULL), s->latents.values[k],
           s->latents.bytes[k] * (size_t)s->accumulate);
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
    if (!take(s, batches, &s->second_volume, &s->second_text, part, result, error))
      return false;
    for (int k = 0; k < s->latents.count; k++)
      memcpy(program_input(s->job->program, s->backward,
                           gradient_name(s->latents.names[k], name, sizeof name), NULL),
             s->latents.gradients[k] + (size_t)part * s->latents.bytes[k], s->latents.bytes[k]);
    port_set(s->job, s->backward, "share", 1);
    if (!run(s, s->backward, result, error))
      return false;
  }
  return true;
}

static bool run_whole(Stepper *s, Batches *batches, StepResult *result, Error *error) {
  if (!embed_all(s, batches, result, error) || !contrast_all(s, result, error))
    return false;
  if (!isfinite(result->loss)) { /* the last batch's latents stand for all */
    result->stopped = s->embed;
    result->intact = true;
    return true;
  }
  return back_all(s, batches, result, error);
}

bool stepper_run(Stepper *s, Batches *batches, double lr, double clip, StepResult *result,
                 Error *error) {
  *result = (StepResult){.stopped = -1};
  if (s->accumulate == 1)
    return take(s, batches, &s->volume, &s->text, 0, result, error) &&
           run_one(s, lr, clip, result, error);
  if (!(s->negatives == NEGATIVES_BATCH ? run_whole : run_micro)(s, batches, result, error))
    return false;
  return result->stopped >= 0 || apply(s, lr, clip, result, error);
}
