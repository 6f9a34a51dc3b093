/* Only the rows that are read are computed: selection(f(x)) becomes f(selection(x)) where f treats
 * each row by itself. A text encoder whose loss needs one token of each text then computes its
 * last layer for those tokens alone, except keys and values; done before gradients are added, the
 * backward pass does the same.
 *
 * A *selection* is a slice, which takes some places of an axis, or an embedding, which takes rows
 * by numbers that are data. Seen as [before, rows, rest] in row-major order, a tensor's selection
 * is [before, chosen, rest]; so no reshape is in its way, even one that joins the axis with others.
 *
 * Three steps. The first walks backwards and gives each value a demand: nothing, the rows of one
 * selection, or everything. Readers that want different things want everything, so nothing is ever
 * computed twice. The second weighs: a node that is narrowed must save more than it costs to select
 * from its operands; one that does not is stopped at, and the first step is repeated. The third
 * builds the graph: narrow nodes work on chosen rows, and choose them from operands that are whole.
 */
#include "passes/graph/common.h"
#include <string.h>

enum { MOST_OPERANDS = 16 };

typedef struct Selection {
  Value *ids;                   /* numbers of rows, of the old graph; NULL: a slice */
  int64_t start, step;          /* of the slice */
  int64_t before, rows, chosen; /* [before, rows, rest] becomes [before, chosen, rest] */
} Selection;

typedef struct Demand {
  enum { NOTHING, ROWS, EVERYTHING } kind;
  Selection rows;
} Demand;

/* Axes first .. past-1 are [outside, rows, inside]: one axis, or what a reshape will join. */
typedef struct Group {
  int first, past;
  int64_t outside, inside;
} Group;

typedef struct Chosen {
  const Value *from;
  Selection rows;
  Value *value; /* of the new graph */
} Chosen;

typedef struct Narrow {
  const Graph *graph;
  Arena *arena;
  Demand *demand;                /* by value id */
  bool *narrow, *stopped, *done; /* by node id */
  GraphMap map;
  VEC(Chosen) chosen;
} Narrow;

/* ---- selections ---- */

static bool same_selection(const Selection *a, const Selection *b) {
  return a->ids == b->ids && a->start == b->start && a->step == b->step && a->before == b->before &&
         a->rows == b->rows && a->chosen == b->chosen;
}

static int64_t product(const Type *type, int past) {
  int64_t size = 1;
  for (int d = 0; d < past; d++)
    size *= type->dim[d];
  return size;
}

static Group group_of(const Type *type, const Selection *s) {
  Group group = {0, type->rank, s->before, 1};
  int64_t size = 1, end = s->before * s->rows;
  bool closed = false;
  for (int d = 0; d < type->rank && !closed; d++) {
    if (s->before % size == 0) {
      group.first = d;
      group.outside = s->before / size;
    }
    size *= type->dim[d];
    if ((closed = size % end == 0)) {
      group.past = d + 1;
      group.inside = size / end;
    }
  }
  return group;
}

static Type chosen_type(const Type *whole, const Selection *s) {
  Type type = *whole;
  Group group = group_of(whole, s);
  for (int d = group.first; d < group.past; d++)
    type.dim[d] = 1;
  type.dim[group.past - 1] = group.outside * s->chosen * group.inside;
  return type;
}

/* The elements that choosing moves: a slice is a view, rows by number are copied. */
static double price(const Type *type, const Selection *s) {
  if (!s->ids)
    return 0;
  double all = (double)type_elements(type);
  return all / (double)s->rows * (double)s->chosen + (s->before > 1 ? all : 0);
}

/* Is the node a selection from operand 0 that leaves out most? Of several axes that a slice cuts,
 * the one that it cuts most. */
