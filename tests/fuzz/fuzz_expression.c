/* Fuzzes expression_parse on a scalar that fills the input. */
#include "frontend/expression.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  Diag diag;
  if (memchr(bytes, 0, size))
    return 0; /* a scalar holds none */
  Arena *arena = arena_new();
  diag_init(&diag, arena);
  char *text = arena_strndup(arena, (const char *)bytes, size);
  if (!expression_parse(&diag, yaml_text(&diag, "--set", text)))
    expect_errors(&diag);
  arena_free(arena);
  return 0;
}
