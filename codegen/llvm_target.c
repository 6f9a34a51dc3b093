/* What LLVM is told of a CPU, and what is made of a module: passes, objects, assembly, text.
 *
 * The kernels come with explicit vectors, register tiles and unrolling, so the pass pipeline only
 * promotes local arrays, folds, and moves invariants out of loops; there is no vectorizer in it.
 * Emitted bytes depend on the kernels and the level alone: names in debug information are the model
 * file's last component, nothing says when or where the file was made.
 */
#include "codegen/llvm_walk.h"
#include <llvm-c/Analysis.h>
#include <llvm-c/DebugInfo.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <string.h>

/* ---- levels ---- */

static const CpuLevel fixed_levels[] = {
    {"x86-64-v3", "x86_64-unknown-linux-gnu", "x86-64-v3", "",
     {.vector = 8, .registers = 16, .threads = 1, .l1 = 32 << 10, .l2 = 1 << 20}},
    {"x86-64-v4", "x86_64-unknown-linux-gnu", "x86-64-v4", "",
     {.vector = 16, .registers = 32, .threads = 1, .l1 = 32 << 10, .l2 = 1 << 20}},
    {"x86-64-v4-bf16", "x86_64-unknown-linux-gnu", "x86-64-v4", "+avx512bf16",
     {.vector = 16, .registers = 32, .threads = 1, .l1 = 32 << 10, .l2 = 1 << 20,
      .bf16_pairs = true}},
    {"aarch64", "aarch64-unknown-linux-gnu", "generic", "+neon",
     {.vector = 4, .registers = 32, .threads = 1, .l1 = 48 << 10, .l2 = 1 << 20}},
};

static CpuLevel native_level; /* its texts are LLVM's, kept for the life of the process */
static pthread_once_t native_once = PTHREAD_ONCE_INIT;

static bool has_feature(const char *features, const char *name) {
  size_t length = strlen(name);
  for (const char *at = features; (at = strstr(at, name)); at += length)
    if (at > features && at[-1] == '+' && (at[length] == ',' || !at[length]))
      return true;
  return false;
}

static void find_native(void) {
  CpuLevel *level = &native_level;
  level->name = "native";
  level->triple = LLVMGetDefaultTargetTriple();
  level->cpu = LLVMGetHostCPUName();
  level->features = LLVMGetHostCPUFeatures();
  level->facts = (Facts){.vector = 4, .registers = 16, .threads = 1, .l1 = 32 << 10, .l2 = 1 << 20};
  bool is_x86 = strncmp(level->triple, "x86_64", 6) == 0;
  if (!is_x86)
    level->facts.registers = 32;
  else if (has_feature(level->features, "avx512f") && has_feature(level->features, "avx512vl") &&
           has_feature(level->features, "avx512bw") && has_feature(level->features, "avx512dq"))
    level->facts.vector = 16, level->facts.registers = 32,
    level->facts.bf16_pairs = has_feature(level->features, "avx512bf16");
  else if (has_feature(level->features, "avx2") && has_feature(level->features, "fma"))
    level->facts.vector = 8;
}

bool cpu_level_find(const char *name, CpuLevel *level, Error *error) {
  if (strcmp(name, "native") == 0) {
    pthread_once(&native_once, find_native);
    *level = native_level;
    return true;
  }
  for (size_t i = 0; i < sizeof fixed_levels / sizeof *fixed_levels; i++)
    if (strcmp(name, fixed_levels[i].name) == 0)
      return *level = fixed_levels[i], true;
  return error_set(error, "no CPU level is called \"%s\"; there are native, x86-64-v3, x86-64-v4, "
                          "x86-64-v4-bf16 and aarch64", name);
}

static void initialize_targets(void) {
  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86Target();
  LLVMInitializeX86TargetMC();
  LLVMInitializeX86AsmPrinter();
  LLVMInitializeAArch64TargetInfo();
  LLVMInitializeAArch64Target();
  LLVMInitializeAArch64TargetMC();
  LLVMInitializeAArch64AsmPrinter();
}

