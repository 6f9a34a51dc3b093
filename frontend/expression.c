/* Recursive descent over the scanner's tokens. See expression.h for the grammar. */
#include "frontend/expression.h"
#include <string.h>

static Expr *new_expr(Scanner *scanner, ExprKind kind, Loc loc) {
  Expr *expr = ARENA_NEW(scanner->diag->arena, Expr);
  expr->kind = kind;
  expr->loc = loc;
  return expr;
}

static Expr *with_items(Scanner *scanner, Expr *expr, int count, Expr *const *items) {
  expr->count = count;
  expr->items = arena_copy(scanner->diag->arena, items, sizeof *items * (size_t)count);
  return expr;
}

static bool deeper(Scanner *scanner) {
  if (++scanner->depth <= EXPRESSION_MAX_DEPTH)
    return true;
  return scanner_error(scanner, "nested more than %d levels deep", EXPRESSION_MAX_DEPTH);
}

/* ---- paths ---- */

static bool is_path_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '.';
}

/* No empty segment: no dot at either end, none behind another. */
static bool path_is_sound(const Path *path) {
  bool segment = false;
  for (int i = 0; i < path->count; i++) {
    if (!path->parts[i].text)
      segment = true;
    else
      for (const char *c = path->parts[i].text; *c; c++) {
        if (*c == '.' && !segment)
          return false;
        segment = *c != '.';
      }
  }
  return segment;
}

Path *parse_path(Scanner *scanner, int offset) {
  Arena *arena = scanner->diag->arena;
  const char *text = scanner->scalar->text;
  VEC(PathPart) parts = {0};
  while (text[offset] == ' ')
    offset++;
  Path *path = ARENA_NEW(arena, Path);
  path->loc = yaml_place(scanner->diag, scanner->scalar, offset);
  for (;;) {
    PathPart part = {0};
    int start = offset;
    if (text[offset] == '{') {
      scanner_seek(scanner, offset + 1);
      part.expr = parse_expression(scanner);
      if (!part.expr)
        return NULL;
      if (!scanner_is(scanner, "}")) {
        scanner_expect(scanner, "}");
        return NULL;
      }
      offset = scanner->token.stop;
    } else {
      while (is_path_letter(text[offset]))
        offset++;
      if (offset == start)
        break;
      part.text = arena_strndup(arena, text + start, (size_t)(offset - start));
    }
    vec_push(arena, &parts, part);
  }
  path->count = parts.count;
  path->parts = parts.at;
  if (!scanner->failed && !path_is_sound(path)) {
    diag_error(scanner->diag, path->loc, "a dotted name belongs here, such as layer.{i}.weight");
    scanner->failed = true;
  }
  scanner_seek(scanner, offset);
  return scanner->failed ? NULL : path;
}

/* ---- atoms and postfix forms ---- */

/* Past the opening bracket, up to and past `close`. False after an error. */
static bool parse_items(Scanner *scanner, const char *close, Expr *expr, Expr *first) {
  VEC(Expr *) items = {0};
  Arena *arena = scanner->diag->arena;
  if (first)
    vec_push(arena, &items, first);
  while (!scanner_take(scanner, close)) {
    Expr *item = parse_expression(scanner);
    if (!item)
      return false;
    vec_push(arena, &items, item);
    if (!scanner_is(scanner, close) && !scanner_expect(scanner, ","))
      return false;
  }
  with_items(scanner, expr, items.count, items.at);
  return true;
}

int parse_targets(Scanner *scanner, const char ***names) {
  VEC(const char *) list = {0};
  do {
    const char *name = scanner_expect_name(scanner, "a name");
    if (!name)
      return 0;
    vec_push(scanner->diag->arena, &list, name);
  } while (scanner_take(scanner, ","));
  *names = list.at;
  return list.count;
}

