/* compare_json EXPECTED OUTPUT [--atol A] [--exact-keys]: two JSON files.
 *
 * Everything in EXPECTED must be in OUTPUT: objects key by key (OUTPUT may have more keys, unless
 * --exact-keys), lists element by element and of equal length, numbers that both files write as
 * whole ones exactly, other numbers within A (default 1e-6).
 * With --lines both files hold one JSON value a line and --key K takes EXPECTED's member K of each.
 * Exit status 0: all agree; 1 otherwise; 2 wrong usage.
 */
#include "runtime/base/file.h"
#include "runtime/base/json.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Compare {
  double atol, worst;
  bool exact_keys;
  int values, bad;
} Compare;

static void bad(Compare *c, const char *path, const char *problem) {
  if (c->bad++ < 20)
    printf("%s: %s\n", *path ? path : "(top)", problem);
}

static void compare_numbers(Compare *c, const Json *expected, const Json *output,
                            const char *path) {
  char text[160];
  double gap = fabs(expected->number - output->number);
  bool whole = expected->is_integer && output->is_integer;
  bool good = whole ? expected->integer == output->integer : gap <= c->atol;
  if (!(gap <= c->worst))
    c->worst = gap;
  if (!good) {
    snprintf(text, sizeof text, "%.17g, expected %.17g", output->number, expected->number);
    bad(c, path, text);
  }
}

static void compare(Compare *c, const Json *expected, const Json *output, const char *path) {
  char below[400];
  if (expected->kind != output->kind) {
    bad(c, path, "another kind of value");
    return;
  }
  if (expected->kind == JSON_OBJECT) {
    for (int i = 0; i < expected->count; i++) {
      const Json *found = json_get(output, expected->keys[i]);
      snprintf(below, sizeof below, "%.200s.%.150s", path, expected->keys[i]);
      if (found)
        compare(c, &expected->items[i], found, below);
      else
        bad(c, below, "missing");
    }
    if (c->exact_keys && output->count != expected->count)
      bad(c, path, "more keys than expected");
  } else if (expected->kind == JSON_LIST) {
    if (expected->count != output->count) {
      bad(c, path, "another length");
      return;
    }
    for (int i = 0; i < expected->count; i++) {
      snprintf(below, sizeof below, "%.300s[%d]", path, i);
      compare(c, &expected->items[i], &output->items[i], below);
    }
  } else {
    c->values++;
    if (expected->kind == JSON_NUMBER)
      compare_numbers(c, expected, output, path);
    else if (expected->kind == JSON_STRING && strcmp(expected->string, output->string) != 0)
      bad(c, path, "another text");
    else if (expected->kind == JSON_BOOL && expected->boolean != output->boolean)
      bad(c, path, "another truth value");
  }
}

static bool parse(Arena *arena, const char *path, const char *text, size_t size, Json *json) {
  Error error;
  if (json_parse(arena, text, size, json, &error))
    return true;
  fprintf(stderr, "%s: error: %s\n", path, error.text);
  return false;
}

/* One value a line in both files. */
static bool compare_lines(Compare *c, Arena *arena, char *const *texts, const char *const *paths,
                          const char *key) {
  char *at[2] = {texts[0], texts[1]};
  for (int line = 1; *at[0] || *at[1]; line++) {
    Json json[2];
    char where[40];
    snprintf(where, sizeof where, "line %d", line);
    if (!*at[0] || !*at[1]) {
      bad(c, where, *at[0] ? "missing" : "more lines than expected");
      return true;
    }
    for (int f = 0; f < 2; f++) {
      size_t size = strcspn(at[f], "\n");
      if (!parse(arena, paths[f], at[f], size, &json[f]))
        return false;
      at[f] += size + (at[f][size] == '\n');
    }
    const Json *expected = key ? json_get(&json[0], key) : &json[0];
    if (expected)
      compare(c, expected, &json[1], where);
    else
      bad(c, where, "the expectation lacks the key");
  }
  return true;
}

int main(int argc, char **argv) {
  Compare c = {.atol = 1e-6};
  const char *paths[2], *key = NULL;
  int n = 0;
  bool lines = false;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--exact-keys") == 0)
      c.exact_keys = true;
    else if (strcmp(argv[i], "--lines") == 0)
      lines = true;
    else if (strcmp(argv[i], "--atol") == 0 && i + 1 < argc)
      c.atol = atof(argv[++i]);
    else if (strcmp(argv[i], "--key") == 0 && i + 1 < argc)
      key = argv[++i];
    else if (argv[i][0] != '-' && n < 2)
      paths[n++] = argv[i];
    else
      n = 3;
  }
  if (n != 2) {
    fputs("usage: compare_json EXPECTED OUTPUT [--atol A] [--exact-keys] [--lines [--key K]]\n",
          stderr);
    return EXIT_USAGE;
  }
  Arena *arena = arena_new();
  char *texts[2];
  size_t sizes[2];
  Error error;
  Json json[2];
  bool good = true;
  for (int f = 0; f < 2 && good; f++) {
    good = file_read(arena, paths[f], (size_t)1 << 28, &texts[f], &sizes[f], &error);
    if (!good)
      fprintf(stderr, "%s\n", error.text);
  }
  if (good && lines)
    good = compare_lines(&c, arena, texts, paths, key);
  else if (good)
    good = parse(arena, paths[0], texts[0], sizes[0], &json[0]) &&
           parse(arena, paths[1], texts[1], sizes[1], &json[1]);
  if (good && !lines)
    compare(&c, &json[0], &json[1], "");
  if (good)
    printf("%d values, %d bad, largest difference %.2e\n", c.values, c.bad, c.worst);
  arena_free(arena);
  return good && !c.bad && c.values ? EXIT_DONE : EXIT_INPUT;
}
