/* What fusion computes again rather than stores.
 *
 * Cheap results are not stored to be read again: an elementwise op with one operand of its own size
 * (a value shifted or scaled by a row of numbers) is repeated beside each reader that can absorb
 * it, which then reads the operand instead. Such a copy is lazy: it waits for its reader and joins
 * what the reader joins. So is what only a fold over rows reads: better computed there than stored
 * by the kernel that has its operands.
 */
#include "ir/kernel.h"
#include "passes/graph/fuse.h"

bool fuse_is_small(const Value *value) {
  int64_t whole = type_elements(&value->type);
  while (value->node && value->node->op->cls == OP_VIEW)
    value = value->node->in[0];
  return (value->node && value->node->op->cls == OP_SOURCE) ||
         type_elements(&value->type) * 16 <= whole;
}

/* Visits of nodes, each search with a stamp of its own. */
typedef struct Search {
  int *stamp; /* by node id */
  int now;
} Search;

static bool follows_from(Search *search, const Value *value, const Node *from) {
  const Node *node = value->node;
  if (!node || node->id < from->id || search->stamp[node->id] == search->now)
    return false;
  search->stamp[node->id] = search->now;
  bool found = node == from;
  for (int i = 0; i < node->n_in && !found; i++)
    found = follows_from(search, node->in[i], from);
  return found;
}

static bool is_cheap(Search *search, const Node *node) {
  Kop kop;
  if (node->op->cls != OP_EW || type_elements(&node->out[0].type) < WORTH_REPEATING ||
      !kop_find(node->op->name, &kop) || !*kop_info[kop].c_float)
    return false;
  const Value *large = NULL;
  for (int i = 0; i < node->n_in; i++) {
    if (fuse_is_small(node->in[i]) || node->in[i] == large)
      continue;
    if (large)
      return false;
    large = node->in[i];
  }
  if (!large || !large->node || !op_anchors(large->node))
    return large;
  /* what an anchor has just computed is finished in its own kernel, unless the rest follows from
   * all of it: a mean that is taken away */
  search->now++;
  for (int i = 0; i < node->n_in; i++)
    if (node->in[i] != large && follows_from(search, node->in[i], large->node))
      return true;
  return false;
}

static bool *find_cheap(const Graph *graph, Arena *arena) {
  Search search = {ARENA_ARRAY(arena, int, graph->nodes.count + 1), 0};
  bool *cheap = ARENA_ARRAY(arena, bool, graph->nodes.count + 1);
  for (int n = 0; n < graph->nodes.count; n++)
    cheap[n] = is_cheap(&search, graph->nodes.at[n]);
  return cheap;
}

static bool absorbs(const Node *reader) {
  return reader->op->cls == OP_EW || reader->op->cls == OP_REDUCE;
}

/* A copy of a cheap node, and of the cheap nodes it reads, for one reader. */
static Value *repeat_for_reader(GraphMap *map, Value *value, bool *cheap) {
  Node *node = value->node;
  if (!node || !cheap[node->id])
    return map->value[value->id];
  Value *in[MAX_KOP_ARGS];
  for (int i = 0; i < node->n_in; i++) {
    in[i] = NULL;
    for (int j = 0; j < i && !in[i]; j++)
      if (node->in[j] == node->in[i])
        in[i] = in[j];
    if (!in[i])
      in[i] = repeat_for_reader(map, node->in[i], cheap);
  }
  Builder b = {.graph = map->to, .loc = node->loc, .stage = node->stage};
  return &build_node_attrs(&b, node->op, node->n_in, in, node->attrs)->out[0];
}

Graph *fuse_repeat_cheap(PassContext *context, const Graph *graph) {
  GraphMap map = graph_map_start(graph, context->arena);
  bool *cheap = find_cheap(graph, context->arena);
  for (int n = 0; n < graph->nodes.count; n++) {
    Node *node = graph->nodes.at[n];
    Value *shared[MAX_KOP_ARGS] = {0};
    bool own = !cheap[n] && absorbs(node); /* a cheap node itself is for readers of its memory */
    for (int i = 0; own && i < node->n_in; i++) {
      bool again = false; /* an operand given twice is repeated once */
      for (int j = 0; j < i; j++)
        again |= node->in[j] == node->in[i];
      if (again)
        continue;
      shared[i] = map.value[node->in[i]->id];
      map.value[node->in[i]->id] = repeat_for_reader(&map, node->in[i], cheap);
    }
    graph_map_copy(&map, node);
    for (int i = 0; own && i < node->n_in; i++)
      if (shared[i])
        map.value[node->in[i]->id] = shared[i];
  }
  return graph_without_dead(graph_map_finish(&map), context->arena);
}

bool *fuse_find_lazy(const Graph *g, Arena *arena) {
  int *uses = graph_count_uses(g, arena);
  bool *lazy = ARENA_ARRAY(arena, bool, g->nodes.count + 1), *cheap = find_cheap(g, arena);
  for (int n = g->nodes.count - 1; n >= 0; n--) {
    const Node *reader = g->nodes.at[n];
    bool only_folded =
        (reader->op->cls == OP_REDUCE && !node_folds_columns(reader)) || (lazy[n] && !cheap[n]);
    for (int i = 0; absorbs(reader) && i < reader->n_in; i++) {
      const Node *maker = reader->in[i]->node;
      if (maker && maker->op->cls == OP_EW && uses[reader->in[i]->id] == 1 &&
          (only_folded || cheap[maker->id]))
        lazy[maker->id] = true;
    }
  }
  return lazy;
}
