/* Errors as values, faults as aborts. See fault.h. */
#include "fault.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void (*fault_hook)(const char *message);

bool error_set(Error *error, const char *format, ...) {
  if (error) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
  }
  return false;
}

void fault(const char *file, int line, const char *format, ...) {
  char message[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  fprintf(stderr, "tricot: internal fault at %s:%d: %s\n", file, line, message);
  if (fault_hook)
    fault_hook(message);
  abort();
}
