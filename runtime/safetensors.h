/* safetensors files: named dense tensors (format: 8-byte little-endian header size, a JSON header,
 * then the data; https://huggingface.co/docs/safetensors).
 *
 * Reading maps the file and checks everything the format promises: header bounds, known types,
 * sizes that match shapes, offsets that fill the data without gap or overlap. Writing is atomic,
 * names sorted, data 64-byte aligned as a whole, so equal contents give equal bytes.
 */
#ifndef TRICOT_RUNTIME_SAFETENSORS_H
#define TRICOT_RUNTIME_SAFETENSORS_H
#include "runtime/base/dtype.h"
#include "runtime/base/file.h"

typedef struct Tensor {
  const char *name;
  Type type;
  void *data; /* row-major; borrowed from the file's mapping when read */
} Tensor;

typedef struct TensorFile {
  Arena *arena;
  Mapping mapping;
  int count;
  Tensor *tensors;  /* sorted by name */
  int n_metadata;   /* "__metadata__": pairs of texts */
  const char **metadata_keys, **metadata_values;
} TensorFile;

bool tensor_file_open(TensorFile *file, const char *path, Error *);
/* The same of a file in memory, which must outlive it; `name` stands for the path in errors. */
bool tensor_file_open_bytes(TensorFile *file, const char *name, const void *bytes, size_t size,
                            Error *);
void tensor_file_close(TensorFile *file);
const Tensor *tensor_file_find(const TensorFile *file, const char *name); /* NULL when absent */
const char *tensor_file_metadata(const TensorFile *file, const char *key); /* NULL when absent */

/* Writes tensors in any order; metadata may be NULL. Duplicate names are an error. */
bool tensor_file_write(const char *path, const Tensor *tensors, int count,
                       const char *const *metadata_keys, const char *const *metadata_values,
                       int n_metadata, Error *);
#endif
