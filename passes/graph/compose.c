/* Convolutions of few channels swallow the linear convolution that follows them:
 *   conv(conv(x, u) + b, w) = conv(x, compose(u, w)) + b through w - what w reads outside the grid
 * (ir/ops/compose.c has the algebra). With weights that depend on parameters alone the composed
 * ones are made when weights are loaded. A stem of stride 4 along three axes followed by a 3-star
 * has 115 taps of one channel where the second convolution alone has 7 of 32: fewer products, and
 * one tensor less to write and read.
 *
 * Done where the products become fewer by a tenth at least, the border counted; and where one
 * thread works on a tile, for the border's products would need more memory of many threads than
 * they share.
 */
#include "ir/ops/compose.h"
#include "passes/graph/common.h"
#include <string.h>

enum { AXES = 3, MAX_TAPS = 160, MAX_CHANNELS = 2, TILE = 8 };

typedef struct Pair {
  const Node *inner, *outer;
  const Value *bias; /* [M] seen through views, of the old graph; NULL: none */
} Pair;

static bool plain(const Node *node) {
  const int64_t *divisor = node_ints(node, "divisor", NULL);
  return divisor[0] == 1 && divisor[1] == 1 && divisor[2] == 1;
}

/* The vector that a value stretches over all places, or NULL. */
static const Value *column_term(const Value *value) {
  const Node *stretch = made_by(value, "broadcast");
  if (!stretch)
    return NULL;
  const Type *small = &stretch->in[0]->type;
  return type_elements(small) == value->type.dim[value->type.rank - 1] &&
                 small->dim[small->rank - 1] == type_elements(small)
             ? stretch->in[0]
             : NULL;
}

static bool find_pair(const Node *outer, const int *uses, const bool *data, Pair *pair) {
  *pair = (Pair){.outer = outer};
  if (!made_by(&outer->out[0], "tap_conv") || !plain(outer) || data[outer->in[1]->id])
    return false;
  const Value *between = outer->in[0];
  const Node *add = made_by(between, "add");
  for (int side = 0; add && uses[between->id] == 1 && side < 2; side++)
    if ((pair->bias = column_term(add->in[side]))) {
      if (data[pair->bias->id])
        return false;
      between = add->in[1 - side];
      break;
    }
  pair->inner = made_by(between, "tap_conv");
  return pair->inner && uses[between->id] == 1 && plain(pair->inner) &&
         !data[pair->inner->in[1]->id];
}

/* Do the products become fewer? */
static bool pays(const Pair *pair, int taps) {
  const Type *u = &pair->inner->in[1]->type, *w = &pair->outer->in[1]->type;
  const Type *y = &pair->outer->out[0].type;
  const int64_t *then = node_ints(pair->outer, "taps", NULL);
  double inner = (double)(u->dim[0] * u->dim[1] * u->dim[2]);
  double outer = (double)(w->dim[0] * w->dim[1] * w->dim[2]);
  double composed = (double)(taps * u->dim[1] * w->dim[2]);
  for (int64_t s = 0; s < w->dim[0]; s++) /* tiles that see the border once more per tap */
    for (int a = 0; a < AXES; a++)
      if (then[AXES * s + a])
        composed +=
            (inner + outer / (double)w->dim[0]) * (a == 2 ? TILE : 1) / (double)y->dim[1 + a];
  return composed < 0.9 * (inner + outer);
}

