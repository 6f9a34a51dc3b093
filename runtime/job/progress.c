/* Progress on stderr. See progress.h. */
#include "runtime/job/progress.h"
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { BAR = 24 };
static const double REDRAW = 0.1, LINE_EVERY = 10; /* seconds */

double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void seconds_text(double seconds, char *out, int room) {
  long long whole = (long long)(seconds + 0.5);
  if (whole >= 3600)
    snprintf(out, (size_t)room, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
  else
    snprintf(out, (size_t)room, "%02lld:%02lld", whole / 60, whole % 60);
}

void progress_start(Progress *progress, const char *what, int64_t first, int64_t total) {
  *progress = (Progress){.out = stderr,
                         .terminal = isatty(fileno(stderr)) == 1,
                         .what = what,
                         .first = first,
                         .total = total,
                         .started = seconds_now(),
                         .shown = -1};
}

/* "12/500  1.25/s  06:30 left  loss 2.03" */
static void describe(const Progress *p, int64_t done, double now, const char *note, char *out,
                     size_t room) {
  double spent = now - p->started, rate = spent > 0 ? (double)(done - p->first) / spent : 0;
  char left[32] = "", speed[32] = "";
  if (rate > 0)
    snprintf(speed, sizeof speed, rate < 1 ? "  %.2f s each" : "  %.2f/s",
             rate < 1 ? 1 / rate : rate);
  if (rate > 0 && done < p->total) {
    seconds_text((double)(p->total - done) / rate, left, sizeof left - 8);
    strcat(left, " left");
  }
  snprintf(out, room, "%lld/%lld%s%s%s%s%s", (long long)done, (long long)p->total, speed,
           *left ? "  " : "", left, *note ? "  " : "", note);
}

static int columns(const Progress *p) {
  struct winsize size;
  if (ioctl(fileno(p->out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    return size.ws_col;
  return 80;
}

static void draw_bar(Progress *p, int64_t done, const char *text) {
  char bar[BAR + 1];
  int full = p->total > 0 ? (int)(done * BAR / p->total) : BAR;
  for (int i = 0; i < BAR; i++)
    bar[i] = i < full ? '#' : '.';
  bar[BAR] = 0;
  int room = columns(p) - BAR - (int)strlen(p->what) - 6;
  fprintf(p->out, "\r%s [%s] %.*s\033[K", p->what, bar, room > 0 ? room : 0, text);
  fflush(p->out);
  p->drawn = true;
}

void progress_update(Progress *p, int64_t done, const char *note) {
  double now = seconds_now();
  bool last = done >= p->total;
  if (!last && p->shown >= 0 && now - p->shown < (p->terminal ? REDRAW : LINE_EVERY))
    return;
  char text[256];
  describe(p, done, now, note, text, sizeof text);
  if (p->terminal)
    draw_bar(p, done, text);
  else
    fprintf(p->out, "%s: %s\n", p->what, text);
  p->shown = now;
}

void progress_clear(Progress *p) {
  if (p->drawn)
    fprintf(p->out, "\r\033[K");
  fflush(p->out);
  p->drawn = false;
}

void progress_finish(Progress *p) {
  if (p->drawn)
    fputc('\n', p->out);
  p->drawn = false;
}
