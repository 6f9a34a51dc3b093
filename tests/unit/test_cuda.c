/* Programs on a CUDA device, on the driver that needs none (tests/cuda_driver): what is copied
 * when, the guard, derived weights, looking for trouble, times, and what a device refuses.
 */
#include "codegen/emit.h"
#include "runtime/cuda/program_cuda.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 4, AT_X = 0, AT_LR = 64, AT_Y = 128, AT_LOSS = 192, ARENA = 256, LONGER_ARENA = 768 };

/* y = w x, loss = sum of y; w += lr x; doubled = 2 w; y = doubled x */
static const char text[] =
    "TRICOT_KERNEL(4, 1) forward(const float *w, const float *x, float *y, float *loss) {\n"
    "  TRICOT_SHARED(float, all, 0);\n"
    "  const int i = TRICOT_THREAD;\n"
    "  all[i] = w[i] * x[i];\n"
    "  y[i] = all[i];\n"
    "  TRICOT_SYNC();\n"
    "  if (i == 0)\n"
    "    *loss = all[0] + all[1] + all[2] + all[3];\n"
    "}\n"
    "TRICOT_KERNEL(1, 1) update(float *w, const float *x, const float *lr) {\n"
    "  w[TRICOT_BLOCK] += *lr * x[TRICOT_BLOCK];\n"
    "}\n"
    "TRICOT_KERNEL(4, 1) pack(const float *w, float *doubled) {\n"
    "  doubled[TRICOT_THREAD] = 2 * w[TRICOT_THREAD];\n"
    "}\n"
    "TRICOT_KERNEL(4, 1) apply(const float *doubled, const float *x, float *y) {\n"
    "  y[TRICOT_THREAD] = doubled[TRICOT_THREAD] * x[TRICOT_THREAD];\n"
    "}\n";

#define W                                                                                          \
  { PLACE_PERSISTENT, 0 }
#define IN_ARENA(at)                                                                               \
  { PLACE_ARENA, at }
static const PlanRef forward_args[] = {W, IN_ARENA(AT_X), IN_ARENA(AT_Y), IN_ARENA(AT_LOSS)};
static const PlanRef update_args[] = {W, IN_ARENA(AT_X), IN_ARENA(AT_LR)};
static const PlanRef pack_args[] = {W, {PLACE_PREPARED, 0}};
static const PlanRef apply_args[] = {{PLACE_PREPARED, 0}, IN_ARENA(AT_X), IN_ARENA(AT_Y)};
static const PlanResult forward_results[] = {{2, N, DT_f32}, {3, 1, DT_f32}};
static const char *const kernels[] = {"forward", "update", "pack", "apply"};
static const PlanTensor tensors[] = {{"w", {DT_f32, 1, {N}}, PLAN_PARAMETER, PLAN_UNIFORM, 1, 2}};
static const PlanPort inputs[] = {{"x", {DT_f32, 1, {N}}, IN_ARENA(AT_X), false, NULL},
                                  {"lr", {DT_f32, 0, {0}}, IN_ARENA(AT_LR), false, NULL}};
static const PlanPort longer_inputs[] = {
    {"lr", {DT_f32, 0, {0}}, IN_ARENA(AT_LR), false, NULL},
    {"text", {DT_f32, 1, {128}}, IN_ARENA(ARENA), false, NULL},
    {"x", {DT_f32, 1, {N}}, IN_ARENA(AT_X), false, NULL}};
static const PlanPort outputs[] = {{"y", {DT_f32, 1, {N}}, IN_ARENA(AT_Y), false, NULL},
                                   {"loss", {DT_f32, 0, {0}}, IN_ARENA(AT_LOSS), false, NULL}};
