/* A text encoder gives the same in all its forms: every text padded to one length, to the batch's
 * own length, or sharing rows with others. Latents, loss and gradients of `tricot run` are compared
 * for texts of mixed lengths: one token, exactly a row, rows of many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "driver/compile.h"
#include "driver/verbs.h"
#include "runtime/base/random.h"
#include "runtime/data/text_pack.h"
#include "runtime/job/encode.h"
#include "runtime/job/text_form.h"
#include "runtime/safetensors.h"
#include "tests/unit/shared.h"
#include <math.h>
#include <string.h>

enum {
  MOST = 8,
  LENGTH = 64,
  SIDE = 2,
  VOXELS = SIDE * SIDE * SIDE,
  WORDS = 90,
  CELLS = MOST * LENGTH
};

static const char *scratch;

static int make_scratch(void **state) {
  (void)state;
  scratch = scratch_make();
  return 0;
}

static int remove_scratch(void **state) {
  (void)state;
  scratch_remove(scratch);
  return 0;
}

typedef struct TextBatch {
  int count;
  int32_t tokens[MOST];
  int32_t words[MOST][LENGTH];
  TokenIds texts[MOST];
} TextBatch;

static void make_batch(TextBatch *b, int count, const int32_t *tokens) {
  *b = (TextBatch){.count = count};
  for (int i = 0; i < count; i++) {
    b->tokens[i] = tokens[i];
    for (int k = 0; k < tokens[i]; k++)
      b->words[i][k] = 1 + (int32_t)(random_uniform(7, (uint64_t)i, (uint64_t)k) * (WORDS - 1));
    b->texts[i] = (TokenIds){b->words[i], tokens[i], tokens[i]};
  }
}

static Arena *arena;

static const char *write_inputs(const char *name, Tensor *tensors, int count, int batch) {
  Error error = {""};
  static float volume[MOST * VOXELS];
  char *path = arena_printf(arena, "%s/%s", scratch, name);
  for (int i = 0; i < batch * VOXELS; i++)
    volume[i] = (float)random_uniform(3, 0, (uint64_t)i) - 0.5f;
  tensors[count++] = (Tensor){"volume", {DT_f32, 5, {batch, 1, SIDE, SIDE, SIDE}}, volume};
  if (!tensor_file_write(path, tensors, count, NULL, NULL, 0, &error))
    fail_msg("%s", error.text);
  return path;
}

static const char *padded_inputs(const TextBatch *b, int64_t length) {
  int64_t ids[CELLS] = {0}, mask[CELLS] = {0};
  for (int i = 0; i < b->count; i++)
    for (int k = 0; k < b->tokens[i]; k++) {
      ids[i * length + k] = b->words[i][k];
      mask[i * length + k] = 1;
    }
  Tensor tensors[3] = {{"input_ids", {DT_i64, 2, {b->count, length}}, ids},
                       {"attention_mask", {DT_i64, 2, {b->count, length}}, mask}};
  return write_inputs("padded.in", tensors, 2, b->count);
}

static const char *packed_inputs(const TextBatch *b, TextShape shape) {
  int64_t ids[CELLS], positions[CELLS], segments[CELLS], starts[MOST];
  TextPlace places[MOST];
  assert_int_equal(text_choose(b->tokens, b->count, &shape, 1, places), 0);
  text_fill(shape, b->texts, places, b->count, b->count, 0, ids, positions, segments, starts);
  Type type = {DT_i64, 2, {shape.rows, shape.length}};
  Tensor tensors[5] = {{"input_ids", type, ids},
                       {"position_ids", type, positions},
                       {"segment_ids", type, segments},
                       {"text_starts", {DT_i64, 1, {b->count}}, starts}};
  return write_inputs("packed.in", tensors, 4, b->count);
}

/* tricot run; returns the path of its outputs. */
static const char *run(const char *name, const char *entry, const char *target, const char *inputs,
                       int batch, TextShape shape) {
  char *argv[64];
  int argc = 0;
  char *path = arena_printf(arena, "%s/%s", scratch, name);
  char *words = arena_printf(
      arena,
      "run %s/tests/models/clip_text.yaml --entry %s --target %s --inputs %s --outputs %s --seed 5 "
      "--threads 2 --set batch=%d --set text.vocab=%d --set text.positions=%d "
      "--set text.length=%d --set text.rows=%d --save-taps%s",
      TRICOT_SOURCE, entry, target, inputs, path, batch, WORDS, LENGTH, (int)shape.length,
      (int)shape.rows, strcmp(entry, "train_step") == 0 ? " --save-grads" : "");
  for (char *word = strtok(words, " "); word; word = strtok(NULL, " "))
    argv[argc++] = word;
  argv[argc] = NULL;
  assert_int_equal(cmd_job(argc, argv), 0);
  return path;
}

