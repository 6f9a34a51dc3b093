/* One prepared volume in a file: 16-bit codes, compressed without loss in blocks of whole planes,
 * every byte under a checksum, read through a mapping. docs/data.md describes the bytes.
 *
 * Values become int16 codes of a linear scale (in [-1,1] the error is at most 1/65534, and -1, 0
 * and 1 are exact) or float16. Each code is predicted from its neighbours along x, y and z in the
 * block (Ibarria et al., "Out-of-core compression and decompression of large n-dimensional scalar
 * fields", 2003), high and low bytes are separated, and deflate codes them with run lengths and
 * Huffman codes alone: for such data a search for longer matches costs time and gains nothing.
 */
#ifndef TRICOT_RUNTIME_DATA_VOLUME_FILE_H
#define TRICOT_RUNTIME_DATA_VOLUME_FILE_H
#include "runtime/base/file.h"
#include "runtime/base/gather.h"
#include "runtime/data/prepare.h"

#define VOLUME_FILE_ENDING ".tvol"

typedef enum VolumeStore { STORE_I16 = 1, STORE_F16 = 2 } VolumeStore;
const char *volume_store_name(VolumeStore store); /* "int16", "f16" */
bool volume_store_from_name(const char *name, VolumeStore *store);

/* What the voxels were made from. */
typedef struct VolumeOrigin {
  const char *settings;              /* prepare_options_text */
  PrepareFacts facts;                /* rescale and spacing as applied */
  int64_t source_bytes, source_time; /* size; time of the last change, nanoseconds */
  char axes[4];                      /* where x, y, z point to: "LPS" */
} VolumeOrigin;

/* Writes size[0]*size[1]*size[2] values, D, H, W. The same input gives the same bytes. Values that
 * are not finite are an error. Takes about 4 MiB beside the values. */
bool volume_file_write(const char *path, const int64_t size[3], const float *values,
                       VolumeStore store, const VolumeOrigin *origin, Error *error);

typedef struct VolumeFile {
  const char *path; /* borrowed */
  int64_t size[3];  /* D, H, W */
  VolumeStore store;
  VolumeOrigin origin; /* settings lie in the mapping */
  double scale;        /* value = code * scale, for int16 */
  int64_t slab;        /* planes in a block */
  Mapping mapping;
} VolumeFile;

/* Does the file begin like one? */
bool volume_file_is(const char *path);
/* Checks everything but the blocks: a file that is cut short is refused. */
bool volume_file_open(VolumeFile *file, const char *path, Error *error);
/* Decodes planes first..first+count-1 into out[count][H][W]; only their blocks are read, each
 * checked first. Threads may read the same file at the same time. */
bool volume_file_read(const VolumeFile *file, int64_t first, int64_t count, float *out,
                      Error *error);
/* Decodes the part of the volume that `gather` keeps of one sample of a tensor [N,1,D,H,W]. Only
 * blocks with such planes are read, and no more than one is held. */
bool volume_file_gather(const VolumeFile *file, const Gather *gather, float *part, Error *error);
/* Checks all blocks, without decoding them. */
bool volume_file_check(const VolumeFile *file, Error *error);
void volume_file_close(VolumeFile *file);
#endif
