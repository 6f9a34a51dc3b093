/* The model language: real models against the published counts and the golden checkpoint, small
 * ones by their values, and every file of tests/err/ against the error it announces.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "frontend/model.h"
#include "runtime/safetensors.h"
#include "tests/unit/shared.h"
#include <dirent.h>
#include <math.h>
#include <string.h>

#ifndef TRICOT_SOURCE
#error "TRICOT_SOURCE names the source folder"
#endif

typedef struct Fixture {
  Arena *arena;
  Diag diag;
} Fixture;

static Fixture fixture(void) {
  Fixture f = {.arena = arena_new()};
  return f;
}

static const char *const clip_sets[] = {
    "batch=3",        "volume=[32,64,64]", "text.vocab=1024",   "text.width=64",
    "text.layers=2",  "text.heads=4",      "text.hidden=256",   "text.positions=64",
    "text.length=24", "optimizer.lr=1e-3",
};
enum { N_CLIP_SETS = sizeof clip_sets / sizeof *clip_sets };

static Model *load(Fixture *f, const char *path, const char *variant, const char *const *sets,
                   int n_sets) {
  diag_init(&f->diag, f->arena);
  ModelRequest request = {path, variant, sets, n_sets};
  Model *model = model_load(f->arena, &f->diag, &request);
  if (!model)
    diag_print(&f->diag, stderr);
  assert_non_null(model);
  assert_int_equal(f->diag.errors, 0);
  return model;
}

static Model *load_clip(Fixture *f) {
  return load(f, TRICOT_SOURCE "/models/clip-dcformer.yaml", "nano", clip_sets, N_CLIP_SETS);
}

static Graph *build(Fixture *f, Model *model, const char *entry, bool training) {
  Graph *graph = model_build(model, &f->diag, entry, training);
  Error error = {""};
  if (!graph)
    diag_print(&f->diag, stderr);
  assert_non_null(graph);
  if (!graph_check(graph, &error))
    fail_msg("%s", error.text);
  return graph;
}

/* ---- counts: the paper's tables, to the last digit ---- */

static void dcformer_counts(void **state) {
  (void)state;
  static const struct {
    const char *variant;
    int64_t parameters, with_projection;
    struct {
      int64_t parameters, flops;
    } stages[5];
  } rows[] = {
      {"nano", 789216, 920288,
       {{29472, 31708938240}, {10944, 1434451968}, {37888, 620756992}, {144640, 296222720},
        {566272, 144965632}}},
      {"naive", 5851680, 6113824,
       {{29472, 31708938240}, {74496, 9764339712}, {282624, 4630511616}, {1102848, 2258632704},
        {4362240, 1116733440}}},
      {"tiny", 14657472, 15050688,
       {{114240, 121399934976}, {163968, 21491613696}, {930816, 15250489344},
        {3661056, 7497842688}, {9787392, 2505572352}}},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    Fixture f = fixture();
    ModelSummary summary;
    Model *model = load(&f, TRICOT_SOURCE "/models/dcformer.yaml", rows[i].variant, NULL, 0);
    assert_true(model_summary(model, &f.diag, &summary));
    assert_int_equal(summary.parameters, rows[i].parameters);
    assert_int_equal(summary.with_projection, rows[i].with_projection);
    assert_int_equal(summary.n_stages, 5);
    double total = 0;
    for (int s = 0; s < 5; s++) {
      assert_string_equal(summary.stages[s].name, ((const char[]){'s', (char)('0' + s), 0}));
      assert_int_equal(summary.stages[s].parameters, rows[i].stages[s].parameters);
      assert_true(summary.stages[s].flops == (double)rows[i].stages[s].flops);
      total += summary.stages[s].flops;
    }
    assert_true(summary.flops == total);
    arena_free(f.arena);
  }
}

