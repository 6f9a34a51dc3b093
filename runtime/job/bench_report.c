/* Printing a measurement: a table, or JSON with the same numbers. docs/bench.md has both. */
#include "runtime/base/json.h"
#include "runtime/job/bench.h"
#include <string.h>

typedef struct Totals {
  double steps, floors, bytes; /* seconds, seconds, bytes of all steps */
  double sure, at_peak;        /* operations whatever the data; seconds they take at the peak */
} Totals;

static Totals totals_of(const Bench *b) {
  Totals t = {0};
  for (int i = 0; i < b->plan->n_steps; i++) {
    const PlanStep *step = &b->plan->steps[i];
    t.bytes += step->traffic;
    t.sure += step->flops - step->open_flops;
    if (step->flops > 0)
      t.at_peak += bench_seconds_at_peak(step, &b->peak) * (1 - step->open_flops / step->flops);
    if (b->by_step) {
      t.steps += b->by_step[i];
      t.floors += b->floors[i].seconds;
    }
  }
  return t;
}

static const char *kernel_name(const Bench *b, const PlanStep *step) {
  return step->kind == STEP_KERNEL ? b->job->plan->kernels[step->kernel] : "copy";
}

static double share(double amount, double of) { return of > 0 ? amount / of : 0; }

/* ---- JSON ---- */

static void add_text(Text *out, const char *key, const char *value) {
  text_add(out, "\"%s\": ", key);
  json_add_string(out, value);
}

/* A number, or null where there is none. */
static void add_known(Text *out, const char *key, double value) {
  if (value > 0)
    text_add(out, ", \"%s\": %.6g", key, value);
  else
    text_add(out, ", \"%s\": null", key);
}

static void machine_json(const Bench *b, Text *out) {
  const MachinePeak *p = &b->peak;
  const ProgramDevice *device = program_device(b->job->program);
  text_add(out, ",\n \"machine\": {");
  if (device)
    add_text(out, "device", device->name);
  else
    text_add(out, "\"threads\": %d, \"vector\": \"%s\"", p->threads, p->vector);
  add_known(out, "fma_flops_per_second", p->f32);
  add_known(out, "bf16_flops_per_second", p->bf16);
  add_known(out, "memory_read_bytes_per_second", p->memory_read);
  add_known(out, "memory_copy_bytes_per_second", p->memory_copy);
  add_known(out, "l3_bytes_per_second", p->l3);
  add_known(out, "l2_bytes_per_second", p->l2);
  text_add(out, ", \"l1_bytes\": %lld, \"l2_bytes\": %lld, \"l3_bytes\": %lld}",
           (long long)p->l1_bytes, (long long)p->l2_bytes, (long long)p->l3_bytes);
}

static void step_json(const Bench *b, int i, Text *out) {
  const PlanStep *step = &b->plan->steps[i];
  const StepFloor *floor = &b->floors[i];
  double t = b->by_step[i] > 0 ? b->by_step[i] : 1e-9;
  text_add(out, "%s\n  {\"step\": %d, ", i ? "," : "", i);
  add_text(out, "kernel", kernel_name(b, step));
  text_add(out, ", ");
  add_text(out, "label", step->label);
  text_add(out, ", ");
  add_text(out, "place", step->place);
  text_add(out,
           ", \"seconds\": %.6g, \"share\": %.6g, \"flops_executed\": %.0f, \"flops_at_most\": %s, "
           "\"bytes\": %.0f, "
           "\"fma_share\": %.6g, \"bandwidth_share\": %.6g, \"memory_bytes\": %.0f, \"l3_bytes\": "
           "%.0f, \"l2_bytes\": %.0f, \"l1_bytes\": %.0f, \"floor_seconds\": %.6g, ",
           t, share(t, b->median), step->flops, step->open_flops > 0 ? "true" : "false",
           step->traffic, bench_seconds_at_peak(step, &b->peak) / t,
           share(step->traffic / t, machine_memory(&b->peak)), floor->memory, floor->l3, floor->l2,
           floor->l1, floor->seconds);
  add_text(out, "bound", floor->bound);
  add_known(out, "times_floor", share(t, floor->seconds));
  text_add(out, "}");
}

