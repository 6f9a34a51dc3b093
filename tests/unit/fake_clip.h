/* A CLIP model small enough to check by hand: 2x2x2 voxels, 6 tokens, 16 words, latents of 4.
 *
 * image latents = volume . image.weight; text latents = sum of the table's rows under the mask;
 * loss = mean of the squared differences of the latents. train_step takes 2 samples, moves
 * image.weight against the gradient plus half of the last move, and counts. Kernels are written in
 * C with the signature of compiled ones.
 */
#ifndef TRICOT_TEST_FAKE_CLIP_H
#define TRICOT_TEST_FAKE_CLIP_H
#include "runtime/program.h"
#include <string.h>

enum { FAKE_VOXELS = 8, FAKE_TOKENS = 6, FAKE_WORDS = 16, FAKE_WIDTH = 4, FAKE_BATCH = 2 };

/* arguments: volume [B,8], weight [8,4], latents [B,4]; a block is a sample */
static void fake_image(void *const *arguments, int64_t begin, int64_t end) {
  const float *volume = arguments[0], *weight = arguments[1];
  float *out = arguments[2];
  for (int64_t b = begin; b < end; b++)
    for (int w = 0; w < FAKE_WIDTH; w++) {
      float sum = 0;
      for (int v = 0; v < FAKE_VOXELS; v++)
        sum += volume[b * FAKE_VOXELS + v] * weight[v * FAKE_WIDTH + w];
      out[b * FAKE_WIDTH + w] = sum;
    }
}

/* arguments: ids [B,6], mask [B,6], table [16,4], latents [B,4]; a block is a sample */
static void fake_text(void *const *arguments, int64_t begin, int64_t end) {
  const int64_t *ids = arguments[0], *mask = arguments[1];
  const float *table = arguments[2];
  float *out = arguments[3];
  for (int64_t b = begin; b < end; b++)
    for (int w = 0; w < FAKE_WIDTH; w++) {
      float sum = 0;
      for (int t = 0; t < FAKE_TOKENS; t++)
        if (mask[b * FAKE_TOKENS + t])
          sum += table[ids[b * FAKE_TOKENS + t] * FAKE_WIDTH + w] / (float)(t + 1);
      out[b * FAKE_WIDTH + w] = sum;
    }
}

/* arguments: image latents, text latents, volume, loss, gradient [8,4]; one block */
static void fake_loss(void *const *arguments, int64_t begin, int64_t end) {
  const float *image = arguments[0], *text = arguments[1], *volume = arguments[2];
  float *loss = arguments[3], *gradient = arguments[4];
  (void)begin, (void)end;
  loss[0] = 0;
  loss[1] = 1; /* the gradient's norm, as far as anybody looks */
  memset(gradient, 0, sizeof(float) * FAKE_VOXELS * FAKE_WIDTH);
  for (int i = 0; i < FAKE_BATCH * FAKE_WIDTH; i++) {
    float gap = image[i] - text[i];
    *loss += gap * gap / (FAKE_BATCH * FAKE_WIDTH);
    for (int v = 0; v < FAKE_VOXELS; v++)
      gradient[v * FAKE_WIDTH + i % FAKE_WIDTH] +=
          2 * gap * volume[i / FAKE_WIDTH * FAKE_VOXELS + v] / (FAKE_BATCH * FAKE_WIDTH);
  }
}

/* arguments: lr, gradient, weight, momentum, counter; one block */
static void fake_update(void *const *arguments, int64_t begin, int64_t end) {
  const float *lr = arguments[0], *gradient = arguments[1];
  float *weight = arguments[2], *momentum = arguments[3];
  (void)begin, (void)end;
  for (int i = 0; i < FAKE_VOXELS * FAKE_WIDTH; i++) {
    momentum[i] = 0.5f * momentum[i] + gradient[i];
    weight[i] -= *lr * momentum[i];
  }
  ++*(int64_t *)arguments[4];
}

static ProgramKernel *fake_lookup(void *context, const char *name) {
  static ProgramKernel *const kernels[] = {fake_image, fake_text, fake_loss, fake_update};
  static const char *const names[] = {"fake_image", "fake_text", "fake_loss", "fake_update"};
  (void)context;
  for (int i = 0; i < 4; i++)
    if (strcmp(names[i], name) == 0)
      return kernels[i];
  return NULL;
}

static const char *const fake_kernels[] = {"fake_image", "fake_text", "fake_loss", "fake_update"};
#define FAKE_MATRIX                                                                                \
  {                                                                                                \
    DT_f32, 2, { FAKE_VOXELS, FAKE_WIDTH }                                                         \
  }
static const PlanTensor fake_tensors[] = {
    {"image.weight", FAKE_MATRIX, PLAN_PARAMETER, PLAN_NORMAL, 0, 0.5},
    {"text.table", {DT_f32, 2, {FAKE_WORDS, FAKE_WIDTH}}, PLAN_PARAMETER, PLAN_NORMAL, 0, 1},
    {"image.count", {DT_i64, 0, {0}}, PLAN_BUFFER, PLAN_CONSTANT, 0, 0},
    {"momentum.image.weight", FAKE_MATRIX, PLAN_STATE, PLAN_CONSTANT, 0, 0}};

