/* Frames whose dimensions are joined where every access walks them in step. See frame.h. */
#include "passes/lower/frame.h"
#include <string.h>

/* Strides, per dimension of the space, with which a body value is walked. */
static Strides strides_of(const ViewMap *map, const Type *type, const Type *space) {
  Strides s = {{0}};
  for (int d = 0; d < space->rank; d++)
    s.at[d] = d < type->rank && type->dim[d] != 1 ? view_map_stride(map, d) : 0;
  return s;
}

bool frame_stores_moved(const Frame *frame, Value *output, ViewMap *map) {
  *map = frame_resolve(frame, output);
  const Node *maker = map->base->node;
  return map->base != output && maker && maker->op->cls != OP_SOURCE;
}

int moved_dim(const ViewMap *map, int b) {
  for (int d = 0; d < map->rank; d++)
    if (map->factor[b][d])
      return d;
  return -1;
}

/* Strides, per dimension of the space, with which a moved output is stored. */
Strides moved_strides(const ViewMap *map, const Type *output, const Type *space) {
  Strides s = {{0}};
  int64_t stride[MAX_RANK], at = 1;
  for (int d = output->rank - 1; d >= 0; at *= output->dim[d--])
    stride[d] = at;
  for (int b = 0; b < space->rank; b++)
    if (map->base->type.dim[b] != 1)
      s.at[b] = stride[moved_dim(map, b)];
  return s;
}

/* Values the body reads from memory or from iota, and its outputs: everything with an address. */
static void collect(const Frame *frame, const Type *space, Strides *out, int *count, int room) {
  const Graph *body = frame->lower->body;
  *count = 0;
  for (int n = 0; n <= body->nodes.count; n++) {
    int operands = n < body->nodes.count ? body->nodes.at[n]->n_in : body->outputs.count;
    if (n < body->nodes.count && body->nodes.at[n]->op->cls == OP_VIEW)
      continue;
    for (int i = 0; i < operands; i++) {
      Value *value = n < body->nodes.count ? body->nodes.at[n]->in[i] : body->outputs.at[i].value;
      ViewMap moved;
      if (n == body->nodes.count && frame_stores_moved(frame, value, &moved)) {
        if (moved.base->type.rank == space->rank)
          out[(*count)++] = moved_strides(&moved, &value->type, space);
        continue;
      }
      if (value->type.rank != space->rank)
        continue;
      CHECK(*count + (n == body->nodes.count ? 2 : 1) <= room);
      ViewMap map = frame_resolve(frame, value);
      const Node *maker = map.base->node;
      if (maker && maker->op->cls == OP_SOURCE) {
        int axis = op_attr_index(maker->op, "axis");
        if (axis < 0)
          continue;
        /* an iota walks its own axis only: weigh it so that no neighbour merges with it */
        Strides s = {{0}};
        for (int d = 0; d < space->rank; d++)
          s.at[d] = map.factor[maker->attrs[axis].i][d] ? (int64_t)1 << 40 : 0;
        out[(*count)++] = s;
        continue;
      }
      out[(*count)++] = strides_of(&map, &value->type, space);
      if (n == body->nodes.count) { /* the output itself is dense */
        map = (ViewMap){.type = value->type, .rank = value->type.rank};
        for (int d = 0; d < map.rank; d++)
          map.factor[d][d] = 1;
        out[(*count)++] = strides_of(&map, &value->type, space);
      }
    }
  }
}

/* Is only a part of something stored as an output? Its ends must be known by dimension. */
static bool stores_part(const Frame *frame) {
  const Graph *body = frame->lower->body;
  ViewMap map;
  for (int i = 0; i < body->outputs.count; i++) {
    Value *value = body->outputs.at[i].value;
    if (frame_stores_moved(frame, value, &map) && !view_map_keeps_bounds(&map, &value->type))
      return true;
  }
  return false;
}

void frame_flatten(Frame *frame, const Type *space, unsigned keep_apart) {
  const Graph *body = frame->lower->body;
  if (stores_part(frame)) {
    frame_dims(frame, space);
    return;
  }
  int room = 2 * body->outputs.count, count;
  for (int n = 0; n < body->nodes.count; n++)
    room += body->nodes.at[n]->n_in;
  Strides *strides = ARENA_ARRAY(frame->lower->arena, Strides, room);
  collect(frame, space, strides, &count, room);
  frame->flat = true;
  frame->rank = space->rank;
  frame->n_groups = 0;
  for (int d = 0; d < space->rank; d++) {
    bool merge = d > 0 && (keep_apart >> d & 1) == (keep_apart >> (d - 1) & 1);
    for (int i = 0; merge && i < count; i++) {
      int64_t outer = frame->extent[frame->n_groups - 1] == 1 ? -1 : 0; /* -1: nothing to walk */
      for (int e = d - 1; outer == 0 && e >= 0 && frame->group[e] == frame->n_groups - 1; e--)
        if (space->dim[e] != 1)
          outer = strides[i].at[e] + 1; /* +1 tells stride 0 from none */
      merge = outer == -1 || space->dim[d] == 1 || outer - 1 == strides[i].at[d] * space->dim[d];
    }
    if (merge)
      frame->extent[frame->n_groups - 1] *= space->dim[d];
    else
      frame->extent[frame->n_groups++] = space->dim[d];
    frame->group[d] = frame->n_groups - 1;
  }
}

void frame_dims(Frame *frame, const Type *space) {
  frame->flat = false;
  frame->rank = frame->n_groups = space->rank;
  for (int d = 0; d < space->rank; d++) {
    frame->group[d] = d;
    frame->extent[d] = space->dim[d];
  }
}
