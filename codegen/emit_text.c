/* LOOP-stage kernels to readable C or CUDA text. See emit.h, text_dialect.h.
 *
 * In: kernels that kernel_check accepts, values of types f32 and the integers (others are a fault).
 * Out: one translation unit. A statement becomes a line, a value a const variable declared where it
 * is set; the few that outlive their braces are declared first. Element by element the text
 * computes what kop_eval computes, so every target gives the same bits.
 */
#include "codegen/text_dialect.h"
#include "ir/kernel_text.h"
#include <stdlib.h>
#include <string.h>

/* ---- what a kernel uses ---- */

static void note_value(Emitter *e, const KValue *value) {
  int log = 0;
  while (1 << log < value->width)
    log++;
  CHECK(1 << log == value->width && log < 8);
  spell_type(e, value->dtype, 1);
  e->usage.value[value->dtype][log] = true;
}

/* A local buffer becomes an array of vectors when every access is a whole aligned vector: compilers
 * keep such arrays in registers, but not float arrays that are read through vectors. */
static void note_access(Emitter *e, const Stmt *stmt, int width) {
  int *kept = &e->local_width[stmt->buffer->id];
  bool whole = stmt->buffer->space == SPACE_LOCAL && !stmt->dynamic && !stmt->has_lanes &&
               stmt->at.constant % width == 0 && stmt->buffer->type.dim[0] % width == 0 &&
               e->dialect->vector_arrays;
  for (int i = 0; i < stmt->at.count; i++)
    whole = whole && stmt->at.term[i].factor * e->multiple[stmt->at.term[i].var->id] % width == 0;
  *kept = !whole || (*kept && *kept != width) ? 1 : width;
}

bool access_is_whole(const Emitter *e, const Stmt *s) {
  const KValue *value = s->kind == STMT_LOAD ? s->value : s->value_arg[0];
  int64_t most = 16 / (int64_t)dtype_size(value->dtype);
  int64_t step = value->width < most ? value->width : most;
  bool whole = (s->buffer->space == SPACE_SHARED || s->buffer->space == SPACE_GLOBAL) &&
               !s->dynamic && !s->has_lanes && s->at.constant % step == 0;
  for (int i = 0; i < s->at.count; i++)
    whole = whole && s->at.term[i].factor * e->multiple[s->at.term[i].var->id] % step == 0;
  return whole;
}

/* Loops count in steps from their low end. A variable that is set otherwise keeps the divisor 1. */
static void find_multiples(Emitter *e, const Block *block) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = block->at[i];
    if (s->kind == STMT_FOR) {
      int64_t *multiple = &e->multiple[s->var->id], divisor = greatest_divisor(s->step, *multiple);
      divisor = greatest_divisor(divisor, llabs((long long)s->low.constant));
      for (int j = 0; j < s->low.count; j++)
        divisor = greatest_divisor(divisor, llabs((long long)s->low.term[j].factor));
      *multiple = divisor;
    }
    if (s->kind == STMT_LOOKUP || s->kind == STMT_INDEX)
      e->multiple[s->var->id] = 1;
    find_multiples(e, &s->body);
    find_multiples(e, &s->other);
  }
}

static void note_uses(Emitter *e, const Block *block) {
  for (int i = 0; i < block->count; i++) {
    const Stmt *s = block->at[i];
    if (s->value)
      note_value(e, s->value);
    if (s->kind == STMT_LOAD || s->kind == STMT_STORE)
      note_access(e, s, s->kind == STMT_LOAD ? s->value->width : s->value_arg[0]->width);
    if (s->kind == STMT_PREFETCH)
      e->local_width[s->buffer->id] = 1;
    if (s->kind == STMT_STORE && s->buffer->space == SPACE_POINTER)
      e->pointer_written[s->buffer->id] = true;
    if (s->kind == STMT_MATRIX) {
      e->usage.matrix[s->turned][s->value->width] = true;
      e->local_width[s->buffer->id] = 1;
    }
    if (s->kind == STMT_COPY)
      e->usage.copy[s->count * (int)dtype_size(s->buffer->type.dtype)] = true;
    if (s->kind == STMT_LET) {
      e->usage.mma |= s->kop == K_mma_bf16;
      e->usage.tf32 |= s->kop == K_mma_tf32;
      e->usage.pair |= s->kop == K_pair;
    }
    if (s->kind == STMT_POINTER) {
      int64_t length = type_elements(&s->buffer->type);
      int64_t *zeros = &e->usage.zeros[s->buffer->type.dtype];
      *zeros = *zeros > length ? *zeros : length;
    }
    note_uses(e, &s->body);
    note_uses(e, &s->other);
  }
}