LLVMTargetMachineRef llvm_machine(const CpuLevel *level, Error *error) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, initialize_targets);
  LLVMTargetRef target;
  char *message = NULL;
  if (LLVMGetTargetFromTriple(level->triple, &target, &message)) {
    error_set(error, "LLVM cannot generate code for %s: %s", level->triple, message);
    LLVMDisposeMessage(message);
    return NULL;
  }
  LLVMTargetMachineRef machine =
      LLVMCreateTargetMachine(target, level->triple, level->cpu, level->features,
                              LLVMCodeGenLevelDefault, LLVMRelocPIC, LLVMCodeModelDefault);
  if (!machine)
    error_set(error, "LLVM makes no target machine for %s", level->triple);
  return machine;
}

/* ---- debug information: the model's lines ---- */

static const char *last_component(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static LLVMMetadataRef debug_file(LLVMDIBuilderRef builder, const Kernel *kernel) {
  const char *name = last_component(kernel->loc.source->path);
  return LLVMDIBuilderCreateFile(builder, name, strlen(name), "", 0);
}

static void debug_unit(LLVMModuleRef module, LLVMDIBuilderRef builder, const Kernel *kernel) {
  LLVMContextRef context = LLVMGetModuleContext(module);
  LLVMTypeRef i32 = LLVMInt32TypeInContext(context);
  LLVMDIBuilderCreateCompileUnit(builder, LLVMDWARFSourceLanguageC11, debug_file(builder, kernel),
                                 "tricot", 6, true, "", 0, 0, "", 0,
                                 LLVMDWARFEmissionLineTablesOnly, 0, false, false, "", 0, "", 0);
  LLVMAddModuleFlag(module, LLVMModuleFlagBehaviorWarning, "Debug Info Version", 18,
                    LLVMValueAsMetadata(LLVMConstInt(i32, LLVMDebugMetadataVersion(), false)));
  LLVMAddModuleFlag(module, LLVMModuleFlagBehaviorWarning, "Dwarf Version", 13,
                    LLVMValueAsMetadata(LLVMConstInt(i32, 5, false)));
}

static LLVMMetadataRef debug_function(LLVMDIBuilderRef builder, const Kernel *kernel,
                                      const char *suffix) {
  Text name = {0};
  text_add(&name, "%s%s", kernel->name, suffix);
  LLVMMetadataRef file = debug_file(builder, kernel);
  LLVMMetadataRef type = LLVMDIBuilderCreateSubroutineType(builder, file, NULL, 0, LLVMDIFlagZero);
  LLVMMetadataRef function = LLVMDIBuilderCreateFunction(
      builder, file, name.at, name.size, name.at, name.size, file, (unsigned)kernel->loc.line, type,
      false, true, (unsigned)kernel->loc.line, LLVMDIFlagZero, true);
  text_free(&name);
  return function;
}

/* ---- modules ---- */

bool llvm_names_differ(Kernel *const *kernels, int count, Error *error) {
  Arena *arena = arena_new();
  Map names;
  bool good = true;
  map_init(&names, arena);
  for (int i = 0; i < count && good; i++) {
    if (map_get(&names, kernels[i]->name))
      good = error_set(error, "two kernels are named \"%s\"", kernels[i]->name);
    map_set(&names, kernels[i]->name, kernels[i]);
  }
  arena_free(arena);
  return good;
}

/* Half the time of default<O1>, and the same loops. early-cse merges the addresses the walk
 * repeats, loop-unroll serves loops with an unroll count; instcombine must not insist on a fixed
 * point: it would end the process. */
static const char passes[] =
    "function(sroa,early-cse<memssa>,instcombine<no-verify-fixpoint>,simplifycfg,loop-mssa(licm),"
    "loop-unroll,early-cse<memssa>,instcombine<no-verify-fixpoint>,simplifycfg)";

static void optimize(LLVMModuleRef module, LLVMTargetMachineRef machine) {
  LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
  LLVMErrorRef failure = LLVMRunPasses(module, passes, machine, options);
  LLVMDisposePassBuilderOptions(options);
  if (failure)
    FAULT("LLVM's passes refuse: %s", LLVMGetErrorMessage(failure));
}

static const Kernel *first_with_place(Kernel *const *kernels, int count) {
  for (int i = 0; i < count; i++)
    if (kernels[i]->loc.source && kernels[i]->loc.line)
      return kernels[i];
  return NULL;
}

static void verify(LLVMModuleRef module) {
  char *message = NULL;
  if (LLVMVerifyModule(module, LLVMReturnStatusAction, &message))
    FAULT("emitted LLVM code is not valid: %s", message);
  LLVMDisposeMessage(message);
}

LLVMModuleRef llvm_module(LLVMContextRef context, LLVMTargetMachineRef machine,
                          Kernel *const *kernels, int count, const CpuLevel *level,
                          const char *suffix, bool debug) {
  LLVMModuleRef module = LLVMModuleCreateWithNameInContext("tricot", context);
  LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(machine);
  LLVMSetModuleDataLayout(module, layout);
  LLVMSetTarget(module, level->triple);
  LLVMDisposeTargetData(layout);
  const Kernel *placed = debug ? first_with_place(kernels, count) : NULL;
  LLVMDIBuilderRef builder = NULL;
  if (placed) {
    builder = LLVMCreateDIBuilder(module);
    debug_unit(module, builder, placed);
  }
  for (int i = 0; i < count; i++) {
    bool has_place = builder && kernels[i]->loc.source && kernels[i]->loc.line;
    llvm_walk_kernel(module, kernels[i], suffix, level,
                     has_place ? debug_function(builder, kernels[i], suffix) : NULL);
  }
  if (builder) {
    LLVMDIBuilderFinalize(builder);
    LLVMDisposeDIBuilder(builder);
  }
  verify(module);
  optimize(module, machine);
  return module;
}

static bool write_module(LLVMModuleRef module, LLVMTargetMachineRef machine, const char *kind,
                         Text *out, Error *error) {
  if (strcmp(kind, "llvm") == 0) {
    char *text = LLVMPrintModuleToString(module);
    text_add_bytes(out, text, strlen(text));
    LLVMDisposeMessage(text);
    return true;
  }
  LLVMMemoryBufferRef buffer;
  char *message = NULL;
  LLVMCodeGenFileType type = strcmp(kind, "asm") == 0 ? LLVMAssemblyFile : LLVMObjectFile;
  if (LLVMTargetMachineEmitToMemoryBuffer(machine, module, type, &message, &buffer)) {
    error_set(error, "LLVM cannot write the %s: %s", kind, message);
    LLVMDisposeMessage(message);
    return false;
  }
  text_add_bytes(out, LLVMGetBufferStart(buffer), LLVMGetBufferSize(buffer));
  LLVMDisposeMemoryBuffer(buffer);
  return true;
}

bool llvm_emit(Kernel *const *kernels, int count, const CpuLevel *level, const char *suffix,
               const char *kind, Text *out, Error *error) {
  if (strcmp(kind, "object") != 0 && strcmp(kind, "asm") != 0 && strcmp(kind, "llvm") != 0)
    return error_set(error, "LLVM writes \"object\", \"asm\" or \"llvm\", not \"%s\"", kind);
  LLVMTargetMachineRef machine =
      llvm_names_differ(kernels, count, error) ? llvm_machine(level, error) : NULL;
  if (!machine)
    return false;
  LLVMContextRef context = LLVMContextCreate();
  LLVMModuleRef module = llvm_module(context, machine, kernels, count, level, suffix, true);
  bool good = write_module(module, machine, kind, out, error);
  LLVMDisposeModule(module);
  LLVMContextDispose(context);
  LLVMDisposeTargetMachine(machine);
  return good;
}
