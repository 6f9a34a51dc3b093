/* The graph of an entry point as kernels are made of it, or as the interpreter runs it. */
#include "driver/build_kernels.h"
#include "driver/kept_views.h"
#include <string.h>

typedef struct Attempt {
  PassContext context;
  Diag diag;
  Graph *graph; /* NULL after errors */
} Attempt;

static Attempt attempt(Build *build, Graph *graph, const char *name, bool algebra) {
  Attempt a = {.context = {.arena = build->arena,
                           .facts = build->options.facts,
                           .entry = name,
                           .kept = kept_views(build),
                           .n_kept = build->kept.count}};
  PassOptions options = build->options.passes;
  int count, n = 0;
  const char *const *standard = passes_standard(&count);
  const char **passes = ARENA_ARRAY(build->arena, const char *, count + 1);
  for (int i = 0; i < count; i++) {
    if (build->options.mixed && strcmp(standard[i], "remat") == 0)
      passes[n++] = "mixed"; /* memory is planned for what kernels hand on */
    passes[n++] = standard[i];
  }
  options.algebra |= algebra;
  diag_init(&a.diag, build->arena);
  a.context.diag = &a.diag;
  a.graph = passes_run(&a.context, graph, passes, n, &options);
  return a;
}

/* The standard passes. Where the memory budget is too small for them, once more with algebra that
 * needs more operations and less memory; of two errors the nearer miss counts. */
Graph *build_optimize(Build *build, Graph *graph, const char *name, int64_t *saved) {
  *saved = 0;
  if (build->options.interpret && !build->options.mixed) /* as it came, but for roundings */
    return graph;
  if (!build->options.interpret && !build_types_supported(build, graph))
    return NULL;
  Attempt best = attempt(build, graph, name, false);
  int64_t unlimited = best.context.unlimited_bytes;
  if (best.context.over_budget) {
    Attempt second = attempt(build, graph, name, true);
    if (second.graph || second.context.planned_bytes < best.context.planned_bytes)
      best = second;
  }
  for (int i = 0; i < best.diag.messages.count; i++)
    vec_push(build->diag->arena, &build->diag->messages, best.diag.messages.at[i]);
  build->diag->errors += best.diag.errors;
  build->over_budget |= !best.graph && best.context.over_budget;
  *saved = unlimited - best.context.planned_bytes;
  return best.graph;
}
