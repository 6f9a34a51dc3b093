/* safetensors: round trips, byte-stable writing, and the refusal of every broken file we know. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/base/json.h"
#include "runtime/base/random.h"
#include "runtime/safetensors.h"
#include "tests/unit/shared.h"
#include <string.h>

static void round_trip(void **state) {
  (void)state;
  const char *folder = scratch_make();
  char path[200];
  snprintf(path, sizeof path, "%s/a.safetensors", folder);
  float weights[6] = {1, 2, 3, 4, 5, 6.5f};
  uint8_t flags[3] = {1, 0, 1};
  double loss = 0.25;
  Tensor tensors[] = {
      {"flags", {DT_u8, 1, {3}}, flags},
      {"weights", {DT_f32, 2, {2, 3}}, weights},
      {"a \"quoted\"\nname", {DT_f64, 0, {0}}, &loss},
      {"none", {DT_i64, 2, {0, 4}}, NULL},
  };
  const char *keys[] = {"z", "a"}, *values[] = {"1", "two\n"};
  Error error = {""};
  assert_true(tensor_file_write(path, tensors, 4, keys, values, 2, &error));
  TensorFile file;
  if (!tensor_file_open(&file, path, &error))
    fail_msg("%s", error.text);
  assert_int_equal(file.count, 4);
  assert_string_equal(file.tensors[0].name, "a \"quoted\"\nname");
  assert_string_equal(file.tensors[3].name, "weights");
  const Tensor *found = tensor_file_find(&file, "weights");
  assert_non_null(found);
  assert_true(type_equal(&found->type, &tensors[1].type));
  assert_memory_equal(found->data, weights, sizeof weights);
  assert_int_equal((uintptr_t)found->data % 4, 0);
  assert_memory_equal(tensor_file_find(&file, "flags")->data, flags, 3);
  assert_memory_equal(tensor_file_find(&file, "a \"quoted\"\nname")->data, &loss, 8);
  assert_int_equal(type_elements(&tensor_file_find(&file, "none")->type), 0);
  assert_null(tensor_file_find(&file, "weight"));
  assert_int_equal(file.n_metadata, 2);
  assert_string_equal(file.metadata_keys[0], "a");
  assert_string_equal(file.metadata_values[0], "two\n");
  size_t size = file.mapping.size;
  unsigned char *bytes = mem_alloc(size);
  memcpy(bytes, file.mapping.bytes, size);
  uint64_t header_size;
  memcpy(&header_size, bytes, 8);
  assert_int_equal((header_size + 8) % 64, 0);
  tensor_file_close(&file);

  /* another order of the same contents gives the same bytes */
  Tensor swapped[] = {tensors[3], tensors[1], tensors[0], tensors[2]};
  const char *keys2[] = {"a", "z"}, *values2[] = {"two\n", "1"};
  assert_true(tensor_file_write(path, swapped, 4, keys2, values2, 2, &error));
  assert_true(tensor_file_open(&file, path, &error));
  assert_int_equal(file.mapping.size, size);
  assert_memory_equal(file.mapping.bytes, bytes, size);
  tensor_file_close(&file);
  free(bytes);
  scratch_remove(folder);
}

static void empty_file_of_no_tensors(void **state) {
  (void)state;
  const char *folder = scratch_make();
  char path[200];
  snprintf(path, sizeof path, "%s/none.safetensors", folder);
  Error error = {""};
  TensorFile file;
  assert_true(tensor_file_write(path, NULL, 0, NULL, NULL, 0, &error));
  assert_true(tensor_file_open(&file, path, &error));
  assert_int_equal(file.count, 0);
  assert_null(tensor_file_find(&file, "x"));
  tensor_file_close(&file);
  scratch_remove(folder);
}

static void refuses_bad_names(void **state) {
  (void)state;
  const char *folder = scratch_make();
  char path[200];
  snprintf(path, sizeof path, "%s/dup.safetensors", folder);
  float x = 1;
  double y = 2;
  Tensor twice[] = {{"x", {DT_f32, 0, {0}}, &x}, {"x", {DT_f64, 0, {0}}, &y}};
  Tensor reserved[] = {{"__metadata__", {DT_f32, 0, {0}}, &x}};
  Error error = {""};
  assert_false(tensor_file_write(path, twice, 2, NULL, NULL, 0, &error));
  assert_non_null(strstr(error.text, "two tensors are named \"x\""));
  assert_false(tensor_file_write(path, reserved, 1, NULL, NULL, 0, &error));
  assert_int_not_equal(access(path, F_OK), 0);
  scratch_remove(folder);
}

static bool open_text(const char *path, const char *header, size_t data_size, Error *error) {
  FILE *stream = fopen(path, "wb");
  uint64_t size = strlen(header);
  fwrite(&size, 8, 1, stream);
  fwrite(header, 1, size, stream);
  for (size_t i = 0; i < data_size; i++)
    fputc((int)i, stream);
  fclose(stream);
  TensorFile file;
  bool good = tensor_file_open(&file, path, error);
  if (good)
    tensor_file_close(&file);
  return good;
}

