/* Fusion: partitions a graph of primitive ops into regions, one kernel (or a fold's two) each.
 *
 * In: primitive ops only (no composites). Out: every node is a region, a reshape that renames the
 * memory of a graph output, or a feed with the views of its input. Region bodies contain the ops of
 * the group together with the views through which they read their inputs; body inputs are tensors
 * with memory of their own.
 *
 * A region has one iteration space (a shape) and at most one anchor (contraction, window, index or
 * movement op); elementwise ops of that space join it. Folds over the columns (the last axis) may
 * join anchor-free regions, and their row-wise results be used again within; folds over rows end a
 * region: their results may only feed elementwise ops of the reduced shape ("post" ops), which run
 * when the fold is complete. Legality knows op classes, spaces and view maps, never op names.
 *
 * Merging is greedy in topological order: each elementwise op joins the regions of its operands
 * when spaces agree and no path leaves the union and returns to it.
 *
 * Anchors over one space whose results meet may share a region (fuse_terms.c), and one anchor may
 * work on the rows of another (fuse_chain.c).
 *
 * Cheap results are repeated beside their readers first (fuse_repeat.c). Last, regions over one
 * space that read the same large tensor become one, which reads it once.
 */
#include "passes/graph/fuse.h"
#include <string.h>

bool fuse_is_base(void *context, const Value *value) {
  const Fusion *f = context;
  return !value->node || value->node->op->cls != OP_VIEW || f->has_memory[value->id];
}

ViewMap fuse_resolve(Fusion *f, Value *value) {
  ViewMap map;
  Value *stuck;
  CHECK(view_map_resolve(value, fuse_is_base, f, &map, &stuck));
  return map;
}

bool fuse_is_compute(const Fusion *f, const Node *node) {
  OpClass c = node->op->cls;
  return (c != OP_SOURCE && c != OP_VIEW && c != OP_FEED) || f->has_memory[node->out[0].id];
}

bool op_anchors(const Node *node) {
  OpClass c = node->op->cls;
  return c == OP_CONTR || c == OP_WINDOW || c == OP_INDEX || c == OP_MOVE || c == OP_ATTENTION;
}

static unsigned axes_mask(const Node *reduce) {
  int n;
  const int64_t *axes = node_ints(reduce, "axes", &n);
  unsigned mask = 0;
  for (int i = 0; i < n; i++)
    mask |= 1u << axes[i];
  return mask;
}

static bool is_row_fold(const Node *node) {
  return node->op->cls == OP_REDUCE && !node_folds_columns(node);
}

/* ---- which views need memory ---- */

static void give_memory(Fusion *f, Value *value) {
  if (value->node && (value->node->op->cls == OP_VIEW || value->node->op->cls == OP_SOURCE))
    f->has_memory[value->id] = true;
}

/* An operand whose columns are loaded as vectors must have them side by side in memory; one read
 * through taps must see its own bounds as its memory's. */
static void settle_operand(Fusion *f, const Node *node, int i) {
  Value *value = node->in[i];
  const Type *type = &value->type;
  OpClass cls = node->op->cls;
  if (cls == OP_MOVE || cls == OP_INDEX)
    give_memory(f, value);
  ViewMap map = fuse_resolve(f, value);
  if (map.base->node && map.base->node->op->cls == OP_SOURCE)
    give_memory(f, map.base); /* anchors read memory, also of a constant */
  if (cls == OP_MOVE || cls == OP_INDEX)
    return;
  bool windowed = op_attr_index(node->op, "taps") >= 0 && type->rank == 5;
  int last = type->rank - 1;
  bool vector = cls == OP_WINDOW || (cls == OP_CONTR && i >= 1);
  bool apart = vector && type->dim[last] > 1 && view_map_stride(&map, last) != 1;
  if ((windowed && !view_map_keeps_bounds(&map, type)) ||
      (apart && !(f->orders && fuse_gathers(f, node, i, &map))))
    give_memory(f, value);
}

