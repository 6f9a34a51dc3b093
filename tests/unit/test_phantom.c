/* Made-up data sets: the files read back as what was drawn, every finding shows in the image and is
 * told in the report, the tree is complete, the same seed gives the same bytes. */
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

static int64_t voxels_of(const Phantom *p) { return p->size[0] * p->size[1] * p->size[2]; }

static void files_read_back(void **state) {
  (void)state;
  Error error;
  Volume volume;
  PhantomOptions options = phantom_defaults();
  memcpy(options.size, (int64_t[]){20, 32, 28}, sizeof options.size);
  Phantom p = phantom_make(&options, 5, 0, 0);
  int16_t *drawn = malloc(sizeof *drawn * (size_t)voxels_of(&p)), *expected = drawn;
  phantom_draw(&p, drawn);
  assert_true(phantom_write(&p, in_folder("a.nii.gz"), &error));
  if (!volume_read(in_folder("a.nii.gz"), &volume, &error))
    fail_msg("%s", error.text);
  assert_int_equal(volume.nz, p.size[0]);
  assert_int_equal(volume.ny, 32);
  assert_int_equal(volume.nx, 28);
  for (int i = 0; i < 3; i++)
    assert_true(fabs(volume.spacing[i] - p.spacing[2 - i]) < 1e-5);
  assert_string_equal(volume.axes, "LPS");
  double row[28];
  for (int64_t z = 0; z < p.size[0]; z++)
    for (int64_t y = 0; y < 32; y++) {
      volume_row(&volume, y, z, row);
      for (int x = 0; x < 28; x++)
        assert_true(row[x] == *expected++);
    }
  volume_free(&volume);
  free(drawn);
}

/* Patients, grids and noise vary; a later scan keeps the anatomy, a reconstruction the findings. */
static void patients_and_their_scans(void **state) {
  (void)state;
  PhantomOptions options = phantom_defaults();
  int changed = 0, slices = 0;
  int64_t fewest = INT64_MAX, most = 0;
  for (uint64_t patient = 0; patient < 20; patient++) {
    Phantom first = phantom_make(&options, patient, 0, 0),
            again = phantom_make(&options, patient, 0, 1),
            later = phantom_make(&options, patient, 1, 0);
    assert_memory_equal(first.has, again.has, sizeof first.has);
    assert_true(first.report == again.report && first.grain != again.grain);
    assert_true(first.anatomy == later.anatomy && first.report != later.report);
    changed += memcmp(first.has, later.has, sizeof first.has) != 0;
    slices += first.size[0] != again.size[0];
    assert_true(first.spacing[1] != again.spacing[1]);
    fewest = first.size[0] < fewest ? first.size[0] : fewest;
    most = first.size[0] > most ? first.size[0] : most;
    assert_in_range(first.size[0], 53, 75); /* a sixth around 64 */
    double length = (double)first.size[0] * first.spacing[0];
    assert_true(length >= 305 && length <= 340);
  }
  assert_in_range(changed, 5, 20);
  assert_in_range(slices, 10, 20);
  assert_true(fewest < 58 && most > 70);
}

/* What a finding changes in the image, the noise apart. */
typedef struct Change {
  double litres, step; /* the changed region; by how many HU on average, up or down */
} Change;

static Change change_by(Phantom p, Finding f) {
  size_t count = (size_t)voxels_of(&p);
  int16_t *without = malloc(2 * count), *with = malloc(2 * count);
  double changed = 0, sum = 0;
  p.noise = 0;
  p.has[f] = false;
  phantom_draw(&p, without);
  p.has[f] = true;
  phantom_draw(&p, with);
  for (size_t i = 0; i < count; i++)
    if (without[i] != with[i]) {
      changed++;
      sum += abs(with[i] - without[i]);
    }
  free(without);
  free(with);
  return (Change){changed * p.spacing[0] * p.spacing[1] * p.spacing[2] / 1e6, sum / changed};
}

static void every_finding_is_drawn(void **state) {
  (void)state;
  static const struct {
    double least, most, step; /* litres, HU */
  } bounds[PHANTOM_FINDINGS] = {[MEDICAL_MATERIAL] = {0.01, 9, 5},
                                [ARTERIAL_CALCIFICATION] = {0.01, 0.4, 400},
                                [CARDIOMEGALY] = {0.1, 2, 300},
                                [HIATAL_HERNIA] = {0.03, 0.6, 100},
                                [EMPHYSEMA] = {1, 8, 50},
                                [ATELECTASIS] = {0.1, 2, 200},
                                [LUNG_NODULE] = {0.0005, 0.08, 500},
                                [LUNG_OPACITY] = {0.05, 2, 150},
                                [PLEURAL_EFFUSION] = {0.05, 4, 400},
                                [CONSOLIDATION] = {0.03, 1, 500}};
  PhantomOptions options = phantom_defaults();
  memcpy(options.size, (int64_t[]){48, 72, 72}, sizeof options.size);
  for (int f = 0; f < PHANTOM_FINDINGS; f++)
    options.prevalence[f] = 0;
  for (uint64_t patient = 0; patient < 4; patient++)
    for (int f = 0; f < PHANTOM_FINDINGS; f++) {
      Phantom p = phantom_make(&options, patient, 0, 0);
      assert_false(p.has[f]);
      Change c = change_by(p, (Finding)f);
      if (!(c.litres >= bounds[f].least && c.litres <= bounds[f].most && c.step >= bounds[f].step))
        fail_msg("patient %d: %s changes %g litres by %g HU", (int)patient,
                 phantom_findings[f].label, c.litres, c.step);
    }
}

