/* WordPiece: sequences and corners on a small vocabulary, then every reference vector. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/base/file.h"
#include "runtime/base/json.h"
#include "runtime/base/random.h"
#include "runtime/data/wordpiece.h"
#include "tests/unit/shared.h"
#include <string.h>
#include <utf8proc.h>

static char vocabulary[200];

static int make_vocabulary(void **state) {
  (void)state;
  snprintf(vocabulary, sizeof vocabulary, "%s/vocab.txt", scratch_make());
  return 0;
}

static int remove_vocabulary(void **state) {
  (void)state;
  *strrchr(vocabulary, '/') = 0;
  scratch_remove(vocabulary);
  return 0;
}

static WordPiece *open_pieces(const char *lines, bool lower) {
  Error error = {""};
  FILE *stream = fopen(vocabulary, "wb");
  fputs(lines, stream);
  fclose(stream);
  WordPiece *pieces = wordpiece_open(vocabulary, (WordPieceOptions){.lower = lower}, &error);
  if (!pieces)
    fail_msg("%s", error.text);
  return pieces;
}

static void expect_ids(const WordPiece *pieces, const char *text, const int32_t *ids, int count) {
  TokenIds found = {0};
  Error error = {""};
  assert_true(wordpiece_encode(pieces, text, strlen(text), &found, &error));
  if (found.count != count || (count && memcmp(found.at, ids, sizeof *ids * (size_t)count) != 0))
    fail_msg("\"%s\": %d ids, not the expected %d", text, found.count, count);
  token_ids_free(&found);
}

static void small_vocabulary(void **state) {
  (void)state;
  WordPiece *pieces = open_pieces("[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\na\r\nab\r\n##b\r\n##\xC3\xA9"
                                  "\r\n.\r\n[MASK]",
                                  false);
  assert_int_equal(wordpiece_count(pieces), 10);
  assert_string_equal(wordpiece_token(pieces, 5), "ab");
  expect_ids(pieces, "", NULL, 0);
  expect_ids(pieces, "abb", (int32_t[]){5, 6}, 2);
  expect_ids(pieces, "abc a", (int32_t[]){1, 4}, 2); /* no cover: the whole word is unknown */
  expect_ids(pieces, "a\xC3\xA9.a", (int32_t[]){4, 7, 8, 4}, 4);
  expect_ids(pieces, "a[MASK]a", (int32_t[]){4, 9, 4}, 3);
  expect_ids(pieces, "[mask]", (int32_t[]){1, 1, 1}, 3);
  Error error = {""};
  TokenIds ids = {0};
  assert_false(wordpiece_encode(pieces, "ab \xFFz", 5, &ids, &error));
  assert_non_null(strstr(error.text, "byte 3"));
  assert_false(wordpiece_encode(pieces, "[MASK]\xC3", 7, &ids, &error));
  assert_non_null(strstr(error.text, "byte 6"));
  token_ids_free(&ids);
  wordpiece_free(pieces);
  FILE *stream = fopen(vocabulary, "wb");
  fputs("a\nb\n", stream);
  fclose(stream);
  assert_null(wordpiece_open(vocabulary, (WordPieceOptions){0}, &error));
  assert_non_null(strstr(error.text, "[UNK]"));
}

static void packing(void **state) {
  (void)state;
  WordPiece *pieces = open_pieces("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\n", true);
  int32_t many[] = {4, 4, 4, 4}, few[] = {5, 5};
  TokenIds first = {many, 4, 4}, second = {few, 2, 2};
  int64_t ids[10], mask[10], types[10];
  int used;
  Error error = {""};
  assert_true(wordpiece_pack(pieces, &first, NULL, 8, ids, mask, types, &used, &error));
  assert_memory_equal(ids, ((int64_t[]){2, 4, 4, 4, 4, 3, 0, 0}), 8 * sizeof *ids);
  assert_memory_equal(mask, ((int64_t[]){1, 1, 1, 1, 1, 1, 0, 0}), 8 * sizeof *ids);
  assert_int_equal(used, 6);
  assert_true(wordpiece_pack(pieces, &first, &second, 10, ids, mask, types, &used, &error));
  assert_memory_equal(ids, ((int64_t[]){2, 4, 4, 4, 4, 3, 5, 5, 3, 0}), 10 * sizeof *ids);
  assert_memory_equal(types, ((int64_t[]){0, 0, 0, 0, 0, 0, 1, 1, 1, 0}), 10 * sizeof *ids);
  assert_true(wordpiece_pack(pieces, &first, &second, 6, ids, NULL, types, &used, &error));
  assert_memory_equal(ids, ((int64_t[]){2, 4, 4, 3, 5, 3}), 6 * sizeof *ids);
  assert_memory_equal(types, ((int64_t[]){0, 0, 0, 0, 1, 1}), 6 * sizeof *ids);
  assert_true(wordpiece_pack(pieces, &first, NULL, 3, ids, NULL, NULL, &used, &error));
  assert_memory_equal(ids, ((int64_t[]){2, 4, 3}), 3 * sizeof *ids);
  assert_false(wordpiece_pack(pieces, &first, NULL, 1, ids, NULL, NULL, &used, &error));
  wordpiece_free(pieces);
}

