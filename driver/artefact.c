/* Building executables and libraries. See artefact.h. */
#include "driver/artefact.h"
#include "codegen/plan_write.h"
#include "driver/cuda_report.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_TARGETS = 16 };

typedef struct Work {
  Arena *arena;
  CompileRequest request;
  const char *levels[MAX_TARGETS];
  int n_levels;
  CudaImage images[MAX_TARGETS + 1]; /* cubins, then PTX */
  int n_images, n_cubins;
  Compiled *open; /* of each level, then of CUDA: what the parts point into */
  int n_open;
  ExecutableParts parts;
} Work;

/* ---- what to compile ---- */

static bool take_target(Work *w, const Target *target, Error *error) {
  switch (target->kind) {
  case TARGET_CPU:
    if (target->named)
      w->levels[w->n_levels++] = target->level;
    return true;
  case TARGET_CUDA:
    if (!target->code_only)
      return error_set(error,
                       "--target %s: error: for which architecture? (--target cuda:sm_80,cpu)",
                       target->text);
    w->images[w->n_images++] = (CudaImage){.arch = target->arch, .ptx = target->ptx};
    return true;
  case TARGET_C:
  case TARGET_CUDA_SHIM:
  case TARGET_INTERP: break;
  }
  return error_set(error, "--target %s: error: executables and libraries are for cpu and cuda",
                   target->text);
}

/* Levels for "cpu" without one; the last differs in dots of bf16 alone. */
static void usual_levels(Work *w) {
  static const char *const usual[] = {"x86-64-v3", "x86-64-v4", "x86-64-v4-bf16"};
  for (int i = 0; i < (w->request.mixed ? 3 : 2); i++)
    w->levels[w->n_levels++] = usual[i];
}

/* Cubins in front, and PTX behind them. */
static void order_images(Work *w) {
  CudaImage ordered[MAX_TARGETS + 1];
  int n = 0;
  for (int ptx = 0; ptx < 2; ptx++) {
    for (int i = 0; i < w->n_images; i++)
      if (w->images[i].ptx == ptx)
        ordered[n++] = w->images[i];
    w->n_cubins = ptx ? w->n_cubins : n;
  }
  if (n && n == w->n_cubins)
    ordered[n++] = nvrtc_floor(w->images, w->n_images);
  w->n_images = n;
  memcpy(w->images, ordered, sizeof *ordered * (size_t)n);
}

static bool choose_targets(Work *w, Error *error) {
  Target targets[MAX_TARGETS];
  int n = target_list(w->arena, w->request.target, targets, MAX_TARGETS, error);
  bool processor = false, good = n > 0;
  for (int i = 0; i < n && good; i++) {
    processor |= targets[i].kind == TARGET_CPU;
    good = take_target(w, &targets[i], error);
  }
  if (good && processor && !w->n_levels)
    usual_levels(w);
  order_images(w);
  if (good && processor && !TRICOT_LLVM)
    return error_set(error,
                     "--target %s: error: this build has no LLVM, name CUDA architectures "
                     "alone (cuda:sm_80,sm_90a)",
                     w->request.target);
  return good;
}

/* ---- compiling ---- */

static Compiled *compile_for(Work *w, const char *target, Error *error) {
  Compiled *c = &w->open[w->n_open++];
  w->request.target = target;
  return compiled_build(c, &w->request, error) ? c : NULL;
}

/* "x86-64-v3" as the end of a C name. */
static const char *suffix_of(Arena *arena, const char *level) {
  char *text = arena_printf(arena, "_%s", level);
  for (char *c = text; *c; c++)
    if (*c == '-')
      *c = '_';
  return text;
}

static bool compile_level(Work *w, const char *name, LevelObject *level, Error *error) {
#if TRICOT_LLVM
  CpuLevel cpu;
  Text object = {0};
  Compiled *c = compile_for(w, arena_printf(w->arena, "cpu:%s", name), error);
  const char *suffix = suffix_of(w->arena, name);
  if (!c || !cpu_level_find(name, &cpu, error) ||
      !llvm_emit(c->build.kernels.at, c->build.kernels.count, &cpu, suffix, "object", &object,
                 error)) {
    text_free(&object);
    return false;
  }
  *level = (LevelObject){.name = name,
                         .suffix = suffix,
                         .object = arena_copy(w->arena, object.at, object.size),
                         .object_size = object.size,
                         .n_kernels = c->plan.n_kernels,
                         .kernels = c->plan.kernels};
  level->plan = plan_write(w->arena, &c->plan, &level->plan_size);
  text_free(&object);
  return true;
#else
  (void)w, (void)level, (void)suffix_of;
  return error_set(error, "level %s: this build has no LLVM", name);
#endif
}

static bool compile_images(Work *w, CudaObject *cuda, Error *error) {
  char first[CUDA_ARCH_TEXT];
  CudaReport report;
  cuda_arch_text(w->images[0].arch, w->images[0].ptx, first);
  Compiled *c = compile_for(w, arena_printf(w->arena, "cuda:%s", first), error);
  if (!c || !compiled_images(c, w->images, w->n_images, error) ||
      !cuda_report(c, w->images, w->n_cubins, &report, error))
    return false;
  cuda_report_warn(c, &report, stderr);
  c->plan.level = "cuda"; /* which image is known when it runs */
  *cuda = (CudaObject){.images = w->images, .n_images = w->n_images};
  cuda->plan = plan_write(w->arena, &c->plan, &cuda->plan_size);
  return true;
}

static bool compile_all(Work *w, Error *error) {
  LevelObject *levels = ARENA_ARRAY(w->arena, LevelObject, w->n_levels + 1);
  w->open = ARENA_ARRAY(w->arena, Compiled, w->n_levels + 1);
  for (int i = 0; i < w->n_levels; i++)
    if (!compile_level(w, w->levels[i], &levels[i], error))
      return false;
  w->parts.levels = levels;
  w->parts.n_levels = w->n_levels;
  return !w->n_images || compile_images(w, &w->parts.cuda, error);
}

bool artefact_build(Arena *arena, const CompileRequest *request, ExecutableKind kind,
                    const char *weights, const char *output, Error *error) {
  Work w = {.arena = arena, .request = *request, .parts = {.weights = weights}};
  if (!choose_targets(&w, error))
    return false;
  bool good = compile_all(&w, error) && executable_build(output, kind, &w.parts, error);
  if (!good && w.n_open)
    diag_print(&w.open[w.n_open - 1].diag, stderr);
  while (w.n_open)
    compiled_close(&w.open[--w.n_open]);
  return good;
}
