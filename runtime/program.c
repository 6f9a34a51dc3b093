/* What runs when: the part of a program that all backends share. See program.h. */
#include "runtime/program_private.h"
#include <math.h>
#include <string.h>

int64_t port_bytes(const PlanPort *port) {
  return port->gather ? port->gather->elements * (int64_t)dtype_size(port->type.dtype)
                      : (int64_t)type_bytes(&port->type);
}

int plan_conversions(const PlanEntry *entry) {
  int count = 0;
  for (int i = 0; i < entry->n_steps; i++)
    count += entry->steps[i].conversion;
  return count;
}

static size_t rounded(size_t bytes) {
  return (bytes + PLAN_ALIGNMENT - 1) / PLAN_ALIGNMENT * PLAN_ALIGNMENT;
}

int64_t plan_arena_bytes(const Plan *plan) {
  int64_t most = 0;
  for (int e = 0; e < plan->n_entries; e++)
    if (plan->entries[e].arena_bytes > most)
      most = plan->entries[e].arena_bytes;
  return most;
}

int64_t plan_persistent_bytes(const Plan *plan) {
  int64_t bytes = 0;
  for (int i = 0; i < plan->n_tensors; i++)
    bytes += (int64_t)rounded(type_bytes(&plan->tensors[i].type));
  return bytes;
}

const PlanStep *program_steps(const Program *program, int entry, StepGroup group, int *count) {
  const Plan *plan = program->plan;
  const PlanEntry *e = group == GROUP_REFRESH ? NULL : &plan->entries[entry];
  *count = group == GROUP_REFRESH   ? plan->n_refresh
           : group == GROUP_PREPARE ? e->n_prepare
                                    : e->n_steps;
  return group == GROUP_REFRESH ? plan->refresh : group == GROUP_PREPARE ? e->prepare : e->steps;
}

bool program_no_kernel(const Plan *plan, int kernel, Error *error) {
  return error_set(error,
                   "kernel \"%.200s\" of model %.100s is not there: plan and code do not "
                   "belong together",
                   plan->kernels[kernel], plan->model);
}

static bool runs_alone(const Plan *plan, Error *error) {
  for (int e = 0; e < plan->n_entries; e++)
    for (int i = 0; i < plan->entries[e].n_steps; i++)
      if (plan->entries[e].steps[i].kind >= STEP_ALL_GATHER)
        return error_set(error, "entry point %.100s talks to other processes; this is the only one",
                         plan->entries[e].name);
  return true;
}

static bool take_persistent(Program *program, Error *error) {
  const Plan *plan = program->plan;
  if (!region_open(&program->persistent, plan_persistent_bytes(plan), "the model", error))
    return false;
  unsigned char *at = program->persistent.at;
  for (int i = 0; i < plan->n_tensors; i++) {
    program->tensors[i] = at;
    program->current[i] = true;
    at += rounded(type_bytes(&plan->tensors[i].type));
    if (plan->tensors[i].role < PLAN_STATE)
      program->model_bytes = at - program->persistent.at;
  }
  return region_touch(&program->persistent, program->pool, program->model_bytes, "the model",
                      error);
}

static bool reads_views(const Plan *plan, const PlanEntry *entry) {
  for (int i = 0; i < entry->n_steps; i++)
    for (int k = 0; k < entry->steps[i].n_args; k++) {
      PlanRef ref = entry->steps[i].args[k];
      if (ref.place == PLACE_PERSISTENT && plan->tensors[ref.at].role == PLAN_VIEW)
        return true;
    }
  return false;
}

