/* Located diagnostics for the compiler's input.
 *
 * A Loc names a place in a registered source text. Messages are collected in order and printed as
 *   file:line:col: error: message
 *   <the source line>
 *       ^
 * Lines and columns count from 1; columns count bytes of the UTF-8 source line plus one.
 */
#ifndef TRICOT_BASE_DIAG_H
#define TRICOT_BASE_DIAG_H
#include "arena.h"
#include <stdbool.h>
#include <stdio.h>

typedef struct Source {
  const char *path; /* as the user wrote it */
  const char *text; /* NUL-terminated; kept alive by the owner of the Diag's arena */
  size_t size;
} Source;

typedef struct Loc {
  const Source *source; /* NULL: no place known */
  int line, column;     /* from 1; 0: unknown */
} Loc;

typedef struct Diag {
  Arena *arena;
  int errors;
  VEC(char *) messages; /* rendered, newline-terminated, with caret lines */
} Diag;

void diag_init(Diag *diag, Arena *arena);
const Source *diag_source(Diag *diag, const char *path, const char *text, size_t size);
/* Records an error; always returns false. */
bool diag_error(Diag *diag, Loc loc, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Adds a note (second place of the same problem: "the other shape is made here"). */
void diag_note(Diag *diag, Loc loc, const char *format, ...) __attribute__((format(printf, 3, 4)));
void diag_print(const Diag *diag, FILE *out);
/* The candidate nearest to `word` by edit distance, or NULL when none is close. */
const char *diag_nearest(const char *word, const char *const *candidates, int count);
#endif
