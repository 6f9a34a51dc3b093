/* Running steps: what a model file does when a graph is made from it. */
#include "frontend/limits.h"
#include "frontend/parts.h"
#include <string.h>

/* The tensor of a tap, an output or an update; numbers are refused. */
static bool tensor_step(Making *making, const Step *step, Value **value) {
  Datum datum;
  if (!evaluate(making, step->expr, &datum))
    return false;
  if (datum.kind != DATUM_TENSOR)
    return making_error(making, step->expr->loc, "a tensor belongs here, not %s",
                        datum_kind_name(datum.kind));
  *value = tensor_value(making, datum.tensor);
  return true;
}

/* Taps are outputs of the graph wherever they stand; their names are unique in it. */
static bool add_tap(Making *making, const Step *step, const char *name, Value *value) {
  const Loc *first = map_get(&making->taps, name);
  if (first) {
    making_error(making, step->loc, "tap '%s' is set a second time", name);
    diag_note(making->diag, *first, "first set here");
    return false;
  }
  Loc *loc = ARENA_NEW(making->arena, Loc);
  *loc = making_place(making, step->loc);
  map_set(&making->taps, name, loc);
  graph_add_output(making->graph, name, value, NULL, *loc);
  graph_find_output(making->graph, name)->tap = true;
  return true;
}

static void add_member(Making *making, Datum *record, const char *key, Value *value) {
  int count = record->count;
  Datum *items = ARENA_ARRAY(making->arena, Datum, count + 1);
  const char **keys = ARENA_ARRAY(making->arena, const char *, count + 1);
  for (int i = 0; i < count; i++) {
    items[i] = record->items[i];
    keys[i] = record->keys[i];
  }
  items[count] = tensor_datum(making, value);
  keys[count] = key;
  record->items = items;
  record->keys = keys;
  record->count = count + 1;
}

/* Outputs are members of the entry's record; those of the entry being built, graph outputs. */
static bool run_output(Making *making, const Step *step) {
  Frame *frame = making->frame;
  const char *name = evaluate_path(making, step->path);
  Value *value;
  if (!name || !tensor_step(making, step, &value))
    return false;
  if (datum_member(&frame->outputs, name))
    return making_error(making, step->loc, "output '%s' is set a second time", name);
  add_member(making, &frame->outputs, name, value);
  if (step->kind == STEP_TAP)
    return add_tap(making, step, name, value);
  if (frame->caller->caller) /* called by another entry */
    return true;
  if (map_get(&making->taps, name))
    return making_error(making, step->loc, "'%s' is a tap already", name);
  Loc *loc = ARENA_NEW(making->arena, Loc);
  *loc = step->loc;
  map_set(&making->taps, name, loc);
  graph_add_output(making->graph, name, value, NULL, step->loc);
  return true;
}

static bool run_tap(Making *making, const Step *step) {
  const Frame *frame = making->frame;
  if (frame->module->entry)
    return run_output(making, step);
  const char *name = evaluate_path(making, step->path);
  Value *value;
  return name && tensor_step(making, step, &value) && add_tap(making, step, name, value);
}

static bool run_update(Making *making, const Step *step) {
  Datum buffer;
  Value *value;
  if (!look_up(making, step->targets[0], &buffer))
    return making_error(making, step->loc, "undefined name '%s'", step->targets[0]);
  const ModelParameter *declared =
      buffer.kind == DATUM_TENSOR ? buffer.tensor->declared : NULL;
  if (!declared || declared->role != ROLE_BUFFER)
    return making_error(making, step->loc, "'%s' is no buffer", step->targets[0]);
  if (!tensor_step(making, step, &value))
    return false;
  if (!type_equal(&value->type, &declared->type)) {
    making_error(making, step->loc, "buffer '%s' is %s, its new value %s", declared->name,
                 arena_strdup(making->arena, type_text(&declared->type)),
                 type_text(&value->type));
    diag_note(making->diag, declared->loc, "declared here");
    return false;
  }
  const char *name = arena_printf(making->arena, "buffer.%s", declared->name);
  if (graph_find_output(making->graph, name))
    return making_error(making, step->loc, "buffer '%s' is updated a second time",
                        declared->name);
  tensor_value(making, buffer.tensor); /* an update needs its input */
  graph_add_output(making->graph, name, value, declared->name, making_place(making, step->loc));
  return true;
}

