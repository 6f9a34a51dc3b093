/* Wide products computed again where their gradient needs them.
 *
 * A product that widens its rows (the first of an MLP, four times as wide as what it reads) is
 * followed row by row: activation, next product. The chain of them never stores the wide rows, but
 * for the gradients, which read them as well. Those get a copy of the product and of the
 * elementwise ops after it: at the price of one product more, nothing wide is stored in between,
 * for the copy's readers are rows of one kernel in their turn (fuse_chain.c). Chen et al.,
 * "Training Deep Nets with Sublinear Memory Cost" (arXiv 1604.06174), for a single kernel.
 *
 * Which values are copied: those that follow from the product and from rows of numbers alone. Who
 * gets copies: all readers but the next product in the chain.
 */
#include "passes/graph/fuse.h"

enum {
  FLOPS_PER_BYTE = 8, /* what a machine multiplies and adds while it moves a byte */
  MATRICES = 5 /* of the gradient's kernel: two, the second one way and the first the other, and
                  the gradients of both */
};

typedef struct Recompute {
  Arena *arena;
  const Graph *graph;
  const Facts *facts;
  int *owner;    /* by node id: number of the product that the node follows from, 0: none */
  bool *far;     /* by node id: reads copies */
  bool *counted; /* by value id */
} Recompute;

static int64_t last_extent(const Value *value) { return value->type.dim[value->type.rank - 1]; }

/* Does the kernel of the gradients fit, so that copies are not stored either? */
static bool is_wide(const Facts *facts, const Node *node) {
  if (facts->threads > 1 || !node_keeps_rows(node))
    return false;
  int64_t matrix = last_extent(node->in[0]) * last_extent(&node->out[0]) *
                   (int64_t)dtype_size(node->out[0].type.dtype);
  return last_extent(&node->out[0]) > last_extent(node->in[0]) &&
         (int64_t)type_bytes(&node->out[0].type) >= facts->l2 &&
         fuse_matrices_fit(facts, MATRICES * matrix);
}

static bool owned(const Recompute *r, const Value *value, int number) {
  return value->node && r->owner[value->node->id] == number;
}

static bool follows_own(const Recompute *r, const Node *node, int number) {
  bool any = false, all = true;
  for (int i = 0; i < node->n_in; i++) {
    bool own = owned(r, node->in[i], number);
    any |= own;
    all &= own || fuse_is_small(node->in[i]);
  }
  return any && all && (node->op->cls == OP_EW || node->op->cls == OP_VIEW);
}

/* Marks what follows from the product alone; returns the next product of its chain, or NULL. */
static const Node *mark_own(Recompute *r, const Node *product, int number) {
  const Node *next = NULL;
  r->owner[product->id] = number;
  for (int n = product->id + 1; n < r->graph->nodes.count; n++) {
    const Node *node = r->graph->nodes.at[n];
    if (follows_own(r, node, number))
      r->owner[n] = number;
    else if (!next && node_keeps_rows(node) && owned(r, node->in[0], number) &&
             node->in[0]->node->op->cls != OP_VIEW)
      next = node;
  }
  return next;
}

/* Which nodes the node is computed from. */
static bool *mark_before(Recompute *r, const Node *node) {
  bool *before = ARENA_ARRAY(r->arena, bool, r->graph->nodes.count + 1);
  before[node->id] = true;
  for (int n = node->id; n >= 0; n--)
    for (int i = 0; before[n] && i < r->graph->nodes.at[n]->n_in; i++) {
      const Node *maker = r->graph->nodes.at[n]->in[i]->node;
      if (maker)
        before[maker->id] = true;
    }
  return before;
}

/* Counts the tensors that copies save from being stored; 0: some are needed for the chain otherwise
 * too, or stored in any case. */
static int count_saved(Recompute *r, const bool *before, const Node *next, int number) {
  int saved = 0;
  for (int i = 0; i < r->graph->outputs.count; i++)
    if (owned(r, r->graph->outputs.at[i].value, number))
      return 0;
  for (int n = 0; n < r->graph->nodes.count; n++) {
    const Node *node = r->graph->nodes.at[n];
    for (int i = 0; i < node->n_in; i++) {
      const Value *value = node->in[i];
      if (r->owner[n] == number || !owned(r, value, number) || node == next)
        continue;
      if (before[n])
        return 0;
      while (value->node->op->cls == OP_VIEW)
        value = value->node->in[0];
      saved += !r->counted[value->id];
      r->counted[value->id] = true;
    }
  }
  return saved;
}

