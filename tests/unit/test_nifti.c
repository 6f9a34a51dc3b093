/* NIfTI reading: files made here for both versions, byte orders and datatypes, then every reference
 * volume (voxel digests, shape, spacing, axes) and every broken file with its reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/base/json.h"
#include "runtime/base/random.h"
#include "runtime/data/nifti.h"
#include "runtime/data/stream.h"
#include "runtime/base/file.h"
#include "tests/unit/sha256.h"
#include "tests/unit/shared.h"
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

static char folder[100];

static int make_folder(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "%s", scratch_make());
  return 0;
}

static int remove_folder(void **state) {
  (void)state;
  scratch_remove(folder);
  return 0;
}

static void put(unsigned char *at, uint64_t value, int size, bool swapped) {
  for (int i = 0; i < size; i++)
    at[i] = (unsigned char)(value >> 8 * (swapped ? size - 1 - i : i));
}

static void put_real(unsigned char *at, double value, int size, bool swapped) {
  uint64_t bits = 0;
  float narrow = (float)value;
  if (size == 8)
    memcpy(&bits, &value, 8);
  else
    memcpy(&bits, &narrow, 4);
  put(at, bits, size, swapped);
}

/* A header of either version for a 2x3x2 volume. Returns the offset of its voxels. */
static size_t make_header(unsigned char *b, int version, bool swapped, int code, int bits,
                          double slope, double intercept) {
  static const int64_t dim[8] = {3, 2, 3, 2, 1, 1, 1, 1};
  bool two = version == 2;
  int real_size = two ? 8 : 4;
  memset(b, 0, 544);
  put(b, two ? 540 : 348, 4, swapped);
  memcpy(b + (two ? 4 : 344), two ? "n+2\0\r\n\032\n" : "n+1", two ? 8 : 4);
  for (int i = 0; i < 8; i++) {
    put(b + (two ? 16 + 8 * i : 40 + 2 * i), (uint64_t)dim[i], two ? 8 : 2, swapped);
    put_real(b + (two ? 104 : 76) + real_size * i, i + 0.5, real_size, swapped);
  }
  put(b + (two ? 12 : 70), (uint64_t)code, 2, swapped);
  put(b + (two ? 14 : 72), (uint64_t)bits, 2, swapped);
  if (two)
    put(b + 168, 544, 8, swapped);
  else
    put_real(b + 108, 352, 4, swapped);
  put_real(b + (two ? 176 : 112), slope, real_size, swapped);
  put_real(b + (two ? 184 : 116), intercept, real_size, swapped);
  return two ? 544 : 352;
}

static const char *write_file(const char *name, const void *bytes, size_t size) {
  static char path[200];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *stream = fopen(path, "wb");
  assert_non_null(stream);
  fwrite(bytes, 1, size, stream);
  fclose(stream);
  return path;
}

static void every_datatype(void **state) {
  (void)state;
  static const struct {
    int code, bits;
    bool is_real;
    double first; /* stored in the first voxel; the others hold their index */
  } types[] = {{2, 8, 0, 200},        {256, 8, 0, -100},      {512, 16, 0, 60000},
               {4, 16, 0, -30000},    {768, 32, 0, 4e9},      {8, 32, 0, -2e9},
               {1280, 64, 0, 0x1p63}, {1024, 64, 0, -0x1p62}, {16, 32, 1, -0.375},
               {64, 64, 1, 1e-300}};
  for (size_t t = 0; t < sizeof types / sizeof *types; t++)
    for (int version = 1; version <= 2; version++)
      for (int swapped = 0; swapped < 2; swapped++) {
        unsigned char bytes[1024];
        size_t at = make_header(bytes, version, swapped, types[t].code, types[t].bits, 2, -1);
        int size = types[t].bits / 8;
        for (int i = 0; i < 12; i++, at += (size_t)size) {
          double value = i ? i : types[t].first;
          if (types[t].is_real)
            put_real(bytes + at, value, size, swapped);
          else
            put(bytes + at, value < 0 ? (uint64_t)(int64_t)value : (uint64_t)value, size, swapped);
        }
        Volume volume;
        Error error = {""};
        if (!volume_read(write_file("t.nii", bytes, at), &volume, &error))
          fail_msg("datatype %d: %s", types[t].code, error.text);
        assert_int_equal(volume.nx, 2);
        assert_int_equal(volume.ny, 3);
        assert_int_equal(volume.nz, 2);
        assert_true(volume.spacing[0] == 1.5 && volume.spacing[2] == 3.5);
        double row[2];
        volume_row(&volume, 0, 0, row);
        assert_true(row[0] == types[t].first * 2 - 1);
        assert_true(row[1] == 1);
        volume_row(&volume, 2, 1, row);
        assert_true(row[1] == 21);
        volume_free(&volume);
      }
}

