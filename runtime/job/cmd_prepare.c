/* tricot prepare: one CT volume, or a whole CT-RATE tree, to model inputs. */
#include "runtime/data/dataset.h"
#include "runtime/data/findings.h"
#include "runtime/data/prepare_file.h"
#include "runtime/data/prepare_options.h"
#include "runtime/job/command.h"
#include "runtime/job/prepare_model.h"
#include "runtime/job/progress.h"
#include "runtime/safetensors.h"
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_SPLITS = 16, MAX_JOBS = 256, MAX_SETS = 64, MAX_THREADS = 16 };

static const char help[] =
    "Usage: tricot prepare [MODEL] --volume FILE --output FILE [--metadata CSV] [options]\n"
    "       tricot prepare [MODEL] --dataset DIR --cache DIR [--split NAME]... [options]\n"
    "       tricot prepare --cache DIR --verify\n"
    "\n"
    "Turns CT volumes (NIfTI) into model inputs: rescale, clip, resize to the wanted spacing,\n"
    "window to [-1,1], centre crop and pad. The result is the tensor `volume` f32 [1,D,H,W].\n"
    "MODEL, a model file or a run file, gives the size and the settings `prepare`; without it\n"
    "they are those of the preset.\n"
    "\n"
    "One volume:\n"
    "  --volume FILE       .nii, .nii.gz, or either file of a .hdr/.img pair; or a .tvol file of\n"
    "                      a cache, whose voxels are written as they are\n"
    "  --metadata CSV      row with RescaleSlope, RescaleIntercept, XYSpacing, ZSpacing;\n"
    "                      without it: slope 1, intercept 0, the header's spacing\n"
    "  --output FILE       the safetensors file to write\n"
    "A CT-RATE tree:\n"
    "  --dataset DIR       holds dataset/SPLIT/PATIENT/SCAN/VOLUME.nii.gz and the tables\n"
    "  --cache DIR         a file per volume, manifest.json and summary.csv; what is there and\n"
    "                      current is kept, so an interrupted run goes on when it is repeated\n"
    "  --split NAME        only this split, may be repeated (default: every one)\n"
    "  --store int16|f16   how the cache stores voxels, compressed without loss (default int16:\n"
    "                      off by 1/65534 at most)\n"
    "  --verify            read kept files whole, make damaged ones again; without --dataset:\n"
    "                      only say whether the cache is whole\n"
    "  --jobs N            volumes at a time (default: the processors, at most 8 and what fits in\n"
    "                      half the memory); each takes the volume and 4 bytes a result's voxel\n"
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
    "  tricot prepare run.yaml --dataset CT-RATE --cache prepared --jobs 8\n"
    "  tricot prepare --cache prepared --verify\n";

typedef struct Override {
  const char *flag, *key, *value;
} Override;

