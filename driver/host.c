/* Jobs of the tricot command: run, train, eval, predict, info, bench. See host.h. */
#include "driver/host.h"
#include "driver/verbs.h"
#include "frontend/yaml.h"
#include <stdlib.h>
#include <string.h>

const OptionRow compile_options[] = {
    {"variant", OPTION_TEXT, "NAME", "of the model file (clip files: of their image encoder)",
     NULL},
    {"set", OPTION_TEXT, "ARG=VALUE", "sets an argument: text.width=64, volume=[32,64,64]", NULL},
    {"target", OPTION_TEXT, "NAME",
     "cpu, cpu:LEVEL, cuda, cuda:NUMBER, c, cuda-shim or interp (default cpu)", NULL},
    {"precision", OPTION_CHOICE, "f32|tf32|bf16",
     "bf16: of products and of what kernels hand on; tf32: products of f32 on a CUDA device's "
     "matrix units, with factors rounded to 11 bits; sums and parameters stay f32 (default f32)",
     NULL},
    {"skip", OPTION_TEXT, "PASSES", "passes not to run: knit,cse", NULL},
    {"stop-after", OPTION_TEXT, "PASS", "run no pass after this one", "compile"},
    {"dump", OPTION_TEXT, "STAGES", "graphs after passes (all), tiles, kernels, memory", NULL},
    {"memory-budget", OPTION_BYTES, "SIZE",
     "compute again rather than keep until weights, state and working memory of each entry point "
     "fit "
     "(400M, 0.4GiB)",
     NULL},
    {"timing", OPTION_FLAG, "", "seconds of each stage of compilation on stderr", NULL},
    {0}};

/* "a,b,c" into an arena list. */
static const char *const *split_list(Arena *arena, const char *text, int *count) {
  VEC(const char *) items = {0};
  while (text && *text) {
    size_t n = strcspn(text, ",");
    if (n)
      vec_push(arena, &items, (const char *)arena_strndup(arena, text, n));
    text += n + (text[n] == ',');
  }
  *count = items.count;
  return items.at;
}

static bool known_passes(const char *const *names, int count, Error *error) {
  for (int i = 0; i < count; i++)
    if (!pass_find(names[i]) && !pass_can_skip(names[i]))
      return error_set(error, "--skip: no pass is called '%s' (tricot opt --list shows them)",
                       names[i]);
  return true;
}

/* Repeated options add up: --skip a --skip b is --skip a,b. */
static const char *joined(Arena *arena, const Options *options, const char *name) {
  const char *all = NULL, *next;
  for (int i = 0; (next = options_nth(options, name, i)); i++)
    all = all ? arena_printf(arena, "%s,%s", all, next) : next;
  return all;
}

bool compile_request_from(Arena *arena, const Options *options, const char *model,
                          CompileRequest *request, Error *error) {
  VEC(const char *) sets = {0};
  const char *set;
  for (int i = 0; (set = options_nth(options, "set", i)); i++)
    vec_push(arena, &sets, set);
  request->model = (ModelRequest){.path = model,
                                  .variant = options_text(options, "variant"),
                                  .sets = sets.at,
                                  .n_sets = sets.count};
  request->target = options_text(options, "target");
  if (!request->target)
    request->target = "cpu";
  const char *precision = options_text(options, "precision");
  request->mixed = precision && strcmp(precision, "bf16") == 0;
  request->tf32 = precision && strcmp(precision, "tf32") == 0;
  PassOptions *passes = &request->passes;
  passes->skip = split_list(arena, joined(arena, options, "skip"), &passes->n_skip);
  passes->stop_after = options_text(options, "stop-after");
  passes->memory_budget = options_bytes(options, "memory-budget", 0);
  if (passes->memory_budget && strcmp(request->target, "interp") == 0)
    return error_set(error, "--memory-budget: the target interp plans no memory");
  for (int i = 0; i < passes->n_skip && passes->memory_budget; i++)
    if (strcmp(passes->skip[i], "remat") == 0)
      return error_set(error, "--memory-budget: pass remat is left out");
  passes->timing = request->timing = options_flag(options, "timing");
  passes->dump_to = stdout;
  int n_dump;
  const char *const *dump = split_list(arena, joined(arena, options, "dump"), &n_dump);
  const char **graphs = ARENA_ARRAY(arena, const char *, n_dump + 1);
  for (int i = 0; i < n_dump; i++) {
    if (strcmp(dump[i], "tiles") == 0)
      request->dump_tiles = true;
    else if (strcmp(dump[i], "kernels") == 0)
      request->dump_kernels = true;
    else if (strcmp(dump[i], "memory") == 0)
      request->dump_memory = true;
    else
      graphs[passes->n_dump++] = dump[i];
  }
  passes->dump = graphs;
  return known_passes(passes->skip, passes->n_skip, error);
}

