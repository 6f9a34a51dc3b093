/* Scalar and vector ops in LLVM, each bit for bit what kop_eval says (NaN payloads aside).
 *
 * No fast-math flags anywhere. f16 and bf16 arithmetic is done in f32 and rounded after each op.
 * bf16 values are i16 bit patterns: LLVM would call a library for their conversion on most CPUs.
 * max and min are a comparison and a choice, which x86 has as one instruction.
 */
#include "codegen/llvm_walk.h"
#include <math.h>
#include <string.h>

enum { MOST_LANES = 64 };

/* ---- types and numbers ---- */

static LLVMTypeRef scalar_type(const Walk *walk, Dtype dtype) {
  switch (dtype) {
  case DT_f32: return walk->f32;
  case DT_f64: return LLVMDoubleTypeInContext(walk->context);
  case DT_f16: return LLVMHalfTypeInContext(walk->context);
  default: return LLVMIntTypeInContext(walk->context, 8 * (unsigned)dtype_size(dtype));
  }
}

LLVMTypeRef walk_type(const Walk *walk, Dtype dtype, int width) {
  LLVMTypeRef type = scalar_type(walk, dtype);
  return width > 1 ? LLVMVectorType(type, (unsigned)width) : type;
}

static LLVMValueRef constant_splat(LLVMValueRef scalar, int width) {
  LLVMValueRef lanes[MOST_LANES];
  if (width <= 1)
    return scalar;
  CHECK(width <= MOST_LANES);
  for (int i = 0; i < width; i++)
    lanes[i] = scalar;
  return LLVMConstVector(lanes, (unsigned)width);
}

static LLVMValueRef integer(const Walk *walk, Dtype dtype, int width, int64_t number) {
  return constant_splat(LLVMConstInt(scalar_type(walk, dtype), (unsigned long long)number, true),
                        width);
}

LLVMValueRef walk_number(const Walk *walk, double number, Dtype dtype, int width) {
  LLVMTypeRef type = scalar_type(walk, dtype);
  unsigned char cell[8];
  int16_t bits;
  if (dtype == DT_bf16) {
    dtype_store(dtype, cell, 0, number);
    memcpy(&bits, cell, 2);
    return integer(walk, DT_i16, width, bits);
  }
  if (!dtype_is_float(dtype))
    return integer(walk, dtype, width, (int64_t)number);
  if (dtype == DT_f32)
    number = (float)number;
  return constant_splat(LLVMConstReal(type, number), width);
}

LLVMValueRef walk_splat(Walk *walk, LLVMValueRef scalar, int width) {
  if (width <= 1)
    return scalar;
  if (LLVMIsConstant(scalar))
    return constant_splat(scalar, width);
  LLVMTypeRef type = LLVMVectorType(LLVMTypeOf(scalar), (unsigned)width);
  LLVMValueRef vector = LLVMBuildInsertElement(walk->builder, LLVMGetPoison(type), scalar,
                                               LLVMConstInt(walk->i32, 0, false), "");
  return LLVMBuildShuffleVector(walk->builder, vector, LLVMGetPoison(type),
                                LLVMConstNull(LLVMVectorType(walk->i32, (unsigned)width)), "");
}

LLVMValueRef walk_lane_numbers(const Walk *walk, LLVMTypeRef type, int width) {
  LLVMValueRef lanes[MOST_LANES];
  CHECK(width > 1 && width <= MOST_LANES && walk->i32);
  for (int i = 0; i < width; i++)
    lanes[i] = LLVMConstInt(type, (unsigned)i, false);
  return LLVMConstVector(lanes, (unsigned)width);
}

/* ---- casts ---- */

static LLVMValueRef bits_to_float(Walk *walk, LLVMValueRef bits, int width) {
  LLVMValueRef wide = LLVMBuildZExt(walk->builder, bits, walk_type(walk, DT_i32, width), "");
  wide = LLVMBuildShl(walk->builder, wide, integer(walk, DT_i32, width, 16), "");
  return LLVMBuildBitCast(walk->builder, wide, walk_type(walk, DT_f32, width), "");
}

