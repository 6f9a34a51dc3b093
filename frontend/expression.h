/* The expression language of model files: syntax trees.
 *
 *   expression  a if c else b | or | and | not | == != < <= > >= in, not in | + - | * / // % |
 *               unary - | ** | call, index, member
 *   call        name(a, b, key=c) @ path        the path is the parameter scope of the call
 *   list        [a, b] | [e for x in list if c]
 *   atoms       12  1e-5  "text"  true  false  none  name  (e)
 *
 * Nothing in it can loop without bound, write, or reach outside the model file. Trees live in the
 * Diag's arena and never change after parsing.
 */
#ifndef TRICOT_FRONTEND_EXPRESSION_H
#define TRICOT_FRONTEND_EXPRESSION_H
#include "frontend/token.h"

typedef enum ExprKind {
  EXPR_NONE,
  EXPR_INT,
  EXPR_REAL,
  EXPR_BOOL, /* integer 0 or 1 */
  EXPR_TEXT,
  EXPR_NAME,
  EXPR_LIST,          /* items */
  EXPR_COMPREHENSION, /* items: element, list, condition or NULL; names: targets */
  EXPR_UNARY,         /* text: "-" or "not" */
  EXPR_BINARY,        /* text: the operator; items: left, right */
  EXPR_CONDITIONAL,   /* items: condition, then, else */
  EXPR_INDEX,         /* items: base, indices... */
  EXPR_MEMBER,        /* items: base; text: member */
  EXPR_CALL           /* items: callee, arguments...; names: keyword or NULL per argument; path */
} ExprKind;

typedef struct Expr Expr;

/* A name made of text and {expressions}: parameter scopes, stages, taps. */
typedef struct PathPart {
  const char *text; /* NULL: expr */
  Expr *expr;
} PathPart;

typedef struct Path {
  Loc loc;
  int count;
  PathPart *parts;
} Path;

struct Expr {
  ExprKind kind;
  Loc loc;
  const char *text;
  int64_t integer;
  double real;
  int count;
  Expr **items;
  int n_names;
  const char **names;
  Path *path;
};

/* A whole scalar as one expression; NULL after an error. */
Expr *expression_parse(Diag *diag, Yaml *scalar);
/* Pieces, for parsers of things that contain expressions. NULL after an error. */
Expr *parse_expression(Scanner *scanner);
/* Comma-separated expressions; one alone stays itself, several become a list. */
Expr *parse_expressions(Scanner *scanner);
/* Reads a path from byte `offset` on; the scanner continues behind it. */
Path *parse_path(Scanner *scanner, int offset);
/* `a` or `a, b, c`: the targets of an assignment or a loop. 0 after an error. */
int parse_targets(Scanner *scanner, const char ***names);
#endif