/* A gzip member of the bytes. */
static size_t pack(const void *bytes, size_t size, unsigned char *out, size_t room) {
  z_stream z = {0};
  assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  z.next_in = (unsigned char *)bytes;
  z.avail_in = (uInt)size;
  z.next_out = out;
  z.avail_out = (uInt)room;
  assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
  deflateEnd(&z);
  return room - z.avail_out;
}

static bool readable(const char *path, Error *error) {
  Volume volume;
  bool good = volume_read(path, &volume, error);
  if (good)
    volume_free(&volume);
  return good;
}

static void gzip_members(void **state) {
  (void)state;
  unsigned char bytes[600], packed[2000];
  Error error = {""};
  size_t size = make_header(bytes, 1, false, 2, 8, 0, 0) + 12;
  for (int i = 0; i < 12; i++)
    bytes[352 + i] = (unsigned char)(10 + i);
  for (size_t cut = 0; cut <= size; cut += 91) { /* members may end anywhere, also in the header */
    size_t n = pack(bytes, cut, packed, sizeof packed);
    n += pack(bytes + cut, size - cut, packed + n, sizeof packed - n);
    Volume volume;
    if (!volume_read(write_file("two.bin", packed, n), &volume, &error))
      fail_msg("cut %zu: %s", cut, error.text);
    double row[2];
    volume_row(&volume, 2, 1, row);
    assert_true(row[1] == 21);
    volume_free(&volume);
  }
  size_t n = pack(bytes, size, packed, sizeof packed);
  memset(packed + n, 0, 100);
  assert_true(readable(write_file("padded.nii.gz", packed, n + 100), &error));
  packed[n + 50] = 1;
  assert_false(readable(write_file("garbage.nii.gz", packed, n + 100), &error));
  assert_non_null(strstr(error.text, "trailing"));
  for (size_t cut = 2; cut < n; cut++) {
    error.text[0] = 0;
    assert_false(readable(write_file("cut.nii.gz", packed, cut), &error));
    assert_non_null(strstr(error.text, "truncated"));
  }
  packed[n - 6] ^= 1;
  assert_false(readable(write_file("crc.nii.gz", packed, n), &error));
  assert_non_null(strstr(error.text, "CRC"));
}

static void pairs(void **state) {
  (void)state;
  unsigned char bytes[600], packed[600];
  Error error = {""};
  make_header(bytes, 1, true, 2, 8, 0, 0);
  memcpy(bytes + 344, "ni1", 4);
  put_real(bytes + 108, 3, 4, true); /* an offset inside the image file */
  char header[200], image[200];
  snprintf(header, sizeof header, "%s", write_file("p.hdr", bytes, 348));
  assert_false(readable(header, &error));
  assert_non_null(strstr(error.text, ".img"));
  size_t n = pack("abc0123456789ab", 15, packed, sizeof packed);
  snprintf(image, sizeof image, "%s", write_file("p.img.gz", packed, n));
  for (int i = 0; i < 2; i++) {
    Volume volume;
    if (!volume_read(i ? image : header, &volume, &error))
      fail_msg("%s", error.text);
    double row[2];
    volume_row(&volume, 0, 0, row);
    assert_true(row[0] == '0' && row[1] == '1');
    assert_string_equal(volume.axes, "LAS");
    volume_free(&volume);
  }
}

