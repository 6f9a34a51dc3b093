/* Texts that share rows of tokens, so that little of a batch is padding.
 *
 * A batch of `count` texts, of tokens[i] tokens each ([CLS] and [SEP] included), is laid into a
 * shape of R rows of L tokens: longest text first, each into the first row that has room for it
 * (first-fit decreasing; Johnson, 1973: at most 11/9 of the fewest rows, and a few). Equal lengths
 * go in the order of their numbers. In its row a text is a segment: 1, 2, ...; 0 is padding.
 * Positions count from the text's own start, and attention is kept inside a segment
 * (models/bert.yaml), so a text's states do not depend on its neighbours.
 *
 * Programs have fixed shapes. text_plan chooses a few for a whole corpus; every batch then takes
 * the smallest that holds it. All functions are deterministic.
 */
#ifndef TRICOT_RUNTIME_DATA_TEXT_PACK_H
#define TRICOT_RUNTIME_DATA_TEXT_PACK_H
#include "runtime/data/wordpiece.h"

typedef struct TextShape {
  int64_t rows, length; /* rows * length cells */
} TextShape;

typedef struct TextPlace {
  int64_t start; /* row * length + column of the text's first token */
  int64_t segment;
} TextPlace;

/* Rows of `length` that the texts need, 0 when one is longer than a row. places[count], or NULL. */
int64_t text_place(const int32_t *tokens, int64_t count, int64_t length, TextPlace *places);

/* The smallest of the shapes that holds the texts (the first of equals), and where they stand in
 * it; -1 when none does. places[count] holds anything then. */
int text_choose(const int32_t *tokens, int64_t count, const TextShape *shapes, int n_shapes,
                TextPlace *places);

/* The model's inputs for `count` placed texts: ids, positions and segments [rows, length], starts
 * [room]. Where there are fewer texts than room, the other starts repeat the last (0 without any).
 * texts[i] has [CLS] and [SEP]; `padding` is the id of [PAD]. */
void text_fill(TextShape shape, const TokenIds *texts, const TextPlace *places, int64_t count,
               int64_t room, int32_t padding, int64_t *ids, int64_t *positions, int64_t *segments,
               int64_t *starts);

enum { TEXT_SHAPES = 8 };

typedef struct TextPlan {
  int count;
  TextShape shapes[TEXT_SHAPES]; /* the smallest first */
  int64_t uses[TEXT_SHAPES];     /* batches that take each */
  int64_t tokens, cells;         /* of all batches */
  int64_t padded;                /* cells when every text is padded to the longest row */
} TextPlan;

/* The at most `most` shapes with the fewest cells over all batches. Batch b is the texts
 * order[b * batch], ... (order NULL: as they come); each batch fits in one of the shapes. No text
 * may have more tokens than `length`. Packed: all texts of a batch share one row, since attention
 * costs what the texts cost and all else what the cells cost, so that a single row is the least;
 * otherwise every text has a row of its own, and shapes differ in their lengths (buckets). For
 * batches that are not known yet, add one of the longest texts there may be.
 *
 * Sizes are multiples of 16 tokens. */
void text_plan(const int32_t *tokens, const int64_t *order, int64_t batches, int64_t batch,
               int64_t length, bool packed, int most, TextPlan *plan);
#endif
