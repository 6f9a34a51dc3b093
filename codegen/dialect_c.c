/* The C dialect: GNU C for CPUs, one thread a block, vectors as GCC vector types.
 *
 * The text includes nothing. Its prelude defines, for every vector type the kernels use, a small
 * set of static inline functions; operators that C has for vectors are used as they are. Compile
 * with -ffp-contract=off -fwrapv: then each lane is what kop_eval gives. Functions over lanes are
 * written as loops where compilers turn those into one instruction, and with masks where they would
 * not.
 */
#include "codegen/text_dialect.h"
#include <string.h>

static const char scalars[] =
    "typedef float f32;\n"
    "typedef long long i64;\n"
    "typedef int i32;\n"
    "typedef short i16;\n"
    "typedef signed char i8;\n"
    "typedef unsigned char u8;\n"
    "typedef unsigned short bf16;\n"
    "typedef unsigned int u32;\n"
    "#define TRICOT_INFINITY __builtin_inff()\n"
    "#define TRICOT_NAN __builtin_nanf(\"\")\n"
    "#define TRICOT_HELPER static inline __attribute__((always_inline, unused))\n"
    "float fmaf(float, float, float), sqrtf(float), floorf(float), rintf(float), fabsf(float);\n"
    "#define tricot_shl(x, n) ((i64)((unsigned long long)(x) << (n)))\n"
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
    "TRICOT_TO(i64, -0x1p63f, 0x1p63f, (-0x7fffffffffffffffLL - 1), 0x7fffffffffffffffLL)\n"
    "TRICOT_TO(i32, -0x1p31f, 0x1p31f, (-0x7fffffff - 1), 0x7fffffff)\n"
    "TRICOT_TO(i16, -0x1p15f, 0x1p15f, -0x8000, 0x7fff)\n"
    "TRICOT_TO(i8, -0x1p7f, 0x1p7f, -0x80, 0x7f)\n"
    "TRICOT_TO(u8, 0.0f, 0x1p8f, 0, 0xff)\n";

