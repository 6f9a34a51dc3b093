/* Graphs: inputs, outputs, value names, reading nodes, and the map with which passes rebuild
 * graphs. See graph.h. Building of nodes is in graph_build.c.
 */
#include "ir/graph.h"
#include "ir/op.h"
#include <ctype.h>
#include <string.h>

Graph *graph_new(Arena *arena, const char *name) {
  Graph *graph = ARENA_NEW(arena, Graph);
  graph->arena = arena;
  graph->name = arena_strdup(arena, name);
  map_init(&graph->names, arena);
  return graph;
}

/* ---- names ---- */

/* A name's entry in graph->names holds the number last tried behind it as a stem; keys of values
 * that exist start with '%', stems' counters do not. */
static bool take_name(Graph *graph, Value *value, const char *name) {
  const char *key = arena_printf(graph->arena, "%%%s", name);
  if (map_get(&graph->names, key))
    return false;
  if (value->name) /* give back the old one */
    map_set(&graph->names, arena_printf(graph->arena, "%%%s", value->name), NULL);
  map_set(&graph->names, key, value);
  value->name = key + 1;
  return true;
}

void graph_name_value(Graph *graph, Value *value, const char *wanted) {
  if (value->name && strcmp(value->name, wanted) == 0)
    return;
  char *name = arena_strdup(graph->arena, *wanted ? wanted : "v");
  for (char *c = name; *c; c++)
    if (!isalnum((unsigned char)*c) && *c != '_' && *c != '.' && *c != '-')
      *c = '_';
  if (take_name(graph, value, name))
    return;
  size_t length = strlen(name);
  while (length > 1 && isdigit((unsigned char)name[length - 1]))
    name[--length] = 0;
  for (intptr_t number = (intptr_t)map_get(&graph->names, name) + 1;; number++)
    if (take_name(graph, value, arena_printf(graph->arena, "%s%d", name, (int)number))) {
      map_set(&graph->names, name, (void *)number);
      return;
    }
}

Loc graph_value_loc(const Graph *graph, const Value *value) {
  return value->node ? value->node->loc : graph->inputs.at[value->index].loc;
}

/* ---- inputs and outputs ---- */

Value *graph_add_input(Graph *graph, const char *name, Role role, Type type, Loc loc) {
  Value *value = ARENA_NEW(graph->arena, Value);
  value->type = type;
  value->index = graph->inputs.count;
  value->id = graph->n_values++;
  graph_name_value(graph, value, name);
  GraphInput input = {
      .value = value, .role = role, .name = arena_strdup(graph->arena, name), .loc = loc};
  vec_push(graph->arena, &graph->inputs, input);
  return value;
}

GraphInput *graph_find_input(const Graph *graph, const char *name) {
  for (int i = 0; i < graph->inputs.count; i++)
    if (strcmp(graph->inputs.at[i].name, name) == 0)
      return &graph->inputs.at[i];
  return NULL;
}

GraphOutput *graph_find_output(const Graph *graph, const char *name) {
  for (int i = 0; i < graph->outputs.count; i++)
    if (strcmp(graph->outputs.at[i].name, name) == 0)
      return &graph->outputs.at[i];
  return NULL;
}

void graph_add_output(Graph *graph, const char *name, Value *value, const char *updates, Loc loc) {
  GraphOutput output = {.name = arena_strdup(graph->arena, name),
                        .value = value,
                        .updates = updates ? arena_strdup(graph->arena, updates) : NULL,
                        .loc = loc};
  vec_push(graph->arena, &graph->outputs, output);
}

/* ---- reading ---- */

static const Attr *node_attr(const Node *node, const char *name, AttrKind kind) {
  int i = op_attr_index(node->op, name);
  if (i < 0 || node->attrs[i].kind != kind)
    FAULT("op %s has no attribute %s of that kind", node->op->name, name);
  return &node->attrs[i];
}

int64_t node_int(const Node *node, const char *attr) { return node_attr(node, attr, ATTR_INT)->i; }

double node_float(const Node *node, const char *attr) {
  return node_attr(node, attr, ATTR_FLOAT)->f;
}

const int64_t *node_ints(const Node *node, const char *attr, int *count) {
  const Attr *found = node_attr(node, attr, ATTR_INTS);
  if (count)
    *count = found->n;
  return found->ints;
}

const char *node_text(const Node *node, const char *attr) {
  return node_attr(node, attr, ATTR_TEXT)->text;
}

int *graph_count_uses(const Graph *graph, Arena *arena) {
  int *uses = ARENA_ARRAY(arena, int, graph->n_values + 1);
  for (int i = 0; i < graph->nodes.count; i++)
    for (int j = 0; j < graph->nodes.at[i]->n_in; j++)
      uses[graph->nodes.at[i]->in[j]->id]++;
  for (int i = 0; i < graph->outputs.count; i++)
    uses[graph->outputs.at[i].value->id]++;
  return uses;
}

static uint64_t hash_attr(const Attr *attr, uint64_t seed) {
  switch (attr->kind) {
  case ATTR_INT: return hash_bytes(&attr->i, sizeof attr->i, seed);
  case ATTR_FLOAT: return hash_bytes(&attr->f, sizeof attr->f, seed);
  case ATTR_INTS:
    return hash_bytes(attr->ints, sizeof *attr->ints * (size_t)attr->n, seed + (uint64_t)attr->n);
  case ATTR_TEXT: return hash_bytes(attr->text, strlen(attr->text), seed);
  default: return seed;
  }
}

