/* Composed convolutions (ir/ops/compose.c): the composed weights, and the correction at the border.
 *
 * tap_compose, a matter of loading time, is a sum over the pairs of taps that meet in one, by
 * tables. tap_conv_outside is what the outer convolution would read outside the inner one's grid.
 * For each outer tap a tile asks whether it reaches outside at all; only there the inner result is
 * computed, kept in the block's memory, and multiplied.
 */
#include "ir/ops/compose.h"
#include "passes/lower/taps.h"
#include <string.h>

typedef struct Outside {
  Frame *frame;
  const Node *node;
  Taps taps;
  Buffer *middle; /* [rows, M] */
} Outside;

/* Holds where outer tap `then` of every row of the tile lies inside the grid. */
static Guards all_inside(Outside *o, const int64_t *then) {
  Frame *frame = o->frame;
  Guards guards = {0};
  for (int axis = 0; axis < 3; axis++) {
    const Place *place = &frame->place[1 + axis];
    int64_t reach = 0, size = frame->extent[1 + axis];
    for (int j = 0; j < frame->n_axes; j++)
      reach += place->row[j] * (frame->axis[j] - 1);
    for (int end = 0; then[axis] && end < (reach ? 2 : 1); end++) {
      Guard guard = {affine_offset(place->at, then[axis] + (end ? reach : 0)), size, 0};
      vec_push(frame->lower->arena, &guards, guard);
    }
  }
  return guards;
}

/* 1 for rows whose tap lies inside the grid, else 0; NULL where rows do not differ. */
static Tile *rows_inside(Outside *o, const int64_t *then) {
  Frame *frame = o->frame;
  Tile *inside = NULL;
  for (int axis = 0; axis < 3; axis++) {
    const Place *place = &frame->place[1 + axis];
    if (!then[axis])
      continue;
    Tile *at = frame_coordinate(frame, place, then[axis]);
    Tile *zero = frame_fill(frame, 0, DT_f32, false, false);
    Tile *size = frame_fill(frame, (double)frame->extent[1 + axis], DT_f32, false, false);
    Tile *both = frame_map(frame, K_mul, frame_map(frame, K_le, zero, at, NULL),
                           frame_map(frame, K_lt, at, size, NULL), NULL);
    inside = inside ? frame_map(frame, K_mul, inside, both, NULL) : both;
  }
  return inside;
}

/* Columns [column, column + cols) of the inner result at the places of outer tap `then`. */
static void inner_columns(Outside *o, const int64_t *then, Affine column, int cols) {
  Frame *frame = o->frame;
  const Node *node = o->node;
  const int64_t *stride = node_ints(node, "stride", NULL);
  int channels = (int)node->in[1]->type.dim[1], outer_cols = frame->cols;
  Coordinate cx[MAX_RANK], cb[1] = {{-1, 0, -1, 1, 1}};
  Coordinate cu[3] = {{-1, 0, -1, 1, 1}, {-1, 1, -1, 1, 1}, {-1, 2, -1, 1, 1}};
  Place place[MAX_RANK], kb[1] = {{.at = column, .col = 1}};
  frame->cols = cols;
  Affine none[3] = {affine_constant(0), affine_constant(0), affine_constant(0)}, offset[3];
  Access bias = operand_access(frame, node->in[2], cb, frame->place, kb, none);
  Tile *row = frame_load_box(frame, &bias, "bias", 0, NULL, cols)->tile;
  Tile *sum = frame_map(frame, K_add, frame_fill(frame, 0, DT_f32, true, true),
                        frame_cast(frame, row, DT_f32), NULL);
  Block *outside = frame->block;
  Stmt *loop;
  Affine tap = affine_constant(0);
  if (o->taps.count > 1)
    tap = affine_var(frame_loop(frame, "t", 0, o->taps.count, 1, &loop), 1);
  taps_lookup(frame, &o->taps, tap, offset);
  for (int d = 0; d < frame->rank; d++) {
    place[d] = frame->place[d];
    place[d].col = 0;
    if (d >= 1 && d < 4)
      place[d].at = affine_offset(place[d].at, then[d - 1]);
    cx[d] = d == 0 ? (Coordinate){0, -1, -1, 1, 1}
                   : (Coordinate){d, -1, d - 1, d < 4 ? stride[d - 1] : 1, 1};
  }
  cx[4] = (Coordinate){-1, 0, -1, 1, 1};
  Place kx[1] = {{.at = affine_constant(0), .col = 1}};
  Place ku[3] = {
      {.at = tap}, {.at = affine_constant(0), .row = {channels > 1}}, {.at = column, .col = 1}};
  Access x = operand_access(frame, node->in[0], cx, place, kx, offset);
  Access u = operand_access(frame, node->in[1], cu, place, ku, none);
  frame_dot(frame, sum, frame_load_box(frame, &x, "x", frame->n_axes, frame->axis, channels)->tile,
            frame_load_box(frame, &u, "u", channels > 1, &channels, cols)->tile);
  frame->block = outside;
  Tile *inside = rows_inside(o, then), *zero = frame_fill(frame, 0, DT_f32, false, false);
  sum = frame_map(frame, K_select, inside, zero, sum);
  Access to = frame_rows_access(frame, o->middle, column);
  frame_store(frame, &to, sum);
  frame->cols = outer_cols;
}

