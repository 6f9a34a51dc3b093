/* Finding, reading and merging model files.
 *
 * `extends: parent.yaml` merges the two trees: the child's values replace the parent's, sections
 * are merged entry by entry, and every node keeps the place it came from, so relative names inside
 * it still mean what its own file means by them.
 */
#include "frontend/limits.h"
#include "frontend/parts.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *folder_of(Arena *arena, const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? arena_strndup(arena, path, (size_t)(slash + 1 - path)) : "";
}

/* "<folder of the command>/../models/", or NULL. */
static const char *installed_folder(Arena *arena) {
  char path[PATH_MAX];
  ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);
  if (size <= 0)
    return NULL;
  path[size] = 0;
  return arena_printf(arena, "%s../models/", folder_of(arena, path));
}

const char *find_file(Loader *loader, const char *near, const char *name, Loc where) {
  Arena *arena = loader->arena;
  const char *environment = getenv("TRICOT_MODELS");
  const char *folders[] = {
      folder_of(arena, near),
      environment ? arena_printf(arena, "%s/", environment) : NULL,
      installed_folder(arena),
  };
  if (name[0] == '/')
    folders[0] = "";
  for (int i = 0; i < (name[0] == '/' ? 1 : 3); i++) {
    if (!folders[i])
      continue;
    const char *path = arena_printf(arena, "%s%s", folders[i], name);
    if (access(path, R_OK) == 0)
      return path;
  }
  diag_error(loader->diag, where, "no file '%s' beside %s or among the models", name, near);
  return NULL;
}

bool open_file(Loader *loader, const char *path, Loc from) {
  char real[PATH_MAX];
  if (!realpath(path, real)) /* reading will say what is wrong with it */
    snprintf(real, sizeof real, "%s", path);
  bool cycle = false;
  Text chain = {0};
  for (int i = 0; i < loader->open.count; i++) {
    cycle |= strcmp(loader->open.at[i], real) == 0;
    const char *name = strrchr(loader->open.at[i], '/');
    if (cycle)
      text_add(&chain, "%s imports ", name ? name + 1 : loader->open.at[i]);
  }
  if (cycle) {
    const char *name = strrchr(real, '/');
    diag_error(loader->diag, from, "import cycle: %s%s", chain.at, name ? name + 1 : real);
    text_free(&chain);
    return false;
  }
  text_free(&chain);
  if (loader->open.count >= IMPORT_MAX)
    return diag_error(loader->diag, from, "files import each other more than %d deep", IMPORT_MAX);
  vec_push(loader->arena, &loader->open, arena_strdup(loader->arena, real));
  return true;
}

/* ---- merging ---- */

static void put_pair(Arena *arena, Yaml *mapping, YamlPair pair) {
  for (int i = 0; i < mapping->count; i++)
    if (strcmp(mapping->pairs[i].key->text, pair.key->text) == 0) {
      mapping->pairs[i] = pair;
      return;
    }
  YamlPair *pairs = ARENA_ARRAY(arena, YamlPair, mapping->count + 1);
  for (int i = 0; i < mapping->count; i++)
    pairs[i] = mapping->pairs[i];
  pairs[mapping->count++] = pair;
  mapping->pairs = pairs;
}

static Yaml *copy_mapping(Arena *arena, const Yaml *mapping) {
  Yaml *copy = arena_copy(arena, mapping, sizeof *mapping);
  copy->pairs = arena_copy(arena, mapping->pairs, sizeof(YamlPair) * (size_t)mapping->count);
  return copy;
}

/* child over parent; levels of mappings below this one that are merged, not replaced. */
static Yaml *merge(Arena *arena, const Yaml *parent, const Yaml *child, int levels) {
  Yaml *merged = copy_mapping(arena, parent);
  merged->loc = child->loc;
  for (int i = 0; i < child->count; i++) {
    YamlPair pair = child->pairs[i];
    const Yaml *old = yaml_get(parent, pair.key->text);
    if (old && levels > 0 && old->kind == YAML_MAPPING && pair.value->kind == YAML_MAPPING)
      pair.value = merge(arena, old, pair.value, levels - 1);
    put_pair(arena, merged, pair);
  }
  return merged;
}

/* `use` adds up: a child's libraries come before its parent's. */
static Yaml *merge_use(Arena *arena, Yaml *parent, Yaml *child) {
  VEC(Yaml *) items = {0};
  Yaml *both[] = {child, parent};
  for (int k = 0; k < 2; k++)
    for (int i = 0; i < (both[k]->kind == YAML_SEQUENCE ? both[k]->count : 1); i++)
      vec_push(arena, &items, both[k]->kind == YAML_SEQUENCE ? both[k]->items[i] : both[k]);
  Yaml *merged = ARENA_NEW(arena, Yaml);
  *merged = (Yaml){.kind = YAML_SEQUENCE, .loc = child->loc, .count = items.count,
                   .items = items.at};
  return merged;
}

/* How deep a section's mappings merge: bodies of modules are replaced whole. */
static int merge_levels(const char *section) {
  static const char *const deep[] = {"args", "imports", "train", "projection"};
  for (size_t i = 0; i < sizeof deep / sizeof *deep; i++)
    if (strcmp(section, deep[i]) == 0)
      return YAML_MAX_DEPTH;
  return 0;
}

static Yaml *merge_files(Arena *arena, const Yaml *parent, const Yaml *child) {
  Yaml *merged = copy_mapping(arena, parent);
  merged->loc = child->loc;
  for (int i = 0; i < child->count; i++) {
    YamlPair pair = child->pairs[i];
    Yaml *old = yaml_get(parent, pair.key->text);
    if (strcmp(pair.key->text, "extends") == 0)
      continue;
    if (old && strcmp(pair.key->text, "use") == 0)
      pair.value = merge_use(arena, old, pair.value);
    else if (old && old->kind == YAML_MAPPING && pair.value->kind == YAML_MAPPING)
      pair.value = merge(arena, old, pair.value, merge_levels(pair.key->text));
    put_pair(arena, merged, pair);
  }
  return merged;
}

Yaml *load_tree(Loader *loader, const char *path, Loc from) {
  if (!open_file(loader, path, from))
    return NULL;
  Yaml *root = yaml_read(loader->diag, path, from), *parent = NULL;
  if (root && root->kind != YAML_MAPPING) {
    diag_error(loader->diag, root->loc, "a model file is a mapping, not %s", yaml_kind_name(root));
    root = NULL;
  }
  const Yaml *extends = root ? yaml_get(root, "extends") : NULL;
  if (extends && extends->kind != YAML_SCALAR) {
    diag_error(loader->diag, extends->loc, "extends names one file");
    root = NULL;
  } else if (extends) {
    const char *file = find_file(loader, path, extends->text, extends->loc);
    parent = file ? load_tree(loader, file, extends->loc) : NULL;
    root = parent ? merge_files(loader->arena, parent, root) : NULL;
  }
  loader->open.count--;
  return root;
}
