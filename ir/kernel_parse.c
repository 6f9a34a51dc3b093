/* Kernels from text, the upper half: statements and whole kernels. The grammar is in
 * docs/kernel-ir.md; words, names, types and sums are read by kernel_scan.c.
 *
 * What the parser accepts is well formed but not yet checked: kernel_check decides about shapes,
 * types and order. Statements carry their place in the text.
 */
#include "ir/kernel_parser.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Far beyond any kernel; what walks statements does so by recursion. */
enum { MAX_DEPTH = 256 };

/* ---- statements of the TILE stage ---- */

/* The tile of the name with this type: a new one, or the same again. */
static Tile *define_tile(Parser *p, Loc loc, const char *name, const Tile *type) {
  if (p->failed)
    return NULL;
  if (!scan_find(p, name)) {
    if (scan_is_value_name(name))
      scan_fail(p, loc, "names of digits are for values");
    Tile *tile = kernel_tile(p->kernel, name, type->dtype, type->n_axes, type->axis, type->cols);
    scan_define(p, name, SYMBOL_TILE, tile);
    return tile;
  }
  Tile *tile = scan_use_name(p, loc, name, SYMBOL_TILE);
  if (tile && (tile->dtype != type->dtype || tile->n_axes != type->n_axes ||
               memcmp(tile->axis, type->axis, sizeof tile->axis) != 0 || tile->cols != type->cols))
    scan_fail(p, loc, "%%%s is %s elsewhere", name, tile_type_text(tile));
  return tile;
}

static void parse_access(Parser *p, Access *access) {
  access->buffer = scan_use(p, SYMBOL_BUFFER);
  scan_expect(p, "[");
  while (!p->failed && !scan_accept(p, "]")) {
    if (access->rank == MAX_RANK) {
      scan_fail(p, scan_here(p), "more than %d coordinates", MAX_RANK);
      return;
    }
    AccessDim *dim = &access->dim[access->rank++];
    dim->divisor = 1;
    if (scan_accept(p, "gather")) {
      access->gather = scan_use(p, SYMBOL_TILE);
      access->gather_dim = access->rank - 1;
    } else {
      bool divided = scan_accept(p, "(");
      Sum sum = scan_sum(p, ALLOW_BOX);
      dim->at = sum.affine;
      memcpy(dim->row, sum.row, sizeof dim->row);
      dim->col = sum.col;
      if (divided) {
        scan_expect(p, ")");
        scan_expect(p, "/");
        dim->divisor = scan_small_integer(p, 1, INT32_MAX);
      }
    }
    if (!scan_accept(p, ",") && scan_peek(p) != ']')
      scan_fail(p, scan_here(p), "expected ',' or ']'");
  }
}

static Kop parse_kop(Parser *p) {
  scan_space(p);
  Loc loc = scan_here(p);
  const char *name = scan_word(p, "a scalar op");
  Kop kop = K_add;
  if (!p->failed && !kop_find(name, &kop))
    scan_fail(p, loc, "'%s' is no scalar op", name);
  return kop;
}

static void parse_arguments(Parser *p, Stmt *s, SymbolKind kind) {
  for (int i = 0; i < kop_info[s->kop].arity && !p->failed; i++) {
    if (i)
      scan_expect(p, ",");
    if (kind == SYMBOL_TILE)
      s->tile_arg[i] = scan_use(p, kind);
    else
      s->value_arg[i] = scan_use(p, kind);
  }
}

