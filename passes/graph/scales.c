/* Numbers by column leave large tensors: scales go into matrices, or wait until rows are summed.
 *
 *   (x * g) . W                       x . (g * W)             one matrix for all rows
 *   (x * g)^T . y                     g * (x^T . y)           sums over all rows
 *   sum of x * g                      g * (sum of x)
 *   sum of d * (a . W + b)            sum of W * (a^T . d) over a's columns, plus b * (sum of d)
 *
 * g and b are one number a column. The last is the gradient of a scale after a product: where the
 * gradient of the product's matrix is computed anyway, a^T . d is there, and the product need not
 * be kept. In each rule what is left over works on matrices or rows of numbers.
 */
#include "passes/graph/common.h"

typedef struct Scales {
  const Graph *graph;
} Scales;

enum { SMALL = 4 /* times smaller: what a matrix must be for work on it not to count */ };

/* The row of numbers [1,…,1,C] that a value repeats for every row; NULL: it does not. */
static Value *row_of(const Value *value) {
  const Node *stretch = made_by(value, "broadcast");
  const Type *type = &value->type;
  if (!stretch || type->rank < 2)
    return NULL;
  for (int d = 0; d < type->rank; d++)
    if (stretch->in[0]->type.dim[d] != (d + 1 < type->rank ? 1 : type->dim[d]))
      return NULL;
  return stretch->in[0];
}

/* Is the value x * (a row of numbers)? */
static bool is_scaled(const Value *value, Value **x, Value **row) {
  const Node *mul = made_by(value, "mul");
  for (int side = 0; mul && side < 2; side++)
    if ((*row = row_of(mul->in[side])) && !row_of(mul->in[1 - side])) {
      *x = mul->in[1 - side];
      return true;
    }
  return false;
}

/* What a list of rows [P,C] is a view of, as long as that has the same columns. */
static Value *rows_under(Value *value) {
  const Node *view;
  while ((view = made_by(value, "reshape")) && view->in[0]->type.rank >= 2 &&
         view->in[0]->type.dim[view->in[0]->type.rank - 1] == value->type.dim[value->type.rank - 1])
    value = view->in[0];
  return value;
}

static Value *list_rows(Builder *b, Value *x) {
  int64_t columns = x->type.dim[x->type.rank - 1];
  int64_t dim[2] = {type_elements(&x->type) / columns, columns};
  return x->type.rank == 2 ? x : build_reshape(b, x, 2, dim);
}

/* matrix * numbers, one a row or one a column of it. */
static Value *scale_matrix(Builder *b, Value *matrix, Value *numbers, int axis) {
  int64_t dim[2] = {1, 1};
  dim[axis] = matrix->type.dim[axis];
  return build_binary(b, "mul", matrix, build_reshape(b, numbers, 2, dim));
}

static bool is_small(const Type *matrix, const Type *tensor) {
  return type_elements(matrix) * SMALL <= type_elements(tensor);
}

static bool into_matrix(Builder *b, const Node *old, Value *const *in, Value **out) {
  Value *x, *row;
  if (!made_by(&old->out[0], "matmul") || node_int(old, "ta") || in[1]->type.rank != 2 ||
      !is_small(&in[1]->type, &in[0]->type) || !is_scaled(in[0], &x, &row))
    return false;
  bool tb = node_int(old, "tb");
  out[0] = build_matmul(b, x, scale_matrix(b, in[1], row, tb), false, tb);
  return true;
}

static bool after_product(Builder *b, const Node *old, Value *const *in, Value **out) {
  if (!node_sums_rows(old) || !is_small(&old->out[0].type, &in[0]->type))
    return false;
  Value *operand[2], *row[2] = {NULL, NULL};
  for (int i = 0; i < 2; i++) {
    Value *x;
    operand[i] = in[i];
    if (is_scaled(rows_under(in[i]), &x, &row[i]))
      operand[i] = list_rows(b, x);
    else
      row[i] = NULL;
  }
  if (!row[0] && !row[1])
    return false;
  out[0] = build_matmul(b, operand[0], operand[1], true, false);
  for (int i = 0; i < 2; i++)
    if (row[i])
      out[0] = scale_matrix(b, out[0], row[i], i);
  return true;
}

