/* The memory plan of an entry point as text, for `--dump memory`: what lies where, and how long. */
#ifndef TRICOT_DRIVER_MEMORY_TEXT_H
#define TRICOT_DRIVER_MEMORY_TEXT_H
#include "passes/memory_plan.h"
#include "runtime/base/text.h"

/* A heading, then a line a slot by offset: offset, bytes, first and last step, name, type, place.
 * Slots are planned already; memory is "arena" or "prepared memory". */
void memory_text(const char *entry, const char *memory, int64_t bytes, const MemorySlot *slots,
                 const MemoryNote *notes, int count, Text *out);
/* The largest of the tensors that lie there together when it holds most, at most so many, a line
 * each: bytes, name, type, place. */
void memory_peak_text(const MemorySlot *slots, const MemoryNote *notes, int count, int most,
                      Text *out);
#endif