/* Behind `[element`: `for x in list if condition]`. */
static Expr *parse_comprehension(Scanner *scanner, Loc loc, Expr *element) {
  Expr *expr = new_expr(scanner, EXPR_COMPREHENSION, loc);
  Expr *items[3] = {element, NULL, NULL};
  scanner_expect(scanner, "for");
  expr->n_names = parse_targets(scanner, &expr->names);
  if (!expr->n_names || !scanner_expect(scanner, "in"))
    return NULL;
  /* the list may not be a conditional: its `if` is the comprehension's */
  scanner->no_conditional = true;
  items[1] = parse_expression(scanner);
  scanner->no_conditional = false;
  if (!items[1])
    return NULL;
  if (scanner_take(scanner, "if") && !(items[2] = parse_expression(scanner)))
    return NULL;
  if (!scanner_expect(scanner, "]"))
    return NULL;
  return with_items(scanner, expr, 3, items);
}

static Expr *parse_list(Scanner *scanner, Loc loc) {
  Expr *expr = new_expr(scanner, EXPR_LIST, loc), *first;
  if (scanner_take(scanner, "]"))
    return expr;
  if (!(first = parse_expression(scanner)))
    return NULL;
  if (scanner_is(scanner, "for"))
    return parse_comprehension(scanner, loc, first);
  if (!scanner_is(scanner, "]") && !scanner_expect(scanner, ","))
    return NULL;
  return parse_items(scanner, "]", expr, first) ? expr : NULL;
}

/* Inside brackets a conditional is a conditional again. */
static Expr *parse_bracketed(Scanner *scanner, Loc loc, bool list) {
  bool outer = scanner->no_conditional;
  Expr *expr = NULL;
  scanner->no_conditional = false;
  if (deeper(scanner)) {
    scanner_next(scanner);
    expr = list ? parse_list(scanner, loc) : parse_expression(scanner);
    if (!list && expr && !scanner_expect(scanner, ")"))
      expr = NULL;
  }
  scanner->depth--;
  scanner->no_conditional = outer;
  return expr;
}

static Expr *parse_name(Scanner *scanner, Loc loc) {
  const char *name = scanner->token.text;
  Expr *expr = new_expr(scanner, EXPR_NAME, loc);
  expr->text = name;
  if (strcmp(name, "true") == 0 || strcmp(name, "false") == 0) {
    expr->kind = EXPR_BOOL;
    expr->integer = name[0] == 't';
  } else if (strcmp(name, "none") == 0) {
    expr->kind = EXPR_NONE;
  } else if (is_language_word(name)) {
    scanner_error(scanner, "expected a value, but '%s' is a word of the language", name);
    return NULL;
  }
  scanner_next(scanner);
  return expr;
}

static Expr *parse_atom(Scanner *scanner) {
  Loc loc = scanner_loc(scanner);
  const Token token = scanner->token;
  Expr *expr;
  switch (token.kind) {
  case TOKEN_INT:
  case TOKEN_REAL:
  case TOKEN_TEXT:
    expr = new_expr(scanner,
                    token.kind == TOKEN_INT    ? EXPR_INT
                    : token.kind == TOKEN_REAL ? EXPR_REAL
                                               : EXPR_TEXT,
                    loc);
    expr->integer = token.integer;
    expr->real = token.real;
    expr->text = token.text;
    scanner_next(scanner);
    return expr;
  case TOKEN_NAME:
    return parse_name(scanner, loc);
  case TOKEN_SIGN:
    if (scanner_is(scanner, "(") || scanner_is(scanner, "["))
      return parse_bracketed(scanner, loc, scanner_is(scanner, "["));
    break;
  case TOKEN_END:
    break;
  }
  if (token.kind == TOKEN_END)
    scanner_error(scanner, "expected a value, found the end");
  else
    scanner_error(scanner, "expected a value, found '%s'", token.text);
  return NULL;
}

