/* Functions of the expression language: numbers and lists, initial values, and the two that declare
 * what a model stores: parameter(...) and buffer(...).
 *
 * A function that shares its name with an op (max, sqrt) is meant when no argument is a tensor.
 */
#include "frontend/limits.h"
#include "frontend/parts.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a function sees: its arguments by position; names are refused unless it reads them. */
typedef struct BuiltinCall {
  Making *making;
  const Expr *call;
  const Datum *values; /* 1 .. count */
  int count;
  const char *name;
} BuiltinCall;

static Loc arg_loc(const BuiltinCall *b, int i) { return b->call->items[i]->loc; }

static bool wants(const BuiltinCall *b, int i, const char *what) {
  return making_error(b->making, arg_loc(b, i), "%s wants %s, not %s", b->name, what,
                      datum_kind_name(b->values[i].kind));
}

static bool list_of(const BuiltinCall *b, int64_t count, Datum *result) {
  if (count > LIST_MAX)
    return making_error(b->making, b->call->loc, "a list of more than %d values", LIST_MAX);
  *result = (Datum){.kind = DATUM_LIST, .count = (int)count,
                    .items = ARENA_ARRAY(b->making->arena, Datum, count + 1)};
  return true;
}

/* ---- lists ---- */

static bool do_range(const BuiltinCall *b, Datum *result) {
  int64_t bounds[3] = {0, 0, 1};
  for (int i = 1; i <= b->count; i++) {
    if (b->values[i].kind != DATUM_INT)
      return wants(b, i, "integers");
    bounds[b->count == 1 ? 1 : i - 1] = b->values[i].integer;
  }
  if (bounds[2] == 0)
    return making_error(b->making, arg_loc(b, 3), "range with a step of 0");
  double steps = ceil(((double)bounds[1] - (double)bounds[0]) / (double)bounds[2]);
  if (!list_of(b, steps > LIST_MAX ? LIST_MAX + 1 : steps > 0 ? (int64_t)steps : 0, result))
    return false;
  for (int i = 0; i < result->count; i++)
    result->items[i] = datum_int(bounds[0] + i * bounds[2]);
  return true;
}

static bool do_len(const BuiltinCall *b, Datum *result) {
  if (b->values[1].kind != DATUM_LIST)
    return wants(b, 1, "a list");
  *result = datum_int(b->values[1].count);
  return true;
}

static bool do_is_list(const BuiltinCall *b, Datum *result) {
  *result = datum_bool(b->values[1].kind == DATUM_LIST);
  return true;
}

static bool do_enumerate(const BuiltinCall *b, Datum *result) {
  if (b->values[1].kind != DATUM_LIST)
    return wants(b, 1, "a list");
  if (!list_of(b, b->values[1].count, result))
    return false;
  for (int i = 0; i < result->count; i++) {
    if (!list_of(b, 2, &result->items[i]))
      return false;
    result->items[i].items[0] = datum_int(i);
    result->items[i].items[1] = b->values[1].items[i];
  }
  return true;
}

static bool do_zip(const BuiltinCall *b, Datum *result) {
  for (int i = 1; i <= b->count; i++) {
    if (b->values[i].kind != DATUM_LIST)
      return wants(b, i, "lists");
    if (b->values[i].count != b->values[1].count)
      return making_error(b->making, b->call->loc, "zip of lists of %d and %d values",
                          b->values[1].count, b->values[i].count);
  }
  if (!list_of(b, b->values[1].count, result))
    return false;
  for (int i = 0; i < result->count; i++) {
    if (!list_of(b, b->count, &result->items[i]))
      return false;
    for (int k = 0; k < b->count; k++)
      result->items[i].items[k] = b->values[k + 1].items[i];
  }
  return true;
}

/* ---- numbers ---- */

/* One argument that is a list stands for its elements. */
static void spread(const BuiltinCall *b, const Datum **items, int *count) {
  *items = b->values + 1;
  *count = b->count;
  if (b->count == 1 && b->values[1].kind == DATUM_LIST) {
    *items = b->values[1].items;
    *count = b->values[1].count;
  }
}

