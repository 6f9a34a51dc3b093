/* Latents and zero-shot scores. See encode.h. */
#include "runtime/job/encode.h"
#include "runtime/job/ports.h"
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

bool encode_texts(const Encoder *e, const WordPiece *pieces, const char *const *texts,
                  int64_t count, float *latents, Error *error) {
  TextPort port;
  Error inner;
  if (!text_port(e->job, e->entry, &port, error))
    return false;
  int64_t *ids = mem_alloc(sizeof *ids * (size_t)port.length);
  int64_t *mask = mem_alloc(sizeof *mask * (size_t)port.length);
  bool good = true;
  for (int64_t first = 0; good && first < count; first += e->batch) {
    for (int64_t row = 0; good && row < port.batch; row++) { /* the last one fills the batch up */
      int64_t which = first + row < count ? first + row : count - 1;
      good = pack_text(pieces, texts[which], port.length, ids, mask, &inner) ||
             error_set(error, "text \"%.100s\": %.800s", texts[which], inner.text);
      for (int64_t i = 0; good && i < port.length; i++) {
        dtype_store(port.ids_type, port.ids, row * port.length + i, (double)ids[i]);
        dtype_store(port.mask_type, port.mask, row * port.length + i, (double)mask[i]);
      }
    }
    int64_t fresh = count - first < e->batch ? count - first : e->batch;
    good = good && encoder_run(e, fresh, latents + first * e->width, error);
  }
  free(ids);
  free(mask);
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
