/* Op rules against numbers worked out apart from them: evaluation, counted operations, messages of
 * shape rules.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/graph_tools.h"

enum { MOST = 24 };

static const struct Hand {
  const char *inputs, *node;
  double in[6][MOST], out[4][MOST];
} hands[] = {
    {"", "%r = constant value=2.5 shape=[2] : f32[2]", {{0}}, {{2.5, 2.5}}},
    {"", "%r = iota axis=1 shape=[2,3] : f32[2,3]", {{0}}, {{0, 1, 2, 0, 1, 2}}},
    {"%x: f32[3]", "%r = sign %x : f32[3]", {{-2, 0, 0.5}}, {{-1, 0, 1}}},
    {"%x: f32[3]", "%r = floor %x : f32[3]", {{-1.5, 0, 2.75}}, {{-2, 0, 2}}},
    {"%x: f32[3]", "%r = rsqrt %x : f32[3]", {{4, 0.25, 1}}, {{0.5, 2, 1}}},
    {"%x: f32[3]", "%r = cast %x dtype=i32 : i32[3]", {{-1.5, 0.9, 2}}, {{-1, 0, 2}}},
    {"%x: f32[4]", "%r = cast %x dtype=bf16 : bf16[4]", {{1.00390625, 1.01171875, 0.3, NAN}},
     {{1, 1.015625, 0.30078125, NAN}}},
    {"%x: f32[2]", "%r = cast %x dtype=f16 : f16[2]", {{2049, 70000}}, {{2048, INFINITY}}},
    {"%x: f32[3], %y: f32[3]", "%r = max %x, %y : f32[3]", {{1, NAN, 3}, {2, 1, NAN}},
     {{2, NAN, NAN}}},
    {"%x: f32[3], %y: f32[3]", "%r = min %x, %y : f32[3]", {{1, NAN, 3}, {2, 1, NAN}},
     {{1, NAN, NAN}}},
    {"%x: f32[3], %y: f32[3]", "%r = le %x, %y : f32[3]", {{1, 2, 3}, {2, 2, 2}}, {{1, 1, 0}}},
    {"%x: f32[3], %y: f32[3]", "%r = lt %x, %y : f32[3]", {{1, 2, 3}, {2, 2, 2}}, {{1, 0, 0}}},
    {"%x: f32[3], %y: f32[3]", "%r = eq %x, %y : f32[3]", {{1, 2, 3}, {2, 2, 2}}, {{0, 1, 0}}},
    {"%c: f32[2], %x: f32[2], %y: f32[2]", "%r = select %c, %x, %y : f32[2]",
     {{0, 1}, {5, 6}, {7, 8}}, {{7, 6}}},
    {"%x: f32[6]", "%r = gelu %x : f32[6]", {{1, -2, 3, 0.5, 2, -1}},
     {{0.841344746069, -0.0455002638964, 2.99595030591, 0.345731230637, 1.9544997361,
       -0.158655253931}}},
    {"%x: f32[3]", "%r = sigmoid %x : f32[3]", {{1, -2, 3}},
     {{0.73105857863, 0.119202922022, 0.952574126822}}},
    {"%x: f32[3]", "%r = leaky_relu %x slope=0.5 : f32[3]", {{1, -2, 3}}, {{1, -1, 3}}},
    {"%x: f32[2,3]", "%r = permute %x perm=[1,0] : f32[3,2]", {{1, 2, 3, 4, 5, 6}},
     {{1, 4, 2, 5, 3, 6}}},
    {"%x: f32[2,1]", "%r = broadcast %x shape=[2,2] : f32[2,2]", {{1, 2}}, {{1, 1, 2, 2}}},
    {"%x: f32[7]", "%r = slice %x start=[1] stop=[6] step=[2] : f32[3]", {{0, 1, 2, 3, 4, 5, 6}},
     {{1, 3, 5}}},
    {"%x: f32[2,2], %y: f32[2,1]", "%r = concat %x, %y axis=1 : f32[2,3]",
     {{1, 2, 3, 4}, {5, 6}}, {{1, 2, 5, 3, 4, 6}}},
    {"%x: f32[2]", "%r = pad %x before=[1] after=[2] step=[3] value=9.0 : f32[7]", {{1, 2}},
     {{9, 1, 9, 9, 2, 9, 9}}},
    {"%x: f32[2,3]", "%r = reduce_mean %x axes=[0] : f32[1,3]", {{1, -2, 3, 0.5, 2, -1}},
     {{0.75, 0, 1}}},
    {"%x: f32[2,3]", "%r = reduce_max %x axes=[1] : f32[2,1]", {{1, -2, 3, 0.5, 2, -1}},
     {{3, 2}}},
    {"%x: f32[3,2], %y: f32[2,3]", "%r = matmul %x, %y ta=1 tb=1 : f32[2,2]",
     {{1, 2, 3, 4, 5, 6}, {1, 0, -1, 2, 1, 0}}, {{-4, 5, -4, 8}}},
    {"%x: f32[1,2,2,3,2], %w: f32[2,1,1,2,2]",
     "%r = conv3d %x, %w stride=[2,2,1] pad=[0,1,0] pad_after=[0,0,1] groups=2 : f32[1,2,1,2,2]",
     {{1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12,
       13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24},
      {-3, -2, -1, 0, 1, 2, 3, 4}},
     {{-1, -2, -22, -18, 95, 42, 170, 70}}},
    {"%x: f32[1,1,1,1,5]",
     "%r, %n = max_pool %x kernel=[1,1,3] stride=[1,1,2] pad=[0,0,1] : f32[1,1,1,1,3], "
     "u8[1,1,1,1,3]",
     {{-5, -4, -7, -7, -9}}, {{-4, -4, -7}, {2, 0, 0}}},
    {"%x: f32[1,1,1,1,5]",
     "%r = avg_pool %x kernel=[1,1,3] stride=[1,1,2] pad=[0,0,1] : f32[1,1,1,1,3]",
     {{1, 2, 3, 4, 6}}, {{1.5, 3, 5}}},
    {"%x: f32[2,3], %w: f32[3], %b: f32[3], %m: f32[3], %v: f32[3]",
     "%r = batch_norm %x, %w, %b, %m, %v : f32[2,3]",
     {{1, -2, 3, 0.5, 2, -1}, {1, 2, 3}, {0.5, 0, -1}, {1, 0, 0.5}, {1, 2, 0.5}},
     {{0.5, -2.8284200537, 9.60649565337, 2.49998125013e-06, 2.8284200537, -7.36389739202}}},
    {"%x: f32[2,3], %w: f32[3], %b: f32[3], %m: f32[3], %v: f32[3], %n: i64[]",
     "%r, %s, %t, %u = batch_norm_train %x, %w, %b, %m, %v, %n : f32[2,3], f32[3], f32[3], i64[]",
     {{1, -2, 3, 0.5, 2, -1}, {1, 2, 3}, {0.5, 0, -1}, {1, 0, 0.5}, {1, 2, 0.5}, {6}},
     {{1.4999200096, -1.9999975, 1.99999625001, -0.499920009599, 1.9999975, -3.99999625001},
      {0.975, 0, 0.55}, {0.9125, 2.6, 1.25}, {7}}},
    {"%x: f32[2,3], %w: f32[3], %b: f32[3]", "%r = layer_norm %x, %w, %b : f32[2,3]",
     {{1, -2, 3, 0.5, 2, -1}, {1, 2, 3}, {0.5, 0, -1}},
     {{0.662221229027, -2.59553966443, 2.40664580956, 0.5, 2.44948157786, -4.67422236679}}},
    {"%x: f32[2,3]", "%r = softmax %x : f32[2,3]", {{1001, 998, 1003, 0.5, 2, -1}},
     {{0.118499654535, 0.0058997504019, 0.875600595063, 0.17529039214, 0.785597034589,
       0.0391125732707}}},
    {"%x: f32[2,3]", "%r = logsumexp %x : f32[2,1]", {{1001, 998, 1003, 0.5, 2, -1}},
     {{1003.13284523373, 2.24131129666}}},
    {"%x: f32[3,2]", "%r = l2_normalize %x : f32[3,2]", {{3, -4, 0, 0, 1e-13, 0}},
     {{0.6, -0.8, 0, 0, 0.1, 0}}},
    {"%i: f32[2,2], %t: f32[2,2], %f: f32[]", "%r = contrastive_loss %i, %t, %f : f32[]",
     {{1, 0, 0.6, 0.8}, {0.8, 0.6, 0, 1}, {2}}, {{0.524896839034}}},
    {"%t: f32[3,2], %i: i64[2]", "%r = embedding %t, %i : f32[2,2]", {{1, 2, 3, 4, 5, 6}, {2, 0}},
     {{5, 6, 1, 2}}},
    {"%d: f32[3,2], %i: i64[3]", "%r = embedding_grad %d, %i rows=3 : f32[3,2]",
     {{1, 2, 3, 4, 5, 6}, {2, 0, 2}}, {{3, 4, 0, 0, 6, 8}}},
    {"%p: f32[2], %g: f32[2], %m: f32[2], %v: f32[2], %s: f32[], %l: f32[]",
     "%r, %q, %t = adamw %p, %g, %m, %v, %s, %l beta1=0.9 beta2=0.95 eps=1e-8 decay=0.05 "
     ": f32[2], f32[2], f32[2]",
     {{0.895000002, -1.890000001}, {0.25, 2}, {0.05, -0.1}, {0.0125, 0.05}, {2}, {0.1}},
     {{0.796595697555, -1.91688739581}, {0.07, 0.11}, {0.015, 0.2475}}},
};

/* Text of a graph of one node; its results are the outputs. */
static Graph *one_node(Arena *arena, const char *inputs, const char *node) {
  const char *results = arena_strndup(arena, node, strcspn(node, "="));
  Graph *graph = parse_graph(arena, arena_printf(arena, "graph @hand(%s) {\n  %s\n  ret %s\n}\n",
                                                 inputs, node, results));
  if (!graph)
    fail_msg("does not parse: %s", node);
  return graph;
}

