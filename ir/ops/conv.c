/* conv3d and its two gradients on [N,C,A0,A1,A2] tensors.
 *
 * All three sum the same triples (x element, weight, y element); they differ in which of the three
 * is the result. walk_triples lists them in runs along the last axis, and each op is one line of
 * arithmetic over a run. Weights are [O,C/groups,k0,k1,k2]; cross-correlation, zeros around the
 * grid.
 */
#include "ir/ops/rules.h"
#include <string.h>

enum { AXES = 3 };

typedef struct Conv {
  int64_t batch, channels, outputs, groups;
  int64_t x[AXES], y[AXES], kernel[AXES];
  int64_t stride[AXES], pad[AXES];
} Conv;

/* ---- shapes ---- */

typedef struct ConvAttrs {
  const int64_t *stride, *pad, *pad_after;
  int64_t groups;
} ConvAttrs;

static bool conv_attrs(const OpCall *call, ConvAttrs *attrs, Error *error) {
  attrs->groups = call_int(call, "groups");
  if (attrs->groups < 1)
    return error_set(error, "groups is %lld", (long long)attrs->groups);
  return call_ints(call, "stride", AXES, 1, &attrs->stride, error) &&
         call_ints(call, "pad", AXES, 0, &attrs->pad, error) &&
         call_ints(call, "pad_after", AXES, 0, &attrs->pad_after, error);
}

static bool want_grid(const OpCall *call, int i, const char *what, Error *error) {
  if (call->in[i]->rank != 5)
    return error_set(error, "%s has %d axes, expected 5", what, call->in[i]->rank);
  return want_float(call, i, error) && (call->in[i]->dtype == call->in[0]->dtype ||
                                        error_set(error, "the operands' element types differ"));
}

/* Places of a kernel of size `kernel` on a padded axis; refuses when there are none. */
static bool window_places(const ConvAttrs *attrs, int axis, int64_t size, int64_t kernel,
                          int64_t *places, Error *error) {
  int64_t room = size + attrs->pad[axis] + attrs->pad_after[axis] - kernel;
  if (room < 0)
    return error_set(error, "axis %d has %lld elements with padding, the kernel needs %lld", axis,
                     (long long)(room + kernel), (long long)kernel);
  *places = room / attrs->stride[axis] + 1;
  return true;
}

/* Refuses a dy that is not what a convolution of an x with this grid gives. */
static bool want_places(const ConvAttrs *attrs, const int64_t *size, const int64_t *kernel,
                        const Type *dy, Error *error) {
  for (int a = 0; a < AXES; a++) {
    int64_t places = 0;
    if (!window_places(attrs, a, size[a], kernel[a], &places, error))
      return false;
    if (dy->dim[2 + a] != places)
      return error_set(error, "dy has %lld places on axis %d, expected %lld",
                       (long long)dy->dim[2 + a], a, (long long)places);
  }
  return true;
}

static bool want_groups(int64_t groups, int64_t channels, int64_t outputs, Error *error) {
  if (channels % groups || outputs % groups)
    return error_set(error, "%lld groups do not divide %lld and %lld channels", (long long)groups,
                     (long long)channels, (long long)outputs);
  return true;
}

bool shape_conv3d(const OpCall *call, Type *out, Error *error) {
  const Type *x = call->in[0], *w = call->in[1];
  ConvAttrs attrs;
  if (!conv_attrs(call, &attrs, error) || !want_grid(call, 0, "x", error) ||
      !want_grid(call, 1, "w", error))
    return false;
  if (x->dim[1] != w->dim[1] * attrs.groups)
    return error_set(error, "x has %lld channels, w expects %lld", (long long)x->dim[1],
                     (long long)(w->dim[1] * attrs.groups));
  *out = *x;
  out->dim[1] = w->dim[0];
  for (int a = 0; a < AXES; a++)
    if (!window_places(&attrs, a, x->dim[2 + a], w->dim[2 + a], &out->dim[2 + a], error))
      return false;
  return want_groups(attrs.groups, x->dim[1], w->dim[0], error);
}

