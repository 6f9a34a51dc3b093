/* Made-up chest CTs. See phantom.h.
 *
 * A voxel's value is that of the last shape that holds its centre; shapes are in millimetres from
 * the middle of the volume: x to the patient's left, y to the back, z to the head.
 */
#include "runtime/data/phantom.h"
#include "runtime/base/arena.h"
#include "runtime/base/file.h"
#include "runtime/base/random.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* The order in which findings are drawn. */
enum { HEART, EMPHYSEMA, CONSOLIDATION, EFFUSION, NODULE, CALCIFICATION, MATERIAL };

const PhantomFinding phantom_findings[PHANTOM_FINDINGS] = {
    [HEART] = {"Cardiomegaly", "The heart is enlarged.", "The heart is of normal size."},
    [EMPHYSEMA] = {"Emphysema", "Emphysema of both lungs.", NULL},
    [CONSOLIDATION] = {"Consolidation", "An area of consolidation in one lung.",
                       "No consolidation is seen."},
    [EFFUSION] = {"Pleural effusion", "Pleural effusion on both sides.", "No pleural effusion."},
    [NODULE] = {"Lung nodule", "A round nodule in the lung.", "No nodule is seen in the lungs."},
    [CALCIFICATION] = {"Arterial wall calcification", "Calcification of the wall of the aorta.",
                       NULL},
    [MATERIAL] = {"Medical material", "A catheter is seen.", NULL}};

static const double field[3] = {320, 346, 346}; /* mm: D, H, W */
static const double how_often = 0.35, noise = 15;

Phantom phantom_make(uint64_t seed, uint64_t index, const int64_t size[3]) {
  Phantom p = {.seed = seed * 1000003 + index};
  for (int i = 0; i < 3; i++) {
    p.size[i] = size[i];
    p.spacing[i] = field[i] / (double)size[i];
  }
  p.scale = 0.92 + 0.16 * random_uniform(p.seed, 0, 0);
  for (uint64_t f = 0; f < PHANTOM_FINDINGS; f++) {
    p.has[f] = random_uniform(p.seed, 1, f) < how_often;
    for (uint64_t k = 0; k < 4; k++)
      p.place[f][k] = random_uniform(p.seed, 2 + f, k);
  }
  return p;
}

static double square(double x) { return x * x; }

/* Less than 1 inside the ellipsoid around (cx, cy, cz) with half axes (a, b, c). */
static double ellipsoid(const double at[3], double cx, double cy, double cz, double a, double b,
                        double c) {
  return square((at[0] - cx) / a) + square((at[1] - cy) / b) + square((at[2] - cz) / c);
}

static bool in_ball(const double at[3], const double place[4], double radius) {
  double side = place[0] < 0.5 ? -75 : 75;
  return ellipsoid(at, side, 60 * place[1] - 30, 120 * place[2] - 60, radius, radius, radius) < 1;
}

static double lung_value(const Phantom *p, const double at[3]) {
  double value = p->has[EMPHYSEMA] ? -960 : -850;
  if (p->has[CONSOLIDATION] &&
      in_ball(at, p->place[CONSOLIDATION], 30 + 15 * p->place[CONSOLIDATION][3]))
    value = -30;
  if (p->has[EFFUSION] && at[1] > 45 - 25 * p->place[EFFUSION][3])
    value = 15;
  if (p->has[NODULE] && in_ball(at, p->place[NODULE], 12 + 8 * p->place[NODULE][3]))
    value = 50;
  return value;
}

static double aorta_value(const Phantom *p, const double at[3], double radius) {
  bool wall = radius > 9 && fmod(at[2] + 500, 60) < 40 * p->place[CALCIFICATION][3] + 15;
  return p->has[CALCIFICATION] && wall ? 800 : 60;
}

/* at: mm, in a body of scale 1 */
static double value_at(const Phantom *p, const double at[3]) {
  double body = sqrt(square(at[0] / 160) + square(at[1] / 110));
  if (body >= 1)
    return -1000;
  double value = body > 0.9 ? -90 : 45; /* fat, muscle */
  if (body > 0.8 && body < 0.86 && fmod(at[2] + 500 + 0.2 * at[1], 26) < 9)
    value = 350; /* ribs */
  double side = at[0] < 0 ? -75 : 75;
  if (ellipsoid(at, side, 0, 0, 52, 76, 125) < 1)
    value = lung_value(p, at);
  double heart = p->has[HEART] ? 1.4 : 1;
  if (ellipsoid(at, 18, -28, -45, 46 * heart, 40 * heart, 50 * heart) < 1)
    value = 45;
  double aorta = sqrt(square(at[0] - 22) + square(at[1] - 48));
  if (aorta < 14)
    value = aorta_value(p, at, aorta);
  if (square(at[0]) + square(at[1] - 72) < square(19))
    value = 380; /* spine */
  if (p->has[MATERIAL] && square(at[0] + 28) + square(at[1] + 62) < square(5) && at[2] > -60)
    value = 2500;
  return value;
}

