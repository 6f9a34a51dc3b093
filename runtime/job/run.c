/* run: one entry point on tensors from a file, results to a file. What tests and other programs
 * use.
 *
 * Forward entries write outputs and taps under their plain names. train_step runs --steps steps and
 * writes step<i>.loss; --save-taps, --save-grads and --save-params add what their help says.
 */
#include "runtime/job/ports.h"
#include <stdlib.h>
#include <string.h>

typedef struct Run {
  Job *job;
  int entry;
  const PlanEntry *plan;
  bool is_step;     /* train_step */
  const char *path; /* of the inputs */
  TensorFile inputs;
  int64_t samples, batch; /* in the inputs; at a time. Both 0 when all shapes fit exactly */
  VEC(Tensor) results;    /* data in the job's arena */
} Run;

static const char grad_prefix[] = "grad.";

static void keep(Run *run, const char *name, Type type, const void *data) {
  Tensor tensor = {name, type, arena_copy(run->job->arena, data, type_bytes(&type))};
  vec_push(run->job->arena, &run->results, tensor);
}

static bool is_gradient(const PlanPort *port) {
  return strncmp(port->name, grad_prefix, sizeof grad_prefix - 1) == 0;
}

/* Outputs that are new values of persistent tensors have their own flags. */
static bool is_update(const Run *run, const PlanPort *port) {
  return strncmp(port->name, "buffer.", 7) == 0 ||
         program_tensor(run->job->program, port->name, NULL) != NULL;
}

static const void *output(const Run *run, const PlanPort *port) {
  return program_output(run->job->program, run->entry, port->name, NULL);
}

static void keep_outputs(Run *run) {
  for (int i = 0; i < run->plan->n_outputs; i++) {
    const PlanPort *port = &run->plan->outputs[i];
    if (!is_gradient(port) && !is_update(run, port))
      keep(run, port->name, port->type, output(run, port));
  }
}

/* Zeros where no gradient is computed, so that every parameter has one. */
static bool keep_gradients(Run *run, Error *error) {
  Job *job = run->job;
  int found = 0;
  for (int t = 0; t < job->plan->n_tensors; t++) {
    const PlanTensor *tensor = &job->plan->tensors[t];
    if (tensor->role != PLAN_PARAMETER)
      continue;
    const char *name = arena_printf(job->arena, "%s%s", grad_prefix, tensor->name);
    Type type = tensor->type;
    const void *data = program_output(job->program, run->entry, name, &type);
    if (data)
      keep(run, name, type, data);
    else
      keep(run, name, type, arena_alloc(job->arena, type_bytes(&type)));
    found += data != NULL;
  }
  if (!found)
    return error_set(error, "--save-grads: error: train_step of this program was compiled without "
                            "its gradients as outputs");
  return true;
}

static void keep_persistent(Run *run, const char *prefix, bool parameters) {
  Job *job = run->job;
  for (int t = 0; t < job->plan->n_tensors; t++) {
    const PlanTensor *tensor = &job->plan->tensors[t];
    if (tensor->role == PLAN_BUFFER || (parameters && tensor->role == PLAN_PARAMETER))
      keep(run, arena_printf(job->arena, "%s%s", prefix, tensor->name), tensor->type,
           program_tensor(job->program, tensor->name, NULL));
  }
}

static bool run_steps(Run *run, Error *error) {
  Job *job = run->job;
  const Options *o = &job->options;
  Type type;
  int64_t steps = options_count(o, "steps", 1);
  for (int64_t s = 0; s < steps; s++) {
    port_set(job, run->entry, "lr", options_real(o, "lr", job_number(job, "optimizer.lr", 1e-4)));
    port_set(job, run->entry, "clip", 0); /* no bound */
    ports_fill(job, run->entry, &run->inputs, run->batch * s, run->samples);
    if (!program_run(job->program, run->entry, error))
      return false;
    const void *loss = program_output(job->program, run->entry, "loss", &type);
    if (!loss)
      return error_set(error, "entry point %s has no output \"loss\"", run->plan->name);
    keep(run, arena_printf(job->arena, "step%lld.loss", (long long)s), type, loss);
    if (s == 0 && options_flag(o, "save-taps"))
      keep_outputs(run);
    if (s == 0 && options_flag(o, "save-grads") && !keep_gradients(run, error))
      return false;
  }
  return true;
}

/* Places for the outputs of all samples together. */
static Tensor *widen_outputs(Run *run) {
  Tensor *wide = ARENA_ARRAY(run->job->arena, Tensor, run->plan->n_outputs);
  for (int i = 0; i < run->plan->n_outputs; i++) {
    const PlanPort *port = &run->plan->outputs[i];
    wide[i] = (Tensor){.name = port->name, .type = port->type};
    wide[i].type.dim[0] = run->samples;
    wide[i].data = arena_alloc(run->job->arena, type_bytes(&wide[i].type));
    vec_push(run->job->arena, &run->results, wide[i]);
  }
  return wide;
}

/* More samples than the program takes at a time: encoders treat samples apart from each other, so
 * they go through in turns. The last turn wraps round and what it repeats is dropped. */
