/* What tests of the job need: a host with the model of fake_clip.h, a made-up data set, a
 * vocabulary of 16 words, and running verbs as command lines. */
#ifndef TRICOT_TESTS_JOB_WORLD_H
#define TRICOT_TESTS_JOB_WORLD_H
#include "runtime/base/json.h"
#include "runtime/data/ctrate.h"
#include "runtime/data/wordpiece.h"
#include "runtime/job/job.h"
#include "tests/unit/fake_clip.h"
#include "tests/unit/shared.h"
#include <fcntl.h>
#include <math.h>
#include <signal.h>

enum { VOLUMES = 7, MAX_ARGS = 32 };

static char folder[100];
static Program *program;
static JobRequest last_request;
static int steps_until_signal; /* 0: never */

static const char *in_folder(const char *name) {
  static char ring[16][300];
  static int next;
  char *path = ring[next++ % 16];
  snprintf(path, sizeof ring[0], "%s/%s", folder, name);
  return path;
}

/* ---- the host ---- */

static void fake_update_and_signal(void *const *arguments, int64_t begin, int64_t end) {
  fake_update(arguments, begin, end);
  if (steps_until_signal && --steps_until_signal == 0)
    raise(SIGINT);
}

static ProgramKernel *lookup(void *context, const char *name) {
  ProgramKernel *kernel = fake_lookup(context, name);
  return kernel == fake_update ? fake_update_and_signal : kernel;
}

static bool host_open(void *context, const Options *options, const char *model,
                      const JobRequest *request, Program **result, Error *error) {
  (void)context, (void)options, (void)model;
  last_request = *request;
  if (!program_open(&program, &fake_plan, lookup, NULL, request->threads, error))
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
static char output_text[1 << 16], error_text[1 << 16];

static void read_back(const char *name, char *text, size_t room) {
  FILE *stream = fopen(in_folder(name), "rb");
  text[fread(text, 1, room - 1, stream)] = 0;
  fclose(stream);
}

/* Runs a verb with stdout and stderr in output_text and error_text. A word that starts with '@' is
 * a path in the test's folder. */
static int job(const char *line) {
  static char words[4096];
  char *argv[MAX_ARGS + 1] = {0}, *rest = words;
  int argc = 0, saved[2] = {dup(1), dup(2)};
  snprintf(words, sizeof words, "%s", line);
  for (char *word; (word = strtok_r(argc ? NULL : words, " ", &rest)) && argc < MAX_ARGS;)
    argv[argc++] = *word == '@' ? (char *)in_folder(word + 1) : word;
  fflush(stdout);
  for (int i = 0; i < 2; i++) {
    int file = open(in_folder(i ? "stderr" : "stdout"), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    dup2(file, i + 1);
    close(file);
  }
  int status = job_main(&host, argc, argv);
  fflush(stdout);
  for (int i = 0; i < 2; i++) {
    dup2(saved[i], i + 1);
    close(saved[i]);
  }
  read_back("stdout", output_text, sizeof output_text);
  read_back("stderr", error_text, sizeof error_text);
  return status;
}

static void runs(const char *line) {
  int status = job(line);
  if (status != EXIT_DONE)
    fail_msg("%s: status %d: %s", line, status, error_text);
}

static void fails(const char *line, int status, const char *word) {
  int got = job(line);
  if (got != status || !strstr(error_text, word))
    fail_msg("%s: status %d instead of %d, or \"%s\" does not say \"%s\"", line, got, status,
             error_text, word);
}

/* ---- the world ---- */

static float voxel(int volume, int v) { return (float)sin(volume * 13.0 + v); }

static void report_text(int volume, char *out, size_t room) {
  snprintf(out, room, "No %s is %s.", volume % 2 ? "mass" : "effusion",
           volume % 3 ? "seen" : "present");
}

static void write_cache(void) {
  Text json = {0};
  Error error;
  assert_true(make_folders(in_folder("cache"), &error));
  text_add(&json,
           "{\"format\": \"tricot-cache\", \"version\": 2, \"complete\": true, "
           "\"store\": \"int16\", \"preprocessing\": \"size 2x2x2 order "
           "clip,resize,window clip -1000:1000 window -1000:200 spacing 1.5:0.75:0.75 spacing_from "
           "metadata padding -1 rescale metadata orientation stored\", \"labels\": [");
  for (int i = 0; i < CTRATE_LABELS; i++) {
    text_add(&json, "%s", i ? ", " : "");
    json_add_string(&json, ctrate_label_names[i]);
  }
  text_add(&json, "], \"volumes\": [");
  for (int i = 0; i < 2 * VOLUMES; i++) {
    const char *split = i < VOLUMES ? "train" : "valid";
    char name[64], report[80];
    float data[FAKE_VOXELS];
    snprintf(name, sizeof name, "cache/v%d.safetensors", i);
    report_text(i, report, sizeof report);
    for (int v = 0; v < FAKE_VOXELS; v++)
      data[v] = voxel(i, v);
    Tensor tensor = {"volume", {DT_f32, 4, {1, 2, 2, 2}}, data};
    assert_true(tensor_file_write(in_folder(name), &tensor, 1, NULL, NULL, 0, &error));
    text_add(&json,
             "%s{\"volume\": \"%s_%d.nii.gz\", \"patient\": \"p\", \"split\": \"%s\", "
             "\"file\": \"v%d.safetensors\", \"report\": \"%s\", \"source_bytes\": 1, "
             "\"source_time\": 1, \"orientation\": \"LPS\", \"labels\": ",
             i ? ",\n" : "", split, i, split, i, report);
    for (int c = 0; i != 8 && c < CTRATE_LABELS; c++)
      text_add(&json, "%s%d", c ? ", " : "[", (i + c) % 3 == 0);
    text_add(&json, "%s", i == 8 ? "null}" : "]}");
  }
  text_add(&json, "]}\n");
  FILE *stream = fopen(in_folder("cache/manifest.json"), "wb");
  fwrite(json.at, 1, json.size, stream);
  fclose(stream);
  text_free(&json);
}

static void write_vocabulary(const char *name, const char *more) {
  FILE *stream = fopen(in_folder(name), "wb");
  fprintf(stream,
          "[PAD]\n[UNK]\n[CLS]\n[SEP]\nno\nis\nmass\neffusion\nseen\npresent\n.\nnot\nlung\n"
          "calc\nhernia\natelectasis\n%s",
          more);
  fclose(stream);
}

static int make_world(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "%s", scratch_make());
  write_cache();
  write_vocabulary("vocab.txt", "");
  write_vocabulary("large.txt", "word\n");
  return 0;
}

static int remove_world(void **state) {
  (void)state;
  scratch_remove(folder);
  return 0;
}
#endif
