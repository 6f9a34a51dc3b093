/* The two halves of canonicalisation; each tries its rules on one node whose operands are already
 * rewritten, and returns the simpler value or NULL. */
#ifndef TRICOT_PASSES_GRAPH_CANON_H
#define TRICOT_PASSES_GRAPH_CANON_H
#include "passes/graph/common.h"

Value *canon_elementwise(Builder *b, const Node *old, Value *const *in);
Value *canon_view(Builder *b, const Node *old, Value *const *in);
#endif
