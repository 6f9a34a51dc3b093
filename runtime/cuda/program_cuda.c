/* Memory, code and copies of programs on a CUDA device. See program_cuda.h.
 *
 * All work of a program goes to one stream, in order; the host waits for it where it looks at a
 * result and at the end of a run. So the staging buffer is free again when a run has ended.
 */
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

int64_t cuda_program_bytes(const Plan *plan) {
  return plan_persistent_bytes(plan) + plan_arena_bytes(plan) + prepared_bytes(plan);
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

/* Places of ports in the staging buffer; the bytes they take. */
static size_t place_ports(Arena *memory, const PlanEntry *entry, CudaEntry *e) {
  size_t bytes = 0;
  e->input_at = ARENA_ARRAY(memory, size_t, entry->n_inputs);
  e->output_at = ARENA_ARRAY(memory, size_t, entry->n_outputs);
  e->fetched = ARENA_ARRAY(memory, bool, entry->n_outputs + 1);
  for (int i = 0; i < entry->n_inputs; i++) {
    e->input_at[i] = bytes;
    bytes += aligned((size_t)port_bytes(&entry->inputs[i]));
  }
  for (int i = 0; i < entry->n_outputs; i++) {
    e->output_at[i] = bytes;
    bytes += aligned((size_t)port_bytes(&entry->outputs[i]));
  }
  return bytes;
}

static bool take_memory(Program *program, Error *error) {
  const Plan *plan = program->plan;
  Cuda *cuda = program->own;
  size_t staging = 0;
  int64_t persistent = plan_persistent_bytes(plan);
  if (!is_enough(program, error) ||
      !take(cuda, persistent, "the model", &cuda->persistent, error) ||
      !take(cuda, plan_arena_bytes(plan), "the arena", &cuda->arena, error) ||
      !take(cuda, prepared_bytes(plan), "the derived weights", &cuda->prepared, error))
    return false;
  CudaAddress at = cuda->prepared;
  for (int e = 0; e < plan->n_entries; e++) {
    size_t bytes = place_ports(program->memory, &plan->entries[e], &cuda->entries[e]);
    staging = bytes > staging ? bytes : staging;
    cuda->entries[e].prepared = at;
    at += aligned((size_t)plan->entries[e].prepared_bytes);
  }
  void *buffer = NULL;
  bool good = !staging || cuda_good(cuda->driver, cuda->driver->host_alloc(&buffer, staging, 0),
                                    "no page-locked memory for inputs and outputs", error);
  cuda->staging = buffer;
  return good;
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
      !cuda_good(cuda->driver, cuda->driver->stream_create(&cuda->stream, NON_BLOCKING),
                 "opening the CUDA device", error))
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
  if (cuda->stream)
    driver->stream_destroy(cuda->stream);
  CudaAddress taken[] = {cuda->persistent, cuda->arena, cuda->prepared};
  for (int i = 0; i < 3; i++)
    if (taken[i])
      driver->memory_free(taken[i]);
  if (cuda->staging)
    driver->host_free(cuda->staging);
  if (cuda->module)
    driver->module_unload(cuda->module);
  free(cuda->looked);
}

/* ---- copies ---- */

static bool wait(const Cuda *cuda, const char *what, Error *error) {
  return cuda_good(cuda->driver, cuda->driver->stream_synchronize(cuda->stream), what, error);
}

/* Views are computed anew whenever tensors were written from outside. */
static bool upload_tensors(Program *program, Error *error) {
  const Plan *plan = program->plan;
  Cuda *cuda = program->own;
  int result = 0;
  for (int i = 0; i < plan->n_tensors && !result; i++) {
    size_t bytes = type_bytes(&plan->tensors[i].type);
    if (program->current[i] && plan->tensors[i].role != PLAN_VIEW && bytes)
      result =
          cuda->driver->copy_to_device(cuda_address(program, -1, (PlanRef){PLACE_PERSISTENT, i}),
                                       program->tensors[i], bytes, cuda->stream);
  }
  program->touched = result != 0;
  return cuda_good(cuda->driver, result, "copying weights to the device", error);
}