static void settle_output(Fusion *f, Value *value) {
  ViewMap map = fuse_resolve(f, value);
  bool source = map.base->node && map.base->node->op->cls == OP_SOURCE;
  if (source || !view_map_is_dense(&map, &value->type))
    give_memory(f, value);
}

static void settle_views(Fusion *f) {
  const Graph *g = f->graph;
  for (int n = 0; n < g->nodes.count; n++) {
    Node *node = g->nodes.at[n];
    ViewMap map;
    Value *stuck;
    if (node->op->cls == OP_VIEW) {
      if (!view_map_resolve(&node->out[0], fuse_is_base, f, &map, &stuck))
        give_memory(f, stuck);
      continue;
    }
    if (op_anchors(node))
      for (int i = 0; i < node->n_in; i++)
        settle_operand(f, node, i);
  }
  for (int i = 0; i < g->outputs.count; i++) {
    settle_output(f, g->outputs.at[i].value);
    if (g->outputs.at[i].renews)
      settle_output(f, g->outputs.at[i].renews);
  }
  /* giving memory to a view further up may have changed what lies below it: settle what got stuck
   */
  for (int n = 0; n < g->nodes.count; n++) {
    Node *node = g->nodes.at[n];
    ViewMap map;
    Value *stuck;
    while (node->op->cls == OP_VIEW &&
           !view_map_resolve(&node->out[0], fuse_is_base, f, &map, &stuck))
      give_memory(f, stuck);
  }
}

/* ---- merging ---- */

/* The value is computed at the same coordinates by its base: identity, or stretched unit axes. */
static bool same_place(const ViewMap *map, const Type *type) {
  if (!type_equal(&map->type, &map->base->type) || map->type.rank != type->rank)
    return false;
  for (int b = 0; b < type->rank; b++) {
    if (map->offset[b] != 0)
      return false;
    for (int d = 0; d < type->rank && map->type.dim[b] != 1; d++)
      if (map->factor[b][d] != (b == d))
        return false;
    if (map->type.dim[b] != 1 && map->type.dim[b] != type->dim[b])
      return false;
  }
  return true;
}

static Type reduced(const Type *space, unsigned mask) {
  Type type = *space;
  for (int i = 0; i < type.rank; i++)
    if (mask >> i & 1)
      type.dim[i] = 1;
  return type;
}

bool fuse_same_shape(const Type *a, const Type *b) {
  Type c = *b;
  c.dtype = a->dtype;
  return type_equal(a, &c);
}

/* May members of `reader` use values computed in `writer` in the same kernel? */
static bool crossing_allowed(Fusion *f, const Region *reader, const Region *writer) {
  for (int m = 0; m < reader->members.count; m++) {
    Node *node = reader->members.at[m];
    for (int i = 0; i < node->n_in; i++) {
      Node *maker = fuse_maker(f, node, i);
      if (!maker || f->region[maker->id] != writer)
        continue;
      ViewMap map = fuse_resolve(f, node->in[i]);
      if (op_anchors(node) || node->op->cls == OP_VIEW || f->stored[maker->id] ||
          !same_place(&map, &node->in[i]->type))
        return false;
      if (f->stage[maker->id] != writer->stage)
        return false; /* gone when the chain's last product is there */
      bool late = is_row_fold(maker) || f->post[maker->id];
      if (late != f->post[node->id])
        return false;
    }
  }
  return true;
}

/* Does some path lead from `start` to `goal` through another region? */
static bool leads(Fusion *f, const Region *at, const Region *start, const Region *goal,
                  bool direct) {
  for (int m = 0; m < at->members.count; m++) {
    Node *node = at->members.at[m];
    if (at != goal && f->mark[node->id] == f->marks)
      continue;
    f->mark[node->id] = f->marks;
    for (int i = 0; i < node->n_in; i++) {
      const Node *maker = fuse_maker(f, node, i);
      if (!maker || !f->region[maker->id])
        continue;
      const Region *region = f->region[maker->id];
      if (region == goal || (direct && region == start))
        continue;
      if (region == start || leads(f, region, start, goal, false))
        return true;
    }
  }
  return false;
}

