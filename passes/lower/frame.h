/* A frame: one kernel under construction, and where in the region's space it stands.
 *
 * The iteration space is described per dimension by a Place: a grid or loop position plus factors
 * of the tile's row axes and column. In a flat frame neighbouring dimensions that every access
 * walks in step are one group, and buffers are read as one long axis; otherwise accesses keep the
 * tensors' own dimensions, and so their bounds: reading outside gives the fill value, writing
 * outside is dropped.
 */
#ifndef TRICOT_PASSES_LOWER_FRAME_H
#define TRICOT_PASSES_LOWER_FRAME_H
#include "passes/lower/lower.h"
#include "passes/view_map.h"

typedef struct Place {
  Affine at;
  int64_t row[MAX_ROW_AXES], col;
} Place;

typedef struct Lower {
  Arena *arena;
  const Facts *facts;
  const Node *region;
  const Graph *body;
  const Node *anchor; /* of the body, or NULL */
  const char *name;
  Lowered *out;
} Lower;

/* A body value that kernels compute in parts, one a strip. */
typedef struct Partial {
  Value *value; /* of the body */
  Kop kop;      /* add, max, min */
  int temp;
  int mean_temp; /* a variance: of the means, temp being of squared distances; -1 */
} Partial;

typedef struct Frame {
  Lower *lower;
  Kernel *kernel;
  Block *block; /* where statements go */
  LoweredStep step;
  bool flat;
  int rank;            /* of the space */
  int group[MAX_RANK]; /* flat: dimension -> group */
  int n_groups;
  int64_t extent[MAX_RANK]; /* of each dimension (not flat) or group (flat) */
  Place place[MAX_RANK];
  int64_t apart[MAX_RANK]; /* > 1: the tile's places along a dimension are so far apart, */
  Affine phase[MAX_RANK];  /* and leave this rest */
  int n_axes, axis[MAX_ROW_AXES], cols; /* tile box */
  Tile **tile;                          /* by body value id: already computed here */
  const bool *late; /* by body value id: a row fold, or computed from one; NULL: none is */
  const struct WindowLine *line; /* what a window op's block keeps of a line; NULL: nothing */
  Buffer *brought[2];            /* the block's own tensors that halo.c made last */
  bool stream;                   /* outputs larger than the caches are written past them */
  /* dimension 2 is walked in bands of so many tiles from band_start on; NULL: there are none */
  const IndexVar *band_row; /* the tile's number in its band */
  int64_t band_tiles;
  Affine band_start;
} Frame;

void frame_start(Frame *frame, Lower *lower, const char *suffix);
/* Hands the finished kernel over as the next step. */
void frame_finish(Frame *frame, const char *doc);

/* Groups the dimensions of `space` for a flat frame; dimensions whose `keep_apart` bits differ
 * never share a group. Considers every access the body makes at this space. */
void frame_flatten(Frame *frame, const Type *space, unsigned keep_apart);
void frame_dims(Frame *frame, const Type *space); /* not flat: one place per dimension */

/* Kernel argument for a base value of the body (an input or a result), read as `type`. */
Buffer *frame_buffer(Frame *frame, const Value *base, Type type, bool written);
Buffer *frame_temp(Frame *frame, int temp, Type type, bool written);
/* Access to a body value of the frame's space (or broadcast to it) through its views. */
Access frame_access(Frame *frame, Value *value);
Tile *frame_tile(Frame *frame, Dtype dtype, bool rows, bool cols);
/* As `dtype`, whatever the tensor's elements are. */
Tile *frame_load(Frame *frame, const Access *access, Dtype dtype, double fill);
/* The tile in another element type; itself where it has it. */
Tile *frame_cast(Frame *frame, Tile *tile, Dtype dtype);
/* The tile of a body value at the current place: loads, computes, recursively. */
Tile *frame_value(Frame *frame, Value *value);
/* The tile with all rows and columns of the frame's: a value that does not vary along them still
 * is there once an element. */
Tile *frame_whole(Frame *frame, Tile *tile);
/* 1 for rows that are positions of the space, 0 for those past its end; NULL: none can be. */
Tile *frame_rows_inside(Frame *frame);
/* kop over tiles, as f32 of the shape they broadcast to. b, c may be NULL. */
Tile *frame_map(Frame *frame, Kop kop, Tile *a, Tile *b, Tile *c);
/* A load of another shape than the frame's tiles, in the tensor's own elements: `axis` has the
 * rows' extents. */
Stmt *frame_load_box(Frame *frame, const Access *access, const char *name, int n_axes,
                     const int *axis, int cols);
void frame_dot(Frame *frame, Tile *sum, Tile *a, Tile *b); /* sum += a . b */
/* The coordinate that a place has in each row, plus an offset, as numbers [rows] or [1]. */
Tile *frame_coordinate(Frame *frame, const Place *place, int64_t offset);
/* Access to the tile's rows in a tensor of the block's own, [rows, columns], from a column on. */
Access frame_rows_access(const Frame *frame, Buffer *tensor, Affine column);
int64_t frame_rows(const Frame *frame); /* of a tile */
void frame_store(Frame *frame, const Access *access, Tile *tile);
/* From now on stores of whole vectors into tensors that no cache would hold go past the caches. */
void frame_stream_large(Frame *frame);
/* Is the output a view of something the body computes? Then that is stored in the view's order, or
 * what the view selects of it (view_map_selects). */
