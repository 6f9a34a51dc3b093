/* Entry points to plan entries. See build.h.
 *
 * Where values live is decided in passes/footprint.c. What an inference entry derives from
 * persistent tensors alone is computed by prepare steps once; steps that compute views of
 * parameters anew go to the plan. An updated tensor that could not be written in place is copied at
 * the end of the step list.
 */
#include "driver/build.h"
#include "codegen/emit.h"
#include "driver/build_kernels.h"
#include "driver/build_step.h"
#include "driver/feed.h"
#include "driver/kept_views.h"
#include "driver/memory_text.h"
#include "passes/graph/common.h"
#include "passes/kernel/kernel_pass.h"
#include "passes/lower/lower.h"
#include <stdio.h>
#include <string.h>

typedef struct Entry {
  Build *build;
  const Graph *graph;
  Footprint memory;
  int64_t saved_bytes;              /* by pass remat */
  int guard;                        /* steps up to and with memory.guard_node */
  StepList steps, prepare, refresh; /* refresh: of the plan */
} Entry;

enum {
  FOREVER = MEMORY_FOREVER,
  SMALL_BYTES = 1 << 20, /* what costs less to pass over than a launch */
  LONGER = 24            /* regions */
};
_Static_assert((int)MEMORY_ALIGNMENT == (int)PLAN_ALIGNMENT, "one alignment of places");

void build_start(Build *build, Arena *arena, Diag *diag, const BuildOptions *options) {
  *build = (Build){.arena = arena, .diag = diag, .options = *options};
}

/* ---- persistent tensors ---- */

static int tensor_index(Build *build, const GraphInput *input) {
  for (int i = 0; i < build->tensors.count; i++)
    if (strcmp(build->tensors.at[i].name, input->name) == 0) {
      CHECK(type_equal(&build->tensors.at[i].type, &input->value->type));
      return i;
    }
  static const PlanRole roles[] = {[ROLE_PARAMETER] = PLAN_PARAMETER,
                                   [ROLE_BUFFER] = PLAN_BUFFER,
                                   [ROLE_STATE] = PLAN_STATE,
                                   [ROLE_SCRATCH] = PLAN_SCRATCH};
  PlanTensor tensor = {.name = input->name,
                       .type = input->value->type,
                       .role = roles[input->role],
                       .init = (PlanInit)input->init.kind,
                       .init_a = input->init.a,
                       .init_b = input->init.b};
  vec_push(build->arena, &build->tensors, tensor);
  return build->tensors.count - 1;
}

/* ---- steps ---- */

static bool same_place(Home a, Home b) { return a.kind == b.kind && a.at == b.at; }

/* Where the steps of a region go: of the entry, of its preparation, or, of a kept view, of the
 * plan; NULL: another entry point has given them. */
static StepList *list_for(Entry *e, const Node *region) {
  if (e->memory.prepared[region->out[0].id])
    return &e->prepare;
  if (e->memory.home[region->out[0].id].kind != HOME_VIEW ||
      e->memory.home[region->out[0].id].at != region->id)
    return &e->steps;
  int index = kept_index(e->build, e->graph, region);
  KeptView *kept = &e->build->kept.at[index];
  bool first = !kept->lowered;
  kept->lowered = true;
  return first ? &e->refresh : NULL;
}

