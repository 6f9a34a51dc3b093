/* Runs CUDA kernels' threads on this machine: fibers with real barriers.
 *
 * In: kernels compiled over cuda_shim.h. Each thread of a block is a fiber with its own stack; all
 * run on the calling OS thread. In a round every living fiber runs, in a shuffled order, until it
 * reaches a barrier or returns; what a warp does together is done when its last lane has come. Then
 * all must stand at the same barrier, or all must have returned: anything else is what deadlocks or
 * corrupts on a GPU, and becomes the host's error. Shared memory
 * is filled with NaN bits for each block. Races show because the order changes from round to round
 * with the seed. Kernels without a barrier run their threads as a loop, in a shuffled order too.
 */
#define TRICOT_SHIM_HOST
#include "codegen/shim_host.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
/* Other machines, and -DTRICOT_UCONTEXT, use the slower functions of the C library. */
#if !defined(__x86_64__) && !defined(TRICOT_UCONTEXT)
#define TRICOT_UCONTEXT
#endif
#ifdef TRICOT_UCONTEXT
#include <ucontext.h>
#endif

/* ---- switching stacks ---- */

#ifndef TRICOT_UCONTEXT
typedef struct Context {
  void *stack; /* the stack pointer while it waits */
} Context;

/* Saves the callee's registers and the floating control words on the stack, and leaves through the
 * other stack's saved return address. */
void tricot_switch_stack(void **save, void *to);
__asm__(".text\n"
        ".p2align 4\n"
        ".globl tricot_switch_stack\n"
        ".hidden tricot_switch_stack\n"
        ".type tricot_switch_stack,@function\n"
        "tricot_switch_stack:\n"
        "  pushq %rbp\n"
        "  pushq %rbx\n"
        "  pushq %r12\n"
        "  pushq %r13\n"
        "  pushq %r14\n"
        "  pushq %r15\n"
        "  subq $8, %rsp\n"
        "  stmxcsr (%rsp)\n"
        "  fnstcw 4(%rsp)\n"
        "  movq %rsp, (%rdi)\n"
        "  movq %rsi, %rsp\n"
        "  ldmxcsr (%rsp)\n"
        "  fldcw 4(%rsp)\n"
        "  addq $8, %rsp\n"
        "  popq %r15\n"
        "  popq %r14\n"
        "  popq %r13\n"
        "  popq %r12\n"
        "  popq %rbx\n"
        "  popq %rbp\n"
        "  ret\n"
        ".size tricot_switch_stack, .-tricot_switch_stack\n");

static void context_switch(Context *from, Context *to) {
  tricot_switch_stack(&from->stack, to->stack);
}

/* The frame that the first switch pops: control words, six registers, the entry point, and a null
 * return address that also gives the entry the alignment of a called function. */
static void context_start(Context *context, unsigned char *stack, size_t size,
                          void (*entry)(void)) {
  uint64_t *top = (uint64_t *)(stack + size) - 11;
  memset(top, 0, 11 * sizeof *top);
  __asm__ volatile("stmxcsr (%0)\n\tfnstcw 4(%0)" : : "r"(top) : "memory");
  top[7] = (uint64_t)(uintptr_t)entry;
  context->stack = top;
}
#else
typedef struct Context {
  ucontext_t state;
} Context;

static void context_switch(Context *from, Context *to) { swapcontext(&from->state, &to->state); }

static void context_start(Context *context, unsigned char *stack, size_t size,
                          void (*entry)(void)) {
  getcontext(&context->state);
  context->state.uc_stack.ss_sp = stack;
  context->state.uc_stack.ss_size = size;
  context->state.uc_link = NULL;
  makecontext(&context->state, entry, 0);
}
#endif

/* ---- one call of a kernel ---- */

enum { SHIM_WARP = 32 };
enum { RETURNED = -1, RUNNING = 0 }; /* else: the line of what a fiber waits at */

typedef struct WarpCall {
  int op; /* of the warp that the thread waits in; 0: none, it waits at a barrier */
  const void *operand[3];
  union {
    float f[4];
    int32_t i[4];
  } result __attribute__((aligned(16)));
} WarpCall;

typedef struct Copying {
  unsigned char *to;
  const void *from; /* NULL: zeros */
  int bytes, group;
} Copying;

typedef struct Copies { /* of a thread */
  Copying *open;
  int count, room, groups;
} Copies;

