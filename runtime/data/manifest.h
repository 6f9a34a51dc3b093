/* The manifest of a cache, manifest.json: its volumes with their reports and labels, and how they
 * were prepared. docs/data.md describes it.
 *
 * While a cache is filled, its manifest says so: `complete` is false, and the volumes are those
 * that are going to be there. So a cache whose filling was interrupted is never taken for whole.
 */
#ifndef TRICOT_RUNTIME_DATA_MANIFEST_H
#define TRICOT_RUNTIME_DATA_MANIFEST_H
#include "runtime/data/dataset.h"

typedef struct Manifest {
  bool complete;
  VolumeStore store;
  PrepareOptions options; /* but for the gate */
  const char *settings;   /* prepare_options_text of them */
  int count;
  DatasetSample *samples; /* sources unknown */
} Manifest;

bool manifest_exists(const char *cache);
/* Files of samples must lie in `cache`. The same content gives the same bytes. */
bool manifest_write(const char *cache, const Manifest *manifest, Error *error);
/* Everything in the arena. */
bool manifest_read(Arena *arena, const char *cache, Manifest *manifest, Error *error);
#endif
