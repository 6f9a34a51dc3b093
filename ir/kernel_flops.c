/* Counting a kernel's floating operations by walking it.
 *
 * A loop whose variable decides nothing about control flow multiplies its body's count; only the
 * variables on which some bound or guard depends are run through, so the count is exact and cheap.
 * Threads and blocks are loops like any other. Of blocks that follow each other along an axis,
 * those for which every guard has one answer, the same, are counted once: all but the ones at
 * borders. Bounds that are looked up in memory are unknown: such a loop counts as the longest that
 * their ranges allow, and what it does is counted apart as well.
 */
#include "ir/kernel.h"
#include <string.h>

/* A guard; or, with guard NULL, a bound or an index that decides in another way. */
typedef struct Condition {
  const Affine *value;
  const Guard *guard;
} Condition;

typedef enum Kind { ALL, PAIRED, OPEN_ENDED } Kind; /* which operations are counted */

typedef struct Counter {
  Arena *arena;
  Kind kind;
  bool any_paired, any_open; /* are there such? */
  int open_loops;            /* with unknown bounds, around what is being counted */
  const Kernel *kernel;
  VEC(Condition) conditions;
  bool *decides; /* variables some bound or guard depends on, by id */
  bool *unknown; /* variables looked up in memory, by id */
  int64_t *at;   /* their present values; of the unknown ones, the lowest */
} Counter;

/* ---- which variables matter ---- */

static bool mark(Counter *c, const Affine *a) {
  bool changed = false;
  for (int i = 0; i < a->count; i++)
    if (!c->decides[a->term[i].var->id])
      c->decides[a->term[i].var->id] = changed = true;
  return changed;
}

/* One round of marking; true when it found something new. */
static bool mark_block(Counter *c, const Block *block) {
  bool changed = false;
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = block->at[i];
    if (s->kind == STMT_FOR) {
      changed |= mark(c, &s->high);
      changed |= mark(c, &s->low);
      changed |= s->has_high2 && mark(c, &s->high2);
    }
    for (int g = 0; g < s->guards.count && s->kind == STMT_IF; g++)
      changed |= mark(c, &s->guards.at[g].value);
    if ((s->kind == STMT_INDEX || s->kind == STMT_LOOKUP) && c->decides[s->var->id])
      changed |= mark(c, &s->at);
    changed |= mark_block(c, &s->body);
    changed |= mark_block(c, &s->other);
  }
  return changed;
}

static void add_condition(Counter *c, const Affine *value, const Guard *guard) {
  Condition condition = {value, guard};
  vec_push(c->arena, &c->conditions, condition);
}

static void find_conditions(Counter *c, const Block *block) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = block->at[i];
    if (s->kind == STMT_FOR) {
      add_condition(c, &s->low, NULL);
      add_condition(c, &s->high, NULL);
      if (s->has_high2)
        add_condition(c, &s->high2, NULL);
    }
    for (int g = 0; g < s->guards.count && s->kind == STMT_IF; g++)
      add_condition(c, &s->guards.at[g].value, &s->guards.at[g]);
    if ((s->kind == STMT_INDEX || s->kind == STMT_LOOKUP) && c->decides[s->var->id])
      add_condition(c, &s->at, NULL);
    find_conditions(c, &s->body);
    find_conditions(c, &s->other);
  }
}

/* ---- blocks alike ---- */

enum { OPEN, HOLDS, FAILS }; /* answers of a condition, whatever the other variables are */

static int64_t factor_of(const Affine *a, const IndexVar *var) {
  for (int i = 0; i < a->count; i++)
    if (a->term[i].var == var)
      return a->term[i].factor;
  return 0;
}

