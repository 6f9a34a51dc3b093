/* Counting the bytes a kernel must read and write, from the accesses of its TILE stage.
 *
 * An access touches, for each value of the variables that several of its coordinates share (the
 * number of a tap, looked up in tables), a box: a set of coordinates in every dimension, all
 * combinations of them. What a kernel reads of a tensor is the union of its loads' boxes, counted
 * by slicing: coordinates of one dimension that lie in the same boxes are counted once and
 * multiplied. Sets are bitmaps over units; along the last dimension a unit is a cache line where
 * rows are made of whole lines, since memory moves lines.
 *
 * Guards, bounds that are no numbers, and too many boxes are answered with more than is touched,
 * never less; a coordinate taken from data touches as many places as there are numbers.
 */
#include "ir/kernel.h"
#include <string.h>

enum { LINE = 64, MOST_UNITS = 1 << 16, MOST_BOXES = 512, MOST_STARTS = 1 << 18, MEMO = 32 };

typedef struct Range { /* what a variable takes: low, low + step, … */
  int64_t low, step, count;
  const Stmt *lookup; /* or the elements of a table */
  bool fixed;         /* while boxes are enumerated: `low` is its value */
} Range;

typedef struct Box {
  uint64_t *set[MAX_RANK];
} Box;

typedef struct Touched { /* of one buffer, by loads or by stores */
  const Type *type;
  int64_t unit[MAX_RANK], units[MAX_RANK];
  VEC(Box) boxes;
} Touched;

typedef struct Bytes {
  Arena *arena;
  const Kernel *kernel;
  Range *range;    /* by variable id */
  Touched *loaded; /* by argument */
  Touched *stored;
} Bytes;

static int words(const Touched *t, int d) { return (int)((t->units[d] + 63) / 64); }

static void choose_units(Touched *t, const Type *type) {
  int64_t line = LINE / (int64_t)dtype_size(type->dtype);
  t->type = type;
  for (int d = 0; d < type->rank; d++) {
    int64_t extent = type->dim[d], unit = 1;
    if (d == type->rank - 1 && extent % line == 0)
      unit = line;
    while ((extent + unit - 1) / unit > MOST_UNITS)
      unit *= 2;
    t->unit[d] = unit;
    t->units[d] = (extent + unit - 1) / unit;
  }
}

/* ---- variables ---- */

static void find_ranges(Bytes *b, const Block *block) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = block->at[i];
    if (s->kind == STMT_FOR) {
      Range *r = &b->range[s->var->id];
      bool known = affine_is_constant(&s->low) && affine_is_constant(&s->high);
      int64_t low = known ? s->low.constant : s->var->low;
      int64_t high = known ? s->high.constant : s->var->high + 1, step = known ? s->step : 1;
      *r = (Range){.low = low, .step = step, .count = high > low ? (high - low - 1) / step + 1 : 0};
    } else if (s->kind == STMT_LOOKUP) {
      b->range[s->var->id] = (Range){
          .low = s->var->low, .step = 1, .count = s->var->high - s->var->low + 1, .lookup = s};
    }
    find_ranges(b, &s->body);
    find_ranges(b, &s->other);
  }
}

/* The variables that tables are looked up with; more than `room` of them: -1. */
static int find_roots(const Bytes *b, const Affine *a, const IndexVar **roots, int count,
                      int room) {
  for (int i = 0; i < a->count && count >= 0; i++) {
    const Stmt *lookup = b->range[a->term[i].var->id].lookup;
    for (int k = 0; lookup && k < lookup->at.count && count >= 0; k++) {
      const IndexVar *var = lookup->at.term[k].var;
      bool known = false;
      for (int r = 0; r < count; r++)
        known |= roots[r] == var;
      if (b->range[var->id].lookup)
        count = -1; /* tables of tables: nothing here has them */
      else if (!known && count == room)
        count = -1;
      else if (!known)
        roots[count++] = var;
    }
  }
  return count;
}

static int64_t lookup_value(const Bytes *b, const Stmt *lookup) {
  int64_t at = lookup->at.constant;
  for (int i = 0; i < lookup->at.count; i++)
    at += lookup->at.term[i].factor * b->range[lookup->at.term[i].var->id].low;
  return at >= 0 && at < lookup->table->count ? lookup->table->values[at] : 0;
}

/* ---- one dimension of one box ---- */

typedef struct Terms { /* base + sum of factor * (0 .. count-1) */
  int64_t base;
  int count;
  struct {
    int64_t factor, count;
  } at[MAX_TERMS + MAX_ROW_AXES + 1];
} Terms;

