/* Spatial ops as tap ops on channels-last tensors. See layout.c and the head of ir/ops.def.
 *
 * The author's grid axes may lie in the operand in any order: a tap op does not care, as long as
 * its taps, strides and sizes name them in the same order. Tap numbers and weights keep the
 * author's order of taps (row-major over the kernel), so nothing else changes. Weights go from
 * [O,C,k0,k1,k2] to [T,C,O], or [T,C] when each channel has its own kernel; other numbers of groups
 * become slices.
 */
#include "passes/graph/layout.h"
#include <string.h>

/* What the handlers share about one node. */
typedef struct Spatial {
  Layout *layout;
  Builder *b;
  const Node *old;
  int place[3];              /* where the author's grid axis a lies among base's grid axes */
  int64_t perm[5];           /* axis i of a value is axis perm[i] of base, [N,grid,C] */
  int64_t unit[3];           /* 1,1,1 */
  int64_t stride[3];         /* in base's order */
  int64_t kernel[3], pad[3]; /* in the author's order */
  int64_t size[3];           /* the result's grid in base's order */
  int64_t *taps;             /* 3 * n_taps, in base's order */
  int n_taps;
  int64_t groups;
} Spatial;

/* Grid axes stay in the order in which they lie in operand 0. */
static void find_places(Spatial *s) {
  const Value *x = s->old->in[0];
  Order order = layout_seen(s->layout, x)->order;
  if (!order_is_direct(&order, &x->type))
    order = order_of_author(&x->type);
  s->perm[0] = 0;
  s->perm[1] = 4;
  for (int a = 0; a < 3; a++) {
    for (int other = 0; other < 3; other++)
      s->place[a] += order.perm[2 + other] < order.perm[2 + a];
    s->perm[2 + a] = 1 + s->place[a];
  }
}

/* One number a grid axis, from the author's order to base's. */
static void to_base(const Spatial *s, const int64_t *author, int64_t *base) {
  for (int a = 0; a < 3; a++)
    base[s->place[a]] = author[a];
}

/* All offsets of the kernel; sign -1 for gradients with respect to the operand. */
static void find_taps(Spatial *s, int sign) {
  int64_t k[3], *tap;
  s->n_taps = (int)(s->kernel[0] * s->kernel[1] * s->kernel[2]);
  tap = s->taps = ARENA_ARRAY(s->layout->arena, int64_t, 3 * s->n_taps);
  for (k[0] = 0; k[0] < s->kernel[0]; k[0]++)
    for (k[1] = 0; k[1] < s->kernel[1]; k[1]++)
      for (k[2] = 0; k[2] < s->kernel[2]; k[2]++, tap += 3)
        for (int a = 0; a < 3; a++)
          tap[s->place[a]] = sign * (k[a] - s->pad[a]);
}

static Spatial spatial(Layout *layout, Builder *b, const Node *old, const int64_t *kernel,
                       int sign) {
  Spatial s = {.layout = layout, .b = b, .old = old, .unit = {1, 1, 1}, .groups = 1};
  find_places(&s);
  memcpy(s.kernel, kernel, sizeof s.kernel);
  memcpy(s.pad, node_ints(old, "pad", NULL), sizeof s.pad);
  to_base(&s, node_ints(old, "stride", NULL), s.stride);
  if (old->out[0].type.rank == 5)
    to_base(&s, old->out[0].type.dim + 2, s.size);
  if (op_attr_index(old->op, "groups") >= 0)
    s.groups = node_int(old, "groups");
  find_taps(&s, sign);
  return s;
}

static Value *operand(const Spatial *s, int i) {
  Order order = order_direct(&s->old->in[i]->type, s->perm);
  return layout_get(s->layout, s->b, s->old->in[i], &order);
}

static void set_result(const Spatial *s, int i, Value *base) {
  Order order = order_direct(&s->old->out[i].type, s->perm);
  layout_set(s->layout, &s->old->out[i], base, &order);
}

static Value *slice_axis(Builder *b, Value *x, int axis, int64_t start, int64_t stop) {
  int64_t from[MAX_RANK] = {0}, to[MAX_RANK], step[MAX_RANK];
  int rank = x->type.rank;
  for (int i = 0; i < rank; i++) {
    to[i] = x->type.dim[i];
    step[i] = 1;
  }
  from[axis] = start;
  to[axis] = stop;
  return &build_node(b, "slice", 1, &x, "start", rank, from, "stop", rank, to, "step", rank, step,
                     NULL)
              ->out[0];
}

