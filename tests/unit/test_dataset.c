/* A CT-RATE tree made here: listing, missing rows, the cache and its manifest, opening both ways.
 * Then the small real tree, and the prepare and tokenize commands on golden files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/base/file.h"
#include "runtime/data/dataset.h"
#include "runtime/data/prepare_options.h"
#include "runtime/job/command.h"
#include "runtime/job/prepare_model.h"
#include "runtime/safetensors.h"
#include "tests/unit/shared.h"
#include <math.h>
#include <pthread.h>
#include <string.h>

static char folder[100];

static int make_folder(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "%s", scratch_make());
  return 0;
}

static int remove_folder(void **state) {
  (void)state;
  scratch_remove(folder);
  return 0;
}

static const char *in_folder(const char *name) {
  static char ring[8][300];
  static int next;
  snprintf(ring[next % 8], sizeof ring[0], "%s/%s", folder, name);
  return ring[next++ % 8];
}

static void write_bytes(const char *name, const void *bytes, size_t size) {
  char path[300];
  snprintf(path, sizeof path, "%s", in_folder(name));
  char *slash = strrchr(path, '/');
  *slash = 0;
  assert_true(make_folders(path, NULL));
  *slash = '/';
  FILE *stream = fopen(path, "wb");
  assert_non_null(stream);
  fwrite(bytes, 1, size, stream);
  fclose(stream);
}

/* A plain NIfTI-1 file of 4x4x4 int16 voxels, all `value`. */
static void write_volume(const char *name, int16_t value) {
  unsigned char bytes[352 + 128] = {0};
  int32_t header = 348;
  int16_t dim[] = {3, 4, 4, 4}, type[] = {4, 16};
  float pixdim[] = {1, 1, 1, 1}, offset = 352;
  memcpy(bytes, &header, 4);
  memcpy(bytes + 40, dim, sizeof dim);
  memcpy(bytes + 70, type, sizeof type);
  memcpy(bytes + 76, pixdim, sizeof pixdim);
  memcpy(bytes + 108, &offset, 4);
  memcpy(bytes + 344, "n+1", 4);
  for (int i = 0; i < 64; i++)
    memcpy(bytes + 352 + 2 * i, &value, 2);
  write_bytes(name, bytes, sizeof bytes);
}

static void write_text(const char *name, const char *text) {
  write_bytes(name, text, strlen(text));
}

static void write_labels(const char *name, const char *rows) {
  Text text = {0};
  text_add(&text, "VolumeName");
  for (int i = 0; i < CTRATE_LABELS; i++)
    text_add(&text, ",%s", ctrate_label_names[i]);
  text_add(&text, "\n%s", rows);
  write_text(name, text.at);
  text_free(&text);
}

#define ROW_OF_ZEROS ",0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0"

