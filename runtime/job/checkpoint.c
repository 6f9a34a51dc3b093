/* Writing, reading and thinning out checkpoints. See checkpoint.h. */
#include "runtime/job/checkpoint.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char format_name[] = "tricot-checkpoint-1",
                  name_format[] = "checkpoint-%08lld.safetensors";

static bool write_tensors(const char *path, Job *job, bool state, const char *const *keys,
                          const char *const *values, int n, Error *error) {
  int count = program_tensors(job->program, state, NULL, 0);
  Tensor *tensors = mem_alloc(sizeof *tensors * (size_t)(count + 1));
  program_tensors(job->program, state, tensors, count);
  bool good = tensor_file_write(path, tensors, count, keys, values, n, error);
  free(tensors);
  return good;
}

bool checkpoint_write(const char *path, Job *job, const CheckpointFacts *f, Error *error) {
  Arena *arena = arena_new();
  const char *keys[] = {"format", "model",  "variant", "step", "steps",
                        "batch",  "warmup", "seed",    "lr",   "data"};
  const char *values[] = {format_name,
                          job->plan->model,
                          job->plan->variant,
                          arena_printf(arena, "%lld", (long long)f->step),
                          arena_printf(arena, "%lld", (long long)f->steps),
                          arena_printf(arena, "%lld", (long long)f->batch),
                          arena_printf(arena, "%lld", (long long)f->warmup),
                          arena_printf(arena, "%lld", (long long)f->seed),
                          arena_printf(arena, "%.17g", f->lr),
                          arena_printf(arena, "%016llx", (unsigned long long)f->data)};
  bool good = write_tensors(path, job, true, keys, values, 10, error);
  arena_free(arena);
  return good;
}

bool weights_write(const char *path, Job *job, Error *error) {
  const char *keys[] = {"model", "variant"};
  const char *values[] = {job->plan->model, job->plan->variant};
  return write_tensors(path, job, false, keys, values, 2, error);
}

static const char *metadata(const TensorFile *file, const char *key) {
  for (int i = 0; i < file->n_metadata; i++)
    if (strcmp(file->metadata_keys[i], key) == 0)
      return file->metadata_values[i];
  return NULL;
}

static bool whole(const TensorFile *file, const char *key, int64_t *value) {
  const char *text = metadata(file, key);
  char *end;
  if (!text || !*text)
    return false;
  *value = strtoll(text, &end, 10);
  return *end == 0 && *value >= 0;
}

bool checkpoint_read_facts(const char *path, CheckpointFacts *f, Error *error) {
  TensorFile file;
  if (!tensor_file_open(&file, path, error))
    return false;
  const char *format = metadata(&file, "format"), *data = metadata(&file, "data");
  const char *lr = metadata(&file, "lr");
  bool good = format && strcmp(format, format_name) == 0 && data && lr &&
              whole(&file, "step", &f->step) && whole(&file, "steps", &f->steps) &&
              whole(&file, "batch", &f->batch) && whole(&file, "warmup", &f->warmup) &&
              whole(&file, "seed", &f->seed);
  if (good) {
    f->lr = strtod(lr, NULL);
    f->data = strtoull(data, NULL, 16);
  } else {
    error_set(error, "%s: error: is not a checkpoint of a training (weights alone?)", path);
  }
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

void checkpoint_prune(const char *folder, int64_t step, int64_t keep) {
  DIR *directory = keep > 0 ? opendir(folder) : NULL;
  if (!directory)
    return;
  Arena *arena = arena_new();
  VEC(int64_t) found = {0};
  for (struct dirent *entry; (entry = readdir(directory));) {
    long long number;
    char same[64];
    if (sscanf(entry->d_name, name_format, &number) != 1 || number < 0 || number > step)
      continue;
    snprintf(same, sizeof same, name_format, number);
    if (strcmp(same, entry->d_name) == 0)
      vec_push(arena, &found, (int64_t)number);
  }
  closedir(directory);
  if (found.count)
    qsort(found.at, (size_t)found.count, sizeof *found.at, newest_first);
  for (int i = (int)keep; i < found.count; i++)
    unlink(checkpoint_path(arena, folder, found.at[i]));
  arena_free(arena);
}
