/* Metrics: values worked out by hand, degenerate classes, ties; then the golden report. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/base/arena.h"
#include "runtime/base/file.h"
#include "runtime/base/json.h"
#include "runtime/data/metrics.h"
#include "runtime/job/command.h"
#include "tests/unit/shared.h"
#include <math.h>
#include <string.h>

static void near(double found, double wanted) {
  if (!(fabs(found - wanted) <= 1e-12))
    fail_msg("%.17g, not %.17g", found, wanted);
}

static void small_case(void **state) {
  (void)state;
  /* class 0: scores .9+ .8- .8+ .5- .5+ (0.5 is negative); class 1 has no positive sample */
  const double probabilities[] = {.9, .1, .8, .6, .8, .2, .5, .3, .5, .4};
  const uint8_t labels[] = {1, 0, 0, 0, 1, 0, 0, 0, 1, 0};
  ClassMetrics m[2];
  OverallMetrics overall;
  Error error = {""};
  assert_true(metrics_classify(probabilities, labels, 5, 2, m, &overall, &error));
  near(m[0].auroc, (2 + 1.5 + 0.5) / 6); /* .9 beats both, .8 one and a half, .5 half of one */
  near(m[0].accuracy, 3.0 / 5);
  near(m[0].precision, 2.0 / 3);
  near(m[0].recall, 2.0 / 3);
  near(m[0].f1, 2.0 / 3);
  near(m[0].average_precision, 1.0 / 3 * 1 + 1.0 / 3 * 2 / 3 + 1.0 / 3 * 3 / 5);
  assert_true(isnan(m[1].auroc) && isnan(m[1].average_precision));
  near(m[1].accuracy, 0.8);
  near(m[1].f1, 0);
  near(overall.auroc_macro, m[0].auroc);
  near(overall.f1_weighted, 2.0 / 3);
  near(overall.f1_macro, 1.0 / 3);
  near(overall.accuracy, 0.7);
  near(overall.precision_micro, 0.5);
  const double bad[] = {0.5, NAN};
  assert_false(metrics_classify(bad, labels, 1, 2, m, &overall, &error));
  const uint8_t two[] = {2};
  assert_false(metrics_classify(probabilities, two, 1, 1, m, &overall, &error));
  assert_false(metrics_classify(probabilities, labels, 0, 2, m, &overall, &error));
}

static void retrieval_ties(void **state) {
  (void)state;
  /* texts 0 and 1 are equal, so are images 0 and 1: the lower index wins the tie */
  const float images[] = {1, 0, 1, 0, 0, 1}, texts[] = {1, 0, 1, 0, 1, 0.5f};
  const int64_t k[] = {1, 2, 3, 9};
  double text_to_image[4], image_to_text[4];
  Error error = {""};
  assert_true(metrics_retrieve(images, texts, 3, 2, k, 4, text_to_image, image_to_text, &error));
  /* text 0 finds 0 first, text 1 second, text 2 (0.5) third */
  near(text_to_image[0], 1.0 / 3);
  near(text_to_image[1], 2.0 / 3);
  near(text_to_image[2], 1);
  near(text_to_image[3], 1);
  /* image 2 finds text 2 first, image 0 text 0 first, image 1 text 1 second */
  near(image_to_text[0], 2.0 / 3);
  near(image_to_text[1], 1);
  const float nan_rows[] = {NAN, 0};
  assert_false(metrics_retrieve(nan_rows, texts, 1, 2, k, 4, text_to_image, image_to_text, &error));
}

/* Every number of `wanted` must be in `found`, within 1e-6; texts and lists must be equal. */
static int compare(const char *path, const Json *found, const Json *wanted) {
  if (!found || found->kind != wanted->kind)
    fail_msg("%s is missing or of another kind", path);
  if (wanted->kind == JSON_NUMBER && fabs(found->number - wanted->number) > 1e-6)
    fail_msg("%s is %.17g, not %.17g", path, found->number, wanted->number);
  if (wanted->kind == JSON_STRING)
    assert_string_equal(found->string, wanted->string);
  int numbers = wanted->kind == JSON_NUMBER;
  for (int i = 0; i < wanted->count; i++) {
    char deeper[300];
    bool list = wanted->kind == JSON_LIST;
    snprintf(deeper, sizeof deeper, "%s/%s", path, list ? "item" : wanted->keys[i]);
    assert_true(!list || i < found->count);
    numbers += compare(deeper, list ? &found->items[i] : json_get(found, wanted->keys[i]),
                       &wanted->items[i]);
  }
  return numbers;
}

static void load(Arena *arena, const char *path, Json *json) {
  char *text;
  size_t size;
  Error error = {""};
  if (!file_read(arena, path, 1 << 20, &text, &size, &error) ||
      !json_parse(arena, text, size, json, &error))
    fail_msg("%s", error.text);
}

static void golden_report(void **state) {
  (void)state;
  shared_needed();
  const char *folder = scratch_make();
  char output[200], input[4096];
  snprintf(output, sizeof output, "%s/score.json", folder);
  snprintf(input, sizeof input, "%s", shared_path("goldens/metrics.safetensors"));
  char *arguments[] = {"score", "--predictions", input, "--json", "--output", output, NULL};
  assert_int_equal(cmd_score(6, arguments), EXIT_DONE);
  Arena *arena = arena_new();
  Json found, wanted;
  load(arena, output, &found);
  load(arena, shared_path("goldens/metrics.expected.json"), &wanted);
  int numbers = compare("", &found, &wanted);
  printf("  %d numbers agree\n", numbers);
  assert_int_equal(numbers, 18 * 6 + 6 + 8);
  char *more[] = {"score", "--predictions", input, "--k", "1,100", "--output", output, NULL};
  assert_int_equal(cmd_score(7, more), EXIT_DONE);
  char *text;
  size_t size;
  Error error;
  assert_true(file_read(arena, output, 1 << 20, &text, &size, &error));
  assert_non_null(strstr(text, "text to image:  R@1 87.50  R@100 100.00"));
  arena_free(arena);
  scratch_remove(folder);
}

static void bad_calls(void **state) {
  (void)state;
  char *none[] = {"score", NULL};
  char *ranks[] = {"score", "--predictions", "x", "--k", "1,,2", NULL};
  char *zero[] = {"score", "--predictions", "x", "--k", "0", NULL};
  char *absent[] = {"score", "--predictions", "/does/not/exist", NULL};
  assert_int_equal(cmd_score(1, none), EXIT_USAGE);
  assert_int_equal(cmd_score(5, ranks), EXIT_USAGE);
  assert_int_equal(cmd_score(5, zero), EXIT_USAGE);
  assert_int_equal(cmd_score(3, absent), EXIT_INPUT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(small_case),
      cmocka_unit_test(retrieval_ties),
      cmocka_unit_test(golden_report),
      cmocka_unit_test(bad_calls),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
