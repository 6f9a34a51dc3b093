/* Writing and reading manifest.json. See manifest.h. */
#include "runtime/data/manifest.h"
#include "runtime/base/file.h"
#include "runtime/base/json.h"
#include "runtime/data/findings.h"
#include "runtime/data/prepare_options.h"
#include <string.h>
#include <unistd.h>

enum { VERSION = 2 };
static const size_t MAX_BYTES = (size_t)1 << 31;

static char *path_in(Arena *arena, const char *cache) {
  return arena_printf(arena, "%s/manifest.json", cache);
}

bool manifest_exists(const char *cache) {
  Arena *arena = arena_new();
  bool exists = access(path_in(arena, cache), F_OK) == 0;
  arena_free(arena);
  return exists;
}

/* ---- writing ---- */

static void add_text(Text *json, const char *key, const char *value) {
  text_add(json, "\"%s\": ", key);
  json_add_string(json, value);
  text_add(json, ", ");
}

static void add_head(Text *json, const Manifest *m) {
  text_add(json, "{\n  \"format\": \"tricot-cache\",\n  \"version\": %d,\n  \"complete\": %s,\n",
           VERSION, m->complete ? "true" : "false");
  text_add(json, "  \"store\": \"%s\",\n  \"preprocessing\": ", volume_store_name(m->store));
  json_add_string(json, m->settings);
  text_add(json, ",\n  \"labels\": [");
  for (int i = 0; i < CTRATE_LABELS; i++) {
    text_add(json, "%s", i ? ", " : "");
    json_add_string(json, ctrate_label_names[i]);
  }
  text_add(json, "],\n");
}

/* For people and other programs: this one counts again. */
static void add_splits(Text *json, Arena *arena, const Manifest *m) {
  int count;
  const SplitFindings *splits = findings_count(arena, m->samples, m->count, &count);
  text_add(json, "  \"splits\": {");
  for (int s = 0; s < count; s++) {
    text_add(json, "%s\n    ", s ? "," : "");
    json_add_string(json, splits[s].split);
    text_add(json, ": {\"volumes\": %d, \"labelled\": %d, \"present\": [", splits[s].volumes,
             splits[s].labelled);
    for (int f = 0; f < CTRATE_LABELS; f++)
      text_add(json, "%s%d", f ? ", " : "", splits[s].present[f]);
    text_add(json, "], \"ratio\": [");
    for (int f = 0; f < CTRATE_LABELS; f++)
      text_add(json, "%s%.6f", f ? ", " : "", findings_ratio(&splits[s], f));
    text_add(json, "]}");
  }
  text_add(json, "\n  },\n");
}

static void add_sample(Text *json, const char *cache, const DatasetSample *sample) {
  text_add(json, "    {");
  add_text(json, "volume", sample->volume);
  add_text(json, "patient", sample->patient);
  add_text(json, "split", sample->split);
  add_text(json, "file", sample->item.file + strlen(cache) + 1);
  add_text(json, "report", sample->report);
  add_text(json, "orientation", sample->item.axes);
  text_add(json, "\"labels\": ");
  for (int i = 0; sample->has_labels && i < CTRATE_LABELS; i++)
    text_add(json, "%s%d", i ? ", " : "[", sample->labels[i]);
  text_add(json, "%s, \"source_bytes\": %lld, \"source_time\": %lld}",
           sample->has_labels ? "]" : "null", (long long)sample->item.source_bytes,
           (long long)sample->item.source_time);
}

bool manifest_write(const char *cache, const Manifest *m, Error *error) {
  Text json = {0};
  Arena *arena = arena_new();
  add_head(&json, m);
  add_splits(&json, arena, m);
  text_add(&json, "  \"volumes\": [");
  for (int i = 0; i < m->count; i++) {
    text_add(&json, "%s\n", i ? "," : "");
    add_sample(&json, cache, &m->samples[i]);
  }
  text_add(&json, "\n  ]\n}\n");
  Writing writing;
  bool good = writing_open(&writing, path_in(arena, cache), error);
  if (good) {
    fwrite(json.at, 1, json.size, writing.stream);
    good = writing_commit(&writing, error);
  }
  arena_free(arena);
  text_free(&json);
  return good;
}

/* ---- reading ---- */