static void write_tree(void) {
  write_volume("tree/dataset/train/train_2/train_2_a/train_2_a_1.nii.gz", 100);
  write_volume("tree/dataset/train/train_10/train_10_a/train_10_a_1.nii.gz", -400);
  write_volume("tree/dataset/train/train_10/train_10_a/train_10_a_2.nii.gz", 900);
  write_volume("tree/dataset/valid/valid_1/valid_1_a/valid_1_a_1.nii.gz", 0);
  write_text("tree/metadata/train_metadata.csv",
             "VolumeName,RescaleSlope,RescaleIntercept,XYSpacing,ZSpacing\n"
             "train_2_a_1.nii.gz,1,-500,\"[0.75, 0.75]\",1.5\n"
             "train_10_a_1.nii.gz,1,0,\"[0.75, 0.75]\",1.5\n"
             "train_10_a_2.nii.gz,1,0,\"[0.75, 0.75]\",1.5\n"
             "train_77_a_1.nii.gz,1,0,\"[0.75, 0.75]\",1.5\n");
  write_text("tree/metadata/validation_metadata.csv", /* as spreadsheets write it */
             "\xEF\xBB\xBFVolumeName,RescaleSlope,RescaleIntercept,XYSpacing,ZSpacing\r\n"
             "valid_1_a_1.nii.gz,1,0,\"[0.75, 0.75]\",1.5\r\n");
  write_text("tree/radiology_text_reports/train_reports.csv",
             "VolumeName,Findings_EN,Impressions_EN\n"
             "train_2_a_1.nii.gz,\"A \"\"big\"\" (old)\nmass.\",It's flat.\n"
             "train_10_a_1.nii.gz,Nothing.,\n"
             "train_8_a_1.nii.gz,Far.,Away.\n"
             "train_10_a_2.nii.gz,Not given.,Not given.\n"
             "train_9_a_1.nii.gz,Far.,Away.\n");
  write_text("tree/radiology_text_reports/validation_reports.csv",
             "VolumeName,Findings_EN,Impressions_EN\r\nvalid_1_a_1.nii.gz,\"F, \r\nG\",I\r\n");
  write_labels("tree/multi_abnormality_labels/train_predicted_labels.csv",
               "train_2_a_1.nii.gz,1" ROW_OF_ZEROS "\n"
               "train_10_a_1.nii.gz,0" ROW_OF_ZEROS "\n"
               "train_10_a_2.nii.gz,0.0" ROW_OF_ZEROS "\n"
               "train_9_a_1.nii.gz,1" ROW_OF_ZEROS "\n");
}

static void lists_a_tree(void **state) {
  (void)state;
  write_tree();
  CtrateSplit split;
  Error error = {""};
  if (!ctrate_open(in_folder("tree"), "train", false, &split, &error))
    fail_msg("%s", error.text);
  assert_int_equal(split.count, 3);
  assert_string_equal(split.samples[0].volume, "train_2_a_1.nii.gz");
  assert_string_equal(split.samples[1].volume, "train_10_a_1.nii.gz");
  assert_string_equal(split.samples[0].patient, "train_2");
  assert_string_equal(split.samples[0].report, "A big old\nmass.Its flat.");
  assert_string_equal(split.samples[1].report, "Nothing.nan");
  assert_string_equal(split.samples[2].report, "Not given.Not given.");
  assert_true(split.samples[0].facts.intercept == -500 && split.samples[0].facts.spacing[2] == 1.5);
  assert_true(split.samples[0].has_labels && split.samples[0].labels[0] == 1);
  assert_int_equal(split.metadata_without_volume, 1);
  assert_non_null(strstr(split.missing, "1 metadata rows have no volume (train_77_a_1.nii.gz)"));
  assert_non_null(strstr(split.missing, "2 report rows have no volume (train_8_a_1.nii.gz, "));
  assert_non_null(strstr(split.missing, "1 label rows have no volume (train_9_a_1.nii.gz)"));
  assert_int_equal(split.reports_without_volume, 2);
  assert_int_equal(split.labels_without_volume, 1);
  ctrate_close(&split);
  assert_true(ctrate_open(in_folder("tree"), "valid", false, &split, &error));
  assert_int_equal(split.count, 1);
  assert_false(split.samples[0].has_labels);
  assert_string_equal(split.samples[0].report, "F, \r\nGI");
  ctrate_close(&split);
  assert_false(ctrate_open(in_folder("tree"), "test", false, &split, &error));
}