static void outer_tap(Outside *o, int s, const int64_t *then, Tile *result) {
  Frame *frame = o->frame;
  Block *outside = frame->block;
  Stmt *choice = stmt_add(frame->kernel, frame->block, STMT_IF), *loop;
  choice->guards = all_inside(o, then);
  frame->block = &choice->other;
  Block *here = frame->block;
  int64_t width = o->node->in[1]->type.dim[2];
  int depth = (int)width, cols = contraction_columns(frame->lower->facts, width);
  Affine column = affine_constant(0);
  if (width > cols)
    column = affine_var(frame_loop(frame, "j", 0, width, cols, &loop), 1);
  inner_columns(o, then, column, cols);
  frame->block = here;
  Coordinate cw[3] = {{-1, 0, -1, 1, 1}, {-1, 1, -1, 1, 1}, {4, -1, -1, 1, 1}};
  Place kw[2] = {{.at = affine_constant(s)}, {.at = affine_constant(0), .row = {depth > 1}}},
        place[MAX_RANK];
  memcpy(place, frame->place, sizeof place);
  memset(place[4].row, 0, sizeof place[4].row);
  Affine none[3] = {affine_constant(0), affine_constant(0), affine_constant(0)};
  Access w = operand_access(frame, o->node->in[3], cw, place, kw, none);
  Access middle = frame_rows_access(frame, o->middle, affine_constant(0));
  frame_dot(frame, result,
            frame_load_box(frame, &middle, "m", frame->n_axes, frame->axis, depth)->tile,
            frame_load_box(frame, &w, "w", depth > 1, &depth, frame->cols)->tile);
  frame->block = outside;
}

void outside_results(Frame *frame, const Node *node) {
  Outside o = {.frame = frame, .node = node, .taps = taps_of(frame, node)};
  int n;
  const int64_t *then = node_ints(node, "then", &n);
  o.middle = kernel_scratch(frame->kernel, "middle",
                            (Type){DT_f32, 2, {frame_rows(frame), node->in[1]->type.dim[2]}});
  Tile *result = frame_fill(frame, 0, DT_f32, true, true);
  for (int s = 0; s < n / 3; s++)
    if (then[3 * s] || then[3 * s + 1] || then[3 * s + 2])
      outer_tap(&o, s, then + 3 * s, result);
  frame->tile[node->out[0].id] = result;
}

/* ---- composed weights ---- */

/* Two tables [result tap][slot]: inner and outer tap of each pair; past the last pair of a tap, an
 * inner tap that does not exist and so adds nothing. Returns slots a tap. */
