/* Products of large matrices: operands are copied before they are multiplied.
 *
 * A register tile reads its columns of B row by row, and, where k is not A's last axis (weight
 * gradients), its rows of A as well. Where these are far apart in memory every step of k touches
 * lines that no prefetcher foresees and that, whole pages apart, fall on each other's places in the
 * caches. So a block owns some tiles of rows (a *group*) by some *ranges* of columns, walks over k
 * in *chunks*, and copies what it multiplies into panels without gaps (Goto and van de Geijn,
 * Anatomy of High-Performance Matrix Multiplication, 2008; Van Zee and van de Geijn, BLIS, 2015):
 *
 *   for each chunk of k
 *     b[range, k, column] = B                       half of the half of the second-level cache
 *     for each tile of the group
 *       a[k, row] = A                               if its k lie apart; first-level cache
 *       for each range: sums[row, column] += a . b
 *
 * With one chunk there are no sums to keep: a tile goes on to its epilogue. On machines that
 * multiply pairs of bf16 the panels hold pairs: neighbours along k, put together once a block.
 *
 * In: a region whose only contraction is a product with one k axis, for one thread. Sums go over k
 * in order, so they are those of any other way.
 */
#include "passes/lower/contraction.h"
#include <string.h>

enum {
  COPY_ROWS = 8, /* rows of k that are copied at a time */
  FEW_TILES = 4, /* in a group: the copy of B is used so often at least */
  MOST_TILES = 32,
  MANY_BLOCKS = 24,
  MOST_RANGES = 8, /* a copied tile of A is used so often */
  LEAST_CHUNK = 32,
  PAGE = 4096 /* bytes */
};

typedef struct Product {
  Frame frame;
  const Node *node;
  Contraction c;
  int rows, cols; /* of a register tile */
  int64_t group, ranges, chunk, depth;
  bool copies_a, pairs;
  Buffer *a, *b, *sums; /* panels; sums: NULL with one chunk */
  Affine row, col, k;   /* first of the block, of the chunk */
} Product;

/* ---- operands ---- */

/* Elements between neighbours of operand i of the product along its k, or along the output
 * dimension that it shares. */
static int64_t stride_along(Product *p, int i, bool along_k) {
  const Coordinate *coordinates = i ? p->c.b : p->c.a;
  int shared = p->frame.rank - (i ? 1 : 2);
  ViewMap map = frame_resolve(&p->frame, p->node->in[i]);
  for (int d = 0; d < p->node->in[i]->type.rank; d++)
    if (along_k ? coordinates[d].k == 0 : coordinates[d].out == shared)
      return view_map_stride(&map, d);
  return 0;
}

/* Operand i at `k`, which moves with the tile's rows or columns, in the tile's part of the output
 * dimension that it shares. */
static Access access_at(Product *p, int i, Place k) {
  Frame *frame = &p->frame;
  int last = frame->rank - 1;
  Place out[MAX_RANK];
  memcpy(out, frame->place, sizeof out);
  if (i || k.row[0])
    for (int d = 0; d < frame->rank; d++)
      memset(out[d].row, 0, sizeof out[d].row);
  if (i == 0)
    out[last].col = 0;
  if (i == 0 && k.row[0]) /* turned: rows of the product are the columns of its copy */
    out[last - 1].col = 1;
  return operand_access(frame, p->node->in[i], i ? p->c.b : p->c.a, out, &k, NULL);
}

/* Opens a loop over a chunk's rows in a panel, some at a time. */
static Affine open_rows(Product *p) {
  Stmt *loop;
  int64_t rows = p->chunk / (p->pairs ? 2 : 1);
  return affine_var(frame_loop(&p->frame, "k", 0, rows, COPY_ROWS, &loop), 1);
}

/* Copies rows of operand i to panel[at, row, column]. */
static void copy_rows(Product *p, int i, Buffer *panel, Affine at, Affine row) {
  Frame *frame = &p->frame;
  int count = COPY_ROWS, together = p->pairs ? 2 : 1, cols = (int)panel->type.dim[2];
  Tile *half[2] = {0};
  for (int h = 0; h < together; h++) {
    Place k = {.at = affine_offset(affine_add(p->k, affine_scale(row, together)), h),
               .row = {together}};
    Access from = access_at(p, i, k);
    half[h] = frame_load_box(frame, &from, i ? "b" : "a", 1, &count, cols)->tile;
  }
  Tile *copy = half[0];
  if (p->pairs) {
    copy = kernel_tile(frame->kernel, "pairs", DT_i32, 1, &count, cols);
    stmt_map(frame->kernel, frame->block, copy, K_pair, half[0], half[1], NULL);
  }
  Access to = {.buffer = panel, .rank = 3};
  to.dim[0] = (AccessDim){.at = at, .divisor = 1};
  to.dim[1] = (AccessDim){.at = row, .row = {1}, .divisor = 1};
  to.dim[2] = (AccessDim){.at = affine_constant(0), .col = 1, .divisor = 1};
  frame_store(frame, &to, copy);
}