bool program_open_on(Program **result, const Plan *plan, const Backend *backend,
                     const void *options, int threads, Error *error) {
  Arena *memory = arena_new();
  Program *program = ARENA_NEW(memory, Program);
  *result = NULL;
  program->memory = memory;
  program->plan = plan;
  program->backend = backend;
  program->tensors = ARENA_ARRAY(memory, void *, plan->n_tensors);
  program->current = ARENA_ARRAY(memory, bool, plan->n_tensors + 1);
  program->entries = ARENA_ARRAY(memory, BoundEntry, plan->n_entries);
  for (int e = 0; e < plan->n_entries; e++) {
    const PlanEntry *entry = &plan->entries[e];
    program->entries[e] = (BoundEntry){.stale = true,
                                       .reads_views = reads_views(plan, entry),
                                       .times = ARENA_ARRAY(memory, int64_t, entry->n_steps),
                                       .starts = ARENA_ARRAY(memory, int64_t, entry->n_steps)};
  }
  program->views_stale = program->touched = true;
  if (!runs_alone(plan, error) || !pool_open(&program->pool, threads, error) ||
      !take_persistent(program, error) || !backend->open(program, options, error)) {
    program_close(program);
    return false;
  }
  *result = program;
  return true;
}

bool program_open(Program **program, const Plan *plan, ProgramLookup *lookup, void *context,
                  int threads, Error *error) {
  CpuCode code = {lookup, context};
  return program_open_on(program, plan, &backend_cpu, &code, threads, error);
}

void program_close(Program *program) {
  if (!program)
    return;
  program->backend->close(program);
  pool_close(program->pool);
  region_close(&program->persistent);
  arena_free(program->memory);
}

const Plan *program_plan(const Program *program) { return program->plan; }

const ProgramDevice *program_device(const Program *program) {
  return program->device.name ? &program->device : NULL;
}

bool program_measure_device(Program *program, Error *error) {
  return !program->backend->measure || program->backend->measure(program, error);
}

void program_hold_inputs(Program *program, bool hold) { program->hold = hold; }

Pool *program_pool(Program *program) { return program->pool; }

int program_threads(const Program *program) { return pool_threads(program->pool); }

int program_entry(const Program *program, const char *name) {
  for (int e = 0; e < program->plan->n_entries; e++)
    if (strcmp(program->plan->entries[e].name, name) == 0)
      return e;
  return -1;
}

static const PlanPort *find_port(const PlanPort *ports, int count, const char *name) {
  for (int i = 0; i < count; i++)
    if (strcmp(ports[i].name, name) == 0)
      return &ports[i];
  return NULL;
}

void *program_part(Program *program, int entry, const char *name, const PlanPort **port) {
  const PlanEntry *e = &program->plan->entries[entry];
  const PlanPort *found = find_port(e->inputs, e->n_inputs, name);
  if (port)
    *port = found;
  return found ? program->backend->port(program, entry, found) : NULL;
}

void *program_input(Program *program, int entry, const char *name, Type *type) {
  const PlanPort *port;
  void *data = program_part(program, entry, name, &port);
  if (type && port)
    *type = port->type;
  return port && !port->gather ? data : NULL;
}

bool program_write(Program *program, int entry, const char *name, const void *whole) {
  const PlanPort *port;
  unsigned char *part = program_part(program, entry, name, &port);
  if (!port)
    return false;
  if (!port->gather) {
    memcpy(part, whole, type_bytes(&port->type));
    return true;
  }
  size_t size = dtype_size(port->type.dtype);
  size_t from = size * (size_t)gather_sample_whole(port->gather);
  size_t to = size * (size_t)gather_sample_part(port->gather);
  for (int64_t q = 0; q < port->type.dim[0]; q++)
    gather_sample(port->gather, size, (const unsigned char *)whole + (size_t)q * from,
                  part + (size_t)q * to);
  return true;
}

const void *program_output(Program *program, int entry, const char *name, Type *type) {
  const PlanEntry *e = &program->plan->entries[entry];
  const PlanPort *port = find_port(e->outputs, e->n_outputs, name);
  if (type && port)
    *type = port->type;
  if (!port)
    return NULL;
  Error error;
  if (!program->backend->fetch_port(program, entry, port, &error))
    FAULT("output %s: %s", name, error.text);
  return program->backend->port(program, entry, port);
}

void *program_hosted(Program *program, int tensor) {
  Error error;
  if (!program->current[tensor] && !program->backend->fetch_tensor(program, tensor, &error))
    FAULT("tensor %s: %s", program->plan->tensors[tensor].name, error.text);
  return program->tensors[tensor];
}