static bool condition(Making *making, const Expr *expr, bool *holds) {
  Datum value;
  if (!evaluate(making, expr, &value))
    return false;
  if (value.kind != DATUM_BOOL)
    return making_error(making, expr->loc, "a condition is true or false, not %s",
                        datum_kind_name(value.kind));
  *holds = value.integer != 0;
  return true;
}

static bool run_check(Making *making, const Step *step) {
  bool holds;
  Datum message;
  if (!condition(making, step->expr, &holds))
    return false;
  if (holds)
    return true;
  if (!step->message)
    return making_error(making, step->loc, "does not hold: %s", step->text);
  if (!evaluate(making, step->message, &message))
    return false;
  return making_error(making, step->loc, "%s (%s)",
                      message.kind == DATUM_TEXT ? message.text
                                                 : datum_text(making->arena, &message),
                      step->text);
}

static bool run_for(Making *making, const Step *step) {
  Datum list;
  if (!evaluate(making, step->expr, &list))
    return false;
  if (list.kind != DATUM_LIST)
    return making_error(making, step->expr->loc, "a list belongs here, not %s",
                        datum_kind_name(list.kind));
  for (int i = 0; i < list.count && !making->frame->returned; i++)
    if (!bind_targets(making, step->loc, step->n_targets, step->targets, &list.items[i]) ||
        !run_steps(making, &step->body))
      return false;
  return true;
}

static bool run_scope(Making *making, const Step *step) {
  const char *outer = making->scope, *path = evaluate_path(making, step->path);
  if (!path)
    return false;
  making->scope = *outer ? arena_printf(making->arena, "%s.%s", outer, path) : path;
  bool good = run_steps(making, &step->body);
  making->scope = outer;
  return good;
}

static bool run_stage(Making *making, const Step *step) {
  const char *outer = making->builder.stage, *name = evaluate_path(making, step->path);
  if (!name)
    return false;
  const char *known = map_get(&making->stage_names, name);
  if (!known) {
    map_set(&making->stage_names, name, (void *)name);
    vec_push(making->arena, &making->stages, name);
    known = name;
  }
  making->builder.stage = known;
  bool good = run_steps(making, &step->body);
  making->builder.stage = outer;
  return good;
}

static bool run_uncounted(Making *making, const Step *step) {
  bool outer = making->builder.uncounted;
  making->builder.uncounted = true;
  bool good = run_steps(making, &step->body);
  making->builder.uncounted = outer;
  return good;
}

static bool run_step(Making *making, const Step *step) {
  Datum value;
  bool holds;
  switch (step->kind) {
  case STEP_ASSIGN:
    return evaluate(making, step->expr, &value) &&
           bind_targets(making, step->loc, step->n_targets, step->targets, &value);
  case STEP_EVALUATE:
    return evaluate(making, step->expr, &value);
  case STEP_RETURN:
    making->frame->returned = true;
    return evaluate(making, step->expr, &making->frame->result);
  case STEP_TAP:
    return run_tap(making, step);
  case STEP_OUTPUT:
    return run_output(making, step);
  case STEP_UPDATE:
    return run_update(making, step);
  case STEP_CHECK:
    return run_check(making, step);
  case STEP_FOR:
    return run_for(making, step);
  case STEP_IF:
    return condition(making, step->expr, &holds) &&
           run_steps(making, holds ? &step->body : &step->otherwise);
  case STEP_SCOPE:
    return run_scope(making, step);
  case STEP_STAGE:
    return run_stage(making, step);
  case STEP_UNCOUNTED:
    return run_uncounted(making, step);
  }
  FAULT("step kind %d", (int)step->kind);
}

bool run_steps(Making *making, const Steps *steps) {
  if (making->depth >= RECURSION_MAX && steps->count)
    return making_error(making, steps->at[0].loc, "calls and blocks nest too deeply");
  making->depth++;
  bool good = true;
  for (int i = 0; good && i < steps->count && !making->frame->returned; i++)
    good = run_step(making, &steps->at[i]);
  making->depth--;
  return good;
}