/* Part g of `parts` equal ones along an axis. */
static Value *part(Builder *b, Value *x, int axis, int64_t g, int64_t parts) {
  int64_t size = x->type.dim[axis] / parts;
  return parts == 1 ? x : slice_axis(b, x, axis, g * size, (g + 1) * size);
}

static Value *concat(Builder *b, int count, Value *const *in, int axis) {
  if (count == 1)
    return in[0];
  return &build_node(b, "concat", count, in, "axis", (int64_t)axis, NULL)->out[0];
}

/* ---- convolutions ---- */

/* One weight a tap and channel: as many groups as channels on both sides. */
static bool is_depthwise(const Spatial *s, int64_t channels, int64_t outputs) {
  return s->groups > 1 && s->groups == channels && s->groups == outputs;
}

static Value *tap_op(const Spatial *s, const char *op, Value *x, Value *w, const int64_t *stride,
                     const int64_t *divisor) {
  Value *in[] = {x, w};
  return &build_node(s->b, op, 2, in, "taps", 3 * s->n_taps, s->taps, "stride", 3, stride,
                     "divisor", 3, divisor, "size", 3, s->size, NULL)
              ->out[0];
}

/* conv3d and conv3d_grad_input: `order` says where w's axes go in [k0,k1,k2,read,made]. */
static void convolve(Layout *layout, Builder *b, const Node *old, bool backwards) {
  static const int64_t forward_order[] = {4, 3, 0, 1, 2}, backward_order[] = {3, 4, 0, 1, 2};
  const Type *wt = &old->in[1]->type;
  Spatial s = spatial(layout, b, old, wt->dim + 2, backwards ? -1 : 1);
  const int64_t *stride = backwards ? s.unit : s.stride, *divisor = backwards ? s.stride : s.unit;
  Value *x = operand(&s, 0);
  Order order = order_direct(wt, backwards ? backward_order : forward_order);
  Value *w = layout_get(layout, b, old->in[1], &order);
  int64_t read = w->type.dim[3], made = w->type.dim[4];
  if (is_depthwise(&s, x->type.dim[4], old->out[0].type.dim[1])) {
    w = build_reshape(b, w, 2, (int64_t[]){s.n_taps, s.groups});
    set_result(&s, 0, tap_op(&s, "tap_depthwise", x, w, stride, divisor));
    return;
  }
  /* w has all groups along O: forwards that is what is made, backwards what is read */
  int w_axis = backwards ? 1 : 2;
  w = build_reshape(b, w, 3, (int64_t[]){s.n_taps, read, made});
  Value **parts = ARENA_ARRAY(layout->arena, Value *, s.groups);
  for (int64_t g = 0; g < s.groups; g++)
    parts[g] = tap_op(&s, "tap_conv", part(b, x, 4, g, s.groups), part(b, w, w_axis, g, s.groups),
                      stride, divisor);
  set_result(&s, 0, concat(b, (int)s.groups, parts, 4));
}

static void conv3d(Layout *layout, Builder *b, const Node *old) { convolve(layout, b, old, false); }

static void conv3d_grad_input(Layout *layout, Builder *b, const Node *old) {
  convolve(layout, b, old, true);
}

/* The result is moved to the author's order at once: it meets parameters and optimizer state. */
static void conv3d_grad_weight(Layout *layout, Builder *b, const Node *old) {
  static const int64_t author_order[] = {4, 3, 0, 1, 2};
  Spatial s = spatial(layout, b, old, node_ints(old, "kernel", NULL), 1);
  Value *x = operand(&s, 0), *dy = operand(&s, 1), *dw;
  int64_t channels = x->type.dim[4], outputs = dy->type.dim[4];
  bool depthwise = is_depthwise(&s, channels, outputs);
  int n_parts = depthwise ? 1 : (int)s.groups;
  const char *op = depthwise ? "tap_depthwise_grad_weight" : "tap_conv_grad_weight";
  Value **parts = ARENA_ARRAY(layout->arena, Value *, n_parts);
  for (int g = 0; g < n_parts; g++) {
    Value *in[] = {part(b, x, 4, g, n_parts), part(b, dy, 4, g, n_parts)};
    parts[g] = &build_node(b, op, 2, in, "taps", 3 * s.n_taps, s.taps, "stride", 3, s.stride, NULL)
                    ->out[0];
  }
  dw = concat(b, n_parts, parts, 2);
  int64_t dim[] = {s.kernel[0], s.kernel[1], s.kernel[2], channels / s.groups, outputs};
  dw = build_reshape(b, dw, 5, dim);
  Order order = order_of_author(&old->out[0].type);
  layout_set(layout, &old->out[0], build_move(b, dw, author_order), &order);
}

