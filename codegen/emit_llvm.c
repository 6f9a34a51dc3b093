/* A LOOP-stage kernel as one LLVM function, void NAME(ptr arguments, i64 begin, i64 end).
 *
 * Input: a kernel that kernel_check accepts, with one thread a block. Output: a function whose
 * vectors are already what the machine has; LLVM's passes are left the scalar cleaning up,
 * promotion of local arrays to registers, and hoisting.
 *
 *   entry:  argument pointers, local arrays, the first block's grid coordinates
 *   block:  one block of the grid; its coordinates advance like an odometer, without divisions
 *
 * Loops with unroll -1 and constant bounds are written out here, with the variable a known number
 * in every affine expression, guard and lookup. Others become rotated loops with metadata.
 */
#include "codegen/llvm_walk.h"
#include <llvm-c/DebugInfo.h>
#include <string.h>

static void walk_statements(Walk *walk, const Block *block);

/* ---- small makers ---- */

LLVMValueRef walk_i64(const Walk *walk, int64_t number) {
  return LLVMConstInt(walk->i64, (unsigned long long)number, true);
}

LLVMBasicBlockRef walk_block(Walk *walk, const char *name) {
  return LLVMAppendBasicBlockInContext(walk->context, walk->function, name);
}

LLVMValueRef walk_intrinsic(Walk *walk, const char *name, LLVMTypeRef type, LLVMValueRef *arguments,
                            int count) {
  unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
  if (!id)
    FAULT("LLVM has no %s", name);
  LLVMTypeRef overload[] = {type};
  LLVMValueRef callee = LLVMGetIntrinsicDeclaration(walk->module, id, overload, type ? 1 : 0);
  LLVMTypeRef signature = LLVMIntrinsicGetType(walk->context, id, overload, type ? 1 : 0);
  return LLVMBuildCall2(walk->builder, signature, callee, arguments, (unsigned)count, "");
}

/* ---- index arithmetic ---- */

static void define_known(Walk *walk, const IndexVar *var, int64_t number) {
  walk->index[var->id] = (Index){INDEX_KNOWN, number, NULL, walk->order++};
}

static void define_value(Walk *walk, const IndexVar *var, LLVMValueRef value) {
  walk->index[var->id] = (Index){INDEX_VALUE, 0, value, walk->order++};
}

static void undefine(Walk *walk, const IndexVar *var) {
  walk->index[var->id] = (Index){INDEX_ABSENT, 0, NULL, 0};
}

Sum walk_sum(Walk *walk, const Affine *affine) {
  Sum sum = {NULL, affine->constant, 0, 0};
  int order[MAX_TERMS], count = 0;
  int64_t low = 0, high = 0;
  for (int i = 0; i < affine->count; i++) {
    const IndexVar *var = affine->term[i].var;
    int64_t factor = affine->term[i].factor;
    const Index *index = &walk->index[var->id];
    if (index->state == INDEX_ABSENT)
      FAULT("%s: %%%s is used where it has no value", walk->kernel->name, var->name);
    if (index->state == INDEX_KNOWN) {
      sum.constant += factor * index->number;
      continue;
    }
    low += factor * (factor > 0 ? var->low : var->high);
    high += factor * (factor > 0 ? var->high : var->low);
    int at = count++;
    for (; at && walk->index[affine->term[order[at - 1]].var->id].order > index->order; at--)
      order[at] = order[at - 1];
    order[at] = i;
  }
  for (int i = 0; i < count; i++) {
    LLVMValueRef term = walk->index[affine->term[order[i]].var->id].value;
    int64_t factor = affine->term[order[i]].factor;
    if (factor != 1)
      term = LLVMBuildNSWMul(walk->builder, term, walk_i64(walk, factor), "");
    sum.dynamic = sum.dynamic ? LLVMBuildNSWAdd(walk->builder, sum.dynamic, term, "") : term;
  }
  sum.low = sum.constant + low;
  sum.high = sum.constant + high;
  return sum;
}

