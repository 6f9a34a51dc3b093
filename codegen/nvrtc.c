/* NVRTC: CUDA text to cubin or PTX, and what a cubin says of its kernels.
 *
 * The library is opened at run time; a machine without it is an ordinary answer. Its few functions
 * are declared here, no NVIDIA header is needed. Compilation never contracts multiplications and
 * additions: fused operations are spelled in the text. The attributes read from .nv.info are those
 * that cuobjdump prints (register count 0x2f, frame size 0x11).
 */
#include "codegen/emit.h"
#include <dlfcn.h>
#include <elf.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct NvrtcProgram *Program;

static struct Nvrtc {
  void *handle;
  char why_not[300];
  int (*create)(Program *, const char *source, const char *name, int headers,
                const char *const *texts, const char *const *names);
  int (*compile)(Program, int count, const char *const *options);
  int (*destroy)(Program *);
  int (*log_size)(Program, size_t *);
  int (*log)(Program, char *);
  int (*cubin_size)(Program, size_t *);
  int (*cubin)(Program, char *);
  int (*ptx_size)(Program, size_t *);
  int (*ptx)(Program, char *);
  const char *(*words)(int result);
  int (*version)(int *major, int *minor);
} nvrtc;

static pthread_once_t opened = PTHREAD_ONCE_INIT;

/* ---- the library ---- */

#ifndef TRICOT_NVRTC_DIR /* where setup.sh found it, looked at after the system's places */
#define TRICOT_NVRTC_DIR ""
#endif

static void *open_in(const char *folder) {
  static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"};
  void *handle = NULL;
  for (int i = 0; i < 3 && !handle; i++) {
    char path[4096];
    snprintf(path, sizeof path, "%s%s%s", folder, *folder ? "/" : "", names[i]);
    handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  }
  return handle;
}

/* The environment variable TRICOT_NVRTC names a file or a folder, and then nothing else is tried.
 */
static void *find_library(void) {
  const char *named = getenv("TRICOT_NVRTC");
  struct stat info;
  if (named && *named) {
    bool folder = stat(named, &info) == 0 && S_ISDIR(info.st_mode);
    void *handle = folder ? open_in(named) : dlopen(named, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
      snprintf(nvrtc.why_not, sizeof nvrtc.why_not, "there is no NVRTC at %.200s (TRICOT_NVRTC)",
               named);
    return handle;
  }
  void *handle = open_in("");
  if (!handle && *TRICOT_NVRTC_DIR)
    handle = open_in(TRICOT_NVRTC_DIR);
  if (!handle)
    snprintf(nvrtc.why_not, sizeof nvrtc.why_not,
             "NVRTC is not on this machine: no libnvrtc.so.13 or .12 (TRICOT_NVRTC names another "
             "file or folder, ./setup.sh build --nvrtc finds one)");
  return handle;
}

static void open_library(void) {
  nvrtc.handle = find_library();
  if (!nvrtc.handle)
    return;
  const struct {
    const char *name;
    void *slot;
  } wanted[] = {
      {"nvrtcCreateProgram", &nvrtc.create},
      {"nvrtcCompileProgram", &nvrtc.compile},
      {"nvrtcDestroyProgram", &nvrtc.destroy},
      {"nvrtcGetProgramLogSize", &nvrtc.log_size},
      {"nvrtcGetProgramLog", &nvrtc.log},
      {"nvrtcGetCUBINSize", &nvrtc.cubin_size},
      {"nvrtcGetCUBIN", &nvrtc.cubin},
      {"nvrtcGetPTXSize", &nvrtc.ptx_size},
      {"nvrtcGetPTX", &nvrtc.ptx},
      {"nvrtcGetErrorString", &nvrtc.words},
      {"nvrtcVersion", &nvrtc.version},
  };
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    void *symbol = dlsym(nvrtc.handle, wanted[i].name);
    memcpy(wanted[i].slot, &symbol, sizeof symbol);
    if (!symbol && !*nvrtc.why_not)
      snprintf(nvrtc.why_not, sizeof nvrtc.why_not, "NVRTC on this machine has no %s",
               wanted[i].name);
  }
}

bool nvrtc_available(Error *why_not) {
  pthread_once(&opened, open_library);
  return !*nvrtc.why_not || error_set(why_not, "%s", nvrtc.why_not);
}

bool nvrtc_version(int *major, int *minor) {
  return nvrtc_available(NULL) && nvrtc.version(major, minor) == 0;
}

/* ---- compiling ---- */

static const char *read_log(Arena *arena, Program program) {
  size_t size = 0;
  if (nvrtc.log_size(program, &size) || size == 0)
    return "";
  char *log = arena_alloc(arena, size + 1);
  return nvrtc.log(program, log) ? "" : log;
}

