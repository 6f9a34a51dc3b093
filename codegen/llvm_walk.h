/* What the files of the LLVM back end share. llvm-c headers are included here and by those files
 * alone.
 *
 *   emit_llvm.c    kernel to function: grid, loops, guards, index arithmetic
 *   llvm_memory.c  loads, stores, pointers, prefetches
 *   llvm_ops.c     scalar and vector ops
 *   llvm_target.c  levels, target machines, passes, objects and text
 *   llvm_jit.c     code for this process
 *
 * A Walk is the state of writing one function. It owns nothing: its tables live in an arena that
 * the walk's caller frees, LLVM's values belong to the module.
 */
#ifndef TRICOT_CODEGEN_LLVM_WALK_H
#define TRICOT_CODEGEN_LLVM_WALK_H
#include "codegen/emit.h"
#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>
#include <llvm/Config/llvm-config.h>

/* An index variable at this point of the walk: absent, a known number (in unrolled loops), or an
 * i64 value. `order` counts definitions: outer variables have smaller ones. */
typedef struct Index {
  enum { INDEX_ABSENT, INDEX_KNOWN, INDEX_VALUE } state;
  int64_t number;
  LLVMValueRef value;
  int order;
} Index;

/* Where a buffer is now: its first element, and what its accesses may be said not to alias. */
typedef struct Place {
  LLVMValueRef pointer;         /* NULL: a pointer buffer not set yet */
  LLVMValueRef scope, no_alias; /* metadata as values; NULL for local buffers */
} Place;

typedef struct Walk {
  const Kernel *kernel;
  LLVMContextRef context;
  LLVMModuleRef module;
  LLVMBuilderRef builder;
  LLVMValueRef function;
  LLVMTypeRef i1, i32, i64, f32, pointer;
  Index *index;               /* by IndexVar.id */
  LLVMValueRef *value;        /* by KValue.id */
  Place *place;               /* by Buffer.id */
  int order;                  /* definitions of variables so far */
  bool streams;               /* some store went past the caches */
  LLVMMetadataRef subprogram; /* NULL: no debug information */
  int line, column;           /* of the debug location in force */
} Walk;

/* An affine expression with the known variables folded in: dynamic + constant, in [low, high]. The
 * dynamic sum adds outer variables first, so that its invariant prefixes are the same expression
 * everywhere and leave the inner loops; the constant goes last, into the addressing mode. */
typedef struct Sum {
  LLVMValueRef dynamic; /* NULL: only the constant */
  int64_t constant, low, high;
} Sum;

/* Some guards together: known, or an i1. */
typedef struct Condition {
  bool known, holds;
  LLVMValueRef value;
} Condition;

/* emit_llvm.c */
void llvm_walk_kernel(LLVMModuleRef module, const Kernel *kernel, const char *suffix,
                      const CpuLevel *level, LLVMMetadataRef subprogram);
Sum walk_sum(Walk *walk, const Affine *affine);
LLVMValueRef walk_sum_value(Walk *walk, Sum sum); /* i64 */
Condition walk_guards(Walk *walk, const Guards *guards);
LLVMBasicBlockRef walk_block(Walk *walk, const char *name); /* appended to the function */
LLVMValueRef walk_i64(const Walk *walk, int64_t number);
/* Calls an intrinsic overloaded on `type` (NULL: not overloaded). */
LLVMValueRef walk_intrinsic(Walk *walk, const char *name, LLVMTypeRef type, LLVMValueRef *arguments,
                            int count);

/* llvm_memory.c */
void walk_locals(Walk *walk); /* argument pointers and local arrays, once */
void walk_load(Walk *walk, const Stmt *stmt);
void walk_store(Walk *walk, const Stmt *stmt);
void walk_pointer(Walk *walk, const Stmt *stmt);
void walk_prefetch(Walk *walk, const Stmt *stmt);
/* A constant array of a lookup, and its element as an i64. */
LLVMValueRef walk_table(Walk *walk, const Table *table, LLVMValueRef at);
/* Element `at` of an i32 argument, as an i64. */
LLVMValueRef walk_number_in_memory(Walk *walk, const Buffer *buffer, Sum at);

/* llvm_ops.c */
/* bf16 is carried as its bits in an i16: no instruction on it is to be left to LLVM. */
LLVMTypeRef walk_type(const Walk *walk, Dtype dtype, int width);
LLVMValueRef walk_number(const Walk *walk, double number, Dtype dtype, int width);
LLVMValueRef walk_splat(Walk *walk, LLVMValueRef scalar, int width);
LLVMValueRef walk_lane_numbers(const Walk *walk, LLVMTypeRef type, int width); /* 0 1 2 … */
LLVMValueRef walk_cast(Walk *walk, LLVMValueRef value, Dtype from, Dtype to, int width);
LLVMValueRef walk_kop(Walk *walk, Kop kop, Dtype operand, Dtype result, int width,
                      const LLVMValueRef *arguments); /* width: of the operand */

/* llvm_target.c */
LLVMTargetMachineRef llvm_machine(const CpuLevel *level, Error *error);
/* LLVM would rename the second of two functions with one name; they are an error instead. */
bool llvm_names_differ(Kernel *const *kernels, int count, Error *error);
/* A verified, optimised module of all the kernels. FAULTs when what was written is not valid IR. */
LLVMModuleRef llvm_module(LLVMContextRef context, LLVMTargetMachineRef machine,
                          Kernel *const *kernels, int count, const CpuLevel *level,
                          const char *suffix, bool debug);
#endif
