/* The graph core: located shape errors of the builder, what the verifier refuses, names, rewriting,
 * and the parser on damaged text. Passes have text tests (tests/graph). */
#include "ir/op.h"
#include "passes/pass.h"
#include "runtime/base/random.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char sample[] =
    "graph @f(%x: f32[1,4,5,6,2], %w: param \"enc.w\" f32[3,2,8] init=uniform(-0.5,0.5) decay,\n"
    "         %k: buffer i64[] stage=\"s\") {\n"
    "  %y = tap_conv %x, %w taps=[-1,0,0,0,0,0,1,0,0] stride=[1,1,1] size=[4,5,6]\n"
    "  %c = constant value=0.5 shape=[1,4,5,6,8]\n"
    "  %z, %r = region %y, %c @b(%p: f32[1,4,5,6,8], %q: f32[1,4,5,6,8]) {\n"
    "    %s = add %p, %q uncounted\n"
    "    %m = reduce_max %s axes=[1,2,3]\n"
    "    ret %s, %m\n"
    "  }\n"
    "  ret \"y\" = %z, tap \"m\" = %r, \"new\" updates \"k\" = %k\n"
    "}\n";

typedef struct World {
  Arena *arena;
  Diag diag;
  Graph *graph;
} World;

static int set_up(void **state) {
  World *w = calloc(1, sizeof *w);
  w->arena = arena_new();
  diag_init(&w->diag, w->arena);
  int count;
  Graph **graphs = graph_parse(w->arena, &w->diag, "sample.tg", sample, strlen(sample), &count);
  assert_non_null(graphs);
  assert_int_equal(count, 1);
  w->graph = graphs[0];
  *state = w;
  return 0;
}

static int tear_down(void **state) {
  World *w = *state;
  arena_free(w->arena);
  free(w);
  return 0;
}

static Type type3(Dtype dtype, int64_t a, int64_t b, int64_t c) {
  return (Type){.dtype = dtype, .rank = 3, .dim = {a, b, c}};
}

/* ---- builder ---- */

static void errors_name_operands_and_their_places(void **state) {
  World *w = *state;
  static const char text[] = "x: [2,3]\ny: [4]\nz: x + y\n";
  const Source *source = diag_source(&w->diag, "m.yaml", text, sizeof text - 1);
  Graph *graph = graph_new(w->arena, "g");
  Value *x = graph_add_input(graph, "x", ROLE_INPUT, type3(DT_f32, 1, 2, 3), (Loc){source, 1, 1});
  Value *y = graph_add_input(graph, "y", ROLE_INPUT, type3(DT_f32, 1, 1, 4), (Loc){source, 2, 1});
  Builder b = {.graph = graph, .diag = &w->diag, .loc = {source, 3, 4}};
  Value *z = build_binary(&b, "add", x, y);
  assert_null(z);
  assert_null(build_unary(&b, "exp", build_scale(&b, z, 2)));
  assert_int_equal(w->diag.errors, 1);
  assert_int_equal(w->diag.messages.count, 3);
  assert_non_null(strstr(w->diag.messages.at[0], "m.yaml:3:4: error: add: "));
  assert_non_null(strstr(w->diag.messages.at[0], "f32[1,2,3], f32[1,1,4]"));
  assert_non_null(strstr(w->diag.messages.at[1], "m.yaml:1:1: note: "));
  assert_non_null(strstr(w->diag.messages.at[2], "m.yaml:2:1: note: "));
}

static void elementwise_operands_are_stretched(void **state) {
  World *w = *state;
  Graph *graph = graph_new(w->arena, "g");
  Builder b = {.graph = graph};
  Value *x = graph_add_input(graph, "x", ROLE_INPUT, type3(DT_f32, 4, 1, 3), (Loc){0});
  Value *y = graph_add_input(graph, "y", ROLE_INPUT,
                             (Type){.dtype = DT_f32, .rank = 2, .dim = {5, 1}}, (Loc){0});
  Value *z = build_binary(&b, "mul", x, y);
  Type want = type3(DT_f32, 4, 5, 3);
  assert_true(type_equal(&z->type, &want));
  Value *back = build_sum_to(&b, z, &y->type);
  assert_true(type_equal(&back->type, &y->type));
  assert_ptr_equal(build_reshape(&b, x, 3, x->type.dim), x);
  assert_ptr_equal(build_permute(&b, x, (int64_t[]){0, 1, 2}), x);
  assert_ptr_equal(build_broadcast(&b, x, 3, x->type.dim), x);
  graph_add_output(graph, "z", back, NULL, (Loc){0});
  Error error;
  assert_true(graph_check(graph, &error));
}

