/* Runs text tests of graph passes: one .tg file is one test.
 *
 *   # run: opt --passes=canon,cse     the passes (an empty list tests reading and writing alone)
 *   # budget: 4K                    what pass remat shall keep to
 *   # why: what the test shows
 *   # ground: no, reason              leaves out the comparison by numbers
 *   # within: 1e-2                    how far numbers may differ, of the largest (default 1e-6)
 *   # has: text   # not: text         instead of an exact expectation: the output (not) contains it
 *   # error: 4:8: text                the run must fail with this message at this place
 *   # note: 4:8: text                 and this note
 *   graph ...
 *   # ---- expect
 *   graph ...
 *
 * For each test: what is printed parses back and prints the same; the passes run, each verified;
 * the result equals the expectation byte for byte; the expectation itself parses and passes the
 * verifier; and both sides give equal numbers on seeded random inputs (outputs of the same name).
 * Outputs grad.<parameter> are compared with finite differences of the output loss.
 *
 * With TRICOT_BLESS=1 a differing expectation is rewritten, but only when everything else holds.
 */
#include "ir/graph.h"
#include "passes/pass.h"
#include "runtime/base/bytes.h"
#include "runtime/base/file.h"
#include "runtime/base/random.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef VEC(const char *) Lines;

typedef struct Test {
  Arena *arena;
  Diag diag;
  const char *path;
  char *source;       /* the part before the expectation, then NUL */
  const char *expect; /* or NULL */
  const char *passes;
  Lines has, not, errors, notes;
  bool ground;
  PassOptions options;
  double within;
} Test;

static int failures;

static bool fail(const Test *test, const char *problem, const char *detail) {
  fprintf(stderr, "%s: %s%s%s\n", test->path, problem, *detail ? ":\n" : "", detail);
  failures++;
  return false;
}

/* ---- reading the test ---- */

static void read_directive(Test *test, char *line) {
  static const char *const known[] = {"# has: ", "# not: ", "# error: ", "# note: "};
  Lines *lists[] = {&test->has, &test->not, &test->errors, &test->notes};
  for (int i = 0; i < 4; i++)
    if (strncmp(line, known[i], strlen(known[i])) == 0)
      vec_push(test->arena, lists[i], line + strlen(known[i]));
  const char *run = "# run: opt --passes=";
  if (strncmp(line, run, strlen(run)) == 0)
    test->passes = line + strlen(run);
  Error error;
  if (strncmp(line, "# budget: ", 10) == 0 &&
      !bytes_parse(line + 10, &test->options.memory_budget, &error))
    fail(test, error.text, "");
  if (strncmp(line, "# ground: no", 12) == 0)
    test->ground = false;
  if (strncmp(line, "# within: ", 10) == 0)
    test->within = strtod(line + 10, NULL);
}

static bool read_test(Test *test) {
  Error error = {0};
  size_t size;
  if (!file_read(test->arena, test->path, 1 << 24, &test->source, &size, &error))
    return fail(test, error.text, "");
  static const char marker[] = "# ---- expect\n";
  char *at = strstr(test->source, marker);
  if (at) {
    test->expect = arena_strdup(test->arena, at + sizeof marker - 1);
    *at = 0;
  }
  char *copy = arena_strdup(test->arena, test->source), *rest = NULL;
  for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
    read_directive(test, line);
  if (!test->passes)
    return fail(test, "the test has no line '# run: opt --passes=...'", "");
  if (!test->expect && !test->has.count && !test->errors.count && !getenv("TRICOT_BLESS"))
    return fail(test, "the test expects nothing", "");
  return true;
}

/* ---- printing and parsing ---- */

static Graph **parse(Test *test, const char *text, int *count) {
  diag_init(&test->diag, test->arena);
  return graph_parse(test->arena, &test->diag, test->path, text, strlen(text), count);
}

static char *print(Test *test, Graph *const *graphs, int count) {
  Text text = {0};
  for (int i = 0; i < count; i++) {
    if (i)
      text_add(&text, "\n");
    graph_print(graphs[i], &text);
  }
  char *copy = arena_strdup(test->arena, text.at);
  text_free(&text);
  return copy;
}

static char *messages(const Test *test) {
  char *all = arena_strdup(test->arena, "");
  for (int i = 0; i < test->diag.messages.count; i++)
    all = arena_printf(test->arena, "%s%s", all, test->diag.messages.at[i]);
  return all;
}

/* Prints, parses, prints again: both prints must be equal, and the graphs sound. */
static bool round_trip(Test *test, Graph *const *graphs, int count) {
  char *first = print(test, graphs, count);
  int again_count;
  Graph **again = parse(test, first, &again_count);
  if (!again)
    return fail(test, "what was printed does not parse", messages(test));
  char *second = print(test, again, again_count);
  if (strcmp(first, second) != 0)
    return fail(test, "what was printed prints differently after parsing", second);
  Error error = {0};
  for (int i = 0; i < again_count; i++)
    if (!graph_check(again[i], &error))
      return fail(test, "the verifier rejects the graph", error.text);
  return true;
}

