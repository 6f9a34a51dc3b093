/* Terms: anchors side by side in one region, because their results meet.
 *
 * A value that two contractions add up to would otherwise be written once for each of them but the
 * last and read back: three branches of a convolution hand their gradients to one tensor. In one
 * kernel the sums meet in the block's own memory. That pays where the products of one element cost
 * little more than writing and reading it; the price is that the matrices of all terms take turns
 * in the first-level cache.
 *
 * Folds over rows stay out of such a kernel: those of gradients read more tensors of full size, and
 * a core can wait for so many lines only (docs/performance.md).
 *
 * An op that is zero but for the border (OPF_BORDER) joins what it corrects whatever the cost.
 */
#include "passes/graph/fuse.h"

enum {
  MAX_TERMS_MET = 4,
  LONG_SUM = 512, /* products an element: some ten times the work of moving it */
  LINE_SHARE = 8  /* of the second-level cache, for what one term keeps of a line of positions */
};

/* Is one of them nothing but a correction at the border of the other's places? */
static bool corrects_border(const Region *a, const Region *b) {
  const Region *both[] = {a, b};
  int anchors = 0, borders = 0;
  for (int i = 0; i < 2; i++)
    for (int m = 0; m < both[i]->members.count; m++) {
      const Node *node = both[i]->members.at[m];
      borders += node->op->cls == OP_CONTR && (node->op->flags & OPF_BORDER);
      anchors += op_anchors(node);
    }
  return anchors == borders + 1 && borders > 0 && !a->stage && !b->stage;
}

/* A contraction that makes each position once, with a short sum. */
static bool is_short_term(const Node *node) {
  const Type *weights = &node->in[1]->type, *out = &node->out[0].type;
  return node->op->cls == OP_CONTR && !(node->op->flags & OPF_BORDER) &&
         (op_attr_index(node->op, "size") >= 0 || node_keeps_rows(node)) &&
         type_elements(weights) / out->dim[out->rank - 1] <= LONG_SUM;
}

static bool has_short_terms(const Region *region) {
  bool all = !region->stage && !region->sealed && !region->folds_columns && !region->folded_rows;
  for (int m = 0; m < region->members.count; m++)
    all &= !op_anchors(region->members.at[m]) || is_short_term(region->members.at[m]);
  return all;
}

/* A block keeps the results of a line of positions, two vectors of columns wide. */
static bool line_fits(const Facts *facts, const Type *space) {
  if (space->rank < 2)
    return false;
  int64_t width = 2 * facts->vector * (int64_t)dtype_size(DT_f32);
  return space->dim[space->rank - 2] * width * LINE_SHARE <= facts->l2;
}

bool fuse_terms_meet(const Fusion *f, const Region *a, const Region *b) {
  if (corrects_border(a, b))
    return true;
  return f->terms && a->terms + b->terms + 2 <= MAX_TERMS_MET &&
         (int64_t)type_bytes(&a->space) > f->facts->l2 && line_fits(f->facts, &a->space) &&
         has_short_terms(a) && has_short_terms(b);
}
