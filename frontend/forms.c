/* Forms made of expressions: integers where they are wanted, dotted paths, tensor types, and values
 * as YAML writes them (lists and mappings; plain scalars are expressions, quoted ones text).
 */
#include "frontend/limits.h"
#include "frontend/parts.h"
#include <string.h>

bool evaluate_int(Making *making, const Expr *expr, const char *what, int64_t *value) {
  Datum datum;
  if (!evaluate(making, expr, &datum))
    return false;
  if (datum.kind != DATUM_INT)
    return making_error(making, expr->loc, "%s is an integer, not %s", what,
                        datum_kind_name(datum.kind));
  *value = datum.integer;
  return true;
}

const char *evaluate_path(Making *making, const Path *path) {
  const char *joined = "";
  for (int i = 0; i < path->count; i++) {
    const PathPart *part = &path->parts[i];
    Datum value = {0};
    if (part->text) {
      joined = arena_printf(making->arena, "%s%s", joined, part->text);
      continue;
    }
    if (!evaluate(making, part->expr, &value))
      return NULL;
    if (value.kind == DATUM_INT) {
      joined = arena_printf(making->arena, "%s%lld", joined, (long long)value.integer);
    } else if (value.kind == DATUM_TEXT) {
      joined = arena_printf(making->arena, "%s%s", joined, value.text);
    } else {
      making_error(making, part->expr->loc, "a name is made of text and integers, not %s",
                   datum_kind_name(value.kind));
      return NULL;
    }
  }
  return joined;
}

bool check_shape(Making *making, Loc loc, const Type *type) {
  int64_t elements = 1;
  for (int i = 0; i < type->rank; i++) {
    if (type->dim[i] < 1)
      return making_error(making, loc, "dimension %d of %s is less than 1", i, type_text(type));
    if (type->dim[i] > DIMENSION_MAX || __builtin_mul_overflow(elements, type->dim[i], &elements) ||
        elements > ELEMENTS_MAX)
      return making_error(making, loc, "%s is too large", type_text(type));
  }
  return true;
}

bool shape_from_list(Making *making, Loc loc, const Datum *list, Type *type) {
  if (list->kind != DATUM_LIST)
    return making_error(making, loc, "a shape is a list of integers, not %s",
                        datum_kind_name(list->kind));
  if (list->count > MAX_RANK)
    return making_error(making, loc, "a shape of %d axes; %d is the most", list->count, MAX_RANK);
  type->rank = list->count;
  for (int i = 0; i < list->count; i++) {
    if (list->items[i].kind != DATUM_INT)
      return making_error(making, loc, "dimension %d is %s, not an integer", i,
                          datum_kind_name(list->items[i].kind));
    type->dim[i] = list->items[i].integer;
  }
  return check_shape(making, loc, type);
}

bool evaluate_type(Making *making, const Expr *expr, Type *type) {
  *type = (Type){0};
  if (expr->kind != EXPR_INDEX || expr->items[0]->kind != EXPR_NAME)
    return making_error(making, expr->loc, "a type looks like f32[batch, 512]");
  if (!dtype_from_name(expr->items[0]->text, &type->dtype))
    return making_error(making, expr->loc, "'%s' is no element type (f32, bf16, i64, ...)",
                        expr->items[0]->text);
  if (expr->count - 1 > MAX_RANK)
    return making_error(making, expr->loc, "a shape of %d axes; %d is the most", expr->count - 1,
                        MAX_RANK);
  type->rank = expr->count - 1;
  for (int i = 0; i < type->rank; i++)
    if (!evaluate_int(making, expr->items[i + 1], "a dimension", &type->dim[i]))
      return false;
  return check_shape(making, expr->loc, type);
}

bool evaluate_input(Making *making, const Expr *expr, Type *type, bool *absent) {
  while (expr->kind == EXPR_CONDITIONAL) {
    Datum choice;
    if (!evaluate(making, expr->items[0], &choice))
      return false;
    if (choice.kind != DATUM_BOOL)
      return making_error(making, expr->items[0]->loc, "a condition is true or false, not %s",
                          datum_kind_name(choice.kind));
    expr = expr->items[choice.integer ? 1 : 2];
  }
  *absent = expr->kind == EXPR_NONE;
  return *absent || evaluate_type(making, expr, type);
}

static bool evaluate_mapping(Making *making, const Yaml *node, Datum *value) {
  *value = (Datum){.kind = DATUM_RECORD, .count = node->count,
                   .items = ARENA_ARRAY(making->arena, Datum, node->count + 1),
                   .keys = ARENA_ARRAY(making->arena, const char *, node->count + 1)};
  for (int i = 0; i < node->count; i++) {
    value->keys[i] = node->pairs[i].key->text;
    if (!evaluate_yaml(making, node->pairs[i].value, &value->items[i]))
      return false;
  }
  return true;
}

bool evaluate_yaml(Making *making, Yaml *node, Datum *value) {
  if (node->kind == YAML_MAPPING)
    return evaluate_mapping(making, node, value);
  if (node->kind == YAML_SEQUENCE) {
    *value = (Datum){.kind = DATUM_LIST, .count = node->count,
                     .items = ARENA_ARRAY(making->arena, Datum, node->count + 1)};
    for (int i = 0; i < node->count; i++)
      if (!evaluate_yaml(making, node->items[i], &value->items[i]))
        return false;
    return true;
  }
  if (node->style != YAML_PLAIN) {
    *value = datum_of_text(node->text);
    return true;
  }
  if (!node->size)
    return making_error(making, node->loc, "a value is missing here");
  Expr *expr = expression_parse(making->diag, node);
  return expr && evaluate(making, expr, value);
}
