/* region: a group of nodes fused into one kernel. What it means is what its body means. */
#include "ir/ops/rules.h"
#include <string.h>

/* A region's results have no rule of their own: they are its body's outputs. */
bool shape_region(const OpCall *call, Type *out, Error *error) {
  const Graph *body = call->body;
  if (!body)
    return error_set(error, "a region needs a body");
  for (int i = 0; i < body->outputs.count; i++)
    out[i] = body->outputs.at[i].value->type;
  return true;
}

void eval_region(const Node *node, double *const *in, double *const *out) {
  Arena *arena = arena_new();
  double **results = ARENA_ARRAY(arena, double *, node->n_out);
  graph_eval(node->body, arena, in, results);
  for (int i = 0; i < node->n_out; i++)
    memcpy(out[i], results[i], sizeof(double) * (size_t)type_elements(out_type(node, i)));
  arena_free(arena);
}

double flops_region(const Node *node) { return graph_flops(node->body); }
