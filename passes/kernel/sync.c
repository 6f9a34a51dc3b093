/* Barriers between threads that communicate through shared memory.
 *
 * In:  LOOP stage, no need for barriers felt yet (those already there are respected).
 * Out: between a statement that writes a shared buffer and one that reads it, or the other way
 *      round, every path passes a barrier; loops count as running twice. Two writes need none: the
 *      stores that fill a buffer write different cells. Barriers stand only where all threads come;
 *      code on which threads disagree counts as one statement, and nothing is done inside it.
 *
 * A copy writes when it starts: no thread may read the cells any more. Who reads them next needs a
 * barrier behind the wait, not the start, so copies into one part of a buffer go on beside reads of
 * another.
 *
 * Every statement is summed up by what it touches before its first barrier (exposed), what it
 * touches after its last one (pending), and whether every path through it has one. Working outwards
 * from the innermost blocks, a barrier goes directly before a statement whose exposed touches
 * collide with what is pending, so it stays out of inner loops that only fill a buffer.
 */
#include "passes/kernel/kernel_pass.h"

/* One bit a shared buffer; from the 64th on they share the last. */
typedef struct Touches {
  uint64_t reads, writes;
  uint64_t starts, arrives; /* copies that begin to write, that have done so */
} Touches;

typedef struct Summary {
  Touches exposed, pending;
  bool barrier; /* on every path */
} Summary;

typedef struct Sync {
  Kernel *kernel;
  bool *differs; /* index variables that differ between threads, by id */
  int *bit;      /* of every shared buffer, by id */
} Sync;

static Touches join(Touches a, Touches b) {
  return (Touches){a.reads | b.reads, a.writes | b.writes, a.starts | b.starts,
                   a.arrives | b.arrives};
}

static bool collide(Touches before, Touches after) {
  return ((before.writes | before.arrives) & after.reads) ||
         (before.reads & (after.writes | after.starts));
}

static bool affine_differs(const Sync *sync, const Affine *a) {
  for (int i = 0; i < a->count; i++)
    if (sync->differs[a->term[i].var->id])
      return true;
  return false;
}

/* Whether threads may disagree about how often the statement's blocks run. */
static bool divergent(const Sync *sync, const Stmt *s) {
  if (s->kind == STMT_FOR)
    return affine_differs(sync, &s->low) || affine_differs(sync, &s->high) ||
           (s->has_high2 && affine_differs(sync, &s->high2));
  for (int i = 0; i < s->guards.count; i++)
    if (affine_differs(sync, &s->guards.at[i].value))
      return true;
  return false;
}

/* Everything a statement touches, barriers or not; marks its variables on the way. */
static Touches all_touches(Sync *sync, const Stmt *s) {
  Touches touches = {0};
  if (s->kind == STMT_FOR)
    sync->differs[s->var->id] = affine_differs(sync, &s->low);
  if (s->kind == STMT_INDEX || s->kind == STMT_LOOKUP)
    sync->differs[s->var->id] = affine_differs(sync, &s->at);
  if ((s->kind == STMT_LOAD || s->kind == STMT_MATRIX) && s->buffer->space == SPACE_SHARED)
    touches.reads = (uint64_t)1 << sync->bit[s->buffer->id];
  for (int i = 0; i < s->arrived.count; i++)
    touches.arrives |= (uint64_t)1 << sync->bit[s->arrived.at[i]->id];
  if (s->kind == STMT_STORE && s->buffer->space == SPACE_SHARED)
    touches.writes |= (uint64_t)1 << sync->bit[s->buffer->id];
  if (s->kind == STMT_COPY)
    touches.starts |= (uint64_t)1 << sync->bit[s->buffer->id];
  for (int i = 0; i < s->body.count; i++)
    touches = join(touches, all_touches(sync, s->body.at[i]));
  for (int i = 0; i < s->other.count; i++)
    touches = join(touches, all_touches(sync, s->other.at[i]));
  return touches;
}

static Summary sync_block(Sync *sync, Block *block, Touches before);

/* True when a loop surely runs at least once. */
static bool surely_runs(const Stmt *s) {
  if (s->has_high2 && affine_low(&s->high2) <= affine_high(&s->low))
    return false;
  return affine_low(&s->high) > affine_high(&s->low);
}

static Summary sync_for(Sync *sync, Stmt *s) {
  sync->differs[s->var->id] = affine_differs(sync, &s->low);
  Block body = s->body;
  Summary sum = sync_block(sync, &s->body, (Touches){0});
  if (collide(sum.pending, sum.exposed)) { /* one round with the next */
    s->body = body;
    sum = sync_block(sync, &s->body, sum.pending);
  }
  sum.barrier = sum.barrier && surely_runs(s);
  return sum;
}

static Summary sync_if(Sync *sync, Stmt *s) {
  Summary yes = sync_block(sync, &s->body, (Touches){0});
  Summary no = sync_block(sync, &s->other, (Touches){0});
  return (Summary){join(yes.exposed, no.exposed), join(yes.pending, no.pending),
                   yes.barrier && no.barrier};
}

static Summary sync_statement(Sync *sync, Stmt *s) {
  if (s->kind == STMT_BARRIER)
    return (Summary){.barrier = true};
  bool nested = s->kind == STMT_FOR || s->kind == STMT_IF;
  if (nested && !divergent(sync, s))
    return s->kind == STMT_FOR ? sync_for(sync, s) : sync_if(sync, s);
  Touches touches = all_touches(sync, s);
  return (Summary){touches, touches, false};
}

/* `before` is pending when the block begins; it counts for collisions, not for the summary. */
static Summary sync_block(Sync *sync, Block *block, Touches before) {
  Block out = {0};
  Summary sum = {0};
  for (int i = 0; i < block->count; i++) {
    Stmt *s = block->at[i];
    Summary next = sync_statement(sync, s);
    if (collide(join(before, sum.pending), next.exposed)) {
      stmt_add(sync->kernel, &out, STMT_BARRIER)->loc = s->loc;
      sum.pending = before = (Touches){0};
      sum.barrier = true;
    }
    vec_push(sync->kernel->arena, &out, s);
    if (!sum.barrier)
      sum.exposed = join(sum.exposed, next.exposed);
    if (next.barrier)
      sum.pending = before = (Touches){0};
    sum.pending = join(sum.pending, next.pending);
    sum.barrier |= next.barrier;
  }
  *block = out;
  return sum;
}

void kernel_sync(Kernel *kernel) {
  CHECK(kernel->stage == STAGE_LOOP);
  if (kernel->threads == 1)
    return;
  Arena *arena = arena_new();
  Sync sync = {kernel, ARENA_ARRAY(arena, bool, kernel->vars.count + 1),
               ARENA_ARRAY(arena, int, kernel->buffers.count + 1)};
  int shared = 0;
  for (int i = 0; i < kernel->buffers.count; i++)
    if (kernel->buffers.at[i]->space == SPACE_SHARED)
      sync.bit[i] = shared < 63 ? shared++ : 63;
  if (kernel->thread)
    sync.differs[kernel->thread->id] = true;
  sync_block(&sync, &kernel->body, (Touches){0});
  arena_free(arena);
}
