/* safetensors reading and writing. See safetensors.h.
 *
 * Reading trusts nothing: the header must be one JSON object inside the file, every entry must name
 * a known type, and the entries, put in order of their offsets, must tile the data exactly. BOOL
 * tensors come back as u8. Tensors that lie at an address their element type cannot be loaded from
 * (the format packs without padding) are copied into the arena, so `data` is always aligned.
 *
 * Writing puts wide element types first, then goes by name: with the data section at a multiple of
 * 64 bytes every tensor is aligned, and the bytes depend on the contents alone.
 */
#include "runtime/safetensors.h"
#include "runtime/base/json.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER = 100 * 1000 * 1000, DATA_ALIGNMENT = 64 };

/* Where one entry of the header says its bytes are. */
typedef struct Extent {
  int64_t begin, end;
  const char *name;
} Extent;

typedef struct Opening {
  TensorFile *file;
  const char *path;
  Extent *extents;
  Error *error;
} Opening;

static bool refuse(const Opening *opening, const char *name, const char *what) {
  return error_set(opening->error, "%s: error: tensor \"%.200s\": %s", opening->path, name, what);
}

static bool read_shape(const Opening *o, const char *name, const Json *shape, Type *type) {
  if (!shape || shape->kind != JSON_LIST)
    return refuse(o, name, "its \"shape\" is not a list");
  if (shape->count > MAX_RANK)
    return refuse(o, name, "it has more than 8 dimensions");
  type->rank = shape->count;
  int64_t bytes = (int64_t)dtype_size(type->dtype);
  for (int i = 0; i < shape->count; i++) {
    const Json *dim = &shape->items[i];
    if (dim->kind != JSON_NUMBER || dim->number < 0 || (!dim->is_integer && dim->number < 0x1p63))
      return refuse(o, name, "a dimension is not a whole number");
    type->dim[i] = dim->integer;
    if (!dim->is_integer || __builtin_mul_overflow(bytes, dim->integer, &bytes))
      return refuse(o, name, "its size overflows 64 bits");
  }
  return true;
}

static bool read_dtype(const Opening *o, const char *name, const Json *dtype, Type *type) {
  if (!dtype || dtype->kind != JSON_STRING)
    return refuse(o, name, "its \"dtype\" is not a text");
  if (dtype_from_safetensors_name(dtype->string, &type->dtype))
    return true;
  if (strcmp(dtype->string, "BOOL") == 0) {
    type->dtype = DT_u8;
    return true;
  }
  return error_set(o->error,
                   "%s: error: tensor \"%.200s\": element type \"%.40s\" is not supported", o->path,
                   name, dtype->string);
}

static bool read_entry(const Opening *o, const char *name, const Json *entry, size_t data_size,
                       Tensor *tensor, Extent *extent) {
  if (entry->kind != JSON_OBJECT)
    return refuse(o, name, "its entry is not an object");
  *tensor = (Tensor){.name = name};
  if (!read_dtype(o, name, json_get(entry, "dtype"), &tensor->type) ||
      !read_shape(o, name, json_get(entry, "shape"), &tensor->type))
    return false;
  const Json *offsets = json_get(entry, "data_offsets");
  if (!offsets || offsets->kind != JSON_LIST || offsets->count != 2 ||
      !offsets->items[0].is_integer || !offsets->items[1].is_integer)
    return refuse(o, name, "its \"data_offsets\" are not two whole numbers");
  *extent = (Extent){offsets->items[0].integer, offsets->items[1].integer, name};
  if (extent->begin < 0 || extent->end < extent->begin || (uint64_t)extent->end > data_size)
    return error_set(o->error,
                     "%s: error: tensor \"%.200s\": bytes %lld..%lld lie outside the %zu "
                     "bytes of data (is the file cut short?)",
                     o->path, name, (long long)extent->begin, (long long)extent->end, data_size);
  if ((uint64_t)(extent->end - extent->begin) != type_bytes(&tensor->type))
    return error_set(o->error,
                     "%s: error: tensor \"%.200s\": %s needs %zu bytes, the offsets span "
                     "%lld",
                     o->path, name, type_text(&tensor->type), type_bytes(&tensor->type),
                     (long long)(extent->end - extent->begin));
  return true;
}

static bool read_metadata(const Opening *o, const Json *metadata) {
  TensorFile *file = o->file;
  if (metadata->kind != JSON_OBJECT)
    return error_set(o->error, "%s: error: \"__metadata__\" is not an object", o->path);
  file->n_metadata = metadata->count;
  file->metadata_keys = ARENA_ARRAY(file->arena, const char *, metadata->count);
  file->metadata_values = ARENA_ARRAY(file->arena, const char *, metadata->count);
  for (int i = 0; i < metadata->count; i++) {
    if (metadata->items[i].kind != JSON_STRING)
      return error_set(o->error,
                       "%s: error: \"__metadata__\": the value of \"%.200s\" is not a text",
                       o->path, metadata->keys[i]);
    file->metadata_keys[i] = metadata->keys[i];
    file->metadata_values[i] = metadata->items[i].string;
  }
  return true;
}

