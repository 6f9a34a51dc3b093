/* bench: floors of a plan worked out by hand, spans of the pool, and the timeline as JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* after what it leans on */
#include <cmocka.h>

#include "runtime/base/file.h"
#include "runtime/base/json.h"
#include "runtime/job/bench_floor.h"
#include "runtime/job/trace.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- floors ---- */

/* A machine with easy numbers: 1000 bytes of L1, 10000 of L2, 100000 of L3. */
static const MachinePeak easy = {.vector = "avx2",
                                 .threads = 1,
                                 .f32 = 100,
                                 .memory_read = 1,
                                 .memory_copy = 2,
                                 .l3 = 4,
                                 .l2 = 8,
                                 .l1_bytes = 1000,
                                 .l2_bytes = 10000,
                                 .l3_bytes = 100000};

static void expect_floor(const StepFloor *floor, const char *bound, double seconds) {
  assert_string_equal(floor->bound, bound);
  assert_true(fabs(floor->seconds - seconds) < 1e-9 * seconds);
}

static void floors(void **state) {
  (void)state;
  static const PlanRef small[] = {{PLACE_ARENA, 0}}, weights[] = {{PLACE_PERSISTENT, 1}};
  static const PlanRef tail[] = {{PLACE_ARENA, 600}}, big[] = {{PLACE_ARENA, 100096}};
  static const int64_t of_small[] = {800}, of_weights[] = {6000}, of_big[] = {200000};
  static const int64_t of_tail[] = {400};
  static const PlanTensor tensors[] = {{"a", {DT_f32, 1, {16}}, PLAN_PARAMETER, 0, 0, 0},
                                       {"b", {DT_f32, 1, {1500}}, PLAN_PARAMETER, 0, 0, 0}};
#define STEP(refs, of, operations)                                                                 \
  { .kind = STEP_KERNEL, .n_args = 1, .args = refs, .moved = of, .flops = (operations) }
  static const PlanStep steps[] = {
      STEP(small, of_small, 0),       /* last used two steps ago, 206000 and more bytes: memory */
      STEP(small, of_small, 0),       /* just used: L1, which costs nothing */
      STEP(weights, of_weights, 0),   /* memory again, 200000 bytes ago */
      STEP(weights, of_weights, 0),   /* 6000 bytes ago: L2 */
      STEP(tail, of_tail, 0),         /* 200 of it are of `small`, 6800 bytes ago; 200 are new */
      STEP(weights, of_weights, 1e6), /* L2, but the arithmetic takes longer */
      STEP(big, of_big, 0)};
#undef STEP
  enum { STEPS = sizeof steps / sizeof *steps };
  const PlanEntry entry = {.name = "e", .n_steps = STEPS, .steps = steps};
  const Plan plan = {.n_tensors = 2, .tensors = tensors};
  StepFloor at[STEPS];
  bench_floors(&plan, &entry, &easy, at);
  expect_floor(&at[0], "memory", 800 / 2.0);
  assert_true(at[1].seconds == 0 && at[1].l1 == 800);
  assert_string_equal(at[1].bound, "");
  expect_floor(&at[2], "memory", 6000 / 2.0);
  expect_floor(&at[3], "L2", 6000 / 8.0);
  assert_true(at[4].l2 == 200 && at[4].memory == 200);
  expect_floor(&at[4], "memory", 200 / 2.0);
  expect_floor(&at[5], "fma", 1e6 / 100);
  expect_floor(&at[6], "memory", 200000 / 2.0);

  MachinePeak large = easy; /* a third level that holds everything */
  large.l3_bytes = 1000000;
  bench_floors(&plan, &entry, &large, at);
  expect_floor(&at[0], "L3", 800 / 4.0);
  assert_true(at[6].l3 == 200000 && at[6].memory == 0);
}

/* ---- the pool's spans ---- */

static void add_one(void *const *arguments, int64_t begin, int64_t end) {
  int *cells = arguments[0];
  for (int64_t b = begin; b < end; b++)
    cells[b]++;
}

