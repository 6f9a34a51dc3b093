/* softmax(q k^T * scale + mask) v becomes one `attention` op, whose kernels never store the scores
 * (Dao et al., arXiv 2205.14135). The gradient of that op computes probabilities again, so in
 * training this has to happen before gradients are added.
 *
 * What is recognised: a product whose first operand is a softmax over a product over the channels
 * of two tensors; between them at most one scale and at most one mask
 *
 *     (a == b) * penalty - penalty       or       select(a == b, 0, -penalty)
 *
 * where a varies with the query and b with the key only (or either not at all), the penalty is one
 * number of at least 1000, and neither varies with the head. Axes are [heads…, tokens, channels]:
 * rank 2 to 4, the first of four is the batch. Scores that something else reads stay as they are,
 * and heads of more than MOST_CHANNELS channels.
 */
#include "passes/graph/common.h"
#include <string.h>

enum { LEAST_PENALTY = 1000, MOST_CHANNELS = 256 }; /* of a head: a block holds tiles of them */

typedef struct Found {
  const Node *scores; /* the product of queries and keys */
  double scale, penalty;
  Value *query, *key; /* groups, of the old graph, before stretching; NULL: no mask */
} Found;

typedef struct Attend {
  const int *uses;
  Value **mapped; /* old value id -> new value */
} Attend;

/* ---- masks ---- */

static Value *unstretched(Value *value) {
  while (made_by(value, "broadcast"))
    value = value->node->in[0];
  return value;
}

/* One constant in every element: constants are recognised before they are folded. */
static bool is_number(const Value *value, double *number) {
  while (value->node && value->node->op->cls == OP_VIEW)
    value = value->node->in[0];
  return is_splat(value, number);
}

/* x op constant, in either order of operands where the op commutes: the x. */
static Value *with_constant(const Value *value, const char *op, double *constant) {
  const Node *node = made_by(value, op);
  if (!node)
    return NULL;
  if (is_number(node->in[1], constant))
    return node->in[0];
  bool commutes = node->op->flags & OPF_COMMUTES;
  return commutes && is_number(node->in[0], constant) ? node->in[1] : NULL;
}

/* (a == b) where the mask is (a == b) * penalty - penalty in one of its spellings. */
static const Node *equality(Value *mask, double *penalty) {
  double factor, term, yes, no;
  mask = unstretched(mask);
  const Node *choice = made_by(mask, "select"), *equal = NULL;
  Value *inner = with_constant(mask, "mul", &factor), *shifted = inner ? unstretched(inner) : NULL;
  if (choice && is_number(choice->in[1], &yes) && is_number(choice->in[2], &no) && yes == 0) {
    equal = made_by(unstretched(choice->in[0]), "eq");
    *penalty = -no;
  } else if (inner && (inner = with_constant(shifted, "sub", &term)) && term == 1) {
    equal = made_by(unstretched(inner), "eq");
    *penalty = factor;
  } else if ((inner = with_constant(shifted ? shifted : mask, "add", &term)) != NULL) {
    double inside;
    Value *scaled = shifted ? NULL : with_constant(unstretched(inner), "mul", &inside);
    if (shifted && term == -1) {
      equal = made_by(unstretched(inner), "eq");
      *penalty = factor;
    } else if (scaled && term == -inside) {
      equal = made_by(unstretched(scaled), "eq");
      *penalty = inside;
    }
  }
  return equal && *penalty >= LEAST_PENALTY ? equal : NULL;
}

/* Does the value, as part of scores of this rank, vary along `axis` and the batch only? */
static bool varies_along(const Value *value, int axis, int rank) {
  if (is_number(value, NULL))
    return true;
  if (value->type.rank != rank)
    return false;
  for (int d = 0; d < rank; d++)
    if (value->type.dim[d] != 1 && d != axis && !(d == 0 && rank > 2))
      return false;
  return true;
}

static bool match_mask(Value *mask, int rank, Found *found) {
  const Node *equal = equality(mask, &found->penalty);
  if (!equal)
    return false;
  Value *a = unstretched(equal->in[0]), *b = unstretched(equal->in[1]);
  for (int swap = 0; swap < 2; swap++) {
    found->query = swap ? b : a;
    found->key = swap ? a : b;
    if (varies_along(found->query, rank - 2, rank) && varies_along(found->key, rank - 1, rank))
      return true;
  }
  return false;
}

/* ---- the whole pattern ---- */

static bool read_once(const Attend *attend, const Value *value) {
  return attend->uses[value->id] == 1;
}