static bool selects(const Node *node, Selection *s) {
  const Type *x = node->n_in ? &node->in[0]->type : NULL;
  if (node->op->cls == OP_INDEX && !(node->op->flags & OPF_SCATTERS)) {
    *s = (Selection){node->in[1], 0, 1, 1, x->dim[0], type_elements(&node->in[1]->type)};
    return s->chosen < s->rows;
  }
  if (!made_by(&node->out[0], "slice"))
    return false;
  int axis = -1;
  const Type *y = &node->out[0].type;
  for (int d = 0; d < x->rank; d++)
    if (y->dim[d] < x->dim[d] && (axis < 0 || y->dim[d] * x->dim[axis] < y->dim[axis] * x->dim[d]))
      axis = d;
  if (axis >= 0)
    *s = (Selection){NULL,
                     node_ints(node, "start", NULL)[axis],
                     node_ints(node, "step", NULL)[axis],
                     product(x, axis),
                     x->dim[axis],
                     y->dim[axis]};
  return axis >= 0;
}

/* ---- what a node needs for some rows of its results ---- */

/* The same rows of operand i, whose axes up to the group's end correspond to the result's. */
static bool same_rows(const Node *node, int i, const Selection *s, const Group *group,
                      Demand *need) {
  const Type *x = &node->in[i]->type, *y = &node->out[0].type;
  if (x->rank < group->past)
    return false;
  for (int d = group->first; d < group->past; d++)
    if (x->dim[d] != y->dim[d])
      return false;
  need[i] = (Demand){ROWS, *s};
  need[i].rows.before = product(x, group->first) * group->outside;
  return true;
}

static bool same_rows_of_all(const Node *node, const Selection *s, const Group *group,
                             Demand *need) {
  bool all = true;
  for (int i = 0; i < node->n_in; i++)
    all = all && same_rows(node, i, s, group, need);
  return all;
}

static bool rows_of_view(const Node *node, const Selection *s, const Group *group, Demand *need) {
  const Type *x = &node->in[0]->type;
  if (made_by(&node->out[0], "reshape")) {
    need[0] = (Demand){ROWS, *s};
    return true;
  }
  if (made_by(&node->out[0], "permute")) {
    const int64_t *perm = node_ints(node, "perm", NULL) + group->first;
    for (int d = 1; d < group->past - group->first; d++)
      if (perm[d] != perm[0] + d)
        return false;
    need[0] = (Demand){ROWS, *s};
    need[0].rows.before = product(x, (int)perm[0]) * group->outside;
    return true;
  }
  bool stretched = made_by(&node->out[0], "broadcast") != NULL;
  for (int d = group->first; d < group->past; d++)
    stretched &= x->dim[d] == 1;
  return stretched || same_rows(node, 0, s, group, need);
}

static bool rows_of_product(const Node *node, const Selection *s, const Group *group,
                            Demand *need) {
  if (op_attr_index(node->op, "ta") < 0 || node_int(node, "ta"))
    return false;
  int rows = node->out[0].type.rank - 2;
  if (!same_rows(node, 0, s, group, need))
    return false;
  if (node->in[1]->type.rank == 2)
    return group->past <= rows + 1;
  return group->first == rows ? group->past == rows + 1
                              : group->past <= rows && same_rows(node, 1, s, group, need);
}

/* Queries of an attention, with their groups; or samples, of all operands. */
static bool rows_of_attention(const Node *node, const Selection *s, const Group *group,
                              Demand *need) {
  enum { BATCH, TOKENS, QUERY = 0, QUERY_GROUP = 3 };
  if (node->n_out != 2 || group->past != group->first + 1)
    return false;
  if (group->first == BATCH)
    return same_rows_of_all(node, s, group, need);
  return group->first == TOKENS && same_rows(node, QUERY, s, group, need) &&
         (node->n_in <= QUERY_GROUP || same_rows(node, QUERY_GROUP, s, group, need));
}

/* Can the node give rows s of its results from rows of its operands? Then need[] says which; of
 * the others it needs everything. */
