/* Names, affine expressions, guards, numbers and scalar ops as C and CUDA spell them.
 *
 * In: an emitter that knows its kernel. Out: arena strings. Every name is an identifier of C and of
 * C++, unique in its function. Where index arithmetic is in int, an expression whose partial sums
 * may leave int is spelled in 64 bits; the ranges of the variables decide.
 */
#include "codegen/text_dialect.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- lines and words ---- */

/* The last place before the margin where a long line may go on in the next: 0, none. */
static size_t line_break(const char *words, size_t room) {
  size_t place = 0;
  for (size_t i = 1; words[i] && i < room; i++)
    if (words[i - 1] == ' ' && (strchr("?:&+", words[i]) || (i > 1 && words[i - 2] == ',')))
      place = i;
  return place;
}

void line(Emitter *e, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const char *words = arena_vprintf(e->arena, format, arguments);
  va_end(arguments);
  size_t indent = 2 * (size_t)e->indent, place;
  while (strlen(words) + indent > 100 && (place = line_break(words, 100 - indent % 60))) {
    text_add(e->text, "%*s%.*s\n", (int)indent, "", (int)place - 1, words);
    words += place;
    indent = 2 * (size_t)e->indent + 4;
  }
  text_add(e->text, "%*s%s\n", (int)indent, "", words);
}

const char *spell(Emitter *e, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const char *words = arena_vprintf(e->arena, format, arguments);
  va_end(arguments);
  return words;
}

/* A comment must not end early nor look like a continued line. */
void comment(Emitter *e, const char *words) {
  char *safe = arena_strdup(e->arena, words);
  for (char *c = safe; *c; c++)
    if ((*c == '*' && c[1] == '/') || (*c == '/' && c[1] == '*') || *c == '\\')
      *c = '|';
  char *rest = safe, *part;
  bool first = true;
  while ((part = strsep(&rest, "\n"))) {
    line(e, "%s%s%s", first ? "/* " : " * ", part, rest ? "" : " */");
    first = false;
  }
}

/* ---- names ---- */

static const char *const reserved[] = {
    "alignas", "alignof", "and", "asm", "auto", "bool", "break", "case", "catch", "char", "class",
    "const", "constexpr", "continue", "default", "delete", "do", "double", "else", "enum",
    "explicit", "export", "extern", "false", "float", "for", "friend", "goto", "if", "inline",
    "int", "long", "mutable", "namespace", "new", "not", "nullptr", "operator", "or", "private",
    "protected", "public", "register", "requires", "restrict", "return", "short", "signed",
    "sizeof", "static", "struct", "switch", "template", "this", "throw", "true", "try", "typedef",
    "typename", "typeof", "union", "unsigned", "using", "virtual", "void", "volatile", "while",
    "xor",
    /* what the text itself uses */
    "arguments", "begin", "end", "block", "lane", "half", "fold", "fmaf", "sqrtf", "floorf",
    "rintf", "fabsf", "f32", "bf16", "i64", "i32", "i16", "i8", "u8", "u16", "u32", "u64", "unix",
    "linux"};

static bool is_reserved(const char *name) {
  for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
    if (strcmp(name, reserved[i]) == 0)
      return true;
  return name[0] == 'v' && name[1] && !name[1 + strspn(name + 1, "0123456789")]; /* a value */
}

static const char *safe_name(Emitter *e, Map *taken, const char *prefix, const char *name) {
  char *safe = arena_printf(e->arena, "%s%s", prefix, name);
  for (char *c = safe; *c; c++)
    if (!isalnum((unsigned char)*c) && *c != '_')
      *c = '_';
  if (!isalpha((unsigned char)*safe) || strncasecmp(safe, "tricot_", 7) == 0)
    safe = arena_printf(e->arena, "k%s%s", *safe == '_' ? "" : "_", safe);
  while (is_reserved(safe) || map_get(taken, safe))
    safe = arena_printf(e->arena, "%s_", safe);
  map_set(taken, safe, e);
  return safe;
}

void name_everything(Emitter *e) {
  const Kernel *k = e->kernel;
  Map taken;
  map_init(&taken, e->arena);
  map_set(&taken, k->name, e);
  e->var_name = ARENA_ARRAY(e->arena, const char *, k->vars.count);
  e->buffer_name = ARENA_ARRAY(e->arena, const char *, k->buffers.count);
  e->table_name = ARENA_ARRAY(e->arena, const char *, k->tables.count);
  for (int i = 0; i < k->buffers.count; i++) {
    CHECK(k->buffers.at[i]->id == i);
    e->buffer_name[i] = safe_name(e, &taken, "", k->buffers.at[i]->name);
  }
  for (int i = 0; i < k->vars.count; i++) {
    CHECK(k->vars.at[i]->id == i);
    e->var_name[i] = safe_name(e, &taken, "", k->vars.at[i]->name);
  }
  for (int i = 0; i < k->tables.count; i++) /* at file scope, hence the kernel's name */
    e->table_name[i] = safe_name(e, &taken, spell(e, "%s_", k->name), k->tables.at[i]->name);
}

