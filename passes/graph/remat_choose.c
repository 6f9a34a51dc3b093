/* Which value to compute again. See remat.h.
 *
 * A candidate is a value that lies idle between two readers (or between the step that makes it and
 * its first reader) while more is alive than there should be. It is then computed again right in
 * front of the later reader; where operands of it are gone by then, they are kept longer or
 * computed again as well, up to some depth. What a candidate gains is summed over the steps: bytes
 * above the target that are no longer there, less those that come with it; it costs the bytes its
 * copies move and their operations. The largest gain over a power of the cost wins: what Chen et
 * al. (arXiv 1604.06174) do by position and Kirisame et al. (arXiv 2006.09616) at run time, here
 * with lifetimes known.
 */
#include "ir/op.h"
#include "passes/graph/recompute.h"
#include "passes/graph/remat.h"
#include <math.h>

enum {
  MAX_DEPTH = 3,         /* copies of operands of copies */
  MAX_CHAIN = 12,        /* nodes copied together */
  LEAST_BYTES = 1 << 12, /* of a value worth looking at, at least; and the 1024th part of all */
  LEAST_GAIN = 256,      /* part of what is above the target that a choice must take away */
  OPS_PER_BYTE = 8,      /* what a machine computes while it moves a byte */
  CALL_BYTES = 1 << 12   /* a step costs as much as moving so many bytes */
};

/* A value, the readers that shall see it computed again, and what that takes. */
typedef struct Candidate {
  const Value *value;
  int from;    /* the step before which, and with which, it is still there; -1: it is not made */
  int late;    /* number of the first late reader among its readers */
  int until;   /* that reader's step: copies run right before it */
  int n_chain; /* values computed again, this one first; their nodes' ids fall from left to right
                  along each path */
  const Value *chain[MAX_CHAIN];
  VEC(const Value *) longer; /* operands that are kept longer */
  double gain, cost, worth;
} Candidate;

typedef struct Chooser {
  const Load *load;
  Arena *arena; /* for the time of one choice */
  int64_t target, least;
  double thrift, least_gain;
} Chooser;

/* ---- what computing again takes ---- */

static double node_operations(const Node *node) {
  double operations = 2 * node->op->flops(node);
  OpClass cls = node->op->cls;
  for (int i = 0; i < node->n_out && (cls == OP_EW || cls == OP_WINDOW); i++)
    operations += (double)type_elements(&node->out[i].type);
  for (int i = 0; i < node->n_in && cls == OP_REDUCE; i++)
    operations += (double)type_elements(&node->in[i]->type);
  return operations;
}

/* Bytes moved, and operations as bytes, of the part of a region that makes the wanted results. */
static double part_cost(const Chooser *c, const Node *region, const bool *wanted) {
  const Graph *body = region->body;
  const bool *needs = region_needs(region, c->arena, wanted);
  double bytes = CALL_BYTES, operations = 0;
  for (int i = 0; i < region->n_in; i++)
    bytes += needs[body->inputs.at[i].value->id] ? (double)value_bytes(region->in[i]) : 0;
  for (int i = 0; i < region->n_out; i++)
    bytes += wanted[i] ? (double)value_bytes(&region->out[i]) : 0;
  for (int n = 0; n < body->nodes.count; n++)
    if (needs[body->nodes.at[n]->out[0].id])
      operations += node_operations(body->nodes.at[n]);
  return bytes + operations / OPS_PER_BYTE;
}

/* The results of `region` that are in the candidate's chain. */
static bool *wanted_of(const Chooser *c, const Candidate *d, const Node *region) {
  bool *wanted = ARENA_ARRAY(c->arena, bool, region->n_out + 1);
  for (int i = 0; i < d->n_chain; i++)
    if (d->chain[i]->node == region)
      wanted[d->chain[i]->index] = true;
  return wanted;
}

static bool is_read(const Chooser *c, const Value *value) {
  return c->load->readers[value->id].count > 0;
}

static double candidate_cost(const Chooser *c, const Candidate *d) {
  double cost = 0;
  for (int i = 0; i < d->n_chain; i++) {
    const Node *region = d->chain[i]->node;
    bool counted = false;
    for (int k = 0; k < i; k++)
      counted |= d->chain[k]->node == region;
    if (!counted)
      cost += part_cost(c, region, wanted_of(c, d, region));
  }
  if (d->late > 0)
    return cost;
  /* the first time it is not made at all */
  const Node *region = d->value->node;
  bool *all = ARENA_ARRAY(c->arena, bool, region->n_out + 1);
  bool *rest = ARENA_ARRAY(c->arena, bool, region->n_out + 1), any = false;
  for (int i = 0; i < region->n_out; i++) {
    all[i] = is_read(c, &region->out[i]);
    any |= rest[i] = all[i] && &region->out[i] != d->value;
  }
  cost -= part_cost(c, region, all) - (any ? part_cost(c, region, rest) : 0);
  return cost > CALL_BYTES ? cost : CALL_BYTES;
}

/* ---- chains ---- */

static bool in_chain(const Candidate *d, const Value *value) {
  for (int i = 0; i < d->n_chain; i++)
    if (d->chain[i] == value)
      return true;
  return false;
}

/* Does the value go away with its last reader, so that reading it later keeps it longer? */
static bool is_kept(const Chooser *c, const Value *value) {
  const Readers *readers = &c->load->readers[value->id];
  return value->node && value->node->op->cls == OP_REGION &&
         c->load->memory.home[value->id].kind == HOME_ARENA && readers->count &&
         readers->at[readers->count - 1] != MEMORY_FOREVER;
}

