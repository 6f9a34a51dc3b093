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

static const char macros[] =
    "#ifndef TRICOT_CUDA_SHIM_H\n"
    "#define TRICOT_KERNEL(threads) extern \"C\" __global__ void __launch_bounds__(threads)\n"
    "#define TRICOT_BLOCK ((int)blockIdx.x)\n"
    "#define TRICOT_THREAD ((int)threadIdx.x)\n"
    "#define TRICOT_SYNC() __syncthreads()\n"
    "#define TRICOT_SHARED(T, name, offset) T *name = (T *)(tricot_shared + (offset))\n"
    "#define TRICOT_CONSTANT static __device__ const\n"
    "#define TRICOT_HELPER static __device__ __forceinline__\n"
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
    TEXT_BF16
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

static void prelude(Emitter *e) {
  comment(e, "CUDA; compile with --fmad=false, or as C after codegen/cuda_shim.h.");
  text_add(e->text, "%s", macros);
  for (int d = 0; d < DT_COUNT; d++)
    for (int log = 1; log < 8; log++)
      if (e->usage.value[d][log])
        line(e, "typedef struct { %s at[%d]; } %sx%d;", dtype_name((Dtype)d), 1 << log,
             dtype_name((Dtype)d), 1 << log);
}

static void open_kernel(Emitter *e) {
  const Kernel *k = e->kernel;
  if (kernel_blocks(k) > INT32_MAX)
    FAULT("kernel %s has more blocks than a grid can", k->name);
  text_add(e->text, "TRICOT_KERNEL(%d) %s(", k->threads, k->name);
  for (int i = 0; i < k->n_arguments; i++) {
    const Buffer *b = k->buffers.at[i];
    text_add(e->text, "%s%s%s *%s%s", i ? ",\n    " : "", b->written ? "" : "const ",
             spell_type(e, b->type.dtype, 1), b->aliased ? "" : "__restrict__ ",
             e->buffer_name[i]);
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
  const char *form = s->kop == K_hadd ? "%s.at[lane] + %s.at[lane + half]"
                     : s->kop == K_hmax
                         ? "%1$s.at[lane] > %2$s.at[lane + half] ? %1$s.at[lane] : "
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

static void vector(Emitter *e, const Stmt *s) {
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
                              .vector = vector};
