/* Copying strided boxes. See gather.h. */
#include "runtime/base/gather.h"
#include <string.h>

/* Far below overflow: sums and products of two such numbers still fit. */
static const int64_t MOST = (int64_t)1 << 50;

/* ---- what a gather must keep to ---- */

static bool check_box(const Gather *g, const GatherBox *box, Error *error) {
  const Type *whole = &g->whole;
  int64_t sample = gather_sample_part(g), last = box->at;
  for (int a = 0; a < whole->rank; a++) {
    int64_t start = box->start[a], step = box->step[a], count = box->count[a];
    if (start < 0 || step < 1 || step > MOST || count < 1 || count > whole->dim[a] ||
        start >= whole->dim[a] || (count - 1) > (whole->dim[a] - 1 - start) / step)
      return error_set(error, "a box leaves the tensor along axis %d", a);
    if (box->stride[a] < 0 || box->stride[a] > g->elements)
      return error_set(error, "a box leaves its part along axis %d", a);
    if (a > 0 && box->stride[a] && count - 1 > (sample - 1 - last) / box->stride[a])
      return error_set(error, "a box leaves its sample's part along axis %d", a);
    last += a > 0 ? (count - 1) * box->stride[a] : 0;
  }
  if (box->start[0] != 0 || box->step[0] != 1 || box->count[0] != whole->dim[0] ||
      box->stride[0] != sample)
    return error_set(error, "a box does not take all samples");
  return true;
}

bool gather_check(const Gather *g, Error *error) {
  const Type *whole = &g->whole;
  if (whole->rank < 2 || whole->dim[0] < 1 || g->elements < 1 || g->elements > MOST ||
      g->elements % whole->dim[0] != 0)
    return error_set(error, "the part of %s has %lld elements", type_text(whole),
                     (long long)g->elements);
  for (int i = 0; i < g->n_boxes; i++) {
    if (g->boxes[i].at < 0 || g->boxes[i].at >= gather_sample_part(g))
      return error_set(error, "box %d begins outside the part", i);
    if (!check_box(g, &g->boxes[i], error))
      return false;
  }
  return true;
}

static bool equal_axes(const int64_t *a, const int64_t *b, int rank) {
  return memcmp(a, b, sizeof *a * (size_t)rank) == 0;
}

bool gather_equal(const Gather *a, const Gather *b) {
  int rank = a->whole.rank;
  if (!type_equal(&a->whole, &b->whole) || a->elements != b->elements || a->gaps != b->gaps ||
      a->n_boxes != b->n_boxes)
    return false;
  for (int i = 0; i < a->n_boxes; i++) {
    const GatherBox *x = &a->boxes[i], *y = &b->boxes[i];
    if (x->at != y->at || !equal_axes(x->start, y->start, rank) ||
        !equal_axes(x->step, y->step, rank) || !equal_axes(x->count, y->count, rank) ||
        !equal_axes(x->stride, y->stride, rank))
      return false;
  }
  return true;
}

int64_t gather_sample_part(const Gather *g) { return g->elements / g->whole.dim[0]; }

int64_t gather_sample_whole(const Gather *g) { return type_elements(&g->whole) / g->whole.dim[0]; }

/* ---- copying ---- */

typedef struct Copy {
  const GatherBox *box;
  int rank;
  size_t size;
  int64_t from[MAX_RANK];  /* elements between neighbours of the box in the source */
  int64_t count[MAX_RANK]; /* along each axis */
} Copy;

static void copy_line(const Copy *c, const char *from, char *to) {
  int64_t n = c->count[c->rank - 1], step = c->from[c->rank - 1];
  int64_t stride = c->box->stride[c->rank - 1];
  if (c->size == 4 && stride == 1)
    for (int64_t i = 0; i < n; i++)
      memcpy(to + 4 * i, from + 4 * i * step, 4);
  else if (c->size == 2 && stride == 1)
    for (int64_t i = 0; i < n; i++)
      memcpy(to + 2 * i, from + 2 * i * step, 2);
  else
    for (int64_t i = 0; i < n; i++)
      memcpy(to + (int64_t)c->size * i * stride, from + (int64_t)c->size * i * step, c->size);
}

static void copy_axes(const Copy *c, int axis, const char *from, char *to) {
  if (axis == c->rank - 1) {
    copy_line(c, from, to);
    return;
  }
  for (int64_t i = 0; i < c->count[axis]; i++)
    copy_axes(c, axis + 1, from + (int64_t)c->size * i * c->from[axis],
              to + (int64_t)c->size * i * c->box->stride[axis]);
}

void gather_slab(const Gather *g, int axis, int64_t first, int64_t count, size_t size,
                 const void *slab, void *part) {
  int rank = g->whole.rank;
  CHECK(axis > 0 && axis < rank && first >= 0 && count >= 0 && first + count <= g->whole.dim[axis]);
  for (int b = 0; b < g->n_boxes; b++) {
    const GatherBox *box = &g->boxes[b];
    Copy copy = {.box = box, .rank = rank, .size = size};
    int64_t from = 0, to = box->at, apart = 1;
    for (int a = rank - 1; a > 0; a--) {
      int64_t begin = 0, n = box->count[a], start = box->start[a], step = box->step[a];
      if (a == axis) { /* the indices first..first+count-1 alone, counted from `first` */
        begin = start < first ? (first - start + step - 1) / step : 0;
        int64_t end = first + count > start ? (first + count - 1 - start) / step + 1 : 0;
        n = (end < n ? end : n) - begin;
        start -= first;
      }
      copy.count[a] = n > 0 ? n : 0;
      copy.from[a] = apart * step;
      from += apart * (start + begin * step);
      to += begin * box->stride[a];
      apart *= a == axis ? count : g->whole.dim[a];
    }
    if (copy.count[axis] > 0)
      copy_axes(&copy, 1, (const char *)slab + (int64_t)size * from,
                (char *)part + (int64_t)size * to);
  }
}

void gather_clear(const Gather *g, size_t size, void *part) {
  if (g->gaps)
    memset(part, 0, size * (size_t)gather_sample_part(g));
}

void gather_sample(const Gather *g, size_t size, const void *whole, void *part) {
  gather_clear(g, size, part);
  gather_slab(g, 1, 0, g->whole.dim[1], size, whole, part);
}
