/* Scores of probabilities against labels, with thresholds, as files. See eval.h. */
#include "runtime/base/map.h"
#include "runtime/job/command.h"
#include "runtime/job/eval.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Which volumes thresholds were fitted on. */
static uint64_t scored_volumes(const Eval *e) {
  uint64_t hash = 0;
  for (int i = 0; i < e->dataset.count; i++)
    if (e->dataset.samples[i].has_labels)
      hash = hash_bytes(e->dataset.samples[i].volume, strlen(e->dataset.samples[i].volume), hash);
  return hash;
}

/* ---- thresholds ---- */

static bool read_thresholds(const Eval *e, const char *path, Scores *s, Error *error) {
  Arena *arena = e->job->arena;
  char *text;
  size_t size;
  Json json;
  Error inner;
  if (!file_read(arena, path, 1 << 20, &text, &size, error))
    return false;
  if (!json_parse(arena, text, size, &json, &inner))
    return error_set(error, "%s: error: %.300s", path, inner.text);
  const Json *list = json_get(&json, "thresholds"), *fitted = json_get(&json, "fitted_on");
  for (int c = 0; c < s->labelled.predictions.classes; c++) {
    const Json *value = json_get(list, s->labelled.names[c]);
    if (!value || value->kind != JSON_NUMBER || !(value->number >= 0 && value->number <= 1))
      return error_set(error, "%s: error: no threshold from 0 to 1 for \"%s\" under \"thresholds\"",
                       path, s->labelled.names[c]);
    s->thresholds[c] = value->number;
  }
  s->threshold_words = arena_printf(arena,
                                    "positive when probability > the finding's threshold, "
                                    "read from %s",
                                    path);
  s->fitted_here =
      fitted && fitted->kind == JSON_STRING &&
      strcmp(fitted->string, arena_printf(arena, "%016" PRIx64, scored_volumes(e))) == 0;
  return true;
}

static void fit_thresholds(const Scores *s, ThresholdRule rule, double *thresholds) {
  for (int c = 0; c < s->labelled.predictions.classes; c++)
    thresholds[c] = metrics_threshold(s->roc[c], s->roc_counts[c], rule);
}

static bool choose_thresholds(const Eval *e, Scores *s, ThresholdRule *rule, Error *error) {
  const char *wanted = options_text(&e->job->options, "thresholds");
  *rule = THRESHOLD_CORNER;
  fit_thresholds(s, THRESHOLD_HALF, s->thresholds);
  if (!wanted || strcmp(wanted, "half") == 0)
    return true;
  bool corner = strcmp(wanted, "corner") == 0, youden = strcmp(wanted, "youden") == 0;
  if (!corner && !youden)
    return read_thresholds(e, wanted, s, error);
  *rule = corner ? THRESHOLD_CORNER : THRESHOLD_YOUDEN;
  fit_thresholds(s, *rule, s->thresholds);
  s->fitted_here = true;
  s->threshold_words = corner ? "positive when probability > the finding's threshold: the point of "
                                "its ROC curve nearest to (0,1) on these volumes"
                              : "positive when probability > the finding's threshold: the point of "
                                "its ROC curve with the largest TPR - FPR on these volumes";
  return true;
}

static bool write_thresholds(const Eval *e, const Scores *s, ThresholdRule rule, Error *error) {
  Text json = {0};
  int classes = s->labelled.predictions.classes;
  double *fitted = ARENA_ARRAY(e->job->arena, double, classes + 1);
  fit_thresholds(s, rule, fitted);
  text_add(&json,
           "{\n  \"rule\": \"%s\",\n  \"split\": ", rule == THRESHOLD_CORNER ? "corner" : "youden");
  json_add_string(&json, e->split);
  text_add(&json, ",\n  \"fitted_on\": \"%016" PRIx64 "\",\n  \"thresholds\": {",
           scored_volumes(e));
  for (int c = 0; c < classes; c++) {
    text_add(&json, "%s\n    ", c ? "," : "");
    json_add_string(&json, s->labelled.names[c]);
    text_add(&json, ": ");
    text_add_float(&json, fitted[c], 0);
  }
  text_add(&json, "\n  }\n}\n");
  bool good =
      eval_write(e, arena_printf(e->job->arena, "%s-thresholds.json", e->kind), &json, error);
  text_free(&json);
  return good;
}

/* ---- scoring ---- */

static bool score(Eval *e, Scores *s, ThresholdRule *rule, Error *error) {
  Predictions *p = &s->labelled.predictions;
  Arena *arena = e->job->arena;
  s->thresholds = ARENA_ARRAY(arena, double, p->classes + 1);
  s->roc = ARENA_ARRAY(arena, RocPoint *, p->classes + 1);
  s->roc_counts = ARENA_ARRAY(arena, int64_t, p->classes + 1);
  s->classes = ARENA_ARRAY(arena, ClassMetrics, p->classes + 1);
  if (!metrics_classify(p, s->classes, &s->overall, error)) /* checks the numbers, too */
    return false;
  for (int c = 0; c < p->classes; c++) {
    s->roc[c] = ARENA_ARRAY(arena, RocPoint, p->samples + 1);
    s->roc_counts[c] = metrics_roc(p, c, s->roc[c]);
  }
  if (!choose_thresholds(e, s, rule, error))
    return false;
  p->thresholds = s->thresholds;
  if (!metrics_classify(p, s->classes, &s->overall, error))
    return false;
  s->bounded = e->replicates > 0 && p->classes <= MAX_BOOTSTRAP_CLASSES;
  s->bounds.low = ARENA_ARRAY(arena, ClassMetrics, p->classes + 1);
  s->bounds.high = ARENA_ARRAY(arena, ClassMetrics, p->classes + 1);
  if (s->bounded)
    metrics_class_bounds(p, e->replicates, e->seed, &s->bounds);
  if (s->fitted_here)
    fprintf(stderr, "eval: warning: the thresholds were fitted on the volumes they are applied to: "
                    "scores at them are better than on other volumes (AUROC and average precision "
                    "do not depend on thresholds)\n");
  return true;
}

