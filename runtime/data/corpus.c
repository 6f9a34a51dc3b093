/* Readers of corpora. See corpus.h. */
#include "runtime/data/corpus.h"
#include "runtime/base/file.h"
#include "runtime/base/json.h"
#include "runtime/data/csv.h"
#include "runtime/data/ctrate.h"
#include <string.h>

static bool json_line(const char *line, size_t size, CorpusText *take, void *user, Error *error) {
  Arena *arena = arena_new();
  Json value;
  bool good = json_parse(arena, line, size, &value, error);
  const Json *text = good ? json_get(&value, "text") : NULL;
  if (good && (!text || text->kind != JSON_STRING))
    good = error_set(error, "expected an object with a text at key \"text\"");
  good = good && take(user, text->string, strlen(text->string), error);
  arena_free(arena);
  return good;
}

bool corpus_lines(const char *path, bool json, CorpusText *take, void *user, Error *error) {
  Mapping mapping;
  if (!file_map(path, &mapping, error))
    return false;
  const char *at = (const char *)mapping.bytes, *end = at + mapping.size;
  bool good = true;
  for (int line = 1; at < end && good; line++) {
    const char *line_end = memchr(at, '\n', (size_t)(end - at));
    size_t size = (size_t)((line_end ? line_end : end) - at);
    size_t used = size && at[size - 1] == '\r' ? size - 1 : size;
    Error inner;
    if (!json)
      good = take(user, at, used, &inner);
    else if (used)
      good = json_line(at, used, take, user, &inner);
    if (!good)
      error_set(error, "%s:%d: error: %.900s", path, line, inner.text);
    at += size + (line_end != NULL);
  }
  file_unmap(&mapping);
  return good;
}

/* Columns to read; a pair of CT-RATE's is one text. False when none is known. */
static bool find_columns(const Csv *csv, int columns[2], int *count, Error *error) {
  static const char *const single[] = {"report_text", "report", "text"};
  columns[0] = csv_column(csv, "Findings_EN");
  columns[1] = csv_column(csv, "Impressions_EN");
  *count = 2;
  if (columns[0] >= 0 && columns[1] >= 0)
    return true;
  *count = 1;
  for (size_t i = 0; i < sizeof single / sizeof *single; i++)
    if ((columns[0] = csv_column(csv, single[i])) >= 0)
      return true;
  return error_set(error,
                   "%s: error: has neither Findings_EN and Impressions_EN nor report_text, report "
                   "or text: name the column",
                   csv->path);
}

static bool take_cell(const Csv *csv, int row, const char *text, CorpusText *take, void *user,
                      Error *error) {
  Error inner;
  return take(user, text, strlen(text), &inner) ||
         error_set(error, "%s:%d: error: %.900s", csv->path, csv->lines[row], inner.text);
}

static bool default_columns(const Csv *csv, CorpusText *take, void *user, Error *error) {
  int columns[2], count;
  bool good = find_columns(csv, columns, &count, error);
  for (int row = 0; good && row < csv->rows; row++) {
    Arena *arena = arena_new();
    const char *text = csv_cell(csv, row, columns[0]);
    if (count == 2)
      text = ctrate_report(arena, text, csv_cell(csv, row, columns[1]));
    good = take_cell(csv, row, text, take, user, error);
    arena_free(arena);
  }
  return good;
}

bool corpus_csv(const char *path, const char *const *columns, int n_columns, CorpusText *take,
                void *user, Error *error) {
  Csv csv;
  if (!csv_read(&csv, path, error))
    return false;
  bool good = n_columns || default_columns(&csv, take, user, error);
  for (int c = 0; good && c < n_columns; c++) {
    int column = csv_need_column(&csv, columns[c], error);
    good = column >= 0;
    for (int row = 0; good && row < csv.rows; row++)
      good = take_cell(&csv, row, csv_cell(&csv, row, column), take, user, error);
  }
  csv_free(&csv);
  return good;
}

static bool ends_with(const char *text, const char *end) {
  size_t length = strlen(text), wanted = strlen(end);
  return length >= wanted && strcmp(text + length - wanted, end) == 0;
}

bool corpus_read(const char *path, const char *const *columns, int n_columns, CorpusText *take,
                 void *user, Error *error) {
  if (ends_with(path, ".csv"))
    return corpus_csv(path, columns, n_columns, take, user, error);
  return corpus_lines(path, ends_with(path, ".jsonl"), take, user, error);
}
