/* The three kinds of failure, and one word for each.
 *
 *   Diag    the user's input to the compiler is wrong: located at file:line:col, collected, printed
 *           with the source line and a caret (diag.h)
 *   Error   the runtime or a device could not do it: a status with a text, carried up by the caller
 *   FAULT   our own invariant is broken: say where and abort; the driver turns that into exit 3
 */
#ifndef TRICOT_BASE_FAULT_H
#define TRICOT_BASE_FAULT_H
#include <stdbool.h>

typedef struct Error {
  char text[1024];
} Error;

/* Sets the text (printf style) and returns false, so that callers write `return error_set(...)`.
 * `error` may be NULL when the caller does not want the words. */
bool error_set(Error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

void fault(const char *file, int line, const char *format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));
#define FAULT(...) fault(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(condition)                                                                          \
  do {                                                                                            \
    if (!(condition))                                                                             \
      FAULT("broken invariant: %s", #condition);                                                  \
  } while (0)

/* Called once with the message before fault() aborts (the driver writes its reproducer there). */
extern void (*fault_hook)(const char *message);

/* Exit status of every command. */
enum { EXIT_DONE = 0, EXIT_INPUT = 1, EXIT_USAGE = 2, EXIT_INTERNAL = 3 };
#endif
