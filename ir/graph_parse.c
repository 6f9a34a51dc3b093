/* The text form of graphs, reading side; docs/graph-ir.md has the grammar. Writing: graph_print.c.
 *
 * A recursive descent over tokens with one token of look-ahead. The first mistake ends the parse;
 * it is recorded at its token's line and column. Nodes are made through the builder, so shape
 * mistakes are reported like those of a model, at the place of the op's name.
 */
#include "ir/graph.h"
#include "ir/op.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Limits that keep nonsense input from costing memory or overflowing an element count. */
#define MAX_ELEMENTS ((int64_t)1 << 48)
#define MAX_ATTRIBUTE ((int64_t)1 << 31) /* strides, offsets, paddings: sums and products fit */
enum { MAX_RESULTS = 256 };

typedef enum TokenKind { T_END, T_WORD, T_VALUE, T_NAME, T_STRING, T_MARK } TokenKind;

typedef struct Token {
  TokenKind kind;
  char mark;  /* T_MARK */
  char *text; /* the others, without % @ and quotes */
  Loc loc;
} Token;

typedef struct Parser {
  Arena *arena;
  Diag *diag;
  const char *at, *end, *line_start;
  Loc loc; /* source and current line */
  Token token;
  bool failed, in_region;
  Graph *graph;
  Map values; /* names of the graph being read */
} Parser;

/* ---- tokens ---- */

static bool fail_at(Parser *p, Loc loc, const char *message) {
  if (!p->failed)
    diag_error(p->diag, loc, "%s", message);
  p->failed = true;
  return false;
}

static bool fail(Parser *p, const char *message) { return fail_at(p, p->token.loc, message); }

static bool is_word_char(int c) { return isalnum(c) || (c && strchr("_.+-", c)); }

static void skip_blanks(Parser *p) {
  for (; p->at < p->end; p->at++) {
    if (*p->at == '#')
      while (p->at < p->end && *p->at != '\n')
        p->at++;
    if (p->at < p->end && *p->at == '\n') {
      p->loc.line++;
      p->line_start = p->at + 1;
    } else if (p->at >= p->end || !strchr(" \t\r", *p->at) || !*p->at)
      break;
  }
}

static void read_string(Parser *p) {
  const char *stop = p->at; /* the closing quote, or the end of the line */
  while (stop < p->end && *stop != '\n' && *stop != '"')
    stop += *stop == '\\' && stop + 1 < p->end && stop[1] != '\n' ? 2 : 1;
  char *out = p->token.text = arena_alloc(p->arena, (size_t)(stop - p->at) + 1);
  for (; p->at < stop; p->at++) {
    bool escaped = *p->at == '\\' && p->at + 1 < stop;
    p->at += escaped;
    *out++ = escaped && *p->at == 'n' ? '\n' : *p->at;
  }
  *out = 0;
  if (p->at == p->end || *p->at != '"')
    fail(p, "the string has no end on its line");
  else
    p->at++;
}

static void next(Parser *p) {
  skip_blanks(p);
  Loc loc = p->loc;
  loc.column = (int)(p->at - p->line_start) + 1;
  p->token = (Token){.loc = loc};
  if (p->at >= p->end)
    return;
  char c = *p->at;
  if (c == '"') {
    p->at++;
    p->token.kind = T_STRING;
    read_string(p);
    return;
  }
  bool value = c == '%', name = c == '@';
  if (!value && !name && !is_word_char((unsigned char)c)) {
    p->token.kind = T_MARK;
    p->token.mark = c;
    p->at++;
    return;
  }
  const char *start = p->at += value || name;
  while (p->at < p->end && is_word_char((unsigned char)*p->at))
    p->at++;
  p->token.kind = value ? T_VALUE : name ? T_NAME : T_WORD;
  p->token.text = arena_strndup(p->arena, start, (size_t)(p->at - start));
  if (p->at == start)
    fail(p, value ? "a value's name is missing after '%'" : "a graph's name is missing after '@'");
}

static bool is_mark(const Parser *p, char mark) {
  return p->token.kind == T_MARK && p->token.mark == mark;
}

static bool is_keyword(const Parser *p, const char *word) {
  return p->token.kind == T_WORD && strcmp(p->token.text, word) == 0;
}

static bool accept_mark(Parser *p, char mark) {
  if (p->failed || !is_mark(p, mark))
    return false;
  next(p);
  return true;
}

static bool accept_keyword(Parser *p, const char *word) {
  if (p->failed || !is_keyword(p, word))
    return false;
  next(p);
  return true;
}

