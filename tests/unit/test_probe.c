/* The linear head: reference values, finite differences, AdamW by hand, and convergence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/base/random.h"
#include "runtime/job/probe.h"
#include "runtime/safetensors.h"
#include "tests/unit/shared.h"
#include <math.h>
#include <string.h>

static void near(double found, double wanted, double tolerance) {
  if (!(fabs(found - wanted) <= tolerance))
    fail_msg("%.12g, not %.12g", found, wanted);
}

static const Tensor *need_tensor(const TensorFile *file, const char *name) {
  const Tensor *tensor = tensor_file_find(file, name);
  if (!tensor)
    fail_msg("no %s", name);
  return tensor;
}

static double relative_error(const double *found, const Tensor *wanted) {
  double gap = 0, norm = 0;
  for (int64_t i = 0; i < type_elements(&wanted->type); i++) {
    double w = dtype_load(wanted->type.dtype, wanted->data, i);
    gap += (found[i] - w) * (found[i] - w);
    norm += w * w;
  }
  return sqrt(gap / norm);
}

enum { ROWS = 6, CLASSES = 18, WIDTH = 512, SIZE = CLASSES * (WIDTH + 1) };

static void golden_head(void **state) {
  (void)state;
  shared_needed();
  TensorFile in, out;
  Error error;
  if (!tensor_file_open(&in, shared_path("goldens/heads.inputs.safetensors"), &error) ||
      !tensor_file_open(&out, shared_path("goldens/heads.expected.safetensors"), &error))
    fail_msg("%s", error.text);
  static double values[SIZE], gradient[SIZE], features[ROWS * WIDTH], probabilities[ROWS * CLASSES];
  double weights[CLASSES];
  uint8_t labels[ROWS * CLASSES];
  const Tensor *weight = need_tensor(&in, "probe.weight"), *bias = need_tensor(&in, "probe.bias");
  const Tensor *image = need_tensor(&in, "image_raw"), *truth = need_tensor(&in, "labels");
  for (int i = 0; i < SIZE; i++)
    values[i] = i < CLASSES * WIDTH ? dtype_load(weight->type.dtype, weight->data, i)
                                    : dtype_load(bias->type.dtype, bias->data, i - CLASSES * WIDTH);
  for (int c = 0; c < CLASSES; c++)
    weights[c] = dtype_load(DT_f32, need_tensor(&in, "pos_weight")->data, c);
  for (int i = 0; i < ROWS * CLASSES; i++)
    labels[i] = (uint8_t)dtype_load(truth->type.dtype, truth->data, i);
  for (int r = 0; r < ROWS; r++)
    probe_relu_features((const float *)image->data + r * WIDTH, WIDTH, 0, 0, 0,
                        features + r * WIDTH);
  Probe probe = {WIDTH, CLASSES, values};
  const Tensor *loss = need_tensor(&out, "probe.loss");
  double wanted = dtype_load(loss->type.dtype, loss->data, 0);
  near(probe_loss(&probe, features, labels, ROWS, weights, gradient), wanted, 1e-6 * wanted);
  for (int r = 0; r < ROWS; r++)
    probe_probabilities(&probe, features + r * WIDTH, probabilities + r * CLASSES);
  assert_true(relative_error(probabilities, need_tensor(&out, "probe.probabilities")) < 1e-6);
  assert_true(relative_error(gradient, need_tensor(&out, "probe.grad.weight")) < 1e-6);
  assert_true(
      relative_error(gradient + CLASSES * WIDTH, need_tensor(&out, "probe.grad.bias")) < 1e-6);
  tensor_file_close(&in);
  tensor_file_close(&out);
}

enum { N = 60, W = 5, C = 2 };
static double features[N * W];
static uint8_t labels[N * C];

/* Noisy labels of a known direction, so that classes overlap and the fit has a finite minimum. */
static void make_data(void) {
  for (int r = 0; r < N; r++) {
    double z = 0;
    for (int i = 0; i < W; i++) {
      features[r * W + i] = random_normal(3, (uint64_t)r, (uint64_t)i);
      z += features[r * W + i] * (i - 2);
    }
    labels[r * C] = z + 2 * random_normal(4, (uint64_t)r, 0) > 0;
    labels[r * C + 1] = 0;
  }
}

