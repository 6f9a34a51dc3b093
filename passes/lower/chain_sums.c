/* Sums over rows in the chain template: folds, and products of two values' rows.
 *
 * A block takes a strip of positions, a run of the outer dimensions, and keeps the sums in its own
 * memory: a product [K,N] of two values with K and N columns, a fold [columns]. After each group of
 * rows it takes up the products one register tile after the other, as the template of convolution
 * weights does (weight_gradient.c). Partial results of the strips are added in their order by a
 * kernel for each shape of sums, which goes on with what follows from them.
 */
#include "passes/lower/chain.h"

enum { STRIPS = 32, GPU_STRIPS = 256, TILE_ROWS = 12 };

/* ---- strips ---- */

void chain_place_strips(Chain *chain, const int *box) {
  Frame *frame = &chain->frame;
  frame->n_axes = 0;
  chain->strips = 1;
  chain->strip = affine_constant(0);
  int64_t wanted = chain->lower->facts->threads > 1 ? GPU_STRIPS : STRIPS;
  for (int d = 0; d + 1 < frame->rank; d++) {
    Place *place = &frame->place[d];
    int64_t tiles = ceil_div(frame->extent[d], box[d]);
    int64_t shares = divisor_below(tiles, ceil_div(wanted, chain->strips));
    chain->steps[d] = tiles / shares;
    *place = (Place){.at = affine_constant(0)};
    if (shares > 1) {
      IndexVar *share = kernel_grid(frame->kernel, "k", shares);
      place->at = affine_var(share, chain->steps[d] * box[d]);
      chain->strip = affine_add(affine_scale(chain->strip, shares), affine_var(share, 1));
      chain->strips *= shares;
    }
    if (box[d] > 1) {
      place->row[frame->n_axes] = 1;
      frame->axis[frame->n_axes++] = box[d];
    }
  }
}

void chain_open_strip(Chain *chain, const int *box) {
  Frame *frame = &chain->frame;
  Stmt *loop;
  for (int d = 0; d + 1 < frame->rank; d++)
    if (chain->steps[d] > 1) {
      IndexVar *at = frame_loop(frame, "r", 0, chain->steps[d] * box[d], box[d], &loop);
      frame->place[d].at = affine_add(frame->place[d].at, affine_var(at, 1));
    }
}

/* ---- register tiles of sums ---- */

/* Where a loop over the tiles of a sum stands. A fold's sum is one row. */
typedef struct SumTile {
  Buffer *buffer;
  int rank, rows, cols;
  Affine row, col;
} SumTile;

static SumTile sum_tiles(Chain *chain, const Value *value) {
  const Facts *facts = chain->lower->facts;
  SumTile tile = {.buffer = chain->sums[value->id], .rows = 1, .row = affine_constant(0)};
  const Type *type = &tile.buffer->type;
  tile.rank = type->rank;
  tile.col = affine_constant(0);
  tile.cols = contraction_columns(facts, type->dim[tile.rank - 1]);
  int across = (int)ceil_div(tile.cols, facts->vector);
  int fit = (facts->registers - across - 1) / across;
  if (tile.rank == 2) /* whole tiles: kept rows end where their values do */
    tile.rows = (int)divisor_below(type->dim[0], fit < TILE_ROWS ? fit : TILE_ROWS);
  return tile;
}

static void open_tiles(Chain *chain, SumTile *tile) {
  Frame *frame = &chain->frame;
  const Type *type = &tile->buffer->type;
  Stmt *loop;
  if (type->dim[tile->rank - 1] > tile->cols)
    tile->col =
        affine_var(frame_loop(frame, "o", 0, type->dim[tile->rank - 1], tile->cols, &loop), 1);
  if (tile->rank == 2 && type->dim[0] > tile->rows)
    tile->row = affine_var(frame_loop(frame, "i", 0, type->dim[0], tile->rows, &loop), 1);
}

static Access sum_access(const SumTile *tile) {
  Access access = {.rank = tile->rank, .buffer = tile->buffer};
  if (tile->rank == 2)
    access.dim[0] = (AccessDim){.at = tile->row, .row = {tile->rows > 1}, .divisor = 1};
  access.dim[tile->rank - 1] = (AccessDim){.at = tile->col, .col = 1, .divisor = 1};
  return access;
}

static Tile *load(Frame *frame, const Access *access, const char *name, int rows, int cols) {
  return frame_load_box(frame, access, name, rows > 1, &rows, cols)->tile;
}

static void clear(Chain *chain, const Value *value, double neutral) {
  Frame *frame = &chain->frame;
  Block *outside = frame->block;
  SumTile tile = sum_tiles(chain, value);
  open_tiles(chain, &tile);
  Stmt *fill = stmt_add(frame->kernel, frame->block, STMT_TILE_FILL);
  fill->number = neutral;
  fill->tile = kernel_tile(frame->kernel, "t", DT_f32, tile.rows > 1, &tile.rows, tile.cols);
  Access access = sum_access(&tile);
  frame_store(frame, &access, fill->tile);
  frame->block = outside;
}

