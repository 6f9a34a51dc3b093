/* Steps made of parts against steps in one: the mean over parts (train_micro), and the contrast
 * over the whole (train_embed, train_contrast, train_backward), where norms use running statistics
 * so that a part computes what the whole does. Then train_apply against what train_step did.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdint.h>

#include "driver/compile.h"
#include "runtime/base/random.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WHOLE = 6, PART = 2, PARTS = WHOLE / PART, WORDS = 50, TOKENS = 7 };

static const char *const sets[] = {"volume=[16,16,16]",
                                   "latent=16",
                                   "image.statistics=\"running\"",
                                   "image.layer_scale=0.1",
                                   "temperature=\"learned\"",
                                   "text.vocab=50",
                                   "text.length=7",
                                   "text.width=16",
                                   "text.layers=1",
                                   "text.heads=2",
                                   "text.hidden=32",
                                   "text.positions=8"};

static void open_model(Compiled *compiled, const char *target) {
  static const EntryRequest entries[] = {
      {.entry = "train_step", .name = "train_step", .batch = WHOLE, .keep_gradients = true},
      {.entry = "train_step", .name = "part_step", .batch = PART, .keep_gradients = true},
      {.entry = "train_micro", .name = "train_micro", .batch = PART},
      {.entry = "train_embed", .name = "train_embed", .batch = PART},
      {.entry = "train_contrast", .name = "train_contrast", .batch = WHOLE},
      {.entry = "train_backward", .name = "train_backward", .batch = PART},
      {.entry = "train_apply", .name = "train_apply", .keep_gradients = true}};
  CompileRequest request = {.model = {.path = TRICOT_SOURCE "/models/clip-dcformer.yaml",
                                      .variant = "nano",
                                      .sets = sets,
                                      .n_sets = sizeof sets / sizeof *sets},
                            .target = target,
                            .entries = entries,
                            .n_entries = sizeof entries / sizeof *entries,
                            .threads = 2};
  Error error = {""};
  if (!compiled_open(compiled, &request, &error)) {
    compiled_report(compiled, &error);
    fail();
  }
  program_initialize(compiled->program, 7);
}

static int find_entry(Program *p, const char *name) {
  int entry = program_entry(p, name);
  assert_true(entry >= 0);
  return entry;
}

static void set(Program *p, int entry, const char *name, double value) {
  float *at = program_input(p, entry, name, NULL);
  assert_non_null(at);
  *at = (float)value;
}

/* Samples first .. of a fixed list into the inputs of an entry point. */
static void fill(Program *p, int entry, int first) {
  Type type;
  const PlanPort *port;
  program_part(p, entry, "volume", &port);
  type = port->type;
  float *volume = malloc(type_bytes(&type));
  int64_t voxels = type_elements(&type) / type.dim[0];
  int64_t *ids = program_input(p, entry, "input_ids", NULL);
  int64_t *mask = program_input(p, entry, "attention_mask", NULL);
  for (int64_t q = 0; q < type.dim[0]; q++) {
    uint64_t sample = (uint64_t)(first + q);
    for (int64_t v = 0; v < voxels; v++)
      volume[q * voxels + v] = (float)random_normal(11, sample, (uint64_t)v);
    for (int64_t t = 0; t < TOKENS; t++) {
      ids[q * TOKENS + t] = (int64_t)(WORDS * random_uniform(12, sample, (uint64_t)t));
      mask[q * TOKENS + t] = t < 3 + (int64_t)sample % 4;
    }
  }
  assert_true(program_write(p, entry, "volume", volume));
  free(volume);
}

static void run(Program *p, int entry) {
  Error error = {""};
  if (!program_run(p, entry, &error))
    fail_msg("%s", error.text);
  assert_false(program_stopped(p, entry));
}

static double scalar(Program *p, int entry, const char *name) {
  Type type;
  const void *at = program_output(p, entry, name, &type);
  assert_non_null(at);
  return dtype_load(type.dtype, at, 0);
}

/* Saved tensors by the plan's number: gradients, or values of parameters. */
typedef struct Saved {
  float *at[2000];
} Saved;

