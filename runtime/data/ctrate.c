/* Reading a CT-RATE tree. See ctrate.h. */
#include "runtime/data/ctrate.h"
#include "runtime/base/map.h"
#include "runtime/base/text.h"
#include "runtime/data/csv.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FOLDERS_DEEP = 8, NAMES_SHOWN = 3 };

const char *const ctrate_label_names[CTRATE_LABELS] = {
    "Medical material",
    "Arterial wall calcification",
    "Cardiomegaly",
    "Pericardial effusion",
    "Coronary artery wall calcification",
    "Hiatal hernia",
    "Lymphadenopathy",
    "Emphysema",
    "Atelectasis",
    "Lung nodule",
    "Lung opacity",
    "Pulmonary fibrotic sequela",
    "Pleural effusion",
    "Mosaic attenuation pattern",
    "Peribronchial thickening",
    "Consolidation",
    "Bronchiectasis",
    "Interlobular septal thickening",
};

/* ---- cells ---- */

/* Cells that pandas reads as missing; the training code then prints them as "nan". */
static bool is_missing(const char *cell) {
  static const char *const words[] = {"",         "#N/A", "#N/A N/A", "#NA",    "-1.#IND",
                                      "-1.#QNAN", "-NaN", "-nan",     "1.#IND", "1.#QNAN",
                                      "<NA>",     "N/A",  "NA",       "NULL",   "NaN",
                                      "None",     "n/a",  "nan",      "null"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcmp(cell, words[i]) == 0)
      return true;
  return false;
}

char *ctrate_report(Arena *arena, const char *findings, const char *impressions) {
  const char *parts[] = {is_missing(findings) ? "nan" : findings,
                         is_missing(impressions) ? "nan" : impressions};
  char *report = arena_alloc(arena, strlen(parts[0]) + strlen(parts[1]) + 1), *out = report;
  for (int i = 0; i < 2; i++)
    for (const char *at = parts[i]; *at; at++)
      if (!strchr("\"'()", *at))
        *out++ = *at;
  *out = 0;
  return report;
}

/* "[0.7, 0.7]" or "0.7". Pixels of CT are square, and the training code reads the first number. */
static bool xy_spacing(const Csv *csv, int row, int column, double *spacing, Error *error) {
  const char *cell = csv_cell(csv, row, column), *at = cell + strspn(cell, " [(");
  char *end;
  *spacing = strtod(at, &end);
  if (end == at || !strchr(",]) ", *end) || !(*spacing > 0))
    return error_set(error, "%s:%d: error: %s: \"%.80s\" is not a spacing like [0.7, 0.7]",
                     csv->path, csv->lines[row], csv->header[column], cell);
  return true;
}

typedef struct MetadataColumns {
  int volume, slope, intercept, xy, z;
} MetadataColumns;

static bool metadata_columns(const Csv *csv, MetadataColumns *columns, Error *error) {
  columns->volume = csv_need_column(csv, "VolumeName", error);
  columns->slope = columns->volume < 0 ? -1 : csv_need_column(csv, "RescaleSlope", error);
  columns->intercept = columns->slope < 0 ? -1 : csv_need_column(csv, "RescaleIntercept", error);
  columns->xy = columns->intercept < 0 ? -1 : csv_need_column(csv, "XYSpacing", error);
  columns->z = columns->xy < 0 ? -1 : csv_need_column(csv, "ZSpacing", error);
  return columns->z >= 0;
}

static bool facts_of_row(const Csv *csv, const MetadataColumns *columns, int row,
                         PrepareFacts *facts, Error *error) {
  if (!csv_number(csv, row, columns->slope, &facts->slope, error) ||
      !csv_number(csv, row, columns->intercept, &facts->intercept, error) ||
      !xy_spacing(csv, row, columns->xy, &facts->spacing[0], error) ||
      !csv_number(csv, row, columns->z, &facts->spacing[2], error))
    return false;
  facts->spacing[1] = facts->spacing[0];
  return facts->spacing[2] > 0 || error_set(error, "%s:%d: error: ZSpacing: %g is not positive",
                                            csv->path, csv->lines[row], facts->spacing[2]);
}

