/* WordPiece tokenization. See wordpiece.h. Character properties come from utf8proc.
 *
 * The text is decoded to code points once; each word is lowered, decomposed and cut at punctuation,
 * then matched against a hash table of the vocabulary.
 */
#include "runtime/data/wordpiece.h"
#include "runtime/base/file.h"
#include "runtime/base/map.h"
#include "runtime/data/wordpiece_json.h"
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { MAX_WORD_CHARACTERS = 100, MAX_VOCABULARY_BYTES = 1 << 28 };

struct WordPiece {
  Arena *arena;
  WordPieceOptions options;
  int count;
  const char **tokens;
  int *lengths;
  int32_t *slots; /* id plus one, 0: free */
  uint32_t n_slots;
  int longest; /* bytes of the longest piece */
  int unknown;
};

static const char *const special_tokens[] = {"[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"};

bool wordpiece_strip_option(const char *text, StripAccents *strip) {
  bool yes = strcmp(text, "yes") == 0;
  if (!yes && strcmp(text, "no") != 0)
    return false;
  *strip = yes ? STRIP_YES : STRIP_NO;
  return true;
}

/* ---- vocabulary ---- */

static int find_piece(const WordPiece *pieces, const char *bytes, size_t size) {
  uint32_t slot = (uint32_t)hash_bytes(bytes, size, 0) & (pieces->n_slots - 1);
  for (; pieces->slots[slot]; slot = (slot + 1) & (pieces->n_slots - 1)) {
    int id = pieces->slots[slot] - 1;
    if ((size_t)pieces->lengths[id] == size && memcmp(pieces->tokens[id], bytes, size) == 0)
      return id;
  }
  return -1;
}

/* A piece listed twice keeps its last id, as the reference implementations do. */
static void index_pieces(WordPiece *pieces) {
  pieces->n_slots = 64;
  while (pieces->n_slots < 2 * (uint32_t)pieces->count + 2)
    pieces->n_slots *= 2;
  pieces->slots = ARENA_ARRAY(pieces->arena, int32_t, pieces->n_slots);
  for (int id = 0; id < pieces->count; id++) {
    size_t size = (size_t)pieces->lengths[id];
    uint32_t slot = (uint32_t)hash_bytes(pieces->tokens[id], size, 0) & (pieces->n_slots - 1);
    while (pieces->slots[slot] &&
           strcmp(pieces->tokens[pieces->slots[slot] - 1], pieces->tokens[id]) != 0)
      slot = (slot + 1) & (pieces->n_slots - 1);
    pieces->slots[slot] = id + 1;
    if (pieces->lengths[id] > pieces->longest)
      pieces->longest = pieces->lengths[id];
  }
}

static void read_lines(WordPiece *pieces, const char *text, size_t size) {
  VEC(const char *) tokens = {0};
  VEC(int) lengths = {0};
  const char *end = text + size;
  while (text < end) {
    const char *line_end = memchr(text, '\n', (size_t)(end - text));
    const char *next = line_end ? line_end + 1 : end;
    line_end = line_end ? line_end : end;
    if (line_end > text && line_end[-1] == '\r')
      line_end--;
    vec_push(pieces->arena, &tokens, arena_strndup(pieces->arena, text, (size_t)(line_end - text)));
    vec_push(pieces->arena, &lengths, (int)(line_end - text));
    text = next;
  }
  pieces->tokens = tokens.at;
  pieces->lengths = lengths.at;
  pieces->count = tokens.count;
}

static bool read_json(WordPiece *pieces, const char *text, size_t size, Error *error) {
  if (!wordpiece_json(pieces->arena, text, size, &pieces->options, &pieces->tokens, &pieces->count,
                      error))
    return false;
  pieces->lengths = ARENA_ARRAY(pieces->arena, int, pieces->count + 1);
  for (int i = 0; i < pieces->count; i++)
    pieces->lengths[i] = (int)strlen(pieces->tokens[i]);
  return true;
}

