/* Canonicalisation: the pass, and the algebra of elementwise ops. Views are in canon_view.c.
 *
 * Normal form: constants stand right; x - c is x + (-c) and x / c is x * (1/c); negations are
 * merged into neighbours. Every rule makes the graph smaller or moves something one way only, so
 * repeating them ends.
 */
#include "passes/graph/canon.h"
#include <math.h>
#include <string.h>

static Value *binary(Builder *b, const char *op, Value *x, Value *y) {
  return build_binary(b, op, x, y);
}

/* The operand of a negation, or NULL. */
static Value *negated(const Value *value) {
  const Node *node = made_by(value, "neg");
  return node ? node->in[0] : NULL;
}

static bool is_signed(const Value *value) { return value->type.dtype != DT_u8; }

/* Merges op(op(z, d), c) into op(z, d op c), for add and mul. */
static Value *merge_constants(Builder *b, const char *op, Value *x, double c) {
  const Node *inner = made_by(x, op);
  double d;
  if (!inner || !is_splat(inner->in[1], &d))
    return NULL;
  double merged = strcmp(op, "add") == 0 ? c + d : c * d;
  return binary(b, op, inner->in[0], build_like(b, merged, x));
}

static Value *simplify_add(Builder *b, Value *x, Value *y) {
  double c;
  if (is_splat(y, &c))
    return c == 0 ? x : merge_constants(b, "add", x, c);
  if (negated(y))
    return binary(b, "sub", x, negated(y));
  return negated(x) ? binary(b, "sub", y, negated(x)) : NULL;
}

static Value *simplify_sub(Builder *b, Value *x, Value *y) {
  double c;
  if (is_splat(y, &c) && c == 0)
    return x;
  if (is_splat(y, &c) && is_signed(y))
    return binary(b, "add", x, build_like(b, -c, y));
  if (is_splat(x, &c) && c == 0)
    return build_unary(b, "neg", y);
  return negated(y) ? binary(b, "add", x, negated(y)) : NULL;
}

static Value *simplify_mul(Builder *b, Value *x, Value *y) {
  double c;
  if (!is_splat(y, &c))
    return negated(x) && negated(y) ? binary(b, "mul", negated(x), negated(y)) : NULL;
  if (c == 1)
    return x;
  if (negated(x))
    return binary(b, "mul", negated(x), build_like(b, -c, x));
  return c == -1 && is_signed(x) ? build_unary(b, "neg", x) : merge_constants(b, "mul", x, c);
}

static Value *simplify_div(Builder *b, Value *x, Value *y) {
  double c;
  if (!is_splat(y, &c) || c == 0 || !isnormal(1 / c) || !isnormal((float)(1 / c)))
    return NULL;
  return c == 1 ? x : binary(b, "mul", x, build_like(b, 1 / c, y));
}

static Value *simplify_neg(Builder *b, Value *x) {
  double c;
  if (negated(x))
    return negated(x);
  const Node *inner = made_by(x, "sub");
  if (inner)
    return binary(b, "sub", inner->in[1], inner->in[0]);
  inner = made_by(x, "mul");
  if (inner && is_splat(inner->in[1], &c))
    return binary(b, "mul", inner->in[0], build_like(b, -c, x));
  return NULL;
}

static Value *simplify_select(Value *const *in) {
  double c;
  if (is_splat(in[0], &c))
    return c != 0 ? in[1] : in[2];
  return in[1] == in[2] ? in[1] : NULL;
}

static Value *simplify(Builder *b, const Node *old, Value *const *in) {
  const char *op = old->op->name;
  if (strcmp(op, "add") == 0)
    return simplify_add(b, in[0], in[1]);
  if (strcmp(op, "sub") == 0)
    return simplify_sub(b, in[0], in[1]);
  if (strcmp(op, "mul") == 0)
    return simplify_mul(b, in[0], in[1]);
  if (strcmp(op, "div") == 0)
    return simplify_div(b, in[0], in[1]);
  if (strcmp(op, "neg") == 0)
    return simplify_neg(b, in[0]);
  if (strcmp(op, "select") == 0)
    return simplify_select(in);
  if (strcmp(op, "max") == 0 || strcmp(op, "min") == 0)
    return in[0] == in[1] ? in[0] : NULL;
  if (strcmp(op, "cast") == 0)
    return in[0]->type.dtype == old->out[0].type.dtype ? in[0] : NULL;
  if (strcmp(op, "abs") == 0 && made_by(in[0], "abs"))
    return in[0];
  if (strcmp(op, "abs") == 0 && negated(in[0]))
    return build_unary(b, op, negated(in[0]));
  return NULL;
}

/* Elementwise over stretched operands is stretched elementwise: all operands are constants or
 * broadcasts from one shape, so the op runs on the small shape. */
static Value *below_broadcasts(Builder *b, const Node *old, Value *const *in) {
  const Type *small = NULL;
  for (int i = 0; i < old->n_in; i++) {
    const Node *node = made_by(in[i], "broadcast");
    if (!node && !is_splat(in[i], NULL))
      return NULL;
    if (!node)
      continue;
    const Type *type = &node->in[0]->type;
    if (small && memcmp(small->dim, type->dim, sizeof *type->dim * (size_t)type->rank) != 0)
      return NULL;
    small = type;
  }
  if (!small)
    return NULL;
  Value *operands[4];
  CHECK(old->n_in <= 4);
  for (int i = 0; i < old->n_in; i++) {
    double c;
    Type type = *small;
    type.dtype = in[i]->type.dtype;
    operands[i] = is_splat(in[i], &c) ? build_constant(b, c, type) : in[i]->node->in[0];
  }
  Node *node = build_node_attrs(b, old->op, old->n_in, operands, old->attrs);
  const Type *full = &old->out[0].type;
  return build_broadcast(b, &node->out[0], full->rank, full->dim);
}

Value *canon_elementwise(Builder *b, const Node *old, Value *const *in) {
  if ((old->op->flags & OPF_COMMUTES) && is_splat(in[0], NULL) && !is_splat(in[1], NULL)) {
    Value *swapped[2] = {in[1], in[0]};
    return &build_node_attrs(b, old->op, 2, swapped, old->attrs)->out[0];
  }
  Value *value = simplify(b, old, in);
  return value ? value : below_broadcasts(b, old, in);
}

/* ---- the pass ---- */

static bool canon(void *context, Builder *b, const Node *old, Value *const *in, Value **out) {
  bool *changed = context;
  if (old->n_out != 1 || old->op->cls == OP_REGION)
    return false;
  Value *value = old->op->cls == OP_EW ? canon_elementwise(b, old, in) : NULL;
  if (!value)
    value = canon_view(b, old, in);
  if (!value)
    return false;
  CHECK(type_equal(&value->type, &old->out[0].type));
  *changed = true;
  out[0] = value;
  return true;
}

Graph *pass_canon(PassContext *context, Graph *graph) {
  bool changed = true;
  for (int round = 0; changed; round++) {
    CHECK(round < 1000); /* rules that undo each other */
    changed = false;
    Graph *next = graph_rewrite(graph, context->arena, canon, &changed);
    if (changed)
      graph = graph_without_dead(next, context->arena);
  }
  return graph_without_dead(graph, context->arena);
}