/* Both files of a pair packed, and the end of the packed header checked too. */
static void packed_pairs(void **state) {
  (void)state;
  unsigned char bytes[600], packed[600];
  Error error = {""};
  make_header(bytes, 2, false, 2, 8, 0, 0);
  memcpy(bytes + 4, "ni2\0\r\n\032\n", 8);
  put(bytes + 168, 0, 8, false);
  size_t n = pack("0123456789ab", 12, packed, sizeof packed);
  write_file("q.img.gz", packed, n);
  n = pack(bytes, 540, packed, sizeof packed);
  char header[200];
  snprintf(header, sizeof header, "%s", write_file("q.hdr.gz", packed, n));
  if (!readable(header, &error))
    fail_msg("%s", error.text);
  packed[n - 8] ^= 1; /* of the CRC */
  write_file("q.hdr.gz", packed, n);
  assert_false(readable(header, &error));
  assert_non_null(strstr(error.text, "q.hdr.gz: error: "));
  assert_non_null(strstr(error.text, "CRC"));
}

/* What no file of this size can hold is refused before memory is asked for. */
static void huge_dimensions(void **state) {
  (void)state;
  static const int64_t sizes[][3] = {
      {INT64_MAX, INT64_MAX, INT64_MAX}, {1LL << 32, 1LL << 32, 2}, {1LL << 40, 1, 1},
      {-1, 2, 2},                        {1, 1, INT64_MIN}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    for (int gzip = 0; gzip < 2; gzip++) {
      unsigned char bytes[700], packed[1400];
      Error error = {""};
      size_t size = make_header(bytes, 2, false, 64, 64, 1, 0);
      for (int k = 0; k < 3; k++)
        put(bytes + 24 + 8 * k, (uint64_t)sizes[i][k], 8, false);
      memset(bytes + size, 0, 96);
      size += 96;
      size_t n = gzip ? pack(bytes, size, packed, sizeof packed) : 0;
      const char *path = write_file("huge.nii", gzip ? packed : bytes, gzip ? n : size);
      assert_false(readable(path, &error));
      assert_true(strstr(error.text, "truncated") || strstr(error.text, "not positive"));
    }
}

/* A stream tells when its file was written to or cut while it was open. */
static void files_that_change(void **state) {
  (void)state;
  for (int change = 0; change < 3; change++) {
    unsigned char bytes[1000] = {0}, out[1000];
    const char *path = write_file("changing.nii", bytes, sizeof bytes);
    Stream stream;
    Error error = {""};
    size_t got;
    assert_true(stream_open(&stream, path, &error));
    assert_true(stream_read(&stream, out, 500, &got, &error) && got == 500);
    if (change == 1)
      assert_int_equal(truncate(path, 600), 0);
    if (change == 2) {
      struct timespec times[2] = {{1, 0}, {1, 0}};
      assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    }
    bool good = stream_finish(&stream, &error);
    assert_int_equal(good, change == 0);
    if (change)
      assert_non_null(strstr(error.text, "changing.nii: error: the file changed"));
    stream_close(&stream);
  }
  Error error = {""};
  assert_false(readable(folder, &error)); /* a folder is no volume */
  assert_non_null(strstr(error.text, "not a regular file"));
}

static void header_truncation(void **state) {
  (void)state;
  unsigned char bytes[600];
  for (int version = 1; version <= 2; version++) {
    size_t size = make_header(bytes, version, false, 2, 8, 1, 0) + 12;
    for (size_t cut = 0; cut < size; cut++) {
      Error error = {""};
      assert_false(readable(write_file("h.nii", bytes, cut), &error));
      assert_true(error.text[0] != 0);
    }
    Error error = {""};
    assert_true(readable(write_file("h.nii", bytes, size), &error));
  }
}

/* Whatever a damaged header says, reading ends with a volume or a message. */
static void mutations(void **state) {
  (void)state;
  int read = 0, refused = 0;
  for (uint64_t trial = 0; trial < 3000; trial++) {
    unsigned char bytes[600], packed[1200];
    uint32_t dice[4];
    int version = 1 + (int)(trial & 1);
    size_t size = make_header(bytes, version, trial & 2, 4, 16, 1, 0);
    memset(bytes + size, 7, 24);
    size += 24;
    random_bits(11, trial, 0, dice);
    for (uint32_t i = 0; i <= dice[0] % 4; i++) {
      uint32_t hit[4];
      random_bits(11, trial, i + 1, hit);
      bytes[hit[0] % size] = hit[1] & 1 ? (unsigned char)(hit[2]) : (unsigned char)(hit[2] % 3 - 1);
    }
    size_t n = trial & 4 ? pack(bytes, size, packed, sizeof packed) : 0;
    if (n && dice[1] % 3 == 0)
      packed[dice[2] % n] ^= (unsigned char)(1 << dice[3] % 8);
    Error error = {""};
    bool good = readable(write_file("m.nii", n ? packed : bytes, n ? n : size), &error);
    assert_true(good || strstr(error.text, "m.nii: error: "));
    *(good ? &read : &refused) += 1;
  }
  printf("  %d read, %d refused\n", read, refused);
  assert_true(read > 100 && refused > 100);
}

static void digest(const Volume *volume, char hex[65]) {
  double *row = mem_alloc(sizeof *row * (size_t)volume->nx);
  float *narrow = mem_alloc(sizeof *narrow * (size_t)volume->nx);
  Sha256 sha;
  sha256_start(&sha);
  for (int64_t z = 0; z < volume->nz; z++)
    for (int64_t y = 0; y < volume->ny; y++) {
      volume_row(volume, y, z, row);
      for (int64_t x = 0; x < volume->nx; x++)
        narrow[x] = (float)row[x];
      sha256_add(&sha, narrow, sizeof *narrow * (size_t)volume->nx);
    }
  sha256_finish(&sha, hex);
  free(row);
  free(narrow);
}

static void load_json(Arena *arena, const char *name, Json *value) {
  char *text;
  size_t size;
  Error error = {""};
  bool good = file_read(arena, shared_path(name), 1 << 24, &text, &size, &error);
  /* the recorded magics hold NUL characters, which our reader of JSON refuses on purpose */
  for (char *at = good ? text : NULL; at && (at = strstr(at, "\\u0000"));)
    at[5] = '1';
  if (!good || !json_parse(arena, text, size, value, &error))
    fail_msg("%s", error.text);
}

static void compare(const char *name, const Volume *volume, const Json *entry) {
  char hex[65];
  const Json *shape = json_get(entry, "shape"), *zooms = json_get(entry, "zooms");
  const Json *axes = json_get(entry, "axcodes"), *affine = json_get(entry, "affine");
  const int64_t size[3] = {volume->nx, volume->ny, volume->nz};
  for (int i = 0; i < 3; i++) {
    assert_int_equal(size[i], shape->items[i].integer);
    if (zooms && fabs(volume->spacing[i] - zooms->items[i].number) > 1e-9)
      fail_msg("%s: spacing %d is %g, not %g", name, i, volume->spacing[i], zooms->items[i].number);
    for (int j = 0; affine && j < 4; j++) {
      double wanted = affine->items[i].items[j].number;
      if (fabs(volume->affine[i][j] - wanted) > 1e-5 * (1 + fabs(wanted)))
        fail_msg("%s: affine %d,%d is %g, not %g", name, i, j, volume->affine[i][j], wanted);
    }
  }
  if (axes && strcmp(axes->string, volume->axes) != 0)
    fail_msg("%s: axes are %s, not %s", name, volume->axes, axes->string);
  digest(volume, hex);
  const char *wanted = json_get(entry, "sha256_float32_le_first_axis_fastest")->string;
  if (strcmp(hex, wanted) != 0)
    fail_msg("%s: voxels %s, not %s", name, hex, wanted);
}

static void reference_volumes(void **state) {
  (void)state;
  shared_needed();
  Arena *arena = arena_new();
  Json expected;
  load_json(arena, "data/expected_nifti.json", &expected);
  int read = 0, refused = 0;
  for (int i = 0; i < expected.count; i++) {
    const Json *entry = &expected.items[i], *shape = json_get(entry, "shape");
    const Json *code = json_get(json_get(entry, "header"), "datatype");
    char name[400];
    snprintf(name, sizeof name, "data/%s", expected.keys[i]);
    bool is_3d = shape->count >= 3, real = code->integer != 32 && code->integer != 128;
    for (int j = 3; j < shape->count; j++)
      is_3d = is_3d && shape->items[j].integer == 1;
    Volume volume;
    Error error = {""};
    bool good = volume_read(shared_path(name), &volume, &error);
    if (good != (is_3d && real))
      fail_msg("%s: %s", name, good ? "was read" : error.text);
    if (!good && !strstr(error.text, "datatype") && !strstr(error.text, "-D "))
      fail_msg("\"%s\" names neither shape nor datatype", error.text);
    if (good) {
      compare(name, &volume, entry);
      volume_free(&volume);
      read++;
    } else {
      printf("  %s\n", strrchr(error.text, '/') + 1);
      refused++;
    }
  }
  printf("  %d volumes read, %d refused\n", read, refused);
  assert_true(read > 40 && refused >= 4 && read + refused == expected.count);
  arena_free(arena);
}

/* The words a message must hold for each reason of the reference list. */
static const char *const reasons[][3] = {
    {"rank", "dimensions", "-D "},
    {"crc", "CRC", "CRC"},
    {"deflate", "damaged", "damaged"},
    {"magic", "magic", "magic"},
    {"datatype", "datatype", "datatype"},
    {"trailing", "trailing", "trailing"},
    {"truncated", "truncated", "truncated"},
    {"dimension", "dimension", "dimension"},
    {"scaling", "scaling", "scaling"},
    {"header", "header", "header"},
    {"offset", "offset", "offset"},
    {"empty", "empty", "empty"},
    {"missing image file", ".img", "missing"},
    {"any", "error", "error"},
};

static void broken_files(void **state) {
  (void)state;
  shared_needed();
  Arena *arena = arena_new();
  Json expected;
  load_json(arena, "data/corrupt/expected.json", &expected);
  for (int i = 0; i < expected.count; i++) {
    const Json *entry = &expected.items[i];
    bool wanted = strcmp(json_get(entry, "expect")->string, "read") == 0;
    char name[400];
    snprintf(name, sizeof name, "data/%s", expected.keys[i]);
    Volume volume;
    Error error = {""};
    bool good = volume_read(shared_path(name), &volume, &error);
    if (good != wanted)
      fail_msg("%s: %s", name, good ? "was read" : error.text);
    if (good) {
      compare(name, &volume, entry);
      volume_free(&volume);
      continue;
    }
    printf("  %s\n", strrchr(error.text, '/') + 1);
    const char *reason = json_get(entry, "reason")->string;
    bool known = false;
    for (size_t j = 0; j < sizeof reasons / sizeof *reasons; j++)
      if (strcmp(reasons[j][0], reason) == 0) {
        known = true;
        if (!strstr(error.text, reasons[j][1]) && !strstr(error.text, reasons[j][2]))
          fail_msg("%s: \"%s\" does not tell of %s", name, error.text, reason);
      }
    assert_true(known);
  }
  arena_free(arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_datatype), cmocka_unit_test(gzip_members),
      cmocka_unit_test(pairs),          cmocka_unit_test(header_truncation),
      cmocka_unit_test(mutations),
      cmocka_unit_test(packed_pairs),   cmocka_unit_test(huge_dimensions),
      cmocka_unit_test(files_that_change),     cmocka_unit_test(reference_volumes),
      cmocka_unit_test(broken_files),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