static void arguments_are_readable(void **state) {
  (void)state;
  Fixture f = fixture();
  Model *model = load_clip(&f);
  double value;
  assert_true(model_number(model, "optimizer.lr", &value) && value == 1e-3);
  assert_true(model_number(model, "volume[2]", &value) && value == 64);
  assert_true(model_number(model, "text.length", &value) && value == 24);
  assert_true(model_number(model, "image.volume[0]", &value) && value == 32);
  assert_false(model_number(model, "optimizer.lrr", &value));
  assert_false(model_number(model, "temperature", &value));
  assert_string_equal(model_text(model, "temperature"), "fixed");
  assert_null(model_text(model, "latent"));
  assert_string_equal(model_train_entry(model), "forward");
  assert_string_equal(model_train_loss(model), "loss");
  assert_int_equal(model_variant_count(model), 3);
  bool found = false;
  for (int i = 0; i < model_arg_count(model); i++)
    if (strcmp(model_arg_name(model, i), "text.hidden") == 0) {
      assert_string_equal(model_arg_value(model, i), "256");
      found = true;
    }
  assert_true(found);
  arena_free(f.arena);
}

/* ---- the golden checkpoint ---- */

/* Every stored tensor is an input of the training graph, of the same shape, and the reverse. */
static void golden_names(void **state) {
  (void)state;
  shared_needed();
  Fixture f = fixture();
  Graph *graph = build(&f, load_clip(&f), "forward", true);
  TensorFile file;
  Error error = {""};
  assert_true(tensor_file_open(
      &file, shared_path("goldens/clip-dcformer-nano.weights.safetensors"), &error));
  int stored = 0;
  for (int i = 0; i < graph->inputs.count; i++) {
    const GraphInput *input = &graph->inputs.at[i];
    if (input->role == ROLE_INPUT)
      continue;
    const Tensor *tensor = tensor_file_find(&file, input->name);
    if (!tensor)
      fail_msg("%s is not in the checkpoint", input->name);
    if (!type_equal(&tensor->type, &input->value->type))
      fail_msg("%s is stored as %s", input->name, type_text(&tensor->type));
    assert_int_equal(input->decay, input->role == ROLE_PARAMETER && tensor->type.rank >= 2);
    stored++;
  }
  assert_int_equal(stored, file.count);
  tensor_file_close(&file);
  arena_free(f.arena);
}

static const Tensor *find_tensor(const TensorFile *files, int count, const char *name) {
  for (int i = 0; i < count; i++) {
    const Tensor *tensor = tensor_file_find(&files[i], name);
    if (tensor)
      return tensor;
  }
  fail_msg("no tensor %s", name);
  return NULL;
}

/* Relative L2 error of a result against a stored tensor. */
static double difference(const double *result, const Tensor *expected) {
  double error = 0, norm = 0;
  for (int64_t i = 0; i < type_elements(&expected->type); i++) {
    double value = dtype_load(expected->type.dtype, expected->data, i);
    error += (result[i] - value) * (result[i] - value);
    norm += value * value;
  }
  return sqrt(error / norm);
}

