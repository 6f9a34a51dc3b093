/* What every fuzz target shares. A target defines LLVMFuzzerTestOneInput on the public functions of
 * one reader and checks what the reader's header promises: every refusal has words, and what was
 * accepted can be used. Nothing may survive a call, or it would count as a leak.
 */
#ifndef TRICOT_TESTS_FUZZ_H
#define TRICOT_TESTS_FUZZ_H
#include "runtime/base/diag.h"
#include "runtime/base/fault.h"
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* A refusal without words would leave the user with nothing. */
static inline void expect_words(const Error *error) { CHECK(error->text[0]); }

/* Reads every byte, so that AddressSanitizer sees what lies outside. */
static inline void touch(const void *bytes, size_t size) {
  const volatile unsigned char *at = bytes;
  for (size_t i = 0; i < size; i++)
    (void)at[i];
}

/* The path of a file in memory with these bytes, for readers that take paths. It is one file, used
 * again by the next call. */
static inline const char *file_of(const uint8_t *bytes, size_t size) {
  static int descriptor = -1;
  static char path[64];
  if (descriptor < 0) {
    descriptor = memfd_create("fuzz", MFD_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
  }
  if (descriptor < 0 || ftruncate(descriptor, 0) != 0 ||
      pwrite(descriptor, bytes, size, 0) != (ssize_t)size)
    FAULT("no file in memory");
  return path;
}

/* Errors of the compiler's readers are collected and located. */
static inline void expect_errors(const Diag *diag) {
  CHECK(diag->errors > 0 && diag->messages.count >= diag->errors);
}
#endif
