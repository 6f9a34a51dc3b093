/* max_pool, avg_pool and their gradients on [N,C,A0,A1,A2] tensors.
 *
 * A window sees only the elements inside the grid, and always at least one because pad < kernel.
 * Tap numbers count the window's elements in row-major order, those outside the grid included.
 */
#include "ir/ops/rules.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { AXES = 3, MAX_NUMBERED_TAPS = 256 };

typedef struct Pool {
  int64_t planes; /* samples times channels */
  int64_t x[AXES], y[AXES];
  const int64_t *kernel, *stride, *pad;
} Pool;

/* ---- shapes ---- */

static bool pool_places(const OpCall *call, const int64_t *size, int64_t *places, Error *error) {
  const int64_t *kernel, *stride, *pad;
  if (!call_ints(call, "kernel", AXES, 1, &kernel, error) ||
      !call_ints(call, "stride", AXES, 1, &stride, error) ||
      !call_ints(call, "pad", AXES, 0, &pad, error))
    return false;
  for (int a = 0; a < AXES; a++) {
    int64_t room = size[a] + 2 * pad[a] - kernel[a];
    if (pad[a] >= kernel[a])
      return error_set(error, "pad %lld is not below the kernel's %lld on axis %d",
                       (long long)pad[a], (long long)kernel[a], a);
    if (room < 0)
      return error_set(error, "axis %d has %lld elements with padding, the kernel needs %lld", a,
                       (long long)(room + kernel[a]), (long long)kernel[a]);
    places[a] = room / stride[a] + 1;
  }
  return true;
}

static bool want_numbered(const OpCall *call, Error *error) {
  const int64_t *kernel = call_attr(call, "kernel")->ints;
  int64_t taps = kernel[0] * kernel[1] * kernel[2];
  return taps <= MAX_NUMBERED_TAPS ||
         error_set(error, "a window of %lld elements is more than a u8 can number",
                   (long long)taps);
}

static bool shape_pool(const OpCall *call, Type *out, Error *error) {
  const Type *x = call->in[0];
  if (x->rank != 5)
    return error_set(error, "x has %d axes, expected 5", x->rank);
  *out = *x;
  return want_float(call, 0, error) && pool_places(call, x->dim + 2, out->dim + 2, error);
}

static bool shape_pool_grad(const OpCall *call, Type *out, Error *error) {
  const Type *dy = call->in[0];
  const int64_t *size;
  int64_t places[AXES];
  if (dy->rank != 5)
    return error_set(error, "dy has %d axes, expected 5", dy->rank);
  if (!want_float(call, 0, error) || !call_ints(call, "size", AXES, 1, &size, error) ||
      !pool_places(call, size, places, error))
    return false;
  for (int a = 0; a < AXES; a++)
    if (dy->dim[2 + a] != places[a])
      return error_set(error, "dy has %lld places on axis %d, expected %lld",
                       (long long)dy->dim[2 + a], a, (long long)places[a]);
  *out = *dy;
  memcpy(out->dim + 2, size, sizeof places);
  return true;
}

bool shape_max_pool(const OpCall *call, Type *out, Error *error) {
  if (!shape_pool(call, &out[0], error))
    return false;
  out[1] = out[0];
  out[1].dtype = DT_u8;
  return want_numbered(call, error);
}

bool shape_max_pool_grad(const OpCall *call, Type *out, Error *error) {
  Type numbers = *call->in[0];
  numbers.dtype = DT_u8;
  return shape_pool_grad(call, out, error) && want_numbered(call, error) &&
         want_type(call, 1, "the tap numbers", &numbers, error);
}

bool shape_avg_pool(const OpCall *call, Type *out, Error *error) {
  return shape_pool(call, out, error);
}

bool shape_avg_pool_grad(const OpCall *call, Type *out, Error *error) {
  return shape_pool_grad(call, out, error);
}

/* ---- evaluation ---- */

static Pool pool_of(const Node *node, const Type *x, const Type *y) {
  Pool pool = {.planes = x->dim[0] * x->dim[1],
               .kernel = node_ints(node, "kernel", NULL),
               .stride = node_ints(node, "stride", NULL),
               .pad = node_ints(node, "pad", NULL)};
  memcpy(pool.x, x->dim + 2, sizeof pool.x);
  memcpy(pool.y, y->dim + 2, sizeof pool.y);
  return pool;
}

/* The elements of one window: x_at[i] is the place within x's plane of tap number tap[i]. */
typedef struct Window {
  int64_t *x_at, *tap;
  int64_t count;
} Window;

/* Handles one window: x is its plane of x; y and number are whole, `at` their element. */
typedef void Visit(const Window *window, int64_t at, double *x, double *y, double *number);

