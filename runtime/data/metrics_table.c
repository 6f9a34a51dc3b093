/* Scores as tables for people. See metrics.h. */
#include "runtime/data/metrics.h"
#include <math.h>

/* A percentage, or a dash for an undefined value. */
static void add_percent(Text *out, double value) {
  if (isnan(value))
    text_add(out, " %9s", "-");
  else
    text_add(out, " %9.2f", 100 * value);
}

static void add_interval(Text *out, double low, double high) {
  if (!isnan(low) && !isnan(high))
    text_add(out, " (%.2f to %.2f)", 100 * low, 100 * high);
}

const char *const overall_words[OVERALL_FIELDS] = {"F1, weighted by positives",
                                                   "F1, macro",
                                                   "F1, micro",
                                                   "accuracy",
                                                   "precision, micro",
                                                   "precision, macro",
                                                   "precision, weighted",
                                                   "recall, micro",
                                                   "recall, macro",
                                                   "recall, weighted",
                                                   "specificity, micro",
                                                   "AUROC, macro",
                                                   "average precision, macro"};

void metrics_table_classes(Text *out, const ClassReport *r) {
  static const char *const heads[CLASS_FIELDS] = {"AUROC",  "accuracy",  "F1", "precision",
                                                  "recall", "specific.", "AP"};
  text_add(out, "%-36s %9s", "finding (values in percent)", "positives");
  for (int i = 0; i < CLASS_FIELDS; i++)
    text_add(out, " %9s", heads[i]);
  text_add(out, "%s\n", r->bounds ? "  AUROC, 95 % interval" : "");
  for (int c = 0; c < r->classes; c++) {
    const ClassMetrics *m = &r->per_class[c];
    text_add(out, "%-36s %9lld", r->names[c], (long long)m->positives);
    for (int i = 0; i < CLASS_FIELDS; i++)
      add_percent(out, metric_value(m, &class_fields[i]));
    if (r->bounds)
      add_interval(out, r->bounds->low[c].auroc, r->bounds->high[c].auroc);
    text_add(out, "\n");
  }
  text_add(out, "\n%-36s %9s%s\n", "overall", "percent", r->bounds ? " 95 % interval" : "");
  for (int f = 0; f < OVERALL_FIELDS; f++) {
    text_add(out, "%-36s", overall_words[f]);
    add_percent(out, metric_value(r->overall, &overall_fields[f]));
    if (r->bounds)
      add_interval(out, metric_value(&r->bounds->overall_low, &overall_fields[f]),
                   metric_value(&r->bounds->overall_high, &overall_fields[f]));
    text_add(out, "\n");
  }
}

void metrics_table_retrieval(Text *out, const char *title, const RetrievalMetrics *m) {
  text_add(out, "%s\n", title);
  for (int direction = 0; direction < 2; direction++) {
    const RecallMetrics *d = direction ? &m->image_to_text : &m->text_to_image;
    text_add(out, "%s", direction ? "image to text:" : "text to image:");
    for (int i = 0; i < m->n_k; i++) {
      text_add(out, "  R@%lld %.2f", (long long)m->k[i], 100 * d->recall[i]);
      if (m->bounds)
        add_interval(out, d->low[i], d->high[i]);
    }
    text_add(out, "  mean rank %.2f, median %.1f of %lld\n", d->mean_rank, d->median_rank,
             (long long)d->queries);
  }
}
