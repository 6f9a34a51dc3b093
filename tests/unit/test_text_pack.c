/* Packing: placements are complete and deterministic, arrays say what the model wants, and shapes
 * for a corpus hold every batch with few cells.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/base/arena.h"
#include "runtime/base/random.h"
#include "runtime/data/text_pack.h"
#include <stdlib.h>
#include <string.h>

static void placing(void **state) {
  (void)state;
  TextPlace places[6];
  /* by hand: 7 | 5 3 | 3 2 2 */
  assert_int_equal(text_place((int32_t[]){3, 2, 7, 5, 3, 2}, 6, 8, places), 3);
  static const TextPlace wanted[] = {{13, 2}, {19, 2}, {0, 1}, {8, 1}, {16, 1}, {21, 3}};
  for (int i = 0; i < 6; i++) {
    assert_int_equal(places[i].start, wanted[i].start);
    assert_int_equal(places[i].segment, wanted[i].segment);
  }
  assert_int_equal(text_place((int32_t[]){4, 4, 4}, 3, 4, places), 3);
  assert_int_equal(text_place((int32_t[]){4, 4, 4}, 3, 12, places), 1);
  assert_int_equal(text_place((int32_t[]){4, 5, 4}, 3, 4, NULL), 0);
  assert_int_equal(text_place(NULL, 0, 4, NULL), 0);
}

static void choosing(void **state) {
  (void)state;
  TextPlace places[3];
  static const TextShape shapes[] = {{3, 8}, {2, 8}, {1, 16}, {1, 12}};
  assert_int_equal(text_choose((int32_t[]){4, 4, 4}, 3, shapes, 4, places), 3);
  assert_int_equal(text_choose((int32_t[]){5, 4, 4}, 3, shapes, 4, places), 1); /* 16: the first */
  assert_int_equal(places[0].start, 0);
  assert_int_equal(places[1].start, 8);
  assert_int_equal(places[2].start, 12);
  assert_int_equal(text_choose((int32_t[]){5, 5, 5}, 3, shapes, 4, places), 2);
  assert_int_equal(text_choose((int32_t[]){6, 6, 6}, 3, shapes, 4, places), 0);
  assert_int_equal(text_choose((int32_t[]){17}, 1, shapes, 4, places), -1);
  assert_int_equal(text_choose((int32_t[]){9, 9}, 2, shapes, 4, places), -1);
}

static void filling(void **state) {
  (void)state;
  int32_t a[] = {101, 7, 102}, b[] = {101, 102};
  TokenIds texts[] = {{a, 3, 3}, {b, 2, 2}, {b, 2, 2}};
  TextPlace places[3];
  assert_int_equal(text_place((int32_t[]){3, 2, 2}, 3, 6, places), 2);
  int64_t ids[12], positions[12], segments[12], starts[4];
  text_fill((TextShape){2, 6}, texts, places, 3, 4, 9, ids, positions, segments, starts);
  assert_memory_equal(ids, ((int64_t[]){101, 7, 102, 101, 102, 9, 101, 102, 9, 9, 9, 9}),
                      sizeof ids);
  assert_memory_equal(positions, ((int64_t[]){0, 1, 2, 0, 1, 0, 0, 1, 0, 0, 0, 0}), sizeof ids);
  assert_memory_equal(segments, ((int64_t[]){1, 1, 1, 2, 2, 0, 1, 1, 0, 0, 0, 0}), sizeof ids);
  assert_memory_equal(starts, ((int64_t[]){0, 3, 6, 6}), sizeof starts);
}

enum { BATCHES = 60, BATCH = 8, LONGEST = 512 };

/* Every text inside its row, no two in one cell. */
static void check_places(const int32_t *tokens, int count, TextShape shape,
                         const TextPlace *places) {
  char *taken = mem_alloc((size_t)(shape.rows * shape.length));
  for (int i = 0; i < count; i++) {
    assert_true(places[i].start % shape.length + tokens[i] <= shape.length);
    for (int64_t k = 0; k < tokens[i]; k++) {
      int64_t at = places[i].start + k;
      assert_in_range(at, 0, shape.rows * shape.length - 1);
      assert_false(taken[at]);
      taken[at] = 1;
    }
  }
  free(taken);
}

