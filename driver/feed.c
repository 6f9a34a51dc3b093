/* Feeds as gathers. See feed.h.
 *
 * Each component of a polyphase is one box: its places along an axis of the operand are an
 * arithmetic sequence, and views take those to arithmetic sequences along the axes of the input.
 */
#include "driver/feed.h"
#include "ir/op.h"
#include "passes/view_map.h"

static bool is_input(void *context, const Value *value) {
  (void)context;
  return value->node == NULL;
}

/* Along one axis of the feed's operand, indices `phase` by `stride`: which along the whole's. */
static void gather_axis(const ViewMap *map, int axis, int64_t phase, int64_t stride, int64_t count,
                        int64_t apart, GatherBox *box) {
  for (int b = 0; b < map->type.rank; b++) {
    int64_t factor = map->factor[b][axis];
    if (!factor || count == 1) {
      box->start[b] += factor * phase;
      continue;
    }
    CHECK(factor > 0 && box->count[b] == 1); /* as the pass that made the feed saw to */
    box->start[b] += factor * phase;
    box->step[b] = factor * stride;
    box->count[b] = count;
    box->stride[b] = apart;
  }
}

const Gather *feed_gather(Arena *arena, const Node *feed) {
  ViewMap map;
  Value *stuck;
  CHECK(view_map_resolve(feed->in[0], is_input, NULL, &map, &stuck));
  const Type *x = &feed->in[0]->type, *y = &feed->out[0].type;
  const int64_t *stride = node_ints(feed, "stride", NULL), axis = node_int(feed, "axis");
  int n, rank = x->rank;
  const int64_t *phases = node_ints(feed, "phases", &n);
  GatherBox *boxes = ARENA_ARRAY(arena, GatherBox, n / rank);
  Gather *gather = ARENA_NEW(arena, Gather);
  *gather = (Gather){map.type, type_elements(y), false, n / rank, boxes};
  int64_t filled = 0;
  for (int p = 0; p < n / rank; p++) {
    GatherBox *box = &boxes[p];
    int64_t apart = 1, elements = 1;
    for (int b = 0; b < map.type.rank; b++) {
      box->start[b] = map.offset[b];
      box->step[b] = box->count[b] = 1;
    }
    for (int a = rank - 1; a >= 0; apart *= y->dim[a], a--) {
      int64_t phase = phases[p * rank + a], parts = a == axis ? n / rank : 1;
      int64_t count = (x->dim[a] - phase + stride[a] - 1) / stride[a];
      gather_axis(&map, a, phase, stride[a], count, apart * parts, box);
      box->at += a == axis ? p * apart : 0;
      elements *= count;
    }
    box->stride[0] = gather->elements / map.type.dim[0]; /* also of a single sample */
    filled += elements;
  }
  gather->gaps = filled < gather->elements;
  Error error;
  if (!gather_check(gather, &error))
    FAULT("feed %s: %s", feed->out[0].name, error.text);
  return gather;
}
