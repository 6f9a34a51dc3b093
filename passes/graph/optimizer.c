/* The optimizer as graph ops: every "grad.<parameter>" output becomes an AdamW update of that
 * parameter and its two moments, which are state inputs. See passes/pass.h.
 *
 * One step count serves all parameters; it is kept as f32, exact for 16 million steps.
 */
#include "passes/graph/common.h"
#include <string.h>

static void add_update(Graph *graph, const GraphInput *found, Value *gradient, Value *step,
                       Value *rate, const OptimizerConfig *config) {
  Arena *arena = graph->arena;
  GraphInput p = *found; /* the list moves when inputs are added */
  const char *m_name = arena_printf(arena, "adamw.m.%s", p.name);
  const char *v_name = arena_printf(arena, "adamw.v.%s", p.name);
  Value *m = add_persistent(graph, m_name, ROLE_STATE, p.value->type, &p);
  Value *v = add_persistent(graph, v_name, ROLE_STATE, p.value->type, &p);
  Builder b = {.graph = graph, .loc = p.loc, .stage = p.stage, .uncounted = true};
  Value *in[] = {p.value, gradient, m, v, step, rate};
  Node *node = build_node(&b, "adamw", 6, in, "beta1", config->beta1, "beta2", config->beta2, "eps",
                          config->eps, "decay", p.decay ? config->decay : 0.0, NULL);
  graph_add_output(graph, p.name, &node->out[0], p.name, p.loc);
  graph_add_output(graph, m_name, &node->out[1], m_name, p.loc);
  graph_add_output(graph, v_name, &node->out[2], v_name, p.loc);
}

/* The sum of squares of all elements, as f32[1]. */
static Value *squares(Builder *b, Value *x) {
  Value *square = build_binary(b, "mul", x, x);
  int64_t axes[MAX_RANK];
  for (int i = 0; i < x->type.rank; i++)
    axes[i] = i;
  Value *sum = x->type.rank ? build_reduce(b, "reduce_sum", square, x->type.rank, axes) : square;
  return build_reshape(b, sum, 1, (int64_t[]){1});
}

/* Outputs grad_squares and grad_norm; returns what gradients are multiplied with: 1, or clip / norm
 * where that is less (Pascanu et al., arXiv 1211.5063; the 1e-6 in the denominator is PyTorch's).
 */
static Value *clipping(Graph *graph, Value *clip) {
  Builder b = {.graph = graph, .uncounted = true};
  VEC(Value *) parts = {0};
  for (int i = 0; i < graph->outputs.count; i++) {
    const GraphInput *owner = gradient_owner(graph, &graph->outputs.at[i]);
    if (!owner)
      continue;
    b.loc = owner->loc;
    b.stage = owner->stage;
    vec_push(graph->arena, &parts, squares(&b, graph->outputs.at[i].value));
  }
  b.loc = (Loc){0};
  b.stage = NULL;
  if (!parts.count)
    return NULL;
  Value *all =
      parts.count == 1
          ? parts.at[0]
          : &build_node(&b, "concat", parts.count, parts.at, "axis", (int64_t)0, NULL)->out[0];
  Value *sum = build_reduce(&b, "reduce_sum", all, 1, (int64_t[]){0});
  Value *norm = build_unary(&b, "sqrt", build_reshape(&b, sum, 0, NULL));
  graph_add_output(graph, "grad_squares", all, NULL, (Loc){0});
  graph_add_output(graph, "grad_norm", norm, NULL, (Loc){0});
  Value *one = build_like(&b, 1, norm);
  Value *ratio = build_binary(&b, "div", clip, build_offset(&b, norm, 1e-6));
  Value *wanted = build_binary(&b, "lt", build_like(&b, 0, clip), clip);
  return build_select(&b, wanted, build_binary(&b, "min", ratio, one), one);
}

Graph *graph_add_adamw(PassContext *context, Graph *from, const OptimizerConfig *config,
                       bool keep_gradients) {
  Arena *arena = context->arena;
  GraphMap map = graph_map_start(from, arena);
  Graph *graph = map.to;
  Type scalar = {.dtype = DT_f32};
  Value *rate = graph_add_input(graph, "lr", ROLE_INPUT, scalar, (Loc){0});
  Value *clip = config->clip ? graph_add_input(graph, "clip", ROLE_INPUT, scalar, (Loc){0}) : NULL;
  Value *count = add_persistent(graph, "adamw.step", ROLE_STATE, scalar, NULL);
  for (int i = 0; i < from->nodes.count; i++)
    graph_map_copy(&map, from->nodes.at[i]);
  graph_map_finish(&map);

  int given = graph->outputs.count, updates = 0;
  Value *factor = clip ? clipping(graph, clip) : NULL;
  Builder b = {.graph = graph, .uncounted = true};
  Value *step = build_offset(&b, count, 1);
  for (int i = 0; i < given; i++) {
    GraphOutput output = graph->outputs.at[i];
    const GraphInput *parameter = gradient_owner(graph, &output);
    if (parameter) {
      b.loc = parameter->loc;
      b.stage = parameter->stage;
      Value *gradient = factor ? build_binary(&b, "mul", output.value, factor) : output.value;
      add_update(graph, parameter, gradient, step, rate, config);
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
    if (keep_gradients || i >= given || !gradient_owner(graph, &graph->outputs.at[i]))
      graph->outputs.at[kept++] = graph->outputs.at[i];
  graph->outputs.count = kept;
  return graph;
}

Graph *pass_adamw(PassContext *context, Graph *graph) {
  OptimizerConfig usual = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .decay = 0.01};
  return graph_add_adamw(context, graph, &usual, false);
}
