/* Training of a vocabulary. See vocabulary.h.
 *
 * Pairs stand in a hash table with their counts and the words they were seen in, and in a heap by
 * count. A merge visits only the words of its pair. The heap is corrected late: an entry whose
 * count is not the pair's any more is pushed again with the present one when it comes up.
 */
#include "runtime/data/vocabulary.h"
#include "runtime/base/map.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CHARACTERS = 100, PROGRESS_EVERY = 64 };

static const char *const special[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
enum { N_SPECIAL = sizeof special / sizeof *special };

typedef struct Word {
  int64_t count;
  int n;
  int32_t *symbols; /* NULL until training */
} Word;

typedef struct Pair {
  int32_t left, right;
  int64_t count;
  VEC(int) words; /* some may not have it any more, some stand there twice */
} Pair;

typedef struct Entry { /* of the heap */
  int64_t count;
  int pair;
} Entry;

struct Vocabulary {
  Arena *arena;
  WordPieceOptions options;
  Map words; /* text -> Word */
  Text split;
  Map symbols; /* text -> its id plus one */
  VEC(const char *) texts;
  VEC(Pair) pairs;
  int32_t *slots; /* of pairs: index plus one, 0: free */
  int n_slots;
  VEC(Entry) heap;
};

Vocabulary *vocabulary_new(WordPieceOptions options) {
  Arena *arena = arena_new();
  Vocabulary *v = ARENA_NEW(arena, Vocabulary);
  v->arena = arena;
  v->options = options;
  map_init(&v->words, arena);
  map_init(&v->symbols, arena);
  return v;
}

void vocabulary_free(Vocabulary *v) {
  if (!v)
    return;
  text_free(&v->split);
  arena_free(v->arena);
}

/* ---- words ---- */

bool vocabulary_add(Vocabulary *v, const char *text, size_t size, Error *error) {
  v->split.size = 0;
  text_add(&v->split, "%s", "");
  if (!wordpiece_words(v->options, text, size, &v->split, error))
    return false;
  for (char *at = v->split.at, *end = at + v->split.size; at < end;) {
    char *line_end = memchr(at, '\n', (size_t)(end - at));
    *line_end = 0;
    Word *word = map_get(&v->words, at);
    if (!word) {
      word = ARENA_NEW(v->arena, Word);
      map_set(&v->words, at, word);
    }
    word->count++;
    at = line_end + 1;
  }
  return true;
}

int64_t vocabulary_words(const Vocabulary *v) { return v->words.entries.count; }

/* ---- symbols ---- */

static int32_t symbol(Vocabulary *v, const char *text, bool *fresh) {
  intptr_t known = (intptr_t)map_get(&v->symbols, text);
  if (fresh)
    *fresh = !known;
  if (known)
    return (int32_t)(known - 1);
  vec_push(v->arena, &v->texts, (const char *)arena_strdup(v->arena, text));
  map_set(&v->symbols, text, (void *)(intptr_t)v->texts.count);
  return v->texts.count - 1;
}

static size_t character_size(const char *at) {
  size_t size = 1;
  while ((at[size] & 0xC0) == 0x80)
    size++;
  return size;
}

static int count_characters(const char *text) {
  int count = 0;
  for (; *text; text += character_size(text))
    count++;
  return count;
}

static int by_bytes(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Characters of all words as symbols, in byte order: plain, and where one has been seen in a word
 * of several (a punctuation mark never is) also with "##". */
static void make_alphabet(Vocabulary *v) {
  Map seen;
  VEC(const char *) sorted = {0};
  map_init(&seen, v->arena);
  for (int i = 0; i < v->words.entries.count; i++) {
    const char *text = v->words.entries.at[i].key;
    int characters = count_characters(text);
    for (const char *at = text; characters <= MAX_CHARACTERS && *at;) {
      size_t size = character_size(at);
      const char *character = arena_strndup(v->arena, at, size);
      const char *inner = arena_printf(v->arena, "##%s", character);
      for (int form = 0; form < 1 + (characters > 1); form++)
        if (!map_get(&seen, form ? inner : character)) {
          map_set(&seen, form ? inner : character, v);
          vec_push(v->arena, &sorted, form ? inner : character);
        }
      at += size;
    }
  }
  if (sorted.count)
    qsort(sorted.at, (size_t)sorted.count, sizeof *sorted.at, by_bytes);
  for (int i = 0; i < sorted.count; i++)
    symbol(v, sorted.at[i], NULL);
}

static void split_word(Vocabulary *v, const char *text, Word *word) {
  int characters = count_characters(text);
  if (characters > MAX_CHARACTERS)
    return;
  word->symbols = ARENA_ARRAY(v->arena, int32_t, characters);
  for (const char *at = text; *at; at += character_size(at)) {
    char piece[8];
    snprintf(piece, sizeof piece, "%s%.*s", at == text ? "" : "##", (int)character_size(at), at);
    word->symbols[word->n++] = symbol(v, piece, NULL);
  }
}

/* ---- pairs ---- */

static int32_t *pair_slot(const Vocabulary *v, int32_t left, int32_t right) {
  int32_t key[2] = {left, right};
  uint64_t at = hash_bytes(key, sizeof key, 0);
  for (;; at++) {
    int32_t *slot = &v->slots[at & (uint64_t)(v->n_slots - 1)];
    if (!*slot || (v->pairs.at[*slot - 1].left == left && v->pairs.at[*slot - 1].right == right))
      return slot;
  }
}

static int find_pair(Vocabulary *v, int32_t left, int32_t right) {
  if ((v->pairs.count + 1) * 2 > v->n_slots) {
    v->n_slots = v->n_slots ? v->n_slots * 2 : 1024;
    v->slots = ARENA_ARRAY(v->arena, int32_t, v->n_slots);
    for (int i = 0; i < v->pairs.count; i++)
      *pair_slot(v, v->pairs.at[i].left, v->pairs.at[i].right) = i + 1;
  }
  int32_t *slot = pair_slot(v, left, right);
  if (!*slot) {
    vec_push(v->arena, &v->pairs, ((Pair){.left = left, .right = right}));
    *slot = v->pairs.count;
  }
  return *slot - 1;
}

/* Does x come before y? */
static bool sooner(const Vocabulary *v, const Entry *x, const Entry *y) {
  if (x->count != y->count)
    return x->count > y->count;
  const Pair *a = &v->pairs.at[x->pair], *b = &v->pairs.at[y->pair];
  int order = strcmp(v->texts.at[a->left], v->texts.at[b->left]);
  return order ? order < 0 : strcmp(v->texts.at[a->right], v->texts.at[b->right]) < 0;
}

static void heap_push(Vocabulary *v, int pair) {
  Entry entry = {v->pairs.at[pair].count, pair};
  vec_push(v->arena, &v->heap, entry);
  Entry *heap = v->heap.at;
  int at = v->heap.count - 1;
  for (; at && sooner(v, &entry, &heap[(at - 1) / 2]); at = (at - 1) / 2)
    heap[at] = heap[(at - 1) / 2];
  heap[at] = entry;
}

static Entry heap_pop(Vocabulary *v) {
  Entry *heap = v->heap.at, first = heap[0], last = heap[--v->heap.count];
  int at = 0, count = v->heap.count;
  for (int child; (child = 2 * at + 1) < count; at = child) {
    child += child + 1 < count && sooner(v, &heap[child + 1], &heap[child]);
    if (!sooner(v, &heap[child], &last))
      break;
    heap[at] = heap[child];
  }
  if (count)
    heap[at] = last;
  return first;
}

/* Adds `sign` times the word's count to its pairs; new pairs of a rising count go on the heap. */
static void count_pairs(Vocabulary *v, int number, const Word *word, int sign, bool push) {
  for (int i = 0; i + 1 < word->n; i++) {
    int at = find_pair(v, word->symbols[i], word->symbols[i + 1]);
    Pair *pair = &v->pairs.at[at];
    pair->count += sign * word->count;
    if (sign < 0)
      continue;
    if (!pair->words.count || pair->words.at[pair->words.count - 1] != number)
      vec_push(v->arena, &pair->words, number);
    if (push)
      heap_push(v, at);
  }
}

/* ---- merging ---- */

static bool has_pair(const Word *word, int32_t left, int32_t right) {
  for (int i = 0; i + 1 < word->n; i++)
    if (word->symbols[i] == left && word->symbols[i + 1] == right)
      return true;
  return false;
}

static void merge_word(Word *word, int32_t left, int32_t right, int32_t merged) {
  int kept = 0;
  for (int i = 0; i < word->n; i++) {
    bool pair = i + 1 < word->n && word->symbols[i] == left && word->symbols[i + 1] == right;
    word->symbols[kept++] = pair ? merged : word->symbols[i];
    i += pair;
  }
  word->n = kept;
}

/* True when the merged piece is one the vocabulary did not have. */
static bool merge(Vocabulary *v, int number) {
  Pair pair = v->pairs.at[number];
  bool fresh;
  char *text = arena_printf(v->arena, "%s%s", v->texts.at[pair.left], v->texts.at[pair.right] + 2);
  int32_t merged = symbol(v, text, &fresh);
  for (int i = 0; i < pair.words.count; i++) {
    int at = pair.words.at[i];
    Word *word = v->words.entries.at[at].value;
    if (!has_pair(word, pair.left, pair.right))
      continue;
    count_pairs(v, at, word, -1, false);
    merge_word(word, pair.left, pair.right, merged);
    count_pairs(v, at, word, 1, true);
  }
  return fresh;
}

static void merge_all(Vocabulary *v, const VocabularyOptions *options) {
  while (N_SPECIAL + v->texts.count < options->size && v->heap.count) {
    Entry top = heap_pop(v);
    int64_t count = v->pairs.at[top.pair].count;
    if (count < options->min_frequency || count <= 0)
      continue;
    if (count != top.count) { /* a larger count has been pushed when it rose */
      if (count < top.count)
        heap_push(v, top.pair);
      continue;
    }
    if (merge(v, top.pair) && options->progress && v->texts.count % PROGRESS_EVERY == 0)
      options->progress(options->user, N_SPECIAL + v->texts.count, options->size);
  }
}

bool vocabulary_train(Vocabulary *v, const VocabularyOptions *options, Text *lines, int *count,
                      Error *error) {
  CHECK(!v->texts.count);
  make_alphabet(v);
  if (!v->texts.count)
    return error_set(error, "the corpus has no words");
  if (N_SPECIAL + v->texts.count > options->size)
    return error_set(error, "%d pieces are too few: special tokens and characters alone are %d",
                     options->size, N_SPECIAL + v->texts.count);
  for (int i = 0; i < v->words.entries.count; i++) {
    Word *word = v->words.entries.at[i].value;
    split_word(v, v->words.entries.at[i].key, word);
    count_pairs(v, i, word, 1, false);
  }
  for (int i = 0; i < v->pairs.count; i++)
    heap_push(v, i);
  merge_all(v, options);
  *count = N_SPECIAL + v->texts.count;
  for (int i = 0; i < N_SPECIAL; i++)
    text_add(lines, "%s\n", special[i]);
  for (int i = 0; i < v->texts.count; i++)
    text_add(lines, "%s\n", v->texts.at[i]);
  if (options->progress)
    options->progress(options->user, *count, *count);
  return true;
}
