/* Open addressing over an insertion-ordered entry list. See map.h. */
#include "map.h"
#define XXH_INLINE_ALL
#include <string.h>
#include <xxhash.h>

uint64_t hash_bytes(const void *bytes, size_t size, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes, size, seed);
}

void map_init(Map *map, Arena *arena) { *map = (Map){.arena = arena}; }

static int *find(const Map *map, const char *key) {
  uint64_t at = hash_bytes(key, strlen(key), 0);
  for (;; at++) {
    int *slot = &map->slots[at & (uint64_t)(map->n_slots - 1)];
    if (!*slot || strcmp(map->entries.at[*slot - 1].key, key) == 0)
      return slot;
  }
}

void *map_get(const Map *map, const char *key) {
  if (!map->n_slots)
    return NULL;
  int *slot = find(map, key);
  return *slot ? map->entries.at[*slot - 1].value : NULL;
}

static void rehash(Map *map, int n_slots) {
  map->slots = ARENA_ARRAY(map->arena, int, n_slots);
  map->n_slots = n_slots;
  for (int i = 0; i < map->entries.count; i++)
    *find(map, map->entries.at[i].key) = i + 1;
}

void map_set(Map *map, const char *key, void *value) {
  if ((map->entries.count + 1) * 2 > map->n_slots)
    rehash(map, map->n_slots ? map->n_slots * 2 : 16);
  int *slot = find(map, key);
  if (*slot) {
    map->entries.at[*slot - 1].value = value;
    return;
  }
  MapEntry entry = {arena_strdup(map->arena, key), value};
  vec_push(map->arena, &map->entries, entry);
  *slot = map->entries.count;
}
