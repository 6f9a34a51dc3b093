/* The pool and the program, on hand-made plans with kernels written in C. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* after what it leans on */
#include <cmocka.h>

#include "runtime/pool.h"
#include "runtime/program.h"
#include "tests/unit/shared.h"
#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* ---- pool ---- */

static void mark_blocks(void *const *arguments, int64_t begin, int64_t end) {
  _Atomic int *marks = arguments[0];
  for (int64_t i = begin; i < end; i++)
    atomic_fetch_add(&marks[i], 1);
}

static void every_block_once(void **state) {
  (void)state;
  enum { MOST = 1000, TASKS = 4000 };
  static _Atomic int marks[MOST];
  const int threads[] = {1, 2, 3, 4, 0};
  for (int t = 0; t < 5; t++) {
    Pool *pool;
    Error error = {""};
    assert_true(pool_open(&pool, threads[t], &error));
    if (threads[t])
      assert_int_equal(pool_threads(pool), threads[t]);
    cpu_set_t before, after;
    sched_getaffinity(0, sizeof before, &before);
    pool_enter(pool);
    for (int task = 0; task < TASKS; task++) {
      int blocks = (int)((unsigned)task * 2654435761u % (task % 10 == 0 ? MOST : 20));
      void *arguments[] = {marks};
      pool_run(pool, mark_blocks, arguments, blocks);
      for (int i = 0; i < blocks; i++) {
        assert_int_equal(atomic_load(&marks[i]), 1);
        atomic_store(&marks[i], 0);
      }
      assert_int_equal(atomic_load(&marks[blocks]), 0);
      if (task % 1000 == 0)
        usleep(2000); /* long enough for the workers to fall asleep */
    }
    pool_leave(pool);
    sched_getaffinity(0, sizeof after, &after);
    assert_true(CPU_EQUAL(&before, &after));
    pool_close(pool);
  }
  Pool *none;
  Error error = {""};
  assert_false(pool_open(&none, 100000, &error));
  assert_non_null(strstr(error.text, "100000 threads"));
  pool_close(NULL);
}

/* ---- program ---- */

enum { ROWS = 64, COLUMNS = 48 };
static _Atomic int packs; /* blocks of the prepare kernel that have run */

/* arguments: weight [ROWS,COLUMNS], transposed and doubled [COLUMNS,ROWS]; a block is a column */
static void kernel_pack(void *const *arguments, int64_t begin, int64_t end) {
  const float *weight = arguments[0];
  float *packed = arguments[1];
  for (int64_t c = begin; c < end; c++)
    for (int r = 0; r < ROWS; r++)
      packed[c * ROWS + r] = 2 * weight[r * COLUMNS + c];
  atomic_fetch_add(&packs, (int)(end - begin));
}

/* arguments: x [COLUMNS], packed, y [ROWS]; a block is a row */
static void kernel_product(void *const *arguments, int64_t begin, int64_t end) {
  const float *x = arguments[0], *packed = arguments[1];
  float *y = arguments[2];
  for (int64_t r = begin; r < end; r++) {
    float sum = 0;
    for (int c = 0; c < COLUMNS; c++)
      sum += packed[c * ROWS + r] * x[c];
    y[r] = sum;
  }
}

/* arguments: lr [], y [ROWS], weight, count []; a block is a row */
static void kernel_update(void *const *arguments, int64_t begin, int64_t end) {
  const float *lr = arguments[0], *y = arguments[1];
  float *weight = arguments[2];
  int64_t *count = arguments[3];
  for (int64_t r = begin; r < end; r++) {
    for (int c = 0; c < COLUMNS; c++)
      weight[r * COLUMNS + c] -= *lr * y[r];
    if (r == 0)
      ++*count;
  }
}

static ProgramKernel *lookup(void *context, const char *name) {
  if (context && strcmp(context, name) == 0)
    return NULL;
  if (strcmp(name, "pack") == 0)
    return kernel_pack;
  if (strcmp(name, "product") == 0)
    return kernel_product;
  return strcmp(name, "update") == 0 ? kernel_update : NULL;
}