static void names_are_unique_and_clean(void **state) {
  World *w = *state;
  Graph *graph = graph_new(w->arena, "g");
  Type type = type3(DT_f32, 1, 1, 1);
  Value *a = graph_add_input(graph, "a b", ROLE_INPUT, type, (Loc){0});
  Value *c = graph_add_input(graph, "a_b", ROLE_INPUT, type, (Loc){0});
  Builder b = {.graph = graph};
  Value *d = build_unary(&b, "neg", a), *e = build_unary(&b, "neg", c);
  assert_string_equal(a->name, "a_b");
  assert_string_equal(c->name, "a_b1");
  assert_string_equal(d->name, "neg1");
  assert_string_equal(e->name, "neg2");
  graph_name_value(graph, d, "out");
  graph_name_value(graph, e, "neg1");
  assert_string_equal(d->name, "out");
  assert_string_equal(e->name, "neg1"); /* free again */
  graph_name_value(graph, e, "out");
  assert_string_equal(e->name, "out1");
}

/* ---- verifier ---- */

static void refused(World *w, const char *why) {
  Error error = {0};
  assert_false(graph_check(w->graph, &error));
  if (!strstr(error.text, why))
    fail_msg("expected '%s' in '%s'", why, error.text);
}

static void a_sound_graph_passes(void **state) {
  World *w = *state;
  Error error = {0};
  assert_true(graph_check(w->graph, &error));
}

static void wrong_types_are_refused(void **state) {
  World *w = *state;
  w->graph->nodes.at[0]->out[0].type.dim[1] = 7;
  refused(w, "but its rule gives f32[1,4,5,6,8]");
}

static void uses_before_definitions_are_refused(void **state) {
  World *w = *state;
  Node *first = w->graph->nodes.at[0];
  w->graph->nodes.at[0] = w->graph->nodes.at[2];
  w->graph->nodes.at[2] = first;
  w->graph->nodes.at[0]->id = 0;
  first->id = 2;
  refused(w, "which is not defined above it");
}

static void foreign_values_are_refused(void **state) {
  World *w = *state;
  Graph *other = graph_new(w->arena, "other");
  Value *x = graph_add_input(other, "x", ROLE_INPUT, w->graph->inputs.at[0].value->type, (Loc){0});
  w->graph->nodes.at[0]->in[0] = x;
  refused(w, "which is not defined above it");
}

static void equal_names_are_refused(void **state) {
  World *w = *state;
  w->graph->nodes.at[0]->out[0].name = "x";
  refused(w, "two values are called %x");
}

static void updates_of_data_are_refused(void **state) {
  World *w = *state;
  w->graph->inputs.at[2].role = ROLE_INPUT;
  refused(w, "which is data");
}

static void two_updates_of_one_input_are_refused(void **state) {
  World *w = *state;
  graph_add_output(w->graph, "again", w->graph->inputs.at[2].value, "k", (Loc){0});
  refused(w, "updated twice");
}

static void renewed_data_is_refused(void **state) {
  World *w = *state;
  Value *x = w->graph->inputs.at[0].value;
  graph_add_output(w->graph, "again", x, NULL, (Loc){0});
  w->graph->outputs.at[w->graph->outputs.count - 1].renews = x;
  refused(w, "not of one parameter alone");
  w->graph->inputs.at[0].role = ROLE_PARAMETER;
  w->graph->outputs.at[w->graph->outputs.count - 1].renews = w->graph->inputs.at[2].value;
  refused(w, "renews a value of another type");
}

static void bad_bodies_are_refused(void **state) {
  World *w = *state;
  w->graph->nodes.at[2]->body->nodes.at[0]->out[0].type.dtype = DT_f64;
  refused(w, "inside a region");
}

static void missing_attributes_are_refused(void **state) {
  World *w = *state;
  w->graph->nodes.at[0]->attrs[0].kind = ATTR_NONE;
  refused(w, "attribute taps is missing");
}

/* ---- rewriting ---- */

static bool double_constants(void *context, Builder *b, const Node *old, Value *const *in,
                             Value **out) {
  (void)in;
  if (strcmp(old->op->name, "constant") != 0)
    return false;
  ++*(int *)context;
  out[0] = build_like(b, 2 * node_float(old, "value"), &old->out[0]);
  return true;
}

static void rewriting_keeps_names_places_and_stages(void **state) {
  World *w = *state;
  int calls = 0;
  Graph *graph = graph_rewrite(w->graph, w->arena, double_constants, &calls);
  Error error = {0};
  assert_true(graph_check(graph, &error));
  assert_int_equal(calls, 1);
  assert_float_equal(node_float(graph->nodes.at[1], "value"), 1.0, 0);
  assert_string_equal(graph->nodes.at[1]->out[0].name, "c");
  assert_int_equal(graph->nodes.at[0]->loc.line, 3);
  assert_int_equal(graph->nodes.at[0]->loc.column, 8);
  assert_string_equal(graph->inputs.at[2].stage, "s");
  assert_float_equal(node_float(w->graph->nodes.at[1], "value"), 0.5, 0); /* the old one stays */
}

