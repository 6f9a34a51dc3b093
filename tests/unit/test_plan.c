/* The plan on disk: round trip, stable bytes, and the refusal of everything damaged or untrue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* after what it leans on */
#include <cmocka.h>

#include "codegen/plan_write.h"
#include "runtime/plan_format.h"
#include <stdlib.h>
#include <string.h>

static const PlanRef refs_a[] = {{PLACE_ARENA, 0}, {PLACE_PERSISTENT, 1}, {PLACE_PREPARED, 64}};
static const PlanRef refs_b[] = {{PLACE_ARENA, 128}, {PLACE_PERSISTENT, 0}};
static const PlanRef refs_d[] = {{PLACE_PERSISTENT, 0}, {PLACE_PERSISTENT, 1}};
static const PlanRef refs_c[] = {{PLACE_PERSISTENT, 0}, {PLACE_PREPARED, 64}};

/* A plan with one of everything, in the arena so that tests may spoil it. */
static Plan *sample(Arena *arena) {
  static const PlanTensor tensors[] = {
      {"encoder.weight", {DT_f32, 2, {4, 8}}, PLAN_PARAMETER, PLAN_TRUNCATED, 0, 0.02},
      {"encoder.running_mean", {DT_f32, 1, {8}}, PLAN_BUFFER, PLAN_CONSTANT, 0, 0},
      {"adam.step", {DT_i64, 0, {0}}, PLAN_STATE, PLAN_CONSTANT, 0, 0}};
  static const char *const kernels[] = {"k_prepare", "k_forward"};
  static const GatherBox boxes[] = {{{0, 2}, {1, 2}, {2, 3}, 0, {4, 1}},
                                    {{0, 1}, {1, 1}, {2, 1}, 3, {4, 1}}};
  static const Gather gather = {{DT_f32, 2, {2, 8}}, 8, false, 2, boxes};
  static const PlanPort inputs[] = {
      {"volume", {DT_f32, 2, {2, 8}}, {PLACE_ARENA, 0}, false, NULL},
      {"other volume", {DT_f32, 2, {2, 8}}, {PLACE_ARENA, 64}, false, &gather}};
  static const PlanPort outputs[] = {
      {"pooled", {DT_f32, 1, {32}}, {PLACE_ARENA, 128}, false, NULL},
      {"weight", {DT_f32, 2, {4, 8}}, {PLACE_PERSISTENT, 0}, true, NULL}};
  static const PlanResult written[] = {{0, 64, DT_f32}, {2, 8, DT_bf16}};
  static const int64_t moved[] = {4000, 32, 64};
  static const PlanStep prepare[] = {
      {STEP_KERNEL, 0, 2, refs_c, 3, 0, "pack", "", 0, 64, 0, NULL, NULL, false, 0, 0, 0, 0}};
  static const PlanStep steps[] = {
      {STEP_KERNEL, 1, 3, refs_a, 7, 0, "conv+relu", "models/a.yaml:31", 1e9, 4096, 2, written,
       moved, false, 4e8, 2e8, 128, 65536},
      {STEP_COPY, 0, 2, refs_b, 0, 128, "copy", "", 0, 256, 0, NULL, NULL, false, 0, 0, 0, 0}};
  static const PlanStep refresh[] = {{.kernel = 1,
                                      .n_args = 2,
                                      .args = refs_d,
                                      .blocks = 2,
                                      .label = "permute",
                                      .place = "",
                                      .conversion = true}};
  static const PlanPair settings[] = {{"optimizer.lr", "1e-4"}, {"text.vocab", "30522"}};
  PlanEntry *entries = ARENA_ARRAY(arena, PlanEntry, 2);
  entries[0] = (PlanEntry){"encode_image", 2,     2,   1,   2,     inputs, outputs,
                           prepare,        steps, 256, 256, false, 1,      false,
                           1 << 20,        4096,  3,   1e6};
  entries[1] = (PlanEntry){.name = "train_step", .updates = true, .outdates = true};
  Plan *plan = ARENA_NEW(arena, Plan);
  *plan = (Plan){"clip-dcformer", "nano",  "x86-64-v4", 3,        2, 2,       2,
                 tensors,         kernels, entries,     settings, 1, refresh, "bf16"};
  return plan;
}

