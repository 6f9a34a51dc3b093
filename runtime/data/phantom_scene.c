/* From a patient's random numbers to the shapes of the thorax. See phantom_scene.h; what stands at
 * a point is decided in phantom_values.c. */
#include "runtime/data/phantom_scene.h"
#include "runtime/base/random.h"
#include <math.h>

enum { SHAPES = 10, VESSEL_SHAPES = 20 }; /* streams of the anatomy's random numbers */

/* Random number k of the patient's shapes, between low and high. */
static double pick(const Phantom *p, uint64_t k, double low, double high) {
  return low + (high - low) * random_uniform(p->anatomy, SHAPES, k);
}

/* Random number k of a finding, between low and high. */
static double placed(const Phantom *p, Finding f, int k, double low, double high) {
  return low + (high - low) * p->place[f][k];
}

static bool affects(const Phantom *p, Finding f, const Lung *lung) {
  Side side = phantom_side(p, f);
  return p->has[f] && (side == BOTH || (side == RIGHT) == (lung->sign < 0));
}

static void make_body(const Phantom *p, Scene *s) {
  double angle = pick(p, 0, -0.1, 0.1);
  s->cosine = cos(angle);
  s->sine = sin(angle);
  s->scale = pick(p, 1, 0.94, 1.06) * (p->female ? 0.96 : 1.02);
  for (uint64_t i = 0; i < 3; i++)
    s->shift[i] = pick(p, 2 + i, -8, 8);
  s->fat = pick(p, 5, 8, 26);
  s->body[0] = pick(p, 6, 145, 160) + s->fat / 2;
  s->body[1] = pick(p, 7, 100, 112) + s->fat / 2;
  for (int i = 0; i < 2; i++) {
    s->wall[i] = s->body[i] - s->fat;
    s->cavity[i] = s->wall[i] - (i ? 14 : 18);
  }
  s->chest_middle = -2;
  s->apex = pick(p, 8, 125, 142);
  s->blood = pick(p, 9, 0, 1) < 0.3 ? pick(p, 10, 110, 170) : pick(p, 10, 38, 52);
  s->bone = 420 - 2.5 * p->age + pick(p, 11, 0, 120);
  s->breasts = p->female;
  s->table = pick(p, 12, 0, 1) < 0.7;
}

/* ---- lungs ---- */

/* The point of a lung with these lung coordinates. */
static void lung_point(const Scene *s, const Lung *lung, double u, double v, double z,
                       double out[3]) {
  out[0] = lung->sign * (lung->centre + u * lung->width);
  out[1] = s->chest_middle + v * lung->depth;
  out[2] = z;
}

static Segment segment(const double from[3], const double to[3], double thick, double thin) {
  Segment g = {.radius = {thick, thin}};
  for (int i = 0; i < 3; i++) {
    g.from[i] = from[i];
    g.along[i] = to[i] - from[i];
    g.length2 += g.along[i] * g.along[i];
  }
  return g;
}

/* Vessels fan out from the hilum. */
static void make_vessels(const Phantom *p, const Scene *s, Lung *lung) {
  const double hilum[3] = {lung->sign * 34, 8, 12};
  uint64_t stream = VESSEL_SHAPES + (lung->sign > 0);
  for (uint64_t i = 0; i < VESSELS; i++) {
    double to[3], turn = 6.28 * ((double)i + random_uniform(p->anatomy, stream, 4 * i)) / VESSELS;
    double lift = random_uniform(p->anatomy, stream, 4 * i + 1);
    lung_point(s, lung, 0.1 + 0.7 * cos(turn), 0.75 * sin(turn),
               lung->dome + 10 + lift * (s->apex - lung->dome - 50), to);
    lung->vessels[i] = segment(hilum, to, 4.5, 1 + random_uniform(p->anatomy, stream, 4 * i + 2));
  }
}

static void make_lung(const Phantom *p, Scene *s, int which) {
  Lung *lung = &s->lungs[which];
  uint64_t k = 20 + 10 * (uint64_t)which;
  lung->sign = which ? 1 : -1;
  lung->width = (s->cavity[0] - 18) / 2 * pick(p, k, 0.97, 1.0);
  lung->centre = 18 + lung->width;
  lung->depth = s->cavity[1] * pick(p, k + 1, 0.95, 1);
  lung->dome = pick(p, 40, -52, -36) - (which ? pick(p, k + 2, 2, 14) : 0);
  lung->curve = pick(p, 41, 0.006, 0.009);
  lung->air = pick(p, 42, -865, -815);
  if (p->has[EMPHYSEMA]) {
    lung->air -= 55 + 25 * phantom_severity(p, EMPHYSEMA);
    lung->dome -= 8 + 6 * phantom_severity(p, EMPHYSEMA);
    lung->curve *= 0.6;
  }
  if (affects(p, ATELECTASIS, lung)) {
    lung->dome += 20 + 10 * phantom_severity(p, ATELECTASIS);
    lung->collapse = 26 + 30 * phantom_severity(p, ATELECTASIS);
  }
  lung->fluid = 9;
  if (affects(p, PLEURAL_EFFUSION, lung))
    lung->fluid = 0.84 - 0.7 * phantom_severity(p, PLEURAL_EFFUSION);
  make_vessels(p, s, lung);
}

/* ---- heart and vessels ---- */

