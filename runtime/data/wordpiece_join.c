/* Sequences: special tokens around one text or two, cut and padded. See wordpiece.h. */
#include "runtime/data/wordpiece.h"
#include <limits.h>
#include <string.h>

static bool need_special(const WordPiece *pieces, const char *token, int *id, Error *error) {
  *id = wordpiece_id(pieces, token);
  return *id >= 0 || error_set(error, "the vocabulary has no %s", token);
}

/* How many tokens of each text fit. */
static bool fit(int length, bool pair, int *first, int *second, Error *error) {
  int special = pair ? 3 : 2;
  if (length < special)
    return error_set(error, "a length of %d has no room for the %d special tokens", length,
                     special);
  while (*first + *second > length - special) {
    if (*first > *second)
      --*first;
    else
      --*second;
  }
  return true;
}

/* *boundary gets the place after the first [SEP]. */
static bool join(const WordPiece *pieces, const TokenIds *first, const TokenIds *second, int length,
                 TokenIds *ids, int *boundary, Error *error) {
  int cls, sep, n_first = first->count, n_second = second ? second->count : 0;
  if (!need_special(pieces, "[CLS]", &cls, error) || !need_special(pieces, "[SEP]", &sep, error) ||
      !fit(length ? length : INT_MAX, second != NULL, &n_first, &n_second, error))
    return false;
  token_ids_add(ids, cls);
  for (int i = 0; i < n_first; i++)
    token_ids_add(ids, first->at[i]);
  token_ids_add(ids, sep);
  *boundary = ids->count;
  for (int i = 0; i < n_second; i++)
    token_ids_add(ids, second->at[i]);
  if (second)
    token_ids_add(ids, sep);
  return true;
}

bool wordpiece_join(const WordPiece *pieces, const TokenIds *first, const TokenIds *second,
                    int length, TokenIds *ids, Error *error) {
  int boundary;
  return join(pieces, first, second, length, ids, &boundary, error);
}

bool wordpiece_pack(const WordPiece *pieces, const TokenIds *first, const TokenIds *second,
                    int length, int64_t *ids, int64_t *mask, int64_t *types, int *used,
                    Error *error) {
  TokenIds joined = {0};
  int pad, boundary;
  CHECK(length > 0);
  bool good = need_special(pieces, "[PAD]", &pad, error) &&
              join(pieces, first, second, length, &joined, &boundary, error);
  for (int i = 0; good && i < length; i++) {
    bool token = i < joined.count;
    ids[i] = token ? joined.at[i] : pad;
    if (mask)
      mask[i] = token;
    if (types)
      types[i] = token && i >= boundary;
  }
  *used = joined.count;
  token_ids_free(&joined);
  return good;
}
