/* A few runs of an entry point as a timeline: a row of steps, and a row of every thread's share. */
#include "runtime/base/json.h"
#include "runtime/job/bench.h"
#include "runtime/job/trace.h"

enum { RUNS = 3, STEPS_ROW = 0, THREADS_ROW = 1 };

static void step_arguments(const Bench *b, int i, double seconds, Text *out) {
  const PlanStep *step = &b->plan->steps[i];
  out->size = 0;
  text_add(out, "\"step\": %d, \"place\": ", i);
  json_add_string(out, step->place);
  text_add(out, ", \"flops_executed\": %.0f, \"bytes\": %.0f, \"blocks\": %lld", step->flops,
           step->traffic, (long long)step->blocks);
  if (b->floors && b->floors[i].seconds > 0 && seconds > 0)
    text_add(out, ", \"floor_us\": %.3f, \"times_floor\": %.3f", 1e6 * b->floors[i].seconds,
             seconds / b->floors[i].seconds);
}

/* The spans of a thread, each within the step it belongs to. */
static void add_thread(const Bench *b, Trace *trace, int thread, Text *out) {
  const int64_t *starts = program_starts(b->job->program, b->entry);
  const int64_t *times = program_times(b->job->program, b->entry);
  int count, step = 0;
  const PoolSpan *spans = pool_spans(program_pool(b->job->program), thread, &count);
  for (int i = 0; i < count; i++) {
    while (step < b->plan->n_steps && starts[step] + times[step] < spans[i].end)
      step++;
    if (step == b->plan->n_steps)
      break;
    if (spans[i].begin < starts[step]) /* in front of the steps: weights are prepared */
      continue;
    out->size = 0;
    text_add(out, "\"step\": %d, \"chunks\": %d, \"busy_us\": %.3f", step, spans[i].chunks,
             1e-3 * (double)spans[i].busy);
    trace_event(trace, THREADS_ROW + thread, b->plan->steps[step].label, "thread", spans[i].begin,
                spans[i].end, out->at);
  }
}

/* The host's threads have no part in the steps of a device. */
static int rows_of_threads(const Program *program) {
  return program_device(program) ? 0 : program_threads(program);
}

static bool trace_run(Bench *b, Trace *trace, int run, Text *out, Error *error) {
  Program *program = b->job->program;
  pool_record(program_pool(program), b->plan->n_steps + b->plan->n_prepare + 8);
  int64_t begin = monotonic_nanoseconds();
  if (!program_run(program, b->entry, error))
    return false;
  int64_t end = monotonic_nanoseconds();
  const int64_t *starts = program_starts(program, b->entry);
  const int64_t *times = program_times(program, b->entry);
  out->size = 0;
  text_add(out, "\"run\": %d", run);
  trace_event(trace, STEPS_ROW, b->plan->name, "entry", begin, end, out->at);
  int steps = program_stopped(program, b->entry) ? b->plan->guard : b->plan->n_steps;
  for (int i = 0; i < steps; i++) {
    const PlanStep *step = &b->plan->steps[i];
    step_arguments(b, i, 1e-9 * (double)times[i], out);
    trace_event(trace, STEPS_ROW, step->label, step->kind == STEP_KERNEL ? "kernel" : "copy",
                starts[i], starts[i] + times[i], out->at);
  }
  for (int t = 0; t < rows_of_threads(program); t++)
    add_thread(b, trace, t, out);
  return true;
}

bool bench_trace(Bench *b, const char *path, Error *error) {
  Program *program = b->job->program;
  Trace trace;
  Text out = {0};
  bool good = true;
  trace_open(&trace, b->job->plan->model);
  trace_row(&trace, STEPS_ROW, "steps");
  for (int t = 0; t < rows_of_threads(program); t++)
    trace_row(&trace, THREADS_ROW + t, arena_printf(b->job->arena, "thread %d", t));
  program_profile(program, true);
  for (int run = 0; run < RUNS && good; run++)
    good = trace_run(b, &trace, run, &out, error);
  pool_record(program_pool(program), 0);
  good = good && trace_write(&trace, path, error);
  text_free(&out);
  trace_close(&trace);
  return good;
}
