/* What a model file may cost before it is refused: far above any real model, far below trouble. */
#ifndef TRICOT_FRONTEND_LIMITS_H
#define TRICOT_FRONTEND_LIMITS_H
#include <stdint.h>

enum {
  EVALUATION_MAX = 4000000, /* expressions evaluated for one graph */
  RECURSION_MAX = 1200,     /* nested expressions, steps and calls */
  CALL_MAX = 64,            /* nested module calls */
  LIST_MAX = 100000,
  IMPORT_MAX = 16 /* files that import each other, deep */
};
/* tensors: products of a dimension and an attribute stay far from 64 bits */
#define DIMENSION_MAX ((int64_t)1 << 31)
#define ELEMENTS_MAX ((int64_t)1 << 48)
#define ATTRIBUTE_MAX ((int64_t)1 << 31)
#endif
