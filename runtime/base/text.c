/* Growing text. See text.h. */
#include "text.h"
#include "arena.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void reserve(Text *text, size_t more) {
  if (text->size + more + 1 <= text->room)
    return;
  text->room = (text->size + more + 1) * 2;
  text->at = mem_resize(text->at, text->room);
}

void text_add_bytes(Text *text, const char *bytes, size_t size) {
  reserve(text, size);
  memcpy(text->at + text->size, bytes, size);
  text->size += size;
  text->at[text->size] = 0;
}

void text_add(Text *text, const char *format, ...) {
  va_list arguments, again;
  va_start(arguments, format);
  va_copy(again, arguments);
  int length = vsnprintf(NULL, 0, format, again);
  va_end(again);
  reserve(text, (size_t)length);
  vsnprintf(text->at + text->size, (size_t)length + 1, format, arguments);
  va_end(arguments);
  text->size += (size_t)length;
}

void text_free(Text *text) {
  free(text->at);
  *text = (Text){0};
}

void text_add_float(Text *text, double value, int is_single) {
  char spelled[64];
  if (isnan(value)) {
    text_add(text, "nan");
    return;
  }
  if (isinf(value)) {
    text_add(text, value < 0 ? "-inf" : "inf");
    return;
  }
  for (int digits = 1; digits <= 17; digits++) {
    snprintf(spelled, sizeof spelled, "%.*g", digits, value);
    double back = strtod(spelled, NULL);
    if (is_single ? (float)back == (float)value : back == value)
      break;
  }
  text_add(text, "%s%s", spelled, strpbrk(spelled, ".en") ? "" : ".0");
}
