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
  Predictions p = {5, 2, probabilities, labels, NULL, NULL};
  assert_true(metrics_classify(&p, m, &overall, &error));
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
  near(m[0].specificity, 0.5);
  near(m[1].specificity, 0.8);
  near(overall.recall_micro, 2.0 / 3);
  near(overall.recall_macro, 1.0 / 3);
  near(overall.recall_weighted, 2.0 / 3);
  near(overall.precision_macro, 1.0 / 3);
  near(overall.f1_micro, 2 * 2.0 / (2 * 2 + 2 + 1));
  near(overall.specificity_micro, 5.0 / 7);
  const double thresholds[] = {0.85, 0.05};
  p.thresholds = thresholds;
  assert_true(metrics_classify(&p, m, &overall, &error));
  near(m[0].recall, 1.0 / 3);
  near(m[0].specificity, 1);
  near(m[1].specificity, 0);
  near(m[1].threshold, 0.05);
  const double bad[] = {0.5, NAN};
  const uint8_t two[] = {2};
  Predictions not_finite = {1, 2, bad, labels, NULL, NULL};
  Predictions not_binary = {1, 1, probabilities, two, NULL, NULL};
  Predictions nothing = {0, 2, probabilities, labels, NULL, NULL};
  assert_false(metrics_classify(&not_finite, m, &overall, &error));
  assert_false(metrics_classify(&not_binary, m, &overall, &error));
  assert_false(metrics_classify(&nothing, m, &overall, &error));
}

static void operating_points(void **state) {
  (void)state;
  /* + .9, - .8, + .8, + .5, - .5, - .1: points (0,0) (0,1/3) (1/3,2/3) (2/3,1) (1,1) */
  const double probabilities[] = {.5, .9, .8, .8, .1, .5};
  const uint8_t labels[] = {1, 1, 0, 1, 0, 0};
  Predictions p = {6, 1, probabilities, labels, NULL, NULL};
  RocPoint points[7];
  assert_int_equal(metrics_roc(&p, 0, points), 5);
  near(points[0].threshold, 1);
  near(points[2].false_positive_rate, 1.0 / 3);
  near(points[2].true_positive_rate, 2.0 / 3);
  near(points[4].false_positive_rate, 1);
  near(points[4].threshold, 0);
  near(metrics_threshold(points, 5, THRESHOLD_HALF), 0.5);
  near(metrics_threshold(points, 5, THRESHOLD_CORNER), 0.65); /* halfway from .8 to .5 */
  near(metrics_threshold(points, 5, THRESHOLD_YOUDEN), 0.85); /* 1/3 three times: the highest */
  /* what the threshold makes of the samples is the point it was chosen at */
  const double corner = metrics_threshold(points, 5, THRESHOLD_CORNER);
  p.thresholds = &corner;
  ClassMetrics m;
  OverallMetrics overall;
  Error error;
  assert_true(metrics_classify(&p, &m, &overall, &error));
  near(m.recall, 2.0 / 3);
  near(m.specificity, 2.0 / 3);
  const uint8_t none[6] = {0};
  p.labels = none;
  assert_int_equal(metrics_roc(&p, 0, points), 0);
  near(metrics_threshold(points, 0, THRESHOLD_CORNER), 0.5);
  /* neighbours of double precision: the threshold still lies between them */
  const double close[] = {0.3, nextafter(0.3, 1)};
  const uint8_t one[] = {0, 1};
  Predictions q = {2, 1, close, one, NULL, NULL};
  assert_int_equal(metrics_roc(&q, 0, points), 3);
  const double threshold = metrics_threshold(points, 3, THRESHOLD_CORNER);
  assert_true(close[1] > threshold && !(close[0] > threshold));
}

/* The standard error of a mean of 400 coin tosses is 0.025; of 40 patients with ten equal volumes
 * each, 0.079: intervals must be of that width, and wider when volumes are clustered. */
static void bootstrap(void **state) {
  (void)state;
  enum { SAMPLES = 400, REPLICATES = 2000 };
  static double probabilities[SAMPLES];
  static uint8_t labels[SAMPLES];
  static int64_t patients[SAMPLES];
  for (int i = 0; i < SAMPLES; i++) {
    patients[i] = 1000 - i / 10;
    labels[i] = 1;
    probabilities[i] = i / 10 % 2 ? 0.9 : 0.1; /* recall: one half */
  }
  Predictions p = {SAMPLES, 1, probabilities, labels, NULL, NULL};
  ClassMetrics low[2], high[2], m;
  OverallMetrics overall;
  Error error;
  ClassBounds bounds[2] = {{.low = &low[0], .high = &high[0]}, {.low = &low[1], .high = &high[1]}};
  assert_true(metrics_classify(&p, &m, &overall, &error));
  for (int i = 0; i < 2; i++) {
    p.patients = i ? patients : NULL;
    metrics_class_bounds(&p, REPLICATES, 7, &bounds[i]);
    double wanted = 2 * 1.96 * (i ? 0.5 / sqrt(40) : 0.5 / sqrt(400));
    double width = high[i].recall - low[i].recall;
    if (!(fabs(width - wanted) < 0.12 * wanted && low[i].recall < 0.5 && high[i].recall > 0.5))
      fail_msg("[%g, %g] is not of width %g", low[i].recall, high[i].recall, wanted);
    assert_true(isnan(low[i].auroc)); /* no negatives anywhere */
    near(bounds[i].overall_low.recall_micro, low[i].recall);
  }
  metrics_class_bounds(&p, REPLICATES, 7, &bounds[0]);
  near(low[0].recall, low[1].recall); /* the same seed, the same draws */
  memset(patients, 0, sizeof patients);
  metrics_class_bounds(&p, 10, 7, &bounds[0]);
  assert_true(isnan(low[0].recall)); /* one patient says nothing about patients */
}

