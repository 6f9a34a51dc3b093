/* Chooses the template for a region. See lower.h. */
#include "passes/lower/lower.h"
#include "passes/lower/frame.h"
#include <string.h>

/* "tap_conv+add+add": what is inside, for people. */
static const char *describe(const Graph *body, Arena *arena) {
  const char *text = "";
  int listed = 0;
  for (int n = 0; n < body->nodes.count; n++) {
    const Node *node = body->nodes.at[n];
    if (node->op->cls == OP_SOURCE)
      continue;
    if (++listed > 8)
      return arena_printf(arena, "%s+…", text);
    text = arena_printf(arena, "%s%s%s", text, *text ? "+" : "", node->op->name);
  }
  return text;
}

/* Rank-0 bodies get one dimension, so that every space has columns. */
static Graph *with_columns(const Graph *body, Arena *arena);

const Node *region_anchor(const Node *region) {
  const Node *anchor = region->body->nodes.at[0];
  for (int n = 0; n < region->body->nodes.count; n++)
    if (region->body->nodes.at[n]->op->cls != OP_VIEW &&
        region->body->nodes.at[n]->op->cls != OP_SOURCE)
      anchor = region->body->nodes.at[n];
  for (int n = 0; n < region->body->nodes.count; n++) {
    OpClass cls = region->body->nodes.at[n]->op->cls;
    if (cls == OP_CONTR || cls == OP_WINDOW || cls == OP_REDUCE || cls == OP_INDEX ||
        cls == OP_ATTENTION)
      anchor = region->body->nodes.at[n];
  }
  return anchor;
}

/* Does the node read what another op of its body computes? */
static bool reads_computed(const Node *node) {
  const Node *maker = node->in[0]->node;
  while (maker && maker->op->cls == OP_VIEW)
    maker = maker->in[0]->node;
  return maker != NULL;
}

void lower_region(const Node *region, const Facts *facts, Arena *arena, const char *name,
                  Lowered *out) {
  *out = (Lowered){0};
  Lower lower = {.arena = arena, .facts = facts, .region = region, .name = name, .out = out};
  lower.body = with_columns(region->body, arena);
  bool folds_rows = false, chained = false, by_rows = true;
  int anchors = 0;
  for (int n = 0; n < lower.body->nodes.count; n++) {
    const Node *node = lower.body->nodes.at[n];
    OpClass cls = node->op->cls;
    if (cls == OP_CONTR || cls == OP_WINDOW || cls == OP_INDEX || cls == OP_MOVE ||
        cls == OP_ATTENTION) {
      bool border = node->op->flags & OPF_BORDER;
      anchors += !border;
      chained |= !border && (reads_computed(node) || node_sums_rows(node));
      by_rows &= !border && (node_keeps_rows(node) || node_sums_rows(node));
      if (!lower.anchor || !border)
        lower.anchor = node;
    }
    folds_rows |= cls == OP_REDUCE && !node_folds_columns(node);
  }
  if (anchors > 1 && (chained || by_rows))
    lower_chain(&lower);
  else if (lower.anchor && lower.anchor->op->cls == OP_CONTR &&
           (lower_winograd(&lower) || lower_winograd_gradient(&lower)))
    ; /* done */
  else if (anchors > 1)
    lower_terms(&lower);
  else if (!lower.anchor)
    (folds_rows ? lower_fold : lower_rows)(&lower);
  else if (strcmp(lower.anchor->op->name, "tap_compose") == 0)
    lower_compose(&lower);
  else if (facts->threads == 1 && strcmp(lower.anchor->op->name, "tap_conv_grad_weight") == 0)
    lower_weight_gradient(&lower);
  else if (lower.anchor->op->cls == OP_CONTR)
    lower_contraction(&lower);
  else if (lower.anchor->op->cls == OP_WINDOW)
    lower_window(&lower);
  else if (lower.anchor->op->cls == OP_ATTENTION)
    lower_attention(&lower);
  else
    lower_gather(&lower);
  const char *doc = describe(region->body, arena);
  for (int i = 0; i < out->steps.count; i++) {
    Kernel *kernel = out->steps.at[i].kernel;
    kernel->doc = i ? arena_printf(arena, "%s (%s)", doc, kernel->doc) : doc;
  }
}

/* Copies the body with every scalar given the shape [1]: elementwise ops, sources and views of rank
 * 0 become rank 1; a reshape to or from a scalar keeps its other side. */
static Graph *with_columns(const Graph *body, Arena *arena) {
  bool any = false;
  for (int i = 0; i < body->inputs.count; i++)
    any |= body->inputs.at[i].value->type.rank == 0;
  for (int n = 0; n < body->nodes.count; n++)
    for (int i = 0; i < body->nodes.at[n]->n_out; i++)
      any |= body->nodes.at[n]->out[i].type.rank == 0;
  if (!any)
    return (Graph *)body;
  Graph *graph = graph_new(arena, body->name);
  Value **value = ARENA_ARRAY(arena, Value *, body->n_values);
  for (int i = 0; i < body->inputs.count; i++) {
    const GraphInput *input = &body->inputs.at[i];
    Type type = input->value->type;
    if (type.rank == 0)
      type = (Type){type.dtype, 1, {1}};
    value[input->value->id] = graph_add_input(graph, input->name, input->role, type, input->loc);
  }
  static const int64_t one[1] = {1}, zero[1] = {0};
  for (int n = 0; n < body->nodes.count; n++) {
    const Node *node = body->nodes.at[n];
    Attr attrs[MAX_ATTRS];
    for (int a = 0; a < MAX_ATTRS; a++) {
      attrs[a] = node->attrs[a];
      if (attrs[a].kind == ATTR_INTS && attrs[a].n == 0 && node->op->cls != OP_REDUCE) {
        attrs[a].n = 1;
        attrs[a].ints = op_attr_index(node->op, "perm") == a ? zero : one;
      }
    }
    Value **in = ARENA_ARRAY(arena, Value *, node->n_in);
    for (int i = 0; i < node->n_in; i++)
      in[i] = value[node->in[i]->id];
    Builder b = {.graph = graph, .loc = node->loc};
    Node *copy = build_node_attrs(&b, node->op, node->n_in, in, attrs);
    for (int i = 0; i < node->n_out; i++)
      value[node->out[i].id] = &copy->out[i];
  }
  for (int i = 0; i < body->outputs.count; i++)
    graph_add_output(graph, body->outputs.at[i].name, value[body->outputs.at[i].value->id], NULL,
                     body->outputs.at[i].loc);
  return graph;
}
