/* A linear head on latents for several yes-or-no findings: logits = features W' + b, trained with
 * binary cross-entropy.
 */
#ifndef TRICOT_RUNTIME_JOB_PROBE_H
#define TRICOT_RUNTIME_JOB_PROBE_H
#include <stdbool.h>
#include <stdint.h>

typedef struct Probe {
  int64_t width;
  int classes;
  double *values; /* weight [classes][width], then bias [classes]; the caller's */
} Probe;
static inline int64_t probe_size(const Probe *p) { return p->classes * (p->width + 1); }

/* Features as the released head takes them: max(latent / max(|latent|, 1e-12), 0), then dropout
 * with probability `dropout` and the rest scaled by 1/(1 - dropout); which values stay follows from
 * (seed, step) alone. dropout 0: none. */
void probe_relu_features(const float *latents, int64_t count, double dropout, uint64_t seed,
                         uint64_t step, double *features);
/* Unit latents. */
void probe_unit_features(const float *latents, int64_t rows, int64_t width, double *features);

/* Mean over rows and classes of the binary cross-entropy with logits, positives weighted:
 * -(w y log s(z) + (1 - y) log(1 - s(z))). features [rows][width], labels [rows][classes].
 * gradient (or NULL) has the layout of the head's values. */
double probe_loss(const Probe *probe, const double *features, const uint8_t *labels, int64_t rows,
                  const double *positive_weight, double *gradient);
void probe_probabilities(const Probe *probe, const double *features, double *probabilities);

/* Linear layers as PyTorch starts them: uniform in +-1/sqrt(width). */
void probe_initialize(const Probe *probe, uint64_t seed);

/* One step of AdamW (Loshchilov and Hutter, arXiv 1711.05101); decay on the weight alone. The
 * gradient is first scaled to at most `clip` in L2 norm, and changed. moments: 2 * probe_size
 * values, zero before the first step; step counts from 1. */
typedef struct ProbeAdamW {
  double lr, beta1, beta2, eps, decay, clip;
} ProbeAdamW;
void probe_adamw(const Probe *probe, const ProbeAdamW *settings, double *gradient, double *moments,
                 int64_t step);

/* Minimises probe_loss of each class plus l2/2 |w|^2 with L-BFGS (Liu and Nocedal, 1989), from
 * zero. A class with one kind of label only gets the constant log((positives + 1/2) / (negatives +
 * 1/2)). Returns the largest component of the gradient that is left over all classes. */
double probe_fit(const Probe *probe, const double *features, const uint8_t *labels, int64_t rows,
                 const double *positive_weight, double l2, int iterations);
#endif
