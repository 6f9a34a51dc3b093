/* The page around the sections of a report. See report.h. */
#include "runtime/job/report.h"
#include "runtime/base/file.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static const char style[] =
    "<style>\n"
    ":root{color-scheme:light dark;--ink:#1d2430;--soft:#5c6675;--rule:#d9dee6;--page:#fff;"
    "--card:#f5f7fa;--a:#2166ac;--b:#d9722e;--warn:#fff3d6;--warn-ink:#6b4a00}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e4e8ee;--soft:#9aa5b5;--rule:#343c48;"
    "--page:#161a20;--card:#1f252e;--a:#6cacea;--b:#f0985a;--warn:#3d3113;--warn-ink:#ffdf94}}\n"
    "body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);"
    "max-width:70rem;margin:0 auto;padding:1.5rem}\n"
    "h1{font-size:1.6rem;margin:0}h2{font-size:1.25rem;margin:2.5rem 0 .5rem;"
    "border-bottom:1px solid var(--rule)}h3{font-size:1rem;margin:1.5rem 0 .5rem}\n"
    "p{margin:.5rem 0}.soft{color:var(--soft)}\n"
    ".notice,.warn{background:var(--warn);color:var(--warn-ink);padding:.5rem .8rem;"
    "border-radius:6px}\n"
    "table{border-collapse:collapse;font-size:.85rem;margin:.5rem 0}"
    "th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid var(--rule);"
    "font-variant-numeric:tabular-nums;white-space:nowrap}"
    "th:first-child,td:first-child{text-align:left}table.facts td{text-align:left;"
    "white-space:normal}\n"
    ".wide{overflow-x:auto}svg{max-width:100%;height:auto;font-family:inherit}\n"
    ".title{font-size:13px;font-weight:600;fill:var(--ink)}.tick{font-size:11px;fill:var(--soft)}"
    ".label{font-size:12px;fill:var(--soft)}.name{font-size:12px;fill:var(--ink)}\n"
    ".grid{stroke:var(--rule)}.line{fill:none;stroke-width:1.8}.line.a{stroke:var(--a)}"
    ".line.b{stroke:var(--b)}.line.faint{stroke:var(--a);stroke-width:1;opacity:.35}"
    ".line.rule{stroke:var(--soft);stroke-width:1;stroke-dasharray:4 3}\n"
    ".band{opacity:.18;stroke:none}.band.a{fill:var(--a)}.band.b{fill:var(--b)}"
    ".bar{fill:var(--a);opacity:.75}.whisker{fill:none;stroke:var(--ink);stroke-width:1.3}\n"
    ".grid-of{display:grid;grid-template-columns:repeat(auto-fill,minmax(11.5rem,1fr));gap:.8rem}"
    ".examples{grid-template-columns:repeat(auto-fill,minmax(16rem,1fr))}"
    ".card{background:var(--card);border-radius:6px;padding:.6rem;font-size:.8rem}"
    ".card img{width:100%;height:auto;border-radius:4px;background:#000}.card "
    "table{font-size:.78rem;"
    "width:100%}.card td,.card th{white-space:normal;padding:.1rem .2rem}.yes{color:var(--b);"
    "font-weight:600}\n"
    "@media print{body{max-width:none}}\n"
    "</style>\n";

void report_number(Text *out, double value, bool bounded, double low, double high) {
  if (isnan(value)) {
    text_add(out, "\xe2\x80\x93"); /* an en dash */
    return;
  }
  text_add(out, "%.3f", value);
  if (bounded && !isnan(low) && !isnan(high))
    text_add(out, " <span class=\"soft\">(%.3f to %.3f)</span>", low, high);
}

static void add_fact(Text *out, const char *name, const char *value) {
  text_add(out, "<tr><td>%s</td><td>", name);
  html_add(out, value);
  text_add(out, "</td></tr>");
}

void report_start(const Eval *e, Text *out, const char *title, int64_t scored) {
  Arena *arena = e->job->arena;
  text_add(out, "<section id=\"%s\"><h2>%s</h2>\n<table class=\"facts\">", e->kind, title);
  add_fact(out, "split", e->split);
  add_fact(out, "volumes",
           arena_printf(arena, "%d, of which %lld scored", e->dataset.count, (long long)scored));
  if (e->replicates)
    add_fact(out, "intervals",
             arena_printf(arena, "95 %%, bootstrap over patients, %lld replicates, seed %llu",
                          (long long)e->replicates, (unsigned long long)e->seed));
  text_add(out, "</table>\n");
}