static void refuses_broken_headers(void **state) {
  (void)state;
  static const struct {
    const char *header;
    size_t data;
    const char *message; /* NULL: accepted */
  } cases[] = {
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, NULL},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 3, "outside"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "gap"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "whole number"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", 4, "whole number"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, "not a list"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "outside"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets"},
      {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype"},
      {"{\"a\":7}", 0, "not an object"},
      {"{\"__metadata__\":{\"a\":1}}", 0, "not a text"},
      {"{\"__metadata__\":[]}", 0, "not an object"},
      {"{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]},"
       "\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
       2, "twice"},
      {"{\"a\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[0,2]},"
       "\"b\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
       3, "overlap"},
      {"{\"a\":{\"dtype\":\"I8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1,
       "8 dimensions"},
  };
  const char *folder = scratch_make();
  char path[200];
  snprintf(path, sizeof path, "%s/case.safetensors", folder);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Error error = {""};
    bool good = open_text(path, cases[i].header, cases[i].data, &error);
    if (good != !cases[i].message)
      fail_msg("%s: %s", cases[i].header, good ? "accepted" : error.text);
    if (!good && !strstr(error.text, cases[i].message))
      fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].header, error.text, cases[i].message);
  }
  scratch_remove(folder);
}

/* Whatever a damaged file says, opening it ends with tensors inside the mapping or a message. */
static void mutations(void **state) {
  (void)state;
  const char *folder = scratch_make();
  char path[200];
  snprintf(path, sizeof path, "%s/m.safetensors", folder);
  float values[6] = {1, 2, 3, 4, 5, 6};
  Tensor tensors[] = {{"a", {DT_f32, 2, {2, 3}}, values}, {"b", {DT_u8, 1, {4}}, values}};
  Error error = {""};
  assert_true(
      tensor_file_write(path, tensors, 2, (const char *[]){"k"}, (const char *[]){"v"}, 1, &error));
  Mapping mapping;
  assert_true(file_map(path, &mapping, &error));
  size_t size = mapping.size;
  unsigned char *whole = mem_alloc(size), *bytes = mem_alloc(size);
  memcpy(whole, mapping.bytes, size);
  file_unmap(&mapping);
  int opened = 0, refused = 0;
  for (uint64_t trial = 0; trial < 3000; trial++) {
    uint32_t dice[4];
    random_bits(5, trial, 0, dice);
    memcpy(bytes, whole, size);
    size_t length = dice[0] % 4 ? size : dice[1] % size;
    for (uint32_t i = 0; length && i <= dice[2] % 3; i++) {
      uint32_t hit[4];
      random_bits(5, trial, i + 1, hit);
      bytes[hit[0] % length] = (unsigned char)(hit[1] & 1 ? hit[2] : '0' + hit[2] % 10);
    }
    FILE *stream = fopen(path, "wb");
    fwrite(bytes, 1, length, stream);
    fclose(stream);
    TensorFile file;
    error.text[0] = 0;
    bool good = tensor_file_open(&file, path, &error);
    double sum = 0;
    for (int i = 0; good && i < file.count; i++)
      for (int64_t j = 0; j < type_elements(&file.tensors[i].type); j++)
        sum += dtype_load(file.tensors[i].type.dtype, file.tensors[i].data, j) != 0;
    assert_true(good ? sum <= 28 : error.text[0] != 0);
    *(good ? &opened : &refused) += 1;
    if (good)
      tensor_file_close(&file);
  }
  printf("  %d opened, %d refused\n", opened, refused);
  assert_true(opened > 100 && refused > 100);
  free(whole);
  free(bytes);
  scratch_remove(folder);
}

static void reference_files(void **state) {
  (void)state;
  shared_needed();
  Arena *arena = arena_new();
  char *text;
  size_t size;
  Json expected;
  Error error = {""};
  assert_true(file_read(arena, shared_path("data/safetensors/expected.json"), 1 << 20, &text, &size,
                        &error));
  assert_true(json_parse(arena, text, size, &expected, &error));
  assert_true(expected.count >= 12);
  for (int i = 0; i < expected.count; i++) {
    TensorFile file;
    char name[200];
    snprintf(name, sizeof name, "data/safetensors/%s", expected.keys[i]);
    bool wanted = strcmp(json_get(&expected.items[i], "expect")->string, "ok") == 0;
    bool good = tensor_file_open(&file, shared_path(name), &error);
    if (!good)
      printf("  %s\n", strrchr(error.text, '/') + 1);
    if (good != wanted)
      fail_msg("%s: %s", expected.keys[i], good ? "accepted" : error.text);
    if (good)
      tensor_file_close(&file);
  }
  TensorFile file;
  assert_true(
      tensor_file_open(&file, shared_path("data/safetensors/made_all_dtypes.safetensors"), &error));
  const Tensor *scalar = tensor_file_find(&file, "scalar");
  assert_int_equal(scalar->type.rank, 0);
  assert_int_equal((uintptr_t)scalar->data % 4, 0);
  assert_int_equal(tensor_file_find(&file, "bool")->type.dtype, DT_u8);
  assert_int_equal(tensor_file_find(&file, "none")->type.dim[1], 4);
  tensor_file_close(&file);
  arena_free(arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(round_trip),        cmocka_unit_test(empty_file_of_no_tensors),
      cmocka_unit_test(refuses_bad_names), cmocka_unit_test(refuses_broken_headers),
      cmocka_unit_test(mutations),         cmocka_unit_test(reference_files),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
