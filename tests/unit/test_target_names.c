/* Names of targets and lists of them (driver/target.h). */
#include "codegen/emit.h"
#include "driver/target.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void one_name(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Target t;
  assert_true(target_parse(arena, "cpu", &t, NULL));
  assert_true(t.kind == TARGET_CPU && !t.named);
  assert_string_equal(t.level, "native");
  assert_true(target_parse(arena, "cpu:x86-64-v4", &t, NULL));
  assert_true(t.named);
  assert_string_equal(t.level, "x86-64-v4");
  assert_string_equal(t.text, "cpu:x86-64-v4");
  assert_true(target_parse(arena, "cuda", &t, NULL));
  assert_true(t.kind == TARGET_CUDA && !t.code_only && t.device == 0 && !t.named);
  assert_true(target_parse(arena, "cuda:12", &t, NULL));
  assert_true(!t.code_only && t.device == 12);
  assert_true(target_parse(arena, "cuda:sm_90a", &t, NULL));
  assert_true(t.code_only && !t.ptx && t.arch.capability == 90 && t.arch.feature == 'a');
  assert_true(target_parse(arena, "cuda:compute_80", &t, NULL));
  assert_true(t.code_only && t.ptx && t.arch.capability == 80);
  assert_true(target_parse(arena, "cuda-shim", &t, NULL) && t.kind == TARGET_CUDA_SHIM);
  assert_true(target_parse(arena, "c", &t, NULL) && t.kind == TARGET_C);
  assert_true(target_parse(arena, "interp", &t, NULL) && t.kind == TARGET_INTERP);
  static const char *const wrong[] = {
      "",         "gpu", "cpux",       "cpu:",     "cuda:", "cuda:1x",  "cuda:-1",
      "c:native", "cud", "cuda:99999", "interp:1", "cuda-", "cuda:sm_", "CUDA:0"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    Error error;
    assert_false(target_parse(arena, wrong[i], &t, &error));
    assert_non_null(strstr(error.text, "unknown target"));
    assert_non_null(strstr(error.text, wrong[i]));
  }
  assert_string_equal(target_names(arena),
                      "cpu, cpu:LEVEL, cuda, cuda:NUMBER, cuda:ARCH, c, cuda-shim or interp");
  arena_free(arena);
}

static void expect_list(const char *names, const char *const *texts, int count) {
  Arena *arena = arena_new();
  Target targets[4];
  Error error = {0};
  int n = target_list(arena, names, targets, 4, &error);
  if (n != count)
    fail_msg("%s: %d targets: %s", names, n, error.text);
  for (int i = 0; i < n; i++)
    assert_string_equal(targets[i].text, texts[i]);
  arena_free(arena);
}

static void lists(void **state) {
  (void)state;
  expect_list("cpu", (const char *[]){"cpu"}, 1);
  expect_list("cpu:x86-64-v3,x86-64-v4", (const char *[]){"cpu:x86-64-v3", "cpu:x86-64-v4"}, 2);
  expect_list("cuda:sm_80,cuda:sm_90a,cpu", (const char *[]){"cuda:sm_80", "cuda:sm_90a", "cpu"},
              3);
  expect_list("cuda:sm_80,sm_90a,cpu:x86-64-v3,x86-64-v3",
              (const char *[]){"cuda:sm_80", "cuda:sm_90a", "cpu:x86-64-v3"}, 3);
  expect_list("", NULL, 0);
  expect_list("cpu,x86-64-v3", NULL, 0); /* of no colon: a target of its own, and unknown */
  expect_list("cuda:sm_80,what", NULL, 0);
  expect_list("c,interp,cpu,cuda,cuda-shim", NULL, 0); /* more than there is room for */
}

static void facts(void **state) {
  (void)state;
  Arena *arena = arena_new();
  Target t;
  Facts got;
  Error error;
  assert_true(target_parse(arena, "cuda:sm_80", &t, NULL) && target_facts(&t, &got, NULL));
  assert_true(got.threads > 1 && got.shared > 0);
  assert_true(target_parse(arena, "cpu:pentium", &t, NULL));
  assert_false(target_facts(&t, &got, &error));
  assert_true(target_parse(arena, "c", &t, NULL) && target_facts(&t, &got, NULL));
  assert_true(got.threads == 1 && !got.bf16_pairs);
  arena_free(arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_name),
      cmocka_unit_test(lists),
      cmocka_unit_test(facts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
