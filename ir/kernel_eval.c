/* The kernel interpreter: blocks, threads, control flow and the LOOP stage. See kernel.h.
 *
 * Threads run in lockstep, statement by statement, in an order shuffled anew for every statement; a
 * list of active threads stands for divergence. Every cell of shared memory and of output arguments
 * remembers its last writer and readers by epoch, so a missing barrier is found in whatever order
 * the threads happen to run. Local and shared memory starts unwritten in every block, and reading
 * an unwritten cell is an error. The kernel must satisfy kernel_check, except that functions which
 * legalisation expands are understood too.
 */
#include "ir/kernel_machine.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TAG_THREADS = 4096, TAG_MANY = TAG_THREADS - 1 };

bool machine_fail(Machine *m, const Stmt *stmt, int thread, const char *format, ...) {
  char message[300];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  return error_set(m->error, "kernel @%s, block %lld, thread %d: %s: %s", m->kernel->name,
                   (long long)m->block, thread, stmt_text(m->kernel, stmt), message);
}

int64_t machine_affine(const Machine *m, int thread, const Affine *a) {
  const int64_t *vars = m->vars + (int64_t)thread * m->kernel->vars.count;
  int64_t value = a->constant;
  for (int i = 0; i < a->count; i++)
    value += a->term[i].factor * vars[a->term[i].var->id];
  return value;
}

bool machine_guards_hold(const Machine *m, int thread, const Guards *guards) {
  for (int i = 0; i < guards->count; i++) {
    const Guard *guard = &guards->at[i];
    int64_t value = machine_affine(m, thread, &guard->value);
    if (guard->modulus > 0 ? value % guard->modulus != 0 : value < 0 || value >= guard->extent)
      return false;
  }
  return true;
}

Scalar machine_number(Dtype dtype, double number) {
  Scalar wide = {.i = 0};
  if (dtype_is_float(dtype)) {
    wide.f = (float)number;
    return kop_eval(K_cast, DT_f32, dtype, &wide);
  }
  wide.i = (int64_t)number;
  return kop_eval(K_cast, DT_i64, dtype, &wide);
}

/* ---- memory ---- */

static Scalar load_cell(Dtype dtype, const void *bytes, int64_t i) {
  Scalar cell = {.i = 0};
  switch (dtype) {
  case DT_f32: cell.f = ((const float *)bytes)[i]; break;
  case DT_i64: cell.i = ((const int64_t *)bytes)[i]; break;
  default:
    if (dtype_is_float(dtype))
      cell.f = (float)dtype_load(dtype, bytes, i);
    else
      cell.i = (int64_t)dtype_load(dtype, bytes, i);
  }
  return cell;
}

static void store_cell(Dtype dtype, void *bytes, int64_t i, Scalar cell) {
  switch (dtype) {
  case DT_f32: ((float *)bytes)[i] = cell.f; break;
  case DT_i64: ((int64_t *)bytes)[i] = cell.i; break;
  default: dtype_store(dtype, bytes, i, dtype_is_float(dtype) ? cell.f : (double)cell.i);
  }
}

bool machine_read(Machine *m, const Stmt *s, int thread, const Buffer *buffer, int64_t cell,
                  Scalar *value) {
  const Store *store = &m->stores[buffer->id];
  if (store->write) {
    uint64_t tag = store->write[cell], epoch = tag / TAG_THREADS, own = (uint64_t)thread + 1;
    bool before = epoch < m->block_epoch;
    if (before && store->space != SPACE_GLOBAL)
      return machine_fail(m, s, thread, "cell %lld was never written", (long long)cell);
    if (before && tag)
      return machine_fail(m, s, thread, "another block wrote element %lld", (long long)cell);
    if (epoch == m->epoch && tag % TAG_THREADS != own)
      return machine_fail(m, s, thread, "thread %d wrote element %lld and no barrier is between",
                          (int)(tag % TAG_THREADS) - 1, (long long)cell);
    if (store->read) {
      uint64_t *last = &store->read[cell];
      bool shared = *last / TAG_THREADS == m->epoch && *last % TAG_THREADS != own;
      *last = m->epoch * TAG_THREADS + (shared ? TAG_MANY : own);
    }
  }
  *value = load_cell(store->dtype, store->bytes, cell);
  return true;
}

