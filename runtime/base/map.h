/* Hash map from text to pointer. Keys are copied into the arena; iteration is in insertion
 * order. */
#ifndef TRICOT_BASE_MAP_H
#define TRICOT_BASE_MAP_H
#include "arena.h"
#include <stdint.h>

typedef struct MapEntry {
  const char *key;
  void *value;
} MapEntry;

typedef struct Map {
  Arena *arena;
  VEC(MapEntry) entries;
  int *slots; /* index into entries plus one, 0: free */
  int n_slots;
} Map;

void map_init(Map *map, Arena *arena);
void *map_get(const Map *map, const char *key); /* NULL when absent */
void map_set(Map *map, const char *key, void *value);
uint64_t hash_bytes(const void *bytes, size_t size, uint64_t seed);
#endif