#define STEP(number, count, list, size, label_text, threads_of)                                    \
  {                                                                                                \
    .kind = STEP_KERNEL, .kernel = number, .n_args = count, .args = list, .blocks = size,          \
    .label = label_text, .place = "toy.yaml:1", .threads = threads_of
static const PlanStep train_steps[] = {STEP(0, 4, forward_args, 1, "forward", 4),
                                       .shared_bytes = 16, .n_results = 2,
                                       .results = forward_results},
                      STEP(1, 3, update_args, N, "update", 1)
}
}
;
static const PlanStep pack_steps[] = {STEP(2, 2, pack_args, 1, "pack", 4)}
}
;
static const PlanStep apply_steps[] = {STEP(3, 3, apply_args, 1, "apply", 4)}
}
;
static const PlanEntry entries[] = {{.name = "train",
                                     .n_inputs = 2,
                                     .inputs = inputs,
                                     .n_outputs = 2,
                                     .outputs = outputs,
                                     .n_steps = 2,
                                     .steps = train_steps,
                                     .arena_bytes = ARENA,
                                     .updates = true,
                                     .guard = 1},
                                    {.name = "apply",
                                     .n_inputs = 1,
                                     .inputs = inputs,
                                     .n_outputs = 1,
                                     .outputs = outputs,
                                     .n_steps = 1,
                                     .steps = apply_steps,
                                     .n_prepare = 1,
                                     .prepare = pack_steps,
                                     .arena_bytes = ARENA,
                                     .prepared_bytes = 64},
                                    {.name = "train_longer", /* its inputs take more room */
                                     .n_inputs = 3,
                                     .inputs = longer_inputs,
                                     .n_outputs = 2,
                                     .outputs = outputs,
                                     .n_steps = 2,
                                     .steps = train_steps,
                                     .arena_bytes = LONGER_ARENA,
                                     .updates = true,
                                     .guard = 1}};
static const Plan plan = {.model = "toy",
                          .variant = "",
                          .level = "",
                          .precision = "f32",
                          .n_tensors = 1,
                          .tensors = tensors,
                          .n_kernels = 4,
                          .kernels = kernels,
                          .n_entries = 3,
                          .entries = entries};
enum { TRAIN, APPLY, TRAIN_LONGER };

typedef struct World {
  Arena *arena;
  CudaDevice device;
  CudaImage image;
  CudaCode code;
  Program *program;
} World;

static int start(void **state) {
  World *w = calloc(1, sizeof *w);
  Error error = {""};
  Cubin cubin;
  w->arena = arena_new();
  *state = w;
  if (!cuda_device_open(&w->device, 0, &error) ||
      !nvrtc_compile(w->arena, text, "toy", "sm_80", &cubin, &error)) {
    print_error("%s\n", error.text);
    return 1;
  }
  w->image = (CudaImage){{80, 0}, false, cubin.bytes, cubin.size};
  w->code = (CudaCode){&w->device, &w->image, 1};
  if (!cuda_program_open(&w->program, &plan, &w->code, 1, &error))
    print_error("%s\n", error.text);
  return w->program ? 0 : 1;
}

static int stop(void **state) {
  World *w = *state;
  program_close(w->program);
  cuda_device_close(&w->device);
  arena_free(w->arena);
  free(w);
  return 0;
}

static void fill(Program *p, int entry, float first) {
  float *x = program_input(p, entry, "x", NULL);
  for (int i = 0; i < N; i++)
    x[i] = first + (float)i;
}

static void outputs_and_weights(void **state) {
  Program *p = ((World *)*state)->program;
  Error error;
  program_initialize(p, 3);
  float before[N];
  memcpy(before, program_tensor(p, "w", NULL), sizeof before);
  for (int run = 0; run < 3; run++) {
    fill(p, TRAIN, (float)run);
    *(float *)program_input(p, TRAIN, "lr", NULL) = 0.5f;
    assert_true(program_run(p, TRAIN, &error));
    const float *y = program_output(p, TRAIN, "y", NULL), *w = program_tensor(p, "w", NULL);
    float loss = 0;
    for (int i = 0; i < N; i++) {
      float x = (float)run + (float)i;
      assert_true(y[i] == before[i] * x);
      loss += y[i];
      before[i] += 0.5f * x;
      assert_true(w[i] == before[i]);
    }
    assert_true(*(const float *)program_output(p, TRAIN, "loss", NULL) == loss);
  }
}

