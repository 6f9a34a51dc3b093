/* The parts of a compiled model, and which of them runs here. See embedded.h. */
#include "runtime/embedded.h"
#include <stdlib.h>
#include <string.h>

static const char *const level_names[] = {"x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4",
                                          "x86-64-v4-bf16"};
enum { LEVELS = sizeof level_names / sizeof *level_names };

int embedded_level_rank(const char *level) {
  for (int i = 0; i < LEVELS; i++)
    if (strcmp(level, level_names[i]) == 0)
      return i + 1;
  return strcmp(level, "aarch64") == 0;
}

bool embedded_level_supported(const char *level) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  switch (strcmp(level, "aarch64") == 0 ? 0 : embedded_level_rank(level)) {
  case 1: return true;
  case 2: return __builtin_cpu_supports("x86-64-v2");
  case 3: return __builtin_cpu_supports("x86-64-v3");
  case 4: return __builtin_cpu_supports("x86-64-v4");
  case 5: return __builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512bf16");
  default: return false;
  }
#elif defined(__aarch64__)
  return strcmp(level, "aarch64") == 0;
#else
  (void)level;
  return false;
#endif
}

/* The best level of this processor, for messages. */
static const char *this_processor(void) {
  const char *best = "another architecture";
  for (int i = 0; i < LEVELS; i++)
    if (embedded_level_supported(level_names[i]))
      best = level_names[i];
  return embedded_level_supported("aarch64") ? "aarch64" : best;
}

const EmbeddedLevel *embedded_choose(const Embedded *embedded, const char *wanted, Error *error) {
  const EmbeddedLevel *best = NULL;
  for (int i = 0; i < embedded->n_levels; i++) {
    const EmbeddedLevel *level = &embedded->levels[i];
    if (wanted ? strcmp(level->name, wanted) == 0
               : embedded_level_supported(level->name) &&
                     (!best || embedded_level_rank(level->name) > embedded_level_rank(best->name)))
      best = level;
  }
  if (best && embedded_level_supported(best->name))
    return best;
  Text parts = {0};
  embedded_parts(embedded, &parts);
  error_set(error, "this processor (%s) cannot run %s%s; this program was built for: %s",
            this_processor(), wanted ? "level " : "it", wanted ? wanted : "",
            parts.size ? parts.at : "nothing");
  text_free(&parts);
  return NULL;
}

void embedded_parts(const Embedded *embedded, Text *out) {
  for (int i = 0; i < embedded->n_levels; i++)
    text_add(out, "%scpu:%s", i ? ", " : "", embedded->levels[i].name);
  for (int i = 0; i < embedded->cuda.n_images; i++)
    text_add(out, "%scuda:%s", embedded->n_levels || i ? ", " : "", embedded->cuda.images[i].name);
}

/* ---- targets ---- */

typedef struct Wish {
  bool cuda, otherwise_cpu; /* otherwise: where no device suits */
  int device;
  const char *level; /* NULL: the best */
} Wish;

/* "1" after "cuda:". */
static bool is_number(const char *text, int *number) {
  size_t digits = strspn(text, "0123456789");
  *number = atoi(text);
  return digits && digits < 4 && !text[digits];
}

static bool read_wish(const Embedded *embedded, const char *target, Wish *wish, Error *error) {
  bool has_cuda = embedded->cuda.n_images > 0;
  *wish = (Wish){0};
  if (embedded->version != EMBEDDED_VERSION)
    return error_set(error,
                     "the model was built for another version of its runtime (%d, this is %d)",
                     embedded->version, EMBEDDED_VERSION);
  if (!target)
    wish->cuda = !embedded->n_levels;
  else if (strcmp(target, "auto") == 0)
    *wish = (Wish){.cuda = has_cuda, .otherwise_cpu = embedded->n_levels > 0};
  else if (strncmp(target, "cpu:", 4) == 0 && target[4])
    wish->level = target + 4;
  else if (strncmp(target, "cuda", 4) == 0 &&
           (!target[4] || (target[4] == ':' && is_number(target + 5, &wish->device))))
    wish->cuda = true;
  else if (strcmp(target, "cpu") != 0)
    return error_set(error,
                     "--target %.60s: error: unknown target (cpu, cpu:LEVEL, cuda, cuda:NUMBER "
                     "or auto)",
                     target);
  if (!wish->cuda || has_cuda)
    return true;
  Text parts = {0};
  embedded_parts(embedded, &parts);
  error_set(error, "--target %.60s: error: this program has no code for CUDA devices, only %s",
            target ? target : "cuda", parts.size ? parts.at : "nothing");
  text_free(&parts);
  return false;
}

