/* Common subexpressions: a node equal to an earlier one is replaced by it.
 *
 * Value numbering over the new graph: because operands are replaced first, one pass in order finds
 * everything. Operands of commutative ops compare in the order of their ids.
 */
#include "passes/graph/common.h"

typedef struct Entry {
  uint64_t hash;
  Node *node; /* of the new graph */
} Entry;

typedef struct Table {
  Entry *slots;
  size_t mask;
} Table;

static void operand_ids(const Node *node, Value *const *in, int *ids) {
  for (int i = 0; i < node->n_in; i++)
    ids[i] = in[i]->id;
  if ((node->op->flags & OPF_COMMUTES) && ids[0] > ids[1]) {
    int swap = ids[0];
    ids[0] = ids[1];
    ids[1] = swap;
  }
}

static bool same_operands(const Node *a, const Node *b, Arena *arena) {
  if (a->n_in != b->n_in)
    return false;
  int *x = ARENA_ARRAY(arena, int, a->n_in + 1), *y = ARENA_ARRAY(arena, int, a->n_in + 1);
  operand_ids(a, a->in, x);
  operand_ids(b, b->in, y);
  for (int i = 0; i < a->n_in; i++)
    if (x[i] != y[i])
      return false;
  return true;
}

/* The slot of an equal node, or the free one where it belongs. */
static Entry *find(const Table *table, uint64_t hash, const Node *node, Arena *arena) {
  for (uint64_t at = hash;; at++) {
    Entry *entry = &table->slots[at & table->mask];
    if (!entry->node || (entry->hash == hash && node_same(entry->node, node) &&
                         same_operands(entry->node, node, arena)))
      return entry;
  }
}

Graph *pass_cse(PassContext *context, Graph *graph) {
  Arena *scratch = arena_new();
  size_t slots = 16;
  while (slots < (size_t)graph->nodes.count * 2)
    slots *= 2;
  Table table = {ARENA_ARRAY(scratch, Entry, slots), slots - 1};
  GraphMap map = graph_map_start(graph, context->arena);
  for (int i = 0; i < graph->nodes.count; i++) {
    const Node *old = graph->nodes.at[i];
    if (old->op->cls == OP_REGION) {
      graph_map_copy(&map, old);
      continue;
    }
    /* a stand-in with new operands: a node enters the graph only when it is new */
    Node probe = *old;
    probe.in = ARENA_ARRAY(scratch, Value *, old->n_in + 1);
    for (int j = 0; j < old->n_in; j++)
      probe.in[j] = map.value[old->in[j]->id];
    int *ids = ARENA_ARRAY(scratch, int, old->n_in + 1);
    operand_ids(&probe, probe.in, ids);
    uint64_t hash = hash_bytes(ids, sizeof *ids * (size_t)old->n_in, node_hash(old));
    Entry *entry = find(&table, hash, &probe, scratch);
    if (!entry->node)
      *entry = (Entry){hash, graph_map_copy(&map, old)};
    else
      for (int j = 0; j < old->n_out; j++)
        map.value[old->out[j].id] = &entry->node->out[j];
  }
  arena_free(scratch);
  return graph_map_finish(&map);
}
