/* Metrics. See metrics.h. All sums are in double; ranks come from one sort per class. */
#include "runtime/data/metrics.h"
#include "runtime/base/arena.h"
#include "runtime/base/json.h"
#include <math.h>
#include <stdlib.h>

typedef struct Scored {
  double probability;
  int label;
} Scored;

typedef struct Counts {
  int64_t true_positive, false_positive, false_negative, true_negative;
} Counts;

static int by_probability_down(const void *a, const void *b) {
  double x = ((const Scored *)a)->probability, y = ((const Scored *)b)->probability;
  return x > y ? -1 : x < y;
}

static double ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

static double f1_of(const Counts *c) {
  return ratio(2.0 * (double)c->true_positive,
               2.0 * (double)c->true_positive + (double)(c->false_positive + c->false_negative));
}

/* Walks the samples from the highest probability down, one group of equal ones at a time. */
static void rank_metrics(Scored *scored, int64_t count, int64_t positives, ClassMetrics *metrics) {
  int64_t negatives = count - positives, seen_positive = 0, seen_negative = 0;
  double area = 0, precision_sum = 0;
  qsort(scored, (size_t)count, sizeof *scored, by_probability_down);
  for (int64_t i = 0; i < count;) {
    int64_t group_positive = 0, group_negative = 0;
    double probability = scored[i].probability;
    for (; i < count && scored[i].probability == probability; i++)
      *(scored[i].label ? &group_positive : &group_negative) += 1;
    area += (double)group_negative * ((double)seen_positive + 0.5 * (double)group_positive);
    seen_positive += group_positive;
    seen_negative += group_negative;
    precision_sum +=
        (double)group_positive * (double)seen_positive / (double)(seen_positive + seen_negative);
  }
  metrics->auroc = positives && negatives ? area / ((double)positives * (double)negatives) : NAN;
  metrics->average_precision = positives ? precision_sum / (double)positives : NAN;
}

static Counts count_at_half(const Scored *scored, int64_t count) {
  Counts c = {0};
  for (int64_t i = 0; i < count; i++) {
    bool predicted = scored[i].probability > 0.5;
    if (scored[i].label)
      *(predicted ? &c.true_positive : &c.false_negative) += 1;
    else
      *(predicted ? &c.false_positive : &c.true_negative) += 1;
  }
  return c;
}

static void summarise(const ClassMetrics *per_class, int classes, const Counts *all,
                      OverallMetrics *overall) {
  double weighted = 0, f1 = 0, auroc = 0, positives = 0;
  int defined = 0;
  for (int c = 0; c < classes; c++) {
    weighted += per_class[c].f1 * (double)per_class[c].positives;
    positives += (double)per_class[c].positives;
    f1 += per_class[c].f1;
    if (!isnan(per_class[c].auroc)) {
      auroc += per_class[c].auroc;
      defined++;
    }
  }
  double right = (double)(all->true_positive + all->true_negative);
  *overall = (OverallMetrics){
      .f1_weighted = ratio(weighted, positives),
      .f1_macro = f1 / classes,
      .accuracy = right / (right + (double)(all->false_positive + all->false_negative)),
      .precision_micro =
          ratio((double)all->true_positive, (double)(all->true_positive + all->false_positive)),
      .recall_micro =
          ratio((double)all->true_positive, (double)(all->true_positive + all->false_negative)),
      .auroc_macro = defined ? auroc / defined : NAN,
  };
}

static bool check(const double *probabilities, const uint8_t *labels, int64_t samples, int classes,
                  Error *error) {
  if (samples < 1 || classes < 1)
    return error_set(error, "there is nothing to score: %lld samples of %d classes",
                     (long long)samples, classes);
  for (int64_t i = 0; i < samples * classes; i++) {
    if (!(probabilities[i] >= 0 && probabilities[i] <= 1))
      return error_set(error, "sample %lld, class %lld: %g is not a probability",
                       (long long)(i / classes), (long long)(i % classes), probabilities[i]);
    if (labels[i] > 1)
      return error_set(error, "sample %lld, class %lld: a label is neither 0 nor 1",
                       (long long)(i / classes), (long long)(i % classes));
  }
  return true;
}

bool metrics_classify(const double *probabilities, const uint8_t *labels, int64_t samples,
                      int classes, ClassMetrics *per_class, OverallMetrics *overall, Error *error) {
  if (!check(probabilities, labels, samples, classes, error))
    return false;
  Scored *scored = mem_alloc(sizeof *scored * (size_t)samples);
  Counts all = {0};
  for (int c = 0; c < classes; c++) {
    ClassMetrics *m = &per_class[c];
    for (int64_t i = 0; i < samples; i++)
      scored[i] = (Scored){probabilities[i * classes + c], labels[i * classes + c]};
    Counts n = count_at_half(scored, samples);
    m->positives = n.true_positive + n.false_negative;
    m->accuracy = (double)(n.true_positive + n.true_negative) / (double)samples;
    m->precision = ratio((double)n.true_positive, (double)(n.true_positive + n.false_positive));
    m->recall = ratio((double)n.true_positive, (double)m->positives);
    m->f1 = f1_of(&n);
    rank_metrics(scored, samples, m->positives, m);
    all.true_positive += n.true_positive;
    all.false_positive += n.false_positive;
    all.false_negative += n.false_negative;
    all.true_negative += n.true_negative;
  }
  free(scored);
  summarise(per_class, classes, &all, overall);
  return true;
}

