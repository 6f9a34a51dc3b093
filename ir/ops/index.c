/* Rows chosen by an index tensor: embedding and the sum that is its gradient. Indices are integers;
 * one outside the table is a broken input and ends the evaluation.
 */
#include "ir/ops/rules.h"
#include <string.h>

static bool want_indices(const OpCall *call, Error *error) {
  const Type *ids = call->in[1];
  if (dtype_is_float(ids->dtype))
    return error_set(error, "ids are %s, expected an integer type", dtype_name(ids->dtype));
  return ids->rank < MAX_RANK || error_set(error, "ids have %d axes, too many", ids->rank);
}

bool shape_embedding(const OpCall *call, Type *out, Error *error) {
  const Type *table = call->in[0];
  if (table->rank != 2)
    return error_set(error, "the table has %d axes, expected 2", table->rank);
  if (!want_indices(call, error))
    return false;
  *out = *call->in[1];
  out->dtype = table->dtype;
  out->dim[out->rank++] = table->dim[1];
  return true;
}

bool shape_embedding_grad(const OpCall *call, Type *out, Error *error) {
  const Type *dy = call->in[0];
  int64_t rows = call_int(call, "rows");
  if (!want_float(call, 0, error) || !want_indices(call, error))
    return false;
  if (rows < 1)
    return error_set(error, "a table of %lld rows", (long long)rows);
  Type expected = *call->in[1];
  expected.dtype = dy->dtype;
  expected.dim[expected.rank++] = dy->rank ? dy->dim[dy->rank - 1] : 1;
  *out = type_of(dy->dtype, 2, (int64_t[]){rows, expected.dim[expected.rank - 1]});
  return want_type(call, 0, "dy", &expected, error);
}

static int64_t row_of(const Node *node, double id, int64_t rows) {
  if (!(id >= 0 && id < (double)rows))
    FAULT("%s: index %g is outside the table of %lld rows", node->op->name, id, (long long)rows);
  return (int64_t)id;
}

void eval_embedding(const Node *node, double *const *in, double *const *out) {
  const Type *table = in_type(node, 0);
  int64_t n = type_elements(in_type(node, 1)), width = table->dim[1];
  for (int64_t i = 0; i < n; i++)
    memcpy(out[0] + i * width, in[0] + row_of(node, in[1][i], table->dim[0]) * width,
           sizeof(double) * (size_t)width);
}

void eval_embedding_grad(const Node *node, double *const *in, double *const *out) {
  const Type *table = out_type(node, 0);
  int64_t n = type_elements(in_type(node, 1)), width = table->dim[1];
  memset(out[0], 0, sizeof(double) * (size_t)type_elements(table));
  for (int64_t i = 0; i < n; i++) {
    double *row = out[0] + row_of(node, in[1][i], table->dim[0]) * width;
    for (int64_t c = 0; c < width; c++)
      row[c] += in[0][i * width + c];
  }
}

void grad_embedding(Builder *b, const Node *node, Value *const *dout, const bool *need,
                    Value **din) {
  if (!dout[0] || !need[0])
    return;
  Node *sum = build_node(b, "embedding_grad", 2, (Value *[]){dout[0], node->in[1]}, "rows",
                         in_type(node, 0)->dim[0], NULL);
  din[0] = sum ? &sum->out[0] : NULL;
}
