/* Volume files: values come back within the stated error whatever the shape, blocks alone and
 * together, and no flipped bit and no missing byte goes unnoticed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* after what it leans on */
#include <cmocka.h>

#include "runtime/base/arena.h"
#include "runtime/base/random.h"
#include "runtime/data/cache.h"
#include "tests/unit/shared.h"
#include <math.h>
#include <string.h>

static char folder[100], path[200];

static int make_folder(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "%s", scratch_make());
  snprintf(path, sizeof path, "%s/v.tvol", folder);
  return 0;
}

static int remove_folder(void **state) {
  (void)state;
  scratch_remove(folder);
  return 0;
}

static const VolumeOrigin origin = {
    "size and so on", {2, -3, {0.5, 0.25, 1.5}}, 12345, 67890, "LPS"};

/* Something smooth with noise and a margin of -1, as prepared volumes are. */
static float *make_values(const int64_t size[3], float reach) {
  int64_t count = size[0] * size[1] * size[2];
  float *values = mem_alloc(sizeof *values * (size_t)count);
  for (int64_t i = 0; i < count; i++) {
    double wave = sin(0.05 * (double)(i % size[2])) * cos(0.03 * (double)(i / size[2]));
    double noise = 0.1 * random_uniform(7, 0, (uint64_t)i);
    values[i] = i % size[2] < 3 ? -1 : reach * (float)fmax(-1, fmin(1, wave + noise));
  }
  return values;
}

static void write_file(const int64_t size[3], const float *values, VolumeStore store) {
  Error error = {""};
  if (!volume_file_write(path, size, values, store, &origin, &error))
    fail_msg("%s", error.text);
}

static void open_file(VolumeFile *file) {
  Error error = {""};
  if (!volume_file_open(file, path, &error))
    fail_msg("%s", error.text);
}

static void expect_near(const float *got, const float *wanted, int64_t count, double most,
                        double relative) {
  for (int64_t i = 0; i < count; i++)
    if (!(fabs((double)got[i] - wanted[i]) <= most + relative * fabs((double)wanted[i])))
      fail_msg("value %lld is %.9g, not %.9g", (long long)i, got[i], wanted[i]);
}

static void values_come_back(void **state) {
  (void)state;
  static const struct {
    int64_t size[3];
    float reach;
    VolumeStore store;
    double most, relative;
  } cases[] = {
      {{1, 1, 1}, 1, STORE_I16, 0.5001 / 32767, 0},
      {{3, 5, 7}, 1, STORE_I16, 0.5001 / 32767, 0},
      {{2, 3, 4}, 8, STORE_I16, 4.001 / 32767, 0},
      {{70, 100, 90}, 1, STORE_I16, 0.5001 / 32767, 0}, /* two blocks */
      {{3, 800, 700}, 1, STORE_I16, 0.5001 / 32767, 0}, /* a plane is a block */
      {{3, 5, 7}, 1, STORE_F16, 3e-8, 1 / 2048.0},
      {{70, 100, 90}, 900, STORE_F16, 3e-8, 1 / 2048.0},
  };
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    const int64_t *size = cases[c].size;
    int64_t plane = size[1] * size[2], count = size[0] * plane;
    float *values = make_values(size, cases[c].reach),
          *out = mem_alloc(sizeof *out * (size_t)count);
    write_file(size, values, cases[c].store);
    VolumeFile file;
    Error error = {""};
    open_file(&file);
    assert_memory_equal(file.size, size, sizeof file.size);
    assert_int_equal(file.store, cases[c].store);
    assert_string_equal(file.origin.settings, origin.settings);
    assert_string_equal(file.origin.axes, "LPS");
    assert_true(file.origin.facts.intercept == -3 && file.origin.facts.spacing[1] == 0.25);
    assert_true(file.origin.source_bytes == 12345 && file.origin.source_time == 67890);
    assert_true(volume_file_check(&file, &error));
    assert_true(volume_file_read(&file, 0, size[0], out, &error));
    expect_near(out, values, count, cases[c].most, cases[c].relative);
    /* any planes alone give the same */
    float *part = mem_alloc(sizeof *part * (size_t)count);
    for (int64_t first = 0; first < size[0]; first += 1 + size[0] / 4)
      for (int64_t n = 1; first + n <= size[0]; n += 1 + size[0] / 3) {
        assert_true(volume_file_read(&file, first, n, part, &error));
        assert_memory_equal(part, out + first * plane, sizeof *part * (size_t)(n * plane));
      }
    volume_file_close(&file);
    free(part);
    free(out);
    free(values);
  }
}

