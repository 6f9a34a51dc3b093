/* Runs text tests of kernels: one .tk file is one test, kernels of either stage.
 *
 *   # run: check                only check every kernel
 *   # run: legalize sync        these passes in order, then check
 *   # run: same                 check, and all kernels of the file give what the first one gives
 *   # run: finish               check, and every tile kernel's loop kernels give what it gives; on
 *                               machines that have pairs only, if the kernel makes some
 *   # why: what the test shows
 *   # tolerance: 1e-6           largest |difference| / (1 + |value|) of results, else 0
 *   # range: %name 0 9          integers put into that argument, else 0 to 3
 *   # error: text               reading or checking must fail with a message that contains it
 *   # eval-error: text          evaluation must fail so before the passes, and not after them
 *   kernels ...
 *   # ---- expect
 *   kernels ...
 *
 * For every test: what is printed parses back and prints the same; the result equals the
 * expectation byte for byte; the expectation is printed as it stands and passes the verifier;
 * kernels before and after the passes give equal numbers on seeded random inputs, with threads
 * shuffled by two seeds.
 *
 * With TRICOT_BLESS=1 a differing expectation is rewritten, but only when everything else holds.
 */
#include "passes/kernel/kernel_pass.h"
#include "runtime/base/file.h"
#include "runtime/base/random.h"
#include "tests/unit/device_facts.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RANGES = 8 };

typedef struct Range {
  const char *name;
  int64_t low, high;
} Range;

typedef struct Test {
  Arena *arena;
  const char *path;
  char *source; /* the part before the expectation */
  const char *expect;
  const char *run, *error, *eval_error;
  double tolerance;
  Range range[MAX_RANGES];
  int n_ranges;
} Test;

typedef struct Kernels {
  Kernel **at;
  int count;
} Kernels;

static bool fail(const Test *test, const char *problem, const char *detail) {
  fprintf(stderr, "%s: %s%s%s\n", test->path, problem, *detail ? ":\n" : "", detail);
  return false;
}

/* ---- reading the test ---- */

static void read_directive(Test *test, char *line) {
  static const char *const key[] = {"# run: ", "# error: ", "# eval-error: "};
  const char **value[] = {&test->run, &test->error, &test->eval_error};
  char name[64];
  long long low, high;
  for (int i = 0; i < 3; i++)
    if (strncmp(line, key[i], strlen(key[i])) == 0)
      *value[i] = line + strlen(key[i]);
  if (strncmp(line, "# tolerance: ", 13) == 0)
    test->tolerance = atof(line + 13);
  if (sscanf(line, "# range: %%%60s %lld %lld", name, &low, &high) == 3 &&
      test->n_ranges < MAX_RANGES)
    test->range[test->n_ranges++] = (Range){arena_strdup(test->arena, name), low, high};
}

static bool read_test(Test *test) {
  static const char marker[] = "# ---- expect\n";
  Error error = {0};
  size_t size;
  if (!file_read(test->arena, test->path, 1 << 24, &test->source, &size, &error))
    return fail(test, error.text, "");
  char *at = strstr(test->source, marker);
  if (at) {
    test->expect = at + sizeof marker - 1;
    *at = 0;
  }
  char *copy = arena_strdup(test->arena, test->source), *rest = NULL;
  for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
    read_directive(test, line);
  return test->run ? true : fail(test, "the test has no line '# run: ...'", "");
}

/* ---- text ---- */

static const char *print_all(Arena *arena, Kernels kernels) {
  Text text = {0};
  text_add(&text, "%s", "");
  for (int i = 0; i < kernels.count; i++)
    kernel_print(kernels.at[i], &text);
  const char *copy = arena_strdup(arena, text.at);
  text_free(&text);
  return copy;
}

/* Parses; on failure the message is in *message. */
static bool parse(Arena *arena, const char *path, const char *text, Kernels *kernels,
                  const char **message) {
  Diag diag;
  diag_init(&diag, arena);
  kernels->at = kernel_parse(arena, &diag, path, text, strlen(text), &kernels->count);
  *message = diag.messages.count ? diag.messages.at[0] : "";
  return kernels->at != NULL;
}

static bool round_trip(const Test *test, Kernels kernels, const char **printed) {
  Kernels again;
  const char *message;
  *printed = print_all(test->arena, kernels);
  if (!parse(test->arena, "printed", *printed, &again, &message))
    return fail(test, "what is printed does not parse", message);
  const char *second = print_all(test->arena, again);
  return strcmp(*printed, second) == 0 ? true : fail(test, "printing is not stable", second);
}

