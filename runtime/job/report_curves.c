/* Training curves of a report. See report.h. */
#include "runtime/base/arena.h"
#include "runtime/data/csv.h"
#include "runtime/job/report.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_POINTS = 600 };

typedef struct Curve {
  double x[MAX_POINTS], y[MAX_POINTS], smooth[MAX_POINTS];
  int64_t count;
} Curve;

/* A cell as a number; one that is empty or no number is a gap. */
static double cell(const Csv *csv, int row, int column) {
  const char *text = csv_cell(csv, row, column);
  char *end;
  double value = strtod(text, &end);
  return end == text || *end ? NAN : value;
}

/* Long logs are shown as means of neighbouring rows. */
static void read_curve(const Csv *csv, int x, int y, Curve *curve) {
  int per = (csv->rows + MAX_POINTS - 1) / MAX_POINTS;
  double smooth = NAN;
  curve->count = 0;
  for (int first = 0; first < csv->rows; first += per) {
    double sum_x = 0, sum_y = 0;
    int n = 0;
    for (int row = first; row < first + per && row < csv->rows; row++)
      if (isfinite(cell(csv, row, x)) && isfinite(cell(csv, row, y))) {
        sum_x += cell(csv, row, x);
        sum_y += cell(csv, row, y);
        n++;
      }
    if (!n)
      continue;
    int64_t i = curve->count++;
    curve->x[i] = sum_x / n;
    curve->y[i] = sum_y / n;
    smooth = isnan(smooth) ? curve->y[i] : 0.95 * smooth + 0.05 * curve->y[i];
    curve->smooth[i] = smooth;
  }
}

static void add_curve(Text *out, const char *name, const char *x_name, const Curve *curve) {
  double low = INFINITY, high = -INFINITY;
  for (int64_t i = 0; i < curve->count; i++) {
    low = fmin(low, curve->y[i]);
    high = fmax(high, curve->y[i]);
  }
  double room = high > low ? 0.05 * (high - low) : fabs(high) > 0 ? 0.1 * fabs(high) : 1;
  bool noisy = strcmp(name, "loss") == 0 && curve->count > 20;
  Series series[2] = {{.style = noisy ? "faint" : "a",
                       .name = noisy ? "as logged" : NULL,
                       .x = curve->x,
                       .y = curve->y,
                       .count = curve->count},
                      {.style = "a",
                       .name = "running mean",
                       .x = curve->x,
                       .y = curve->smooth,
                       .count = curve->count}};
  Chart chart = {.title = name,
                 .x_label = x_name,
                 .y_label = name,
                 .width = 520,
                 .height = 260,
                 .x0 = curve->x[0],
                 .x1 = curve->x[curve->count - 1],
                 .y0 = low - room,
                 .y1 = high + room,
                 .series = series,
                 .n_series = noisy ? 2 : 1};
  chart_lines(out, &chart);
}

/* Columns that say where a row is, or how long it took. */
static bool is_place(const char *name) {
  return strcmp(name, "step") == 0 || strcmp(name, "epoch") == 0 || strcmp(name, "seconds") == 0;
}

bool report_curves(Text *out, const char *path, Error *error) {
  Csv csv;
  if (!csv_read(&csv, path, error))
    return false;
  int x = csv_column(&csv, "step");
  x = x < 0 ? csv_column(&csv, "epoch") : x;
  Curve *curve = mem_alloc(sizeof *curve);
  bool good = x >= 0 || error_set(error, "%s: error: has neither a column step nor epoch", path);
  if (good) {
    text_add(out, "<section id=\"training\"><h2>Training</h2>\n<p class=\"soft\">From ");
    html_add(out, path);
    text_add(out, ", %d rows.</p>\n", csv.rows);
  }
  for (int c = 0; good && c < csv.columns; c++) {
    if (is_place(csv.header[c]))
      continue;
    read_curve(&csv, x, c, curve);
    if (curve->count > 1 && curve->x[curve->count - 1] > curve->x[0])
      add_curve(out, csv.header[c], csv.header[x], curve);
  }
  if (good)
    text_add(out, "</section>\n");
  free(curve);
  csv_free(&csv);
  return good;
}
