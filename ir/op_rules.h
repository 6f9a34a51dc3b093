/* Declares every function that a row of ir/ops.def names: the rules in ir/ops/ include this header
 * and so does the table in ir/op.c, which keeps the two in step.
 */
#ifndef TRICOT_IR_OP_RULES_H
#define TRICOT_IR_OP_RULES_H
#include "ir/op.h"

/* Rows without an expansion say NULL; for the length of this list that is a name like any other. */
#pragma push_macro("NULL")
#undef NULL
#define OP(name, operands, results, cls, signature, shape, eval, grad, expand, flops, flags, doc)  \
  ShapeFn shape;                                                                                   \
  EvalFn eval;                                                                                     \
  GradFn grad;                                                                                     \
  ExpandFn expand;                                                                                 \
  FlopsFn flops;
#include "ir/ops.def"
#undef OP
#pragma pop_macro("NULL")
#endif
