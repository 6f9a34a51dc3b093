/* The tap forms against the spatial ops they replace: a conv3d, pool or gradient on [N,C,A0,A1,A2]
 * and its tap form on permuted tensors are built into one graph and must agree. The tap lists made
 * here are the ones the layout pass has to make.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/graph_tools.h"

/* Grids are small and uneven so that no two axes can be mixed up. */
static const struct Case {
  int64_t x[5], outputs, kernel[3], stride[3], pad[3], pad_after[3], groups;
} cases[] = {
    {{2, 3, 4, 3, 5}, 2, {3, 1, 2}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}, 1},
    {{1, 2, 5, 4, 6}, 3, {3, 3, 3}, {2, 1, 3}, {1, 1, 1}, {1, 1, 0}, 1},
    {{1, 2, 5, 4, 6}, 3, {1, 1, 1}, {2, 2, 2}, {0, 0, 0}, {0, 0, 0}, 1},
    {{2, 3, 3, 2, 4}, 3, {1, 3, 3}, {1, 2, 2}, {0, 2, 1}, {0, 0, 1}, 3},
    {{1, 4, 2, 3, 5}, 4, {3, 3, 3}, {1, 1, 1}, {2, 1, 1}, {0, 1, 1}, 4},
};

enum { CASES = sizeof cases / sizeof cases[0], AXES = 3 };

static const int64_t channels_last[] = {0, 2, 3, 4, 1}, channels_first[] = {0, 4, 1, 2, 3};

typedef struct Bench {
  Arena *arena;
  Builder b;
  const struct Case *c;
  int taps;
  int64_t *ahead, *back; /* tap - pad for each kernel element, and its negative */
  int64_t grid[AXES];    /* of the result */
} Bench;

static Bench bench_new(const struct Case *c) {
  Bench bench = {.arena = arena_new(), .c = c};
  bench.b.graph = graph_new(bench.arena, "both");
  bench.taps = (int)(c->kernel[0] * c->kernel[1] * c->kernel[2]);
  bench.ahead = ARENA_ARRAY(bench.arena, int64_t, AXES * bench.taps);
  bench.back = ARENA_ARRAY(bench.arena, int64_t, AXES * bench.taps);
  for (int64_t t = 0; t < bench.taps; t++) {
    int64_t tap[AXES] = {t / (c->kernel[1] * c->kernel[2]), t / c->kernel[2] % c->kernel[1],
                         t % c->kernel[2]};
    for (int a = 0; a < AXES; a++) {
      bench.ahead[t * AXES + a] = tap[a] - c->pad[a];
      bench.back[t * AXES + a] = c->pad[a] - tap[a];
    }
  }
  for (int a = 0; a < AXES; a++)
    bench.grid[a] = (c->x[2 + a] + c->pad[a] + c->pad_after[a] - c->kernel[a]) / c->stride[a] + 1;
  return bench;
}

static Value *input(Bench *bench, const char *name, int rank, const int64_t *dim) {
  Type type = {.dtype = DT_f32, .rank = rank};
  memcpy(type.dim, dim, sizeof *dim * (size_t)rank);
  return graph_add_input(bench->b.graph, name, ROLE_INPUT, type, (Loc){0});
}

static Value *x_input(Bench *bench) { return input(bench, "x", 5, bench->c->x); }

static Value *dy_input(Bench *bench, int64_t channels) {
  return input(bench, "dy", 5, (int64_t[]){bench->c->x[0], channels, bench->grid[0],
                                           bench->grid[1], bench->grid[2]});
}

static Value *w_input(Bench *bench) {
  const struct Case *c = bench->c;
  return input(bench, "w", 5, (int64_t[]){c->outputs, c->x[1] / c->groups, c->kernel[0],
                                          c->kernel[1], c->kernel[2]});
}

static Value *last(Bench *bench, Value *x) { return build_permute(&bench->b, x, channels_last); }

/* [O,C,k0,k1,k2] -> [T,C,O], or with transposed [T,O,C], or for depthwise [T,C]. */
static Value *tap_weights(Bench *bench, Value *w, bool transposed) {
  static const int64_t forward[] = {2, 3, 4, 1, 0}, backward[] = {2, 3, 4, 0, 1};
  Value *p = build_permute(&bench->b, w, transposed ? backward : forward);
  bool depthwise = bench->c->groups > 1;
  int64_t dim[] = {bench->taps, depthwise ? w->type.dim[0] : p->type.dim[3], p->type.dim[4]};
  return build_reshape(&bench->b, p, depthwise ? 2 : 3, dim);
}

/* Outputs the pair, the second brought back to channels first when it is a volume. */
static void add_pair(Bench *bench, const char *name, Value *spatial, Value *taps) {
  Graph *graph = bench->b.graph;
  if (taps->type.rank == 5)
    taps = build_permute(&bench->b, taps, channels_first);
  assert_true(type_elements(&spatial->type) == type_elements(&taps->type));
  graph_add_output(graph, arena_printf(bench->arena, "%s spatial", name), spatial, NULL, (Loc){0});
  graph_add_output(graph, arena_printf(bench->arena, "%s taps", name), taps, NULL, (Loc){0});
}