/* Runs `forward` in the interpreter and compares every output with the golden value. */
static void compare_forward(bool training, const char *prefix) {
  Fixture f = fixture();
  Graph *graph = build(&f, load_clip(&f), "forward", training);
  TensorFile files[2], expected;
  Error error = {""};
  assert_true(tensor_file_open(
      &files[0], shared_path("goldens/clip-dcformer-nano.weights.safetensors"), &error));
  assert_true(tensor_file_open(
      &files[1], shared_path("goldens/clip-dcformer-nano.inputs.safetensors"), &error));
  assert_true(tensor_file_open(
      &expected, shared_path("goldens/clip-dcformer-nano.expected.safetensors"), &error));
  double **inputs = ARENA_ARRAY(f.arena, double *, graph->inputs.count);
  double **outputs = ARENA_ARRAY(f.arena, double *, graph->outputs.count);
  for (int i = 0; i < graph->inputs.count; i++) {
    const Tensor *tensor = find_tensor(files, 2, graph->inputs.at[i].name);
    int64_t elements = type_elements(&tensor->type);
    inputs[i] = ARENA_ARRAY(f.arena, double, elements);
    for (int64_t k = 0; k < elements; k++)
      inputs[i][k] = dtype_load(tensor->type.dtype, tensor->data, k);
  }
  graph_eval(graph, f.arena, inputs, outputs);
  int compared = 0;
  for (int i = 0; i < graph->outputs.count; i++) {
    const GraphOutput *output = &graph->outputs.at[i];
    if (output->updates)
      continue;
    const char *name = arena_printf(f.arena, "%s%s", prefix, output->name);
    const Tensor *tensor = tensor_file_find(&expected, name);
    if (!tensor)
      fail_msg("%s is not expected", name);
    double off = difference(outputs[i], tensor);
    if (!(off < 1e-5))
      fail_msg("%s is off by %g", name, off);
    compared++;
  }
  assert_int_equal(compared, 10); /* s0 .. s4, pooled, text_cls, both latents, loss */
  tensor_file_close(&files[0]);
  tensor_file_close(&files[1]);
  tensor_file_close(&expected);
  arena_free(f.arena);
}

static void golden_eval(void **state) {
  (void)state;
  shared_needed();
  compare_forward(false, "eval.");
}

static void golden_train(void **state) {
  (void)state;
  shared_needed();
  compare_forward(true, "train.step0.");
}

static void entries_take_only_what_they_use(void **state) {
  (void)state;
  Fixture f = fixture();
  Model *model = load_clip(&f);
  Graph *graph = build(&f, model, "encode_text", false);
  for (int i = 0; i < graph->inputs.count; i++)
    assert_null(strstr(graph->inputs.at[i].name, "visual"));
  assert_non_null(graph_find_input(graph, "to_text_latent.weight"));
  assert_non_null(graph_find_output(graph, "text_latents"));
  assert_true(graph_find_output(graph, "text_cls")->tap);
  graph = build(&f, model, "encode_image", false);
  assert_true(graph_find_output(graph, "s3")->tap);
  for (int i = 0; i < graph->outputs.count; i++)
    assert_null(graph->outputs.at[i].updates);
  graph = build(&f, model, "encode_image", true);
  const GraphOutput *update =
      graph_find_output(graph, "buffer.visual_transformer.encoder.s0.0.0.c1.1.running_mean");
  assert_string_equal(update->updates, "visual_transformer.encoder.s0.0.0.c1.1.running_mean");
  arena_free(f.arena);
}

/* Texts with rows of their own have a mask, texts that share rows have segments. */
static void inputs_left_out(void **state) {
  (void)state;
  Fixture f = fixture();
  const char *sets[N_CLIP_SETS + 1];
  memcpy(sets, clip_sets, sizeof clip_sets);
  for (int rows = 0; rows < 2; rows++) {
    sets[N_CLIP_SETS] = rows ? "text.rows=2" : "text.rows=0";
    Model *model =
        load(&f, TRICOT_SOURCE "/models/clip-dcformer.yaml", NULL, sets, N_CLIP_SETS + 1);
    Graph *graph = build(&f, model, "forward", true);
    assert_int_equal(graph_find_input(graph, "attention_mask") != NULL, !rows);
    static const char *const packed[] = {"position_ids", "segment_ids", "text_starts"};
    for (int i = 0; i < 3; i++)
      assert_int_equal(graph_find_input(graph, packed[i]) != NULL, rows);
    assert_non_null(graph_find_input(graph, "input_ids"));
  }
  arena_free(f.arena);
}

