/* Element types. See dtype.h. bf16 and f16 conversions round to nearest even. */
#include "dtype.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct {
  const char *name, *st;
  size_t bytes;
  bool is_float;
} rows[] = {
#define DTYPE(name, bytes, st, is_float) {#name, st, bytes, is_float},
#include "dtype.def"
#undef DTYPE
};

size_t dtype_size(Dtype dtype) { return rows[dtype].bytes; }
bool dtype_is_float(Dtype dtype) { return rows[dtype].is_float; }
const char *dtype_name(Dtype dtype) { return rows[dtype].name; }
const char *dtype_safetensors_name(Dtype dtype) { return rows[dtype].st; }

bool dtype_from_name(const char *name, Dtype *dtype) {
  for (int i = 0; i < DT_COUNT; i++)
    if (strcmp(rows[i].name, name) == 0)
      return *dtype = (Dtype)i, true;
  return false;
}

bool dtype_from_safetensors_name(const char *name, Dtype *dtype) {
  for (int i = 0; i < DT_COUNT; i++)
    if (strcmp(rows[i].st, name) == 0)
      return *dtype = (Dtype)i, true;
  return false;
}

int64_t type_elements(const Type *type) {
  int64_t n = 1;
  for (int i = 0; i < type->rank; i++)
    n *= type->dim[i];
  return n;
}

size_t type_bytes(const Type *type) {
  return (size_t)type_elements(type) * dtype_size(type->dtype);
}

bool type_equal(const Type *a, const Type *b) {
  if (a->dtype != b->dtype || a->rank != b->rank)
    return false;
  for (int i = 0; i < a->rank; i++)
    if (a->dim[i] != b->dim[i])
      return false;
  return true;
}

const char *type_text(const Type *type) {
  static _Thread_local char ring[8][160];
  static _Thread_local int next;
  char *text = ring[next++ % 8];
  int n = snprintf(text, sizeof ring[0], "%s[", dtype_name(type->dtype));
  for (int i = 0; i < type->rank; i++)
    n += snprintf(text + n, sizeof ring[0] - (size_t)n, "%s%lld", i ? "," : "",
                  (long long)type->dim[i]);
  snprintf(text + n, sizeof ring[0] - (size_t)n, "]");
  return text;
}

static float half_to_float(uint16_t h) {
  int exponent = h >> 10 & 31, mantissa = h & 1023;
  float value = exponent == 31 ? (mantissa ? NAN : INFINITY)
                : exponent     ? ldexpf((float)(mantissa | 1024), exponent - 25)
                               : ldexpf((float)mantissa, -24);
  return h & 0x8000 ? -value : value;
}

static uint16_t float_to_half(float value) {
  uint16_t sign = signbit(value) ? 0x8000 : 0;
  float magnitude = fabsf(value);
  if (isnan(value))
    return sign | 0x7E00;
  if (magnitude >= 65520.0f)
    return sign | 0x7C00;
  int exponent;
  frexpf(magnitude, &exponent);
  if (exponent < -13 || magnitude == 0) /* frexpf gives zero the exponent 0 */
    return sign | (uint16_t)lrintf(ldexpf(magnitude, 24));
  /* mantissa with its hidden bit, rounded by the FPU; a carry walks into the exponent by itself */
  long mantissa = lrintf(ldexpf(magnitude, 11 - exponent));
  return sign | (uint16_t)(((exponent + 14) << 10) + (mantissa - 1024));
}

static uint16_t float_to_bfloat(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  if (isnan(value))
    return (uint16_t)(bits >> 16 | 64);
  return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

double dtype_load(Dtype dtype, const void *data, int64_t i) {
  uint32_t bits;
  float value;
  switch (dtype) {
  case DT_f32: return ((const float *)data)[i];
  case DT_f64: return ((const double *)data)[i];
  case DT_f16: return half_to_float(((const uint16_t *)data)[i]);
  case DT_bf16:
    bits = (uint32_t)((const uint16_t *)data)[i] << 16;
    memcpy(&value, &bits, 4);
    return value;
  case DT_i64: return (double)((const int64_t *)data)[i];
  case DT_i32: return ((const int32_t *)data)[i];
  case DT_i16: return ((const int16_t *)data)[i];
  case DT_i8: return ((const int8_t *)data)[i];
  case DT_u8: return ((const uint8_t *)data)[i];
  case DT_COUNT: break;
  }
  return NAN;
}

void dtype_store(Dtype dtype, void *data, int64_t i, double value) {
  switch (dtype) {
  case DT_f32: ((float *)data)[i] = (float)value; break;
  case DT_f64: ((double *)data)[i] = value; break;
  case DT_f16: ((uint16_t *)data)[i] = float_to_half((float)value); break;
  case DT_bf16: ((uint16_t *)data)[i] = float_to_bfloat((float)value); break;
  case DT_i64: ((int64_t *)data)[i] = (int64_t)value; break;
  case DT_i32: ((int32_t *)data)[i] = (int32_t)value; break;
  case DT_i16: ((int16_t *)data)[i] = (int16_t)value; break;
  case DT_i8: ((int8_t *)data)[i] = (int8_t)value; break;
  case DT_u8: ((uint8_t *)data)[i] = (uint8_t)value; break;
  case DT_COUNT: break;
  }
}