#define MATRIX                                                                                     \
  {                                                                                                \
    DT_f32, 2, { ROWS, COLUMNS }                                                                   \
  }
enum { AT_X = 0, AT_Y = 256, AT_Z = 512, AT_LR = 768, ARENA_BYTES = 1024 };

static const PlanTensor tensors[] = {
    {"layer.weight", MATRIX, PLAN_PARAMETER, PLAN_NORMAL, 1, 0.5},
    {"layer.count", {DT_i64, 0, {0}}, PLAN_BUFFER, PLAN_CONSTANT, 3, 0},
    {"adam.layer.weight", MATRIX, PLAN_STATE, PLAN_UNIFORM, -1, 2},
    {"layer.other", {DT_bf16, 1, {5000}}, PLAN_PARAMETER, PLAN_TRUNCATED, 0, 0.02}};
static const char *const kernels[] = {"pack", "product", "update"};
static const PlanRef pack_args[] = {{PLACE_PERSISTENT, 0}, {PLACE_PREPARED, 64}};
static const PlanRef product_args[] = {
    {PLACE_ARENA, AT_X}, {PLACE_PREPARED, 64}, {PLACE_ARENA, AT_Y}};
static const PlanRef update_args[] = {
    {PLACE_ARENA, AT_LR}, {PLACE_ARENA, AT_Y}, {PLACE_PERSISTENT, 0}, {PLACE_PERSISTENT, 1}};
static const PlanRef copy_args[] = {{PLACE_ARENA, AT_Y}, {PLACE_ARENA, AT_Z}};
static const PlanPort inputs[] = {{"x", {DT_f32, 1, {COLUMNS}}, {PLACE_ARENA, AT_X}, false, NULL},
                                  {"lr", {DT_f32, 0, {0}}, {PLACE_ARENA, AT_LR}, false, NULL}};
static const PlanPort outputs[] = {{"y", {DT_f32, 1, {ROWS}}, {PLACE_ARENA, AT_Y}, false, NULL},
                                   {"z", {DT_f32, 1, {ROWS}}, {PLACE_ARENA, AT_Z}, true, NULL}};
static const PlanStep prepare[] = {
    {STEP_KERNEL, 0, 2, pack_args, COLUMNS, 0, "", "", 0, 0, 0, NULL, NULL, false, 0, 0, 0, 0}};
static const PlanStep steps[] = {
    {STEP_KERNEL, 1, 3, product_args, ROWS, 0, "", "", 0, 0, 0, NULL, NULL, false, 0, 0, 0, 0},
    {STEP_COPY, 0, 2, copy_args, 0, ROWS * 4, "", "", 0, 0, 0, NULL, NULL, false, 0, 0, 0, 0},
    {STEP_KERNEL, 2, 4, update_args, ROWS, 0, "", "", 0, 0, 0, NULL, NULL, false, 0, 0, 0, 0}};
enum { PREPARED_BYTES = 64 + ROWS * COLUMNS * 4 };
static const PlanEntry entries[] = {{"apply", 1, 2, 1, 2, inputs, outputs, prepare, steps,
                                     ARENA_BYTES, PREPARED_BYTES, false, 0, false, 0, 0, 0, 0},
                                    {"train_step", 2, 2, 1, 3, inputs, outputs, prepare, steps,
                                     ARENA_BYTES, PREPARED_BYTES, true, 0, false, 0, 0, 0, 0}};
static const Plan plan = {"toy",   "",      "",      4,    3, 2,    0,
                          tensors, kernels, entries, NULL, 0, NULL, "f32"};

static Program *open_toy(int threads) {
  Program *program;
  Error error = {""};
  if (!program_open(&program, &plan, lookup, NULL, threads, &error))
    fail_msg("%s", error.text);
  return program;
}

static void fill_input(Program *program, int entry) {
  float *x = program_input(program, entry, "x", NULL);
  for (int i = 0; i < COLUMNS; i++)
    x[i] = sinf((float)i);
}

