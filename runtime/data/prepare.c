/* CT preprocessing. See prepare.h.
 *
 * Resampling is separable, and only what survives the crop is computed: each output slice is a
 * blend of two source slices, then each of its rows is interpolated along x, then along y. Source
 * slices are scaled and clipped once and kept while the next output slice still needs them.
 */
#include "runtime/data/prepare.h"
#include "runtime/base/arena.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_SIZE = 1 << 20 };

/* Where one output coordinate reads: a*(1-weight) + b*weight. */
typedef struct Tap {
  int64_t a, b;
  double weight;
} Tap;

/* One axis: `count` computed outputs that land at `place` of the result. */
typedef struct Axis {
  int64_t count, place;
  Tap *taps;
} Axis;

typedef struct Slice {
  int64_t z;     /* -1: nothing in it yet */
  float *values; /* [ny][nx], thousands of HU */
} Slice;

PrepareOptions prepare_defaults(void) {
  return (PrepareOptions){.size = {256, 512, 512},
                          .clip = {-1000, 1000},
                          .window = {-1000, 200},
                          .spacing = {1.5, 0.75},
                          .padding = -1};
}

bool prepare_options_check(const PrepareOptions *options, Error *error) {
  for (int i = 0; i < 3; i++)
    if (options->size[i] < 1 || options->size[i] > MAX_SIZE)
      return error_set(error, "size %lldx%lldx%lld is not within 1..%d",
                       (long long)options->size[0], (long long)options->size[1],
                       (long long)options->size[2], MAX_SIZE);
  for (int i = 0; i < 2; i++)
    if (!isfinite(options->spacing[i]) || options->spacing[i] <= 0)
      return error_set(error, "spacing %g is not a positive number", options->spacing[i]);
  if (!isfinite(options->clip[0]) || !isfinite(options->clip[1]) ||
      options->clip[0] >= options->clip[1])
    return error_set(error, "clip %g:%g is not a range", options->clip[0], options->clip[1]);
  if (!isfinite(options->window[0]) || !isfinite(options->window[1]) ||
      options->window[0] >= options->window[1])
    return error_set(error, "window %g:%g is not a range", options->window[0], options->window[1]);
  return isfinite(options->padding) ||
         error_set(error, "padding %g is no number", options->padding);
}

void prepare_options_text(const PrepareOptions *o, char *out, size_t room) {
  snprintf(out, room,
           "size %lldx%lldx%lld clip %.17g:%.17g window %.17g:%.17g "
           "spacing %.17g:%.17g padding %.17g",
           (long long)o->size[0], (long long)o->size[1], (long long)o->size[2], o->clip[0],
           o->clip[1], o->window[0], o->window[1], o->spacing[0], o->spacing[1], o->padding);
}

bool prepare_facts(const Volume *volume, const char *path, PrepareFacts *facts, Error *error) {
  *facts = (PrepareFacts){.slope = 1};
  for (int i = 0; i < 3; i++) {
    facts->spacing[i] = volume->spacing[i];
    if (!(volume->spacing[i] > 0))
      return error_set(error,
                       "%s: error: the header does not give the voxel spacing along %c; name "
                       "it in a metadata file",
                       path, "xyz"[i]);
  }
  return true;
}

/* The taps of one axis: resample `n` voxels by spacing/wanted, keep the middle `target` of them. */
static bool plan_axis(char name, int64_t n, double spacing, double wanted, int64_t target,
                      Axis *axis, Error *error) {
  double exact = (double)n * (spacing / wanted);
  if (!(exact >= 1) || exact > MAX_SIZE)
    return error_set(error,
                     "%lld voxels of %g mm along %c become %g voxels of %g mm: not within "
                     "1..%d",
                     (long long)n, spacing, name, trunc(exact), wanted, MAX_SIZE);
  int64_t resampled = (int64_t)exact, start = resampled > target ? (resampled - target) / 2 : 0;
  double ratio = (double)n / (double)resampled;
  axis->count = resampled < target ? resampled : target;
  axis->place = (target - axis->count) / 2;
  axis->taps = mem_alloc(sizeof(Tap) * (size_t)axis->count);
  for (int64_t i = 0; i < axis->count; i++) {
    double at = ((double)(start + i) + 0.5) * ratio - 0.5;
    at = at < 0 ? 0 : at;
    int64_t low = (int64_t)at < n - 1 ? (int64_t)at : n - 1;
    axis->taps[i] = (Tap){low, low < n - 1 ? low + 1 : low, at - (double)low};
  }
  return true;
}

/* Rescales, clips and divides one slice; false when it holds a voxel that is not a number. */
static bool load_slice(const Volume *volume, const PrepareFacts *facts, const double clip[2],
                       int64_t z, double *row, Slice *slice) {
  bool numbers = true;
  for (int64_t y = 0; y < volume->ny; y++) {
    float *out = slice->values + y * volume->nx;
    volume_row(volume, y, z, row);
    for (int64_t x = 0; x < volume->nx; x++) {
      double value = row[x] * facts->slope + facts->intercept;
      numbers &= value == value;
      value = value < clip[0] ? clip[0] : value > clip[1] ? clip[1] : value;
      out[x] = (float)(value / 1000);
    }
  }
  slice->z = z;
  return numbers;
}

