/* The plan: everything the runtime needs to run a compiled model, besides the code itself.
 *
 * The compiler fills these structs and writes them as a flatbuffer (runtime/plan.fbs is the
 * contract on disk, codegen/plan_write.cpp the writer); the runtime reads the flatbuffer back into
 * the same structs (runtime/plan_read.cpp, no libstdc++). Everything is checked on reading:
 * version, checksum, every index and offset in range.
 *
 * Storage. Persistent tensors (parameters, buffers, optimizer state) are shared by all entry
 * points. Every entry point has one arena; inputs, outputs and temporaries have fixed places in it.
 * Tensors derived from persistent ones alone (packed or folded weights) live in the entry's
 * `prepared` memory and are recomputed by its prepare steps only after persistent tensors changed.
 * Parameters in other orders that kernels of training read (transposed, channels last) are views:
 * persistent tensors in no file, computed by the plan's refresh steps after parameters were set
 * from outside, and renewed by the kernels that update the parameters.
 */
#ifndef TRICOT_RUNTIME_PLAN_H
#define TRICOT_RUNTIME_PLAN_H
#include "runtime/base/arena.h"
#include "runtime/base/dtype.h"
#include "runtime/base/fault.h"
#include "runtime/base/gather.h"

enum { PLAN_VERSION = 6, PLAN_ALIGNMENT = 64 };

typedef enum PlanRole {
  PLAN_PARAMETER,
  PLAN_BUFFER,
  PLAN_STATE,   /* the optimizer's */
  PLAN_SCRATCH, /* carried between entry points within one step, never saved */
  PLAN_VIEW     /* another tensor in another order, never saved */
} PlanRole;
typedef enum PlanInit { PLAN_CONSTANT, PLAN_UNIFORM, PLAN_NORMAL, PLAN_TRUNCATED } PlanInit;

typedef struct PlanTensor {
  const char *name;
  Type type;
  PlanRole role;
  PlanInit init; /* as ir/graph.h's Init: (a), [a,b), mean a deviation b */
  double init_a, init_b;
} PlanTensor;

typedef enum PlanPlace {
  PLACE_PERSISTENT, /* index: into plan->tensors */
  PLACE_ARENA,      /* offset: bytes into the entry's arena */
  PLACE_PREPARED    /* offset: bytes into the entry's prepared memory */
} PlanPlace;

typedef struct PlanRef {
  PlanPlace place;
  int64_t at; /* index or offset */
} PlanRef;

typedef struct PlanPort { /* an input or output of an entry point */
  const char *name;
  Type type;
  PlanRef ref;
  bool tap;             /* outputs: an intermediate the author named */
  const Gather *gather; /* inputs: what alone of it is read and kept; NULL: all of it */
} PlanPort;

typedef struct PlanResult { /* a tensor of numbers that a step writes */
  int arg;                  /* into the step's args */
  int64_t elements;
  Dtype dtype; /* f32 or bf16 */
} PlanResult;

typedef enum PlanStepKind { STEP_KERNEL, STEP_COPY, STEP_ALL_GATHER, STEP_ALL_REDUCE } PlanStepKind;

typedef struct PlanStep {
  PlanStepKind kind;
  int kernel; /* KERNEL: into plan->kernels */
  int n_args; /* KERNEL: its arguments; COPY: source, destination */
  const PlanRef *args;
  int64_t blocks;        /* KERNEL: size of its grid */
  int64_t bytes;         /* COPY: how many */
  const char *label;     /* for people: the graph ops inside */
  const char *place;     /* "models/dcformer.yaml:31" or "" */
  double flops, traffic; /* executed operations; bytes it must read and write once */
  int n_results;         /* KERNEL */
  const PlanResult *results;
  /* of each argument, the bytes of `traffic` that are its own; NULL: not known */
  const int64_t *moved;
  bool conversion; /* KERNEL: only moves elements to another order */
  double paired_flops; /* of flops: by dots of pairs of bf16, or on matrix units */
  double open_flops;   /* of flops: at most so many, since data decides */
  /* KERNEL, of code for a device: threads of a block, shared memory a launch gives it; else 0 */
  int threads;
  int64_t shared_bytes;
} PlanStep;

typedef struct PlanEntry {
  const char *name;
  int n_inputs, n_outputs, n_prepare, n_steps;
  const PlanPort *inputs, *outputs;
  const PlanStep *prepare, *steps;
  int64_t arena_bytes, prepared_bytes;
  bool updates; /* changes persistent tensors */
  /* In front of step number `guard` the scalar outputs `loss` and `grad_norm` are known and no
   * persistent tensor has been written yet; 0: the entry point has no such place. */
  int guard;
  bool outdates; /* changes parameters, but not all PLAN_VIEW tensors that show them */
  /* The memory budget it was compiled for (0: none), the bytes less it takes for that, tensors that
   * are computed again, and the operations of that. */
  int64_t budget_bytes, saved_bytes;
  int recomputed;
  double recomputed_flops;
} PlanEntry;

typedef struct PlanPair {
  const char *key, *value;
} PlanPair;

typedef struct Plan {
  const char *model, *variant, *level; /* "clip-dcformer", "nano", "x86-64-v4" */
  int n_tensors, n_kernels, n_entries, n_settings;
  const PlanTensor *tensors;
  const char *const *kernels; /* symbol names without level suffix */
  const PlanEntry *entries;
  const PlanPair *settings; /* model arguments and what training needs: "optimizer.lr" = "1e-4" … */
  int n_refresh;
  const PlanStep *refresh; /* compute all PLAN_VIEW tensors; arguments are persistent */
  const char *precision;   /* of products: "f32", "bf16" */
} Plan;

/* Layout conversions between kernels: steps of the entry that only move elements. */
int plan_conversions(const PlanEntry *entry);

/* Bytes of a port's storage. */
int64_t port_bytes(const PlanPort *port);

/* Reads a flatbuffer into structs allocated in `arena` (texts borrow from `bytes`). */
bool plan_read(Arena *arena, const void *bytes, size_t size, Plan *plan, Error *);
#endif
