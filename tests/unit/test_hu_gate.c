/* The judge of HU: made histograms with and without air, padding, bone and noise, right and wrongly
 * rescaled; then every real volume as it is, rescaled twice, and not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/base/arena.h"
#include "runtime/base/random.h"
#include "runtime/data/hu_gate.h"
#include "tests/unit/shared.h"
#include <string.h>

enum { SIDE = 40, VOXELS = SIDE * SIDE * SIDE };

/* A part of a volume: uniform values around `middle`, or all the same where spread is 0. */
typedef struct Part {
  double share, middle, spread;
} Part;

static Volume made(const Part *parts, int count) {
  Volume v = {.nx = SIDE, .ny = SIDE, .nz = SIDE, .kind = VOXEL_F32, .slope = 1};
  float *stored = mem_alloc(sizeof *stored * VOXELS);
  for (int i = 0; i < VOXELS; i++) {
    double at = random_uniform(1, 0, (uint64_t)i), noise = random_uniform(2, 0, (uint64_t)i) - 0.5;
    int part = 0;
    for (double end = parts[0].share; at > end && part + 1 < count; end += parts[part].share)
      part++;
    stored[i] = (float)(parts[part].middle + 2 * parts[part].spread * noise);
  }
  v.stored = stored;
  return v;
}

static HuVerdict verdict(const Volume *v, double slope, double intercept) {
  PrepareFacts facts = {slope, intercept, {1, 1, 1}};
  HuReport report;
  hu_gate_judge(v, &facts, &report);
  return report.verdict;
}

static void made_bodies(void **state) {
  (void)state;
  static const Part bodies[][6] = {
      /* air, lung, fat, muscle, bone */
      {{0.4, -1000, 20}, {0.15, -850, 80}, {0.15, -100, 30}, {0.25, 50, 40}, {0.05, 500, 300}},
      /* the same with padding outside the circle */
      {{0.21, -3024, 0}, {0.3, -990, 20}, {0.1, -850, 80}, {0.15, -100, 30}, {0.24, 50, 40}},
      /* abdomen without air */
      {{0.35, -100, 30}, {0.6, 50, 40}, {0.05, 500, 300}},
      /* a head: much bone */
      {{0.3, -1000, 10}, {0.1, -90, 30}, {0.4, 40, 30}, {0.2, 900, 500}},
      /* clipped at -1024, contrast medium */
      {{0.5, -1024, 0}, {0.1, -900, 60}, {0.3, 30, 60}, {0.1, 250, 50}},
  };
  for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
    int count = 0;
    while (count < 6 && bodies[i][count].share > 0)
      count++;
    Volume v = made(bodies[i], count);
    if (verdict(&v, 1, 0) != HU_GOOD)
      fail_msg("body %zu is refused", i);
    static const double shifts[] = {-1024, -1000, -8192};
    for (int s = 0; s < 3; s++) {
      if (verdict(&v, 1, shifts[s]) != HU_TWICE)
        fail_msg("body %zu twice by %g: %d", i, shifts[s], verdict(&v, 1, shifts[s]));
      if (verdict(&v, 1, -shifts[s]) != HU_RAW)
        fail_msg("body %zu raw by %g: %d", i, -shifts[s], verdict(&v, 1, -shifts[s]));
    }
    volume_free(&v);
  }
}

/* What is no picture of a body gives no ground to stop. */
static void nothing_to_judge(void **state) {
  (void)state;
  static const Part noise = {1, 0, 1500}, mask[] = {{0.9, 0, 0}, {0.1, 1, 0}},
                    lung[] = {{0.97, -850, 90}, {0.03, 0, 60}};
  Volume v = made(&noise, 1);
  assert_int_equal(verdict(&v, 1, 0), HU_UNCLEAR);
  volume_free(&v);
  v = made(mask, 2);
  assert_true(verdict(&v, 1, 0) < HU_TWICE);
  volume_free(&v);
  v = made(lung, 2); /* a crop inside a lung */
  assert_true(verdict(&v, 1, 0) < HU_TWICE);
  volume_free(&v);
}

static void stops_warns_or_is_off(void **state) {
  (void)state;
  static const Part body[] = {{0.6, -1000, 20}, {0.4, 40, 50}};
  Volume v = made(body, 2);
  PrepareFacts right = {1, 0, {1, 1, 1}}, twice = {1, -1024, {1, 1, 1}};
  Error warning, error = {""};
  assert_true(hu_gate(&v, &right, GATE_STOP, "a.nii", &warning, &error));
  assert_string_equal(warning.text, "");
  assert_false(hu_gate(&v, &twice, GATE_STOP, "a.nii", &warning, &error));
  assert_non_null(strstr(error.text, "a.nii: error: looks rescaled twice"));
  assert_true(hu_gate(&v, &twice, GATE_WARN, "a.nii", &warning, &error));
  assert_non_null(strstr(warning.text, "a.nii: warning: looks rescaled twice"));
  assert_true(hu_gate(&v, &twice, GATE_OFF, "a.nii", &warning, &error));
  assert_string_equal(warning.text, "");
  volume_free(&v);
}

static const struct {
  const char *name;
  double slope, intercept; /* of its metadata row */
} real[] = {
    {"data/ctrate-mini/dataset/train/train_1/train_1_a/train_1_a_1.nii.gz", 1, 0},
    {"data/ctrate-mini/dataset/train/train_2/train_2_a/train_2_a_1.nii.gz", 1, 0},
    {"data/ctrate-mini/dataset/train/train_3/train_3_a/train_3_a_1.nii.gz", 1, 0},
    {"data/ctrate-mini/dataset/train/train_4/train_4_a/train_4_a_1.nii.gz", 1, 0},
    {"data/ctrate-mini/dataset/valid/valid_1/valid_1_a/valid_1_a_1.nii.gz", 1, 0},
    {"data/ctrate-mini/dataset/valid/valid_2/valid_2_a/valid_2_a_1.nii.gz", 1, 0},
    {"data/ct/abdomen_TS_example_ct_sm.nii.gz", 1, 0},
    {"goldens/prep/train_1_a_1.nii.gz", 1, -1024},
    {"goldens/prep/train_1_a_2.nii.gz", 1, 0},
    {"goldens/prep/train_2_a_1.nii.gz", 2, -500},
};

static void real_volumes(void **state) {
  (void)state;
  shared_needed();
  for (size_t i = 0; i < sizeof real / sizeof *real; i++) {
    Volume v;
    Error error = {""};
    double slope = real[i].slope, intercept = real[i].intercept;
    if (!volume_read(shared_path(real[i].name), &v, &error))
      fail_msg("%s", error.text);
    if (verdict(&v, slope, intercept) >= HU_TWICE)
      fail_msg("%s is refused", real[i].name);
    bool noise = strstr(real[i].name, "train_2_a_1") && strstr(real[i].name, "goldens");
    if (!noise) { /* that one shows no body */
      assert_int_equal(verdict(&v, slope, intercept - 1024), HU_TWICE);
      assert_int_equal(verdict(&v, slope, intercept - 8192), HU_TWICE);
      assert_int_equal(verdict(&v, slope, intercept + 8192), HU_RAW);
    }
    if (v.kind == VOXEL_U16 && v.intercept == -1024) { /* as stored, without the intercept */
      v.intercept = 0;
      assert_int_equal(verdict(&v, 1, 0), HU_RAW);
    }
    volume_free(&v);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(made_bodies),
      cmocka_unit_test(nothing_to_judge),
      cmocka_unit_test(stops_warns_or_is_off),
      cmocka_unit_test(real_volumes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