static bool read_code(Arena *arena, Program program, bool ptx, Cubin *cubin, Error *error) {
  int result = (ptx ? nvrtc.ptx_size : nvrtc.cubin_size)(program, &cubin->size);
  if (!result && cubin->size) {
    cubin->bytes = arena_alloc(arena, cubin->size);
    result = (ptx ? nvrtc.ptx : nvrtc.cubin)(program, (char *)cubin->bytes);
    if (!result)
      return true;
  }
  return error_set(error, "NVRTC gave no code: %s", nvrtc.words(result));
}

bool nvrtc_compile(Arena *arena, const char *text, const char *name, const char *arch, Cubin *cubin,
                   Error *error) {
  if (!nvrtc_available(error))
    return false;
  *cubin = (Cubin){0};
  Program program;
  int result = nvrtc.create(&program, text, name, 0, NULL, NULL);
  if (result)
    return error_set(error, "NVRTC: %s", nvrtc.words(result));
  /* 177: helpers that go unused. The text is compiled in so many parts side by side, whatever the
   * number of CPUs: the code depends on it. Older versions have no such option. */
  const char *options[] = {arena_printf(arena, "--gpu-architecture=%s", arch), "--fmad=false",
                           "--std=c++17", "--diag-suppress=177", "--split-compile=8"};
  int major, minor;
  bool splits = nvrtc.version(&major, &minor) == 0 && major >= 13;
  result = nvrtc.compile(program, splits ? 5 : 4, options);
  cubin->log = read_log(arena, program);
  bool good = result == 0;
  if (!good)
    error_set(error, "NVRTC, %s for %s: %s\n%s%.800s", name, arch, nvrtc.words(result),
              strstr(cubin->log, "libnvrtc-builtins") ? "its second library is not beside it: "
                                                      : "",
              cubin->log);
  else
    good = read_code(arena, program, strncmp(arch, "compute_", 8) == 0, cubin, error);
  nvrtc.destroy(&program);
  return good;
}

/* ---- several at a time ---- */

typedef struct Job {
  const char *text, *name;
  char arch[CUDA_ARCH_TEXT];
  Arena *arena; /* of this job alone */
  Cubin code;
  bool good;
  Error error;
} Job;

typedef struct Jobs {
  Job *at;
  int count, next;
} Jobs;

static void *work(void *context) {
  Jobs *jobs = context;
  for (;;) {
    int i = __atomic_fetch_add(&jobs->next, 1, __ATOMIC_RELAXED);
    if (i >= jobs->count)
      return NULL;
    Job *job = &jobs->at[i];
    job->good = nvrtc_compile(job->arena, job->text, job->name, job->arch, &job->code, &job->error);
  }
}

/* This thread works too, so it is no harm if no other can be had. */
static void run_jobs(Jobs *jobs) {
  enum { MOST = 16 };
  pthread_t thread[MOST];
  long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  int others = 0;
  while (others < MOST && others < cpus - 1 && others < jobs->count - 1 &&
         pthread_create(&thread[others], NULL, work, jobs) == 0)
    others++;
  work(jobs);
  for (int i = 0; i < others; i++)
    pthread_join(thread[i], NULL);
}

CudaImage nvrtc_floor(const CudaImage *images, int count) {
  CudaArch lowest = images[0].arch;
  for (int i = 1; i < count; i++)
    if (images[i].arch.capability < lowest.capability)
      lowest = images[i].arch;
  lowest.feature = 0; /* code for features of its own runs nowhere else */
  return (CudaImage){.arch = lowest, .ptx = true};
}

bool nvrtc_compile_all(Arena *arena, const char *text, const char *name, CudaImage *images,
                       int count, Error *error) {
  Jobs jobs = {ARENA_ARRAY(arena, Job, count + 1), count, 0};
  bool good = nvrtc_available(error);
  for (int i = 0; i < count && good; i++) {
    jobs.at[i] = (Job){.text = text, .name = name, .arena = arena_new()};
    cuda_arch_text(images[i].arch, images[i].ptx, jobs.at[i].arch);
  }
  if (good)
    run_jobs(&jobs);
  for (int i = 0; i < count && jobs.at[i].arena; i++) {
    Job *job = &jobs.at[i];
    if (good && !job->good)
      good = error_set(error, "%s", job->error.text);
    images[i].size = job->code.size;
    images[i].data = good ? arena_copy(arena, job->code.bytes, job->code.size) : NULL;
    arena_free(job->arena);
  }
  return good;
}

/* ---- reading cubins ---- */

enum { INFO_REGISTERS = 0x2f, INFO_FRAME = 0x11 };

/* The bytes of a section, NULL when it does not lie in the file. */
static const unsigned char *section_bytes(const Cubin *cubin, const Elf64_Shdr *section) {
  bool held =
      section->sh_type == SHT_NOBITS ||
      (section->sh_offset <= cubin->size && section->sh_size <= cubin->size - section->sh_offset);
  return held ? cubin->bytes + section->sh_offset : NULL;
}

