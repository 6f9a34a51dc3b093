/* Greedy placement by size. See memory_plan.h. */
#include "passes/memory_plan.h"
#include <stdlib.h>

static int larger_first(const void *a, const void *b) {
  const MemorySlot *x = *(MemorySlot *const *)a, *y = *(MemorySlot *const *)b;
  if (x->bytes != y->bytes)
    return x->bytes < y->bytes ? 1 : -1;
  return x < y ? -1 : x > y; /* ties by position: the result must not depend on qsort */
}

static int lower_first(const void *a, const void *b) {
  const MemorySlot *x = *(MemorySlot *const *)a, *y = *(MemorySlot *const *)b;
  return x->offset < y->offset ? -1 : x->offset > y->offset;
}

int64_t memory_plan(Arena *arena, MemorySlot *slots, int count, int64_t alignment) {
  MemorySlot **order = ARENA_ARRAY(arena, MemorySlot *, count + 1);
  MemorySlot **alive = ARENA_ARRAY(arena, MemorySlot *, count + 1);
  for (int i = 0; i < count; i++) {
    slots[i].bytes = (slots[i].bytes + alignment - 1) / alignment * alignment;
    order[i] = &slots[i];
  }
  qsort(order, (size_t)count, sizeof *order, larger_first);
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