static void same_for_all_thread_counts(void **state) {
  (void)state;
  float first_y[ROWS], first_weight[ROWS * COLUMNS];
  for (int threads = 1; threads <= 4; threads *= 2) {
    Program *program = open_toy(threads);
    assert_int_equal(program_threads(program), threads);
    program_initialize(program, 7);
    int train = program_entry(program, "train_step");
    assert_int_equal(train, 1);
    *(float *)program_input(program, train, "lr", NULL) = 0.01f;
    for (int s = 0; s < 20; s++) {
      fill_input(program, train);
      assert_true(program_run(program, train, NULL));
    }
    Type type;
    const float *y = program_output(program, train, "y", &type);
    assert_int_equal(type.dim[0], ROWS);
    assert_memory_equal(y, program_output(program, train, "z", NULL), sizeof first_y);
    const float *weight = program_tensor(program, "layer.weight", NULL);
    if (threads == 1) {
      memcpy(first_y, y, sizeof first_y);
      memcpy(first_weight, weight, sizeof first_weight);
    }
    assert_memory_equal(y, first_y, sizeof first_y);
    assert_memory_equal(weight, first_weight, sizeof first_weight);
    assert_int_equal(*(int64_t *)program_tensor(program, "layer.count", NULL), 23);
    program_close(program);
  }
}

static void prepares_only_when_touched(void **state) {
  (void)state;
  Program *program = open_toy(2);
  program_initialize(program, 1);
  int apply = program_entry(program, "apply"), train = program_entry(program, "train_step");
  packs = 0;
  fill_input(program, apply);
  assert_true(program_run(program, apply, NULL));
  assert_int_equal(packs, COLUMNS);
  float before = *(const float *)program_output(program, apply, "y", NULL);
  assert_true(program_run(program, apply, NULL));
  assert_int_equal(packs, COLUMNS);
  float *weight = program_tensor(program, "layer.weight", NULL);
  for (int i = 0; i < ROWS * COLUMNS; i++)
    weight[i] *= 2;
  assert_true(program_run(program, apply, NULL)); /* not told, so nothing changed */
  assert_true(*(const float *)program_output(program, apply, "y", NULL) == before);
  program_touch(program);
  assert_true(program_run(program, apply, NULL));
  assert_int_equal(packs, 2 * COLUMNS);
  assert_true(*(const float *)program_output(program, apply, "y", NULL) == 2 * before);
  /* an entry that updates touches by itself, its own derived weights included */
  assert_true(program_run(program, train, NULL));
  assert_int_equal(packs, 3 * COLUMNS);
  assert_true(program_run(program, train, NULL));
  assert_int_equal(packs, 4 * COLUMNS);
  assert_true(program_run(program, apply, NULL));
  assert_int_equal(packs, 5 * COLUMNS);
  assert_null(program_input(program, apply, "lr", NULL));
  assert_null(program_output(program, apply, "w", NULL));
  assert_null(program_tensor(program, "layer", NULL));
  assert_int_equal(program_entry(program, "encode"), -1);
  program_profile(program, true);
  assert_true(program_run(program, apply, NULL));
  assert_true(program_times(program, apply)[0] > 0);
  program_close(program);
}

/* Two entry points read a transposed view of the weight and update the weight: one renews the view
 * (here: runs its kernel last), the other does not. */
