/* Steps of programs on a CUDA device: launches, graphs, and times by events. See program_cuda.h.
 *
 * Steps depend on each other in their order alone, so a captured segment is a chain; replaying it
 * spares the host a launch for each step. A run that is timed replays graphs of the same steps with
 * an event before the first and behind each; events of the second segment are numbered one higher,
 * so that both segments have one of their own at the guard. Event 0 is the time all others count
 * from.
 */
#include "runtime/cuda/program_cuda_private.h"

enum { RELAXED = 2 /* capture */, EXTERNAL = 1 /* an event of a graph that the host reads */ };
enum { TIMING_EVENTS = 3 }; /* more than steps: the origin, and the first of each segment */

CudaStep *cuda_bind_steps(Program *program, int entry, StepGroup group) {
  const Cuda *cuda = program->own;
  int count;
  const PlanStep *steps = program_steps(program, entry, group, &count);
  CudaStep *bound = ARENA_ARRAY(program->memory, CudaStep, count);
  for (int i = 0; i < count; i++) {
    const PlanStep *step = &steps[i];
    CudaStep *b = &bound[i];
    b->function = step->kind == STEP_KERNEL ? cuda->functions[step->kernel] : NULL;
    b->arguments = ARENA_ARRAY(program->memory, CudaAddress, step->n_args + 1);
    b->pointers = ARENA_ARRAY(program->memory, void *, step->n_args + 1);
    for (int k = 0; k < step->n_args; k++) {
      b->arguments[k] = cuda_address(program, entry, step->args[k]);
      b->pointers[k] = &b->arguments[k];
    }
  }
  return bound;
}

static bool start_step(const Cuda *cuda, const PlanStep *step, const CudaStep *bound,
                       Error *error) {
  const CudaDriver *driver = cuda->driver;
  int result = 0;
  if (bound->function && step->blocks)
    result =
        driver->launch(bound->function, (unsigned)step->blocks, 1, 1, (unsigned)step->threads, 1, 1,
                       (unsigned)step->shared_bytes, cuda->stream, bound->pointers, NULL);
  else if (!bound->function && step->bytes && bound->arguments[0] != bound->arguments[1])
    result = driver->copy_on_device(bound->arguments[1], bound->arguments[0], (size_t)step->bytes,
                                    cuda->stream);
  if (!result)
    return true;
  char what[400];
  snprintf(what, sizeof what, "%.130s%s%.100s on %.100s", step->label, *step->place ? ", " : "",
           step->place, cuda->device->name);
  return cuda_good(driver, result, what, error);
}

/* Number of the event in front of a step. */
static int event_of(const CudaEntry *e, int step) {
  return 1 + step + (e->n_segments > 1 && step >= e->segments[1].first);
}

static bool start_steps(Program *program, int entry, StepGroup group, int first, int end,
                        bool timed, unsigned flags, Error *error) {
  const Cuda *cuda = program->own;
  const CudaEntry *e = group == GROUP_REFRESH ? NULL : &cuda->entries[entry];
  const CudaStep *bound = e ? e->groups[group] : cuda->refresh;
  int count, result = 0;
  const PlanStep *steps = program_steps(program, entry, group, &count);
  if (timed && first < end)
    result = cuda->driver->event_record(cuda->events[event_of(e, first)], cuda->stream, flags);
  for (int i = first; i < end && !result; i++) {
    if (!start_step(cuda, &steps[i], &bound[i], error))
      return false;
    if (timed)
      result = cuda->driver->event_record(cuda->events[event_of(e, i) + 1], cuda->stream, flags);
  }
  return cuda_good(cuda->driver, result, "taking the time", error);
}

/* ---- graphs ---- */

static bool capture(Program *program, int entry, const CudaSegment *segment, bool timed,
                    CudaReplay *replay, Error *error) {
  const Cuda *cuda = program->own;
  const CudaDriver *driver = cuda->driver;
  CudaGraph graph = NULL;
  if (!cuda_good(driver, driver->capture_begin(cuda->stream, RELAXED), "capturing a graph", error))
    return false;
  bool good = start_steps(program, entry, GROUP_STEPS, segment->first, segment->end, timed,
                          EXTERNAL, error);
  int result = driver->capture_end(cuda->stream, &graph);
  if (good && !result)
    result = driver->graph_instantiate(replay, graph, 0);
  if (graph)
    driver->graph_destroy(graph);
  return good && cuda_good(driver, result, "capturing a graph", error);
}