static void tells_all_that_is_missing(void **state) {
  (void)state;
  CtrateSplit split;
  Error error = {""};
  write_tree();
  write_volume("tree/dataset/train/train_3/train_3_a/train_3_a_1.nii.gz", 0);
  write_volume("tree/dataset/train/train_4/train_4_a/train_4_a_1.nii.gz", 0);
  write_text("tree/metadata/train_metadata.csv",
             "VolumeName,RescaleSlope,RescaleIntercept,XYSpacing,ZSpacing\n"
             "train_2_a_1.nii.gz,1,-500,\"[0.75, 0.75]\",1.5\n"
             "train_10_a_1.nii.gz,1,0,\"[0.75, 0.75]\",1.5\n"
             "train_4_a_1.nii.gz,1,0,\"[0.75, 0.75]\",1.5\n");
  assert_false(ctrate_open(in_folder("tree"), "train", false, &split, &error));
  assert_non_null(strstr(error.text,
                         "3 of 5 volumes cannot be used: 2 volumes have no metadata row "
                         "(train_3_a_1.nii.gz, train_10_a_2.nii.gz); 2 volumes have no "
                         "report row (train_3_a_1.nii.gz, train_4_a_1.nii.gz)"));
  assert_true(ctrate_open(in_folder("tree"), "train", true, &split, &error));
  assert_int_equal(split.count, 2);
  assert_int_equal(split.without_metadata, 2);
  assert_int_equal(split.without_report, 2);
  assert_int_equal(split.without_labels, 2);
  ctrate_close(&split);
  write_text("tree/metadata/train_metadata.csv",
             "VolumeName,RescaleSlope,RescaleIntercept,XYSpacing,ZSpacing\n"
             "train_2_a_1.nii.gz,1,-500,[x],1.5\n");
  assert_false(ctrate_open(in_folder("tree"), "train", true, &split, &error));
  assert_non_null(strstr(error.text, "train_metadata.csv:2: error: XYSpacing: \"[x]\""));
  scratch_remove(in_folder("tree"));
}

/* Files that are no files, names that are there twice, rows that are there twice, in one go. */
static void tells_what_cannot_be_used(void **state) {
  (void)state;
  CtrateSplit split;
  Error error = {""};
  write_tree();
  write_volume("tree/dataset/train/train_20/train_20_a/train_20_a_1.nii.gz", 0);
  write_volume("tree/dataset/train/train_20/train_20_b/train_20_a_1.nii", 0);
  assert_true(make_folders(in_folder("tree/dataset/train/train_21/train_21_a_1.nii.gz"), NULL));
  assert_int_equal(symlink("nowhere", in_folder("tree/dataset/train/train_22.nii.gz")), 0);
  assert_int_equal(symlink("nowhere", in_folder("tree/dataset/train/train_23")), 0);
  write_text("tree/metadata/train_metadata.csv",
             "VolumeName,RescaleSlope,RescaleIntercept,XYSpacing,ZSpacing\n"
             "train_2_a_1.nii.gz,1,-500,\"[0.75, 0.75]\",1.5\n"
             "train_10_a_1.nii.gz,1,0,\"[0.75, 0.75]\",1.5\n"
             "train_10_a_2.nii.gz,1,0,\"[0.75, 0.75]\",1.5\n"
             "train_10_a_2.nii.gz,1,0,\"[0.75, 0.75]\",1.5\n");
  assert_false(ctrate_open(in_folder("tree"), "train", false, &split, &error));
  static const char *const parts[] = {
      "6 of 8 volumes cannot be used: 3 volumes cannot be read (train_21_a_1.nii.gz, "
      "train_22.nii.gz, train_23)",
      "2 volumes share a name with another (", "train_20_b/train_20_a_1.nii",
      "1 volumes have several rows in a table (train_10_a_2.nii.gz)"};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (!strstr(error.text, parts[i]))
      fail_msg("\"%s\" does not say \"%s\"", error.text, parts[i]);
  assert_true(ctrate_open(in_folder("tree"), "train", true, &split, &error));
  assert_int_equal(split.count, 2);
  assert_int_equal(split.unreadable, 3);
  assert_int_equal(split.ambiguous, 3);
  ctrate_close(&split);
  assert_int_equal(remove(in_folder("tree/metadata/train_metadata.csv")), 0);
  assert_int_equal(remove(in_folder("tree/radiology_text_reports/train_reports.csv")), 0);
  assert_false(ctrate_open(in_folder("tree"), "train", true, &split, &error));
  assert_non_null(strstr(error.text, "there is no metadata/train_metadata.csv, no "
                                     "radiology_text_reports/train_reports.csv"));
  scratch_remove(in_folder("tree"));
}

