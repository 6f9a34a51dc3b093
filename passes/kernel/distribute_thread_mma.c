/* Dots on matrix units: each warp multiplies its pieces of 16 rows and 8 columns, 16 k at a time of
 * bf16, 8 of f32, with sums in f32 that stay in its threads (LAYOUT_FRAGMENT).
 *
 * Factors of f32 are rounded to the 11 bits that units look at, to the nearest and half away from
 * zero, when a thread reads its elements from shared memory. Those of bf16 come as matrices:
 *
 * Both operands are read from shared memory as matrices of 8 x 8. Of A a lane gives the places of
 * rows where k lies side by side; where its rows do (turned), the matrices are turned as they are
 * read. Of B it is the other way about: the unit wants columns, with k side by side.
 */
#include "passes/kernel/distribute_thread.h"

enum { DEPTH = 16, TF32_DEPTH = 8, LINE = 8, UNROLLED_ROUNDS = 4 };

/* Do lines of 8 elements begin at multiples of 8? */
static bool is_aligned(Spread *s, const Operand *o) {
  if (!o->access)
    return o->tile->cols % LINE == 0 && shared_pitch(DT_bf16, o->tile->cols) % LINE == 0;
  for (int d = 0; d < o->access->rank; d++) {
    const AccessDim *dim = &o->access->dim[d];
    int64_t stride = access_stride(s, o->access, d);
    bool whole = stride % LINE == 0 || (dim->at.constant * stride) % LINE == 0;
    for (int j = 0; j < MAX_ROW_AXES; j++)
      whole &= dim->row[j] * stride % LINE == 0;
    for (int i = 0; i < dim->at.count; i++)
      whole &= stride % LINE == 0 ||
               dim->at.term[i].factor * stride * thread_step(s, dim->at.term[i].var) % LINE == 0;
    if (!whole)
      return false;
  }
  return true;
}

typedef struct Mma {
  Spread *spread;
  const Layout *layout;
  const Operand *a, *b;
  const Tile *rows, *sum; /* whose rows A's are */
  Kop kop;
  Affine k;
  Affine line, line_16, next_8, next_16; /* lane % 8, lane % 16, lane / 8 % 2, lane / 16 % 2 */
} Mma;

static void find_lanes(Mma *m) {
  const Threads *t = threads_of(m->spread);
  m->line = affine_var(t->lane_of_8, 1);
  m->line_16 = affine_var(t->lane_of_16, 1);
  m->next_8 = affine_var(t->second_8, LINE);
  m->next_16 = affine_var(t->second_16, LINE);
}

static KValue *matrices(const Mma *m, Block *block, const Operand *o, Affine at, bool turned,
                        int width) {
  Stmt *stmt = stmt_add(m->spread->to, block, STMT_MATRIX);
  stmt->buffer = o->buffer;
  stmt->at = at;
  stmt->turned = turned;
  return stmt->value = kernel_value(m->spread->to, DT_i32, width);
}

/* The fragment of A with the warp's rows from `row` on: rows 0-7 and 8-15 at the first 8 k, then at
 * the next 8. */
static KValue *fragment_of_a(const Mma *m, Block *block, Affine row) {
  Affine down = affine_add(row, m->a->turned ? m->next_8 : m->line_16), k = m->k;
  k = affine_add(k, m->a->turned ? affine_add(m->line, m->next_16) : m->next_16);
  Position position = unit_place(m->spread, block, m->rows, down);
  Affine at = operand_element(m->spread, block, m->a, &position, k);
  return matrices(m, block, m->a, at, m->a->turned, 4);
}

/* Fragments of B for 8 columns from `column` on, or 16: the first 8 k, the next 8; of the columns
 * behind the same. */
static KValue *fragment_of_b(const Mma *m, Block *block, Affine column, int width) {
  Affine k = affine_add(m->k, m->b->turned ? m->next_8 : m->line_16);
  Affine across = column;
  if (m->b->turned)
    across = affine_add(across, m->line);
  if (width == 4)
    across = affine_add(across, m->next_16);
  Position row = {.flat = k};
  for (int j = 0; j < MAX_ROW_AXES; j++)
    row.row[j] = affine_constant(0);
  row.row[0] = k;
  Affine at = operand_element(m->spread, block, m->b, &row, across);
  return matrices(m, block, m->b, at, !m->b->turned, width);
}