static void letters(void **state) {
  (void)state;
  static const struct {
    WordPieceOptions options;
    const char *text, *words;
  } cases[] = {
      {{true, STRIP_NO},
       "\u039F\u0394\u039F\u03A3 \u03A3 \u03A3A A\u03A3.",
       "\u03BF\u03B4\u03BF\u03C2\n\u03C3\n\u03C3a\na\u03C2\n.\n"},
      {{true, STRIP_NO}, "\u0130", "i\u0307\n"},
      {{true, STRIP_AS_LOWER}, "\u0130", "i\n"},
      {{false, STRIP_AS_LOWER}, "\u00C9t\u00E9", "\u00C9t\u00E9\n"},
      {{false, STRIP_YES}, "\u00C9t\u00E9 e\u0301", "Ete\ne\n"},
      {{true, STRIP_AS_LOWER}, "a\u0301\u0301", "a\n"},
      {{true, STRIP_AS_LOWER}, "\u0301 x", "x\n"}, /* nothing is left of the first word */
      {{true, STRIP_AS_LOWER}, "x\u2028y\u2029z", "x\ny\nz\n"},
      {{true, STRIP_AS_LOWER}, "a\u00ADb\u200Bc\uFEFF", "abc\n"},
      {{true, STRIP_AS_LOWER}, "a\u2014b\u00BFc\u3002", "a\n\u2014\nb\n\u00BF\nc\n\u3002\n"},
      {{true, STRIP_AS_LOWER}, "\uFFFDa\uE000b", "ab\n"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Text words = {0};
    Error error = {""};
    const char *text = cases[i].text;
    assert_true(wordpiece_words(cases[i].options, text, strlen(text), &words, &error));
    assert_string_equal(words.at ? words.at : "", cases[i].words);
    text_free(&words);
  }
}

typedef struct Lines {
  Arena *arena;
  char *at;
} Lines;

static Lines open_lines(const char *name) {
  Lines lines = {.arena = arena_new()};
  size_t size;
  Error error = {""};
  if (!file_read(lines.arena, shared_path(name), 1 << 26, &lines.at, &size, &error))
    fail_msg("%s", error.text);
  return lines;
}

static bool next_line(Lines *lines, Json *value) {
  if (!*lines->at)
    return false;
  size_t size = strcspn(lines->at, "\n");
  Error error = {""};
  if (!json_parse(lines->arena, lines->at, size, value, &error))
    fail_msg("%s", error.text);
  lines->at += size + (lines->at[size] == '\n');
  return true;
}

static void compare(const WordPiece *pieces, const TokenIds *found, const Json *entry) {
  const Json *tokens = json_get(entry, "tokens"), *ids = json_get(entry, "ids");
  const char *text = json_get(entry, "text")->string;
  if (found->count != tokens->count)
    fail_msg("\"%.60s\": %d tokens, not %d", text, found->count, tokens->count);
  for (int i = 0; i < found->count; i++) {
    const char *token = wordpiece_token(pieces, found->at[i]);
    if (strcmp(token, tokens->items[i].string) != 0)
      fail_msg("\"%.60s\": token %d is %s, not %s", text, i, token, tokens->items[i].string);
    if (ids)
      assert_int_equal(found->at[i], ids->items[i].integer);
  }
}

static void reference_texts(void **state) {
  (void)state;
  shared_needed();
  Error error = {""};
  WordPiece *pieces = wordpiece_open(shared_path("data/tokenizer/bert-base-uncased_vocab.txt"),
                                     (WordPieceOptions){.lower = true}, &error);
  assert_non_null(pieces);
  assert_int_equal(wordpiece_count(pieces), 30522);
  static const char *const files[] = {"data/tokenizer/wordpiece_tricky.jsonl",
                                      "data/tokenizer/wordpiece_reports.jsonl"};
  int texts = 0;
  for (int f = 0; f < 2; f++) {
    Lines lines = open_lines(files[f]);
    Json entry;
    for (; next_line(&lines, &entry); texts++) {
      const char *text = json_get(&entry, "text")->string;
      TokenIds found = {0};
      assert_true(wordpiece_encode(pieces, text, strlen(text), &found, &error));
      compare(pieces, &found, &entry);
      token_ids_free(&found);
    }
    arena_free(lines.arena);
  }
  assert_int_equal(texts, 87);
  wordpiece_free(pieces);
}

/* The same vocabulary as tokenizer.json: the same ids; its options win. */
static void json_vocabulary(void **state) {
  (void)state;
  shared_needed();
  Error error = {""};
  WordPiece *lines = wordpiece_open(shared_path("data/tokenizer/bert-base-uncased_vocab.txt"),
                                    (WordPieceOptions){.lower = true}, &error);
  WordPiece *json = wordpiece_open(shared_path("data/tokenizer/all-MiniLM-L6-v2_tokenizer.json"),
                                   (WordPieceOptions){.lower = false}, &error);
  if (!lines || !json)
    fail_msg("%s", error.text);
  assert_int_equal(wordpiece_count(json), wordpiece_count(lines));
  for (int i = 0; i < wordpiece_count(lines); i++)
    assert_string_equal(wordpiece_token(json, i), wordpiece_token(lines, i));
  expect_ids(json, "H\u00E9llo", (int32_t[]){7592}, 1);
  wordpiece_free(lines);
  wordpiece_free(json);
}

static void json_refused(void **state) {
  (void)state;
#define NORMAL "\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":false},"
  static const char *const cases[][2] = {
      {"{" NORMAL "\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"[UNK]\":1,\"A\":0}}}", NULL},
      {"{" NORMAL "\"model\":{\"type\":\"BPE\",\"vocab\":{\"[UNK]\":0}}}", "\"type\""},
      {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"[UNK]\":0}}}", "normalizer"},
      {"{" NORMAL "\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"[UNK]\":1,\"A\":1}}}", "\"A\""},
      {"{" NORMAL "\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"[UNK]\":2,\"A\":0}}}", "0 to 1"},
      {"{" NORMAL "\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"A\":0}}}", "no [UNK]"},
      {"{" NORMAL "\"model\":{\"type\":\"WordPiece\"}}", "no \"vocab\""},
      {"{", "offset"},
      {"[]", "no \"model\""},
  };
  char path[220];
  snprintf(path, sizeof path, "%s.json", vocabulary);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Error error = {""};
    FILE *stream = fopen(path, "wb");
    fputs(cases[i][0], stream);
    fclose(stream);
    WordPiece *pieces = wordpiece_open(path, (WordPieceOptions){.lower = true}, &error);
    if (cases[i][1]) {
      assert_null(pieces);
      if (!strstr(error.text, cases[i][1]))
        fail_msg("%s: %s", cases[i][0], error.text);
      continue;
    }
    expect_ids(pieces, "A a", (int32_t[]){0, 1}, 2);
    wordpiece_free(pieces);
  }
}