/* ---- files ---- */

static bool write_volumes(const Eval *e, const double *probabilities, Error *error) {
  const Zeroshot *z = &e->zeroshot;
  Text csv = {0};
  text_add(&csv, "VolumeName");
  for (int f = 0; f < z->n_findings; f++) {
    text_add(&csv, ",");
    csv_add_cell(&csv, z->findings[f]);
  }
  text_add(&csv, "\n");
  for (int i = 0; i < e->dataset.count; i++) {
    csv_add_cell(&csv, e->dataset.samples[i].volume);
    for (int f = 0; f < z->n_findings; f++)
      text_add(&csv, ",%.9g", probabilities[(int64_t)i * z->n_findings + f]);
    text_add(&csv, "\n");
  }
  bool good = eval_write(e, arena_printf(e->job->arena, "%s.csv", e->kind), &csv, error);
  text_free(&csv);
  return good;
}

/* The columns of the paper's Tables 1 and 2, which mix averages: accuracy over all decisions, F1
 * weighted by positives, micro precision, micro recall. */
static void add_paper_table(const Eval *e, const Scores *s, Text *csv, Text *table) {
  double parameters, gflops;
  const Plan *plan = e->job->plan;
  const OverallMetrics *o = &s->overall;
  eval_image_cost(e, &parameters, &gflops);
  text_add(csv,
           "encoder,variant,parameters (M),executed GFLOPs,accuracy,F1 (weighted),precision "
           "(micro),recall (micro)\n%s,%s,%.3f,%.2f,%.1f,%.1f,%.1f,%.1f\n",
           plan->model, plan->variant, parameters, gflops, 100 * o->accuracy, 100 * o->f1_weighted,
           100 * o->precision_micro, 100 * o->recall_micro);
  text_add(table, "\n%-20s %-10s %10s %10s %9s %9s %9s %9s\n", "encoder", "variant", "params (M)",
           "GFLOPs", "accuracy", "F1", "precision", "recall");
  text_add(table, "%-20s %-10s %10.3f %10.2f %9.1f %9.1f %9.1f %9.1f\n", plan->model, plan->variant,
           parameters, gflops, 100 * o->accuracy, 100 * o->f1_weighted, 100 * o->precision_micro,
           100 * o->recall_micro);
}

static bool write_tables(Eval *e, const Scores *s, const ClassReport *r, Text *table,
                         Error *error) {
  Arena *arena = e->job->arena;
  Text findings = {0}, overall = {0}, paper = {0};
  metrics_csv_classes(&findings, r);
  metrics_csv_overall(&overall, r);
  metrics_table_classes(table, r);
  add_paper_table(e, s, &paper, table);
  bool good = eval_write(e, arena_printf(arena, "%s-findings.csv", e->kind), &findings, error) &&
              eval_write(e, arena_printf(arena, "%s-overall.csv", e->kind), &overall, error) &&
              eval_write(e, arena_printf(arena, "%s-table.csv", e->kind), &paper, error);
  text_free(&findings);
  text_free(&overall);
  text_free(&paper);
  return good;
}

bool eval_scores(Eval *e, const double *probabilities, const char *more, const char *about,
                 Error *error) {
  const Zeroshot *z = &e->zeroshot;
  Scores s = {0};
  ThresholdRule rule = THRESHOLD_CORNER;
  Text json = {0}, table = {0};
  labelled_take(e->job->arena, &e->dataset, probabilities, z->n_findings, z->findings, z->labels,
                &s.labelled);
  const Predictions *p = &s.labelled.predictions;
  bool scored = p->samples > 0 && p->classes > 0;
  bool good = write_volumes(e, probabilities, error) && (!scored || score(e, &s, &rule, error));
  ClassReport r = {
      p->classes,       s.labelled.names, s.classes, &s.overall, s.bounded ? &s.bounds : NULL,
      s.threshold_words, false};
  eval_json_head(e, &json, scored ? p->samples : 0);
  text_add(&json, "%s", more ? more : "");
  if (good && scored) {
    text_add(&json, ",\n  \"thresholds_fitted_on_these_volumes\": %s,\n",
             s.fitted_here ? "true" : "false");
    metrics_json_classes(&json, &r);
    good = write_tables(e, &s, &r, &table, error) && write_thresholds(e, &s, rule, error);
  }
  text_add(&json, "\n}\n");
  text_add(&table, "%s%s%d volumes, %lld with labels; results in %s/\n", scored ? "\n" : "",
           about ? about : "", e->dataset.count, scored ? (long long)p->samples : 0LL, e->out);
  good = good && report_scores(e, &s, probabilities, about, error) &&
         eval_results(e, &json, &table, error);
  text_free(&json);
  text_free(&table);
  return good;
}
