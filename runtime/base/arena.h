/* Arena: bump allocation by lifetime.
 *
 * Everything the compiler builds for one job (a YAML tree, a graph, a kernel) lives in one arena
 * and is released at once. Memory comes back zeroed and aligned to 16 bytes. Running out of memory
 * ends the process with a message: a compiler has nothing sensible to do without it.
 */
#ifndef TRICOT_BASE_ARENA_H
#define TRICOT_BASE_ARENA_H
#include <stdarg.h>
#include <stddef.h>

typedef struct Arena Arena;

Arena *arena_new(void);
void arena_free(Arena *arena);
void *arena_alloc(Arena *arena, size_t wanted);
void *arena_copy(Arena *arena, const void *data, size_t size);
char *arena_strdup(Arena *arena, const char *text);
char *arena_strndup(Arena *arena, const char *text, size_t length);
char *arena_printf(Arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(Arena *arena, const char *format, va_list arguments);
/* Bytes handed out so far, for statistics. */
size_t arena_used(const Arena *arena);

#define ARENA_NEW(arena, Type) ((Type *)arena_alloc((arena), sizeof(Type)))
#define ARENA_ARRAY(arena, Type, count)                                                            \
  ((Type *)arena_alloc((arena), sizeof(Type) * (size_t)(count)))

/* Growable array in an arena: VEC(T) v = {0}; vec_push(arena, &v, item); v.at[i]; v.count.
 * Growth copies into fresh arena memory; old pointers into v.at become stale. */
#define VEC(Type) struct { Type *at; int count, room; }
void *vec_grow_(Arena *arena, void *at, int count, int *room, size_t item_size);
#define vec_push(arena, vec, item)                                                                \
  do {                                                                                            \
    if ((vec)->count == (vec)->room)                                                              \
      (vec)->at = vec_grow_((arena), (vec)->at, (vec)->count, &(vec)->room, sizeof *(vec)->at);   \
    (vec)->at[(vec)->count++] = (item);                                                           \
  } while (0)

/* Allocation outside arenas, ends the process when memory runs out. Free with free(). */
void *mem_alloc(size_t size);
void *mem_resize(void *block, size_t size);
#endif
