/* Vocabularies from corpora: by hand, in any order, and over real reports. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/data/corpus.h"
#include "runtime/data/vocabulary.h"
#include "tests/unit/shared.h"
#include <string.h>

static bool take(void *user, const char *text, size_t size, Error *error) {
  return vocabulary_add(user, text, size, error);
}

static Text train(Vocabulary *v, int size, int64_t least, int *count) {
  Text lines = {0};
  Error error = {""};
  VocabularyOptions options = {.size = size, .min_frequency = least};
  if (!vocabulary_train(v, &options, &lines, count, &error))
    fail_msg("%s", error.text);
  vocabulary_free(v);
  return lines;
}

static Text train_words(const char *const *words, const int *counts, int n, int size,
                        int64_t least) {
  Vocabulary *v = vocabulary_new((WordPieceOptions){.lower = true});
  int count;
  for (int i = 0; i < n; i++)
    for (int k = 0; k < counts[i]; k++)
      assert_true(vocabulary_add(v, words[i], strlen(words[i]), NULL));
  return train(v, size, least, &count);
}

#define FIRST                                                                                      \
  "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n##b\n##g\n##h\n##n\n##p\n##s\n##u\nb\ng\nh\nn\np\ns\nu\n"

/* ##u ##g 20 times, ##u ##n 16, h ##ug 15, p ##un 12, then 5 each: hug before p; b ##un 4 */
static void by_hand(void **state) {
  (void)state;
  static const char *const words[] = {"hug", "Pug", "pun", "bun", "hugs"};
  static const char *const turned[] = {"bun", "hugs", "pun", "hug", "p\u00FAg"};
  static const int counts[] = {10, 5, 12, 4, 5}, others[] = {4, 5, 12, 10, 5};
  static const struct {
    int size;
    int64_t least;
    const char *lines;
  } cases[] = {
      {100, 2, FIRST "##ug\n##un\nhug\npun\nhugs\npug\nbun\n"},
      {100, 5, FIRST "##ug\n##un\nhug\npun\nhugs\npug\n"},
      {21, 1, FIRST "##ug\n##un\n"},
      {19, 1, FIRST},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (int order = 0; order < 2; order++) {
      Text lines = train_words(order ? turned : words, order ? others : counts, 5, cases[i].size,
                               cases[i].least);
      assert_string_equal(lines.at, cases[i].lines);
      text_free(&lines);
    }
}

static void refusals(void **state) {
  (void)state;
  Error error = {""};
  Text lines = {0};
  int count;
  Vocabulary *v = vocabulary_new((WordPieceOptions){.lower = true});
  assert_false(vocabulary_add(v, "\xFF", 1, &error));
  VocabularyOptions options = {.size = 8, .min_frequency = 1};
  assert_false(vocabulary_train(v, &options, &lines, &count, &error));
  assert_non_null(strstr(error.text, "no words"));
  assert_true(vocabulary_add(v, "a bc.", 5, &error));
  assert_false(vocabulary_train(v, &options, &lines, &count, &error));
  assert_non_null(strstr(error.text, "alone are 11")); /* a b c ##b ##c and . */
  vocabulary_free(v);
  assert_int_equal(lines.size, 0);
}

/* The same piece made in two ways, a pair in one word twice, words too long to be encoded. */
static void corners(void **state) {
  (void)state;
  Vocabulary *v = vocabulary_new((WordPieceOptions){.lower = true});
  char giant[150];
  int count;
  memset(giant, 'z', sizeof giant);
  static const char text[] = "aaaa aaaa abc abc ab ab bc xbc xbc , ,";
  assert_true(vocabulary_add(v, text, strlen(text), NULL));
  assert_true(vocabulary_add(v, giant, sizeof giant, NULL));
  Text lines = train(v, 1000, 1, &count);
  assert_null(strstr(lines.at, "z"));
  assert_null(strstr(lines.at, "##,"));
  static const char *const wanted[] = {"\naaaa\n", "\nabc\n", "\nab\n",
                                       "\nbc\n",   "\nxbc\n", "\n,\n"};
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    const char *found = strstr(lines.at, wanted[i]);
    assert_non_null(found);
    assert_null(strstr(found + 1, wanted[i]));
  }
  text_free(&lines);
}

typedef struct Encoding {
  WordPiece *pieces;
  int64_t texts, tokens;
} Encoding;

