/* One scalar op on one element: the meaning of every row of ir/kops.def.
 *
 * f32 ops round to float after each op (fma once); f16 and bf16 values are held as floats that the
 * narrow type can represent and are rounded to it after each op; integers are held sign- or
 * zero-extended in 64 bits and wrap at their width. Functions that legalisation expands are given
 * here by the double-precision library rounded once, so that the expansions have something to meet.
 */
#include "ir/kernel.h"
#include <math.h>
#include <string.h>

static int64_t wrap(Dtype dtype, int64_t value) {
  switch (dtype) {
  case DT_i32: return (int32_t)(uint32_t)value;
  case DT_i16: return (int16_t)(uint16_t)value;
  case DT_i8: return (int8_t)(uint8_t)value;
  case DT_u8: return (uint8_t)value;
  default: return value;
  }
}

static float narrow(Dtype dtype, float value) {
  unsigned char cell[8];
  if (dtype != DT_f16 && dtype != DT_bf16)
    return value;
  dtype_store(dtype, cell, 0, value);
  return (float)dtype_load(dtype, cell, 0);
}

static float float_op(Kop kop, float a, float b, float c) {
  switch (kop) {
  case K_add: return a + b;
  case K_sub: return a - b;
  case K_mul: return a * b;
  case K_div: return a / b;
  case K_fma: return fmaf(a, b, c);
  case K_neg: return -a;
  case K_abs: return fabsf(a);
  case K_max: return a > b ? a : b;
  case K_min: return a < b ? a : b;
  case K_sqrt: return sqrtf(a);
  case K_floor: return floorf(a);
  case K_round: return rintf(a);
  case K_exp: return (float)exp(a);
  case K_log: return (float)log(a);
  case K_tanh: return (float)tanh(a);
  case K_erf: return (float)erf(a);
  case K_rsqrt: return 1.0f / sqrtf(a);
  case K_sign: return (float)((a > 0) - (a < 0));
  default: FAULT("%s has no meaning on floats", kop_info[kop].name);
  }
}

/* Through unsigned arithmetic: wrapping is meant, signed overflow would be undefined. */
static int64_t int_op(Kop kop, int64_t a, int64_t b, int width) {
  uint64_t x = (uint64_t)a, y = (uint64_t)b;
  switch (kop) {
  case K_add: return (int64_t)(x + y);
  case K_sub: return (int64_t)(x - y);
  case K_mul: return (int64_t)(x * y);
  case K_neg: return (int64_t)-x;
  case K_abs: return a < 0 ? (int64_t)-x : a;
  case K_max: return a > b ? a : b;
  case K_min: return a < b ? a : b;
  case K_and: return a & b;
  case K_or: return a | b;
  case K_shl: return b >= 0 && b < width ? (int64_t)(x << b) : 0;
  case K_shr: return b >= 0 && b < width ? a >> b : a < 0 ? -1 : 0;
  case K_sign: return (a > 0) - (a < 0);
  default: FAULT("%s has no meaning on integers", kop_info[kop].name);
  }
}

static bool compare(Kop kop, Dtype operand, Scalar a, Scalar b) {
  if (dtype_is_float(operand))
    return kop == K_lt ? a.f < b.f : kop == K_le ? a.f <= b.f : a.f == b.f;
  return kop == K_lt ? a.i < b.i : kop == K_le ? a.i <= b.i : a.i == b.i;
}

/* Float to integer truncates; what the type cannot hold ends at its limits, NaN at 0. */
static int64_t truncate_to(Dtype dtype, float value) {
  int bits = 8 * (int)dtype_size(dtype);
  double high = dtype == DT_u8 ? 255 : ldexp(1, bits - 1) - 1;
  double low = dtype == DT_u8 ? 0 : -ldexp(1, bits - 1);
  if (isnan(value))
    return 0;
  if (value <= low)
    return (int64_t)low;
  if (value >= high)
    return dtype == DT_i64 ? INT64_MAX : (int64_t)high;
  return (int64_t)value;
}

static Scalar cast(Dtype from, Dtype to, Scalar a) {
  Scalar result = {.i = 0};
  if (dtype_is_float(to))
    result.f = narrow(to, dtype_is_float(from) ? a.f : (float)a.i);
  else
    result.i = dtype_is_float(from) ? truncate_to(to, a.f) : wrap(to, a.i);
  return result;
}

static Scalar reinterpret(Dtype from, Dtype to, Scalar a) {
  Scalar result = {.i = 0};
  if (from == DT_f32 && to == DT_i32) {
    int32_t bits;
    memcpy(&bits, &a.f, 4);
    result.i = bits;
  } else if (from == DT_i32 && to == DT_f32) {
    int32_t bits = (int32_t)a.i;
    memcpy(&result.f, &bits, 4);
  } else {
    CHECK(from == to);
    result = a;
  }
  return result;
}

static int64_t pair(Scalar first, Scalar second) {
  uint16_t half[2];
  dtype_store(DT_bf16, half, 0, first.f);
  dtype_store(DT_bf16, half, 1, second.f);
  return (int32_t)((uint32_t)half[1] << 16 | half[0]);
}

static float half_of(Scalar both, int which) {
  uint16_t half = (uint16_t)((uint32_t)both.i >> (which ? 16 : 0));
  return (float)dtype_load(DT_bf16, &half, 0);
}

static float dot2(Scalar a, Scalar b, float sum) {
  return fmaf(half_of(a, 1), half_of(b, 1), fmaf(half_of(a, 0), half_of(b, 0), sum));
}

Scalar kop_eval(Kop kop, Dtype operand, Dtype result_type, const Scalar *args) {
  const KopInfo *info = &kop_info[kop];
  Scalar result = {.i = 0};
  switch (info->kind) {
  case KOP_COMPARE: result.f = compare(kop, operand, args[0], args[1]) ? 1.0f : 0.0f; return result;
  case KOP_SELECT: return args[0].f != 0.0f ? args[1] : args[2];
  case KOP_CAST:
    return kop == K_bits ? reinterpret(operand, result_type, args[0])
                         : cast(operand, result_type, args[0]);
  case KOP_MMA: FAULT("%s is no op of one thread", info->name);
  case KOP_PAIR: result.i = pair(args[0], args[1]); return result;
  case KOP_DOT: result.f = dot2(args[0], args[1], args[2].f); return result;
  case KOP_HORIZONTAL:
  case KOP_SPLAT: return args[0]; /* of a vector of one */
  case KOP_PLAIN: break;
  }
  if (dtype_is_float(operand))
    result.f = narrow(operand, float_op(kop, args[0].f, info->arity > 1 ? args[1].f : 0,
                                        info->arity > 2 ? args[2].f : 0));
  else
    result.i = wrap(operand, int_op(kop, args[0].i, info->arity > 1 ? args[1].i : 0,
                                    8 * (int)dtype_size(operand)));
  return result;
}