bool machine_write(Machine *m, const Stmt *s, int thread, const Buffer *buffer, int64_t cell,
                   Scalar value) {
  const Store *store = &m->stores[buffer->id];
  uint64_t own = (uint64_t)thread + 1;
  if (store->read) {
    uint64_t wrote = store->write[cell], read = store->read[cell];
    if (store->space == SPACE_GLOBAL && ((wrote && wrote / TAG_THREADS < m->block_epoch) ||
                                         (read && read / TAG_THREADS < m->block_epoch)))
      return machine_fail(m, s, thread, "another block uses element %lld", (long long)cell);
    if ((wrote / TAG_THREADS == m->epoch && wrote % TAG_THREADS != own) ||
        (read / TAG_THREADS == m->epoch && read % TAG_THREADS != own))
      return machine_fail(m, s, thread,
                          "another thread uses element %lld and no barrier is between",
                          (long long)cell);
  }
  if (store->write)
    store->write[cell] = m->epoch * TAG_THREADS + own;
  store_cell(store->dtype, store->bytes, cell, value);
  return true;
}

bool machine_written_now(const Machine *m, const Buffer *buffer, int64_t cell) {
  const uint64_t *write = m->stores[buffer->id].write;
  return write && write[cell] / TAG_THREADS == m->epoch;
}

/* Finds the buffer and the cell that element `index` of a statement's buffer means. NULL in
 * *buffer: a zero. */
static bool find_cell(Machine *m, const Stmt *s, int thread, int64_t index, const Buffer **buffer,
                      int64_t *cell) {
  const Buffer *named = s->buffer;
  int64_t elements = type_elements(&named->type);
  if (index < 0 || index >= elements)
    return machine_fail(m, s, thread, "element %lld of %lld", (long long)index,
                        (long long)elements);
  *buffer = named;
  *cell = index;
  if (named->space == SPACE_LOCAL) {
    *cell = thread * elements + index;
  } else if (named->space == SPACE_POINTER) {
    const Pointer *pointer = &m->pointers[(int64_t)thread * m->kernel->buffers.count + named->id];
    CHECK(pointer->base);
    *buffer = pointer->zeros ? NULL : pointer->base;
    *cell = pointer->start + index;
    elements = type_elements(&pointer->base->type);
    if (!pointer->zeros && (*cell < 0 || *cell >= elements))
      return machine_fail(m, s, thread, "element %lld of %%%s, which has %lld", (long long)*cell,
                          pointer->base->name, (long long)elements);
  }
  return true;
}

/* ---- LOOP statements of one thread ---- */

Scalar *machine_lanes(const Machine *m, int thread, const KValue *value) {
  return m->values + (int64_t)thread * m->lanes + m->value_offset[value->id];
}

/* The first element and how many lanes of `value` are touched. */
static int64_t address(const Machine *m, const Stmt *s, int thread, const KValue *value,
                       int *lanes) {
  int64_t index = machine_affine(m, thread, &s->at);
  if (s->dynamic)
    index += s->dynamic_factor * machine_lanes(m, thread, s->dynamic)->i;
  *lanes = value->width;
  if (s->has_lanes) {
    int64_t wanted = machine_affine(m, thread, &s->lanes);
    *lanes = wanted < 0 ? 0 : wanted < value->width ? (int)wanted : value->width;
  }
  return index;
}

static bool run_load(Machine *m, const Stmt *s, int thread) {
  Scalar *to = machine_lanes(m, thread, s->value);
  const Buffer *buffer;
  int64_t cell;
  int lanes;
  bool holds = machine_guards_hold(m, thread, &s->guards);
  Scalar rest = holds ? (Scalar){.i = 0} : machine_number(s->value->dtype, s->number);
  int64_t index = address(m, s, thread, s->value, &lanes);
  for (int l = 0; l < s->value->width; l++) {
    to[l] = rest;
    if (!holds || l >= lanes)
      continue;
    if (!find_cell(m, s, thread, index + l, &buffer, &cell) ||
        (buffer && !machine_read(m, s, thread, buffer, cell, &to[l])))
      return false;
  }
  return true;
}

static bool run_store(Machine *m, const Stmt *s, int thread) {
  const Scalar *from = machine_lanes(m, thread, s->value_arg[0]);
  const Buffer *buffer;
  int64_t cell;
  int lanes;
  if (!machine_guards_hold(m, thread, &s->guards))
    return true;
  int64_t index = address(m, s, thread, s->value_arg[0], &lanes);
  for (int l = 0; l < lanes; l++) {
    if (!find_cell(m, s, thread, index + l, &buffer, &cell))
      return false;
    if (!buffer)
      return machine_fail(m, s, thread, "writes into zeros");
    if (!machine_write(m, s, thread, buffer, cell, from[l]))
      return false;
  }
  return true;
}

