/* Layers, order, places. See graph_layout.h. Everything is decided by the numbers of the boxes, so
 * equal graphs are drawn alike. */
#include "driver/graph_layout.h"
#include <stdbool.h>
#include <stdlib.h>

enum { SWEEPS = 6 };

typedef struct Links { /* of every box: the others it is connected to */
  int *first;          /* n + 1 */
  int *other;
} Links;

typedef struct Row {
  int begin, end; /* in `order` */
} Row;

typedef struct Drawing {
  Arena *arena;
  Layout *l;
  Links above, below;
  int *rank;    /* by box */
  int *order;   /* boxes, row by row */
  double *wish; /* by box: where its centre should be */
  VEC(Row) rows;
} Drawing;

static double centre(const Drawing *d, int box) {
  return d->l->boxes[box].x + d->l->boxes[box].width / 2;
}

static Links find_links(Arena *arena, const Layout *l, bool above) {
  Links links = {ARENA_ARRAY(arena, int, l->n_boxes + 2), ARENA_ARRAY(arena, int, l->n_edges + 1)};
  int *fill = ARENA_ARRAY(arena, int, l->n_boxes + 1);
  for (int e = 0; e < l->n_edges; e++)
    links.first[(above ? l->edges[e].to : l->edges[e].from) + 1]++;
  for (int i = 0; i < l->n_boxes; i++)
    links.first[i + 1] += links.first[i];
  for (int e = 0; e < l->n_edges; e++) {
    int box = above ? l->edges[e].to : l->edges[e].from;
    int other = above ? l->edges[e].from : l->edges[e].to;
    links.other[links.first[box] + fill[box]++] = other;
  }
  return links;
}

/* Longest path from the top; then down towards their users those with no more above than below:
 * chains that start at a constant stand beside what they feed. */
static void find_ranks(Drawing *d) {
  int n = d->l->n_boxes;
  d->rank = ARENA_ARRAY(d->arena, int, n + 1);
  for (int i = 0; i < n; i++)
    for (int k = d->above.first[i]; k < d->above.first[i + 1]; k++)
      if (d->rank[d->above.other[k]] >= d->rank[i])
        d->rank[i] = d->rank[d->above.other[k]] + 1;
  for (int i = n - 1; i >= 0; i--) {
    int below = d->below.first[i + 1] - d->below.first[i], least = 1 << 30;
    for (int k = d->below.first[i]; k < d->below.first[i + 1]; k++)
      if (d->rank[d->below.other[k]] < least)
        least = d->rank[d->below.other[k]];
    if (below && below >= d->above.first[i + 1] - d->above.first[i])
      d->rank[i] = least - 1;
  }
}

/* A stable counting sort by rank. */
static int order_by_rank(Drawing *d, int **starts) {
  int n = d->l->n_boxes, ranks = 0;
  for (int i = 0; i < n; i++)
    if (d->rank[i] >= ranks)
      ranks = d->rank[i] + 1;
  *starts = ARENA_ARRAY(d->arena, int, ranks + 2);
  int *fill = ARENA_ARRAY(d->arena, int, ranks + 1);
  for (int i = 0; i < n; i++)
    (*starts)[d->rank[i] + 1]++;
  for (int r = 0; r < ranks; r++)
    (*starts)[r + 1] += (*starts)[r];
  for (int i = 0; i < n; i++)
    d->order[(*starts)[d->rank[i]] + fill[d->rank[i]]++] = i;
  return ranks;
}

/* ---- order in a layer ---- */

static void sort_by_wish(Drawing *d, int begin, int end) { /* stable; layers are short */
  for (int i = begin + 1; i < end; i++) {
    int box = d->order[i], k = i;
    for (; k > begin && d->wish[d->order[k - 1]] > d->wish[box]; k--)
      d->order[k] = d->order[k - 1];
    d->order[k] = box;
  }
}

/* Side by side in their order, from 0. */
static void line_up(Drawing *d, int begin, int end) {
  double x = 0;
  for (int i = begin; i < end; i++) {
    d->l->boxes[d->order[i]].x = x;
    x += d->l->boxes[d->order[i]].width + d->l->gap_x;
  }
  for (int i = begin; i < end; i++) /* about 0 */
    d->l->boxes[d->order[i]].x -= (x - d->l->gap_x) / 2;
}

