/* Reading NIfTI. See nifti.h. Both header versions are decoded into one Header, checked once. */
#include "runtime/data/nifti.h"
#include "runtime/base/arena.h"
#include "runtime/data/stream.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_1 = 348, HEADER_2 = 540 };

/* The fields of either header that matter here, in machine order. */
typedef struct Header {
  int version;
  bool swapped, single; /* single: voxels follow in the same file */
  int64_t dim[8];
  int datatype, bitpix;
  double pixdim[8], vox_offset, slope, intercept;
  int qform, sform, units;
  double quaternion[3], offset[3], srow[3][4];
} Header;

/* The NIfTI datatype codes; kind -1: known, but not a real scalar we read. */
static const struct {
  int code, bits, kind;
  const char *name;
} datatypes[] = {
    {2, 8, VOXEL_U8, "uint8"},      {4, 16, VOXEL_I16, "int16"},    {8, 32, VOXEL_I32, "int32"},
    {16, 32, VOXEL_F32, "float32"}, {32, 64, -1, "complex64"},      {64, 64, VOXEL_F64, "float64"},
    {128, 24, -1, "RGB24"},         {256, 8, VOXEL_I8, "int8"},     {512, 16, VOXEL_U16, "uint16"},
    {768, 32, VOXEL_U32, "uint32"}, {1024, 64, VOXEL_I64, "int64"}, {1280, 64, VOXEL_U64, "uint64"},
    {1536, 128, -1, "float128"},    {1792, 128, -1, "complex128"},  {2048, 256, -1, "complex256"},
    {2304, 32, -1, "RGBA32"},       {1, 1, -1, "binary"},
};

/* `size` bytes at `bytes` as an unsigned number, in the other byte order when swapped. */
static uint64_t field(const unsigned char *bytes, int size, bool swapped) {
  uint64_t value = 0;
  for (int i = 0; i < size; i++)
    value |= (uint64_t)bytes[i] << 8 * (swapped ? size - 1 - i : i);
  return value;
}

static double real(const unsigned char *bytes, int size, bool swapped) {
  uint64_t bits = field(bytes, size, swapped);
  double wide;
  float narrow;
  if (size == 8)
    return memcpy(&wide, &bits, 8), wide;
  uint32_t low = (uint32_t)bits;
  return memcpy(&narrow, &low, 4), narrow;
}

static int64_t whole(const unsigned char *bytes, int size, bool swapped) {
  uint64_t bits = field(bytes, size, swapped);
  return size == 2 ? (int16_t)bits : size == 4 ? (int32_t)bits : (int64_t)bits;
}

static void decode(const unsigned char *b, Header *h) {
  bool two = h->version == 2, s = h->swapped;
  int real_size = two ? 8 : 4;
  for (int i = 0; i < 8; i++) {
    h->dim[i] = two ? whole(b + 16 + 8 * i, 8, s) : whole(b + 40 + 2 * i, 2, s);
    h->pixdim[i] = real(b + (two ? 104 : 76) + real_size * i, real_size, s);
  }
  h->datatype = (int)whole(b + (two ? 12 : 70), 2, s);
  h->bitpix = (int)whole(b + (two ? 14 : 72), 2, s);
  h->vox_offset = two ? (double)whole(b + 168, 8, s) : real(b + 108, 4, s);
  h->slope = real(b + (two ? 176 : 112), real_size, s);
  h->intercept = real(b + (two ? 184 : 116), real_size, s);
  h->units = two ? (int)whole(b + 500, 4, s) : b[123];
  h->qform = (int)(two ? whole(b + 344, 4, s) : whole(b + 252, 2, s));
  h->sform = (int)(two ? whole(b + 348, 4, s) : whole(b + 254, 2, s));
  for (int i = 0; i < 3; i++) {
    h->quaternion[i] = real(b + (two ? 352 : 256) + real_size * i, real_size, s);
    h->offset[i] = real(b + (two ? 376 : 268) + real_size * i, real_size, s);
    for (int j = 0; j < 4; j++)
      h->srow[i][j] = real(b + (two ? 400 : 280) + real_size * (4 * i + j), real_size, s);
  }
}

