/* Packing of texts into rows, and shapes for a corpus. See text_pack.h. */
#include "runtime/data/text_pack.h"
#include "runtime/base/arena.h"
#include <stdlib.h>
#include <string.h>

enum { TOKEN_STEP = 16 };

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

/* The sizes that batches need, each once, the smallest first, and how many batches need at most
 * that. A batch's size is a number of cells when its texts share a row, or the length of its rows.
 */
typedef struct Sizes {
  int64_t *size, *batches;
  int count;
} Sizes;

static int64_t size_of_batch(const int32_t *tokens, const int64_t *order, int64_t batch,
                             bool packed) {
  int64_t sum = 0, longest = 0;
  for (int64_t i = 0; i < batch; i++) {
    int64_t here = tokens[order ? order[i] : i];
    sum += here;
    longest = here > longest ? here : longest;
  }
  return packed ? sum : longest;
}

static int ascending(const void *a, const void *b) {
  const int64_t *x = a, *y = b;
  return *x < *y ? -1 : *x > *y;
}

/* In steps of TOKEN_STEP, but for the largest there may be. */
static Sizes sizes_of(int64_t *needs, int64_t batches, int64_t largest) {
  Sizes sizes = {mem_alloc(sizeof(int64_t) * (size_t)batches),
                 mem_alloc(sizeof(int64_t) * (size_t)batches), 0};
  for (int64_t b = 0; b < batches; b++) {
    CHECK(needs[b] <= largest);
    needs[b] = (needs[b] + TOKEN_STEP - 1) / TOKEN_STEP * TOKEN_STEP;
    needs[b] = needs[b] < largest ? needs[b] : largest;
  }
  qsort(needs, (size_t)batches, sizeof *needs, ascending);
  for (int64_t b = 0; b < batches; b++) {
    if (b == 0 || needs[b] != needs[b - 1])
      sizes.size[sizes.count++] = needs[b];
    sizes.batches[sizes.count - 1] = b + 1;
  }
  return sizes;
}

/* Chooses at most `most` of the sizes, the largest among them, so that the sum over batches of the
 * smallest chosen size that holds each is least: least[k][j], for the batches up to size j with
 * k + 1 sizes, is least[k - 1][i] plus size j for each batch between. Returns how many; chosen[]
 * are places in `sizes`, in order. */
static int choose_sizes(const Sizes *sizes, int most, int *chosen) {
  int n = sizes->count, best = 0;
  int64_t *least = mem_alloc(sizeof *least * (size_t)most * (size_t)n);
  int *before = mem_alloc(sizeof *before * (size_t)most * (size_t)n);
  for (int k = 0; k < most; k++)
    for (int j = 0; j < n; j++) {
      int64_t at = sizes->size[j] * sizes->batches[j];
      int from = -1;
      for (int i = k ? 0 : j; i < j; i++) {
        int64_t with =
            least[(k - 1) * n + i] + sizes->size[j] * (sizes->batches[j] - sizes->batches[i]);
        if (with < at)
          at = with, from = i;
      }
      least[k * n + j] = at;
      before[k * n + j] = from;
    }
  for (int k = 1; k < most; k++)
    if (least[k * n + n - 1] < least[best * n + n - 1])
      best = k;
  int count = 0;
  for (int k = best, j = n - 1; j >= 0; j = before[k * n + j], k--) {
    chosen[count++] = j;
    if (k == 0)
      break;
  }
  for (int i = 0; i < count / 2; i++) {
    int swap = chosen[i];
    chosen[i] = chosen[count - 1 - i];
    chosen[count - 1 - i] = swap;
  }
  free(least);
  free(before);
  return count;
}

void text_plan(const int32_t *tokens, const int64_t *order, int64_t batches, int64_t batch,
               int64_t length, bool packed, int most, TextPlan *plan) {
  CHECK(batches > 0 && batch > 0 && length > 0 && most > 0 && most <= TEXT_SHAPES);
  *plan = (TextPlan){.padded = batches * batch * length};
  int64_t *needs = mem_alloc(sizeof *needs * (size_t)batches);
  for (int64_t b = 0; b < batches; b++) {
    const int32_t *from = order ? tokens : tokens + b * batch;
    const int64_t *numbers = order ? order + b * batch : NULL;
    CHECK(size_of_batch(from, numbers, batch, false) <= length);
    plan->tokens += size_of_batch(from, numbers, batch, true);
    needs[b] = size_of_batch(from, numbers, batch, packed);
  }
  Sizes sizes = sizes_of(needs, batches, packed ? batch * length : length);
  int chosen[TEXT_SHAPES];
  plan->count = choose_sizes(&sizes, most, chosen);
  for (int i = 0; i < plan->count; i++) {
    int64_t size = sizes.size[chosen[i]];
    plan->shapes[i] = (TextShape){packed ? 1 : batch, size};
    plan->uses[i] = sizes.batches[chosen[i]] - (i ? sizes.batches[chosen[i - 1]] : 0);
    plan->cells += plan->uses[i] * plan->shapes[i].rows * size;
  }
  free(sizes.size);
  free(sizes.batches);
  free(needs);
}