bool fuse_path_outside(Fusion *f, const Region *start, const Region *goal) {
  f->marks++;
  return leads(f, goal, start, goal, true);
}

/* Can the kernel of an anchor fold its rows as it makes them? Where they are positions, all of them
 * are folded, and each is made once. */
static bool folds_positions(const Fusion *f, const Region *a, const Region *b, unsigned rows) {
  const Region *anchored = a->has_anchor ? a : b;
  const Node *anchor = anchored->members.at[0];
  for (int m = 0; m < anchored->members.count; m++)
    if (op_anchors(anchored->members.at[m]))
      anchor = anchored->members.at[m];
  int rank = anchored->space.rank;
  return f->statistics && !anchored->stage && !anchored->terms &&
         (op_attr_index(anchor->op, "size") >= 0 || node_keeps_rows(anchor)) &&
         rows == (1u << (rank - 1)) - 1;
}

bool fuse_merge(Fusion *f, Region *into, Region *from) {
  if (into == from)
    return true;
  bool anchors = into->has_anchor || from->has_anchor;
  bool columns = into->folds_columns || from->folds_columns;
  unsigned rows = into->folded_rows | from->folded_rows;
  if (from->stage) /* chains only take in */
    return false;
  if (into->sealed || from->sealed ||
      (into->has_anchor && from->has_anchor && !fuse_terms_meet(f, into, from)) ||
      (anchors && (columns || (rows && !folds_positions(f, into, from, rows)))) ||
      (columns && rows) ||
      (into->folded_rows && from->folded_rows && into->folded_rows != from->folded_rows))
    return false;
  if (!fuse_same_shape(&into->space, &from->space))
    return false;
  if (!crossing_allowed(f, into, from) || !crossing_allowed(f, from, into) ||
      fuse_path_outside(f, into, from) || fuse_path_outside(f, from, into))
    return false;
  for (int m = 0; m < from->members.count; m++) {
    f->region[from->members.at[m]->id] = into;
    f->stage[from->members.at[m]->id] += into->stage;
    vec_push(f->arena, &into->members, from->members.at[m]);
  }
  into->terms += from->terms + (into->has_anchor && from->has_anchor);
  into->has_anchor = anchors;
  into->folds_columns = columns;
  into->folded_rows = rows;
  return true;
}

/* Joins a fresh node to a region whose space is not the node's own shape: row-wise results of
 * column folds ([…,1] beside […,C]) and post ops of row folds. */
static bool try_join_reduced(Fusion *f, Node *node, Region *own, Region *region) {
  if (node->op->cls != OP_EW || region->space.rank == 0)
    return false;
  Type shape = own->space;
  Type rows = reduced(&region->space, 1u << (region->space.rank - 1));
  Type folded = reduced(&region->space, region->folded_rows);
  if (region->folds_columns && fuse_same_shape(&shape, &rows)) {
    own->space = region->space;
  } else if (region->folded_rows && fuse_same_shape(&shape, &folded)) {
    own->space = region->space;
    f->post[node->id] = true;
  } else {
    return false;
  }
  if (fuse_merge(f, region, own))
    return true;
  own->space = shape;
  f->post[node->id] = false;
  return false;
}

static Region *new_region(Fusion *f, Node *node) {
  Region *region = ARENA_NEW(f->arena, Region);
  bool reduce = node->op->cls == OP_REDUCE;
  region->space = reduce ? node->in[0]->type : node->out[0].type;
  region->has_anchor = op_anchors(node);
  region->sealed =
      node->op->cls == OP_ATTENTION || (node->op->flags & OPF_SCATTERS) || fuse_keeps(f, node);
  region->folds_columns = node_folds_columns(node);
  region->folded_rows = is_row_fold(node) ? axes_mask(node) : 0;
  vec_push(f->arena, &region->members, node);
  f->region[node->id] = region;
  return region;
}

