/* Fuzzes csv_read and what is asked of a table. */
#include "runtime/data/csv.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  Csv csv;
  Error error = {""};
  if (!csv_read(&csv, file_of(bytes, size), &error)) {
    expect_words(&error);
    return 0;
  }
  CHECK(csv.columns > 0);
  size_t text = 0; /* no cell comes from nowhere */
  for (int column = 0; column < csv.columns; column++)
    text += strlen(csv.header[column]);
  for (int row = 0; row < csv.rows; row++) {
    CHECK(csv.lines[row] >= 1);
    for (int column = 0; column < csv.columns; column++) {
      double value;
      text += strlen(csv_cell(&csv, row, column));
      csv_number(&csv, row, column, &value, &error);
    }
  }
  CHECK(text <= size);
  CHECK(csv_column(&csv, csv.header[0]) == 0);
  csv_need_column(&csv, "VolumeName", &error);
  if (csv.rows)
    CHECK(csv_find(&csv, 0, csv_cell(&csv, 0, 0)) == 0);
  csv_free(&csv);
  return 0;
}