static bool read_pieces(WordPiece *pieces, const char *path, const char *text, size_t size,
                        Error *error) {
  size_t length = strlen(path);
  Error inner;
  if (length < 5 || strcmp(path + length - 5, ".json") != 0)
    read_lines(pieces, text, size);
  else if (!read_json(pieces, text, size, &inner))
    return error_set(error, "%s: error: %.900s", path, inner.text);
  return true;
}

WordPiece *wordpiece_open(const char *path, WordPieceOptions options, Error *error) {
  Arena *arena = arena_new();
  char *text;
  size_t size;
  if (!file_read(arena, path, MAX_VOCABULARY_BYTES, &text, &size, error)) {
    arena_free(arena);
    return NULL;
  }
  WordPiece *pieces = ARENA_NEW(arena, WordPiece);
  pieces->arena = arena;
  pieces->options = options;
  bool good = !memchr(text, 0, size) ||
              error_set(error, "%s: error: holds NUL bytes: not a vocabulary", path);
  good = good && read_pieces(pieces, path, text, size, error);
  if (good) {
    index_pieces(pieces);
    pieces->unknown = wordpiece_id(pieces, "[UNK]");
    good =
        pieces->unknown >= 0 ||
        error_set(error, "%s: error: the vocabulary (%d pieces) has no [UNK]", path, pieces->count);
  }
  if (good)
    return pieces;
  arena_free(arena);
  return NULL;
}

void wordpiece_free(WordPiece *pieces) {
  if (pieces)
    arena_free(pieces->arena);
}

int wordpiece_count(const WordPiece *pieces) { return pieces->count; }

const char *wordpiece_token(const WordPiece *pieces, int id) {
  CHECK(id >= 0 && id < pieces->count);
  return pieces->tokens[id];
}

int wordpiece_id(const WordPiece *pieces, const char *token) {
  return find_piece(pieces, token, strlen(token));
}

/* ---- characters ---- */

static bool is_control(int32_t c) {
  if (c == '\t' || c == '\n' || c == '\r')
    return false;
  utf8proc_category_t category = utf8proc_category(c);
  return category == UTF8PROC_CATEGORY_CN || category >= UTF8PROC_CATEGORY_CC;
}

static bool is_space(int32_t c) {
  if (c < 128)
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
  utf8proc_category_t category = utf8proc_category(c);
  return category >= UTF8PROC_CATEGORY_ZS && category <= UTF8PROC_CATEGORY_ZP;
}

