/* Constant folding: a node whose operands are constants and whose result is one number everywhere
 * becomes a constant. The op's own reference rule computes it, so that folding cannot disagree with
 * the interpreter; elementwise ops are evaluated on one element, others on all when those are few.
 */
#include "passes/graph/common.h"

enum { FEW = 1 << 20 };

static int64_t work(const Node *node) {
  int64_t elements = type_elements(&node->out[0].type);
  for (int i = 0; i < node->n_in; i++)
    elements += type_elements(&node->in[i]->type);
  return elements;
}

/* Evaluates the node on constants of its operands' shapes (or as scalars); true and the number when
 * all elements agree. */
static bool evaluate(const Node *node, Value *const *in, bool scalar, double *result) {
  Arena *arena = arena_new();
  Graph *graph = graph_new(arena, "fold");
  Builder b = {.graph = graph};
  Value **operands = ARENA_ARRAY(arena, Value *, node->n_in + 1);
  for (int i = 0; i < node->n_in; i++) {
    Type type = in[i]->type;
    if (scalar)
      type.rank = 0;
    double value = 0;
    is_splat(in[i], &value);
    operands[i] = build_constant(&b, value, type);
  }
  Value *value = &build_node_attrs(&b, node->op, node->n_in, operands, node->attrs)->out[0];
  graph_add_output(graph, "result", value, NULL, (Loc){0});
  double *elements;
  graph_eval(graph, arena, NULL, &elements);
  bool same = true;
  for (int64_t i = 1; i < type_elements(&value->type) && same; i++)
    same = elements[i] == elements[0];
  unsigned char rounded[8]; /* as the element type holds it */
  dtype_store(value->type.dtype, rounded, 0, elements[0]);
  *result = dtype_load(value->type.dtype, rounded, 0);
  arena_free(arena);
  return same;
}

static bool fold(void *context, Builder *b, const Node *old, Value *const *in, Value **out) {
  (void)context;
  if (!old->n_in || old->n_out != 1 || old->op->cls == OP_REGION)
    return false;
  for (int i = 0; i < old->n_in; i++)
    if (!is_splat(in[i], NULL))
      return false;
  bool scalar = old->op->cls == OP_EW;
  double result;
  if ((!scalar && work(old) > FEW) || !evaluate(old, in, scalar, &result))
    return false;
  out[0] = build_like(b, result, &old->out[0]);
  return true;
}

Graph *pass_fold(PassContext *context, Graph *graph) {
  return graph_without_dead(graph_rewrite(graph, context->arena, fold, NULL), context->arena);
}
