/* The optimizer as graph ops: every "grad.<parameter>" output becomes an AdamW update of that
 * parameter and its two moments, which are state inputs. See passes/pass.h.
 *
 * One step count serves all parameters; it is kept as f32, exact for 16 million steps.
 */
#include "passes/graph/common.h"
#include <string.h>

static const char prefix[] = "grad.";

static Value *add_state(Graph *graph, const char *name, Type type, const GraphInput *owner) {
  Loc loc = owner ? owner->loc : (Loc){0};
  const char *stage = owner ? owner->stage : NULL;
  Value *value = graph_add_input(graph, name, ROLE_STATE, type, loc);
  graph->inputs.at[value->index].stage = stage;
  return value;
}

/* The parameter whose gradient an output is, or NULL. */
static const GraphInput *parameter_of(const Graph *graph, const GraphOutput *output) {
  size_t length = sizeof prefix - 1;
  if (strncmp(output->name, prefix, length) != 0)
    return NULL;
  const GraphInput *input = graph_find_input(graph, output->name + length);
  return input && input->role == ROLE_PARAMETER ? input : NULL;
}

static void add_update(Graph *graph, const GraphInput *found, Value *gradient, Value *step,
                       Value *rate, const OptimizerConfig *config) {
  Arena *arena = graph->arena;
  GraphInput p = *found; /* the list moves when inputs are added */
  const char *m_name = arena_printf(arena, "adamw.m.%s", p.name);
  const char *v_name = arena_printf(arena, "adamw.v.%s", p.name);
  Value *m = add_state(graph, m_name, p.value->type, &p);
  Value *v = add_state(graph, v_name, p.value->type, &p);
  Builder b = {.graph = graph, .loc = p.loc, .stage = p.stage, .uncounted = true};
  Value *in[] = {p.value, gradient, m, v, step, rate};
  Node *node = build_node(&b, "adamw", 6, in, "beta1", config->beta1, "beta2", config->beta2, "eps",
                          config->eps, "decay", p.decay ? config->decay : 0.0, NULL);
  graph_add_output(graph, p.name, &node->out[0], p.name, p.loc);
  graph_add_output(graph, m_name, &node->out[1], m_name, p.loc);
  graph_add_output(graph, v_name, &node->out[2], v_name, p.loc);
}

Graph *graph_add_adamw(PassContext *context, Graph *from, const OptimizerConfig *config,
                       bool keep_gradients) {
  Arena *arena = context->arena;
  GraphMap map = graph_map_start(from, arena);
  Graph *graph = map.to;
  Type scalar = {.dtype = DT_f32};
  Value *rate = graph_add_input(graph, "lr", ROLE_INPUT, scalar, (Loc){0});
  Value *count = add_state(graph, "adamw.step", scalar, NULL);
  for (int i = 0; i < from->nodes.count; i++)
    graph_map_copy(&map, from->nodes.at[i]);
  graph_map_finish(&map);

  Builder b = {.graph = graph, .uncounted = true};
  Value *step = build_offset(&b, count, 1);
  int given = graph->outputs.count, updates = 0;
  for (int i = 0; i < given; i++) {
    GraphOutput output = graph->outputs.at[i];
    const GraphInput *parameter = parameter_of(graph, &output);
    if (parameter) {
      add_update(graph, parameter, output.value, step, rate, config);
      updates++;
    }
  }
  if (!updates) {
    diag_error(context->diag, (Loc){0}, "@%s has no gradients to train with", graph->name);
    return NULL;
  }
  graph_add_output(graph, "adamw.step", step, "adamw.step", (Loc){0});
  int kept = 0;
  for (int i = 0; i < graph->outputs.count; i++)
    if (keep_gradients || i >= given || !parameter_of(graph, &graph->outputs.at[i]))
      graph->outputs.at[kept++] = graph->outputs.at[i];
  graph->outputs.count = kept;
  return graph;
}

Graph *pass_adamw(PassContext *context, Graph *graph) {
  OptimizerConfig usual = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .decay = 0.01};
  return graph_add_adamw(context, graph, &usual, false);
}
