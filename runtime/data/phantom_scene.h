/* The shapes of a phantom, worked out once before its voxels are drawn. Only phantom.c and
 * phantom_scene*.c use it.
 *
 * Lengths are millimetres from the middle of the volume: x to the patient's left, y to the back,
 * z to the head. A point inside a lung also has lung coordinates: u to the side and v to the back,
 * both about -1..1 in the lung's cross-section, and the height above the diaphragm.
 */
#ifndef TRICOT_RUNTIME_DATA_PHANTOM_SCENE_H
#define TRICOT_RUNTIME_DATA_PHANTOM_SCENE_H
#include "runtime/data/phantom.h"

enum { MAX_BLOBS = 6, VESSELS = 9, MAX_NODULES = 3 };

typedef struct Ball { /* an ellipsoid along the axes */
  double centre[3], half[3];
} Ball;

typedef struct Segment { /* a tube that gets thinner */
  double from[3], along[3], length2, radius[2];
} Segment;

typedef struct Lung {
  double sign;                 /* -1: right, 1: left */
  double centre, width, depth; /* mm: of the cross-section's middle from x = 0; its half axes */
  double dome, curve;          /* mm, 1/mm: the diaphragm's top, how fast it falls off */
  double air;                  /* HU */
  double fluid;                /* v above which an effusion stands, far up; > 2: none */
  double collapse;             /* mm: height of the collapsed base at the back; 0: none */
  Segment vessels[VESSELS];
} Lung;

typedef struct LungPlace {
  double u, v, height;
} LungPlace;

typedef struct Device { /* a pulse generator or a port under the skin, with its lead */
  bool there;
  Ball box;
  Segment leads[3];
} Device;

typedef struct Scene {
  uint64_t key; /* of the textures */
  double shift[3], scale, cosine, sine;
  double body[2], fat, wall[2], cavity[2]; /* half axes: skin, under the fat, inside the ribs */
  double blood, bone, apex, chest_middle;  /* HU, HU, mm, mm */
  bool breasts, table;
  Lung lungs[2];
  Ball heart, hernia, stomach, bullae;
  bool has_hernia, emphysema;
  double aorta[2], aorta_radius, arch; /* where it descends, its radius, the arch's height */
  double plaque;                       /* share of the aortic wall that is calcified */
  Ball consolidation, opacities[MAX_BLOBS], nodules[MAX_NODULES];
  int n_consolidations, n_opacities, n_nodules;
  double nodule_value;
  Device device;
} Scene;

void scene_make(const Phantom *phantom, Scene *scene);
/* Hounsfield units at a point given in mm from the middle of the volume, without noise. */
double scene_value(const Scene *scene, const double at[3]);
#endif
