/* `tricot inspect`: what a model file says, before anything is run.
 *
 * Parameters are counted as declared, used or not; FLOPs by fvcore's rule on the training-mode
 * graph of the model's counted entry (an encoder alone, or a CLIP model's `forward`), for one
 * sample. With --html one entry point is compiled up to its kernels and drawn.
 */
#include "driver/cmd_inspect.h"
#include "driver/cuda_report.h"
#include "driver/host.h"
#include "driver/inspect_view.h"
#include "ir/reach.h"
#include "runtime/base/json.h"
#include "runtime/job/command.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const OptionRow rows[] = {
    {"json", OPTION_FLAG, "", "print JSON", NULL},
    {"html", OPTION_TEXT, "FILE",
     "draw an entry point: its graph before and after fusion, kernels (with --target cuda:ARCH "
     "their registers too), memory over time",
     NULL},
    {"entry", OPTION_TEXT, "NAME",
     "--html, --target cuda: which (default encode_image, or the first)", NULL},
    {"mode", OPTION_CHOICE, "infer|train",
     "--html, --target cuda: running or batch statistics (default infer)", NULL},
    {"help", OPTION_FLAG, "", "this text", NULL},
    {0}};

static const char help[] =
    "Usage: tricot inspect MODEL.yaml [options]\n\n"
    "Shows a model's parameters, floating-point operations, stages, memory and arguments; or, "
    "with\n"
    "--html, writes a page with what one entry point is compiled to; or, with --target cuda:ARCH,\n"
    "compiles one for CUDA architectures and lists registers, spills and shared memory of its\n"
    "kernels.\n\n"
    "  tricot inspect models/dcformer.yaml --variant nano\n"
    "  tricot inspect models/clip-dcformer.yaml --variant tiny --set text.layers=6 --json\n"
    "  tricot inspect models/dcformer.yaml --variant nano --html nano.html\n"
    "  tricot inspect models/clip-dcformer.yaml --entry train_step --html step.html --target "
    "cuda:sm_90a\n"
    "  tricot inspect models/dcformer.yaml --variant nano --precision bf16 --target "
    "cuda:sm_80,sm_90a\n\n";

typedef struct Inspect {
  Arena *arena;
  Options options;
  CompileRequest request;
  const char **sets; /* of request.model, with room for one more */
} Inspect;

static int usage(const Error *error) {
  fprintf(stderr, "tricot inspect: error: %s\ntricot inspect --help shows the options\n",
          error->text);
  return EXIT_USAGE;
}

static int print_help(void) {
  Text text = {0};
  options_help(rows, "inspect", &text);
  options_help(compile_options, "inspect", &text);
  printf("%s%s", help, text.at);
  text_free(&text);
  return EXIT_DONE;
}

/* ---- output ---- */

/* What of an input can influence an entry point's results, where that is not all of it. */
typedef struct Share {
  const char *input;
  double read; /* of 1 */
} Share;

/* By entry point: the model's own, and the training step the compiler derives. */
typedef struct Peak {
  const char *entry;
  int64_t bytes; /* of memory */
  VEC(Share) shares;
} Peak;

static void find_shares(Arena *arena, const Graph *graph, Peak *peak) {
  const Reach *reach = graph_reach(graph, arena);
  for (int i = 0; i < graph->inputs.count; i++) {
    const GraphInput *input = &graph->inputs.at[i];
    double elements = (double)type_elements(&input->value->type);
    Share share = {arena_strdup(arena, input->name), (double)reach_elements(&reach[i]) / elements};
    if (input->role == ROLE_INPUT && share.read < 1)
      vec_push(arena, &peak->shares, share);
  }
}

/* -1 when an entry point does not fit the memory budget; why is on stderr then. */
static int find_peaks(Arena *arena, const Model *model, const CompileRequest *request,
                      Peak **peaks) {
  int n = 0, entries = model_entry_count(model);
  *peaks = ARENA_ARRAY(arena, Peak, entries + 1);
  for (int i = 0; i <= entries; i++) {
    Peak peak = {.entry = i < entries ? model_entry_name(model, i) : "train_step"};
    Compiled compiled;
    if (i == entries && !model_train_entry(model))
      continue;
    if (compiled_peak(&compiled, &request->model, request->mixed, peak.entry,
                      request->passes.memory_budget, &peak.bytes)) {
      find_shares(arena, compiled.build.graphs.at[0], &peak);
      (*peaks)[n++] = peak;
    }
    bool over = compiled.build.over_budget;
    if (over)
      diag_print(&compiled.diag, stderr);
    compiled_close(&compiled);
    if (over)
      return -1;
  }
  return n;
}

