/* Opening data sets, and preparing them. See dataset.h. */
#include "runtime/data/dataset.h"
#include "runtime/base/file.h"
#include "runtime/data/cache_folder.h"
#include "runtime/data/findings.h"
#include "runtime/data/manifest.h"
#include "runtime/data/prepare_options.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAMES_SHOWN = 3 };

typedef VEC(DatasetSample) Samples;

/* ---- opening a cache ---- */

static bool refuse_split(const char *cache, const char *split, const Manifest *m, Error *error) {
  Text present = {0};
  for (int i = 0; i < m->count; i++)
    if (i == 0 || strcmp(m->samples[i].split, m->samples[i - 1].split) != 0)
      text_add(&present, "%s%s", i ? ", " : "", m->samples[i].split);
  error_set(error, "%s: error: the cache has no split \"%s\" (it has: %.500s)", cache,
            split ? split : "", present.at ? present.at : "nothing");
  text_free(&present);
  return false;
}

static bool is_prepared(const DatasetSample *sample, const Manifest *m) {
  VolumeFile file;
  if (!volume_file_open(&file, sample->item.file, NULL))
    return false;
  bool good = strcmp(file.origin.settings, m->settings) == 0 && file.store == m->store;
  volume_file_close(&file);
  return good;
}

static bool refuse_incomplete(const char *cache, const Manifest *m, Error *error) {
  int there = 0;
  for (int i = 0; i < m->count; i++)
    there += is_prepared(&m->samples[i], m);
  return error_set(error,
                   "%s: error: the cache is incomplete: %d of %d volumes are prepared; repeat the "
                   "`tricot prepare --dataset` that was interrupted, it does what is missing",
                   cache, there, m->count);
}

static bool check_files(const char *cache, const Dataset *dataset, Error *error) {
  Text names = {0};
  int missing = 0;
  for (int i = 0; i < dataset->count; i++)
    if (access(dataset->samples[i].item.file, R_OK) != 0 && missing++ < NAMES_SHOWN)
      text_add(&names, "%s%s", missing > 1 ? ", " : "", dataset->samples[i].volume);
  if (missing)
    error_set(error,
              "%s: error: the files of %d of %d volumes are not there (%.600s%s); prepare "
              "the data set again",
              cache, missing, dataset->count, names.at, missing > NAMES_SHOWN ? ", ..." : "");
  text_free(&names);
  return missing == 0;
}

bool dataset_open(const char *cache, const char *split, Dataset *dataset, Error *error) {
  Manifest m;
  *dataset = (Dataset){.arena = arena_new()};
  bool good = manifest_read(dataset->arena, cache, &m, error) &&
              (m.complete || refuse_incomplete(cache, &m, error));
  dataset->samples = good ? ARENA_ARRAY(dataset->arena, DatasetSample, m.count) : NULL;
  for (int i = 0; good && i < m.count; i++)
    if (!split || strcmp(m.samples[i].split, split) == 0)
      dataset->samples[dataset->count++] = m.samples[i];
  if (good) {
    memcpy(dataset->size, m.options.size, sizeof dataset->size);
    memcpy(dataset->spacing, m.options.spacing, sizeof dataset->spacing);
    dataset->settings = m.settings;
    good =
        dataset->count ? check_files(cache, dataset, error) : refuse_split(cache, split, &m, error);
  }
  if (!good)
    dataset_close(dataset);
  return good;
}

/* ---- a tree ---- */

/* Each volume is looked at once in the life of the data set, and made by one thread. */
typedef enum Readiness { NOT_LOOKED_AT, BEING_MADE, READY } Readiness;

typedef struct DatasetTree {
  CacheSettings settings;
  CacheFolder folder;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  uint8_t *readiness; /* of each sample */
} DatasetTree;

void dataset_close(Dataset *dataset) {
  if (dataset->tree) {
    cache_folder_close(&dataset->tree->folder);
    pthread_mutex_destroy(&dataset->tree->lock);
    pthread_cond_destroy(&dataset->tree->changed);
  }
  if (dataset->arena)
    arena_free(dataset->arena);
  *dataset = (Dataset){0};
}

