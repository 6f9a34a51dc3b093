/* Frames: accesses through views, tiles of values, grouping of dimensions. See frame.h. */
#include "passes/lower/frame.h"
#include <string.h>

enum {
  LARGE = 16, /* second-level caches: more than the last level is likely to hold */
  NARROW = 8  /* tiles in a row of a tensor: of wider ones a tile writes scattered pieces, which the
                 caches had better collect */
};

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t divisor_below(int64_t n, int64_t limit) {
  for (int64_t d = limit < n ? limit : n; d > 1; d--)
    if (n % d == 0)
      return d;
  return 1;
}

bool fold_is_variance(const Node *reduce) { return strcmp(reduce->op->name, "variance") == 0; }

Kop fold_kop(const Node *reduce) {
  return strcmp(reduce->op->name, "reduce_max") == 0 ? K_max : K_add;
}

static bool is_base(void *context, const Value *value) {
  (void)context;
  return !value->node || value->node->op->cls != OP_VIEW;
}

Value *narrow_source(const Value *value) {
  const Node *node = value->node;
  return node && strcmp(node->op->name, "cast") == 0 && value->type.dtype == DT_f32 &&
                 node->in[0]->type.dtype == DT_bf16
             ? node->in[0]
             : NULL;
}

ViewMap frame_resolve(const Frame *frame, Value *value) {
  (void)frame;
  ViewMap map;
  Value *stuck;
  CHECK(view_map_resolve(value, is_base, NULL, &map, &stuck));
  Value *narrow = narrow_source(map.base);
  if (narrow && !narrow->node) {
    map.base = narrow;
    map.type.dtype = narrow->type.dtype;
  }
  return map;
}

Dtype stored_dtype(Value *value) { return frame_resolve(NULL, value).type.dtype; }

int64_t stored_bytes(Value *value) {
  return type_elements(&value->type) * (int64_t)dtype_size(stored_dtype(value));
}

void frame_start(Frame *frame, Lower *lower, const char *suffix) {
  *frame = (Frame){.lower = lower};
  frame->kernel =
      kernel_new(lower->arena, arena_printf(lower->arena, "%s%s", lower->name, suffix), STAGE_TILE);
  frame->kernel->loc = lower->region->loc;
  frame->block = &frame->kernel->body;
  frame->tile = ARENA_ARRAY(lower->arena, Tile *, lower->body->n_values);
  frame->step.kernel = frame->kernel;
}

void frame_finish(Frame *frame, const char *doc) {
  frame->kernel->doc = doc ? doc : "";
  vec_push(frame->lower->arena, &frame->lower->out->steps, frame->step);
}

/* ---- arguments ---- */

static Buffer *argument(Frame *frame, LoweredArg arg, const char *name, Type type, bool written) {
  for (int i = 0; i < frame->step.args.count; i++) {
    LoweredArg *known = &frame->step.args.at[i];
    Buffer *buffer = frame->kernel->buffers.at[i];
    if (known->value == arg.value && known->temp == arg.temp && type_equal(&buffer->type, &type)) {
      buffer->written |= written;
      return buffer;
    }
  }
  vec_push(frame->lower->arena, &frame->step.args, arg);
  return kernel_argument(frame->kernel, name, type, written);
}

Buffer *frame_buffer(Frame *frame, const Value *base, Type type, bool written) {
  const Node *region = frame->lower->region;
  const Graph *body = frame->lower->body;
  LoweredArg arg = {NULL, -1};
  if (!base->node)
    arg.value = region->in[base->index];
  for (int i = 0; !arg.value && i < body->outputs.count; i++)
    if (body->outputs.at[i].value == base)
      arg.value = &region->out[i];
  CHECK(arg.value);
  return argument(frame, arg, base->name, type, written);
}

Buffer *frame_temp(Frame *frame, int temp, Type type, bool written) {
  LoweredArg arg = {NULL, temp};
  return argument(frame, arg, arena_printf(frame->lower->arena, "partial%d", temp), type, written);
}

/* ---- accesses ---- */

void place_add(AccessDim *dim, const Place *place, int64_t factor) {
  dim->at = affine_add(dim->at, affine_scale(place->at, factor));
  for (int j = 0; j < MAX_ROW_AXES; j++)
    dim->row[j] += factor * place->row[j];
  dim->col += factor * place->col;
}