static bool is_punctuation(int32_t c) {
  if (c < 128) /* all of ASCII's symbols count, also those Unicode does not call punctuation */
    return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
           (c >= 123 && c <= 126);
  utf8proc_category_t category = utf8proc_category(c);
  return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

/* The ideograph blocks; kana and hangul are written with spaces or handled as letters. */
static bool is_ideograph(int32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B820 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

static bool is_cased(int32_t c) {
  utf8proc_category_t category = utf8proc_category(c);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LT;
}

static bool is_case_ignorable(int32_t c) {
  utf8proc_category_t category = utf8proc_category(c);
  return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_ME ||
         category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_LM ||
         category == UTF8PROC_CATEGORY_SK || c == '\'' || c == '.' || c == ':' || c == 0xB7 ||
         c == 0x2018 || c == 0x2019 || c == 0x2024 || c == 0x2027;
}

/* A capital sigma that ends a word is written as final sigma in lower case. */
static bool is_final_sigma(const int32_t *word, int size, int at) {
  int before = at - 1, after = at + 1;
  while (before >= 0 && is_case_ignorable(word[before]))
    before--;
  while (after < size && is_case_ignorable(word[after]))
    after++;
  return before >= 0 && is_cased(word[before]) && (after == size || !is_cased(word[after]));
}

/* ---- words ---- */

typedef struct Splitter {
  WordPieceOptions options;
  /* places[i]: where in the text the word's character i came from */
  void (*word)(void *user, const char *bytes, size_t size, const int32_t *places);
  void *user;
  Text lowered;    /* UTF-8 of the word at hand, reused */
  int32_t *places; /* of its characters */
  int n_places, room;
  int32_t base; /* characters of the text before the part at hand */
} Splitter;

static void add_place(Splitter *s, int32_t place) {
  if (s->n_places == s->room) {
    s->room = s->room ? s->room * 2 : 64;
    s->places = mem_resize(s->places, sizeof *s->places * (size_t)s->room);
  }
  s->places[s->n_places++] = place;
}

static void splitter_free(Splitter *s) {
  text_free(&s->lowered);
  free(s->places);
}

static void add_character(Text *text, int32_t c) {
  utf8proc_uint8_t bytes[4];
  text_add_bytes(text, (const char *)bytes, (size_t)utf8proc_encode_char(c, bytes));
}

static void lower_word(Splitter *s, const int32_t *word, const int32_t *from, int size) {
  for (int i = 0; i < size; i++) {
    int32_t c = word[i];
    add_place(s, from[i]);
    if (!s->options.lower) {
      add_character(&s->lowered, c);
    } else if (c == 0x130) { /* the one character whose lower case is two */
      add_character(&s->lowered, 'i');
      add_character(&s->lowered, 0x307);
      add_place(s, from[i]);
    } else if (c == 0x3A3 && is_final_sigma(word, size, i)) {
      add_character(&s->lowered, 0x3C2);
    } else {
      add_character(&s->lowered, utf8proc_tolower(c));
    }
  }
}

/* A combining mark that stays, and where it stands in canonical order. */
typedef struct Mark {
  int class;
  size_t index;
  int32_t character, place;
} Mark;

typedef struct Marks {
  Mark *at;
  size_t count, room;
} Marks;

static int by_class(const void *a, const void *b) {
  const Mark *x = a, *y = b;
  if (x->class != y->class)
    return x->class < y->class ? -1 : 1;
  return x->index < y->index ? -1 : x->index > y->index;
}

static void add_mark(Marks *marks, int32_t c, int32_t place) {
  if (marks->count == marks->room) {
    marks->room = marks->room ? marks->room * 2 : 16;
    marks->at = mem_resize(marks->at, sizeof *marks->at * marks->room);
  }
  int class = utf8proc_get_property(c)->combining_class;
  marks->at[marks->count] = (Mark){class, marks->count, c, place};
  marks->count++;
}

static void put_marks(Marks *marks, Splitter *s) {
  if (marks->count > 1)
    qsort(marks->at, marks->count, sizeof *marks->at, by_class);
  for (size_t i = 0; i < marks->count; i++) {
    add_character(&s->lowered, marks->at[i].character);
    add_place(s, marks->at[i].place);
  }
  marks->count = 0;
}

static void strip_character(Splitter *s, Marks *marks, int32_t c, int32_t place) {
  enum { LONGEST = 32 }; /* of one character's decomposition; Unicode's longest is 18 */
  int32_t parts[LONGEST];
  int boundary = 0;
  utf8proc_ssize_t n =
      utf8proc_decompose_char(c, parts, LONGEST, UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, &boundary);
  CHECK(n >= 0 && n <= LONGEST); /* the text was built from valid code points */
  for (utf8proc_ssize_t i = 0; i < n; i++) {
    const utf8proc_property_t *property = utf8proc_get_property(parts[i]);
    if (!property->combining_class)
      put_marks(marks, s);
    if (property->category == UTF8PROC_CATEGORY_MN)
      continue;
    if (property->combining_class) {
      add_mark(marks, parts[i], place);
    } else {
      add_character(&s->lowered, parts[i]);
      add_place(s, place);
    }
  }
}

/* Canonical decomposition without the nonspacing marks. utf8proc_map would order a run of marks by
 * exchanging neighbours: minutes for a word of a hundred thousand. */
static void strip_accents(Splitter *s) {
  Text from = s->lowered;
  int32_t *places = s->places;
  Marks marks = {0};
  s->lowered = (Text){0};
  s->places = NULL;
  s->n_places = s->room = 0;
  for (size_t at = 0, i = 0; at < from.size; i++) {
    int32_t c;
    at += (size_t)utf8proc_iterate((const utf8proc_uint8_t *)from.at + at,
                                   (utf8proc_ssize_t)(from.size - at), &c);
    strip_character(s, &marks, c, places[i]);
  }
  put_marks(&marks, s);
  free(marks.at);
  free(places);
  text_free(&from);
}

/* Hands out one white-space separated word, cut at punctuation. */
static void emit_word(Splitter *s, const int32_t *word, const int32_t *from, int size) {
  bool ascii = true;
  for (int i = 0; i < size; i++)
    ascii &= word[i] < 128;
  s->lowered.size = 0;
  s->n_places = 0;
  lower_word(s, word, from, size);
  bool strip = s->options.strip_accents == STRIP_YES ||
               (s->options.strip_accents == STRIP_AS_LOWER && s->options.lower);
  if (strip && !ascii)
    strip_accents(s);
  const char *bytes = s->lowered.at;
  size_t start = 0, at = 0, end = s->lowered.size;
  int first = 0; /* character at `start` */
  for (int i = 0; at < end; i++) {
    int32_t c;
    size_t step = (size_t)utf8proc_iterate((const utf8proc_uint8_t *)bytes + at,
                                           (utf8proc_ssize_t)(end - at), &c);
    if (is_punctuation(c)) {
      if (at > start)
        s->word(s->user, bytes + start, at - start, s->places + first);
      s->word(s->user, bytes + at, step, s->places + i);
      start = at + step;
      first = i + 1;
    }
    at += step;
  }
  if (end > start)
    s->word(s->user, bytes + start, end - start, s->places + first);
}

/* Decodes, cleans and separates. `offset` is the text's place in the whole, for messages. */
static bool split_words(Splitter *s, const char *text, size_t size, size_t offset, Error *error) {
  int32_t *word = mem_alloc(sizeof(int32_t) * 2 * (size + 1)), *from = word + size + 1;
  int count = 0;
  for (size_t at = 0; at < size;) {
    int32_t c;
    utf8proc_ssize_t step =
        utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(size - at), &c);
    if (step <= 0) {
      free(word);
      return error_set(error, "byte %zu of the text is not UTF-8", offset + at);
    }
    at += (size_t)step;
    int32_t place = s->base++;
    bool ideograph = is_ideograph(c), space = is_space(c);
    if (!space && (c == 0 || c == 0xFFFD || is_control(c)))
      continue;
    if ((space || ideograph) && count) {
      emit_word(s, word, from, count);
      count = 0;
    }
    from[count] = place;
    word[count] = c;
    if (ideograph)
      emit_word(s, word, from, 1);
    else if (!space)
      count++;
  }
  if (count)
    emit_word(s, word, from, count);
  free(word);
  return true;
}

/* ---- pieces ---- */

void token_ids_add(TokenIds *ids, int32_t id) {
  if (ids->count == ids->room) {
    ids->room = ids->room ? ids->room * 2 : 64;
    ids->at = mem_resize(ids->at, sizeof *ids->at * (size_t)ids->room);
  }
  ids->at[ids->count++] = id;
}

void token_ids_free(TokenIds *ids) {
  free(ids->at);
  *ids = (TokenIds){0};
}

static void span_add(TokenSpans *spans, int32_t start, int32_t end) {
  if (!spans)
    return;
  if (spans->count == spans->room) {
    spans->room = spans->room ? spans->room * 2 : 64;
    spans->at = mem_resize(spans->at, sizeof *spans->at * (size_t)spans->room);
  }
  spans->at[spans->count++] = (TokenSpan){start, end};
}

void token_spans_free(TokenSpans *spans) {
  free(spans->at);
  *spans = (TokenSpans){0};
}

typedef struct Encoder {
  const WordPiece *pieces;
  TokenIds *ids;
  TokenSpans *spans; /* or NULL; then places may be NULL */
} Encoder;

static int count_characters(const char *bytes, size_t size) {
  int count = 0;
  for (size_t i = 0; i < size; i++)
    count += (bytes[i] & 0xC0) != 0x80;
  return count;
}

static void span_of(const Encoder *encoder, const int32_t *places, int first, int count) {
  if (encoder->spans)
    span_add(encoder->spans, places[first], places[first + count - 1] + 1);
}

/* Longest match first. The bytes before the rest of the word are spent, so "##" is written there.
 */
static void encode_word(void *user, const char *bytes, size_t size, const int32_t *places) {
  const Encoder *encoder = user;
  const WordPiece *pieces = encoder->pieces;
  char buffer[2 + 4 * MAX_WORD_CHARACTERS];
  int characters = count_characters(bytes, size), before = encoder->ids->count, passed = 0;
  bool covered = characters <= MAX_WORD_CHARACTERS;
  if (covered)
    memcpy(buffer + 2, bytes, size);
  for (size_t start = 0; covered && start < size;) {
    char *key = buffer + 2 + start;
    size_t marks = start ? 2 : 0, end = size;
    if (start)
      memcpy(key - 2, "##", 2);
    if (end - start + marks > (size_t)pieces->longest)
      end = start + (size_t)pieces->longest - (marks < (size_t)pieces->longest ? marks : 0);
    int id = -1;
    for (; end > start; end--) {
      if (end < size && (bytes[end] & 0xC0) == 0x80)
        continue; /* inside a character */
      id = find_piece(pieces, key - marks, end - start + marks);
      if (id >= 0)
        break;
    }
    covered = id >= 0;
    if (covered) {
      int length = count_characters(bytes + start, end - start);
      token_ids_add(encoder->ids, id);
      span_of(encoder, places, passed, length);
      passed += length;
    }
    start = end;
  }
  if (!covered) {
    if (encoder->spans)
      encoder->spans->count -= encoder->ids->count - before;
    encoder->ids->count = before;
    token_ids_add(encoder->ids, pieces->unknown);
    span_of(encoder, places, 0, characters);
  }
}

void wordpiece_cover(const WordPiece *pieces, const char *word, size_t size, TokenIds *ids) {
  Encoder encoder = {pieces, ids, NULL};
  encode_word(&encoder, word, size, NULL);
}

/* The id of a special token spelled out at the start of the text, or -1. */
static int special_at(const WordPiece *pieces, const char *text, size_t size, size_t *length) {
  if (*text != '[')
    return -1;
  for (size_t i = 0; i < sizeof special_tokens / sizeof *special_tokens; i++) {
    *length = strlen(special_tokens[i]);
    if (size >= *length && memcmp(text, special_tokens[i], *length) == 0)
      return find_piece(pieces, special_tokens[i], *length);
  }
  return -1;
}

bool wordpiece_encode(const WordPiece *pieces, const char *text, size_t size, TokenIds *ids,
                      Error *error) {
  return wordpiece_encode_spans(pieces, text, size, ids, NULL, error);
}

bool wordpiece_encode_spans(const WordPiece *pieces, const char *text, size_t size, TokenIds *ids,
                            TokenSpans *spans, Error *error) {
  Encoder encoder = {pieces, ids, spans};
  Splitter splitter = {.options = pieces->options, .word = encode_word, .user = &encoder};
  size_t start = 0;
  bool good = true;
  for (size_t at = 0; at < size && good;) {
    size_t length;
    int id = special_at(pieces, text + at, size - at, &length);
    if (id < 0) {
      at++;
      continue;
    }
    good = split_words(&splitter, text + start, at - start, start, error);
    token_ids_add(ids, id);
    span_add(spans, splitter.base, splitter.base + (int32_t)length);
    splitter.base += (int32_t)length;
    start = at += length;
  }
  good = good && split_words(&splitter, text + start, size - start, start, error);
  splitter_free(&splitter);
  return good;
}

static void keep_word(void *user, const char *bytes, size_t size, const int32_t *places) {
  (void)places;
  text_add_bytes(user, bytes, size);
  text_add_bytes(user, "\n", 1);
}

bool wordpiece_words(WordPieceOptions options, const char *text, size_t size, Text *words,
                     Error *error) {
  Splitter splitter = {.options = options, .word = keep_word, .user = words};
  bool good = split_words(&splitter, text, size, 0, error);
  splitter_free(&splitter);
  return good;
}
