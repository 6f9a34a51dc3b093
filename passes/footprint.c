/* Homes and lifetimes of a graph's values. See footprint.h. */
#include "passes/footprint.h"
#include "ir/op.h"
#include "passes/graph/common.h"
#include "passes/graph/recompute.h"
#include <string.h>

/* ---- slots ---- */

Home footprint_add(Footprint *f, bool prepared, const Type *type, int first, int last,
                   const char *name, Loc loc) {
  Holding *holding = prepared ? &f->derived : &f->kept;
  MemorySlot slot = {.bytes = (int64_t)type_bytes(type), .first = first, .last = last};
  MemoryNote note = {name, *type, loc};
  vec_push(f->arena, &holding->slots, slot);
  vec_push(f->arena, &holding->notes, note);
  return (Home){prepared ? HOME_PREPARED : HOME_ARENA, holding->slots.count - 1};
}

const Node *footprint_feed(const Graph *g, const Value *input) {
  for (int n = 0; n < g->nodes.count; n++) {
    const Node *node = g->nodes.at[n];
    const Value *value = &node->out[0];
    if (node->op->cls != OP_FEED)
      continue;
    do
      value = value->node->in[0];
    while (value->node);
    if (value == input)
      return node;
  }
  return NULL;
}

int64_t footprint_persistent(const Footprint *f) {
  const Graph *g = f->graph;
  int64_t bytes = 0;
  for (int i = 0; i < g->inputs.count; i++)
    if (g->inputs.at[i].role != ROLE_INPUT)
      bytes += memory_rounded((int64_t)type_bytes(&g->inputs.at[i].value->type), MEMORY_ALIGNMENT);
  for (int n = 0; n < g->nodes.count; n++) {
    const Value *value = &g->nodes.at[n]->out[0];
    if (f->home[value->id].kind == HOME_VIEW && f->home[value->id].at == n)
      bytes += memory_rounded((int64_t)type_bytes(&value->type), MEMORY_ALIGNMENT);
  }
  return bytes;
}

static bool updates_parameters(const Graph *g) {
  for (int i = 0; i < g->outputs.count; i++) {
    const GraphInput *input =
        g->outputs.at[i].updates ? graph_find_input(g, g->outputs.at[i].updates) : NULL;
    if (input && input->role == ROLE_PARAMETER)
      return true;
  }
  return false;
}

/* Entry points that update parameters can stop once loss and grad_norm are known. */
static void find_guard(Footprint *f) {
  static const char *const names[] = {"loss", "grad_norm"};
  const Graph *g = f->graph;
  bool updates = updates_parameters(g);
  f->guard_node = -1;
  for (int k = 0; k < 2 && updates; k++) {
    const GraphOutput *output = graph_find_output(g, names[k]);
    const Node *node = output ? output->value->node : NULL;
    while (node && node->op->cls == OP_VIEW)
      node = node->in[0]->node;
    if (node && node->id > f->guard_node)
      f->guard_node = node->id;
  }
}

void footprint_start(Footprint *f, Arena *arena, const Graph *g, bool whole) {
  *f = (Footprint){.arena = arena, .graph = g, .guard_node = -1};
  f->home = ARENA_ARRAY(arena, Home, g->n_values + 1);
  f->prepared = ARENA_ARRAY(arena, bool, g->n_values + 1);
  f->last_use = ARENA_ARRAY(arena, int, g->n_values + 1);
  for (int i = 0; i < g->inputs.count; i++) {
    const GraphInput *input = &g->inputs.at[i];
    Home *home = &f->home[input->value->id];
    *home = (Home){HOME_PERSISTENT, i};
    if (input->role != ROLE_INPUT)
      continue;
    const Node *feed = whole ? NULL : footprint_feed(g, input->value);
    *home = footprint_add(f, false, feed ? &feed->out[0].type : &input->value->type, -1,
                          MEMORY_FOREVER, arena_printf(arena, "input %s", input->name), input->loc);
  }
  find_guard(f);
}

/* ---- what may be written over what ---- */

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

