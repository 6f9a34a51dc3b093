/* tricot synth: a small made-up data set in CT-RATE's layout, with a vocabulary of its reports. */
#include "runtime/base/arena.h"
#include "runtime/base/file.h"
#include "runtime/data/ctrate.h"
#include "runtime/data/phantom.h"
#include "runtime/data/vocabulary.h"
#include "runtime/job/command.h"
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_VOLUMES = 100000, MAX_SIDE = 1024, VOCABULARY = 1024 };

static const char help[] =
    "Usage: tricot synth --output DIR [options]\n"
    "\n"
    "Makes a data set of made-up chest CTs in CT-RATE's layout: volumes, metadata, reports, "
    "labels,\n"
    "and DIR/vocab.txt, a vocabulary that covers the reports. For trying things out only.\n"
    "\n"
    "  --output DIR    where to write it\n"
    "  --train N       volumes of the split train (default 24)\n"
    "  --valid N       volumes of the split valid (default 8)\n"
    "  --size DxHxW    voxels of a volume (default 64x96x96)\n"
    "  --seed N        another seed, other patients (default 0)\n"
    "\n"
    "Example:\n"
    "  tricot synth --output phantoms --train 100 --valid 20\n";

typedef struct Synth {
  const char *output;
  int64_t volumes[2]; /* train, valid */
  int64_t size[3], seed;
  Arena *arena;
  Text reports; /* all of them, for the vocabulary */
} Synth;

static const char *const splits[2] = {"train", "valid"};

static bool write_text(const Synth *s, const char *name, const Text *text, Error *error) {
  return command_output(arena_printf(s->arena, "%s/%s", s->output, name), text, error);
}

static void label_row(const Phantom *p, const char *volume, Text *out) {
  text_add(out, "%s", volume);
  for (int c = 0; c < CTRATE_LABELS; c++) {
    bool present = false;
    for (int f = 0; f < PHANTOM_FINDINGS; f++)
      present |= p->has[f] && strcmp(phantom_findings[f].label, ctrate_label_names[c]) == 0;
    text_add(out, ",%d", present);
  }
  text_add(out, "\n");
}

typedef struct Tables {
  Text metadata, reports, labels;
} Tables;

static void start_tables(Tables *t) {
  text_add(&t->metadata, "VolumeName,RescaleSlope,RescaleIntercept,XYSpacing,ZSpacing\n");
  text_add(&t->reports, "VolumeName,Findings_EN,Impressions_EN\n");
  text_add(&t->labels, "VolumeName");
  for (int c = 0; c < CTRATE_LABELS; c++)
    text_add(&t->labels, ",%s", ctrate_label_names[c]);
  text_add(&t->labels, "\n");
}

static bool write_patient(Synth *s, int split, int64_t i, Tables *t, Error *error) {
  const char *name = splits[split];
  int number = (int)i + 1;
  Phantom p = phantom_make((uint64_t)s->seed, (uint64_t)(2 * i + split), s->size);
  const char *scan = arena_printf(s->arena, "%s/dataset/%s/%s_%d/%s_%d_a", s->output, name, name,
                                  number, name, number);
  const char *volume = arena_printf(s->arena, "%s_%d_a_1.nii.gz", name, number);
  if (!make_folders(scan, error) ||
      !phantom_write(&p, arena_printf(s->arena, "%s/%s", scan, volume), error))
    return false;
  text_add(&t->metadata, "%s,1,0,\"[%.6g, %.6g]\",%.6g\n", volume, p.spacing[2], p.spacing[2],
           p.spacing[0]);
  label_row(&p, volume, &t->labels);
  Text findings = {0}, impression = {0};
  phantom_report(&p, &findings, &impression);
  text_add(&t->reports, "%s,%s,%s\n", volume, findings.at, impression.at);
  text_add(&s->reports, "%s %s\n", findings.at, impression.at);
  text_free(&findings);
  text_free(&impression);
  return true;
}

