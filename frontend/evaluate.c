/* The value of an expression: names, lists, operators over plain values. Tensors are handed to
 * tensors.c, calls to call.c. Evaluation is bounded by a budget and a recursion depth, integers by
 * 64 bits, lists by LIST_MAX.
 */
#include "frontend/limits.h"
#include "frontend/parts.h"
#include "ir/op.h"
#include <math.h>
#include <string.h>

/* ---- errors ---- */

/* A place in `frame`, or, where that is a library's, the place of the call that led there. */
static Loc frame_place(const Frame *frame, Loc loc) {
  for (; frame && frame->home->library && frame->caller; frame = frame->caller)
    loc = frame->call;
  return loc;
}

Loc making_place(const Making *making, Loc loc) { return frame_place(making->frame, loc); }

bool making_notes(Making *making, Loc loc) {
  Loc place = making_place(making, loc);
  int shown = 0;
  if (place.source != loc.source || place.line != loc.line)
    diag_note(making->diag, loc, "found in module '%s' of the library",
              making->frame->module ? making->frame->module->name : "?");
  /* the outermost call is the entry itself: nobody called it in a file */
  for (const Frame *frame = making->frame; frame && frame->caller && shown < 6;
       frame = frame->caller)
    if (!frame->home->library && frame->caller->caller) {
      diag_note(making->diag, frame_place(frame->caller, frame->call), "in '%s', called here",
                frame->module->name);
      shown++;
    }
  return false;
}

bool making_error(Making *making, Loc loc, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  diag_error(making->diag, making_place(making, loc), "%s",
             arena_vprintf(making->arena, format, arguments));
  va_end(arguments);
  return making_notes(making, loc);
}

void making_start(Making *making, Arena *arena, Diag *diag, Model *home, Frame *frame) {
  *making = (Making){.arena = arena, .diag = diag, .scope = "", .frame = frame,
                     .budget = EVALUATION_MAX};
  *frame = (Frame){.home = home};
  map_init(&making->parameters, arena);
  map_init(&making->taps, arena);
  map_init(&making->stage_names, arena);
}

/* ---- names ---- */

static bool model_value(const Model *model, const char *name, Datum *value) {
  for (int i = 0; i < model->args.count; i++)
    if (strcmp(model->args.at[i].name, name) == 0) {
      *value = model->args.at[i].value;
      return true;
    }
  for (int i = 0; i < model->lets.count; i++)
    if (strcmp(model->lets.at[i].name, name) == 0) {
      *value = model->lets.at[i].value;
      return true;
    }
  for (int i = 0; i < model->imports.count; i++)
    if (strcmp(model->imports.at[i].name, name) == 0) {
      *value = (Datum){.kind = DATUM_MODEL, .model = model->imports.at[i].model};
      return true;
    }
  return false;
}

bool look_up(Making *making, const char *name, Datum *value) {
  const Frame *frame = making->frame;
  Dtype dtype;
  for (int i = frame->locals.count - 1; i >= 0; i--)
    if (strcmp(frame->locals.at[i].name, name) == 0) {
      *value = frame->locals.at[i].value;
      return true;
    }
  if (model_value(frame->home, name, value))
    return true;
  if (strcmp(name, "training") == 0)
    *value = datum_bool(making->training);
  else if (strcmp(name, "variant") == 0)
    *value = frame->home->variant ? datum_of_text(frame->home->variant) : (Datum){0};
  else if (dtype_from_name(name, &dtype))
    *value = datum_of_text(dtype_name(dtype));
  else
    return false;
  return true;
}

static const char *nearest_name(Making *making, const Frame *frame, const char *name) {
  VEC(const char *) names = {0};
  const Model *model = frame->home;
  for (int i = 0; i < frame->locals.count; i++)
    vec_push(making->arena, &names, frame->locals.at[i].name);
  for (int i = 0; i < model->args.count; i++)
    vec_push(making->arena, &names, model->args.at[i].name);
  for (int i = 0; i < model->lets.count; i++)
    vec_push(making->arena, &names, model->lets.at[i].name);
  for (int i = 0; i < model->imports.count; i++)
    vec_push(making->arena, &names, model->imports.at[i].name);
  return diag_nearest(name, names.at, names.count);
}