/* May output `update` be written over the tensor it replaces by the region that computes it? */
static bool updates_in_place(const Footprint *f, const GraphOutput *update, const GraphInput *old) {
  const Graph *g = f->graph;
  const Node *region = update->value->node;
  if (!region || region->op->cls != OP_REGION || update->value->type.dtype != DT_f32 ||
      !type_equal(&update->value->type, &old->value->type) || region->id <= f->guard_node)
    return false;
  for (int n = 0; n < g->nodes.count; n++) {
    const Node *node = g->nodes.at[n];
    for (int i = 0; i < node->n_in; i++) {
      if (node->in[i] != old->value)
        continue;
      if (node->id > region->id || node->op->cls != OP_REGION ||
          (node == region && !elementwise_in(region, i, &update->value->type)))
        return false;
    }
  }
  for (int i = 0; i < g->outputs.count; i++) {
    const GraphOutput *other = &g->outputs.at[i];
    if (other != update && (other->value == old->value || other->value == update->value))
      return false;
  }
  return true;
}

static bool is_view(const Footprint *f, const Node *node) {
  return !f->prepared[node->out[0].id] && region_is_kept(f->graph, node);
}

/* May a renewed view be written over the old one by the region that computes it? */
static bool renews_in_place(const Footprint *f, const GraphOutput *output) {
  const Node *region = output->value->node;
  if (!region || region->op->cls != OP_REGION || region->id <= f->guard_node)
    return false;
  for (int n = region->id; n < f->graph->nodes.count; n++)
    for (int i = 0; i < f->graph->nodes.at[n]->n_in; i++)
      if (f->graph->nodes.at[n]->in[i] == output->renews)
        return false;
  return true;
}

/* A region of one kernel that walks over its elements one by one. */
static bool is_pointwise(const Node *node) {
  if (node->op->cls != OP_REGION)
    return false;
  for (int n = 0; n < node->body->nodes.count; n++) {
    OpClass cls = node->body->nodes.at[n]->op->cls;
    if (cls != OP_EW && cls != OP_VIEW && cls != OP_SOURCE)
      return false;
  }
  return true;
}

/* Is the result made as the kernel walks, once, and stored in the order in which it is made? Small
 * results may be made beside each row of a larger one. */
static bool is_walked(const Node *region, const Value *value) {
  const Node *maker = region->body->outputs.at[value->index].value->node;
  if (!maker || maker->op->cls != OP_EW)
    return false;
  for (int n = 0; n < region->body->nodes.count; n++)
    if (type_elements(&region->body->nodes.at[n]->out[0].type) > type_elements(&value->type))
      return false;
  return true;
}

/* Does another result of the region need its input number `input`? It may be read again for that.
 */
static bool needed_beside(const Node *region, int input, const Value *value) {
  Arena *scratch = arena_new();
  bool *others = ARENA_ARRAY(scratch, bool, region->n_out + 1);
  for (int i = 0; i < region->n_out; i++)
    others[i] = i != value->index;
  const bool *needs = region_needs(region, scratch, others);
  bool needed = needs[region->body->inputs.at[input].value->id];
  arena_free(scratch);
  return needed;
}

static bool same_home(Home a, Home b) { return a.kind == b.kind && a.at == b.at; }

/* The operand of `node` that its result `value` may be written over: read here for the last time,
 * and element by element. Its number, or -1. */
static int dying_operand(const Footprint *f, const Node *node, const Value *value) {
  if (!is_walked(node, value))
    return -1;
  for (int i = 0; i < node->n_in; i++) {
    Home home = f->home[node->in[i]->id];
    if (home.kind != HOME_ARENA || f->kept.slots.at[home.at].last != node->id ||
        !elementwise_in(node, i, &value->type) || needed_beside(node, i, value))
      continue;
    bool shared = false; /* seen through a view beside */
    for (int k = 0; k < node->n_in; k++)
      shared |= k != i && same_home(f->home[node->in[k]->id], home);
    if (!shared)
      return i;
  }
  return -1;
}

/* ---- lifetimes ---- */

static void find_prepared(Footprint *f) {
  const Graph *g = f->graph;
  for (int i = 0; i < g->outputs.count; i++)
    if (g->outputs.at[i].updates)
      return;
  for (int i = 0; i < g->inputs.count; i++)
    f->prepared[g->inputs.at[i].value->id] = g->inputs.at[i].role != ROLE_INPUT;
  for (int n = 0; n < g->nodes.count; n++) {
    const Node *node = g->nodes.at[n];
    bool all = true;
    for (int i = 0; i < node->n_in; i++)
      all &= f->prepared[node->in[i]->id];
    for (int i = 0; i < node->n_out; i++)
      f->prepared[node->out[i].id] = all;
  }
}

