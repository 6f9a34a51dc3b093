/* Entry points to plan entries. See build.h.
 *
 * Memory. Values live where they are least work: parameters, buffers and state in persistent
 * memory; what an inference entry derives from those alone in its prepared memory, computed by
 * prepare steps once; everything else in the arena, by lifetime. An updated tensor is written in
 * place when the region that computes it is elementwise in the old value and nobody reads the old
 * value later, else it is copied at the end of the step list. Views of parameters that are kept
 * from call to call (fuse_order.c) are persistent tensors too; steps that compute them anew go to
 * the plan, and what renews them is placed like an update.
 */
#include "driver/build.h"
#include "driver/build_kernels.h"
#include "driver/feed.h"
#include "driver/kept_views.h"
#include "driver/memory_text.h"
#include "passes/graph/common.h"
#include "passes/kernel/kernel_pass.h"
#include "passes/lower/lower.h"
#include "passes/memory_plan.h"
#include "passes/view_map.h"
#include <stdio.h>
#include <string.h>

/* A run of memory: one value of the graph, or a region's scratch. */
typedef struct Storage {
  bool assigned;
  PlanRef ref; /* PERSISTENT is final; else `slot` says where the offset comes from */
  int slot;    /* in the arena's or the prepared memory's slots */
} Storage;

typedef struct Step {
  PlanStepKind kind;
  BuildStep from;
  const Kernel *kernel; /* LOOP stage */
  int kernel_index;
  bool conversion; /* does nothing but move elements */
  int n_args;
  Storage *args;
  int64_t *moved; /* bytes of each argument it must read and write */
  int64_t bytes;
} Step;

typedef VEC(Step) StepList;

typedef struct Entry {
  Build *build;
  const Graph *graph;
  bool *prepared;                   /* by value id: depends on persistent tensors alone */
  Storage *storage;                 /* by value id */
  int *last_use;                    /* by value id: step number */
  int guard_node;                   /* the last node that loss and grad_norm need, -1: no guard */
  int guard;                        /* steps up to and with it */
  int *first_step;                  /* by node id: steps in front of it */
  StepList steps, prepare, refresh; /* refresh: of the plan */
  VEC(MemorySlot) slots, prepared_slots;
  VEC(MemoryNote) notes, prepared_notes; /* of the slots */
} Entry;

enum { FOREVER = MEMORY_FOREVER };

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

static Storage persistent(Build *build, const GraphInput *input) {
  return (Storage){true, {PLACE_PERSISTENT, tensor_index(build, input)}, -1};
}

/* ---- views of parameters that are kept ---- */

static Storage kept_storage(Build *build, const Graph *graph, const Node *region) {
  int index = kept_index(build, graph, region);
  return (Storage){true, {PLACE_PERSISTENT, build->kept.at[index].tensor}, -1};
}

static bool is_kept(const Entry *e, const Node *node) {
  return !e->prepared[node->out[0].id] && region_is_kept(e->graph, node);
}

/* ---- lifetimes and places ---- */

/* A place for a tensor that holds something from step `first` to step `last`. */
static Storage in_memory(Entry *e, bool prepared, const Type *type, int first, int last,
                         const char *name, Loc loc) {
  Arena *arena = e->build->arena;
  MemorySlot slot = {.bytes = (int64_t)type_bytes(type), .first = first, .last = last};
  MemoryNote note = {name, *type, loc};
  if (prepared) {
    vec_push(arena, &e->prepared_slots, slot);
    vec_push(arena, &e->prepared_notes, note);
    return (Storage){true, {PLACE_PREPARED, 0}, e->prepared_slots.count - 1};
  }
  vec_push(arena, &e->slots, slot);
  vec_push(arena, &e->notes, note);
  return (Storage){true, {PLACE_ARENA, 0}, e->slots.count - 1};
}

/* In a graph for kernels: the interpreter computes feeds like every other node. */
static const Node *feed_of(const Entry *e, const Value *input) {
  return e->build->options.interpret ? NULL : feed_find(e->graph, input->index);
}

static Storage input_place(Entry *e, const GraphInput *input) {
  if (input->role != ROLE_INPUT)
    return persistent(e->build, input);
  const Node *feed = feed_of(e, input->value);
  return in_memory(e, false, feed ? &feed->out[0].type : &input->value->type, -1, FOREVER,
                   arena_printf(e->build->arena, "input %s", input->name), input->loc);
}

