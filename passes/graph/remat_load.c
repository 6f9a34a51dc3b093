/* What a graph of regions takes in memory, step by step. See remat.h. */
#include "passes/graph/remat.h"
#include "passes/lower/lower.h"
#include <string.h>

/* ---- scratch ---- */

static uint64_t hash_body(const Graph *body) { return hash_bytes(&body, sizeof body, 0); }

static void grow(ScratchTable *table) {
  table->room = table->room ? 2 * table->room : 256;
  table->slots = ARENA_ARRAY(table->arena, int, table->room);
  for (int i = 0; i < table->entries.count; i++) {
    uint64_t at = hash_body(table->entries.at[i].body);
    while (table->slots[at & (uint64_t)(table->room - 1)])
      at++;
    table->slots[at & (uint64_t)(table->room - 1)] = i + 1;
  }
}

static const Scratch *scratch_of(ScratchTable *table, const Node *region) {
  if (2 * table->entries.count >= table->room)
    grow(table);
  uint64_t at = hash_body(region->body);
  int *slot;
  for (; *(slot = &table->slots[at & (uint64_t)(table->room - 1)]); at++)
    if (table->entries.at[*slot - 1].body == region->body)
      return &table->entries.at[*slot - 1];
  Arena *work = arena_new();
  Lowered lowered;
  lower_region(region, table->facts, work, "scratch", &lowered);
  Scratch entry = {region->body, lowered.temps.count,
                   arena_copy(table->arena, lowered.temps.at,
                              sizeof *lowered.temps.at * (size_t)lowered.temps.count)};
  arena_free(work);
  vec_push(table->arena, &table->entries, entry);
  *slot = table->entries.count;
  return &table->entries.at[*slot - 1];
}

static void add_scratch(Load *load, ScratchTable *table) {
  const Graph *g = load->graph;
  for (int n = 0; n < g->nodes.count; n++) {
    const Node *node = g->nodes.at[n];
    if (node->op->cls != OP_REGION)
      continue;
    const Scratch *scratch = scratch_of(table, node);
    bool prepared = load->memory.prepared[node->out[0].id];
    for (int i = 0; i < scratch->count; i++) {
      footprint_add(&load->memory, prepared, &scratch->types[i], prepared ? 0 : n,
                    prepared ? MEMORY_FOREVER : n, "scratch", node->loc);
      if (!prepared)
        load->scratch[n] +=
            memory_rounded((int64_t)type_bytes(&scratch->types[i]), MEMORY_ALIGNMENT);
    }
  }
}

/* ---- what is alive ---- */

const Value *load_base(const Value *value) {
  while (value->node && value->node->op->cls == OP_VIEW)
    value = value->node->in[0];
  return value;
}

int64_t value_bytes(const Value *value) {
  return memory_rounded((int64_t)type_bytes(&value->type), MEMORY_ALIGNMENT);
}

/* Of what is alive at a step, its own results and scratch begin there. */
static void count_alive(Load *load, Arena *arena) {
  int steps = load->graph->nodes.count;
  const Holding *kept = &load->memory.kept;
  int64_t *change = ARENA_ARRAY(arena, int64_t, steps + 2), now = 0;
  int64_t *begins = ARENA_ARRAY(arena, int64_t, steps + 2);
  for (int i = 0; i < kept->slots.count; i++) {
    const MemorySlot *slot = &kept->slots.at[i];
    int64_t bytes = memory_rounded(slot->bytes, MEMORY_ALIGNMENT);
    change[slot->first < 0 ? 0 : slot->first] += bytes;
    if (slot->last < steps)
      change[slot->last + 1] -= bytes;
    if (slot->first >= 0)
      begins[slot->first] += bytes;
  }
  for (int s = 0; s < steps; s++) {
    now += change[s];
    load->alive[s] = now;
    load->through[s] = now - begins[s];
    if (now > load->most) {
      load->most = now;
      load->peak = s;
    }
  }
}

static void find_readers(Load *load, Arena *arena) {
  const Graph *g = load->graph;
  for (int n = 0; n < g->nodes.count; n++) {
    const Node *node = g->nodes.at[n];
    for (int i = 0; i < node->n_in && node->op->cls != OP_VIEW; i++) {
      Readers *readers = &load->readers[load_base(node->in[i])->id];
      if (!readers->count || readers->at[readers->count - 1] != n)
        vec_push(arena, readers, n);
    }
  }
  for (int i = 0; i < g->outputs.count; i++) {
    Readers *readers = &load->readers[load_base(g->outputs.at[i].value)->id];
    vec_push(arena, readers, MEMORY_FOREVER);
  }
}

Load load_of(Arena *arena, const Graph *graph, ScratchTable *table) {
  Load load = {.graph = graph};
  int steps = graph->nodes.count;
  load.alive = ARENA_ARRAY(arena, int64_t, steps + 1);
  load.through = ARENA_ARRAY(arena, int64_t, steps + 1);
  load.scratch = ARENA_ARRAY(arena, int64_t, steps + 1);
  load.readers = ARENA_ARRAY(arena, Readers, graph->n_values + 1);
  footprint_start(&load.memory, arena, graph, false);
  footprint_values(&load.memory);
  add_scratch(&load, table);
  count_alive(&load, arena);
  find_readers(&load, arena);
  Holding *derived = &load.memory.derived;
  load.fixed = footprint_persistent(&load.memory) +
               memory_plan(arena, derived->slots.at, derived->slots.count, MEMORY_ALIGNMENT);
  return load;
}

int64_t load_plan(Load *load, Arena *arena) {
  Holding *kept = &load->memory.kept;
  return memory_plan(arena, kept->slots.at, kept->slots.count, MEMORY_ALIGNMENT);
}