static int last_reader(const Chooser *c, const Value *value) {
  const Readers *readers = &c->load->readers[value->id];
  return readers->count ? readers->at[readers->count - 1] : value->node->id;
}

static void keep_longer(const Chooser *c, Candidate *d, const Value *value) {
  for (int i = 0; i < d->longer.count; i++)
    if (d->longer.at[i] == value)
      return;
  vec_push(c->arena, &d->longer, value);
}

/* Adds a value to what is computed again; operands that are gone by then follow, to `depth`. */
static bool add_to_chain(const Chooser *c, Candidate *d, const Value *value, int depth) {
  const Node *region = value->node;
  if (d->n_chain == MAX_CHAIN)
    return false;
  d->chain[d->n_chain++] = value;
  bool *wanted = ARENA_ARRAY(c->arena, bool, region->n_out + 1);
  wanted[value->index] = true;
  const bool *needs = region_needs(region, c->arena, wanted);
  for (int i = 0; i < region->n_in; i++) {
    const Value *operand = load_base(region->in[i]);
    if (!needs[region->body->inputs.at[i].value->id] || in_chain(d, operand) ||
        !is_kept(c, operand) || last_reader(c, operand) >= d->until)
      continue;
    if (depth > 0 && value_bytes(operand) >= c->least) {
      if (!add_to_chain(c, d, operand, depth - 1))
        return false;
    } else {
      keep_longer(c, d, operand);
    }
  }
  return true;
}

/* ---- what it gains ---- */

static double above(const Chooser *c, int64_t bytes) {
  return bytes > c->target ? (double)(bytes - c->target) : 0;
}

/* Copies run one after the other, and what they make stays until the reader. */
static double above_in_copies(const Chooser *c, const Candidate *d, int64_t there) {
  double sum = 0;
  for (int i = d->n_chain - 1; i >= 0; i--) {
    there += value_bytes(d->chain[i]);
    sum += above(c, there + c->load->scratch[d->chain[i]->node->id]);
  }
  return sum;
}

static void measure(const Chooser *c, Candidate *d) {
  const int64_t *alive = c->load->alive;
  int64_t own = value_bytes(d->value), there = c->load->through[d->until] - own;
  int begin = d->from + 1;
  for (int i = 0; i < d->longer.count; i++) {
    int last = last_reader(c, d->longer.at[i]);
    begin = last + 1 < begin ? last + 1 : begin;
    there += value_bytes(d->longer.at[i]);
  }
  d->gain = -above_in_copies(c, d, there);
  for (int s = begin; s < d->until; s++) {
    int64_t after = alive[s] - (s > d->from ? own : 0);
    for (int i = 0; i < d->longer.count; i++)
      after += s > last_reader(c, d->longer.at[i]) ? value_bytes(d->longer.at[i]) : 0;
    d->gain += above(c, alive[s]) - above(c, after);
  }
  d->cost = candidate_cost(c, d);
  d->worth = d->gain / pow(d->cost, c->thrift);
}

/* ---- the best ---- */

static bool any_above(const Chooser *c, int begin, int end) {
  for (int s = begin; s < end; s++)
    if (c->load->alive[s] > c->target)
      return true;
  return false;
}

static bool better(const Chooser *c, const Candidate *a, const Candidate *b) {
  return a->gain > c->least_gain && (!b->value || a->worth > b->worth);
}

static void try_value(const Chooser *c, const Value *value, Candidate *best) {
  const Readers *readers = &c->load->readers[value->id];
  for (int late = 0; late < readers->count; late++) {
    int from = late ? readers->at[late - 1] : value->node->id - 1, until = readers->at[late];
    if (!any_above(c, from + 1, until) || until - value->node->id < 2)
      continue;
    for (int depth = 0; depth <= MAX_DEPTH; depth++) {
      Candidate d = {.value = value, .from = from, .late = late, .until = until};
      if (!add_to_chain(c, &d, value, depth))
        break;
      measure(c, &d);
      if (better(c, &d, best))
        *best = d;
    }
  }
}

static Graph *apply(const Chooser *c, const Candidate *d, Arena *arena, Arena *bodies) {
  const Graph *g = c->load->graph;
  bool *again = ARENA_ARRAY(c->arena, bool, g->n_values + 1);
  bool *late = ARENA_ARRAY(c->arena, bool, g->nodes.count + 1);
  for (int i = 0; i < d->n_chain; i++)
    again[d->chain[i]->id] = true;
  const Readers *readers = &c->load->readers[d->value->id];
  for (int i = d->late; i < readers->count; i++)
    late[readers->at[i]] = true;
  return graph_recompute(g, arena, &(Recompute){again, late, false, bodies});
}

Graph *remat_choose(const Load *load, Arena *arena, Arena *bodies, int64_t target, double thrift,
                    const Map *banned, Choice *choice) {
  Chooser c = {.load = load,
               .arena = arena_new(),
               .target = target,
               .least = load->most >> 10,
               .thrift = thrift};
  c.least = c.least > LEAST_BYTES ? c.least : LEAST_BYTES;
  Candidate best = {0};
  const Graph *g = load->graph;
  for (int s = 0; s < g->nodes.count; s++)
    c.least_gain += above(&c, load->alive[s]) / LEAST_GAIN;
  for (int n = 0; n < g->nodes.count; n++)
    for (int i = 0; i < g->nodes.at[n]->n_out; i++) {
      const Value *value = &g->nodes.at[n]->out[i];
      if (is_kept(&c, value) && value_bytes(value) >= c.least && !map_get(banned, value->name))
        try_value(&c, value, &best);
    }
  *choice = (Choice){best.value, best.cost};
  Graph *graph = best.value ? apply(&c, &best, arena, bodies) : NULL;
  arena_free(c.arena);
  return graph;
}
