/* Every row of the op table, by samples: shapes, evaluation against hand-made numbers, expansions
 * against the composites' own evaluation, gradient rules against finite differences.
 *
 * A sample is a graph of one node in the .tg form. A row without a sample fails.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/op_samples.h"

static void test_every_row_has_a_sample(void **state) {
  (void)state;
  Arena *arena = arena_new();
  bool *seen = ARENA_ARRAY(arena, bool, op_count());
  for (int i = 0; i < SAMPLES; i++) {
    Graph *graph = sample_graph(arena, &samples[i]);
    if (!graph)
      fail_msg("sample does not parse: %s", samples[i].node);
    for (int k = 0; k < op_count(); k++)
      seen[k] |= op_at(k) == graph->nodes.at[0]->op;
    Error error;
    if (!graph_check(graph, &error))
      fail_msg("%s: %s", samples[i].node, error.text);
  }
  for (int k = 0; k < op_count(); k++)
    if (!seen[k])
      fail_msg("op %s has no sample", op_at(k)->name);
  arena_free(arena);
}

static void test_expansions(void **state) {
  (void)state;
  for (int i = 0; i < SAMPLES; i++) {
    Arena *arena = arena_new();
    Graph *graph = sample_graph(arena, &samples[i]);
    assert_non_null(graph);
    if (graph->nodes.at[0]->op->cls == OP_COMPOSITE || graph->nodes.at[0]->op->cls == OP_FEED) {
      Graph *expanded = expand_graph(arena, graph);
      if (!expanded)
        fail_msg("no sound expansion: %s", samples[i].node);
      double **in = sample_inputs(arena, graph);
      double **expected = run_graph(arena, graph, in), **got = run_graph(arena, expanded, in);
      for (int o = 0; o < graph->outputs.count; o++) {
        const Type *type = &graph->outputs.at[o].value->type;
        double difference = relative_difference(got[o], expected[o], type_elements(type));
        if (!(difference <= 1e-12))
          fail_msg("result %d differs by %g: %s", o, difference, samples[i].node);
      }
    } else {
      assert_null(graph->nodes.at[0]->op->expand);
    }
    arena_free(arena);
  }
}

/* ---- gradients ---- */

/* Which results carry a gradient: floats, and of batch_norm_train y alone. */
static bool carries(const Node *node, int i) {
  bool buffers = strcmp(node->op->name, "batch_norm_train") == 0;
  return dtype_is_float(node->out[i].type.dtype) && !(buffers && i > 0);
}

/* sum over the gradient-carrying results of result * weight */
static double loss_of(Arena *arena, const Graph *graph, const bool *carry, double *const *inputs,
                      double *const *weight) {
  double loss = 0, **out = run_graph(arena, graph, inputs);
  for (int o = 0; o < graph->outputs.count; o++)
    for (int64_t k = 0; carry[o] && k < type_elements(&graph->outputs.at[o].value->type); k++)
      loss += out[o][k] * weight[o][k];
  return loss;
}

/* Adds inputs for the results' gradients and outputs with the operands' gradients. */
static void add_gradients(Arena *arena, Graph *graph, const bool *carry, Value **din) {
  int n_in = graph->inputs.count;
  int results = graph->outputs.count;
  Value **dout = ARENA_ARRAY(arena, Value *, graph->n_values + 64);
  for (int o = 0; o < results; o++) {
    Value *result = graph->outputs.at[o].value;
    if (carry[o])
      dout[result->id] = graph_add_input(graph, arena_printf(arena, "d%d", o), ROLE_INPUT,
                                         result->type, (Loc){0});
  }
  differentiate(graph, dout, n_in, din);
  graph->outputs.count = 0;
}

