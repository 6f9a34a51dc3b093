/* The graph of an entry point as kernels are made of it, or as the interpreter runs it. */
#include "driver/build_kernels.h"
#include "driver/kept_views.h"

Graph *build_optimize(Build *build, Graph *graph) {
  const BuildOptions *options = &build->options;
  if (options->interpret && !options->mixed) /* as it came, but for roundings */
    return graph;
  if (!options->interpret && !build_types_supported(build, graph))
    return NULL;
  PassContext context = {.arena = build->arena,
                         .diag = build->diag,
                         .facts = options->facts,
                         .kept = kept_views(build),
                         .n_kept = build->kept.count};
  int count;
  const char *const *standard = passes_standard(&count);
  const char **passes = ARENA_ARRAY(build->arena, const char *, count + 1);
  for (int i = 0; i < count; i++)
    passes[i] = standard[i];
  if (options->mixed)
    passes[count++] = "mixed";
  return passes_run(&context, graph, passes, count, &options->passes);
}
