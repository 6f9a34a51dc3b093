/* The kernel parser's insides, shared by kernel_scan.c (words to sums) and kernel_parse.c. */
#ifndef TRICOT_IR_KERNEL_PARSER_H
#define TRICOT_IR_KERNEL_PARSER_H
#include "ir/kernel_text.h"

typedef enum SymbolKind {
  SYMBOL_BUFFER,
  SYMBOL_TABLE,
  SYMBOL_VAR,
  SYMBOL_TILE,
  SYMBOL_VALUE
} SymbolKind;

typedef struct Symbol {
  SymbolKind kind;
  void *at;
} Symbol;

typedef struct Parser {
  Arena *arena;
  Diag *diag;
  const Source *source;
  const char *at, *end, *line_start;
  int line;
  int depth;   /* blocks that are open */
  bool failed; /* an error was told; every function then returns quietly */
  Kernel *kernel;
  Map symbols; /* name -> Symbol */
} Parser;

/* Whatever a sum may hold: index variables, row axes and the column, one value times a factor. */
typedef struct Sum {
  Affine affine;
  int64_t row[MAX_ROW_AXES], col;
  KValue *dynamic;
  int64_t dynamic_factor;
} Sum;

enum { ALLOW_BOX = 1, ALLOW_DYNAMIC = 2 };

Loc scan_here(const Parser *);
void scan_fail(Parser *, Loc, const char *format, ...) __attribute__((format(printf, 3, 4)));
char scan_peek(const Parser *); /* 0 at the end */
void scan_space(Parser *);      /* past spaces and comments */
bool scan_accept(Parser *, const char *word);
void scan_expect(Parser *, const char *word);
const char *scan_word(Parser *, const char *what);
int64_t scan_integer(Parser *);
int scan_small_integer(Parser *, int64_t low, int64_t high);
double scan_number(Parser *);

const char *scan_name(Parser *); /* after its '%' */
bool scan_is_value_name(const char *name);
Symbol *scan_find(Parser *, const char *name);
void scan_define(Parser *, const char *name, SymbolKind, void *at);
void *scan_use_name(Parser *, Loc, const char *name, SymbolKind); /* NULL after an error */
void *scan_use(Parser *, SymbolKind);
const char *scan_fresh_name(Parser *); /* a name nobody has; NULL after an error */
IndexVar *scan_define_var(Parser *, Loc, const char *name, int64_t low, int64_t high);

Type scan_tensor_type(Parser *);
void scan_tile_type(Parser *, Tile *pattern); /* no tile of the kernel yet */
void scan_value_type(Parser *, Dtype *, int *width);

Sum scan_sum(Parser *, int allow);
Affine scan_affine(Parser *);
void scan_guards(Parser *, Guards *);
#endif