/* V: the vector, T: its element, M: integer vector with lanes of that size, N: lanes. */
static const char vectors[] =
    "#pragma GCC diagnostic ignored \"-Wpsabi\"\n"
    "#define TRICOT_LANES(N, statement) \\\n"
    "  for (int l = 0; l < N; l++) { statement; }\n"
    "#define TRICOT_VECTOR(T, M, N) \\\n"
    "  typedef T T##x##N __attribute__((vector_size(sizeof(T) * N))); \\\n"
    "  typedef T##x##N T##x##N##_anywhere __attribute__((aligned(sizeof(T)), may_alias)); \\\n"
    "  TRICOT_OPS(T##x##N, T, M##x##N, N)\n"
    "#define TRICOT_OPS(V, T, M, N) \\\n"
    "  TRICOT_HELPER V V##_load(const T *p) { return *(const V##_anywhere *)p; } \\\n"
    "  TRICOT_HELPER void V##_store(T *p, V v) { *(V##_anywhere *)p = v; } \\\n"
    "  TRICOT_HELPER V V##_load_lanes(const T *p, i64 lanes) { \\\n"
    "    V v = {0}; \\\n"
    "    if (lanes >= N) \\\n"
    "      return V##_load(p); \\\n"
    "    for (i64 l = 0; l < lanes; l++) \\\n"
    "      v[l] = p[l]; \\\n"
    "    return v; \\\n"
    "  } \\\n"
    "  TRICOT_HELPER void V##_store_lanes(T *p, V v, i64 lanes) { \\\n"
    "    for (i64 l = 0; l < (lanes < N ? lanes : N); l++) \\\n"
    "      p[l] = v[l]; \\\n"
    "  } \\\n"
    "  TRICOT_HELPER V V##_splat(T x) { V v; TRICOT_LANES(N, v[l] = x) return v; } \\\n"
    "  TRICOT_HELPER V V##_index(i64 at, i64 factor) { \\\n"
    "    V v; \\\n"
    "    TRICOT_LANES(N, v[l] = (T)(at + l * factor)) \\\n"
    "    return v; \\\n"
    "  } \\\n"
    "  TRICOT_HELPER V V##_pick(M m, V a, V b) { return (V)((m & (M)a) | (~m & (M)b)); } \\\n"
    "  TRICOT_HELPER V V##_max(V a, V b) { return V##_pick((M)(a > b), a, b); } \\\n"
    "  TRICOT_HELPER V V##_min(V a, V b) { return V##_pick((M)(a < b), a, b); } \\\n"
    "  TRICOT_HELPER V V##_select(f32x##N c, V a, V b) { \\\n"
    "    return V##_pick(__builtin_convertvector(c != (f32x##N){0}, M), a, b); \\\n"
    "  } \\\n"
    "  TRICOT_HELPER f32x##N V##_truth(M m) { \\\n"
    "    i32x##N one = i32x##N##_splat(0x3f800000); /* the bits of 1.0f */ \\\n"
    "    return (f32x##N)(__builtin_convertvector(m, i32x##N) & one); \\\n"
    "  } \\\n"
    "  TRICOT_HELPER f32x##N V##_lt(V a, V b) { return V##_truth((M)(a < b)); } \\\n"
    "  TRICOT_HELPER f32x##N V##_le(V a, V b) { return V##_truth((M)(a <= b)); } \\\n"
    "  TRICOT_HELPER f32x##N V##_eq(V a, V b) { return V##_truth((M)(a == b)); } \\\n"
    "  TRICOT_FOLD(V, T, N, hadd, v[l] + v[l + half]) \\\n"
    "  TRICOT_FOLD(V, T, N, hmax, v[l] > v[l + half] ? v[l] : v[l + half]) \\\n"
    "  TRICOT_FOLD(V, T, N, hmin, v[l] < v[l + half] ? v[l] : v[l + half])\n"
    "#define TRICOT_FOLD(V, T, N, name, both) \\\n"
    "  TRICOT_HELPER T V##_##name(V v) { \\\n"
    "    for (int half = N / 2; half; half /= 2) \\\n"
    "      for (int l = 0; l < half; l++) \\\n"
    "        v[l] = both; \\\n"
    "    return v[0]; \\\n"
    "  }\n"
    "#define TRICOT_EACH(V, N, name, arguments, one) \\\n"
    "  TRICOT_HELPER V V##_##name arguments { V v; TRICOT_LANES(N, v[l] = one) return v; }\n"
    "#define TRICOT_F32(V, M, N) \\\n"
    "  TRICOT_EACH(V, N, fma, (V a, V b, V c), fmaf(a[l], b[l], c[l])) \\\n"
    "  TRICOT_EACH(V, N, sqrt, (V a), sqrtf(a[l])) \\\n"
    "  TRICOT_EACH(V, N, floor, (V a), floorf(a[l])) \\\n"
    "  TRICOT_EACH(V, N, round, (V a), rintf(a[l])) \\\n"
    "  TRICOT_HELPER V V##_abs(V a) { return (V)((M)a & M##_splat(0x7fffffff)); }\n"
    "#define TRICOT_BF16(V, M, N) \\\n"
    "  TRICOT_HELPER f32x##N V##_widen(V a) { \\\n"
    "    return (f32x##N)(__builtin_convertvector(a, i32x##N) << 16); \\\n"
    "  } \\\n"
    "  TRICOT_HELPER V V##_narrow(f32x##N a) { \\\n"
    "    i32x##N bits = (i32x##N)a, upper = bits >> 16 & i32x##N##_splat(0xffff); \\\n"
    "    i32x##N near = (bits + i32x##N##_splat(0x7fff) + (upper & i32x##N##_splat(1))) >> 16; \\\n"
    "    i32x##N quiet = upper | i32x##N##_splat(64); \\\n"
    "    return __builtin_convertvector(i32x##N##_pick((i32x##N)(a != a), quiet, near), V); \\\n"
    "  }\n"
    "#define TRICOT_INT(V, T, M, N) \\\n"
    "  TRICOT_HELPER V V##_abs(V a) { return V##_pick((M)(a < (V){0}), -a, a); } \\\n"
    "  TRICOT_EACH(V, N, shl, (V a, V b), (T)tricot_shl(a[l], b[l])) \\\n"
    "  TRICOT_EACH(V, N, truncate, (f32x##N a), tricot_to_##T(a[l]))\n";