void chain_clear_sums(Chain *chain) {
  chain->sums = ARENA_ARRAY(chain->lower->arena, Buffer *, chain->lower->body->n_values);
  for (int p = 0; p < chain->products.count; p++) {
    const Value *value = &chain->products.at[p]->out[0];
    chain->sums[value->id] = kernel_scratch(chain->frame.kernel, value->name, value->type);
    clear(chain, value, 0);
  }
  for (int i = 0; i < chain->folds.count; i++) {
    const Value *value = &chain->folds.at[i]->out[0];
    Type type = {DT_f32, 1, {type_elements(&value->type)}};
    chain->sums[value->id] = kernel_scratch(chain->frame.kernel, value->name, type);
    clear(chain, value, kop_neutral(fold_kop(chain->folds.at[i])));
  }
}

/* ---- adding ---- */

/* A fold is added to where its operand is known; one of what is only read, with any stage of its
 * columns. */
static bool folds_now(const Chain *chain, const Node *fold) {
  const Value *of = fold->in[0];
  int stage = chain->stage[of->id];
  return (stage == STAGE_ANY ? chain_storing_stage(chain, of) : stage) == chain->now;
}

void chain_add_folds(Chain *chain) {
  Frame *frame = &chain->frame;
  for (int i = 0; i < chain->folds.count; i++) {
    const Node *fold = chain->folds.at[i];
    if (!folds_now(chain, fold))
      continue;
    Access access = {.rank = 1, .buffer = chain->sums[fold->out[0].id]};
    access.dim[0] = (AccessDim){.at = frame->place[frame->rank - 1].at, .col = 1, .divisor = 1};
    Tile *part = row_folds_part(frame, fold, chain->ragged);
    Tile *sum = frame_load(frame, &access, DT_f32, 0);
    frame_store(frame, &access, frame_map(frame, fold_kop(fold), sum, part, NULL));
  }
}

void chain_add_products(Chain *chain) {
  Frame *frame = &chain->frame;
  Block *outside = frame->block;
  int positions = (int)frame_rows(frame);
  for (int p = 0; p < chain->products.count; p++) {
    const Node *node = chain->products.at[p];
    SumTile tile = sum_tiles(chain, &node->out[0]);
    open_tiles(chain, &tile);
    Access left = {.rank = 2, .buffer = chain->kept[chain_rows_of(chain, node->in[0])->id]};
    Access right = {.rank = 2, .buffer = chain->kept[chain_rows_of(chain, node->in[1])->id]};
    left.dim[0] = (AccessDim){.at = affine_constant(0), .col = positions > 1, .divisor = 1};
    left.dim[1] = (AccessDim){.at = tile.row, .row = {tile.rows > 1}, .divisor = 1};
    right.dim[0] = (AccessDim){.at = affine_constant(0), .row = {positions > 1}, .divisor = 1};
    right.dim[1] = (AccessDim){.at = tile.col, .col = 1, .divisor = 1};
    Access sums = sum_access(&tile);
    Tile *sum = load(frame, &sums, "sum", tile.rows, tile.cols);
    Tile *a = load(frame, &left, "a", tile.rows, positions);
    Tile *b = load(frame, &right, "b", positions, tile.cols);
    frame_dot(frame, sum, a, b);
    frame_store(frame, &sums, sum);
    frame->block = outside;
  }
}

/* ---- partial results ---- */

static Partial store_partial(Chain *chain, Value *value, Kop kop) {
  Frame *frame = &chain->frame;
  Block *outside = frame->block;
  SumTile tile = sum_tiles(chain, value);
  const Type *sums = &tile.buffer->type;
  Type type = {DT_f32, sums->rank + 1, {chain->strips, sums->dim[0], sums->dim[1]}};
  Partial partial = frame_partial(chain->lower, value, kop, &type);
  open_tiles(chain, &tile);
  Access from = sum_access(&tile), to = {.rank = type.rank};
  to.buffer = frame_temp(frame, partial.temp, type, true);
  to.dim[0] = (AccessDim){.at = chain->strip, .divisor = 1};
  for (int d = 0; d < sums->rank; d++)
    to.dim[d + 1] = from.dim[d];
  frame_store(frame, &to, load(frame, &from, "sum", tile.rows, tile.cols));
  frame->block = outside;
  return partial;
}

void chain_finish(Chain *chain) {
  Lower *lower = chain->lower;
  int count = chain->products.count + chain->folds.count;
  Partial *partials = ARENA_ARRAY(lower->arena, Partial, count);
  for (int i = 0; i < chain->products.count; i++)
    partials[i] = store_partial(chain, &chain->products.at[i]->out[0], K_add);
  for (int i = 0; i < chain->folds.count; i++) {
    Node *fold = chain->folds.at[i];
    partials[chain->products.count + i] = store_partial(chain, &fold->out[0], fold_kop(fold));
  }
  frame_finish(&chain->frame, "chain");
  for (int i = 0; i < count; i++) { /* those of one shape together: what follows may need several */
    VEC(Partial) alike = {0};
    for (int j = 0; j < count; j++)
      if (type_equal(&partials[j].value->type, &partials[i].value->type)) {
        if (j < i)
          break;
        vec_push(lower->arena, &alike, partials[j]);
      }
    if (alike.count)
      lower_finish(lower, alike.at, alike.count, (int)chain->strips, -1);
  }
}
