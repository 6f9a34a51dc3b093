/* The linear head. See probe.h. */
#include "runtime/job/probe.h"
#include "runtime/base/arena.h"
#include "runtime/base/random.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HISTORY = 10 };

static double softplus(double x) { return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }
static double sigmoid(double x) { return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)); }

static double dot(const double *a, const double *b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++)
    sum += a[i] * b[i];
  return sum;
}

void probe_unit_features(const float *latents, int64_t rows, int64_t width, double *features) {
  for (int64_t r = 0; r < rows; r++) {
    const float *latent = latents + r * width;
    double square = 0;
    for (int64_t i = 0; i < width; i++)
      square += (double)latent[i] * latent[i];
    double norm = fmax(sqrt(square), 1e-12);
    for (int64_t i = 0; i < width; i++)
      features[r * width + i] = latent[i] / norm;
  }
}

void probe_relu_features(const float *latents, int64_t count, double dropout, uint64_t seed,
                         uint64_t step, double *features) {
  probe_unit_features(latents, 1, count, features);
  for (int64_t i = 0; i < count; i++) {
    features[i] = fmax(features[i], 0);
    if (dropout > 0)
      features[i] =
          random_uniform(seed, step, (uint64_t)i) < dropout ? 0 : features[i] / (1 - dropout);
  }
}

/* Loss and gradient of one class, not yet divided; gradient [width + 1] is added to. */
static double class_loss(const double *weight, double bias, const double *features,
                         const uint8_t *labels, int64_t stride, int64_t rows, int64_t width,
                         double positive_weight, double *gradient) {
  double loss = 0;
  for (int64_t r = 0; r < rows; r++) {
    const double *x = features + r * width;
    double z = dot(weight, x, width) + bias;
    bool positive = labels[r * stride];
    loss += positive ? positive_weight * softplus(-z) : softplus(z);
    double slope = positive ? -positive_weight * sigmoid(-z) : sigmoid(z);
    for (int64_t i = 0; gradient && i < width; i++)
      gradient[i] += slope * x[i];
    if (gradient)
      gradient[width] += slope;
  }
  return loss;
}

double probe_loss(const Probe *p, const double *features, const uint8_t *labels, int64_t rows,
                  const double *positive_weight, double *gradient) {
  double loss = 0, share = 1 / ((double)rows * p->classes);
  double *own = mem_alloc(sizeof *own * (size_t)(p->width + 1));
  for (int c = 0; c < p->classes; c++) {
    memset(own, 0, sizeof *own * (size_t)(p->width + 1));
    loss += class_loss(p->values + c * p->width, p->values[p->classes * p->width + c], features,
                       labels + c, p->classes, rows, p->width, positive_weight[c],
                       gradient ? own : NULL);
    for (int64_t i = 0; gradient && i < p->width; i++)
      gradient[c * p->width + i] = own[i] * share;
    if (gradient)
      gradient[p->classes * p->width + c] = own[p->width] * share;
  }
  free(own);
  return loss * share;
}

void probe_probabilities(const Probe *p, const double *features, double *probabilities) {
  for (int c = 0; c < p->classes; c++)
    probabilities[c] = sigmoid(dot(p->values + c * p->width, features, p->width) +
                               p->values[p->classes * p->width + c]);
}

void probe_initialize(const Probe *p, uint64_t seed) {
  double bound = 1 / sqrt((double)p->width);
  for (int64_t i = 0; i < probe_size(p); i++)
    p->values[i] = bound * (2 * random_uniform(seed, 0x70726f6265, (uint64_t)i) - 1);
}

void probe_adamw(const Probe *p, const ProbeAdamW *a, double *gradient, double *moments,
                 int64_t step) {
  int64_t size = probe_size(p);
  double norm = sqrt(dot(gradient, gradient, size));
  double scale = a->clip > 0 && norm > a->clip ? a->clip / norm : 1;
  for (int64_t i = 0; i < size; i++) {
    double g = scale * gradient[i], *m = &moments[i], *v = &moments[size + i];
    *m = a->beta1 * *m + (1 - a->beta1) * g;
    *v = a->beta2 * *v + (1 - a->beta2) * g * g;
    if (i < p->classes * p->width)
      p->values[i] *= 1 - a->lr * a->decay;
    p->values[i] -= a->lr * (*m / (1 - pow(a->beta1, (double)step))) /
                    (sqrt(*v / (1 - pow(a->beta2, (double)step))) + a->eps);
  }
}

/* ---- L-BFGS on one class ---- */

typedef struct Fit {
  const double *features;
  const uint8_t *labels; /* of this class, `stride` apart */
  int64_t stride, rows, width;
  double positive_weight, l2;
} Fit;

