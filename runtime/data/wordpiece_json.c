/* tokenizer.json. See wordpiece_json.h. */
#include "runtime/data/wordpiece_json.h"
#include "runtime/base/json.h"
#include <string.h>

/* A member that must be this text where it is present. */
static bool is_text(const Json *object, const char *key, const char *wanted, Error *error) {
  const Json *value = json_get(object, key);
  if (!value || (value->kind == JSON_STRING && strcmp(value->string, wanted) == 0))
    return true;
  return error_set(error, "\"%s\" is not \"%s\": not BERT's tokenizer", key, wanted);
}

static bool check_model(const Json *model, Error *error) {
  if (!model || !json_get(model, "type"))
    return error_set(error, "has no \"model\" with a \"type\": not a tokenizer");
  const Json *most = json_get(model, "max_input_chars_per_word");
  if (!is_text(model, "type", "WordPiece", error) ||
      !is_text(model, "continuing_subword_prefix", "##", error) ||
      !is_text(model, "unk_token", "[UNK]", error))
    return false;
  return !most || (most->is_integer && most->integer == 100) ||
         error_set(error, "\"max_input_chars_per_word\" is not 100");
}

static bool is_true(const Json *object, const char *key) {
  const Json *value = json_get(object, key);
  return !value || (value->kind == JSON_BOOL && value->boolean);
}

static bool read_normalizer(const Json *normalizer, WordPieceOptions *options, Error *error) {
  if (!normalizer || !json_get(normalizer, "type"))
    return error_set(error, "has no \"normalizer\" with a \"type\"");
  if (!is_text(normalizer, "type", "BertNormalizer", error))
    return false;
  if (!is_true(normalizer, "clean_text") || !is_true(normalizer, "handle_chinese_chars"))
    return error_set(error, "a normalizer without clean_text and handle_chinese_chars");
  const Json *strip = json_get(normalizer, "strip_accents");
  options->lower = is_true(normalizer, "lowercase");
  options->strip_accents = !strip || strip->kind != JSON_BOOL ? STRIP_AS_LOWER
                           : strip->boolean                   ? STRIP_YES
                                                              : STRIP_NO;
  return true;
}

bool wordpiece_json(Arena *arena, const char *text, size_t size, WordPieceOptions *options,
                    const char ***tokens, int *count, Error *error) {
  Json root;
  if (!json_parse(arena, text, size, &root, error))
    return false;
  const Json *model = json_get(&root, "model");
  if (!check_model(model, error) || !read_normalizer(json_get(&root, "normalizer"), options, error))
    return false;
  const Json *vocab = json_get(model, "vocab");
  if (!vocab || vocab->kind != JSON_OBJECT)
    return error_set(error, "has no \"vocab\" of tokens and ids");
  *count = vocab->count;
  *tokens = ARENA_ARRAY(arena, const char *, vocab->count + 1);
  for (int i = 0; i < vocab->count; i++) {
    const Json *id = &vocab->items[i];
    if (!id->is_integer || id->integer < 0 || id->integer >= vocab->count || (*tokens)[id->integer])
      return error_set(error, "the id of \"%.100s\" is not one of 0 to %d, each once",
                       vocab->keys[i], vocab->count - 1);
    (*tokens)[id->integer] = vocab->keys[i];
  }
  return true;
}
