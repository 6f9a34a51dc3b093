/* Loading a model file: sections in the order in which they may refer to each other.
 *
 * args (constants, then variant, importer and --set) -> imports -> let -> checks; modules, entries
 * and inputs are parsed here and evaluated when a graph is made. Errors are collected: a file is
 * refused with as many of them as could be found.
 */
#include "frontend/parts.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* A section's mapping, NULL when absent or (with an error) something else. */
static const Yaml *section(Loader *loader, const Model *model, const char *name, bool *good) {
  const Yaml *node = yaml_get(model->root, name);
  if (node && node->kind != YAML_MAPPING) {
    *good = diag_error(loader->diag, node->loc, "'%s' is a mapping, not %s", name,
                       yaml_kind_name(node));
    return NULL;
  }
  return node;
}

static const char *text_value(Loader *loader, const Yaml *mapping, const char *key, bool *good) {
  const Yaml *node = yaml_get(mapping, key);
  if (!node)
    return NULL;
  if (node->kind != YAML_SCALAR)
    *good = diag_error(loader->diag, node->loc, "'%s' is text, not %s", key, yaml_kind_name(node));
  return node->kind == YAML_SCALAR ? node->text : NULL;
}

/* Names of args, let and imports live together. */
static bool name_is_new(Loader *loader, const Model *model, const Yaml *key) {
  for (int i = 0; i < model->args.count; i++)
    if (strcmp(model->args.at[i].name, key->text) == 0)
      return diag_error(loader->diag, key->loc, "'%s' is an argument already", key->text);
  for (int i = 0; i < model->imports.count; i++)
    if (strcmp(model->imports.at[i].name, key->text) == 0)
      return diag_error(loader->diag, key->loc, "'%s' is an import already", key->text);
  if (is_language_word(key->text))
    return diag_error(loader->diag, key->loc, "'%s' is a word of the language", key->text);
  return true;
}

/* ---- args, let, checks ---- */

/* Defaults are constants: nothing is in scope, so overriding one never leaves another stale. */
static bool load_args(Loader *loader, Model *model) {
  bool good = true;
  const Yaml *args = section(loader, model, "args", &good);
  for (int i = 0; args && i < args->count; i++) {
    const YamlPair *pair = &args->pairs[i];
    Making making;
    Frame frame;
    Model nothing = {.arena = loader->arena};
    Named arg = {.name = pair->key->text, .loc = pair->key->loc};
    map_init(&nothing.modules, loader->arena);
    making_start(&making, loader->arena, loader->diag, &nothing, &frame);
    if (name_is_new(loader, model, pair->key) &&
        evaluate_yaml(&making, pair->value, &arg.value))
      vec_push(loader->arena, &model->args, arg);
    else
      good = false;
  }
  return good;
}

static bool load_lets(Loader *loader, Model *model) {
  bool good = true;
  const Yaml *lets = section(loader, model, "let", &good);
  for (int i = 0; lets && good && i < lets->count; i++) {
    const YamlPair *pair = &lets->pairs[i];
    Making making;
    Frame frame;
    Named let = {.name = pair->key->text, .loc = pair->key->loc};
    making_start(&making, loader->arena, loader->diag, model, &frame);
    good = name_is_new(loader, model, pair->key) &&
           evaluate_yaml(&making, pair->value, &let.value);
    if (good)
      vec_push(loader->arena, &model->lets, let);
  }
  return good;
}

static bool run_checks(Loader *loader, Model *model) {
  const Yaml *checks = yaml_get(model->root, "checks");
  bool good = true;
  if (checks && checks->kind != YAML_SEQUENCE)
    return diag_error(loader->diag, checks->loc, "'checks' is a list, not %s",
                      yaml_kind_name(checks));
  for (int i = 0; checks && i < checks->count; i++) {
    Making making;
    Frame frame;
    Step step = {0};
    making_start(&making, loader->arena, loader->diag, model, &frame);
    good &= parse_check_text(loader->diag, checks->items[i], &step) &&
            run_steps(&making, &(Steps){1, &step});
  }
  return good;
}

/* ---- imports ---- */

/* The settings that start with "name.", without it. */
static bool import_settings(Loader *loader, const char *name, const Setup *setup, Setup *inner,
                            const char **from) {
  size_t length = strlen(name);
  for (int i = 0; i < setup->settings.count; i++) {
    Setting setting = setup->settings.at[i];
    if (strncmp(setting.path, name, length) != 0 || setting.path[length] != '.')
      continue;
    setting.path += length + 1;
    setting.path_at += (int)length + 1;
    const char *value = setting.text->text + setting.value_at;
    if (strcmp(setting.path, "from") == 0) {
      *from = value;
    } else if (strcmp(setting.path, "variant") == 0) {
      inner->variant = value;
      inner->variant_loc = yaml_place(loader->diag, setting.text, setting.value_at);
    } else {
      vec_push(loader->arena, &inner->settings, setting);
    }
  }
  return true;
}

