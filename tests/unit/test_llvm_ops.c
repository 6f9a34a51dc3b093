/* Every scalar op the LLVM back end spells, at widths 1, 4, 8 and 16 and all element types, bit for
 * bit against kop_eval (any NaN equals any NaN): compiled for this machine by the JIT, as an
 * x86-64-v3 object linked by the C compiler, and as an AArch64 object run by qemu where that is
 * installed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "codegen/emit.h"
#include "tests/unit/kernel_make.h"
#include "tests/unit/shared.h"
#include <dlfcn.h>
#include <math.h>
#include <string.h>

enum { COUNT = 192 }; /* elements of an operand */

/* One op at one type and width: its kernel, operands, and what must come out. */
typedef struct Case {
  Kernel *kernel;
  int arity;
  Dtype operand, result;
  void *arguments[4]; /* operands, then the result */
  unsigned char *expected;
  int results; /* elements */
} Case;

typedef VEC(Case) Cases;
typedef VEC(Kernel *) Kernels;

static struct {
  Arena *arena;
  Cases cases;
  Kernels kernels;
  uint64_t random;
} all;

/* ---- operands ---- */

static uint32_t draw(void) {
  all.random = all.random * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(all.random >> 33);
}

/* Zeros, ones, halves to round, limits, infinities and NaN among ordinary numbers. */
static double draw_number(Dtype dtype) {
  static const double floats[] = {0.0,  -0.0,  1.0,   -1.0,  0.5,      1.5,       -2.5,  3.5,
                                  1e-40, 1e30,  -1e30, 65519, 65520.0,  127.5,     255.5, -129,
                                  2e9,   3e9,   -3e9,  1e19,  INFINITY, -INFINITY, NAN,   1e-7};
  static const double integers[] = {0, 1, -1, 2, 7, 8, 31, 32, 63, 64, -128, 127, 255, 128};
  if (dtype_is_float(dtype)) {
    if (draw() % 3 == 0)
      return floats[draw() % (sizeof floats / sizeof *floats)];
    return ldexp((double)draw() / 2147483648.0 - 0.5, (int)(draw() % 12) - 2);
  }
  if (draw() % 2)
    return integers[draw() % (sizeof integers / sizeof *integers)];
  return (double)draw() - 1073741824.0;
}

static void put(Dtype dtype, void *data, int64_t at, Scalar value) {
  switch (dtype_size(dtype)) {
  case 8: memcpy((char *)data + 8 * at, &value.i, 8); break;
  case 4: memcpy((char *)data + 4 * at, &value, 4); break;
  case 2: memcpy((char *)data + 2 * at, &value.i, 2); break;
  default: memcpy((char *)data + at, &value.i, 1);
  }
}

static void set(Dtype dtype, void *data, int64_t at, Scalar value) {
  if (dtype_is_float(dtype))
    dtype_store(dtype, data, at, value.f);
  else
    put(dtype, data, at, value);
}

static Scalar get(Dtype dtype, const void *data, int64_t at) {
  Scalar value = {.i = 0};
  if (dtype_is_float(dtype))
    value.f = (float)dtype_load(dtype, data, at);
  else if (dtype == DT_i64)
    value.i = ((const int64_t *)data)[at];
  else
    value.i = (int64_t)dtype_load(dtype, data, at);
  return value;
}

static void *operand(Dtype dtype) {
  void *data = arena_alloc(all.arena, COUNT * dtype_size(dtype));
  for (int i = 0; i < COUNT; i++) {
    double number = draw_number(dtype);
    Scalar value = {.i = 0};
    if (dtype_is_float(dtype))
      value.f = (float)number;
    else
      value.i = (int64_t)number;
    if (dtype == DT_i64 && draw() % 3 == 0)
      value.i = (int64_t)((uint64_t)draw() << 33 | draw());
    set(dtype, data, i, value);
  }
  return data;
}

/* ---- cases ---- */

static Dtype operand_type(Kop kop, Dtype dtype, int i) {
  return kop_info[kop].kind == KOP_SELECT && i == 0 ? DT_f32 : dtype;
}

