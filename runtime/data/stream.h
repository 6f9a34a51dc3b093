/* A byte stream over a file that may be gzip: the content decides, never the file's name.
 *
 * Gzip members follow one another and are concatenated (zero padding after the last is fine); the
 * CRC and length of every member are checked when its end is passed, so a reader that wants the
 * whole file checked calls stream_finish(), which also tells whether the file changed meanwhile.
 * Output goes straight into the caller's buffer. Files are read, not mapped: one that shrinks is an
 * error, not a signal.
 */
#ifndef TRICOT_RUNTIME_DATA_STREAM_H
#define TRICOT_RUNTIME_DATA_STREAM_H
#include "runtime/base/fault.h"
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

typedef struct Stream {
  const char *path; /* borrowed */
  int file;         /* descriptor, -1: closed */
  uint64_t size;    /* of the file when it was opened */
  int64_t changed;  /* its time of change then, nanoseconds */
  bool gzip, ended; /* ended: no bytes are left */
  unsigned char *buffer;
  size_t at, filled; /* of the buffer */
  uint64_t used;     /* bytes of the file taken from the buffer */
  z_stream inflater;
} Stream;

bool stream_open(Stream *stream, const char *path, Error *error);
/* Reads up to `size` bytes; *got is smaller only at the end. False when the file cannot be read or
 * the gzip data is damaged. */
bool stream_read(Stream *stream, void *out, size_t size, size_t *got, Error *error);
bool stream_skip(Stream *stream, uint64_t size, uint64_t *skipped, Error *error);
/* Runs a gzip stream to its end, so that every check of it has been made, and makes sure that the
 * file is still the one that was opened. */
bool stream_finish(Stream *stream, Error *error);
/* No more bytes than this can come out of the whole stream. */
uint64_t stream_bound(const Stream *stream);
void stream_close(Stream *stream);
#endif