static void ends_are_exact(void **state) {
  (void)state;
  float values[] = {-1, 1, 0, -1, 0.5f, 1}, out[6];
  for (VolumeStore store = STORE_I16; store <= STORE_F16; store++) {
    VolumeFile file;
    write_file((int64_t[]){1, 2, 3}, values, store);
    open_file(&file);
    assert_true(volume_file_read(&file, 0, 1, out, NULL));
    volume_file_close(&file);
    assert_true(out[0] == -1 && out[1] == 1 && out[2] == 0 && out[3] == -1 && out[5] == 1);
  }
}

static void refuses_values(void **state) {
  (void)state;
  Error error = {""};
  float values[] = {0, NAN}, large[] = {0, 70000};
  int64_t size[] = {1, 1, 2};
  assert_false(volume_file_write(path, size, values, STORE_I16, &origin, &error));
  assert_non_null(strstr(error.text, "voxel 1 is not a finite number"));
  assert_true(volume_file_write(path, size, large, STORE_I16, &origin, &error));
  assert_false(volume_file_write(path, size, large, STORE_F16, &origin, &error));
  assert_non_null(strstr(error.text, "too large for float16"));
}

static size_t read_bytes(unsigned char *bytes, size_t room) {
  FILE *stream = fopen(path, "rb");
  size_t size = fread(bytes, 1, room, stream);
  fclose(stream);
  return size;
}

/* Not by way of an empty file: some file systems then wait for the disk. */
static void write_bytes(const unsigned char *bytes, size_t size) {
  FILE *stream = fopen(path, "r+b");
  assert_int_equal(fwrite(bytes, 1, size, stream), size);
  assert_int_equal(fflush(stream), 0);
  assert_int_equal(ftruncate(fileno(stream), (off_t)size), 0);
  fclose(stream);
}

/* Does the file open, and do all its values decode? */
static bool is_whole(const int64_t size[3], float *out) {
  Error error;
  return cache_load(path, size, NULL, out, &error);
}

static void damage_is_noticed(void **state) {
  (void)state;
  static unsigned char bytes[1 << 16];
  float out[4 * 6 * 5];
  int64_t size[] = {4, 6, 5};
  float *values = make_values(size, 1);
  write_file(size, values, STORE_I16);
  size_t length = read_bytes(bytes, sizeof bytes);
  assert_true(is_whole(size, out));
  for (size_t bit = 0; bit < 8 * length; bit++) {
    bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    write_bytes(bytes, length);
    if (is_whole(size, out))
      fail_msg("bit %zu of %zu bytes was flipped unnoticed", bit, length);
    bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
  }
  for (size_t cut = 0; cut < length; cut++) {
    write_bytes(bytes, cut);
    if (is_whole(size, out))
      fail_msg("%zu of %zu bytes were taken for all", cut, length);
  }
  bytes[length] = 0;
  write_bytes(bytes, length + 1);
  assert_false(is_whole(size, out));
  write_bytes(bytes, length);
  assert_true(is_whole(size, out));
  assert_false(cache_load(path, (int64_t[]){4, 5, 6}, NULL, out, NULL));
  assert_false(cache_load(path, size, "other settings", out, NULL));
  assert_true(cache_load(path, size, origin.settings, out, NULL));
  free(values);
}

static void same_input_same_bytes(void **state) {
  (void)state;
  static unsigned char first[1 << 20], second[1 << 20];
  int64_t size[] = {20, 40, 50};
  float *values = make_values(size, 1);
  write_file(size, values, STORE_I16);
  size_t length = read_bytes(first, sizeof first);
  write_file(size, values, STORE_I16);
  assert_int_equal(read_bytes(second, sizeof second), length);
  assert_memory_equal(first, second, length);
  assert_true(length < 2 * 20 * 40 * 50); /* compressed */
  free(values);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(values_come_back),      cmocka_unit_test(ends_are_exact),
      cmocka_unit_test(refuses_values),        cmocka_unit_test(damage_is_noticed),
      cmocka_unit_test(same_input_same_bytes),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
