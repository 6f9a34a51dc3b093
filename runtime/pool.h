/* A persistent pool of workers that share out the blocks of one task at a time.
 *
 * The caller works too, so a pool of one thread has no workers. Blocks are handed out in chunks
 * from an atomic counter: whoever is free takes the next chunk, so a core that is stolen for a
 * while does not hold up the rest. Which thread runs which block is therefore open; a task must
 * give the same result either way. Workers look out for work for a few microseconds, then sleep.
 *
 * Workers are pinned, one per allowed CPU: two workers left on one CPU halve the speed for good. A
 * pool that is asked for fewer threads than CPUs starts at the CPU of its maker and goes round.
 */
#ifndef TRICOT_RUNTIME_POOL_H
#define TRICOT_RUNTIME_POOL_H
#include "runtime/base/fault.h"
#include <stdint.h>

/* Runs blocks begin..end-1: the shape of a compiled kernel. */
typedef void PoolTask(void *const *arguments, int64_t begin, int64_t end);

typedef struct Pool Pool;

/* threads <= 0: one per allowed CPU, or as many as a container's quota is worth. Fewer workers than
 * asked for are an error. */
bool pool_open(Pool **pool, int threads, Error *error);
/* How many that would be; threads > 0 stays itself. */
int pool_threads_for(int threads);
void pool_close(Pool *pool); /* NULL is fine */
int pool_threads(const Pool *pool);

/* Runs all blocks and returns when they are done. One caller at a time. */
void pool_run(Pool *pool, PoolTask *task, void *const *arguments, int64_t blocks);

/* What one thread did of one task: from its first chunk to the end of its last. */
typedef struct PoolSpan {
  int64_t begin, end, busy; /* monotonic nanoseconds; busy: inside chunks */
  int chunks;
} PoolSpan;
/* Keeps the spans of the tasks that follow, `room` a thread, later ones are dropped; 0: no more.
 * What was kept before is gone. Between tasks only. */
void pool_record(Pool *pool, int room);
/* Of thread 0 (the caller) to pool_threads - 1, in order. Between tasks only. */
const PoolSpan *pool_spans(const Pool *pool, int thread, int *count);
int64_t monotonic_nanoseconds(void);

/* Pins the calling thread beside the workers for a series of pool_run calls, and back to where it
 * was allowed to run before. Without effect on a pool of one thread. */
void pool_enter(Pool *pool);
void pool_leave(Pool *pool);
#endif