static int prepare(const char *tree, const char *cache, const char *size, const char *extra) {
  char *arguments[] = {"prepare",     "--dataset",   (char *)tree, "--cache",
                       (char *)cache, "--size",      (char *)size, "--jobs",
                       "2",           (char *)extra, NULL};
  return prepare_main(NULL, extra ? 10 : 9, arguments);
}

static void expect_constant(const Dataset *dataset, int index, double value) {
  float out[64];
  Error error = {""};
  if (!dataset_volume(dataset, index, out, &error))
    fail_msg("%s", error.text);
  for (int i = 0; i < 64; i++)
    assert_true(fabs(out[i] - value) < 1e-6);
}

/* One finding of three labelled volumes; a split without labels. */
static void expect_summary(const char *name) {
  Arena *arena = arena_new();
  char *text;
  size_t size;
  assert_true(file_read(arena, in_folder(name), 1 << 20, &text, &size, NULL));
  static const char *const lines[] = {"finding,train count,train ratio,valid count,valid ratio\n",
                                      "\nMedical material,1,0.333333,0,0.000000\n",
                                      "\nCardiomegaly,0,0.000000,0,0.000000\n",
                                      "\nvolumes with labels,3,,0,\n",
                                      "\nvolumes without labels,0,,1,\n"};
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
    if (!strstr(text, lines[i]))
      fail_msg("no line %s in\n%s", lines[i], text);
  arena_free(arena);
}

static void fills_a_cache(void **state) {
  (void)state;
  write_tree();
  char tree[300], cache[300];
  snprintf(tree, sizeof tree, "%s", in_folder("tree"));
  snprintf(cache, sizeof cache, "%s", in_folder("cache"));
  assert_int_equal(prepare(tree, cache, "4x4x4", NULL), EXIT_DONE);
  Dataset dataset;
  Error error = {""};
  if (!dataset_open(cache, "train", &dataset, &error))
    fail_msg("%s", error.text);
  assert_int_equal(dataset.count, 3);
  assert_true(dataset.size[2] == 4 && dataset.spacing[0] == 1.5);
  assert_string_equal(dataset.samples[0].volume, "train_2_a_1.nii.gz");
  assert_string_equal(dataset.samples[0].report, "A big old\nmass.Its flat.");
  assert_int_equal(dataset.samples[0].labels[0], 1);
  expect_constant(&dataset, 0, 0); /* 100 - 500 = -400 HU, the window's middle */
  expect_constant(&dataset, 1, 0);
  expect_constant(&dataset, 2, 1); /* above the window */
  dataset_close(&dataset);
  assert_true(dataset_open(cache, NULL, &dataset, &error));
  assert_int_equal(dataset.count, 4);
  assert_string_equal(dataset.settings, "size 4x4x4 order clip,resize,window clip "
                                        "-1000:1000 window -1000:200 spacing 1.5:0.75:0.75 "
                                        "spacing_from metadata padding -1 rescale metadata "
                                        "orientation stored");
  dataset_close(&dataset);
  expect_summary("cache/summary.csv");
  assert_false(dataset_open(cache, "test", &dataset, &error));
  assert_non_null(strstr(error.text, "it has: train, valid"));

  /* a changed source is made again, the rest is kept; the other split stays in the manifest */
  write_volume("tree/dataset/train/train_10/train_10_a/train_10_a_1.nii.gz", -1000);
  DatasetPreparation again = {.root = tree,
                              .cache = cache,
                              .splits = (const char *[]){"train"},
                              .n_splits = 1,
                              .settings = {prepare_defaults(), STORE_I16, false},
                              .jobs = 1};
  memcpy(again.settings.options.size, (int64_t[]){4, 4, 4}, sizeof again.settings.options.size);
  assert_true(dataset_prepare(&again, &error));
  assert_int_equal(again.made, 1);
  assert_int_equal(again.kept, 2);
  text_free(&again.missing);
  text_free(&again.summary);
  assert_true(dataset_open(cache, NULL, &dataset, &error));
  assert_int_equal(dataset.count, 4);
  expect_constant(&dataset, 1, -1);
  dataset_close(&dataset);

  /* one split with other settings would leave the cache half and half */
  again = (DatasetPreparation){.root = tree,
                               .cache = cache,
                               .splits = (const char *[]){"train"},
                               .n_splits = 1,
                               .settings = {prepare_defaults(), STORE_I16, false},
                               .jobs = 1};
  assert_false(dataset_prepare(&again, &error));
  assert_non_null(strstr(error.text, "other settings"));
  text_free(&again.missing);
  text_free(&again.summary);
  assert_int_equal(prepare(tree, cache, "5x4x4", NULL), EXIT_DONE);
  assert_true(dataset_open(cache, "valid", &dataset, &error));
  assert_true(dataset.size[0] == 5);
  dataset_close(&dataset);

  /* a broken volume fails the run, or is left out on request */
  write_text("tree/dataset/train/train_2/train_2_a/train_2_a_1.nii.gz", "not a volume");
  assert_int_equal(prepare(tree, cache, "5x4x4", NULL), EXIT_INPUT);
  assert_int_equal(prepare(tree, cache, "5x4x4", "--skip-incomplete"), EXIT_DONE);
  assert_true(dataset_open(cache, "train", &dataset, &error));
  assert_int_equal(dataset.count, 2);
  dataset_close(&dataset);
  write_text("cache/manifest.json", "{\"format\": \"other\"}");
  assert_false(dataset_open(cache, "train", &dataset, &error));
  scratch_remove(cache);
  scratch_remove(tree);
}