static void views_are_computed_when_outdated(void **state) {
  (void)state;
  static const PlanTensor more[] = {{"layer.weight", MATRIX, PLAN_PARAMETER, PLAN_NORMAL, 1, 0.5},
                                    {"layer.count", {DT_i64, 0, {0}}, PLAN_BUFFER, 0, 3, 0},
                                    {"view", MATRIX, PLAN_VIEW, PLAN_CONSTANT, 0, 0}};
  static const PlanRef view_args[] = {{PLACE_PERSISTENT, 0}, {PLACE_PERSISTENT, 2}};
  static const PlanRef read_args[] = {
      {PLACE_ARENA, AT_X}, {PLACE_PERSISTENT, 2}, {PLACE_ARENA, AT_Y}};
  static const PlanStep view = {.n_args = 2, .args = view_args, .blocks = COLUMNS, .label = ""};
  PlanStep step[] = {
      {.kernel = 1, .n_args = 3, .args = read_args, .blocks = ROWS, .label = ""}, steps[2], view};
  PlanEntry both[] = {{"renews", 2, 1, 0, 3, inputs, outputs, NULL, step, ARENA_BYTES, 0, true, 0,
                       false, 0, 0, 0, 0},
                      {"outdates", 2, 1, 0, 2, inputs, outputs, NULL, step, ARENA_BYTES, 0, true, 0,
                       true, 0, 0, 0, 0}};
  Plan toy = {"toy", "", "", 3, 3, 2, 0, more, kernels, both, NULL, 1, &view, "f32"};
  static const struct {
    int entry, columns; /* of the view computed in this run, renewed or refreshed */
    bool touched;
  } runs[] = {{0, 2, true},  {0, 1, false}, {1, 0, false}, {1, 1, false},
              {0, 2, false}, {0, 1, false}, {0, 2, true}};
  Program *program;
  Error error = {""};
  assert_true(program_open(&program, &toy, lookup, NULL, 2, &error));
  program_initialize(program, 3);
  for (size_t r = 0; r < sizeof runs / sizeof *runs; r++) {
    float want = 0, *weight = program_tensor(program, "layer.weight", NULL);
    if (runs[r].touched) {
      for (int i = 0; i < ROWS * COLUMNS; i++)
        weight[i] = 0.25f * (float)(i % 5);
      program_touch(program);
    }
    fill_input(program, runs[r].entry);
    *(float *)program_input(program, runs[r].entry, "lr", NULL) = 0.01f;
    const float *x = program_input(program, runs[r].entry, "x", NULL);
    for (int c = 0; c < COLUMNS; c++)
      want += 2 * weight[5 * COLUMNS + c] * x[c];
    packs = 0;
    assert_true(program_run(program, runs[r].entry, &error));
    assert_int_equal(packs, runs[r].columns * COLUMNS);
    const float *y = program_output(program, runs[r].entry, "y", NULL);
    assert_true(fabsf(y[5] - want) <= 1e-5f * fabsf(want) + 1e-6f);
  }
  assert_int_equal(program_tensors(program, true, NULL, 0), 2); /* the view is in no file */
  program_close(program);
}

static void initial_values(void **state) {
  (void)state;
  Program *a = open_toy(1), *b = open_toy(4);
  program_initialize(a, 5);
  program_initialize(b, 5);
  for (int i = 0; i < 4; i++)
    assert_memory_equal(program_tensor(a, tensors[i].name, NULL),
                        program_tensor(b, tensors[i].name, NULL), type_bytes(&tensors[i].type));
  double sum = 0, squares = 0;
  const float *weight = program_tensor(a, "layer.weight", NULL);
  const float *state_tensor = program_tensor(a, "adam.layer.weight", NULL);
  for (int i = 0; i < ROWS * COLUMNS; i++) {
    sum += weight[i];
    squares += (weight[i] - 1) * (weight[i] - 1);
    assert_true(state_tensor[i] >= -1 && state_tensor[i] < 2);
  }
  assert_true(fabs(sum / (ROWS * COLUMNS) - 1) < 0.05);
  assert_true(fabs(sqrt(squares / (ROWS * COLUMNS)) - 0.5) < 0.05);
  const void *other = program_tensor(a, "layer.other", NULL);
  double largest = 0;
  for (int i = 0; i < 5000; i++)
    largest = fmax(largest, fabs(dtype_load(DT_bf16, other, i)));
  assert_true(largest > 0.035 && largest <= 0.0402); /* two deviations, rounded to bf16 */
  float kept = weight[0];
  program_initialize(a, 6);
  assert_true(weight[0] != kept);
  program_close(a);
  program_close(b);
}

