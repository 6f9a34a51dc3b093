/* Composites become the ops that define them: each by its own expansion, until none is left. */
#include "passes/graph/common.h"

typedef struct Expansion {
  unsigned flags; /* only ops with all of these flags */
  bool changed;
} Expansion;

static bool expand(void *context, Builder *b, const Node *old, Value *const *in, Value **out) {
  Expansion *expansion = context;
  if ((old->op->cls != OP_COMPOSITE && old->op->cls != OP_FEED) ||
      (old->op->flags & expansion->flags) != expansion->flags)
    return false;
  if (!old->op->expand)
    FAULT("composite %s has no expansion", old->op->name);
  old->op->expand(b, old, in, out);
  expansion->changed = true;
  return true;
}

Graph *graph_expand(Graph *graph, Arena *arena, unsigned flags) {
  Expansion expansion = {flags, true};
  for (int round = 0; expansion.changed; round++) {
    CHECK(round < 32); /* an expansion that leads back to itself */
    expansion.changed = false;
    Graph *next = graph_rewrite(graph, arena, expand, &expansion);
    if (expansion.changed)
      graph = next;
  }
  return graph;
}

Graph *pass_expand(PassContext *context, Graph *graph) {
  return graph_without_dead(graph_expand(graph, context->arena, 0), context->arena);
}
