/* Canonicalisation of views, reductions and matrix products. See canon.h.
 *
 * Normal form: one view where several follow each other; broadcasts stand below (after) reshapes
 * and permutes, so that those act on the small tensor; reshapes stand below elementwise ops, where
 * they meet the next reshape; a permute that only moves axes of size 1 is a reshape.
 */
#include "passes/graph/canon.h"
#include <string.h>

static bool same_dims(const Type *a, const Type *b) {
  return a->rank == b->rank && memcmp(a->dim, b->dim, sizeof *a->dim * (size_t)a->rank) == 0;
}

/* ---- reshape ---- */

/* reshape(broadcast y) as broadcast(reshape y), or NULL. */
static Value *reshape_broadcast(Builder *b, Value *x, const Type *seen) {
  const Node *stretch = made_by(x, "broadcast");
  Type small;
  if (!stretch || !see_before_stretch(&stretch->in[0]->type, &x->type, seen, &small))
    return NULL;
  Value *y = build_reshape(b, stretch->in[0], small.rank, small.dim);
  return build_broadcast(b, y, seen->rank, seen->dim);
}

static Value *simplify_reshape(Builder *b, Value *x, const Type *seen) {
  double c;
  if (same_dims(&x->type, seen))
    return x;
  if (is_splat(x, &c))
    return build_constant(b, c, *seen);
  const Node *inner = made_by(x, "reshape");
  if (inner)
    return build_reshape(b, inner->in[0], seen->rank, seen->dim);
  return reshape_broadcast(b, x, seen);
}

/* An elementwise op over reshapes of one shape works on that shape: the reshape moves below it. */
static Value *below_reshapes(Builder *b, const Node *old, Value *const *in) {
  const Type *source = NULL;
  for (int i = 0; i < old->n_in; i++) {
    const Node *node = made_by(in[i], "reshape");
    if (node && source && !same_dims(source, &node->in[0]->type))
      return NULL;
    if (node)
      source = &node->in[0]->type;
  }
  if (!source)
    return NULL;
  Value *operands[4];
  for (int i = 0; i < old->n_in; i++) {
    Type type = *source;
    type.dtype = in[i]->type.dtype;
    const Node *node = made_by(in[i], "reshape");
    double c;
    if (node)
      operands[i] = node->in[0];
    else if (is_splat(in[i], &c))
      operands[i] = build_constant(b, c, type);
    else
      operands[i] = reshape_broadcast(b, in[i], &type);
    if (!operands[i])
      return NULL;
  }
  Node *node = build_node_attrs(b, old->op, old->n_in, operands, old->attrs);
  const Type *full = &old->out[0].type;
  return build_reshape(b, &node->out[0], full->rank, full->dim);
}

/* ---- permute, broadcast, slice ---- */

static Value *simplify_permute(Builder *b, Value *x, const int64_t *perm, const Type *result) {
  double c;
  int64_t joined[MAX_RANK];
  if (is_splat(x, &c))
    return build_constant(b, c, *result);
  if (moves_nothing(&x->type, perm))
    return build_reshape(b, x, result->rank, result->dim);
  const Node *inner = made_by(x, "permute");
  if (inner) {
    const int64_t *first = node_ints(inner, "perm", NULL);
    for (int i = 0; i < result->rank; i++)
      joined[i] = first[perm[i]];
    return build_permute(b, inner->in[0], joined);
  }
  inner = made_by(x, "broadcast");
  if (inner)
    return build_broadcast(b, build_move(b, inner->in[0], perm), result->rank, result->dim);
  return NULL;
}

static Value *simplify_broadcast(Builder *b, Value *x, const Type *result) {
  double c;
  if (same_dims(&x->type, result))
    return x;
  if (is_splat(x, &c))
    return build_constant(b, c, *result);
  const Node *inner = made_by(x, "broadcast");
  return inner ? build_broadcast(b, inner->in[0], result->rank, result->dim) : NULL;
}