static void print_json(const Model *model, const ModelSummary *summary, const Peak *peaks,
                       int n_peaks) {
  Text text = {0};
  text_add(&text, "{\n  \"model\": ");
  json_add_string(&text, model_name(model));
  text_add(&text, ",\n  \"variant\": ");
  if (model_variant(model))
    json_add_string(&text, model_variant(model));
  else
    text_add(&text, "null");
  text_add(&text, ",\n  \"parameters\": %" PRId64 ",\n  \"parameters_with_projection\": %" PRId64,
           summary->parameters, summary->with_projection);
  text_add(&text, ",\n  \"buffers\": %" PRId64 ",\n  \"flops\": %.0f,\n  \"stages\": [",
           summary->buffers, summary->flops);
  for (int i = 0; i < summary->n_stages; i++) {
    text_add(&text, "%s\n    {\"name\": ", i ? "," : "");
    json_add_string(&text, summary->stages[i].name);
    text_add(&text, ", \"parameters\": %" PRId64 ", \"flops\": %.0f}",
             summary->stages[i].parameters, summary->stages[i].flops);
  }
  text_add(&text, "\n  ],\n  \"entries\": [");
  for (int i = 0; i < model_entry_count(model); i++) {
    text_add(&text, "%s", i ? ", " : "");
    json_add_string(&text, model_entry_name(model, i));
  }
  text_add(&text, "],\n  \"peak_bytes\": {");
  for (int i = 0; i < n_peaks; i++) {
    text_add(&text, "%s", i ? ", " : "");
    json_add_string(&text, peaks[i].entry);
    text_add(&text, ": %" PRId64, peaks[i].bytes);
  }
  text_add(&text, "},\n  \"reads\": {");
  for (int i = 0; i < n_peaks; i++) {
    text_add(&text, "%s", i ? ", " : "");
    json_add_string(&text, peaks[i].entry);
    text_add(&text, ": {");
    for (int s = 0; s < peaks[i].shares.count; s++) {
      text_add(&text, "%s", s ? ", " : "");
      json_add_string(&text, peaks[i].shares.at[s].input);
      text_add(&text, ": %.9g", peaks[i].shares.at[s].read);
    }
    text_add(&text, "}");
  }
  text_add(&text, "},\n  \"args\": {");
  for (int i = 0; i < model_arg_count(model); i++) {
    text_add(&text, "%s\n    ", i ? "," : "");
    json_add_string(&text, model_arg_name(model, i));
    text_add(&text, ": %s", model_arg_value(model, i));
  }
  text_add(&text, "\n  }\n}\n");
  fputs(text.at, stdout);
  text_free(&text);
}

static void print_list(const char *title, int count, const char *(*name)(const Model *, int),
                       const Model *model) {
  if (!count)
    return;
  printf("%-12s", title);
  for (int i = 0; i < count; i++)
    printf("%s%s", i ? ", " : "", name(model, i));
  printf("\n");
}

static void print_row(const char *name, int64_t parameters, double flops) {
  printf("  %-16s %14" PRId64 " %18.0f  %9.3f G\n", name, parameters, flops, flops / 1e9);
}

static void print_table(const Model *model, const ModelSummary *summary, const Peak *peaks,
                        int n_peaks) {
  int64_t parameters = summary->parameters;
  double flops = summary->flops;
  printf("%s%s%s (%s)\n", model_name(model), model_variant(model) ? " " : "",
         model_variant(model) ? model_variant(model) : "", model_path(model));
  if (model_doc(model))
    printf("%s\n", model_doc(model));
  printf("\n  %-16s %14s %18s\n", "stage", "parameters", "FLOPs");
  for (int i = 0; i < summary->n_stages; i++) {
    const ModelStage *stage = &summary->stages[i];
    print_row(stage->name, stage->parameters, stage->flops);
    parameters -= stage->parameters;
    flops -= stage->flops;
  }
  if (parameters || flops != 0)
    print_row("(other)", parameters, flops);
  print_row("total", summary->parameters, summary->flops);
  if (summary->with_projection != summary->parameters)
    printf("  %-16s %14" PRId64 "\n", "with projection", summary->with_projection);
  printf("\nFLOPs: entry %s in training mode, one sample, a multiply-add as one\n\n",
         summary->counted_entry);
  printf("  %-16s %14s\n", "memory of", "MiB");
  for (int i = 0; i < n_peaks; i++)
    printf("  %-16s %14.1f\n", peaks[i].entry, (double)peaks[i].bytes / (1 << 20));
  printf("weights, optimizer state and working memory, at the batch the arguments say\n\n");
  for (int i = 0; i < n_peaks; i++)
    for (int s = 0; s < peaks[i].shares.count; s++)
      printf("%s reads %.1f %% of the elements of `%s`\n%s", peaks[i].entry,
             100 * peaks[i].shares.at[s].read, peaks[i].shares.at[s].input,
             s + 1 == peaks[i].shares.count ? "\n" : "");
  print_list("variants", model_variant_count(model), model_variant_name, model);
  print_list("entries", model_entry_count(model), model_entry_name, model);
  printf("arguments\n");
  for (int i = 0; i < model_arg_count(model); i++)
    printf("  %-20s %s\n", model_arg_name(model, i), model_arg_value(model, i));
}

