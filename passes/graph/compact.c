/* Inputs that are read through strided taps are kept as the parts that are read.
 *
 * Taps with a stride s along an axis read indices o*s + t, whose rest by s is that of t. So taps of
 * equal strides read some of the polyphase components of their operand and no others, and each
 * component without a stride: tap t at component t mod s, offset floor(t / s). Where the operand is
 * a graph input seen through views, nobody else reads it and the components that are read are
 * clearly smaller than the whole, the input is kept as those components (op `polyphase`, which a
 * plan does while the input is filled) and the taps are renumbered.
 *
 * The components stand side by side along the middle axis of the grid, place by place: component p
 * of P at index q*P + p, which the ops read with stride P. So an index outside a component is
 * outside the grid, as it was before; what one place reads lies close together; and the innermost
 * axis is read and filled in runs. Taps keep their order and number, so sums are added as before,
 * and results are equal to the bit.
 */
#include "passes/graph/common.h"
#include "passes/view_map.h"
#include <string.h>

enum { SPACE = 3, MIDDLE = 2 /* of the axes [N,A0,A1,A2,C] */ };
/* Below that share of the input a second form of it is worth while: rows that are partly left out
 * save memory, but no traffic. */
static const double WORTH = 0.75;

typedef struct Compacting { /* of one graph input */
  Arena *arena;
  Value *seen; /* what all readers read: the input through views, [N,A0,A1,A2,C] */
  int64_t stride[SPACE];
  int n_readers;
  VEC(const int64_t *) phases; /* three numbers each, in order */
} Compacting;

/* ---- who reads the input, and how ---- */

/* By value id: the data input behind it, through views, or -1. */
static int *find_sources(const Graph *g, Arena *arena) {
  int *source = ARENA_ARRAY(arena, int, g->n_values + 1);
  for (int i = 0; i < g->n_values; i++)
    source[i] = -1;
  for (int i = 0; i < g->inputs.count; i++)
    if (g->inputs.at[i].role == ROLE_INPUT)
      source[g->inputs.at[i].value->id] = i;
  for (int n = 0; n < g->nodes.count; n++) {
    const Node *node = g->nodes.at[n];
    if (node->op->cls == OP_VIEW)
      source[node->out[0].id] = source[node->in[0]->id];
  }
  return source;
}

static bool reads_strided_taps(const Node *node) {
  if (!(node->op->flags & OPF_TAP_ZEROS) || node->in[0]->type.rank != 5)
    return false;
  int divisor = op_attr_index(node->op, "divisor");
  for (int a = 0; a < SPACE && divisor >= 0; a++)
    if (node->attrs[divisor].ints[a] != 1)
      return false;
  return true;
}

/* Notes a reader; false when it and the others cannot share components. */
static bool add_reader(Compacting *c, const Node *node, int operand) {
  const int64_t *stride;
  if (operand != 0 || !reads_strided_taps(node))
    return false;
  stride = node_ints(node, "stride", NULL);
  if (c->n_readers++ == 0) {
    c->seen = node->in[0];
    memcpy(c->stride, stride, sizeof c->stride);
  }
  return c->seen == node->in[0] && memcmp(c->stride, stride, sizeof c->stride) == 0;
}

/* Fills in who reads input number `input`; false when somebody reads it in another way. */
static bool find_readers(const Graph *g, const int *source, int input, Compacting *c) {
  for (int n = 0; n < g->nodes.count; n++) {
    const Node *node = g->nodes.at[n];
    for (int i = 0; i < node->n_in; i++)
      if (node->op->cls != OP_VIEW && source[node->in[i]->id] == input && !add_reader(c, node, i))
        return false;
  }
  for (int i = 0; i < g->outputs.count; i++)
    if (source[g->outputs.at[i].value->id] == input)
      return false;
  return c->n_readers > 0;
}

/* ---- which components they read ---- */

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

static void split_tap(const Compacting *c, const int64_t *tap, int64_t *phase, int64_t *offset) {
  for (int a = 0; a < SPACE; a++) {
    offset[a] = floor_div(tap[a], c->stride[a]);
    phase[a] = tap[a] - offset[a] * c->stride[a];
  }
}

static int phase_order(const int64_t *a, const int64_t *b) {
  for (int i = 0; i < SPACE; i++)
    if (a[i] != b[i])
      return a[i] < b[i] ? -1 : 1;
  return 0;
}

static int phase_number(const Compacting *c, const int64_t *phase) {
  int p = 0;
  while (p < c->phases.count && phase_order(c->phases.at[p], phase) != 0)
    p++;
  return p;
}

static void add_phase(Compacting *c, const int64_t *phase) {
  if (phase_number(c, phase) < c->phases.count)
    return;
  vec_push(c->arena, &c->phases,
           (const int64_t *)arena_copy(c->arena, phase, SPACE * sizeof *phase));
  for (int p = c->phases.count - 1; p > 0; p--)
    if (phase_order(c->phases.at[p], c->phases.at[p - 1]) < 0) {
      const int64_t *swap = c->phases.at[p];
      c->phases.at[p] = c->phases.at[p - 1];
      c->phases.at[p - 1] = swap;
    }
}

