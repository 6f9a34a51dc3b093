/* A strict recursive JSON reader over one buffer. See json.h. */
#include "json.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 64 };

typedef struct Reader {
  Arena *arena;
  const char *text;
  size_t size, at;
  Error *error;
} Reader;

static bool fail(Reader *r, const char *what) {
  return error_set(r->error, "offset %zu: %s", r->at, what);
}

static void skip_space(Reader *r) {
  while (r->at < r->size && strchr(" \t\r\n", r->text[r->at]) && r->text[r->at])
    r->at++;
}

static bool take(Reader *r, char c) {
  skip_space(r);
  if (r->at < r->size && r->text[r->at] == c)
    return r->at++, true;
  return false;
}

static bool literal(Reader *r, const char *word) {
  size_t n = strlen(word);
  if (r->size - r->at < n || memcmp(r->text + r->at, word, n) != 0)
    return fail(r, "unknown literal");
  r->at += n;
  return true;
}

static int hex4(Reader *r) {
  int value = 0;
  if (r->size - r->at < 4)
    return -1;
  for (int i = 0; i < 4; i++) {
    char c = r->text[r->at++];
    int digit = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
    if (digit < 0)
      return -1;
    value = value * 16 + digit;
  }
  return value;
}

static char *put_utf8(char *out, unsigned code) {
  if (code < 0x80) {
    *out++ = (char)code;
  } else if (code < 0x800) {
    *out++ = (char)(0xC0 | code >> 6);
    *out++ = (char)(0x80 | (code & 63));
  } else if (code < 0x10000) {
    *out++ = (char)(0xE0 | code >> 12);
    *out++ = (char)(0x80 | (code >> 6 & 63));
    *out++ = (char)(0x80 | (code & 63));
  } else {
    *out++ = (char)(0xF0 | code >> 18);
    *out++ = (char)(0x80 | (code >> 12 & 63));
    *out++ = (char)(0x80 | (code >> 6 & 63));
    *out++ = (char)(0x80 | (code & 63));
  }
  return out;
}

/* Length of the well-formed UTF-8 sequence at the reader's place, 0 when it is not one. */
static int utf8_length(const Reader *r) {
  const unsigned char *s = (const unsigned char *)r->text + r->at;
  size_t left = r->size - r->at;
  int n = s[0] < 0x80                   ? 1
          : s[0] >= 0xC2 && s[0] < 0xE0 ? 2
          : s[0] >= 0xE0 && s[0] < 0xF0 ? 3
          : s[0] >= 0xF0 && s[0] < 0xF5 ? 4
                                        : 0;
  if (!n || (size_t)n > left)
    return 0;
  for (int i = 1; i < n; i++)
    if ((s[i] & 0xC0) != 0x80)
      return 0;
  if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) ||
      (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))
    return 0;
  return n;
}

static bool escape(Reader *r, char **out) {
  char c = r->at < r->size ? r->text[r->at++] : 0;
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  const char *simple = c ? strchr(from, c) : NULL;
  if (simple) {
    *(*out)++ = to[simple - from];
    return true;
  }
  if (c != 'u')
    return fail(r, "unknown escape");
  int code = hex4(r);
  if (code >= 0xD800 && code < 0xDC00) {
    if (!literal(r, "\\u"))
      return fail(r, "lone surrogate");
    int low = hex4(r);
    if (low < 0xDC00 || low > 0xDFFF)
      return fail(r, "lone surrogate");
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  } else if (code >= 0xDC00 && code < 0xE000) {
    return fail(r, "lone surrogate");
  }
  if (code <= 0)
    return fail(r, code ? "bad \\u escape" : "NUL in a string");
  *out = put_utf8(*out, (unsigned)code);
  return true;
}

static bool string(Reader *r, const char **result) {
  if (!take(r, '"'))
    return fail(r, "a string was expected");
  size_t end = r->at; /* escapes only shrink, so the raw length bounds the result */
  while (end < r->size && r->text[end] != '"')
    end += r->text[end] == '\\' ? 2 : 1;
  if (end >= r->size)
    return fail(r, "the string does not end");
  char *start = arena_alloc(r->arena, end - r->at + 1), *out = start;
  while (r->text[r->at] != '"') {
    if ((unsigned char)r->text[r->at] < 0x20)
      return fail(r, "control character in a string");
    if (r->text[r->at] == '\\') {
      r->at++;
      if (!escape(r, &out))
        return false;
      continue;
    }
    int n = utf8_length(r);
    if (!n)
      return fail(r, "not UTF-8");
    memcpy(out, r->text + r->at, (size_t)n);
    out += n;
    r->at += (size_t)n;
  }
  r->at++;
  *out = 0;
  *result = start;
  return true;
}