/* Behind `callee(`. Keyword arguments come last. */
static Expr *parse_call(Scanner *scanner, Expr *callee) {
  Arena *arena = scanner->diag->arena;
  Expr *call = new_expr(scanner, EXPR_CALL, callee->loc);
  VEC(Expr *) items = {0};
  VEC(const char *) names = {0};
  vec_push(arena, &items, callee);
  vec_push(arena, &names, NULL);
  while (!scanner_take(scanner, ")")) {
    const Token name = scanner->token;
    const char *keyword = NULL;
    Expr *value;
    if (name.kind == TOKEN_NAME && !is_language_word(name.text)) {
      scanner_next(scanner);
      if (scanner_take(scanner, "="))
        keyword = name.text;
      else
        scanner_seek(scanner, name.start);
    }
    if (!keyword && names.at[names.count - 1]) {
      scanner_error(scanner, "an argument without a name after one with a name");
      return NULL;
    }
    if (!(value = parse_expression(scanner)))
      return NULL;
    vec_push(arena, &items, value);
    vec_push(arena, &names, keyword);
    if (!scanner_is(scanner, ")") && !scanner_expect(scanner, ","))
      return NULL;
  }
  call->n_names = names.count;
  call->names = names.at;
  return with_items(scanner, call, items.count, items.at);
}

static Expr *parse_postfix_form(Scanner *scanner, Expr *base) {
  bool outer = scanner->no_conditional;
  Expr *expr = NULL;
  scanner->no_conditional = false;
  if (!deeper(scanner)) {
  } else if (scanner_take(scanner, "(")) {
    expr = parse_call(scanner, base);
  } else if (scanner_take(scanner, "[")) {
    expr = new_expr(scanner, EXPR_INDEX, base->loc);
    if (!parse_items(scanner, "]", expr, base))
      expr = NULL;
  } else {
    scanner_expect(scanner, ".");
    expr = new_expr(scanner, EXPR_MEMBER, base->loc);
    with_items(scanner, expr, 1, &base);
    if (!(expr->text = scanner_expect_name(scanner, "a name")))
      expr = NULL;
  }
  scanner->depth--;
  scanner->no_conditional = outer;
  return expr;
}

static Expr *parse_postfix(Scanner *scanner) {
  Expr *expr = parse_atom(scanner);
  while (expr) {
    if (scanner_is(scanner, "(") || scanner_is(scanner, "[") || scanner_is(scanner, ".")) {
      expr = parse_postfix_form(scanner, expr);
    } else if (scanner_is(scanner, "@")) {
      if (expr->kind != EXPR_CALL || expr->path) {
        scanner_error(scanner, "only a call can have a scope, and only one");
        return NULL;
      }
      expr->path = parse_path(scanner, scanner->token.stop);
      if (!expr->path)
        return NULL;
    } else {
      break;
    }
  }
  return expr;
}

/* ---- operators, from the tightest to the loosest ---- */

static Expr *parse_unary(Scanner *scanner);

static Expr *binary(Scanner *scanner, const char *operator, Loc loc, Expr *left, Expr *right) {
  if (!left || !right)
    return NULL;
  Expr *expr = new_expr(scanner, EXPR_BINARY, loc), *items[] = {left, right};
  expr->text = operator;
  return with_items(scanner, expr, 2, items);
}

static Expr *parse_power(Scanner *scanner) {
  Expr *base = parse_postfix(scanner);
  if (!base || !scanner_is(scanner, "**"))
    return base;
  Loc loc = scanner_loc(scanner);
  scanner_next(scanner);
  return binary(scanner, "**", loc, base, parse_unary(scanner));
}

static Expr *unary(Scanner *scanner, const char *operator, Expr *(*operand)(Scanner *)) {
  Expr *expr = new_expr(scanner, EXPR_UNARY, scanner_loc(scanner)), *item = NULL;
  expr->text = operator;
  scanner_next(scanner);
  if (deeper(scanner))
    item = operand(scanner);
  scanner->depth--;
  return item ? with_items(scanner, expr, 1, &item) : NULL;
}

static Expr *parse_unary(Scanner *scanner) {
  return scanner_is(scanner, "-") ? unary(scanner, "-", parse_unary) : parse_power(scanner);
}

