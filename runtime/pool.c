/* The worker pool. See pool.h.
 *
 * One 64-bit word holds the number of the current task (high half) and its next chunk (low half),
 * so claiming a chunk by compare-and-swap also proves that the task read just before is still the
 * current one. A task is published in three steps: close the word (no claim can succeed), write the
 * task, open the word at chunk 0. The caller returns when the count of finished chunks is full; a
 * worker that sleeps or was preempted without a chunk is not waited for.
 */
#include "runtime/pool.h"
#include "runtime/base/arena.h"
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
  CHUNKS_PER_THREAD = 8, /* small enough to even out, large enough to be cheap to claim */
  SPINS = 2000,          /* some tens of microseconds */
  MAX_THREADS = 1024
};
static const uint32_t CLOSED = UINT32_MAX;

/* What a thread did, while that is recorded. */
typedef struct PoolLog {
  _Alignas(64) PoolSpan *spans;
  int count, room;
  uint32_t task; /* of the last span; 0: none that could grow */
} PoolLog;

struct Pool {
  int threads;
  int started; /* workers */
  pthread_t *workers;
  bool pinned;
  int *cpus;        /* threads of them; cpus[0] is the caller's */
  PoolLog *logs;    /* by thread, or NULL; changes between tasks only */
  cpu_set_t before; /* what the caller was allowed before pool_enter */
  bool entered;

  _Alignas(64) _Atomic uint64_t next; /* task number << 32 | next chunk */
  /* the task; atomics because a worker may read them while the next task is written */
  _Alignas(64) _Atomic(PoolTask *) task;
  _Atomic(void *const *) arguments;
  _Atomic int64_t blocks, chunk_blocks;
  _Atomic uint32_t chunks;
  _Alignas(64) _Atomic uint32_t finished; /* chunks; the caller may sleep on it */
  _Atomic uint32_t caller_waits;
  _Alignas(64) _Atomic uint32_t signal; /* grows with every task; workers sleep on it */
  _Atomic uint32_t sleepers;
  _Atomic bool stop;
};

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void sleep_while(_Atomic uint32_t *word, uint32_t value) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake(_Atomic uint32_t *word, int count) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

int64_t monotonic_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void log_chunk(PoolLog *log, uint32_t task, int64_t begin) {
  int64_t end = monotonic_nanoseconds();
  if (!task || log->task != task) {
    if (log->count == log->room)
      return;
    log->spans[log->count++] = (PoolSpan){.begin = begin};
    log->task = task;
  }
  PoolSpan *span = &log->spans[log->count - 1];
  span->end = end;
  span->busy += end - begin;
  span->chunks++;
}

/* Runs blocks as thread `me` and records that if wanted. */
static void run_chunk(Pool *pool, int me, uint32_t number, PoolTask *task, void *const *arguments,
                      int64_t begin, int64_t end) {
  if (!pool->logs) {
    task(arguments, begin, end);
    return;
  }
  int64_t start = monotonic_nanoseconds();
  task(arguments, begin, end);
  log_chunk(&pool->logs[me], number, start);
}

/* Claims one chunk of the current task and runs it; false when there is none to claim. */
static bool work_once(Pool *pool, int me) {
  uint64_t word = atomic_load_explicit(&pool->next, memory_order_acquire);
  for (;;) {
    uint32_t chunk = (uint32_t)word;
    uint32_t chunks = atomic_load_explicit(&pool->chunks, memory_order_relaxed);
    if (chunk == CLOSED || chunk >= chunks)
      return false;
    PoolTask *task = atomic_load_explicit(&pool->task, memory_order_relaxed);
    void *const *arguments = atomic_load_explicit(&pool->arguments, memory_order_relaxed);
    int64_t blocks = atomic_load_explicit(&pool->blocks, memory_order_relaxed);
    int64_t size = atomic_load_explicit(&pool->chunk_blocks, memory_order_relaxed);
    /* pairs with the fence in pool_run: had we read anything of a later task, the claim would fail
     */
    atomic_thread_fence(memory_order_acquire);
    if (!atomic_compare_exchange_weak_explicit(&pool->next, &word, word + 1, memory_order_acq_rel,
                                               memory_order_acquire))
      continue;
    int64_t begin = size * chunk, end = begin + size < blocks ? begin + size : blocks;
    run_chunk(pool, me, (uint32_t)(word >> 32), task, arguments, begin, end);
    uint32_t done = atomic_fetch_add_explicit(&pool->finished, 1, memory_order_seq_cst) + 1;
    if (done == chunks && atomic_load_explicit(&pool->caller_waits, memory_order_seq_cst))
      wake(&pool->finished, 1);
    return true;
  }
}

