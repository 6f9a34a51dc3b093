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
  const char *entry;  /* the entry point the graph becomes, for messages; NULL: the graph's name */
  const struct PassOptions *options; /* set by passes_run */
  /* Views of parameters that other entry points keep: graphs of one input, called like the
   * parameter, and one output. Pass fuse renews those of parameters that the graph updates. */
  const Graph *const *kept;
  int n_kept;
  /* set by pass remat: what the graph would take without a budget, and what it takes now */
  int64_t unlimited_bytes, planned_bytes;
  bool over_budget;        /* and that it cannot keep to it, which is an error in diag */
} PassContext;

/* Returns the new graph (or the same one when nothing changed); NULL after diag errors. */
typedef Graph *PassFn(PassContext *context, Graph *graph);

typedef struct Pass {
  const char *name, *doc;
  PassFn *run;
  bool required; /* cannot be skipped: later stages rely on it */
} Pass;

const Pass *pass_find(const char *name);
/* Fusions (passes/fusions.def) are parts of pass fuse that can be skipped by name. */
typedef struct Fusing {
  const char *name, *doc;
} Fusing;
const Fusing *fusing_at(int i); /* NULL: no more */
bool fusing_wanted(const PassContext *context, const char *name);
/* May --skip name it? A pass or a fusion, one that is not needed. */
bool pass_can_skip(const char *name);
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
  int64_t memory_budget; /* for pass remat: bytes of arena, prepared and persistent memory together;
                            0: no limit */
  bool algebra; /* for pass correlate: also where it costs operations, for less memory */
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
  /* Measure and clip: outputs "grad_squares" f32[parameters] (sums of squares, in the order of the
   * grad outputs) and "grad_norm", the square root of their sum; the data input "clip" f32 scalar
   * scales gradients of a larger norm down to it, unless it is 0. */
  bool clip;
} OptimizerConfig;
/* Turns every "grad.<p>" output into AdamW updates: state inputs "adamw.m.<p>", "adamw.v.<p>",
 * "adamw.step" (f32 scalar, updated +1) and the data input "lr" (f32 scalar); outputs that update
 * p, m, v. Keeps the grad outputs only if keep_gradients. */
Graph *graph_add_adamw(PassContext *context, Graph *graph, const OptimizerConfig *config,
                       bool keep_gradients);

/* Gradients over several entry points, for accumulation and for contrasts over more samples than
 * fit at a time (Gao et al., arXiv 2101.06983). See passes/graph/accumulate.c.
 *
 * The gradient of data input `name` as output "grad.<name>", beside those of parameters. */
Graph *graph_add_input_gradients(PassContext *context, Graph *graph, const char *loss,
                                 const char *const *names, int n_names);
/* Keeps only the outputs `names`, without updates and taps. NULL after an error: one is missing. */
Graph *graph_keep_outputs(PassContext *context, Graph *graph, const char *const *names,
                          int n_names);
/* For every output in `names` a data input "grad.<name>" of its type, and the scalar output
 * "surrogate", the sum of products: its gradients are those of a loss with these output gradients.
 * Drops the outputs `names` and `loss`. */
Graph *graph_add_surrogate(PassContext *context, Graph *graph, const char *const *names,
                           int n_names, const char *loss);
/* Turns every "grad.<p>" output of a parameter into an update of scratch "accumulated.<p>":
 * old + share * gradient, with the data input "share" (f32 scalar). */
Graph *graph_add_accumulation(PassContext *context, Graph *graph);
/* A graph without data whose outputs "grad.<p>" are the accumulated gradients of the parameters
 * that have gradients in `graph`. */
Graph *graph_accumulated(PassContext *context, const Graph *graph, const char *name);
/* Adds updates of all scratch to zero, for the next sum. */
Graph *graph_reset_accumulated(PassContext *context, Graph *graph);
#endif
