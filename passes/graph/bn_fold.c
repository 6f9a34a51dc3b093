/* Norms with running statistics vanish into the convolution before them:
 *   norm(conv(x, w) + c) = conv(x, w*s) + (c - mean)*s + bias,  s = weight / sqrt(variance + eps)
 * per output channel. The new weights are graph ops on parameters only, so they belong to what is
 * computed once when weights are loaded. Skipped where a norm's operand depends on data.
 */
#include "passes/graph/common.h"

typedef struct Folding {
  const int *uses;  /* of the old graph */
  const bool *data; /* of the old graph */
  Value **mapped;   /* old value id -> new value, for nodes seen so far */
} Folding;

/* Sees x as conv plus terms that are one number a channel. Every value on the way is read once. */
static const Node *find_conv(const Folding *f, const Value *x, Value **terms, int *n_terms) {
  for (*n_terms = 0; f->uses[x->id] == 1;) {
    if (made_by(x, "conv3d"))
      return f->data[x->node->in[1]->id] ? NULL : x->node;
    const Node *add = made_by(x, "add");
    if (!add || *n_terms == 8)
      return NULL;
    int side = channel_term(add->in[1]) ? 1 : channel_term(add->in[0]) ? 0 : -1;
    if (side < 0 || f->data[add->in[side]->id])
      return NULL;
    terms[(*n_terms)++] = channel_term(add->in[side]);
    x = add->in[1 - side];
  }
  return NULL;
}

static bool fold_norm(Folding *f, Builder *b, const Node *old, Value *const *in, Value **out) {
  Value *terms[8];
  int n_terms;
  if (!made_by(&old->out[0], "batch_norm") || old->in[0]->type.rank != 5)
    return false;
  for (int i = 1; i < 5; i++)
    if (f->data[old->in[i]->id])
      return false;
  const Node *conv = find_conv(f, old->in[0], terms, &n_terms);
  if (!conv)
    return false;
  int64_t channels = old->in[0]->type.dim[1], along_weights[] = {channels, 1, 1, 1, 1};
  Value *variance = build_offset(b, in[4], node_float(old, "eps"));
  Value *scale = build_binary(b, "mul", in[1], build_unary(b, "rsqrt", variance));
  Value *shift = build_unary(b, "neg", in[3]);
  for (int i = n_terms - 1; i >= 0; i--)
    shift = build_binary(b, "add", shift, build_reshape(b, f->mapped[terms[i]->id], 1, &channels));
  shift = build_binary(b, "add", build_binary(b, "mul", shift, scale), in[2]);

  Value *weight = f->mapped[conv->in[1]->id];
  weight = build_binary(b, "mul", weight, build_reshape(b, scale, 5, along_weights));
  Value *operands[] = {f->mapped[conv->in[0]->id], weight};
  Value *y = &build_node_attrs(b, conv->op, 2, operands, conv->attrs)->out[0];
  int64_t along_channels[] = {1, channels, 1, 1, 1};
  out[0] = build_binary(b, "add", y, build_reshape(b, shift, 5, along_channels));
  return true;
}

Graph *pass_bn_fold(PassContext *context, Graph *graph) {
  Arena *arena = context->arena;
  Folding f = {graph_count_uses(graph, arena), graph_mark_data(graph, arena), NULL};
  GraphMap map = graph_map_start(graph, arena);
  f.mapped = map.value;
  for (int i = 0; i < graph->nodes.count; i++) {
    const Node *node = graph->nodes.at[i];
    Builder b = {map.to, NULL, node->loc, node->stage, node->uncounted};
    Value **in = ARENA_ARRAY(arena, Value *, node->n_in + 1), *out = NULL;
    for (int j = 0; j < node->n_in; j++)
      in[j] = map.value[node->in[j]->id];
    if (fold_norm(&f, &b, node, in, &out)) { /* one result */
      graph_name_value(map.to, out, node->out[0].name);
      map.value[node->out[0].id] = out;
    } else {
      graph_map_copy(&map, node);
    }
  }
  return graph_without_dead(graph_map_finish(&map), arena);
}
