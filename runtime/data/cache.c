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

static int64_t change_time(const struct stat *info) {
  return (int64_t)info->st_mtim.tv_sec * 1000000000 + info->st_mtim.tv_nsec;
}

/* Everything that decides the prepared voxels. */
static bool same_origin(const VolumeOrigin *o, const CacheItem *item, const char *settings) {
  return strcmp(o->settings, settings) == 0 && o->source_bytes == item->source_bytes &&
         o->source_time == item->source_time && o->facts.slope == item->facts.slope &&
         o->facts.intercept == item->facts.intercept &&
         memcmp(o->facts.spacing, item->facts.spacing, sizeof o->facts.spacing) == 0;
}

bool cache_is_current(CacheItem *item, const CacheSettings *settings) {
  VolumeFile file;
  struct stat info;
  char text[PREPARE_TEXT_ROOM];
  if (stat(item->source, &info) != 0 || !volume_file_open(&file, item->file, NULL))
    return false; /* absent or damaged: it is made again, or making it tells what is wrong */
  item->source_bytes = info.st_size;
  item->source_time = change_time(&info);
  prepare_options_text(&settings->options, text);
  bool current = file.store == settings->store && same_origin(&file.origin, item, text) &&
                 memcmp(file.size, settings->options.size, sizeof file.size) == 0 &&
                 (!settings->verify || volume_file_check(&file, NULL));
  memcpy(item->axes, file.origin.axes, sizeof item->axes);
  volume_file_close(&file);
  return current;
}

/* The source as values, perhaps with a warning; a file that changes while it is read is refused
 * (stream.h). */
static bool prepare_source(CacheItem *item, const PrepareOptions *options, float *values,
                           Error *error) {
  PrepareReport report;
  struct stat info;
  if (stat(item->source, &info) != 0)
    return error_set(error, "%s: error: %s", item->source, strerror(errno));
  if (!prepare_file(item->source, &item->facts, options, 1, values, &report, error))
    return false;
  *error = report.warning;
  item->source_bytes = info.st_size;
  item->source_time = change_time(&info);
  memcpy(item->axes, report.axes, sizeof item->axes);
  return true;
}

CacheOutcome cache_make(CacheItem *item, const CacheSettings *settings, Error *error) {
  const int64_t *size = settings->options.size;
  char text[PREPARE_TEXT_ROOM];
  CacheOutcome outcome = CACHE_UNREADABLE;
  error->text[0] = 0;
  float *values = malloc(sizeof *values * (size_t)(size[0] * size[1] * size[2]));
  if (!values) {
    error_set(error, "%s: error: no memory for the prepared volume", item->source);
  } else if (prepare_source(item, &settings->options, values, error)) {
    prepare_options_text(&settings->options, text);
    VolumeOrigin origin = {text, item->facts, item->source_bytes, item->source_time, ""};
    memcpy(origin.axes, item->axes, sizeof origin.axes);
    outcome = volume_file_write(item->file, size, values, settings->store, &origin, error)
                  ? CACHE_MADE
                  : CACHE_UNWRITABLE;
  }
  free(values);
  return outcome;
}

/* ---- loading ---- */

static bool load_tensor(const char *path, const int64_t size[3], const Gather *gather, float *out,
                        Error *error) {
  TensorFile file;
  Type wanted = {DT_f32, 4, {1, size[0], size[1], size[2]}};
  if (!tensor_file_open(&file, path, error))
    return false;
  const Tensor *volume = tensor_file_find(&file, "volume");
  bool good = volume != NULL || error_set(error, "%s: error: holds no tensor \"volume\"", path);
  if (good && !type_equal(&volume->type, &wanted))
    good = error_set(error, "%s: error: the volume is %s, expected %s", path,
                     type_text(&volume->type), type_text(&wanted));
  if (good && gather)
    gather_sample(gather, sizeof *out, volume->data, out);
  else if (good)
    memcpy(out, volume->data, type_bytes(&wanted));
  tensor_file_close(&file);
  return good;
}