static bool read_header(Stream *stream, Header *header, Error *error) {
  unsigned char bytes[HEADER_2];
  const char *path = stream->path;
  size_t got, more = 0;
  if (!stream_read(stream, bytes, HEADER_1, &got, error))
    return false;
  if (got < HEADER_1)
    return error_set(error, "%s: error: %zu bytes are too few for a NIfTI header", path, got);
  *header = (Header){0};
  for (int swapped = 0; swapped < 2 && !header->version; swapped++) {
    uint64_t size = field(bytes, 4, swapped);
    header->swapped = swapped;
    header->version = size == HEADER_1 ? 1 : size == HEADER_2 ? 2 : 0;
  }
  if (!header->version)
    return error_set(error,
                     "%s: error: not a NIfTI file: the header size field is %lld, expected "
                     "348 or 540",
                     path, (long long)whole(bytes, 4, false));
  if (header->version == 2) {
    if (!stream_read(stream, bytes + HEADER_1, HEADER_2 - HEADER_1, &more, error))
      return false;
    if (more < HEADER_2 - HEADER_1)
      return error_set(error, "%s: error: truncated inside the NIfTI-2 header", path);
  }
  const char *magic = (const char *)bytes + (header->version == 2 ? 4 : 344);
  const char *single = header->version == 2 ? "n+2" : "n+1";
  const char *pair = header->version == 2 ? "ni2" : "ni1";
  header->single = memcmp(magic, single, 4) == 0;
  if (!header->single && memcmp(magic, pair, 4) != 0)
    return error_set(error,
                     "%s: error: not a NIfTI file: the magic is \"%c%c%c\", expected \"%s\" "
                     "or \"%s\"",
                     path, magic[0] > 32 ? magic[0] : '?', magic[1] > 32 ? magic[1] : '?',
                     magic[2] > 32 ? magic[2] : '?', single, pair);
  if (header->version == 2 && memcmp(magic + 4, "\r\n\032\n", 4) != 0)
    return error_set(error, "%s: error: the NIfTI-2 magic was altered by a text conversion", path);
  decode(bytes, header);
  return true;
}

static const char *shape_text(const Header *header, char *out, size_t room) {
  int rank = (int)header->dim[0];
  size_t at = 0;
  out[0] = 0;
  for (int i = 1; i <= rank && at < room; i++)
    at += (size_t)snprintf(out + at, room - at, "%s%lld", i > 1 ? "x" : "",
                           (long long)header->dim[i]);
  return out;
}

static bool check_shape(const char *path, const Header *header, Error *error) {
  char shape[200];
  if (header->dim[0] < 1 || header->dim[0] > 7)
    return error_set(error, "%s: error: the header gives %lld dimensions, expected 3", path,
                     (long long)header->dim[0]);
  shape_text(header, shape, sizeof shape);
  for (int i = 1; i <= header->dim[0]; i++)
    if (header->dim[i] < 1)
      return error_set(error, "%s: error: dimension %d of %s is not positive", path, i, shape);
  if (header->dim[0] < 3)
    return error_set(error, "%s: error: a %lld-D image (%s); a 3-D volume is needed", path,
                     (long long)header->dim[0], shape);
  for (int i = 4; i <= header->dim[0]; i++)
    if (header->dim[i] != 1)
      return error_set(error, "%s: error: a %lld-D series (%s); a 3-D volume is needed", path,
                       (long long)header->dim[0], shape);
  return true;
}

static bool check_datatype(const char *path, const Header *header, VoxelKind *kind, Error *error) {
  for (size_t i = 0; i < sizeof datatypes / sizeof *datatypes; i++) {
    if (datatypes[i].code != header->datatype)
      continue;
    if (datatypes[i].kind < 0)
      return error_set(error,
                       "%s: error: datatype %s is not supported; integer or float voxels are "
                       "needed",
                       path, datatypes[i].name);
    if (datatypes[i].bits != header->bitpix)
      return error_set(error, "%s: error: datatype %s has %d bits, the header's bitpix says %d",
                       path, datatypes[i].name, datatypes[i].bits, header->bitpix);
    *kind = (VoxelKind)datatypes[i].kind;
    return true;
  }
  return error_set(error, "%s: error: unknown datatype code %d", path, header->datatype);
}

/* Slope 0 or NaN means that the stored values are the values. */
static bool set_scaling(const char *path, const Header *header, Volume *volume, Error *error) {
  volume->slope = 1;
  volume->intercept = 0;
  if (header->slope == 0 || isnan(header->slope))
    return true;
  if (isinf(header->slope) || !isfinite(header->intercept))
    return error_set(error,
                     "%s: error: the scaling in the header is not finite (scl_slope %g, "
                     "scl_inter %g)",
                     path, header->slope, header->intercept);
  volume->slope = header->slope;
  volume->intercept = header->intercept;
  return true;
}

static void quaternion_affine(const Header *header, double affine[3][4]) {
  double b = header->quaternion[0], c = header->quaternion[1], d = header->quaternion[2];
  double rest = 1 - (b * b + c * c + d * d);
  double a = rest > 0 ? sqrt(rest) : 0, flip = header->pixdim[0] < 0 ? -1 : 1;
  double rotation[3][3] = {
      {a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)},
      {2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)},
      {2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b},
  };
  for (int i = 0; i < 3; i++) {
    for (int j = 0; j < 3; j++)
      affine[i][j] = rotation[i][j] * fabs(header->pixdim[j + 1]) * (j == 2 ? flip : 1);
    affine[i][3] = header->offset[i];
  }
}

