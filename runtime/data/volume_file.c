/* Writing and reading volume files. See volume_file.h. */
#include "runtime/data/volume_file.h"
#include "runtime/data/volume_codes.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { VERSION = 1, BLOCK_VOXELS = 1 << 19, MAX_SIDE = 1 << 20, TOP_CODE = 32767 };
enum { PLANES = 2 /* the axis of D in a tensor [N,1,D,H,W] */ };
static const char magic[8] = "tricotCV";
static const double HALF_LIMIT = 65504; /* the largest float16 */

/* Little-endian, as they lie in the file. */
typedef struct Header {
  char magic[8];
  uint32_t version, header_bytes; /* header, index and settings */
  uint32_t size[3], store;
  double scale;
  uint32_t slab, blocks;
  int64_t source_bytes, source_time;
  double slope, intercept, spacing[3];
  char axes[4];
  uint32_t settings_bytes; /* with the NUL at their end */
  uint64_t checksum; /* XXH64 of index and settings, seeded by that of the header with 0 here */
} Header;
_Static_assert(sizeof(Header) == 120, "the header of a volume file has no padding");

typedef struct Block {
  uint64_t offset, bytes; /* in the file */
  uint64_t checksum;      /* XXH64 of the compressed bytes, seeded by the block's number */
} Block;

const char *volume_store_name(VolumeStore store) { return store == STORE_F16 ? "f16" : "int16"; }

bool volume_store_from_name(const char *name, VolumeStore *store) {
  *store = strcmp(name, "f16") == 0 ? STORE_F16 : STORE_I16;
  return strcmp(name, volume_store_name(*store)) == 0;
}