static void learned_temperature(void **state) {
  (void)state;
  Fixture f = fixture();
  const char *sets[N_CLIP_SETS + 1];
  memcpy(sets, clip_sets, sizeof clip_sets);
  sets[N_CLIP_SETS] = "temperature=learned";
  Model *model = load(&f, TRICOT_SOURCE "/models/clip-dcformer.yaml", NULL, sets, N_CLIP_SETS + 1);
  const GraphInput *scale = graph_find_input(build(&f, model, "forward", true), "logit_scale");
  assert_non_null(scale);
  assert_int_equal(scale->init.kind, INIT_CONSTANT);
  assert_float_equal(scale->init.a, 2.6592600369327779, 1e-12);
  assert_false(scale->decay);
  arena_free(f.arena);
}

/* ---- errors ---- */

/* tests/err/NAME.yaml starts with one or more lines "# error: LINE:COLUMN: TEXT": the file must be
 * refused with exactly these errors, in this order; TEXT is the start of the message. */
static void check_error_file(const char *path) {
  Fixture f = fixture();
  char *text;
  size_t size;
  Error error;
  diag_init(&f.diag, f.arena);
  assert_true(file_read(f.arena, path, 1 << 20, &text, &size, &error));
  Model *model = model_load(f.arena, &f.diag, &(ModelRequest){.path = path});
  for (int i = 0; model && i < model_entry_count(model); i++)
    model_build(model, &f.diag, model_entry_name(model, i), true);
  int message = 0, wanted = 0;
  for (const char *line = text; strncmp(line, "# error: ", 9) == 0;
       line = strchr(line, '\n') + 1, wanted++) {
    int row, column, length = 0;
    assert_int_equal(sscanf(line, "# error: %d:%d: %n", &row, &column, &length), 2);
    const char *stop = strchr(line, '\n');
    const char *start = arena_printf(f.arena, "%s:%d:%d: error: %.*s", path, row, column,
                                     (int)(stop - line - length), line + length);
    while (message < f.diag.messages.count && !strstr(f.diag.messages.at[message], ": error: "))
      message++;
    if (message == f.diag.messages.count)
      fail_msg("%s: fewer errors than announced: no\n%s", path, start);
    if (strncmp(f.diag.messages.at[message], start, strlen(start)) != 0)
      fail_msg("expected\n%s\nbut got\n%s", start, f.diag.messages.at[message]);
    message++;
  }
  assert_true(wanted > 0);
  if (f.diag.errors != wanted) {
    diag_print(&f.diag, stderr);
    fail_msg("%s: %d errors, %d announced", path, f.diag.errors, wanted);
  }
  arena_free(f.arena);
}

static void error_files(void **state) {
  (void)state;
  const char *folder = TRICOT_SOURCE "/tests/err";
  DIR *listing = opendir(folder);
  int count = 0;
  assert_non_null(listing);
  for (struct dirent *entry; (entry = readdir(listing));) {
    const char *dot = strrchr(entry->d_name, '.');
    char path[1024];
    if (!dot || strcmp(dot, ".yaml") != 0)
      continue;
    snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    check_error_file(path);
    count++;
  }
  closedir(listing);
  assert_true(count >= 20);
}

static void starts_with(const char *message, const char *start) {
  if (strncmp(message, start, strlen(start)) != 0)
    fail_msg("expected\n%s\nbut got\n%s", start, message);
}

/* ---- small models, written to a folder ---- */

static void write_file(const char *folder, const char *name, const char *text) {
  char path[300];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *stream = fopen(path, "w");
  assert_non_null(stream);
  fputs(text, stream);
  fclose(stream);
}

/* The first message of loading folder/name. */
static const char *load_error(Fixture *f, const char *folder, const char *name,
                              const ModelRequest *request) {
  ModelRequest full = *request;
  full.path = arena_printf(f->arena, "%s/%s", folder, name);
  diag_init(&f->diag, f->arena);
  assert_null(model_load(f->arena, &f->diag, &full));
  assert_true(f->diag.errors > 0);
  const char *message = f->diag.messages.at[0];
  size_t length = strlen(folder);
  return strncmp(message, folder, length) == 0 ? message + length + 1 : message;
}

