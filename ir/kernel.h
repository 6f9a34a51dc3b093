/* Kernel IR: one kernel, in one of two stages.
 *
 * TILE stage (what lowering writes, where fusion and schedules live). A kernel is a program for one
 * block of a grid. Statements act on tiles: rows x columns of scalars, statically shaped. The rows
 * of a tile are the points of a small box (1 to 4 axes, the last fastest: a patch of a volume, some
 * tokens, some k of a contraction); the columns are consecutive channels. Loads and stores are
 * affine slices of whole tensors: every coordinate is an affine function of grid and loop variables
 * plus factors times the row axes and the column; outside the tensor a load gives `fill` and a
 * store does nothing. So halos, padding and ragged edges need no arithmetic anywhere else. There
 * are no threads, no addresses, no barriers, and no statement knows the target.
 *
 * LOOP stage (what emitters walk). Tiles are gone. The block is run by `threads` threads in the
 * usual SIMT sense (1 on CPUs). Values are scalars or short vectors; buffers live in global, shared
 * (per block) or local (per thread) memory and are addressed by one flat affine index;
 * communication through shared memory is separated by barriers; every scalar op is one the emitters
 * can spell.
 *
 * Both stages share loops, lookups, affine expressions and the scalar ops of ir/kops.def.
 * Determinism: blocks never write the same cell; folds have one fixed order.
 */
#ifndef TRICOT_IR_KERNEL_H
#define TRICOT_IR_KERNEL_H
#include "runtime/base/arena.h"
#include "runtime/base/diag.h"
#include "runtime/base/dtype.h"
#include "runtime/base/fault.h"
#include "runtime/base/map.h"
#include "runtime/base/text.h"

enum { MAX_TERMS = 16, MAX_ROW_AXES = 4, MAX_GRID = 8, MAX_KOP_ARGS = 3 };

/* ---- index arithmetic ---- */

typedef struct IndexVar {
  const char *name; /* unique in the kernel, no '%' */
  int id;
  int64_t low, high; /* every value it takes lies in [low, high]: what bounds analysis uses */
} IndexVar;

typedef struct Affine {
  int64_t constant;
  int count;
  struct {
    const IndexVar *var;
    int64_t factor; /* never 0; one term a variable */
  } term[MAX_TERMS];
} Affine;

/* Holds when 0 <= value < extent; or, with modulus > 0, when value is a multiple of modulus. */
typedef struct Guard {
  Affine value;
  int64_t extent, modulus;
} Guard;

typedef VEC(Guard) Guards;

/* A constant list of integers: tap offsets and the like. */
typedef struct Table {
  const char *name;
  int count;
  const int64_t *values;
} Table;

/* ---- storage ---- */

typedef enum Space {
  SPACE_GLOBAL, /* a kernel argument: a whole tensor */
  SPACE_SHARED, /* per block, seen by all its threads; in the TILE stage a tensor of any rank */
  SPACE_LOCAL,  /* per thread; constant indices end up in registers; LOOP stage */
  SPACE_POINTER /* a run of elements of a global buffer, or zeros (STMT_POINTER); LOOP stage */
} Space;

typedef struct Buffer {
  const char *name;
  int id; /* for SPACE_GLOBAL: the argument's position, 0 .. n_arguments-1 */
  Space space;
  Type type;    /* the tensor; in the LOOP stage [elements] of all but arguments */
  bool written; /* GLOBAL: some statement stores into it */
  bool aliased; /* GLOBAL: shares its memory with another argument (an update in place): element i
                   of one is element i of the other, read before it is written */
} Buffer;

/* ---- TILE stage ---- */

typedef struct Tile {
  const char *name;
  int id;
  Dtype dtype;
  int n_axes;             /* of the row box, 0: one row */
  int axis[MAX_ROW_AXES]; /* extents */
  int rows, cols;         /* rows = product of axis[] */
} Tile;

/* Coordinate d of the element for row (r0,r1,…) and column c:
 *   (at + sum row[j]*rj + col*c) / divisor        exact division required, else outside */
typedef struct AccessDim {
  Affine at;
  int64_t row[MAX_ROW_AXES], col;
  int64_t divisor; /* 1 almost always */
} AccessDim;

typedef struct Access {
  Buffer *buffer;
  int rank;
  AccessDim dim[MAX_RANK];
  /* Data-dependent coordinate: dimension gather_dim is the value of this integer tile (one column;
   * its row, or its only row) instead of dim[gather_dim]; the runtime promises it is in range. */
  Tile *gather;
  int gather_dim;
} Access;

