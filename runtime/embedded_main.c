/* main() of an executable: the verbs of runtime/job on the model it brings. See embedded.h. */
#include "runtime/embedded.h"
#include "runtime/job/job.h"
#include <stdlib.h>
#include <string.h>

typedef struct Context {
  const char *name;
  const Embedded *embedded;
  EmbeddedModel model;
} Context;

static const OptionRow own_options[] = {
    {"target", OPTION_TEXT, "NAME",
     "cpu, cpu:LEVEL, cuda, cuda:NUMBER, or auto: a CUDA device if there is one that suits, else "
     "cpu (default cpu; cuda in a program without code for processors)",
     NULL},
    {0}};

static bool host_open(void *user, const Options *options, const char *model,
                      const JobRequest *request, Program **program, Error *error) {
  Context *context = user;
  const EmbeddedModel *opened = &context->model;
  (void)model;
  if (!embedded_open(&context->model, context->embedded, options_text(options, "target"),
                     request->threads, error))
    return false;
  if (*opened->note)
    fprintf(stderr, "%s: runs on %s: %s\n", context->name, opened->where, opened->note);
  else if (opened->device.driver)
    fprintf(stderr, "%s: runs on %s\n", context->name, opened->where);
  *program = opened->program;
  return true;
}

static bool host_describe(void *user, const Options *options, Arena *arena, Plan *plan,
                          Error *error) {
  const Context *context = user;
  return embedded_plan(arena, context->embedded, options_text(options, "target"), plan, error);
}

static void host_close(void *user) { embedded_close(&((Context *)user)->model); }

static void usage(const char *name, FILE *out) {
  fprintf(out, "Usage: %s VERB [options]\n\n", name);
  job_print_verbs(out);
  fprintf(out, "\n%s VERB --help shows the options.\nFor research use only. Not for diagnosis.\n",
          name);
}

/* What there is, for info. */
static JobPart *list_parts(const Embedded *embedded, int *count) {
  const EmbeddedCuda *cuda = &embedded->cuda;
  JobPart *parts = mem_alloc(sizeof *parts * (size_t)(embedded->n_levels + cuda->n_images + 1));
  *count = 0;
  for (int i = 0; i < embedded->n_levels; i++)
    parts[(*count)++] =
        (JobPart){"cpu", embedded->levels[i].name, (int64_t)embedded->levels[i].code_size};
  for (int i = 0; i < cuda->n_images; i++)
    parts[(*count)++] = (JobPart){"cuda", cuda->images[i].name, (int64_t)cuda->images[i].code_size};
  return parts;
}

int tricot_embedded_main(const Embedded *embedded, int argc, char **argv) {
  const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
  const char *name = slash ? slash + 1 : argc > 0 ? argv[0] : "model";
  if (argc < 2) {
    usage(name, stderr);
    return EXIT_USAGE;
  }
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
    usage(name, stdout);
    return EXIT_DONE;
  }
  Context context = {.name = name, .embedded = embedded};
  JobHost host = {.name = name,
                  .options = own_options,
                  .context = &context,
                  .describe = host_describe,
                  .open = host_open,
                  .close = host_close,
                  .weights = embedded->weights,
                  .weights_size = embedded->weights_size};
  JobPart *parts = list_parts(embedded, &host.n_parts);
  host.parts = parts;
  int status = job_main(&host, argc - 1, argv + 1);
  free(parts);
  return status;
}
