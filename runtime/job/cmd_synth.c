/* tricot synth: a made-up data set in CT-RATE's layout, with a vocabulary of its reports.
 *
 * Volumes are drawn by several threads; the tables are written at the end, in the order of the
 * volumes, so the bytes do not depend on the number of threads.
 */
#include "runtime/base/arena.h"
#include "runtime/base/file.h"
#include "runtime/base/random.h"
#include "runtime/data/ctrate.h"
#include "runtime/data/phantom.h"
#include "runtime/data/vocabulary.h"
#include "runtime/job/command.h"
#include "runtime/job/progress.h"
#include <getopt.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PATIENTS = 100000, MAX_SIDE = 1024, MAX_JOBS = 256, VOCABULARY = 1024 };

static const char help[] =
    "Usage: tricot synth --output DIR [options]\n"
    "\n"
    "Makes a data set of made-up chest CTs in CT-RATE's layout: volumes, metadata, reports, "
    "labels,\n"
    "and DIR/vocab.txt, a vocabulary that covers the reports. For trying things out only.\n"
    "\n"
    "  --output DIR            where to write it\n"
    "  --train N               patients of the split train (default 24)\n"
    "  --valid N               patients of the split valid (default 8)\n"
    "  --size DxHxW            voxels of a volume (default 64x96x96); the number of slices varies\n"
    "                          by a sixth around D, and so does the spacing\n"
    "  --prevalence P          share of scans that have a finding, the same for all\n"
    "  --prevalence NAME=P     ... for this one, as often as wanted\n"
    "  --scans P               share of patients with a later, second scan (default 0)\n"
    "  --reconstructions P     share of scans reconstructed twice (default 0)\n"
    "  --seed N                another seed, other patients (default 0)\n"
    "  --jobs N                volumes at a time (default: the processors)\n"
    "\n"
    "Findings drawn, with their prevalence:\n";
static const char examples[] = "\n"
                               "Examples:\n"
                               "  tricot synth --output phantoms --train 100 --valid 20\n"
                               "  tricot synth --output phantoms --train 500 --valid 100 --scans "
                               "0.1 --reconstructions 0.2 \\\n"
                               "      --prevalence 0.3 --prevalence \"Lung nodule=0.5\"\n";

static const char *const splits[2] = {"train", "valid"};
static const char *const longer[2] = {"train", "validation"};

typedef struct SynthVolume { /* one file */
  int split, patient, scan, reconstruction;
  const char *name; /* train_1_a_1.nii.gz */
} SynthVolume;

typedef struct Synth {
  const char *output;
  int64_t patients[2]; /* train, valid */
  int64_t jobs;
  double scans, reconstructions;
  PhantomOptions options;
  Arena *arena;
  VEC(SynthVolume) volumes;
  Text reports; /* all of them, for the vocabulary */
} Synth;

static Phantom phantom_of(const Synth *s, const SynthVolume *v) {
  return phantom_make(&s->options, (uint64_t)(2 * v->patient + v->split), v->scan,
                      v->reconstruction);
}

/* ---- the volumes ---- */

/* Random numbers of a patient for the list: apart from those of the phantoms by their stream. */
static bool happens(const Synth *s, int split, int patient, uint64_t what, double share) {
  uint64_t stream = 1000 + 2 * (uint64_t)patient + (uint64_t)split;
  return random_uniform(s->options.seed, stream, what) < share;
}

static void list_volumes(Synth *s) {
  for (int split = 0; split < 2; split++)
    for (int patient = 0; patient < s->patients[split]; patient++) {
      int scans = 1 + happens(s, split, patient, 0, s->scans);
      for (int scan = 0; scan < scans; scan++) {
        int twice = happens(s, split, patient, 1 + (uint64_t)scan, s->reconstructions);
        for (int r = 0; r <= twice; r++) {
          SynthVolume v = {split, patient, scan, r, NULL};
          v.name = arena_printf(s->arena, "%s_%d_%c_%d.nii.gz", splits[split], patient + 1,
                                'a' + scan, r + 1);
          vec_push(s->arena, &s->volumes, v);
        }
      }
    }
}

typedef struct Drawing { /* shared by the threads */
  const Synth *synth;
  pthread_mutex_t lock;
  int next, done;
  bool good;
  Error error; /* of the first volume that failed */
  Progress progress;
} Drawing;

