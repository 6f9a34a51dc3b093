/* Calls: which module, entry, function or op a name means, how arguments reach it, and the scope
 * that a call's `@ path` opens.
 */
#include "frontend/limits.h"
#include "frontend/parts.h"
#include "ir/op.h"
#include <string.h>

/* ---- what a name means ---- */

static const Module *find_module(const Model *home, const char *name) {
  const Module *module = map_get(&home->modules, name);
  for (int i = 0; !module && i < home->libraries.count; i++)
    module = map_get(&home->libraries.at[i]->modules, name);
  for (int i = 0; !module && i < home->entries.count; i++)
    if (strcmp(home->entries.at[i]->name, name) == 0)
      module = home->entries.at[i];
  return module;
}

static bool unknown_callee(Making *making, const Expr *call, const char *name) {
  VEC(const char *) names = {0};
  const Model *home = making->frame->home;
  for (int i = 0; i < home->modules.entries.count; i++)
    vec_push(making->arena, &names, home->modules.entries.at[i].key);
  for (int k = 0; k < home->libraries.count; k++)
    for (int i = 0; i < home->libraries.at[k]->modules.entries.count; i++)
      vec_push(making->arena, &names, home->libraries.at[k]->modules.entries.at[i].key);
  for (int i = 0; i < op_count(); i++)
    vec_push(making->arena, &names, op_at(i)->name);
  const char *nearest = diag_nearest(name, names.at, names.count);
  return nearest ? making_error(making, call->loc,
                                "no module, function or op is called '%s'; did you mean '%s'?",
                                name, nearest)
                 : making_error(making, call->loc, "no module, function or op is called '%s'",
                                name);
}

/* ---- arguments ---- */

static bool fits_type(const char *type, const Datum *value, Datum *fitted) {
  *fitted = *value;
  if (!type || value->kind == DATUM_NONE)
    return true;
  if (strcmp(type, "real") == 0 && value->kind == DATUM_INT) {
    *fitted = datum_real((double)value->integer);
    return true;
  }
  DatumKind wanted = strcmp(type, "tensor") == 0 ? DATUM_TENSOR
                     : strcmp(type, "int") == 0  ? DATUM_INT
                     : strcmp(type, "real") == 0 ? DATUM_REAL
                     : strcmp(type, "bool") == 0 ? DATUM_BOOL
                     : strcmp(type, "text") == 0 ? DATUM_TEXT
                                                 : DATUM_LIST;
  return value->kind == wanted;
}

static int find_arg(const Module *module, const char *name) {
  for (int i = 0; i < module->n_args; i++)
    if (strcmp(module->args[i].name, name) == 0)
      return i;
  return -1;
}

static bool unknown_arg(Making *making, const Module *module, Loc loc, const char *name) {
  VEC(const char *) names = {0};
  for (int i = 0; i < module->n_args; i++)
    vec_push(making->arena, &names, module->args[i].name);
  const char *nearest = diag_nearest(name, names.at, names.count);
  if (nearest)
    making_error(making, loc, "'%s' has no argument '%s'; did you mean '%s'?", module->name, name,
                 nearest);
  else
    making_error(making, loc, "'%s' has no argument '%s'", module->name, name);
  diag_note(making->diag, module->loc, "'%s' is declared here", module->name);
  return false;
}

/* Puts the call's values in the places of the module's arguments. where[i] is NULL where absent. */
static bool place_args(Making *making, const Module *module, const Expr *call,
                       const Datum *values, Datum *args, const Expr **where) {
  for (int i = 1; i < call->count; i++) {
    const char *name = call->names[i];
    int at = name ? find_arg(module, name) : i - 1;
    if (at < 0)
      return unknown_arg(making, module, call->items[i]->loc, name);
    if (at >= module->n_args) {
      making_error(making, call->items[i]->loc, "'%s' takes %d argument%s", module->name,
                   module->n_args, module->n_args == 1 ? "" : "s");
      diag_note(making->diag, module->loc, "'%s' is declared here", module->name);
      return false;
    }
    if (where[at])
      return making_error(making, call->items[i]->loc, "argument '%s' is given twice", name);
    const ModuleArg *arg = &module->args[at];
    where[at] = call->items[i];
    if (!fits_type(arg->type, &values[i], &args[at])) {
      making_error(making, call->items[i]->loc, "argument '%s' of '%s' is %s %s, not %s",
                   arg->name, module->name, strchr("ai", arg->type[0]) ? "an" : "a", arg->type,
                   datum_kind_name(values[i].kind));
      diag_note(making->diag, arg->loc, "declared here");
      return false;
    }
  }
  return true;
}

/* Defaults of absent arguments, in the module's own frame: they may use earlier arguments. */
static bool fill_defaults(Making *making, const Module *module, const Expr *call, Datum *args,
                          const Expr **where) {
  Frame *frame = making->frame;
  for (int i = 0; i < module->n_args; i++) {
    const ModuleArg *arg = &module->args[i];
    if (!where[i] && !arg->fallback) {
      making->frame = frame->caller; /* the error is the caller's */
      making_error(making, call->loc, "'%s' needs argument '%s'", module->name, arg->name);
      diag_note(making->diag, arg->loc, "declared here");
      making->frame = frame;
      return false;
    }
    if (!where[i]) {
      Datum value;
      if (!evaluate(making, arg->fallback, &value))
        return false;
      if (!fits_type(arg->type, &value, &args[i]))
        return making_error(making, arg->loc, "the default of '%s' is no %s", arg->name,
                            arg->type);
    }
    vec_push(making->arena, &frame->locals, ((Local){arg->name, args[i]}));
  }
  return true;
}