static int pair_tables(Frame *frame, const Node *node, const Table *table[2]) {
  Arena *arena = frame->lower->arena;
  int n_taps, n_then, most = 0;
  const int64_t *taps = node_ints(node, "taps", &n_taps), *then = node_ints(node, "then", &n_then);
  n_taps /= 3, n_then /= 3;
  int pairs = n_taps * n_then, *slot = ARENA_ARRAY(arena, int, pairs);
  int64_t *all = ARENA_ARRAY(arena, int64_t, 3 * pairs);
  int count =
      tap_compose_taps(taps, n_taps, node_ints(node, "stride", NULL), then, n_then, all, slot);
  int *met = ARENA_ARRAY(arena, int, count);
  for (int p = 0; p < pairs; p++)
    most = ++met[slot[p]] > most ? met[slot[p]] : most;
  memset(met, 0, sizeof *met * (size_t)count);
  int64_t *inner = ARENA_ARRAY(arena, int64_t, count * most);
  int64_t *outer = ARENA_ARRAY(arena, int64_t, count * most);
  for (int i = 0; i < count * most; i++)
    inner[i] = n_taps;
  for (int p = 0; p < pairs; p++) {
    int at = slot[p] * most + met[slot[p]]++;
    inner[at] = p % n_taps;
    outer[at] = p / n_taps;
  }
  table[0] = kernel_table(frame->kernel, "inner", count * most, inner);
  table[1] = kernel_table(frame->kernel, "outer", count * most, outer);
  return most;
}

void lower_compose(Lower *lower) {
  const Node *node = lower->anchor;
  const Type *u = &node->in[0]->type, *w = &node->in[1]->type;
  const Table *table[2];
  Frame frame;
  Stmt *loop;
  frame_start(&frame, lower, "");
  frame_dims(&frame, &node->out[0].type);
  int slots = pair_tables(&frame, node, table), depth = (int)u->dim[2];
  Tiling tiling = {.box = {1, 1}, .cols = contraction_columns(lower->facts, w->dim[2])};
  place_output(&frame, &tiling);
  Tile *sum = frame_fill(&frame, 0, DT_f32, true, true);
  Block *outside = frame.block;
  Affine pair = affine_scale(frame.place[0].at, slots), which[3];
  if (slots > 1)
    pair = affine_add(pair, affine_var(frame_loop(&frame, "p", 0, slots, 1, &loop), 1));
  for (int i = 0; i < 2; i++) {
    Stmt *s = stmt_add(frame.kernel, frame.block, STMT_LOOKUP);
    s->table = table[i];
    s->at = pair;
    s->var = kernel_var(frame.kernel, "o", 0, i ? w->dim[0] - 1 : u->dim[0]);
    which[i] = affine_var(s->var, 1);
  }
  which[2] = affine_constant(0);
  Coordinate cu[3] = {{-1, -1, 0, 1, 1}, {1, -1, -1, 1, 1}, {-1, 0, -1, 1, 1}};
  Coordinate cw[3] = {{-1, -1, 1, 1, 1}, {-1, 0, -1, 1, 1}, {2, -1, -1, 1, 1}};
  Place ku[1] = {{.at = affine_constant(0), .col = 1}};
  Place kw[1] = {{.at = affine_constant(0), .row = {depth > 1}}};
  Access of_u = operand_access(&frame, node->in[0], cu, frame.place, ku, which);
  Access of_w = operand_access(&frame, node->in[1], cw, frame.place, kw, which);
  frame_dot(&frame, sum, frame_load_box(&frame, &of_u, "u", 0, NULL, depth)->tile,
            frame_load_box(&frame, &of_w, "w", depth > 1, &depth, frame.cols)->tile);
  frame.block = outside;
  frame.tile[node->out[0].id] = sum;
  frame_store_outputs(&frame, NULL);
  frame_finish(&frame, node->op->name);
}
