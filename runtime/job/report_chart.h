/* Charts as inline SVG, for reports in HTML. Colours come from the page's style. */
#ifndef TRICOT_RUNTIME_JOB_REPORT_CHART_H
#define TRICOT_RUNTIME_JOB_REPORT_CHART_H
#include "runtime/job/html_page.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct Series {
  const char *name;         /* for the legend; NULL: in none */
  const char *style;        /* class of the line: "a", "b", "faint", "rule" */
  const double *x, *y;      /* points that are not finite are gaps */
  const double *low, *high; /* a band around the line, or NULL */
  int64_t count;
} Series;

typedef struct Chart {
  const char *title, *x_label, *y_label;
  int width, height;
  double x0, x1, y0, y1; /* the shown range */
  bool log_x, small;     /* small: no tick texts but the ends */
  const double *x_ticks; /* where, or NULL: round numbers */
  int n_x_ticks;
  const Series *series;
  int n_series;
} Chart;
void chart_lines(Text *out, const Chart *chart);

typedef struct Bar {
  const char *name;
  double value, low, high; /* NaN: not known */
} Bar;
/* Horizontal bars from 0 to 1 with their intervals, and a line at `rule`. */
void chart_bars(Text *out, const char *title, const Bar *bars, int count, double rule);
#endif
