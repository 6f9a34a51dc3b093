/* Plain and gzip input. See stream.h. zlib checks CRC-32 and length at the end of each member. */
#include "runtime/data/stream.h"
#include "runtime/base/arena.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A deflate block cannot expand by more than this factor (zlib technical notes). */
enum { MAX_EXPANSION = 1032, CHUNK = 1 << 30, BUFFER = 1 << 16 };

/* Size and time of change; false when it is no regular file. */
static bool look(const Stream *stream, uint64_t *size, int64_t *changed) {
  struct stat info;
  if (fstat(stream->file, &info) != 0 || !S_ISREG(info.st_mode))
    return false;
  *size = (uint64_t)info.st_size;
  *changed = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
  return true;
}

/* Up to `size` bytes of the file itself. */
static bool read_file(Stream *stream, void *out, size_t size, size_t *got, Error *error) {
  for (*got = 0; *got < size;) {
    size_t step = size - *got < CHUNK ? size - *got : CHUNK;
    ssize_t n = read(stream->file, (char *)out + *got, step);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return error_set(error, "%s: error: %s", stream->path, strerror(errno));
    if (n == 0)
      break;
    *got += (size_t)n;
  }
  return true;
}

/* Makes at least `wanted` bytes (fewer at the end of the file) available in the buffer. */
static bool fill(Stream *stream, size_t wanted, Error *error) {
  size_t left = stream->filled - stream->at, got;
  if (left >= wanted)
    return true;
  memmove(stream->buffer, stream->buffer + stream->at, left);
  stream->at = 0;
  stream->filled = left;
  if (!read_file(stream, stream->buffer + left, BUFFER - left, &got, error))
    return false;
  stream->filled += got;
  return true;
}

bool stream_open(Stream *stream, const char *path, Error *error) {
  *stream = (Stream){.path = path, .file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (stream->file < 0)
    return error_set(error, "%s: error: %s", path, strerror(errno));
  if (!look(stream, &stream->size, &stream->changed))
    return error_set(error, "%s: error: is not a regular file", path);
  stream->buffer = mem_alloc(BUFFER);
  if (!fill(stream, 2, error))
    return false;
  if (stream->filled == 0)
    return error_set(error, "%s: error: the file is empty", path);
  stream->gzip = stream->filled >= 2 && stream->buffer[0] == 0x1F && stream->buffer[1] == 0x8B;
  if (stream->gzip && inflateInit2(&stream->inflater, 15 + 16) != Z_OK) {
    stream->gzip = false;
    return error_set(error, "%s: error: no memory for decompression", path);
  }
  return true;
}

void stream_close(Stream *stream) {
  if (stream->gzip)
    inflateEnd(&stream->inflater);
  if (stream->file >= 0)
    close(stream->file);
  free(stream->buffer);
  *stream = (Stream){.file = -1};
}

uint64_t stream_bound(const Stream *stream) {
  uint64_t bound;
  if (!stream->gzip)
    return stream->size;
  return __builtin_mul_overflow(stream->size + 1, (uint64_t)MAX_EXPANSION, &bound) ? UINT64_MAX
                                                                                    : bound;
}

/* After the end of a member: another one, padding, or something that does not belong there. */
static bool next_member(Stream *stream, Error *error) {
  if (!fill(stream, 2, error))
    return false;
  const unsigned char *rest = stream->buffer + stream->at;
  if (stream->filled - stream->at >= 2 && rest[0] == 0x1F && rest[1] == 0x8B)
    return inflateReset(&stream->inflater) == Z_OK ||
           error_set(error, "%s: error: decompression cannot go on", stream->path);
  uint64_t place = stream->used;
  while (fill(stream, 1, error)) {
    if (stream->at == stream->filled)
      return stream->ended = true;
    for (; stream->at < stream->filled; stream->at++, stream->used++)
      if (stream->buffer[stream->at] != 0)
        return error_set(error,
                         "%s: error: %llu trailing bytes after the gzip data are no gzip member",
                         stream->path, (unsigned long long)(stream->size - place));
  }
  return false;
}

static bool damaged(const Stream *stream, int status, Error *error) {
  if (status == Z_MEM_ERROR)
    return error_set(error, "%s: error: no memory for decompression", stream->path);
  const char *words = stream->inflater.msg ? stream->inflater.msg : "unknown block";
  const char *kind = strstr(words, "data check")     ? "CRC mismatch: "
                     : strstr(words, "length check") ? "length mismatch (CRC trailer): "
                                                     : "";
  return error_set(error, "%s: error: the gzip (deflate) data is damaged near byte %llu: %s%s",
                   stream->path, (unsigned long long)stream->used, kind, words);
}

static bool inflate_some(Stream *stream, unsigned char *out, size_t size, size_t *got,
                         Error *error) {
  z_stream *z = &stream->inflater;
  *got = 0;
  while (*got < size && !stream->ended) {
    if (!fill(stream, 1, error))
      return false;
    size_t room = size - *got;
    z->next_in = stream->buffer + stream->at;
    z->avail_in = (uInt)(stream->filled - stream->at);
    z->next_out = out + *got;
    z->avail_out = room > CHUNK ? CHUNK : (uInt)room;
    uInt in_before = z->avail_in, out_before = z->avail_out;
    int status = inflate(z, Z_NO_FLUSH);
    stream->at += in_before - z->avail_in;
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
  size_t left = stream->filled - stream->at, first = size < left ? size : left, rest;
  memcpy(out, stream->buffer + stream->at, first);
  stream->at += first;
  if (!read_file(stream, (char *)out + first, size - first, &rest, error))
    return false;
  *got = first + rest;
  stream->used += *got;
  stream->ended = *got < size;
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
  uint64_t skipped, size;
  int64_t changed;
  if (stream->gzip && !stream_skip(stream, UINT64_MAX, &skipped, error))
    return false;
  if (!look(stream, &size, &changed) || size != stream->size || changed != stream->changed)
    return error_set(error, "%s: error: the file changed while it was read", stream->path);
  return true;
}
