/* Where a job's samples come from: the data set and vocabulary its options name, checked against
 * the program, and batches of samples read ahead by threads of their own.
 */
#ifndef TRICOT_RUNTIME_JOB_SOURCE_H
#define TRICOT_RUNTIME_JOB_SOURCE_H
#include "runtime/data/dataset.h"
#include "runtime/data/wordpiece.h"
#include "runtime/job/job.h"

enum { MAX_LOADERS = 64 };

/* The input `volume` [B,1,D,H,W] of an entry point. */
typedef struct VolumePort {
  float *data;             /* [batch][voxels] */
  const Gather *gather;    /* what is kept of a sample; NULL: all of it */
  int64_t batch, size[3];
  int64_t voxels; /* kept of a sample */
} VolumePort;
bool volume_port(Job *job, int entry, VolumePort *port, Error *error);
/* What was read for one of them serves the other. */
bool volume_ports_agree(const VolumePort *a, const VolumePort *b);

/* How volumes of `size` are prepared: the settings `prepare` of the plan, then --spacing. */
bool job_prepare_options(const Job *job, const int64_t size[3], PrepareOptions *options,
                         Error *error);
/* --cache, or --data prepared into --cache, of --split (or `split`), cut to --limit. The volumes
 * must have the wanted size and spacing, and there must be one at least. */
bool job_dataset(const Job *job, const char *split, const int64_t size[3], Dataset *dataset,
                 Error *error);
/* The same of this very split, whatever --split says. */
bool job_dataset_split(const Job *job, const char *split, const int64_t size[3], Dataset *dataset,
                       Error *error);
/* --loaders: threads that read ahead, 0: as many as BatchSource.threads 0 gives. */
int job_loaders(const Job *job);
/* --vocab, lower-case; no larger than the model's table of words. NULL on failure. */
WordPiece *job_open_vocabulary(const Job *job, Error *error);
/* The samples of batch number `step`: fills samples[batch]. Called by one reading thread at a time,
 * for one batch after the other. */
typedef void BatchPick(void *context, int64_t step, int64_t *samples);

typedef struct BatchSource {
  const Dataset *dataset;
  const WordPiece *pieces; /* NULL: volumes only */
  int64_t batch, voxels; /* voxels: kept of a sample, as the port does */
  const Gather *gather;
  int64_t length; /* most tokens of a text, [CLS] and [SEP] included: longer ones are cut */
  BatchPick *pick;
  void *context;
  int64_t first, end; /* batch numbers */
  int threads;        /* that read; 0: a quarter of the processors, at most 8 */
  struct Trace *trace; /* gets what they read, rows 1 and on; or NULL */
} BatchSource;

typedef struct Batches Batches;
/* Bytes of the volumes that are held: one batch in float32. */
int64_t batches_bytes(int64_t batch, int64_t voxels);
/* Starts reading. */
bool batches_open(Batches **batches, const BatchSource *source, Error *error);
/* What was read, until it is given back. */
typedef struct Batch {
  const float *volumes;   /* [batch][voxels] */
  const int64_t *samples; /* [batch]: which they are */
  const TokenIds *texts;  /* [batch]: reports as [CLS] pieces [SEP]; NULL without a vocabulary */
} Batch;

bool batches_more(const Batches *batches); /* is there a next batch? */
/* Waits for the next batch. While the caller computes, the one after it is read. */
bool batches_wait(Batches *batches, Batch *batch, Error *error);
/* stalled: nothing was computed meanwhile. */
void batches_give_back(Batches *batches, bool stalled);
/* Reads a batch that was given back once more, the `back`th before the next. Until the next call;
 * for when something went wrong, since nothing is read ahead of it. */
bool batches_again(Batches *batches, int back, Batch *batch, Error *error);
/* Waits for the next batch, copies volumes and samples[batch] out, and gives it back. */
bool batches_take(Batches *batches, VolumePort *volume, int64_t *samples, Error *error);
/* Seconds the caller spent from waiting to giving back, where it stalled. The first batch, which
 * could not be read ahead, counts apart. */
double batches_stalled(const Batches *batches, double *first);
void batches_close(Batches *batches); /* NULL is fine */
#endif
