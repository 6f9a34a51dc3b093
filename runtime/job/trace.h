/* A timeline in the trace event format that Perfetto and chrome://tracing show: who did what when.
 *
 * Events are kept as text until they are written; any thread may add some. Times are those of
 * monotonic_nanoseconds. (Google, Trace Event Format, the JSON object form.)
 */
#ifndef TRICOT_RUNTIME_JOB_TRACE_H
#define TRICOT_RUNTIME_JOB_TRACE_H
#include "runtime/base/fault.h"
#include "runtime/base/text.h"
#include <pthread.h>
#include <stdint.h>

enum { TRACE_MOST = 200000 }; /* events that are kept; later ones are dropped */

typedef struct Trace {
  pthread_mutex_t lock;
  int64_t origin; /* time 0 of the timeline */
  int events;
  Text text;
} Trace;

void trace_open(Trace *trace, const char *process);
/* A row of the timeline; rows are shown in the order of their numbers. */
void trace_row(Trace *trace, int row, const char *name);
/* What row did from begin to end. arguments: members of a JSON object, or NULL. Nothing happens
 * without a trace. */
void trace_event(Trace *trace, int row, const char *name, const char *category, int64_t begin,
                 int64_t end, const char *arguments);
bool trace_write(Trace *trace, const char *path, Error *error);
void trace_close(Trace *trace);
#endif