typedef struct Elf {
  const Cubin *cubin;
  Elf64_Shdr *sections; /* a copy, aligned */
  int n_sections;
  const char *names; /* of sections; NUL-terminated at its end */
  size_t names_size;
} Elf;

static bool elf_open(Arena *arena, const Cubin *cubin, Elf *elf) {
  Elf64_Ehdr header;
  if (cubin->size < sizeof header)
    return false;
  memcpy(&header, cubin->bytes, sizeof header);
  size_t table = (size_t)header.e_shnum * sizeof(Elf64_Shdr);
  if (memcmp(header.e_ident, ELFMAG, SELFMAG) || header.e_shentsize != sizeof(Elf64_Shdr) ||
      header.e_shoff > cubin->size || table > cubin->size - header.e_shoff ||
      header.e_shstrndx >= header.e_shnum)
    return false;
  *elf = (Elf){.cubin = cubin, .n_sections = header.e_shnum};
  elf->sections = arena_copy(arena, cubin->bytes + header.e_shoff, table);
  const Elf64_Shdr *names = &elf->sections[header.e_shstrndx];
  elf->names = (const char *)section_bytes(cubin, names);
  elf->names_size = names->sh_size;
  return elf->names && elf->names_size && elf->names[elf->names_size - 1] == 0;
}

static const Elf64_Shdr *elf_section(const Elf *elf, const char *name) {
  for (int i = 0; i < elf->n_sections; i++) {
    const Elf64_Shdr *section = &elf->sections[i];
    if (section->sh_name < elf->names_size && strcmp(elf->names + section->sh_name, name) == 0 &&
        section_bytes(elf->cubin, section))
      return section;
  }
  return NULL;
}

/* The number of the symbol a kernel has, which .nv.info uses; 0: none. */
static uint32_t elf_symbol(const Elf *elf, const char *name) {
  const Elf64_Shdr *symbols = elf_section(elf, ".symtab"), *strings = elf_section(elf, ".strtab");
  if (!symbols || !strings)
    return 0;
  const unsigned char *at = section_bytes(elf->cubin, symbols);
  const char *words = (const char *)section_bytes(elf->cubin, strings);
  for (uint32_t i = 1; i < symbols->sh_size / sizeof(Elf64_Sym); i++) {
    Elf64_Sym symbol;
    memcpy(&symbol, at + i * sizeof symbol, sizeof symbol);
    size_t length = strlen(name) + 1;
    if (symbol.st_name < strings->sh_size && length <= strings->sh_size - symbol.st_name &&
        ELF64_ST_TYPE(symbol.st_info) == STT_FUNC &&
        memcmp(words + symbol.st_name, name, length) == 0)
      return i;
  }
  return 0;
}

/* Records are format, attribute, then for format 4 a 16-bit size and a payload, else 2 bytes. */
static bool find_info(const Elf *elf, uint32_t symbol, int attribute, uint32_t *value) {
  const Elf64_Shdr *info = elf_section(elf, ".nv.info");
  if (!info)
    return false;
  const unsigned char *at = section_bytes(elf->cubin, info), *end = at + info->sh_size;
  while (end - at >= 4) {
    size_t size = at[0] == 4 ? (size_t)(at[2] | at[3] << 8) : 0;
    uint32_t pair[2];
    if (size > (size_t)(end - at) - 4)
      return false;
    if (size >= sizeof pair && at[1] == attribute) {
      memcpy(pair, at + 4, sizeof pair);
      if (pair[0] == symbol) {
        *value = pair[1];
        return true;
      }
    }
    at += 4 + size;
  }
  return false;
}

bool cubin_resources(const Cubin *cubin, const char *kernel, CubinResources *resources,
                     Error *error) {
  Arena *arena = arena_new();
  Elf elf;
  uint32_t symbol, registers, frame = 0;
  *resources = (CubinResources){0};
  bool good = elf_open(arena, cubin, &elf);
  if (!good) {
    error_set(error, "not a cubin");
  } else if (!(symbol = elf_symbol(&elf, kernel)) ||
             !find_info(&elf, symbol, INFO_REGISTERS, &registers)) {
    good = error_set(error, "the cubin has no kernel '%s'", kernel);
  } else {
    find_info(&elf, symbol, INFO_FRAME, &frame);
    const Elf64_Shdr *shared = elf_section(&elf, arena_printf(arena, ".nv.shared.%s", kernel));
    resources->registers = (int)registers;
    resources->local_bytes = frame;
    resources->shared_bytes = shared ? (int64_t)shared->sh_size : 0;
  }
  arena_free(arena);
  return good;
}