void phantom_draw(const Phantom *p, int16_t *voxels) {
  uint64_t index = 0;
  for (int64_t d = 0; d < p->size[0]; d++)
    for (int64_t h = 0; h < p->size[1]; h++)
      for (int64_t w = 0; w < p->size[2]; w++, index++) {
        const double at[3] = {((double)w + 0.5 - (double)p->size[2] / 2) * p->spacing[2] / p->scale,
                              ((double)h + 0.5 - (double)p->size[1] / 2) * p->spacing[1] / p->scale,
                              ((double)d + 0.5 - (double)p->size[0] / 2) * p->spacing[0] /
                                  p->scale};
        double value = value_at(p, at) + noise * random_normal(p->seed, 100, index);
        voxels[index] = (int16_t)lrint(fmin(fmax(value, -1024), 3071));
      }
}

/* ---- files ---- */

static void put(unsigned char *at, const void *value, size_t size) { memcpy(at, value, size); }
static void put_short(unsigned char *at, int value) { put(at, &(int16_t){(int16_t)value}, 2); }
static void put_int(unsigned char *at, int value) { put(at, &(int32_t){value}, 4); }
static void put_float(unsigned char *at, double value) { put(at, &(float){(float)value}, 4); }

/* NIfTI-1, one file; the axes are the patient's left, back and head (LPS in the sform). */
static void write_header(const Phantom *p, unsigned char header[352]) {
  memset(header, 0, 352);
  put_int(header, 348);
  put_short(header + 40, 3);
  put_float(header + 76, 1);
  for (int i = 0; i < 3; i++) {
    double step = p->spacing[2 - i], middle = step * (double)(p->size[2 - i] - 1) / 2;
    put_short(header + 42 + 2 * i, (int)p->size[2 - i]);
    put_float(header + 80 + 4 * i, step);
    put_float(header + 280 + 16 * i + 4 * i, i < 2 ? -step : step);
    put_float(header + 280 + 16 * i + 12, i < 2 ? middle : -middle);
  }
  for (int i = 4; i < 8; i++)
    put_short(header + 40 + 2 * i, 1);
  put_short(header + 70, 4); /* int16 */
  put_short(header + 72, 16);
  put_float(header + 108, 352); /* where the voxels begin */
  put_float(header + 112, 1);
  put_float(header + 116, -1024);
  header[123] = 2;            /* millimetres */
  put_short(header + 254, 1); /* the sform is the scanner's */
  memcpy(header + 344, "n+1", 4);
}

/* gzip with no name and no time in it. */
static bool compress_all(const unsigned char *bytes, size_t size, unsigned char *out,
                         size_t *used) {
  z_stream stream = {.next_in = (unsigned char *)bytes,
                     .avail_in = (uInt)size,
                     .next_out = out,
                     .avail_out = (uInt)*used};
  if (deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    return false;
  bool good = deflate(&stream, Z_FINISH) == Z_STREAM_END;
  *used = stream.total_out;
  deflateEnd(&stream);
  return good;
}

bool phantom_write(const Phantom *p, const char *path, Error *error) {
  size_t voxels = (size_t)(p->size[0] * p->size[1] * p->size[2]), size = 352 + 2 * voxels;
  size_t room = size + size / 100 + 4096;
  unsigned char *bytes = mem_alloc(size), *packed = mem_alloc(room);
  int16_t *values = mem_alloc(2 * voxels);
  phantom_draw(p, values);
  for (size_t i = 0; i < voxels; i++)
    values[i] = (int16_t)(values[i] + 1024);
  write_header(p, bytes);
  memcpy(bytes + 352, values, 2 * voxels);
  Writing writing;
  bool good =
      compress_all(bytes, size, packed, &room) || error_set(error, "%s: error: zlib failed", path);
  if (good && (good = writing_open(&writing, path, error))) {
    fwrite(packed, 1, room, writing.stream);
    good = writing_commit(&writing, error);
  }
  free(values);
  free(packed);
  free(bytes);
  return good;
}

void phantom_report(const Phantom *p, Text *findings, Text *impression) {
  int present = 0;
  text_add(findings, "Both lungs are fully imaged.");
  for (int f = 0; f < PHANTOM_FINDINGS; f++) {
    const PhantomFinding *finding = &phantom_findings[f];
    const char *sentence = p->has[f] ? finding->present : finding->absent;
    if (sentence)
      text_add(findings, " %s", sentence);
    if (p->has[f])
      text_add(impression, "%s%s.", present++ ? " " : "", finding->label);
  }
  if (!present)
    text_add(impression, "No finding.");
}
