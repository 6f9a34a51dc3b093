/* Preprocessing against a direct eight-corner computation on made volumes, and against the golden
 * volumes where they are present. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/base/random.h"
#include "runtime/data/csv.h"
#include "runtime/data/prepare_options.h"
#include "runtime/safetensors.h"
#include "tests/unit/shared.h"
#include <math.h>
#include <string.h>

static Volume made_volume(int64_t nx, int64_t ny, int64_t nz, uint64_t seed) {
  int64_t count = nx * ny * nz;
  Volume volume = {.nx = nx, .ny = ny, .nz = nz, .kind = VOXEL_F32, .slope = 1};
  float *stored = mem_alloc(sizeof(float) * (size_t)count);
  for (int64_t i = 0; i < count; i++)
    stored[i] = (float)(random_uniform(seed, 0, (uint64_t)i) * 2800 - 1400);
  volume.stored = stored;
  return volume;
}

static double clipped(const Volume *v, const PrepareFacts *f, const PrepareOptions *o, int64_t x,
                      int64_t y, int64_t z) {
  double value = ((const float *)v->stored)[(z * v->ny + y) * v->nx + x] * f->slope + f->intercept;
  return fmin(fmax(value, o->clip[0]), o->clip[1]);
}

/* The result at one place, from the definition. */
static double direct(const Volume *v, const PrepareFacts *f, const PrepareOptions *o,
                     const int64_t place[3]) {
  const int64_t n[3] = {v->nz, v->nx, v->ny};
  const double spacing[3] = {f->spacing[2], f->spacing[0], f->spacing[1]};
  int64_t low[3], high[3];
  double weight[3];
  for (int i = 0; i < 3; i++) {
    int64_t resized = (int64_t)((double)n[i] * (spacing[i] / o->spacing[i]));
    int64_t start = resized > o->size[i] ? (resized - o->size[i]) / 2 : 0;
    int64_t before = resized < o->size[i] ? (o->size[i] - resized) / 2 : 0;
    int64_t at = place[i] - before + start;
    if (place[i] < before || at >= resized)
      return o->padding;
    double source = fmax(((double)at + 0.5) * (double)n[i] / (double)resized - 0.5, 0);
    low[i] = (int64_t)fmin(floor(source), (double)(n[i] - 1));
    high[i] = low[i] + 1 < n[i] ? low[i] + 1 : low[i];
    weight[i] = source - (double)low[i];
  }
  double sum = 0;
  for (int corner = 0; corner < 8; corner++) {
    int64_t at[3];
    double product = 1;
    for (int i = 0; i < 3; i++) {
      at[i] = corner >> i & 1 ? high[i] : low[i];
      product *= corner >> i & 1 ? weight[i] : 1 - weight[i];
    }
    sum += product * clipped(v, f, o, at[1], at[2], at[0]);
  }
  sum = fmin(fmax(sum, o->window[0]), o->window[1]);
  double middle = (o->window[0] + o->window[1]) / 2;
  return (sum - middle) / (o->window[1] - middle);
}

