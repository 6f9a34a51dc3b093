/* Reading kernel text, the lower half: words, numbers, names, types, sums and guards.
 *
 * Spaces and newlines only separate, '#' starts a comment. The first error sets `failed`; from then
 * on every function returns quietly with some value of its type. See kernel_parser.h.
 */
#include "ir/kernel_parser.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_EXTENT = 1 << 20 }; /* of a tile: all its rows, its columns */

/* ---- characters and words ---- */

Loc scan_here(const Parser *p) {
  return (Loc){p->source, p->line, (int)(p->at - p->line_start) + 1};
}

/* Only the first error is told; everything after it returns quietly. */
void scan_fail(Parser *p, Loc loc, const char *format, ...) {
  va_list arguments;
  if (p->failed)
    return;
  p->failed = true;
  va_start(arguments, format);
  diag_error(p->diag, loc, "%s", arena_vprintf(p->arena, format, arguments));
  va_end(arguments);
}

char scan_peek(const Parser *p) { return p->at < p->end ? *p->at : 0; }

void scan_space(Parser *p) {
  for (; p->at < p->end; p->at++) {
    if (*p->at == '#')
      while (p->at + 1 < p->end && p->at[1] != '\n')
        p->at++;
    else if (*p->at == '\n') {
      p->line++;
      p->line_start = p->at + 1;
    } else if (!isspace((unsigned char)*p->at))
      return;
  }
}

static bool word_char(char c) { return isalnum((unsigned char)c) || c == '_' || c == '.'; }

/* Takes the word or sign if it comes next; a word must end there. */
bool scan_accept(Parser *p, const char *word) {
  scan_space(p);
  size_t size = strlen(word);
  if (p->failed || (size_t)(p->end - p->at) < size || memcmp(p->at, word, size) != 0)
    return false;
  if (word_char(word[size - 1]) && p->at + size < p->end && word_char(p->at[size]))
    return false;
  p->at += size;
  return true;
}

void scan_expect(Parser *p, const char *word) {
  if (!scan_accept(p, word))
    scan_fail(p, scan_here(p), "expected '%s'", word);
}

const char *scan_word(Parser *p, const char *what) {
  scan_space(p);
  const char *start = p->at;
  while (word_char(scan_peek(p)))
    p->at++;
  if (p->at == start)
    scan_fail(p, scan_here(p), "expected %s", what);
  return arena_strndup(p->arena, start, (size_t)(p->at - start));
}

/* The bound keeps sums of variables times factors within 64 bits. */
int64_t scan_integer(Parser *p) {
  static const int64_t limit = (int64_t)1 << 31;
  scan_space(p);
  const char *start = p->at;
  int64_t value = 0;
  bool negative = scan_peek(p) == '-';
  if (negative)
    p->at++;
  if (!isdigit((unsigned char)scan_peek(p)))
    scan_fail(p, scan_here(p), "expected an integer");
  for (; isdigit((unsigned char)scan_peek(p)); p->at++)
    value = value > limit ? value : 10 * value + (*p->at - '0');
  if (value > limit) {
    p->at = start;
    scan_fail(p, scan_here(p), "the integer is beyond 2147483648");
    return 0;
  }
  return negative ? -value : value;
}

int scan_small_integer(Parser *p, int64_t low, int64_t high) {
  scan_space(p);
  Loc loc = scan_here(p);
  int64_t value = scan_integer(p);
  if (value < low || value > high)
    scan_fail(p, loc, "expected an integer from %" PRId64 " to %" PRId64, low, high);
  return p->failed ? (int)low : (int)value;
}

double scan_number(Parser *p) {
  char spelled[64];
  size_t size = 0;
  scan_space(p);
  Loc loc = scan_here(p);
  for (; size + 1 < sizeof spelled; p->at++) {
    char c = scan_peek(p);
    bool sign = (c == '-' || c == '+') && (size == 0 || strchr("eE", spelled[size - 1]));
    if (!sign && !word_char(c))
      break;
    spelled[size++] = c;
  }
  spelled[size] = 0;
  char *stop;
  double value = strtod(spelled, &stop);
  if (size == 0 || *stop)
    scan_fail(p, loc, "expected a number");
  return value;
}

/* ---- names ---- */

const char *scan_name(Parser *p) {
  scan_expect(p, "%");
  return scan_word(p, "a name");
}

bool scan_is_value_name(const char *name) { return isdigit((unsigned char)*name); }

Symbol *scan_find(Parser *p, const char *name) { return map_get(&p->symbols, name); }

void scan_define(Parser *p, const char *name, SymbolKind kind, void *at) {
  Symbol *symbol = ARENA_NEW(p->arena, Symbol);
  *symbol = (Symbol){kind, at};
  map_set(&p->symbols, name, symbol);
}