/* ---- numbers ---- */

static double random_element(const GraphInput *input, int64_t i) {
  uint64_t stream = hash_bytes(input->name, strlen(input->name), 7), seed = 1;
  if (!dtype_is_float(input->value->type.dtype))
    return floor(random_uniform(seed, stream, (uint64_t)i) * 3);
  if (input->init.kind == INIT_UNIFORM)
    return input->init.a +
           (input->init.b - input->init.a) * random_uniform(seed, stream, (uint64_t)i);
  return random_normal(seed, stream, (uint64_t)i);
}

static double **random_inputs(Arena *arena, const Graph *graph) {
  double **inputs = ARENA_ARRAY(arena, double *, graph->inputs.count + 1);
  for (int i = 0; i < graph->inputs.count; i++) {
    const GraphInput *input = &graph->inputs.at[i];
    int64_t elements = type_elements(&input->value->type);
    inputs[i] = ARENA_ARRAY(arena, double, elements);
    for (int64_t j = 0; j < elements; j++)
      inputs[i][j] = random_element(input, j);
  }
  return inputs;
}

static bool same_numbers(Test *test, const GraphOutput *output, const double *a, const double *b) {
  double scale = 1e-30, worst = 0;
  int64_t elements = type_elements(&output->value->type);
  for (int64_t i = 0; i < elements; i++) {
    if (a[i] == b[i]) /* also infinities */
      continue;
    scale = fmax(scale, fabs(a[i]));
    if (!(fabs(a[i] - b[i]) <= worst))
      worst = fabs(a[i] - b[i]);
  }
  if (worst <= test->within * scale)
    return true;
  return fail(
      test, "the two sides differ in numbers",
      arena_printf(test->arena, "output \"%s\": by %g of %g\n", output->name, worst, scale));
}

static bool same_outputs(Test *test, const Graph *before, const Graph *after) {
  Arena *arena = test->arena;
  double **a = ARENA_ARRAY(arena, double *, before->outputs.count + 1);
  double **b = ARENA_ARRAY(arena, double *, after->outputs.count + 1);
  graph_eval(before, arena, random_inputs(arena, before), a);
  graph_eval(after, arena, random_inputs(arena, after), b);
  int compared = 0;
  for (int i = 0; i < before->outputs.count; i++) {
    const GraphOutput *output = &before->outputs.at[i];
    const GraphOutput *other = graph_find_output(after, output->name);
    if (!other)
      continue;
    if (!type_equal(&output->value->type, &other->value->type))
      return fail(test, "an output changed its type", output->name);
    if (!same_numbers(test, output, a[i], b[other - after->outputs.at]))
      return false;
    compared++;
  }
  return compared > 0 || fail(test, "the two sides have no output in common", "");
}

/* The derivative of the output loss along a random direction of one parameter, by differences. */
static double slope(Arena *arena, const Graph *graph, int parameter, int loss, double **direction) {
  double **inputs = random_inputs(arena, graph), **outputs, h = 1e-4, ends[2];
  int64_t elements = type_elements(&graph->inputs.at[parameter].value->type);
  *direction = ARENA_ARRAY(arena, double, elements);
  for (int side = 0; side < 2; side++) {
    for (int64_t i = 0; i < elements; i++) {
      (*direction)[i] = random_uniform(2, (uint64_t)parameter, (uint64_t)i) - 0.5;
      inputs[parameter][i] =
          random_element(&graph->inputs.at[parameter], i) + (side ? h : -h) * (*direction)[i];
    }
    outputs = ARENA_ARRAY(arena, double *, graph->outputs.count);
    graph_eval(graph, arena, inputs, outputs);
    ends[side] = outputs[loss][0];
  }
  return (ends[1] - ends[0]) / (2 * h);
}

static bool right_gradients(Test *test, const Graph *before, const Graph *after) {
  Arena *arena = test->arena;
  const GraphOutput *loss = graph_find_output(before, "loss");
  double **outputs = ARENA_ARRAY(arena, double *, after->outputs.count + 1), *direction;
  graph_eval(after, arena, random_inputs(arena, after), outputs);
  for (int i = 0; i < before->inputs.count && loss; i++) {
    const char *name = arena_printf(arena, "grad.%s", before->inputs.at[i].name);
    const GraphOutput *gradient = graph_find_output(after, name);
    if (!gradient || graph_find_output(before, name))
      continue;
    double want = slope(arena, before, i, (int)(loss - before->outputs.at), &direction), got = 0;
    double size = 0;
    for (int64_t j = 0; j < type_elements(&gradient->value->type); j++) {
      got += outputs[gradient - after->outputs.at][j] * direction[j];
      size += fabs(outputs[gradient - after->outputs.at][j] * direction[j]);
    }
    if (!(fabs(got - want) <= 1e-5 * (size + fabs(want)) + 1e-7))
      return fail(test, "the gradient differs from finite differences",
                  arena_printf(arena, "%s: %.9g, not %.9g\n", name, got, want));
  }
  return true;
}

