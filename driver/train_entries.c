/* Deriving the entry points of training. See train_entries.h. */
#include "driver/train_entries.h"
#include <string.h>

enum { MAX_LATENTS = 8 };

typedef struct Deriving {
  PassContext *context;
  Model *model;
  bool keep_taps, keep_gradients;
  Error *error;
} Deriving;

/* The entry point in training mode, after passes that must see it before gradients are added. */
static Graph *forward(const Deriving *d, const char *entry) {
  Graph *graph = model_build(d->model, d->context->diag, entry, true);
  int kept = 0;
  for (int i = 0; graph && i < graph->outputs.count; i++)
    if (d->keep_taps || !graph->outputs.at[i].tap)
      graph->outputs.at[kept++] = graph->outputs.at[i];
  if (graph)
    graph->outputs.count = kept;
  static const char *const ahead[] = {"norm_bias", "attend", "narrow"};
  return graph ? passes_run(d->context, graph, ahead, 3, d->context->options) : NULL;
}

static double number(const Deriving *d, const char *name, double fallback) {
  double value;
  return model_number(d->model, name, &value) ? value : fallback;
}

static Graph *optimize(const Deriving *d, Graph *graph) {
  OptimizerConfig config = {.beta1 = number(d, "optimizer.beta1", 0.9),
                            .beta2 = number(d, "optimizer.beta2", 0.95),
                            .eps = number(d, "optimizer.eps", 1e-8),
                            .decay = number(d, "optimizer.decay", 0.05),
                            .clip = true};
  return graph ? graph_add_adamw(d->context, graph, &config, d->keep_gradients) : NULL;
}

static Graph *with_gradients(const Deriving *d) {
  Graph *graph = forward(d, model_train_entry(d->model));
  return graph ? graph_add_gradients(d->context, graph, model_train_loss(d->model)) : NULL;
}

static Graph *build_step(const Deriving *d) { return optimize(d, with_gradients(d)); }

static Graph *build_micro(const Deriving *d) {
  Graph *graph = with_gradients(d);
  return graph ? graph_add_accumulation(d->context, graph) : NULL;
}

static Graph *build_apply(const Deriving *d) {
  Graph *graph = with_gradients(d);
  if (graph)
    graph = optimize(d, graph_accumulated(d->context, graph, "train_apply"));
  return graph ? graph_reset_accumulated(d->context, graph) : NULL;
}

/* The data inputs of the contrast: outputs of the training entry. */
static int latents(const Deriving *d, const Graph *contrast, const char **names) {
  int count = 0;
  for (int i = 0; i < contrast->inputs.count; i++)
    if (contrast->inputs.at[i].role == ROLE_INPUT && count < MAX_LATENTS)
      names[count++] = contrast->inputs.at[i].name;
  if (!count)
    error_set(d->error, "%s: error: entry point '%s' takes no latents", model_path(d->model),
              model_train_contrast(d->model));
  return count;
}

/* Builds the contrast and lists its latents; NULL after errors. */
static Graph *contrast(const Deriving *d, const char **names, int *count) {
  const char *entry = model_train_contrast(d->model);
  if (!entry) {
    error_set(d->error,
              "%s: error: 'train' names no 'contrast' entry, so losses over several batches "
              "cannot be computed",
              model_path(d->model));
    return NULL;
  }
  Graph *graph = forward(d, entry);
  *count = graph ? latents(d, graph, names) : 0;
  return *count ? graph : NULL;
}

static Graph *build_embed(const Deriving *d) {
  const char *names[MAX_LATENTS];
  int count;
  if (!contrast(d, names, &count))
    return NULL;
  Graph *graph = forward(d, model_train_entry(d->model));
  return graph ? graph_keep_outputs(d->context, graph, names, count) : NULL;
}

static Graph *build_contrast(const Deriving *d) {
  const char *names[MAX_LATENTS];
  int count;
  Graph *graph = contrast(d, names, &count);
  if (graph)
    graph = graph_add_input_gradients(d->context, graph, model_train_loss(d->model), names, count);
  return graph ? graph_add_accumulation(d->context, graph) : NULL;
}

static Graph *build_backward(const Deriving *d) {
  const char *names[MAX_LATENTS];
  int count;
  if (!contrast(d, names, &count))
    return NULL;
  Graph *graph = forward(d, model_train_entry(d->model));
  if (graph)
    graph = graph_add_surrogate(d->context, graph, names, count, model_train_loss(d->model));
  if (graph)
    graph = graph_add_gradients(d->context, graph, "surrogate");
  return graph ? graph_add_accumulation(d->context, graph) : NULL;
}

static const struct {
  const char *name;
  Graph *(*build)(const Deriving *deriving);
} derived[] = {{"train_step", build_step},         {"train_micro", build_micro},
               {"train_apply", build_apply},       {"train_embed", build_embed},
               {"train_contrast", build_contrast}, {"train_backward", build_backward}};
enum { DERIVED = sizeof derived / sizeof *derived };

bool train_entry_known(const char *name) {
  for (int i = 0; i < DERIVED; i++)
    if (strcmp(derived[i].name, name) == 0)
      return true;
  return false;
}

Graph *train_entry_build(PassContext *context, Model *model, const char *name, bool keep_taps,
                         bool keep_gradients, Error *error) {
  Deriving deriving = {context, model, keep_taps, keep_gradients, error};
  if (!model_train_entry(model) || !model_has_entry(model, model_train_entry(model))) {
    error_set(error, "%s: error: the model has no entry point '%s'", model_path(model), name);
    return NULL;
  }
  for (int i = 0; i < DERIVED; i++)
    if (strcmp(derived[i].name, name) == 0)
      return derived[i].build(&deriving);
  FAULT("no training entry is called %s", name);
}
