/* Making nodes: attribute lists, shape rules, located shape errors, and shorthands. See graph.h.
 *
 * Nothing is simplified here except what would be a no-op by type: a broadcast, reshape or permute
 * that changes nothing returns its operand.
 */
#include "ir/graph.h"
#include "ir/op.h"
#include <stdlib.h>
#include <string.h>

/* ---- errors ---- */

static void note_operands(const Builder *b, int n_in, Value *const *in) {
  for (int i = 0; i < n_in; i++) {
    Loc loc = graph_value_loc(b->graph, in[i]);
    if (loc.source)
      diag_note(b->diag, loc, "operand %d, %s, is made here", i + 1, type_text(&in[i]->type));
  }
}

/* Records a shape error, or aborts when the builder's user promised there are none. */
static Node *report(const Builder *b, int n_in, Value *const *in, const char *message) {
  Text text = {0};
  text_add(&text, "%s", message);
  for (int i = 0; i < n_in; i++)
    text_add(&text, "%s%s", i ? ", " : " (operands: ", type_text(&in[i]->type));
  if (n_in)
    text_add(&text, ")");
  if (!b->diag)
    FAULT("%s", text.at);
  diag_error(b->diag, b->loc, "%s", text.at);
  text_free(&text);
  note_operands(b, n_in, in);
  return NULL;
}

/* ---- nodes ---- */

static bool all_there(int n_in, Value *const *in) {
  for (int i = 0; i < n_in; i++)
    if (!in[i])
      return false;
  return true;
}

static Attr copy_attr(Arena *arena, const Attr *attr) {
  Attr copy = *attr;
  if (attr->kind == ATTR_INTS)
    copy.ints = arena_copy(arena, attr->ints, sizeof *attr->ints * (size_t)attr->n);
  else if (attr->kind == ATTR_TEXT)
    copy.text = arena_strdup(arena, attr->text);
  return copy;
}

static Node *append(Builder *b, const Op *op, int n_in, Value *const *in, int n_out,
                    const Type *types) {
  Graph *graph = b->graph;
  Arena *arena = graph->arena;
  Node *node = ARENA_NEW(arena, Node);
  node->op = op;
  node->graph = graph;
  node->n_in = n_in;
  node->n_out = n_out;
  node->in = ARENA_ARRAY(arena, Value *, n_in + 1);
  node->out = ARENA_ARRAY(arena, Value, n_out + 1);
  node->loc = b->loc;
  node->stage = b->stage;
  node->uncounted = b->uncounted;
  node->id = graph->nodes.count;
  for (int i = 0; i < n_in; i++)
    node->in[i] = in[i];
  for (int i = 0; i < n_out; i++) {
    Value *value = &node->out[i];
    *value = (Value){.type = types[i], .node = node, .index = i, .id = graph->n_values++};
    graph_name_value(graph, value, arena_printf(arena, "%s1", op->name));
  }
  vec_push(arena, &graph->nodes, node);
  return node;
}

Node *build_node_attrs(Builder *b, const Op *op, int n_in, Value *const *in, const Attr *attrs) {
  if (!all_there(n_in, in))
    return NULL;
  CHECK(op->cls != OP_REGION);
  if (op->n_in >= 0 ? n_in != op->n_in : n_in < 1)
    return report(b, n_in, in,
                  arena_printf(b->graph->arena, "%s: wants %s%d operand%s", op->name,
                               op->n_in < 0 ? "at least " : "", abs(op->n_in),
                               abs(op->n_in) == 1 ? "" : "s"));
  const Type **types = ARENA_ARRAY(b->graph->arena, const Type *, n_in + 1);
  for (int i = 0; i < n_in; i++)
    types[i] = &in[i]->type;
  Type results[8] = {0};
  CHECK(op->n_out > 0 && op->n_out <= 8);
  OpCall call = {op, n_in, types, attrs, NULL};
  Error error = {0};
  if (!op->shape(&call, results, &error))
    return report(b, n_in, in, arena_printf(b->graph->arena, "%s: %s", op->name, error.text));
  Node *node = append(b, op, n_in, in, op->n_out, results);
  const AttrSpec *specs;
  int count = op_signature(op, &specs);
  for (int i = 0; i < count; i++)
    node->attrs[i] = copy_attr(b->graph->arena, &attrs[i]);
  return node;
}