/* The peaks that tell Hounsfield units: air and soft tissue; and bone above. */
static void values_are_hounsfield_units(void **state) {
  (void)state;
  PhantomOptions options = phantom_defaults();
  for (uint64_t patient = 0; patient < 3; patient++) {
    Phantom p = phantom_make(&options, patient, 0, 0);
    int64_t count = voxels_of(&p), air = 0, lung = 0, fat = 0, tissue = 0, bone = 0;
    int16_t *voxels = malloc(sizeof *voxels * (size_t)count);
    phantom_draw(&p, voxels);
    for (int64_t i = 0; i < count; i++) {
      air += voxels[i] < -970;
      lung += voxels[i] > -960 && voxels[i] < -700;
      fat += voxels[i] > -130 && voxels[i] < -60;
      tissue += voxels[i] > 0 && voxels[i] < 90;
      bone += voxels[i] > 250;
    }
    assert_in_range(air * 100 / count, 30, 75);
    assert_in_range(lung * 100 / count, 4, 25);
    assert_in_range(fat * 100 / count, 3, 20);
    assert_in_range(tissue * 100 / count, 8, 35);
    assert_in_range(bone * 1000 / count, 8, 80);
    free(voxels);
  }
}

/* ---- reports ---- */

/* The sentence that speaks of a finding by its name is affirmative or not; absent findings are
 * never said to be present, and the other way round. */
static void reports_tell_the_truth(void **state) {
  (void)state;
  PhantomOptions options = phantom_defaults();
  int mentions[PHANTOM_FINDINGS][2] = {0}, unmentioned = 0, sentences = 0;
  char *seen[400];
  for (uint64_t patient = 0; patient < 400; patient++) {
    Phantom p = phantom_make(&options, patient, 0, 0);
    Text findings = {0}, impression = {0};
    phantom_report(&p, &findings, &impression);
    text_add(&findings, " %s", impression.at);
    assert_null(strpbrk(findings.at, "{}\""));
    for (int f = 0; f < PHANTOM_FINDINGS; f++) {
      char yes[80], no[80];
      snprintf(yes, sizeof yes, "%s is present", phantom_findings[f].label);
      snprintf(no, sizeof no, "%s is not present.", phantom_findings[f].label);
      bool said = strstr(findings.at, yes), denied = strstr(findings.at, no);
      assert_false(said && !p.has[f]);
      assert_false(denied && p.has[f]);
      mentions[f][0] += denied;
      mentions[f][1] += said;
      unmentioned += !p.has[f] && !strcasestr(findings.at, phantom_findings[f].label);
    }
    for (const char *at = findings.at; (at = strchr(at, '.')); at++)
      sentences++;
    seen[patient] = findings.at;
    text_free(&impression);
  }
  int different = 0;
  for (int i = 0; i < 400; i++) {
    bool repeated = false;
    for (int k = 0; k < i; k++)
      repeated |= strcmp(seen[i], seen[k]) == 0;
    different += !repeated;
  }
  for (int i = 0; i < 400; i++)
    free(seen[i]);
  assert_in_range(different, 380, 400);
  assert_in_range(sentences, 400 * 3, 400 * 12);
  assert_in_range(unmentioned, 400, 4000);
  for (int f = 0; f < PHANTOM_FINDINGS; f++)
    for (int present = 0; present < 2; present++)
      assert_in_range(mentions[f][present], 10, 300);
}

/* ---- the command ---- */

