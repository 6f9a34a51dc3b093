/* Fuzzes wordpiece_open, and encodes the vocabulary's own bytes with what it opened. */
#include "runtime/data/wordpiece.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  Error error = {""};
  WordPieceOptions options = {.lower = size % 2};
  WordPiece *pieces = wordpiece_open(file_of(bytes, size), options, &error);
  if (!pieces) {
    expect_words(&error);
    return 0;
  }
  for (int id = 0; id < wordpiece_count(pieces); id++)
    CHECK(wordpiece_id(pieces, wordpiece_token(pieces, id)) >= id); /* the last of equal ones */
  TokenIds ids = {0};
  if (!wordpiece_encode(pieces, (const char *)bytes, size, &ids, &error))
    expect_words(&error);
  for (int i = 0; i < ids.count; i++)
    CHECK(ids.at[i] >= 0 && ids.at[i] < wordpiece_count(pieces));
  token_ids_free(&ids);
  wordpiece_free(pieces);
  return 0;
}
