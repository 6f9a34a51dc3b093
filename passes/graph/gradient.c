/* Reverse-mode differentiation: the graph is copied, then walked backwards, each op's rule adding
 * the nodes that turn gradients of its results into gradients of its operands.
 *
 * Only values that depend on a trained parameter get gradients. Several contributions to one value
 * are added in the order in which they are met. New nodes carry the place and stage of their
 * forward node, and count no operations.
 */
#include "passes/graph/common.h"
#include <string.h>

typedef struct Reverse {
  PassContext *context;
  Graph *graph;
  bool *need;               /* by value id of the forward part: depends on a trained parameter */
  Value **gradient;         /* by value id of the forward part: NULL while zero */
  const char *const *names; /* data inputs that are differentiated too */
  int n_names;
} Reverse;

static bool is_wanted(const Reverse *r, const GraphInput *input) {
  if (!dtype_is_float(input->value->type.dtype))
    return false;
  for (int i = 0; i < r->n_names && input->role == ROLE_INPUT; i++)
    if (strcmp(r->names[i], input->name) == 0)
      return true;
  return input->role == ROLE_PARAMETER && !input->frozen;
}

static void mark_needed(Reverse *r) {
  for (int i = 0; i < r->graph->inputs.count; i++)
    r->need[r->graph->inputs.at[i].value->id] = is_wanted(r, &r->graph->inputs.at[i]);
  for (int i = 0; i < r->graph->nodes.count; i++) {
    const Node *node = r->graph->nodes.at[i];
    bool any = false;
    for (int j = 0; j < node->n_in; j++)
      any |= r->need[node->in[j]->id];
    for (int j = 0; j < node->n_out; j++)
      r->need[node->out[j].id] = any && dtype_is_float(node->out[j].type.dtype);
  }
}

static bool differentiate(Reverse *r, const Node *node) {
  Arena *arena = r->context->arena;
  Value **dout = ARENA_ARRAY(arena, Value *, node->n_out + 1);
  Value **din = ARENA_ARRAY(arena, Value *, node->n_in + 1);
  bool *need = ARENA_ARRAY(arena, bool, node->n_in + 1), reached = false, wanted = false;
  for (int i = 0; i < node->n_out; i++)
    reached |= (dout[i] = r->gradient[node->out[i].id]) != NULL;
  for (int i = 0; i < node->n_in; i++)
    wanted |= need[i] = r->need[node->in[i]->id];
  if (!reached || !wanted)
    return true;
  if (node->op->grad == grad_none)
    return diag_error(r->context->diag, node->loc,
                      "%s has no gradient, but the loss depends on a "
                      "trained parameter through it",
                      node->op->name);
  Builder b = {.graph = r->graph, .loc = node->loc, .stage = node->stage, .uncounted = true};
  node->op->grad(&b, node, dout, need, din);
  for (int i = 0; i < node->n_in; i++) {
    Value *const x = node->in[i];
    if (!din[i] || !need[i])
      continue;
    if (!type_equal(&din[i]->type, &x->type))
      FAULT("gradient of %s for operand %d has type %s, not %s", node->op->name, i,
            type_text(&din[i]->type), type_text(&x->type));
    Value **sum = &r->gradient[x->id];
    *sum = *sum ? build_binary(&b, "add", *sum, din[i]) : din[i];
  }
  return true;
}

static Graph *copy_graph(const Graph *graph, Arena *arena) {
  GraphMap map = graph_map_start(graph, arena);
  for (int i = 0; i < graph->nodes.count; i++)
    graph_map_copy(&map, graph->nodes.at[i]);
  return graph_map_finish(&map);
}

Graph *graph_add_gradients(PassContext *context, Graph *from, const char *loss) {
  return graph_add_input_gradients(context, from, loss, NULL, 0);
}

Graph *graph_add_input_gradients(PassContext *context, Graph *from, const char *loss,
                                 const char *const *names, int n_names) {
  Arena *arena = context->arena;
  Graph *graph = copy_graph(graph_expand(from, arena, OPF_GRAD_EXPAND), arena);
  const GraphOutput *output = graph_find_output(graph, loss);
  if (!output) {
    diag_error(context->diag, (Loc){0}, "@%s has no output called \"%s\"", graph->name, loss);
    return NULL;
  }
  if (type_elements(&output->value->type) != 1) {
    diag_error(context->diag, output->loc, "the loss \"%s\" is a tensor %s, not one number", loss,
               type_text(&output->value->type));
    return NULL;
  }
  Reverse r = {context,
               graph,
               ARENA_ARRAY(arena, bool, graph->n_values + 1),
               ARENA_ARRAY(arena, Value *, graph->n_values + 1),
               names,
               n_names};
  mark_needed(&r);
  Builder b = {.graph = graph, .loc = output->loc, .uncounted = true};
  r.gradient[output->value->id] = build_like(&b, 1, output->value);
  for (int i = graph->nodes.count - 1; i >= 0; i--)
    /* gradient nodes are appended behind; the seed is one of them and has no gradient itself */
    if (graph->nodes.at[i] != r.gradient[output->value->id]->node &&
        !differentiate(&r, graph->nodes.at[i]))
      return NULL;
  for (int i = 0; i < graph->inputs.count; i++) {
    GraphInput input = graph->inputs.at[i];
    if (!is_wanted(&r, &input))
      continue;
    b.loc = input.loc;
    b.stage = input.stage;
    Value *gradient = r.gradient[input.value->id];
    graph_add_output(graph, arena_printf(arena, "grad.%s", input.name),
                     gradient ? gradient : build_like(&b, 0, input.value), NULL, input.loc);
  }
  return graph;
}

Graph *pass_gradients(PassContext *context, Graph *graph) {
  return graph_add_gradients(context, graph, "loss");
}
