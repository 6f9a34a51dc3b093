/* Rendering of located messages and the "did you mean" search. See diag.h. */
#include "diag.h"
#include <string.h>

void diag_init(Diag *diag, Arena *arena) { *diag = (Diag){.arena = arena}; }

const Source *diag_source(Diag *diag, const char *path, const char *text, size_t size) {
  Source *source = ARENA_NEW(diag->arena, Source);
  *source = (Source){arena_strdup(diag->arena, path), text, size};
  return source;
}

/* The line's text, or NULL when the source has no such line. */
static const char *source_line(const Source *source, int line, int *length) {
  const char *at = source->text, *end = source->text + source->size;
  for (int i = 1; i < line; i++) {
    at = memchr(at, '\n', (size_t)(end - at));
    if (!at)
      return NULL;
    at++;
  }
  const char *stop = memchr(at, '\n', (size_t)(end - at));
  *length = (int)((stop ? stop : end) - at);
  return at;
}

static void add(Diag *diag, Loc loc, const char *kind, const char *format, va_list arguments) {
  Arena *arena = diag->arena;
  const char *message = arena_vprintf(arena, format, arguments);
  char *text;
  int length = 0;
  const char *line = NULL;
  if (!loc.source) {
    text = arena_printf(arena, "%s: %s\n", kind, message);
  } else if (loc.line < 1) {
    text = arena_printf(arena, "%s: %s: %s\n", loc.source->path, kind, message);
  } else {
    text = arena_printf(arena, "%s:%d:%d: %s: %s\n", loc.source->path, loc.line, loc.column, kind,
                        message);
    line = loc.source->text ? source_line(loc.source, loc.line, &length) : NULL;
  }
  if (line && length < 400) {
    int pad = loc.column - 1 < length ? loc.column - 1 : length;
    char *blank = arena_strndup(arena, line, (size_t)(pad > 0 ? pad : 0));
    for (char *c = blank; *c; c++)
      if (*c != '\t')
        *c = (*c & 0xC0) == 0x80 ? '\b' : ' ';
    /* continuation bytes take no column of their own */
    char *out = blank;
    for (char *c = blank; *c; c++)
      if (*c != '\b')
        *out++ = *c;
    *out = 0;
    text = arena_printf(arena, "%s%.*s\n%s^\n", text, length, line, blank);
  }
  vec_push(arena, &diag->messages, text);
}

bool diag_error(Diag *diag, Loc loc, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  add(diag, loc, "error", format, arguments);
  va_end(arguments);
  diag->errors++;
  return false;
}

void diag_note(Diag *diag, Loc loc, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  add(diag, loc, "note", format, arguments);
  va_end(arguments);
}

void diag_print(const Diag *diag, FILE *out) {
  for (int i = 0; i < diag->messages.count; i++)
    fputs(diag->messages.at[i], out);
}

/* Levenshtein distance, words beyond 63 bytes count as far. */
static int distance(const char *a, const char *b) {
  int n = (int)strlen(a), m = (int)strlen(b), row[64];
  if (n > 63 || m > 63)
    return 64;
  for (int j = 0; j <= m; j++)
    row[j] = j;
  for (int i = 1; i <= n; i++) {
    int diagonal = row[0];
    row[0] = i;
    for (int j = 1; j <= m; j++) {
      int best = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      if (row[j] + 1 < best)
        best = row[j] + 1;
      if (row[j - 1] + 1 < best)
        best = row[j - 1] + 1;
      row[j] = best;
    }
  }
  return row[m];
}

const char *diag_nearest(const char *word, const char *const *candidates, int count) {
  const char *nearest = NULL;
  int limit = (int)strlen(word) / 3 + 1, best = limit + 1;
  for (int i = 0; i < count; i++) {
    int d = distance(word, candidates[i]);
    if (d < best) {
      best = d;
      nearest = candidates[i];
    }
  }
  return nearest;
}
