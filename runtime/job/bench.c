/* bench: times an entry point, on given tensors or on made-up ones, step by step, and judges every
 * step by what the machine was measured to do in the same run.
 *
 * The numbers are the median and the extremes of the wall time of whole runs after one that is not
 * counted; per step the median over the runs. docs/bench.md explains the columns.
 */
#include "runtime/job/bench.h"
#include "runtime/base/random.h"
#include "runtime/job/command.h"
#include "runtime/job/ports.h"
#include "runtime/job/progress.h"
#include <stdlib.h>
#include <string.h>

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

static bool measure(Bench *b, bool steps, Error *error) {
  Job *job = b->job;
  int n = b->plan->n_steps;
  double *all = ARENA_ARRAY(job->arena, double, steps ? (int64_t)n * b->repeat : 0);
  b->seconds = ARENA_ARRAY(job->arena, double, b->repeat);
  program_profile(job->program, steps);
  for (int r = -1; r < b->repeat; r++) {
    double start = seconds_now();
    if (!program_run(job->program, b->entry, error))
      return false;
    if (r < 0)
      continue;
    b->seconds[r] = seconds_now() - start;
    for (int i = 0; steps && i < n; i++)
      all[(int64_t)i * b->repeat + r] = 1e-9 * (double)program_times(job->program, b->entry)[i];
  }
  b->median = median(b->seconds, b->repeat);
  if (steps)
    b->by_step = ARENA_ARRAY(job->arena, double, n);
  for (int i = 0; steps && i < n; i++)
    b->by_step[i] = median(&all[(int64_t)i * b->repeat], b->repeat);
  if (program_stopped(job->program, b->entry))
    fprintf(stderr, "bench: the runs ended before step %d: the loss is not finite\n",
            b->plan->guard);
  return true;
}

/* The peaks of the machine, or of a device. */
static bool measure_peak(Bench *b, Error *error) {
  Program *program = b->job->program;
  const ProgramDevice *device = program_device(program);
  if (!device)
    return machine_measure(&b->peak, program_pool(program), b->job->plan->level, error);
  if (!program_measure_device(program, error))
    return false;
  b->peak = (MachinePeak){.vector = "",
                          .f32 = device->fused,
                          .bf16 = device->matrix,
                          .memory_copy = device->copied,
                          .l2_bytes = device->l2_bytes};
  return true;
}

/* Peaks are taken before and after, so that both see what the steps saw. */
static bool measure_steps(Bench *b, Error *error) {
  if (!measure_peak(b, error) || !measure(b, true, error) || !measure_peak(b, error))
    return false;
  b->floors = ARENA_ARRAY(b->job->arena, StepFloor, b->plan->n_steps);
  bench_floors(b->job->plan, b->plan, &b->peak, b->floors);
  return true;
}

static bool bench(Bench *b, const char *name, Error *error) {
  Job *job = b->job;
  const char *inputs = options_text(&job->options, "inputs");
  const char *mode = options_text(&job->options, "mode");
  const char *trace = options_text(&job->options, "trace");
  JobRequest request = {.entries = {name},
                        .n_entries = 1,
                        .inputs = inputs,
                        .training = {mode && strcmp(mode, "train") == 0}};
  if (!job_open(job, &request, error))
    return false;
  b->entry = program_entry(job->program, name);
  b->plan = &job->plan->entries[b->entry];
  for (int i = 0; i < b->plan->n_steps; i++)
    b->flops += b->plan->steps[i].flops;
  make_up_inputs(b);
  if (inputs && !given_inputs(b, inputs, error))
    return false;
  bool whole = options_flag(&job->options, "whole");
  program_hold_inputs(job->program, options_flag(&job->options, "resident"));
  if (!(whole ? measure(b, false, error) : measure_steps(b, error)) ||
      (trace && !bench_trace(b, trace, error)))
    return false;
  Text out = {0};
  (options_flag(&job->options, "json") ? bench_json : bench_lines)(b, &out);
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
  if (name && options_flag(&job->options, "whole") && options_flag(&job->options, "profile"))
    error_set(&error, "--whole leaves out the steps that --profile asks for");
  if (*error.text)
    return job_usage(job, &error);
  return bench(&b, name, &error) ? EXIT_DONE : job_failed(&error);
}