static void add_term(Terms *t, int64_t factor, int64_t count) {
  if (factor < 0) {
    t->base += factor * (count - 1);
    factor = -factor;
  }
  if (factor == 0 || count <= 1)
    return;
  int at = t->count++;
  for (; at > 0 && t->at[at - 1].factor > factor; at--)
    t->at[at] = t->at[at - 1];
  t->at[at].factor = factor;
  t->at[at].count = count;
}

static Terms terms_of(const Bytes *b, const AccessDim *dim, const Tile *tile, bool fixed) {
  Terms t = {.base = dim->at.constant};
  for (int i = 0; i < dim->at.count; i++) {
    const Range *r = &b->range[dim->at.term[i].var->id];
    int64_t factor = dim->at.term[i].factor;
    bool looked_up = fixed && r->lookup;
    t.base += factor * (looked_up ? lookup_value(b, r->lookup) : r->low);
    if (!looked_up && !r->fixed)
      add_term(&t, factor * r->step, r->count);
  }
  for (int j = 0; j < tile->n_axes; j++)
    add_term(&t, dim->row[j], tile->axis[j]);
  add_term(&t, dim->col, tile->cols);
  return t;
}

static void mark_values(const Touched *t, int d, uint64_t *set, int64_t divisor, int64_t low,
                        int64_t high) {
  int64_t extent = t->type->dim[d];
  low = low <= 0 ? 0 : (low + divisor - 1) / divisor;
  high = high < 0 ? -1 : high / divisor;
  if (high >= extent)
    high = extent - 1;
  for (int64_t u = low / t->unit[d]; low <= high && u <= high / t->unit[d]; u++)
    set[u / 64] |= (uint64_t)1 << (u % 64);
}

/* Small factors make runs without gaps; the others are run through. */
static void mark_dim(const Touched *t, int d, uint64_t *set, const Terms *terms, int64_t divisor) {
  int64_t run = 1, starts = 1, digit[MAX_TERMS + MAX_ROW_AXES + 1] = {0};
  int first = 0;
  for (; first < terms->count && terms->at[first].factor <= run; first++)
    run += terms->at[first].factor * (terms->at[first].count - 1);
  for (int i = first; i < terms->count && starts <= MOST_STARTS; i++)
    starts *= terms->at[i].count;
  if (starts > MOST_STARTS) {
    mark_values(t, d, set, 1, 0, t->type->dim[d] - 1);
    return;
  }
  for (int64_t n = 0; n < starts; n++) {
    int64_t low = terms->base;
    for (int i = first; i < terms->count; i++)
      low += terms->at[i].factor * digit[i];
    mark_values(t, d, set, divisor, low, low + run - 1);
    for (int i = first; i < terms->count && ++digit[i] == terms->at[i].count; i++)
      digit[i] = 0;
  }
}

/* ---- boxes ---- */

static bool same_box(const Touched *t, const Box *x, const Box *y) {
  for (int d = 0; d < t->type->rank; d++)
    if (memcmp(x->set[d], y->set[d], sizeof(uint64_t) * (size_t)words(t, d)) != 0)
      return false;
  return true;
}

static void add_box(Bytes *b, Touched *t, const Box *box) {
  for (int i = 0; i < t->boxes.count; i++)
    if (same_box(t, &t->boxes.at[i], box))
      return;
  if (t->boxes.count < MOST_BOXES) {
    vec_push(b->arena, &t->boxes, *box);
    return;
  }
  for (int d = 0; d < t->type->rank; d++) /* too many: the last one grows */
    for (int w = 0; w < words(t, d); w++)
      t->boxes.at[MOST_BOXES - 1].set[d][w] |= box->set[d][w];
}

/* How many numbers there are where a gathered coordinate comes from; `most` when it is computed. */
static int64_t gathered(const Block *block, const Tile *tile, int64_t most) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = block->at[i];
    if (s->kind == STMT_TILE_LOAD && s->tile == tile) {
      int64_t elements = type_elements(&s->access.buffer->type);
      return elements < most ? elements : most;
    }
    int64_t inside = gathered(&s->body, tile, most);
    if (inside == most)
      inside = gathered(&s->other, tile, most);
    if (inside != most)
      return inside;
  }
  return most;
}

static void add_one(Bytes *b, Touched *t, const Access *access, const Tile *tile, bool fixed) {
  Box box;
  for (int d = 0; d < t->type->rank; d++) {
    box.set[d] = ARENA_ARRAY(b->arena, uint64_t, words(t, d) + 1);
    if (access->gather && access->gather_dim == d) {
      int64_t count = gathered(&b->kernel->body, access->gather, t->type->dim[d]);
      mark_values(t, d, box.set[d], 1, 0, count - 1);
      continue;
    }
    Terms terms = terms_of(b, &access->dim[d], tile, fixed);
    mark_dim(t, d, box.set[d], &terms, access->dim[d].divisor);
  }
  add_box(b, t, &box);
}

