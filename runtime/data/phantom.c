/* Which patient, which findings, which voxels. See phantom.h; shapes are in phantom_scene.c. */
#include "runtime/data/phantom.h"
#include "runtime/base/random.h"
#include "runtime/data/phantom_scene.h"
#include <math.h>
#include <string.h>

const PhantomFinding phantom_findings[PHANTOM_FINDINGS] = {
    [MEDICAL_MATERIAL] = {"Medical material", 0.3},
    [ARTERIAL_CALCIFICATION] = {"Arterial wall calcification", 0.4},
    [CARDIOMEGALY] = {"Cardiomegaly", 0.35},
    [HIATAL_HERNIA] = {"Hiatal hernia", 0.3},
    [EMPHYSEMA] = {"Emphysema", 0.35},
    [ATELECTASIS] = {"Atelectasis", 0.35},
    [LUNG_NODULE] = {"Lung nodule", 0.45},
    [LUNG_OPACITY] = {"Lung opacity", 0.4},
    [PLEURAL_EFFUSION] = {"Pleural effusion", 0.4},
    [CONSOLIDATION] = {"Consolidation", 0.35}};

/* A later scan differs from the first in about a fifth of the findings. */
static const double CHANGES = 0.2;

/* Streams of a patient's random numbers; a scan or reconstruction adds its own. */
enum { TRAITS, PRESENCE = 100, PLACES = 200, GRIDS = 300, REPORTS = 400, GRAIN = 500 };

PhantomOptions phantom_defaults(void) {
  PhantomOptions options = {.size = {64, 96, 96}};
  for (int f = 0; f < PHANTOM_FINDINGS; f++)
    options.prevalence[f] = phantom_findings[f].prevalence;
  return options;
}

static uint64_t key_of(uint64_t key, uint64_t stream, uint64_t index) {
  uint32_t bits[4];
  random_bits(key, stream, index, bits);
  return (uint64_t)bits[0] << 32 | bits[1];
}

/* Slices and voxel size: the field of view and the slice thickness are those of the scan's own
 * protocol, so that no two volumes have the same grid. */
static void choose_grid(Phantom *p, const PhantomOptions *o, uint64_t key, uint64_t index) {
  double view = 350 + 50 * random_uniform(key, GRIDS, 8 * index);
  double length = 305 + 35 * random_uniform(key, GRIDS, 8 * index + 1);
  double slices = (double)o->size[0] * (5.0 + 2 * random_uniform(key, GRIDS, 8 * index + 2)) / 6;
  p->size[0] = (int64_t)fmax(1, slices + 0.5);
  p->size[1] = o->size[1];
  p->size[2] = o->size[2];
  p->spacing[0] = length / (double)p->size[0];
  p->spacing[1] = p->spacing[2] = view / fmax((double)p->size[1], (double)p->size[2]);
  p->noise = 10 + 25 * random_uniform(key, GRIDS, 8 * index + 3);
}

Phantom phantom_make(const PhantomOptions *o, uint64_t patient, int scan, int reconstruction) {
  uint64_t key = key_of(o->seed, TRAITS, patient);
  uint64_t index = (uint64_t)scan * 1000 + (uint64_t)reconstruction;
  Phantom p = {.anatomy = key,
               .report = key_of(key, REPORTS, (uint64_t)scan),
               .grain = key_of(key, GRAIN, index),
               .female = random_uniform(key, TRAITS, 1) < 0.5,
               .age = 25 + (int)(60 * random_uniform(key, TRAITS, 2))};
  choose_grid(&p, o, key, index);
  for (uint64_t f = 0; f < PHANTOM_FINDINGS; f++) {
    p.has[f] = random_uniform(key, PRESENCE, f) < o->prevalence[f];
    if (scan > 0 && random_uniform(key, PRESENCE + (uint64_t)scan, f) < CHANGES)
      p.has[f] = random_uniform(key, PRESENCE + (uint64_t)scan, f + 50) < o->prevalence[f];
    for (uint64_t k = 0; k < PHANTOM_PLACES; k++)
      p.place[f][k] = random_uniform(key, PLACES + f, k);
  }
  return p;
}

Side phantom_side(const Phantom *p, Finding f) {
  double at = p->place[f][0];
  bool paired = f == PLEURAL_EFFUSION || f == LUNG_OPACITY;
  return paired ? (Side)(at * 3) : at < 0.5 ? RIGHT : LEFT;
}

double phantom_severity(const Phantom *p, Finding f) { return p->place[f][1]; }

int phantom_nodules(const Phantom *p) { return 1 + (int)(3 * p->place[LUNG_NODULE][2]); }

/* Nearly normal numbers for four voxels from one block of random bits: the sum of four bytes has
 * the mean 510 and the variance 4 (256^2 - 1) / 12. */
static void noise_of_four(uint64_t key, uint64_t block, double out[4]) {
  uint32_t bits[4];
  random_bits(key, 0, block, bits);
  for (int i = 0; i < 4; i++) {
    uint32_t sum = (bits[i] & 255) + (bits[i] >> 8 & 255) + (bits[i] >> 16 & 255) + (bits[i] >> 24);
    out[i] = ((double)sum - 510) / sqrt(65535.0 / 3);
  }
}

void phantom_draw(const Phantom *p, int16_t *voxels) {
  Scene scene;
  scene_make(p, &scene);
  uint64_t index = 0;
  double noise[4], at[3];
  for (int64_t d = 0; d < p->size[0]; d++)
    for (int64_t h = 0; h < p->size[1]; h++)
      for (int64_t w = 0; w < p->size[2]; w++, index++) {
        at[0] = ((double)w + 0.5 - (double)p->size[2] / 2) * p->spacing[2];
        at[1] = ((double)h + 0.5 - (double)p->size[1] / 2) * p->spacing[1];
        at[2] = ((double)d + 0.5 - (double)p->size[0] / 2) * p->spacing[0];
        if (index % 4 == 0)
          noise_of_four(p->grain, index / 4, noise);
        double value = scene_value(&scene, at) + p->noise * noise[index % 4];
        voxels[index] = (int16_t)lrint(fmin(fmax(value, -1024), 3071));
      }
}
