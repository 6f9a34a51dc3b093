/* Fuzzes json_parse; every text it read must come back after being written. */
#include "runtime/base/json.h"
#include "tests/fuzz/fuzz.h"

static void check_string(Arena *arena, const char *string) {
  Text text = {0};
  Json again;
  Error error = {""};
  json_add_string(&text, string);
  if (!json_parse(arena, text.at, text.size, &again, &error))
    FAULT("what json_add_string wrote cannot be read: %s", error.text);
  CHECK(again.kind == JSON_STRING && strcmp(again.string, string) == 0);
  text_free(&text);
}

static void walk(Arena *arena, const Json *value) {
  if (value->kind == JSON_STRING)
    check_string(arena, value->string);
  if (value->kind != JSON_LIST && value->kind != JSON_OBJECT)
    return;
  for (int i = 0; i < value->count; i++) {
    if (value->kind == JSON_OBJECT)
      check_string(arena, value->keys[i]);
    walk(arena, &value->items[i]);
  }
  if (value->kind == JSON_OBJECT && value->count)
    CHECK(json_get(value, value->keys[value->count - 1]) == &value->items[value->count - 1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  Json value;
  Error error = {""};
  Arena *arena = arena_new();
  char *text = malloc(size ? size : 1);
  memcpy(text, bytes, size);
  if (json_parse(arena, text, size, &value, &error))
    walk(arena, &value);
  else
    expect_words(&error);
  arena_free(arena);
  free(text);
  return 0;
}
