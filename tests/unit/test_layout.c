/* One layout for the whole graph: no kernel only moves data, in any entry point of any model, and
 * the views of parameters that a training step keeps from call to call (docs/plan.md) are what they
 * would be if each call computed them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdint.h>

#include "driver/compile.h"
#include "passes/graph/common.h"
#include "runtime/base/random.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_ENTRIES = 24 };

static const char *const target = TRICOT_LLVM ? "cpu" : "c";

/* ---- the number of conversions ---- */

static void count_conversions(const char *path, const char *variant, const char *const *sets,
                              int n_sets) {
  Error error = {""};
  Arena *arena = arena_new();
  Diag diag;
  diag_init(&diag, arena);
  ModelRequest model = {.path = path, .variant = variant, .sets = sets, .n_sets = n_sets};
  Model *loaded = model_load(arena, &diag, &model);
  assert_non_null(loaded);
  static const char *const derived[] = {"train_step",  "train_micro",    "train_apply",
                                        "train_embed", "train_contrast", "train_backward"};
  EntryRequest entries[MAX_ENTRIES];
  int count = 0;
  for (int i = 0; i < 2 * model_entry_count(loaded); i++) {
    const char *name = model_entry_name(loaded, i / 2);
    entries[count++] = (EntryRequest){
        .entry = name, .training = i % 2, .name = arena_printf(arena, "%s.%d", name, i % 2)};
  }
  bool clip = model_has_entry(loaded, "encode_text") && model_has_entry(loaded, "encode_image");
  for (int i = 0; model_train_entry(loaded) && i < (clip ? 6 : 3); i++)
    entries[count++] = (EntryRequest){.entry = derived[i], .name = derived[i]};
  assert_in_range(count, 1, MAX_ENTRIES);
  CompileRequest request = {.model = model,
                            .target = target,
                            .entries = entries,
                            .n_entries = count,
                            .memory_only = true};
  Compiled compiled;
  if (!compiled_build(&compiled, &request, &error)) {
    compiled_report(&compiled, &error);
    fail();
  }
  for (int i = 0; i < count; i++) {
    Conversions found = graph_count_conversions(compiled.build.graphs.at[i]);
    if (found.data + found.parameters)
      fail_msg("%s %s, %s: %d conversions of data, %d of parameters", path, variant ? variant : "",
               entries[i].name, found.data, found.parameters);
  }
  assert_int_equal(compiled.build.layout_conversions, 0);
  compiled_close(&compiled);
  arena_free(arena);
}

static void small_models_convert_nothing(void **state) {
  (void)state;
  static const char *const two[] = {"layers=2", "vocab=100"}, *const off[] = {
                                                                  "statistics=\"running\""};
  count_conversions(TRICOT_SOURCE "/models/dcformer.yaml", "nano", NULL, 0);
  count_conversions(TRICOT_SOURCE "/models/dcformer.yaml", "nano", off, 1);
  count_conversions(TRICOT_SOURCE "/models/bert.yaml", NULL, two, 2);
  count_conversions(TRICOT_SOURCE "/models/clip-mini.yaml", NULL, NULL, 0);
}

static void large_models_convert_nothing(void **state) {
  (void)state;
  static const char *const packed[] = {"batch=8", "rows=3"};
  count_conversions(TRICOT_SOURCE "/models/dcformer.yaml", "naive", NULL, 0);
  count_conversions(TRICOT_SOURCE "/models/dcformer.yaml", "tiny", NULL, 0);
  count_conversions(TRICOT_SOURCE "/models/bert.yaml", NULL, NULL, 0);
  count_conversions(TRICOT_SOURCE "/models/bert.yaml", NULL, packed, 2);
  count_conversions(TRICOT_SOURCE "/models/clip-dcformer.yaml", "nano", NULL, 0);
  count_conversions(TRICOT_SOURCE "/models/clip-dcformer.yaml", "tiny", NULL, 0);
}

/* ---- views that are kept ---- */

static const char *const small[] = {
    "volume=[16,16,16]",    "latent=16",     "batch=2",      "text.vocab=50",  "text.length=7",
    "text.width=16",        "text.layers=1", "text.heads=2", "text.hidden=32", "text.positions=8",
    "image.layer_scale=0.1"};

static void open_small(Compiled *compiled, const char *const *skip, int n_skip) {
  static const EntryRequest entries[] = {
      {.entry = "train_step", .name = "train_step"},
      {.entry = "train_micro", .name = "train_micro"},
      {.entry = "train_apply", .name = "train_apply"},
      {.entry = "forward", .name = "forward", .keep_taps = true}};
  CompileRequest request = {.model = {.path = TRICOT_SOURCE "/models/clip-dcformer.yaml",
                                      .variant = "nano",
                                      .sets = small,
                                      .n_sets = sizeof small / sizeof *small},
                            .target = target,
                            .entries = entries,
                            .n_entries = 4,
                            .threads = 2,
                            .passes = {.skip = skip, .n_skip = n_skip}};
  Error error = {""};
  if (!compiled_open(compiled, &request, &error)) {
    compiled_report(compiled, &error);
    fail();
  }
  program_initialize(compiled->program, 7);
}

