/* The sums of batch norms' gradients by way of weight gradients (pass correlate) in f32, on a
 * volume with a mean: all gradients of a training step are those of the plain form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "driver/compile.h"
#include "runtime/base/random.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NAME = 200 };

static const char *const sets[] = {"volume=[32,32,32]", "batch=2", "layer_scale=0.1"};

/* A trained step's program, with its gradients for inputs that follow from their names. */
static void open_and_run(Compiled *compiled, bool algebra) {
  static const EntryRequest entry = {
      .entry = "train_step", .name = "train_step", .keep_gradients = true};
  CompileRequest request = {.model = {.path = TRICOT_SOURCE "/models/dcformer.yaml",
                                      .variant = "nano",
                                      .sets = sets,
                                      .n_sets = sizeof sets / sizeof *sets},
                            .target = TRICOT_LLVM ? "cpu" : "c",
                            .entries = &entry,
                            .n_entries = 1,
                            .threads = 2,
                            .passes = {.algebra = algebra}};
  Error error = {""};
  if (!compiled_open(compiled, &request, &error)) {
    compiled_report(compiled, &error);
    fail();
  }
  Program *p = compiled->program;
  const PlanEntry *plan = &program_plan(p)->entries[0];
  program_initialize(p, 7);
  for (int i = 0; i < plan->n_inputs; i++) {
    const PlanPort *port = &plan->inputs[i];
    int64_t count = type_elements(&port->type);
    float *values = mem_alloc((size_t)count * sizeof *values + 1);
    for (int64_t k = 0; k < count; k++)
      values[k] = count == 1 ? 0 : 1.5F + (float)random_normal(3, (uint64_t)i, (uint64_t)k);
    assert_true(program_write(p, 0, port->name, values));
    free(values);
  }
  assert_true(program_run(p, 0, &error));
  assert_false(program_stopped(p, 0));
}

static int count_steps(const Compiled *compiled, const char *op) {
  int count = 0;
  for (int i = 0; i < compiled->plan.entries[0].n_steps; i++)
    count += strstr(compiled->plan.entries[0].steps[i].label, op) != NULL;
  return count;
}

/* What a norm takes away has no gradient but noise. */
static bool is_noise(const char *name) {
  size_t length = strlen(name);
  return length > 7 && strcmp(name + length - 7, ".0.bias") == 0;
}

static void test_gradients(void **state) {
  (void)state;
  Compiled plain, algebra;
  open_and_run(&plain, false);
  open_and_run(&algebra, true);
  assert_true(count_steps(&algebra, "grad_weight") > count_steps(&plain, "grad_weight") + 12);
  int compared = 0;
  for (int i = 0; i < plain.plan.n_tensors; i++) {
    char name[MOST_NAME];
    Type type;
    snprintf(name, sizeof name, "grad.%s", plain.plan.tensors[i].name);
    const float *a = program_output(plain.program, 0, name, &type);
    const float *b = program_output(algebra.program, 0, name, NULL);
    double most = 0, worst = 0;
    if (!a || is_noise(name))
      continue;
    for (int64_t k = 0; k < type_elements(&type); k++) {
      most = fmax(most, fabs((double)a[k]));
      worst = fmax(worst, fabs((double)a[k] - b[k]));
    }
    if (worst > 2e-4 * most)
      fail_msg("%s: off by %g of %g", name, worst, most);
    compared++;
  }
  assert_true(compared > 80);
  compiled_close(&plain);
  compiled_close(&algebra);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_gradients)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