/* ---- LOOP stage ---- */

typedef struct KValue {
  int id;
  Dtype dtype;
  int width; /* 1: scalar; else lanes of a vector */
} KValue;

/* ---- scalar ops ---- */

typedef enum KopKind {
  KOP_PLAIN,      /* operands and result of one type */
  KOP_COMPARE,    /* result f32 1.0 or 0.0 */
  KOP_SELECT,     /* (f32 condition, x, y): x where the condition is not 0 */
  KOP_CAST,       /* result type differs: the statement's */
  KOP_PAIR,       /* two bf16 into one i32 */
  KOP_DOT,        /* (i32 pair, i32 pair, f32): f32 */
  KOP_MMA,        /* (i32x4, i32x2, f32x4): f32x4, by the lanes of a warp together; of tf32
                     (f32x4, f32x2, f32x4); LOOP stage */
  KOP_HORIZONTAL, /* vector to scalar; LOOP stage; halves are combined, low with high, until one is
                     left */
  KOP_SPLAT       /* scalar to vector; LOOP stage */
} KopKind;

typedef enum Kop {
#define KOP(name, arity, kind, flops, c_float, c_int, llvm_float, llvm_int) K_##name,
#include "ir/kops.def"
#undef KOP
  K_COUNT
} Kop;

typedef struct KopInfo {
  const char *name;
  int arity;
  KopKind kind;
  int flops;                         /* counted for an f32 result element */
  const char *c_float, *c_int;       /* C spelling with $0 $1 $2, "" when it must be expanded */
  const char *llvm_float, *llvm_int; /* see ir/kops.def */
} KopInfo;

extern const KopInfo kop_info[K_COUNT];
bool kop_find(const char *name, Kop *kop);
/* What a fold by add, max or min starts from. */
double kop_neutral(Kop kop);
/* One element in the machine's arithmetic: f32 ops round to float, integers wrap at their width. */
typedef union Scalar {
  float f;
  int64_t i; /* every integer type, sign- or zero-extended */
} Scalar;
Scalar kop_eval(Kop kop, Dtype operand, Dtype result, const Scalar *args);

/* ---- statements ---- */

typedef struct Stmt Stmt;
typedef VEC(Stmt *) Block;

typedef enum StmtKind {
  /* both stages */
  STMT_FOR, /* for var = low; var < high (and var < high2 when has_high2); var += step { body } */
  STMT_IF,  /* if all guards hold { body } else { other } */
  STMT_LOOKUP, /* var = table[at]; with table NULL: element `at` of `buffer`, an i32 argument that
                  the kernel only reads and that holds nothing outside the range of var */
  /* TILE stage: `tile` is the result; naming an existing tile overwrites it */
  STMT_TILE_FILL,  /* tile = number everywhere */
  STMT_TILE_INDEX, /* tile = at + sum row_factor[j]*rj + col_factor*c, converted to its type */
  STMT_TILE_LOAD,  /* tile = access, fill outside */
  STMT_TILE_MAP,   /* tile = kop(arguments): tiles broadcast along rows and columns of extent 1 */
  STMT_TILE_DOT,   /* tile[R,C] += tile_arg[0][R,K] . tile_arg[1][K,C], k in ascending order */
  STMT_TILE_FOLD,  /* tile = kop (add, max, min) over tile_arg[0]'s rows (fold_rows) or columns */
  STMT_TILE_STORE, /* access = tile_arg[0]; accumulate: += instead (gathered stores only) */
  STMT_TILE_PREFETCH, /* the elements of access, at the rows and columns of `tile`, will be read
                         soon; `tile` has no value */
  /* LOOP stage */
  STMT_INDEX,       /* var = (at / divisor) % modulus, at >= 0; modulus 0: no remainder taken */
  STMT_POINTER,     /* buffer (SPACE_POINTER) = &base[at] if guards hold, else zeros */
  STMT_LOAD,        /* value = buffer[at + dynamic*dynamic_factor + lane]; see `lanes`, guards */
  STMT_STORE,       /* the same, storing value_arg[0] */
  STMT_LET,         /* value = kop(value arguments) */
  STMT_CONST,       /* value = number in every lane */
  STMT_INDEX_VALUE, /* value lane l = at + l*col_factor */
  STMT_MATRIX, /* value, i32 of width 1, 2 or 4, in every lane of a warp: its pairs of so many
                  matrices of 8 x 8 bf16. Lane l gives by buffer[at], shared, the place of row l % 8
                  of matrix l / 8, and gets of each matrix the elements 2(l % 4) and the next of row
                  l / 4; turned: of column l / 4. Rows are aligned to 16 bytes. */
  STMT_COPY,   /* starts copying `count` elements, 4, 8 or 16 bytes, from base[from], global, to
                  buffer[at], shared; zeros if the guards fail. Places are multiples of count */
  STMT_COMMIT, /* what the thread's copies since its last commit do is one group */
  STMT_WAIT,   /* until at most `count` of the thread's groups are open; then no copy of its own
                  into the buffers of `arrived` is */
  STMT_BARRIER,
  STMT_PREFETCH /* buffer[at] will be read soon */
} StmtKind;

