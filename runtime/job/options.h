/* Command-line options from a table: one row gives parsing, checking and the line in --help.
 *
 * Values stay texts, checked on parsing, so that a host may add rows of its own and fill in what a
 * configuration file says (options_default) in the same way.
 */
#ifndef TRICOT_RUNTIME_JOB_OPTIONS_H
#define TRICOT_RUNTIME_JOB_OPTIONS_H
#include "runtime/base/arena.h"
#include "runtime/base/fault.h"
#include "runtime/base/text.h"
#include <stdint.h>

typedef enum OptionKind {
  OPTION_FLAG,
  OPTION_TEXT,
  OPTION_COUNT,
  OPTION_REAL,
  OPTION_CHOICE,
  OPTION_BYTES
} OptionKind;

typedef struct OptionRow {
  const char *name;  /* without the dashes */
  OptionKind kind;   /* COUNT: whole, not negative; CHOICE: a word of `value`;
                        BYTES: an amount of memory, runtime/base/bytes.h */
  const char *value; /* what --help calls the value: "FILE", "this|that" */
  const char *help;
  const char *verbs; /* words: the verbs that know it; NULL: all */
} OptionRow;

typedef struct OptionValue {
  const OptionRow *row;
  const char *value; /* "" for a flag */
} OptionValue;

typedef struct Options {
  Arena *arena;
  const char *verb;
  const OptionRow *tables[2]; /* each ends with a row without a name; NULL: none */
  VEC(OptionValue) values;    /* in order; of an option given twice the last one counts */
  VEC(const char *) rest;     /* arguments that are no options */
} Options;

/* argv[0] is the verb. tables may hold NULL. False on wrong usage, with the reason. */
bool options_parse(Options *options, Arena *arena, const OptionRow *first, const OptionRow *second,
                   int argc, char **argv, Error *error);
/* Sets an option that the command line left out; the same checks. */
bool options_default(Options *options, const char *name, const char *value, Error *error);

/* Does the verb know an option of this name? */
bool options_known(const Options *options, const char *name);
bool options_flag(const Options *options, const char *name);
const char *options_text(const Options *options, const char *name); /* NULL: not given */
int64_t options_count(const Options *options, const char *name, int64_t otherwise);
int64_t options_bytes(const Options *options, const char *name, int64_t otherwise);
double options_real(const Options *options, const char *name, double otherwise);
/* The number i of the values of a repeated option, NULL behind the last. */
const char *options_nth(const Options *options, const char *name, int i);

/* The lines of --help for the options a verb knows. */
void options_help(const OptionRow *table, const char *verb, Text *out);
#endif
