/* The interpreter as a target like the others: an entry point is one step whose "kernel" evaluates
 * the whole graph (graph_eval) in double precision.
 *
 * Kernels have no context argument, so graphs stand in a table of the process and each slot has a
 * function of its own, found as "interpret0", "interpret1", …
 */
#ifndef TRICOT_DRIVER_INTERPRET_H
#define TRICOT_DRIVER_INTERPRET_H
#include "ir/graph.h"
#include "runtime/program.h"

enum { INTERPRETED = 40 }; /* slots */

/* Slot `number` evaluates this graph from now on; it must outlive every call. */
void interpret_set(int number, const Graph *graph);
/* The kernel of this name; NULL: it is none of ours, or there is no such slot. */
ProgramKernel *interpret_find(const char *name);
#endif