/* Nearest even on the bits; a NaN keeps its upper bits and is made quiet. */
static LLVMValueRef float_to_bits(Walk *walk, LLVMValueRef value, int width) {
  LLVMBuilderRef builder = walk->builder;
  LLVMValueRef bits = LLVMBuildBitCast(builder, value, walk_type(walk, DT_i32, width), "");
  LLVMValueRef upper = LLVMBuildLShr(builder, bits, integer(walk, DT_i32, width, 16), "");
  LLVMValueRef odd = LLVMBuildAnd(builder, upper, integer(walk, DT_i32, width, 1), "");
  LLVMValueRef sum = LLVMBuildAdd(builder, bits, integer(walk, DT_i32, width, 0x7FFF), "");
  sum = LLVMBuildAdd(builder, sum, odd, "");
  sum = LLVMBuildLShr(builder, sum, integer(walk, DT_i32, width, 16), "");
  LLVMValueRef quiet = LLVMBuildOr(builder, upper, integer(walk, DT_i32, width, 64), "");
  LLVMValueRef is_nan = LLVMBuildFCmp(builder, LLVMRealUNO, value, value, "");
  LLVMValueRef chosen = LLVMBuildSelect(builder, is_nan, quiet, sum, "");
  return LLVMBuildTrunc(builder, chosen, walk_type(walk, DT_i16, width), "");
}

static LLVMValueRef widen(Walk *walk, LLVMValueRef value, Dtype from, int width) {
  switch (from) {
  case DT_f32: return value;
  case DT_f16: return LLVMBuildFPExt(walk->builder, value, walk_type(walk, DT_f32, width), "");
  case DT_f64: return LLVMBuildFPTrunc(walk->builder, value, walk_type(walk, DT_f32, width), "");
  case DT_bf16: return bits_to_float(walk, value, width);
  default: FAULT("%s is no float", dtype_name(from));
  }
}

static LLVMValueRef narrow(Walk *walk, LLVMValueRef value, Dtype to, int width) {
  switch (to) {
  case DT_f32: return value;
  case DT_f16: return LLVMBuildFPTrunc(walk->builder, value, walk_type(walk, DT_f16, width), "");
  case DT_f64: return LLVMBuildFPExt(walk->builder, value, walk_type(walk, DT_f64, width), "");
  case DT_bf16: return float_to_bits(walk, value, width);
  default: FAULT("%s is no float", dtype_name(to));
  }
}

/* Truncation that ends at the type's limits, NaN at 0. */
static LLVMValueRef float_to_integer(Walk *walk, LLVMValueRef value, Dtype to, int width) {
  const char *name = to == DT_u8 ? "llvm.fptoui.sat" : "llvm.fptosi.sat";
  unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
  LLVMTypeRef overload[] = {walk_type(walk, to, width), LLVMTypeOf(value)};
  LLVMValueRef callee = LLVMGetIntrinsicDeclaration(walk->module, id, overload, 2);
  LLVMTypeRef signature = LLVMIntrinsicGetType(walk->context, id, overload, 2);
  return LLVMBuildCall2(walk->builder, signature, callee, &value, 1, "");
}

LLVMValueRef walk_cast(Walk *walk, LLVMValueRef value, Dtype from, Dtype to, int width) {
  LLVMBuilderRef builder = walk->builder;
  LLVMTypeRef type = walk_type(walk, to, width);
  if (from == to)
    return value;
  if (dtype_is_float(from)) {
    value = widen(walk, value, from, width);
    return dtype_is_float(to) ? narrow(walk, value, to, width)
                              : float_to_integer(walk, value, to, width);
  }
  if (dtype_is_float(to)) {
    LLVMTypeRef single = walk_type(walk, DT_f32, width);
    value = from == DT_u8 ? LLVMBuildUIToFP(builder, value, single, "")
                          : LLVMBuildSIToFP(builder, value, single, "");
    return narrow(walk, value, to, width);
  }
  if (dtype_size(to) <= dtype_size(from))
    return dtype_size(to) == dtype_size(from) ? value : LLVMBuildTrunc(builder, value, type, "");
  return from == DT_u8 ? LLVMBuildZExt(builder, value, type, "")
                       : LLVMBuildSExt(builder, value, type, "");
}

