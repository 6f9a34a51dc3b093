/* Channels last, and permutes that are carried along instead of executed.
 *
 * A forward walk keeps for each value of the old graph a value of the new one and the order of its
 * axes (Order): a permute of the author only changes that order, spatial ops make results with
 * channels last, and elementwise ops, reductions, broadcasts, slices, reshapes and row-wise
 * products work in the order their operand happens to have. Data moves only where an op insists on
 * an order, where two orders meet, and at outputs. graph_count_moves tells how often that happened.
 */
#include "passes/graph/layout.h"
#include <string.h>

/* ---- orders ---- */

static bool same_dims(const Type *a, const Type *b) {
  return a->rank == b->rank && memcmp(a->dim, b->dim, sizeof *a->dim * (size_t)a->rank) == 0;
}

Order order_of_author(const Type *type) {
  Order order = {.view = *type};
  for (int i = 0; i < type->rank; i++)
    order.perm[i] = i;
  return order;
}

Order order_direct(const Type *type, const int64_t *perm) {
  Order order = {.view = *type};
  memcpy(order.perm, perm, sizeof *perm * (size_t)type->rank);
  return order;
}

bool order_is_direct(const Order *order, const Type *type) { return same_dims(&order->view, type); }

bool order_is_authors(const Order *order, const Type *type) {
  for (int i = 0; i < order->view.rank; i++)
    if (order->perm[i] != i)
      return false;
  return order_is_direct(order, type);
}

/* The permutation p with permute(permute(base, p), to) = permute(base, from). */
static void between(int rank, const int64_t *from, const int64_t *to, int64_t *p) {
  for (int i = 0; i < rank; i++)
    p[to[i]] = from[i];
}

Value *layout_get_plain(Layout *layout, Builder *b, const Value *old) {
  const Seen *seen = layout_seen(layout, old);
  Value *value = build_move(b, seen->base, seen->order.perm);
  return build_reshape(b, value, old->type.rank, old->type.dim);
}

Value *layout_get(Layout *layout, Builder *b, const Value *old, const Order *order) {
  const Seen *seen = layout_seen(layout, old);
  int rank = order->view.rank;
  int64_t p[MAX_RANK];
  if (same_dims(&seen->order.view, &order->view)) {
    between(rank, seen->order.perm, order->perm, p);
    return build_move(b, seen->base, p);
  }
  Value *value = build_reshape(b, layout_get_plain(layout, b, old), rank, order->view.dim);
  Order author = order_of_author(&order->view);
  between(rank, author.perm, order->perm, p);
  return build_move(b, value, p);
}

static const char *shape_key(const Layout *layout, const Type *type) {
  Type shape = *type;
  shape.dtype = DT_f32;
  return arena_strdup(layout->arena, type_text(&shape));
}

static bool is_stretched(const Value *value) {
  const Node *node = made_by(value, "broadcast");
  return node && type_elements(&node->in[0]->type) * 2 <= type_elements(&value->type);
}

void layout_set(Layout *layout, const Value *old, Value *base, const Order *order) {
  *layout_seen(layout, old) = (Seen){base, *order};
  if (layout->data[old->id] && !is_stretched(base))
    map_set(&layout->usual, shape_key(layout, &old->type),
            arena_copy(layout->arena, order, sizeof *order));
}

static void set_plain(Layout *layout, const Value *old, Value *value) {
  Order order = order_of_author(&old->type);
  layout_set(layout, old, value, &order);
}

/* ---- choosing an order where operands meet ---- */

/* A move of a stretched tensor acts on what is stretched, and one of a constant vanishes. */
int layout_cost(const Layout *layout, const Value *old, const Order *order) {
  const Seen *seen = layout_seen(layout, old);
  const Order author = order_of_author(&order->view);
  int one = layout->data[old->id] ? 4 : 1, rank = order->view.rank;
  int64_t p[MAX_RANK];
  Type small;
  if (is_splat(seen->base, NULL))
    return 0;
  if (same_dims(&seen->order.view, &order->view)) {
    between(rank, seen->order.perm, order->perm, p);
    return is_stretched(seen->base) || moves_nothing(&seen->base->type, p) ? 0 : one;
  }
  bool plain = order_is_authors(&seen->order, &old->type);
  if (is_stretched(seen->base) && plain)
    return see_before_stretch(&seen->base->node->in[0]->type, &old->type, &order->view, &small)
               ? 0
               : one;
  between(rank, author.perm, order->perm, p);
  return (plain || moves_nothing(&seen->base->type, seen->order.perm) ? 0 : one) +
         (moves_nothing(&order->view, p) ? 0 : one);
}

/* The cheapest among the orders of the operands, the usual one for such tensors, and the author's.
 * When equal: the usual one if nothing moves (stretched operands fit any order, and what is made of
 * them will meet others of that shape), a direct one, the author's, one behind a reshape. */
static Order choose_order(const Layout *layout, const Node *node, bool direct_only) {
  const Type *type = &node->in[0]->type;
  const Order *usual = map_get(&layout->usual, shape_key(layout, type));
  Order best = order_of_author(type);
  int best_cost = -1;
  for (int candidate = -2; candidate < node->n_in; candidate++) {
    Order order = order_of_author(type);
    if (candidate == -2 && usual)
      order = *usual;
    else if (candidate >= 0)
      order = layout_seen(layout, node->in[candidate])->order;
    bool direct = order_is_direct(&order, type);
    if (direct_only && !direct)
      continue;
    int cost = 0;
    for (int i = 0; i < node->n_in; i++)
      cost += 8 * layout_cost(layout, node->in[i], &order);
    if (cost > 0 || candidate != -2 || !usual)
      cost += order_is_authors(&order, type) ? 2 : direct ? 1 : 3;
    if (best_cost < 0 || cost < best_cost) {
      best_cost = cost;
      best = order;
    }
  }
  return best;
}

