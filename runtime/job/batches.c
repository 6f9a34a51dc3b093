/* Reading ahead: threads fill the next batch while the caller computes.
 *
 * A ring of AHEAD batches, whose samples are handed out to the threads one by one in the order of
 * the batches. The caller copies a batch into the program's input and gives its place back, so
 * AHEAD batches can be ready or in the making while it computes. One is enough: decoding takes a
 * small part of a step and much the same time for each batch, and at full size a batch of eight
 * takes 2 GiB. What a batch holds depends on its number alone, whatever the timing and the number
 * of threads; so does which error is reported.
 */
#include "runtime/job/progress.h"
#include "runtime/job/source.h"
#include "runtime/job/trace.h"
#include "runtime/pool.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { AHEAD = 1, MOST_BY_DEFAULT = 8 };

typedef struct Slot {
  int64_t *samples;
  TokenIds *texts;
  float *volumes;
  int64_t begun, done; /* samples handed out; finished. Full when done is the batch */
  int64_t bad;         /* the first sample that could not be read, or the batch */
  Error error;         /* why */
} Slot;

struct Batches {
  BatchSource source;
  pthread_t threads[MAX_LOADERS];
  int n_threads, n_rows; /* started; that have found their row of the trace */
  pthread_mutex_t mutex;
  pthread_cond_t room, full; /* a place was given back; a batch is complete */
  bool stop;
  int64_t reading, taking;   /* batch numbers: being handed out to threads; the caller's next */
  Slot slots[AHEAD + 1];     /* the last: of batches_again */
  double since;              /* the caller waits or copies since then */
  double first_wait, waited; /* seconds */
};

static bool tokenize(const BatchSource *s, const char *text, TokenIds *tokens, Error *error) {
  TokenIds words = {0};
  tokens->count = 0;
  bool good = wordpiece_encode(s->pieces, text, strlen(text), &words, error) &&
              wordpiece_join(s->pieces, &words, NULL, (int)s->length, tokens, error);
  token_ids_free(&words);
  return good;
}

static bool read_sample(const BatchSource *s, Slot *slot, int64_t row, Error *error) {
  int64_t index = slot->samples[row];
  const DatasetSample *sample = &s->dataset->samples[index];
  Error inner;
  if (!dataset_volume_part(s->dataset, (int)index, s->gather, slot->volumes + row * s->voxels,
                           error))
    return false;
  if (s->pieces && !tokenize(s, sample->report, &slot->texts[row], &inner))
    return error_set(error, "%s: error: report: %.900s", sample->volume, inner.text);
  return true;
}

/* The next sample of the batch being read; with the lock held. */
static Slot *hand_out(Batches *b, int64_t *row) {
  Slot *slot = &b->slots[b->reading % AHEAD];
  if (slot->begun == 0) {
    b->source.pick(b->source.context, b->reading, slot->samples);
    slot->bad = b->source.batch;
  }
  *row = slot->begun++;
  b->reading += slot->begun == b->source.batch;
  return slot;
}

/* The thread's row of the trace; with the lock held. */
static int find_row(Batches *b) {
  char name[32];
  int row = ++b->n_rows;
  snprintf(name, sizeof name, "loader %d", row);
  if (b->source.trace)
    trace_row(b->source.trace, row, name);
  return row;
}

static bool read_traced(Batches *b, int row_of_trace, Slot *slot, int64_t row, Error *error) {
  int64_t begin = b->source.trace ? monotonic_nanoseconds() : 0;
  bool good = read_sample(&b->source, slot, row, error);
  if (b->source.trace)
    trace_event(b->source.trace, row_of_trace,
                b->source.dataset->samples[slot->samples[row]].volume, "read", begin,
                monotonic_nanoseconds(), NULL);
  return good;
}

static void *reader_main(void *user) {
  Batches *b = user;
  Error error;
  pthread_mutex_lock(&b->mutex);
  int row_of_trace = find_row(b);
  for (;;) {
    while (!b->stop && b->reading < b->source.end && b->reading - b->taking >= AHEAD)
      pthread_cond_wait(&b->room, &b->mutex);
    if (b->stop || b->reading >= b->source.end)
      break;
    int64_t row;
    Slot *slot = hand_out(b, &row);
    pthread_mutex_unlock(&b->mutex);
    bool good = read_traced(b, row_of_trace, slot, row, &error);
    pthread_mutex_lock(&b->mutex);
    if (!good && row < slot->bad) {
      slot->bad = row;
      slot->error = error;
    }
    if (++slot->done == b->source.batch)
      pthread_cond_broadcast(&b->full);
  }
  pthread_mutex_unlock(&b->mutex);
  return NULL;
}

static void free_batches(Batches *b) {
  for (int i = 0; i <= AHEAD; i++) {
    free(b->slots[i].samples);
    for (int64_t row = 0; b->slots[i].texts && row < b->source.batch; row++)
      token_ids_free(&b->slots[i].texts[row]);
    free(b->slots[i].texts);
    free(b->slots[i].volumes);
  }
  free(b);
}

