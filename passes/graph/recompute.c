/* Copies of nodes for late readers, and regions without results that nobody reads. See
 * recompute.h.
 */
#include "passes/graph/recompute.h"
#include "passes/graph/common.h"

/* ---- results that nobody reads ---- */

bool *region_needs(const Node *region, Arena *arena, const bool *wanted) {
  const Graph *body = region->body;
  bool *live = ARENA_ARRAY(arena, bool, body->n_values + 1);
  for (int i = 0; i < body->outputs.count; i++)
    live[body->outputs.at[i].value->id] |= wanted[i];
  for (int n = body->nodes.count - 1; n >= 0; n--) {
    const Node *node = body->nodes.at[n];
    bool any = false;
    for (int i = 0; i < node->n_out; i++)
      any |= live[node->out[i].id];
    for (int i = 0; i < node->n_in && any; i++)
      live[node->in[i]->id] = true;
  }
  return live;
}

static void copy_body_node(const Node *node, Graph *to, Value **value) {
  Builder b = {to, NULL, node->loc, node->stage, node->uncounted};
  Value **in = ARENA_ARRAY(to->arena, Value *, node->n_in + 1);
  for (int i = 0; i < node->n_in; i++)
    in[i] = value[node->in[i]->id];
  Node *copy = build_node_attrs(&b, node->op, node->n_in, in, node->attrs);
  for (int i = 0; i < node->n_out; i++) {
    graph_name_value(to, &copy->out[i], node->out[i].name);
    value[node->out[i].id] = &copy->out[i];
  }
}

/* Copies a region with the wanted results alone; the others get no new value. */
static void copy_narrowed(GraphMap *map, Arena *arena, const Node *region, const bool *wanted) {
  const Graph *body = region->body;
  const bool *live = region_needs(region, arena, wanted);
  Graph *narrow = graph_new(arena, body->name);
  Value **value = ARENA_ARRAY(arena, Value *, body->n_values + 1);
  VEC(Value *) in = {0};
  for (int i = 0; i < body->inputs.count; i++) {
    const GraphInput *input = &body->inputs.at[i];
    if (!live[input->value->id])
      continue;
    value[input->value->id] =
        graph_add_input(narrow, input->name, input->role, input->value->type, input->loc);
    vec_push(arena, &in, map->value[region->in[i]->id]);
  }
  for (int n = 0; n < body->nodes.count; n++) {
    const Node *node = body->nodes.at[n];
    bool any = false;
    for (int i = 0; i < node->n_out; i++)
      any |= live[node->out[i].id];
    if (any)
      copy_body_node(node, narrow, value);
  }
  for (int i = 0; i < body->outputs.count; i++)
    if (wanted[i])
      graph_add_output(narrow, body->outputs.at[i].name, value[body->outputs.at[i].value->id], NULL,
                       body->outputs.at[i].loc);
  Builder b = {map->to, NULL, region->loc, region->stage, region->uncounted};
  Node *copy = build_region(&b, in.count, in.at, narrow);
  for (int i = 0, k = 0; i < region->n_out; i++) {
    if (!wanted[i])
      continue;
    graph_name_value(map->to, &copy->out[k], region->out[i].name);
    map->value[region->out[i].id] = &copy->out[k++];
  }
}

/* By value id: somebody reads it. */
static bool *mark_read(const Graph *graph, Arena *arena) {
  bool *live = ARENA_ARRAY(arena, bool, graph->n_values + 1);
  for (int i = 0; i < graph->outputs.count; i++) {
    live[graph->outputs.at[i].value->id] = true;
    if (graph->outputs.at[i].renews)
      live[graph->outputs.at[i].renews->id] = true;
  }
  for (int n = graph->nodes.count - 1; n >= 0; n--) {
    const Node *node = graph->nodes.at[n];
    bool *wanted = ARENA_ARRAY(arena, bool, node->n_out + 1), any = false;
    for (int i = 0; i < node->n_out; i++)
      any |= wanted[i] = live[node->out[i].id];
    if (!any)
      continue;
    const bool *inside = node->op->cls == OP_REGION ? region_needs(node, arena, wanted) : NULL;
    for (int i = 0; i < node->n_in; i++)
      live[node->in[i]->id] |= !inside || inside[node->body->inputs.at[i].value->id];
  }
  return live;
}

