/* Carrying orders of axes through reshapes. See layout.h.
 *
 * A reshape splits into groups of axes with equal products. Where the axes of every group lie side
 * by side in base, base is reshaped and the order stays direct. Otherwise (rows of a grid whose
 * axes lie in another order) the reshape joins the order: the value is a reshape of a permute of
 * base. That is enough for ops that treat rows alike: elementwise ops, folds of whole groups, and
 * matrix products x*w, whose rows may come in any order, and x'y, which sums over rows.
 */
#include "passes/graph/layout.h"
#include <string.h>

typedef struct Group {
  int from, to;           /* axes of the shape before the reshape [from, to) */
  int made_from, made_to; /* axes of the shape after it */
} Group;

static int find_groups(const Type *x, const Type *result, Group *groups) {
  int count = 0;
  for (int i = 0, j = 0; i < x->rank || j < result->rank;) {
    Group group = {.from = i, .made_from = j};
    int64_t a = i < x->rank ? x->dim[i++] : 1, c = j < result->rank ? result->dim[j++] : 1;
    while (a != c)
      if (a < c)
        a *= x->dim[i++];
      else
        c *= result->dim[j++];
    group.to = i;
    group.made_to = j;
    groups[count++] = group;
  }
  return count;
}

/* ---- reshape and permute ---- */

/* Where a group's axes of size > 1 lie in base, counting only such axes: the first place, or -1 for
 * a group of size 1, or -2 when they do not lie side by side and in order. */
static int place_of(const Order *order, const Group *group) {
  int first = -1, n = 0;
  for (int k = group->from; k < group->to; k++) {
    if (order->view.dim[k] == 1)
      continue;
    int at = 0;
    for (int i = 0; i < order->view.rank; i++)
      at += order->view.dim[i] != 1 && order->perm[i] < order->perm[k];
    if (first >= 0 && at != first + n)
      return -2;
    if (first < 0)
      first = at;
    n++;
  }
  return first;
}

/* A run of axes of the new view that stays together in the new base. */
typedef struct Run {
  int place, first, count; /* place in the old base; axes of the new view */
} Run;

/* The new view: groups that lie together in base get their new axes, others keep their old ones. */
static int find_runs(const Order *old, const Type *result, Type *view, Run *runs) {
  Group groups[2 * MAX_RANK];
  int count = find_groups(&old->view, result, groups), n_runs = 0, rank = 0;
  int64_t dim[2 * MAX_RANK];
  for (int g = 0; g < count; g++) {
    const Group *group = &groups[g];
    int place = place_of(old, group);
    if (place != -2)
      runs[n_runs++] = (Run){place, rank, group->made_to - group->made_from};
    for (int j = group->made_from; j < group->made_to && place != -2; j++)
      dim[rank++] = result->dim[j];
    for (int k = group->from; k < group->to && place == -2; k++) {
      runs[n_runs++] = (Run){place_of(old, &(Group){.from = k, .to = k + 1}), rank, 1};
      dim[rank++] = old->view.dim[k];
    }
  }
  *view = (Type){.dtype = result->dtype, .rank = rank};
  if (rank <= MAX_RANK)
    memcpy(view->dim, dim, sizeof *dim * (size_t)rank);
  return n_runs;
}

/* Reshapes base as far as its axes allow; the rest of the reshape joins the order. */
bool layout_reshape(Layout *layout, Builder *b, const Node *old) {
  const Seen seen = *layout_seen(layout, old->in[0]);
  Order order;
  Run runs[2 * MAX_RANK];
  int n_runs = find_runs(&seen.order, &old->out[0].type, &order.view, runs), rank = 0;
  if (order.view.rank > MAX_RANK)
    return false;
  Type base = order.view, small;
  /* first the runs of size 1, then the others as they lie in base */
  for (int place = -1; place < seen.order.view.rank; place++)
    for (int r = 0; r < n_runs; r++)
      for (int i = 0; i < runs[r].count && runs[r].place == place; i++) {
        order.perm[runs[r].first + i] = rank;
        base.dim[rank++] = order.view.dim[runs[r].first + i];
      }
  CHECK(rank == order.view.rank);
  const Node *stretch = made_by(seen.base, "broadcast");
  if (stretch && !see_before_stretch(&stretch->in[0]->type, &seen.base->type, &base, &small))
    layout_set(layout, &old->out[0], seen.base, &seen.order); /* stays a stretch of little data */
  else
    layout_set(layout, &old->out[0], build_reshape(b, seen.base, rank, base.dim), &order);
  return true;
}

/* Changes the order only. Behind a reshape each axis must be a group of its own. */
bool layout_permute(Layout *layout, const Node *old) {
  const Seen seen = *layout_seen(layout, old->in[0]);
  const Type *type = &old->in[0]->type, *view = &seen.order.view;
  const int64_t *p = node_ints(old, "perm", NULL);
  Group groups[2 * MAX_RANK];
  Order order = {.view = {.dtype = view->dtype}};
  int count = find_groups(view, type, groups), of_axis[MAX_RANK];
  bool taken[MAX_RANK] = {0};
  for (int g = 0; g < count; g++) {
    if (groups[g].made_to - groups[g].made_from > 1)
      return false;
    if (groups[g].made_to > groups[g].made_from)
      of_axis[groups[g].made_from] = g;
  }
  for (int i = 0; i < type->rank; i++)
    for (int k = groups[of_axis[p[i]]].from; k < groups[of_axis[p[i]]].to; k++) {
      taken[k] = true;
      order.perm[order.view.rank] = seen.order.perm[k];
      order.view.dim[order.view.rank++] = view->dim[k];
    }
  for (int k = 0; k < view->rank; k++) /* axes of size 1 that the reshape drops */
    if (!taken[k]) {
      order.perm[order.view.rank] = seen.order.perm[k];
      order.view.dim[order.view.rank++] = view->dim[k];
    }
  layout_set(layout, &old->out[0], seen.base, &order);
  return true;
}

