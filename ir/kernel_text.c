/* Kernels as text: the printer of both stages. The grammar is in docs/kernel-ir.md.
 *
 * Invariant: kernel_parse of the printed text gives a kernel that prints the same. Parsing numbers
 * index variables in the order of their definitions, so affine terms are printed in that order too.
 */
#include "ir/kernel_text.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Printer {
  const Kernel *kernel;
  Text *out;
  int *order; /* variable id -> place among the definitions; NULL: by id */
} Printer;

/* ---- expressions ---- */

static int place_of(const Printer *p, const IndexVar *var) {
  return p->order ? p->order[var->id] : var->id;
}

static void print_sign(Text *out, bool first, bool negative) {
  text_add(out, "%s", first ? (negative ? "-" : "") : (negative ? " - " : " + "));
}

/* factor*NAME as a term of a sum. */
static void print_term(Text *out, bool *first, int64_t factor, const char *name) {
  print_sign(out, *first, factor < 0);
  uint64_t size = factor < 0 ? -(uint64_t)factor : (uint64_t)factor;
  if (size != 1)
    text_add(out, "%llu*", (unsigned long long)size);
  text_add(out, "%s", name);
  *first = false;
}

static void print_constant(Text *out, bool first, int64_t constant) {
  if (constant == 0 && !first)
    return;
  print_sign(out, first, constant < 0);
  uint64_t size = constant < 0 ? -(uint64_t)constant : (uint64_t)constant;
  text_add(out, "%llu", (unsigned long long)size);
}

/* The variable terms of a sum. */
static void print_vars(const Printer *p, const Affine *a, bool *first) {
  int sorted[MAX_TERMS];
  char name[300];
  for (int i = 0; i < a->count; i++) {
    int j = i;
    for (; j > 0 && place_of(p, a->term[sorted[j - 1]].var) > place_of(p, a->term[i].var); j--)
      sorted[j] = sorted[j - 1];
    sorted[j] = i;
  }
  for (int i = 0; i < a->count; i++) {
    snprintf(name, sizeof name, "%%%s", a->term[sorted[i]].var->name);
    print_term(p->out, first, a->term[sorted[i]].factor, name);
  }
}

static void print_affine(const Printer *p, const Affine *a) {
  bool first = true;
  print_vars(p, a, &first);
  print_constant(p->out, first, a->constant);
}

/* A sum with the row axes and the column as further terms. */
static void print_box_affine(const Printer *p, const Affine *a, const int64_t *row, int64_t col) {
  bool first = true;
  char name[16];
  print_vars(p, a, &first);
  for (int i = 0; i < MAX_ROW_AXES; i++)
    if (row[i]) {
      snprintf(name, sizeof name, "r%d", i);
      print_term(p->out, &first, row[i], name);
    }
  if (col)
    print_term(p->out, &first, col, "c");
  print_constant(p->out, first, a->constant);
}

static void print_guards(const Printer *p, const Guards *guards) {
  for (int i = 0; i < guards->count; i++) {
    const Guard *g = &guards->at[i];
    text_add(p->out, i ? " and " : " ");
    text_add(p->out, g->modulus > 0 ? "%lld divides " : "0 <= ", (long long)g->modulus);
    print_affine(p, &g->value);
    if (g->modulus <= 0)
      text_add(p->out, " < %lld", (long long)g->extent);
  }
}

static void print_number(Text *out, double number, Dtype dtype) {
  if (!dtype_is_float(dtype) && number == floor(number) && fabs(number) < 1e15)
    text_add(out, "%.0f", number);
  else
    text_add_float(out, number, dtype != DT_f64);
}

/* ---- types ---- */

const char *tile_type_text(const Tile *tile) {
  static _Thread_local char ring[4][120];
  static _Thread_local int next;
  char *text = ring[next++ % 4];
  int n = snprintf(text, sizeof ring[0], "%s[", dtype_name(tile->dtype));
  for (int i = 0; i < tile->n_axes; i++)
    n += snprintf(text + n, sizeof ring[0] - (size_t)n, "%s%d", i ? "x" : "", tile->axis[i]);
  snprintf(text + n, sizeof ring[0] - (size_t)n, "%s%d]", tile->n_axes ? ", " : "", tile->cols);
  return text;
}

const char *value_type_text(const KValue *value) {
  static _Thread_local char ring[4][32];
  static _Thread_local int next;
  char *text = ring[next++ % 4];
  if (value->width == 1)
    snprintf(text, sizeof ring[0], "%s", dtype_name(value->dtype));
  else
    snprintf(text, sizeof ring[0], "%sx%d", dtype_name(value->dtype), value->width);
  return text;
}

