/* Large memory from the system: huge pages where it can, first touched by the workers.
 *
 * A region is address space when it is opened; pages are taken when they are touched, so a program
 * pays for the entry points it runs, not for the largest it has.
 */
#ifndef TRICOT_RUNTIME_REGION_H
#define TRICOT_RUNTIME_REGION_H
#include "runtime/base/bytes.h"
#include "runtime/pool.h"
#include <stddef.h>

typedef struct Region {
  unsigned char *at; /* aligned to 64 at least; NULL when empty */
  size_t size;
  size_t touched; /* bytes from the start whose pages are there */
  void *mapping;  /* what to give back */
  size_t mapped;
} Region;

/* Zeroed memory. `what` names it in the error: "the arena". */
bool region_open(Region *region, int64_t bytes, const char *what, Error *error);
void region_close(Region *region);
/* Takes the pages of the first `bytes`, in parallel, without changing them; an error when the
 * machine cannot have that much. Does nothing the second time. */
bool region_touch(Region *region, Pool *pool, int64_t bytes, const char *what, Error *error);
/* Gives the whole pages within these bytes back to the system; they read as zeros afterwards. */
void region_release(Region *region, size_t begin, size_t end);
/* Makes bytes begin .. end-1 zero; whole pages are given back, and taken again when touched. */
void region_zero(Region *region, size_t begin, size_t end);
#endif