static double norm(const float *x, const float *y, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; i++)
    sum += ((double)x[i] - (y ? y[i] : 0)) * ((double)x[i] - (y ? y[i] : 0));
  return sqrt(sum);
}

/* All tensors but the states of tokens, which lie elsewhere. A gradient that is zero in exact
 * arithmetic (of a key's bias) is noise beside the others. */
static int same_results(const char *left, const char *right) {
  TensorFile a, b;
  Error error = {""};
  int compared = 0;
  if (!tensor_file_open(&a, left, &error) || !tensor_file_open(&b, right, &error))
    fail_msg("%s", error.text);
  for (int i = 0; i < a.count; i++) {
    const Tensor *x = &a.tensors[i], *y = tensor_file_find(&b, x->name);
    assert_non_null(y);
    assert_int_equal(x->type.dtype, DT_f32);
    assert_true(type_equal(&x->type, &y->type));
    int64_t n = type_elements(&x->type);
    double size = norm(x->data, NULL, n), gap = norm(x->data, y->data, n);
    if (!(gap <= 1e-5 * size || gap <= 1e-7))
      fail_msg("%s: %g apart, of norm %g", x->name, gap, size);
    compared += size > 1e-4;
  }
  tensor_file_close(&a);
  tensor_file_close(&b);
  return compared;
}

static void forms(const char *target, const TextBatch *b, int64_t bucket, const TextShape *shapes,
                  int n_shapes, const char *entry, int least) {
  arena = arena_new();
  const char *padded =
      run("padded.out", entry, target, padded_inputs(b, LENGTH), b->count, (TextShape){0, LENGTH});
  const char *whole = arena_printf(arena, "%s --skip narrow", target);
  assert_true(same_results(padded, run("other.out", entry, whole, padded_inputs(b, LENGTH),
                                       b->count, (TextShape){0, LENGTH})) >= least);
  if (bucket)
    assert_true(same_results(padded, run("other.out", entry, target, padded_inputs(b, bucket),
                                         b->count, (TextShape){0, bucket})) >= least);
  for (int i = 0; i < n_shapes; i++)
    assert_true(same_results(padded, run("other.out", entry, target, packed_inputs(b, shapes[i]),
                                         b->count, shapes[i])) >= least);
  arena_free(arena);
}

/* A full row, three texts that fill one exactly, and one of a single token. */
static void mixed(TextBatch *b) { make_batch(b, 6, (int32_t[]){1, 64, 20, 30, 14, 9}); }
/* As many short ones: the longest fills a row of 8, all share a row of 64. */
static void brief(TextBatch *b) { make_batch(b, 8, (int32_t[]){5, 1, 7, 3, 2, 6, 4, 8}); }

static void train_forms(const char *target) {
  TextBatch b;
  mixed(&b);
  forms(target, &b, 0, (TextShape[]){{3, 64}}, 1, "train_step", 40);
  brief(&b);
  forms(target, &b, 8, (TextShape[]){{1, 64}, {5, 8}}, 2, "train_step", 40);
}

