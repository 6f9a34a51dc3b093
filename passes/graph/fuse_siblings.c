/* Kernels side by side that become one: regions between which no path leads.
 *
 *   siblings   regions over one space that read the same large tensor, which is then read once
 *   ends       small elementwise regions over one space whose results only replace persistent
 * tensors (running statistics, counters, vectors of parameters): a start of a kernel less each
 */
#include "passes/graph/fuse.h"

/* ---- regions that read the same large tensor ---- */

enum {
  MAX_STREAMS = 12, /* large tensors one kernel reads: what prefetchers follow */
  NEAR = 16         /* regions further apart in the program are not looked at */
};

/* Large tensors the region reads from memory, into `bases`; returns how many there are. */
static int large_operands(Fusion *f, const Region *region, const Value **bases, int room) {
  int count = 0;
  int64_t whole = type_elements(&region->space);
  for (int m = 0; m < region->members.count; m++)
    for (int i = 0; i < region->members.at[m]->n_in; i++) {
      const Value *base = fuse_resolve(f, region->members.at[m]->in[i]).base;
      bool inside =
          base->node && fuse_is_compute(f, base->node) && f->region[base->node->id] == region;
      bool known = inside || type_elements(&base->type) < whole;
      for (int j = 0; j < count && !known; j++)
        known = bases[j] == base;
      if (!known && count < room)
        bases[count++] = base;
    }
  return count;
}

static bool walks_rows(const Region *region) {
  return !region->has_anchor && !region->sealed && region->space.rank > 0 &&
         region->members.at[0]->op->cls != OP_VIEW &&
         type_elements(&region->space) >= WORTH_REPEATING;
}

/* Two kernels over one space that read the same tensor become one that reads it once. */
static bool merge_two(Fusion *f, Region *a, Region *b) {
  const Value *of_a[MAX_STREAMS], *of_b[MAX_STREAMS];
  int in_a = large_operands(f, a, of_a, MAX_STREAMS), shared = 0;
  int in_b = large_operands(f, b, of_b, MAX_STREAMS);
  for (int i = 0; i < in_a; i++)
    for (int j = 0; j < in_b; j++)
      shared += of_a[i] == of_b[j];
  return shared && in_a + in_b - shared + 2 <= MAX_STREAMS && fuse_merge(f, a, b);
}

void fuse_siblings(Fusion *f) {
  const Graph *g = f->graph;
  VEC(Region *) regions = {0};
  for (int n = 0; n < g->nodes.count; n++) {
    Region *region = f->region[n];
    if (region && region->members.at[0] == g->nodes.at[n] && walks_rows(region))
      vec_push(f->arena, &regions, region);
  }
  for (int i = 0; i < regions.count; i++)
    for (int j = i + 1; j < regions.count && j <= i + NEAR; j++) {
      Region *a = regions.at[i], *b = regions.at[j];
      /* a region that was merged away has no members of its own left */
      if (f->region[a->members.at[0]->id] == a && f->region[b->members.at[0]->id] == b &&
          fuse_same_shape(&a->space, &b->space) && a->folded_rows == b->folded_rows &&
          a->folds_columns == b->folds_columns)
        merge_two(f, a, b);
    }
}

/* ---- small regions that only update ---- */

enum { MAX_TOGETHER = 200 /* ops: what distribution puts into one loop nest */ };

/* By node id: another region reads it, or who called the graph. */
static bool *find_read(Fusion *f) {
  const Graph *g = f->graph;
  bool *read = ARENA_ARRAY(f->arena, bool, g->nodes.count + 1);
  for (int n = 0; n < g->nodes.count; n++) {
    const Node *node = g->nodes.at[n];
    for (int i = 0; fuse_is_compute(f, node) && i < node->n_in; i++) {
      const Node *maker = fuse_maker(f, node, i);
      if (maker && f->region[maker->id] != f->region[n])
        read[maker->id] = true;
    }
  }
  for (int i = 0; i < g->outputs.count; i++) {
    const Node *maker = fuse_resolve(f, g->outputs.at[i].value).base->node;
    if (maker && output_is_result(&g->outputs.at[i]))
      read[maker->id] = true;
  }
  return read;
}

static bool is_end(const Region *region, const bool *read) {
  if (region->has_anchor || region->sealed || region->folds_columns || region->folded_rows ||
      type_elements(&region->space) >= WORTH_REPEATING)
    return false;
  for (int m = 0; m < region->members.count; m++)
    if (read[region->members.at[m]->id])
      return false;
  return region->members.at[0]->op->cls != OP_VIEW;
}

void fuse_ends(Fusion *f) {
  const Graph *g = f->graph;
  const bool *read = find_read(f);
  VEC(Region *) open = {0}; /* those that may take in more */
  for (int n = 0; n < g->nodes.count; n++) {
    Region *region = f->region[n];
    if (!region || region->members.at[0] != g->nodes.at[n] || !is_end(region, read))
      continue;
    Region *into = NULL;
    for (int i = 0; i < open.count && !into; i++)
      if (fuse_same_shape(&open.at[i]->space, &region->space) &&
          open.at[i]->members.count + region->members.count <= MAX_TOGETHER)
        into = open.at[i];
    if (!into || !fuse_merge(f, into, region)) {
      vec_push(f->arena, &open, region);
      continue;
    }
    for (int m = 0; m < into->members.count; m++)
      if (into->members.at[m]->id > into->not_before)
        into->not_before = into->members.at[m]->id;
  }
}