/* Joins the node's region to those of `reader`'s operands, and through lazy operands to theirs. */
static void join_operands(Fusion *f, Node *node, const Node *reader) {
  for (int i = 0; i < reader->n_in; i++) {
    Node *maker = fuse_maker(f, reader, i);
    if (!maker)
      continue;
    Region *region = f->region[maker->id], *mine = f->region[node->id];
    if (reader == node && mine->members.count == 1 && try_join_reduced(f, node, mine, region))
      continue;
    if (fuse_merge(f, region, mine) && f->lazy[maker->id])
      join_operands(f, node, maker);
  }
}

static void place(Fusion *f, Node *node) {
  if (f->orders && fuse_store(f, node))
    return;
  new_region(f, node);
  if ((f->chains && fuse_chain(f, node)) || (f->prologues && fuse_prologue(f, node)))
    return;
  if ((node->op->cls == OP_EW || node->op->cls == OP_REDUCE) && !f->lazy[node->id])
    join_operands(f, node, node);
}

/* ---- building the regions ---- */

typedef struct Body {
  Fusion *f;
  const Region *region;
  Graph *graph;
  Builder builder;
  Value **value;       /* outer value id -> body value */
  VEC(Value *) inputs; /* outer values feeding the body */
} Body;

static Value *body_value(Body *body, Value *outer) {
  Fusion *f = body->f;
  if (body->value[outer->id])
    return body->value[outer->id];
  Node *node = outer->node;
  bool inside = node && node->op->cls != OP_FEED &&
                (!fuse_is_compute(f, node) || f->region[node->id] == body->region);
  if (!inside) {
    Value *input = graph_add_input(body->graph, outer->name, ROLE_INPUT, outer->type,
                                   node ? node->loc : (Loc){0});
    vec_push(f->arena, &body->inputs, outer);
    return body->value[outer->id] = input;
  }
  Value **in = ARENA_ARRAY(f->arena, Value *, node->n_in);
  for (int i = 0; i < node->n_in; i++)
    in[i] = body_value(body, node->in[i]);
  body->builder.loc = node->loc;
  body->builder.stage = node->stage;
  Node *copy = build_node_attrs(&body->builder, node->op, node->n_in, in, node->attrs);
  for (int i = 0; i < node->n_out; i++)
    body->value[node->out[i].id] = &copy->out[i];
  return body->value[outer->id];
}

/* Is the value read outside its region? */
static bool *values_read_outside(Fusion *f) {
  const Graph *g = f->graph;
  bool *outside = ARENA_ARRAY(f->arena, bool, g->n_values);
  for (int n = 0; n < g->nodes.count; n++) {
    Node *node = g->nodes.at[n];
    if (!fuse_is_compute(f, node))
      continue;
    for (int i = 0; i < node->n_in; i++) {
      Value *base = fuse_resolve(f, node->in[i]).base;
      if (base->node && fuse_is_compute(f, base->node) &&
          f->region[base->node->id] != f->region[node->id])
        outside[base->id] = true;
    }
  }
  for (int i = 0; i < g->outputs.count; i++) {
    outside[fuse_resolve(f, g->outputs.at[i].value).base->id] = true;
    if (g->outputs.at[i].renews)
      outside[g->outputs.at[i].renews->id] = true;
  }
  return outside;
}

/* The op that names the region's place for people: the anchor, a fold, or the last member. */
static Node *main_member(const Region *region) {
  Node *best = region->members.at[0];
  for (int m = 1; m < region->members.count; m++)
    if (region->members.at[m]->op->cls != OP_VIEW)
      best = region->members.at[m];
  for (int m = 0; m < region->members.count; m++)
    if ((op_anchors(region->members.at[m]) || region->members.at[m]->op->cls == OP_REDUCE) &&
        !(region->members.at[m]->op->flags & OPF_BORDER))
      return region->members.at[m];
  return best;
}

