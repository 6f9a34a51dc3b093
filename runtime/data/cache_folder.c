/* Locking and sweeping a cache folder. See cache_folder.h. */
#include "runtime/data/cache_folder.h"
#include "runtime/base/file.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

bool cache_folder_open(CacheFolder *folder, const char *path, CacheLock lock, Error *error) {
  *folder = (CacheFolder){.path = path, .descriptor = -1};
  if (!make_folders(path, error))
    return false;
  Arena *arena = arena_new();
  const char *name = arena_printf(arena, "%s/.lock", path);
  folder->descriptor = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  int code = errno;
  arena_free(arena);
  if (folder->descriptor < 0)
    return error_set(error, "%s: error: cannot be written: %s", path, strerror(code));
  if (flock(folder->descriptor, (lock == LOCK_ALONE ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0) {
    folder->lock = lock;
    return true;
  }
  if (errno != EWOULDBLOCK)
    return true; /* no locks here */
  cache_folder_close(folder);
  return error_set(error, "%s: error: another program is preparing volumes in this cache", path);
}

void cache_folder_close(CacheFolder *folder) {
  if (folder->descriptor >= 0)
    close(folder->descriptor);
  *folder = (CacheFolder){.descriptor = -1};
}

static void sweep(Arena *arena, const char *path, int depth) {
  DIR *listing = opendir(path);
  writing_sweep(path);
  for (struct dirent *entry; listing && (entry = readdir(listing));) {
    struct stat info;
    if (entry->d_name[0] == '.')
      continue;
    char *inner = arena_printf(arena, "%s/%s", path, entry->d_name);
    if (depth == 0 && lstat(inner, &info) == 0 && S_ISDIR(info.st_mode))
      sweep(arena, inner, depth + 1);
  }
  if (listing)
    closedir(listing);
}

void cache_folder_sweep(const CacheFolder *folder) {
  Arena *arena = arena_new();
  if (folder->lock == LOCK_ALONE)
    sweep(arena, folder->path, 0);
  arena_free(arena);
}