/* ---- vectors of other implementations: every key of every entry is looked at ---- */

enum { VECTORS = 10 };

typedef struct Vector {
  const Json *entry, *tokens;
  const char *text;
  WordPieceOptions options;
  WordPiece *pieces; /* NULL: words only */
} Vector;

static bool flag(const Vector *v, const char *key) {
  const Json *value = json_get(v->entry, key);
  return value && value->boolean;
}

/* A key nobody compares would be an expectation passed over. */
static void known_keys(const Json *entry) {
  static const char *const keys[] = {"origin",  "vocab",    "text",       "lower",
                                     "tokens",  "ids",      "pair",       "wordpiece_only",
                                     "offsets", "type_ids", "basic_only", "strip_accents"};
  for (int i = 0; i < entry->count; i++) {
    bool known = false;
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
      known |= strcmp(keys[k], entry->keys[i]) == 0;
    if (!known)
      fail_msg("a vector with key \"%s\", which nothing compares", entry->keys[i]);
  }
}

static void open_vector(Vector *v, const Json *entry) {
  const Json *strip = json_get(entry, "strip_accents"), *listed = json_get(entry, "vocab");
  Error error = {""};
  known_keys(entry);
  *v = (Vector){
      .entry = entry, .tokens = json_get(entry, "tokens"), .text = json_get(entry, "text")->string};
  v->options.lower = listed && listed->kind == JSON_STRING ? true : flag(v, "lower");
  if (strip)
    v->options.strip_accents = strip->boolean ? STRIP_YES : STRIP_NO;
  if (listed && listed->kind == JSON_LIST) {
    Text lines = {0};
    for (int i = 0; i < listed->count; i++)
      text_add(&lines, "%s\n", listed->items[i].string);
    v->pieces = open_pieces(lines.at, v->options.lower);
    text_free(&lines);
  } else if (listed) {
    assert_string_equal(listed->string, "bert-base-uncased");
    v->pieces = wordpiece_open(shared_path("data/tokenizer/bert-base-uncased_vocab.txt"),
                               v->options, &error);
    assert_non_null(v->pieces);
  }
}

