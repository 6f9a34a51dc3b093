/* Kernels joined into one give what they give apart: by the interpreter, and over the host shim in
 * shuffled orders of threads. The kernels are those of tests/kernel/finish for a device.
 */
#include "codegen/emit.h"
#include "passes/kernel/kernel_pass.h"
#include "runtime/base/file.h"
#include "runtime/base/random.h"
#include "tests/unit/device_facts.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_PARTS = 32, MAX_ARGUMENTS = 200, ORDERS = 4 };

static const char *const files[] = {"matmul.tk", "layer_norm.tk", "bf16_product.tk", "taps.tk"};
enum { FILES = sizeof files / sizeof *files };

typedef struct Parts {
  Arena *arena;
  int count, n_arguments;
  Kernel *at[MAX_PARTS];
  int *argument[MAX_PARTS]; /* as kernel_join takes them */
  void *storage[MAX_ARGUMENTS];
  Type type[MAX_ARGUMENTS];
  bool written[MAX_ARGUMENTS];
} Parts;

static void read_file(Parts *parts, const char *name) {
  Diag diag;
  char *text;
  size_t size;
  int count;
  const char *path = arena_printf(parts->arena, "%s/tests/kernel/finish/%s", TRICOT_SOURCE, name);
  diag_init(&diag, parts->arena);
  assert_true(file_read(parts->arena, path, 1 << 20, &text, &size, NULL));
  Kernel **kernels = kernel_parse(parts->arena, &diag, path, text, size, &count);
  assert_non_null(kernels);
  for (int i = 0; i < count; i++) {
    assert_true(parts->count < MAX_PARTS);
    parts->at[parts->count++] = kernel_finish(kernels[i], &device_facts, parts->arena);
  }
}

/* The argument that holds what argument `a` of part `p` is: an older one that both only read, or a
 * new one. */
static int number_of(Parts *parts, int p, int a) {
  const Buffer *buffer = parts->at[p]->buffers.at[a];
  for (int i = 0; i < parts->n_arguments; i++)
    if (!buffer->written && !parts->written[i] && type_equal(&parts->type[i], &buffer->type))
      return i;
  int n = parts->n_arguments++;
  assert_true(n < MAX_ARGUMENTS);
  parts->type[n] = buffer->type;
  parts->written[n] = buffer->written;
  parts->storage[n] = aligned_alloc(64, (type_bytes(&buffer->type) + 63) / 64 * 64);
  return n;
}

static void fill(Parts *parts) {
  for (int i = 0; i < parts->n_arguments; i++) {
    memset(parts->storage[i], 0, type_bytes(&parts->type[i]));
    for (int64_t j = 0; j < type_elements(&parts->type[i]) && !parts->written[i]; j++)
      dtype_store(parts->type[i].dtype, parts->storage[i], j,
                  random_uniform(3, (uint64_t)i, (uint64_t)j) - 0.5);
  }
}

static uint64_t results(const Parts *parts) {
  uint64_t hash = 0;
  for (int i = 0; i < parts->n_arguments; i++)
    hash = hash_bytes(parts->storage[i], type_bytes(&parts->type[i]), hash);
  return hash;
}

static Parts open_parts(void) {
  Parts parts = {.arena = arena_new()};
  for (int f = 0; f < FILES; f++)
    read_file(&parts, files[f]);
  for (int p = 0; p < parts.count; p++) {
    parts.argument[p] = ARENA_ARRAY(parts.arena, int, parts.at[p]->n_arguments + 1);
    for (int a = 0; a < parts.at[p]->n_arguments; a++)
      parts.argument[p][a] = number_of(&parts, p, a);
  }
  return parts;
}

static void close_parts(Parts *parts) {
  for (int i = 0; i < parts->n_arguments; i++)
    free(parts->storage[i]);
  arena_free(parts->arena);
}

static void evaluate_apart(Parts *parts) {
  Error error;
  fill(parts);
  for (int p = 0; p < parts->count; p++) {
    void *own[MAX_ARGUMENTS];
    for (int a = 0; a < parts->at[p]->n_arguments; a++)
      own[a] = parts->storage[parts->argument[p][a]];
    if (!kernel_eval(parts->at[p], own, 1, &error))
      fail_msg("%s", error.text);
  }
}