static void find_phases(const Graph *g, Compacting *c) {
  for (int n = 0; n < g->nodes.count; n++) {
    const Node *node = g->nodes.at[n];
    if (!node->n_in || node->in[0] != c->seen || !reads_strided_taps(node))
      continue;
    int count;
    const int64_t *taps = node_ints(node, "taps", &count);
    for (int t = 0; t < count; t += SPACE) {
      int64_t phase[SPACE], offset[SPACE];
      split_tap(c, taps + t, phase, offset);
      add_phase(c, phase);
    }
  }
}

/* ---- whether it is worth it ---- */

static bool is_input(void *context, const Value *value) {
  (void)context;
  return value->node == NULL;
}

/* Boxes of the components must be boxes of the input, with all of its samples: each axis of the
 * input follows one axis of the view at most, the first one the first. */
static bool gathers_well(Value *seen) {
  ViewMap map;
  Value *stuck;
  if (!view_map_resolve(seen, is_input, NULL, &map, &stuck) ||
      !type_equal(&map.type, &map.base->type) || map.type.rank < 2)
    return false;
  for (int b = 0; b < map.type.rank; b++) {
    int followed = 0;
    for (int d = 0; d < map.rank; d++)
      followed += map.factor[b][d] != 0;
    if (followed > 1)
      return false;
  }
  return map.type.dim[0] == seen->type.dim[0] && map.offset[0] == 0 &&
         (map.factor[0][0] == 1 || map.type.dim[0] == 1);
}

static bool worth_it(const Compacting *c) {
  const Type *x = &c->seen->type;
  double part = (double)x->dim[0] * (double)x->dim[4] * c->phases.count, whole;
  const Value *input = c->seen;
  while (input->node)
    input = input->node->in[0];
  whole = (double)type_elements(&input->type);
  for (int a = 0; a < SPACE; a++) {
    if (x->dim[1 + a] < c->stride[a])
      return false;
    part *= (double)((x->dim[1 + a] + c->stride[a] - 1) / c->stride[a]);
  }
  return part <= WORTH * whole;
}

/* ---- the rewrite ---- */

static Value *build_components(const Compacting *c, Builder *b, Value *seen) {
  int64_t stride[5] = {1, c->stride[0], c->stride[1], c->stride[2], 1};
  int64_t *phases = ARENA_ARRAY(c->arena, int64_t, 5 * c->phases.count);
  for (int p = 0; p < c->phases.count; p++)
    memcpy(phases + 5 * p + 1, c->phases.at[p], SPACE * sizeof *phases);
  return &build_node(b, "polyphase", 1, &seen, "stride", 5, stride, "phases", 5 * c->phases.count,
                     phases, "axis", (int64_t)MIDDLE, NULL)
              ->out[0];
}

static Value *build_reader(const Compacting *c, Builder *b, const Node *old, Value *const *in) {
  int64_t stride[SPACE] = {1, 1, 1}, count = c->phases.count;
  Attr attrs[MAX_ATTRS];
  memcpy(attrs, old->attrs, sizeof attrs);
  Attr *at = &attrs[op_attr_index(old->op, "taps")];
  int64_t *taps = ARENA_ARRAY(c->arena, int64_t, at->n);
  for (int t = 0; t < at->n; t += SPACE) {
    int64_t phase[SPACE];
    split_tap(c, at->ints + t, phase, taps + t);
    taps[t + MIDDLE - 1] = taps[t + MIDDLE - 1] * count + phase_number(c, phase);
  }
  stride[MIDDLE - 1] = count;
  at->ints = taps;
  attrs[op_attr_index(old->op, "stride")].ints = arena_copy(c->arena, stride, sizeof stride);
  return &build_node_attrs(b, old->op, old->n_in, in, attrs)->out[0];
}

typedef struct Rewrite {
  Compacting *inputs; /* that become compact */
  int count;
  Value **components; /* theirs in the new graph, once the first reader is met */
} Rewrite;

static bool rewrite(void *context, Builder *b, const Node *old, Value *const *in, Value **out) {
  Rewrite *r = context;
  for (int i = 0; i < r->count; i++) {
    const Compacting *c = &r->inputs[i];
    if (!old->n_in || old->in[0] != c->seen || !reads_strided_taps(old))
      continue;
    if (!r->components[i])
      r->components[i] = build_components(c, b, in[0]);
    Value **operands = arena_copy(c->arena, in, sizeof *in * (size_t)old->n_in);
    operands[0] = r->components[i];
    out[0] = build_reader(c, b, old, operands);
    return true;
  }
  return false;
}

Graph *pass_compact(PassContext *context, Graph *graph) {
  Arena *arena = context->arena;
  int *source = find_sources(graph, arena);
  Rewrite r = {.inputs = ARENA_ARRAY(arena, Compacting, graph->inputs.count + 1),
               .components = ARENA_ARRAY(arena, Value *, graph->inputs.count + 1)};
  for (int i = 0; i < graph->inputs.count; i++) {
    Compacting *c = &r.inputs[r.count];
    *c = (Compacting){.arena = arena};
    if (graph->inputs.at[i].role != ROLE_INPUT || !find_readers(graph, source, i, c) ||
        !gathers_well(c->seen))
      continue;
    find_phases(graph, c);
    r.count += worth_it(c);
  }
  return r.count ? graph_rewrite(graph, arena, rewrite, &r) : graph;
}