static void emit_vectors(Emitter *e) {
  text_add(e->text, "%s", vectors);
  static const Dtype order[] = {DT_i32, DT_f32, DT_i64, DT_i16, DT_bf16, DT_i8, DT_u8};
  for (int log = 1; log < 8; log++) {
    bool any = false;
    for (int d = 0; d < DT_COUNT; d++)
      any = any || e->usage.value[d][log];
    if (!any)
      continue;
    /* comparisons need both 32-bit types, unsigned ones the signed ones for masks; types come first
     * since the helpers of one name another */
    bool used[DT_COUNT];
    for (int d = 0; d < DT_COUNT; d++)
      used[d] = e->usage.value[d][log] || d == DT_i32 || d == DT_f32 ||
                (d == DT_i8 && e->usage.value[DT_u8][log]) ||
                (d == DT_i16 && e->usage.value[DT_bf16][log]);
    line(e, "typedef f32 f32x%d __attribute__((vector_size(sizeof(f32) * %d)));", 1 << log,
         1 << log);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
      Dtype d = order[i];
      const char *name = dtype_name(d);
      if (!used[d])
        continue;
      const char *mask = d == DT_f32 ? "i32" : d == DT_u8 ? "i8" : d == DT_bf16 ? "i16" : name;
      line(e, "TRICOT_VECTOR(%s, %s, %d)", name, mask, 1 << log);
      if (d == DT_f32)
        line(e, "TRICOT_F32(f32x%d, i32x%d, %d)", 1 << log, 1 << log, 1 << log);
      else if (d == DT_bf16)
        line(e, "TRICOT_BF16(bf16x%d, i16x%d, %d)", 1 << log, 1 << log, 1 << log);
      else
        line(e, "TRICOT_INT(%sx%d, %s, %sx%d, %d)", name, 1 << log, name, mask, 1 << log,
             1 << log);
    }
  }
}

static void prelude(Emitter *e) {
  comment(e, "C for CPUs; compile with -std=gnu17 -ffp-contract=off -fwrapv.\nEvery function runs "
             "blocks begin..end-1 of its kernel's grid.");
  text_add(e->text, "%s", scalars);
  for (int d = 0; d < DT_COUNT; d++)
    for (int log = 1; log < 8; log++)
      if (e->usage.value[d][log]) {
        emit_vectors(e);
        return;
      }
}

static void open_kernel(Emitter *e) {
  const Kernel *k = e->kernel;
  if (k->threads != 1)
    FAULT("kernel %s: C text is for one thread a block, not %d", k->name, k->threads);
  line(e, "void %s(void *const *arguments, i64 begin, i64 end) {", k->name);
  e->indent++;
  for (int i = 0; i < k->n_arguments; i++) {
    const Buffer *b = k->buffers.at[i];
    const char *type = spell_type(e, b->type.dtype, 1);
    line(e, "%s%s *%s%s = arguments[%d]; /* %s */", b->written ? "" : "const ", type,
         b->aliased ? "" : "restrict ", e->buffer_name[i], i, type_text(&b->type));
  }
  const char *block = k->n_grid == 1 ? e->var_name[k->grid[0].var->id] : "block";
  line(e, "for (i64 %s = begin; %s < end; %s++) {", block, block, block);
  e->indent++;
  emit_grid(e, "i64");
  if (k->thread)
    line(e, "const i64 %s = 0;", e->var_name[k->thread->id]);
}

static void close_kernel(Emitter *e) {
  e->indent--;
  line(e, "}");
  e->indent--;
  line(e, "}");
}

static void shared(Emitter *e, const Buffer *b, int64_t offset) {
  (void)offset; /* one thread: as good as local */
  line(e, "%s %s[%lld] __attribute__((aligned(64)));", spell_type(e, b->type.dtype, 1),
       e->buffer_name[b->id], (long long)type_elements(&b->type));
}

static void unroll(Emitter *e, int64_t trips) {
  line(e, "#pragma GCC unroll %lld", (long long)(trips < 65534 ? trips : 65534));
}

static void prefetch(Emitter *e, const char *address) {
  line(e, "__builtin_prefetch(%s);", address);
}

/* ---- vectors ---- */

static const char *element_address(Emitter *e, const Stmt *s) {
  return spell(e, "&%s[%s]", e->buffer_name[s->buffer->id], spell_address(e, s));
}

static void load(Emitter *e, const Stmt *s) {
  const char *type = spell_type(e, s->value->dtype, s->value->width), *read;
  if (e->local_width[s->buffer->id] > 1)
    read = spell(e, "%s[%s]", e->buffer_name[s->buffer->id], spell_address(e, s));
  else if (s->has_lanes)
    read = spell(e, "%s_load_lanes(%s, %s)", type, element_address(e, s),
                 spell_affine(e, &s->lanes));
  else
    read = spell(e, "%s_load(%s)", type, element_address(e, s));
  const char *guards = spell_guards(e, &s->guards);
  if (guards)
    read = spell(e, "%s ? %s : %s_splat(%s)", guards, read, type,
                 spell_number(e, s->value->dtype, s->number));
  assign(e, s->value, read);
}

