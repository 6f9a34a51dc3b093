/* The frontend's public functions: loading by request, building entries, reading arguments. */
#include "frontend/parts.h"
#include "ir/op.h"
#include <string.h>

/* ---- loading ---- */

static bool read_setting(Loader *loader, const char *text, Setting *setting) {
  const char *equals = strchr(text, '=');
  Yaml *scalar = yaml_text(loader->diag, "--set", text);
  if (!equals || equals == text || !equals[1])
    return diag_error(loader->diag, scalar->loc, "a setting looks like name=value");
  *setting = (Setting){.text = scalar, .value_at = (int)(equals + 1 - text),
                       .path = arena_strndup(loader->arena, text, (size_t)(equals - text))};
  return true;
}

Model *model_load(Arena *arena, Diag *diag, const ModelRequest *request) {
  Loader loader = {.arena = arena, .diag = diag};
  Setup setup = {.variant = request->variant};
  bool good = true;
  map_init(&loader.libraries, arena);
  if (request->variant)
    setup.variant_loc = yaml_text(diag, "--variant", request->variant)->loc;
  for (int i = 0; i < request->n_sets; i++) {
    Setting setting;
    if (read_setting(&loader, request->sets[i], &setting))
      vec_push(arena, &setup.settings, setting);
    else
      good = false;
  }
  return good ? load_file(&loader, request->path, (Loc){0}, &setup) : NULL;
}

/* ---- reading ---- */

const char *model_name(const Model *model) { return model->name; }
const char *model_path(const Model *model) { return model->path; }
const char *model_variant(const Model *model) { return model->variant; }
const char *model_doc(const Model *model) { return model->doc; }
const char *model_train_entry(const Model *model) { return model->train_entry; }
const char *model_train_contrast(const Model *model) { return model->train_contrast; }
const char *model_train_loss(const Model *model) { return model->train_loss; }

static const Yaml *variants_of(const Model *model) {
  for (int i = 0; model->variants_from && i < model->imports.count; i++)
    if (strcmp(model->imports.at[i].name, model->variants_from) == 0)
      return variants_of(model->imports.at[i].model);
  return yaml_get(model->root, "variants");
}

int model_variant_count(const Model *model) {
  const Yaml *variants = variants_of(model);
  return variants ? variants->count : 0;
}

const char *model_variant_name(const Model *model, int i) {
  return variants_of(model)->pairs[i].key->text;
}

int model_entry_count(const Model *model) { return model->entries.count; }

const char *model_entry_name(const Model *model, int i) { return model->entries.at[i]->name; }

static const Module *find_entry(const Model *model, const char *entry) {
  for (int i = 0; i < model->entries.count; i++)
    if (strcmp(model->entries.at[i]->name, entry) == 0)
      return model->entries.at[i];
  return NULL;
}

bool model_has_entry(const Model *model, const char *entry) {
  return find_entry(model, entry) != NULL;
}

/* An expression over the model's arguments. */
static bool model_datum(const Model *model, const char *expression, Datum *value) {
  Diag quiet;
  Making making;
  Frame frame;
  diag_init(&quiet, model->arena);
  Expr *expr = expression_parse(&quiet, yaml_text(&quiet, "argument", expression));
  making_start(&making, model->arena, &quiet, (Model *)model, &frame);
  return expr && evaluate(&making, expr, value);
}

bool model_number(const Model *model, const char *expression, double *value) {
  Datum datum;
  return model_datum(model, expression, &datum) && datum_number(&datum, value);
}

const char *model_text(const Model *model, const char *name) {
  Datum datum;
  return model_datum(model, name, &datum) && datum.kind == DATUM_TEXT ? datum.text : NULL;
}

/* ---- arguments, flattened ---- */

typedef struct ArgList {
  VEC(Local) items;
} ArgList;

static void list_datum(Arena *arena, ArgList *list, const char *name, const Datum *value) {
  if (value->kind != DATUM_RECORD) {
    vec_push(arena, &list->items, ((Local){name, *value}));
    return;
  }
  for (int i = 0; i < value->count; i++)
    list_datum(arena, list, arena_printf(arena, "%s.%s", name, value->keys[i]),
               &value->items[i]);
}

