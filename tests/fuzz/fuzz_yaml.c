/* Fuzzes yaml_parse; asks every scalar of the tree for the places of its bytes. */
#include "frontend/yaml.h"
#include "tests/fuzz/fuzz.h"

static void check_loc(Loc loc) { CHECK(loc.source && loc.line >= 1 && loc.column >= 1); }

/* Shared nodes are walked once for each alias; the reader bounds how many that can be. */
static void walk(Diag *diag, Yaml *node, int level) {
  CHECK(level < YAML_MAX_DEPTH);
  check_loc(node->loc);
  touch(yaml_kind_name(node), 1);
  if (node->kind == YAML_SCALAR && !node->place) {
    CHECK((size_t)node->size == strlen(node->text));
    for (int at = 0; at <= node->size; at++)
      check_loc(yaml_place(diag, node, at));
  }
  if (node->kind == YAML_SEQUENCE)
    for (int i = 0; i < node->count; i++)
      walk(diag, node->items[i], level + 1);
  if (node->kind == YAML_MAPPING)
    for (int i = 0; i < node->count; i++) {
      walk(diag, node->pairs[i].key, level + 1);
      walk(diag, node->pairs[i].value, level + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  static const char *const keys[] = {"model", "modules", "entries"};
  Diag diag;
  Arena *arena = arena_new();
  diag_init(&diag, arena);
  char *text = malloc(size ? size : 1);
  memcpy(text, bytes, size);
  Yaml *root = yaml_parse(&diag, "t.yaml", text, size);
  if (root) {
    CHECK(root->nodes <= YAML_MAX_NODES && root->depth <= YAML_MAX_DEPTH);
    walk(&diag, root, 0);
    yaml_check_keys(&diag, root, keys, 3, "the file");
  } else {
    expect_errors(&diag);
  }
  arena_free(arena);
  free(text);
  return 0;
}