typedef struct Worker {
  Pool *pool;
  int me, cpu;
} Worker;

static void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof set, &set); /* refused: still correct, only slower */
}

static void *worker_main(void *user) {
  Worker worker = *(Worker *)user;
  free(user);
  Pool *pool = worker.pool;
  if (worker.cpu >= 0)
    pin(worker.cpu);
  for (;;) {
    uint32_t signal = atomic_load_explicit(&pool->signal, memory_order_acquire);
    for (int spin = 0; spin < SPINS; spin++) {
      if (work_once(pool, worker.me))
        spin = 0;
      else
        relax();
    }
    if (atomic_load(&pool->stop))
      return NULL;
    atomic_fetch_add(&pool->sleepers, 1);
    /* a task published since then has changed the signal, and the sleep returns at once */
    if (atomic_load(&pool->signal) == signal)
      sleep_while(&pool->signal, signal);
    atomic_fetch_sub(&pool->sleepers, 1);
  }
}

static void announce(Pool *pool) {
  atomic_fetch_add(&pool->signal, 1);
  if (atomic_load(&pool->sleepers))
    wake(&pool->signal, MAX_THREADS);
}

static void wait_for(Pool *pool, uint32_t chunks) {
  for (int spin = 0; spin < SPINS; spin++) {
    if (atomic_load_explicit(&pool->finished, memory_order_acquire) == chunks)
      return;
    relax();
  }
  atomic_store(&pool->caller_waits, 1);
  for (uint32_t done; (done = atomic_load(&pool->finished)) != chunks;)
    sleep_while(&pool->finished, done);
  atomic_store(&pool->caller_waits, 0);
}

void pool_run(Pool *pool, PoolTask *task, void *const *arguments, int64_t blocks) {
  if (blocks <= 0)
    return;
  if (pool->threads == 1 || blocks == 1) {
    run_chunk(pool, 0, 0, task, arguments, 0, blocks);
    return;
  }
  int64_t wanted = (int64_t)pool->threads * CHUNKS_PER_THREAD;
  int64_t size = (blocks + wanted - 1) / wanted;
  uint32_t chunks = (uint32_t)((blocks + size - 1) / size);
  uint64_t number = (atomic_load_explicit(&pool->next, memory_order_relaxed) >> 32) + 1;
  atomic_store_explicit(&pool->next, number << 32 | CLOSED, memory_order_seq_cst);
  /* no write of the task may be seen before the word is closed */
  atomic_thread_fence(memory_order_seq_cst);
  atomic_store_explicit(&pool->task, task, memory_order_relaxed);
  atomic_store_explicit(&pool->arguments, arguments, memory_order_relaxed);
  atomic_store_explicit(&pool->blocks, blocks, memory_order_relaxed);
  atomic_store_explicit(&pool->chunk_blocks, size, memory_order_relaxed);
  atomic_store_explicit(&pool->chunks, chunks, memory_order_relaxed);
  atomic_store_explicit(&pool->finished, 0, memory_order_relaxed);
  atomic_store_explicit(&pool->next, number << 32, memory_order_release);
  announce(pool);
  while (work_once(pool, 0))
    ;
  wait_for(pool, chunks);
}

/* The allowed CPUs in order, starting at the one we run on. False when they cannot be told; count
 * is what is online then. */
static bool allowed_cpus(int **cpus, int *count) {
  cpu_set_t set;
  *cpus = mem_alloc(sizeof(int) * CPU_SETSIZE);
  if (sched_getaffinity(0, sizeof set, &set) != 0 || !CPU_COUNT(&set)) {
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    *count = online > 0 ? (int)online : 1;
    return false;
  }
  *count = 0;
  int here = sched_getcpu();
  for (int i = 0; i < CPU_SETSIZE; i++) {
    int cpu = (i + (here < 0 ? 0 : here)) % CPU_SETSIZE;
    if (CPU_ISSET(cpu, &set))
      (*cpus)[(*count)++] = cpu;
  }
  return true;
}