static bool cuda_begin(Program *program, int entry, Error *error) {
  Cuda *cuda = program->own;
  const PlanEntry *e = &program->plan->entries[entry];
  CudaEntry *own = &cuda->entries[entry];
  int result = cuda->driver->context_current(cuda->device->context);
  memset(own->fetched, 0, sizeof *own->fetched * (size_t)e->n_outputs);
  if (!result && program->touched && !upload_tensors(program, error))
    return false;
  bool there = program->hold && cuda->resident == entry;
  for (int i = 0; i < e->n_inputs && !there && !result; i++)
    if (port_bytes(&e->inputs[i]))
      result = cuda->driver->copy_to_device(cuda_address(program, entry, e->inputs[i].ref),
                                            cuda->staging + own->input_at[i],
                                            (size_t)port_bytes(&e->inputs[i]), cuda->stream);
  cuda->resident = result ? -1 : entry;
  if (result)
    return cuda_good(cuda->driver, result, "copying inputs to the device", error);
  return !program->profile || cuda_start_clock(program, error);
}

/* What failed, where steps show that they did only when the host waits for them. */
enum { PLACE_TEXT = 200 };
static const char *place_text(const Program *program, int entry, char *text) {
  snprintf(text, PLACE_TEXT, "entry point %.60s on %.100s", program->plan->entries[entry].name,
           ((Cuda *)program->own)->device->name);
  return text;
}

static bool cuda_end(Program *program, int entry, bool updated, Error *error) {
  char what[PLACE_TEXT];
  for (int i = 0; updated && i < program->plan->n_tensors; i++)
    program->current[i] = false;
  return wait(program->own, place_text(program, entry, what), error) &&
         (!program->profile || cuda_read_times(program, entry, error));
}

static void *cuda_port(const Program *program, int entry, const PlanPort *port) {
  const Cuda *cuda = program->own;
  const PlanEntry *e = &program->plan->entries[entry];
  const CudaEntry *own = &cuda->entries[entry];
  bool input = port >= e->inputs && port < e->inputs + e->n_inputs;
  return cuda->staging +
         (input ? own->input_at[port - e->inputs] : own->output_at[port - e->outputs]);
}

static bool copy_out(Cuda *cuda, void *to, CudaAddress from, size_t bytes, const char *what,
                     Error *error) {
  int result = cuda->driver->context_current(cuda->device->context);
  if (!result && bytes)
    result = cuda->driver->copy_to_host(to, from, bytes, cuda->stream);
  return cuda_good(cuda->driver, result, what, error) && wait(cuda, what, error);
}

static bool cuda_fetch_port(Program *program, int entry, const PlanPort *port, Error *error) {
  Cuda *cuda = program->own;
  char what[PLACE_TEXT];
  bool *fetched = &cuda->entries[entry].fetched[port - program->plan->entries[entry].outputs];
  if (!*fetched)
    *fetched =
        copy_out(cuda, cuda_port(program, entry, port), cuda_address(program, entry, port->ref),
                 (size_t)port_bytes(port), place_text(program, entry, what), error);
  return *fetched;
}

static bool cuda_fetch_tensor(Program *program, int tensor, Error *error) {
  program->current[tensor] = copy_out(
      program->own, program->tensors[tensor],
      cuda_address(program, -1, (PlanRef){PLACE_PERSISTENT, tensor}),
      type_bytes(&program->plan->tensors[tensor].type), "copying weights from the device", error);
  return program->current[tensor];
}

static const void *cuda_look(Program *program, int entry, PlanRef ref, int64_t bytes,
                             Error *error) {
  Cuda *cuda = program->own;
  cuda->looked = mem_resize(cuda->looked, (size_t)bytes + 1);
  bool good = copy_out(cuda, cuda->looked, cuda_address(program, entry, ref), (size_t)bytes,
                       "copying a result from the device", error);
  return good ? cuda->looked : NULL;
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
                                     .retire = cuda_retire,
                                     .measure = cuda_measure};

bool cuda_program_open(Program **program, const Plan *plan, const CudaCode *code, int threads,
                       Error *error) {
  return program_open_on(program, plan, &backend_cuda, code, threads, error);
}
