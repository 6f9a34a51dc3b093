/* The tap forms of convolutions and windows, on [N,A0,A1,A2,C] tensors.
 *
 * A tap is an offset of three integers. Result place o reads operand place (o*stride + tap)/divisor
 * where that division is exact and the place inside the grid; elsewhere the tap adds nothing. A
 * stride above 1 makes the forward ops, a divisor above 1 their gradients with respect to x, whose
 * taps are the negated ones. Weights are [T,C,O], or [T,C] for the per-channel forms.
 */
#include "ir/ops/rules.h"
#include <math.h>
#include <string.h>

enum { AXES = 3, MAX_NUMBERED_TAPS = 256 };

static const int64_t ones[AXES] = {1, 1, 1};

typedef struct Taps {
  int count;
  const int64_t *at; /* 3 numbers each */
  const int64_t *stride, *divisor;
  int64_t read[AXES], made[AXES]; /* grids of the operand read and of the places written */
} Taps;

/* ---- shapes ---- */

static bool want_volume(const OpCall *call, int i, const char *what, Error *error) {
  if (call->in[i]->rank != 5)
    return error_set(error, "%s has %d axes, expected 5", what, call->in[i]->rank);
  return want_float(call, i, error);
}

/* How many taps; refuses when `taps` is not a whole number of them. */
static bool tap_count(const OpCall *call, int64_t *count, Error *error) {
  const Attr *attr = call_attr(call, "taps");
  if (attr->n == 0 || attr->n % AXES)
    return error_set(error, "taps has %d numbers, which is no multiple of 3", attr->n);
  *count = attr->n / AXES;
  return true;
}

static bool check_steps(const OpCall *call, const char *name, Error *error) {
  const int64_t *steps;
  return op_attr_index(call->op, name) < 0 || call_ints(call, name, AXES, 1, &steps, error);
}

/* Checks what all forms share and gives x's type on the result's grid. */
static bool shape_taps(const OpCall *call, Type *out, int64_t *count, Error *error) {
  const int64_t *size;
  if (!want_volume(call, 0, "x", error) || !tap_count(call, count, error) ||
      !check_steps(call, "stride", error) || !check_steps(call, "divisor", error) ||
      !call_ints(call, "size", AXES, 1, &size, error))
    return false;
  *out = *call->in[0];
  memcpy(out->dim + 1, size, AXES * sizeof *size);
  return true;
}

bool shape_tap_conv(const OpCall *call, Type *out, Error *error) {
  int64_t count;
  if (!shape_taps(call, out, &count, error))
    return false;
  const Type *w = call->in[1];
  Type expected = type_of(out->dtype, 3, (int64_t[]){count, out->dim[4], w->dim[2]});
  out->dim[4] = w->dim[2];
  return (w->rank == 3 || error_set(error, "w has %d axes, expected 3", w->rank)) &&
         want_type(call, 1, "w", &expected, error);
}

bool shape_tap_depthwise(const OpCall *call, Type *out, Error *error) {
  int64_t count;
  if (!shape_taps(call, out, &count, error))
    return false;
  Type expected = type_of(out->dtype, 2, (int64_t[]){count, out->dim[4]});
  return want_type(call, 1, "w", &expected, error);
}

static bool shape_grad_weight(const OpCall *call, int64_t *count, Error *error) {
  if (!want_volume(call, 0, "x", error) || !want_volume(call, 1, "dy", error) ||
      !tap_count(call, count, error) || !check_steps(call, "stride", error))
    return false;
  const Type *x = call->in[0], *dy = call->in[1];
  return (x->dtype == dy->dtype || error_set(error, "the operands' element types differ")) &&
         (x->dim[0] == dy->dim[0] || error_set(error, "x has %lld samples, dy %lld",
                                               (long long)x->dim[0], (long long)dy->dim[0]));
}

bool shape_tap_conv_grad_weight(const OpCall *call, Type *out, Error *error) {
  int64_t count;
  if (!shape_grad_weight(call, &count, error))
    return false;
  const Type *x = call->in[0], *dy = call->in[1];
  *out = type_of(x->dtype, 3, (int64_t[]){count, x->dim[4], dy->dim[4]});
  return true;
}

bool shape_tap_depthwise_grad_weight(const OpCall *call, Type *out, Error *error) {
  int64_t count;
  if (!shape_grad_weight(call, &count, error))
    return false;
  const Type *x = call->in[0], *dy = call->in[1];
  *out = type_of(x->dtype, 2, (int64_t[]){count, x->dim[4]});
  return x->dim[4] == dy->dim[4] || error_set(error, "x has %lld channels, dy %lld",
                                              (long long)x->dim[4], (long long)dy->dim[4]);
}

