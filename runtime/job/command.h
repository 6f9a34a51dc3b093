/* What the commands of runtime/job share: usage errors, option values, and finished output.
 *
 * A command is `int cmd_VERB(int argc, char **argv)` with argv[0] the verb. It parses its options
 * with getopt_long, answers --help on stdout, and returns an exit status of runtime/base/fault.h.
 */
#ifndef TRICOT_RUNTIME_JOB_COMMAND_H
#define TRICOT_RUNTIME_JOB_COMMAND_H
#include "runtime/base/fault.h"
#include "runtime/base/text.h"
#include <stdint.h>

int cmd_tokenize(int argc, char **argv);
int cmd_vocab(int argc, char **argv);
int cmd_score(int argc, char **argv);
int cmd_synth(int argc, char **argv);

/* Prints "tricot VERB: error: ..." and where to find help; returns EXIT_USAGE. */
int command_usage(const char *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Prints the error's text; returns EXIT_INPUT. */
int command_failed(const Error *error);
/* Writes a finished text to the file at `path`, or to stdout when it is NULL. */
bool command_output(const char *path, const Text *text, Error *error);

/* Option values. All of the text must be the value. */
bool parse_whole(const char *text, int64_t low, int64_t high, int64_t *value);
bool parse_size(const char *text, int64_t size[3]);  /* "256x512x512": D, H, W */
bool parse_range(const char *text, double range[2]); /* "-1000:200" */
bool parse_list(const char *text, int64_t *values, int room, int *count); /* "1,5,10" */
#endif