/* ---- the page ---- */

static EntryRequest entry_request(const Inspect *in, const Model *model) {
  const char *name = options_text(&in->options, "entry");
  const char *mode = options_text(&in->options, "mode");
  if (!name)
    name = model_has_entry(model, "encode_image") || !model_entry_count(model)
               ? "encode_image"
               : model_entry_name(model, 0);
  return (EntryRequest){
      .entry = name, .name = name, .training = mode && strcmp(mode, "train") == 0};
}

enum { MOST_ARCHS = 16 };

/* An entry point's kernels; with architectures, what they need there too (else report is empty). */
static bool build_entry_point(Inspect *in, const Model *model, const Target *targets, int n_archs,
                              Compiled *compiled, CudaReport *report, Error *error) {
  CudaImage *images = ARENA_ARRAY(in->arena, CudaImage, n_archs + 1);
  EntryRequest *entry = ARENA_NEW(in->arena, EntryRequest);
  *entry = entry_request(in, model);
  *report = (CudaReport){0};
  for (int i = 0; i < n_archs; i++)
    images[i] = (CudaImage){.arch = targets[i].arch};
  if (n_archs)
    in->request.target = targets[0].text;
  in->request.entries = entry;
  in->request.n_entries = 1;
  bool good = compiled_build(compiled, &in->request, error) &&
              (!n_archs || (compiled_images(compiled, images, n_archs, error) &&
                            cuda_report(compiled, images, n_archs, report, error)));
  diag_print(&compiled->diag, stderr);
  return good;
}

/* The model's graph of an entry point, its kernels and its memory, as one HTML file. */
static bool write_page(Inspect *in, const Model *model, const Target *targets, int n_archs,
                       const char *path, Error *error) {
  Compiled compiled;
  CudaReport report;
  Text page = {0};
  bool good = build_entry_point(in, model, targets, n_archs, &compiled, &report, error);
  if (good) {
    View view = view_open(compiled.arena, &compiled);
    view.report = &report;
    view_page(&view, &page);
    good = command_output(path, &page, error);
  }
  text_free(&page);
  compiled_close(&compiled);
  return good;
}

/* ---- kernels on CUDA architectures ---- */

/* An entry point's kernels and what they need on each of the targets. */
static bool show_cuda(Inspect *in, const Model *model, const Target *targets, int count,
                      Error *error) {
  CudaReport report;
  Compiled compiled;
  Text text = {0};
  bool good = build_entry_point(in, model, targets, count, &compiled, &report, error);
  if (good)
    (options_flag(&in->options, "json") ? cuda_report_json : cuda_report_table)(&compiled, &report,
                                                                                &text);
  printf("%s", text.at ? text.at : "");
  text_free(&text);
  compiled_close(&compiled);
  return good;
}

/* The architectures of --target, none where it names no CUDA target; -1: it names others too. */
static int cuda_targets(Inspect *in, Target *targets, Error *error) {
  int n = target_list(in->arena, in->request.target, targets, MOST_ARCHS, error), cuda = 0;
  for (int i = 0; i < n; i++)
    cuda += targets[i].kind == TARGET_CUDA && targets[i].code_only && !targets[i].ptx;
  if (!n)
    return -1;
  if (cuda && cuda < n) {
    error_set(error, "--target %s: error: architectures as in cuda:sm_80,sm_90a, or one target",
              in->request.target);
    return -1;
  }
  return cuda;
}

/* ---- the command ---- */