static void store(Emitter *e, const Stmt *s) {
  const KValue *value = s->value_arg[0];
  const char *type = spell_type(e, value->dtype, value->width), *name = spell_value(e, value);
  const char *guards = spell_guards(e, &s->guards);
  if (guards)
    line(e, "if (%s)", guards);
  e->indent += guards != NULL;
  if (e->local_width[s->buffer->id] > 1)
    line(e, "%s[%s] = %s;", e->buffer_name[s->buffer->id], spell_address(e, s), name);
  else if (s->has_lanes)
    line(e, "%s_store_lanes(%s, %s, %s);", type, element_address(e, s), name,
         spell_affine(e, &s->lanes));
  else
    line(e, "%s_store(%s, %s);", type, element_address(e, s), name);
  e->indent -= guards != NULL;
}

static const char *cast(Emitter *e, const Stmt *s, const char *type, const char *argument) {
  Dtype from = s->value_arg[0]->dtype, to = s->value->dtype;
  if (s->kop == K_bits)
    return spell(e, "(%s)%s", type, argument);
  if (from == to)
    return argument;
  int width = s->value->width;
  if (from == DT_bf16) {
    argument = spell(e, "bf16x%d_widen(%s)", width, argument);
    from = DT_f32;
  }
  if (to == DT_bf16) {
    if (from != DT_f32)
      argument = spell(e, "__builtin_convertvector(%s, f32x%d)", argument, width);
    return spell(e, "bf16x%d_narrow(%s)", width, argument);
  }
  if (dtype_is_float(from) && !dtype_is_float(to))
    return spell(e, "%s_truncate(%s)", type, argument);
  return from == to ? argument : spell(e, "__builtin_convertvector(%s, %s)", argument, type);
}

static bool is_operator(Kop kop) {
  return kop == K_add || kop == K_sub || kop == K_mul || kop == K_div || kop == K_neg ||
         kop == K_and || kop == K_or || kop == K_shr;
}

static void let(Emitter *e, const Stmt *s) {
  const KopInfo *info = &kop_info[s->kop];
  const KValue *last = s->value_arg[info->arity - 1];
  const char *result = spell_type(e, s->value->dtype, s->value->width);
  const char *operand = spell_type(e, last->dtype, last->width), *all = "";
  for (int i = 0; i < info->arity; i++)
    all = spell(e, "%s%s%s", all, i ? ", " : "", spell_value(e, s->value_arg[i]));
  bool spelled = info->kind == KOP_HORIZONTAL || s->kop == K_shl ||
                 *(dtype_is_float(last->dtype) ? info->c_float : info->c_int);
  if (info->kind == KOP_CAST)
    assign(e, s->value, cast(e, s, result, all));
  else if (info->kind == KOP_SPLAT)
    assign(e, s->value, spell(e, "%s_splat(%s)", result, all));
  else if (!spelled)
    FAULT("kernel %s: %s of %s cannot be spelled in text", e->kernel->name, info->name, operand);
  else if (is_operator(s->kop))
    assign(e, s->value, spell_kop(e, s));
  else
    assign(e, s->value, spell(e, "%s_%s(%s)", operand, info->name, all));
}

static void vector(Emitter *e, const Stmt *s) {
  const char *type = s->value ? spell_type(e, s->value->dtype, s->value->width) : "";
  switch (s->kind) {
  case STMT_LOAD: load(e, s); break;
  case STMT_STORE: store(e, s); break;
  case STMT_LET: let(e, s); break;
  case STMT_CONST:
    assign(e, s->value,
           spell(e, "%s_splat(%s)", type, spell_number(e, s->value->dtype, s->number)));
    break;
  case STMT_INDEX_VALUE:
    CHECK(s->value->dtype != DT_bf16);
    assign(e, s->value, spell(e, "%s_index(%s, %lld)", type, spell_affine(e, &s->at),
                              (long long)s->col_factor));
    break;
  default: FAULT("statement %d has no vector", (int)s->kind);
  }
}

const Dialect dialect_c = {.vector_arrays = true,
                           .constant = "static const",
                           .barrier = "/* barrier: one thread */",
                           .prelude = prelude,
                           .open = open_kernel,
                           .close = close_kernel,
                           .shared = shared,
                           .unroll = unroll,
                           .prefetch = prefetch,
                           .vector = vector};
