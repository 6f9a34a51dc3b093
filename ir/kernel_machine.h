/* The kernel interpreter's machine, shared by kernel_eval.c (blocks, control flow, LOOP stage),
 * kernel_eval_tile.c (TILE stage) and kernel_eval_warp.c (what warps do together). */
#ifndef TRICOT_IR_KERNEL_MACHINE_H
#define TRICOT_IR_KERNEL_MACHINE_H
#include "ir/kernel_text.h"

/* The cells of a buffer and who touched them last. A tag is epoch * 4096 + thread + 1, 0: nobody.
 */
typedef struct Store {
  Dtype dtype;
  Space space;
  int64_t elements; /* of one thread, when local */
  void *bytes;
  uint64_t *write, *read; /* a tag a cell; NULL where nothing needs watching */
} Store;

/* Where a pointer buffer points, by thread. */
typedef struct Pointer {
  const Buffer *base; /* NULL: nowhere yet */
  int64_t start;
  bool zeros;
} Pointer;

/* A copy that a thread has started. */
typedef struct Copying {
  const Stmt *stmt;
  int64_t to, from; /* elements */
  bool zeros;
  int group; /* number of the commit that closes it */
} Copying;

typedef struct Copies { /* of a thread */
  VEC(Copying) open;
  int groups; /* committed in this block */
} Copies;

typedef struct Machine {
  const Kernel *kernel;
  Error *error;
  Arena *arena;
  int threads;
  int64_t *vars;     /* [thread][variable id] */
  Scalar *values;    /* [thread][lane] */
  int *value_offset; /* first lane, by value id */
  int lanes;         /* of all values together */
  Store *stores;     /* by buffer id; empty for pointers */
  Pointer *pointers; /* [thread][buffer id] */
  Copies *copies;    /* by thread */
  Scalar **tiles;    /* rows x columns, by tile id */
  int64_t block;
  uint64_t epoch;       /* grows at every barrier and at every block */
  uint64_t block_epoch; /* the block's first epoch */
  uint64_t random;      /* state that shuffles threads */
} Machine;

/* Sets the error: kernel, statement, block and thread, then the words. Returns false. */
bool machine_fail(Machine *, const Stmt *, int thread, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
int64_t machine_affine(const Machine *, int thread, const Affine *);
/* Bounds-free cell access with the rules on who may touch what; false with the error set. */
bool machine_read(Machine *, const Stmt *, int thread, const Buffer *, int64_t cell, Scalar *);
bool machine_write(Machine *, const Stmt *, int thread, const Buffer *, int64_t cell, Scalar);
/* Whether the cell was written in this epoch already. */
bool machine_written_now(const Machine *, const Buffer *, int64_t cell);
/* A number as an element of the type. */
Scalar machine_number(Dtype, double number);
bool machine_tile_statement(Machine *, const Stmt *);
/* COPY, COMMIT and WAIT of a thread; the end of a block (kernel_eval_copy.c). */
bool machine_copy(Machine *, const Stmt *, int thread);
bool machine_wait(Machine *, const Stmt *, int thread);
bool machine_end_copies(Machine *);
bool machine_guards_hold(const Machine *, int thread, const Guards *);
/* The lanes of a thread's value. */
Scalar *machine_lanes(const Machine *, int thread, const KValue *);
/* A statement of warps for the warp whose first thread is given. */
bool machine_warp_statement(Machine *, const Stmt *, int first);
#endif
