/* Executables, shared and static libraries of a hand-made model, with kernels compiled from C, and
 * the choice among levels of processor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* after what it leans on */
#include <cmocka.h>

#include "codegen/executable.h"
#include "codegen/plan_write.h"
#include "runtime/base/file.h"
#include "runtime/embedded.h"
#include "runtime/tricot.h"
#include "tests/unit/fake_clip.h"
#include "tests/unit/shared.h"
#include <dlfcn.h>

static char folder[100];

static const char *in_folder(const char *name) {
  static char ring[64][300];
  static int next;
  char *path = ring[next++ % 64];
  snprintf(path, sizeof ring[0], "%s/%s", folder, name);
  return path;
}

static int run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int run(const char *format, ...) {
  char command[4096];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(command, sizeof command, format, arguments);
  va_end(arguments);
  int status = system(command);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static char *slurp(Arena *arena, const char *name, size_t *size) {
  char *text;
  Error error;
  if (!file_read(arena, in_folder(name), 1 << 28, &text, size, &error))
    fail_msg("%s", error.text);
  return text;
}

/* Kernels of fake_clip.h as exported functions with a suffix. */
static LevelObject make_level(Arena *arena, const char *level, const char *suffix) {
  FILE *stream = fopen(in_folder("kernels.c"), "w");
  fprintf(stream, "#pragma GCC diagnostic ignored \"-Wunused-variable\"\n"
                  "#include \"tests/unit/fake_clip.h\"\n");
  for (int i = 0; i < 4; i++)
    fprintf(stream, "void %s%s(void *const *a, int64_t b, int64_t e) { %s(a, b, e); }\n",
            fake_kernels[i], suffix, fake_kernels[i]);
  fclose(stream);
  assert_int_equal(
      run("cd %s && cc -fPIC -O1 -I'%s' -c kernels.c -o kernels.o", folder, TRICOT_SOURCE), 0);
  LevelObject object = {.name = level, .suffix = suffix, .n_kernels = 4, .kernels = fake_kernels};
  object.plan = plan_write(arena, &fake_plan, &object.plan_size);
  object.object = (unsigned char *)slurp(arena, "kernels.o", &object.object_size);
  return object;
}

static float expected[FAKE_WIDTH];

static int make_world(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "%s", scratch_make());
  Program *program;
  Error error;
  if (!program_open(&program, &fake_plan, fake_lookup, NULL, 1, &error))
    return -1;
  program_initialize(program, 5);
  Tensor tensors[4];
  int count = program_tensors(program, false, tensors, 4);
  float volume[FAKE_VOXELS];
  for (int i = 0; i < FAKE_VOXELS; i++)
    volume[i] = (float)i - 3.5f;
  void *arguments[] = {volume, program_tensor(program, "image.weight", NULL), expected};
  fake_image(arguments, 0, 1);
  Tensor input = {"volume", {DT_f32, 5, {1, 1, 2, 2, 2}}, volume};
  bool good = tensor_file_write(in_folder("weights"), tensors, count, NULL, NULL, 0, &error) &&
              tensor_file_write(in_folder("inputs"), &input, 1, NULL, NULL, 0, &error);
  program_close(program);
  return good ? 0 : -1;
}

static int remove_world(void **state) {
  (void)state;
  scratch_remove(folder);
  return 0;
}

static void check_output(void) {
  TensorFile file;
  Error error = {""};
  if (!tensor_file_open(&file, in_folder("outputs"), &error))
    fail_msg("%s", error.text);
  assert_memory_equal(tensor_file_find(&file, "image_latents")->data, expected, sizeof expected);
  tensor_file_close(&file);
}

