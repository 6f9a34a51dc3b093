/* Zero-shot classification inside a running job: settings, ensembles, and what a training calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/job/encode.h"
#include "tests/unit/job_world.h"

static const OptionRow some_options[] = {
    {"vocab", OPTION_TEXT, "F", "", NULL}, {"cache", OPTION_TEXT, "F", "", NULL}, {0}};

static PlanPair pairs[8];
static Plan plan;

/* A job with an open program, the fake plan's settings, and one or more of our own. */
static void open_job(Job *job, int n_more, const PlanPair *more) {
  char vocabulary[300], cache[300];
  char *arguments[] = {"train", "--vocab", vocabulary, "--cache", cache};
  Error error;
  snprintf(vocabulary, sizeof vocabulary, "%s", in_folder("vocab.txt"));
  snprintf(cache, sizeof cache, "%s", in_folder("cache"));
  *job = (Job){.host = &host, .arena = arena_new()};
  plan = fake_plan;
  memcpy(pairs, fake_plan.settings, sizeof *pairs * (size_t)fake_plan.n_settings);
  memcpy(pairs + fake_plan.n_settings, more, sizeof *pairs * (size_t)n_more);
  plan.settings = pairs;
  plan.n_settings += n_more;
  if (!options_parse(&job->options, job->arena, some_options, NULL, 5,
                     (char *[]){arguments[0], arguments[1], arena_strdup(job->arena, vocabulary),
                                arguments[3], arena_strdup(job->arena, cache)},
                     &error) ||
      !program_open(&job->program, &plan, lookup, NULL, 1, &error))
    fail_msg("%s", error.text);
  job->plan = program_plan(job->program);
  program_initialize(job->program, 9);
}

static void close_job(Job *job) {
  program_close(job->program);
  arena_free(job->arena);
}

/* What a training sees is what `eval zeroshot` writes; other weights give other numbers. */
static void inside_a_training(void **state) {
  (void)state;
  Job job;
  Zeroshot z = {0};
  VolumePort port;
  Dataset dataset;
  OverallMetrics overall, changed;
  Error error = {""};
  static char csv[1 << 15];
  runs("eval zeroshot --cache @cache --vocab @vocab.txt --out @told --seed 9 --bootstrap 0");
  read_back("told/zeroshot-overall.csv", csv, sizeof csv);
  fails("eval zeroshot --cache @cache --vocab @vocab.txt --out @told --seed 9 --thresholds @absent",
        EXIT_INPUT, "absent: error: ");
  open_job(&job, 0, pairs);
  if (!zeroshot_attach(&z, &job, &error) || !volume_port(&job, z.image.entry, &port, &error) ||
      !job_dataset(&job, "valid", port.size, &dataset, &error) ||
      !zeroshot_evaluate(&z, &dataset, &overall, &error))
    fail_msg("%s", error.text);
  const char *row = strstr(csv, "auroc_macro,");
  assert_non_null(row);
  assert_true(fabs(strtod(row + 12, NULL) - overall.auroc_macro) < 1e-12);
  row = strstr(csv, "f1_weighted,");
  assert_true(fabs(strtod(row + 12, NULL) - overall.f1_weighted) < 1e-12);
  program_initialize(job.program, 10);
  program_touch(job.program);
  assert_true(zeroshot_evaluate(&z, &dataset, &changed, &error));
  assert_true(changed.auroc_macro != overall.auroc_macro);
  dataset_close(&dataset);
  zeroshot_close(&z);
  close_job(&job);
}

static void ensembles(void **state) {
  (void)state;
  static const char *const templates[] = {
      "[[\"{} is present.\", \"{} is not present.\"]]", "[[\"is {}\", \"not {} {}\"]]",
      "[[\"{} is present.\", \"{} is not present.\"], [\"is {}\", \"not {} {}\"]]"};
  const float latent[FAKE_WIDTH] = {0.5f, -1, 2, 0.25f};
  double p[4], direction[2][2][FAKE_WIDTH];
  Error error = {""};
  for (int t = 0; t < 4; t++) {
    Job job;
    Zeroshot z = {0};
    const PlanPair more[] = {{"findings", "[\"is\"]"},
                             {"templates", templates[t < 2 ? t : 2]},
                             {"ensemble", t == 3 ? "\"probabilities\"" : "\"latents\""}};
    open_job(&job, 3, more);
    if (!zeroshot_attach(&z, &job, &error))
      fail_msg("%s", error.text);
    assert_int_equal(z.n_findings, 1);
    assert_int_equal(z.labels[0], -1);
    if (t < 2)
      memcpy(direction[t], z.prompts, sizeof direction[t]);
    zeroshot_score(&z, latent, &p[t]);
    zeroshot_close(&z);
    close_job(&job);
  }
  assert_true(fabs(p[3] - (p[0] + p[1]) / 2) < 1e-12);
  /* by hand: the mean of unit vectors, compared by its cosine */
  double cosine[2];
  for (int side = 0; side < 2; side++) {
    double dot = 0, aa = 0, bb = 0;
    for (int i = 0; i < FAKE_WIDTH; i++) {
      double mean = (direction[0][side][i] + direction[1][side][i]) / 2;
      dot += mean * latent[i];
      aa += mean * mean;
      bb += (double)latent[i] * latent[i];
    }
    cosine[side] = dot / sqrt(aa * bb);
  }
  assert_true(fabs(p[2] - 1 / (1 + exp(2.5 * (cosine[1] - cosine[0])))) < 1e-12);
  assert_true(fabs(p[2] - p[3]) > 1e-6);
}

static void bad_settings(void **state) {
  (void)state;
  static const struct {
    const char *key, *value, *word;
  } cases[] = {{"findings", "[]", "the list is empty"},
               {"findings", "[\"a\", 3]", "number 2 is no text"},
               {"findings", "[\"a\", \"A\"]", "is there twice"},
               {"findings", "\"a\"", "is no list"},
               {"findings", "[\"a\"", "offset"},
               {"templates", "[[\"{}\"]]", "not a pair"},
               {"templates", "[[\"{}\", \"none\"]]", "{} where the finding belongs"},
               {"ensemble", "\"votes\"", "not \"votes\""}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Job job;
    Zeroshot z = {0};
    Error error = {""};
    const PlanPair more = {cases[i].key, cases[i].value};
    open_job(&job, 1, &more);
    assert_false(zeroshot_settings(&z, &job, &error));
    if (!strstr(error.text, cases[i].word))
      fail_msg("\"%s\" does not say \"%s\"", error.text, cases[i].word);
    close_job(&job);
  }
  /* labels are found in any case, texts come without their escapes */
  Job job;
  Zeroshot z = {0};
  Error error = {""};
  const PlanPair more = {"findings", "[\"lung NODULE\", \"a \\\"b\\\" \\u00e9\"]"};
  open_job(&job, 1, &more);
  assert_true(zeroshot_settings(&z, &job, &error));
  assert_string_equal(ctrate_label_names[z.labels[0]], "Lung nodule");
  assert_string_equal(z.findings[1], "a \"b\" \xc3\xa9");
  close_job(&job);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(inside_a_training),
                                     cmocka_unit_test(ensembles), cmocka_unit_test(bad_settings)};
  return cmocka_run_group_tests(tests, make_world, remove_world);
}
