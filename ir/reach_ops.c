/* What ops read, by class and by the descriptions their attributes give: taps, slices, permutes,
 * axes. See reach.h.
 *
 * A rule takes one box of what is needed of the result and adds the boxes that are read of an
 * operand. What no rule describes is read as a whole, which is always true.
 */
#include "ir/op.h"
#include "ir/reach.h"
#include <string.h>

/* Adds what one box needs of operand `operand`; false: the whole operand. */
typedef bool BoxRule(const Node *node, int operand, const ReachBox *need, Reach *in, Arena *arena);

static void take_axis(ReachBox *to, int a, const ReachBox *from, int b) {
  to->start[a] = from->start[b];
  to->step[a] = from->step[b];
  to->count[a] = from->count[b];
}

static void take_whole_axis(ReachBox *to, int a, const Type *type) {
  to->start[a] = 0;
  to->step[a] = 1;
  to->count[a] = type->dim[a];
}

/* Leaves what lies in 0..size-1; false when that is nothing. */
static bool clip_axis(ReachBox *box, int a, int64_t size) {
  int64_t step = box->step[a], below = box->start[a] < 0 ? (-box->start[a] + step - 1) / step : 0;
  box->start[a] += below * step;
  box->count[a] -= below;
  if (box->start[a] >= size)
    return false;
  int64_t inside = (size - 1 - box->start[a]) / step + 1;
  box->count[a] = inside < box->count[a] ? inside : box->count[a];
  return box->count[a] > 0;
}

/* ---- rules ---- */

static bool same_place(const Node *node, int operand, const ReachBox *need, Reach *in,
                       Arena *arena) {
  (void)node, (void)operand;
  reach_add(arena, in, need);
  return true;
}

static bool through_permute(const Node *node, int operand, const ReachBox *need, Reach *in,
                            Arena *arena) {
  const int64_t *perm = node_ints(node, "perm", NULL);
  ReachBox box;
  (void)operand;
  for (int a = 0; a < in->type.rank; a++)
    take_axis(&box, (int)perm[a], need, a);
  reach_add(arena, in, &box);
  return true;
}

static bool through_broadcast(const Node *node, int operand, const ReachBox *need, Reach *in,
                              Arena *arena) {
  ReachBox box = *need;
  (void)node, (void)operand;
  for (int a = 0; a < in->type.rank; a++)
    if (in->type.dim[a] == 1)
      take_whole_axis(&box, a, &in->type);
  reach_add(arena, in, &box);
  return true;
}

static bool through_slice(const Node *node, int operand, const ReachBox *need, Reach *in,
                          Arena *arena) {
  const int64_t *start = node_ints(node, "start", NULL), *step = node_ints(node, "step", NULL);
  ReachBox box = *need;
  (void)operand;
  for (int a = 0; a < in->type.rank; a++) {
    box.start[a] = start[a] + need->start[a] * step[a];
    box.step[a] = need->step[a] * step[a];
  }
  reach_add(arena, in, &box);
  return true;
}

/* Runs of axes with equal products; a run in which both sides have the same axes but for those of
 * size 1 keeps what is needed of each, any other is read whole. */
static bool through_reshape(const Node *node, int operand, const ReachBox *need, Reach *in,
                            Arena *arena) {
  const Type *from = &in->type, *to = &node->out[0].type;
  ReachBox box;
  (void)operand;
  for (int i = 0, j = 0; i < from->rank || j < to->rank;) {
    int i0 = i, j0 = j;
    int64_t left = i < from->rank ? from->dim[i++] : 1, right = j < to->rank ? to->dim[j++] : 1;
    while (left != right)
      if (left < right)
        left *= from->dim[i++];
      else
        right *= to->dim[j++];
    bool same = true;
    int b = j0;
    for (int a = i0; a < i; a++) {
      take_whole_axis(&box, a, from);
      if (from->dim[a] == 1)
        continue;
      while (b < j && to->dim[b] == 1)
        b++;
      same &= b < j && to->dim[b] == from->dim[a];
      if (same)
        take_axis(&box, a, need, b++);
    }
    for (int a = i0; a < i && !same; a++)
      take_whole_axis(&box, a, from);
  }
  reach_add(arena, in, &box);
  return true;
}

static bool through_concat(const Node *node, int operand, const ReachBox *need, Reach *in,
                           Arena *arena) {
  int axis = (int)node_int(node, "axis");
  ReachBox box = *need;
  for (int i = 0; i < operand; i++)
    box.start[axis] -= node->in[i]->type.dim[axis];
  if (clip_axis(&box, axis, in->type.dim[axis]))
    reach_add(arena, in, &box);
  return true;
}

static bool through_pad(const Node *node, int operand, const ReachBox *need, Reach *in,
                        Arena *arena) {
  const int64_t *before = node_ints(node, "before", NULL), *step = node_ints(node, "step", NULL);
  ReachBox box = *need;
  (void)operand;
  for (int a = 0; a < in->type.rank; a++) {
    if (step[a] != 1) {
      take_whole_axis(&box, a, &in->type);
      continue;
    }
    box.start[a] -= before[a];
    if (!clip_axis(&box, a, in->type.dim[a]))
      return true;
  }
  reach_add(arena, in, &box);
  return true;
}

