/* Dots of many threads that share a block.
 *
 * Both operands are brought to shared memory, if they are not there; then k goes by, and each
 * thread adds to all its units of the sum what that k contributes, with fused multiply-adds in
 * ascending order of k. Products of bf16 go to matrix units (distribute_thread_mma.c).
 */
#include "passes/kernel/distribute_thread.h"

static bool cannot_miss(const Stmt *load) {
  for (int d = 0; d < load->access.rank; d++) {
    const AccessDim *dim = &load->access.dim[d];
    int64_t low = affine_low(&dim->at), high = affine_high(&dim->at);
    for (int j = 0; j < load->tile->n_axes; j++)
      *(dim->row[j] < 0 ? &low : &high) += dim->row[j] * (load->tile->axis[j] - 1);
    *(dim->col < 0 ? &low : &high) += dim->col * (load->tile->cols - 1);
    if (dim->divisor > 1 || low < 0 || high >= load->access.buffer->type.dim[d])
      return false;
  }
  return true;
}

/* Loads of lines of the block's own tensors that cannot miss them are done by the dot itself. */
static bool lies_there(Spread *s, const Stmt *load) {
  return load && load->access.buffer->space == SPACE_SHARED && !load->access.gather &&
         access_col_stride(s, &load->access) == 1 && (load->inside || cannot_miss(load));
}

/* A pipeline has brought what has two slots. */
static Operand operand_of(Spread *s, Block *to, const Tile *tile) {
  const Stmt *load = s->deferred[tile->id], *staged = threads_of(s)->staged[tile->id];
  if (lies_there(s, load))
    return (Operand){tile, &load->access, spread_buffer(s, load->access.buffer), false};
  if (staged && !threads_of(s)->two_slots[staged->tile->id]) {
    Nest nest = {.stmt = {staged}, .count = 1, .domain = staged->tile};
    thread_nest(s, to, &nest);
  }
  const Tile *held = staged ? staged->tile : tile;
  return (Operand){held, NULL, thread_storage(s, held), threads_of(s)->turned[tile->id]};
}

/* The address of an element, of the first of some columns. Divisions go to `block`. */
Affine operand_element(Spread *s, Block *block, const Operand *o, const Position *row,
                       Affine column) {
  if (o->access) {
    Position position = *row;
    position.col = column;
    return address_of(s, block, o->access, &position, false).flat;
  }
  int64_t pitch = shared_pitch(o->tile->dtype, o->tile->cols);
  Affine down = row->flat, slot = threads_of(s)->slot[o->tile->id];
  Affine at = o->turned ? affine_add(affine_scale(column, pitch), down)
                        : affine_add(affine_scale(down, pitch), column);
  return affine_add(at, slot);
}

/* `width` elements of a row of B; put side by side where they lie apart. */
static KValue *line_of_b(Spread *s, Block *block, const Operand *b, Affine k, const Position *at,
                         int width) {
  Position row = {.flat = k};
  for (int j = 0; j < MAX_ROW_AXES; j++)
    row.row[j] = affine_constant(0);
  row.row[0] = k;
  Dtype dtype = b->tile->dtype;
  Buffer *side_by_side = NULL;
  for (int i = 0; b->turned && width > 1 && i < width; i++) {
    if (!side_by_side)
      side_by_side = kernel_buffer(s->to, "line", SPACE_LOCAL, dtype, width);
    Affine place = operand_element(s, block, b, &row, affine_offset(at->col, i));
    vector_store(s, block, side_by_side, affine_constant(i),
                 vector_load(s, block, b->buffer, place, dtype, 1)->value);
  }
  Affine place = side_by_side ? affine_constant(0) : operand_element(s, block, b, &row, at->col);
  Buffer *from = side_by_side ? side_by_side : b->buffer;
  return widened(s, block, vector_load(s, block, from, place, dtype, width)->value);
}

static KValue *spread_out(Spread *s, Block *block, KValue *value, int width) {
  return value->width == width
             ? value
             : stmt_let(s->to, block, K_splat, value->dtype, width, value, NULL, NULL);
}

void thread_dot(Spread *s, Block *to, const Stmt *from) {
  const Tile *sum = from->tile;
  CHECK(from->tile_arg[1]->dtype != DT_i32); /* pairs are made where the facts say bf16_pairs */
  Operand a = operand_of(s, to, from->tile_arg[0]), b = operand_of(s, to, from->tile_arg[1]);
  int depth = from->tile_arg[0]->cols;
  thread_settle(s, to);
  if (thread_mma(s, to, from, &a, &b))
    return;
  Affine k = affine_constant(0);
  Block *block = to;
  if (depth > 1) {
    IndexVar *var = kernel_var(s->to, "k", 0, depth - 1);
    Stmt *loop = stmt_for(s->to, to, var, 0, depth, 1);
    loop->unroll = s->from->schedule.unroll_k;
    block = &loop->body;
    k = affine_var(var, 1);
  }
  Unit u = units_open(s, block, sum, UNITS_ALL);
  int width = layout_of(s, sum)->vector;
  Affine place = operand_element(s, u.block, &a, &u.position, k);
  KValue *va = vector_load(s, u.block, a.buffer, place, a.tile->dtype, 1)->value;
  va = spread_out(s, u.block, widened(s, u.block, va), width);
  KValue *vb = line_of_b(s, u.block, &b, k, &u.position, width);
  Buffer *sums = thread_storage(s, sum);
  Affine home = affine_scale(u.number, width);
  if (sums->space != SPACE_LOCAL)
    home =
        affine_add(affine_scale(u.position.flat, shared_pitch(DT_f32, sum->cols)), u.position.col);
  KValue *old = vector_load(s, u.block, sums, home, DT_f32, width)->value;
  vector_store(s, u.block, sums, home, stmt_let(s->to, u.block, K_fma, DT_f32, width, va, vb, old));
}
