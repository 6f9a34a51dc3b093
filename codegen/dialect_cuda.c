/* The CUDA dialect: one function that NVRTC compiles for a GPU as it is, and a C compiler for this
 * machine when codegen/cuda_shim.h stands in front.
 *
 * The text is in the part that C17 and C++ share and includes nothing. All that differs between the
 * two worlds goes through TRICOT_ macros. Shared buffers lie in one dynamic arena, at offsets known
 * here. Values are meant to be scalars; a vector is a struct whose lanes are looped over, correct
 * at any width. Indices are int wherever the ranges allow. Compile with --fmad=false: fused
 * operations are spelled fmaf.
 */
#include "codegen/text_dialect.h"

/* clang-format off */
static const char macros[] =
    "#ifndef TRICOT_CUDA_SHIM_H\n"
    "/* threads of a block, blocks that a multiprocessor has registers for */\n"
    "#define TRICOT_KERNEL(threads, blocks) \\\n"
    "  extern \"C\" __global__ void __launch_bounds__(threads, blocks)\n"
    "#define TRICOT_BLOCK ((int)blockIdx.x)\n"
    "#define TRICOT_THREAD ((int)threadIdx.x)\n"
    "#define TRICOT_SYNC() __syncthreads()\n"
    "#define TRICOT_SHARED(T, name, offset) T *name = (T *)(tricot_shared + (offset))\n"
    "#define TRICOT_CONSTANT static __device__ const\n"
    "#define TRICOT_HELPER static __device__ __forceinline__\n"
    "#define TRICOT_ALIGNED(bytes) __align__(bytes)\n"
    "#define TRICOT_INFINITY __int_as_float(0x7f800000)\n"
    "#define TRICOT_NAN __int_as_float(0x7fc00000)\n"
    "extern __shared__ __align__(16) unsigned char tricot_shared[];\n"
    "#endif\n"
    "typedef float f32;\n"
    "typedef long long i64;\n"
    "typedef int i32;\n"
    "typedef short i16;\n"
    "typedef signed char i8;\n"
    "typedef unsigned char u8;\n"
    "typedef unsigned short bf16;\n"
    "typedef unsigned int u32;\n"
    "typedef unsigned long long u64;\n"
    "#define tricot_shl(x, n) ((i64)((u64)(x) << (n)))\n"
    "TRICOT_HELPER i32 tricot_bits_i32(f32 x) {\n"
    "  union { f32 x; i32 bits; } both = {x};\n"
    "  return both.bits;\n"
    "}\n"
    "TRICOT_HELPER f32 tricot_bits_f32(i32 bits) {\n"
    "  union { i32 bits; f32 x; } both = {bits};\n"
    "  return both.x;\n"
    "}\n"
    TEXT_WIDEN
    "#ifdef TRICOT_CUDA_SHIM_H\n"
    TEXT_NARROW
    "#else\n"
    "TRICOT_HELPER bf16 tricot_narrow(f32 x) {\n"
    "  bf16 bits;\n"
    "  asm(\"cvt.rn.bf16.f32 %0, %1;\" : \"=h\"(bits) : \"f\"(x));\n"
    "  return bits;\n"
    "}\n"
    "#endif\n"
    "/* truncation that ends at the type's limits; NaN gives 0 */\n"
    "#define TRICOT_TO(T, LOW, HIGH, LEAST, MOST) \\\n"
    "  TRICOT_HELPER T tricot_to_##T(f32 x) { \\\n"
    "    return x >= HIGH ? MOST : x > LOW ? (T)x : x <= LOW ? LEAST : 0; \\\n"
    "  }\n"
    "TRICOT_TO(i64, -9223372036854775808.0f, 9223372036854775808.0f,\n"
    "          (-0x7fffffffffffffffLL - 1), 0x7fffffffffffffffLL)\n"
    "TRICOT_TO(i32, -2147483648.0f, 2147483648.0f, (-0x7fffffff - 1), 0x7fffffff)\n"
    "TRICOT_TO(i16, -32768.0f, 32768.0f, -32768, 32767)\n"
    "TRICOT_TO(i8, -128.0f, 128.0f, -128, 127)\n"
    "TRICOT_TO(u8, 0.0f, 256.0f, 0, 255)\n";
/* clang-format on */

/* Two numbers as bf16 in one word, the first in its lower half. */
static const char pair_helpers[] =
    "TRICOT_HELPER i32 tricot_pair_bf16(bf16 low, bf16 high) {\n"
    "  return (i32)((u32)low | (u32)high << 16);\n"
    "}\n"
    "TRICOT_HELPER i32 tricot_pair_f32(f32 low, f32 high) {\n"
    "#ifdef TRICOT_CUDA_SHIM_H\n"
    "  return tricot_pair_bf16(tricot_narrow(low), tricot_narrow(high));\n"
    "#else\n"
    "  i32 both;\n"
    "  asm(\"cvt.rn.bf16x2.f32 %0, %1, %2;\" : \"=r\"(both) : \"f\"(high), \"f\"(low));\n"
    "  return both;\n"
    "#endif\n"
    "}\n";