static void equal_steps(const PlanStep *a, const PlanStep *b, int count) {
  for (int i = 0; i < count; i++) {
    assert_int_equal(a[i].kind, b[i].kind);
    assert_int_equal(a[i].kernel, b[i].kernel);
    assert_int_equal(a[i].blocks, b[i].blocks);
    assert_int_equal(a[i].bytes, b[i].bytes);
    assert_string_equal(a[i].label, b[i].label);
    assert_string_equal(a[i].place, b[i].place);
    assert_true(a[i].flops == b[i].flops && a[i].traffic == b[i].traffic);
    assert_true(a[i].paired_flops == b[i].paired_flops && a[i].open_flops == b[i].open_flops);
    assert_int_equal(a[i].conversion, b[i].conversion);
    assert_int_equal(a[i].threads, b[i].threads);
    assert_int_equal(a[i].shared_bytes, b[i].shared_bytes);
    assert_int_equal(a[i].n_args, b[i].n_args);
    assert_int_equal(a[i].n_results, b[i].n_results);
    for (int k = 0; k < a[i].n_results; k++)
      assert_int_equal(a[i].results[k].dtype, b[i].results[k].dtype);
    for (int k = 0; k < a[i].n_results; k++) {
      assert_int_equal(a[i].results[k].arg, b[i].results[k].arg);
      assert_int_equal(a[i].results[k].elements, b[i].results[k].elements);
    }
    assert_int_equal(!a[i].moved, !b[i].moved);
    for (int k = 0; k < a[i].n_args; k++) {
      assert_true(!a[i].moved || a[i].moved[k] == b[i].moved[k]);
      assert_int_equal(a[i].args[k].place, b[i].args[k].place);
      assert_int_equal(a[i].args[k].at, b[i].args[k].at);
    }
  }
}

static void equal_ports(const PlanPort *a, const PlanPort *b, int count) {
  for (int i = 0; i < count; i++) {
    assert_string_equal(a[i].name, b[i].name);
    assert_true(type_equal(&a[i].type, &b[i].type));
    assert_int_equal(a[i].ref.place, b[i].ref.place);
    assert_int_equal(a[i].ref.at, b[i].ref.at);
    assert_int_equal(a[i].tap, b[i].tap);
    assert_true(a[i].gather ? gather_equal(a[i].gather, b[i].gather) : !b[i].gather);
  }
}

static void equal_entries(const PlanEntry *a, const PlanEntry *b) {
  assert_string_equal(a->name, b->name);
  assert_int_equal(a->n_inputs, b->n_inputs);
  assert_int_equal(a->n_outputs, b->n_outputs);
  assert_int_equal(a->n_prepare, b->n_prepare);
  assert_int_equal(a->n_steps, b->n_steps);
  assert_int_equal(a->arena_bytes, b->arena_bytes);
  assert_int_equal(a->prepared_bytes, b->prepared_bytes);
  assert_int_equal(a->updates, b->updates);
  assert_int_equal(a->guard, b->guard);
  assert_int_equal(a->outdates, b->outdates);
  assert_int_equal(a->budget_bytes, b->budget_bytes);
  assert_int_equal(a->saved_bytes, b->saved_bytes);
  assert_int_equal(a->recomputed, b->recomputed);
  assert_true(a->recomputed_flops == b->recomputed_flops);
  equal_ports(a->inputs, b->inputs, a->n_inputs);
  equal_ports(a->outputs, b->outputs, a->n_outputs);
  equal_steps(a->prepare, b->prepare, a->n_prepare);
  equal_steps(a->steps, b->steps, a->n_steps);
}