/* sum, prod, max, min. Integers stay integers. */
static bool do_fold(const BuiltinCall *b, Datum *result) {
  const Datum *items;
  int count;
  char kind = b->name[0] == 'm' ? b->name[1] : b->name[0]; /* s, p, a(x), i(n) */
  spread(b, &items, &count);
  int64_t exact = kind == 'p';
  double real = kind == 'p', number;
  bool ints = true;
  if (!count && (kind == 'a' || kind == 'i'))
    return making_error(b->making, b->call->loc, "%s of nothing", b->name);
  for (int i = 0; i < count; i++) {
    if (!datum_number(&items[i], &number))
      return making_error(b->making, b->call->loc, "%s wants numbers, not %s", b->name,
                          datum_kind_name(items[i].kind));
    ints &= items[i].kind == DATUM_INT;
    bool fits = true;
    if (kind == 's')
      fits = !ints || !__builtin_add_overflow(exact, items[i].integer, &exact);
    else if (kind == 'p')
      fits = !ints || !__builtin_mul_overflow(exact, items[i].integer, &exact);
    else if (i == 0 || (kind == 'a' ? number > real : number < real))
      exact = items[i].integer;
    if (!fits)
      return making_error(b->making, b->call->loc, "the %s is larger than an integer can be",
                          kind == 's' ? "sum" : "product");
    if (kind == 's')
      real += number;
    else if (kind == 'p')
      real *= number;
    else if (i == 0 || (kind == 'a' ? number > real : number < real))
      real = number;
  }
  *result = ints ? datum_int(exact) : datum_real(real);
  return true;
}

static bool to_int(const BuiltinCall *b, double number, Datum *result) {
  if (!(fabs(number) < 9e18))
    return making_error(b->making, b->call->loc, "%g does not fit an integer", number);
  *result = datum_int((int64_t)number);
  return true;
}

static bool do_number(const BuiltinCall *b, Datum *result) {
  double number, value;
  if (b->values[1].kind == DATUM_BOOL && strcmp(b->name, "int") == 0) {
    *result = datum_int(b->values[1].integer);
    return true;
  }
  if (!datum_number(&b->values[1], &number))
    return wants(b, 1, "a number");
  bool integer = b->values[1].kind == DATUM_INT;
  if (integer && strchr("ifc", b->name[0])) { /* int, floor, ceil */
    *result = b->values[1];
    return true;
  }
  if (strcmp(b->name, "abs") == 0) {
    bool most = integer && b->values[1].integer == INT64_MIN;
    *result = integer && !most ? datum_int(llabs(b->values[1].integer)) : datum_real(fabs(number));
    return true;
  }
  if (strcmp(b->name, "int") == 0)
    return to_int(b, trunc(number), result);
  if (strcmp(b->name, "floor") == 0)
    return to_int(b, floor(number), result);
  if (strcmp(b->name, "ceil") == 0)
    return to_int(b, ceil(number), result);
  value = strcmp(b->name, "sqrt") == 0  ? sqrt(number)
          : strcmp(b->name, "exp") == 0 ? exp(number)
          : strcmp(b->name, "log") == 0 ? log(number)
                                        : number; /* real */
  if (!isfinite(value))
    return making_error(b->making, b->call->loc, "%s of %g is no finite number", b->name, number);
  *result = datum_real(value);
  return true;
}

static bool do_text(const BuiltinCall *b, Datum *result) {
  *result = b->values[1].kind == DATUM_TEXT
                ? b->values[1]
                : datum_of_text(datum_text(b->making->arena, &b->values[1]));
  return true;
}

/* ---- tensors ---- */

static bool do_shape(const BuiltinCall *b, Datum *result) {
  if (b->values[1].kind != DATUM_TENSOR)
    return wants(b, 1, "a tensor");
  const TensorRef *tensor = b->values[1].tensor;
  const Type *type = tensor->value ? &tensor->value->type : &tensor->declared->type;
  if (b->name[0] == 'r') {
    *result = datum_int(type->rank);
    return true;
  }
  if (b->name[0] == 'd') {
    *result = datum_of_text(dtype_name(type->dtype));
    return true;
  }
  if (!list_of(b, type->rank, result))
    return false;
  for (int i = 0; i < type->rank; i++)
    result->items[i] = datum_int(type->dim[i]);
  return true;
}

