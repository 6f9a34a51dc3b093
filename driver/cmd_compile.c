/* `tricot compile`: a model file to an executable, a library, or any stage on the way as text.
 *
 * Everything is written under a temporary name and renamed, and depends on the input alone: same
 * input, same bytes.
 */
#include "driver/artefact.h"
#include "driver/cuda_report.h"
#include "driver/host.h"
#include "driver/verbs.h"
#include "runtime/base/file.h"
#include "runtime/job/train_steps.h"
#include <stdlib.h>
#include <string.h>

static const OptionRow rows[] = {
    {"output", OPTION_TEXT, "FILE", "what to write (also -o)", NULL},
    {"emit", OPTION_TEXT, "KIND",
     "exe, shared, static, graph, kernel, llvm, asm, object, c, cuda, ptx, cubin (default exe)",
     NULL},
    {"mode", OPTION_TEXT, "infer|train", "without or with the training step (default train)", NULL},
    {"weights", OPTION_TEXT, "FILE", "safetensors to put inside an executable", NULL},
    {"batch", OPTION_COUNT, "N", "samples of a training step", NULL},
    {"accumulate", OPTION_COUNT, "N", "train: batches of a step (default 1)", NULL},
    {"loss.negatives", OPTION_CHOICE, "micro|batch", "train: what is contrasted (needed with it)",
     NULL},
    {"text-shapes", OPTION_TEXT, "L,RxL,…", "train: text shapes beside the padded one", NULL},
    {"probe-batch", OPTION_COUNT, "N",
     "also what eval probe --as-published needs, N volumes at a time", NULL},
    {"help", OPTION_FLAG, "", "this text", NULL},
    {0}};

static const char help[] =
    "Usage: tricot compile MODEL.yaml -o OUT [options]\n\n"
    "Compiles a model ahead of time. The executable trains, evaluates, predicts and runs entry\n"
    "points without anything else installed.\n\n"
    "  tricot compile models/clip-dcformer.yaml --variant nano -o ctclip\n"
    "  tricot compile models/clip-dcformer.yaml -o ctclip --target cpu:x86-64-v3,x86-64-v4\n"
    "  tricot compile models/clip-dcformer.yaml -o ctclip --target cuda:sm_80,cuda:sm_90a,cpu\n"
    "  tricot compile models/dcformer.yaml --variant nano --emit graph -o nano.tg\n"
    "  tricot compile models/dcformer.yaml --emit asm --target cpu:x86-64-v4 -o nano.s\n\n";

typedef struct Work {
  Arena *arena;
  Options options;
  CompileRequest request;
  EntryRequest entries[JOB_MAX_ENTRIES + 8];
  const char *model, *emit, *output;
  const struct Emission *emission; /* what --emit names */
} Work;

static void add_entries(Work *w, const JobRequest *request, int *n) {
  for (int i = 0; i < request->n_entries; i++)
    w->entries[(*n)++] =
        (EntryRequest){.entry = request->entries[i],
                       .name = request->names[i] ? request->names[i] : request->entries[i],
                       .sets = request->sets[i],
                       .optional_sets = request->optional_sets[i],
                       .batch = request->batches[i],
                       .times = request->times[i]};
}

/* The entry points of a training step, as runtime/job/train_steps.h asks for them. */
static bool choose_steps(Work *w, int *n, Error *error) {
  JobRequest request = {0};
  int64_t accumulate = options_count(&w->options, "accumulate", 1);
  const char *negatives = options_text(&w->options, "loss.negatives");
  if (accumulate < 1 || (accumulate > 1 && !negatives))
    return error_set(error, "--accumulate %lld: error: %s", (long long)accumulate,
                     accumulate < 1 ? "1 batch a step at least"
                                    : "say --loss.negatives micro|batch");
  bool whole = negatives && strcmp(negatives, "batch") == 0;
  TextShape shapes[TEXT_SHAPES];
  int n_shapes;
  if (!stepper_shapes(options_text(&w->options, "text-shapes"), shapes, &n_shapes, error) ||
      !stepper_request(w->arena, &request, accumulate, whole ? NEGATIVES_BATCH : NEGATIVES_MICRO,
                       shapes, n_shapes, error))
    return false;
  add_entries(w, &request, n);
  return true;
}