typedef struct Prepare {
  const char *volume, *metadata, *output, *dataset, *cache, *preset;
  const char *splits[MAX_SPLITS];
  int n_splits;
  int64_t jobs;
  bool skip_incomplete, verify;
  VolumeStore store; /* 0: not given */
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

static bool write_one(const Prepare *p, const Tensor *tensor, const char *axes,
                      const char *settings, Error *error) {
  return tensor_file_write(p->output, tensor, 1, (const char *[]){"axes", "settings"},
                           (const char *[]){axes, settings}, 2, error);
}

/* A file of a cache, as it is. */
static bool unpack_one(const Prepare *p, Error *error) {
  VolumeFile file;
  if (!volume_file_open(&file, p->volume, error))
    return false;
  Tensor tensor = {"volume", {DT_f32, 4, {1, file.size[0], file.size[1], file.size[2]}}, NULL};
  tensor.data = malloc(type_bytes(&tensor.type));
  bool good = tensor.data || error_set(error, "%s: error: no memory for the result", p->volume);
  good = good && volume_file_read(&file, 0, file.size[0], tensor.data, error) &&
         write_one(p, &tensor, file.origin.axes, file.origin.settings, error);
  free(tensor.data);
  volume_file_close(&file);
  return good;
}

static bool prepare_one(const Prepare *p, Error *error) {
  if (volume_file_is(p->volume))
    return unpack_one(p, error);
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
  good = good && write_one(p, &tensor, report.axes, settings, error);
  free(tensor.data);
  return good;
}

static void show_progress(void *user, int done, int total, const CacheItem *item,
                          const CacheResult *result) {
  Progress *progress = user;
  if (!item) {
    progress_start(progress, "prepare", done, total);
    return;
  }
  if (*result->error.text) {
    progress_clear(progress);
    fprintf(progress->out, "%s\n", result->error.text);
  }
  const char *slash = strrchr(item->source, '/');
  progress_update(progress, done, slash ? slash + 1 : item->source);
}

/* Half the memory must hold the volumes being prepared, sources of 512 MiB among them. */
static int default_jobs(const PrepareOptions *o) {
  double half = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 2;
  double each = 4.0 * (double)o->size[0] * (double)o->size[1] * (double)o->size[2] + 0x1p29;
  double jobs = fmin(fmin(half / each, (double)sysconf(_SC_NPROCESSORS_ONLN)), 8);
  return jobs < 1 ? 1 : (int)jobs;
}

static bool prepare_tree(const Prepare *p, Error *error) {
  Progress progress = {.out = stderr};
  DatasetPreparation preparation = {
      .root = p->dataset,
      .cache = p->cache,
      .splits = p->n_splits ? p->splits : NULL,
      .n_splits = p->n_splits,
      .settings = {p->options, p->store ? p->store : STORE_I16, p->verify},
      .jobs = p->jobs ? (int)p->jobs : default_jobs(&p->options),
      .skip_incomplete = p->skip_incomplete,
      .progress = show_progress,
      .user = &progress};
  bool good = dataset_prepare(&preparation, error);
  progress_finish(&progress);
  if (preparation.missing.size)
    fputs(preparation.missing.at, stderr);
  if (good)
    fputs(preparation.summary.at, stdout);
  if (good || preparation.made || preparation.kept)
    fprintf(stderr, "%s: %d volumes prepared, %d kept, %d left out\n", p->cache, preparation.made,
            preparation.kept, preparation.failed + preparation.untried);
  text_free(&preparation.missing);
  text_free(&preparation.summary);
  return good;
}

/* Reads every file of a cache whole, and shows what is in it. */
static bool verify_cache(const Prepare *p, Error *error) {
  Dataset dataset;
  Progress progress;
  int bad = 0;
  if (!dataset_open(p->cache, NULL, &dataset, error))
    return false;
  progress_start(&progress, "verify", 0, dataset.count);
  for (int i = 0; i < dataset.count; i++) {
    Error damage;
    if (!dataset_check(&dataset, i, &damage)) {
      progress_clear(&progress);
      fprintf(progress.out, "%s\n", damage.text);
      bad++;
    }
    progress_update(&progress, i + 1, "");
  }
  progress_finish(&progress);
  if (!bad) {
    Text table = {0};
    findings_text(dataset.samples, dataset.count, &table);
    fputs(table.at, stdout);
    text_free(&table);
    fprintf(stderr, "%s: %d volumes, all whole\n", p->cache, dataset.count);
  }
  int count = dataset.count;
  dataset_close(&dataset);
  return !bad || error_set(error,
                           "%s: error: %d of %d volumes are damaged; prepare the data set "
                           "again with --verify",
                           p->cache, bad, count);
}

static int check_use(const Prepare *p, const char *verb) {
  if (p->volume && p->dataset)
    return command_usage(verb, "--volume and --dataset do not go together");
  if (!p->volume && !p->dataset && !(p->cache && p->verify))
    return command_usage(verb, "--volume, --dataset or --cache with --verify is needed");
  if (p->volume && !p->output)
    return command_usage(verb, "--volume needs --output");
  if (p->volume &&
      (p->cache || p->n_splits || p->jobs || p->skip_incomplete || p->verify || p->store))
    return command_usage(verb, "--cache, --split, --store, --verify, --jobs and --skip-incomplete "
                               "go with --dataset");
  if (p->dataset && !p->cache)
    return command_usage(verb, "--dataset needs --cache");
  if (!p->volume && (p->output || p->metadata))
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
    {"spacing-from", required_argument, NULL, '-'},
    {"store", required_argument, NULL, 'r'},
    {"verify", no_argument, NULL, 'y'},
    {0}};

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
    case 'y': p->verify = true; break;
    case 'r': good = volume_store_from_name(optarg, &p->store); break;
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
              (p.volume    ? prepare_one(&p, &error)
               : p.dataset ? prepare_tree(&p, &error)
                           : verify_cache(&p, &error));
  return good ? EXIT_DONE : command_failed(&error);
}