static void *ask_for_first(void *user) {
  float out[64];
  return dataset_volume(user, 0, out, NULL) && fabsf(out[5]) < 1e-6f ? user : NULL;
}

static void opens_a_tree(void **state) {
  (void)state;
  write_tree();
  char cache[300];
  snprintf(cache, sizeof cache, "%s", in_folder("lazy"));
  PrepareOptions options = prepare_defaults();
  memcpy(options.size, (int64_t[]){4, 4, 4}, sizeof options.size);
  Dataset dataset;
  Error error = {""};
  if (!dataset_open_tree(in_folder("tree"), "train", cache, &options, false, &dataset, &error))
    fail_msg("%s", error.text);
  assert_int_equal(dataset.count, 3);
  assert_int_not_equal(access(in_folder("lazy/train/train_10_a_2.tvol"), F_OK), 0);
  expect_constant(&dataset, 2, 1);
  expect_constant(&dataset, 2, 1);
  assert_int_equal(access(in_folder("lazy/train/train_10_a_2.tvol"), F_OK), 0);
  assert_int_not_equal(access(in_folder("lazy/train/train_2_a_1.tvol"), F_OK), 0);
  /* many threads may ask for a volume that is not made yet, as it is or as it changed */
  pthread_t threads[4];
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < 4; i++)
      assert_int_equal(pthread_create(&threads[i], NULL, ask_for_first, &dataset), 0);
    for (int i = 0; i < 4; i++) {
      void *good;
      assert_int_equal(pthread_join(threads[i], &good), 0);
      assert_non_null(good);
    }
  }
  /* nobody prepares the whole cache meanwhile */
  assert_int_equal(prepare(in_folder("tree"), cache, "4x4x4", NULL), EXIT_INPUT);
  dataset_close(&dataset);
  assert_int_equal(prepare(in_folder("tree"), cache, "4x4x4", NULL), EXIT_DONE);
  options.spacing[0] = 2;
  assert_false(
      dataset_open_tree(in_folder("tree"), "train", cache, &options, false, &dataset, &error));
  assert_non_null(strstr(error.text, "other settings"));
  scratch_remove(cache);
  scratch_remove(in_folder("tree"));
}

