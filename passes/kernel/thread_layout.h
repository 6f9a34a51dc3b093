/* How the threads of a block share out domains of rows x columns: see thread_layout.c. */
#ifndef TRICOT_PASSES_KERNEL_THREAD_LAYOUT_H
#define TRICOT_PASSES_KERNEL_THREAD_LAYOUT_H
#include "passes/kernel/distribute_walk.h"

enum { WARP = 32, FRAGMENT_ROWS = 16, FRAGMENT_COLUMNS = 8, MAX_WARPS_LOG = 6 };

typedef enum LayoutKind {
  LAYOUT_DEALT,   /* units go to the threads in turn, row by row */
  LAYOUT_GROUPED, /* each row belongs to a group of threads, which take its units in turn */
  LAYOUT_FRAGMENT /* that of matrix units */
} LayoutKind;

/* A thread's share of a domain is a list of units, each `vector` consecutive columns of one row. A
 * tile kept by its threads has the cells of a unit side by side in the thread's array, unit after
 * unit.
 *
 * Of fragments: warps share the domain as a grid of `warps_down` by others, each owns `down` by
 * `across` pieces of 16 rows and 8 columns. Lane 4g + t of a warp has columns 2t and 2t + 1 of rows
 * g and g + 8: two units, one after the other, as the accumulators of products of 16 by 8 lie.
 */
typedef struct Layout {
  LayoutKind kind;
  int vector;
  int units;   /* of the thread with most of them */
  int per_row; /* GROUPED: threads to a row */
  int warps_down, down, across;
} Layout;

typedef struct Threads { /* Spread.own */
  Layout *layouts;       /* by tile id, of the tile's domain */
  bool *stays;           /* by tile id: every reader finds its cells in its own thread's array */
  Buffer **own;   /* by tile id: of others, what a thread computed itself, for itself; NULL: none */
  bool *read_own; /* by tile id: there are readers that need no more */
  const Stmt **source; /* by tile id: the statement that gives its value anywhere; NULL: none */
  const Stmt **staged; /* by tile id: the load of a dot's operand, into a tile of its own so that
                          it has its own layout; NULL: the dot reads what is there */
  bool *turned;        /* by tile id: there, with rows and columns exchanged */
  IndexVar *lane_of_8, *lane_of_16, *second_8, *second_16; /* for matrix units */
  bool *two_slots; /* by tile id: its array has two, which a pipeline uses in turn */
  Affine *slot;    /* by tile id: where the one begins that is written or read now */
  const IndexVar *ahead, *ahead_of; /* a pipeline's next round; the variable of the loop */
  VEC(Buffer *) arriving; /* copies into these have been started, nobody has waited for them */
  IndexVar *lane_row, *lane_column;  /* g and t */
  IndexVar *warp_row[MAX_WARPS_LOG]; /* by log2 of warps_down */
  IndexVar *warp_column[MAX_WARPS_LOG];
} Threads;

/* Chooses the layout of every domain and where tiles are kept. */
void threads_plan(Spread *);
Threads *threads_of(const Spread *);
const Layout *layout_of(const Spread *, const Tile *domain);
/* Can threads fold their own units first? Then few values are left for each result. */
bool layout_folds(const Layout *);
/* Those values for one result, and which of them the thread has. */
int fold_slots(const Spread *, const Tile *domain, bool by_rows);
Affine fold_slot(Spread *, Block *, const Tile *domain, bool by_rows);

/* One unit of a domain, in the innermost of the loops that units_open makes. */
typedef struct Unit {
  Affine number;      /* among the thread's units */
  Affine row, column; /* numbers among the rows and columns of units that the thread has */
  Position position;  /* of its first column */
  Block *block;
} Unit;

typedef enum UnitChoice { UNITS_ALL, UNITS_FIRST_OF_ROW, UNITS_FIRST_OF_COLUMN } UnitChoice;
/* Loops over the units of a thread, unrolled where they are few. */
Unit units_open(Spread *, Block *to, const Tile *domain, UnitChoice);
/* The place of a row of a domain, given by its number; columns at 0. */
Position unit_place(Spread *, Block *, const Tile *domain, Affine row);
/* The first row and column of what a thread's warp owns of a domain in fragments. */
Affine fragment_row(const Spread *, const Layout *);
Affine fragment_column(const Spread *, const Layout *);
/* Rows and columns of units that a thread has; not of LAYOUT_DEALT. */
int unit_rows(const Spread *, const Tile *domain);
int unit_columns(const Spread *, const Tile *domain);
#endif