/* places in the arena */
enum {
  FAKE_VOLUME = 0,
  FAKE_IDS = 64,
  FAKE_MASK = 192,
  FAKE_LR = 320,
  FAKE_IMAGE = 384,
  FAKE_TEXT = 448,
  FAKE_LOSS = 512,
  FAKE_GRADIENT = 576,
  FAKE_ARENA = 704
};
#define FAKE_AT(place)                                                                             \
  { PLACE_ARENA, FAKE_##place }
#define FAKE_VOLUMES(B)                                                                            \
  { "volume", {DT_f32, 5, {B, 1, 2, 2, 2}}, FAKE_AT(VOLUME), false, NULL }
#define FAKE_TEXTS(B)                                                                              \
  {"input_ids", {DT_i64, 2, {B, FAKE_TOKENS}}, FAKE_AT(IDS), false, NULL}, {                       \
    "attention_mask", {DT_i64, 2, {B, FAKE_TOKENS}}, FAKE_AT(MASK), false, NULL                    \
  }

static const PlanPort fake_train_in[] = {FAKE_VOLUMES(FAKE_BATCH),
                                         FAKE_TEXTS(FAKE_BATCH),
                                         {"lr", {DT_f32, 0, {0}}, FAKE_AT(LR), false, NULL}};
static const PlanPort fake_train_out[] = {
    {"loss", {DT_f32, 0, {0}}, FAKE_AT(LOSS), false, NULL},
    {"grad_norm", {DT_f32, 0, {0}}, {PLACE_ARENA, FAKE_LOSS + 4}, false, NULL},
    {"latents", {DT_f32, 2, {FAKE_BATCH, FAKE_WIDTH}}, FAKE_AT(IMAGE), true, NULL},
    {"grad.image.weight", FAKE_MATRIX, FAKE_AT(GRADIENT), false, NULL}};
static const PlanPort fake_image_in[] = {FAKE_VOLUMES(1)};
static const PlanPort fake_image_out[] = {
    {"image_latents", {DT_f32, 2, {1, FAKE_WIDTH}}, FAKE_AT(IMAGE), false, NULL}};
static const PlanPort fake_text_in[] = {FAKE_TEXTS(1)};
static const PlanPort fake_text_out[] = {
    {"text_latents", {DT_f32, 2, {1, FAKE_WIDTH}}, FAKE_AT(TEXT), false, NULL}};

static const PlanRef fake_image_args[] = {FAKE_AT(VOLUME), {PLACE_PERSISTENT, 0}, FAKE_AT(IMAGE)};
static const PlanRef fake_text_args[] = {
    FAKE_AT(IDS), FAKE_AT(MASK), {PLACE_PERSISTENT, 1}, FAKE_AT(TEXT)};
static const PlanRef fake_loss_args[] = {FAKE_AT(IMAGE), FAKE_AT(TEXT), FAKE_AT(VOLUME),
                                         FAKE_AT(LOSS), FAKE_AT(GRADIENT)};
static const PlanRef fake_update_args[] = {FAKE_AT(LR),
                                           FAKE_AT(GRADIENT),
                                           {PLACE_PERSISTENT, 0},
                                           {PLACE_PERSISTENT, 3},
                                           {PLACE_PERSISTENT, 2}};
static const PlanResult fake_image_result[] = {{2, FAKE_BATCH *FAKE_WIDTH, DT_f32}};
static const PlanStep fake_train_steps[] = {
    {STEP_KERNEL, 0, 3, fake_image_args, FAKE_BATCH, 0, "image", "fake.yaml:3", 128, 256, 1,
     fake_image_result, NULL, false, 0, 0, 0, 0},
    {STEP_KERNEL, 1, 4, fake_text_args, FAKE_BATCH, 0, "text", "", 0, 0, 0, NULL, NULL, false, 0, 0,
     0, 0},
    {STEP_KERNEL, 2, 5, fake_loss_args, 1, 0, "loss", "", 0, 0, 0, NULL, NULL, false, 0, 0, 0, 0},
    {STEP_KERNEL, 3, 5, fake_update_args, 1, 0, "update", "", 0, 0, 0, NULL, NULL, false, 0, 0, 0,
     0}};
static const PlanStep fake_image_steps[] = {{STEP_KERNEL, 0, 3, fake_image_args, 1, 0, "image",
                                             "fake.yaml:3", 64, 128, 0, NULL, NULL, false, 0, 0, 0,
                                             0}};
static const PlanStep fake_text_steps[] = {
    {STEP_KERNEL, 1, 4, fake_text_args, 1, 0, "text", "", 0, 0, 0, NULL, NULL, false, 0, 0, 0, 0}};

static const PlanEntry fake_entries[] = {
    {"train_step", 4, 4, 0, 4, fake_train_in, fake_train_out, NULL, fake_train_steps, FAKE_ARENA, 0,
     true, 3, false, 0, 0, 0, 0},
    {"encode_image", 1, 1, 0, 1, fake_image_in, fake_image_out, NULL, fake_image_steps, FAKE_ARENA,
     0, false, 0, false, 0, 0, 0, 0},
    {"encode_text", 2, 1, 0, 1, fake_text_in, fake_text_out, NULL, fake_text_steps, FAKE_ARENA, 0,
     false, 0, false, 0, 0, 0, 0}};
static const PlanPair fake_settings[] = {{"optimizer.lr", "0.01"},
                                         {"text.vocab", "16"},
                                         {"temperature", "\"fixed\""},
                                         {"factor", "2.5"}};
static const Plan fake_plan = {
    "fake-clip",  "small",      "x86-64",      4, 4,    3,    4, fake_tensors,
    fake_kernels, fake_entries, fake_settings, 0, NULL, "f32"};
#endif
