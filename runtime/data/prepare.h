/* From a CT volume to a model's input: Hounsfield units, wanted voxel size, window, crop and pad.
 *
 * The order is DCFormer's (arXiv 2502.05091, its released preprocessing): rescale; clip to `clip`
 * and divide by a thousand in float32; trilinear resize to the wanted spacing with half-pixel
 * centres and no antialiasing; clip to `window` and map it to [-1,1]; centre crop; pad.
 * The result is [1,D,H,W] float32, D along the volume's z, H along x, W along y. The orientation in
 * the header plays no part.
 */
#ifndef TRICOT_RUNTIME_DATA_PREPARE_H
#define TRICOT_RUNTIME_DATA_PREPARE_H
#include "runtime/data/nifti.h"
#include <stddef.h>

typedef struct PrepareOptions {
  int64_t size[3];   /* D, H, W of the result */
  double clip[2];    /* HU, before the resize */
  double window[2];  /* HU, after it; its ends become -1 and 1 */
  double spacing[2]; /* mm: along z; along x and y */
  double padding;    /* value around a volume that is too small */
} PrepareOptions;

/* What the volume's header does not know, or may know wrongly. */
typedef struct PrepareFacts {
  double slope, intercept; /* on top of the header's own scaling */
  double spacing[3];       /* mm along x, y, z */
} PrepareFacts;

/* 256x512x512 voxels of 1.5 x 0.75 x 0.75 mm, clip -1000..1000, window -1000..200, padding -1. */
PrepareOptions prepare_defaults(void);
/* Slope 1, intercept 0, the header's spacing; an error where the header does not give it. */
bool prepare_facts(const Volume *volume, const char *path, PrepareFacts *facts, Error *error);
bool prepare_options_check(const PrepareOptions *options, Error *error);
/* The options in words, equal exactly when the results are: kept beside cached volumes. */
void prepare_options_text(const PrepareOptions *options, char *out, size_t room);

/* Writes size[0]*size[1]*size[2] floats. Beyond them it takes room for two slices of the volume. */
bool prepare_volume(const Volume *volume, const PrepareFacts *facts, const PrepareOptions *options,
                    float *out, Error *error);
#endif
