/* Binding a plan to code and memory, and running it. See program.h.
 *
 * Address space for everything is taken on opening, so every argument of every step is a fixed
 * address and a run is a loop over steps. Pages come when an entry point first runs.
 */
#include "runtime/program_private.h"
#include <math.h>
#include <string.h>

static const int64_t COPY_BLOCK = 256 << 10; /* bytes one block of a copy moves */

static const size_t SMALL = 4096; /* bytes of a tensor that is kept in any case */

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

static void *address(const Program *program, int entry, PlanRef ref) {
  if (ref.place == PLACE_PERSISTENT)
    return program->tensors[ref.at];
  const Region *region =
      ref.place == PLACE_ARENA ? &program->arena : &program->entries[entry].prepared;
  return region->at ? region->at + ref.at : NULL;
}

static BoundStep *bind_steps(Program *program, int entry, const PlanStep *steps, int count,
                             ProgramKernel *const *kernels) {
  BoundStep *bound = ARENA_ARRAY(program->memory, BoundStep, count);
  for (int i = 0; i < count; i++) {
    const PlanStep *step = &steps[i];
    bound[i].kernel = step->kind == STEP_KERNEL ? kernels[step->kernel] : NULL;
    bound[i].arguments = ARENA_ARRAY(program->memory, void *, step->n_args + 1);
    for (int k = 0; k < step->n_args; k++)
      bound[i].arguments[k] = address(program, entry, step->args[k]);
  }
  return bound;
}

static bool find_kernels(const Plan *plan, ProgramLookup *lookup, void *context,
                         ProgramKernel **kernels, Error *error) {
  for (int i = 0; i < plan->n_kernels; i++) {
    kernels[i] = lookup(context, plan->kernels[i]);
    if (!kernels[i])
      return error_set(error,
                       "kernel \"%.200s\" of model %.100s is not there: plan and code do not "
                       "belong together",
                       plan->kernels[i], plan->model);
  }
  for (int e = 0; e < plan->n_entries; e++)
    for (int i = 0; i < plan->entries[e].n_steps; i++)
      if (plan->entries[e].steps[i].kind >= STEP_ALL_GATHER)
        return error_set(error, "entry point %.100s talks to other processes; this is the only one",
                         plan->entries[e].name);
  return true;
}

