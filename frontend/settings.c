/* Arguments: defaults, and what variants, importers and --set put in their place.
 *
 * A default fixes the kind of its argument. Later values must be of that kind: an integer serves
 * where a real number is wanted, a list's elements are of the kind of the default's first one, and
 * groups (mappings) are set member by member.
 */
#include "frontend/parts.h"
#include <string.h>

static bool convert(Loader *loader, const char *path, Datum *slot, const Datum *given, Loc loc);

static bool convert_list(Loader *loader, const char *path, Datum *slot, const Datum *given,
                         Loc loc) {
  Datum list = *given;
  list.items = ARENA_ARRAY(loader->arena, Datum, given->count + 1);
  for (int i = 0; i < given->count; i++) {
    list.items[i] = slot->count ? slot->items[0] : given->items[i];
    if (slot->count && !convert(loader, arena_printf(loader->arena, "%s[%d]", path, i),
                                &list.items[i], &given->items[i], loc))
      return false;
  }
  *slot = list;
  return true;
}

static bool unknown_arg(Loader *loader, const char *path, const char *const *names, int count,
                        Loc loc) {
  const char *nearest = diag_nearest(path, names, count);
  return nearest ? diag_error(loader->diag, loc, "no argument '%s'; did you mean '%s'?", path,
                              nearest)
                 : diag_error(loader->diag, loc, "no argument '%s'", path);
}

static bool convert_record(Loader *loader, const char *path, Datum *slot, const Datum *given,
                           Loc loc) {
  for (int i = 0; i < given->count; i++) {
    Datum *member = (Datum *)datum_member(slot, given->keys[i]);
    if (!member)
      return unknown_arg(loader, given->keys[i], slot->keys, slot->count, loc);
    if (!convert(loader, arena_printf(loader->arena, "%s.%s", path, given->keys[i]), member,
                 &given->items[i], loc))
      return false;
  }
  return true;
}

static bool convert(Loader *loader, const char *path, Datum *slot, const Datum *given, Loc loc) {
  if (slot->kind == DATUM_REAL && given->kind == DATUM_INT) {
    *slot = datum_real((double)given->integer);
    return true;
  }
  if (slot->kind != given->kind && slot->kind != DATUM_NONE)
    return diag_error(loader->diag, loc, "argument '%s' is %s, not %s (%s)", path,
                      datum_kind_name(slot->kind), datum_kind_name(given->kind),
                      datum_text(loader->arena, given));
  if (slot->kind == DATUM_LIST)
    return convert_list(loader, path, slot, given, loc);
  if (slot->kind == DATUM_RECORD)
    return convert_record(loader, path, slot, given, loc);
  *slot = *given;
  return true;
}

/* The value a dotted path leads to, NULL when there is none. */
static Datum *find_arg(Model *model, const char *path, Named **arg) {
  size_t length = strcspn(path, ".");
  for (int i = 0; i < model->args.count; i++) {
    Named *named = &model->args.at[i];
    if (strncmp(named->name, path, length) != 0 || named->name[length])
      continue;
    *arg = named;
    Datum *value = &named->value;
    for (path += length; value && *path == '.'; path += length) {
      path++;
      length = strcspn(path, ".");
      const char *key = arena_strndup(model->arena, path, length);
      value = value->kind == DATUM_RECORD ? (Datum *)datum_member(value, key) : NULL;
    }
    return value;
  }
  return NULL;
}

bool set_arg(Loader *loader, Model *model, const char *path, const Datum *value, Loc loc) {
  Named *arg = NULL;
  Datum *slot = find_arg(model, path, &arg);
  if (slot) {
    arg->loc = loc;
    return convert(loader, path, slot, value, loc);
  }
  VEC(const char *) names = {0};
  for (int i = 0; i < model->args.count; i++) {
    const Named *named = &model->args.at[i];
    vec_push(loader->arena, &names, named->name);
    for (int k = 0; named->value.kind == DATUM_RECORD && k < named->value.count; k++) {
      const char *member =
          arena_printf(loader->arena, "%s.%s", named->name, named->value.keys[k]);
      vec_push(loader->arena, &names, member);
    }
  }
  if (yaml_get(yaml_get(model->root, "let"), path))
    return diag_error(loader->diag, loc, "'%s' follows from the arguments; it cannot be set",
                      path);
  return unknown_arg(loader, path, names.at, names.count, loc);
}

/* ---- where values come from ---- */