bool cache_load(const char *path, const int64_t size[3], const char *settings, float *out,
                Error *error) {
  return cache_load_part(path, size, settings, NULL, out, error);
}

bool cache_load_part(const char *path, const int64_t size[3], const char *settings,
                     const Gather *gather, float *out, Error *error) {
  VolumeFile file;
  if (!volume_file_is(path))
    return load_tensor(path, size, gather, out, error);
  if (!volume_file_open(&file, path, error))
    return false;
  const int64_t *have = file.size;
  bool good = memcmp(have, size, sizeof file.size) == 0 ||
              error_set(error, "%s: error: the volume is %lldx%lldx%lld, expected %lldx%lldx%lld",
                        path, (long long)have[0], (long long)have[1], (long long)have[2],
                        (long long)size[0], (long long)size[1], (long long)size[2]);
  if (good && settings && strcmp(settings, file.origin.settings) != 0)
    good = error_set(error, "%s: error: was prepared with other settings (%.400s), expected %.400s",
                     path, file.origin.settings, settings);
  good = good && (gather ? volume_file_gather(&file, gather, out, error)
                         : volume_file_read(&file, 0, size[0], out, error));
  volume_file_close(&file);
  return good;
}

/* ---- all of them ---- */

typedef struct Pool {
  pthread_mutex_t lock;
  CacheItem *items;
  const CacheSettings *settings;
  CacheProgress *progress;
  void *user;
  CacheResult *results;
  int count, next, done;
  bool looking; /* the first pass finds what is current, the second makes the rest */
  bool stop;
} Pool;

static void finish_item(Pool *pool, int index) {
  const CacheResult *result = &pool->results[index];
  pool->done++;
  pool->stop |= result->outcome == CACHE_UNWRITABLE;
  if (!pool->looking && pool->progress)
    pool->progress(pool->user, pool->done, pool->count, &pool->items[index], result);
}

static void *work(void *argument) {
  Pool *pool = argument;
  pthread_mutex_lock(&pool->lock);
  while (pool->next < pool->count && !pool->stop) {
    int index = pool->next++;
    CacheResult *result = &pool->results[index];
    if (result->outcome == CACHE_KEPT)
      continue;
    pthread_mutex_unlock(&pool->lock);
    if (!pool->looking)
      result->outcome = cache_make(&pool->items[index], pool->settings, &result->error);
    else if (cache_is_current(&pool->items[index], pool->settings))
      result->outcome = CACHE_KEPT;
    pthread_mutex_lock(&pool->lock);
    if (!pool->looking || result->outcome == CACHE_KEPT)
      finish_item(pool, index);
  }
  pthread_mutex_unlock(&pool->lock);
  return NULL;
}

static void run_pool(Pool *pool, int jobs) {
  int extra = (jobs < pool->count ? jobs : pool->count) - 1, started = 0;
  pthread_t *threads = mem_alloc(sizeof *threads * (size_t)(extra > 0 ? extra : 1));
  pool->next = 0;
  for (int i = 0; i < extra; i++)
    if (pthread_create(&threads[started], NULL, work, pool) == 0)
      started++;
  work(pool);
  for (int i = 0; i < started; i++)
    pthread_join(threads[i], NULL);
  free(threads);
}

void cache_make_all(CacheItem *items, int count, const CacheSettings *settings, int jobs,
                    CacheProgress *progress, void *user, CacheResult *results) {
  Pool pool = {.items = items,
               .settings = settings,
               .progress = progress,
               .user = user,
               .results = results,
               .count = count,
               .looking = true};
  for (int i = 0; i < count; i++)
    results[i] = (CacheResult){.outcome = CACHE_MISSING};
  pthread_mutex_init(&pool.lock, NULL);
  run_pool(&pool, jobs);
  if (progress)
    progress(user, pool.done, count, NULL, NULL);
  pool.looking = false;
  run_pool(&pool, jobs);
  pthread_mutex_destroy(&pool.lock);
}
