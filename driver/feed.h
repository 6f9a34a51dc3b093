/* Feeds: what a graph does with an input while that is filled (op class OP_FEED). */
#ifndef TRICOT_DRIVER_FEED_H
#define TRICOT_DRIVER_FEED_H
#include "ir/graph.h"
#include "runtime/base/gather.h"

/* The feed that reads input number `input` through views, or NULL. */
const Node *feed_find(const Graph *graph, int input);
/* What it keeps of the input. */
const Gather *feed_gather(Arena *arena, const Node *feed);
#endif
