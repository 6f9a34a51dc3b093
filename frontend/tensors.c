/* Tensors in expressions: operators, calls of ops, and the moment a parameter becomes an input.
 *
 * Numbers beside tensors become constants of the tensor's element type; elementwise ops broadcast
 * by numpy's rules (the builder inserts the broadcasts).
 */
#include "frontend/limits.h"
#include "frontend/parts.h"
#include "ir/op.h"
#include <math.h>
#include <string.h>

Datum tensor_datum(Making *making, Value *value) {
  TensorRef *tensor = ARENA_NEW(making->arena, TensorRef);
  tensor->value = value;
  return (Datum){.kind = DATUM_TENSOR, .tensor = tensor};
}

Value *tensor_value(Making *making, TensorRef *tensor) {
  if (tensor->value)
    return tensor->value;
  const ModelParameter *declared = tensor->declared;
  Graph *graph = making->graph;
  tensor->value =
      graph_add_input(graph, declared->name, declared->role, declared->type, declared->loc);
  GraphInput *input = graph_find_input(graph, declared->name);
  input->init = declared->init;
  input->decay = declared->decay;
  input->frozen = declared->frozen;
  input->stage = declared->stage;
  return tensor->value;
}

static bool built(Making *making, Loc loc, Value *value, Datum *result) {
  if (!value)
    return making_notes(making, loc);
  if (!check_shape(making, loc, &value->type))
    return false;
  *result = tensor_datum(making, value);
  return true;
}

/* ---- operators ---- */

/* A number as a tensor like `like`'s element type, a scalar to broadcast. */
static Value *number_value(Making *making, double number, const Value *like) {
  return build_constant(&making->builder, number, (Type){.dtype = like->type.dtype});
}

/* Both operands as values; false where one is neither tensor nor number. */
static bool two_values(Making *making, const Expr *expr, const Datum *left, const Datum *right,
                       Value *values[2]) {
  const Datum *sides[2] = {left, right};
  double number;
  for (int i = 0; i < 2; i++)
    values[i] =
        sides[i]->kind == DATUM_TENSOR ? tensor_value(making, sides[i]->tensor) : NULL;
  for (int i = 0; i < 2; i++) {
    if (sides[i]->kind == DATUM_TENSOR)
      continue;
    if (!datum_number(sides[i], &number))
      return making_error(making, expr->loc, "'%s' between %s and %s", expr->text,
                          datum_kind_name(left->kind), datum_kind_name(right->kind));
    values[i] = number_value(making, number, values[1 - i]);
  }
  return true;
}

static bool tensor_power(Making *making, const Expr *expr, const Datum *left, const Datum *right,
                         Datum *value) {
  if (left->kind != DATUM_TENSOR || right->kind != DATUM_INT || right->integer < 1 ||
      right->integer > 8)
    return making_error(making, expr->loc,
                        "a tensor's exponent is an integer from 1 to 8; use exp and log");
  Value *base = tensor_value(making, left->tensor), *power = base;
  for (int64_t i = 1; i < right->integer; i++)
    power = build_binary(&making->builder, "mul", power, base);
  return built(making, expr->loc, power, value);
}

bool evaluate_tensor_binary(Making *making, const Expr *expr, const char *operator,
                            const Datum *left, const Datum *right, Datum *value) {
  static const struct {
    const char *sign, *op;
    bool swapped;
  } table[] = {{"+", "add", false}, {"-", "sub", false}, {"*", "mul", false}, {"/", "div", false},
               {"<", "lt", false},  {"<=", "le", false}, {">", "lt", true},   {">=", "le", true},
               {"==", "eq", false}};
  Value *values[2];
  making->builder.loc = making_place(making, expr->loc);
  if (strcmp(operator, "neg") == 0)
    return built(making, expr->loc,
                 build_unary(&making->builder, "neg", tensor_value(making, left->tensor)), value);
  if (strcmp(operator, "**") == 0)
    return tensor_power(making, expr, left, right, value);
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    if (strcmp(operator, table[i].sign) != 0)
      continue;
    if (!two_values(making, expr, left, right, values))
      return false;
    Value *x = values[table[i].swapped], *y = values[!table[i].swapped];
    return built(making, expr->loc, build_binary(&making->builder, table[i].op, x, y), value);
  }
  return making_error(making, expr->loc, "'%s' has no meaning for tensors", operator);
}

