/* What the rules of the graph ops share: every function named in a row of ir/ops.def is declared
 * here, with the helpers that keep the rules short. Shape rules give bare messages: the builder
 * adds the op's name, the operands' types and the places that made them.
 *
 * Invariants the rules rely on: attributes are complete and in signature order; an eval rule sees
 * only nodes that passed their shape rule; its arrays are row-major doubles, results uninitialised.
 */
#ifndef TRICOT_IR_OPS_RULES_H
#define TRICOT_IR_OPS_RULES_H
#include "ir/op.h"

#define OP(name, n_in, n_out, cls, signature, shape, eval, grad, expand, flops, flags, doc)        \
  ShapeFn shape;                                                                                   \
  EvalFn eval;                                                                                     \
  GradFn grad;                                                                                     \
  FlopsFn flops;
#include "ir/ops.def"
#undef OP
/* most rows have no expansion, so these cannot come from the table */
ExpandFn expand_relu, expand_leaky_relu, expand_sigmoid, expand_gelu, expand_reduce_mean;
ExpandFn expand_batch_norm, expand_batch_norm_train, expand_layer_norm, expand_softmax;
ExpandFn expand_logsumexp, expand_l2_normalize, expand_contrastive_loss, expand_adamw;
ExpandFn expand_polyphase;

/* ---- shape rules ---- */

int64_t call_int(const OpCall *call, const char *name);
/* The integers of an attribute, after checking that there are `count` of them (-1: any number) and
 * none is below `least`. */
bool call_ints(const OpCall *call, const char *name, int count, int64_t least,
               const int64_t **ints, Error *error);
/* Refuses operand i (called `what`) unless it has exactly this type. */
bool want_type(const OpCall *call, int i, const char *what, const Type *type, Error *error);
bool want_float(const OpCall *call, int i, Error *error);
Type type_of(Dtype dtype, int rank, const int64_t *dim);

/* ---- evaluation ---- */

static inline const Type *in_type(const Node *node, int i) { return &node->in[i]->type; }
static inline const Type *out_type(const Node *node, int i) { return &node->out[i].type; }
/* Product of dim[from .. to). */
int64_t dim_product(const Type *type, int from, int to);
/* Row-major distances between neighbours along each axis. */
void type_strides(const Type *type, int64_t *stride);

/* Runs over all indices of a shape in row-major order, giving base + sum of index[i]*step[i]. */
typedef struct Walk {
  int rank;
  int64_t dim[MAX_RANK], step[MAX_RANK], index[MAX_RANK], at;
} Walk;
Walk walk_start(const Type *shape, int64_t base, const int64_t *step);
int64_t walk_next(Walk *walk); /* the offset of this element; moves to the next */

/* ---- gradients and expansions ---- */

static inline Value *plus(Builder *b, Value *x, Value *y) { return build_binary(b, "add", x, y); }
static inline Value *minus(Builder *b, Value *x, Value *y) { return build_binary(b, "sub", x, y); }
static inline Value *times(Builder *b, Value *x, Value *y) { return build_binary(b, "mul", x, y); }
static inline Value *over(Builder *b, Value *x, Value *y) { return build_binary(b, "div", x, y); }
/* x broadcast to the shape of `like` (numpy rules). */
Value *stretch(Builder *b, Value *x, const Type *like);
/* Mean over axes, from primitives alone: reduce_sum and a scale. */
Value *build_mean(Builder *b, Value *x, int n_axes, const int64_t *axes);
/* Zeros where the f32 condition is 0, else x. */
Value *keep_where(Builder *b, Value *condition, Value *x);
#endif
