/* Verbs, their options, and opening a program for them. See job.h. */
#include "runtime/job/job.h"
#include "runtime/job/command.h"
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Verb {
  const char *name, *arguments, *doc;
  int (*run)(Job *job);
  const char *examples; /* lines without the command's name; %s: the model argument, if any */
} Verb;

static const Verb verbs[] = {
    {"train", "", "train on a data set, with checkpoints, a log and resume", verb_train,
     "train%s --cache CACHE --vocab vocab.txt --out run --epochs 15 --lr 1e-4\n"
     "train%s --cache CACHE --vocab vocab.txt --out run "
     "--resume run/checkpoint-00001000.safetensors"},
    {"eval", "zeroshot|retrieval|probe",
     "score on a data set: CSV, JSON, tables and an HTML report", verb_eval,
     "eval zeroshot%s --cache CACHE --vocab vocab.txt --weights run/model.safetensors "
     "--out eval\n"
     "eval retrieval%s --cache CACHE --vocab vocab.txt --weights run/model.safetensors "
     "--out eval --k 1,10\n"
     "eval probe%s --cache CACHE --weights run/model.safetensors --out eval"},
    {"predict", "VOLUME...", "findings of CT volumes (.nii, .nii.gz, prepared .safetensors)",
     verb_predict,
     "predict%s scan.nii.gz --vocab vocab.txt --weights run/model.safetensors --json"},
    {"run", "", "run one entry point on given tensors", verb_run,
     "run%s --entry encode_image --weights w.safetensors --inputs in.safetensors "
     "--outputs out.safetensors"},
    {"info", "", "what is in the program: entry points, memory, settings", verb_info, "info%s"},
    {"bench", "", "time an entry point, kernel by kernel, against what the machine can do",
     verb_bench,
     "bench%s --entry encode_image --repeat 5\n"
     "bench%s --entry train_step --json\n"
     "bench%s --entry encode_image --trace trace.json"}};
enum { N_VERBS = sizeof verbs / sizeof *verbs };

