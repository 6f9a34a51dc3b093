/* Data sets, vocabularies and ports of a job. See source.h. */
#include "runtime/job/source.h"
#include "runtime/data/prepare_options.h"
#include "runtime/job/command.h"
#include "runtime/job/ports.h"
#include <string.h>

bool volume_port(Job *job, int entry, VolumePort *port, Error *error) {
  const PlanPort *input;
  const char *name = job->plan->entries[entry].name;
  void *data = program_part(job->program, entry, "volume", &input);
  if (!data)
    return error_set(error, "entry point %s of model %s takes no \"volume\"", name,
                     job->plan->model);
  Type type = input->type;
  if (type.dtype != DT_f32 || type.rank != 5 || type.dim[1] != 1)
    return error_set(error, "entry point %s takes a volume of %s, this job gives f32[B,1,D,H,W]",
                     name, type_text(&type));
  *port = (VolumePort){.data = data,
                       .gather = input->gather,
                       .batch = type.dim[0],
                       .size = {type.dim[2], type.dim[3], type.dim[4]},
                       .voxels = port_bytes(input) / (int64_t)sizeof(float) / type.dim[0]};
  return true;
}

bool volume_ports_agree(const VolumePort *a, const VolumePort *b) {
  return a->batch == b->batch && memcmp(a->size, b->size, sizeof a->size) == 0 &&
         (a->gather && b->gather ? gather_equal(a->gather, b->gather) : a->gather == b->gather);
}

static void size_text(const int64_t size[3], char *out, size_t room) {
  snprintf(out, room, "%lldx%lldx%lld", (long long)size[0], (long long)size[1], (long long)size[2]);
}

bool job_prepare_options(const Job *job, const int64_t size[3], PrepareOptions *options,
                         Error *error) {
  const char *spacing = options_text(&job->options, "spacing");
  Error inner;
  *options = prepare_defaults();
  memcpy(options->size, size, sizeof options->size);
  if (!prepare_settings(job->plan->settings, job->plan->n_settings, options, &inner))
    return error_set(error, "model %.60s: %.900s", job->plan->model, inner.text);
  if (spacing && !prepare_set(options, "spacing", spacing, NULL))
    return error_set(error, "--spacing: \"%.80s\" is not like 1.5:0.75", spacing);
  return true;
}

/* What a cache was made with is what it holds; that the model asks for something else is told. */
static void warn_of_other_preparation(const char *cache, const char *made,
                                      const PrepareOptions *want) {
  char wanted[PREPARE_TEXT_ROOM];
  prepare_options_text(want, wanted);
  if (strcmp(made, wanted) != 0)
    fprintf(stderr, "%s: warning: prepared with \"%s\", the model says \"%s\"\n", cache, made,
            wanted);
}

bool job_dataset(const Job *job, const char *split, const int64_t size[3], Dataset *dataset,
                 Error *error) {
  const char *chosen = options_text(&job->options, "split");
  return job_dataset_split(job, chosen ? chosen : split, size, dataset, error);
}

bool job_dataset_split(const Job *job, const char *split, const int64_t size[3], Dataset *dataset,
                       Error *error) {
  const Options *o = &job->options;
  const char *root = options_text(o, "data"), *cache = options_text(o, "cache");
  *dataset = (Dataset){0};
  PrepareOptions options;
  if (!job_prepare_options(job, size, &options, error))
    return false;
  if (!(root ? dataset_open_tree(root, split, cache, &options, options_flag(o, "skip-incomplete"),
                                 dataset, error)
             : dataset_open(cache, split, dataset, error)))
    return false;
  char have[80], want[80];
  size_text(dataset->size, have, sizeof have);
  size_text(size, want, sizeof want);
  bool good = true;
  if (strcmp(have, want) != 0)
    good = error_set(error, "%s: error: holds volumes of %s, this program takes %s", cache, have,
                     want);
  else if (options_text(o, "spacing") &&
           memcmp(dataset->spacing, options.spacing, sizeof options.spacing) != 0)
    good = error_set(error, "%s: error: holds voxels of %g:%g:%g mm, not %s", cache,
                     dataset->spacing[0], dataset->spacing[1],
                     dataset->spacing[2],
                     options_text(o, "spacing"));
  else if (dataset->count == 0)
    good = error_set(error, "%s: error: no volumes in split \"%s\"", cache, split);
  if (!good) {
    dataset_close(dataset);
    return false;
  }
  warn_of_other_preparation(cache, dataset->settings, &options);
  int64_t limit = options_count(o, "limit", dataset->count);
  if (limit > 0 && limit < dataset->count)
    dataset->count = (int)limit;
  return true;
}

int job_loaders(const Job *job) {
  int64_t count = options_count(&job->options, "loaders", 0);
  return count < MAX_LOADERS ? (int)count : MAX_LOADERS;
}

WordPiece *job_open_vocabulary(const Job *job, Error *error) {
  const char *path = options_text(&job->options, "vocab");
  WordPiece *pieces = wordpiece_open(
      path, (WordPieceOptions){.lower = true, .strip_accents = STRIP_AS_LOWER}, error);
  int64_t room = job_vocabulary(job);
  if (pieces && room > 0 && wordpiece_count(pieces) > room) {
    error_set(error, "%s: error: has %d pieces, the model knows %lld", path,
              wordpiece_count(pieces), (long long)room);
    wordpiece_free(pieces);
    return NULL;
  }
  return pieces;
}