static uint64_t header_checksum(const Header *header, const void *rest) {
  Header cleared = *header;
  cleared.checksum = 0;
  return XXH64(rest, header->header_bytes - sizeof cleared,
               XXH64(&cleared, sizeof cleared, VERSION));
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* ---- writing ---- */

/* Finds the scale: 1/32767 for values within [-1,1], larger where they reach further. */
static bool choose_scale(const char *path, const float *values, int64_t count, VolumeStore store,
                         double *scale, Error *error) {
  float reach = 1;
  for (int64_t i = 0; i < count; i++) {
    if (!isfinite(values[i]))
      return error_set(error, "%s: error: voxel %lld is not a finite number", path, (long long)i);
    reach = fmaxf(reach, fabsf(values[i]));
  }
  if (store == STORE_I16)
    *scale = (double)reach / TOP_CODE;
  return store != STORE_F16 || reach <= HALF_LIMIT ||
         error_set(error, "%s: error: a voxel of %g is too large for float16", path, reach);
}

typedef struct Writer {
  Writing writing;
  const int64_t *size;
  const float *values;
  Header header;
  Block *blocks;
  uint16_t *codes;    /* of one block */
  uint8_t *bytes;     /* its residuals */
  uint8_t *deflated;  /* compressed */
  uint64_t room, end; /* of deflated; of the file so far */
} Writer;

static bool deflate_block(Writer *w, uint64_t size, uint64_t *deflated) {
  z_stream z = {.next_in = w->bytes,
                .avail_in = (uInt)size,
                .next_out = w->deflated,
                .avail_out = (uInt)w->room};
  if (deflateInit2(&z, 1, Z_DEFLATED, -MAX_WBITS, MAX_MEM_LEVEL, Z_RLE) != Z_OK)
    return false;
  bool good = deflate(&z, Z_FINISH) == Z_STREAM_END;
  *deflated = z.total_out;
  deflateEnd(&z);
  return good;
}

static bool write_blocks(Writer *w, Error *error) {
  int64_t plane = w->size[1] * w->size[2];
  for (uint32_t b = 0; b < w->header.blocks; b++) {
    int64_t first = (int64_t)b * w->header.slab;
    int64_t planes = smaller(w->header.slab, w->size[0] - first);
    int64_t shape[3] = {planes, w->size[1], w->size[2]};
    codes_encode(w->values + first * plane, shape, (VolumeStore)w->header.store, w->header.scale,
                 w->codes, w->bytes);
    Block *block = &w->blocks[b];
    if (!deflate_block(w, (uint64_t)(2 * planes * plane), &block->bytes))
      return error_set(error, "%s: error: no memory to compress it", w->writing.path);
    block->offset = w->end;
    block->checksum = XXH64(w->deflated, block->bytes, b);
    w->end += block->bytes;
    if (fwrite(w->deflated, 1, block->bytes, w->writing.stream) != block->bytes)
      break; /* reported when the file is committed */
  }
  return true;
}

/* The header's place is kept free until the blocks are known. */
static bool write_all(Writer *w, const char *settings, Error *error) {
  FILE *stream = w->writing.stream;
  size_t index = sizeof(Block) * w->header.blocks, rest = index + w->header.settings_bytes;
  if (fseek(stream, (long)w->header.header_bytes, SEEK_SET) != 0)
    return error_set(error, "%s: error: cannot be written: %s", w->writing.path, strerror(errno));
  if (!write_blocks(w, error))
    return false;
  uint8_t *front = mem_alloc(rest);
  memcpy(front, w->blocks, index);
  memcpy(front + index, settings, w->header.settings_bytes);
  w->header.checksum = header_checksum(&w->header, front);
  if (!ferror(stream) && fseek(stream, 0, SEEK_SET) == 0) {
    fwrite(&w->header, sizeof w->header, 1, stream);
    fwrite(front, rest, 1, stream);
  }
  free(front);
  return true;
}

static Header make_header(const int64_t size[3], VolumeStore store, const VolumeOrigin *o,
                          double scale) {
  int64_t slab = BLOCK_VOXELS / (size[1] * size[2]);
  slab = slab < 1 ? 1 : smaller(slab, size[0]);
  Header h = {.version = VERSION,
              .size = {(uint32_t)size[0], (uint32_t)size[1], (uint32_t)size[2]},
              .store = store,
              .scale = scale,
              .slab = (uint32_t)slab,
              .blocks = (uint32_t)((size[0] + slab - 1) / slab),
              .source_bytes = o->source_bytes,
              .source_time = o->source_time,
              .slope = o->facts.slope,
              .intercept = o->facts.intercept,
              .settings_bytes = (uint32_t)strlen(o->settings) + 1};
  memcpy(h.magic, magic, sizeof magic);
  memcpy(h.spacing, o->facts.spacing, sizeof h.spacing);
  snprintf(h.axes, sizeof h.axes, "%.3s", o->axes);
  h.header_bytes = (uint32_t)(sizeof h + sizeof(Block) * h.blocks + h.settings_bytes);
  return h;
}

bool volume_file_write(const char *path, const int64_t size[3], const float *values,
                       VolumeStore store, const VolumeOrigin *origin, Error *error) {
  double scale = 1;
  if (!choose_scale(path, values, size[0] * size[1] * size[2], store, &scale, error))
    return false;
  Writer w = {.size = size, .values = values, .header = make_header(size, store, origin, scale)};
  uint64_t voxels = (uint64_t)w.header.slab * (uint64_t)(size[1] * size[2]);
  if (voxels > INT32_MAX / 4)
    return error_set(error, "%s: error: a plane of %lldx%lld voxels is too large", path,
                     (long long)size[1], (long long)size[2]);
  if (!writing_open(&w.writing, path, error))
    return false;
  w.end = w.header.header_bytes;
  w.room = compressBound((uLong)(2 * voxels)) + 64;
  w.blocks = mem_alloc(sizeof *w.blocks * w.header.blocks);
  w.codes = mem_alloc(sizeof *w.codes * voxels);
  w.bytes = mem_alloc(2 * voxels);
  w.deflated = mem_alloc(w.room);
  bool good = write_all(&w, origin->settings, error);
  free(w.blocks);
  free(w.codes);
  free(w.bytes);
  free(w.deflated);
  if (good)
    return writing_commit(&w.writing, error);
  writing_discard(&w.writing);
  return false;
}

/* ---- reading ---- */

bool volume_file_is(const char *path) {
  char start[sizeof magic] = "";
  FILE *stream = fopen(path, "rb");
  bool is = stream && fread(start, sizeof start, 1, stream) == 1 &&
            memcmp(start, magic, sizeof magic) == 0;
  if (stream)
    fclose(stream);
  return is;
}

static Block block_at(const VolumeFile *file, int64_t b) {
  Block block;
  memcpy(&block, file->mapping.bytes + sizeof(Header) + sizeof block * (size_t)b, sizeof block);
  return block;
}

static int64_t block_count(const VolumeFile *file) {
  return (file->size[0] + file->slab - 1) / file->slab;
}

/* A right checksum says who wrote the header, not that the numbers can be trusted. */
static bool sound(const VolumeFile *file, const Header *h) {
  for (int i = 0; i < 3; i++)
    if (h->size[i] < 1 || h->size[i] > MAX_SIDE)
      return false;
  if ((h->store != STORE_I16 && h->store != STORE_F16) || !(h->scale > 0) || !isfinite(h->scale) ||
      h->slab < 1 || h->slab > h->size[0] || block_count(file) != h->blocks ||
      (uint64_t)h->slab * h->size[1] * h->size[2] > INT32_MAX / 4 || h->settings_bytes < 1 ||
      h->header_bytes != sizeof *h + sizeof(Block) * (uint64_t)h->blocks + h->settings_bytes ||
      h->axes[3] != 0 || file->mapping.bytes[h->header_bytes - 1] != 0)
    return false;
  uint64_t end = h->header_bytes;
  for (int64_t b = 0; b < h->blocks; b++) {
    Block block = block_at(file, b);
    if (block.offset != end || block.bytes > INT32_MAX)
      return false;
    end += block.bytes;
  }
  return end == file->mapping.size;
}

static bool read_header(VolumeFile *file, Error *error) {
  const Mapping *m = &file->mapping;
  Header h = {0};
  if (m->size < sizeof h || memcmp(m->bytes, magic, sizeof magic) != 0)
    return error_set(error, "%s: error: is not a prepared volume of a cache", file->path);
  memcpy(&h, m->bytes, sizeof h);
  if (h.version != VERSION)
    return error_set(error, "%s: error: is of version %u, this program reads version %d",
                     file->path, h.version, VERSION);
  if (h.header_bytes <= sizeof h || h.header_bytes > m->size ||
      header_checksum(&h, m->bytes + sizeof h) != h.checksum)
    return error_set(error, "%s: error: the header is damaged (checksum); prepare it again",
                     file->path);
  for (int i = 0; i < 3; i++)
    file->size[i] = h.size[i];
  file->slab = h.slab > 0 ? h.slab : 1;
  if (!sound(file, &h))
    return error_set(error, "%s: error: is damaged or cut short (%zu bytes); prepare it again",
                     file->path, m->size);
  file->store = (VolumeStore)h.store;
  file->scale = h.scale;
  file->origin = (VolumeOrigin){
      .settings = (const char *)m->bytes + h.header_bytes - h.settings_bytes,
      .facts = {.slope = h.slope, .intercept = h.intercept},
      .source_bytes = h.source_bytes,
      .source_time = h.source_time,
  };
  memcpy(file->origin.facts.spacing, h.spacing, sizeof h.spacing);
  memcpy(file->origin.axes, h.axes, sizeof h.axes);
  return true;
}

bool volume_file_open(VolumeFile *file, const char *path, Error *error) {
  *file = (VolumeFile){.path = path};
  if (!file_map(path, &file->mapping, error))
    return false;
  if (read_header(file, error))
    return true;
  volume_file_close(file);
  return false;
}

void volume_file_close(VolumeFile *file) { file_unmap(&file->mapping); }

static bool damaged(const VolumeFile *file, int64_t b, const char *what, Error *error) {
  return error_set(error,
                   "%s: error: block %lld of %lld is damaged (%s); prepare the data set again "
                   "with --verify",
                   file->path, (long long)b + 1, (long long)block_count(file), what);
}

static bool check_block(const VolumeFile *file, int64_t b, Error *error) {
  Block block = block_at(file, b);
  return XXH64(file->mapping.bytes + block.offset, block.bytes, (uint64_t)b) == block.checksum ||
         damaged(file, b, "checksum", error);
}

bool volume_file_check(const VolumeFile *file, Error *error) {
  for (int64_t b = 0; b < block_count(file); b++)
    if (!check_block(file, b, error))
      return false;
  return true;
}

static bool inflate_block(const VolumeFile *file, int64_t b, uint8_t *bytes, uint64_t size,
                          Error *error) {
  Block block = block_at(file, b);
  z_stream z = {.next_in = (Bytef *)file->mapping.bytes + block.offset,
                .avail_in = (uInt)block.bytes,
                .next_out = bytes,
                .avail_out = (uInt)size};
  if (inflateInit2(&z, -MAX_WBITS) != Z_OK)
    return error_set(error, "%s: error: no memory to decompress it", file->path);
  bool good = inflate(&z, Z_FINISH) == Z_STREAM_END && z.total_out == size && z.avail_in == 0;
  inflateEnd(&z);
  return good || damaged(file, b, "compressed data", error);
}

bool volume_file_read(const VolumeFile *file, int64_t first, int64_t count, float *out,
                      Error *error) {
  int64_t plane = file->size[1] * file->size[2], end = first + count;
  CHECK(first >= 0 && count >= 0 && end <= file->size[0]);
  uint8_t *bytes = malloc((size_t)(2 * file->slab * plane));
  uint16_t *room = malloc(sizeof *room * (size_t)(plane + file->size[2]));
  bool good = (bytes && room) || error_set(error, "%s: error: no memory to decode it", file->path);
  for (int64_t b = first / file->slab; good && count > 0 && b * file->slab < end; b++) {
    int64_t start = b * file->slab, skip = first > start ? first - start : 0;
    int64_t whole = smaller(file->slab, file->size[0] - start), used = smaller(whole, end - start);
    int64_t shape[3] = {used, file->size[1], file->size[2]};
    good = check_block(file, b, error) &&
           inflate_block(file, b, bytes, (uint64_t)(2 * whole * plane), error);
    if (good && used < whole) /* the low bytes follow those of the whole block */
      memmove(bytes + used * plane, bytes + whole * plane, (size_t)(used * plane));
    if (good)
      codes_decode(bytes, shape, file->store, file->scale, skip, room,
                   out + (start + skip - first) * plane);
  }
  free(bytes);
  free(room);
  return good;
}

/* Does somebody read one of the planes? */
static bool keeps_planes(const Gather *gather, int64_t first, int64_t count) {
  for (int b = 0; b < gather->n_boxes; b++) {
    const GatherBox *box = &gather->boxes[b];
    int64_t start = box->start[PLANES], step = box->step[PLANES];
    int64_t next = start >= first ? start : start + (first - start + step - 1) / step * step;
    if (next < first + count && next <= start + (box->count[PLANES] - 1) * step)
      return true;
  }
  return false;
}

bool volume_file_gather(const VolumeFile *file, const Gather *gather, float *part, Error *error) {
  int64_t plane = file->size[1] * file->size[2];
  CHECK(gather->whole.rank == 5 && gather->whole.dim[1] == 1 &&
        memcmp(gather->whole.dim + PLANES, file->size, sizeof file->size) == 0);
  float *slab = malloc(sizeof *slab * (size_t)(file->slab * plane));
  bool good = slab || error_set(error, "%s: error: no memory to decode it", file->path);
  if (good)
    gather_clear(gather, sizeof *part, part);
  for (int64_t first = 0; good && first < file->size[0]; first += file->slab) {
    int64_t count = smaller(file->slab, file->size[0] - first);
    if (!keeps_planes(gather, first, count))
      continue;
    good = volume_file_read(file, first, count, slab, error);
    if (good)
      gather_slab(gather, PLANES, first, count, sizeof *part, slab, part);
  }
  free(slab);
  return good;
}
