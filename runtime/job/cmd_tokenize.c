/* tricot tokenize: texts to WordPiece ids, one JSON list a line. */
#include "runtime/base/json.h"
#include "runtime/data/corpus.h"
#include "runtime/data/text_pack.h"
#include "runtime/data/wordpiece.h"
#include "runtime/job/command.h"
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { MAX_BATCH = 4096, MAX_LENGTH = 1 << 20 };

static const char help[] =
    "Usage: tricot tokenize --vocab FILE (--text TEXT | --file FILE | --jsonl FILE | --corpus "
    "FILE)\n"
    "                       [options]\n"
    "\n"
    "Prints the WordPiece ids of each text as a JSON list on a line of its own.\n"
    "\n"
    "  --vocab FILE            the vocabulary, one piece a line, or a tokenizer.json\n"
    "  --text TEXT             one text\n"
    "  --file FILE             one text a line\n"
    "  --jsonl FILE            one JSON object a line, its key \"text\"\n"
    "  --corpus FILE           reports of a CSV table, or either of the above by the file's name\n"
    "  --special               add [CLS] and [SEP]\n"
    "  --pair TEXT             a second text, joined to every first one\n"
    "  --length N              cut to N tokens, special ones included\n"
    "  --no-lower              keep capital letters (cased models)\n"
    "  --strip-accents yes|no  default: yes where letters are lowered\n"
    "  --tokens                print the pieces instead of their ids\n"
    "  --plan BATCH            print, as JSON, shapes of batches that waste few tokens: packed\n"
    "                          (text.rows, text.length) and bucketed (text.length)\n"
    "  --shapes N              how many shapes --plan may use (default 4)\n"
    "  --output FILE           write there instead of stdout\n"
    "\n"
    "Examples:\n"
    "  tricot tokenize --vocab vocab.txt --text \"No pleural effusion.\"\n"
    "  tricot tokenize --vocab vocab.txt --jsonl reports.jsonl --special --length 512\n"
    "  tricot tokenize --vocab vocab.txt --corpus train_reports.csv --length 512 --plan 8\n";

typedef struct Tokenize {
  const char *vocabulary, *text, *file, *jsonl, *corpus, *pair, *output;
  bool special, tokens;
  int64_t length;       /* 0: no limit */
  int64_t plan, shapes; /* texts of a batch, 0: no plan; shapes at most */
  TokenIds counts;      /* tokens of every text, for the plan */
  WordPieceOptions options;
  WordPiece *pieces;
  TokenIds second; /* of --pair */
  Text out;
} Tokenize;

static void print_ids(Tokenize *t, const TokenIds *ids) {
  text_add(&t->out, "[");
  for (int i = 0; i < ids->count; i++) {
    text_add(&t->out, "%s", i ? ", " : "");
    if (t->tokens)
      json_add_string(&t->out, wordpiece_token(t->pieces, ids->at[i]));
    else
      text_add(&t->out, "%d", (int)ids->at[i]);
  }
  text_add(&t->out, "]\n");
}

static bool one_text(void *user, const char *text, size_t size, Error *error) {
  Tokenize *t = user;
  TokenIds first = {0}, ids = {0};
  bool good = wordpiece_encode(t->pieces, text, size, &first, error);
  if (good && (t->special || t->plan)) {
    good =
        wordpiece_join(t->pieces, &first, t->pair ? &t->second : NULL, (int)t->length, &ids, error);
  } else if (good) {
    for (int i = 0; i < first.count; i++)
      token_ids_add(&ids, first.at[i]);
    for (int i = 0; i < t->second.count; i++)
      token_ids_add(&ids, t->second.at[i]);
    if (t->length && ids.count > t->length)
      ids.count = (int)t->length;
  }
  if (good && t->plan)
    token_ids_add(&t->counts, ids.count);
  else if (good)
    print_ids(t, &ids);
  token_ids_free(&first);
  token_ids_free(&ids);
  return good;
}

static void print_plan(Tokenize *t, const char *name, bool packed) {
  TextPlan plan;
  text_plan(t->counts.at, NULL, t->counts.count / t->plan, t->plan, t->length, packed,
            (int)t->shapes, &plan);
  if (packed)
    text_add(&t->out, "{\"batches\": %lld, \"tokens\": %lld, \"padded_cells\": %lld",
             (long long)(t->counts.count / t->plan), (long long)plan.tokens,
             (long long)plan.padded);
  text_add(&t->out, ",\n \"%s\": {\"cells\": %lld, \"shapes\": [", name, (long long)plan.cells);
  for (int i = 0; i < plan.count; i++)
    text_add(&t->out, "%s{\"rows\": %lld, \"length\": %lld, \"batches\": %lld}", i ? ", " : "",
             (long long)plan.shapes[i].rows, (long long)plan.shapes[i].length,
             (long long)plan.uses[i]);
  text_add(&t->out, "]}");
}

