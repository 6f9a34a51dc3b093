// Reads and verifies a plan. C++ only because flatbuffers is: no exceptions, no RTTI, nothing of
// the standard library, so that the runtime links with a C compiler.
//
// In: bytes from anywhere, trusted in nothing. Out: the structs of plan.h in which every index and
// offset is in range. The flatbuffers verifier makes the buffer safe to walk; the functions below
// check what it says.
#include "plan_generated.h"

extern "C" {
#include "runtime/base/map.h"
#include "runtime/plan.h"
#include "runtime/plan_format.h"
#include <string.h>
}

namespace {
namespace fb = tricot::fb;

constexpr int64_t MAX_BYTES = int64_t(1) << 46; // of any one memory: offsets never overflow
constexpr int MAX_THREADS = 1024, MAX_SHARED = 1 << 20; // of a block, more than any device has
constexpr int MAX_DEPTH = 8, MAX_TABLES = 1 << 24;

struct Reader {
  Arena *arena;
  Plan *plan;
  Error *error;

  bool refuse(const char *what, const char *name) const {
    return error_set(error, "plan: error: %s: \"%.200s\"", what, name);
  }
};

template <class V> int count_of(const V *vector) { return vector ? int(vector->size()) : 0; }

const char *text_of(const flatbuffers::String *text) { return text ? text->c_str() : ""; }

// The verifier checks that a vector's length is aligned, but not its wider elements.
template <class V> bool aligned(const V *vector) {
  return !vector || !vector->size() ||
         reinterpret_cast<uintptr_t>(vector->Data()) % alignof(int64_t) == 0;
}

bool read_type(const Reader &r, const fb::Type *in, const char *name, Type *out) {
  int rank = count_of(in->dims());
  if (in->dtype() >= DT_COUNT || rank > MAX_RANK || !aligned(in->dims()))
    return r.refuse("unknown element type or too many dimensions", name);
  out->dtype = Dtype(in->dtype());
  out->rank = rank;
  int64_t room = MAX_BYTES / int64_t(dtype_size(out->dtype));
  for (int i = 0; i < rank; i++) {
    int64_t n = in->dims()->Get(uint32_t(i));
    if (n < 0 || n > room)
      return r.refuse("impossible shape", name);
    if (n > 1)
      room /= n;
    out->dim[i] = n;
  }
  return true;
}

bool read_tensor(const Reader &r, const fb::Tensor *in, PlanTensor *out) {
  out->name = in->name()->c_str();
  if (in->role() > PLAN_VIEW || in->init() > PLAN_TRUNCATED)
    return r.refuse("unknown role or initialiser", out->name);
  out->role = PlanRole(in->role());
  out->init = PlanInit(in->init());
  out->init_a = in->init_a();
  out->init_b = in->init_b();
  return read_type(r, in->type(), out->name, &out->type);
}

// `bytes` from the reference on must exist.
bool read_ref(const Reader &r, const PlanEntry *entry, const fb::Ref *in, int64_t bytes,
              const char *name, PlanRef *out) {
  out->place = PlanPlace(in->place());
  out->at = in->at();
  int64_t from = out->at, room;
  if (in->place() == PLACE_PERSISTENT) {
    if (out->at < 0 || out->at >= r.plan->n_tensors)
      return r.refuse("reference to a tensor that is not there", name);
    from = 0;
    room = int64_t(type_bytes(&r.plan->tensors[out->at].type));
  } else if (in->place() == PLACE_ARENA) {
    room = entry->arena_bytes;
  } else if (in->place() == PLACE_PREPARED) {
    room = entry->prepared_bytes;
  } else {
    return r.refuse("unknown place", name);
  }
  if (from < 0 || from > room || bytes > room - from)
    return r.refuse("reference outside its memory", name);
  return true;
}

bool read_gather(const Reader &r, const fb::Gather *in, PlanPort *port) {
  Gather *gather = ARENA_NEW(r.arena, Gather);
  int rank = port->type.rank, n = count_of(in->boxes());
  GatherBox *boxes = ARENA_ARRAY(r.arena, GatherBox, n);
  *gather = Gather{port->type, in->elements(), in->gaps(), n, boxes};
  for (int i = 0; i < n; i++) {
    const fb::Box *box = in->boxes()->Get(uint32_t(i));
    if (!aligned(box->axes()) || count_of(box->axes()) != 4 * rank)
      return r.refuse("a box of another number of axes", port->name);
    boxes[i].at = box->at();
    int64_t *parts[] = {boxes[i].start, boxes[i].step, boxes[i].count, boxes[i].stride};
    for (int k = 0; k < 4 * rank; k++)
      parts[k / rank][k % rank] = box->axes()->Get(uint32_t(k));
  }
  Error inner;
  port->gather = gather;
  if (gather->elements > MAX_BYTES / 8 || !gather_check(gather, &inner))
    return r.refuse("its part cannot be gathered", port->name);
  return true;
}

bool read_ports(const Reader &r, const PlanEntry *entry,
                const flatbuffers::Vector<flatbuffers::Offset<fb::Port>> *in, bool inputs,
                int *count, const PlanPort **ports) {
  int n = count_of(in);
  PlanPort *out = ARENA_ARRAY(r.arena, PlanPort, n);
  Map names;
  map_init(&names, r.arena);
  for (int i = 0; i < n; i++) {
    const fb::Port *port = in->Get(uint32_t(i));
    out[i].name = port->name()->c_str();
    out[i].tap = port->tap();
    if (map_get(&names, out[i].name))
      return r.refuse("two ports of one entry have the same name", out[i].name);
    map_set(&names, out[i].name, &out[i]);
    if (port->gather() && !inputs)
      return r.refuse("only inputs are gathered, not", out[i].name);
    if (!read_type(r, port->type(), out[i].name, &out[i].type) ||
        (port->gather() && !read_gather(r, port->gather(), &out[i])) ||
        !read_ref(r, entry, port->ref(), port_bytes(&out[i]), out[i].name, &out[i].ref))
      return false;
    if (out[i].ref.place != PLACE_PERSISTENT &&
        out[i].ref.at % int64_t(dtype_size(out[i].type.dtype)) != 0)
      return r.refuse("misaligned port", out[i].name);
  }
  *count = n;
  *ports = out;
  return true;
}

bool read_results(const Reader &r, const fb::Step *in, PlanStep *out) {
  if (!aligned(in->results()))
    return r.refuse("misaligned results", out->label);
  out->n_results = count_of(in->results());
  PlanResult *results = ARENA_ARRAY(r.arena, PlanResult, out->n_results);
  for (int i = 0; i < out->n_results; i++) {
    const fb::Result *result = in->results()->Get(uint32_t(i));
    if (result->dtype() != DT_f32 && result->dtype() != DT_bf16)
      return r.refuse("a result of another element type", out->label);
    results[i] = PlanResult{result->arg(), result->elements(), Dtype(result->dtype())};
    if (results[i].arg < 0 || results[i].arg >= out->n_args)
      return r.refuse("a result is no argument of its step", out->label);
  }
  out->results = results;
  return true;
}

// Whoever looks at results reads them: they must lie in their memory as a whole.
bool check_results(const Reader &r, const PlanEntry *entry, const fb::Step *in,
                   const PlanStep *step) {
  for (int i = 0; i < step->n_results; i++) {
    PlanRef ref;
    int64_t elements = step->results[i].elements;
    int64_t size = int64_t(dtype_size(step->results[i].dtype));
    if (elements < 0 || elements > MAX_BYTES / 4 ||
        !read_ref(r, entry, in->args()->Get(uint32_t(step->results[i].arg)), size * elements,
                  step->label, &ref))
      return r.refuse("a result outside its memory", step->label);
  }
  return true;
}

bool read_moved(const Reader &r, const fb::Step *in, PlanStep *out) {
  int n = count_of(in->moved());
  if (!n)
    return true;
  if (!aligned(in->moved()) || n != out->n_args)
    return r.refuse("bytes of other arguments than the step has", out->label);
  int64_t *moved = ARENA_ARRAY(r.arena, int64_t, n);
  for (int i = 0; i < n; i++) {
    moved[i] = in->moved()->Get(uint32_t(i));
    if (moved[i] < 0 || moved[i] > MAX_BYTES)
      return r.refuse("impossible size of an argument", out->label);
  }
  out->moved = moved;
  return true;
}

bool read_step(const Reader &r, const PlanEntry *entry, const fb::Step *in, bool prepare,
               PlanStep *out) {
  const char *name = out->label = text_of(in->label());
  out->place = text_of(in->place());
  out->kernel = in->kernel();
  out->blocks = in->blocks();
  out->bytes = in->bytes();
  out->flops = in->flops();
  out->traffic = in->traffic();
  out->paired_flops = in->paired_flops();
  out->open_flops = in->open_flops();
  out->conversion = in->conversion();
  out->threads = in->threads();
  out->shared_bytes = in->shared_bytes();
  out->n_args = count_of(in->args());
  if (in->kind() > STEP_ALL_REDUCE || !aligned(in->args()))
    return r.refuse("unknown kind of step", name);
  out->kind = PlanStepKind(in->kind());
  bool kernel = out->kind == STEP_KERNEL;
  if (kernel && (out->kernel < 0 || out->kernel >= r.plan->n_kernels))
    return r.refuse("step names a kernel that is not there", name);
  if (out->kind == STEP_COPY && out->n_args != 2)
    return r.refuse("a copy has a source and a destination", name);
  if (out->blocks < 0 || out->bytes < 0)
    return r.refuse("negative size of a step", name);
  if (out->threads < 0 || out->threads > MAX_THREADS || out->shared_bytes < 0 ||
      out->shared_bytes > MAX_SHARED)
    return r.refuse("impossible size of a block", name);
  PlanRef *args = ARENA_ARRAY(r.arena, PlanRef, out->n_args);
  for (int i = 0; i < out->n_args; i++) {
    if (!read_ref(r, entry, in->args()->Get(uint32_t(i)), kernel ? 0 : out->bytes, name, &args[i]))
      return false;
    // the caller has filled inputs in the arena by the time prepare steps run
    if (prepare && args[i].place == PLACE_ARENA)
      return r.refuse("prepare step uses the arena", name);
  }
  out->args = args;
  return read_moved(r, in, out) && read_results(r, in, out) && check_results(r, entry, in, out);
}

bool read_steps(const Reader &r, const PlanEntry *entry,
                const flatbuffers::Vector<flatbuffers::Offset<fb::Step>> *in, bool prepare,
                int *count, const PlanStep **steps) {
  int n = count_of(in);
  PlanStep *out = ARENA_ARRAY(r.arena, PlanStep, n);
  for (int i = 0; i < n; i++)
    if (!read_step(r, entry, in->Get(uint32_t(i)), prepare, &out[i]))
      return false;
  *count = n;
  *steps = out;
  return true;
}

bool read_entry(const Reader &r, const fb::Entry *in, PlanEntry *out) {
  out->name = in->name()->c_str();
  out->arena_bytes = in->arena_bytes();
  out->prepared_bytes = in->prepared_bytes();
  out->updates = in->updates();
  out->guard = in->guard();
  out->outdates = in->outdates();
  out->budget_bytes = in->budget_bytes();
  out->saved_bytes = in->saved_bytes();
  out->recomputed = in->recomputed();
  out->recomputed_flops = in->recomputed_flops();
  if (out->arena_bytes < 0 || out->arena_bytes > MAX_BYTES || out->prepared_bytes < 0 ||
      out->prepared_bytes > MAX_BYTES)
    return r.refuse("impossible memory size", out->name);
  return read_ports(r, out, in->inputs(), true, &out->n_inputs, &out->inputs) &&
         read_ports(r, out, in->outputs(), false, &out->n_outputs, &out->outputs) &&
         read_steps(r, out, in->prepare(), true, &out->n_prepare, &out->prepare) &&
         read_steps(r, out, in->steps(), false, &out->n_steps, &out->steps) &&
         ((out->guard >= 0 && out->guard <= out->n_steps) ||
          r.refuse("the guard is behind the last step", out->name));
}

bool read_tables(const Reader &r, const fb::Plan *in) {
  Plan *plan = r.plan;
  int n = count_of(in->tensors());
  Map names;
  map_init(&names, r.arena);
  PlanTensor *tensors = ARENA_ARRAY(r.arena, PlanTensor, n);
  int64_t total = 0;
  for (int i = 0; i < n; i++) {
    if (!read_tensor(r, in->tensors()->Get(uint32_t(i)), &tensors[i]))
      return false;
    if (map_get(&names, tensors[i].name))
      return r.refuse("two tensors have the same name", tensors[i].name);
    map_set(&names, tensors[i].name, &tensors[i]);
    total += int64_t(type_bytes(&tensors[i].type)) + PLAN_ALIGNMENT;
    if (total > MAX_BYTES)
      return r.refuse("the tensors are larger than any memory, at", tensors[i].name);
  }
  plan->tensors = tensors;
  plan->n_tensors = n;

  n = count_of(in->kernels());
  const char **kernels = ARENA_ARRAY(r.arena, const char *, n);
  for (int i = 0; i < n; i++)
    kernels[i] = in->kernels()->Get(uint32_t(i))->c_str();
  plan->kernels = kernels;
  plan->n_kernels = n;

  n = count_of(in->settings());
  PlanPair *settings = ARENA_ARRAY(r.arena, PlanPair, n);
  for (int i = 0; i < n; i++) {
    const fb::Pair *pair = in->settings()->Get(uint32_t(i));
    settings[i] = PlanPair{pair->key()->c_str(), pair->value()->c_str()};
  }
  plan->settings = settings;
  plan->n_settings = n;
  return true;
}

// Steps of no entry point: they have nothing but persistent tensors.
bool read_refresh(const Reader &r, const fb::Plan *in) {
  PlanEntry none = {};
  if (!read_steps(r, &none, in->refresh(), true, &r.plan->n_refresh, &r.plan->refresh))
    return false;
  for (int i = 0; i < r.plan->n_refresh; i++)
    for (int k = 0; k < r.plan->refresh[i].n_args; k++)
      if (r.plan->refresh[i].args[k].place != PLACE_PERSISTENT)
        return r.refuse("a step that refreshes has an argument that does not persist",
                        r.plan->refresh[i].label);
  return true;
}

bool read_plan(const Reader &r, const fb::Plan *in) {
  Plan *plan = r.plan;
  plan->model = text_of(in->model());
  plan->variant = text_of(in->variant());
  plan->level = text_of(in->level());
  plan->precision = text_of(in->precision());
  if (!read_tables(r, in))
    return false;
  int n = count_of(in->entries());
  PlanEntry *entries = ARENA_ARRAY(r.arena, PlanEntry, n);
  Map names;
  map_init(&names, r.arena);
  for (int i = 0; i < n; i++) {
    if (!read_entry(r, in->entries()->Get(uint32_t(i)), &entries[i]))
      return false;
    if (map_get(&names, entries[i].name))
      return r.refuse("two entry points have the same name", entries[i].name);
    map_set(&names, entries[i].name, &entries[i]);
  }
  plan->entries = entries;
  plan->n_entries = n;
  return read_refresh(r, in);
}

// The header's promises, and the checksum.
bool check_header(const PlanHeader &header, const unsigned char *buffer, size_t size,
                  Error *error) {
  if (memcmp(header.magic, PLAN_MAGIC, sizeof header.magic) != 0)
    return error_set(error, "plan: error: these bytes are not a plan");
  if (header.version != PLAN_VERSION)
    return error_set(error,
                     "plan: error: version %u, this program reads version %d: compile the "
                     "model again",
                     header.version, PLAN_VERSION);
  if (header.reserved != 0 || header.size != size)
    return error_set(error, "plan: error: the header is damaged or %zu bytes are not all of it",
                     size);
  if (header.checksum != plan_checksum(buffer, size, header.version))
    return error_set(error, "plan: error: the checksum does not match: the plan is damaged");
  return true;
}
} // namespace

extern "C" bool plan_read(Arena *arena, const void *bytes, size_t size, Plan *plan, Error *error) {
  *plan = Plan{};
  PlanHeader header;
  if (size < sizeof header || size > FLATBUFFERS_MAX_BUFFER_SIZE)
    return error_set(error, "plan: error: %zu bytes are no plan", size);
  memcpy(&header, bytes, sizeof header);
  const unsigned char *buffer = static_cast<const unsigned char *>(bytes) + sizeof header;
  size_t buffer_size = size - sizeof header;
  if (!check_header(header, buffer, buffer_size, error))
    return false;
  if (uintptr_t(buffer) % 16 != 0) // the verifier wants the alignment that the writer gave
    buffer = static_cast<const unsigned char *>(arena_copy(arena, buffer, buffer_size));
  flatbuffers::Verifier verifier(buffer, buffer_size, MAX_DEPTH, MAX_TABLES);
  if (!fb::VerifyPlanBuffer(verifier))
    return error_set(error, "plan: error: the tables are damaged");
  return read_plan(Reader{arena, plan, error}, fb::GetPlan(buffer));
}