/* One level of left-associative operators (a NULL-terminated list). */
static Expr *parse_level(Scanner *scanner, const char *const *operators,
                         Expr *(*operand)(Scanner *)) {
  Expr *expr = operand(scanner);
  for (int i = 0; expr && operators[i];) {
    if (!scanner_is(scanner, operators[i])) {
      i++;
      continue;
    }
    Loc loc = scanner_loc(scanner);
    scanner_next(scanner);
    expr = binary(scanner, operators[i], loc, expr, operand(scanner));
    i = 0;
  }
  return expr;
}

static Expr *parse_product(Scanner *scanner) {
  static const char *const operators[] = {"*", "/", "//", "%", NULL};
  return parse_level(scanner, operators, parse_unary);
}

static Expr *parse_sum(Scanner *scanner) {
  static const char *const operators[] = {"+", "-", NULL};
  return parse_level(scanner, operators, parse_product);
}

/* The comparison at the scanner, taken, or NULL. */
static const char *take_comparison(Scanner *scanner) {
  static const char *const operators[] = {"==", "!=", "<=", ">=", "<", ">", "in", NULL};
  for (int i = 0; operators[i]; i++)
    if (scanner_take(scanner, operators[i]))
      return operators[i];
  if (!scanner_take(scanner, "not"))
    return NULL;
  return scanner_expect(scanner, "in") ? "not in" : NULL;
}

static Expr *parse_comparison(Scanner *scanner) {
  Expr *left = parse_sum(scanner);
  if (!left)
    return NULL;
  Loc loc = scanner_loc(scanner);
  const char *operator = take_comparison(scanner);
  if (!operator)
    return scanner->failed ? NULL : left;
  Expr *expr = binary(scanner, operator, loc, left, parse_sum(scanner));
  Loc second = scanner_loc(scanner);
  if (expr && take_comparison(scanner)) {
    diag_error(scanner->diag, second, "comparisons do not chain: write a < b and b < c");
    scanner->failed = true;
  }
  return scanner->failed ? NULL : expr;
}

static Expr *parse_not(Scanner *scanner) {
  return scanner_is(scanner, "not") ? unary(scanner, "not", parse_not) : parse_comparison(scanner);
}

static Expr *parse_and(Scanner *scanner) {
  static const char *const operators[] = {"and", NULL};
  return parse_level(scanner, operators, parse_not);
}

static Expr *parse_or(Scanner *scanner) {
  static const char *const operators[] = {"or", NULL};
  return parse_level(scanner, operators, parse_and);
}

Expr *parse_expression(Scanner *scanner) {
  Expr *then = NULL, *condition, *otherwise = NULL;
  if (deeper(scanner))
    then = parse_or(scanner);
  if (then && !scanner->no_conditional && scanner_is(scanner, "if")) {
    Loc loc = scanner_loc(scanner);
    scanner_next(scanner);
    condition = parse_or(scanner);
    if (condition && scanner_expect(scanner, "else"))
      otherwise = parse_expression(scanner);
    Expr *items[] = {condition, then, otherwise};
    then = otherwise
               ? with_items(scanner, new_expr(scanner, EXPR_CONDITIONAL, loc), 3, items)
               : NULL;
  }
  scanner->depth--;
  return scanner->failed ? NULL : then;
}

Expr *parse_expressions(Scanner *scanner) {
  Expr *first = parse_expression(scanner);
  if (!first || !scanner_is(scanner, ","))
    return first;
  VEC(Expr *) items = {0};
  Arena *arena = scanner->diag->arena;
  vec_push(arena, &items, first);
  while (scanner_take(scanner, ",")) {
    Expr *item = parse_expression(scanner);
    if (!item)
      return NULL;
    vec_push(arena, &items, item);
  }
  return with_items(scanner, new_expr(scanner, EXPR_LIST, first->loc), items.count, items.at);
}

Expr *expression_parse(Diag *diag, Yaml *scalar) {
  Scanner scanner;
  if (!scanner_start(&scanner, diag, scalar))
    return NULL;
  Expr *expr = parse_expression(&scanner);
  return expr && scanner_expect_end(&scanner) ? expr : NULL;
}
