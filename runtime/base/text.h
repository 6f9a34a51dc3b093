/* Growing text, for printers and messages. */
#ifndef TRICOT_BASE_TEXT_H
#define TRICOT_BASE_TEXT_H
#include <stddef.h>

typedef struct Text {
  char *at; /* NUL-terminated once anything was added; heap, free with text_free */
  size_t size, room;
} Text;

void text_add(Text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_add_bytes(Text *text, const char *bytes, size_t size);
void text_free(Text *text);
/* Shortest decimal that reads back as the same float (or double), always with a '.', 'e', "inf" or
 * "nan" in it, so that it is never mistaken for an integer. */
void text_add_float(Text *text, double value, int is_single);
#endif
