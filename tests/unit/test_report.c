/* Pieces of reports: PNG read back with zlib, base64, escapes, charts with gaps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/base/fault.h"
#include "runtime/data/png.h"
#include "runtime/job/report_chart.h"
#include <math.h>
#include <string.h>
#include <zlib.h>

static uint32_t word_at(const unsigned char *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void png(void **state) {
  (void)state;
  enum { W = 5, H = 3 };
  uint8_t pixels[W * H], raw[(W + 1) * H];
  Text out = {0};
  for (int i = 0; i < W * H; i++)
    pixels[i] = (uint8_t)(37 * i);
  png_add_grey(&out, pixels, W, H);
  const unsigned char *at = (const unsigned char *)out.at, *end = at + out.size;
  assert_memory_equal(at, "\x89PNG\r\n\x1a\n", 8);
  int chunks = 0;
  for (at += 8; at < end; chunks++) {
    uint32_t size = word_at(at);
    assert_true(at + size + 12 <= end);
    assert_int_equal(crc32(0, at + 4, size + 4), word_at(at + 8 + size));
    if (memcmp(at + 4, "IHDR", 4) == 0) {
      assert_int_equal(word_at(at + 8), W);
      assert_int_equal(word_at(at + 12), H);
      assert_memory_equal(at + 16, "\x08\0\0\0\0", 5);
    } else if (memcmp(at + 4, "IDAT", 4) == 0) {
      uLongf length = sizeof raw;
      assert_int_equal(uncompress(raw, &length, at + 8, size), Z_OK);
      assert_int_equal(length, sizeof raw);
    } else {
      assert_memory_equal(at + 4, "IEND", 4);
    }
    at += size + 12;
  }
  assert_int_equal(chunks, 3);
  for (int y = 0; y < H; y++) {
    assert_int_equal(raw[y * (W + 1)], 1);
    for (int x = 0, left = 0; x < W; x++) {
      left = (left + raw[y * (W + 1) + 1 + x]) & 255;
      assert_int_equal(left, pixels[y * W + x]);
    }
  }
  text_free(&out);
}

static void base64(void **state) {
  (void)state;
  static const char *const pairs[][2] = {/* RFC 4648, section 10 */
                                         {"f", "Zg=="},         {"fo", "Zm8="},
                                         {"foo", "Zm9v"},       {"foob", "Zm9vYg=="},
                                         {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    Text out = {0};
    base64_add(&out, (const unsigned char *)pairs[i][0], strlen(pairs[i][0]));
    assert_string_equal(out.at, pairs[i][1]);
    text_free(&out);
  }
}

static void escapes(void **state) {
  (void)state;
  Text out = {0};
  html_add(&out, "<b a=\"1\">&'\x01 \xc3\xa9");
  assert_string_equal(out.at, "&lt;b a=&quot;1&quot;&gt;&amp;&#39;  \xc3\xa9");
  text_free(&out);
}

static void charts(void **state) {
  (void)state;
  Text out = {0};
  const double x[] = {0, 1, 2, 3, 4}, y[] = {0, 1, NAN, 1, 0};
  Series series = {.name = "a<b", .style = "a", .x = x, .y = y, .count = 5};
  Chart chart = {.title = "t",
                 .x_label = "x",
                 .y_label = "y",
                 .width = 400,
                 .height = 200,
                 .x1 = 4,
                 .y1 = 1,
                 .series = &series,
                 .n_series = 1};
  chart_lines(&out, &chart);
  assert_non_null(strstr(out.at, "a&lt;b"));
  assert_null(strstr(out.at, "nan"));
  const char *path = strstr(out.at, " d=\"M52.0 ");
  assert_non_null(path);
  int moves = 0;
  for (const char *at = path; *at && *at != '/'; at++)
    moves += *at == 'M';
  assert_int_equal(moves, 2); /* the gap starts a new stroke */
  text_free(&out);
  const Bar bars[] = {{"one", 0.75, 0.5, 1}, {"two", NAN, NAN, NAN}};
  chart_bars(&out, "bars", bars, 2, 0.5);
  assert_non_null(strstr(out.at, "0.750 (0.500 to 1.000)"));
  assert_non_null(strstr(out.at, "undefined"));
  assert_null(strstr(out.at, "nan"));
  text_free(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(png), cmocka_unit_test(base64),
                                     cmocka_unit_test(escapes), cmocka_unit_test(charts)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