typedef struct Run {
  TricotPlace place;
  const TricotShimKernel *kernel;
  void *const *arguments;
  Context scheduler, *fibers;
  int *state;      /* by thread */
  int *order;      /* threads, shuffled again for each round */
  WarpCall *calls; /* by thread */
  Copies *copies;  /* by thread */
  uint64_t random;
} Run;

static _Thread_local Run *current;

static const TricotPlace *place(void) { return &current->place; }

static void fiber_main(void) {
  current->kernel->thread(current->arguments);
  current->state[current->place.thread] = RETURNED;
  context_switch(&current->fibers[current->place.thread], &current->scheduler);
  FAULT("a finished thread was run again");
}

/* Called inside a fiber. Kernels without barriers have no fibers, and never call this. */
static void barrier(int line) {
  CHECK(line > 0 && current->fibers);
  current->state[current->place.thread] = line;
  context_switch(&current->fibers[current->place.thread], &current->scheduler);
}

/* Called inside a fiber too. */
static void *warp(int line, int op, const void *a, const void *b, const void *c) {
  int thread = current->place.thread;
  WarpCall *call = &current->calls[thread];
  call->op = op;
  call->operand[0] = a;
  call->operand[1] = b;
  call->operand[2] = c;
  current->state[thread] = line;
  context_switch(&current->fibers[thread], &current->scheduler);
  return &call->result;
}

/* ---- copies ---- */

static void copy(void *to, const void *from, int bytes, int valid) {
  Copies *copies = &current->copies[current->place.thread];
  if (copies->count == copies->room) {
    copies->room = copies->room ? 2 * copies->room : 16;
    copies->open = mem_resize(copies->open, sizeof *copies->open * (size_t)copies->room);
  }
  memset(to, 0xff, (size_t)bytes);
  copies->open[copies->count++] = (Copying){to, valid ? from : NULL, bytes, copies->groups + 1};
}

static void commit(void) { current->copies[current->place.thread].groups++; }

static void wait(int groups) {
  Copies *copies = &current->copies[current->place.thread];
  int kept = 0;
  for (int i = 0; i < copies->count; i++) {
    const Copying *c = &copies->open[i];
    if (c->group > copies->groups - groups)
      copies->open[kept++] = *c;
    else if (c->from)
      memcpy(c->to, c->from, (size_t)c->bytes);
    else
      memset(c->to, 0, (size_t)c->bytes);
  }
  copies->count = kept;
}

/* At the end of a block no copy may be on its way. */
static bool copies_ended(ShimHost *host, const Run *run) {
  for (int t = 0; t < run->kernel->threads; t++) {
    if (run->copies[t].count) {
      shim_report(host, "kernel %s, block %d: thread %d does not wait for its copies",
                  run->kernel->name, run->place.block, t);
      return false;
    }
    run->copies[t].groups = 0;
  }
  return true;
}

/* ---- warps ---- */