static void retrieval_ties(void **state) {
  (void)state;
  /* texts 0 and 1 are equal, so are images 0 and 1: the lower index wins the tie */
  const float images[] = {1, 0, 1, 0, 0, 1}, texts[] = {1, 0, 1, 0, 1, 0.5f};
  RetrievalMetrics m = {.n_k = 4, .k = {1, 2, 3, 9}};
  Retrieval r = {3, 2, images, texts, NULL, NULL};
  Error error = {""};
  assert_true(metrics_retrieve(&r, 0, 0, &m, &error));
  /* text 0 finds 0 first, text 1 second, text 2 (0.5) third */
  near(m.text_to_image.recall[0], 1.0 / 3);
  near(m.text_to_image.recall[1], 2.0 / 3);
  near(m.text_to_image.recall[2], 1);
  near(m.text_to_image.recall[3], 1);
  near(m.text_to_image.mean_rank, 2);
  near(m.text_to_image.median_rank, 2);
  /* image 2 finds text 2 first, image 0 text 0 first, image 1 text 1 second */
  near(m.image_to_text.recall[0], 2.0 / 3);
  near(m.image_to_text.recall[1], 1);
  near(m.image_to_text.mean_rank, 4.0 / 3);
  assert_false(m.bounds);
  const float nan_rows[] = {NAN, 0};
  Retrieval bad = {1, 2, nan_rows, texts, NULL, NULL};
  assert_false(metrics_retrieve(&bad, 0, 0, &m, &error));
}

/* Pairs 0, 1 and 3 share a report. */
static void shared_reports(void **state) {
  (void)state;
  const float images[] = {0, 1, 1, 0, 1, 0.5f, 0, 1}, texts[] = {1, 0, 1, 0, 0, 1, 1, 0};
  const int64_t items[] = {7, 7, 2, 7}, patients[] = {1, 1, 2, 1};
  RetrievalMetrics plain = {.n_k = 3, .k = {1, 2, 4}}, shared = plain;
  Retrieval r = {4, 2, images, texts, NULL, patients};
  Error error;
  assert_true(metrics_retrieve(&r, 0, 0, &plain, &error));
  /* text 0 likes images 1, 2 (1), then its own 0; 3 comes behind its own */
  near(plain.text_to_image.recall[0], 1.0 / 4);
  assert_int_equal(plain.text_to_image.queries, 4);
  r.items = items;
  assert_true(metrics_retrieve(&r, 100, 3, &shared, &error));
  /* two reports: the shared one finds image 1 first; the other (0,1) finds 0 and 3 before its 2 */
  assert_int_equal(shared.text_to_image.queries, 2);
  near(shared.text_to_image.recall[0], 0.5);
  near(shared.text_to_image.recall[1], 0.5);
  near(shared.text_to_image.recall[2], 1);
  near(shared.text_to_image.mean_rank, 2);
  /* images 0 and 3 prefer the other report, 1 its own; 2 (1,0.5) the shared one */
  assert_int_equal(shared.image_to_text.queries, 4);
  near(shared.image_to_text.recall[0], 0.25);
  near(shared.image_to_text.recall[1], 1);
  assert_true(shared.bounds);
  assert_true(shared.image_to_text.low[0] <= 0.25 && shared.image_to_text.high[0] >= 0.25);
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
  char *more[] = {"score", "--predictions", input, "--k", "1,100", "--output",
                  output,  "--bootstrap",   "1000", NULL};
  assert_int_equal(cmd_score(9, more), EXIT_DONE);
  char *text;
  size_t size;
  Error error;
  assert_true(file_read(arena, output, 1 << 20, &text, &size, &error));
  assert_non_null(strstr(text, "text to image:  R@1 87.50 ("));
  assert_non_null(strstr(text, ")  R@100 100.00 (100.00 to 100.00)"));
  /* the intervals are around the values, and so in the JSON */
  char *json[] = {"score",    "--predictions", input,  "--json", "--output",
                  output, "--bootstrap",   "200", NULL};
  assert_int_equal(cmd_score(8, json), EXIT_DONE);
  load(arena, output, &found);
  assert_int_equal(compare("", &found, &wanted), numbers);
  int intervals = 0;
  const Json *classes = json_get(&found, "per_pathology");
  for (int c = 0; c <= classes->count; c++) {
    const Json *m = c < classes->count ? &classes->items[c] : json_get(&found, "overall");
    const Json *bounds = json_get(m, "interval95");
    for (int f = 0; f < bounds->count; f++, intervals++) {
      const Json *pair = &bounds->items[f];
      double value = json_get(m, bounds->keys[f])->number;
      assert_true(pair->items[0].number <= value && value <= pair->items[1].number);
    }
  }
  assert_int_equal(intervals, 18 * CLASS_FIELDS + OVERALL_FIELDS);
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
      cmocka_unit_test(small_case),     cmocka_unit_test(operating_points),
      cmocka_unit_test(bootstrap),      cmocka_unit_test(retrieval_ties),
      cmocka_unit_test(shared_reports), cmocka_unit_test(golden_report),
      cmocka_unit_test(bad_calls),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
