/* predict on a model that can be checked by hand (fake_clip.h): volumes stored one way and the
 * other round, weights that say how they were trained, and what is told of each volume. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* after what it leans on */
#include <cmocka.h>

#include "runtime/job/job.h"
#include "tests/unit/fake_clip.h"
#include "tests/unit/shared.h"
#include <fcntl.h>
#include <string.h>

enum { MAX_ARGS = 32, ROOM = 1 << 16 };

static char folder[100], out_text[ROOM], error_text[ROOM];
static Program *program;

static const char *in_folder(const char *name) {
  static char ring[16][300];
  static int next;
  char *path = ring[next++ % 16];
  snprintf(path, sizeof ring[0], "%s/%s", folder, name);
  return path;
}

static bool host_open(void *context, const Options *options, const char *model,
                      const JobRequest *request, Program **result, Error *error) {
  (void)context, (void)options, (void)model;
  if (!program_open(&program, &fake_plan, fake_lookup, NULL, request->threads, error))
    return false;
  *result = program;
  return true;
}

static void host_close(void *context) {
  (void)context;
  program_close(program);
  program = NULL;
}

static const JobHost host = {.name = "fake", .open = host_open, .close = host_close};

static void read_back(const char *name, char *text) {
  FILE *stream = fopen(in_folder(name), "rb");
  text[stream ? fread(text, 1, ROOM - 1, stream) : 0] = 0;
  if (stream)
    fclose(stream);
}

/* predict with these arguments; its JSON in out_text, its stderr in error_text. */
static int predict(const char *line) {
  char words[1000], *argv[MAX_ARGS + 1] = {"predict"}, *rest = words;
  int argc = 1, saved = dup(2);
  snprintf(words, sizeof words, "%s --vocab @vocab.txt --json --out @out --threads 2", line);
  for (char *word; (word = strtok_r(argc > 1 ? NULL : words, " ", &rest)) && argc < MAX_ARGS;)
    argv[argc++] = *word == '@' ? (char *)in_folder(word + 1) : word;
  fflush(stderr);
  int file = open(in_folder("stderr"), O_CREAT | O_TRUNC | O_WRONLY, 0600);
  dup2(file, 2);
  close(file);
  unlink(in_folder("out"));
  int status = job_main(&host, argc, argv);
  dup2(saved, 2);
  close(saved);
  read_back("out", out_text);
  read_back("stderr", error_text);
  return status;
}

static void says(const char *text, const char *words) {
  if (!strstr(text, words))
    fail_msg("\"%s\" does not say \"%s\"", text, words);
}

/* A 2x2x2 volume of 0.75 x 0.75 x 1.5 mm; signs of its affine's diagonal: "RAS", "LPS". */
static void write_volume(const char *name, const int signs[3], const float *voxels) {
  unsigned char bytes[352 + 32] = {0};
  int32_t header = 348;
  int16_t dim[] = {3, 2, 2, 2}, type[] = {16, 32}, code = 1;
  float pixdim[] = {1, 0.75, 0.75, 1.5}, offset = 352, rows[3][4] = {0};
  for (int i = 0; i < 3; i++)
    rows[i][i] = (float)signs[i] * pixdim[i + 1];
  memcpy(bytes, &header, 4);
  memcpy(bytes + 40, dim, sizeof dim);
  memcpy(bytes + 70, type, sizeof type);
  memcpy(bytes + 76, pixdim, sizeof pixdim);
  memcpy(bytes + 108, &offset, 4);
  memcpy(bytes + 254, &code, 2);
  memcpy(bytes + 280, rows, sizeof rows);
  memcpy(bytes + 344, "n+1", 4);
  memcpy(bytes + 352, voxels, 32);
  FILE *stream = fopen(in_folder(name), "wb");
  fwrite(bytes, 1, sizeof bytes, stream);
  fclose(stream);
}

static void write_weights(const char *name, const char *orientation, const char *prepare) {
  float image[32], text[64];
  int64_t count = 0;
  Error error;
  for (int i = 0; i < 64; i++)
    text[i] = (float)(i * 7 % 11) - 5;
  for (int i = 0; i < 32; i++)
    image[i] = (float)(i * 5 % 13) - 6;
  Tensor tensors[] = {{"image.weight", FAKE_MATRIX, image},
                      {"text.table", {DT_f32, 2, {FAKE_WORDS, FAKE_WIDTH}}, text},
                      {"image.count", {DT_i64, 0, {0}}, &count}};
  assert_true(tensor_file_write(in_folder(name), tensors, 3,
                                (const char *[]){"orientation", "prepare"},
                                (const char *[]){orientation, prepare}, 2, &error));
}

static const char trained[] =
    "size 9x9x9 order clip,resize,window clip -1000:1000 window -1000:200 spacing 1.5:0.75:0.75 "
    "spacing_from metadata padding -1 rescale metadata orientation stored";
static const char elsewhere[] =
    "size 2x2x2 order resize,window window -1000:1000 spacing 1.5:0.75:0.75 spacing_from metadata "
    "padding -1 rescale metadata orientation stored";