static void run_horizontal(const Machine *m, const Stmt *s, int thread) {
  const KValue *arg = s->value_arg[0];
  Kop pair = s->kop == K_hadd ? K_add : s->kop == K_hmax ? K_max : K_min;
  Scalar part[1024];
  CHECK(arg->width <= 1024);
  memcpy(part, machine_lanes(m, thread, arg), sizeof *part * (size_t)arg->width);
  for (int half = arg->width / 2; half >= 1; half /= 2)
    for (int l = 0; l < half; l++)
      part[l] = kop_eval(pair, arg->dtype, arg->dtype, (Scalar[]){part[l], part[l + half]});
  *machine_lanes(m, thread, s->value) = part[0];
}

/* The frequent ops on f32 without a call for each lane. */
static bool run_fast(Kop kop, int width, Scalar *to, const Scalar *a, const Scalar *b,
                     const Scalar *c) {
  switch (kop) {
  case K_fma:
    for (int l = 0; l < width; l++)
      to[l].f = fmaf(a[l].f, b[l].f, c[l].f);
    return true;
  case K_add:
    for (int l = 0; l < width; l++)
      to[l].f = a[l].f + b[l].f;
    return true;
  case K_mul:
    for (int l = 0; l < width; l++)
      to[l].f = a[l].f * b[l].f;
    return true;
  default: return false;
  }
}

static void run_let(const Machine *m, const Stmt *s, int thread) {
  const KopInfo *info = &kop_info[s->kop];
  const Scalar *from[MAX_KOP_ARGS] = {0};
  Scalar *to = machine_lanes(m, thread, s->value), args[MAX_KOP_ARGS];
  Dtype operand = s->value_arg[info->kind == KOP_SELECT ? 1 : 0]->dtype;
  if (info->kind == KOP_HORIZONTAL) {
    run_horizontal(m, s, thread);
    return;
  }
  for (int i = 0; i < info->arity; i++)
    from[i] = machine_lanes(m, thread, s->value_arg[i]);
  if (operand == DT_f32 && run_fast(s->kop, s->value->width, to, from[0], from[1], from[2]))
    return;
  for (int l = 0; l < s->value->width; l++) {
    for (int i = 0; i < info->arity; i++)
      args[i] = from[i][info->kind == KOP_SPLAT ? 0 : l];
    to[l] = kop_eval(s->kop, operand, s->value->dtype, args);
  }
}

static bool set_var(Machine *m, const Stmt *s, int thread, int64_t value) {
  if (value < s->var->low || value > s->var->high)
    return machine_fail(m, s, thread, "%%%s is %lld", s->var->name, (long long)value);
  m->vars[(int64_t)thread * m->kernel->vars.count + s->var->id] = value;
  return true;
}

static bool run_index(Machine *m, const Stmt *s, int thread) {
  int64_t value = machine_affine(m, thread, &s->at);
  if (s->kind == STMT_LOOKUP && !s->table) {
    Scalar number;
    const Buffer *buffer = s->buffer;
    if (value < 0 || value >= type_elements(&buffer->type))
      return machine_fail(m, s, thread, "element %lld of %lld", (long long)value,
                          (long long)type_elements(&buffer->type));
    return machine_read(m, s, thread, buffer, value, &number) && set_var(m, s, thread, number.i);
  }
  if (s->kind == STMT_LOOKUP) {
    if (value < 0 || value >= s->table->count)
      return machine_fail(m, s, thread, "entry %lld of %d", (long long)value, s->table->count);
    return set_var(m, s, thread, s->table->values[value]);
  }
  if (value < 0)
    return machine_fail(m, s, thread, "divides %lld", (long long)value);
  value /= s->divisor;
  return set_var(m, s, thread, s->modulus ? value % s->modulus : value);
}

static void run_pointer(const Machine *m, const Stmt *s, int thread) {
  Pointer *pointer = &m->pointers[(int64_t)thread * m->kernel->buffers.count + s->buffer->id];
  pointer->base = s->base;
  pointer->start = machine_affine(m, thread, &s->at);
  pointer->zeros = !machine_guards_hold(m, thread, &s->guards);
}

