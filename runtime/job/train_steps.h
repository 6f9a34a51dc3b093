/* One optimizer step, however many runs of the program it takes.
 *
 * A step of `accumulate` batches is one run of train_step when that is 1. Otherwise the gradients
 * of the batches are summed in the program's scratch memory and applied once. What texts and images
 * are contrasted with (their "negatives", Radford et al., arXiv 2103.00020) must be said:
 *
 *   micro   the others of their batch: the loss is the mean over batches
 *   batch   all others of the step: latents of all batches first, then the loss and its gradients
 *           by them, then every batch again for the gradients of the weights (arXiv 2101.06983)
 *
 * The entry points are described in driver/train_entries.h.
 */
#ifndef TRICOT_RUNTIME_JOB_TRAIN_STEPS_H
#define TRICOT_RUNTIME_JOB_TRAIN_STEPS_H
#include "runtime/job/source.h"
#include "runtime/job/text_form.h"

typedef enum Negatives { NEGATIVES_MICRO, NEGATIVES_BATCH } Negatives;
extern const char *const negatives_names[2];

typedef struct Latents { /* of all batches of a step, on their way to the contrast and back */
  int count;
  const char *names[4];
  size_t bytes[4]; /* of one batch */
  char *values[4], *gradients[4];
} Latents;

enum { STEP_FORMS = TEXT_SHAPES + 1 };

/* An entry point in one of its text shapes. */
typedef struct StepForm {
  int entry;
  VolumePort volume;
  TextForm text;
  int64_t uses; /* batches that took it */
} StepForm;

/* All shapes of an entry point; the first takes every batch. */
typedef struct StepForms {
  StepForm at[STEP_FORMS];
  int count;
} StepForms;

typedef struct Stepper {
  Job *job;
  Negatives negatives;
  int64_t accumulate, batch;
  int step, micro, apply, embed, contrast, backward; /* entry points; -1: not used */
  StepForms first, second; /* of step, micro or embed; of backward */
  int32_t padding;         /* id of [PAD] */
  Latents latents;
  int64_t *samples; /* [accumulate * batch]: of the last step */
  /* What the next step will take, if that was given to the device while the last one ran there; its
   * samples. */
  struct StepForm *ahead;
  int64_t *ahead_samples; /* [batch] */
} Stepper;

typedef struct StepResult {
  double loss, grad_norm;
  int stopped; /* entry point whose numbers are not finite any more, -1: all is well */
  bool intact; /* stopped, and no persistent tensor has changed in this step */
  double waited; /* seconds for data */
} StepResult;

/* The entry points a step needs, added to the request; those that take texts in every shape (rows
 * 0: one text a row) beside the model's own. Names live in `arena`. */
bool stepper_request(Arena *arena, JobRequest *request, int64_t accumulate, Negatives negatives,
                     const TextShape *shapes, int n_shapes, Error *error);
/* "64,128,6x512": at most TEXT_SHAPES. text NULL: none. */
bool stepper_shapes(const char *text, TextShape *shapes, int *count, Error *error);
/* After job_open: finds and checks them. What it needs lives in the job's arena. */
bool stepper_open(Stepper *stepper, Job *job, int64_t accumulate, Negatives negatives,
                  Error *error);
/* How many batches are read for a step: a contrast over the whole step reads them twice. */
int64_t stepper_reads(const Stepper *stepper);
/* Takes the step's batches and runs; on a device, takes the next step's meanwhile. clip 0:
 * gradients are not clipped. */
bool stepper_run(Stepper *stepper, Batches *batches, double lr, double clip, StepResult *result,
                 Error *error);
#endif