static bool gives_rows(const Node *node, const Selection *s, Demand *need) {
  const Type *y = &node->out[0].type;
  Group group = group_of(y, s);
  if (node->n_in > MOST_OPERANDS)
    return false;
  for (int i = 0; i < node->n_in; i++)
    need[i] = (Demand){.kind = EVERYTHING};
  int axis = op_attr_index(node->op, "axis") < 0 ? -1 : (int)node_int(node, "axis");
  switch (node->op->cls) {
  case OP_SOURCE: return axis < group.first || axis >= group.past;
  case OP_VIEW: return rows_of_view(node, s, &group, need);
  case OP_EW:
  case OP_MOVE:
  case OP_REDUCE: return same_rows_of_all(node, s, &group, need);
  case OP_CONTR: return rows_of_product(node, s, &group, need);
  case OP_ATTENTION: return rows_of_attention(node, s, &group, need);
  case OP_COMPOSITE:
    if ((node->op->flags & OPF_BY_ELEMENT) || op_attr_index(node->op, "axes") >= 0)
      return same_rows_of_all(node, s, &group, need);
    return (node->op->flags & OPF_BY_ROW) && group.past < y->rank &&
           same_rows(node, 0, s, &group, need);
  default: return false;
  }
}

/* ---- demands ---- */

static void demand(Narrow *n, const Value *value, const Demand *more) {
  Demand *d = &n->demand[value->id];
  if (d->kind == NOTHING)
    *d = *more;
  else if (more->kind == EVERYTHING ||
           (more->kind == ROWS && d->kind == ROWS && !same_selection(&d->rows, &more->rows)))
    d->kind = EVERYTHING;
}

/* What is wanted of a node: its results have the same rows, or all are needed whole. */
static Demand wanted(const Narrow *n, const Node *node) {
  Demand want = {.kind = NOTHING};
  for (int i = 0; i < node->n_out; i++) {
    const Demand *d = &n->demand[node->out[i].id];
    if (want.kind == NOTHING)
      want = *d;
    else if (d->kind == EVERYTHING || (d->kind == ROWS && !same_selection(&d->rows, &want.rows)))
      want.kind = EVERYTHING;
  }
  return want;
}

static void spread_demands(Narrow *n) {
  static const Demand everything = {.kind = EVERYTHING};
  memset(n->demand, 0, sizeof *n->demand * (size_t)n->graph->n_values);
  for (int i = 0; i < n->graph->outputs.count; i++) {
    demand(n, n->graph->outputs.at[i].value, &everything);
    if (n->graph->outputs.at[i].renews)
      demand(n, n->graph->outputs.at[i].renews, &everything);
  }
  for (int i = n->graph->nodes.count - 1; i >= 0; i--) {
    const Node *node = n->graph->nodes.at[i];
    Demand want = wanted(n, node), need[MOST_OPERANDS];
    n->narrow[i] = want.kind == ROWS && !n->stopped[i] && gives_rows(node, &want.rows, need);
    Selection own;
    bool chooses = want.kind != NOTHING && !n->narrow[i] && selects(node, &own);
    for (int j = 0; j < node->n_in && want.kind != NOTHING; j++) {
      const Demand chosen = {ROWS, own};
      demand(n, node->in[j], n->narrow[i] ? &need[j] : chooses && j == 0 ? &chosen : &everything);
    }
  }
}

static bool is_narrow(const Narrow *n, const Value *value) {
  return value->node && n->narrow[value->node->id];
}

/* ---- is it worth it? ---- */

/* Operations, or elements where it counts none: what would be stored for all rows. */
static double work(const Node *node, const Selection *s) {
  double elements = (double)type_elements(&node->out[0].type);
  if (node->op->cls == OP_VIEW) {
    Group group = group_of(&node->out[0].type, s);
    return product(&node->in[0]->type, group.past) < product(&node->out[0].type, group.past) &&
                   made_by(&node->out[0], "broadcast")
               ? elements
               : 0;
  }
  for (int i = 0; i < node->n_in; i++)
    if ((double)type_elements(&node->in[i]->type) > elements && node->op->cls == OP_REDUCE)
      elements = (double)type_elements(&node->in[i]->type);
  double operations = node->op->flops(node);
  return operations > elements ? operations : elements;
}