/* ---- folds and stretches behind a reshape ---- */

/* Folds over base where whole groups are folded. */
bool layout_reduce_folded(Layout *layout, Builder *b, const Node *old) {
  const Seen seen = *layout_seen(layout, old->in[0]);
  const Type *from = &old->in[0]->type, *to = &old->out[0].type;
  Group groups[2 * MAX_RANK];
  int count = find_groups(&seen.order.view, from, groups), n_axes = 0;
  bool axis_folded[MAX_RANK] = {0};
  Order order = seen.order;
  for (int g = 0; g < count; g++) {
    bool folded = false, kept = false;
    for (int axis = groups[g].made_from; axis < groups[g].made_to; axis++)
      if (from->dim[axis] != 1)
        *(to->dim[axis] == 1 ? &folded : &kept) = true;
    if (folded && kept)
      return false;
    for (int k = groups[g].from; k < groups[g].to && folded; k++) {
      axis_folded[order.perm[k]] = true;
      order.view.dim[k] = 1;
    }
  }
  int64_t axes[MAX_RANK];
  for (int i = 0; i < order.view.rank; i++)
    if (axis_folded[i])
      axes[n_axes++] = i;
  Value *base = build_reduce(b, old->op->name, seen.base, n_axes, axes);
  layout_set(layout, &old->out[0], base, &order);
  return true;
}

/* Stretches base where each stretched axis has an axis of size 1 in it. */
bool layout_broadcast_folded(Layout *layout, Builder *b, const Node *old) {
  const Seen seen = *layout_seen(layout, old->in[0]);
  const Type *from = &old->in[0]->type, *to = &old->out[0].type;
  Group groups[2 * MAX_RANK];
  int count = find_groups(&seen.order.view, from, groups);
  Order order = seen.order;
  for (int g = 0; g < count; g++)
    for (int axis = groups[g].made_from; axis < groups[g].made_to; axis++) {
      if (from->dim[axis] == to->dim[axis])
        continue;
      if (groups[g].made_to - groups[g].made_from != 1 || groups[g].from == groups[g].to)
        return false;
      order.view.dim[groups[g].from] = to->dim[axis];
    }
  int64_t dim[MAX_RANK];
  for (int i = 0; i < order.view.rank; i++)
    dim[order.perm[i]] = order.view.dim[i];
  layout_set(layout, &old->out[0], build_broadcast(b, seen.base, order.view.rank, dim), &order);
  return true;
}

/* ---- products ---- */

/* Is the value a matrix of rows in some order, with its columns last in base? */
static bool has_rows(const Order *order, const Type *type) {
  int last = order->view.rank - 1;
  return type->rank == 2 && last >= 1 && order->view.dim[last] == type->dim[1] &&
         order->perm[last] == last;
}

static Order with_columns(const Order *order, int64_t columns) {
  Order result = *order;
  result.view.dim[result.view.rank - 1] = columns;
  return result;
}

/* The matrix with rows in this order. */
static Value *rows_in(Layout *layout, Builder *b, const Value *old, const Order *order) {
  Order own = with_columns(order, old->type.dim[1]);
  return build_reshape(b, layout_get(layout, b, old, &own), 2, old->type.dim);
}

/* x*w: rows of the result come in the order of x's. */
static bool rows_of_product(Layout *layout, Builder *b, const Node *old) {
  const Order order = layout_seen(layout, old->in[0])->order;
  if (node_int(old, "ta") || !has_rows(&order, &old->in[0]->type))
    return false;
  Value *in[] = {layout_get(layout, b, old->in[0], &order),
                 layout_get_plain(layout, b, old->in[1])};
  Value *product = &build_node_attrs(b, old->op, 2, in, old->attrs)->out[0];
  Order result = with_columns(&order, old->out[0].type.dim[1]);
  layout_set(layout, &old->out[0], product, &result);
  return true;
}

/* x'y: both with their rows in the cheaper of the two orders. */
static bool sum_over_rows(Layout *layout, Builder *b, const Node *old) {
  if (!node_int(old, "ta") || node_int(old, "tb"))
    return false;
  const Value *x = old->in[0], *y = old->in[1];
  Order best = {0};
  int best_cost = -1;
  for (int i = 0; i < 2; i++) {
    const Order *order = &layout_seen(layout, old->in[i])->order;
    if (!has_rows(order, &old->in[i]->type))
      continue;
    Order of_x = with_columns(order, x->type.dim[1]), of_y = with_columns(order, y->type.dim[1]);
    int cost = layout_cost(layout, x, &of_x) + layout_cost(layout, y, &of_y);
    if (best_cost < 0 || cost < best_cost) {
      best_cost = cost;
      best = *order;
    }
  }
  if (best_cost < 0)
    return false;
  Value *in[] = {rows_in(layout, b, x, &best), rows_in(layout, b, y, &best)};
  Order plain = order_of_author(&old->out[0].type);
  layout_set(layout, &old->out[0], &build_node_attrs(b, old->op, 2, in, old->attrs)->out[0],
             &plain);
  return true;
}

bool layout_matmul(Layout *layout, Builder *b, const Node *old) {
  return rows_of_product(layout, b, old) || sum_over_rows(layout, b, old);
}
