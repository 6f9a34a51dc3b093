/* A stand-in for NVRTC, for tests without one: CUDA text to an image of the driver without a
 * device.
 *
 * The text goes through the C compiler with codegen/cuda_shim.h in front (as text_library.c does
 * for the target cuda-shim, with the same options, so that numbers are the same), followed by what
 * the driver calls: a function and a description for each kernel, read off the text.
 * Images of texts that were compiled before are taken from the folder FAKE_NVRTC_CACHE, if set.
 */
#include "runtime/base/map.h"
#include "runtime/base/text.h"
#include "tests/cuda_driver/fake.h"
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

typedef struct Program {
  char *source, *image;
  size_t size;
  char log[2000];
} Program;

enum { FAILED = 6 };

static const char opening[] = "TRICOT_KERNEL(";

static char *next_kernel(char *at) { /* definitions begin their line; the macro's does not */
  while (at && (at = strstr(at, opening)) && at[-1] != '\n')
    at++;
  return at;
}

/* The comma-separated parameters between the parentheses at `at`. */
static int parameters(const char *at) {
  const char *end = strchr(at, ')');
  int commas = 0;
  if (strncmp(at, "(void)", 6) == 0)
    return 0;
  for (; at < end; at++)
    commas += *at == ',';
  return commas + 1;
}

static bool waits(const char *body, const char *end) {
  static const char *const words[] = {"TRICOT_SYNC", "tricot_mma", "tricot_matrix", "tricot_copy"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    const char *found = strstr(body, words[i]);
    if (found && found < end)
      return true;
  }
  return false;
}

static void describe(char *kernel, Text *out) {
  char name[400];
  int threads;
  char *end = next_kernel(kernel + 1);
  if (sscanf(kernel, "TRICOT_KERNEL(%d) %399[A-Za-z0-9_](", &threads, name) != 2)
    FAULT("no kernel: %.60s", kernel);
  char *list = strchr(kernel + sizeof opening, '(');
  int count = parameters(list);
  text_add(out, "\nstatic void fake_thread_%s(void *const *a) {\n  (void)a;\n  %s(", name, name);
  for (int i = 0; i < count; i++)
    text_add(out, "%sa[%d]", i ? ", " : "", i);
  text_add(out,
           ");\n}\nTricotShimKernel fake_kernel_%s = {.name = \"%s\", .thread = fake_thread_%s,"
           " .threads = %d, .stack_bytes = 262144, .has_barrier = %d};\n"
           "const int fake_arguments_%s = %d;\n"
           "void fake_run_%s(void *const *a, long long begin, long long end) {\n"
           "  tricot_host->run(tricot_host, &fake_kernel_%s, a, begin, end);\n}\n",
           name, name, name, threads, waits(list, end ? end : strchr(kernel, 0)), name, count, name,
           name);
}

static bool compile(const char *source, const char *object, const char *log) {
  char *words[] = {"cc",
                   "-x",
                   "c",
                   "-std=gnu17",
                   "-shared",
                   "-fPIC",
                   "-O1",
                   "-fwrapv",
                   "-ffp-contract=off",
                   "-fno-strict-aliasing",
                   "-Wl,-Bsymbolic",
                   "-include",
                   TRICOT_SHIM,
                   "-o",
                   (char *)object,
                   (char *)source,
                   "-lm",
                   NULL};
  posix_spawn_file_actions_t actions;
  pid_t process;
  int status;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 2, log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  bool good = posix_spawnp(&process, words[0], &actions, NULL, words, environ) == 0 &&
              waitpid(process, &status, 0) == process && WIFEXITED(status) && !WEXITSTATUS(status);
  posix_spawn_file_actions_destroy(&actions);
  return good;
}

static char *read_all(const char *path, size_t front, size_t *size) {
  FILE *file = fopen(path, "r");
  struct stat status;
  if (!file || fstat(fileno(file), &status) != 0)
    return NULL;
  *size = front + (size_t)status.st_size;
  char *bytes = mem_alloc(*size + 1);
  if (fread(bytes + front, 1, (size_t)status.st_size, file) != (size_t)status.st_size)
    FAULT("%s cannot be read", path);
  bytes[*size] = 0;
  fclose(file);
  return bytes;
}