static void compare_pairs(Bench *bench) {
  Graph *graph = bench->b.graph;
  Error error;
  if (!graph_check(graph, &error))
    fail_msg("%s", error.text);
  double **in = sample_inputs(bench->arena, graph), **out = run_graph(bench->arena, graph, in);
  for (int o = 0; o < graph->outputs.count; o += 2) {
    int64_t n = type_elements(&graph->outputs.at[o].value->type);
    double most = 0;
    for (int64_t i = 0; i < n; i++)
      most = fmax(most, fabs(out[o][i]));
    assert_true(most > 0);
    if (!(relative_difference(out[o + 1], out[o], n) <= 1e-13))
      fail_msg("%s and its tap form differ for x %s", graph->outputs.at[o].name,
               type_text(&graph->inputs.at[0].value->type));
  }
  arena_free(bench->arena);
}

/* ---- convolutions ---- */

static Value *spatial_conv(Bench *bench, const char *op, Value *x, Value *y, const char *size_name,
                           const int64_t *size) {
  const struct Case *c = bench->c;
  Value *in[] = {x, y};
  Node *node = build_node(&bench->b, op, 2, in, "stride", AXES, c->stride, "pad", AXES, c->pad,
                          "pad_after", AXES, c->pad_after, "groups", c->groups, size_name, AXES,
                          size, NULL);
  return &node->out[0];
}

static void test_conv(void **state) {
  (void)state;
  static const int64_t ones[] = {1, 1, 1};
  for (int i = 0; i < CASES; i++) {
    Bench bench = bench_new(&cases[i]);
    const struct Case *c = bench.c;
    bool depthwise = c->groups > 1;
    Builder *b = &bench.b;
    int n = AXES * bench.taps;
    Value *x = x_input(&bench), *w = w_input(&bench), *dy = dy_input(&bench, c->outputs);

    Node *conv = build_node(b, "conv3d", 2, (Value *[]){x, w}, "stride", AXES, c->stride, "pad",
                            AXES, c->pad, "pad_after", AXES, c->pad_after, "groups", c->groups,
                            NULL);
    Node *taps = build_node(b, depthwise ? "tap_depthwise" : "tap_conv", 2,
                            (Value *[]){last(&bench, x), tap_weights(&bench, w, false)}, "taps",
                            n, bench.ahead, "stride", AXES, c->stride, "size", AXES, bench.grid,
                            NULL);
    add_pair(&bench, "forward", &conv->out[0], &taps->out[0]);
    assert_true(conv->op->flops(conv) == taps->op->flops(taps));

    taps = build_node(b, depthwise ? "tap_depthwise" : "tap_conv", 2,
                      (Value *[]){last(&bench, dy), tap_weights(&bench, w, true)}, "taps", n,
                      bench.back, "stride", AXES, ones, "divisor", AXES, c->stride, "size", AXES,
                      c->x + 2, NULL);
    add_pair(&bench, "dx", spatial_conv(&bench, "conv3d_grad_input", dy, w, "size", c->x + 2),
             &taps->out[0]);

    taps = build_node(b, depthwise ? "tap_depthwise_grad_weight" : "tap_conv_grad_weight", 2,
                      (Value *[]){last(&bench, x), last(&bench, dy)}, "taps", n, bench.ahead,
                      "stride", AXES, c->stride, NULL);
    Value *dw = spatial_conv(&bench, "conv3d_grad_weight", x, dy, "kernel", c->kernel);
    add_pair(&bench, "dw", tap_weights(&bench, dw, false), &taps->out[0]);
    compare_pairs(&bench);
  }
}

/* A convolution in groups is one convolution for each group's channels, side by side. */
static void test_groups(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Graph *graph = parse_graph(
      arena, "graph @groups(%x: f32[2,4,3,4,3], %w: f32[6,2,2,3,1]) {\n"
             "  %all = conv3d %x, %w stride=[1,2,1] pad=[1,0,0] groups=2 : f32[2,6,3,1,3]\n"
             "  %x0 = slice %x start=[0,0,0,0,0] stop=[2,2,3,4,3] step=[1,1,1,1,1]"
             " : f32[2,2,3,4,3]\n"
             "  %x1 = slice %x start=[0,2,0,0,0] stop=[2,4,3,4,3] step=[1,1,1,1,1]"
             " : f32[2,2,3,4,3]\n"
             "  %w0 = slice %w start=[0,0,0,0,0] stop=[3,2,2,3,1] step=[1,1,1,1,1]"
             " : f32[3,2,2,3,1]\n"
             "  %w1 = slice %w start=[3,0,0,0,0] stop=[6,2,2,3,1] step=[1,1,1,1,1]"
             " : f32[3,2,2,3,1]\n"
             "  %y0 = conv3d %x0, %w0 stride=[1,2,1] pad=[1,0,0] : f32[2,3,3,1,3]\n"
             "  %y1 = conv3d %x1, %w1 stride=[1,2,1] pad=[1,0,0] : f32[2,3,3,1,3]\n"
             "  %y = concat %y0, %y1 axis=1 : f32[2,6,3,1,3]\n"
             "  ret %all, %y\n}\n");
  assert_non_null(graph);
  double **out = run_graph(arena, graph, sample_inputs(arena, graph));
  assert_true(relative_difference(out[0], out[1], 108) <= 1e-13);
  assert_true(fabs(out[0][0]) > 0);
  arena_free(arena);
}

