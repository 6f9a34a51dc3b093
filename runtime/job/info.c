/* info: what a program holds, for people and (--json) for programs. */
#include "runtime/base/json.h"
#include "runtime/job/command.h"
#include "runtime/job/job.h"
#include "runtime/region.h"
#include <string.h>

typedef struct Totals {
  int64_t parameters, buffers, state, scratch, views; /* elements */
  double bytes;                                       /* of all persistent tensors */
} Totals;

static Totals count_totals(const Plan *plan) {
  Totals totals = {0};
  for (int i = 0; i < plan->n_tensors; i++) {
    int64_t *of[] = {&totals.parameters, &totals.buffers, &totals.state, &totals.scratch,
                     &totals.views};
    *of[plan->tensors[i].role] += type_elements(&plan->tensors[i].type);
    totals.bytes += (double)type_bytes(&plan->tensors[i].type);
  }
  return totals;
}

static double entry_flops(const PlanEntry *entry) {
  double sum = 0;
  for (int i = 0; i < entry->n_steps; i++)
    sum += entry->steps[i].flops;
  return sum;
}

static int threads(const Job *job) {
  return job->program ? program_threads(job->program)
                      : pool_threads_for((int)options_count(&job->options, "threads", 0));
}

/* Of an input that is not kept whole. */
static double kept_share(const PlanPort *port) {
  return (double)port_bytes(port) / (double)type_bytes(&port->type);
}

static void ports_json(Text *out, const char *key, const PlanPort *ports, int count) {
  text_add(out, "      \"%s\": [", key);
  for (int i = 0; i < count; i++) {
    text_add(out, "%s{\"name\": ", i ? ", " : "");
    json_add_string(out, ports[i].name);
    text_add(out, ", \"type\": \"%s\", \"tap\": %s", type_text(&ports[i].type),
             ports[i].tap ? "true" : "false");
    if (ports[i].gather)
      text_add(out, ", \"kept_bytes\": %lld, \"kept\": %.9g", (long long)port_bytes(&ports[i]),
               kept_share(&ports[i]));
    text_add(out, "}");
  }
  text_add(out, "],\n");
}

static void add_pair(Text *out, const char *key, const char *value) {
  json_add_string(out, key);
  text_add(out, ": ");
  json_add_string(out, value);
}

static void info_json(const Job *job, Text *out) {
  const Plan *plan = job->plan;
  Totals totals = count_totals(plan);
  text_add(out, "{\n  ");
  add_pair(out, "model", plan->model);
  text_add(out, ",\n  ");
  add_pair(out, "variant", plan->variant);
  text_add(out, ",\n  ");
  add_pair(out, "level", plan->level);
  text_add(out, ",\n  ");
  add_pair(out, "precision", plan->precision);
  text_add(out,
           ",\n  \"threads\": %d,\n  \"parameters\": %lld,\n  \"buffers\": %lld,\n"
           "  \"state\": %lld,\n  \"scratch\": %lld,\n  \"views\": %lld,\n  \"persistent_bytes\": "
           "%.0f,\n"
           "  \"kernels\": %d,\n",
           threads(job), (long long)totals.parameters, (long long)totals.buffers,
           (long long)totals.state, (long long)totals.scratch, (long long)totals.views,
           totals.bytes, plan->n_kernels);
  text_add(out, "  \"code\": [");
  for (int i = 0; i < job->host->n_parts; i++) {
    const JobPart *part = &job->host->parts[i];
    text_add(out, "%s{\"target\": \"%s:%s\", \"bytes\": %lld}", i ? ", " : "", part->target,
             part->name, (long long)part->bytes);
  }
  text_add(out, "],\n");
  text_add(out, "  \"entries\": [\n");
  for (int e = 0; e < plan->n_entries; e++) {
    const PlanEntry *entry = &plan->entries[e];
    text_add(out, "    {\n      ");
    add_pair(out, "name", entry->name);
    text_add(out, ",\n");
    ports_json(out, "inputs", entry->inputs, entry->n_inputs);
    ports_json(out, "outputs", entry->outputs, entry->n_outputs);
    text_add(out,
             "      \"steps\": %d,\n      \"layout_conversions\": %d,\n"
             "      \"flops_executed\": %.0f,\n"
             "      \"arena_bytes\": %lld,\n      \"prepared_bytes\": %lld,\n"
             "      \"budget_bytes\": %lld,\n      \"saved_bytes\": %lld,\n"
             "      \"recomputed\": %d,\n      \"recomputed_flops\": %.0f\n    }%s\n",
             entry->n_steps, plan_conversions(entry), entry_flops(entry),
             (long long)entry->arena_bytes, (long long)entry->prepared_bytes,
             (long long)entry->budget_bytes, (long long)entry->saved_bytes, entry->recomputed,
             entry->recomputed_flops, e + 1 < plan->n_entries ? "," : "");
  }
  text_add(out, "  ],\n  \"settings\": {");
  for (int i = 0; i < plan->n_settings; i++) {
    text_add(out, "%s\n    ", i ? "," : "");
    add_pair(out, plan->settings[i].key, plan->settings[i].value);
  }
  text_add(out, "%s}\n}\n", plan->n_settings ? "\n  " : "");
}

