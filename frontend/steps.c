/* Steps and module headers: from YAML to syntax trees.
 *
 * A step is a scalar (`x = f(y)`, `return x`, `tap s0 = x`) or a mapping whose key opens a block
 * (`for i in range(4):`, `if training:` with `elif …:` and `else:`, `scope layer.{i}:`,
 * `stage s0:`, `uncounted:`). A body is a list of steps or one step.
 */
#include "frontend/parts.h"
#include <string.h>

/* ---- simple steps ---- */

/* Is this `a = …` or `a, b = …`? Leaves the scanner where it was. */
static bool is_assignment(Scanner *scanner) {
  int start = scanner->token.start;
  bool assignment = false;
  while (scanner->token.kind == TOKEN_NAME) {
    scanner_next(scanner);
    if (scanner_is(scanner, "=")) {
      assignment = true;
      break;
    }
    if (!scanner_take(scanner, ","))
      break;
  }
  scanner_seek(scanner, start);
  return assignment;
}

/* Behind `tap` or `output`: `path = expression`. */
static bool parse_named_step(Scanner *scanner, Step *step) {
  step->path = parse_path(scanner, scanner->token.stop);
  if (!step->path || !scanner_expect(scanner, "="))
    return false;
  step->expr = parse_expression(scanner);
  return step->expr && scanner_expect_end(scanner);
}

static bool parse_update(Scanner *scanner, Step *step) {
  scanner_next(scanner);
  const char *name = scanner_expect_name(scanner, "the name of a buffer");
  if (!name || !scanner_expect(scanner, "="))
    return false;
  step->targets = ARENA_NEW(scanner->diag->arena, const char *);
  step->targets[0] = name;
  step->n_targets = 1;
  step->expr = parse_expression(scanner);
  return step->expr && scanner_expect_end(scanner);
}

static bool parse_check(Scanner *scanner, Step *step) {
  int start = scanner->token.start;
  step->expr = parse_expression(scanner);
  if (!step->expr)
    return false;
  int stop = scanner->token.start;
  while (stop > start && scanner->scalar->text[stop - 1] == ' ')
    stop--;
  step->text = arena_strndup(scanner->diag->arena, scanner->scalar->text + start,
                             (size_t)(stop - start));
  if (scanner_take(scanner, ",") && !(step->message = parse_expression(scanner)))
    return false;
  return scanner_expect_end(scanner);
}

bool parse_check_text(Diag *diag, Yaml *node, Step *step) {
  Scanner scanner;
  step->kind = STEP_CHECK;
  step->loc = node->loc;
  return scanner_start(&scanner, diag, node) && parse_check(&scanner, step);
}

static bool parse_simple(Diag *diag, Yaml *node, Step *step) {
  Scanner scanner;
  if (!scanner_start(&scanner, diag, node))
    return false;
  step->loc = scanner_loc(&scanner);
  if (scanner_is(&scanner, "tap") || scanner_is(&scanner, "output")) {
    step->kind = scanner_is(&scanner, "tap") ? STEP_TAP : STEP_OUTPUT;
    return parse_named_step(&scanner, step);
  }
  if (scanner_is(&scanner, "update")) {
    step->kind = STEP_UPDATE;
    return parse_update(&scanner, step);
  }
  if (scanner_take(&scanner, "check")) {
    step->kind = STEP_CHECK;
    return parse_check(&scanner, step);
  }
  if (scanner_take(&scanner, "return")) {
    step->kind = STEP_RETURN;
  } else if (is_assignment(&scanner)) {
    step->kind = STEP_ASSIGN;
    step->n_targets = parse_targets(&scanner, &step->targets);
    if (!step->n_targets || !scanner_expect(&scanner, "="))
      return false;
  } else {
    step->kind = STEP_EVALUATE;
  }
  step->expr = parse_expressions(&scanner);
  return step->expr && scanner_expect_end(&scanner);
}

