/* Memory in LLVM: arguments, local arrays, pointers, and every shape of load and store.
 *
 * Arguments of one kernel never overlap; each has its alias scope, so that LLVM may move loads of
 * one across stores into another. Local arrays are allocas; as long as every access to one is at a
 * constant place LLVM's SROA turns it into registers, so such accesses are kept plain: no masks, no
 * selected addresses. A load that guards may forbid reads a place that is safe instead and then
 * chooses the value, without a branch.
 */
#include "codegen/llvm_walk.h"
#include <llvm-c/DebugInfo.h>
#include <stdlib.h>
#include <string.h>

enum { LOCAL_ALIGNMENT = 64 };

/* One access: where, how aligned, and whether all its lanes are known to lie in the buffer. */
typedef struct Address {
  const Place *place;
  LLVMValueRef pointer;
  unsigned alignment;
  bool inside;
} Address;

/* ---- buffers ---- */

static LLVMMetadataRef metadata_text(Walk *walk, const char *text) {
  return LLVMMDStringInContext2(walk->context, text, strlen(text));
}

static LLVMMetadataRef node(Walk *walk, LLVMMetadataRef *parts, int count) {
  return LLVMMDNodeInContext2(walk->context, parts, (size_t)count);
}

/* A domain for the function, a scope for each argument, and for each the list of the others. */
static void make_scopes(Walk *walk) {
  const Kernel *kernel = walk->kernel;
  size_t bytes = sizeof(LLVMMetadataRef) * (size_t)(kernel->n_arguments + 1);
  LLVMMetadataRef *scope = mem_alloc(bytes), *other = mem_alloc(bytes);
  size_t length;
  LLVMMetadataRef name = metadata_text(walk, LLVMGetValueName2(walk->function, &length));
  LLVMMetadataRef domain = node(walk, &name, 1);
  for (int i = 0; i < kernel->n_arguments; i++) {
    LLVMMetadataRef parts[] = {metadata_text(walk, kernel->buffers.at[i]->name), domain};
    scope[i] = node(walk, parts, 2);
    for (int j = 0; j < i; j++) /* arguments updated in place share one scope */
      if (kernel->buffers.at[i]->aliased && kernel->buffers.at[j]->aliased)
        scope[i] = scope[j];
  }
  for (int i = 0; i < kernel->n_arguments; i++) {
    int count = 0;
    for (int j = 0; j < kernel->n_arguments; j++)
      if (scope[j] != scope[i])
        other[count++] = scope[j];
    walk->place[i].scope = LLVMMetadataAsValue(walk->context, node(walk, &scope[i], 1));
    if (count)
      walk->place[i].no_alias = LLVMMetadataAsValue(walk->context, node(walk, other, count));
  }
  free(scope);
  free(other);
}

static void mark_alias(Walk *walk, LLVMValueRef access, const Place *place) {
  if (place->scope)
    LLVMSetMetadata(access, LLVMGetMDKindIDInContext(walk->context, "alias.scope", 11),
                    place->scope);
  if (place->no_alias)
    LLVMSetMetadata(access, LLVMGetMDKindIDInContext(walk->context, "noalias", 7), place->no_alias);
}

static LLVMValueRef load_argument(Walk *walk, int position, const char *name) {
  LLVMValueRef at = walk_i64(walk, position), parameter = LLVMGetParam(walk->function, 0);
  LLVMValueRef cell = LLVMBuildInBoundsGEP2(walk->builder, walk->pointer, parameter, &at, 1, "");
  LLVMValueRef pointer = LLVMBuildLoad2(walk->builder, walk->pointer, cell, name);
  LLVMValueRef empty = LLVMMetadataAsValue(walk->context, node(walk, NULL, 0));
  LLVMSetMetadata(pointer, LLVMGetMDKindIDInContext(walk->context, "invariant.load", 14), empty);
  LLVMSetMetadata(pointer, LLVMGetMDKindIDInContext(walk->context, "noundef", 7), empty);
  return pointer;
}

