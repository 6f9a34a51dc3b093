/* tricot: finds the verb's row and runs it. The only place that ends the process on purpose. */
#include "codegen/emit.h"
#include "driver/verbs.h"
#include "runtime/base/diag.h"
#include "runtime/base/fault.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct Verb {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *doc;
} verbs[] = {
#define VERB(name, function, doc) {#name, function, doc},
#include "driver/verbs.def"
#undef VERB
};

enum { VERBS = sizeof verbs / sizeof verbs[0] };

static void usage(FILE *out) {
  fputs(
      "tricot: compile, train and evaluate models of CT volumes and reports. For research use; not "
      "for diagnosis.\n\nusage: tricot VERB [options]\n\n",
      out);
  for (int i = 0; i < VERBS; i++)
    fprintf(out, "  %-10s %s\n", verbs[i].name, verbs[i].doc);
  fputs("\n`tricot VERB --help` explains a verb with examples.\n", out);
}

#ifndef TRICOT_LLVM_VERSION
#define TRICOT_LLVM_VERSION ""
#endif

/* The second word is the version, for scripts. */
static void print_version(void) {
  int major, minor;
  printf("tricot %s (%s", TRICOT_VERSION, TRICOT_LLVM ? "LLVM " TRICOT_LLVM_VERSION : "no LLVM");
  if (nvrtc_version(&major, &minor))
    printf(", NVRTC %d.%d)\n", major, minor);
  else
    printf(", no NVRTC)\n");
}

/* A broken invariant of ours is status 3, whatever noticed it. */
static void internal_fault(int signal_number) {
  (void)signal_number;
  _Exit(EXIT_INTERNAL);
}

int main(int argc, char **argv) {
  signal(SIGABRT, internal_fault);
  if (argc < 2) {
    usage(stderr);
    return EXIT_USAGE;
  }
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
      strcmp(argv[1], "help") == 0) {
    usage(stdout);
    return EXIT_DONE;
  }
  if (strcmp(argv[1], "--version") == 0) {
    print_version();
    return EXIT_DONE;
  }
  const char *names[VERBS];
  for (int i = 0; i < VERBS; i++) {
    names[i] = verbs[i].name;
    if (strcmp(argv[1], verbs[i].name) == 0)
      return verbs[i].run(argc - 1, argv + 1);
  }
  const char *near = diag_nearest(argv[1], names, VERBS);
  fprintf(stderr, "tricot: error: unknown verb '%s'%s%s%s\n", argv[1],
          near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "; see tricot --help");
  return EXIT_USAGE;
}
