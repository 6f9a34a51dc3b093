/* `tricot inspect`: what a model file says, before anything is run.
 *
 * Parameters are counted as declared, used or not; FLOPs by fvcore's rule on the training-mode
 * graph of the model's counted entry (an encoder alone, or a CLIP model's `forward`), for one
 * sample.
 */
#include "driver/cmd_inspect.h"
#include "driver/compile.h"
#include "ir/reach.h"
#include "runtime/base/json.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct Options {
  ModelRequest request;
  bool json;
} Options;

static const char help[] =
    "Usage: tricot inspect MODEL.yaml [options]\n\n"
    "Shows a model's parameters, floating-point operations, stages, memory and arguments.\n\n"
    "  --variant NAME   of the model file (clip files: of their image encoder)\n"
    "  --set ARG=VALUE  sets an argument: text.width=64, volume=[32,64,64]\n"
    "  --json           print JSON\n\n"
    "Examples:\n"
    "  tricot inspect models/dcformer.yaml --variant nano\n"
    "  tricot inspect models/clip-dcformer.yaml --variant tiny --set text.layers=6 --json\n";

static int usage(const char *problem, const char *word) {
  fprintf(stderr, "tricot inspect: error: %s%s\n", problem, word);
  fprintf(stderr,
          "usage: tricot inspect MODEL.yaml [--variant V] [--set name=value]... [--json]\n");
  return EXIT_USAGE;
}

/* `--name value` or `--name=value`; NULL when argv[*i] is another option. */
static const char *option(int argc, char **argv, int *i, const char *name) {
  size_t length = strlen(name);
  if (strncmp(argv[*i], name, length) != 0)
    return NULL;
  if (argv[*i][length] == '=')
    return argv[*i] + length + 1;
  if (argv[*i][length])
    return NULL;
  return *i + 1 < argc ? argv[++*i] : "";
}

static int read_options(int argc, char **argv, const char **sets, Options *options) {
  ModelRequest *request = &options->request;
  request->sets = sets;
  for (int i = 1; i < argc; i++) {
    const char *value = NULL;
    if (strcmp(argv[i], "--json") == 0) {
      options->json = true;
    } else if ((value = option(argc, argv, &i, "--variant"))) {
      request->variant = value;
    } else if ((value = option(argc, argv, &i, "--set"))) {
      sets[request->n_sets++] = value;
    } else if (argv[i][0] == '-') {
      return usage("unknown option ", argv[i]);
    } else if (request->path) {
      return usage("one model at a time, not also ", argv[i]);
    } else {
      request->path = argv[i];
    }
    if (value && !*value)
      return usage("a value is missing after ", argv[i]);
  }
  return request->path ? EXIT_DONE : usage("no model file given", "");
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

static int find_peaks(Arena *arena, const Model *model, const ModelRequest *request, Peak **peaks) {
  int n = 0, entries = model_entry_count(model);
  *peaks = ARENA_ARRAY(arena, Peak, entries + 1);
  for (int i = 0; i <= entries; i++) {
    Peak peak = {.entry = i < entries ? model_entry_name(model, i) : "train_step"};
    Compiled compiled;
    if (i == entries && !model_train_entry(model))
      continue;
    if (compiled_peak(&compiled, request, peak.entry, &peak.bytes)) {
      find_shares(arena, compiled.build.graphs.at[0], &peak);
      (*peaks)[n++] = peak;
    }
    compiled_close(&compiled);
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
static bool inspect(Arena *arena, Diag *diag, const Options *options, const char **sets) {
  ModelSummary summary;
  double batch;
  Model *model = load_and_count(arena, diag, &options->request, &summary), *counted = model;
  if (!model) {
    Diag second;
    ModelRequest request = options->request;
    diag_init(&second, arena);
    sets[request.n_sets++] = "batch=2";
    counted = load_and_count(arena, &second, &request, &summary);
    diag_init(&second, arena);
    model = counted ? model_load(arena, &second, &options->request) : NULL;
    if (!model || !model_number(model, "batch", &batch) || batch != 1)
      return false;
    diag_init(diag, arena);
  }
  per_sample(counted, &summary);
  Peak *peaks;
  int n_peaks = find_peaks(arena, model, &options->request, &peaks);
  if (options->json)
    print_json(model, &summary, peaks, n_peaks);
  else
    print_table(model, &summary, peaks, n_peaks);
  return true;
}

int cmd_inspect(int argc, char **argv) {
  Arena *arena = arena_new();
  const char **sets = ARENA_ARRAY(arena, const char *, argc + 1);
  Options options = {0};
  Diag diag;
  diag_init(&diag, arena);
  for (int i = 1; i < argc; i++)
    if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
      fputs(help, stdout);
      arena_free(arena);
      return EXIT_DONE;
    }
  int status = read_options(argc, argv, sets, &options);
  if (status == EXIT_DONE && !inspect(arena, &diag, &options, sets))
    status = EXIT_INPUT;
  diag_print(&diag, stderr);
  arena_free(arena);
  return status;
}