/* ---- plain ops ---- */

static LLVMValueRef compare(Walk *walk, Kop kop, Dtype dtype, LLVMValueRef a, LLVMValueRef b) {
  bool is_unsigned = dtype == DT_u8;
  if (dtype_is_float(dtype))
    return LLVMBuildFCmp(walk->builder,
                         kop == K_max  ? LLVMRealOGT
                         : kop == K_le ? LLVMRealOLE
                         : kop == K_eq ? LLVMRealOEQ
                                       : LLVMRealOLT,
                         a, b, "");
  LLVMIntPredicate predicate = kop == K_eq    ? LLVMIntEQ
                               : kop == K_max ? (is_unsigned ? LLVMIntUGT : LLVMIntSGT)
                               : kop == K_le  ? (is_unsigned ? LLVMIntULE : LLVMIntSLE)
                                              : (is_unsigned ? LLVMIntULT : LLVMIntSLT);
  return LLVMBuildICmp(walk->builder, predicate, a, b, "");
}

static LLVMValueRef float_op(Walk *walk, Kop kop, const LLVMValueRef *x) {
  LLVMBuilderRef builder = walk->builder;
  LLVMValueRef arguments[MAX_KOP_ARGS] = {x[0], x[1], x[2]};
  const KopInfo *info = &kop_info[kop];
  switch (kop) {
  case K_add: return LLVMBuildFAdd(builder, x[0], x[1], "");
  case K_sub: return LLVMBuildFSub(builder, x[0], x[1], "");
  case K_mul: return LLVMBuildFMul(builder, x[0], x[1], "");
  case K_div: return LLVMBuildFDiv(builder, x[0], x[1], "");
  case K_neg: return LLVMBuildFNeg(builder, x[0], "");
  case K_max:
  case K_min:
    return LLVMBuildSelect(builder, compare(walk, kop, DT_f32, x[0], x[1]), x[0], x[1], "");
  default: break;
  }
  if (strncmp(info->llvm_float, "call:", 5) != 0)
    FAULT("%s: %s on floats should have been expanded", walk->kernel->name, info->name);
  return walk_intrinsic(walk, info->llvm_float + 5, LLVMTypeOf(x[0]), arguments, info->arity);
}

/* A shift by the width or more gives zeros, or all sign; LLVM leaves it open. */
static LLVMValueRef shift(Walk *walk, Kop kop, Dtype dtype, int width, const LLVMValueRef *x) {
  LLVMBuilderRef builder = walk->builder;
  int bits = 8 * (int)dtype_size(dtype);
  LLVMValueRef last = integer(walk, dtype, width, bits - 1);
  LLVMValueRef fits = LLVMBuildICmp(builder, LLVMIntULE, x[1], last, "");
  LLVMValueRef by = LLVMBuildSelect(builder, fits, x[1], last, "");
  if (kop == K_shr && dtype != DT_u8)
    return LLVMBuildAShr(builder, x[0], by, "");
  LLVMValueRef moved =
      kop == K_shr ? LLVMBuildLShr(builder, x[0], by, "") : LLVMBuildShl(builder, x[0], by, "");
  return LLVMBuildSelect(builder, fits, moved, integer(walk, dtype, width, 0), "");
}