bool shape_conv3d_grad_input(const OpCall *call, Type *out, Error *error) {
  const Type *dy = call->in[0], *w = call->in[1];
  const int64_t *size;
  ConvAttrs attrs;
  if (!conv_attrs(call, &attrs, error) || !want_grid(call, 0, "dy", error) ||
      !want_grid(call, 1, "w", error) || !call_ints(call, "size", AXES, 1, &size, error))
    return false;
  if (dy->dim[1] != w->dim[0])
    return error_set(error, "dy has %lld channels, w makes %lld", (long long)dy->dim[1],
                     (long long)w->dim[0]);
  *out = *dy;
  out->dim[1] = w->dim[1] * attrs.groups;
  memcpy(out->dim + 2, size, AXES * sizeof *size);
  return want_places(&attrs, size, w->dim + 2, dy, error) &&
         want_groups(attrs.groups, out->dim[1], w->dim[0], error);
}

bool shape_conv3d_grad_weight(const OpCall *call, Type *out, Error *error) {
  const Type *x = call->in[0], *dy = call->in[1];
  const int64_t *kernel;
  ConvAttrs attrs;
  if (!conv_attrs(call, &attrs, error) || !want_grid(call, 0, "x", error) ||
      !want_grid(call, 1, "dy", error) || !call_ints(call, "kernel", AXES, 1, &kernel, error))
    return false;
  if (x->dim[0] != dy->dim[0])
    return error_set(error, "x has %lld samples, dy %lld", (long long)x->dim[0],
                     (long long)dy->dim[0]);
  *out = *x;
  out->dim[0] = dy->dim[1];
  out->dim[1] = x->dim[1] / attrs.groups;
  memcpy(out->dim + 2, kernel, AXES * sizeof *kernel);
  return want_groups(attrs.groups, x->dim[1], dy->dim[1], error) &&
         want_places(&attrs, x->dim + 2, kernel, dy, error);
}

/* ---- evaluation ---- */

static Conv conv_of(const Node *node, const Type *x, const Type *w, const Type *y) {
  Conv conv = {.batch = x->dim[0], .channels = x->dim[1], .outputs = y->dim[1]};
  conv.groups = node_int(node, "groups");
  const int64_t *stride = node_ints(node, "stride", NULL), *pad = node_ints(node, "pad", NULL);
  for (int a = 0; a < AXES; a++) {
    conv.x[a] = x->dim[2 + a];
    conv.y[a] = y->dim[2 + a];
    conv.kernel[a] = w->dim[2 + a];
    conv.stride[a] = stride[a];
    conv.pad[a] = pad[a];
  }
  return conv;
}

/* A run: `count` triples (x[i*step], *w, y[i]). */
typedef void Run(double *x, int64_t step, double *w, double *y, int64_t count);

static void run_forward(double *x, int64_t step, double *w, double *y, int64_t count) {
  for (int64_t i = 0; i < count; i++)
    y[i] += x[i * step] * *w;
}

static void run_grad_input(double *x, int64_t step, double *w, double *y, int64_t count) {
  for (int64_t i = 0; i < count; i++)
    x[i * step] += y[i] * *w;
}

static void run_grad_weight(double *x, int64_t step, double *w, double *y, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; i++)
    sum += x[i * step] * y[i];
  *w += sum;
}

/* All runs of one kernel element: x and y point at a channel's grid, tap says which element. */
static void walk_tap(const Conv *c, const int64_t *tap, double *x, double *w, double *y, Run *run) {
  int64_t shift = tap[2] - c->pad[2], first = 0, last = c->y[2] - 1;
  while (first <= last && first * c->stride[2] + shift < 0)
    first++;
  while (last >= first && last * c->stride[2] + shift >= c->x[2])
    last--;
  if (first > last)
    return;
  for (int64_t o0 = 0; o0 < c->y[0]; o0++) {
    int64_t i0 = o0 * c->stride[0] + tap[0] - c->pad[0];
    if (i0 < 0 || i0 >= c->x[0])
      continue;
    for (int64_t o1 = 0; o1 < c->y[1]; o1++) {
      int64_t i1 = o1 * c->stride[1] + tap[1] - c->pad[1];
      if (i1 < 0 || i1 >= c->x[1])
        continue;
      int64_t from = (i0 * c->x[1] + i1) * c->x[2] + first * c->stride[2] + shift;
      run(x + from, c->stride[2], w, y + (o0 * c->y[1] + o1) * c->y[2] + first, last - first + 1);
    }
  }
}