LLVMValueRef walk_sum_value(Walk *walk, Sum sum) {
  if (!sum.dynamic)
    return walk_i64(walk, sum.constant);
  if (!sum.constant)
    return sum.dynamic;
  return LLVMBuildNSWAdd(walk->builder, sum.dynamic, walk_i64(walk, sum.constant), "");
}

static Condition guard_condition(Walk *walk, const Guard *guard) {
  Sum sum = walk_sum(walk, &guard->value);
  if (!sum.dynamic)
    return (Condition){.known = true,
                       .holds = guard->modulus > 0
                                    ? sum.constant % guard->modulus == 0
                                    : sum.constant >= 0 && sum.constant < guard->extent};
  if (guard->modulus == 1 || (!guard->modulus && sum.low >= 0 && sum.high < guard->extent))
    return (Condition){true, true, NULL};
  if (!guard->modulus && (sum.high < 0 || sum.low >= guard->extent))
    return (Condition){true, false, NULL};
  LLVMValueRef value = walk_sum_value(walk, sum);
  if (guard->modulus > 0) {
    value = LLVMBuildSRem(walk->builder, value, walk_i64(walk, guard->modulus), "");
    value = LLVMBuildICmp(walk->builder, LLVMIntEQ, value, walk_i64(walk, 0), "");
  } else if (sum.low >= 0) {
    value = LLVMBuildICmp(walk->builder, LLVMIntSLT, value, walk_i64(walk, guard->extent), "");
  } else if (sum.high < guard->extent) {
    value = LLVMBuildICmp(walk->builder, LLVMIntSGE, value, walk_i64(walk, 0), "");
  } else {
    value = LLVMBuildICmp(walk->builder, LLVMIntULT, value, walk_i64(walk, guard->extent), "");
  }
  return (Condition){false, false, value};
}

Condition walk_guards(Walk *walk, const Guards *guards) {
  Condition all = {true, true, NULL};
  for (int i = 0; i < guards->count; i++) {
    Condition one = guard_condition(walk, &guards->at[i]);
    if (one.known && !one.holds)
      return one;
    if (one.known)
      continue;
    all.value = all.known ? one.value : LLVMBuildAnd(walk->builder, all.value, one.value, "");
    all.known = false;
  }
  return all;
}

/* ---- loops ---- */

/* The loop's identity is a node that refers to itself. Unrolling is decided by schedules, so LLVM
 * is told either how often or not at all. */
static void mark_loop(Walk *walk, LLVMValueRef branch, int unroll) {
  LLVMContextRef context = walk->context;
  const char *word = unroll > 1 ? "llvm.loop.unroll.count" : "llvm.loop.unroll.disable";
  LLVMMetadataRef hint[2] = {LLVMMDStringInContext2(context, word, strlen(word)), NULL};
  if (unroll > 1)
    hint[1] = LLVMValueAsMetadata(LLVMConstInt(walk->i32, (unsigned)unroll, false));
  LLVMMetadataRef placeholder = LLVMTemporaryMDNode(context, NULL, 0);
  LLVMMetadataRef parts[2] = {placeholder, LLVMMDNodeInContext2(context, hint, unroll > 1 ? 2 : 1)};
  LLVMMetadataRef node = LLVMMDNodeInContext2(context, parts, 2);
  LLVMMetadataReplaceAllUsesWith(placeholder, node);
  LLVMSetMetadata(branch, LLVMGetMDKindIDInContext(context, "llvm.loop", 9),
                  LLVMMetadataAsValue(context, node));
}

static Sum smaller(Walk *walk, Sum a, Sum b) {
  if (a.high <= b.low)
    return a;
  if (b.high <= a.low)
    return b;
  LLVMValueRef both[] = {walk_sum_value(walk, a), walk_sum_value(walk, b)};
  return (Sum){walk_intrinsic(walk, "llvm.smin", walk->i64, both, 2), 0,
               a.low < b.low ? a.low : b.low, a.high < b.high ? a.high : b.high};
}

