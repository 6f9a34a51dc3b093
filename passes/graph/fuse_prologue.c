/* Prologues: a gradient of weights joins the elementwise region that computes what it sums.
 *
 * The gradient of a norm is elementwise in tensors of full size, and memory bounds it; the weight
 * gradient that reads its result is bound by multiply-adds. In one kernel the one hides behind the
 * other, and where nobody else reads the result it is never stored. The region has two spaces: that
 * of the rows, in which they are made and stored, then that of the weights.
 */
#include "passes/graph/fuse.h"
#include "passes/lower/lower.h"

static bool is_elementwise(const Region *region) {
  for (int m = 0; m < region->members.count; m++)
    if (region->members.at[m]->op->cls != OP_EW)
      return false;
  return !region->sealed;
}

bool fuse_prologue(Fusion *f, Node *node) {
  if (node->op->cls != OP_CONTR || !weight_gradient_makes_rows(f->facts, node) ||
      (int64_t)type_bytes(&node->in[1]->type) <= f->facts->l2)
    return false;
  ViewMap map = fuse_resolve(f, node->in[1]);
  Node *maker = map.base->node, *other = fuse_resolve(f, node->in[0]).base->node;
  if (!maker || map.base != node->in[1] || !fuse_is_compute(f, maker))
    return false;
  Region *region = f->region[maker->id], *own = f->region[node->id];
  if (!is_elementwise(region) || !fuse_same_shape(&region->space, &node->in[1]->type) ||
      (other && fuse_is_compute(f, other) && f->region[other->id] == region) ||
      fuse_path_outside(f, region, own))
    return false;
  region->has_anchor = region->sealed = true;
  region->space = node->out[0].type;
  f->region[node->id] = region;
  vec_push(f->arena, &region->members, node);
  return true;
}
