/* Attention (Vaswani et al., arXiv 1706.03762) as one op, and its gradient.
 *
 *   score[n,i,h,j] = scale * q[n,i,h,:] . k[n,j,h,:] - penalty * (group of i != group of j)
 *   y[n,i,h,:]     = sum over j of softmax_j(score)[n,i,h,j] * v[n,j,h,:]
 *
 * Groups say who sees whom: a row's texts and its padding are groups of their own. The penalty,
 * 1000 at least, makes the weight of a key of another group zero, except in a row that sees no key:
 * there it is the same everywhere and cancels, so that such a row sees all keys as if there were no
 * groups.
 *
 * The second result, the logarithm of each row's sum of exponentials, is what the gradients need to
 * compute probabilities again instead of reading them (Dao et al., arXiv 2205.14135, section 3.1):
 *
 *   p = exp(score - lse)    dv = p^T dy    ds = p * (dy v^T - delta)
 *   dq = scale ds k         dk = scale ds^T q
 *
 * with delta = sum of dy * y over a row, less the gradient of lse.
 */
#include "ir/ops/rules.h"
#include <math.h>
#include <stdlib.h>

enum { TOKENS = 1, HEADS, CHANNELS };

/* ---- shapes ---- */

/* Operands 0, 1, 2 are q, k, v; where there are groups they are operands `first`, `first` + 1. */
static bool check_operands(const OpCall *call, int first, Error *error) {
  const Type *q = call->in[0];
  if (call->n_in != first && call->n_in != first + 2)
    return error_set(error, "got %d operands, expected %d, or %d with groups", call->n_in, first,
                     first + 2);
  for (int i = 0; i < 3; i++)
    if (call->in[i]->rank != 4)
      return error_set(error, "operand %d is %s, expected [batch, tokens, heads, channels]", i,
                       type_text(call->in[i]));
  Type k = *q, v = *call->in[2];
  k.dim[TOKENS] = call->in[1]->dim[TOKENS];
  v.dim[0] = k.dim[0];
  v.dim[TOKENS] = k.dim[TOKENS];
  v.dim[HEADS] = k.dim[HEADS];
  v.dtype = q->dtype;
  if (!want_float(call, 0, error) || !want_type(call, 1, "k", &k, error) ||
      !want_type(call, 2, "v", &v, error))
    return false;
  if (call_attr(call, "penalty")->f < 1000)
    return error_set(error, "penalty is %g, the least possible is 1000",
                     call_attr(call, "penalty")->f);
  for (int i = 0; call->n_in > first && i < 2; i++) {
    Type group = type_of(call->in[first]->dtype, 2, (int64_t[]){q->dim[0], 0});
    group.dim[1] = i ? k.dim[TOKENS] : q->dim[TOKENS];
    if (!want_type(call, first + i, i ? "the keys' group" : "the queries' group", &group, error))
      return false;
  }
  return true;
}

static Type lse_type(const Type *q) {
  return type_of(q->dtype, 4, (int64_t[]){q->dim[0], q->dim[TOKENS], q->dim[HEADS], 1});
}

bool shape_attention(const OpCall *call, Type *out, Error *error) {
  if (!check_operands(call, 3, error))
    return false;
  out[0] = *call->in[0];
  out[0].dim[CHANNELS] = call->in[2]->dim[CHANNELS];
  out[1] = lse_type(call->in[0]);
  return true;
}

static bool check_gradient(const OpCall *call, Error *error) {
  if (!check_operands(call, 6, error))
    return false;
  Type dy = *call->in[0], row = lse_type(call->in[0]);
  dy.dim[CHANNELS] = call->in[2]->dim[CHANNELS];
  return want_type(call, 3, "dy", &dy, error) && want_type(call, 4, "lse", &row, error) &&
         want_type(call, 5, "delta", &row, error);
}

bool shape_attention_grad(const OpCall *call, Type *out, Error *error) {
  if (!check_gradient(call, error))
    return false;
  for (int i = 0; i < 3; i++)
    out[i] = *call->in[i];
  return true;
}

/* ---- evaluation ---- */

typedef struct Heads {
  int64_t batch, queries, keys, heads, width, value_width; /* channels of q and k; of v */
  double scale, penalty;
  const double *q, *k, *v, *query_group, *key_group; /* groups NULL: none */
} Heads;

static Heads heads_of(const Node *node, double *const *in, int first) {
  const Type *q = in_type(node, 0), *v = in_type(node, 2);
  bool grouped = node->n_in > first;
  return (Heads){.batch = q->dim[0],
                 .queries = q->dim[TOKENS],
                 .keys = v->dim[TOKENS],
                 .heads = q->dim[HEADS],
                 .width = q->dim[CHANNELS],
                 .value_width = v->dim[CHANNELS],
                 .scale = node_float(node, "scale"),
                 .penalty = node_float(node, "penalty"),
                 .q = in[0],
                 .k = in[1],
                 .v = in[2],
                 .query_group = grouped ? in[first] : NULL,
                 .key_group = grouped ? in[first + 1] : NULL};
}