static bool evaluate_name(Making *making, const Expr *expr, Datum *value) {
  if (look_up(making, expr->text, value))
    return true;
  const char *nearest = nearest_name(making, making->frame, expr->text);
  if (nearest)
    return making_error(making, expr->loc, "undefined name '%s'; did you mean '%s'?", expr->text,
                        nearest);
  if (op_find(expr->text) || map_get(&making->frame->home->modules, expr->text))
    return making_error(making, expr->loc, "'%s' is called with (...), it is no value",
                        expr->text);
  return making_error(making, expr->loc, "undefined name '%s'", expr->text);
}

static bool evaluate_member(Making *making, const Expr *expr, Datum *value) {
  Datum base;
  if (!evaluate(making, expr->items[0], &base))
    return false;
  if (base.kind == DATUM_RECORD) {
    const Datum *member = datum_member(&base, expr->text);
    if (member) {
      *value = *member;
      return true;
    }
    const char *nearest = diag_nearest(expr->text, base.keys, base.count);
    return nearest ? making_error(making, expr->loc, "no '%s' in this; did you mean '%s'?",
                                  expr->text, nearest)
                   : making_error(making, expr->loc, "no '%s' in this", expr->text);
  }
  if (base.kind == DATUM_MODEL) {
    if (model_value(base.model, expr->text, value))
      return true;
    Frame inside = {.home = base.model};
    const char *nearest = nearest_name(making, &inside, expr->text);
    return nearest
               ? making_error(making, expr->loc, "model '%s' has no '%s'; did you mean '%s'?",
                              base.model->name, expr->text, nearest)
               : making_error(making, expr->loc, "model '%s' has no '%s'", base.model->name,
                              expr->text);
  }
  return making_error(making, expr->loc, "%s has no members", datum_kind_name(base.kind));
}

/* ---- lists ---- */

static bool new_list(Making *making, Loc loc, int64_t count, Datum *value) {
  if (count > LIST_MAX)
    return making_error(making, loc, "a list of more than %d values", LIST_MAX);
  *value = (Datum){.kind = DATUM_LIST, .count = (int)count,
                   .items = ARENA_ARRAY(making->arena, Datum, count + 1)};
  return true;
}

static bool evaluate_list(Making *making, const Expr *expr, Datum *value) {
  if (!new_list(making, expr->loc, expr->count, value))
    return false;
  for (int i = 0; i < expr->count; i++)
    if (!evaluate(making, expr->items[i], &value->items[i]))
      return false;
  return true;
}

bool bind_targets(Making *making, Loc loc, int count, const char *const *names,
                  const Datum *value) {
  if (count > 1 && (value->kind != DATUM_LIST || value->count != count))
    return making_error(making, loc, "%d names, but the value is %s", count,
                        value->kind == DATUM_LIST
                            ? arena_printf(making->arena, "a list of %d", value->count)
                            : datum_kind_name(value->kind));
  Frame *frame = making->frame;
  for (int i = 0; i < count; i++) {
    Local local = {names[i], count > 1 ? value->items[i] : *value};
    int at = frame->locals.count - 1;
    while (at >= 0 && strcmp(frame->locals.at[at].name, names[i]) != 0)
      at--;
    if (at >= 0)
      frame->locals.at[at] = local;
    else
      vec_push(making->arena, &frame->locals, local);
  }
  return true;
}

