/* Persistent tensors of a program: initial values, loading, and handing them out for saving.
 *
 * Every element's initial value is a function of the seed, the tensor's name and the element's
 * index alone, so neither the number of threads nor the model around a tensor changes it.
 */
#include "runtime/base/map.h"
#include "runtime/base/random.h"
#include "runtime/base/text.h"
#include "runtime/program_private.h"
#include <math.h>
#include <string.h>

enum { INIT_BLOCK = 4096, NAMED = 6 /* names an error lists */ };

typedef struct Filling {
  const PlanTensor *tensor;
  void *data;
  uint64_t seed, stream;
} Filling;

static double draw(const Filling *f, int64_t index) {
  const PlanTensor *t = f->tensor;
  uint64_t i = (uint64_t)index;
  switch (t->init) {
  case PLAN_CONSTANT: return t->init_a;
  case PLAN_UNIFORM:
    return t->init_a + (t->init_b - t->init_a) * random_uniform(f->seed, f->stream, i);
  case PLAN_NORMAL: return t->init_a + t->init_b * random_normal(f->seed, f->stream, i);
  case PLAN_TRUNCATED: {
    /* one draw in 22 lies outside and is drawn again from a neighbouring stream */
    double z = random_normal(f->seed, f->stream, i);
    for (uint64_t again = 1; fabs(z) > 2; again++)
      z = random_normal(f->seed, f->stream + again, i);
    return t->init_a + t->init_b * z;
  }
  }
  FAULT("initialiser %d", (int)t->init);
}

static void fill_blocks(void *const *arguments, int64_t begin, int64_t end) {
  const Filling *f = arguments[0];
  int64_t count = type_elements(&f->tensor->type), to = end * INIT_BLOCK;
  for (int64_t i = begin * INIT_BLOCK; i < (to < count ? to : count); i++)
    dtype_store(f->tensor->type.dtype, f->data, i, draw(f, i));
}

/* Scratch and views are in no file. */
static bool in_files(const PlanTensor *tensor, bool state) {
  return tensor->role < PLAN_STATE || (tensor->role == PLAN_STATE && state);
}

static bool starts_as_zero(const PlanTensor *tensor) {
  return tensor->init == PLAN_CONSTANT && tensor->init_a == 0;
}

/* Is the tensor among those that are initialized, and by zeros? */
static bool is_zeroed(const PlanTensor *tensor, bool state_only) {
  return starts_as_zero(tensor) && !(state_only && tensor->role < PLAN_STATE);
}

static void initialize(Program *program, uint64_t seed, bool state_only) {
  const Plan *plan = program->plan;
  pool_enter(program->pool);
  for (int i = 0, end; i < plan->n_tensors; i = end) {
    const PlanTensor *t = &plan->tensors[i];
    end = i + 1;
    if (state_only && t->role < PLAN_STATE)
      continue;
    program->current[i] = true;
    if (starts_as_zero(t)) {
      /* neighbours at once: the edges of each would take a page, or a huge one */
      while (end < plan->n_tensors && is_zeroed(&plan->tensors[end], state_only))
        program->current[end++] = true;
      unsigned char *last = program->tensors[end - 1], *start = program->persistent.at;
      region_zero(&program->persistent, (size_t)((unsigned char *)program->tensors[i] - start),
                  (size_t)(last - start) + type_bytes(&plan->tensors[end - 1].type));
      continue;
    }
    Filling filling = {t, program->tensors[i], seed, hash_bytes(t->name, strlen(t->name), 0)};
    void *arguments[] = {&filling};
    pool_run(program->pool, fill_blocks, arguments,
             (type_elements(&t->type) + INIT_BLOCK - 1) / INIT_BLOCK);
  }
  pool_leave(program->pool);
  program_touch(program);
}

void program_initialize(Program *program, uint64_t seed) { initialize(program, seed, false); }

void program_initialize_state(Program *program, uint64_t seed) { initialize(program, seed, true); }

/* A scalar and a tensor of one element hold the same; everything else must agree. */
static bool fits(const Type *file, const Type *plan) {
  Type same = *file;
  same.dtype = plan->dtype;
  return type_equal(&same, plan) || (type_elements(file) == 1 && file->rank <= 1 &&
                                     plan->rank <= 1 && type_elements(plan) == 1);
}

