/* Codes, prediction and byte planes of a block. See volume_codes.h.
 *
 * The prediction from the seven neighbours that come before a voxel is a difference along each axis
 * in turn, so its inverse is a running sum along each axis in turn: along x while a row is read,
 * along y in one row of sums, along z in one plane of sums. All arithmetic wraps at 16 bits.
 */
#include "runtime/data/volume_codes.h"
#include "runtime/base/dtype.h"
#include <math.h>
#include <string.h>

/* float16 is a sign and a magnitude; as a signed number it keeps the order of the values. */
static uint16_t half_code(float value) {
  uint16_t bits;
  dtype_store(DT_f16, &bits, 0, value);
  uint16_t magnitude = bits & 0x7FFF;
  return bits & 0x8000 ? (uint16_t)-magnitude : magnitude;
}

/* Moves exponent and mantissa into a float and repairs the exponent's bias by a multiplication,
 * which is right for subnormal numbers too. */
static float half_value(uint16_t code) {
  uint32_t sign = code & 0x8000u, magnitude = sign ? (uint16_t)-code : code;
  uint32_t bits = magnitude << 13 | sign << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value * 0x1p112f;
}

static void to_codes(const float *values, int64_t count, VolumeStore store, double scale,
                     uint16_t *codes) {
  if (store == STORE_F16)
    for (int64_t i = 0; i < count; i++)
      codes[i] = half_code(values[i]);
  else
    for (int64_t i = 0; i < count; i++)
      codes[i] = (uint16_t)lrint((double)values[i] / scale);
}

void codes_encode(const float *values, const int64_t shape[3], VolumeStore store, double scale,
                  uint16_t *codes, uint8_t *bytes) {
  int64_t width = shape[2], plane = shape[1] * width, count = shape[0] * plane;
  to_codes(values, count, store, scale, codes);
  for (int64_t i = count - 1; i >= plane; i--)
    codes[i] = (uint16_t)(codes[i] - codes[i - plane]);
  for (int64_t p = 0; p < count; p += plane)
    for (int64_t i = p + plane - 1; i >= p + width; i--)
      codes[i] = (uint16_t)(codes[i] - codes[i - width]);
  for (int64_t row = 0; row < count; row += width)
    for (int64_t i = row + width - 1; i > row; i--)
      codes[i] = (uint16_t)(codes[i] - codes[i - 1]);
  for (int64_t i = 0; i < count; i++) { /* the sign goes last, so that high bytes are small */
    uint16_t folded = (uint16_t)((uint32_t)codes[i] << 1 ^ (codes[i] & 0x8000 ? 0xFFFF : 0));
    bytes[i] = (uint8_t)(folded >> 8);
    bytes[count + i] = (uint8_t)folded;
  }
}

/* Adds the sums of one row of residuals to `row`. */
static void sum_row(const uint8_t *high, const uint8_t *low, int64_t width, uint16_t *row) {
  uint16_t sum = 0;
  for (int64_t i = 0; i < width; i++) {
    uint16_t folded = (uint16_t)(high[i] << 8 | low[i]);
    sum = (uint16_t)(sum + (folded >> 1 ^ (folded & 1 ? 0xFFFF : 0)));
    row[i] = (uint16_t)(row[i] + sum);
  }
}

static void to_values(const uint16_t *codes, int64_t count, VolumeStore store, double scale,
                      float *out) {
  if (store == STORE_F16)
    for (int64_t i = 0; i < count; i++)
      out[i] = half_value(codes[i]);
  else
    for (int64_t i = 0; i < count; i++)
      out[i] = (float)((int16_t)codes[i] * scale);
}

void codes_decode(const uint8_t *bytes, const int64_t shape[3], VolumeStore store, double scale,
                  int64_t first, uint16_t *room, float *out) {
  int64_t width = shape[2], plane = shape[1] * width, count = shape[0] * plane;
  uint16_t *row = room, *sums = room + width;
  memset(sums, 0, sizeof *sums * (size_t)plane);
  for (int64_t p = 0; p < shape[0]; p++) {
    memset(row, 0, sizeof *row * (size_t)width);
    for (int64_t at = 0; at < plane; at += width) {
      sum_row(bytes + p * plane + at, bytes + count + p * plane + at, width, row);
      for (int64_t i = 0; i < width; i++)
        sums[at + i] = (uint16_t)(sums[at + i] + row[i]);
    }
    if (p >= first)
      to_values(sums, plane, store, scale, out + (p - first) * plane);
  }
}
