/* Plain and gzip input. See stream.h. zlib checks CRC-32 and length at the end of each member. */
#include "runtime/data/stream.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A deflate block cannot expand by more than this factor (zlib technical notes). */
enum { MAX_EXPANSION = 1032, CHUNK = 1 << 30, ROOM = 1 << 18 };

/* Reads at most `room` bytes of the file's rest, one at least: the file had `size` when it was
 * opened. */
static bool read_some(Stream *stream, unsigned char *out, size_t room, size_t *got, Error *error) {
  uint64_t left = stream->size - stream->used - (stream->end - stream->first);
  ssize_t n;
  room = room < left ? room : (size_t)left;
  do
    n = read(stream->descriptor, out, room);
  while (n < 0 && errno == EINTR);
  *got = n > 0 ? (size_t)n : 0;
  if (n > 0)
    return true;
  return error_set(error, "%s: error: %s", stream->path,
                   n == 0 ? "got shorter while it was read" : strerror(errno));
}

/* Has the buffer hold `wanted` unused bytes, or all that the file still has. */
static bool need(Stream *stream, size_t wanted, Error *error) {
  size_t held = stream->end - stream->first, got;
  if (held < wanted && stream->first > 0) {
    memmove(stream->buffer, stream->buffer + stream->first, held);
    stream->first = 0;
    stream->end = held;
  }
  while (held < wanted && stream->used + held < stream->size) {
    if (!read_some(stream, stream->buffer + stream->end, ROOM - stream->end, &got, error))
      return false;
    stream->end += got;
    held += got;
  }
  return true;
}

static void use(Stream *stream, size_t count) {
  stream->first += count;
  stream->used += count;
}

static bool open_file(Stream *stream, Error *error) {
  struct stat info;
  stream->descriptor = open(stream->path, O_RDONLY | O_CLOEXEC);
  if (stream->descriptor < 0)
    return error_set(error, "%s: error: %s", stream->path, strerror(errno));
  if (fstat(stream->descriptor, &info) != 0 || !S_ISREG(info.st_mode))
    return error_set(error, "%s: error: is not a regular file", stream->path);
  if (info.st_size == 0)
    return error_set(error, "%s: error: the file is empty", stream->path);
  stream->size = (uint64_t)info.st_size;
  stream->buffer = mem_alloc(ROOM);
  return need(stream, 2, error);
}

bool stream_open(Stream *stream, const char *path, Error *error) {
  *stream = (Stream){.path = path, .descriptor = -1};
  bool good = open_file(stream, error);
  if (good && stream->end >= 2 && stream->buffer[0] == 0x1F && stream->buffer[1] == 0x8B) {
    stream->gzip = inflateInit2(&stream->inflater, 15 + 16) == Z_OK;
    good = stream->gzip || error_set(error, "%s: error: no memory for decompression", path);
  }
  if (!good)
    stream_close(stream);
  return good;
}

void stream_close(Stream *stream) {
  if (stream->gzip)
    inflateEnd(&stream->inflater);
  if (stream->descriptor >= 0)
    close(stream->descriptor);
  free(stream->buffer);
  *stream = (Stream){.descriptor = -1};
}

uint64_t stream_bound(const Stream *stream) {
  return stream->gzip ? stream->size * MAX_EXPANSION + MAX_EXPANSION : stream->size;
}

/* After the end of a member: another one, padding, or something that does not belong there. */
static bool next_member(Stream *stream, Error *error) {
  if (!need(stream, 2, error))
    return false;
  const unsigned char *rest = stream->buffer + stream->first;
  if (stream->end - stream->first >= 2 && rest[0] == 0x1F && rest[1] == 0x8B)
    return inflateReset(&stream->inflater) == Z_OK ||
           error_set(error, "%s: error: decompression cannot go on", stream->path);
  uint64_t left = stream->size - stream->used;
  while (stream->used < stream->size) {
    if (!need(stream, 1, error))
      return false;
    if (stream->buffer[stream->first] != 0)
      return error_set(error,
                       "%s: error: %llu trailing bytes after the gzip data are no gzip member",
                       stream->path, (unsigned long long)left);
    use(stream, 1);
  }
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
  return error_set(error, "%s: error: the gzip (deflate) data is damaged near byte %llu: %s%s",
                   stream->path, (unsigned long long)stream->used, kind, words);
}

static bool inflate_some(Stream *stream, unsigned char *out, size_t size, size_t *got,
                         Error *error) {
  z_stream *z = &stream->inflater;
  *got = 0;
  while (*got < size && !stream->ended) {
    if (!need(stream, 1, error))
      return false;
    size_t room = size - *got;
    z->next_in = stream->buffer + stream->first;
    z->avail_in = (uInt)(stream->end - stream->first);
    z->next_out = out + *got;
    z->avail_out = room > CHUNK ? CHUNK : (uInt)room;
    uInt in_before = z->avail_in, out_before = z->avail_out;
    int status = inflate(z, Z_NO_FLUSH);
    use(stream, in_before - z->avail_in);
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
  *got = 0;
  while (*got < size && stream->used < stream->size) {
    size_t held = stream->end - stream->first, part = held < size - *got ? held : size - *got;
    memcpy((char *)out + *got, stream->buffer + stream->first, part);
    use(stream, part);
    *got += part;
    if (*got == size || stream->used == stream->size)
      break;
    size_t more;
    if (!read_some(stream, (unsigned char *)out + *got, size - *got, &more, error))
      return false;
    stream->used += more;
    *got += more;
  }
  stream->ended = stream->used == stream->size;
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
