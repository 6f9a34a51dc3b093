/* Prepared volumes on disk: one safetensors file each, made once and kept while it is current.
 *
 * A file holds the tensor `volume` f32 [1,D,H,W] and, as metadata, what it was made from: the
 * options, the facts, and the source's size and time of change. When these still agree the file is
 * kept, so an interrupted or repeated run only does what is missing. Files appear whole or not at
 * all.
 */
#ifndef TRICOT_RUNTIME_DATA_CACHE_H
#define TRICOT_RUNTIME_DATA_CACHE_H
#include "runtime/base/arena.h"
#include "runtime/data/prepare.h"

typedef struct CacheItem {
  const char *source; /* the volume */
  const char *file;   /* where the prepared one belongs; its folder must exist */
  PrepareFacts facts;
  int64_t source_bytes, source_time; /* set by cache_make; nanoseconds */
} CacheItem;

/* Prepares the item unless its file is current; *kept tells which. Safe in parallel for different
 * files. */
bool cache_make(CacheItem *item, const PrepareOptions *options, bool *kept, Error *error);
/* Reads a prepared volume of the wanted size into `out`. */
bool cache_load(const char *file, const int64_t size[3], float *out, Error *error);

typedef struct CacheResult {
  bool good, kept;
  Error error;
} CacheResult;

/* Called after each item, one call at a time. seconds_left is below 0 while nothing is known. */
typedef void CacheProgress(void *user, int done, int total, const CacheItem *item,
                           const CacheResult *result, double seconds_left);

/* Makes all items with `jobs` threads; a failed item does not stop the others. results[count]. */
void cache_make_all(CacheItem *items, int count, const PrepareOptions *options, int jobs,
                    CacheProgress *progress, void *user, CacheResult *results);
#endif