/* Batches in the order of the texts; what is left over is left out. */
static bool plan_batches(Tokenize *t, Error *error) {
  if (t->counts.count < t->plan)
    return error_set(error, "--plan: error: %d texts are fewer than a batch of %lld",
                     t->counts.count, (long long)t->plan);
  print_plan(t, "packed", true);
  print_plan(t, "bucketed", false);
  text_add(&t->out, "}\n");
  return true;
}

static bool every_text(Tokenize *t, Error *error) {
  if (t->corpus)
    return corpus_read(t->corpus, NULL, 0, one_text, t, error);
  return corpus_lines(t->file ? t->file : t->jsonl, t->jsonl != NULL, one_text, t, error);
}

static bool tokenize(Tokenize *t, Error *error) {
  Error inner;
  t->pieces = wordpiece_open(t->vocabulary, t->options, error);
  if (!t->pieces)
    return false;
  if (t->pair && !wordpiece_encode(t->pieces, t->pair, strlen(t->pair), &t->second, &inner))
    return error_set(error, "--pair: error: %.900s", inner.text);
  if (t->text)
    return one_text(t, t->text, strlen(t->text), &inner) ||
           error_set(error, "--text: error: %.900s", inner.text);
  return every_text(t, error) && (!t->plan || plan_batches(t, error));
}

static int parse(Tokenize *t, int argc, char **argv) {
  static const struct option options[] = {
      {"vocab", required_argument, NULL, 'v'},  {"text", required_argument, NULL, 't'},
      {"file", required_argument, NULL, 'f'},   {"jsonl", required_argument, NULL, 'j'},
      {"corpus", required_argument, NULL, 'c'}, {"plan", required_argument, NULL, 'b'},
      {"shapes", required_argument, NULL, 'z'}, {"pair", required_argument, NULL, 'p'},
      {"special", no_argument, NULL, 's'},      {"length", required_argument, NULL, 'l'},
      {"no-lower", no_argument, NULL, 'n'},     {"strip-accents", required_argument, NULL, 'a'},
      {"tokens", no_argument, NULL, 'k'},       {"output", required_argument, NULL, 'o'},
      {"help", no_argument, NULL, 'h'},         {0}};
  optind = 0;
  for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
    switch (option) {
    case 'v': t->vocabulary = optarg; break;
    case 't': t->text = optarg; break;
    case 'f': t->file = optarg; break;
    case 'j': t->jsonl = optarg; break;
    case 'c': t->corpus = optarg; break;
    case 'p': t->pair = optarg; break;
    case 's': t->special = true; break;
    case 'n': t->options.lower = false; break;
    case 'k': t->tokens = true; break;
    case 'o': t->output = optarg; break;
    case 'h': fputs(help, stdout); return -1;
    case 'l':
      if (!parse_whole(optarg, 1, INT_MAX, &t->length))
        return command_usage(argv[0], "--length \"%s\" is not a count", optarg);
      break;
    case 'b':
      if (!parse_whole(optarg, 1, MAX_BATCH, &t->plan))
        return command_usage(argv[0], "--plan \"%s\" is no batch from 1 to %d", optarg, MAX_BATCH);
      break;
    case 'z':
      if (!parse_whole(optarg, 1, TEXT_SHAPES, &t->shapes))
        return command_usage(argv[0], "--shapes \"%s\" is no count from 1 to %d", optarg,
                             TEXT_SHAPES);
      break;
    case 'a':
      if (!wordpiece_strip_option(optarg, &t->options.strip_accents))
        return command_usage(argv[0], "--strip-accents is yes or no, not \"%s\"", optarg);
      break;
    default: return command_usage(argv[0], "the options were not understood");
    }
  if (optind < argc)
    return command_usage(argv[0], "unexpected argument \"%s\"", argv[optind]);
  if (!t->vocabulary)
    return command_usage(argv[0], "--vocab is missing");
  if (!!t->text + !!t->file + !!t->jsonl + !!t->corpus != 1)
    return command_usage(argv[0], "exactly one of --text, --file, --jsonl and --corpus is needed");
  if (t->plan && (t->text || !t->length || t->length > MAX_LENGTH))
    return command_usage(argv[0], "--plan needs texts of a file and a --length of at most %d",
                         MAX_LENGTH);
  return EXIT_DONE;
}

int cmd_tokenize(int argc, char **argv) {
  Tokenize t = {.options = {.lower = true}, .shapes = 4};
  Error error;
  int status = parse(&t, argc, argv);
  if (status != EXIT_DONE)
    return status < 0 ? EXIT_DONE : status;
  bool good = tokenize(&t, &error) && command_output(t.output, &t.out, &error);
  wordpiece_free(t.pieces);
  token_ids_free(&t.second);
  token_ids_free(&t.counts);
  text_free(&t.out);
  return good ? EXIT_DONE : command_failed(&error);
}
