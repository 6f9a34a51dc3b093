/* Inside fusion: what fuse.c and its helpers share. */
#ifndef TRICOT_PASSES_GRAPH_FUSE_H
#define TRICOT_PASSES_GRAPH_FUSE_H
#include "passes/graph/common.h"

enum { WORTH_REPEATING = 1 << 14 /* elements: smaller tensors stay in cache anyway */ };

/* Does the op give its region the shape of its loops (contractions, windows, indexing, moves)? */
bool op_anchors(const Node *node);
/* The graph with cheap results repeated beside each reader that can absorb them. */
Graph *fuse_repeat_cheap(PassContext *context, const Graph *graph);
/* By node id: waits for its only reader and joins what that joins. */
bool *fuse_find_lazy(const Graph *graph, Arena *arena);
#endif
