/* `tricot inspect`: its JSON, its exit statuses, and that a refused model prints nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "driver/cmd_inspect.h"
#include "runtime/base/file.h"
#include "runtime/base/json.h"
#include "tests/unit/shared.h"
#include <string.h>

#ifndef TRICOT_SOURCE
#error "TRICOT_SOURCE names the source folder"
#endif

/* Runs the command with stdout and stderr in files; returns its status and both texts. */
static int inspect(Arena *arena, const char *const *words, char **out, char **err) {
  const char *folder = scratch_make();
  char out_path[300], err_path[300];
  int argc = 0, saved[2] = {dup(1), dup(2)};
  size_t size;
  Error error;
  snprintf(out_path, sizeof out_path, "%s/out", folder);
  snprintf(err_path, sizeof err_path, "%s/err", folder);
  while (words[argc])
    argc++;
  fflush(stdout);
  fflush(stderr);
  assert_non_null(freopen(out_path, "w", stdout));
  assert_non_null(freopen(err_path, "w", stderr));
  int status = cmd_inspect(argc, (char **)words);
  fflush(stdout);
  fflush(stderr);
  dup2(saved[0], 1);
  dup2(saved[1], 2);
  close(saved[0]);
  close(saved[1]);
  assert_true(file_read(arena, out_path, 1 << 20, out, &size, &error));
  assert_true(file_read(arena, err_path, 1 << 20, err, &size, &error));
  scratch_remove(folder);
  return status;
}

static int64_t integer(const Json *object, const char *key) {
  const Json *value = json_get(object, key);
  assert_non_null(value);
  assert_int_equal(value->kind, JSON_NUMBER);
  assert_true(value->is_integer);
  return value->integer;
}

static void json_output(void **state) {
  (void)state;
  Arena *arena = arena_new();
  char *out, *err;
  const char *words[] = {"inspect",   TRICOT_SOURCE "/models/dcformer.yaml",
                         "--variant", "naive", "--json", NULL};
  assert_int_equal(inspect(arena, words, &out, &err), 0);
  Json json;
  Error error;
  if (!json_parse(arena, out, strlen(out), &json, &error))
    fail_msg("%s", error.text);
  assert_int_equal(integer(&json, "parameters"), 5851680);
  assert_int_equal(integer(&json, "parameters_with_projection"), 6113824);
  assert_true(integer(&json, "flops") == 49479155712);
  const Json *stages = json_get(&json, "stages");
  assert_int_equal(stages->count, 5);
  assert_string_equal(json_get(&stages->items[3], "name")->string, "s3");
  assert_int_equal(integer(&stages->items[3], "parameters"), 1102848);
  assert_true(integer(&stages->items[3], "flops") == 2258632704);
  assert_string_equal(err, "");
  arena_free(arena);
}

/* FLOPs are of one sample, whatever the batch, also where a batch of 1 is too small to norm. */
static void flops_are_per_sample(void **state) {
  (void)state;
  Arena *arena = arena_new();
  int64_t flops[3];
  const char *batches[] = {"batch=1", "batch=2", "batch=5"};
  for (int i = 0; i < 3; i++) {
    char *out, *err;
    Json json;
    Error error;
    const char *words[] = {"inspect", TRICOT_SOURCE "/models/dcformer.yaml",
                           "--set",   "volume=[32,64,64]", "--set", batches[i], "--json", NULL};
    assert_int_equal(inspect(arena, words, &out, &err), 0);
    assert_true(json_parse(arena, out, strlen(out), &json, &error));
    flops[i] = integer(&json, "flops");
    const Json *args = json_get(&json, "args");
    assert_int_equal(integer(args, "batch"), batches[i][6] - '0');
  }
  assert_true(flops[0] == flops[1] && flops[0] == flops[2]);
  arena_free(arena);
}

static void table_output(void **state) {
  (void)state;
  Arena *arena = arena_new();
  char *out, *err;
  const char *words[] = {"inspect", TRICOT_SOURCE "/models/clip-dcformer.yaml",
                         "--set=text.layers=2", "--variant=tiny", NULL};
  assert_int_equal(inspect(arena, words, &out, &err), 0);
  assert_non_null(strstr(out, "clip-dcformer tiny"));
  assert_non_null(strstr(out, "text.layers          2"));
  assert_non_null(strstr(out, "encode_image, encode_text, contrast, forward"));
  arena_free(arena);
}

static void refusals(void **state) {
  (void)state;
  static const struct {
    const char *words[6];
    int status;
    const char *text;
  } cases[] = {
      {{"inspect"}, 2, "no model file given"},
      {{"inspect", "a.yaml", "b.yaml"}, 2, "one model at a time"},
      {{"inspect", "a.yaml", "--frob"}, 2, "unknown option --frob"},
      {{"inspect", "a.yaml", "--set"}, 2, "--set needs a value"},
      {{"inspect", "/nonexistent/a.yaml"}, 1, "/nonexistent/a.yaml: error: "},
      {{"inspect", TRICOT_SOURCE "/models/dcformer.yaml", "--variant", "micro", "--json"},
       1,
       "--variant:1:1: error: model 'dcformer' has no variant 'micro'"},
      {{"inspect", TRICOT_SOURCE "/tests/err/undefined_name.yaml"}, 1,
       "undefined_name.yaml:8:22: error: undefined name 'xx'"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Arena *arena = arena_new();
    char *out, *err;
    const char *words[7] = {NULL};
    memcpy(words, cases[i].words, sizeof cases[i].words);
    int status = inspect(arena, words, &out, &err);
    if (status != cases[i].status || !strstr(err, cases[i].text))
      fail_msg("status %d, wanted %d with '%s':\n%s", status, cases[i].status, cases[i].text, err);
    assert_string_equal(out, "");
    arena_free(arena);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(json_output),
      cmocka_unit_test(flops_are_per_sample),
      cmocka_unit_test(table_output),
      cmocka_unit_test(refusals),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
