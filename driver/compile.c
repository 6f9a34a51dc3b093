/* Model file to program. See compile.h.
 *
 * The interpreter is a target like the others: an entry point is one step whose "kernel" evaluates
 * the whole graph in double precision. Kernels have no context argument, so interpreted graphs
 * stand in a table and each slot has a function of its own.
 */
#include "driver/compile.h"
#include "driver/train_entries.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const Facts gpu_facts = {.vector = 1,
                                .registers = 64,
                                .threads = 128,
                                .shared = 48 << 10,
                                .l1 = 128 << 10,
                                .l2 = 40 << 20};

/* ---- the interpreter as code ---- */

enum { INTERPRETED = 40 };
static const Graph *interpreted[INTERPRETED];

static void interpret(int slot, void *const *arguments) {
  const Graph *g = interpreted[slot];
  Arena *arena = arena_new();
  double **in = ARENA_ARRAY(arena, double *, g->inputs.count + 1);
  double **out = ARENA_ARRAY(arena, double *, g->outputs.count + 1);
  for (int i = 0; i < g->inputs.count; i++) {
    const Type *type = &g->inputs.at[i].value->type;
    in[i] = ARENA_ARRAY(arena, double, type_elements(type));
    for (int64_t k = 0; k < type_elements(type); k++)
      in[i][k] = dtype_load(type->dtype, arguments[i], k);
  }
  graph_eval(g, arena, in, out);
  for (int i = 0; i < g->outputs.count; i++) {
    const Type *type = &g->outputs.at[i].value->type;
    for (int64_t k = 0; k < type_elements(type); k++)
      dtype_store(type->dtype, arguments[g->inputs.count + i], k, out[i][k]);
  }
  arena_free(arena);
}

#define SLOT(n)                                                                                    \
  static void interpret_##n(void *const *arguments, int64_t begin, int64_t end) {                  \
    if (begin < end)                                                                               \
      interpret(n, arguments);                                                                     \
  }
SLOT(0)
SLOT(1)
SLOT(2)
SLOT(3)
SLOT(4)
SLOT(5) SLOT(6) SLOT(7) SLOT(8) SLOT(9) SLOT(10) SLOT(11) SLOT(12) SLOT(13) SLOT(14) SLOT(15)
    SLOT(16) SLOT(17) SLOT(18) SLOT(19) SLOT(20) SLOT(21) SLOT(22) SLOT(23) SLOT(24) SLOT(25)
        SLOT(26) SLOT(27) SLOT(28) SLOT(29) SLOT(30) SLOT(31) SLOT(32) SLOT(33) SLOT(34) SLOT(35)
            SLOT(36) SLOT(37) SLOT(38) SLOT(39)
#undef SLOT

                static ProgramKernel *const interpreters[INTERPRETED] = {
                    interpret_0,  interpret_1,  interpret_2,  interpret_3,  interpret_4,
                    interpret_5,  interpret_6,  interpret_7,  interpret_8,  interpret_9,
                    interpret_10, interpret_11, interpret_12, interpret_13, interpret_14,
                    interpret_15, interpret_16, interpret_17, interpret_18, interpret_19,
                    interpret_20, interpret_21, interpret_22, interpret_23, interpret_24,
                    interpret_25, interpret_26, interpret_27, interpret_28, interpret_29,
                    interpret_30, interpret_31, interpret_32, interpret_33, interpret_34,
                    interpret_35, interpret_36, interpret_37, interpret_38, interpret_39};

/* ---- targets ---- */

static bool is_cpu(const char *target) {
  return strcmp(target, "cpu") == 0 || strncmp(target, "cpu:", 4) == 0;
}

static const char *cpu_level(const char *target) {
  return strncmp(target, "cpu:", 4) == 0 ? target + 4 : "native";
}

bool target_device(const char *target, int *number) {
  *number = 0;
  if (strcmp(target, "cuda") == 0)
    return true;
  const char *digits = target + 5;
  if (strncmp(target, "cuda:", 5) != 0 || !*digits || strspn(digits, "0123456789") > 4 ||
      digits[strspn(digits, "0123456789")])
    return false;
  *number = atoi(digits);
  return true;
}

bool target_facts(const char *target, Facts *facts, Error *error) {
  if (strcmp(target, "cuda-shim") == 0 || strcmp(target, "cuda") == 0 ||
      strncmp(target, "cuda:", 5) == 0) {
    *facts = gpu_facts;
    return true;
  }
  if (strcmp(target, "interp") == 0) {
    *facts = (Facts){.vector = 1, .registers = 16, .threads = 1};
    return true;
  }
  if (is_cpu(target) || strcmp(target, "c") == 0) {
#if TRICOT_LLVM
    CpuLevel level;
    if (!cpu_level_find(cpu_level(target), &level, error))
      return false;
    *facts = level.facts;
    facts->bf16_pairs &= is_cpu(target); /* C text has no such instruction */
#else
    if (is_cpu(target))
      return error_set(error, "target %s: this build has no LLVM", target);
    *facts = (Facts){.vector = 8, .registers = 16, .threads = 1, .l1 = 32 << 10, .l2 = 1 << 20};
#endif
    return true;
  }
  return error_set(error,
                   "unknown target '%s': cpu, cpu:LEVEL, cuda, cuda:NUMBER, c, cuda-shim or interp",
                   target);
}

