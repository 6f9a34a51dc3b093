/* Tokens of the expression language, cut from one YAML scalar.
 *
 * A Scanner holds the current token; the text behind it is only looked at by scanner_next, so a
 * parser may read the rest in another way (parameter paths are). Every token has its place in the
 * file. The first error is recorded in the Diag; after it the scanner stays at TOKEN_END.
 */
#ifndef TRICOT_FRONTEND_TOKEN_H
#define TRICOT_FRONTEND_TOKEN_H
#include "frontend/yaml.h"
#include <stdint.h>

enum {
  EXPRESSION_MAX_BYTES = 4096,
  EXPRESSION_MAX_DEPTH = 64 /* brackets, calls, unary signs */
};

typedef enum TokenKind {
  TOKEN_END,
  TOKEN_INT,
  TOKEN_REAL,
  TOKEN_TEXT, /* text is what stands between the quotes */
  TOKEN_NAME, /* words of the language included */
  TOKEN_SIGN
} TokenKind;

typedef struct Token {
  TokenKind kind;
  int start, stop; /* bytes of the scalar's text */
  const char *text;
  int64_t integer;
  double real;
} Token;

typedef struct Scanner {
  Diag *diag;
  Yaml *scalar;
  Token token;
  bool failed;
  int depth; /* of the parser on top */
  bool no_conditional; /* the parser is where `if` ends an expression */
} Scanner;

/* Starts at the first token; false (and an error) where `node` is no scalar or too long. */
bool scanner_start(Scanner *scanner, Diag *diag, Yaml *node);
void scanner_next(Scanner *scanner);
/* Goes on with the token that starts at byte `offset`. */
void scanner_seek(Scanner *scanner, int offset);
bool scanner_is(const Scanner *scanner, const char *text); /* that sign or word */
bool scanner_take(Scanner *scanner, const char *text);     /* and past it, if it is there */
bool scanner_expect(Scanner *scanner, const char *text);   /* an error if it is not */
const char *scanner_expect_name(Scanner *scanner, const char *what); /* NULL after an error */
bool scanner_expect_end(Scanner *scanner);
Loc scanner_loc(Scanner *scanner); /* of the current token */
/* An error at the current token; always returns false. */
bool scanner_error(Scanner *scanner, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool is_language_word(const char *name);
#endif
