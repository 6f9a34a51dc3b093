/* Measuring a machine's peaks. See machine_peak.h.
 *
 * Rates of arithmetic come from loops that keep everything in registers, rates of memories from
 * reading a buffer that only fits there: half of one core's L2, read by every thread from its own
 * copy; a part of L3 several times as large as L2; four times as much as all of L3. Work is cut
 * into blocks for the pool as kernels are.
 */
#include "runtime/job/machine_peak.h"
#include "runtime/job/progress.h"
#include "runtime/region.h"
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Work { /* the second argument of every loop; the first is where sums go */
  float factor, term;
  int64_t rounds;
  const float *from;
  float *to;
  int64_t stride, elements; /* floats from block to block; of a block */
} Work;

/* ---- the loops, for each kind of register ---- */

typedef struct Loops {
  const char *vector;
  int width; /* f32 lanes */
  PoolTask *fma, *read, *copy;
} Loops;

/* GCC's vectors, which become whatever instructions the target has. */
typedef float Portable __attribute__((vector_size(16)));
#define LOOP(name) portable_##name
#define TARGET
#define VECTOR Portable
#define SET(x) ((Portable){(x), (x), (x), (x)})
#define FMA(a, b, c) ((a) * (b) + (c))
#define LOAD(at) (*(const Portable *)(at))
#define STREAM(at, v) (*(Portable *)(at) = (v))
#define ADD(a, b) ((a) + (b))
#include "runtime/job/peak_loops.def"

#if defined(__x86_64__)
#include <immintrin.h>
#define LOOP(name) sse2_##name
#define TARGET
#define VECTOR __m128
#define SET(x) _mm_set1_ps(x)
#define FMA(a, b, c) _mm_add_ps(_mm_mul_ps(a, b), c)
#define LOAD(at) _mm_load_ps(at)
#define STREAM(at, v) _mm_stream_ps(at, v)
#define ADD(a, b) _mm_add_ps(a, b)
#include "runtime/job/peak_loops.def"

#define LOOP(name) avx2_##name
#define TARGET __attribute__((target("avx2,fma")))
#define VECTOR __m256
#define SET(x) _mm256_set1_ps(x)
#define FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define LOAD(at) _mm256_load_ps(at)
#define STREAM(at, v) _mm256_stream_ps(at, v)
#define ADD(a, b) _mm256_add_ps(a, b)
#include "runtime/job/peak_loops.def"

#define LOOP(name) avx512_##name
#define TARGET __attribute__((target("avx512f")))
#define VECTOR __m512
#define SET(x) _mm512_set1_ps(x)
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define LOAD(at) _mm512_load_ps(at)
#define STREAM(at, v) _mm512_stream_ps(at, v)
#define ADD(a, b) _mm512_add_ps(a, b)
#include "runtime/job/peak_loops.def"

/* Pairs of bf16 are multiplied and added to f32: 4 operations a lane. */
__attribute__((target("avx512f,avx512bf16"))) static void avx512_bf16(void *const *arguments,
                                                                      int64_t begin, int64_t end) {
  float *sink = arguments[0];
  const Work *work = arguments[1];
  for (int64_t b = begin; b < end; b++) {
    __m512bh x = (__m512bh)_mm512_set1_epi32(work->rounds < 0); /* zeros the compiler cannot see */
    __m512 a[12];
    for (int i = 0; i < 12; i++)
      a[i] = _mm512_set1_ps((float)i);
    for (int64_t n = 0; n < work->rounds; n++) {
#pragma GCC unroll 12
      for (int i = 0; i < 12; i++)
        a[i] = _mm512_dpbf16_ps(a[i], x, x);
    }
    for (int i = 1; i < 12; i++)
      a[0] = _mm512_add_ps(a[0], a[i]);
    memcpy(sink + 16 * b, &a[0], sizeof a[0]);
  }
}

static const Loops x86_loops[] = {
    {"sse2", 4, sse2_fma, sse2_read, sse2_copy},
    {"avx2", 8, avx2_fma, avx2_read, avx2_copy},
    {"avx512", 16, avx512_fma, avx512_read, avx512_copy},
};

static const Loops *choose_loops(const char *level, PoolTask **bf16) {
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  int best = avx512 ? 2 : avx2 ? 1 : 0, wanted = best;
  if (strcmp(level, "x86-64") == 0 || strcmp(level, "x86-64-v2") == 0)
    wanted = 0;
  else if (strcmp(level, "x86-64-v3") == 0)
    wanted = 1;
  wanted = wanted < best ? wanted : best;
  *bf16 = wanted == 2 && __builtin_cpu_supports("avx512bf16") ? avx512_bf16 : NULL;
  return &x86_loops[wanted];
}
#elif defined(__aarch64__)
#include <arm_neon.h>
#define LOOP(name) neon_##name
#define TARGET
#define VECTOR float32x4_t
#define SET(x) vdupq_n_f32(x)
#define FMA(a, b, c) vfmaq_f32(c, a, b)
#define LOAD(at) vld1q_f32(at)
#define STREAM(at, v) vst1q_f32(at, v)
#define ADD(a, b) vaddq_f32(a, b)
#include "runtime/job/peak_loops.def"

