/* A bias ahead of a norm with batch statistics does nothing but shift the mean, which the norm
 * takes away again: norm(x + c) = norm(x), with c added to the mean that the running mean learns.
 * Done before gradients are taken, the bias has no gradient (it is zero, of which floating-point
 * sums make noise, which AdamW would turn into steps of full length), and nothing is computed for
 * it.
 */
#include "passes/graph/common.h"

/* The operand and the channels' term of the sum that a norm reads alone, or NULL. */
static const Value *before_bias(const int *uses, const Value *x, Value **term) {
  const Node *add = made_by(x, "add");
  for (int side = 0; add && uses[x->id] == 1 && side < 2; side++)
    if ((*term = channel_term(add->in[side])))
      return add->in[1 - side];
  return NULL;
}

Graph *pass_norm_bias(PassContext *context, Graph *graph) {
  Arena *arena = context->arena;
  const int *uses = graph_count_uses(graph, arena);
  GraphMap map = graph_map_start(graph, arena);
  for (int n = 0; n < graph->nodes.count; n++) {
    const Node *node = graph->nodes.at[n];
    Value *term;
    const Value *x =
        made_by(&node->out[0], "batch_norm_train") ? before_bias(uses, node->in[0], &term) : NULL;
    if (!x) {
      graph_map_copy(&map, node);
      continue;
    }
    Builder b = {map.to, NULL, node->loc, node->stage, node->uncounted};
    Value *in[6];
    for (int i = 0; i < node->n_in; i++)
      in[i] = map.value[i ? node->in[i]->id : x->id];
    Node *norm = build_node_attrs(&b, node->op, node->n_in, in, node->attrs);
    for (int i = 0; i < node->n_out; i++) {
      map.value[node->out[i].id] = &norm->out[i];
      if (i != 1)
        graph_name_value(map.to, &norm->out[i], node->out[i].name);
    }
    int64_t channels = node->in[0]->type.dim[1];
    Value *shift = build_reshape(&b, map.value[term->id], 1, &channels);
    shift = build_scale(&b, shift, node_float(node, "momentum"));
    map.value[node->out[1].id] = build_binary(&b, "add", &norm->out[1], shift);
  }
  return graph_without_dead(graph_map_finish(&map), arena);
}