/* ---- ops in a foreign order ---- */

/* Everything in the author's order. */
static void keep(Layout *layout, Builder *b, const Node *old) {
  Value **in = ARENA_ARRAY(layout->arena, Value *, old->n_in + 1);
  for (int i = 0; i < old->n_in; i++)
    in[i] = layout_get_plain(layout, b, old->in[i]);
  Node *node = old->body ? build_region(b, old->n_in, in, old->body)
                         : build_node_attrs(b, old->op, old->n_in, in, old->attrs);
  for (int i = 0; i < old->n_out; i++)
    set_plain(layout, &old->out[i], &node->out[i]);
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

/* The same op in another order: elementwise ops in any, the others in direct ones. */
static void carry(Layout *layout, Builder *b, const Node *old, const Order *order) {
  Attr attrs[MAX_ATTRS] = {0};
  bool elementwise = old->op->cls == OP_EW;
  if (elementwise)
    memcpy(attrs, old->attrs, sizeof attrs);
  else
    reorder_attrs(layout, old, order->perm, attrs);
  Value **in = ARENA_ARRAY(layout->arena, Value *, old->n_in + 1);
  for (int i = 0; i < old->n_in; i++)
    in[i] = layout_get(layout, b, old->in[i], order);
  Node *node = build_node_attrs(b, old->op, old->n_in, in, attrs);
  Order result = elementwise ? *order : order_direct(&old->out[0].type, order->perm);
  result.view.dtype = old->out[0].type.dtype;
  layout_set(layout, &old->out[0], &node->out[0], &result);
}

/* ---- the walk ---- */

static bool all_authors(const Layout *layout, const Node *old) {
  for (int i = 0; i < old->n_in; i++)
    if (!order_is_authors(&layout_seen(layout, old->in[i])->order, &old->in[i]->type))
      return false;
  return true;
}

/* Nothing but stretched tensors and constants: these go with any order. */
static bool all_stretched(const Layout *layout, const Node *old) {
  for (int i = 0; i < old->n_in; i++) {
    const Value *base = layout_seen(layout, old->in[i])->base;
    if (!is_stretched(base) && !is_splat(base, NULL))
      return false;
  }
  return old->n_in > 0;
}

/* Ops with one number or axis an axis: direct orders only, except where a rule knows better. */
static bool carry_direct(Layout *layout, Builder *b, const Node *old) {
  const Value *x = old->in[0];
  if (!order_is_direct(&layout_seen(layout, x)->order, &x->type) && old->n_in == 1) {
    if (old->op->cls == OP_REDUCE)
      return layout_reduce_folded(layout, b, old);
    if (made_by(&old->out[0], "broadcast"))
      return layout_broadcast_folded(layout, b, old);
  }
  Order order = choose_order(layout, old, true);
  carry(layout, b, old, &order);
  return true;
}

static void place(Layout *layout, Builder *b, const Node *old) {
  bool done = true;
  if (old->op->flags & OPF_SPATIAL) {
    layout_spatial(layout, b, old);
  } else if (made_by(&old->out[0], "permute")) {
    done = layout_permute(layout, old);
  } else if (made_by(&old->out[0], "reshape")) {
    done = layout_reshape(layout, b, old);
  } else if (all_authors(layout, old) && !all_stretched(layout, old)) {
    done = false;
  } else if (made_by(&old->out[0], "matmul")) {
    done = layout_matmul(layout, b, old);
  } else if (old->op->cls == OP_EW) {
    Order order = choose_order(layout, old, false);
    carry(layout, b, old, &order);
  } else if (old->op->cls == OP_REDUCE || old->op->cls == OP_MOVE || old->op->cls == OP_VIEW) {
    done = carry_direct(layout, b, old);
  } else {
    done = false;
  }
  if (!done)
    keep(layout, b, old);
}

Graph *pass_layout(PassContext *context, Graph *graph) {
  Arena *arena = context->arena;
  GraphMap map = graph_map_start(graph, arena);
  Layout layout = {
      arena, ARENA_ARRAY(arena, Seen, graph->n_values + 1), graph_mark_data(graph, arena), {0}};
  map_init(&layout.usual, arena);
  for (int i = 0; i < graph->inputs.count; i++) {
    const Value *old = graph->inputs.at[i].value;
    set_plain(&layout, old, map.value[old->id]);
  }
  for (int i = 0; i < graph->nodes.count; i++) {
    const Node *old = graph->nodes.at[i];
    Builder b = {map.to, NULL, old->loc, old->stage, old->uncounted};
    int before = map.to->n_values;
    place(&layout, &b, old);
    for (int j = 0; j < old->n_out; j++) {
      Value *base = layout_seen(&layout, &old->out[j])->base;
      if (base->id >= before) /* made just now, not an older one in another order */
        graph_name_value(map.to, base, old->out[j].name);
    }
  }
  for (int i = 0; i < graph->outputs.count; i++) {
    const GraphOutput *output = &graph->outputs.at[i];
    const Node *node = output->value->node;
    Builder b = {map.to, NULL, output->loc, node ? node->stage : NULL, true};
    map.value[output->value->id] = layout_get_plain(&layout, &b, output->value);
  }
  return graph_without_dead(graph_map_finish(&map), arena);
}
