/* The verifier of kernels, both stages: what emitters and passes may rely on.
 *
 * One walk in program order. A name is visible from its definition to the end of the block that
 * defines it, nested blocks included; values, index variables and pointers are defined once along
 * any path; tiles and buffers may be written again. A tile written in both branches of an IF counts
 * as written after it. What depends on run-time index values (bounds, ranges) is left to
 * kernel_eval.
 */
#include "ir/kernel_text.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Checker {
  const Kernel *kernel;
  Error *error;
  const Stmt *stmt;         /* the one being checked, for messages */
  bool *var, *value, *tile; /* visible, by id */
  bool *made;               /* values defined anywhere so far, by id */
  bool *differs;            /* index variables that differ between threads, by id */
  const Stmt **pointer;     /* the definition visible, by buffer id */
  bool divergent;           /* threads may disagree about being here */
} Checker;

static bool refuse(Checker *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool refuse(Checker *c, const char *format, ...) {
  char message[400];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  if (!c->stmt)
    return error_set(c->error, "kernel @%s: %s", c->kernel->name, message);
  return error_set(c->error, "kernel @%s: %s: %s", c->kernel->name, stmt_text(c->kernel, c->stmt),
                   message);
}

/* ---- operands ---- */

static bool check_affine(Checker *c, const Affine *a) {
  for (int i = 0; i < a->count; i++) {
    const IndexVar *var = a->term[i].var;
    if (a->term[i].factor == 0 || (i && a->term[i - 1].var->id >= var->id))
      return refuse(c, "the terms of a sum are not in normal form at %%%s", var->name);
    if (var->id >= c->kernel->vars.count || c->kernel->vars.at[var->id] != var)
      return refuse(c, "%%%s belongs to another kernel", var->name);
    if (!c->var[var->id])
      return refuse(c, "%%%s is not visible here", var->name);
  }
  return true;
}

static bool affine_differs(const Checker *c, const Affine *a) {
  for (int i = 0; i < a->count; i++)
    if (c->differs[a->term[i].var->id])
      return true;
  return false;
}

static bool check_guards(Checker *c, const Guards *guards) {
  for (int i = 0; i < guards->count; i++)
    if (!check_affine(c, &guards->at[i].value))
      return false;
  return true;
}

static bool define_var(Checker *c, const IndexVar *var) {
  if (c->var[var->id])
    return refuse(c, "%%%s is already visible", var->name);
  return c->var[var->id] = true;
}

static bool check_value(Checker *c, const KValue *value) {
  if (!value)
    return refuse(c, "a value operand is missing");
  if (value->id >= c->kernel->values.count || c->kernel->values.at[value->id] != value)
    return refuse(c, "%%%d belongs to another kernel", value->id);
  if (!c->value[value->id])
    return refuse(c, "%%%d is not visible here", value->id);
  return true;
}

static bool define_value(Checker *c, const KValue *value) {
  if (value->id >= c->kernel->values.count || c->kernel->values.at[value->id] != value)
    return refuse(c, "%%%d belongs to another kernel", value->id);
  if (c->made[value->id])
    return refuse(c, "%%%d is defined twice", value->id);
  if (value->width < 1 || value->dtype == DT_f64)
    return refuse(c, "no value can be %s", value_type_text(value));
  return c->value[value->id] = c->made[value->id] = true;
}

static bool check_tile(Checker *c, const Tile *tile) {
  if (!tile)
    return refuse(c, "a tile operand is missing");
  if (!c->tile[tile->id])
    return refuse(c, "%%%s is read before it is written", tile->name);
  return true;
}

static bool check_number(Checker *c, double number, Dtype dtype) {
  if (!dtype_is_float(dtype) && number != floor(number))
    return refuse(c, "%g is no %s", number, dtype_name(dtype));
  return true;
}

/* ---- scalar ops ---- */

/* Types of one application; `dtype` of the arguments in order. */
static bool check_kop(Checker *c, Kop kop, Dtype result, const Dtype *dtype) {
  const KopInfo *info = &kop_info[kop];
  bool loops = c->kernel->stage == STAGE_LOOP;
  bool expanded = !*info->llvm_float && !*info->llvm_int;
  if (info->kind == KOP_CAST) {
    bool pair =
        (dtype[0] == DT_f32 && result == DT_i32) || (dtype[0] == DT_i32 && result == DT_f32);
    if (kop == K_bits && !pair)
      return refuse(c, "bits goes between f32 and i32");
    return true;
  }
  if (info->kind == KOP_SELECT) {
    if (dtype[0] != DT_f32 || dtype[1] != result || dtype[2] != result)
      return refuse(c, "select takes an f32 condition and two operands of the result's type");
    return true;
  }
  if (info->kind == KOP_PAIR)
    return ((dtype[0] == DT_bf16 || dtype[0] == DT_f32) && dtype[1] == dtype[0] &&
            result == DT_i32) ||
           refuse(c, "pair takes two bf16 or two f32 and gives i32");
  if (info->kind == KOP_DOT)
    return (dtype[0] == DT_i32 && dtype[1] == DT_i32 && dtype[2] == DT_f32 && result == DT_f32) ||
           refuse(c, "%s takes two i32 of pairs and an f32, and gives f32", info->name);
  for (int i = 1; i < info->arity; i++)
    if (dtype[i] != dtype[0])
      return refuse(c, "operands of %s and %s", dtype_name(dtype[0]), dtype_name(dtype[i]));
  if (result != (info->kind == KOP_COMPARE ? DT_f32 : dtype[0]))
    return refuse(c, "%s of %s does not give %s", info->name, dtype_name(dtype[0]),
                  dtype_name(result));
  if (info->kind == KOP_SPLAT)
    return true;
  if (expanded && loops)
    return refuse(c, "%s must have been expanded by legalisation", info->name);
  if (dtype_is_float(dtype[0]) && dtype[0] != DT_f32)
    return refuse(c, "arithmetic is on f32 and integers, not on %s", dtype_name(dtype[0]));
  bool exists = dtype[0] == DT_f32 ? *info->llvm_float : *info->llvm_int;
  if (!exists && !(expanded && (dtype[0] == DT_f32 || kop == K_sign)))
    return refuse(c, "%s has no meaning on %s", info->name, dtype_name(dtype[0]));
  return true;
}

/* What the lanes of a warp do together. */
static bool check_warp(Checker *c) {
  if (c->divergent)
    return refuse(c, "threads may disagree about coming here");
  return c->kernel->threads % WARP_LANES == 0 ||
         refuse(c, "%d threads are no whole warps", c->kernel->threads);
}

static bool check_mma(Checker *c, const Stmt *s) {
  Dtype factors = s->kop == K_mma_tf32 ? DT_f32 : DT_i32;
  const struct {
    Dtype dtype;
    int width;
  } wanted[] = {{factors, 4}, {factors, 2}, {DT_f32, 4}};
  for (int i = 0; i < 3; i++) {
    const KValue *arg = s->value_arg[i];
    if (!check_value(c, arg))
      return false;
    if (arg->dtype != wanted[i].dtype || arg->width != wanted[i].width)
      return refuse(c, "%%%d is %s", arg->id, value_type_text(arg));
  }
  bool right = s->value->dtype == DT_f32 && s->value->width == 4;
  return right ? check_warp(c) && define_value(c, s->value) : refuse(c, "it gives f32x4");
}

static bool check_let(Checker *c, const Stmt *s) {
  const KopInfo *info = &kop_info[s->kop];
  Dtype dtype[MAX_KOP_ARGS];
  if (info->kind == KOP_MMA)
    return check_mma(c, s);
  for (int i = 0; i < info->arity; i++) {
    if (!check_value(c, s->value_arg[i]))
      return false;
    dtype[i] = s->value_arg[i]->dtype;
    int width = s->value_arg[i]->width;
    if (info->kind == KOP_HORIZONTAL) {
      if (s->value->width != 1 || (width & (width - 1)) != 0)
        return refuse(c, "%s takes a vector of a power of two lanes and gives a scalar",
                      info->name);
    } else if (width != (info->kind == KOP_SPLAT ? 1 : s->value->width)) {
      return refuse(c, "%%%d has %d lanes", s->value_arg[i]->id, width);
    }
  }
  return check_kop(c, s->kop, s->value->dtype, dtype) && define_value(c, s->value);
}

static bool check_map(Checker *c, const Stmt *s) {
  const KopInfo *info = &kop_info[s->kop];
  Dtype dtype[MAX_KOP_ARGS];
  if (info->kind == KOP_HORIZONTAL || info->kind == KOP_SPLAT || info->kind == KOP_MMA)
    return refuse(c, "%s is of the loop stage", info->name);
  for (int i = 0; i < info->arity; i++) {
    const Tile *arg = s->tile_arg[i];
    if (!check_tile(c, arg))
      return false;
    dtype[i] = arg->dtype;
    if ((arg->rows != 1 && arg->rows != s->tile->rows) ||
        (arg->cols != 1 && arg->cols != s->tile->cols))
      return refuse(c, "%%%s, %s, does not broadcast", arg->name, tile_type_text(arg));
  }
  return check_kop(c, s->kop, s->tile->dtype, dtype);
}

/* ---- statements of the TILE stage ---- */

static bool check_row_factors(Checker *c, const Tile *tile, const int64_t *row) {
  for (int i = tile->n_axes; i < MAX_ROW_AXES; i++)
    if (row[i])
      return refuse(c, "r%d: %%%s has %d row axes", i, tile->name, tile->n_axes);
  return true;
}

static bool check_gather(Checker *c, const Access *access, const Tile *tile) {
  const Tile *gather = access->gather;
  if (!gather)
    return true;
  if (!check_tile(c, gather))
    return false;
  if (dtype_is_float(gather->dtype) || gather->cols != 1 ||
      (gather->rows != 1 && gather->rows != tile->rows))
    return refuse(c, "%%%s, %s, cannot be the coordinate of every row", gather->name,
                  tile_type_text(gather));
  if (access->gather_dim < 0 || access->gather_dim >= access->rank)
    return refuse(c, "no dimension %d to gather", access->gather_dim);
  return true;
}

static bool check_access(Checker *c, const Access *access, const Tile *tile) {
  const Buffer *buffer = access->buffer;
  if (!buffer || (buffer->space != SPACE_GLOBAL && buffer->space != SPACE_SHARED))
    return refuse(c, "tiles come from and go to arguments and shared tensors only");
  if (access->rank != buffer->type.rank)
    return refuse(c, "%d coordinates for %s", access->rank, type_text(&buffer->type));
  if (buffer->type.dtype != tile->dtype)
    return refuse(c, "%%%s is of %s", buffer->name, dtype_name(buffer->type.dtype));
  for (int d = 0; d < access->rank; d++) {
    if (access->gather && access->gather_dim == d)
      continue;
    if (access->dim[d].divisor < 1)
      return refuse(c, "a divisor must be positive");
    if (!check_affine(c, &access->dim[d].at) || !check_row_factors(c, tile, access->dim[d].row))
      return false;
  }
  return check_gather(c, access, tile);
}

static bool check_dot(Checker *c, const Stmt *s) {
  const Tile *a = s->tile_arg[0], *b = s->tile_arg[1], *sum = s->tile;
  if (!check_tile(c, a) || !check_tile(c, b) || !check_tile(c, sum))
    return false;
  if (sum == a || sum == b)
    return refuse(c, "the accumulator is also a factor");
  bool pairs = b->dtype == DT_i32 && (a->dtype == DT_i32 || a->dtype == DT_bf16);
  bool floats =
      (a->dtype == DT_f32 || a->dtype == DT_bf16) && (b->dtype == DT_f32 || b->dtype == DT_bf16);
  if ((!floats && !pairs) || sum->dtype != DT_f32)
    return refuse(c, "dot is on f32, bf16 and pairs of bf16; its sum is in f32");
  int depth = pairs && a->dtype == DT_bf16 ? 2 * b->rows : b->rows;
  if (a->rows != sum->rows || b->cols != sum->cols || a->cols != depth)
    return refuse(c, "%s times %s", tile_type_text(a), tile_type_text(b));
  return true;
}

static bool check_fold(Checker *c, const Stmt *s) {
  const Tile *a = s->tile_arg[0], *result = s->tile;
  if (!check_tile(c, a))
    return false;
  if (s->kop != K_add && s->kop != K_max && s->kop != K_min)
    return refuse(c, "folds are of add, max or min");
  if (result->rows != (s->fold_rows ? 1 : a->rows) || result->cols != (s->fold_rows ? a->cols : 1))
    return refuse(c, "the fold of %s has another shape", tile_type_text(a));
  return check_kop(c, s->kop, result->dtype, (Dtype[]){a->dtype, a->dtype});
}

static bool check_tile_statement(Checker *c, const Stmt *s) {
  const Tile *tile = s->kind == STMT_TILE_STORE ? s->tile_arg[0] : s->tile;
  bool good = true;
  if (!tile || tile->id >= c->kernel->tiles.count || c->kernel->tiles.at[tile->id] != tile)
    return refuse(c, "no tile of this kernel");
  switch (s->kind) {
  case STMT_TILE_FILL: good = check_number(c, s->number, tile->dtype); break;
  case STMT_TILE_INDEX:
    good = check_affine(c, &s->at) && check_row_factors(c, tile, s->row_factor);
    break;
  case STMT_TILE_LOAD:
    good = check_access(c, &s->access, tile) && check_number(c, s->number, tile->dtype);
    break;
  case STMT_TILE_MAP: good = check_map(c, s); break;
  case STMT_TILE_DOT: good = check_dot(c, s); break;
  case STMT_TILE_FOLD: good = check_fold(c, s); break;
  case STMT_TILE_PREFETCH: return check_access(c, &s->access, tile);
  default:
    if (!check_tile(c, tile) || !check_access(c, &s->access, tile))
      return false;
    if (!s->access.buffer->written && s->access.buffer->space == SPACE_GLOBAL)
      return refuse(c, "%%%s is not an output", s->access.buffer->name);
    if (s->accumulate && !s->access.gather)
      return refuse(c, "only gathered stores accumulate");
  }
  if (good)
    c->tile[tile->id] = true;
  return good;
}

/* ---- statements of the LOOP stage ---- */

static bool check_buffer(Checker *c, const Buffer *buffer) {
  if (!buffer || buffer->id >= c->kernel->buffers.count ||
      c->kernel->buffers.at[buffer->id] != buffer)
    return refuse(c, "no buffer of this kernel");
  if (buffer->space == SPACE_POINTER && !c->pointer[buffer->id])
    return refuse(c, "%%%s points nowhere here", buffer->name);
  return true;
}

static bool check_address(Checker *c, const Stmt *s, const KValue *value) {
  if (!check_buffer(c, s->buffer) || !check_affine(c, &s->at) || !check_guards(c, &s->guards))
    return false;
  if (s->buffer->type.dtype != value->dtype)
    return refuse(c, "%%%s is of %s", s->buffer->name, dtype_name(s->buffer->type.dtype));
  if (s->has_lanes && (value->width == 1 || !check_affine(c, &s->lanes)))
    return value->width == 1 ? refuse(c, "a scalar has no lanes") : false;
  if (s->dynamic &&
      (!check_value(c, s->dynamic) || dtype_is_float(s->dynamic->dtype) || s->dynamic->width != 1))
    return refuse(c, "the address needs a visible scalar integer");
  return true;
}

static bool check_store(Checker *c, const Stmt *s) {
  if (!check_value(c, s->value_arg[0]) || !check_address(c, s, s->value_arg[0]))
    return false;
  const Buffer *target = s->buffer;
  if (target->space == SPACE_POINTER) {
    const Stmt *definition = c->pointer[target->id];
    if (definition->guards.count)
      return refuse(c, "%%%s may point to zeros, which nothing may write", target->name);
    target = definition->base;
  }
  if (target->space == SPACE_GLOBAL && !target->written)
    return refuse(c, "%%%s is not an output", target->name);
  return true;
}

static bool check_pointer(Checker *c, const Stmt *s) {
  if (!s->buffer || s->buffer->space != SPACE_POINTER)
    return refuse(c, "no pointer to set");
  if (c->pointer[s->buffer->id])
    return refuse(c, "%%%s already points somewhere here", s->buffer->name);
  if (!check_buffer(c, s->base) || s->base->space != SPACE_GLOBAL ||
      s->base->type.dtype != s->buffer->type.dtype)
    return refuse(c, "pointers go into global buffers of their own type");
  if (s->dynamic || s->has_lanes)
    return refuse(c, "pointers have no values or lanes in them");
  if (!check_affine(c, &s->at) || !check_guards(c, &s->guards))
    return false;
  c->pointer[s->buffer->id] = s;
  return true;
}

static bool check_matrix(Checker *c, const Stmt *s) {
  int width = s->value->width;
  if (!check_buffer(c, s->buffer) || !check_affine(c, &s->at))
    return false;
  if (s->buffer->space != SPACE_SHARED || s->buffer->type.dtype != DT_bf16)
    return refuse(c, "matrices come from shared buffers of bf16");
  if (s->value->dtype != DT_i32 || (width != 1 && width != 2 && width != 4))
    return refuse(c, "it gives i32, i32x2 or i32x4");
  if (s->dynamic || s->has_lanes || s->guards.count)
    return refuse(c, "matrices have no guards");
  return check_warp(c) && define_value(c, s->value);
}

static bool check_copy(Checker *c, const Stmt *s) {
  if (!check_buffer(c, s->buffer) || !check_buffer(c, s->base) || !check_affine(c, &s->at) ||
      !check_affine(c, &s->from) || !check_guards(c, &s->guards))
    return false;
  int64_t bytes = s->count * (int64_t)dtype_size(s->base->type.dtype);
  if (s->buffer->space != SPACE_SHARED || s->base->space != SPACE_GLOBAL || s->base->written ||
      s->buffer->type.dtype != s->base->type.dtype)
    return refuse(c, "copies go from arguments that are only read to shared buffers of their type");
  if ((bytes != 4 && bytes != 8 && bytes != 16) || s->dynamic || s->has_lanes)
    return refuse(c, "copies are of 4, 8 or 16 bytes");
  return true;
}

static bool check_wait(Checker *c, const Stmt *s) {
  for (int i = 0; i < s->arrived.count; i++)
    if (!check_buffer(c, s->arrived.at[i]) || s->arrived.at[i]->space != SPACE_SHARED)
      return refuse(c, "copies arrive in shared buffers");
  return c->divergent ? refuse(c, "threads may disagree about coming here") : true;
}

static bool check_loop_statement(Checker *c, const Stmt *s) {
  switch (s->kind) {
  case STMT_INDEX:
    if (!check_affine(c, &s->at) || !define_var(c, s->var))
      return false;
    if (s->divisor < 1 || s->modulus < 0)
      return refuse(c, "divisor and modulus must be positive");
    c->differs[s->var->id] = affine_differs(c, &s->at);
    return true;
  case STMT_POINTER: return check_pointer(c, s);
  case STMT_LOAD:
    return check_address(c, s, s->value) && check_number(c, s->number, s->value->dtype) &&
           define_value(c, s->value);
  case STMT_STORE: return check_store(c, s);
  case STMT_LET: return check_let(c, s);
  case STMT_CONST: return check_number(c, s->number, s->value->dtype) && define_value(c, s->value);
  case STMT_INDEX_VALUE: return check_affine(c, &s->at) && define_value(c, s->value);
  case STMT_MATRIX: return check_matrix(c, s);
  case STMT_COPY: return check_copy(c, s);
  case STMT_COMMIT:
  case STMT_WAIT: return check_wait(c, s);
  case STMT_BARRIER:
    return c->divergent ? refuse(c, "threads may disagree about coming here") : true;
  case STMT_PREFETCH: return check_buffer(c, s->buffer) && check_affine(c, &s->at);
  default: return refuse(c, "not a statement of the loop stage");
  }
}

/* ---- blocks ---- */

static bool check_block(Checker *c, const Block *block);

typedef struct Visible {
  bool *var, *value, *tile;
  const Stmt **pointer;
} Visible;

static Visible visible_copy(const Checker *c) {
  const Kernel *k = c->kernel;
  Visible copy = {mem_alloc((size_t)k->vars.count + 1), mem_alloc((size_t)k->values.count + 1),
                  mem_alloc((size_t)k->tiles.count + 1),
                  mem_alloc(sizeof(Stmt *) * (size_t)(k->buffers.count + 1))};
  memcpy(copy.var, c->var, (size_t)k->vars.count);
  memcpy(copy.value, c->value, (size_t)k->values.count);
  memcpy(copy.tile, c->tile, (size_t)k->tiles.count);
  memcpy(copy.pointer, c->pointer, sizeof(Stmt *) * (size_t)k->buffers.count);
  return copy;
}

static void visible_restore(Checker *c, const Visible *saved) {
  const Kernel *k = c->kernel;
  memcpy(c->var, saved->var, (size_t)k->vars.count);
  memcpy(c->value, saved->value, (size_t)k->values.count);
  memcpy(c->tile, saved->tile, (size_t)k->tiles.count);
  memcpy(c->pointer, saved->pointer, sizeof(Stmt *) * (size_t)k->buffers.count);
}

static void visible_free(Visible *copy) {
  free(copy->var);
  free(copy->value);
  free(copy->tile);
  free(copy->pointer);
}

static bool check_for_line(Checker *c, const Stmt *s) {
  if (!check_affine(c, &s->low) || !check_affine(c, &s->high) ||
      (s->has_high2 && !check_affine(c, &s->high2)) || !define_var(c, s->var))
    return false;
  if (s->step < 1)
    return refuse(c, "a step must be positive");
  if (affine_is_constant(&s->low) && affine_is_constant(&s->high)) {
    int64_t low = s->low.constant, high = s->high.constant;
    int64_t last = low + (high - 1 - low) / s->step * s->step;
    if (low < high && (low < s->var->low || (last > s->var->high && !s->has_high2)))
      return refuse(c, "%%%s runs from %lld to %lld", s->var->name, (long long)low,
                    (long long)last);
  }
  c->differs[s->var->id] = affine_differs(c, &s->low);
  return true;
}

static bool check_nested(Checker *c, const Stmt *s) {
  bool was_divergent = c->divergent, good;
  Visible saved = visible_copy(c);
  if (s->kind == STMT_FOR) {
    good = check_for_line(c, s);
    c->divergent |= affine_differs(c, &s->low) || affine_differs(c, &s->high) ||
                    (s->has_high2 && affine_differs(c, &s->high2));
    good = good && check_block(c, &s->body);
    visible_restore(c, &saved);
  } else {
    good = check_guards(c, &s->guards);
    for (int i = 0; i < s->guards.count; i++)
      c->divergent |= affine_differs(c, &s->guards.at[i].value);
    good = good && check_block(c, &s->body);
    Visible first = visible_copy(c);
    visible_restore(c, &saved);
    good = good && check_block(c, &s->other);
    for (int i = 0; i < c->kernel->tiles.count; i++) /* written in both branches, or before */
      saved.tile[i] = saved.tile[i] || (first.tile[i] && c->tile[i]);
    visible_restore(c, &saved);
    visible_free(&first);
  }
  visible_free(&saved);
  c->divergent = was_divergent;
  return good;
}

static bool check_lookup(Checker *c, const Stmt *s) {
  if (!check_affine(c, &s->at) || !define_var(c, s->var))
    return false;
  c->differs[s->var->id] = affine_differs(c, &s->at);
  if (!s->table) {
    const Buffer *buffer = s->buffer;
    if (!buffer || buffer->space != SPACE_GLOBAL || buffer->type.dtype != DT_i32 || buffer->written)
      return refuse(c, "numbers come from tables and from i32 arguments that are only read");
    return true;
  }
  for (int i = 0; i < s->table->count; i++)
    if (s->table->values[i] < s->var->low || s->table->values[i] > s->var->high)
      return refuse(c, "%%%s holds %lld", s->table->name, (long long)s->table->values[i]);
  if (s->at.count <= 1 && (affine_low(&s->at) < 0 || affine_high(&s->at) >= s->table->count))
    return refuse(c, "%%%s has %d entries", s->table->name, s->table->count);
  return true;
}

static bool check_block(Checker *c, const Block *block) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = c->stmt = block->at[i];
    bool tile_kind = s->kind >= STMT_TILE_FILL && s->kind <= STMT_TILE_PREFETCH;
    bool good;
    if (s->kind == STMT_FOR || s->kind == STMT_IF)
      good = check_nested(c, s);
    else if (s->kind == STMT_LOOKUP)
      good = check_lookup(c, s);
    else if (tile_kind != (c->kernel->stage == STAGE_TILE))
      good = refuse(c, "a statement of the other stage");
    else
      good = tile_kind ? check_tile_statement(c, s) : check_loop_statement(c, s);
    if (!good)
      return false;
  }
  return true;
}

