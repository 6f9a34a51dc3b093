/* Memory planning: places for tensors with lifetimes in one arena.
 *
 * Offsets are chosen greedily in an order, each at the lowest place that no tensor alive at the
 * same time covers (Pisarchyk and Lee, arXiv 2001.03288, "greedy by size"). Several orders are
 * tried until one needs no more than what is alive at once, and the best is kept.
 */
#ifndef TRICOT_PASSES_MEMORY_PLAN_H
#define TRICOT_PASSES_MEMORY_PLAN_H
#include "runtime/base/arena.h"
#include "runtime/base/diag.h"
#include "runtime/base/dtype.h"
#include <stdint.h>

enum {
  MEMORY_FOREVER = 1 << 30, /* MemorySlot.last: to the end of the entry point and beyond */
  MEMORY_ALIGNMENT = 64     /* of places in an arena */
};

typedef struct MemorySlot {
  int64_t bytes;
  int first, last; /* steps, both inclusive, between which it holds something */
  int64_t offset;  /* result */
} MemorySlot;

/* What a slot holds, for people. */
typedef struct MemoryNote {
  const char *name; /* "%12", "input volume", "scratch of matmul" */
  Type type;
  Loc loc;
} MemoryNote;

static inline int64_t memory_rounded(int64_t bytes, int64_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

/* Fills the offsets (multiples of `alignment`) and returns the size of the arena. */
int64_t memory_plan(Arena *arena, MemorySlot *slots, int count, int64_t alignment);

/* The most that is alive in one step, which no plan can do without; *step (may be NULL) is the
 * first such step, -1 for what is there before the first. */
int64_t memory_alive(const MemorySlot *slots, int count, int64_t alignment, int *step);
#endif
