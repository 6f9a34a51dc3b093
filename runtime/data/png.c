/* Writing PNG. See png.h. */
#include "runtime/data/png.h"
#include "runtime/base/arena.h"
#include "runtime/base/fault.h"
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static void put32(unsigned char out[4], uint32_t value) {
  for (int i = 0; i < 4; i++)
    out[i] = (unsigned char)(value >> (24 - 8 * i));
}

/* Length, type, data, and the CRC of type and data. */
static void add_chunk(Text *out, const char *type, const unsigned char *data, size_t size) {
  unsigned char word[4];
  put32(word, (uint32_t)size);
  text_add_bytes(out, (const char *)word, 4);
  text_add_bytes(out, type, 4);
  text_add_bytes(out, (const char *)data, size);
  uLong crc = crc32(crc32(0, Z_NULL, 0), (const Bytef *)type, 4);
  put32(word, (uint32_t)(size ? crc32(crc, data, (uInt)size) : crc));
  text_add_bytes(out, (const char *)word, 4);
}

void png_add_grey(Text *out, const uint8_t *pixels, int width, int height) {
  unsigned char head[13] = {[8] = 8}; /* 8 bits, grey, deflate, adaptive filters, no interlace */
  size_t row = (size_t)width + 1, raw_size = row * (size_t)height;
  unsigned char *raw = mem_alloc(raw_size + 1);
  put32(head, (uint32_t)width);
  put32(head + 4, (uint32_t)height);
  for (int y = 0; y < height; y++) {
    raw[(size_t)y * row] = 1; /* filter Sub: each pixel minus its left neighbour */
    for (int x = 0; x < width; x++) {
      const uint8_t *at = pixels + (size_t)y * (size_t)width + x;
      raw[(size_t)y * row + 1 + (size_t)x] = (unsigned char)(*at - (x ? at[-1] : 0));
    }
  }
  uLongf packed_size = compressBound(raw_size);
  unsigned char *packed = mem_alloc(packed_size);
  CHECK(compress2(packed, &packed_size, raw, raw_size, 9) == Z_OK);
  text_add_bytes(out, "\x89PNG\r\n\x1a\n", 8);
  add_chunk(out, "IHDR", head, sizeof head);
  add_chunk(out, "IDAT", packed, packed_size);
  add_chunk(out, "IEND", (const unsigned char *)"", 0);
  free(raw);
  free(packed);
}

void base64_add(Text *out, const unsigned char *bytes, size_t size) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < size; i += 3) {
    size_t left = size - i;
    uint32_t word = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                    (left > 2 ? bytes[i + 2] : 0);
    char four[4] = {digits[word >> 18], digits[word >> 12 & 63],
                    left > 1 ? digits[word >> 6 & 63] : '=', left > 2 ? digits[word & 63] : '='};
    text_add_bytes(out, four, 4);
  }
}
