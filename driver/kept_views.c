/* Views of parameters that are kept from call to call. See kept_views.h. */
#include "driver/kept_views.h"
#include "passes/graph/common.h"
#include <string.h>

/* The body of a region as a graph whose input is called like the parameter. */
static Graph *view_of(Build *build, const Graph *graph, const Node *region) {
  const GraphInput *input = &graph->inputs.at[region->in[0]->index];
  Graph *view = graph_new(build->arena, "view");
  GraphMap map = {region->body, view, ARENA_ARRAY(build->arena, Value *, region->body->n_values)};
  map.value[region->body->inputs.at[0].value->id] =
      graph_add_input(view, input->name, input->role, input->value->type, input->loc);
  for (int n = 0; n < region->body->nodes.count; n++)
    graph_map_copy(&map, region->body->nodes.at[n]);
  return graph_map_finish(&map);
}

/* Which of the kept views that is; -1: none. */
static int find_kept(const Build *build, const char *name) {
  for (int i = 0; i < build->kept.count; i++)
    if (strcmp(build->tensors.at[build->kept.at[i].tensor].name, name) == 0)
      return i;
  return -1;
}

static const char *view_name(Build *build, const Graph *view) {
  return view_chain_name(build->arena, view, view->outputs.at[0].value);
}

/* Which of the kept views the region computes; a new one if it is none yet. */
int kept_index(Build *build, const Graph *graph, const Node *region) {
  Graph *view = view_of(build, graph, region);
  const char *name = view_name(build, view);
  int known = find_kept(build, name);
  if (known >= 0)
    return known;
  PlanTensor tensor = {.name = name, .type = region->out[0].type, .role = PLAN_VIEW};
  KeptView kept = {.tensor = build->tensors.count, .view = view};
  vec_push(build->arena, &build->tensors, tensor);
  vec_push(build->arena, &build->kept, kept);
  return build->kept.count - 1;
}

const Graph *const *kept_views(Build *build) {
  const Graph **views = ARENA_ARRAY(build->arena, const Graph *, build->kept.count + 1);
  for (int i = 0; i < build->kept.count; i++)
    views[i] = build->kept.at[i].view;
  return views;
}

/* Does an entry point update a parameter, but not all views of it that are kept? */
bool kept_outdated(Build *build, const Graph *graph) {
  bool *renewed = ARENA_ARRAY(build->arena, bool, build->kept.count + 1);
  for (int i = 0; i < graph->outputs.count; i++) {
    const Value *old = graph->outputs.at[i].renews;
    if (!old || !region_is_kept(graph, old->node))
      continue;
    int known = find_kept(build, view_name(build, view_of(build, graph, old->node)));
    if (known >= 0) /* nothing is kept where graphs are interpreted */
      renewed[known] = true;
  }
  for (int k = 0; k < build->kept.count; k++)
    for (int i = 0; i < graph->outputs.count && !renewed[k]; i++) {
      const char *updates = graph->outputs.at[i].updates;
      if (updates && strcmp(updates, build->kept.at[k].view->inputs.at[0].name) == 0)
        return true;
    }
  return false;
}
