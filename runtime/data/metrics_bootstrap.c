/* Bootstrap intervals over patients. See metrics.h.
 *
 * Draw d of replicate b is a function of (seed, b, d), so the intervals are the same on every
 * machine, and those of two models on one data set come from the same patients.
 */
#include "runtime/base/arena.h"
#include "runtime/base/random.h"
#include "runtime/data/metrics_private.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Numbered {
  int64_t patient, sample;
} Numbered;

static int by_patient(const void *a, const void *b) {
  const Numbered *x = a, *y = b;
  if (x->patient != y->patient)
    return x->patient < y->patient ? -1 : 1;
  return (x->sample > y->sample) - (x->sample < y->sample);
}

int64_t metrics_groups(const int64_t *patients, int64_t samples, int64_t *groups) {
  if (!patients) {
    for (int64_t i = 0; i < samples; i++)
      groups[i] = i;
    return samples;
  }
  Numbered *list = mem_alloc(sizeof *list * (size_t)(samples + 1));
  int64_t *first = mem_alloc(sizeof *first * (size_t)(samples + 1)), count = 0;
  for (int64_t i = 0; i < samples; i++)
    list[i] = (Numbered){patients[i], i};
  qsort(list, (size_t)samples, sizeof *list, by_patient);
  for (int64_t i = 0, start = 0; i < samples; i++) {
    if (list[i].patient != list[start].patient)
      start = i;
    first[list[i].sample] = list[start].sample;
  }
  for (int64_t i = 0; i < samples; i++)
    groups[i] = first[i] == i ? count++ : groups[first[i]];
  free(list);
  free(first);
  return count;
}

void metrics_draw(const int64_t *groups, int64_t samples, int64_t patients, uint64_t seed,
                  int64_t replicate, int32_t *drawn, int32_t *weights) {
  memset(drawn, 0, sizeof *drawn * (size_t)patients);
  for (int64_t d = 0; d < patients; d++)
    drawn[(int64_t)(random_uniform(seed, (uint64_t)replicate, (uint64_t)d) * (double)patients)]++;
  for (int64_t i = 0; i < samples; i++)
    weights[i] = drawn[groups[i]];
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double quantile(const double *sorted, int64_t count, double q) {
  double place = q * (double)(count - 1);
  int64_t below = (int64_t)place;
  double share = place - (double)below;
  return below + 1 < count ? sorted[below] + share * (sorted[below + 1] - sorted[below])
                           : sorted[count - 1];
}

void metrics_percentiles(double *values, int64_t count, double *low, double *high) {
  int64_t kept = 0;
  for (int64_t i = 0; i < count; i++)
    if (!isnan(values[i]))
      values[kept++] = values[i];
  *low = *high = NAN;
  if (kept == 0 || 2 * kept < count)
    return;
  qsort(values, (size_t)kept, sizeof *values, by_value);
  *low = quantile(values, kept, 0.025);
  *high = quantile(values, kept, 0.975);
}

static void set_bounds(double *values, int64_t replicates, bool defined, const MetricField *field,
                       void *low, void *high) {
  double *bounds[2] = {(double *)((char *)low + field->offset),
                       (double *)((char *)high + field->offset)};
  if (defined)
    metrics_percentiles(values, replicates, bounds[0], bounds[1]);
  else
    *bounds[0] = *bounds[1] = NAN;
}

void metrics_class_bounds(const Predictions *p, int64_t replicates, uint64_t seed,
                          ClassBounds *bounds) {
  CHECK(p->classes <= MAX_BOOTSTRAP_CLASSES && replicates <= MAX_REPLICATES);
  int per_class = p->classes * CLASS_FIELDS, fields = per_class + OVERALL_FIELDS;
  size_t samples = (size_t)p->samples;
  int64_t *groups = mem_alloc(sizeof *groups * samples);
  int64_t patients = metrics_groups(p->patients, p->samples, groups);
  int32_t *drawn = mem_alloc(sizeof *drawn * samples), *order = metrics_order(p);
  int32_t *weights = mem_alloc(sizeof *weights * samples);
  double *values = mem_alloc(sizeof *values * (size_t)(replicates * fields + 1));
  for (int64_t b = 0; b < replicates; b++) { /* bounds->low is scratch here */
    metrics_draw(groups, p->samples, patients, seed, b, drawn, weights);
    metrics_weighted(p, order, weights, bounds->low, &bounds->overall_low);
    for (int f = 0; f < fields; f++)
      values[f * replicates + b] =
          f < per_class
              ? metric_value(&bounds->low[f / CLASS_FIELDS], &class_fields[f % CLASS_FIELDS])
              : metric_value(&bounds->overall_low, &overall_fields[f - per_class]);
  }
  for (int c = 0; c < p->classes; c++)
    bounds->high[c] = bounds->low[c];
  bounds->overall_high = bounds->overall_low;
  for (int f = 0; f < per_class; f++)
    set_bounds(values + f * replicates, replicates, patients > 1, &class_fields[f % CLASS_FIELDS],
               &bounds->low[f / CLASS_FIELDS], &bounds->high[f / CLASS_FIELDS]);
  for (int f = 0; f < OVERALL_FIELDS; f++)
    set_bounds(values + (per_class + f) * replicates, replicates, patients > 1, &overall_fields[f],
               &bounds->overall_low, &bounds->overall_high);
  free(groups);
  free(drawn);
  free(order);
  free(weights);
  free(values);
}