static bool through_fold(const Node *node, int operand, const ReachBox *need, Reach *in,
                         Arena *arena) {
  int n;
  const int64_t *axes = node_ints(node, "axes", &n);
  ReachBox box = *need;
  (void)operand;
  for (int i = 0; i < n; i++)
    take_whole_axis(&box, (int)axes[i], &in->type);
  reach_add(arena, in, &box);
  return true;
}

/* Adds operand 0 [N,A0,A1,A2,C] at (o + shift)*stride + tap for the places o of a box. */
static void add_taps(const Node *node, const ReachBox *made, const int64_t *shift,
                     const int64_t *stride, Reach *in, Arena *arena) {
  int n;
  const int64_t *taps = node_ints(node, "taps", &n);
  for (int t = 0; t < n && !reach_is_all(in); t += 3) {
    ReachBox box = *made;
    bool any = true;
    for (int a = 0; a < 3 && any; a++) {
      box.start[1 + a] = (made->start[1 + a] + shift[a]) * stride[a] + taps[t + a];
      box.step[1 + a] = made->step[1 + a] * stride[a];
      any = clip_axis(&box, 1 + a, in->type.dim[1 + a]);
    }
    if (any)
      reach_add(arena, in, &box);
  }
}

/* The places that are made: those needed of a result on a grid, or all of operand 1 where the op
 * sums over places; and where taps read what others (`then`) read, those seen from there. */
static bool through_taps(const Node *node, int operand, const ReachBox *need, Reach *in,
                         Arena *arena) {
  static const int64_t one[3] = {1, 1, 1}, none[3] = {0, 0, 0};
  const int64_t *stride = one, *then = none;
  bool sums_places = op_attr_index(node->op, "size") < 0;
  ReachBox made = *need;
  int shifts = 3;
  if (operand != 0 || in->type.rank != 5)
    return false;
  if (op_attr_index(node->op, "stride") >= 0)
    stride = node_ints(node, "stride", NULL);
  if (op_attr_index(node->op, "then") >= 0)
    then = node_ints(node, "then", &shifts);
  if (op_attr_index(node->op, "divisor") >= 0 &&
      memcmp(node_ints(node, "divisor", NULL), one, sizeof one) != 0)
    return false;
  for (int a = 0; a < 5 && sums_places; a++)
    take_whole_axis(&made, a, &node->in[1]->type);
  if (sums_places || node->op->cls == OP_CONTR)
    take_whole_axis(&made, 4, &in->type); /* channels */
  for (int s = 0; s < shifts; s += 3)
    add_taps(node, &made, then + s, stride, in, arena);
  return true;
}

/* Whatever is needed of the result: all components. */
static bool through_polyphase(const Node *node, int operand, const ReachBox *need, Reach *in,
                              Arena *arena) {
  int n, rank = in->type.rank;
  const int64_t *phases = node_ints(node, "phases", &n), *stride = node_ints(node, "stride", NULL);
  (void)operand, (void)need;
  for (int p = 0; p < n; p += rank) {
    ReachBox box;
    for (int a = 0; a < rank; a++) {
      box.start[a] = phases[p + a];
      box.step[a] = stride[a];
      box.count[a] = (in->type.dim[a] - phases[p + a] + stride[a] - 1) / stride[a];
    }
    reach_add(arena, in, &box);
  }
  return true;
}

/* The row of x, the column of y; what is summed over whole. y may be one matrix for all of a grid
 * of rows. */
static bool through_matmul(const Node *node, int operand, const ReachBox *need, Reach *in,
                           Arena *arena) {
  int rank = in->type.rank, grid = node->out[0].type.rank;
  bool turned = node_int(node, operand ? "tb" : "ta") != 0;
  int own = operand == turned ? rank - 2 : rank - 1; /* the axis that the result has too */
  ReachBox box;
  for (int a = 0; a < rank; a++)
    if (a < rank - 2 && rank == grid)
      take_axis(&box, a, need, a);
    else
      take_whole_axis(&box, a, &in->type);
  take_axis(&box, own, need, operand ? grid - 1 : grid - 2);
  reach_add(arena, in, &box);
  return true;
}

static BoxRule *rule_of(const Node *node) {
  static const struct {
    const char *op;
    BoxRule *rule;
  } rules[] = {{"permute", through_permute},     {"broadcast", through_broadcast},
               {"slice", through_slice},         {"reshape", through_reshape},
               {"concat", through_concat},       {"pad", through_pad},
               {"polyphase", through_polyphase}, {"matmul", through_matmul}};
  const Op *op = node->op;
  if (op->cls == OP_EW)
    return same_place;
  if (op->cls == OP_REDUCE)
    return through_fold;
  if (op_attr_index(op, "taps") >= 0)
    return through_taps;
  for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
    if (strcmp(rules[i].op, op->name) == 0)
      return rules[i].rule;
  return NULL;
}

void node_reach(const Node *node, const Reach *const *out, Reach *const *in, Arena *arena) {
  BoxRule *rule = rule_of(node);
  for (int i = 0; i < node->n_in; i++) {
    bool described = rule != NULL;
    for (int o = 0; o < node->n_out && described; o++)
      for (int b = 0; b < out[o]->boxes.count && described && !reach_is_all(in[i]); b++)
        described = rule(node, i, &out[o]->boxes.at[b], in[i], arena);
    if (!described)
      reach_add_all(arena, in[i]);
  }
}