static void run(Program *p, const char *name, uint64_t sample) {
  Error error = {""};
  int entry = program_entry(p, name);
  const PlanEntry *plan = &program_plan(p)->entries[entry];
  for (int i = 0; i < plan->n_inputs; i++) {
    const PlanPort *port = &plan->inputs[i];
    int64_t count = type_elements(&port->type);
    void *data = mem_alloc(type_bytes(&port->type) + 1);
    bool ids = strcmp(port->name, "input_ids") == 0;
    for (int64_t k = 0; k < count; k++)
      dtype_store(port->type.dtype, data, k,
                  ids               ? (double)((sample + (uint64_t)k * 7) % 50)
                  : port->type.rank ? random_normal(3, sample, (uint64_t)k)
                                    : 1e-2);
    if (strcmp(port->name, "attention_mask") == 0)
      for (int64_t k = 0; k < count; k++)
        dtype_store(port->type.dtype, data, k, 1);
    assert_true(program_write(p, entry, port->name, data));
    free(data);
  }
  if (!program_run(p, entry, &error))
    fail_msg("%s", error.text);
  assert_false(program_stopped(p, entry));
}

/* Steps, steps in parts, weights from outside in between, and evaluation. */
static void train(Program *p) {
  static const char *const order[] = {"train_step",  "forward",     "train_step", "train_micro",
                                      "train_micro", "train_apply", "train_micro"};
  for (int i = 0; i < 7; i++)
    run(p, order[i], (uint64_t)i);
  Type type;
  float *weight = program_tensor(p, "visual_transformer.encoder.s1.0.mlp.mlp.0.weight", &type);
  for (int64_t k = 0; k < type_elements(&type); k++)
    weight[k] = (float)random_normal(5, 5, (uint64_t)k) * 0.1f;
  program_touch(p);
  for (int i = 0; i < 7; i++)
    run(p, order[i], 10 + (uint64_t)i);
}

/* Whatever is stored in another order, or a part of it, comes out as it did. */
static int same_outputs(Program *a, Program *b, const char *entry) {
  int of_a = program_entry(a, entry), of_b = program_entry(b, entry);
  const PlanEntry *plan = &program_plan(a)->entries[of_a];
  run(a, entry, 40);
  run(b, entry, 40);
  for (int i = 0; i < plan->n_outputs; i++) {
    const char *name = plan->outputs[i].name;
    Type type;
    const void *want = program_output(b, of_b, name, &type);
    if (memcmp(program_output(a, of_a, name, NULL), want, type_bytes(&type)) != 0)
      fail_msg("output %s of %s differs", name, entry);
  }
  return plan->n_outputs;
}

static void kept_views_change_nothing(void **state) {
  (void)state;
  static const char *const skipped[] = {"renew", "orders", "small"};
  Compiled with, without;
  open_small(&with, NULL, 0);
  open_small(&without, skipped, 3);
  int views = 0, compared = 0;
  train(with.program);
  train(without.program);
  assert_int_equal(with.build.layout_conversions, 0);
  assert_true(without.build.layout_conversions > 20);
  for (int i = 0; i < with.plan.n_tensors; i++) {
    const PlanTensor *t = &with.plan.tensors[i];
    const void *other = program_tensor(without.program, t->name, NULL);
    views += t->role == PLAN_VIEW;
    if (t->role >= PLAN_SCRATCH)
      continue;
    assert_non_null(other);
    if (memcmp(other, program_tensor(with.program, t->name, NULL), type_bytes(&t->type)) != 0)
      fail_msg("%s differs", t->name);
    compared++;
  }
  assert_true(views > 20 && compared > 500);
  assert_true(same_outputs(with.program, without.program, "forward") > 5);
  assert_true(same_outputs(with.program, without.program, "train_step") > 1);
  compiled_close(&with);
  compiled_close(&without);
}

/* With an argument: the models that take longer to compile. */
int main(int argc, char **argv) {
  (void)argv;
  const struct CMUnitTest tests[] = {cmocka_unit_test(kept_views_change_nothing),
                                     cmocka_unit_test(small_models_convert_nothing)};
  const struct CMUnitTest large[] = {cmocka_unit_test(large_models_convert_nothing)};
  return argc > 1 ? cmocka_run_group_tests(large, NULL, NULL)
                  : cmocka_run_group_tests(tests, NULL, NULL);
}
