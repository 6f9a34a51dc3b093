/* Writing, reading and thinning out checkpoints. See checkpoint.h. */
#include "runtime/job/checkpoint.h"
#include <dirent.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char format_name[] = "tricot-checkpoint-2",
                  name_format[] = "checkpoint-%08lld.safetensors";

const char *const schedule_names[2] = {"constant", "cosine"};

/* How each fact is written into the metadata. */
static const struct {
  const char *key;
  enum { WHOLE, REAL, HASH } kind;
  size_t at;
} fields[] = {{"step", WHOLE, offsetof(CheckpointFacts, step)},
              {"steps", WHOLE, offsetof(CheckpointFacts, steps)},
              {"batch", WHOLE, offsetof(CheckpointFacts, batch)},
              {"accumulate", WHOLE, offsetof(CheckpointFacts, accumulate)},
              {"warmup", WHOLE, offsetof(CheckpointFacts, warmup)},
              {"seed", WHOLE, offsetof(CheckpointFacts, seed)},
              {"schedule", WHOLE, offsetof(CheckpointFacts, schedule)},
              {"negatives", WHOLE, offsetof(CheckpointFacts, negatives)},
              {"lr", REAL, offsetof(CheckpointFacts, lr)},
              {"lr_end", REAL, offsetof(CheckpointFacts, lr_end)},
              {"clip", REAL, offsetof(CheckpointFacts, clip)},
              {"data", HASH, offsetof(CheckpointFacts, data)}};
enum { FIELDS = sizeof fields / sizeof *fields };

double checkpoint_rate(const CheckpointFacts *f, int64_t step) {
  if (step < f->warmup)
    return f->lr * (double)(step + 1) / (double)f->warmup;
  if (f->schedule == SCHEDULE_CONSTANT || f->steps <= f->warmup)
    return f->lr;
  double part = (double)(step - f->warmup) / (double)(f->steps - f->warmup);
  return f->lr_end + (f->lr - f->lr_end) * 0.5 * (1 + cos(acos(-1) * part));
}

static bool write_tensors(const char *path, Job *job, bool state, const char *const *keys,
                          const char *const *values, int n, Error *error) {
  int count = program_tensors(job->program, state, NULL, 0);
  Tensor *tensors = mem_alloc(sizeof *tensors * (size_t)(count + 1));
  program_tensors(job->program, state, tensors, count);
  bool good = tensor_file_write(path, tensors, count, keys, values, n, error);
  free(tensors);
  return good;
}

enum { MAX_PAIRS = FIELDS + 10 };

typedef struct Pairs { /* of metadata */
  Arena *arena;
  const char *keys[MAX_PAIRS], *values[MAX_PAIRS];
  int count;
} Pairs;

static void add_pair(Pairs *pairs, const char *key, const char *value) {
  if (!value || !*value)
    return;
  CHECK(pairs->count < MAX_PAIRS);
  pairs->keys[pairs->count] = key;
  pairs->values[pairs->count++] = value;
}

static void add_notes(Pairs *pairs, const Job *job, const WeightNotes *notes) {
  add_pair(pairs, "model", job->plan->model);
  add_pair(pairs, "variant", job->plan->variant);
  add_pair(pairs, "orientation", notes->orientation);
  add_pair(pairs, "prepare", notes->prepare);
  if (notes->metric) {
    add_pair(pairs, "metric", notes->metric);
    add_pair(pairs, "value", arena_printf(pairs->arena, "%.17g", notes->value));
  }
}

static bool write_pairs(const char *path, Job *job, bool state, Pairs *pairs, Error *error) {
  bool good = write_tensors(path, job, state, pairs->keys, pairs->values, pairs->count, error);
  arena_free(pairs->arena);
  return good;
}

bool checkpoint_write(const char *path, Job *job, const CheckpointFacts *f,
                      const WeightNotes *notes, Error *error) {
  Pairs pairs = {.arena = arena_new()};
  add_pair(&pairs, "format", format_name);
  add_notes(&pairs, job, notes);
  for (int i = 0; i < FIELDS; i++) {
    const void *at = (const char *)f + fields[i].at;
    add_pair(&pairs, fields[i].key,
             fields[i].kind == WHOLE
                 ? arena_printf(pairs.arena, "%lld", (long long)*(const int64_t *)at)
             : fields[i].kind == REAL
                 ? arena_printf(pairs.arena, "%.17g", *(const double *)at)
                 : arena_printf(pairs.arena, "%016llx", (unsigned long long)*(const uint64_t *)at));
  }
  return write_pairs(path, job, true, &pairs, error);
}

