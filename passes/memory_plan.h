/* Memory planning: places for tensors with lifetimes in one arena.
 *
 * Offsets are chosen greedily, largest tensor first, each at the lowest place that no tensor alive
 * at the same time covers. (Pisarchyk and Lee, arXiv 2001.03288, "greedy by size".)
 */
#ifndef TRICOT_PASSES_MEMORY_PLAN_H
#define TRICOT_PASSES_MEMORY_PLAN_H
#include "runtime/base/arena.h"
#include <stdint.h>

typedef struct MemorySlot {
  int64_t bytes;
  int first, last; /* steps, both inclusive, between which it holds something */
  int64_t offset;  /* result */
} MemorySlot;

/* Fills the offsets (multiples of `alignment`) and returns the size of the arena. */
int64_t memory_plan(Arena *arena, MemorySlot *slots, int count, int64_t alignment);
#endif
