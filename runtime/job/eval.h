/* What the evaluations share: what is evaluated, latents made once, scores, and where results go.
 *
 * Results are files in the folder --out, named after the evaluation (zeroshot.json, probe.csv, …),
 * and a table or, with --json, the JSON on stdout.
 */
#ifndef TRICOT_RUNTIME_JOB_EVAL_H
#define TRICOT_RUNTIME_JOB_EVAL_H
#include "runtime/job/encode.h"

typedef struct Eval {
  Job *job;
  const char *kind; /* "zeroshot", "retrieval", "probe" */
  const char *out, *split;
  int64_t replicates; /* of the bootstrap, 0: no intervals */
  uint64_t seed;
  Zeroshot zeroshot; /* the probe uses its image encoder and its findings only */
  Dataset dataset;
  uint64_t weights; /* fingerprint */
  float *latents;   /* [dataset.count][width]; from malloc */
} Eval;

bool eval_zeroshot(Eval *eval, Error *error);
bool eval_retrieval(Eval *eval, Error *error);
bool eval_probe(Eval *eval, Error *error);

/* Sets eval->weights: a number that changes with the weights (the file's bytes, or the seed) and
 * with the model's settings but for those of prompts and batches. */
bool eval_fingerprint(Eval *eval, Error *error);
/* Latents of a split in *latents (from malloc): read from OUT/latents-SPLIT.safetensors where that
 * was made by these weights of these volumes, else encoded and kept there. */
bool eval_latents(Eval *eval, const Dataset *dataset, const char *split, float **latents,
                  Error *error);
/* OUT/NAME */
bool eval_write(const Eval *eval, const char *name, const Text *text, Error *error);
/* "{" and what was evaluated, up to the count of scored volumes; no comma at the end. */
void eval_json_head(const Eval *eval, Text *json, int64_t scored);
/* OUT/KIND.json, and the JSON or the table on stdout. */
bool eval_results(const Eval *eval, const Text *json, const Text *table, Error *error);
/* Parameters of the image encoder, its projection included, in millions; GFLOPs it executes for
 * one volume (2 for a fused multiply-add), 0 when the plan does not tell. */
void eval_image_cost(const Eval *eval, double *parameters, double *gflops);

/* Probabilities [dataset.count][findings] scored against the labels. Writes OUT/KIND.csv (a row a
 * volume), KIND-findings.csv, KIND-overall.csv, KIND-table.csv, KIND-thresholds.json, KIND.json,
 * and the section KIND of the report. `more` is JSON after the head (", ..."), or NULL; `about` are
 * lines for the report and the table, or NULL. */
bool eval_scores(Eval *eval, const double *probabilities, const char *more, const char *about,
                 Error *error);

/* ---- the report: eval_report*.c ---- */

typedef struct Scores {
  Labelled labelled;
  ClassMetrics *classes;
  OverallMetrics overall;
  ClassBounds bounds;
  bool bounded;
  double *thresholds;
  const char *threshold_words;
  bool fitted_here; /* the thresholds were fitted on these very volumes */
  RocPoint **roc;   /* [classes], roc_counts points each */
  int64_t *roc_counts;
} Scores;

/* Section KIND of OUT/report.html; sections of other evaluations of the same weights stay. */
bool report_scores(const Eval *eval, const Scores *scores, const double *probabilities,
                   const char *about, Error *error);
bool report_retrieval(const Eval *eval, const RetrievalMetrics *plain,
                      const RetrievalMetrics *shared, int64_t reports, Error *error);
#endif