static void unroll_loop(Walk *walk, const Stmt *stmt, int64_t low, int64_t high) {
  for (int64_t at = low; at < high; at += stmt->step) {
    define_known(walk, stmt->var, at);
    walk_statements(walk, &stmt->body);
  }
  undefine(walk, stmt->var);
}

static void walk_for(Walk *walk, const Stmt *stmt) {
  CHECK(stmt->step > 0);
  Sum low = walk_sum(walk, &stmt->low), high = walk_sum(walk, &stmt->high);
  if (stmt->has_high2)
    high = smaller(walk, high, walk_sum(walk, &stmt->high2));
  if (low.low >= high.high)
    return;
  bool constant = !low.dynamic && !high.dynamic;
  if (constant && (stmt->unroll == -1 || low.constant + stmt->step >= high.constant)) {
    unroll_loop(walk, stmt, low.constant, high.constant);
    return;
  }
  LLVMBuilderRef builder = walk->builder;
  LLVMValueRef first = walk_sum_value(walk, low), bound = walk_sum_value(walk, high);
  LLVMBasicBlockRef body = walk_block(walk, stmt->var->name);
  LLVMBasicBlockRef after = walk_block(walk, "after");
  if (low.high < high.low)
    LLVMBuildBr(builder, body);
  else
    LLVMBuildCondBr(builder, LLVMBuildICmp(builder, LLVMIntSLT, first, bound, ""), body, after);
  LLVMBasicBlockRef before = LLVMGetInsertBlock(builder);
  LLVMPositionBuilderAtEnd(builder, body);
  LLVMValueRef at = LLVMBuildPhi(builder, walk->i64, stmt->var->name);
  define_value(walk, stmt->var, at);
  walk_statements(walk, &stmt->body);
  undefine(walk, stmt->var);
  LLVMValueRef next = LLVMBuildNSWAdd(builder, at, walk_i64(walk, stmt->step), "");
  LLVMValueRef again = LLVMBuildICmp(builder, LLVMIntSLT, next, bound, "");
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(builder);
  mark_loop(walk, LLVMBuildCondBr(builder, again, body, after), stmt->unroll);
  LLVMAddIncoming(at, (LLVMValueRef[]){first, next}, (LLVMBasicBlockRef[]){before, latch}, 2);
  LLVMMoveBasicBlockAfter(after, latch);
  LLVMPositionBuilderAtEnd(builder, after);
}

static void walk_if(Walk *walk, const Stmt *stmt) {
  Condition condition = walk_guards(walk, &stmt->guards);
  if (condition.known) {
    walk_statements(walk, condition.holds ? &stmt->body : &stmt->other);
    return;
  }
  LLVMBasicBlockRef then = walk_block(walk, "then"), other = NULL, after;
  if (stmt->other.count)
    other = walk_block(walk, "else");
  after = walk_block(walk, "after");
  LLVMBuildCondBr(walk->builder, condition.value, then, other ? other : after);
  LLVMPositionBuilderAtEnd(walk->builder, then);
  walk_statements(walk, &stmt->body);
  LLVMBuildBr(walk->builder, after);
  if (other) {
    LLVMPositionBuilderAtEnd(walk->builder, other);
    walk_statements(walk, &stmt->other);
    LLVMBuildBr(walk->builder, after);
  }
  LLVMMoveBasicBlockAfter(after, LLVMGetInsertBlock(walk->builder));
  LLVMPositionBuilderAtEnd(walk->builder, after);
}

