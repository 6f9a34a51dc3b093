/* Scores of multi-label classification and of image-text retrieval, with confidence intervals.
 *
 * A class is predicted positive when its probability is greater than its threshold. AUROC counts
 * ties as one half; average precision is the step sum over distinct probabilities, without
 * interpolation. A ratio without a denominator is 0 (precision, recall, specificity, F1) or NaN
 * (AUROC and average precision of a class with no positive, AUROC of one with no negative); NaN is
 * left out of means.
 *
 * Intervals are percentile bootstrap intervals (Efron and Tibshirani, 1993, chapter 13) over whole
 * patients: a patient's volumes are drawn together, since they are not independent.
 */
#ifndef TRICOT_RUNTIME_DATA_METRICS_H
#define TRICOT_RUNTIME_DATA_METRICS_H
#include "runtime/base/fault.h"
#include "runtime/base/text.h"
#include <stddef.h>
#include <stdint.h>

/* ---- classification ---- */

typedef struct ClassMetrics {
  double auroc, accuracy, f1, precision, recall, specificity, average_precision;
  double threshold;
  int64_t positives;
} ClassMetrics;

/* micro: over all decisions of all classes; macro: the mean over classes; weighted: the mean over
 * classes by their number of positives. */
typedef struct OverallMetrics {
  double f1_weighted, f1_macro, f1_micro, accuracy;
  double precision_micro, precision_macro, precision_weighted;
  double recall_micro, recall_macro, recall_weighted;
  double specificity_micro, auroc_macro, average_precision_macro;
} OverallMetrics;

/* The numbers above by name, for reports and intervals. */
typedef struct MetricField {
  const char *name;
  size_t offset;
} MetricField;
enum { CLASS_FIELDS = 7, OVERALL_FIELDS = 13 };
extern const MetricField class_fields[CLASS_FIELDS], overall_fields[OVERALL_FIELDS];
extern const char *const overall_words[OVERALL_FIELDS]; /* the same for people */
static inline double metric_value(const void *metrics, const MetricField *field) {
  return *(const double *)((const char *)metrics + field->offset);
}

typedef struct Predictions {
  int64_t samples;
  int classes;
  const double *probabilities; /* [samples, classes] */
  const uint8_t *labels;       /* the same shape, 0 or 1 */
  const double *thresholds;    /* [classes]; NULL: 0.5 each */
  const int64_t *patients;     /* [samples]: any number for each patient; NULL: each its own */
} Predictions;

/* per_class has `classes` entries. */
bool metrics_classify(const Predictions *predictions, ClassMetrics *per_class,
                      OverallMetrics *overall, Error *error);

/* Bounds of the 95 % intervals, NaN where fewer than half of the replicates define the metric and
 * where there are fewer than two patients. */
typedef struct ClassBounds {
  ClassMetrics *low, *high; /* [classes] */
  OverallMetrics overall_low, overall_high;
} ClassBounds;
enum { MAX_BOOTSTRAP_CLASSES = 1000, MAX_REPLICATES = 100000 };
/* `predictions` must have passed metrics_classify. */
void metrics_class_bounds(const Predictions *predictions, int64_t replicates, uint64_t seed,
                          ClassBounds *bounds);

/* ---- operating points ---- */

typedef struct RocPoint {
  double false_positive_rate, true_positive_rate;
  double threshold; /* a probability above it is positive */
} RocPoint;
/* The curve of one class from (0,0) to (1,1), a point for each distinct probability and the start;
 * points has room for samples + 1. 0 when the class lacks positives or negatives. */
int64_t metrics_roc(const Predictions *predictions, int class, RocPoint *points);

typedef enum ThresholdRule {
  THRESHOLD_HALF,   /* 0.5 */
  THRESHOLD_CORNER, /* the point of the ROC curve nearest to (0,1) */
  THRESHOLD_YOUDEN  /* the point with the largest TPR - FPR (Youden, 1950) */
} ThresholdRule;
/* Of equally good points the one with the higher threshold; 0.5 without a curve. */
double metrics_threshold(const RocPoint *points, int64_t count, ThresholdRule rule);

/* ---- retrieval ---- */

enum { MAX_RANKS = 32 };

typedef struct RecallMetrics { /* of one direction */
  int64_t queries;
  double recall[MAX_RANKS], low[MAX_RANKS], high[MAX_RANKS];
  double mean_rank, median_rank; /* the first place is rank 1 */
} RecallMetrics;

typedef struct RetrievalMetrics {
  int n_k;
  int64_t k[MAX_RANKS];
  bool bounds; /* low and high are there */
  bool plain;  /* reports show recall alone */
  RecallMetrics text_to_image, image_to_text;
} RetrievalMetrics;

/* What is searched in what. images and texts are [count, width]; text i belongs to image i. With
 * `items`, pairs with the same number share one report: the report is one query for images, found
 * with any of its images, and one candidate for the texts. NULL: every pair is its own item. */
typedef struct Retrieval {
  int64_t count, width;
  const float *images, *texts;
  const int64_t *items, *patients; /* [count] or NULL */
} Retrieval;

/* Recall at each k of metrics->k: the share of queries with a match among the k largest dot
 * products (taken in double; of equal ones the lower index comes first). With replicates > 0 also
 * intervals: queries are drawn by patient, what is searched stays the same. */
bool metrics_retrieve(const Retrieval *retrieval, int64_t replicates, uint64_t seed,
                      RetrievalMetrics *metrics, Error *error);

/* ---- reports ---- */

typedef struct ClassReport {
  int classes;
  const char *const *names;
  const ClassMetrics *per_class;
  const OverallMetrics *overall;
  const ClassBounds *bounds; /* NULL: none */
  const char *threshold;     /* in words; NULL: 0.5 for all */
  bool plain; /* JSON with the few metrics everybody reports */
} ClassReport;

/* Parts of a JSON object; the caller puts the braces around them. */
void metrics_json_classes(Text *json, const ClassReport *report);
void metrics_json_retrieval(Text *json, const char *key, const RetrievalMetrics *metrics);
/* A header, then a row a class (or an overall metric), with bounds where there are. */
void metrics_csv_classes(Text *csv, const ClassReport *report);
void metrics_csv_overall(Text *csv, const ClassReport *report);
/* One cell, in quotes where it needs them. */
void csv_add_cell(Text *csv, const char *cell);
/* For people, in percent. */
void metrics_table_classes(Text *out, const ClassReport *report);
void metrics_table_retrieval(Text *out, const char *title, const RetrievalMetrics *metrics);
#endif