static void read_attr(const Op *op, Attr *attr, AttrKind kind, va_list *arguments) {
  *attr = (Attr){.kind = kind};
  if (kind == ATTR_INT)
    attr->i = va_arg(*arguments, int64_t);
  else if (kind == ATTR_FLOAT)
    attr->f = va_arg(*arguments, double);
  else if (kind == ATTR_TEXT)
    attr->text = va_arg(*arguments, const char *);
  else if (kind == ATTR_INTS) {
    attr->n = va_arg(*arguments, int);
    attr->ints = va_arg(*arguments, const int64_t *);
  } else
    FAULT("op %s: attribute without a kind", op->name);
}

Node *build_node(Builder *b, const char *name, int n_in, Value *const *in, ...) {
  const Op *op = op_find(name);
  if (!op)
    FAULT("no op is called %s", name);
  const AttrSpec *specs;
  int count = op_signature(op, &specs);
  Attr attrs[MAX_ATTRS] = {0};
  for (int i = 0; i < count; i++)
    if (specs[i].has_default)
      attrs[i] = specs[i].fallback;
  va_list arguments;
  va_start(arguments, in);
  for (const char *attr; (attr = va_arg(arguments, const char *));) {
    int i = op_attr_index(op, attr);
    if (i < 0)
      FAULT("op %s has no attribute %s", name, attr);
    read_attr(op, &attrs[i], specs[i].kind, &arguments);
  }
  va_end(arguments);
  for (int i = 0; i < count; i++)
    if (attrs[i].kind == ATTR_NONE)
      FAULT("op %s needs attribute %s", name, specs[i].name);
  return build_node_attrs(b, op, n_in, in, attrs);
}

Node *build_region(Builder *b, int n_in, Value *const *in, Graph *body) {
  if (!all_there(n_in, in))
    return NULL;
  CHECK(body->inputs.count == n_in && body->outputs.count > 0);
  for (int i = 0; i < n_in; i++)
    CHECK(type_equal(&in[i]->type, &body->inputs.at[i].value->type));
  Type *types = ARENA_ARRAY(b->graph->arena, Type, body->outputs.count);
  for (int i = 0; i < body->outputs.count; i++)
    types[i] = body->outputs.at[i].value->type;
  Node *node = append(b, op_find("region"), n_in, in, body->outputs.count, types);
  node->body = body;
  return node;
}

/* ---- shorthands ---- */

static Value *only(Node *node) { return node ? &node->out[0] : NULL; }

Value *build_unary(Builder *b, const char *op, Value *x) {
  return only(build_node(b, op, 1, (Value *[]){x}, NULL));
}

/* The shape that x and y (and the shape so far) stretch to; false when they do not. */
static bool join_shapes(const Type *x, int *rank, int64_t *dim) {
  int joined = x->rank > *rank ? x->rank : *rank;
  int64_t result[MAX_RANK];
  for (int i = 0; i < joined; i++) {
    int64_t a = i < joined - x->rank ? 1 : x->dim[i - (joined - x->rank)];
    int64_t c = i < joined - *rank ? 1 : dim[i - (joined - *rank)];
    if (a != c && a != 1 && c != 1)
      return false;
    result[i] = a == 1 ? c : a;
  }
  *rank = joined;
  memcpy(dim, result, sizeof *dim * (size_t)joined);
  return true;
}