static const OptionRow rows[] = {
    {"entry", OPTION_TEXT, "NAME", "the entry point", "run bench"},
    {"inputs", OPTION_TEXT, "FILE", "its inputs, safetensors", "run bench"},
    {"outputs", OPTION_TEXT, "FILE", "where its outputs go, safetensors", "run"},
    {"mode", OPTION_TEXT, "infer|train", "running or batch statistics (default infer)",
     "run bench"},
    {"save-taps", OPTION_FLAG, "", "train_step: also outputs and taps of step 0", "run"},
    {"save-grads", OPTION_FLAG, "", "train_step: grad.PARAMETER of step 0", "run"},
    {"save-params", OPTION_FLAG, "", "param.NAME after the last step, buffers included", "run"},
    {"save-buffers", OPTION_FLAG, "", "buffer.NAME after the run", "run"},
    {"weights", OPTION_TEXT, "FILE", "parameters and buffers, safetensors",
     "train eval predict run bench"},
    {"checkpoint", OPTION_TEXT, "FILE", "the same, from a checkpoint of train",
     "train eval predict run bench"},
    {"data", OPTION_TEXT, "DIR", "a CT-RATE tree, prepared into --cache as needed", "train eval"},
    {"cache", OPTION_TEXT, "DIR", "prepared volumes (tricot prepare --dataset)", "train eval"},
    {"split", OPTION_TEXT, "NAME", "of the data set (train: train, eval: valid)", "train eval"},
    {"skip-incomplete", OPTION_FLAG, "", "leave out volumes that lack rows", "train eval"},
    {"vocab", OPTION_TEXT, "FILE", "the text encoder's vocabulary", "train eval predict"},
    {"loaders", OPTION_COUNT, "N", "threads that read ahead (default: a quarter of the CPUs)",
     "train eval"},
    {"spacing", OPTION_TEXT, "Z:XY", "mm of a voxel after resampling (default: prepare.spacing)",
     "train eval predict"},
    {"metadata", OPTION_TEXT, "CSV", "rescale and spacing by volume name", "predict"},
    {"orientation", OPTION_TEXT, "AXES",
     "turn volumes so that x, y, z point there (LPS), or stored (default: as in training)",
     "predict"},
    {"out", OPTION_TEXT, "PATH", "folder for results (predict: file instead of stdout)",
     "train eval predict"},
    {"limit", OPTION_COUNT, "N", "use the first N volumes only", "train eval"},
    {"epochs", OPTION_COUNT, "N", "passes over the data (default 1)", "train"},
    {"steps", OPTION_COUNT, "N", "train: steps in all, instead of --epochs; run: steps (1)",
     "train run"},
    {"batch", OPTION_COUNT, "N", "samples at a time, where it is not fixed yet", "train run bench"},
    {"lr", OPTION_REAL, "RATE", "learning rate (default: the model's setting)", "train run"},
    {"k", OPTION_TEXT, "LIST", "retrieval: recall at these ranks (default 1,5,10,50,100)", "eval"},
    {"thresholds", OPTION_TEXT, "WHICH",
     "half, corner or youden (fitted on these volumes), or a FILE of fitted ones", "eval"},
    {"bootstrap", OPTION_COUNT, "N", "replicates of the 95 % intervals (default 1000, 0: none)",
     "eval"},
    {"log", OPTION_TEXT, "CSV", "training log for the report (default: beside the weights)",
     "eval"},
    {"as-published", OPTION_FLAG, "", "probe: the procedure of the released code", "eval"},
    {"probe-epochs", OPTION_COUNT, "N", "--as-published: passes over the data (17)", "eval"},
    {"probe-batch", OPTION_COUNT, "N", "--as-published: volumes in a batch (8)", "eval"},
    {"probe-accumulate", OPTION_COUNT, "N", "--as-published: batches of a step (8)", "eval"},
    {"probe-lr", OPTION_REAL, "RATE", "--as-published: (1e-5 * volumes of a step / 256)",
     "eval"},
    {"probe-l2", OPTION_REAL, "X", "probe: weight of the squared norm (default 1e-4)", "eval"},
    {"warmup", OPTION_COUNT, "N", "steps over which the rate rises to it", "train"},
    {"schedule", OPTION_CHOICE, "constant|cosine", "of the rate after that (default constant)",
     "train"},
    {"lr-end", OPTION_REAL, "RATE", "where a cosine ends (default 0)", "train"},
    {"clip", OPTION_REAL, "NORM", "scale larger gradients down to it (default: no bound)", "train"},
    {"accumulate", OPTION_COUNT, "N", "batches of a step (default 1)", "train"},
    {"loss.negatives", OPTION_CHOICE, "micro|batch",
     "contrast pairs within a batch, or within a step; global: across processes, is not there yet",
     "train"},
    {"evaluate-every", OPTION_TEXT, "epoch|N",
     "zero-shot on the split valid after every epoch or N steps (default: never)", "train"},
    {"best", OPTION_TEXT, "METRIC", "keep the weights with its highest value (auroc_macro)",
     "train"},
    {"text-shapes", OPTION_TEXT, "L,RxL,…",
     "lengths of rows (64,128) or rows that texts share (6x512) to compile for beside the padded "
     "form; tricot tokenize --plan proposes",
     "train"},
    {"dry-run", OPTION_FLAG, "", "print steps, time, memory and disk, and stop", "train"},
    {"checkpoint-every", OPTION_COUNT, "N", "steps between checkpoints (default 1000)", "train"},
    {"keep", OPTION_COUNT, "N", "checkpoints to keep, 0: all (default 2)", "train"},
    {"resume", OPTION_TEXT, "FILE|last",
     "continue, bit by bit the same; last: from the newest in --out", "train"},
    {"repeat", OPTION_COUNT, "N", "timed runs (default 10)", "bench"},
    {"profile", OPTION_FLAG, "", "time every step, as without --whole", "bench"},
    {"whole", OPTION_FLAG, "", "time whole runs only, without steps and the machine's peaks",
     "bench"},
    {"resident", OPTION_FLAG, "", "target cuda: inputs are copied once, not for every run",
     "bench"},
    {"trace", OPTION_TEXT, "FILE", "what ran when, for Perfetto or chrome://tracing",
     "bench train"},
    {"json", OPTION_FLAG, "", "print JSON", "predict info bench eval"},
    {"seed", OPTION_COUNT, "N", "of initial weights and of the order of samples (default 0)",
     "train run bench eval predict"},
    {"threads", OPTION_COUNT, "N", "threads to compute with (default: one per allowed CPU)", NULL},
    {0}};

