/* tricot prepare: one CT volume, or a whole CT-RATE tree, to model inputs. */
#include "runtime/data/dataset.h"
#include "runtime/data/prepare_file.h"
#include "runtime/data/prepare_options.h"
#include "runtime/job/command.h"
#include "runtime/job/prepare_model.h"
#include "runtime/safetensors.h"
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_SPLITS = 16, MAX_JOBS = 256, MAX_SETS = 64, MAX_THREADS = 16 };

static const char help[] =
    "Usage: tricot prepare [MODEL] --volume FILE --output FILE [--metadata CSV] [options]\n"
    "       tricot prepare [MODEL] --dataset DIR --cache DIR [--split NAME]... [options]\n"
    "\n"
    "Turns CT volumes (NIfTI) into model inputs: rescale, clip, resize to the wanted spacing,\n"
    "window to [-1,1], centre crop and pad. The result is the tensor `volume` f32 [1,D,H,W].\n"
    "MODEL, a model file or a run file, gives the size and the settings `prepare`; without it\n"
    "they are those of the preset.\n"
    "\n"
    "One volume:\n"
    "  --volume FILE       .nii, .nii.gz, or either file of a .hdr/.img pair\n"
    "  --metadata CSV      row with RescaleSlope, RescaleIntercept, XYSpacing, ZSpacing;\n"
    "                      without it: slope 1, intercept 0, the header's spacing\n"
    "  --output FILE       the safetensors file to write\n"
    "A CT-RATE tree:\n"
    "  --dataset DIR       holds dataset/SPLIT/PATIENT/SCAN/VOLUME.nii.gz and the tables\n"
    "  --cache DIR         a file per volume and manifest.json; finished volumes are kept\n"
    "  --split NAME        only this split, may be repeated (default: every one)\n"
    "  --jobs N            volumes at a time (default: the processors, at most 8)\n"
    "  --skip-incomplete   leave out volumes that lack rows or cannot be read\n"
    "Options:\n"
    "  --preset NAME       dcformer (default) or ct-clip; in place of the model's settings\n"
    "  --variant NAME, --set ARG=VALUE   of MODEL: --set prepare.spacing=[3,1.5]\n"
    "  --size DxHxW        size of the result (dcformer 256x512x512, ct-clip 240x480x480)\n"
    "  --spacing Z:XY      wanted voxel size in mm, or Z:X:Y (default 1.5:0.75)\n"
    "  --order STEPS       clip,resize,window (ct-clip: resize,window)\n"
    "  --clip LOW:HIGH     HU range of the step clip (default -1000:1000)\n"
    "  --window LOW:HIGH   HU range that becomes [-1,1] (default -1000:200)\n"
    "  --rescale FROM      metadata (default: the header's scaling, then a row's), header, none\n"
    "  --spacing-from FROM metadata (default) or header\n"
    "  --orientation AXES  turn volumes so that x, y, z point there: LPS; stored (default)\n"
    "  --gate WHAT         stop (default), warn or off when a volume is not in HU\n"
    "\n"
    "Examples:\n"
    "  tricot prepare --volume scan.nii.gz --size 64x128x128 --output scan.safetensors\n"
    "  tricot prepare run.yaml --dataset CT-RATE --cache prepared --jobs 8\n";

typedef struct Override {
  const char *flag, *key, *value;
} Override;

typedef struct Prepare {
  const char *volume, *metadata, *output, *dataset, *cache, *preset;
  const char *splits[MAX_SPLITS];
  int n_splits;
  int64_t jobs;
  bool skip_incomplete;
  PrepareModel model;
  const char *sets[MAX_SETS];
  Override overrides[MAX_SETS];
  int n_overrides;
  PrepareOptions options;
} Prepare;

static int processors(int most) {
  long count = sysconf(_SC_NPROCESSORS_ONLN);
  return count > most ? most : count < 1 ? 1 : (int)count;
}