static float half_of(uint32_t pair, int half) {
  uint32_t bits = (half ? pair >> 16 : pair & 0xffff) << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

typedef struct Factors {
  float a[16][16], b[16][8];
} Factors;

/* The layouts and the order of sums are those of ir/kernel_eval_warp.c. */
static void take_bf16(Factors *f, int lane, const uint32_t *of_a, const uint32_t *of_b) {
  int g = lane / 4, t = lane % 4;
  for (int half = 0; half < 2; half++) {
    for (int i = 0; i < 4; i++)
      f->a[g + i % 2 * 8][2 * t + half + i / 2 * 8] = half_of(of_a[i], half);
    for (int i = 0; i < 2; i++)
      f->b[2 * t + half + 8 * i][g] = half_of(of_b[i], half);
  }
}

static float tf32_of(uint32_t bits) {
  float value;
  bits &= ~0x1fffu;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static void take_tf32(Factors *f, int lane, const uint32_t *of_a, const uint32_t *of_b) {
  int g = lane / 4, t = lane % 4;
  for (int i = 0; i < 4; i++)
    f->a[g + i % 2 * 8][t + i / 2 * 4] = tf32_of(of_a[i]);
  for (int i = 0; i < 2; i++)
    f->b[t + 4 * i][g] = tf32_of(of_b[i]);
}

static void warp_mma(WarpCall *calls, bool tf32) {
  Factors f;
  for (int lane = 0; lane < SHIM_WARP; lane++)
    (tf32 ? take_tf32 : take_bf16)(&f, lane, calls[lane].operand[0], calls[lane].operand[1]);
  for (int lane = 0; lane < SHIM_WARP; lane++) {
    const float *c = calls[lane].operand[2];
    for (int i = 0; i < 4; i++) {
      float sum = c[i];
      for (int k = 0; k < (tf32 ? 8 : 16); k++)
        sum = fmaf(f.a[lane / 4 + i / 2 * 8][k], f.b[k][lane % 4 * 2 + i % 2], sum);
      calls[lane].result.f[i] = sum;
    }
  }
}

static bool warp_matrix(ShimHost *host, const Run *run, WarpCall *calls, int first, int count,
                        bool turned) {
  uint16_t element[8][8];
  for (int i = 0; i < count; i++) {
    for (int row = 0; row < 8; row++) {
      const unsigned char *from = calls[8 * i + row].operand[0], *shared = run->place.shared;
      if ((uintptr_t)from % 16 || from < shared || from + 16 > shared + run->kernel->shared_bytes) {
        shim_report(host, "kernel %s, block %d, thread %d: no row of a matrix begins there",
                    run->kernel->name, run->place.block, first + 8 * i + row);
        return false;
      }
      memcpy(element[row], from, 16);
    }
    for (int lane = 0; lane < SHIM_WARP; lane++) {
      int g = lane / 4, t = lane % 4 * 2;
      uint32_t low = turned ? element[t][g] : element[g][t];
      uint32_t high = turned ? element[t + 1][g] : element[g][t + 1];
      calls[lane].result.i[i] = (int32_t)(low | high << 16);
    }
  }
  return true;
}

/* Does what a warp waits for, when all its lanes wait for the same. */
static bool run_warp(ShimHost *host, Run *run, int first, bool *done) {
  WarpCall *calls = run->calls + first;
  for (int lane = 0; lane < SHIM_WARP; lane++)
    if (!calls[lane].op || calls[lane].op != calls[0].op ||
        run->state[first + lane] != run->state[first])
      return true;
  int op = calls[0].op, matrix = op - TRICOT_MATRIX;
  if (op < TRICOT_MATRIX)
    warp_mma(calls, op == TRICOT_MMA_TF32);
  else if (!warp_matrix(host, run, calls, first, matrix & 7, matrix & 8))
    return false;
  for (int lane = 0; lane < SHIM_WARP; lane++) {
    calls[lane].op = 0;
    run->state[first + lane] = RUNNING;
  }
  return *done = true;
}

static uint64_t next_random(Run *run) {
  run->random = run->random * 6364136223846793005u + 1442695040888963407u;
  return run->random >> 33;
}

static void shuffle(Run *run) {
  for (int i = run->kernel->threads - 1; i > 0; i--) {
    int j = (int)(next_random(run) % (uint64_t)(i + 1));
    int kept = run->order[i];
    run->order[i] = run->order[j];
    run->order[j] = kept;
  }
}

/* After a round in which no warp had anything to do: true when all returned or all wait at one
 * barrier. */
static bool round_is_uniform(ShimHost *host, const Run *run) {
  const int *state = run->state;
  for (int t = 0; t < run->kernel->threads; t++) {
    if (state[t] == state[0] && !run->calls[t].op)
      continue;
    int waiting = state[0] == RETURNED ? t : 0, other = waiting ? 0 : t ? t : 1;
    const char *how = state[other] == RETURNED ? "returned without reaching it"
                      : run->calls[other].op   ? "waits for its warp"
                                               : "waits at another barrier";
    shim_report(host, "kernel %s, block %d: thread %d waits %s of line %d, thread %d %s",
                run->kernel->name, run->place.block, waiting,
                run->calls[waiting].op ? "in a warp" : "at the barrier", state[waiting], other,
                how);
    return false;
  }
  return true;
}

/* The fibers of so many warps get as far as they can without others, in a shuffled order. */
static bool run_warps(ShimHost *host, Run *run, int first, int count) {
  int threads = run->kernel->threads, warps = threads / SHIM_WARP;
  for (bool done = true; done;) {
    shuffle(run);
    for (int i = 0; i < threads; i++) {
      int thread = run->order[i], warp = thread / SHIM_WARP;
      if (warp < first || warp >= first + count || run->state[thread] != RUNNING)
        continue;
      run->place.thread = thread;
      context_switch(&run->scheduler, &run->fibers[thread]);
    }
    done = false;
    for (int w = first; w < first + count && w < warps; w++)
      if (!run_warp(host, run, w * SHIM_WARP, &done))
        return false;
  }
  return true;
}

/* Every fiber runs until it stands at a barrier, or waits in vain for its warp. In one round all
 * keep step, in another warp after warp goes as far as it can: both happens on devices. */
static bool run_round(ShimHost *host, Run *run) {
  int warps = (run->kernel->threads + SHIM_WARP - 1) / SHIM_WARP;
  bool alone = next_random(run) % 2;
  int first = (int)(next_random(run) % (uint64_t)warps);
  if (!alone)
    return run_warps(host, run, 0, warps) && round_is_uniform(host, run);
  for (int w = 0; w < warps; w++)
    if (!run_warps(host, run, (first + w) % warps, 1))
      return false;
  return round_is_uniform(host, run);
}

static bool run_fibers(ShimHost *host, Run *run, unsigned char *stacks, size_t stack_size) {
  int threads = run->kernel->threads;
  for (int t = 0; t < threads; t++) {
    run->state[t] = RUNNING;
    context_start(&run->fibers[t], stacks + stack_size * (size_t)t, stack_size, fiber_main);
  }
  while (run_round(host, run)) {
    if (run->state[0] == RETURNED)
      return copies_ended(host, run);
    for (int t = 0; t < threads; t++)
      run->state[t] = RUNNING;
  }
  return false;
}

static void run_plain(Run *run) {
  shuffle(run);
  for (int i = 0; i < run->kernel->threads; i++) {
    run->place.thread = run->order[i];
    run->kernel->thread(run->arguments);
  }
}

static void run(TricotHost *base, const TricotShimKernel *kernel, void *const *arguments,
                long long begin, long long end) {
  ShimHost *host = (ShimHost *)base;
  size_t threads = (size_t)kernel->threads, stack_size = 0;
  size_t shared_size = ((size_t)kernel->shared_bytes + 63) / 64 * 64;
  Run state = {.kernel = kernel, .arguments = arguments};
  unsigned char *stacks = NULL, *shared = shared_size ? aligned_alloc(64, shared_size) : NULL;
  if (shared_size && !shared)
    FAULT("no memory for the shared memory of %s", kernel->name);
  state.order = mem_alloc(sizeof(int) * threads);
  for (int t = 0; t < kernel->threads; t++)
    state.order[t] = t;
  if (kernel->has_barrier) {
    stack_size = (32768 + 2 * (size_t)kernel->stack_bytes + 4095) / 4096 * 4096;
    stacks = mmap(NULL, stack_size * threads, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED)
      FAULT("no memory for the stacks of %s", kernel->name);
    state.fibers = mem_alloc(sizeof(Context) * threads);
    state.state = mem_alloc(sizeof(int) * threads);
    state.calls = aligned_alloc(16, sizeof(WarpCall) * threads);
    if (!state.calls)
      FAULT("no memory for the warps of %s", kernel->name);
    memset(state.calls, 0, sizeof(WarpCall) * threads);
    state.copies = mem_alloc(sizeof(Copies) * threads);
  }
  state.place.shared = shared;
  Run *outer = current;
  current = &state;
  bool good = true;
  for (long long block = begin; good && block < end; block++) {
    state.place.block = (int)block;
    state.random = shim_seed(host) * 0x9e3779b97f4a7c15u + (uint64_t)block;
    if (shared)
      memset(shared, 0xff, shared_size); /* NaN in every float, -1 in every integer */
    if (kernel->has_barrier)
      good = run_fibers(host, &state, stacks, stack_size);
    else
      run_plain(&state);
  }
  current = outer;
  if (stacks)
    munmap(stacks, stack_size * threads);
  free(state.fibers);
  free(state.state);
  free(state.calls);
  for (size_t t = 0; t < threads && state.copies; t++)
    free(state.copies[t].open);
  free(state.copies);
  free(state.order);
  free(shared);
}

/* ---- the host ---- */

void shim_init(ShimHost *host) {
  *host = (ShimHost){.base = {.place = place,
                              .barrier = barrier,
                              .warp = warp,
                              .copy = copy,
                              .commit = commit,
                              .wait = wait,
                              .run = run}};
  pthread_mutex_init(&host->lock, NULL);
}

void shim_close(ShimHost *host) { pthread_mutex_destroy(&host->lock); }

uint64_t shim_seed(ShimHost *host) { return __atomic_load_n(&host->seed, __ATOMIC_RELAXED); }

void shim_report(ShimHost *host, const char *format, ...) {
  pthread_mutex_lock(&host->lock);
  if (!host->failed) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(host->error.text, sizeof host->error.text, format, arguments);
    va_end(arguments);
  }
  host->failed = true;
  pthread_mutex_unlock(&host->lock);
}