static int64_t places(const int64_t *grid) { return grid[0] * grid[1] * grid[2]; }

static void find_window(const Pool *p, int64_t y_at, Window *window) {
  int64_t index[AXES] = {y_at / (p->y[1] * p->y[2]), y_at / p->y[2] % p->y[1], y_at % p->y[2]};
  int64_t taps = places(p->kernel);
  window->count = 0;
  for (int64_t t = 0; t < taps; t++) {
    int64_t offset[AXES] = {t / (p->kernel[1] * p->kernel[2]), t / p->kernel[2] % p->kernel[1],
                            t % p->kernel[2]};
    int64_t place = 0;
    for (int a = 0; a < AXES && place >= 0; a++) {
      int64_t at = index[a] * p->stride[a] + offset[a] - p->pad[a];
      place = at < 0 || at >= p->x[a] ? -1 : place * p->x[a] + at;
    }
    if (place < 0)
      continue;
    window->x_at[window->count] = place;
    window->tap[window->count++] = t;
  }
}

static void walk_windows(const Pool *p, double *x, double *y, double *number, Visit *visit) {
  size_t taps = (size_t)places(p->kernel);
  int64_t *block = mem_alloc(2 * taps * sizeof *block), n = places(p->y);
  Window window = {.x_at = block, .tap = block + taps};
  for (int64_t y_at = 0; y_at < n; y_at++) {
    find_window(p, y_at, &window);
    for (int64_t plane = 0; plane < p->planes; plane++)
      visit(&window, plane * n + y_at, x + plane * places(p->x), y, number);
  }
  free(block);
}

#define VISIT(name)                                                                                \
  static void visit_##name(const Window *window, int64_t at, double *x, double *y, double *number)

VISIT(max) {
  y[at] = -INFINITY;
  number[at] = (double)window->tap[0];
  for (int64_t i = 0; i < window->count; i++)
    if (x[window->x_at[i]] > y[at]) {
      y[at] = x[window->x_at[i]];
      number[at] = (double)window->tap[i];
    }
}

VISIT(max_grad) {
  for (int64_t i = 0; i < window->count; i++)
    if (number[at] == (double)window->tap[i])
      x[window->x_at[i]] += y[at];
}

VISIT(avg) {
  (void)number;
  double sum = 0;
  for (int64_t i = 0; i < window->count; i++)
    sum += x[window->x_at[i]];
  y[at] = sum / (double)window->count;
}

VISIT(avg_grad) {
  (void)number;
  for (int64_t i = 0; i < window->count; i++)
    x[window->x_at[i]] += y[at] / (double)window->count;
}

void eval_max_pool(const Node *node, double *const *in, double *const *out) {
  Pool pool = pool_of(node, in_type(node, 0), out_type(node, 0));
  walk_windows(&pool, in[0], out[0], out[1], visit_max);
}

void eval_avg_pool(const Node *node, double *const *in, double *const *out) {
  Pool pool = pool_of(node, in_type(node, 0), out_type(node, 0));
  walk_windows(&pool, in[0], out[0], NULL, visit_avg);
}

static void eval_grad(const Node *node, double *dy, double *number, double *dx, Visit *visit) {
  Pool pool = pool_of(node, out_type(node, 0), in_type(node, 0));
  memset(dx, 0, sizeof *dx * (size_t)type_elements(out_type(node, 0)));
  walk_windows(&pool, dx, dy, number, visit);
}

void eval_max_pool_grad(const Node *node, double *const *in, double *const *out) {
  eval_grad(node, in[0], in[1], out[0], visit_max_grad);
}

void eval_avg_pool_grad(const Node *node, double *const *in, double *const *out) {
  eval_grad(node, in[0], NULL, out[0], visit_avg_grad);
}

/* ---- gradients ---- */

static void grad_pool(Builder *b, const Node *node, const char *op, int n_in, Value *const *in,
                      Value **din) {
  Node *dx =
      build_node(b, op, n_in, in, "kernel", AXES, node_ints(node, "kernel", NULL), "stride", AXES,
                 node_ints(node, "stride", NULL), "pad", AXES, node_ints(node, "pad", NULL), "size",
                 AXES, in_type(node, 0)->dim + 2, NULL);
  din[0] = dx ? &dx->out[0] : NULL;
}

void grad_max_pool(Builder *b, const Node *node, Value *const *dout, const bool *need,
                   Value **din) {
  if (dout[0] && need[0])
    grad_pool(b, node, "max_pool_grad", 2, (Value *[]){dout[0], &node->out[1]}, din);
}

void grad_avg_pool(Builder *b, const Node *node, Value *const *dout, const bool *need,
                   Value **din) {
  if (dout[0] && need[0])
    grad_pool(b, node, "avg_pool_grad", 1, dout, din);
}