static const Loops *choose_loops(const char *level, PoolTask **bf16) {
  static const Loops neon = {"neon", 4, neon_fma, neon_read, neon_copy};
  static const Loops portable = {"portable", 4, portable_fma, portable_read, portable_copy};
  *bf16 = NULL;
  return strcmp(level, "portable") == 0 ? &portable : &neon;
}
#endif

static const Loops portable_loops = {"portable", 4, portable_fma, portable_read, portable_copy};

static const Loops *loops_for(const char *level, PoolTask **bf16) {
  *bf16 = NULL;
#if defined(__x86_64__) || defined(__aarch64__)
  if (strcmp(level, "portable") != 0)
    return choose_loops(level, bf16);
#endif
  return &portable_loops;
}

/* ---- caches ---- */

static bool read_line(const char *directory, const char *name, char *line, int room) {
  char path[160];
  snprintf(path, sizeof path, "%s/%s", directory, name);
  FILE *stream = fopen(path, "r");
  bool good = stream && fgets(line, room, stream);
  if (stream)
    fclose(stream);
  return good;
}

/* Adds the caches of one CPU that it is the first of `cpus` to have. */
static void add_caches(int cpu, const cpu_set_t *cpus, int64_t bytes[4]) {
  for (int index = 0; index < 8; index++) {
    char directory[100], level[16], kind[32], size[32], shared[512];
    snprintf(directory, sizeof directory, "/sys/devices/system/cpu/cpu%d/cache/index%d", cpu,
             index);
    if (!read_line(directory, "level", level, sizeof level) ||
        !read_line(directory, "type", kind, sizeof kind) ||
        !read_line(directory, "size", size, sizeof size) ||
        !read_line(directory, "shared_cpu_list", shared, sizeof shared))
      return;
    int number = atoi(level), first = cpu;
    if (number < 1 || number > 3 || strncmp(kind, "Instruction", 11) == 0)
      continue;
    for (char *at = shared; *at;) { /* "0-3,8-11": the first of them that counts */
      long low = strtol(at, &at, 10), high = *at == '-' ? strtol(at + 1, &at, 10) : low;
      for (long c = low; c <= high && c < CPU_SETSIZE; c++)
        if (c >= 0 && CPU_ISSET((size_t)c, cpus) && c < first)
          first = (int)c;
      if (*at++ != ',')
        break;
    }
    char *unit;
    int64_t value = strtol(size, &unit, 10);
    if (first == cpu)
      bytes[number] += value * (*unit == 'K' ? 1024 : *unit == 'M' ? 1 << 20 : 1);
  }
}

/* Of as many allowed CPUs as there are threads. */
static void find_caches(MachinePeak *peak) {
  cpu_set_t allowed, used;
  int64_t bytes[4] = {0};
  CPU_ZERO(&used);
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0)
    for (int c = 0, n = 0; c < CPU_SETSIZE && n < peak->threads; c++)
      if (CPU_ISSET((size_t)c, &allowed)) {
        CPU_SET((size_t)c, &used);
        n++;
      }
  for (int c = 0; c < CPU_SETSIZE; c++)
    if (CPU_ISSET((size_t)c, &used))
      add_caches(c, &used, bytes);
#if defined(_SC_LEVEL1_DCACHE_SIZE)
  if (!bytes[2]) { /* no /sys here */
    long l1 = sysconf(_SC_LEVEL1_DCACHE_SIZE), l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
    long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    bytes[1] = l1 > 0 ? (int64_t)l1 * peak->threads : 0;
    bytes[2] = l2 > 0 ? (int64_t)l2 * peak->threads : 0;
    bytes[3] = l3 > 0 ? l3 : 0;
  }
#endif
  peak->l1_bytes = bytes[1];
  peak->l2_bytes = bytes[2];
  peak->l3_bytes = bytes[3];
}

/* ---- measuring ---- */

enum {
  BLOCKS_PER_THREAD = 8, /* as the pool cuts kernels: a thread that is held up loses one */
  /* many short rounds: some fall between two interruptions of a busy machine */
  CACHE_ROUNDS = 24,
  MEMORY_ROUNDS = 8,
  TURNS = 40000 /* of a block of arithmetic: about 0.1 ms */
};
static const double LONGEST = 0.1; /* seconds of rounds, where the machine is slow or busy */
static const int64_t LEAST_BUFFER = (int64_t)64 << 20, MOST_BUFFER = (int64_t)512 << 20;

typedef struct Meter {
  Pool *pool;
  int64_t blocks;
  float *sink; /* 16 floats a block */
  Work work;
} Meter;

