/* The Hounsfield unit at a point of a phantom. See phantom_scene.h.
 *
 * From the skin inwards, each structure overrides what it lies in: the body's layers, then lungs,
 * abdomen or mediastinum, then heart, vessels and airways, then bone, then metal.
 */
#include "runtime/data/phantom_scene.h"
#include <math.h>

/* HU of tissues */
static const double AIR = -1000, FAT = -95, MUSCLE = 50, LIVER = 60, WATER = 12, CALCIUM = 750,
                    METAL = 3000;

static double square(double x) { return x * x; }

/* Below 1 inside a rounded rectangle of half axes 1. */
static double squarish(double u, double v) { return u * u + v * v - 0.35 * u * u * v * v; }

/* Below 1 inside. */
static double in_ball(const Ball *b, const double at[3]) {
  return square((at[0] - b->centre[0]) / b->half[0]) + square((at[1] - b->centre[1]) / b->half[1]) +
         square((at[2] - b->centre[2]) / b->half[2]);
}

/* Where the nearest point of the segment lies, 0..1, if `at` is inside the tube, else -1. */
static double in_segment(const Segment *g, const double at[3]) {
  double dot = 0, distance2 = 0;
  for (int i = 0; i < 3; i++)
    dot += (at[i] - g->from[i]) * g->along[i];
  double t = fmin(fmax(dot / g->length2, 0), 1);
  for (int i = 0; i < 3; i++)
    distance2 += square(at[i] - g->from[i] - t * g->along[i]);
  return distance2 < square(g->radius[0] + t * (g->radius[1] - g->radius[0])) ? t : -1;
}

/* ---- texture ---- */

/* A lattice point's value in [-1,1), from a multiplicative hash. */
static double lattice(uint64_t key, int64_t x, int64_t y, int64_t z) {
  uint64_t h = key ^ (uint64_t)x * 0x9E3779B97F4A7C15u ^ (uint64_t)y * 0xC2B2AE3D27D4EB4Fu ^
               (uint64_t)z * 0x165667B19E3779F9u;
  h = (h ^ h >> 32) * 0xD6E8FEB86659FD93u;
  h = (h ^ h >> 32) * 0xD6E8FEB86659FD93u;
  return (double)(h >> 11) * 0x1p-52 - 1;
}

/* Smooth noise in [-1,1] whose bumps are about `cell` mm wide: trilinear between lattice points. */
static double cloud(uint64_t key, const double at[3], double cell) {
  int64_t low[3];
  double t[3], sum = 0;
  for (int i = 0; i < 3; i++) {
    double x = at[i] / cell;
    low[i] = (int64_t)floor(x);
    t[i] = x - (double)low[i];
    t[i] = t[i] * t[i] * (3 - 2 * t[i]);
  }
  for (int k = 0; k < 8; k++) {
    double weight =
        (k & 1 ? t[0] : 1 - t[0]) * (k & 2 ? t[1] : 1 - t[1]) * (k & 4 ? t[2] : 1 - t[2]);
    sum += weight * lattice(key, low[0] + (k & 1), low[1] + (k >> 1 & 1), low[2] + (k >> 2));
  }
  return sum;
}

/* Inside a blob with an uneven surface. */
static bool in_patch(const Scene *s, const Ball *b, const double at[3], double unevenness) {
  double r = in_ball(b, at);
  return r < 2 && r < 1 + unevenness * cloud(s->key, at, 15);
}

/* ---- lungs ---- */

/* Sets *place as far as the point is below the apex and on the lung's side. */
static bool in_lung(const Scene *s, const Lung *lung, const double at[3], LungPlace *place) {
  double top = (at[2] - 25) / (s->apex - 25), taper = at[2] < 25 ? 1 : sqrt(fmax(1 - top * top, 0));
  *place = (LungPlace){.height = 1};
  if (taper <= 0)
    return false;
  double across = lung->sign * at[0] - lung->centre * (0.72 + 0.28 * taper);
  double back = at[1] - s->chest_middle;
  place->u = across / (lung->width * taper);
  place->v = back / (lung->depth * taper);
  place->height = at[2] - lung->dome + lung->curve * (across * across + back * back);
  return squarish(place->u, place->v) < 1 && place->height > 0;
}

