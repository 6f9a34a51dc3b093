/* The fold template: folds over rows (batch statistics, bias gradients, means over space).
 *
 * Kept dimensions make the grid; reduced ones are looped over, cut into strips when there would be
 * too few blocks otherwise. One block keeps one accumulator tile per fold. With strips, each block
 * stores its partial result and a second kernel adds the partials in strip order (rows.c,
 * lower_finish), so the result does not depend on how blocks are spread over workers. Elementwise
 * results of the full space that somebody else reads are stored on the way.
 */
#include "passes/lower/frame.h"
#include <string.h>

enum { ROWS = 16, COLUMNS = 512, TILE = 2048, BLOCKS = 64, STRIP_WORK = 8192 };

typedef struct Fold {
  Frame frame;
  const Type *space;
  bool reduced[MAX_RANK]; /* by group */
  RowFolds folds;
} Fold;

/* The loop over a reduced group: whole, or this block's strip of it. */
static void loop_group(Fold *fold, int group, int64_t step, int64_t strip_length, IndexVar *strip) {
  Frame *frame = &fold->frame;
  Stmt *loop;
  int64_t extent = frame->extent[group];
  if (extent == step && !strip) {
    frame->place[group].at = affine_constant(0);
    return;
  }
  IndexVar *var = frame_loop(frame, "k", 0, extent, step, &loop);
  if (strip) {
    loop->low = affine_var(strip, strip_length);
    loop->high = affine_offset(loop->low, strip_length);
    loop->high2 = affine_constant(extent);
    loop->has_high2 = true;
  }
  frame->place[group].at = affine_var(var, 1);
}

void lower_fold(Lower *lower) {
  Fold fold = {0};
  Frame *frame = &fold.frame;
  fold.folds = row_folds_of(lower);
  fold.space = &fold.folds.nodes.at[0]->in[0]->type;
  const Type *space = fold.space;
  frame_start(frame, lower, "");
  int n_axes;
  const int64_t *axes = node_ints(fold.folds.nodes.at[0], "axes", &n_axes);
  unsigned mask = 0;
  for (int i = 0; i < n_axes; i++)
    mask |= 1u << axes[i];
  frame_flatten(frame, space, mask);
  frame_stream_large(frame);
  int last = frame->n_groups - 1, reduced_rows[MAX_RANK], n_reduced = 0;
  for (int d = 0; d < space->rank; d++)
    fold.reduced[frame->group[d]] = mask >> d & 1;
  for (int g = 0; g < last; g++)
    if (fold.reduced[g])
      reduced_rows[n_reduced++] = g;

  /* columns */
  int64_t width = frame->extent[last], blocks = 1;
  frame->cols = (int)(width <= (fold.reduced[last] ? TILE : COLUMNS)
                          ? width
                          : divisor_below(width, fold.reduced[last] ? TILE : COLUMNS));
  for (int g = 0; g < last; g++)
    if (!fold.reduced[g])
      blocks *= frame->extent[g];
  if (!fold.reduced[last])
    blocks *= width / frame->cols;

  /* strips of the outermost reduced group */
  int outer = n_reduced ? reduced_rows[0] : last;
  int inner = n_reduced ? reduced_rows[n_reduced - 1] : -1;
  int64_t rows = inner < 0
                     ? 1
                     : divisor_below(frame->extent[inner],
                                     TILE / frame->cols < ROWS ? TILE / frame->cols + 1 : ROWS);
  int64_t unit = outer == inner ? rows : outer == last ? frame->cols : 1; /* of the strip loop */
  int64_t units = frame->extent[outer] / unit, work = type_elements(space) / blocks;
  int64_t strips = work / STRIP_WORK < BLOCKS / blocks ? work / STRIP_WORK : BLOCKS / blocks;
  strips = strips < 1 ? 1 : strips > units ? units : strips;
  int64_t length = ceil_div(units, strips);
  strips = ceil_div(units, length);
  IndexVar *strip = strips > 1 ? kernel_grid(frame->kernel, "strip", strips) : NULL;

  for (int g = 0; g < last; g++)
    if (!fold.reduced[g])
      frame->place[g].at = frame->extent[g] > 1
                               ? affine_var(kernel_grid(frame->kernel, "r", frame->extent[g]), 1)
                               : affine_constant(0);
  if (!fold.reduced[last])
    frame->place[last].at =
        width > frame->cols
            ? affine_var(kernel_grid(frame->kernel, "c", width / frame->cols), frame->cols)
            : affine_constant(0);
  frame->place[last].col = 1;

  row_folds_start(frame, &fold.folds, !fold.reduced[last]);
  Block *outside = frame->block;
  for (int i = 0; i < n_reduced; i++) {
    int g = reduced_rows[i];
    loop_group(&fold, g, g == inner ? rows : 1, length * unit, g == outer ? strip : NULL);
  }
  if (fold.reduced[last])
    loop_group(&fold, last, frame->cols, length * unit, outer == last ? strip : NULL);
  if (rows > 1) {
    frame->n_axes = 1;
    frame->axis[0] = (int)rows;
    frame->place[inner].row[0] = 1;
  }
  row_folds_add(frame, &fold.folds, false);
  frame_store_outputs(frame, frame_is_early);

  /* after the loops: the frame stands at the reduced result's place */
  frame->block = outside;
  memset(frame->tile, 0, sizeof(Tile *) * (size_t)lower->body->n_values);
  frame->n_axes = 0;
  for (int g = 0; g < frame->n_groups; g++)
    if (fold.reduced[g])
      frame->place[g] = (Place){.at = affine_constant(0)};
  if (fold.reduced[last])
    frame->cols = 1;
  if (strip) {
    row_folds_finish(frame, &fold.folds, fold.reduced, affine_var(strip, 1), strips);
    return;
  }
  row_folds_results(frame, &fold.folds);
  frame_store_outputs(frame, frame_is_late);
  frame_finish(frame, "fold");
}