static Affine counted(const Mma *m, Block **block, const char *name, int count, int64_t step) {
  if (count == 1)
    return affine_constant(0);
  IndexVar *var = kernel_var(m->spread->to, name, 0, (count - 1) * step);
  Stmt *loop = stmt_for(m->spread->to, *block, var, 0, count * step, step);
  loop->unroll = -1;
  *block = &loop->body;
  return affine_var(var, 1);
}

/* ---- f32 ---- */

/* To 11 bits: half of the last one that stays is added, and the rest cut off. */
static KValue *rounded(const Mma *m, Block *block, KValue *value) {
  Kernel *to = m->spread->to;
  KValue *half = stmt_const(to, block, 1 << 12, DT_i32, 1);
  KValue *kept = stmt_const(to, block, -(1 << 13), DT_i32, 1);
  KValue *bits = stmt_let(to, block, K_bits, DT_i32, 1, value, NULL, NULL);
  bits = stmt_let(to, block, K_add, DT_i32, 1, bits, half, NULL);
  bits = stmt_let(to, block, K_and, DT_i32, 1, bits, kept, NULL);
  return stmt_let(to, block, K_bits, DT_f32, 1, bits, NULL, NULL);
}

static void take_element(const Mma *m, Block *block, const Operand *o, Affine at, Buffer *to,
                         Affine place) {
  Spread *s = m->spread;
  KValue *value = vector_load(s, block, o->buffer, at, DT_f32, 1)->value;
  vector_store(s, block, to, place, rounded(m, block, value));
}

/* Rows g and g + 8 at k t, then at t + 4. */
static KValue *fragment_of_f32(const Mma *m, Block *block, Affine row) {
  Spread *s = m->spread;
  const Threads *t = threads_of(s);
  Buffer *part = kernel_buffer(s->to, "part", SPACE_LOCAL, DT_f32, 4);
  for (int i = 0; i < 4; i++) {
    Affine down = affine_add(affine_offset(row, i % 2 * 8), affine_var(t->lane_row, 1));
    Affine k = affine_add(affine_offset(m->k, i / 2 * 4), affine_var(t->lane_column, 1));
    Position position = unit_place(s, block, m->rows, down);
    take_element(m, block, m->a, operand_element(s, block, m->a, &position, k), part,
                 affine_constant(i));
  }
  return vector_load(s, block, part, affine_constant(0), DT_f32, 4)->value;
}

static Buffer *bring_f32(const Mma *m, Block *to, const Affine *first) {
  Spread *s = m->spread;
  const Threads *t = threads_of(s);
  int across = m->layout->across;
  Buffer *held = kernel_buffer(s->to, "columns", SPACE_LOCAL, DT_f32, 2 * (int64_t)across);
  Block *block = to;
  Affine j = counted(m, &block, "j", across, 1);
  Affine column = affine_add(*first, affine_scale(j, FRAGMENT_COLUMNS));
  column = affine_add(column, affine_var(t->lane_row, 1));
  for (int i = 0; i < 2; i++) {
    Affine k = affine_add(affine_offset(m->k, 4 * i), affine_var(t->lane_column, 1));
    Position row = {.flat = k};
    for (int axis = 0; axis < MAX_ROW_AXES; axis++)
      row.row[axis] = affine_constant(0);
    row.row[0] = k;
    take_element(m, block, m->b, operand_element(s, block, m->b, &row, column), held,
                 affine_offset(affine_scale(j, 2), i));
  }
  return held;
}

/* ---- both ---- */