/* ---- pools ---- */

static Node *spatial_pool(Bench *bench, const char *op, int n_in, Value *const *in,
                          const int64_t *size) {
  const struct Case *c = bench->c;
  if (!size)
    return build_node(&bench->b, op, n_in, in, "kernel", AXES, c->kernel, "stride", AXES,
                      c->stride, "pad", AXES, c->pad, NULL);
  return build_node(&bench->b, op, n_in, in, "kernel", AXES, c->kernel, "stride", AXES, c->stride,
                    "pad", AXES, c->pad, "size", AXES, size, NULL);
}

static void add_max_pool(Bench *bench, Value *x, Value *dy) {
  const struct Case *c = bench->c;
  int n = AXES * bench->taps;
  Node *pool = spatial_pool(bench, "max_pool", 1, &x, NULL);
  Node *taps = build_node(&bench->b, "tap_max", 1, (Value *[]){last(bench, x)}, "taps", n,
                          bench->ahead, "stride", AXES, c->stride, "size", AXES, bench->grid,
                          NULL);
  add_pair(bench, "max_pool", &pool->out[0], &taps->out[0]);
  add_pair(bench, "tap number", &pool->out[1], &taps->out[1]);
  Node *dx = spatial_pool(bench, "max_pool_grad", 2, (Value *[]){dy, &pool->out[1]}, c->x + 2);
  taps = build_node(&bench->b, "tap_max_grad", 2, (Value *[]){last(bench, dy), &taps->out[1]},
                    "taps", n, bench->back, "divisor", AXES, c->stride, "size", AXES, c->x + 2,
                    NULL);
  add_pair(bench, "max_pool_grad", &dx->out[0], &taps->out[0]);
}

static Value *tap_sum(Bench *bench, Value *x) {
  Node *sum = build_node(&bench->b, "tap_sum", 1, &x, "taps", AXES * bench->taps, bench->ahead,
                         "stride", AXES, bench->c->stride, "size", AXES, bench->grid, NULL);
  return &sum->out[0];
}

/* A mean is a sum over taps divided by how many of them lie inside: the sum of ones. */
static void add_avg_pool(Bench *bench, Value *x, Value *dy) {
  static const int64_t ones[] = {1, 1, 1};
  const struct Case *c = bench->c;
  Builder *b = &bench->b;
  Value *x_last = last(bench, x), *inside = tap_sum(bench, build_like(b, 1, x_last));
  Node *pool = spatial_pool(bench, "avg_pool", 1, &x, NULL);
  add_pair(bench, "avg_pool", &pool->out[0],
           build_binary(b, "div", tap_sum(bench, x_last), inside));
  Node *dx = spatial_pool(bench, "avg_pool_grad", 1, &dy, c->x + 2);
  Value *share = build_binary(b, "div", last(bench, dy), inside);
  Node *taps = build_node(b, "tap_sum", 1, &share, "taps", AXES * bench->taps, bench->back,
                          "stride", AXES, ones, "divisor", AXES, c->stride, "size", AXES,
                          c->x + 2, NULL);
  add_pair(bench, "avg_pool_grad", &dx->out[0], &taps->out[0]);
}

static void test_pools(void **state) {
  (void)state;
  static const struct Case pools[] = {
      {{2, 3, 5, 4, 7}, 3, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}, {1, 1, 1}, 1},
      {{1, 2, 4, 3, 5}, 2, {2, 1, 3}, {1, 1, 2}, {0, 0, 1}, {0, 0, 1}, 1},
      {{1, 2, 1, 2, 3}, 2, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, 1},
  };
  for (size_t i = 0; i < sizeof pools / sizeof pools[0]; i++) {
    Bench bench = bench_new(&pools[i]);
    Value *x = x_input(&bench), *dy = dy_input(&bench, pools[i].x[1]);
    add_max_pool(&bench, x, dy);
    add_avg_pool(&bench, x, dy);
    compare_pairs(&bench);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_conv),
      cmocka_unit_test(test_groups),
      cmocka_unit_test(test_pools),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