struct Stmt {
  StmtKind kind;
  Loc loc;

  IndexVar *var; /* FOR, LOOKUP, INDEX */
  Affine at;     /* LOOKUP, INDEX, POINTER, LOAD, STORE, INDEX_VALUE, PREFETCH, TILE_INDEX */
  Affine low, high, high2; /* FOR */
  bool has_high2;
  int64_t step;
  int unroll;        /* FOR: 0 and 1 a loop, -1 unrolled whole, n > 1: by n as a hint */
  Block body, other; /* FOR, IF */
  Guards guards;     /* IF, POINTER; LOAD: fill `number` where they fail; STORE: nothing */
  const Table *table;

  Tile *tile;
  Tile *tile_arg[MAX_KOP_ARGS];
  Kop kop;
  double number; /* fill, constant */
  Access access;
  bool fold_rows, accumulate;
  bool inside; /* TILE_LOAD: no element lies outside its tensor, by what encloses the statement */
  bool turned; /* MATRIX */
  Affine from; /* COPY */
  int count;   /* COPY, WAIT */
  VEC(Buffer *) arrived; /* WAIT */
  bool stream; /* TILE_STORE, STORE: will not be read soon, so caches need not keep it. The buffer
                  is aligned to STREAM_ALIGNMENT bytes. */
  int64_t row_factor[MAX_ROW_AXES], col_factor;

  Buffer *buffer, *base; /* LOOKUP, LOAD, STORE, POINTER, MATRIX, COPY, PREFETCH; POINTER: what
                            it goes into; COPY: where it comes from */
  KValue *value;
  KValue *value_arg[MAX_KOP_ARGS];
  KValue *dynamic; /* LOAD, STORE: scalar integer added to the address times the factor */
  int64_t dynamic_factor;
  bool has_lanes; /* LOAD, STORE of a vector: only lanes l with l < lanes are touched; */
  Affine lanes;   /*   the others load as 0 */
  int64_t divisor, modulus;
};

enum { STREAM_ALIGNMENT = 64, WARP_LANES = 32, MATRIX_ROWS = 8 };

typedef enum Stage { STAGE_TILE, STAGE_LOOP } Stage;

typedef struct GridAxis {
  IndexVar *var; /* 0 .. extent-1 */
  int64_t extent;
} GridAxis;

/* The numbers a schedule consists of; printed with the kernel, stored by tuning. */
typedef struct Schedule {
  int rows, cols; /* register tile: rows by columns */
  int unroll_k;
  int strips;            /* blocks a grid-wide fold is split into, 1: not split */
  bool stage_a, stage_b; /* operands of a dot go through shared memory */
} Schedule;

typedef struct Kernel {
  Arena *arena;
  const char *name;
  const char *doc; /* the graph ops inside, for people */
  Loc loc;         /* YAML place of its main op */
  Stage stage;
  int threads;      /* LOOP stage */
  IndexVar *thread; /* LOOP stage: its number 0 .. threads-1; may be NULL with one thread */
  int n_grid;
  GridAxis grid[MAX_GRID]; /* blocks are numbered with the last axis fastest */
  VEC(Buffer *) buffers;   /* arguments first, in order */
  int n_arguments;
  VEC(Table *) tables;
  VEC(IndexVar *) vars;
  VEC(Tile *) tiles;
  VEC(KValue *) values;
  Block body;
  Schedule schedule;
  Map names; /* taken names, for the builders alone */
} Kernel;

/* ---- building ----
 * Names are copied, made of letters, digits, '_' and '.' (others become '_'), and unique in the
 * kernel: a number is appended when a name is taken. */

Kernel *kernel_new(Arena *arena, const char *name, Stage stage);
/* Takes the names of the other kernel's arguments, tables and variables, which this one is going to
 * share. */