static bool draw_volume(const Synth *s, const SynthVolume *v, Error *error) {
  Arena *arena = arena_new();
  const char *split = splits[v->split];
  const char *scan = arena_printf(arena, "%s/dataset/%s/%s_%d/%s_%d_%c", s->output, split, split,
                                  v->patient + 1, split, v->patient + 1, 'a' + v->scan);
  Phantom p = phantom_of(s, v);
  bool good = make_folders(scan, error) &&
              phantom_write(&p, arena_printf(arena, "%s/%s", scan, v->name), error);
  arena_free(arena);
  return good;
}

static void *draw_volumes(void *user) {
  Drawing *d = user;
  const Synth *s = d->synth;
  pthread_mutex_lock(&d->lock);
  while (d->good && d->next < s->volumes.count) {
    const SynthVolume *v = &s->volumes.at[d->next++];
    Error error;
    pthread_mutex_unlock(&d->lock);
    bool good = draw_volume(s, v, &error);
    pthread_mutex_lock(&d->lock);
    if (!good && d->good)
      d->error = error;
    d->good &= good;
    if (good)
      progress_update(&d->progress, ++d->done, "");
  }
  pthread_mutex_unlock(&d->lock);
  return NULL;
}

static bool draw_all(const Synth *s, Error *error) {
  Drawing d = {.synth = s, .lock = PTHREAD_MUTEX_INITIALIZER, .good = true};
  pthread_t threads[MAX_JOBS];
  int started = 0;
  progress_start(&d.progress, "synth", 0, s->volumes.count);
  for (int64_t i = 1; i < s->jobs && i < s->volumes.count; i++)
    if (pthread_create(&threads[started], NULL, draw_volumes, &d) == 0)
      started++;
  draw_volumes(&d);
  for (int i = 0; i < started; i++)
    pthread_join(threads[i], NULL);
  progress_finish(&d.progress);
  if (!d.good)
    *error = d.error;
  return d.good;
}

/* ---- the tables ---- */

static bool write_text(const Synth *s, const char *name, const Text *text, Error *error) {
  return command_output(arena_printf(s->arena, "%s/%s", s->output, name), text, error);
}

/* A cell that may hold commas. */
static void add_quoted(Text *out, const char *cell) {
  text_add(out, ",\"");
  for (const char *at = cell; *at; at++)
    text_add(out, *at == '"' ? "\"\"" : "%c", *at);
  text_add(out, "\"");
}

typedef struct Tables {
  Text metadata, reports, labels;
} Tables;