/* The length of a volume's name without .nii or .nii.gz. */
static size_t stem(const char *name) {
  size_t length = strlen(name);
  if (length > 3 && strcmp(name + length - 3, ".gz") == 0)
    length -= 3;
  if (length > 4 && strncmp(name + length - 4, ".nii", 4) == 0)
    length -= 4;
  return length;
}

static bool same_stem(const char *a, const char *b) {
  return stem(a) == stem(b) && strncmp(a, b, stem(a)) == 0;
}

bool ctrate_facts(const char *metadata_path, const char *volume_name, PrepareFacts *facts,
                  Error *error) {
  Csv csv;
  MetadataColumns columns;
  if (!csv_read(&csv, metadata_path, error))
    return false;
  bool good = metadata_columns(&csv, &columns, error);
  const char *slash = strrchr(volume_name, '/'), *name = slash ? slash + 1 : volume_name;
  int found = -1;
  for (int row = 0; good && row < csv.rows && found < 0; row++) {
    if (same_stem(csv_cell(&csv, row, columns.volume), name))
      found = row;
  }
  if (good && found < 0)
    good = error_set(error, "%s: error: there is no row for volume %s", metadata_path, name);
  good = good && facts_of_row(&csv, &columns, found, facts, error);
  csv_free(&csv);
  return good;
}

/* ---- the tree ---- */

typedef VEC(CtrateSample) Samples;

static bool is_volume(const char *name) { return strncmp(name + stem(name), ".nii", 4) == 0; }

/* Lists volumes; those without a path cannot be read. */
static bool find_volumes(Arena *arena, const char *folder, const char *patient, int depth,
                         Samples *samples, Error *error) {
  DIR *listing = opendir(folder);
  if (!listing)
    return error_set(error, "%s: error: %s", folder, strerror(errno));
  bool good = true;
  for (struct dirent *entry; good && (entry = readdir(listing));) {
    if (entry->d_name[0] == '.')
      continue;
    struct stat info;
    char *path = arena_printf(arena, "%s/%s", folder, entry->d_name);
    bool there = stat(path, &info) == 0, volume = is_volume(entry->d_name);
    if (there && S_ISDIR(info.st_mode) && !volume) {
      const char *owner = patient ? patient : arena_strdup(arena, entry->d_name);
      good = depth < MAX_FOLDERS_DEEP
                 ? find_volumes(arena, path, owner, depth + 1, samples, error)
                 : error_set(error, "%s: error: folders are nested too deeply", path);
    } else if (volume || !there) {
      bool readable = there && S_ISREG(info.st_mode) && access(path, R_OK) == 0;
      CtrateSample sample = {.volume = arena_strdup(arena, entry->d_name),
                             .patient = patient ? patient : "",
                             .path = readable ? path : NULL};
      vec_push(arena, samples, sample);
    }
  }
  closedir(listing);
  return good;
}

static int by_volume(const void *a, const void *b) {
  return strverscmp(((const CtrateSample *)a)->volume, ((const CtrateSample *)b)->volume);
}

