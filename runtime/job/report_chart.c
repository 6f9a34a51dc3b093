/* Drawing charts. See report_chart.h. */
#include "runtime/job/report_chart.h"
#include <math.h>

enum { LEFT = 52, RIGHT = 12, TOP = 26, BOTTOM = 38 };
enum { BAR_LEFT = 250, BAR_WIDTH = 420, BAR_STEP = 22, BAR_RIGHT = 150 };

typedef struct Frame { /* where data lands on the drawing */
  const Chart *c;
  double left, top, width, height;
} Frame;

static double at_x(const Frame *f, double x) {
  const Chart *c = f->c;
  double share = c->log_x ? log(x / c->x0) / log(c->x1 / c->x0) : (x - c->x0) / (c->x1 - c->x0);
  return f->left + f->width * share;
}

static double at_y(const Frame *f, double y) {
  double share = (y - f->c->y0) / (f->c->y1 - f->c->y0);
  return f->top + f->height * (1 - fmin(fmax(share, -0.02), 1.02));
}

static bool shown(const Series *s, int64_t i) { return isfinite(s->x[i]) && isfinite(s->y[i]); }

/* About `wanted` round steps of 1, 2 or 5 times a power of ten. */
static double round_step(double span, int wanted) {
  double raw = span / wanted, power = pow(10, floor(log10(raw))), lead = raw / power;
  return power * (lead <= 1.5 ? 1 : lead <= 3.5 ? 2 : lead <= 7.5 ? 5 : 10);
}

static void add_tick(Text *out, const Frame *f, bool horizontal, double value) {
  double x = horizontal ? at_x(f, value) : f->left, y = horizontal ? f->top : at_y(f, value);
  text_add(out, "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", x, y,
           horizontal ? x : f->left + f->width, horizontal ? f->top + f->height : y);
  if (horizontal)
    text_add(out, "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.6g</text>",
             x, f->top + f->height + 14, value);
  else
    text_add(out, "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.6g</text>",
             f->left - 5, y + 4, value);
}

static void add_axis(Text *out, const Frame *f, bool horizontal) {
  const Chart *c = f->c;
  double low = horizontal ? c->x0 : c->y0, high = horizontal ? c->x1 : c->y1;
  if (horizontal && c->x_ticks) {
    for (int i = 0; i < c->n_x_ticks; i++)
      add_tick(out, f, true, c->x_ticks[i]);
    return;
  }
  double step = c->small ? high - low : round_step(high - low, 5);
  for (double v = ceil(low / step - 1e-9) * step; v <= high + 1e-9 * step; v += step)
    add_tick(out, f, horizontal, fabs(v) < 1e-9 * step ? 0 : v);
}

static void add_band(Text *out, const Frame *f, const Series *s) {
  text_add(out, "<polygon class=\"band %s\" points=\"", s->style);
  for (int pass = 0; pass < 2; pass++)
    for (int64_t k = 0; k < s->count; k++) {
      int64_t i = pass ? s->count - 1 - k : k;
      double y = pass ? s->low[i] : s->high[i];
      if (isfinite(s->x[i]) && isfinite(y))
        text_add(out, "%.1f,%.1f ", at_x(f, s->x[i]), at_y(f, y));
    }
  text_add(out, "\"/>");
}

static void add_line(Text *out, const Frame *f, const Series *s) {
  bool open = false;
  text_add(out, "<path class=\"line %s\" d=\"", s->style);
  for (int64_t i = 0; i < s->count; i++) {
    if (shown(s, i))
      text_add(out, "%c%.1f %.1f", open ? 'L' : 'M', at_x(f, s->x[i]), at_y(f, s->y[i]));
    open = shown(s, i);
  }
  text_add(out, "\"/>");
}

static void add_legend(Text *out, const Frame *f) {
  double x = f->left + f->width;
  for (int i = f->c->n_series - 1; i >= 0; i--) {
    const Series *s = &f->c->series[i];
    if (!s->name)
      continue;
    double length = 6.2;
    for (const char *at = s->name; *at; at++)
      length += 6.2;
    x -= length + 26;
    text_add(out, "<line class=\"line %s\" x1=\"%.1f\" y1=\"13\" x2=\"%.1f\" y2=\"13\"/>", s->style,
             x, x + 16);
    text_add(out, "<text class=\"tick\" x=\"%.1f\" y=\"17\">", x + 20);
    html_add(out, s->name);
    text_add(out, "</text>");
  }
}

