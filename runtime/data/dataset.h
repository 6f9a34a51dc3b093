/* Volumes with their reports and labels, as a trainer or an evaluation reads them.
 *
 * A data set is opened from a cache folder (made by `tricot prepare --dataset`, described by its
 * manifest.json), or straight from a CT-RATE tree, in which case every volume is prepared into the
 * cache folder the first time it is asked for.
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
  PrepareOptions options; /* options.size: D, H, W of every volume */
} Dataset;

/* All samples of a split of a cache; split NULL: of every split. */
bool dataset_open(const char *cache, const char *split, Dataset *dataset, Error *error);
/* The same from a CT-RATE tree, prepared on the fly into `cache`. */
bool dataset_open_tree(const char *root, const char *split, const char *cache,
                       const PrepareOptions *options, bool skip_incomplete, Dataset *dataset,
                       Error *error);
void dataset_close(Dataset *dataset);

/* Writes the volume of sample `index`, options.size[0]*[1]*[2] floats. Threads may ask for
 * different samples at the same time. */
bool dataset_volume(const Dataset *dataset, int index, float *out, Error *error);

/* Prepares whole splits of a CT-RATE tree into a cache and writes its manifest. */
typedef struct DatasetPreparation {
  const char *root, *cache;
  const char *const *splits; /* NULL: all there are */
  int n_splits;
  PrepareOptions options;
  int jobs;
  bool skip_incomplete; /* leave out volumes that lack rows or cannot be read */
  CacheProgress *progress;
  void *user;
  /* results */
  int made, kept, failed;
  Text missing; /* what was missing or failed, a line each; free with text_free */
} DatasetPreparation;

bool dataset_prepare(DatasetPreparation *preparation, Error *error);
#endif