/* Counts of a batch, as those of one sample. */
static void per_sample(const Model *model, ModelSummary *summary) {
  double batch;
  if (!model_number(model, "batch", &batch) || batch < 1)
    return;
  summary->flops /= batch;
  for (int i = 0; i < summary->n_stages; i++)
    summary->stages[i].flops /= batch;
}

static Model *load_and_count(Arena *arena, Diag *diag, const ModelRequest *request,
                             ModelSummary *summary) {
  Model *model = model_load(arena, diag, request);
  return model && model_summary(model, diag, summary) ? model : NULL;
}

/* A batch of 1 may be too few for batch statistics on a small grid: counts of 2 serve as well. */
static bool count(Inspect *in, Diag *diag, Model **model, ModelSummary *summary) {
  ModelRequest *request = &in->request.model;
  double batch;
  Model *counted = *model = load_and_count(in->arena, diag, request, summary);
  if (!*model) {
    Diag second;
    ModelRequest larger = *request;
    diag_init(&second, in->arena);
    in->sets[larger.n_sets++] = "batch=2";
    counted = load_and_count(in->arena, &second, &larger, summary);
    diag_init(&second, in->arena);
    *model = counted ? model_load(in->arena, &second, request) : NULL;
    if (!*model || !model_number(*model, "batch", &batch) || batch != 1)
      return false;
    diag_init(diag, in->arena);
  }
  per_sample(counted, summary);
  return true;
}

static bool inspect(Inspect *in, Diag *diag, Error *error) {
  ModelSummary summary;
  Model *model;
  const char *html = options_text(&in->options, "html");
  Target targets[MOST_ARCHS];
  int n_cuda = cuda_targets(in, targets, error);
  if (n_cuda < 0)
    return false;
  if (html) {
    model = model_load(in->arena, diag, &in->request.model);
    return model && write_page(in, model, targets, n_cuda, html, error);
  }
  if (n_cuda) {
    model = model_load(in->arena, diag, &in->request.model);
    return model && show_cuda(in, model, targets, n_cuda, error);
  }
  if (!count(in, diag, &model, &summary))
    return false;
  Peak *peaks;
  int n_peaks = find_peaks(in->arena, model, &in->request, &peaks);
  if (n_peaks < 0)
    return false;
  if (options_flag(&in->options, "json"))
    print_json(model, &summary, peaks, n_peaks);
  else
    print_table(model, &summary, peaks, n_peaks);
  return true;
}

static bool check_options(const Inspect *in, Error *error) {
  const Options *o = &in->options;
  const char *target = options_text(o, "target");
  if (!o->rest.count)
    return error_set(error, "no model file given");
  if (o->rest.count > 1)
    return error_set(error, "one model at a time, not also %.200s", o->rest.at[1]);
  bool cuda = target && strncmp(target, "cuda:", 5) == 0;
  if (options_text(o, "html") ? options_flag(o, "json")
                              : !cuda && (options_text(o, "entry") || options_text(o, "mode")))
    return error_set(error, options_text(o, "html")
                                ? "--json or --html"
                                : "--entry and --mode go with --html or --target cuda:ARCH");
  return !options_text(o, "html") || !target || strcmp(target, "interp") != 0 ||
         error_set(error, "the target interp has no kernels to draw");
}

static int inspect_with(Inspect *in, int argc, char **argv) {
  Error error = {0};
  Diag diag;
  diag_init(&diag, in->arena);
  if (!options_parse(&in->options, in->arena, rows, compile_options, argc, argv, &error))
    return usage(&error);
  if (options_flag(&in->options, "help"))
    return print_help();
  if (!check_options(in, &error))
    return usage(&error);
  const char *path = in->options.rest.at[0];
  bool good = run_file_complete(&in->options, &path, &error) &&
              compile_request_from(in->arena, &in->options, path, &in->request, &error);
  if (good) {
    ModelRequest *model = &in->request.model;
    in->sets = ARENA_ARRAY(in->arena, const char *, model->n_sets + 1);
    for (int i = 0; i < model->n_sets; i++)
      in->sets[i] = model->sets[i];
    model->sets = in->sets;
    if (!TRICOT_LLVM && !options_text(&in->options, "target"))
      in->request.target = "c";
    good = inspect(in, &diag, &error);
  }
  diag_print(&diag, stderr);
  if (*error.text)
    fprintf(stderr, "%s\n", error.text);
  return good ? EXIT_DONE : EXIT_INPUT;
}

int cmd_inspect(int argc, char **argv) {
  Inspect in = {.arena = arena_new()};
  int status = inspect_with(&in, argc, argv);
  arena_free(in.arena);
  return status;
}
