/* Test helper: finds the reference data beside the source tree, which is not part of the project.
 *
 * shared_path("goldens/x") gives the path under $TRICOT_SHARED; tests that need the data call
 * shared_needed() first, which skips the test (with a printed reason) where the folder is absent.
 * Include after <cmocka.h>.
 */
#ifndef TRICOT_TEST_SHARED_H
#define TRICOT_TEST_SHARED_H
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static inline const char *shared_path(const char *name) {
  static char ring[8][4096];
  static int next;
  const char *root = getenv("TRICOT_SHARED");
  char *path = ring[next++ % 8];
  snprintf(path, sizeof ring[0], "%s/%s", root ? root : "../shared", name);
  return path;
}

static inline bool shared_present(void) {
  struct stat info;
  return stat(shared_path("data"), &info) == 0 && S_ISDIR(info.st_mode);
}

#define shared_needed()                                                                            \
  do {                                                                                             \
    if (!shared_present()) {                                                                       \
      printf("skipped: the reference data is not at %s\n", shared_path(""));                       \
      skip();                                                                                      \
    }                                                                                              \
  } while (0)

/* A fresh folder for a test's files, removed by scratch_remove(). */
static inline const char *scratch_make(void) {
  static char folder[] = "/tmp/tricot-test-XXXXXX";
  snprintf(folder, sizeof folder, "/tmp/tricot-test-XXXXXX");
  if (!mkdtemp(folder))
    abort();
  return folder;
}

static inline void scratch_remove(const char *folder) {
  char command[4200];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  if (system(command) != 0)
    printf("%s was not removed\n", folder);
}
#endif