static bool prepare_one(const Prepare *p, Error *error) {
  PrepareFacts row;
  PrepareReport report;
  const int64_t *size = p->options.size;
  Tensor tensor = {"volume", {DT_f32, 4, {1, size[0], size[1], size[2]}}, NULL};
  if (p->metadata && !ctrate_facts(p->metadata, p->volume, &row, error))
    return false;
  tensor.data = malloc(type_bytes(&tensor.type));
  bool good = tensor.data || error_set(error, "%s: error: no memory for the result", p->volume);
  good = good && prepare_file(p->volume, p->metadata ? &row : NULL, &p->options,
                              processors(MAX_THREADS), tensor.data, &report, error);
  if (good && *report.warning.text)
    fprintf(stderr, "%s\n", report.warning.text);
  char settings[PREPARE_TEXT_ROOM];
  prepare_options_text(&p->options, settings);
  good = good && tensor_file_write(p->output, &tensor, 1, (const char *[]){"axes", "settings"},
                                   (const char *[]){report.axes, settings}, 2, error);
  free(tensor.data);
  return good;
}

static void show_progress(void *user, int done, int total, const CacheItem *item,
                          const CacheResult *result, double seconds_left) {
  (void)user;
  const char *slash = strrchr(item->source, '/');
  fprintf(stderr, "[%d/%d] %s %s", done, total, slash ? slash + 1 : item->source,
          !result->good  ? "failed"
          : result->kept ? "kept"
                         : "prepared");
  if (done < total && seconds_left >= 0) {
    long seconds = (long)(seconds_left + 0.5);
    fprintf(stderr, ", %02ld:%02ld:%02ld left", seconds / 3600, seconds / 60 % 60, seconds % 60);
  }
  fputc('\n', stderr);
}

static bool prepare_tree(const Prepare *p, Error *error) {
  DatasetPreparation preparation = {.root = p->dataset,
                                    .cache = p->cache,
                                    .splits = p->n_splits ? p->splits : NULL,
                                    .n_splits = p->n_splits,
                                    .options = p->options,
                                    .jobs = p->jobs ? (int)p->jobs : processors(8),
                                    .skip_incomplete = p->skip_incomplete,
                                    .progress = show_progress};
  bool good = dataset_prepare(&preparation, error);
  if (preparation.missing.size)
    fputs(preparation.missing.at, stderr);
  if (good)
    fprintf(stderr, "%s: %d volumes prepared, %d kept, %d left out\n", p->cache, preparation.made,
            preparation.kept, preparation.failed);
  text_free(&preparation.missing);
  return good;
}

static int check_use(const Prepare *p, const char *verb) {
  if (!p->volume == !p->dataset)
    return command_usage(verb, "either --volume or --dataset is needed");
  if (p->volume && !p->output)
    return command_usage(verb, "--volume needs --output");
  if (p->volume && (p->cache || p->n_splits || p->jobs || p->skip_incomplete))
    return command_usage(verb, "--cache, --split, --jobs and --skip-incomplete go with --dataset");
  if (p->dataset && !p->cache)
    return command_usage(verb, "--dataset needs --cache");
  if (p->dataset && (p->output || p->metadata))
    return command_usage(verb, "--output and --metadata go with --volume");
  if (!p->model.file && (p->model.n_sets || p->model.variant))
    return command_usage(verb, "--set and --variant go with a model file");
  return EXIT_DONE;
}

static bool add_override(Prepare *p, const char *flag, const char *key, const char *value) {
  PrepareOptions probe = prepare_defaults();
  if (p->n_overrides == MAX_SETS || !prepare_set(&probe, key, value, NULL))
    return false;
  p->overrides[p->n_overrides++] = (Override){flag, key, value};
  return true;
}

static const struct option long_options[] = {
    {"volume", required_argument, NULL, 'v'},      {"metadata", required_argument, NULL, 'm'},
    {"output", required_argument, NULL, 'o'},      {"dataset", required_argument, NULL, 'd'},
    {"cache", required_argument, NULL, 'c'},       {"split", required_argument, NULL, 's'},
    {"jobs", required_argument, NULL, 'j'},        {"skip-incomplete", no_argument, NULL, 'k'},
    {"preset", required_argument, NULL, 'p'},      {"set", required_argument, NULL, 'a'},
    {"variant", required_argument, NULL, 'V'},     {"help", no_argument, NULL, 'h'},
    {"size", required_argument, NULL, '='},        {"spacing", required_argument, NULL, '='},
    {"order", required_argument, NULL, '='},       {"clip", required_argument, NULL, '='},
    {"window", required_argument, NULL, '='},      {"rescale", required_argument, NULL, '='},
    {"orientation", required_argument, NULL, '='}, {"gate", required_argument, NULL, '='},
    {"spacing-from", required_argument, NULL, '-'}, {0}};