/* Where the image of a text is kept; "" for nowhere. */
static void cache_path(const char *text, char *path, size_t room) {
  const char *folder = getenv("FAKE_NVRTC_CACHE");
  snprintf(path, room, "%s", "");
  if (folder)
    snprintf(path, room, "%s/%016llx.image", folder,
             (unsigned long long)hash_bytes(text, strlen(text), 0));
}

static void write_cache(const char *path, const char *bytes, size_t size) {
  FILE *file = *path ? fopen(path, "w") : NULL;
  if (file && (fwrite(bytes, 1, size, file) != size || fclose(file) != 0))
    unlink(path);
}

int nvrtcCreateProgram(Program **program, const char *source, const char *name, int headers,
                       const char *const *texts, const char *const *names) {
  (void)name, (void)texts, (void)names;
  *program = mem_alloc(sizeof **program);
  **program = (Program){.source = mem_alloc(strlen(source) + 2)};
  sprintf((*program)->source, "\n%s", source); /* so that every kernel begins behind a line */
  return headers ? FAILED : 0;
}

static int compile_program(Program *p) {
  char folder[] = "/tmp/tricot-fake-XXXXXX", source[64], object[64], log[64];
  Text text = {0};
  if (!mkdtemp(folder))
    return FAILED;
  snprintf(source, sizeof source, "%s/k.c", folder);
  snprintf(object, sizeof object, "%s/k.so", folder);
  snprintf(log, sizeof log, "%s/k.log", folder);
  text_add(&text, "%s", p->source);
  for (char *kernel = next_kernel(p->source); kernel; kernel = next_kernel(kernel + 1))
    describe(kernel, &text);
  FILE *file = fopen(source, "w");
  bool good = file && fwrite(text.at, 1, text.size, file) == text.size;
  good = file && fclose(file) == 0 && good && compile(source, object, log);
  FakeImage head = {FAKE_MAGIC, 0};
  p->image = good ? read_all(object, sizeof head, &p->size) : NULL;
  if (p->image) {
    head.size = p->size - sizeof head;
    memcpy(p->image, &head, sizeof head);
  }
  size_t size;
  char *words = read_all(log, 0, &size);
  snprintf(p->log, sizeof p->log, "%s", words ? words : "the C compiler did not run");
  free(words);
  unlink(source);
  unlink(object);
  unlink(log);
  rmdir(folder);
  text_free(&text);
  return p->image ? 0 : FAILED;
}

int nvrtcCompileProgram(Program *p, int count, const char *const *options) {
  char kept[400];
  (void)count, (void)options;
  cache_path(p->source, kept, sizeof kept);
  p->image = *kept ? read_all(kept, 0, &p->size) : NULL;
  if (p->image)
    return 0;
  int result = compile_program(p);
  if (!result)
    write_cache(kept, p->image, p->size);
  return result;
}

int nvrtcDestroyProgram(Program **program) {
  free((*program)->source);
  free((*program)->image);
  free(*program);
  return 0;
}

int nvrtcGetProgramLogSize(const Program *p, size_t *size) {
  *size = strlen(p->log) + 1;
  return 0;
}

int nvrtcGetProgramLog(const Program *p, char *log) {
  strcpy(log, p->log);
  return 0;
}

int nvrtcGetCUBINSize(const Program *p, size_t *size) {
  *size = p->size;
  return 0;
}

int nvrtcGetCUBIN(const Program *p, char *bytes) {
  memcpy(bytes, p->image, p->size);
  return 0;
}

int nvrtcGetPTXSize(const Program *p, size_t *size) { return nvrtcGetCUBINSize(p, size); }
int nvrtcGetPTX(const Program *p, char *bytes) { return nvrtcGetCUBIN(p, bytes); }

int nvrtcVersion(int *major, int *minor) {
  *major = 13;
  *minor = 0;
  return 0;
}

const char *nvrtcGetErrorString(int result) { return result ? "compilation failed" : "success"; }