/* The header's best idea of where voxels are: sform, then qform, then Analyze's convention. */
static void set_affine(const Header *header, Volume *volume) {
  if (header->sform > 0) {
    memcpy(volume->affine, header->srow, sizeof volume->affine);
    return;
  }
  if (header->qform > 0) {
    quaternion_affine(header, volume->affine);
    return;
  }
  for (int i = 0; i < 3; i++) {
    double step = fabs(header->pixdim[i + 1]) * (i == 0 ? -1 : 1);
    memset(volume->affine[i], 0, sizeof volume->affine[i]);
    volume->affine[i][i] = step;
    volume->affine[i][3] = -step * (double)(header->dim[i + 1] - 1) / 2;
  }
}

/* Names each voxel axis after the world axis it points along most, strongest pairs first. */
static void set_axes(Volume *volume) {
  static const char letters[3][2] = {{'L', 'R'}, {'P', 'A'}, {'I', 'S'}};
  double direction[3][3];
  bool taken_world[3] = {0}, taken_voxel[3] = {0};
  for (int j = 0; j < 3; j++) {
    double norm = 0;
    for (int i = 0; i < 3; i++)
      norm += volume->affine[i][j] * volume->affine[i][j];
    for (int i = 0; i < 3; i++)
      direction[i][j] = norm > 0 ? volume->affine[i][j] / sqrt(norm) : 0;
  }
  strcpy(volume->axes, "???");
  for (int round = 0; round < 3; round++) {
    int world = -1, voxel = -1;
    double best = 1e-6;
    for (int i = 0; i < 3; i++)
      for (int j = 0; j < 3; j++)
        if (!taken_world[i] && !taken_voxel[j] && fabs(direction[i][j]) > best) {
          best = fabs(direction[i][j]);
          world = i;
          voxel = j;
        }
    if (world < 0)
      return;
    taken_world[world] = taken_voxel[voxel] = true;
    volume->axes[voxel] = letters[world][direction[world][voxel] > 0];
  }
}

static void set_geometry(const Header *header, Volume *volume) {
  int unit = header->units & 7; /* 1 metre, 2 millimetre, 3 micrometre, 0 unsaid: millimetre */
  double scale = unit == 1 ? 1000 : unit == 3 ? 0.001 : 1;
  for (int i = 0; i < 3; i++) {
    double spacing = fabs(header->pixdim[i + 1]) * scale;
    volume->spacing[i] = isfinite(spacing) ? spacing : 0;
  }
  set_affine(header, volume);
  set_axes(volume);
}

int voxel_size(VoxelKind kind) {
  static const unsigned char sizes[] = {
      [VOXEL_U8] = 1,  [VOXEL_I8] = 1,  [VOXEL_U16] = 2, [VOXEL_I16] = 2, [VOXEL_U32] = 4,
      [VOXEL_I32] = 4, [VOXEL_U64] = 8, [VOXEL_I64] = 8, [VOXEL_F32] = 4, [VOXEL_F64] = 8};
  return sizes[kind];
}

static void swap_voxels(void *stored, size_t count, int size) {
  unsigned char *bytes = stored;
  for (size_t i = 0; i < count && size > 1; i++, bytes += size)
    for (int j = 0; j < size / 2; j++) {
      unsigned char kept = bytes[j];
      bytes[j] = bytes[size - 1 - j];
      bytes[size - 1 - j] = kept;
    }
}

/* Takes the stream to the first voxel. `position` counts the bytes already read of it. */
static bool seek_voxels(Stream *stream, const Header *header, uint64_t position, Error *error) {
  double offset = header->vox_offset;
  double least = header->single ? (header->version == 2 ? 544 : 352) : 0;
  if (header->single && offset == 0)
    offset = least; /* written by some tools for "right after the header" */
  if (!(offset >= least) || offset != floor(offset) || offset > 0x1p53)
    return error_set(error, "%s: error: the voxel offset %g is not a place after the header",
                     stream->path, header->vox_offset);
  uint64_t skipped, wanted = (uint64_t)offset - position;
  if (!stream_skip(stream, wanted, &skipped, error))
    return false;
  if (skipped < wanted)
    return error_set(error, "%s: error: the voxel offset %.0f lies beyond the end of the file",
                     stream->path, offset);
  return true;
}

