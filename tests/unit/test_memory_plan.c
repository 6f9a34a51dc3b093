/* Memory planning: tensors alive together never overlap, space is shared where lifetimes allow, and
 * the plan depends on the request alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdbool.h>

#include "passes/memory_plan.h"
#include "runtime/base/random.h"

enum { ALIGNMENT = 64, SLOTS = 300 };

static void fill(MemorySlot *slots, int count, uint64_t seed) {
  for (int i = 0; i < count; i++) {
    int first = (int)(100 * random_uniform(seed, 1, (uint64_t)i));
    slots[i] = (MemorySlot){.bytes = 1 + (int64_t)(5000 * random_uniform(seed, 2, (uint64_t)i)),
                            .first = first,
                            .last = first + (int)(12 * random_uniform(seed, 3, (uint64_t)i))};
  }
}

static void test_no_overlap(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 20; seed++) {
    Arena *arena = arena_new();
    MemorySlot slots[SLOTS], again[SLOTS];
    int64_t sum = 0;
    fill(slots, SLOTS, seed);
    fill(again, SLOTS, seed);
    int64_t size = memory_plan(arena, slots, SLOTS, ALIGNMENT);
    assert_int_equal(size, memory_plan(arena, again, SLOTS, ALIGNMENT));
    for (int i = 0; i < SLOTS; i++) {
      sum += slots[i].bytes;
      assert_int_equal(slots[i].offset, again[i].offset);
      assert_int_equal(slots[i].offset % ALIGNMENT, 0);
      assert_true(slots[i].offset + slots[i].bytes <= size);
      for (int j = 0; j < i; j++) {
        bool together = slots[i].first <= slots[j].last && slots[j].first <= slots[i].last;
        bool apart = slots[i].offset + slots[i].bytes <= slots[j].offset ||
                     slots[j].offset + slots[j].bytes <= slots[i].offset;
        assert_true(!together || apart);
      }
    }
    assert_true(size < sum / 3); /* some 100 steps, each tensor lives for at most 12 */
    arena_free(arena);
  }
}

/* A chain of equal tensors, each read by the next step alone, needs room for two. */
static void test_chain(void **state) {
  (void)state;
  Arena *arena = arena_new();
  MemorySlot slots[10];
  for (int i = 0; i < 10; i++)
    slots[i] = (MemorySlot){.bytes = 1000, .first = i, .last = i + 1};
  assert_int_equal(memory_plan(arena, slots, 10, ALIGNMENT), 2 * 1024);
  assert_int_equal(memory_plan(arena, slots, 0, ALIGNMENT), 0);
  arena_free(arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_overlap),
                                     cmocka_unit_test(test_chain)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