static Value *compose(const Pair *pair, Value *const *mapped, Builder *b) {
  const Node *inner = pair->inner, *outer = pair->outer;
  int n_taps, n_then;
  const int64_t *taps = node_ints(inner, "taps", &n_taps),
                *then = node_ints(outer, "taps", &n_then);
  const int64_t *stride = node_ints(inner, "stride", NULL), *size = node_ints(outer, "size", NULL);
  Value *x = mapped[inner->in[0]->id], *u = mapped[inner->in[1]->id];
  Value *w = mapped[outer->in[1]->id];
  int64_t middle = u->type.dim[2], columns = w->type.dim[2], along[] = {1, 1, 1, 1, columns};
  int64_t as_row[] = {1, middle}, as_matrix[] = {middle, columns}, first = 0;
  static const int64_t ones[] = {1, 1, 1};
  int64_t *all = ARENA_ARRAY(b->graph->arena, int64_t, n_taps * n_then);
  int *slot = ARENA_ARRAY(b->graph->arena, int, n_taps *n_then);
  int count = tap_compose_taps(taps, n_taps / AXES, stride, then, n_then / AXES, all, slot);
  Value *weights = &build_node(b, "tap_compose", 2, (Value *[]){u, w}, "taps", n_taps, taps,
                               "stride", AXES, stride, "then", n_then, then, NULL)
                        ->out[0];
  Value *y = &build_node(b, "tap_conv", 2, (Value *[]){x, weights}, "taps", AXES * count, all,
                         "stride", AXES, stride, "divisor", AXES, ones, "size", AXES, size, NULL)
                  ->out[0];
  Value *bias = pair->bias ? build_reshape(b, mapped[pair->bias->id], 1, &middle)
                           : build_constant(b, 0, (Type){u->type.dtype, 1, {middle}});
  Value *outside =
      &build_node(b, "tap_conv_outside", 4, (Value *[]){x, u, bias, w}, "taps", n_taps, taps,
                  "stride", AXES, stride, "size", AXES, size, "then", n_then, then, NULL)
           ->out[0];
  if (pair->bias) {
    Value *sum = build_reshape(b, build_reduce(b, "reduce_sum", w, 1, &first), 2, as_matrix);
    Value *through = build_matmul(b, build_reshape(b, bias, 2, as_row), sum, false, false);
    y = build_binary(b, "add", y, build_reshape(b, through, 5, along));
  }
  return build_binary(b, "sub", y, outside);
}

static bool wanted(const Pair *pair) {
  int n_taps, n_then;
  const int64_t *stride = node_ints(pair->outer, "stride", NULL);
  node_ints(pair->inner, "taps", &n_taps);
  node_ints(pair->outer, "taps", &n_then);
  const Type *between = &pair->outer->in[0]->type, *y = &pair->outer->out[0].type;
  for (int a = 0; a < AXES; a++)
    if (stride[a] != 1 || between->dim[1 + a] != y->dim[1 + a])
      return false;
  if (pair->inner->in[0]->type.dim[4] > MAX_CHANNELS || n_taps * n_then > AXES * AXES * 4096)
    return false;
  Arena *arena = arena_new();
  int64_t *all = ARENA_ARRAY(arena, int64_t, n_taps * n_then);
  int *slot = ARENA_ARRAY(arena, int, n_taps *n_then);
  int count = tap_compose_taps(node_ints(pair->inner, "taps", NULL), n_taps / AXES,
                               node_ints(pair->inner, "stride", NULL),
                               node_ints(pair->outer, "taps", NULL), n_then / AXES, all, slot);
  arena_free(arena);
  return count <= MAX_TAPS && pays(pair, count);
}

Graph *pass_compose(PassContext *context, Graph *graph) {
  Arena *arena = context->arena;
  const int *uses = graph_count_uses(graph, arena);
  const bool *data = graph_mark_data(graph, arena);
  GraphMap map = graph_map_start(graph, arena);
  bool *composed = ARENA_ARRAY(arena, bool, graph->nodes.count + 1);
  for (int n = 0; n < graph->nodes.count; n++) {
    const Node *node = graph->nodes.at[n];
    Pair pair;
    if (context->facts->threads > 1 || !find_pair(node, uses, data, &pair) ||
        composed[pair.inner->id] || !wanted(&pair)) {
      graph_map_copy(&map, node);
      continue;
    }
    Builder b = {map.to, NULL, node->loc, node->stage, node->uncounted};
    Value *value = compose(&pair, map.value, &b);
    graph_name_value(map.to, value, node->out[0].name);
    map.value[node->out[0].id] = value;
    composed[node->id] = true;
  }
  return graph_without_dead(graph_map_finish(&map), arena);
}
