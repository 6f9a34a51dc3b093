/* What emit_text.c and the two dialects share: the emitter's state and the small spellings.
 *
 * Expressions are built as arena strings, statements are lines of the output. Names of the kernel
 * are made safe for C and C++ once per kernel; a value is v<id>, a vector type is f32x16. Both
 * dialects use the IR's own names for element types (f32, i32, …), which their preludes define.
 */
#ifndef TRICOT_CODEGEN_TEXT_DIALECT_H
#define TRICOT_CODEGEN_TEXT_DIALECT_H
#include "codegen/emit.h"

typedef struct Dialect Dialect;

/* Which element types and widths a set of kernels uses, and its largest zero buffers. */
typedef struct Usage {
  bool value[DT_COUNT][8]; /* [dtype][log2 width] */
  int64_t zeros[DT_COUNT]; /* elements of the longest SPACE_POINTER buffer */
  bool mma, tf32, pair, matrix[2][5]; /* ops of warps: matrix by [turned][width] */
  bool copy[17];                /* by bytes */
} Usage;

typedef struct Emitter {
  const Dialect *dialect;
  Text *text;
  Arena *arena;
  Usage usage;
  /* of the kernel at hand */
  const Kernel *kernel;
  const char **var_name, **buffer_name, **table_name;
  int *local_width; /* SPACE_LOCAL buffers held as arrays of vectors: lanes; else 1 */
  bool *pointer_written; /* SPACE_POINTER buffers that some statement stores through */
  int64_t *multiple; /* by variable: a number that divides all its values */
  int indent;
  int line;         /* YAML line of the last place comment */
  const char *lane; /* in a lane loop: vectors are read and written at this index */
} Emitter;

/* What a dialect decides. */
struct Dialect {
  bool narrow_index; /* index arithmetic in int where the ranges allow it, else always in i64 */
  bool vector_arrays; /* local arrays of vectors exist */
  bool wrap_casts;   /* signed overflow is avoided through unsigned casts (no -fwrapv there) */
  const char *constant; /* how a file-scope constant array begins */
  const char *barrier;
  void (*prelude)(Emitter *);
  void (*open)(Emitter *);  /* the signature, through the declarations of grid variables */
  void (*close)(Emitter *);
  void (*shared)(Emitter *, const Buffer *, int64_t offset);
  void (*unroll)(Emitter *, int64_t trips);
  void (*prefetch)(Emitter *, const char *address);
  void (*vector)(Emitter *, const Stmt *); /* LOAD … INDEX_VALUE where a value is a vector */
  /* What warps do together, copies beside the threads; NULL: there is no such thing. */
  void (*device)(Emitter *, const Stmt *);
};
extern const Dialect dialect_c, dialect_cuda;

/* Helpers of both preludes for bf16, which is carried as its bits: widening is exact, narrowing
 * rounds to nearest even and keeps NaN. */
#define TEXT_BF16 TEXT_WIDEN TEXT_NARROW
#define TEXT_WIDEN \
  "TRICOT_HELPER f32 tricot_widen(bf16 x) { return tricot_bits_f32((i32)((u32)x << 16)); }\n"
#define TEXT_NARROW \
  "TRICOT_HELPER bf16 tricot_narrow(f32 x) {\n" \
  "  u32 bits = (u32)tricot_bits_i32(x), upper = bits >> 16;\n" \
  "  return (bf16)(x != x ? upper | 64 : (bits + 0x7fff + (upper & 1)) >> 16);\n" \
  "}\n"

/* ---- spellings (arena strings) ---- */
void name_everything(Emitter *); /* fills the name arrays for e->kernel */
const char *spell(Emitter *, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *spell_type(Emitter *, Dtype dtype, int width);
const char *spell_index_type(Emitter *, int64_t low, int64_t high);
const char *spell_value(Emitter *, const KValue *value);
const char *spell_affine(Emitter *, const Affine *affine);  /* as it is: "3*x + y - 1" */
const char *spell_operand(Emitter *, const Affine *affine); /* in parentheses where it needs them */
const char *spell_guards(Emitter *, const Guards *guards);  /* NULL: they always hold */
const char *spell_address(Emitter *, const Stmt *stmt);     /* what stands in the brackets */
const char *spell_number(Emitter *, Dtype dtype, double number);
const char *spell_template(Emitter *, const char *form, const char *const *arguments);
const char *spell_kop(Emitter *, const Stmt *let); /* one element */

/* ---- lines ---- */
void line(Emitter *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void comment(Emitter *, const char *words); /* words made harmless; several lines are kept */
void assign(Emitter *, const KValue *value, const char *expression);
/* Is every address of the LOAD or STORE a multiple of its vector, up to 16 bytes? */
bool access_is_whole(const Emitter *, const Stmt *);
void emit_scalar(Emitter *, const Stmt *stmt); /* LOAD … INDEX_VALUE, one lane */
void emit_grid(Emitter *, const char *type);   /* several grid variables from `block` */
#endif
