/* Kernels side by side that become one: regions between which no path leads.
 *
 *   siblings   regions over one space that read the same large tensor, which is then read once
 *   small      small regions over one space that the same regions read, or none (running
 *              statistics, counters, vectors of parameters): a start of a kernel less for each
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

/* ---- small regions that the same regions read ---- */

enum {
  MAX_TOGETHER = 200, /* ops: what distribution puts into one loop nest */
  MAX_READERS = 32
};

/* Regions that read a small one, in the order of their first members. None: its results only
 * replace persistent tensors. Between two regions with equal readers no path leads: it would go
 * through a reader, which would come before and after the second. */
typedef struct Readers {
  int count;
  const Region *at[MAX_READERS];
} Readers;

typedef struct Small {
  Region *region;
  Readers readers;
} Small;

typedef VEC(Node *) Nodes;

/* By node id: the nodes of regions that read it. */
static Nodes *find_readers(Fusion *f) {
  const Graph *g = f->graph;
  Nodes *readers = ARENA_ARRAY(f->arena, Nodes, g->nodes.count + 1);
  for (int n = 0; n < g->nodes.count; n++) {
    Node *node = g->nodes.at[n];
    for (int i = 0; fuse_is_compute(f, node) && i < node->n_in; i++)
      if (fuse_maker(f, node, i))
        vec_push(f->arena, &readers[fuse_maker(f, node, i)->id], node);
  }
  return readers;
}

static bool add_reader(Readers *readers, const Region *region) {
  int at = readers->count;
  for (int i = 0; i < readers->count; i++)
    if (readers->at[i] == region)
      return true;
  if (readers->count == MAX_READERS)
    return false;
  for (; at > 0 && readers->at[at - 1]->members.at[0]->id > region->members.at[0]->id; at--)
    readers->at[at] = readers->at[at - 1];
  readers->at[at] = region;
  readers->count++;
  return true;
}

static bool readers_of(const Fusion *f, const Region *region, const Nodes *nodes,
                       Readers *readers) {
  *readers = (Readers){0};
  for (int m = 0; m < region->members.count; m++) {
    const Nodes *of = &nodes[region->members.at[m]->id];
    for (int i = 0; i < of->count; i++)
      if (f->region[of->at[i]->id] != region && !add_reader(readers, f->region[of->at[i]->id]))
        return false;
  }
  return true;
}

static bool is_small(Fusion *f, const Region *region) {
  if (region->has_anchor || region->sealed || region->members.at[0]->op->cls == OP_VIEW ||
      type_elements(&region->space) >= WORTH_REPEATING)
    return false;
  for (int m = 0; m < region->members.count; m++)
    for (int i = 0; i < region->members.at[m]->n_in; i++) /* large ones must not wait */
      if (type_elements(&fuse_resolve(f, region->members.at[m]->in[i]).base->type) >=
          WORTH_REPEATING)
        return false;
  return true;
}

static bool may_join(const Small *a, const Small *b) {
  const Region *x = a->region, *y = b->region;
  if (!fuse_same_shape(&x->space, &y->space) || x->folded_rows != y->folded_rows ||
      x->folds_columns != y->folds_columns || a->readers.count != b->readers.count ||
      x->members.count + y->members.count > MAX_TOGETHER)
    return false;
  for (int i = 0; i < a->readers.count; i++)
    if (a->readers.at[i] != b->readers.at[i])
      return false;
  return true;
}

/* By node id: the caller wants it. Entry points that can stop must know their results first. */
static bool *find_results(Fusion *f) {
  bool *result = ARENA_ARRAY(f->arena, bool, f->graph->nodes.count + 1);
  for (int i = 0; i < f->graph->outputs.count; i++) {
    const GraphOutput *output = &f->graph->outputs.at[i];
    const Node *maker = fuse_resolve(f, output->value).base->node;
    if (maker && output_is_result(output))
      result[maker->id] = true;
  }
  return result;
}

static int last_member(const Region *region) {
  int last = 0;
  for (int m = 0; m < region->members.count; m++)
    last = region->members.at[m]->id > last ? region->members.at[m]->id : last;
  return last;
}

void fuse_small(Fusion *f) {
  const Graph *g = f->graph;
  const Nodes *nodes = find_readers(f);
  const bool *result = find_results(f);
  VEC(Small) open = {0};                          /* those that may take in more */
  for (int n = g->nodes.count - 1; n >= 0; n--) { /* readers first: they may become one */
    Small small = {.region = f->region[n]};
    bool fits = small.region && last_member(small.region) == n && is_small(f, small.region) &&
                readers_of(f, small.region, nodes, &small.readers);
    for (int m = 0; fits && m < small.region->members.count; m++)
      fits = !result[small.region->members.at[m]->id];
    bool merged = false;
    for (int i = 0; fits && i < open.count && !merged; i++)
      if (may_join(&open.at[i], &small) && fuse_merge(f, open.at[i].region, small.region)) {
        open.at[i].region->not_before = last_member(open.at[i].region);
        merged = true;
      }
    if (fits && !merged)
      vec_push(f->arena, &open, small);
  }
}
