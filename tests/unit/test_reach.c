/* Which elements of inputs are read: the sets against brute force, the rules of all ops and the
 * encoders of models/ against the interpreter. Elements said to be unread become NaN; no result may
 * change. What a compact input keeps must hold all that is read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "driver/feed.h"
#include "passes/footprint.h"
#include "frontend/model.h"
#include "ir/reach.h"
#include "passes/pass.h"
#include "tests/unit/op_samples.h"
#include <dirent.h>
#include <stdlib.h>

/* ---- sets ---- */

static int64_t index_of(const Type *type, int64_t element, int64_t *index) {
  for (int a = type->rank - 1; a >= 0; a--) {
    index[a] = element % type->dim[a];
    element /= type->dim[a];
  }
  return element;
}

static ReachBox random_box(const Type *type, uint64_t stream) {
  ReachBox box;
  for (int a = 0; a < type->rank; a++) {
    double u[3];
    for (int k = 0; k < 3; k++)
      u[k] = random_uniform(5, stream, (uint64_t)(3 * a + k));
    box.start[a] = (int64_t)(u[0] * (double)type->dim[a]);
    box.step[a] = 1 + (int64_t)(u[1] * 4);
    box.count[a] = 1 + (int64_t)(u[2] * (double)((type->dim[a] - 1 - box.start[a]) / box.step[a]));
  }
  return box;
}

static bool in_box(const ReachBox *box, const int64_t *index, int rank) {
  for (int a = 0; a < rank; a++) {
    int64_t from = index[a] - box->start[a];
    if (from < 0 || from % box->step[a] || from / box->step[a] >= box->count[a])
      return false;
  }
  return true;
}

/* Unions hold what was added, count what they hold, and nothing else while there is room. */
static void test_sets(void **state) {
  (void)state;
  const Type type = {DT_f32, 3, {7, 9, 12}};
  for (uint64_t round = 0; round < 300; round++) {
    Arena *arena = arena_new();
    Reach reach = {.type = type};
    ReachBox boxes[100];
    int n = round % 10 == 0 ? 100 : (int)(round % 9);
    for (int i = 0; i < n; i++) {
      boxes[i] = random_box(&type, 1000 * round + (uint64_t)i);
      reach_add(arena, &reach, &boxes[i]);
    }
    assert_true(reach.boxes.count <= REACH_BOXES && reach.boxes.count <= n);
    int64_t held = 0;
    for (int64_t e = 0; e < type_elements(&type); e++) {
      int64_t index[MAX_RANK];
      index_of(&type, e, index);
      bool wanted = false, has = reach_has(&reach, index);
      for (int i = 0; i < n; i++)
        wanted |= in_box(&boxes[i], index, type.rank);
      assert_true(has || !wanted);
      assert_true(wanted || !has || n > REACH_BOXES);
      held += has;
    }
    assert_int_equal(held, reach_elements(&reach));
    arena_free(arena);
  }
}

/* ---- ops ---- */

static double **spoiled(Arena *arena, const Graph *graph, double **inputs, const Reach *reach,
                        int64_t *unread) {
  double **out = ARENA_ARRAY(arena, double *, graph->inputs.count + 1);
  for (int i = 0; i < graph->inputs.count; i++) {
    const Type *type = &graph->inputs.at[i].value->type;
    out[i] = arena_copy(arena, inputs[i], sizeof(double) * (size_t)type_elements(type));
    for (int64_t e = 0; e < type_elements(type); e++) {
      int64_t index[MAX_RANK];
      index_of(type, e, index);
      if (reach_has(&reach[i], index))
        continue;
      out[i][e] = dtype_is_float(type->dtype) ? NAN : 0;
      ++*unread;
    }
  }
  return out;
}