static void spans(void **state) {
  (void)state;
  enum { BLOCKS = 64, TASKS = 5, ROOM = 4 };
  for (int threads = 1; threads <= 3; threads++) {
    Pool *pool;
    Error error;
    int cells[BLOCKS] = {0};
    assert_true(pool_open(&pool, threads, &error));
    pool_record(pool, ROOM);
    for (int i = 0; i < TASKS; i++)
      pool_run(pool, add_one, (void *[]){cells}, BLOCKS);
    int chunks = 0, kept = 0;
    for (int t = 0; t < threads; t++) {
      int count;
      const PoolSpan *span = pool_spans(pool, t, &count);
      assert_true(count <= ROOM);
      kept += count;
      for (int i = 0; i < count; i++) {
        chunks += span[i].chunks;
        assert_true(span[i].begin <= span[i].end && span[i].busy >= 0);
        assert_true(span[i].busy <= span[i].end - span[i].begin);
        assert_true(i == 0 || span[i - 1].end <= span[i].begin);
      }
    }
    assert_true(kept > 0 && chunks <= TASKS * threads * 8);
    assert_true(threads > 1 || (kept == ROOM && chunks == ROOM));
    pool_record(pool, 0);
    pool_run(pool, add_one, (void *[]){cells}, BLOCKS);
    for (int i = 0; i < BLOCKS; i++)
      assert_int_equal(cells[i], TASKS + 1);
    int count;
    assert_null(pool_spans(pool, 0, &count));
    pool_close(pool);
  }
}

/* ---- peaks ---- */

static void peaks(void **state) {
  (void)state;
  static const char *const levels[] = {"native", "x86-64", "portable"};
  Pool *pool;
  Error error;
  assert_true(pool_open(&pool, 2, &error));
  for (int i = 0; i < 3; i++) {
    MachinePeak peak = {0};
    assert_true(machine_measure(&peak, pool, levels[i], &error));
    assert_true(peak.f32 > 0 && peak.memory_read > 0 && peak.memory_copy > 0);
    assert_true(machine_memory(&peak) >= peak.memory_read);
    assert_true(peak.l2_bytes == 0 || peak.l2 > 0);
    assert_true(peak.l1_bytes <= peak.l2_bytes);
    if (i == 2)
      assert_string_equal(peak.vector, "portable");
  }
  pool_close(pool);
}

/* ---- the timeline ---- */

static void timeline(void **state) {
  (void)state;
  Trace trace;
  Error error;
  Arena *arena = arena_new();
  char path[] = "/tmp/tricot-trace-XXXXXX", *text;
  size_t size;
  Json json;
  int file = mkstemp(path);
  assert_true(file >= 0);
  close(file);
  trace_open(&trace, "a \"model\"");
  trace_row(&trace, 0, "steps");
  trace_event(&trace, 0, "conv+\xce\xb1\n", "kernel", trace.origin + 1500, trace.origin + 4000,
              "\"place\": \"m.yaml:3\"");
  assert_true(trace_write(&trace, path, &error));
  trace_event(&trace, 0, "later", "kernel", trace.origin + 5000, trace.origin + 6000, NULL);
  assert_true(trace_write(&trace, path, &error));
  trace_close(&trace);
  assert_true(file_read(arena, path, 1 << 20, &text, &size, &error));
  if (!json_parse(arena, text, size, &json, &error))
    fail_msg("%s: %s", error.text, text);
  const Json *events = json_get(&json, "traceEvents");
  assert_int_equal(events->count, 5);
  const Json *event = &events->items[3];
  assert_string_equal(json_get(event, "ph")->string, "X");
  assert_string_equal(json_get(event, "name")->string, "conv+\xce\xb1\n");
  assert_true(json_get(event, "ts")->number == 1.5 && json_get(event, "dur")->number == 2.5);
  assert_string_equal(json_get(json_get(event, "args"), "place")->string, "m.yaml:3");
  unlink(path);
  arena_free(arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(floors), cmocka_unit_test(spans),
                                     cmocka_unit_test(peaks), cmocka_unit_test(timeline)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
