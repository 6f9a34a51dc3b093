/* Text to callable code: the C compiler into a shared object, loaded at once.
 *
 * In: finished kernels. Out: functions with the CPU signature. Many kernels are dealt over several
 * files that compile side by side. Everything lies in a private folder that is removed before the
 * library is returned; the loaded objects need no file.
 */
#include "codegen/shim_host.h"
#include "codegen/text_dialect.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* codegen/cuda_shim.h as text, put in by the assembler, which looks along the include path. */
extern const char tricot_shim_text[];
__asm__(".section .rodata\n"
        ".globl tricot_shim_text\n"
        ".hidden tricot_shim_text\n"
        "tricot_shim_text:\n"
        ".incbin \"codegen/cuda_shim.h\"\n"
        ".byte 0\n"
        ".text\n");

enum { KERNELS_PER_FILE = 16, MAX_PROCESSES = 8 };

typedef struct Unit {
  Kernel **kernels;
  int count;
  const char *source, *object, *log;
  pid_t process; /* 0: not running */
  void *handle;
} Unit;

struct TextLibrary {
  Arena *arena;
  TextDialect dialect;
  Unit *units;
  int n_units;
  Map functions;
  ShimHost host;
};

/* ---- the files ---- */

/* Does a thread of the kernel ever wait for others? */
static bool has_barrier(const Block *block) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = block->at[i];
    if (s->kind == STMT_BARRIER || stmt_is_device(s) || has_barrier(&s->body) ||
        has_barrier(&s->other))
      return true;
  }
  return false;
}

/* The wrapper that gives a kernel over the shim the CPU signature. */
static void add_wrapper(const Kernel *k, Text *text) {
  text_add(text, "\nstatic void tricot_thread_%s(void *const *arguments) {\n  %s(", k->name,
           k->name);
  for (int i = 0; i < k->n_arguments; i++)
    text_add(text, "%sarguments[%d]", i ? ", " : "", i);
  text_add(text, ");\n  (void)arguments;\n}\n");
  long long stack = 0;
  for (int i = 0; i < k->buffers.count; i++)
    if (k->buffers.at[i]->space == SPACE_LOCAL)
      stack += (long long)type_bytes(&k->buffers.at[i]->type);
  text_add(text,
           "static const TricotShimKernel tricot_shim_%s = {\n"
           "    \"%s\", tricot_thread_%s, %d, %lld, %lld, %d};\n",
           k->name, k->name, k->name, k->threads, (long long)kernel_shared_bytes(k), stack,
           has_barrier(&k->body));
  text_add(text,
           "void tricot_run_%s(void *const *arguments, i64 begin, i64 end) {\n"
           "  tricot_host->run(tricot_host, &tricot_shim_%s, arguments, begin, end);\n}\n",
           k->name, k->name);
}

static bool write_source(const TextLibrary *library, const Unit *unit, Error *error) {
  Text text = {0};
  if (library->dialect == TEXT_CUDA)
    text_add(&text, "%s", tricot_shim_text);
  emit_text(library->dialect, unit->kernels, unit->count, &text);
  if (library->dialect == TEXT_CUDA)
    for (int i = 0; i < unit->count; i++)
      add_wrapper(unit->kernels[i], &text);
  FILE *file = fopen(unit->source, "w");
  bool good = file && fwrite(text.at, 1, text.size, file) == text.size;
  good = file && fclose(file) == 0 && good;
  text_free(&text);
  return good || error_set(error, "%s: %s", unit->source, strerror(errno));
}

static void remove_files(const TextLibrary *library, const char *folder) {
  for (int i = 0; i < library->n_units; i++) {
    unlink(library->units[i].source);
    unlink(library->units[i].object);
    unlink(library->units[i].log);
  }
  rmdir(folder);
}

/* ---- the compiler ---- */

static const char *compiler(void) {
  const char *named = getenv("CC");
  return named && *named ? named : "cc";
}

static bool start(const TextLibrary *library, Unit *unit, Error *error) {
  static const char *const common[] = {"-x",
                                       "c",
                                       "-std=gnu17",
                                       "-shared",
                                       "-fPIC",
                                       "-ffp-contract=off",
                                       "-fwrapv",
                                       "-fno-strict-aliasing",
                                       "-Wl,-Bsymbolic"};
  static const char *const for_c[] = {"-O2", "-march=native", "-fno-math-errno",
                                      "-fno-trapping-math"};
  VEC(char *) words = {0};
  Arena *arena = library->arena;
  char *rest = arena_strdup(arena, compiler()), *word; /* "ccache gcc" is two words */
  while ((word = strsep(&rest, " \t")))
    if (*word)
      vec_push(arena, &words, word);
  for (size_t i = 0; i < sizeof common / sizeof *common; i++)
    vec_push(arena, &words, arena_strdup(arena, common[i]));
  if (library->dialect == TEXT_C)
    for (size_t i = 0; i < sizeof for_c / sizeof *for_c; i++)
      vec_push(arena, &words, arena_strdup(arena, for_c[i]));
  else
    vec_push(arena, &words, arena_strdup(arena, "-O1"));
  vec_push(arena, &words, arena_strdup(arena, "-o"));
  vec_push(arena, &words, arena_strdup(arena, unit->object));
  vec_push(arena, &words, arena_strdup(arena, unit->source));
  vec_push(arena, &words, arena_strdup(arena, "-lm"));
  vec_push(arena, &words, NULL);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, unit->log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  int failure = posix_spawnp(&unit->process, words.at[0], &actions, NULL, words.at, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failure) {
    unit->process = 0;
    return error_set(error, "cannot run the C compiler '%s': %s", compiler(), strerror(failure));
  }
  return true;
}