static Value *elementwise(Builder *b, const char *op, int n_in, Value *const *in) {
  if (!all_there(n_in, in))
    return NULL;
  int rank = 0;
  int64_t dim[MAX_RANK];
  Value *stretched[4];
  for (int i = 0; i < n_in; i++)
    if (!join_shapes(&in[i]->type, &rank, dim))
      return only(
          report(b, n_in, in,
                 arena_printf(b->graph->arena, "%s: the operands' shapes do not broadcast", op)));
  for (int i = 0; i < n_in; i++)
    stretched[i] = build_broadcast(b, in[i], rank, dim);
  return only(build_node(b, op, n_in, stretched, NULL));
}

Value *build_binary(Builder *b, const char *op, Value *x, Value *y) {
  return elementwise(b, op, 2, (Value *[]){x, y});
}

Value *build_select(Builder *b, Value *condition, Value *x, Value *y) {
  return elementwise(b, "select", 3, (Value *[]){condition, x, y});
}

Value *build_constant(Builder *b, double value, Type type) {
  return only(build_node(b, "constant", 0, NULL, "value", value, "dtype", dtype_name(type.dtype),
                         "shape", type.rank, type.dim, NULL));
}

Value *build_like(Builder *b, double value, const Value *like) {
  return like ? build_constant(b, value, like->type) : NULL;
}

Value *build_scale(Builder *b, Value *x, double factor) {
  return build_binary(b, "mul", x, build_like(b, factor, x));
}

Value *build_offset(Builder *b, Value *x, double term) {
  return build_binary(b, "add", x, build_like(b, term, x));
}

static bool same_shape(const Type *type, int rank, const int64_t *dim) {
  return type->rank == rank && (!rank || !memcmp(type->dim, dim, sizeof *dim * (size_t)rank));
}

Value *build_reshape(Builder *b, Value *x, int rank, const int64_t *dim) {
  if (!x || same_shape(&x->type, rank, dim))
    return x;
  return only(build_node(b, "reshape", 1, &x, "shape", rank, dim, NULL));
}

Value *build_permute(Builder *b, Value *x, const int64_t *perm) {
  if (!x)
    return NULL;
  bool identity = true;
  for (int i = 0; i < x->type.rank; i++)
    identity &= perm[i] == i;
  return identity ? x : only(build_node(b, "permute", 1, &x, "perm", x->type.rank, perm, NULL));
}

Value *build_broadcast(Builder *b, Value *x, int rank, const int64_t *dim) {
  if (!x || same_shape(&x->type, rank, dim))
    return x;
  if (rank < x->type.rank || rank > MAX_RANK)
    return only(report(b, 1, &x, "broadcast: the result has fewer axes than the operand"));
  int64_t full[MAX_RANK];
  int missing = rank - x->type.rank;
  for (int i = 0; i < rank; i++)
    full[i] = i < missing ? 1 : x->type.dim[i - missing];
  x = build_reshape(b, x, rank, full);
  if (!x || same_shape(&x->type, rank, dim))
    return x;
  return only(build_node(b, "broadcast", 1, &x, "shape", rank, dim, NULL));
}

Value *build_reduce(Builder *b, const char *op, Value *x, int n_axes, const int64_t *axes) {
  return only(build_node(b, op, 1, &x, "axes", n_axes, axes, NULL));
}

Value *build_sum_to(Builder *b, Value *x, const Type *shape) {
  if (!x)
    return NULL;
  int missing = x->type.rank - shape->rank, n_axes = 0;
  CHECK(missing >= 0);
  int64_t axes[MAX_RANK];
  for (int i = 0; i < x->type.rank; i++)
    if (x->type.dim[i] != (i < missing ? 1 : shape->dim[i - missing]))
      axes[n_axes++] = i;
  if (n_axes)
    x = build_reduce(b, "reduce_sum", x, n_axes, axes);
  return build_reshape(b, x, shape->rank, shape->dim);
}

Value *build_matmul(Builder *b, Value *x, Value *y, bool transpose_x, bool transpose_y) {
  return only(build_node(b, "matmul", 2, (Value *[]){x, y}, "ta", (int64_t)transpose_x, "tb",
                         (int64_t)transpose_y, NULL));
}