/* ---- kernels ---- */

static bool check_buffers(Checker *c) {
  const Kernel *kernel = c->kernel;
  for (int i = 0; i < kernel->buffers.count; i++) {
    const Buffer *buffer = kernel->buffers.at[i];
    if (buffer->id != i || (buffer->space == SPACE_GLOBAL) != (i < kernel->n_arguments))
      return refuse(c, "buffers are numbered with the arguments first, not so %%%s", buffer->name);
    if (kernel->stage == STAGE_TILE && buffer->space != SPACE_GLOBAL &&
        buffer->space != SPACE_SHARED)
      return refuse(c, "%%%s: the tile stage has arguments and shared tensors only", buffer->name);
    if (type_elements(&buffer->type) < 1)
      return refuse(c, "%%%s has no elements", buffer->name);
  }
  return true;
}

static bool check_header(Checker *c) {
  const Kernel *kernel = c->kernel;
  for (int i = 0; i < kernel->n_grid; i++) {
    const GridAxis *axis = &kernel->grid[i];
    if (axis->var->low != 0 || axis->var->high != axis->extent - 1)
      return refuse(c, "grid %%%s does not run over its extent", axis->var->name);
    if (!define_var(c, axis->var))
      return false;
  }
  if (kernel->thread) {
    if (kernel->stage != STAGE_LOOP || kernel->thread->low != 0 ||
        kernel->thread->high != kernel->threads - 1)
      return refuse(c, "%%%s does not run over the threads", kernel->thread->name);
    if (!define_var(c, kernel->thread))
      return false;
    c->differs[kernel->thread->id] = kernel->threads > 1;
  } else if (kernel->threads != 1) {
    return refuse(c, "%d threads and no number for them", kernel->threads);
  }
  return check_buffers(c);
}

bool kernel_check(const Kernel *kernel, Error *error) {
  Arena *arena = arena_new();
  Checker checker = {.kernel = kernel,
                     .error = error,
                     .var = ARENA_ARRAY(arena, bool, kernel->vars.count + 1),
                     .value = ARENA_ARRAY(arena, bool, kernel->values.count + 1),
                     .tile = ARENA_ARRAY(arena, bool, kernel->tiles.count + 1),
                     .made = ARENA_ARRAY(arena, bool, kernel->values.count + 1),
                     .differs = ARENA_ARRAY(arena, bool, kernel->vars.count + 1),
                     .pointer = ARENA_ARRAY(arena, const Stmt *, kernel->buffers.count + 1)};
  bool good = check_header(&checker) && check_block(&checker, &kernel->body);
  arena_free(arena);
  return good;
}