/* After "%name =": everything but dot and store. */
static void parse_tile_definition(Parser *p, Block *block, Loc loc, const char *name) {
  Stmt *s = stmt_add(p->kernel, block, STMT_TILE_FILL);
  Tile type;
  s->loc = loc;
  if (scan_accept(p, "fill")) {
    s->number = scan_number(p);
  } else if (scan_accept(p, "iota")) {
    s->kind = STMT_TILE_INDEX;
    Sum sum = scan_sum(p, ALLOW_BOX);
    s->at = sum.affine;
    memcpy(s->row_factor, sum.row, sizeof s->row_factor);
    s->col_factor = sum.col;
  } else if (scan_accept(p, "load")) {
    s->kind = STMT_TILE_LOAD;
    parse_access(p, &s->access);
    s->inside = scan_accept(p, "inside");
    if (!s->inside) {
      scan_expect(p, "fill");
      s->number = scan_number(p);
    }
  } else if (scan_accept(p, "map")) {
    s->kind = STMT_TILE_MAP;
    s->kop = parse_kop(p);
    parse_arguments(p, s, SYMBOL_TILE);
  } else if (scan_accept(p, "fold")) {
    s->kind = STMT_TILE_FOLD;
    s->kop = parse_kop(p);
    s->fold_rows = scan_accept(p, "rows");
    if (!s->fold_rows)
      scan_expect(p, "columns");
    s->tile_arg[0] = scan_use(p, SYMBOL_TILE);
  } else {
    scan_fail(p, scan_here(p), "expected fill, iota, load, map or fold");
  }
  scan_expect(p, ":");
  scan_tile_type(p, &type);
  s->tile = define_tile(p, loc, name, &type);
}

static void parse_dot(Parser *p, Block *block, Loc loc) {
  Stmt *s = stmt_add(p->kernel, block, STMT_TILE_DOT);
  Tile type;
  s->loc = loc;
  const char *name = scan_name(p);
  scan_expect(p, ",");
  s->tile_arg[0] = scan_use(p, SYMBOL_TILE);
  scan_expect(p, ",");
  s->tile_arg[1] = scan_use(p, SYMBOL_TILE);
  scan_expect(p, ":");
  scan_tile_type(p, &type);
  s->tile = define_tile(p, loc, name, &type);
}

static void parse_tile_prefetch(Parser *p, Block *block, Loc loc) {
  Stmt *s = stmt_add(p->kernel, block, STMT_TILE_PREFETCH);
  Tile type;
  s->loc = loc;
  parse_access(p, &s->access);
  scan_expect(p, ":");
  scan_tile_type(p, &type);
  if (!p->failed)
    s->tile = kernel_tile(p->kernel, "soon", type.dtype, type.n_axes, type.axis, type.cols);
}

static void parse_tile_store(Parser *p, Block *block, Loc loc, bool stream) {
  Stmt *s = stmt_add(p->kernel, block, STMT_TILE_STORE);
  Tile type;
  s->loc = loc;
  s->stream = stream;
  parse_access(p, &s->access);
  s->accumulate = scan_accept(p, "+=");
  if (!s->accumulate)
    scan_expect(p, "=");
  const char *name = scan_name(p);
  scan_expect(p, ":");
  scan_tile_type(p, &type);
  s->tile_arg[0] = define_tile(p, loc, name, &type);
}

/* ---- statements of the LOOP stage ---- */

static void parse_address(Parser *p, Stmt *s, Buffer **buffer) {
  *buffer = scan_use(p, SYMBOL_BUFFER);
  scan_expect(p, "[");
  Sum sum = scan_sum(p, ALLOW_DYNAMIC);
  scan_expect(p, "]");
  s->at = sum.affine;
  s->dynamic = sum.dynamic;
  s->dynamic_factor = sum.dynamic_factor;
}

static void parse_conditions(Parser *p, Stmt *s) {
  s->has_lanes = scan_accept(p, "lanes");
  if (s->has_lanes)
    s->lanes = scan_affine(p);
  if (scan_accept(p, "if"))
    scan_guards(p, &s->guards);
}

/* The value of the name with the type that follows; id and name agree. */
static KValue *define_value(Parser *p, Loc loc, const char *name) {
  Dtype dtype;
  int width;
  scan_expect(p, ":");
  scan_value_type(p, &dtype, &width);
  if (p->failed)
    return NULL;
  if (scan_find(p, name) || strlen(name) > 8 || strspn(name, "0123456789") != strlen(name)) {
    scan_fail(p, loc, "%%%s: values are numbers, each defined once", name);
    return NULL;
  }
  KValue *value = kernel_value(p->kernel, dtype, width);
  value->id = atoi(name);
  scan_define(p, name, SYMBOL_VALUE, value);
  return value;
}

