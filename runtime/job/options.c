/* Options from a table. See options.h. */
#include "runtime/job/options.h"
#include "runtime/base/bytes.h"
#include "runtime/base/diag.h"
#include "runtime/job/command.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAMES = 128 };

/* Is `word` one of the blank-separated words? */
static bool has_word(const char *words, const char *word) {
  size_t length = strlen(word);
  for (const char *at = words; (at = strstr(at, word)); at += length)
    if ((at == words || at[-1] == ' ') && (at[length] == 0 || at[length] == ' '))
      return true;
  return false;
}

static bool applies(const OptionRow *row, const char *verb) {
  return !row->verbs || has_word(row->verbs, verb);
}

static const OptionRow *find_row(const Options *options, const char *name, size_t length) {
  for (int t = 0; t < 2; t++)
    for (const OptionRow *row = options->tables[t]; row && row->name; row++)
      if (strlen(row->name) == length && strncmp(row->name, name, length) == 0 &&
          applies(row, options->verb))
        return row;
  return NULL;
}

static bool unknown(const Options *options, const char *name, Error *error) {
  const char *names[MAX_NAMES];
  int count = 0;
  for (int t = 0; t < 2; t++)
    for (const OptionRow *row = options->tables[t]; row && row->name; row++)
      if (applies(row, options->verb) && count < MAX_NAMES)
        names[count++] = row->name;
  const char *near = diag_nearest(name, names, count);
  return error_set(error, "unknown option --%.80s%s%s%s", name, near ? "; did you mean --" : "",
                   near ? near : "", near ? "?" : "");
}

/* Is `word` one of "this|that"? */
static bool is_choice(const char *choices, const char *word) {
  size_t length = strlen(word);
  for (const char *at = choices; length && at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
    if (strncmp(at, word, length) == 0 && (at[length] == '|' || at[length] == 0))
      return true;
  return false;
}

static bool check_value(const OptionRow *row, const char *value, Error *error) {
  int64_t whole;
  char *end;
  if (row->kind == OPTION_COUNT && !parse_whole(value, 0, INT64_MAX, &whole))
    return error_set(error, "--%s: \"%.80s\" is not a whole number", row->name, value);
  if (row->kind == OPTION_REAL && (!isfinite(strtod(value, &end)) || end == value || *end))
    return error_set(error, "--%s: \"%.80s\" is not a number", row->name, value);
  Error why;
  int64_t bytes;
  if (row->kind == OPTION_BYTES && !bytes_parse(value, &bytes, &why))
    return error_set(error, "--%s: %.900s", row->name, why.text);
  if (row->kind == OPTION_CHOICE && !is_choice(row->value, value))
    return error_set(error, "--%s: \"%.80s\" is none of %s (%s)", row->name, value, row->value,
                     row->help);
  return true;
}

/* One "--name", "--name=value" or "--name value" at argv[*i]. */
static bool parse_one(Options *options, int argc, char **argv, int *i, Error *error) {
  const char *name = argv[*i] + 2, *equals = strchr(name, '=');
  size_t length = equals ? (size_t)(equals - name) : strlen(name);
  const OptionRow *row = find_row(options, name, length);
  if (!row)
    return unknown(options, arena_strndup(options->arena, name, length), error);
  const char *value = equals ? equals + 1 : NULL;
  if (row->kind == OPTION_FLAG && value)
    return error_set(error, "--%s takes no value", row->name);
  if (row->kind != OPTION_FLAG && !value) {
    if (*i + 1 >= argc)
      return error_set(error, "--%s needs a value (%s)", row->name, row->value);
    value = argv[++*i];
  }
  OptionValue entry = {row, value ? value : ""};
  vec_push(options->arena, &options->values, entry);
  return check_value(row, entry.value, error);
}

bool options_parse(Options *options, Arena *arena, const OptionRow *first, const OptionRow *second,
                   int argc, char **argv, Error *error) {
  *options = (Options){.arena = arena, .verb = argv[0], .tables = {first, second}};
  bool only_rest = false;
  for (int i = 1; i < argc; i++) {
    bool option = !only_rest && strncmp(argv[i], "--", 2) == 0;
    if (option && argv[i][2] == 0)
      only_rest = true;
    else if (option && !parse_one(options, argc, argv, &i, error))
      return false;
    else if (!option && !only_rest && argv[i][0] == '-' && argv[i][1])
      return error_set(error, "unknown option %.80s", argv[i]);
    else if (!option)
      vec_push(arena, &options->rest, (const char *)argv[i]);
  }
  return true;
}

static const char *last_value(const Options *options, const char *name) {
  for (int i = options->values.count - 1; i >= 0; i--)
    if (strcmp(options->values.at[i].row->name, name) == 0)
      return options->values.at[i].value;
  return NULL;
}

bool options_known(const Options *options, const char *name) {
  return find_row(options, name, strlen(name)) != NULL;
}

bool options_default(Options *options, const char *name, const char *value, Error *error) {
  const OptionRow *row = find_row(options, name, strlen(name));
  if (!row)
    return unknown(options, name, error);
  if (last_value(options, name))
    return true;
  if (row->kind == OPTION_FLAG && strcmp(value, "false") == 0)
    return true;
  if (row->kind == OPTION_FLAG && strcmp(value, "true") != 0)
    return error_set(error, "%s is true or false, not \"%.80s\"", name, value);
  OptionValue entry = {row, arena_strdup(options->arena, value)};
  vec_push(options->arena, &options->values, entry);
  return check_value(row, entry.value, error);
}

bool options_flag(const Options *options, const char *name) {
  return last_value(options, name) != NULL;
}

const char *options_text(const Options *options, const char *name) {
  return last_value(options, name);
}

int64_t options_count(const Options *options, const char *name, int64_t otherwise) {
  const char *value = last_value(options, name);
  return value ? strtoll(value, NULL, 10) : otherwise;
}

int64_t options_bytes(const Options *options, const char *name, int64_t otherwise) {
  const char *value = last_value(options, name);
  Error error;
  if (value && !bytes_parse(value, &otherwise, &error))
    FAULT("--%s was not checked", name);
  return otherwise;
}

double options_real(const Options *options, const char *name, double otherwise) {
  const char *value = last_value(options, name);
  return value ? strtod(value, NULL) : otherwise;
}

const char *options_nth(const Options *options, const char *name, int i) {
  for (int v = 0; v < options->values.count; v++)
    if (strcmp(options->values.at[v].row->name, name) == 0 && i-- == 0)
      return options->values.at[v].value;
  return NULL;
}

void options_help(const OptionRow *table, const char *verb, Text *out) {
  for (const OptionRow *row = table; row && row->name; row++) {
    if (!applies(row, verb))
      continue;
    int used = 4 + (int)strlen(row->name);
    text_add(out, "  --%s", row->name);
    if (row->kind != OPTION_FLAG) {
      text_add(out, " %s", row->value);
      used += 1 + (int)strlen(row->value);
    }
    text_add(out, "%*s%s\n", used < 24 ? 24 - used : 1, "", row->help);
  }
}
