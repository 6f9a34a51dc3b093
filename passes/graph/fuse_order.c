/* Results in the order in which their readers want them.
 *
 * Some views need memory of their own: an operand whose columns must lie side by side, an output in
 * the author's order. As kernels they would do nothing but move data. Here they are avoided:
 *
 *   stored    by the kernel that computes what they show, beside or instead of that
 *   renamed   where the elements lie as they should already
 *   renewed   a view of a parameter in a graph that updates it: the kernel that makes the new
 *             parameter stores the view of it too, for the next call
 *
 * So a training step keeps each parameter in every order that its kernels read: transposed for a
 * product forwards, as it is backwards. The graph says so by outputs that renew a value; who runs
 * it may keep that value from call to call, or compute it anew (driver/build.c keeps it).
 */
#include "passes/graph/fuse.h"
#include <string.h>

enum {
  MAX_ROW = 4096,   /* columns of which a block keeps a whole row to store it in another order */
  MAX_DEPTH = 1024, /* rows of a matrix of which a block collects some columns */
  MAX_GATHERED = 1 << 20 /* elements of it */
};

/* ---- who computes, who reads ---- */

static void note_reader(Fusion *f, const Value *base, const Node *reader) {
  if (f->reader[base->id] && f->reader[base->id] != reader)
    f->many[base->id] = true;
  f->reader[base->id] = reader;
}

void fuse_find_makers(Fusion *f) {
  const Graph *g = f->graph;
  f->maker = ARENA_ARRAY(f->arena, Node **, g->nodes.count);
  f->reader = ARENA_ARRAY(f->arena, const Node *, g->n_values);
  f->many = ARENA_ARRAY(f->arena, bool, g->n_values);
  for (int n = 0; n < g->nodes.count; n++) {
    Node *node = g->nodes.at[n];
    f->maker[n] = ARENA_ARRAY(f->arena, Node *, node->n_in);
    for (int i = 0; i < node->n_in; i++) {
      const Value *base = fuse_resolve(f, node->in[i]).base;
      if (base->node && fuse_is_compute(f, base->node))
        f->maker[n][i] = base->node;
      if (fuse_is_compute(f, node))
        note_reader(f, base, node);
    }
  }
  for (int i = 0; i < g->outputs.count; i++)
    f->many[fuse_resolve(f, g->outputs.at[i].value).base->id] = true;
}

/* ---- stored and renamed ---- */

typedef struct Beyond {
  Fusion *f;
  const Value *view;
} Beyond;

static bool is_base_beyond(void *context, const Value *value) {
  const Beyond *beyond = context;
  return value != beyond->view && fuse_is_base(beyond->f, value);
}

/* What a view with memory of its own shows. */
static bool resolve_beyond(Fusion *f, Value *view, ViewMap *map) {
  Beyond beyond = {f, view};
  Value *stuck;
  return view_map_resolve(view, is_base_beyond, &beyond, map, &stuck);
}

static bool has_whole_rows(const Region *region) {
  const Node *first = region->members.at[0];
  return region->folds_columns || first->op->cls == OP_INDEX || first->op->cls == OP_MOVE;
}

bool fuse_store(Fusion *f, Node *view) {
  ViewMap map;
  if (view->op->cls != OP_VIEW || !resolve_beyond(f, &view->out[0], &map))
    return false;
  Node *maker = map.base->node;
  if (!maker || !fuse_is_compute(f, maker) || maker->op->cls == OP_VIEW ||
      maker->op->cls == OP_SOURCE || !type_equal(&map.type, &map.base->type) ||
      !view_map_selects(&map, &view->out[0].type) ||
      view_map_is_dense(&map, &view->out[0].type)) /* renamed */
    return false;
  Region *region = f->region[maker->id];
  const Type *type = &map.base->type;
  bool folded = maker->op->cls == OP_REDUCE && !node_folds_columns(maker);
  if (region->sealed || folded || f->post[maker->id] || type->rank == 0 ||
      type->rank != region->space.rank ||
      (has_whole_rows(region) && type->dim[type->rank - 1] > MAX_ROW))
    return false;
  f->region[view->id] = region;
  f->stage[view->id] = f->stage[maker->id];
  f->stored[view->id] = true;
  vec_push(f->arena, &region->members, view);
  return true;
}

/* Nobody has computed what the caller gave. A block of a product copies the columns it needs. */
bool fuse_gathers(const Fusion *f, const Node *node, int i, const ViewMap *map) {
  const Type *type = &node->in[i]->type;
  return node->op->cls == OP_CONTR && node_keeps_rows(node) && type->rank == 2 &&
         !map->base->node && f->graph->inputs.at[map->base->index].role == ROLE_INPUT &&
         type->dim[0] <= MAX_DEPTH && type_elements(type) <= MAX_GATHERED;
}