bool shape_tap_max(const OpCall *call, Type *out, Error *error) {
  int64_t count;
  if (!shape_taps(call, &out[0], &count, error))
    return false;
  out[1] = out[0];
  out[1].dtype = DT_u8;
  return count <= MAX_NUMBERED_TAPS ||
         error_set(error, "%lld taps are more than a u8 can number", (long long)count);
}

bool shape_tap_max_grad(const OpCall *call, Type *out, Error *error) {
  int64_t count;
  Type numbers = *call->in[0];
  numbers.dtype = DT_u8;
  return shape_taps(call, out, &count, error) &&
         want_type(call, 1, "the tap numbers", &numbers, error);
}

bool shape_tap_sum(const OpCall *call, Type *out, Error *error) {
  int64_t count;
  return shape_taps(call, out, &count, error);
}

/* ---- evaluation ---- */

static Taps taps_of(const Node *node, const Type *read, const Type *made) {
  Taps taps = {.stride = ones, .divisor = ones};
  taps.at = node_ints(node, "taps", &taps.count);
  taps.count /= AXES;
  if (op_attr_index(node->op, "stride") >= 0)
    taps.stride = node_ints(node, "stride", NULL);
  if (op_attr_index(node->op, "divisor") >= 0)
    taps.divisor = node_ints(node, "divisor", NULL);
  memcpy(taps.read, read->dim + 1, sizeof taps.read);
  memcpy(taps.made, made->dim + 1, sizeof taps.made);
  return taps;
}

static int64_t places(const int64_t *grid) { return grid[0] * grid[1] * grid[2]; }

/* The operand place (row-major within its grid) that result place o reads with tap t; -1: none. */
static int64_t tap_place(const Taps *taps, int64_t o, int t) {
  const int64_t *made = taps->made;
  int64_t index[AXES] = {o / (made[1] * made[2]), o / made[2] % made[1], o % made[2]};
  int64_t place = 0;
  for (int a = 0; a < AXES; a++) {
    int64_t at = index[a] * taps->stride[a] + taps->at[t * AXES + a];
    if (at < 0 || at % taps->divisor[a] || at / taps->divisor[a] >= taps->read[a])
      return -1;
    place = place * taps->read[a] + at / taps->divisor[a];
  }
  return place;
}

/* Calls visit for every pair of places that meet, with pointers to their channel vectors. */
typedef void Visit(void *context, int t, double *read, double *made, int64_t read_at,
                   int64_t made_at);

static void walk_taps(const Taps *taps, int64_t batch, double *read, int64_t read_channels,
                      double *made, int64_t made_channels, Visit *visit, void *context) {
  int64_t read_places = places(taps->read), made_places = places(taps->made);
  for (int64_t n = 0; n < batch; n++)
    for (int64_t o = 0; o < made_places; o++)
      for (int t = 0; t < taps->count; t++) {
        int64_t place = tap_place(taps, o, t);
        if (place < 0)
          continue;
        int64_t read_at = (n * read_places + place) * read_channels;
        int64_t made_at = (n * made_places + o) * made_channels;
        visit(context, t, read + read_at, made + made_at, read_at, made_at);
      }
}

typedef struct Sums {
  int64_t channels, outputs;
  double *w;             /* weights read, or weight gradients written */
  const double *numbers; /* tap numbers in tap_max_grad */
  double *number;        /* tap numbers in tap_max */
} Sums;

#define VISIT(name)                                                                                \
  static void visit_##name(void *context, int t, double *x, double *y, int64_t x_at, int64_t y_at)

VISIT(conv) {
  Sums *s = context;
  (void)x_at, (void)y_at;
  for (int64_t c = 0; c < s->channels; c++) {
    const double *w = s->w + (t * s->channels + c) * s->outputs;
    for (int64_t o = 0; o < s->outputs; o++)
      y[o] += x[c] * w[o];
  }
}

VISIT(conv_grad_weight) {
  Sums *s = context;
  (void)x_at, (void)y_at;
  for (int64_t c = 0; c < s->channels; c++) {
    double *w = s->w + (t * s->channels + c) * s->outputs;
    for (int64_t o = 0; o < s->outputs; o++)
      w[o] += x[c] * y[o];
  }
}

VISIT(depthwise) {
  Sums *s = context;
  (void)x_at, (void)y_at;
  for (int64_t c = 0; c < s->channels; c++)
    y[c] += x[c] * s->w[t * s->channels + c];
}