/* The product below an optional mask and an optional scale. */
static bool match_scores(const Attend *attend, Value *scores, Found *found) {
  int rank = scores->type.rank;
  const Node *sum = made_by(scores, "add");
  if (sum && read_once(attend, scores)) {
    int mask = match_mask(sum->in[1], rank, found) ? 1 : 0;
    if (!mask && !match_mask(sum->in[0], rank, found))
      return false;
    scores = sum->in[1 - mask];
  }
  Value *inner = with_constant(scores, "mul", &found->scale);
  if (!inner && (inner = with_constant(scores, "div", &found->scale)))
    found->scale = 1 / found->scale;
  if (inner && !read_once(attend, scores))
    return false;
  if (!inner)
    found->scale = 1;
  scores = inner ? inner : scores;
  found->scores = made_by(scores, "matmul");
  return found->scores && read_once(attend, scores) && !node_int(found->scores, "ta") &&
         found->scores->in[0]->type.dim[rank - 1] <= MOST_CHANNELS;
}

static bool match(const Attend *attend, const Node *node, Found *found) {
  if (!made_by(&node->out[0], "matmul") || node_int(node, "ta"))
    return false;
  Value *weights = node->in[0];
  const Node *softmax = made_by(weights, "softmax");
  int rank = node->out[0].type.rank;
  return softmax && read_once(attend, weights) && rank >= 2 && rank <= 4 &&
         node->out[0].type.dim[rank - 1] <= MOST_CHANNELS &&
         dtype_is_float(node->out[0].type.dtype) && match_scores(attend, softmax->in[0], found);
}

/* ---- rewriting ---- */

/* [tokens, channels], [batch, tokens, channels] or [batch, heads, tokens, channels], the last two
 * swapped where `swapped`, as [batch, tokens, heads, channels]. */
static Value *tokens_first(Builder *b, Value *x, bool swapped) {
  static const int64_t plain[] = {0, 2, 1, 3}, turned[] = {0, 3, 1, 2};
  int64_t dim[4] = {1, 1, 1, 1};
  int rank = x->type.rank;
  for (int d = 0; d < rank; d++)
    dim[rank == 4 || d >= rank - 2 ? d + 4 - rank : d] = x->type.dim[d];
  return build_permute(b, build_reshape(b, x, 4, dim), swapped ? turned : plain);
}

/* A group as [batch, tokens]. */
static Value *group(const Attend *attend, Builder *b, const Value *old, int axis,
                    const int64_t *dim) {
  double number;
  if (is_number(old, &number))
    return build_constant(b, number, (Type){old->type.dtype, 2, {dim[0], dim[1]}});
  int64_t seen[2] = {old->type.rank > 2 ? old->type.dim[0] : 1, old->type.dim[axis]};
  return build_broadcast(b, build_reshape(b, attend->mapped[old->id], 2, seen), 2, dim);
}

static bool rewrite(void *context, Builder *b, const Node *old, Value *const *in, Value **out) {
  static const int64_t heads_first[] = {0, 2, 1, 3};
  const Attend *attend = context;
  Found found = {0};
  if (!match(attend, old, &found))
    return false;
  const Node *scores = found.scores;
  Value *q = attend->mapped[scores->in[0]->id], *k = attend->mapped[scores->in[1]->id];
  Value *operands[5] = {tokens_first(b, q, false), tokens_first(b, k, !node_int(scores, "tb")),
                        tokens_first(b, in[1], node_int(old, "tb"))};
  int rank = old->out[0].type.rank;
  if (found.query) {
    for (int i = 0; i < 2; i++) {
      int64_t dim[2] = {operands[0]->type.dim[0], operands[i]->type.dim[1]};
      operands[3 + i] = group(attend, b, i ? found.key : found.query, rank - 2 + i, dim);
    }
    if (operands[3]->type.dtype != operands[4]->type.dtype)
      return false;
  }
  Node *node = build_node(b, "attention", found.query ? 5 : 3, operands, "scale", found.scale,
                          "penalty", found.query ? found.penalty : 10000.0, NULL);
  Value *y = build_permute(b, &node->out[0], heads_first);
  out[0] = build_reshape(b, y, rank, old->out[0].type.dim);
  return true;
}

Graph *pass_attend(PassContext *context, Graph *graph) {
  GraphMap map = graph_map_start(graph, context->arena);
  Attend attend = {graph_count_uses(graph, context->arena), map.value};
  for (int i = 0; i < graph->nodes.count; i++) {
    const Node *old = graph->nodes.at[i];
    Builder b = {map.to, NULL, old->loc, old->stage, old->uncounted};
    Value *in[2], *out[1];
    for (int j = 0; j < old->n_in && j < 2; j++)
      in[j] = map.value[old->in[j]->id];
    if (!rewrite(&attend, &b, old, in, out)) {
      graph_map_copy(&map, old);
      continue;
    }
    map.value[old->out[0].id] = out[0];
    graph_name_value(map.to, out[0], old->out[0].name);
  }
  return graph_without_dead(graph_map_finish(&map), context->arena);
}