/* Sets everything of the emitter that depends on the kernel. */
static void study(Emitter *e, const Kernel *k) {
  CHECK(k->stage == STAGE_LOOP && k->threads >= 1);
  e->kernel = k;
  e->line = 0;
  name_everything(e);
  e->pointer_written = ARENA_ARRAY(e->arena, bool, k->buffers.count);
  e->multiple = ARENA_ARRAY(e->arena, int64_t, k->vars.count);
  e->local_width = ARENA_ARRAY(e->arena, int, k->buffers.count);
  find_multiples(e, &k->body); /* from 0, which every number divides */
  for (int i = 0; i < k->n_grid; i++)
    e->multiple[k->grid[i].var->id] = 1;
  if (k->thread)
    e->multiple[k->thread->id] = 1;
  note_uses(e, &k->body);
  for (int i = 0; i < k->buffers.count; i++)
    if (!e->local_width[i])
      e->local_width[i] = 1;
}

/* ---- statements ---- */

static const char *table_name(Emitter *e, const Table *table) {
  for (int i = 0; i < e->kernel->tables.count; i++)
    if (e->kernel->tables.at[i] == table)
      return e->table_name[i];
  FAULT("kernel %s uses a table it does not own", e->kernel->name);
}

/* The YAML place, once for each run of statements that share it. */
static void place_comment(Emitter *e, Loc loc) {
  if (!loc.source || !loc.line || loc.line == e->line)
    return;
  e->line = loc.line;
  comment(e, spell(e, "%s:%d", loc.source->path, loc.line));
}

/* Every value is set once and used inside the braces it is set in (kernel_check), so it is a const
 * declared where it is set; in lane loops it is an array's element. */
void assign(Emitter *e, const KValue *value, const char *expression) {
  const char *name = spell_value(e, value);
  if (e->lane && value->width > 1)
    line(e, "%s = %s;", name, expression);
  else
    line(e, "const %s %s = %s;", spell_type(e, value->dtype, value->width), name, expression);
}

static void emit_load(Emitter *e, const Stmt *s) {
  const char *read = spell(e, "%s[%s]", e->buffer_name[s->buffer->id], spell_address(e, s));
  if (e->lane && s->has_lanes)
    read = spell(e, "%s < %s ? %s : 0", e->lane, spell_affine(e, &s->lanes), read);
  const char *guards = spell_guards(e, &s->guards);
  if (guards)
    read = spell(e, "%s ? %s : %s", guards, e->lane && s->has_lanes ? spell(e, "(%s)", read) : read,
                 spell_number(e, s->value->dtype, s->number));
  assign(e, s->value, read);
}

static void emit_store(Emitter *e, const Stmt *s) {
  const char *guards = spell_guards(e, &s->guards);
  if (e->lane && s->has_lanes) {
    const char *mask = spell(e, "%s < %s", e->lane, spell_affine(e, &s->lanes));
    guards = guards ? spell(e, "%s && %s", guards, mask) : mask;
  }
  if (guards)
    line(e, "if (%s)", guards);
  e->indent += guards != NULL;
  line(e, "%s[%s] = %s;", e->buffer_name[s->buffer->id], spell_address(e, s),
       spell_value(e, s->value_arg[0]));
  e->indent -= guards != NULL;
}

void emit_scalar(Emitter *e, const Stmt *s) {
  switch (s->kind) {
  case STMT_LOAD: emit_load(e, s); break;
  case STMT_STORE: emit_store(e, s); break;
  case STMT_LET: assign(e, s->value, spell_kop(e, s)); break;
  case STMT_CONST: assign(e, s->value, spell_number(e, s->value->dtype, s->number)); break;
  case STMT_INDEX_VALUE: {
    CHECK(s->value->dtype != DT_bf16); /* has no arithmetic to make use of it */
    const char *at = spell_operand(e, &s->at);
    if (e->lane && s->col_factor)
      at = spell(e, "(%s + %lld*%s)", at, (long long)s->col_factor, e->lane);
    assign(e, s->value, spell(e, "(%s)%s", dtype_name(s->value->dtype), at));
    break;
  }
  default: FAULT("statement %d is not an element's", (int)s->kind);
  }
}