/* A warp's product of 16 x 16 and 16 x 8 bf16, added to 16 x 8 f32. */
static const char mma_helper[] =
    "#ifdef TRICOT_CUDA_SHIM_H\n"
    "#define tricot_mma_bf16(a, b, c) (*(f32x4 *)TRICOT_WARP(TRICOT_MMA_BF16, &(a), &(b), &(c)))\n"
    "#else\n"
    "TRICOT_HELPER f32x4 tricot_mma_bf16(i32x4 a, i32x2 b, f32x4 c) {\n"
    "  f32x4 d;\n"
    "  asm volatile(\"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 \"\n"
    "               \"{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};\"\n"
    "               : \"=f\"(d.at[0]), \"=f\"(d.at[1]), \"=f\"(d.at[2]), \"=f\"(d.at[3])\n"
    "               : \"r\"(a.at[0]), \"r\"(a.at[1]), \"r\"(a.at[2]), \"r\"(a.at[3]), "
    "\"r\"(b.at[0]),\n"
    "                 \"r\"(b.at[1]), \"f\"(c.at[0]), \"f\"(c.at[1]), \"f\"(c.at[2]), "
    "\"f\"(c.at[3]));\n"
    "  return d;\n"
    "}\n"
    "#endif\n";

/* Of 16 x 8 and 8 x 8 f32, whose lower bits are not looked at. */
static const char tf32_helper[] =
    "#ifdef TRICOT_CUDA_SHIM_H\n"
    "#define tricot_mma_tf32(a, b, c) (*(f32x4 *)TRICOT_WARP(TRICOT_MMA_TF32, &(a), &(b), &(c)))\n"
    "#else\n"
    "TRICOT_HELPER f32x4 tricot_mma_tf32(f32x4 a, f32x2 b, f32x4 c) {\n"
    "  f32x4 d;\n"
    "  asm volatile(\"mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 \"\n"
    "               \"{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};\"\n"
    "               : \"=f\"(d.at[0]), \"=f\"(d.at[1]), \"=f\"(d.at[2]), \"=f\"(d.at[3])\n"
    "               : \"r\"(tricot_bits_i32(a.at[0])), \"r\"(tricot_bits_i32(a.at[1])),\n"
    "                 \"r\"(tricot_bits_i32(a.at[2])), \"r\"(tricot_bits_i32(a.at[3])),\n"
    "                 \"r\"(tricot_bits_i32(b.at[0])), \"r\"(tricot_bits_i32(b.at[1])),\n"
    "                 \"f\"(c.at[0]), \"f\"(c.at[1]), \"f\"(c.at[2]), \"f\"(c.at[3]));\n"
    "  return d;\n"
    "}\n"
    "#endif\n";

/* A warp's matrices of 8 x 8 bf16 from shared memory: each lane gives the place of a row. */
static void add_matrix_helpers(Emitter *e) {
  for (int turned = 0; turned < 2; turned++)
    for (int width = 1; width <= 4; width *= 2) {
      if (!e->usage.matrix[turned][width])
        continue;
      const char *type = spell_type(e, DT_i32, width), *which = turned ? "_turned" : "";
      line(e, "#ifdef TRICOT_CUDA_SHIM_H");
      line(e, "#define tricot_matrix%d%s(row) \\", width, which);
      line(e, "  (*(%s *)TRICOT_WARP(TRICOT_MATRIX + %d, row, 0, 0))", type, 8 * turned + width);
      line(e, "#else");
      line(e, "TRICOT_HELPER %s tricot_matrix%d%s(const bf16 *row) {", type, width, which);
      line(e, "  %s m;", type);
      line(e, "  const u32 address = (u32)__cvta_generic_to_shared(row);");
      text_add(e->text, "  asm volatile(\"ldmatrix.sync.aligned.m8n8.x%d%s.shared.b16 {", width,
               turned ? ".trans" : "");
      for (int i = 0; i < width; i++)
        text_add(e->text, "%s%%%d", i ? ", " : "", i);
      text_add(e->text, "}, [%%%d];\"\n               : ", width);
      for (int i = 0; i < width; i++)
        text_add(e->text, "%s\"=r\"(m%s)", i ? ", " : "", width == 1 ? "" : spell(e, ".at[%d]", i));
      text_add(e->text, "\n               : \"r\"(address) : \"memory\");\n");
      line(e, "  return m;");
      line(e, "}");
      line(e, "#endif");
    }
}

