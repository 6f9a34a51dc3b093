/* Feeds: what a graph does with an input while that is filled (op class OP_FEED). */
#ifndef TRICOT_DRIVER_FEED_H
#define TRICOT_DRIVER_FEED_H
#include "ir/graph.h"
#include "runtime/base/gather.h"

/* What a feed (passes/footprint.h finds it) keeps of its input. */
const Gather *feed_gather(Arena *arena, const Node *feed);
#endif
