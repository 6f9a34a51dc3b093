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
void thread_nest(Spread *, Block *to, const Nest *);
void thread_dot(Spread *, Block *to, const Stmt *);
#endif
