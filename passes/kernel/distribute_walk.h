/* The statements of a nest at one place of its domain: what one thread with vectors
 * (distribute_vector.c) and many threads (distribute_thread.c) share.
 *
 * A place is a row and `width` consecutive columns. How places follow each other, and where tiles
 * that outlive a nest are kept, differs and comes by hooks.
 */
#ifndef TRICOT_PASSES_KERNEL_DISTRIBUTE_WALK_H
#define TRICOT_PASSES_KERNEL_DISTRIBUTE_WALK_H
#include "passes/kernel/distribute.h"

typedef struct Walk Walk;

typedef struct WalkHooks {
  /* The cell of a tile at the walk's place (of its first column), and the array it lies in. */
  Affine (*cell)(Walk *, const Tile *, Buffer **);
  /* Keeps the tile's value at the walk's place for other nests. */
  void (*keep)(Walk *, const Tile *, KValue *);
  /* The value of a tile that needs no array, at the walk's place; NULL: it has one. May be NULL. */
  KValue *(*value)(Walk *, const Tile *);
  /* One more value into a fold, statement `index` of the nest. */
  void (*fold)(Walk *, int index);
} WalkHooks;

struct Walk {
  Spread *spread;
  const WalkHooks *hooks;
  const Nest *nest;
  Block *block; /* where statements go */
  Position position;
  int width;      /* of this walk's values */
  int tail;       /* > 0: only so many lanes of the vector are columns */
  bool checked;   /* accesses may leave their tensors */
  KValue **value; /* by tile id, at the current place */
};

Stmt *vector_load(Spread *, Block *, Buffer *, Affine at, Dtype, int width);
Stmt *vector_store(Spread *, Block *, Buffer *, Affine at, KValue *);

/* A value in every lane of the walk's width. */
KValue *walk_widened(Walk *, KValue *);
/* The tile's value at the walk's place: from this nest, or from its array. */
KValue *walk_value(Walk *, const Tile *);
/* The value of a TILE_FILL, TILE_INDEX or TILE_LOAD at the walk's place. */
KValue *walk_source(Walk *, const Stmt *);
/* Every statement of the nest at one place, then what must outlive the nest. */
void walk_body(Walk *, Block *);
/* Can accesses of the nest not be made of vectors of columns: are these not side by side in memory,
 * or can they lie before their tensor? `vector`: lanes. */
bool walk_needs_scalars(const Spread *, const Stmt *, const Tile *domain, int vector);
#endif
