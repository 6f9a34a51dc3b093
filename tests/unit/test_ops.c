/* Every row of the op table, by samples: shapes, evaluation against hand-made numbers, expansions
 * against the composites' own evaluation, gradient rules against finite differences.
 *
 * A sample is a graph of one node in the .tg form. A row without a sample fails.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/graph_tools.h"

/* clang-format off: one sample a line */
static const struct Sample {
  const char *inputs, *node;
} samples[] = {
  {"", "%r = constant value=2.5 shape=[2,3] : f32[2,3]"},
  {"", "%r = constant value=3 dtype=i64 shape=[] : i64[]"},
  {"", "%r = iota axis=1 shape=[2,3,2] : f32[2,3,2]"},
  {"%x: f32[2,3]", "%r = neg %x : f32[2,3]"},
  {"%x: f32[2,3]", "%r = abs %x : f32[2,3]"},
  {"%x: f32[2,3]", "%r = sign %x : f32[2,3]"},
  {"%x: f64[2,3]", "%r = exp %x : f64[2,3]"},
  {"%positive: f32[2,3]", "%r = log %positive : f32[2,3]"},
  {"%positive: f32[2,3]", "%r = sqrt %positive : f32[2,3]"},
  {"%positive: f32[2,3]", "%r = rsqrt %positive : f32[2,3]"},
  {"%x: f32[2,3]", "%r = tanh %x : f32[2,3]"},
  {"%x: f32[2,3]", "%r = erf %x : f32[2,3]"},
  {"%x: f32[2,3]", "%r = floor %x : f32[2,3]"},
  {"%x: f32[2,3]", "%r = cast %x dtype=bf16 : bf16[2,3]"},
  {"%x: f32[2,3]", "%r = cast %x dtype=i64 : i64[2,3]"},
  {"%x: i64[2,3]", "%r = cast %x dtype=f32 : f32[2,3]"},
  {"%x: f32[2,3], %y: f32[2,3]", "%r = add %x, %y : f32[2,3]"},
  {"%x: f32[2,3], %y: f32[2,3]", "%r = sub %x, %y : f32[2,3]"},
  {"%x: f32[2,3], %y: f32[2,3]", "%r = mul %x, %y : f32[2,3]"},
  {"%x: f32[2,3]", "%r = mul %x, %x : f32[2,3]"},
  {"%x: f32[2,3], %positive: f32[2,3]", "%r = div %x, %positive : f32[2,3]"},
  {"%x: f16[2,3], %y: f16[2,3]", "%r = max %x, %y : f16[2,3]"},
  {"%x: f32[2,3], %y: f32[2,3]", "%r = min %x, %y : f32[2,3]"},
  {"%x: f32[2,3], %y: f32[2,3]", "%r = lt %x, %y : f32[2,3]"},
  {"%index: i64[2,3], %index2: i64[2,3]", "%r = le %index, %index2 : f32[2,3]"},
  {"%index: i64[2,3], %index2: i64[2,3]", "%r = eq %index, %index2 : f32[2,3]"},
  {"%c: f32[2,3], %x: f32[2,3], %y: f32[2,3]", "%r = select %c, %x, %y : f32[2,3]"},
  {"%bit: f32[2,3], %x: f64[2,3], %y: f64[2,3]", "%r = select %bit, %x, %y : f64[2,3]"},
  {"%x: f32[2,3]", "%r = relu %x : f32[2,3]"},
  {"%x: f32[2,3]", "%r = leaky_relu %x slope=0.25 : f32[2,3]"},
  {"%x: f32[2,3]", "%r = sigmoid %x : f32[2,3]"},
  {"%x: f64[2,3]", "%r = gelu %x : f64[2,3]"},
  {"%x: f32[2,3,4]", "%r = reshape %x shape=[4,6] : f32[4,6]"},
  {"%x: f32[1,1]", "%r = reshape %x shape=[] : f32[]"},
  {"%x: f32[2,3,4]", "%r = permute %x perm=[1,2,0] : f32[3,4,2]"},
  {"%x: f32[2,1,3,1]", "%r = broadcast %x shape=[2,4,3,2] : f32[2,4,3,2]"},
  {"%x: f32[5,7]", "%r = slice %x start=[1,0] stop=[4,7] step=[2,3] : f32[2,3]"},
  {"%x: f32[2,3], %y: f32[2,1], %z: f32[2,2]", "%r = concat %x, %y, %z axis=1 : f32[2,6]"},
  {"%x: f32[2,3]", "%r = pad %x before=[1,0] after=[0,2] step=[3,1] value=1.5 : f32[5,5]"},
  {"%x: f32[2,3,4]", "%r = reduce_sum %x axes=[0,2] : f32[1,3,1]"},
  {"%x: f32[2,3,4]", "%r = reduce_max %x axes=[1] : f32[2,1,4]"},
  {"%x: f32[2,3,4]", "%r = reduce_max %x axes=[0,1,2] : f32[1,1,1]"},
  {"%x: f32[2,3,4]", "%r = reduce_mean %x axes=[2,1] : f32[2,1,1]"},
  {"%x: f32[2,3], %y: f32[3,4]", "%r = matmul %x, %y : f32[2,4]"},
  {"%x: f32[2,3,2], %y: f32[2,3,4]", "%r = matmul %x, %y ta=1 : f32[2,2,4]"},
  {"%x: f32[2,2,3], %y: f32[2,4,3]", "%r = matmul %x, %y tb=1 : f32[2,2,4]"},
  {"%x: f32[2,1,3,2], %y: f32[2,1,4,3]", "%r = matmul %x, %y ta=1 tb=1 : f32[2,1,2,4]"},
  {"%x: f32[2,3,4,3,5], %w: f32[2,3,3,1,2]", "%r = conv3d %x, %w : f32[2,2,2,3,4]"},
  {"%x: f32[1,2,5,4,6], %w: f32[3,2,3,3,3]",
   "%r = conv3d %x, %w stride=[2,1,3] pad=[1,1,1] pad_after=[1,1,0] : f32[1,3,3,4,2]"},
  {"%x: f32[1,4,3,3,3], %w: f32[6,2,2,3,1]",
   "%r = conv3d %x, %w pad=[1,2,0] groups=2 : f32[1,6,3,3,3]"},
  {"%x: f32[2,3,3,2,4], %w: f32[3,1,3,1,3]",
   "%r = conv3d %x, %w stride=[1,2,2] pad=[2,0,1] pad_after=[0,0,1] groups=3 : f32[2,3,3,1,2]"},
  {"%x: f32[1,2,2,2,2], %w: f32[4,1,1,1,1]", "%r = conv3d %x, %w groups=2 : f32[1,4,2,2,2]"},
  {"%dy: f32[1,3,3,4,2], %w: f32[3,2,3,3,3]",
   "%r = conv3d_grad_input %dy, %w stride=[2,1,3] pad=[1,1,1] pad_after=[1,1,0] groups=1 "
   "size=[5,4,6] : f32[1,2,5,4,6]"},
  {"%x: f32[1,4,3,3,3], %dy: f32[1,6,3,3,3]",
   "%r = conv3d_grad_weight %x, %dy stride=[1,1,1] pad=[1,2,0] pad_after=[0,0,0] groups=2 "
   "kernel=[2,3,1] : f32[6,2,2,3,1]"},
  {"%x: f32[1,3,3,3,2], %w: f32[2,2,4]",
   "%r = tap_conv %x, %w taps=[0,0,0,-1,2,1] stride=[2,1,1] size=[2,3,3] : f32[1,2,3,3,4]"},
  {"%x: f32[1,3,3,3,2], %dy: f32[1,2,3,3,4]",
   "%r = tap_conv_grad_weight %x, %dy taps=[0,0,0,-1,2,1] stride=[2,1,1] : f32[2,2,4]"},
  {"%x: f32[1,3,3,3,2], %w: f32[2,2]",
   "%r = tap_depthwise %x, %w taps=[0,0,0,-1,2,1] stride=[1,1,1] divisor=[2,1,1] size=[5,3,3] "
   ": f32[1,5,3,3,2]"},
  {"%x: f32[1,3,3,3,2], %dy: f32[1,2,3,3,2]",
   "%r = tap_depthwise_grad_weight %x, %dy taps=[0,0,0,-1,2,1] stride=[2,1,1] : f32[2,2]"},
  {"%x: f32[1,2,5,4,3]",
   "%r, %n = max_pool %x kernel=[3,3,3] stride=[2,2,2] pad=[1,1,1] : f32[1,2,3,2,2], "
   "u8[1,2,3,2,2]"},
  {"%x: f32[2,1,2,4,3]",
   "%r, %n = max_pool %x kernel=[1,2,3] stride=[1,1,1] : f32[2,1,2,3,1], u8[2,1,2,3,1]"},
  {"%dy: f32[1,2,2,2,2], %index: u8[1,2,2,2,2]",
   "%r = max_pool_grad %dy, %index kernel=[2,3,2] stride=[1,1,2] pad=[0,0,0] size=[3,4,5] "
   ": f32[1,2,3,4,5]"},
  {"%x: f32[1,2,5,4,3]",
   "%r = avg_pool %x kernel=[3,3,3] stride=[2,1,2] pad=[1,1,1] : f32[1,2,3,4,2]"},
  {"%x: f32[1,2,1,2,1]",
   "%r = avg_pool %x kernel=[3,3,3] stride=[1,1,1] pad=[1,1,1] : f32[1,2,1,2,1]"},
  {"%dy: f32[1,2,3,4,2]",
   "%r = avg_pool_grad %dy kernel=[3,3,3] stride=[2,1,2] pad=[1,1,1] size=[5,4,3] "
   ": f32[1,2,5,4,3]"},
  {"%x: f32[1,3,3,3,2]",
   "%r, %n = tap_max %x taps=[0,0,0,-1,2,1] stride=[1,1,1] size=[3,3,3] : f32[1,3,3,3,2], "
   "u8[1,3,3,3,2]"},
  {"%dy: f32[1,3,3,3,2], %index: u8[1,3,3,3,2]",
   "%r = tap_max_grad %dy, %index taps=[0,0,0,1,-2,-1] divisor=[2,1,1] size=[5,3,3] "
   ": f32[1,5,3,3,2]"},
  {"%x: f32[1,3,3,3,2]",
   "%r = tap_sum %x taps=[0,0,0,-1,2,1] stride=[1,1,2] size=[3,3,2] : f32[1,3,3,2,2]"},
  {"%x: f32[2,3,2,1,2], %w: f32[3], %b: f32[3], %m: f32[3], %positive: f32[3]",
   "%r = batch_norm %x, %w, %b, %m, %positive eps=0.01 : f32[2,3,2,1,2]"},
  {"%x: f32[4,3], %w: f32[3], %b: f32[3], %m: f32[3], %positive: f32[3]",
   "%r = batch_norm %x, %w, %b, %m, %positive : f32[4,3]"},
  {"%x: f32[2,3,2,1,2], %w: f32[3], %b: f32[3], %m: f32[3], %positive: f32[3], %count: i64[]",
   "%r, %s, %t, %u = batch_norm_train %x, %w, %b, %m, %positive, %count eps=0.01 momentum=0.25 "
   ": f32[2,3,2,1,2], f32[3], f32[3], i64[]"},
  {"%x: f32[2,3,5], %w: f32[5], %b: f32[5]",
   "%r = layer_norm %x, %w, %b eps=0.01 : f32[2,3,5]"},
  {"%x: f32[5], %w: f32[5], %b: f32[5]", "%r = layer_norm %x, %w, %b : f32[5]"},
  {"%x: f32[2,3,4]", "%r = softmax %x : f32[2,3,4]"},
  {"%x: f32[2,3,4]", "%r = logsumexp %x : f32[2,3,1]"},
  {"%x: f32[2,3,4]", "%r = l2_normalize %x : f32[2,3,4]"},
  {"%x: f32[4,2]", "%r = l2_normalize %x eps=1.5 : f32[4,2]"},
  {"%images: f32[3,4], %texts: f32[3,4], %positive: f32[]",
   "%r = contrastive_loss %images, %texts, %positive : f32[]"},
  {"%table: f32[3,4], %ids: i64[2,5]", "%r = embedding %table, %ids : f32[2,5,4]"},
  {"%dy: f32[2,5,4], %ids: i64[2,5]", "%r = embedding_grad %dy, %ids rows=3 : f32[3,4]"},
  {"%p: f32[2,3], %g: f32[2,3], %m: f32[2,3], %positive: f32[2,3], %positive2: f32[], "
   "%positive3: f32[]",
   "%r, %s, %t = adamw %p, %g, %m, %positive, %positive2, %positive3 beta1=0.9 beta2=0.95 "
   "eps=1e-8 decay=0.05 : f32[2,3], f32[2,3], f32[2,3]"},
  {"%p: f64[4], %g: f64[4], %m: f64[4], %positive: f64[4], %positive2: f32[], %positive3: f32[]",
   "%r, %s, %t = adamw %p, %g, %m, %positive, %positive2, %positive3 beta1=0.0 beta2=0.5 "
   "eps=1e-3 decay=0.0 : f64[4], f64[4], f64[4]"},
  {"%x: f32[2,3], %y: f32[2,3]",
   "%r, %s = region %x, %y : f32[2,3], f32[2,3] "
   "@body(%a: f32[2,3], %b: f32[2,3]) { %c = mul %a, %b : f32[2,3] %d = exp %c : f32[2,3] "
   "ret %d, %c }"},
};
/* clang-format on */

enum { SAMPLES = sizeof samples / sizeof samples[0] };

static Graph *sample_graph(Arena *arena, const struct Sample *sample) {
  const char *results = arena_strndup(arena, sample->node, strcspn(sample->node, "="));
  return parse_graph(arena, arena_printf(arena, "graph @sample(%s) {\n  %s\n  ret %s\n}\n",
                                         sample->inputs, sample->node, results));
}

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
    if (graph->nodes.at[0]->op->cls == OP_COMPOSITE) {
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