static void matches_the_definition(void **state) {
  (void)state;
  static const struct {
    int64_t n[3], size[3];
    double spacing[3], wanted[3];
  } cases[] = {
      {{9, 7, 5}, {8, 10, 6}, {1.3, 1.3, 2.7}, {1.5, 0.75, 0.75}}, /* crop and pad mixed */
      {{9, 7, 5}, {3, 4, 3}, {0.5, 0.5, 0.8}, {1.5, 0.75, 0.75}},  /* fewer voxels, cropped */
      {{4, 4, 4}, {4, 4, 4}, {1, 1, 1}, {1, 1, 1}},             /* untouched */
      {{1, 5, 1}, {9, 6, 7}, {3, 0.9, 4}, {1.5, 0.75, 0.75}},      /* single voxels stretched */
      {{6, 5, 9}, {16, 9, 9}, {0.9, 1.1, 0.4}, {0.3, 0.75, 0.6}}, /* different x and y */
  };
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    Volume volume = made_volume(cases[c].n[0], cases[c].n[1], cases[c].n[2], c);
    PrepareOptions options = prepare_defaults();
    PrepareFacts facts = {.slope = 0.9, .intercept = 30};
    memcpy(facts.spacing, cases[c].spacing, sizeof facts.spacing);
    memcpy(options.size, cases[c].size, sizeof options.size);
    memcpy(options.spacing, cases[c].wanted, sizeof options.spacing);
    options.padding = -0.5;
    int64_t d = options.size[0], h = options.size[1], w = options.size[2];
    float *out = mem_alloc(sizeof(float) * (size_t)(d * h * w));
    Error error = {""};
    if (!prepare_volume(&volume, &facts, &options, 1, out, &error))
      fail_msg("case %zu: %s", c, error.text);
    for (int64_t i = 0; i < d * h * w; i++) {
      const int64_t place[3] = {i / (h * w), i / w % h, i % w};
      double wanted = direct(&volume, &facts, &options, place);
      if (fabs(out[i] - wanted) > 2e-6)
        fail_msg("case %zu at %lld: %.9g, not %.9g", c, (long long)i, out[i], wanted);
    }
    free(out);
    volume_free(&volume);
  }
}

/* Two voxels of 1.5 mm along x become four of 0.75 mm at 1, 3/4, 1/4 and 0 of the first. */
static void orders_by_hand(void **state) {
  (void)state;
  static const struct {
    const char *preset;
    double wanted[6]; /* along x, padded from four to six */
  } cases[] = {
      /* -2000 -1200 400 1200 HU, then one clip to +-1000 */
      {"ct-clip", {-1, -1, -1, 0.4, 1, -1}},
      /* -1000 -500 500 1000 HU of values clipped before, then (v + 400) / 600 up to 200 HU */
      {"dcformer", {-1, -1, -1. / 6, 1, 1, -1}},
  };
  for (int c = 0; c < 2; c++) {
    static float stored[2] = {-2000, 1200};
    Volume volume = {.nx = 2, .ny = 1, .nz = 1, .kind = VOXEL_F32, .slope = 1, .stored = stored};
    PrepareFacts facts = {1, 0, {1.5, 0.75, 1.5}};
    PrepareOptions options;
    Error error = {""};
    float out[6];
    assert_true(prepare_preset(cases[c].preset, &options, &error));
    memcpy(options.size, (int64_t[]){1, 6, 1}, sizeof options.size);
    assert_true(prepare_volume(&volume, &facts, &options, 3, out, &error));
    for (int i = 0; i < 6; i++)
      assert_true(fabs(out[i] - cases[c].wanted[i]) < 1e-6);
  }
  /* without a resize voxels stay; without a window the result is in thousands of HU */
  static float stored[3] = {-2000, 100, 1200};
  Volume volume = {.nx = 1, .ny = 3, .nz = 1, .kind = VOXEL_F32, .slope = 1, .stored = stored};
  PrepareFacts facts = {2, -50, {0, 0, 0}};
  PrepareOptions options = prepare_defaults();
  Error error = {""};
  float out[5];
  assert_true(prepare_set(&options, "order", "[\"clip\"]", &error));
  assert_true(prepare_set(&options, "size", "1x1x5", &error));
  assert_true(prepare_set(&options, "padding", "-0.5", &error));
  assert_true(prepare_volume(&volume, &facts, &options, 1, out, &error));
  static const double wanted[5] = {-0.5, -1, 0.15, 1, -0.5};
  for (int i = 0; i < 5; i++)
    assert_true(fabs(out[i] - wanted[i]) < 1e-6);
}

