/* Names of CUDA architectures, and which image a device takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/cuda/image.h"

static void names(void **state) {
  (void)state;
  static const char *const good[] = {"sm_80", "sm_90a", "compute_75", "compute_100f", "sm_120"};
  char text[CUDA_ARCH_TEXT];
  CudaArch arch;
  bool ptx;
  for (int i = 0; i < 5; i++) {
    assert_true(cuda_arch_parse(good[i], &arch, &ptx));
    assert_string_equal(cuda_arch_text(arch, ptx, text), good[i]);
  }
  static const char *const bad[] = {"", "sm_", "sm_a", "90", "sm_9", "sm_90x", "sm_90aa", "sm_-90",
                                    "compute_1000", "sm 90"};
  for (int i = 0; i < 10; i++)
    assert_false(cuda_arch_parse(bad[i], &arch, &ptx));
}

static CudaImage image(const char *name) {
  CudaImage image = {0};
  assert_true(cuda_arch_parse(name, &image.arch, &image.ptx));
  return image;
}

static void choice(void **state) {
  (void)state;
  CudaImage images[] = {image("compute_80"), image("sm_80"), image("sm_90"), image("sm_90a"),
                        image("sm_86")};
  assert_int_equal(cuda_image_choose(images, 5, 80), 1);
  assert_int_equal(cuda_image_choose(images, 5, 86), 4);
  assert_int_equal(cuda_image_choose(images, 5, 89), 4);  /* of the same major number */
  assert_int_equal(cuda_image_choose(images, 5, 90), 3);  /* its own */
  assert_int_equal(cuda_image_choose(images, 5, 100), 0); /* compiled by the driver */
  assert_int_equal(cuda_image_choose(images, 5, 75), -1);
  assert_int_equal(cuda_image_choose(images + 2, 2, 100), -1); /* cubins of another generation */
  assert_int_equal(cuda_image_choose(images, 0, 90), -1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(names), cmocka_unit_test(choice)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