static bool encode(void *user, const char *text, size_t size, Error *error) {
  Encoding *e = user;
  TokenIds ids = {0};
  assert_true(wordpiece_encode(e->pieces, text, size, &ids, error));
  for (int i = 0; i < ids.count; i++)
    assert_int_not_equal(ids.at[i], 1);
  e->texts++;
  e->tokens += ids.count;
  token_ids_free(&ids);
  return true;
}

static void reports(void **state) {
  (void)state;
  shared_needed();
  const char *corpus = shared_path("data/reports/ctclip_text_classifier_train.csv");
  const char *folder = scratch_make();
  int64_t before = INT64_MAX;
  for (int size = 500; size <= 4000; size *= 2) {
    Text lines[2];
    Error error = {""};
    char path[200];
    int count;
    for (int i = 0; i < 2; i++) {
      Vocabulary *v = vocabulary_new((WordPieceOptions){.lower = true});
      if (!corpus_read(corpus, NULL, 0, take, v, &error))
        fail_msg("%s", error.text);
      lines[i] = train(v, size, 2, &count);
    }
    assert_string_equal(lines[0].at, lines[1].at);
    assert_int_equal(count, size);
    snprintf(path, sizeof path, "%s/vocab.txt", folder);
    FILE *stream = fopen(path, "wb");
    fwrite(lines[0].at, 1, lines[0].size, stream);
    fclose(stream);
    Encoding e = {.pieces = wordpiece_open(path, (WordPieceOptions){.lower = true}, &error)};
    assert_non_null(e.pieces);
    assert_int_equal(wordpiece_count(e.pieces), count);
    for (int id = 0; id < count; id++) /* each piece once */
      assert_int_equal(wordpiece_id(e.pieces, wordpiece_token(e.pieces, id)), id);
    assert_int_equal(wordpiece_id(e.pieces, "[MASK]"), 4);
    assert_true(corpus_read(corpus, NULL, 0, encode, &e, &error));
    assert_int_equal(e.texts, 800);
    assert_true(e.tokens < before); /* more pieces, fewer tokens */
    before = e.tokens;
    wordpiece_free(e.pieces);
    text_free(&lines[0]);
    text_free(&lines[1]);
  }
  scratch_remove(folder);
}

typedef struct Seen {
  Text all;
} Seen;

static bool see(void *user, const char *text, size_t size, Error *error) {
  Seen *seen = user;
  if (size && *text == '!')
    return error_set(error, "no");
  text_add(&seen->all, "<%.*s>", (int)size, text);
  return true;
}

static void corpora(void **state) {
  (void)state;
  static const struct {
    const char *name, *bytes, *column, *texts, *error;
  } cases[] = {
      {"a.txt", "one two\r\n\nthree", NULL, "<one two><><three>", NULL},
      {"a.jsonl", "{\"text\": \"a\\nb\"}\n\n{\"text\": \"c\", \"x\": 1}\n", NULL, "<a\nb><c>",
       NULL},
      {"b.jsonl", "{\"text\": \"a\"}\n{\"txt\": 1}\n", NULL, "<a>",
       ":2: error: expected an object"},
      {"a.csv", "VolumeName,Findings_EN,Impressions_EN\nv,\"a \"\"b\"\" c.\",d\nw,e,\n", NULL,
       "<a b c.d><enan>", NULL},
      {"b.csv", "x,report_text\n1,a\n2,b\n", NULL, "<a><b>", NULL},
      {"c.csv", "x,report_text\n1,a\n2,b\n", "x", "<1><2>", NULL},
      {"d.csv", "x,y\n1,a\n", NULL, "", "name the column"},
      {"e.csv", "x,y\n1,a\n", "z", "", "no column"},
      {"f.csv", "x,text\n1,a\n2,!\n", NULL, "<a>", "f.csv:3: error: no"},
  };
  const char *folder = scratch_make();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char path[200];
    Seen seen = {0};
    Error error = {""};
    snprintf(path, sizeof path, "%s/%s", folder, cases[i].name);
    FILE *stream = fopen(path, "wb");
    fputs(cases[i].bytes, stream);
    fclose(stream);
    text_add(&seen.all, "%s", "");
    assert_int_equal(
        corpus_read(path, &cases[i].column, cases[i].column != NULL, see, &seen, &error),
        cases[i].error == NULL);
    assert_string_equal(seen.all.at, cases[i].texts);
    if (cases[i].error && !strstr(error.text, cases[i].error))
      fail_msg("%s: %s", cases[i].name, error.text);
    text_free(&seen.all);
  }
  scratch_remove(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(by_hand), cmocka_unit_test(refusals),
                                     cmocka_unit_test(corners), cmocka_unit_test(reports),
                                     cmocka_unit_test(corpora)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
