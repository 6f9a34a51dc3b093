/* Fuzzes plan_read behind its checksum: the header in front of the buffer is made right first. Odd
 * sizes are read from an address without the alignment of a flatbuffer. */
#include "runtime/plan.h"
#include "runtime/plan_format.h"
#include "tests/fuzz/fuzz.h"

static void touch_text(const char *text) { touch(text, strlen(text)); }

static void walk_steps(const PlanStep *steps, int count) {
  for (int i = 0; i < count; i++) {
    touch_text(steps[i].label);
    touch_text(steps[i].place);
    touch(steps[i].args, sizeof *steps[i].args * (size_t)steps[i].n_args);
    for (int k = 0; k < steps[i].n_results; k++)
      CHECK(steps[i].results[k].arg >= 0 && steps[i].results[k].arg < steps[i].n_args);
    for (int k = 0; steps[i].moved && k < steps[i].n_args; k++)
      CHECK(steps[i].moved[k] >= 0);
  }
}

static void walk(const Plan *plan) {
  for (int i = 0; i < plan->n_tensors; i++)
    touch_text(plan->tensors[i].name);
  for (int i = 0; i < plan->n_kernels; i++)
    touch_text(plan->kernels[i]);
  for (int i = 0; i < plan->n_settings; i++)
    touch_text(plan->settings[i].value);
  for (int i = 0; i < plan->n_entries; i++) {
    const PlanEntry *entry = &plan->entries[i];
    for (int k = 0; k < entry->n_inputs; k++)
      CHECK(type_bytes(&entry->inputs[k].type) < (size_t)1 << 62);
    walk_steps(entry->prepare, entry->n_prepare);
    walk_steps(entry->steps, entry->n_steps);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  PlanHeader header = {.magic = PLAN_MAGIC, .version = PLAN_VERSION};
  if (size < sizeof header)
    return 0;
  unsigned char *memory = malloc(size + 1), *copy = memory + size % 2;
  memcpy(copy, bytes, size);
  header.size = size - sizeof header;
  header.checksum = plan_checksum(copy + sizeof header, size - sizeof header, PLAN_VERSION);
  memcpy(copy, &header, sizeof header);
  Arena *arena = arena_new();
  Plan plan;
  Error error = {""};
  if (plan_read(arena, copy, size, &plan, &error))
    walk(&plan);
  else
    expect_words(&error);
  arena_free(arena);
  free(memory);
  return 0;
}