/* Airways inside what is airless show as an air bronchogram. */
static double vessel_value(const Lung *lung, const double at[3], double aerated) {
  for (int i = 0; i < VESSELS; i++) {
    double t = in_segment(&lung->vessels[i], at);
    if (t >= 0)
      return aerated > -200 ? (t < 0.7 ? -900 : aerated) : 35;
  }
  return aerated;
}

static double emphysema_holes(const Scene *s, const double at[3], double value) {
  double upper = fmin(fmax((at[2] + 40) / 120, 0), 1);
  return cloud(s->key + 1, at, 22) > 0.45 - 0.5 * upper ? -985 : value;
}

static double lung_value(const Scene *s, const Lung *lung, const LungPlace *place,
                         const double at[3]) {
  double value = lung->air + 25 * place->v; /* gravity */
  if (s->emphysema)
    value = emphysema_holes(s, at, value);
  for (int i = 0; i < s->n_opacities; i++)
    if (in_patch(s, &s->opacities[i], at, 0.5)) {
      value = -540 + 60 * cloud(s->key + 2, at, 8);
      break;
    }
  if (s->n_consolidations && in_patch(s, &s->consolidation, at, 0.4))
    value = 25;
  value = vessel_value(lung, at, value);
  if (place->height < lung->collapse * fmin(fmax(place->v + 0.5, 0), 1.3))
    value = 40;
  double pooled = fmin(fmax((45 - place->height) / 60, 0), 0.75);
  if (place->v > lung->fluid - 0.4 * pooled)
    value = WATER;
  for (int i = 0; i < s->n_nodules; i++)
    if (in_ball(&s->nodules[i], at) < 1)
      value = s->nodule_value;
  return value;
}

/* ---- the middle ---- */

/* 1: in the wall of the aorta, 0: in its blood, -1: outside. */
static int in_aorta(const Scene *s, const double at[3]) {
  double reach = (s->aorta[1] + 18) / 2, middle = s->aorta[1] - reach, away;
  double r = s->aorta_radius;
  if (at[2] < s->arch) { /* descending; and ascending from the heart */
    away = sqrt(square(at[0] - s->aorta[0]) + square(at[1] - s->aorta[1]));
    if (at[2] > s->heart.centre[2] + 20)
      away = fmin(away, sqrt(square(at[0] + 6) + square(at[1] - middle + reach)));
  } else { /* half a ring between them */
    double along = sqrt(square(at[1] - middle) + square(at[2] - s->arch)) - reach;
    double across = at[0] - (s->aorta[0] - 6) / 2 -
                    (s->aorta[0] + 6) / 2 * fmin(fmax((at[1] - middle) / reach, -1), 1);
    away = sqrt(square(along) + square(across));
  }
  return away >= r ? -1 : away > r - 6;
}

static double aorta_value(const Scene *s, const double at[3], int wall) {
  bool plaque = wall && s->plaque > 0 && cloud(s->key + 3, at, 20) > 0.7 - 1.4 * s->plaque;
  return plaque ? CALCIUM : s->blood;
}

/* Trachea and main bronchi. */
static bool in_airway(const double at[3]) {
  if (at[2] > 30)
    return square(at[0]) + square(at[1] - 10) < square(8.5);
  double fall = (30 - at[2]) / 22; /* the bronchi leave the trachea to both sides */
  return at[2] > 8 && square(fabs(at[0]) - 36 * fall) / 3 + square(at[1] - 10) < square(6);
}

static double hernia_value(const Scene *s, const double at[3], double inside) {
  if (inside > 0.65)
    return 45;
  return at[1] < s->hernia.centre[1] ? -950 : WATER;
}

static double heart_value(const Scene *s, double inside) {
  if (inside > 1)
    return FAT; /* around the heart */
  return inside > 0.6 ? 55 : s->blood;
}

/* Over lungs, fat and abdomen; `value` where there is nothing of it. */
static double organ_value(const Scene *s, const double at[3], double value) {
  double inside = in_ball(&s->heart, at);
  if (inside < 1.15)
    value = heart_value(s, inside);
  if (s->has_hernia && (inside = in_ball(&s->hernia, at)) < 1)
    value = hernia_value(s, at, inside);
  int wall = in_aorta(s, at);
  if (wall >= 0)
    value = aorta_value(s, at, wall);
  if (at[2] > 0 && square(at[0] + 24) + square(at[1] + 12) < square(9))
    value = s->blood; /* superior vena cava */
  if (in_airway(at))
    value = AIR;
  return value;
}

