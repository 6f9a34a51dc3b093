/* Pass remat: makes a fused graph fit the memory budget, if one is given.
 *
 * First another order is tried, which costs nothing. Then values are computed again instead of
 * kept, one choice after the other (remat_choose.c), each of them verified on the new graph's own
 * lifetimes, until what is alive in every step, and then its placing in one arena, fits. Nothing
 * here knows ops or models. A budget that holds everything changes nothing.
 */
#include "passes/graph/remat.h"
#include "runtime/base/bytes.h"
#include <stdlib.h>
#include <string.h>

enum {
  PART = 16,  /* of what is alive, aimed at in one go */
  LISTED = 12 /* tensors an error names */
};

typedef struct Fitting {
  PassContext *context;
  ScratchTable scratch;
  int64_t limit;  /* of the arena */
  int64_t target; /* of what is alive, for the next choice */
  double thrift;  /* how much the cost of a choice counts */
  Map banned;     /* names of values whose copies did not help */
  Arena *own;     /* of graph and load; NULL: the pass's */
  Graph *graph;
  Load load;
  int64_t
      plan; /* size of its arena; what is alive at most, where that is above the limit already */
} Fitting;

static double total_above(const Load *load, int64_t target) {
  double sum = 0;
  for (int s = 0; s < load->graph->nodes.count; s++)
    sum += load->alive[s] > target ? (double)(load->alive[s] - target) : 0;
  return sum;
}

/* Takes a graph and its load, which are in `own`. */
static void take(Fitting *f, Arena *own, Graph *graph, const Load *load) {
  if (f->own)
    arena_free(f->own);
  f->own = own;
  f->graph = graph;
  f->load = *load;
  f->plan = load->most > f->limit ? load->most : load_plan(&f->load, f->context->arena);
}

/* Less above the target, in the worst step or, where that is the same, in all together. */
static bool takes_less(const Fitting *f, const Load *load) {
  if (load->most != f->load.most && (load->most > f->target || f->load.most > f->target))
    return load->most < f->load.most;
  return total_above(load, f->target) < total_above(&f->load, f->target);
}

static void try_order(Fitting *f) {
  Arena *own = arena_new();
  Graph *graph = remat_order(&f->load, own);
  Load load = load_of(own, graph, &f->scratch);
  if (takes_less(f, &load))
    take(f, own, graph, &load);
  else
    arena_free(own);
}

/* Computes one more value again. False when no value helps. */
static bool recompute_one(Fitting *f) {
  Arena *all = f->context->arena;
  for (;;) {
    Choice choice;
    Arena *own = arena_new();
    Graph *graph = remat_choose(&f->load, own, all, f->target, f->thrift, &f->banned, &choice);
    if (graph) {
      Load load = load_of(own, graph, &f->scratch);
      if (total_above(&load, f->target) < total_above(&f->load, f->target)) {
        take(f, own, graph, &load);
        return true;
      }
      map_set(&f->banned, choice.value->name, f);
    }
    arena_free(own);
    if (!graph)
      return false;
  }
}

/* The next aim: the peaks first, a part at a time, so that what is done for them also serves what
 * is below; all the way at once where that finds nothing. Where only placing loses too much, lower
 * than the limit. */
static int64_t next_target(const Fitting *f, bool at_once) {
  int64_t most = f->load.most, part = most - most / PART;
  if (most <= f->limit)
    return most - (f->plan - f->limit);
  return at_once || part < f->limit ? f->limit : part;
}

static void fit(Fitting *f) {
  for (bool at_once = false; f->plan > f->limit;) {
    f->target = next_target(f, at_once);
    try_order(f);
    if (f->plan <= f->limit || (f->target > 0 && recompute_one(f)))
      continue;
    if (at_once || f->target <= 0)
      return;
    at_once = true;
    map_init(&f->banned, f->context->arena);
  }
}

/* ---- when it does not fit ---- */

typedef struct Alive {
  int slot;
  int64_t bytes;
  const Value *value; /* NULL: an input, or scratch */
} Alive;

static int larger_first(const void *a, const void *b) {
  const Alive *x = a, *y = b;
  return x->bytes != y->bytes ? (x->bytes < y->bytes ? 1 : -1) : x->slot - y->slot;
}

/* What the slots of the arena hold in step `peak`, largest first. */
static Alive *alive_at(const Load *load, Arena *arena, int peak, int *count) {
  const Holding *kept = &load->memory.kept;
  const Value **holds = ARENA_ARRAY(arena, const Value *, kept->slots.count + 1);
  Alive *alive = ARENA_ARRAY(arena, Alive, kept->slots.count + 1);
  for (int n = 0; n <= peak; n++)
    for (int i = 0; i < load->graph->nodes.at[n]->n_out; i++) {
      const Value *value = &load->graph->nodes.at[n]->out[i];
      Home home = load->memory.home[value->id];
      if (home.kind == HOME_ARENA && value->node->op->cls == OP_REGION)
        holds[home.at] = value;
    }
  *count = 0;
  for (int i = 0; i < kept->slots.count; i++) {
    const MemorySlot *slot = &kept->slots.at[i];
    if (slot->first <= peak && peak <= slot->last)
      alive[(*count)++] = (Alive){i, memory_rounded(slot->bytes, MEMORY_ALIGNMENT), holds[i]};
  }
  qsort(alive, (size_t)*count, sizeof *alive, larger_first);
  return alive;
}