static void round_trip(void **state) {
  (void)state;
  Arena *arena = arena_new();
  const Plan *plan = sample(arena);
  size_t size, again;
  unsigned char *bytes = plan_write(arena, plan, &size);
  unsigned char *twice = plan_write(arena, plan, &again);
  assert_int_equal(size, again);
  assert_memory_equal(bytes, twice, size);
  Plan back;
  Error error = {""};
  if (!plan_read(arena, bytes, size, &back, &error))
    fail_msg("%s", error.text);
  assert_string_equal(back.model, plan->model);
  assert_string_equal(back.variant, plan->variant);
  assert_string_equal(back.level, plan->level);
  assert_string_equal(back.precision, plan->precision);
  assert_int_equal(back.n_tensors, plan->n_tensors);
  for (int i = 0; i < plan->n_tensors; i++) {
    assert_string_equal(back.tensors[i].name, plan->tensors[i].name);
    assert_true(type_equal(&back.tensors[i].type, &plan->tensors[i].type));
    assert_int_equal(back.tensors[i].role, plan->tensors[i].role);
    assert_int_equal(back.tensors[i].init, plan->tensors[i].init);
    assert_true(back.tensors[i].init_a == plan->tensors[i].init_a);
    assert_true(back.tensors[i].init_b == plan->tensors[i].init_b);
  }
  assert_int_equal(back.n_refresh, 1);
  equal_steps(back.refresh, plan->refresh, 1);
  assert_int_equal(back.n_kernels, 2);
  assert_string_equal(back.kernels[1], "k_forward");
  assert_int_equal(back.n_settings, 2);
  assert_string_equal(back.settings[1].key, "text.vocab");
  assert_string_equal(back.settings[1].value, "30522");
  assert_int_equal(back.n_entries, 2);
  for (int i = 0; i < 2; i++)
    equal_entries(&back.entries[i], &plan->entries[i]);
  /* what was read writes the same bytes */
  unsigned char *third = plan_write(arena, &back, &again);
  assert_int_equal(size, again);
  assert_memory_equal(bytes, third, size);
  /* at any alignment */
  for (int shift = 1; shift < 16; shift++) {
    unsigned char *moved = arena_alloc(arena, size + 16);
    memcpy(moved + shift, bytes, size);
    assert_true(plan_read(arena, moved + shift, size, &back, &error));
  }
  arena_free(arena);
}

static void every_byte_matters(void **state) {
  (void)state;
  Arena *arena = arena_new();
  size_t size;
  unsigned char *bytes = plan_write(arena, sample(arena), &size);
  Plan back;
  Error error;
  for (size_t i = 0; i < size; i++) {
    bytes[i] ^= (unsigned char)(1 << i % 8);
    if (plan_read(arena, bytes, size, &back, &error))
      fail_msg("byte %zu changed and nobody noticed", i);
    bytes[i] ^= (unsigned char)(1 << i % 8);
  }
  for (size_t shorter = 0; shorter < size; shorter++)
    assert_false(plan_read(arena, bytes, shorter, &back, &error));
  assert_true(plan_read(arena, bytes, size, &back, &error));
  arena_free(arena);
}

/* Walks everything a reader handed out; the sanitizers see bad pointers. */
static size_t walk(const Plan *plan) {
  size_t sum =
      strlen(plan->model) + strlen(plan->variant) + strlen(plan->level) + strlen(plan->precision);
  for (int i = 0; i < plan->n_tensors; i++)
    sum += strlen(plan->tensors[i].name) + type_bytes(&plan->tensors[i].type);
  for (int i = 0; i < plan->n_kernels; i++)
    sum += strlen(plan->kernels[i]);
  for (int i = 0; i < plan->n_settings; i++)
    sum += strlen(plan->settings[i].key) + strlen(plan->settings[i].value);
  for (int e = 0; e < plan->n_entries; e++) {
    const PlanEntry *entry = &plan->entries[e];
    for (int i = 0; i < entry->n_inputs + entry->n_outputs; i++) {
      bool in = i < entry->n_inputs;
      const PlanPort *port = in ? &entry->inputs[i] : &entry->outputs[i - entry->n_inputs];
      sum += strlen(port->name);
      int64_t bytes = port_bytes(port);
      if (port->ref.place == PLACE_PERSISTENT) {
        assert_in_range(port->ref.at, 0, plan->n_tensors - 1);
        assert_true(bytes <= (int64_t)type_bytes(&plan->tensors[port->ref.at].type));
      } else {
        assert_true(port->ref.at + bytes <=
                    (port->ref.place == PLACE_ARENA ? entry->arena_bytes : entry->prepared_bytes));
      }
    }
    for (int i = 0; i < entry->n_steps; i++) {
      sum += strlen(entry->steps[i].label) + strlen(entry->steps[i].place);
      if (entry->steps[i].kind == STEP_KERNEL)
        assert_in_range(entry->steps[i].kernel, 0, plan->n_kernels - 1);
      for (int k = 0; k < entry->steps[i].n_args; k++)
        sum += (size_t)entry->steps[i].args[k].at & 1;
    }
  }
  return sum;
}