static bool take_memory(Program *program, Error *error) {
  const Plan *plan = program->plan;
  int64_t persistent = 0, arena = 0;
  for (int i = 0; i < plan->n_tensors; i++)
    persistent += (int64_t)rounded(type_bytes(&plan->tensors[i].type));
  for (int e = 0; e < plan->n_entries; e++)
    if (plan->entries[e].arena_bytes > arena)
      arena = plan->entries[e].arena_bytes;
  if (!region_open(&program->persistent, persistent, "the model", error) ||
      !region_open(&program->arena, arena, "the arena", error))
    return false;
  for (int e = 0; e < plan->n_entries; e++)
    if (!region_open(&program->entries[e].prepared, plan->entries[e].prepared_bytes,
                     "the derived weights", error))
      return false;
  unsigned char *at = program->persistent.at;
  for (int i = 0; i < plan->n_tensors; i++) {
    program->tensors[i] = at;
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

bool program_open(Program **result, const Plan *plan, ProgramLookup *lookup, void *context,
                  int threads, Error *error) {
  Arena *memory = arena_new();
  Program *program = ARENA_NEW(memory, Program);
  *result = NULL;
  program->memory = memory;
  program->plan = plan;
  program->tensors = ARENA_ARRAY(memory, void *, plan->n_tensors);
  program->entries = ARENA_ARRAY(memory, BoundEntry, plan->n_entries);
  ProgramKernel **kernels = ARENA_ARRAY(memory, ProgramKernel *, plan->n_kernels);
  if (!find_kernels(plan, lookup, context, kernels, error) ||
      !pool_open(&program->pool, threads, error) || !take_memory(program, error)) {
    program_close(program);
    return false;
  }
  for (int e = 0; e < plan->n_entries; e++) {
    const PlanEntry *entry = &plan->entries[e];
    BoundEntry *bound = &program->entries[e];
    bound->stale = true;
    bound->reads_views = reads_views(plan, entry);
    bound->prepare = bind_steps(program, e, entry->prepare, entry->n_prepare, kernels);
    bound->steps = bind_steps(program, e, entry->steps, entry->n_steps, kernels);
    bound->times = ARENA_ARRAY(memory, int64_t, entry->n_steps);
    bound->starts = ARENA_ARRAY(memory, int64_t, entry->n_steps);
  }
  program->views_stale = true;
  program->refresh = bind_steps(program, -1, plan->refresh, plan->n_refresh, kernels);
  *result = program;
  return true;
}

void program_close(Program *program) {
  if (!program)
    return;
  pool_close(program->pool);
  region_close(&program->persistent);
  region_close(&program->arena);
  for (int e = 0; e < program->plan->n_entries; e++)
    region_close(&program->entries[e].prepared);
  arena_free(program->memory);
}

const Plan *program_plan(const Program *program) { return program->plan; }

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
  return found ? address(program, entry, found->ref) : NULL;
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
  return port ? address(program, entry, port->ref) : NULL;
}

void *program_tensor(Program *program, const char *name, Type *type) {
  for (int i = 0; i < program->plan->n_tensors; i++)
    if (strcmp(program->plan->tensors[i].name, name) == 0) {
      if (type)
        *type = program->plan->tensors[i].type;
      return program->tensors[i];
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
  program->views_stale = true;
}

/* arguments: source, destination, end of the source */
static void copy_blocks(void *const *arguments, int64_t begin, int64_t end) {
  const unsigned char *source = arguments[0];
  unsigned char *destination = arguments[1];
  int64_t bytes = (unsigned char *)arguments[2] - (unsigned char *)arguments[0];
  int64_t from = begin * COPY_BLOCK, to = end * COPY_BLOCK;
  if (to > bytes)
    to = bytes;
  memmove(destination + from, source + from, (size_t)(to - from));
}

static void run_step(Program *program, const PlanStep *step, const BoundStep *bound) {
  if (bound->kernel) {
    pool_run(program->pool, bound->kernel, bound->arguments, step->blocks);
    return;
  }
  unsigned char *source = bound->arguments[0];
  void *arguments[] = {source, bound->arguments[1], source + step->bytes};
  if (step->bytes && arguments[0] != arguments[1])
    pool_run(program->pool, copy_blocks, arguments, (step->bytes + COPY_BLOCK - 1) / COPY_BLOCK);
}

static bool take_pages(Program *program, int entry, Error *error) {
  const PlanEntry *e = &program->plan->entries[entry];
  Error inner;
  int64_t kept = e->updates ? (int64_t)program->persistent.size : program->model_bytes;
  if (region_touch(&program->persistent, program->pool, kept, "the model and its training",
                   &inner) &&
      region_touch(&program->arena, program->pool, e->arena_bytes, "the arena", &inner) &&
      (program->frozen || /* then they come as others go */
       region_touch(&program->entries[entry].prepared, program->pool, e->prepared_bytes,
                    "the derived weights", &inner)))
    return true;
  return error_set(error, "entry point %.100s: %.900s", e->name, inner.text);
}

static void mark_used(const PlanStep *steps, int count, bool *used) {
  for (int i = 0; i < count; i++)
    for (int k = 0; k < steps[i].n_args; k++)
      if (steps[i].args[k].place == PLACE_PERSISTENT)
        used[steps[i].args[k].at] = true;
}

/* Marks the persistent tensors that entry points which may still run will read, but for the prepare
 * steps of entry `besides` and, when frozen, those that have been done; false: none will run. */
static bool mark_needed(const Program *program, int besides, bool *used) {
  const Plan *plan = program->plan;
  bool any = false;
  for (int e = 0; e < plan->n_entries; e++) {
    const BoundEntry *bound = &program->entries[e];
    if (bound->retired)
      continue;
    any = true;
    mark_used(plan->entries[e].steps, plan->entries[e].n_steps, used);
    if (bound->reads_views)
      mark_used(plan->refresh, plan->n_refresh, used);
    if (e != besides && (bound->stale || !program->frozen))
      mark_used(plan->entries[e].prepare, plan->entries[e].n_prepare, used);
  }
  return any;
}

/* Gives back what is not marked. Small tensors stay: they would win nothing, and callers read
 * scalars that no entry point needs. */
static void release_unused(Program *program, bool *used) {
  const Plan *plan = program->plan;
  unsigned char *start = program->persistent.at;
  for (int i = 0; i < plan->n_tensors; i++)
    used[i] |= type_bytes(&plan->tensors[i].type) < SMALL;
  for (int i = 0, end; i < plan->n_tensors; i = end) { /* neighbours go together */
    for (end = i + 1; end < plan->n_tensors && used[end] == used[i]; end++)
      ;
    size_t last = (size_t)((unsigned char *)program->tensors[end - 1] - start) +
                  type_bytes(&plan->tensors[end - 1].type);
    if (!used[i])
      region_release(&program->persistent, (size_t)((unsigned char *)program->tensors[i] - start),
                     last);
  }
}

/* The prepare steps of an entry point. Of a frozen program, what they alone read goes back after
 * the last of them that reads it. */
static void prepare(Program *program, int entry) {
  const PlanEntry *e = &program->plan->entries[entry];
  const BoundEntry *bound = &program->entries[entry];
  const Plan *plan = program->plan;
  bool *used = NULL;
  int *last = NULL;
  if (program->frozen) {
    used = ARENA_ARRAY(program->memory, bool, plan->n_tensors + 1);
    last = ARENA_ARRAY(program->memory, int, plan->n_tensors + 1);
    mark_needed(program, entry, used);
    for (int i = 0; i < e->n_prepare; i++)
      for (int k = 0; k < e->prepare[i].n_args; k++)
        if (e->prepare[i].args[k].place == PLACE_PERSISTENT)
          last[e->prepare[i].args[k].at] = i;
  }
  for (int i = 0; i < e->n_prepare; i++) {
    run_step(program, &e->prepare[i], &bound->prepare[i]);
    for (int k = 0; used && k < e->prepare[i].n_args; k++) {
      PlanRef ref = e->prepare[i].args[k];
      if (ref.place != PLACE_PERSISTENT || used[ref.at] || last[ref.at] != i)
        continue;
      size_t begin = (size_t)((unsigned char *)program->tensors[ref.at] - program->persistent.at);
      region_release(&program->persistent, begin, begin + type_bytes(&plan->tensors[ref.at].type));
    }
  }
}

static void refresh(Program *program) {
  for (int i = 0; i < program->plan->n_refresh; i++)
    run_step(program, &program->plan->refresh[i], &program->refresh[i]);
  program->views_stale = false;
}

static bool is_finite(Program *program, int entry, const char *name) {
  Type type;
  const void *value = program_output(program, entry, name, &type);
  return !value || type_elements(&type) != 1 || isfinite(dtype_load(type.dtype, value, 0));
}

static void run_all(Program *program, int entry) {
  const PlanEntry *e = &program->plan->entries[entry];
  BoundEntry *bound = &program->entries[entry];
  bound->stopped = false;
  for (int i = 0; i < e->n_steps; i++) {
    if (e->guard && i == e->guard &&
        !(is_finite(program, entry, "loss") && is_finite(program, entry, "grad_norm"))) {
      bound->stopped = true;
      return;
    }
    if (program->profile)
      bound->starts[i] = monotonic_nanoseconds();
    run_step(program, &e->steps[i], &bound->steps[i]);
    if (program->profile)
      bound->times[i] = monotonic_nanoseconds() - bound->starts[i];
  }
}

bool program_run(Program *program, int entry, Error *error) {
  if (entry < 0 || entry >= program->plan->n_entries)
    return error_set(error, "model %.100s has no entry point number %d", program->plan->model,
                     entry);
  const PlanEntry *e = &program->plan->entries[entry];
  BoundEntry *bound = &program->entries[entry];
  CHECK(!bound->retired && !(program->frozen && e->updates));
  pool_enter(program->pool);
  if (!take_pages(program, entry, error)) {
    pool_leave(program->pool);
    return false;
  }
  if (program->views_stale && bound->reads_views)
    refresh(program);
  if (bound->stale)
    prepare(program, entry);
  bound->stale = false;
  run_all(program, entry);
  if (e->updates && !bound->stopped) {
    mark_stale(program);
    program->views_stale |= e->outdates;
  }
  pool_leave(program->pool);
  return true;
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

static bool bad_result(const PlanStep *step, const BoundStep *bound, int number,
                       ProgramTrouble *trouble) {
  for (int k = 0; k < step->n_results; k++) {
    const PlanResult *result = &step->results[k];
    int64_t elements = result->elements;
    int64_t bad = count_bad(result->dtype, bound->arguments[result->arg], elements);
    *trouble = (ProgramTrouble){"step", step->label, step->place, number, bad, elements};
    if (bad)
      return true;
  }
  return false;
}

bool program_find_trouble(Program *program, int entry, ProgramTrouble *trouble) {
  const Plan *plan = program->plan;
  const PlanEntry *e = &plan->entries[entry];
  for (int i = 0; i < e->n_inputs; i++)
    if (bad_tensor("input", e->inputs[i].name, e->inputs[i].type.dtype,
                   port_bytes(&e->inputs[i]) / (int64_t)dtype_size(e->inputs[i].type.dtype),
                   address(program, entry, e->inputs[i].ref), trouble))
      return true;
  for (int i = 0; i < plan->n_tensors; i++)
    if (plan->tensors[i].role < PLAN_SCRATCH &&
        bad_tensor("tensor", plan->tensors[i].name, plan->tensors[i].type.dtype,
                   type_elements(&plan->tensors[i].type), program->tensors[i], trouble))
      return true;
  bool found = false;
  int end = e->guard ? e->guard : e->n_steps;
  pool_enter(program->pool);
  if (program->views_stale)
    refresh(program);
  for (int i = 0; i < end && !found; i++) {
    run_step(program, &e->steps[i], &program->entries[entry].steps[i]);
    found = bad_result(&e->steps[i], &program->entries[entry].steps[i], i, trouble);
  }
  pool_leave(program->pool);
  return found;
}

void program_retire(Program *program, int entry) {
  BoundEntry *bound = &program->entries[entry];
  bound->retired = true;
  region_release(&bound->prepared, 0, bound->prepared.size);
  bool *used = ARENA_ARRAY(program->memory, bool, program->plan->n_tensors + 1);
  if (mark_needed(program, -1, used))
    release_unused(program, used);
}

void program_freeze(Program *program) { program->frozen = true; }

void program_profile(Program *program, bool enable) { program->profile = enable; }

const int64_t *program_times(const Program *program, int entry) {
  return program->entries[entry].times;
}

const int64_t *program_starts(const Program *program, int entry) {
  return program->entries[entry].starts;
}