/* Adds the samples of a tree's split, and makes the folder for their files. */
static bool add_split(Arena *arena, const CtrateSplit *split, const char *cache, Samples *samples,
                      Error *error) {
  char *folder = arena_printf(arena, "%s/%s", cache, split->name);
  if (!make_folders(folder, error))
    return false;
  for (int i = 0; i < split->count; i++) {
    const CtrateSample *from = &split->samples[i];
    DatasetSample sample = {.volume = arena_strdup(arena, from->volume),
                            .patient = arena_strdup(arena, from->patient),
                            .split = arena_strdup(arena, split->name),
                            .report = arena_strdup(arena, from->report),
                            .has_labels = from->has_labels};
    memcpy(sample.labels, from->labels, sizeof sample.labels);
    sample.item.source = arena_strdup(arena, from->path);
    sample.item.facts = from->facts;
    int stem = (int)(strstr(from->volume, ".nii") - from->volume);
    sample.item.file =
        arena_printf(arena, "%s/%.*s" VOLUME_FILE_ENDING, folder, stem, from->volume);
    vec_push(arena, samples, sample);
  }
  return true;
}

static const char *settings_text(Arena *arena, const PrepareOptions *options) {
  char text[PREPARE_TEXT_ROOM];
  prepare_options_text(options, text);
  return arena_strdup(arena, text);
}

/* A folder that a manifest describes keeps its settings; nothing is said of an empty one. */
static bool match_manifest(Dataset *dataset, const char *cache, Error *error) {
  Manifest m;
  if (!manifest_exists(cache))
    return true;
  if (!manifest_read(dataset->arena, cache, &m, error))
    return false;
  dataset->tree->settings.store = m.store;
  return strcmp(m.settings, dataset->settings) == 0 ||
         error_set(error,
                   "%s: error: the cache was prepared with other settings (%.400s), wanted are "
                   "%.400s; use another folder",
                   cache, m.settings, dataset->settings);
}

static bool open_tree(Dataset *dataset, const CtrateSplit *split, const char *cache,
                      const PrepareOptions *options, Error *error) {
  Samples samples = {0};
  Arena *arena = dataset->arena;
  DatasetTree *tree = dataset->tree = ARENA_NEW(arena, DatasetTree);
  tree->settings = (CacheSettings){.options = *options, .store = STORE_I16};
  pthread_mutex_init(&tree->lock, NULL);
  pthread_cond_init(&tree->changed, NULL);
  memcpy(dataset->size, options->size, sizeof options->size);
  memcpy(dataset->spacing, options->spacing, sizeof options->spacing);
  dataset->settings = settings_text(arena, options);
  if (!cache_folder_open(&tree->folder, arena_strdup(arena, cache), LOCK_SHARED, error) ||
      !match_manifest(dataset, cache, error) || !add_split(arena, split, cache, &samples, error))
    return false;
  dataset->samples = samples.at;
  dataset->count = samples.count;
  tree->readiness = ARENA_ARRAY(arena, uint8_t, samples.count);
  return true;
}

bool dataset_open_tree(const char *root, const char *split, const char *cache,
                       const PrepareOptions *options, bool skip_incomplete, Dataset *dataset,
                       Error *error) {
  CtrateSplit tree;
  *dataset = (Dataset){0};
  if (!prepare_options_check(options, error) ||
      !ctrate_open(root, split, skip_incomplete, &tree, error))
    return false;
  dataset->arena = arena_new();
  bool good = open_tree(dataset, &tree, cache, options, error);
  ctrate_close(&tree);
  if (!good)
    dataset_close(dataset);
  return good;
}

static bool make_ready(DatasetTree *tree, DatasetSample *sample, int index, Error *error) {
  pthread_mutex_lock(&tree->lock);
  while (tree->readiness[index] == BEING_MADE)
    pthread_cond_wait(&tree->changed, &tree->lock);
  bool ready = tree->readiness[index] == READY;
  if (!ready) {
    CacheItem item = sample->item;
    tree->readiness[index] = BEING_MADE;
    pthread_mutex_unlock(&tree->lock);
    Error words = {""};
    ready = cache_is_current(&item, &tree->settings) ||
            cache_make(&item, &tree->settings, &words) == CACHE_MADE;
    if (!ready)
      error_set(error, "%s", words.text);
    else if (*words.text)
      fprintf(stderr, "%s\n", words.text);
    pthread_mutex_lock(&tree->lock);
    sample->item = item;
    tree->readiness[index] = ready ? READY : NOT_LOOKED_AT;
    pthread_cond_broadcast(&tree->changed);
  }
  pthread_mutex_unlock(&tree->lock);
  return ready;
}

