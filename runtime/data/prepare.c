/* CT preprocessing. See prepare.h.
 *
 * Resampling is separable, and only what survives the crop is read and computed. A source slice is
 * turned into HU, then interpolated along x and along y into a plane of the result's size, once;
 * an output plane is a blend of two such planes. Values between the steps are float32, in thousands
 * of HU until the window is applied. Workers take ranges of output planes of their own, and compute
 * every plane from the volume alone, so their number cannot change a value.
 */
#include "runtime/data/prepare.h"
#include "runtime/base/arena.h"
#include "runtime/data/prepare_options.h"
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_SIZE = 1 << 20, MAX_THREADS = 64, BLOCK = 16 };

/* Where one output coordinate reads: a*(1-weight) + b*weight. */
typedef struct Tap {
  int64_t a, b;
  float weight;
} Tap;

/* One axis: `count` computed outputs that land at `place` of the result and read the source from
 * `first` to `last`; taps count from `first`. */
typedef struct Axis {
  int64_t count, place, first, last;
  Tap *taps;
} Axis;

/* Steps on values, before or after the resize. */
typedef struct ValueSteps {
  bool clip, window;
} ValueSteps;

typedef struct Job {
  const Volume *volume;
  const PrepareFacts *facts;
  const PrepareOptions *options;
  ValueSteps before, after;
  Axis x, y, z;
  float *out;
} Job;

typedef struct Slice {
  int64_t z;     /* -1: nothing in it yet */
  float *values; /* [x.count][y.count] */
} Slice;

typedef struct Worker {
  const Job *job;
  int64_t begin, end; /* output planes */
  bool numbers;       /* no voxel was seen that is not a number */
  double *row;        /* of the source, the needed part */
  float *line;        /* the same after the first steps */
  float *along_x;     /* [source y][x.count] */
  float *turned;      /* [x.count][source y] */
  Slice slices[2];
} Worker;

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
    axis->taps[i] = (Tap){low, low < n - 1 ? low + 1 : low, (float)(at - (double)low)};
  }
  axis->first = axis->taps[0].a;
  axis->last = axis->taps[axis->count - 1].b;
  for (int64_t i = 0; i < axis->count; i++) {
    axis->taps[i].a -= axis->first;
    axis->taps[i].b -= axis->first;
  }
  return true;
}

/* The first steps of `count` values; false when one is not a number, or too large for float32. */
static bool first_steps(const Job *job, const double *row, int64_t count, float *out) {
  const PrepareOptions *o = job->options;
  double slope = job->facts->slope, intercept = job->facts->intercept;
  double low = -1e30, high = 1e30, centre = 0, half = 1000;
  bool numbers = true;
  if (job->before.clip) {
    low = o->clip[0];
    high = o->clip[1];
  }
  if (job->before.window) {
    low = fmax(low, fmin(o->window[0], high));
    high = fmin(high, fmax(o->window[1], low));
    centre = (o->window[0] + o->window[1]) / 2;
    half = (o->window[1] - o->window[0]) / 2;
  }
  bool bounded = job->before.clip || job->before.window;
  for (int64_t i = 0; i < count; i++) {
    double value = row[i] * slope + intercept;
    numbers &= bounded ? value == value : value > low && value < high;
    value = value < low ? low : value > high ? high : value;
    out[i] = (float)((value - centre) / half);
  }
  return numbers;
}

static void transpose(const float *from, int64_t rows, int64_t columns, float *to) {
  for (int64_t r = 0; r < rows; r += BLOCK)
    for (int64_t c = 0; c < columns; c += BLOCK)
      for (int64_t i = r; i < rows && i < r + BLOCK; i++)
        for (int64_t j = c; j < columns && j < c + BLOCK; j++)
          to[j * rows + i] = from[i * columns + j];
}

static void interpolate(const float *from, const Axis *axis, float *out) {
  for (int64_t i = 0; i < axis->count; i++) {
    Tap tap = axis->taps[i];
    out[i] = from[tap.a] * (1 - tap.weight) + from[tap.b] * tap.weight;
  }
}

/* Source slice z, in the result's size along H and W. */
static void load_slice(Worker *w, int64_t z, Slice *slice) {
  const Job *job = w->job;
  int64_t rows = job->y.last - job->y.first + 1, columns = job->x.last - job->x.first + 1;
  for (int64_t y = 0; y < rows; y++) {
    volume_part(job->volume, job->y.first + y, job->z.first + z, job->x.first, columns, w->row);
    w->numbers &= first_steps(job, w->row, columns, w->line);
    interpolate(w->line, &job->x, w->along_x + y * job->x.count);
  }
  transpose(w->along_x, rows, job->x.count, w->turned);
  for (int64_t h = 0; h < job->x.count; h++)
    interpolate(w->turned + h * rows, &job->y, slice->values + h * job->y.count);
  slice->z = z;
}

/* The slice of source z, reusing whichever buffer the other tap does not need. */
static const Slice *need_slice(Worker *w, int64_t z, int64_t other) {
  for (int i = 0; i < 2; i++)
    if (w->slices[i].z == z)
      return &w->slices[i];
  Slice *slice = &w->slices[w->slices[0].z == other];
  load_slice(w, z, slice);
  return slice;
}