static void threads_change_nothing(void **state) {
  (void)state;
  Volume volume = made_volume(23, 19, 31, 5);
  PrepareOptions options = prepare_defaults();
  PrepareFacts facts = {1, 0, {1, 1, 2}};
  Error error = {""};
  memcpy(options.size, (int64_t[]){37, 24, 26}, sizeof options.size);
  float *one = mem_alloc(sizeof(float) * 37 * 24 * 26), *many = mem_alloc(sizeof(float) * 37 * 624);
  assert_true(prepare_volume(&volume, &facts, &options, 1, one, &error));
  for (int threads = 2; threads <= 64; threads += 31) {
    memset(many, 0x7f, sizeof(float) * 37 * 624);
    assert_true(prepare_volume(&volume, &facts, &options, threads, many, &error));
    assert_memory_equal(one, many, sizeof(float) * 37 * 624);
  }
  free(one);
  free(many);
  volume_free(&volume);
}

/* ---- settings ---- */

static void settings_to_options(void **state) {
  (void)state;
  const PlanPair none[] = {{"volume", "[64, 64, 64]"},        {"prepare.preset", "\"ct-clip\""},
                           {"prepare.rescale", "\"metadata\""}, {"prepare.order", "none"},
                           {"prepare.clip", "none"},          {"prepare.spacing", "none"}};
  PrepareOptions o = prepare_defaults(), preset;
  Error error = {""};
  char text[PREPARE_TEXT_ROOM];
  assert_true(prepare_settings(none, 6, &o, &error));
  assert_true(o.size[0] == 256 && o.n_steps == 2 && o.window[1] == 1000); /* the size stays */
  assert_true(prepare_preset("ct-clip", &preset, &error));
  assert_true(preset.size[0] == 240 && preset.size[1] == 480 && preset.size[2] == 480);
  const PlanPair some[] = {{"prepare.spacing", "[3, 1.5]"},    {"prepare.window", "[-150.0, 250]"},
                           {"prepare.rescale", "\"none\""},    {"prepare.gate", "\"warn\""},
                           {"prepare.order", "[\"window\", \"resize\"]"},
                           {"prepare.orientation", "\"LPS\""}, {"prepare.padding", "0.0"}};
  o = prepare_defaults();
  assert_true(prepare_settings(some, 7, &o, &error));
  assert_true(o.rescale == RESCALE_NONE && o.gate == GATE_WARN && o.spacing[2] == 1.5);
  prepare_options_text(&o, text);
  assert_string_equal(text, "size 256x512x512 order window,resize window -150:250 spacing "
                            "3:1.5:1.5 spacing_from metadata padding 0 rescale none orientation "
                            "LPS");
  PrepareOptions again;
  assert_true(prepare_options_parse(text, &again, &error));
  assert_true(again.order[0] == PREPARE_WINDOW && again.spacing[0] == 3);
  assert_false(prepare_options_parse("size 1x1x1", &again, &error));
  assert_false(prepare_options_parse("what is this", &again, &error));
}

static void wrong_settings_are_named(void **state) {
  (void)state;
  static const PlanPair wrong[] = {
      {"prepare.preset", "\"lung\""},      {"prepare.spacing", "[1]"},
      {"prepare.spacing", "[1, 0]"},       {"prepare.spacing", "1"},
      {"prepare.clip", "[5, 5]"},          {"prepare.window", "[1, 2, 3]"},
      {"prepare.window", "[1, x]"},        {"prepare.order", "[\"clip\", \"clip\"]"},
      {"prepare.order", "[\"shrink\"]"},   {"prepare.order", "[]"},
      {"prepare.rescale", "\"csv\""},      {"prepare.orientation", "\"LRS\""},
      {"prepare.orientation", "\"lps\""},  {"prepare.gate", "\"maybe\""},
      {"prepare.padding", "true"},         {"prepare.padding", "inf"},
      {"prepare.spacing_from", "\"row\""}, {"prepare.colour", "\"red\""},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    PrepareOptions o = prepare_defaults();
    Error error = {""};
    if (prepare_settings(&wrong[i], 1, &o, &error))
      fail_msg("%s = %s was taken", wrong[i].key, wrong[i].value);
    if (strncmp(error.text, wrong[i].key, strlen(wrong[i].key)) != 0)
      fail_msg("\"%s\" does not name %s", error.text, wrong[i].key);
  }
  const PlanPair late = {"prepare.order", "[\"window\", \"clip\"]"};
  PrepareOptions o = prepare_defaults();
  Error error = {""};
  assert_false(prepare_settings(&late, 1, &o, &error));
  assert_non_null(strstr(error.text, "clip after window"));
}