/* The loop's names are its own: pushed as fresh locals, popped at the end. */
static bool evaluate_comprehension(Making *making, const Expr *expr, Datum *value) {
  Datum list, condition = datum_bool(true);
  Frame *frame = making->frame;
  int kept = 0, before = frame->locals.count;
  if (!evaluate(making, expr->items[1], &list))
    return false;
  if (list.kind != DATUM_LIST)
    return making_error(making, expr->items[1]->loc, "a list belongs here, not %s",
                        datum_kind_name(list.kind));
  if (!new_list(making, expr->loc, list.count, value))
    return false;
  for (int i = 0; i < expr->n_names; i++)
    vec_push(making->arena, &frame->locals, ((Local){expr->names[i], {0}}));
  bool good = true;
  for (int i = 0; good && i < list.count; i++) {
    good = bind_targets(making, expr->loc, expr->n_names, expr->names, &list.items[i]) &&
           (!expr->items[2] || evaluate(making, expr->items[2], &condition));
    if (good && condition.kind != DATUM_BOOL)
      good = making_error(making, expr->items[2]->loc, "a condition is true or false, not %s",
                          datum_kind_name(condition.kind));
    if (good && condition.integer)
      good = evaluate(making, expr->items[0], &value->items[kept++]);
  }
  value->count = kept;
  frame->locals.count = before;
  return good;
}

static bool evaluate_index(Making *making, const Expr *expr, Datum *value) {
  Datum base;
  int64_t index;
  if (!evaluate(making, expr->items[0], &base))
    return false;
  if (base.kind == DATUM_TENSOR)
    return making_error(making, expr->loc, "a tensor has no [...]: use slice or take");
  if (base.kind != DATUM_LIST)
    return making_error(making, expr->loc, "%s has no elements", datum_kind_name(base.kind));
  if (expr->count != 2)
    return making_error(making, expr->loc, "a list has one index, not %d", expr->count - 1);
  if (!evaluate_int(making, expr->items[1], "an index", &index))
    return false;
  if (index < -base.count || index >= base.count)
    return making_error(making, expr->items[1]->loc, "index %lld into a list of %d",
                        (long long)index, base.count);
  *value = base.items[index < 0 ? index + base.count : index];
  return true;
}

/* ---- operators ---- */

static bool operand_error(Making *making, const Expr *expr, const Datum *left,
                          const Datum *right) {
  return making_error(making, expr->loc, "'%s' between %s and %s", expr->text,
                      datum_kind_name(left->kind), datum_kind_name(right->kind));
}

