/* Model file to program. See compile.h. */
#include "driver/compile.h"
#include "driver/interpret.h"
#include "driver/memory_text.h"
#include "driver/train_entries.h"
#include "runtime/base/bytes.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- code ---- */

static ProgramKernel *find_kernel(void *context, const char *name) {
  const Compiled *compiled = context;
#if TRICOT_LLVM
  if (compiled->jit)
    return jit_find(compiled->jit, name);
#endif
  return compiled->text ? text_library_find(compiled->text, name) : interpret_find(name);
}

/* ---- graphs ---- */

static void drop_taps(Graph *graph) {
  int kept = 0;
  for (int i = 0; i < graph->outputs.count; i++)
    if (!graph->outputs.at[i].tap)
      graph->outputs.at[kept++] = graph->outputs.at[i];
  graph->outputs.count = kept;
}

static Graph *entry_graph(Compiled *c, Model *model, const EntryRequest *want, Error *error) {
  if (train_entry_known(want->entry)) {
    PassContext context = {.arena = c->arena,
                           .diag = &c->diag,
                           .facts = c->build.options.facts,
                           .options = &c->build.options.passes};
    return train_entry_build(&context, model, want->entry, want->keep_taps, want->keep_gradients,
                             error);
  }
  if (!model_has_entry(model, want->entry)) {
    error_set(error, "%s: error: the model has no entry point '%s'", model_path(model),
              want->entry);
    return NULL;
  }
  Graph *graph = model_build(model, &c->diag, want->entry, want->training);
  if (graph && !want->keep_taps)
    drop_taps(graph);
  return graph;
}

/* The model with more arguments set, for entry points of other sizes. */
typedef struct Variation {
  const char *sets;
  Model *model;
} Variation;

typedef VEC(Variation) Variations;

static Model *model_for(Compiled *c, const ModelRequest *request, const EntryRequest *entry,
                        Variations *known, Diag *diag) {
  const char *sets = entry->sets ? entry->sets : "";
  double batch = 0;
  if (entry->batch || (entry->times > 1 && model_number(c->model, "batch", &batch)))
    sets = arena_printf(c->arena, "batch=%lld;%s",
                        (long long)((entry->batch ? entry->batch : (int64_t)batch) *
                                    (entry->times > 1 ? entry->times : 1)),
                        sets);
  for (int i = 0; i < known->count; i++)
    if (strcmp(known->at[i].sets, sets) == 0)
      return known->at[i].model;
  ModelRequest more = *request;
  VEC(const char *) all = {0};
  for (int i = 0; i < request->n_sets; i++)
    vec_push(c->arena, &all, request->sets[i]);
  for (const char *at = sets; *at; at += at[0] == ';') {
    size_t length = strcspn(at, ";");
    if (length)
      vec_push(c->arena, &all, (const char *)arena_strndup(c->arena, at, length));
    at += length;
  }
  more.sets = all.at;
  more.n_sets = all.count;
  Variation fresh = {sets, *sets ? model_load(c->arena, diag, &more) : c->model};
  vec_push(c->arena, known, fresh);
  return fresh.model;
}

static bool same_parameters(const Graph *a, const Graph *b) {
  int count[2] = {0, 0};
  for (int i = 0; i < b->inputs.count; i++)
    count[1] += b->inputs.at[i].role != ROLE_INPUT;
  for (int i = 0; i < a->inputs.count; i++) {
    const GraphInput *input = &a->inputs.at[i];
    const GraphInput *other = graph_find_input(b, input->name);
    if (input->role == ROLE_INPUT)
      continue;
    count[0]++;
    if (!other || other->role != input->role ||
        !type_equal(&other->value->type, &input->value->type))
      return false;
  }
  return count[0] == count[1];
}

/* The entry's graph with its own sizes; those that are optional fall away where they do not suit
 * the model. NULL after errors. */
static Graph *sized_graph(Compiled *c, const ModelRequest *request, const EntryRequest *entry,
                          Variations *known, Error *error) {
  if (!entry->optional_sets) {
    Model *model = model_for(c, request, entry, known, &c->diag);
    return model ? entry_graph(c, model, entry, error) : NULL;
  }
  EntryRequest plain = *entry;
  plain.sets = NULL;
  Diag attempt;
  diag_init(&attempt, c->arena);
  Model *own = model_for(c, request, &plain, known, &c->diag);
  Graph *graph = own ? entry_graph(c, own, entry, error) : NULL;
  Model *other = graph ? model_for(c, request, entry, known, &attempt) : NULL;
  Graph *sized = other ? model_build(other, &attempt, entry->entry, entry->training) : NULL;
  if (!sized || !same_parameters(sized, graph))
    return graph;
  return entry_graph(c, other, entry, error);
}

