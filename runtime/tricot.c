/* The C interface of a compiled library. See tricot.h. Linked only into libraries, whose generated
 * part defines tricot_embedded_model. */
#include "runtime/tricot.h"
#include "runtime/embedded.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const Embedded tricot_embedded_model;

/* The whole of an input that the program keeps a part of, for those who fill it in place. */
typedef struct Staged {
  struct Staged *next;
  int entry;
  const char *name;
  void *whole;
  size_t bytes;
} Staged;

struct tricot_model {
  EmbeddedModel embedded;
  Staged *staged;
};

static void tell(const Error *error, char *out, size_t room) {
  if (out && room)
    snprintf(out, room, "%s", error->text);
}

static bool load(tricot_model *model, const char *path, Error *error) {
  const Embedded *e = &tricot_embedded_model;
  TensorFile file;
  if (!path && !e->weights)
    return error_set(error, "there are no weights inside the library, and no file was named");
  if (!(path ? tensor_file_open(&file, path, error)
             : tensor_file_open_bytes(&file, "the weights inside the library", e->weights,
                                      e->weights_size, error)))
    return false;
  program_initialize_state(model->embedded.program, 0);
  bool good = program_load(model->embedded.program, &file, false, error);
  tensor_file_close(&file);
  return good;
}

tricot_model *tricot_open(const char *weights, int threads, char *out, size_t room) {
  return tricot_open_on(NULL, weights, threads, out, room);
}

tricot_model *tricot_open_on(const char *target, const char *weights, int threads, char *out,
                             size_t room) {
  Error error = {"no memory"};
  tricot_model *model = calloc(1, sizeof *model);
  if (model && embedded_open(&model->embedded, &tricot_embedded_model, target, threads, &error) &&
      load(model, weights, &error))
    return model;
  tell(&error, out, room);
  tricot_close(model);
  return NULL;
}

void tricot_close(tricot_model *model) {
  if (model)
    embedded_close(&model->embedded);
  while (model && model->staged) {
    Staged *staged = model->staged;
    model->staged = staged->next;
    free(staged->whole);
    free(staged);
  }
  free(model);
}

const char *tricot_where(const tricot_model *model) { return model->embedded.where; }

static const PlanEntry *find_entry(const tricot_model *model, const char *name, int *index) {
  *index = program_entry(model->embedded.program, name);
  return *index < 0 ? NULL : &model->embedded.plan.entries[*index];
}

const char *tricot_entry_name(const tricot_model *model, int entry) {
  const Plan *plan = &model->embedded.plan;
  return entry >= 0 && entry < plan->n_entries ? plan->entries[entry].name : NULL;
}

const char *tricot_input_name(const tricot_model *model, const char *entry, int input) {
  int index;
  const PlanEntry *e = find_entry(model, entry, &index);
  return e && input >= 0 && input < e->n_inputs ? e->inputs[input].name : NULL;
}

const char *tricot_output_name(const tricot_model *model, const char *entry, int output) {
  int index;
  const PlanEntry *e = find_entry(model, entry, &index);
  return e && output >= 0 && output < e->n_outputs ? e->outputs[output].name : NULL;
}

static Staged *find_staged(const tricot_model *model, int entry, const char *name) {
  Staged *at = model->staged;
  while (at && (at->entry != entry || strcmp(at->name, name) != 0))
    at = at->next;
  return at;
}

static void *stage(tricot_model *model, int entry, const PlanPort *port) {
  Staged *staged = find_staged(model, entry, port->name);
  if (staged)
    return staged->whole;
  staged = calloc(1, sizeof *staged);
  void *whole = calloc(type_bytes(&port->type), 1);
  if (!staged || !whole) {
    free(staged);
    free(whole);
    return NULL;
  }
  *staged = (Staged){model->staged, entry, port->name, whole, type_bytes(&port->type)};
  model->staged = staged;
  return whole;
}

void *tricot_input(tricot_model *model, const char *entry, const char *name) {
  int index;
  const PlanPort *port;
  if (!find_entry(model, entry, &index))
    return NULL;
  void *part = program_part(model->embedded.program, index, name, &port);
  return port && port->gather ? stage(model, index, port) : part;
}

int tricot_fill(tricot_model *model, const char *entry, const char *name, const void *tensor) {
  int index;
  if (!find_entry(model, entry, &index))
    return 0;
  Staged *staged = find_staged(model, index, name);
  if (staged)
    memcpy(staged->whole, tensor, staged->bytes);
  return program_write(model->embedded.program, index, name, tensor);
}

const void *tricot_output(tricot_model *model, const char *entry, const char *name) {
  int index;
  return find_entry(model, entry, &index)
             ? program_output(model->embedded.program, index, name, NULL)
             : NULL;
}

int tricot_tensor_type(tricot_model *model, const char *entry, const char *name,
                       tricot_type *type) {
  int index;
  Type found;
  const PlanPort *input;
  if (!find_entry(model, entry, &index))
    return 0;
  program_part(model->embedded.program, index, name, &input);
  if (input)
    found = input->type;
  else if (!program_output(model->embedded.program, index, name, &found))
    return 0;
  *type = (tricot_type){dtype_name(found.dtype), found.rank, {0}, type_bytes(&found)};
  memcpy(type->dim, found.dim, sizeof type->dim);
  return 1;
}

int tricot_run(tricot_model *model, const char *entry, char *out, size_t room) {
  int index;
  Error error;
  if (!find_entry(model, entry, &index)) {
    error_set(&error, "there is no entry point \"%.100s\"", entry);
    tell(&error, out, room);
    return 0;
  }
  for (const Staged *at = model->staged; at; at = at->next)
    if (at->entry == index)
      program_write(model->embedded.program, index, at->name, at->whole);
  if (program_run(model->embedded.program, index, &error))
    return 1;
  tell(&error, out, room);
  return 0;
}