void walk_locals(Walk *walk) {
  const Kernel *kernel = walk->kernel;
  make_scopes(walk);
  for (int i = 0; i < kernel->buffers.count; i++) {
    const Buffer *buffer = kernel->buffers.at[i];
    CHECK(buffer->id == i);
    if (buffer->space == SPACE_GLOBAL) {
      walk->place[i].pointer = load_argument(walk, i, buffer->name);
    } else if (buffer->space != SPACE_POINTER) { /* one thread: shared is as local */
      LLVMTypeRef type = LLVMArrayType2(walk_type(walk, buffer->type.dtype, 1),
                                        (uint64_t)type_elements(&buffer->type));
      walk->place[i].pointer = LLVMBuildAlloca(walk->builder, type, buffer->name);
      LLVMSetAlignment(walk->place[i].pointer, LOCAL_ALIGNMENT);
    }
  }
}

static LLVMValueRef private_constant(Walk *walk, const char *name, LLVMValueRef contents) {
  LLVMValueRef global = LLVMGetNamedGlobal(walk->module, name);
  if (global)
    return global;
  global = LLVMAddGlobal(walk->module, LLVMTypeOf(contents), name);
  LLVMSetInitializer(global, contents);
  LLVMSetLinkage(global, LLVMPrivateLinkage);
  LLVMSetGlobalConstant(global, true);
  LLVMSetUnnamedAddress(global, LLVMGlobalUnnamedAddr);
  LLVMSetAlignment(global, LOCAL_ALIGNMENT);
  return global;
}

LLVMValueRef walk_table(Walk *walk, const Table *table, LLVMValueRef at) {
  Arena *arena = arena_new();
  LLVMValueRef *numbers = ARENA_ARRAY(arena, LLVMValueRef, table->count);
  for (int i = 0; i < table->count; i++)
    numbers[i] = walk_i64(walk, table->values[i]);
  LLVMValueRef contents = LLVMConstArray2(walk->i64, numbers, (uint64_t)table->count);
  size_t length;
  const char *function = LLVMGetValueName2(walk->function, &length);
  const char *name = arena_printf(arena, "%s.%s", function, table->name);
  LLVMValueRef global = private_constant(walk, name, contents);
  arena_free(arena);
  LLVMValueRef cell = LLVMBuildInBoundsGEP2(walk->builder, walk->i64, global, &at, 1, "");
  LLVMValueRef number = LLVMBuildLoad2(walk->builder, walk->i64, cell, "");
  LLVMSetAlignment(number, 8);
  return number;
}

/* ---- addresses ---- */

static LLVMValueRef offset(Walk *walk, LLVMValueRef pointer, Dtype dtype, Sum sum) {
  LLVMTypeRef type = walk_type(walk, dtype, 1);
  if (sum.dynamic)
    pointer = LLVMBuildGEP2(walk->builder, type, pointer, &sum.dynamic, 1, "");
  if (sum.constant) {
    LLVMValueRef constant = walk_i64(walk, sum.constant);
    pointer = LLVMBuildGEP2(walk->builder, type, pointer, &constant, 1, "");
  }
  return pointer;
}

/* The alignment of an access to memory aligned to 64: what divides 64 and every part of its place.
 */
static unsigned alignment_of(const Walk *walk, const Affine *at, int64_t constant, size_t size) {
  uint64_t parts = LOCAL_ALIGNMENT | (uint64_t)constant * size;
  for (int i = 0; i < at->count; i++)
    if (walk->index[at->term[i].var->id].state == INDEX_VALUE)
      parts |= (uint64_t)at->term[i].factor * size;
  return (unsigned)(parts & -parts);
}

static Address address_of(Walk *walk, const Stmt *stmt, int width) {
  const Buffer *buffer = stmt->buffer;
  size_t size = dtype_size(buffer->type.dtype);
  Address address = {.place = &walk->place[buffer->id], .alignment = (unsigned)size};
  if (!address.place->pointer)
    FAULT("%s: %%%s points nowhere yet", walk->kernel->name, buffer->name);
  Sum sum = walk_sum(walk, &stmt->at);
  address.inside =
      !stmt->dynamic && sum.low >= 0 && sum.high + width <= type_elements(&buffer->type);
  if (buffer->space == SPACE_LOCAL || buffer->space == SPACE_SHARED)
    address.alignment = alignment_of(walk, &stmt->at, sum.constant, size);
  if (stmt->dynamic) {
    const KValue *dynamic = stmt->dynamic;
    CHECK(dynamic->width == 1 && !dtype_is_float(dynamic->dtype));
    address.alignment = (unsigned)size;
    LLVMValueRef extra = walk_cast(walk, walk->value[dynamic->id], dynamic->dtype, DT_i64, 1);
    extra = LLVMBuildNSWMul(walk->builder, extra, walk_i64(walk, stmt->dynamic_factor), "");
    sum.dynamic = sum.dynamic ? LLVMBuildNSWAdd(walk->builder, sum.dynamic, extra, "") : extra;
  }
  address.pointer = offset(walk, address.place->pointer, buffer->type.dtype, sum);
  return address;
}

