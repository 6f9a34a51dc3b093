/* The reference interpreter: nodes in order, each by its op's naive rule. See graph.h.
 *
 * An intermediate array lives from its node to its last reader, so that a whole model needs about
 * the memory of its widest part.
 */
#include "ir/graph.h"
#include "ir/op.h"
#include <stdlib.h>
#include <string.h>

static size_t value_bytes(const Value *value) {
  return (size_t)type_elements(&value->type) * sizeof(double);
}

static double **operands(const Node *node, double **arrays) {
  double **in = mem_alloc(sizeof(double *) * (size_t)(node->n_in + node->n_out + 1));
  for (int i = 0; i < node->n_in; i++)
    in[i] = arrays[node->in[i]->id];
  return in;
}

/* Gives up a use of an array that a node made; arrays of inputs are the caller's. */
static void release(const Value *value, double **arrays, int *uses) {
  if (--uses[value->id] > 0 || !value->node)
    return;
  free(arrays[value->id]);
  arrays[value->id] = NULL;
}

static void run_node(const Node *node, double **arrays, int *uses) {
  double **in = operands(node, arrays), **out = in + node->n_in;
  for (int i = 0; i < node->n_out; i++) {
    out[i] = arrays[node->out[i].id] = mem_alloc(value_bytes(&node->out[i]));
    uses[node->out[i].id]++; /* ours, while the node runs */
  }
  node->op->eval(node, in, out);
  for (int i = 0; i < node->n_out; i++)
    release(&node->out[i], arrays, uses);
  for (int i = 0; i < node->n_in; i++)
    release(node->in[i], arrays, uses);
  free(in);
}

void graph_eval(const Graph *graph, Arena *arena, double *const *inputs, double **outputs) {
  Arena *own = arena_new();
  double **arrays = ARENA_ARRAY(own, double *, graph->n_values + 1);
  int *uses = graph_count_uses(graph, own);
  for (int i = 0; i < graph->inputs.count; i++)
    arrays[graph->inputs.at[i].value->id] = inputs[i];
  for (int i = 0; i < graph->nodes.count; i++)
    run_node(graph->nodes.at[i], arrays, uses);
  for (int i = 0; i < graph->outputs.count; i++) {
    const Value *value = graph->outputs.at[i].value;
    outputs[i] = arena_copy(arena, arrays[value->id], value_bytes(value));
    release(value, arrays, uses);
  }
  arena_free(own);
}