typedef struct Complaints {
  int missing, misfits;
  Text missing_names, misfit_names;
} Complaints;

static void complain(Complaints *c, const PlanTensor *want, const Tensor *have) {
  if (!have && c->missing++ < NAMED)
    text_add(&c->missing_names, "%s%.80s", c->missing > 1 ? ", " : "", want->name);
  if (have && c->misfits++ < NAMED) {
    text_add(&c->misfit_names, "%s%.80s", c->misfits > 1 ? ", " : "", want->name);
    text_add(&c->misfit_names, " is %s", type_text(&have->type));
    text_add(&c->misfit_names, " instead of %s", type_text(&want->type));
  }
}

static bool report(const Complaints *c, int wanted, Error *error) {
  if (!c->missing && !c->misfits)
    return true;
  Text text = {0};
  if (c->missing)
    text_add(&text, "%d of %d tensors are missing: %s%s", c->missing, wanted, c->missing_names.at,
             c->missing > NAMED ? ", ..." : "");
  if (c->misfits)
    text_add(&text, "%s%d of %d tensors do not fit: %s%s", c->missing ? "; " : "", c->misfits,
             wanted, c->misfit_names.at, c->misfits > NAMED ? ", ..." : "");
  error_set(error, "%s", text.at);
  text_free(&text);
  return false;
}

static bool all_there(const Plan *plan, const TensorFile *file, bool want_state, Error *error) {
  Complaints c = {0};
  int wanted = 0;
  for (int i = 0; i < plan->n_tensors; i++) {
    const PlanTensor *t = &plan->tensors[i];
    const Tensor *have = tensor_file_find(file, t->name);
    if (!in_files(t, want_state))
      continue;
    wanted++;
    if (!have || !fits(&have->type, &t->type))
      complain(&c, t, have);
  }
  bool good = report(&c, wanted, error);
  text_free(&c.missing_names);
  text_free(&c.misfit_names);
  return good;
}

/* arguments: Tensor of the file, PlanTensor, destination */
static void convert_blocks(void *const *arguments, int64_t begin, int64_t end) {
  const Tensor *from = arguments[0];
  const PlanTensor *to = arguments[1];
  int64_t count = type_elements(&to->type), last = end * INIT_BLOCK;
  for (int64_t i = begin * INIT_BLOCK; i < (last < count ? last : count); i++)
    dtype_store(to->type.dtype, arguments[2], i, dtype_load(from->type.dtype, from->data, i));
}

bool program_load(Program *program, const TensorFile *file, bool want_state, Error *error) {
  const Plan *plan = program->plan;
  if (!all_there(plan, file, want_state, error))
    return false;
  for (int i = 0; i < plan->n_tensors; i++) {
    const PlanTensor *t = &plan->tensors[i];
    const Tensor *have = tensor_file_find(file, t->name);
    if (!in_files(t, want_state))
      continue;
    size_t bytes = type_bytes(&t->type);
    program->current[i] = true;
    if (have->type.dtype == t->type.dtype) {
      if (bytes)
        memcpy(program->tensors[i], have->data, bytes);
      file_mapping_rest(&file->mapping, have->data, bytes);
      continue;
    }
    void *arguments[] = {(void *)have, (void *)t, program->tensors[i]};
    pool_run(program->pool, convert_blocks, arguments,
             (type_elements(&t->type) + INIT_BLOCK - 1) / INIT_BLOCK);
    file_mapping_rest(&file->mapping, have->data, type_bytes(&have->type));
  }
  program_touch(program);
  return true;
}

int program_tensors(Program *program, bool state, Tensor *out, int room) {
  const Plan *plan = program->plan;
  int count = 0;
  for (int i = 0; i < plan->n_tensors; i++) {
    if (!in_files(&plan->tensors[i], state))
      continue;
    if (count < room)
      out[count] =
          (Tensor){plan->tensors[i].name, plan->tensors[i].type, program_hosted(program, i)};
    count++;
  }
  return count;
}
