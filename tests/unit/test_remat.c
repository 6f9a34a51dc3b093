/* Memory budgets on random graphs: a plan that is reported to fit does, whatever the graph; what is
 * computed again gives the same numbers; and copies for late readers, by themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "passes/graph/recompute.h"
#include "passes/graph/remat.h"
#include "tests/unit/graph_tools.h"

enum { ROWS = 256, SEEDS = 24, NODES = 16, MOST_VALUES = 2 * NODES + 8 };

static const Facts facts = {
    .vector = 8, .registers = 16, .threads = 1, .l1 = 32 << 10, .l2 = 1 << 20};

typedef struct Draw {
  uint64_t seed, next;
} Draw;

static int draw(Draw *d, int count) { return (int)(random_uniform(d->seed, 5, d->next++) * count); }

static Type matrix(int64_t rows, int64_t columns) {
  return (Type){.dtype = DT_f32, .rank = 2, .dim = {rows, columns}};
}

static int64_t width_of(const Value *value) { return value->type.dim[1]; }

/* Another value of the same width, or the value itself. */
static Value *partner(Draw *d, Value *const *values, int count, Value *of) {
  for (int tries = 0; tries < 8; tries++) {
    Value *other = values[draw(d, count)];
    if (width_of(other) == width_of(of))
      return other;
  }
  return of;
}

static int width_number(const Value *value) {
  return width_of(value) == 16 ? 0 : width_of(value) == 32 ? 1 : 2;
}

/* Layers of products, elementwise ops and folds, each reading any earlier value; then, as gradients
 * do, a way back that reads them again from the last to the first. */
static Graph *random_graph(Arena *arena, uint64_t seed) {
  static const int64_t widths[] = {16, 32, 64};
  Draw d = {seed, 0};
  Graph *graph = graph_new(arena, "f");
  Builder b = {.graph = graph};
  Value *weights[3][3], *values[MOST_VALUES];
  int count = 0;
  for (int i = 0; i < 3; i++)
    for (int k = 0; k < 3; k++)
      weights[i][k] = graph_add_input(graph, arena_printf(arena, "w%d%d", i, k), ROLE_PARAMETER,
                                      matrix(widths[i], widths[k]), (Loc){0});
  values[count++] = graph_add_input(graph, "x", ROLE_INPUT, matrix(ROWS, widths[0]), (Loc){0});
  for (int n = 0; n < NODES; n++) {
    Value *x = values[draw(&d, 3) ? count - 1 : draw(&d, count)];
    int kind = draw(&d, 6);
    if (kind < 3)
      x = build_matmul(&b, x, weights[width_number(x)][draw(&d, 3)], false, false);
    if (kind < 5)
      x = build_binary(&b, kind == 3 ? "mul" : "sub", build_unary(&b, "tanh", x),
                       partner(&d, values, count, x));
    else
      x = build_binary(&b, "sub", x, build_reduce(&b, "reduce_max", x, 1, (int64_t[]){0}));
    values[count++] = x;
  }
  Value *back = values[count - 1];
  for (int n = count - 2; n >= 0; n--) {
    if (width_of(back) != width_of(values[n]))
      back = build_matmul(&b, back, weights[width_number(back)][width_number(values[n])], false,
                          false);
    back = build_unary(&b, "tanh", build_binary(&b, "mul", back, values[n]));
  }
  graph_add_output(graph, "back", back, NULL, (Loc){0});
  graph_add_output(graph, "early", values[2], NULL, (Loc){0});
  return graph;
}

static int64_t bytes_needed(Arena *arena, const Graph *graph) {
  ScratchTable scratch = {.arena = arena, .facts = &facts};
  Load load = load_of(arena, graph, &scratch);
  return load.fixed + load_plan(&load, arena);
}

static Graph *within(Arena *arena, uint64_t seed, int64_t budget, Diag *diag) {
  static const char *const names[] = {"dce", "fuse", "remat"};
  PassOptions options = {.memory_budget = budget};
  PassContext context = {.arena = arena, .diag = diag, .facts = &facts};
  diag_init(diag, arena);
  return passes_run(&context, random_graph(arena, seed), names, 3, &options);
}

