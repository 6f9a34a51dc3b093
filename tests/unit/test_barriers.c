/* Every barrier, and every wait for copies, of kernels for many threads is needed: without it the
 * interpreter finds two threads at one cell, or a cell that is not there yet, and over the host
 * shim some order of threads gives another result. The kernels are those of tests/kernel/finish,
 * distributed to 64 threads with matrix units.
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

enum { MAX_ARGUMENTS = 8, MAX_MUTANTS = 64, ORDERS = 12 };

typedef struct Arguments {
  int count;
  void *at[MAX_ARGUMENTS];
} Arguments;

static Arguments make_arguments(const Kernel *k) {
  Arguments a = {.count = k->n_arguments};
  assert_true(a.count <= MAX_ARGUMENTS);
  for (int i = 0; i < a.count; i++) {
    const Type *type = &k->buffers.at[i]->type;
    size_t bytes = (type_bytes(type) + 63) / 64 * 64;
    a.at[i] = aligned_alloc(64, bytes);
    assert_non_null(a.at[i]);
    memset(a.at[i], 0, bytes);
    for (int64_t j = 0; j < type_elements(type) && !k->buffers.at[i]->written; j++)
      dtype_store(type->dtype, a.at[i], j, random_uniform(3, (uint64_t)i, (uint64_t)j) - 0.5);
  }
  return a;
}

static void free_arguments(Arguments *a) {
  for (int i = 0; i < a->count; i++)
    free(a->at[i]);
}

static bool same_results(const Kernel *k, const Arguments *a, const Arguments *b) {
  bool same = true;
  for (int i = 0; i < k->n_arguments; i++)
    same &= memcmp(a->at[i], b->at[i], type_bytes(&k->buffers.at[i]->type)) == 0;
  return same;
}

/* Takes the barrier or wait away that is left when *number others came before it. */
static bool remove_one(Block *block, int *number) {
  for (int i = 0; i < block->count; i++) {
    Stmt *s = block->at[i];
    if (remove_one(&s->body, number) || remove_one(&s->other, number))
      return true;
    if ((s->kind != STMT_BARRIER && s->kind != STMT_WAIT) || (*number)-- != 0)
      continue;
    memmove(block->at + i, block->at + i + 1, sizeof(Stmt *) * (size_t)(block->count - i - 1));
    block->count--;
    return true;
  }
  return false;
}

/* Without one barrier or wait each, and at the end whole. */
static int make_mutants(Arena *arena, const Kernel *tiles, Kernel **mutants) {
  for (int n = 0;; n++) {
    int left = n;
    assert_true(n < MAX_MUTANTS);
    mutants[n] = kernel_finish(tiles, &device_facts, arena);
    mutants[n]->name = arena_printf(arena, "%s_%d", tiles->name, n);
    if (!remove_one(&mutants[n]->body, &left))
      return n;
  }
}

static void check_kernel(const Kernel *tiles) {
  Arena *arena = arena_new();
  Kernel *mutants[MAX_MUTANTS];
  int count = make_mutants(arena, tiles, mutants);
  Error error = {""};
  TextLibrary *library = text_library_build(TEXT_CUDA, mutants, count + 1, &error);
  if (!library)
    fail_msg("%s", error.text);
  Arguments right = make_arguments(tiles);
  if (!kernel_eval(mutants[count], right.at, 5, &error))
    fail_msg("%s", error.text);
  for (int m = 0; m <= count; m++) {
    bool whole = m == count, differs = false;
    Arguments a = make_arguments(tiles);
    if (!whole) {
      assert_false(kernel_eval(mutants[m], a.at, 5, &error));
      if (!strstr(error.text, "no barrier is between") && !strstr(error.text, "never written") &&
          !strstr(error.text, "nobody waits"))
        fail_msg("%s", error.text);
    }
    free_arguments(&a);
    for (uint64_t seed = 1; seed <= ORDERS && !differs; seed++) {
      a = make_arguments(tiles);
      text_library_seed(library, seed);
      text_library_find(library, mutants[m]->name)(a.at, 0, kernel_blocks(mutants[m]));
      bool kept_rules = text_library_check(library, &error);
      differs = !same_results(tiles, &a, &right) || !kept_rules;
      free_arguments(&a);
    }
    if (differs == whole)
      fail_msg("%s: %s", mutants[m]->name,
               whole ? "over the shim it gives another result"
                     : "what was taken away is not missed");
  }
  printf("%s: %d barriers and waits, each needed\n", tiles->name, count);
  free_arguments(&right);
  text_library_free(library);
  arena_free(arena);
}

static void check_file(const char *name) {
  Arena *arena = arena_new();
  Diag diag;
  char *text;
  size_t size;
  int count;
  const char *path = arena_printf(arena, "%s/tests/kernel/finish/%s", TRICOT_SOURCE, name);
  diag_init(&diag, arena);
  assert_true(file_read(arena, path, 1 << 20, &text, &size, NULL));
  Kernel **kernels = kernel_parse(arena, &diag, path, text, size, &count);
  assert_non_null(kernels);
  for (int i = 0; i < count; i++)
    check_kernel(kernels[i]);
  arena_free(arena);
}

static void products(void **state) { (void)state, check_file("matmul.tk"); }
static void products_of_bf16(void **state) { (void)state, check_file("bf16_product.tk"); }
static void taps(void **state) { (void)state, check_file("taps.tk"); }
static void norm(void **state) { (void)state, check_file("layer_norm.tk"); }

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products),
      cmocka_unit_test(products_of_bf16),
      cmocka_unit_test(taps),
      cmocka_unit_test(norm),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