/* result[i] = kop(operands[i]) for a block of `width` elements (horizontal ops: result[block]). */
static Kernel *case_kernel(const Case *c, Kop kop, int width) {
  const KopInfo *info = &kop_info[kop];
  bool to_scalar = info->kind == KOP_HORIZONTAL, from_scalar = info->kind == KOP_SPLAT;
  const char *name = arena_printf(all.arena, "k_%s_%s_%s_%d", info->name, dtype_name(c->operand),
                                  dtype_name(c->result), width);
  Kernel *kernel = kernel_new(all.arena, name, STAGE_LOOP);
  Buffer *buffers[4];
  for (int i = 0; i <= c->arity; i++) {
    Dtype dtype = i == c->arity ? c->result : operand_type(kop, c->operand, i);
    buffers[i] = kernel_argument(kernel, i == c->arity ? "result" : "operand",
                                 vector_type(dtype, i == c->arity ? c->results : COUNT),
                                 i == c->arity);
  }
  IndexVar *block = kernel_grid(kernel, "block", COUNT / width);
  KValue *values[3] = {NULL};
  for (int i = 0; i < c->arity; i++)
    values[i] = load(kernel, &kernel->body, buffers[i], times(block, from_scalar ? 1 : width),
                     from_scalar ? 1 : width);
  KValue *result = stmt_let(kernel, &kernel->body, kop, c->result, to_scalar ? 1 : width,
                            values[0], values[1], values[2]);
  store(kernel, &kernel->body, buffers[c->arity], times(block, to_scalar ? 1 : width), result);
  return kernel;
}

static Scalar fold(Kop kop, Dtype dtype, const void *data, int64_t first, int width) {
  Kop step = kop == K_hadd ? K_add : kop == K_hmax ? K_max : K_min;
  Scalar lanes[16];
  for (int i = 0; i < width; i++)
    lanes[i] = get(dtype, data, first + i);
  for (int half = width / 2; half; half /= 2)
    for (int i = 0; i < half; i++) {
      Scalar pair[3] = {lanes[i], lanes[i + half]};
      lanes[i] = kop_eval(step, dtype, dtype, pair);
    }
  return lanes[0];
}

static void add_case(Kop kop, Dtype from, Dtype to, int width) {
  KopKind kind = kop_info[kop].kind;
  Case c = {.arity = kop_info[kop].arity, .operand = from, .result = to};
  c.results = kind == KOP_HORIZONTAL ? COUNT / width : COUNT;
  for (int i = 0; i < c.arity; i++)
    c.arguments[i] = operand(operand_type(kop, from, i));
  size_t bytes = (size_t)c.results * dtype_size(to);
  c.arguments[c.arity] = arena_alloc(all.arena, bytes);
  c.expected = arena_alloc(all.arena, bytes);
  for (int i = 0; i < c.results; i++) {
    Scalar scalars[3] = {{0}}, result;
    for (int j = 0; j < c.arity && kind != KOP_HORIZONTAL; j++)
      scalars[j] = get(operand_type(kop, from, j), c.arguments[j],
                       kind == KOP_SPLAT ? i / width : i);
    result = kind == KOP_HORIZONTAL
                 ? fold(kop, from, c.arguments[0], (int64_t)i * width, width)
                 : kop_eval(kop, from, to, scalars);
    set(to, c.expected, i, result);
  }
  c.kernel = case_kernel(&c, kop, width);
  vec_push(all.arena, &all.cases, c);
  vec_push(all.arena, &all.kernels, c.kernel);
}

static bool defined(Kop kop, Dtype dtype) {
  const char *spelling = dtype_is_float(dtype) ? kop_info[kop].llvm_float : kop_info[kop].llvm_int;
  return *spelling && dtype != DT_f64;
}