static void as_one(void **state) {
  (void)state;
  Parts parts = open_parts();
  Error error = {""};
  double flops = 0;
  int64_t blocks = 0, most_shared = 0;
  assert_true(parts.count >= 4);
  for (int p = 0; p < parts.count; p++) {
    int64_t shared = kernel_shared_bytes(parts.at[p]);
    flops += kernel_flops(parts.at[p]).all;
    blocks += kernel_blocks(parts.at[p]);
    most_shared = shared > most_shared ? shared : most_shared;
  }
  evaluate_apart(&parts);
  uint64_t apart = results(&parts);
  Kernel *joined = kernel_join(parts.arena, parts.at, parts.count,
                               (const int *const *)parts.argument, parts.n_arguments);
  assert_int_equal(joined->n_arguments, parts.n_arguments);
  assert_int_equal(kernel_blocks(joined), blocks);
  assert_true(kernel_flops(joined).all == flops);
  /* only one part runs in a block: what is shared lies over what another part shares */
  assert_true(most_shared > 0);
  assert_int_equal(kernel_shared_bytes(joined), most_shared);
  fill(&parts);
  if (!kernel_eval(joined, parts.storage, 5, &error))
    fail_msg("%s", error.text);
  assert_true(results(&parts) == apart);
  TextLibrary *library = text_library_build(TEXT_CUDA, &joined, 1, &error);
  if (!library)
    fail_msg("%s", error.text);
  for (uint64_t seed = 0; seed < ORDERS; seed++) {
    fill(&parts);
    text_library_seed(library, seed);
    text_library_find(library, joined->name)(parts.storage, 0, blocks);
    if (!text_library_check(library, &error))
      fail_msg("%s", error.text);
    assert_true(results(&parts) == apart);
  }
  text_library_free(library);
  close_parts(&parts);
}

/* A joined kernel is text like any other. */
static void as_text(void **state) {
  (void)state;
  Parts parts = open_parts();
  Diag diag;
  Text text = {0}, again = {0};
  int count;
  Kernel *joined = kernel_join(parts.arena, parts.at, parts.count,
                               (const int *const *)parts.argument, parts.n_arguments);
  kernel_print(joined, &text);
  diag_init(&diag, parts.arena);
  Kernel **read = kernel_parse(parts.arena, &diag, "joined.tk", text.at, text.size, &count);
  if (!read)
    diag_print(&diag, stderr);
  assert_true(read && count == 1);
  kernel_print(read[0], &again);
  assert_string_equal(text.at, again.at);
  text_free(&text);
  text_free(&again);
  close_parts(&parts);
}

/* What lies over each other: branches of a test of blocks, not of one in a loop or of threads. */
static void shared_memory(void **state) {
  (void)state;
  static const struct {
    const char *before, *between, *after;
    int64_t bytes;
  } tests[] = {{"if 0 <= %b < 1 {", "} else {", "}", 256},
               {"if 0 <= %t < 1 {", "} else {", "}", 512},
               {"for %i : [0, 1] = 0 to 2 step 1 { if 0 <= %i < 1 {", "} else {", "} }", 512},
               {"if 0 <= %b < 1 {", "} if 0 <= %b < 1 {", "}", 512}};
  for (int i = 0; i < 4; i++) {
    Arena *arena = arena_new();
    Diag diag;
    int count;
    diag_init(&diag, arena);
    const char *text =
        arena_printf(arena,
                     "loop kernel @k(%%y: out f32[64]) {\n grid %%b = 2\n threads %%t = 64\n"
                     " shared %%s : f32[64]\n shared %%u : f32[64]\n %%0 = const 1.0 : f32\n"
                     " %s store %%s[%%t] = %%0 : f32 %s store %%u[%%t] = %%0 : f32 %s\n}\n",
                     tests[i].before, tests[i].between, tests[i].after);
    Kernel **kernels = kernel_parse(arena, &diag, "k.tk", text, strlen(text), &count);
    if (!kernels)
      diag_print(&diag, stderr);
    assert_non_null(kernels);
    assert_int_equal(kernel_shared_bytes(kernels[0]), tests[i].bytes);
    arena_free(arena);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(as_one), cmocka_unit_test(as_text),
                                     cmocka_unit_test(shared_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
