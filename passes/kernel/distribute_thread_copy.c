/* Copies beside the threads: what is only moved from global to shared memory need not pass through
 * registers. A nest of that kind starts its copies; they are waited for where something may read
 * them, so several nests' copies are under way together.
 *
 * A loop around a dot becomes a pipeline: the arrays of its operands have two slots, and while one
 * round is computed the next one's copies go to the other.
 */
#include "passes/kernel/distribute_thread.h"
#include <stdlib.h>

enum { UNROLLED_COPIES = 4 };

/* ---- what addresses are multiples of ---- */

/* A number that divides all values of a variable that some loop in the block counts. */
static int64_t step_of(const Block *block, const IndexVar *var) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = block->at[i];
    if (s->kind == STMT_FOR && s->var == var)
      return affine_is_constant(&s->low) ? greatest_divisor(s->step, llabs(s->low.constant)) : 1;
    int64_t inside = step_of(&s->body, var), other = step_of(&s->other, var);
    if (inside != 1 || other != 1)
      return inside != 1 ? inside : other;
  }
  return 1;
}

int64_t thread_step(const Spread *s, const IndexVar *var) {
  const Threads *t = threads_of(s);
  return step_of(&s->from->body, var == t->ahead ? t->ahead_of : var);
}

/* Do addresses begin at multiples of so many elements? */
static bool is_multiple(const Spread *s, const Affine *at, int of) {
  bool whole = at->constant % of == 0;
  for (int i = 0; i < at->count; i++)
    whole &= at->term[i].factor * thread_step(s, at->term[i].var) % of == 0;
  return whole;
}

/* The load and where it goes: by a store in the nest, or (NULL) to its tile's array. */
static bool is_move(Spread *s, const Nest *nest, const Stmt **load, const Stmt **store) {
  if (nest->count < 1 || nest->count > 2 || nest->stmt[0]->kind != STMT_TILE_LOAD)
    return false;
  *load = nest->stmt[0];
  *store = nest->count == 2 ? nest->stmt[1] : NULL;
  const Stmt *l = *load, *to = *store;
  if (l->access.buffer->space != SPACE_GLOBAL || l->access.buffer->written || l->access.gather ||
      l->number != 0)
    return false;
  if (!to)
    return thread_storage(s, l->tile)->space == SPACE_SHARED &&
           !threads_of(s)->read_own[l->tile->id] && !threads_of(s)->source[l->tile->id];
  return to->kind == STMT_TILE_STORE && to->tile_arg[0] == l->tile && !to->accumulate &&
         to->access.buffer->space == SPACE_SHARED && !to->access.gather &&
         nest_private(s, nest, l->tile);
}

static bool is_size_of_copies(int64_t bytes) { return bytes == 4 || bytes == 8 || bytes == 16; }

static void add_arriving(Spread *s, Buffer *buffer) {
  Threads *t = threads_of(s);
  for (int i = 0; i < t->arriving.count; i++)
    if (t->arriving.at[i] == buffer)
      return;
  vec_push(s->arena, &t->arriving, buffer);
}

/* Nothing asks for whole unrolling of copies; addresses of many would be made ahead, and wait in
 * registers. */
static void limit_unrolling(Block *block) {
  for (int i = 0; i < block->count; i++) {
    Stmt *s = block->at[i];
    if (s->kind == STMT_FOR && s->unroll < 0 && s->high.constant > UNROLLED_COPIES)
      s->unroll = UNROLLED_COPIES;
    limit_unrolling(&s->body);
  }
}