VISIT(depthwise_grad_weight) {
  Sums *s = context;
  (void)x_at, (void)y_at;
  for (int64_t c = 0; c < s->channels; c++)
    s->w[t * s->channels + c] += x[c] * y[c];
}

VISIT(sum) {
  Sums *s = context;
  (void)t, (void)x_at, (void)y_at;
  for (int64_t c = 0; c < s->channels; c++)
    y[c] += x[c];
}

VISIT(max) {
  Sums *s = context;
  (void)x_at;
  for (int64_t c = 0; c < s->channels; c++)
    if (x[c] > y[c]) {
      y[c] = x[c];
      s->number[y_at + c] = t;
    }
}

/* Here the operand read is dy, and y the dx being made. */
VISIT(max_grad) {
  Sums *s = context;
  (void)y_at;
  for (int64_t c = 0; c < s->channels; c++)
    if (s->numbers[x_at + c] == t)
      y[c] += x[c];
}

static void fill(const Type *type, double *out, double value) {
  int64_t n = type_elements(type);
  for (int64_t i = 0; i < n; i++)
    out[i] = value;
}

/* Ops that read in[0] and make out[0]. */
static void eval_forward(const Node *node, double *const *in, double *const *out, double start,
                         Visit *visit, Sums *sums) {
  const Type *x = in_type(node, 0), *y = out_type(node, 0);
  Taps taps = taps_of(node, x, y);
  sums->channels = x->dim[4];
  sums->outputs = y->dim[4];
  fill(y, out[0], start);
  walk_taps(&taps, x->dim[0], in[0], x->dim[4], out[0], y->dim[4], visit, sums);
}

/* Ops that read in[0] where in[1] was made, and write weight gradients. */
static void eval_grad_weight(const Node *node, double *const *in, double *const *out,
                             Visit *visit) {
  const Type *x = in_type(node, 0), *dy = in_type(node, 1);
  Taps taps = taps_of(node, x, dy);
  Sums sums = {.channels = x->dim[4], .outputs = dy->dim[4], .w = out[0]};
  fill(out_type(node, 0), out[0], 0);
  walk_taps(&taps, x->dim[0], in[0], x->dim[4], in[1], dy->dim[4], visit, &sums);
}

void eval_tap_conv(const Node *node, double *const *in, double *const *out) {
  eval_forward(node, in, out, 0, visit_conv, &(Sums){.w = in[1]});
}

void eval_tap_depthwise(const Node *node, double *const *in, double *const *out) {
  eval_forward(node, in, out, 0, visit_depthwise, &(Sums){.w = in[1]});
}

void eval_tap_sum(const Node *node, double *const *in, double *const *out) {
  eval_forward(node, in, out, 0, visit_sum, &(Sums){0});
}

void eval_tap_max(const Node *node, double *const *in, double *const *out) {
  fill(out_type(node, 1), out[1], 0);
  eval_forward(node, in, out, -INFINITY, visit_max, &(Sums){.number = out[1]});
}

void eval_tap_max_grad(const Node *node, double *const *in, double *const *out) {
  eval_forward(node, in, out, 0, visit_max_grad, &(Sums){.numbers = in[1]});
}

void eval_tap_conv_grad_weight(const Node *node, double *const *in, double *const *out) {
  eval_grad_weight(node, in, out, visit_conv_grad_weight);
}

void eval_tap_depthwise_grad_weight(const Node *node, double *const *in, double *const *out) {
  eval_grad_weight(node, in, out, visit_depthwise_grad_weight);
}

/* ---- FLOPs: places of the kernel times all of its weights ---- */

/* With a divisor the op is the gradient of a strided one, whose places are those of x. */
static double forward_flops(const Node *node) {
  const int64_t *divisor = node_ints(node, "divisor", NULL);
  const Type *grid = places(divisor) == 1 ? out_type(node, 0) : in_type(node, 0);
  return (double)dim_product(grid, 0, 4) * (double)type_elements(in_type(node, 1));
}

static double grad_weight_flops(const Node *node) {
  return (double)dim_product(in_type(node, 1), 0, 4) * (double)type_elements(out_type(node, 0));
}

double flops_tap_conv(const Node *node) { return forward_flops(node); }
double flops_tap_depthwise(const Node *node) { return forward_flops(node); }
double flops_tap_conv_grad_weight(const Node *node) { return grad_weight_flops(node); }
double flops_tap_depthwise_grad_weight(const Node *node) { return grad_weight_flops(node); }