static LLVMValueRef integer_op(Walk *walk, Kop kop, Dtype dtype, int width, const LLVMValueRef *x) {
  LLVMBuilderRef builder = walk->builder;
  LLVMValueRef zero = integer(walk, dtype, width, 0);
  switch (kop) {
  case K_add: return LLVMBuildAdd(builder, x[0], x[1], "");
  case K_sub: return LLVMBuildSub(builder, x[0], x[1], "");
  case K_mul: return LLVMBuildMul(builder, x[0], x[1], "");
  case K_and: return LLVMBuildAnd(builder, x[0], x[1], "");
  case K_or: return LLVMBuildOr(builder, x[0], x[1], "");
  case K_shl:
  case K_shr: return shift(walk, kop, dtype, width, x);
  case K_neg: return LLVMBuildNeg(builder, x[0], "");
  case K_abs:
    return LLVMBuildSelect(builder, compare(walk, K_lt, dtype, x[0], zero),
                           LLVMBuildNeg(builder, x[0], ""), x[0], "");
  case K_max:
  case K_min:
    return LLVMBuildSelect(builder, compare(walk, kop, dtype, x[0], x[1]), x[0], x[1], "");
  default:
    FAULT("%s: %s on integers should have been expanded", walk->kernel->name, kop_info[kop].name);
  }
}

static LLVMValueRef plain_op(Walk *walk, Kop kop, Dtype dtype, int width, const LLVMValueRef *x) {
  LLVMValueRef wide[MAX_KOP_ARGS] = {NULL};
  if (!dtype_is_float(dtype))
    return integer_op(walk, kop, dtype, width, x);
  CHECK(dtype != DT_f64); /* stored and converted only */
  for (int i = 0; i < kop_info[kop].arity; i++)
    wide[i] = widen(walk, x[i], dtype, width);
  return narrow(walk, float_op(walk, kop, wide), dtype, width);
}

/* ---- between lanes ---- */

static LLVMValueRef lanes_from(Walk *walk, LLVMValueRef vector, int first, int count) {
  LLVMValueRef numbers[MOST_LANES];
  if (count == 1)
    return LLVMBuildExtractElement(walk->builder, vector,
                                   LLVMConstInt(walk->i32, (unsigned)first, false), "");
  for (int i = 0; i < count; i++)
    numbers[i] = LLVMConstInt(walk->i32, (unsigned)(first + i), false);
  return LLVMBuildShuffleVector(walk->builder, vector, LLVMGetPoison(LLVMTypeOf(vector)),
                                LLVMConstVector(numbers, (unsigned)count), "");
}

static LLVMValueRef horizontal(Walk *walk, Kop kop, Dtype dtype, int width, LLVMValueRef vector) {
  Kop step = kop == K_hadd ? K_add : kop == K_hmax ? K_max : K_min;
  CHECK(width <= MOST_LANES && (width & (width - 1)) == 0);
  for (int half = width / 2; half >= 1; half /= 2) {
    LLVMValueRef halves[MAX_KOP_ARGS] = {lanes_from(walk, vector, 0, half),
                                         lanes_from(walk, vector, half, half)};
    vector = plain_op(walk, step, dtype, half, halves);
  }
  return vector;
}

/* Lanes of two vectors in turns: first, second, first, … */
static LLVMValueRef take_turns(Walk *walk, int width, LLVMValueRef first, LLVMValueRef second) {
  LLVMValueRef numbers[2 * MOST_LANES];
  for (int i = 0; i < width; i++) {
    numbers[2 * i] = LLVMConstInt(walk->i32, (unsigned)i, false);
    numbers[2 * i + 1] = LLVMConstInt(walk->i32, (unsigned)(width + i), false);
  }
  LLVMValueRef order = LLVMConstVector(numbers, 2 * (unsigned)width);
  return LLVMBuildBitCast(walk->builder,
                          LLVMBuildShuffleVector(walk->builder, first, second, order, ""),
                          walk_type(walk, DT_i32, width), "");
}