bool weights_write(const char *path, Job *job, int64_t step, const WeightNotes *notes,
                   Error *error) {
  Pairs pairs = {.arena = arena_new()};
  add_notes(&pairs, job, notes);
  add_pair(&pairs, "step", arena_printf(pairs.arena, "%lld", (long long)step));
  return write_pairs(path, job, false, &pairs, error);
}

static bool read_field(const TensorFile *file, int i, CheckpointFacts *f) {
  const char *text = tensor_file_metadata(file, fields[i].key);
  void *at = (char *)f + fields[i].at;
  char *end;
  if (!text || !*text)
    return false;
  if (fields[i].kind == WHOLE)
    *(int64_t *)at = strtoll(text, &end, 10);
  else if (fields[i].kind == REAL)
    *(double *)at = strtod(text, &end);
  else
    *(uint64_t *)at = strtoull(text, &end, 16);
  return *end == 0 && (fields[i].kind != WHOLE || *(int64_t *)at >= 0);
}

bool checkpoint_read_facts(const char *path, CheckpointFacts *f, Error *error) {
  TensorFile file;
  *f = (CheckpointFacts){0};
  if (!tensor_file_open(&file, path, error))
    return false;
  const char *format = tensor_file_metadata(&file, "format");
  bool good = format && strcmp(format, format_name) == 0;
  for (int i = 0; good && i < FIELDS; i++)
    good = read_field(&file, i, f);
  good = good && f->schedule <= SCHEDULE_COSINE && f->negatives <= 1 && f->batch > 0 &&
         f->accumulate > 0;
  if (!good)
    error_set(error, "%s: error: is not a checkpoint of a training (weights alone?)", path);
  tensor_file_close(&file);
  return good;
}

bool checkpoint_load(const char *path, Job *job, Error *error) {
  TensorFile file;
  Error inner;
  if (!tensor_file_open(&file, path, error))
    return false;
  bool good = program_load(job->program, &file, true, &inner);
  if (!good)
    error_set(error, "%s: error: model %.60s: %.800s", path, job->plan->model, inner.text);
  tensor_file_close(&file);
  return good;
}

char *checkpoint_path(Arena *arena, const char *folder, int64_t step) {
  char name[64];
  snprintf(name, sizeof name, name_format, (long long)step);
  return arena_printf(arena, "%s/%s", folder, name);
}

static int newest_first(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return x > y ? -1 : x < y;
}

typedef VEC(int64_t) Steps;

/* The steps of the checkpoints in a folder, newest first. */
static void list_checkpoints(Arena *arena, const char *folder, Steps *found) {
  DIR *directory = opendir(folder);
  if (!directory)
    return;
  for (struct dirent *entry; (entry = readdir(directory));) {
    long long number;
    char same[64];
    if (sscanf(entry->d_name, name_format, &number) != 1 || number < 0)
      continue;
    snprintf(same, sizeof same, name_format, number);
    if (strcmp(same, entry->d_name) == 0)
      vec_push(arena, found, (int64_t)number);
  }
  closedir(directory);
  if (found->count)
    qsort(found->at, (size_t)found->count, sizeof *found->at, newest_first);
}

char *checkpoint_newest(Arena *arena, const char *folder) {
  Steps found = {0};
  list_checkpoints(arena, folder, &found);
  return found.count ? checkpoint_path(arena, folder, found.at[0]) : NULL;
}

void checkpoint_prune(const char *folder, int64_t step, int64_t keep) {
  Arena *arena = arena_new();
  Steps found = {0};
  if (keep > 0)
    list_checkpoints(arena, folder, &found);
  int64_t kept = 0;
  for (int i = 0; i < found.count; i++)
    if (found.at[i] <= step && ++kept > keep)
      unlink(checkpoint_path(arena, folder, found.at[i]));
  arena_free(arena);
}
