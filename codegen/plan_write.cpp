// Writes a plan as a flatbuffer behind the header of runtime/plan_format.h.
//
// In: a Plan that plan_read would accept (the compiler's own structs, so nothing is checked here).
// Out: the same bytes for the same plan: everything is written in the order given, and texts that
// occur again are shared in a way that depends on the texts alone.
#include "plan_generated.h"
#include <vector>

extern "C" {
#include "codegen/plan_write.h"
#include "runtime/plan_format.h"
#include <string.h>
}

namespace {
namespace fb = tricot::fb;
using flatbuffers::Offset;
using Builder = flatbuffers::FlatBufferBuilder;

Offset<flatbuffers::String> text(Builder &b, const char *s) {
  return b.CreateSharedString(s ? s : "");
}

Offset<fb::Type> write_type(Builder &b, const Type &type) {
  auto dims = b.CreateVector(type.dim, size_t(type.rank));
  return fb::CreateType(b, uint8_t(type.dtype), dims);
}

Offset<fb::Gather> write_gather(Builder &b, const Gather *gather) {
  if (!gather)
    return 0;
  std::vector<Offset<fb::Box>> boxes;
  for (int i = 0; i < gather->n_boxes; i++) {
    const GatherBox &box = gather->boxes[i];
    std::vector<int64_t> axes;
    for (const int64_t *part : {box.start, box.step, box.count, box.stride})
      axes.insert(axes.end(), part, part + gather->whole.rank);
    auto all = b.CreateVector(axes);
    boxes.push_back(fb::CreateBox(b, box.at, all));
  }
  auto all = b.CreateVector(boxes);
  return fb::CreateGather(b, gather->elements, gather->gaps, all);
}

Offset<fb::Port> write_port(Builder &b, const PlanPort &port) {
  fb::Ref ref(uint8_t(port.ref.place), port.ref.at);
  auto name = text(b, port.name);
  auto type = write_type(b, port.type);
  auto gather = write_gather(b, port.gather);
  return fb::CreatePort(b, name, type, &ref, port.tap, gather);
}

Offset<fb::Step> write_step(Builder &b, const PlanStep &step) {
  std::vector<fb::Ref> args;
  for (int i = 0; i < step.n_args; i++)
    args.emplace_back(uint8_t(step.args[i].place), step.args[i].at);
  auto refs = b.CreateVectorOfStructs(args);
  std::vector<fb::Result> written;
  for (int i = 0; i < step.n_results; i++)
    written.emplace_back(step.results[i].arg, uint8_t(step.results[i].dtype),
                         step.results[i].elements);
  auto results = b.CreateVectorOfStructs(written);
  auto moved = b.CreateVector(step.moved, step.moved ? size_t(step.n_args) : 0);
  auto label = text(b, step.label), place = text(b, step.place);
  return fb::CreateStep(b, uint8_t(step.kind), step.kernel, refs, results, step.blocks,
                        step.bytes, label, place, step.flops, step.traffic, moved, step.conversion,
                        step.paired_flops, step.open_flops, step.threads, step.shared_bytes);
}

template <class T, class In, class Write>
Offset<flatbuffers::Vector<Offset<T>>> write_all(Builder &b, const In *in, int count, Write write) {
  std::vector<Offset<T>> out;
  for (int i = 0; i < count; i++)
    out.push_back(write(b, in[i]));
  return b.CreateVector(out);
}

Offset<fb::Entry> write_entry(Builder &b, const PlanEntry &entry) {
  auto name = text(b, entry.name);
  auto inputs = write_all<fb::Port>(b, entry.inputs, entry.n_inputs, write_port);
  auto outputs = write_all<fb::Port>(b, entry.outputs, entry.n_outputs, write_port);
  auto prepare = write_all<fb::Step>(b, entry.prepare, entry.n_prepare, write_step);
  auto steps = write_all<fb::Step>(b, entry.steps, entry.n_steps, write_step);
  return fb::CreateEntry(b, name, inputs, outputs, prepare, steps, entry.arena_bytes,
                         entry.prepared_bytes, entry.updates, entry.guard, entry.outdates,
                         entry.budget_bytes, entry.saved_bytes, entry.recomputed,
                         entry.recomputed_flops);
}

// The enumerator's number, also when it is none of its type's: tests write plans that must be
// refused.
template <class Enum> uint8_t number(const Enum &value) {
  int32_t bits;
  static_assert(sizeof bits == sizeof value);
  memcpy(&bits, &value, sizeof bits);
  return uint8_t(bits);
}

Offset<fb::Tensor> write_tensor(Builder &b, const PlanTensor &tensor) {
  auto name = text(b, tensor.name);
  auto type = write_type(b, tensor.type);
  return fb::CreateTensor(b, name, type, number(tensor.role), number(tensor.init), tensor.init_a,
                          tensor.init_b);
}

Offset<fb::Pair> write_pair(Builder &b, const PlanPair &pair) {
  auto key = text(b, pair.key), value = text(b, pair.value);
  return fb::CreatePair(b, key, value);
}
} // namespace

extern "C" unsigned char *plan_write(Arena *arena, const Plan *plan, size_t *size) {
  Builder b(1 << 16);
  auto model = text(b, plan->model), variant = text(b, plan->variant), level = text(b, plan->level);
  auto precision = text(b, plan->precision);
  auto tensors = write_all<fb::Tensor>(b, plan->tensors, plan->n_tensors, write_tensor);
  std::vector<Offset<flatbuffers::String>> names;
  for (int i = 0; i < plan->n_kernels; i++)
    names.push_back(text(b, plan->kernels[i]));
  auto kernels = b.CreateVector(names);
  auto entries = write_all<fb::Entry>(b, plan->entries, plan->n_entries, write_entry);
  auto settings = write_all<fb::Pair>(b, plan->settings, plan->n_settings, write_pair);
  auto refresh = write_all<fb::Step>(b, plan->refresh, plan->n_refresh, write_step);
  fb::FinishPlanBuffer(b, fb::CreatePlan(b, model, variant, level, tensors, kernels, entries,
                                         settings, refresh, precision));

  PlanHeader header = {};
  memcpy(header.magic, PLAN_MAGIC, sizeof header.magic);
  header.version = PLAN_VERSION;
  header.size = b.GetSize();
  header.checksum = plan_checksum(b.GetBufferPointer(), b.GetSize(), header.version);
  *size = sizeof header + b.GetSize();
  unsigned char *out = static_cast<unsigned char *>(arena_alloc(arena, *size));
  memcpy(out, &header, sizeof header);
  memcpy(out + sizeof header, b.GetBufferPointer(), b.GetSize());
  return out;
}
