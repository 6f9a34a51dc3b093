/* Orientation: which way the voxel axes of a volume point in the patient, and turning a volume.
 *
 * Three letters name the directions of x, y and z: L or R, P or A, I or S (as nibabel's axis codes;
 * CT-RATE's volumes are LPS, "RAS" is the world's own). Voxels are moved, never interpolated: an
 * oblique volume is turned to the nearest of the 48 orientations.
 */
#ifndef TRICOT_RUNTIME_DATA_ORIENT_H
#define TRICOT_RUNTIME_DATA_ORIENT_H
#include "runtime/data/nifti.h"

/* Three letters, one of each pair. */
bool axes_are_valid(const char *axes);
/* Sums up the orientation of several volumes: start with joined "", add each volume's axes. The
 * result is what they all have, or "mixed" (also when one is not known). */
void axes_join(char joined[8], const char *axes);
/* Where axis i of `to` comes from: axis[i] of `from`, backwards when flip[i]. Both are valid. */
void axes_map(const char *from, const char *to, int axis[3], bool flip[3]);
/* Moves the voxels so that x, y, z point to `axes`; sizes, spacings, affine and axes follow. An
 * error (without a path) when the volume's own axes are not known or memory is short; the volume
 * stays whole. */
bool volume_reorient(Volume *volume, const char *axes, Error *error);
#endif
