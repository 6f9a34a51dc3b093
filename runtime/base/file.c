/* Whole-file reads, mappings, and atomic replacement by rename(2). See file.h. */
#include "file.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

bool file_read(Arena *arena, const char *path, size_t limit, char **text, size_t *size,
               Error *error) {
  FILE *stream = fopen(path, "rb");
  if (!stream)
    return error_set(error, "%s: error: %s", path, strerror(errno));
  struct stat info;
  if (fstat(fileno(stream), &info) == 0 && S_ISDIR(info.st_mode)) {
    fclose(stream);
    return error_set(error, "%s: error: is a folder", path);
  }
  size_t room = 1 << 16, used = 0;
  char *bytes = mem_alloc(room);
  for (;;) {
    size_t n = fread(bytes + used, 1, room - used, stream);
    used += n;
    if (used > limit || n == 0)
      break;
    if (used == room)
      bytes = mem_resize(bytes, room *= 2);
  }
  bool failed = ferror(stream), large = used > limit;
  fclose(stream);
  if (!failed && !large) {
    *text = arena_strndup(arena, bytes, used);
    *size = used;
  }
  free(bytes);
  if (failed)
    return error_set(error, "%s: error: cannot be read", path);
  if (large)
    return error_set(error, "%s: error: larger than %zu bytes", path, limit);
  return true;
}

bool file_map(const char *path, Mapping *mapping, Error *error) {
  *mapping = (Mapping){0};
  int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0)
    return error_set(error, "%s: error: %s", path, strerror(errno));
  struct stat info;
  if (fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(descriptor);
    return error_set(error, "%s: error: is not a regular file", path);
  }
  if (info.st_size > 0) {
    void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (bytes == MAP_FAILED) {
      close(descriptor);
      return error_set(error, "%s: error: cannot be mapped: %s", path, strerror(errno));
    }
    *mapping = (Mapping){bytes, (size_t)info.st_size};
  }
  close(descriptor);
  return true;
}

void file_mapping_rest(const Mapping *mapping, const void *begin, size_t size) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)begin / page * page;
  const unsigned char *at = begin, *bytes = mapping->bytes; /* others lie in memory of our own */
  if (mapping->size && at >= bytes && at + size <= bytes + mapping->size)
    madvise((void *)from, (uintptr_t)begin + size - from, MADV_DONTNEED);
}

void file_unmap(Mapping *mapping) {
  if (mapping->bytes)
    munmap((void *)mapping->bytes, mapping->size);
  *mapping = (Mapping){0};
}

bool writing_open(Writing *writing, const char *path, Error *error) {
  *writing = (Writing){0};
  size_t room = strlen(path) + 32;
  writing->path = mem_alloc(room);
  writing->temporary = mem_alloc(room);
  strcpy(writing->path, path);
  snprintf(writing->temporary, room, "%s%s%ld", path, WRITING_MARK, (long)getpid());
  writing->stream = fopen(writing->temporary, "wb");
  if (!writing->stream) {
    error_set(error, "%s: error: cannot be written: %s", path, strerror(errno));
    writing_discard(writing);
    return false;
  }
  return true;
}

void writing_discard(Writing *writing) {
  if (writing->stream) {
    fclose(writing->stream);
    remove(writing->temporary);
  }
  free(writing->path);
  free(writing->temporary);
  *writing = (Writing){0};
}

/* A rename lies in the folder, and is only safe from a power cut once the folder is written. Some
 * file systems know no such thing and say EINVAL. */
static bool sync_folder_of(const char *path) {
  const char *slash = strrchr(path, '/');
  size_t length = slash ? (size_t)(slash - path) + (slash == path) : 1;
  char *folder = mem_alloc(length + 1);
  memcpy(folder, slash ? path : ".", length);
  folder[length] = 0;
  int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  bool good = descriptor >= 0 && (fsync(descriptor) == 0 || errno == EINVAL);
  int code = errno;
  if (descriptor >= 0)
    close(descriptor);
  free(folder);
  errno = code;
  return good;
}

bool writing_commit(Writing *writing, Error *error) {
  bool failed = ferror(writing->stream) != 0;
  int code = errno; /* of the write that failed, where nothing came in between */
  bool good = !failed && fflush(writing->stream) == 0 && fsync(fileno(writing->stream)) == 0;
  if (!failed)
    code = errno;
  if (fclose(writing->stream) != 0 && good) {
    good = false;
    code = errno;
  }
  writing->stream = NULL;
  if (good && (rename(writing->temporary, writing->path) != 0 || !sync_folder_of(writing->path))) {
    good = false;
    code = errno;
  }
  if (!good) {
    error_set(error, "%s: error: cannot be written: %s", writing->path, strerror(code));
    remove(writing->temporary);
  }
  writing_discard(writing);
  return good;
}

bool make_folders(const char *path, Error *error) {
  size_t length = strlen(path);
  char *part = mem_alloc(length + 1);
  bool good = true;
  for (size_t i = 1; i <= length && good; i++) {
    if (path[i] != '/' && path[i] != 0)
      continue;
    memcpy(part, path, i);
    part[i] = 0;
    if (mkdir(part, 0777) != 0 && errno != EEXIST)
      good = error_set(error, "%s: error: %s", part, strerror(errno));
  }
  free(part);
  return good;
}

/* The process whose unfinished file this is, 0 when it is none. */
static long writer_of(const char *name) {
  const char *mark = strstr(name, WRITING_MARK);
  const char *number = mark ? mark + strlen(WRITING_MARK) : "";
  bool whole = *number && strspn(number, "0123456789") == strlen(number);
  return whole ? strtol(number, NULL, 10) : 0;
}

void writing_sweep(const char *folder) {
  DIR *listing = opendir(folder);
  for (struct dirent *entry; listing && (entry = readdir(listing));) {
    char path[4096];
    long writer = writer_of(entry->d_name);
    if (writer > 0 && kill((pid_t)writer, 0) != 0 && errno == ESRCH &&
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) < (int)sizeof path)
      unlink(path);
  }
  if (listing)
    closedir(listing);
}