/* ---- opening ---- */

static ProgramKernel *find_kernel(void *context, const char *name) {
  const EmbeddedLevel *level = context;
  for (int i = 0; i < level->n_kernels; i++)
    if (strcmp(level->kernel_names[i], name) == 0)
      return level->kernels[i];
  return NULL;
}

static bool open_level(EmbeddedModel *model, const Embedded *embedded, const char *wanted,
                       int threads, Error *error) {
  const EmbeddedLevel *level = embedded_choose(embedded, wanted, error);
  if (!level)
    return false;
  snprintf(model->where, sizeof model->where, "cpu:%s", level->name);
  return plan_read(model->arena, level->plan, level->plan_size, &model->plan, error) &&
         program_open(&model->program, &model->plan, find_kernel, (void *)level, threads, error);
}

static const CudaImage *read_images(Arena *arena, const EmbeddedCuda *cuda) {
  CudaImage *images = ARENA_ARRAY(arena, CudaImage, cuda->n_images);
  for (int i = 0; i < cuda->n_images; i++) {
    const EmbeddedImage *from = &cuda->images[i];
    images[i] = (CudaImage){.data = from->code, .size = from->code_size};
    if (!cuda_arch_parse(from->name, &images[i].arch, &images[i].ptx))
      FAULT("code for %s", from->name);
  }
  return images;
}

/* The device, and the image it takes; -1 and an error: there is none. */
static int find_device(EmbeddedModel *model, const EmbeddedCuda *cuda, const CudaImage *images,
                       int number, Error *error) {
  CudaCode code = {&model->device, images, cuda->n_images};
  if (!cuda_device_open(&model->device, number, error))
    return -1;
  int chosen = cuda_image_choose(images, cuda->n_images, model->device.capability);
  if (chosen < 0)
    cuda_no_image(&code, error);
  return chosen;
}

static bool open_cuda(EmbeddedModel *model, const EmbeddedCuda *cuda, const CudaImage *images,
                      int chosen, int threads, Error *error) {
  const CudaDevice *device = &model->device;
  CudaCode code = {device, images, cuda->n_images};
  const char *name = cuda->images[chosen].name;
  snprintf(model->where, sizeof model->where, "cuda:%d (%.120s), its code for %s%s", device->number,
           device->name, name, images[chosen].ptx ? ", compiled by the driver" : "");
  if (!plan_read(model->arena, cuda->plan, cuda->plan_size, &model->plan, error))
    return false;
  model->plan.level = name;
  return cuda_program_open(&model->program, &model->plan, &code, threads, error);
}

bool embedded_open(EmbeddedModel *model, const Embedded *embedded, const char *target, int threads,
                   Error *error) {
  Wish wish;
  Error inner;
  *model = (EmbeddedModel){.arena = arena_new()};
  if (!read_wish(embedded, target, &wish, error))
    return false;
  if (!wish.cuda)
    return open_level(model, embedded, wish.level, threads, error);
  const CudaImage *images = read_images(model->arena, &embedded->cuda);
  int chosen = find_device(model, &embedded->cuda, images, wish.device, &inner);
  if (chosen >= 0)
    return open_cuda(model, &embedded->cuda, images, chosen, threads, error);
  cuda_device_close(&model->device);
  if (!wish.otherwise_cpu)
    return error_set(error, "--target %s: error: %s", target ? target : "cuda", inner.text);
  snprintf(model->note, sizeof model->note, "%.499s", inner.text);
  return open_level(model, embedded, NULL, threads, error);
}

bool embedded_plan(Arena *arena, const Embedded *embedded, const char *target, Plan *plan,
                   Error *error) {
  Wish wish;
  if (!read_wish(embedded, target, &wish, error))
    return false;
  if (wish.cuda)
    return plan_read(arena, embedded->cuda.plan, embedded->cuda.plan_size, plan, error);
  const EmbeddedLevel *level = embedded_choose(embedded, wish.level, error);
  return level && plan_read(arena, level->plan, level->plan_size, plan, error);
}

void embedded_close(EmbeddedModel *model) {
  program_close(model->program);
  cuda_device_close(&model->device);
  if (model->arena)
    arena_free(model->arena);
  *model = (EmbeddedModel){0};
}
