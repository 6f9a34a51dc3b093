/* Copies of programs on a CUDA device. See program_cuda.h.
 *
 * Steps and what they need go to one stream, in order; the host waits for it where it looks at a
 * result and at the end of a run. Inputs pass through the staging buffer, which is page-locked. The
 * next run's can be given while steps run: once this run's have arrived in their places the staging
 * buffer is free, and a stream of its own copies it to the inbox beside the steps.
 */
#include "runtime/cuda/program_cuda_private.h"
#include <string.h>

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

/* Inputs to their places: out of the inbox what was sent ahead, else from the staging buffer. */
static int place_inputs(Program *program, int entry) {
  Cuda *cuda = program->own;
  const PlanEntry *e = &program->plan->entries[entry];
  CudaEntry *own = &cuda->entries[entry];
  int result = 0;
  bool waited = false;
  for (int i = 0; i < e->n_inputs && !result; i++) {
    CudaAddress to = cuda_address(program, entry, e->inputs[i].ref);
    size_t at = own->input_at[i], bytes = (size_t)port_bytes(&e->inputs[i]);
    if (own->sent[i] && !waited)
      result = cuda->driver->stream_wait(cuda->stream, cuda->sent, 0);
    waited |= own->sent[i];
    if (bytes && !result)
      result = own->sent[i]
                   ? cuda->driver->copy_on_device(to, cuda->inbox + at, bytes, cuda->stream)
                   : cuda->driver->copy_to_device(to, cuda->staging + at, bytes, cuda->stream);
    own->sent[i] = false;
  }
  if (!result && cuda->inbox)
    result = cuda->driver->event_record(cuda->taken, cuda->stream, 0);
  return result;
}

bool cuda_begin(Program *program, int entry, Error *error) {
  Cuda *cuda = program->own;
  const PlanEntry *e = &program->plan->entries[entry];
  CudaEntry *own = &cuda->entries[entry];
  int result = cuda->driver->context_current(cuda->device->context);
  memset(own->fetched, 0, sizeof *own->fetched * (size_t)e->n_outputs);
  if (!result && program->touched && !upload_tensors(program, error))
    return false;
  if (!result && !(program->hold && cuda->resident == entry))
    result = place_inputs(program, entry);
  cuda->resident = result ? -1 : entry;
  if (result)
    return cuda_good(cuda->driver, result, "copying inputs to the device", error);
  return !program->profile || cuda_start_clock(program, error);
}

bool cuda_ahead(Program *program, int entry) {
  const Cuda *cuda = program->own;
  bool fits = (int64_t)cuda->entries[entry].inputs_end <= cuda->inbox_bytes;
  return fits && cuda->driver->event_synchronize(cuda->taken) == 0;
}

bool cuda_send(Program *program, int entry, Error *error) {
  const Cuda *cuda = program->own;
  const CudaEntry *own = &cuda->entries[entry];
  for (int e = 0; e < program->plan->n_entries; e++)
    memset(cuda->entries[e].sent, 0, (size_t)program->plan->entries[e].n_inputs);
  int result =
      cuda->driver->copy_to_device(cuda->inbox, cuda->staging, own->inputs_end, cuda->copies);
  if (!result)
    result = cuda->driver->event_record(cuda->sent, cuda->copies, 0);
  memset(own->sent, !result, (size_t)program->plan->entries[entry].n_inputs);
  return cuda_good(cuda->driver, result, "copying inputs to the device", error);
}

/* What failed, where steps show that they did only when the host waits for them. */
enum { PLACE_TEXT = 200 };
static const char *place_text(const Program *program, int entry, char *text) {
  snprintf(text, PLACE_TEXT, "entry point %.60s on %.100s", program->plan->entries[entry].name,
           ((Cuda *)program->own)->device->name);
  return text;
}

/* Inputs that were sent ahead have left the staging buffer too: others may use it now. */
bool cuda_end(Program *program, int entry, bool updated, Error *error) {
  const Cuda *cuda = program->own;
  char what[PLACE_TEXT];
  for (int i = 0; updated && i < program->plan->n_tensors; i++)
    program->current[i] = false;
  int copied = cuda->copies ? cuda->driver->stream_synchronize(cuda->copies) : 0;
  return wait(cuda, place_text(program, entry, what), error) &&
         cuda_good(cuda->driver, copied, "copying inputs to the device", error) &&
         (!program->profile || cuda_read_times(program, entry, error));
}

/* Who asks for an input may change it. */
void *cuda_port(const Program *program, int entry, const PlanPort *port) {
  const Cuda *cuda = program->own;
  const PlanEntry *e = &program->plan->entries[entry];
  const CudaEntry *own = &cuda->entries[entry];
  bool input = port >= e->inputs && port < e->inputs + e->n_inputs;
  if (input)
    own->sent[port - e->inputs] = false;
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

bool cuda_fetch_port(Program *program, int entry, const PlanPort *port, Error *error) {
  Cuda *cuda = program->own;
  char what[PLACE_TEXT];
  bool *fetched = &cuda->entries[entry].fetched[port - program->plan->entries[entry].outputs];
  if (!*fetched)
    *fetched =
        copy_out(cuda, cuda_port(program, entry, port), cuda_address(program, entry, port->ref),
                 (size_t)port_bytes(port), place_text(program, entry, what), error);
  return *fetched;
}

bool cuda_fetch_tensor(Program *program, int tensor, Error *error) {
  program->current[tensor] = copy_out(
      program->own, program->tensors[tensor],
      cuda_address(program, -1, (PlanRef){PLACE_PERSISTENT, tensor}),
      type_bytes(&program->plan->tensors[tensor].type), "copying weights from the device", error);
  return program->current[tensor];
}

const void *cuda_look(Program *program, int entry, PlanRef ref, int64_t bytes, Error *error) {
  Cuda *cuda = program->own;
  cuda->looked = mem_resize(cuda->looked, (size_t)bytes + 1);
  bool good = copy_out(cuda, cuda->looked, cuda_address(program, entry, ref), (size_t)bytes,
                       "copying a result from the device", error);
  return good ? cuda->looked : NULL;
}