static bool run_statement(Machine *m, const Stmt *s, int thread) {
  Scalar *to = s->value ? machine_lanes(m, thread, s->value) : NULL;
  switch (s->kind) {
  case STMT_LOOKUP:
  case STMT_INDEX: return run_index(m, s, thread);
  case STMT_POINTER: run_pointer(m, s, thread); return true;
  case STMT_LOAD: return run_load(m, s, thread);
  case STMT_STORE: return run_store(m, s, thread);
  case STMT_LET: run_let(m, s, thread); return true;
  case STMT_CONST:
    for (int l = 0; l < s->value->width; l++)
      to[l] = machine_number(s->value->dtype, s->number);
    return true;
  case STMT_INDEX_VALUE:
    for (int l = 0; l < s->value->width; l++) {
      Scalar wide = {.i = machine_affine(m, thread, &s->at) + l * s->col_factor};
      to[l] = kop_eval(K_cast, DT_i64, s->value->dtype, &wide);
    }
    return true;
  case STMT_PREFETCH: return true;
  case STMT_COPY: return machine_copy(m, s, thread);
  case STMT_COMMIT: m->copies[thread].groups++; return true;
  case STMT_WAIT: return machine_wait(m, s, thread);
  default: return machine_tile_statement(m, s);
  }
}

/* ---- control flow ---- */

typedef struct Active {
  int *thread;
  int count;
} Active;

static bool run_block(Machine *m, const Block *block, Active active);

static uint64_t next_random(Machine *m) {
  m->random ^= m->random << 13;
  m->random ^= m->random >> 7;
  m->random ^= m->random << 17;
  return m->random;
}

/* Runs a statement for every active thread, in a new order every time. */
static bool run_everywhere(Machine *m, const Stmt *s, Active active) {
  static const uint64_t stride[] = {2003, 3001, 4001, 5003}; /* primes beyond any thread count */
  uint64_t n = (uint64_t)active.count;
  if (n == 1)
    return run_statement(m, s, active.thread[0]);
  uint64_t random = next_random(m), step = stride[random >> 60 & 3], at = (random >> 8) % n;
  for (uint64_t i = 0; i < n; i++, at = (at + step) % n)
    if (!run_statement(m, s, active.thread[at]))
      return false;
  return true;
}

static bool run_warps(Machine *m, const Stmt *s, Active active) {
  if (active.count != m->threads)
    return machine_fail(m, s, active.thread[0], "only %d of %d threads come here", active.count,
                        m->threads);
  for (int first = 0; first < m->threads; first += WARP_LANES)
    if (!machine_warp_statement(m, s, first))
      return false;
  return true;
}

static bool run_for(Machine *m, const Stmt *s, Active active) {
  int n_vars = m->kernel->vars.count, n = active.count;
  bool good = true;
  Active inside = {mem_alloc(sizeof(int) * (size_t)n), 0};
  int64_t *next = mem_alloc(sizeof(int64_t) * 2 * (size_t)n), *stop = next + n;
  for (int i = 0; i < n; i++) {
    int thread = active.thread[i];
    next[i] = machine_affine(m, thread, &s->low);
    stop[i] = machine_affine(m, thread, &s->high);
    int64_t other = s->has_high2 ? machine_affine(m, thread, &s->high2) : stop[i];
    stop[i] = other < stop[i] ? other : stop[i];
  }
  while (good) {
    inside.count = 0;
    for (int i = 0; i < n && good; i++) {
      if (next[i] >= stop[i])
        continue;
      good = set_var(m, s, active.thread[i], next[i]);
      inside.thread[inside.count++] = active.thread[i];
      next[i] += s->step;
    }
    if (inside.count == 0 || !good)
      break;
    good = run_block(m, &s->body, inside);
  }
  for (int i = 0; i < n; i++) /* not visible any more: any use would stand out */
    m->vars[(int64_t)active.thread[i] * n_vars + s->var->id] = INT64_MIN / 4;
  free(inside.thread);
  free(next);
  return good;
}

static bool run_if(Machine *m, const Stmt *s, Active active) {
  int *split = mem_alloc(sizeof(int) * 2 * (size_t)active.count);
  Active yes = {split, 0}, no = {split + active.count, 0};
  for (int i = 0; i < active.count; i++) {
    Active *side = machine_guards_hold(m, active.thread[i], &s->guards) ? &yes : &no;
    side->thread[side->count++] = active.thread[i];
  }
  bool good = (yes.count == 0 || run_block(m, &s->body, yes)) &&
              (no.count == 0 || run_block(m, &s->other, no));
  free(split);
  return good;
}

static bool run_block(Machine *m, const Block *block, Active active) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = block->at[i];
    bool good = true;
    if (s->kind == STMT_FOR)
      good = run_for(m, s, active);
    else if (s->kind == STMT_IF)
      good = run_if(m, s, active);
    else if (stmt_is_warp(s))
      good = run_warps(m, s, active);
    else if (s->kind != STMT_BARRIER)
      good = run_everywhere(m, s, active);
    else if (active.count != m->threads)
      good = machine_fail(m, s, active.thread[0], "only %d of %d threads come here", active.count,
                          m->threads);
    else
      m->epoch++;
    if (!good)
      return false;
  }
  return true;
}