static int synth(const char *name, const char *seed, const char *jobs) {
  char output[200];
  snprintf(output, sizeof output, "%s", in_folder(name));
  char *argv[] = {"synth",       "--output",
                  output,        "--train",
                  "6",           "--valid",
                  "2",           "--size",
                  "12x16x16",    "--scans",
                  "0.5",         "--reconstructions",
                  "0.5",         "--jobs",
                  (char *)jobs,  "--prevalence",
                  "0.4",         "--prevalence",
                  "emphysema=1", "--seed",
                  (char *)seed,  NULL};
  return cmd_synth(21, argv);
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

/* Labels and metadata of a sample are those of its phantom, and the vocabulary knows its words. */
static void check_sample(const CtrateSample *sample, const WordPiece *pieces) {
  Error error;
  TokenIds ids = {0};
  PhantomOptions options = phantom_defaults();
  int patient, reconstruction;
  char scan;
  options.seed = 7;
  memcpy(options.size, (int64_t[]){12, 16, 16}, sizeof options.size);
  for (int f = 0; f < PHANTOM_FINDINGS; f++)
    options.prevalence[f] = f == EMPHYSEMA ? 1 : 0.4;
  assert_int_equal(sscanf(sample->volume, "train_%d_%c_%d", &patient, &scan, &reconstruction), 3);
  Phantom p = phantom_make(&options, (uint64_t)(2 * (patient - 1)), scan - 'a', reconstruction - 1);
  assert_true(sample->has_labels && p.has[EMPHYSEMA]);
  assert_true(fabs(sample->facts.spacing[2] - p.spacing[0]) < 1e-4);
  assert_true(fabs(sample->facts.spacing[0] - p.spacing[2]) < 1e-4);
  int present = 0;
  for (int f = 0; f < PHANTOM_FINDINGS; f++) {
    for (int c = 0; c < CTRATE_LABELS; c++)
      if (strcmp(ctrate_label_names[c], phantom_findings[f].label) == 0)
        assert_int_equal(sample->labels[c], p.has[f]);
    present += p.has[f];
  }
  for (int c = 0; c < CTRATE_LABELS; c++)
    present -= sample->labels[c];
  assert_int_equal(present, 0);
  assert_true(wordpiece_encode(pieces, sample->report, strlen(sample->report), &ids, &error));
  for (int k = 0; k < ids.count; k++)
    assert_int_not_equal(ids.at[k], 1); /* [UNK] */
  token_ids_free(&ids);
}

static void the_tree_is_complete(void **state) {
  (void)state;
  Error error;
  CtrateSplit split;
  int second_scans = 0, second_reconstructions = 0;
  assert_int_equal(synth("one", "7", "1"), EXIT_DONE);
  if (!ctrate_open(in_folder("one"), "train", false, &split, &error))
    fail_msg("%s", error.text);
  assert_string_equal(split.missing, "");
  WordPiece *pieces =
      wordpiece_open(in_folder("one/vocab.txt"), (WordPieceOptions){.lower = true}, &error);
  assert_non_null(pieces);
  for (int i = 0; i < split.count; i++) {
    check_sample(&split.samples[i], pieces);
    second_scans += strstr(split.samples[i].volume, "_b_1") != NULL;
    second_reconstructions += strstr(split.samples[i].volume, "_2.nii.gz") != NULL;
  }
  assert_in_range(second_scans, 1, 5);
  assert_in_range(second_reconstructions, 1, 11);
  assert_int_equal(split.count, 6 + second_scans + second_reconstructions);
  wordpiece_free(pieces);
  ctrate_close(&split);
}

static void the_seed_decides_every_byte(void **state) {
  (void)state;
#define VOLUME "/dataset/valid/valid_2/valid_2_a/valid_2_a_1.nii.gz"
#define REPORTS "/radiology_text_reports/train_reports.csv"
  assert_int_equal(synth("two", "7", "3"), EXIT_DONE);
  assert_int_equal(synth("three", "8", "1"), EXIT_DONE);
  same_bytes("one" VOLUME, "two" VOLUME, true);
  same_bytes("one" VOLUME, "three" VOLUME, false);
  same_bytes("one/vocab.txt", "two/vocab.txt", true);
  same_bytes("one" REPORTS, "two" REPORTS, true);
  same_bytes("one" REPORTS, "three" REPORTS, false);
  same_bytes("one/metadata/validation_metadata.csv", "two/metadata/validation_metadata.csv", true);
}

static void wrong_options_are_refused(void **state) {
  (void)state;
  static char *const wrong[][2] = {{"--prevalence", "1.5"},    {"--prevalence", "Fracture=0.5"},
                                   {"--prevalence", "nodule"}, {"--scans", "-1"},
                                   {"--size", "64x64"},        {"--jobs", "0"}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    char *argv[] = {"synth", "--output", folder, wrong[i][0], wrong[i][1], NULL};
    assert_int_equal(cmd_synth(5, argv), EXIT_USAGE);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(files_read_back),
                                     cmocka_unit_test(patients_and_their_scans),
                                     cmocka_unit_test(every_finding_is_drawn),
                                     cmocka_unit_test(values_are_hounsfield_units),
                                     cmocka_unit_test(reports_tell_the_truth),
                                     cmocka_unit_test(the_tree_is_complete),
                                     cmocka_unit_test(the_seed_decides_every_byte),
                                     cmocka_unit_test(wrong_options_are_refused)};
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
