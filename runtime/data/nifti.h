/* NIfTI-1 and NIfTI-2 volumes: .nii, .nii.gz, and .hdr/.img pairs (https://nifti.nimh.nih.gov).
 *
 * Only 3-D scalar volumes are read: every dimension after the third must be 1. Voxels stay as the
 * file stores them (a CT in int16 takes half of float32); volume_row() scales them on the way out.
 * Everything else is refused with a message that names the shape, the datatype or the reason.
 */
#ifndef TRICOT_RUNTIME_DATA_NIFTI_H
#define TRICOT_RUNTIME_DATA_NIFTI_H
#include "runtime/base/fault.h"
#include <stdint.h>

typedef enum VoxelKind {
  VOXEL_U8,
  VOXEL_I8,
  VOXEL_U16,
  VOXEL_I16,
  VOXEL_U32,
  VOXEL_I32,
  VOXEL_U64,
  VOXEL_I64,
  VOXEL_F32,
  VOXEL_F64
} VoxelKind;

typedef struct Volume {
  int64_t nx, ny, nz;
  double spacing[3];   /* mm along x, y, z; 0 where the header does not say */
  double affine[3][4]; /* voxel index to the header's world, in the header's unit */
  char axes[4];        /* "RAS": where x, y, z point to; '?' for a degenerate axis */
  VoxelKind kind;
  double slope, intercept; /* value = stored * slope + intercept */
  void *stored;            /* nx*ny*nz voxels, x fastest, in the machine's byte order; owned */
} Volume;

/* Reads a volume. For a pair either of the two files may be named. */
bool volume_read(const char *path, Volume *volume, Error *error);
void volume_free(Volume *volume);
/* Bytes of a stored voxel. */
int voxel_size(VoxelKind kind);
/* The nx scaled values of row (y, z). */
void volume_row(const Volume *volume, int64_t y, int64_t z, double *out);
/* Values first..first+count-1 of it. */
void volume_part(const Volume *volume, int64_t y, int64_t z, int64_t first, int64_t count,
                 double *out);
#endif
