/* A one-pass CSV reader over a mapped file. See csv.h. */
#include "runtime/data/csv.h"
#include "runtime/base/text.h"
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

typedef VEC(const char *) Cells;

typedef struct Reader {
  Arena *arena;
  const char *path, *at, *end;
  int line;
  Error *error;
} Reader;

static bool fail(const Reader *r, int line, const char *what) {
  return error_set(r->error, "%s:%d: error: %s", r->path, line, what);
}

/* Reads the text after an opening quote up to the closing one. */
static bool quoted(Reader *r, const char **cell) {
  int start_line = r->line;
  const char *scan = r->at;
  while (scan < r->end && !(*scan == '"' && (scan + 1 == r->end || scan[1] != '"')))
    scan += *scan == '"' ? 2 : 1;
  if (scan >= r->end)
    return fail(r, start_line, "the quoted cell that starts here does not end");
  char *out = arena_alloc(r->arena, (size_t)(scan - r->at) + 1);
  *cell = out;
  for (; r->at < scan; r->at++) {
    r->line += *r->at == '\n';
    *out++ = *r->at;
    if (*r->at == '"')
      r->at++; /* the second of a doubled quote */
  }
  r->at = scan + 1;
  if (r->at < r->end && *r->at != ',' && *r->at != '\n' && *r->at != '\r')
    return fail(r, r->line, "text follows a closing quote");
  return true;
}

static bool bare(Reader *r, const char **cell) {
  const char *start = r->at;
  while (r->at < r->end && *r->at != ',' && *r->at != '\n' && *r->at != '\r') {
    if (*r->at == '"')
      return fail(r, r->line, "a quote inside an unquoted cell");
    r->at++;
  }
  *cell = arena_strndup(r->arena, start, (size_t)(r->at - start));
  return true;
}

static bool line_end(Reader *r) {
  if (r->at < r->end && *r->at == '\r' && r->at + 1 < r->end && r->at[1] == '\n')
    r->at++;
  if (r->at < r->end && *r->at != '\n')
    return fail(r, r->line, "a carriage return inside a line");
  r->line += r->at < r->end;
  r->at += r->at < r->end;
  return true;
}

/* Appends the cells of one record; none for a blank line. */
static bool record(Reader *r, Cells *cells, int *count) {
  *count = 0;
  if (*r->at == '\n' || (*r->at == '\r' && r->at + 1 < r->end && r->at[1] == '\n'))
    return line_end(r);
  for (;;) {
    const char *cell = NULL;
    if (cells->count > INT_MAX / 4)
      return fail(r, r->line, "the table is too large");
    bool has_quote = r->at < r->end && *r->at == '"';
    r->at += has_quote;
    if (!(has_quote ? quoted(r, &cell) : bare(r, &cell)))
      return false;
    vec_push(r->arena, cells, cell);
    ++*count;
    if (r->at >= r->end || *r->at != ',')
      return line_end(r);
    r->at++;
  }
}

static bool read_rows(Csv *csv, Reader *r) {
  Cells header = {0}, cells = {0};
  VEC(int) lines = {0};
  while (r->at < r->end) {
    int line = r->line, count;
    Cells *into = csv->columns ? &cells : &header;
    if (!record(r, into, &count))
      return false;
    if (!count)
      continue;
    if (!csv->columns) {
      csv->columns = count;
      continue;
    }
    if (count != csv->columns)
      return error_set(r->error, "%s:%d: error: %d cells, the header has %d", r->path, line, count,
                       csv->columns);
    vec_push(r->arena, &lines, line);
    csv->rows++;
  }
  if (!csv->columns)
    return fail(r, 1, "there is no header row");
  csv->header = header.at;
  csv->cells = cells.at;
  csv->lines = lines.at;
  return true;
}

/* Cells go into messages and manifests, so the whole file must be UTF-8 text. */
static bool check_text(const char *path, const Mapping *mapping, Error *error) {
  int line = 1;
  for (size_t at = 0; at < mapping->size;) {
    utf8proc_int32_t c;
    utf8proc_ssize_t step =
        utf8proc_iterate(mapping->bytes + at, (utf8proc_ssize_t)(mapping->size - at), &c);
    if (step <= 0 || c == 0)
      return error_set(error, "%s:%d: error: byte %zu is %s", path, line, at,
                       step <= 0 ? "not UTF-8" : "NUL: not a text file");
    line += c == '\n';
    at += (size_t)step;
  }
  return true;
}

bool csv_read(Csv *csv, const char *path, Error *error) {
  Mapping mapping;
  *csv = (Csv){0};
  if (!file_map(path, &mapping, error))
    return false;
  csv->arena = arena_new();
  csv->path = arena_strdup(csv->arena, path);
  const char *bytes = mapping.size ? (const char *)mapping.bytes : "";
  Reader r = {csv->arena, csv->path, bytes, bytes + mapping.size, 1, error};
  if (mapping.size >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0)
    r.at += 3;
  bool good = check_text(path, &mapping, error) && read_rows(csv, &r);
  file_unmap(&mapping);
  if (!good)
    csv_free(csv);
  return good;
}

void csv_free(Csv *csv) {
  if (csv->arena)
    arena_free(csv->arena);
  *csv = (Csv){0};
}

int csv_column(const Csv *csv, const char *name) {
  for (int i = 0; i < csv->columns; i++)
    if (strcmp(csv->header[i], name) == 0)
      return i;
  return -1;
}

int csv_need_column(const Csv *csv, const char *name, Error *error) {
  int column = csv_column(csv, name);
  if (column >= 0)
    return column;
  Text present = {0};
  for (int i = 0; i < csv->columns; i++)
    text_add(&present, "%s%s", i ? ", " : "", csv->header[i]);
  error_set(error, "%s:1: error: there is no column \"%s\" (columns: %.600s)", csv->path, name,
            present.at);
  text_free(&present);
  return -1;
}

const char *csv_cell(const Csv *csv, int row, int column) {
  CHECK(row >= 0 && row < csv->rows && column >= 0 && column < csv->columns);
  return csv->cells[(size_t)row * (size_t)csv->columns + (size_t)column];
}

bool csv_number(const Csv *csv, int row, int column, double *value, Error *error) {
  const char *cell = csv_cell(csv, row, column);
  char *end;
  *value = strtod(cell, &end);
  while (*end == ' ' || *end == '\t')
    end++;
  if (end == cell || *end || !isfinite(*value))
    return error_set(error, "%s:%d: error: %s: \"%.80s\" is not a number", csv->path,
                     csv->lines[row], csv->header[column], cell);
  return true;
}

int csv_find(const Csv *csv, int column, const char *text) {
  for (int row = 0; row < csv->rows; row++)
    if (strcmp(csv_cell(csv, row, column), text) == 0)
      return row;
  return -1;
}