/* Entries take tensors of exactly the types the model declares, and none where it declares none. */
static bool check_inputs(Making *making, const Module *module, const Expr *call) {
  Frame *frame = making->frame;
  const Model *home = module->home;
  for (int i = 0; i < module->n_args; i++) {
    const Datum *value = &frame->locals.at[i].value;
    Type wanted = {0};
    const Expr *declared = NULL;
    for (int k = 0; k < home->inputs.count; k++)
      if (strcmp(home->inputs.at[k].name, module->args[i].name) == 0)
        declared = home->inputs.at[k].type;
    CHECK(declared != NULL);
    Frame inside = {.home = module->home};
    making->frame = &inside;
    bool absent, good = evaluate_input(making, declared, &wanted, &absent);
    making->frame = frame;
    if (!good)
      return false;
    if (absent && value->kind == DATUM_NONE)
      continue;
    const Type *given = value->kind == DATUM_TENSOR ? &tensor_value(making, value->tensor)->type
                                                    : NULL;
    if (given && type_equal(given, &wanted))
      continue;
    const char *text = absent ? "left out" : arena_strdup(making->arena, type_text(&wanted));
    making->frame = frame->caller;
    making_error(making, call->loc, "input '%s' of '%s' is %s, not %s", module->args[i].name,
                 module->name, text, given ? type_text(given) : datum_kind_name(value->kind));
    diag_note(making->diag, declared->loc, "declared here");
    making->frame = frame;
    return false;
  }
  return true;
}

bool call_module(Making *making, const Module *module, const Expr *call, const Datum *values,
                 Datum *result) {
  Frame frame = {.module = module, .home = module->home, .caller = making->frame,
                 .call = call->loc};
  Datum *args = ARENA_ARRAY(making->arena, Datum, module->n_args + 1);
  const Expr **where = ARENA_ARRAY(making->arena, const Expr *, module->n_args + 1);
  int calls = 0;
  for (const Frame *f = making->frame; f; f = f->caller)
    calls++;
  if (calls > CALL_MAX)
    return making_error(making, call->loc, "'%s': calls nest more than %d deep", module->name,
                        CALL_MAX);
  if (!making->graph)
    return making_error(making, call->loc, "modules have no meaning outside an entry");
  if (!place_args(making, module, call, values, args, where))
    return false;
  frame.outputs.kind = DATUM_RECORD;
  making->frame = &frame;
  bool good = fill_defaults(making, module, call, args, where) &&
              (!module->entry || check_inputs(making, module, call)) &&
              run_steps(making, &module->body);
  making->frame = frame.caller;
  *result = module->entry ? frame.outputs : frame.result;
  return good;
}

/* ---- calls ---- */

/* The call inside its scope. */
static bool dispatch(Making *making, const Expr *call, const Datum *values, Datum *result) {
  const Expr *callee = call->items[0];
  const Model *home = making->frame->home;
  const char *name = callee->text;
  bool found = false, ops_only = false;
  Datum base;
  if (callee->kind == EXPR_MEMBER) {
    const Expr *owner = callee->items[0];
    ops_only = owner->kind == EXPR_NAME && strcmp(owner->text, "op") == 0 &&
               !look_up(making, "op", &base);
    if (!ops_only) {
      if (!evaluate(making, owner, &base))
        return false;
      if (base.kind != DATUM_MODEL)
        return making_error(making, callee->loc, "%s has nothing to call",
                            datum_kind_name(base.kind));
      const Module *module = find_module(base.model, name);
      return module ? call_module(making, module, call, values, result)
                    : making_error(making, callee->loc, "model '%s' has no module or entry '%s'",
                                   base.model->name, name);
    }
  } else if (callee->kind != EXPR_NAME) {
    return making_error(making, callee->loc, "only names are called");
  }
  if (!ops_only) {
    const Module *module = find_module(home, name);
    if (module)
      return call_module(making, module, call, values, result);
    if (!call_builtin(making, name, call, values, &found, result))
      return false;
    if (found)
      return true;
  }
  const Op *op = op_find(name);
  if (!op)
    return unknown_callee(making, call, name);
  if (!making->graph)
    return making_error(making, call->loc, "op '%s' has no meaning outside an entry", name);
  return call_op(making, op, call, values, result);
}

bool evaluate_call(Making *making, const Expr *call, Datum *value) {
  Datum *values = ARENA_ARRAY(making->arena, Datum, call->count + 1);
  const char *outer = making->scope;
  for (int i = 1; i < call->count; i++)
    if (!evaluate(making, call->items[i], &values[i]))
      return false;
  if (call->path) {
    const char *path = evaluate_path(making, call->path);
    if (!path)
      return false;
    making->scope = *outer ? arena_printf(making->arena, "%s.%s", outer, path) : path;
  }
  bool good = dispatch(making, call, values, value);
  making->scope = outer;
  return good;
}
