/* Printing a memory plan. See memory_text.h. */
#include "driver/memory_text.h"
#include "runtime/base/bytes.h"
#include <stdlib.h>

static int by_place(const void *a, const void *b) {
  const MemorySlot *x = *(const MemorySlot *const *)a, *y = *(const MemorySlot *const *)b;
  if (x->offset != y->offset)
    return x->offset < y->offset ? -1 : 1;
  if (x->first != y->first)
    return x->first < y->first ? -1 : 1;
  return x < y ? -1 : x > y;
}

void memory_text(const char *entry, const char *memory, int64_t bytes, const MemorySlot *slots,
                 const MemoryNote *notes, int count, Text *out) {
  const MemorySlot **order = mem_alloc(sizeof *order * (size_t)(count + 1));
  int64_t sum = 0;
  for (int i = 0; i < count; i++) {
    order[i] = &slots[i];
    sum += slots[i].bytes;
  }
  qsort(order, (size_t)count, sizeof *order, by_place);
  int step;
  int64_t alive = memory_alive(slots, count, MEMORY_ALIGNMENT, &step);
  text_add(out, "# %s of @%s: %lld bytes for %lld in %d tensors", memory, entry, (long long)bytes,
           (long long)sum, count);
  if (alive)
    text_add(out, "; %.3f times the %lld alive in step %d", (double)bytes / (double)alive,
             (long long)alive, step);
  text_add(out, "\n");
  text_add(out, "# %10s %12s %6s %6s  what\n", "offset", "bytes", "first", "last");
  for (int i = 0; i < count; i++) {
    const MemorySlot *slot = order[i];
    const MemoryNote *note = &notes[slot - slots];
    char last[16];
    snprintf(last, sizeof last, slot->last == MEMORY_FOREVER ? "end" : "%d", slot->last);
    text_add(out, "%12lld %12lld %6d %6s  %s : %s", (long long)slot->offset, (long long)slot->bytes,
             slot->first, last, note->name, type_text(&note->type));
    if (note->loc.source)
      text_add(out, "  %s:%d", note->loc.source->path, note->loc.line);
    text_add(out, "\n");
  }
  free(order);
}

static int by_size(const void *a, const void *b) {
  const MemorySlot *x = *(const MemorySlot *const *)a, *y = *(const MemorySlot *const *)b;
  if (x->bytes != y->bytes)
    return x->bytes > y->bytes ? -1 : 1;
  return x < y ? -1 : x > y;
}

void memory_peak_text(const MemorySlot *slots, const MemoryNote *notes, int count, int most,
                      Text *out) {
  const MemorySlot **alive = mem_alloc(sizeof *alive * (size_t)(count + 1));
  int step, n = 0;
  memory_alive(slots, count, MEMORY_ALIGNMENT, &step);
  for (int i = 0; i < count; i++)
    if (slots[i].first <= step && step <= slots[i].last)
      alive[n++] = &slots[i];
  qsort(alive, (size_t)n, sizeof *alive, by_size);
  for (int i = 0; i < n && i < most; i++) {
    const MemoryNote *note = &notes[alive[i] - slots];
    char bytes[32];
    bytes_text((double)alive[i]->bytes, bytes, sizeof bytes);
    text_add(out, "  %10s  %s : %s", bytes, note->name, type_text(&note->type));
    if (note->loc.source)
      text_add(out, "  %s:%d", note->loc.source->path, note->loc.line);
    text_add(out, "\n");
  }
  if (n > most)
    text_add(out, "  and %d smaller ones\n", n - most);
  free(alive);
}