void *program_tensor(Program *program, const char *name, Type *type) {
  for (int i = 0; i < program->plan->n_tensors; i++)
    if (strcmp(program->plan->tensors[i].name, name) == 0) {
      if (type)
        *type = program->plan->tensors[i].type;
      return program_hosted(program, i);
    }
  return NULL;
}

static void mark_stale(Program *program) {
  CHECK(!program->frozen);
  for (int e = 0; e < program->plan->n_entries; e++)
    program->entries[e].stale = true;
}

void program_touch(Program *program) {
  mark_stale(program);
  program->views_stale = program->touched = true;
}

static bool refresh(Program *program, Error *error) {
  if (!program->backend->run(program, -1, GROUP_REFRESH, 0, program->plan->n_refresh, error))
    return false;
  program->views_stale = false;
  return true;
}

/* *finite: an output of this name is a finite scalar, or there is none. */
static bool look_at(Program *program, int entry, const char *name, bool *finite, Error *error) {
  const PlanEntry *e = &program->plan->entries[entry];
  const PlanPort *port = find_port(e->outputs, e->n_outputs, name);
  if (!port || type_elements(&port->type) != 1)
    return true;
  if (!program->backend->fetch_port(program, entry, port, error))
    return false;
  const void *value = program->backend->port(program, entry, port);
  *finite &= isfinite(dtype_load(port->type.dtype, value, 0)) != 0;
  return true;
}

/* Steps in front of the guard; 0: there is none. */
static int guarded_steps(const PlanEntry *e) { return e->guard < e->n_steps ? e->guard : 0; }

/* What can start without knowing the loss. */
static bool start_all(Program *program, int entry, Error *error) {
  const Backend *backend = program->backend;
  const PlanEntry *e = &program->plan->entries[entry];
  BoundEntry *bound = &program->entries[entry];
  int first = guarded_steps(e);
  bound->stopped = false;
  if (program->views_stale && bound->reads_views && !refresh(program, error))
    return false;
  if (bound->stale && !backend->run(program, entry, GROUP_PREPARE, 0, e->n_prepare, error))
    return false;
  bound->stale = false;
  return backend->run(program, entry, GROUP_STEPS, 0, first ? first : e->n_steps, error);
}

static bool pass_guard(Program *program, int entry, Error *error) {
  const PlanEntry *e = &program->plan->entries[entry];
  BoundEntry *bound = &program->entries[entry];
  int first = guarded_steps(e);
  bool finite = true;
  if (!first)
    return true;
  if (!look_at(program, entry, "loss", &finite, error) ||
      !look_at(program, entry, "grad_norm", &finite, error))
    return false;
  bound->stopped = !finite;
  return bound->stopped ||
         program->backend->run(program, entry, GROUP_STEPS, first, e->n_steps, error);
}

/* After the last step that was started, or that failed. */
static bool end_run(Program *program, int entry, bool good, Error *error) {
  const PlanEntry *e = &program->plan->entries[entry];
  bool updated = e->updates && !program->entries[entry].stopped;
  program->running = 0;
  good = program->backend->end(program, entry, updated, good ? error : NULL) && good;
  if (updated) {
    mark_stale(program);
    program->views_stale |= e->outdates;
  }
  return good;
}

bool program_start(Program *program, int entry, Error *error) {
  if (entry < 0 || entry >= program->plan->n_entries)
    return error_set(error, "model %.100s has no entry point number %d", program->plan->model,
                     entry);
  const PlanEntry *e = &program->plan->entries[entry];
  CHECK(!program->running && !program->entries[entry].retired && !(program->frozen && e->updates));
  if (!program->backend->begin(program, entry, error))
    return false;
  program->running = entry + 1;
  return start_all(program, entry, error) || end_run(program, entry, false, error);
}

bool program_finish(Program *program, int entry, Error *error) {
  CHECK(program->running == entry + 1);
  return end_run(program, entry, pass_guard(program, entry, error), error);
}

