/* A CT-RATE tree (Hamamci et al., 2024): volumes, metadata, reports and labels of one split.
 *
 *   dataset/SPLIT/PATIENT/SCAN/VOLUME.nii.gz
 *   metadata/{train,validation}_metadata.csv
 *   radiology_text_reports/{train,validation}_reports.csv
 *   multi_abnormality_labels/{train,valid}_predicted_labels.csv
 *
 * The volumes in the tree make the list. A volume that cannot be read, that lacks its metadata or
 * report row, that has several rows or whose name is there twice cannot be used: all such volumes
 * are found and counted before anything is said. Rows without a volume are counted too, but are no
 * error, since most copies of CT-RATE are partial.
 */
#ifndef TRICOT_RUNTIME_DATA_CTRATE_H
#define TRICOT_RUNTIME_DATA_CTRATE_H
#include "runtime/base/arena.h"
#include "runtime/base/fault.h"
#include "runtime/data/prepare.h"

enum { CTRATE_LABELS = 18 };
extern const char *const ctrate_label_names[CTRATE_LABELS];

typedef struct CtrateSample {
  const char *volume;  /* "train_1_a_1.nii.gz" */
  const char *patient; /* "train_1" */
  const char *path;
  const char *report; /* findings and impressions, joined and cleaned */
  PrepareFacts facts;
  bool has_labels;
  uint8_t labels[CTRATE_LABELS];
} CtrateSample;

typedef struct CtrateSplit {
  Arena *arena; /* owns everything below */
  const char *name;
  int count;
  CtrateSample *samples;                                /* train_2 comes before train_10 */
  int without_metadata, without_report, without_labels; /* volumes that lack a row */
  int unreadable; /* files that cannot be opened or are no files */
  int ambiguous;  /* volumes with several rows in a table, or several files */
  int metadata_without_volume, reports_without_volume, labels_without_volume; /* rows */
  const char *missing; /* the counts and first names in words; "" when nothing is missing */
} CtrateSplit;

/* Lists a split ("train", "valid"). Incomplete volumes are an error that tells all counts, or are
 * left out when `skip_incomplete`. A volume without labels is complete. */
bool ctrate_open(const char *root, const char *split, bool skip_incomplete, CtrateSplit *result,
                 Error *error);
void ctrate_close(CtrateSplit *split);
/* The names of the folders in dataset/, sorted, in the arena. */
bool ctrate_splits(Arena *arena, const char *root, const char ***names, int *count, Error *error);

/* The facts of one volume from a metadata file, for its file name with or without an ending. */
bool ctrate_facts(const char *metadata_path, const char *volume_name, PrepareFacts *facts,
                  Error *error);
/* Report text as the released training code makes it: both parts joined without a separator,
 * quotes, apostrophes and parentheses removed; a missing cell reads "nan". */
char *ctrate_report(Arena *arena, const char *findings, const char *impressions);
#endif
