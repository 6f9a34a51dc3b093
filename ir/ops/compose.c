/* Two convolutions in a row without anything between them, as one and a correction at the border.
 *
 * conv(conv(x, u) + b, w) with grids of the same size is a convolution of x with the composed
 * weights U = tap_compose(u, w), plus b through w, except where w reads outside the grid of the
 * inner result: there the inner result is zero by definition, while the composed taps see x, and b.
 * tap_conv_outside is exactly what must be taken away: it is zero away from the border.
 *
 * Taps of the composition: then*stride + tap, each once, in the order in which they first appear.
 */
#include "ir/ops/compose.h"
#include "ir/ops/rules.h"
#include <stdlib.h>
#include <string.h>

enum { AXES = 3 };

int tap_compose_taps(const int64_t *taps, int n_taps, const int64_t *stride, const int64_t *then,
                     int n_then, int64_t *result, int *slot) {
  int count = 0;
  for (int s = 0; s < n_then; s++)
    for (int t = 0; t < n_taps; t++) {
      int64_t place[AXES];
      int at = 0;
      for (int a = 0; a < AXES; a++)
        place[a] = then[AXES * s + a] * stride[a] + taps[AXES * t + a];
      while (at < count && memcmp(result + AXES * at, place, sizeof place) != 0)
        at++;
      if (at == count)
        memcpy(result + AXES * count++, place, sizeof place);
      slot[s * n_taps + t] = at;
    }
  return count;
}

static bool tap_list(const OpCall *call, const char *name, int *count, const int64_t **taps,
                     Error *error) {
  const Attr *attr = call_attr(call, name);
  if (attr->n == 0 || attr->n % AXES)
    return error_set(error, "%s has %d numbers, which is no multiple of 3", name, attr->n);
  *count = attr->n / AXES;
  *taps = attr->ints;
  return true;
}

bool shape_tap_compose(const OpCall *call, Type *out, Error *error) {
  const Type *u = call->in[0], *w = call->in[1];
  const int64_t *taps = NULL, *then = NULL, *stride;
  int n_taps = 0, n_then = 0;
  if (!tap_list(call, "taps", &n_taps, &taps, error) ||
      !tap_list(call, "then", &n_then, &then, error) ||
      !call_ints(call, "stride", AXES, 1, &stride, error) || !want_float(call, 0, error))
    return false;
  if (u->rank != 3 || w->rank != 3 || u->dim[0] != n_taps || w->dim[0] != n_then ||
      u->dim[2] != w->dim[1] || u->dtype != w->dtype)
    return error_set(error, "wants weights [%d,C,M] and [%d,M,O]", n_taps, n_then);
  int64_t *result = mem_alloc(sizeof(int64_t) * AXES * (size_t)(n_taps * n_then));
  int *slot = mem_alloc(sizeof(int) * (size_t)(n_taps * n_then));
  int count = tap_compose_taps(taps, n_taps, stride, then, n_then, result, slot);
  free(result);
  free(slot);
  *out = type_of(u->dtype, 3, (int64_t[]){count, u->dim[1], w->dim[2]});
  return true;
}

/* to[C,O] += u[C,M] w[M,O] */
static void add_product(double *to, const double *u, const double *w, int64_t c, int64_t m,
                        int64_t o) {
  for (int64_t i = 0; i < c; i++)
    for (int64_t k = 0; k < m; k++)
      for (int64_t j = 0; j < o; j++)
        to[i * o + j] += u[i * m + k] * w[k * o + j];
}