static void lower_node(Entry *e, const Node *region) {
  Build *build = e->build;
  Arena *arena = build->arena;
  StepList *list = list_for(e, region);
  if (!list)
    return;
  bool prepared = list == &e->prepare, conversion = list == &e->steps && region_only_moves(region);
  const Node *anchor = region_anchor(region);
  build->layout_conversions += conversion;
  Lowered lowered;
  Facts facts = *build->options.facts;
  PassContext context = {.options = &build->options.passes};
  facts.tap_by_tap |= !fusing_wanted(&context, "winograd");
  lower_region(region, &facts, arena, anchor->op->name, &lowered);
  Home *temps = ARENA_ARRAY(arena, Home, lowered.temps.count);
  for (int t = 0; t < lowered.temps.count; t++)
    temps[t] = footprint_add(&e->memory, prepared, &lowered.temps.at[t], prepared ? 0 : region->id,
                             prepared ? FOREVER : region->id,
                             arena_printf(arena, "scratch of %s", anchor->op->name), region->loc);
  for (int s = 0; !build->options.memory_only && s < lowered.steps.count; s++) {
    LoweredStep *from = &lowered.steps.at[s];
    if (build->options.dump_tiles)
      build_dump_kernel(build, from->kernel);
    Error error;
    if (!kernel_check(from->kernel, &error))
      FAULT("kernel %s: %s", from->kernel->name, error.text);
    Kernel *kernel = kernel_finish(from->kernel, build->options.facts, arena);
    if (build->options.dump_kernels)
      build_dump_kernel(build, kernel);
    BuildPart *part = ARENA_NEW(arena, BuildPart);
    Step step = {.kind = STEP_KERNEL,
                 .from = {1, part},
                 .kernel = kernel,
                 .conversion = conversion,
                 .n_args = from->args.count};
    step.moved = ARENA_ARRAY(arena, int64_t, step.n_args);
    *part = (BuildPart){.region = region,
                        .tile = from->kernel,
                        .flops = kernel_flops(kernel),
                        .traffic = (double)kernel_bytes(from->kernel, step.moved)};
    step.args = ARENA_ARRAY(arena, Home, step.n_args);
    for (int i = 0; i < step.n_args; i++)
      step.args[i] = from->args.at[i].value ? e->memory.home[from->args.at[i].value->id]
                                            : temps[from->args.at[i].temp];
    for (int i = 0; i < step.n_args; i++)
      for (int j = 0; j < i; j++)
        if (same_place(step.args[i], step.args[j]) &&
            (kernel->buffers.at[i]->written || kernel->buffers.at[j]->written))
          kernel->buffers.at[i]->aliased = kernel->buffers.at[j]->aliased = true;
    vec_push(arena, list, step);
  }
}

/* A copy; a small one as a kernel where it may be launched with others. */
static void add_copy(Entry *e, Home from, Home to, int64_t bytes) {
  Arena *arena = e->build->arena;
  const Facts *facts = e->build->options.facts;
  Step step = {.kind = STEP_COPY, .n_args = 2, .bytes = bytes};
  step.args = ARENA_ARRAY(arena, Home, 2);
  step.moved = ARENA_ARRAY(arena, int64_t, 2);
  step.moved[0] = step.moved[1] = bytes;
  step.args[0] = from;
  step.args[1] = to;
  if (!e->build->options.interpret && facts->blocks && bytes % 4 == 0 && bytes <= SMALL_BYTES) {
    BuildPart *part = ARENA_NEW(arena, BuildPart);
    Kernel *tile = build_copy_kernel(arena, bytes);
    *part = (BuildPart){.tile = tile, .traffic = (double)(2 * bytes)};
    step.kind = STEP_KERNEL;
    step.from = (BuildStep){1, part};
    step.kernel = kernel_finish(tile, facts, arena);
  }
  vec_push(arena, &e->steps, step);
}

/* Updates that could not be made in place, and outputs that are inputs or tensors themselves. */
static void add_copies(Entry *e) {
  const Graph *g = e->graph;
  for (int late = 0; late < 2; late++) /* updates last: outputs may be the old tensors */
    for (int i = 0; i < g->outputs.count; i++) {
      const GraphOutput *output = &g->outputs.at[i];
      Home from = e->memory.home[output->value->id], to = e->memory.output[i];
      if (!output_is_result(output) == late && !same_place(from, to))
        add_copy(e, from, to, (int64_t)type_bytes(&output->value->type));
    }
}

/* ---- the plan entry ---- */

static PlanRef final_ref(const Entry *e, Home home) {
  switch (home.kind) {
  case HOME_PERSISTENT:
    return (PlanRef){PLACE_PERSISTENT, tensor_index(e->build, &e->graph->inputs.at[home.at])};
  case HOME_VIEW: {
    int index = kept_index(e->build, e->graph, e->graph->nodes.at[home.at]);
    return (PlanRef){PLACE_PERSISTENT, e->build->kept.at[index].tensor};
  }
  case HOME_ARENA: return (PlanRef){PLACE_ARENA, e->memory.kept.slots.at[home.at].offset};
  default: return (PlanRef){PLACE_PREPARED, e->memory.derived.slots.at[home.at].offset};
  }
}