/* Copies from global to shared memory that go on beside the thread; zeros where not `valid`. */
static void add_copy_helpers(Emitter *e) {
  bool any = false;
  for (int bytes = 4; bytes <= 16; bytes *= 2) {
    if (!e->usage.copy[bytes])
      continue;
    line(e, "#ifdef TRICOT_CUDA_SHIM_H");
    line(e, "#define tricot_copy%d(to, from, valid) tricot_host->copy(to, from, %d, valid)", bytes,
         bytes);
    line(e, "#else");
    line(e, "TRICOT_HELPER void tricot_copy%d(void *to, const void *from, bool valid) {", bytes);
    line(e, "  const u32 address = (u32)__cvta_generic_to_shared(to);");
    line(e, "  asm volatile(\"cp.async.%s.shared.global [%%0], [%%1], %d, %%2;\"",
         bytes == 16 ? "cg" : "ca", bytes);
    line(e, "               : : \"r\"(address), \"l\"(from), \"r\"(valid ? %d : 0) : \"memory\");",
         bytes);
    line(e, "}");
    line(e, "#endif");
    any = true;
  }
  if (any)
    text_add(e->text, "%s",
             "#ifdef TRICOT_CUDA_SHIM_H\n"
             "#define TRICOT_COMMIT() tricot_host->commit()\n"
             "#define TRICOT_WAIT(groups) tricot_host->wait(groups)\n"
             "#else\n"
             "#define TRICOT_COMMIT() asm volatile(\"cp.async.commit_group;\" ::: \"memory\")\n"
             "#define TRICOT_WAIT(groups) \\\n"
             "  asm volatile(\"cp.async.wait_group %0;\" : : \"n\"(groups) : \"memory\")\n"
             "#endif\n");
}

static void prelude(Emitter *e) {
  comment(e, "CUDA; compile with --fmad=false, or as C after codegen/cuda_shim.h.");
  text_add(e->text, "%s", macros);
  for (int d = 0; d < DT_COUNT; d++)
    for (int log = 1; log < 8; log++)
      if (e->usage.value[d][log]) {
        int bytes = (int)dtype_size((Dtype)d) << log;
        line(e, "typedef struct TRICOT_ALIGNED(%d) { %s at[%d]; } %sx%d;", bytes < 16 ? bytes : 16,
             dtype_name((Dtype)d), 1 << log, dtype_name((Dtype)d), 1 << log);
      }
  if (e->usage.pair)
    text_add(e->text, "%s", pair_helpers);
  add_matrix_helpers(e);
  add_copy_helpers(e);
  if (e->usage.mma)
    text_add(e->text, "%s", mma_helper);
  if (e->usage.tf32)
    text_add(e->text, "%s", tf32_helper);
}

static void open_kernel(Emitter *e) {
  const Kernel *k = e->kernel;
  if (kernel_blocks(k) > INT32_MAX)
    FAULT("kernel %s has more blocks than a grid can", k->name);
  text_add(e->text, "TRICOT_KERNEL(%d, %d) %s(", k->threads,
           cuda_least_blocks(k->threads, kernel_shared_bytes(k), kernel_local_elements(k)),
           k->name);
  for (int i = 0; i < k->n_arguments; i++) {
    const Buffer *b = k->buffers.at[i];
    text_add(e->text, "%s%s%s *%s%s", i ? ",\n    " : "", b->written ? "" : "const ",
             spell_type(e, b->type.dtype, 1), b->aliased ? "" : "__restrict__ ", e->buffer_name[i]);
  }
  text_add(e->text, "%s) {\n", k->n_arguments ? "" : "void");
  e->indent++;
  if (k->n_grid)
    line(e, "const int %s = TRICOT_BLOCK;",
         k->n_grid == 1 ? e->var_name[k->grid[0].var->id] : "block");
  emit_grid(e, "int");
  if (k->thread)
    line(e, "const int %s = TRICOT_THREAD;", e->var_name[k->thread->id]);
}

static void close_kernel(Emitter *e) {
  e->indent--;
  line(e, "}");
}

static void shared(Emitter *e, const Buffer *b, int64_t offset) {
  line(e, "TRICOT_SHARED(%s, %s, %lld); /* %lld */", spell_type(e, b->type.dtype, 1),
       e->buffer_name[b->id], (long long)offset, (long long)type_elements(&b->type));
}

static void unroll(Emitter *e, int64_t trips) { line(e, "#pragma unroll %lld", (long long)trips); }

static void prefetch(Emitter *e, const char *address) {
  (void)e, (void)address; /* other threads hide the wait */
}

