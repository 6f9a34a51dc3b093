/* The sections of a report: classification (zero-shot or probe) and retrieval. See report.h. */
#include "runtime/base/arena.h"
#include "runtime/job/report.h"
#include <math.h>
#include <string.h>

enum { MAX_ROC_POINTS = 200 };

/* ---- classification ---- */

static void add_overall(const Scores *s, Text *out) {
  text_add(out, "<h3>Overall</h3>\n<table><tr><th>metric</th><th>value%s</th></tr>\n",
           s->bounded ? " (95 % interval)" : "");
  for (int f = 0; f < OVERALL_FIELDS; f++) {
    text_add(out, "<tr><td>%s</td><td>", overall_words[f]);
    report_number(out, metric_value(&s->overall, &overall_fields[f]), s->bounded,
                  metric_value(&s->bounds.overall_low, &overall_fields[f]),
                  metric_value(&s->bounds.overall_high, &overall_fields[f]));
    text_add(out, "</td></tr>\n");
  }
  text_add(out,
           "</table>\n<p class=\"soft\">The paper's columns are accuracy over all decisions, F1 "
           "weighted by positives, micro precision and micro recall.</p>\n");
}

static void add_findings_table(const Scores *s, Text *out) {
  static const char *const heads[CLASS_FIELDS] = {"AUROC",  "accuracy",    "F1", "precision",
                                                  "recall", "specificity", "AP"};
  text_add(out, "<h3>By finding</h3>\n<div class=\"wide\"><table><tr><th>finding</th>"
                "<th>positives</th><th>threshold</th>");
  for (int f = 0; f < CLASS_FIELDS; f++)
    text_add(out, "<th>%s</th>", heads[f]);
  text_add(out, "</tr>\n");
  for (int c = 0; c < s->labelled.predictions.classes; c++) {
    text_add(out, "<tr><td>");
    html_add(out, s->labelled.names[c]);
    text_add(out, "</td><td>%lld</td><td>%.3f</td>", (long long)s->classes[c].positives,
             s->classes[c].threshold);
    for (int f = 0; f < CLASS_FIELDS; f++) {
      text_add(out, "<td>");
      report_number(out, metric_value(&s->classes[c], &class_fields[f]), false, 0, 0);
      text_add(out, "</td>");
    }
    text_add(out, "</tr>\n");
  }
  text_add(out, "</table></div>\n");
}

static void add_bars(const Eval *e, const Scores *s, Text *out) {
  int classes = s->labelled.predictions.classes;
  Bar *bars = ARENA_ARRAY(e->job->arena, Bar, classes);
  for (int c = 0; c < classes; c++)
    bars[c] =
        (Bar){s->labelled.names[c], s->classes[c].auroc, s->bounded ? s->bounds.low[c].auroc : NAN,
              s->bounded ? s->bounds.high[c].auroc : NAN};
  chart_bars(out, s->bounded ? "AUROC by finding, with 95 % intervals" : "AUROC by finding", bars,
             classes, 0.5);
}

/* The curve with at most MAX_ROC_POINTS of its points, ends included. */
static void add_roc(Arena *arena, const Scores *s, int class, Text *out) {
  int64_t count = s->roc_counts[class], kept = count < MAX_ROC_POINTS ? count : MAX_ROC_POINTS;
  double *x = ARENA_ARRAY(arena, double, kept), *y = ARENA_ARRAY(arena, double, kept);
  static const double ends[2] = {0, 1};
  for (int64_t i = 0; i < kept; i++) {
    const RocPoint *p = &s->roc[class][kept > 1 ? i * (count - 1) / (kept - 1) : 0];
    x[i] = p->false_positive_rate;
    y[i] = p->true_positive_rate;
  }
  Series series[] = {{.style = "rule", .x = ends, .y = ends, .count = 2},
                     {.style = "a", .x = x, .y = y, .count = kept}};
  Chart chart = {.title = arena_printf(arena, "%.3f", s->classes[class].auroc),
                 .width = 180,
                 .height = 180,
                 .x1 = 1,
                 .y1 = 1,
                 .small = true,
                 .series = series,
                 .n_series = 2};
  text_add(out, "<div class=\"card\">");
  html_add(out, s->labelled.names[class]);
  text_add(out, "<br/>");
  chart_lines(out, &chart);
  text_add(out, "</div>\n");
}

static void add_rocs(const Eval *e, const Scores *s, Text *out) {
  text_add(out, "<h3>ROC curves</h3>\n<p class=\"soft\">True against false positive rate, with the "
                "area under the curve; findings with one kind of label only have none.</p>\n"
                "<div class=\"grid-of roc\">\n");
  for (int c = 0; c < s->labelled.predictions.classes; c++)
    if (s->roc_counts[c] > 1)
      add_roc(e->job->arena, s, c, out);
  text_add(out, "</div>\n");
}