/* What of the working memory holds inputs. */
static int64_t input_bytes(const PlanEntry *entry) {
  int64_t bytes = 0;
  for (int i = 0; i < entry->n_inputs; i++)
    bytes += port_bytes(&entry->inputs[i]);
  return bytes;
}

void bench_json(const Bench *b, Text *out) {
  Totals totals = totals_of(b);
  text_add(out, "{");
  add_text(out, "entry", b->plan->name);
  text_add(out, ", ");
  add_text(out, "model", b->job->plan->model);
  text_add(out, ", ");
  add_text(out, "variant", b->job->plan->variant);
  text_add(out, ", ");
  add_text(out, "level", b->job->plan->level);
  text_add(out,
           ", \"working_bytes\": %lld, \"input_bytes\": %lld, \"threads\": %d, \"repeat\": %d, "
           "\"seconds_median\": %.9g, \"seconds_min\": %.9g, "
           "\"seconds_max\": %.9g, \"flops_executed\": %.0f, \"bytes\": %.0f, "
           "\"layout_conversions\": %d",
           (long long)b->plan->arena_bytes, (long long)input_bytes(b->plan),
           program_threads(b->job->program), b->repeat, b->median, b->seconds[0],
           b->seconds[b->repeat - 1], b->flops, totals.bytes, plan_conversions(b->plan));
  if (b->plan->budget_bytes)
    text_add(out,
             ", \"budget_bytes\": %lld, \"saved_bytes\": %lld, \"recomputed\": %d, "
             "\"recomputed_flops\": %.0f",
             (long long)b->plan->budget_bytes, (long long)b->plan->saved_bytes, b->plan->recomputed,
             b->plan->recomputed_flops);
  if (b->by_step) {
    text_add(out, ", \"steps_seconds\": %.6g, \"floor_seconds\": %.6g", totals.steps,
             totals.floors);
    add_known(out, "times_floor", share(b->median, totals.floors));
    machine_json(b, out);
    text_add(out, ",\n \"steps\": [");
    for (int i = 0; i < b->plan->n_steps; i++)
      step_json(b, i, out);
    text_add(out, "]");
  }
  text_add(out, "}\n");
}

/* ---- the table ---- */

static void device_line(const ProgramDevice *device, Text *out) {
  text_add(out, "device: %s: memory ", device->name);
  if (device->copied > 0)
    text_add(out, "%.1f GB/s copied", 1e-9 * device->copied);
  else
    text_add(out, "not measured");
  if (device->fused > 0)
    text_add(out, "; %.2f TFLOP/s f32 fma", 1e-12 * device->fused);
  if (device->matrix > 0)
    text_add(out, ", %.2f TFLOP/s bf16 on matrix units", 1e-12 * device->matrix);
  if (device->l2_bytes)
    text_add(out, "; L2 %.1f MiB", (double)device->l2_bytes / (1 << 20));
  text_add(out, "\n");
}

static void machine_line(const MachinePeak *p, Text *out) {
  text_add(out, "machine: %d threads, %s: %.1f GFLOP/s f32 fma", p->threads, p->vector,
           1e-9 * p->f32);
  if (p->bf16 > 0)
    text_add(out, ", %.1f GFLOP/s bf16 dot", 1e-9 * p->bf16);
  text_add(out, "; memory %.1f GB/s read, %.1f GB/s copied", 1e-9 * p->memory_read,
           1e-9 * p->memory_copy);
  if (p->l3 > 0)
    text_add(out, "; L3 %.1f GB/s", 1e-9 * p->l3);
  if (p->l2 > 0)
    text_add(out, "; L2 %.1f GB/s", 1e-9 * p->l2);
  text_add(out, "\n");
}

