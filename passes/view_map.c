/* Composition of views into affine maps. See view_map.h. */
#include "passes/view_map.h"
#include <string.h>

/* Each step rewrites the map's target side from a view's result to its operand. */

static void through_permute(ViewMap *map, const Node *node) {
  const int64_t *perm = node_ints(node, "perm", NULL);
  ViewMap next = *map;
  for (int i = 0; i < map->type.rank; i++) {
    next.offset[perm[i]] = map->offset[i];
    memcpy(next.factor[perm[i]], map->factor[i], sizeof map->factor[i]);
  }
  *map = next;
}

static void through_broadcast(ViewMap *map, const Node *node) {
  const Type *from = &node->in[0]->type;
  for (int i = 0; i < from->rank; i++)
    if (from->dim[i] == 1) {
      map->offset[i] = 0;
      memset(map->factor[i], 0, sizeof map->factor[i]);
    }
}

static void through_slice(ViewMap *map, const Node *node) {
  const int64_t *start = node_ints(node, "start", NULL), *step = node_ints(node, "step", NULL);
  for (int i = 0; i < map->type.rank; i++) {
    map->offset[i] = map->offset[i] * step[i] + start[i];
    for (int d = 0; d < map->rank; d++)
      map->factor[i][d] *= step[i];
  }
}

/* Result coordinates -> operand coordinates, where each run of axes with equal products has at most
 * one operand axis longer than 1. */
static bool through_reshape(ViewMap *map, const Node *node) {
  const Type *from = &node->in[0]->type, *to = &node->out[0].type;
  ViewMap next = *map;
  memset(next.offset, 0, sizeof next.offset);
  memset(next.factor, 0, sizeof next.factor);
  int i = 0, j = 0;
  while (i < from->rank || j < to->rank) {
    int i0 = i, j0 = j;
    int64_t in = i < from->rank ? from->dim[i++] : 1, out = j < to->rank ? to->dim[j++] : 1;
    while (in != out) {
      if (in < out)
        in *= from->dim[i++];
      else
        out *= to->dim[j++];
    }
    int wide = -1, n_wide = 0;
    for (int a = i0; a < i; a++)
      if (from->dim[a] != 1)
        wide = a, n_wide++;
    if (n_wide == 0)
      continue;
    int same = 0; /* equal axis by axis, unit axes aside? then map one to one */
    if (n_wide > 1) {
      int b = j0;
      for (int a = i0; a < i; a++) {
        if (from->dim[a] == 1)
          continue;
        while (b < j && to->dim[b] == 1)
          b++;
        if (b >= j || to->dim[b] != from->dim[a])
          return false;
        next.offset[a] = map->offset[b];
        memcpy(next.factor[a], map->factor[b], sizeof map->factor[b]);
        b++;
        same++;
      }
      if (same != n_wide)
        return false;
      continue;
    }
    int64_t stride = 1;
    for (int b = j - 1; b >= j0; b--) {
      next.offset[wide] += stride * map->offset[b];
      for (int d = 0; d < map->rank; d++)
        next.factor[wide][d] += stride * map->factor[b][d];
      stride *= to->dim[b];
    }
  }
  *map = next;
  return true;
}

bool view_map_resolve(Value *value, IsBaseFn *is_base, void *context, ViewMap *map, Value **stuck) {
  *map = (ViewMap){.base = value, .type = value->type, .rank = value->type.rank};
  for (int i = 0; i < map->rank; i++)
    map->factor[i][i] = 1;
  while (!is_base(context, map->base)) {
    const Node *node = map->base->node;
    CHECK(node && node->op->cls == OP_VIEW);
    Value *operand = node->in[0];
    if (strcmp(node->op->name, "permute") == 0) {
      through_permute(map, node);
    } else if (strcmp(node->op->name, "broadcast") == 0) {
      through_broadcast(map, node);
    } else if (strcmp(node->op->name, "slice") == 0) {
      through_slice(map, node);
    } else if (!through_reshape(map, node)) {
      if (!is_base(context, operand)) {
        *stuck = operand;
        return false;
      }
      map->base = operand; /* read the base's memory in the reshaped type */
      return true;
    }
    map->base = operand;
    map->type = operand->type;
  }
  return true;
}

int64_t view_map_stride(const ViewMap *map, int dim) {
  int64_t stride = 1, sum = 0;
  for (int i = map->type.rank - 1; i >= 0; i--) {
    sum += stride * map->factor[i][dim];
    stride *= map->type.dim[i];
  }
  return sum;
}

int64_t view_map_origin(const ViewMap *map) {
  int64_t stride = 1, sum = 0;
  for (int i = map->type.rank - 1; i >= 0; i--) {
    sum += stride * map->offset[i];
    stride *= map->type.dim[i];
  }
  return sum;
}

bool view_map_is_dense(const ViewMap *map, const Type *value) {
  int64_t stride = 1;
  if (type_elements(value) != type_elements(&map->type) || view_map_origin(map) != 0)
    return false;
  for (int d = value->rank - 1; d >= 0; d--) {
    if (value->dim[d] != 1 && view_map_stride(map, d) != stride)
      return false;
    stride *= value->dim[d];
  }
  return true;
}

bool view_map_keeps_bounds(const ViewMap *map, const Type *value) {
  for (int b = 0; b < map->type.rank; b++) {
    int used = -1;
    for (int d = 0; d < map->rank; d++)
      if (map->factor[b][d] != 0) {
        if (used >= 0 || map->factor[b][d] != 1)
          return false;
        used = d;
      }
    if (map->offset[b] != 0 || map->type.dim[b] != (used < 0 ? 1 : value->dim[used]))
      return false;
  }
  for (int d = 0; d < map->rank; d++) {
    bool used = value->dim[d] == 1;
    for (int b = 0; b < map->type.rank; b++)
      used |= map->factor[b][d] != 0;
    if (!used)
      return false;
  }
  return true;
}

bool view_map_selects(const ViewMap *map, const Type *value) {
  int uses[MAX_RANK] = {0};
  for (int b = 0; b < map->type.rank; b++) {
    int64_t end = map->offset[b] + 1;
    for (int d = 0; d < map->rank; d++)
      if (map->factor[b][d] != 0) {
        if (map->factor[b][d] != 1 || end != map->offset[b] + 1)
          return false;
        end = map->offset[b] + value->dim[d];
        uses[d]++;
      }
    if (end > map->type.dim[b])
      return false;
  }
  for (int d = 0; d < map->rank; d++)
    if (uses[d] > 1 || (uses[d] == 0 && value->dim[d] != 1))
      return false;
  return true;
}
