/* Data sets and their manifest. See dataset.h.
 *
 * manifest.json: {"format": "tricot-cache", "version": 1, "options": TEXT, "labels": [names],
 * "volumes": [{"volume", "patient", "split", "file", "report", "labels", "source_bytes",
 * "source_time"}]}. Paths in it are relative to the cache, so that a cache can be moved.
 */
#include "runtime/data/dataset.h"
#include "runtime/base/file.h"
#include "runtime/base/json.h"
#include "runtime/data/prepare_options.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef VEC(DatasetSample) Samples;

/* ---- manifest: writing ---- */

static void add_text(Text *json, const char *key, const char *value) {
  text_add(json, "\"%s\": ", key);
  json_add_string(json, value);
  text_add(json, ", ");
}

static void add_sample(Text *json, const char *cache, const DatasetSample *sample) {
  text_add(json, "    {");
  add_text(json, "volume", sample->volume);
  add_text(json, "patient", sample->patient);
  add_text(json, "split", sample->split);
  add_text(json, "file", sample->item.file + strlen(cache) + 1);
  add_text(json, "report", sample->report);
  text_add(json, "\"labels\": ");
  for (int i = 0; sample->has_labels && i < CTRATE_LABELS; i++)
    text_add(json, "%s%d", i ? ", " : "[", sample->labels[i]);
  text_add(json, "%s, \"source_bytes\": %lld, \"source_time\": %lld}",
           sample->has_labels ? "]" : "null", (long long)sample->item.source_bytes,
           (long long)sample->item.source_time);
}

static bool write_manifest(const char *cache, const PrepareOptions *options, const Samples *samples,
                           Error *error) {
  Text json = {0};
  Arena *arena = arena_new();
  text_add(&json, "{\n  \"format\": \"tricot-cache\",\n  \"version\": 1,\n  \"options\": ");
  char settings[PREPARE_TEXT_ROOM];
  prepare_options_text(options, settings);
  json_add_string(&json, settings);
  text_add(&json, ",\n  \"labels\": [");
  for (int i = 0; i < CTRATE_LABELS; i++) {
    text_add(&json, "%s", i ? ", " : "");
    json_add_string(&json, ctrate_label_names[i]);
  }
  text_add(&json, "],\n  \"volumes\": [");
  for (int i = 0; i < samples->count; i++) {
    text_add(&json, "%s\n", i ? "," : "");
    add_sample(&json, cache, &samples->at[i]);
  }
  text_add(&json, "\n  ]\n}\n");
  Writing writing;
  bool good = writing_open(&writing, arena_printf(arena, "%s/manifest.json", cache), error);
  if (good) {
    fwrite(json.at, 1, json.size, writing.stream);
    good = writing_commit(&writing, error);
  }
  arena_free(arena);
  text_free(&json);
  return good;
}

/* ---- manifest: reading ---- */

typedef struct ManifestReader {
  Arena *arena;
  const char *cache, *path;
  Error *error;
} ManifestReader;

static bool broken(const ManifestReader *r, const char *what) {
  return error_set(r->error,
                   "%s: error: %.700s; not a manifest of this program, prepare the cache "
                   "again",
                   r->path, what);
}

static bool get_text(const Json *object, const char *key, const char **text) {
  const Json *value = json_get(object, key);
  *text = value && value->kind == JSON_STRING ? value->string : NULL;
  return *text != NULL;
}

static bool read_options(const ManifestReader *r, const Json *json, PrepareOptions *options) {
  Error inner;
  const char *text;
  if (!get_text(json, "options", &text))
    return broken(r, "its options are missing");
  return prepare_options_parse(text, options, &inner) || broken(r, inner.text);
}