/* Words only, without a vocabulary. */
static void compare_words(const Vector *v) {
  Text words = {0}, wanted = {0};
  Error error = {""};
  assert_true(wordpiece_words(v->options, v->text, strlen(v->text), &words, &error));
  text_add(&words, "end");
  for (int i = 0; i < v->tokens->count; i++)
    text_add(&wanted, "%s\n", v->tokens->items[i].string);
  text_add(&wanted, "end");
  assert_string_equal(words.at, wanted.at);
  text_free(&words);
  text_free(&wanted);
}

/* Words that are given, between spaces. */
static void compare_covers(const Vector *v) {
  TokenIds found = {0};
  for (const char *at = v->text; *at;) {
    size_t size = strcspn(at, " ");
    wordpiece_cover(v->pieces, at, size, &found);
    at += size + strspn(at + size, " ");
  }
  compare(v->pieces, &found, v->entry);
  token_ids_free(&found);
}

static void compare_offsets(const Vector *v, const TokenSpans *spans, int n_first) {
  const Json *offsets = json_get(v->entry, "offsets");
  int special = strcmp(v->tokens->items[0].string, "[CLS]") == 0, at = 0;
  assert_int_equal(offsets->count, v->tokens->count);
  for (int i = 0; i < offsets->count; i++) {
    bool added = special && (i == 0 || i == n_first + 1 || i == offsets->count - 1);
    TokenSpan span = added ? (TokenSpan){0, 0} : spans->at[at++];
    assert_int_equal(span.start, offsets->items[i].items[0].integer);
    assert_int_equal(span.end, offsets->items[i].items[1].integer);
  }
  assert_int_equal(at, spans->count);
}

/* [CLS] and [SEP] added, as a list and packed with room for more. */
static void compare_joined(const Vector *v, const TokenIds *first, const TokenIds *second) {
  const Json *types = json_get(v->entry, "type_ids");
  TokenIds joined = {0};
  Error error = {""};
  int64_t ids[64], mask[64], kinds[64];
  int used;
  assert_true(wordpiece_join(v->pieces, first, second, 0, &joined, &error));
  compare(v->pieces, &joined, v->entry);
  assert_true(wordpiece_pack(v->pieces, first, second, 64, ids, mask, kinds, &used, &error));
  assert_int_equal(used, joined.count);
  for (int i = 0; i < 64; i++) {
    assert_int_equal(mask[i], i < used);
    assert_int_equal(ids[i], i < used ? joined.at[i] : 0);
    if (types)
      assert_int_equal(kinds[i], i < used ? types->items[i].integer : 0);
  }
  token_ids_free(&joined);
}

static void compare_pieces(const Vector *v) {
  const Json *pair = json_get(v->entry, "pair");
  TokenIds first = {0}, second = {0};
  TokenSpans spans = {0};
  Error error = {""};
  assert_true(wordpiece_encode_spans(v->pieces, v->text, strlen(v->text), &first, &spans, &error));
  assert_int_equal(spans.count, first.count);
  if (pair)
    assert_true(wordpiece_encode_spans(v->pieces, pair->string, strlen(pair->string), &second,
                                       &spans, &error));
  if (strcmp(v->tokens->items[0].string, "[CLS]") == 0) {
    compare_joined(v, &first, pair ? &second : NULL);
  } else {
    assert_null(pair);
    assert_null(json_get(v->entry, "type_ids"));
    compare(v->pieces, &first, v->entry);
  }
  if (json_get(v->entry, "offsets"))
    compare_offsets(v, &spans, first.count);
  token_ids_free(&first);
  token_ids_free(&second);
  token_spans_free(&spans);
}

static void upstream_vectors(void **state) {
  (void)state;
  shared_needed();
  Lines lines = open_lines("data/tokenizer/upstream_vectors.jsonl");
  Json entry;
  int words = 0, covers = 0, pieces = 0;
  while (next_line(&lines, &entry)) {
    Vector v;
    open_vector(&v, &entry);
    if (flag(&v, "basic_only")) {
      compare_words(&v);
      words++;
    } else if (flag(&v, "wordpiece_only")) {
      compare_covers(&v);
      covers++;
    } else {
      compare_pieces(&v);
      pieces++;
    }
    wordpiece_free(v.pieces);
  }
  assert_int_equal(words, 5);
  assert_int_equal(covers, 1);
  assert_int_equal(pieces, 4);
  assert_int_equal(words + covers + pieces, VECTORS);
  arena_free(lines.arena);
}

