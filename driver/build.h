/* From graphs to a plan and kernels: the compiler behind every verb.
 *
 * A Build collects entry points that share persistent tensors. Each is optimised, fused, lowered
 * and laid out in memory; kernels that are equal but for their names are kept once.
 */
#ifndef TRICOT_DRIVER_BUILD_H
#define TRICOT_DRIVER_BUILD_H
#include "driver/memory_text.h"
#include "ir/kernel.h"
#include "passes/pass.h"
#include "runtime/plan.h"

typedef struct BuildOptions {
  const Facts *facts;
  PassOptions passes;
  bool interpret;   /* one opaque step an entry point, run by the reference interpreter */
  bool mixed;       /* bf16 factors and activations, f32 sums */
  bool memory_only; /* places and sizes, but no kernels: for questions about memory */
  bool dump_tiles, dump_kernels, dump_memory; /* print them to passes.dump_to */
} BuildOptions;

/* One of the kernels that a step of the plan runs side by side. */
typedef struct BuildPart {
  const Node *region; /* of the lowered graph; NULL: the interpreter */
  const Kernel *tile; /* in the TILE stage; NULL: the same */
  KernelFlops flops;  /* executed */
  double traffic;     /* bytes it must read and write */
} BuildPart;

/* Where a step of the plan comes from. */
typedef struct BuildStep {
  int n_parts; /* 0: a copy */
  const BuildPart *parts;
} BuildStep;

/* What an entry point was made from, for people who look. */
typedef struct BuildRecord {
  const Graph *before; /* as the model says, before any pass; `graphs` has it as lowered */
  const BuildStep *steps, *prepare; /* as many as the plan's entry has */
  /* By node id of the lowered graph: the first and the last step that runs it; of a node without
   * steps, the next one's first and the one's before last. */
  const int *first_step, *last_step;
  int n_slots; /* of the arena; their steps are node ids */
  const MemorySlot *slots;
  const MemoryNote *notes;
} BuildRecord;

/* A view of a parameter that kernels read and that is kept from call to call. */
typedef struct KeptView {
  int tensor;        /* of the plan */
  const Graph *view; /* PassContext.kept */
  bool lowered;      /* the plan has the step that computes it */
} KeptView;

typedef struct Build {
  Arena *arena;
  Diag *diag;
  BuildOptions options;
  VEC(Graph *) graphs;     /* by entry: as lowered (or as interpreted) */
  VEC(Kernel *) kernels;   /* LOOP stage, one each */
  VEC(const char *) texts; /* their normalised text, to find equal ones */
  VEC(PlanTensor) tensors;
  VEC(PlanEntry) entries;
  VEC(BuildRecord) records; /* by entry */
  VEC(KeptView) kept;
  VEC(PlanStep) refresh;
  VEC(const char *) names;
  bool over_budget; /* an entry point does not fit the memory budget: why is in diag */
  int layout_conversions; /* copies that only permute, over all entries */
} Build;

void build_start(Build *build, Arena *arena, Diag *diag, const BuildOptions *options);
/* The passes that the options ask for (optimize.c), for entry point `name`; *saved: by how many
 * bytes a memory budget made it smaller. NULL after errors in diag. */
Graph *build_optimize(Build *build, Graph *graph, const char *name, int64_t *saved);
/* Compiles a graph as entry point `name`. False after errors in diag. */
bool build_entry(Build *build, Graph *graph, const char *name);
/* The plan over everything built; model, variant, level and settings are the caller's to fill. */
Plan build_plan(Build *build);
/* The graph the interpreter runs for entry i (options.interpret). */
#endif