static void test_plans_keep_to_budgets(void **state) {
  (void)state;
  int met = 0, refused = 0, again = 0;
  for (uint64_t seed = 0; seed < SEEDS; seed++) {
    Arena *arena = arena_new();
    Diag diag;
    Graph *plain = within(arena, seed, 0, &diag);
    double **inputs = sample_inputs(arena, plain), **want = run_graph(arena, plain, inputs);
    int64_t all = bytes_needed(arena, plain);
    for (int share = 95; share >= 35; share -= 10) {
      int64_t budget = all * share / 100;
      Graph *graph = within(arena, seed, budget, &diag);
      if (!graph) {
        assert_true(diag.errors == 1);
        refused++;
        continue;
      }
      met++;
      assert_true(bytes_needed(arena, graph) <= budget);
      for (int n = 0; n < graph->nodes.count; n++)
        again += graph->nodes.at[n]->uncounted;
      double **got = run_graph(arena, graph, inputs);
      for (int i = 0; i < plain->outputs.count; i++)
        assert_memory_equal(got[i], want[i],
                            sizeof(double) *
                                (size_t)type_elements(&plain->outputs.at[i].value->type));
    }
    arena_free(arena);
  }
  print_message("%d met, %d refused, %d computed again\n", met, refused, again);
  assert_true(met > SEEDS / 2 && refused > SEEDS / 2 && again > SEEDS / 2);
}

/* ---- copies by themselves ---- */

static const char sample[] = "graph @f(%x: f32[4,4]) {\n"
                             "  %a = tanh %x\n"
                             "  %b = exp %a\n"
                             "  %v = reshape %b shape=[16]\n"
                             "  %early = neg %v\n"
                             "  %p = abs %v\n"
                             "  %q = sign %v\n"
                             "  ret \"early\" = %early, \"p\" = %p, \"q\" = %q\n"
                             "}\n";

static int count_op(const Graph *graph, const char *name) {
  int count = 0;
  for (int n = 0; n < graph->nodes.count; n++)
    count += strcmp(graph->nodes.at[n]->op->name, name) == 0;
  return count;
}

static Graph *copied(Arena *arena, const Graph *graph, bool early_too, bool apart) {
  bool again[16] = {0}, late[16] = {0};
  again[graph->nodes.at[0]->out[0].id] = again[graph->nodes.at[1]->out[0].id] = true;
  late[3] = early_too;
  late[4] = late[5] = true;
  Graph *result = graph_recompute(graph, arena, &(Recompute){again, late, apart, NULL});
  Error error = {0};
  if (!graph_check(result, &error))
    fail_msg("%s", error.text);
  double **inputs = sample_inputs(arena, graph);
  double **want = run_graph(arena, graph, inputs), **got = run_graph(arena, result, inputs);
  for (int i = 0; i < 3; i++)
    assert_memory_equal(got[i], want[i], 16 * sizeof(double));
  return result;
}

static void test_copies(void **state) {
  (void)state;
  Arena *arena = arena_new();
  const Graph *graph = parse_graph(arena, sample);
  const Graph *shared = copied(arena, graph, false, false);
  assert_int_equal(count_op(shared, "exp"), 2);
  assert_int_equal(count_op(shared, "tanh"), 2);
  assert_int_equal(count_op(shared, "reshape"), 2);
  const Node *copy = shared->nodes.at[4]; /* behind the early reader, before the late ones */
  assert_string_equal(copy->op->name, "tanh");
  assert_true(copy->uncounted && !shared->nodes.at[0]->uncounted);
  assert_int_equal(count_op(copied(arena, graph, false, true), "exp"), 3);
  /* all readers are late: the first node is not needed, and the copy is the one that counts */
  const Graph *moved = copied(arena, graph, true, false);
  assert_int_equal(count_op(moved, "exp"), 1);
  assert_false(moved->nodes.at[0]->uncounted);
  arena_free(arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_plans_keep_to_budgets),
                                     cmocka_unit_test(test_copies)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
