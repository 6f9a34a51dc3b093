/* An order of nodes for less memory. See remat.h.
 *
 * The given order is kept but for nodes whose results take no more than what they are the last to
 * read: these run as soon as they can. Weight gradients come right behind what they are made of,
 * updates right behind the step's norm. Moved ahead, such a node makes less alive from its new
 * place to its old one, so nothing is lost anywhere (scratch apart).
 */
#include "passes/graph/remat.h"

typedef struct Ordering {
  const Load *load;
  int *missing; /* by node id: operands' nodes that have not run */
  int *left;    /* by value id of what has memory: readers that have not run */
  bool *done;   /* by node id */
  VEC(const Node *) ready;
  Readers *followers; /* by node id: nodes with an operand of it */
} Ordering;

static bool in_arena(const Ordering *o, const Value *value) {
  return value->node && value->node->op->cls == OP_REGION &&
         o->load->memory.home[value->id].kind == HOME_ARENA;
}

/* What running it now adds to what is alive afterwards. */
static int64_t growth(const Ordering *o, const Node *node) {
  int64_t bytes = 0;
  if (node->op->cls != OP_REGION)
    return 0;
  for (int i = 0; i < node->n_out; i++)
    if (in_arena(o, &node->out[i]) && o->left[node->out[i].id])
      bytes += value_bytes(&node->out[i]);
  for (int i = 0; i < node->n_in; i++) {
    const Value *base = load_base(node->in[i]);
    bool again = false;
    for (int k = 0; k < i; k++)
      again |= load_base(node->in[k]) == base;
    if (!again && in_arena(o, base) && o->left[base->id] == 1)
      bytes -= value_bytes(base);
  }
  return bytes;
}

static void run(Ordering *o, Arena *arena, const Node *node) {
  o->done[node->id] = true;
  for (int i = 0; i < node->n_in && node->op->cls != OP_VIEW; i++) {
    const Value *base = load_base(node->in[i]);
    bool again = false;
    for (int k = 0; k < i; k++)
      again |= load_base(node->in[k]) == base;
    o->left[base->id] -= !again;
  }
  const Readers *followers = &o->followers[node->id];
  for (int i = 0; i < followers->count; i++)
    if (--o->missing[followers->at[i]] == 0)
      vec_push(arena, &o->ready, (const Node *)o->load->graph->nodes.at[followers->at[i]]);
}

/* Takes the first of the ready nodes that adds nothing, or NULL. */
static const Node *take_free(Ordering *o) {
  int best = -1, kept = 0;
  for (int i = 0; i < o->ready.count; i++)
    if (!o->done[o->ready.at[i]->id])
      o->ready.at[kept++] = o->ready.at[i];
  o->ready.count = kept;
  for (int i = 0; i < o->ready.count; i++)
    if ((best < 0 || o->ready.at[i]->id < o->ready.at[best]->id) && growth(o, o->ready.at[i]) <= 0)
      best = i;
  return best < 0 ? NULL : o->ready.at[best];
}

static void start(Ordering *o, Arena *arena) {
  const Graph *g = o->load->graph;
  for (int v = 0; v < g->n_values; v++)
    o->left[v] = o->load->readers[v].count;
  for (int n = 0; n < g->nodes.count; n++) {
    const Node *node = g->nodes.at[n];
    for (int i = 0; i < node->n_in; i++) {
      const Node *maker = node->in[i]->node;
      Readers *followers = maker ? &o->followers[maker->id] : NULL;
      if (!maker || (followers->count && followers->at[followers->count - 1] == n))
        continue;
      vec_push(arena, followers, n);
      o->missing[n]++;
    }
    if (!o->missing[n])
      vec_push(arena, &o->ready, node);
  }
}

Graph *remat_order(const Load *load, Arena *arena) {
  Arena *work = arena_new();
  const Graph *g = load->graph;
  Ordering o = {.load = load,
                .missing = ARENA_ARRAY(work, int, g->nodes.count + 1),
                .left = ARENA_ARRAY(work, int, g->n_values + 1),
                .done = ARENA_ARRAY(work, bool, g->nodes.count + 1),
                .followers = ARENA_ARRAY(work, Readers, g->nodes.count + 1)};
  start(&o, work);
  GraphMap map = graph_map_start(g, arena);
  for (int next = 0; next < g->nodes.count;) {
    const Node *node = take_free(&o);
    if (!node)
      node = g->nodes.at[next];
    graph_map_copy(&map, node);
    run(&o, work, node);
    while (next < g->nodes.count && o.done[next])
      next++;
  }
  arena_free(work);
  return graph_map_finish(&map);
}
