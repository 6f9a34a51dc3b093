/* Which steps become one launch. See build_step.h.
 *
 * Steps are taken in their order. Each looks back for the earliest launch that it may join: past
 * those whose memory has nothing to do with its own, as far as one that writes what it touches or
 * touches what it writes (places are final, so what different tensors share counts too). Early, so
 * that what follows from it may join others as well: of an optimizer all first steps are together,
 * then all second ones.
 *
 * Joined are steps that cost little but the memory they pass over, as all of an optimizer's, and
 * launches of so few blocks that together they do not fill the device. Arguments of a launch are at
 * most 4 KiB, which every driver takes.
 */
#include "codegen/emit.h"
#include "driver/build_step.h"
#include "passes/kernel/kernel_pass.h"
#include <string.h>

enum { MOST_ARGUMENTS = 500, MOST_PARTS = 64, LIGHT_SHARED = 8 << 10 };

typedef struct Argument { /* of a launch: its steps share what they only read */
  PlanRef ref;
  Home home;
  const Buffer *buffer;
  int64_t moved;
} Argument;

typedef struct Launch {
  VEC(const Step *) steps;
  VEC(int *) argument; /* by step and argument: the launch's */
  VEC(Argument) arguments;
  int64_t blocks;
  bool light; /* all its steps are */
} Launch;

typedef struct Join {
  Arena *arena;
  const Facts *facts;
  VEC(Launch) launches;
} Join;

/* ---- what steps need of each other ---- */

static int64_t ref_bytes(const Step *s, int arg) {
  return s->kernel ? (int64_t)type_bytes(&s->kernel->buffers.at[arg]->type) : s->bytes;
}

static bool ref_written(const Step *s, int arg) {
  return s->kernel ? s->kernel->buffers.at[arg]->written : arg == 1;
}

static bool overlap(const Step *a, int i, const Step *b, int j) {
  PlanRef x = a->refs[i], y = b->refs[j];
  if (x.place != y.place)
    return false;
  if (x.place == PLACE_PERSISTENT)
    return x.at == y.at;
  return x.at < y.at + ref_bytes(b, j) && y.at < x.at + ref_bytes(a, i);
}

static bool needs(const Step *a, const Step *b) {
  for (int i = 0; i < a->n_args; i++)
    for (int j = 0; j < b->n_args; j++)
      if ((ref_written(a, i) || ref_written(b, j)) && overlap(a, i, b, j))
        return true;
  return false;
}

static bool launch_needed(const Launch *launch, const Step *s) {
  for (int i = 0; i < launch->steps.count; i++)
    if (needs(launch->steps.at[i], s))
      return true;
  return false;
}

/* ---- what may run side by side ---- */

static bool has_dot(const Block *block) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = block->at[i];
    if (s->kind == STMT_TILE_DOT || has_dot(&s->body) || has_dot(&s->other))
      return true;
  }
  return false;
}

/* Passes over memory and little else: what it needs of a multiprocessor is little too. */
static bool is_light(const Step *s) {
  return kernel_shared_bytes(s->kernel) <= LIGHT_SHARED && !has_dot(&s->from.parts[0].tile->body);
}

/* The launch's argument that is what argument `a` of the step is; -1: none yet. */
static int find_argument(const Launch *launch, const Step *s, int a) {
  const Buffer *buffer = s->kernel->buffers.at[a];
  for (int i = 0; i < launch->arguments.count && !buffer->written; i++) {
    const Argument *known = &launch->arguments.at[i];
    if (known->ref.place == s->refs[a].place && known->ref.at == s->refs[a].at &&
        !known->buffer->written && known->buffer->aliased == buffer->aliased &&
        type_equal(&known->buffer->type, &buffer->type))
      return i;
  }
  return -1;
}

static int new_arguments(const Launch *launch, const Step *s) {
  int count = 0;
  for (int a = 0; a < s->n_args; a++)
    count += find_argument(launch, s, a) < 0;
  return count;
}

static bool may_join(const Join *join, const Launch *launch, const Step *s) {
  const Kernel *first = launch->steps.at[0]->kernel;
  if (!first || first->threads != s->kernel->threads || launch->steps.count == MOST_PARTS ||
      launch->light != is_light(s) ||
      launch->arguments.count + new_arguments(launch, s) > MOST_ARGUMENTS)
    return false;
  return launch->light || launch->blocks + kernel_blocks(s->kernel) <= join->facts->blocks;
}

