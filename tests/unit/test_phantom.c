/* Made-up data sets: the files read back as what was drawn, the tree is complete, the same seed
 * gives the same bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "runtime/base/arena.h"
#include "runtime/base/file.h"
#include "runtime/data/ctrate.h"
#include "runtime/data/nifti.h"
#include "runtime/data/phantom.h"
#include "runtime/data/wordpiece.h"
#include "runtime/job/command.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static char folder[] = "/tmp/tricot-phantom-XXXXXX";
static const int64_t size[3] = {20, 32, 28};

static int make_folder(void **state) {
  (void)state;
  return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
  (void)state;
  char command[100];
  snprintf(command, sizeof command, "rm -r %s", folder);
  return system(command);
}

static const char *in_folder(const char *name) {
  static char path[4][200];
  static int turn;
  turn = (turn + 1) % 4;
  snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
  return path[turn];
}

static void files_read_back(void **state) {
  (void)state;
  Error error;
  Volume volume;
  Phantom p = phantom_make(5, 0, size);
  int16_t drawn[20 * 32 * 28];
  phantom_draw(&p, drawn);
  assert_true(phantom_write(&p, in_folder("a.nii.gz"), &error));
  if (!volume_read(in_folder("a.nii.gz"), &volume, &error))
    fail_msg("%s", error.text);
  assert_int_equal(volume.nz, size[0]);
  assert_int_equal(volume.ny, size[1]);
  assert_int_equal(volume.nx, size[2]);
  for (int i = 0; i < 3; i++)
    assert_true(fabs(volume.spacing[i] - p.spacing[2 - i]) < 1e-5);
  assert_string_equal(volume.axes, "LPS");
  double row[28];
  const int16_t *expected = drawn;
  for (int64_t z = 0; z < 20; z++)
    for (int64_t y = 0; y < 32; y++) {
      volume_row(&volume, y, z, row);
      for (int x = 0; x < 28; x++)
        assert_true(row[x] == *expected++);
    }
  volume_free(&volume);
}

/* The mean over a cube of 3 voxels around a place in mm: x left, y back, z up. */
static double mean_at(const Phantom *p, const int16_t *voxels, double x, double y, double z) {
  const double at[3] = {z, y, x};
  int64_t middle[3];
  double sum = 0;
  for (int i = 0; i < 3; i++)
    middle[i] = (int64_t)floor(at[i] * p->scale / p->spacing[i] + (double)p->size[i] / 2);
  for (int64_t d = -1; d <= 1; d++)
    for (int64_t h = -1; h <= 1; h++)
      for (int64_t w = -1; w <= 1; w++)
        sum += voxels[((middle[0] + d) * p->size[1] + middle[1] + h) * p->size[2] + middle[2] + w];
  return sum / 27;
}

static void findings_can_be_seen(void **state) {
  (void)state;
  static const int64_t fine[3] = {64, 96, 96};
  int16_t *voxels = malloc(sizeof *voxels * 64 * 96 * 96);
  int enlarged = 0, effusions = 0;
  for (uint64_t i = 0; i < 12; i++) {
    Phantom p = phantom_make(3, i, fine);
    phantom_draw(&p, voxels);
    assert_true(mean_at(&p, voxels, 0, 72, 0) > 340);     /* spine */
    assert_true(mean_at(&p, voxels, 0, -130, 0) < -980);   /* air outside */
    bool lung = mean_at(&p, voxels, -115, -20, 0) < -800; /* far from heart and findings' middle */
    bool filled = p.has[2] || p.has[3] || p.has[4];
    assert_true(lung || filled);
    double heart = mean_at(&p, voxels, 72, -28, -45); /* in the lung unless the heart is large */
    if (!filled)
      assert_int_equal(heart > -100, p.has[0]);
    enlarged += p.has[0];
    bool fluid = mean_at(&p, voxels, -75, 60, 0) > -200;
    if (!p.has[2] && !p.has[4])
      assert_int_equal(fluid, p.has[3]);
    effusions += p.has[3];
  }
  assert_in_range(enlarged, 1, 11);
  assert_in_range(effusions, 1, 11);
  free(voxels);
}

static void synth(const char *name, const char *seed) {
  char output[200];
  snprintf(output, sizeof output, "%s", in_folder(name));
  char *argv[] = {"synth", "--output", output,     "--train", "3",          "--valid",
                  "2",     "--size",   "12x16x16", "--seed",  (char *)seed, NULL};
  assert_int_equal(cmd_synth(11, argv), EXIT_DONE);
}

static void same_bytes(const char *a, const char *b, bool same) {
  Arena *arena = arena_new();
  char *one, *two;
  size_t one_size, two_size;
  Error error;
  assert_true(file_read(arena, in_folder(a), 1 << 20, &one, &one_size, &error));
  assert_true(file_read(arena, in_folder(b), 1 << 20, &two, &two_size, &error));
  assert_int_equal(one_size == two_size && memcmp(one, two, one_size) == 0, same);
  arena_free(arena);
}

static void the_tree_is_complete(void **state) {
  (void)state;
  Error error;
  CtrateSplit split;
  synth("one", "7");
  if (!ctrate_open(in_folder("one"), "train", false, &split, &error))
    fail_msg("%s", error.text);
  assert_int_equal(split.count, 3);
  assert_string_equal(split.missing, "");
  WordPiece *pieces =
      wordpiece_open(in_folder("one/vocab.txt"), (WordPieceOptions){.lower = true}, &error);
  assert_non_null(pieces);
  int64_t unknown = 1; /* [UNK] */
  for (int i = 0; i < 3; i++) {
    Phantom p = phantom_make(7, (uint64_t)(2 * i), (const int64_t[]){12, 16, 16});
    const CtrateSample *sample = &split.samples[i];
    assert_true(sample->has_labels);
    int present = 0;
    for (int f = 0; f < PHANTOM_FINDINGS; f++) {
      for (int c = 0; c < CTRATE_LABELS; c++)
        if (strcmp(ctrate_label_names[c], phantom_findings[f].label) == 0)
          assert_int_equal(sample->labels[c], p.has[f]);
      assert_int_equal(strstr(sample->report, phantom_findings[f].present) != NULL, p.has[f]);
      present += p.has[f];
    }
    for (int c = 0; c < CTRATE_LABELS; c++)
      present -= sample->labels[c];
    assert_int_equal(present, 0);
    TokenIds ids = {0};
    assert_true(wordpiece_encode(pieces, sample->report, strlen(sample->report), &ids, &error));
    for (int k = 0; k < ids.count; k++)
      assert_int_not_equal(ids.at[k], unknown);
    token_ids_free(&ids);
  }
  wordpiece_free(pieces);
  ctrate_close(&split);
  synth("two", "7");
  synth("three", "8");
#define VOLUME "/dataset/valid/valid_2/valid_2_a/valid_2_a_1.nii.gz"
  same_bytes("one" VOLUME, "two" VOLUME, true);
  same_bytes("one" VOLUME, "three" VOLUME, false);
  same_bytes("one/vocab.txt", "two/vocab.txt", true);
  same_bytes("one/radiology_text_reports/train_reports.csv",
             "two/radiology_text_reports/train_reports.csv", true);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(files_read_back),
                                     cmocka_unit_test(findings_can_be_seen),
                                     cmocka_unit_test(the_tree_is_complete)};
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