static const Verb *find_verb(const char *word) {
  for (int i = 0; i < N_VERBS; i++)
    if (strcmp(verbs[i].name, word) == 0)
      return &verbs[i];
  return NULL;
}

bool job_is_verb(const char *word) { return find_verb(word) != NULL; }

bool job_knows_option(const char *name) {
  for (const OptionRow *row = rows; row->name; row++)
    if (strcmp(row->name, name) == 0)
      return true;
  return false;
}

void job_print_verbs(FILE *out) {
  for (int i = 0; i < N_VERBS; i++)
    fprintf(out, "  %-10s %s\n", verbs[i].name, verbs[i].doc);
}

int job_failed(const Error *error) {
  fflush(stdout);
  if (*error->text)
    fprintf(stderr, "%s\n", error->text);
  return EXIT_INPUT;
}

int job_usage(const Job *job, const Error *error) {
  fflush(stdout);
  fprintf(stderr, "%s %s: error: %s\n%s %s --help shows the options\n", job->host->name,
          job->options.verb, error->text, job->host->name, job->options.verb);
  return EXIT_USAGE;
}

static int print_help(const JobHost *host, const Verb *verb) {
  Text text = {0};
  bool kind_first = strcmp(verb->name, "eval") == 0;
  const char *model = host->model_argument ? " MODEL.yaml" : "";
  text_add(&text, "Usage: %s %s", host->name, verb->name);
  if (kind_first)
    text_add(&text, " %s%s", verb->arguments, model);
  else
    text_add(&text, "%s%s%s", model, *verb->arguments ? " " : "", verb->arguments);
  text_add(&text, " [options]\n\n%c%s.\n\n", verb->doc[0] - 'a' + 'A', verb->doc + 1);
  options_help(rows, verb->name, &text);
  options_help(host->options, verb->name, &text);
  text_add(&text, "\nExample:\n");
  for (const char *at = verb->examples; at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL) {
    int length = (int)strcspn(at, "\n"), before = (int)(strstr(at, "%s") - at);
    text_add(&text, "  %s %.*s%s%.*s\n", host->name, before, at, model, length - before - 2,
             at + before + 2);
  }
  fputs(text.at, stdout);
  text_free(&text);
  return EXIT_DONE;
}

/* Takes the model out of the arguments: eval's comes after the kind of evaluation. */
static bool split_arguments(Job *job, Error *error) {
  const char **rest = job->options.rest.at;
  int n = job->options.rest.count, at = strcmp(job->options.verb, "eval") == 0 ? 1 : 0;
  if (job->host->model_argument) {
    if (n <= at)
      return error_set(error, at ? "which evaluation of which model?" : "which model?");
    job->model = rest[at];
    memmove(&rest[at], &rest[at + 1], sizeof *rest * (size_t)(n - at - 1));
    n--;
  }
  job->rest = rest;
  job->n_rest = n;
  const Verb *verb = find_verb(job->options.verb);
  if (n && !*verb->arguments)
    return error_set(error, "unexpected argument \"%.200s\"", rest[0]);
  return true;
}

