/* Building executables and libraries. See executable.h.
 *
 * Everything is made in a private folder where the compiler runs, with relative names, so that no
 * path of this machine and no random name gets into the output.
 */
#include "codegen/executable.h"
#include "runtime/base/file.h"
#include "runtime/base/text.h"
#include "runtime/embedded.h"
#include "runtime/safetensors.h"
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Texts of this project that go into outputs. */
#define TEXT_OF_FILE(symbol, path)                                                                 \
  __asm__(".section .rodata\n" #symbol ": .incbin \"" path "\"\n .byte 0\n .text\n");              \
  extern const char symbol[] __attribute__((visibility("hidden")))
TEXT_OF_FILE(abi_text, "runtime/embedded_abi.h");
TEXT_OF_FILE(header_text, "runtime/tricot.h");

static const size_t MAX_WEIGHTS = (size_t)1800 << 20; /* what small-model code can address */

typedef struct Building {
  Arena *arena;
  const char *folder; /* private, temporary */
  const char *result; /* in the output's folder, temporary */
  const char *libraries;
  const ExecutableParts *parts;
  ExecutableKind kind;
  Error *error;
} Building;

typedef VEC(char *) Words;

/* ---- files ---- */

static char *in_folder(const Building *b, const char *name) {
  return arena_printf(b->arena, "%s/%s", b->folder, name);
}

static bool write_bytes(const Building *b, const char *path, const void *bytes, size_t size) {
  FILE *stream = fopen(path, "wb");
  bool good = stream && fwrite(bytes, 1, size, stream) == size;
  if (stream && fclose(stream) != 0)
    good = false;
  return good || error_set(b->error, "%s: error: cannot be written: %s", path, strerror(errno));
}

static void remove_folder(const Building *b) {
  static const char *const names[] = {"main.c", "exports", "script",   "log",
                                      "main.o", "weights", "plan_cuda"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    unlink(in_folder(b, names[i]));
  for (int i = 0; i < b->parts->n_levels; i++) {
    unlink(in_folder(b, arena_printf(b->arena, "plan%d", i)));
    unlink(in_folder(b, arena_printf(b->arena, "level%d.o", i)));
  }
  for (int i = 0; i < b->parts->cuda.n_images; i++)
    unlink(in_folder(b, arena_printf(b->arena, "image%d", i)));
  rmdir(b->folder);
}

static bool find_libraries(Building *b) {
  char self[4096];
  ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  if (length <= 0)
    return error_set(b->error, "this program's own place is not known: %s", strerror(errno));
  self[length] = 0;
  *strrchr(self, '/') = 0;
  static const char *const places[] = {"", "/../lib/tricot"};
  for (int i = 0; i < 2; i++) {
    b->libraries = arena_printf(b->arena, "%s%s", self, places[i]);
    if (access(arena_printf(b->arena, "%s/libtricot_runtime.a", b->libraries), R_OK) == 0)
      return true;
  }
  return error_set(b->error, "%s: error: libtricot_runtime.a is not there, nor in ../lib/tricot",
                   self);
}

/* ---- the generated C file ---- */

static void add_bytes_section(Text *text, const char *name, const char *file) {
  text_add(text,
           "__asm__(\".section .rodata\\n.balign 64\\n%s:\\n.incbin \\\"%s\\\"\\n%s_end:\\n"
           ".byte 0\\n.text\\n\");\n",
           name, file, name);
  text_add(text, "extern const unsigned char %s[] __attribute__((visibility(\"hidden\")));\n",
           name);
  text_add(text, "extern const unsigned char %s_end[] __attribute__((visibility(\"hidden\")));\n\n",
           name);
}

static void add_level_tables(const LevelObject *level, int number, Text *text) {
  for (int k = 0; k < level->n_kernels; k++)
    text_add(text, "extern EmbeddedKernel %s%s;\n", level->kernels[k], level->suffix);
  text_add(text, "static const char *const names%d[] = {\n", number);
  for (int k = 0; k < level->n_kernels; k++)
    text_add(text, "  \"%s\",\n", level->kernels[k]);
  text_add(text, "  0};\nstatic EmbeddedKernel *const kernels%d[] = {\n", number);
  for (int k = 0; k < level->n_kernels; k++)
    text_add(text, "  %s%s,\n", level->kernels[k], level->suffix);
  text_add(text, "  0};\n\n");
}

/* The plans and kernels of all levels, then their list. */
static void add_levels(const Building *b, Text *text) {
  const ExecutableParts *parts = b->parts;
  for (int i = 0; i < parts->n_levels; i++) {
    const char *plan = arena_printf(b->arena, "plan%d", i);
    add_bytes_section(text, arena_printf(b->arena, "tricot_%s", plan), plan);
    add_level_tables(&parts->levels[i], i, text);
  }
  text_add(text, "static const EmbeddedLevel levels[] = {\n");
  for (int i = 0; i < parts->n_levels; i++) {
    const LevelObject *level = &parts->levels[i];
    text_add(text, "  {\"%s\", tricot_plan%d, %zu, %d, names%d, kernels%d, %zu},\n", level->name, i,
             level->plan_size, level->n_kernels, i, i, level->object_size);
  }
  text_add(text, "  {0}};\n\n");
}

/* The same of CUDA. */
static void add_images(const Building *b, Text *text) {
  const CudaObject *cuda = &b->parts->cuda;
  char name[CUDA_ARCH_TEXT];
  if (cuda->n_images)
    add_bytes_section(text, "tricot_plan_cuda", "plan_cuda");
  for (int i = 0; i < cuda->n_images; i++)
    add_bytes_section(text, arena_printf(b->arena, "tricot_image%d", i),
                      arena_printf(b->arena, "image%d", i));
  text_add(text, "static const EmbeddedImage images[] = {\n");
  for (int i = 0; i < cuda->n_images; i++)
    text_add(text, "  {\"%s\", tricot_image%d, %zu},\n",
             cuda_arch_text(cuda->images[i].arch, cuda->images[i].ptx, name), i,
             cuda->images[i].size);
  text_add(text, "  {0}};\n\n");
}

static void generate(const Building *b, Text *text) {
  const ExecutableParts *parts = b->parts;
  bool program = b->kind == EXECUTABLE_PROGRAM;
  struct stat info;
  text_add(text, "/* Generated: the tables of a compiled model. */\n%s\n", abi_text);
  add_levels(b, text);
  add_images(b, text);
  if (parts->weights)
    add_bytes_section(text, "tricot_weights", "weights");
  text_add(text, "%sconst Embedded tricot_embedded_model = {\n  EMBEDDED_VERSION, %d, levels, ",
           program ? "static " : "", parts->n_levels);
  text_add(text, "{%s, %zu, %d, images}, ", parts->cuda.n_images ? "tricot_plan_cuda" : "0",
           parts->cuda.plan_size, parts->cuda.n_images);
  if (parts->weights && stat(in_folder(b, "weights"), &info) == 0)
    text_add(text, "tricot_weights, %lld};\n", (long long)info.st_size);
  else
    text_add(text, "0, 0};\n");
  if (program)
    text_add(text, "\nint main(int argc, char **argv) {\n"
                   "  return tricot_embedded_main(&tricot_embedded_model, argc, argv);\n}\n");
}

static bool copy_weights(const Building *b) {
  TensorFile file;
  const char *path = b->parts->weights;
  if (!path)
    return true;
  if (!tensor_file_open(&file, path, b->error))
    return false;
  bool good = file.mapping.size <= MAX_WEIGHTS ||
              error_set(b->error,
                        "%s: error: too large to go inside a program; name it with "
                        "--weights when the program runs",
                        path);
  good = good && write_bytes(b, in_folder(b, "weights"), file.mapping.bytes, file.mapping.size);
  tensor_file_close(&file);
  return good;
}

static bool write_parts(const Building *b) {
  const CudaObject *cuda = &b->parts->cuda;
  for (int i = 0; i < b->parts->n_levels; i++) {
    const LevelObject *level = &b->parts->levels[i];
    if (!write_bytes(b, in_folder(b, arena_printf(b->arena, "plan%d", i)), level->plan,
                     level->plan_size) ||
        !write_bytes(b, in_folder(b, arena_printf(b->arena, "level%d.o", i)), level->object,
                     level->object_size))
      return false;
  }
  if (cuda->n_images && !write_bytes(b, in_folder(b, "plan_cuda"), cuda->plan, cuda->plan_size))
    return false;
  for (int i = 0; i < cuda->n_images; i++)
    if (!write_bytes(b, in_folder(b, arena_printf(b->arena, "image%d", i)), cuda->images[i].data,
                     cuda->images[i].size))
      return false;
  static const char exports[] = "{ global: tricot_*; local: *; };\n";
  if (!copy_weights(b) || !write_bytes(b, in_folder(b, "exports"), exports, sizeof exports - 1))
    return false;
  Text text = {0};
  generate(b, &text);
  bool good = write_bytes(b, in_folder(b, "main.c"), text.at, text.size);
  text_free(&text);
  return good;
}

/* ---- running the tools ---- */

static void add_words(const Building *b, Words *words, const char *text) {
  while (*text) {
    size_t blank = strspn(text, " "), length = strcspn(text + blank, " ");
    if (length)
      vec_push(b->arena, words, arena_strndup(b->arena, text + blank, length));
    text += blank + length;
  }
}

static bool failed(const Building *b, const char *tool) {
  char *log;
  size_t size;
  if (!file_read(b->arena, in_folder(b, "log"), 1 << 20, &log, &size, NULL))
    log = "";
  return error_set(b->error, "%s failed: %.900s", tool, *log ? log : "(it said nothing)");
}

/* Runs the words in the private folder; `input` (or NULL) is its standard input. */
static bool run_tool(const Building *b, Words *words, const char *input) {
  vec_push(b->arena, words, (char *)NULL);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, b->folder);
  posix_spawn_file_actions_addopen(&actions, 0, input ? input : "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "log", O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t process;
  int code = posix_spawnp(&process, words->at[0], &actions, NULL, words->at, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (code != 0)
    return error_set(b->error, "%s: error: cannot be run: %s", words->at[0], strerror(code));
  int status = 0;
  while (waitpid(process, &status, 0) < 0 && errno == EINTR)
    ;
  return (WIFEXITED(status) && WEXITSTATUS(status) == 0) || failed(b, words->at[0]);
}

static void add_compiler(const Building *b, Words *words) {
  const char *named = getenv("CC");
  add_words(b, words, named && *named ? named : "cc");
  add_words(b, words, TRICOT_LINK_FLAGS);
}

static bool link_with_compiler(const Building *b) {
  Words words = {0};
  bool shared = b->kind == EXECUTABLE_SHARED;
  add_compiler(b, &words);
  add_words(b, &words, "-std=c17 -O2 -fPIC -Wl,--gc-sections -Wl,--strip-debug -o");
  vec_push(b->arena, &words, (char *)b->result);
  add_words(b, &words,
            shared ? "-shared -Wl,-z,defs -Wl,--version-script=exports -Wl,-u,tricot_open"
                   : "-pie");
  add_words(b, &words, "main.c");
  for (int i = 0; i < b->parts->n_levels; i++)
    add_words(b, &words, arena_printf(b->arena, "level%d.o", i));
  vec_push(b->arena, &words, arena_printf(b->arena, "%s/libtricot_runtime.a", b->libraries));
  vec_push(b->arena, &words, arena_printf(b->arena, "%s/libtricot_base.a", b->libraries));
  add_words(b, &words, TRICOT_RUNTIME_LIBRARIES "-lm -lpthread");
  return run_tool(b, &words, NULL);
}

/* One archive with the tables, the level objects and the runtime in it. */
static bool archive(const Building *b) {
  Words compile = {0}, pack = {0};
  add_compiler(b, &compile);
  add_words(b, &compile, "-std=c17 -O2 -fPIC -c -o main.o main.c");
  if (!run_tool(b, &compile, NULL))
    return false;
  Text script = {0};
  text_add(&script, "CREATE %s\nADDMOD main.o\n", b->result);
  for (int i = 0; i < b->parts->n_levels; i++)
    text_add(&script, "ADDMOD level%d.o\n", i);
  text_add(&script, "ADDLIB %s/libtricot_runtime.a\nADDLIB %s/libtricot_base.a\nSAVE\nEND\n",
           b->libraries, b->libraries);
  bool good = write_bytes(b, in_folder(b, "script"), script.at, script.size);
  text_free(&script);
  add_words(b, &pack, "ar -DM");
  return good && run_tool(b, &pack, "script");
}

static bool write_header(const Building *b, const char *out) {
  const char *dot = strrchr(out, '.'), *slash = strrchr(out, '/');
  size_t stem = dot && (!slash || dot > slash) ? (size_t)(dot - out) : strlen(out);
  Writing writing;
  if (!writing_open(&writing, arena_printf(b->arena, "%.*s.h", (int)stem, out), b->error))
    return false;
  fputs(header_text, writing.stream);
  return writing_commit(&writing, b->error);
}

static bool check_levels(const Building *b) {
  bool arm = embedded_level_supported("aarch64");
  const LevelObject *levels = b->parts->levels;
  if (b->parts->n_levels + b->parts->cuda.n_images < 1)
    return error_set(b->error, "an executable needs code for one target at least");
  for (int i = 0; i < b->parts->n_levels; i++) {
    const char *name = levels[i].name;
    if (!embedded_level_rank(name))
      return error_set(b->error,
                       "executables are built for the levels x86-64-v3, x86-64-v4 or "
                       "aarch64, not for \"%.60s\"",
                       name);
    if (arm != (strcmp(name, "aarch64") == 0))
      return error_set(b->error,
                       "an executable for %s cannot be linked on this machine; an object "
                       "file can be made (--emit object)",
                       name);
    for (int k = 0; k < i; k++)
      if (strcmp(name, levels[k].name) == 0)
        return error_set(b->error, "level %s twice", name);
  }
  return true;
}

static bool build(Building *b, const char *out) {
  bool program = b->kind == EXECUTABLE_PROGRAM;
  if (!check_levels(b) || !find_libraries(b) || !write_parts(b))
    return false;
  if (!(b->kind == EXECUTABLE_STATIC ? archive(b) : link_with_compiler(b)))
    return false;
  if (!program && !write_header(b, out))
    return false;
  return rename(b->result, out) == 0 ||
         error_set(b->error, "%s: error: cannot be written: %s", out, strerror(errno));
}

/* `path` from the root, for a tool that runs elsewhere. */
static const char *absolute(Arena *arena, const char *path) {
  char here[4096];
  if (*path == '/' || !getcwd(here, sizeof here))
    return path;
  return arena_printf(arena, "%s/%s", here, path);
}

bool executable_build(const char *out, ExecutableKind kind, const ExecutableParts *parts,
                      Error *error) {
  Arena *arena = arena_new();
  const char *temporary = getenv("TMPDIR");
  char *folder =
      arena_printf(arena, "%s/tricot-link-XXXXXX", temporary && *temporary ? temporary : "/tmp");
  Building b = {.arena = arena, .parts = parts, .kind = kind, .error = error};
  b.result = arena_printf(arena, "%s.tmp.%ld", absolute(arena, out), (long)getpid());
  bool good = mkdtemp(folder) != NULL;
  if (!good)
    error_set(error, "%s: error: cannot be made: %s", folder, strerror(errno));
  b.folder = absolute(arena, folder);
  if (good) {
    good = build(&b, out);
    if (!good)
      unlink(b.result);
    remove_folder(&b);
  }
  arena_free(arena);
  return good;
}