/* After "%name =". */
static void parse_value_definition(Parser *p, Block *block, Loc loc, const char *name) {
  Stmt *s = stmt_add(p->kernel, block, STMT_LET);
  s->loc = loc;
  if (scan_accept(p, "pointer")) {
    s->kind = STMT_POINTER;
    s->buffer = scan_use_name(p, loc, name, SYMBOL_BUFFER);
    parse_address(p, s, &s->base);
    parse_conditions(p, s);
    return;
  }
  if (scan_accept(p, "load")) {
    s->kind = STMT_LOAD;
    parse_address(p, s, &s->buffer);
    parse_conditions(p, s);
    if (scan_accept(p, "else"))
      s->number = scan_number(p);
  } else if (scan_accept(p, "matrix")) {
    s->kind = STMT_MATRIX;
    s->turned = scan_accept(p, "turned");
    parse_address(p, s, &s->buffer);
  } else if (scan_accept(p, "const")) {
    s->kind = STMT_CONST;
    s->number = scan_number(p);
  } else if (scan_accept(p, "iota")) {
    s->kind = STMT_INDEX_VALUE;
    Sum sum = scan_sum(p, ALLOW_BOX);
    s->at = sum.affine;
    s->col_factor = sum.col;
  } else {
    s->kop = parse_kop(p);
    parse_arguments(p, s, SYMBOL_VALUE);
  }
  s->value = define_value(p, loc, name);
}

static void parse_loop_store(Parser *p, Block *block, Loc loc, bool stream) {
  Stmt *s = stmt_add(p->kernel, block, STMT_STORE);
  Dtype dtype;
  int width;
  s->loc = loc;
  s->stream = stream;
  parse_address(p, s, &s->buffer);
  scan_expect(p, "=");
  s->value_arg[0] = scan_use(p, SYMBOL_VALUE);
  parse_conditions(p, s);
  scan_expect(p, ":");
  scan_value_type(p, &dtype, &width);
  if (!p->failed && (s->value_arg[0]->dtype != dtype || s->value_arg[0]->width != width))
    scan_fail(p, loc, "%%%d is %s", s->value_arg[0]->id, value_type_text(s->value_arg[0]));
}

static void parse_copy(Parser *p, Block *block, Loc loc) {
  Stmt *s = stmt_add(p->kernel, block, STMT_COPY), from = {0};
  s->loc = loc;
  s->count = scan_small_integer(p, 1, 16);
  parse_address(p, s, &s->buffer);
  scan_expect(p, "=");
  parse_address(p, &from, &s->base);
  s->from = from.at;
  if (!p->failed && (s->dynamic || from.dynamic))
    scan_fail(p, loc, "copies have no values in their places");
  parse_conditions(p, s);
}

static void parse_wait(Parser *p, Block *block, Loc loc) {
  Stmt *s = stmt_add(p->kernel, block, STMT_WAIT);
  s->loc = loc;
  s->count = scan_small_integer(p, 0, 64);
  scan_space(p);
  for (bool more = scan_peek(p) == '%'; more && !p->failed; more = scan_accept(p, ",")) {
    Buffer *buffer = scan_use(p, SYMBOL_BUFFER);
    vec_push(p->arena, &s->arrived, buffer);
  }
}

/* ---- statements of both stages ---- */

static void parse_block(Parser *p, Block *block);

/* ": [low, high] =" after a name that becomes an index variable. */
static IndexVar *parse_range(Parser *p, Loc loc, const char *name) {
  scan_expect(p, "[");
  int64_t low = scan_integer(p);
  scan_expect(p, ",");
  int64_t high = scan_integer(p);
  scan_expect(p, "]");
  scan_expect(p, "=");
  return scan_define_var(p, loc, name, low, high);
}