/* Stops at nodes that are not worth it; true when there were some. */
static bool stop_without_gain(Narrow *n) {
  bool any = false;
  double *gain = ARENA_ARRAY(n->arena, double, n->graph->nodes.count + 1);
  for (int i = 0; i < n->graph->nodes.count; i++) {
    const Node *node = n->graph->nodes.at[i];
    if (!n->narrow[i])
      continue;
    Selection s = wanted(n, node).rows;
    Demand need[MOST_OPERANDS];
    CHECK(gives_rows(node, &s, need));
    double share = (double)s.chosen / (double)s.rows;
    gain[i] = work(node, &s) * (1 - share);
    for (int r = 0; r < node->n_out; r++)
      gain[i] += n->demand[node->out[r].id].kind == ROWS ? price(&node->out[r].type, &s) : 0;
    for (int j = 0; j < node->n_in; j++) {
      if (need[j].kind == ROWS)
        gain[i] -= price(&node->in[j]->type, &need[j].rows);
      if (need[j].kind == ROWS && is_narrow(n, node->in[j]))
        gain[i] += gain[node->in[j]->node->id];
    }
    if (gain[i] <= 0)
      n->stopped[i] = any = true;
  }
  return any;
}

/* ---- the new graph ---- */

static void emit(Narrow *n, const Node *node);

/* The new value: whole, or the chosen rows if its node is narrow. */
static Value *mapped(Narrow *n, const Value *old) {
  if (!n->map.value[old->id])
    emit(n, old->node);
  return n->map.value[old->id];
}

static Value *choose_by_slice(Builder *b, Value *x, const Type *seen, const Selection *s) {
  int64_t start[3] = {0, s->start, 0}, step[3] = {1, s->step, 1};
  int64_t stop[3] = {seen->dim[0], s->start + (s->chosen - 1) * s->step + 1, seen->dim[2]};
  x = build_reshape(b, x, 3, seen->dim);
  return &build_node(b, "slice", 1, &x, "start", 3, start, "stop", 3, stop, "step", 3, step, NULL)
              ->out[0];
}

/* [before, rows, rest] with the rows first: a table. */
static Value *choose_by_number(Narrow *n, Builder *b, Value *x, const Type *seen,
                               const Selection *s) {
  static const int64_t swap[] = {1, 0, 2};
  int64_t table[] = {s->rows, s->before * seen->dim[2]};
  Value *ids = build_reshape(b, mapped(n, s->ids), 1, &s->chosen);
  if (s->before > 1)
    x = build_permute(b, build_reshape(b, x, 3, seen->dim), swap);
  x = build_reshape(b, x, 2, table);
  Value *y = &build_node(b, "embedding", 2, (Value *[]){x, ids}, NULL)->out[0];
  if (s->before == 1)
    return y;
  y = build_reshape(b, y, 3, (int64_t[]){s->chosen, s->before, seen->dim[2]});
  return build_permute(b, y, swap);
}

/* Rows of an old value: those that its narrow node gives, or chosen from the whole, once for all
 * that see it in other shapes. */
static Value *rows_of(Narrow *n, Builder *b, Value *old, const Selection *s) {
  if (is_narrow(n, old))
    return mapped(n, old);
  Type type = chosen_type(&old->type, s);
  while (made_by(old, "reshape"))
    old = old->node->in[0];
  Value *value = NULL;
  for (int i = 0; i < n->chosen.count && !value; i++)
    if (n->chosen.at[i].from == old && same_selection(&n->chosen.at[i].rows, s))
      value = n->chosen.at[i].value;
  if (!value) {
    int64_t rest = type_elements(&old->type) / s->before / s->rows;
    Type seen = {old->type.dtype, 3, {s->before, s->rows, rest}};
    Value *x = mapped(n, old);
    value = s->ids ? choose_by_number(n, b, x, &seen, s) : choose_by_slice(b, x, &seen, s);
    vec_push(n->arena, &n->chosen, ((Chosen){old, *s, value}));
  }
  return build_reshape(b, value, type.rank, type.dim);
}

/* Attributes that name sizes, for chosen rows. */
static void resize(const Node *node, const Type *type, const Group *group, Attr *attrs,
                   int64_t *stop) {
  int shape = op_attr_index(node->op, "shape"), end = op_attr_index(node->op, "stop");
  if (shape >= 0)
    attrs[shape].ints = type->dim;
  for (int d = 0; end >= 0 && d < type->rank; d++)
    stop[d] = d >= group->first && d < group->past ? type->dim[d] : attrs[end].ints[d];
  if (end >= 0)
    attrs[end].ints = stop;
}

