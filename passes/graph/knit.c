/* Sums of tap ops over one tensor become one tap op: three parallel convolutions along three axes,
 * added, are one convolution with a star of 3k-2 taps.
 *
 * For every tree of adds (inner ones read once) the leaves are sorted into
 *   - tap ops read once, grouped by operand, op and attributes other than taps: their taps are
 *     united; weights of a tap that several have are added, the others laid one after the other
 *   - broadcasts of equal small shape (biases): added before they are stretched
 *   - everything else, added last in its order
 * Weights are combined by graph ops on parameters, so that is work for when weights are loaded.
 */
#include "passes/graph/common.h"
#include <stdlib.h>
#include <string.h>

typedef VEC(Value *) Values;

typedef struct Knit {
  Arena *arena;
  const int *uses; /* of the old graph */
  bool *inner;     /* by old value id: an add that only another add reads */
  Value **mapped;  /* old value id -> new value */
} Knit;

static bool is_inner_add(const Knit *k, const Value *value) {
  return made_by(value, "add") && k->uses[value->id] == 1;
}

static void find_leaves(const Knit *k, const Node *add, Values *leaves) {
  for (int i = 0; i < 2; i++)
    if (is_inner_add(k, add->in[i]))
      find_leaves(k, add->in[i]->node, leaves);
    else
      vec_push(k->arena, leaves, add->in[i]);
}

/* ---- which leaves go together ---- */

static bool is_tap_sum(const Knit *k, const Value *value) {
  return value->node && (value->node->op->flags & OPF_TAP_SUM) && k->uses[value->id] == 1;
}

/* Same op over the same x with the same access, whatever the taps. */
static bool same_access(const Node *a, const Node *b) {
  if (a->op != b->op || a->in[0] != b->in[0] || !type_equal(&a->out[0].type, &b->out[0].type))
    return false;
  Node probe = *a;
  int taps = op_attr_index(a->op, "taps");
  probe.attrs[taps] = b->attrs[taps];
  return node_same(&probe, b);
}

static bool together(const Knit *k, const Value *a, const Value *b) {
  if (is_tap_sum(k, a))
    return is_tap_sum(k, b) && same_access(a->node, b->node);
  return made_by(a, "broadcast") && made_by(b, "broadcast") &&
         type_equal(&a->node->in[0]->type, &b->node->in[0]->type);
}

/* ---- uniting taps ---- */

typedef struct Tap {
  int64_t at[3];
  int source, index; /* which op, and which of its taps */
} Tap;

static int by_place(const void *a, const void *b) {
  const Tap *x = a, *y = b;
  for (int i = 0; i < 3; i++)
    if (x->at[i] != y->at[i])
      return x->at[i] < y->at[i] ? -1 : 1;
  return x->source != y->source ? x->source - y->source : x->index - y->index;
}

static bool same_place(const Tap *a, const Tap *b) {
  return memcmp(a->at, b->at, sizeof a->at) == 0;
}

/* All taps of the ops, by place; equal places side by side. */
static Tap *gather(const Knit *k, const Values *ops, int *count) {
  VEC(Tap) taps = {0};
  for (int i = 0; i < ops->count; i++) {
    int n;
    const int64_t *at = node_ints(ops->at[i]->node, "taps", &n);
    for (int t = 0; t < n / 3; t++) {
      Tap tap = {{at[3 * t], at[3 * t + 1], at[3 * t + 2]}, i, t};
      vec_push(k->arena, &taps, tap);
    }
  }
  qsort(taps.at, (size_t)taps.count, sizeof *taps.at, by_place);
  *count = taps.count;
  return taps.at;
}

static int place_length(const Tap *taps, int count) {
  int n = 1;
  while (n < count && same_place(&taps[0], &taps[n]))
    n++;
  return n;
}

/* How many places from here on have the same sources with indices that count up: one slice each. */
static int run_length(const Tap *taps, int count, int width) {
  int places = 1;
  for (const Tap *next = taps + width; next + width <= taps + count; next += width, places++) {
    if (place_length(next, (int)(taps + count - next)) != width)
      break;
    bool follows = true;
    for (int i = 0; i < width; i++)
      follows &= next[i].source == taps[i].source && next[i].index == taps[i].index + places;
    if (!follows)
      break;
  }
  return places;
}

static Value *rows(Builder *b, Value *w, int64_t from, int64_t count) {
  int64_t start[MAX_RANK] = {from}, stop[MAX_RANK] = {from + count}, step[MAX_RANK] = {1};
  if (from == 0 && count == w->type.dim[0])
    return w;
  for (int i = 1; i < w->type.rank; i++) {
    stop[i] = w->type.dim[i];
    step[i] = 1;
  }
  return &build_node(b, "slice", 1, &w, "start", w->type.rank, start, "stop", w->type.rank, stop,
                     "step", w->type.rank, step, NULL)
              ->out[0];
}

