/* A pass: one function from graph to graph, one row in passes/passes.def.
 *
 * The runner (passes/pipeline.c) verifies, dumps, times, skips and stops; passes do only their
 * work.
 */
#ifndef TRICOT_PASSES_PASS_H
#define TRICOT_PASSES_PASS_H
#include "ir/graph.h"
#include "ir/target.h"

typedef struct PassContext {
  Arena *arena;
  Diag *diag;         /* for located errors about the user's model */
  const Facts *facts; /* the target's numbers; never its name */
} PassContext;

/* Returns the new graph (or the same one when nothing changed); NULL after diag errors. */
typedef Graph *PassFn(PassContext *context, Graph *graph);

typedef struct Pass {
  const char *name, *doc;
  PassFn *run;
  bool required; /* cannot be skipped: later stages rely on it */
} Pass;

const Pass *pass_find(const char *name);
int pass_count(void);
const Pass *pass_at(int i);

typedef struct PassOptions {
  const char *const *skip; /* names not to run */
  int n_skip;
  const char *stop_after;  /* NULL: run all */
  const char *const *dump; /* names, or "all": their result is printed to dump_to */
  int n_dump;
  FILE *dump_to;
  bool timing; /* one line a pass on stderr */
} PassOptions;

/* Runs passes by name in order, verifying after each. NULL after errors (in context->diag). */
Graph *passes_run(PassContext *context, Graph *graph, const char *const *names, int count,
                  const PassOptions *options);
/* The standard order from a frontend (or gradient) graph to one of regions ready for lowering. */
const char *const *passes_standard(int *count);

/* Gradient and optimizer, which change what a graph computes and so are asked for by name.
 * graph_add_gradients: for output `loss` (a scalar), adds an output "grad.<name>" for every
 * parameter that is not frozen, in input order; zeros where no path leads. */
Graph *graph_add_gradients(PassContext *context, Graph *graph, const char *loss);
typedef struct OptimizerConfig {
  double beta1, beta2, eps, decay;
} OptimizerConfig;
/* Turns every "grad.<p>" output into AdamW updates: state inputs "adamw.m.<p>", "adamw.v.<p>",
 * "adamw.step" (f32 scalar, updated +1) and the data input "lr" (f32 scalar); outputs that update
 * p, m, v. Keeps the grad outputs only if keep_gradients. */
Graph *graph_add_adamw(PassContext *context, Graph *graph, const OptimizerConfig *config,
                       bool keep_gradients);
#endif
