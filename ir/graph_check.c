/* The verifier: what every graph must satisfy, whoever made it. See graph_check in graph.h.
 *
 * It believes nothing that can be recomputed: result types are derived again by the shape rules,
 * and a value counts as defined only when its own node, met in order, lists it.
 */
#include "ir/graph.h"
#include "ir/op.h"
#include <string.h>

typedef struct Checker {
  const Graph *graph;
  Arena *arena;
  const Value **defined; /* by id */
  Error *error;
} Checker;

static bool check_value(Checker *c, const Value *value, const char *what) {
  if (!value->name || !*value->name)
    return error_set(c->error, "%s has no name", what);
  if (value->id < 0 || value->id >= c->graph->n_values)
    return error_set(c->error, "%%%s has number %d of %d", value->name, value->id,
                     c->graph->n_values);
  if (c->defined[value->id])
    return error_set(c->error, "%%%s and %%%s have one number", value->name,
                     c->defined[value->id]->name);
  if (value->type.rank < 0 || value->type.rank > MAX_RANK)
    return error_set(c->error, "%%%s has rank %d", value->name, value->type.rank);
  c->defined[value->id] = value;
  return true;
}

static bool check_operand(const Checker *c, const Value *value, const char *user) {
  if (!value)
    return error_set(c->error, "%s has no operand where one must be", user);
  if (value->id < 0 || value->id >= c->graph->n_values || c->defined[value->id] != value)
    return error_set(c->error, "%s reads %%%s, which is not defined above it", user, value->name);
  return true;
}

static bool check_inputs(Checker *c, Map *names) {
  for (int i = 0; i < c->graph->inputs.count; i++) {
    const GraphInput *input = &c->graph->inputs.at[i];
    if (!input->value || input->value->node || input->value->index != i)
      return error_set(c->error, "input \"%s\" is not in its place", input->name);
    if (map_get(names, input->name))
      return error_set(c->error, "two inputs are called \"%s\"", input->name);
    map_set(names, input->name, (void *)input);
    if (!check_value(c, input->value, "an input"))
      return false;
  }
  return true;
}

static bool check_attrs(const Checker *c, const Node *node) {
  const AttrSpec *specs;
  int count = op_signature(node->op, &specs);
  for (int i = 0; i < count; i++)
    if (node->attrs[i].kind != specs[i].kind)
      return error_set(c->error, "%s: attribute %s is missing or of another kind", node->op->name,
                       specs[i].name);
  return true;
}

static bool check_region(const Checker *c, const Node *node) {
  const Graph *body = node->body;
  Error inner = {0};
  if (!graph_check(body, &inner))
    return error_set(c->error, "inside a region: %.900s", inner.text);
  if (body->inputs.count != node->n_in || body->outputs.count != node->n_out || node->n_out < 1)
    return error_set(c->error, "a region and its body differ in operands or results");
  for (int i = 0; i < node->n_in; i++)
    if (!type_equal(&node->in[i]->type, &body->inputs.at[i].value->type) ||
        body->inputs.at[i].role != ROLE_INPUT)
      return error_set(c->error, "a region's operand %d differs from its body's input", i);
  for (int i = 0; i < node->n_out; i++)
    if (!type_equal(&node->out[i].type, &body->outputs.at[i].value->type))
      return error_set(c->error, "a region's result %d differs from its body's output", i);
  for (int i = 0; i < body->nodes.count; i++)
    if (body->nodes.at[i]->body)
      return error_set(c->error, "a region stands inside a region");
  return true;
}

static bool check_types(const Checker *c, const Node *node) {
  const Op *op = node->op;
  if (op->n_out != node->n_out || (op->n_in >= 0 ? op->n_in != node->n_in : node->n_in < 1))
    return error_set(c->error, "%s has %d operands and %d results", op->name, node->n_in,
                     node->n_out);
  const Type **types = ARENA_ARRAY(c->arena, const Type *, node->n_in + 1);
  for (int i = 0; i < node->n_in; i++)
    types[i] = &node->in[i]->type;
  Type results[8] = {0};
  OpCall call = {op, node->n_in, types, node->attrs, node->body};
  Error inner = {0};
  if (!op->shape(&call, results, &inner))
    return error_set(c->error, "%%%s: %.900s", node->out[0].name, inner.text);
  for (int i = 0; i < node->n_out; i++)
    if (!type_equal(&results[i], &node->out[i].type))
      return error_set(c->error, "%%%s = %s has type %s, but its rule gives %s", node->out[i].name,
                       op->name, type_text(&node->out[i].type), type_text(&results[i]));
  return true;
}