static int make_cases(void **state) {
  (void)state;
  static const int widths[] = {1, 4, 8, 16};
  all.arena = arena_new();
  all.random = 1;
  for (Kop kop = 0; kop < K_COUNT; kop++)
    for (Dtype dtype = 0; dtype < DT_COUNT; dtype++)
      for (int w = 0; w < 4; w++) {
        bool rare = dtype != DT_f32 && dtype != DT_i32 && dtype != DT_i64 && dtype != DT_u8;
        KopKind kind = kop_info[kop].kind;
        if (!defined(kop, dtype) || (rare && w % 3) || (!w && kind == KOP_HORIZONTAL))
          continue;
        if (kop == K_bits && dtype != DT_f32 && dtype != DT_i32)
          continue;
        if (kind == KOP_MMA || kind == KOP_DOT || (kind == KOP_PAIR && dtype != DT_bf16))
          continue; /* of warps; dots of pairs: test_bf16 */
        if (kop == K_cast) {
          for (Dtype to = 0; to < DT_COUNT; to++)
            if (to != DT_f64 && (w % 3 == 0 || (!rare && to != DT_f16 && to != DT_bf16)))
              add_case(kop, dtype, to, widths[w]);
          continue;
        }
        add_case(kop, dtype,
                 kind == KOP_COMPARE ? DT_f32
                 : kind == KOP_PAIR  ? DT_i32
                 : kop == K_bits     ? (dtype == DT_f32 ? DT_i32 : DT_f32)
                                     : dtype,
                 widths[w]);
      }
  return 0;
}

static int free_cases(void **state) {
  (void)state;
  arena_free(all.arena);
  return 0;
}

/* ---- comparison ---- */

static bool same(Dtype dtype, const void *a, const void *b, int64_t at) {
  size_t size = dtype_size(dtype);
  if (memcmp((const char *)a + size * (size_t)at, (const char *)b + size * (size_t)at, size) == 0)
    return true;
  return dtype_is_float(dtype) && isnan(dtype_load(dtype, a, at)) &&
         isnan(dtype_load(dtype, b, at));
}

static void check_result(const Case *c, const void *result, const char *who) {
  for (int i = 0; i < c->results; i++)
    if (!same(c->result, result, c->expected, i))
      fail_msg("%s: %s: element %d is %.9g, expected %.9g", who, c->kernel->name, i,
               dtype_load(c->result, result, i), dtype_load(c->result, c->expected, i));
}

static void run_case(const Case *c, KernelCode *code, const char *who) {
  assert_non_null(code);
  void *result = c->arguments[c->arity];
  memset(result, 0xA5, (size_t)c->results * dtype_size(c->result));
  code(c->arguments, 0, kernel_blocks(c->kernel));
  check_result(c, result, who);
}

static void jit_agrees(void **state) {
  (void)state;
  Error error = {""};
  Jit *jit = jit_build(all.kernels.at, all.kernels.count, 2, &error);
  if (!jit)
    fail_msg("%s", error.text);
  for (int i = 0; i < all.cases.count; i++)
    run_case(&all.cases.at[i], jit_find(jit, all.cases.at[i].kernel->name), "jit");
  printf("  %d ops\n", all.cases.count);
  jit_free(jit);
}

static void write_object(const char *level_name, const char *suffix, const char *path) {
  CpuLevel level;
  Error error = {""};
  Text object = {0};
  if (!cpu_level_find(level_name, &level, &error) ||
      !llvm_emit(all.kernels.at, all.kernels.count, &level, suffix, "object", &object, &error))
    fail_msg("%s", error.text);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(object.at, 1, object.size, file), object.size);
  fclose(file);
  text_free(&object);
}

static void linked_object_agrees(void **state) {
  (void)state;
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
      system("cc --version > /dev/null 2>&1") != 0) {
    print_message("no AVX2 or no cc here\n");
    skip();
  }
  const char *folder = scratch_make();
  char object[300], library[300], command[700];
  snprintf(object, sizeof object, "%s/ops.o", folder);
  snprintf(library, sizeof library, "%s/ops.so", folder);
  write_object("x86-64-v3", "_v3", object);
  snprintf(command, sizeof command, "cc -shared -o %s %s -lm", library, object);
  assert_int_equal(system(command), 0);
  void *loaded = dlopen(library, RTLD_NOW);
  if (!loaded)
    fail_msg("%s", dlerror());
  for (int i = 0; i < all.cases.count; i++) {
    char name[200];
    snprintf(name, sizeof name, "%s_v3", all.cases.at[i].kernel->name);
    run_case(&all.cases.at[i], (KernelCode *)(uintptr_t)dlsym(loaded, name), "x86-64-v3");
  }
  dlclose(loaded);
  scratch_remove(folder);