static bool expect_mark(Parser *p, char mark) {
  return accept_mark(p, mark) || fail(p, arena_printf(p->arena, "expected '%c' here", mark));
}

/* The text of a token of this kind; NULL after a failure. */
static char *expect(Parser *p, TokenKind kind, const char *what) {
  if (p->failed || p->token.kind != kind) {
    fail(p, arena_printf(p->arena, "expected %s here", what));
    return NULL;
  }
  char *text = p->token.text;
  next(p);
  return p->failed ? NULL : text;
}

/* ---- numbers, types, attributes ---- */

static int64_t parse_int(Parser *p) {
  Loc loc = p->token.loc;
  char *word = expect(p, T_WORD, "an integer"), *end;
  if (!word)
    return 0;
  errno = 0;
  int64_t value = strtoll(word, &end, 10);
  if (*end || end == word || errno)
    fail_at(p, loc, arena_printf(p->arena, "'%s' is not an integer", word));
  return value;
}

static double parse_float(Parser *p) {
  Loc loc = p->token.loc;
  char *word = expect(p, T_WORD, "a number"), *end;
  if (!word)
    return 0;
  double value = strtod(word, &end);
  if (*end || end == word)
    fail_at(p, loc, arena_printf(p->arena, "'%s' is not a number", word));
  return value;
}

static bool parse_type(Parser *p, Type *type) {
  *type = (Type){0};
  Loc loc = p->token.loc;
  char *word = expect(p, T_WORD, "a type such as f32[2,3]");
  if (!word)
    return false;
  if (!dtype_from_name(word, &type->dtype))
    return fail_at(p, loc, arena_printf(p->arena, "'%s' is not an element type", word));
  if (!expect_mark(p, '['))
    return false;
  int64_t elements = 1;
  while (!p->failed && !is_mark(p, ']')) {
    if (type->rank == MAX_RANK)
      return fail(p, "a type has at most 8 axes");
    Loc place = p->token.loc;
    int64_t dim = parse_int(p);
    if (p->failed)
      return false;
    if (dim < 1 || dim > MAX_ELEMENTS / elements)
      return fail_at(p, place, "an axis has a size from 1 on, and a tensor at most 2^48 elements");
    elements *= dim;
    type->dim[type->rank++] = dim;
    if (!is_mark(p, ']') && !expect_mark(p, ','))
      return false;
  }
  return expect_mark(p, ']');
}

static int64_t parse_attr_int(Parser *p, int64_t limit) {
  Loc loc = p->token.loc;
  int64_t value = parse_int(p);
  if (value < -limit || value > limit)
    fail_at(p, loc, arena_printf(p->arena, "the attribute is beyond %lld", (long long)limit));
  return value;
}

static void parse_ints(Parser *p, Attr *attr, int64_t limit) {
  VEC(int64_t) ints = {0};
  expect_mark(p, '[');
  while (!p->failed && !is_mark(p, ']')) {
    vec_push(p->arena, &ints, parse_attr_int(p, limit));
    if (!is_mark(p, ']'))
      expect_mark(p, ',');
  }
  expect_mark(p, ']');
  attr->n = ints.count;
  attr->ints = ints.count ? ints.at : ARENA_ARRAY(p->arena, int64_t, 1);
}

static void parse_attr_value(Parser *p, Attr *attr, const AttrSpec *spec) {
  AttrKind kind = spec->kind;
  int64_t limit = strcmp(spec->name, "shape") == 0 ? MAX_ELEMENTS : MAX_ATTRIBUTE;
  *attr = (Attr){.kind = kind};
  if (kind == ATTR_INT)
    attr->i = parse_attr_int(p, limit);
  else if (kind == ATTR_FLOAT)
    attr->f = parse_float(p);
  else if (kind == ATTR_INTS)
    parse_ints(p, attr, limit);
  else
    attr->text = p->token.kind == T_STRING ? expect(p, T_STRING, "a string")
                                           : expect(p, T_WORD, "a word or a string");
}

static void fail_unknown_attr(Parser *p, const Op *op, const char *name) {
  const AttrSpec *specs;
  int count = op_signature(op, &specs);
  const char *names[MAX_ATTRS];
  for (int i = 0; i < count; i++)
    names[i] = specs[i].name;
  const char *near = diag_nearest(name, names, count);
  fail(p, arena_printf(p->arena, "op %s has no attribute '%s'%s%s%s", op->name, name,
                       near ? "; did you mean '" : "", near ? near : "", near ? "'?" : ""));
}

/* Words that end a node's attributes when no types do. */
static bool ends_attrs(const Parser *p) {
  return is_keyword(p, "ret") || is_keyword(p, "uncounted") || is_keyword(p, "stage");
}