static bool no_variant(Loader *loader, const Model *model, const Setup *setup,
                       const Yaml *variants) {
  VEC(const char *) names = {0};
  for (int i = 0; i < variants->count; i++)
    vec_push(loader->arena, &names, variants->pairs[i].key->text);
  const char *nearest = diag_nearest(setup->variant, names.at, names.count);
  if (nearest)
    return diag_error(loader->diag, setup->variant_loc,
                      "model '%s' has no variant '%s'; did you mean '%s'?", model->name,
                      setup->variant, nearest);
  Text text = {0};
  for (int i = 0; i < names.count; i++)
    text_add(&text, "%s%s", i ? ", " : "", names.at[i]);
  diag_error(loader->diag, setup->variant_loc, "model '%s' has no variant '%s'; it has %s",
             model->name, setup->variant, text.at ? text.at : "none");
  text_free(&text);
  return false;
}

static bool set_variant(Loader *loader, Model *model, const Yaml *variant) {
  bool good = true;
  if (variant->kind != YAML_MAPPING)
    return diag_error(loader->diag, variant->loc, "a variant is a mapping of arguments, not %s",
                      yaml_kind_name(variant));
  for (int i = 0; i < variant->count; i++) {
    const YamlPair *pair = &variant->pairs[i];
    Making making;
    Frame frame;
    Model nothing = {.arena = loader->arena};
    Datum value;
    map_init(&nothing.modules, loader->arena);
    making_start(&making, loader->arena, loader->diag, &nothing, &frame);
    good = evaluate_yaml(&making, pair->value, &value) &&
           set_arg(loader, model, pair->key->text, &value, pair->key->loc) && good;
  }
  return good;
}

static Datum copy_datum(Arena *arena, const Datum *datum) {
  Datum copy = *datum;
  copy.items = ARENA_ARRAY(arena, Datum, datum->count + 1);
  for (int i = 0; i < datum->count; i++)
    copy.items[i] = copy_datum(arena, &datum->items[i]);
  return copy;
}

/* Every variant must fit the arguments, chosen or not: those not chosen are set on a copy. */
static bool apply_variant(Loader *loader, Model *model, const Setup *setup) {
  const Yaml *variants = yaml_get(model->root, "variants");
  bool good = true, found = false;
  if (setup->variant && !variants && !model->variants_from)
    return diag_error(loader->diag, setup->variant_loc, "model '%s' has no variants",
                      model->name);
  for (int i = 0; variants && i < variants->count; i++) {
    const YamlPair *pair = &variants->pairs[i];
    bool chosen = setup->variant && strcmp(pair->key->text, setup->variant) == 0;
    Model copy = *model;
    memset(&copy.args, 0, sizeof copy.args);
    for (int k = 0; !chosen && k < model->args.count; k++) {
      Named arg = model->args.at[k];
      arg.value = copy_datum(loader->arena, &arg.value);
      vec_push(loader->arena, &copy.args, arg);
    }
    found |= chosen;
    good &= set_variant(loader, chosen ? model : &copy, pair->value);
  }
  if (good && setup->variant && !found && !model->variants_from)
    return no_variant(loader, model, setup, variants);
  return good;
}

/* Text arguments take the rest of the option as it stands; others an expression of constants. */
static bool setting_value(Loader *loader, const Setting *setting, const Datum *slot,
                          Datum *value) {
  Making making;
  Frame frame;
  Scanner scanner;
  Model nothing = {.arena = loader->arena};
  map_init(&nothing.modules, loader->arena);
  const char *rest = setting->text->text + setting->value_at;
  if (slot && slot->kind == DATUM_TEXT && rest[0] != '"' && rest[0] != '\'') {
    *value = datum_of_text(rest);
    return true;
  }
  if (!scanner_start(&scanner, loader->diag, setting->text))
    return false;
  scanner_seek(&scanner, setting->value_at);
  Expr *expr = parse_expression(&scanner);
  making_start(&making, loader->arena, loader->diag, &nothing, &frame);
  return expr && scanner_expect_end(&scanner) && evaluate(&making, expr, value);
}

bool apply_setup(Loader *loader, Model *model, const Setup *setup) {
  bool good = apply_variant(loader, model, setup);
  for (int i = 0; i < setup->args.count; i++)
    good &= set_arg(loader, model, setup->args.keys[i], &setup->args.items[i],
                    setup->arg_locs[i]);
  for (int i = 0; i < setup->settings.count; i++) {
    const Setting *setting = &setup->settings.at[i];
    Named *arg;
    Datum value;
    Loc loc = yaml_place(loader->diag, setting->text, setting->path_at);
    good &= setting_value(loader, setting, find_arg(model, setting->path, &arg), &value) &&
            set_arg(loader, model, setting->path, &value, loc);
  }
  return good;
}
