/* The job around a program: train, eval, predict, run, info and bench.
 *
 * The same code serves the tricot command, which compiles a model for the job, and compiled
 * executables, which bring theirs. Both are a JobHost: they open a program that fits a request, and
 * may bring options of their own.
 */
#ifndef TRICOT_RUNTIME_JOB_JOB_H
#define TRICOT_RUNTIME_JOB_JOB_H
#include "runtime/base/json.h"
#include "runtime/job/options.h"
#include "runtime/program.h"

enum { JOB_MAX_ENTRIES = 32 };

/* What a job needs of a program. A host that compiles specialises the model on it; one with a
 * finished program only has to look whether the entry points are there, which the job does. */
typedef struct JobRequest {
  const char *entries[JOB_MAX_ENTRIES]; /* that will run; none: info about all there are */
  int n_entries;
  int64_t batches[JOB_MAX_ENTRIES];  /* of each: samples at a time; 0: `batch` */
  int64_t times[JOB_MAX_ENTRIES];    /* of each: takes so many batches at a time; 0: one */
  const char *sets[JOB_MAX_ENTRIES]; /* of each: more arguments, "text.length=64;…", or NULL */
  /* of each: `sets` hold where the entry point has the same parameters with them, else do not */
  bool optional_sets[JOB_MAX_ENTRIES];
  const char *names[JOB_MAX_ENTRIES]; /* of each: its name in the program; NULL: the same */
  /* of each: batch statistics and buffer updates; the derived ones of training always have them */
  bool training[JOB_MAX_ENTRIES];
  bool trained;       /* results mean something with trained weights only */
  bool taps;          /* the author's intermediates are wanted beside the results */
  bool gradients;     /* train_step must give its gradients as outputs "grad.<parameter>" */
  int64_t batch;      /* samples at a time; 0: as `inputs` has them, else as the model says */
  const char *inputs; /* safetensors with the tensors the inputs will have, or NULL */
  int threads;        /* 0: one per allowed CPU */
} JobRequest;

/* Code inside a host, for info. */
typedef struct JobPart {
  const char *target, *name; /* "cpu", "x86-64-v4"; "cuda", "sm_90a" */
  int64_t bytes;
} JobPart;

typedef struct JobHost {
  const char *name;         /* of the command, for messages and help */
  const OptionRow *options; /* more options, or NULL */
  bool model_argument;      /* the first argument that is no option names the model */
  void *context;
  /* After parsing: options a file gives (options_default). May be NULL. */
  bool (*complete)(void *context, Options *options, const char *model, Error *);
  /* Of a host that compiles: the settings a program will have. They live as long as the host. NULL:
   * programs are what they are, whatever is asked for. */
  bool (*settings)(void *context, const Options *options, const PlanPair **settings, int *count,
                   Error *);
  /* The program stays the host's. An error with an empty text has been told already. */
  bool (*open)(void *context, const Options *options, const char *model, const JobRequest *request,
               Program **program, Error *);
  /* Of a host with a finished program: the plan that `open` would run, in `arena`, though this
   * machine may not be able to. NULL: open tells. */
  bool (*describe)(void *context, const Options *options, Arena *arena, Plan *plan, Error *);
  const JobPart *parts;         /* of the same, or NULL */
  int n_parts;
  void (*close)(void *context); /* ends what open began; called once, also after failures */
  const void *weights;          /* a safetensors file inside the host, or NULL */
  size_t weights_size;
} JobHost;

/* argv[0] is the verb. Returns an exit status. */
int job_main(const JobHost *host, int argc, char **argv);
bool job_is_verb(const char *word);
/* Some verb takes an option of this name. */
bool job_knows_option(const char *name);
void job_print_verbs(FILE *out);

/* ---- for the verbs ---- */

typedef struct Job {
  const JobHost *host;
  Arena *arena;
  Options options;
  const char *model;       /* the host's model argument, or NULL */
  const char *const *rest; /* the other arguments */
  int n_rest;
  Program *program; /* after job_open */
  const Plan *plan;
  const PlanPair *settings; /* after job_look; after job_open the plan's hold */
  int n_settings;
  struct Trace *trace; /* train --trace, else NULL: row 0 is the job's own thread */
  bool has_scale; /* the weights had a tensor "logit_scale" of this value */
  double scale;
  /* of the weights' metadata, NULL where they do not say: the canonical text of the preprocessing
   * they were trained with (prepare_options_text), and the orientation of the volumes (a valid one,
   * or "mixed") */
  const char *trained_prepare, *trained_orientation;
} Job;

/* Before job_open, for a host that compiles: takes the settings the program will have, so that
 * job_setting and its like answer, and the request can depend on them. *known is false for other
 * hosts. */
bool job_look(Job *job, bool *known, Error *error);
/* For messages: the model's name, or before job_open its file's. */
const char *job_model(const Job *job);
/* Opens the program with the values of --weights (or the host's own weights), else from --seed.
 * Checks that the requested entry points are there; without any, tensors keep zeros. */
bool job_open(Job *job, const JobRequest *request, Error *error);
/* A setting of the plan, without quotes; NULL when it has none of that name. */
const char *job_setting(const Job *job, const char *key);
/* The same of a list: numbers, texts and lists of them, as JSON. *value is NULL when there is no
 * setting of that name; false when it holds something else. */
bool job_setting_list(const Job *job, const char *key, const Json **value, Error *error);
double job_number(const Job *job, const char *key, double otherwise);
/* What multiplies cosines before the softmax: when the setting `temperature` is "learned", exp of
 * the tensor logit_scale (of the program, else of the weights, else the setting of that name);
 * otherwise the setting `factor`, e when there is none. */
bool job_factor(const Job *job, double *factor, Error *error);
/* An option that must be given; NULL and an error otherwise. */
const char *job_need(const Job *job, const char *option, Error *error);

int verb_train(Job *job);
int verb_eval(Job *job);
int verb_predict(Job *job);
int verb_run(Job *job);
int verb_info(Job *job);
int verb_bench(Job *job);
/* What a memory budget led to, of an entry point that has one. */
void job_budget_line(const PlanEntry *entry, Text *out);
/* Prints an error (unless it was told already) and returns EXIT_INPUT. */
int job_failed(const Error *error);
/* Prints "NAME VERB: error: ..." and where to find help; returns EXIT_USAGE. */
int job_usage(const Job *job, const Error *error);
#endif