/* The next run's inputs are given while a run is under way, and other runs come between. */
static void inputs_ahead(void **state) {
  Program *p = ((World *)*state)->program;
  Error error;
  program_initialize(p, 3);
  float before[N];
  memcpy(before, program_tensor(p, "w", NULL), sizeof before);
  fill(p, TRAIN, 0);
  for (int run = 0; run < 4; run++) {
    *(float *)program_input(p, TRAIN, "lr", NULL) = 0.5f;
    assert_true(program_start(p, TRAIN, &error));
    assert_true(program_ahead(p, TRAIN));
    fill(p, TRAIN, (float)run + 1);
    *(float *)program_input(p, TRAIN, "lr", NULL) = 100; /* and changed again before it counts */
    assert_true(program_send(p, TRAIN, &error));
    if (run == 2) /* changed after it was sent */
      fill(p, TRAIN, 20);
    assert_true(program_finish(p, TRAIN, &error));
    const float *y = program_output(p, TRAIN, "y", NULL), *w = program_tensor(p, "w", NULL);
    for (int i = 0; i < N; i++) {
      float x = (run == 3 ? 20 : (float)run) + (float)i;
      assert_true(y[i] == before[i] * x);
      before[i] += 0.5f * x;
      assert_true(w[i] == before[i]);
    }
    if (run == 2)
      continue;
    fill(p, APPLY, 50); /* its inputs lie where those that were sent lay */
    assert_true(program_run(p, APPLY, NULL));
  }
}

/* What the guard looks at is fetched while another entry point's inputs are on their way. */
static void inputs_of_another_ahead(void **state) {
  Program *p = ((World *)*state)->program;
  Error error;
  program_initialize(p, 3);
  fill(p, TRAIN, 1);
  *(float *)program_input(p, TRAIN, "lr", NULL) = 0;
  assert_true(program_start(p, TRAIN, &error));
  assert_true(program_ahead(p, TRAIN_LONGER));
  fill(p, TRAIN_LONGER, 5);
  assert_true(program_send(p, TRAIN_LONGER, &error));
  assert_true(program_finish(p, TRAIN, &error));
  *(float *)program_input(p, TRAIN_LONGER, "lr", NULL) = 0;
  assert_true(program_run(p, TRAIN_LONGER, &error));
  const float *y = program_output(p, TRAIN_LONGER, "y", NULL), *w = program_tensor(p, "w", NULL);
  for (int i = 0; i < N; i++)
    assert_true(y[i] == w[i] * (5 + (float)i));
}

static void derived_weights(void **state) {
  Program *p = ((World *)*state)->program;
  program_initialize(p, 3);
  float *w = program_tensor(p, "w", NULL);
  for (int run = 0; run < 3; run++) {
    if (run == 1) { /* told, so that it counts */
      w[2] = 7;
      program_touch(p);
    }
    if (run == 2) { /* changed by the device */
      fill(p, TRAIN, 1);
      *(float *)program_input(p, TRAIN, "lr", NULL) = 1;
      assert_true(program_run(p, TRAIN, NULL));
      assert_true(((float *)program_tensor(p, "w", NULL))[2] == 10);
    }
    fill(p, APPLY, 1);
    assert_true(program_run(p, APPLY, NULL));
    const float *y = program_output(p, APPLY, "y", NULL);
    for (int i = 0; i < N; i++)
      assert_true(y[i] == 2 * w[i] * (1 + (float)i));
  }
}

static void the_guard(void **state) {
  Program *p = ((World *)*state)->program;
  ProgramTrouble trouble;
  program_initialize(p, 5);
  float before[N];
  memcpy(before, program_tensor(p, "w", NULL), sizeof before);
  fill(p, TRAIN, 1);
  *(float *)program_input(p, TRAIN, "lr", NULL) = 1;
  ((float *)program_input(p, TRAIN, "x", NULL))[1] = INFINITY;
  assert_true(program_run(p, TRAIN, NULL));
  assert_true(program_stopped(p, TRAIN));
  assert_memory_equal(program_tensor(p, "w", NULL), before, sizeof before);
  assert_true(program_find_trouble(p, TRAIN, &trouble));
  assert_string_equal(trouble.what, "input");
  fill(p, TRAIN, 1);
  float *w = program_tensor(p, "w", NULL);
  w[3] = 3e38f; /* finite, but its product is not */
  program_touch(p);
  assert_true(program_run(p, TRAIN, NULL));
  assert_true(program_stopped(p, TRAIN));
  assert_true(program_find_trouble(p, TRAIN, &trouble));
  assert_string_equal(trouble.what, "step");
  assert_string_equal(trouble.name, "forward");
  assert_int_equal(trouble.bad, 1);
  w[3] = 1;
  program_touch(p);
  assert_true(program_run(p, TRAIN, NULL));
  assert_false(program_stopped(p, TRAIN));
  assert_false(program_find_trouble(p, TRAIN, &trouble));
}