int job_main(const JobHost *host, int argc, char **argv) {
  const Verb *verb = argc > 0 ? find_verb(argv[0]) : NULL;
  Error error = {""};
  if (!verb) {
    fprintf(stderr, "%s: error: a verb is needed, one of\n", host->name);
    job_print_verbs(stderr);
    return EXIT_USAGE;
  }
  for (int i = 1; i < argc; i++)
    if (strcmp(argv[i], "--help") == 0)
      return print_help(host, verb);
  Job job = {.host = host, .arena = arena_new()};
  int status;
  if (!options_parse(&job.options, job.arena, rows, host->options, argc, argv, &error) ||
      !split_arguments(&job, &error))
    status = job_usage(&job, &error);
  else if (host->complete && !host->complete(host->context, &job.options, job.model, &error))
    status = job_failed(&error);
  else
    status = verb->run(&job);
  if (host->close)
    host->close(host->context);
  arena_free(job.arena);
  return status;
}

/* From a file, from inside the host, or from the seed. */
static bool take_weights(Job *job, const JobRequest *request, Error *error) {
  const char *path = options_text(&job->options, "weights");
  const char *checkpoint = options_text(&job->options, "checkpoint");
  TensorFile file;
  Error inner;
  if (path && checkpoint)
    return error_set(error, "--weights and --checkpoint name the same thing: give one of them");
  uint64_t seed = (uint64_t)options_count(&job->options, "seed", 0);
  path = path ? path : checkpoint;
  if (!path && !job->host->weights) {
    if (request->trained && !options_text(&job->options, "seed"))
      return error_set(error, "--weights: error: not given (--seed N for a model with the weights "
                              "training starts from)");
    if (strcmp(job->options.verb, "bench") != 0 && !options_text(&job->options, "resume"))
      fprintf(stderr, "%s: no weights given, they are initialised from seed %llu\n",
              job->options.verb, (unsigned long long)seed);
    program_initialize(job->program, seed);
    return true;
  }
  if (!(path ? tensor_file_open(&file, path, error)
             : tensor_file_open_bytes(&file, "the weights inside this program", job->host->weights,
                                      job->host->weights_size, error)))
    return false;
  const Tensor *scale = tensor_file_find(&file, "logit_scale");
  job->has_scale = scale && type_elements(&scale->type) == 1;
  if (job->has_scale) /* an encoder's program has no use for it, and does not load it */
    job->scale = dtype_load(scale->type.dtype, scale->data, 0);
  const char *prepare = tensor_file_metadata(&file, "prepare");
  const char *orientation = tensor_file_metadata(&file, "orientation");
  job->trained_prepare = prepare ? arena_strdup(job->arena, prepare) : NULL;
  job->trained_orientation = orientation ? arena_strdup(job->arena, orientation) : NULL;
  bool good = program_load(job->program, &file, false, &inner);
  if (!good)
    error_set(error, "%s: error: model %.60s: %.800s", path ? path : "the weights inside",
              job->plan->model, inner.text);
  tensor_file_close(&file);
  if (good)
    program_initialize_state(job->program, seed);
  return good;
}

/* A host that does not compile cannot change the batch. */
static bool check_batch(const Job *job, const JobRequest *request, Error *error) {
  int64_t wanted = options_count(&job->options, "batch", 0);
  int entry = request->n_entries ? program_entry(job->program, request->entries[0]) : -1;
  for (int i = 0; wanted && entry >= 0 && i < job->plan->entries[entry].n_inputs; i++) {
    const Type *type = &job->plan->entries[entry].inputs[i].type;
    if (type->rank > 1 && type->dim[0] != wanted)
      return error_set(error, "--batch %lld: error: this program takes %lld samples at a time",
                       (long long)wanted, (long long)type->dim[0]);
  }
  return true;
}