/* ---- statements ---- */

static void print_access(const Printer *p, const Access *access) {
  text_add(p->out, "%%%s[", access->buffer->name);
  for (int d = 0; d < access->rank; d++) {
    const AccessDim *dim = &access->dim[d];
    text_add(p->out, d ? ", " : "");
    if (access->gather && access->gather_dim == d) {
      text_add(p->out, "gather %%%s", access->gather->name);
      continue;
    }
    text_add(p->out, dim->divisor != 1 ? "(" : "");
    print_box_affine(p, &dim->at, dim->row, dim->col);
    if (dim->divisor != 1)
      text_add(p->out, ") / %lld", (long long)dim->divisor);
  }
  text_add(p->out, "]");
}

static void print_for(const Printer *p, const Stmt *s) {
  text_add(p->out, "for %%%s : [%lld, %lld] = ", s->var->name, (long long)s->var->low,
           (long long)s->var->high);
  print_affine(p, &s->low);
  text_add(p->out, " to ");
  print_affine(p, &s->high);
  if (s->has_high2) {
    text_add(p->out, " and ");
    print_affine(p, &s->high2);
  }
  text_add(p->out, " step %lld", (long long)s->step);
  if (s->unroll)
    text_add(p->out, " unroll");
  if (s->unroll > 0)
    text_add(p->out, " %d", s->unroll);
  text_add(p->out, " {");
}

static void print_var_definition(const Printer *p, const Stmt *s) {
  text_add(p->out, "%%%s : [%lld, %lld] = ", s->var->name, (long long)s->var->low,
           (long long)s->var->high);
  if (s->kind == STMT_LOOKUP) {
    text_add(p->out, "lookup %%%s[", s->table ? s->table->name : s->buffer->name);
    print_affine(p, &s->at);
    text_add(p->out, "]");
    return;
  }
  text_add(p->out, "index ");
  print_affine(p, &s->at);
  if (s->divisor != 1)
    text_add(p->out, " div %lld", (long long)s->divisor);
  if (s->modulus != 0)
    text_add(p->out, " mod %lld", (long long)s->modulus);
}

static void print_tile_statement(const Printer *p, const Stmt *s) {
  Text *out = p->out;
  const Tile *typed = s->kind == STMT_TILE_STORE ? s->tile_arg[0] : s->tile;
  if (s->kind < STMT_TILE_DOT || s->kind == STMT_TILE_FOLD)
    text_add(out, "%%%s = ", s->tile->name);
  switch (s->kind) {
  case STMT_TILE_FILL:
    text_add(out, "fill ");
    print_number(out, s->number, s->tile->dtype);
    break;
  case STMT_TILE_INDEX:
    text_add(out, "iota ");
    print_box_affine(p, &s->at, s->row_factor, s->col_factor);
    break;
  case STMT_TILE_LOAD:
    text_add(out, "load ");
    print_access(p, &s->access);
    if (s->inside) {
      text_add(out, " inside");
      break;
    }
    text_add(out, " fill ");
    print_number(out, s->number, s->tile->dtype);
    break;
  case STMT_TILE_MAP:
    text_add(out, "map %s", kop_info[s->kop].name);
    for (int i = 0; i < kop_info[s->kop].arity; i++)
      text_add(out, "%s %%%s", i ? "," : "", s->tile_arg[i]->name);
    break;
  case STMT_TILE_DOT:
    text_add(out, "dot %%%s, %%%s, %%%s", s->tile->name, s->tile_arg[0]->name,
             s->tile_arg[1]->name);
    break;
  case STMT_TILE_FOLD:
    text_add(out, "fold %s %s %%%s", kop_info[s->kop].name, s->fold_rows ? "rows" : "columns",
             s->tile_arg[0]->name);
    break;
  case STMT_TILE_STORE:
    text_add(out, s->stream ? "stream " : "store ");
    print_access(p, &s->access);
    text_add(out, " %s %%%s", s->accumulate ? "+=" : "=", s->tile_arg[0]->name);
    break;
  case STMT_TILE_PREFETCH:
    text_add(out, "prefetch ");
    print_access(p, &s->access);
    break;
  default: FAULT("no tile statement: %d", s->kind);
  }
  text_add(out, " : %s", tile_type_text(typed));
}