/* Marks in any order, against utf8proc's own decomposition; and many of them in no time. */
static void marks_are_ordered(void **state) {
  (void)state;
  static const int32_t letters[] = {'a',    0xE9,    0x1EC7, 0xAC01, 0x301,  0x323,   0x345,
                                    0x302E, 0x1D165, 0x5B0,  0xE31,  0x302F, 0x1D16D, 0x9CD};
  WordPieceOptions options = {false, STRIP_YES};
  for (uint64_t round = 0; round < 2000; round++) {
    char word[400] = "";
    size_t size = 0;
    for (uint64_t i = 0; i < 40; i++) {
      uint32_t bits[4];
      random_bits(3, round, i, bits);
      size += (size_t)utf8proc_encode_char(letters[bits[0] % (sizeof letters / sizeof *letters)],
                                           (utf8proc_uint8_t *)word + size);
    }
    utf8proc_uint8_t *decomposed;
    utf8proc_ssize_t length = utf8proc_map((utf8proc_uint8_t *)word, (utf8proc_ssize_t)size,
                                           &decomposed, UTF8PROC_DECOMPOSE | UTF8PROC_STABLE);
    assert_true(length > 0);
    Text expected = {0}, words = {0};
    for (utf8proc_ssize_t at = 0, step; at < length; at += step) {
      int32_t c;
      step = utf8proc_iterate(decomposed + at, length - at, &c);
      if (utf8proc_category(c) != UTF8PROC_CATEGORY_MN)
        text_add_bytes(&expected, (char *)decomposed + at, (size_t)step);
    }
    text_add_bytes(&expected, "\n", 1);
    Error error;
    assert_true(wordpiece_words(options, word, size, &words, &error));
    assert_string_equal(words.at, expected.at);
    free(decomposed);
    text_free(&expected);
    text_free(&words);
  }
  Text many = {0}, words = {0};
  for (int i = 0; i < 200000; i++)
    text_add(&many, i % 2 ? "\xCC\x81" : "\xE3\x80\xAE"); /* classes 230 and 224 */
  Error error;
  assert_true(wordpiece_words(options, many.at, many.size, &words, &error));
  assert_int_equal(words.size, 300001);
  text_free(&many);
  text_free(&words);
}

/* Spans: characters, not bytes; marks that go, characters that come, unknown words. */
static void spans(void **state) {
  (void)state;
  WordPiece *pieces = open_pieces("[UNK]\n[MASK]\ni\na\ne\n##b\n.\n\u535A\n", true);
  static const char text[] = "\u0130 \u00E9b, [MASK]ae\u0301 \u535A\u00ADa\u200Bb e\u0301.";
  static const TokenSpan wanted[] = {{0, 1},   {2, 3},   {3, 4},   {4, 5},   {6, 12}, {12, 14},
                                     {16, 17}, {18, 19}, {20, 21}, {22, 23}, {24, 25}};
  static const int32_t ids[] = {2, 4, 5, 0, 1, 0, 7, 3, 5, 4, 6};
  TokenIds found = {0};
  TokenSpans places = {0};
  Error error = {""};
  assert_true(wordpiece_encode_spans(pieces, text, strlen(text), &found, &places, &error));
  assert_int_equal(found.count, 11);
  assert_int_equal(places.count, 11);
  assert_memory_equal(found.at, ids, sizeof ids);
  for (int i = 0; i < 11; i++) {
    assert_int_equal(places.at[i].start, wanted[i].start);
    assert_int_equal(places.at[i].end, wanted[i].end);
  }
  token_ids_free(&found);
  token_spans_free(&places);
  wordpiece_free(pieces);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(small_vocabulary), cmocka_unit_test(packing),
      cmocka_unit_test(letters),          cmocka_unit_test(reference_texts),
      cmocka_unit_test(upstream_vectors), cmocka_unit_test(spans),
      cmocka_unit_test(upstream_vectors), cmocka_unit_test(spans),
      cmocka_unit_test(json_vocabulary),  cmocka_unit_test(json_refused),
      cmocka_unit_test(marks_are_ordered),
  };
  return cmocka_run_group_tests(tests, make_vocabulary, remove_vocabulary);
}
