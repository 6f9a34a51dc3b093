/* The table of targets. See target.h. */
#include "driver/target.h"
#include "codegen/emit.h"
#include "runtime/base/text.h"
#include <stdlib.h>
#include <string.h>

static const Facts gpu_facts = {.vector = 1,
                                .registers = 64,
                                .threads = 128,
                                .blocks = 1024,
                                .shared = 48 << 10,
                                .l1 = 128 << 10,
                                .l2 = 40 << 20,
                                .matrix_units = true,
                                .async_copies = true};

static bool cpu_facts(const Target *target, Facts *facts, Error *error) {
#if TRICOT_LLVM
  CpuLevel level;
  if (!cpu_level_find(target->level, &level, error))
    return false;
  *facts = level.facts;
  facts->bf16_pairs &= target->kind == TARGET_CPU; /* C text has no such instruction */
#else
  if (target->kind == TARGET_CPU)
    return error_set(error, "this build has no LLVM: choose the target c");
  *facts = (Facts){
      .vector = 8, .registers = 16, .threads = 1, .l1 = 32 << 10, .l2 = 1 << 20, .shared = 0};
#endif
  return true;
}

static bool cuda_facts(const Target *target, Facts *facts, Error *error) {
  (void)target, (void)error;
  *facts = gpu_facts;
  return true;
}

static bool interp_facts(const Target *target, Facts *facts, Error *error) {
  (void)target, (void)error;
  *facts = (Facts){.vector = 1, .registers = 16, .threads = 1};
  return true;
}

/* ---- what follows the colon ---- */

static bool take_level(Target *target, const char *level) {
  target->level = level;
  return *level != 0;
}

static bool take_device_or_arch(Target *target, const char *word) {
  target->code_only = cuda_arch_parse(word, &target->arch, &target->ptx);
  size_t digits = strspn(word, "0123456789");
  if (!target->code_only && digits)
    target->device = atoi(word);
  return target->code_only || (digits && digits < 4 && !word[digits]);
}

static const struct TargetRow {
  const char *name, *arguments; /* for people; NULL: takes none */
  bool (*take)(Target *, const char *argument);
  const char *level; /* without an argument */
  bool (*facts)(const Target *, Facts *, Error *);
} rows[] = {
    [TARGET_CPU] = {"cpu", "cpu:LEVEL", take_level, "native", cpu_facts},
    [TARGET_CUDA] = {"cuda", "cuda:NUMBER, cuda:ARCH", take_device_or_arch, NULL, cuda_facts},
    [TARGET_C] = {"c", NULL, NULL, "native", cpu_facts},
    [TARGET_CUDA_SHIM] = {"cuda-shim", NULL, NULL, NULL, cuda_facts},
    [TARGET_INTERP] = {"interp", NULL, NULL, NULL, interp_facts},
};
enum { KINDS = sizeof rows / sizeof *rows };

const char *target_names(Arena *arena) {
  Text text = {0};
  for (int i = 0; i < KINDS; i++)
    text_add(&text, "%s%s%s%s%s",
             !i               ? ""
             : i == KINDS - 1 ? " or "
                              : ", ",
             rows[i].name, rows[i].arguments ? ", " : "",
             rows[i].arguments ? rows[i].arguments : "", "");
  const char *names = arena_strdup(arena, text.at);
  text_free(&text);
  return names;
}

/* The row whose name ends at a colon or at the text's end; -1: none. */
static int find_kind(const char *name) {
  for (int i = 0; i < KINDS; i++) {
    size_t length = strlen(rows[i].name);
    bool begins = strncmp(name, rows[i].name, length) == 0;
    if (begins && (!name[length] || (name[length] == ':' && rows[i].take)))
      return i;
  }
  return -1;
}

bool target_parse(Arena *arena, const char *name, Target *target, Error *error) {
  int kind = find_kind(name);
  if (kind < 0)
    return error_set(error, "--target %s: error: unknown target (%s)", name, target_names(arena));
  const char *text = arena_strdup(arena, name), *colon = strchr(text, ':');
  *target = (Target){
      .kind = (TargetKind)kind, .text = text, .level = rows[kind].level, .named = colon != NULL};
  return !colon || rows[kind].take(target, colon + 1) ||
         error_set(error, "--target %s: error: unknown target (%s)", name, rows[kind].arguments);
}

bool target_facts(const Target *target, Facts *facts, Error *error) {
  return rows[target->kind].facts(target, facts, error);
}

int target_list(Arena *arena, const char *names, Target *targets, int room, Error *error) {
  int n = 0;
  for (const char *at = names; *at; at += *at == ',') {
    size_t length = strcspn(at, ",");
    const char *word = arena_strndup(arena, at, length);
    at += length;
    if (!length)
      continue;
    if (n && targets[n - 1].named && find_kind(word) < 0)
      word = arena_printf(arena, "%s:%s", rows[targets[n - 1].kind].name, word);
    Target target;
    if (!target_parse(arena, word, &target, error))
      return 0;
    bool known = false;
    for (int i = 0; i < n; i++)
      known |= strcmp(targets[i].text, target.text) == 0;
    if (!known && n == room) {
      error_set(error, "--target %s: %d targets at most", names, room);
      return 0;
    }
    if (!known)
      targets[n++] = target;
  }
  if (!n)
    error_set(error, "--target: no target is named");
  return n;
}