/* buffer[at + factor*dynamic], lane counts, guards: what loads and stores share. */
static void print_address(const Printer *p, const Buffer *buffer, const Stmt *s) {
  bool first = true;
  char name[32];
  text_add(p->out, "%%%s[", buffer->name);
  print_vars(p, &s->at, &first);
  if (s->dynamic) {
    snprintf(name, sizeof name, "%%%d", s->dynamic->id);
    print_term(p->out, &first, s->dynamic_factor, name);
  }
  print_constant(p->out, first, s->at.constant);
  text_add(p->out, "]");
}

static void print_conditions(const Printer *p, const Stmt *s) {
  if (s->has_lanes) {
    text_add(p->out, " lanes ");
    print_affine(p, &s->lanes);
  }
  if (s->guards.count) {
    text_add(p->out, " if");
    print_guards(p, &s->guards);
  }
}

static void print_loop_statement(const Printer *p, const Stmt *s) {
  Text *out = p->out;
  const KValue *typed = s->kind == STMT_STORE ? s->value_arg[0] : s->value;
  if (s->value && s->kind != STMT_STORE)
    text_add(out, "%%%d = ", s->value->id);
  switch (s->kind) {
  case STMT_POINTER:
    text_add(out, "%%%s = pointer ", s->buffer->name);
    print_address(p, s->base, s);
    print_conditions(p, s);
    return;
  case STMT_PREFETCH:
    text_add(out, "prefetch ");
    print_address(p, s->buffer, s);
    return;
  case STMT_BARRIER: text_add(out, "barrier"); return;
  case STMT_COMMIT: text_add(out, "commit"); return;
  case STMT_WAIT:
    text_add(out, "wait %d", s->count);
    for (int i = 0; i < s->arrived.count; i++)
      text_add(out, "%s%%%s", i ? ", " : " ", s->arrived.at[i]->name);
    return;
  case STMT_COPY:
    text_add(out, "copy %d ", s->count);
    print_address(p, s->buffer, s);
    text_add(out, " = ");
    print_address(p, s->base, &(Stmt){.at = s->from});
    print_conditions(p, s);
    return;
  case STMT_LOAD:
    text_add(out, "load ");
    print_address(p, s->buffer, s);
    print_conditions(p, s);
    if (s->guards.count) {
      text_add(out, " else ");
      print_number(out, s->number, s->value->dtype);
    }
    break;
  case STMT_MATRIX:
    text_add(out, "matrix %s", s->turned ? "turned " : "");
    print_address(p, s->buffer, s);
    break;
  case STMT_STORE:
    text_add(out, s->stream ? "stream " : "store ");
    print_address(p, s->buffer, s);
    text_add(out, " = %%%d", s->value_arg[0]->id);
    print_conditions(p, s);
    break;
  case STMT_LET:
    text_add(out, "%s", kop_info[s->kop].name);
    for (int i = 0; i < kop_info[s->kop].arity; i++)
      text_add(out, "%s %%%d", i ? "," : "", s->value_arg[i]->id);
    break;
  case STMT_CONST:
    text_add(out, "const ");
    print_number(out, s->number, s->value->dtype);
    break;
  case STMT_INDEX_VALUE:
    text_add(out, "iota ");
    print_box_affine(p, &s->at, (int64_t[MAX_ROW_AXES]){0}, s->col_factor);
    break;
  default: FAULT("no loop statement: %d", s->kind);
  }
  text_add(out, " : %s", value_type_text(typed));
}

static void print_line(const Printer *p, const Stmt *s) {
  switch (s->kind) {
  case STMT_FOR: print_for(p, s); break;
  case STMT_IF:
    text_add(p->out, "if");
    print_guards(p, &s->guards);
    text_add(p->out, " {");
    break;
  case STMT_LOOKUP:
  case STMT_INDEX: print_var_definition(p, s); break;
  case STMT_TILE_FILL:
  case STMT_TILE_INDEX:
  case STMT_TILE_LOAD:
  case STMT_TILE_MAP:
  case STMT_TILE_DOT:
  case STMT_TILE_FOLD:
  case STMT_TILE_STORE:
  case STMT_TILE_PREFETCH: print_tile_statement(p, s); break;
  default: print_loop_statement(p, s);
  }
}

void stmt_print_line(const Kernel *kernel, const Stmt *stmt, Text *text) {
  print_line(&(Printer){kernel, text, NULL}, stmt);
}