/* ---- kernels ---- */

static Store make_store(Machine *m, const Buffer *buffer, void *argument) {
  Store store = {buffer->type.dtype, buffer->space, type_elements(&buffer->type),
                 argument,           NULL,          NULL};
  if (buffer->space == SPACE_POINTER)
    return (Store){.space = SPACE_POINTER};
  int64_t cells = store.elements * (buffer->space == SPACE_LOCAL ? m->threads : 1);
  if (buffer->space != SPACE_GLOBAL) {
    store.bytes = arena_alloc(m->arena, dtype_size(store.dtype) * (size_t)cells);
    if (dtype_is_float(store.dtype))
      for (int64_t i = 0; i < cells; i++)
        dtype_store(store.dtype, store.bytes, i, NAN);
  }
  if (buffer->space != SPACE_GLOBAL || buffer->written)
    store.write = ARENA_ARRAY(m->arena, uint64_t, cells);
  if (buffer->space == SPACE_SHARED || (buffer->space == SPACE_GLOBAL && buffer->written))
    store.read = ARENA_ARRAY(m->arena, uint64_t, cells);
  return store;
}

static void prepare(Machine *m, void *const *arguments) {
  const Kernel *kernel = m->kernel;
  Arena *arena = m->arena;
  m->value_offset = ARENA_ARRAY(arena, int, kernel->values.count + 1);
  for (int i = 0; i < kernel->values.count; i++) {
    m->value_offset[i] = m->lanes;
    m->lanes += kernel->values.at[i]->width;
  }
  m->vars = ARENA_ARRAY(arena, int64_t, m->threads * (kernel->vars.count + 1));
  m->values = ARENA_ARRAY(arena, Scalar, (int64_t)m->threads * (m->lanes + 1));
  m->copies = ARENA_ARRAY(arena, Copies, m->threads);
  m->stores = ARENA_ARRAY(arena, Store, kernel->buffers.count + 1);
  m->pointers = ARENA_ARRAY(arena, Pointer, m->threads * (kernel->buffers.count + 1));
  for (int i = 0; i < kernel->buffers.count; i++)
    m->stores[i] =
        make_store(m, kernel->buffers.at[i], i < kernel->n_arguments ? arguments[i] : NULL);
  m->tiles = ARENA_ARRAY(arena, Scalar *, kernel->tiles.count + 1);
  for (int i = 0; i < kernel->tiles.count; i++) {
    const Tile *tile = kernel->tiles.at[i];
    m->tiles[i] = ARENA_ARRAY(arena, Scalar, (int64_t)tile->rows * tile->cols);
  }
}

static void place_block(Machine *m, int64_t block) {
  const Kernel *kernel = m->kernel;
  int n_vars = kernel->vars.count;
  int64_t rest = block;
  m->block = block;
  m->block_epoch = ++m->epoch;
  for (int axis = kernel->n_grid - 1; axis >= 0; axis--) {
    int64_t at = rest % kernel->grid[axis].extent;
    rest /= kernel->grid[axis].extent;
    for (int t = 0; t < m->threads; t++)
      m->vars[(int64_t)t * n_vars + kernel->grid[axis].var->id] = at;
  }
  if (kernel->thread)
    for (int t = 0; t < m->threads; t++)
      m->vars[(int64_t)t * n_vars + kernel->thread->id] = t;
}

bool kernel_eval(const Kernel *kernel, void *const *arguments, uint64_t seed, Error *error) {
  Machine machine = {.kernel = kernel,
                     .error = error,
                     .arena = arena_new(),
                     .threads = kernel->stage == STAGE_LOOP ? kernel->threads : 1,
                     .random = seed * 2 + 0x9E3779B97F4A7C15u};
  Active everybody = {ARENA_ARRAY(machine.arena, int, machine.threads), machine.threads};
  bool good = true;
  CHECK(machine.threads >= 1 && machine.threads <= 1024);
  for (int t = 0; t < machine.threads; t++)
    everybody.thread[t] = t;
  prepare(&machine, arguments);
  for (int64_t block = 0; block < kernel_blocks(kernel) && good; block++) {
    place_block(&machine, block);
    good = run_block(&machine, &kernel->body, everybody) && machine_end_copies(&machine);
  }
  arena_free(machine.arena);
  return good;
}
