/* Memory and code of programs on a CUDA device. See program_cuda.h; copies are in
 * program_cuda_copies.c, steps in program_cuda_run.c. */
#include "runtime/base/text.h"
#include "runtime/cuda/program_cuda_private.h"
#include <stdlib.h>
#include <string.h>

enum { PLACE = 256 }; /* alignment in the staging buffer and of prepared memory */
enum { ORDINARY_SHARED = 48 << 10, MOST_SHARED = 8 /* attribute of a function */ };
enum { LOG_BUFFER = 5, LOG_SIZE = 6 /* options of loading an image */, NON_BLOCKING = 1 };

static size_t aligned(size_t bytes) { return (bytes + PLACE - 1) / PLACE * PLACE; }

static int64_t prepared_bytes(const Plan *plan) {
  int64_t bytes = 0;
  for (int e = 0; e < plan->n_entries; e++)
    bytes += (int64_t)aligned((size_t)plan->entries[e].prepared_bytes);
  return bytes;
}

/* Of the largest inputs of an entry point that updates: one that runs again and again. */
static int64_t inbox_bytes(const Plan *plan) {
  int64_t most = 0;
  for (int e = 0; e < plan->n_entries; e++) {
    int64_t bytes = 0;
    for (int i = 0; i < plan->entries[e].n_inputs; i++)
      bytes += (int64_t)aligned((size_t)port_bytes(&plan->entries[e].inputs[i]));
    if (plan->entries[e].updates && bytes > most)
      most = bytes;
  }
  return most;
}

int64_t cuda_program_bytes(const Plan *plan) {
  return plan_persistent_bytes(plan) + plan_arena_bytes(plan) + prepared_bytes(plan) +
         inbox_bytes(plan);
}

CudaAddress cuda_address(const Program *program, int entry, PlanRef ref) {
  const Cuda *cuda = program->own;
  switch (ref.place) {
  case PLACE_PERSISTENT:
    return cuda->persistent +
           (CudaAddress)((unsigned char *)program->tensors[ref.at] - program->persistent.at);
  case PLACE_ARENA: return cuda->arena + (CudaAddress)ref.at;
  case PLACE_PREPARED: return cuda->entries[entry].prepared + (CudaAddress)ref.at;
  }
  FAULT("place %d", (int)ref.place);
}

/* ---- code ---- */

static void shared_of_kernels(const Program *program, int64_t *bytes) {
  const Plan *plan = program->plan;
  for (int e = -1; e < plan->n_entries; e++)
    for (StepGroup group = GROUP_REFRESH; group <= GROUP_STEPS; group++) {
      int count = 0;
      bool own = group == GROUP_REFRESH;
      const PlanStep *steps = own == (e < 0) ? program_steps(program, e, group, &count) : NULL;
      for (int i = 0; i < count; i++)
        if (steps[i].kind == STEP_KERNEL && steps[i].shared_bytes > bytes[steps[i].kernel])
          bytes[steps[i].kernel] = steps[i].shared_bytes;
    }
}

static bool find_functions(Program *program, Error *error) {
  const Plan *plan = program->plan;
  Cuda *cuda = program->own;
  cuda->functions = ARENA_ARRAY(program->memory, CudaFunction, plan->n_kernels + 1);
  int64_t *shared = ARENA_ARRAY(program->memory, int64_t, plan->n_kernels + 1);
  shared_of_kernels(program, shared);
  for (int i = 0; i < plan->n_kernels; i++) {
    CudaFunction *function = &cuda->functions[i];
    if (cuda->driver->module_function(function, cuda->module, plan->kernels[i]) != 0)
      return program_no_kernel(plan, i, error);
    if (shared[i] > ORDINARY_SHARED &&
        cuda->driver->function_set(*function, MOST_SHARED, (int)shared[i]) != 0)
      return error_set(error, "kernel %.200s wants %lld bytes of shared memory, %.100s has %lld",
                       plan->kernels[i], (long long)shared[i], cuda->device->name,
                       (long long)cuda->device->shared_bytes);
  }
  return true;
}

bool cuda_no_image(const CudaCode *code, Error *error) {
  Text names = {0};
  char name[CUDA_ARCH_TEXT], device[CUDA_ARCH_TEXT];
  CudaArch arch = {code->device->capability, 0};
  for (int i = 0; i < code->n_images; i++)
    text_add(&names, "%s%s", i ? ", " : "",
             cuda_arch_text(code->images[i].arch, code->images[i].ptx, name));
  error_set(error, "%.100s is %s, this program has code for %.500s", code->device->name,
            cuda_arch_text(arch, false, device), names.size ? names.at : "no device");
  text_free(&names);
  return false;
}