static Graph *without_unread(const Graph *graph, Arena *arena, Arena *bodies) {
  Arena *scratch = arena_new();
  const bool *live = mark_read(graph, scratch);
  GraphMap map = graph_map_start(graph, arena);
  for (int n = 0; n < graph->nodes.count; n++) {
    const Node *node = graph->nodes.at[n];
    bool *wanted = ARENA_ARRAY(scratch, bool, node->n_out + 1), any = false, all = true;
    for (int i = 0; i < node->n_out; i++) {
      any |= wanted[i] = live[node->out[i].id];
      all &= wanted[i];
    }
    if (any && !all && node->op->cls == OP_REGION)
      copy_narrowed(&map, bodies, node, wanted);
    else if (any)
      graph_map_copy(&map, node);
  }
  arena_free(scratch);
  return graph_map_finish(&map);
}

Graph *graph_without_unread(const Graph *graph, Arena *arena) {
  return without_unread(graph, arena, arena);
}

/* ---- copies ---- */

typedef struct Copying {
  GraphMap map;
  const Recompute *what;
  Value **copy;                  /* by old value id: made for a late reader */
  VEC(Node *) originals, copies; /* of the new graph, in pairs */
} Copying;

static bool is_again(const Copying *c, const Value *value) {
  while (!c->what->again[value->id] && value->node && value->node->op->cls == OP_VIEW)
    value = value->node->in[0];
  return c->what->again[value->id];
}

/* What a late reader reads for an old value. */
static Value *late_value(Copying *c, const Value *value) {
  if (!is_again(c, value))
    return c->map.value[value->id];
  if (c->copy[value->id])
    return c->copy[value->id];
  const Node *node = value->node;
  Arena *arena = c->map.to->arena;
  Value **in = ARENA_ARRAY(arena, Value *, node->n_in + 1);
  for (int i = 0; i < node->n_in; i++)
    in[i] = late_value(c, node->in[i]);
  Builder b = {c->map.to, NULL, node->loc, node->stage, node->uncounted};
  Node *copy = node->op->cls == OP_REGION
                   ? build_region(&b, node->n_in, in, node->body)
                   : build_node_attrs(&b, node->op, node->n_in, in, node->attrs);
  for (int i = 0; i < node->n_out; i++) {
    graph_name_value(c->map.to, &copy->out[i], node->out[i].name);
    c->copy[node->out[i].id] = &copy->out[i];
  }
  vec_push(arena, &c->originals, c->map.value[node->out[0].id]->node);
  vec_push(arena, &c->copies, copy);
  return c->copy[value->id];
}

static void copy_late_reader(Copying *c, const Node *node) {
  Builder b = {c->map.to, NULL, node->loc, node->stage, node->uncounted};
  Value **in = ARENA_ARRAY(c->map.to->arena, Value *, node->n_in + 1);
  if (c->what->apart)
    for (int i = 0; i < c->map.from->n_values; i++)
      c->copy[i] = NULL;
  for (int i = 0; i < node->n_in; i++)
    in[i] = late_value(c, node->in[i]);
  Node *copy = node->op->cls == OP_REGION
                   ? build_region(&b, node->n_in, in, node->body)
                   : build_node_attrs(&b, node->op, node->n_in, in, node->attrs);
  for (int i = 0; i < node->n_out; i++) {
    graph_name_value(c->map.to, &copy->out[i], node->out[i].name);
    c->map.value[node->out[i].id] = &copy->out[i];
  }
}

/* Copies that make a result a second time; others only make it later. */
static void mark_uncounted(const Copying *c) {
  Arena *scratch = arena_new();
  const bool *live = mark_read(c->map.to, scratch);
  for (int k = 0; k < c->copies.count; k++) {
    const Node *original = c->originals.at[k];
    Node *copy = c->copies.at[k];
    for (int i = 0; i < copy->n_out; i++)
      copy->uncounted |= live[original->out[i].id] && live[copy->out[i].id];
  }
  arena_free(scratch);
}

Graph *graph_recompute(const Graph *graph, Arena *arena, const Recompute *what) {
  Arena *scratch = arena_new();
  Copying c = {.map = graph_map_start(graph, scratch),
               .what = what,
               .copy = ARENA_ARRAY(scratch, Value *, graph->n_values + 1)};
  for (int n = 0; n < graph->nodes.count; n++) {
    const Node *node = graph->nodes.at[n];
    if (what->late[n])
      copy_late_reader(&c, node);
    else
      graph_map_copy(&c.map, node);
  }
  graph_map_finish(&c.map);
  mark_uncounted(&c);
  Graph *result = without_unread(c.map.to, arena, what->bodies ? what->bodies : arena);
  arena_free(scratch);
  return result;
}