static int answer(const Condition *condition, const IndexVar *var, int64_t at) {
  const Affine *a = condition->value;
  int64_t low = a->constant, high = a->constant;
  if (!condition->guard || condition->guard->modulus > 0)
    return OPEN;
  for (int i = 0; i < a->count; i++) {
    const IndexVar *other = a->term[i].var;
    int64_t f = a->term[i].factor, from = other == var ? at : other->low;
    int64_t to = other == var ? at : other->high;
    low += f * (f > 0 ? from : to);
    high += f * (f > 0 ? to : from);
  }
  if (low >= 0 && high < condition->guard->extent)
    return HOLDS;
  return high < 0 || low >= condition->guard->extent ? FAILS : OPEN;
}

/* How many places of the axis from `at` on have the same answers, none of them open. */
static int64_t alike(const Counter *c, const IndexVar *var, int64_t at, int64_t extent) {
  int64_t end = extent;
  for (int i = 0; i < c->conditions.count && end > at + 1; i++) {
    const Condition *condition = &c->conditions.at[i];
    if (factor_of(condition->value, var) == 0)
      continue;
    int first = answer(condition, var, at);
    int64_t same = at + 1;
    while (first != OPEN && same < end && answer(condition, var, same) == first)
      same++;
    end = same;
  }
  return end - at;
}

/* ---- counting ---- */

static int64_t value_of(const Counter *c, const Affine *a) {
  int64_t value = a->constant;
  for (int i = 0; i < a->count; i++)
    value += a->term[i].factor * c->at[a->term[i].var->id];
  return value;
}

static double count_block(Counter *c, const Block *block);

static bool is_open(const Counter *c, const Affine *bound) {
  for (int i = 0; i < bound->count; i++)
    if (c->unknown[bound->term[i].var->id])
      return true;
  return false;
}

static double count_body(Counter *c, const Stmt *s, int64_t low, int64_t high);

static double count_for(Counter *c, const Stmt *s) {
  int64_t low = value_of(c, &s->low), high = value_of(c, &s->high);
  for (int i = 0; i < s->high.count; i++)
    if (c->unknown[s->high.term[i].var->id])
      high += s->high.term[i].factor * (s->high.term[i].var->high - s->high.term[i].var->low);
  if (s->has_high2 && value_of(c, &s->high2) < high)
    high = value_of(c, &s->high2);
  if (low >= high)
    return 0;
  bool open = is_open(c, &s->low) || is_open(c, &s->high);
  c->any_open |= open;
  c->open_loops += open;
  double sum = count_body(c, s, low, high);
  c->open_loops -= open;
  return sum;
}

static double count_body(Counter *c, const Stmt *s, int64_t low, int64_t high) {
  double sum = 0;
  if (!c->decides[s->var->id])
    return (double)((high - low + s->step - 1) / s->step) * count_block(c, &s->body);
  for (int64_t i = low; i < high; i += s->step) {
    c->at[s->var->id] = i;
    sum += count_block(c, &s->body);
  }
  return sum;
}

static bool guards_hold(const Counter *c, const Guards *guards) {
  for (int i = 0; i < guards->count; i++) {
    const Guard *guard = &guards->at[i];
    int64_t value = value_of(c, &guard->value);
    if (guard->modulus > 0 ? value % guard->modulus != 0 : value < 0 || value >= guard->extent)
      return false;
  }
  return true;
}

static bool is_paired(const Stmt *s) {
  return (s->kind == STMT_TILE_DOT && s->tile_arg[1]->dtype == DT_i32) ||
         (s->kind == STMT_LET &&
          (kop_info[s->kop].kind == KOP_DOT || kop_info[s->kop].kind == KOP_MMA));
}