/* Does the region compute `result` element by element from its input number `input`? */
static bool elementwise_in(const Node *region, int input, const Type *result) {
  const Graph *body = region->body;
  const Value *value = body->inputs.at[input].value;
  if (!type_equal(&value->type, result))
    return false;
  for (int n = 0; n < body->nodes.count; n++) {
    const Node *node = body->nodes.at[n];
    for (int i = 0; i < node->n_in; i++)
      if (node->in[i] == value && node->op->cls != OP_EW)
        return false;
  }
  return true;
}

/* Entry points that update parameters can stop once loss and grad_norm are known. */
static void find_guard(Entry *e) {
  static const char *const names[] = {"loss", "grad_norm"};
  const Graph *g = e->graph;
  bool updates = false;
  e->guard_node = -1;
  for (int i = 0; i < g->outputs.count; i++) {
    const GraphInput *input =
        g->outputs.at[i].updates ? graph_find_input(g, g->outputs.at[i].updates) : NULL;
    updates |= input && input->role == ROLE_PARAMETER;
  }
  for (int k = 0; k < 2 && updates; k++) {
    const GraphOutput *output = graph_find_output(g, names[k]);
    const Node *node = output ? output->value->node : NULL;
    while (node && node->op->cls == OP_VIEW)
      node = node->in[0]->node;
    if (node && node->id > e->guard_node)
      e->guard_node = node->id;
  }
}

/* May output `update` be written over the tensor it replaces by the region that computes it? */
static bool updates_in_place(const Entry *e, const GraphOutput *update, const GraphInput *old) {
  const Node *region = update->value->node;
  if (!region || region->op->cls != OP_REGION || update->value->type.dtype != DT_f32 ||
      !type_equal(&update->value->type, &old->value->type) || region->id <= e->guard_node)
    return false;
  for (int n = 0; n < e->graph->nodes.count; n++) {
    const Node *node = e->graph->nodes.at[n];
    for (int i = 0; i < node->n_in; i++) {
      if (node->in[i] != old->value)
        continue;
      if (node->id > region->id || node->op->cls != OP_REGION ||
          (node == region && !elementwise_in(region, i, &update->value->type)))
        return false;
    }
  }
  for (int i = 0; i < e->graph->outputs.count; i++) {
    const GraphOutput *other = &e->graph->outputs.at[i];
    if (other != update && (other->value == old->value || other->value == update->value))
      return false;
  }
  return true;
}

/* May a renewed view be written over the old one by the region that computes it? */
static bool renews_in_place(const Entry *e, const GraphOutput *output) {
  const Node *region = output->value->node;
  if (!region || region->op->cls != OP_REGION || region->id <= e->guard_node)
    return false;
  for (int n = region->id; n < e->graph->nodes.count; n++)
    for (int i = 0; i < e->graph->nodes.at[n]->n_in; i++)
      if (e->graph->nodes.at[n]->in[i] == output->renews)
        return false;
  return true;
}

static void find_prepared(Entry *e) {
  const Graph *g = e->graph;
  bool updates = false;
  for (int i = 0; i < g->outputs.count; i++)
    updates |= g->outputs.at[i].updates != NULL;
  e->prepared = ARENA_ARRAY(e->build->arena, bool, g->n_values);
  if (updates)
    return;
  for (int i = 0; i < g->inputs.count; i++)
    e->prepared[g->inputs.at[i].value->id] = g->inputs.at[i].role != ROLE_INPUT;
  for (int n = 0; n < g->nodes.count; n++) {
    const Node *node = g->nodes.at[n];
    bool all = true;
    for (int i = 0; i < node->n_in; i++)
      all &= e->prepared[node->in[i]->id];
    for (int i = 0; i < node->n_out; i++)
      e->prepared[node->out[i].id] = all;
  }
}

/* Steps are numbered by node: node n runs at step n. */
static void find_last_uses(Entry *e) {
  const Graph *g = e->graph;
  e->last_use = ARENA_ARRAY(e->build->arena, int, g->n_values);
  for (int i = 0; i < g->outputs.count; i++)
    e->last_use[g->outputs.at[i].value->id] = FOREVER;
  for (int n = g->nodes.count - 1; n >= 0; n--) {
    const Node *node = g->nodes.at[n];
    bool renames = node->op->cls == OP_VIEW; /* shares its operand's memory */
    for (int i = 0; i < node->n_in; i++) {
      int *last = &e->last_use[node->in[i]->id];
      int use = renames ? e->last_use[node->out[0].id] : n;
      *last = use > *last ? use : *last;
    }
  }
}