static void compare_with_differences(Arena *arena, const char *what, const Graph *forward,
                                     const bool *carry, const GraphInput *input, double **in,
                                     int i, double **weight, const double *gradient) {
  int64_t n = type_elements(&input->value->type);
  const double eps = 1e-5;
  for (int64_t k = 0; k < n; k++) {
    double kept = in[i][k], loss[2];
    for (int side = 0; side < 2; side++) {
      in[i][k] = kept + (side ? eps : -eps);
      loss[side] = loss_of(arena, forward, carry, in, weight);
    }
    in[i][k] = kept;
    double expected = (loss[1] - loss[0]) / (2 * eps), got = gradient ? gradient[k] : 0;
    if (!(fabs(got - expected) <= 1e-6 * fmax(1, fabs(expected))))
      fail_msg("d/d%s[%lld] is %.9g, by differences %.9g: %s", input->name, (long long)k, got,
               expected, what);
  }
}

/* `graph` is changed: it becomes the gradient graph. */
static void check_gradients(Arena *arena, const char *what, const Graph *forward, Graph *graph,
                            const bool *carry) {
  int n_in = forward->inputs.count, n_out = forward->outputs.count;
  double **in = sample_inputs(arena, forward), **weight = ARENA_ARRAY(arena, double *, n_out);
  for (int o = 0; o < n_out; o++) {
    int64_t n = type_elements(&forward->outputs.at[o].value->type);
    weight[o] = ARENA_ARRAY(arena, double, n);
    for (int64_t k = 0; k < n; k++)
      weight[o][k] = random_normal(11, (uint64_t)o, (uint64_t)k);
  }
  Value **din = ARENA_ARRAY(arena, Value *, n_in);
  add_gradients(arena, graph, carry, din);
  int *place = ARENA_ARRAY(arena, int, n_in);
  for (int i = 0; i < n_in; i++) {
    place[i] = graph->outputs.count;
    if (!din[i])
      continue;
    if (!type_equal(&din[i]->type, &graph->inputs.at[i].value->type))
      fail_msg("operand %d's gradient is %s: %s", i, type_text(&din[i]->type), what);
    graph_add_output(graph, arena_printf(arena, "g%d", i), din[i], NULL, (Loc){0});
  }
  double **all = ARENA_ARRAY(arena, double *, graph->inputs.count);
  for (int i = 0, o = 0; i < graph->inputs.count; i++) {
    while (i >= n_in && !carry[o])
      o++;
    all[i] = i < n_in ? in[i] : weight[o++];
  }
  double **gradient = run_graph(arena, graph, all);
  for (int i = 0; i < n_in; i++) {
    const GraphInput *input = &forward->inputs.at[i];
    if (dtype_is_float(input->value->type.dtype) && strncmp(input->name, "bit", 3) != 0)
      compare_with_differences(arena, what, forward, carry, input, in, i, weight,
                               din[i] ? gradient[place[i]] : NULL);
  }
}

/* The composite by its own rule, and (where it has one at all) through its expansion. */
static void test_gradients(void **state) {
  (void)state;
  int checked = 0;
  for (int i = 0; i < SAMPLES; i++) {
    Arena *arena = arena_new();
    Graph *forward = sample_graph(arena, &samples[i]);
    assert_non_null(forward);
    const Node *node = forward->nodes.at[0];
    bool by_expansion = node->op->flags & OPF_GRAD_EXPAND, carry[8], any = false;
    for (int o = 0; o < node->n_out; o++)
      any |= carry[o] = carries(node, o);
    bool has_rule = node->op->grad != grad_none;
    if (any && has_rule)
      check_gradients(arena, samples[i].node, forward, sample_graph(arena, &samples[i]), carry);
    if (any && node->op->expand && (has_rule || by_expansion))
      check_gradients(arena, samples[i].node, forward, expand_graph(arena, forward), carry);
    /* the expansion once: contrastive_loss leaves logsumexp, which has a rule of its own */
    if (by_expansion)
      check_gradients(arena, samples[i].node, forward,
                      graph_rewrite(forward, arena, expand_composite, NULL), carry);
    checked += any && (has_rule || by_expansion);
    arena_free(arena);
  }
  assert_true(checked > 50);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_row_has_a_sample),
      cmocka_unit_test(test_expansions),
      cmocka_unit_test(test_gradients),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
