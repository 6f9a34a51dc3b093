/* Made-up chest CTs: a thorax of simple shapes in Hounsfield units with findings drawn in, and the
 * report, for demonstrations and tests where no real data is at hand. They teach nothing about
 * patients.
 *
 * A patient's anatomy and which findings there are follow from (seed, patient); a later scan keeps
 * the anatomy and changes some findings; a second reconstruction of a scan has other voxels and
 * other noise. Everything is a function of these numbers, so bytes never depend on timing.
 */
#ifndef TRICOT_RUNTIME_DATA_PHANTOM_H
#define TRICOT_RUNTIME_DATA_PHANTOM_H
#include "runtime/base/fault.h"
#include "runtime/base/text.h"
#include <stdint.h>

typedef enum Finding {
  MEDICAL_MATERIAL,
  ARTERIAL_CALCIFICATION,
  CARDIOMEGALY,
  HIATAL_HERNIA,
  EMPHYSEMA,
  ATELECTASIS,
  LUNG_NODULE,
  LUNG_OPACITY,
  PLEURAL_EFFUSION,
  CONSOLIDATION,
  PHANTOM_FINDINGS
} Finding;

typedef struct PhantomFinding {
  const char *label; /* its name among the labels of runtime/data/ctrate.h */
  double prevalence; /* by default: the share of scans that have it */
} PhantomFinding;
extern const PhantomFinding phantom_findings[PHANTOM_FINDINGS];

typedef struct PhantomOptions {
  uint64_t seed;
  int64_t size[3];                     /* D, H, W in voxels; D varies by a sixth around it */
  double prevalence[PHANTOM_FINDINGS]; /* within 0..1 */
} PhantomOptions;

enum { PHANTOM_PLACES = 12 };

typedef struct Phantom {
  uint64_t anatomy, report, grain; /* keys of the random numbers of each */
  int64_t size[3];                 /* D, H, W */
  double spacing[3];               /* mm, by D, H, W; H and W have the same */
  double noise;                    /* standard deviation in HU */
  bool female, has[PHANTOM_FINDINGS];
  int age;                                        /* years */
  double place[PHANTOM_FINDINGS][PHANTOM_PLACES]; /* in [0,1): where a finding sits, how large */
} Phantom;

/* 64x96x96 voxels, seed 0, the table's prevalences. */
PhantomOptions phantom_defaults(void);
/* One volume of a patient: scan 0, 1, ...; reconstruction 0, 1, ... of that scan. */
Phantom phantom_make(const PhantomOptions *options, uint64_t patient, int scan, int reconstruction);

/* Where and how large, for those who draw and those who write. */
typedef enum Side { RIGHT, LEFT, BOTH } Side;
Side phantom_side(const Phantom *phantom, Finding finding);
double phantom_severity(const Phantom *phantom, Finding finding); /* [0,1) */
int phantom_nodules(const Phantom *phantom);                      /* 1..3 where there are any */

/* Hounsfield units of every voxel, W fastest, with noise. */
void phantom_draw(const Phantom *phantom, int16_t *voxels);
/* Draws and writes a gzipped NIfTI-1 file (int16, scl_inter -1024; the same bytes every time). */
bool phantom_write(const Phantom *phantom, const char *path, Error *error);
/* Appends the report of the scan: findings, then the impression. Every finding that is there is
 * mentioned; those that are not, often. */
void phantom_report(const Phantom *phantom, Text *findings, Text *impression);
#endif
