/* The YAML reader: its bounds, its refusals, and the places of bytes inside scalars. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "frontend/yaml.h"
#include "runtime/base/text.h"
#include <string.h>

typedef struct Fixture {
  Arena *arena;
  Diag diag;
} Fixture;

static Fixture fixture(void) {
  Fixture f = {.arena = arena_new()};
  return f;
}

/* The one error of a text. */
static const char *yaml_error(Fixture *f, const char *text, size_t size) {
  diag_init(&f->diag, f->arena);
  assert_null(yaml_parse(&f->diag, "a.yaml", text, size));
  assert_int_equal(f->diag.errors, 1);
  return f->diag.messages.at[0];
}

static void starts_with(const char *message, const char *start) {
  if (strncmp(message, start, strlen(start)) != 0)
    fail_msg("expected\n%s\nbut got\n%s", start, message);
}

static void yaml_is_bounded(void **state) {
  (void)state;
  Fixture f = fixture();
  Text text = {0};
  for (int i = 0; i < 100000; i++)
    text_add(&text, "[");
  starts_with(yaml_error(&f, text.at, text.size), "a.yaml:1:65: error: nested more than 64");
  text.size = 0;
  text_add(&text, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
  for (int i = 1; i < 9; i++)
    text_add(&text, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i, i - 1,
             i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
  starts_with(yaml_error(&f, text.at, text.size), "a.yaml:5:5: error: aliases expand");
  text.size = 0;
  for (int i = 0; i < 60000; i++)
    text_add(&text, "k%d: v\n", i);
  starts_with(yaml_error(&f, text.at, text.size), "a.yaml:50000:9: error: more than 100000");
  text.size = 0;
  while (text.size <= YAML_MAX_BYTES)
    text_add(&text, "# a comment of some length, and nothing else in this file\n");
  starts_with(yaml_error(&f, text.at, text.size), "a.yaml: error: larger than 1048576 bytes");
  text_free(&text);
  const char *bad = "a: 1\nb: \xff\n";
  starts_with(yaml_error(&f, bad, strlen(bad)), "a.yaml:2:4: error: invalid leading UTF-8");
  starts_with(yaml_error(&f, "&a [*a]", 7), "a.yaml:1:5: error: alias 'a' stands inside");
  starts_with(yaml_error(&f, "- *b", 4), "a.yaml:1:3: error: no anchor 'b'");
  starts_with(yaml_error(&f, "\xC3\xA9\xC3\xA9: !x 1", 10), "a.yaml:1:7: error: tag '!x'");
  starts_with(yaml_error(&f, "a: 1\n--- \nb: 1\n", 15), "a.yaml:2:1: error: a second document");
  starts_with(yaml_error(&f, "", 0), "a.yaml:1:1: error: the file is empty");
  starts_with(yaml_error(&f, "a: \"x\\0\"", 8), "a.yaml:1:4: error: a zero byte");
  arena_free(f.arena);
}

/* As many anchors as fit are found again without a search through all of them (which took minutes),
 * and a name given twice means the last one before the alias. */
static void anchors_are_found(void **state) {
  (void)state;
  Text text = {0};
  for (int i = 0; i < 40000; i++)
    text_add(&text, "- &x%d %d\n", i, i);
  for (int i = 0; i < 40000; i++)
    text_add(&text, "- *x%d\n", i);
  text_add(&text, "- &x0 last\n- *x0\n");
  Fixture f = fixture();
  diag_init(&f.diag, f.arena);
  Yaml *root = yaml_parse(&f.diag, "a.yaml", text.at, text.size);
  assert_non_null(root);
  assert_int_equal(root->count, 80002);
  assert_ptr_equal(root->items[40001], root->items[1]);
  assert_string_equal(root->items[40000]->text, "0");
  assert_string_equal(root->items[80001]->text, "last");
  text_free(&text);
  arena_free(f.arena);
}

/* Places inside scalars of every style. */
static void places_in_scalars(void **state) {
  (void)state;
  static const char text[] = "plain: one two\n"
                             "single: 'it''s X'\n"
                             "double: \"t\\tab\\u00e9X\"\n"
                             "folded: >-\n"
                             "    one\n"
                             "    two X\n"
                             "literal: |\n"
                             "  a\n"
                             "    X\n"
                             "wrapped: f(a,\n"
                             "   b) + X\n"
                             "\xC3\xA9: X\n";
  static const struct {
    const char *key, *word;
    int line, column;
  } places[] = {{"plain", "two", 1, 12},  {"single", "X", 2, 16},   {"double", "X", 3, 21},
                {"folded", "X", 6, 9},    {"literal", "X", 9, 5},   {"wrapped", "X", 11, 9},
                {"\xC3\xA9", "X", 12, 5}, {"wrapped", "b", 11, 4}};
  Fixture f = fixture();
  diag_init(&f.diag, f.arena);
  Yaml *root = yaml_parse(&f.diag, "a.yaml", text, sizeof text - 1);
  assert_non_null(root);
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    Yaml *scalar = yaml_get(root, places[i].key);
    assert_non_null(scalar);
    const char *word = strstr(scalar->text, places[i].word);
    assert_non_null(word);
    Loc loc = yaml_place(&f.diag, scalar, (int)(word - scalar->text));
    if (loc.line != places[i].line || loc.column != places[i].column)
      fail_msg("%s in %s: at %d:%d", places[i].word, places[i].key, loc.line, loc.column);
  }
  arena_free(f.arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(yaml_is_bounded),
      cmocka_unit_test(anchors_are_found),
      cmocka_unit_test(places_in_scalars),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