static bool same_attr(const Attr *a, const Attr *b) {
  if (a->kind != b->kind)
    return false;
  switch (a->kind) {
  case ATTR_INT: return a->i == b->i;
  case ATTR_FLOAT: /* by bits: 0 and -0 differ, nan equals itself */
    return memcmp(&a->f, &b->f, sizeof a->f) == 0;
  case ATTR_INTS:
    return a->n == b->n && (!a->n || !memcmp(a->ints, b->ints, sizeof *a->ints * (size_t)a->n));
  case ATTR_TEXT: return strcmp(a->text, b->text) == 0;
  default: return true;
  }
}

uint64_t node_hash(const Node *node) {
  const AttrSpec *specs;
  int count = op_signature(node->op, &specs);
  uint64_t hash = hash_bytes(node->op->name, strlen(node->op->name), 0);
  for (int i = 0; i < count; i++)
    hash = hash_attr(&node->attrs[i], hash);
  for (int i = 0; i < node->n_out; i++) {
    const Type *type = &node->out[i].type;
    int64_t facts[2] = {type->dtype, type->rank};
    hash = hash_bytes(facts, sizeof facts, hash);
    hash = hash_bytes(type->dim, sizeof *type->dim * (size_t)type->rank, hash);
  }
  return hash;
}

bool node_same(const Node *a, const Node *b) {
  if (a == b)
    return true;
  if (a->op != b->op || a->n_out != b->n_out || a->op->cls == OP_REGION)
    return false;
  const AttrSpec *specs;
  int count = op_signature(a->op, &specs);
  for (int i = 0; i < count; i++)
    if (!same_attr(&a->attrs[i], &b->attrs[i]))
      return false;
  for (int i = 0; i < a->n_out; i++)
    if (!type_equal(&a->out[i].type, &b->out[i].type))
      return false;
  return true;
}

double graph_flops(const Graph *graph) {
  double total = 0;
  for (int i = 0; i < graph->nodes.count; i++)
    if (!graph->nodes.at[i]->uncounted)
      total += graph->nodes.at[i]->op->flops(graph->nodes.at[i]);
  return total;
}

/* ---- rewriting ---- */

GraphMap graph_map_start(const Graph *from, Arena *arena) {
  GraphMap map = {from, graph_new(arena, from->name),
                  ARENA_ARRAY(arena, Value *, from->n_values + 1)};
  for (int i = 0; i < from->inputs.count; i++) {
    const GraphInput *old = &from->inputs.at[i];
    Value *value = graph_add_input(map.to, old->name, old->role, old->value->type, old->loc);
    graph_name_value(map.to, value, old->value->name);
    map.to->inputs.at[i] = *old;
    map.to->inputs.at[i].value = value;
    map.value[old->value->id] = value;
  }
  return map;
}

static Builder builder_like(Graph *graph, const Node *node) {
  return (Builder){
      .graph = graph, .loc = node->loc, .stage = node->stage, .uncounted = node->uncounted};
}

static Value **mapped_operands(const GraphMap *map, const Node *node) {
  Value **in = ARENA_ARRAY(map->to->arena, Value *, node->n_in + 1);
  for (int i = 0; i < node->n_in; i++) {
    in[i] = map->value[node->in[i]->id];
    if (!in[i])
      FAULT("operand %s of %s has no new value", node->in[i]->name, node->op->name);
  }
  return in;
}

Node *graph_map_copy(GraphMap *map, const Node *node) {
  Builder b = builder_like(map->to, node);
  Value **in = mapped_operands(map, node);
  Node *copy = node->op->cls == OP_REGION
                   ? build_region(&b, node->n_in, in, node->body)
                   : build_node_attrs(&b, node->op, node->n_in, in, node->attrs);
  for (int i = 0; i < node->n_out; i++) {
    graph_name_value(map->to, &copy->out[i], node->out[i].name);
    map->value[node->out[i].id] = &copy->out[i];
  }
  return copy;
}

Graph *graph_map_finish(GraphMap *map) {
  for (int i = 0; i < map->from->outputs.count; i++) {
    GraphOutput output = map->from->outputs.at[i];
    output.value = map->value[output.value->id];
    if (!output.value)
      FAULT("output %s has no new value", output.name);
    if (output.renews)
      output.renews = map->value[output.renews->id];
    vec_push(map->to->arena, &map->to->outputs, output);
  }
  return map->to;
}

Graph *graph_rewrite(const Graph *from, Arena *arena, RewriteFn *rewrite, void *context) {
  GraphMap map = graph_map_start(from, arena);
  for (int i = 0; i < from->nodes.count; i++) {
    const Node *node = from->nodes.at[i];
    Builder b = builder_like(map.to, node);
    Value **in = mapped_operands(&map, node);
    Value **out = ARENA_ARRAY(arena, Value *, node->n_out + 1);
    int before = map.to->n_values;
    if (!rewrite(context, &b, node, in, out)) {
      graph_map_copy(&map, node);
      continue;
    }
    for (int j = 0; j < node->n_out; j++) {
      if (!out[j])
        continue; /* a result that nobody may need; using it is a fault above */
      if (out[j]->id >= before)
        graph_name_value(map.to, out[j], node->out[j].name);
      map.value[node->out[j].id] = out[j];
    }
  }
  return graph_map_finish(&map);
}
