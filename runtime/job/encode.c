/* Latents of texts and volumes. See encode.h. */
#include "runtime/job/encode.h"
#include "runtime/job/progress.h"
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
    good = batches_take(batches, port, NULL, samples, error) &&
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
                        .pick = pick_in_order,
                        .context = &order,
                        .end = (dataset->count + e->batch - 1) / e->batch};
  if (!batches_open(&batches, &source, error))
    return false;
  bool good = encode_all(e, dataset, batches, &port, latents, error);
  batches_close(batches);
  return good;
}
