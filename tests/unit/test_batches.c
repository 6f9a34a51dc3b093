/* Batches read ahead: the same whatever the number of threads, errors at their batch, closed at any
 * time, and the time the caller waited. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/job/source.h"
#include "tests/unit/shared.h"
#include <string.h>

enum { VOLUMES = 12, SIDE = 4, VOXELS = SIDE * SIDE * SIDE, BATCH = 3, STEPS = 20 };

static char folder[100];
static DatasetSample samples[VOLUMES];
static Dataset dataset = {.count = VOLUMES, .samples = samples, .size = {SIDE, SIDE, SIDE}};

static int make_world(void **state) {
  (void)state;
  static char paths[VOLUMES][200], names[VOLUMES][20];
  snprintf(folder, sizeof folder, "%s", scratch_make());
  for (int i = 0; i < VOLUMES; i++) {
    float values[VOXELS];
    for (int v = 0; v < VOXELS; v++)
      values[v] = (float)i / 16;
    snprintf(paths[i], sizeof paths[i], "%s/v%d.tvol", folder, i);
    snprintf(names[i], sizeof names[i], "v%d", i);
    samples[i] = (DatasetSample){.volume = names[i], .item.file = paths[i]};
    VolumeOrigin origin = {.settings = "s", .axes = "LPS"};
    if (!volume_file_write(paths[i], dataset.size, values, STORE_F16, &origin, NULL))
      return 1;
  }
  return 0;
}

static int remove_world(void **state) {
  (void)state;
  scratch_remove(folder);
  return 0;
}

static int64_t chosen(int64_t step, int64_t row) { return (step * 7 + row * 5) % VOLUMES; }

/* Batches must be asked for one after the other: an order may depend on the one before. If they are
 * not, `next` stays below 0. */
static void pick(void *context, int64_t step, int64_t *out) {
  int64_t *next = context;
  *next = *next == step ? step + 1 : -1;
  for (int64_t row = 0; row < BATCH; row++)
    out[row] = chosen(step, row);
}

static Batches *open_batches(int threads, int64_t first, int64_t *next) {
  Error error = {""};
  Batches *batches;
  BatchSource source = {.dataset = &dataset,
                        .batch = BATCH,
                        .voxels = VOXELS,
                        .pick = pick,
                        .context = next,
                        .first = first,
                        .end = STEPS,
                        .threads = threads};
  *next = first;
  if (!batches_open(&batches, &source, &error))
    fail_msg("%s", error.text);
  return batches;
}

static float input[BATCH * VOXELS];
static VolumePort port = {.data = input, .batch = BATCH, .voxels = VOXELS};

static void expect_batch(Batches *batches, int64_t step) {
  int64_t which[BATCH];
  Error error = {""};
  if (!batches_take(batches, &port, which, &error))
    fail_msg("%s", error.text);
  for (int64_t row = 0; row < BATCH; row++) {
    assert_int_equal(which[row], chosen(step, row));
    for (int64_t v = 0; v < VOXELS; v++)
      assert_true(input[row * VOXELS + v] == (float)which[row] / 16);
  }
}

static void same_for_any_threads(void **state) {
  (void)state;
  for (int threads = 0; threads <= 7; threads++) {
    int64_t next;
    Batches *batches = open_batches(threads, 2, &next);
    for (int64_t step = 2; step < STEPS; step++)
      expect_batch(batches, step);
    batches_close(batches);
    assert_int_equal(next, STEPS);
  }
}

static void closes_at_any_time(void **state) {
  (void)state;
  for (int taken = 0; taken < 6; taken++) {
    int64_t next;
    Batches *batches = open_batches(3, 0, &next);
    for (int64_t step = 0; step < taken; step++)
      expect_batch(batches, step);
    batches_close(batches);
    assert_true(next >= 0 && next <= taken + 1); /* no further ahead than the ring is long */
  }
}

static void errors_at_their_batch(void **state) {
  (void)state;
  const char *file = samples[11].item.file;
  samples[11].item.file = "nowhere/v11.tvol";
  int64_t bad = 0;
  while (chosen(bad, 0) != 11 && chosen(bad, 1) != 11 && chosen(bad, 2) != 11)
    bad++;
  for (int threads = 1; threads <= 4; threads++) {
    int64_t next, which[BATCH];
    Error error = {""};
    Batches *batches = open_batches(threads, 0, &next);
    for (int64_t step = 0; step < bad; step++)
      expect_batch(batches, step);
    assert_false(batches_take(batches, &port, which, &error));
    assert_non_null(strstr(error.text, "nowhere/v11.tvol: error: "));
    batches_close(batches);
  }
  samples[11].item.file = file;
}

static void counts_the_waiting(void **state) {
  (void)state;
  int64_t next;
  double first = -1;
  Batches *batches = open_batches(1, 0, &next);
  assert_true(batches_stalled(batches, &first) == 0 && first == 0);
  expect_batch(batches, 0);
  assert_true(batches_stalled(batches, &first) == 0 && first > 0);
  expect_batch(batches, 1);
  assert_true(batches_stalled(batches, &first) > 0);
  batches_close(batches);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(same_for_any_threads),
      cmocka_unit_test(closes_at_any_time),
      cmocka_unit_test(errors_at_their_batch),
      cmocka_unit_test(counts_the_waiting),
  };
  return cmocka_run_group_tests(tests, make_world, remove_world);
}