/* The import's own `args` and `variant`, evaluated in the importing model. */
static bool import_values(Loader *loader, Model *model, const Yaml *spec, Setup *inner) {
  Yaml *args = yaml_get(spec, "args"), *variant = yaml_get(spec, "variant");
  Making making;
  Frame frame;
  Datum value;
  making_start(&making, loader->arena, loader->diag, model, &frame);
  if (variant) {
    if (!evaluate_yaml(&making, variant, &value))
      return false;
    if (value.kind != DATUM_TEXT && value.kind != DATUM_NONE)
      return diag_error(loader->diag, variant->loc, "a variant is text, not %s",
                        datum_kind_name(value.kind));
    inner->variant = value.kind == DATUM_TEXT ? value.text : NULL;
    inner->variant_loc = variant->loc;
  }
  if (!args)
    return true;
  if (args->kind != YAML_MAPPING)
    return diag_error(loader->diag, args->loc, "'args' is a mapping, not %s",
                      yaml_kind_name(args));
  inner->arg_locs = ARENA_ARRAY(loader->arena, Loc, args->count + 1);
  for (int i = 0; i < args->count; i++)
    inner->arg_locs[i] = args->pairs[i].value->loc;
  return evaluate_yaml(&making, args, &inner->args);
}

static bool load_import(Loader *loader, Model *model, const YamlPair *pair, const Setup *setup) {
  static const char *const keys[] = {"from", "variant", "args"};
  const Yaml *spec = pair->value, *from_node = spec;
  Setup inner = {0};
  const char *from = NULL;
  if (!name_is_new(loader, model, pair->key))
    return false;
  if (spec->kind != YAML_SCALAR) {
    if (!yaml_check_keys(loader->diag, spec, keys, 3, "an import"))
      return false;
    from_node = yaml_get(spec, "from");
  }
  if (model->variants_from && strcmp(model->variants_from, pair->key->text) == 0) {
    inner.variant = setup->variant;
    inner.variant_loc = setup->variant_loc;
  }
  if (spec->kind == YAML_MAPPING && !import_values(loader, model, spec, &inner))
    return false;
  import_settings(loader, pair->key->text, setup, &inner, &from);
  Loc loc = from_node ? from_node->loc : pair->key->loc;
  if (!from && (!from_node || from_node->kind != YAML_SCALAR))
    return diag_error(loader->diag, loc,
                      "import '%s' names no file: give it from: FILE, or --set %s.from=FILE",
                      pair->key->text, pair->key->text);
  const char *path = find_file(loader, from ? model->path : loc.source->path,
                               from ? from : from_node->text, loc);
  Import import = {pair->key->text, path ? load_file(loader, path, loc, &inner) : NULL};
  if (import.model)
    vec_push(loader->arena, &model->imports, import);
  return import.model != NULL;
}

/* Imports, and settings that belong to none of them go back to `own`. */
static bool load_imports(Loader *loader, Model *model, const Setup *setup) {
  bool good = true;
  const Yaml *imports = section(loader, model, "imports", &good);
  for (int i = 0; imports && i < imports->count; i++)
    good &= load_import(loader, model, &imports->pairs[i], setup);
  return good;
}

/* Without the settings of imported models. */
static Setup own_setup(Loader *loader, const Model *model, const Setup *setup) {
  const Yaml *imports = yaml_get(model->root, "imports");
  Setup own = *setup;
  memset(&own.settings, 0, sizeof own.settings);
  for (int i = 0; i < setup->settings.count; i++) {
    const Setting *setting = &setup->settings.at[i];
    size_t length = strcspn(setting->path, ".");
    const char *head = arena_strndup(loader->arena, setting->path, length);
    if (!setting->path[length] || !yaml_get(imports, head))
      vec_push(loader->arena, &own.settings, *setting);
  }
  return own;
}

/* ---- modules, entries, inputs ---- */

