/* Metrics of classification. See metrics.h. All sums are in double; one sort a class serves every
 * replicate of a bootstrap, which only counts the samples anew.
 */
#include "runtime/base/arena.h"
#include "runtime/data/metrics_private.h"
#include <math.h>
#include <stdlib.h>

#define FIELD(Struct, name)                                                                        \
  { #name, offsetof(Struct, name) }
const MetricField class_fields[CLASS_FIELDS] = {FIELD(ClassMetrics, auroc),
                                                FIELD(ClassMetrics, accuracy),
                                                FIELD(ClassMetrics, f1),
                                                FIELD(ClassMetrics, precision),
                                                FIELD(ClassMetrics, recall),
                                                FIELD(ClassMetrics, specificity),
                                                FIELD(ClassMetrics, average_precision)};
const MetricField overall_fields[OVERALL_FIELDS] = {FIELD(OverallMetrics, f1_weighted),
                                                    FIELD(OverallMetrics, f1_macro),
                                                    FIELD(OverallMetrics, f1_micro),
                                                    FIELD(OverallMetrics, accuracy),
                                                    FIELD(OverallMetrics, precision_micro),
                                                    FIELD(OverallMetrics, precision_macro),
                                                    FIELD(OverallMetrics, precision_weighted),
                                                    FIELD(OverallMetrics, recall_micro),
                                                    FIELD(OverallMetrics, recall_macro),
                                                    FIELD(OverallMetrics, recall_weighted),
                                                    FIELD(OverallMetrics, specificity_micro),
                                                    FIELD(OverallMetrics, auroc_macro),
                                                    FIELD(OverallMetrics, average_precision_macro)};
#undef FIELD

typedef struct Scored {
  double probability;
  int32_t sample;
} Scored;

typedef struct Counts {
  int64_t true_positive, false_positive, false_negative, true_negative;
} Counts;

/* Of equal probabilities the earlier sample first, so that the order is one and the same. */
static int by_probability_down(const void *a, const void *b) {
  const Scored *x = a, *y = b;
  if (x->probability != y->probability)
    return x->probability > y->probability ? -1 : 1;
  return (x->sample > y->sample) - (x->sample < y->sample);
}

int32_t *metrics_order(const Predictions *p) {
  Scored *scored = mem_alloc(sizeof *scored * (size_t)p->samples);
  int32_t *order = mem_alloc(sizeof *order * (size_t)(p->samples * p->classes));
  for (int c = 0; c < p->classes; c++) {
    for (int64_t i = 0; i < p->samples; i++)
      scored[i] = (Scored){p->probabilities[i * p->classes + c], (int32_t)i};
    qsort(scored, (size_t)p->samples, sizeof *scored, by_probability_down);
    for (int64_t i = 0; i < p->samples; i++)
      order[c * p->samples + i] = scored[i].sample;
  }
  free(scored);
  return order;
}

/* One class of the predictions, for walks over its samples. */
typedef struct Column {
  const Predictions *p;
  const int32_t *order, *weights;
  int class;
} Column;

static double probability_at(const Column *c, int64_t sample) {
  return c->p->probabilities[sample * c->p->classes + c->class];
}

/* From position *at adds the samples of one probability; *at moves behind them. */
static double next_group(const Column *c, int64_t *at, int64_t counts[2]) {
  double probability = probability_at(c, c->order[*at]);
  for (; *at < c->p->samples; ++*at) {
    int32_t sample = c->order[*at];
    if (probability_at(c, sample) != probability)
      break;
    counts[c->p->labels[sample * c->p->classes + c->class]] += c->weights ? c->weights[sample] : 1;
  }
  return probability;
}

static void rank_metrics(const Column *c, const Counts *n, ClassMetrics *metrics) {
  int64_t positives = n->true_positive + n->false_negative;
  int64_t negatives = n->true_negative + n->false_positive, seen[2] = {0};
  double area = 0, precision_sum = 0;
  for (int64_t at = 0; at < c->p->samples;) {
    int64_t group[2] = {0};
    next_group(c, &at, group);
    area += (double)group[0] * ((double)seen[1] + 0.5 * (double)group[1]);
    seen[0] += group[0];
    seen[1] += group[1];
    if (group[1])
      precision_sum += (double)group[1] * (double)seen[1] / (double)(seen[0] + seen[1]);
  }
  metrics->auroc = positives && negatives ? area / ((double)positives * (double)negatives) : NAN;
  metrics->average_precision = positives ? precision_sum / (double)positives : NAN;
}

static Counts count_above(const Column *c, double threshold) {
  Counts n = {0};
  for (int64_t i = 0; i < c->p->samples; i++) {
    int64_t weight = c->weights ? c->weights[i] : 1;
    bool predicted = probability_at(c, i) > threshold;
    if (c->p->labels[i * c->p->classes + c->class])
      *(predicted ? &n.true_positive : &n.false_negative) += weight;
    else
      *(predicted ? &n.false_positive : &n.true_negative) += weight;
  }
  return n;
}

static double ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

static void threshold_metrics(const Counts *n, ClassMetrics *m) {
  double right = (double)n->true_positive, false_positive = (double)n->false_positive;
  double negative = (double)n->true_negative, missed = (double)n->false_negative;
  m->positives = n->true_positive + n->false_negative;
  m->accuracy = ratio(right + negative, right + negative + false_positive + missed);
  m->precision = ratio(right, right + false_positive);
  m->recall = ratio(right, right + missed);
  m->specificity = ratio(negative, negative + false_positive);
  m->f1 = ratio(2 * right, 2 * right + false_positive + missed);
}

typedef struct Mean {
  double sum, weight;
} Mean;

static void mean_add(Mean *mean, double value, double weight) {
  if (isnan(value))
    return;
  mean->sum += value * weight;
  mean->weight += weight;
}

static void summarise(const ClassMetrics *per_class, int classes, const Counts *all,
                      OverallMetrics *overall) {
  Mean f1 = {0}, precision = {0}, recall = {0}, auroc = {0}, average = {0};
  Mean f1_weighted = {0}, precision_weighted = {0}, recall_weighted = {0};
  for (int c = 0; c < classes; c++) {
    const ClassMetrics *m = &per_class[c];
    double positives = (double)m->positives;
    mean_add(&f1, m->f1, 1);
    mean_add(&precision, m->precision, 1);
    mean_add(&recall, m->recall, 1);
    mean_add(&auroc, m->auroc, 1);
    mean_add(&average, m->average_precision, 1);
    mean_add(&f1_weighted, m->f1, positives);
    mean_add(&precision_weighted, m->precision, positives);
    mean_add(&recall_weighted, m->recall, positives);
  }
  ClassMetrics micro;
  threshold_metrics(all, &micro);
  *overall = (OverallMetrics){
      .f1_weighted = ratio(f1_weighted.sum, f1_weighted.weight),
      .f1_macro = ratio(f1.sum, f1.weight),
      .f1_micro = micro.f1,
      .accuracy = micro.accuracy,
      .precision_micro = micro.precision,
      .precision_macro = ratio(precision.sum, precision.weight),
      .precision_weighted = ratio(precision_weighted.sum, precision_weighted.weight),
      .recall_micro = micro.recall,
      .recall_macro = ratio(recall.sum, recall.weight),
      .recall_weighted = ratio(recall_weighted.sum, recall_weighted.weight),
      .specificity_micro = micro.specificity,
      .auroc_macro = auroc.weight > 0 ? auroc.sum / auroc.weight : NAN,
      .average_precision_macro = average.weight > 0 ? average.sum / average.weight : NAN,
  };
}

void metrics_weighted(const Predictions *p, const int32_t *order, const int32_t *weights,
                      ClassMetrics *per_class, OverallMetrics *overall) {
  Counts all = {0};
  for (int c = 0; c < p->classes; c++) {
    Column column = {p, order + c * p->samples, weights, c};
    ClassMetrics *m = &per_class[c];
    m->threshold = p->thresholds ? p->thresholds[c] : 0.5;
    Counts n = count_above(&column, m->threshold);
    threshold_metrics(&n, m);
    rank_metrics(&column, &n, m);
    all.true_positive += n.true_positive;
    all.false_positive += n.false_positive;
    all.false_negative += n.false_negative;
    all.true_negative += n.true_negative;
  }
  summarise(per_class, p->classes, &all, overall);
}

static bool check(const Predictions *p, Error *error) {
  if (p->samples < 1 || p->classes < 1 || p->samples > INT32_MAX)
    return error_set(error, "there is nothing to score: %lld samples of %d classes",
                     (long long)p->samples, p->classes);
  for (int64_t i = 0; i < p->samples * p->classes; i++) {
    if (!(p->probabilities[i] >= 0 && p->probabilities[i] <= 1))
      return error_set(error, "sample %lld, class %lld: %g is not a probability",
                       (long long)(i / p->classes), (long long)(i % p->classes),
                       p->probabilities[i]);
    if (p->labels[i] > 1)
      return error_set(error, "sample %lld, class %lld: a label is neither 0 nor 1",
                       (long long)(i / p->classes), (long long)(i % p->classes));
  }
  return true;
}

bool metrics_classify(const Predictions *p, ClassMetrics *per_class, OverallMetrics *overall,
                      Error *error) {
  if (!check(p, error))
    return false;
  int32_t *order = metrics_order(p);
  metrics_weighted(p, order, NULL, per_class, overall);
  free(order);
  return true;
}

/* ---- operating points ---- */

/* Between two probabilities, so that neither rounding of a file nor of a sum moves a sample. */
static double between(double above, double below) {
  double middle = below + (above - below) / 2;
  return middle < above ? middle : below;
}

int64_t metrics_roc(const Predictions *p, int class, RocPoint *points) {
  Predictions one = {.samples = p->samples, .classes = 1};
  double *probabilities = mem_alloc(sizeof *probabilities * (size_t)p->samples);
  uint8_t *labels = mem_alloc((size_t)p->samples);
  int64_t totals[2] = {0}, seen[2] = {0}, count = 0;
  for (int64_t i = 0; i < p->samples; i++) {
    probabilities[i] = p->probabilities[i * p->classes + class];
    labels[i] = p->labels[i * p->classes + class];
    totals[labels[i]]++;
  }
  one.probabilities = probabilities;
  one.labels = labels;
  int32_t *order = metrics_order(&one);
  Column column = {&one, order, NULL, 0};
  if (totals[0] && totals[1])
    points[count++] = (RocPoint){0, 0, 1};
  for (int64_t at = 0; count && at < p->samples; count++) {
    double probability = next_group(&column, &at, seen);
    points[count] =
        (RocPoint){(double)seen[0] / (double)totals[0], (double)seen[1] / (double)totals[1],
                   at < p->samples ? between(probability, probabilities[order[at]]) : 0};
  }
  free(order);
  free(probabilities);
  free(labels);
  return count;
}

double metrics_threshold(const RocPoint *points, int64_t count, ThresholdRule rule) {
  double best = -INFINITY, threshold = 0.5;
  for (int64_t i = 0; i < count && rule != THRESHOLD_HALF; i++) {
    double x = points[i].false_positive_rate, y = points[i].true_positive_rate;
    double worth = rule == THRESHOLD_CORNER ? -(x * x + (1 - y) * (1 - y)) : y - x;
    if (worth > best + 1e-12) { /* beyond rounding */
      best = worth;
      threshold = points[i].threshold;
    }
  }
  return threshold;
}
