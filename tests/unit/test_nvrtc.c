/* NVRTC accepts the emitted CUDA text, for two architectures and as PTX, and cubins can be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/text_kernels.h"
#include <stdio.h>

#define nvrtc_needed()                                                                            \
  do {                                                                                            \
    Error why_not;                                                                                \
    if (!nvrtc_available(&why_not)) {                                                             \
      printf("skipped: %s\n", why_not.text);                                                      \
      skip();                                                                                     \
    }                                                                                             \
  } while (0)

/* Every statement, with 64 threads where the kernel has a block to share. */
static int make_kernels(Arena *arena, Kernel **kernels) {
  int count = 0;
  for (int width = 1; width <= 4; width *= 2) {
    kernels[count++] = make_elementwise(arena, width);
    kernels[count++] = make_row_sum(arena, width);
    kernels[count++] = make_taps(arena, width);
    kernels[count++] = make_gather(arena, DT_i64, width);
  }
  kernels[count++] = make_guarded(arena);
  kernels[count++] = make_branches(arena);
  kernels[count++] = make_wide(arena);
  kernels[count++] = make_shared(arena, "mirror", true, true);
  return count;
}

static void compiles_for(const char *arch) {
  Arena *arena = arena_new();
  Kernel *kernels[32];
  int count = make_kernels(arena, kernels);
  Text text = {0};
  emit_text(TEXT_CUDA, kernels, count, &text);
  Cubin cubin;
  Error error = {""};
  if (!nvrtc_compile(arena, text.at, "kernels.cu", arch, &cubin, &error)) {
    printf("%s\n", text.at);
    fail_msg("%s", error.text);
  }
  if (*cubin.log)
    fail_msg("%s", cubin.log);
  for (int i = 0; i < count; i++) {
    CubinResources resources;
    if (!cubin_resources(&cubin, kernels[i]->name, &resources, &error))
      fail_msg("%s", error.text);
    printf("%s %s: %d registers, %lld bytes local, %lld bytes shared\n", arch, kernels[i]->name,
           resources.registers, (long long)resources.local_bytes,
           (long long)resources.shared_bytes);
    assert_in_range(resources.registers, 1, 255);
    assert_int_equal(resources.local_bytes, 0); /* register tiles with constant indices */
  }
  CubinResources resources;
  assert_false(cubin_resources(&cubin, "nobody", &resources, &error));
  assert_non_null(strstr(error.text, "nobody"));
  for (size_t size = 0; size < cubin.size; size += 97) { /* cut short: an answer, no crash */
    Cubin cut = {arena_copy(arena, cubin.bytes, size), size, ""};
    cubin_resources(&cut, "mirror", &resources, NULL);
  }
  text_free(&text);
  arena_free(arena);
}

static void compiles_for_sm_80(void **state) {
  (void)state;
  nvrtc_needed();
  compiles_for("sm_80");
}

static void compiles_for_sm_90a(void **state) {
  (void)state;
  nvrtc_needed();
  compiles_for("sm_90a");
}

/* No multiplication and addition is fused unless the kernel says so. */
static void ptx_is_not_contracted(void **state) {
  (void)state;
  nvrtc_needed();
  Arena *arena = arena_new();
  Kernel *kernels[] = {make_elementwise(arena, 1), make_taps(arena, 1)};
  for (int i = 0; i < 2; i++) {
    Text text = {0};
    Cubin ptx;
    Error error = {""};
    emit_text(TEXT_CUDA, &kernels[i], 1, &text);
    if (!nvrtc_compile(arena, text.at, "k.cu", "compute_80", &ptx, &error))
      fail_msg("%s", error.text);
    assert_non_null(strstr((char *)ptx.bytes, ".visible .entry"));
    assert_int_equal(strstr((char *)ptx.bytes, "fma.rn.f32") != NULL, i == 1);
    text_free(&text);
  }
  arena_free(arena);
}

static void errors_carry_the_log(void **state) {
  (void)state;
  nvrtc_needed();
  Arena *arena = arena_new();
  Cubin cubin;
  Error error = {""};
  const char *wrong = "int x = undeclared_word;";
  assert_false(nvrtc_compile(arena, wrong, "wrong.cu", "sm_80", &cubin, &error));
  assert_non_null(strstr(error.text, "undeclared_word"));
  assert_false(nvrtc_compile(arena, "", "k.cu", "sm_1", &cubin, &error));
  Cubin junk = {(unsigned char *)"no", 2, ""};
  CubinResources resources;
  assert_false(cubin_resources(&junk, "k", &resources, &error));
  assert_string_equal(error.text, "not a cubin");
  arena_free(arena);
}

/* Side by side as one by one, and PTX of the lowest architecture besides. */
static void several_at_once(void **state) {
  (void)state;
  nvrtc_needed();
  Arena *arena = arena_new();
  Kernel *kernel = make_shared(arena, "shared", true, true);
  CudaImage images[4] = {{.arch = {90, 'a'}}, {.arch = {80, 0}}, {.arch = {86, 0}}};
  Error error = {""};
  Cubin alone;
  Text text = {0};
  emit_text(TEXT_CUDA, &kernel, 1, &text);
  images[3] = nvrtc_floor(images, 3);
  if (!nvrtc_compile_all(arena, text.at, "all.cu", images, 4, &error))
    fail_msg("%s", error.text);
  for (int i = 0; i < 4; i++) {
    char arch[CUDA_ARCH_TEXT];
    cuda_arch_text(images[i].arch, images[i].ptx, arch);
    assert_true(nvrtc_compile(arena, text.at, "all.cu", arch, &alone, &error));
    assert_int_equal(images[i].size, alone.size);
    assert_memory_equal(images[i].data, alone.bytes, alone.size);
    assert_int_equal(images[i].ptx, i == 3);
  }
  assert_int_equal(images[3].arch.capability, 80);
  CudaImage wrong[] = {{.arch = {80, 0}}, {.arch = {11, 0}}}, above = {.arch = {90, 'a'}};
  assert_int_equal(nvrtc_floor(&above, 1).arch.feature, 0);
  assert_false(nvrtc_compile_all(arena, text.at, "all.cu", wrong, 2, &error));
  assert_non_null(strstr(error.text, "for sm_11"));
  text_free(&text);
  arena_free(arena);
}

static void blocks_held(void **state) {
  (void)state;
  const CudaArch ampere = {80, 0}, hopper = {90, 'a'}, other = {42, 0};
  assert_int_equal(cuda_blocks_held(ampere, 128, 64, 0), 8);        /* registers */
  assert_int_equal(cuda_blocks_held(ampere, 128, 20, 0), 16);       /* threads */
  assert_int_equal(cuda_blocks_held(ampere, 32, 20, 0), 32);        /* blocks */
  assert_int_equal(cuda_blocks_held(ampere, 128, 64, 47 << 10), 3); /* shared memory */
  assert_int_equal(cuda_blocks_held(hopper, 128, 64, 47 << 10), 4);
  assert_int_equal(cuda_blocks_held(hopper, 128, 65, 0), 7); /* given out by 8 to a thread */
  assert_int_equal(cuda_blocks_held(other, 128, 64, 0), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(compiles_for_sm_80),
      cmocka_unit_test(compiles_for_sm_90a),
      cmocka_unit_test(ptx_is_not_contracted),
      cmocka_unit_test(errors_carry_the_log),
      cmocka_unit_test(several_at_once),
      cmocka_unit_test(blocks_held),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
