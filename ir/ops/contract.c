/* matmul: matrix products over the last two axes, batch axes equal on both sides.
 *
 * With ta the first operand is stored transposed, [B…,K,M]; with tb the second, [B…,N,K]. A second
 * operand of two axes is the same for every batch: rows of any grid times one matrix.
 */
#include "ir/ops/rules.h"
#include <stdlib.h>

typedef struct Product {
  int64_t batch, m, n, k;
  bool ta, tb, one; /* one: the second operand has no batch axes */
} Product;

bool shape_matmul(const OpCall *call, Type *out, Error *error) {
  const Type *x = call->in[0], *y = call->in[1];
  bool ta = call_int(call, "ta") != 0, tb = call_int(call, "tb") != 0;
  int r = x->rank;
  bool same = y->rank == 2 && !ta; /* one matrix for all */
  if (r < 2 || (y->rank != r && !same))
    return error_set(error, "wants two operands with the same number (two or more) of axes, or a "
                            "matrix on the right");
  if (x->dtype != y->dtype)
    return error_set(error, "the operands' element types differ");
  *out = *x;
  for (int i = 0; i < r - 2 && y->rank == r; i++)
    if (x->dim[i] != y->dim[i])
      return error_set(error, "batch axis %d is %lld on the left, %lld on the right", i,
                       (long long)x->dim[i], (long long)y->dim[i]);
  int s = y->rank;
  int64_t left = x->dim[ta ? r - 2 : r - 1], right = y->dim[tb ? s - 1 : s - 2];
  if (left != right)
    return error_set(error, "the summed axis is %lld on the left, %lld on the right",
                     (long long)left, (long long)right);
  out->dim[r - 2] = x->dim[ta ? r - 1 : r - 2];
  out->dim[r - 1] = y->dim[tb ? s - 2 : s - 1];
  return true;
}

static Product product_of(const Node *node) {
  const Type *x = in_type(node, 0), *y = out_type(node, 0);
  bool ta = node_int(node, "ta") != 0;
  return (Product){.batch = dim_product(x, 0, x->rank - 2),
                   .m = y->dim[y->rank - 2],
                   .n = y->dim[y->rank - 1],
                   .k = x->dim[ta ? x->rank - 2 : x->rank - 1],
                   .ta = ta,
                   .tb = node_int(node, "tb") != 0,
                   .one = in_type(node, 1)->rank == 2 && x->rank > 2};
}

void eval_matmul(const Node *node, double *const *in, double *const *out) {
  Product p = product_of(node);
  double *packed = mem_alloc(sizeof(double) * (size_t)(p.k * p.n));
  for (int64_t batch = 0; batch < p.batch; batch++) {
    const double *x = in[0] + batch * p.m * p.k, *y = in[1] + (p.one ? 0 : batch * p.k * p.n);
    double *z = out[0] + batch * p.m * p.n;
    for (int64_t i = 0; i < p.k * p.n; i++)
      packed[i] = p.tb ? y[i % p.n * p.k + i / p.n] : y[i];
    for (int64_t i = 0; i < p.m; i++) {
      for (int64_t j = 0; j < p.n; j++)
        z[i * p.n + j] = 0;
      for (int64_t k = 0; k < p.k; k++) {
        double factor = p.ta ? x[k * p.m + i] : x[i * p.k + k];
        for (int64_t j = 0; j < p.n; j++)
          z[i * p.n + j] += factor * packed[k * p.n + j];
      }
    }
  }
  free(packed);
}

void grad_matmul(Builder *b, const Node *node, Value *const *dout, const bool *need, Value **din) {
  bool ta = node_int(node, "ta") != 0, tb = node_int(node, "tb") != 0;
  Value *d = dout[0], *x = node->in[0], *y = node->in[1];
  if (!d)
    return;
  if (need[1] && y->type.rank < x->type.rank) { /* sums over all rows of the grid */
    int64_t rows = dim_product(&x->type, 0, x->type.rank - 1);
    int64_t of_x[2] = {rows, x->type.dim[x->type.rank - 1]};
    int64_t of_d[2] = {rows, d->type.dim[d->type.rank - 1]};
    x = build_reshape(b, x, 2, of_x);
    Value *flat = build_reshape(b, d, 2, of_d);
    din[1] = tb ? build_matmul(b, flat, x, true, false) : build_matmul(b, x, flat, true, false);
    if (need[0])
      din[0] = build_matmul(b, d, y, false, !tb);
    return;
  }
  if (need[0])
    din[0] = ta ? build_matmul(b, y, d, tb, true) : build_matmul(b, d, y, false, !tb);
  if (need[1])
    din[1] = tb ? build_matmul(b, d, x, true, ta) : build_matmul(b, x, d, !ta, false);
}

double flops_matmul(const Node *node) {
  Product p = product_of(node);
  return (double)p.batch * (double)p.m * (double)p.n * (double)p.k;
}
