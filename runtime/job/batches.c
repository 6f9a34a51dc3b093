/* Reading ahead: one thread fills one batch while the caller computes on the one before.
 *
 * One buffer is enough, since the caller copies it into the program's input before it computes. The
 * order of batches is the order of their numbers, whatever the timing.
 */
#include "runtime/job/source.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct Batches {
  BatchSource source;
  pthread_t thread;
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  bool full, stop; /* full: the buffer holds a batch (or an error) nobody has taken */
  /* the buffer; belongs to the thread while empty, to the caller while full */
  int64_t *samples, *ids, *mask;
  float *volumes;
  bool good;
  Error error;
};

static bool read_sample(Batches *b, int64_t row) {
  const BatchSource *s = &b->source;
  int64_t index = b->samples[row];
  const DatasetSample *sample = &s->dataset->samples[index];
  Error inner;
  if (!dataset_volume(s->dataset, (int)index, b->volumes + row * s->voxels, &b->error))
    return false;
  if (s->pieces && !pack_text(s->pieces, sample->report, s->length, b->ids + row * s->length,
                              b->mask + row * s->length, &inner))
    return error_set(&b->error, "%s: error: report: %.900s", sample->volume, inner.text);
  return true;
}

static bool read_batch(Batches *b, int64_t step) {
  b->source.pick(b->source.context, step, b->samples);
  for (int64_t row = 0; row < b->source.batch; row++)
    if (!read_sample(b, row))
      return false;
  return true;
}

static void *reader_main(void *user) {
  Batches *b = user;
  for (int64_t step = b->source.first; step < b->source.end; step++) {
    bool good = read_batch(b, step);
    pthread_mutex_lock(&b->mutex);
    b->good = good;
    b->full = true;
    pthread_cond_broadcast(&b->changed);
    while (b->full && !b->stop)
      pthread_cond_wait(&b->changed, &b->mutex);
    bool stop = b->stop;
    pthread_mutex_unlock(&b->mutex);
    if (stop || !good)
      break;
  }
  return NULL;
}

static void free_batches(Batches *b) {
  free(b->samples);
  free(b->ids);
  free(b->mask);
  free(b->volumes);
  free(b);
}

bool batches_open(Batches **result, const BatchSource *source, Error *error) {
  Batches *b = mem_alloc(sizeof *b);
  size_t batch = (size_t)source->batch, tokens = batch * (size_t)source->length;
  *result = NULL;
  *b = (Batches){.source = *source};
  b->samples = mem_alloc(sizeof *b->samples * batch);
  b->ids = mem_alloc(sizeof *b->ids * (tokens + 1));
  b->mask = mem_alloc(sizeof *b->mask * (tokens + 1));
  b->volumes = malloc(sizeof(float) * batch * (size_t)source->voxels);
  if (!b->volumes) {
    free_batches(b);
    return error_set(error, "no memory to read %zu volumes ahead", batch);
  }
  pthread_mutex_init(&b->mutex, NULL);
  pthread_cond_init(&b->changed, NULL);
  int code = pthread_create(&b->thread, NULL, reader_main, b);
  if (code != 0) {
    free_batches(b);
    return error_set(error, "the reading thread could not be started: %s", strerror(code));
  }
  *result = b;
  return true;
}

static void copy_text(const Batches *b, TextPort *text) {
  for (int64_t i = 0; i < b->source.batch * b->source.length; i++) {
    dtype_store(text->ids_type, text->ids, i, (double)b->ids[i]);
    dtype_store(text->mask_type, text->mask, i, (double)b->mask[i]);
  }
}

bool batches_take(Batches *b, VolumePort *volume, TextPort *text, int64_t *samples, Error *error) {
  const BatchSource *s = &b->source;
  pthread_mutex_lock(&b->mutex);
  while (!b->full)
    pthread_cond_wait(&b->changed, &b->mutex);
  pthread_mutex_unlock(&b->mutex);
  if (!b->good) /* stays full: the thread has ended */
    return error_set(error, "%s", b->error.text);
  memcpy(volume->data, b->volumes, sizeof(float) * (size_t)(s->batch * s->voxels));
  memcpy(samples, b->samples, sizeof *samples * (size_t)s->batch);
  if (text)
    copy_text(b, text);
  pthread_mutex_lock(&b->mutex);
  b->full = false;
  pthread_cond_broadcast(&b->changed);
  pthread_mutex_unlock(&b->mutex);
  return true;
}

void batches_close(Batches *b) {
  if (!b)
    return;
  pthread_mutex_lock(&b->mutex);
  b->stop = true;
  pthread_cond_broadcast(&b->changed);
  pthread_mutex_unlock(&b->mutex);
  pthread_join(b->thread, NULL);
  pthread_mutex_destroy(&b->mutex);
  pthread_cond_destroy(&b->changed);
  free_batches(b);
}