/* Two vectors of 16 f32, rounded by one instruction that puts one behind the other. */
static LLVMValueRef pair_rounded(Walk *walk, const LLVMValueRef *x) {
  LLVMValueRef arguments[] = {x[1], x[0]}; /* the second lies lower */
  LLVMValueRef both =
      walk_intrinsic(walk, "llvm.x86.avx512bf16.cvtne2ps2bf16.512", NULL, arguments, 2);
  LLVMTypeRef halves = walk_type(walk, DT_i16, 32); /* by LLVM's version it is of bfloat */
  both = LLVMBuildBitCast(walk->builder, both, halves, "");
  return take_turns(walk, 16, both, LLVMGetPoison(halves));
}

static LLVMValueRef pair_lanes(Walk *walk, int width, const LLVMValueRef *x) {
  LLVMBuilderRef builder = walk->builder;
  LLVMTypeRef whole = walk_type(walk, DT_i32, width);
  if (width == 1) {
    LLVMValueRef low = LLVMBuildZExt(builder, x[0], whole, "");
    LLVMValueRef high = LLVMBuildZExt(builder, x[1], whole, "");
    high = LLVMBuildShl(builder, high, integer(walk, DT_i32, 1, 16), "");
    return LLVMBuildOr(builder, high, low, "");
  }
  return take_turns(walk, width, x[0], x[1]);
}

static LLVMValueRef dot_of_pairs(Walk *walk, int width, const LLVMValueRef *x) {
  static const char *const names[] = {"llvm.x86.avx512bf16.dpbf16ps.128",
                                      "llvm.x86.avx512bf16.dpbf16ps.256",
                                      "llvm.x86.avx512bf16.dpbf16ps.512"};
  CHECK(width == 4 || width == 8 || width == 16);
  const char *name = names[width / 8];
  unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
  LLVMTypeRef signature = LLVMIntrinsicGetType(walk->context, id, NULL, 0), takes[3];
  LLVMGetParamTypes(signature, takes); /* vectors of i32 or of bfloat, by LLVM's version */
  LLVMValueRef arguments[] = {x[2], LLVMBuildBitCast(walk->builder, x[0], takes[1], ""),
                              LLVMBuildBitCast(walk->builder, x[1], takes[2], "")};
  return walk_intrinsic(walk, name, NULL, arguments, 3);
}

LLVMValueRef walk_kop(Walk *walk, Kop kop, Dtype operand, Dtype result, int width,
                      const LLVMValueRef *x) {
  LLVMBuilderRef builder = walk->builder;
  LLVMValueRef condition;
  switch (kop_info[kop].kind) {
  case KOP_PLAIN: return plain_op(walk, kop, operand, width, x);
  case KOP_COMPARE: {
    LLVMValueRef a = x[0], b = x[1];
    if (dtype_is_float(operand)) {
      a = widen(walk, a, operand, width);
      b = widen(walk, b, operand, width);
    }
    condition = compare(walk, kop, operand, a, b);
    return LLVMBuildSelect(builder, condition, walk_number(walk, 1, DT_f32, width),
                           walk_number(walk, 0, DT_f32, width), "");
  }
  case KOP_SELECT:
    condition = LLVMBuildFCmp(builder, LLVMRealUNE, x[0], walk_number(walk, 0, DT_f32, width), "");
    return LLVMBuildSelect(builder, condition, x[1], x[2], "");
  case KOP_CAST:
    return kop == K_cast ? walk_cast(walk, x[0], operand, result, width)
                         : LLVMBuildBitCast(builder, x[0], walk_type(walk, result, width), "");
  case KOP_PAIR:
    if (operand == DT_f32 && width == 16)
      return pair_rounded(walk, x);
    return pair_lanes(walk, width,
                      (LLVMValueRef[]){walk_cast(walk, x[0], operand, DT_bf16, width),
                                       walk_cast(walk, x[1], operand, DT_bf16, width)});
  case KOP_MMA: FAULT("%s belongs to warps, of which CPUs have none", "mma");
  case KOP_DOT: return dot_of_pairs(walk, width, x);
  case KOP_HORIZONTAL: return horizontal(walk, kop, operand, width, x[0]);
  case KOP_SPLAT: break;
  }
  FAULT("%s cannot be spelled", kop_info[kop].name);
}