static void parse_for(Parser *p, Block *block, Loc loc) {
  Stmt *s = stmt_add(p->kernel, block, STMT_FOR);
  s->loc = loc;
  const char *name = scan_name(p);
  scan_expect(p, ":");
  s->var = parse_range(p, loc, name);
  s->low = scan_affine(p);
  scan_expect(p, "to");
  s->high = scan_affine(p);
  s->has_high2 = scan_accept(p, "and");
  if (s->has_high2)
    s->high2 = scan_affine(p);
  scan_expect(p, "step");
  s->step = scan_small_integer(p, 1, INT32_MAX);
  if (scan_accept(p, "unroll")) {
    scan_space(p);
    s->unroll = isdigit((unsigned char)scan_peek(p)) ? scan_small_integer(p, 1, 1 << 20) : -1;
  }
  scan_expect(p, "{");
  parse_block(p, &s->body);
}

static void parse_if(Parser *p, Block *block, Loc loc) {
  Stmt *s = stmt_add(p->kernel, block, STMT_IF);
  s->loc = loc;
  scan_guards(p, &s->guards);
  scan_expect(p, "{");
  parse_block(p, &s->body);
  if (scan_accept(p, "else")) {
    scan_expect(p, "{");
    parse_block(p, &s->other);
  }
}

/* After "%name :": lookup or index. */
static void parse_var_definition(Parser *p, Block *block, Loc loc, const char *name) {
  Stmt *s = stmt_add(p->kernel, block, STMT_INDEX);
  s->loc = loc;
  s->var = parse_range(p, loc, name);
  if (scan_accept(p, "lookup")) {
    s->kind = STMT_LOOKUP;
    scan_space(p);
    Loc at = scan_here(p);
    const char *from = scan_name(p);
    Symbol *symbol = p->failed ? NULL : scan_find(p, from);
    if (symbol && symbol->kind == SYMBOL_BUFFER)
      s->buffer = scan_use_name(p, at, from, SYMBOL_BUFFER);
    else
      s->table = scan_use_name(p, at, from, SYMBOL_TABLE);
    scan_expect(p, "[");
    s->at = scan_affine(p);
    scan_expect(p, "]");
    return;
  }
  scan_expect(p, "index");
  s->at = scan_affine(p);
  if (scan_accept(p, "div"))
    s->divisor = scan_small_integer(p, 1, INT32_MAX);
  if (scan_accept(p, "mod"))
    s->modulus = scan_small_integer(p, 1, INT32_MAX);
}

static void parse_statement(Parser *p, Block *block) {
  bool tiles = p->kernel->stage == STAGE_TILE, stream = false;
  scan_space(p);
  Loc loc = scan_here(p);
  if (scan_accept(p, "for")) {
    parse_for(p, block, loc);
  } else if (scan_accept(p, "if")) {
    parse_if(p, block, loc);
  } else if (scan_accept(p, "store") || (stream = scan_accept(p, "stream"))) {
    if (tiles)
      parse_tile_store(p, block, loc, stream);
    else
      parse_loop_store(p, block, loc, stream);
  } else if (tiles && scan_accept(p, "prefetch")) {
    parse_tile_prefetch(p, block, loc);
  } else if (tiles && scan_accept(p, "dot")) {
    parse_dot(p, block, loc);
  } else if (!tiles && scan_accept(p, "copy")) {
    parse_copy(p, block, loc);
  } else if (!tiles && scan_accept(p, "wait")) {
    parse_wait(p, block, loc);
  } else if (!tiles && scan_accept(p, "commit")) {
    stmt_add(p->kernel, block, STMT_COMMIT)->loc = loc;
  } else if (!tiles && scan_accept(p, "barrier")) {
    stmt_add(p->kernel, block, STMT_BARRIER)->loc = loc;
  } else if (!tiles && scan_accept(p, "prefetch")) {
    Stmt *s = stmt_add(p->kernel, block, STMT_PREFETCH);
    s->loc = loc;
    parse_address(p, s, &s->buffer);
  } else if (scan_peek(p) == '%') {
    const char *name = scan_name(p);
    if (scan_accept(p, ":")) {
      parse_var_definition(p, block, loc, name);
      return;
    }
    scan_expect(p, "=");
    if (tiles)
      parse_tile_definition(p, block, loc, name);
    else
      parse_value_definition(p, block, loc, name);
  } else {
    scan_fail(p, loc, "expected a statement of the %s stage", tiles ? "tile" : "loop");
  }
}

