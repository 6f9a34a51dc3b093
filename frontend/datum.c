/* Values of the expression language. See parts.h. */
#include "frontend/parts.h"
#include "runtime/base/json.h"
#include <stdint.h>
#include <string.h>

const char *datum_kind_name(DatumKind kind) {
  static const char *const names[] = {
      [DATUM_NONE] = "none",          [DATUM_BOOL] = "true or false",
      [DATUM_INT] = "an integer",     [DATUM_REAL] = "a real number",
      [DATUM_TEXT] = "text",          [DATUM_LIST] = "a list",
      [DATUM_RECORD] = "a record",    [DATUM_INIT] = "initial values",
      [DATUM_TENSOR] = "a tensor",    [DATUM_MODEL] = "a model"};
  return names[kind];
}

Datum datum_int(int64_t value) { return (Datum){.kind = DATUM_INT, .integer = value}; }
Datum datum_real(double value) { return (Datum){.kind = DATUM_REAL, .real = value}; }
Datum datum_bool(bool value) { return (Datum){.kind = DATUM_BOOL, .integer = value}; }
Datum datum_of_text(const char *text) { return (Datum){.kind = DATUM_TEXT, .text = text}; }

bool datum_number(const Datum *datum, double *value) {
  if (datum->kind == DATUM_INT)
    *value = (double)datum->integer;
  else if (datum->kind == DATUM_REAL)
    *value = datum->real;
  else
    return false;
  return true;
}

const Datum *datum_member(const Datum *record, const char *key) {
  for (int i = 0; i < record->count; i++)
    if (strcmp(record->keys[i], key) == 0)
      return &record->items[i];
  return NULL;
}

static void add_text(Text *text, const Datum *datum, size_t limit) {
  switch (datum->kind) {
  case DATUM_INT:
    text_add(text, "%lld", (long long)datum->integer);
    return;
  case DATUM_REAL:
    text_add_float(text, datum->real, 0);
    return;
  case DATUM_BOOL:
    text_add(text, "%s", datum->integer ? "true" : "false");
    return;
  case DATUM_TEXT:
    json_add_string(text, datum->text);
    return;
  case DATUM_LIST:
  case DATUM_RECORD:
    text_add(text, "%s", datum->kind == DATUM_LIST ? "[" : "{");
    for (int i = 0; i < datum->count; i++) {
      text_add(text, "%s", i ? ", " : "");
      if (datum->kind == DATUM_RECORD)
        text_add(text, "%s: ", datum->keys[i]);
      if (text->size > limit) {
        text_add(text, "…");
        break;
      }
      add_text(text, &datum->items[i], limit);
    }
    text_add(text, "%s", datum->kind == DATUM_LIST ? "]" : "}");
    return;
  case DATUM_TENSOR:
    text_add(text, "%s",
             type_text(datum->tensor->value ? &datum->tensor->value->type
                                            : &datum->tensor->declared->type));
    return;
  case DATUM_NONE:
  case DATUM_INIT:
  case DATUM_MODEL:
    text_add(text, "%s", datum_kind_name(datum->kind));
    return;
  }
}

static const char *limited_text(Arena *arena, const Datum *datum, size_t limit) {
  Text text = {0};
  add_text(&text, datum, limit);
  const char *copy = arena_strndup(arena, text.at ? text.at : "", text.size);
  text_free(&text);
  return copy;
}

const char *datum_text(Arena *arena, const Datum *datum) {
  return limited_text(arena, datum, 4096);
}

const char *datum_whole_text(Arena *arena, const Datum *datum) {
  return limited_text(arena, datum, SIZE_MAX);
}

bool datum_equal(const Datum *a, const Datum *b) {
  double x, y;
  if (datum_number(a, &x) && datum_number(b, &y))
    return x == y;
  if (a->kind != b->kind)
    return false;
  if (a->kind == DATUM_TEXT)
    return strcmp(a->text, b->text) == 0;
  if (a->kind == DATUM_BOOL)
    return a->integer == b->integer;
  if (a->kind == DATUM_LIST) {
    if (a->count != b->count)
      return false;
    for (int i = 0; i < a->count; i++)
      if (!datum_equal(&a->items[i], &b->items[i]))
        return false;
    return true;
  }
  return a->kind == DATUM_NONE || (a->kind == DATUM_TENSOR && a->tensor == b->tensor) ||
         (a->kind == DATUM_MODEL && a->model == b->model);
}
