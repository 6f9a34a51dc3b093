/* Plain and gzip input. See stream.h. zlib checks CRC-32 and length at the end of each member. */
#include "runtime/data/stream.h"
#include <string.h>

/* A deflate block cannot expand by more than this factor (zlib technical notes). */
enum { MAX_EXPANSION = 1032, CHUNK = 1 << 30 };

bool stream_open(Stream *stream, const char *path, Error *error) {
  *stream = (Stream){.path = path};
  if (!file_map(path, &stream->mapping, error))
    return false;
  const unsigned char *bytes = stream->mapping.bytes;
  if (stream->mapping.size == 0)
    return error_set(error, "%s: error: the file is empty", path);
  stream->gzip = stream->mapping.size >= 2 && bytes[0] == 0x1F && bytes[1] == 0x8B;
  if (stream->gzip && inflateInit2(&stream->inflater, 15 + 16) != Z_OK) {
    stream->gzip = false;
    stream_close(stream);
    return error_set(error, "%s: error: no memory for decompression", path);
  }
  return true;
}

void stream_close(Stream *stream) {
  if (stream->gzip)
    inflateEnd(&stream->inflater);
  file_unmap(&stream->mapping);
  *stream = (Stream){0};
}

uint64_t stream_bound(const Stream *stream) {
  uint64_t size = stream->mapping.size;
  return stream->gzip ? size * MAX_EXPANSION + MAX_EXPANSION : size;
}

/* After the end of a member: another one, padding, or something that does not belong there. */
static bool next_member(Stream *stream, Error *error) {
  const unsigned char *rest = stream->mapping.bytes + stream->used;
  size_t left = stream->mapping.size - stream->used;
  if (left >= 2 && rest[0] == 0x1F && rest[1] == 0x8B)
    return inflateReset(&stream->inflater) == Z_OK ||
           error_set(error, "%s: error: decompression cannot go on", stream->path);
  for (size_t i = 0; i < left; i++)
    if (rest[i] != 0)
      return error_set(error,
                       "%s: error: %zu trailing bytes after the gzip data are no gzip member",
                       stream->path, left);
  stream->ended = true;
  return true;
}

static bool damaged(const Stream *stream, int status, Error *error) {
  if (status == Z_MEM_ERROR)
    return error_set(error, "%s: error: no memory for decompression", stream->path);
  const char *words = stream->inflater.msg ? stream->inflater.msg : "unknown block";
  const char *kind = strstr(words, "data check")     ? "CRC mismatch: "
                     : strstr(words, "length check") ? "length mismatch (CRC trailer): "
                                                     : "";
  return error_set(error, "%s: error: the gzip (deflate) data is damaged near byte %zu: %s%s",
                   stream->path, stream->used, kind, words);
}

static bool inflate_some(Stream *stream, unsigned char *out, size_t size, size_t *got,
                         Error *error) {
  z_stream *z = &stream->inflater;
  *got = 0;
  while (*got < size && !stream->ended) {
    size_t in = stream->mapping.size - stream->used, room = size - *got;
    z->next_in = (unsigned char *)stream->mapping.bytes + stream->used;
    z->avail_in = in > CHUNK ? CHUNK : (uInt)in;
    z->next_out = out + *got;
    z->avail_out = room > CHUNK ? CHUNK : (uInt)room;
    uInt in_before = z->avail_in, out_before = z->avail_out;
    int status = inflate(z, Z_NO_FLUSH);
    stream->used += in_before - z->avail_in;
    *got += out_before - z->avail_out;
    if (status == Z_STREAM_END) {
      if (!next_member(stream, error))
        return false;
    } else if (status != Z_OK && status != Z_BUF_ERROR) {
      return damaged(stream, status, error);
    } else if (in_before == z->avail_in && out_before == z->avail_out) {
      return error_set(error, "%s: error: truncated: the gzip data ends early", stream->path);
    }
  }
  return true;
}

bool stream_read(Stream *stream, void *out, size_t size, size_t *got, Error *error) {
  if (stream->gzip)
    return inflate_some(stream, out, size, got, error);
  size_t left = stream->mapping.size - stream->used;
  *got = size < left ? size : left;
  memcpy(out, stream->mapping.bytes + stream->used, *got);
  stream->used += *got;
  stream->ended = stream->used == stream->mapping.size;
  return true;
}

bool stream_skip(Stream *stream, uint64_t size, uint64_t *skipped, Error *error) {
  unsigned char buffer[1 << 14];
  for (*skipped = 0; *skipped < size;) {
    uint64_t left = size - *skipped;
    size_t got, step = left < sizeof buffer ? (size_t)left : sizeof buffer;
    if (!stream_read(stream, buffer, step, &got, error))
      return false;
    *skipped += got;
    if (got < step)
      break;
  }
  return true;
}

bool stream_finish(Stream *stream, Error *error) {
  uint64_t skipped;
  return !stream->gzip || stream_skip(stream, UINT64_MAX, &skipped, error);
}