static void real_tree(void **state) {
  (void)state;
  shared_needed();
  char cache[300], tree[4096];
  snprintf(cache, sizeof cache, "%s", in_folder("mini"));
  snprintf(tree, sizeof tree, "%s", shared_path("data/ctrate-mini"));
  assert_int_equal(prepare(tree, cache, "16x32x32", NULL), EXIT_DONE);
  Dataset dataset;
  Error error = {""};
  assert_true(dataset_open(cache, "train", &dataset, &error));
  assert_int_equal(dataset.count, 4);
  assert_string_equal(dataset.samples[2].volume, "train_3_a_1.nii.gz");
  assert_string_equal(dataset_orientation(&dataset), "LAS");
  dataset_close(&dataset);
  assert_true(dataset_open(cache, "valid", &dataset, &error));
  assert_string_equal(dataset_orientation(&dataset), "mixed");
  dataset_close(&dataset);
  assert_true(dataset_open(cache, "train", &dataset, &error));
  assert_int_equal(dataset.samples[2].labels[6], 1); /* Lymphadenopathy */
  float *out = mem_alloc(sizeof(float) * 16 * 32 * 32);
  for (int i = 0; i < dataset.count; i++) {
    double low = 2, high = -2;
    assert_true(dataset_volume(&dataset, i, out, &error));
    for (int j = 0; j < 16 * 32 * 32; j++) {
      low = fmin(low, out[j]);
      high = fmax(high, out[j]);
    }
    assert_true(low >= -1 && high <= 1 && high > low);
  }
  free(out);
  dataset_close(&dataset);
  scratch_remove(cache);
}

static void prepare_command(void **state) {
  (void)state;
  shared_needed();
  char volume[4096], metadata[4096], output[300];
  snprintf(volume, sizeof volume, "%s", shared_path("goldens/prep/train_2_a_1.nii.gz"));
  snprintf(metadata, sizeof metadata, "%s", shared_path("goldens/prep/metadata.csv"));
  snprintf(output, sizeof output, "%s", in_folder("one.safetensors"));
  char *arguments[] = {"prepare", "--volume", volume,     "--metadata", metadata,
                       "--size",  "32x64x64", "--output", output,       NULL};
  assert_int_equal(prepare_main(NULL, 9, arguments), EXIT_DONE);
  TensorFile file, expected;
  Error error = {""};
  assert_true(tensor_file_open(&file, output, &error));
  assert_true(
      tensor_file_open(&expected, shared_path("goldens/prep/expected.safetensors"), &error));
  const Tensor *found = tensor_file_find(&file, "volume"), *wanted = NULL;
  for (int i = 0; i < expected.count; i++)
    if (strncmp(expected.tensors[i].name, "train_2_a_1", 11) == 0)
      wanted = &expected.tensors[i];
  assert_non_null(wanted);
  assert_true(type_equal(&found->type, &wanted->type));
  for (int i = 0; i < 32 * 64 * 64; i++)
    assert_true(fabsf(((float *)found->data)[i] - ((float *)wanted->data)[i]) < 1e-5f);
  tensor_file_close(&file);
  tensor_file_close(&expected);
  char *nothing[] = {"prepare", "--volume", volume, NULL};
  assert_int_equal(prepare_main(NULL, 3, nothing), EXIT_USAGE);
  char *bad_size[] = {"prepare", "--volume", volume, "--output", output, "--size", "32x64", NULL};
  assert_int_equal(prepare_main(NULL, 7, bad_size), EXIT_USAGE);
  snprintf(output, sizeof output, "%s", in_folder("two.safetensors"));
  snprintf(volume, sizeof volume, "%s", shared_path("data/corrupt/derived_bad_crc.nii.gz"));
  char *broken[] = {"prepare", "--volume", volume, "--output", output, NULL};
  assert_int_equal(prepare_main(NULL, 5, broken), EXIT_INPUT);
  snprintf(volume, sizeof volume, "%s", shared_path("data/corrupt/derived_pixdim_zero.nii"));
  assert_int_equal(prepare_main(NULL, 5, broken), EXIT_INPUT);
  assert_int_not_equal(access(output, F_OK), 0);
}

