/* Texts of a corpus, one after the other: lines of a plain file, the key "text" of JSON lines, or
 * columns of a CSV table.
 */
#ifndef TRICOT_RUNTIME_DATA_CORPUS_H
#define TRICOT_RUNTIME_DATA_CORPUS_H
#include "runtime/base/fault.h"
#include <stddef.h>

/* Takes one text; the error's text need not say where, the reader does ("path:line: error: ...").
 */
typedef bool CorpusText(void *user, const char *text, size_t size, Error *error);

/* One text a line. A blank line is an empty text, but nothing among JSON lines. */
bool corpus_lines(const char *path, bool json, CorpusText *take, void *user, Error *error);
/* The named columns of every row, each a text. Without any: reports as training sees them, from
 * Findings_EN and Impressions_EN, else the first of report_text, report and text there is. */
bool corpus_csv(const char *path, const char *const *columns, int n_columns, CorpusText *take,
                void *user, Error *error);
/* By the file's name: .csv, .jsonl, anything else is plain. */
bool corpus_read(const char *path, const char *const *columns, int n_columns, CorpusText *take,
                 void *user, Error *error);
#endif