static void find_last_uses(Footprint *f) {
  const Graph *g = f->graph;
  for (int i = 0; i < g->outputs.count; i++)
    f->last_use[g->outputs.at[i].value->id] = MEMORY_FOREVER;
  for (int n = g->nodes.count - 1; n >= 0; n--) {
    const Node *node = g->nodes.at[n];
    bool renames = node->op->cls == OP_VIEW; /* shares its operand's memory */
    for (int i = 0; i < node->n_in; i++) {
      int *last = &f->last_use[node->in[i]->id];
      int use = renames ? f->last_use[node->out[0].id] : n;
      *last = use > *last ? use : *last;
    }
  }
}

/* ---- homes ---- */

static void place_result(Footprint *f, const Node *node, const Value *value, bool pointwise) {
  bool prepared = f->prepared[value->id];
  int last = f->last_use[value->id] > node->id ? f->last_use[value->id] : node->id;
  int over = pointwise && !prepared ? dying_operand(f, node, value) : -1;
  if (over < 0) {
    f->home[value->id] = footprint_add(f, prepared, &value->type, prepared ? 0 : node->id,
                                       prepared ? MEMORY_FOREVER : last,
                                       arena_printf(f->arena, "%%%d", value->id), node->loc);
    return;
  }
  Home home = f->home[node->in[over]->id];
  MemoryNote *note = &f->kept.notes.at[home.at];
  note->name = arena_printf(f->arena, "%s %%%d", note->name, value->id);
  f->kept.slots.at[home.at].last = last;
  f->home[value->id] = home;
}

static Home replaced(const Graph *g, const GraphOutput *output) {
  return (Home){HOME_PERSISTENT, graph_find_input(g, output->updates)->value->index};
}

static Home add_output(Footprint *f, const GraphOutput *output, int first) {
  return footprint_add(f, false, &output->value->type, first, MEMORY_FOREVER,
                       arena_printf(f->arena, "output %s", output->name), output->loc);
}

/* Outputs that are inputs themselves are copied for the caller at the end. */
static void place_outputs(Footprint *f) {
  const Graph *g = f->graph;
  f->output = ARENA_ARRAY(f->arena, Home, g->outputs.count + 1);
  for (int i = 0; i < g->outputs.count; i++) {
    const GraphOutput *output = &g->outputs.at[i];
    Home home = f->home[output->value->id];
    if (output->updates)
      home = replaced(g, output);
    else if (output->renews && is_view(f, output->renews->node))
      home = (Home){HOME_VIEW, output->renews->node->id};
    else if (output_is_result(output) && home.kind != HOME_ARENA && !output->value->node)
      home = add_output(f, output, g->nodes.count);
    f->output[i] = home;
  }
}

void footprint_outputs_apart(Footprint *f, Home *written) {
  const Graph *g = f->graph;
  f->output = ARENA_ARRAY(f->arena, Home, g->outputs.count + 1);
  for (int i = 0; i < g->outputs.count; i++) {
    written[i] = add_output(f, &g->outputs.at[i], 0);
    f->output[i] = g->outputs.at[i].updates ? replaced(g, &g->outputs.at[i]) : written[i];
  }
}

void footprint_values(Footprint *f) {
  const Graph *g = f->graph;
  find_prepared(f);
  find_last_uses(f);
  for (int i = 0; i < g->outputs.count; i++) {
    const GraphOutput *output = &g->outputs.at[i];
    const GraphInput *old = output->updates ? graph_find_input(g, output->updates) : NULL;
    if (old && updates_in_place(f, output, old))
      f->home[output->value->id] = (Home){HOME_PERSISTENT, old->value->index};
    if (output->renews && is_view(f, output->renews->node) && renews_in_place(f, output))
      f->home[output->value->id] = (Home){HOME_VIEW, output->renews->node->id};
  }
  for (int n = 0; n < g->nodes.count; n++) {
    const Node *node = g->nodes.at[n];
    if (node->op->cls == OP_VIEW || node->op->cls == OP_FEED) {
      f->home[node->out[0].id] = f->home[node->in[0]->id];
      continue;
    }
    if (is_view(f, node))
      f->home[node->out[0].id] = (Home){HOME_VIEW, n};
    bool pointwise = is_pointwise(node);
    for (int i = 0; i < node->n_out; i++)
      if (f->home[node->out[i].id].kind == HOME_NONE)
        place_result(f, node, &node->out[i], pointwise);
  }
  place_outputs(f);
}