static void expect_output(int argc, char **argv, const char *wanted) {
  const char *path = in_folder("out.txt");
  char *all[20];
  memcpy(all, argv, sizeof *argv * (size_t)argc);
  all[argc] = "--output";
  all[argc + 1] = (char *)path;
  all[argc + 2] = NULL;
  assert_int_equal(cmd_tokenize(argc + 2, all), EXIT_DONE);
  Arena *arena = arena_new();
  char *text;
  size_t size;
  assert_true(file_read(arena, path, 1 << 20, &text, &size, NULL));
  assert_string_equal(text, wanted);
  arena_free(arena);
}

static void tokenize_command(void **state) {
  (void)state;
  write_text("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nA\n##b\n\xC3\xA9\ne\n");
  write_text("lines.txt", "ab\r\n\nA");
  write_text("lines.jsonl", "{\"text\": \"a\\n\\u00e9\", \"n\": 1}\n\n{\"text\": \"\"}\n");
  write_text("bad.jsonl", "{\"text\": \"a\"}\n{\"words\": 1}\n");
  write_text("bad.txt", "a\n\xFF\n");
  char vocabulary[300], lines[300], json[300], bad[300], bytes[300];
  snprintf(vocabulary, sizeof vocabulary, "%s", in_folder("vocab.txt"));
  snprintf(lines, sizeof lines, "%s", in_folder("lines.txt"));
  snprintf(json, sizeof json, "%s", in_folder("lines.jsonl"));
  snprintf(bad, sizeof bad, "%s", in_folder("bad.jsonl"));
  snprintf(bytes, sizeof bytes, "%s", in_folder("bad.txt"));
#define CALL(wanted, ...)                                                                          \
  do {                                                                                             \
    char *call[] = {"tokenize", "--vocab", vocabulary, __VA_ARGS__};                               \
    expect_output((int)(sizeof call / sizeof *call), call, wanted);                                \
  } while (0)
  CALL("[4, 6, 1]\n", "--text", "ab c");
  CALL("[]\n", "--text", "");
  CALL("[2, 4, 6, 3, 5, 3]\n", "--text", "ab", "--special", "--pair", "A", "--no-lower");
  CALL("[2, 4, 3]\n", "--text", "ab", "--special", "--length", "3");
  CALL("[7]\n", "--text", "\xC3\xA9", "--strip-accents", "no");
  CALL("[8]\n", "--text", "\xC3\xA9");
  CALL("[\"a\", \"##b\"]\n", "--text", "AB", "--tokens");
  CALL("[4, 6]\n[]\n[4]\n", "--file", lines);
  CALL("[4, 8]\n[]\n", "--jsonl", json);
#undef CALL
  char *two[] = {"tokenize", "--vocab", vocabulary, "--text", "a", "--file", lines, NULL};
  assert_int_equal(cmd_tokenize(7, two), EXIT_USAGE);
  char *wrong[] = {"tokenize", "--vocab", vocabulary, "--jsonl", bad, NULL};
  assert_int_equal(cmd_tokenize(5, wrong), EXIT_INPUT);
  char *raw[] = {"tokenize", "--vocab", vocabulary, "--file", bytes, NULL};
  assert_int_equal(cmd_tokenize(5, raw), EXIT_INPUT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lists_a_tree),     cmocka_unit_test(tells_all_that_is_missing),
      cmocka_unit_test(tells_what_cannot_be_used),
      cmocka_unit_test(fills_a_cache),    cmocka_unit_test(opens_a_tree),
      cmocka_unit_test(real_tree),        cmocka_unit_test(prepare_command),
      cmocka_unit_test(tokenize_command),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
