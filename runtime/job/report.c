/* The page around the sections of a report. See report.h. */
#include "runtime/job/report.h"
#include "runtime/base/file.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

void report_number(Text *out, double value, bool bounded, double low, double high) {
  if (isnan(value)) {
    text_add(out, "\xe2\x80\x93"); /* an en dash */
    return;
  }
  text_add(out, "%.3f", value);
  if (bounded && !isnan(low) && !isnan(high))
    text_add(out, " <span class=\"soft\">(%.3f to %.3f)</span>", low, high);
}

void report_start(const Eval *e, Text *out, const char *title, int64_t scored) {
  Arena *arena = e->job->arena;
  text_add(out, "<section id=\"%s\"><h2>%s</h2>\n<table class=\"facts\">", e->kind, title);
  html_fact(out, "split", e->split);
  html_fact(out, "volumes",
            arena_printf(arena, "%d, of which %lld scored", e->dataset.count, (long long)scored));
  if (e->replicates)
    html_fact(out, "intervals",
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
  html_start(page, "Evaluation of ", plan->model, "");
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
    html_end(&page);
  }
  good = good && eval_write(e, "report.html", &page, error);
  text_free(&text);
  text_free(&page);
  return good;
}