static bool read_voxels(Stream *stream, const Header *header, Volume *volume, Error *error) {
  char shape[200];
  uint64_t size = (uint64_t)voxel_size(volume->kind), count = 1, bytes;
  bool large = false;
  for (int i = 1; i <= 3; i++)
    large |= __builtin_mul_overflow(count, (uint64_t)header->dim[i], &count);
  large |= __builtin_mul_overflow(count, size, &bytes);
  shape_text(header, shape, sizeof shape);
  if (large || bytes > stream_bound(stream))
    return error_set(error,
                     "%s: error: truncated: the file is too small to hold %s voxels of %d "
                     "bytes",
                     stream->path, shape, (int)size);
  volume->stored = malloc((size_t)bytes);
  if (!volume->stored)
    return error_set(error, "%s: error: no memory for %llu bytes of voxels", stream->path,
                     (unsigned long long)bytes);
  size_t got;
  if (!stream_read(stream, volume->stored, (size_t)bytes, &got, error))
    return false;
  if (got < bytes)
    return error_set(error, "%s: error: truncated: %zu of %llu bytes of voxels (%s)", stream->path,
                     got, (unsigned long long)bytes, shape);
  if (header->swapped)
    swap_voxels(volume->stored, (size_t)count, (int)size);
  return stream_finish(stream, error);
}

/* For a name with one of the pair's endings, the other file's name: "a.hdr.gz" gives "a.img.gz" or
 * "a.img", whichever exists. NULL when the name has no such ending or neither exists. */
static char *partner(const char *path, const char *from, const char *to) {
  static const char *const tails[] = {"", ".gz"};
  size_t length = strlen(path);
  for (int i = 0; i < 2; i++) {
    size_t tail = strlen(from) + strlen(tails[i]);
    if (length < tail || strncmp(path + length - tail, from, strlen(from)) != 0 ||
        strcmp(path + length - strlen(tails[i]), tails[i]) != 0)
      continue;
    char *other = mem_alloc(length + 8);
    for (int j = 0; j < 2; j++) {
      snprintf(other, length + 8, "%.*s%s%s", (int)(length - tail), path, to, tails[i ^ j]);
      FILE *stream = fopen(other, "rb");
      if (stream)
        return fclose(stream), other;
    }
    free(other);
  }
  return NULL;
}

static bool read_pair_image(const char *path, const Header *header, Volume *volume, Error *error) {
  char *image = partner(path, ".hdr", ".img");
  if (!image)
    return error_set(
        error, "%s: error: the image file (.img) that belongs to this header is missing", path);
  Stream stream;
  bool good = stream_open(&stream, image, error) && seek_voxels(&stream, header, 0, error) &&
              read_voxels(&stream, header, volume, error);
  stream_close(&stream);
  free(image);
  return good;
}

bool volume_read(const char *path, Volume *volume, Error *error) {
  *volume = (Volume){0};
  char *header_path = partner(path, ".img", ".hdr"); /* the user may name either file of a pair */
  const char *first = header_path ? header_path : path;
  Stream stream;
  Header header;
  bool good = stream_open(&stream, first, error) && read_header(&stream, &header, error) &&
              check_datatype(first, &header, &volume->kind, error) &&
              check_shape(first, &header, error) && set_scaling(first, &header, volume, error);
  if (good) {
    volume->nx = header.dim[1];
    volume->ny = header.dim[2];
    volume->nz = header.dim[3];
    set_geometry(&header, volume);
    good = header.single
               ? seek_voxels(&stream, &header, header.version == 2 ? HEADER_2 : HEADER_1, error) &&
                     read_voxels(&stream, &header, volume, error)
               : stream_finish(&stream, error) && read_pair_image(first, &header, volume, error);
  }
  stream_close(&stream);
  free(header_path);
  if (!good)
    volume_free(volume);
  return good;
}

void volume_free(Volume *volume) {
  free(volume->stored);
  *volume = (Volume){0};
}

void volume_part(const Volume *volume, int64_t y, int64_t z, int64_t first, int64_t count,
                 double *out) {
  int64_t start = (z * volume->ny + y) * volume->nx + first;
  double slope = volume->slope, intercept = volume->intercept;
#define PART(tag, ctype)                                                                           \
  case tag: {                                                                                      \
    const ctype *from = (const ctype *)volume->stored + start;                                     \
    for (int64_t x = 0; x < count; x++)                                                            \
      out[x] = (double)from[x] * slope + intercept;                                                \
    break;                                                                                         \
  }
  switch (volume->kind) {
    PART(VOXEL_U8, uint8_t)
    PART(VOXEL_I8, int8_t)
    PART(VOXEL_U16, uint16_t)
    PART(VOXEL_I16, int16_t)
    PART(VOXEL_U32, uint32_t)
    PART(VOXEL_I32, int32_t)
    PART(VOXEL_U64, uint64_t)
    PART(VOXEL_I64, int64_t)
    PART(VOXEL_F32, float)
    PART(VOXEL_F64, double)
  }
#undef PART
}

void volume_row(const Volume *volume, int64_t y, int64_t z, double *out) {
  volume_part(volume, y, z, 0, volume->nx, out);
}