/* Flat stride of a group for a map: that of its last dimension longer than 1. */
static int64_t group_stride(const Frame *frame, const ViewMap *map, const Type *type, int group) {
  for (int d = frame->rank - 1; d >= 0; d--)
    if (frame->group[d] == group && type->dim[d] != 1)
      return view_map_stride(map, d);
  return 0;
}

static Access access_by_map(Frame *frame, const ViewMap *map, const Type *type, bool written) {
  Access access = {.rank = map->type.rank};
  CHECK(type->rank == frame->rank);
  if (frame->flat) {
    Type line = {map->type.dtype, 1, {type_elements(&map->type)}};
    access.rank = 1;
    access.buffer = frame_buffer(frame, map->base, line, written);
    access.dim[0].divisor = 1;
    access.dim[0].at = affine_constant(view_map_origin(map));
    for (int g = 0; g < frame->n_groups; g++)
      place_add(&access.dim[0], &frame->place[g], group_stride(frame, map, type, g));
    return access;
  }
  access.buffer = frame_buffer(frame, map->base, map->type, written);
  for (int b = 0; b < map->type.rank; b++) {
    access.dim[b].divisor = 1;
    access.dim[b].at = affine_constant(map->offset[b]);
    for (int d = 0; d < frame->rank; d++)
      if (type->dim[d] != 1)
        place_add(&access.dim[b], &frame->place[d], map->factor[b][d]);
  }
  return access;
}

Access frame_access(Frame *frame, Value *value) {
  ViewMap map = frame_resolve(frame, value);
  return access_by_map(frame, &map, &value->type, false);
}

static ViewMap identity_map(Value *value) {
  ViewMap map = {.base = value, .type = value->type, .rank = value->type.rank};
  for (int d = 0; d < map.rank; d++)
    map.factor[d][d] = 1;
  return map;
}

/* ---- tiles ---- */

Tile *frame_tile(Frame *frame, Dtype dtype, bool rows, bool cols) {
  return kernel_tile(frame->kernel, "t", dtype, rows ? frame->n_axes : 0, frame->axis,
                     cols ? frame->cols : 1);
}

Tile *frame_fill(Frame *frame, double number, Dtype dtype, bool rows, bool cols) {
  Stmt *s = stmt_add(frame->kernel, frame->block, STMT_TILE_FILL);
  s->number = number;
  return s->tile = frame_tile(frame, dtype, rows, cols);
}

Tile *frame_load(Frame *frame, const Access *access, Dtype dtype, double fill) {
  bool rows = access->gather && access->gather->n_axes, cols = false;
  for (int b = 0; b < access->rank; b++) {
    cols |= access->dim[b].col != 0;
    for (int j = 0; j < frame->n_axes; j++)
      rows |= access->dim[b].row[j] != 0;
  }
  Stmt *s = stmt_add(frame->kernel, frame->block, STMT_TILE_LOAD);
  s->access = *access;
  s->number = fill;
  s->tile = frame_tile(frame, access->buffer->type.dtype, rows, cols);
  return frame_cast(frame, s->tile, dtype);
}

Tile *frame_cast(Frame *frame, Tile *tile, Dtype dtype) {
  if (tile->dtype == dtype)
    return tile;
  Tile *result = kernel_tile(frame->kernel, "t", dtype, tile->n_axes, tile->axis, tile->cols);
  return stmt_map(frame->kernel, frame->block, result, K_cast, tile, NULL, NULL)->tile;
}

int64_t frame_rows(const Frame *frame) {
  int64_t rows = 1;
  for (int j = 0; j < frame->n_axes; j++)
    rows *= frame->axis[j];
  return rows;
}

Access frame_rows_access(const Frame *frame, Buffer *tensor, Affine column) {
  Access access = {.buffer = tensor, .rank = 2};
  access.dim[0] = (AccessDim){.at = affine_constant(0), .divisor = 1};
  int64_t stride = 1;
  for (int j = frame->n_axes - 1; j >= 0; j--) {
    access.dim[0].row[j] = stride;
    stride *= frame->axis[j];
  }
  access.dim[1] = (AccessDim){.at = column, .col = 1, .divisor = 1};
  return access;
}