static bool do_init(const BuiltinCall *b, Datum *result) {
  static const struct {
    const char *name;
    InitKind kind;
  } kinds[] = {{"uniform", INIT_UNIFORM}, {"normal", INIT_NORMAL}, {"truncated", INIT_TRUNCATED}};
  *result = (Datum){.kind = DATUM_INIT};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (strcmp(kinds[i].name, b->name) == 0)
      result->init.kind = kinds[i].kind;
  if (!datum_number(&b->values[1], &result->init.a))
    return wants(b, 1, "a number");
  return datum_number(&b->values[2], &result->init.b) || wants(b, 2, "a number");
}

/* ---- declarations ---- */

/* The arguments of parameter and buffer, NULL where not given. */
typedef struct Declared {
  const Datum *shape, *init, *dtype, *decay, *frozen;
  Loc init_loc;
} Declared;

static bool read_declared(const BuiltinCall *b, Declared *d) {
  static const char *const names[] = {"shape", "init", "dtype", "decay", "frozen"};
  const Datum **slots[] = {&d->shape, &d->init, &d->dtype, &d->decay, &d->frozen};
  int known = b->name[0] == 'b' ? 3 : 5;
  for (int i = 1; i <= b->count; i++) {
    const char *name = b->call->names[i];
    int at = name ? -1 : i - 1;
    for (int k = 0; name && k < known; k++)
      if (strcmp(name, names[k]) == 0)
        at = k;
    if (at < 0 || at >= known) {
      const char *nearest = name ? diag_nearest(name, names, known) : NULL;
      if (nearest)
        return making_error(b->making, arg_loc(b, i),
                            "%s has no argument '%s'; did you mean '%s'?", b->name, name, nearest);
      return making_error(b->making, arg_loc(b, i), "%s has no argument '%s'", b->name,
                          name ? name : "after the last");
    }
    if (*slots[at])
      return making_error(b->making, arg_loc(b, i), "argument '%s' is given twice", names[at]);
    *slots[at] = &b->values[i];
    if (at == 1)
      d->init_loc = arg_loc(b, i);
  }
  if (!d->shape)
    return making_error(b->making, b->call->loc, "%s needs a shape", b->name);
  if (!d->init)
    return making_error(b->making, b->call->loc, "%s needs its initial values: init=", b->name);
  return true;
}

static bool flag(const BuiltinCall *b, const Datum *value, bool fallback, bool *result) {
  *result = fallback;
  if (!value)
    return true;
  if (value->kind != DATUM_BOOL)
    return making_error(b->making, b->call->loc, "decay and frozen are true or false, not %s",
                        datum_kind_name(value->kind));
  *result = value->integer != 0;
  return true;
}

static bool fill_parameter(const BuiltinCall *b, const Declared *d, ModelParameter *parameter) {
  Making *making = b->making;
  parameter->role = b->name[0] == 'b' ? ROLE_BUFFER : ROLE_PARAMETER;
  parameter->loc = making_place(making, b->call->loc);
  parameter->stage = making->builder.stage;
  if (d->dtype && (d->dtype->kind != DATUM_TEXT ||
                   !dtype_from_name(d->dtype->text, &parameter->type.dtype)))
    return making_error(making, b->call->loc, "dtype is an element type (f32, bf16, i64, ...)");
  if (!shape_from_list(making, b->call->loc, d->shape, &parameter->type))
    return false;
  parameter->init.kind = INIT_CONSTANT;
  if (d->init->kind == DATUM_INIT)
    parameter->init = d->init->init;
  else if (!datum_number(d->init, &parameter->init.a))
    return making_error(making, d->init_loc,
                        "initial values are a number, uniform(a, b), normal(mean, deviation) or "
                        "truncated(mean, deviation), not %s",
                        datum_kind_name(d->init->kind));
  bool trained = parameter->role == ROLE_PARAMETER;
  return flag(b, d->decay, trained && parameter->type.rank >= 2, &parameter->decay) &&
         flag(b, d->frozen, false, &parameter->frozen);
}