static void imports(void **state) {
  (void)state;
  Fixture f = fixture();
  const char *folder = scratch_make();
  write_file(folder, "a.yaml", "tricot: 1\nmodel: a\nimports:\n  b: {from: b.yaml}\n");
  write_file(folder, "b.yaml", "tricot: 1\nmodel: b\nimports:\n  a: a.yaml\n");
  write_file(folder, "c.yaml", "tricot: 1\nmodel: c\nextends: c.yaml\n");
  write_file(folder, "d.yaml", "tricot: 1\nmodel: d\nimports: {e: e.yaml}\n");
  write_file(folder, "g.yaml",
             "tricot: 1\nmodel: g\nargs: {n: 1, r: 0.5, t: \"x\", l: [1, 2], g: {m: 1}}\n"
             "let: {twice: 2 * n}\nvariants:\n  big: {n: 10, g: {m: 2}}\n");
  write_file(folder, "h.yaml",
             "tricot: 1\nmodel: h\nimports:\n  g: {from: g.yaml, args: {n: x}}\n");
  write_file(folder, "i.yaml", "tricot: 1\nmodel: i\nextends: g.yaml\nargs: {n: 5}\n");
  ModelRequest none = {0};
  starts_with(load_error(&f, folder, "a.yaml", &none),
              "b.yaml:4:6: error: import cycle: a.yaml imports b.yaml imports a.yaml");
  starts_with(load_error(&f, folder, "c.yaml", &none), "c.yaml:3:10: error: import cycle: c.yaml");
  starts_with(load_error(&f, folder, "d.yaml", &none), "d.yaml:3:14: error: no file 'e.yaml'");
  starts_with(load_error(&f, folder, "h.yaml", &none), "h.yaml:4:31: error: undefined name 'x'");
  starts_with(load_error(&f, folder, "z.yaml", &none), "z.yaml: error: No such file");
  ModelRequest variant = {.variant = "bigg"};
  starts_with(load_error(&f, folder, "g.yaml", &variant),
              "--variant:1:1: error: model 'g' has no variant 'bigg'; did you mean 'big'?");
  static const char *const bad[][2] = {
      {"n=1.5", "--set:1:1: error: argument 'n' is an integer, not a real number (1.5)"},
      {"n=", "--set:1:1: error: a setting looks like name=value"},
      {"n=(1", "--set:1:5: error: expected ')', found the end"},
      {"l=[1, 0.5]", "--set:1:1: error: argument 'l[1]' is an integer, not a real number"},
      {"twice=3", "--set:1:1: error: 'twice' follows from the arguments"},
      {"g.mm=3", "--set:1:1: error: no argument 'g.mm'; did you mean 'g.m'?"},
      {"g=3", "--set:1:1: error: argument 'g' is a record, not an integer"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    starts_with(load_error(&f, folder, "g.yaml", &(ModelRequest){.sets = &bad[i][0], .n_sets = 1}),
                bad[i][1]);
  const char *path = arena_printf(f.arena, "%s/g.yaml", folder);
  const char *sets[] = {"r=2", "t=some text", "l=[3]"};
  Model *model = load(&f, path, "big", sets, 3);
  double value;
  assert_true(model_number(model, "twice + g.m + r + l[0]", &value) && value == 27);
  assert_string_equal(model_text(model, "t"), "some text");
  model = load(&f, arena_printf(f.arena, "%s/i.yaml", folder), NULL, NULL, 0);
  assert_true(model_number(model, "twice", &value) && value == 10);
  assert_string_equal(model_name(model), "i");
  scratch_remove(folder);
  arena_free(f.arena);
}

/* One model with every kind of step, built and run on known numbers. */
static const char every_step[] =
    "tricot: 1\nmodel: steps\n"
    "use: lib/layers.yaml\n"
    "args: {n: 3, kind: \"twice\"}\n"
    "let: {shift: 10 * n}\n"
    "inputs:\n  x: f32[2, n]\n"
    "modules:\n"
    "  change(a tensor, kind text, by real = n + 1):\n"
    "    - if kind == \"none\": return a\n"
    "      elif kind == \"twice\": return a * 2, by - a\n"
    "    - check false\n"
    "  part(a, i):\n"
    "    - w = parameter([n], init=normal(0, 2), decay=true) @ w\n"
    "    - v = parameter([2, n], init=uniform(-1, 1), decay=false, frozen=true) @ v\n"
    "    - tap part{i} = a\n"
    "    - return a + w + v * 0\n"
    "entries:\n"
    "  main(x):\n"
    "    - a, b = change(x, kind)\n"
    "    - seen = buffer([2, n], init=0) @ seen\n"
    "    - if training: update seen = seen + b\n"
    "    - stage one:\n"
    "        - for i, k in enumerate([5, 6]):\n"
    "            - scope deep.{k}:\n"
    "                - a = part(take(reshape(a, [1, 2, n]), 0, 0), i) @ p\n"
    "    - uncounted: u = layer_norm(a) @ norm\n"
    "    - c = layer_norm(a) @ again\n"
    "    - m = select(a > 3, max(a, shift), -a ** 2)\n"
    "    - unused = parameter([7], 0) @ unused\n"
    "    - output m = m\n"
    "    - output u = u + c\n"
    "  other(x):\n"
    "    - r = main(x)\n"
    "    - output sum = squeeze(reduce_sum(r.m, [0, 1]), [0, 1])\n";

static void every_kind_of_step(void **state) {
  (void)state;
  Fixture f = fixture();
  const char *folder = scratch_make();
  write_file(folder, "m.yaml", every_step);
  assert_int_equal(setenv("TRICOT_MODELS", TRICOT_SOURCE "/models", 1), 0);
  Model *model = load(&f, arena_printf(f.arena, "%s/m.yaml", folder), NULL, NULL, 0);
  scratch_remove(folder);
  Graph *graph = build(&f, model, "main", true);
  const GraphInput *w = graph_find_input(graph, "deep.5.p.w"), *v;
  assert_non_null(w);
  assert_true(w->decay && !w->frozen && w->init.kind == INIT_NORMAL && w->init.b == 2);
  assert_string_equal(w->stage, "one");
  v = graph_find_input(graph, "deep.6.p.v");
  assert_true(!v->decay && v->frozen && v->init.kind == INIT_UNIFORM && v->init.a == -1);
  assert_null(graph_find_input(graph, "unused"));
  assert_null(graph_find_input(build(&f, model, "main", false), "seen"));
  assert_string_equal(graph_find_output(graph, "buffer.seen")->updates, "seen");
  assert_true(graph_flops(graph) == 5 * 6); /* one of the two norms */
  ModelSummary summary;
  assert_true(model_summary(model, &f.diag, &summary));
  assert_int_equal(summary.parameters, 2 * (3 + 6) + 2 * 6 + 7);
  assert_int_equal(summary.buffers, 6);
  assert_int_equal(summary.stages[0].parameters, 18);

  graph = build(&f, model, "other", false);
  assert_int_equal(graph->outputs.count, 3); /* part0, part1, sum */
  double **inputs = ARENA_ARRAY(f.arena, double *, graph->inputs.count);
  double **outputs = ARENA_ARRAY(f.arena, double *, graph->outputs.count);
  for (int i = 0; i < graph->inputs.count; i++) {
    int64_t elements = type_elements(&graph->inputs.at[i].value->type);
    inputs[i] = ARENA_ARRAY(f.arena, double, elements);
    for (int64_t k = 0; k < elements; k++)
      inputs[i][k] = graph->inputs.at[i].role == ROLE_INPUT ? (double)k - 2 : 0.5;
  }
  graph_eval(graph, f.arena, inputs, outputs);
  /* x = -2 .. 3; a = 2x + 0.5 + 0.5 = -3 -1 1 3 5 7; m = -9 -1 -1 -9 30 30 */
  double sum = outputs[graph_find_output(graph, "sum") - graph->outputs.at][0];
  assert_float_equal(sum, 40, 1e-12);
  double part = outputs[graph_find_output(graph, "part1") - graph->outputs.at][0];
  assert_float_equal(part, -3.5, 1e-12);
  arena_free(f.arena);
}

/* The expression language by its values. */
static void expressions(void **state) {
  (void)state;
  static const struct {
    const char *text;
    double value;
  } good[] = {
      {"1 + 2 * 3", 7},
      {"(1 + 2) * 3", 9},
      {"-7 // 2", -4},
      {"-7 % 3", 2},
      {"7 / 2", 3.5},
      {"2 ** 10", 1024},
      {"2 ** -1", 0.5},
      {"-2 ** 2", -4},
      {"1 if 2 < 3 else 4", 1},
      {"1 if not 2 < 3 or false else 4", 4},
      {"[1, 2, 3][-1]", 3},
      {"sum([k * k for k in range(4) if k % 2 == 1])", 10},
      {"[i * 10 + k for i, k in enumerate([5, 6])][1]", 16},
      {"len([0] * 3 + [1])", 4},
      {"max(1, 2.5)", 2.5},
      {"min([4, 3])", 3},
      {"prod([2, 3, 4])", 24},
      {"int(2.9) + floor(-0.5) + ceil(0.5)", 2},
      {"1 if 3 in [1, 2, 3] and 4 not in [1] else 0", 1},
      {"exp(0) + log(1.0) + sqrt(4)", 3},
      {"(-1) ** 1000000001", -1},
      {".5e1", 5},
  };
  static const char *const bad[] = {
      "1 +",       "1 / 0",          "1 // 0",        "2 ** 64",       "9223372036854775808",
      "[1][1]",    "a",              "1 < 2 < 3",     "'x",            "1 if 2 else 3",
      "range(0, 1, 0)", "range(1000000)", "len(1)",   "max()",         "parameter([1], 0) @ w",
      "conv3d(1)", "1 2",            "[1, 2",         "f(x=1, 2)",     "relu(1)",
      "sqrt(-1)",  "$",              "1x",            "1 @ a",         "9223372036854775807 + 1",
      "(-9223372036854775807 - 1) // -1",              "if",            "1.5.2",
  };
  Fixture f = fixture();
  Model *model = load(&f, TRICOT_SOURCE "/models/bert.yaml", NULL, NULL, 0);
  double value;
  for (size_t i = 0; i < sizeof good / sizeof *good; i++)
    if (!model_number(model, good[i].text, &value) || fabs(value - good[i].value) > 1e-12)
      fail_msg("%s is not %g", good[i].text, good[i].value);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (model_number(model, bad[i], &value))
      fail_msg("%s has a value: %g", bad[i], value);
  Text deep = {0};
  for (int i = 0; i < 2000; i++)
    text_add(&deep, "(");
  assert_false(model_number(model, deep.at, &value));
  deep.size = 0;
  for (int i = 0; i < 1500; i++)
    text_add(&deep, "1+");
  text_add(&deep, "1");
  assert_false(model_number(model, deep.at, &value)); /* nests too deeply to evaluate */
  text_free(&deep);
  arena_free(f.arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(dcformer_counts),  cmocka_unit_test(arguments_are_readable),
      cmocka_unit_test(golden_names),     cmocka_unit_test(golden_eval),
      cmocka_unit_test(golden_train),     cmocka_unit_test(entries_take_only_what_they_use),
      cmocka_unit_test(inputs_left_out),
      cmocka_unit_test(learned_temperature), cmocka_unit_test(error_files),
      cmocka_unit_test(imports),          cmocka_unit_test(expressions),
      cmocka_unit_test(every_kind_of_step),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