/* CPUs' worth of time that a container grants, rounded up; INT_MAX where nothing limits it. More
 * threads than that would only wait for each other while the others are held back. */
static int granted_cpus(void) {
  long long quota, period;
  FILE *stream = fopen("/sys/fs/cgroup/cpu.max", "r");
  bool limited = stream && fscanf(stream, "%lld %lld", &quota, &period) == 2 && quota > 0 &&
                 period > 0 && quota / period < INT_MAX;
  if (stream)
    fclose(stream);
  return limited ? (int)((quota + period - 1) / period) : INT_MAX;
}

static int default_threads(int allowed) {
  int granted = granted_cpus();
  return granted < allowed ? granted : allowed;
}

int pool_threads_for(int threads) {
  int *cpus, allowed;
  if (threads > 0)
    return threads;
  allowed_cpus(&cpus, &allowed);
  free(cpus);
  return default_threads(allowed);
}

bool pool_open(Pool **result, int threads, Error *error) {
  *result = NULL;
  int *cpus, allowed;
  bool known = allowed_cpus(&cpus, &allowed);
  if (threads <= 0)
    threads = default_threads(allowed);
  if (threads > MAX_THREADS) {
    free(cpus);
    return error_set(error, "%d threads are more than the limit of %d", threads, MAX_THREADS);
  }
  Pool *pool = aligned_alloc(64, (sizeof(Pool) + 63) / 64 * 64);
  if (!pool) {
    free(cpus);
    return error_set(error, "no memory for the worker pool");
  }
  memset(pool, 0, sizeof *pool);
  pool->threads = threads;
  pool->cpus = cpus;
  /* more threads than CPUs: let the system spread them; one thread: leave it alone */
  pool->pinned = known && threads > 1 && threads <= allowed;
  pool->workers = mem_alloc(sizeof(pthread_t) * (size_t)threads);
  atomic_init(&pool->next, CLOSED);
  *result = pool;
  for (int i = 1; i < threads; i++) {
    Worker *worker = mem_alloc(sizeof *worker);
    *worker = (Worker){pool, i, pool->pinned ? cpus[i] : -1};
    int code = pthread_create(&pool->workers[pool->started], NULL, worker_main, worker);
    if (code != 0) {
      free(worker);
      pool_close(pool);
      *result = NULL;
      return error_set(error, "worker %d of %d could not be started: %s", i, threads,
                       strerror(code));
    }
    pool->started++;
  }
  return true;
}

void pool_close(Pool *pool) {
  if (!pool)
    return;
  atomic_store(&pool->stop, true);
  announce(pool);
  for (int i = 0; i < pool->started; i++)
    pthread_join(pool->workers[i], NULL);
  pool_record(pool, 0);
  free(pool->workers);
  free(pool->cpus);
  free(pool);
}

void pool_record(Pool *pool, int room) {
  for (int i = 0; pool->logs && i < pool->threads; i++)
    free(pool->logs[i].spans);
  free(pool->logs);
  pool->logs = NULL;
  if (room <= 0)
    return;
  PoolLog *logs = aligned_alloc(64, sizeof *logs * (size_t)pool->threads);
  CHECK(logs);
  for (int i = 0; i < pool->threads; i++)
    logs[i] = (PoolLog){.spans = mem_alloc(sizeof(PoolSpan) * (size_t)room), .room = room};
  pool->logs = logs;
}

const PoolSpan *pool_spans(const Pool *pool, int thread, int *count) {
  *count = pool->logs ? pool->logs[thread].count : 0;
  return pool->logs ? pool->logs[thread].spans : NULL;
}

int pool_threads(const Pool *pool) { return pool->threads; }

void pool_enter(Pool *pool) {
  if (!pool->pinned || pool->entered)
    return;
  pool->entered = sched_getaffinity(0, sizeof pool->before, &pool->before) == 0;
  if (pool->entered)
    pin(pool->cpus[0]);
}

void pool_leave(Pool *pool) {
  if (pool->entered)
    sched_setaffinity(0, sizeof pool->before, &pool->before);
  pool->entered = false;
}
