/* Filling inputs. See ports.h. */
#include "runtime/job/ports.h"
#include <stdlib.h>
#include <string.h>

enum { PIECE = 8 << 20 /* bytes of a file looked at together */ };

bool port_has_samples(const PlanPort *port) { return port->type.rank > 0; }

/* Scalars the job sets, or leaves at zero. */
static bool optional(const PlanPort *port) {
  return strcmp(port->name, "lr") == 0 || strcmp(port->name, "clip") == 0;
}

/* Equal but for the first dimension (of ports with samples) and the element type. */
static bool shapes_fit(const PlanPort *port, const Type *type) {
  if (!port_has_samples(port))
    return type_elements(type) == 1;
  if (type->rank != port->type.rank)
    return false;
  for (int i = 1; i < type->rank; i++)
    if (type->dim[i] != port->type.dim[i])
      return false;
  return type->dim[0] > 0;
}

static bool check_one(const PlanEntry *entry, const PlanPort *port, const Tensor *tensor,
                      const char *path, Error *error) {
  char have[128], want[128];
  snprintf(have, sizeof have, "%s", type_text(&tensor->type));
  snprintf(want, sizeof want, "%s", type_text(&port->type));
  if (!shapes_fit(port, &tensor->type))
    return error_set(error,
                     "%s: error: input \"%s\" is %s, entry point %s of this program takes %s", path,
                     port->name, have, entry->name, want);
  if (!dtype_is_float(port->type.dtype) && dtype_is_float(tensor->type.dtype))
    return error_set(error, "%s: error: input \"%s\" is %s, whole numbers (%s) are needed", path,
                     port->name, have, want);
  return true;
}

bool ports_exact(const Job *job, int entry, const TensorFile *file) {
  const PlanEntry *e = &job->plan->entries[entry];
  for (int i = 0; i < e->n_inputs; i++) {
    const PlanPort *port = &e->inputs[i];
    const Tensor *tensor = tensor_file_find(file, port->name);
    if (!tensor && optional(port))
      continue;
    if (!tensor || !check_one(e, port, tensor, "", NULL) ||
        (port_has_samples(port) && tensor->type.dim[0] != port->type.dim[0]))
      return false;
  }
  return true;
}

bool ports_check(const Job *job, int entry, const TensorFile *file, const char *path,
                 int64_t *samples, Error *error) {
  const PlanEntry *e = &job->plan->entries[entry];
  const char *first = NULL;
  *samples = 0;
  for (int i = 0; i < e->n_inputs; i++) {
    const PlanPort *port = &e->inputs[i];
    const Tensor *tensor = tensor_file_find(file, port->name);
    if (!tensor && optional(port))
      continue;
    if (!tensor)
      return error_set(error, "%s: error: input \"%s\" (%s) of entry point %s is missing", path,
                       port->name, type_text(&port->type), e->name);
    if (!check_one(e, port, tensor, path, error))
      return false;
    if (!port_has_samples(port))
      continue;
    if (first && tensor->type.dim[0] != *samples)
      return error_set(error, "%s: error: \"%s\" has %lld samples but \"%s\" has %lld", path, first,
                       (long long)*samples, port->name, (long long)tensor->type.dim[0]);
    first = port->name;
    *samples = tensor->type.dim[0];
  }
  return true;
}

static void convert(Dtype to, void *out, int64_t at, const Tensor *from, int64_t begin,
                    int64_t count) {
  size_t size = dtype_size(to);
  if (to == from->type.dtype) {
    memcpy((char *)out + (size_t)at * size, (const char *)from->data + (size_t)begin * size,
           (size_t)count * size);
    return;
  }
  for (int64_t i = 0; i < count; i++)
    dtype_store(to, out, at + i, dtype_load(from->type.dtype, from->data, begin + i));
}

/* Gathers from a mapped sample a piece at a time, and gives back the memory of each: the file is
 * there only while it is looked at. */
static void gather_mapped(const Gather *g, size_t size, const Mapping *mapping, const char *sample,
                          void *part) {
  int axis = 1;
  while (axis < g->whole.rank - 1 && g->whole.dim[axis] == 1)
    axis++;
  size_t all = size * (size_t)gather_sample_whole(g), plane = all / (size_t)g->whole.dim[axis];
  int64_t planes = plane < PIECE ? (int64_t)(PIECE / plane) : 1;
  gather_clear(g, size, part);
  for (int64_t first = 0, count; first < g->whole.dim[axis]; first += count) {
    count = first + planes < g->whole.dim[axis] ? planes : g->whole.dim[axis] - first;
    const char *piece = sample + (size_t)first * plane;
    gather_slab(g, axis, first, count, size, piece, part);
    file_mapping_rest(mapping, piece, (size_t)count * plane);
  }
}