static void save_and_load(void **state) {
  (void)state;
  const char *folder = scratch_make();
  char path[200];
  snprintf(path, sizeof path, "%s/w.safetensors", folder);
  Program *a = open_toy(2), *b = open_toy(2);
  program_initialize(a, 5);
  program_initialize(b, 9);
  Tensor list[8];
  Error error = {""};
  assert_int_equal(program_tensors(a, false, NULL, 0), 3);
  assert_int_equal(program_tensors(a, true, list, 8), 4);
  assert_true(tensor_file_write(path, list, 4, NULL, NULL, 0, &error));
  TensorFile file;
  assert_true(tensor_file_open(&file, path, &error));
  assert_true(program_load(b, &file, false, &error));
  assert_memory_equal(program_tensor(b, "layer.weight", NULL),
                      program_tensor(a, "layer.weight", NULL), ROWS * COLUMNS * 4);
  assert_memory_not_equal(program_tensor(b, "adam.layer.weight", NULL),
                          program_tensor(a, "adam.layer.weight", NULL), ROWS * COLUMNS * 4);
  assert_true(program_load(b, &file, true, &error));
  assert_memory_equal(program_tensor(b, "adam.layer.weight", NULL),
                      program_tensor(a, "adam.layer.weight", NULL), ROWS * COLUMNS * 4);
  tensor_file_close(&file);

  /* f64 instead of f32 is converted, one element counts as a scalar; a shape that differs is
   * refused */
  static double wide[ROWS * COLUMNS];
  static float other[4999];
  int64_t count = 42;
  for (int i = 0; i < ROWS * COLUMNS; i++)
    wide[i] = i + 0.5;
  Tensor changed[] = {{"layer.weight", {DT_f64, 2, {ROWS, COLUMNS}}, wide},
                      {"layer.count", {DT_i64, 1, {1}}, &count},
                      {"layer.other", {DT_f32, 1, {4999}}, other}};
  assert_true(tensor_file_write(path, changed, 3, NULL, NULL, 0, &error));
  assert_true(tensor_file_open(&file, path, &error));
  assert_false(program_load(b, &file, true, &error));
  assert_string_equal(error.text,
                      "1 of 4 tensors are missing: adam.layer.weight; 1 of 4 tensors do "
                      "not fit: layer.other is f32[4999] instead of bf16[5000]");
  assert_int_equal(*(int64_t *)program_tensor(b, "layer.count", NULL), 3);
  tensor_file_close(&file);
  changed[2].type = (Type){DT_bf16, 1, {5000}};
  changed[2].data = program_tensor(a, "layer.other", NULL);
  assert_true(tensor_file_write(path, changed, 3, NULL, NULL, 0, &error));
  assert_true(tensor_file_open(&file, path, &error));
  assert_true(program_load(b, &file, false, &error));
  assert_int_equal(*(int64_t *)program_tensor(b, "layer.count", NULL), 42);
  assert_true(((float *)program_tensor(b, "layer.weight", NULL))[100] == 100.5f);
  tensor_file_close(&file);
  program_close(a);
  program_close(b);
  scratch_remove(folder);
}

static void says_what_is_wrong(void **state) {
  (void)state;
  Program *program;
  Error error = {""};
  assert_false(program_open(&program, &plan, lookup, "product", 1, &error));
  assert_non_null(strstr(error.text, "kernel \"product\""));
  assert_null(program);
  /* more than there can be: address space runs out on opening, or memory when the entry runs */
  for (int shift = 46; shift >= 44; shift -= 2) {
    PlanEntry large[2];
    memcpy(large, entries, sizeof large);
    large[1].arena_bytes = (int64_t)1 << shift;
    Plan other = plan;
    other.entries = large;
    bool open = program_open(&program, &other, lookup, NULL, 1, &error);
    if (open) {
      assert_true(program_run(program, 0, &error)); /* the small entry still runs */
      assert_false(program_run(program, 1, &error));
    }
    assert_non_null(strstr(error.text, "no memory: the arena needs"));
    assert_non_null(strstr(error.text, ".0 TiB"));
    program_close(open ? program : NULL);
  }
  program = open_toy(1);
  assert_false(program_run(program, 2, &error));
  program_close(program);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_block_once),
                                     cmocka_unit_test(same_for_all_thread_counts),
                                     cmocka_unit_test(prepares_only_when_touched),
                                     cmocka_unit_test(views_are_computed_when_outdated),
                                     cmocka_unit_test(initial_values),
                                     cmocka_unit_test(save_and_load),
                                     cmocka_unit_test(says_what_is_wrong)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
