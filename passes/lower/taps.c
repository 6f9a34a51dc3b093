/* Taps, operand accesses and output tiles shared by contractions and windows. See taps.h. */
#include "passes/lower/taps.h"
#include <string.h>

enum { LINE = 64 }; /* bytes of a cache line */

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
  Access access = {.rank = map.type.rank, .buffer = frame_buffer(frame, map.base, map.type, false)};
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

void choose_box(int rank, const int64_t *extent, unsigned allowed, int limit, double overhead,
                int *box) {
  for (int d = 0; d < rank; d++)
    box[d] = 1;
  for (int d = rank - 1, axes = 0; d >= 0 && limit > 1 && axes < MAX_ROW_AXES; d--) {
    if (!(allowed >> d & 1) || extent[d] == 1)
      continue;
    int best = 1;
    double best_cost = 1e30;
    for (int e = limit; e >= 1; e--) {
      /* padded positions and tiles for one useful position */
      double padded = (double)(ceil_div(extent[d], e) * e) / (double)extent[d];
      double cost = padded * (1.0 + overhead / e);
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

static void place_rows(Frame *frame, int d, const Tiling *tiling, const Affine *band) {
  Place *place = &frame->place[d];
  bool last = d == frame->rank - 2, inside = tiling->inner_loop && last;
  int box = tiling->box[d];
  int64_t apart = last && tiling->apart > 1 ? tiling->apart : 1;
  int64_t tiles = ceil_div(frame->extent[d], box * apart);
  *place = (Place){.at = affine_constant(0)};
  if (band && d == 2)
    place->at = *band;
  if (tiles > 1 && !inside) {
    int64_t here = band && d == 2 ? tiling->band : tiles;
    IndexVar *tile = here > 1 ? kernel_grid(frame->kernel, "r", here) : NULL;
    if (tile)
      place->at = affine_add(place->at, affine_var(tile, box * apart));
    if (tile && band && d == 2) {
      frame->band_row = tile;
      frame->band_tiles = here;
      frame->band_start = *band;
    }
  }
  if (apart > 1 && !inside)
    place->at = affine_add(place->at, affine_var(kernel_grid(frame->kernel, "a", apart), 1));
  if (box > 1) {
    place->row[frame->n_axes] = apart;
    frame->axis[frame->n_axes++] = box;
  }
}

static void place_columns(Frame *frame, const Tiling *tiling) {
  int last = frame->rank - 1;
  int64_t blocks = ceil_div(frame->extent[last], tiling->cols);
  frame->place[last] = (Place){.at = affine_constant(0), .col = 1};
  if (blocks > 1)
    frame->place[last].at = affine_var(kernel_grid(frame->kernel, "c", blocks), tiling->cols);
}

/* Groups of tiles, then columns, then the tiles of a group. */
static void place_groups(Frame *frame, const Tiling *tiling) {
  int d = frame->rank - 2;
  Place *place = &frame->place[d];
  int64_t box = tiling->box[d], tiles = ceil_div(frame->extent[d], box);
  int64_t groups = ceil_div(tiles, tiling->group);
  for (int outer = 0; outer < d; outer++)
    place_rows(frame, outer, tiling, NULL);
  *place = (Place){.at = affine_constant(0)};
  if (groups > 1)
    place->at = affine_var(kernel_grid(frame->kernel, "group", groups), tiling->group * box);
  place_columns(frame, tiling);
  if (tiling->group > 1 && !tiling->inner_loop)
    place->at =
        affine_add(place->at, affine_var(kernel_grid(frame->kernel, "r", tiling->group), box));
  if (box > 1) {
    place->row[frame->n_axes] = 1;
    frame->axis[frame->n_axes++] = (int)box;
  }
}

void place_output(Frame *frame, const Tiling *tiling) {
  int last = frame->rank - 1;
  Affine band;
  frame->cols = tiling->cols;
  frame->n_axes = 0;
  if (tiling->group) {
    place_groups(frame, tiling);
    return;
  }
  for (int pass = 0; pass < 2; pass++) { /* columns before or after the rows in the grid */
    if (pass == (tiling->columns_outermost ? 0 : 1)) {
      place_columns(frame, tiling);
      continue;
    }
    for (int d = 0; d < last; d++) {
      if (d == 1 && tiling->band) {
        int64_t rows = tiling->band * tiling->box[2];
        band =
            affine_var(kernel_grid(frame->kernel, "band", ceil_div(frame->extent[2], rows)), rows);
      }
      place_rows(frame, d, tiling, tiling->band ? &band : NULL);
    }
  }
}

void open_inner_loop(Frame *frame, const Tiling *tiling) {
  int d = frame->rank - 2;
  int64_t apart = tiling->apart > 1 ? tiling->apart : 1, step = tiling->box[d] * apart;
  Affine *at = &frame->place[d].at;
  Stmt *loop;
  if (frame->extent[d] > step)
    *at = affine_add(*at, affine_var(frame_loop(frame, "v", 0, frame->extent[d], step, &loop), 1));
  if (apart > 1)
    *at = affine_add(*at, affine_var(frame_loop(frame, "a", 0, apart, 1, &loop), 1));
}

bool rows_are_ragged(const Frame *frame, const Tiling *tiling) {
  for (int d = 0; d + 1 < frame->rank; d++) {
    int64_t apart = d == frame->rank - 2 && tiling->apart > 1 ? tiling->apart : 1;
    if (frame->extent[d] % (tiling->box[d] * apart))
      return true;
  }
  return false;
}

Affine block_number(const Frame *frame, int64_t *count) {
  Affine number = affine_constant(0);
  const Place *columns = &frame->place[frame->rank - 1];
  *count = 1;
  for (int i = 0; i < frame->kernel->n_grid; i++) {
    const GridAxis *axis = &frame->kernel->grid[i];
    if (columns->at.count && columns->at.term[0].var == axis->var)
      continue;
    number = affine_add(affine_scale(number, axis->extent), affine_var(axis->var, 1));
    *count *= axis->extent;
  }
  return number;
}

/* ---- order and prefetching of ops over taps ---- */

void tap_range(const Node *node, int axis, int64_t *low, int64_t *high) {
  int n;
  const int64_t *taps = node_ints(node, "taps", &n);
  *low = *high = taps[axis];
  for (int t = axis; t < n; t += 3) {
    *low = taps[t] < *low ? taps[t] : *low;
    *high = taps[t] > *high ? taps[t] : *high;
  }
}

/* Rows of the input (runs along dimensions 3 and 4) that one position's taps touch beyond the
 * position's own in each plane, and how many planes they touch. */
static void tap_rows(const Node *node, int64_t *planes, int64_t *halo) {
  int n;
  const int64_t *taps = node_ints(node, "taps", &n);
  *planes = *halo = 0;
  for (int t = 0; t < n; t += 3) {
    int64_t low = taps[t + 1], high = low;
    bool first = true;
    for (int u = 0; u < n; u += 3) {
      if (taps[u] != taps[t])
        continue;
      first &= u >= t;
      low = taps[u + 1] < low ? taps[u + 1] : low;
      high = taps[u + 1] > high ? taps[u + 1] : high;
    }
    *planes += first;
    *halo += first ? high - low : 0;
  }
}

int64_t choose_band(const Facts *facts, const Node *node, const int *box) {
  const Type *x = &node->in[0]->type, *y = &node->out[0].type;
  const int64_t *stride = node_ints(node, "stride", NULL);
  int64_t planes, halo;
  tap_rows(node, &planes, &halo);
  int64_t row = x->dim[3] * x->dim[4] * (int64_t)dtype_size(stored_dtype(node->in[0]));
  if (facts->threads > 1 || planes == 1 || planes * x->dim[2] * row <= facts->l2 / 2)
    return 0;
  int64_t rows = (facts->l2 / 2 / row - halo) / planes; /* of a band, that fit with their planes */
  int64_t tiles = rows / (stride[1] * box[2]);
  return divisor_below(ceil_div(y->dim[2], box[2]), tiles > 1 ? tiles : 1);
}

static bool touches(const int64_t *taps, int n, int64_t plane, int64_t row) {
  for (int t = 0; t < n; t += 3)
    if (taps[t] == plane && taps[t + 1] == row)
      return true;
  return false;
}

/* Does tap t reach a row that no tile before has read? Tiles before are those of planes before, and
 * of this plane's rows before: seen from there the row is so many strides further on. */
static bool reads_first(const Node *node, int t) {
  int n;
  const int64_t *taps = node_ints(node, "taps", &n), *stride = node_ints(node, "stride", NULL);
  int64_t low, high, first_plane, last_plane;
  tap_range(node, 0, &first_plane, &last_plane);
  tap_range(node, 1, &low, &high);
  for (int u = 0; u < t; u += 3) /* another tap of the same row stands for it */
    if (taps[u] == taps[t] && taps[u + 1] == taps[t + 1])
      return false;
  for (int64_t plane = taps[t]; plane <= last_plane; plane += stride[0]) {
    bool same = plane == taps[t];
    int64_t span = (high - low) / stride[1];
    for (int64_t m = same ? 1 : -span; m <= span; m++)
      if (touches(taps, n, plane, taps[t + 1] + m * stride[1]))
        return false;
  }
  return true;
}

/* Along the row: how many places lie between those that the tile's rows stand on, where taps reach
 * them and they do not share a line. */
static int64_t places_between(const Node *node, int depth) {
  int64_t low, high, stride = node_ints(node, "stride", NULL)[2];
  tap_range(node, 2, &low, &high);
  int64_t apart = depth * (int)dtype_size(stored_dtype(node->in[0])) < LINE ? 1 : stride;
  return high - low + 1 < apart ? high - low + 1 : apart;
}

static void announce_taps(Frame *frame, const Node *node, const Coordinate *coordinates,
                          const Place *place, const Place *k_places, int depth) {
  int n;
  const int64_t *taps = node_ints(node, "taps", &n);
  int64_t positions = places_between(node, depth);
  Dtype dtype = stored_dtype(node->in[0]);
  for (int t = 0; t < n; t += 3) {
    if (!reads_first(node, t))
      continue;
    for (int64_t between = 0; between < positions; between++) {
      Affine offset[3] = {affine_constant(taps[t]), affine_constant(taps[t + 1]),
                          affine_constant(between)};
      Stmt *s = stmt_add(frame->kernel, frame->block, STMT_TILE_PREFETCH);
      s->access = operand_access(frame, node->in[0], coordinates, place, k_places, offset);
      s->tile = kernel_tile(frame->kernel, "soon", dtype, frame->n_axes, frame->axis, depth);
    }
  }
}

/* Rows of a tile along a dimension. */
static int64_t rows_along(const Frame *frame, int d) {
  int64_t rows = 1;
  for (int j = 0; j < frame->n_axes; j++)
    rows = frame->place[d].row[j] ? frame->axis[j] : rows;
  return rows;
}

void prefetch_taps(Frame *frame, const Node *node, const Coordinate *coordinates,
                   const Place *k_places, int depth) {
  const Facts *facts = frame->lower->facts;
  if (facts->threads > 1 || (int64_t)type_bytes(&node->in[0]->type) <= facts->l2)
    return;
  Place next[MAX_RANK];
  memcpy(next, frame->place, sizeof next);
  next[2].at = affine_offset(next[2].at, rows_along(frame, 2));
  if (!frame->band_row) {
    announce_taps(frame, node, coordinates, next, k_places, depth);
    return;
  }
  /* behind a band's last tile comes its first one in the next plane */
  Block *outside = frame->block;
  Stmt *choice = stmt_add(frame->kernel, outside, STMT_IF);
  Affine left = affine_offset(affine_var(frame->band_row, -1), frame->band_tiles - 2);
  vec_push(frame->lower->arena, &choice->guards, ((Guard){left, frame->band_tiles, 0}));
  frame->block = &choice->body;
  announce_taps(frame, node, coordinates, next, k_places, depth);
  frame->block = &choice->other;
  next[1].at = affine_offset(next[1].at, rows_along(frame, 1));
  next[2].at = frame->band_start;
  announce_taps(frame, node, coordinates, next, k_places, depth);
  frame->block = outside;
}