/* The op that computes a result of a region, views apart. */
static const char *op_behind(const Value *value) {
  const Value *inner = value->node->body->outputs.at[value->index].value;
  while (inner->node && inner->node->op->cls == OP_VIEW)
    inner = inner->node->in[0];
  return inner->node ? inner->node->op->name : "input";
}

static void note_alive(Fitting *f, const Alive *alive) {
  const Holding *kept = &f->load.memory.kept;
  const MemoryNote *note = &kept->notes.at[alive->slot];
  const MemorySlot *slot = &kept->slots.at[alive->slot];
  char bytes[32];
  bytes_text((double)alive->bytes, bytes, sizeof bytes);
  const char *what = note->name, *until = "";
  if (alive->value) {
    what = arena_printf(f->context->arena, "result of %s", op_behind(alive->value));
    until = slot->last == MEMORY_FOREVER
                ? arena_printf(f->context->arena, ", from step %d to the end", slot->first)
                : arena_printf(f->context->arena, ", from step %d to %d", slot->first, slot->last);
  }
  diag_note(f->context->diag, note->loc, "%s: %s, %s%s", bytes, type_text(&note->type), what,
            until);
}

static void report(Fitting *f, int64_t budget) {
  Diag *diag = f->context->diag;
  const Load *load = &f->load;
  char needs[32], fixed[32], limit[32];
  int count;
  Alive *alive = alive_at(load, f->context->arena, load->peak, &count);
  bytes_text((double)(load->fixed + f->plan), needs, sizeof needs);
  bytes_text((double)load->fixed, fixed, sizeof fixed);
  bytes_text((double)budget, limit, sizeof limit);
  Loc loc = count ? load->memory.kept.notes.at[alive[0].slot].loc : (Loc){0};
  diag_error(diag, loc,
             "@%s needs %s of memory at least, %s of them for weights and state; the memory budget "
             "is %s. Alive in step %d of %d, where most is:",
             f->context->entry ? f->context->entry : f->graph->name, needs, fixed, limit,
             load->peak, f->graph->nodes.count);
  int64_t rest = 0;
  for (int i = 0; i < count; i++)
    if (i < LISTED)
      note_alive(f, &alive[i]);
    else
      rest += alive[i].bytes;
  bytes_text((double)rest, needs, sizeof needs);
  if (count > LISTED)
    diag_note(diag, (Loc){0}, "and %d more with %s", count - LISTED, needs);
  diag_note(diag, (Loc){0},
            "less is needed with a smaller batch (in training, --accumulate N makes a step of N "
            "batches), smaller volumes or a smaller variant of the model");
}

/* ---- the pass ---- */

static bool all_regions(PassContext *context, const Graph *graph) {
  for (int n = 0; n < graph->nodes.count; n++) {
    const Node *node = graph->nodes.at[n];
    if (node->op->cls != OP_REGION && node->op->cls != OP_VIEW && node->op->cls != OP_FEED)
      return diag_error(context->diag, node->loc,
                        "remat plans the memory of regions: run pass fuse first");
  }
  return true;
}

/* From the graph as it came: first with an eye on costs, then on memory alone. Less than
 * proportional thrift spares the cheap choices that have to be undone for the dear ones later: of
 * the powers 0, 0.3, 0.5, 0.7 and 1 this one computed least again at most budgets. */
static Fitting best_fit(PassContext *context, Graph *graph, int64_t budget) {
  static const double thrifts[] = {0.3, 0};
  Fitting first = {.context = context,
                   .scratch = {.arena = context->arena, .facts = context->facts}};
  Load load = load_of(context->arena, graph, &first.scratch);
  first.limit = budget - load.fixed;
  take(&first, NULL, graph, &load);
  context->unlimited_bytes = load.fixed + load_plan(&first.load, context->arena);
  Fitting best = first;
  for (int i = 0; i < 2 && best.plan > best.limit; i++) {
    Fitting next = first;
    next.thrift = thrifts[i];
    map_init(&next.banned, context->arena);
    fit(&next);
    Fitting *worse = next.plan < best.plan ? &best : &next;
    if (worse->own)
      arena_free(worse->own);
    best = worse == &best ? next : best;
    first.scratch = next.scratch;
  }
  best.plan = load_plan(&best.load, context->arena);
  return best;
}

static Graph *copy_graph(const Graph *graph, Arena *arena) {
  GraphMap map = graph_map_start(graph, arena);
  for (int n = 0; n < graph->nodes.count; n++)
    graph_map_copy(&map, graph->nodes.at[n]);
  return graph_map_finish(&map);
}

Graph *pass_remat(PassContext *context, Graph *graph) {
  int64_t budget = context->options ? context->options->memory_budget : 0;
  context->unlimited_bytes = context->planned_bytes = 0;
  context->over_budget = false;
  if (!budget)
    return graph;
  if (!all_regions(context, graph))
    return NULL;
  Fitting best = best_fit(context, graph, budget);
  context->planned_bytes = best.load.fixed + best.plan;
  context->over_budget = best.plan > best.limit;
  if (context->over_budget)
    report(&best, budget);
  else if (best.own)
    graph = copy_graph(best.graph, context->arena);
  if (best.own)
    arena_free(best.own);
  return context->over_budget ? NULL : graph;
}