static void planning(void **state) {
  (void)state;
  int32_t tokens[BATCHES * BATCH];
  int64_t order[BATCHES * BATCH], tokens_in_all = 0;
  for (int i = 0; i < BATCHES * BATCH; i++) {
    double u = random_uniform(1, 2, (uint64_t)i);
    tokens[i] = 3 + (int32_t)(u * u * (LONGEST - 3));
    order[i] = (i * 7) % (BATCHES * BATCH);
    tokens_in_all += tokens[i];
  }
  int64_t before = INT64_MAX;
  for (int most = 1; most <= 5; most++) {
    TextPlan cost, again;
    text_plan(tokens, order, BATCHES, BATCH, LONGEST, true, most, &cost);
    assert_in_range(cost.count, 1, most);
    text_plan(tokens, order, BATCHES, BATCH, LONGEST, true, most, &again);
    assert_memory_equal(&cost, &again, sizeof cost);
    assert_int_equal(cost.tokens, tokens_in_all);
    assert_int_equal(cost.padded, BATCHES * BATCH * LONGEST);
    assert_true(cost.cells >= cost.tokens && cost.cells <= before);
    assert_true(most == 1 || cost.cells < before);
    before = cost.cells;
    int64_t cells = 0;
    for (int b = 0; b < BATCHES; b++) {
      int32_t counts[BATCH];
      TextPlace places[BATCH];
      for (int i = 0; i < BATCH; i++)
        counts[i] = tokens[order[b * BATCH + i]];
      int which = text_choose(counts, BATCH, cost.shapes, cost.count, places);
      assert_in_range(which, 0, cost.count - 1);
      again.uses[which]--;
      check_places(counts, BATCH, cost.shapes[which], places);
      cells += cost.shapes[which].rows * cost.shapes[which].length;
    }
    assert_int_equal(cells, cost.cells);
    for (int i = 0; i < cost.count; i++)
      assert_int_equal(again.uses[i], 0);
  }
  assert_true(before * 10 < tokens_in_all * 13); /* padded: 3 times as many */
}

static void check_shape(const TextPlan *plan, int i, int64_t rows, int64_t length, int64_t uses) {
  assert_int_equal(plan->shapes[i].rows, rows);
  assert_int_equal(plan->shapes[i].length, length);
  assert_int_equal(plan->uses[i], uses);
}

/* Two kinds of batches and two shapes: no cell is lost. One shape holds both. */
static void planning_by_hand(void **state) {
  (void)state;
  int32_t tokens[] = {16, 16, 8, 8, 64, 32, 32, 64, 8, 16, 8, 16};
  TextPlan plan;
  text_plan(tokens, NULL, 3, 4, 64, true, 2, &plan);
  assert_int_equal(plan.count, 2);
  check_shape(&plan, 0, 1, 48, 2);
  check_shape(&plan, 1, 1, 192, 1);
  assert_int_equal(plan.cells, 2 * 48 + 192);
  assert_int_equal(plan.tokens, plan.cells);
  text_plan(tokens, NULL, 3, 4, 64, true, 1, &plan);
  assert_int_equal(plan.cells, 3 * 192);
  text_plan(tokens, NULL, 3, 4, 64, true, 3, &plan);
  assert_int_equal(plan.count, 2); /* no other helps */
  text_plan(tokens, NULL, 3, 4, 64, false, 3, &plan);
  assert_int_equal(plan.count, 2);
  check_shape(&plan, 0, 4, 16, 2);
  check_shape(&plan, 1, 4, 64, 1);
  assert_int_equal(plan.cells, 2 * 64 + 256);
  /* rounding stops at the longest row */
  text_plan((int32_t[]){20, 19}, NULL, 2, 1, 20, false, 2, &plan);
  assert_int_equal(plan.count, 1);
  check_shape(&plan, 0, 1, 20, 2);
}

/* The plan is the best of all choices of three sizes. */
static void planning_is_best(void **state) {
  (void)state;
  enum { N = 12 };
  int32_t tokens[N];
  int64_t least = INT64_MAX;
  for (int i = 0; i < N; i++)
    tokens[i] = (int32_t)(1 + random_uniform(5, 3, (uint64_t)i) * 500);
  for (int a = 0; a < N; a++)
    for (int b = 0; b < N; b++)
      for (int c = 0; c < N; c++) {
        int64_t size[] = {(tokens[a] + 15) / 16 * 16, (tokens[b] + 15) / 16 * 16,
                          (tokens[c] + 15) / 16 * 16};
        int64_t cells = 0;
        for (int i = 0; i < N && cells < INT32_MAX; i++) {
          int64_t best = INT32_MAX;
          for (int s = 0; s < 3; s++)
            if (size[s] >= tokens[i] && size[s] < best)
              best = size[s];
          cells += best;
        }
        least = cells < least ? cells : least;
      }
  TextPlan plan;
  text_plan(tokens, NULL, N, 1, 512, true, 3, &plan);
  assert_int_equal(plan.cells, least);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(placing),          cmocka_unit_test(choosing),
      cmocka_unit_test(filling),          cmocka_unit_test(planning),
      cmocka_unit_test(planning_by_hand), cmocka_unit_test(planning_is_best)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
