/* Channels last, and permutes that are carried along instead of executed.
 *
 * A forward walk keeps for each value of the old graph a value of the new one and the order of its
 * axes (Seen): a permute of the author only changes that order, spatial ops (layout_spatial.c) make
 * results with channels last, and elementwise ops, reductions, broadcasts, slices and reshapes work
 * in the order their operand happens to have. Data moves only where an op insists on an order: at
 * matrix products, at reshapes that merge axes which lie apart, where two orders meet, and at
 * outputs. graph_count_moves tells how often that happened.
 */
#include "passes/graph/layout.h"
#include <string.h>

static void identity(int rank, int64_t *perm) {
  for (int i = 0; i < rank; i++)
    perm[i] = i;
}

static bool is_identity(int rank, const int64_t *perm) {
  for (int i = 0; i < rank; i++)
    if (perm[i] != i)
      return false;
  return true;
}

/* The permutation p with permute(permute(base, p), to) = permute(base, from). */
static void between(int rank, const int64_t *from, const int64_t *to, int64_t *p) {
  for (int i = 0; i < rank; i++)
    p[to[i]] = from[i];
}

Value *layout_get(Layout *layout, Builder *b, const Value *old, const int64_t *perm) {
  const Seen *seen = &layout->seen[old->id];
  int64_t own[MAX_RANK], p[MAX_RANK];
  identity(old->type.rank, own);
  between(old->type.rank, seen->perm, perm ? perm : own, p);
  return build_move(b, seen->base, p);
}

void layout_set(Layout *layout, const Value *old, Value *base, const int64_t *perm) {
  Seen *seen = &layout->seen[old->id];
  seen->base = base;
  if (perm)
    memcpy(seen->perm, perm, sizeof *perm * (size_t)old->type.rank);
  else
    identity(old->type.rank, seen->perm);
}

/* ---- choosing an order where operands meet ---- */

/* What it costs to see an operand in another order: nothing where no memory moves or where the move
 * acts on what a broadcast stretches; little for parameters, which may be prepared once. */
static int cost_of(const Layout *layout, const Value *old, const int64_t *perm) {
  const Seen *seen = &layout->seen[old->id];
  int64_t p[MAX_RANK];
  between(old->type.rank, seen->perm, perm, p);
  if (moves_nothing(&seen->base->type, p) || is_splat(seen->base, NULL))
    return 0;
  const Node *stretch = made_by(seen->base, "broadcast");
  if (stretch && type_elements(&stretch->in[0]->type) * 2 <= type_elements(&old->type))
    return 0;
  return layout->data[old->id] ? 4 : 1;
}

/* The cheapest among the orders of the operands and the author's, earlier operands first. */
static void choose_order(const Layout *layout, const Node *node, int64_t *best) {
  int rank = node->in[0]->type.rank, best_cost = -1;
  for (int candidate = 0; candidate <= node->n_in; candidate++) {
    int64_t perm[MAX_RANK];
    if (candidate < node->n_in)
      memcpy(perm, layout->seen[node->in[candidate]->id].perm, sizeof perm);
    else
      identity(rank, perm);
    if (candidate < node->n_in && is_identity(rank, perm))
      continue;
    int cost = 0;
    for (int i = 0; i < node->n_in; i++)
      cost += cost_of(layout, node->in[i], perm);
    if (best_cost < 0 || cost < best_cost) {
      best_cost = cost;
      memcpy(best, perm, sizeof perm);
    }
  }
}

/* ---- ops in a foreign order ---- */

static Value **operands(Layout *layout, Builder *b, const Node *old, const int64_t *perm) {
  Value **in = ARENA_ARRAY(layout->arena, Value *, old->n_in + 1);
  for (int i = 0; i < old->n_in; i++)
    in[i] = layout_get(layout, b, old->in[i], perm);
  return in;
}

/* Everything in the author's order. */
static void keep(Layout *layout, Builder *b, const Node *old) {
  Value **in = operands(layout, b, old, NULL);
  Node *node = old->body ? build_region(b, old->n_in, in, old->body)
                         : build_node_attrs(b, old->op, old->n_in, in, old->attrs);
  for (int i = 0; i < old->n_out; i++)
    layout_set(layout, &old->out[i], &node->out[i], NULL);
}

/* Attributes that name axes or have one number an axis, in base's order. */
static void reorder_attrs(Layout *layout, const Node *old, const int64_t *perm, Attr *attrs) {
  const AttrSpec *specs;
  int count = op_signature(old->op, &specs), rank = old->out[0].type.rank;
  for (int i = 0; i < count; i++) {
    attrs[i] = old->attrs[i];
    if (strcmp(specs[i].name, "axis") == 0)
      attrs[i].i = perm[attrs[i].i];
    if (attrs[i].kind != ATTR_INTS)
      continue;
    int64_t *ints = ARENA_ARRAY(layout->arena, int64_t, rank + 1);
    if (strcmp(specs[i].name, "axes") == 0) {
      bool folded[MAX_RANK] = {0};
      int n = 0;
      for (int j = 0; j < attrs[i].n; j++)
        folded[perm[attrs[i].ints[j]]] = true;
      for (int j = 0; j < rank; j++)
        if (folded[j])
          ints[n++] = j;
    } else {
      CHECK(attrs[i].n == rank);
      for (int j = 0; j < rank; j++)
        ints[perm[j]] = attrs[i].ints[j];
    }
    attrs[i].ints = ints;
  }
}

/* Elementwise ops, reductions, broadcasts, slices, pads, concats: the same op in the order perm. */
static void carry(Layout *layout, Builder *b, const Node *old, const int64_t *perm) {
  Attr attrs[MAX_ATTRS] = {0};
  reorder_attrs(layout, old, perm, attrs);
  Node *node = build_node_attrs(b, old->op, old->n_in, operands(layout, b, old, perm), attrs);
  layout_set(layout, &old->out[0], &node->out[0], perm);
}

