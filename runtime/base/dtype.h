/* Element types and dense shapes, shared by compiler and runtime. */
#ifndef TRICOT_BASE_DTYPE_H
#define TRICOT_BASE_DTYPE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum Dtype {
#define DTYPE(name, bytes, st, is_float) DT_##name,
#include "dtype.def"
#undef DTYPE
  DT_COUNT
} Dtype;

enum { MAX_RANK = 8 };

/* A dense row-major tensor type. rank 0 is a scalar of one element. */
typedef struct Type {
  Dtype dtype;
  int rank;
  int64_t dim[MAX_RANK];
} Type;

size_t dtype_size(Dtype dtype);
bool dtype_is_float(Dtype dtype);
const char *dtype_name(Dtype dtype);             /* "f32" */
const char *dtype_safetensors_name(Dtype dtype); /* "F32" */
bool dtype_from_name(const char *name, Dtype *dtype);
bool dtype_from_safetensors_name(const char *name, Dtype *dtype);

int64_t type_elements(const Type *type);
size_t type_bytes(const Type *type);
bool type_equal(const Type *a, const Type *b);
/* "f32[2,3]" into a rotating static buffer: for messages only. */
const char *type_text(const Type *type);

/* One element read or written as double / int64 (for oracles and converters, not for hot loops). */
double dtype_load(Dtype dtype, const void *data, int64_t index);
void dtype_store(Dtype dtype, void *data, int64_t index, double value);
#endif