static void gradients(void **state) {
  (void)state;
  make_data();
  double values[C * (W + 1)], gradient[C * (W + 1)];
  const double weights[C] = {2.5, 0.7};
  Probe probe = {W, C, values};
  probe_initialize(&probe, 1);
  probe_loss(&probe, features, labels, N, weights, gradient);
  for (int i = 0; i < C * (W + 1); i++) {
    assert_true(fabs(values[i]) <= 1 / sqrt(W));
    double kept = values[i], h = 1e-5;
    values[i] = kept + h;
    double above = probe_loss(&probe, features, labels, N, weights, NULL);
    values[i] = kept - h;
    double below = probe_loss(&probe, features, labels, N, weights, NULL);
    values[i] = kept;
    near(gradient[i], (above - below) / (2 * h), 1e-8);
  }
}

static void converges(void **state) {
  (void)state;
  make_data();
  double values[C * (W + 1)], gradient[C * (W + 1)];
  const double weights[C] = {1, 1}, l2 = 1e-3;
  Probe probe = {W, C, values};
  assert_true(probe_fit(&probe, features, labels, N, weights, l2, 500) <= 1e-7);
  probe_loss(&probe, features, labels, N, weights, gradient);
  for (int i = 0; i < W; i++) /* the loss is a mean over both classes, the fit over one */
    near(C * gradient[i] + l2 * values[i], 0, 2e-7);
  near(gradient[C * W], 0, 2e-7);
  assert_true(values[4] > 0.3 && values[0] < -0.3); /* along the direction */
  /* a class without positives: a constant, no infinite weights */
  for (int i = 0; i < W; i++)
    assert_true(values[W + i] == 0);
  near(values[C * W + 1], log(0.5 / (N + 0.5)), 1e-12);
}

static void adamw(void **state) {
  (void)state;
  double values[2] = {2, 3}, moments[4] = {0}, gradient[2] = {3, 4};
  Probe probe = {1, 1, values};
  const ProbeAdamW a = {
      .lr = 0.1, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.5, .clip = 1};
  probe_adamw(&probe, &a, gradient, moments, 1);
  /* the norm 5 is cut to 1; the first step has the length of the rate; only the weight decays */
  near(moments[0], 0.1 * 0.6, 1e-15);
  near(moments[3], 0.05 * 0.64, 1e-15);
  near(values[0], 2 * (1 - 0.05) - 0.1, 1e-8);
  near(values[1], 3 - 0.1, 1e-8);
  double second[2] = {0, 0};
  probe_adamw(&probe, &a, second, moments, 2);
  double m = 0.9 * 0.08 / (1 - 0.81), v = 0.95 * 0.032 / (1 - 0.9025);
  near(values[1], 2.9 - 0.1 * m / sqrt(v), 1e-7);
}

static void dropout(void **state) {
  (void)state;
  enum { COUNT = 4000 };
  static float latents[COUNT];
  static double kept[COUNT], again[COUNT], other[COUNT], whole[COUNT];
  int zeros = 0, different = 0;
  for (int i = 0; i < COUNT; i++)
    latents[i] = i % 4 ? 1 : -1;
  probe_relu_features(latents, COUNT, 0, 5, 1, whole);
  probe_relu_features(latents, COUNT, 0.3, 5, 1, kept);
  probe_relu_features(latents, COUNT, 0.3, 5, 1, again);
  probe_relu_features(latents, COUNT, 0.3, 5, 2, other);
  for (int i = 0; i < COUNT; i++) {
    near(whole[i], i % 4 ? 1 / sqrt(COUNT) : 0, 1e-12);
    assert_true(kept[i] == again[i]);
    assert_true(kept[i] == 0 || fabs(kept[i] - whole[i] / 0.7) < 1e-12);
    zeros += i % 4 && kept[i] == 0;
    different += (kept[i] == 0) != (other[i] == 0);
  }
  near(zeros, 0.3 * 3000, 100); /* four standard deviations */
  assert_true(different > 500);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(golden_head), cmocka_unit_test(gradients),
                                     cmocka_unit_test(converges), cmocka_unit_test(adamw),
                                     cmocka_unit_test(dropout)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