static void encode_forms(const char *target) {
  TextBatch b;
  mixed(&b);
  forms(target, &b, 0, (TextShape[]){{3, 64}}, 1, "encode_text", 2);
  brief(&b);
  forms(target, &b, 8, (TextShape[]){{1, 64}}, 1, "forward", 4);
}

static void interpreted(void **state) {
  (void)state;
  train_forms("interp");
  encode_forms("interp");
}

static void compiled(void **state) {
  (void)state;
#if TRICOT_LLVM
  train_forms("cpu");
  encode_forms("cpu");
#else
  skip();
#endif
}

static void as_c(void **state) {
  (void)state;
  TextBatch b;
  mixed(&b);
  forms("c", &b, 0, (TextShape[]){{3, 64}}, 1, "train_step", 40);
}

/* ---- encode_texts ---- */

static const char *const sentences[] = {
    "a b",   "",  "b c d e f g h a b c d e f g",         "c", "a a a a",
    "d e f", "g", "h h h h h h h h h h h h h h h h h h", "b"};
enum { SENTENCES = sizeof sentences / sizeof *sentences, LATENT = 16 };

static const char *write_words(void) {
  static char path[200];
  snprintf(path, sizeof path, "%s/vocab.txt", scratch);
  FILE *stream = fopen(path, "wb");
  fputs("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\nc\nd\ne\nf\ng\nh\n", stream);
  fclose(stream);
  return path;
}

/* The sentences' latents by the entry points in `request`, all of them encode_text. Which forms the
 * program has goes to `names`, as "encode_text 1x20, ...". */
static void encode_with(const char *file, const char *const *sets, int n_sets,
                        const JobRequest *want, float latents[SENTENCES][LATENT], Text *names) {
  Compiled compiled;
  Error error = {""};
  EntryRequest entries[8];
  for (int i = 0; i < want->n_entries; i++)
    entries[i] = (EntryRequest){.entry = want->entries[i],
                                .name = want->names[i] ? want->names[i] : want->entries[i],
                                .batch = want->batches[i],
                                .sets = want->sets[i],
                                .optional_sets = want->optional_sets[i]};
  CompileRequest request = {.model = {.path = file, .sets = sets, .n_sets = n_sets},
                            .target = "interp",
                            .entries = entries,
                            .n_entries = want->n_entries,
                            .threads = 1};
  if (!compiled_open(&compiled, &request, &error)) {
    compiled_report(&compiled, &error);
    fail_msg("%s cannot be compiled", file);
  }
  program_initialize(compiled.program, 3);
  Job job = {.arena = arena_new(), .program = compiled.program, .plan = &compiled.plan};
  Encoder encoder;
  WordPiece *pieces = wordpiece_open(write_words(), (WordPieceOptions){.lower = true}, &error);
  assert_non_null(pieces);
  assert_true(encoder_open(&encoder, &job, "encode_text", "text_latents", &error));
  assert_int_equal(encoder.width, LATENT);
  if (!encode_texts(&encoder, pieces, sentences, SENTENCES, latents[0], &error))
    fail_msg("%s", error.text);
  for (int e = 0; names && e < compiled.plan.n_entries; e++) {
    Type type;
    program_input(compiled.program, e, "input_ids", &type);
    text_add(names, "%s%s %lldx%lld", e ? ", " : "", compiled.plan.entries[e].name,
             (long long)type.dim[0], (long long)type.dim[1]);
  }
  wordpiece_free(pieces);
  arena_free(job.arena);
  compiled_close(&compiled);
}

static const char clip_text[] = TRICOT_SOURCE "/tests/models/clip_text.yaml";
static const JobRequest plain = {.entries = {"encode_text"}, .n_entries = 1};

static void encode_in(const char *batch, const char *rows, const char *length,
                      float latents[SENTENCES][LATENT]) {
  const char *sets[] = {batch, rows, length, "text.vocab=12", "text.positions=20"};
  encode_with(clip_text, sets, 5, &plain, latents, NULL);
}

/* The same latents one by one, in batches, and in shared rows that are longer than any text may be;
 * the longest sentence fills the table of positions. */