static const char *place_text(Arena *arena, Loc loc) {
  return loc.source ? arena_printf(arena, "%s:%d", loc.source->path, loc.line) : "";
}

static void find_refs(const Entry *e, StepList *list) {
  for (int i = 0; i < list->count; i++) {
    Step *step = &list->at[i];
    step->refs = ARENA_ARRAY(e->build->arena, PlanRef, step->n_args);
    for (int a = 0; a < step->n_args; a++)
      step->refs[a] = final_ref(e, step->args[a]);
  }
}

static const char *label_of(Arena *arena, const Step *step) {
  const Node *region = step->from.parts[0].region;
  const char *doc = step->kernel->doc ? step->kernel->doc : "";
  return region && region->uncounted ? arena_printf(arena, "%s, again", doc) : doc;
}

static void describe_kernel(const Entry *e, const Step *step, PlanStep *plan) {
  Arena *arena = e->build->arena;
  Kernel *kernel = step->kernel;
  plan->label = label_of(arena, step);
  plan->place = place_text(arena, kernel->loc);
  plan->kernel = build_kernel(e->build, kernel);
  plan->blocks = kernel_blocks(kernel);
  if (e->build->options.facts->threads > 1) { /* code for a device */
    plan->threads = kernel->threads;
    plan->shared_bytes = kernel_shared_bytes(kernel);
  }
  plan->results = build_results(arena, kernel, &plan->n_results);
  for (int p = 0; p < step->from.n_parts; p++) {
    plan->flops += step->from.parts[p].flops.all;
    plan->paired_flops += step->from.parts[p].flops.paired;
    plan->open_flops += step->from.parts[p].flops.open;
  }
}

static PlanStep *final_steps(Entry *e, const StepList *list) {
  PlanStep *out = ARENA_ARRAY(e->build->arena, PlanStep, list->count);
  for (int i = 0; i < list->count; i++) {
    const Step *step = &list->at[i];
    PlanStep *plan = &out[i];
    *plan = (PlanStep){.kind = step->kind,
                       .n_args = step->n_args,
                       .args = step->refs,
                       .bytes = step->bytes,
                       .label = "copy",
                       .place = "",
                       .conversion = step->conversion,
                       .moved = step->moved};
    for (int a = 0; step->moved && a < step->n_args; a++)
      plan->traffic += (double)step->moved[a];
    if (step->kernel)
      describe_kernel(e, step, plan);
  }
  return out;
}

static void dump_memory(const Entry *e, const PlanEntry *entry) {
  const Holding *kept = &e->memory.kept, *derived = &e->memory.derived;
  Text text = {0};
  memory_text(entry->name, "arena", entry->arena_bytes, kept->slots.at, kept->notes.at,
              kept->slots.count, &text);
  if (derived->slots.count)
    memory_text(entry->name, "prepared memory", entry->prepared_bytes, derived->slots.at,
                derived->notes.at, derived->slots.count, &text);
  fputs(text.at, e->build->options.passes.dump_to);
  text_free(&text);
}

/* Regions that count no operations are copies, made to keep a memory budget. */
static void count_recomputed(const Entry *e, PlanEntry *entry) {
  for (int n = 0; n < e->graph->nodes.count; n++)
    if (e->graph->nodes.at[n]->uncounted && e->graph->nodes.at[n]->op->cls == OP_REGION)
      entry->recomputed += e->graph->nodes.at[n]->n_out;
  for (int i = 0; i < e->steps.count; i++)
    for (int p = 0; p < e->steps.at[i].from.n_parts; p++) {
      const BuildPart *part = &e->steps.at[i].from.parts[p];
      if (part->region && part->region->uncounted)
        entry->recomputed_flops += part->flops.all;
    }
}

static bool joins(const Build *build) {
  PassContext context = {.options = &build->options.passes};
  return build->options.facts->blocks && fusing_wanted(&context, "join") &&
         !build->options.interpret;
}

