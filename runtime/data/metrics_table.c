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

void metrics_table_classes(Text *out, const char *const *names, const ClassMetrics *per_class,
                           int classes, const OverallMetrics *overall) {
  static const char *const heads[] = {"AUROC", "accuracy", "F1", "precision", "recall", "AP"};
  text_add(out, "%-36s %9s", "class (values in percent)", "positives");
  for (int i = 0; i < 6; i++)
    text_add(out, " %9s", heads[i]);
  for (int c = 0; c < classes; c++) {
    const ClassMetrics *m = &per_class[c];
    const double values[] = {m->auroc,     m->accuracy, m->f1,
                             m->precision, m->recall,   m->average_precision};
    text_add(out, "\n%-36s %9lld", names[c], (long long)m->positives);
    for (int i = 0; i < 6; i++)
      add_percent(out, values[i]);
  }
  text_add(out,
           "\n\naccuracy %.2f, weighted F1 %.2f, macro F1 %.2f, micro precision %.2f, "
           "micro recall %.2f, macro AUROC ",
           100 * overall->accuracy, 100 * overall->f1_weighted, 100 * overall->f1_macro,
           100 * overall->precision_micro, 100 * overall->recall_micro);
  text_add(out, isnan(overall->auroc_macro) ? "undefined\n" : "%.2f\n", 100 * overall->auroc_macro);
}

void metrics_table_retrieval(Text *out, const int64_t *k, int n_k, const double *text_to_image,
                             const double *image_to_text) {
  for (int direction = 0; direction < 2; direction++) {
    text_add(out, "%s", direction ? "image to text:" : "text to image:");
    for (int i = 0; i < n_k; i++)
      text_add(out, "  R@%lld %.2f", (long long)k[i],
               100 * (direction ? image_to_text : text_to_image)[i]);
    text_add(out, "\n");
  }
}
