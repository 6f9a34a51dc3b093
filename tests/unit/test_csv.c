/* CSV: the corners of RFC 4180 and the place named by each error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/data/csv.h"
#include "tests/unit/shared.h"
#include <string.h>

static char path[200];

static int make_path(void **state) {
  (void)state;
  snprintf(path, sizeof path, "%s/t.csv", scratch_make());
  return 0;
}

static int remove_path(void **state) {
  (void)state;
  *strrchr(path, '/') = 0;
  scratch_remove(path);
  return 0;
}

static bool parse_bytes(const char *text, size_t size, Csv *csv, Error *error) {
  FILE *stream = fopen(path, "wb");
  fwrite(text, 1, size, stream);
  fclose(stream);
  return csv_read(csv, path, error);
}

static bool parse(const char *text, Csv *csv, Error *error) {
  return parse_bytes(text, strlen(text), csv, error);
}

static void quoting_and_line_ends(void **state) {
  (void)state;
  Csv csv;
  Error error = {""};
  if (!parse("\xEF\xBB\xBFname,\"a, \"\"b\"\"\",c\r\n"
             "1,\"two\r\nlines\",\r\n"
             "\r\n"
             "2,\"\",\"x\"\n"
             "3,\"\"\"\",\"\n\"",
             &csv, &error))
    fail_msg("%s", error.text);
  assert_int_equal(csv.columns, 3);
  assert_int_equal(csv.rows, 3);
  assert_string_equal(csv.header[0], "name");
  assert_int_equal(csv_column(&csv, "a, \"b\""), 1);
  assert_string_equal(csv_cell(&csv, 0, 1), "two\r\nlines");
  assert_string_equal(csv_cell(&csv, 0, 2), "");
  assert_string_equal(csv_cell(&csv, 1, 2), "x");
  assert_string_equal(csv_cell(&csv, 2, 1), "\"");
  assert_string_equal(csv_cell(&csv, 2, 2), "\n");
  assert_int_equal(csv.lines[0], 2);
  assert_int_equal(csv.lines[1], 5);
  assert_int_equal(csv.lines[2], 6);
  assert_int_equal(csv_find(&csv, 0, "3"), 2);
  assert_int_equal(csv_find(&csv, 0, "4"), -1);
  double value;
  assert_true(csv_number(&csv, 1, 0, &value, &error));
  assert_true(value == 2);
  assert_false(csv_number(&csv, 1, 2, &value, &error));
  assert_non_null(strstr(error.text, "t.csv:5: error: c: \"x\" is not a number"));
  assert_int_equal(csv_need_column(&csv, "missing", &error), -1);
  assert_non_null(strstr(error.text, "t.csv:1: error: there is no column \"missing\""));
  csv_free(&csv);
  assert_true(parse("a,b\n", &csv, &error));
  assert_int_equal(csv.rows, 0);
  csv_free(&csv);
}

static void refusals(void **state) {
  (void)state;
  static const struct {
    const char *text, *message;
  } cases[] = {
      {"", "t.csv:1: error: there is no header row"},
      {"\n\n", "there is no header row"},
      {"a,b\n1\n", "t.csv:2: error: 1 cells, the header has 2"},
      {"a,b\n\"x\ny\",1\n1,2,3\n", "t.csv:4: error: 3 cells"},
      {"a,b\n1,\"x\n\n", "t.csv:2: error: the quoted cell that starts here does not end"},
      {"a,b\n1,\"x\"y\n", "t.csv:2: error: text follows a closing quote"},
      {"a,b\n1,x\"y\"\n", "t.csv:2: error: a quote inside an unquoted cell"},
      {"a,b\r1,2\r", "t.csv:1: error: a carriage return inside a line"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Csv csv;
    Error error = {""};
    assert_false(parse(cases[i].text, &csv, &error));
    if (!strstr(error.text, cases[i].message))
      fail_msg("\"%s\" does not say \"%s\"", error.text, cases[i].message);
  }
  Csv csv;
  Error error = {""};
  assert_false(parse_bytes("a\n\0b", 4, &csv, &error));
  assert_non_null(strstr(error.text, "t.csv:2: error: byte 2 is NUL"));
  assert_false(parse("a\nb\n\xE9t\xE9\n", &csv, &error));
  assert_non_null(strstr(error.text, "t.csv:3: error: byte 4 is not UTF-8"));
}

static void reference_tables(void **state) {
  (void)state;
  shared_needed();
  static const struct {
    const char *name;
    int rows, columns;
  } tables[] = {
      {"data/reports/ctclip_text_classifier_train.csv", 800, 20},
      {"data/reports/ctrate_train_labels_first2000.csv", 2000, 19},
      {"data/reports/ctrate_valid_metadata_rows1-1000.csv", 1000, 0},
  };
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
    Csv csv;
    Error error = {""};
    if (!csv_read(&csv, shared_path(tables[i].name), &error))
      fail_msg("%s", error.text);
    assert_int_equal(csv.rows, tables[i].rows);
    if (tables[i].columns)
      assert_int_equal(csv.columns, tables[i].columns);
    csv_free(&csv);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(quoting_and_line_ends),
      cmocka_unit_test(refusals),
      cmocka_unit_test(reference_tables),
  };
  return cmocka_run_group_tests(tests, make_path, remove_path);
}