static bool entry_is_there(const Job *job, const char *name, Error *error) {
  if (program_entry(job->program, name) >= 0)
    return true;
  Text names = {0};
  for (int e = 0; e < job->plan->n_entries; e++)
    text_add(&names, "%s%s", e ? ", " : "", job->plan->entries[e].name);
  error_set(error, "model %.100s has no entry point \"%.100s\" here; there are: %.600s",
            job->plan->model, name, names.size ? names.at : "none");
  text_free(&names);
  return false;
}

bool job_open(Job *job, const JobRequest *request, Error *error) {
  JobRequest full = *request;
  int64_t threads = options_count(&job->options, "threads", 0);
  full.threads = threads < INT_MAX ? (int)threads : INT_MAX;
  if (!full.batch)
    full.batch = options_count(&job->options, "batch", 0);
  *error = (Error){""};
  if (!job->host->open(job->host->context, &job->options, job->model, &full, &job->program, error))
    return false;
  job->plan = program_plan(job->program);
  for (int i = 0; i < request->n_entries; i++)
    if (!entry_is_there(job, request->names[i] ? request->names[i] : request->entries[i], error))
      return false;
  if (!check_batch(job, request, error))
    return false;
  return request->n_entries == 0 || take_weights(job, request, error);
}

bool job_look(Job *job, bool *known, Error *error) {
  const JobHost *host = job->host;
  *known = host->settings != NULL;
  *error = (Error){""};
  return !*known ||
         host->settings(host->context, &job->options, &job->settings, &job->n_settings, error);
}

const char *job_model(const Job *job) {
  return job->plan ? job->plan->model : job->model ? job->model : job->host->name;
}

static const char *find_setting(const Job *job, const char *key) {
  const PlanPair *settings = job->plan ? job->plan->settings : job->settings;
  int count = job->plan ? job->plan->n_settings : job->n_settings;
  for (int i = 0; i < count; i++)
    if (strcmp(settings[i].key, key) == 0)
      return settings[i].value;
  return NULL;
}

const char *job_setting(const Job *job, const char *key) {
  const char *value = find_setting(job, key);
  Json json;
  bool text = value && *value == '"' && json_parse(job->arena, value, strlen(value), &json, NULL);
  return text ? json.string : value;
}

bool job_setting_list(const Job *job, const char *key, const Json **value, Error *error) {
  const char *text = find_setting(job, key);
  Json *json = ARENA_NEW(job->arena, Json);
  Error inner;
  *value = text ? json : NULL;
  if (!text)
    return true;
  if (!json_parse(job->arena, text, strlen(text), json, &inner))
    return error_set(error, "setting %s of model %s: %.300s", key, job_model(job), inner.text);
  return json->kind == JSON_LIST ||
         error_set(error, "setting %s of model %s is no list", key, job_model(job));
}

double job_number(const Job *job, const char *key, double otherwise) {
  const char *text = job_setting(job, key);
  char *end;
  double value = text ? strtod(text, &end) : otherwise;
  return text && (end == text || *end) ? otherwise : value;
}

bool job_factor(const Job *job, double *factor, Error *error) {
  const char *temperature = job_setting(job, "temperature");
  Type type;
  if (!temperature || strcmp(temperature, "learned") != 0) {
    *factor = job_number(job, "factor", exp(1.0));
    return true;
  }
  const void *tensor = program_tensor(job->program, "logit_scale", &type);
  double start = job_number(job, "logit_scale", NAN);
  *factor = exp(tensor && type_elements(&type) == 1 ? dtype_load(type.dtype, tensor, 0)
                : job->has_scale                    ? job->scale
                                                    : start);
  return isfinite(*factor) ||
         error_set(error,
                   "model %s: the temperature is learned, but there is no finite logit_scale",
                   job->plan->model);
}

const char *job_need(const Job *job, const char *option, Error *error) {
  const char *value = options_text(&job->options, option);
  if (!value)
    error_set(error, "--%s is missing", option);
  return value;
}
