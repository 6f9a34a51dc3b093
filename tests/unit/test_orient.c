/* Turning volumes: a made volume through every orientation and back, and one image that is stored
 * in 25 orientations, which must all become the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/base/arena.h"
#include "runtime/data/orient.h"
#include "tests/unit/shared.h"
#include <dirent.h>
#include <math.h>
#include <string.h>

static void knows_orientations(void **state) {
  (void)state;
  static const char *const good[] = {"LPS", "RAS", "SAL", "PIR"};
  static const char *const bad[] = {"", "LP", "LPSX", "LRS", "LPP", "???", "lps", "LP?"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++)
    assert_true(axes_are_valid(good[i]));
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_false(axes_are_valid(bad[i]));
  char joined[8] = "";
  axes_join(joined, "LPS");
  axes_join(joined, "LPS");
  assert_string_equal(joined, "LPS");
  axes_join(joined, "LAS");
  assert_string_equal(joined, "mixed");
  axes_join(joined, "LPS");
  assert_string_equal(joined, "mixed");
  joined[0] = 0;
  axes_join(joined, "???");
  assert_string_equal(joined, "mixed");
}

/* A 2x3x4 volume that points to RAS, its voxels numbered. */
static Volume numbered(VoxelKind kind) {
  Volume v = {.nx = 2, .ny = 3, .nz = 4, .kind = kind, .slope = 1, .spacing = {1, 2, 3},
              .affine = {{1, 0, 0, 10}, {0, 2, 0, 20}, {0, 0, 3, 30}}, .axes = "RAS"};
  v.stored = mem_alloc(24 * 8);
  for (int i = 0; i < 24; i++)
    switch (voxel_size(kind)) {
    case 1: ((uint8_t *)v.stored)[i] = (uint8_t)i; break;
    case 2: ((int16_t *)v.stored)[i] = (int16_t)i; break;
    case 4: ((float *)v.stored)[i] = (float)i; break;
    default: ((double *)v.stored)[i] = i; break;
    }
  return v;
}

/* Where voxel (x,y,z) lies in the world must not depend on how the volume is stored. */
static void check_places(const Volume *v) {
  double row[4];
  for (int64_t z = 0; z < v->nz; z++)
    for (int64_t y = 0; y < v->ny; y++) {
      volume_row(v, y, z, row);
      for (int64_t x = 0; x < v->nx; x++) {
        double world[3];
        for (int i = 0; i < 3; i++)
          world[i] = v->affine[i][0] * (double)x + v->affine[i][1] * (double)y +
                     v->affine[i][2] * (double)z + v->affine[i][3];
        double number = (world[0] - 10) + 2 * ((world[1] - 20) / 2 + 3 * ((world[2] - 30) / 3));
        assert_true(fabs(row[x] - number) < 1e-9);
      }
    }
}

static void every_orientation(void **state) {
  (void)state;
  static const VoxelKind kinds[] = {VOXEL_U8, VOXEL_I16, VOXEL_F32, VOXEL_F64};
  static const char letters[] = "LRPAIS";
  int turned = 0;
  for (int code = 0; code < 6 * 6 * 6; code++) {
    char axes[4] = {letters[code / 36], letters[code / 6 % 6], letters[code % 6], 0};
    if (!axes_are_valid(axes))
      continue;
    for (int k = 0; k < 4; k++) {
      Volume v = numbered(kinds[k]);
      Error error = {""};
      assert_true(volume_reorient(&v, axes, &error));
      assert_string_equal(v.axes, axes);
      check_places(&v);
      for (int i = 0; i < 3; i++) /* the spacing follows its axis */
        assert_true(v.spacing[i] == (strchr("LR", axes[i])   ? 1
                                     : strchr("PA", axes[i]) ? 2
                                                             : 3));
      assert_true(volume_reorient(&v, "RAS", &error));
      check_places(&v);
      assert_true(v.nx == 2 && v.ny == 3 && v.nz == 4 && v.affine[2][3] == 30);
      volume_free(&v);
      turned++;
    }
  }
  assert_int_equal(turned, 4 * 48);
}

static void refuses_unknown_axes(void **state) {
  (void)state;
  Volume v = numbered(VOXEL_U8);
  Error error = {""};
  strcpy(v.axes, "R?S");
  assert_false(volume_reorient(&v, "LPS", &error));
  assert_non_null(strstr(error.text, "R?S"));
  assert_int_equal(((uint8_t *)v.stored)[23], 23);
  volume_free(&v);
}

static void one_image_in_many_orientations(void **state) {
  (void)state;
  shared_needed();
  Volume wanted;
  Error error = {""};
  if (!volume_read(shared_path("data/edge/orient/RAS.nii.gz"), &wanted, &error))
    fail_msg("%s", error.text);
  size_t bytes = (size_t)(wanted.nx * wanted.ny * wanted.nz) * (size_t)voxel_size(wanted.kind);
  DIR *folder = opendir(shared_path("data/edge/orient"));
  assert_non_null(folder);
  int same = 0;
  for (struct dirent *entry; (entry = readdir(folder));) {
    char name[300];
    Volume v;
    if (!strstr(entry->d_name, ".nii"))
      continue;
    snprintf(name, sizeof name, "data/edge/orient/%s", entry->d_name);
    if (!volume_read(shared_path(name), &v, &error) || !volume_reorient(&v, "RAS", &error))
      fail_msg("%s", error.text);
    if (v.nx != wanted.nx || v.ny != wanted.ny || v.nz != wanted.nz ||
        memcmp(v.stored, wanted.stored, bytes) != 0)
      fail_msg("%s: turned to RAS, it is not the image", name);
    for (int i = 0; i < 3; i++)
      for (int j = 0; j < 4; j++)
        if (fabs(v.affine[i][j] - wanted.affine[i][j]) > 1e-3)
          fail_msg("%s: affine %d,%d is %g, not %g", name, i, j, v.affine[i][j],
                   wanted.affine[i][j]);
    same++;
    volume_free(&v);
  }
  closedir(folder);
  volume_free(&wanted);
  printf("  %d files\n", same);
  assert_int_equal(same, 25);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(knows_orientations),
      cmocka_unit_test(every_orientation),
      cmocka_unit_test(refuses_unknown_axes),
      cmocka_unit_test(one_image_in_many_orientations),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