static void walk_lookup(Walk *walk, const Stmt *stmt) {
  Sum at = walk_sum(walk, &stmt->at);
  if (!stmt->table) {
    define_value(walk, stmt->var, walk_number_in_memory(walk, stmt->buffer, at));
    return;
  }
  if (at.dynamic) {
    define_value(walk, stmt->var, walk_table(walk, stmt->table, walk_sum_value(walk, at)));
    return;
  }
  CHECK(at.constant >= 0 && at.constant < stmt->table->count);
  define_known(walk, stmt->var, stmt->table->values[at.constant]);
}

static void walk_index(Walk *walk, const Stmt *stmt) {
  Sum at = walk_sum(walk, &stmt->at);
  if (!at.dynamic) {
    int64_t number = at.constant / stmt->divisor;
    define_known(walk, stmt->var, stmt->modulus ? number % stmt->modulus : number);
    return;
  }
  LLVMValueRef value = walk_sum_value(walk, at);
  if (stmt->divisor > 1)
    value = LLVMBuildUDiv(walk->builder, value, walk_i64(walk, stmt->divisor), "");
  if (stmt->modulus && at.high / stmt->divisor >= stmt->modulus)
    value = LLVMBuildURem(walk->builder, value, walk_i64(walk, stmt->modulus), "");
  define_value(walk, stmt->var, value);
}

/* ---- statements ---- */

static void walk_let(Walk *walk, const Stmt *stmt) {
  LLVMValueRef arguments[MAX_KOP_ARGS] = {NULL};
  const KopInfo *info = &kop_info[stmt->kop];
  for (int i = 0; i < info->arity; i++) {
    arguments[i] = walk->value[stmt->value_arg[i]->id];
    CHECK(arguments[i]);
  }
  const KValue *operand = stmt->value_arg[info->kind == KOP_SELECT ? 1 : 0], *to = stmt->value;
  walk->value[to->id] = info->kind == KOP_SPLAT ? walk_splat(walk, arguments[0], to->width)
                                                : walk_kop(walk, stmt->kop, operand->dtype,
                                                           to->dtype, operand->width, arguments);
}

static void walk_index_value(Walk *walk, const Stmt *stmt) {
  const KValue *value = stmt->value;
  LLVMValueRef first = walk_sum_value(walk, walk_sum(walk, &stmt->at));
  LLVMValueRef result = walk_splat(walk, first, value->width);
  if (value->width > 1 && stmt->col_factor) {
    LLVMValueRef lanes =
        LLVMBuildMul(walk->builder, walk_lane_numbers(walk, walk->i64, value->width),
                     walk_number(walk, (double)stmt->col_factor, DT_i64, value->width), "");
    result = LLVMBuildAdd(walk->builder, result, lanes, "");
  }
  walk->value[value->id] = walk_cast(walk, result, DT_i64, value->dtype, value->width);
}

static void set_debug_place(Walk *walk, Loc loc) {
  if (!walk->subprogram || loc.source != walk->kernel->loc.source || loc.line == 0 ||
      (loc.line == walk->line && loc.column == walk->column))
    return;
  walk->line = loc.line;
  walk->column = loc.column;
  LLVMMetadataRef place = LLVMDIBuilderCreateDebugLocation(
      walk->context, (unsigned)loc.line, (unsigned)loc.column, walk->subprogram, NULL);
  LLVMSetCurrentDebugLocation2(walk->builder, place);
}

static void walk_statement(Walk *walk, const Stmt *stmt) {
  switch (stmt->kind) {
  case STMT_FOR: walk_for(walk, stmt); return;
  case STMT_IF: walk_if(walk, stmt); return;
  case STMT_LOOKUP: walk_lookup(walk, stmt); return;
  case STMT_INDEX: walk_index(walk, stmt); return;
  case STMT_POINTER: walk_pointer(walk, stmt); return;
  case STMT_LOAD: walk_load(walk, stmt); return;
  case STMT_STORE: walk_store(walk, stmt); return;
  case STMT_LET: walk_let(walk, stmt); return;
  case STMT_CONST:
    walk->value[stmt->value->id] =
        walk_number(walk, stmt->number, stmt->value->dtype, stmt->value->width);
    return;
  case STMT_INDEX_VALUE: walk_index_value(walk, stmt); return;
  case STMT_PREFETCH: walk_prefetch(walk, stmt); return;
  case STMT_BARRIER: return; /* one thread waits for nobody */
  default: FAULT("%s: a TILE statement in a LOOP kernel", walk->kernel->name);
  }
}

