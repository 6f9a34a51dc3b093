/* The cache of prepared volumes. See cache.h. */
#include "runtime/data/cache.h"
#include "runtime/data/prepare_file.h"
#include "runtime/data/prepare_options.h"
#include "runtime/safetensors.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { MADE_FROM_ROOM = 1024 };

static bool look_at_source(CacheItem *item, Error *error) {
  struct stat info;
  if (stat(item->source, &info) != 0)
    return error_set(error, "%s: error: %s", item->source, strerror(errno));
  item->source_bytes = info.st_size;
  item->source_time = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
  return true;
}

/* Everything that decides the prepared voxels. */
static void made_from(const CacheItem *item, const PrepareOptions *options, char *out) {
  const PrepareFacts *f = &item->facts;
  char settings[PREPARE_TEXT_ROOM];
  prepare_options_text(options, settings);
  snprintf(out, MADE_FROM_ROOM,
           "%s; rescale %.17g %.17g spacing %.17g %.17g %.17g; "
           "source of %lld bytes changed at %lld",
           settings, f->slope, f->intercept, f->spacing[0], f->spacing[1], f->spacing[2],
           (long long)item->source_bytes, (long long)item->source_time);
}

static bool is_current(const char *file, const char *wanted) {
  struct stat info;
  TensorFile tensors;
  if (stat(file, &info) != 0 || !tensor_file_open(&tensors, file, NULL))
    return false; /* absent or damaged: it is made again */
  const char *from = tensor_file_metadata(&tensors, "made_from");
  bool current = from && strcmp(from, wanted) == 0 &&
                 tensor_file_find(&tensors, "volume");
  tensor_file_close(&tensors);
  return current;
}

static bool make_file(CacheItem *item, const PrepareOptions *options, const char *from,
                      Error *error) {
  PrepareReport report;
  const int64_t *size = options->size;
  Tensor tensor = {"volume", {DT_f32, 4, {1, size[0], size[1], size[2]}}, NULL};
  tensor.data = malloc(type_bytes(&tensor.type));
  bool good =
      tensor.data || error_set(error, "%s: error: no memory for the prepared volume", item->source);
  good = good && prepare_file(item->source, &item->facts, options, 1, tensor.data, &report, error);
  if (good && *report.warning.text)
    fprintf(stderr, "%s\n", report.warning.text);
  good = good && tensor_file_write(item->file, &tensor, 1, (const char *[]){"made_from", "axes"},
                                   (const char *[]){from, report.axes}, 2, error);
  free(tensor.data);
  return good;
}

bool cache_make(CacheItem *item, const PrepareOptions *options, bool *kept, Error *error) {
  char from[MADE_FROM_ROOM];
  *kept = false;
  if (!look_at_source(item, error))
    return false;
  made_from(item, options, from);
  *kept = is_current(item->file, from);
  return *kept || make_file(item, options, from, error);
}

bool cache_load(const char *path, const int64_t size[3], float *out, Error *error) {
  TensorFile file;
  Type wanted = {DT_f32, 4, {1, size[0], size[1], size[2]}};
  if (!tensor_file_open(&file, path, error))
    return false;
  const Tensor *volume = tensor_file_find(&file, "volume");
  bool good = volume != NULL || error_set(error, "%s: error: holds no tensor \"volume\"", path);
  if (good && !type_equal(&volume->type, &wanted))
    good = error_set(error, "%s: error: the volume is %s, expected %s", path,
                     type_text(&volume->type), type_text(&wanted));
  if (good)
    memcpy(out, volume->data, type_bytes(&wanted));
  tensor_file_close(&file);
  return good;
}

/* ---- all of them ---- */

typedef struct Pool {
  pthread_mutex_t lock;
  CacheItem *items;
  const PrepareOptions *options;
  CacheProgress *progress;
  void *user;
  CacheResult *results;
  int count, next, done, made;
  double start;
} Pool;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Kept items cost nothing, so the pace comes from those that were made. */
static void report(Pool *pool, int index) {
  double left = pool->made ? (now() - pool->start) / pool->made * (pool->count - pool->done) : -1;
  if (pool->progress)
    pool->progress(pool->user, pool->done, pool->count, &pool->items[index], &pool->results[index],
                   left);
}

static void *work(void *argument) {
  Pool *pool = argument;
  pthread_mutex_lock(&pool->lock);
  while (pool->next < pool->count) {
    int index = pool->next++;
    CacheResult *result = &pool->results[index];
    pthread_mutex_unlock(&pool->lock);
    result->good = cache_make(&pool->items[index], pool->options, &result->kept, &result->error);
    pthread_mutex_lock(&pool->lock);
    pool->done++;
    pool->made += !result->kept;
    report(pool, index);
  }
  pthread_mutex_unlock(&pool->lock);
  return NULL;
}

void cache_make_all(CacheItem *items, int count, const PrepareOptions *options, int jobs,
                    CacheProgress *progress, void *user, CacheResult *results) {
  Pool pool = {.items = items,
               .options = options,
               .progress = progress,
               .user = user,
               .results = results,
               .count = count,
               .start = now()};
  pthread_mutex_init(&pool.lock, NULL);
  int extra = (jobs < count ? jobs : count) - 1, started = 0;
  pthread_t *threads = mem_alloc(sizeof *threads * (size_t)(extra > 0 ? extra : 1));
  for (int i = 0; i < extra; i++)
    if (pthread_create(&threads[started], NULL, work, &pool) == 0)
      started++;
  work(&pool);
  for (int i = 0; i < started; i++)
    pthread_join(threads[i], NULL);
  free(threads);
  pthread_mutex_destroy(&pool.lock);
}