/* One sample of the tensor as sample q of an input that keeps a part of it. */
static void gather_one(const PlanPort *port, void *out, int64_t q, const TensorFile *file,
                       const Tensor *from, int64_t sample) {
  const Gather *g = port->gather;
  int64_t part = gather_sample_part(g), whole = gather_sample_whole(g);
  size_t size = dtype_size(from->type.dtype);
  const char *source = (const char *)from->data + (size_t)(sample * whole) * size;
  if (from->type.dtype == port->type.dtype) {
    gather_mapped(g, size, &file->mapping, source, (char *)out + (size_t)(q * part) * size);
    return;
  }
  Tensor kept = {.type = from->type, .data = mem_alloc((size_t)part * size)};
  gather_mapped(g, size, &file->mapping, source, kept.data);
  convert(port->type.dtype, out, q * part, &kept, 0, part);
  free(kept.data);
}

void ports_fill(Job *job, int entry, const TensorFile *file, int64_t first, int64_t samples) {
  const PlanEntry *e = &job->plan->entries[entry];
  for (int i = 0; i < e->n_inputs; i++) {
    const PlanPort *port = &e->inputs[i];
    const Tensor *tensor = tensor_file_find(file, port->name);
    int64_t wrap = samples ? samples : port->type.dim[0];
    void *data = program_part(job->program, entry, port->name, NULL);
    if (!tensor)
      continue;
    if (!port_has_samples(port)) {
      convert(port->type.dtype, data, 0, tensor, 0, 1);
      continue;
    }
    int64_t row = type_elements(&port->type) / port->type.dim[0];
    for (int64_t q = 0; q < port->type.dim[0]; q++) {
      int64_t sample = (first + q) % wrap;
      if (port->gather)
        gather_one(port, data, q, file, tensor, sample);
      else
        convert(port->type.dtype, data, q * row, tensor, sample * row, row);
    }
  }
}

void port_set(Job *job, int entry, const char *name, double value) {
  Type type;
  void *data = program_input(job->program, entry, name, &type);
  if (data)
    dtype_store(type.dtype, data, 0, value);
}

int64_t job_vocabulary(const Job *job) {
  return (int64_t)job_number(job, "text.vocab", job_number(job, "vocab", 0));
}

/* "[1,17]" of element `index` */
static void place_text(const Type *type, int64_t index, char *out, size_t room) {
  int64_t at[MAX_RANK];
  for (int i = type->rank - 1; i >= 0; i--) {
    at[i] = index % type->dim[i];
    index /= type->dim[i];
  }
  size_t used = (size_t)snprintf(out, room, "[");
  for (int i = 0; i < type->rank && used < room; i++)
    used += (size_t)snprintf(out + used, room - used, "%s%lld", i ? "," : "", (long long)at[i]);
  if (used < room)
    snprintf(out + used, room - used, "]");
}

static bool ends_with(const char *text, const char *end) {
  size_t length = strlen(text), wanted = strlen(end);
  return length >= wanted && strcmp(text + length - wanted, end) == 0;
}

/* What the values are goes in front of "0 to N". */
static int64_t limit_of(const Job *job, const char *name, const char **what) {
  *what = "";
  if (ends_with(name, "mask"))
    return 2;
  if (ends_with(name, "segment_ids")) /* compared only */
    return 0;
  if (ends_with(name, "position_ids")) {
    *what = "a place in the table of positions, 0 to ";
    return (int64_t)job_number(job, "text.positions", job_number(job, "positions", 0));
  }
  if (ends_with(name, "text_starts")) {
    *what = "a place in the rows of tokens, 0 to ";
    return (int64_t)(job_number(job, "text.rows", job_number(job, "rows", 0)) *
                     job_number(job, "text.length", job_number(job, "length", 0)));
  }
  *what = "an id of the vocabulary, 0 to ";
  return ends_with(name, "ids") ? job_vocabulary(job) : 0;
}

int64_t port_limit(const Job *job, const char *name) {
  const char *what;
  return limit_of(job, name, &what);
}

bool port_check_ids(const Job *job, const char *name, const Type *type, const void *data,
                    const char *where, Error *error) {
  const char *what;
  int64_t limit = limit_of(job, name, &what);
  if (limit <= 0 || dtype_is_float(type->dtype))
    return true;
  int64_t count = type_elements(type);
  for (int64_t i = 0; i < count; i++) {
    double value = dtype_load(type->dtype, data, i);
    if (value >= 0 && value < (double)limit)
      continue;
    char place[128];
    place_text(type, i, place, sizeof place);
    return error_set(error, "%s: error: %s%s is %.0f, it must be %s%lld", where, name, place, value,
                     *what ? what : "0 or ", (long long)limit - 1);
  }
  return true;
}

bool ports_check_ids(const Job *job, int entry, const TensorFile *file, const char *path,
                     Error *error) {
  const PlanEntry *e = &job->plan->entries[entry];
  for (int i = 0; i < e->n_inputs; i++) {
    const Tensor *tensor = tensor_file_find(file, e->inputs[i].name);
    if (tensor && !dtype_is_float(e->inputs[i].type.dtype) &&
        !port_check_ids(job, tensor->name, &tensor->type, tensor->data, path, error))
      return false;
  }
  return true;
}
