/* Packing of texts into rows, and shapes for a corpus. See text_pack.h. */
#include "runtime/data/text_pack.h"
#include "runtime/base/arena.h"
#include <stdlib.h>
#include <string.h>

enum { GRID = 32, LENGTH_STEP = 8 };

/* ---- placing ---- */

typedef struct Item {
  int32_t tokens;
  int64_t number;
} Item;

static int longer_first(const void *a, const void *b) {
  const Item *x = a, *y = b;
  if (x->tokens != y->tokens)
    return x->tokens > y->tokens ? -1 : 1;
  return x->number < y->number ? -1 : x->number > y->number;
}

static Item *sorted_items(const int32_t *tokens, int64_t count) {
  Item *items = mem_alloc(sizeof *items * (size_t)(count + 1));
  for (int64_t i = 0; i < count; i++)
    items[i] = (Item){tokens[i], i};
  qsort(items, (size_t)count, sizeof *items, longer_first);
  return items;
}

/* used[count] and texts[count] are room for the rows' tokens and texts so far. */
static int64_t place_sorted(const Item *items, int64_t count, int64_t length, int64_t *used,
                            int64_t *texts, TextPlace *places) {
  int64_t rows = 0;
  if (count && items[0].tokens > length)
    return 0;
  for (int64_t i = 0; i < count; i++) {
    int64_t row = 0;
    while (row < rows && used[row] + items[i].tokens > length)
      row++;
    if (row == rows) {
      used[rows] = texts[rows] = 0;
      rows++;
    }
    if (places)
      places[items[i].number] = (TextPlace){row * length + used[row], texts[row] + 1};
    used[row] += items[i].tokens;
    texts[row]++;
  }
  return rows;
}

int64_t text_place(const int32_t *tokens, int64_t count, int64_t length, TextPlace *places) {
  Item *items = sorted_items(tokens, count);
  int64_t *rooms = mem_alloc(sizeof *rooms * (size_t)(2 * count + 1));
  int64_t rows = place_sorted(items, count, length, rooms, rooms + count, places);
  free(rooms);
  free(items);
  return rows;
}

int text_choose(const int32_t *tokens, int64_t count, const TextShape *shapes, int n_shapes,
                TextPlace *places) {
  int best = -1;
  for (int i = 0; i < n_shapes; i++) {
    int64_t cells = shapes[i].rows * shapes[i].length, rows;
    if (best >= 0 && cells >= shapes[best].rows * shapes[best].length)
      continue;
    rows = text_place(tokens, count, shapes[i].length, NULL);
    if (rows <= shapes[i].rows && (rows || !count))
      best = i;
  }
  if (best >= 0)
    text_place(tokens, count, shapes[best].length, places);
  return best;
}

void text_fill(TextShape shape, const TokenIds *texts, const TextPlace *places, int64_t count,
               int64_t room, int32_t padding, int64_t *ids, int64_t *positions, int64_t *segments,
               int64_t *starts) {
  int64_t cells = shape.rows * shape.length;
  for (int64_t i = 0; i < cells; i++) {
    ids[i] = padding;
    positions[i] = segments[i] = 0;
  }
  for (int64_t i = 0; i < room; i++)
    starts[i] = count ? places[i < count ? i : count - 1].start : 0;
  for (int64_t i = 0; i < count; i++) {
    CHECK(places[i].start % shape.length + texts[i].count <= shape.length &&
          places[i].start + texts[i].count <= cells);
    for (int k = 0; k < texts[i].count; k++) {
      ids[places[i].start + k] = texts[i].at[k];
      positions[places[i].start + k] = k;
      segments[places[i].start + k] = places[i].segment;
    }
  }
}

/* ---- shapes for a corpus ---- */

typedef struct Planner {
  int64_t batches, batch, lengths[GRID];
  int n_lengths;
  bool packed;
  int64_t *needs; /* [batches][n_lengths]: rows; 0: too short */
  TextShape *candidates;
  int n_candidates;
  TextShape *shapes;
  int n_shapes;
} Planner;

static int length_index(const Planner *p, int64_t length) {
  int i = 0;
  while (p->lengths[i] != length)
    i++;
  return i;
}

static void make_lengths(Planner *p, int64_t length) {
  int64_t step = (length + GRID - 1) / GRID;
  step = (step + LENGTH_STEP - 1) / LENGTH_STEP * LENGTH_STEP;
  for (int64_t at = step; at < length; at += step)
    p->lengths[p->n_lengths++] = at;
  p->lengths[p->n_lengths++] = length;
}

static int64_t measure_batches(Planner *p, const int32_t *tokens, const int64_t *order) {
  int64_t *rooms = mem_alloc(sizeof *rooms * (size_t)(2 * p->batch + 1)), total = 0;
  int32_t *counts = mem_alloc(sizeof *counts * (size_t)(p->batch + 1));
  for (int64_t b = 0; b < p->batches; b++) {
    for (int64_t i = 0; i < p->batch; i++) {
      int64_t at = b * p->batch + i;
      counts[i] = tokens[order ? order[at] : at];
      total += counts[i];
    }
    Item *items = sorted_items(counts, p->batch);
    CHECK(!p->batch || items[0].tokens <= p->lengths[p->n_lengths - 1]);
    for (int k = 0; k < p->n_lengths; k++) {
      int64_t rows = place_sorted(items, p->batch, p->lengths[k], rooms, rooms + p->batch, NULL);
      p->needs[b * p->n_lengths + k] = rows && !p->packed ? p->batch : rows;
    }
    free(items);
  }
  free(counts);
  free(rooms);
  return total;
}