static void equal_nodes_are_equal(void **state) {
  World *w = *state;
  Graph *graph = graph_new(w->arena, "g");
  Builder b = {.graph = graph};
  Type type = type3(DT_f32, 1, 2, 3);
  const Node *zero = build_constant(&b, 0.0, type)->node;
  const Node *again = build_constant(&b, 0.0, type)->node;
  const Node *minus = build_constant(&b, -0.0, type)->node;
  type.dtype = DT_f64;
  const Node *wide = build_constant(&b, 0.0, type)->node;
  assert_true(node_same(zero, again) && node_hash(zero) == node_hash(again));
  assert_false(node_same(zero, minus));
  assert_false(node_same(zero, wide));
  assert_false(
      node_same(w->graph->nodes.at[2],
                graph_rewrite(w->graph, w->arena, double_constants, &(int){0})->nodes.at[2]));
}

/* ---- parser ---- */

static void damaged_text_is_refused_or_sound(void **state) {
  (void)state;
  static const char pieces[] = "%@\"[]{}(),=:#\\ \n0919.-+xfret";
  int parsed = 0;
  for (uint64_t round = 0; round < 3000; round++) {
    Arena *arena = arena_new();
    Diag diag;
    diag_init(&diag, arena);
    size_t size = strlen(sample);
    char *text = arena_strdup(arena, sample);
    for (uint64_t change = 0; change <= round % 3; change++) {
      uint32_t bits[4];
      random_bits(5, round, change, bits);
      size_t at = bits[0] % size;
      if (bits[1] % 4 == 0)
        size = at + 1; /* cut off */
      else
        text[at] = bits[1] % 4 == 1 ? (char)bits[2] : pieces[bits[2] % (sizeof pieces - 1)];
    }
    int count;
    Graph **graphs = graph_parse(arena, &diag, "damaged.tg", text, size, &count);
    Error error = {0};
    if (!graphs)
      assert_int_equal(diag.errors, 1);
    for (int i = 0; graphs && i < count; i++, parsed++)
      if (!graph_check(graphs[i], &error) && !strstr(error.text, "which is data"))
        fail_msg("round %d: %s", (int)round, error.text);
    arena_free(arena);
  }
  print_message("%d of 3000 damaged texts still parse\n", parsed);
  assert_in_range(parsed, 30, 2900);
}

/* ---- the runner ---- */

/* Memory goes with the text, also where all of it is one line of strings. */
static void long_lines_are_cheap(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Text text = {0};
  Diag diag;
  int count;
  diag_init(&diag, arena);
  text_add(&text, "graph @f(");
  for (int i = 0; i < 10000; i++)
    text_add(&text, "%s%%a%d: \"a \\\"%d\" f32[1] stage=\"s\"", i ? ", " : "", i, i);
  text_add(&text, ") { ret %%a0 }");
  Graph **graphs = graph_parse(arena, &diag, "long.tg", text.at, text.size, &count);
  assert_non_null(graphs);
  assert_string_equal(graphs[0]->inputs.at[77].name, "a \"77");
  assert_true(arena_used(arena) < 100 * text.size);
  text_free(&text);
  arena_free(arena);
}

static void required_passes_cannot_be_skipped(void **state) {
  World *w = *state;
  Facts facts = {.vector = 8};
  PassContext context = {.arena = w->arena, .diag = &w->diag, .facts = &facts};
  const char *const passes[] = {"dce", "expand"}, *const skip[] = {"expand"};
  PassOptions options = {.skip = skip, .n_skip = 1};
  assert_null(passes_run(&context, w->graph, passes, 2, &options));
  assert_non_null(strstr(w->diag.messages.at[0], "pass 'expand' is needed"));
  const char *const optional[] = {"dce"};
  options = (PassOptions){.skip = optional, .n_skip = 1, .stop_after = "dce"};
  assert_ptr_equal(passes_run(&context, w->graph, passes, 2, &options), w->graph);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(errors_name_operands_and_their_places),
      TEST(elementwise_operands_are_stretched),
      TEST(names_are_unique_and_clean),
      TEST(a_sound_graph_passes),
      TEST(wrong_types_are_refused),
      TEST(uses_before_definitions_are_refused),
      TEST(foreign_values_are_refused),
      TEST(equal_names_are_refused),
      TEST(updates_of_data_are_refused),
      TEST(two_updates_of_one_input_are_refused),
      TEST(renewed_data_is_refused),
      TEST(bad_bodies_are_refused),
      TEST(missing_attributes_are_refused),
      TEST(rewriting_keeps_names_places_and_stages),
      TEST(equal_nodes_are_equal),
      TEST(damaged_text_is_refused_or_sound),
      TEST(long_lines_are_cheap),
      TEST(required_passes_cannot_be_skipped),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