static void encoded(void **state) {
  (void)state;
  float one[SENTENCES][LATENT], other[SENTENCES][LATENT];
  encode_in("batch=1", "text.rows=0", "text.length=20", one);
  for (int i = 1; i < SENTENCES; i++)
    assert_true(norm(one[0], one[i], LATENT) > 1e-3);
  static const char *const forms[][3] = {{"batch=4", "text.rows=0", "text.length=20"},
                                         {"batch=4", "text.rows=2", "text.length=20"},
                                         {"batch=3", "text.rows=1", "text.length=64"},
                                         {"batch=16", "text.rows=1", "text.length=100"}};
  for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
    encode_in(forms[f][0], forms[f][1], forms[f][2], other);
    for (int i = 0; i < SENTENCES; i++)
      assert_true(norm(one[i], other[i], LATENT) < 1e-5);
  }
}

static double number_of(const void *model, const char *key, double otherwise) {
  return strcmp(key, "text.rows") == 0     ? 0
         : strcmp(key, "text.length") == 0 ? *(const int *)model
                                           : otherwise;
}

/* Short rows beside the model's own, as prompts go through them: those that are asked for, and the
 * same latents. A model whose parameters depend on the length keeps its own. */
static void short_rows(void **state) {
  (void)state;
  static const struct {
    const char *file;
    int64_t longest;
    const char *forms;
  } cases[] = {
      {clip_text, INT64_MAX, "encode_text.32 8x32, encode_text.64 8x64, encode_text 1x80"},
      {clip_text, 33, "encode_text.32 8x32, encode_text 8x64"},
      {clip_text, 32, "encode_text 8x32"},
      {TRICOT_SOURCE "/tests/models/clip_place_table.yaml", 32, "encode_text 8x80"},
  };
  static const char *const sets[] = {"text.length=80", "text.vocab=12", "batch=1"};
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    float own[SENTENCES][LATENT], mixed[SENTENCES][LATENT];
    JobRequest request = {0};
    Text names = {0};
    int length = 80;
    arena = arena_new();
    text_forms_request(arena, &request, number_of, &length, cases[c].longest);
    encode_with(cases[c].file, sets, 3, &plain, own, NULL);
    encode_with(cases[c].file, sets, 3, &request, mixed, &names);
    assert_string_equal(names.at, cases[c].forms);
    for (int i = 0; i < SENTENCES; i++) {
      assert_true(norm(own[i], mixed[i], LATENT) < 1e-5);
      assert_true(i == 0 || norm(own[0], own[i], LATENT) > 1e-3);
    }
    text_free(&names);
    arena_free(arena);
  }
}

/* Where a text is said to start, and the place a token has, are checked before anything runs. */
static void refused(void **state) {
  (void)state;
  arena = arena_new();
  int64_t ids[64] = {0}, starts[8] = {0, 64};
  Type type = {DT_i64, 2, {1, 64}};
  Tensor tensors[5] = {{"input_ids", type, ids},
                       {"position_ids", type, ids},
                       {"segment_ids", type, ids},
                       {"text_starts", {DT_i64, 1, {8}}, starts}};
  const char *path = write_inputs("bad.in", tensors, 4, 8);
  char *argv[] = {"run",       TRICOT_SOURCE "/tests/models/clip_text.yaml",
                  "--entry",   "encode_text",
                  "--inputs",  (char *)path,
                  "--outputs", arena_printf(arena, "%s/none", scratch),
                  "--target",  "interp",
                  "--set",     "text.rows=1",
                  "--set",     "text.length=64",
                  "--set",     "text.layers=1",
                  "--set",     "text.width=12",
                  NULL};
  assert_int_equal(cmd_job(sizeof argv / sizeof *argv - 1, argv), 1);
  arena_free(arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(interpreted), cmocka_unit_test(compiled),
                                     cmocka_unit_test(as_c),        cmocka_unit_test(encoded),
                                     cmocka_unit_test(short_rows),  cmocka_unit_test(refused)};
  return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
