/* Scores as JSON and CSV. See metrics.h. */
#include "runtime/base/json.h"
#include "runtime/data/metrics.h"
#include <math.h>
#include <string.h>

static void add_number(Text *out, double value, const char *undefined) {
  if (isnan(value))
    text_add(out, "%s", undefined);
  else
    text_add_float(out, value, 0);
}

static void add_bounds(Text *json, double low, double high) {
  text_add(json, "[");
  add_number(json, low, "null");
  text_add(json, ", ");
  add_number(json, high, "null");
  text_add(json, "]");
}

/* The fields one by one, then their intervals as one object. */
/* What the plain report has of the metrics. */
static bool is_plain(const char *name) {
  static const char *const names[] = {"auroc",        "accuracy",   "f1",
                                      "precision",    "recall",     "average_precision",
                                      "f1_weighted",  "f1_macro",   "precision_micro",
                                      "recall_micro", "auroc_macro"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(name, names[i]) == 0)
      return true;
  return false;
}

static void add_fields(Text *json, const MetricField *fields, int count, const void *metrics,
                       const void *low, const void *high, bool plain, const char *indent) {
  const char *comma = "";
  for (int i = 0; i < count; i++) {
    if (plain && !is_plain(fields[i].name))
      continue;
    text_add(json, "%s\n%s  \"%s\": ", comma, indent, fields[i].name);
    comma = ",";
    add_number(json, metric_value(metrics, &fields[i]), "null");
  }
  if (!low)
    return;
  text_add(json, ",\n%s  \"interval95\": {", indent);
  for (int i = 0; i < count; i++) {
    text_add(json, "%s\"%s\": ", i ? ", " : "", fields[i].name);
    add_bounds(json, metric_value(low, &fields[i]), metric_value(high, &fields[i]));
  }
  text_add(json, "}");
}

void metrics_json_classes(Text *json, const ClassReport *r) {
  text_add(json, "  \"threshold\": ");
  json_add_string(json, r->threshold ? r->threshold
                                     : "positive when probability > 0.5 (0.5 itself is negative)");
  text_add(json, ",\n  \"pathologies\": [");
  for (int c = 0; c < r->classes; c++) {
    text_add(json, "%s\n    ", c ? "," : "");
    json_add_string(json, r->names[c]);
  }
  text_add(json, "\n  ],\n  \"per_pathology\": {");
  for (int c = 0; c < r->classes; c++) {
    const ClassMetrics *m = &r->per_class[c];
    text_add(json, "%s\n    ", c ? "," : "");
    json_add_string(json, r->names[c]);
    text_add(json, ": {");
    add_fields(json, class_fields, CLASS_FIELDS, m, r->bounds ? &r->bounds->low[c] : NULL,
               r->bounds ? &r->bounds->high[c] : NULL, r->plain, "    ");
    if (!r->plain) {
      text_add(json,
               ",\n      \"positives\": %lld,\n      \"threshold\": ", (long long)m->positives);
      add_number(json, m->threshold, "null");
    }
    text_add(json, "\n    }");
  }
  text_add(json, "\n  },\n  \"overall\": {");
  add_fields(json, overall_fields, OVERALL_FIELDS, r->overall,
             r->bounds ? &r->bounds->overall_low : NULL,
             r->bounds ? &r->bounds->overall_high : NULL, r->plain, "  ");
  text_add(json, "\n  }");
}

static void add_direction(Text *json, const char *name, const RetrievalMetrics *m,
                          const RecallMetrics *d) {
  text_add(json, "\n    \"%s\": {", name);
  for (int i = 0; i < m->n_k; i++) {
    text_add(json, "%s\n      \"R@%lld\": ", i ? "," : "", (long long)m->k[i]);
    add_number(json, d->recall[i], "null");
  }
  if (!m->plain) {
    text_add(json, ",\n      \"queries\": %lld,\n      \"mean_rank\": ", (long long)d->queries);
    add_number(json, d->mean_rank, "null");
    text_add(json, ",\n      \"median_rank\": ");
    add_number(json, d->median_rank, "null");
  }
  if (m->bounds) {
    text_add(json, ",\n      \"interval95\": {");
    for (int i = 0; i < m->n_k; i++) {
      text_add(json, "%s\"R@%lld\": ", i ? ", " : "", (long long)m->k[i]);
      add_bounds(json, d->low[i], d->high[i]);
    }
    text_add(json, "}");
  }
  text_add(json, "\n    }");
}

void metrics_json_retrieval(Text *json, const char *key, const RetrievalMetrics *m) {
  text_add(json, "  \"%s\": {", key);
  add_direction(json, "text_to_image", m, &m->text_to_image);
  text_add(json, ",");
  add_direction(json, "image_to_text", m, &m->image_to_text);
  text_add(json, "\n  }");
}

/* ---- CSV ---- */

void csv_add_cell(Text *csv, const char *cell) {
  bool quote = false;
  for (const char *at = cell; *at; at++)
    quote |= *at == ',' || *at == '"' || *at == '\n' || *at == '\r';
  if (quote)
    text_add(csv, "\"");
  for (const char *at = cell; *at; at++)
    text_add(csv, quote && *at == '"' ? "\"\"" : "%c", *at);
  if (quote)
    text_add(csv, "\"");
}

void metrics_csv_classes(Text *csv, const ClassReport *r) {
  text_add(csv, "finding,positives,threshold");
  for (int f = 0; f < CLASS_FIELDS; f++) {
    text_add(csv, ",%s", class_fields[f].name);
    if (r->bounds)
      text_add(csv, ",%s_low,%s_high", class_fields[f].name, class_fields[f].name);
  }
  text_add(csv, "\n");
  for (int c = 0; c < r->classes; c++) {
    const ClassMetrics *m = &r->per_class[c];
    csv_add_cell(csv, r->names[c]);
    text_add(csv, ",%lld,", (long long)m->positives);
    add_number(csv, m->threshold, "");
    for (int f = 0; f < CLASS_FIELDS; f++) {
      text_add(csv, ",");
      add_number(csv, metric_value(m, &class_fields[f]), "");
      for (int end = 0; r->bounds && end < 2; end++) {
        text_add(csv, ",");
        add_number(csv,
                   metric_value(end ? &r->bounds->high[c] : &r->bounds->low[c], &class_fields[f]),
                   "");
      }
    }
    text_add(csv, "\n");
  }
}

void metrics_csv_overall(Text *csv, const ClassReport *r) {
  text_add(csv, r->bounds ? "metric,value,low,high\n" : "metric,value\n");
  for (int f = 0; f < OVERALL_FIELDS; f++) {
    text_add(csv, "%s,", overall_fields[f].name);
    add_number(csv, metric_value(r->overall, &overall_fields[f]), "");
    for (int end = 0; r->bounds && end < 2; end++) {
      text_add(csv, ",");
      add_number(csv,
                 metric_value(end ? &r->bounds->overall_high : &r->bounds->overall_low,
                              &overall_fields[f]),
                 "");
    }
    text_add(csv, "\n");
  }
}
