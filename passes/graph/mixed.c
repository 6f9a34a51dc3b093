/* Mixed precision: contractions multiply bf16 and add in f32; kernels hand each other bf16.
 *
 * In: regions (after `fuse`). Out: the same regions, in which
 *
 *   - operands of contractions and attention are bf16: a body reads them as `cast f32(x: bf16)`,
 *     which lowering takes for what it is, a bf16 factor whose product is exact in f32;
 *   - a result that such an operand, a window or something elementwise on the way to one reads is
 *     stored as bf16, by a cast at the end of the body that computes it;
 *   - parameters, and inputs that a contraction reads, have a bf16 copy made by a region of its
 *     own, which for parameters runs when they are loaded, and in training once a step.
 *
 * Everything else stays f32: sums, norms and statistics, losses, optimizer state, gradients of
 * parameters, inputs and outputs of the graph. Nothing is scaled: bf16 has the range of f32.
 * Decisions look at op classes, flags, attributes and shapes; a contraction with few terms
 * (LEAST_TERMS) and taps, or whose terms do not lie side by side in its left operand, gains nothing
 * and takes what it finds. Similarities of two sets of vectors stay exact: losses are made of them.
 */
#include "passes/graph/common.h"
#include <string.h>

enum { LEAST_TERMS = 8 };

/* How an operand is read. */
typedef enum Reading {
  READ_F32,    /* as it is */
  READ_EITHER, /* from bf16 if that is how it is stored: half the memory traffic */
  READ_BF16    /* it must be bf16 */
} Reading;

typedef struct Mixing {
  PassContext *context;
  const Graph *graph;
  const bool *data; /* by value id: changes from call to call */
  bool *wanted;     /* by value id: some reader reads it from bf16 */
  bool *refused;    /* by value id: some reader needs f32 */
  bool *narrow;     /* by value id: is stored as bf16 */
  GraphMap map;
  Value **copy; /* by value id: its bf16 copy in the new graph */
} Mixing;

/* ---- how operands are read ---- */

/* Terms of each sum of a contraction that lie side by side in its left operand; 0: they do not. */
static int64_t terms_in_a_row(const Node *node) {
  const Type *right = &node->in[1]->type;
  if (op_attr_index(node->op, "taps") >= 0) /* the forward form says the size of its grid */
    return op_attr_index(node->op, "size") >= 0 ? right->dim[1] : 0;
  return op_attr_index(node->op, "ta") >= 0 && !node_int(node, "ta") ? right->dim[right->rank - 2]
                                                                     : 0;
}

/* A matrix of data times another: similarities, as in a contrast, and what the gradients of such
 * are made of. They are small and go into losses. */
static bool compares(const Node *node, const bool *data) {
  return terms_in_a_row(node) && node->in[0]->type.rank == 2 && node->in[1]->type.rank == 2 &&
         data[node->in[0]->id] && data[node->in[1]->id];
}

/* data[]: by value id of the node's graph. */
static Reading reading(const Node *node, int i, const bool *data) {
  if (node->in[i]->type.dtype != DT_f32 || !data[node->out[0].id])
    return READ_F32;
  switch (node->op->cls) {
  case OP_CONTR:
    if (node->op->flags & OPF_BORDER)
      return READ_F32;
    if (compares(node, data))
      return READ_F32;
    if (terms_in_a_row(node) >= LEAST_TERMS)
      return READ_BF16;
    return i == 0 || data[node->in[i]->id] ? READ_EITHER : READ_F32;
  case OP_ATTENTION: /* q, k, v and their gradient; not sums and groups */
    return i < (node->n_out > 2 ? 4 : 3) ? READ_BF16 : READ_F32;
  case OP_WINDOW: return data[node->in[i]->id] ? READ_EITHER : READ_F32;
  default: return READ_F32;
  }
}

static Value *behind_views(Value *value) {
  while (value->node && value->node->op->cls == OP_VIEW)
    value = value->node->in[0];
  return value;
}

/* Which values of a region's body depend on data. */
static bool *data_in(const Mixing *m, const Node *region) {
  const Graph *body = region->body;
  bool *data = ARENA_ARRAY(m->context->arena, bool, body->n_values + 1);
  for (int i = 0; i < body->inputs.count; i++)
    data[body->inputs.at[i].value->id] = m->data[region->in[i]->id];
  for (int n = 0; n < body->nodes.count; n++) {
    const Node *node = body->nodes.at[n];
    for (int i = 0; i < node->n_in; i++)
      data[node->out[0].id] |= data[node->in[i]->id];
    for (int i = 1; i < node->n_out; i++)
      data[node->out[i].id] = data[node->out[0].id];
  }
  return data;
}

