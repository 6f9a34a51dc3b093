/* tricot vocab: a WordPiece vocabulary from a corpus of reports. */
#include "runtime/data/corpus.h"
#include "runtime/data/vocabulary.h"
#include "runtime/job/command.h"
#include "runtime/job/progress.h"
#include <getopt.h>

enum { MAX_FILES = 64, MAX_SIZE = 1 << 20 };

static const char help[] =
    "Usage: tricot vocab --corpus FILE [--corpus FILE]... [--size N] [-o FILE] [options]\n"
    "\n"
    "Trains a WordPiece vocabulary: [PAD] [UNK] [CLS] [SEP] [MASK], every character, then the "
    "most\n"
    "frequent pairs joined until N pieces are there. The result is what --vocab takes elsewhere.\n"
    "\n"
    "  --corpus FILE           texts: .csv, .jsonl (key \"text\"), else one text a line\n"
    "  --column NAME           of CSV files, may be repeated (default: Findings_EN with\n"
    "                          Impressions_EN, else report_text, report or text)\n"
    "  --size N                pieces at most (default 30522)\n"
    "  --min-frequency N       a pair seen less often is not joined (default 2)\n"
    "  --no-lower              keep capital letters (cased models)\n"
    "  --strip-accents yes|no  default: yes where letters are lowered\n"
    "  -o, --output FILE       write there instead of stdout\n"
    "\n"
    "Examples:\n"
    "  tricot vocab --corpus train_reports.csv --size 8000 -o vocab.txt\n"
    "  tricot vocab --corpus reports.csv --column report_text --size 4000 -o vocab.txt\n";

typedef struct Vocab {
  const char *files[MAX_FILES], *columns[MAX_FILES], *output;
  int n_files, n_columns;
  int64_t size, min_frequency;
  WordPieceOptions options;
  Vocabulary *vocabulary;
  int64_t texts;
  Progress progress;
} Vocab;

static bool take_text(void *user, const char *text, size_t size, Error *error) {
  Vocab *v = user;
  v->texts++;
  return vocabulary_add(v->vocabulary, text, size, error);
}

static void show_progress(void *user, int64_t pieces, int64_t size) {
  Vocab *v = user;
  v->progress.total = size;
  progress_update(&v->progress, pieces, "pieces");
}

static bool vocab(Vocab *v, Text *lines, Error *error) {
  int count = 0;
  v->vocabulary = vocabulary_new(v->options);
  for (int i = 0; i < v->n_files; i++) {
    int64_t before = v->texts;
    if (!corpus_read(v->files[i], v->columns, v->n_columns, take_text, v, error))
      return false;
    fprintf(stderr, "%s: %lld texts, %lld different words so far\n", v->files[i],
            (long long)(v->texts - before), (long long)vocabulary_words(v->vocabulary));
  }
  VocabularyOptions options = {(int)v->size, v->min_frequency, show_progress, v};
  Error inner;
  progress_start(&v->progress, "vocab", 0, v->size);
  bool good = vocabulary_train(v->vocabulary, &options, lines, &count, &inner) ||
              error_set(error, "%s: error: %.900s", v->files[0], inner.text);
  progress_finish(&v->progress);
  if (good && count < v->size)
    fprintf(stderr, "vocab: %d pieces; no other pair is seen %lld times\n", count,
            (long long)v->min_frequency);
  return good && command_output(v->output, lines, error);
}

static bool add_name(const char **list, int *count, const char *name) {
  if (*count == MAX_FILES)
    return false;
  list[(*count)++] = name;
  return true;
}

static int parse(Vocab *v, int argc, char **argv) {
  static const struct option options[] = {{"corpus", required_argument, NULL, 'c'},
                                          {"column", required_argument, NULL, 'k'},
                                          {"size", required_argument, NULL, 's'},
                                          {"min-frequency", required_argument, NULL, 'm'},
                                          {"no-lower", no_argument, NULL, 'n'},
                                          {"strip-accents", required_argument, NULL, 'a'},
                                          {"output", required_argument, NULL, 'o'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
  optind = 0;
  for (int option; (option = getopt_long(argc, argv, "o:", options, NULL)) != -1;)
    switch (option) {
    case 'c':
      if (!add_name(v->files, &v->n_files, optarg))
        return command_usage(argv[0], "more than %d files", MAX_FILES);
      break;
    case 'k':
      if (!add_name(v->columns, &v->n_columns, optarg))
        return command_usage(argv[0], "more than %d columns", MAX_FILES);
      break;
    case 'n': v->options.lower = false; break;
    case 'o': v->output = optarg; break;
    case 'h': fputs(help, stdout); return -1;
    case 's':
      if (!parse_whole(optarg, 6, MAX_SIZE, &v->size))
        return command_usage(argv[0], "--size \"%s\" is no count from 6 to %d", optarg, MAX_SIZE);
      break;
    case 'm':
      if (!parse_whole(optarg, 1, INT64_MAX / 2, &v->min_frequency))
        return command_usage(argv[0], "--min-frequency \"%s\" is not a count", optarg);
      break;
    case 'a':
      if (!wordpiece_strip_option(optarg, &v->options.strip_accents))
        return command_usage(argv[0], "--strip-accents is yes or no, not \"%s\"", optarg);
      break;
    default: return command_usage(argv[0], "the options were not understood");
    }
  if (optind < argc)
    return command_usage(argv[0], "unexpected argument \"%s\"", argv[optind]);
  return v->n_files ? EXIT_DONE : command_usage(argv[0], "--corpus is missing");
}

int cmd_vocab(int argc, char **argv) {
  Vocab v = {.size = 30522, .min_frequency = 2, .options = {.lower = true}};
  Text lines = {0};
  Error error;
  int status = parse(&v, argc, argv);
  if (status != EXIT_DONE)
    return status < 0 ? EXIT_DONE : status;
  bool good = vocab(&v, &lines, &error);
  vocabulary_free(v.vocabulary);
  text_free(&lines);
  return good ? EXIT_DONE : command_failed(&error);
}