/* All attributes of a node, defaults filled in. */
static bool parse_attrs(Parser *p, const Op *op, Loc op_loc, Attr *attrs) {
  const AttrSpec *specs;
  int count = op_signature(op, &specs);
  while (!p->failed && p->token.kind == T_WORD && !ends_attrs(p)) {
    int i = op_attr_index(op, p->token.text);
    if (i < 0) {
      fail_unknown_attr(p, op, p->token.text);
      return false;
    }
    if (attrs[i].kind != ATTR_NONE)
      return fail(p, arena_printf(p->arena, "attribute '%s' is given twice", specs[i].name));
    next(p);
    if (expect_mark(p, '='))
      parse_attr_value(p, &attrs[i], &specs[i]);
  }
  for (int i = 0; i < count && !p->failed; i++)
    if (attrs[i].kind == ATTR_NONE) {
      if (!specs[i].has_default)
        return fail_at(
            p, op_loc,
            arena_printf(p->arena, "op %s needs attribute '%s'", op->name, specs[i].name));
      attrs[i] = specs[i].fallback;
    }
  return !p->failed;
}

/* ---- inputs ---- */

static bool define(Parser *p, const char *name, Value *value, Loc loc) {
  if (map_get(&p->values, name))
    return fail_at(p, loc, arena_printf(p->arena, "%%%s is defined twice", name));
  map_set(&p->values, name, value);
  graph_name_value(p->graph, value, name);
  if (strcmp(value->name, name) != 0)
    return fail_at(p, loc,
                   arena_printf(p->arena,
                                "%%%s is not a name: use letters, digits, '_', "
                                "'.', '-'",
                                name));
  return true;
}

static void parse_init(Parser *p, Init *init) {
  static const char *const kinds[] = {"constant", "uniform", "normal", "truncated"};
  Loc loc = p->token.loc;
  const char *word = expect_mark(p, '=') ? expect(p, T_WORD, "an initial value") : NULL;
  int kind = -1;
  for (int i = 0; word && i < 4; i++)
    if (strcmp(word, kinds[i]) == 0)
      kind = i;
  if (word && kind < 0)
    fail_at(p, loc,
            "initial values are constant(a), uniform(a,b), normal(mean,deviation) or "
            "truncated(mean,deviation)");
  if (p->failed)
    return;
  init->kind = (InitKind)kind;
  expect_mark(p, '(');
  init->a = parse_float(p);
  if (init->kind != INIT_CONSTANT) {
    expect_mark(p, ',');
    init->b = parse_float(p);
  }
  expect_mark(p, ')');
}

static const char *parse_stage(Parser *p) {
  return expect_mark(p, '=') ? expect(p, T_STRING, "a stage name in quotes") : NULL;
}

static void parse_input(Parser *p) {
  static const char *const roles[] = {"", "param", "buffer", "state", "scratch"};
  Loc loc = p->token.loc;
  GraphInput input = {.loc = loc};
  char *name = expect(p, T_VALUE, "an input such as %x: f32[2,3]");
  if (!name || !expect_mark(p, ':'))
    return;
  for (int role = ROLE_PARAMETER; role <= ROLE_SCRATCH; role++)
    if (accept_keyword(p, roles[role]))
      input.role = (Role)role;
  input.name = p->token.kind == T_STRING ? expect(p, T_STRING, "a name") : name;
  Type type;
  if (p->failed || !parse_type(p, &type))
    return;
  if (graph_find_input(p->graph, input.name)) {
    fail_at(p, loc, arena_printf(p->arena, "two inputs are called \"%s\"", input.name));
    return;
  }
  while (!p->failed && p->token.kind == T_WORD) {
    if (accept_keyword(p, "init"))
      parse_init(p, &input.init);
    else if (accept_keyword(p, "decay"))
      input.decay = true;
    else if (accept_keyword(p, "frozen"))
      input.frozen = true;
    else if (accept_keyword(p, "stage"))
      input.stage = parse_stage(p);
    else
      fail(p, "expected init, decay, frozen or stage here");
  }
  if (p->failed)
    return;
  /* the name space is the values' own, so a graph input starts with its %name */
  input.value = graph_add_input(p->graph, name, input.role, type, loc);
  p->graph->inputs.at[input.value->index] = input;
  define(p, name, input.value, loc);
}

/* ---- nodes ---- */

