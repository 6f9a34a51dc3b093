/* Scores of multi-label classification and of image-text retrieval.
 *
 * A class is predicted positive when its probability is greater than 0.5. AUROC counts ties as one
 * half; average precision is the step sum over distinct probabilities, without interpolation. A
 * ratio without a denominator is 0 (precision, recall, F1) or NaN (AUROC and average precision of a
 * class with no positive, AUROC of one with no negative); NaN is left out of means.
 */
#ifndef TRICOT_RUNTIME_DATA_METRICS_H
#define TRICOT_RUNTIME_DATA_METRICS_H
#include "runtime/base/fault.h"
#include "runtime/base/text.h"
#include <stdint.h>

typedef struct ClassMetrics {
  double auroc, accuracy, f1, precision, recall, average_precision;
  int64_t positives;
} ClassMetrics;

typedef struct OverallMetrics {
  double f1_weighted, f1_macro, accuracy, precision_micro, recall_micro, auroc_macro;
} OverallMetrics;

/* probabilities and labels (0 or 1) are [samples, classes]; per_class has `classes` entries. */
bool metrics_classify(const double *probabilities, const uint8_t *labels, int64_t samples,
                      int classes, ClassMetrics *per_class, OverallMetrics *overall, Error *error);

/* Recall at each k: the share of queries whose own index is among the k largest dot products (taken
 * in double; of equal ones the lower index comes first). images and texts are [count, width]; the
 * results have n_k entries each. */
bool metrics_retrieve(const float *images, const float *texts, int64_t count, int64_t width,
                      const int64_t *k, int n_k, double *text_to_image, double *image_to_text,
                      Error *error);

/* The parts of a JSON report; the caller puts the braces around them. */
void metrics_add_classes(Text *json, const char *const *names, const ClassMetrics *per_class,
                         int classes, const OverallMetrics *overall);
void metrics_add_retrieval(Text *json, const int64_t *k, int n_k, const double *text_to_image,
                           const double *image_to_text);

/* The same for people, in percent. */
void metrics_table_classes(Text *out, const char *const *names, const ClassMetrics *per_class,
                           int classes, const OverallMetrics *overall);
void metrics_table_retrieval(Text *out, const int64_t *k, int n_k, const double *text_to_image,
                             const double *image_to_text);
#endif
