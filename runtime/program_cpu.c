/* Programs on this processor: a step is a loop over blocks, shared out among the pool's workers.
 *
 * Address space for everything is taken on opening, so every argument of every step is a fixed
 * address and a run is a loop over steps. Pages come when an entry point first runs. Persistent
 * tensors are computed with where the host keeps them, inputs and outputs where they lie in the
 * arena, so nothing is ever fetched.
 */
#include "runtime/program_private.h"
#include <string.h>

static const int64_t COPY_BLOCK = 256 << 10; /* bytes one block of a copy moves */

static const size_t SMALL = 4096; /* bytes of a tensor that is kept in any case */

typedef struct BoundStep { /* a step with its addresses */
  ProgramKernel *kernel;   /* NULL: a copy */
  void **arguments;
} BoundStep;

typedef struct CpuEntry {
  Region prepared;
  BoundStep *groups[3]; /* by StepGroup */
} CpuEntry;

typedef struct Cpu {
  Region arena;
  CpuEntry *entries;
  BoundStep *refresh;
} Cpu;

/* ---- opening ---- */

static void *address(const Program *program, int entry, PlanRef ref) {
  const Cpu *cpu = program->own;
  if (ref.place == PLACE_PERSISTENT)
    return program->tensors[ref.at];
  const Region *region = ref.place == PLACE_ARENA ? &cpu->arena : &cpu->entries[entry].prepared;
  return region->at ? region->at + ref.at : NULL;
}

static BoundStep *bind_steps(Program *program, int entry, StepGroup group,
                             ProgramKernel *const *kernels) {
  int count;
  const PlanStep *steps = program_steps(program, entry, group, &count);
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

static bool find_kernels(const Plan *plan, const CpuCode *code, ProgramKernel **kernels,
                         Error *error) {
  for (int i = 0; i < plan->n_kernels; i++) {
    kernels[i] = code->lookup(code->context, plan->kernels[i]);
    if (!kernels[i])
      return program_no_kernel(plan, i, error);
  }
  return true;
}

static bool take_memory(Program *program, Error *error) {
  const Plan *plan = program->plan;
  Cpu *cpu = program->own;
  if (!region_open(&cpu->arena, plan_arena_bytes(plan), "the arena", error))
    return false;
  for (int e = 0; e < plan->n_entries; e++)
    if (!region_open(&cpu->entries[e].prepared, plan->entries[e].prepared_bytes,
                     "the derived weights", error))
      return false;
  return true;
}

static bool cpu_open(Program *program, const void *options, Error *error) {
  const Plan *plan = program->plan;
  Arena *memory = program->memory;
  Cpu *cpu = ARENA_NEW(memory, Cpu);
  program->own = cpu;
  cpu->entries = ARENA_ARRAY(memory, CpuEntry, plan->n_entries);
  ProgramKernel **kernels = ARENA_ARRAY(memory, ProgramKernel *, plan->n_kernels);
  if (!find_kernels(plan, options, kernels, error) || !take_memory(program, error))
    return false;
  for (int e = 0; e < plan->n_entries; e++)
    for (StepGroup group = GROUP_PREPARE; group <= GROUP_STEPS; group++)
      cpu->entries[e].groups[group] = bind_steps(program, e, group, kernels);
  cpu->refresh = bind_steps(program, -1, GROUP_REFRESH, kernels);
  return true;
}

static void cpu_close(Program *program) {
  Cpu *cpu = program->own;
  if (!cpu)
    return;
  region_close(&cpu->arena);
  for (int e = 0; e < program->plan->n_entries; e++)
    region_close(&cpu->entries[e].prepared);
}

/* ---- running ---- */

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

static bool cpu_begin(Program *program, int entry, Error *error) {
  const PlanEntry *e = &program->plan->entries[entry];
  Cpu *cpu = program->own;
  Error inner;
  int64_t kept = e->updates ? (int64_t)program->persistent.size : program->model_bytes;
  pool_enter(program->pool);
  if (region_touch(&program->persistent, program->pool, kept, "the model and its training",
                   &inner) &&
      region_touch(&cpu->arena, program->pool, e->arena_bytes, "the arena", &inner) &&
      (program->frozen || /* then they come as others go */
       region_touch(&cpu->entries[entry].prepared, program->pool, e->prepared_bytes,
                    "the derived weights", &inner)))
    return true;
  pool_leave(program->pool);
  return error_set(error, "entry point %.100s: %.900s", e->name, inner.text);
}

/* ---- giving memory back ---- */

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
  const BoundStep *bound = ((Cpu *)program->own)->entries[entry].groups[GROUP_PREPARE];
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
    run_step(program, &e->prepare[i], &bound[i]);
    for (int k = 0; used && k < e->prepare[i].n_args; k++) {
      PlanRef ref = e->prepare[i].args[k];
      if (ref.place != PLACE_PERSISTENT || used[ref.at] || last[ref.at] != i)
        continue;
      size_t begin = (size_t)((unsigned char *)program->tensors[ref.at] - program->persistent.at);
      region_release(&program->persistent, begin, begin + type_bytes(&plan->tensors[ref.at].type));
    }
  }
}

static bool cpu_run(Program *program, int entry, StepGroup group, int first, int end,
                    Error *error) {
  const Cpu *cpu = program->own;
  int count;
  const PlanStep *steps = program_steps(program, entry, group, &count);
  (void)error;
  if (group == GROUP_PREPARE) {
    prepare(program, entry);
    return true;
  }
  const BoundStep *bound =
      group == GROUP_REFRESH ? cpu->refresh : cpu->entries[entry].groups[group];
  bool profile = program->profile && group == GROUP_STEPS;
  for (int i = first; i < end; i++) {
    if (profile)
      program->entries[entry].starts[i] = monotonic_nanoseconds();
    run_step(program, &steps[i], &bound[i]);
    if (profile)
      program->entries[entry].times[i] =
          monotonic_nanoseconds() - program->entries[entry].starts[i];
  }
  return true;
}

static bool cpu_end(Program *program, int entry, bool updated, Error *error) {
  (void)entry, (void)updated, (void)error;
  pool_leave(program->pool);
  return true;
}

static void *cpu_port(const Program *program, int entry, const PlanPort *port) {
  return address(program, entry, port->ref);
}

static bool cpu_fetch_port(Program *program, int entry, const PlanPort *port, Error *error) {
  (void)program, (void)entry, (void)port, (void)error;
  return true;
}

static bool cpu_fetch_tensor(Program *program, int tensor, Error *error) {
  (void)program, (void)tensor, (void)error;
  return true;
}

static const void *cpu_look(Program *program, int entry, PlanRef ref, int64_t bytes, Error *error) {
  (void)bytes, (void)error;
  return address(program, entry, ref);
}

static void cpu_retire(Program *program, int entry) {
  Region *prepared = &((Cpu *)program->own)->entries[entry].prepared;
  region_release(prepared, 0, prepared->size);
  bool *used = ARENA_ARRAY(program->memory, bool, program->plan->n_tensors + 1);
  if (mark_needed(program, -1, used))
    release_unused(program, used);
}

const Backend backend_cpu = {.open = cpu_open,
                             .close = cpu_close,
                             .begin = cpu_begin,
                             .run = cpu_run,
                             .end = cpu_end,
                             .port = cpu_port,
                             .fetch_port = cpu_fetch_port,
                             .fetch_tensor = cpu_fetch_tensor,
                             .look = cpu_look,
                             .retire = cpu_retire};