static void walk_triples(const Conv *c, double *x, double *w, double *y, Run *run) {
  int64_t x_grid = c->x[0] * c->x[1] * c->x[2], y_grid = c->y[0] * c->y[1] * c->y[2];
  int64_t taps = c->kernel[0] * c->kernel[1] * c->kernel[2];
  int64_t per_group = c->channels / c->groups, outputs_per_group = c->outputs / c->groups;
  for (int64_t n = 0; n < c->batch; n++)
    for (int64_t o = 0; o < c->outputs; o++)
      for (int64_t in_group = 0; in_group < per_group; in_group++)
        for (int64_t t = 0; t < taps; t++) {
          int64_t channel = o / outputs_per_group * per_group + in_group;
          int64_t tap[AXES] = {t / (c->kernel[1] * c->kernel[2]), t / c->kernel[2] % c->kernel[1],
                               t % c->kernel[2]};
          walk_tap(c, tap, x + (n * c->channels + channel) * x_grid,
                   w + (o * per_group + in_group) * taps + t, y + (n * c->outputs + o) * y_grid,
                   run);
        }
}

static double *cleared(const Node *node, double *out) {
  return memset(out, 0, sizeof *out * (size_t)type_elements(out_type(node, 0)));
}

void eval_conv3d(const Node *node, double *const *in, double *const *out) {
  Conv conv = conv_of(node, in_type(node, 0), in_type(node, 1), out_type(node, 0));
  walk_triples(&conv, in[0], in[1], cleared(node, out[0]), run_forward);
}

void eval_conv3d_grad_input(const Node *node, double *const *in, double *const *out) {
  Conv conv = conv_of(node, out_type(node, 0), in_type(node, 1), in_type(node, 0));
  walk_triples(&conv, cleared(node, out[0]), in[1], in[0], run_grad_input);
}

void eval_conv3d_grad_weight(const Node *node, double *const *in, double *const *out) {
  Conv conv = conv_of(node, in_type(node, 0), out_type(node, 0), in_type(node, 1));
  walk_triples(&conv, in[0], cleared(node, out[0]), in[1], run_grad_weight);
}

/* ---- gradients and FLOPs ---- */

void grad_conv3d(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  Value *d = dout[0], *x = node->in[0], *w = node->in[1];
  const int64_t *stride = node_ints(node, "stride", NULL), *pad = node_ints(node, "pad", NULL);
  const int64_t *pad_after = node_ints(node, "pad_after", NULL);
  int64_t groups = node_int(node, "groups");
  if (d && need[0]) {
    Node *dx = build_node(b, "conv3d_grad_input", 2, (Value *[]){d, w}, "stride", AXES, stride,
                          "pad", AXES, pad, "pad_after", AXES, pad_after, "groups", groups, "size",
                          AXES, x->type.dim + 2, NULL);
    din[0] = dx ? &dx->out[0] : NULL;
  }
  if (d && need[1]) {
    Node *dw = build_node(b, "conv3d_grad_weight", 2, (Value *[]){x, d}, "stride", AXES, stride,
                          "pad", AXES, pad, "pad_after", AXES, pad_after, "groups", groups,
                          "kernel", AXES, w->type.dim + 2, NULL);
    din[1] = dw ? &dw->out[0] : NULL;
  }
}

/* Places of the kernel times all of its weights. */
static double conv_flops(const Type *w, const Type *y) {
  return (double)(y->dim[0] * dim_product(y, 2, 5)) * (double)type_elements(w);
}

double flops_conv3d(const Node *node) { return conv_flops(in_type(node, 1), out_type(node, 0)); }

double flops_conv3d_grad_input(const Node *node) {
  return conv_flops(in_type(node, 1), in_type(node, 0));
}

double flops_conv3d_grad_weight(const Node *node) {
  return conv_flops(out_type(node, 0), in_type(node, 1));
}