static bool load_code(Program *program, const CudaCode *code, Error *error) {
  Cuda *cuda = program->own;
  char log[800] = "", what[160];
  int options[] = {LOG_BUFFER, LOG_SIZE};
  void *values[] = {log, (void *)(uintptr_t)(sizeof log - 1)};
  int chosen = cuda_image_choose(code->images, code->n_images, code->device->capability);
  if (chosen < 0)
    return cuda_no_image(code, error);
  const CudaImage *image = &code->images[chosen];
  char name[CUDA_ARCH_TEXT];
  snprintf(what, sizeof what, "loading code for %s on %.100s",
           cuda_arch_text(image->arch, image->ptx, name), code->device->name);
  Error inner;
  int result = cuda->driver->module_load(&cuda->module, image->data, 2, options, values);
  if (!cuda_good(cuda->driver, result, what, &inner))
    return error_set(error, "%.300s%s%.600s", inner.text, *log ? "\n" : "", log);
  return find_functions(program, error);
}

/* ---- memory ---- */

static bool is_enough(const Program *program, Error *error) {
  const Plan *plan = program->plan;
  const CudaDevice *device = ((Cuda *)program->own)->device;
  int64_t needed = cuda_program_bytes(plan), left;
  char all[32], weights[32], arena[32], derived[32], have[32];
  if (!cuda_device_free(device, &left, error))
    return false;
  if (needed <= left)
    return true;
  const PlanEntry *largest = &plan->entries[0];
  for (int e = 1; e < plan->n_entries; e++)
    if (plan->entries[e].arena_bytes > largest->arena_bytes)
      largest = &plan->entries[e];
  bytes_text((double)needed, all, sizeof all);
  bytes_text((double)plan_persistent_bytes(plan), weights, sizeof weights);
  bytes_text((double)plan_arena_bytes(plan), arena, sizeof arena);
  bytes_text((double)prepared_bytes(plan), derived, sizeof derived);
  bytes_text((double)left, have, sizeof have);
  return error_set(
      error,
      "no memory: the program needs %s (weights and state %s, working memory of %.100s "
      "%s, derived weights %s), CUDA device %d (%.100s) has %s free",
      all, weights, largest->name, arena, derived, device->number, device->name, have);
}

static bool take(const Cuda *cuda, int64_t bytes, const char *what, CudaAddress *at, Error *error) {
  *at = 0;
  char words[128], amount[32];
  bytes_text((double)bytes, amount, sizeof amount);
  snprintf(words, sizeof words, "no memory: %s needs %s", what, amount);
  return bytes == 0 ||
         cuda_good(cuda->driver, cuda->driver->memory_alloc(at, (size_t)bytes), words, error);
}

/* Places of inputs in the staging buffer, from its beginning; where they end. */
static size_t place_inputs(Arena *memory, const PlanEntry *entry, CudaEntry *e) {
  size_t bytes = 0;
  e->input_at = ARENA_ARRAY(memory, size_t, entry->n_inputs);
  e->sent = ARENA_ARRAY(memory, bool, entry->n_inputs + 1);
  for (int i = 0; i < entry->n_inputs; i++) {
    e->input_at[i] = bytes;
    bytes += aligned((size_t)port_bytes(&entry->inputs[i]));
  }
  return e->inputs_end = bytes;
}

/* Outputs lie behind the inputs of all entry points: they are fetched while another's inputs may
 * be on their way. */
static size_t place_outputs(Arena *memory, const PlanEntry *entry, CudaEntry *e, size_t from) {
  e->output_at = ARENA_ARRAY(memory, size_t, entry->n_outputs);
  e->fetched = ARENA_ARRAY(memory, bool, entry->n_outputs + 1);
  for (int i = 0; i < entry->n_outputs; i++) {
    e->output_at[i] = from;
    from += aligned((size_t)port_bytes(&entry->outputs[i]));
  }
  return from;
}

/* The size of the staging buffer. */
static size_t place_ports(Program *program) {
  const Plan *plan = program->plan;
  CudaEntry *entries = ((Cuda *)program->own)->entries;
  size_t inputs = 0, end = 0;
  for (int e = 0; e < plan->n_entries; e++) {
    size_t bytes = place_inputs(program->memory, &plan->entries[e], &entries[e]);
    inputs = bytes > inputs ? bytes : inputs;
  }
  for (int e = 0; e < plan->n_entries; e++) {
    size_t bytes = place_outputs(program->memory, &plan->entries[e], &entries[e], inputs);
    end = bytes > end ? bytes : end;
  }
  return end;
}