typedef struct Job {
  const Volume *volume;
  const PrepareFacts *facts;
  const PrepareOptions *options;
  Axis x, y, z;
  double *row; /* [nx] */
  Slice slices[2];
  float *blended; /* [ny][nx], the output slice before x and y are interpolated */
  double *column; /* [ny] of one output row H */
  float *out;
} Job;

/* The slice of source z, reusing whichever buffer the other tap does not need. */
static Slice *need_slice(Job *job, int64_t z, int64_t other, bool *numbers) {
  for (int i = 0; i < 2; i++)
    if (job->slices[i].z == z)
      return &job->slices[i];
  Slice *slice = &job->slices[job->slices[0].z == other];
  *numbers &= load_slice(job->volume, job->facts, job->options->clip, z, job->row, slice);
  return slice;
}

/* Interpolates `blended` along x and y into the output plane at depth `d`. */
static void resize_plane(Job *job, const float *plane, int64_t d) {
  const PrepareOptions *o = job->options;
  double centre = (o->window[0] + o->window[1]) / 2, half = (o->window[1] - o->window[0]) / 2;
  for (int64_t h = 0; h < job->x.count; h++) {
    Tap tx = job->x.taps[h];
    for (int64_t y = 0; y < job->volume->ny; y++) {
      const float *row = plane + y * job->volume->nx;
      job->column[y] = row[tx.a] * (1 - tx.weight) + row[tx.b] * tx.weight;
    }
    float *out =
        job->out + ((d + job->z.place) * o->size[1] + h + job->x.place) * o->size[2] + job->y.place;
    for (int64_t w = 0; w < job->y.count; w++) {
      Tap ty = job->y.taps[w];
      double v = 1000 * (job->column[ty.a] * (1 - ty.weight) + job->column[ty.b] * ty.weight);
      v = v < o->window[0] ? o->window[0] : v > o->window[1] ? o->window[1] : v;
      out[w] = (float)((v - centre) / half);
    }
  }
}

static bool run(Job *job, Error *error) {
  const int64_t *size = job->options->size;
  int64_t voxels = job->volume->nx * job->volume->ny;
  bool numbers = true;
  if (job->x.count < size[1] || job->y.count < size[2] || job->z.count < size[0])
    for (int64_t i = 0; i < size[0] * size[1] * size[2]; i++)
      job->out[i] = (float)job->options->padding;
  for (int64_t d = 0; d < job->z.count && numbers; d++) {
    Tap tz = job->z.taps[d];
    const Slice *a = need_slice(job, tz.a, tz.b, &numbers);
    const float *plane = a->values;
    if (tz.weight > 0 && tz.b != tz.a) {
      const Slice *b = need_slice(job, tz.b, tz.a, &numbers);
      float weight = (float)tz.weight, rest = (float)(1 - tz.weight);
      for (int64_t i = 0; i < voxels; i++)
        job->blended[i] = a->values[i] * rest + b->values[i] * weight;
      plane = job->blended;
    }
    resize_plane(job, plane, d);
  }
  return numbers || error_set(error, "the volume holds voxels that are not numbers (NaN)");
}

bool prepare_volume(const Volume *volume, const PrepareFacts *facts, const PrepareOptions *options,
                    float *out, Error *error) {
  Job job = {.volume = volume, .facts = facts, .options = options, .out = out};
  const double *wanted = options->spacing;
  const int64_t *size = options->size;
  if (!prepare_options_check(options, error))
    return false;
  if (!isfinite(facts->slope) || !isfinite(facts->intercept))
    return error_set(error, "the rescale slope %g or intercept %g is not finite", facts->slope,
                     facts->intercept);
  bool good = plan_axis('z', volume->nz, facts->spacing[2], wanted[0], size[0], &job.z, error) &&
              plan_axis('x', volume->nx, facts->spacing[0], wanted[1], size[1], &job.x, error) &&
              plan_axis('y', volume->ny, facts->spacing[1], wanted[1], size[2], &job.y, error);
  if (good) {
    size_t plane = sizeof(float) * (size_t)(volume->nx * volume->ny);
    job.row = mem_alloc(sizeof(double) * (size_t)volume->nx);
    job.column = mem_alloc(sizeof(double) * (size_t)volume->ny);
    job.blended = mem_alloc(plane);
    for (int i = 0; i < 2; i++)
      job.slices[i] = (Slice){-1, mem_alloc(plane)};
    good = run(&job, error);
  }
  free(job.x.taps);
  free(job.y.taps);
  free(job.z.taps);
  free(job.row);
  free(job.column);
  free(job.blended);
  free(job.slices[0].values);
  free(job.slices[1].values);
  return good;
}