static void builds_and_runs(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Error error = {""};
  LevelObject levels[] = {make_level(arena, "x86-64-v2", "_v2"),
                          make_level(arena, "x86-64-v3", "_v3")};
  ExecutableParts parts = {.levels = levels, .n_levels = 2};
  if (!executable_build(in_folder("model"), EXECUTABLE_PROGRAM, &parts, &error))
    fail_msg("%s", error.text);
  const char *model = in_folder("model"), *inputs = in_folder("inputs");
  assert_int_equal(run("%s run --entry encode_image --inputs %s --outputs %s --weights %s", model,
                       inputs, in_folder("outputs"), in_folder("weights")),
                   0);
  check_output();
  assert_int_equal(run("%s info > %s", model, in_folder("text")), 0);
  size_t size, again;
  assert_non_null(strstr(slurp(arena, "text", &size), "fake-clip small"));
  assert_int_equal(run("%s --help > %s", model, in_folder("text")), 0);
  assert_non_null(strstr(slurp(arena, "text", &size), "model VERB"));
  assert_int_equal(run("%s 2> %s", model, in_folder("text")), EXIT_USAGE);
  assert_int_equal(run("%s info --target cpu:x86-64-v4 2> %s", model, in_folder("text")),
                   EXIT_INPUT);
  assert_non_null(strstr(slurp(arena, "text", &size), "built for: cpu:x86-64-v2, cpu:x86-64-v3"));
  /* the other level gives the same */
  unlink(in_folder("outputs"));
  assert_int_equal(
      run("%s run --target cpu:x86-64-v2 --entry encode_image --inputs %s --outputs %s "
          "--weights %s",
          model, inputs, in_folder("outputs"), in_folder("weights")),
      0);
  check_output();
  /* nothing of C++ is needed (sanitizers bring it themselves) */
  if (!*TRICOT_FLAGS)
    assert_int_equal(run("ldd %s | grep -q stdc++", model), 1);
  /* the same input, the same bytes, whatever the folder */
  assert_int_equal(run("mkdir %s", in_folder("tmp")), 0);
  setenv("TMPDIR", in_folder("tmp"), 1);
  assert_true(executable_build(in_folder("again"), EXECUTABLE_PROGRAM, &parts, &error));
  unsetenv("TMPDIR");
  assert_int_equal(run("rmdir %s", in_folder("tmp")), 0); /* nothing is left there */
  char *first = slurp(arena, "model", &size), *second = slurp(arena, "again", &again);
  assert_int_equal(size, again);
  assert_memory_equal(first, second, size);
  /* with the weights inside */
  parts.weights = in_folder("weights");
  if (!executable_build(in_folder("full"), EXECUTABLE_PROGRAM, &parts, &error))
    fail_msg("%s", error.text);
  unlink(in_folder("outputs"));
  assert_int_equal(run("%s run --entry encode_image --inputs %s --outputs %s", in_folder("full"),
                       inputs, in_folder("outputs")),
                   0);
  check_output();
  arena_free(arena);
}

static void use_library(tricot_model *(*open)(const char *, int, char *, size_t),
                        void *(*input)(tricot_model *, const char *, const char *),
                        const void *(*output)(tricot_model *, const char *, const char *),
                        int (*type)(tricot_model *, const char *, const char *, tricot_type *),
                        int (*go)(tricot_model *, const char *, char *, size_t),
                        void (*close)(tricot_model *)) {
  char text[256] = "";
  tricot_type found;
  assert_null(open("/none", 1, text, sizeof text));
  assert_non_null(strstr(text, "/none"));
  tricot_model *model = open(NULL, 2, text, sizeof text);
  if (!model)
    fail_msg("%s", text);
  assert_int_equal(type(model, "encode_image", "volume", &found), 1);
  assert_string_equal(found.element, "f32");
  assert_int_equal(found.bytes, FAKE_VOXELS * sizeof(float));
  assert_int_equal(type(model, "encode_image", "nothing", &found), 0);
  float *volume = input(model, "encode_image", "volume");
  for (int i = 0; i < FAKE_VOXELS; i++)
    volume[i] = (float)i - 3.5f;
  assert_int_equal(go(model, "encode_image", text, sizeof text), 1);
  assert_memory_equal(output(model, "encode_image", "image_latents"), expected, sizeof expected);
  assert_int_equal(go(model, "decode", text, sizeof text), 0);
  assert_non_null(strstr(text, "decode"));
  close(model);
}

static void builds_a_library(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Error error = {""};
  LevelObject level = make_level(arena, "x86-64-v2", "_v2");
  ExecutableParts parts = {.levels = &level, .n_levels = 1, .weights = in_folder("weights")};
  if (!executable_build(in_folder("model.so"), EXECUTABLE_SHARED, &parts, &error))
    fail_msg("%s", error.text);
  void *library = dlopen(in_folder("model.so"), RTLD_NOW | RTLD_LOCAL);
  if (!library)
    fail_msg("%s", dlerror());
  use_library(dlsym(library, "tricot_open"), dlsym(library, "tricot_input"),
              dlsym(library, "tricot_output"), dlsym(library, "tricot_tensor_type"),
              dlsym(library, "tricot_run"), dlsym(library, "tricot_close"));
  assert_null(dlsym(library, "program_open")); /* only the interface is visible */
  dlclose(library);
  /* a static library, used from C with the header written beside it */
  if (!executable_build(in_folder("model.a"), EXECUTABLE_STATIC, &parts, &error))
    fail_msg("%s", error.text);
  FILE *stream = fopen(in_folder("use.c"), "w");
  fputs("#include \"model.h\"\n#include <stdio.h>\n"
        "int main(void) {\n  char why[99];\n"
        "  tricot_model *m = tricot_open(NULL, 1, why, sizeof why);\n"
        "  if (!m || !tricot_run(m, \"encode_image\", why, sizeof why)) return 1;\n"
        "  puts(tricot_entry_name(m, 1));\n  puts(tricot_input_name(m, \"encode_text\", 1));\n"
        "  puts(tricot_output_name(m, \"encode_text\", 0));\n"
        "  tricot_close(m);\n  return 0;\n}\n",
        stream);
  fclose(stream);
  assert_int_equal(
      run("cd %s && cc %s use.c model.a -o use -lz -lutf8proc -lm -lpthread && ./use > "
          "text",
          folder, TRICOT_FLAGS),
      0);
  size_t size;
  assert_string_equal(slurp(arena, "text", &size), "encode_image\nattention_mask\ntext_latents\n");
  arena_free(arena);
}