void frame_store(Frame *frame, const Access *access, Tile *tile) {
  Stmt *s = stmt_add(frame->kernel, frame->block, STMT_TILE_STORE);
  s->access = *access;
  s->tile_arg[0] = tile;
  const Facts *facts = frame->lower->facts;
  const Type *type = &access->buffer->type;
  s->stream = frame->stream && tile->cols % facts->vector == 0 &&
              access->dim[access->rank - 1].col == 1 &&
              type->dim[type->rank - 1] <= NARROW * tile->cols &&
              (int64_t)type_bytes(type) >= LARGE * facts->l2;
}

static void announce(Frame *frame, Value *value) {
  const Facts *facts = frame->lower->facts;
  ViewMap map = frame_resolve(frame, value);
  if (map.base->node || value->type.rank != frame->rank || stored_bytes(value) <= facts->l2 ||
      type_elements(&map.base->type) < type_elements(&value->type))
    return;
  Stmt *s = stmt_add(frame->kernel, frame->block, STMT_TILE_PREFETCH);
  s->access = frame_access(frame, value);
  s->tile =
      kernel_tile(frame->kernel, "soon", map.type.dtype, frame->n_axes, frame->axis, frame->cols);
}

void frame_announce(Frame *frame) {
  const Graph *body = frame->lower->body;
  if (frame->lower->facts->threads > 1)
    return;
  bool *done = ARENA_ARRAY(frame->lower->arena, bool, body->n_values);
  for (int n = 0; n < body->nodes.count; n++) {
    const Node *node = body->nodes.at[n];
    if (narrow_source(&node->out[0])) /* who reads it in f32 announces it */
      continue;
    for (int i = 0; node->op->cls == OP_EW && i < node->n_in; i++) {
      if (!done[node->in[i]->id])
        announce(frame, node->in[i]);
      done[node->in[i]->id] = true;
    }
  }
}

void frame_stream_large(Frame *frame) { frame->stream = frame->lower->facts->threads == 1; }

Tile *frame_map(Frame *frame, Kop kop, Tile *a, Tile *b, Tile *c) {
  const Tile *args[] = {a, b, c}, *tall = a;
  int cols = 1;
  for (int i = 0; i < 3 && args[i]; i++) {
    tall = args[i]->n_axes > tall->n_axes ? args[i] : tall;
    cols = args[i]->cols > cols ? args[i]->cols : cols;
  }
  Tile *result = kernel_tile(frame->kernel, "t", DT_f32, tall->n_axes, tall->axis, cols);
  return stmt_map(frame->kernel, frame->block, result, kop, a, b, c)->tile;
}

Stmt *frame_load_box(Frame *frame, const Access *access, const char *name, int n_axes,
                     const int *axis, int cols) {
  Stmt *s = stmt_add(frame->kernel, frame->block, STMT_TILE_LOAD);
  s->access = *access;
  s->tile = kernel_tile(frame->kernel, name, access->buffer->type.dtype, n_axes, axis, cols);
  return s;
}

void frame_dot(Frame *frame, Tile *sum, Tile *a, Tile *b) {
  Stmt *s = stmt_add(frame->kernel, frame->block, STMT_TILE_DOT);
  s->tile = sum;
  s->tile_arg[0] = a;
  s->tile_arg[1] = b;
}

Tile *frame_coordinate(Frame *frame, const Place *place, int64_t offset) {
  bool rows = false;
  for (int j = 0; j < frame->n_axes; j++)
    rows |= place->row[j] != 0;
  Stmt *s = stmt_add(frame->kernel, frame->block, STMT_TILE_INDEX);
  s->at = affine_offset(place->at, offset);
  memcpy(s->row_factor, place->row, sizeof place->row);
  return s->tile = frame_tile(frame, DT_f32, rows, false);
}

IndexVar *frame_loop(Frame *frame, const char *name, int64_t low, int64_t high, int64_t step,
                     Stmt **loop) {
  int64_t final = high > low ? low + (high - low - 1) / step * step : low;
  IndexVar *var = kernel_var(frame->kernel, name, low, final);
  *loop = stmt_for(frame->kernel, frame->block, var, low, high, step);
  frame->block = &(*loop)->body;
  return var;
}