/* ---- blocks ---- */

static bool parse_condition(Diag *diag, Yaml *key, Step *step) {
  Scanner scanner;
  if (!scanner_start(&scanner, diag, key))
    return false;
  step->kind = STEP_IF;
  step->loc = key->loc;
  scanner_next(&scanner); /* if, elif */
  step->expr = parse_expression(&scanner);
  return step->expr && scanner_expect_end(&scanner);
}

static bool opens_with(const Yaml *key, const char *word) {
  size_t length = strlen(word);
  return strncmp(key->text, word, length) == 0 && (key->text[length] == ' ' || !key->text[length]);
}

/* pairs[from..]: `if` or `elif`, then whatever follows it in the same mapping. */
static bool parse_if(Diag *diag, const Yaml *node, int from, Step *step) {
  const YamlPair *pair = &node->pairs[from];
  bool good = parse_condition(diag, pair->key, step);
  good &= parse_steps(diag, pair->value, &step->body);
  if (from + 1 == node->count)
    return good;
  const YamlPair *next = &node->pairs[from + 1];
  if (yaml_is(next->key, "else")) {
    if (from + 2 < node->count)
      return diag_error(diag, node->pairs[from + 2].key->loc, "nothing may follow 'else'");
    return parse_steps(diag, next->value, &step->otherwise) && good;
  }
  if (!opens_with(next->key, "elif"))
    return diag_error(diag, next->key->loc,
                      "expected 'elif' or 'else'; a new step starts with '- '");
  step->otherwise = (Steps){1, ARENA_NEW(diag->arena, Step)};
  return parse_if(diag, node, from + 1, step->otherwise.at) && good;
}

static bool parse_for(Scanner *scanner, Step *step) {
  step->kind = STEP_FOR;
  scanner_next(scanner);
  step->n_targets = parse_targets(scanner, &step->targets);
  if (!step->n_targets || !scanner_expect(scanner, "in"))
    return false;
  step->expr = parse_expression(scanner);
  return step->expr && scanner_expect_end(scanner);
}

static bool parse_block_head(Scanner *scanner, Step *step) {
  if (scanner_is(scanner, "for"))
    return parse_for(scanner, step);
  if (scanner_is(scanner, "scope") || scanner_is(scanner, "stage")) {
    step->kind = scanner_is(scanner, "scope") ? STEP_SCOPE : STEP_STAGE;
    step->path = parse_path(scanner, scanner->token.stop);
    return step->path && scanner_expect_end(scanner);
  }
  if (scanner_take(scanner, "uncounted")) {
    step->kind = STEP_UNCOUNTED;
    return scanner_expect_end(scanner);
  }
  return scanner_error(scanner, "a block opens with for, if, scope, stage or uncounted");
}

static bool parse_block(Diag *diag, const Yaml *node, Step *step) {
  if (!node->count)
    return diag_error(diag, node->loc, "an empty step");
  Yaml *key = node->pairs[0].key;
  if (opens_with(key, "if"))
    return parse_if(diag, node, 0, step);
  Scanner scanner;
  step->loc = key->loc;
  bool good = scanner_start(&scanner, diag, key) && parse_block_head(&scanner, step);
  if (node->count > 1)
    return diag_error(diag, node->pairs[1].key->loc,
                      "one block holds one head; a new step starts with '- '");
  return parse_steps(diag, node->pairs[0].value, &step->body) && good;
}

static bool parse_step(Diag *diag, Yaml *node, Step *step) {
  if (node->kind == YAML_MAPPING)
    return parse_block(diag, node, step);
  if (node->kind == YAML_SCALAR)
    return parse_simple(diag, node, step);
  return diag_error(diag, node->loc, "a step is text or a block, not a list");
}

