/* What both ways of distributing tiles share: see distribute.c. */
#ifndef TRICOT_PASSES_KERNEL_DISTRIBUTE_H
#define TRICOT_PASSES_KERNEL_DISTRIBUTE_H
#include "passes/kernel/kernel_pass.h"

enum { MAX_NEST = 256 };

typedef struct Spread {
  Arena *arena;
  const Facts *facts;
  const Kernel *from;
  Kernel *to;
  int n_ids;             /* of tiles: the kernel's own, then room for as many that are made here */
  Buffer **storage;      /* by tile id: local or shared array of rows x row_stride */
  const Stmt **deferred; /* by tile id: a load read only by dots: never materialised */
  bool *live;            /* by tile id: a store depends on it */
  int *references;       /* by tile id: statements that define or read it */
  Buffer **scratch;      /* by id of the TILE stage's buffers: a shared tensor's array */
  int64_t *pitch;        /* of these: elements from one row of the last dimension to the next */
  void *own;             /* of the way of distribution */
} Spread;

/* A run of statements over one domain of rows x columns that becomes one loop nest. */
typedef struct Nest {
  const Stmt *stmt[MAX_NEST];
  int count;
  const Tile *domain; /* any tile with the domain's rows and columns */
} Nest;

/* The tile whose rows and columns a statement walks. */
const Tile *stmt_domain(const Stmt *stmt);
bool same_domain(const Tile *a, const Tile *b);
bool nest_defines(const Nest *nest, const Tile *tile);
bool nest_touches(const Nest *nest, const Tile *tile);
/* Every reference to the tile lies in the nest, and it is written there before it is read. */
bool nest_private(const Spread *spread, const Nest *nest, const Tile *tile);

/* A store whose columns lie apart in memory goes element by element, in a nest of its own, so that
 * what computes its tile can use vectors. */
bool store_walks_apart(const Spread *spread, const Stmt *stmt);

/* Walks the TILE statements of a block, forming nests; calls back for nests and dots. */
typedef struct SpreadHooks {
  void (*nest)(Spread *, Block *to, const Nest *);
  void (*dot)(Spread *, Block *to, const Stmt *);
  void (*prefetch)(Spread *, Block *to, const Stmt *);
  /* Emits a loop itself; false: its body is to be spread as any block. NULL: never. */
  bool (*loop)(Spread *, Block *to, const Stmt *);
  /* Before statements with blocks of their own, and at the end of a block; NULL: nothing. */
  void (*settle)(Spread *, Block *to);
} SpreadHooks;
void spread_block(Spread *spread, const SpreadHooks *hooks, const Block *from, Block *to);

/* ---- addresses ---- */

/* Where a tile's element is: the values of row axes and column as affine expressions. */
typedef struct Position {
  Affine row[MAX_ROW_AXES], col;
  Affine flat;   /* the row's number in the box */
  int flat_rows; /* rows of that box; 0: `flat` is not known */
} Position;

typedef struct Address {
  Affine flat;      /* element of the buffer, without the gathered dimension */
  Guards guards;    /* must hold for the element to exist */
  int64_t dynamic;  /* stride of the gathered dimension, 0: none */
  bool col_limited; /* the column's dimension may run over: lanes below `limit` exist */
  Affine limit;
} Address;

/* Row-wise part of a coordinate (columns at zero) and its size; divisor applied by address_of. */
Affine access_value(const AccessDim *dim, const Position *position);
/* The flat address of an access at a position. Emits divisions into `block` where a dimension has a
 * divisor. The column's dimension, when it has factor 1 and no divisor, is not guarded but limited.
 */
Address address_of(Spread *spread, Block *block, const Access *access, const Position *position,
                   bool vector_columns);
/* What stands for a buffer of the TILE stage in the LOOP stage. */
Buffer *spread_buffer(const Spread *spread, Buffer *buffer);
int64_t access_stride(const Spread *, const Access *access, int dim); /* elements */
int64_t access_col_stride(const Spread *, const Access *access); /* flat, of one column step */
/* A factor of a dot in f32, in which all products are taken. */
KValue *widened(Spread *spread, Block *block, KValue *value);
/* Row-major place of a row in a tile's storage. */
Affine tile_row(const Tile *tile, const Position *position);

void distribute_vector(Spread *spread);
void distribute_thread(Spread *spread);
#endif