static void walk_statements(Walk *walk, const Block *block) {
  for (int i = 0; i < block->count; i++) {
    set_debug_place(walk, block->at[i]->loc);
    walk_statement(walk, block->at[i]);
  }
}

/* ---- the function ---- */

static void add_attribute(Walk *walk, const char *name, const char *value) {
  LLVMAddAttributeAtIndex(walk->function, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                          LLVMCreateStringAttribute(walk->context, name, (unsigned)strlen(name),
                                                    value, (unsigned)strlen(value)));
}

static void add_flag(Walk *walk, LLVMAttributeIndex at, const char *name) {
  unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
  LLVMAddAttributeAtIndex(walk->function, at, LLVMCreateEnumAttribute(walk->context, kind, 0));
}

static void add_attributes(Walk *walk, const CpuLevel *level) {
  char bits[16];
  snprintf(bits, sizeof bits, "%d", 32 * level->facts.vector);
  add_attribute(walk, "target-cpu", level->cpu);
  if (*level->features)
    add_attribute(walk, "target-features", level->features);
  add_attribute(walk, "prefer-vector-width", bits);
  add_attribute(walk, "min-legal-vector-width", bits);
  add_flag(walk, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, "nounwind");
  add_flag(walk, 1, "noalias");
  add_flag(walk, 1, "readonly");
}

/* Grid coordinates as phis; *next the same of the following block. Axes of extent 1 need none. */
typedef struct Odometer {
  LLVMValueRef first[MAX_GRID], phi[MAX_GRID];
} Odometer;

static void decode_first(Walk *walk, LLVMValueRef begin, Odometer *odometer) {
  LLVMValueRef rest = begin;
  int64_t outer = kernel_blocks(walk->kernel);
  for (int i = walk->kernel->n_grid; i-- > 0;) {
    int64_t extent = walk->kernel->grid[i].extent;
    odometer->first[i] = NULL;
    if (extent == 1)
      continue;
    outer /= extent;
    if (outer == 1) {
      odometer->first[i] = rest;
      continue;
    }
    odometer->first[i] = LLVMBuildURem(walk->builder, rest, walk_i64(walk, extent), "");
    rest = LLVMBuildUDiv(walk->builder, rest, walk_i64(walk, extent), "");
  }
}

static void advance(Walk *walk, Odometer *odometer, LLVMBasicBlockRef latch) {
  LLVMBuilderRef builder = walk->builder;
  LLVMValueRef carry = walk_i64(walk, 1);
  for (int i = walk->kernel->n_grid; i-- > 0;) {
    if (!odometer->phi[i])
      continue;
    LLVMValueRef extent = walk_i64(walk, walk->kernel->grid[i].extent);
    LLVMValueRef next = LLVMBuildNSWAdd(builder, odometer->phi[i], carry, "");
    LLVMValueRef full = LLVMBuildICmp(builder, LLVMIntEQ, next, extent, "");
    next = LLVMBuildSelect(builder, full, walk_i64(walk, 0), next, "");
    carry = LLVMBuildZExt(builder, full, walk->i64, "");
    LLVMAddIncoming(odometer->phi[i], &next, &latch, 1);
  }
}