bool dataset_volume(const Dataset *dataset, int index, float *out, Error *error) {
  return dataset_volume_part(dataset, index, NULL, out, error);
}

bool dataset_volume_part(const Dataset *dataset, int index, const Gather *gather, float *out,
                         Error *error) {
  CHECK(index >= 0 && index < dataset->count);
  DatasetSample *sample = &dataset->samples[index];
  return (!dataset->tree || make_ready(dataset->tree, sample, index, error)) &&
         cache_load_part(sample->item.file, dataset->size, dataset->settings, gather, out, error);
}

bool dataset_check(const Dataset *dataset, int index, Error *error) {
  VolumeFile file;
  CHECK(index >= 0 && index < dataset->count);
  if (!volume_file_open(&file, dataset->samples[index].item.file, error))
    return false;
  bool good = volume_file_check(&file, error);
  if (good && strcmp(file.origin.settings, dataset->settings) != 0)
    good = error_set(error, "%s: error: was prepared with other settings (%.600s)", file.path,
                     file.origin.settings);
  volume_file_close(&file);
  return good;
}

const char *dataset_orientation(const Dataset *dataset) {
  const char *common = "";
  for (int i = 0; i < dataset->count; i++) {
    const char *axes = dataset->samples[i].item.axes;
    if (*common && *axes && strcmp(common, axes) != 0)
      return "mixed";
    common = *axes ? axes : common;
  }
  return common;
}

/* ---- preparing ---- */

static bool collect(DatasetPreparation *p, Arena *arena, const char *const *splits, int n_splits,
                    Samples *samples, Error *error) {
  for (int i = 0; i < n_splits; i++) {
    CtrateSplit split;
    if (!ctrate_open(p->root, splits[i], p->skip_incomplete, &split, error))
      return false;
    if (*split.missing)
      text_add(&p->missing, "%s: %s\n", splits[i], split.missing);
    bool good = add_split(arena, &split, p->cache, samples, error);
    ctrate_close(&split);
    if (!good)
      return false;
  }
  return true;
}

/* Keeps the manifest's entries of splits that this run does not touch. */
static bool keep_others(const DatasetPreparation *p, Arena *arena, const Manifest *now,
                        const char *const *splits, int n_splits, Samples *others, Error *error) {
  Manifest old;
  if (!manifest_exists(p->cache))
    return true;
  if (!manifest_read(arena, p->cache, &old, error))
    return false;
  bool same = strcmp(old.settings, now->settings) == 0 && old.store == now->store;
  for (int i = 0; i < old.count; i++) {
    bool touched = false;
    for (int s = 0; s < n_splits; s++)
      touched |= strcmp(old.samples[i].split, splits[s]) == 0;
    if (touched)
      continue;
    if (!same)
      return error_set(error,
                       "%s/manifest.json: error: its split \"%s\" was prepared with other settings "
                       "(%s, %.600s); prepare all splits again or use another folder",
                       p->cache, old.samples[i].split, volume_store_name(old.store), old.settings);
    if (!old.complete && !is_prepared(&old.samples[i], &old))
      return error_set(error,
                       "%s/manifest.json: error: its split \"%s\" is incomplete; prepare it too",
                       p->cache, old.samples[i].split);
    vec_push(arena, others, old.samples[i]);
  }
  return true;
}