/* ---- lanes ---- */

/* Which lanes are touched: all, none, or a mask. */
typedef struct Lanes {
  enum { LANES_ALL, LANES_NONE, LANES_MASK } kind;
  LLVMValueRef mask; /* <width x i1> */
} Lanes;

static Lanes lanes_of(Walk *walk, const Stmt *stmt, int width) {
  if (!stmt->has_lanes)
    return (Lanes){LANES_ALL, NULL};
  Sum sum = walk_sum(walk, &stmt->lanes);
  if (sum.low >= width)
    return (Lanes){LANES_ALL, NULL};
  if (sum.high <= 0)
    return (Lanes){LANES_NONE, NULL};
  CHECK(width > 1);
  LLVMValueRef lanes = walk_sum_value(walk, sum);
  if (sum.low < INT32_MIN || sum.high > INT32_MAX) { /* so that 32 bits hold it */
    LLVMValueRef low[] = {lanes, walk_i64(walk, width)};
    LLVMValueRef high[] = {walk_intrinsic(walk, "llvm.smin", walk->i64, low, 2), walk_i64(walk, 0)};
    lanes = walk_intrinsic(walk, "llvm.smax", walk->i64, high, 2);
  }
  lanes = walk_splat(walk, LLVMBuildTrunc(walk->builder, lanes, walk->i32, ""), width);
  LLVMValueRef numbers = walk_lane_numbers(walk, walk->i32, width);
  return (Lanes){LANES_MASK, LLVMBuildICmp(walk->builder, LLVMIntSLT, numbers, lanes, "")};
}

static LLVMValueRef zeros(LLVMTypeRef type) { return LLVMConstNull(type); }

/* llvm.masked.load and .store are overloaded on two types; version 22 moved their alignment from an
 * operand to an attribute of the pointer. */
static LLVMValueRef call_masked(Walk *walk, const char *name, LLVMTypeRef type,
                                LLVMValueRef *arguments, int pointer_at, unsigned alignment) {
  unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
  CHECK(id);
  LLVMTypeRef overload[] = {type, walk->pointer};
  LLVMValueRef callee = LLVMGetIntrinsicDeclaration(walk->module, id, overload, 2);
  LLVMTypeRef signature = LLVMIntrinsicGetType(walk->context, id, overload, 2);
#if LLVM_VERSION_MAJOR >= 22
  LLVMValueRef call = LLVMBuildCall2(walk->builder, signature, callee, arguments, 3, "");
  unsigned kind = LLVMGetEnumAttributeKindForName("align", 5);
  LLVMAddCallSiteAttribute(call, (LLVMAttributeIndex)pointer_at + 1,
                           LLVMCreateEnumAttribute(walk->context, kind, alignment));
  return call;
#else
  LLVMValueRef with[4];
  for (int i = 0, next = 0; i < 3; i++) {
    with[next++] = arguments[i];
    if (i == pointer_at)
      with[next++] = LLVMConstInt(walk->i32, alignment, false);
  }
  return LLVMBuildCall2(walk->builder, signature, callee, with, 4, "");
#endif
}

static LLVMValueRef masked_load(Walk *walk, LLVMTypeRef type, Address address, LLVMValueRef mask) {
  LLVMValueRef arguments[] = {address.pointer, mask, zeros(type)};
  return call_masked(walk, "llvm.masked.load", type, arguments, 0, address.alignment);
}

static LLVMValueRef masked_store(Walk *walk, LLVMValueRef value, Address address,
                                 LLVMValueRef mask) {
  LLVMValueRef arguments[] = {value, address.pointer, mask};
  return call_masked(walk, "llvm.masked.store", LLVMTypeOf(value), arguments, 1, address.alignment);
}