static void build(Fusion *f, Region *region, const bool *outside) {
  if (f->orders && fuse_rename(f, region))
    return;
  Body body = {.f = f, .region = region};
  body.graph = graph_new(f->arena, "body");
  body.builder = (Builder){.graph = body.graph};
  body.value = ARENA_ARRAY(f->arena, Value *, f->graph->n_values);
  VEC(Value *) results = {0};
  for (int m = 0; m < region->members.count; m++) {
    Node *node = region->members.at[m];
    for (int i = 0; i < node->n_out; i++) {
      Value *value = body_value(&body, &node->out[i]);
      if (outside[node->out[i].id]) {
        graph_add_output(body.graph, node->out[i].name, value, NULL, node->loc);
        vec_push(f->arena, &results, &node->out[i]);
      }
    }
  }
  if (!results.count)
    return; /* nothing of it is used */
  Value **in = ARENA_ARRAY(f->arena, Value *, body.inputs.count);
  for (int i = 0; i < body.inputs.count; i++)
    in[i] = f->map.value[body.inputs.at[i]->id];
  Node *main = main_member(region);
  Builder b = {.graph = f->map.to, .loc = main->loc, .stage = main->stage};
  Node *node = build_region(&b, body.inputs.count, in, body.graph);
  for (int i = 0; i < results.count; i++)
    f->map.value[results.at[i]->id] = &node->out[i];
}

static void sort_members(Region *region) {
  for (int i = 1; i < region->members.count; i++)
    for (int j = i; j > 0 && region->members.at[j - 1]->id > region->members.at[j]->id; j--) {
      Node *swap = region->members.at[j];
      region->members.at[j] = region->members.at[j - 1];
      region->members.at[j - 1] = swap;
    }
}

/* Depth first: what a region reads is built before it. */
static void build_after_operands(Fusion *f, Region *region, const bool *outside) {
  if (region->state == 2)
    return;
  CHECK(region->state == 0); /* a cycle between regions */
  region->state = 1;
  sort_members(region);
  for (int m = 0; m < region->members.count; m++) {
    Node *node = region->members.at[m];
    for (int i = 0; i < node->n_in; i++) {
      Node *maker = fuse_maker(f, node, i);
      if (maker && f->region[maker->id] != region)
        build_after_operands(f, f->region[maker->id], outside);
    }
  }
  build(f, region, outside);
  region->state = 2;
}

/* Regions of an earlier fusion are taken apart, so that fusing again starts from single ops. */
static bool take_apart(void *context, Builder *b, const Node *old, Value *const *in, Value **out) {
  PassContext *c = context;
  if (old->op->cls != OP_REGION)
    return false;
  const Graph *body = old->body;
  Value **value = ARENA_ARRAY(c->arena, Value *, body->n_values);
  for (int i = 0; i < body->inputs.count; i++)
    value[body->inputs.at[i].value->id] = in[i];
  for (int n = 0; n < body->nodes.count; n++) {
    const Node *node = body->nodes.at[n];
    Value **operands = ARENA_ARRAY(c->arena, Value *, node->n_in);
    for (int i = 0; i < node->n_in; i++)
      operands[i] = value[node->in[i]->id];
    b->loc = node->loc;
    Node *copy = build_node_attrs(b, node->op, node->n_in, operands, node->attrs);
    for (int i = 0; i < node->n_out; i++)
      value[node->out[i].id] = &copy->out[i];
  }
  for (int i = 0; i < body->outputs.count; i++)
    out[i] = value[body->outputs.at[i].value->id];
  return true;
}

/* matmul's second operand is loaded along its columns: a transposed one is permuted first, which
 * settle_views turns into a copy (prepared once where it depends on parameters alone). */