/* The interpreter on the graph with what `reach` leaves out spoiled; returns how much that was. */
static int64_t check_unread(Arena *arena, const Graph *graph, const Reach *reach) {
  int64_t unread = 0;
  double **inputs = sample_inputs(arena, graph), **expected = run_graph(arena, graph, inputs);
  double **got = run_graph(arena, graph, spoiled(arena, graph, inputs, reach, &unread));
  for (int i = 0; i < graph->outputs.count; i++) {
    const GraphOutput *output = &graph->outputs.at[i];
    for (int64_t k = 0; k < type_elements(&output->value->type); k++)
      if (got[i][k] != expected[i][k] && !(isnan(got[i][k]) && isnan(expected[i][k])))
        fail_msg("%s: an element said to be unread changes %s[%lld]", graph->name, output->name,
                 (long long)k);
  }
  return unread;
}

/* The sample's first result, every second index of each axis alone. */
static Graph *thinned(Arena *arena, const struct Sample *sample) {
  Graph *graph = sample_graph(arena, sample);
  Value *y = graph->outputs.at[0].value;
  int64_t start[MAX_RANK], step[MAX_RANK];
  int rank = y->type.rank;
  for (int a = 0; a < rank; a++) {
    start[a] = y->type.dim[a] > 1;
    step[a] = 2;
  }
  Builder b = {.graph = graph};
  graph->outputs.at[0].value = &build_node(&b, "slice", 1, &y, "start", rank, start, "stop", rank,
                                           y->type.dim, "step", rank, step, NULL)
                                    ->out[0];
  graph->outputs.count = 1;
  return graph;
}

static void test_ops(void **state) {
  (void)state;
  int partly = 0;
  for (int i = 0; i < SAMPLES; i++) {
    Arena *arena = arena_new();
    Graph *whole = sample_graph(arena, &samples[i]), *part = thinned(arena, &samples[i]);
    check_unread(arena, whole, graph_reach(whole, arena));
    partly += check_unread(arena, part, graph_reach(part, arena)) > 0;
    arena_free(arena);
  }
  assert_true(partly > SAMPLES * 2 / 5); /* the rules are not "everything" */
}

/* ---- models ---- */

static const Facts facts = {
    .vector = 16, .registers = 32, .threads = 1, .l1 = 48 << 10, .l2 = 1 << 20};

/* Small forms of the models; those not listed here are built as their files say. */
static const struct {
  const char *file;
  const char *sets[8];
} small[] = {
    {"dcformer.yaml", {"volume=[16,32,48]", "dims=[4,4,4,8,8]"}},
    {"clip-dcformer.yaml", {"volume=[16,32,48]", "image.dims=[4,4,4,8,8]", "batch=1"}},
    {"clip-mini.yaml", {"volume=[16,32,48]", "batch=1"}},
    {"clip.yaml", {"volume=[16,32,48]", "batch=1"}},
};

static Model *load(Arena *arena, Diag *diag, const char *file, const char *more) {
  const char *sets[10];
  ModelRequest request = {.path = arena_printf(arena, TRICOT_SOURCE "/models/%s", file),
                          .sets = sets};
  for (size_t i = 0; i < sizeof small / sizeof small[0]; i++)
    for (int s = 0; strcmp(small[i].file, file) == 0 && s < 8 && small[i].sets[s]; s++)
      sets[request.n_sets++] = small[i].sets[s];
  if (more)
    sets[request.n_sets++] = more;
  diag_init(diag, arena);
  return model_load(arena, diag, &request);
}

static Graph *optimised(Arena *arena, Diag *diag, Graph *graph) {
  PassContext context = {.arena = arena, .diag = diag, .facts = &facts};
  int count;
  const char *const *passes = passes_standard(&count);
  graph = passes_run(&context, graph, passes, count, NULL);
  assert_non_null(graph);
  return graph;
}

/* How many elements of the input the boxes of a gather hold; all that are read must be among them.
 */