static void make_heart(const Phantom *p, Scene *s) {
  double large =
      p->has[CARDIOMEGALY] ? 1.28 + 0.2 * phantom_severity(p, CARDIOMEGALY) : pick(p, 50, 0.86, 1);
  const double half[3] = {47, 39, 46};
  for (int i = 0; i < 3; i++)
    s->heart.half[i] = large * half[i] * pick(p, 51 + (uint64_t)i, 0.96, 1.04);
  s->heart.centre[0] = pick(p, 54, 14, 22) + 10 * (large - 1);
  s->heart.centre[1] = -20 - 12 * (large - 1);
  s->heart.centre[2] = pick(p, 55, -30, -20);
  s->aorta[0] = pick(p, 56, 18, 26);
  s->aorta[1] = pick(p, 57, 34, 42);
  s->aorta_radius = pick(p, 58, 12, 16) + 0.03 * p->age;
  s->arch = pick(p, 59, 50, 62);
  s->plaque = p->has[ARTERIAL_CALCIFICATION]
                  ? 0.55 + 0.45 * phantom_severity(p, ARTERIAL_CALCIFICATION)
                  : 0;
}

static void make_stomach(const Phantom *p, Scene *s) {
  s->stomach = (Ball){{pick(p, 60, 40, 60), -25, s->lungs[1].dome - 34},
                      {pick(p, 61, 26, 36), 26, pick(p, 62, 18, 26)}};
  s->has_hernia = p->has[HIATAL_HERNIA];
  double size = 30 + 14 * phantom_severity(p, HIATAL_HERNIA);
  s->hernia = (Ball){{placed(p, HIATAL_HERNIA, 2, -6, 14), placed(p, HIATAL_HERNIA, 3, 16, 26),
                      placed(p, HIATAL_HERNIA, 4, -62, -44)},
                     {size * 1.1, size * 0.9, size}};
}

/* ---- findings inside the lungs ---- */

/* A blob in the lung of the side, from three numbers of the finding beginning at k. */
static Ball in_lung(const Phantom *p, const Scene *s, Finding f, int k, bool left, double radius) {
  const Lung *lung = &s->lungs[left];
  Ball ball = {.half = {radius, radius, radius}};
  double low = lung->dome + 18 + radius / 2, high = s->apex - 42;
  lung_point(s, lung, placed(p, f, k, -0.45, 0.7), placed(p, f, k + 1, -0.7, 0.6),
             placed(p, f, k + 2, low, high), ball.centre);
  return ball;
}

static void make_consolidation(const Phantom *p, Scene *s) {
  double radius = 34 + 14 * phantom_severity(p, CONSOLIDATION);
  bool left = phantom_side(p, CONSOLIDATION) == LEFT;
  s->n_consolidations = p->has[CONSOLIDATION];
  s->consolidation = in_lung(p, s, CONSOLIDATION, 2, left, radius);
  s->consolidation.half[2] *= placed(p, CONSOLIDATION, 5, 0.9, 1.3);
}

/* Ground glass: patches in one lung or in both. */
static void make_opacities(const Phantom *p, Scene *s) {
  Side side = phantom_side(p, LUNG_OPACITY);
  if (!p->has[LUNG_OPACITY])
    return;
  s->n_opacities = side == BOTH ? 6 : 4;
  for (int i = 0; i < s->n_opacities; i++) {
    double radius = 30 + 12 * phantom_severity(p, LUNG_OPACITY) + 3 * (i % 3);
    bool left = side == BOTH ? i % 2 : side == LEFT;
    s->opacities[i] = in_lung(p, s, LUNG_OPACITY, 2 + i, left, radius);
  }
}

static void make_nodules(const Phantom *p, Scene *s) {
  s->n_nodules = p->has[LUNG_NODULE] ? phantom_nodules(p) : 0;
  s->nodule_value = placed(p, LUNG_NODULE, 11, 0, 80);
  for (int i = 0; i < s->n_nodules; i++) {
    bool left = (phantom_side(p, LUNG_NODULE) == LEFT) == (i < 2);
    double radius = 11 + 8 * phantom_severity(p, LUNG_NODULE) - 2 * i;
    s->nodules[i] = in_lung(p, s, LUNG_NODULE, 3 + 2 * i, left, radius);
  }
}

/* ---- what was put in ---- */

static void make_device(const Phantom *p, Scene *s) {
  Device *d = &s->device;
  double sign = phantom_side(p, MEDICAL_MATERIAL) == LEFT ? 1 : -1;
  double x = placed(p, MEDICAL_MATERIAL, 2, 52, 72), z = placed(p, MEDICAL_MATERIAL, 3, 62, 88);
  double skin = s->body[1] * sqrt(1 - (x / s->body[0]) * (x / s->body[0]));
  double size = 0.8 + 0.4 * phantom_severity(p, MEDICAL_MATERIAL);
  d->there = p->has[MEDICAL_MATERIAL];
  d->box = (Ball){{sign * x, -skin + 4, z}, {30 * size, 12 * size, 28 * size}};
  const double *from = d->box.centre, neck[3] = {sign * 24, -14, 104};
  const double vein[3] = {-24, -12, 40};
  const double tip[3] = {s->heart.centre[0] + 8, s->heart.centre[1], s->heart.centre[2] - 10};
  d->leads[0] = segment(from, neck, 3.5, 3.5);
  d->leads[1] = segment(neck, vein, 3.5, 3.5);
  d->leads[2] = segment(vein, tip, 3.5, 3.5);
}

void scene_make(const Phantom *p, Scene *s) {
  *s = (Scene){.key = p->anatomy, .emphysema = p->has[EMPHYSEMA]};
  make_body(p, s);
  make_lung(p, s, 0);
  make_lung(p, s, 1);
  make_heart(p, s);
  make_stomach(p, s);
  make_consolidation(p, s);
  make_opacities(p, s);
  make_nodules(p, s);
  make_device(p, s);
}