static void place_values(Entry *e) {
  const Graph *g = e->graph;
  e->storage = ARENA_ARRAY(e->build->arena, Storage, g->n_values);
  for (int i = 0; i < g->inputs.count; i++) {
    const GraphInput *input = &g->inputs.at[i];
    e->storage[input->value->id] = input_place(e, input);
  }
  for (int i = 0; i < g->outputs.count; i++) {
    const GraphOutput *output = &g->outputs.at[i];
    const GraphInput *old = output->updates ? graph_find_input(g, output->updates) : NULL;
    if (old && updates_in_place(e, output, old))
      e->storage[output->value->id] = persistent(e->build, old);
    if (output->renews && is_kept(e, output->renews->node) && renews_in_place(e, output))
      e->storage[output->value->id] = kept_storage(e->build, g, output->renews->node);
  }
  for (int n = 0; n < g->nodes.count; n++) {
    const Node *node = g->nodes.at[n];
    if (node->op->cls == OP_VIEW || node->op->cls == OP_FEED) {
      e->storage[node->out[0].id] = e->storage[node->in[0]->id];
      continue;
    }
    if (is_kept(e, node))
      e->storage[node->out[0].id] = kept_storage(e->build, g, node);
    for (int i = 0; i < node->n_out; i++) {
      const Value *value = &node->out[i];
      if (e->storage[value->id].assigned)
        continue;
      bool prepared = e->prepared[value->id];
      int last = e->last_use[value->id] > n ? e->last_use[value->id] : n;
      e->storage[value->id] =
          in_memory(e, prepared, &value->type, prepared ? 0 : n, prepared ? FOREVER : last,
                    arena_printf(e->build->arena, "%%%d", value->id), node->loc);
    }
  }
}

/* ---- steps ---- */

static bool same_place(const Storage *a, const Storage *b) {
  return a->ref.place == b->ref.place && a->ref.at == b->ref.at && a->slot == b->slot;
}

/* Where the steps of a region go: of the entry, of its preparation, or, of a kept view, of the
 * plan; NULL: another entry point has given them. */
static StepList *list_for(Entry *e, const Node *region) {
  if (e->prepared[region->out[0].id])
    return &e->prepare;
  if (!is_kept(e, region))
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
  lower_region(region, build->options.facts, arena, anchor->op->name, &lowered);
  Storage *temps = ARENA_ARRAY(arena, Storage, lowered.temps.count);
  for (int t = 0; t < lowered.temps.count; t++)
    temps[t] = in_memory(e, prepared, &lowered.temps.at[t], prepared ? 0 : region->id,
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
    Step step = {.kind = STEP_KERNEL,
                 .from = {region, from->kernel},
                 .kernel = kernel,
                 .conversion = conversion,
                 .n_args = from->args.count};
    step.moved = ARENA_ARRAY(arena, int64_t, step.n_args);
    kernel_bytes(from->kernel, step.moved);
    step.args = ARENA_ARRAY(arena, Storage, step.n_args);
    for (int i = 0; i < step.n_args; i++)
      step.args[i] = from->args.at[i].value ? e->storage[from->args.at[i].value->id]
                                            : temps[from->args.at[i].temp];
    for (int i = 0; i < step.n_args; i++)
      for (int j = 0; j < i; j++)
        if (same_place(&step.args[i], &step.args[j]) &&
            (kernel->buffers.at[i]->written || kernel->buffers.at[j]->written))
          kernel->buffers.at[i]->aliased = kernel->buffers.at[j]->aliased = true;
    step.kernel_index = build_kernel(build, kernel);
    vec_push(arena, list, step);
  }
}

static void add_copy(Entry *e, Storage from, Storage to, int64_t bytes) {
  Step step = {.kind = STEP_COPY, .n_args = 2, .bytes = bytes};
  step.args = ARENA_ARRAY(e->build->arena, Storage, 2);
  step.moved = ARENA_ARRAY(e->build->arena, int64_t, 2);
  step.moved[0] = step.moved[1] = bytes;
  step.args[0] = from;
  step.args[1] = to;
  vec_push(e->build->arena, &e->steps, step);
}

/* Updates that could not be made in place, and outputs that are inputs or tensors themselves. */
static void add_copies(Entry *e, Storage *outputs) {
  const Graph *g = e->graph;
  for (int i = 0; i < g->outputs.count; i++) {
    const GraphOutput *output = &g->outputs.at[i];
    Storage from = e->storage[output->value->id];
    int64_t bytes = (int64_t)type_bytes(&output->value->type);
    outputs[i] = from;
    if (!output_is_result(output))
      continue;
    if (from.ref.place != PLACE_ARENA && output->value->node == NULL) {
      outputs[i] = in_memory(e, false, &output->value->type, g->nodes.count, FOREVER,
                             arena_printf(e->build->arena, "output %s", output->name), output->loc);
      add_copy(e, from, outputs[i], bytes);
    }
  }
  for (int i = 0; i < g->outputs.count; i++) {
    const GraphOutput *output = &g->outputs.at[i];
    bool renews = output->renews && is_kept(e, output->renews->node);
    if (!output->updates && !renews)
      continue;
    Storage to = renews ? kept_storage(e->build, g, output->renews->node)
                        : persistent(e->build, graph_find_input(g, output->updates));
    if (!same_place(&outputs[i], &to))
      add_copy(e, outputs[i], to, (int64_t)type_bytes(&output->value->type));
    outputs[i] = to;
  }
}