/* The result is folded in a copy, low half with high half. */
static void horizontal(Emitter *e, const Stmt *s) {
  const KValue *v = s->value_arg[0];
  const char *form = s->kop == K_hadd   ? "%s.at[lane] + %s.at[lane + half]"
                     : s->kop == K_hmax ? "%1$s.at[lane] > %2$s.at[lane + half] ? %1$s.at[lane] : "
                                          "%2$s.at[lane + half]"
                                        : "%1$s.at[lane] < %2$s.at[lane + half] ? %1$s.at[lane] : "
                                          "%2$s.at[lane + half]";
  const char *fold = spell(e, "v%d_folded", s->value->id);
  line(e, "%s %s = v%d;", spell_type(e, v->dtype, v->width), fold, v->id);
  line(e, "for (int half = %d; half; half /= 2)", v->width / 2);
  line(e, "  for (int lane = 0; lane < half; lane++)");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  line(e, "    %s.at[lane] = %s;", fold, spell(e, form, fold, fold));
#pragma GCC diagnostic pop
  assign(e, s->value, spell(e, "%s.at[0]", fold));
}

/* A vector that lies at a multiple of its size is moved at once. */
static bool move_whole(Emitter *e, const Stmt *s) {
  if ((s->kind != STMT_LOAD && s->kind != STMT_STORE) || !access_is_whole(e, s))
    return false;
  const KValue *value = s->kind == STMT_LOAD ? s->value : s->value_arg[0];
  const char *type = spell_type(e, value->dtype, value->width);
  const char *guards = spell_guards(e, &s->guards);
  const char *place = spell(e, "%s + %s", e->buffer_name[s->buffer->id], spell_operand(e, &s->at));
  if (s->kind == STMT_STORE) {
    if (guards)
      line(e, "if (%s)", guards);
    line(e, "%s*(%s *)(%s) = v%d;", guards ? "  " : "", type, place, value->id);
  } else if (!guards) {
    line(e, "const %s v%d = *(const %s *)(%s);", type, value->id, type, place);
  } else {
    line(e, "%s v%d;", type, value->id);
    line(e, "if (%s)", guards);
    line(e, "  v%d = *(const %s *)(%s);", value->id, type, place);
    line(e, "else");
    line(e, "  for (int lane = 0; lane < %d; lane++)", value->width);
    line(e, "    v%d.at[lane] = %s;", value->id, spell_number(e, value->dtype, s->number));
  }
  return true;
}

static void emit_copy(Emitter *e, const Stmt *s) {
  const char *guards = spell_guards(e, &s->guards);
  line(e, "tricot_copy%d(%s + %s, %s + %s, %s);", s->count * (int)dtype_size(s->buffer->type.dtype),
       e->buffer_name[s->buffer->id], spell_operand(e, &s->at), e->buffer_name[s->base->id],
       spell_operand(e, &s->from), guards ? guards : "1");
}

static void device(Emitter *e, const Stmt *s) {
  switch (s->kind) {
  case STMT_COPY: emit_copy(e, s); break;
  case STMT_COMMIT: line(e, "TRICOT_COMMIT();"); break;
  case STMT_WAIT: line(e, "TRICOT_WAIT(%d);", s->count); break;
  case STMT_MATRIX:
    assign(e, s->value,
           spell(e, "tricot_matrix%d%s(%s + %s)", s->value->width, s->turned ? "_turned" : "",
                 e->buffer_name[s->buffer->id], spell_operand(e, &s->at)));
    break;
  default:
    assign(e, s->value,
           spell(e, "tricot_%s(v%d, v%d, v%d)", kop_info[s->kop].name, s->value_arg[0]->id,
                 s->value_arg[1]->id, s->value_arg[2]->id));
  }
}

static void vector(Emitter *e, const Stmt *s) {
  if (move_whole(e, s))
    return;
  if (s->kind == STMT_LET && kop_info[s->kop].kind == KOP_HORIZONTAL) {
    horizontal(e, s);
    return;
  }
  const KValue *whole = s->value ? s->value : s->value_arg[0];
  if (s->value)
    line(e, "%s v%d;", spell_type(e, s->value->dtype, s->value->width), s->value->id);
  line(e, "#pragma unroll");
  line(e, "for (int lane = 0; lane < %d; lane++) {", whole->width);
  e->indent++;
  e->lane = "lane";
  emit_scalar(e, s);
  e->lane = NULL;
  e->indent--;
  line(e, "}");
}

const Dialect dialect_cuda = {.narrow_index = true,
                              .wrap_casts = true,
                              .constant = "TRICOT_CONSTANT",
                              .barrier = "TRICOT_SYNC();",
                              .prelude = prelude,
                              .open = open_kernel,
                              .close = close_kernel,
                              .shared = shared,
                              .unroll = unroll,
                              .prefetch = prefetch,
                              .vector = vector,
                              .device = device};