/* The order of additions is fixed, so equal rows give equal sums. */
static double dot(const float *a, const float *b, int64_t width) {
  double sum[4] = {0};
  int64_t i = 0;
  for (; i + 4 <= width; i += 4)
    for (int lane = 0; lane < 4; lane++)
      sum[lane] += (double)a[i + lane] * (double)b[i + lane];
  for (; i < width; i++)
    sum[0] += (double)a[i] * (double)b[i];
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static bool check_latents(const char *name, const float *rows, int64_t count, Error *error) {
  for (int64_t i = 0; i < count; i++)
    if (!isfinite(rows[i]))
      return error_set(error, "the %s latents hold a value that is not finite", name);
  return true;
}

static double share_within(const int64_t *better, int64_t count, int64_t k) {
  int64_t hits = 0;
  for (int64_t i = 0; i < count; i++)
    hits += better[i] < k;
  return (double)hits / (double)count;
}

bool metrics_retrieve(const float *images, const float *texts, int64_t count, int64_t width,
                      const int64_t *k, int n_k, double *text_to_image, double *image_to_text,
                      Error *error) {
  if (count < 1 || width < 1)
    return error_set(error, "there is nothing to retrieve: %lld pairs of %lld values",
                     (long long)count, (long long)width);
  if (!check_latents("image", images, count * width, error) ||
      !check_latents("text", texts, count * width, error))
    return false;
  double *own = mem_alloc(sizeof *own * (size_t)count);
  int64_t *better_image = mem_alloc(sizeof *better_image * (size_t)count);
  int64_t *better_text = mem_alloc(sizeof *better_text * (size_t)count);
  for (int64_t i = 0; i < count; i++)
    own[i] = dot(texts + i * width, images + i * width, width);
  for (int64_t t = 0; t < count; t++)
    for (int64_t i = 0; i < count; i++) {
      if (i == t)
        continue;
      double similarity = dot(texts + t * width, images + i * width, width);
      better_image[t] += similarity > own[t] || (similarity == own[t] && i < t);
      better_text[i] += similarity > own[i] || (similarity == own[i] && t < i);
    }
  for (int i = 0; i < n_k; i++) {
    text_to_image[i] = share_within(better_image, count, k[i]);
    image_to_text[i] = share_within(better_text, count, k[i]);
  }
  free(own);
  free(better_image);
  free(better_text);
  return true;
}

/* ---- JSON ---- */

typedef struct Field {
  const char *name;
  double value;
} Field;

static void add_fields(Text *json, const Field *fields, int count, const char *indent) {
  text_add(json, "{");
  for (int i = 0; i < count; i++) {
    text_add(json, "%s\n%s  \"%s\": ", i ? "," : "", indent, fields[i].name);
    if (isnan(fields[i].value))
      text_add(json, "null");
    else
      text_add_float(json, fields[i].value, 0);
  }
  text_add(json, "\n%s}", indent);
}

void metrics_add_classes(Text *json, const char *const *names, const ClassMetrics *per_class,
                         int classes, const OverallMetrics *overall) {
  text_add(json, "  \"threshold\": \"positive when probability > 0.5 (0.5 itself is negative)\",\n"
                 "  \"pathologies\": [");
  for (int c = 0; c < classes; c++) {
    text_add(json, "%s\n    ", c ? "," : "");
    json_add_string(json, names[c]);
  }
  text_add(json, "\n  ],\n  \"per_pathology\": {");
  for (int c = 0; c < classes; c++) {
    const ClassMetrics *m = &per_class[c];
    const Field fields[] = {{"auroc", m->auroc},   {"accuracy", m->accuracy},
                            {"f1", m->f1},         {"precision", m->precision},
                            {"recall", m->recall}, {"average_precision", m->average_precision}};
    text_add(json, "%s\n    ", c ? "," : "");
    json_add_string(json, names[c]);
    text_add(json, ": ");
    add_fields(json, fields, 6, "    ");
  }
  const Field fields[] = {
      {"f1_weighted", overall->f1_weighted},   {"f1_macro", overall->f1_macro},
      {"accuracy", overall->accuracy},         {"precision_micro", overall->precision_micro},
      {"recall_micro", overall->recall_micro}, {"auroc_macro", overall->auroc_macro}};
  text_add(json, "\n  },\n  \"overall\": ");
  add_fields(json, fields, 6, "  ");
}

void metrics_add_retrieval(Text *json, const int64_t *k, int n_k, const double *text_to_image,
                           const double *image_to_text) {
  text_add(json, "  \"retrieval\": {");
  for (int direction = 0; direction < 2; direction++) {
    const double *recall = direction ? image_to_text : text_to_image;
    text_add(json, "%s\n    \"%s\": {", direction ? "," : "",
             direction ? "image_to_text" : "text_to_image");
    for (int i = 0; i < n_k; i++) {
      text_add(json, "%s\n      \"R@%lld\": ", i ? "," : "", (long long)k[i]);
      text_add_float(json, recall[i], 0);
    }
    text_add(json, "\n    }");
  }
  text_add(json, "\n  }");
}