static void add_access(Bytes *b, Touched *t, const Access *access, const Tile *tile) {
  enum { ROOTS = 3 };
  const IndexVar *roots[ROOTS];
  Range saved[ROOTS];
  int n = 0;
  int64_t combinations = 1;
  if (!t->type)
    choose_units(t, &access->buffer->type);
  for (int d = 0; d < access->rank && n >= 0; d++)
    n = find_roots(b, &access->dim[d].at, roots, n, ROOTS);
  for (int r = 0; r < n && combinations <= MOST_BOXES; r++)
    combinations *= b->range[roots[r]->id].count;
  if (n <= 0 || combinations > MOST_BOXES) {
    add_one(b, t, access, tile, false);
    return;
  }
  for (int r = 0; r < n; r++) {
    saved[r] = b->range[roots[r]->id];
    b->range[roots[r]->id].fixed = true;
  }
  for (int64_t c = 0; c < combinations; c++) {
    int64_t rest = c;
    for (int r = 0; r < n; r++) {
      b->range[roots[r]->id].low = saved[r].low + saved[r].step * (rest % saved[r].count);
      rest /= saved[r].count;
    }
    add_one(b, t, access, tile, true);
  }
  for (int r = 0; r < n; r++)
    b->range[roots[r]->id] = saved[r];
}

static void add_accesses(Bytes *b, const Block *block) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = block->at[i];
    bool global = s->access.buffer && s->access.buffer->space == SPACE_GLOBAL;
    int argument = global ? s->access.buffer->id : 0;
    if (global && s->kind == STMT_TILE_LOAD)
      add_access(b, &b->loaded[argument], &s->access, s->tile);
    if (global && s->kind == STMT_TILE_STORE) {
      add_access(b, &b->stored[argument], &s->access, s->tile_arg[0]);
      if (s->accumulate)
        add_access(b, &b->loaded[argument], &s->access, s->tile_arg[0]);
    }
    add_accesses(b, &s->body);
    add_accesses(b, &s->other);
  }
}

/* ---- the union ---- */

typedef struct Pattern { /* which boxes hold a coordinate */
  uint64_t in[MOST_BOXES / 64];
} Pattern;

/* Elements in the union of the boxes of `among`, from dimension d on. */
static int64_t count_union(const Touched *t, const Pattern *among, int d) {
  Pattern seen[MEMO];
  int64_t counted[MEMO], sum = 0;
  int n = 0, boxes = (t->boxes.count + 63) / 64;
  if (d == t->type->rank)
    return 1;
  for (int64_t u = 0; u < t->units[d]; u++) {
    Pattern here = {{0}};
    bool any = false;
    for (int i = 0; i < t->boxes.count; i++)
      if ((among->in[i / 64] >> (i % 64) & 1) && (t->boxes.at[i].set[d][u / 64] >> (u % 64) & 1))
        here.in[i / 64] |= (uint64_t)1 << (i % 64), any = true;
    if (!any)
      continue;
    int at = 0;
    while (at < n && memcmp(seen[at].in, here.in, sizeof(uint64_t) * (size_t)boxes) != 0)
      at++;
    int64_t below = at < n ? counted[at] : count_union(t, &here, d + 1);
    if (at == n && n < MEMO) {
      seen[n] = here;
      counted[n++] = below;
    }
    int64_t left = t->type->dim[d] - u * t->unit[d];
    sum += below * (left < t->unit[d] ? left : t->unit[d]);
  }
  return sum;
}

static int64_t touched_bytes(const Touched *t) {
  Pattern all;
  if (!t->type || !t->boxes.count)
    return 0;
  memset(&all, 0xff, sizeof all);
  return count_union(t, &all, 0) * (int64_t)dtype_size(t->type->dtype);
}

int64_t kernel_bytes(const Kernel *kernel, int64_t *moved) {
  Arena *arena = arena_new();
  Bytes b = {.arena = arena,
             .kernel = kernel,
             .range = ARENA_ARRAY(arena, Range, kernel->vars.count + 1),
             .loaded = ARENA_ARRAY(arena, Touched, kernel->n_arguments + 1),
             .stored = ARENA_ARRAY(arena, Touched, kernel->n_arguments + 1)};
  int64_t sum = 0;
  CHECK(kernel->stage == STAGE_TILE);
  for (int g = 0; g < kernel->n_grid; g++)
    b.range[kernel->grid[g].var->id] = (Range){.step = 1, .count = kernel->grid[g].extent};
  find_ranges(&b, &kernel->body);
  add_accesses(&b, &kernel->body);
  for (int a = 0; a < kernel->n_arguments; a++) {
    moved[a] = touched_bytes(&b.loaded[a]) + touched_bytes(&b.stored[a]);
    sum += moved[a];
  }
  arena_free(arena);
  return sum;
}
