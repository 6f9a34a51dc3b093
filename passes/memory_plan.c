/* Greedy placement in several orders. See memory_plan.h. */
#include "passes/memory_plan.h"
#include <stdlib.h>

static int by_position(const MemorySlot *x, const MemorySlot *y) {
  return x < y ? -1 : x > y; /* ties: the result must not depend on qsort */
}

static int larger_first(const void *a, const void *b) {
  const MemorySlot *x = *(MemorySlot *const *)a, *y = *(MemorySlot *const *)b;
  return x->bytes != y->bytes ? (x->bytes < y->bytes ? 1 : -1) : by_position(x, y);
}

/* Of equal size, those that stay longest first: the others come and go above them. */
static int larger_longer_first(const void *a, const void *b) {
  const MemorySlot *x = *(MemorySlot *const *)a, *y = *(MemorySlot *const *)b;
  int p = x->last - x->first, q = y->last - y->first;
  if (x->bytes != y->bytes)
    return x->bytes < y->bytes ? 1 : -1;
  return p != q ? (p < q ? 1 : -1) : by_position(x, y);
}

static int larger_earlier_first(const void *a, const void *b) {
  const MemorySlot *x = *(MemorySlot *const *)a, *y = *(MemorySlot *const *)b;
  if (x->bytes != y->bytes)
    return x->bytes < y->bytes ? 1 : -1;
  return x->first != y->first ? (x->first < y->first ? -1 : 1) : by_position(x, y);
}

static int longer_first(const void *a, const void *b) {
  const MemorySlot *x = *(MemorySlot *const *)a, *y = *(MemorySlot *const *)b;
  int p = x->last - x->first, q = y->last - y->first;
  return p != q ? (p < q ? 1 : -1) : larger_first(a, b);
}

static int more_bytes_for_longer_first(const void *a, const void *b) {
  const MemorySlot *x = *(MemorySlot *const *)a, *y = *(MemorySlot *const *)b;
  double p = (double)x->bytes * (x->last - x->first + 1.0);
  double q = (double)y->bytes * (y->last - y->first + 1.0);
  return p != q ? (p < q ? 1 : -1) : by_position(x, y);
}

static int (*const orders[])(const void *, const void *) = {larger_first, larger_longer_first,
                                                            larger_earlier_first, longer_first,
                                                            more_bytes_for_longer_first};
enum { ORDERS = sizeof orders / sizeof *orders };

static int lower_first(const void *a, const void *b) {
  const MemorySlot *x = *(MemorySlot *const *)a, *y = *(MemorySlot *const *)b;
  return x->offset != y->offset ? (x->offset < y->offset ? -1 : 1) : by_position(x, y);
}

/* Places the slots in the given order; returns the size. */
static int64_t place(MemorySlot **order, MemorySlot **alive, int count) {
  int64_t size = 0;
  for (int i = 0; i < count; i++) {
    MemorySlot *slot = order[i];
    int n = 0;
    for (int j = 0; j < i; j++)
      if (order[j]->first <= slot->last && slot->first <= order[j]->last)
        alive[n++] = order[j];
    qsort(alive, (size_t)n, sizeof *alive, lower_first);
    int64_t at = 0;
    for (int j = 0; j < n && alive[j]->offset < at + slot->bytes; j++)
      if (alive[j]->offset + alive[j]->bytes > at)
        at = alive[j]->offset + alive[j]->bytes;
    slot->offset = at;
    if (at + slot->bytes > size)
      size = at + slot->bytes;
  }
  return size;
}

int64_t memory_plan(Arena *arena, MemorySlot *slots, int count, int64_t alignment) {
  MemorySlot **order = ARENA_ARRAY(arena, MemorySlot *, count + 1);
  MemorySlot **alive = ARENA_ARRAY(arena, MemorySlot *, count + 1);
  int64_t *best = ARENA_ARRAY(arena, int64_t, count + 1), size = -1;
  for (int i = 0; i < count; i++)
    slots[i].bytes = memory_rounded(slots[i].bytes, alignment);
  int64_t least = memory_alive(slots, count, alignment, NULL);
  for (int o = 0; o < ORDERS && size != least; o++) {
    for (int i = 0; i < count; i++)
      order[i] = &slots[i];
    qsort(order, (size_t)count, sizeof *order, orders[o]);
    int64_t now = place(order, alive, count);
    if (size >= 0 && now >= size)
      continue;
    size = now;
    for (int i = 0; i < count; i++)
      best[i] = slots[i].offset;
  }
  for (int i = 0; i < count; i++)
    slots[i].offset = best[i];
  return size;
}

/* ---- what is alive ---- */

typedef struct Event {
  int step;
  int64_t bytes; /* more from this step on, or less */
} Event;

static int earlier_less_first(const void *a, const void *b) {
  const Event *x = a, *y = b;
  if (x->step != y->step)
    return x->step < y->step ? -1 : 1;
  return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

int64_t memory_alive(const MemorySlot *slots, int count, int64_t alignment, int *step) {
  Event *events = mem_alloc(sizeof *events * (size_t)(2 * count + 1));
  for (int i = 0; i < count; i++) {
    int64_t bytes = memory_rounded(slots[i].bytes, alignment);
    events[2 * i] = (Event){slots[i].first, bytes};
    events[2 * i + 1] = (Event){slots[i].last + 1, -bytes};
  }
  qsort(events, (size_t)(2 * count), sizeof *events, earlier_less_first);
  int64_t now = 0, most = 0;
  if (step)
    *step = -1;
  for (int i = 0; i < 2 * count; i++) {
    now += events[i].bytes;
    if (now > most && step)
      *step = events[i].step;
    most = now > most ? now : most;
  }
  free(events);
  return most;
}