static void emit_block(Emitter *e, const Block *block);

static void emit_for(Emitter *e, const Stmt *s) {
  CHECK(s->step > 0);
  const char *name = e->var_name[s->var->id], *end = spell_affine(e, &s->high);
  int64_t last = affine_high(&s->high);
  if (s->has_high2) {
    int64_t last2 = affine_high(&s->high2);
    end = spell(e, "(%s < %s ? %s : %s)", end, spell_affine(e, &s->high2), end,
                spell_affine(e, &s->high2));
    last = last < last2 ? last : last2;
  }
  int64_t trips = (last - affine_low(&s->low) + s->step - 1) / s->step;
  if (s->unroll == -1 && trips > 1)
    e->dialect->unroll(e, trips);
  else if (s->unroll > 1)
    e->dialect->unroll(e, s->unroll);
  const char *type = spell_index_type(e, s->var->low, last + s->step);
  const char *next = s->step == 1 ? "++" : spell(e, " += %lld", (long long)s->step);
  line(e, "for (%s %s = %s; %s < %s; %s%s) {", type, name, spell_affine(e, &s->low), name, end,
       name, next);
  e->indent++;
  emit_block(e, &s->body);
  e->indent--;
  line(e, "}");
}

static void emit_if(Emitter *e, const Stmt *s) {
  const char *guards = spell_guards(e, &s->guards);
  line(e, "if (%s) {", guards ? guards : "1");
  e->indent++;
  emit_block(e, &s->body);
  e->indent--;
  if (s->other.count) {
    line(e, "} else {");
    e->indent++;
    emit_block(e, &s->other);
    e->indent--;
  }
  line(e, "}");
}

static void emit_index(Emitter *e, const Stmt *s) {
  const char *value = spell_operand(e, &s->at);
  if (s->kind == STMT_LOOKUP)
    value = spell(e, "%s[%s]", s->table ? table_name(e, s->table) : e->buffer_name[s->buffer->id],
                  spell_affine(e, &s->at));
  else {
    if (s->divisor != 1)
      value = spell(e, "%s / %lld", value, (long long)s->divisor);
    if (s->modulus)
      value = spell(e, "%s %% %lld", value, (long long)s->modulus);
  }
  line(e, "const %s %s = %s;", spell_index_type(e, s->var->low, s->var->high),
       e->var_name[s->var->id], value);
}

static void emit_pointer(Emitter *e, const Stmt *s) {
  const char *guards = spell_guards(e, &s->guards), *type = dtype_name(s->buffer->type.dtype);
  const char *address = spell(e, "%s + %s", e->buffer_name[s->base->id], spell_operand(e, &s->at));
  if (guards)
    address = spell(e, "%s ? %s : tricot_zeros_%s", guards, address, type);
  const char *keep = e->pointer_written[s->buffer->id] ? "" : "const ";
  line(e, "%s%s *%s = %s;", keep, type, e->buffer_name[s->buffer->id], address);
}

static void emit_stmt(Emitter *e, const Stmt *s) {
  place_comment(e, s->loc);
  if (stmt_is_device(s)) {
    if (!e->dialect->device)
      FAULT("kernel %s: %s: not in this dialect", e->kernel->name, stmt_text(e->kernel, s));
    e->dialect->device(e, s);
    return;
  }
  switch (s->kind) {
  case STMT_FOR: emit_for(e, s); break;
  case STMT_IF: emit_if(e, s); break;
  case STMT_LOOKUP:
  case STMT_INDEX: emit_index(e, s); break;
  case STMT_POINTER: emit_pointer(e, s); break;
  case STMT_LOAD:
  case STMT_STORE:
  case STMT_LET:
  case STMT_CONST:
  case STMT_INDEX_VALUE: {
    bool vector = s->value && s->value->width > 1;
    for (int i = 0; i < MAX_KOP_ARGS; i++)
      vector = vector || (s->value_arg[i] && s->value_arg[i]->width > 1);
    if (vector)
      e->dialect->vector(e, s);
    else
      emit_scalar(e, s);
    break;
  }
  case STMT_BARRIER: line(e, "%s", e->dialect->barrier); break;
  case STMT_PREFETCH:
    e->dialect->prefetch(e,
                         spell(e, "&%s[%s]", e->buffer_name[s->buffer->id], spell_address(e, s)));
    break;
  default: FAULT("kernel %s: statement %d belongs to the TILE stage", e->kernel->name, s->kind);
  }
}