static int parse(Prepare *p, int argc, char **argv) {
  optind = 0;
  for (int option, index = 0;
       (option = getopt_long(argc, argv, "", long_options, &index)) != -1;) {
    const char *name = long_options[index].name;
    bool good = true;
    switch (option) {
    case 'v': p->volume = optarg; break;
    case 'm': p->metadata = optarg; break;
    case 'o': p->output = optarg; break;
    case 'd': p->dataset = optarg; break;
    case 'c': p->cache = optarg; break;
    case 'k': p->skip_incomplete = true; break;
    case 'p': p->preset = optarg; break;
    case 'V': p->model.variant = optarg; break;
    case 'h': fputs(help, stdout); return -1;
    case 'j': good = parse_whole(optarg, 1, MAX_JOBS, &p->jobs); break;
    case '=': good = add_override(p, name, name, optarg); break;
    case '-': good = add_override(p, name, "spacing_from", optarg); break;
    case 'a':
      if (p->model.n_sets == MAX_SETS)
        return command_usage(argv[0], "more than %d times --set", MAX_SETS);
      p->sets[p->model.n_sets++] = optarg;
      break;
    case 's':
      if (p->n_splits == MAX_SPLITS)
        return command_usage(argv[0], "more than %d splits", MAX_SPLITS);
      p->splits[p->n_splits++] = optarg;
      break;
    default: return command_usage(argv[0], "the options were not understood");
    }
    if (!good)
      return command_usage(argv[0], "--%s: \"%s\" is not understood", name, optarg);
  }
  if (optind < argc)
    p->model.file = argv[optind++];
  if (optind < argc)
    return command_usage(argv[0], "unexpected argument \"%s\"", argv[optind]);
  p->model.sets = p->sets;
  return check_use(p, argv[0]);
}

/* Preset, model, flags: the later, the stronger; --preset stands in for the model's settings. */
static bool settle_options(Prepare *p, PrepareModelRead *read_model, Error *error) {
  Arena *arena = arena_new();
  Error inner;
  const PlanPair *settings = NULL;
  int count = 0;
  p->options = prepare_defaults();
  bool good = !p->model.file || read_model(arena, &p->model, &settings, &count, error);
  if (good && p->preset && !prepare_preset(p->preset, &p->options, &inner))
    good = error_set(error, "--preset: error: %.900s", inner.text);
  for (int i = 0; good && i < count; i++)
    if (strcmp(settings[i].key, "volume") == 0 &&
        !prepare_set(&p->options, "size", settings[i].value, NULL))
      good = error_set(error, "%s: error: its volume %.60s is not D, H, W", p->model.file,
                       settings[i].value);
  if (good && !p->preset && !prepare_settings(settings, count, &p->options, &inner))
    good = error_set(error, "%s: error: %.900s", p->model.file, inner.text);
  for (int i = 0; good && i < p->n_overrides; i++)
    good = prepare_set(&p->options, p->overrides[i].key, p->overrides[i].value, error);
  if (good && !prepare_options_check(&p->options, &inner))
    good = error_set(error, "prepare: error: %.900s", inner.text);
  arena_free(arena);
  return good;
}

int prepare_main(PrepareModelRead *read_model, int argc, char **argv) {
  Prepare p = {0};
  Error error = {""};
  int status = parse(&p, argc, argv);
  if (status != EXIT_DONE)
    return status < 0 ? EXIT_DONE : status;
  if (p.model.file && !read_model)
    return command_usage(argv[0], "unexpected argument \"%s\"", p.model.file);
  bool good = settle_options(&p, read_model, &error) &&
              (p.volume ? prepare_one(&p, &error) : prepare_tree(&p, &error));
  return good ? EXIT_DONE : command_failed(&error);
}
