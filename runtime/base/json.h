/* JSON: a strict reader (UTF-8, no duplicate keys, bounded depth) and a writer's string escape. */
#ifndef TRICOT_BASE_JSON_H
#define TRICOT_BASE_JSON_H
#include "arena.h"
#include "fault.h"
#include "text.h"
#include <stdint.h>

typedef enum { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_LIST, JSON_OBJECT } JsonKind;

typedef struct Json Json;
struct Json {
  JsonKind kind;
  bool boolean;
  double number;
  int64_t integer; /* exact when is_integer */
  bool is_integer; /* the text had no '.', 'e' and fits */
  const char *string;
  int count;    /* of a list or object */
  Json *items;  /* count values */
  char **keys;  /* count keys, for an object */
};

/* Parses one value that fills the text (whitespace around it allowed). Error text: "offset N:
 * …". */
bool json_parse(Arena *arena, const char *text, size_t size, Json *value, Error *error);
const Json *json_get(const Json *object, const char *key); /* NULL when absent or not an object */
void json_add_string(Text *text, const char *string);      /* with quotes and escapes */
#endif
