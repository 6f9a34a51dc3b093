/* What graph passes share: small questions about values and graphs, and removal of dead nodes. */
#ifndef TRICOT_PASSES_GRAPH_COMMON_H
#define TRICOT_PASSES_GRAPH_COMMON_H
#include "ir/graph.h"
#include "ir/op.h"
#include "passes/pass.h"

/* True when every element of the value is one constant, which goes to *constant (may be NULL). */
bool is_splat(const Value *value, double *constant);
/* The value's node when it applies the op, else NULL. */
const Node *made_by(const Value *value, const char *op);
/* What a broadcast stretches when it gives every channel (axis 1) one number; else NULL. */
Value *channel_term(const Value *value);
/* A permute of x that changes the order of axes of size 1 only: a reshape in truth. */
bool moves_nothing(const Type *x, const int64_t *perm);
/* build_permute, but a reshape where that does it. */
Value *build_move(Builder *b, Value *x, const int64_t *perm);

/* A tensor of shape `small` is stretched to `full` and then seen as `seen`. Finds the shape in
 * which `small` can be seen so that stretching gives `seen` at once: groups of axes with equal
 * products must be stretched wholly or not at all. */
bool see_before_stretch(const Type *small, const Type *full, const Type *seen, Type *result);

/* Adds a persistent scalar or tensor that belongs to `owner` (stage, place), which may be NULL. */
Value *add_persistent(Graph *graph, const char *name, Role role, Type type,
                      const GraphInput *owner);
/* The parameter whose gradient ("grad.<p>") an output is, or NULL. */
const GraphInput *gradient_owner(const Graph *graph, const GraphOutput *output);

/* The same graph without nodes that no output needs. */
Graph *graph_without_dead(const Graph *graph, Arena *arena);
/* Copies feeds (OP_FEED) and the views through which they see their inputs. */
void graph_copy_feeds(GraphMap *map);
/* Expands composites that have all of these flags (0: all composites) until none is left. */
Graph *graph_expand(Graph *graph, Arena *arena, unsigned flags);
/* By value id: whether the value depends on graph inputs that are data (not parameters, buffers or
 * state), that is, changes from call to call. */
bool *graph_mark_data(const Graph *graph, Arena *arena);
/* Permutes of data that move memory: what the layout pass could not avoid. */
int graph_count_moves(const Graph *graph);
/* After fusion: a region of views alone, whose kernel does nothing but move elements. */
bool region_only_moves(const Node *region);
/* A region of views of one parameter or buffer that is the same at the next call: nothing updates
 * the parameter, or an output renews the view. */
bool region_is_kept(const Graph *graph, const Node *region);
/* Layout conversions between kernels: regions that only move, at each call. Views of persistent
 * tensors alone count in a graph that updates some, unless they are kept; else they are prepared
 * once. */
typedef struct Conversions {
  int data, parameters;
} Conversions;
Conversions graph_count_conversions(const Graph *graph);
/* "name permute 1,0 reshape 3,32,32": a chain of views and the input it starts from. Equal texts,
 * equal views. */
const char *view_chain_name(Arena *arena, const Graph *graph, const Value *value);

#define PASS(name, function, required, doc) PassFn function;
#include "passes/passes.def"
#undef PASS
#endif