static Buffer *panel_of(Product *p, const char *name, int i, int64_t count, int cols) {
  int64_t rows = p->chunk / (p->pairs ? 2 : 1);
  Dtype dtype = p->pairs ? DT_i32 : stored_dtype(p->node->in[i]);
  Type type = {dtype, 3, {count, ceil_div(rows, COPY_ROWS) * COPY_ROWS, cols}};
  return kernel_scratch(p->frame.kernel, name, type);
}

/* ---- schedule ---- */

/* As much of k as `limit` allows, in equal parts. Where both operands are copied the last part may
 * end with zeros; where A is read as it lies, parts divide k. In pairs a part is even. */
static int64_t choose_chunk(const Product *p, int64_t limit) {
  int64_t step = p->pairs ? 2 : 1, chunk = limit < p->depth ? limit : p->depth;
  if (p->copies_a && chunk > 0)
    return ceil_div(ceil_div(p->depth, ceil_div(p->depth, chunk)), step) * step;
  while (chunk > 0 && (p->depth % chunk || chunk % step))
    chunk--;
  return chunk;
}

/* How k and columns are cut: one range of columns and, if the cache takes them, all k at a time
 * where A is read as it lies; many ranges where a tile of it is copied for them. */
static bool choose_chunks(Product *p, const Facts *facts) {
  int64_t element = (int64_t)dtype_size(stored_dtype(p->node->in[1]));
  int64_t columns = ceil_div(p->frame.extent[p->frame.rank - 1], p->cols);
  int64_t of_range = facts->l2 / 4 / (p->cols * element); /* rows of k, for one range */
  p->ranges = p->copies_a ? divisor_below(columns, MOST_RANGES) : 1;
  while (p->ranges > 1 && of_range / p->ranges < LEAST_CHUNK)
    p->ranges = divisor_below(columns, p->ranges - 1);
  p->chunk = choose_chunk(p, of_range / p->ranges);
  return p->chunk >= LEAST_CHUNK;
}

/* A group is large, since every group copies B, or as large as the part of A that stays in the
 * second-level cache; but there are blocks for many threads. */
static void choose_group(Product *p, const Facts *facts, const Tiling *tiling) {
  int d = p->frame.rank - 2;
  int64_t tiles = ceil_div(p->frame.extent[d], p->rows);
  int64_t sums = p->rows * p->ranges * p->cols * (int64_t)sizeof(float);
  int64_t blocks = ceil_div(p->frame.extent[d + 1], p->ranges * p->cols);
  for (int e = 0; e < d; e++)
    blocks *= p->frame.extent[e];
  int64_t most = tiling->group && !p->copies_a ? tiling->group : MOST_TILES;
  if (p->chunk < p->depth && most > facts->l2 / 2 / sums)
    most = facts->l2 / 2 / sums;
  while (most > FEW_TILES && blocks * ceil_div(tiles, most) < MANY_BLOCKS)
    most--;
  p->group = divisor_below(tiles, most);
  if (2 * p->group < most) /* some tiles lie past the end rather */
    p->group = ceil_div(tiles, ceil_div(tiles, most));
}

/* Copies pay where B does not stay in a cache beside what is read of A, or is multiplied in pairs,
 * and where rows of either lie far apart. */
static bool choose(Product *p, const Facts *facts, const Tiling *tiling) {
  int d = p->frame.rank - 2;
  const Value *a = p->node->in[0], *b = p->node->in[1];
  for (int e = 0; e < d; e++)
    if (tiling->box[e] > 1)
      return false;
  p->rows = tiling->box[d];
  p->cols = tiling->cols;
  p->depth = p->c.k_extent[0];
  p->copies_a = stride_along(p, 0, true) != 1;
  p->pairs = facts->bf16_pairs && p->cols > 1 && stored_dtype((Value *)a) == DT_bf16 &&
             stored_dtype((Value *)b) == DT_bf16;
  int64_t bytes = stored_bytes((Value *)b), element = bytes / type_elements(&b->type);
  bool large = bytes > (p->pairs ? facts->l1 : facts->l2 / 2);
  bool apart = p->copies_a || p->pairs || stride_along(p, 1, true) * element % PAGE == 0;
  bool plain = stride_along(p, 1, false) == 1 && (!p->copies_a || stride_along(p, 0, false) == 1) &&
               p->depth >= LEAST_CHUNK;
  if (!large || !apart || !plain || !choose_chunks(p, facts))
    return false;
  choose_group(p, facts, tiling);
  return p->group >= FEW_TILES;
}

