/* Who may write into a cache folder: one preparation alone, or any number of programs that prepare
 * volumes on the fly. The locks are flock(2)s on the file .lock and end with their process, however
 * it ends. On a file system without locks everybody may write, and nothing is swept.
 */
#ifndef TRICOT_RUNTIME_DATA_CACHE_FOLDER_H
#define TRICOT_RUNTIME_DATA_CACHE_FOLDER_H
#include "runtime/base/fault.h"

typedef enum CacheLock { LOCK_NONE, LOCK_SHARED, LOCK_ALONE } CacheLock;

typedef struct CacheFolder {
  const char *path; /* borrowed */
  int descriptor;   /* of the lock file, -1: not open */
  CacheLock lock;   /* what was got: LOCK_NONE where there are no locks */
} CacheFolder;

/* Makes the folder if needed and locks it; an error when somebody else's lock is in the way. */
bool cache_folder_open(CacheFolder *folder, const char *path, CacheLock lock, Error *error);
/* Removes temporaries that killed processes left in the folder and the folders in it; only with
 * LOCK_ALONE. */
void cache_folder_sweep(const CacheFolder *folder);
void cache_folder_close(CacheFolder *folder);
#endif