/* ---- the plan entry ---- */

static PlanRef final_ref(const Entry *e, const Storage *storage) {
  PlanRef ref = storage->ref;
  if (ref.place == PLACE_ARENA)
    ref.at = e->slots.at[storage->slot].offset;
  if (ref.place == PLACE_PREPARED)
    ref.at = e->prepared_slots.at[storage->slot].offset;
  return ref;
}

static const char *place_text(Arena *arena, Loc loc) {
  return loc.source ? arena_printf(arena, "%s:%d", loc.source->path, loc.line) : "";
}

static PlanStep *final_steps(Entry *e, const Step *steps, int count) {
  Arena *arena = e->build->arena;
  PlanStep *out = ARENA_ARRAY(arena, PlanStep, count);
  for (int i = 0; i < count; i++) {
    const Step *step = &steps[i];
    PlanRef *args = ARENA_ARRAY(arena, PlanRef, step->n_args);
    for (int a = 0; a < step->n_args; a++)
      args[a] = final_ref(e, &step->args[a]);
    PlanStep *plan = &out[i];
    *plan = (PlanStep){.kind = step->kind,
                       .n_args = step->n_args,
                       .args = args,
                       .bytes = step->bytes,
                       .label = "copy",
                       .place = "",
                       .conversion = step->conversion,
                       .moved = step->moved};
    for (int a = 0; step->moved && a < step->n_args; a++)
      plan->traffic += (double)step->moved[a];
    if (step->kind != STEP_KERNEL)
      continue;
    const Kernel *kernel = step->kernel;
    plan->kernel = step->kernel_index;
    plan->blocks = kernel_blocks(kernel);
    plan->label = kernel->doc ? kernel->doc : "";
    plan->place = place_text(arena, kernel->loc);
    plan->results = build_results(arena, kernel, &plan->n_results);
    plan->flops = e->build->flops.at[step->kernel_index];
  }
  return out;
}

static void dump_memory(const Entry *e, const PlanEntry *entry) {
  Text text = {0};
  memory_text(entry->name, "arena", entry->arena_bytes, e->slots.at, e->notes.at, e->slots.count,
              &text);
  if (e->prepared_slots.count)
    memory_text(entry->name, "prepared memory", entry->prepared_bytes, e->prepared_slots.at,
                e->prepared_notes.at, e->prepared_slots.count, &text);
  fputs(text.at, e->build->options.passes.dump_to);
  text_free(&text);
}

static void finish_entry(Entry *e, const char *name, const Storage *outputs) {
  Build *build = e->build;
  Arena *arena = build->arena;
  const Graph *g = e->graph;
  PlanEntry entry = {.name = name, .guard = e->guard};
  entry.arena_bytes = memory_plan(arena, e->slots.at, e->slots.count, PLAN_ALIGNMENT);
  entry.prepared_bytes =
      memory_plan(arena, e->prepared_slots.at, e->prepared_slots.count, PLAN_ALIGNMENT);
  PlanPort *in = ARENA_ARRAY(arena, PlanPort, g->inputs.count);
  PlanPort *out = ARENA_ARRAY(arena, PlanPort, g->outputs.count);
  for (int i = 0; i < g->inputs.count; i++) {
    const GraphInput *input = &g->inputs.at[i];
    if (input->role != ROLE_INPUT)
      continue;
    const Node *feed = feed_of(e, input->value);
    in[entry.n_inputs++] = (PlanPort){.name = input->name,
                                      .type = input->value->type,
                                      .ref = final_ref(e, &e->storage[input->value->id]),
                                      .gather = feed ? feed_gather(arena, feed) : NULL};
  }
  for (int i = 0; i < g->outputs.count; i++) {
    const GraphOutput *output = &g->outputs.at[i];
    entry.updates |= output->updates != NULL;
    if (output_is_result(output))
      out[entry.n_outputs++] = (PlanPort){.name = output->name,
                                          .type = output->value->type,
                                          .ref = final_ref(e, &outputs[i]),
                                          .tap = output->tap};
  }
  entry.inputs = in;
  entry.outputs = out;
  entry.n_steps = e->steps.count;
  entry.steps = final_steps(e, e->steps.at, e->steps.count);
  entry.n_prepare = e->prepare.count;
  entry.prepare = final_steps(e, e->prepare.at, e->prepare.count);
  const PlanStep *refresh = final_steps(e, e->refresh.at, e->refresh.count);
  for (int i = 0; i < e->refresh.count; i++)
    vec_push(arena, &build->refresh, refresh[i]);
  vec_push(arena, &build->entries, entry);
  if (build->options.dump_memory)
    dump_memory(e, &entry);
}

