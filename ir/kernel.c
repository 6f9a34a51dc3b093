/* Kernels in memory: the table of scalar ops, index arithmetic, and the builders. See kernel.h.
 *
 * Invariants kept here: names are unique within a kernel over buffers, tables, variables and tiles
 * together; affine terms are sorted by variable id, one a variable, no zero factor; ids number the
 * objects of a kind from 0 in the order of their making.
 */
#include "ir/kernel.h"
#include <ctype.h>
#include <math.h>
#include <string.h>

/* ---- scalar ops ---- */

const KopInfo kop_info[K_COUNT] = {
#define KOP(name, arity, kind, flops, c_float, c_int, llvm_float, llvm_int)                        \
  {#name, arity, kind, flops, c_float, c_int, llvm_float, llvm_int},
#include "ir/kops.def"
#undef KOP
};

bool kop_find(const char *name, Kop *kop) {
  for (int i = 0; i < K_COUNT; i++)
    if (strcmp(kop_info[i].name, name) == 0)
      return *kop = (Kop)i, true;
  return false;
}

double kop_neutral(Kop kop) { return kop == K_max ? -INFINITY : kop == K_min ? INFINITY : 0; }

/* ---- index arithmetic ---- */

int64_t greatest_divisor(int64_t a, int64_t b) { return b ? greatest_divisor(b, a % b) : a; }

Affine affine_constant(int64_t constant) { return (Affine){.constant = constant}; }

Affine affine_var(const IndexVar *var, int64_t factor) {
  Affine a = {0};
  if (factor) {
    a.count = 1;
    a.term[0].var = var;
    a.term[0].factor = factor;
  }
  return a;
}

static void push_term(Affine *a, const IndexVar *var, int64_t factor) {
  if (factor == 0)
    return;
  CHECK(a->count < MAX_TERMS);
  a->term[a->count].var = var;
  a->term[a->count++].factor = factor;
}

Affine affine_add(Affine a, Affine b) {
  Affine sum = {.constant = a.constant + b.constant};
  int i = 0, j = 0;
  while (i < a.count || j < b.count) {
    if (j == b.count || (i < a.count && a.term[i].var->id < b.term[j].var->id)) {
      push_term(&sum, a.term[i].var, a.term[i].factor);
      i++;
    } else if (i == a.count || b.term[j].var->id < a.term[i].var->id) {
      push_term(&sum, b.term[j].var, b.term[j].factor);
      j++;
    } else {
      CHECK(a.term[i].var == b.term[j].var); /* both from one kernel */
      push_term(&sum, a.term[i].var, a.term[i].factor + b.term[j].factor);
      i++, j++;
    }
  }
  return sum;
}

Affine affine_scale(Affine a, int64_t factor) {
  if (factor == 0)
    return affine_constant(0);
  a.constant *= factor;
  for (int i = 0; i < a.count; i++)
    a.term[i].factor *= factor;
  return a;
}

Affine affine_offset(Affine a, int64_t constant) {
  a.constant += constant;
  return a;
}

Affine affine_substitute(Affine a, const IndexVar *var, Affine by) {
  for (int i = 0; i < a.count; i++)
    if (a.term[i].var == var) {
      Affine scaled = affine_scale(by, a.term[i].factor);
      memmove(&a.term[i], &a.term[i + 1], sizeof a.term[0] * (size_t)(a.count - i - 1));
      a.count--;
      return affine_add(a, scaled);
    }
  return a;
}

bool affine_is_constant(const Affine *a) { return a->count == 0; }

bool affine_equal(const Affine *a, const Affine *b) {
  if (a->constant != b->constant || a->count != b->count)
    return false;
  for (int i = 0; i < a->count; i++)
    if (a->term[i].var != b->term[i].var || a->term[i].factor != b->term[i].factor)
      return false;
  return true;
}

int64_t affine_low(const Affine *a) {
  int64_t value = a->constant;
  for (int i = 0; i < a->count; i++)
    value +=
        a->term[i].factor * (a->term[i].factor > 0 ? a->term[i].var->low : a->term[i].var->high);
  return value;
}

int64_t affine_high(const Affine *a) {
  int64_t value = a->constant;
  for (int i = 0; i < a->count; i++)
    value +=
        a->term[i].factor * (a->term[i].factor > 0 ? a->term[i].var->high : a->term[i].var->low);
  return value;
}

/* ---- kernels and what they own ---- */

bool stmt_is_warp(const Stmt *s) {
  return s->kind == STMT_MATRIX || (s->kind == STMT_LET && kop_info[s->kop].kind == KOP_MMA);
}

bool stmt_is_device(const Stmt *s) {
  return stmt_is_warp(s) || s->kind == STMT_COPY || s->kind == STMT_COMMIT || s->kind == STMT_WAIT;
}

Kernel *kernel_new(Arena *arena, const char *name, Stage stage) {
  Kernel *kernel = ARENA_NEW(arena, Kernel);
  kernel->arena = arena;
  kernel->name = arena_strdup(arena, name);
  kernel->doc = "";
  kernel->stage = stage;
  kernel->threads = 1;
  kernel->schedule.strips = 1;
  map_init(&kernel->names, arena);
  return kernel;
}

static bool take_name(Kernel *kernel, const char *name) {
  const char *key = arena_printf(kernel->arena, "%%%s", name);
  if (map_get(&kernel->names, key))
    return false;
  map_set(&kernel->names, key, kernel);
  return true;
}

/* The wanted name if it is free, else the name without its final digits and the first free number.
 * In kernel->names keys with '%' are taken names; without it a stem's last number tried. */
static const char *unique_name(Kernel *kernel, const char *wanted) {
  /* names of digits are kept for values */
  bool plain = isalpha((unsigned char)*wanted) || *wanted == '_';
  char *name = arena_printf(kernel->arena, "%s%s", plain ? "" : "v", wanted);
  for (char *c = name; *c; c++)
    if (!isalnum((unsigned char)*c) && *c != '_' && *c != '.')
      *c = '_';
  if (take_name(kernel, name))
    return name;
  char *stem = arena_strdup(kernel->arena, name);
  size_t length = strlen(stem);
  while (length > 1 && isdigit((unsigned char)stem[length - 1]))
    stem[--length] = 0;
  for (intptr_t number = (intptr_t)map_get(&kernel->names, stem) + 1;; number++) {
    name = arena_printf(kernel->arena, "%s%d", stem, (int)number);
    if (take_name(kernel, name)) {
      map_set(&kernel->names, stem, (void *)number);
      return name;
    }
  }
}

void kernel_take_names(Kernel *kernel, const Kernel *from) {
  for (int i = 0; i < from->n_arguments; i++)
    take_name(kernel, from->buffers.at[i]->name);
  for (int i = 0; i < from->tables.count; i++)
    take_name(kernel, from->tables.at[i]->name);
  for (int i = 0; i < from->vars.count; i++)
    take_name(kernel, from->vars.at[i]->name);
}

static void replace_arguments(Block *block, Buffer *const *arguments) {
  for (int i = 0; i < block->count; i++) {
    Stmt *s = block->at[i];
    Buffer **uses[] = {&s->buffer, &s->base};
    for (int u = 0; u < 2; u++)
      if (*uses[u] && (*uses[u])->space == SPACE_GLOBAL)
        *uses[u] = arguments[(*uses[u])->id];
    replace_arguments(&s->body, arguments);
    replace_arguments(&s->other, arguments);
  }
}

void kernel_take_over(Kernel *kernel, Kernel *from, Buffer *const *arguments) {
  CHECK(kernel->stage == STAGE_LOOP && from->stage == STAGE_LOOP);
  Arena *arena = kernel->arena;
  replace_arguments(&from->body, arguments); /* while ids are still the other kernel's */
  for (int i = from->n_arguments; i < from->buffers.count; i++) {
    Buffer *buffer = from->buffers.at[i];
    buffer->name = unique_name(kernel, buffer->name);
    buffer->id = kernel->buffers.count;
    vec_push(arena, &kernel->buffers, buffer);
  }
  for (int i = 0; i < from->tables.count; i++) {
    from->tables.at[i]->name = unique_name(kernel, from->tables.at[i]->name);
    vec_push(arena, &kernel->tables, from->tables.at[i]);
  }
  for (int i = 0; i < from->vars.count; i++) { /* in their order, in which sums are sorted */
    from->vars.at[i]->name = unique_name(kernel, from->vars.at[i]->name);
    from->vars.at[i]->id = kernel->vars.count;
    vec_push(arena, &kernel->vars, from->vars.at[i]);
  }
  for (int i = 0; i < from->values.count; i++) {
    from->values.at[i]->id = kernel->values.count;
    vec_push(arena, &kernel->values, from->values.at[i]);
  }
  from->buffers.count = from->n_arguments = from->tables.count = 0;
  from->vars.count = from->values.count = 0;
}

static Buffer *new_buffer(Kernel *kernel, const char *name, Space space, Type type) {
  Buffer *buffer = ARENA_NEW(kernel->arena, Buffer);
  *buffer = (Buffer){
      .name = unique_name(kernel, name), .id = kernel->buffers.count, .space = space, .type = type};
  vec_push(kernel->arena, &kernel->buffers, buffer);
  return buffer;
}

Buffer *kernel_argument(Kernel *kernel, const char *name, Type type, bool written) {
  Buffer *buffer = new_buffer(kernel, name, SPACE_GLOBAL, type);
  buffer->written = written;
  /* arguments come first: the block's own tensors move up */
  for (; buffer->id > kernel->n_arguments; buffer->id--) {
    Buffer *other = kernel->buffers.at[buffer->id - 1];
    CHECK(kernel->stage == STAGE_TILE);
    kernel->buffers.at[buffer->id] = other;
    other->id = buffer->id;
  }
  kernel->buffers.at[buffer->id] = buffer;
  kernel->n_arguments++;
  return buffer;
}

Buffer *kernel_buffer(Kernel *kernel, const char *name, Space space, Dtype dtype,
                      int64_t elements) {
  CHECK(space != SPACE_GLOBAL);
  return new_buffer(kernel, name, space, (Type){.dtype = dtype, .rank = 1, .dim = {elements}});
}

Buffer *kernel_scratch(Kernel *kernel, const char *name, Type type) {
  CHECK(kernel->stage == STAGE_TILE);
  return new_buffer(kernel, name, SPACE_SHARED, type);
}

IndexVar *kernel_var(Kernel *kernel, const char *name, int64_t low, int64_t high) {
  IndexVar *var = ARENA_NEW(kernel->arena, IndexVar);
  *var = (IndexVar){
      .name = unique_name(kernel, name), .id = kernel->vars.count, .low = low, .high = high};
  vec_push(kernel->arena, &kernel->vars, var);
  return var;
}

IndexVar *kernel_grid(Kernel *kernel, const char *name, int64_t extent) {
  CHECK(kernel->n_grid < MAX_GRID && extent > 0);
  IndexVar *var = kernel_var(kernel, name, 0, extent - 1);
  kernel->grid[kernel->n_grid++] = (GridAxis){var, extent};
  return var;
}

IndexVar *kernel_thread(Kernel *kernel, const char *name, int threads) {
  CHECK(!kernel->thread && threads > 0 && kernel->stage == STAGE_LOOP);
  kernel->threads = threads;
  kernel->thread = kernel_var(kernel, name, 0, threads - 1);
  return kernel->thread;
}

const Table *kernel_table(Kernel *kernel, const char *name, int count, const int64_t *values) {
  Table *table = ARENA_NEW(kernel->arena, Table);
  *table = (Table){unique_name(kernel, name), count,
                   arena_copy(kernel->arena, values, sizeof *values * (size_t)count)};
  vec_push(kernel->arena, &kernel->tables, table);
  return table;
}

Tile *kernel_tile(Kernel *kernel, const char *name, Dtype dtype, int n_axes, const int *axis,
                  int cols) {
  CHECK(n_axes >= 0 && n_axes <= MAX_ROW_AXES && cols > 0);
  Tile *tile = ARENA_NEW(kernel->arena, Tile);
  *tile = (Tile){.name = unique_name(kernel, name),
                 .id = kernel->tiles.count,
                 .dtype = dtype,
                 .n_axes = n_axes,
                 .rows = 1,
                 .cols = cols};
  for (int i = 0; i < n_axes; i++) {
    CHECK(axis[i] > 0);
    tile->axis[i] = axis[i];
    tile->rows *= axis[i];
  }
  vec_push(kernel->arena, &kernel->tiles, tile);
  return tile;
}

KValue *kernel_value(Kernel *kernel, Dtype dtype, int width) {
  KValue *value = ARENA_NEW(kernel->arena, KValue);
  *value = (KValue){kernel->values.count, dtype, width};
  vec_push(kernel->arena, &kernel->values, value);
  return value;
}

int64_t kernel_blocks(const Kernel *kernel) {
  int64_t blocks = 1;
  for (int i = 0; i < kernel->n_grid; i++)
    blocks *= kernel->grid[i].extent;
  return blocks;
}

/* ---- statements ---- */

Stmt *stmt_add(Kernel *kernel, Block *block, StmtKind kind) {
  Stmt *stmt = ARENA_NEW(kernel->arena, Stmt);
  stmt->kind = kind;
  for (int i = 0; i < MAX_RANK; i++)
    stmt->access.dim[i].divisor = 1;
  stmt->divisor = 1;
  vec_push(kernel->arena, block, stmt);
  return stmt;
}

Stmt *stmt_for(Kernel *kernel, Block *block, IndexVar *var, int64_t low, int64_t high,
               int64_t step) {
  Stmt *stmt = stmt_add(kernel, block, STMT_FOR);
  stmt->var = var;
  stmt->low = affine_constant(low);
  stmt->high = affine_constant(high);
  stmt->step = step;
  return stmt;
}

Stmt *stmt_map(Kernel *kernel, Block *block, Tile *result, Kop kop, Tile *a, Tile *b, Tile *c) {
  Stmt *stmt = stmt_add(kernel, block, STMT_TILE_MAP);
  stmt->tile = result;
  stmt->kop = kop;
  stmt->tile_arg[0] = a;
  stmt->tile_arg[1] = b;
  stmt->tile_arg[2] = c;
  return stmt;
}

KValue *stmt_let(Kernel *kernel, Block *block, Kop kop, Dtype dtype, int width, KValue *a,
                 KValue *b, KValue *c) {
  Stmt *stmt = stmt_add(kernel, block, STMT_LET);
  stmt->kop = kop;
  stmt->value = kernel_value(kernel, dtype, width);
  stmt->value_arg[0] = a;
  stmt->value_arg[1] = b;
  stmt->value_arg[2] = c;
  return stmt->value;
}

KValue *stmt_const(Kernel *kernel, Block *block, double number, Dtype dtype, int width) {
  Stmt *stmt = stmt_add(kernel, block, STMT_CONST);
  stmt->number = number;
  stmt->value = kernel_value(kernel, dtype, width);
  return stmt->value;
}