static void step_line(const Bench *b, int i, Text *out) {
  const PlanStep *step = &b->plan->steps[i];
  const StepFloor *floor = &b->floors[i];
  double t = b->by_step[i] > 0 ? b->by_step[i] : 1e-9;
  text_add(out, "%5d %10.1f %5.1f ", i, 1e6 * t, 100 * share(t, b->median));
  if (step->open_flops > 0)
    text_add(out, "%10s %8s %5s ", "by data", "-", "-");
  else
    text_add(out, "%10.2f %8.1f ", 1e-6 * step->flops, 1e-9 * step->flops / t);
  if (step->open_flops <= 0 && b->peak.f32 > 0)
    text_add(out, "%5.1f ", 100 * bench_seconds_at_peak(step, &b->peak) / t);
  else if (step->open_flops <= 0) /* of a device: not measured */
    text_add(out, "%5s ", "-");
  text_add(out, "%9.3f %7.1f %6.1f %10.1f %-6s ", 1e-6 * step->traffic, 1e-9 * step->traffic / t,
           100 * share(step->traffic / t, machine_memory(&b->peak)), 1e6 * floor->seconds,
           *floor->bound ? floor->bound : "-");
  if (floor->seconds > 0)
    text_add(out, "%7.2f", t / floor->seconds);
  else
    text_add(out, "%7s", "-");
  text_add(out, "  %s%s%s\n", step->label, *step->place ? "  " : "", step->place);
}

static void total_line(const Bench *b, Text *out) {
  Totals t = totals_of(b);
  text_add(out, "total: %.3f ms, of which steps %.3f ms; %.3f GFLOP executed", 1e3 * b->median,
           1e3 * t.steps, 1e-9 * t.sure);
  if (b->flops > t.sure)
    text_add(out, " and at most %.3f by data", 1e-9 * (b->flops - t.sure));
  if (b->peak.f32 > 0)
    text_add(out, ", %.1f %% of the fma peak", 100 * share(t.at_peak, b->median));
  text_add(out, "; %.3f GB, %.1f %% of the bandwidth of memory\n", 1e-9 * t.bytes,
           100 * share(t.bytes / b->median, machine_memory(&b->peak)));
  if (t.floors > 0)
    text_add(out, "floor: %.3f ms, the sum of the steps' floors; time = %.2f x floor\n",
             1e3 * t.floors, b->median / t.floors);
  text_add(out, "layout conversions between kernels: %d\n", plan_conversions(b->plan));
}

void bench_lines(const Bench *b, Text *out) {
  const Plan *plan = b->job->plan;
  const ProgramDevice *device = program_device(b->job->program);
  double sure = totals_of(b).sure;
  text_add(out, "%s of %s%s%s: median %.3f ms, %.3f to %.3f ms in %d runs, ", b->plan->name,
           plan->model, *plan->variant ? " " : "", plan->variant, 1e3 * b->median,
           1e3 * b->seconds[0], 1e3 * b->seconds[b->repeat - 1], b->repeat);
  if (device)
    text_add(out, "%s", device->name);
  else
    text_add(out, "%d threads", program_threads(b->job->program));
  text_add(out, ", %s%.1f GFLOP/s executed\n", b->flops > sure ? "at least " : "",
           1e-9 * sure / b->median);
  if (b->plan->budget_bytes)
    job_budget_line(b->plan, out);
  if (!b->by_step)
    return;
  if (device)
    device_line(device, out);
  else
    machine_line(&b->peak, out);
  text_add(out, "%5s %10s %5s %10s %8s %5s %9s %7s %6s %10s %-6s %7s  %s\n", "step", "us", "%",
           "MFLOP", "GFLOP/s", "fma %", "MB", "GB/s", "mem %", "floor us", "bound", "x floor",
           "what");
  for (int i = 0; i < b->plan->n_steps; i++)
    step_line(b, i, out);
  total_line(b, out);
}
