/* Chains: contractions that work on rows just computed, in the kernel that computes them.
 *
 * A region may hold several anchors that keep the rows of one space (a depthwise convolution, then
 * a product with one matrix, then another). Its kernel computes whole rows of one stage after the
 * other for a few positions, keeps them in the block's own memory, and goes on; the tensors in
 * between, often several times wider than what goes in and out, are not written, or written once
 * and not read again where somebody else needs them. The price is that every block reads all the
 * matrices, so they must be small enough to stay in cache.
 *
 * Products side by side that an elementwise op brings together are one stage. Sums over all rows of
 * what a chain computes join it too: folds, and products of two of its rows' values (gradients of
 * matrices), which a block adds up in its own memory.
 */
#include "passes/graph/fuse.h"
#include <string.h>

enum {
  ROWS = 16,       /* of a block */
  MATRIX_SHARE = 2 /* of the second-level cache, for matrices and sums */
};

/* Bytes of the matrix that a contraction multiplies with, or sums up. */
static int64_t bytes_of_matrix(const Node *node) {
  return (int64_t)type_bytes(node_sums_rows(node) ? &node->out[0].type : &node->in[1]->type);
}

static int64_t matrix_bytes(const Region *region) {
  int64_t sum = 0;
  for (int m = 0; m < region->members.count; m++)
    if (region->members.at[m]->op->cls == OP_CONTR)
      sum += bytes_of_matrix(region->members.at[m]);
  return sum;
}

bool fuse_matrices_fit(const Facts *facts, int64_t bytes) {
  return bytes * MATRIX_SHARE <= facts->l2;
}

/* Rows of this tensor are worth keeping instead of reading them again, and a block can. */
static bool rows_fit(const Facts *facts, const Type *type) {
  int64_t row = type->dim[type->rank - 1] * (int64_t)dtype_size(DT_f32);
  int64_t block = facts->threads > 1 ? facts->shared / 4 : facts->l1 / 2;
  return (int64_t)type_bytes(type) >= facts->l2 && row * ROWS <= block;
}

static bool pays(const Fusion *f, const Region *region, const Node *node) {
  return rows_fit(f->facts, &node->in[0]->type) &&
         fuse_matrices_fit(f->facts, matrix_bytes(region) + bytes_of_matrix(node));
}

bool fuse_has_variance(const Region *region) {
  for (int m = 0; m < region->members.count; m++)
    if (strcmp(region->members.at[m]->op->name, "variance") == 0)
      return true;
  return false;
}

int fuse_anchors(const Region *region) {
  int count = 0;
  for (int m = 0; m < region->members.count; m++)
    count += op_anchors(region->members.at[m]);
  return count;
}

bool fuse_keeps_rows(const Region *region) {
  for (int m = 0; m < region->members.count; m++) {
    const Node *node = region->members.at[m];
    if (op_anchors(node) && !node_keeps_rows(node) && !node_sums_rows(node))
      return false;
  }
  return region->has_anchor && !region->terms && !region->sealed && !region->folds_columns &&
         !fuse_has_variance(region);
}

/* Is the value the same for all rows of the region, or are its rows known before all are summed? */
static bool known_by_rows(const Fusion *f, const Value *base) {
  const Node *maker = base->node;
  return maker->op->cls != OP_REDUCE && !f->post[maker->id] && !node_sums_rows(maker);
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
      (region->folded_rows && !fuse_keeps_rows(region)) ||
      region->members.at[0]->op->cls == OP_INDEX || region->members.at[0]->op->cls == OP_MOVE ||
      f->stage[maker->id] != region->stage || !known_by_rows(f, map.base) ||
      !pays(f, region, node) || fuse_path_outside(f, region, own))
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

bool fuse_side_by_side(const Fusion *f, const Region *a, const Region *b) {
  return f->chains && a->stage == b->stage && fuse_keeps_rows(a) && fuse_keeps_rows(b) &&
         rows_fit(f->facts, &a->space) &&
         fuse_matrices_fit(f->facts, matrix_bytes(a) + matrix_bytes(b));
}

/* The tensor whose rows, those of the region's space, an operand [P,K] lists; NULL: none. */
static Value *rows_of_operand(Fusion *f, const Region *region, Value *operand) {
  ViewMap map = fuse_resolve(f, operand);
  const Type *type = &map.base->type, *space = &region->space;
  if (type->rank != space->rank || type->rank < 2 || !view_map_is_dense(&map, &operand->type) ||
      type->dim[type->rank - 1] != operand->type.dim[1])
    return NULL;
  for (int d = 0; d + 1 < type->rank; d++)
    if (type->dim[d] != space->dim[d])
      return NULL;
  return map.base;
}

static bool sum_joins(Fusion *f, Region *region, Node *node) {
  const Value *computed = NULL;
  for (int i = 0; i < 2; i++) {
    const Value *rows = rows_of_operand(f, region, node->in[i]);
    if (!rows)
      return false;
    bool inside =
        rows->node && fuse_is_compute(f, rows->node) && f->region[rows->node->id] == region;
    if (inside && !known_by_rows(f, rows))
      return false;
    if (inside && rows_fit(f->facts, &rows->type))
      computed = rows;
  }
  return computed && !fuse_path_outside(f, region, f->region[node->id]);
}

bool fuse_row_sum(Fusion *f, Node *node) {
  if (!node_sums_rows(node) || f->facts->threads > 1)
    return false;
  for (int i = 0; i < 2; i++) {
    const Node *maker = fuse_resolve(f, node->in[i]).base->node;
    Region *region = maker && fuse_is_compute(f, maker) ? f->region[maker->id] : NULL;
    if (!region || !fuse_keeps_rows(region) ||
        !fuse_matrices_fit(f->facts, matrix_bytes(region) + bytes_of_matrix(node)) ||
        !sum_joins(f, region, node))
      continue;
    f->region[node->id] = region;
    f->stage[node->id] = region->stage;
    vec_push(f->arena, &region->members, node);
    return true;
  }
  return false;
}