static bool run_in_turns(Run *run, Error *error) {
  Job *job = run->job;
  for (int i = 0; i < run->plan->n_outputs; i++)
    if (!port_has_samples(&run->plan->outputs[i]) ||
        run->plan->outputs[i].type.dim[0] != run->batch)
      return error_set(error,
                       "%s: error: holds %lld samples, this program takes %lld at a time and "
                       "its output \"%s\" cannot be put together from parts",
                       run->path, (long long)run->samples, (long long)run->batch,
                       run->plan->outputs[i].name);
  Tensor *wide = widen_outputs(run);
  for (int64_t first = 0; first < run->samples; first += run->batch) {
    ports_fill(job, run->entry, &run->inputs, first, run->samples);
    if (!program_run(job->program, run->entry, error))
      return false;
    int64_t fresh = run->samples - first < run->batch ? run->samples - first : run->batch;
    for (int i = 0; i < run->plan->n_outputs; i++) {
      const PlanPort *port = &run->plan->outputs[i];
      size_t row = type_bytes(&port->type) / (size_t)run->batch;
      if (row)
        memcpy((char *)wide[i].data + (size_t)first * row, output(run, port), (size_t)fresh * row);
    }
  }
  return true;
}

static bool run_forward(Run *run, bool training, Error *error) {
  Job *job = run->job;
  if (run->samples != run->batch) {
    if (training || strncmp(run->plan->name, "encode_", 7) != 0)
      return error_set(error,
                       "%s: error: holds %lld samples, entry point %s of this program takes "
                       "%lld",
                       run->path, (long long)run->samples, run->plan->name, (long long)run->batch);
    return run_in_turns(run, error);
  }
  ports_fill(job, run->entry, &run->inputs, 0, run->samples);
  if (!program_run(job->program, run->entry, error))
    return false;
  keep_outputs(run);
  return true;
}

static bool check_inputs(Run *run, Error *error) {
  Job *job = run->job;
  run->plan = &job->plan->entries[run->entry];
  if (!ports_check_ids(job, run->entry, &run->inputs, run->path, error))
    return false;
  if (ports_exact(job, run->entry, &run->inputs))
    return true;
  if (!ports_check(job, run->entry, &run->inputs, run->path, &run->samples, error))
    return false;
  for (int i = 0; i < run->plan->n_inputs; i++) {
    const PlanPort *port = &run->plan->inputs[i];
    if (!port_has_samples(port))
      continue;
    if (run->batch && port->type.dim[0] != run->batch)
      return error_set(error, "inputs of entry point %s disagree on the batch", run->plan->name);
    run->batch = port->type.dim[0];
  }
  if (run->is_step && run->samples < run->batch)
    return error_set(error, "%s: error: holds %lld samples, a step takes %lld", run->path,
                     (long long)run->samples, (long long)run->batch);
  return true;
}

static bool write_results(const Run *run, const char *path, Error *error) {
  const char *keys[] = {"entry", "model", "variant"};
  const char *values[] = {run->plan->name, run->job->plan->model, run->job->plan->variant};
  return tensor_file_write(path, run->results.at, run->results.count, keys, values, 3, error);
}

static bool run_entry(Run *run, const char *name, bool training, Error *error) {
  Job *job = run->job;
  const Options *o = &job->options;
  JobRequest request = {.entries = {name},
                        .n_entries = 1,
                        .training = {training},
                        .taps = !run->is_step || options_flag(o, "save-taps"),
                        .gradients = options_flag(o, "save-grads"),
                        .inputs = run->path};
  if (!job_open(job, &request, error))
    return false;
  run->entry = program_entry(job->program, name);
  const char *mode = job_setting(job, "mode");
  if (!run->is_step && mode && strcmp(mode, training ? "train" : "infer") != 0)
    return error_set(error, "--mode %s: error: this program was compiled for mode %s",
                     training ? "train" : "infer", mode);
  if (!check_inputs(run, error))
    return false;
  if (!(run->is_step ? run_steps(run, error) : run_forward(run, training, error)))
    return false;
  if (options_flag(o, "save-params"))
    keep_persistent(run, "param.", true);
  if (options_flag(o, "save-buffers"))
    keep_persistent(run, "buffer.", false);
  return write_results(run, options_text(o, "outputs"), error);
}

int verb_run(Job *job) {
  Error error = {""};
  const Options *o = &job->options;
  Run run = {.job = job};
  const char *name = job_need(job, "entry", &error);
  run.path = name ? job_need(job, "inputs", &error) : NULL;
  if (!run.path || !job_need(job, "outputs", &error))
    return job_usage(job, &error);
  const char *mode = options_text(o, "mode");
  bool training = mode && strcmp(mode, "train") == 0;
  run.is_step = strcmp(name, "train_step") == 0;
  if (mode && !training && strcmp(mode, "infer") != 0)
    error_set(&error, "--mode is infer or train, not \"%.40s\"", mode);
  if (!run.is_step &&
      (options_text(o, "steps") || options_flag(o, "save-grads") || options_text(o, "lr")))
    error_set(&error, "--steps, --lr and --save-grads go with --entry train_step");
  if (*error.text)
    return job_usage(job, &error);
  if (!tensor_file_open(&run.inputs, run.path, &error))
    return job_failed(&error);
  bool good = run_entry(&run, name, training, &error);
  tensor_file_close(&run.inputs);
  return good ? EXIT_DONE : job_failed(&error);
}