static int by_offset(const void *a, const void *b) {
  const Extent *x = a, *y = b;
  if (x->begin != y->begin)
    return x->begin < y->begin ? -1 : 1;
  return x->end < y->end ? -1 : x->end > y->end;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const Tensor *)a)->name, ((const Tensor *)b)->name);
}

/* The extents in order must start at 0, touch each other, and end at the data's end. */
static bool check_tiling(const Opening *o, size_t data_size) {
  int count = o->file->count;
  if (count)
    qsort(o->extents, (size_t)count, sizeof *o->extents, by_offset);
  int64_t at = 0;
  for (int i = 0; i < count; i++) {
    if (o->extents[i].begin != at)
      return refuse(o, o->extents[i].name,
                    o->extents[i].begin < at ? "its bytes overlap another tensor's"
                                             : "there is a gap before its bytes");
    at = o->extents[i].end;
  }
  if ((uint64_t)at != data_size)
    return error_set(o->error, "%s: error: %zu bytes follow the last tensor", o->path,
                     data_size - (size_t)at);
  return true;
}

static bool read_header(Opening *o) {
  TensorFile *file = o->file;
  const unsigned char *bytes = file->mapping.bytes;
  size_t size = file->mapping.size;
  uint64_t header_size;
  if (size < 8)
    return error_set(o->error, "%s: error: %zu bytes are too few for a safetensors file", o->path,
                     size);
  memcpy(&header_size, bytes, 8);
  if (header_size > MAX_HEADER || header_size > size - 8)
    return error_set(o->error,
                     "%s: error: the header claims %llu bytes, the file has %zu after it "
                     "(limit %d): not a safetensors file, or cut short",
                     o->path, (unsigned long long)header_size, size - 8, MAX_HEADER);
  if (header_size == 0 || bytes[8] != '{')
    return error_set(o->error,
                     "%s: error: the header does not begin with '{': not a safetensors "
                     "file",
                     o->path);
  Json header;
  Error inner;
  if (!json_parse(file->arena, (const char *)bytes + 8, (size_t)header_size, &header, &inner))
    return error_set(o->error, "%s: error: header: %.900s", o->path, inner.text);

  const unsigned char *data = bytes + 8 + header_size;
  size_t data_size = size - 8 - (size_t)header_size;
  file->tensors = ARENA_ARRAY(file->arena, Tensor, header.count);
  o->extents = ARENA_ARRAY(file->arena, Extent, header.count);
  for (int i = 0; i < header.count; i++) {
    if (strcmp(header.keys[i], "__metadata__") == 0) {
      if (!read_metadata(o, &header.items[i]))
        return false;
      continue;
    }
    Tensor *tensor = &file->tensors[file->count];
    Extent *extent = &o->extents[file->count];
    if (!read_entry(o, header.keys[i], &header.items[i], data_size, tensor, extent))
      return false;
    tensor->data = (void *)(data + extent->begin);
    file->count++;
  }
  return check_tiling(o, data_size);
}

static bool open_mapped(TensorFile *file, const char *path, Error *error) {
  file->arena = arena_new();
  Opening opening = {file, path, NULL, error};
  if (!read_header(&opening))
    return false;
  for (int i = 0; i < file->count; i++) {
    Tensor *tensor = &file->tensors[i];
    if ((uintptr_t)tensor->data % dtype_size(tensor->type.dtype) != 0)
      tensor->data = arena_copy(file->arena, tensor->data, type_bytes(&tensor->type));
  }
  if (file->count)
    qsort(file->tensors, (size_t)file->count, sizeof *file->tensors, by_name);
  return true;
}

bool tensor_file_open(TensorFile *file, const char *path, Error *error) {
  *file = (TensorFile){0};
  if (!file_map(path, &file->mapping, error))
    return false;
  if (open_mapped(file, path, error))
    return true;
  tensor_file_close(file);
  return false;
}

bool tensor_file_open_bytes(TensorFile *file, const char *name, const void *bytes, size_t size,
                            Error *error) {
  *file = (TensorFile){.mapping = {bytes, size}};
  bool good = open_mapped(file, name, error);
  file->mapping = (Mapping){0}; /* not ours to unmap */
  if (!good)
    tensor_file_close(file);
  return good;
}

void tensor_file_close(TensorFile *file) {
  file_unmap(&file->mapping);
  if (file->arena)
    arena_free(file->arena);
  *file = (TensorFile){0};
}