static BuildStep *steps_from(Arena *arena, const Step *steps, int count) {
  BuildStep *from = ARENA_ARRAY(arena, BuildStep, count);
  for (int i = 0; i < count; i++)
    from[i] = steps[i].from;
  return from;
}

static void record_entry(Entry *e, const Graph *before) {
  Arena *arena = e->build->arena;
  BuildRecord record = {.before = before,
                        .steps = steps_from(arena, e->steps.at, e->steps.count),
                        .prepare = steps_from(arena, e->prepare.at, e->prepare.count),
                        .first_step = e->first_step,
                        .n_slots = e->slots.count,
                        .slots = e->slots.at,
                        .notes = e->notes.at};
  vec_push(arena, &e->build->records, record);
}

/* The whole graph as one step: arguments are its inputs, then its outputs. */
static void interpret(Entry *e) {
  const Graph *g = e->graph;
  Arena *arena = e->build->arena;
  Kernel *kernel =
      kernel_new(arena, arena_printf(arena, "interpret%d", e->build->graphs.count - 1), STAGE_LOOP);
  Step step = {.kind = STEP_KERNEL, .kernel = kernel, .n_args = g->inputs.count + g->outputs.count};
  step.args = ARENA_ARRAY(arena, Storage, step.n_args);
  for (int i = 0; i < g->inputs.count; i++)
    step.args[i] = e->storage[g->inputs.at[i].value->id];
  for (int i = 0; i < g->outputs.count; i++)
    step.args[g->inputs.count + i] =
        in_memory(e, false, &g->outputs.at[i].value->type, 0, FOREVER,
                  arena_printf(arena, "output %s", g->outputs.at[i].name), g->outputs.at[i].loc);
  step.kernel_index = e->build->kernels.count;
  vec_push(arena, &e->build->kernels, kernel);
  vec_push(arena, &e->build->flops, 0.0); /* not known */
  vec_push(arena, &e->steps, step);
}

bool build_entry(Build *build, Graph *graph, const char *name) {
  Arena *arena = build->arena;
  const Graph *before = graph;
  graph = build_optimize(build, graph);
  if (!graph)
    return false;
  vec_push(arena, &build->graphs, graph);
  Entry e = {.build = build, .graph = graph};
  e.first_step = ARENA_ARRAY(arena, int, graph->nodes.count + 1);
  Storage *outputs = ARENA_ARRAY(arena, Storage, graph->outputs.count + 1);
  if (build->options.interpret) {
    e.storage = ARENA_ARRAY(arena, Storage, graph->n_values);
    for (int i = 0; i < graph->inputs.count; i++) {
      const GraphInput *input = &graph->inputs.at[i];
      e.storage[input->value->id] = input_place(&e, input);
    }
    interpret(&e);
    find_guard(&e);
    e.guard = e.guard_node >= 0; /* the copies to persistent tensors follow */
    const Step *step = &e.steps.at[0];
    for (int i = 0; i < graph->outputs.count; i++)
      outputs[i] = step->args[graph->inputs.count + i];
    for (int i = 0; i < graph->outputs.count; i++)
      if (graph->outputs.at[i].updates)
        add_copy(&e, outputs[i],
                 persistent(build, graph_find_input(graph, graph->outputs.at[i].updates)),
                 (int64_t)type_bytes(&graph->outputs.at[i].value->type));
  } else {
    find_prepared(&e);
    find_last_uses(&e);
    find_guard(&e);
    place_values(&e);
    for (int n = 0; n < graph->nodes.count; n++) {
      e.first_step[n] = e.steps.count;
      if (graph->nodes.at[n]->op->cls == OP_REGION)
        lower_node(&e, graph->nodes.at[n]);
      if (n == e.guard_node)
        e.guard = e.steps.count;
    }
    e.first_step[graph->nodes.count] = e.steps.count;
    add_copies(&e, outputs);
  }
  finish_entry(&e, name, outputs);
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