/* ---- numbers ---- */

static void fill_argument(const Test *test, const Buffer *buffer, void *data) {
  int64_t low = 0, high = 3, n = type_elements(&buffer->type);
  for (int i = 0; i < test->n_ranges; i++)
    if (strcmp(test->range[i].name, buffer->name) == 0) {
      low = test->range[i].low;
      high = test->range[i].high;
    }
  for (int64_t i = 0; i < n; i++) {
    uint64_t stream = (uint64_t)buffer->id;
    double value = random_normal(7, stream, (uint64_t)i);
    if (!dtype_is_float(buffer->type.dtype))
      value =
          (double)low + floor(random_uniform(7, stream, (uint64_t)i) * (double)(high - low + 1));
    dtype_store(buffer->type.dtype, data, i, value);
  }
}

static bool evaluate(const Test *test, const Kernel *kernel, uint64_t seed, void ***arguments,
                     Error *error) {
  *arguments = ARENA_ARRAY(test->arena, void *, kernel->n_arguments + 1);
  for (int i = 0; i < kernel->n_arguments; i++) {
    const Buffer *buffer = kernel->buffers.at[i];
    (*arguments)[i] = arena_alloc(test->arena, type_bytes(&buffer->type));
    fill_argument(test, buffer, (*arguments)[i]);
  }
  return kernel_eval(kernel, *arguments, seed, error);
}

static bool close_enough(const Test *test, double a, double b) {
  return a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= test->tolerance * (1 + fabs(a));
}

static bool compare(const Test *test, const Kernel *a, const Kernel *b, void **left, void **right) {
  char detail[200];
  if (a->n_arguments != b->n_arguments)
    return fail(test, "kernels differ in their arguments", "");
  for (int i = 0; i < a->n_arguments; i++) {
    const Buffer *buffer = a->buffers.at[i];
    if (!type_equal(&buffer->type, &b->buffers.at[i]->type))
      return fail(test, "kernels differ in their arguments", "");
    for (int64_t j = 0; j < type_elements(&buffer->type); j++) {
      double x = dtype_load(buffer->type.dtype, left[i], j);
      double y = dtype_load(buffer->type.dtype, right[i], j);
      if (close_enough(test, x, y))
        continue;
      snprintf(detail, sizeof detail, "@%s %%%s element %lld: %.9g and %.9g\n", b->name,
               buffer->name, (long long)j, x, y);
      return fail(test, "numbers differ", detail);
    }
  }
  return true;
}

/* Both kernels on the same inputs, each with its own order of threads. */
static bool same_numbers(const Test *test, const Kernel *a, const Kernel *b) {
  void **left, **right;
  Error error = {0};
  for (uint64_t seed = 1; seed <= 2; seed++) {
    if (!evaluate(test, a, seed, &left, &error) || !evaluate(test, b, seed + 10, &right, &error))
      return fail(test, "evaluation failed", error.text);
    if (!compare(test, a, b, left, right))
      return false;
  }
  return true;
}

/* ---- the test ---- */

static bool expected_failure(const Test *test, const char *wanted, const char *message) {
  if (strstr(message, wanted))
    return true;
  return fail(test, arena_printf(test->arena, "expected the error '%s'", wanted), message);
}

static bool run_passes(const Test *test, Kernels kernels) {
  char *copy = arena_strdup(test->arena, test->run), *rest = NULL;
  for (char *pass = strtok_r(copy, " ", &rest); pass; pass = strtok_r(NULL, " ", &rest)) {
    bool legalize = strcmp(pass, "legalize") == 0, sync = strcmp(pass, "sync") == 0;
    if (!legalize && !sync && !strstr("check same finish", pass))
      return fail(test, "no such pass", pass);
    for (int i = 0; i < kernels.count && legalize; i++)
      kernel_legalize(kernels.at[i]);
    for (int i = 0; i < kernels.count && sync; i++)
      kernel_sync(kernels.at[i]);
  }
  return true;
}

static bool check_all(const Test *test, Kernels kernels, Error *error) {
  (void)test;
  for (int i = 0; i < kernels.count; i++)
    if (!kernel_check(kernels.at[i], error))
      return false;
  return true;
}

static bool makes_pairs(const Block *block) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = block->at[i];
    if ((s->kind == STMT_TILE_MAP && s->kop == K_pair) || makes_pairs(&s->body) ||
        makes_pairs(&s->other))
      return true;
  }
  return false;
}

/* A tile kernel against its loop kernels: vectors of three lengths, blocks of threads with and
 * without matrix units. */
