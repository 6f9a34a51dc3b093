/* Latents of volumes and texts from the entry points encode_image and encode_text, and zero-shot
 * classification with them.
 */
#ifndef TRICOT_RUNTIME_JOB_ENCODE_H
#define TRICOT_RUNTIME_JOB_ENCODE_H
#include "runtime/data/ctrate.h"
#include "runtime/data/metrics.h"
#include "runtime/job/source.h"

typedef struct Encoder {
  Job *job;
  int entry;
  const char *output; /* "image_latents" */
  int64_t batch, width;
} Encoder;

/* The entry point with a float output [B,width]. */
bool encoder_open(Encoder *encoder, Job *job, const char *entry, const char *output, Error *error);
/* Runs on what is in the inputs; the first `rows` latents go to out[rows][width]. */
bool encoder_run(const Encoder *encoder, int64_t rows, float *out, Error *error);
/* Tokens of the longest text, [CLS] and [SEP] included. */
bool encode_longest(const WordPiece *pieces, const char *const *texts, int64_t count,
                    int64_t *longest, Error *error);
/* Latents of texts, latents[count][width]. Where the program has the entry point in several forms
 * (text_form.h), the cheapest for the texts at hand. */
bool encode_texts(const Encoder *encoder, const WordPiece *pieces, const char *const *texts,
                  int64_t count, float *latents, Error *error);
/* Latents of every volume of a data set, latents[dataset->count][width], each encoded once; volumes
 * are read ahead meanwhile. */
bool encode_volumes(const Encoder *encoder, const Dataset *dataset, float *latents, Error *error);

/* Zero-shot classification of findings by pairs of prompts, "{} is present." against "{} is not
 * present.". The model's settings name the findings and the templates:
 *   findings   texts; without it the 18 labels of CT-RATE
 *   templates  pairs of texts, present and absent, with {} where the finding belongs
 *   ensemble   "latents": the unit latents of a side's prompts are averaged over the templates, and
 *              the mean is scaled to unit length (Radford et al., arXiv 2103.00020, section 3.1.4);
 *              "probabilities": the templates' probabilities are averaged
 */
typedef struct Zeroshot {
  Encoder image, text;
  WordPiece *pieces;
  double factor;
  int n_findings, n_templates;
  const char **findings;
  int *labels; /* of each finding: its column among CT-RATE's labels, -1: it is none of them */
  const char *(*templates)[2];
  bool average_probabilities;
  double *prompts; /* [findings][1, or n_templates for probabilities][2][width] */
} Zeroshot;

/* Opens the job's program, its vocabulary, and encodes the prompts. reports: longer texts will be
 * encoded as well. Close it after failures too. */
bool zeroshot_open(Zeroshot *zeroshot, Job *job, bool reports, Error *error);
/* The same in two steps, for a program with more entry points, such as a training's: adds
 * encode_image and encode_text to a request, the latter in the forms the prompts (or reports) need;
 * then, with the program open, goes on. A zeroshot that is all zeros goes on with any program that
 * has the two. */
bool zeroshot_request(Zeroshot *zeroshot, Job *job, bool reports, JobRequest *request,
                      Error *error);
bool zeroshot_attach(Zeroshot *zeroshot, Job *job, Error *error);
/* In between: marks the entry points that the prompts will be encoded with. used[n_entries]. */
bool zeroshot_uses(Zeroshot *zeroshot, Job *job, bool *used, Error *error);
/* Only what the settings say: findings, labels and templates. */
bool zeroshot_settings(Zeroshot *zeroshot, Job *job, Error *error);
/* Encodes the prompts, and takes the temperature, with the weights as they are now. */
bool zeroshot_refresh(Zeroshot *zeroshot, Error *error);
void zeroshot_close(Zeroshot *zeroshot);
/* Softmax over the two cosines times the factor: probabilities[n_findings] of "present". */
void zeroshot_score(const Zeroshot *zeroshot, const float *latent, double *probabilities);

/* Rows of labelled volumes and columns of findings that are labels, for metrics. In `arena`. */
typedef struct Labelled {
  Predictions predictions; /* at 0.5; patients are numbered */
  const char **names;      /* [predictions.classes] */
  int *columns;            /* their columns in the given probabilities */
} Labelled;
/* probabilities [dataset->count][n_findings]; labels as in Zeroshot. Samples or classes may come
 * out as 0. */
void labelled_take(Arena *arena, const Dataset *dataset, const double *probabilities,
                   int n_findings, const char *const *findings, const int *labels,
                   Labelled *labelled);

/* All of it for a training's validation: refreshes the prompts, encodes the volumes, scores.
 * Overall metrics at 0.5 over the labelled volumes, of which there must be one. */
bool zeroshot_evaluate(Zeroshot *zeroshot, const Dataset *dataset, OverallMetrics *overall,
                       Error *error);
#endif