bool frame_stores_moved(const Frame *frame, Value *output, ViewMap *map);
/* The dimension of a moved output that is dimension b of what it shows, or -1. */
int moved_dim(const ViewMap *map, int b);
typedef struct Strides { /* per dimension of a frame's space: 0 where it does not move */
  int64_t at[MAX_RANK];
} Strides;
/* Those of what a moved output shows, in the output. */
Strides moved_strides(const ViewMap *map, const Type *output, const Type *space);
/* Computes and stores every output of the body that `wanted` accepts (NULL: all). */
void frame_store_outputs(Frame *frame, bool (*wanted)(const Frame *, const Value *));
Tile *frame_fill(Frame *frame, double number, Dtype dtype, bool rows, bool cols);
/* Announces what elementwise ops of the region will read from large tensors at this place: for
 * kernels that first work on something else. */
void frame_announce(Frame *frame);
IndexVar *frame_loop(Frame *frame, const char *name, int64_t low, int64_t high, int64_t step,
                     Stmt **loop); /* opens a loop: frame->block moves inside */

/* Resolution of a body value to its base: a body input or a computed value. A value in f32 of a
 * bf16 input resolves to that input: it is widened as it is loaded. */
ViewMap frame_resolve(const Frame *frame, Value *value);
/* The bf16 value that is computed with in f32 as `value`; NULL: it is none. */
Value *narrow_source(const Value *value);
/* Of the memory behind a value: element type, and bytes of as many elements as the value has. */
Dtype stored_dtype(Value *value);
int64_t stored_bytes(Value *value);

/* ---- templates ---- */
void lower_rows(Lower *lower);
void lower_fold(Lower *lower);
void lower_contraction(Lower *lower);
/* With fewer products, where that pays; false: nothing was done. */
bool lower_winograd(Lower *lower);
bool lower_winograd_gradient(Lower *lower);
void lower_window(Lower *lower);
void lower_gather(Lower *lower);
void lower_chain(Lower *lower);
void lower_terms(Lower *lower);
void lower_compose(Lower *lower);
void lower_weight_gradient(Lower *lower);
void lower_attention(Lower *lower);
/* Sums partial results [strips, result elements] of some body values in strip order and goes on
 * with everything that follows them: the second half of a split fold or contraction. Results that
 * do not follow from them have been stored already. count_temp: elements of each strip, -1: not
 * needed. */
void lower_finish(Lower *lower, const Partial *partials, int count, int strips, int count_temp);

/* Adds factor times a place to a coordinate. */
void place_add(AccessDim *dim, const Place *place, int64_t factor);
/* The fold of a tile's rows (or columns) into one, as a statement. */
Tile *frame_fold(Frame *frame, Kop kop, Tile *operand, bool rows);
/* A scratch tensor of the region, [strips, …], and the partial result it stands for. */
Partial frame_partial(Lower *lower, Value *value, Kop kop, const Type *type);

/* ---- folds over rows (row_folds.c) ---- */

/* The folds over rows in a body, and their accumulators in a kernel. */
typedef struct RowFolds {
  VEC(Node *) nodes;
  Tile **sums;  /* of a variance: squared distances from the mean */
  Tile **means; /* of variances; NULL for others */
  Tile *count;  /* elements folded so far, when there are variances */
  bool columns; /* are kept */
} RowFolds;

/* A set of elements: how many, their mean, the sum of squared distances from it. */
typedef struct Moments {
  Tile *count, *mean, *squares;
} Moments;

RowFolds row_folds_of(Lower *lower);
bool frame_is_early(const Frame *frame, const Value *value); /* filters for frame_store_outputs: */
bool frame_is_late(const Frame *frame, const Value *value);  /* does it follow from row folds? */
/* Accumulators ahead of the loops; a tile's part; the results. `ragged`: rows may lie outside the
 * space. */
void row_folds_start(Frame *frame, RowFolds *folds, bool columns);
void row_folds_add(Frame *frame, RowFolds *folds, bool ragged);
/* A tile's part of one fold that is no variance, by columns. */
Tile *row_folds_part(Frame *frame, const Node *fold, bool ragged);
void row_folds_results(Frame *frame, RowFolds *folds);
/* Or partial results, of block `strip` of so many, from which a second kernel goes on. reduced[]:
 * by group of the frame, NULL: all but the last. */
void row_folds_finish(Frame *frame, RowFolds *folds, const bool *reduced, Affine strip,
                      int64_t strips);
/* Joins a second set of elements to mean and squares of the first; returns how many they are
 * together. */
Tile *row_folds_join(Frame *frame, const Moments *to, const Moments *from);

/* ---- small helpers for schedules ---- */
int64_t ceil_div(int64_t a, int64_t b);
/* The largest divisor of n that is at most limit. */
int64_t divisor_below(int64_t n, int64_t limit);
Kop fold_kop(const Node *reduce); /* of a variance: of its sums */
bool fold_is_variance(const Node *reduce);
#endif
