/* Turning volumes. See orient.h. Flips alone are done in place; a permutation takes a second copy.
 */
#include "runtime/data/orient.h"
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const char pairs[3][3] = {"LR", "PA", "IS"};

/* The world axis of a letter, -1 when it has none. */
static int world_of(char letter) {
  for (int i = 0; i < 3; i++)
    if (letter && strchr(pairs[i], letter))
      return i;
  return -1;
}

bool axes_are_valid(const char *axes) {
  int seen = 0;
  for (int i = 0; i < 3; i++) {
    int world = axes[i] ? world_of(axes[i]) : -1;
    if (world < 0)
      return false;
    seen |= 1 << world;
  }
  return seen == 7 && axes[3] == 0;
}

void axes_join(char joined[8], const char *axes) {
  bool same = axes_are_valid(axes) && (!*joined || strcmp(joined, axes) == 0);
  strcpy(joined, same ? axes : "mixed");
}

void axes_map(const char *from, const char *to, int axis[3], bool flip[3]) {
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++)
      if (world_of(to[i]) == world_of(from[j])) {
        axis[i] = j;
        flip[i] = to[i] != from[j];
      }
}

static void swap_bytes(unsigned char *a, unsigned char *b, size_t size) {
  unsigned char held[4096];
  for (size_t at = 0; at < size;) {
    size_t n = size - at < sizeof held ? size - at : sizeof held;
    memcpy(held, a + at, n);
    memcpy(a + at, b + at, n);
    memcpy(b + at, held, n);
    at += n;
  }
}

/* Reverses `count` items of `size` bytes each. */
static void reverse(unsigned char *items, int64_t count, size_t size) {
  for (int64_t i = 0; i < count / 2; i++)
    swap_bytes(items + (size_t)i * size, items + (size_t)(count - 1 - i) * size, size);
}

static void flip_in_place(Volume *v, const bool flip[3]) {
  size_t voxel = (size_t)voxel_size(v->kind), row = voxel * (size_t)v->nx;
  size_t slice = row * (size_t)v->ny;
  unsigned char *bytes = v->stored;
  for (int64_t z = 0; z < v->nz; z++) {
    for (int64_t y = 0; flip[0] && y < v->ny; y++)
      reverse(bytes + (size_t)z * slice + (size_t)y * row, v->nx, voxel);
    if (flip[1])
      reverse(bytes + (size_t)z * slice, v->ny, row);
  }
  if (flip[2])
    reverse(bytes, v->nz, slice);
}

/* Copies to out[size[2]][size[1]][size[0]]; step: bytes from one voxel of an output axis to the
 * next in the source. */
static void gather(unsigned char *out, const unsigned char *from, const int64_t size[3],
                   const ptrdiff_t step[3], size_t voxel) {
  for (int64_t z = 0; z < size[2]; z++)
    for (int64_t y = 0; y < size[1]; y++) {
      const unsigned char *at = from + z * step[2] + y * step[1];
      for (int64_t x = 0; x < size[0]; x++, at += step[0], out += voxel)
        switch (voxel) {
        case 1: *out = *at; break;
        case 2: memcpy(out, at, 2); break;
        case 4: memcpy(out, at, 4); break;
        default: memcpy(out, at, 8); break;
        }
    }
}

static bool permute(Volume *v, const int axis[3], const bool flip[3], Error *error) {
  const int64_t old[3] = {v->nx, v->ny, v->nz};
  size_t voxel = (size_t)voxel_size(v->kind);
  const ptrdiff_t stride[3] = {(ptrdiff_t)voxel, (ptrdiff_t)voxel * v->nx,
                               (ptrdiff_t)voxel * v->nx * v->ny};
  unsigned char *out = malloc(voxel * (size_t)(v->nx * v->ny * v->nz));
  if (!out)
    return error_set(error, "no memory to turn the volume");
  const unsigned char *from = v->stored;
  int64_t size[3];
  ptrdiff_t step[3];
  for (int i = 0; i < 3; i++) {
    size[i] = old[axis[i]];
    step[i] = flip[i] ? -stride[axis[i]] : stride[axis[i]];
    if (flip[i])
      from += stride[axis[i]] * (size[i] - 1);
  }
  gather(out, from, size, step, voxel);
  free(v->stored);
  v->stored = out;
  return true;
}

/* Sizes, spacings and affine follow the voxels. */
static void turn_geometry(Volume *v, const int axis[3], const bool flip[3], const char *axes) {
  const Volume old = *v;
  const int64_t size[3] = {old.nx, old.ny, old.nz};
  v->nx = size[axis[0]];
  v->ny = size[axis[1]];
  v->nz = size[axis[2]];
  for (int j = 0; j < 3; j++) {
    v->spacing[j] = old.spacing[axis[j]];
    for (int i = 0; i < 3; i++) {
      double column = old.affine[i][axis[j]];
      v->affine[i][j] = flip[j] ? -column : column;
      if (flip[j])
        v->affine[i][3] += column * (double)(size[axis[j]] - 1);
    }
  }
  memcpy(v->axes, axes, 4);
}

bool volume_reorient(Volume *volume, const char *axes, Error *error) {
  int axis[3];
  bool flip[3];
  CHECK(axes_are_valid(axes));
  if (!axes_are_valid(volume->axes))
    return error_set(error, "the header does not say which way the axes point (%s), so the volume "
                            "cannot be turned to %s", volume->axes, axes);
  axes_map(volume->axes, axes, axis, flip);
  if (axis[0] == 0 && axis[1] == 1)
    flip_in_place(volume, flip);
  else if (!permute(volume, axis, flip, error))
    return false;
  turn_geometry(volume, axis, flip, axes);
  return true;
}