static void save(Program *p, Saved *saved, int entry, bool gradients) {
  const Plan *plan = program_plan(p);
  for (int i = 0; i < plan->n_tensors; i++) {
    const PlanTensor *t = &plan->tensors[i];
    char name[200];
    snprintf(name, sizeof name, "grad.%s", t->name);
    saved->at[i] = NULL;
    const void *data = t->role >= PLAN_SCRATCH || t->type.dtype != DT_f32 ? NULL
                       : gradients ? program_output(p, entry, name, NULL)
                                   : program_tensor(p, t->name, NULL);
    if (data) {
      saved->at[i] = mem_alloc(type_bytes(&t->type) + 1);
      memcpy(saved->at[i], data, type_bytes(&t->type));
    }
  }
}

static void release(Saved *saved, const Plan *plan) {
  for (int i = 0; i < plan->n_tensors; i++)
    free(saved->at[i]);
}

/* Largest difference relative to the largest gradient of the tensor; tiny tensors are noise. */
static void same_gradients(Program *p, const Saved *wanted, double tolerance) {
  const Plan *plan = program_plan(p);
  int compared = 0;
  for (int i = 0; i < plan->n_tensors; i++) {
    if (!wanted->at[i])
      continue;
    char name[200];
    snprintf(name, sizeof name, "accumulated.%s", plan->tensors[i].name);
    const float *have = program_tensor(p, name, NULL);
    assert_non_null(have);
    double error = 0, norm = 0;
    for (int64_t k = 0; k < type_elements(&plan->tensors[i].type); k++) {
      error += pow((double)have[k] - wanted->at[i][k], 2);
      norm += pow(wanted->at[i][k], 2);
    }
    compared++;
    if (sqrt(error) > tolerance * sqrt(norm) + 1e-7)
      fail_msg("gradient of %s differs by %g of %g", plan->tensors[i].name, sqrt(error),
               sqrt(norm));
  }
  assert_true(compared > 100);
}

/* The latents of every part, side by side, and their gradients handed back. */
static double contrast_whole(Program *p) {
  static const char *const latents[] = {"image_latents", "text_latents"};
  int embed = find_entry(p, "train_embed"), contrast = find_entry(p, "train_contrast");
  int backward = find_entry(p, "train_backward");
  Type type;
  float *kept[2], *gradients[2];
  program_output(p, embed, latents[0], &type);
  size_t part = type_bytes(&type);
  for (int k = 0; k < 2; k++) {
    kept[k] = mem_alloc(part * PARTS);
    gradients[k] = mem_alloc(part * PARTS);
  }
  for (int i = 0; i < PARTS; i++) {
    fill(p, embed, i * PART);
    run(p, embed);
    for (int k = 0; k < 2; k++)
      memcpy((char *)kept[k] + part * (size_t)i, program_output(p, embed, latents[k], NULL), part);
  }
  for (int k = 0; k < 2; k++)
    memcpy(program_input(p, contrast, latents[k], NULL), kept[k], part * PARTS);
  set(p, contrast, "share", 1);
  run(p, contrast);
  double loss = scalar(p, contrast, "loss");
  memcpy(gradients[0], program_output(p, contrast, "grad.image_latents", NULL), part * PARTS);
  memcpy(gradients[1], program_output(p, contrast, "grad.text_latents", NULL), part * PARTS);
  for (int i = 0; i < PARTS; i++) {
    fill(p, backward, i * PART);
    memcpy(program_input(p, backward, "grad.image_latents", NULL),
           (char *)gradients[0] + part * (size_t)i, part);
    memcpy(program_input(p, backward, "grad.text_latents", NULL),
           (char *)gradients[1] + part * (size_t)i, part);
    set(p, backward, "share", 1);
    run(p, backward);
  }
  for (int k = 0; k < 2; k++) {
    free(kept[k]);
    free(gradients[k]);
  }
  return loss;
}