static bool load_modules(Loader *loader, Model *model) {
  bool good = true;
  const Yaml *modules = section(loader, model, "modules", &good);
  for (int i = 0; modules && i < modules->count; i++) {
    const YamlPair *pair = &modules->pairs[i];
    Module *module = parse_module(loader->diag, pair->key, pair->value, model, false);
    if (!module) {
      good = false;
      continue;
    }
    const Module *first = map_get(&model->modules, module->name);
    /* a file that extends another may replace its modules, not define one twice itself */
    if (first && first->loc.source == module->loc.source) {
      good = diag_error(loader->diag, module->loc, "module '%s' is defined twice", module->name);
      diag_note(loader->diag, first->loc, "first defined here");
      continue;
    }
    map_set(&model->modules, module->name, module);
  }
  return good;
}

static bool entry_args_are_inputs(Loader *loader, const Model *model, const Module *entry) {
  VEC(const char *) names = {0};
  for (int k = 0; k < model->inputs.count; k++)
    vec_push(loader->arena, &names, model->inputs.at[k].name);
  for (int i = 0; i < entry->n_args; i++) {
    bool known = false;
    for (int k = 0; k < names.count; k++)
      known |= strcmp(names.at[k], entry->args[i].name) == 0;
    if (known)
      continue;
    const char *nearest = diag_nearest(entry->args[i].name, names.at, names.count);
    if (nearest)
      return diag_error(loader->diag, entry->args[i].loc,
                        "no input is called '%s'; did you mean '%s'?", entry->args[i].name,
                        nearest);
    return diag_error(loader->diag, entry->args[i].loc, "no input is called '%s'",
                      entry->args[i].name);
  }
  return true;
}

static bool load_entries(Loader *loader, Model *model) {
  bool good = true;
  const Yaml *inputs = section(loader, model, "inputs", &good);
  const Yaml *entries = section(loader, model, "entries", &good);
  for (int i = 0; inputs && i < inputs->count; i++) {
    ModelInput input = {inputs->pairs[i].key->text, NULL};
    input.type = expression_parse(loader->diag, inputs->pairs[i].value);
    good &= input.type != NULL;
    vec_push(loader->arena, &model->inputs, input);
  }
  for (int i = 0; entries && i < entries->count; i++) {
    const YamlPair *pair = &entries->pairs[i];
    Module *entry = parse_module(loader->diag, pair->key, pair->value, model, true);
    if (!entry || !entry_args_are_inputs(loader, model, entry)) {
      good = false;
      continue;
    }
    int at = 0;
    while (at < model->entries.count && strcmp(model->entries.at[at]->name, entry->name) != 0)
      at++;
    if (at == model->entries.count)
      vec_push(loader->arena, &model->entries, entry);
    else if (model->entries.at[at]->loc.source != entry->loc.source)
      model->entries.at[at] = entry;
    else
      good = diag_error(loader->diag, entry->loc, "entry '%s' is defined twice", entry->name);
  }
  return good;
}

static bool load_ends(Loader *loader, Model *model) {
  static const char *const projection_keys[] = {"inputs", "outputs"};
  static const char *const train_keys[] = {"entry", "loss", "contrast"};
  bool good = true;
  const Yaml *projection = section(loader, model, "projection", &good);
  const Yaml *train = section(loader, model, "train", &good);
  if (projection &&
      yaml_check_keys(loader->diag, projection, projection_keys, 2, "'projection'")) {
    for (int i = 0; i < 2; i++) {
      Yaml *node = yaml_get(projection, projection_keys[i]);
      Expr *expr = node ? expression_parse(loader->diag, node) : NULL;
      if (!node)
        diag_error(loader->diag, projection->loc, "'projection' needs '%s'", projection_keys[i]);
      *(i ? &model->projection_outputs : &model->projection_inputs) = expr;
      good &= expr != NULL;
    }
  } else if (projection) {
    good = false;
  }
  if (!train)
    return good;
  good &= yaml_check_keys(loader->diag, train, train_keys, 3, "'train'");
  model->train_entry = text_value(loader, train, "entry", &good);
  model->train_loss = text_value(loader, train, "loss", &good);
  if (!model->train_entry || !model->train_loss)
    return diag_error(loader->diag, train->loc, "'train' needs 'entry' and 'loss'");
  model->train_contrast =
      yaml_get(train, "contrast") ? text_value(loader, train, "contrast", &good) : NULL;
  if (model->train_contrast && !model_has_entry(model, model->train_contrast))
    return diag_error(loader->diag, yaml_get(train, "contrast")->loc, "no entry is called '%s'",
                      model->train_contrast);
  if (!model_has_entry(model, model->train_entry))
    return diag_error(loader->diag, yaml_get(train, "entry")->loc, "no entry is called '%s'",
                      model->train_entry);
  return good;
}

/* ---- files ---- */

static Model *load_library(Loader *loader, const char *near, const Yaml *name);

