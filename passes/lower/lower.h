/* Lowering: one region of the graph to one kernel, or a few, in the TILE stage.
 *
 * Templates by what anchors the region:
 *   rows         elementwise ops, views, folds over the columns           (rows.c)
 *   fold         folds over rows: strips of partial results, then a finish (fold.c)
 *   contraction  sums of products on register tiles, then the epilogue     (contraction.c)
 *   window       per-channel folds over taps, then the epilogue            (window.c)
 *   chain        contractions on rows just computed                        (chain.c)
 *   terms        contractions side by side, whose results meet             (terms.c)
 *   attention    blocks of keys for each block of queries                  (attention.c)
 *   index, move  gathers, scatters, concat, pad                            (gather.c)
 * Epilogues and everything else elementwise are the same code for all (frame.c).
 */
#ifndef TRICOT_PASSES_LOWER_LOWER_H
#define TRICOT_PASSES_LOWER_LOWER_H
#include "ir/kernel.h"
#include "ir/op.h"
#include "ir/target.h"

/* What a kernel's argument is bound to. */
typedef struct LoweredArg {
  Value *value; /* a value of the graph: operand or result of the region node; or */
  int temp;     /* with value NULL: scratch tensor of this region, by number */
} LoweredArg;

typedef struct LoweredStep {
  Kernel *kernel;
  VEC(LoweredArg) args; /* in the order of the kernel's arguments */
} LoweredStep;

typedef struct Lowered {
  VEC(LoweredStep) steps; /* in execution order */
  VEC(Type) temps;        /* scratch that lives from the first to the last of these steps */
} Lowered;

/* The op that a region is named after: the last one that decides how it is lowered. */
const Node *region_anchor(const Node *region);
/* Can the kernel of this gradient of weights compute the rows it sums? */
bool weight_gradient_makes_rows(const Facts *facts, const Node *node);
/* `name` prefixes kernel names. */
void lower_region(const Node *region, const Facts *facts, Arena *arena, const char *name,
                  Lowered *out);
#endif