bool report_scores(const Eval *e, const Scores *s, const double *probabilities, const char *about,
                   Error *error) {
  Text out = {0};
  const Predictions *p = &s->labelled.predictions;
  bool scored = p->samples > 0 && p->classes > 0, good = true;
  report_start(e, &out, strcmp(e->kind, "probe") == 0 ? "Linear probe" : "Zero-shot classification",
               scored ? p->samples : 0);
  if (about) {
    text_add(&out, "<p>");
    html_add(&out, about);
    text_add(&out, "</p>\n");
  }
  if (scored) {
    text_add(&out, "<p>Thresholds: ");
    html_add(&out, s->threshold_words ? s->threshold_words : "positive when probability > 0.5");
    text_add(&out, ".</p>\n");
    if (s->fitted_here)
      text_add(&out, "<p class=\"warn\">The thresholds were fitted on the volumes they are applied "
                     "to: all scores but AUROC and average precision are better than they would be "
                     "on other volumes.</p>\n");
    add_overall(s, &out);
    add_bars(e, s, &out);
    add_findings_table(s, &out);
    add_rocs(e, s, &out);
    good = report_slices(e, s, probabilities, &out, error);
  } else {
    text_add(&out, "<p>No volume has labels of the findings: there are probabilities, but no "
                   "scores.</p>\n");
  }
  text_add(&out, "</section>\n");
  good = good && report_save(e, &out, error);
  text_free(&out);
  return good;
}

/* ---- retrieval ---- */

static void add_recall_rows(Text *out, const RetrievalMetrics *m, const char *counting) {
  for (int direction = 0; direction < 2; direction++) {
    const RecallMetrics *d = direction ? &m->text_to_image : &m->image_to_text;
    text_add(out, "<tr><td>%s, %s</td><td>%lld</td>", counting,
             direction ? "text to image" : "image to text", (long long)d->queries);
    for (int i = 0; i < m->n_k; i++) {
      text_add(out, "<td>");
      report_number(out, d->recall[i], m->bounds, d->low[i], d->high[i]);
      text_add(out, "</td>");
    }
    text_add(out, "<td>%.1f</td><td>%.1f</td></tr>\n", d->mean_rank, d->median_rank);
  }
}

static Series recall_series(const RetrievalMetrics *m, const RecallMetrics *d, const double *k,
                            const char *name, const char *style) {
  return (Series){.name = name,
                  .style = style,
                  .x = k,
                  .y = d->recall,
                  .count = m->n_k,
                  .low = m->bounds ? d->low : NULL,
                  .high = m->bounds ? d->high : NULL};
}

static void add_recall_chart(Text *out, const RetrievalMetrics *m, const char *title) {
  double k[MAX_RANKS], low = m->k[0] > 0 ? (double)m->k[0] : 1, high = low;
  for (int i = 0; i < m->n_k; i++) {
    k[i] = (double)m->k[i];
    low = fmin(low, k[i]);
    high = fmax(high, k[i]);
  }
  Series series[] = {recall_series(m, &m->image_to_text, k, "image to text", "a"),
                     recall_series(m, &m->text_to_image, k, "text to image", "b")};
  Chart chart = {.title = title,
                 .x_label = "k",
                 .y_label = "recall at k",
                 .width = 520,
                 .height = 280,
                 .x0 = low,
                 .x1 = high > low ? high : low * 10,
                 .y0 = 0,
                 .y1 = 1,
                 .log_x = true,
                 .x_ticks = k,
                 .n_x_ticks = m->n_k,
                 .series = series,
                 .n_series = 2};
  chart_lines(out, &chart);
}

bool report_retrieval(const Eval *e, const RetrievalMetrics *plain, const RetrievalMetrics *shared,
                      int64_t reports, Error *error) {
  Text out = {0};
  report_start(e, &out, "Retrieval", e->dataset.count);
  text_add(&out,
           "<p>%d volumes with %lld different reports. As pairs, every volume has a report of "
           "its own and only that one is right; as shared reports, volumes with the same "
           "report count as one item.</p>\n",
           e->dataset.count, (long long)reports);
  add_recall_chart(&out, plain, "Recall, as pairs");
  add_recall_chart(&out, shared, "Recall, shared reports");
  text_add(&out, "<div class=\"wide\"><table><tr><th>direction</th><th>queries</th>");
  for (int i = 0; i < plain->n_k; i++)
    text_add(&out, "<th>R@%lld</th>", (long long)plain->k[i]);
  text_add(&out, "<th>mean rank</th><th>median rank</th></tr>\n");
  add_recall_rows(&out, plain, "pairs");
  add_recall_rows(&out, shared, "shared reports");
  text_add(&out, "</table></div></section>\n");
  bool good = report_save(e, &out, error);
  text_free(&out);
  return good;
}