/* One candidate for every length and number of rows that some batch needs. */
static void make_candidates(Planner *p) {
  size_t room = (size_t)p->n_lengths * (size_t)(p->batch + 1);
  p->candidates = mem_alloc(sizeof *p->candidates * room);
  char *wanted = mem_alloc((size_t)p->batch + 1);
  for (int k = 0; k < p->n_lengths; k++) {
    memset(wanted, 0, (size_t)p->batch + 1);
    for (int64_t b = 0; b < p->batches; b++)
      wanted[p->needs[b * p->n_lengths + k]] = 1;
    for (int64_t rows = 1; rows <= p->batch; rows++)
      if (wanted[rows])
        p->candidates[p->n_candidates++] = (TextShape){rows, p->lengths[k]};
  }
  free(wanted);
}

static bool holds(const Planner *p, TextShape shape, int64_t b) {
  int64_t need = p->needs[b * p->n_lengths + length_index(p, shape.length)];
  return need && need <= shape.rows;
}

static bool holds_all(const Planner *p, TextShape shape) {
  for (int64_t b = 0; b < p->batches; b++)
    if (!holds(p, shape, b))
      return false;
  return true;
}

/* Cells of each batch with all shapes but number `without`; INT64_MAX where none holds it. */
static void cells_without(const Planner *p, int without, int64_t *cells) {
  for (int64_t b = 0; b < p->batches; b++) {
    cells[b] = INT64_MAX;
    for (int i = 0; i < p->n_shapes; i++) {
      int64_t size = p->shapes[i].rows * p->shapes[i].length;
      if (i != without && size < cells[b] && holds(p, p->shapes[i], b))
        cells[b] = size;
    }
  }
}

/* All cells when one more shape joins those of cells_without; INT64_MAX: a batch does not fit. */
static int64_t total_with(const Planner *p, const int64_t *cells, TextShape shape) {
  int64_t size = shape.rows * shape.length, total = 0;
  int k = length_index(p, shape.length);
  for (int64_t b = 0; b < p->batches; b++) {
    int64_t need = p->needs[b * p->n_lengths + k];
    int64_t own = size < cells[b] && need && need <= shape.rows ? size : cells[b];
    if (own == INT64_MAX)
      return INT64_MAX;
    total += own;
  }
  return total;
}

/* Puts the best candidate in place `at` when that leaves fewer cells than *total. */
static bool improve(Planner *p, int at, int64_t *cells, int64_t *total) {
  int best = -1;
  cells_without(p, at, cells);
  for (int c = 0; c < p->n_candidates; c++) {
    int64_t with = total_with(p, cells, p->candidates[c]);
    if (with < *total) {
      *total = with;
      best = c;
    }
  }
  if (best >= 0)
    p->shapes[at] = p->candidates[best];
  return best >= 0;
}

static int smaller_first(const void *a, const void *b) {
  const TextShape *x = a, *y = b;
  int64_t p = x->rows * x->length, q = y->rows * y->length;
  return p != q ? (p < q ? -1 : 1) : x->length < y->length ? -1 : x->length > y->length;
}

static int64_t choose_shapes(Planner *p, int most) {
  int64_t total = INT64_MAX, *cells = mem_alloc(sizeof *cells * (size_t)(p->batches + 1));
  TextShape first = {p->batch, p->lengths[p->n_lengths - 1]};
  for (int c = 0; c < p->n_candidates; c++) {
    TextShape shape = p->candidates[c];
    if (shape.rows * shape.length < first.rows * first.length && holds_all(p, shape))
      first = shape;
  }
  p->shapes[p->n_shapes++] = first;
  cells_without(p, -1, cells);
  total = total_with(p, cells, first);
  while (p->n_shapes < most && improve(p, p->n_shapes, cells, &total))
    p->n_shapes++;
  for (bool better = true; better;) {
    better = false;
    for (int i = 0; i < p->n_shapes; i++)
      better |= improve(p, i, cells, &total);
  }
  free(cells);
  qsort(p->shapes, (size_t)p->n_shapes, sizeof *p->shapes, smaller_first);
  return total;
}

/* How many batches take each shape: the smallest that holds them. */
static void count_uses(const Planner *p, int64_t *uses) {
  for (int64_t b = 0; b < p->batches; b++) {
    int i = 0;
    while (!holds(p, p->shapes[i], b))
      i++;
    uses[i]++;
  }
}

void text_plan(const int32_t *tokens, const int64_t *order, int64_t batches, int64_t batch,
               int64_t length, bool packed, int most, TextPlan *plan) {
  CHECK(batches > 0 && batch > 0 && length > 0 && most > 0 && most <= TEXT_SHAPES);
  *plan = (TextPlan){.padded = batches * batch * length};
  Planner p = {.batches = batches, .batch = batch, .packed = packed, .shapes = plan->shapes};
  make_lengths(&p, length);
  p.needs = mem_alloc(sizeof *p.needs * (size_t)(batches * p.n_lengths));
  plan->tokens = measure_batches(&p, tokens, order);
  make_candidates(&p);
  plan->cells = choose_shapes(&p, most);
  plan->count = p.n_shapes;
  count_uses(&p, plan->uses);
  free(p.needs);
  free(p.candidates);
}
