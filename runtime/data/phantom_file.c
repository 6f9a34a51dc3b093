/* Phantoms as gzipped NIfTI-1 files. See phantom.h.
 *
 * The header is that of a single file (.nii): 348 bytes, four of padding, the voxels. The axes are
 * the patient's left, back and head, as the sform says. No name and no time is in the gzip header.
 */
#include "runtime/base/arena.h"
#include "runtime/base/file.h"
#include "runtime/data/phantom.h"
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* noise does not compress: a higher level takes longer for the same size */
enum { HEADER = 352, LEVEL = 1 };

static void put(unsigned char *at, const void *value, size_t size) { memcpy(at, value, size); }
static void put_short(unsigned char *at, int value) { put(at, &(int16_t){(int16_t)value}, 2); }
static void put_int(unsigned char *at, int value) { put(at, &(int32_t){value}, 4); }
static void put_float(unsigned char *at, double value) { put(at, &(float){(float)value}, 4); }

static void write_header(const Phantom *p, unsigned char header[HEADER]) {
  memset(header, 0, HEADER);
  put_int(header, 348);
  put_short(header + 40, 3);
  put_float(header + 76, 1);
  for (int i = 0; i < 3; i++) {
    double step = p->spacing[2 - i], middle = step * (double)(p->size[2 - i] - 1) / 2;
    put_short(header + 42 + 2 * i, (int)p->size[2 - i]);
    put_float(header + 80 + 4 * i, step);
    put_float(header + 280 + 16 * i + 4 * i, i < 2 ? -step : step);
    put_float(header + 280 + 16 * i + 12, i < 2 ? middle : -middle);
  }
  for (int i = 4; i < 8; i++)
    put_short(header + 40 + 2 * i, 1);
  put_short(header + 70, 4); /* int16 */
  put_short(header + 72, 16);
  put_float(header + 108, HEADER); /* where the voxels begin */
  put_float(header + 112, 1);
  put_float(header + 116, -1024);
  header[123] = 2;            /* millimetres */
  put_short(header + 254, 1); /* the sform is the scanner's */
  memcpy(header + 344, "n+1", 4);
}

static bool compress_all(const unsigned char *bytes, size_t size, unsigned char *out,
                         size_t *used) {
  z_stream stream = {.next_in = (unsigned char *)bytes,
                     .avail_in = (uInt)size,
                     .next_out = out,
                     .avail_out = (uInt)*used};
  if (deflateInit2(&stream, LEVEL, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    return false;
  bool good = deflate(&stream, Z_FINISH) == Z_STREAM_END;
  *used = stream.total_out;
  deflateEnd(&stream);
  return good;
}

bool phantom_write(const Phantom *p, const char *path, Error *error) {
  size_t voxels = (size_t)(p->size[0] * p->size[1] * p->size[2]), size = HEADER + 2 * voxels;
  size_t room = size + size / 100 + 4096;
  unsigned char *bytes = mem_alloc(size), *packed = mem_alloc(room);
  int16_t *values = mem_alloc(2 * voxels);
  phantom_draw(p, values);
  for (size_t i = 0; i < voxels; i++)
    values[i] = (int16_t)(values[i] + 1024);
  write_header(p, bytes);
  memcpy(bytes + HEADER, values, 2 * voxels);
  Writing writing;
  bool good =
      compress_all(bytes, size, packed, &room) || error_set(error, "%s: error: zlib failed", path);
  if (good && (good = writing_open(&writing, path, error))) {
    fwrite(packed, 1, room, writing.stream);
    good = writing_commit(&writing, error);
  }
  free(values);
  free(packed);
  free(bytes);
  return good;
}
