/* tricot prepare: one CT volume, or a whole CT-RATE tree, to model inputs. */
#include "runtime/data/dataset.h"
#include "runtime/job/command.h"
#include "runtime/safetensors.h"
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_SPLITS = 16, MAX_JOBS = 256 };

static const char help[] =
    "Usage: tricot prepare --volume FILE --output FILE [--metadata CSV] [options]\n"
    "       tricot prepare --dataset DIR --cache DIR [--split NAME]... [options]\n"
    "\n"
    "Turns CT volumes (NIfTI) into model inputs: rescale, clip, resize to the wanted spacing,\n"
    "window to [-1,1], centre crop and pad. The result is the tensor `volume` f32 [1,D,H,W].\n"
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
    "  --size DxHxW        size of the result (default 256x512x512)\n"
    "  --spacing Z:XY      wanted voxel size in mm (default 1.5:0.75)\n"
    "  --clip LOW:HIGH     HU range before the resize (default -1000:1000)\n"
    "  --window LOW:HIGH   HU range that becomes [-1,1] (default -1000:200)\n"
    "\n"
    "Examples:\n"
    "  tricot prepare --volume scan.nii.gz --size 64x128x128 --output scan.safetensors\n"
    "  tricot prepare --dataset CT-RATE --cache prepared --size 256x512x512 --jobs 8\n";

typedef struct Prepare {
  const char *volume, *metadata, *output, *dataset, *cache;
  const char *splits[MAX_SPLITS];
  int n_splits;
  int64_t jobs;
  bool skip_incomplete;
  PrepareOptions options;
} Prepare;

static bool prepare_one(const Prepare *p, Error *error) {
  Volume volume;
  PrepareFacts facts;
  Error inner;
  if (!volume_read(p->volume, &volume, error))
    return false;
  bool good = p->metadata ? ctrate_facts(p->metadata, p->volume, &facts, error)
                          : prepare_facts(&volume, p->volume, &facts, error);
  const int64_t *size = p->options.size;
  Tensor tensor = {"volume", {DT_f32, 4, {1, size[0], size[1], size[2]}}, NULL};
  if (good) {
    tensor.data = malloc(type_bytes(&tensor.type));
    good = tensor.data || error_set(error, "%s: error: no memory for the result", p->volume);
  }
  if (good && !prepare_volume(&volume, &facts, &p->options, tensor.data, &inner))
    good = error_set(error, "%s: error: %.900s", p->volume, inner.text);
  volume_free(&volume);
  char settings[512];
  prepare_options_text(&p->options, settings, sizeof settings);
  good = good && tensor_file_write(p->output, &tensor, 1, (const char *[]){"settings"},
                                   (const char *[]){settings}, 1, error);
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
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  DatasetPreparation preparation = {.root = p->dataset,
                                    .cache = p->cache,
                                    .splits = p->n_splits ? p->splits : NULL,
                                    .n_splits = p->n_splits,
                                    .options = p->options,
                                    .jobs = p->jobs          ? (int)p->jobs
                                            : processors > 8 ? 8
                                                             : (int)processors,
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
  Error error;
  if (!prepare_options_check(&p->options, &error))
    return command_usage(verb, "%s", error.text);
  return EXIT_DONE;
}

static int parse(Prepare *p, int argc, char **argv) {
  static const struct option options[] = {
      {"volume", required_argument, NULL, 'v'}, {"metadata", required_argument, NULL, 'm'},
      {"output", required_argument, NULL, 'o'}, {"dataset", required_argument, NULL, 'd'},
      {"cache", required_argument, NULL, 'c'},  {"split", required_argument, NULL, 's'},
      {"jobs", required_argument, NULL, 'j'},   {"skip-incomplete", no_argument, NULL, 'k'},
      {"size", required_argument, NULL, 'z'},   {"spacing", required_argument, NULL, 'g'},
      {"clip", required_argument, NULL, 'l'},   {"window", required_argument, NULL, 'w'},
      {"help", no_argument, NULL, 'h'},         {0}};
  optind = 0;
  for (int option, index = 0; (option = getopt_long(argc, argv, "", options, &index)) != -1;) {
    bool good = true;
    switch (option) {
    case 'v': p->volume = optarg; break;
    case 'm': p->metadata = optarg; break;
    case 'o': p->output = optarg; break;
    case 'd': p->dataset = optarg; break;
    case 'c': p->cache = optarg; break;
    case 'k': p->skip_incomplete = true; break;
    case 'h': fputs(help, stdout); return -1;
    case 'j': good = parse_whole(optarg, 1, MAX_JOBS, &p->jobs); break;
    case 'z': good = parse_size(optarg, p->options.size); break;
    case 'g': good = parse_range(optarg, p->options.spacing); break;
    case 'l': good = parse_range(optarg, p->options.clip); break;
    case 'w': good = parse_range(optarg, p->options.window); break;
    case 's':
      if (p->n_splits == MAX_SPLITS)
        return command_usage(argv[0], "more than %d splits", MAX_SPLITS);
      p->splits[p->n_splits++] = optarg;
      break;
    default: return command_usage(argv[0], "the options were not understood");
    }
    if (!good)
      return command_usage(argv[0], "--%s: \"%s\" is not understood", options[index].name, optarg);
  }
  if (optind < argc)
    return command_usage(argv[0], "unexpected argument \"%s\"", argv[optind]);
  return check_use(p, argv[0]);
}

int cmd_prepare(int argc, char **argv) {
  Prepare p = {.options = prepare_defaults()};
  Error error;
  int status = parse(&p, argc, argv);
  if (status != EXIT_DONE)
    return status < 0 ? EXIT_DONE : status;
  bool good = p.volume ? prepare_one(&p, &error) : prepare_tree(&p, &error);
  return good ? EXIT_DONE : command_failed(&error);
}