bool thread_copy(Spread *s, Block *to, const Nest *nest) {
  const Stmt *load, *store;
  if (!s->facts->async_copies || !is_move(s, nest, &load, &store))
    return false;
  int width = layout_of(s, nest->domain)->vector;
  if (!is_size_of_copies(width * (int64_t)dtype_size(load->tile->dtype)))
    return false;
  Block trial = {0};
  Unit u = units_open(s, &trial, nest->domain, UNITS_ALL);
  Walk w = {.spread = s, .nest = nest, .block = u.block, .position = u.position, .width = width};
  Address from = address_of(s, u.block, &load->access, &u.position, width > 1), at = {0};
  if (store)
    at = address_of(s, u.block, &store->access, &u.position, width > 1);
  else
    at.flat = shared_cell(&w, load->tile);
  bool limited = (from.col_limited && affine_low(&from.limit) < width) ||
                 (at.col_limited && affine_low(&at.limit) < width);
  if (limited || at.guards.count || !is_multiple(s, &from.flat, width) ||
      !is_multiple(s, &at.flat, width))
    return false;
  Stmt *copy = stmt_add(s->to, u.block, STMT_COPY);
  copy->count = width;
  copy->base = load->access.buffer;
  copy->from = from.flat;
  copy->guards = from.guards;
  copy->buffer = store ? spread_buffer(s, store->access.buffer) : thread_storage(s, load->tile);
  copy->at = at.flat;
  limit_unrolling(&trial);
  for (int i = 0; i < trial.count; i++)
    vec_push(s->to->arena, to, trial.at[i]);
  add_arriving(s, copy->buffer);
  return true;
}

void thread_settle(Spread *s, Block *to) {
  Threads *t = threads_of(s);
  if (!t->arriving.count)
    return;
  stmt_add(s->to, to, STMT_COMMIT);
  Stmt *wait = stmt_add(s->to, to, STMT_WAIT);
  for (int i = 0; i < t->arriving.count; i++)
    vec_push(s->to->arena, &wait->arrived, t->arriving.at[i]);
  t->arriving.count = 0;
}

/* ---- pipelines ---- */

typedef struct Pipeline {
  const Stmt *loop, *dot;
  const Stmt *load[2]; /* of operands; NULL: it is there already */
  IndexVar *var;
  int64_t rounds;
} Pipeline;

/* A loop of known length with one dot, the loads of its operands, and numbers looked up in tables,
 * as those of taps are. */
static bool is_pipeline(Spread *s, const Stmt *loop, Pipeline *p) {
  *p = (Pipeline){.loop = loop, .var = loop->var};
  if (!s->facts->async_copies || loop->has_high2 || !affine_is_constant(&loop->low) ||
      loop->low.constant < 0 || !affine_is_constant(&loop->high))
    return false;
  p->rounds = (loop->high.constant - loop->low.constant + loop->step - 1) / loop->step;
  for (int i = 0; i < loop->body.count; i++) {
    const Stmt *stmt = loop->body.at[i];
    if (stmt->kind == STMT_TILE_DOT && !p->dot)
      p->dot = stmt;
    else if (stmt->kind == STMT_LOOKUP && stmt->table)
      continue;
    else if (stmt->kind != STMT_TILE_LOAD || !s->deferred[stmt->tile->id])
      return false;
  }
  return p->dot && p->rounds > 1;
}

/* The load as it is when the loop's variable has another value. */
static Stmt *load_at(Spread *s, const Stmt *load, const IndexVar *var, Affine value) {
  Stmt *moved = arena_copy(s->arena, load, sizeof *load);
  for (int d = 0; d < load->access.rank; d++)
    moved->access.dim[d].at = affine_substitute(load->access.dim[d].at, var, value);
  return moved;
}

/* Starts the copies of one round into the slot. False: they cannot be copies. */
static bool start_round(Spread *s, Block *to, const Pipeline *p, Affine value, Affine slot) {
  Threads *t = threads_of(s);
  for (int i = 0; i < 2; i++) {
    if (!p->load[i])
      continue;
    const Tile *tile = p->load[i]->tile;
    const Stmt *load = load_at(s, p->load[i], p->var, value);
    Nest nest = {.stmt = {load}, .count = 1, .domain = tile};
    t->slot[tile->id] = affine_scale(slot, thread_slot_cells(tile));
    if (!thread_copy(s, to, &nest))
      return false;
  }
  return true;
}

/* Does the address need a number that is looked up in the loop? It is not known a round ahead. */
static bool is_looked_up(const Pipeline *p, const Access *access) {
  for (int i = 0; i < p->loop->body.count; i++)
    for (int d = 0; d < access->rank; d++)
      for (int t = 0; t < access->dim[d].at.count; t++)
        if (p->loop->body.at[i]->kind == STMT_LOOKUP &&
            access->dim[d].at.term[t].var == p->loop->body.at[i]->var)
          return true;
  return false;
}