/* ---- the kernel ---- */

/* A grid axis over `extent` in steps of `step`, where there is more than one. */
static Affine grid_of(Product *p, const char *name, int64_t extent, int64_t step) {
  int64_t blocks = ceil_div(extent, step);
  return blocks > 1 ? affine_var(kernel_grid(p->frame.kernel, name, blocks), step)
                    : affine_constant(0);
}

/* Where the block is. What it reads again and again stays in a cache: the group's rows of A, for
 * one range of columns after the other; or, where A is copied, the columns of B for all groups. */
static void place_block(Product *p) {
  Frame *frame = &p->frame;
  int d = frame->rank - 2;
  int64_t of_rows = p->group * p->rows, of_cols = p->ranges * p->cols;
  for (int e = 0; e < d; e++)
    frame->place[e] = (Place){.at = grid_of(p, "n", frame->extent[e], 1)};
  if (!p->copies_a)
    p->row = grid_of(p, "group", frame->extent[d], of_rows);
  p->col = grid_of(p, "c", frame->extent[d + 1], of_cols);
  if (p->copies_a)
    p->row = grid_of(p, "group", frame->extent[d], of_rows);
  frame->place[d] = (Place){.at = p->row, .row = {p->rows > 1}};
  frame->place[d + 1] = (Place){.at = p->col, .col = 1};
  frame->cols = p->cols;
  frame->n_axes = p->rows > 1;
  frame->axis[0] = p->rows;
}

/* Opens loops over the block's tiles, and their ranges: ahead of, or behind what is given. */
static Affine open_tiles(Product *p) {
  Stmt *loop;
  int d = p->frame.rank - 2;
  Affine tile = affine_var(frame_loop(&p->frame, "v", 0, p->group, 1, &loop), 1);
  p->frame.place[d].at = affine_add(p->row, affine_scale(tile, p->rows));
  return tile;
}

static Affine open_ranges(Product *p) {
  Stmt *loop;
  Affine range = affine_constant(0);
  if (p->ranges > 1)
    range = affine_var(frame_loop(&p->frame, "j", 0, p->ranges, 1, &loop), 1);
  p->frame.place[p->frame.rank - 1].at = affine_add(p->col, affine_scale(range, p->cols));
  return range;
}

/* The current tile's place among the block's sums, [rows, columns]. */
static Access sums_access(Product *p) {
  Frame *frame = &p->frame;
  int d = frame->rank - 2;
  Access access = {.buffer = p->sums, .rank = 2};
  access.dim[0] =
      (AccessDim){.at = affine_add(frame->place[d].at, affine_scale(p->row, -1)), .divisor = 1};
  memcpy(access.dim[0].row, frame->place[d].row, sizeof access.dim[0].row);
  access.dim[1] = (AccessDim){
      .at = affine_add(frame->place[d + 1].at, affine_scale(p->col, -1)), .col = 1, .divisor = 1};
  return access;
}

/* sum += a . b for the current tile, `range` and chunk. */
static void multiply(Product *p, Affine range, Tile *sum) {
  Frame *frame = &p->frame;
  int depth = (int)p->chunk, together = p->pairs ? 2 : 1, of_panel = depth / together;
  Access b = {.buffer = p->b, .rank = 3}, a = {.buffer = p->a, .rank = 3};
  b.dim[0] = (AccessDim){.at = range, .divisor = 1};
  b.dim[1] = (AccessDim){.at = affine_constant(0), .row = {1}, .divisor = 1};
  b.dim[2] = (AccessDim){.at = affine_constant(0), .col = 1, .divisor = 1};
  a.dim[0] = (AccessDim){.at = affine_constant(0), .divisor = 1};
  a.dim[1] = (AccessDim){.at = affine_constant(0), .col = 1, .divisor = 1};
  a.dim[2] = (AccessDim){.at = affine_constant(0), .row = {1}, .divisor = 1};
  if (!p->copies_a)
    a = access_at(p, 0, (Place){.at = p->k, .col = 1});
  Tile *left =
      frame_load_box(frame, &a, "a", frame->n_axes, frame->axis, p->copies_a ? of_panel : depth)
          ->tile;
  frame_dot(frame, sum, left, frame_load_box(frame, &b, "b", 1, &of_panel, frame->cols)->tile);
}

/* Announces rows of operand i from `k` on, `cols` columns from the frame's place on. */
static void announce(Product *p, int i, Affine k, int rows, int cols) {
  Frame *frame = &p->frame;
  Stmt *soon = stmt_add(frame->kernel, frame->block, STMT_TILE_PREFETCH);
  soon->access = access_at(p, i, (Place){.at = k, .row = {1}});
  soon->tile = kernel_tile(frame->kernel, "soon", stored_dtype(p->node->in[i]), 1, &rows, cols);
}