bool cuda_capture_entry(Program *program, int entry, Error *error) {
  const PlanEntry *plan = &program->plan->entries[entry];
  CudaEntry *e = &((Cuda *)program->own)->entries[entry];
  e->groups[GROUP_PREPARE] = cuda_bind_steps(program, entry, GROUP_PREPARE);
  e->groups[GROUP_STEPS] = cuda_bind_steps(program, entry, GROUP_STEPS);
  int guard = plan->guard < plan->n_steps ? plan->guard : 0;
  if (guard)
    e->segments[e->n_segments++] = (CudaSegment){.end = guard};
  e->segments[e->n_segments++] = (CudaSegment){.first = guard, .end = plan->n_steps};
  for (int s = 0; s < e->n_segments; s++)
    if (e->segments[s].first < e->segments[s].end &&
        !capture(program, entry, &e->segments[s], false, &e->segments[s].replay, error))
      return false;
  return true;
}

void cuda_release_entry(Program *program, int entry) {
  const Cuda *cuda = program->own;
  CudaEntry *e = &cuda->entries[entry];
  for (int s = 0; s < e->n_segments; s++) {
    if (e->segments[s].replay)
      cuda->driver->replay_destroy(e->segments[s].replay);
    if (e->segments[s].timed)
      cuda->driver->replay_destroy(e->segments[s].timed);
  }
}

bool cuda_run(Program *program, int entry, StepGroup group, int first, int end, Error *error) {
  const Cuda *cuda = program->own;
  CudaEntry *e = group == GROUP_STEPS ? &cuda->entries[entry] : NULL;
  bool timed = e && program->profile;
  if (timed)
    e->timed_to = end;
  for (int s = 0; e && s < e->n_segments; s++) {
    CudaSegment *segment = &e->segments[s];
    CudaReplay *replay = timed ? &segment->timed : &segment->replay;
    if (segment->first != first || segment->end != end || first == end)
      continue;
    if (!*replay && !capture(program, entry, segment, timed, replay, error))
      return false;
    return cuda_good(cuda->driver, cuda->driver->replay_launch(*replay, cuda->stream),
                     "launching a graph", error);
  }
  return start_steps(program, entry, group, first, end, timed, 0, error);
}

/* ---- times ---- */

static bool make_events(Program *program, Error *error) {
  Cuda *cuda = program->own;
  int most = 0, result = 0;
  for (int e = 0; e < program->plan->n_entries; e++)
    if (program->plan->entries[e].n_steps > most)
      most = program->plan->entries[e].n_steps;
  cuda->events = ARENA_ARRAY(program->memory, CudaEvent, most + TIMING_EVENTS);
  while (cuda->n_events < most + TIMING_EVENTS && !result) {
    result = cuda->driver->event_create(&cuda->events[cuda->n_events], 0);
    cuda->n_events += !result;
  }
  return cuda_good(cuda->driver, result, "taking the time", error);
}

bool cuda_start_clock(Program *program, Error *error) {
  Cuda *cuda = program->own;
  if (!cuda->n_events && !make_events(program, error))
    return false;
  int result = cuda->driver->event_record(cuda->events[0], cuda->stream, 0);
  if (!result)
    result = cuda->driver->event_synchronize(cuda->events[0]);
  cuda->origin = monotonic_nanoseconds();
  return cuda_good(cuda->driver, result, "taking the time", error);
}

bool cuda_read_times(Program *program, int entry, Error *error) {
  const Cuda *cuda = program->own;
  const CudaEntry *e = &cuda->entries[entry];
  BoundEntry *bound = &program->entries[entry];
  int result = 0;
  for (int i = 0; i < e->timed_to && !result; i++) {
    float since = 0, took = 0;
    int event = event_of(e, i);
    result = cuda->driver->event_elapsed(&since, cuda->events[0], cuda->events[event]);
    if (!result)
      result = cuda->driver->event_elapsed(&took, cuda->events[event], cuda->events[event + 1]);
    bound->starts[i] = cuda->origin + (int64_t)(1e6 * (double)since);
    bound->times[i] = (int64_t)(1e6 * (double)took);
  }
  return cuda_good(cuda->driver, result, "taking the time", error);
}