static bool number(Reader *r, Json *value) {
  size_t start = r->at, at = start;
  const char *t = r->text;
#define DIGITS() while (at < r->size && t[at] >= '0' && t[at] <= '9') at++
  if (at < r->size && t[at] == '-')
    at++;
  size_t first = at;
  DIGITS();
  if (at == first || (t[first] == '0' && at > first + 1))
    return fail(r, "a value was expected");
  bool whole = true;
  if (at < r->size && t[at] == '.') {
    size_t dot = ++at;
    DIGITS();
    if (at == dot)
      return fail(r, "digits were expected");
    whole = false;
  }
  if (at < r->size && (t[at] == 'e' || t[at] == 'E')) {
    at++;
    if (at < r->size && (t[at] == '+' || t[at] == '-'))
      at++;
    size_t digits = at;
    DIGITS();
    if (at == digits)
      return fail(r, "digits were expected");
    whole = false;
  }
#undef DIGITS
  char *spelled = arena_strndup(r->arena, t + start, at - start);
  r->at = at;
  value->kind = JSON_NUMBER;
  value->number = strtod(spelled, NULL);
  if (whole && fabs(value->number) < 0x1p63) {
    value->integer = strtoll(spelled, NULL, 10);
    value->is_integer = true;
  }
  return true;
}

static bool any(Reader *r, Json *value, int depth);

static bool list(Reader *r, Json *value, int depth) {
  VEC(Json) items = {0};
  value->kind = JSON_LIST;
  if (!take(r, ']')) {
    do {
      Json item;
      if (!any(r, &item, depth + 1))
        return false;
      vec_push(r->arena, &items, item);
    } while (take(r, ','));
    if (!take(r, ']'))
      return fail(r, "',' or ']' was expected");
  }
  value->items = items.at;
  value->count = items.count;
  return true;
}

static int compare_keys(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool object(Reader *r, Json *value, int depth) {
  VEC(Json) items = {0};
  VEC(char *) keys = {0};
  value->kind = JSON_OBJECT;
  if (!take(r, '}')) {
    do {
      const char *key;
      Json item;
      skip_space(r);
      if (!string(r, &key))
        return false;
      if (!take(r, ':'))
        return fail(r, "':' was expected");
      if (!any(r, &item, depth + 1))
        return false;
      vec_push(r->arena, &keys, (char *)key);
      vec_push(r->arena, &items, item);
    } while (take(r, ','));
    if (!take(r, '}'))
      return fail(r, "',' or '}' was expected");
  }
  value->items = items.at;
  value->keys = keys.at;
  value->count = items.count;
  if (keys.count < 2)
    return true;
  char **sorted = arena_copy(r->arena, keys.at, sizeof(char *) * (size_t)keys.count);
  qsort(sorted, (size_t)keys.count, sizeof(char *), compare_keys);
  for (int i = 1; i < keys.count; i++)
    if (strcmp(sorted[i - 1], sorted[i]) == 0)
      return error_set(r->error, "offset %zu: key \"%s\" twice in an object", r->at, sorted[i]);
  return true;
}

static bool any(Reader *r, Json *value, int depth) {
  *value = (Json){0};
  skip_space(r);
  if (depth > MAX_DEPTH)
    return fail(r, "nested too deeply");
  if (r->at >= r->size)
    return fail(r, "the text ends where a value was expected");
  switch (r->text[r->at]) {
  case '{': r->at++; return object(r, value, depth);
  case '[': r->at++; return list(r, value, depth);
  case '"': value->kind = JSON_STRING; return string(r, &value->string);
  case 't': value->kind = JSON_BOOL; value->boolean = true; return literal(r, "true");
  case 'f': value->kind = JSON_BOOL; return literal(r, "false");
  case 'n': return literal(r, "null");
  default: return number(r, value);
  }
}

bool json_parse(Arena *arena, const char *text, size_t size, Json *value, Error *error) {
  Reader r = {arena, text, size, 0, error};
  if (!any(&r, value, 0))
    return false;
  skip_space(&r);
  return r.at == size || fail(&r, "something follows the value");
}

const Json *json_get(const Json *object_, const char *key) {
  if (!object_ || object_->kind != JSON_OBJECT)
    return NULL;
  for (int i = 0; i < object_->count; i++)
    if (strcmp(object_->keys[i], key) == 0)
      return &object_->items[i];
  return NULL;
}

void json_add_string(Text *text, const char *s) {
  text_add_bytes(text, "\"", 1);
  for (; *s; s++) {
    if (*s == '"' || *s == '\\')
      text_add(text, "\\%c", *s);
    else if (*s == '\n')
      text_add_bytes(text, "\\n", 2);
    else if ((unsigned char)*s < 0x20)
      text_add(text, "\\u%04x", (unsigned)*s);
    else
      text_add_bytes(text, s, 1);
  }
  text_add_bytes(text, "\"", 1);
}
