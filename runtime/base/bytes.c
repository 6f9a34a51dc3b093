/* Amounts of memory in text. See bytes.h. */
#include "bytes.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void bytes_text(double bytes, char *out, size_t room) {
  static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
  int unit = 0;
  for (; bytes >= 1024 && unit < 5; unit++)
    bytes /= 1024;
  snprintf(out, room, unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
}

bool bytes_parse(const char *text, int64_t *bytes, Error *error) {
  static const char *const units = "KMGT";
  char *rest;
  double value = strtod(text, &rest);
  bool number = rest != text && *text != '-' && *text != '+' && !strpbrk(text, "xXnNpP");
  rest += strspn(rest, " ");
  const char *unit = *rest ? strchr(units, *rest & ~0x20) : NULL;
  if (unit) {
    value *= pow(1024, (double)(unit - units + 1));
    rest++;
  }
  number &= *rest == 0 || strcasecmp(rest, "B") == 0 || (unit && strcasecmp(rest, "iB") == 0);
  if (!number || !isfinite(value))
    return error_set(error, "\"%.80s\" is no amount of memory such as 400M, 0.4GiB or 1048576",
                     text);
  if (value < 1 || value > 9e18)
    return error_set(error, "\"%.80s\": memory has between 1 byte and 8 EiB", text);
  *bytes = (int64_t)value;
  return true;
}
