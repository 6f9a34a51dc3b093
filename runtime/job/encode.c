/* Latents of texts and volumes. See encode.h. */
#include "runtime/job/encode.h"
#include "runtime/job/progress.h"
#include "runtime/base/arena.h"
#include "runtime/job/text_form.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/* Cells a text costs in the form: its share of the rows in use. */
static double cells_each(const TextForm *form, const TokenIds *texts, int64_t count) {
  int64_t taken = text_form_takes(form, texts, count);
  return taken ? (double)(form->shape.rows * form->shape.length) / (double)taken : INFINITY;
}

/* Of padded forms the shortest that holds the next text; of packed ones that which spends the
 * fewest cells on each of the next texts, where that is less than the row of a padded one. */
static const TextForm *cheapest(const TextForm *forms, int n, const TokenIds *texts,
                                int64_t count) {
  const TextForm *best = NULL;
  double least = INFINITY;
  for (int i = 0; i < n; i++) {
    double cells = forms[i].packed                     ? cells_each(&forms[i], texts, count)
                   : texts[0].count > forms[i].longest ? INFINITY
                                                       : (double)forms[i].shape.length;
    if (cells < least) {
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

bool encode_longest(const WordPiece *pieces, const char *const *texts, int64_t count,
                    int64_t *longest, Error *error) {
  TokenIds *tokens = mem_alloc(sizeof *tokens * (size_t)(count + 1));
  memset(tokens, 0, sizeof *tokens * (size_t)(count + 1));
  bool good = tokenize_texts(pieces, texts, count, INT32_MAX, tokens, error);
  *longest = 0;
  for (int64_t i = 0; i < count; i++) {
    *longest = tokens[i].count > *longest ? tokens[i].count : *longest;
    token_ids_free(&tokens[i]);
  }
  free(tokens);
  return good;
}

bool encode_texts(const Encoder *e, const WordPiece *pieces, const char *const *texts,
                  int64_t count, float *latents, Error *error) {
  TextForm forms[MAX_TEXT_FORMS];
  const char *name = e->job->plan->entries[e->entry].name;
  int n_forms = text_forms_open(e->job, name, forms, MAX_TEXT_FORMS, error);
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

typedef struct InOrder {
  int64_t batch, count;
} InOrder;

static void pick_in_order(void *context, int64_t step, int64_t *samples) {
  const InOrder *o = context;
  for (int64_t q = 0; q < o->batch; q++) { /* the last one fills the batch up */
    int64_t index = step * o->batch + q;
    samples[q] = index < o->count ? index : o->count - 1;
  }
}

static bool encode_all(const Encoder *e, const Dataset *dataset, Batches *batches, VolumePort *port,
                       float *latents, Error *error) {
  int64_t *samples = mem_alloc(sizeof *samples * (size_t)e->batch);
  Progress progress;
  progress_start(&progress, "encode", 0, dataset->count);
  bool good = true;
  for (int64_t first = 0; good && first < dataset->count; first += e->batch) {
    int64_t left = dataset->count - first, fresh = left < e->batch ? left : e->batch;
    good = batches_take(batches, port, samples, error) &&
           encoder_run(e, fresh, latents + first * e->width, error);
    if (good)
      progress_update(&progress, first + fresh, "");
  }
  progress_finish(&progress);
  free(samples);
  return good;
}

bool encode_volumes(const Encoder *e, const Dataset *dataset, float *latents, Error *error) {
  VolumePort port;
  Batches *batches;
  if (!volume_port(e->job, e->entry, &port, error))
    return false;
  InOrder order = {e->batch, dataset->count};
  BatchSource source = {.dataset = dataset,
                        .batch = e->batch,
                        .voxels = port.voxels,
                        .gather = port.gather,
                        .pick = pick_in_order,
                        .context = &order,
                        .end = (dataset->count + e->batch - 1) / e->batch,
                        .threads = job_loaders(e->job)};
  if (!batches_open(&batches, &source, error))
    return false;
  bool good = encode_all(e, dataset, batches, &port, latents, error);
  batches_close(batches);
  return good;
}
