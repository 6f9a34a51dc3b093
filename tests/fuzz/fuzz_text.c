/* Fuzzes tokenization of a text with a small vocabulary; the first byte chooses the options. */
#include "runtime/data/wordpiece.h"
#include "tests/fuzz/fuzz.h"

static const char vocabulary[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nno\nnodule\n##s\n##e\nlung\na\n"
    "i\nss\n##\xCF\x83\n\xCF\x83\n\xE4\xB8\xAD\n.\n,\n##\n";

static WordPiece *open_pieces(bool lower, StripAccents strip_accents) {
  Error error = {""};
  WordPieceOptions options = {lower, strip_accents};
  WordPiece *pieces =
      wordpiece_open(file_of((const uint8_t *)vocabulary, sizeof vocabulary - 1), options, &error);
  CHECK(pieces);
  return pieces;
}

static void encode(const WordPiece *pieces, const char *text, size_t size, bool valid) {
  enum { LENGTH = 16 };
  int64_t packed[LENGTH], mask[LENGTH];
  int used;
  Error error = {""};
  TokenIds ids = {0};
  CHECK(wordpiece_encode(pieces, text, size, &ids, &error) == valid);
  for (int i = 0; i < ids.count; i++)
    CHECK(ids.at[i] >= 0 && ids.at[i] < wordpiece_count(pieces));
  if (valid) {
    CHECK(wordpiece_pack(pieces, &ids, &ids, LENGTH, packed, mask, NULL, &used, &error));
    CHECK(used <= LENGTH && packed[0] == wordpiece_id(pieces, "[CLS]"));
  }
  token_ids_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  static WordPiece *pieces[6];
  if (!size)
    return 0;
  bool lower = bytes[0] % 2;
  StripAccents strip_accents = (StripAccents)(bytes[0] / 2 % 3);
  WordPiece **chosen = &pieces[bytes[0] % 6];
  if (!*chosen)
    *chosen = open_pieces(lower, strip_accents);
  /* from the heap, so that a step over the end is seen */
  char *text = malloc(size);
  memcpy(text, bytes + 1, size - 1);
  text[size - 1] = ' ';
  Text words = {0};
  Error error = {""};
  WordPieceOptions options = {lower, strip_accents};
  bool valid = wordpiece_words(options, text, size, &words, &error);
  if (!valid)
    expect_words(&error);
  encode(*chosen, text, size, valid);
  text_free(&words);
  free(text);
  return 0;
}