/* ---- the page ---- */

static const char *weights_path(const Eval *e) {
  const char *path = options_text(&e->job->options, "weights");
  return path ? path : options_text(&e->job->options, "checkpoint");
}

/* --log, or log.csv beside the weights; NULL: there is none. */
static const char *find_log(const Eval *e) {
  const char *log = options_text(&e->job->options, "log"), *weights = weights_path(e);
  if (log || !weights)
    return log;
  const char *slash = strrchr(weights, '/');
  log = arena_printf(e->job->arena, "%.*slog.csv", slash ? (int)(slash + 1 - weights) : 0, weights);
  return access(log, R_OK) == 0 ? log : NULL;
}

static void add_head(const Eval *e, Text *page) {
  const Plan *plan = e->job->plan;
  const char *weights = weights_path(e);
  text_add(page, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
                 "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
                 "<title>Evaluation of ");
  html_add(page, plan->model);
  text_add(page, "</title>\n%s</head>\n<body>\n<h1>Evaluation of ", style);
  html_add(page, plan->model);
  if (*plan->variant) {
    text_add(page, ", ");
    html_add(page, plan->variant);
  }
  text_add(page, "</h1>\n<p class=\"soft\">Weights: ");
  html_add(page, weights ? weights : "as a training starts");
  text_add(page, " (fingerprint %016" PRIx64 ")</p>\n", e->weights);
  text_add(page, "<p class=\"notice\">For research use only. Not for diagnosis.</p>\n");
}

static void add_settings(const Eval *e, Text *page) {
  const Plan *plan = e->job->plan;
  text_add(page,
           "<section id=\"settings\"><h2>Settings of the model</h2>\n"
           "<details><summary>%d settings</summary><table class=\"facts\">",
           plan->n_settings);
  for (int i = 0; i < plan->n_settings; i++) {
    text_add(page, "<tr><td>");
    html_add(page, plan->settings[i].key);
    text_add(page, "</td><td>");
    html_add(page, plan->settings[i].value);
    text_add(page, "</td></tr>\n");
  }
  text_add(page, "</table></details></section>\n");
}

static const char *first_line(const Eval *e) {
  return arena_printf(e->job->arena, "<!-- tricot report, weights %016" PRIx64 " -->\n",
                      e->weights);
}

/* Sections of the same weights; a file that is not there, or of others, is passed over. */
static void add_sections(const Eval *e, Text *page) {
  static const char *const kinds[] = {"zeroshot", "probe", "retrieval"};
  const char *line = first_line(e);
  for (int i = 0; i < 3; i++) {
    char *text;
    size_t size;
    const char *path = arena_printf(e->job->arena, "%s/report/%s.html", e->out, kinds[i]);
    if (access(path, R_OK) != 0 ||
        !file_read(e->job->arena, path, (size_t)256 << 20, &text, &size, NULL))
      continue;
    if (strncmp(text, line, strlen(line)) == 0)
      text_add_bytes(page, text + strlen(line), size - strlen(line));
    else
      fprintf(stderr, "eval: %s is of other weights and left out of the report\n", path);
  }
}

bool report_save(const Eval *e, const Text *section, Error *error) {
  Arena *arena = e->job->arena;
  Text text = {0}, page = {0};
  const char *log = find_log(e);
  text_add(&text, "%s", first_line(e));
  text_add_bytes(&text, section->at, section->size);
  bool good = make_folders(arena_printf(arena, "%s/report", e->out), error) &&
              eval_write(e, arena_printf(arena, "report/%s.html", e->kind), &text, error);
  if (good) {
    add_head(e, &page);
    add_sections(e, &page);
    good = !log || report_curves(&page, log, error);
    add_settings(e, &page);
    text_add(&page, "</body>\n</html>\n");
  }
  good = good && eval_write(e, "report.html", &page, error);
  text_free(&text);
  text_free(&page);
  return good;
}