/* All of B that the warp needs at this k, in an array of its threads. */
static Buffer *bring_b(const Mma *m, Block *to, const Affine *first) {
  if (m->kop == K_mma_tf32)
    return bring_f32(m, to, first);
  Spread *s = m->spread;
  int across = m->layout->across, twos = across / 2;
  Buffer *held = kernel_buffer(s->to, "columns", SPACE_LOCAL, DT_i32, 2 * (int64_t)across);
  if (twos) {
    Block *block = to;
    Affine j = counted(m, &block, "j", twos, 2);
    Affine column = affine_add(*first, affine_scale(j, FRAGMENT_COLUMNS));
    vector_store(s, block, held, affine_scale(j, 2), fragment_of_b(m, block, column, 4));
  }
  if (across % 2) {
    Affine column = affine_offset(*first, (int64_t)(across - 1) * FRAGMENT_COLUMNS);
    vector_store(s, to, held, affine_constant(2 * (int64_t)(across - 1)),
                 fragment_of_b(m, to, column, 2));
  }
  return held;
}

static void multiply(const Mma *m, Block *to) {
  Spread *s = m->spread;
  const Layout *layout = m->layout;
  Affine first_row = fragment_row(s, layout), first_column = fragment_column(s, layout);
  Buffer *held = bring_b(m, to, &first_column), *sums = thread_storage(s, m->sum);
  Block *block = to;
  Affine i = counted(m, &block, "i", layout->down, 1);
  Affine row = affine_add(first_row, affine_scale(i, FRAGMENT_ROWS));
  KValue *a = (m->kop == K_mma_tf32 ? fragment_of_f32 : fragment_of_a)(m, block, row);
  Affine j = counted(m, &block, "j", layout->across, 1);
  KValue *b = vector_load(s, block, held, affine_scale(j, 2), held->type.dtype, 2)->value;
  Affine piece = affine_add(affine_scale(i, 4 * (int64_t)layout->across), affine_scale(j, 4));
  KValue *c = vector_load(s, block, sums, piece, DT_f32, 4)->value;
  vector_store(s, block, sums, piece, stmt_let(s->to, block, m->kop, DT_f32, 4, a, b, c));
}

/* The op that multiplies the operands, whatever they lie in; K_COUNT: none. */
static Kop op_for(const Spread *s, const Stmt *dot) {
  const Tile *a = dot->tile_arg[0], *b = dot->tile_arg[1];
  if (!s->facts->matrix_units || layout_of(s, dot->tile)->kind != LAYOUT_FRAGMENT ||
      a->dtype != b->dtype)
    return K_COUNT;
  if (a->dtype == DT_bf16 && a->cols % DEPTH == 0)
    return K_mma_bf16;
  return a->dtype == DT_f32 && s->facts->tf32 && a->cols % TF32_DEPTH == 0 ? K_mma_tf32 : K_COUNT;
}

bool may_be_mma(const Spread *s, const Stmt *dot) { return op_for(s, dot) != K_COUNT; }

bool thread_mma(Spread *s, Block *to, const Stmt *dot, const Operand *a, const Operand *b) {
  const Tile *rows = dot->tile_arg[0];
  const Layout *layout = layout_of(s, dot->tile);
  Kop kop = op_for(s, dot);
  int depth = kop == K_mma_tf32 ? TF32_DEPTH : DEPTH;
  if (kop == K_COUNT || thread_storage(s, dot->tile)->space != SPACE_LOCAL ||
      (kop == K_mma_bf16 && !(is_aligned(s, a) && is_aligned(s, b))))
    return false;
  Mma m = {
      .spread = s, .layout = layout, .a = a, .b = b, .rows = rows, .sum = dot->tile, .kop = kop};
  find_lanes(&m);
  m.k = affine_constant(0);
  Block *block = to;
  if (rows->cols > depth) {
    IndexVar *k = kernel_var(s->to, "k", 0, rows->cols - depth);
    Stmt *loop = stmt_for(s->to, to, k, 0, rows->cols, depth);
    loop->unroll = rows->cols <= UNROLLED_ROUNDS * depth ? -1 : 0;
    m.k = affine_var(k, 1);
    block = &loop->body;
  }
  multiply(&m, block);
  return true;
}
