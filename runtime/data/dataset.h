/* Volumes with their reports and labels, as a trainer or an evaluation reads them.
 *
 * A data set is opened from a cache folder (made by `tricot prepare --dataset`, described by its
 * manifest.json), or straight from a CT-RATE tree, in which case every volume is prepared into the
 * cache folder the first time it is asked for. A cache that is not finished is refused.
 */
#ifndef TRICOT_RUNTIME_DATA_DATASET_H
#define TRICOT_RUNTIME_DATA_DATASET_H
#include "runtime/base/arena.h"
#include "runtime/base/text.h"
#include "runtime/data/cache.h"
#include "runtime/data/ctrate.h"

typedef struct DatasetSample {
  const char *volume, *patient, *split, *report;
  bool has_labels;
  uint8_t labels[CTRATE_LABELS];
  CacheItem item; /* source is NULL when opened from a cache */
} DatasetSample;

typedef struct Dataset {
  Arena *arena; /* owns everything below */
  int count;
  DatasetSample *samples;
  int64_t size[3];          /* D, H, W of every volume */
  double spacing[3];        /* mm along D, H, W */
  const char *settings;     /* how the volumes were prepared: prepare_options_text */
  struct DatasetTree *tree; /* for volumes prepared on the fly, else NULL */
} Dataset;

/* All samples of a split of a cache; split NULL: of every split. All files must be there. */
bool dataset_open(const char *cache, const char *split, Dataset *dataset, Error *error);
/* The same from a CT-RATE tree, prepared on the fly into `cache`, which meanwhile no
 * dataset_prepare can fill. */
bool dataset_open_tree(const char *root, const char *split, const char *cache,
                       const PrepareOptions *options, bool skip_incomplete, Dataset *dataset,
                       Error *error);
void dataset_close(Dataset *dataset);

/* Writes the volume of sample `index`, size[0]*[1]*[2] floats. Threads may ask for any samples at
 * the same time. */
bool dataset_volume(const Dataset *dataset, int index, float *out, Error *error);
/* The same, but only what `gather` keeps of it (see cache_load_part). */
bool dataset_volume_part(const Dataset *dataset, int index, const Gather *gather, float *part,
                         Error *error);
/* Reads the file of sample `index` of a cache and compares all its checksums. */
bool dataset_check(const Dataset *dataset, int index, Error *error);
/* Where x, y, z of all volumes point to, "LPS"; "mixed" when they differ; "" when no
 * volume was prepared yet. */
const char *dataset_orientation(const Dataset *dataset);

/* Prepares whole splits of a CT-RATE tree into a cache and writes its manifest and summary. */
typedef struct DatasetPreparation {
  const char *root, *cache;
  const char *const *splits; /* NULL: all there are */
  int n_splits;
  CacheSettings settings;
  int jobs;
  bool skip_incomplete; /* leave out volumes that lack rows or cannot be read */
  CacheProgress *progress;
  void *user;
  /* results */
  int made, kept, failed, untried;
  Text missing; /* what was missing or failed, a line each; free with text_free */
  Text summary; /* counts by finding and split, a table to print; the same */
} DatasetPreparation;

bool dataset_prepare(DatasetPreparation *preparation, Error *error);
#endif