static void refuses(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Error error = {""};
  LevelObject level = make_level(arena, "native", "_n");
  ExecutableParts parts = {.levels = &level, .n_levels = 1}, none = {0};
  assert_false(executable_build(in_folder("bad"), EXECUTABLE_PROGRAM, &parts, &error));
  assert_non_null(strstr(error.text, "not for \"native\""));
  level.name = "aarch64";
  assert_false(executable_build(in_folder("bad"), EXECUTABLE_PROGRAM, &parts, &error));
  assert_non_null(strstr(error.text, "cannot be linked on this machine"));
  level.name = "x86-64-v3";
  level.suffix = "_other"; /* symbols that are not there */
  assert_false(executable_build(in_folder("bad"), EXECUTABLE_PROGRAM, &parts, &error));
  assert_non_null(strstr(error.text, "fake_image_other"));
  level.suffix = "_n";
  assert_false(executable_build(in_folder("no/folder"), EXECUTABLE_PROGRAM, &parts, &error));
  assert_false(executable_build(in_folder("bad"), EXECUTABLE_PROGRAM, &none, &error));
  assert_non_null(strstr(error.text, "one target at least"));
  parts.weights = in_folder("nothing");
  assert_false(executable_build(in_folder("bad"), EXECUTABLE_PROGRAM, &parts, &error));
  assert_non_null(strstr(error.text, "nothing"));
  parts.weights = NULL;
  setenv("CC", "no-such-compiler", 1);
  assert_false(executable_build(in_folder("bad"), EXECUTABLE_PROGRAM, &parts, &error));
  assert_non_null(strstr(error.text, "no-such-compiler"));
  unsetenv("CC");
  assert_int_equal(run("ls %s | grep -q '^bad'", folder), 1); /* nothing half-made */
  arena_free(arena);
}

static void chooses_levels(void **state) {
  (void)state;
  Error error = {""};
  EmbeddedLevel levels[] = {{.name = "x86-64-v2"}, {.name = "aarch64"}, {.name = "x86-64"}};
  Embedded embedded = {.version = EMBEDDED_VERSION, .n_levels = 3, .levels = levels};
  assert_string_equal(embedded_choose(&embedded, NULL, &error)->name, "x86-64-v2");
  assert_string_equal(embedded_choose(&embedded, "x86-64", &error)->name, "x86-64");
  assert_null(embedded_choose(&embedded, "aarch64", &error));
  embedded.levels = levels + 1;
  embedded.n_levels = 1;
  assert_null(embedded_choose(&embedded, NULL, &error));
  assert_non_null(strstr(error.text, "built for: cpu:aarch64"));
}

/* Refused before anything is opened. */
static void refuses_targets(void **state) {
  (void)state;
  static const struct {
    const char *target, *words;
  } wrong[] = {{"cuda", "no code for CUDA devices, only cpu:x86-64"},
               {"cuda:1", "no code for CUDA devices"},
               {"cuda:sm_80", "unknown target"},
               {"cuda:", "unknown target"},
               {"cpu:", "unknown target"},
               {"c", "unknown target"},
               {"cpu:i486", "cannot run level i486"}};
  EmbeddedLevel level = {.name = "x86-64"};
  Embedded embedded = {.version = EMBEDDED_VERSION, .n_levels = 1, .levels = &level};
  EmbeddedModel model;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    Error error = {""};
    assert_false(embedded_open(&model, &embedded, wrong[i].target, 1, &error));
    embedded_close(&model);
    if (!strstr(error.text, wrong[i].words))
      fail_msg("%s: %s", wrong[i].target, error.text);
  }
  Error error = {""};
  embedded.version++;
  assert_false(embedded_open(&model, &embedded, NULL, 1, &error));
  assert_non_null(strstr(error.text, "another version of its runtime"));
  embedded_close(&model);
}

int main(void) {
#ifndef __x86_64__
  return 77;
#endif
  const struct CMUnitTest tests[] = {cmocka_unit_test(builds_and_runs),
                                     cmocka_unit_test(builds_a_library), cmocka_unit_test(refuses),
                                     cmocka_unit_test(chooses_levels),
                                     cmocka_unit_test(refuses_targets)};
  return cmocka_run_group_tests(tests, make_world, remove_world);
}