static void refusals(void **state) {
  (void)state;
  Volume volume = made_volume(3, 3, 3, 1);
  PrepareOptions options = prepare_defaults();
  PrepareFacts facts = {1, 0, {1, 1, 1}};
  Error error = {""};
  float out[8];
  memcpy(options.size, (int64_t[]){2, 2, 2}, sizeof options.size);
  assert_true(prepare_volume(&volume, &facts, &options, 1, out, &error));
  ((float *)volume.stored)[13] = NAN;
  assert_false(prepare_volume(&volume, &facts, &options, 1, out, &error));
  assert_non_null(strstr(error.text, "NaN"));
  facts.spacing[2] = 0.1; /* 3 voxels of 0.1 mm are no voxel of 1.5 mm */
  assert_false(prepare_volume(&volume, &facts, &options, 1, out, &error));
  assert_non_null(strstr(error.text, "along z"));
  assert_false(prepare_facts(&volume, "v.nii", &facts, &error));
  assert_non_null(strstr(error.text, "v.nii: error: the header does not give the voxel spacing"));
  options.size[1] = 0;
  assert_false(prepare_options_check(&options, &error));
  volume_free(&volume);
}

static void golden_volumes(void **state) {
  (void)state;
  shared_needed();
  Error error = {""};
  Csv csv;
  TensorFile expected;
  if (!csv_read(&csv, shared_path("goldens/prep/metadata.csv"), &error) ||
      !tensor_file_open(&expected, shared_path("goldens/prep/expected.safetensors"), &error))
    fail_msg("%s", error.text);
  assert_int_equal(csv.rows, 3);
  for (int row = 0; row < csv.rows; row++) {
    char path[200];
    const char *name = csv_cell(&csv, row, csv_column(&csv, "VolumeName"));
    snprintf(path, sizeof path, "goldens/prep/%s", name);
    Volume volume;
    PrepareFacts facts;
    const char *xy = csv_cell(&csv, row, csv_column(&csv, "XYSpacing"));
    facts.spacing[0] = facts.spacing[1] = strtod(xy + 1, NULL);
    if (!csv_number(&csv, row, csv_column(&csv, "ZSpacing"), &facts.spacing[2], &error) ||
        !csv_number(&csv, row, csv_column(&csv, "RescaleSlope"), &facts.slope, &error) ||
        !csv_number(&csv, row, csv_column(&csv, "RescaleIntercept"), &facts.intercept, &error) ||
        !volume_read(shared_path(path), &volume, &error))
      fail_msg("%s", error.text);
    PrepareOptions options = prepare_defaults();
    memcpy(options.size, (int64_t[]){32, 64, 64}, sizeof options.size);
    float *out = mem_alloc(sizeof(float) * 32 * 64 * 64);
    assert_true(prepare_volume(&volume, &facts, &options, 1, out, &error));
    const Tensor *wanted = tensor_file_find(&expected, name);
    if (!wanted) {
      char *dot = strstr(path, ".nii");
      *dot = 0;
      wanted = tensor_file_find(&expected, strrchr(path, '/') + 1);
    }
    assert_non_null(wanted);
    double worst = 0;
    for (int i = 0; i < 32 * 64 * 64; i++)
      worst = fmax(worst, fabs(out[i] - ((const float *)wanted->data)[i]));
    printf("  %s: largest difference %.3g\n", name, worst);
    assert_true(worst < 1e-5);
    free(out);
    volume_free(&volume);
  }
  tensor_file_close(&expected);
  csv_free(&csv);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(matches_the_definition),
      cmocka_unit_test(orders_by_hand),
      cmocka_unit_test(threads_change_nothing),
      cmocka_unit_test(settings_to_options),
      cmocka_unit_test(wrong_settings_are_named),
      cmocka_unit_test(refusals),
      cmocka_unit_test(golden_volumes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