static int by_words(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

bool ctrate_splits(Arena *arena, const char *root, const char ***names, int *count, Error *error) {
  VEC(const char *) found = {0};
  char *folder = arena_printf(arena, "%s/dataset", root);
  DIR *listing = opendir(folder);
  if (!listing)
    return error_set(error, "%s: error: %s (a CT-RATE tree has a folder dataset/)", folder,
                     strerror(errno));
  for (struct dirent *entry; (entry = readdir(listing));) {
    struct stat info;
    char *path = arena_printf(arena, "%s/%s", folder, entry->d_name);
    if (entry->d_name[0] != '.' && stat(path, &info) == 0 && S_ISDIR(info.st_mode))
      vec_push(arena, &found, arena_strdup(arena, entry->d_name));
  }
  closedir(listing);
  if (found.count)
    qsort(found.at, (size_t)found.count, sizeof *found.at, by_words);
  *names = found.at;
  *count = found.count;
  return found.count > 0 || error_set(error, "%s: error: holds no split", folder);
}

/* ---- the tables ---- */

/* The first existing of FOLDER/NAME_TAIL and NAME_TAIL for the split's spellings, or NULL. */
static char *find_table(Arena *arena, const char *root, const char *split, const char *folder,
                        const char *tail) {
  bool train = strncmp(split, "train", 5) == 0, valid = strncmp(split, "valid", 5) == 0;
  const char *names[] = {split,
                         train   ? "train"
                         : valid ? "validation"
                                 : split,
                         valid ? "valid" : split};
  const char *folders[] = {folder, "."};
  for (int f = 0; f < 2; f++)
    for (int n = 0; n < 3; n++) {
      char *path = arena_printf(arena, "%s/%s/%s_%s", root, folders[f], names[n], tail);
      if (access(path, F_OK) == 0)
        return path;
    }
  return NULL;
}

/* What a table says of a volume, beside the number of its row. */
enum { NO_ROW = -1, SEVERAL_ROWS = -2 };

typedef struct Table {
  Csv csv;
  Map rows;   /* VolumeName to the row plus one */
  int column; /* of VolumeName */
  bool present;
} Table;

static bool index_rows(Arena *arena, Table *table, Error *error) {
  table->column = csv_need_column(&table->csv, "VolumeName", error);
  if (table->column < 0)
    return false;
  map_init(&table->rows, arena);
  for (int row = 0; row < table->csv.rows; row++) {
    const char *name = csv_cell(&table->csv, row, table->column);
    intptr_t value = map_get(&table->rows, name) ? SEVERAL_ROWS + 1 : row + 1;
    map_set(&table->rows, name, (void *)value);
  }
  return true;
}

static int row_of(const Table *table, const char *volume) {
  return table->present ? (int)(intptr_t)map_get(&table->rows, volume) - 1 : NO_ROW;
}

/* Reads a table; where it is not there, adds its name to `absent`. */
static bool open_table(Arena *arena, const char *root, const char *split, const char *folder,
                       const char *tail, Table *table, Text *absent, Error *error) {
  char *path = find_table(arena, root, split, folder, tail);
  table->present = path != NULL;
  if (!path)
    text_add(absent, "%s%s/%s_%s", absent->size ? ", no " : "", folder,
             strncmp(split, "valid", 5) == 0 ? "validation" : split, tail);
  return !path || (csv_read(&table->csv, path, error) && index_rows(arena, table, error));
}

static bool label_columns(const Csv *csv, int columns[CTRATE_LABELS], Error *error) {
  for (int i = 0; i < CTRATE_LABELS; i++)
    if ((columns[i] = csv_need_column(csv, ctrate_label_names[i], error)) < 0)
      return false;
  return true;
}

static bool read_labels(const Csv *csv, int row, const int columns[CTRATE_LABELS],
                        CtrateSample *sample, Error *error) {
  for (int i = 0; i < CTRATE_LABELS; i++) {
    double value;
    if (!csv_number(csv, row, columns[i], &value, error))
      return false;
    if (value != 0 && value != 1)
      return error_set(error, "%s:%d: error: %s: %g is neither 0 nor 1", csv->path, csv->lines[row],
                       csv->header[columns[i]], value);
    sample->labels[i] = value == 1;
  }
  return sample->has_labels = true;
}

/* Counts volumes that lack one kind of row, and keeps the first names. */
typedef struct Missing {
  int count;
  Text names;
} Missing;

static void miss(Missing *missing, const char *volume) {
  if (missing->count++ < NAMES_SHOWN)
    text_add(&missing->names, "%s%s", missing->count > 1 ? ", " : "", volume);
}

static void describe(Text *out, const Missing *missing, const char *what) {
  if (!missing->count)
    return;
  text_add(out, "%s%d %s (%s%s)", out->size ? "; " : "", missing->count, what, missing->names.at,
           missing->count > NAMES_SHOWN ? ", ..." : "");
}

enum { TABLES = 3 }; /* metadata, reports, labels */

typedef struct Opening {
  CtrateSplit *split;
  const char *root;
  Table metadata, reports, labels;
  Missing unreadable, same_name, several_rows;
  Missing no_row[TABLES], no_volume[TABLES];
} Opening;

typedef struct Columns {
  MetadataColumns metadata;
  int findings, impressions, labels[CTRATE_LABELS];
} Columns;

static bool find_columns(const Opening *o, Columns *c, Error *error) {
  return metadata_columns(&o->metadata.csv, &c->metadata, error) &&
         (c->findings = csv_need_column(&o->reports.csv, "Findings_EN", error)) >= 0 &&
         (c->impressions = csv_need_column(&o->reports.csv, "Impressions_EN", error)) >= 0 &&
         (!o->labels.present || label_columns(&o->labels.csv, c->labels, error));
}

/* Can the volume be used? Counts what is wrong with it. Labels may be missing. */
static bool is_complete(Opening *o, const CtrateSample *sample, const int rows[TABLES]) {
  bool several = false;
  if (!sample->path) {
    miss(&o->unreadable, sample->volume);
    return false;
  }
  for (int t = 0; t < TABLES; t++) {
    if (rows[t] == NO_ROW && (t < 2 || o->labels.present))
      miss(&o->no_row[t], sample->volume);
    several |= rows[t] == SEVERAL_ROWS;
  }
  if (several)
    miss(&o->several_rows, sample->volume);
  return !several && rows[0] >= 0 && rows[1] >= 0;
}

static bool fill_samples(Opening *o, Samples *samples, Error *error) {
  Columns c;
  int kept = 0;
  if (!find_columns(o, &c, error))
    return false;
  for (int i = 0; i < samples->count; i++) {
    CtrateSample sample = samples->at[i];
    int rows[TABLES] = {row_of(&o->metadata, sample.volume), row_of(&o->reports, sample.volume),
                        row_of(&o->labels, sample.volume)};
    if (!is_complete(o, &sample, rows))
      continue;
    if (!facts_of_row(&o->metadata.csv, &c.metadata, rows[0], &sample.facts, error) ||
        (rows[2] >= 0 && !read_labels(&o->labels.csv, rows[2], c.labels, &sample, error)))
      return false;
    sample.report = ctrate_report(o->split->arena, csv_cell(&o->reports.csv, rows[1], c.findings),
                                  csv_cell(&o->reports.csv, rows[1], c.impressions));
    samples->at[kept++] = sample;
  }
  o->split->samples = samples->at;
  o->split->count = kept;
  return true;
}

static void count_rows_without_volume(Opening *o, const Samples *samples) {
  const Table *tables[TABLES] = {&o->metadata, &o->reports, &o->labels};
  Map present;
  map_init(&present, o->split->arena);
  for (int i = 0; i < samples->count; i++)
    map_set(&present, samples->at[i].volume, (void *)samples->at[i].volume);
  for (int t = 0; t < TABLES; t++)
    for (int row = 0; tables[t]->present && row < tables[t]->csv.rows; row++) {
      const char *name = csv_cell(&tables[t]->csv, row, tables[t]->column);
      if (!map_get(&present, name))
        miss(&o->no_volume[t], name);
    }
}

/* Takes out files of the same name: they would share rows, and with another ending places in a
 * cache. */
static void drop_same_names(Opening *o, Samples *samples) {
  int kept = 0;
  for (int i = 0; i < samples->count; i++) {
    const CtrateSample *s = &samples->at[i];
    if ((i > 0 && same_stem(s[-1].volume, s->volume)) ||
        (i + 1 < samples->count && same_stem(s[1].volume, s->volume)))
      miss(&o->same_name, s->path ? s->path : s->volume);
    else
      samples->at[kept++] = *s;
  }
  samples->count = kept;
}

static bool open_tables(Opening *o, Error *error) {
  Arena *arena = o->split->arena;
  const char *split = o->split->name;
  Text absent = {0};
  char *labels =
      find_table(arena, o->root, split, "multi_abnormality_labels", "predicted_labels.csv");
  o->labels.present = labels != NULL;
  bool good =
      open_table(arena, o->root, split, "metadata", "metadata.csv", &o->metadata, &absent, error) &&
      open_table(arena, o->root, split, "radiology_text_reports", "reports.csv", &o->reports,
                 &absent, error) &&
      (!labels ||
       (csv_read(&o->labels.csv, labels, error) && index_rows(arena, &o->labels, error)));
  if (good && absent.size)
    good = error_set(error, "%s: error: there is no %s", o->root, absent.at);
  text_free(&absent);
  return good;
}

/* All that was found, in words and in numbers. */
static void tell(Opening *o) {
  CtrateSplit *split = o->split;
  Text words = {0};
  describe(&words, &o->unreadable, "volumes cannot be read");
  describe(&words, &o->same_name, "volumes share a name with another");
  describe(&words, &o->several_rows, "volumes have several rows in a table");
  describe(&words, &o->no_row[0], "volumes have no metadata row");
  describe(&words, &o->no_row[1], "volumes have no report row");
  describe(&words, &o->no_row[2], "volumes have no label row");
  if (!o->labels.present)
    text_add(&words, "%sthere is no table of labels", words.size ? "; " : "");
  describe(&words, &o->no_volume[0], "metadata rows have no volume");
  describe(&words, &o->no_volume[1], "report rows have no volume");
  describe(&words, &o->no_volume[2], "label rows have no volume");
  split->missing = arena_strdup(split->arena, words.at ? words.at : "");
  text_free(&words);
  split->unreadable = o->unreadable.count;
  split->ambiguous = o->same_name.count + o->several_rows.count;
  split->without_metadata = o->no_row[0].count;
  split->without_report = o->no_row[1].count;
  split->without_labels = o->no_row[2].count;
  split->metadata_without_volume = o->no_volume[0].count;
  split->reports_without_volume = o->no_volume[1].count;
  split->labels_without_volume = o->no_volume[2].count;
}

static bool open_split(Opening *o, bool skip_incomplete, Error *error) {
  CtrateSplit *split = o->split;
  Samples samples = {0};
  char *folder = arena_printf(split->arena, "%s/dataset/%s", o->root, split->name);
  if (!find_volumes(split->arena, folder, NULL, 0, &samples, error) || !open_tables(o, error))
    return false;
  if (!samples.count)
    return error_set(error, "%s: error: holds no .nii.gz volume", folder);
  qsort(samples.at, (size_t)samples.count, sizeof *samples.at, by_volume);
  count_rows_without_volume(o, &samples);
  int total = samples.count;
  drop_same_names(o, &samples);
  if (!fill_samples(o, &samples, error))
    return false;
  tell(o);
  if (split->count < total && (!skip_incomplete || !split->count))
    return error_set(error, "%s: error: %d of %d volumes cannot be used: %.840s", folder,
                     total - split->count, total, split->missing);
  return true;
}

static void free_missing(Missing *missing, int count) {
  for (int i = 0; i < count; i++)
    text_free(&missing[i].names);
}

bool ctrate_open(const char *root, const char *split, bool skip_incomplete, CtrateSplit *result,
                 Error *error) {
  *result = (CtrateSplit){.arena = arena_new()};
  result->name = arena_strdup(result->arena, split);
  Opening opening = {.split = result, .root = root};
  bool good = open_split(&opening, skip_incomplete, error);
  csv_free(&opening.metadata.csv);
  csv_free(&opening.reports.csv);
  csv_free(&opening.labels.csv);
  free_missing(&opening.unreadable, 1);
  free_missing(&opening.same_name, 1);
  free_missing(&opening.several_rows, 1);
  free_missing(opening.no_row, TABLES);
  free_missing(opening.no_volume, TABLES);
  if (!good)
    ctrate_close(result);
  return good;
}

void ctrate_close(CtrateSplit *split) {
  if (split->arena)
    arena_free(split->arena);
  *split = (CtrateSplit){0};
}