static bool write_split(Synth *s, int split, Error *error) {
  const char *const longer[] = {"train", "validation"};
  Tables t = {0};
  start_tables(&t);
  bool good = true;
  for (int64_t i = 0; good && i < s->volumes[split]; i++)
    good = write_patient(s, split, i, &t, error);
  good =
      good &&
      write_text(s, arena_printf(s->arena, "metadata/%s_metadata.csv", longer[split]), &t.metadata,
                 error) &&
      write_text(s, arena_printf(s->arena, "radiology_text_reports/%s_reports.csv", longer[split]),
                 &t.reports, error) &&
      write_text(
          s,
          arena_printf(s->arena, "multi_abnormality_labels/%s_predicted_labels.csv", splits[split]),
          &t.labels, error);
  text_free(&t.metadata);
  text_free(&t.reports);
  text_free(&t.labels);
  return good;
}

/* ---- the vocabulary ---- */

/* Trained on the reports; prompts and labels are in it as well, so that no word is unknown. */
static bool write_vocabulary(Synth *s, Error *error) {
  Text *text = &s->reports, lines = {0};
  VocabularyOptions options = {.size = VOCABULARY, .min_frequency = 1};
  int count;
  text_add(text, " is not present. abcdefghijklmnopqrstuvwxyz 0123456789 - , . ( )");
  for (int c = 0; c < CTRATE_LABELS; c++)
    text_add(text, " %s", ctrate_label_names[c]);
  Vocabulary *vocabulary = vocabulary_new((WordPieceOptions){.lower = true});
  bool good = vocabulary_add(vocabulary, text->at, text->size, error) &&
              vocabulary_train(vocabulary, &options, &lines, &count, error) &&
              write_text(s, "vocab.txt", &lines, error);
  vocabulary_free(vocabulary);
  text_free(&lines);
  return good;
}

static bool synth(Synth *s, Error *error) {
  static const char *const folders[] = {"metadata", "radiology_text_reports",
                                        "multi_abnormality_labels"};
  bool good = true;
  for (int i = 0; good && i < 3; i++)
    good = make_folders(arena_printf(s->arena, "%s/%s", s->output, folders[i]), error);
  for (int split = 0; good && split < 2; split++)
    good = write_split(s, split, error);
  good = good && write_vocabulary(s, error);
  if (good)
    fprintf(stderr, "%s: %lld volumes to train on, %lld to validate, made up\n", s->output,
            (long long)s->volumes[0], (long long)s->volumes[1]);
  return good;
}

static int parse(Synth *s, int argc, char **argv) {
  static const struct option options[] = {{"output", required_argument, NULL, 'o'},
                                          {"train", required_argument, NULL, 't'},
                                          {"valid", required_argument, NULL, 'v'},
                                          {"size", required_argument, NULL, 'z'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
  optind = 0;
  for (int option, index = 0; (option = getopt_long(argc, argv, "", options, &index)) != -1;) {
    bool good = true;
    switch (option) {
    case 'o': s->output = optarg; break;
    case 't': good = parse_whole(optarg, 1, MAX_VOLUMES, &s->volumes[0]); break;
    case 'v': good = parse_whole(optarg, 1, MAX_VOLUMES, &s->volumes[1]); break;
    case 's': good = parse_whole(optarg, 0, INT64_MAX / 2, &s->seed); break;
    case 'z':
      good = parse_size(optarg, s->size) && s->size[0] <= MAX_SIDE && s->size[1] <= MAX_SIDE &&
             s->size[2] <= MAX_SIDE;
      break;
    case 'h': fputs(help, stdout); return -1;
    default: return command_usage(argv[0], "the options were not understood");
    }
    if (!good)
      return command_usage(argv[0], "--%s: \"%s\" is not understood", options[index].name, optarg);
  }
  if (optind < argc)
    return command_usage(argv[0], "unexpected argument \"%s\"", argv[optind]);
  if (!s->output)
    return command_usage(argv[0], "--output is missing");
  return EXIT_DONE;
}

int cmd_synth(int argc, char **argv) {
  Synth s = {.volumes = {24, 8}, .size = {64, 96, 96}};
  Error error;
  int status = parse(&s, argc, argv);
  if (status != EXIT_DONE)
    return status < 0 ? EXIT_DONE : status;
  s.arena = arena_new();
  bool good = synth(&s, &error);
  text_free(&s.reports);
  arena_free(s.arena);
  return good ? EXIT_DONE : command_failed(&error);
}