/* The entry points an artefact carries: what the model has of these, and the training step. */
static bool choose_entries(Work *w, Error *error) {
  static const char *const names[] = {"encode_image", "encode_text", "forward", "probe_loss"};
  Diag diag;
  diag_init(&diag, w->arena);
  Model *model = model_load(w->arena, &diag, &w->request.model);
  if (!model) {
    diag_print(&diag, stderr);
    return false;
  }
  int n = 0;
  const char *mode = options_text(&w->options, "mode");
  if (mode && strcmp(mode, "infer") != 0 && strcmp(mode, "train") != 0)
    return error_set(error, "--mode: infer or train, not '%s'", mode);
  bool step = model_train_entry(model) && !(mode && strcmp(mode, "infer") == 0);
  if (step && !choose_steps(w, &n, error))
    return false;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(names[i], "encode_text") == 0 && model_has_entry(model, names[i])) {
      JobRequest texts = {0};
      text_forms_request(w->arena, &texts, model_setting, model, INT64_MAX);
      add_entries(w, &texts, &n);
    } else if (model_has_entry(model, names[i]))
      w->entries[n++] =
          (EntryRequest){.entry = names[i], .name = names[i], .batch = i < 2, .keep_taps = i == 2};
  int64_t probe = options_count(&w->options, "probe-batch", 0);
  if (options_text(&w->options, "probe-batch") &&
      (probe < 1 || !model_has_entry(model, "encode_image")))
    return error_set(error, "--probe-batch %lld: error: %s", (long long)probe,
                     probe < 1 ? "1 volume at least" : "the model has no entry point encode_image");
  if (probe)
    w->entries[n++] = (EntryRequest){
        .entry = "encode_image", .name = "encode_image_train", .training = true, .batch = probe};
  w->request.entries = w->entries;
  w->request.n_entries = n;
  return n > 0 || error_set(error, "%s: error: the model has no entry point to compile", w->model);
}

/* ---- text and single objects ---- */

static bool write_file(const char *path, const void *bytes, size_t size, Error *error) {
  Writing writing;
  if (!writing_open(&writing, path, error))
    return false;
  if (fwrite(bytes, 1, size, writing.stream) != size) {
    writing_discard(&writing);
    return error_set(error, "%s: error: cannot be written", path);
  }
  return writing_commit(&writing, error);
}

static bool emit_graph(Work *w, Compiled *c, Text *out, Error *error) {
  (void)w, (void)error;
  for (int i = 0; i < c->build.graphs.count; i++)
    graph_print(c->build.graphs.at[i], out);
  return true;
}

static bool emit_kernels(Work *w, Compiled *c, Text *out, Error *error) {
  (void)w, (void)error;
  for (int i = 0; i < c->build.kernels.count; i++)
    kernel_print(c->build.kernels.at[i], out);
  return true;
}

static bool emit_source(Work *w, Compiled *c, Text *out, Error *error) {
  (void)error;
  emit_text(strcmp(w->emit, "c") == 0 ? TEXT_C : TEXT_CUDA, c->build.kernels.at,
            c->build.kernels.count, out);
  return true;
}

static bool emit_cuda_code(Work *w, Compiled *c, Text *out, Error *error) {
  bool ptx = strcmp(w->emit, "ptx") == 0;
  CudaImage images[2] = {{.arch = c->target.arch}}; /* the cubin, PTX */
  CudaReport report;
  images[1] = nvrtc_floor(images, 1);
  if (!compiled_images(c, images, 1 + ptx, error) || !cuda_report(c, images, 1, &report, error))
    return false;
  cuda_report_warn(c, &report, stderr);
  text_add_bytes(out, images[ptx].data, images[ptx].size);
  return true;
}

static bool emit_cpu_code(Work *w, Compiled *c, Text *out, Error *error) {
#if TRICOT_LLVM
  CpuLevel level;
  return cpu_level_find(c->target.level, &level, error) &&
         llvm_emit(c->build.kernels.at, c->build.kernels.count, &level, "", w->emit, out, error);
#else
  (void)c, (void)out;
  return error_set(error, "--emit %s: this build has no LLVM", w->emit);
#endif
}

enum {
  FOR_CPU = 1 << TARGET_CPU,
  FOR_CUDA = 1 << TARGET_CUDA,
  FOR_TEXT = 1 << TARGET_C | 1 << TARGET_CUDA_SHIM,
  FOR_KERNELS = FOR_CPU | FOR_CUDA | FOR_TEXT,
  FOR_ALL = FOR_KERNELS | 1 << TARGET_INTERP
};

/* Kinds of --emit. */
static const struct Emission {
  const char *name;
  int targets;                                      /* that it can be asked of */
  const char *otherwise;                            /* the target when none is named */
  bool (*add)(Work *, Compiled *, Text *, Error *); /* NULL: an executable or a library, */
  ExecutableKind kind;                              /* of this kind */
} emissions[] = {
    {"exe", 0, "cpu", NULL, EXECUTABLE_PROGRAM},
    {"shared", 0, "cpu", NULL, EXECUTABLE_SHARED},
    {"static", 0, "cpu", NULL, EXECUTABLE_STATIC},
    {"graph", FOR_ALL, TRICOT_LLVM ? "cpu" : "c", emit_graph, 0},
    {"kernel", FOR_KERNELS, TRICOT_LLVM ? "cpu" : "c", emit_kernels, 0},
    {"llvm", FOR_CPU, "cpu", emit_cpu_code, 0},
    {"asm", FOR_CPU, "cpu", emit_cpu_code, 0},
    {"object", FOR_CPU, "cpu", emit_cpu_code, 0},
    {"c", FOR_CPU | FOR_TEXT, "c", emit_source, 0},
    {"cuda", FOR_CUDA | FOR_TEXT, "cuda:sm_80", emit_source, 0},
    {"ptx", FOR_CUDA, "cuda:sm_80", emit_cuda_code, 0},
    {"cubin", FOR_CUDA, "cuda:sm_80", emit_cuda_code, 0},
};