static bool check_node(Checker *c, const Node *node, int position) {
  const char *name = node->op->name;
  if (node->graph != c->graph || node->id != position)
    return error_set(c->error, "%s is not in its place", name);
  for (int i = 0; i < node->n_in; i++)
    if (!check_operand(c, node->in[i], name))
      return false;
  if ((node->op->cls == OP_REGION) != (node->body != NULL))
    return error_set(c->error, "%s: regions and only they have a body", name);
  if (!check_attrs(c, node) || !(node->body ? check_region(c, node) : check_types(c, node)))
    return false;
  for (int i = 0; i < node->n_out; i++) {
    if (node->out[i].node != node || node->out[i].index != i)
      return error_set(c->error, "%s: result %d is not in its place", name, i);
    if (!check_value(c, &node->out[i], name))
      return false;
  }
  return true;
}

static bool check_names(const Checker *c) {
  Map names;
  map_init(&names, c->arena);
  for (int i = 0; i < c->graph->n_values; i++) {
    if (!c->defined[i])
      return error_set(c->error, "value number %d is not defined", i);
    if (map_get(&names, c->defined[i]->name))
      return error_set(c->error, "two values are called %%%s", c->defined[i]->name);
    map_set(&names, c->defined[i]->name, (void *)c->defined[i]);
  }
  return true;
}

bool graph_view_of_one(const Graph *graph, const Value *value) {
  while (value->node && value->node->n_in == 1)
    value = value->node->in[0];
  return !value->node && graph->inputs.at[value->index].role != ROLE_INPUT;
}

static bool check_renewed(const Checker *c, const GraphOutput *output) {
  const Value *value = output->renews;
  if (!check_operand(c, value, output->name))
    return false;
  if (!type_equal(&value->type, &output->value->type))
    return error_set(c->error, "output \"%s\" of type %s renews a value of another type",
                     output->name, type_text(&output->value->type));
  if (!graph_view_of_one(c->graph, value) || output->updates)
    return error_set(c->error, "output \"%s\" renews what is not of one parameter alone",
                     output->name);
  return true;
}

static bool check_outputs(const Checker *c, const Map *inputs) {
  Map names, updated;
  map_init(&names, c->arena);
  map_init(&updated, c->arena);
  for (int i = 0; i < c->graph->outputs.count; i++) {
    const GraphOutput *output = &c->graph->outputs.at[i];
    if (map_get(&names, output->name))
      return error_set(c->error, "two outputs are called \"%s\"", output->name);
    map_set(&names, output->name, (void *)output);
    if (!check_operand(c, output->value, output->name) ||
        (output->renews && !check_renewed(c, output)))
      return false;
    if (!output->updates)
      continue;
    const GraphInput *input = map_get(inputs, output->updates);
    if (!input)
      return error_set(c->error, "output \"%s\" updates \"%s\", which is no input", output->name,
                       output->updates);
    if (input->role == ROLE_INPUT)
      return error_set(c->error,
                       "output \"%s\" updates \"%s\", which is data, not a parameter, "
                       "buffer or state",
                       output->name, output->updates);
    if (!type_equal(&input->value->type, &output->value->type))
      return error_set(c->error, "output \"%s\" of type %s updates an input of type %s",
                       output->name, type_text(&output->value->type),
                       type_text(&input->value->type));
    if (map_get(&updated, output->updates))
      return error_set(c->error, "input \"%s\" is updated twice", output->updates);
    map_set(&updated, output->updates, (void *)output);
  }
  return true;
}

bool graph_check(const Graph *graph, Error *error) {
  Arena *arena = arena_new();
  Checker c = {graph, arena, ARENA_ARRAY(arena, const Value *, graph->n_values + 1), error};
  Map inputs;
  map_init(&inputs, arena);
  bool fine = check_inputs(&c, &inputs);
  for (int i = 0; i < graph->nodes.count && fine; i++)
    fine = check_node(&c, graph->nodes.at[i], i);
  fine = fine && check_names(&c) && check_outputs(&c, &inputs);
  arena_free(arena);
  return fine;
}