static LLVMValueRef plain_load(Walk *walk, LLVMTypeRef type, Address address) {
  LLVMValueRef value = LLVMBuildLoad2(walk->builder, type, address.pointer, "");
  LLVMSetAlignment(value, address.alignment);
  mark_alias(walk, value, address.place);
  return value;
}

static LLVMValueRef plain_store(Walk *walk, LLVMValueRef value, Address address) {
  LLVMValueRef store = LLVMBuildStore(walk->builder, value, address.pointer);
  LLVMSetAlignment(store, address.alignment);
  mark_alias(walk, store, address.place);
  return store;
}

LLVMValueRef walk_number_in_memory(Walk *walk, const Buffer *buffer, Sum at) {
  const Place *place = &walk->place[buffer->id];
  Address address = {.pointer = offset(walk, place->pointer, buffer->type.dtype, at),
                     .place = place,
                     .alignment = sizeof(int32_t)};
  LLVMValueRef number = plain_load(walk, walk->i32, address);
  return LLVMBuildSExt(walk->builder, number, walk->i64, "");
}

static bool is_local(const Buffer *buffer) {
  return buffer->space == SPACE_LOCAL || buffer->space == SPACE_SHARED;
}

/* ---- loads ---- */

/* Where the guards fail, element 0 is read instead: it exists. A vector that is longer than the
 * buffer reads nothing at all. */
static LLVMValueRef guarded_load(Walk *walk, const Stmt *stmt, LLVMTypeRef type, Address address,
                                 Lanes lanes, LLVMValueRef condition) {
  int width = stmt->value->width;
  LLVMValueRef value, fill = walk_number(walk, stmt->number, stmt->value->dtype, width);
  bool short_buffer = type_elements(&stmt->buffer->type) < width;
  if (!address.inside)
    address.pointer =
        LLVMBuildSelect(walk->builder, condition, address.pointer, address.place->pointer, "");
  if (lanes.kind == LANES_MASK || (short_buffer && width > 1)) {
    LLVMValueRef mask = walk_splat(walk, condition, width);
    if (lanes.kind == LANES_MASK)
      mask = LLVMBuildAnd(walk->builder, mask, lanes.mask, "");
    value = masked_load(walk, type, address, mask);
    mark_alias(walk, value, address.place);
  } else {
    value = plain_load(walk, type, address);
  }
  return LLVMBuildSelect(walk->builder, condition, value, fill, "");
}

static LLVMValueRef free_load(Walk *walk, const Stmt *stmt, LLVMTypeRef type, Address address,
                              Lanes lanes) {
  if (lanes.kind == LANES_ALL)
    return plain_load(walk, type, address);
  if (is_local(stmt->buffer) && address.inside)
    return LLVMBuildSelect(walk->builder, lanes.mask, plain_load(walk, type, address), zeros(type),
                           "");
  LLVMValueRef value = masked_load(walk, type, address, lanes.mask);
  mark_alias(walk, value, address.place);
  return value;
}

void walk_load(Walk *walk, const Stmt *stmt) {
  const KValue *value = stmt->value;
  LLVMTypeRef type = walk_type(walk, value->dtype, value->width);
  CHECK(value->dtype == stmt->buffer->type.dtype);
  LLVMValueRef *result = &walk->value[value->id];
  Condition guards = walk_guards(walk, &stmt->guards);
  if (guards.known && !guards.holds) {
    *result = walk_number(walk, stmt->number, value->dtype, value->width);
    return;
  }
  Lanes lanes = lanes_of(walk, stmt, value->width);
  if (lanes.kind == LANES_NONE) {
    *result = zeros(type);
    if (!guards.known)
      *result = LLVMBuildSelect(walk->builder, guards.value, *result,
                                walk_number(walk, stmt->number, value->dtype, value->width), "");
    return;
  }
  Address address = address_of(walk, stmt, value->width);
  *result = guards.known ? free_load(walk, stmt, type, address, lanes)
                         : guarded_load(walk, stmt, type, address, lanes, guards.value);
}

/* ---- stores ---- */