static const struct Emission *find_emission(const char *name) {
  for (size_t i = 0; i < sizeof emissions / sizeof *emissions; i++)
    if (strcmp(emissions[i].name, name) == 0)
      return &emissions[i];
  return NULL;
}

/* Whether a stage can be had of the target, before anything is compiled. Code of CUDA is for an
 * architecture that was named; its text is the same for all. */
static bool suits(const Work *w, const Target *target, Error *error) {
  if (target->kind == TARGET_INTERP && !(w->emission->targets & 1 << TARGET_INTERP))
    return error_set(error, "--emit %s: error: target interp has no kernels", w->emit);
  if (!(w->emission->targets & 1 << target->kind))
    return error_set(error, "--emit %s: error: not of the target '%s'", w->emit, target->text);
  if (target->kind == TARGET_CUDA && !target->code_only && w->emission->add == emit_cuda_code)
    return error_set(error, "--emit %s: error: for which architecture? (--target cuda:sm_80)",
                     w->emit);
  return true;
}

static bool compile_stage(Work *w, Error *error) {
  Target target;
  if (!target_parse(w->arena, w->request.target, &target, error) || !suits(w, &target, error))
    return false;
  Compiled c;
  Text out = {0};
  bool good = compiled_build(&c, &w->request, error) && w->emission->add(w, &c, &out, error) &&
              write_file(w->output, out.at ? out.at : "", out.size, error);
  if (!good)
    diag_print(&c.diag, stderr);
  text_free(&out);
  compiled_close(&c);
  return good;
}

static int usage_error(const Error *error) {
  fprintf(stderr, "tricot compile: error: %s\ntricot compile --help shows the options\n",
          error->text);
  return EXIT_USAGE;
}

static int print_help(void) {
  Text text = {0};
  options_help(rows, "compile", &text);
  options_help(compile_options, "compile", &text);
  printf("%s%s", help, text.at);
  text_free(&text);
  return EXIT_DONE;
}

static int compile_with(Work *w, int argc, char **argv) {
  Error error = {0};
  for (int i = 1; i < argc; i++) /* the usual short form */
    if (strcmp(argv[i], "-o") == 0)
      argv[i] = (char *)"--output";
  if (!options_parse(&w->options, w->arena, rows, compile_options, argc, argv, &error))
    return usage_error(&error);
  if (options_flag(&w->options, "help"))
    return print_help();
  w->output = options_text(&w->options, "output");
  w->emit = options_text(&w->options, "emit") ? options_text(&w->options, "emit") : "exe";
  if (w->options.rest.count != 1 || !w->output) {
    error_set(&error, w->output ? "which model file?" : "where to? (-o FILE)");
    return usage_error(&error);
  }
  w->emission = find_emission(w->emit);
  if (!w->emission) {
    error_set(&error, "--emit: unknown kind '%s'", w->emit);
    return usage_error(&error);
  }
  w->model = w->options.rest.at[0];
  if (!run_file_complete(&w->options, &w->model, &error) ||
      !compile_request_from(w->arena, &w->options, w->model, &w->request, &error)) {
    fprintf(stderr, "%s\n", error.text);
    return EXIT_INPUT;
  }
  int64_t batch = options_count(&w->options, "batch", 0);
  if (options_text(&w->options, "batch")) {
    const char **sets = ARENA_ARRAY(w->arena, const char *, w->request.model.n_sets + 1);
    for (int i = 0; i < w->request.model.n_sets; i++)
      sets[i] = w->request.model.sets[i];
    sets[w->request.model.n_sets++] = arena_printf(w->arena, "batch=%lld", (long long)batch);
    w->request.model.sets = sets;
  }
  bool good = choose_entries(w, &error);
  if (!options_text(&w->options, "target"))
    w->request.target = w->emission->otherwise;
  if (good)
    good = w->emission->add
               ? compile_stage(w, &error)
               : artefact_build(w->arena, &w->request, w->emission->kind,
                                options_text(&w->options, "weights"), w->output, &error);
  if (!good && error.text[0])
    fprintf(stderr, "%s\n", error.text);
  return good ? EXIT_DONE : EXIT_INPUT;
}

int cmd_compile(int argc, char **argv) {
  Work work = {.arena = arena_new()};
  int status = compile_with(&work, argc, argv);
  arena_free(work.arena);
  return status;
}
