/* Helpers of the tests that run graphs: numbers for inputs, evaluation, full expansion, and a plain
 * reverse mode that calls the ops' gradient rules directly (so that they are tested without the
 * gradient pass).
 */
#ifndef TRICOT_TESTS_GRAPH_TOOLS_H
#define TRICOT_TESTS_GRAPH_TOOLS_H
#include "ir/graph.h"
#include "ir/op.h"
#include "runtime/base/random.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Parses one graph; prints the messages and returns NULL after errors. */
static inline Graph *parse_graph(Arena *arena, const char *text) {
  Diag diag;
  int count = 0;
  diag_init(&diag, arena);
  Graph **graphs = graph_parse(arena, &diag, "test.tg", text, strlen(text), &count);
  if (!graphs || count != 1) {
    diag_print(&diag, stdout);
    return NULL;
  }
  return graphs[0];
}

/* A number for one element of an input, by the beginning of the input's name: "positive" in
 * [0.5,2), "bit" 0 or 1, "index" 0, 1 or 2 (integer types always are), else normal. */
static inline double sample_number(const GraphInput *input, uint64_t stream, uint64_t i) {
  double uniform = random_uniform(7, stream, i);
  if (strncmp(input->name, "positive", 8) == 0)
    return 0.5 + 1.5 * uniform;
  if (strncmp(input->name, "bit", 3) == 0)
    return uniform < 0.5;
  if (strncmp(input->name, "index", 5) == 0 || !dtype_is_float(input->value->type.dtype))
    return floor(3 * uniform);
  return random_normal(7, stream, i);
}

static inline double **sample_inputs(Arena *arena, const Graph *graph) {
  double **data = ARENA_ARRAY(arena, double *, graph->inputs.count + 1);
  for (int i = 0; i < graph->inputs.count; i++) {
    const GraphInput *input = &graph->inputs.at[i];
    int64_t n = type_elements(&input->value->type);
    data[i] = ARENA_ARRAY(arena, double, n);
    for (int64_t k = 0; k < n; k++)
      data[i][k] = sample_number(input, (uint64_t)i, (uint64_t)k);
  }
  return data;
}

static inline double **run_graph(Arena *arena, const Graph *graph, double *const *inputs) {
  double **outputs = ARENA_ARRAY(arena, double *, graph->outputs.count + 1);
  graph_eval(graph, arena, inputs, outputs);
  return outputs;
}

/* Largest difference relative to the largest magnitude of `expected` (at least 1e-30). */
static inline double relative_difference(const double *got, const double *expected, int64_t n) {
  double most = 1e-30, difference = 0;
  for (int64_t i = 0; i < n; i++) {
    if (isnan(got[i]) != isnan(expected[i]))
      return INFINITY;
    most = fmax(most, fabs(expected[i]));
    difference = fmax(difference, fabs(got[i] - expected[i]));
  }
  return difference / most;
}

static inline bool expand_composite(void *context, Builder *b, const Node *old, Value *const *in,
                                    Value **out) {
  (void)context;
  if (!old->op->expand)
    return false;
  old->op->expand(b, old, in, out);
  return true;
}

static inline bool has_composite(const Graph *graph) {
  for (int i = 0; i < graph->nodes.count; i++)
    if (graph->nodes.at[i]->op->expand)
      return true;
  return false;
}

/* Expands until no composite is left; NULL when that does not end or a graph breaks a rule. */
static inline Graph *expand_graph(Arena *arena, Graph *graph) {
  Error error = {0};
  for (int round = 0; has_composite(graph); round++) {
    graph = graph_rewrite(graph, arena, expand_composite, NULL);
    if (round == 8 || !graph_check(graph, &error)) {
      printf("expansion: %s\n", error.text);
      return NULL;
    }
  }
  return graph;
}

/* Adds to `graph` the gradients of its float inputs, given dout[] for each node result value by its
 * id (NULL: none); din[i], i < n_in, is the gradient of graph input i, NULL where zero. */
static inline void differentiate(Graph *graph, Value **dout, int n_in, Value **din) {
  int nodes = graph->nodes.count;
  for (int n = nodes - 1; n >= 0; n--) {
    const Node *node = graph->nodes.at[n];
    Builder b = {.graph = graph};
    Value *result[8] = {0}, *operand[8] = {0};
    bool need[8] = {0}, any = false;
    for (int i = 0; i < node->n_out; i++)
      any |= (result[i] = dout[node->out[i].id]) != NULL;
    for (int i = 0; i < node->n_in; i++)
      need[i] = dtype_is_float(node->in[i]->type.dtype);
    if (!any)
      continue;
    node->op->grad(&b, node, result, need, operand);
    for (int i = 0; i < node->n_in; i++) {
      Value **sum = &dout[node->in[i]->id];
      if (operand[i])
        *sum = *sum ? build_binary(&b, "add", *sum, operand[i]) : operand[i];
    }
  }
  for (int i = 0; i < n_in; i++)
    din[i] = dout[graph->inputs.at[i].value->id];
}
#endif
