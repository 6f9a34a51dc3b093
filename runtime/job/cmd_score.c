/* tricot score: metrics of given predictions. Reads tensors, prints a table or JSON. */
#include "runtime/data/ctrate.h"
#include "runtime/data/metrics.h"
#include "runtime/job/command.h"
#include "runtime/safetensors.h"
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_K = 32 };

static const char help[] =
    "Usage: tricot score --predictions FILE [--json] [--k LIST] [--output FILE]\n"
    "\n"
    "Scores predictions held in a safetensors file:\n"
    "  probabilities [N,C] and labels [N,C] (0 or 1)    classification of each class\n"
    "  image_latents [N,W] and text_latents [N,W]       retrieval in both directions\n"
    "Either pair may be left out. A probability above 0.5 is a positive prediction.\n"
    "\n"
    "  --predictions FILE  the tensors\n"
    "  --json              print JSON instead of a table\n"
    "  --k LIST            recall at these ranks (default 1,5,10,50)\n"
    "  --output FILE       write there instead of stdout\n"
    "\n"
    "Examples:\n"
    "  tricot score --predictions zeroshot.safetensors\n"
    "  tricot score --predictions zeroshot.safetensors --json --k 1,5,10,50,100\n";

typedef struct Score {
  const char *path, *output;
  bool json;
  int64_t k[MAX_K];
  int n_k;
  Arena *arena;
  TensorFile file;
  /* filled when the tensors are there */
  int classes;
  const char **names;
  ClassMetrics *per_class;
  OverallMetrics overall;
  bool retrieval;
  double text_to_image[MAX_K], image_to_text[MAX_K];
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

static bool score_classes(Score *s, Error *error) {
  const Tensor *pair[2];
  if (!find_pair(s, "probabilities", "labels", pair, error))
    return false;
  if (!pair[0])
    return true;
  int64_t samples = pair[0]->type.dim[0], classes = pair[0]->type.dim[1];
  if (classes < 1 || classes > 1 << 20)
    return error_set(error, "%s: error: %lld classes", s->path, (long long)classes);
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
  Error inner;
  bool good = metrics_classify(probabilities, labels, samples, s->classes, s->per_class,
                               &s->overall, &inner) ||
              explain(s, &inner, error);
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
  Error inner;
  float *images = as_floats(pair[0]), *texts = as_floats(pair[1]);
  bool good = metrics_retrieve(images, texts, pair[0]->type.dim[0], pair[0]->type.dim[1], s->k,
                               s->n_k, s->text_to_image, s->image_to_text, &inner) ||
              explain(s, &inner, error);
  free(images);
  free(texts);
  return good;
}

static void add_json(const Score *s, Text *out) {
  text_add(out, "{\n");
  if (s->classes)
    metrics_add_classes(out, s->names, s->per_class, s->classes, &s->overall);
  if (s->classes && s->retrieval)
    text_add(out, ",\n");
  if (s->retrieval)
    metrics_add_retrieval(out, s->k, s->n_k, s->text_to_image, s->image_to_text);
  text_add(out, "\n}\n");
}

static void add_table(const Score *s, Text *out) {
  if (s->classes)
    metrics_table_classes(out, s->names, s->per_class, s->classes, &s->overall);
  if (s->retrieval)
    metrics_table_retrieval(out, s->k, s->n_k, s->text_to_image, s->image_to_text);
}

static int score(Score *s) {
  Error error;
  Text out = {0};
  bool good = score_classes(s, &error) && score_retrieval(s, &error);
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
                                          {"output", required_argument, NULL, 'o'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
  Score s = {.k = {1, 5, 10, 50}, .n_k = 4};
  optind = 0;
  for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
    switch (option) {
    case 'p': s.path = optarg; break;
    case 'j': s.json = true; break;
    case 'o': s.output = optarg; break;
    case 'h': fputs(help, stdout); return EXIT_DONE;
    case 'k':
      if (!parse_list(optarg, s.k, MAX_K, &s.n_k))
        return command_usage(argv[0], "--k \"%s\" is not a list like 1,5,10", optarg);
      break;
    default: return command_usage(argv[0], "the options were not understood");
    }
  for (int i = 0; i < s.n_k; i++)
    if (s.k[i] < 1)
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
