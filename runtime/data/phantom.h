/* Made-up chest CTs: a body of ellipsoids with findings that can be seen, for demonstrations and
 * tests where no real data is at hand. They teach nothing about patients. */
#ifndef TRICOT_RUNTIME_DATA_PHANTOM_H
#define TRICOT_RUNTIME_DATA_PHANTOM_H
#include "runtime/base/fault.h"
#include "runtime/base/text.h"
#include <stdint.h>

enum { PHANTOM_FINDINGS = 7 };

typedef struct PhantomFinding {
  const char *label;            /* its name among the labels of runtime/data/ctrate.h */
  const char *present, *absent; /* sentences of a report */
} PhantomFinding;
extern const PhantomFinding phantom_findings[PHANTOM_FINDINGS];

typedef struct Phantom {
  uint64_t seed;     /* of everything below and of the noise */
  int64_t size[3];   /* D, H, W in voxels */
  double spacing[3]; /* mm, by D, H, W: the field of view is always the same */
  bool has[PHANTOM_FINDINGS];
  double scale;                      /* of the whole body, about 1 */
  double place[PHANTOM_FINDINGS][4]; /* random numbers in [0,1): where a finding sits, how large */
} Phantom;

/* Patient number `index` of the seed: which findings, where, how large. */
Phantom phantom_make(uint64_t seed, uint64_t index, const int64_t size[3]);
/* Hounsfield units of every voxel, W fastest, with noise. */
void phantom_draw(const Phantom *phantom, int16_t *voxels);
/* Draws and writes a gzipped NIfTI-1 file (int16, scl_inter -1024; the same bytes every time). */
bool phantom_write(const Phantom *phantom, const char *path, Error *error);
/* Appends the report: findings, then the impression. */
void phantom_report(const Phantom *phantom, Text *findings, Text *impression);
#endif
