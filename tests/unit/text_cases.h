/* Small tools for tests of generated code: cells of any type, LOOP kernels by hand, comparison. */
#ifndef TRICOT_TEST_TEXT_CASES_H
#define TRICOT_TEST_TEXT_CASES_H
#include "codegen/emit.h"
#include <math.h>
#include <string.h>

static inline Scalar cell_get(Dtype dtype, const void *data, int64_t i) {
  Scalar x = {.i = 0};
  switch (dtype) {
  case DT_f32: x.f = ((const float *)data)[i]; break;
  case DT_i64: x.i = ((const int64_t *)data)[i]; break;
  case DT_i32: x.i = ((const int32_t *)data)[i]; break;
  case DT_i16: x.i = ((const int16_t *)data)[i]; break;
  case DT_i8: x.i = ((const int8_t *)data)[i]; break;
  case DT_u8: x.i = ((const uint8_t *)data)[i]; break;
  default: FAULT("no cells of %s", dtype_name(dtype));
  }
  return x;
}

static inline void cell_put(Dtype dtype, void *data, int64_t i, Scalar x) {
  switch (dtype) {
  case DT_f32: ((float *)data)[i] = x.f; break;
  case DT_i64: ((int64_t *)data)[i] = x.i; break;
  case DT_i32: ((int32_t *)data)[i] = (int32_t)x.i; break;
  case DT_i16: ((int16_t *)data)[i] = (int16_t)x.i; break;
  case DT_i8: ((int8_t *)data)[i] = (int8_t)x.i; break;
  case DT_u8: ((uint8_t *)data)[i] = (uint8_t)x.i; break;
  default: FAULT("no cells of %s", dtype_name(dtype));
  }
}

/* The same bits, or both NaN (whose sign and payload no target promises). */
static inline bool cell_same(Dtype dtype, Scalar a, Scalar b) {
  if (dtype != DT_f32)
    return a.i == b.i;
  return (isnan(a.f) && isnan(b.f)) || memcmp(&a.f, &b.f, 4) == 0;
}

static inline Type vector_type(Dtype dtype, int64_t elements) {
  return (Type){.dtype = dtype, .rank = 1, .dim = {elements}};
}

static inline KValue *add_load(Kernel *k, Block *block, Buffer *buffer, Affine at, int width) {
  Stmt *s = stmt_add(k, block, STMT_LOAD);
  s->buffer = buffer;
  s->at = at;
  return s->value = kernel_value(k, buffer->type.dtype, width);
}

static inline Stmt *add_store(Kernel *k, Block *block, Buffer *buffer, Affine at, KValue *value) {
  Stmt *s = stmt_add(k, block, STMT_STORE);
  s->buffer = buffer;
  s->at = at;
  s->value_arg[0] = value;
  return s;
}

static inline void add_guard(Kernel *k, Stmt *stmt, Affine value, int64_t extent, int64_t modulus) {
  Guard guard = {value, extent, modulus};
  vec_push(k->arena, &stmt->guards, guard);
}

/* Values that find mistakes first, then ordinary ones. */
static inline void fill_cells(Dtype dtype, void *data, int64_t count, uint64_t seed) {
  static const float floats[] = {0.0f,    -0.0f,  1.0f,     -1.0f,  0.5f,      -2.5f,  1e-40f,
                                 INFINITY, -INFINITY, NAN,   3e9f,   -3e9f,     1e19f,  -1e19f,
                                 127.5f,  -128.5f, 255.7f,  32767.5f, 1.5f,    -0.3f,  3.4e38f};
  static const int64_t integers[] = {0, 1, -1, INT64_MAX, INT64_MIN, INT32_MAX, INT32_MIN, 32767,
                                     -32768, 127, -128, 255, 100000, 7, -13};
  int n_floats = sizeof floats / sizeof *floats, n_integers = sizeof integers / sizeof *integers;
  uint64_t state = seed * 2 + 1;
  for (int64_t i = 0; i < count; i++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    uint64_t bits = state >> 24;
    Scalar x = {.i = 0};
    if (dtype == DT_f32)
      x.f = bits % 4 == 0 ? floats[bits / 4 % (uint64_t)n_floats]
                          : (float)((double)(bits % 2000003) / 1e5 - 10);
    else
      x.i = bits % 2 == 0 ? integers[bits / 2 % (uint64_t)n_integers] : (int64_t)(bits % 401) - 200;
    cell_put(dtype, data, i, x);
  }
}
#endif
