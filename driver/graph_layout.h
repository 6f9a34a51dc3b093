/* Places for the boxes of a drawn graph: in layers from top to bottom, edges pointing down.
 *
 * The steps of Sugiyama, Tagawa and Toda (Methods for visual understanding of hierarchical system
 * structures, IEEE Trans. SMC 11(2), 1981) without nodes for the bends of long edges: layers by
 * longest path, order in a layer by the mean place of neighbours, then places as near to the
 * neighbours as the order allows. A layer that would be too wide is broken into several rows. */
#ifndef TRICOT_DRIVER_GRAPH_LAYOUT_H
#define TRICOT_DRIVER_GRAPH_LAYOUT_H
#include "runtime/base/arena.h"

typedef struct LayoutBox {
  double width, height;
  double x, y; /* result: its upper left corner */
} LayoutBox;

typedef struct LayoutEdge {
  int from, to; /* from < to: boxes are in topological order */
} LayoutEdge;

typedef struct Layout {
  int n_boxes, n_edges;
  LayoutBox *boxes;
  const LayoutEdge *edges;
  double widest;        /* of a row; one box is always taken */
  double gap_x, gap_y;  /* between boxes and between rows */
  double width, height; /* result */
} Layout;

void graph_layout(Layout *layout);
#endif