void *scan_use_name(Parser *p, Loc loc, const char *name, SymbolKind kind) {
  static const char *const kinds[] = {"a buffer", "a table", "an index variable", "a tile",
                                      "a value"};
  Symbol *symbol = p->failed ? NULL : scan_find(p, name);
  if (!symbol)
    scan_fail(p, loc, "%%%s is not defined before its use", name);
  else if (symbol->kind != kind)
    scan_fail(p, loc, "%%%s is %s, expected %s", name, kinds[symbol->kind], kinds[kind]);
  else
    return symbol->at;
  return NULL;
}

void *scan_use(Parser *p, SymbolKind kind) {
  scan_space(p);
  Loc loc = scan_here(p);
  const char *name = scan_name(p);
  return scan_use_name(p, loc, name, kind);
}

/* A name that must be new; NULL after an error. */
const char *scan_fresh_name(Parser *p) {
  scan_space(p);
  Loc loc = scan_here(p);
  const char *name = scan_name(p);
  if (!p->failed && scan_find(p, name))
    scan_fail(p, loc, "%%%s is already defined", name);
  if (!p->failed && scan_is_value_name(name))
    scan_fail(p, loc, "names of digits are for values");
  return p->failed ? NULL : name;
}

/* The variable of the name: a new one, or the same again with the same range. */
IndexVar *scan_define_var(Parser *p, Loc loc, const char *name, int64_t low, int64_t high) {
  Symbol *symbol = p->failed ? NULL : scan_find(p, name);
  if (p->failed)
    return NULL;
  if (low > high || scan_is_value_name(name)) {
    scan_fail(p, loc, "%%%s: no variable can be like that", name);
    return NULL;
  }
  if (!symbol) {
    IndexVar *var = kernel_var(p->kernel, name, low, high);
    scan_define(p, name, SYMBOL_VAR, var);
    return var;
  }
  IndexVar *var = scan_use_name(p, loc, name, SYMBOL_VAR);
  if (var && (var->low != low || var->high != high))
    scan_fail(p, loc, "%%%s has another range, [%" PRId64 ", %" PRId64 "]", name, var->low,
              var->high);
  return var;
}

/* ---- types ---- */

static Dtype element_type(Parser *p, const char *name, Loc loc) {
  Dtype dtype = DT_f32;
  if (!dtype_from_name(name, &dtype))
    scan_fail(p, loc, "'%s' is no element type", name);
  return dtype;
}

static int64_t scan_extent(Parser *p) {
  scan_space(p);
  Loc loc = scan_here(p);
  int64_t extent = scan_integer(p);
  if (extent < 1)
    scan_fail(p, loc, "an extent is positive");
  return p->failed ? 1 : extent;
}

Type scan_tensor_type(Parser *p) {
  static const double most = 0x1p48; /* elements */
  Type type = {0};
  double elements = 1;
  scan_space(p);
  Loc loc = scan_here(p);
  type.dtype = element_type(p, scan_word(p, "a type"), loc);
  scan_expect(p, "[");
  while (!p->failed && !scan_accept(p, "]")) {
    if (type.rank == MAX_RANK)
      scan_fail(p, scan_here(p), "more than %d dimensions", MAX_RANK);
    else
      elements *= (double)(type.dim[type.rank++] = scan_extent(p));
    if (elements > most) {
      scan_fail(p, loc, "a tensor of more than 2^48 elements");
      type.rank = 0;
    }
    if (!scan_accept(p, ",") && scan_peek(p) != ']')
      scan_fail(p, scan_here(p), "expected ',' or ']'");
  }
  return type;
}

/* "f32[4x8, 16]" or "f32[16]" into *tile (a pattern, not yet a tile of the kernel). */
void scan_tile_type(Parser *p, Tile *tile) {
  scan_space(p);
  Loc loc = scan_here(p);
  int extents[MAX_ROW_AXES] = {0}, n = 0;
  *tile = (Tile){.rows = 1};
  tile->dtype = element_type(p, scan_word(p, "a type"), loc);
  scan_expect(p, "[");
  do {
    if (n == MAX_ROW_AXES)
      scan_fail(p, scan_here(p), "more than %d row axes", MAX_ROW_AXES);
    else
      extents[n++] = scan_small_integer(p, 1, MAX_EXTENT);
  } while (scan_peek(p) == 'x' && p->at++ && !p->failed);
  if (scan_accept(p, ",")) {
    tile->n_axes = n;
    memcpy(tile->axis, extents, sizeof extents);
    tile->cols = scan_small_integer(p, 1, MAX_EXTENT);
  } else if (n == 1) {
    tile->cols = extents[0];
  } else {
    scan_fail(p, scan_here(p), "expected ',' and the columns");
  }
  scan_expect(p, "]");
  int64_t rows = 1;
  for (int i = 0; i < tile->n_axes && rows <= MAX_EXTENT; i++)
    rows *= tile->axis[i];
  if (rows > MAX_EXTENT)
    scan_fail(p, loc, "a tile of more than %d rows", MAX_EXTENT);
  else
    tile->rows = (int)rows;
}