static void test_values(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof hands / sizeof hands[0]; i++) {
    Arena *arena = arena_new();
    const struct Hand *hand = &hands[i];
    Graph *graph = one_node(arena, hand->inputs, hand->node);
    double *in[6], **out;
    for (int k = 0; k < graph->inputs.count; k++)
      in[k] = arena_copy(arena, hand->in[k], sizeof hand->in[k]);
    out = run_graph(arena, graph, in);
    for (int o = 0; o < graph->outputs.count; o++) {
      int64_t n = type_elements(&graph->outputs.at[o].value->type);
      if (!(relative_difference(out[o], hand->out[o], n) <= 1e-10))
        fail_msg("result %d is off (first number %.12g): %s", o, out[o][0], hand->node);
    }
    arena_free(arena);
  }
}

/* Equal largest elements share the gradient of reduce_max; max sends it to x; relu's is 0 at 0. */
static void test_gradients_at_ties(void **state) {
  (void)state;
  static const struct {
    const char *inputs, *node;
    double in[2][4], expected[2][4];
  } ties[] = {
      {"%x: f32[4]", "%r = reduce_max %x axes=[0] : f32[1]", {{2, 1, 2, 0}}, {{0.5, 0, 0.5, 0}}},
      {"%x: f32[2], %y: f32[2]", "%r = max %x, %y : f32[2]", {{1, 2}, {1, 3}}, {{1, 0}, {0, 1}}},
      {"%x: f32[2], %y: f32[2]", "%r = min %x, %y : f32[2]", {{1, 2}, {1, 3}}, {{1, 1}, {0, 0}}},
      {"%x: f32[3]", "%r = relu %x : f32[3]", {{-1, 0, 1}}, {{0, 0, 1}}},
      {"%x: f32[1,1,1,1,4]",
       "%r, %n = max_pool %x kernel=[1,1,4] stride=[1,1,1] : f32[1,1,1,1,1], u8[1,1,1,1,1]",
       {{1, 3, 3, 2}}, {{0, 1, 0, 0}}},
      {"%x: f32[1,4]", "%r = l2_normalize %x eps=0.5 : f32[1,4]", {{0, 0, 0, 0}}, {{2, 2, 2, 2}}},
  };
  for (size_t i = 0; i < sizeof ties / sizeof ties[0]; i++) {
    Arena *arena = arena_new();
    Graph *graph = one_node(arena, ties[i].inputs, ties[i].node);
    int n_in = graph->inputs.count;
    Value *din[2], **dout = ARENA_ARRAY(arena, Value *, graph->n_values + 8);
    Value *result = graph->outputs.at[0].value;
    dout[result->id] = graph_add_input(graph, "d", ROLE_INPUT, result->type, (Loc){0});
    differentiate(graph, dout, n_in, din);
    graph->outputs.count = 0;
    for (int k = 0; k < n_in; k++)
      graph_add_output(graph, k ? "dy" : "dx", din[k], NULL, (Loc){0});
    double ones[4] = {1, 1, 1, 1}, x[4], y[4];
    memcpy(x, ties[i].in[0], sizeof x);
    memcpy(y, ties[i].in[1], sizeof y);
    double **out = run_graph(arena, graph, n_in == 2 ? (double *[]){x, y, ones}
                                                     : (double *[]){x, ones});
    for (int k = 0; k < n_in; k++)
      if (relative_difference(out[k], ties[i].expected[k], type_elements(&din[k]->type)) != 0)
        fail_msg("gradient of operand %d is off: %s", k, ties[i].node);
    arena_free(arena);
  }
}

