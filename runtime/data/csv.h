/* Comma-separated values as in RFC 4180: a header row, then rows with as many cells.
 *
 * Cells may be quoted, with doubled quotes and line ends inside; lines end in LF or CRLF; a UTF-8
 * byte order mark at the start and blank lines are skipped. The text must be UTF-8. Errors read
 * "path:line: error: ...".
 */
#ifndef TRICOT_RUNTIME_DATA_CSV_H
#define TRICOT_RUNTIME_DATA_CSV_H
#include "runtime/base/file.h"

typedef struct Csv {
  Arena *arena; /* owns everything below */
  const char *path;
  int columns, rows;
  const char **header; /* [columns] */
  const char **cells;  /* [rows][columns] */
  int *lines;          /* [rows]: where each row starts, from 1 */
} Csv;

bool csv_read(Csv *csv, const char *path, Error *error);
void csv_free(Csv *csv);
int csv_column(const Csv *csv, const char *name); /* -1 when absent */
/* The column's index, or -1 and an error that names the column and lists the present ones. */
int csv_need_column(const Csv *csv, const char *name, Error *error);
const char *csv_cell(const Csv *csv, int row, int column);
/* The cell as a finite number. */
bool csv_number(const Csv *csv, int row, int column, double *value, Error *error);
/* The first row whose cell in `column` equals `text`, -1 when there is none. Linear. */
int csv_find(const Csv *csv, int column, const char *text);
#endif
