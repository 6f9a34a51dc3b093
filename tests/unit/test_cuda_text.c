/* The CUDA text of a kernel of each kind, byte for byte: tests/kernel/cuda/NAME.tk is distributed
 * to 64 threads with matrix units, and its kernels (without what stands ahead of them) are NAME.cu.
 * With TRICOT_BLESS=1 a differing .cu is rewritten.
 */
#include "codegen/emit.h"
#include "passes/kernel/kernel_pass.h"
#include "runtime/base/file.h"
#include "tests/unit/device_facts.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The first kernel's comment begins behind the last empty line ahead of it. */
static const char *first_kernel(const char *text) {
  const char *kernel = strstr(text, "\nTRICOT_KERNEL("), *found = NULL;
  assert_non_null(kernel);
  for (const char *at = text; (at = strstr(at, "\n\n")) && at < kernel; at++)
    found = at + 2;
  assert_non_null(found);
  return found;
}

static void check_text(const char *name) {
  Arena *arena = arena_new();
  Diag diag;
  char *source, *expected;
  size_t size, expected_size;
  int count;
  const char *path = arena_printf(arena, "%s/tests/kernel/cuda/%s.tk", TRICOT_SOURCE, name);
  const char *golden = arena_printf(arena, "%s/tests/kernel/cuda/%s.cu", TRICOT_SOURCE, name);
  diag_init(&diag, arena);
  assert_true(file_read(arena, path, 1 << 20, &source, &size, NULL));
  Kernel **tiles = kernel_parse(arena, &diag, name, source, size, &count);
  diag_print(&diag, stderr);
  assert_non_null(tiles);
  for (int i = 0; i < count; i++)
    tiles[i] = kernel_finish(tiles[i], &device_facts, arena);
  Text text = {0};
  emit_text(TEXT_CUDA, tiles, count, &text);
  const char *kernels = first_kernel(text.at);
  bool have = file_read(arena, golden, 1 << 20, &expected, &expected_size, NULL);
  bool same = have && strcmp(expected, kernels) == 0;
  if (!same && getenv("TRICOT_BLESS")) {
    FILE *file = fopen(golden, "w");
    assert_non_null(file);
    fputs(kernels, file);
    fclose(file);
  } else if (!same) {
    fail_msg("%s differs; the text is now:\n%s", golden, kernels);
  }
  text_free(&text);
  arena_free(arena);
}

static void product(void **state) { (void)state, check_text("product"); }
static void star(void **state) { (void)state, check_text("star"); }
static void pool(void **state) { (void)state, check_text("pool"); }
static void norm(void **state) { (void)state, check_text("norm"); }
static void gather(void **state) { (void)state, check_text("gather"); }

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(product), cmocka_unit_test(star),   cmocka_unit_test(pool),
      cmocka_unit_test(norm),    cmocka_unit_test(gather),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
