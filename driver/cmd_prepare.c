/* tricot prepare: the runtime's command, with the settings of model and run files. */
#include "driver/host.h"
#include "driver/verbs.h"
#include "runtime/job/prepare_model.h"

/* The model file's path and the settings of the run file, if `file` is one. */
static bool read_request(Arena *arena, const PrepareModel *wanted, ModelRequest *request,
                         Error *error) {
  char *verb[] = {"prepare", NULL};
  Options options;
  CompileRequest full = {0};
  const char *file = wanted->file;
  if (!options_parse(&options, arena, compile_options, NULL, 1, verb, error))
    return false;
  if (wanted->variant && !options_default(&options, "variant", wanted->variant, error))
    return false;
  if (!run_file_complete(&options, &file, error) ||
      !compile_request_from(arena, &options, file, &full, error))
    return false;
  *request = full.model;
  const char **sets = ARENA_ARRAY(arena, const char *, full.model.n_sets + wanted->n_sets + 1);
  for (int i = 0; i < full.model.n_sets; i++)
    sets[i] = full.model.sets[i];
  for (int i = 0; i < wanted->n_sets; i++) /* the command line comes last and wins */
    sets[request->n_sets++] = wanted->sets[i];
  request->sets = sets;
  return true;
}

static bool read_model(Arena *arena, const PrepareModel *wanted, const PlanPair **settings,
                       int *count, Error *error) {
  Diag diag;
  ModelRequest request;
  diag_init(&diag, arena);
  error->text[0] = 0;
  if (!read_request(arena, wanted, &request, error))
    return false;
  const Model *model = model_load(arena, &diag, &request);
  if (!model) {
    diag_print(&diag, stderr);
    return false;
  }
  int n = model_arg_count(model);
  PlanPair *pairs = ARENA_ARRAY(arena, PlanPair, n + 1);
  for (int i = 0; i < n; i++)
    pairs[i] = (PlanPair){model_arg_name(model, i), model_arg_value(model, i)};
  *settings = pairs;
  *count = n;
  return true;
}

int cmd_prepare(int argc, char **argv) { return prepare_main(read_model, argc, argv); }