static double abdomen_value(const Scene *s, const double at[3]) {
  double inside = in_ball(&s->stomach, at);
  if (inside < 1)
    return inside > 0.75 ? MUSCLE : at[1] < s->stomach.centre[1] + 4 ? -930 : WATER;
  if (at[0] < 25 && at[1] < 48)
    return LIVER;
  return at[0] > 45 && at[1] > 0 ? 52 : FAT; /* spleen, fat */
}

/* ---- bone and what is around ---- */

static double spine_value(const Scene *s, const double at[3], double value) {
  double body = square(at[0] / 19) + square((at[1] - 62) / 16);
  if (body < 1) {
    bool disc = fmod(at[2] + 1000, 27) < 5;
    return disc ? 85 : body > 0.7 ? s->bone + 200 : s->bone - 100;
  }
  double canal = square(at[0] / 11) + square((at[1] - 84) / 9);
  if (canal < 1)
    return 20;
  return canal < 1.9 && at[1] > 74 ? s->bone + 200 : value;
}

static double ring_value(const Scene *s, const double at[3]) {
  if (at[1] < -s->cavity[1] + 4 && fabs(at[0]) < 17 && at[2] > -30 && at[2] < 100)
    return s->bone; /* sternum */
  double slope = at[2] + 0.45 * at[1] + 1000;
  return fmod(slope, 25) < 9 && at[2] < 130 ? s->bone + 150 : MUSCLE;
}

/* Streaks that fade with the distance from metal, as photon starvation leaves them. */
static double streaks(const Device *d, const double at[3]) {
  double dx = at[0] - d->box.centre[0], dy = at[1] - d->box.centre[1];
  if (fabs(at[2] - d->box.centre[2]) > d->box.half[2])
    return 0;
  return 220 * cos(14 * atan2(dy, dx)) * exp(-sqrt(dx * dx + dy * dy) / 45);
}

static bool in_device(const Device *d, const double at[3]) {
  for (int i = 0; i < 3; i++)
    if (in_segment(&d->leads[i], at) >= 0)
      return true;
  return in_ball(&d->box, at) < 1;
}

static double outside_value(const Scene *s, const double at[3]) {
  if (s->breasts && square((fabs(at[0]) - 72) / 48) + square((at[1] + s->body[1]) / 38) +
                            square((at[2] - 5) / 52) <
                        1)
    return FAT;
  double under = at[1] - s->body[1] - 0.0006 * at[0] * at[0];
  return s->table && under > 6 && under < 14 && fabs(at[0]) < 190 ? -350 : AIR;
}

static double body_value(const Scene *s, const double at[3]) {
  double narrow = at[2] < 95 ? 1 : 1 - 0.004 * (at[2] - 95); /* towards the neck */
  if (squarish(at[0] / (s->body[0] * narrow), at[1] / s->body[1]) >= 1)
    return outside_value(s, at);
  if (squarish(at[0] / (s->wall[0] * narrow), at[1] / s->wall[1]) >= 1)
    return FAT;
  double value;
  const Lung *lung = &s->lungs[at[0] > 0];
  LungPlace place;
  if (squarish(at[0] / (s->cavity[0] * narrow), at[1] / s->cavity[1]) >= 1)
    value = squarish(at[0] / ((s->wall[0] - 7) * narrow), at[1] / (s->wall[1] - 6)) < 1
                ? ring_value(s, at)
                : MUSCLE;
  else if (in_lung(s, lung, at, &place))
    value = organ_value(s, at, lung_value(s, lung, &place, at));
  else if (place.height <= 0)
    value = organ_value(s, at, abdomen_value(s, at));
  else
    value = organ_value(s, at, fabs(at[0]) < 45 && at[2] < 110 ? FAT : MUSCLE);
  return spine_value(s, at, value);
}

double scene_value(const Scene *s, const double at[3]) {
  double x = (at[0] - s->shift[0]) / s->scale, y = (at[1] - s->shift[1]) / s->scale;
  const double in[3] = {s->cosine * x + s->sine * y, s->cosine * y - s->sine * x,
                        (at[2] - s->shift[2]) / s->scale};
  double value = body_value(s, in);
  if (!s->device.there)
    return value;
  return in_device(&s->device, in) ? METAL : value + streaks(&s->device, in);
}