void eval_tap_compose(const Node *node, double *const *in, double *const *out) {
  const Type *u = in_type(node, 0), *w = in_type(node, 1);
  int n_taps, n_then;
  const int64_t *taps = node_ints(node, "taps", &n_taps), *then = node_ints(node, "then", &n_then);
  n_taps /= AXES, n_then /= AXES;
  int64_t *result = mem_alloc(sizeof(int64_t) * AXES * (size_t)(n_taps * n_then));
  int *slot = mem_alloc(sizeof(int) * (size_t)(n_taps * n_then));
  tap_compose_taps(taps, n_taps, node_ints(node, "stride", NULL), then, n_then, result, slot);
  int64_t c = u->dim[1], m = u->dim[2], o = w->dim[2];
  memset(out[0], 0, sizeof(double) * (size_t)type_elements(out_type(node, 0)));
  for (int s = 0; s < n_then; s++)
    for (int t = 0; t < n_taps; t++)
      add_product(out[0] + slot[s * n_taps + t] * c * o, in[0] + t * c * m, in[1] + s * m * o, c, m,
                  o);
  free(result);
  free(slot);
}

bool shape_tap_conv_outside(const OpCall *call, Type *out, Error *error) {
  const Type *x = call->in[0], *u = call->in[1], *b = call->in[2], *w = call->in[3];
  const int64_t *taps, *then, *stride, *size;
  int n_taps = 0, n_then = 0;
  if (!tap_list(call, "taps", &n_taps, &taps, error) ||
      !tap_list(call, "then", &n_then, &then, error) ||
      !call_ints(call, "stride", AXES, 1, &stride, error) ||
      !call_ints(call, "size", AXES, 1, &size, error) || !want_float(call, 0, error))
    return false;
  if (x->rank != 5 || u->rank != 3 || b->rank != 1 || w->rank != 3 || u->dim[0] != n_taps ||
      u->dim[1] != x->dim[4] || b->dim[0] != u->dim[2] || w->dim[0] != n_then ||
      w->dim[1] != u->dim[2])
    return error_set(error, "wants x[N,A0,A1,A2,C], u[%d,C,M], b[M], w[%d,M,O]", n_taps, n_then);
  *out = *x;
  memcpy(out->dim + 1, size, AXES * sizeof *size);
  out->dim[4] = w->dim[2];
  return true;
}

/* The inner result at a place that may lie outside its grid, into middle[M]. */
static void inner_result(const Node *node, double *const *in, int64_t sample, const int64_t *place,
                         double *middle) {
  const Type *x = in_type(node, 0), *u = in_type(node, 1);
  int n_taps;
  const int64_t *taps = node_ints(node, "taps", &n_taps), *stride = node_ints(node, "stride", NULL);
  int64_t c = u->dim[1], m = u->dim[2];
  memcpy(middle, in[2], sizeof *middle * (size_t)m);
  for (int t = 0; t < n_taps / AXES; t++) {
    int64_t flat = sample;
    bool inside = true;
    for (int a = 0; a < AXES; a++) {
      int64_t at = place[a] * stride[a] + taps[AXES * t + a];
      inside &= at >= 0 && at < x->dim[1 + a];
      flat = flat * x->dim[1 + a] + at;
    }
    if (inside)
      add_product(middle, in[0] + flat * c, in[1] + t * c * m, 1, c, m);
  }
}

void eval_tap_conv_outside(const Node *node, double *const *in, double *const *out) {
  const Type *y = out_type(node, 0);
  int n_then;
  const int64_t *then = node_ints(node, "then", &n_then);
  int64_t m = in_type(node, 1)->dim[2], o = y->dim[4], at[4] = {0},
          positions = dim_product(y, 0, 4);
  double *middle = mem_alloc(sizeof(double) * (size_t)m);
  for (int64_t p = 0; p < positions; p++) {
    double *to = out[0] + p * o;
    int64_t rest = p;
    for (int a = 3; a >= 0; rest /= y->dim[a--])
      at[a] = rest % y->dim[a];
    memset(to, 0, sizeof *to * (size_t)o);
    for (int s = 0; s < n_then / AXES; s++) {
      int64_t place[AXES];
      bool inside = true;
      for (int a = 0; a < AXES; a++) {
        place[a] = at[1 + a] + then[AXES * s + a];
        inside &= place[a] >= 0 && place[a] < y->dim[1 + a];
      }
      if (inside)
        continue;
      inner_result(node, in, at[0], place, middle);
      add_product(to, middle, in[3] + s * m * o, 1, m, o);
    }
  }
  free(middle);
}
