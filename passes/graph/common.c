/* Helpers of the graph passes, and the pass dce. See common.h. */
#include "passes/graph/common.h"
#include <string.h>

bool is_splat(const Value *value, double *constant) {
  if (!made_by(value, "constant"))
    return false;
  if (constant)
    *constant = node_float(value->node, "value");
  return true;
}

const Node *made_by(const Value *value, const char *op) {
  return value->node && strcmp(value->node->op->name, op) == 0 ? value->node : NULL;
}

bool moves_nothing(const Type *x, const int64_t *perm) {
  int64_t last = -1;
  for (int i = 0; i < x->rank; i++) {
    if (x->dim[perm[i]] == 1)
      continue;
    if (perm[i] < last)
      return false;
    last = perm[i];
  }
  return true;
}

Value *build_move(Builder *b, Value *x, const int64_t *perm) {
  if (!moves_nothing(&x->type, perm))
    return build_permute(b, x, perm);
  int64_t dim[MAX_RANK];
  for (int i = 0; i < x->type.rank; i++)
    dim[i] = x->type.dim[perm[i]];
  return build_reshape(b, x, x->type.rank, dim);
}

bool see_before_stretch(const Type *small, const Type *full, const Type *seen, Type *result) {
  *result = *seen;
  for (int i = 0, j = 0; i < full->rank || j < seen->rank;) {
    int i0 = i, j0 = j;
    int64_t a = i < full->rank ? full->dim[i++] : 1, c = j < seen->rank ? seen->dim[j++] : 1;
    while (a != c)
      if (a < c)
        a *= full->dim[i++];
      else
        c *= seen->dim[j++];
    bool stretched = false, kept = false;
    for (int k = i0; k < i; k++)
      if (full->dim[k] != 1)
        *(small->dim[k] == 1 ? &stretched : &kept) = true;
    if (stretched && kept)
      return false;
    for (int k = j0; k < j && stretched; k++)
      result->dim[k] = 1;
  }
  return true;
}

Graph *graph_without_dead(const Graph *graph, Arena *arena) {
  bool *live = ARENA_ARRAY(arena, bool, graph->n_values + 1);
  for (int i = 0; i < graph->outputs.count; i++)
    live[graph->outputs.at[i].value->id] = true;
  GraphMap map = graph_map_start(graph, arena);
  bool *keep = ARENA_ARRAY(arena, bool, graph->nodes.count + 1);
  for (int i = graph->nodes.count - 1; i >= 0; i--) {
    const Node *node = graph->nodes.at[i];
    for (int j = 0; j < node->n_out; j++)
      keep[i] |= live[node->out[j].id];
    for (int j = 0; j < node->n_in && keep[i]; j++)
      live[node->in[j]->id] = true;
  }
  for (int i = 0; i < graph->nodes.count; i++)
    if (keep[i])
      graph_map_copy(&map, graph->nodes.at[i]);
  return graph_map_finish(&map);
}

static void copy_with_operand(GraphMap *map, const Node *node) {
  const Value *operand = node->in[0];
  if (!map->value[operand->id])
    copy_with_operand(map, operand->node);
  graph_map_copy(map, node);
}

void graph_copy_feeds(GraphMap *map) {
  for (int n = 0; n < map->from->nodes.count; n++)
    if (map->from->nodes.at[n]->op->cls == OP_FEED)
      copy_with_operand(map, map->from->nodes.at[n]);
}

bool *graph_mark_data(const Graph *graph, Arena *arena) {
  bool *data = ARENA_ARRAY(arena, bool, graph->n_values + 1);
  for (int i = 0; i < graph->inputs.count; i++)
    data[graph->inputs.at[i].value->id] = graph->inputs.at[i].role == ROLE_INPUT;
  for (int i = 0; i < graph->nodes.count; i++) {
    const Node *node = graph->nodes.at[i];
    bool any = false;
    for (int j = 0; j < node->n_in; j++)
      any |= data[node->in[j]->id];
    for (int j = 0; j < node->n_out; j++)
      data[node->out[j].id] = any;
  }
  return data;
}