static void start_tables(Tables *t) {
  text_add(&t->metadata, "VolumeName,Manufacturer,PatientSex,PatientAge,Rows,Columns,XYSpacing,"
                         "RescaleIntercept,RescaleSlope,NumberofSlices,ZSpacing\n");
  text_add(&t->reports, "VolumeName,Findings_EN,Impressions_EN\n");
  text_add(&t->labels, "VolumeName");
  for (int c = 0; c < CTRATE_LABELS; c++)
    text_add(&t->labels, ",%s", ctrate_label_names[c]);
  text_add(&t->labels, "\n");
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

static void add_rows(Synth *s, const SynthVolume *v, Tables *t) {
  Phantom p = phantom_of(s, v);
  Text findings = {0}, impression = {0};
  text_add(&t->metadata, "%s,tricot phantom,%c,%03dY,%lld,%lld,\"[%.6g, %.6g]\",0,1,%lld,%.6g\n",
           v->name, p.female ? 'F' : 'M', p.age, (long long)p.size[1], (long long)p.size[2],
           p.spacing[2], p.spacing[2], (long long)p.size[0], p.spacing[0]);
  label_row(&p, v->name, &t->labels);
  phantom_report(&p, &findings, &impression);
  text_add(&t->reports, "%s", v->name);
  add_quoted(&t->reports, findings.at);
  add_quoted(&t->reports, impression.at);
  text_add(&t->reports, "\n");
  text_add(&s->reports, "%s %s\n", findings.at, impression.at);
  text_free(&findings);
  text_free(&impression);
}

static bool write_tables(Synth *s, int split, Error *error) {
  Tables t = {0};
  start_tables(&t);
  for (int i = 0; i < s->volumes.count; i++)
    if (s->volumes.at[i].split == split)
      add_rows(s, &s->volumes.at[i], &t);
  const struct {
    const char *folder, *split, *tail;
    const Text *text;
  } files[] = {{"metadata", longer[split], "metadata", &t.metadata},
               {"radiology_text_reports", longer[split], "reports", &t.reports},
               {"multi_abnormality_labels", splits[split], "predicted_labels", &t.labels}};
  bool good = true;
  for (int i = 0; good && i < 3; i++)
    good = make_folders(arena_printf(s->arena, "%s/%s", s->output, files[i].folder), error) &&
           write_text(s,
                      arena_printf(s->arena, "%s/%s_%s.csv", files[i].folder, files[i].split,
                                   files[i].tail),
                      files[i].text, error);
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
  list_volumes(s);
  bool good = draw_all(s, error);
  for (int split = 0; good && split < 2; split++)
    good = write_tables(s, split, error);
  good = good && write_vocabulary(s, error);
  if (good)
    fprintf(stderr, "%s: %d volumes of %lld patients to train on and %lld to validate, made up\n",
            s->output, s->volumes.count, (long long)s->patients[0], (long long)s->patients[1]);
  return good;
}

/* ---- options ---- */

static bool parse_share(const char *text, double *share) {
  char *end;
  double value = strtod(text, &end);
  if (end == text || *end || !(value >= 0 && value <= 1))
    return false;
  *share = value;
  return true;
}

/* "0.3" for all, or "Lung nodule=0.3". */
static bool parse_prevalence(const char *text, double prevalence[PHANTOM_FINDINGS]) {
  const char *equals = strchr(text, '=');
  bool found = false;
  for (int f = 0; f < PHANTOM_FINDINGS; f++) {
    const char *label = phantom_findings[f].label;
    bool named = equals && strlen(label) == (size_t)(equals - text) &&
                 strncasecmp(label, text, strlen(label)) == 0;
    if (equals && !named)
      continue;
    if (!parse_share(equals ? equals + 1 : text, &prevalence[f]))
      return false;
    found = true;
  }
  return found;
}

static bool parse_volume_size(const char *text, int64_t size[3]) {
  return parse_size(text, size) && size[0] <= MAX_SIDE && size[1] <= MAX_SIDE &&
         size[2] <= MAX_SIDE;
}

static void print_help(void) {
  fputs(help, stdout);
  for (int f = 0; f < PHANTOM_FINDINGS; f++)
    printf("  %-30s %g\n", phantom_findings[f].label, phantom_findings[f].prevalence);
  fputs(examples, stdout);
}

static bool parse_option(Synth *s, int option, const char *value) {
  int64_t seed;
  switch (option) {
  case 'o': s->output = value; return true;
  case 't': return parse_whole(value, 1, MAX_PATIENTS, &s->patients[0]);
  case 'v': return parse_whole(value, 1, MAX_PATIENTS, &s->patients[1]);
  case 'z': return parse_volume_size(value, s->options.size);
  case 'p': return parse_prevalence(value, s->options.prevalence);
  case 'c': return parse_share(value, &s->scans);
  case 'r': return parse_share(value, &s->reconstructions);
  case 'j': return parse_whole(value, 1, MAX_JOBS, &s->jobs);
  default:
    if (!parse_whole(value, 0, INT64_MAX, &seed))
      return false;
    s->options.seed = (uint64_t)seed;
    return true;
  }
}

static int parse(Synth *s, int argc, char **argv) {
  static const struct option options[] = {{"output", required_argument, NULL, 'o'},
                                          {"train", required_argument, NULL, 't'},
                                          {"valid", required_argument, NULL, 'v'},
                                          {"size", required_argument, NULL, 'z'},
                                          {"prevalence", required_argument, NULL, 'p'},
                                          {"scans", required_argument, NULL, 'c'},
                                          {"reconstructions", required_argument, NULL, 'r'},
                                          {"jobs", required_argument, NULL, 'j'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
  optind = 0;
  for (int option, index = 0; (option = getopt_long(argc, argv, "", options, &index)) != -1;) {
    if (option == 'h') {
      print_help();
      return -1;
    }
    if (option == '?')
      return command_usage(argv[0], "the options were not understood");
    if (!parse_option(s, option, optarg))
      return command_usage(argv[0], "--%s: \"%s\" is not understood", options[index].name, optarg);
  }
  if (optind < argc)
    return command_usage(argv[0], "unexpected argument \"%s\"", argv[optind]);
  if (!s->output)
    return command_usage(argv[0], "--output is missing");
  return EXIT_DONE;
}

int cmd_synth(int argc, char **argv) {
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  Synth s = {.patients = {24, 8},
             .jobs = processors < 1          ? 1
                     : processors < MAX_JOBS ? processors
                                             : MAX_JOBS,
             .options = phantom_defaults()};
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
