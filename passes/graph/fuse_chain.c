/* Chains: contractions that work on rows just computed, in the kernel that computes them.
 *
 * A region may hold several anchors, each of which keeps the rows of the one before (a depthwise
 * convolution, then a product with one matrix, then another). Its kernel computes whole rows of one
 * anchor for a few positions, keeps them in the block's own memory, and goes on; the tensors in
 * between, often several times wider than what goes in and out, are never written. The price is
 * that every block reads all the matrices, so they must be small enough to stay in cache.
 */
#include "passes/graph/fuse.h"

enum {
  ROWS = 16,       /* of a block */
  MATRIX_SHARE = 2 /* of the second-level cache, for the matrices */
};

static bool only_reader(const Fusion *f, const Value *value, const Node *reader) {
  return f->reader[value->id] == reader && !f->many[value->id];
}

/* Bytes of the matrices that the region's contractions multiply with. */
static int64_t matrix_bytes(const Region *region) {
  int64_t sum = 0;
  for (int m = 0; m < region->members.count; m++)
    if (region->members.at[m]->op->cls == OP_CONTR)
      sum += (int64_t)type_bytes(&region->members.at[m]->in[1]->type);
  return sum;
}

static bool pays(const Fusion *f, const Region *region, const Node *node) {
  const Type *between = &node->in[0]->type;
  int64_t width = between->dim[between->rank - 1], row = width * (int64_t)dtype_size(DT_f32);
  int64_t block = f->facts->threads > 1 ? f->facts->shared / 4 : f->facts->l1 / 2;
  int64_t matrices = matrix_bytes(region) + (int64_t)type_bytes(&node->in[1]->type);
  return (int64_t)type_bytes(between) >= f->facts->l2 && row * ROWS <= block &&
         matrices * MATRIX_SHARE <= f->facts->l2;
}

bool fuse_chain(Fusion *f, Node *node) {
  if (!node_keeps_rows(node))
    return false;
  ViewMap map = fuse_resolve(f, node->in[0]);
  Node *maker = map.base->node;
  if (!maker || map.base != node->in[0] || !fuse_is_compute(f, maker))
    return false;
  Region *region = f->region[maker->id], *own = f->region[node->id];
  if (!region->has_anchor || region->terms || region->sealed || region->folds_columns ||
      region->folded_rows || region->members.at[0]->op->cls == OP_INDEX ||
      region->members.at[0]->op->cls == OP_MOVE || f->stage[maker->id] != region->stage ||
      !pays(f, region, node) || !only_reader(f, map.base, node) ||
      fuse_path_outside(f, region, own))
    return false;
  Node *matrix = fuse_resolve(f, node->in[1]).base->node;
  if (matrix && fuse_is_compute(f, matrix) && f->region[matrix->id] == region)
    return false;
  region->stage++;
  region->space = node->out[0].type;
  f->region[node->id] = region;
  f->stage[node->id] = region->stage;
  vec_push(f->arena, &region->members, node);
  return true;
}