/* Past the caches, where whole aligned vectors are stored. */
static void mark_stream(Walk *walk, const Stmt *stmt, LLVMValueRef store) {
  const KValue *value = stmt->value_arg[0];
  size_t size = dtype_size(value->dtype);
  Sum sum = walk_sum(walk, &stmt->at);
  if (alignment_of(walk, &stmt->at, sum.constant, size) % (size * (size_t)value->width))
    return;
  LLVMMetadataRef one = LLVMValueAsMetadata(LLVMConstInt(walk->i32, 1, false));
  LLVMSetAlignment(store, (unsigned)size * (unsigned)value->width);
  LLVMSetMetadata(store, LLVMGetMDKindIDInContext(walk->context, "nontemporal", 11),
                  LLVMMetadataAsValue(walk->context, node(walk, &one, 1)));
  walk->streams = true;
}

static void free_store(Walk *walk, const Stmt *stmt, Lanes lanes) {
  const KValue *argument = stmt->value_arg[0];
  LLVMValueRef value = walk->value[argument->id];
  Address address = address_of(walk, stmt, argument->width);
  if (lanes.kind == LANES_ALL) {
    LLVMValueRef store = plain_store(walk, value, address);
    if (stmt->stream && !stmt->dynamic)
      mark_stream(walk, stmt, store);
  } else if (is_local(stmt->buffer) && address.inside) {
    LLVMValueRef old = plain_load(walk, LLVMTypeOf(value), address);
    plain_store(walk, LLVMBuildSelect(walk->builder, lanes.mask, value, old, ""), address);
  } else {
    mark_alias(walk, masked_store(walk, value, address, lanes.mask), address.place);
  }
}

void walk_store(Walk *walk, const Stmt *stmt) {
  CHECK(stmt->value_arg[0]->dtype == stmt->buffer->type.dtype);
  CHECK(stmt->buffer->space != SPACE_POINTER && walk->value[stmt->value_arg[0]->id]);
  Condition guards = walk_guards(walk, &stmt->guards);
  Lanes lanes = lanes_of(walk, stmt, stmt->value_arg[0]->width);
  if ((guards.known && !guards.holds) || lanes.kind == LANES_NONE)
    return;
  if (guards.known) {
    free_store(walk, stmt, lanes);
    return;
  }
  LLVMBasicBlockRef then = walk_block(walk, "store"), after = walk_block(walk, "after");
  LLVMBuildCondBr(walk->builder, guards.value, then, after);
  LLVMPositionBuilderAtEnd(walk->builder, then);
  free_store(walk, stmt, lanes);
  LLVMBuildBr(walk->builder, after);
  LLVMPositionBuilderAtEnd(walk->builder, after);
}

/* ---- pointers and hints ---- */

/* Only read, but not constant: so it takes no room in files, and no memory before it is read. Rows
 * along the first axis of a volume are as long as the volume. */
static LLVMValueRef zero_run(Walk *walk, const Buffer *buffer) {
  char name[40];
  size_t bytes = type_bytes(&buffer->type);
  snprintf(name, sizeof name, "zeros.%zu", bytes);
  LLVMTypeRef type = LLVMArrayType2(LLVMInt8TypeInContext(walk->context), bytes);
  LLVMValueRef global = private_constant(walk, name, zeros(type));
  LLVMSetGlobalConstant(global, false);
  return global;
}

void walk_pointer(Walk *walk, const Stmt *stmt) {
  Place *place = &walk->place[stmt->buffer->id];
  const Place *base = &walk->place[stmt->base->id];
  CHECK(stmt->buffer->space == SPACE_POINTER && base->pointer);
  Condition guards = walk_guards(walk, &stmt->guards);
  *place = *base;
  if (guards.known && !guards.holds) {
    place->pointer = zero_run(walk, stmt->buffer);
    return;
  }
  Sum at = walk_sum(walk, &stmt->at);
  place->pointer = offset(walk, base->pointer, stmt->base->type.dtype, at);
  if (!guards.known)
    place->pointer = LLVMBuildSelect(walk->builder, guards.value, place->pointer,
                                     zero_run(walk, stmt->buffer), "");
}

void walk_prefetch(Walk *walk, const Stmt *stmt) {
  enum { READ = 0, KEEP = 3, DATA = 1 };
  LLVMValueRef arguments[] = {
      address_of(walk, stmt, 1).pointer, LLVMConstInt(walk->i32, READ, false),
      LLVMConstInt(walk->i32, KEEP, false), LLVMConstInt(walk->i32, DATA, false)};
  walk_intrinsic(walk, "llvm.prefetch", walk->pointer, arguments, 4);
}