static Value *simplify_slice(Builder *b, const Node *old, Value *x) {
  double c;
  const Type *result = &old->out[0].type;
  if (same_dims(&x->type, result))
    return x;
  if (is_splat(x, &c))
    return build_constant(b, c, *result);
  const Node *inner = made_by(x, "slice");
  if (!inner)
    return NULL;
  int64_t start[MAX_RANK], stop[MAX_RANK], step[MAX_RANK];
  for (int i = 0; i < result->rank; i++) {
    int64_t inner_step = node_ints(inner, "step", NULL)[i];
    start[i] = node_ints(inner, "start", NULL)[i] + node_ints(old, "start", NULL)[i] * inner_step;
    step[i] = node_ints(old, "step", NULL)[i] * inner_step;
    stop[i] = start[i] + (result->dim[i] - 1) * step[i] + 1;
  }
  return &build_node(b, "slice", 1, &inner->in[0], "start", result->rank, start, "stop",
                     result->rank, stop, "step", result->rank, step, NULL)
              ->out[0];
}

static Value *simplify_pad(const Node *old, Value *x) {
  return same_dims(&x->type, &old->out[0].type) ? x : NULL;
}

/* ---- reductions and products ---- */

/* Over axes of size 1 nothing is folded; two reductions of one kind are one. Not so variances. */
static Value *simplify_reduce(Builder *b, const Node *old, Value *x) {
  if (strcmp(old->op->name, "variance") == 0)
    return NULL;
  if (same_dims(&x->type, &old->out[0].type))
    return x;
  const Node *inner = made_by(x, old->op->name);
  if (!inner)
    return NULL;
  int64_t axes[MAX_RANK];
  int count = 0;
  for (int i = 0; i < x->type.rank; i++)
    if (inner->in[0]->type.dim[i] != old->out[0].type.dim[i])
      axes[count++] = i;
  return build_reduce(b, old->op->name, inner->in[0], count, axes);
}

/* The operand of a permute that swaps the last two axes only, or NULL. */
static Value *transposed(const Value *x) {
  const Node *node = made_by(x, "permute");
  if (!node)
    return NULL;
  const int64_t *perm = node_ints(node, "perm", NULL);
  int rank = x->type.rank;
  for (int i = 0; i + 2 < rank; i++)
    if (perm[i] != i)
      return NULL;
  return perm[rank - 1] == rank - 2 ? node->in[0] : NULL;
}

static Value *simplify_matmul(Builder *b, const Node *old, Value *const *in) {
  bool one = in[1]->type.rank < in[0]->type.rank; /* matrix: its left operand stays as it is */
  Value *x = one ? NULL : transposed(in[0]), *y = transposed(in[1]);
  if (!x && !y)
    return NULL;
  return build_matmul(b, x ? x : in[0], y ? y : in[1], node_int(old, "ta") ^ (x != NULL),
                      node_int(old, "tb") ^ (y != NULL));
}

Value *canon_view(Builder *b, const Node *old, Value *const *in) {
  const char *op = old->op->name;
  const Type *result = &old->out[0].type;
  if (old->op->cls == OP_EW)
    return below_reshapes(b, old, in);
  if (old->op->cls == OP_REDUCE)
    return simplify_reduce(b, old, in[0]);
  if (strcmp(op, "reshape") == 0)
    return simplify_reshape(b, in[0], result);
  if (strcmp(op, "permute") == 0)
    return simplify_permute(b, in[0], node_ints(old, "perm", NULL), result);
  if (strcmp(op, "broadcast") == 0)
    return simplify_broadcast(b, in[0], result);
  if (strcmp(op, "slice") == 0)
    return simplify_slice(b, old, in[0]);
  if (strcmp(op, "concat") == 0)
    return old->n_in == 1 ? in[0] : NULL;
  if (strcmp(op, "pad") == 0)
    return simplify_pad(old, in[0]);
  if (strcmp(op, "matmul") == 0)
    return simplify_matmul(b, old, in);
  return NULL;
}