static bool read_sample(const ManifestReader *r, const Json *json, DatasetSample *sample) {
  const char *file;
  const Json *labels = json_get(json, "labels"), *bytes = json_get(json, "source_bytes");
  const Json *time = json_get(json, "source_time");
  *sample = (DatasetSample){0};
  if (!get_text(json, "volume", &sample->volume) || !get_text(json, "patient", &sample->patient) ||
      !get_text(json, "split", &sample->split) || !get_text(json, "report", &sample->report) ||
      !get_text(json, "file", &file) || !labels || !bytes || !bytes->is_integer || !time ||
      !time->is_integer)
    return broken(r, "a volume's entry is incomplete");
  sample->item.file = arena_printf(r->arena, "%s/%s", r->cache, file);
  sample->item.source_bytes = bytes->integer;
  sample->item.source_time = time->integer;
  sample->has_labels = labels->kind == JSON_LIST;
  if (sample->has_labels && labels->count != CTRATE_LABELS)
    return broken(r, "a volume has not 18 labels");
  for (int i = 0; sample->has_labels && i < CTRATE_LABELS; i++)
    sample->labels[i] = labels->items[i].number == 1;
  return true;
}

static bool read_manifest(Arena *arena, const char *cache, PrepareOptions *options,
                          Samples *samples, Error *error) {
  ManifestReader r = {arena, cache, arena_printf(arena, "%s/manifest.json", cache), error};
  char *text;
  size_t size;
  Json json;
  Error inner;
  if (!file_read(arena, r.path, (size_t)1 << 31, &text, &size, error))
    return false;
  if (!json_parse(arena, text, size, &json, &inner))
    return error_set(error, "%s: error: %.900s", r.path, inner.text);
  const Json *format = json_get(&json, "format"), *version = json_get(&json, "version");
  const Json *volumes = json_get(&json, "volumes");
  if (!format || format->kind != JSON_STRING || strcmp(format->string, "tricot-cache") != 0 ||
      !version || version->integer != 1 || !volumes || volumes->kind != JSON_LIST)
    return broken(&r, "its format or version is not the expected one");
  if (!read_options(&r, &json, options))
    return false;
  for (int i = 0; i < volumes->count; i++) {
    DatasetSample sample;
    if (!read_sample(&r, &volumes->items[i], &sample))
      return false;
    vec_push(arena, samples, sample);
  }
  return true;
}

/* ---- opening ---- */

static bool refuse_split(const char *cache, const char *split, const Samples *samples,
                         Error *error) {
  Text present = {0};
  for (int i = 0; i < samples->count; i++)
    if (i == 0 || strcmp(samples->at[i].split, samples->at[i - 1].split) != 0)
      text_add(&present, "%s%s", i ? ", " : "", samples->at[i].split);
  error_set(error, "%s: error: the cache has no split \"%s\" (it has: %.500s)", cache,
            split ? split : "", present.at ? present.at : "nothing");
  text_free(&present);
  return false;
}

bool dataset_open(const char *cache, const char *split, Dataset *dataset, Error *error) {
  Samples samples = {0};
  *dataset = (Dataset){.arena = arena_new()};
  bool good = read_manifest(dataset->arena, cache, &dataset->options, &samples, error);
  dataset->samples = samples.at;
  for (int i = 0; good && i < samples.count; i++)
    if (!split || strcmp(samples.at[i].split, split) == 0) {
      DatasetSample kept = samples.at[i];
      dataset->samples[dataset->count++] = kept;
    }
  if (good && !dataset->count) {
    samples = (Samples){0}; /* compacted above: read again for the names */
    good = read_manifest(dataset->arena, cache, &dataset->options, &samples, error) &&
           refuse_split(cache, split, &samples, error);
  }
  if (!good)
    dataset_close(dataset);
  return good;
}

void dataset_close(Dataset *dataset) {
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
    sample.item.file = arena_printf(arena, "%s/%.*s.safetensors", folder, stem, from->volume);
    vec_push(arena, samples, sample);
  }
  return true;
}

