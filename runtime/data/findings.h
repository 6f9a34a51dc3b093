/* How often each finding is present in each split: the layout of Table 5 of the DCFormer paper
 * (arXiv 2502.05091), a count and a ratio for each.
 *
 * A ratio is of the volumes that have labels; those without are counted apart.
 */
#ifndef TRICOT_RUNTIME_DATA_FINDINGS_H
#define TRICOT_RUNTIME_DATA_FINDINGS_H
#include "runtime/data/dataset.h"

typedef struct SplitFindings {
  const char *split;
  int volumes, labelled;
  int present[CTRATE_LABELS];
} SplitFindings;

/* Counts samples whose splits lie together; the result is in the arena. */
SplitFindings *findings_count(Arena *arena, const DatasetSample *samples, int count, int *splits);
/* present / labelled, 0 where nothing is labelled. */
double findings_ratio(const SplitFindings *split, int finding);
/* A row for each finding, then labelled volumes, then volumes without labels. */
void findings_table(const SplitFindings *splits, int count, Text *out);
/* The table of such samples. */
void findings_text(const DatasetSample *samples, int count, Text *out);
void findings_csv(const SplitFindings *splits, int count, Text *out);
#endif
