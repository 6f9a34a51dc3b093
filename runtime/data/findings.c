/* Counting findings. See findings.h. */
#include "runtime/data/findings.h"
#include <string.h>

SplitFindings *findings_count(Arena *arena, const DatasetSample *samples, int count, int *splits) {
  VEC(SplitFindings) all = {0};
  for (int i = 0; i < count; i++) {
    if (i == 0 || strcmp(samples[i].split, samples[i - 1].split) != 0) {
      SplitFindings fresh = {.split = samples[i].split};
      vec_push(arena, &all, fresh);
    }
    SplitFindings *split = &all.at[all.count - 1];
    split->volumes++;
    split->labelled += samples[i].has_labels;
    for (int f = 0; samples[i].has_labels && f < CTRATE_LABELS; f++)
      split->present[f] += samples[i].labels[f];
  }
  *splits = all.count;
  return all.at;
}

double findings_ratio(const SplitFindings *split, int finding) {
  return split->labelled ? (double)split->present[finding] / split->labelled : 0;
}

static void table_row(const SplitFindings *splits, int count, const char *name, int finding,
                      Text *out) {
  text_add(out, "%-36s", name);
  for (int s = 0; s < count; s++)
    text_add(out, "%10d %7.3f", splits[s].present[finding], findings_ratio(&splits[s], finding));
  text_add(out, "\n");
}

void findings_table(const SplitFindings *splits, int count, Text *out) {
  text_add(out, "%-36s", "");
  for (int s = 0; s < count; s++)
    text_add(out, "  %16.16s", splits[s].split);
  text_add(out, "\n%-36s", "finding");
  for (int s = 0; s < count; s++)
    text_add(out, "%10s %7s", "count", "ratio");
  text_add(out, "\n");
  for (int f = 0; f < CTRATE_LABELS; f++)
    table_row(splits, count, ctrate_label_names[f], f, out);
  text_add(out, "%-36s", "volumes with labels");
  for (int s = 0; s < count; s++)
    text_add(out, "%*d", s ? 18 : 10, splits[s].labelled);
  text_add(out, "\n%-36s", "volumes without labels");
  for (int s = 0; s < count; s++)
    text_add(out, "%*d", s ? 18 : 10, splits[s].volumes - splits[s].labelled);
  text_add(out, "\n");
}

void findings_text(const DatasetSample *samples, int count, Text *out) {
  int splits;
  Arena *arena = arena_new();
  const SplitFindings *found = findings_count(arena, samples, count, &splits);
  findings_table(found, splits, out);
  arena_free(arena);
}

void findings_csv(const SplitFindings *splits, int count, Text *out) {
  text_add(out, "finding");
  for (int s = 0; s < count; s++)
    text_add(out, ",%s count,%s ratio", splits[s].split, splits[s].split);
  text_add(out, "\n");
  for (int f = 0; f < CTRATE_LABELS; f++) {
    text_add(out, "%s", ctrate_label_names[f]);
    for (int s = 0; s < count; s++)
      text_add(out, ",%d,%.6f", splits[s].present[f], findings_ratio(&splits[s], f));
    text_add(out, "\n");
  }
  text_add(out, "volumes with labels");
  for (int s = 0; s < count; s++)
    text_add(out, ",%d,", splits[s].labelled);
  text_add(out, "\nvolumes without labels");
  for (int s = 0; s < count; s++)
    text_add(out, ",%d,", splits[s].volumes - splits[s].labelled);
  text_add(out, "\n");
}
