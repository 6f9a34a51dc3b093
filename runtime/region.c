/* Regions of memory. See region.h. */
#include "runtime/region.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

static const size_t PAGE = 4096, HUGE_PAGE = (size_t)2 << 20;
static const size_t TOUCH_BLOCK = (size_t)2 << 20;

bool region_open(Region *region, int64_t bytes, const char *what, Error *error) {
  *region = (Region){0};
  if (bytes == 0)
    return true;
  char amount[32];
  size_t size = ((size_t)bytes + PAGE - 1) / PAGE * PAGE;
  size_t extra = size >= HUGE_PAGE ? HUGE_PAGE : 0;
  void *mapping = mmap(NULL, size + extra, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) {
    bytes_text((double)bytes, amount, sizeof amount);
    return error_set(error, "no memory: %s needs %s: %s", what, amount, strerror(errno));
  }
  uintptr_t at = (uintptr_t)mapping;
  if (extra)
    at = (at + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
  *region = (Region){(unsigned char *)at, (size_t)bytes, 0, mapping, size + extra};
  if (extra)
    madvise(region->at, size, MADV_HUGEPAGE); /* refused: small pages do as well */
  return true;
}

void region_close(Region *region) {
  if (region->mapping)
    munmap(region->mapping, region->mapped);
  *region = (Region){0};
}

void region_release(Region *region, size_t begin, size_t end) {
  uintptr_t from = ((uintptr_t)region->at + begin + PAGE - 1) / PAGE * PAGE;
  uintptr_t to = ((uintptr_t)region->at + end) / PAGE * PAGE;
  if (region->at && from < to)
    madvise((void *)from, to - from, MADV_DONTNEED);
}

void region_zero(Region *region, size_t begin, size_t end) {
  unsigned char *from = region->at + begin, *to = region->at + end;
  unsigned char *first = (unsigned char *)(((uintptr_t)from + PAGE - 1) / PAGE * PAGE);
  unsigned char *last = (unsigned char *)((uintptr_t)to / PAGE * PAGE);
  if (first >= last || madvise(first, (size_t)(last - first), MADV_DONTNEED) != 0)
    first = last = to;
  memset(from, 0, (size_t)(first - from));
  memset(last, 0, (size_t)(to - last));
}

/* arguments: first byte, number of bytes as a pointer difference */
static void touch_blocks(void *const *arguments, int64_t begin, int64_t end) {
  volatile unsigned char *first = arguments[0];
  size_t size = (size_t)((unsigned char *)arguments[1] - (unsigned char *)arguments[0]);
  size_t from = (size_t)begin * TOUCH_BLOCK, to = (size_t)end * TOUCH_BLOCK;
  for (size_t i = from; i < (to < size ? to : size); i += PAGE)
    first[i] = first[i];
}

bool region_touch(Region *region, Pool *pool, int64_t bytes, const char *what, Error *error) {
  if ((size_t)bytes <= region->touched)
    return true;
  struct sysinfo info;
  if (sysinfo(&info) == 0) {
    double machine = ((double)info.totalram + (double)info.totalswap) * info.mem_unit;
    char amount[32], limit[32];
    bytes_text((double)bytes, amount, sizeof amount);
    bytes_text(machine, limit, sizeof limit);
    if ((double)bytes > machine)
      return error_set(error, "no memory: %s needs %s, the machine has %s", what, amount, limit);
  }
  size_t start = region->touched / PAGE * PAGE;
  void *arguments[] = {region->at + start, region->at + bytes};
  int64_t blocks = (int64_t)(((size_t)bytes - start + TOUCH_BLOCK - 1) / TOUCH_BLOCK);
  pool_run(pool, touch_blocks, arguments, blocks);
  region->touched = (size_t)bytes;
  return true;
}