static bool sums_all_rows(const Node *node) {
  if (!made_by(&node->out[0], "reduce_sum") || node->in[0]->type.rank < 2)
    return false;
  const Type *folded = &node->out[0].type;
  for (int d = 0; d + 1 < folded->rank; d++)
    if (folded->dim[d] != 1)
      return false;
  return folded->dim[folded->rank - 1] == node->in[0]->type.dim[folded->rank - 1];
}

static Value *sum_rows(Builder *b, const Node *like, Value *x) {
  int n;
  const int64_t *axes = node_ints(like, "axes", &n);
  return build_reduce(b, "reduce_sum", x, n, axes);
}

static bool after_sum(Builder *b, const Node *old, Value *const *in, Value **out) {
  Value *x, *row;
  if (!sums_all_rows(old) || !is_scaled(in[0], &x, &row))
    return false;
  out[0] = build_binary(b, "mul", sum_rows(b, old, x), row);
  return true;
}

/* d * (a . W + b): `row` is NULL without b. */
typedef struct Weighted {
  Value *d, *row;
  const Node *product;
} Weighted;

static bool find_weighted(const Value *value, Weighted *w) {
  const Node *mul = made_by(value, "mul");
  for (int side = 0; mul && side < 2; side++) {
    Value *y = mul->in[side];
    const Node *add = made_by(y, "add");
    *w = (Weighted){.d = mul->in[1 - side]};
    for (int i = 0; add && i < 2 && !w->row; i++)
      if ((w->row = row_of(add->in[i])))
        y = add->in[1 - i];
    w->product = made_by(y, "matmul");
    if (w->product && node_keeps_rows(w->product) && w->product->in[1]->type.rank == 2)
      return true;
  }
  return false;
}

static const Value *unscaled(Value *operand) {
  Value *under = rows_under(operand), *x, *row;
  return is_scaled(under, &x, &row) ? x : under;
}

/* Is a^T . d computed, or with scales? Says in which order, 1: d first. -1: no. */
static int find_sums(const Graph *graph, const Weighted *w) {
  const Value *a = unscaled(w->product->in[0]);
  for (int n = 0; n < graph->nodes.count; n++) {
    const Node *node = graph->nodes.at[n];
    if (!node_sums_rows(node))
      continue;
    const Value *x = unscaled(node->in[0]), *y = unscaled(node->in[1]);
    if ((x == a && y == w->d) || (y == a && x == w->d))
      return x == w->d;
  }
  return -1;
}

static bool through_matrix(const Scales *s, Builder *b, const Node *old, Value *const *in,
                           Value **out) {
  Weighted was, w;
  int d_first;
  if (!sums_all_rows(old) || !find_weighted(old->in[0], &was) || !find_weighted(in[0], &w) ||
      (d_first = find_sums(s->graph, &was)) < 0)
    return false;
  Value *d = list_rows(b, w.d), *a = list_rows(b, w.product->in[0]), *matrix = w.product->in[1];
  Value *sums = build_matmul(b, d_first ? d : a, d_first ? a : d, true, false);
  if (node_int(w.product, "tb") != d_first) /* [N,K] and the other way round */
    matrix = build_permute(b, matrix, (int64_t[]){1, 0});
  Value *weighted = build_binary(b, "mul", matrix, sums);
  int64_t axis = d_first;
  const Type *type = &old->out[0].type;
  Value *sum = build_reduce(b, "reduce_sum", weighted, 1, &axis);
  sum = build_reshape(b, sum, type->rank, type->dim);
  if (w.row)
    sum = build_binary(b, "add", sum, build_binary(b, "mul", sum_rows(b, old, w.d), w.row));
  out[0] = sum;
  return true;
}

static bool rewrite(void *context, Builder *b, const Node *old, Value *const *in, Value **out) {
  return into_matrix(b, old, in, out) || after_product(b, old, in, out) ||
         after_sum(b, old, in, out) || through_matrix(context, b, old, in, out);
}

Graph *pass_scales(PassContext *context, Graph *graph) {
  Scales scales = {graph};
  return graph_without_dead(graph_rewrite(graph, context->arena, rewrite, &scales), context->arena);
}