static void ports_lines(Text *out, const char *what, const PlanPort *ports, int count) {
  for (int i = 0; i < count; i++) {
    text_add(out, "    %-7s %-32s %s", ports[i].tap ? "tap" : what, ports[i].name,
             type_text(&ports[i].type));
    if (ports[i].gather) {
      char bytes[32];
      bytes_text((double)port_bytes(&ports[i]), bytes, sizeof bytes);
      text_add(out, ", of which %.1f %% is read and kept: %s", 100 * kept_share(&ports[i]), bytes);
    }
    text_add(out, "\n");
  }
}

void job_budget_line(const PlanEntry *entry, Text *out) {
  char budget[32], saved[32];
  bytes_text((double)entry->budget_bytes, budget, sizeof budget);
  bytes_text((double)entry->saved_bytes, saved, sizeof saved);
  text_add(out, "memory budget %s: saves %s; %d tensors computed again, %.3f GFLOP\n", budget,
           saved, entry->recomputed, 1e-9 * entry->recomputed_flops);
}

static void info_lines(const Job *job, Text *out) {
  const Plan *plan = job->plan;
  Totals totals = count_totals(plan);
  char bytes[32], prepared[32];
  bytes_text(totals.bytes, bytes, sizeof bytes);
  text_add(out, "model       %s%s%s\nlevel       %s, %d threads\nprecision   %s\n", plan->model,
           *plan->variant ? " " : "", plan->variant, *plan->level ? plan->level : "-", threads(job),
           *plan->precision ? plan->precision : "-");
  text_add(out, "parameters  %lld, buffers %lld, state %lld (%s)\nkernels     %d\n",
           (long long)totals.parameters, (long long)totals.buffers, (long long)totals.state, bytes,
           plan->n_kernels);
  for (int i = 0; i < job->host->n_parts; i++) {
    const JobPart *part = &job->host->parts[i];
    bytes_text((double)part->bytes, bytes, sizeof bytes);
    text_add(out, "%-11s %s:%s, %s\n", i ? "" : "code", part->target, part->name, bytes);
  }
  for (int e = 0; e < plan->n_entries; e++) {
    const PlanEntry *entry = &plan->entries[e];
    bytes_text((double)entry->arena_bytes, bytes, sizeof bytes);
    bytes_text((double)entry->prepared_bytes, prepared, sizeof prepared);
    text_add(out,
             "\n  %s: %d steps, %.3f GFLOP executed, %s working memory, %s derived weights, "
             "layout conversions between kernels: %d\n",
             entry->name, entry->n_steps, 1e-9 * entry_flops(entry), bytes, prepared,
             plan_conversions(entry));
    if (entry->budget_bytes) {
      text_add(out, "    ");
      job_budget_line(entry, out);
    }
    ports_lines(out, "input", entry->inputs, entry->n_inputs);
    ports_lines(out, "output", entry->outputs, entry->n_outputs);
  }
  if (plan->n_settings)
    text_add(out, "\nsettings\n");
  for (int i = 0; i < plan->n_settings; i++)
    text_add(out, "  %s = %s\n", plan->settings[i].key, plan->settings[i].value);
}

/* The plan of a program; without one where the host can do that. */
static bool take_plan(Job *job, Error *error) {
  JobRequest request = {0};
  if (!job->host->describe)
    return job_open(job, &request, error);
  Plan *plan = ARENA_NEW(job->arena, Plan);
  job->plan = plan;
  return job->host->describe(job->host->context, &job->options, job->arena, plan, error);
}

int verb_info(Job *job) {
  Error error;
  if (!take_plan(job, &error))
    return job_failed(&error);
  Text out = {0};
  (options_flag(&job->options, "json") ? info_json : info_lines)(job, &out);
  bool good = command_output(NULL, &out, &error);
  text_free(&out);
  return good ? EXIT_DONE : job_failed(&error);
}
