/* From a file to a model's input: read, rescale, judge, turn, prepare. The one way in, which the
 * cache, predict and prepare share.
 */
#ifndef TRICOT_RUNTIME_DATA_PREPARE_FILE_H
#define TRICOT_RUNTIME_DATA_PREPARE_FILE_H
#include "runtime/data/prepare.h"

/* What was found and done, for whoever wants to tell. */
typedef struct PrepareReport {
  char stored[4], axes[4];     /* axes of the file, and of what was prepared; "???" unknown */
  double scl_slope, scl_inter; /* the header's scaling as used */
  PrepareFacts facts;          /* as used; spacing along x, y, z as prepared */
  bool row_rescale, row_spacing; /* taken from the metadata row, not from the header */
  int64_t voxels[3];             /* of the file along x, y, z */
  Error warning;                 /* "path: warning: ..." of the gate, or empty */
  double read_seconds, prepare_seconds;
} PrepareReport;

/* Reads, judges and turns. `row`: what a metadata file says of the volume, or NULL. On success the
 * volume is the caller's, report->facts goes with it. */
bool prepare_read(const char *path, const PrepareFacts *row, const PrepareOptions *options,
                  Volume *volume, PrepareReport *report, Error *error);
/* The same, then prepare_volume() into out (size[0]*size[1]*size[2] floats). Errors name the file.
 */
bool prepare_file(const char *path, const PrepareFacts *row, const PrepareOptions *options,
                  int threads, float *out, PrepareReport *report, Error *error);
#endif