static void forget(Recompute *r, int number) {
  for (int n = 0; n < r->graph->nodes.count; n++)
    r->owner[n] = r->owner[n] == number ? 0 : r->owner[n];
}

static bool choose(Recompute *r, const Node *product, int number) {
  const Node *next = mark_own(r, product, number);
  int saved = next ? count_saved(r, mark_before(r, next), next, number) : 0;
  int64_t flops = 2 * last_extent(product->in[0]); /* of an element; stored, it is moved twice */
  int64_t bytes = 2 * saved * (int64_t)dtype_size(product->out[0].type.dtype);
  if (!saved || flops > FLOPS_PER_BYTE * bytes) {
    forget(r, number);
    return false;
  }
  for (int n = 0; n < r->graph->nodes.count; n++)
    for (int i = 0; i < r->graph->nodes.at[n]->n_in && !r->owner[n]; i++)
      r->far[n] |= n != next->id && owned(r, r->graph->nodes.at[n]->in[i], number);
  return true;
}

/* The copy of an owned value; others stay what they are. */
static Value *copy(const Recompute *r, GraphMap *map, Value **copies, Value *value) {
  Node *node = value->node;
  if (!node || !r->owner[node->id])
    return map->value[value->id];
  if (copies[value->id])
    return copies[value->id];
  Value **in = ARENA_ARRAY(r->arena, Value *, node->n_in);
  for (int i = 0; i < node->n_in; i++)
    in[i] = owned(r, node->in[i], r->owner[node->id]) ? copy(r, map, copies, node->in[i])
                                                      : map->value[node->in[i]->id];
  Builder b = {.graph = map->to, .loc = node->loc, .stage = node->stage, .uncounted = true};
  Node *again = build_node_attrs(&b, node->op, node->n_in, in, node->attrs);
  for (int i = 0; i < node->n_out; i++)
    copies[node->out[i].id] = &again->out[i];
  return copies[value->id];
}

static void copy_reader(const Recompute *r, GraphMap *map, Value **copies, const Node *node) {
  Value **shared = ARENA_ARRAY(r->arena, Value *, node->n_in + 1);
  Value **own = ARENA_ARRAY(r->arena, Value *, node->n_in + 1);
  for (int i = 0; i < node->n_in; i++) {
    shared[i] = map->value[node->in[i]->id];
    own[i] = copy(r, map, copies, node->in[i]);
  }
  for (int i = 0; i < node->n_in; i++)
    map->value[node->in[i]->id] = own[i];
  graph_map_copy(map, node);
  for (int i = 0; i < node->n_in; i++)
    map->value[node->in[i]->id] = shared[i];
}

Graph *fuse_recompute(PassContext *context, const Graph *graph) {
  Recompute r = {.arena = context->arena, .graph = graph, .facts = context->facts};
  r.owner = ARENA_ARRAY(r.arena, int, graph->nodes.count + 1);
  r.far = ARENA_ARRAY(r.arena, bool, graph->nodes.count + 1);
  r.counted = ARENA_ARRAY(r.arena, bool, graph->n_values + 1);
  int products = 0;
  for (int n = 0; n < graph->nodes.count; n++)
    if (!r.owner[n] && is_wide(r.facts, graph->nodes.at[n]) &&
        choose(&r, graph->nodes.at[n], products + 1))
      products++;
  if (!products)
    return (Graph *)graph;
  GraphMap map = graph_map_start(graph, context->arena);
  Value **copies = ARENA_ARRAY(r.arena, Value *, graph->n_values + 1);
  for (int n = 0; n < graph->nodes.count; n++)
    if (r.far[n])
      copy_reader(&r, &map, copies, graph->nodes.at[n]);
    else
      graph_map_copy(&map, graph->nodes.at[n]);
  return graph_without_dead(graph_map_finish(&map), context->arena);
}
