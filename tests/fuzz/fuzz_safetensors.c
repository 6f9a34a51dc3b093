/* Fuzzes tensor_file_open_bytes; reads the bytes of every tensor it found. */
#include "runtime/safetensors.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  TensorFile file;
  Error error = {""};
  char *copy = malloc(size ? size : 1);
  memcpy(copy, bytes, size);
  if (tensor_file_open_bytes(&file, "t.safetensors", copy, size, &error)) {
    size_t total = 0;
    for (int i = 0; i < file.count; i++) {
      const Tensor *tensor = &file.tensors[i];
      size_t n = type_bytes(&tensor->type);
      CHECK((uintptr_t)tensor->data % dtype_size(tensor->type.dtype) == 0);
      CHECK(tensor_file_find(&file, tensor->name) == tensor);
      touch(tensor->data, n);
      total += n;
    }
    CHECK(total < size);
    for (int i = 0; i < file.n_metadata; i++)
      CHECK(strlen(file.metadata_keys[i]) + strlen(file.metadata_values[i]) < size);
    tensor_file_close(&file);
  } else {
    expect_words(&error);
    CHECK(!file.arena);
  }
  free(copy);
  return 0;
}