bool fuse_rename(Fusion *f, const Region *region) {
  Node *view = region->members.at[0];
  ViewMap map;
  if (region->members.count > 1 || view->op->cls != OP_VIEW ||
      !resolve_beyond(f, &view->out[0], &map) || !map.base->node ||
      map.base->node->op->cls == OP_FEED || !view_map_is_dense(&map, &view->out[0].type))
    return false;
  Builder b = {.graph = f->map.to, .loc = view->loc, .stage = view->stage};
  const Type *type = &view->out[0].type;
  f->map.value[view->out[0].id] =
      build_reshape(&b, f->map.value[map.base->id], type->rank, type->dim);
  return true;
}

/* ---- renewed ---- */

/* The parameter or buffer that a chain of views starts from, or NULL. */
static const GraphInput *viewed_parameter(const Graph *graph, const Value *value) {
  while (value->node && value->node->op->cls == OP_VIEW)
    value = value->node->in[0];
  const GraphInput *input = value->node ? NULL : &graph->inputs.at[value->index];
  return input && (input->role == ROLE_PARAMETER || input->role == ROLE_BUFFER) ? input : NULL;
}

bool fuse_updates(const Graph *graph) {
  for (int i = 0; i < graph->outputs.count; i++)
    if (graph->outputs.at[i].updates)
      return true;
  return false;
}

static const GraphOutput *update_of(const Graph *graph, const GraphInput *input) {
  for (int i = 0; i < graph->outputs.count; i++)
    if (graph->outputs.at[i].updates && strcmp(graph->outputs.at[i].updates, input->name) == 0)
      return &graph->outputs.at[i];
  return NULL;
}

bool fuse_keeps(const Fusion *f, const Node *node) {
  return f->renew && node->op->cls == OP_VIEW && viewed_parameter(f->graph, &node->out[0]);
}

/* The views that lead to `view`, of another value than where they start. */
static Value *replay(Builder *b, const Value *view, Value *onto) {
  const Node *node = view->node;
  if (!node)
    return onto;
  Value *operand = replay(b, node->in[0], onto);
  return &build_node_attrs(b, node->op, 1, &operand, node->attrs)->out[0];
}

typedef struct Renewal {
  Value *view;               /* of the new graph */
  const GraphOutput *update; /* of the old one */
  const char *name;
} Renewal;

typedef VEC(Renewal) Renewals;

static bool is_listed(const Renewals *list, const char *name) {
  for (int i = 0; i < list->count; i++)
    if (strcmp(list->at[i].name, name) == 0)
      return true;
  return false;
}

/* The graph's own views. One that would not be stored by the kernel of the update is no gain. */
static void find_own(Fusion *f, const GraphMap *map, Renewals *list) {
  for (int n = 0; n < f->graph->nodes.count; n++) {
    Node *node = f->graph->nodes.at[n];
    ViewMap view;
    if (!fuse_keeps(f, node) || !f->has_memory[node->out[0].id])
      continue;
    const GraphInput *input = viewed_parameter(f->graph, &node->out[0]);
    Renewal one = {map->value[node->out[0].id], update_of(f->graph, input),
                   view_chain_name(f->arena, f->graph, &node->out[0])};
    if (one.update && !graph_find_output(f->graph, one.name) && !is_listed(list, one.name) &&
        resolve_beyond(f, &node->out[0], &view) && !view.base->node &&
        view_map_keeps_bounds(&view, &node->out[0].type))
      vec_push(f->arena, list, one);
  }
}

/* Those of other entry points, which this one's updates would leave behind. */
static void find_kept_elsewhere(const PassContext *context, const Fusion *f, GraphMap *map,
                                Renewals *list) {
  for (int k = 0; k < context->n_kept; k++) {
    const Graph *body = context->kept[k];
    const GraphInput *own = graph_find_input(f->graph, body->inputs.at[0].name);
    const Value *view = body->outputs.at[0].value;
    Renewal one = {NULL, own ? update_of(f->graph, own) : NULL,
                   view_chain_name(f->arena, body, view)};
    if (!one.update || graph_find_output(f->graph, one.name) || is_listed(list, one.name))
      continue;
    Builder b = {.graph = map->to, .loc = own->loc, .stage = own->stage, .uncounted = true};
    one.view = replay(&b, view, map->value[own->value->id]);
    vec_push(f->arena, list, one);
  }
}

Graph *fuse_add_renewals(PassContext *context, Fusion *f) {
  const Graph *from = f->graph;
  GraphMap map = graph_map_start(from, context->arena);
  Renewals list = {0};
  for (int n = 0; n < from->nodes.count; n++)
    graph_map_copy(&map, from->nodes.at[n]);
  find_own(f, &map, &list);
  find_kept_elsewhere(context, f, &map, &list);
  Graph *graph = graph_map_finish(&map);
  for (int i = 0; i < list.count; i++) {
    const Renewal *one = &list.at[i];
    Builder b = {.graph = graph, .loc = one->update->loc, .uncounted = true};
    const Node *maker = one->update->value->node;
    b.stage = maker ? maker->stage : NULL;
    Value *fresh = replay(&b, one->view, map.value[one->update->value->id]);
    graph_add_output(graph, one->name, fresh, NULL, one->update->loc);
    graph->outputs.at[graph->outputs.count - 1].renews = one->view;
  }
  return graph;
}
