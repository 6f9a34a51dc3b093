/* Sums of products with a convolution's results, without these results:
 *
 *   sum over places of d * conv(x, w)  =  sum over the kernel of w * dw,  dw the gradient of w for
 * d
 *
 * by channel, since both are the same sum over places, taps and channels of d, w and x in another
 * order. The gradient of a batch norm asks for such a sum with the mean taken away; the mean's part
 * is the mean times the sum of d. So the branches of a normalised convolution need not be there
 * when these sums are made (schedule C of three: docs/performance.md).
 *
 * The gradient of w for this d is a contraction of its own, which costs more than reading the
 * results where they are kept: the rewrite is done where somebody computes that gradient anyway, or
 * where memory is so short that computing results again alone does not help (PassOptions.algebra).
 */
#include "ir/op.h"
#include "passes/graph/common.h"

typedef struct Sum {
  const Value *d, *mean; /* mean: of size 1 but for channels; NULL: none is taken away */
  const Node *conv;
} Sum;

/* A convolution whose gradient is known, with one weight for each of its channels and more. */
static const Node *convolution(const Value *value) {
  const Node *node = value->node;
  return node && node->op->cls == OP_CONTR && (node->op->flags & OPF_SPATIAL) &&
                 node->op->grad != grad_none
             ? node
             : NULL;
}

static bool is_sum_by_channel(const Node *node) {
  int count;
  if (!made_by(&node->out[0], "reduce_sum"))
    return false;
  const int64_t *axes = node_ints(node, "axes", &count);
  bool channels = count == node->in[0]->type.rank - 1;
  for (int i = 0; i < count; i++)
    channels &= axes[i] != 1;
  return channels;
}

static bool match(const Node *node, Sum *sum) {
  const Node *product = is_sum_by_channel(node) ? made_by(node->in[0], "mul") : NULL;
  for (int side = 0; product && side < 2; side++) {
    const Value *results = product->in[side];
    const Node *centred = made_by(results, "sub");
    *sum = (Sum){.d = product->in[1 - side]};
    if (centred && (sum->mean = channel_term(centred->in[1])))
      results = centred->in[0];
    sum->conv = convolution(results);
    if (sum->conv)
      return true;
  }
  return false;
}

/* Does the graph compute the gradient of the weights for this very d? */
static bool computed_anyway(const Graph *graph, const Sum *sum, const Node *gradient) {
  for (int n = 0; n < graph->nodes.count; n++) {
    const Node *node = graph->nodes.at[n];
    if (node->n_in == 2 && node->in[0] == sum->conv->in[0] && node->in[1] == sum->d &&
        node_same(node, gradient))
      return true;
  }
  return false;
}

static Value *rewrite(GraphMap *map, const Node *node, const Sum *sum, bool wanted) {
  Builder b = {map->to, NULL, node->loc, node->stage, true};
  Node conv = *sum->conv; /* as it is in the new graph, for its gradient rule */
  Value *in[2] = {map->value[conv.in[0]->id], map->value[conv.in[1]->id]};
  Value *d = map->value[sum->d->id], *din[2] = {NULL, NULL};
  const Type *shape = &node->out[0].type;
  conv.in = in;
  conv.op->grad(&b, &conv, &d, (bool[]){false, true}, din);
  if (!din[1] || (!wanted && !computed_anyway(map->from, sum, din[1]->node)))
    return NULL;
  Value *product = build_binary(&b, "mul", in[1], din[1]);
  Value *total = build_reduce(&b, "reduce_sum", product, 4, (int64_t[]){1, 2, 3, 4});
  total = build_reshape(&b, total, shape->rank, shape->dim);
  if (!sum->mean)
    return total;
  int count;
  const int64_t *axes = node_ints(node, "axes", &count);
  Value *part = build_reduce(&b, "reduce_sum", d, count, axes);
  Value *mean = build_reshape(&b, map->value[sum->mean->id], shape->rank, shape->dim);
  return build_binary(&b, "sub", total, build_binary(&b, "mul", mean, part));
}

Graph *pass_correlate(PassContext *context, Graph *graph) {
  Arena *arena = context->arena;
  bool wanted = context->options && context->options->algebra;
  GraphMap map = graph_map_start(graph, arena);
  for (int n = 0; n < graph->nodes.count; n++) {
    const Node *node = graph->nodes.at[n];
    Sum sum;
    Value *total = match(node, &sum) ? rewrite(&map, node, &sum, wanted) : NULL;
    if (!total) {
      graph_map_copy(&map, node);
      continue;
    }
    graph_name_value(map.to, total, node->out[0].name);
    map.value[node->out[0].id] = total;
  }
  return graph_without_dead(graph_map_finish(&map), arena);
}
