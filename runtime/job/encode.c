/* Latents and zero-shot scores. See encode.h. */
#include "runtime/job/encode.h"
#include "runtime/base/arena.h"
#include "runtime/job/text_form.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FORMS = 8 }; /* of one entry point */

bool encoder_open(Encoder *e, Job *job, const char *entry, const char *output, Error *error) {
  Type type;
  *e = (Encoder){.job = job, .entry = program_entry(job->program, entry), .output = output};
  if (!program_output(job->program, e->entry, output, &type))
    return error_set(error, "entry point %s of model %s gives no \"%s\"", entry, job->plan->model,
                     output);
  if (type.rank != 2 || !dtype_is_float(type.dtype))
    return error_set(error, "%s of entry point %s is %s, a float matrix is needed", output, entry,
                     type_text(&type));
  e->batch = type.dim[0];
  e->width = type.dim[1];
  return true;
}

bool encoder_run(const Encoder *e, int64_t rows, float *out, Error *error) {
  Type type;
  if (!program_run(e->job->program, e->entry, error))
    return false;
  const void *latents = program_output(e->job->program, e->entry, e->output, &type);
  for (int64_t i = 0; i < rows * e->width; i++)
    out[i] = (float)dtype_load(type.dtype, latents, i);
  return true;
}

/* The form that spends the fewest cells on each of the next texts; the longest has room for all. */
static const TextForm *cheapest(const TextForm *forms, int n, const TokenIds *texts,
                                int64_t count) {
  const TextForm *best = NULL;
  double least = INFINITY;
  for (int i = 0; i < n; i++) {
    int64_t taken = text_form_takes(&forms[i], texts, count);
    double cells = (double)(forms[i].shape.rows * forms[i].shape.length) / (double)taken;
    if (taken && cells < least) {
      least = cells;
      best = &forms[i];
    }
  }
  CHECK(best != NULL);
  return best;
}

/* Each as [CLS] pieces [SEP], no longer than `length`. */
static bool tokenize_texts(const WordPiece *pieces, const char *const *texts, int64_t count,
                           int64_t length, TokenIds *tokens, Error *error) {
  Error inner;
  bool good = true;
  for (int64_t i = 0; good && i < count; i++) {
    TokenIds words = {0};
    good = (wordpiece_encode(pieces, texts[i], strlen(texts[i]), &words, &inner) &&
            wordpiece_join(pieces, &words, NULL, (int)length, &tokens[i], &inner)) ||
           error_set(error, "text \"%.100s\": %.800s", texts[i], inner.text);
    token_ids_free(&words);
  }
  return good;
}

bool encode_texts(const Encoder *e, const WordPiece *pieces, const char *const *texts,
                  int64_t count, float *latents, Error *error) {
  TextForm forms[MAX_FORMS];
  const char *name = e->job->plan->entries[e->entry].name;
  int n_forms = text_forms_open(e->job, name, forms, MAX_FORMS, error);
  int64_t longest = 0;
  int padding = wordpiece_id(pieces, "[PAD]");
  if (!n_forms)
    return false;
  if (padding < 0)
    return error_set(error, "the vocabulary has no [PAD]");
  for (int i = 0; i < n_forms; i++)
    if (forms[i].longest > longest)
      longest = forms[i].longest;
  TokenIds *tokens = mem_alloc(sizeof *tokens * (size_t)(count + 1));
  bool good = tokenize_texts(pieces, texts, count, longest, tokens, error);
  for (int64_t first = 0, fresh; good && first < count; first += fresh) {
    const TextForm *form = cheapest(forms, n_forms, tokens + first, count - first);
    Encoder encoder = *e;
    encoder.entry = form->entry;
    fresh = text_form_fill(form, tokens + first, count - first, padding);
    good = encoder_run(&encoder, fresh, latents + first * e->width, error);
  }
  for (int64_t i = 0; i < count; i++)
    token_ids_free(&tokens[i]);
  free(tokens);
  return good;
}

static bool encode_prompts(Zeroshot *z, Error *error) {
  Arena *arena = z->image.job->arena;
  const char *texts[2 * CTRATE_LABELS];
  for (int c = 0; c < CTRATE_LABELS; c++) {
    texts[2 * c] = arena_printf(arena, "%s is present.", ctrate_label_names[c]);
    texts[2 * c + 1] = arena_printf(arena, "%s is not present.", ctrate_label_names[c]);
  }
  z->prompts = ARENA_ARRAY(arena, float, 2 * CTRATE_LABELS * z->text.width);
  return encode_texts(&z->text, z->pieces, texts, 2 * CTRATE_LABELS, z->prompts, error);
}

bool zeroshot_open(Zeroshot *z, Job *job, Error *error) {
  JobRequest request = {.entries = {"encode_image", "encode_text"},
                        .n_entries = 2,
                        .batches = {1, 1},
                        .trained = true};
  *z = (Zeroshot){0};
  if (!job_open(job, &request, error) ||
      !encoder_open(&z->image, job, "encode_image", "image_latents", error) ||
      !encoder_open(&z->text, job, "encode_text", "text_latents", error))
    return false;
  if (z->image.width != z->text.width)
    return error_set(error, "model %s: image latents have %lld values, text latents %lld",
                     job->plan->model, (long long)z->image.width, (long long)z->text.width);
  z->pieces = job_open_vocabulary(job, error);
  return z->pieces && job_factor(job, &z->factor, error) && encode_prompts(z, error);
}

void zeroshot_close(Zeroshot *z) { wordpiece_free(z->pieces); }

static double cosine(const float *a, const float *b, int64_t width) {
  double dot = 0, aa = 0, bb = 0;
  for (int64_t i = 0; i < width; i++) {
    dot += (double)a[i] * b[i];
    aa += (double)a[i] * a[i];
    bb += (double)b[i] * b[i];
  }
  double norm = sqrt(aa) * sqrt(bb);
  return norm > 0 ? dot / norm : 0;
}

void zeroshot_score(const Zeroshot *z, const float *latent, double probabilities[CTRATE_LABELS]) {
  for (int c = 0; c < CTRATE_LABELS; c++) {
    const float *present = z->prompts + 2 * c * z->text.width, *absent = present + z->text.width;
    double gap = z->factor *
                 (cosine(latent, absent, z->image.width) - cosine(latent, present, z->image.width));
    probabilities[c] = 1 / (1 + exp(gap));
  }
}
