/* Judging whether values are HU. See hu_gate.h.
 *
 * A peak is a window of 200 HU that holds at least 4 % of the voxels and, per HU, at least twice as
 * many as what lies 100 to 300 HU away on both sides together, and clearly more than on either: the
 * edge of a plain is none. Peaks are taken greedily, the largest first, 250 HU apart.
 */
#include "runtime/data/hu_gate.h"
#include "runtime/base/arena.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  LOW = -12288, /* covers a shift by 8192 in both directions; what lies beyond counts at the ends */
  WIDTH = 8,
  BINS = 24576 / WIDTH,
  NEAR = 96 / WIDTH, /* half a peak's window */
  FAR = 296 / WIDTH, /* end of its surroundings */
  APART = 248 / WIDTH,
  ENOUGH = 1 << 20, /* voxels looked at */
  FEW = 1000        /* too few for a histogram */
};

typedef struct Histogram {
  double total, bins[BINS];
  double sums[BINS + 1]; /* of the bins before */
} Histogram;

static int bin_of(double value) {
  double bin = floor((value - LOW) / WIDTH);
  return bin < 0 ? 0 : bin >= BINS ? BINS - 1 : (int)bin;
}

static double centre_of(int bin) { return LOW + (bin + 0.5) * WIDTH; }

static void count_values(const Volume *v, const PrepareFacts *facts, Histogram *h) {
  double *row = mem_alloc(sizeof *row * (size_t)v->nx);
  int64_t rows = v->ny * v->nz, step = rows / (ENOUGH / v->nx + 1) + 1;
  if (step > 1 && v->ny % step == 0)
    step++; /* not the same rows of every slice */
  memset(h, 0, sizeof *h);
  for (int64_t r = 0; r < rows; r += step) {
    volume_row(v, r % v->ny, r / v->ny, row);
    for (int64_t x = 0; x < v->nx; x++) {
      double value = row[x] * facts->slope + facts->intercept;
      if (value == value)
        h->bins[bin_of(value)]++;
    }
  }
  free(row);
}

/* One value far below the rest is no tissue: scanners and tools fill with it. */
static void drop_padding(Histogram *h) {
  int first = 0, next;
  while (first < BINS && h->bins[first] == 0)
    first++;
  for (next = first + 1; next < BINS && h->bins[next] == 0; next++)
    ;
  if (next < BINS && (next - first) * WIDTH >= 300)
    h->bins[first] = 0;
}

static void add_up(Histogram *h) {
  for (int i = 0; i < BINS; i++)
    h->sums[i + 1] = h->sums[i] + h->bins[i];
  h->total = h->sums[BINS];
}

/* Voxels in bins first..last, cut to what there is. */
static double between(const Histogram *h, int first, int last) {
  first = first < 0 ? 0 : first;
  last = last >= BINS ? BINS - 1 : last;
  return first > last ? 0 : h->sums[last + 1] - h->sums[first];
}

static double share(const Histogram *h, double low, double high) {
  return h->total > 0 ? between(h, bin_of(low), bin_of(high)) / h->total : 0;
}

static bool stands_out(const Histogram *h, int bin) {
  double inside = between(h, bin - NEAR, bin + NEAR);
  double below = between(h, bin - FAR, bin - NEAR - 1);
  double above = between(h, bin + NEAR + 1, bin + FAR);
  double width = 2 * NEAR + 1, side = FAR - NEAR, density = inside / width;
  return inside >= 0.04 * h->total && density >= (below + above) / side &&
         0.8 * density >= below / side && 0.8 * density >= above / side;
}

static void find_peaks(const Histogram *h, HuReport *report) {
  int found[HU_PEAKS];
  for (report->count = 0; report->count < HU_PEAKS; report->count++) {
    int best = -1;
    double most = 0;
    for (int bin = 0; bin < BINS; bin++) {
      double inside = between(h, bin - NEAR, bin + NEAR);
      bool taken = false;
      for (int i = 0; i < report->count; i++)
        taken |= abs(bin - found[i]) < APART;
      if (!taken && inside > most && stands_out(h, bin)) {
        best = bin;
        most = inside;
      }
    }
    if (best < 0)
      return;
    found[report->count] = best;
    report->at[report->count] = centre_of(best);
    report->share[report->count] = most / h->total;
  }
}

static bool peak_within(const HuReport *report, double low, double high) {
  for (int i = 0; i < report->count; i++)
    if (report->at[i] >= low && report->at[i] <= high)
      return true;
  return false;
}

/* Soft tissue, fat included, belongs within -250..350 HU; air and lung below. */
static HuVerdict judge(const Histogram *h, const HuReport *report) {
  if (!report->count)
    return HU_UNCLEAR;
  bool tissue = peak_within(report, -250, 350), air = peak_within(report, -1150, -500);
  if (peak_within(report, 700, INFINITY) && share(h, -1150, -300) < 0.05)
    return HU_RAW; /* what stands at 0 is air */
  if (tissue)
    return HU_GOOD;
  if (share(h, -250, 350) < 0.15 && (share(h, -INFINITY, -1150) >= 0.05 ||
                                     (air && share(h, -INFINITY, -1060) >= 0.05)))
    return HU_TWICE;
  return HU_UNCLEAR;
}

void hu_gate_judge(const Volume *volume, const PrepareFacts *facts, HuReport *report) {
  Histogram *h = mem_alloc(sizeof *h);
  *report = (HuReport){0};
  count_values(volume, facts, h);
  drop_padding(h);
  add_up(h);
  if (h->total >= FEW)
    find_peaks(h, report);
  report->verdict = judge(h, report);
  free(h);
}

bool hu_gate(const Volume *volume, const PrepareFacts *facts, PrepareGate gate, const char *path,
             Error *warning, Error *error) {
  HuReport report;
  warning->text[0] = 0;
  if (gate == GATE_OFF)
    return true;
  hu_gate_judge(volume, facts, &report);
  if (report.verdict != HU_TWICE && report.verdict != HU_RAW)
    return true;
  char peaks[100];
  int at = 0;
  for (int i = 0; i < report.count && i < 2; i++)
    at += snprintf(peaks + at, sizeof peaks - (size_t)at, "%s%.0f", i ? " and " : "", report.at[i]);
  bool stop = gate == GATE_STOP;
  error_set(stop ? error : warning,
            "%s: %s: looks %s: most voxels lie around %s HU, where a CT has air at -1000 and soft "
            "tissue near 0; values are stored * %g + %g by the header, then * %g + %g "
            "(prepare.rescale says whose; prepare.gate=warn or off lets it pass)",
            path, stop ? "error" : "warning",
            report.verdict == HU_TWICE ? "rescaled twice" : "not rescaled at all", peaks,
            volume->slope, volume->intercept, facts->slope, facts->intercept);
  return !stop;
}