const PlanPair *model_settings(Arena *arena, const Model *model, int *count) {
  VEC(PlanPair) pairs = {0};
  for (int i = 0; i < model_arg_count(model); i++) {
    PlanPair pair = {model_arg_name(model, i), model_arg_value(model, i)};
    vec_push(arena, &pairs, pair);
  }
  *count = pairs.count;
  return pairs.at;
}

double model_setting(const void *model, const char *key, double otherwise) {
  double value;
  return model_number(model, key, &value) ? value : otherwise;
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void open_empty(Compiled *c) {
  *c = (Compiled){.arena = arena_new()};
  diag_init(&c->diag, c->arena);
}

static bool build_all(Compiled *c, const CompileRequest *request, Error *error) {
  error->text[0] = 0;
  Facts *facts = ARENA_NEW(c->arena, Facts);
  if (!target_parse(c->arena, request->target, &c->target, error) ||
      !target_facts(&c->target, facts, error))
    return false;
  facts->tf32 = request->tf32;
  if (facts->tf32 && !facts->matrix_units)
    return error_set(error,
                     "--precision tf32: error: the target %s has no matrix units (cuda, cuda-shim)",
                     c->target.text);
  double start = seconds();
  c->model = model_load(c->arena, &c->diag, &request->model);
  if (!c->model)
    return false;
  BuildOptions options = {.facts = facts,
                          .passes = request->passes,
                          .interpret = c->target.kind == TARGET_INTERP,
                          .mixed = request->mixed,
                          .memory_only = request->memory_only,
                          .dump_tiles = request->dump_tiles,
                          .dump_kernels = request->dump_kernels,
                          .dump_memory = request->dump_memory};
  build_start(&c->build, c->arena, &c->diag, &options);
  Variations variations = {0};
  for (int i = 0; i < request->n_entries; i++) {
    const EntryRequest *entry = &request->entries[i];
    Graph *graph = sized_graph(c, &request->model, entry, &variations, error);
    if (!graph || !build_entry(&c->build, graph, entry->name))
      return false;
    if (options.interpret)
      interpret_set(i, c->build.graphs.at[i]);
  }
  c->plan = build_plan(&c->build);
  c->plan.model = model_name(c->model);
  c->plan.variant = model_variant(c->model) ? model_variant(c->model) : "";
  c->plan.level = c->target.kind == TARGET_CPU ? c->target.level : c->target.text;
  c->plan.precision = request->mixed ? "bf16" : request->tf32 ? "tf32" : "f32";
  c->plan.settings = model_settings(c->arena, c->model, &c->plan.n_settings);
  if (request->timing)
    fprintf(stderr,
            "compile: graphs and kernels %.2f s (%d kernels)\n"
            "compile: layout conversions between kernels: %d\n",
            seconds() - start, c->build.kernels.count, c->build.layout_conversions);
  return true;
}

bool compiled_build(Compiled *c, const CompileRequest *request, Error *error) {
  open_empty(c);
  return build_all(c, request, error);
}

bool compiled_peak(Compiled *c, const ModelRequest *model, bool mixed, const char *entry,
                   int64_t budget, int64_t *bytes) {
  Error error;
  EntryRequest want = {.entry = entry, .name = entry};
  CompileRequest request = {.model = *model,
                            .target = TRICOT_LLVM ? "cpu" : "c",
                            .entries = &want,
                            .n_entries = 1,
                            .passes = {.memory_budget = budget},
                            .mixed = mixed,
                            .memory_only = true};
  if (!compiled_build(c, &request, &error))
    return false;
  const PlanEntry *planned = &c->plan.entries[0];
  *bytes = planned->arena_bytes + planned->prepared_bytes;
  for (int i = 0; i < c->plan.n_tensors; i++)
    *bytes += (int64_t)type_bytes(&c->plan.tensors[i].type);
  return true;
}

bool compiled_images(Compiled *c, CudaImage *images, int count, Error *error) {
  Text text = {0};
  int n = c->build.kernels.count;
  Kernel **kernels = ARENA_ARRAY(c->arena, Kernel *, n + 2);
  memcpy(kernels, c->build.kernels.at, sizeof *kernels * (size_t)n);
  peak_kernels(c->arena, &kernels[n]);
  emit_text(TEXT_CUDA, kernels, n + 2, &text);
  bool good = nvrtc_compile_all(c->arena, text.at, c->plan.model, images, count, error);
  text_free(&text);
  return good;
}

/* Before code is made: does the device have the memory? */
static bool fits_device(Compiled *c, Error *error) {
  enum { NAMED = 6 };
  int64_t needed = cuda_program_bytes(&c->plan), left;
  char want[32], have[32];
  if (!cuda_device_free(&c->device, &left, error))
    return false;
  if (needed <= left)
    return true;
  int largest = 0;
  for (int e = 1; e < c->plan.n_entries; e++)
    if (c->plan.entries[e].arena_bytes > c->plan.entries[largest].arena_bytes)
      largest = e;
  const BuildRecord *record = &c->build.records.at[largest];
  Text text = {0};
  text_add(&text, "%s", "");
  bytes_text((double)needed, want, sizeof want);
  bytes_text((double)left, have, sizeof have);
  memory_peak_text(record->slots, record->notes, record->n_slots, NAMED, &text);
  error_set(error,
            "--target %s: error: the program needs %s, device %d (%.100s) has %s free (a smaller "
            "batch, or --memory-budget); at the peak of %.60s:\n%.700s",
            c->target.text, want, c->device.number, c->device.name, have,
            c->plan.entries[largest].name, text.at);
  text_free(&text);
  return false;
}

/* Code for the device by NVRTC, and a program on it. */
static bool open_on_device(Compiled *c, int threads, Error *error) {
  char name[CUDA_ARCH_TEXT];
  CudaImage image = {.arch = {c->device.capability, 0}};
  if (!fits_device(c, error) || !compiled_images(c, &image, 1, error))
    return false;
  c->plan.level = arena_strdup(c->arena, cuda_arch_text(image.arch, false, name));
  CudaCode code = {&c->device, &image, 1};
  return cuda_program_open(&c->program, &c->plan, &code, threads, error);
}

static bool open_on_host(Compiled *c, int threads, Error *error) {
  Kernel **kernels = c->build.kernels.at;
  int count = c->build.kernels.count;
  TextDialect dialect = c->target.kind == TARGET_C ? TEXT_C : TEXT_CUDA;
  switch (c->target.kind) {
  case TARGET_CPU:
#if TRICOT_LLVM
    c->jit = jit_build(kernels, count, (int)sysconf(_SC_NPROCESSORS_ONLN), error);
    if (!c->jit)
      return false;
#endif
    break;
  case TARGET_C:
  case TARGET_CUDA_SHIM:
    c->text = text_library_build(dialect, kernels, count, error);
    if (!c->text)
      return false;
    break;
  case TARGET_INTERP:
  case TARGET_CUDA: break;
  }
  return program_open(&c->program, &c->plan, find_kernel, c, threads, error);
}

/* Before anything is compiled: is there what the target asks for? */
static bool find_device(Compiled *c, const char *name, Error *error) {
  Target target;
  Error inner;
  if (!target_parse(c->arena, name, &target, error))
    return false;
  if (target.kind != TARGET_CUDA)
    return true;
  if (target.code_only)
    return error_set(error,
                     "target %s: code for it is only emitted (tricot compile --emit cubin); "
                     "cuda or cuda:NUMBER run it",
                     name);
  return (cuda_device_open(&c->device, target.device, &inner) && nvrtc_available(&inner)) ||
         error_set(error, "--target %s: error: %s", name, inner.text);
}

bool compiled_open(Compiled *c, const CompileRequest *request, Error *error) {
  open_empty(c);
  if (!find_device(c, request->target, error) || !build_all(c, request, error))
    return false;
  double start = seconds();
  bool open = c->target.kind == TARGET_CUDA ? open_on_device(c, request->threads, error)
                                            : open_on_host(c, request->threads, error);
  if (open && request->timing)
    fprintf(stderr, "compile: code %.2f s\n", seconds() - start);
  return open;
}

void compiled_close(Compiled *c) {
  if (c->program)
    program_close(c->program);
#if TRICOT_LLVM
  if (c->jit)
    jit_free(c->jit);
#endif
  if (c->text)
    text_library_free(c->text);
  cuda_device_close(&c->device);
  arena_free(c->arena);
  *c = (Compiled){0};
}

int compiled_report(const Compiled *c, const Error *error) {
  diag_print(&c->diag, stderr);
  if (error->text[0])
    fprintf(stderr, "%s\n", error->text);
  return EXIT_INPUT;
}
