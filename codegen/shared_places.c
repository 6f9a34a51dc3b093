/* Where a block's shared buffers lie in its memory, and how much its threads keep for themselves.
 *
 * Of a test that all threads of a block answer alike only one branch runs, so the buffers of its
 * two branches lie over each other, behind those that are used outside as well. Not so of a test
 * that threads may answer differently, for they are in both branches at a time, nor of one inside a
 * loop, where the next round may take the other branch with no barrier between.
 */
#include "codegen/emit.h"
#include <string.h>

typedef struct Places {
  const Kernel *kernel;
  Space space;     /* SHARED: places in bytes; LOCAL: in elements */
  bool *differs;   /* variables that differ between threads, by id */
  int64_t *offset; /* by buffer id; -1: none yet */
} Places;

static bool affine_differs(const Places *p, const Affine *a) {
  for (int i = 0; i < a->count; i++)
    if (p->differs[a->term[i].var->id])
      return true;
  return false;
}

static void find_differing(Places *p, const Block *block) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = block->at[i];
    if (s->kind == STMT_FOR)
      p->differs[s->var->id] = affine_differs(p, &s->low);
    if (s->kind == STMT_INDEX || s->kind == STMT_LOOKUP)
      p->differs[s->var->id] = affine_differs(p, &s->at);
    find_differing(p, &s->body);
    find_differing(p, &s->other);
  }
}

static bool is_choice(const Places *p, const Stmt *s) {
  if (s->kind != STMT_IF)
    return false;
  for (int i = 0; i < s->guards.count; i++)
    if (affine_differs(p, &s->guards.at[i].value))
      return false;
  return true;
}

static void count_uses(const Block *block, int *uses);

static void count_statement(const Stmt *s, int *uses) {
  const Buffer *named[] = {s->buffer, s->base};
  for (int i = 0; i < 2; i++)
    if (named[i])
      uses[named[i]->id]++;
  for (int i = 0; i < s->arrived.count; i++)
    uses[s->arrived.at[i]->id]++;
  count_uses(&s->body, uses);
  count_uses(&s->other, uses);
}

static void count_uses(const Block *block, int *uses) {
  for (int i = 0; i < block->count; i++)
    count_statement(block->at[i], uses);
}

/* Gives places from `end` on to the buffers that are used in the block and nowhere else (all[]:
 * uses in the whole kernel). The end of what it needs. */
static int64_t place_block(Places *p, const Block *block, const int *all, int64_t end) {
  Arena *arena = arena_new();
  int n = p->kernel->buffers.count;
  int *here = ARENA_ARRAY(arena, int, n + 1), *within = ARENA_ARRAY(arena, int, n + 1);
  int *branch = ARENA_ARRAY(arena, int, n + 1);
  count_uses(block, here);
  /* uses that lie in one branch of a choice alone are that branch's matter */
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = block->at[i];
    for (int side = 0; is_choice(p, s) && side < 2; side++) {
      memset(branch, 0, sizeof *branch * (size_t)n);
      count_uses(side ? &s->other : &s->body, branch);
      for (int b = 0; b < n; b++)
        within[b] |= branch[b] && branch[b] == all[b];
    }
  }
  for (int b = 0; b < n; b++) {
    const Buffer *buffer = p->kernel->buffers.at[b];
    if (buffer->space != p->space || p->offset[b] >= 0 || here[b] != all[b] || within[b])
      continue;
    p->offset[b] = end;
    end += p->space == SPACE_SHARED ? ((int64_t)type_bytes(&buffer->type) + 15) / 16 * 16
                                    : type_elements(&buffer->type);
  }
  for (int i = 0; i < block->count; i++) { /* one choice after the other: no barrier is between */
    const Stmt *s = block->at[i];
    if (!is_choice(p, s))
      continue;
    int64_t yes = place_block(p, &s->body, all, end), no = place_block(p, &s->other, all, end);
    end = yes > no ? yes : no;
  }
  arena_free(arena);
  return end;
}

static int64_t place_all(const Kernel *kernel, Space space, int64_t *offset) {
  Arena *arena = arena_new();
  int n = kernel->buffers.count;
  Places p = {.kernel = kernel,
              .space = space,
              .differs = ARENA_ARRAY(arena, bool, kernel->vars.count + 1),
              .offset = ARENA_ARRAY(arena, int64_t, n + 1)};
  int *all = ARENA_ARRAY(arena, int, n + 1);
  for (int b = 0; b < n; b++)
    p.offset[b] = -1;
  if (kernel->thread)
    p.differs[kernel->thread->id] = true;
  find_differing(&p, &kernel->body);
  count_uses(&kernel->body, all);
  int64_t bytes = place_block(&p, &kernel->body, all, 0);
  for (int b = 0; offset && b < n; b++)
    offset[b] = p.offset[b] < 0 ? 0 : p.offset[b]; /* what nothing uses */
  arena_free(arena);
  return bytes;
}

int64_t shared_places(const Kernel *kernel, int64_t *offset) {
  return place_all(kernel, SPACE_SHARED, offset);
}

int64_t kernel_local_elements(const Kernel *kernel) { return place_all(kernel, SPACE_LOCAL, NULL); }
