/* Taps, operand accesses and output tiles shared by contractions and windows. See taps.h. */
#include "passes/lower/taps.h"

Taps taps_of(Frame *frame, const Node *node) {
  int n;
  const int64_t *taps = node_ints(node, "taps", &n);
  Taps result = {.count = n / 3};
  static const char *const names[3] = {"tap0", "tap1", "tap2"};
  for (int axis = 0; axis < 3; axis++) {
    int64_t *values = ARENA_ARRAY(frame->lower->arena, int64_t, n / 3);
    for (int t = 0; t < n / 3; t++)
      values[t] = taps[3 * t + axis];
    result.table[axis] = kernel_table(frame->kernel, names[axis], n / 3, values);
  }
  return result;
}

void taps_lookup(Frame *frame, const Taps *taps, Affine number, Affine offset[3]) {
  for (int axis = 0; axis < 3; axis++) {
    const Table *table = taps->table[axis];
    int64_t low = table->values[0], high = low;
    for (int t = 1; t < table->count; t++) {
      low = table->values[t] < low ? table->values[t] : low;
      high = table->values[t] > high ? table->values[t] : high;
    }
    if (low == high) {
      offset[axis] = affine_constant(low);
      continue;
    }
    Stmt *s = stmt_add(frame->kernel, frame->block, STMT_LOOKUP);
    s->table = table;
    s->at = number;
    s->var = kernel_var(frame->kernel, "o", low, high);
    offset[axis] = affine_var(s->var, 1);
  }
}

Access operand_access(Frame *frame, Value *operand, const Coordinate *coordinates,
                      const Place *out_places, const Place *k_places, const Affine *offset) {
  ViewMap map = frame_resolve(frame, operand);
  CHECK(!map.base->node); /* fusion gives anchors' operands memory */
  Access access = {.rank = map.type.rank,
                   .buffer = frame_buffer(frame, map.base, map.type, false)};
  for (int b = 0; b < map.type.rank; b++) {
    AccessDim *dim = &access.dim[b];
    *dim = (AccessDim){.at = affine_constant(map.offset[b]), .divisor = 1};
    for (int d = 0; d < map.rank; d++) {
      int64_t factor = map.factor[b][d];
      const Coordinate *c = &coordinates[d];
      if (factor == 0)
        continue;
      if (c->out >= 0)
        place_add(dim, &out_places[c->out], factor * c->out_factor);
      if (c->k >= 0)
        place_add(dim, &k_places[c->k], factor);
      if (c->tap >= 0)
        dim->at = affine_add(dim->at, affine_scale(offset[c->tap], factor));
      if (c->divisor > 1) {
        CHECK(factor == 1 && map.offset[b] == 0);
        dim->divisor = c->divisor;
      }
    }
  }
  return access;
}

void choose_box(int rank, const int64_t *extent, unsigned allowed, int limit, int *box) {
  for (int d = 0; d < rank; d++)
    box[d] = 1;
  for (int d = rank - 1, axes = 0; d >= 0 && limit > 1 && axes < MAX_ROW_AXES; d--) {
    if (!(allowed >> d & 1) || extent[d] == 1)
      continue;
    int best = 1;
    double best_cost = 1e30;
    for (int e = limit; e >= 1; e--) {
      /* padded positions for one, small boxes lose reuse: cost per useful position */
      double padded = (double)(ceil_div(extent[d], e) * e) / (double)extent[d];
      double cost = padded * (1.0 + 1.0 / e);
      if (e <= extent[d] && cost < best_cost - 1e-9)
        best = e, best_cost = cost;
    }
    box[d] = best;
    limit /= best;
    axes++;
    if (best < extent[d])
      break; /* a box that does not span this axis gains nothing further out */
  }
}

void place_output(Frame *frame, const int *box, int cols, bool columns_outermost) {
  int last = frame->rank - 1;
  frame->cols = cols;
  frame->n_axes = 0;
  for (int pass = 0; pass < 2; pass++) { /* columns before or after the rows in the grid */
    if (pass == (columns_outermost ? 0 : 1)) {
      Place *place = &frame->place[last];
      *place = (Place){.at = affine_constant(0), .col = 1};
      if (frame->extent[last] > cols)
        place->at = affine_var(kernel_grid(frame->kernel, "c", ceil_div(frame->extent[last], cols)),
                               cols);
      continue;
    }
    for (int d = 0; d < last; d++) {
      Place *place = &frame->place[d];
      *place = (Place){.at = affine_constant(0)};
      if (frame->extent[d] > box[d])
        place->at = affine_var(kernel_grid(frame->kernel, "r", ceil_div(frame->extent[d], box[d])),
                               box[d]);
      if (box[d] > 1) {
        place->row[frame->n_axes] = 1;
        frame->axis[frame->n_axes++] = box[d];
      }
    }
  }
}
