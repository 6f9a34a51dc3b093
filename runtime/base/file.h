/* Files: read whole, map, and write so that a reader never sees half a file. */
#ifndef TRICOT_BASE_FILE_H
#define TRICOT_BASE_FILE_H
#include "arena.h"
#include "fault.h"
#include <stdint.h>
#include <stdio.h>

/* Reads a whole file into the arena, NUL-terminated; refuses files over `limit` bytes. */
bool file_read(Arena *arena, const char *path, size_t limit, char **text, size_t *size, Error *);

/* A read-only mapping (or an empty one for an empty file). Unmap with file_unmap. */
typedef struct Mapping {
  const unsigned char *bytes;
  size_t size;
} Mapping;
bool file_map(const char *path, Mapping *mapping, Error *);
/* The pages around bytes begin .. begin+size-1, if they lie in the mapping, are not needed for now;
 * they come back when read. */
void file_mapping_rest(const Mapping *mapping, const void *begin, size_t size);
void file_unmap(Mapping *mapping);

/* Writing: open a temporary beside `path`, write to `stream`, then commit (flush, fsync, rename) or
 * discard (remove). Nothing is ever left at `path` half-written, and what was committed (the folder
 * is written, too) survives a power cut. A killed process leaves a file named after `path`,
 * WRITING_MARK and its number. */
#define WRITING_MARK ".tmp."
typedef struct Writing {
  FILE *stream;
  char *path, *temporary;
} Writing;
bool writing_open(Writing *writing, const char *path, Error *);
bool writing_commit(Writing *writing, Error *);
void writing_discard(Writing *writing);
/* Makes a folder and its parents; fine when it exists. */
bool make_folders(const char *path, Error *);
/* Removes from a folder what killed processes have left unfinished (NAME.tmp.PROCESS). */
void writing_sweep(const char *folder);
#endif