/* ---- run files ---- */

static const char *beside(Arena *arena, const char *file, const char *name) {
  const char *slash = strrchr(file, '/');
  return !slash || *name == '/' ? name
                                : arena_printf(arena, "%.*s/%s", (int)(slash - file), file, name);
}

/* Which options name files: in a run file they are relative to it. */
static bool is_path(const char *key) {
  static const char *const paths[] = {"data",       "cache", "vocab", "weights",
                                      "checkpoint", "out",   "log"};
  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
    if (strcmp(key, paths[i]) == 0)
      return true;
  return false;
}

static bool add_set(Options *options, const Yaml *sets, Error *error) {
  for (int i = 0; i < sets->count; i++) {
    const Yaml *key = sets->pairs[i].key, *value = sets->pairs[i].value;
    /* the value's own source text, so that lists and expressions stay as written */
    const Source *source = value->loc.source;
    char *text = arena_strndup(options->arena, source->text + value->start,
                               value->kind == YAML_SCALAR ? value->stop - value->start : 0);
    if (value->kind != YAML_SCALAR)
      return error_set(error, "%s:%d:%d: error: write the value of '%s' in quotes", source->path,
                       value->loc.line, value->loc.column, key->text);
    if (value->style != YAML_PLAIN)
      text = arena_strdup(options->arena, value->text);
    OptionValue set = {NULL, arena_printf(options->arena, "%s=%s", key->text, text)};
    for (int t = 0; t < 2 && !set.row; t++)
      for (const OptionRow *row = options->tables[t]; row && row->name; row++)
        if (strcmp(row->name, "set") == 0)
          set.row = row;
    /* before what the command line sets, which therefore wins */
    vec_push(options->arena, &options->values, set);
    memmove(options->values.at + 1, options->values.at,
            sizeof *options->values.at * (size_t)(options->values.count - 1));
    options->values.at[0] = set;
  }
  return true;
}

static bool nested_options(Options *options, const char *path, const char *outer,
                           const Yaml *mapping, Error *error) {
  for (int i = 0; i < mapping->count; i++) {
    const Yaml *key = mapping->pairs[i].key, *value = mapping->pairs[i].value;
    const char *name = arena_printf(options->arena, "%s.%s", outer, key->text);
    Error why;
    if (job_knows_option(name) && !options_known(options, name))
      continue;
    if (value->kind != YAML_SCALAR)
      return error_set(error, "%s:%d:%d: error: '%s' has a text or a number as its value", path,
                       value->loc.line, value->loc.column, name);
    if (!options_default(options, name, value->text, &why))
      return error_set(error, "%s:%d:%d: error: %s", path, value->loc.line, value->loc.column,
                       why.text);
  }
  return true;
}

bool run_file_complete(Options *options, const char **model, Error *error) {
  Diag diag;
  diag_init(&diag, options->arena);
  const char *path = *model;
  Yaml *file = yaml_read(&diag, path, (Loc){0});
  if (!file || !yaml_get(file, "run")) /* a model file: its own reader reports what is wrong */
    return true;
  Yaml *name = yaml_get(file, "model");
  if (!name || name->kind != YAML_SCALAR)
    return error_set(error, "%s: error: a run file names its model: `model: FILE`", path);
  *model = beside(options->arena, path, name->text);
  for (int i = file->count - 1; i >= 0; i--) {
    const char *key = file->pairs[i].key->text;
    Yaml *value = file->pairs[i].value;
    if (strcmp(key, "run") == 0 || strcmp(key, "model") == 0 || strcmp(key, "tricot") == 0 ||
        strcmp(key, "doc") == 0)
      continue;
    Error why;
    if (strcmp(key, "set") == 0) {
      if (value->kind != YAML_MAPPING)
        return error_set(error, "%s:%d:%d: error: `set` is a mapping of arguments to values", path,
                         value->loc.line, value->loc.column);
      if (!add_set(options, value, error))
        return false;
      continue;
    }
    if (value->kind == YAML_MAPPING) { /* loss: {negatives: micro} is loss.negatives: micro */
      if (!nested_options(options, path, key, value, error))
        return false;
      continue;
    }
    const char *text = value->kind == YAML_SCALAR ? value->text : "";
    if (job_knows_option(key) && !options_known(options, key))
      continue; /* for another verb: one run file serves train, eval and predict */
    if (!options_default(options, key, is_path(key) ? beside(options->arena, path, text) : text,
                         &why))
      return error_set(error, "%s:%d:%d: error: %s", path, file->pairs[i].key->loc.line,
                       file->pairs[i].key->loc.column, why.text);
  }
  return true;
}

