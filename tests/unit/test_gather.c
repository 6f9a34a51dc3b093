/* Gathering boxes: against a plain loop over all elements, whole and in slabs, elements of two and
 * four bytes, and straight from a volume file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "runtime/base/gather.h"
#include "runtime/data/cache.h"
#include "runtime/safetensors.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { D = 9, H = 6, W = 10, VOXELS = D * H * W, PART = 3 * 3 * 5 + 2 * 6 * 3 + 4 };

/* Every third plane's second rows' even voxels; planes 1 and 5 with every fourth voxel from 1 on,
 * their last two axes changed over; four places free in between. */
static const GatherBox boxes[] = {
    {{0, 0, 0, 0, 0}, {1, 1, 3, 2, 2}, {2, 1, 3, 3, 5}, 0, {PART, 0, 15, 5, 1}},
    {{0, 0, 1, 0, 1}, {1, 1, 4, 1, 4}, {2, 1, 2, 6, 3}, 49, {PART, 0, 18, 1, 6}},
};
static const Gather gather = {{DT_f32, 5, {2, 1, D, H, W}}, 2 * PART, true, 2, boxes};

/* The place of a voxel in the part, -1: none. */
static int64_t place_of(int64_t d, int64_t h, int64_t w) {
  if (d % 3 == 0 && h % 2 == 0 && w % 2 == 0)
    return d / 3 * 15 + h / 2 * 5 + w / 2;
  if ((d == 1 || d == 5) && w % 4 == 1)
    return 49 + d / 4 * 18 + w / 4 * 6 + h;
  return -1;
}

static float value_of(int64_t voxel) { return (float)((voxel * 7919) % 2001 - 1000) / 1000; }

static void expect(float *part) {
  memset(part, 0, sizeof(float) * PART);
  for (int64_t v = 0; v < VOXELS; v++) {
    int64_t place = place_of(v / (H * W), v / W % H, v % W);
    if (place >= 0)
      part[place] = value_of(v);
  }
}

static void test_whole(void **state) {
  (void)state;
  float whole[VOXELS], part[PART], expected[PART];
  Error error;
  assert_true(gather_check(&gather, &error));
  assert_int_equal(gather_sample_part(&gather), PART);
  assert_int_equal(gather_sample_whole(&gather), VOXELS);
  for (int v = 0; v < VOXELS; v++)
    whole[v] = value_of(v);
  expect(expected);
  memset(part, 0x7f, sizeof part);
  gather_sample(&gather, sizeof(float), whole, part);
  assert_memory_equal(part, expected, sizeof part);
  for (int64_t slab = 1; slab <= D; slab++) {
    memset(part, 0x7f, sizeof part);
    gather_clear(&gather, sizeof(float), part);
    for (int64_t first = 0; first < D; first += slab)
      gather_slab(&gather, 2, first, first + slab < D ? slab : D - first, sizeof(float),
                  whole + first * H * W, part);
    assert_memory_equal(part, expected, sizeof part);
  }
}

static void test_codes(void **state) {
  (void)state;
  uint16_t whole[VOXELS], part[PART];
  double wide[VOXELS], wide_part[PART];
  for (int v = 0; v < VOXELS; v++)
    wide[v] = whole[v] = (uint16_t)(v + 1);
  gather_sample(&gather, sizeof *whole, whole, part);
  gather_sample(&gather, sizeof *wide, wide, wide_part);
  for (int v = 0; v < VOXELS; v++) {
    int64_t place = place_of(v / (H * W), v / W % H, v % W);
    if (place >= 0) {
      assert_int_equal(part[place], v + 1);
      assert_true(wide_part[place] == v + 1);
    }
  }
}

/* Both kinds of prepared volumes give the part that their whole gives. */
static void test_files(void **state) {
  (void)state;
  char path[64];
  Error error = {""};
  float whole[VOXELS], back[VOXELS], part[PART], expected[PART];
  const int64_t size[3] = {D, H, W};
  for (int v = 0; v < VOXELS; v++)
    whole[v] = value_of(v);
  snprintf(path, sizeof path, "/tmp/tricot-gather-%d.tvol", (int)getpid());
  VolumeOrigin origin = {"settings", {.spacing = {1, 1, 1}}, 1, 2, "LPS"};
  assert_true(volume_file_write(path, size, whole, STORE_I16, &origin, &error));
  assert_true(cache_load(path, size, NULL, back, &error));
  gather_sample(&gather, sizeof(float), back, expected);
  memset(part, 0x7f, sizeof part);
  assert_true(cache_load_part(path, size, NULL, &gather, part, &error));
  assert_memory_equal(part, expected, sizeof part);
  Tensor tensor = {"volume", {DT_f32, 4, {1, D, H, W}}, whole};
  assert_true(tensor_file_write(path, &tensor, 1, NULL, NULL, 0, &error));
  memset(part, 0x7f, sizeof part);
  assert_true(cache_load_part(path, size, NULL, &gather, part, &error));
  expect(expected);
  assert_memory_equal(part, expected, sizeof part);
  unlink(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_whole), cmocka_unit_test(test_codes),
                                     cmocka_unit_test(test_files)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