/* Row (batch, token, head) of a tensor [batch, tokens, heads, width]. */
static int64_t row_at(const Heads *a, int64_t n, int64_t token, int64_t head, int64_t tokens) {
  return (n * tokens + token) * a->heads + head;
}

static double dot(const double *x, const double *y, int64_t width) {
  double sum = 0;
  for (int64_t c = 0; c < width; c++)
    sum += x[c] * y[c];
  return sum;
}

static double score(const Heads *a, int64_t n, int64_t i, int64_t h, int64_t j) {
  double sum = a->scale * dot(a->q + row_at(a, n, i, h, a->queries) * a->width,
                              a->k + row_at(a, n, j, h, a->keys) * a->width, a->width);
  bool apart =
      a->query_group && a->query_group[n * a->queries + i] != a->key_group[n * a->keys + j];
  return apart ? sum - a->penalty : sum;
}

void eval_attention(const Node *node, double *const *in, double *const *out) {
  Heads a = heads_of(node, in, 3);
  double *s = mem_alloc(sizeof *s * (size_t)a.keys);
  for (int64_t row = 0; row < a.batch * a.queries * a.heads; row++) {
    int64_t h = row % a.heads, i = row / a.heads % a.queries, n = row / a.heads / a.queries;
    double most = -INFINITY, sum = 0, *y = out[0] + row * a.value_width;
    for (int64_t j = 0; j < a.keys; j++) {
      s[j] = score(&a, n, i, h, j);
      most = s[j] > most ? s[j] : most;
    }
    for (int64_t j = 0; j < a.keys; j++)
      sum += exp(s[j] - most);
    out[1][row] = most + log(sum);
    for (int64_t c = 0; c < a.value_width; c++)
      y[c] = 0;
    for (int64_t j = 0; j < a.keys; j++) {
      const double *v = a.v + row_at(&a, n, j, h, a.keys) * a.value_width;
      double p = exp(s[j] - out[1][row]);
      for (int64_t c = 0; c < a.value_width; c++)
        y[c] += p * v[c];
    }
  }
  free(s);
}

/* Adds what query i and key j of one head contribute to the gradients. */
static void gradient_of_pair(const Heads *a, double *const *in, int64_t query, int64_t key,
                             double s, double *const *out) {
  const double *dy = in[3] + query * a->value_width, *v = a->v + key * a->value_width;
  double p = exp(s - in[4][query]);
  double ds = a->scale * p * (dot(dy, v, a->value_width) - in[5][query]);
  for (int64_t c = 0; c < a->width; c++) {
    out[0][query * a->width + c] += ds * a->k[key * a->width + c];
    out[1][key * a->width + c] += ds * a->q[query * a->width + c];
  }
  for (int64_t c = 0; c < a->value_width; c++)
    out[2][key * a->value_width + c] += p * dy[c];
}

void eval_attention_grad(const Node *node, double *const *in, double *const *out) {
  Heads a = heads_of(node, in, 6);
  for (int r = 0; r < 3; r++)
    for (int64_t i = 0; i < type_elements(out_type(node, r)); i++)
      out[r][i] = 0;
  for (int64_t n = 0; n < a.batch; n++)
    for (int64_t h = 0; h < a.heads; h++)
      for (int64_t i = 0; i < a.queries; i++)
        for (int64_t j = 0; j < a.keys; j++)
          gradient_of_pair(&a, in, row_at(&a, n, i, h, a.queries), row_at(&a, n, j, h, a.keys),
                           score(&a, n, i, h, j), out);
}

/* ---- the gradient ---- */

void grad_attention(Builder *b, const Node *node, Value *const *dout, const bool *need,
                    Value **din) {
  static const int64_t channels = CHANNELS;
  Value *y = &node->out[0], *in[8], *d = dout[0] ? dout[0] : build_like(b, 0, y);
  Value *delta = build_reduce(b, "reduce_sum", times(b, d, y), 1, &channels);
  if (dout[1])
    delta = minus(b, delta, dout[1]);
  Value *const first[] = {node->in[0], node->in[1], node->in[2], d, &node->out[1], delta};
  int n_in = 6;
  for (int i = 0; i < n_in; i++)
    in[i] = first[i];
  for (int i = 3; i < node->n_in; i++)
    in[n_in++] = node->in[i];
  Node *gradient = build_node(b, "attention_grad", n_in, in, "scale", node_float(node, "scale"),
                              "penalty", node_float(node, "penalty"), NULL);
  for (int i = 0; i < 3; i++)
    din[i] = need[i] ? &gradient->out[i] : NULL;
}

double flops_attention(const Node *node) {
  const Type *q = in_type(node, 0), *v = in_type(node, 2);
  double pairs =
      (double)q->dim[0] * (double)q->dim[TOKENS] * (double)q->dim[HEADS] * (double)v->dim[TOKENS];
  return pairs * (double)(q->dim[CHANNELS] + v->dim[CHANNELS]);
}