static void emit_narrow(Narrow *n, Builder *b, const Node *node) {
  Selection s = wanted(n, node).rows;
  Demand need[MOST_OPERANDS];
  Value *in[MOST_OPERANDS];
  CHECK(gives_rows(node, &s, need));
  for (int i = 0; i < node->n_in; i++)
    in[i] =
        need[i].kind == ROWS ? rows_of(n, b, node->in[i], &need[i].rows) : mapped(n, node->in[i]);
  Attr attrs[MAX_ATTRS];
  int64_t stop[MAX_RANK];
  memcpy(attrs, node->attrs, sizeof attrs);
  Type type = chosen_type(&node->out[0].type, &s);
  Group group = group_of(&node->out[0].type, &s);
  resize(node, &type, &group, attrs, stop);
  const Node *made = build_node_attrs(b, node->op, node->n_in, in, attrs);
  CHECK(type_equal(&made->out[0].type, &type));
  for (int i = 0; i < node->n_out; i++) {
    n->map.value[node->out[i].id] = &made->out[i];
    graph_name_value(n->map.to, &made->out[i], node->out[i].name);
  }
}

/* A selection whose operand is narrow: what is left are its other axes. */
static void emit_rest(Narrow *n, Builder *b, const Node *node) {
  Value *x = mapped(n, node->in[0]);
  const Type *type = &node->out[0].type;
  Attr attrs[MAX_ATTRS];
  int64_t ints[3][MAX_RANK];
  if (node->op->cls == OP_VIEW) {
    static const char *const names[] = {"start", "stop", "step"};
    memcpy(attrs, node->attrs, sizeof attrs);
    for (int a = 0; a < 3; a++) {
      Attr *attr = &attrs[op_attr_index(node->op, names[a])];
      for (int d = 0; d < type->rank; d++) {
        int64_t all[] = {0, type->dim[d], 1};
        ints[a][d] = x->type.dim[d] == type->dim[d] ? all[a] : attr->ints[d];
      }
      attr->ints = ints[a];
    }
    if (!type_equal(&x->type, type))
      x = &build_node_attrs(b, node->op, 1, &x, attrs)->out[0];
  }
  n->map.value[node->out[0].id] = build_reshape(b, x, type->rank, type->dim);
}

static void emit(Narrow *n, const Node *node) {
  if (n->done[node->id])
    return;
  n->done[node->id] = true;
  Builder b = {n->map.to, NULL, node->loc, node->stage, node->uncounted};
  Selection own;
  if (n->narrow[node->id]) {
    emit_narrow(n, &b, node);
  } else if (selects(node, &own) && is_narrow(n, node->in[0])) {
    emit_rest(n, &b, node);
  } else {
    for (int i = 0; i < node->n_in; i++)
      mapped(n, node->in[i]);
    graph_map_copy(&n->map, node);
  }
}

Graph *pass_narrow(PassContext *context, Graph *graph) {
  Arena *arena = context->arena;
  int nodes = graph->nodes.count + 1;
  Narrow n = {.graph = graph,
              .arena = arena,
              .demand = ARENA_ARRAY(arena, Demand, graph->n_values + 1),
              .narrow = ARENA_ARRAY(arena, bool, nodes),
              .stopped = ARENA_ARRAY(arena, bool, nodes),
              .done = ARENA_ARRAY(arena, bool, nodes)};
  do
    spread_demands(&n);
  while (stop_without_gain(&n));
  bool any = false;
  for (int i = 0; i < graph->nodes.count; i++)
    any |= n.narrow[i];
  if (!any)
    return graph;
  n.map = graph_map_start(graph, arena);
  for (int i = 0; i < graph->nodes.count; i++)
    if (wanted(&n, graph->nodes.at[i]).kind != NOTHING)
      emit(&n, graph->nodes.at[i]);
  return graph_without_dead(graph_map_finish(&n.map), arena);
}