bool program_run(Program *program, int entry, Error *error) {
  return program_start(program, entry, error) && program_finish(program, entry, error);
}

bool program_ahead(Program *program, int entry) {
  CHECK(program->running);
  return program->backend->ahead && program->backend->ahead(program, entry);
}

bool program_send(Program *program, int entry, Error *error) {
  return program->backend->send(program, entry, error);
}

bool program_stopped(const Program *program, int entry) { return program->entries[entry].stopped; }

/* ---- looking for trouble ---- */

static int64_t count_bad(Dtype dtype, const void *data, int64_t elements) {
  int64_t bad = 0;
  if (dtype == DT_f32)
    for (int64_t i = 0; i < elements; i++)
      bad += !isfinite(((const float *)data)[i]);
  else if (dtype == DT_bf16) /* an exponent of ones */
    for (int64_t i = 0; i < elements; i++)
      bad += (((const uint16_t *)data)[i] & 0x7F80) == 0x7F80;
  return bad;
}

static bool bad_tensor(const char *what, const char *name, Dtype dtype, int64_t elements,
                       const void *data, ProgramTrouble *trouble) {
  *trouble = (ProgramTrouble){.what = what, .name = name, .place = "", .elements = elements};
  trouble->bad = data ? count_bad(dtype, data, elements) : 0;
  return trouble->bad > 0;
}

static bool bad_result(Program *program, int entry, int number, ProgramTrouble *trouble) {
  const PlanStep *step = &program->plan->entries[entry].steps[number];
  for (int k = 0; k < step->n_results; k++) {
    const PlanResult *result = &step->results[k];
    int64_t bytes = result->elements * (int64_t)dtype_size(result->dtype);
    const void *data = program->backend->look(program, entry, step->args[result->arg], bytes, NULL);
    int64_t bad = data ? count_bad(result->dtype, data, result->elements) : 0;
    *trouble = (ProgramTrouble){"step", step->label, step->place, number, bad, result->elements};
    if (bad)
      return true;
  }
  return false;
}

static bool bad_step(Program *program, int entry, ProgramTrouble *trouble) {
  const PlanEntry *e = &program->plan->entries[entry];
  bool found = false, good = program->backend->begin(program, entry, NULL);
  if (!good)
    return false;
  if (program->views_stale)
    good = refresh(program, NULL);
  int end = e->guard ? e->guard : e->n_steps;
  for (int i = 0; i < end && good && !found; i++) {
    good = program->backend->run(program, entry, GROUP_STEPS, i, i + 1, NULL);
    found = good && bad_result(program, entry, i, trouble);
  }
  program->backend->end(program, entry, e->updates && !e->guard, NULL);
  return found;
}

bool program_find_trouble(Program *program, int entry, ProgramTrouble *trouble) {
  const Plan *plan = program->plan;
  const PlanEntry *e = &plan->entries[entry];
  for (int i = 0; i < e->n_inputs; i++)
    if (bad_tensor("input", e->inputs[i].name, e->inputs[i].type.dtype,
                   port_bytes(&e->inputs[i]) / (int64_t)dtype_size(e->inputs[i].type.dtype),
                   program->backend->port(program, entry, &e->inputs[i]), trouble))
      return true;
  for (int i = 0; i < plan->n_tensors; i++)
    if (plan->tensors[i].role < PLAN_SCRATCH &&
        bad_tensor("tensor", plan->tensors[i].name, plan->tensors[i].type.dtype,
                   type_elements(&plan->tensors[i].type), program_hosted(program, i), trouble))
      return true;
  return bad_step(program, entry, trouble);
}

void program_retire(Program *program, int entry) {
  program->entries[entry].retired = true;
  program->backend->retire(program, entry);
}

void program_freeze(Program *program) { program->frozen = true; }

void program_profile(Program *program, bool enable) { program->profile = enable; }

const int64_t *program_times(const Program *program, int entry) {
  return program->entries[entry].times;
}

const int64_t *program_starts(const Program *program, int entry) {
  return program->entries[entry].starts;
}