/* ---- one test ---- */

static bool expected_messages(Test *test, const Lines *lines, const char *kind) {
  char *all = messages(test);
  for (int i = 0; i < lines->count; i++) {
    const char *line = lines->at[i];
    int row, column, used = 0;
    const char *want = line;
    if (sscanf(line, "%d:%d: %n", &row, &column, &used) == 2 && used)
      want = arena_printf(test->arena, "%s:%d:%d: %s: %s\n", test->path, row, column, kind,
                          line + used);
    if (!strstr(all, want))
      return fail(test, arena_printf(test->arena, "expected the %s '%s' and got", kind, want), all);
  }
  return true;
}

static bool expected_errors(Test *test) {
  return expected_messages(test, &test->errors, "error") &&
         expected_messages(test, &test->notes, "note");
}

static bool run_passes(Test *test, Graph **graphs, int count) {
  Facts facts = {.vector = 8, .registers = 16, .threads = 1, .l1 = 32 << 10, .l2 = 1 << 20};
  PassContext context = {.arena = test->arena, .diag = &test->diag, .facts = &facts};
  Lines names = {0};
  char *rest = NULL, *copy = arena_strdup(test->arena, test->passes);
  for (char *name = strtok_r(copy, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
    int standard_count = 0;
    const char *const *standard = passes_standard(&standard_count);
    if (strcmp(name, "standard") != 0)
      vec_push(test->arena, &names, name);
    else
      for (int i = 0; i < standard_count; i++)
        vec_push(test->arena, &names, standard[i]);
  }
  for (int i = 0; i < count; i++)
    if (!(graphs[i] = passes_run(&context, graphs[i], names.at, names.count, &test->options)))
      return false;
  return true;
}

static bool bless(Test *test, const char *output) {
  Writing writing;
  Error error = {0};
  if (!writing_open(&writing, test->path, &error))
    return fail(test, error.text, "");
  fprintf(writing.stream, "%s%s# ---- expect\n%s", test->source,
          test->source[strlen(test->source) - 1] == '\n' ? "" : "\n", output);
  if (!writing_commit(&writing, &error))
    return fail(test, error.text, "");
  printf("%s: blessed\n", test->path);
  return true;
}

static bool compare(Test *test, const char *output) {
  for (int i = 0; i < test->has.count; i++)
    if (!strstr(output, test->has.at[i]))
      return fail(test, arena_printf(test->arena, "'%s' is missing in", test->has.at[i]), output);
  for (int i = 0; i < test->not .count; i++)
    if (strstr(output, test->not .at[i]))
      return fail(test, arena_printf(test->arena, "'%s' should not be in", test->not .at[i]),
                  output);
  if (test->expect ? strcmp(test->expect, output) == 0 : test->has.count > 0)
    return true;
  return getenv("TRICOT_BLESS") ? bless(test, output)
                                : fail(test, "the output is not the expected one but", output);
}

static bool run_test(Test *test) {
  int count, after_count;
  if (!read_test(test))
    return false;
  Graph **before = parse(test, test->source, &count), **after;
  if (!before)
    return test->errors.count ? expected_errors(test)
                              : fail(test, "the test does not parse", messages(test));
  if (!round_trip(test, before, count))
    return false;
  after = parse(test, test->source, &after_count);
  if (!run_passes(test, after, after_count))
    return test->errors.count ? expected_errors(test)
                              : fail(test, "the passes failed", messages(test));
  if (test->errors.count)
    return fail(test, "the run should have failed", "");
  if (!round_trip(test, after, after_count))
    return false;
  for (int i = 0; i < count && test->ground; i++)
    if (!same_outputs(test, before[i], after[i]) || !right_gradients(test, before[i], after[i]))
      return false;
  if (test->expect) { /* the expectation is IR of its own right */
    int expected_count;
    Graph **expected = parse(test, test->expect, &expected_count);
    if (!expected && !getenv("TRICOT_BLESS"))
      return fail(test, "the expectation does not parse", messages(test));
    if (expected && !getenv("TRICOT_BLESS") && !round_trip(test, expected, expected_count))
      return false;
  }
  return compare(test, print(test, after, after_count));
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: text_runner FILE.tg...\n");
    return EXIT_USAGE;
  }
  for (int i = 1; i < argc; i++) {
    Test test = {.arena = arena_new(), .path = argv[i], .ground = true, .within = 1e-6};
    run_test(&test);
    arena_free(test.arena);
  }
  return failures ? 1 : 0;
}