int graph_count_moves(const Graph *graph) {
  Arena *arena = arena_new();
  bool *data = graph_mark_data(graph, arena);
  int count = 0;
  for (int i = 0; i < graph->nodes.count; i++) {
    const Node *node = graph->nodes.at[i];
    if (made_by(&node->out[0], "permute") && data[node->out[0].id])
      count += !moves_nothing(&node->in[0]->type, node_ints(node, "perm", NULL));
  }
  arena_free(arena);
  return count;
}

bool region_only_moves(const Node *region) {
  if (region->op->cls != OP_REGION)
    return false;
  for (int n = 0; n < region->body->nodes.count; n++)
    if (region->body->nodes.at[n]->op->cls != OP_VIEW)
      return false;
  return true;
}

bool region_is_kept(const Graph *graph, const Node *region) {
  if (!region_only_moves(region) || region->n_in != 1 || region->n_out != 1 || region->in[0]->node)
    return false;
  const GraphInput *input = &graph->inputs.at[region->in[0]->index];
  bool updated = false, renewed = false;
  for (int i = 0; i < graph->outputs.count; i++) {
    const GraphOutput *output = &graph->outputs.at[i];
    updated |= output->updates && strcmp(output->updates, input->name) == 0;
    renewed |= output->renews == &region->out[0];
  }
  return (input->role == ROLE_PARAMETER || input->role == ROLE_BUFFER) && (!updated || renewed);
}

Conversions graph_count_conversions(const Graph *graph) {
  Arena *arena = arena_new();
  bool *data = graph_mark_data(graph, arena), updates = false;
  Conversions count = {0};
  for (int i = 0; i < graph->outputs.count; i++)
    updates |= graph->outputs.at[i].updates != NULL;
  for (int i = 0; i < graph->nodes.count; i++) {
    const Node *node = graph->nodes.at[i];
    if (!region_only_moves(node))
      continue;
    if (data[node->out[0].id])
      count.data++;
    else if (updates && !region_is_kept(graph, node))
      count.parameters++;
  }
  arena_free(arena);
  return count;
}

const char *view_chain_name(Arena *arena, const Graph *graph, const Value *value) {
  const Node *node = value->node;
  if (!node)
    return graph->inputs.at[value->index].name;
  CHECK(node->op->cls == OP_VIEW);
  const char *text =
      arena_printf(arena, "%s %s", view_chain_name(arena, graph, node->in[0]), node->op->name);
  for (int a = 0; a < MAX_ATTRS; a++)
    for (int i = 0; node->attrs[a].kind == ATTR_INTS && i < node->attrs[a].n; i++)
      text =
          arena_printf(arena, "%s%c%lld", text, i ? ',' : ' ', (long long)node->attrs[a].ints[i]);
  return text;
}

Value *add_persistent(Graph *graph, const char *name, Role role, Type type,
                      const GraphInput *owner) {
  Loc loc = owner ? owner->loc : (Loc){0};
  const char *stage = owner ? owner->stage : NULL;
  Value *value = graph_add_input(graph, name, role, type, loc);
  graph->inputs.at[value->index].stage = stage;
  return value;
}

const GraphInput *gradient_owner(const Graph *graph, const GraphOutput *output) {
  static const char prefix[] = "grad.";
  size_t length = sizeof prefix - 1;
  if (strncmp(output->name, prefix, length) != 0)
    return NULL;
  const GraphInput *input = graph_find_input(graph, output->name + length);
  return input && input->role == ROLE_PARAMETER ? input : NULL;
}

Graph *pass_dce(PassContext *context, Graph *graph) {
  return graph_without_dead(graph, context->arena);
}

Value *channel_term(const Value *value) {
  const Node *node = made_by(value, "broadcast");
  if (!node)
    return NULL;
  const Type *type = &node->in[0]->type;
  for (int i = 0; i < type->rank; i++)
    if (type->dim[i] != 1 && i != 1)
      return NULL;
  return type->dim[1] == value->type.dim[1] ? node->in[0] : NULL;
}