static bool load_libraries(Loader *loader, Model *model) {
  Yaml *use = yaml_get(model->root, "use");
  bool good = true;
  if (!use)
    return true;
  Yaml *one[] = {use}, **items = use->kind == YAML_SEQUENCE ? use->items : one;
  for (int i = 0; i < (use->kind == YAML_SEQUENCE ? use->count : 1); i++) {
    if (items[i]->kind != YAML_SCALAR) {
      good = diag_error(loader->diag, items[i]->loc, "'use' names files of modules");
      continue;
    }
    Model *library = load_library(loader, items[i]->loc.source->path, items[i]);
    if (library)
      vec_push(loader->arena, &model->libraries, library);
    good &= library != NULL;
  }
  return good;
}

static Model *new_model(Loader *loader, const char *path, Yaml *root) {
  Model *model = ARENA_NEW(loader->arena, Model);
  *model = (Model){.arena = loader->arena, .diag = loader->diag, .loc = root->loc, .root = root};
  model->path = arena_strdup(loader->arena, path);
  map_init(&model->modules, loader->arena);
  return model;
}

/* The first line of the file says which language it is written in. */
static bool check_version(Loader *loader, const Model *model) {
  const Yaml *version = yaml_get(model->root, "tricot");
  if (!version)
    return diag_error(loader->diag, model->loc, "a model file starts with 'tricot: 1'");
  if (!yaml_is(version, "1"))
    return diag_error(loader->diag, version->loc, "version 1 of the language is the one known");
  return true;
}

/* Each file of modules is read once; models that use it share its modules. */
static Model *load_library(Loader *loader, const char *near, const Yaml *name) {
  static const char *const keys[] = {"tricot", "library", "doc", "use", "modules"};
  const char *path = find_file(loader, near, name->text, name->loc);
  char real[PATH_MAX];
  if (!path)
    return NULL;
  if (!realpath(path, real))
    snprintf(real, sizeof real, "%s", path);
  Model *library = map_get(&loader->libraries, real);
  if (library)
    return library;
  if (!open_file(loader, path, name->loc))
    return NULL;
  Yaml *root = yaml_read(loader->diag, path, name->loc);
  bool good = root && yaml_check_keys(loader->diag, root, keys, 5, "a file of modules");
  if (good) {
    library = new_model(loader, path, root);
    library->library = true;
    library->name = text_value(loader, root, "library", &good);
    good &= check_version(loader, library);
    good &= load_libraries(loader, library);
    good &= load_modules(loader, library);
    if (!library->name)
      good = diag_error(loader->diag, root->loc, "a file of modules names itself: library: NAME");
  }
  loader->open.count--;
  if (!good)
    return NULL;
  map_set(&loader->libraries, real, library);
  return library;
}

static bool load_sections(Loader *loader, Model *model, const Setup *setup) {
  static const char *const keys[] = {"tricot",  "model",   "doc",    "extends",       "use",
                                     "imports", "args",    "let",    "variants",      "checks",
                                     "inputs",  "modules", "entries", "variants_from", "projection",
                                     "train"};
  bool good = yaml_check_keys(loader->diag, model->root, keys, sizeof keys / sizeof *keys,
                              "a model file");
  good &= check_version(loader, model);
  model->name = text_value(loader, model->root, "model", &good);
  model->doc = text_value(loader, model->root, "doc", &good);
  model->variants_from = text_value(loader, model->root, "variants_from", &good);
  model->variant = setup->variant;
  section(loader, model, "variants", &good);
  if (model->variants_from &&
      !yaml_get(yaml_get(model->root, "imports"), model->variants_from))
    good = diag_error(loader->diag, yaml_get(model->root, "variants_from")->loc,
                      "no import is called '%s'", model->variants_from);
  if (!model->name)
    return diag_error(loader->diag, model->loc, "a model file names its model: model: NAME");
  Setup own = own_setup(loader, model, setup);
  good &= load_libraries(loader, model);
  good &= load_modules(loader, model);
  good &= load_entries(loader, model);
  good &= load_args(loader, model);
  if (!good)
    return false; /* what follows would only repeat it */
  return apply_setup(loader, model, &own) && load_imports(loader, model, setup) &&
         load_lets(loader, model) && run_checks(loader, model) && load_ends(loader, model);
}

Model *load_file(Loader *loader, const char *path, Loc from, const Setup *setup) {
  Yaml *root = load_tree(loader, path, from);
  if (!root || !open_file(loader, path, from))
    return NULL;
  Model *model = new_model(loader, path, root);
  bool good = load_sections(loader, model, setup);
  loader->open.count--;
  return good ? model : NULL;
}