void scan_value_type(Parser *p, Dtype *dtype, int *width) {
  scan_space(p);
  Loc loc = scan_here(p);
  const char *name = scan_word(p, "a type"), *cross = strchr(name, 'x');
  *width = 1;
  if (cross) {
    char *stop;
    long lanes = strtol(cross + 1, &stop, 10);
    if (*stop || lanes < 2 || lanes > 1024)
      scan_fail(p, loc, "'%s' is no vector type", name);
    *width = (int)lanes;
    name = arena_strndup(p->arena, name, (size_t)(cross - name));
  }
  *dtype = element_type(p, name, loc);
}

/* ---- sums ---- */

static void percent_term(Parser *p, Sum *sum, int64_t factor, int allow) {
  scan_space(p);
  Loc loc = scan_here(p);
  const char *name = scan_name(p);
  if (!p->failed && scan_is_value_name(name) && (allow & ALLOW_DYNAMIC)) {
    if (sum->dynamic)
      scan_fail(p, loc, "only one value in an address");
    sum->dynamic = scan_use_name(p, loc, name, SYMBOL_VALUE);
    sum->dynamic_factor = factor;
    return;
  }
  IndexVar *var = scan_use_name(p, loc, name, SYMBOL_VAR);
  if (!var)
    return;
  if (sum->affine.count == MAX_TERMS)
    scan_fail(p, loc, "more than %d variables in one sum", MAX_TERMS);
  else
    sum->affine = affine_add(sum->affine, affine_var(var, factor));
}

/* One term: 4, 4*%d, %d, 2*r0, c. */
static void term(Parser *p, Sum *sum, int64_t sign, int allow) {
  static const char *const row[MAX_ROW_AXES] = {"r0", "r1", "r2", "r3"};
  int64_t factor = sign;
  scan_space(p);
  if (isdigit((unsigned char)scan_peek(p))) {
    factor = sign * scan_integer(p);
    if (!scan_accept(p, "*")) {
      sum->affine.constant += factor;
      return;
    }
    scan_space(p);
  }
  if (scan_peek(p) == '%') {
    percent_term(p, sum, factor, allow);
    return;
  }
  for (int i = 0; i < MAX_ROW_AXES && (allow & ALLOW_BOX); i++)
    if (scan_accept(p, row[i])) {
      sum->row[i] += factor;
      return;
    }
  if ((allow & ALLOW_BOX) && scan_accept(p, "c"))
    sum->col += factor;
  else
    scan_fail(p, scan_here(p), "expected a term of a sum");
}

/* Every number of a sum is one that could have been written alone. */
static bool within_limits(const Sum *sum) {
  static const int64_t limit = (int64_t)1 << 31;
  bool good = llabs(sum->affine.constant) <= limit && llabs(sum->col) <= limit &&
              llabs(sum->dynamic_factor) <= limit;
  for (int i = 0; i < MAX_ROW_AXES; i++)
    good &= llabs(sum->row[i]) <= limit;
  for (int i = 0; i < sum->affine.count; i++)
    good &= llabs(sum->affine.term[i].factor) <= limit;
  return good;
}

Sum scan_sum(Parser *p, int allow) {
  Sum sum = {0};
  scan_space(p);
  Loc loc = scan_here(p);
  int64_t sign = scan_accept(p, "-") ? -1 : 1;
  do {
    term(p, &sum, sign, allow);
    sign = scan_accept(p, "+") ? 1 : scan_accept(p, "-") ? -1 : 0;
  } while (sign && !p->failed);
  if (!p->failed && !within_limits(&sum))
    scan_fail(p, loc, "a number of the sum is beyond 2147483648");
  return sum;
}

Affine scan_affine(Parser *p) { return scan_sum(p, 0).affine; }

void scan_guards(Parser *p, Guards *guards) {
  do {
    Guard guard = {0};
    int64_t first = scan_integer(p);
    if (scan_accept(p, "divides")) {
      if (first < 1)
        scan_fail(p, scan_here(p), "the modulus must be positive");
      guard.modulus = first;
      guard.value = scan_affine(p);
    } else {
      if (first != 0)
        scan_fail(p, scan_here(p), "a guard begins with 0 <=, or with a modulus that divides");
      scan_expect(p, "<=");
      guard.value = scan_affine(p);
      scan_expect(p, "<");
      guard.extent = scan_integer(p);
    }
    vec_push(p->arena, guards, guard);
  } while (scan_accept(p, "and") && !p->failed);
}