static void whole_contrast(const char *target) {
  Compiled compiled;
  Saved gradients, after;
  open_model(&compiled, target);
  Program *p = compiled.program;
  int step = find_entry(p, "train_step"), apply = find_entry(p, "train_apply");
  fill(p, step, 0);
  set(p, step, "lr", 1e-3);
  set(p, step, "clip", 0);
  run(p, step);
  double loss = scalar(p, step, "loss"), norm = scalar(p, step, "grad_norm");
  save(p, &gradients, step, true);
  save(p, &after, step, false);

  program_initialize(p, 7); /* the same weights again */
  double parts = contrast_whole(p);
  assert_true(fabs(parts - loss) < 1e-5 * fabs(loss));
  same_gradients(p, &gradients, 1e-5);
  set(p, apply, "lr", 1e-3);
  set(p, apply, "clip", 0);
  run(p, apply);
  assert_true(fabs(scalar(p, apply, "grad_norm") - norm) < 1e-5 * norm);
  for (int i = 0; i < compiled.plan.n_tensors; i++) /* ready for the next sum */
    for (int64_t k = 0; compiled.plan.tensors[i].role == PLAN_SCRATCH &&
                        k < type_elements(&compiled.plan.tensors[i].type);
         k++)
      assert_true(((float *)program_tensor(p, compiled.plan.tensors[i].name, NULL))[k] == 0);
  double worst = 0; /* AdamW's first step is lr times the sign: equal but where gradients vanish */
  int64_t moved = 0, differ = 0;
  for (int i = 0; i < compiled.plan.n_tensors; i++)
    for (int64_t k = 0; after.at[i] && compiled.plan.tensors[i].role == PLAN_PARAMETER &&
                        k < type_elements(&compiled.plan.tensors[i].type);
         k++) {
      const float *now = program_tensor(p, compiled.plan.tensors[i].name, NULL);
      double gap = fabs((double)now[k] - after.at[i][k]);
      worst = gap > worst ? gap : worst;
      moved++;
      differ += gap > 1e-5;
    }
  assert_true(worst <= 2.1e-3);
  assert_true(differ < moved / 50);
  release(&gradients, &compiled.plan);
  release(&after, &compiled.plan);
  compiled_close(&compiled);
}

/* The mean of the parts' losses and gradients, and a clip that halves the step's gradient. */
static void mean_of_parts(const char *target) {
  Compiled compiled;
  open_model(&compiled, target);
  Program *p = compiled.program;
  int micro = find_entry(p, "train_micro"), apply = find_entry(p, "train_apply");
  int part = find_entry(p, "part_step");
  Saved sum = {{0}}, one;
  double loss = 0, losses = 0;
  for (int i = 0; i < PARTS; i++) {
    program_initialize(p, 7);
    fill(p, part, i * PART);
    set(p, part, "lr", 0);
    set(p, part, "clip", 0);
    run(p, part);
    loss += scalar(p, part, "loss") / PARTS;
    save(p, &one, part, true);
    for (int t = 0; t < compiled.plan.n_tensors; t++)
      for (int64_t k = 0; one.at[t] && k < type_elements(&compiled.plan.tensors[t].type); k++) {
        if (!sum.at[t])
          sum.at[t] = mem_alloc(type_bytes(&compiled.plan.tensors[t].type) + 1);
        sum.at[t][k] = (i ? sum.at[t][k] : 0) + one.at[t][k] / PARTS;
      }
    release(&one, &compiled.plan);
  }
  program_initialize(p, 7);
  for (int i = 0; i < PARTS; i++) {
    fill(p, micro, i * PART);
    set(p, micro, "share", 1.0 / PARTS);
    run(p, micro);
    losses += scalar(p, micro, "loss") / PARTS;
  }
  assert_true(fabs(losses - loss) < 1e-5 * fabs(loss));
  same_gradients(p, &sum, 1e-5);

  /* moments tell what the optimizer was given: m = 0.05 of the gradient after the first step */
  set(p, apply, "lr", 0);
  set(p, apply, "clip", 0);
  run(p, apply);
  double norm = scalar(p, apply, "grad_norm"), squares = 0;
  Type type;
  const float *all = program_output(p, apply, "grad_squares", &type);
  for (int64_t i = 0; i < type_elements(&type); i++)
    squares += all[i];
  assert_true(fabs(sqrt(squares) - norm) < 1e-5 * norm);
  const char *moment = "adamw.m.to_text_latent.weight";
  const float *m = program_tensor(p, moment, &type);
  double unclipped = 0, clipped = 0;
  for (int64_t i = 0; i < type_elements(&type); i++)
    unclipped += fabs(m[i]);
  program_initialize_state(p, 7); /* takes the moments and the scratch back to zero */
  for (int i = 0; i < PARTS; i++) {
    fill(p, micro, i * PART);
    set(p, micro, "share", 1.0 / PARTS);
    run(p, micro);
  }
  set(p, apply, "clip", norm / 2);
  run(p, apply);
  for (int64_t i = 0; i < type_elements(&type); i++)
    clipped += fabs(m[i]);
  assert_true(unclipped > 0 && fabs(clipped / unclipped - 0.5) < 1e-4);
  release(&sum, &compiled.plan);
  compiled_close(&compiled);
}

