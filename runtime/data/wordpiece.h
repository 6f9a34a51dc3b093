/* BERT's tokenizer: text to words, words to pieces of a fixed vocabulary (Devlin et al., 2018).
 *
 * Words: control characters go, white space and CJK ideographs separate, letters are lowered and
 * lose their accents (canonical decomposition without nonspacing marks), punctuation stands alone.
 * Pieces: greedily the longest piece that the vocabulary has, "##" before those inside a word; a
 * word of more than 100 characters, or one that cannot be covered, is [UNK]. The spelled-out
 * special tokens ([MASK], [SEP], ...) are kept whole where the vocabulary has them.
 */
#ifndef TRICOT_RUNTIME_DATA_WORDPIECE_H
#define TRICOT_RUNTIME_DATA_WORDPIECE_H
#include "runtime/base/fault.h"
#include "runtime/base/text.h"
#include <stdint.h>

typedef enum StripAccents { STRIP_AS_LOWER, STRIP_YES, STRIP_NO } StripAccents;

typedef struct WordPieceOptions {
  bool lower; /* true for the uncased models */
  StripAccents strip_accents;
} WordPieceOptions;

/* "yes" or "no"; false for anything else. */
bool wordpiece_strip_option(const char *text, StripAccents *strip);

typedef struct TokenIds { /* heap; free with token_ids_free */
  int32_t *at;
  int count, room;
} TokenIds;

/* Where tokens stand in the text they came from, in characters (Unicode code points), as other
 * tokenizers count offsets: start <= i < end. Heap; free with token_spans_free. */
typedef struct TokenSpan {
  int32_t start, end;
} TokenSpan;
typedef struct TokenSpans {
  TokenSpan *at;
  int count, room;
} TokenSpans;

typedef struct WordPiece WordPiece;

/* Reads a vocabulary of one piece a line; the line number from 0 is the id. A file called .json is
 * Hugging Face's tokenizer.json, which brings its own options. [UNK] must be there. */
WordPiece *wordpiece_open(const char *path, WordPieceOptions options, Error *error);
void wordpiece_free(WordPiece *pieces);
int wordpiece_count(const WordPiece *pieces);
const char *wordpiece_token(const WordPiece *pieces, int id);
int wordpiece_id(const WordPiece *pieces, const char *token); /* -1 when absent */

/* Appends the ids of a UTF-8 text, without [CLS] and [SEP]. False when it is not UTF-8. */
bool wordpiece_encode(const WordPiece *pieces, const char *text, size_t size, TokenIds *ids,
                      Error *error);
/* The same with a span for every id; an unknown word's is the word. */
bool wordpiece_encode_spans(const WordPiece *pieces, const char *text, size_t size, TokenIds *ids,
                            TokenSpans *spans, Error *error);
/* The pieces of one word that is normalised already (no spaces; punctuation is like letters). */
void wordpiece_cover(const WordPiece *pieces, const char *word, size_t size, TokenIds *ids);
void token_spans_free(TokenSpans *spans);
void token_ids_add(TokenIds *ids, int32_t id);
void token_ids_free(TokenIds *ids);

/* Appends [CLS] first [SEP], and second [SEP] when there is one (else NULL), cut to `length` tokens
 * (0: as long as it gets): the longer text loses its last token first, the second one in a tie. */
bool wordpiece_join(const WordPiece *pieces, const TokenIds *first, const TokenIds *second,
                    int length, TokenIds *ids, Error *error);
/* The same into arrays of `length`, padded with [PAD]; mask is 1 on tokens, types is 1 on the
 * second text and its [SEP]. mask and types may be NULL. *used gets the number of tokens. */
bool wordpiece_pack(const WordPiece *pieces, const TokenIds *first, const TokenIds *second,
                    int length, int64_t *ids, int64_t *mask, int64_t *types, int *used,
                    Error *error);

/* The words alone, each followed by '\n'. False when the text is not UTF-8. */
bool wordpiece_words(WordPieceOptions options, const char *text, size_t size, Text *words,
                     Error *error);
#endif