/* ---- the host ---- */

typedef struct Host {
  Arena *arena;
  Compiled compiled;
  bool open;
  const char *model; /* after the run file was read */
} Host;

static bool complete(void *context, Options *options, const char *model, Error *error) {
  Host *host = context;
  host->model = model;
  return run_file_complete(options, &host->model, error);
}

/* The batch of given inputs: the leading dimension of volumes, or of the starts of packed texts. */
static int64_t batch_of(const char *inputs, Error *error, bool *good) {
  TensorFile file;
  int64_t batch = 0;
  *good = tensor_file_open(&file, inputs, error);
  if (!*good)
    return 0;
  for (int i = 0; i < file.count; i++)
    if ((strcmp(file.tensors[i].name, "volume") == 0 ||
         strcmp(file.tensors[i].name, "text_starts") == 0) &&
        file.tensors[i].type.rank > 0)
      batch = file.tensors[i].type.dim[0];
  tensor_file_close(&file);
  return batch;
}

static bool look_at_model(void *context, const Options *options, const PlanPair **settings,
                          int *count, Error *error) {
  Host *host = context;
  CompileRequest request = {0};
  Diag diag;
  diag_init(&diag, host->arena);
  if (!compile_request_from(host->arena, options, host->model, &request, error))
    return false;
  Model *model = model_load(host->arena, &diag, &request.model);
  if (model)
    *settings = model_settings(host->arena, model, count);
  diag_print(&diag, stderr);
  return model != NULL;
}

static bool open_program(void *context, const Options *options, const char *model,
                         const JobRequest *want, Program **program, Error *error) {
  Host *host = context;
  CompileRequest request = {.threads = want->threads};
  (void)model;
  if (!compile_request_from(host->arena, options, host->model, &request, error))
    return false;
  bool batch_set = false, good = true;
  for (int i = 0; i < request.model.n_sets; i++)
    batch_set |= strncmp(request.model.sets[i], "batch=", 6) == 0;
  int64_t batch = want->batch;
  if (!batch && want->inputs && !batch_set)
    batch = batch_of(want->inputs, error, &good);
  if (!good)
    return false;
  if (batch && !batch_set) {
    const char **sets = ARENA_ARRAY(host->arena, const char *, request.model.n_sets + 1);
    for (int i = 0; i < request.model.n_sets; i++)
      sets[i] = request.model.sets[i];
    sets[request.model.n_sets++] = arena_printf(host->arena, "batch=%lld", (long long)batch);
    request.model.sets = sets;
  }
  EntryRequest entries[JOB_MAX_ENTRIES + 1];
  for (int i = 0; i < want->n_entries; i++)
    entries[i] = (EntryRequest){.entry = want->entries[i],
                                .name = want->names[i] ? want->names[i] : want->entries[i],
                                .training = want->training[i],
                                .batch = want->batches[i],
                                .times = want->times[i],
                                .sets = want->sets[i],
                                .optional_sets = want->optional_sets[i],
                                .keep_taps = want->taps,
                                .keep_gradients = want->gradients};
  int n = want->n_entries;
  if (n == 0) {
    entries[n++] = (EntryRequest){.entry = "encode_image", .name = "encode_image", .batch = 1};
  }
  request.entries = entries;
  request.n_entries = n;
  host->open = true;
  if (!compiled_open(&host->compiled, &request, error)) {
    diag_print(&host->compiled.diag, stderr);
    return false;
  }
  *program = host->compiled.program;
  return true;
}

static void close_program(void *context) {
  Host *host = context;
  if (host->open)
    compiled_close(&host->compiled);
  host->open = false;
}

int cmd_job(int argc, char **argv) {
  Host host = {.arena = arena_new()};
  JobHost job = {.name = "tricot",
                 .options = compile_options,
                 .model_argument = true,
                 .context = &host,
                 .complete = complete,
                 .settings = look_at_model,
                 .open = open_program,
                 .close = close_program};
  int status = job_main(&job, argc, argv);
  arena_free(host.arena);
  return status;
}
