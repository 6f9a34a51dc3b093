/* The vocabulary of a tokenizer.json (Hugging Face tokenizers) whose model is WordPiece. */
#ifndef TRICOT_RUNTIME_DATA_WORDPIECE_JSON_H
#define TRICOT_RUNTIME_DATA_WORDPIECE_JSON_H
#include "runtime/base/arena.h"
#include "runtime/data/wordpiece.h"

/* tokens[count] in the order of their ids, in the arena; options as the file's normalizer says.
 * Refuses other models, prefixes, word lengths and normalizers than BERT's, and ids with gaps. The
 * error's text is without the path. */
bool wordpiece_json(Arena *arena, const char *text, size_t size, WordPieceOptions *options,
                    const char ***tokens, int *count, Error *error);
#endif