typedef struct Reader {
  Arena *arena;
  const char *cache, *path;
  Error *error;
} Reader;

static bool broken(const Reader *r, const char *what) {
  return error_set(r->error,
                   "%s: error: %.700s; not a manifest of this program: remove it and prepare the "
                   "cache again",
                   r->path, what);
}

static bool get_text(const Json *object, const char *key, const char **text) {
  const Json *value = json_get(object, key);
  *text = value && value->kind == JSON_STRING ? value->string : NULL;
  return *text != NULL;
}

static bool get_flag(const Json *object, const char *key, bool *flag) {
  const Json *value = json_get(object, key);
  *flag = value && value->kind == JSON_BOOL && value->boolean;
  return value && value->kind == JSON_BOOL;
}

static bool read_head(const Reader *r, const Json *json, Manifest *m) {
  const char *format, *store;
  const Json *version = json_get(json, "version");
  Error inner;
  if (!get_text(json, "format", &format) || strcmp(format, "tricot-cache") != 0 || !version ||
      !version->is_integer)
    return broken(r, "its format is not the expected one");
  if (version->integer != VERSION)
    return error_set(r->error,
                     "%s: error: the cache is of version %lld, this program reads version %d: "
                     "remove %s and prepare it again",
                     r->path, (long long)version->integer, VERSION, r->cache);
  if (!get_flag(json, "complete", &m->complete) || !get_text(json, "store", &store) ||
      !volume_store_from_name(store, &m->store) ||
      !get_text(json, "preprocessing", &m->settings))
    return broken(r, "its settings are incomplete");
  return prepare_options_parse(m->settings, &m->options, &inner) || broken(r, inner.text);
}

static bool read_labels(const Reader *r, const Json *labels, DatasetSample *sample) {
  sample->has_labels = labels->kind == JSON_LIST;
  if (sample->has_labels && labels->count != CTRATE_LABELS)
    return broken(r, "a volume has not 18 labels");
  for (int i = 0; sample->has_labels && i < CTRATE_LABELS; i++)
    sample->labels[i] = labels->items[i].number == 1;
  return true;
}

static bool read_sample(const Reader *r, const Json *json, DatasetSample *sample) {
  const char *file, *axes;
  const Json *labels = json_get(json, "labels"), *bytes = json_get(json, "source_bytes");
  const Json *time = json_get(json, "source_time");
  *sample = (DatasetSample){0};
  if (!get_text(json, "volume", &sample->volume) || !get_text(json, "patient", &sample->patient) ||
      !get_text(json, "split", &sample->split) || !get_text(json, "report", &sample->report) ||
      !get_text(json, "file", &file) || !get_text(json, "orientation", &axes) || !labels ||
      !bytes || !bytes->is_integer || !time || !time->is_integer)
    return broken(r, "a volume's entry is incomplete");
  sample->item.file = arena_printf(r->arena, "%s/%s", r->cache, file);
  sample->item.source_bytes = bytes->integer;
  sample->item.source_time = time->integer;
  snprintf(sample->item.axes, sizeof sample->item.axes, "%.3s", axes);
  return read_labels(r, labels, sample);
}

bool manifest_read(Arena *arena, const char *cache, Manifest *m, Error *error) {
  Reader r = {arena, cache, path_in(arena, cache), error};
  char *text;
  size_t size;
  Json json;
  Error inner;
  *m = (Manifest){0};
  if (!manifest_exists(cache))
    return error_set(error, "%s: error: is not there; `tricot prepare --dataset` makes a cache",
                     r.path);
  if (!file_read(arena, r.path, MAX_BYTES, &text, &size, error))
    return false;
  if (!json_parse(arena, text, size, &json, &inner))
    return error_set(error, "%s: error: %.900s", r.path, inner.text);
  const Json *volumes = json_get(&json, "volumes");
  if (!read_head(&r, &json, m))
    return false;
  if (!volumes || volumes->kind != JSON_LIST)
    return broken(&r, "it lists no volumes");
  m->count = volumes->count;
  m->samples = ARENA_ARRAY(arena, DatasetSample, m->count);
  for (int i = 0; i < m->count; i++)
    if (!read_sample(&r, &volumes->items[i], &m->samples[i]))
      return false;
  return true;
}