static void test_flops(void **state) {
  (void)state;
  static const struct {
    const char *inputs, *node;
    double flops;
  } counts[] = {
      {"%x: f32[2,4,6,6,6], %w: f32[8,2,3,3,3]",
       "%r = conv3d %x, %w stride=[2,2,2] pad=[1,1,1] pad_after=[1,1,1] groups=2 : f32[2,8,3,3,3]",
       2 * 27 * 8 * 2 * 27.0},
      {"%d: f32[2,8,3,3,3], %w: f32[8,2,3,3,3]",
       "%r = conv3d_grad_input %d, %w stride=[2,2,2] pad=[1,1,1] pad_after=[1,1,1] groups=2 "
       "size=[6,6,6] : f32[2,4,6,6,6]",
       2 * 27 * 8 * 2 * 27.0},
      {"%x: f32[3,5,4], %y: f32[3,6,4]", "%r = matmul %x, %y tb=1 : f32[3,5,6]", 3 * 5 * 6 * 4.0},
      {"%x: f32[2,3,4], %w: f32[4], %b: f32[4]", "%r = layer_norm %x, %w, %b : f32[2,3,4]", 120},
      {"%x: f32[2,3,4], %w: f32[4], %b: f32[4]",
       "%r = layer_norm %x, %w, %b : f32[2,3,4] uncounted", 0},
      {"%x: f32[2,3,4]", "%r = gelu %x : f32[2,3,4]", 0},
      {"%x: f32[1,3,3,3,2], %w: f32[2,2,4]",
       "%r = tap_conv %x, %w taps=[0,0,0,-1,2,1] stride=[2,1,1] size=[2,3,3] : f32[1,2,3,3,4]",
       18 * 16},
  };
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
    Arena *arena = arena_new();
    Graph *graph = one_node(arena, counts[i].inputs, counts[i].node);
    if (graph_flops(graph) != counts[i].flops)
      fail_msg("%g operations, expected %g: %s", graph_flops(graph), counts[i].flops,
               counts[i].node);
    arena_free(arena);
  }
}