static bool ground_finished(const Test *test, const Kernel *kernel) {
  const Facts machine[] = {
      {.vector = 16, .registers = 32, .threads = 1, .l1 = 32768, .l2 = 1 << 20, .bf16_pairs = true},
      {.vector = 8, .registers = 16, .threads = 1, .l1 = 32768, .l2 = 1 << 20},
      {.vector = 1, .registers = 32, .threads = 1, .l1 = 32768, .l2 = 1 << 20},
      {.vector = 1, .registers = 128, .threads = 32, .shared = 49152, .l1 = 32768, .l2 = 1 << 20},
      {.vector = 1, .registers = 128, .threads = 128, .shared = 49152, .l1 = 32768, .l2 = 1 << 20},
      device_facts};
  int machines = (int)(sizeof machine / sizeof *machine);
  for (int i = 0; i < machines && kernel->stage == STAGE_TILE; i++)
    if ((machine[i].bf16_pairs || !makes_pairs(&kernel->body)) &&
        !same_numbers(test, kernel, kernel_finish(kernel, &machine[i], test->arena)))
      return fail(test, kernel->name,
                  arena_printf(test->arena, "vectors of %d, %d threads\n", machine[i].vector,
                               machine[i].threads));
  return true;
}

/* Evaluates before and after; the first kernel against the others for `same`. */
static bool ground(const Test *test, Kernels before, Kernels after) {
  void **arguments;
  Error error = {0};
  for (int i = 0; i < before.count; i++) {
    if (test->eval_error) {
      if (evaluate(test, before.at[i], 1, &arguments, &error))
        return fail(test, "evaluation succeeded, expected the error", test->eval_error);
      if (!expected_failure(test, test->eval_error, error.text))
        return false;
      if (strcmp(test->run, "check") != 0 && !evaluate(test, after.at[i], 1, &arguments, &error))
        return fail(test, "evaluation failed after the passes", error.text);
    } else if (!same_numbers(test, before.at[i], after.at[i]) ||
               (strstr(test->run, "same") && !same_numbers(test, before.at[0], after.at[i])) ||
               (strstr(test->run, "finish") && !ground_finished(test, before.at[i]))) {
      return false;
    }
  }
  return true;
}

static bool bless(const Test *test, const char *output) {
  Writing writing;
  Error error = {0};
  if (!writing_open(&writing, test->path, &error))
    return fail(test, error.text, "");
  fprintf(writing.stream, "%s# ---- expect\n%s", test->source, output);
  return writing_commit(&writing, &error) ? true : fail(test, error.text, "");
}

/* The expectation: absent, or parsed, canonical, checked, and equal to the output. */
static bool meets_expectation(const Test *test, const char *output) {
  Kernels wanted;
  const char *message;
  Error error = {0};
  bool passes = strstr(test->run, "legalize") || strstr(test->run, "sync");
  if (!test->expect && !passes)
    return true;
  if (test->expect && strcmp(test->expect, output) == 0) {
    if (!parse(test->arena, test->path, test->expect, &wanted, &message))
      return fail(test, "the expectation does not parse", message);
    return check_all(test, wanted, &error) ? true : fail(test, error.text, "");
  }
  if (getenv("TRICOT_BLESS"))
    return bless(test, output);
  return fail(test, "the output differs from the expectation", output);
}

static bool run_test(Test *test) {
  Kernels before, after;
  const char *message, *printed, *output;
  Error error = {0};
  if (!read_test(test))
    return false;
  if (!parse(test->arena, test->path, test->source, &before, &message))
    return test->error ? expected_failure(test, test->error, message)
                       : fail(test, "it does not parse", message);
  if (!parse(test->arena, test->path, test->source, &after, &message) ||
      !round_trip(test, before, &printed) || !run_passes(test, after))
    return false;
  if (!check_all(test, after, &error))
    return test->error ? expected_failure(test, test->error, error.text)
                       : fail(test, error.text, "");
  if (test->error)
    return fail(test, "it passes the verifier, expected the error", test->error);
  return round_trip(test, after, &output) && ground(test, before, after) &&
         meets_expectation(test, output);
}

int main(int count, char **paths) {
  int failures = 0;
  for (int i = 1; i < count; i++) {
    Test test = {.arena = arena_new(), .path = paths[i]};
    failures += !run_test(&test);
    arena_free(test.arena);
  }
  printf("%d kernel tests, %d failed\n", count - 1, failures);
  return count < 2 || failures ? 1 : 0;
}
