/* NVRTC accepts the CUDA text of every kernel of a whole CLIP model, evaluation and training step,
 * for two architectures (with the argument `all` each on both); the kernels fit the hardware's
 * registers and shared memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "driver/compile.h"
#include <stdio.h>
#include <string.h>

#ifndef TRICOT_SOURCE
#error "TRICOT_SOURCE names the source folder"
#endif

static const char *const sets[] = {
    "volume=[32,64,64]", "batch=3",        "text.vocab=1024",   "text.width=64", "text.layers=2",
    "text.heads=4",      "text.hidden=256", "text.positions=64", "text.length=24"};
enum { N_SETS = sizeof sets / sizeof *sets };

static void build(Compiled *compiled, const char *entry) {
  EntryRequest wanted = {.entry = entry, .name = entry, .keep_taps = true, .keep_gradients = true};
  CompileRequest request = {.model = {.path = TRICOT_SOURCE "/models/clip-dcformer.yaml",
                                      .variant = "nano",
                                      .sets = sets,
                                      .n_sets = N_SETS},
                            .target = "cuda-shim",
                            .entries = &wanted,
                            .n_entries = 1};
  Error error = {""};
  if (!compiled_build(compiled, &request, &error)) {
    compiled_report(compiled, &error);
    fail_msg("%s does not compile", entry);
  }
}

/* Prints what a careful reader wants to see: how many kernels spill, and the hungriest. */
static void check_resources(const Build *built, const Cubin *cubin, const char *what) {
  int most_registers = 0, spilling = 0;
  int64_t most_local = 0, most_shared = 0;
  for (int i = 0; i < built->kernels.count; i++) {
    const Kernel *kernel = built->kernels.at[i];
    CubinResources needs;
    Error error = {""};
    if (!cubin_resources(cubin, kernel->name, &needs, &error))
      fail_msg("%s: %s", kernel->name, error.text);
    assert_in_range(needs.registers, 1, 255);
    int64_t shared = needs.shared_bytes + kernel_shared_bytes(kernel);
    if (shared > 48 << 10)
      fail_msg("%s takes %lld bytes of shared memory", kernel->name, (long long)shared);
    most_registers = needs.registers > most_registers ? needs.registers : most_registers;
    most_local = needs.local_bytes > most_local ? needs.local_bytes : most_local;
    most_shared = shared > most_shared ? shared : most_shared;
    spilling += needs.local_bytes > 0;
  }
  printf("%s: %d kernels, at most %d registers, %lld bytes local (%d kernels), %lld shared\n", what,
         built->kernels.count, most_registers, (long long)most_local, spilling,
         (long long)most_shared);
}

static void compiles(const char *entry, const char *arch) {
  Compiled compiled;
  build(&compiled, entry);
  Text text = {0};
  char what[64];
  Cubin cubin;
  Error error = {""};
  snprintf(what, sizeof what, "%s %s", entry, arch);
  emit_text(TEXT_CUDA, compiled.build.kernels.at, compiled.build.kernels.count, &text);
  if (!nvrtc_compile(compiled.arena, text.at, "model.cu", arch, &cubin, &error))
    fail_msg("%s: %s", what, error.text);
  if (*cubin.log)
    fail_msg("%s: %s", what, cubin.log);
  check_resources(&compiled.build, &cubin, what);
  text_free(&text);
  compiled_close(&compiled);
}

static void forward_sm_80(void **state) { (void)state, compiles("forward", "sm_80"); }
static void forward_sm_90a(void **state) { (void)state, compiles("forward", "sm_90a"); }
static void train_step_sm_80(void **state) { (void)state, compiles("train_step", "sm_80"); }
static void train_step_sm_90a(void **state) { (void)state, compiles("train_step", "sm_90a"); }

int main(int argc, char **argv) {
  Error why_not;
  if (!nvrtc_available(&why_not)) {
    printf("skipped: %s\n", why_not.text);
    return 77;
  }
  const struct CMUnitTest few[] = {cmocka_unit_test(forward_sm_80),
                                   cmocka_unit_test(train_step_sm_90a)};
  const struct CMUnitTest all[] = {
      cmocka_unit_test(forward_sm_80), cmocka_unit_test(forward_sm_90a),
      cmocka_unit_test(train_step_sm_80), cmocka_unit_test(train_step_sm_90a)};
  if (argc > 1 && strcmp(argv[1], "all") == 0)
    return cmocka_run_group_tests(all, NULL, NULL);
  return cmocka_run_group_tests(few, NULL, NULL);
}