static void emit_block(Emitter *e, const Block *block) {
  for (int i = 0; i < block->count; i++)
    emit_stmt(e, block->at[i]);
}

/* ---- kernels ---- */

void emit_grid(Emitter *e, const char *type) {
  const Kernel *k = e->kernel;
  int64_t inner = 1;
  const char *text[MAX_GRID];
  if (k->n_grid == 1)
    return; /* the block's number itself */
  for (int i = k->n_grid - 1; i >= 0; i--) {
    const char *block = inner == 1 ? "block" : spell(e, "block / %lld", (long long)inner);
    inner *= k->grid[i].extent;
    text[i] = i == 0 ? block : spell(e, "%s %% %lld", block, (long long)k->grid[i].extent);
  }
  for (int i = 0; i < k->n_grid; i++)
    line(e, "const %s %s = %s;", type, e->var_name[k->grid[i].var->id], text[i]);
}

static void declare_buffers(Emitter *e) {
  const Kernel *k = e->kernel;
  int64_t *offset = ARENA_ARRAY(e->arena, int64_t, k->buffers.count + 1);
  shared_places(k, offset);
  for (int i = 0; i < k->buffers.count; i++) {
    const Buffer *b = k->buffers.at[i];
    const char *type = spell_type(e, b->type.dtype, e->local_width[i]);
    long long elements = (long long)type_elements(&b->type) / e->local_width[i];
    if (b->space == SPACE_SHARED) {
      e->dialect->shared(e, b, offset[i]);
    } else if (b->space == SPACE_LOCAL) {
      line(e, "%s %s[%lld];", type, e->buffer_name[i], elements);
    }
  }
}

static void emit_table(Emitter *e, const Table *table, const char *name) {
  int64_t low = 0, high = 0;
  for (int i = 0; i < table->count; i++) {
    low = table->values[i] < low ? table->values[i] : low;
    high = table->values[i] > high ? table->values[i] : high;
  }
  line(e, "%s %s %s[%d] = {", e->dialect->constant, spell_index_type(e, low, high), name,
       table->count > 0 ? table->count : 1);
  for (int i = 0; i < table->count; i++)
    text_add(e->text, "%s%lld%s", i % 12 ? " " : "    ", (long long)table->values[i],
             i + 1 == table->count ? "\n"
             : i % 12 == 11        ? ",\n"
                                   : ",");
  line(e, "};");
}

static void emit_kernel(Emitter *e) {
  const Kernel *k = e->kernel;
  text_add(e->text, "\n");
  const char *doc = k->doc && *k->doc ? k->doc : k->name;
  if (k->loc.source && k->loc.line)
    doc = spell(e, "%s\n%s:%d", doc, k->loc.source->path, k->loc.line);
  comment(e, doc);
  e->line = k->loc.line;
  for (int i = 0; i < k->tables.count; i++)
    emit_table(e, k->tables.at[i], e->table_name[i]);
  e->dialect->open(e);
  declare_buffers(e);
  emit_block(e, &k->body);
  e->dialect->close(e);
}

int64_t kernel_shared_bytes(const Kernel *k) { return shared_places(k, NULL); }

void emit_text(TextDialect dialect, Kernel *const *kernels, int count, Text *text) {
  Emitter all = {.dialect = dialect == TEXT_C ? &dialect_c : &dialect_cuda, .text = text};
  Emitter *states = mem_alloc(sizeof(Emitter) * (size_t)(count + 1));
  all.arena = arena_new();
  for (int i = 0; i < count; i++) {
    study(&all, kernels[i]);
    states[i] = all;
  }
  all.kernel = NULL;
  all.dialect->prelude(&all);
  for (int d = 0; d < DT_COUNT; d++)
    if (all.usage.zeros[d])
      line(&all, "%s %s tricot_zeros_%s[%lld] = {0};", all.dialect->constant, dtype_name((Dtype)d),
           dtype_name((Dtype)d), (long long)all.usage.zeros[d]);
  for (int i = 0; i < count; i++)
    emit_kernel(&states[i]);
  arena_free(all.arena);
  free(states);
}