static double objective(const Fit *f, const double *x, double *gradient) {
  memset(gradient, 0, sizeof *gradient * (size_t)(f->width + 1));
  double loss = class_loss(x, x[f->width], f->features, f->labels, f->stride, f->rows, f->width,
                           f->positive_weight, gradient) /
                (double)f->rows;
  for (int64_t i = 0; i <= f->width; i++)
    gradient[i] = gradient[i] / (double)f->rows + (i < f->width ? f->l2 * x[i] : 0);
  return loss + 0.5 * f->l2 * dot(x, x, f->width);
}

typedef struct Memory { /* the last steps and changes of the gradient, a ring */
  double *step[HISTORY], *change[HISTORY], curvature[HISTORY];
  int count;
} Memory;

/* The two-loop recursion: direction = -H gradient. */
static void find_direction(const Memory *m, const double *gradient, int64_t n, double *direction) {
  double share[HISTORY];
  int kept = m->count < HISTORY ? m->count : HISTORY;
  for (int64_t i = 0; i < n; i++)
    direction[i] = -gradient[i];
  for (int k = m->count - 1; k >= m->count - kept; k--) {
    int at = k % HISTORY;
    share[at] = dot(m->step[at], direction, n) / m->curvature[at];
    for (int64_t i = 0; i < n; i++)
      direction[i] -= share[at] * m->change[at][i];
  }
  int last = kept ? (m->count - 1) % HISTORY : 0;
  double scale = kept ? m->curvature[last] / dot(m->change[last], m->change[last], n)
                      : 1 / fmax(sqrt(dot(gradient, gradient, n)), 1);
  for (int64_t i = 0; i < n; i++)
    direction[i] *= scale;
  for (int k = m->count - kept; k < m->count; k++) {
    int at = k % HISTORY;
    double back = dot(m->change[at], direction, n) / m->curvature[at];
    for (int64_t i = 0; i < n; i++)
      direction[i] += (share[at] - back) * m->step[at][i];
  }
}

static double largest(const double *values, int64_t n) {
  double most = 0;
  for (int64_t i = 0; i < n; i++)
    most = fmax(most, fabs(values[i]));
  return most;
}

/* Moves x; returns the largest component of the gradient there. */
static double fit_class(const Fit *f, double *x, int iterations) {
  int64_t n = f->width + 1;
  Arena *arena = arena_new();
  double *gradient = ARENA_ARRAY(arena, double, n), *direction = ARENA_ARRAY(arena, double, n);
  double *next = ARENA_ARRAY(arena, double, n), *next_gradient = ARENA_ARRAY(arena, double, n);
  Memory m = {0};
  for (int k = 0; k < HISTORY; k++) {
    m.step[k] = ARENA_ARRAY(arena, double, n);
    m.change[k] = ARENA_ARRAY(arena, double, n);
  }
  double value = objective(f, x, gradient);
  for (int t = 0; t < iterations && largest(gradient, n) > 1e-7; t++) {
    find_direction(&m, gradient, n, direction);
    double slope = dot(gradient, direction, n), step = 1, found = value;
    int tries = 0;
    for (; tries < 40; tries++, step /= 2) { /* Armijo's condition */
      for (int64_t i = 0; i < n; i++)
        next[i] = x[i] + step * direction[i];
      found = objective(f, next, next_gradient);
      if (found <= value + 1e-4 * step * slope)
        break;
    }
    if (tries == 40) /* rounding hides any further descent */
      break;
    int at = m.count % HISTORY;
    for (int64_t i = 0; i < n; i++) {
      m.step[at][i] = next[i] - x[i];
      m.change[at][i] = next_gradient[i] - gradient[i];
    }
    m.curvature[at] = dot(m.step[at], m.change[at], n);
    if (m.curvature[at] > 0) /* convex: only rounding can make it otherwise */
      m.count++;
    memcpy(x, next, sizeof *x * (size_t)n);
    memcpy(gradient, next_gradient, sizeof *x * (size_t)n);
    value = found;
  }
  double left = largest(gradient, n);
  arena_free(arena);
  return left;
}

double probe_fit(const Probe *p, const double *features, const uint8_t *labels, int64_t rows,
                 const double *positive_weight, double l2, int iterations) {
  double *x = mem_alloc(sizeof *x * (size_t)(p->width + 1)), left = 0;
  for (int c = 0; c < p->classes; c++) {
    int64_t positives = 0;
    for (int64_t r = 0; r < rows; r++)
      positives += labels[r * p->classes + c];
    Fit fit = {features, labels + c, p->classes, rows, p->width, positive_weight[c], l2};
    memset(x, 0, sizeof *x * (size_t)(p->width + 1));
    if (positives && positives < rows)
      left = fmax(left, fit_class(&fit, x, iterations));
    else
      x[p->width] = log(((double)positives + 0.5) / ((double)(rows - positives) + 0.5));
    memcpy(p->values + c * p->width, x, sizeof *x * (size_t)p->width);
    p->values[p->classes * p->width + c] = x[p->width];
  }
  free(x);
  return left;
}