void kernel_take_names(Kernel *kernel, const Kernel *from);
/* Moves all that the other kernel's statements are made of, but its arguments: those are arguments
 * of this one from now on, arguments[i] for number i. LOOP stage. Of `from` nothing is left but its
 * body, its grid and its thread, which are now this kernel's, to be placed in it. */
void kernel_take_over(Kernel *kernel, Kernel *from, Buffer *const *arguments);
Buffer *kernel_argument(Kernel *, const char *name, Type type, bool written);
Buffer *kernel_buffer(Kernel *, const char *name, Space space, Dtype dtype, int64_t elements);
/* A tensor that lives as long as the block (TILE stage). */
Buffer *kernel_scratch(Kernel *, const char *name, Type type);
IndexVar *kernel_var(Kernel *, const char *name, int64_t low, int64_t high);
IndexVar *kernel_grid(Kernel *, const char *name, int64_t extent);
/* Sets `threads` and makes the variable that holds the thread's number (LOOP stage, once). */
IndexVar *kernel_thread(Kernel *, const char *name, int threads);
const Table *kernel_table(Kernel *, const char *name, int count, const int64_t *values);
/* n_axes 0 gives one row. */
Tile *kernel_tile(Kernel *, const char *name, Dtype dtype, int n_axes, const int *axis, int cols);
KValue *kernel_value(Kernel *, Dtype dtype, int width);
int64_t kernel_blocks(const Kernel *); /* product of the grid */

/* Appends a zeroed statement of the kind to the block. */
Stmt *stmt_add(Kernel *, Block *block, StmtKind kind);
Stmt *stmt_for(Kernel *, Block *block, IndexVar *var, int64_t low, int64_t high, int64_t step);
Stmt *stmt_map(Kernel *, Block *, Tile *result, Kop, Tile *a, Tile *b,
               Tile *c); /* b, c may be NULL */
KValue *stmt_let(Kernel *, Block *, Kop, Dtype, int width, KValue *a, KValue *b, KValue *c);
KValue *stmt_const(Kernel *, Block *, double number, Dtype, int width);

/* Of two numbers that are not negative; of 0 and another the other. */
int64_t greatest_divisor(int64_t a, int64_t b);
Affine affine_constant(int64_t constant);
Affine affine_var(const IndexVar *var, int64_t factor);
Affine affine_add(Affine a, Affine b);
Affine affine_scale(Affine a, int64_t factor);
Affine affine_offset(Affine a, int64_t constant);
/* Replaces a variable by an expression. */
Affine affine_substitute(Affine a, const IndexVar *var, Affine by);
bool affine_is_constant(const Affine *a);
bool affine_equal(const Affine *a, const Affine *b);
int64_t affine_low(const Affine *a), affine_high(const Affine *a); /* from the variables' ranges */

/* ---- text, checking, evaluation ---- */

/* The .tk form described in docs/kernel-ir.md; parse and print are inverse. Both stages. */
void kernel_print(const Kernel *, Text *text);
Kernel **kernel_parse(Arena *, Diag *, const char *path, const char *text, size_t size, int *count);
/* Verifier for the kernel's stage: definitions before uses, shapes of tiles, types of values,
 * uniform control flow around barriers, only spellable ops in the LOOP stage, widths that agree. */
bool kernel_check(const Kernel *, Error *error);
/* Is the statement done by the lanes of a warp together (mma, MATRIX)? */
bool stmt_is_warp(const Stmt *);
/* Is it, or is it of copies beside the threads: nothing that one thread on a CPU could do? */
bool stmt_is_device(const Stmt *);
/* Runs every block. arguments[i] is the storage of argument i (the machine's own element types).
 * LOOP stage: threads step together statement by statement, in an order shuffled by `seed`; a
 * shared cell written by one thread and touched by another with no barrier between is an error, as
 * is any access outside a buffer and any read of a local or shared cell never written (filled with
 * NaN). */
bool kernel_eval(const Kernel *, void *const *arguments, uint64_t seed, Error *error);
typedef struct KernelFlops {
  double all;
  double paired; /* of them, by dots of pairs of bf16 and on matrix units */
  double open;   /* of them, in loops whose ends are data: at most so many */
} KernelFlops;

/* Floating operations of the whole kernel, counted by walking it (2 for an fma, 1 for add, mul, …).
 */
KernelFlops kernel_flops(const Kernel *);
/* Bytes of each argument that a kernel of the TILE stage must read and write: every cell it touches
 * once for all loads and once for all stores, in whole cache lines where rows consist of them.
 * Fills moved[n_arguments], returns the sum. */
int64_t kernel_bytes(const Kernel *, int64_t *moved);
#endif