/* ---- what is stored as bf16 ---- */

/* Do rows of the region depend on all their columns, as in a norm? */
static bool folds_columns(const Graph *body) {
  for (int n = 0; n < body->nodes.count; n++)
    if (node_folds_columns(body->nodes.at[n]))
      return true;
  return false;
}

/* Elements of the largest result stored as bf16. */
static int64_t narrow_elements(const Mixing *m, const Node *region) {
  int64_t most = 0;
  for (int i = 0; i < region->n_out; i++) {
    int64_t elements = type_elements(&region->out[i].type);
    if (m->narrow[region->out[i].id] && elements > most)
      most = elements;
  }
  return most;
}

/* What a region wants of its operands, given how its results are stored. */
static void note_reads(Mixing *m, const Node *region) {
  const Graph *body = region->body;
  const bool *data = data_in(m, region);
  int64_t passes_on = folds_columns(body) ? 0 : narrow_elements(m, region);
  for (int i = 0; i < body->outputs.count; i++) {
    const Value *base = behind_views(body->outputs.at[i].value);
    if (!base->node && m->narrow[region->out[i].id])
      m->wanted[region->in[base->index]->id] = true;
  }
  for (int n = 0; n < body->nodes.count; n++) {
    const Node *node = body->nodes.at[n];
    for (int i = 0; i < node->n_in && node->op->cls != OP_VIEW; i++) {
      const Value *base = behind_views(node->in[i]);
      if (base->node)
        continue;
      const Value *outer = region->in[base->index];
      Reading how = reading(node, i, data);
      bool along =
          node->op->cls == OP_EW && passes_on > 0 && type_elements(&outer->type) == passes_on;
      if (how != READ_F32 || along)
        m->wanted[outer->id] = true;
      if (how == READ_F32 && !m->data[outer->id])
        m->refused[outer->id] = true;
    }
  }
}

static void choose_storage(Mixing *m) {
  const Graph *g = m->graph;
  for (int i = 0; i < g->outputs.count; i++) {
    m->refused[behind_views(g->outputs.at[i].value)->id] = true;
    if (g->outputs.at[i].renews) /* kept in f32 like its parameter */
      m->refused[behind_views(g->outputs.at[i].renews)->id] = true;
  }
  for (int n = g->nodes.count - 1; n >= 0; n--) {
    const Node *node = g->nodes.at[n];
    if (node->op->cls != OP_REGION)
      continue;
    for (int i = 0; i < node->n_out; i++) {
      const Value *value = &node->out[i];
      bool whole_only = false; /* such ops store their results themselves */
      for (int k = 0; k < node->body->nodes.count; k++)
        whole_only |= node->body->nodes.at[k]->op->flags & OPF_SCATTERS;
      m->narrow[value->id] = value->type.dtype == DT_f32 && m->wanted[value->id] &&
                             !m->refused[value->id] && !whole_only;
    }
    note_reads(m, node);
  }
}

/* ---- rewriting a region ---- */

typedef struct Body {
  Mixing *m;
  const Node *region;
  const bool *data;
  Graph *to;
  Builder builder;
  Value **value;  /* by value id of the old body: the new value, in f32 where it was */
  Value **factor; /* the same, but rounded to bf16 on the way */
  VEC(Value *) operands;
} Body;

static Value *cast(Builder *b, Value *x, Dtype dtype) {
  return &build_node(b, "cast", 1, &x, "dtype", dtype_name(dtype), NULL)->out[0];
}

/* The bf16 copy of a value of the graph: a region of its own. */
static Value *copy_of(Mixing *m, const Value *old) {
  if (m->copy[old->id])
    return m->copy[old->id];
  Value *value = m->map.value[old->id];
  Graph *body = graph_new(m->context->arena, "body");
  Builder inner = {.graph = body, .loc = graph_value_loc(m->graph, old)};
  Value *x = graph_add_input(body, old->name, ROLE_INPUT, value->type, inner.loc);
  graph_add_output(body, "narrow", cast(&inner, x, DT_bf16), NULL, inner.loc);
  Builder b = {.graph = m->map.to,
               .loc = inner.loc,
               .stage = old->node ? old->node->stage : m->graph->inputs.at[old->index].stage};
  return m->copy[old->id] = &build_region(&b, 1, &value, body)->out[0];
}

static Value *input_value(Body *b, const Value *old, bool as_factor) {
  Mixing *m = b->m;
  const Value *outer = b->region->in[old->index];
  Value *mapped = m->map.value[outer->id];
  if (mapped->type.dtype == old->type.dtype && as_factor)
    mapped = copy_of(m, outer);
  vec_push(m->context->arena, &b->operands, mapped);
  bool copied = mapped == m->copy[outer->id];
  const char *name = copied ? arena_printf(m->context->arena, "%s.bf16", old->name) : old->name;
  Value *value =
      graph_add_input(b->to, name, ROLE_INPUT, mapped->type, graph_value_loc(m->graph, outer));
  return mapped->type.dtype == old->type.dtype ? value : cast(&b->builder, value, DT_f32);
}

