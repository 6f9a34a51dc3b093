/* Several kernels as one: its blocks are those of the first, then those of the second, and so on.
 *
 * In:  finished kernels (LOOP stage) with one number of threads, none of which reads or writes what
 *      another writes. They are used up.
 * Out: a finished kernel with one grid axis. Which part a block belongs to is found by halving, in
 *      tests that all its threads answer alike, so barriers inside of parts are where all threads
 *      come; a part's grid variables and its thread are computed where it begins.
 *
 * On a device launches cost time, and one with few blocks leaves most of it idle ("horizontal
 * fusion", Li et al., arXiv 2007.01277).
 */
#include "passes/kernel/kernel_pass.h"

typedef struct Join {
  Kernel *kernel;
  IndexVar *block;
  Kernel *const *parts;
  int64_t *first; /* block of each part, and the end */
} Join;

/* var = (at / divisor) % modulus; the caller knows the range. */
static void define(Join *join, Block *to, IndexVar *var, Affine at, int64_t divisor,
                   int64_t modulus) {
  Stmt *s = stmt_add(join->kernel, to, STMT_INDEX);
  s->var = var;
  s->at = at;
  s->divisor = divisor;
  s->modulus = modulus;
}

static void place_part(Join *join, Block *to, int p) {
  const Kernel *part = join->parts[p];
  Affine block = affine_offset(affine_var(join->block, 1), -join->first[p]);
  int64_t inner = 1;
  for (int i = part->n_grid - 1; i >= 0; i--) {
    define(join, to, part->grid[i].var, block, inner, i ? part->grid[i].extent : 0);
    inner *= part->grid[i].extent;
  }
  if (part->thread)
    define(join, to, part->thread, affine_var(join->kernel->thread, 1), 1, 0);
  for (int i = 0; i < part->body.count; i++)
    vec_push(join->kernel->arena, to, part->body.at[i]);
}

/* Parts low .. high-1. */
static void place_parts(Join *join, Block *to, int low, int high) {
  if (high - low == 1) {
    place_part(join, to, low);
    return;
  }
  int middle = (low + high) / 2;
  Stmt *half = stmt_add(join->kernel, to, STMT_IF);
  Guard guard = {affine_offset(affine_var(join->block, 1), -join->first[low]),
                 join->first[middle] - join->first[low], 0};
  vec_push(join->kernel->arena, &half->guards, guard);
  place_parts(join, &half->body, low, middle);
  place_parts(join, &half->other, middle, high);
}

static void add_arguments(Kernel *kernel, Kernel *const *parts, int count,
                          const int *const *argument, Buffer **made) {
  for (int p = 0; p < count; p++)
    for (int i = 0; i < parts[p]->n_arguments; i++) {
      const Buffer *from = parts[p]->buffers.at[i];
      Buffer **to = &made[argument[p][i]];
      CHECK(argument[p][i] <= kernel->n_arguments);
      if (!*to)
        *to = kernel_argument(kernel, from->name, from->type, from->written);
      CHECK(type_equal(&(*to)->type, &from->type) && (*to)->written == from->written);
      (*to)->aliased |= from->aliased;
    }
}

Kernel *kernel_join(Arena *arena, Kernel *const *parts, int count, const int *const *argument,
                    int n_arguments) {
  Error error;
  Kernel *kernel = kernel_new(arena, "joined", STAGE_LOOP);
  Join join = {.kernel = kernel, .parts = parts, .first = ARENA_ARRAY(arena, int64_t, count + 1)};
  for (int p = 0; p < count; p++) {
    CHECK(parts[p]->stage == STAGE_LOOP && parts[p]->threads == parts[0]->threads);
    join.first[p + 1] = join.first[p] + kernel_blocks(parts[p]);
  }
  Buffer **made = ARENA_ARRAY(arena, Buffer *, n_arguments + 1);
  add_arguments(kernel, parts, count, argument, made);
  join.block = kernel_grid(kernel, "block", join.first[count]);
  kernel_thread(kernel, "thread", parts[0]->threads);
  for (int p = 0; p < count; p++) {
    Buffer **own = ARENA_ARRAY(arena, Buffer *, parts[p]->n_arguments + 1);
    for (int i = 0; i < parts[p]->n_arguments; i++)
      own[i] = made[argument[p][i]];
    kernel_take_over(kernel, parts[p], own);
  }
  place_parts(&join, &kernel->body, 0, count);
  kernel->loc = parts[0]->loc;
  if (!kernel_check(kernel, &error))
    FAULT("%s", error.text);
  return kernel;
}