/* ---- pools ---- */

static void max_pool(Layout *layout, Builder *b, const Node *old) {
  Spatial s = spatial(layout, b, old, node_ints(old, "kernel", NULL), 1);
  Value *x = operand(&s, 0);
  Node *node = build_node(b, "tap_max", 1, &x, "taps", 3 * s.n_taps, s.taps, "stride", 3, s.stride,
                          "size", 3, s.size, NULL);
  set_result(&s, 0, &node->out[0]);
  set_result(&s, 1, &node->out[1]);
}

static void max_pool_grad(Layout *layout, Builder *b, const Node *old) {
  Spatial s = spatial(layout, b, old, node_ints(old, "kernel", NULL), -1);
  Value *in[] = {operand(&s, 0), operand(&s, 1)};
  Node *node = build_node(b, "tap_max_grad", 2, in, "taps", 3 * s.n_taps, s.taps, "divisor", 3,
                          s.stride, "size", 3, s.size, NULL);
  set_result(&s, 0, &node->out[0]);
}

static Value *tap_sum(const Spatial *s, Value *x, const int64_t *stride, const int64_t *divisor,
                      const int64_t *size) {
  return &build_node(s->b, "tap_sum", 1, &x, "taps", 3 * s->n_taps, s->taps, "stride", 3, stride,
                     "divisor", 3, divisor, "size", 3, size, NULL)
              ->out[0];
}

/* One over how many elements of each window lie inside the grid `from` (author's order, as `to`,
 * the grid of windows): a constant without padding, else computed from a tensor of ones. */
static Value *inverse_count(Spatial *s, Dtype dtype, const int64_t *from, const int64_t *to) {
  const int64_t *stride = node_ints(s->old, "stride", NULL);
  bool inside = true;
  for (int a = 0; a < 3; a++)
    inside &= s->pad[a] == 0 && (to[a] - 1) * stride[a] + s->kernel[a] <= from[a];
  if (inside)
    return build_constant(s->b, 1.0 / s->n_taps, (Type){.dtype = dtype});
  Type ones = {.dtype = dtype, .rank = 5, .dim = {1, 0, 0, 0, 1}};
  int64_t size[3];
  to_base(s, from, ones.dim + 1);
  to_base(s, to, size);
  Value *count = tap_sum(s, build_constant(s->b, 1, ones), s->stride, s->unit, size);
  return build_binary(s->b, "div", build_like(s->b, 1, count), count);
}

static void avg_pool(Layout *layout, Builder *b, const Node *old) {
  Spatial s = spatial(layout, b, old, node_ints(old, "kernel", NULL), 1);
  Value *sum = tap_sum(&s, operand(&s, 0), s.stride, s.unit, s.size);
  Value *scale =
      inverse_count(&s, sum->type.dtype, old->in[0]->type.dim + 2, old->out[0].type.dim + 2);
  set_result(&s, 0, build_binary(b, "mul", sum, scale));
}

static void avg_pool_grad(Layout *layout, Builder *b, const Node *old) {
  Spatial s = spatial(layout, b, old, node_ints(old, "kernel", NULL), 1);
  Value *dy = operand(&s, 0);
  Value *scale =
      inverse_count(&s, dy->type.dtype, old->out[0].type.dim + 2, old->in[0]->type.dim + 2);
  find_taps(&s, -1);
  set_result(&s, 0, tap_sum(&s, build_binary(b, "mul", dy, scale), s.unit, s.stride, s.size));
}

void layout_spatial(Layout *layout, Builder *b, const Node *old) {
  static const struct {
    const char *op;
    void (*place)(Layout *, Builder *, const Node *);
  } rules[] = {
      {"conv3d", conv3d},
      {"conv3d_grad_input", conv3d_grad_input},
      {"conv3d_grad_weight", conv3d_grad_weight},
      {"max_pool", max_pool},
      {"max_pool_grad", max_pool_grad},
      {"avg_pool", avg_pool},
      {"avg_pool_grad", avg_pool_grad},
  };
  for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
    if (strcmp(old->op->name, rules[i].op) == 0) {
      rules[i].place(layout, b, old);
      return;
    }
  FAULT("spatial op %s has no channels-last form", old->op->name);
}
