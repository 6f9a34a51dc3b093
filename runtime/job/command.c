/* Helpers of the commands. See command.h. */
#include "runtime/job/command.h"
#include "runtime/base/file.h"
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

int command_usage(const char *verb, const char *format, ...) {
  va_list arguments;
  fflush(stdout);
  fprintf(stderr, "tricot %s: error: ", verb);
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fprintf(stderr, "\ntricot %s --help shows the options\n", verb);
  return EXIT_USAGE;
}

int command_failed(const Error *error) {
  fflush(stdout);
  fprintf(stderr, "%s\n", error->text);
  return EXIT_INPUT;
}

bool command_output(const char *path, const Text *text, Error *error) {
  Writing writing;
  if (path) {
    if (!writing_open(&writing, path, error))
      return false;
    if (text->size)
      fwrite(text->at, 1, text->size, writing.stream);
    return writing_commit(&writing, error);
  }
  if (text->size)
    fwrite(text->at, 1, text->size, stdout);
  if (fflush(stdout) != 0 || ferror(stdout))
    return error_set(error, "stdout: error: cannot be written: %s", strerror(errno));
  return true;
}

/* strtoll skips spaces and takes a plus sign; an option's value has neither. */
static bool whole_until(const char **text, int64_t *value) {
  char *end;
  if (!(**text == '-' || (**text >= '0' && **text <= '9')))
    return false;
  errno = 0;
  *value = strtoll(*text, &end, 10);
  bool good = errno == 0 && end != *text;
  *text = end;
  return good;
}

bool parse_whole(const char *text, int64_t low, int64_t high, int64_t *value) {
  return whole_until(&text, value) && *text == 0 && *value >= low && *value <= high;
}

bool parse_size(const char *text, int64_t size[3]) {
  for (int i = 0; i < 3; i++) {
    if (!whole_until(&text, &size[i]) || size[i] < 1 || size[i] > 1 << 20)
      return false;
    if (*text++ != (i < 2 ? 'x' : 0))
      return false;
  }
  return true;
}

bool parse_range(const char *text, double range[2]) {
  for (int i = 0; i < 2; i++) {
    char *end;
    range[i] = strtod(text, &end);
    if (end == text || !isfinite(range[i]) || *end != (i == 0 ? ':' : 0))
      return false;
    text = end + 1;
  }
  return true;
}

bool parse_list(const char *text, int64_t *values, int room, int *count) {
  for (*count = 0; *count < room; text++) {
    if (!whole_until(&text, &values[*count]))
      return false;
    ++*count;
    if (*text != ',')
      return *text == 0;
  }
  return false;
}
