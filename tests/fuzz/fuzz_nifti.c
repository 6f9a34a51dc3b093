/* Fuzzes volume_read: single files and, under a name that ends in .hdr, pairs. For a pair the same
 * bytes are header and image; its voxel offset may be 0, so any input of a pair has voxels. */
#include "runtime/data/nifti.h"
#include "tests/fuzz/fuzz.h"

static char folder[200], header_path[220], image_path[220];

static void remove_pair(void) {
  unlink(header_path);
  unlink(image_path);
  rmdir(folder);
}

/* Links named as a pair, to the file in memory. */
static const char *pair_of(const char *path) {
  if (!*folder) {
    const char *root = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/tricot-fuzz-XXXXXX", root ? root : "/tmp");
    if (!mkdtemp(folder))
      FAULT("no folder for a pair of files");
    snprintf(header_path, sizeof header_path, "%s/v.hdr", folder);
    snprintf(image_path, sizeof image_path, "%s/v.img", folder);
    if (symlink(path, header_path) != 0 || symlink(path, image_path) != 0)
      FAULT("no links for a pair of files");
    atexit(remove_pair);
  }
  return header_path;
}

static void read_volume(const char *path) {
  Volume volume;
  Error error = {""};
  if (!volume_read(path, &volume, &error)) {
    expect_words(&error);
    CHECK(!volume.stored);
    return;
  }
  CHECK(volume.nx > 0 && volume.ny > 0 && volume.nz > 0 && strlen(volume.axes) == 3);
  for (int i = 0; i < 3; i++)
    CHECK(volume.spacing[i] >= 0);
  double *row = malloc(sizeof *row * (size_t)volume.nx);
  volume_row(&volume, 0, 0, row);
  volume_row(&volume, volume.ny - 1, volume.nz - 1, row);
  free(row);
  volume_free(&volume);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  const char *path = file_of(bytes, size);
  read_volume(path);
  read_volume(pair_of(path));
  return 0;
}