static void list_args(const Model *model, const char *prefix, ArgList *list) {
  Arena *arena = model->arena;
  for (int i = 0; i < model->args.count; i++)
    list_datum(arena, list, arena_printf(arena, "%s%s", prefix, model->args.at[i].name),
               &model->args.at[i].value);
  for (int i = 0; i < model->imports.count; i++)
    list_args(model->imports.at[i].model,
              arena_printf(arena, "%s%s.", prefix, model->imports.at[i].name), list);
}

int model_arg_count(const Model *model) {
  ArgList list = {0};
  list_args(model, "", &list);
  return list.items.count;
}

const char *model_arg_name(const Model *model, int i) {
  ArgList list = {0};
  list_args(model, "", &list);
  return list.items.at[i].name;
}

const char *model_arg_value(const Model *model, int i) {
  ArgList list = {0};
  list_args(model, "", &list);
  return datum_whole_text(model->arena, &list.items.at[i].value);
}

/* ---- building ---- */

/* The call that starts an entry: its arguments are inputs of the graph, or none. */
static bool start_entry(Making *making, const Module *entry, Expr *call, Datum *values) {
  const Model *model = entry->home;
  for (int i = 0; i < entry->n_args; i++) {
    const char *name = entry->args[i].name;
    for (int k = 0; k < model->inputs.count; k++) {
      const ModelInput *input = &model->inputs.at[k];
      Type type;
      bool absent;
      if (strcmp(input->name, name) != 0)
        continue;
      if (!evaluate_input(making, input->type, &type, &absent))
        return false;
      if (!absent)
        values[i + 1] = tensor_datum(
            making, graph_add_input(making->graph, name, ROLE_INPUT, type, input->type->loc));
      call->items[i + 1] = input->type;
    }
  }
  return true;
}

static bool build_entry(Making *making, Model *model, Diag *diag, const char *name,
                        bool training, Frame *frame) {
  const Module *entry = find_entry(model, name);
  Arena *arena = model->arena;
  making_start(making, arena, diag, model, frame);
  if (!entry) {
    VEC(const char *) names = {0};
    for (int i = 0; i < model->entries.count; i++)
      vec_push(arena, &names, model->entries.at[i]->name);
    const char *nearest = diag_nearest(name, names.at, names.count);
    return nearest ? diag_error(diag, model->loc, "no entry is called '%s'; did you mean '%s'?",
                                name, nearest)
                   : diag_error(diag, model->loc, "no entry is called '%s'", name);
  }
  making->graph = graph_new(arena, name);
  making->builder = (Builder){.graph = making->graph, .diag = diag};
  making->training = training;
  int count = entry->n_args + 1;
  Datum *values = ARENA_ARRAY(arena, Datum, count), result;
  Expr call = {.kind = EXPR_CALL, .loc = entry->loc, .count = count, .n_names = count};
  call.items = ARENA_ARRAY(arena, Expr *, count);
  call.names = ARENA_ARRAY(arena, const char *, count);
  if (!start_entry(making, entry, &call, values) ||
      !call_module(making, entry, &call, values, &result))
    return false;
  if (!making->graph->outputs.count)
    return diag_error(diag, entry->loc, "entry '%s' has no outputs", name);
  return true;
}

Graph *model_build(Model *model, Diag *diag, const char *entry, bool training) {
  Making making;
  Frame frame;
  return build_entry(&making, model, diag, entry, training, &frame) ? making.graph : NULL;
}

/* ---- counting ---- */

static ModelStage *find_stage(ModelSummary *summary, const char *name) {
  for (int i = 0; name && i < summary->n_stages; i++)
    if (strcmp(summary->stages[i].name, name) == 0)
      return &summary->stages[i];
  return NULL;
}

