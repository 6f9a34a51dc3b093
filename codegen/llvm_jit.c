/* Code for this process: kernels are compiled to objects by several threads, each with an LLVM
 * context and target machine of its own, taking the next few kernels as it becomes free; ORC's
 * LLJIT then only links. The compiled code of a kernel does not depend on who compiled it.
 */
#include "codegen/llvm_walk.h"
#include <llvm-c/LLJIT.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct Jit {
  Arena *arena;
  LLVMOrcLLJITRef engine;
  Map addresses; /* kernel name to code */
};

/* Kernels in a module: several spread its fixed cost (1 ms), few keep the threads evenly busy. */
enum { MOST_AT_A_TIME = 4, LEAST_TURNS = 8, MOST_THREADS = 64 };

typedef struct Work {
  Kernel *const *kernels;
  int count, at_a_time, parts;
  CpuLevel level;
  atomic_int next; /* part */
  LLVMMemoryBufferRef *objects;
} Work;

typedef struct Worker {
  Work *work;
  pthread_t thread;
  bool good;
  Error error;
} Worker;

static bool compile_part(Work *work, int part, LLVMTargetMachineRef machine, Error *error) {
  int first = part * work->at_a_time, rest = work->count - first;
  int count = rest < work->at_a_time ? rest : work->at_a_time;
  LLVMContextRef context = LLVMContextCreate();
  LLVMModuleRef module =
      llvm_module(context, machine, work->kernels + first, count, &work->level, "", false);
  char *message = NULL;
  bool good = !LLVMTargetMachineEmitToMemoryBuffer(machine, module, LLVMObjectFile, &message,
                                                   &work->objects[part]);
  if (!good) {
    error_set(error, "LLVM cannot compile %s: %s", work->kernels[first]->name, message);
    LLVMDisposeMessage(message);
  }
  LLVMDisposeModule(module);
  LLVMContextDispose(context);
  return good;
}

static void *compile_parts(void *argument) {
  Worker *worker = argument;
  Work *work = worker->work;
  LLVMTargetMachineRef machine = llvm_machine(&work->level, &worker->error);
  worker->good = machine != NULL;
  for (int part; worker->good && (part = atomic_fetch_add(&work->next, 1)) < work->parts;)
    worker->good = compile_part(work, part, machine, &worker->error);
  if (machine)
    LLVMDisposeTargetMachine(machine);
  return NULL;
}

/* This thread is the first worker; one that cannot be started leaves its share to the others. */
static bool compile_all(Work *work, int threads, Error *error) {
  Worker workers[MOST_THREADS];
  bool started[MOST_THREADS] = {true}, good = true;
  if (threads > work->parts)
    threads = work->parts;
  for (int i = 0; i < threads; i++)
    workers[i] = (Worker){.work = work};
  for (int i = 1; i < threads; i++)
    started[i] = pthread_create(&workers[i].thread, NULL, compile_parts, &workers[i]) == 0;
  if (threads > 0)
    compile_parts(&workers[0]);
  for (int i = 0; i < threads; i++) {
    if (i && started[i])
      pthread_join(workers[i].thread, NULL);
    if (started[i] && !workers[i].good && good)
      good = error_set(error, "%s", workers[i].error.text);
  }
  return good;
}

static bool orc_failed(LLVMErrorRef failure, const char *what, Error *error) {
  if (!failure)
    return false;
  char *message = LLVMGetErrorMessage(failure);
  error_set(error, "%s: %s", what, message);
  LLVMDisposeErrorMessage(message);
  return true;
}

/* The engine takes every object it is given; the others are released. */
static bool link_objects(Jit *jit, Work *work, Error *error) {
  if (orc_failed(LLVMOrcCreateLLJIT(&jit->engine, NULL), "LLVM's JIT does not start", error))
    return false;
  LLVMOrcJITDylibRef library = LLVMOrcLLJITGetMainJITDylib(jit->engine);
  LLVMOrcDefinitionGeneratorRef process; /* fmaf, memcpy and the like */
  LLVMErrorRef failure = LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(
      &process, LLVMOrcLLJITGetGlobalPrefix(jit->engine), NULL, NULL);
  if (orc_failed(failure, "LLVM's JIT does not see the process", error))
    return false;
  LLVMOrcJITDylibAddGenerator(library, process);
  for (int i = 0; i < work->parts; i++) {
    LLVMMemoryBufferRef object = work->objects[i];
    work->objects[i] = NULL;
    failure = LLVMOrcLLJITAddObjectFile(jit->engine, library, object);
    if (orc_failed(failure, "LLVM's JIT refuses the kernels", error))
      return false;
  }
  return true;
}

static bool look_up(Jit *jit, Kernel *const *kernels, int count, Error *error) {
  for (int i = 0; i < count; i++) {
    LLVMOrcExecutorAddress address = 0;
    LLVMErrorRef failure = LLVMOrcLLJITLookup(jit->engine, &address, kernels[i]->name);
    if (orc_failed(failure, kernels[i]->name, error))
      return false;
    map_set(&jit->addresses, kernels[i]->name, (void *)(uintptr_t)address);
  }
  return true;
}

Jit *jit_build(Kernel *const *kernels, int count, int threads, Error *error) {
  Jit *jit = mem_alloc(sizeof *jit);
  *jit = (Jit){.arena = arena_new()};
  map_init(&jit->addresses, jit->arena);
  threads = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
  Work work = {.kernels = kernels, .count = count, .at_a_time = count / (threads * LEAST_TURNS)};
  work.at_a_time = work.at_a_time < 1 ? 1 : work.at_a_time;
  work.at_a_time = work.at_a_time > MOST_AT_A_TIME ? MOST_AT_A_TIME : work.at_a_time;
  work.parts = (count + work.at_a_time - 1) / work.at_a_time;
  work.objects = ARENA_ARRAY(jit->arena, LLVMMemoryBufferRef, work.parts);
  bool good = llvm_names_differ(kernels, count, error) &&
              cpu_level_find("native", &work.level, error) && compile_all(&work, threads, error) &&
              link_objects(jit, &work, error) && look_up(jit, kernels, count, error);
  for (int i = 0; i < work.parts; i++)
    if (work.objects[i])
      LLVMDisposeMemoryBuffer(work.objects[i]);
#ifdef __GLIBC__
  malloc_trim(0); /* LLVM's working memory, a hundred MiB for a model, back to the system */
#endif
  if (good)
    return jit;
  jit_free(jit);
  return NULL;
}

KernelCode *jit_find(const Jit *jit, const char *name) {
  return (KernelCode *)(uintptr_t)map_get(&jit->addresses, name);
}

void jit_free(Jit *jit) {
  if (!jit)
    return;
  if (jit->engine)
    orc_failed(LLVMOrcDisposeLLJIT(jit->engine), "LLVM's JIT does not end", NULL);
  arena_free(jit->arena);
  free(jit);
}