/* The last steps of a row: out = window(clip(a*(1-weight) + b*weight)). */
static void last_steps(const Job *job, const float *a, const float *b, float weight, float *out) {
  const PrepareOptions *o = job->options;
  float rest = 1 - weight;
  int64_t count = job->y.count;
  for (int64_t i = 0; i < count; i++)
    out[i] = a[i] * rest + b[i] * weight;
  if (job->after.clip) {
    float low = (float)(o->clip[0] / 1000), high = (float)(o->clip[1] / 1000);
    for (int64_t i = 0; i < count; i++)
      out[i] = out[i] < low ? low : out[i] > high ? high : out[i];
  }
  if (job->after.window) {
    float low = (float)o->window[0], high = (float)o->window[1];
    float centre = (float)((o->window[0] + o->window[1]) / 2);
    float half = (float)((o->window[1] - o->window[0]) / 2);
    for (int64_t i = 0; i < count; i++) {
      float v = 1000 * out[i];
      v = v < low ? low : v > high ? high : v;
      out[i] = (v - centre) / half;
    }
  }
}

static void pad(float *out, int64_t count, double value) {
  for (int64_t i = 0; i < count; i++)
    out[i] = (float)value;
}

static void make_plane(Worker *w, int64_t d) {
  const Job *job = w->job;
  const int64_t *size = job->options->size;
  const Axis *x = &job->x, *y = &job->y, *z = &job->z;
  double padding = job->options->padding;
  float *out = job->out + d * size[1] * size[2];
  if (d < z->place || d >= z->place + z->count) {
    pad(out, size[1] * size[2], padding);
    return;
  }
  Tap tap = z->taps[d - z->place];
  const Slice *a = need_slice(w, tap.a, tap.b), *b = need_slice(w, tap.b, tap.a);
  for (int64_t h = 0; h < size[1]; h++, out += size[2]) {
    int64_t row = h - x->place;
    if (row < 0 || row >= x->count) {
      pad(out, size[2], padding);
      continue;
    }
    pad(out, y->place, padding);
    last_steps(job, a->values + row * y->count, b->values + row * y->count, tap.weight,
               out + y->place);
    pad(out + y->place + y->count, size[2] - y->place - y->count, padding);
  }
}

static void *work(void *argument) {
  Worker *w = argument;
  const Job *job = w->job;
  size_t rows = (size_t)(job->y.last - job->y.first + 1);
  size_t columns = (size_t)(job->x.last - job->x.first + 1);
  size_t plane = sizeof(float) * (size_t)(job->x.count * job->y.count);
  w->numbers = true;
  w->row = mem_alloc(sizeof(double) * columns);
  w->line = mem_alloc(sizeof(float) * columns);
  w->along_x = mem_alloc(sizeof(float) * rows * (size_t)job->x.count);
  w->turned = mem_alloc(sizeof(float) * rows * (size_t)job->x.count);
  for (int i = 0; i < 2; i++)
    w->slices[i] = (Slice){-1, mem_alloc(plane)};
  for (int64_t d = w->begin; d < w->end && w->numbers; d++)
    make_plane(w, d);
  free(w->row);
  free(w->line);
  free(w->along_x);
  free(w->turned);
  free(w->slices[0].values);
  free(w->slices[1].values);
  return NULL;
}

static bool run(const Job *job, int threads, Error *error) {
  Worker workers[MAX_THREADS];
  pthread_t handles[MAX_THREADS];
  bool started[MAX_THREADS], numbers = true;
  int64_t planes = job->options->size[0];
  int count = threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : threads;
  count = count > planes ? (int)planes : count;
  for (int i = 0; i < count; i++) {
    workers[i] = (Worker){
        .job = job, .begin = planes * i / count, .end = planes * (i + 1) / count};
    started[i] = i && pthread_create(&handles[i], NULL, work, &workers[i]) == 0;
  }
  for (int i = 0; i < count; i++)
    if (!started[i])
      work(&workers[i]);
  for (int i = 0; i < count; i++) {
    if (started[i])
      pthread_join(handles[i], NULL);
    numbers &= workers[i].numbers;
  }
  return numbers ||
         error_set(error, job->before.clip || job->before.window
                              ? "the volume holds voxels that are not numbers (NaN)"
                              : "the volume holds voxels that are not finite (NaN or infinite)");
}

/* Sorts the steps on values into those before and those after the resize; true: there is one. */
static bool sort_steps(Job *job) {
  bool resized = false;
  for (int i = 0; i < job->options->n_steps; i++) {
    ValueSteps *steps = resized ? &job->after : &job->before;
    PrepareStep step = job->options->order[i];
    steps->clip |= step == PREPARE_CLIP;
    steps->window |= step == PREPARE_WINDOW;
    resized |= step == PREPARE_RESIZE;
  }
  return resized;
}

bool prepare_volume(const Volume *volume, const PrepareFacts *facts, const PrepareOptions *options,
                    int threads, float *out, Error *error) {
  Job job = {.volume = volume, .facts = facts, .options = options, .out = out};
  const int64_t *size = options->size;
  if (!prepare_options_check(options, error))
    return false;
  if (!isfinite(facts->slope) || !isfinite(facts->intercept))
    return error_set(error, "the rescale slope %g or intercept %g is not finite", facts->slope,
                     facts->intercept);
  static const double unit[3] = {1, 1, 1};
  bool resize = sort_steps(&job);
  const double *have = resize ? facts->spacing : unit, *wanted = resize ? options->spacing : unit;
  bool good = plan_axis('z', volume->nz, have[2], wanted[0], size[0], &job.z, error) &&
              plan_axis('x', volume->nx, have[0], wanted[1], size[1], &job.x, error) &&
              plan_axis('y', volume->ny, have[1], wanted[2], size[2], &job.y, error) &&
              run(&job, threads, error);
  free(job.x.taps);
  free(job.y.taps);
  free(job.z.taps);
  return good;
}