static bool do_declare(const BuiltinCall *b, Datum *result) {
  Making *making = b->making;
  Declared declared = {0};
  if (!making->graph)
    return making_error(making, b->call->loc, "%s has no meaning outside an entry", b->name);
  if (!b->call->path)
    return making_error(making, b->call->loc, "a %s needs a name: %s(...) @ weight", b->name,
                        b->name);
  if (!read_declared(b, &declared))
    return false;
  ModelParameter *parameter = ARENA_NEW(making->arena, ModelParameter);
  parameter->name = making->scope; /* the call's own path is part of it already */
  if (!fill_parameter(b, &declared, parameter))
    return false;
  const ModelParameter *first = map_get(&making->parameters, parameter->name);
  if (first) {
    making_error(making, b->call->loc, "'%s' is declared a second time; give the call a scope",
                 parameter->name);
    diag_note(making->diag, first->loc, "first declared here");
    return false;
  }
  const GraphInput *input = graph_find_input(making->graph, parameter->name);
  if (input) {
    making_error(making, b->call->loc, "'%s' is the name of an input already", parameter->name);
    diag_note(making->diag, input->loc, "declared here");
    return false;
  }
  map_set(&making->parameters, parameter->name, parameter);
  vec_push(making->arena, &making->declared, parameter);
  *result = (Datum){.kind = DATUM_TENSOR, .tensor = ARENA_NEW(making->arena, TensorRef)};
  result->tensor->declared = parameter;
  return true;
}

/* ---- the table ---- */

typedef bool BuiltinFn(const BuiltinCall *b, Datum *result);

static const struct Builtin {
  const char *name;
  int least, most;
  bool keywords, on_tensors, declares;
  BuiltinFn *run;
} builtins[] = {
    {"parameter", 1, 5, true, true, true, do_declare},
    {"buffer", 1, 3, true, true, true, do_declare},
    {"uniform", 2, 2, false, false, false, do_init},
    {"normal", 2, 2, false, false, false, do_init},
    {"truncated", 2, 2, false, false, false, do_init},
    {"range", 1, 3, false, false, false, do_range},
    {"len", 1, 1, false, true, false, do_len},
    {"is_list", 1, 1, false, true, false, do_is_list},
    {"enumerate", 1, 1, false, true, false, do_enumerate},
    {"zip", 1, 8, false, true, false, do_zip},
    {"sum", 1, 64, false, false, false, do_fold},
    {"prod", 1, 64, false, false, false, do_fold},
    {"max", 1, 64, false, false, false, do_fold},
    {"min", 1, 64, false, false, false, do_fold},
    {"abs", 1, 1, false, false, false, do_number},
    {"int", 1, 1, false, false, false, do_number},
    {"real", 1, 1, false, false, false, do_number},
    {"floor", 1, 1, false, false, false, do_number},
    {"ceil", 1, 1, false, false, false, do_number},
    {"sqrt", 1, 1, false, false, false, do_number},
    {"exp", 1, 1, false, false, false, do_number},
    {"log", 1, 1, false, false, false, do_number},
    {"text", 1, 1, false, false, false, do_text},
    {"shape", 1, 1, false, true, false, do_shape},
    {"rank", 1, 1, false, true, false, do_shape},
    {"dtype", 1, 1, false, true, false, do_shape},
};

static bool any_tensor(const Expr *call, const Datum *values) {
  for (int i = 1; i < call->count; i++)
    if (values[i].kind == DATUM_TENSOR)
      return true;
  return false;
}

bool call_builtin(Making *making, const char *name, const Expr *call, const Datum *values,
                  bool *found, Datum *result) {
  const struct Builtin *builtin = NULL;
  for (size_t i = 0; i < sizeof builtins / sizeof *builtins; i++)
    if (strcmp(builtins[i].name, name) == 0)
      builtin = &builtins[i];
  *found = builtin && (builtin->on_tensors || !any_tensor(call, values));
  if (!*found)
    return true;
  BuiltinCall b = {making, call, values, call->count - 1, name};
  if (b.count < builtin->least || b.count > builtin->most)
    return builtin->least == builtin->most
               ? making_error(making, call->loc, "%s wants %d argument%s, %d given", name,
                              builtin->least, builtin->least == 1 ? "" : "s", b.count)
               : making_error(making, call->loc, "%s wants %d to %d arguments, %d given", name,
                              builtin->least, builtin->most, b.count);
  for (int i = 1; i < call->count && !builtin->keywords; i++)
    if (call->names[i])
      return making_error(making, call->items[i]->loc, "%s has no argument '%s'", name,
                          call->names[i]);
  if (call->path && !builtin->declares)
    return making_error(making, call->path->loc, "'%s' has no parameters to name", name);
  return builtin->run(&b, result);
}