static Value *parse_operand(Parser *p) {
  Loc loc = p->token.loc;
  char *name = expect(p, T_VALUE, "a value such as %x");
  if (!name)
    return NULL;
  Value *value = map_get(&p->values, name);
  if (value)
    return value;
  const char **names = ARENA_ARRAY(p->arena, const char *, p->values.entries.count + 1);
  for (int i = 0; i < p->values.entries.count; i++)
    names[i] = p->values.entries.at[i].key;
  const char *near = diag_nearest(name, names, p->values.entries.count);
  fail_at(p, loc,
          arena_printf(p->arena, "%%%s is not defined above%s%s%s", name,
                       near ? "; did you mean %" : "", near ? near : "", near ? "?" : ""));
  return NULL;
}

static const Op *parse_op(Parser *p) {
  Loc loc = p->token.loc;
  char *name = expect(p, T_WORD, "an op's name");
  const Op *op = name ? op_find(name) : NULL;
  if (!name || op)
    return op;
  const char **names = ARENA_ARRAY(p->arena, const char *, op_count());
  for (int i = 0; i < op_count(); i++)
    names[i] = op_at(i)->name;
  const char *near = diag_nearest(name, names, op_count());
  fail_at(p, loc,
          arena_printf(p->arena, "no op is called '%s'%s%s%s", name, near ? "; did you mean '" : "",
                       near ? near : "", near ? "'?" : ""));
  return NULL;
}

/* What follows the operands and attributes: types, uncounted, stage. */
typedef struct Tail {
  int n_types;
  Type types[MAX_RESULTS];
  Loc type_locs[MAX_RESULTS];
  bool uncounted;
  const char *stage;
} Tail;

static bool parse_tail(Parser *p, Tail *tail) {
  tail->n_types = 0;
  tail->stage = NULL;
  if (accept_mark(p, ':'))
    do {
      if (tail->n_types == MAX_RESULTS)
        return fail(p, "a node has at most 256 results");
      tail->type_locs[tail->n_types] = p->token.loc;
      if (!parse_type(p, &tail->types[tail->n_types++]))
        return false;
    } while (accept_mark(p, ','));
  tail->uncounted = accept_keyword(p, "uncounted");
  if (accept_keyword(p, "stage"))
    tail->stage = parse_stage(p);
  return !p->failed;
}

static Graph *parse_graph(Parser *p);

static Graph *parse_body(Parser *p, int n_in, Value *const *in, Loc loc) {
  if (p->in_region) {
    fail_at(p, loc, "a region cannot stand inside a region");
    return NULL;
  }
  Graph *outer = p->graph;
  Map values = p->values;
  p->in_region = true;
  Graph *body = parse_graph(p);
  p->in_region = false;
  p->graph = outer;
  p->values = values;
  if (!body)
    return NULL;
  if (body->inputs.count != n_in)
    fail_at(p, loc, "the region's body has another number of inputs than the region has operands");
  if (!body->outputs.count)
    fail_at(p, loc, "the region's body returns nothing");
  for (int i = 0; i < n_in && !p->failed; i++)
    if (!type_equal(&in[i]->type, &body->inputs.at[i].value->type))
      fail_at(p, body->inputs.at[i].loc, "the type differs from the region's operand");
  return p->failed ? NULL : body;
}

typedef VEC(Token) Tokens;

static void define_results(Parser *p, Node *node, const Tokens *results, const Tail *tail) {
  if (node->n_out != results->count) {
    fail_at(p, results->at[0].loc,
            arena_printf(p->arena, "op %s has %d results, not %d", node->op->name, node->n_out,
                         results->count));
    return;
  }
  if (tail->n_types && tail->n_types != node->n_out)
    fail_at(p, tail->type_locs[0], "as many types as results are expected here");
  for (int i = 0; i < node->n_out && !p->failed; i++) {
    if (tail->n_types && !type_equal(&tail->types[i], &node->out[i].type))
      fail_at(p, tail->type_locs[i],
              arena_printf(p->arena, "the result has type %s", type_text(&node->out[i].type)));
    else
      define(p, results->at[i].text, &node->out[i], results->at[i].loc);
  }
}

