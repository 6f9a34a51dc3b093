/* From a file to a model's input. See prepare_file.h. */
#include "runtime/data/prepare_file.h"
#include "runtime/data/hu_gate.h"
#include "runtime/data/orient.h"
#include <string.h>
#include <time.h>

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* The facts that hold under the options: a row's, or the header's. */
static bool settle_facts(const char *path, const PrepareFacts *row, const PrepareOptions *options,
                         Volume *volume, PrepareReport *report, Error *error) {
  bool resizes = false;
  for (int i = 0; i < options->n_steps; i++)
    resizes |= options->order[i] == PREPARE_RESIZE;
  report->row_rescale = row && options->rescale == RESCALE_METADATA;
  report->row_spacing = row && !options->header_spacing;
  if (options->rescale == RESCALE_NONE) {
    volume->slope = 1;
    volume->intercept = 0;
  }
  report->scl_slope = volume->slope;
  report->scl_inter = volume->intercept;
  report->facts = (PrepareFacts){.slope = 1};
  if (report->row_rescale) {
    report->facts.slope = row->slope;
    report->facts.intercept = row->intercept;
  }
  PrepareFacts header;
  bool known = prepare_facts(volume, path, &header, report->row_spacing ? NULL : error);
  memcpy(report->facts.spacing, report->row_spacing ? row->spacing : header.spacing,
         sizeof header.spacing);
  return known || report->row_spacing || !resizes;
}

static bool turn(const char *path, const char *axes, Volume *volume, PrepareReport *report,
                 Error *error) {
  int axis[3];
  bool flip[3];
  double spacing[3];
  Error inner;
  if (!*axes || strcmp(axes, volume->axes) == 0)
    return true;
  if (!volume_reorient(volume, axes, &inner))
    return error_set(error, "%s: error: %.900s", path, inner.text);
  axes_map(report->stored, axes, axis, flip);
  memcpy(spacing, report->facts.spacing, sizeof spacing);
  for (int i = 0; i < 3; i++)
    report->facts.spacing[i] = spacing[axis[i]];
  return true;
}

bool prepare_read(const char *path, const PrepareFacts *row, const PrepareOptions *options,
                  Volume *volume, PrepareReport *report, Error *error) {
  double start = now();
  *report = (PrepareReport){0};
  if (!volume_read(path, volume, error))
    return false;
  memcpy(report->stored, volume->axes, sizeof report->stored);
  memcpy(report->voxels, (int64_t[]){volume->nx, volume->ny, volume->nz}, sizeof report->voxels);
  bool good =
      settle_facts(path, row, options, volume, report, error) &&
      hu_gate(volume, &report->facts, options->gate, path, &report->warning, error) &&
      turn(path, options->orientation, volume, report, error);
  memcpy(report->axes, volume->axes, sizeof report->axes);
  if (!good)
    volume_free(volume);
  report->read_seconds = now() - start;
  return good;
}

bool prepare_file(const char *path, const PrepareFacts *row, const PrepareOptions *options,
                  int threads, float *out, PrepareReport *report, Error *error) {
  Volume volume;
  Error inner;
  if (!prepare_read(path, row, options, &volume, report, error))
    return false;
  double start = now();
  bool good = prepare_volume(&volume, &report->facts, options, threads, out, &inner) ||
              error_set(error, "%s: error: %.900s", path, inner.text);
  volume_free(&volume);
  report->prepare_seconds = now() - start;
  return good;
}