const Tensor *tensor_file_find(const TensorFile *file, const char *name) {
  int low = 0, high = file->count;
  while (low < high) {
    int middle = low + (high - low) / 2, order = strcmp(file->tensors[middle].name, name);
    if (order == 0)
      return &file->tensors[middle];
    if (order < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return NULL;
}

const char *tensor_file_metadata(const TensorFile *file, const char *key) {
  for (int i = 0; i < file->n_metadata; i++)
    if (strcmp(file->metadata_keys[i], key) == 0)
      return file->metadata_values[i];
  return NULL;
}

static int by_width_then_name(const void *a, const void *b) {
  const Tensor *x = *(const Tensor *const *)a, *y = *(const Tensor *const *)b;
  size_t width_x = dtype_size(x->type.dtype), width_y = dtype_size(y->type.dtype);
  if (width_x != width_y)
    return width_x > width_y ? -1 : 1;
  return strcmp(x->name, y->name);
}

typedef struct Pair {
  const char *key, *value;
} Pair;

static int by_key(const void *a, const void *b) {
  return strcmp(((const Pair *)a)->key, ((const Pair *)b)->key);
}

static void add_metadata(Text *header, const char *const *keys, const char *const *values,
                         int count) {
  Pair *pairs = mem_alloc(sizeof(Pair) * (size_t)count);
  for (int i = 0; i < count; i++)
    pairs[i] = (Pair){keys[i], values[i]};
  qsort(pairs, (size_t)count, sizeof *pairs, by_key);
  text_add(header, "\"__metadata__\":{");
  for (int i = 0; i < count; i++) {
    if (i)
      text_add(header, ",");
    json_add_string(header, pairs[i].key);
    text_add(header, ":");
    json_add_string(header, pairs[i].value);
  }
  text_add(header, "}");
  free(pairs);
}

static void add_entry(Text *header, const Tensor *tensor, uint64_t begin) {
  json_add_string(header, tensor->name);
  text_add(header, ":{\"dtype\":\"%s\",\"shape\":[", dtype_safetensors_name(tensor->type.dtype));
  for (int i = 0; i < tensor->type.rank; i++)
    text_add(header, "%s%lld", i ? "," : "", (long long)tensor->type.dim[i]);
  text_add(header, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)begin,
           (unsigned long long)(begin + type_bytes(&tensor->type)));
}

static bool write_all(const char *path, const Tensor *const *order, int count, const Text *header,
                      Error *error) {
  Writing writing;
  if (!writing_open(&writing, path, error))
    return false;
  uint64_t header_size = header->size;
  fwrite(&header_size, 8, 1, writing.stream);
  fwrite(header->at, 1, header->size, writing.stream);
  for (int i = 0; i < count; i++) {
    size_t bytes = type_bytes(&order[i]->type);
    if (bytes)
      fwrite(order[i]->data, 1, bytes, writing.stream);
  }
  return writing_commit(&writing, error);
}

static int by_text(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The same name may come back with another width, so the writing order does not show duplicates. */
static bool check_names(const char *path, const Tensor *tensors, int count, Error *error) {
  const char **names = mem_alloc(sizeof *names * (size_t)(count + 1));
  bool good = true;
  for (int i = 0; i < count; i++)
    names[i] = tensors[i].name;
  qsort(names, (size_t)count, sizeof *names, by_text);
  for (int i = 0; i < count && good; i++) {
    if (strcmp(names[i], "__metadata__") == 0)
      good = error_set(error, "%s: error: a tensor cannot be named \"__metadata__\"", path);
    else if (i && strcmp(names[i - 1], names[i]) == 0)
      good = error_set(error, "%s: error: two tensors are named \"%.200s\"", path, names[i]);
  }
  free(names);
  return good;
}

bool tensor_file_write(const char *path, const Tensor *tensors, int count,
                       const char *const *metadata_keys, const char *const *metadata_values,
                       int n_metadata, Error *error) {
  if (!check_names(path, tensors, count, error))
    return false;
  const Tensor **order = mem_alloc(sizeof *order * (size_t)(count + 1));
  for (int i = 0; i < count; i++)
    order[i] = &tensors[i];
  qsort(order, (size_t)count, sizeof *order, by_width_then_name);

  Text header = {0};
  text_add(&header, "{");
  if (metadata_keys && n_metadata)
    add_metadata(&header, metadata_keys, metadata_values, n_metadata);
  uint64_t at = 0;
  for (int i = 0; i < count; i++) {
    if (header.size > 1)
      text_add(&header, ",");
    add_entry(&header, order[i], at);
    at += type_bytes(&order[i]->type);
  }
  text_add(&header, "}");
  while ((header.size + 8) % DATA_ALIGNMENT)
    text_add_bytes(&header, " ", 1);
  bool good = write_all(path, order, count, &header, error);
  text_free(&header);
  free(order);
  return good;
}
