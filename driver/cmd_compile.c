/* `tricot compile`: a model file to an executable, a library, or any stage on the way as text.
 *
 * For executables and libraries every CPU level is compiled by itself (its facts choose other
 * tiles), and the levels lie side by side in the artefact, which picks one when it starts.
 * Everything is written under a temporary name and renamed, and depends on the input alone: same
 * input, same bytes.
 */
#include "codegen/executable.h"
#include "codegen/plan_write.h"
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
    "  tricot compile models/dcformer.yaml --variant nano --emit graph -o nano.tg\n"
    "  tricot compile models/dcformer.yaml --emit asm --target cpu:x86-64-v4 -o nano.s\n\n";

typedef struct Work {
  Arena *arena;
  Options options;
  CompileRequest request;
  EntryRequest entries[JOB_MAX_ENTRIES + 8];
  const char *model, *emit, *output;
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

static const char *after_colon(const char *target, const char *otherwise) {
  const char *colon = strchr(target, ':');
  return colon ? colon + 1 : otherwise;
}

static bool emit_cubin(Work *w, Compiled *c, Text *out, Error *error) {
  Text cuda = {0};
  Cubin cubin;
  const char *arch = after_colon(w->request.target, "sm_80");
  if (strcmp(w->emit, "ptx") == 0 && strncmp(arch, "sm_", 3) == 0)
    arch = arena_printf(w->arena, "compute_%s", arch + 3);
  emit_text(TEXT_CUDA, c->build.kernels.at, c->build.kernels.count, &cuda);
  bool good = nvrtc_compile(w->arena, cuda.at, model_name(c->model), arch, &cubin, error);
  text_free(&cuda);
  if (good)
    text_add_bytes(out, (const char *)cubin.bytes, cubin.size);
  return good;
}

static bool emit_stage(Work *w, Compiled *c, Text *out, Error *error) {
  Kernel **kernels = c->build.kernels.at;
  int count = c->build.kernels.count;
  if (strcmp(w->emit, "graph") == 0) {
    for (int i = 0; i < c->build.graphs.count; i++)
      graph_print(c->build.graphs.at[i], out);
  } else if (strcmp(w->emit, "kernel") == 0) {
    for (int i = 0; i < count; i++)
      kernel_print(kernels[i], out);
  } else if (strcmp(w->emit, "c") == 0 || strcmp(w->emit, "cuda") == 0) {
    emit_text(strcmp(w->emit, "c") == 0 ? TEXT_C : TEXT_CUDA, kernels, count, out);
  } else if (strcmp(w->emit, "ptx") == 0 || strcmp(w->emit, "cubin") == 0) {
    return emit_cubin(w, c, out, error);
  } else {
#if TRICOT_LLVM
    CpuLevel level;
    return cpu_level_find(after_colon(w->request.target, "native"), &level, error) &&
           llvm_emit(kernels, count, &level, "", w->emit, out, error);
#else
    return error_set(error, "--emit %s: this build has no LLVM", w->emit);
#endif
  }
  return true;
}

static bool compile_stage(Work *w, Error *error) {
  const char *target = w->request.target;
  bool llvm =
      strcmp(w->emit, "llvm") == 0 || strcmp(w->emit, "asm") == 0 || strcmp(w->emit, "object") == 0;
  bool cuda =
      strcmp(w->emit, "cuda") == 0 || strcmp(w->emit, "ptx") == 0 || strcmp(w->emit, "cubin") == 0;
  if (strcmp(target, "interp") == 0 && strcmp(w->emit, "graph") != 0)
    return error_set(error, "--emit %s: error: target interp has no kernels", w->emit);
  if (llvm && strncmp(target, "cuda", 4) == 0)
    return error_set(error, "--emit %s: error: wants a CPU target, not '%s'", w->emit, target);
  if (!TRICOT_LLVM && !options_text(&w->options, "target"))
    w->request.target = "c";
  if (cuda && strncmp(w->request.target, "cuda", 4) != 0)
    w->request.target = "cuda:sm_80";
  Compiled c;
  Text out = {0};
  bool good = compiled_build(&c, &w->request, error) && emit_stage(w, &c, &out, error) &&
              write_file(w->output, out.at ? out.at : "", out.size, error);
  if (!good)
    diag_print(&c.diag, stderr);
  text_free(&out);
  compiled_close(&c);
  return good;
}

/* ---- executables and libraries ---- */

#if TRICOT_LLVM
enum { MAX_LEVELS = 8 };
/* the last one, which differs in dots of bf16 alone, for --precision bf16 */
static const char *const levels_default[] = {"x86-64-v3", "x86-64-v4", "x86-64-v4-bf16"};

static int choose_levels(Work *w, const char **levels, Error *error) {
  int n = 0;
  const char *list =
      strcmp(w->request.target, "cpu") == 0 ? NULL : after_colon(w->request.target, "");
  if (strcmp(w->request.target, "cpu") != 0 && strncmp(w->request.target, "cpu:", 4) != 0) {
    error_set(error, "--emit %s wants --target cpu or cpu:LEVEL,…, not '%s'", w->emit,
              w->request.target);
    return 0;
  }
  if (!list) {
    for (; n < (w->request.mixed ? 3 : 2); n++)
      levels[n] = levels_default[n];
    return n;
  }
  for (; *list && n <= MAX_LEVELS; list += *list == ',') {
    size_t length = strcspn(list, ",");
    const char *level = arena_strndup(w->arena, list, length);
    list += length;
    for (int i = 0; i < n; i++)
      if (strcmp(levels[i], level) == 0)
        length = 0;
    if (length && n < MAX_LEVELS)
      levels[n++] = level;
    else if (length)
      n = MAX_LEVELS + 1;
  }
  if (n == 0 || n > MAX_LEVELS) {
    error_set(error, "--target %s: 1 to %d levels", w->request.target, MAX_LEVELS);
    return 0;
  }
  return n;
}

/* "x86-64-v3" as the end of a C name. */
static const char *suffix_of(Arena *arena, const char *level) {
  char *text = arena_printf(arena, "_%s", level);
  for (char *c = text; *c; c++)
    if (*c == '-')
      *c = '_';
  return text;
}

static bool compile_level(Work *w, const char *name, LevelObject *level, Compiled *c,
                          Error *error) {
  CpuLevel cpu;
  Text object = {0};
  w->request.target = arena_printf(w->arena, "cpu:%s", name);
  level->name = name;
  level->suffix = suffix_of(w->arena, name);
  if (!compiled_build(c, &w->request, error) || !cpu_level_find(name, &cpu, error) ||
      !llvm_emit(c->build.kernels.at, c->build.kernels.count, &cpu, level->suffix, "object",
                 &object, error)) {
    diag_print(&c->diag, stderr);
    text_free(&object);
    return false;
  }
  level->plan = plan_write(w->arena, &c->plan, &level->plan_size);
  level->object = (const unsigned char *)object.at;
  level->object_size = object.size;
  level->n_kernels = c->plan.n_kernels;
  level->kernels = c->plan.kernels;
  return true;
}

static bool compile_artefact(Work *w, Error *error) {
  const char *names[MAX_LEVELS];
  int n = choose_levels(w, names, error);
  if (!n)
    return false;
  LevelObject *levels = ARENA_ARRAY(w->arena, LevelObject, n);
  Compiled *built = ARENA_ARRAY(w->arena, Compiled, n);
  bool good = true;
  int done = 0;
  for (; done < n && good; done++)
    good = compile_level(w, names[done], &levels[done], &built[done], error);
  ExecutableKind kind = strcmp(w->emit, "shared") == 0   ? EXECUTABLE_SHARED
                        : strcmp(w->emit, "static") == 0 ? EXECUTABLE_STATIC
                                                         : EXECUTABLE_PROGRAM;
  good = good &&
         executable_build(w->output, kind, levels, n, options_text(&w->options, "weights"), error);
  for (int i = 0; i < n; i++)
    free((void *)levels[i].object);
  for (int i = 0; i < done; i++)
    compiled_close(&built[i]);
  return good;
}
#endif

static bool known_emit(const char *emit) {
  static const char *const kinds[] = {"exe", "shared", "static", "graph", "kernel", "llvm",
                                      "asm", "object", "c",      "cuda",  "ptx",    "cubin"};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (strcmp(kinds[i], emit) == 0)
      return true;
  return false;
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
  if (!known_emit(w->emit)) {
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
  bool artefact = strcmp(w->emit, "exe") == 0 || strcmp(w->emit, "shared") == 0 ||
                  strcmp(w->emit, "static") == 0;
  if (good && artefact) {
#if TRICOT_LLVM
    good = compile_artefact(w, &error);
#else
    good = error_set(&error, "--emit %s: this build has no LLVM", w->emit);
#endif
  } else if (good) {
    good = compile_stage(w, &error);
  }
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