static bool take_memory(Program *program, Error *error) {
  const Plan *plan = program->plan;
  Cuda *cuda = program->own;
  size_t staging = place_ports(program);
  int64_t persistent = plan_persistent_bytes(plan);
  if (!is_enough(program, error) ||
      !take(cuda, persistent, "the model", &cuda->persistent, error) ||
      !take(cuda, plan_arena_bytes(plan), "the arena", &cuda->arena, error) ||
      !take(cuda, prepared_bytes(plan), "the derived weights", &cuda->prepared, error) ||
      !take(cuda, inbox_bytes(plan), "inputs of the next step", &cuda->inbox, error))
    return false;
  cuda->inbox_bytes = inbox_bytes(plan);
  CudaAddress at = cuda->prepared;
  for (int e = 0; e < plan->n_entries; e++) {
    cuda->entries[e].prepared = at;
    at += aligned((size_t)plan->entries[e].prepared_bytes);
  }
  void *buffer = NULL;
  bool good = !staging || cuda_good(cuda->driver, cuda->driver->host_alloc(&buffer, staging, 0),
                                    "no page-locked memory for inputs and outputs", error);
  cuda->staging = buffer;
  return good;
}

static bool open_streams(Cuda *cuda, Error *error) {
  const CudaDriver *driver = cuda->driver;
  int result = driver->stream_create(&cuda->stream, NON_BLOCKING);
  if (!result && cuda->inbox)
    result = driver->stream_create(&cuda->copies, NON_BLOCKING);
  if (!result && cuda->inbox)
    result = driver->event_create(&cuda->sent, 0);
  if (!result && cuda->inbox)
    result = driver->event_create(&cuda->taken, 0);
  return cuda_good(driver, result, "opening the CUDA device", error);
}

static bool cuda_open(Program *program, const void *options, Error *error) {
  const CudaCode *code = options;
  const Plan *plan = program->plan;
  Cuda *cuda = ARENA_NEW(program->memory, Cuda);
  *cuda = (Cuda){.device = code->device, .driver = code->device->driver, .resident = -1};
  program->device = (ProgramDevice){.name = code->device->name, .l2_bytes = code->device->l2_bytes};
  cuda->entries = ARENA_ARRAY(program->memory, CudaEntry, plan->n_entries);
  program->own = cuda;
  if (!cuda_good(cuda->driver, cuda->driver->context_current(cuda->device->context),
                 "opening the CUDA device", error) ||
      !load_code(program, code, error) || !take_memory(program, error) ||
      !open_streams(cuda, error))
    return false;
  cuda->refresh = cuda_bind_steps(program, -1, GROUP_REFRESH);
  for (int e = 0; e < plan->n_entries; e++)
    if (!cuda_capture_entry(program, e, error))
      return false;
  return true;
}

static void cuda_close(Program *program) {
  Cuda *cuda = program->own;
  if (!cuda)
    return;
  const CudaDriver *driver = cuda->driver;
  for (int e = 0; e < program->plan->n_entries; e++)
    cuda_release_entry(program, e);
  for (int i = 0; i < cuda->n_events; i++)
    driver->event_destroy(cuda->events[i]);
  for (int i = 0; i < 2; i++)
    if (i ? cuda->taken : cuda->sent)
      driver->event_destroy(i ? cuda->taken : cuda->sent);
  for (int i = 0; i < 2; i++)
    if (i ? cuda->copies : cuda->stream)
      driver->stream_destroy(i ? cuda->copies : cuda->stream);
  CudaAddress taken[] = {cuda->persistent, cuda->arena, cuda->prepared, cuda->inbox};
  for (int i = 0; i < 4; i++)
    if (taken[i])
      driver->memory_free(taken[i]);
  if (cuda->staging)
    driver->host_free(cuda->staging);
  if (cuda->module)
    driver->module_unload(cuda->module);
  free(cuda->looked);
}

/* Memory of the device goes back as a whole. */
static void cuda_retire(Program *program, int entry) { (void)program, (void)entry; }

static const Backend backend_cuda = {.open = cuda_open,
                                     .close = cuda_close,
                                     .begin = cuda_begin,
                                     .run = cuda_run,
                                     .end = cuda_end,
                                     .port = cuda_port,
                                     .fetch_port = cuda_fetch_port,
                                     .fetch_tensor = cuda_fetch_tensor,
                                     .look = cuda_look,
                                     .ahead = cuda_ahead,
                                     .send = cuda_send,
                                     .retire = cuda_retire,
                                     .measure = cuda_measure};

bool cuda_program_open(Program **program, const Plan *plan, const CudaCode *code, int threads,
                       Error *error) {
  return program_open_on(program, plan, &backend_cuda, code, threads, error);
}