const char *stmt_text(const Kernel *kernel, const Stmt *stmt) {
  static _Thread_local char line[400];
  Text text = {0};
  if (stmt->loc.line > 0)
    text_add(&text, "line %d: ", stmt->loc.line);
  stmt_print_line(kernel, stmt, &text);
  snprintf(line, sizeof line, "%s", text.at);
  text_free(&text);
  return line;
}

static void print_block(const Printer *p, const Block *block, int depth) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = block->at[i];
    text_add(p->out, "%*s", 2 * depth, "");
    print_line(p, s);
    text_add(p->out, "\n");
    if (s->kind != STMT_FOR && s->kind != STMT_IF)
      continue;
    print_block(p, &s->body, depth + 1);
    if (s->other.count) {
      text_add(p->out, "%*s} else {\n", 2 * depth, "");
      print_block(p, &s->other, depth + 1);
    }
    text_add(p->out, "%*s}\n", 2 * depth, "");
  }
}

/* ---- the kernel ---- */

static void number_definitions(const Block *block, int *order, int *next) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = block->at[i];
    if (s->var && order[s->var->id] == INT32_MAX)
      order[s->var->id] = (*next)++;
    number_definitions(&s->body, order, next);
    number_definitions(&s->other, order, next);
  }
}

/* For every variable id the place of its definition in the text. */
static int *definition_order(const Kernel *kernel) {
  int next = 0, *order = mem_alloc(sizeof(int) * (size_t)(kernel->vars.count + 1));
  for (int i = 0; i < kernel->vars.count; i++)
    order[i] = INT32_MAX;
  for (int i = 0; i < kernel->n_grid; i++)
    order[kernel->grid[i].var->id] = next++;
  if (kernel->thread)
    order[kernel->thread->id] = next++;
  number_definitions(&kernel->body, order, &next);
  return order;
}

static void print_doc(Text *out, const char *doc) {
  text_add(out, "  doc \"");
  for (const char *c = doc; *c; c++) {
    if (*c == '"' || *c == '\\')
      text_add(out, "\\");
    text_add(out, "%c", *c == '\n' ? ' ' : *c);
  }
  text_add(out, "\"\n");
}

static void print_schedule(Text *out, const Schedule *s) {
  if (!s->rows && !s->cols && !s->unroll_k && s->strips <= 1 && !s->stage_a && !s->stage_b)
    return;
  text_add(out, "  schedule rows %d cols %d unroll_k %d strips %d%s%s\n", s->rows, s->cols,
           s->unroll_k, s->strips, s->stage_a ? " stage_a" : "", s->stage_b ? " stage_b" : "");
}

static void print_header(const Kernel *kernel, Text *out) {
  static const char *const space[] = {"global", "shared", "local", "pointer"};
  if (*kernel->doc)
    print_doc(out, kernel->doc);
  print_schedule(out, &kernel->schedule);
  for (int i = 0; i < kernel->tables.count; i++) {
    const Table *table = kernel->tables.at[i];
    text_add(out, "  table %%%s = [", table->name);
    for (int j = 0; j < table->count; j++)
      text_add(out, "%s%lld", j ? ", " : "", (long long)table->values[j]);
    text_add(out, "]\n");
  }
  for (int i = 0; i < kernel->n_grid; i++)
    text_add(out, "  grid %%%s = %lld\n", kernel->grid[i].var->name,
             (long long)kernel->grid[i].extent);
  if (kernel->thread)
    text_add(out, "  threads %%%s = %d\n", kernel->thread->name, kernel->threads);
  for (int i = kernel->n_arguments; i < kernel->buffers.count; i++)
    text_add(out, "  %s %%%s : %s\n", space[kernel->buffers.at[i]->space],
             kernel->buffers.at[i]->name, type_text(&kernel->buffers.at[i]->type));
}

void kernel_print(const Kernel *kernel, Text *text) {
  Printer printer = {kernel, text, definition_order(kernel)};
  text_add(text, "%s kernel @%s(", kernel->stage == STAGE_TILE ? "tile" : "loop", kernel->name);
  for (int i = 0; i < kernel->n_arguments; i++) {
    const Buffer *buffer = kernel->buffers.at[i];
    text_add(text, "%s%%%s: %s%s%s", i ? ", " : "", buffer->name, buffer->written ? "out " : "",
             buffer->aliased ? "aliased " : "", type_text(&buffer->type));
  }
  text_add(text, ") {\n");
  print_header(kernel, text);
  print_block(&printer, &kernel->body, 1);
  text_add(text, "}\n");
  free(printer.order);
}