#else
  skip();
#endif
}

/* ---- AArch64 under qemu: operands come on standard input, results go to standard output ---- */

static void write_operands(const char *path) {
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  for (int i = 0; i < all.cases.count; i++) {
    const Case *c = &all.cases.at[i];
    for (int j = 0; j < c->arity; j++)
      fwrite(c->arguments[j], type_bytes(&c->kernel->buffers.at[j]->type), 1, file);
  }
  fclose(file);
}

static void write_runner(const char *path) {
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fprintf(file, "#include <stdio.h>\n#include <stdlib.h>\n");
  for (int i = 0; i < all.cases.count; i++)
    fprintf(file, "void %s_arm(void *const *, long, long);\n", all.cases.at[i].kernel->name);
  fprintf(file,
          "static void run(void f(void *const *, long, long), int n, const int *sizes,\n"
          "                long blocks) {\n"
          "  void *a[4];\n"
          "  for (int i = 0; i <= n; i++) {\n"
          "    a[i] = aligned_alloc(64, 4096);\n"
          "    if (i < n && fread(a[i], 1, sizes[i], stdin) != (size_t)sizes[i]) exit(1);\n"
          "  }\n"
          "  f(a, 0, blocks);\n"
          "  fwrite(a[n], 1, sizes[n], stdout);\n"
          "  for (int i = 0; i <= n; i++) free(a[i]);\n"
          "}\nint main(void) {\n");
  for (int i = 0; i < all.cases.count; i++) {
    const Case *c = &all.cases.at[i];
    fprintf(file, "  run(%s_arm, %d, (int[]){", c->kernel->name, c->arity);
    for (int j = 0; j < c->arity; j++)
      fprintf(file, "%d,", (int)type_bytes(&c->kernel->buffers.at[j]->type));
    fprintf(file, "%d}, %d);\n", (int)type_bytes(&c->kernel->buffers.at[c->arity]->type),
            (int)kernel_blocks(c->kernel));
  }
  fprintf(file, "  return 0;\n}\n");
  fclose(file);
}

static void aarch64_agrees(void **state) {
  (void)state;
  if (system("aarch64-linux-gnu-gcc --version > /dev/null 2>&1") != 0 ||
      system("qemu-aarch64 --version > /dev/null 2>&1") != 0) {
    print_message("no aarch64-linux-gnu-gcc or no qemu-aarch64 here\n");
    skip();
  }
  const char *folder = scratch_make();
  char path[300], command[1200];
  snprintf(path, sizeof path, "%s/ops.o", folder);
  write_object("aarch64", "_arm", path);
  snprintf(path, sizeof path, "%s/main.c", folder);
  write_runner(path);
  snprintf(path, sizeof path, "%s/in", folder);
  write_operands(path);
  snprintf(command, sizeof command,
           "cd %s && aarch64-linux-gnu-gcc -static -o ops main.c ops.o -lm && "
           "qemu-aarch64 ./ops < in > out", folder);
  assert_int_equal(system(command), 0);
  snprintf(path, sizeof path, "%s/out", folder);
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  for (int i = 0; i < all.cases.count; i++) {
    const Case *c = &all.cases.at[i];
    void *result = c->arguments[c->arity];
    size_t bytes = (size_t)c->results * dtype_size(c->result);
    assert_int_equal(fread(result, 1, bytes, file), bytes);
    check_result(c, result, "aarch64");
  }
  fclose(file);
  scratch_remove(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(jit_agrees),
      cmocka_unit_test(linked_object_agrees),
      cmocka_unit_test(aarch64_agrees),
  };
  return cmocka_run_group_tests(tests, make_cases, free_cases);
}
