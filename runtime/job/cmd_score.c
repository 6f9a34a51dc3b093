/* tricot score: metrics of given predictions. Reads tensors, prints a table or JSON. */
#include "runtime/data/ctrate.h"
#include "runtime/data/metrics.h"
#include "runtime/job/command.h"
#include "runtime/safetensors.h"
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "Usage: tricot score --predictions FILE [options]\n"
    "\n"
    "Scores predictions held in a safetensors file:\n"
    "  probabilities [N,C] and labels [N,C] (0 or 1)    classification of each class\n"
    "  image_latents [N,W] and text_latents [N,W]       retrieval in both directions\n"
    "  patients [N] (whole numbers, optional)           whose volume each is\n"
    "Either pair may be left out. A probability above 0.5 is a positive prediction. Intervals are\n"
    "bootstrap intervals over patients.\n"
    "\n"
    "  --predictions FILE  the tensors\n"
    "  --json              print JSON instead of a table\n"
    "  --k LIST            recall at these ranks (default 1,5,10,50)\n"
    "  --bootstrap N       more metrics, and 95 % intervals from N replicates (such as 1000)\n"
    "  --seed N            of the replicates (default 0)\n"
    "  --output FILE       write there instead of stdout\n"
    "\n"
    "Examples:\n"
    "  tricot score --predictions zeroshot.safetensors\n"
    "  tricot score --predictions zeroshot.safetensors --json --k 1,5,10,50,100\n";

typedef struct Score {
  const char *path, *output;
  bool json;
  int64_t replicates, seed;
  Arena *arena;
  TensorFile file;
  const int64_t *patients; /* or NULL */
  int64_t n_patients;
  /* filled when the tensors are there */
  int classes;
  const char **names;
  ClassMetrics *per_class;
  OverallMetrics overall;
  bool bounded;
  ClassBounds bounds;
  bool retrieval;
  RetrievalMetrics retrieved;
} Score;

/* The two tensors, both or none, as matrices of equal shape. */
static bool find_pair(const Score *s, const char *first, const char *second, const Tensor *pair[2],
                      Error *error) {
  const char *names[2] = {first, second};
  for (int i = 0; i < 2; i++)
    pair[i] = tensor_file_find(&s->file, names[i]);
  if (!pair[0] && !pair[1])
    return true;
  for (int i = 0; i < 2; i++) {
    if (!pair[i])
      return error_set(error, "%s: error: has %s but no %s", s->path, names[!i], names[i]);
    if (pair[i]->type.rank != 2)
      return error_set(error, "%s: error: %s is %s, expected two dimensions", s->path, names[i],
                       type_text(&pair[i]->type));
  }
  if (memcmp(pair[0]->type.dim, pair[1]->type.dim, 2 * sizeof(int64_t)) != 0)
    return error_set(error, "%s: error: %s is %s but %s is %s", s->path, first,
                     type_text(&pair[0]->type), second, type_text(&pair[1]->type));
  return true;
}

static bool explain(const Score *s, const Error *inner, Error *error) {
  return error_set(error, "%s: error: %.900s", s->path, inner->text);
}

/* The tensor `patients`, which has a number for each sample. */
static bool find_patients(Score *s, Error *error) {
  const Tensor *tensor = tensor_file_find(&s->file, "patients");
  if (!tensor)
    return true;
  if (tensor->type.rank != 1 || dtype_is_float(tensor->type.dtype))
    return error_set(error, "%s: error: patients is %s, expected one whole number a sample",
                     s->path, type_text(&tensor->type));
  s->n_patients = tensor->type.dim[0];
  int64_t *patients = ARENA_ARRAY(s->arena, int64_t, s->n_patients + 1);
  for (int64_t i = 0; i < s->n_patients; i++)
    patients[i] = (int64_t)dtype_load(tensor->type.dtype, tensor->data, i);
  s->patients = patients;
  return true;
}

static bool check_patients(const Score *s, int64_t samples, Error *error) {
  return !s->patients || s->n_patients == samples ||
         error_set(error, "%s: error: %lld samples but patients of %lld", s->path,
                   (long long)samples, (long long)s->n_patients);
}

static bool classify(Score *s, const Predictions *p, Error *error) {
  Error inner;
  if (!metrics_classify(p, s->per_class, &s->overall, &inner))
    return explain(s, &inner, error);
  s->bounded = s->replicates > 0;
  if (!s->bounded)
    return true;
  if (s->classes > MAX_BOOTSTRAP_CLASSES)
    return error_set(error,
                     "%s: error: intervals are made for up to %d classes, not %d; give "
                     "--bootstrap 0",
                     s->path, MAX_BOOTSTRAP_CLASSES, s->classes);
  s->bounds.low = ARENA_ARRAY(s->arena, ClassMetrics, s->classes);
  s->bounds.high = ARENA_ARRAY(s->arena, ClassMetrics, s->classes);
  metrics_class_bounds(p, s->replicates, (uint64_t)s->seed, &s->bounds);
  return true;
}