static double seconds_of(Meter *b, PoolTask *loop) {
  void *arguments[] = {b->sink, &b->work};
  double start = seconds_now();
  pool_run(b->pool, loop, arguments, b->blocks);
  double taken = seconds_now() - start;
  return taken > 1e-9 ? taken : 1e-9;
}

/* Another round? Three at least. */
static bool again(int round, int most, double since) {
  return round < most && (round < 3 || seconds_now() - since < LONGEST);
}

static void keep(double *best, double rate) { *best = rate > *best ? rate : *best; }

/* `each`: operations of one of the 12 instructions of a turn. */
static void measure_arithmetic(Meter *b, PoolTask *loop, double each, double *best) {
  double start = seconds_now();
  b->work.rounds = TURNS;
  for (int i = 0; again(i, CACHE_ROUNDS, start); i++)
    keep(best, 12.0 * each * (double)b->work.rounds * (double)b->blocks / seconds_of(b, loop));
}

/* Every block reads the same `bytes`, so often that about `total` bytes a block go by. */
static void measure_cache(Meter *b, PoolTask *loop, const float *buffer, int64_t bytes,
                          int64_t total, double *best) {
  double start = seconds_now();
  b->work.from = buffer;
  b->work.stride = 0;
  b->work.elements = bytes / (int64_t)sizeof(float) / 192 * 192;
  b->work.rounds = total / bytes + 1;
  for (int i = 0; again(i, CACHE_ROUNDS, start); i++)
    keep(best, 4.0 * (double)b->work.elements * (double)b->work.rounds * (double)b->blocks /
                   seconds_of(b, loop));
}

static void measure_memory(Meter *b, const Loops *loops, unsigned char *buffer, int64_t bytes,
                           MachinePeak *peak) {
  double start = seconds_now();
  int64_t floats = bytes / (int64_t)sizeof(float);
  b->work.from = (const float *)(void *)buffer;
  b->work.stride = b->work.elements = floats / b->blocks / 192 * 192;
  b->work.rounds = 1;
  double moved = 4.0 * (double)b->work.elements * (double)b->blocks;
  for (int i = 0; again(i, MEMORY_ROUNDS, start); i++)
    keep(&peak->memory_read, moved / seconds_of(b, loops->read));
  b->work.stride = b->work.elements = floats / 2 / b->blocks / 64 * 64;
  b->work.to = (float *)(void *)buffer + floats / 2 / 64 * 64;
  start = seconds_now();
  moved = 8.0 * (double)b->work.elements * (double)b->blocks;
  for (int i = 0; again(i, MEMORY_ROUNDS, start); i++)
    keep(&peak->memory_copy, moved / seconds_of(b, loops->copy));
}

static int64_t buffer_size(const MachinePeak *peak) {
  int64_t bytes = 4 * peak->l3_bytes;
  return bytes < LEAST_BUFFER ? LEAST_BUFFER : bytes > MOST_BUFFER ? MOST_BUFFER : bytes;
}

static void measure(MachinePeak *peak, Meter *b, const Loops *loops, PoolTask *bf16,
                    unsigned char *buffer) {
  const float *floats = (const float *)(void *)buffer;
  int64_t own = peak->l2_bytes / peak->threads; /* one core's */
  measure_arithmetic(b, loops->fma, 2.0 * loops->width, &peak->f32);
  if (bf16)
    measure_arithmetic(b, bf16, 4.0 * 16, &peak->bf16);
  if (own)
    measure_cache(b, loops->read, floats, own / 2, 8 * own, &peak->l2);
  if (own && peak->l3_bytes >= 8 * own)
    measure_cache(b, loops->read, floats, 4 * own, 4 * own, &peak->l3);
  measure_memory(b, loops, buffer, buffer_size(peak), peak);
}

bool machine_measure(MachinePeak *peak, Pool *pool, const char *level, Error *error) {
  PoolTask *bf16;
  Region region;
  const Loops *loops = loops_for(level, &bf16);
  peak->threads = pool_threads(pool);
  peak->vector = loops->vector;
  find_caches(peak);
  Meter b = {.pool = pool, .blocks = (int64_t)peak->threads * BLOCKS_PER_THREAD};
  int64_t sums = 64 * b.blocks, buffer = buffer_size(peak);
  if (!region_open(&region, sums + buffer, "measuring the machine", error))
    return false;
  bool good = region_touch(&region, pool, sums + buffer, "measuring the machine", error);
  if (good) {
    b.sink = (float *)(void *)region.at;
    b.work = (Work){.factor = 0.999F, .term = 0.001F};
    pool_enter(pool);
    measure(peak, &b, loops, bf16, region.at + sums);
    pool_leave(pool);
  }
  region_close(&region);
  return good;
}

double machine_memory(const MachinePeak *peak) {
  return peak->memory_read > peak->memory_copy ? peak->memory_read : peak->memory_copy;
}
