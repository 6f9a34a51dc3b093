/* Fuzzes the byte stream over gzip and plain files: reads and skips of many sizes up to the end. */
#include "runtime/data/stream.h"
#include "tests/fuzz/fuzz.h"

/* Takes the stream to its end by turns of reading and skipping; the bytes taken. */
static bool take_all(Stream *stream, uint64_t *total, Error *error) {
  static unsigned char buffer[5000];
  size_t got, step = 1;
  for (;; step = step * 3 % sizeof buffer + 1) {
    uint64_t skipped;
    if (!stream_read(stream, buffer, step, &got, error))
      return false;
    CHECK(got <= step);
    *total += got;
    if (got < step)
      return true;
    if (!stream_skip(stream, step, &skipped, error))
      return false;
    CHECK(skipped <= step);
    *total += skipped;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  const char *path = file_of(bytes, size);
  Stream stream;
  Error error = {""};
  uint64_t total = 0;
  bool good = stream_open(&stream, path, &error) && take_all(&stream, &total, &error) &&
              stream_finish(&stream, &error);
  if (good)
    CHECK(total <= stream_bound(&stream));
  else
    expect_words(&error);
  stream_close(&stream);
  if (!stream_open(&stream, path, &error) || !stream_finish(&stream, &error))
    CHECK(!good); /* the parts read decide nothing about the checks made */
  stream_close(&stream);
  return 0;
}
