/* Computing values again for late readers instead of keeping them: the one mechanism behind every
 * policy that trades arithmetic for memory.
 *
 * A policy marks values that may be computed again and readers that shall read the copies. Right
 * in front of the first such reader (nodes run in their order) stands a copy of the node of every
 * marked value it needs, operands included as far as they are marked; views in between come along.
 * Readers that are not marked go on with the first results. A copy keeps place and stage of its
 * node; where the node goes on making the same result, the copy is marked as uncounted, since the
 * model asked for it once.
 *
 * A copy equals its node, so cse would undo the work: policies run after the last cse.
 */
#ifndef TRICOT_PASSES_GRAPH_RECOMPUTE_H
#define TRICOT_PASSES_GRAPH_RECOMPUTE_H
#include "ir/graph.h"

typedef struct Recompute {
  const bool *again; /* by value id: computed again for late readers */
  const bool *late;  /* by node id: reads copies */
  bool apart;        /* each late reader has copies of its own; else the first one's serve all */
  Arena *bodies; /* for new bodies of regions, which copies of graphs share; NULL: `arena` */
} Recompute;

/* The graph with the copies; what nobody reads any more (nodes, and single results of regions) is
 * gone. In `arena`, which may be another than the graph's. */
Graph *graph_recompute(const Graph *graph, Arena *arena, const Recompute *what);

/* What of a region's body the wanted results need: by value id of the body. In `arena`. */
bool *region_needs(const Node *region, Arena *arena, const bool *wanted);

/* The same graph without nodes and results of regions that nobody reads. */
Graph *graph_without_unread(const Graph *graph, Arena *arena);
#endif
