/* From a model file to a running program: load, build graphs, compile, generate code, open.
 *
 * What every verb of the command shares. A Compiled owns everything it points to.
 */
#ifndef TRICOT_DRIVER_COMPILE_H
#define TRICOT_DRIVER_COMPILE_H
#include "codegen/emit.h"
#include "driver/build.h"
#include "driver/target.h"
#include "frontend/model.h"
#include "runtime/cuda/program_cuda.h"

/* One entry point to compile: a model's entry, or one that the compiler derives from the model's
 * training entry (driver/train_entries.h). */
typedef struct EntryRequest {
  const char *entry;
  const char *name;    /* in the plan */
  bool training;       /* batch statistics and buffer updates; always for derived ones */
  int64_t batch;       /* the model's argument `batch`; 0: as the model says */
  int64_t times;       /* so many times that; 0: once */
  const char *sets;    /* more arguments of this entry alone, "text.length=64;rows=2"; or NULL */
  bool optional_sets;  /* where `sets` would change the entry's parameters, or the model does not
                          take them, it is compiled without */
  bool keep_taps;      /* the author's intermediates stay outputs */
  bool keep_gradients; /* train_step: outputs "grad.<parameter>" */
} EntryRequest;

typedef struct CompileRequest {
  ModelRequest model;
  const char *target; /* its name, see driver/target.h */
  const EntryRequest *entries;
  int n_entries;
  int threads; /* <= 0: one per allowed CPU */
  PassOptions passes;
  bool mixed;                                              /* --precision bf16 */
  bool tf32;                                               /* --precision tf32 */
  bool dump_tiles, dump_kernels, dump_memory, memory_only; /* see BuildOptions */
  bool timing;                                             /* seconds of each stage on stderr */
} CompileRequest;

typedef struct Compiled {
  Arena *arena;
  Diag diag;
  Target target;
  Model *model;
  Build build;
  Plan plan;
  Jit *jit;
  TextLibrary *text;
  CudaDevice device; /* of target cuda */
  Program *program;
} Compiled;

/* The model's arguments and what training needs, as plans hold them. In `arena`. */
const PlanPair *model_settings(Arena *arena, const Model *model, int *count);
/* A number among them, as runtime/job/text_form.h asks for it. */
double model_setting(const void *model, const char *key, double otherwise);

/* Graphs, passes, kernels and plan; no code yet. Errors about the model are in compiled->diag (and
 * then error->text is empty). Call compiled_close in any case. */
bool compiled_build(Compiled *compiled, const CompileRequest *request, Error *error);
/* Code of what was built for CUDA architectures, as nvrtc_compile_all. */
bool compiled_images(Compiled *compiled, CudaImage *images, int count, Error *error);
/* compiled_build, then code for this machine and an open program. */
bool compiled_open(Compiled *compiled, const CompileRequest *request, Error *error);
/* Bytes an entry point needs on the CPU this runs on: persistent tensors, prepared weights and
 * working memory, within a memory budget if that is not 0 (compiled->build.over_budget where it
 * cannot be). False after errors (which are dropped: a model may have entries that do not fit
 * its sizes). Leaves graph and plan in *compiled, to close in any case. */
bool compiled_peak(Compiled *compiled, const ModelRequest *model, bool mixed, const char *entry,
                   int64_t budget, int64_t *bytes);
void compiled_close(Compiled *compiled);
/* Prints what went wrong on stderr and returns the exit status. */
int compiled_report(const Compiled *compiled, const Error *error);
#endif