/* Floating operations of one statement that holds no others. */
static double operations_of(const Stmt *s) {
  const KopInfo *info = &kop_info[s->kop];
  double cells = s->tile ? (double)s->tile->rows * s->tile->cols : 0;
  switch (s->kind) {
  case STMT_TILE_MAP:
    return s->tile->dtype == DT_f32 && s->tile_arg[0]->dtype == DT_f32 ? cells * info->flops : 0;
  case STMT_TILE_DOT:
    return (s->tile_arg[1]->dtype == DT_i32 ? 4 : 2) * cells * s->tile_arg[1]->rows;
  case STMT_TILE_FOLD:
    if (s->tile->dtype != DT_f32)
      return 0;
    return (double)s->tile_arg[0]->rows * s->tile_arg[0]->cols - cells;
  case STMT_TILE_STORE:
    if (!s->accumulate || s->tile_arg[0]->dtype != DT_f32)
      return 0;
    return (double)s->tile_arg[0]->rows * s->tile_arg[0]->cols;
  case STMT_LET:
    if (info->kind == KOP_MMA) /* the warp's, shared out */
      return info->flops;
    if (info->kind == KOP_DOT)
      return info->flops * (double)s->value->width;
    if (s->value->dtype != DT_f32 || s->value_arg[0]->dtype != DT_f32)
      return 0;
    return info->flops *
           (double)(info->kind == KOP_HORIZONTAL ? s->value_arg[0]->width - 1 : s->value->width);
  default: return 0;
  }
}

static double count_leaf(Counter *c, const Stmt *s) {
  bool paired = is_paired(s);
  c->any_paired |= paired;
  if ((c->kind == PAIRED && !paired) || (c->kind == OPEN_ENDED && c->open_loops == 0))
    return 0;
  return operations_of(s);
}

static double count_block(Counter *c, const Block *block) {
  double sum = 0;
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = block->at[i];
    if (s->kind == STMT_FOR) {
      sum += count_for(c, s);
    } else if (s->kind == STMT_IF) {
      sum += count_block(c, guards_hold(c, &s->guards) ? &s->body : &s->other);
    } else if ((s->kind == STMT_INDEX || s->kind == STMT_LOOKUP) && c->decides[s->var->id]) {
      c->unknown[s->var->id] = s->kind == STMT_LOOKUP && !s->table;
      int64_t at = value_of(c, &s->at);
      if (s->kind == STMT_LOOKUP && !s->table)
        at = s->var->low;
      else if (s->kind == STMT_LOOKUP)
        at = at >= 0 && at < s->table->count ? s->table->values[at] : 0;
      else
        at = s->modulus ? at / s->divisor % s->modulus : at / s->divisor;
      c->at[s->var->id] = at;
    } else {
      sum += count_leaf(c, s);
    }
  }
  return sum;
}

/* Runs through grid axis `axis` and those after it, then through the threads. */
static double count_axes(Counter *c, int axis) {
  const Kernel *kernel = c->kernel;
  bool last = axis == kernel->n_grid;
  const IndexVar *var = last ? kernel->thread : kernel->grid[axis].var;
  int64_t extent = last ? kernel->threads : kernel->grid[axis].extent;
  double sum = 0;
  bool each = var && c->decides[var->id];
  for (int64_t i = 0, times = 1; i < (each ? extent : 1); i += times) {
    if (var)
      c->at[var->id] = i;
    times = each ? alike(c, var, i, extent) : 1;
    sum += (double)times * (last ? count_block(c, &kernel->body) : count_axes(c, axis + 1));
  }
  return each ? sum : sum * (double)extent;
}

KernelFlops kernel_flops(const Kernel *kernel) {
  Arena *arena = arena_new();
  Counter counter = {.arena = arena,
                     .kernel = kernel,
                     .decides = ARENA_ARRAY(arena, bool, kernel->vars.count + 1),
                     .unknown = ARENA_ARRAY(arena, bool, kernel->vars.count + 1),
                     .at = ARENA_ARRAY(arena, int64_t, kernel->vars.count + 1)};
  while (mark_block(&counter, &kernel->body))
    ;
  find_conditions(&counter, &kernel->body);
  KernelFlops flops = {.all = count_axes(&counter, 0)};
  counter.kind = PAIRED;
  if (counter.any_paired)
    flops.paired = count_axes(&counter, 0);
  counter.kind = OPEN_ENDED;
  if (counter.any_open)
    flops.open = count_axes(&counter, 0);
  arena_free(arena);
  return flops;
}
