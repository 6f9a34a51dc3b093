/* Fuzzes kernel_parse and kernel_check. Kernels that both accept print a text that reads and prints
 * the same. */
#include "ir/kernel.h"
#include "tests/fuzz/fuzz.h"

static Kernel **parse(Arena *arena, const char *text, size_t size, int *count) {
  Diag diag;
  diag_init(&diag, arena);
  Kernel **kernels = kernel_parse(arena, &diag, "t.tk", text, size, count);
  if (!kernels)
    expect_errors(&diag);
  return kernels;
}

static void round_trip(Arena *arena, const Kernel *kernel) {
  Text first = {0}, second = {0};
  int count;
  kernel_print(kernel, &first);
  Kernel **again = parse(arena, first.at, first.size, &count);
  CHECK(again && count == 1);
  kernel_print(again[0], &second);
  CHECK(strcmp(first.at, second.at) == 0);
  text_free(&first);
  text_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  int count;
  Arena *arena = arena_new();
  char *text = malloc(size ? size : 1);
  memcpy(text, bytes, size);
  Kernel **kernels = parse(arena, text, size, &count);
  for (int i = 0; kernels && i < count; i++) {
    Error error = {""};
    if (kernel_check(kernels[i], &error))
      round_trip(arena, kernels[i]);
    else
      expect_words(&error);
  }
  arena_free(arena);
  free(text);
  return 0;
}