/* One op with the taps of all. */
static Value *unite(const Knit *k, Builder *b, const Values *ops) {
  int count, n_taps = 0;
  Tap *taps = gather(k, ops, &count);
  int64_t *places = ARENA_ARRAY(k->arena, int64_t, 3 * count);
  Values parts = {0};
  for (int at = 0; at < count;) {
    int width = place_length(taps + at, count - at);
    int run = run_length(taps + at, count - at, width);
    Value *sum = NULL;
    for (int i = 0; i < width; i++) {
      Value *w = k->mapped[ops->at[taps[at + i].source]->node->in[1]->id];
      w = rows(b, w, taps[at + i].index, run);
      sum = sum ? build_binary(b, "add", sum, w) : w;
    }
    vec_push(k->arena, &parts, sum);
    for (int i = 0; i < run; i++, at += width)
      memcpy(places + 3 * n_taps++, taps[at].at, sizeof taps[at].at);
  }
  const Node *first = ops->at[0]->node;
  Value *weights = parts.at[0];
  if (parts.count > 1)
    weights = &build_node(b, "concat", parts.count, parts.at, "axis", (int64_t)0, NULL)->out[0];
  Attr attrs[MAX_ATTRS];
  memcpy(attrs, first->attrs, sizeof attrs);
  Attr *attr = &attrs[op_attr_index(first->op, "taps")];
  attr->n = 3 * n_taps;
  attr->ints = places;
  Value *in[] = {k->mapped[first->in[0]->id], weights};
  return &build_node_attrs(b, first->op, 2, in, attrs)->out[0];
}

static Value *add_small(const Knit *k, Builder *b, const Values *stretched) {
  Value *sum = NULL;
  for (int i = 0; i < stretched->count; i++) {
    Value *small = k->mapped[stretched->at[i]->node->in[0]->id];
    sum = sum ? build_binary(b, "add", sum, small) : small;
  }
  const Type *full = &stretched->at[0]->type;
  return build_broadcast(b, sum, full->rank, full->dim);
}

/* ---- a tree of adds ---- */

/* Moves the leaves that go with the first one from `leaves` to the result. */
static Values take_group(const Knit *k, Values *leaves) {
  Values group = {0};
  Value *first = leaves->at[0];
  int kept = 0;
  for (int i = 0; i < leaves->count; i++)
    if (i == 0 || together(k, first, leaves->at[i]))
      vec_push(k->arena, &group, leaves->at[i]);
    else
      leaves->at[kept++] = leaves->at[i];
  leaves->count = kept;
  return group;
}

/* The new sum, or NULL when no two leaves go together. */
static Value *knit_tree(const Knit *k, Builder *b, const Node *root) {
  Values leaves = {0}, taps = {0}, biases = {0}, others = {0};
  find_leaves(k, root, &leaves);
  bool changed = false;
  while (leaves.count) {
    Values group = take_group(k, &leaves);
    Value *first = group.at[0], *sum = k->mapped[first->id];
    changed |= group.count > 1;
    if (is_tap_sum(k, first))
      vec_push(k->arena, &taps, group.count > 1 ? unite(k, b, &group) : sum);
    else if (made_by(first, "broadcast"))
      vec_push(k->arena, &biases, group.count > 1 ? add_small(k, b, &group) : sum);
    else
      for (int i = 0; i < group.count; i++)
        vec_push(k->arena, &others, k->mapped[group.at[i]->id]);
  }
  if (!changed)
    return NULL;
  Value *sum = NULL;
  Values *lists[] = {&taps, &biases, &others};
  for (int l = 0; l < 3; l++)
    for (int i = 0; i < lists[l]->count; i++)
      sum = sum ? build_binary(b, "add", sum, lists[l]->at[i]) : lists[l]->at[i];
  return sum;
}

Graph *pass_knit(PassContext *context, Graph *graph) {
  Arena *arena = context->arena;
  GraphMap map = graph_map_start(graph, arena);
  Knit k = {arena, graph_count_uses(graph, arena), ARENA_ARRAY(arena, bool, graph->n_values + 1),
            map.value};
  for (int i = 0; i < graph->nodes.count; i++) {
    const Node *node = graph->nodes.at[i];
    for (int j = 0; j < node->n_in && made_by(&node->out[0], "add"); j++)
      k.inner[node->in[j]->id] |= is_inner_add(&k, node->in[j]);
  }
  for (int i = 0; i < graph->nodes.count; i++) {
    const Node *node = graph->nodes.at[i];
    Builder b = {map.to, NULL, node->loc, node->stage, node->uncounted};
    bool root = made_by(&node->out[0], "add") && !k.inner[node->out[0].id];
    Value *sum = root ? knit_tree(&k, &b, node) : NULL;
    if (!sum) {
      graph_map_copy(&map, node);
      continue;
    }
    graph_name_value(map.to, sum, node->out[0].name);
    map.value[node->out[0].id] = sum;
  }
  return graph_without_dead(graph_map_finish(&map), arena);
}