static void wish_for(Drawing *d, const Links *links, int box) {
  double sum = 0;
  int count = links->first[box + 1] - links->first[box];
  for (int k = links->first[box]; k < links->first[box + 1]; k++)
    sum += centre(d, links->other[k]);
  d->wish[box] = count ? sum / count : centre(d, box);
}

static void order_layers(Drawing *d, const int *starts, int ranks) {
  for (int r = 0; r < ranks; r++)
    line_up(d, starts[r], starts[r + 1]);
  for (int sweep = 0; sweep < SWEEPS; sweep++)
    for (int step = 0; step < ranks; step++) {
      int r = sweep % 2 ? ranks - 1 - step : step;
      for (int i = starts[r]; i < starts[r + 1]; i++)
        wish_for(d, sweep % 2 ? &d->below : &d->above, d->order[i]);
      sort_by_wish(d, starts[r], starts[r + 1]);
      line_up(d, starts[r], starts[r + 1]);
    }
}

static void break_rows(Drawing *d, const int *starts, int ranks) {
  for (int r = 0; r < ranks; r++) {
    double width = 0;
    int begin = starts[r];
    for (int i = starts[r]; i < starts[r + 1]; i++) {
      double more = d->l->boxes[d->order[i]].width + d->l->gap_x;
      if (i > begin && width + more > d->l->widest) {
        vec_push(d->arena, &d->rows, ((Row){begin, i}));
        begin = i;
        width = 0;
      }
      width += more;
    }
    if (begin < starts[r + 1])
      vec_push(d->arena, &d->rows, ((Row){begin, starts[r + 1]}));
  }
}

/* ---- places ---- */

/* As wished where there is room; those that push each other share the difference. */
static void place_row(Drawing *d, const Row *row) {
  double right = -1e30, off = 0;
  for (int i = row->begin; i < row->end; i++) {
    LayoutBox *box = &d->l->boxes[d->order[i]];
    double x = d->wish[d->order[i]] - box->width / 2;
    box->x = x > right ? x : right;
    right = box->x + box->width + d->l->gap_x;
    off += box->x - x;
  }
  off /= row->end - row->begin;
  for (int i = row->begin; i < row->end; i++)
    d->l->boxes[d->order[i]].x -= off;
}

static void place_boxes(Drawing *d) {
  for (int r = 0; r < d->rows.count; r++)
    line_up(d, d->rows.at[r].begin, d->rows.at[r].end);
  for (int sweep = 0; sweep < SWEEPS; sweep++)
    for (int step = 0; step < d->rows.count; step++) {
      const Row *row = &d->rows.at[sweep % 2 ? d->rows.count - 1 - step : step];
      for (int i = row->begin; i < row->end; i++)
        wish_for(d, sweep % 2 ? &d->below : &d->above, d->order[i]);
      place_row(d, row);
    }
}

static void finish(Drawing *d) {
  Layout *l = d->l;
  double left = 1e30, right = -1e30, y = 0;
  for (int r = 0; r < d->rows.count; r++) {
    double height = 0;
    for (int i = d->rows.at[r].begin; i < d->rows.at[r].end; i++) {
      LayoutBox *box = &l->boxes[d->order[i]];
      box->y = y;
      height = box->height > height ? box->height : height;
      left = box->x < left ? box->x : left;
      right = box->x + box->width > right ? box->x + box->width : right;
    }
    y += height + l->gap_y;
  }
  for (int i = 0; i < l->n_boxes; i++)
    l->boxes[i].x -= left;
  l->width = l->n_boxes ? right - left : 0;
  l->height = l->n_boxes ? y - l->gap_y : 0;
}

void graph_layout(Layout *layout) {
  Drawing d = {.arena = arena_new(), .l = layout};
  int *starts;
  d.above = find_links(d.arena, layout, true);
  d.below = find_links(d.arena, layout, false);
  d.order = ARENA_ARRAY(d.arena, int, layout->n_boxes + 1);
  d.wish = ARENA_ARRAY(d.arena, double, layout->n_boxes + 1);
  find_ranks(&d);
  int ranks = order_by_rank(&d, &starts);
  order_layers(&d, starts, ranks);
  break_rows(&d, starts, ranks);
  place_boxes(&d);
  finish(&d);
  arena_free(d.arena);
}