/* Waits for one compiler; on failure the error holds the first lines it wrote. */
static bool finish(Unit *unit, Error *error) {
  int status;
  while (waitpid(unit->process, &status, 0) < 0)
    if (errno != EINTR)
      return error_set(error, "waiting for the C compiler: %s", strerror(errno));
  unit->process = 0;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
    return true;
  char words[800] = "";
  FILE *log = fopen(unit->log, "r");
  if (log) {
    words[fread(words, 1, sizeof words - 1, log)] = 0;
    fclose(log);
  }
  return error_set(error, "the C compiler '%s' failed (status %d):\n%s", compiler(),
                   WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), words);
}

/* As many compilers at once as processors. All are waited for; the first error stays. */
static bool compile(TextLibrary *library, Error *error) {
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  int room = processors < 1 ? 1 : processors > MAX_PROCESSES ? MAX_PROCESSES : (int)processors;
  bool good = true;
  for (int i = 0; i < library->n_units + room; i++) {
    int oldest = i - room;
    if (oldest >= 0 && oldest < library->n_units && library->units[oldest].process)
      good = finish(&library->units[oldest], good ? error : NULL) && good;
    if (i < library->n_units && good)
      good = write_source(library, &library->units[i], error) &&
             start(library, &library->units[i], error);
  }
  return good;
}

/* ---- the library ---- */

static bool load(TextLibrary *library, Unit *unit, Error *error) {
  unit->handle = dlopen(unit->object, RTLD_NOW | RTLD_LOCAL);
  if (!unit->handle)
    return error_set(error, "loading compiled text: %s", dlerror());
  bool shim = library->dialect == TEXT_CUDA;
  if (shim) {
    TricotHost **host = (TricotHost **)dlsym(unit->handle, "tricot_host");
    CHECK(host);
    *host = &library->host.base;
  }
  for (int i = 0; i < unit->count; i++) {
    const char *name = unit->kernels[i]->name;
    void *code =
        dlsym(unit->handle, arena_printf(library->arena, "%s%s", shim ? "tricot_run_" : "", name));
    if (!code)
      return error_set(error, "compiled text has no function '%s'", name);
    map_set(&library->functions, name, code);
  }
  return true;
}

static void deal(TextLibrary *library, const char *folder, Kernel *const *kernels, int count) {
  int files = (count + KERNELS_PER_FILE - 1) / KERNELS_PER_FILE;
  library->n_units = files < 2 && count > 3 ? 2 : files < 1 ? 1 : files;
  library->units = ARENA_ARRAY(library->arena, Unit, library->n_units);
  for (int i = 0; i < library->n_units; i++) {
    Unit *unit = &library->units[i];
    unit->source = arena_printf(library->arena, "%s/kernels%d.c", folder, i);
    unit->object = arena_printf(library->arena, "%s/kernels%d.so", folder, i);
    unit->log = arena_printf(library->arena, "%s/kernels%d.log", folder, i);
    unit->kernels = ARENA_ARRAY(library->arena, Kernel *, count + 1);
    for (int j = i; j < count; j += library->n_units)
      unit->kernels[unit->count++] = kernels[j];
  }
}

TextLibrary *text_library_build(TextDialect dialect, Kernel *const *kernels, int count,
                                Error *error) {
  const char *temporary = getenv("TMPDIR");
  Arena *arena = arena_new();
  char *folder =
      arena_printf(arena, "%s/tricot-text-XXXXXX", temporary && *temporary ? temporary : "/tmp");
  if (!mkdtemp(folder)) {
    error_set(error, "%s: %s", folder, strerror(errno));
    arena_free(arena);
    return NULL;
  }
  TextLibrary *library = ARENA_NEW(arena, TextLibrary);
  library->arena = arena;
  library->dialect = dialect;
  map_init(&library->functions, arena);
  shim_init(&library->host);
  deal(library, folder, kernels, count);
  bool good = compile(library, error);
  for (int i = 0; good && i < library->n_units; i++)
    good = load(library, &library->units[i], error);
  remove_files(library, folder);
  if (good)
    return library;
  text_library_free(library);
  return NULL;
}

KernelCode *text_library_find(const TextLibrary *library, const char *name) {
  return (KernelCode *)(intptr_t)map_get(&library->functions, name);
}

void text_library_seed(TextLibrary *library, uint64_t seed) {
  __atomic_store_n(&library->host.seed, seed, __ATOMIC_RELAXED);
}

bool text_library_check(TextLibrary *library, Error *error) {
  ShimHost *host = &library->host;
  pthread_mutex_lock(&host->lock);
  bool good = !host->failed;
  if (!good)
    error_set(error, "%s", host->error.text);
  host->failed = false;
  pthread_mutex_unlock(&host->lock);
  return good;
}

void text_library_free(TextLibrary *library) {
  if (!library)
    return;
  if (library->host.failed)
    FAULT("nobody asked for an error: %s", library->host.error.text);
  for (int i = 0; i < library->n_units; i++)
    if (library->units[i].handle)
      dlclose(library->units[i].handle);
  shim_close(&library->host);
  arena_free(library->arena);
}
