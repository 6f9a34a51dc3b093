/* Levels of a compiled model, and main() of an executable. See embedded.h. */
#include "runtime/embedded.h"
#include "runtime/job/job.h"
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
  Text names = {0};
  if (embedded->version != EMBEDDED_VERSION) {
    error_set(error, "the model was built for another version of its runtime (%d, this is %d)",
              embedded->version, EMBEDDED_VERSION);
    return NULL;
  }
  for (int i = 0; i < embedded->n_levels; i++) {
    const EmbeddedLevel *level = &embedded->levels[i];
    text_add(&names, "%s%s", i ? ", " : "", level->name);
    if (wanted ? strcmp(level->name, wanted) == 0
               : embedded_level_supported(level->name) &&
                     (!best || embedded_level_rank(level->name) > embedded_level_rank(best->name)))
      best = level;
  }
  if (best && !embedded_level_supported(best->name))
    best = NULL;
  if (!best)
    error_set(error, "this processor (%s) cannot run %s%s; this program was built for: %s",
              this_processor(), wanted ? "level " : "it", wanted ? wanted : "",
              names.size ? names.at : "nothing");
  text_free(&names);
  return best;
}

static ProgramKernel *find_kernel(void *context, const char *name) {
  const EmbeddedLevel *level = context;
  for (int i = 0; i < level->n_kernels; i++)
    if (strcmp(level->kernel_names[i], name) == 0)
      return level->kernels[i];
  return NULL;
}

bool embedded_open(EmbeddedModel *model, const EmbeddedLevel *level, int threads, Error *error) {
  *model = (EmbeddedModel){.arena = arena_new()};
  return plan_read(model->arena, level->plan, level->plan_size, &model->plan, error) &&
         program_open(&model->program, &model->plan, find_kernel, (void *)level, threads, error);
}

void embedded_close(EmbeddedModel *model) {
  program_close(model->program);
  if (model->arena)
    arena_free(model->arena);
  *model = (EmbeddedModel){0};
}

/* ---- the executable ---- */

typedef struct Context {
  const Embedded *embedded;
  EmbeddedModel model;
} Context;

static const OptionRow own_options[] = {
    {"level", OPTION_TEXT, "NAME", "run the code for this level of processor", NULL}, {0}};

static bool host_open(void *user, const Options *options, const char *model,
                      const JobRequest *request, Program **program, Error *error) {
  Context *context = user;
  (void)model;
  const EmbeddedLevel *level =
      embedded_choose(context->embedded, options_text(options, "level"), error);
  if (!level || !embedded_open(&context->model, level, request->threads, error))
    return false;
  *program = context->model.program;
  return true;
}

static void host_close(void *user) { embedded_close(&((Context *)user)->model); }

static void usage(const char *name, FILE *out) {
  fprintf(out, "Usage: %s VERB [options]\n\n", name);
  job_print_verbs(out);
  fprintf(out, "\n%s VERB --help shows the options.\nFor research use only. Not for diagnosis.\n",
          name);
}

int tricot_embedded_main(const Embedded *embedded, int argc, char **argv) {
  const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
  const char *name = slash ? slash + 1 : argc > 0 ? argv[0] : "model";
  Context context = {.embedded = embedded};
  JobHost host = {.name = name,
                  .options = own_options,
                  .context = &context,
                  .open = host_open,
                  .close = host_close,
                  .weights = embedded->weights,
                  .weights_size = embedded->weights_size};
  if (argc < 2) {
    usage(name, stderr);
    return EXIT_USAGE;
  }
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
    usage(name, stdout);
    return EXIT_DONE;
  }
  return job_main(&host, argc - 1, argv + 1);
}