/* ---- spellings ---- */

const char *spell_type(Emitter *e, Dtype dtype, int width) {
  if (dtype == DT_f64 || dtype == DT_f16)
    FAULT("kernel %s: text has no values of type %s", e->kernel ? e->kernel->name : "",
          dtype_name(dtype));
  return width == 1 ? dtype_name(dtype) : spell(e, "%sx%d", dtype_name(dtype), width);
}

const char *spell_index_type(Emitter *e, int64_t low, int64_t high) {
  return e->dialect->narrow_index && low >= INT32_MIN && high <= INT32_MAX ? "int" : "i64";
}

const char *spell_value(Emitter *e, const KValue *value) {
  if (value->width > 1 && e->lane)
    return spell(e, "v%d.at[%s]", value->id, e->lane);
  return spell(e, "v%d", value->id);
}

/* Whether some partial sum or product may leave int: then the first product is taken in 64 bits. */
static bool is_wide(Emitter *e, const Affine *a) {
  if (!e->dialect->narrow_index)
    return false; /* every variable is 64 bits wide already */
  double bound = fabs((double)a->constant);
  for (int i = 0; i < a->count; i++) {
    const IndexVar *var = a->term[i].var;
    double low = fabs((double)var->low), high = fabs((double)var->high);
    bound += fabs((double)a->term[i].factor) * (low > high ? low : high);
  }
  return bound > INT32_MAX;
}

const char *spell_affine(Emitter *e, const Affine *a) {
  Text text = {0};
  bool wide = is_wide(e, a);
  /* "9 - x" rather than "-x + 9" */
  bool constant_first = a->count == 0 || (a->term[0].factor < 0 && a->constant > 0);
  if (constant_first)
    text_add(&text, "%lld%s", (long long)a->constant, wide ? "ll" : "");
  for (int i = 0; i < a->count; i++) {
    int64_t factor = a->term[i].factor;
    if (i || constant_first)
      text_add(&text, factor < 0 ? " - " : " + ");
    else if (factor < 0)
      text_add(&text, "-");
    long long size = llabs((long long)factor);
    if (size != 1 || wide)
      text_add(&text, "%lld%s*", size, wide ? "ll" : "");
    text_add(&text, "%s", e->var_name[a->term[i].var->id]);
  }
  if (a->constant && !constant_first)
    text_add(&text, " %c %lld%s", a->constant < 0 ? '-' : '+', llabs((long long)a->constant),
             wide ? "ll" : "");
  const char *words = arena_strdup(e->arena, text.at);
  text_free(&text);
  return words;
}

const char *spell_operand(Emitter *e, const Affine *a) {
  bool alone = a->count == 0 ? a->constant >= 0
                             : a->count == 1 && a->term[0].factor == 1 && a->constant == 0;
  return spell(e, alone ? "%s" : "(%s)", spell_affine(e, a));
}

const char *spell_guards(Emitter *e, const Guards *guards) {
  const char *all = NULL;
  for (int i = 0; i < guards->count; i++) {
    const Guard *guard = &guards->at[i];
    const char *value = spell_affine(e, &guard->value), *test[2] = {NULL, NULL};
    if (guard->modulus > 0) {
      if (guard->modulus > 1)
        test[0] =
            spell(e, "%s %% %lld == 0", spell_operand(e, &guard->value), (long long)guard->modulus);
    } else {
      if (affine_low(&guard->value) < 0)
        test[0] = spell(e, "%s >= 0", value);
      if (affine_high(&guard->value) >= guard->extent)
        test[1] = spell(e, "%s < %lld", value, (long long)guard->extent);
    }
    for (int j = 0; j < 2; j++)
      if (test[j])
        all = all ? spell(e, "%s && %s", all, test[j]) : test[j];
  }
  return all;
}

