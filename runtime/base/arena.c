/* Arena: a list of blocks, each twice the size of the last up to a bound. See arena.h. */
#include "arena.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* With AddressSanitizer a gap follows every allocation, so that stepping over its end is caught
 * inside a block too, and arrays a VEC has outgrown may not be touched any more. */
#if defined __has_feature && !defined __SANITIZE_ADDRESS__ /* how clang says it */
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
enum { GAP = 16 };
#else
enum { GAP = 0 };
#define ASAN_POISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
#endif

enum { FIRST_BLOCK = 1 << 14, LAST_BLOCK = 1 << 22, ALIGNMENT = 16 };

typedef struct Block Block;
struct Block {
  Block *next;
  size_t used, room;
  _Alignas(ALIGNMENT) unsigned char bytes[];
};

struct Arena {
  Block *block;
  size_t next_room, used;
};

void *mem_alloc(size_t size) {
  void *block = calloc(1, size ? size : 1);
  if (!block) {
    fprintf(stderr, "tricot: out of memory (%zu bytes)\n", size);
    abort();
  }
  return block;
}

void *mem_resize(void *block, size_t size) {
  void *fresh = realloc(block, size ? size : 1);
  if (!fresh) {
    fprintf(stderr, "tricot: out of memory (%zu bytes)\n", size);
    abort();
  }
  return fresh;
}

Arena *arena_new(void) {
  Arena *arena = mem_alloc(sizeof *arena);
  arena->next_room = FIRST_BLOCK;
  return arena;
}

void arena_free(Arena *arena) {
  if (!arena)
    return;
  for (Block *block = arena->block, *next; block; block = next) {
    next = block->next;
    free(block);
  }
  free(arena);
}

void *arena_alloc(Arena *arena, size_t wanted) {
  size_t size = (wanted + GAP + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  Block *block = arena->block;
  if (!block || block->room - block->used < size) {
    size_t room = size > arena->next_room ? size : arena->next_room;
    if (arena->next_room < LAST_BLOCK)
      arena->next_room *= 2;
    block = mem_alloc(sizeof *block + room);
    block->room = room;
    block->next = arena->block;
    arena->block = block;
    ASAN_POISON_MEMORY_REGION(block->bytes, room);
  }
  void *memory = block->bytes + block->used;
  ASAN_UNPOISON_MEMORY_REGION(memory, wanted);
  block->used += size;
  arena->used += size;
  return memory;
}

void *arena_copy(Arena *arena, const void *data, size_t size) {
  void *memory = arena_alloc(arena, size);
  if (size)
    memcpy(memory, data, size);
  return memory;
}

char *arena_strndup(Arena *arena, const char *text, size_t length) {
  char *copy = arena_alloc(arena, length + 1);
  memcpy(copy, text, length);
  return copy;
}

char *arena_strdup(Arena *arena, const char *text) {
  return arena_strndup(arena, text, strlen(text));
}

char *arena_vprintf(Arena *arena, const char *format, va_list arguments) {
  va_list again;
  va_copy(again, arguments);
  int length = vsnprintf(NULL, 0, format, again);
  va_end(again);
  char *text = arena_alloc(arena, (size_t)length + 1);
  vsnprintf(text, (size_t)length + 1, format, arguments);
  return text;
}

char *arena_printf(Arena *arena, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *text = arena_vprintf(arena, format, arguments);
  va_end(arguments);
  return text;
}

size_t arena_used(const Arena *arena) { return arena->used; }

void *vec_grow_(Arena *arena, void *at, int count, int *room, size_t item_size) {
  *room = *room ? *room * 2 : 8;
  void *fresh = arena_alloc(arena, (size_t)*room * item_size);
  if (count) {
    memcpy(fresh, at, (size_t)count * item_size);
    ASAN_POISON_MEMORY_REGION(at, (size_t)count * item_size);
  }
  return fresh;
}