static ProgramKernel *find_kernel(void *context, const char *name) {
  const Compiled *compiled = context;
  int slot;
  if (sscanf(name, "interpret%d", &slot) == 1)
    return slot < INTERPRETED ? interpreters[slot] : NULL;
#if TRICOT_LLVM
  if (compiled->jit)
    return jit_find(compiled->jit, name);
#endif
  return compiled->text ? text_library_find(compiled->text, name) : NULL;
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

bool compiled_build(Compiled *c, const CompileRequest *request, Error *error) {
  *c = (Compiled){.arena = arena_new()};
  diag_init(&c->diag, c->arena);
  error->text[0] = 0;
  Facts *facts = ARENA_NEW(c->arena, Facts);
  if (!target_facts(request->target, facts, error))
    return false;
  double start = seconds();
  c->model = model_load(c->arena, &c->diag, &request->model);
  if (!c->model)
    return false;
  BuildOptions options = {.facts = facts,
                          .passes = request->passes,
                          .interpret = strcmp(request->target, "interp") == 0,
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
      interpreted[i] = c->build.graphs.at[i];
  }
  c->plan = build_plan(&c->build);
  c->plan.model = model_name(c->model);
  c->plan.variant = model_variant(c->model) ? model_variant(c->model) : "";
  c->plan.level = is_cpu(request->target) ? cpu_level(request->target) : request->target;
  c->plan.precision = request->mixed ? "bf16" : "f32";
  c->plan.settings = model_settings(c->arena, c->model, &c->plan.n_settings);
  if (request->timing)
    fprintf(stderr,
            "compile: graphs and kernels %.2f s (%d kernels)\n"
            "compile: layout conversions between kernels: %d\n",
            seconds() - start, c->build.kernels.count, c->build.layout_conversions);
  return true;
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

/* Code for the device by NVRTC, and a program on it. */
static bool open_on_device(Compiled *c, int threads, Error *error) {
  char arch[CUDA_ARCH_TEXT];
  CudaImage image = {.arch = {c->device.capability, 0}};
  Text text = {0};
  Cubin cubin;
  emit_text(TEXT_CUDA, c->build.kernels.at, c->build.kernels.count, &text);
  cuda_arch_text(image.arch, false, arch);
  bool good = nvrtc_compile(c->arena, text.at, c->plan.model, arch, &cubin, error);
  text_free(&text);
  if (!good)
    return false;
  image.data = cubin.bytes;
  image.size = cubin.size;
  c->plan.level = arena_strdup(c->arena, arch);
  CudaCode code = {&c->device, &image, 1};
  return cuda_program_open(&c->program, &c->plan, &code, threads, error);
}

/* Before anything is compiled: is there what the target asks for? */
static bool open_device(CudaDevice *device, const char *target, int number, Error *error) {
  Error inner;
  if (cuda_device_open(device, number, &inner) && nvrtc_available(&inner))
    return true;
  return error_set(error, "--target %s: error: %s", target, inner.text);
}

bool compiled_open(Compiled *c, const CompileRequest *request, Error *error) {
  int number;
  bool on_device = target_device(request->target, &number);
  CudaDevice device = {0};
  if (!on_device && strncmp(request->target, "cuda:", 5) == 0)
    error_set(error,
              "target %s: code for it is only emitted (tricot compile --emit cubin); "
              "cuda or cuda:NUMBER run it",
              request->target);
  else
    error->text[0] = 0;
  if (*error->text || (on_device && !open_device(&device, request->target, number, error))) {
    cuda_device_close(&device);
    *c = (Compiled){.arena = arena_new()};
    diag_init(&c->diag, c->arena);
    return false;
  }
  bool built = compiled_build(c, request, error);
  c->device = device;
  if (!built)
    return false;
  double start = seconds();
  if (on_device) {
    bool open = open_on_device(c, request->threads, error);
    if (request->timing)
      fprintf(stderr, "compile: code %.2f s\n", seconds() - start);
    return open;
  }
  Kernel **kernels = c->build.kernels.at;
  int count = c->build.kernels.count;
#if TRICOT_LLVM
  int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
  if (is_cpu(request->target) && !(c->jit = jit_build(kernels, count, cpus, error)))
    return false;
#endif
  TextDialect dialect = strcmp(request->target, "c") == 0 ? TEXT_C : TEXT_CUDA;
  bool text = dialect == TEXT_C || strcmp(request->target, "cuda-shim") == 0;
  if (text && !(c->text = text_library_build(dialect, kernels, count, error)))
    return false;
  if (request->timing)
    fprintf(stderr, "compile: code %.2f s\n", seconds() - start);
  return program_open(&c->program, &c->plan, find_kernel, c, request->threads, error);
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