/* ---- attributes ---- */

/* Small enough that shape rules may multiply it with a dimension. */
static bool in_range(Making *making, Loc loc, const AttrSpec *spec, int64_t value) {
  return (value <= ATTRIBUTE_MAX && value >= -ATTRIBUTE_MAX) ||
         making_error(making, loc, "attribute '%s': %lld is out of range", spec->name,
                      (long long)value);
}

static bool attr_ints(Making *making, Loc loc, const AttrSpec *spec, const Datum *value,
                      Attr *attr) {
  if (value->kind != DATUM_LIST)
    return making_error(making, loc, "attribute '%s' is a list of integers, not %s", spec->name,
                        datum_kind_name(value->kind));
  int64_t *ints = ARENA_ARRAY(making->arena, int64_t, value->count + 1);
  for (int i = 0; i < value->count; i++) {
    if (value->items[i].kind != DATUM_INT)
      return making_error(making, loc, "attribute '%s' is a list of integers; element %d is %s",
                          spec->name, i, datum_kind_name(value->items[i].kind));
    ints[i] = value->items[i].integer;
    if (!in_range(making, loc, spec, ints[i]))
      return false;
  }
  if (strcmp(spec->name, "shape") == 0) {
    Type type = {0};
    if (!shape_from_list(making, loc, value, &type))
      return false;
  }
  *attr = (Attr){.kind = ATTR_INTS, .n = value->count, .ints = ints};
  return true;
}

static bool set_attr(Making *making, Loc loc, const AttrSpec *spec, const Datum *value,
                     Attr *attr) {
  static const char *const wanted[] = {[ATTR_INT] = "an integer", [ATTR_FLOAT] = "a number",
                                       [ATTR_TEXT] = "text"};
  if (spec->kind == ATTR_INTS)
    return attr_ints(making, loc, spec, value, attr);
  *attr = (Attr){.kind = spec->kind};
  if (spec->kind == ATTR_INT && (value->kind == DATUM_INT || value->kind == DATUM_BOOL)) {
    attr->i = value->integer;
    return in_range(making, loc, spec, attr->i);
  }
  if (spec->kind == ATTR_TEXT && value->kind == DATUM_TEXT)
    attr->text = value->text;
  else if (spec->kind != ATTR_FLOAT || !datum_number(value, &attr->f))
    return making_error(making, loc, "attribute '%s' is %s, not %s", spec->name,
                        wanted[spec->kind], datum_kind_name(value->kind));
  return true;
}

static bool unknown_attr(Making *making, const Op *op, Loc loc, const char *name) {
  const AttrSpec *specs;
  const char *names[MAX_ATTRS];
  int count = op_signature(op, &specs);
  for (int i = 0; i < count; i++)
    names[i] = specs[i].name;
  const char *nearest = diag_nearest(name, names, count);
  return nearest ? making_error(making, loc, "%s has no attribute '%s'; did you mean '%s'?",
                                op->name, name, nearest)
                 : making_error(making, loc, "%s has no attribute '%s'", op->name, name);
}