int64_t batches_bytes(int64_t batch, int64_t voxels) {
  return AHEAD * batch * voxels * (int64_t)sizeof(float);
}

static bool make_slot(Slot *slot, const BatchSource *s, Error *error) {
  size_t batch = (size_t)s->batch;
  slot->samples = mem_alloc(sizeof *slot->samples * batch);
  slot->texts = mem_alloc(sizeof *slot->texts * batch);
  memset(slot->texts, 0, sizeof *slot->texts * batch);
  slot->volumes = malloc(sizeof(float) * batch * (size_t)s->voxels);
  return slot->volumes || error_set(error, "no memory to read %zu volumes ahead", batch * AHEAD);
}

/* Decoding a volume takes a small part of a step, and the threads take their time from those that
 * compute: a quarter of the processors keeps up. */
static int default_threads(void) {
  cpu_set_t allowed;
  int count = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) / 4 : 1;
  return count < 1 ? 1 : count > MOST_BY_DEFAULT ? MOST_BY_DEFAULT : count;
}

bool batches_open(Batches **result, const BatchSource *source, Error *error) {
  Batches *b = mem_alloc(sizeof *b);
  *result = NULL;
  *b = (Batches){.source = *source, .reading = source->first, .taking = source->first};
  for (int i = 0; i < AHEAD; i++)
    if (!make_slot(&b->slots[i], source, error)) {
      free_batches(b);
      return false;
    }
  pthread_mutex_init(&b->mutex, NULL);
  pthread_cond_init(&b->room, NULL);
  pthread_cond_init(&b->full, NULL);
  int wanted = source->threads > 0 ? source->threads : default_threads(), code = 0;
  while (code == 0 && b->n_threads < wanted && b->n_threads < MAX_LOADERS) {
    code = pthread_create(&b->threads[b->n_threads], NULL, reader_main, b);
    b->n_threads += code == 0;
  }
  if (b->n_threads == 0) {
    batches_close(b);
    return error_set(error, "the reading threads could not be started: %s", strerror(code));
  }
  *result = b;
  return true;
}

bool batches_more(const Batches *b) { return b->taking < b->source.end; }

static Batch batch_in(const Batches *b, const Slot *slot) {
  return (Batch){slot->volumes, slot->samples, b->source.pieces ? slot->texts : NULL};
}

bool batches_wait(Batches *b, Batch *batch, Error *error) {
  const BatchSource *s = &b->source;
  CHECK(b->taking < s->end);
  Slot *slot = &b->slots[b->taking % AHEAD];
  b->since = seconds_now();
  pthread_mutex_lock(&b->mutex);
  while (slot->done < s->batch)
    pthread_cond_wait(&b->full, &b->mutex);
  pthread_mutex_unlock(&b->mutex);
  if (slot->bad < s->batch) /* the place is kept: there is no way on */
    return error_set(error, "%s", slot->error.text);
  *batch = batch_in(b, slot);
  return true;
}

void batches_give_back(Batches *b, bool stalled) {
  Slot *slot = &b->slots[b->taking % AHEAD];
  if (stalled)
    *(b->taking == b->source.first ? &b->first_wait : &b->waited) += seconds_now() - b->since;
  pthread_mutex_lock(&b->mutex);
  slot->begun = slot->done = 0;
  b->taking++;
  pthread_cond_broadcast(&b->room);
  pthread_mutex_unlock(&b->mutex);
}

bool batches_again(Batches *b, int back, Batch *batch, Error *error) {
  const BatchSource *s = &b->source;
  Slot *slot = &b->slots[AHEAD];
  CHECK(back > 0 && b->taking - back >= s->first);
  if (!slot->volumes && !make_slot(slot, s, error))
    return false;
  pthread_mutex_lock(&b->mutex);
  s->pick(s->context, b->taking - back, slot->samples);
  pthread_mutex_unlock(&b->mutex);
  for (int64_t row = 0; row < s->batch; row++)
    if (!read_sample(s, slot, row, error))
      return false;
  *batch = batch_in(b, slot);
  return true;
}

bool batches_take(Batches *b, VolumePort *volume, int64_t *samples, Error *error) {
  const BatchSource *s = &b->source;
  Batch batch;
  if (!batches_wait(b, &batch, error))
    return false;
  memcpy(volume->data, batch.volumes, sizeof(float) * (size_t)(s->batch * s->voxels));
  memcpy(samples, batch.samples, sizeof *samples * (size_t)s->batch);
  batches_give_back(b, true);
  return true;
}

double batches_stalled(const Batches *b, double *first) {
  if (first)
    *first = b->first_wait;
  return b->waited;
}

void batches_close(Batches *b) {
  if (!b)
    return;
  pthread_mutex_lock(&b->mutex);
  b->stop = true;
  pthread_cond_broadcast(&b->room);
  pthread_mutex_unlock(&b->mutex);
  for (int i = 0; i < b->n_threads; i++)
    pthread_join(b->threads[i], NULL);
  pthread_mutex_destroy(&b->mutex);
  pthread_cond_destroy(&b->room);
  pthread_cond_destroy(&b->full);
  free_batches(b);
}