/* Small tensors keep their places for a while, so that steps are not in each other's way because
 * one's memory was another's just before. Where memory is scarce they are. */
static void keep_longer(const Entry *e) {
  const Holding *kept = &e->memory.kept;
  bool scarce = e->build->options.passes.memory_budget > 0;
  for (int i = 0; i < kept->slots.count && joins(e->build) && !scarce; i++) {
    MemorySlot *slot = &kept->slots.at[i];
    if (slot->bytes <= SMALL_BYTES && slot->last < FOREVER)
      slot->last += LONGER;
  }
}

/* Arguments get their places, and steps are put together. */
static void place_steps(Entry *e) {
  find_refs(e, &e->steps);
  find_refs(e, &e->prepare);
  find_refs(e, &e->refresh);
  if (joins(e->build))
    join_steps(e->build->arena, e->build->options.facts, &e->steps, &e->guard);
}

static void finish_entry(Entry *e, const char *name) {
  Build *build = e->build;
  Arena *arena = build->arena;
  const Graph *g = e->graph;
  PlanEntry entry = {.name = name};
  Holding *kept = &e->memory.kept, *derived = &e->memory.derived;
  keep_longer(e);
  entry.arena_bytes = memory_plan(arena, kept->slots.at, kept->slots.count, PLAN_ALIGNMENT);
  entry.prepared_bytes =
      memory_plan(arena, derived->slots.at, derived->slots.count, PLAN_ALIGNMENT);
  place_steps(e);
  entry.guard = e->guard;
  PlanPort *in = ARENA_ARRAY(arena, PlanPort, g->inputs.count);
  PlanPort *out = ARENA_ARRAY(arena, PlanPort, g->outputs.count);
  for (int i = 0; i < g->inputs.count; i++) {
    const GraphInput *input = &g->inputs.at[i];
    if (input->role != ROLE_INPUT)
      continue;
    const Node *feed = build->options.interpret ? NULL : footprint_feed(g, input->value);
    in[entry.n_inputs++] = (PlanPort){.name = input->name,
                                      .type = input->value->type,
                                      .ref = final_ref(e, e->memory.home[input->value->id]),
                                      .gather = feed ? feed_gather(arena, feed) : NULL};
  }
  for (int i = 0; i < g->outputs.count; i++) {
    const GraphOutput *output = &g->outputs.at[i];
    entry.updates |= output->updates != NULL;
    if (output_is_result(output))
      out[entry.n_outputs++] = (PlanPort){.name = output->name,
                                          .type = output->value->type,
                                          .ref = final_ref(e, e->memory.output[i]),
                                          .tap = output->tap};
  }
  entry.inputs = in;
  entry.outputs = out;
  entry.n_steps = e->steps.count;
  entry.steps = final_steps(e, &e->steps);
  entry.budget_bytes = build->options.passes.memory_budget;
  entry.saved_bytes = e->saved_bytes;
  count_recomputed(e, &entry);
  entry.n_prepare = e->prepare.count;
  entry.prepare = final_steps(e, &e->prepare);
  const PlanStep *refresh = final_steps(e, &e->refresh);
  for (int i = 0; i < e->refresh.count; i++)
    vec_push(arena, &build->refresh, refresh[i]);
  vec_push(arena, &build->entries, entry);
  if (build->options.dump_memory)
    dump_memory(e, &entry);
}

static BuildStep *steps_from(Arena *arena, const StepList *list) {
  BuildStep *from = ARENA_ARRAY(arena, BuildStep, list->count);
  for (int i = 0; i < list->count; i++)
    from[i] = list->at[i].from;
  return from;
}

/* Which steps run each node. */
static void record_nodes(const Entry *e, BuildRecord *record) {
  int nodes = e->graph->nodes.count, steps = e->steps.count;
  int *first = ARENA_ARRAY(e->build->arena, int, nodes + 1);
  int *last = ARENA_ARRAY(e->build->arena, int, nodes + 1);
  for (int n = 0; n <= nodes; n++)
    first[n] = last[n] = -1;
  for (int s = 0; s < steps; s++)
    for (int p = 0; p < e->steps.at[s].from.n_parts; p++) {
      const Node *region = e->steps.at[s].from.parts[p].region;
      if (region && first[region->id] < 0)
        first[region->id] = s;
      if (region)
        last[region->id] = s;
    }
  for (int n = nodes; n >= 0; n--)
    if (first[n] < 0)
      first[n] = n == nodes ? steps : first[n + 1];
  for (int n = 0; n <= nodes; n++)
    if (last[n] < 0)
      last[n] = n ? last[n - 1] : 0;
  record->first_step = first;
  record->last_step = last;
}