/* A loss that is not finite stops the step before it changes anything, and is traced to its cause.
 */
static void stopped(const char *target) {
  Compiled compiled;
  open_model(&compiled, target);
  Program *p = compiled.program;
  Saved before;
  ProgramTrouble trouble;
  Error error = {""};
  int step = find_entry(p, "train_step");
  fill(p, step, 0);
  set(p, step, "lr", 1e-3);
  run(p, step);
  assert_false(program_find_trouble(p, step, &trouble));
  run(p, step);
  /* large weights of one convolution overflow its result */
  bool single = strcmp(target, "interp") != 0; /* the interpreter computes in double precision */
  Type type;
  const char *name = "visual_transformer.encoder.s1.0.mlp.mlp.0.weight";
  float *weight = program_tensor(p, name, &type);
  for (int64_t i = 0; i < type_elements(&type); i++)
    weight[i] = single ? 3e38f : NAN;
  program_touch(p);
  save(p, &before, step, false);
  assert_true(program_run(p, step, &error));
  assert_true(program_stopped(p, step));
  for (int i = 0; i < compiled.plan.n_tensors; i++)
    if (before.at[i])
      assert_memory_equal(before.at[i], program_tensor(p, compiled.plan.tensors[i].name, NULL),
                          type_bytes(&compiled.plan.tensors[i].type));
  assert_true(program_find_trouble(p, step, &trouble));
  assert_true(trouble.bad > 0 && trouble.bad <= trouble.elements);
  if (single) {
    assert_string_equal(trouble.what, "step");
    assert_non_null(strstr(trouble.place, ".yaml:"));
    assert_true(trouble.step > 0);
  }
  for (int64_t i = 0; i < type_elements(&type); i++)
    weight[i] = 0;
  weight[3] = NAN;
  assert_true(program_find_trouble(p, step, &trouble));
  assert_string_equal(trouble.what, "tensor");
  assert_string_equal(trouble.name, name);
  assert_int_equal(trouble.bad, 1);
  float *volume = program_part(p, step, "volume", NULL);
  volume[5] = INFINITY;
  assert_true(program_find_trouble(p, step, &trouble));
  assert_string_equal(trouble.what, "input");
  assert_string_equal(trouble.name, "volume");
  release(&before, &compiled.plan);
  compiled_close(&compiled);
}

#define CASE(check)                                                                                \
  static void check##_interp(void **state) { (void)state, check("interp"); }                       \
  static void check##_cpu(void **state) { (void)state, check(TRICOT_LLVM ? "cpu" : "c"); }
CASE(whole_contrast)
CASE(mean_of_parts)
CASE(stopped)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(whole_contrast_interp), cmocka_unit_test(whole_contrast_cpu),
      cmocka_unit_test(mean_of_parts_interp),  cmocka_unit_test(mean_of_parts_cpu),
      cmocka_unit_test(stopped_interp),        cmocka_unit_test(stopped_cpu)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
