/* Layouts of random graphs: no boxes overlap, edges point down, rows keep to their width. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* after what it leans on */
#include <cmocka.h>

#include "driver/graph_layout.h"
#include "runtime/base/random.h"
#include <string.h>

enum { BOXES = 120, EDGES = 240 };

static int below(uint64_t seed, uint64_t index, int limit) {
  return (int)(random_uniform(seed, 7, index) * limit);
}

static void fill(Layout *l, LayoutBox *boxes, LayoutEdge *edges, uint64_t seed) {
  for (int i = 0; i < BOXES; i++)
    boxes[i] = (LayoutBox){.width = 40 + below(seed, 2 * (uint64_t)i, 100),
                           .height = 20 + below(seed, 2 * (uint64_t)i + 1, 40)};
  for (int e = 0; e < EDGES; e++) {
    int to = 1 + below(seed, 1000 + 2 * (uint64_t)e, BOXES - 1);
    edges[e] = (LayoutEdge){below(seed, 1001 + 2 * (uint64_t)e, to), to};
  }
  *l = (Layout){.n_boxes = BOXES,
                .n_edges = EDGES,
                .boxes = boxes,
                .edges = edges,
                .widest = 600,
                .gap_x = 10,
                .gap_y = 30};
}

static void overlap(const LayoutBox *a, const LayoutBox *b) {
  if (a->x < b->x + b->width && b->x < a->x + a->width && a->y < b->y + b->height &&
      b->y < a->y + a->height)
    fail_msg("boxes at %g,%g and %g,%g overlap", a->x, a->y, b->x, b->y);
}

static void random_graphs(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 20; seed++) {
    LayoutBox boxes[BOXES], again[BOXES];
    LayoutEdge edges[EDGES];
    Layout l;
    fill(&l, boxes, edges, seed);
    graph_layout(&l);
    for (int i = 0; i < BOXES; i++) {
      double row = boxes[i].width;
      assert_true(boxes[i].x >= -1e-6 && boxes[i].x + boxes[i].width <= l.width + 1e-6);
      assert_true(boxes[i].y >= 0 && boxes[i].y + boxes[i].height <= l.height);
      for (int k = 0; k < BOXES; k++) {
        if (k != i)
          overlap(&boxes[i], &boxes[k]);
        if (k != i && boxes[k].y == boxes[i].y)
          row += boxes[k].width + l.gap_x;
      }
      assert_true(row <= l.widest);
    }
    for (int e = 0; e < EDGES; e++) {
      const LayoutBox *from = &boxes[edges[e].from], *to = &boxes[edges[e].to];
      assert_true(from->y + from->height + l.gap_y <= to->y + 1e-6);
    }
    fill(&l, again, edges, seed);
    graph_layout(&l);
    assert_memory_equal(boxes, again, sizeof boxes);
  }
}

/* A chain is straight, whatever the widths. */
static void chain(void **state) {
  (void)state;
  LayoutBox boxes[3] = {
      {.width = 10, .height = 5}, {.width = 50, .height = 5}, {.width = 30, .height = 5}};
  LayoutEdge edges[2] = {{0, 1}, {1, 2}};
  Layout l = {.n_boxes = 3,
              .n_edges = 2,
              .boxes = boxes,
              .edges = edges,
              .widest = 100,
              .gap_x = 1,
              .gap_y = 7};
  graph_layout(&l);
  for (int i = 0; i < 3; i++) {
    assert_true(boxes[i].x + boxes[i].width / 2 == 25);
    assert_true(boxes[i].y == 12 * i);
  }
  assert_true(l.width == 50 && l.height == 29);
  Layout none = {.widest = 100};
  graph_layout(&none);
  assert_true(none.width == 0 && none.height == 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(random_graphs), cmocka_unit_test(chain)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