/* Prepares `samples`, and drops those that failed (all of them are named in p->missing). */
static bool fill_cache(DatasetPreparation *p, Samples *samples, Error *error) {
  int total = samples->count, kept = 0;
  CacheItem *items = mem_alloc(sizeof *items * (size_t)total);
  CacheResult *results = mem_alloc(sizeof *results * (size_t)total);
  const Error *unwritable = NULL;
  for (int i = 0; i < total; i++)
    items[i] = samples->at[i].item;
  cache_make_all(items, total, &p->settings, p->jobs, p->progress, p->user, results);
  for (int i = 0; i < total; i++) {
    CacheOutcome outcome = results[i].outcome;
    p->kept += outcome == CACHE_KEPT;
    p->made += outcome == CACHE_MADE;
    p->failed += outcome == CACHE_UNREADABLE;
    p->untried += outcome == CACHE_MISSING || outcome == CACHE_UNWRITABLE;
    if (outcome == CACHE_UNREADABLE)
      text_add(&p->missing, "%s\n", results[i].error.text);
    else if (outcome == CACHE_UNWRITABLE && !unwritable)
      unwritable = &results[i].error;
    DatasetSample sample = samples->at[i];
    sample.item = items[i];
    if (outcome == CACHE_KEPT || outcome == CACHE_MADE)
      samples->at[kept++] = sample;
  }
  samples->count = kept;
  bool good = true;
  if (unwritable)
    good = error_set(error, "%.700s; %d of %d volumes are not prepared yet", unwritable->text,
                     total - kept, total);
  else if (p->failed && (!p->skip_incomplete || !kept))
    good = error_set(error, "%s: error: %d of %d volumes could not be prepared", p->root, p->failed,
                     total);
  free(items);
  free(results);
  return good;
}

static int by_split(const void *a, const void *b) {
  const DatasetSample *x = a, *y = b;
  int order = strcmp(x->split, y->split);
  return order ? order : strverscmp(x->volume, y->volume);
}

/* All samples, in an order that does not depend on which were prepared first. */
static void join(Arena *arena, const Samples *samples, const Samples *others, Manifest *m) {
  m->count = samples->count + others->count;
  m->samples = ARENA_ARRAY(arena, DatasetSample, m->count);
  for (int i = 0; i < m->count; i++)
    m->samples[i] = i < samples->count ? samples->at[i] : others->at[i - samples->count];
  qsort(m->samples, (size_t)m->count, sizeof *m->samples, by_split);
}

static bool write_summary(DatasetPreparation *p, Arena *arena, const Manifest *m, Error *error) {
  int count;
  Text csv = {0};
  Writing writing;
  SplitFindings *splits = findings_count(arena, m->samples, m->count, &count);
  findings_table(splits, count, &p->summary);
  findings_csv(splits, count, &csv);
  bool good = writing_open(&writing, arena_printf(arena, "%s/summary.csv", p->cache), error);
  if (good) {
    fwrite(csv.at, 1, csv.size, writing.stream);
    good = writing_commit(&writing, error);
  }
  text_free(&csv);
  return good;
}

/* The manifest says that the cache is incomplete from before the first change to after the last. */
static bool prepare_splits(DatasetPreparation *p, Arena *arena, const char *const *splits,
                           int n_splits, Error *error) {
  const PrepareOptions *options = &p->settings.options;
  Manifest m = {.store = p->settings.store, .settings = settings_text(arena, options)};
  Samples samples = {0}, others = {0};
  m.options = *options;
  if (!keep_others(p, arena, &m, splits, n_splits, &others, error) ||
      !collect(p, arena, splits, n_splits, &samples, error))
    return false;
  join(arena, &samples, &others, &m);
  if (!manifest_write(p->cache, &m, error) || !fill_cache(p, &samples, error))
    return false;
  join(arena, &samples, &others, &m);
  m.complete = true;
  return write_summary(p, arena, &m, error) && manifest_write(p->cache, &m, error);
}

bool dataset_prepare(DatasetPreparation *p, Error *error) {
  Arena *arena = arena_new();
  CacheFolder folder = {.descriptor = -1};
  const char *const *splits = p->splits;
  const char **found;
  int n_splits = p->n_splits;
  bool good = prepare_options_check(&p->settings.options, error);
  if (good && !splits) {
    good = ctrate_splits(arena, p->root, &found, &n_splits, error);
    splits = (const char *const *)found;
  }
  good = good && cache_folder_open(&folder, p->cache, LOCK_ALONE, error);
  if (good)
    cache_folder_sweep(&folder);
  good = good && prepare_splits(p, arena, splits, n_splits, error);
  cache_folder_close(&folder);
  arena_free(arena);
  return good;
}