/* Joins what one entry declares with what others did; the same name must mean the same tensor. */
static bool join_declared(Diag *diag, Map *known, const Making *making) {
  for (int i = 0; i < making->declared.count; i++) {
    ModelParameter *parameter = making->declared.at[i];
    const ModelParameter *first = map_get(known, parameter->name);
    if (!first) {
      map_set(known, parameter->name, parameter);
    } else if (!type_equal(&first->type, &parameter->type) || first->role != parameter->role) {
      diag_error(diag, parameter->loc, "'%s' is %s here, and different in another entry",
                 parameter->name, type_text(&parameter->type));
      diag_note(diag, first->loc, "%s here", type_text(&first->type));
      return false;
    }
  }
  return true;
}

static void count_flops(const Graph *graph, ModelSummary *summary) {
  summary->flops = graph_flops(graph);
  for (int i = 0; i < graph->nodes.count; i++) {
    const Node *node = graph->nodes.at[i];
    ModelStage *stage = find_stage(summary, node->stage);
    if (stage && !node->uncounted)
      stage->flops += node->op->flops(node);
  }
}

static void count_parameters(ModelSummary *summary) {
  for (int i = 0; i < summary->n_declared; i++) {
    const ModelParameter *parameter = summary->declared[i];
    int64_t elements = type_elements(&parameter->type);
    ModelStage *stage = find_stage(summary, parameter->stage);
    if (parameter->role == ROLE_BUFFER) {
      summary->buffers += elements;
      continue;
    }
    summary->parameters += elements;
    if (stage)
      stage->parameters += elements;
  }
}

/* inputs * outputs of the projection an encoder declares, 0 where it declares none. */
static bool projection_size(Model *model, Diag *diag, int64_t *size) {
  Making making;
  Frame frame;
  int64_t inputs, outputs;
  *size = 0;
  if (!model->projection_inputs)
    return true;
  making_start(&making, model->arena, diag, model, &frame);
  if (!evaluate_int(&making, model->projection_inputs, "a width", &inputs) ||
      !evaluate_int(&making, model->projection_outputs, "a width", &outputs))
    return false;
  if (inputs < 1 || outputs < 1 || __builtin_mul_overflow(inputs, outputs, size))
    return diag_error(diag, model->projection_inputs->loc, "a projection from %lld to %lld",
                      (long long)inputs, (long long)outputs);
  return true;
}

/* FLOPs are those of the encoder, or of a model of several encoders as a whole. */
static const char *counted_entry(const Model *model) {
  static const char *const wanted[] = {"forward", "encode_image", "encode_text"};
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
    if (model_has_entry(model, wanted[i]))
      return wanted[i];
  return model->entries.count ? model->entries.at[0]->name : NULL;
}

bool model_summary(Model *model, Diag *diag, ModelSummary *summary) {
  Map known;
  VEC(ModelStage) stages = {0};
  int64_t projection;
  const Graph *counted = NULL;
  map_init(&known, model->arena);
  *summary = (ModelSummary){.counted_entry = counted_entry(model)};
  for (int i = 0; i < model->entries.count; i++) {
    const char *name = model->entries.at[i]->name;
    Making making;
    Frame frame;
    if (!build_entry(&making, model, diag, name, true, &frame) ||
        !join_declared(diag, &known, &making))
      return false;
    if (strcmp(name, summary->counted_entry) == 0) {
      counted = making.graph;
      for (int k = 0; k < making.stages.count; k++)
        vec_push(model->arena, &stages, ((ModelStage){.name = making.stages.at[k]}));
    }
  }
  if (!projection_size(model, diag, &projection))
    return false;
  summary->n_stages = stages.count;
  summary->stages = stages.at;
  summary->n_declared = known.entries.count;
  summary->declared = ARENA_ARRAY(model->arena, ModelParameter *, known.entries.count + 1);
  for (int i = 0; i < known.entries.count; i++)
    summary->declared[i] = known.entries.at[i].value;
  count_parameters(summary);
  if (counted)
    count_flops(counted, summary);
  summary->with_projection = summary->parameters + projection;
  return true;
}