static bool score_classes(Score *s, Error *error) {
  const Tensor *pair[2];
  if (!find_pair(s, "probabilities", "labels", pair, error))
    return false;
  if (!pair[0])
    return true;
  int64_t samples = pair[0]->type.dim[0], classes = pair[0]->type.dim[1];
  if (classes < 1 || classes > 1 << 20)
    return error_set(error, "%s: error: %lld classes", s->path, (long long)classes);
  if (!check_patients(s, samples, error))
    return false;
  s->classes = (int)classes;
  s->names = ARENA_ARRAY(s->arena, const char *, classes);
  s->per_class = ARENA_ARRAY(s->arena, ClassMetrics, classes);
  for (int c = 0; c < s->classes; c++)
    s->names[c] =
        classes == CTRATE_LABELS ? ctrate_label_names[c] : arena_printf(s->arena, "class %d", c);
  int64_t count = samples * classes;
  double *probabilities = mem_alloc(sizeof(double) * (size_t)(count + 1));
  uint8_t *labels = mem_alloc((size_t)(count + 1));
  for (int64_t i = 0; i < count; i++) {
    double label = dtype_load(pair[1]->type.dtype, pair[1]->data, i);
    probabilities[i] = dtype_load(pair[0]->type.dtype, pair[0]->data, i);
    labels[i] = label == 0 ? 0 : label == 1 ? 1 : 2; /* 2: refused by metrics_classify */
  }
  Predictions p = {samples, s->classes, probabilities, labels, NULL, s->patients};
  bool good = classify(s, &p, error);
  free(probabilities);
  free(labels);
  return good;
}

static float *as_floats(const Tensor *tensor) {
  int64_t count = type_elements(&tensor->type);
  float *values = mem_alloc(sizeof(float) * (size_t)(count + 1));
  for (int64_t i = 0; i < count; i++)
    values[i] = (float)dtype_load(tensor->type.dtype, tensor->data, i);
  return values;
}

static bool score_retrieval(Score *s, Error *error) {
  const Tensor *pair[2];
  if (!find_pair(s, "image_latents", "text_latents", pair, error))
    return false;
  if (!pair[0])
    return true;
  s->retrieval = true;
  s->retrieved.plain = s->replicates == 0;
  Error inner;
  Retrieval r = {.count = pair[0]->type.dim[0], .width = pair[0]->type.dim[1]};
  if (!check_patients(s, r.count, error))
    return false;
  float *images = as_floats(pair[0]), *texts = as_floats(pair[1]);
  r.images = images;
  r.texts = texts;
  r.patients = s->patients;
  bool good = metrics_retrieve(&r, s->replicates, (uint64_t)s->seed, &s->retrieved, &inner) ||
              explain(s, &inner, error);
  free(images);
  free(texts);
  return good;
}

static ClassReport class_report(const Score *s) {
  return (ClassReport){.classes = s->classes,
                       .names = s->names,
                       .per_class = s->per_class,
                       .overall = &s->overall,
                       .bounds = s->bounded ? &s->bounds : NULL,
                       .plain = !s->bounded};
}

static void add_json(const Score *s, Text *out) {
  ClassReport report = class_report(s);
  text_add(out, "{\n");
  if (s->classes)
    metrics_json_classes(out, &report);
  if (s->classes && s->retrieval)
    text_add(out, ",\n");
  if (s->retrieval)
    metrics_json_retrieval(out, "retrieval", &s->retrieved);
  text_add(out, "\n}\n");
}

static void add_table(const Score *s, Text *out) {
  ClassReport report = class_report(s);
  if (s->classes)
    metrics_table_classes(out, &report);
  if (s->retrieval)
    metrics_table_retrieval(
        out, s->classes ? "\nretrieval (values in percent)" : "retrieval (values in percent)",
        &s->retrieved);
}

static int score(Score *s) {
  Error error;
  Text out = {0};
  bool good = find_patients(s, &error) && score_classes(s, &error) && score_retrieval(s, &error);
  if (good && !s->classes && !s->retrieval)
    good = error_set(&error,
                     "%s: error: holds neither probabilities and labels nor image_latents "
                     "and text_latents",
                     s->path);
  if (good) {
    (s->json ? add_json : add_table)(s, &out);
    good = command_output(s->output, &out, &error);
  }
  text_free(&out);
  return good ? EXIT_DONE : command_failed(&error);
}

int cmd_score(int argc, char **argv) {
  static const struct option options[] = {{"predictions", required_argument, NULL, 'p'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"k", required_argument, NULL, 'k'},
                                          {"bootstrap", required_argument, NULL, 'b'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"output", required_argument, NULL, 'o'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
  Score s = {.retrieved = {.k = {1, 5, 10, 50}, .n_k = 4}};
  optind = 0;
  for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
    switch (option) {
    case 'p': s.path = optarg; break;
    case 'j': s.json = true; break;
    case 'o': s.output = optarg; break;
    case 'h': fputs(help, stdout); return EXIT_DONE;
    case 'k':
      if (!parse_list(optarg, s.retrieved.k, MAX_RANKS, &s.retrieved.n_k))
        return command_usage(argv[0], "--k \"%s\" is not a list like 1,5,10", optarg);
      break;
    case 'b':
      if (!parse_whole(optarg, 0, MAX_REPLICATES, &s.replicates))
        return command_usage(argv[0], "--bootstrap: \"%s\" is not 0 to %d", optarg, MAX_REPLICATES);
      break;
    case 's':
      if (!parse_whole(optarg, 0, INT64_MAX, &s.seed))
        return command_usage(argv[0], "--seed: \"%s\" is not a whole number", optarg);
      break;
    default: return command_usage(argv[0], "the options were not understood");
    }
  for (int i = 0; i < s.retrieved.n_k; i++)
    if (s.retrieved.k[i] < 1)
      return command_usage(argv[0], "--k: ranks start at 1");
  if (optind < argc)
    return command_usage(argv[0], "unexpected argument \"%s\"", argv[optind]);
  if (!s.path)
    return command_usage(argv[0], "--predictions is missing");
  Error error;
  if (!tensor_file_open(&s.file, s.path, &error))
    return command_failed(&error);
  s.arena = arena_new();
  int status = score(&s);
  arena_free(s.arena);
  tensor_file_close(&s.file);
  return status;
}
