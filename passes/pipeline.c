/* The table of graph passes, their standard order, and the runner. See pass.h.
 *
 * The runner checks the graph before the first and after every pass, so that a broken graph is
 * blamed on the pass that made it.
 */
#include "passes/graph/common.h"
#include <string.h>
#include <time.h>

static const Pass table[] = {
#define PASS(name, function, required, doc) {#name, doc, function, required},
#include "passes/passes.def"
#undef PASS
};

static const Fusing fusings[] = {
#define FUSION(name, doc) {#name, doc},
#include "passes/fusions.def"
#undef FUSION
};

enum { FUSINGS = sizeof fusings / sizeof fusings[0] };

enum { PASSES = sizeof table / sizeof table[0] };

static const char *const standard[] = {
    "attend",  "narrow", "canon", "fold", "cse",     "dce",  "bn_fold", "expand", "correlate",
    "layout",  "canon",  "cse",   "knit", "canon",   "fold", "cse",     "dce",    "scales",
    "compose", "canon",  "cse",   "dce",  "compact", "fuse", "remat",
};

const Pass *pass_find(const char *name) {
  for (int i = 0; i < PASSES; i++)
    if (strcmp(table[i].name, name) == 0)
      return &table[i];
  return NULL;
}

int pass_count(void) { return PASSES; }

const Fusing *fusing_at(int i) { return i >= 0 && i < FUSINGS ? &fusings[i] : NULL; }

static bool is_fusing(const char *name) {
  for (int i = 0; i < FUSINGS; i++)
    if (strcmp(fusings[i].name, name) == 0)
      return true;
  return false;
}

bool pass_can_skip(const char *name) {
  const Pass *pass = pass_find(name);
  return pass ? !pass->required : is_fusing(name);
}

const Pass *pass_at(int i) {
  CHECK(i >= 0 && i < PASSES);
  return &table[i];
}

const char *const *passes_standard(int *count) {
  *count = sizeof standard / sizeof standard[0];
  return standard;
}

/* ---- the runner ---- */

static const Pass *find_or_report(PassContext *context, const char *name) {
  const Pass *pass = pass_find(name);
  if (pass)
    return pass;
  const char *names[PASSES];
  for (int i = 0; i < PASSES; i++)
    names[i] = table[i].name;
  const char *near = diag_nearest(name, names, PASSES);
  diag_error(context->diag, (Loc){0}, "no pass is called '%s'%s%s%s", name,
             near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
  return NULL;
}

static bool listed(const char *name, const char *const *names, int count) {
  for (int i = 0; i < count; i++)
    if (strcmp(names[i], name) == 0 || strcmp(names[i], "all") == 0)
      return true;
  return false;
}

bool fusing_wanted(const PassContext *context, const char *name) {
  CHECK(is_fusing(name));
  const PassOptions *options = context->options;
  return !options || !listed(name, options->skip, options->n_skip);
}

/* Every name the user gave must be a pass, and a skipped one must be optional. */
static bool check_names(PassContext *context, const char *const *names, int count,
                        const PassOptions *options) {
  for (int i = 0; i < count; i++)
    if (!find_or_report(context, names[i]))
      return false;
  for (int i = 0; i < options->n_skip; i++) {
    if (is_fusing(options->skip[i]))
      continue;
    const Pass *pass = find_or_report(context, options->skip[i]);
    if (!pass)
      return false;
    if (pass->required)
      return diag_error(context->diag, (Loc){0}, "pass '%s' is needed and cannot be skipped",
                        pass->name);
  }
  for (int i = 0; i < options->n_dump; i++)
    if (strcmp(options->dump[i], "all") != 0 && !find_or_report(context, options->dump[i]))
      return false;
  return !options->stop_after || find_or_report(context, options->stop_after);
}

static void check_graph(const Graph *graph, const char *after) {
  Error error = {0};
  if (!graph_check(graph, &error))
    FAULT("graph @%s is broken %s: %s", graph->name, after, error.text);
}

static void dump(const Graph *graph, const char *pass, FILE *out) {
  Text text = {0};
  graph_print(graph, &text);
  fprintf(out, "# after %s\n%s", pass, text.at);
  text_free(&text);
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static Graph *run_one(PassContext *context, Graph *graph, const Pass *pass,
                      const PassOptions *options) {
  double start = seconds();
  int before = graph->nodes.count;
  graph = pass->run(context, graph);
  if (!graph) {
    CHECK(context->diag->errors > 0);
    return NULL;
  }
  if (options->timing)
    fprintf(stderr, "%-20s %-10s %8.3f ms %6d -> %d nodes\n", graph->name, pass->name,
            (seconds() - start) * 1e3, before, graph->nodes.count);
  check_graph(graph, arena_printf(context->arena, "after pass %s", pass->name));
  if (listed(pass->name, options->dump, options->n_dump))
    dump(graph, pass->name, options->dump_to);
  return graph;
}

Graph *passes_run(PassContext *context, Graph *graph, const char *const *names, int count,
                  const PassOptions *options) {
  static const PassOptions none;
  if (!options)
    options = &none;
  if (!check_names(context, names, count, options))
    return NULL;
  context->options = options;
  check_graph(graph, "before the first pass");
  for (int i = 0; i < count && graph; i++) {
    if (!(options->n_skip && listed(names[i], options->skip, options->n_skip)))
      graph = run_one(context, graph, pass_find(names[i]), options);
    if (options->stop_after && strcmp(names[i], options->stop_after) == 0)
      break;
  }
  return graph;
}