static void add_step(Join *join, Launch *launch, const Step *s) {
  int *argument = ARENA_ARRAY(join->arena, int, s->n_args + 1);
  vec_push(join->arena, &launch->steps, s);
  for (int a = 0; a < s->n_args && s->kernel; a++) {
    argument[a] = find_argument(launch, s, a);
    if (argument[a] < 0) {
      argument[a] = launch->arguments.count;
      vec_push(join->arena, &launch->arguments,
               ((Argument){s->refs[a], s->args[a], s->kernel->buffers.at[a], 0}));
    }
    launch->arguments.at[argument[a]].moved += s->moved[a];
  }
  vec_push(join->arena, &launch->argument, argument);
  launch->blocks += s->kernel ? kernel_blocks(s->kernel) : 0;
}

/* Adds the step to a launch, number `first` or later, or makes one of its own at the end. */
static void place(Join *join, const Step *s, int first) {
  int best = -1;
  for (int l = join->launches.count - 1; s->kernel && l >= first; l--) {
    Launch *launch = &join->launches.at[l];
    if (launch_needed(launch, s))
      break;
    if (may_join(join, launch, s))
      best = l;
  }
  if (best < 0) {
    best = join->launches.count;
    vec_push(join->arena, &join->launches, ((Launch){.light = s->kernel && is_light(s)}));
  }
  add_step(join, &join->launches.at[best], s);
}

/* ---- making the step ---- */

static const char *joined_doc(Arena *arena, const Launch *launch) {
  const char *first = launch->steps.at[0]->kernel->doc;
  bool same = true;
  for (int p = 1; p < launch->steps.count; p++)
    same &= strcmp(launch->steps.at[p]->kernel->doc, first) == 0;
  return arena_printf(arena, "%d joined: %s%s", launch->steps.count, first,
                      same ? ", each" : ", and others");
}

static Step join_launch(Arena *arena, const Launch *launch) {
  int count = launch->steps.count, n_args = launch->arguments.count;
  Kernel **kernels = ARENA_ARRAY(arena, Kernel *, count);
  BuildPart *parts = ARENA_ARRAY(arena, BuildPart, count);
  Step s = {.kind = STEP_KERNEL,
            .from = {count, parts},
            .conversion = true,
            .n_args = n_args,
            .args = ARENA_ARRAY(arena, Home, n_args),
            .refs = ARENA_ARRAY(arena, PlanRef, n_args),
            .moved = ARENA_ARRAY(arena, int64_t, n_args)};
  for (int p = 0; p < count; p++) {
    kernels[p] = launch->steps.at[p]->kernel;
    parts[p] = launch->steps.at[p]->from.parts[0];
    s.conversion &= launch->steps.at[p]->conversion;
  }
  for (int a = 0; a < n_args; a++) {
    s.args[a] = launch->arguments.at[a].home;
    s.refs[a] = launch->arguments.at[a].ref;
    s.moved[a] = launch->arguments.at[a].moved;
  }
  const char *doc = joined_doc(arena, launch);
  s.kernel = kernel_join(arena, kernels, count, (const int *const *)launch->argument.at, n_args);
  s.kernel->doc = doc;
  return s;
}

void join_steps(Arena *arena, const Facts *facts, StepList *steps, int *guard) {
  Join join = {.arena = arena, .facts = facts};
  if (!facts->blocks)
    return;
  int first = 0; /* launch that a step may move to */
  for (int i = 0; i < steps->count; i++) {
    if (i == *guard)
      first = join.launches.count;
    place(&join, &steps->at[i], first);
  }
  if (*guard)
    *guard = *guard < steps->count ? first : join.launches.count;
  StepList joined = {0};
  for (int l = 0; l < join.launches.count; l++) {
    const Launch *launch = &join.launches.at[l];
    Step step = launch->steps.count > 1 ? join_launch(arena, launch) : *launch->steps.at[0];
    vec_push(arena, &joined, step);
  }
  *steps = joined;
}
