/* Statements of a nest at one place. See distribute_walk.h. */
#include "passes/kernel/distribute_walk.h"
#include <string.h>

Stmt *vector_load(Spread *s, Block *block, Buffer *buffer, Affine at, Dtype dtype, int width) {
  Stmt *stmt = stmt_add(s->to, block, STMT_LOAD);
  stmt->buffer = buffer;
  stmt->at = at;
  stmt->value = kernel_value(s->to, dtype, width);
  return stmt;
}

Stmt *vector_store(Spread *s, Block *block, Buffer *buffer, Affine at, KValue *value) {
  Stmt *stmt = stmt_add(s->to, block, STMT_STORE);
  stmt->buffer = buffer;
  stmt->at = at;
  stmt->value_arg[0] = value;
  return stmt;
}

KValue *walk_widened(Walk *w, KValue *value) {
  return value->width == w->width ? value
                                  : stmt_let(w->spread->to, w->block, K_splat, value->dtype,
                                             w->width, value, NULL, NULL);
}

KValue *walk_value(Walk *w, const Tile *tile) {
  if (w->value[tile->id])
    return w->value[tile->id];
  KValue *value = w->hooks->value ? w->hooks->value(w, tile) : NULL;
  if (!value) {
    Buffer *buffer;
    Affine at = w->hooks->cell(w, tile, &buffer);
    int width = tile->cols == 1 ? 1 : w->width;
    value = vector_load(w->spread, w->block, buffer, at, tile->dtype, width)->value;
  }
  return w->value[tile->id] = walk_widened(w, value);
}

static void limit_lanes(Walk *w, Stmt *access, const Address *address) {
  if (w->tail) {
    access->has_lanes = true;
    access->lanes = affine_constant(w->tail);
  } else if (address->col_limited && w->checked && w->width > 1 &&
             affine_low(&address->limit) < w->width) {
    access->has_lanes = true;
    access->lanes = address->limit;
  }
}

static Stmt *access_stmt(Walk *w, const Stmt *from, KValue *stored) {
  Spread *s = w->spread;
  const Access *access = &from->access;
  Address address = address_of(s, w->block, access, &w->position, w->width > 1);
  KValue *dynamic = NULL;
  if (access->gather) {
    Buffer *numbers;
    Affine row = w->hooks->cell(w, access->gather, &numbers);
    dynamic = vector_load(s, w->block, numbers, row, access->gather->dtype, 1)->value;
  }
  bool spread_out = !stored && w->width > 1 && access_col_stride(s, access) == 0;
  Buffer *buffer = spread_buffer(s, access->buffer);
  Stmt *stmt = stored ? vector_store(s, w->block, buffer, address.flat, stored)
                      : vector_load(s, w->block, buffer, address.flat, from->tile->dtype,
                                    spread_out ? 1 : w->width);
  if (w->checked)
    stmt->guards = address.guards;
  stmt->stream = from->stream;
  stmt->number = from->number;
  stmt->dynamic = dynamic;
  stmt->dynamic_factor = address.dynamic;
  if (!spread_out)
    limit_lanes(w, stmt, &address);
  return stmt;
}

static void store_tile(Walk *w, const Stmt *from) {
  KValue *value = walk_value(w, from->tile_arg[0]);
  if (from->accumulate) {
    Stmt read = *from;
    Tile tile = {.dtype = from->tile_arg[0]->dtype};
    read.tile = &tile;
    KValue *old = access_stmt(w, &read, NULL)->value;
    value = stmt_let(w->spread->to, w->block, K_add, value->dtype, w->width, old, value, NULL);
  }
  access_stmt(w, from, value);
}

static KValue *index_value(Walk *w, const Stmt *from) {
  Affine at = from->at;
  for (int j = 0; j < MAX_ROW_AXES; j++)
    if (from->row_factor[j])
      at = affine_add(at, affine_scale(w->position.row[j], from->row_factor[j]));
  Stmt *s = stmt_add(w->spread->to, w->block, STMT_INDEX_VALUE);
  s->at = affine_add(at, affine_scale(w->position.col, from->col_factor));
  s->col_factor = from->col_factor;
  s->value = kernel_value(w->spread->to, from->tile->dtype, w->width);
  return s->value;
}

KValue *walk_source(Walk *w, const Stmt *from) {
  switch (from->kind) {
  case STMT_TILE_FILL:
    return stmt_const(w->spread->to, w->block, from->number, from->tile->dtype, w->width);
  case STMT_TILE_INDEX: return index_value(w, from);
  case STMT_TILE_LOAD: return walk_widened(w, access_stmt(w, from, NULL)->value);
  default: FAULT("not a source");
  }
}

static void statement(Walk *w, int index) {
  const Stmt *from = w->nest->stmt[index];
  KValue *args[MAX_KOP_ARGS] = {0};
  switch (from->kind) {
  case STMT_TILE_MAP:
    for (int i = 0; i < kop_info[from->kop].arity; i++)
      args[i] = walk_value(w, from->tile_arg[i]);
    w->value[from->tile->id] = stmt_let(w->spread->to, w->block, from->kop, from->tile->dtype,
                                        w->width, args[0], args[1], args[2]);
    return;
  case STMT_TILE_STORE: store_tile(w, from); return;
  case STMT_TILE_FOLD: w->hooks->fold(w, index); return;
  default: w->value[from->tile->id] = walk_source(w, from);
  }
}

void walk_body(Walk *w, Block *block) {
  Spread *s = w->spread;
  w->block = block;
  memset(w->value, 0, sizeof(KValue *) * (size_t)s->n_ids);
  for (int i = 0; i < w->nest->count; i++)
    statement(w, i);
  for (int i = 0; i < w->nest->count; i++) {
    const Stmt *from = w->nest->stmt[i];
    const Tile *tile = from->tile;
    bool last = tile && from->kind != STMT_TILE_FOLD;
    for (int j = i + 1; last && j < w->nest->count; j++)
      last = w->nest->stmt[j]->tile != tile;
    if (last && !nest_private(s, w->nest, tile))
      w->hooks->keep(w, tile, w->value[tile->id]);
  }
}

bool walk_needs_scalars(const Spread *spread, const Stmt *s, const Tile *domain, int vector) {
  if (s->kind != STMT_TILE_LOAD && s->kind != STMT_TILE_STORE)
    return false;
  int64_t stride = access_col_stride(spread, &s->access);
  if (stride != 1 && !(stride == 0 && s->kind == STMT_TILE_LOAD))
    return true;
  if (s->inside)
    return false;
  int column_dims = 0;
  for (int d = 0; d < s->access.rank; d++) {
    const AccessDim *dim = &s->access.dim[d];
    if (dim->col == 0)
      continue;
    Affine lowest = dim->at;
    int64_t low = affine_low(&lowest);
    for (int j = 0; j < domain->n_axes; j++)
      low += dim->row[j] < 0 ? dim->row[j] * (domain->axis[j] - 1) : 0;
    if (dim->divisor > 1 || low < 0 || ++column_dims > 1 || dim->col != 1)
      return true;
  }
  /* a fill other than zero cannot come from lanes that are switched off */
  Affine high = affine_constant(0);
  for (int d = 0; d < s->access.rank; d++)
    if (s->access.dim[d].col)
      high = affine_offset(s->access.dim[d].at, domain->cols - s->access.buffer->type.dim[d]);
  bool may_run_over = affine_high(&high) > 0;
  if (may_run_over && s->kind == STMT_TILE_LOAD && s->number != 0)
    return true;
  return may_run_over && domain->cols % vector; /* two limits on one vector's lanes */
}
