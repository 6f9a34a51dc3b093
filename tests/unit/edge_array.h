/* Arrays that end where memory ends: one element too many is a crash. */
#ifndef TRICOT_TESTS_EDGE_ARRAY_H
#define TRICOT_TESTS_EDGE_ARRAY_H
#include <stdlib.h>
#include <sys/mman.h>

enum { PAGE = 4096, PAGES = 64 };

static inline void *edge_array(size_t bytes) {
  char *room =
      mmap(NULL, (PAGES + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED || bytes > (size_t)PAGES * PAGE)
    abort();
  mprotect(room + PAGES * PAGE, PAGE, PROT_NONE);
  return room + PAGES * PAGE - bytes;
}

static inline float *edge_floats(int count, unsigned seed) {
  float *array = edge_array(sizeof(float) * (size_t)count);
  for (int i = 0; i < count; i++) {
    seed = seed * 1103515245u + 12345u;
    array[i] = (float)(int)(seed >> 16 & 255) - 100;
  }
  return array;
}

static inline void free_edge(void *array, size_t bytes) {
  munmap((char *)array + bytes - PAGES * PAGE, (PAGES + 1) * PAGE);
}

static inline void free_floats(float *array, int count) {
  free_edge(array, sizeof(float) * (size_t)count);
}
#endif