static int64_t floor_div(int64_t a, int64_t b) {
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

/* Of the sign of b, so that a == floor_div(a, b) * b + floor_mod(a, b). */
static int64_t floor_mod(int64_t a, int64_t b) {
  int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

/* base ** exponent; false when it does not fit. */
static bool int_power(int64_t base, int64_t exponent, int64_t *result) {
  *result = 1;
  for (int64_t i = 0; i < exponent; i++) {
    if (__builtin_mul_overflow(*result, base, result))
      return false;
    if (base >= -1 && base <= 1 && i > 2)
      i += (exponent - i - 1) / 2 * 2; /* the rest only repeats */
  }
  return true;
}

static bool int_binary(Making *making, const Expr *expr, int64_t a, int64_t b, Datum *value) {
  const char *operator = expr->text;
  int64_t result = 0;
  bool fits = true;
  if (strcmp(operator, "/") == 0 || (strcmp(operator, "**") == 0 && b < 0)) {
    if (operator[0] == '/' ? b == 0 : a == 0)
      return making_error(making, expr->loc, "division by zero");
    *value = datum_real(operator[0] == '/' ? (double)a / (double)b : pow((double)a, (double)b));
    return true;
  }
  if ((operator[0] == '/' || operator[0] == '%') && b == 0)
    return making_error(making, expr->loc, "division by zero");
  if (strcmp(operator, "**") == 0)
    fits = int_power(a, b, &result);
  else if (operator[0] == '+')
    fits = !__builtin_add_overflow(a, b, &result);
  else if (operator[0] == '-')
    fits = !__builtin_sub_overflow(a, b, &result);
  else if (operator[0] == '*')
    fits = !__builtin_mul_overflow(a, b, &result);
  else if (b == -1) /* INT64_MIN // -1 does not fit */
    fits = operator[0] == '%' ? (result = 0, true) : !__builtin_sub_overflow(0, a, &result);
  else
    result = operator[0] == '%' ? floor_mod(a, b) : floor_div(a, b);
  if (!fits)
    return making_error(making, expr->loc, "%lld %s %lld is larger than an integer can be",
                        (long long)a, operator, (long long)b);
  *value = datum_int(result);
  return true;
}

static bool real_binary(Making *making, const Expr *expr, double a, double b, Datum *value) {
  const char *operator = expr->text;
  double result;
  if ((operator[0] == '/' || operator[0] == '%') && b == 0)
    return making_error(making, expr->loc, "division by zero");
  if (strcmp(operator, "**") == 0)
    result = pow(a, b);
  else if (strcmp(operator, "//") == 0)
    result = floor(a / b);
  else
    result = operator[0] == '+'   ? a + b
             : operator[0] == '-' ? a - b
             : operator[0] == '*' ? a * b
             : operator[0] == '/' ? a / b
                                  : a - floor(a / b) * b;
  if (!isfinite(result))
    return making_error(making, expr->loc, "the result is no finite number");
  *value = datum_real(result);
  return true;
}

static bool list_binary(Making *making, const Expr *expr, const Datum *a, const Datum *b,
                        Datum *value) {
  if (expr->text[0] == '+' && a->kind == DATUM_LIST && b->kind == DATUM_LIST) {
    if (!new_list(making, expr->loc, (int64_t)a->count + b->count, value))
      return false;
    for (int i = 0; i < value->count; i++)
      value->items[i] = i < a->count ? a->items[i] : b->items[i - a->count];
    return true;
  }
  if (strcmp(expr->text, "*") == 0 && a->kind == DATUM_LIST && b->kind == DATUM_INT) {
    int64_t times = b->integer > 0 ? b->integer : 0;
    if (times > LIST_MAX)
      times = LIST_MAX + 1;
    if (!new_list(making, expr->loc, a->count * times, value))
      return false;
    for (int i = 0; i < value->count; i++)
      value->items[i] = a->items[i % a->count];
    return true;
  }
  return operand_error(making, expr, a, b);
}

static bool compare(Making *making, const Expr *expr, const Datum *a, const Datum *b,
                    Datum *value) {
  const char *operator = expr->text;
  double x, y;
  if (strcmp(operator, "==") == 0 || strcmp(operator, "!=") == 0) {
    *value = datum_bool(datum_equal(a, b) == (operator[0] == '='));
    return true;
  }
  if (strcmp(operator, "in") == 0 || strcmp(operator, "not in") == 0) {
    bool found = false;
    if (b->kind != DATUM_LIST)
      return operand_error(making, expr, a, b);
    for (int i = 0; i < b->count; i++)
      found |= datum_equal(a, &b->items[i]);
    *value = datum_bool(found == (operator[0] == 'i'));
    return true;
  }
  if (!datum_number(a, &x) || !datum_number(b, &y))
    return operand_error(making, expr, a, b);
  bool less = a->kind == DATUM_INT && b->kind == DATUM_INT ? a->integer < b->integer : x < y;
  bool equal = datum_equal(a, b);
  *value = datum_bool(strcmp(operator, "<") == 0    ? less
                      : strcmp(operator, "<=") == 0 ? less || equal
                      : strcmp(operator, ">") == 0  ? !less && !equal
                                                    : !less);
  return true;
}

/* and, or: the right side is evaluated only when it decides. */
static bool evaluate_logic(Making *making, const Expr *expr, Datum *value) {
  for (int i = 0; i < 2; i++) {
    if (!evaluate(making, expr->items[i], value))
      return false;
    if (value->kind != DATUM_BOOL)
      return making_error(making, expr->items[i]->loc, "'%s' takes true or false, not %s",
                          expr->text, datum_kind_name(value->kind));
    if (value->integer == (expr->text[0] == 'o'))
      return true;
  }
  return true;
}

/* `x == none` asks about the argument, not about elements; so do `in` and `!=`. */
static bool on_tensors(const char *operator, const Datum *left, const Datum *right) {
  bool tensor = left->kind == DATUM_TENSOR || right->kind == DATUM_TENSOR;
  bool none = left->kind == DATUM_NONE || right->kind == DATUM_NONE;
  return tensor && !strchr("in!", operator[0]) && !(none && operator[0] == '=');
}

static bool evaluate_binary(Making *making, const Expr *expr, Datum *value) {
  Datum left, right;
  double x, y;
  if (strcmp(expr->text, "and") == 0 || strcmp(expr->text, "or") == 0)
    return evaluate_logic(making, expr, value);
  if (!evaluate(making, expr->items[0], &left) || !evaluate(making, expr->items[1], &right))
    return false;
  bool compares = strchr("=!<>in", expr->text[0]) != NULL;
  if (on_tensors(expr->text, &left, &right))
    return evaluate_tensor_binary(making, expr, expr->text, &left, &right, value);
  if (compares)
    return compare(making, expr, &left, &right, value);
  if (left.kind == DATUM_INT && right.kind == DATUM_INT)
    return int_binary(making, expr, left.integer, right.integer, value);
  if (datum_number(&left, &x) && datum_number(&right, &y))
    return real_binary(making, expr, x, y, value);
  return list_binary(making, expr, &left, &right, value);
}

static bool evaluate_unary(Making *making, const Expr *expr, Datum *value) {
  if (!evaluate(making, expr->items[0], value))
    return false;
  if (expr->text[0] == 'n' && value->kind == DATUM_BOOL)
    value->integer = !value->integer;
  else if (expr->text[0] == '-' && value->kind == DATUM_INT && value->integer != INT64_MIN)
    value->integer = -value->integer;
  else if (expr->text[0] == '-' && value->kind == DATUM_REAL)
    value->real = -value->real;
  else if (expr->text[0] == '-' && value->kind == DATUM_TENSOR) {
    Datum zero = {0};
    return evaluate_tensor_binary(making, expr, "neg", value, &zero, value);
  } else
    return making_error(making, expr->loc, "'%s' before %s", expr->text,
                        datum_kind_name(value->kind));
  return true;
}

static bool evaluate_conditional(Making *making, const Expr *expr, Datum *value) {
  Datum condition;
  if (!evaluate(making, expr->items[0], &condition))
    return false;
  if (condition.kind != DATUM_BOOL)
    return making_error(making, expr->items[0]->loc, "a condition is true or false, not %s",
                        datum_kind_name(condition.kind));
  return evaluate(making, expr->items[condition.integer ? 1 : 2], value);
}

static bool evaluate_kind(Making *making, const Expr *expr, Datum *value) {
  *value = (Datum){0};
  switch (expr->kind) {
  case EXPR_NONE:
    return true;
  case EXPR_INT:
    *value = datum_int(expr->integer);
    return true;
  case EXPR_REAL:
    *value = datum_real(expr->real);
    return true;
  case EXPR_BOOL:
    *value = datum_bool(expr->integer != 0);
    return true;
  case EXPR_TEXT:
    *value = datum_of_text(expr->text);
    return true;
  case EXPR_NAME:
    return evaluate_name(making, expr, value);
  case EXPR_LIST:
    return evaluate_list(making, expr, value);
  case EXPR_COMPREHENSION:
    return evaluate_comprehension(making, expr, value);
  case EXPR_UNARY:
    return evaluate_unary(making, expr, value);
  case EXPR_BINARY:
    return evaluate_binary(making, expr, value);
  case EXPR_CONDITIONAL:
    return evaluate_conditional(making, expr, value);
  case EXPR_INDEX:
    return evaluate_index(making, expr, value);
  case EXPR_MEMBER:
    return evaluate_member(making, expr, value);
  case EXPR_CALL:
    return evaluate_call(making, expr, value);
  }
  FAULT("expression kind %d", (int)expr->kind);
}

bool evaluate(Making *making, const Expr *expr, Datum *value) {
  if (--making->budget < 0)
    return making_error(making, expr->loc, "the model takes more than %d evaluations",
                        EVALUATION_MAX);
  if (making->depth >= RECURSION_MAX)
    return making_error(making, expr->loc, "calls and expressions nest too deeply");
  making->depth++;
  bool good = evaluate_kind(making, expr, value);
  making->depth--;
  return good;
}
