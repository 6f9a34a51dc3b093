/* Dots of many threads that share a block.
 *
 * Both operands are brought to shared memory, if they are not there; then k goes by, and each
 * thread adds to all its units of the sum what that k contributes, with fused multiply-adds in
 * ascending order of k.
 */
#include "passes/kernel/distribute_thread.h"

/* A load that only dots read is done here. */
static void stage(Spread *s, Block *to, const Tile *operand) {
  const Stmt *load = s->deferred[operand->id];
  if (!load)
    return;
  Nest nest = {.stmt = {load}, .count = 1, .domain = operand};
  thread_nest(s, to, &nest);
}

static KValue *spread_out(Spread *s, Block *block, KValue *value, int width) {
  return value->width == width
             ? value
             : stmt_let(s->to, block, K_splat, value->dtype, width, value, NULL, NULL);
}

void thread_dot(Spread *s, Block *to, const Stmt *from) {
  const Tile *sum = from->tile, *a = from->tile_arg[0], *b = from->tile_arg[1];
  CHECK(b->dtype != DT_i32); /* pairs are made where the facts say bf16_pairs */
  stage(s, to, a);
  stage(s, to, b);
  Affine k = affine_constant(0);
  Block *block = to;
  if (a->cols > 1) {
    IndexVar *var = kernel_var(s->to, "k", 0, a->cols - 1);
    Stmt *loop = stmt_for(s->to, to, var, 0, a->cols, 1);
    loop->unroll = s->from->schedule.unroll_k;
    block = &loop->body;
    k = affine_var(var, 1);
  }
  Unit u = units_open(s, block, sum, UNITS_ALL);
  int width = layout_of(s, sum)->vector;
  Affine row = affine_scale(tile_row(a, &u.position), thread_pitch(a->dtype, a->cols));
  Affine line = affine_scale(k, thread_pitch(b->dtype, b->cols));
  if (b->cols > 1)
    line = affine_add(line, u.position.col);
  KValue *va =
      vector_load(s, u.block, thread_storage(s, a), affine_add(row, k), a->dtype, 1)->value;
  KValue *vb = vector_load(s, u.block, thread_storage(s, b), line, b->dtype, width)->value;
  va = spread_out(s, u.block, widened(s, u.block, va), width);
  vb = widened(s, u.block, vb);
  Buffer *sums = thread_storage(s, sum);
  Affine home = affine_scale(u.number, width);
  if (sums->space != SPACE_LOCAL)
    home = affine_add(affine_scale(tile_row(sum, &u.position), thread_pitch(DT_f32, sum->cols)),
                      u.position.col);
  KValue *old = vector_load(s, u.block, sums, home, DT_f32, width)->value;
  vector_store(s, u.block, sums, home, stmt_let(s->to, u.block, K_fma, DT_f32, width, va, vb, old));
}