/* Arguments from `first` on (items index) as attributes: by position, then by name. */
static bool read_attrs(Making *making, const Op *op, const Expr *call, const Datum *values,
                       int first, Attr *attrs) {
  const AttrSpec *specs;
  int count = op_signature(op, &specs);
  bool given[MAX_ATTRS] = {false};
  for (int i = 0; i < count; i++)
    attrs[i] = specs[i].has_default ? specs[i].fallback : (Attr){0};
  for (int i = first; i < call->count; i++) {
    const char *name = call->names[i];
    int at = name ? op_attr_index(op, name) : i - first;
    if (at < 0)
      return unknown_attr(making, op, call->items[i]->loc, name);
    if (at >= count)
      return making_error(making, call->items[i]->loc, "%s takes %d operands and %d attributes",
                          op->name, op->n_in, count);
    if (given[at])
      return making_error(making, call->items[i]->loc, "attribute '%s' is given twice",
                          specs[at].name);
    given[at] = true;
    if (!set_attr(making, call->items[i]->loc, &specs[at], &values[i], &attrs[at]))
      return false;
  }
  for (int i = 0; i < count; i++)
    if (attrs[i].kind == ATTR_NONE)
      return making_error(making, call->loc, "%s needs attribute '%s'", op->name, specs[i].name);
  return true;
}

/* ---- calls ---- */

/* Values of `count` operands; numbers among an elementwise op's tensors become constants. */
static bool read_operands(Making *making, const Op *op, Loc loc, int count, const Datum *operands,
                          Value **in) {
  const Value *tensor = NULL;
  double number;
  for (int i = 0; i < count; i++) {
    in[i] = operands[i].kind == DATUM_TENSOR ? tensor_value(making, operands[i].tensor) : NULL;
    if (in[i])
      tensor = in[i];
  }
  for (int i = 0; i < count; i++) {
    if (in[i])
      continue;
    if (op->cls != OP_EW || !tensor || !datum_number(&operands[i], &number))
      return making_error(making, loc, "operand %d of %s is %s, not a tensor", i + 1, op->name,
                          datum_kind_name(operands[i].kind));
    in[i] = number_value(making, number, tensor);
  }
  return true;
}

static bool op_results(Making *making, Loc loc, const Node *node, Datum *result) {
  if (!node)
    return making_notes(making, loc);
  for (int i = 0; i < node->n_out; i++)
    if (!check_shape(making, loc, &node->out[i].type))
      return false;
  if (node->n_out == 1) {
    *result = tensor_datum(making, &node->out[0]);
    return true;
  }
  *result = (Datum){.kind = DATUM_LIST, .count = node->n_out,
                    .items = ARENA_ARRAY(making->arena, Datum, node->n_out)};
  for (int i = 0; i < node->n_out; i++)
    result->items[i] = tensor_datum(making, &node->out[i]);
  return true;
}

bool call_op(Making *making, const Op *op, const Expr *call, const Datum *values, Datum *result) {
  int positional = 0, n_in = op->n_in, first;
  Attr attrs[MAX_ATTRS];
  while (positional + 1 < call->count && !call->names[positional + 1])
    positional++;
  const Datum *operands = values + 1;
  if (op->cls == OP_REGION)
    return making_error(making, call->loc, "'%s' is made by the compiler only", op->name);
  if (call->path)
    return making_error(making, call->path->loc, "op '%s' has no parameters to name", op->name);
  if (n_in < 0 && positional && operands[0].kind == DATUM_LIST) {
    n_in = operands[0].count; /* concat([a, b], 1) */
    operands = operands[0].items;
    first = 2;
  } else {
    if (n_in < 0)
      n_in = positional;
    first = n_in + 1;
  }
  if (positional < first - 1)
    return making_error(making, call->loc, "%s wants %d operand%s, %d given", op->name, n_in,
                        n_in == 1 ? "" : "s", positional);
  Value **in = ARENA_ARRAY(making->arena, Value *, n_in + 1);
  if (!read_attrs(making, op, call, values, first, attrs) ||
      !read_operands(making, op, call->loc, n_in, operands, in))
    return false;
  Builder *b = &making->builder;
  b->loc = making_place(making, call->loc);
  if (op->cls == OP_EW && n_in == 2)
    return built(making, call->loc, build_binary(b, op->name, in[0], in[1]), result);
  if (op->cls == OP_EW && n_in == 3)
    return built(making, call->loc, build_select(b, in[0], in[1], in[2]), result);
  return op_results(making, call->loc, build_node_attrs(b, op, n_in, in, attrs), result);
}
