/* The scanner. See token.h. */
#include "frontend/token.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const words[] = {"and",  "or",   "not",    "if",     "else",  "for",
                                    "in",   "true", "false",  "none",   "elif",  "return",
                                    "tap",  "scope", "update", "output", "stage", "check",
                                    "uncounted"};

bool is_language_word(const char *name) {
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcmp(words[i], name) == 0)
      return true;
  return false;
}

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

Loc scanner_loc(Scanner *scanner) {
  return yaml_place(scanner->diag, scanner->scalar, scanner->token.start);
}

bool scanner_error(Scanner *scanner, const char *format, ...) {
  if (!scanner->failed) {
    va_list arguments;
    va_start(arguments, format);
    diag_error(scanner->diag, scanner_loc(scanner), "%s",
               arena_vprintf(scanner->diag->arena, format, arguments));
    va_end(arguments);
  }
  scanner->failed = true;
  scanner->token.kind = TOKEN_END;
  return false;
}

static void scan_number(Scanner *scanner) {
  Token *token = &scanner->token;
  const char *text = scanner->scalar->text, *at = text + token->start;
  token->kind = TOKEN_INT;
  while (is_digit(*at))
    at++;
  if (*at == '.' && is_digit(at[1])) {
    token->kind = TOKEN_REAL;
    for (at++; is_digit(*at);)
      at++;
  }
  if ((*at == 'e' || *at == 'E') &&
      (is_digit(at[1]) || ((at[1] == '+' || at[1] == '-') && is_digit(at[2])))) {
    token->kind = TOKEN_REAL;
    for (at += 2; is_digit(*at);)
      at++;
  }
  token->stop = (int)(at - text);
  char *end;
  errno = 0;
  if (token->kind == TOKEN_INT)
    token->integer = strtoll(text + token->start, &end, 10);
  else
    token->real = strtod(text + token->start, &end);
  if (is_letter(*at) || (*at == '.' && is_digit(at[1])))
    scanner_error(scanner, "'%.*s' is neither a number nor a name", token->stop + 1 - token->start,
                  text + token->start);
  else if ((errno == ERANGE && token->kind == TOKEN_INT) || isinf(token->real))
    scanner_error(scanner, "the number is too large");
}

static void scan_text(Scanner *scanner) {
  Token *token = &scanner->token;
  const char *text = scanner->scalar->text, *start = text + token->start + 1;
  const char *stop = strchr(start, start[-1]);
  if (!stop) {
    scanner_error(scanner, "the text that starts here has no end");
    return;
  }
  token->kind = TOKEN_TEXT;
  token->text = arena_strndup(scanner->diag->arena, start, (size_t)(stop - start));
  token->stop = (int)(stop + 1 - text);
}

static void scan_sign(Scanner *scanner) {
  static const char *const signs[] = {"//", "**", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%",
                                      "<",  ">",  "=",  "(",  ")",  "[",  "]", "{", "}", ",", ".",
                                      "@",  ":"};
  Token *token = &scanner->token;
  const char *at = scanner->scalar->text + token->start;
  for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
    if (strncmp(at, signs[i], strlen(signs[i])) == 0) {
      token->kind = TOKEN_SIGN;
      token->text = signs[i];
      token->stop = token->start + (int)strlen(signs[i]);
      return;
    }
  int length = 1; /* show a whole code point */
  while (((unsigned char)at[length] & 0xC0) == 0x80)
    length++;
  scanner_error(scanner, "'%.*s' has no meaning here", length, at);
}

void scanner_seek(Scanner *scanner, int offset) {
  const char *text = scanner->scalar->text;
  if (scanner->failed)
    return;
  while (text[offset] == ' ' || text[offset] == '\n' || text[offset] == '\t')
    offset++;
  scanner->token = (Token){.kind = TOKEN_END, .start = offset, .stop = offset};
  const char *at = text + offset;
  if (!*at)
    return;
  if (is_letter(*at)) {
    while (is_letter(*at) || is_digit(*at))
      at++;
    scanner->token.kind = TOKEN_NAME;
    scanner->token.stop = (int)(at - text);
    scanner->token.text = arena_strndup(scanner->diag->arena, text + offset,
                                        (size_t)(at - text - offset));
  } else if (is_digit(*at) || (*at == '.' && is_digit(at[1]))) {
    scan_number(scanner);
  } else if (*at == '"' || *at == '\'') {
    scan_text(scanner);
  } else {
    scan_sign(scanner);
  }
}

void scanner_next(Scanner *scanner) { scanner_seek(scanner, scanner->token.stop); }

bool scanner_start(Scanner *scanner, Diag *diag, Yaml *node) {
  *scanner = (Scanner){.diag = diag, .scalar = node};
  if (node->kind != YAML_SCALAR) {
    scanner->failed = true;
    return diag_error(diag, node->loc, "an expression belongs here, not %s",
                      yaml_kind_name(node));
  }
  if (node->size > EXPRESSION_MAX_BYTES) {
    scanner->failed = true;
    return diag_error(diag, node->loc, "an expression of more than %d bytes",
                      EXPRESSION_MAX_BYTES);
  }
  scanner_seek(scanner, 0);
  return !scanner->failed;
}

bool scanner_is(const Scanner *scanner, const char *text) {
  const Token *token = &scanner->token;
  return (token->kind == TOKEN_NAME || token->kind == TOKEN_SIGN) &&
         strcmp(token->text, text) == 0;
}

bool scanner_take(Scanner *scanner, const char *text) {
  if (!scanner_is(scanner, text))
    return false;
  scanner_next(scanner);
  return true;
}

/* The current token in the words of a message. */
static const char *found(const Scanner *scanner) {
  const Token *token = &scanner->token;
  if (token->kind == TOKEN_END)
    return "the end";
  return arena_printf(scanner->diag->arena, "'%.*s'", token->stop - token->start,
                      scanner->scalar->text + token->start);
}

bool scanner_expect(Scanner *scanner, const char *text) {
  if (scanner_take(scanner, text))
    return true;
  return scanner_error(scanner, "expected '%s', found %s", text, found(scanner));
}

const char *scanner_expect_name(Scanner *scanner, const char *what) {
  const Token token = scanner->token;
  if (token.kind != TOKEN_NAME) {
    scanner_error(scanner, "expected %s, found %s", what, found(scanner));
    return NULL;
  }
  if (is_language_word(token.text)) {
    scanner_error(scanner, "expected %s, but '%s' is a word of the language", what, token.text);
    return NULL;
  }
  scanner_next(scanner);
  return token.text;
}

bool scanner_expect_end(Scanner *scanner) {
  if (scanner->failed)
    return false;
  if (scanner->token.kind == TOKEN_END)
    return true;
  return scanner_error(scanner, "expected the end or an operator, found %s", found(scanner));
}