static void parse_node(Parser *p) {
  Tokens results = {0};
  do {
    vec_push(p->arena, &results, p->token);
    if (!expect(p, T_VALUE, "a result such as %y"))
      return;
  } while (accept_mark(p, ','));
  if (!expect_mark(p, '='))
    return;
  Loc loc = p->token.loc;
  const Op *op = parse_op(p);
  VEC(Value *) in = {0};
  if (op && p->token.kind == T_VALUE)
    do
      vec_push(p->arena, &in, parse_operand(p));
    while (accept_mark(p, ','));
  Attr attrs[MAX_ATTRS] = {0};
  Tail tail; /* large, so neither in the arena nor cleared */
  if (p->failed || !parse_attrs(p, op, loc, attrs) || !parse_tail(p, &tail))
    return;
  Builder b = {p->graph, p->diag, loc, tail.stage, tail.uncounted};
  Node *node = NULL;
  if (op->cls == OP_REGION) {
    Graph *body = parse_body(p, in.count, in.at, loc);
    node = body ? build_region(&b, in.count, in.at, body) : NULL;
  } else {
    node = build_node_attrs(&b, op, in.count, in.at, attrs);
  }
  if (node)
    define_results(p, node, &results, &tail);
  else
    p->failed = true; /* the builder has reported it */
}

/* ---- outputs and graphs ---- */

static void parse_output(Parser *p) {
  GraphOutput output = {.loc = p->token.loc};
  output.tap = accept_keyword(p, "tap");
  if (accept_keyword(p, "update")) {
    output.name = output.updates = expect(p, T_STRING, "an input's name in quotes");
    expect_mark(p, '=');
  } else if (p->token.kind == T_STRING) {
    output.name = expect(p, T_STRING, "an output's name");
    if (accept_keyword(p, "updates"))
      output.updates = expect(p, T_STRING, "an input's name in quotes");
    else if (accept_keyword(p, "renews"))
      output.renews = parse_operand(p);
    expect_mark(p, '=');
  }
  output.value = p->failed ? NULL : parse_operand(p);
  if (!output.value)
    return;
  if (!output.name)
    output.name = output.value->name;
  if (graph_find_output(p->graph, output.name))
    fail_at(p, output.loc, arena_printf(p->arena, "two outputs are called \"%s\"", output.name));
  if (output.renews && !type_equal(&output.renews->type, &output.value->type))
    fail_at(p, output.loc,
            arena_printf(p->arena, "output \"%s\" renews a value of another type", output.name));
  else if (output.renews && !graph_view_of_one(p->graph, output.renews))
    fail_at(p, output.loc,
            arena_printf(p->arena, "output \"%s\" renews what is not of one parameter alone",
                         output.name));
  const GraphInput *input = output.updates ? graph_find_input(p->graph, output.updates) : NULL;
  if (output.updates && !input)
    fail_at(p, output.loc, arena_printf(p->arena, "no input is called \"%s\"", output.updates));
  else if (input && !type_equal(&input->value->type, &output.value->type))
    fail_at(
        p, output.loc,
        arena_printf(p->arena, "the input to update has type %s", type_text(&input->value->type)));
  if (!p->failed)
    vec_push(p->arena, &p->graph->outputs, output);
}

/* From "@name(" to the closing brace. Replaces p->graph and p->values. */
static Graph *parse_graph(Parser *p) {
  char *name = expect(p, T_NAME, "a graph's name such as @f");
  if (!name)
    return NULL;
  Graph *graph = p->graph = graph_new(p->arena, name);
  map_init(&p->values, p->arena);
  expect_mark(p, '(');
  if (!p->failed && !is_mark(p, ')'))
    do
      parse_input(p);
    while (accept_mark(p, ','));
  expect_mark(p, ')');
  expect_mark(p, '{');
  while (!p->failed && p->token.kind == T_VALUE)
    parse_node(p);
  if (!p->failed && !accept_keyword(p, "ret"))
    fail(p, "expected a node such as %y = add %a, %b, or ret");
  if (!p->failed && !is_mark(p, '}'))
    do
      parse_output(p);
    while (accept_mark(p, ','));
  expect_mark(p, '}');
  return p->failed ? NULL : graph;
}

Graph **graph_parse(Arena *arena, Diag *diag, const char *path, const char *text, size_t size,
                    int *count) {
  Parser *p = ARENA_NEW(arena, Parser);
  *p = (Parser){.arena = arena,
                .diag = diag,
                .at = text,
                .end = text + size,
                .line_start = text,
                .loc = {diag_source(diag, path, text, size), 1, 0}};
  VEC(Graph *) graphs = {0};
  next(p);
  while (!p->failed && p->token.kind != T_END) {
    if (!accept_keyword(p, "graph"))
      fail(p, "expected 'graph' here");
    Graph *graph = p->failed ? NULL : parse_graph(p);
    if (!graph)
      break;
    vec_push(arena, &graphs, graph);
  }
  if (!p->failed && !graphs.count)
    fail(p, "there is no graph in this text");
  *count = p->failed ? 0 : graphs.count;
  return p->failed ? NULL : graphs.at;
}
