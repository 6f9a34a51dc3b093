/* What the files of metrics share: scoring with sample weights, and drawing patients. */
#ifndef TRICOT_RUNTIME_DATA_METRICS_PRIVATE_H
#define TRICOT_RUNTIME_DATA_METRICS_PRIVATE_H
#include "runtime/data/metrics.h"

/* Samples of each class from the highest probability down: [classes][samples], from malloc. */
int32_t *metrics_order(const Predictions *predictions);
/* All metrics with sample i counted weights[i] times (NULL: once). */
void metrics_weighted(const Predictions *predictions, const int32_t *order, const int32_t *weights,
                      ClassMetrics *per_class, OverallMetrics *overall);

/* Patients numbered from 0 in order of their first sample; groups[samples] is filled. Returns how
 * many there are. */
int64_t metrics_groups(const int64_t *patients, int64_t samples, int64_t *groups);
/* Draws as many patients as there are, with replacement: how often each sample counts in the
 * replicate. drawn[patients] is scratch. */
void metrics_draw(const int64_t *groups, int64_t samples, int64_t patients, uint64_t seed,
                  int64_t replicate, int32_t *drawn, int32_t *weights);
/* The 2.5 and 97.5 percentiles of the values that are numbers (linear between neighbours); sorts
 * them. NaN when fewer than half are. */
void metrics_percentiles(double *values, int64_t count, double *low, double *high);
#endif
