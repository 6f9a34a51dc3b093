/* Latents of volumes and texts from the entry points encode_image and encode_text, and what
 * zero-shot classification makes of them.
 */
#ifndef TRICOT_RUNTIME_JOB_ENCODE_H
#define TRICOT_RUNTIME_JOB_ENCODE_H
#include "runtime/data/ctrate.h"
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
/* Latents of texts, latents[count][width]. Where the program has the entry point in several forms
 * (text_form.h), the cheapest for the texts at hand. */
bool encode_texts(const Encoder *encoder, const WordPiece *pieces, const char *const *texts,
                  int64_t count, float *latents, Error *error);

/* Zero-shot classification of the 18 findings by two prompts each: "NAME is present." against
 * "NAME is not present.". The prompts are encoded once. */
typedef struct Zeroshot {
  Encoder image, text;
  WordPiece *pieces;
  double factor;
  float *prompts; /* [18][2][width] */
} Zeroshot;

/* Opens the job's program, its vocabulary, and encodes the prompts. Close it after failures too. */
bool zeroshot_open(Zeroshot *zeroshot, Job *job, Error *error);
void zeroshot_close(Zeroshot *zeroshot);
/* Softmax over the two cosines times the factor; probabilities of "present". */
void zeroshot_score(const Zeroshot *zeroshot, const float *latent,
                    double probabilities[CTRATE_LABELS]);
#endif
