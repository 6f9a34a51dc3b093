/* Prepared volumes on disk: one volume file each, made once and kept while it is current.
 *
 * A file tells what it was made from: the options, the facts, and the source's size and time of
 * change. When these still agree the file is kept, so an interrupted or repeated run only does what
 * is missing. Files appear whole or not at all.
 */
#ifndef TRICOT_RUNTIME_DATA_CACHE_H
#define TRICOT_RUNTIME_DATA_CACHE_H
#include "runtime/base/arena.h"
#include "runtime/data/volume_file.h"

typedef struct CacheItem {
  const char *source; /* the volume */
  const char *file;   /* where the prepared one belongs; its folder must exist */
  PrepareFacts facts;
  int64_t source_bytes, source_time; /* set by cache_make; nanoseconds */
  char axes[4]; /* set by cache_make: where x, y, z of what was prepared point to */
} CacheItem;

/* How volumes are prepared and stored. */
typedef struct CacheSettings {
  PrepareOptions options;
  VolumeStore store;
  bool verify; /* kept files are read whole and their checksums compared */
} CacheSettings;

typedef enum CacheOutcome {
  CACHE_MISSING, /* not tried: an earlier file could not be written */
  CACHE_KEPT,
  CACHE_MADE,
  CACHE_UNREADABLE, /* the source, or it changed while it was read */
  CACHE_UNWRITABLE
} CacheOutcome;

/* Is the item's file there and made from the source as it is now? Then completes the item. */
bool cache_is_current(CacheItem *item, const CacheSettings *settings);
/* Prepares the item's file. Safe in parallel for different files. With CACHE_MADE, `error` holds a
 * warning about the volume or is empty. Memory: the volume as its source stores it, 4 bytes for
 * each value of the result, two of the source's slices and 6 MiB. */
CacheOutcome cache_make(CacheItem *item, const CacheSettings *settings, Error *error);
/* Reads a prepared volume of the wanted size into `out`: a cache's file, which must have been made
 * with `settings` (prepare_options_text; NULL: any), or the tensor `volume` of the safetensors file
 * that `tricot prepare --volume` writes. The content tells which. */
bool cache_load(const char *file, const int64_t size[3], const char *settings, float *out,
                Error *error);
/* The same, but only the part of it that `gather` keeps of one sample of [N,1,D,H,W]; NULL:
 * all of it. */
bool cache_load_part(const char *file, const int64_t size[3], const char *settings,
                     const Gather *gather, float *part, Error *error);

typedef struct CacheResult {
  CacheOutcome outcome;
  Error error; /* why not; a warning or nothing when the file was made */
} CacheResult;

/* Called when it is known which files are kept (item NULL, done: their number), then after each
 * made item; one call at a time. */
typedef void CacheProgress(void *user, int done, int total, const CacheItem *item,
                           const CacheResult *result);

/* Makes all items with `jobs` threads. An unreadable source does not stop the others; a file that
 * cannot be written does, since a full disk would spoil them all. results[count]. */
void cache_make_all(CacheItem *items, int count, const CacheSettings *settings, int jobs,
                    CacheProgress *progress, void *user, CacheResult *results);
#endif
