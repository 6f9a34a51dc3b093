/* bench: times an entry point, on given tensors or on made-up ones, step by step if wanted.
 *
 * The numbers are the median and the extremes of the wall time of whole runs after one that is not
 * counted; per step (--profile) the median over the runs, the share, and the rate of executed
 * operations and of bytes that must move.
 */
#include "runtime/base/json.h"
#include "runtime/base/random.h"
#include "runtime/job/command.h"
#include "runtime/job/ports.h"
#include "runtime/job/progress.h"
#include <stdlib.h>
#include <string.h>

typedef struct Bench {
  Job *job;
  int entry, repeat;
  const PlanEntry *plan;
  double *seconds; /* repeat, sorted */
  double *by_step; /* n_steps medians in seconds, or NULL */
} Bench;

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static double median(double *values, int count) {
  qsort(values, (size_t)count, sizeof *values, by_value);
  return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* Numbers a model could meet: noise for floats, indices in their range, masks and segments of ones.
 */
static void make_up_inputs(Bench *b) {
  for (int i = 0; i < b->plan->n_inputs; i++) {
    const PlanPort *port = &b->plan->inputs[i];
    void *data = program_part(b->job->program, b->entry, port->name, NULL);
    int64_t count = port_bytes(port) / (int64_t)dtype_size(port->type.dtype);
    int64_t limit = port_limit(b->job, port->name);
    bool ones = strstr(port->name, "mask") || strstr(port->name, "segment");
    for (int64_t k = 0; k < count; k++) {
      double value = random_uniform(1, (uint64_t)i, (uint64_t)k);
      if (!dtype_is_float(port->type.dtype))
        value = ones ? 1 : (double)(int64_t)(value * (double)(limit ? limit : 2));
      dtype_store(port->type.dtype, data, k,
                  dtype_is_float(port->type.dtype) ? 2 * value - 1 : value);
    }
  }
  port_set(b->job, b->entry, "lr", 1e-6);
  port_set(b->job, b->entry, "clip", 0);
}

static bool given_inputs(Bench *b, const char *path, Error *error) {
  TensorFile file;
  int64_t samples = 0;
  if (!tensor_file_open(&file, path, error))
    return false;
  bool good = ports_check_ids(b->job, b->entry, &file, path, error) &&
              (ports_exact(b->job, b->entry, &file) ||
               ports_check(b->job, b->entry, &file, path, &samples, error));
  if (good)
    ports_fill(b->job, b->entry, &file, 0, samples);
  tensor_file_close(&file);
  return good;
}

static bool measure(Bench *b, bool profile, Error *error) {
  Job *job = b->job;
  int n = b->plan->n_steps;
  double *all = ARENA_ARRAY(job->arena, double, profile ? (int64_t)n * b->repeat : 0);
  b->seconds = ARENA_ARRAY(job->arena, double, b->repeat);
  program_profile(job->program, profile);
  for (int r = -1; r < b->repeat; r++) {
    double start = seconds_now();
    if (!program_run(job->program, b->entry, error))
      return false;
    if (r < 0)
      continue;
    b->seconds[r] = seconds_now() - start;
    for (int i = 0; profile && i < n; i++)
      all[(int64_t)i * b->repeat + r] = 1e-9 * (double)program_times(job->program, b->entry)[i];
  }
  qsort(b->seconds, (size_t)b->repeat, sizeof(double), by_value);
  if (profile)
    b->by_step = ARENA_ARRAY(job->arena, double, n);
  for (int i = 0; profile && i < n; i++)
    b->by_step[i] = median(&all[(int64_t)i * b->repeat], b->repeat);
  return true;
}

static void bench_json(const Bench *b, double middle, double flops, Text *out) {
  text_add(out, "{\"entry\": ");
  json_add_string(out, b->plan->name);
  text_add(out, ", \"model\": ");
  json_add_string(out, b->job->plan->model);
  text_add(out,
           ", \"threads\": %d, \"repeat\": %d, \"seconds_median\": %.9g, \"seconds_min\": %.9g, "
           "\"seconds_max\": %.9g, \"flops_executed\": %.0f",
           program_threads(b->job->program), b->repeat, middle, b->seconds[0],
           b->seconds[b->repeat - 1], flops);
  for (int i = 0; b->by_step && i < b->plan->n_steps; i++) {
    const PlanStep *step = &b->plan->steps[i];
    text_add(out, "%s\n  {\"label\": ", i ? "," : ", \"steps\": [");
    json_add_string(out, step->label);
    text_add(out, ", \"place\": ");
    json_add_string(out, step->place);
    text_add(out, ", \"seconds\": %.9g, \"flops\": %.0f, \"traffic\": %.0f}", b->by_step[i],
             step->flops, step->traffic);
  }
  text_add(out, "%s}\n", b->by_step && b->plan->n_steps ? "]" : "");
}

static void bench_lines(const Bench *b, double middle, double flops, Text *out) {
  text_add(out,
           "%s of %s: median %.3f ms, %.3f to %.3f ms in %d runs, %d threads, %.1f GFLOP/s "
           "executed\n",
           b->plan->name, b->job->plan->model, 1e3 * middle, 1e3 * b->seconds[0],
           1e3 * b->seconds[b->repeat - 1], b->repeat, program_threads(b->job->program),
           1e-9 * flops / middle);
  if (b->by_step)
    text_add(out, "%5s %10s %6s %9s %8s  %s\n", "step", "us", "%", "GFLOP/s", "GB/s", "what");
  for (int i = 0; b->by_step && i < b->plan->n_steps; i++) {
    const PlanStep *step = &b->plan->steps[i];
    double t = b->by_step[i] > 0 ? b->by_step[i] : 1e-9;
    text_add(out, "%5d %10.1f %6.2f %9.1f %8.1f  %s%s%s\n", i, 1e6 * t, 100 * t / middle,
             1e-9 * step->flops / t, 1e-9 * step->traffic / t, step->label,
             *step->place ? "  " : "", step->place);
  }
}

static bool bench(Bench *b, const char *name, Error *error) {
  Job *job = b->job;
  const char *inputs = options_text(&job->options, "inputs");
  const char *mode = options_text(&job->options, "mode");
  JobRequest request = {.entries = {name},
                        .n_entries = 1,
                        .inputs = inputs,
                        .training = {mode && strcmp(mode, "train") == 0}};
  if (!job_open(job, &request, error))
    return false;
  b->entry = program_entry(job->program, name);
  b->plan = &job->plan->entries[b->entry];
  make_up_inputs(b);
  if (inputs && !given_inputs(b, inputs, error))
    return false;
  if (!measure(b, options_flag(&job->options, "profile"), error))
    return false;
  double flops = 0, middle = median(b->seconds, b->repeat);
  for (int i = 0; i < b->plan->n_steps; i++)
    flops += b->plan->steps[i].flops;
  Text out = {0};
  (options_flag(&job->options, "json") ? bench_json : bench_lines)(b, middle, flops, &out);
  bool good = command_output(NULL, &out, error);
  text_free(&out);
  return good;
}

int verb_bench(Job *job) {
  Error error = {""};
  int64_t repeat = options_count(&job->options, "repeat", 10);
  Bench b = {.job = job, .repeat = (int)repeat};
  const char *name = job_need(job, "entry", &error);
  if (name && (repeat < 1 || repeat > 1000000))
    error_set(&error, "--repeat is 1 to 1000000");
  if (*error.text)
    return job_usage(job, &error);
  return bench(&b, name, &error) ? EXIT_DONE : job_failed(&error);
}
