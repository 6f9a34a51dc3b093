/* Training steps in parts: gradients summed over several runs before the optimizer sees them, and
 * contrastive losses over more samples than go through the encoders at a time.
 *
 * A loss that is a mean over equal parts has the mean of the parts' gradients. A contrastive loss
 * is no such mean, since every sample is compared with all others. Gao et al. (arXiv 2101.06983)
 * split it at the latents: encode all parts, take the gradients of the whole loss by the latents,
 * then encode each part again and send its share of these gradients back (graph_add_surrogate).
 */
#include "passes/graph/common.h"
#include <string.h>

static Graph *copy_graph(const Graph *graph, Arena *arena) {
  GraphMap map = graph_map_start(graph, arena);
  for (int i = 0; i < graph->nodes.count; i++)
    graph_map_copy(&map, graph->nodes.at[i]);
  return graph_map_finish(&map);
}

static bool listed(const char *name, const char *const *names, int count) {
  for (int i = 0; i < count; i++)
    if (strcmp(names[i], name) == 0)
      return true;
  return false;
}

static bool all_there(PassContext *context, const Graph *graph, const char *const *names,
                      int count) {
  for (int i = 0; i < count; i++)
    if (!graph_find_output(graph, names[i]))
      return diag_error(context->diag, (Loc){0}, "@%s has no output called \"%s\"", graph->name,
                        names[i]);
  return true;
}

Graph *graph_keep_outputs(PassContext *context, Graph *from, const char *const *names,
                          int n_names) {
  if (!all_there(context, from, names, n_names))
    return NULL;
  Graph *graph = copy_graph(from, context->arena);
  int kept = 0;
  for (int i = 0; i < graph->outputs.count; i++)
    if (listed(graph->outputs.at[i].name, names, n_names))
      graph->outputs.at[kept++] = graph->outputs.at[i];
  graph->outputs.count = kept;
  return graph_without_dead(graph, context->arena);
}

Graph *graph_add_surrogate(PassContext *context, Graph *from, const char *const *names, int n_names,
                           const char *loss) {
  if (!all_there(context, from, names, n_names))
    return NULL;
  Arena *arena = context->arena;
  GraphMap map = graph_map_start(from, arena);
  Graph *graph = map.to;
  Value **seeds = ARENA_ARRAY(arena, Value *, n_names + 1);
  for (int i = 0; i < n_names; i++) {
    const GraphOutput *output = graph_find_output(from, names[i]);
    seeds[i] = graph_add_input(graph, arena_printf(arena, "grad.%s", names[i]), ROLE_INPUT,
                               output->value->type, output->loc);
  }
  for (int i = 0; i < from->nodes.count; i++)
    graph_map_copy(&map, from->nodes.at[i]);
  graph_map_finish(&map);
  Builder b = {.graph = graph, .uncounted = true};
  Value *sum = NULL;
  for (int i = 0; i < n_names; i++) {
    const GraphOutput *output = graph_find_output(graph, names[i]);
    b.loc = output->loc;
    Value *product = build_binary(&b, "mul", output->value, seeds[i]);
    Value *part = build_sum_to(&b, product, &(Type){.dtype = product->type.dtype});
    sum = sum ? build_binary(&b, "add", sum, part) : part;
  }
  int kept = 0;
  for (int i = 0; i < graph->outputs.count; i++) {
    const char *name = graph->outputs.at[i].name;
    if (!listed(name, names, n_names) && strcmp(name, loss) != 0)
      graph->outputs.at[kept++] = graph->outputs.at[i];
  }
  graph->outputs.count = kept;
  graph_add_output(graph, "surrogate", sum, NULL, b.loc);
  return graph_without_dead(graph, arena);
}

static const char *accumulated_name(Arena *arena, const GraphInput *parameter) {
  return arena_printf(arena, "accumulated.%s", parameter->name);
}

Graph *graph_add_accumulation(PassContext *context, Graph *from) {
  Arena *arena = context->arena;
  GraphMap map = graph_map_start(from, arena);
  Graph *graph = map.to;
  Type scalar = {.dtype = DT_f32};
  Value *share = graph_add_input(graph, "share", ROLE_INPUT, scalar, (Loc){0});
  for (int i = 0; i < from->nodes.count; i++)
    graph_map_copy(&map, from->nodes.at[i]);
  graph_map_finish(&map);
  for (int i = 0; i < graph->outputs.count; i++) {
    const GraphInput *found = gradient_owner(graph, &graph->outputs.at[i]);
    if (!found)
      continue;
    GraphInput p = *found; /* the list moves when inputs are added */
    const char *name = accumulated_name(arena, &p);
    Value *old = add_persistent(graph, name, ROLE_SCRATCH, p.value->type, &p);
    Builder b = {.graph = graph, .loc = p.loc, .stage = p.stage, .uncounted = true};
    Value *fresh = build_binary(&b, "mul", graph->outputs.at[i].value, share);
    Value *sum = build_binary(&b, "add", old, fresh);
    graph->outputs.at[i] = (GraphOutput){.name = name, .value = sum, .updates = name, .loc = p.loc};
  }
  return graph;
}

Graph *graph_reset_accumulated(PassContext *context, Graph *from) {
  Graph *graph = copy_graph(from, context->arena);
  for (int i = 0; i < graph->inputs.count; i++) {
    GraphInput *input = &graph->inputs.at[i];
    if (input->role != ROLE_SCRATCH)
      continue;
    Builder b = {.graph = graph, .loc = input->loc, .stage = input->stage, .uncounted = true};
    /* a product, so that it joins the kernel that reads the sum last */
    graph_add_output(graph, input->name, build_scale(&b, input->value, 0), input->name, input->loc);
  }
  return graph;
}

Graph *graph_accumulated(PassContext *context, const Graph *from, const char *name) {
  Arena *arena = context->arena;
  Graph *graph = graph_new(arena, name);
  for (int i = 0; i < from->outputs.count; i++) {
    const GraphInput *p = gradient_owner(from, &from->outputs.at[i]);
    if (!p)
      continue;
    Value *value = graph_add_input(graph, p->name, ROLE_PARAMETER, p->value->type, p->loc);
    GraphInput *copy = &graph->inputs.at[value->index];
    *copy = *p;
    copy->value = value;
    Value *sum = add_persistent(graph, accumulated_name(arena, p), ROLE_SCRATCH, p->value->type, p);
    graph_add_output(graph, from->outputs.at[i].name, sum, NULL, p->loc);
  }
  return graph;
}