static int64_t check_kept(Arena *arena, const Gather *gather, const Reach *reach) {
  int64_t kept = 0;
  bool *held = ARENA_ARRAY(arena, bool, type_elements(&gather->whole));
  for (int64_t e = 0; e < type_elements(&gather->whole); e++) {
    int64_t index[MAX_RANK];
    index_of(&gather->whole, e, index);
    for (int b = 0; b < gather->n_boxes && !held[e]; b++) {
      ReachBox box;
      memcpy(box.start, gather->boxes[b].start, sizeof box.start);
      memcpy(box.step, gather->boxes[b].step, sizeof box.step);
      memcpy(box.count, gather->boxes[b].count, sizeof box.count);
      held[e] = in_box(&box, index, gather->whole.rank);
    }
    kept += held[e];
    assert_true(held[e] || !reach_has(reach, index));
  }
  return kept;
}

/* One entry point: what is found in the optimised graph holds for the author's. */
static double check_entry(Arena *arena, Diag *diag, Graph *graph, const char *input) {
  Graph *last = optimised(arena, diag, graph);
  const Reach *reach = graph_reach(last, arena);
  double share = 1;
  check_unread(arena, graph, reach);
  for (int i = 0; i < last->inputs.count; i++) {
    const Node *feed = footprint_feed(last, last->inputs.at[i].value);
    if (feed)
      assert_int_equal(check_kept(arena, feed_gather(arena, feed), &reach[i]),
                       reach_elements(&reach[i]));
    if (strcmp(last->inputs.at[i].name, input) == 0)
      share = (double)reach_elements(&reach[i]) / (double)type_elements(&reach[i].type);
  }
  return share;
}

static void test_encoders(void **state) {
  (void)state;
  DIR *folder = opendir(TRICOT_SOURCE "/models");
  int encoders = 0;
  assert_non_null(folder);
  for (const struct dirent *file; (file = readdir(folder));) {
    size_t length = strlen(file->d_name);
    if (length < 5 || strcmp(file->d_name + length - 5, ".yaml") != 0)
      continue;
    Arena *arena = arena_new();
    Diag diag;
    Model *model = load(arena, &diag, file->d_name, NULL);
    if (model && model_has_entry(model, "encode_image")) {
      Graph *graph = model_build(model, &diag, "encode_image", false);
      if (!graph) {
        diag_print(&diag, stdout);
        fail_msg("%s: encode_image", file->d_name);
      }
      double share = check_entry(arena, &diag, graph, "volume");
      encoders++;
      if (strcmp(file->d_name, "dcformer.yaml") == 0)
        assert_true(share == 10.0 / 64);
    }
    arena_free(arena);
  }
  closedir(folder);
  assert_true(encoders >= 2);
}

/* Training reads what inference reads: the weight gradients of the first layer see no more. */
static void test_training(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Diag diag;
  Model *model = load(arena, &diag, "dcformer.yaml", "batch=2");
  assert_non_null(model);
  Graph *graph = model_build(model, &diag, "probe_loss", true);
  PassContext context = {.arena = arena, .diag = &diag, .facts = &facts};
  graph = graph_add_gradients(&context, graph, "loss");
  assert_non_null(graph);
  assert_true(check_entry(arena, &diag, graph, "volume") == 10.0 / 64);
  assert_true(check_entry(arena, &diag, graph, "target") == 1);
  arena_free(arena);
}

/* Sizes that strides do not divide, and axes in another order. */
static void test_uneven(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Diag diag;
  diag_init(&diag, arena);
  Graph *graph = parse_graph(
      arena, "graph @uneven(%x: f32[2,11,1,9,14], %w: f32[3,1,8]) {\n"
             "  %p = permute %x perm=[0,3,1,4,2]\n"
             "  %y = tap_conv %p, %w taps=[-1,0,0,0,2,0,1,0,-3] stride=[2,3,4] size=[5,4,4]\n"
             "  ret \"y\" = %y\n}\n");
  assert_non_null(graph);
  double share = check_entry(arena, &diag, graph, "x");
  assert_true(share < 0.2);
  arena_free(arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sets),     cmocka_unit_test(test_ops),
      cmocka_unit_test(test_encoders), cmocka_unit_test(test_training),
      cmocka_unit_test(test_uneven),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