static bool untranspose(void *context, Builder *b, const Node *old, Value *const *in, Value **out) {
  int tb = old->op->cls == OP_CONTR ? op_attr_index(old->op, "tb") : -1;
  if (tb < 0 || !old->attrs[tb].i)
    return false;
  int rank = in[1]->type.rank;
  int64_t perm[MAX_RANK];
  for (int i = 0; i < rank; i++)
    perm[i] = i;
  perm[rank - 1] = rank - 2;
  perm[rank - 2] = rank - 1;
  Attr attrs[MAX_ATTRS];
  memcpy(attrs, old->attrs, sizeof attrs);
  attrs[tb].i = 0;
  Value **turned = (Value **)context + old->in[1]->id; /* by value id: one for all readers */
  if (!*turned)
    *turned = build_permute(b, in[1], perm);
  Value *operands[2] = {in[0], *turned};
  out[0] = &build_node_attrs(b, old->op, 2, operands, attrs)->out[0];
  return true;
}

static Fusion start(PassContext *context, const Graph *graph) {
  Fusion f = {.arena = context->arena, .graph = graph, .facts = context->facts};
  f.chains = fusing_wanted(context, "chain");
  f.statistics = fusing_wanted(context, "statistics");
  f.terms = fusing_wanted(context, "terms");
  f.prologues = fusing_wanted(context, "prologue");
  f.orders = fusing_wanted(context, "orders");
  f.renew = fusing_wanted(context, "renew") && fuse_updates(graph);
  f.has_memory = ARENA_ARRAY(f.arena, bool, graph->n_values);
  f.region = ARENA_ARRAY(f.arena, Region *, graph->nodes.count);
  f.post = ARENA_ARRAY(f.arena, bool, graph->nodes.count);
  f.stored = ARENA_ARRAY(f.arena, bool, graph->nodes.count);
  f.stage = ARENA_ARRAY(f.arena, int, graph->nodes.count);
  f.mark = ARENA_ARRAY(f.arena, int, graph->nodes.count);
  settle_views(&f);
  return f;
}

Graph *pass_fuse(PassContext *context, Graph *graph) {
  graph = graph_rewrite(graph, context->arena, take_apart, context);
  Value **turned = ARENA_ARRAY(context->arena, Value *, graph->n_values + 1);
  graph = graph_rewrite(graph, context->arena, untranspose, turned);
  if (fusing_wanted(context, "repeat"))
    graph = fuse_repeat_cheap(context, graph);
  Fusion f = start(context, graph);
  if (f.renew) {
    graph = fuse_add_renewals(context, &f);
    f = start(context, graph);
  }
  f.lazy = fuse_find_lazy(graph, f.arena);
  fuse_find_makers(&f);
  for (int n = 0; n < graph->nodes.count; n++)
    if (fuse_is_compute(&f, graph->nodes.at[n]))
      place(&f, graph->nodes.at[n]);

  if (fusing_wanted(context, "siblings"))
    fuse_siblings(&f);
  if (fusing_wanted(context, "small"))
    fuse_small(&f);
  bool *outside = values_read_outside(&f);
  f.map = graph_map_start(graph, context->arena);
  graph_copy_feeds(&f.map);
  for (int n = 0; n < graph->nodes.count; n++)
    if (fuse_is_compute(&f, graph->nodes.at[n]) && n >= f.region[n]->not_before)
      build_after_operands(&f, f.region[n], outside);
  Builder b = {.graph = f.map.to};
  for (int i = 0; i < graph->outputs.count; i++) {
    Value *value = graph->outputs.at[i].value;
    if (!f.map.value[value->id]) {
      Value *base = f.map.value[fuse_resolve(&f, value).base->id];
      b.loc = value->node->loc;
      f.map.value[value->id] = build_reshape(&b, base, value->type.rank, value->type.dim);
    }
  }
  return graph_map_finish(&f.map);
}