/* ---- reshapes ---- */

typedef struct Group {
  int from, to;           /* axes of the result [from, to) */
  int first_base, n_base; /* the operand's axes of size > 1 lie here in base; n_base 0: size 1 */
} Group;

/* Splits a reshape of x (whose axes lie in base as perm says) into groups of axes with equal
 * products. False when the axes of a group do not lie side by side and in order in base. */
static bool find_groups(const Type *x, const int64_t *perm, const Type *result, Group *groups,
                        int *count) {
  int rank_in_base[MAX_RANK] = {0}; /* of base axis: how many axes of size > 1 lie before it */
  for (int i = 0; i < x->rank; i++)
    for (int j = 0; j < x->rank && x->dim[i] != 1; j++)
      rank_in_base[perm[j]] += perm[i] < perm[j];
  *count = 0;
  for (int i = 0, j = 0; i < x->rank || j < result->rank;) {
    int i0 = i;
    Group group = {.from = j};
    int64_t a = i < x->rank ? x->dim[i++] : 1, c = j < result->rank ? result->dim[j++] : 1;
    while (a != c)
      if (a < c)
        a *= x->dim[i++];
      else
        c *= result->dim[j++];
    group.to = j;
    for (int k = i0; k < i; k++) {
      if (x->dim[k] == 1)
        continue;
      int at = rank_in_base[perm[k]];
      if (group.n_base && at != group.first_base + group.n_base)
        return false;
      if (!group.n_base++)
        group.first_base = at;
    }
    groups[(*count)++] = group;
  }
  return true;
}

/* Reshapes base instead of the value where each group of axes lies together in base. */
static bool follow_reshape(Layout *layout, Builder *b, const Node *old) {
  const Seen *seen = &layout->seen[old->in[0]->id];
  const Type *result = &old->out[0].type;
  Group groups[2 * MAX_RANK];
  int count, rank = 0;
  if (!find_groups(&old->in[0]->type, seen->perm, result, groups, &count))
    return false;
  int64_t dim[MAX_RANK], perm[MAX_RANK];
  /* first the groups of size 1, then the others as they lie in base */
  for (int place = -1; place < old->in[0]->type.rank; place++)
    for (int g = 0; g < count; g++)
      if (groups[g].n_base ? groups[g].first_base == place : place == -1)
        for (int axis = groups[g].from; axis < groups[g].to; axis++) {
          perm[axis] = rank;
          dim[rank++] = result->dim[axis];
        }
  CHECK(rank == result->rank);
  layout_set(layout, &old->out[0], build_reshape(b, seen->base, rank, dim), perm);
  return true;
}

/* ---- the walk ---- */

static void set_permute(Layout *layout, const Node *old) {
  const Seen *seen = &layout->seen[old->in[0]->id];
  const int64_t *p = node_ints(old, "perm", NULL);
  int64_t perm[MAX_RANK];
  for (int i = 0; i < old->out[0].type.rank; i++)
    perm[i] = seen->perm[p[i]];
  layout_set(layout, &old->out[0], seen->base, perm);
}

static bool foreign_order(const Layout *layout, const Node *old) {
  for (int i = 0; i < old->n_in; i++)
    if (!is_identity(old->in[i]->type.rank, layout->seen[old->in[i]->id].perm))
      return true;
  return false;
}

static void place(Layout *layout, Builder *b, const Node *old) {
  int64_t perm[MAX_RANK];
  if (old->op->flags & OPF_SPATIAL) {
    layout_spatial(layout, b, old);
  } else if (made_by(&old->out[0], "permute")) {
    set_permute(layout, old);
  } else if (!foreign_order(layout, old)) {
    keep(layout, b, old);
  } else if (made_by(&old->out[0], "reshape")) {
    if (!follow_reshape(layout, b, old))
      keep(layout, b, old);
  } else if (old->op->cls == OP_EW || old->op->cls == OP_REDUCE || old->op->cls == OP_MOVE ||
             old->op->cls == OP_VIEW) {
    choose_order(layout, old, perm);
    carry(layout, b, old, perm);
  } else {
    keep(layout, b, old);
  }
}

Graph *pass_layout(PassContext *context, Graph *graph) {
  Arena *arena = context->arena;
  GraphMap map = graph_map_start(graph, arena);
  Layout layout = {arena, ARENA_ARRAY(arena, Seen, graph->n_values + 1),
                   graph_mark_data(graph, arena)};
  for (int i = 0; i < graph->inputs.count; i++) {
    const Value *old = graph->inputs.at[i].value;
    layout_set(&layout, old, map.value[old->id], NULL);
  }
  for (int i = 0; i < graph->nodes.count; i++) {
    const Node *old = graph->nodes.at[i];
    Builder b = {map.to, NULL, old->loc, old->stage, old->uncounted};
    int before = map.to->n_values;
    place(&layout, &b, old);
    for (int j = 0; j < old->n_out; j++) {
      Value *base = layout.seen[old->out[j].id].base;
      if (base->id >= before) /* made just now, not an older one in another order */
        graph_name_value(map.to, base, old->out[j].name);
    }
  }
  for (int i = 0; i < graph->outputs.count; i++) {
    const GraphOutput *output = &graph->outputs.at[i];
    const Node *node = output->value->node;
    Builder b = {map.to, NULL, output->loc, node ? node->stage : NULL, true};
    map.value[output->value->id] = layout_get(&layout, &b, output->value, NULL);
  }
  return graph_without_dead(graph_map_finish(&map), arena);
}