const char *spell_address(Emitter *e, const Stmt *stmt) {
  int width = e->local_width[stmt->buffer->id];
  Affine at = stmt->at;
  bool exact = true;
  for (int i = 0; i < at.count; i++)
    exact = exact && at.term[i].factor % width == 0;
  for (int i = 0; i < at.count && exact; i++)
    at.term[i].factor /= width;
  at.constant /= exact ? width : 1;
  const char *address =
      exact ? spell_affine(e, &at) : spell(e, "%s / %d", spell_operand(e, &at), width);
  if (stmt->dynamic) {
    /* in range by promise, so int does where every index of the buffer fits */
    bool narrow = e->dialect->narrow_index && type_elements(&stmt->buffer->type) <= INT32_MAX;
    const char *moving = spell(e, "%lld*(%s)v%d", (long long)stmt->dynamic_factor,
                               narrow ? "i32" : "i64", stmt->dynamic->id);
    address = stmt->at.count || stmt->at.constant ? spell(e, "%s + %s", address, moving) : moving;
  }
  if (e->lane && width == 1)
    address = strcmp(address, "0") == 0 ? e->lane : spell(e, "%s + %s", address, e->lane);
  return address;
}

const char *spell_number(Emitter *e, Dtype dtype, double number) {
  if (dtype == DT_bf16) { /* is carried as its bits */
    uint16_t bits;
    dtype_store(dtype, &bits, 0, number);
    return spell(e, "0x%04x", bits);
  }
  if (!dtype_is_float(dtype)) {
    long long whole = (long long)number;
    return whole >= INT32_MIN + 1LL && whole <= INT32_MAX ? spell(e, "%lld", whole)
           : whole == INT64_MIN                           ? "(-9223372036854775807ll - 1)"
                                                          : spell(e, "%lldll", whole);
  }
  if (isnan(number))
    return "TRICOT_NAN";
  if (isinf((float)number))
    return number < 0 ? "-TRICOT_INFINITY" : "TRICOT_INFINITY";
  Text text = {0};
  text_add_float(&text, (float)number, 1);
  const char *words = spell(e, "%sf", text.at);
  text_free(&text);
  return words;
}

/* $0 $1 $2 replaced by the arguments. */
const char *spell_template(Emitter *e, const char *form, const char *const *arguments) {
  Text text = {0};
  for (const char *c = form; *c; c++)
    if (*c == '$' && isdigit((unsigned char)c[1]))
      text_add(&text, "%s", arguments[*++c - '0']);
    else
      text_add_bytes(&text, c, 1);
  const char *words = arena_strdup(e->arena, text.at);
  text_free(&text);
  return words;
}

static const char *spell_cast(Emitter *e, const Stmt *let, const char *argument) {
  Dtype from = let->value_arg[0]->dtype, to = let->value->dtype;
  if (let->kop == K_bits && from != to)
    return spell(e, "tricot_bits_%s(%s)", dtype_name(to), argument);
  if (from == to)
    return argument;
  if (from == DT_bf16) {
    argument = spell(e, "tricot_widen(%s)", argument);
    from = DT_f32;
  }
  if (to == DT_bf16)
    return spell(e, from == DT_f32 ? "tricot_narrow(%s)" : "tricot_narrow((f32)%s)", argument);
  if (dtype_is_float(from) && !dtype_is_float(to))
    return spell(e, "tricot_to_%s(%s)", dtype_name(to), argument);
  return from == to ? argument : spell(e, "(%s)%s", dtype_name(to), argument);
}

const char *spell_kop(Emitter *e, const Stmt *let) {
  const KopInfo *info = &kop_info[let->kop];
  const char *arguments[MAX_KOP_ARGS] = {0};
  for (int i = 0; i < info->arity; i++)
    arguments[i] = spell_value(e, let->value_arg[i]);
  if (info->kind == KOP_CAST)
    return spell_cast(e, let, arguments[0]);
  if (info->kind == KOP_PAIR && e->dialect->device)
    return spell(e, "tricot_pair_%s(%s, %s)", dtype_name(let->value_arg[0]->dtype), arguments[0],
                 arguments[1]);
  if (info->kind == KOP_HORIZONTAL || info->kind == KOP_SPLAT)
    return arguments[0]; /* of a vector of one */
  Dtype operand = let->value_arg[info->arity - 1]->dtype;
  const char *form = dtype_is_float(operand) ? info->c_float : info->c_int;
  if (!*form)
    FAULT("kernel %s: %s of %s cannot be spelled in text", e->kernel->name, info->name,
          dtype_name(operand));
  bool wraps = let->kop == K_add || let->kop == K_sub || let->kop == K_mul || let->kop == K_neg;
  if (e->dialect->wrap_casts && wraps && (operand == DT_i32 || operand == DT_i64)) {
    const char *bits = operand == DT_i32 ? "32" : "64";
    for (int i = 0; i < info->arity; i++)
      arguments[i] = spell(e, "(u%s)%s", bits, arguments[i]);
    return spell(e, "(i%s)(%s)", bits, spell_template(e, form, arguments));
  }
  return spell_template(e, form, arguments);
}
