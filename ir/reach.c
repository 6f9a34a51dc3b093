/* Sets of indices as unions of boxes, and the walk that carries them to a graph's inputs. See
 * reach.h.
 *
 * The walk goes backwards over the nodes: what is needed of a node's results says what the node
 * reads of its operands. A union that would take too many boxes becomes the one box around them.
 */
#include "ir/reach.h"
#include "ir/op.h"
#include <string.h>

/* ---- boxes ---- */

static int64_t last_index(const ReachBox *box, int axis) {
  return box->start[axis] + (box->count[axis] - 1) * box->step[axis];
}

/* Along one axis, are the indices of `inner` among those of `outer`? */
static bool axis_within(const ReachBox *inner, const ReachBox *outer, int a) {
  return inner->start[a] >= outer->start[a] && last_index(inner, a) <= last_index(outer, a) &&
         (inner->start[a] - outer->start[a]) % outer->step[a] == 0 &&
         (inner->count[a] == 1 || inner->step[a] % outer->step[a] == 0);
}

static bool within(const ReachBox *inner, const ReachBox *outer, int rank) {
  for (int a = 0; a < rank; a++)
    if (!axis_within(inner, outer, a))
      return false;
  return true;
}

static int64_t divisor(int64_t a, int64_t b) {
  while (b) {
    int64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a < 0 ? -a : a;
}

/* The smallest sequence with the indices of both. */
static void join_axis(const ReachBox *x, const ReachBox *y, int a, ReachBox *box) {
  int64_t first = x->start[a] < y->start[a] ? x->start[a] : y->start[a];
  int64_t end = last_index(x, a) > last_index(y, a) ? last_index(x, a) : last_index(y, a);
  int64_t step = divisor(x->start[a] - y->start[a], 0);
  step = divisor(step, x->count[a] > 1 ? x->step[a] : 0);
  step = divisor(step, y->count[a] > 1 ? y->step[a] : 0);
  box->start[a] = first;
  box->step[a] = step ? step : 1;
  box->count[a] = (end - first) / box->step[a] + 1;
}

static ReachBox join(const ReachBox *x, const ReachBox *y, int rank) {
  ReachBox box;
  for (int a = 0; a < rank; a++)
    join_axis(x, y, a, &box);
  return box;
}

/* Two sequences that are one together: no gap between them, none within their overlap. */
static bool joins_exactly(const ReachBox *x, const ReachBox *y, int a) {
  ReachBox both;
  join_axis(x, y, a, &both);
  int64_t from = x->start[a] > y->start[a] ? x->start[a] : y->start[a], common = 0;
  int64_t to = last_index(x, a) < last_index(y, a) ? last_index(x, a) : last_index(y, a);
  bool even = (x->count[a] == 1 || x->step[a] == both.step[a]) &&
              (y->count[a] == 1 || y->step[a] == both.step[a]);
  if (to >= from && even)
    common = (to - from) / both.step[a] + 1;
  return x->count[a] + y->count[a] - common == both.count[a];
}

/* Boxes that differ along one axis, on which both together are one sequence, become one. */
static bool join_boxes(ReachBox *x, const ReachBox *y, int rank) {
  int differ = -1;
  for (int a = 0; a < rank; a++) {
    if (axis_within(x, y, a) && axis_within(y, x, a))
      continue;
    if (differ >= 0)
      return false;
    differ = a;
  }
  if (differ < 0 || !joins_exactly(x, y, differ))
    return false;
  *x = join(x, y, rank);
  return true;
}

static void drop_box(Reach *reach, int i) {
  reach->boxes.at[i] = reach->boxes.at[--reach->boxes.count];
}

void reach_add(Arena *arena, Reach *reach, const ReachBox *box) {
  ReachBox fresh = *box;
  int rank = reach->type.rank;
  for (int i = 0; i < reach->boxes.count; i++) {
    if (within(&fresh, &reach->boxes.at[i], rank))
      return;
    if (within(&reach->boxes.at[i], &fresh, rank)) {
      drop_box(reach, i--);
    } else if (join_boxes(&fresh, &reach->boxes.at[i], rank)) {
      drop_box(reach, i);
      i = -1; /* what it has become may swallow earlier ones */
    }
  }
  if (reach->boxes.count == REACH_BOXES) {
    for (int i = 0; i < REACH_BOXES; i++)
      fresh = join(&fresh, &reach->boxes.at[i], rank);
    reach->boxes.count = 0;
  }
  vec_push(arena, &reach->boxes, fresh);
}

void reach_add_all(Arena *arena, Reach *reach) {
  ReachBox box;
  for (int a = 0; a < reach->type.rank; a++) {
    box.start[a] = 0;
    box.step[a] = 1;
    box.count[a] = reach->type.dim[a];
    if (box.count[a] == 0)
      return;
  }
  reach->boxes.count = 0;
  vec_push(arena, &reach->boxes, box);
}

bool reach_is_all(const Reach *reach) {
  for (int a = 0; a < reach->type.rank; a++)
    if (reach->boxes.count != 1 || reach->boxes.at[0].count[a] != reach->type.dim[a])
      return false;
  return reach->boxes.count == 1;
}

/* ---- questions ---- */

static bool axis_has(const ReachBox *box, int a, int64_t index) {
  return index >= box->start[a] && index <= last_index(box, a) &&
         (index - box->start[a]) % box->step[a] == 0;
}

bool reach_has(const Reach *reach, const int64_t *index) {
  for (int i = 0; i < reach->boxes.count; i++) {
    bool inside = true;
    for (int a = 0; a < reach->type.rank; a++)
      inside &= axis_has(&reach->boxes.at[i], a, index[a]);
    if (inside)
      return true;
  }
  return false;
}

/* Indices along axes from `axis` on that are in one of the boxes of the mask. Boxes that hold the
 * same indices of this axis share the count of what follows. */
static int64_t count_from(const Reach *reach, int axis, uint64_t boxes) {
  if (!boxes)
    return 0;
  if (axis == reach->type.rank)
    return 1;
  uint64_t seen[REACH_BOXES];
  int64_t counts[REACH_BOXES], total = 0;
  int known = 0;
  for (int64_t index = 0; index < reach->type.dim[axis]; index++) {
    uint64_t here = 0;
    for (int i = 0; i < reach->boxes.count; i++)
      if (boxes >> i & 1 && axis_has(&reach->boxes.at[i], axis, index))
        here |= (uint64_t)1 << i;
    int k = 0;
    while (k < known && seen[k] != here)
      k++;
    int64_t count = k < known ? counts[k] : count_from(reach, axis + 1, here);
    if (k == known && known < REACH_BOXES) {
      seen[known] = here;
      counts[known++] = count;
    }
    total += count;
  }
  return total;
}

int64_t reach_elements(const Reach *reach) {
  int n = reach->boxes.count;
  return reach_is_all(reach)
             ? type_elements(&reach->type)
             : count_from(reach, 0, n == REACH_BOXES ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1);
}

/* ---- the walk ---- */

static Reach *none_of(const Type *type, Arena *arena) {
  Reach *reach = ARENA_NEW(arena, Reach);
  reach->type = *type;
  return reach;
}

static void region_reach(const Node *node, const Reach *const *out, Reach *const *in, Arena *arena);

/* needed[value id]; NULL: nothing. Fills in what follows for all values of the graph. */
static void walk(const Graph *graph, Reach **needed, Arena *arena) {
  for (int n = graph->nodes.count - 1; n >= 0; n--) {
    const Node *node = graph->nodes.at[n];
    const Reach **out = ARENA_ARRAY(arena, const Reach *, node->n_out + 1);
    Reach **in = ARENA_ARRAY(arena, Reach *, node->n_in + 1);
    bool any = false;
    for (int i = 0; i < node->n_out; i++) {
      out[i] = needed[node->out[i].id];
      any |= out[i] != NULL;
      if (!out[i])
        out[i] = none_of(&node->out[i].type, arena);
    }
    if (!any)
      continue;
    for (int i = 0; i < node->n_in; i++) {
      Reach **slot = &needed[node->in[i]->id];
      if (!*slot)
        *slot = none_of(&node->in[i]->type, arena);
      in[i] = *slot;
    }
    if (node->op->cls == OP_REGION)
      region_reach(node, out, in, arena);
    else
      node_reach(node, out, in, arena);
  }
}

/* A region reads what its body reads. */
static void region_reach(const Node *node, const Reach *const *out, Reach *const *in,
                         Arena *arena) {
  const Graph *body = node->body;
  Reach **needed = ARENA_ARRAY(arena, Reach *, body->n_values + 1);
  for (int i = 0; i < body->outputs.count; i++) {
    Reach **slot = &needed[body->outputs.at[i].value->id];
    if (!*slot)
      *slot = none_of(&out[i]->type, arena);
    for (int b = 0; b < out[i]->boxes.count; b++)
      reach_add(arena, *slot, &out[i]->boxes.at[b]);
  }
  walk(body, needed, arena);
  for (int i = 0; i < node->n_in; i++) {
    const Reach *inner = needed[body->inputs.at[i].value->id];
    for (int b = 0; inner && b < inner->boxes.count; b++)
      reach_add(arena, in[i], &inner->boxes.at[b]);
  }
}

Reach *graph_reach(const Graph *graph, Arena *arena) {
  Reach **needed = ARENA_ARRAY(arena, Reach *, graph->n_values + 1);
  Reach *inputs = ARENA_ARRAY(arena, Reach, graph->inputs.count + 1);
  for (int i = 0; i < graph->outputs.count; i++) {
    Value *value = graph->outputs.at[i].value;
    needed[value->id] = none_of(&value->type, arena);
    reach_add_all(arena, needed[value->id]);
  }
  walk(graph, needed, arena);
  for (int i = 0; i < graph->inputs.count; i++) {
    const Value *value = graph->inputs.at[i].value;
    inputs[i] = needed[value->id] ? *needed[value->id] : *none_of(&value->type, arena);
  }
  return inputs;
}