static void test_shape_errors(void **state) {
  (void)state;
  static const struct {
    const char *inputs, *node, *message;
  } wrong[] = {
      {"%x: f32[1,32,4,4,4], %w: f32[8,64,1,1,1]", "conv3d %x, %w",
       "conv3d: x has 32 channels, w expects 64"},
      {"%x: f32[1,4,4,4,4], %w: f32[3,2,1,1,1]", "conv3d %x, %w groups=2",
       "conv3d: 2 groups do not divide 4 and 3 channels"},
      {"%x: f32[1,4,4,2,4], %w: f32[3,4,1,3,1]", "conv3d %x, %w",
       "conv3d: axis 1 has 2 elements with padding, the kernel needs 3"},
      {"%x: f32[1,4,4,2], %w: f32[3,4,1,3,1]", "conv3d %x, %w", "x has 4 axes, expected 5"},
      {"%x: f32[1,4,4,4,4], %w: f32[3,4,1,1,1]", "conv3d %x, %w stride=[1,0,1]",
       "stride has 0, the least possible is 1"},
      {"%d: f32[1,3,4,4,4], %w: f32[3,4,1,1,1]",
       "conv3d_grad_input %d, %w stride=[2,2,2] pad=[0,0,0] pad_after=[0,0,0] groups=1 "
       "size=[7,7,5]",
       "dy has 4 places on axis 2, expected 3"},
      {"%x: f32[2,3], %y: f32[4,5]", "matmul %x, %y",
       "matmul: the summed axis is 3 on the left, 4 on the right"},
      {"%x: f32[2,2,3], %y: f32[3,3,5]", "matmul %x, %y", "batch axis 0 is 2 on the left, 3"},
      {"%x: f32[2,3], %y: f32[2,4]", "add %x, %y", "add: the operands differ"},
      {"%x: i64[2,3]", "exp %x", "exp: wants a floating-point operand"},
      {"%x: f32[2,3]", "cast %x dtype=f31", "there is no element type 'f31'"},
      {"%x: f32[2,3]", "reshape %x shape=[4,2]", "6 elements do not fill f32[4,2]"},
      {"%x: f32[2,3]", "permute %x perm=[0,0]", "perm does not name each of the 2 axes once"},
      {"%x: f32[2,3]", "broadcast %x shape=[2,6]", "axis 1 has 3 elements and does not stretch"},
      {"%x: f32[5]", "slice %x start=[2] stop=[6] step=[1]", "2..6 is not a range within its 5"},
      {"%x: f32[2,3], %y: f32[3,3]", "concat %x, %y axis=1", "operand 2 differs from the first"},
      {"%x: f32[2,3]", "reduce_sum %x axes=[2]", "there is no axis 2"},
      {"%x: f32[2,3]", "reduce_sum %x axes=[1,1]", "axis 1 is named twice"},
      {"%x: f32[1,1,4,4,4]", "max_pool %x kernel=[2,2,2] stride=[1,1,1] pad=[2,0,0]",
       "pad 2 is not below the kernel's 2 on axis 0"},
      {"%x: f32[1,1,9,9,9]", "max_pool %x kernel=[7,7,7] stride=[1,1,1]",
       "a window of 343 elements is more than a u8 can number"},
      {"%x: f32[1,2,2,2,3], %w: f32[2,2,4]",
       "tap_conv %x, %w taps=[0,0,0,1,1,1] stride=[1,1,1] size=[2,2,2]",
       "w is f32[2,2,4], expected f32[2,3,4]"},
      {"%x: f32[1,2,2,2,3]", "tap_sum %x taps=[0,0,0,1] stride=[1,1,1] size=[2,2,2]",
       "taps has 4 numbers, which is no multiple of 3"},
      {"%x: f32[1,3], %w: f32[3], %b: f32[3], %m: f32[3], %v: f32[3], %n: i64[]",
       "batch_norm_train %x, %w, %b, %m, %v, %n",
       "batch statistics need more than one element for each channel"},
      {"%x: f32[2,3], %w: f32[2], %b: f32[3]", "layer_norm %x, %w, %b",
       "the weight is f32[2], expected f32[3]"},
      {"%i: f32[2,3], %t: f32[3,3], %f: f32[]", "contrastive_loss %i, %t, %f",
       "texts is f32[3,3], expected f32[2,3]"},
      {"%t: f32[2,3], %i: f32[2]", "embedding %t, %i", "ids are f32, expected an integer type"},
      {"%d: f32[2,3], %i: i64[3]", "embedding_grad %d, %i rows=4",
       "dy is f32[2,3], expected f32[3,3]"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    Arena *arena = arena_new();
    Diag diag;
    int count;
    diag_init(&diag, arena);
    const char *text =
        arena_printf(arena, "graph @wrong(%s) {\n  %%r = %s : f32[1]\n  ret %%r\n}\n",
                     wrong[i].inputs, wrong[i].node);
    assert_null(graph_parse(arena, &diag, "wrong.tg", text, strlen(text), &count));
    assert_true(diag.messages.count > 0);
    if (!strstr(diag.messages.at[0], wrong[i].message))
      fail_msg("expected '%s', got %s", wrong[i].message, diag.messages.at[0]);
    arena_free(arena);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_values),
      cmocka_unit_test(test_gradients_at_ties),
      cmocka_unit_test(test_flops),
      cmocka_unit_test(test_shape_errors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
