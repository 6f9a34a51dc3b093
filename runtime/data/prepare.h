/* From a CT volume to a model's input: Hounsfield units, wanted voxel size, window, crop and pad.
 *
 * What is done is data (PrepareOptions): which steps in which order, with which numbers. Two
 * published orders are presets (prepare_options.h): DCFormer's (arXiv 2502.05091) and CT-CLIP's
 * (arXiv 2403.17834). The steps are
 *   clip    values to a range of HU
 *   resize  to the wanted spacing: trilinear, half-pixel centres, no antialiasing
 *   window  values to a range of HU whose ends become -1 and 1
 * each at most once; the centre crop and the padding come last. The result is [1,D,H,W] float32, D
 * along the volume's z, H along x, W along y.
 */
#ifndef TRICOT_RUNTIME_DATA_PREPARE_H
#define TRICOT_RUNTIME_DATA_PREPARE_H
#include "runtime/data/nifti.h"
#include <stddef.h>

typedef enum PrepareStep {
  PREPARE_CLIP,
  PREPARE_RESIZE,
  PREPARE_WINDOW,
  PREPARE_STEPS
} PrepareStep;

/* What makes HU of stored values, beside the header's own scl_slope and scl_inter. */
typedef enum PrepareRescale {
  RESCALE_METADATA, /* the header's scaling, then RescaleSlope and RescaleIntercept of a row */
  RESCALE_HEADER,   /* the header's scaling alone, whatever a row says */
  RESCALE_NONE      /* nothing: the stored values are HU */
} PrepareRescale;

typedef enum PrepareGate { GATE_STOP, GATE_WARN, GATE_OFF } PrepareGate;

typedef struct PrepareOptions {
  int64_t size[3];                  /* D, H, W of the result */
  PrepareStep order[PREPARE_STEPS]; /* n_steps of them, in the order they are applied */
  int n_steps;
  double clip[2];      /* HU */
  double window[2];    /* HU; its ends become -1 and 1 */
  double spacing[3];   /* mm along D, H, W (the volume's z, x, y) */
  double padding;      /* value around a volume that is too small */
  PrepareRescale rescale;
  bool header_spacing; /* trust the header's spacing over a metadata row's */
  char orientation[4]; /* "LPS": volumes are turned to it; "": they stay as stored */
  PrepareGate gate;    /* what becomes of a volume that looks wrongly rescaled (hu_gate.h) */
} PrepareOptions;

/* What the volume's header does not know, or may know wrongly. */
typedef struct PrepareFacts {
  double slope, intercept; /* on top of the header's own scaling */
  double spacing[3];       /* mm along x, y, z */
} PrepareFacts;

/* Slope 1, intercept 0, the header's spacing; an error where the header does not give it. */
bool prepare_facts(const Volume *volume, const char *path, PrepareFacts *facts, Error *error);

/* Writes size[0]*size[1]*size[2] floats with up to `threads` threads, whose number never changes
 * the result. Beyond them each takes room for two output planes and a slice of the volume. Neither
 * orientation nor gate are looked at here (prepare_file.h does). */
bool prepare_volume(const Volume *volume, const PrepareFacts *facts, const PrepareOptions *options,
                    int threads, float *out, Error *error);
#endif
