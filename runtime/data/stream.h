/* A byte stream over a file that may be gzip: the content decides, never the file's name.
 *
 * Gzip members follow one another and are concatenated (zero padding after the last is fine); the
 * CRC and length of every member are checked when its end is passed, so a reader that wants the
 * whole file checked calls stream_finish(). Input goes through a small buffer and not a mapping, so
 * that a file which shrinks while it is read is an error and not the end of the process; output
 * goes straight into the caller's buffer.
 */
#ifndef TRICOT_RUNTIME_DATA_STREAM_H
#define TRICOT_RUNTIME_DATA_STREAM_H
#include "runtime/base/file.h"
#include <zlib.h>

typedef struct Stream {
  const char *path;    /* borrowed */
  int descriptor;      /* -1: not open */
  uint64_t size, used; /* of the file; used: given out or decompressed */
  unsigned char *buffer;
  size_t first, end; /* input that was read and not used: buffer[first..end) */
  bool gzip, ended;  /* ended: no bytes are left */
  z_stream inflater;
} Stream;

bool stream_open(Stream *stream, const char *path, Error *error);
/* Reads up to `size` bytes; *got is smaller only at the end. False when the gzip data is damaged.
 */
bool stream_read(Stream *stream, void *out, size_t size, size_t *got, Error *error);
bool stream_skip(Stream *stream, uint64_t size, uint64_t *skipped, Error *error);
/* Runs a gzip stream to its end, so that every check of it has been made. */
bool stream_finish(Stream *stream, Error *error);
/* No more bytes than this can come out of the whole stream. */
uint64_t stream_bound(const Stream *stream);
void stream_close(Stream *stream);
#endif
