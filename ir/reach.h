/* Which elements of a graph's inputs can influence its outputs.
 *
 * A Reach is a set of indices of a tensor, described from above: a union of boxes, each a product
 * of arithmetic sequences, one an axis. Nothing outside the boxes is read; an index inside them may
 * turn out not to matter. The boxes follow from shapes and attributes alone, never from values.
 */
#ifndef TRICOT_IR_REACH_H
#define TRICOT_IR_REACH_H
#include "ir/graph.h"

enum { REACH_BOXES = 64 };

typedef struct ReachBox { /* indices start + i*step, 0 <= i < count, on every axis */
  int64_t start[MAX_RANK], step[MAX_RANK], count[MAX_RANK];
} ReachBox;

typedef struct Reach {
  Type type;           /* of the tensor */
  VEC(ReachBox) boxes; /* none within another; none: nothing is read */
} Reach;

/* By number of the graph's inputs. Arena memory. */
Reach *graph_reach(const Graph *graph, Arena *arena);
/* How many indices are in the set. */
int64_t reach_elements(const Reach *reach);
bool reach_has(const Reach *reach, const int64_t *index);

/* ---- for rules about ops (ir/reach_ops.c) ---- */

/* Boxes beyond REACH_BOXES are joined with all others. */
void reach_add(Arena *arena, Reach *reach, const ReachBox *box);
void reach_add_all(Arena *arena, Reach *reach);
bool reach_is_all(const Reach *reach); /* in one box */
/* What the node reads of its operands when `out` is needed of its results: adds to in[i], one for
 * each operand. */
void node_reach(const Node *node, const Reach *const *out, Reach *const *in, Arena *arena);
#endif