static void record_entry(Entry *e, const Graph *before) {
  Arena *arena = e->build->arena;
  BuildRecord record = {.before = before,
                        .steps = steps_from(arena, &e->steps),
                        .prepare = steps_from(arena, &e->prepare),
                        .n_slots = e->memory.kept.slots.count,
                        .slots = e->memory.kept.slots.at,
                        .notes = e->memory.kept.notes.at};
  record_nodes(e, &record);
  vec_push(arena, &e->build->records, record);
}

/* The whole graph as one step: arguments are its inputs, then its outputs. */
static void interpret(Entry *e) {
  const Graph *g = e->graph;
  Arena *arena = e->build->arena;
  Kernel *kernel =
      kernel_new(arena, arena_printf(arena, "interpret%d", e->build->graphs.count - 1), STAGE_LOOP);
  BuildPart *part = ARENA_NEW(arena, BuildPart); /* what it executes is not known */
  Step step = {.kind = STEP_KERNEL,
               .from = {1, part},
               .kernel = kernel,
               .n_args = g->inputs.count + g->outputs.count};
  step.args = ARENA_ARRAY(arena, Home, step.n_args);
  for (int i = 0; i < g->inputs.count; i++)
    step.args[i] = e->memory.home[g->inputs.at[i].value->id];
  footprint_outputs_apart(&e->memory, &step.args[g->inputs.count]);
  vec_push(arena, &e->steps, step);
  for (int i = 0; i < g->outputs.count; i++)
    if (g->outputs.at[i].updates)
      add_copy(e, step.args[g->inputs.count + i], e->memory.output[i],
               (int64_t)type_bytes(&g->outputs.at[i].value->type));
}

bool build_entry(Build *build, Graph *graph, const char *name) {
  Arena *arena = build->arena;
  const Graph *before = graph;
  int64_t saved_bytes = 0;
  graph = build_optimize(build, graph, name, &saved_bytes);
  if (!graph)
    return false;
  vec_push(arena, &build->graphs, graph);
  Entry e = {.build = build, .graph = graph, .saved_bytes = saved_bytes};
  footprint_start(&e.memory, arena, graph, build->options.interpret);
  for (int i = 0; i < graph->inputs.count; i++)
    if (graph->inputs.at[i].role != ROLE_INPUT)
      tensor_index(build, &graph->inputs.at[i]);
  if (build->options.interpret) {
    interpret(&e);
    e.guard = e.memory.guard_node >= 0; /* the copies to persistent tensors follow */
  } else {
    footprint_values(&e.memory);
    for (int n = 0; n < graph->nodes.count; n++) {
      if (graph->nodes.at[n]->op->cls == OP_REGION)
        lower_node(&e, graph->nodes.at[n]);
      if (n == e.memory.guard_node)
        e.guard = e.steps.count;
    }
    add_copies(&e);
  }
  finish_entry(&e, name);
  record_entry(&e, before);
  return true;
}

Plan build_plan(Build *build) {
  for (int i = 0; i < build->entries.count; i++)
    build->entries.at[i].outdates = kept_outdated(build, build->graphs.at[i]);
  for (int i = build->names.count; i < build->kernels.count; i++)
    vec_push(build->arena, &build->names, build->kernels.at[i]->name);
  return (Plan){.model = "",
                .variant = "",
                .level = "",
                .precision = "",
                .n_tensors = build->tensors.count,
                .tensors = build->tensors.at,
                .n_kernels = build->names.count,
                .kernels = build->names.at,
                .n_entries = build->entries.count,
                .entries = build->entries.at,
                .n_refresh = build->refresh.count,
                .refresh = build->refresh.at};
}