/* While a tile is multiplied with a range: a part of what the block copies next, of the next tile
 * and of the next chunk. No prefetcher sees these rows coming. */
static void announce_part(Product *p, Affine tile, Affine range) {
  Frame *frame = &p->frame;
  int d = frame->rank - 2;
  Place row = frame->place[d], col = frame->place[d + 1];
  int of_a = (int)(p->chunk / p->ranges), of_b = (int)(of_a / p->group);
  frame->place[d].at = affine_offset(row.at, p->rows);
  announce(p, 0, affine_add(p->k, affine_scale(range, of_a)), of_a, (int)p->a->type.dim[2]);
  frame->place[d] = row;
  frame->place[d + 1].at = p->col;
  Affine part = affine_add(affine_scale(tile, p->ranges), range);
  Affine k = affine_offset(affine_add(p->k, affine_scale(part, of_b)), p->chunk);
  if (of_b > 0)
    announce(p, 1, k, of_b, (int)p->ranges * p->cols);
  frame->place[d + 1] = col;
}

/* Copies a chunk and multiplies every tile of the block with it: into the sums, or, when there is
 * no other chunk, on into the results. */
static void do_chunk(Product *p) {
  Frame *frame = &p->frame;
  Block *outside = frame->block;
  Affine row = open_rows(p), range = open_ranges(p);
  copy_rows(p, 1, p->b, range, row);
  frame->block = outside;
  Affine tile = open_tiles(p);
  Block *of_tile = frame->block;
  if (p->copies_a)
    copy_rows(p, 0, p->a, affine_constant(0), open_rows(p));
  frame->block = of_tile;
  range = open_ranges(p);
  if (p->copies_a)
    announce_part(p, tile, range);
  Access access = {0};
  Tile *sum;
  if (p->sums) {
    access = sums_access(p);
    sum = frame_load(frame, &access, DT_f32, 0);
  } else {
    sum = frame_fill(frame, 0, DT_f32, true, true);
  }
  multiply(p, range, sum);
  if (p->sums) {
    frame_store(frame, &access, sum);
  } else {
    frame->tile[p->node->out[0].id] = sum;
    frame_store_outputs(frame, NULL);
  }
  frame->block = outside;
}

/* The sums at zero ahead of the first chunk (NULL), or their results after the last. */
static void do_sums(Product *p, bool results) {
  Frame *frame = &p->frame;
  Block *outside = frame->block;
  open_tiles(p);
  open_ranges(p);
  Access access = sums_access(p);
  if (results) {
    frame->tile[p->node->out[0].id] = frame_load(frame, &access, DT_f32, 0);
    frame_store_outputs(frame, NULL);
  } else {
    frame_store(frame, &access, frame_fill(frame, 0, DT_f32, true, true));
  }
  frame->block = outside;
}

static void emit(Product *p) {
  Frame *frame = &p->frame;
  int lanes = frame->lower->facts->vector;
  place_block(p);
  frame_stream_large(frame);
  p->b = panel_of(p, "b", 1, p->ranges, p->cols);
  if (p->copies_a) /* in whole vectors: past the tile they bring what the next one begins with */
    p->a = panel_of(p, "a", 0, 1, (int)ceil_div(p->rows, lanes) * lanes);
  p->k = affine_constant(0);
  if (p->chunk < p->depth) {
    Stmt *loop;
    Block *outside = frame->block;
    Type type = {DT_f32, 2, {p->group * p->rows, p->ranges * p->cols}};
    p->sums = kernel_scratch(frame->kernel, "sums", type);
    do_sums(p, false);
    p->k = affine_var(frame_loop(frame, "kk", 0, p->depth, p->chunk, &loop), 1);
    do_chunk(p);
    frame->block = outside;
    do_sums(p, true);
  } else {
    do_chunk(p);
  }
  frame->kernel->schedule =
      (Schedule){.rows = p->rows, .cols = p->cols, .unroll_k = 4, .strips = 1};
  frame_finish(frame, p->node->op->name);
}

bool lower_product(Lower *lower, const Frame *frame, const Contraction *c, const Tiling *tiling) {
  Product p = {.frame = *frame, .node = lower->anchor, .c = *c};
  if (lower->facts->threads > 1 || p.c.n_k > 1 || p.c.tap_k >= 0 || frame->rank < 2 ||
      row_folds_of(lower).nodes.count || !choose(&p, lower->facts, tiling))
    return false;
  emit(&p);
  return true;
}