static void parse_block(Parser *p, Block *block) {
  if (++p->depth > MAX_DEPTH)
    scan_fail(p, scan_here(p), "blocks nested more than %d deep", MAX_DEPTH);
  while (!p->failed && !scan_accept(p, "}"))
    parse_statement(p, block);
  p->depth--;
}

/* ---- kernels ---- */

static void parse_arguments_list(Parser *p) {
  scan_expect(p, "(");
  while (!p->failed && !scan_accept(p, ")")) {
    const char *name = scan_fresh_name(p);
    scan_expect(p, ":");
    bool written = scan_accept(p, "out"), aliased = scan_accept(p, "aliased");
    Type type = scan_tensor_type(p);
    if (p->failed)
      return;
    Buffer *buffer = kernel_argument(p->kernel, name, type, written);
    buffer->aliased = aliased;
    scan_define(p, name, SYMBOL_BUFFER, buffer);
    if (!scan_accept(p, ",") && scan_peek(p) != ')')
      scan_fail(p, scan_here(p), "expected ',' or ')'");
  }
}

static void parse_doc(Parser *p) {
  Text text = {0};
  scan_expect(p, "\"");
  text_add(&text, "%s", "");
  for (; scan_peek(p) && scan_peek(p) != '"' && scan_peek(p) != '\n'; p->at++) {
    if (*p->at == '\\' && p->at + 1 < p->end)
      p->at++;
    text_add_bytes(&text, p->at, 1);
  }
  scan_expect(p, "\"");
  p->kernel->doc = arena_strdup(p->arena, text.at);
  text_free(&text);
}

static void parse_schedule(Parser *p) {
  Schedule *schedule = &p->kernel->schedule;
  scan_expect(p, "rows");
  schedule->rows = scan_small_integer(p, 0, INT32_MAX);
  scan_expect(p, "cols");
  schedule->cols = scan_small_integer(p, 0, INT32_MAX);
  scan_expect(p, "unroll_k");
  schedule->unroll_k = scan_small_integer(p, 0, INT32_MAX);
  scan_expect(p, "strips");
  schedule->strips = scan_small_integer(p, 0, INT32_MAX);
  schedule->stage_a = scan_accept(p, "stage_a");
  schedule->stage_b = scan_accept(p, "stage_b");
}

static void parse_table(Parser *p) {
  VEC(int64_t) values = {0};
  const char *name = scan_fresh_name(p);
  scan_expect(p, "=");
  scan_expect(p, "[");
  while (!p->failed && !scan_accept(p, "]")) {
    vec_push(p->arena, &values, scan_integer(p));
    if (!scan_accept(p, ",") && scan_peek(p) != ']')
      scan_fail(p, scan_here(p), "expected ',' or ']'");
  }
  if (!p->failed)
    scan_define(p, name, SYMBOL_TABLE,
                (Table *)kernel_table(p->kernel, name, values.count, values.at));
}

static void parse_buffer(Parser *p, Space space) {
  const char *name = scan_fresh_name(p);
  scan_expect(p, ":");
  scan_space(p);
  Loc loc = scan_here(p);
  Type type = scan_tensor_type(p);
  bool tiles = p->kernel->stage == STAGE_TILE;
  if (!p->failed && tiles && space != SPACE_SHARED)
    scan_fail(p, loc, "the tile stage has arguments and shared tensors only");
  if (!p->failed && !tiles && type.rank != 1)
    scan_fail(p, loc, "such buffers have one dimension");
  if (!p->failed)
    scan_define(p, name, SYMBOL_BUFFER,
                tiles ? kernel_scratch(p->kernel, name, type)
                      : kernel_buffer(p->kernel, name, space, type.dtype, type.dim[0]));
}