/* Finds out what is loaded, and whether two slots of it fit and copies can bring it. */
static bool find_loads(Spread *s, Pipeline *p) {
  Threads *t = threads_of(s);
  int64_t bytes = 0;
  bool known = true;
  for (int i = 0; i < 2; i++) {
    const Tile *tile = p->dot->tile_arg[i];
    const Stmt *load = t->staged[tile->id];
    if (!load || (s->deferred[tile->id]->access.buffer->space == SPACE_SHARED))
      continue;
    known &= !is_looked_up(p, &load->access);
    p->load[i] = load;
    t->two_slots[load->tile->id] = true;
    bytes += 2 * thread_slot_cells(load->tile) * (int64_t)dtype_size(load->tile->dtype);
  }
  Block trial = {0};
  int arriving = t->arriving.count; /* from before: the first round waits for them too */
  bool good = known && bytes > 0 && bytes <= s->facts->shared * 3 / 4 &&
              start_round(s, &trial, p, affine_var(p->var, 1), affine_constant(0));
  t->arriving.count = arriving; /* it was a trial */
  for (int i = 0; i < 2 && !good; i++)
    if (p->load[i]) {
      t->two_slots[p->load[i]->tile->id] = false;
      t->slot[p->load[i]->tile->id] = affine_constant(0);
      s->storage[p->load[i]->tile->id] = NULL;
    }
  return good;
}

static IndexVar *slot_number(Spread *s, Block *to, const Pipeline *p, const char *name,
                             int64_t later) {
  Stmt *stmt = stmt_add(s->to, to, STMT_INDEX);
  stmt->at = affine_offset(affine_var(p->var, 1), later - p->loop->low.constant);
  stmt->divisor = p->loop->step;
  stmt->modulus = 2;
  return stmt->var = kernel_var(s->to, name, 0, 1);
}

bool thread_pipeline(Spread *s, Block *to, const Stmt *from) {
  Threads *t = threads_of(s);
  Pipeline p;
  if (!is_pipeline(s, from, &p) || !find_loads(s, &p))
    return false;
  int64_t low = from->low.constant, last = low + (p.rounds - 1) * from->step;
  start_round(s, to, &p, affine_constant(low), affine_constant(0));
  stmt_add(s->to, to, STMT_COMMIT);
  Stmt *loop = stmt_add(s->to, to, STMT_FOR);
  *loop = *from;
  loop->body = loop->other = (Block){0};
  IndexVar *now = slot_number(s, &loop->body, &p, "now", 0);
  IndexVar *next = slot_number(s, &loop->body, &p, "next", from->step);
  Stmt *wait = stmt_add(s->to, &loop->body, STMT_WAIT);
  for (int i = 0; i < t->arriving.count; i++)
    vec_push(s->to->arena, &wait->arrived, t->arriving.at[i]);
  Stmt *more = stmt_add(s->to, &loop->body, STMT_IF);
  Guard guard = {affine_offset(affine_var(p.var, 1), -low), last - low, 0};
  vec_push(s->to->arena, &more->guards, guard);
  Stmt *ahead = stmt_add(s->to, &more->body, STMT_INDEX);
  ahead->at = affine_offset(affine_var(p.var, 1), from->step);
  ahead->divisor = 1;
  t->ahead = ahead->var = kernel_var(s->to, "ahead", low + from->step, last);
  t->ahead_of = p.var;
  bool started = start_round(s, &more->body, &p, affine_var(ahead->var, 1), affine_var(next, 1));
  CHECK(started); /* the first round was */
  stmt_add(s->to, &loop->body, STMT_COMMIT);
  t->arriving.count = 0;
  for (int i = 0; i < from->body.count; i++)
    if (from->body.at[i]->kind == STMT_LOOKUP)
      *stmt_add(s->to, &loop->body, STMT_LOOKUP) = *from->body.at[i];
  for (int i = 0; i < 2; i++)
    if (p.load[i])
      t->slot[p.load[i]->tile->id] = affine_var(now, thread_slot_cells(p.load[i]->tile));
  thread_dot(s, &loop->body, p.dot);
  return true;
}