static void times(void **state) {
  Program *p = ((World *)*state)->program;
  program_initialize(p, 5);
  program_profile(p, true);
  for (int run = 0; run < 2; run++) {
    fill(p, TRAIN, 1);
    int64_t begin = monotonic_nanoseconds();
    assert_true(program_run(p, TRAIN, NULL));
    const int64_t *starts = program_starts(p, TRAIN), *took = program_times(p, TRAIN);
    for (int i = 0; i < 2; i++) {
      assert_true(took[i] > 0);
      assert_true(starts[i] + 1000000 > begin &&
                  starts[i] + took[i] < monotonic_nanoseconds() + 1000000);
    }
    assert_true(starts[1] >= starts[0] + took[0]);
  }
}

static void refusals(void **state) {
  World *w = *state;
  Program *program;
  Error error;
  CudaDevice none;
  CudaImage other = w->image;
  CudaCode code = {&w->device, &other, 1};
  assert_false(cuda_device_open(&none, 1, &error));
  assert_non_null(strstr(error.text, "no CUDA device 1"));
  cuda_device_close(&none);
  other.arch.capability = 90;
  assert_false(cuda_program_open(&program, &plan, &code, 1, &error));
  assert_string_equal(error.text, "Fake 0 is sm_80, this program has code for sm_90");
  other = (CudaImage){{80, 0}, false, "not a cubin, not at all", 24};
  assert_false(cuda_program_open(&program, &plan, &code, 1, &error));
  assert_non_null(strstr(error.text, "loading code for sm_80 on Fake 0: CUDA_ERROR_INVALID_IMAGE"));
  Plan larger = plan;
  PlanEntry huge[3] = {entries[0], entries[1], entries[2]};
  huge[1].arena_bytes = (int64_t)3 << 30;
  larger.entries = huge;
  /* the weights, the arena, derived weights, inputs of a next run of `train_longer` */
  assert_int_equal(cuda_program_bytes(&larger), 64 + ((int64_t)3 << 30) + 256 + 4 * 256);
  assert_false(cuda_program_open(&program, &larger, &w->code, 1, &error));
  assert_non_null(strstr(error.text, "working memory of apply 3.0 GiB"));
  const char *names[] = {"forward", "update", "pack", "aply"};
  Plan misspelt = plan;
  misspelt.kernels = names;
  assert_false(cuda_program_open(&program, &misspelt, &w->code, 1, &error));
  assert_non_null(strstr(error.text, "\"aply\" of model toy is not there"));
}

/* The driver has teeth: it takes no pointer of the host, and copies no earlier than it must. */
static void the_driver(void **state) {
  const CudaDevice *device = &((World *)*state)->device;
  const CudaDriver *d = device->driver;
  CudaStream stream;
  CudaAddress at;
  float *locked, ordinary[4] = {1, 2, 3, 4};
  void *host;
  assert_int_equal(d->stream_create(&stream, 0), 0);
  assert_int_equal(d->memory_alloc(&at, 16), 0);
  assert_int_equal(d->host_alloc(&host, 16, 0), 0);
  locked = host;
  memcpy(locked, ordinary, 16);
  assert_int_equal(d->copy_to_device(at, locked, 16, stream), 0);
  locked[1] = 20; /* too early, so it counts */
  assert_int_equal(d->stream_synchronize(stream), 0);
  memset(locked, 0, 16);
  assert_int_equal(d->copy_to_host(locked, at, 16, stream), 0);
  assert_true(locked[0] == 0);
  assert_int_equal(d->stream_synchronize(stream), 0);
  assert_true(locked[0] == 1 && locked[1] == 20);
  assert_int_equal(d->copy_to_device(at + 8, locked, 16, stream), 0);
  assert_int_equal(d->stream_synchronize(stream), 700); /* beyond its end */
  d->host_free(host);
  d->memory_free(at);
  d->stream_destroy(stream);
}

int main(void) {
  if (!getenv("TRICOT_CUDA_DRIVER")) {
    printf("skipped: TRICOT_CUDA_DRIVER does not name the driver for tests\n");
    return 77;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(outputs_and_weights),
      cmocka_unit_test(inputs_ahead),
      cmocka_unit_test(inputs_of_another_ahead),
      cmocka_unit_test(derived_weights),
      cmocka_unit_test(the_guard),
      cmocka_unit_test(times),
      cmocka_unit_test(refusals),
      cmocka_unit_test(the_driver), /* the last: it fails */
  };
  return cmocka_run_group_tests(tests, start, stop);
}