bool parse_steps(Diag *diag, const Yaml *node, Steps *steps) {
  Yaml *const *items = node->items;
  Yaml *one = (Yaml *)node;
  int count = node->count;
  bool good = true;
  if (node->kind != YAML_SEQUENCE) {
    items = &one;
    count = 1;
  }
  *steps = (Steps){count, ARENA_ARRAY(diag->arena, Step, count + 1)};
  for (int i = 0; i < count; i++)
    good &= parse_step(diag, items[i], &steps->at[i]);
  return good;
}

/* ---- modules ---- */

static const char *const arg_types[] = {"tensor", "int", "real", "bool", "text", "list"};
enum { N_ARG_TYPES = sizeof arg_types / sizeof *arg_types };

/* `name`, `name type`, `name = expression`, `name type = expression`. */
static bool parse_module_arg(Scanner *scanner, ModuleArg *arg) {
  arg->loc = scanner_loc(scanner);
  arg->name = scanner_expect_name(scanner, "the name of an argument");
  if (!arg->name)
    return false;
  if (scanner->token.kind == TOKEN_NAME) {
    for (int i = 0; i < N_ARG_TYPES; i++)
      if (strcmp(scanner->token.text, arg_types[i]) == 0)
        arg->type = arg_types[i];
    if (!arg->type)
      return scanner_error(scanner, "'%s' is no type: tensor, int, real, bool, text, list",
                           scanner->token.text);
    scanner_next(scanner);
  }
  if (!scanner_take(scanner, "="))
    return true;
  return (arg->fallback = parse_expression(scanner)) != NULL;
}

static bool arg_is_new(Diag *diag, const ModuleArg *args, int count, const ModuleArg *arg) {
  for (int i = 0; i < count; i++)
    if (strcmp(args[i].name, arg->name) == 0)
      return diag_error(diag, arg->loc, "argument '%s' is listed twice", arg->name);
  if (count && args[count - 1].fallback && !arg->fallback)
    return diag_error(diag, arg->loc, "argument '%s' needs a default: the one before it has one",
                      arg->name);
  return true;
}

static bool parse_header(Diag *diag, Yaml *header, Module *module) {
  Scanner scanner;
  VEC(ModuleArg) args = {0};
  if (!scanner_start(&scanner, diag, header))
    return false;
  module->name = scanner_expect_name(&scanner, "the name of a module");
  if (!module->name)
    return false;
  if (scanner_take(&scanner, "("))
    while (!scanner_take(&scanner, ")")) {
      ModuleArg arg = {0};
      if (!parse_module_arg(&scanner, &arg) || !arg_is_new(diag, args.at, args.count, &arg))
        return false;
      vec_push(diag->arena, &args, arg);
      if (!scanner_is(&scanner, ")") && !scanner_expect(&scanner, ","))
        return false;
    }
  module->n_args = args.count;
  module->args = args.at;
  return scanner_expect_end(&scanner);
}

/* `output` belongs to entries, `return` to modules. */
static bool check_kinds(Diag *diag, const Module *module, const Steps *steps) {
  bool good = true;
  for (int i = 0; i < steps->count; i++) {
    const Step *step = &steps->at[i];
    if (step->kind == STEP_OUTPUT && !module->entry)
      good = diag_error(diag, step->loc, "only an entry has outputs; a module returns");
    if (step->kind == STEP_RETURN && module->entry)
      good = diag_error(diag, step->loc, "an entry has named outputs: output name = value");
    good &= check_kinds(diag, module, &step->body);
    good &= check_kinds(diag, module, &step->otherwise);
  }
  return good;
}

Module *parse_module(Diag *diag, Yaml *header, const Yaml *body, Model *home, bool entry) {
  Module *module = ARENA_NEW(diag->arena, Module);
  module->home = home;
  module->entry = entry;
  module->loc = header->loc;
  bool good = parse_header(diag, header, module);
  good &= parse_steps(diag, body, &module->body);
  return good && check_kinds(diag, module, &module->body) ? module : NULL;
}
