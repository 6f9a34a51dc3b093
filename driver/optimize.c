/* The graph of an entry point as kernels are made of it, or as the interpreter runs it. */
#include "driver/build.h"
#include "ir/op.h"

/* Kernels compute in f32 and move integers; the interpreter takes everything. */
static bool types_supported(Build *build, const Graph *graph) {
  for (int n = -1; n < graph->nodes.count; n++) {
    const Node *node = n < 0 ? NULL : graph->nodes.at[n];
    int count = node ? node->n_out : graph->inputs.count;
    for (int i = 0; i < count; i++) {
      const Type *type = node ? &node->out[i].type : &graph->inputs.at[i].value->type;
      if (dtype_is_float(type->dtype) && type->dtype != DT_f32)
        return diag_error(build->diag, node ? node->loc : graph->inputs.at[i].loc,
                          "%s: kernels compute in f32 (the target interp takes every type)",
                          type_text(type));
    }
  }
  return true;
}

Graph *build_optimize(Build *build, Graph *graph) {
  const BuildOptions *options = &build->options;
  if (options->interpret && !options->mixed) /* as it came, but for roundings */
    return graph;
  if (!options->interpret && !types_supported(build, graph))
    return NULL;
  PassContext context = {.arena = build->arena, .diag = build->diag, .facts = options->facts};
  int count;
  const char *const *standard = passes_standard(&count);
  const char **passes = ARENA_ARRAY(build->arena, const char *, count + 1);
  for (int i = 0; i < count; i++)
    passes[i] = standard[i];
  if (options->mixed)
    passes[count++] = "mixed";
  return passes_run(&context, graph, passes, count, &options->passes);
}
