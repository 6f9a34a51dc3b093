/* A WordPiece vocabulary trained from a corpus.
 *
 * Words come from the tokenizer's own normalisation (wordpiece.h). Each starts as its characters,
 * "##" before those inside it; then the most frequent pair of neighbours becomes one piece, again
 * and again (byte-pair encoding: Gage, 1994; Sennrich et al., arXiv 1508.07909), until the
 * vocabulary is full or no pair is frequent enough. Ties go to the pair whose pieces are first in
 * byte order, so the same words in any order give the same bytes.
 *
 * The choice by counts, not by the likelihood count(ab) / (count(a) count(b)) of Schuster and
 * Nakajima (2012), makes frequent words whole first and so the fewest tokens for a size; the
 * likelihood spends the first places on pairs of rare characters.
 *
 * Pieces: [PAD] [UNK] [CLS] [SEP] [MASK], the characters in byte order, then merges in the order in
 * which they were made. Every character of a word of several is there in both forms, so whatever
 * consists of characters of the corpus is encoded without [UNK] (but for words of more than 100
 * characters).
 */
#ifndef TRICOT_RUNTIME_DATA_VOCABULARY_H
#define TRICOT_RUNTIME_DATA_VOCABULARY_H
#include "runtime/data/wordpiece.h"

typedef struct VocabularyOptions {
  int size;              /* pieces at most, special ones included */
  int64_t min_frequency; /* a pair rarer than this is not merged; at least 1 */
  void (*progress)(void *user, int64_t pieces, int64_t size); /* now and then; may be NULL */
  void *user;
} VocabularyOptions;

typedef struct Vocabulary Vocabulary;

Vocabulary *vocabulary_new(WordPieceOptions options);
void vocabulary_free(Vocabulary *vocabulary);
/* Counts the words of one UTF-8 text. */
bool vocabulary_add(Vocabulary *vocabulary, const char *text, size_t size, Error *error);
int64_t vocabulary_words(const Vocabulary *vocabulary); /* different ones so far */
/* Appends the pieces, one a line, as wordpiece_open reads them; *count gets how many. Fails when
 * the characters alone are more than `size`. Once for a vocabulary. */
bool vocabulary_train(Vocabulary *vocabulary, const VocabularyOptions *options, Text *lines,
                      int *count, Error *error);
#endif