void chart_lines(Text *out, const Chart *c) {
  Frame f = {c, c->small ? 26 : LEFT, TOP, 0, 0};
  f.width = c->width - f.left - RIGHT;
  f.height = c->height - TOP - (c->small ? 18 : BOTTOM);
  text_add(out, "<svg viewBox=\"0 0 %d %d\" width=\"%d\" role=\"img\"><title>", c->width, c->height,
           c->width);
  html_add(out, c->title);
  text_add(out, "</title><text class=\"title\" x=\"%d\" y=\"17\">", c->small ? 4 : 8);
  html_add(out, c->title);
  text_add(out, "</text>");
  add_axis(out, &f, true);
  add_axis(out, &f, false);
  for (int i = 0; i < c->n_series; i++) {
    if (c->series[i].low)
      add_band(out, &f, &c->series[i]);
    add_line(out, &f, &c->series[i]);
  }
  if (!c->small) {
    add_legend(out, &f);
    text_add(out, "<text class=\"label\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">",
             f.left + f.width / 2, c->height - 6);
    html_add(out, c->x_label);
    text_add(out,
             "</text><text class=\"label\" transform=\"translate(12 %.1f) rotate(-90)\" "
             "text-anchor=\"middle\">",
             f.top + f.height / 2);
    html_add(out, c->y_label);
    text_add(out, "</text>");
  }
  text_add(out, "</svg>\n");
}

static void add_bar(Text *out, const Bar *b, double y) {
  text_add(out, "<text class=\"name\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">", BAR_LEFT - 8,
           y + 11);
  html_add(out, b->name);
  text_add(out, "</text>");
  if (isnan(b->value)) {
    text_add(out,
             "<text class=\"tick\" x=\"%d\" y=\"%.1f\">undefined: one kind of label only</text>",
             BAR_LEFT + 6, y + 11);
    return;
  }
  text_add(out, "<rect class=\"bar\" x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"14\"/>", BAR_LEFT,
           y, BAR_WIDTH * b->value);
  text_add(out, "<text class=\"tick\" x=\"%d\" y=\"%.1f\">%.3f", BAR_LEFT + BAR_WIDTH + 10, y + 11,
           b->value);
  bool bounds = !isnan(b->low) && !isnan(b->high);
  if (bounds)
    text_add(out, " (%.3f to %.3f)", b->low, b->high);
  text_add(out, "</text>");
  if (!bounds)
    return;
  double low = BAR_LEFT + BAR_WIDTH * b->low, high = BAR_LEFT + BAR_WIDTH * b->high;
  text_add(out, "<path class=\"whisker\" d=\"M%.1f %.1fV%.1fM%.1f %.1fH%.1fM%.1f %.1fV%.1f\"/>",
           low, y + 3, y + 11, low, y + 7, high, high, y + 3, y + 11);
}

void chart_bars(Text *out, const char *title, const Bar *bars, int count, double rule) {
  int width = BAR_LEFT + BAR_WIDTH + BAR_RIGHT, height = TOP + count * BAR_STEP + 22;
  text_add(out, "<svg viewBox=\"0 0 %d %d\" width=\"%d\" role=\"img\"><title>", width, height,
           width);
  html_add(out, title);
  text_add(out, "</title><text class=\"title\" x=\"8\" y=\"17\">");
  html_add(out, title);
  text_add(out, "</text>");
  for (int i = 0; i <= 5; i++) {
    double x = BAR_LEFT + BAR_WIDTH * i / 5.0;
    text_add(out, "<line class=\"grid\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>", x, TOP, x,
             height - 18);
    text_add(out, "<text class=\"tick\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.1f</text>", x,
             height - 5, i / 5.0);
  }
  for (int i = 0; i < count; i++)
    add_bar(out, &bars[i], TOP + i * BAR_STEP + 4);
  text_add(out, "<line class=\"line rule\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/></svg>\n",
           BAR_LEFT + BAR_WIDTH * rule, TOP, BAR_LEFT + BAR_WIDTH * rule, height - 18);
}