/* iota, read through views: the coordinate of its axis. */
static Tile *index_tile(Frame *frame, const ViewMap *map, const Type *type) {
  const Node *iota = map->base->node;
  int axis = (int)node_int(iota, "axis");
  AccessDim dim = {.at = affine_constant(map->offset[axis])};
  for (int d = 0; d < frame->rank; d++)
    if (map->factor[axis][d] && type->dim[d] != 1)
      place_add(&dim, &frame->place[frame->group[d]], map->factor[axis][d]);
  bool rows = false;
  for (int j = 0; j < frame->n_axes; j++)
    rows |= dim.row[j] != 0;
  Stmt *s = stmt_add(frame->kernel, frame->block, STMT_TILE_INDEX);
  s->at = dim.at;
  memcpy(s->row_factor, dim.row, sizeof dim.row);
  s->col_factor = dim.col;
  return s->tile = frame_tile(frame, map->base->type.dtype, rows, dim.col != 0);
}

static Tile *map_tile(Frame *frame, const Node *node) {
  Kop kop;
  CHECK(kop_find(node->op->name, &kop) && kop_info[kop].arity == node->n_in);
  Tile *args[MAX_KOP_ARGS] = {0};
  bool rows = false, cols = false;
  for (int i = 0; i < node->n_in; i++) {
    args[i] = frame_value(frame, node->in[i]);
    rows |= args[i]->n_axes > 0;
    cols |= args[i]->cols > 1;
  }
  Tile *result = frame_tile(frame, node->out[0].type.dtype, rows, cols);
  stmt_map(frame->kernel, frame->block, result, kop, args[0], args[1], args[2]);
  return result;
}

Tile *frame_fold(Frame *frame, Kop kop, Tile *operand, bool rows) {
  Stmt *s = stmt_add(frame->kernel, frame->block, STMT_TILE_FOLD);
  s->kop = kop;
  s->fold_rows = rows;
  s->tile_arg[0] = operand;
  return s->tile = kernel_tile(frame->kernel, "f", operand->dtype, rows ? 0 : operand->n_axes,
                               operand->axis, rows ? operand->cols : 1);
}

Partial frame_partial(Lower *lower, Value *value, Kop kop, const Type *type) {
  vec_push(lower->arena, &lower->out->temps, *type);
  return (Partial){value, kop, lower->out->temps.count - 1, -1};
}

static Tile *fold_tile(Frame *frame, const Node *node) {
  CHECK(node_folds_columns(node));
  Tile *operand = frame_value(frame, node->in[0]);
  if (operand->cols != frame->cols) /* folding a value that is the same in every column */
    operand = stmt_map(frame->kernel, frame->block,
                       frame_tile(frame, operand->dtype, operand->n_axes > 0, true), K_add, operand,
                       frame_fill(frame, 0, operand->dtype, false, true), NULL)
                  ->tile;
  if (!fold_is_variance(node))
    return frame_fold(frame, fold_kop(node), operand, false);
  Tile *share = frame_fill(frame, 1.0 / frame->cols, DT_f32, false, false);
  Tile *sum = frame_fold(frame, K_add, operand, false);
  bool rows = operand->n_axes > 0;
  Tile *mean = frame_tile(frame, DT_f32, rows, false),
       *result = frame_tile(frame, DT_f32, rows, false);
  Tile *apart = frame_tile(frame, DT_f32, rows, true),
       *square = frame_tile(frame, DT_f32, rows, true);
  stmt_map(frame->kernel, frame->block, mean, K_mul, sum, share, NULL);
  stmt_map(frame->kernel, frame->block, apart, K_sub, operand, mean, NULL);
  stmt_map(frame->kernel, frame->block, square, K_mul, apart, apart, NULL);
  sum = frame_fold(frame, K_add, square, false);
  stmt_map(frame->kernel, frame->block, result, K_mul, sum, share, NULL);
  return result;
}

Tile *frame_value(Frame *frame, Value *value) {
  if (frame->tile[value->id])
    return frame->tile[value->id];
  ViewMap map = frame_resolve(frame, value);
  Node *maker = map.base->node;
  Tile *tile;
  if (!maker) {
    Access access = access_by_map(frame, &map, &value->type, false);
    tile = frame_load(frame, &access, value->type.dtype, 0);
  } else if (maker->op->cls == OP_SOURCE) {
    tile = op_attr_index(maker->op, "axis") < 0
               ? frame_fill(frame, node_float(maker, "value"), value->type.dtype, false, false)
               : index_tile(frame, &map, &value->type);
  } else if (map.base != value) {
    tile = frame_value(frame, map.base); /* stretched: tiles broadcast by themselves */
  } else if (maker->op->cls == OP_REDUCE) {
    tile = fold_tile(frame, maker);
  } else {
    CHECK(maker->op->cls == OP_EW);
    tile = map_tile(frame, maker);
  }
  return frame->tile[value->id] = tile;
}