/* One line that comes before the statements; false when there is none. */
static bool parse_header_line(Parser *p) {
  if (scan_accept(p, "doc")) {
    parse_doc(p);
  } else if (scan_accept(p, "schedule")) {
    parse_schedule(p);
  } else if (scan_accept(p, "table")) {
    parse_table(p);
  } else if (scan_accept(p, "grid")) {
    const char *name = scan_fresh_name(p);
    scan_expect(p, "=");
    int extent = scan_small_integer(p, 1, INT32_MAX);
    if (p->kernel->n_grid == MAX_GRID)
      scan_fail(p, scan_here(p), "more than %d grid axes", MAX_GRID);
    if (!p->failed)
      scan_define(p, name, SYMBOL_VAR, kernel_grid(p->kernel, name, extent));
  } else if (scan_accept(p, "threads")) {
    Loc loc = scan_here(p);
    const char *name = scan_fresh_name(p);
    scan_expect(p, "=");
    int threads = scan_small_integer(p, 1, 1024);
    if (p->kernel->thread || p->kernel->stage != STAGE_LOOP)
      scan_fail(p, loc, "threads are said once, in the loop stage");
    if (!p->failed)
      scan_define(p, name, SYMBOL_VAR, kernel_thread(p->kernel, name, threads));
  } else if (scan_accept(p, "shared")) {
    parse_buffer(p, SPACE_SHARED);
  } else if (scan_accept(p, "local")) {
    parse_buffer(p, SPACE_LOCAL);
  } else if (scan_accept(p, "pointer")) {
    parse_buffer(p, SPACE_POINTER);
  } else {
    return false;
  }
  return !p->failed;
}

/* Puts every value at the place of its id; places nobody named hold unused values. */
static void place_values(Parser *p) {
  Kernel *kernel = p->kernel;
  int count = 0;
  for (int i = 0; i < kernel->values.count; i++)
    if (kernel->values.at[i]->id >= count)
      count = kernel->values.at[i]->id + 1;
  KValue **placed = ARENA_ARRAY(p->arena, KValue *, count);
  for (int i = 0; i < kernel->values.count; i++)
    placed[kernel->values.at[i]->id] = kernel->values.at[i];
  for (int i = 0; i < count; i++)
    if (!placed[i]) {
      placed[i] = ARENA_NEW(p->arena, KValue);
      *placed[i] = (KValue){i, DT_f32, 1};
    }
  kernel->values.at = placed;
  kernel->values.count = kernel->values.room = count;
}

static Kernel *parse_kernel(Parser *p) {
  bool tiles = scan_accept(p, "tile");
  if (!tiles)
    scan_expect(p, "loop");
  scan_expect(p, "kernel");
  scan_expect(p, "@");
  Loc loc = scan_here(p);
  p->kernel = kernel_new(p->arena, scan_word(p, "a name"), tiles ? STAGE_TILE : STAGE_LOOP);
  p->kernel->loc = loc;
  map_init(&p->symbols, p->arena);
  parse_arguments_list(p);
  scan_expect(p, "{");
  while (!p->failed && parse_header_line(p))
    ;
  parse_block(p, &p->kernel->body);
  if (!p->failed)
    place_values(p);
  return p->kernel;
}

Kernel **kernel_parse(Arena *arena, Diag *diag, const char *path, const char *text, size_t size,
                      int *count) {
  VEC(Kernel *) kernels = {0};
  Parser parser = {.arena = arena,
                   .diag = diag,
                   .source = diag_source(diag, path, text, size),
                   .at = text,
                   .end = text + size,
                   .line_start = text,
                   .line = 1};
  *count = 0;
  for (scan_space(&parser); parser.at < parser.end; scan_space(&parser)) {
    Kernel *kernel = parse_kernel(&parser);
    if (parser.failed)
      return NULL;
    vec_push(arena, &kernels, kernel);
  }
  *count = kernels.count;
  return kernels.count ? kernels.at : arena_alloc(arena, sizeof(Kernel *));
}
