/* What a model file may cost before it is refused: far above any real model, far below trouble. */
#ifndef TRICOT_FRONTEND_LIMITS_H
#define TRICOT_FRONTEND_LIMITS_H
enum {
  EVALUATION_MAX = 4000000, /* expressions evaluated for one graph */
  RECURSION_MAX = 1200,     /* nested expressions, steps and calls */
  CALL_MAX = 64,            /* nested module calls */
  LIST_MAX = 100000,
  IMPORT_MAX = 16 /* files that import each other, deep */
};
#endif