/* The new value of an old one, in front of which nothing but views may be missing. */
static Value *value_of(Body *b, Value *old, bool as_factor) {
  const Value *base = behind_views(old);
  bool stored = !base->node && b->m->narrow[b->region->in[base->index]->id];
  Value **known = as_factor && !stored ? b->factor : b->value;
  if (known[old->id])
    return known[old->id];
  Node *node = old->node;
  if (!node)
    return known[old->id] = input_value(b, old, as_factor);
  if (node->op->cls == OP_VIEW) {
    Value *in = value_of(b, node->in[0], as_factor);
    b->builder.loc = node->loc;
    return known[old->id] = &build_node_attrs(&b->builder, node->op, 1, &in, node->attrs)->out[0];
  }
  CHECK(as_factor && b->value[old->id]); /* computed in this kernel, kept in bf16 */
  Value *rounded = cast(&b->builder, b->value[old->id], DT_bf16);
  return known[old->id] = cast(&b->builder, rounded, DT_f32);
}

static void copy_node(Body *b, const Node *node) {
  Value **in = ARENA_ARRAY(b->m->context->arena, Value *, node->n_in + 1);
  for (int i = 0; i < node->n_in; i++)
    in[i] = value_of(b, node->in[i], reading(node, i, b->data) == READ_BF16);
  b->builder.loc = node->loc;
  b->builder.stage = node->stage;
  Node *copy = build_node_attrs(&b->builder, node->op, node->n_in, in, node->attrs);
  for (int i = 0; i < node->n_out; i++)
    b->value[node->out[i].id] = &copy->out[i];
}

/* A result in bf16. One that is a view of what is computed stays one: it is stored in its order. */
static Value *narrow_output(Body *b, Value *old) {
  Node *node = old->node;
  if (!node || node->op->cls != OP_VIEW || !behind_views(old)->node)
    return cast(&b->builder, value_of(b, old, false), DT_bf16);
  Value *in = narrow_output(b, node->in[0]);
  return &build_node_attrs(&b->builder, node->op, 1, &in, node->attrs)->out[0];
}

static void rewrite_region(Mixing *m, const Node *region) {
  Arena *arena = m->context->arena;
  const Graph *from = region->body;
  Body b = {.m = m, .region = region, .data = data_in(m, region)};
  b.to = graph_new(arena, from->name);
  b.builder = (Builder){.graph = b.to, .loc = region->loc};
  b.value = ARENA_ARRAY(arena, Value *, from->n_values);
  b.factor = ARENA_ARRAY(arena, Value *, from->n_values);
  for (int n = 0; n < from->nodes.count; n++)
    if (from->nodes.at[n]->op->cls != OP_VIEW)
      copy_node(&b, from->nodes.at[n]);
  for (int i = 0; i < from->outputs.count; i++) {
    const GraphOutput *output = &from->outputs.at[i];
    b.builder.loc = output->loc;
    Value *value = m->narrow[region->out[i].id] ? narrow_output(&b, output->value)
                                                : value_of(&b, output->value, false);
    graph_add_output(b.to, output->name, value, NULL, output->loc);
  }
  Builder outer = {m->map.to, NULL, region->loc, region->stage, region->uncounted};
  Node *node = build_region(&outer, b.operands.count, b.operands.at, b.to);
  for (int i = 0; i < region->n_out; i++)
    m->map.value[region->out[i].id] = &node->out[i];
}

Graph *pass_mixed(PassContext *context, Graph *graph) {
  Arena *arena = context->arena;
  Mixing m = {.context = context,
              .graph = graph,
              .data = graph_mark_data(graph, arena),
              .wanted = ARENA_ARRAY(arena, bool, graph->n_values + 1),
              .refused = ARENA_ARRAY(arena, bool, graph->n_values + 1),
              .narrow = ARENA_ARRAY(arena, bool, graph->n_values + 1),
              .copy = ARENA_ARRAY(arena, Value *, graph->n_values + 1),
              .map = graph_map_start(graph, arena)};
  choose_storage(&m);
  for (int n = 0; n < graph->nodes.count; n++)
    if (graph->nodes.at[n]->op->cls == OP_REGION)
      rewrite_region(&m, graph->nodes.at[n]);
    else
      graph_map_copy(&m.map, graph->nodes.at[n]);
  return graph_map_finish(&m.map);
}