/* The same in a flat frame. */
static Access moved_line(Frame *frame, const ViewMap *map, Value *output) {
  const Type *base = &map->base->type;
  Type line = {output->type.dtype, 1, {type_elements(&output->type)}};
  Access access = {.rank = 1, .buffer = frame_buffer(frame, output, line, true)};
  access.dim[0] = (AccessDim){.at = affine_constant(0), .divisor = 1};
  Strides strides = moved_strides(map, &output->type, base);
  for (int g = 0; g < frame->n_groups; g++) {
    int last = -1;
    for (int b = 0; b < base->rank; b++)
      if (frame->group[b] == g && base->dim[b] != 1)
        last = b;
    if (last >= 0)
      place_add(&access.dim[0], &frame->place[g], strides.at[last]);
  }
  return access;
}

/* Access to an output that is stored in another order than the space's, or of which a part is: then
 * the store drops what lies outside. Dimensions of which one place is taken stand in front. */
static Access moved_access(Frame *frame, const ViewMap *map, Value *output) {
  const Type *base = &map->base->type;
  CHECK(base->rank == frame->rank);
  if (frame->flat)
    return moved_line(frame, map, output);
  int fixed = 0;
  for (int b = 0; b < base->rank; b++)
    fixed += base->dim[b] != 1 && moved_dim(map, b) < 0;
  Type type = {.dtype = output->type.dtype, .rank = fixed + output->type.rank};
  Access access = {.rank = type.rank};
  CHECK(type.rank <= MAX_RANK);
  for (int d = 0; d < type.rank; d++) {
    type.dim[d] = d < fixed ? 1 : output->type.dim[d - fixed];
    access.dim[d] = (AccessDim){.at = affine_constant(0), .divisor = 1};
  }
  access.buffer = frame_buffer(frame, output, type, true);
  for (int b = base->rank - 1, front = fixed; b >= 0; b--) {
    if (base->dim[b] == 1)
      continue;
    int d = moved_dim(map, b);
    AccessDim *dim = &access.dim[d < 0 ? --front : fixed + d];
    place_add(dim, &frame->place[b], 1);
    dim->at = affine_offset(dim->at, -map->offset[b]);
  }
  return access;
}

void frame_store_outputs(Frame *frame, bool (*wanted)(const Frame *, const Value *)) {
  const Graph *body = frame->lower->body;
  for (int i = 0; i < body->outputs.count; i++) {
    Value *value = body->outputs.at[i].value;
    bool again = false;
    for (int j = 0; j < i; j++)
      again |= body->outputs.at[j].value == value;
    if (again || (wanted && !wanted(frame, value)))
      continue;
    ViewMap map;
    bool moved = frame_stores_moved(frame, value, &map);
    Tile *tile = frame_value(frame, moved ? map.base : value);
    if (!moved)
      map = identity_map(value);
    Access access =
        moved ? moved_access(frame, &map, value) : access_by_map(frame, &map, &value->type, true);
    bool rows = false, cols = false;
    for (int b = 0; b < access.rank; b++) {
      cols |= access.dim[b].col != 0;
      for (int j = 0; j < frame->n_axes; j++)
        rows |= access.dim[b].row[j] != 0;
    }
    if ((rows && !tile->n_axes) || (cols && tile->cols == 1 && frame->cols > 1)) {
      Tile *whole = frame_tile(frame, tile->dtype, rows, cols);
      Tile *zero = frame_fill(frame, 0, tile->dtype, rows, cols);
      if (tile->dtype == DT_bf16) /* is not computed with */
        stmt_map(frame->kernel, frame->block, whole, K_select,
                 frame_fill(frame, 1, DT_f32, false, false), tile, zero);
      else
        stmt_map(frame->kernel, frame->block, whole, K_add, tile, zero, NULL);
      tile = whole;
    }
    frame_store(frame, &access, tile);
  }
}