static void walk_grid(Walk *walk, LLVMBasicBlockRef entry) {
  LLVMBuilderRef builder = walk->builder;
  LLVMValueRef begin = LLVMGetParam(walk->function, 1), end = LLVMGetParam(walk->function, 2);
  Odometer odometer = {{NULL}, {NULL}};
  decode_first(walk, begin, &odometer);
  LLVMBasicBlockRef block = walk_block(walk, "block"), done = walk_block(walk, "done");
  LLVMBuildCondBr(builder, LLVMBuildICmp(builder, LLVMIntSLT, begin, end, ""), block, done);
  LLVMPositionBuilderAtEnd(builder, block);
  LLVMValueRef number = LLVMBuildPhi(builder, walk->i64, "number");
  LLVMAddIncoming(number, &begin, &entry, 1);
  for (int i = 0; i < walk->kernel->n_grid; i++) {
    const IndexVar *var = walk->kernel->grid[i].var;
    if (!odometer.first[i]) {
      define_known(walk, var, 0);
      continue;
    }
    odometer.phi[i] = LLVMBuildPhi(builder, walk->i64, var->name);
    LLVMAddIncoming(odometer.phi[i], &odometer.first[i], &entry, 1);
    define_value(walk, var, odometer.phi[i]);
  }
  if (walk->kernel->thread)
    define_known(walk, walk->kernel->thread, 0);
  walk_statements(walk, &walk->kernel->body);
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(builder);
  advance(walk, &odometer, latch);
  LLVMValueRef next = LLVMBuildNSWAdd(builder, number, walk_i64(walk, 1), "");
  LLVMValueRef more = LLVMBuildICmp(builder, LLVMIntSLT, next, end, "");
  mark_loop(walk, LLVMBuildCondBr(builder, more, block, done), 0);
  LLVMAddIncoming(number, &next, &latch, 1);
  LLVMMoveBasicBlockAfter(done, latch);
  LLVMPositionBuilderAtEnd(builder, done);
  if (walk->streams) /* such stores are not ordered by the release that ends a task */
    LLVMBuildFence(builder, LLVMAtomicOrderingSequentiallyConsistent, false, "");
  LLVMBuildRetVoid(builder);
}

void llvm_walk_kernel(LLVMModuleRef module, const Kernel *kernel, const char *suffix,
                      const CpuLevel *level, LLVMMetadataRef subprogram) {
  CHECK(kernel->stage == STAGE_LOOP && kernel->threads <= 1);
  Arena *arena = arena_new();
  LLVMContextRef context = LLVMGetModuleContext(module);
  Walk walk = {.kernel = kernel,
               .context = context,
               .module = module,
               .builder = LLVMCreateBuilderInContext(context),
               .i1 = LLVMInt1TypeInContext(context),
               .i32 = LLVMInt32TypeInContext(context),
               .i64 = LLVMInt64TypeInContext(context),
               .f32 = LLVMFloatTypeInContext(context),
               .pointer = LLVMPointerTypeInContext(context, 0),
               .index = ARENA_ARRAY(arena, Index, kernel->vars.count),
               .value = ARENA_ARRAY(arena, LLVMValueRef, kernel->values.count),
               .place = ARENA_ARRAY(arena, Place, kernel->buffers.count),
               .subprogram = subprogram};
  LLVMTypeRef parameters[] = {walk.pointer, walk.i64, walk.i64};
  LLVMTypeRef signature = LLVMFunctionType(LLVMVoidTypeInContext(context), parameters, 3, false);
  walk.function =
      LLVMAddFunction(module, arena_printf(arena, "%s%s", kernel->name, suffix), signature);
  add_attributes(&walk, level);
  LLVMBasicBlockRef entry = walk_block(&walk, "entry");
  LLVMPositionBuilderAtEnd(walk.builder, entry);
  if (subprogram) {
    LLVMSetSubprogram(walk.function, subprogram);
    set_debug_place(&walk, kernel->loc);
  }
  walk_locals(&walk);
  walk_grid(&walk, entry);
  LLVMDisposeBuilder(walk.builder);
  arena_free(arena);
}