/* With the checksum made right again, a change is refused by the checks behind it or is harmless.
 */
static void lies_with_a_good_checksum(void **state) {
  (void)state;
  Arena *arena = arena_new();
  size_t size, refused = 0, harmless = 0;
  unsigned char *bytes = plan_write(arena, sample(arena), &size);
  unsigned char *copy = malloc(size);
  for (size_t i = sizeof(PlanHeader); i < size; i++)
    for (int how = 0; how < 3; how++) {
      memcpy(copy, bytes, size);
      copy[i] = how == 0 ? copy[i] ^ 1 : how == 1 ? copy[i] ^ 0x80 : 0xff;
      PlanHeader header;
      memcpy(&header, copy, sizeof header);
      header.checksum = plan_checksum(copy + sizeof header, size - sizeof header, header.version);
      memcpy(copy, &header, sizeof header);
      Plan back;
      Error error;
      Arena *inner = arena_new();
      if (plan_read(inner, copy, size, &back, &error))
        harmless += walk(&back) > 0;
      else
        refused++;
      arena_free(inner);
    }
  assert_true(refused > size / 4); /* structure is a good part of the bytes */
  assert_true(harmless > 0);
  free(copy);
  arena_free(arena);
}

static void refuses(Arena *arena, const Plan *plan, const char *what, const char *word) {
  size_t size;
  unsigned char *bytes = plan_write(arena, plan, &size);
  Plan back;
  Error error = {""};
  if (plan_read(arena, bytes, size, &back, &error))
    fail_msg("a plan was taken after: %s", what);
  if (!strstr(error.text, word))
    fail_msg("\"%s\" does not say \"%s\" after: %s", error.text, word, what);
}

