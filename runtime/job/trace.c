/* Writing timelines. See trace.h. */
#include "runtime/job/trace.h"
#include "runtime/base/json.h"
#include "runtime/job/command.h"
#include "runtime/pool.h"

void trace_open(Trace *trace, const char *process) {
  *trace = (Trace){.origin = monotonic_nanoseconds()};
  pthread_mutex_init(&trace->lock, NULL);
  text_add(&trace->text, "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n"
                         "{\"ph\": \"M\", \"pid\": 1, \"tid\": 0, \"name\": \"process_name\", "
                         "\"args\": {\"name\": ");
  json_add_string(&trace->text, process);
  text_add(&trace->text, "}}");
}

void trace_row(Trace *trace, int row, const char *name) {
  pthread_mutex_lock(&trace->lock);
  text_add(&trace->text,
           ",\n{\"ph\": \"M\", \"pid\": 1, \"tid\": %d, \"name\": \"thread_name\", \"args\": "
           "{\"name\": ",
           row);
  json_add_string(&trace->text, name);
  text_add(&trace->text,
           "}},\n{\"ph\": \"M\", \"pid\": 1, \"tid\": %d, \"name\": \"thread_sort_index\", "
           "\"args\": {\"sort_index\": %d}}",
           row, row);
  pthread_mutex_unlock(&trace->lock);
}

void trace_event(Trace *trace, int row, const char *name, const char *category, int64_t begin,
                 int64_t end, const char *arguments) {
  if (!trace)
    return;
  pthread_mutex_lock(&trace->lock);
  if (trace->events++ >= TRACE_MOST) {
    pthread_mutex_unlock(&trace->lock);
    return;
  }
  text_add(&trace->text, ",\n{\"ph\": \"X\", \"pid\": 1, \"tid\": %d, \"name\": ", row);
  json_add_string(&trace->text, name);
  text_add(&trace->text, ", \"cat\": \"%s\", \"ts\": %.3f, \"dur\": %.3f", category,
           1e-3 * (double)(begin - trace->origin), 1e-3 * (double)(end - begin));
  if (arguments)
    text_add(&trace->text, ", \"args\": {%s}", arguments);
  text_add(&trace->text, "}");
  pthread_mutex_unlock(&trace->lock);
}

bool trace_write(Trace *trace, const char *path, Error *error) {
  pthread_mutex_lock(&trace->lock);
  size_t size = trace->text.size;
  text_add(&trace->text, "\n]}\n");
  bool good = command_output(path, &trace->text, error);
  trace->text.size = size; /* more may follow */
  trace->text.at[size] = 0;
  pthread_mutex_unlock(&trace->lock);
  return good;
}

void trace_close(Trace *trace) {
  text_free(&trace->text);
  pthread_mutex_destroy(&trace->lock);
}
