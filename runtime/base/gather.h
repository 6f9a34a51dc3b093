/* The part of a tensor that a program reads, as strided boxes, and its copying.
 *
 * A Gather says where the elements of a `whole` tensor that are read lie in a dense `part`: a box
 * takes every step[a]-th index from start[a] on along each axis and puts neighbours stride[a]
 * elements apart. Boxes may leave places of the part free; those hold zero. Axis 0 counts samples:
 * every box takes all of them, and a sample's elements lie together in the part as in the whole.
 */
#ifndef TRICOT_BASE_GATHER_H
#define TRICOT_BASE_GATHER_H
#include "runtime/base/dtype.h"
#include "runtime/base/fault.h"

typedef struct GatherBox {
  int64_t start[MAX_RANK], step[MAX_RANK], count[MAX_RANK]; /* along the axes of the whole */
  int64_t at;               /* the first element's place in the part */
  int64_t stride[MAX_RANK]; /* between neighbours in the part */
} GatherBox;

typedef struct Gather {
  Type whole;
  int64_t elements; /* of the part, all samples */
  bool gaps;        /* some places of the part are in no box */
  int n_boxes;
  const GatherBox *boxes;
} Gather;

/* Boxes inside the whole, their places inside the part and their own sample's. */
bool gather_check(const Gather *gather, Error *error);
bool gather_equal(const Gather *a, const Gather *b);
/* Elements of one sample: of the part; of the whole. */
int64_t gather_sample_part(const Gather *gather);
int64_t gather_sample_whole(const Gather *gather);

/* Copies from one sample, dense, elements of `size` bytes, into its part; free places become zero.
 */
void gather_sample(const Gather *gather, size_t size, const void *whole, void *part);
/* The same in pieces: zeros first, then what lies in indices first..first+count-1 of `axis`, given
 * as the dense tensor of those indices alone. The axes between 0 and `axis` have length 1. */
void gather_clear(const Gather *gather, size_t size, void *part);
void gather_slab(const Gather *gather, int axis, int64_t first, int64_t count, size_t size,
                 const void *slab, void *part);
#endif
