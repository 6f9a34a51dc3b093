/* What the parts of distribution to many threads share: distribute_thread.c (nests, folds) and
 * distribute_thread_dot.c. */
#ifndef TRICOT_PASSES_KERNEL_DISTRIBUTE_THREAD_H
#define TRICOT_PASSES_KERNEL_DISTRIBUTE_THREAD_H
#include "passes/kernel/thread_layout.h"

/* The array of a tile: of each thread where the tile stays, else in shared memory. */
Buffer *thread_storage(Spread *, const Tile *);
/* An operand of a dot where it lies in shared memory. */
typedef struct Operand {
  const Tile *tile;
  const Access *access; /* of a tensor of the block's own, read as it lies; NULL: in an array, */
  Buffer *buffer;
  bool turned; /* which holds the operand's columns as rows */
} Operand;

/* The address of an element, of the first of some columns. Divisions go to `block`. Of arrays the
 * row is row->flat. */
Affine operand_element(Spread *, Block *, const Operand *, const Position *row, Affine column);
/* Are target and tiles such that it may be done on matrix units? */
bool may_be_mma(const Spread *, const Stmt *dot);
/* Emits the dot on matrix units; false: the target or these operands are not of the kind. */
bool thread_mma(Spread *, Block *to, const Stmt *dot, const Operand *a, const Operand *b);
/* A number that divides all values of a variable of the TILE stage. */
int64_t thread_step(const Spread *, const IndexVar *);
/* Cells of a tile's array in shared memory, of one slot. */
int64_t thread_slot_cells(const Tile *);
/* A loop around a dot whose operands are copied for the next round while this one is computed
 * (distribute_thread_copy.c); false: the loop is none of that kind. */
bool thread_pipeline(Spread *, Block *to, const Stmt *loop);
/* Copies beside the threads (distribute_thread_copy.c): a nest that only moves what it loads to
 * shared memory; false: it does more, or cannot be done so. */
bool thread_copy(Spread *, Block *to, const Nest *);
/* Waits for what was started. */
void thread_settle(Spread *, Block *to);
/* In shared memory, the cell of a tile at the walk's place. */
Affine shared_cell(const Walk *, const Tile *);
void thread_nest(Spread *, Block *to, const Nest *);
void thread_dot(Spread *, Block *to, const Stmt *);
#endif