static void untrue_plans(void **state) {
  (void)state;
  Arena *arena = arena_new();
  PlanEntry *entry;
  PlanStep *step;
  PlanPort *port;
  Gather *gather;
  GatherBox *box;
  PlanTensor *tensor;
  PlanRef *ref;
#define COMMA ,
#define SPOIL(member, word)                                                                        \
  do {                                                                                             \
    Plan *plan = sample(arena);                                                                    \
    entry = (PlanEntry *)&plan->entries[0];                                                        \
    entry->steps = step = arena_copy(arena, entry->steps, 2 * sizeof *step);                       \
    entry->inputs = port = arena_copy(arena, entry->inputs, 2 * sizeof *port);                     \
    port[1].gather = gather = arena_copy(arena, port[1].gather, sizeof *gather);                   \
    gather->boxes = box = arena_copy(arena, gather->boxes, 2 * sizeof *box);                       \
    plan->tensors = tensor = arena_copy(arena, plan->tensors, 3 * sizeof *tensor);                 \
    step[0].args = ref = arena_copy(arena, step[0].args, 3 * sizeof *ref);                         \
    member;                                                                                        \
    refuses(arena, plan, #member, word);                                                           \
  } while (0)
  SPOIL(step[0].kernel = 2, "kernel that is not there");
  SPOIL(step[0].kernel = -1, "kernel that is not there");
  SPOIL(step[0].blocks = -1, "negative");
  SPOIL(step[1].bytes = 129, "outside its memory");
  SPOIL(step[1].n_args = 1, "a source and a destination");
  SPOIL(ref[0].at = -1, "outside its memory");
  SPOIL(ref[0].at = 257, "outside its memory");
  SPOIL(ref[0].at = INT64_MAX, "outside its memory");
  SPOIL(step[0].results = &(PlanResult){3 COMMA 1 COMMA DT_f32};
        step[0].n_results = 1, "no argument of its step");
  SPOIL(step[0].results = &(PlanResult){1 COMMA 9 COMMA DT_f32};
        step[0].n_results = 1, "outside its memory");
  SPOIL(step[0].moved = ((int64_t[]){0 COMMA - 1 COMMA 0}), "impossible size");
  SPOIL(entry->guard = 3, "guard");
  SPOIL(ref[1].at = 3, "tensor that is not there");
  SPOIL(ref[2].place = 3, "unknown place");
  SPOIL(port[0].ref.at = 256 - 60, "outside its memory");
  SPOIL(port[0].ref.at = 2, "misaligned");
  SPOIL(port[0].ref = ((PlanRef){PLACE_PERSISTENT, 1}), "outside its memory");
  SPOIL(port[0].type.dim[0] = INT64_MAX, "impossible shape");
  SPOIL(port[0].type.dim[0] = -1, "impossible shape");
  SPOIL(port[0].type.dtype = DT_COUNT, "unknown element type");
  SPOIL(gather->elements = 7, "cannot be gathered");
  SPOIL(gather->elements = INT64_MAX, "cannot be gathered");
  SPOIL(gather->elements = 10, "cannot be gathered"); /* other samples than the boxes say */
  SPOIL(gather->elements = 0, "cannot be gathered");
  SPOIL(box[0].start[1] = -1, "cannot be gathered");
  SPOIL(box[0].start[1] = 4, "cannot be gathered");
  SPOIL(box[0].step[1] = 0, "cannot be gathered");
  SPOIL(box[0].step[1] = INT64_MAX, "cannot be gathered");
  SPOIL(box[0].count[1] = 4, "cannot be gathered");
  SPOIL(box[0].count[0] = 1, "cannot be gathered");
  SPOIL(box[0].stride[0] = 3, "cannot be gathered");
  SPOIL(box[0].stride[1] = 2, "cannot be gathered");
  SPOIL(box[1].stride[1] = -1, "cannot be gathered");
  SPOIL(box[1].at = -1, "cannot be gathered");
  SPOIL(box[1].at = 4, "cannot be gathered");
  SPOIL(port[1].ref.at = 256 - 28, "outside its memory");
  SPOIL(entry->outputs = port; entry->n_outputs = 2, "only inputs are gathered");
  SPOIL(tensor[0].role = 5, "unknown role");
  SPOIL(tensor[1].name = "encoder.weight", "same name");
  SPOIL(entry->arena_bytes = INT64_MAX, "impossible memory size");
  SPOIL(step[0].threads = 2048, "impossible size of a block");
  SPOIL(step[0].shared_bytes = -1, "impossible size of a block");
  SPOIL(entry->prepare = step; entry->n_prepare = 1, "prepare step uses the arena");
  SPOIL(plan->refresh = entry->prepare, "outside its memory");
  SPOIL(ref[0] = ref[2] = (PlanRef){PLACE_PREPARED COMMA 0}; step[0].n_results = 0;
        plan->refresh = step, "does not persist");
  SPOIL(plan->refresh = step, "prepare step uses the arena");
  SPOIL(entry[1].name = "encode_image", "two entry points");
#undef SPOIL
#undef COMMA
  size_t size;
  unsigned char *bytes = plan_write(arena, sample(arena), &size);
  Plan back;
  Error error;
  bytes[8]++;
  assert_false(plan_read(arena, bytes, size, &back, &error));
  assert_non_null(strstr(error.text, "version 7, this program reads version 6"));
  arena_free(arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(round_trip), cmocka_unit_test(every_byte_matters),
      cmocka_unit_test(lies_with_a_good_checksum), cmocka_unit_test(untrue_plans)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