bool dataset_open_tree(const char *root, const char *split, const char *cache,
                       const PrepareOptions *options, bool skip_incomplete, Dataset *dataset,
                       Error *error) {
  CtrateSplit tree;
  Samples samples = {0};
  *dataset = (Dataset){.options = *options};
  if (!prepare_options_check(options, error) ||
      !ctrate_open(root, split, skip_incomplete, &tree, error))
    return false;
  dataset->arena = arena_new();
  bool good = add_split(dataset->arena, &tree, cache, &samples, error);
  ctrate_close(&tree);
  dataset->samples = samples.at;
  dataset->count = samples.count;
  if (!good)
    dataset_close(dataset);
  return good;
}

bool dataset_volume(const Dataset *dataset, int index, float *out, Error *error) {
  CHECK(index >= 0 && index < dataset->count);
  CacheItem item = dataset->samples[index].item;
  bool kept;
  if (item.source && !cache_make(&item, &dataset->options, &kept, error))
    return false;
  return cache_load(item.file, dataset->options.size, out, error);
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
static bool keep_others(const DatasetPreparation *p, Arena *arena, const char *const *splits,
                        int n_splits, Samples *samples, Error *error) {
  char *path = arena_printf(arena, "%s/manifest.json", p->cache);
  PrepareOptions options;
  Samples old = {0};
  if (access(path, F_OK) != 0)
    return true;
  if (!read_manifest(arena, p->cache, &options, &old, error))
    return false;
  char before[PREPARE_TEXT_ROOM], after[PREPARE_TEXT_ROOM];
  prepare_options_text(&options, before);
  prepare_options_text(&p->options, after);
  for (int i = 0; i < old.count; i++) {
    bool touched = false;
    for (int s = 0; s < n_splits; s++)
      touched |= strcmp(old.at[i].split, splits[s]) == 0;
    if (touched)
      continue;
    if (strcmp(before, after) != 0)
      return error_set(error,
                       "%s: error: its split \"%s\" was prepared with other settings (%s); "
                       "prepare all splits again or use another folder",
                       path, old.at[i].split, before);
    vec_push(arena, samples, old.at[i]);
  }
  return true;
}

/* Prepares `samples`, and drops those that failed (all of them are named in p->missing). */
static bool fill_cache(DatasetPreparation *p, Samples *samples, Error *error) {
  int total = samples->count, kept = 0;
  CacheItem *items = mem_alloc(sizeof *items * (size_t)total);
  CacheResult *results = mem_alloc(sizeof *results * (size_t)total);
  for (int i = 0; i < total; i++)
    items[i] = samples->at[i].item;
  cache_make_all(items, total, &p->options, p->jobs, p->progress, p->user, results);
  for (int i = 0; i < total; i++) {
    if (!results[i].good) {
      text_add(&p->missing, "%s\n", results[i].error.text);
      p->failed++;
      continue;
    }
    p->kept += results[i].kept;
    p->made += !results[i].kept;
    DatasetSample sample = samples->at[i];
    sample.item = items[i];
    samples->at[kept++] = sample;
  }
  samples->count = kept;
  free(items);
  free(results);
  if (p->failed && (!p->skip_incomplete || !kept))
    return error_set(error, "%s: error: %d of %d volumes could not be prepared", p->root, p->failed,
                     total);
  return true;
}

bool dataset_prepare(DatasetPreparation *p, Error *error) {
  Arena *arena = arena_new();
  Samples samples = {0};
  const char *const *splits = p->splits;
  const char **found;
  int n_splits = p->n_splits;
  bool good = prepare_options_check(&p->options, error);
  if (good && !splits) {
    good = ctrate_splits(arena, p->root, &found, &n_splits, error);
    splits = (const char *const *)found;
  }
  good =
      good && make_folders(p->cache, error) && collect(p, arena, splits, n_splits, &samples, error);
  Samples others = {0};
  good = good && keep_others(p, arena, splits, n_splits, &others, error) &&
         fill_cache(p, &samples, error);
  for (int i = 0; good && i < others.count; i++)
    vec_push(arena, &samples, others.at[i]);
  good = good && write_manifest(p->cache, &p->options, &samples, error);
  arena_free(arena);
  return good;
}