static int make_world(void **state) {
  (void)state;
  static const float voxels[8] = {-900, -700, -500, -300, -100, 0, 100, 150};
  float turned[8];
  snprintf(folder, sizeof folder, "%s", scratch_make());
  FILE *stream = fopen(in_folder("vocab.txt"), "wb");
  fputs("[PAD]\n[UNK]\n[CLS]\n[SEP]\nno\nis\nmass\neffusion\nseen\npresent\n.\nnot\nlung\ncalc\n"
        "hernia\natelectasis\n",
        stream);
  fclose(stream);
  for (int i = 0; i < 8; i++)
    turned[i] = voxels[i ^ 3]; /* x and y the other way round */
  write_volume("lps.nii", (const int[]){-1, -1, 1}, voxels);
  write_volume("ras.nii", (const int[]){1, 1, 1}, turned);
  write_volume("flat.nii", (const int[]){0, 1, 1}, voxels);
  write_weights("lps.weights", "LPS", trained);
  write_weights("mixed.weights", "mixed", elsewhere);
  return 0;
}

static int remove_world(void **state) {
  (void)state;
  scratch_remove(folder);
  return 0;
}

static void probabilities(char *out) {
  const char *at = strstr(out_text, "\"probabilities\"");
  assert_non_null(at);
  strcpy(out, at);
}

static void turns_to_the_training(void **state) {
  (void)state;
  static char first[ROOM], second[ROOM], stored[ROOM];
  assert_int_equal(predict("--weights @lps.weights @lps.nii"), EXIT_DONE);
  says(out_text, "\"orientation\": {\"stored\": \"LPS\", \"used\": \"LPS\"}");
  assert_string_equal(error_text, ""); /* trained alike, apart from the size: nothing to say */
  probabilities(first);
  assert_int_equal(predict("--weights @lps.weights @ras.nii"), EXIT_DONE);
  says(out_text, "\"orientation\": {\"stored\": \"RAS\", \"used\": \"LPS\"}");
  probabilities(second);
  assert_string_equal(first, second);
  assert_int_equal(predict("--weights @lps.weights --orientation stored @ras.nii"), EXIT_DONE);
  probabilities(stored);
  assert_string_not_equal(first, stored);
  assert_int_equal(predict("--weights @lps.weights --orientation RAS @lps.nii"), EXIT_DONE);
  probabilities(second);
  assert_string_equal(stored, second);
}

static void refuses_what_cannot_be_turned(void **state) {
  (void)state;
  assert_int_equal(predict("--weights @lps.weights @flat.nii @lps.nii"), EXIT_INPUT);
  says(error_text, "flat.nii: error: ");
  says(error_text, "--orientation stored");
  says(out_text, "\"probabilities\""); /* the other one */
  assert_int_equal(predict("--weights @lps.weights --orientation stored @flat.nii"), EXIT_DONE);
  assert_int_equal(predict("--weights @lps.weights --orientation LPX @lps.nii"), EXIT_INPUT);
  says(error_text, "--orientation: error: \"LPX\"");
}

static void tells_what_differs(void **state) {
  (void)state;
  assert_int_equal(predict("--weights @mixed.weights @ras.nii"), EXIT_DONE);
  says(out_text, "\"orientation\": {\"stored\": \"RAS\", \"used\": \"RAS\"}");
  says(error_text, "mixed orientations: volumes stay as stored");
  says(error_text, "warning: the weights were trained on volumes prepared with");
  says(error_text, elsewhere);
  says(error_text, "clip -1000:1000 window -1000:200");
}

static void tells_slope_and_spacing(void **state) {
  (void)state;
  assert_int_equal(predict("--weights @lps.weights @lps.nii"), EXIT_DONE);
  says(out_text, "\"slope\": 1, \"intercept\": 0, \"from\": \"header\"");
  says(out_text, "\"spacing\": {\"mm\": [0.75, 0.75, 1.5], \"from\": \"header\"}");
  says(out_text, "\"read\": ");
  says(out_text, "For research use only");
  FILE *stream = fopen(in_folder("rows.csv"), "wb");
  fputs("VolumeName,RescaleSlope,RescaleIntercept,XYSpacing,ZSpacing\n"
        "lps.nii.gz,2,-10,\"[0.5, 0.5]\",3\n",
        stream);
  fclose(stream);
  assert_int_equal(predict("--weights @lps.weights --metadata @rows.csv @lps.nii"), EXIT_DONE);
  says(out_text, "\"slope\": 2, \"intercept\": -10, \"from\": \"metadata\"");
  says(out_text, "\"spacing\": {\"mm\": [0.5, 0.5, 3], \"from\": \"metadata\"}");
  assert_int_equal(predict("--weights @lps.weights --metadata @rows.csv @ras.nii"), EXIT_INPUT);
  says(error_text, "no row for volume ras.nii");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(turns_to_the_training),
      cmocka_unit_test(refuses_what_cannot_be_turned),
      cmocka_unit_test(tells_what_differs),
      cmocka_unit_test(tells_slope_and_spacing),
  };
  return cmocka_run_group_tests(tests, make_world, remove_world);
}
