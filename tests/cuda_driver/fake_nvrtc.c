/* A stand-in for NVRTC, for tests without one: CUDA text to an image of the driver without a
 * device.
 *
 * The text goes through the C compiler with codegen/cuda_shim.h in front (as text_library.c does
 * for the target cuda-shim, with the same options, so that numbers are the same), followed by what
 * the driver calls: a function and a description for each kernel, read off the text. The object
 * has the section .nv.info of a cubin too, in which every kernel has FAKE_REGISTERS.
 * Objects of texts that were compiled before are taken from the folder FAKE_NVRTC_CACHE, if set.
 */
#include "runtime/base/map.h"
#include "runtime/base/text.h"
#include "tests/cuda_driver/fake.h"
#include <elf.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

typedef struct Program {
  char *source, *image; /* the image: a cubin, with room for the head of PTX in front */
  size_t size;          /* of the cubin */
  char log[2000];
} Program;

enum { FAILED = 6, FAKE_REGISTERS = 32, PTX_ROOM = sizeof(FakePtx) };

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

enum { NAME_ROOM = 400 };

static int read_name(const char *kernel, char name[NAME_ROOM]) { /* gives the number of threads */
  int threads;
  if (sscanf(kernel, "TRICOT_KERNEL(%d, %*d) %399[A-Za-z0-9_](", &threads, name) != 2)
    FAULT("no kernel: %.60s", kernel);
  return threads;
}

static void describe(char *kernel, Text *out) {
  char name[NAME_ROOM];
  int threads = read_name(kernel, name);
  char *end = next_kernel(kernel + 1);
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
                   "-fkeep-static-functions", /* kernels keep their symbols */
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

/* Several compile the same text at a time, so the file is there at once or not at all. */
static void write_cache(const char *path, const char *bytes, size_t size) {
  char temporary[440];
  snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
  int file = *path ? mkstemp(temporary) : -1;
  if (file < 0)
    return;
  bool good = write(file, bytes, size) == (ssize_t)size;
  close(file);
  if (!good || rename(temporary, path) != 0)
    unlink(temporary);
}

int nvrtcCreateProgram(Program **program, const char *source, const char *name, int headers,
                       const char *const *texts, const char *const *names) {
  (void)name, (void)texts, (void)names;
  *program = mem_alloc(sizeof **program);
  **program = (Program){.source = mem_alloc(strlen(source) + 2)};
  sprintf((*program)->source, "\n%s", source); /* so that every kernel begins behind a line */
  return headers ? FAILED : 0;
}

/* Records of .nv.info, in the order of the text: how many registers a symbol takes. */
typedef struct InfoRecord {
  unsigned char format, attribute;
  uint16_t size;
  uint32_t symbol, value;
} InfoRecord;

static void add_records(char *source, Text *out) {
  text_add(out, "\nstruct { unsigned char format, attribute; unsigned short size; unsigned symbol, "
                "value; } fake_info[] __attribute__((section(\".nv.info\"))) = {\n");
  for (char *kernel = next_kernel(source); kernel; kernel = next_kernel(kernel + 1))
    text_add(out, "  {4, 0x2f, 8, 0, %d},\n", FAKE_REGISTERS);
  text_add(out, "  {0}};\n");
}

static Elf64_Shdr *find_section(char *elf, const char *name) {
  const Elf64_Ehdr *header = (const Elf64_Ehdr *)elf;
  Elf64_Shdr *sections = (Elf64_Shdr *)(elf + header->e_shoff);
  const char *names = elf + sections[header->e_shstrndx].sh_offset;
  for (int i = 0; i < header->e_shnum; i++)
    if (strcmp(names + sections[i].sh_name, name) == 0)
      return &sections[i];
  FAULT("the object has no section %s", name);
}

static uint32_t find_symbol(char *elf, const char *name) {
  const Elf64_Shdr *table = find_section(elf, ".symtab");
  const char *names = elf + find_section(elf, ".strtab")->sh_offset;
  const Elf64_Sym *symbols = (const Elf64_Sym *)(elf + table->sh_offset);
  for (uint32_t i = 1; i < table->sh_size / sizeof *symbols; i++)
    if (ELF64_ST_TYPE(symbols[i].st_info) == STT_FUNC &&
        strcmp(names + symbols[i].st_name, name) == 0)
      return i;
  FAULT("the object has no function %s", name);
}

/* Numbers of symbols are known only when the object is linked. */
static void fill_records(char *source, char *elf) {
  InfoRecord *record = (InfoRecord *)(elf + find_section(elf, ".nv.info")->sh_offset);
  char name[NAME_ROOM];
  for (char *kernel = next_kernel(source); kernel; kernel = next_kernel(kernel + 1)) {
    read_name(kernel, name);
    record++->symbol = find_symbol(elf, name);
  }
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
  add_records(p->source, &text);
  FILE *file = fopen(source, "w");
  bool good = file && fwrite(text.at, 1, text.size, file) == text.size;
  good = file && fclose(file) == 0 && good && compile(source, object, log);
  p->image = good ? read_all(object, PTX_ROOM, &p->size) : NULL;
  if (p->image)
    fill_records(p->source, p->image + PTX_ROOM);
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

/* "--gpu-architecture=sm_90a", as an image says it. */
static uint32_t architecture(int count, const char *const *options) {
  char word[16], feature = 0;
  int capability = 0;
  for (int i = 0; i < count; i++)
    if (sscanf(options[i], "--gpu-architecture=%15[a-z]_%d%c", word, &capability, &feature) > 1)
      return (uint32_t)capability | (feature ? FAKE_FEATURE : 0);
  FAULT("no architecture is named");
}

int nvrtcCompileProgram(Program *p, int count, const char *const *options) {
  char kept[400];
  cache_path(p->source, kept, sizeof kept);
  p->image = *kept ? read_all(kept, PTX_ROOM, &p->size) : NULL;
  if (!p->image) {
    int result = compile_program(p);
    if (result)
      return result;
    write_cache(kept, p->image + PTX_ROOM, p->size - PTX_ROOM);
  }
  p->size -= PTX_ROOM;
  FakePtx head = {FAKE_PTX_MAGIC, architecture(count, options), 0, p->size};
  memcpy(p->image, &head, sizeof head);
  Elf64_Ehdr *elf = (Elf64_Ehdr *)(p->image + PTX_ROOM);
  elf->e_machine = FAKE_MACHINE;
  elf->e_flags = head.flags;
  return 0;
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
  memcpy(bytes, p->image + PTX_ROOM, p->size);
  return 0;
}

int nvrtcGetPTXSize(const Program *p, size_t *size) {
  *size = PTX_ROOM + p->size;
  return 0;
}

int nvrtcGetPTX(const Program *p, char *bytes) {
  memcpy(bytes, p->image, PTX_ROOM + p->size);
  return 0;
}

int nvrtcVersion(int *major, int *minor) {
  *major = 13;
  *minor = 0;
  return 0;
}

const char *nvrtcGetErrorString(int result) { return result ? "compilation failed" : "success"; }
