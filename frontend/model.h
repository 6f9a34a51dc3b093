/* Model files: loading, reading their arguments, and building one graph per entry point.
 *
 * docs/model-language.md describes the files. A Model lives in the arena it was loaded into, keeps
 * pointers to the Diag's sources, and is never changed after loading.
 */
#ifndef TRICOT_FRONTEND_MODEL_H
#define TRICOT_FRONTEND_MODEL_H
#include "ir/graph.h"

typedef struct Model Model;

typedef struct ModelRequest {
  const char *path;
  const char *variant; /* NULL: none */
  const char *const *sets; /* "text.width=64", "volume=[32,64,64]" */
  int n_sets;
} ModelRequest;

/* A parameter or buffer some entry point declares. */
typedef struct ModelParameter {
  const char *name;
  Type type;
  Role role; /* ROLE_PARAMETER or ROLE_BUFFER */
  Init init;
  bool decay, frozen;
  const char *stage; /* or NULL */
  Loc loc;
} ModelParameter;

typedef struct ModelStage {
  const char *name;
  int64_t parameters;
  double flops;
} ModelStage;

typedef struct ModelSummary {
  int64_t parameters;       /* declared, used or not */
  int64_t with_projection;  /* and the projection of an encoder to the shared space */
  int64_t buffers;          /* elements */
  double flops;             /* of counted_entry in training mode */
  const char *counted_entry;
  int n_stages;
  ModelStage *stages; /* in the order of the file; what is in no stage is in no entry */
  int n_declared;
  ModelParameter **declared;
} ModelSummary;

/* NULL after errors, which are in diag. */
Model *model_load(Arena *arena, Diag *diag, const ModelRequest *request);

const char *model_name(const Model *model);
const char *model_path(const Model *model);
const char *model_variant(const Model *model); /* NULL: none asked for */
const char *model_doc(const Model *model);     /* NULL: none */
/* The variants the file (or the import that takes them) knows. */
int model_variant_count(const Model *model);
const char *model_variant_name(const Model *model, int i);

int model_entry_count(const Model *model);
const char *model_entry_name(const Model *model, int i);
bool model_has_entry(const Model *model, const char *entry);
/* The entry point training minimises and the name of its loss output; NULL where it has none. */
const char *model_train_entry(const Model *model);
const char *model_train_loss(const Model *model);
/* The entry point that gives the loss from what the training entry computes for every sample: its
 * data inputs are outputs of the training entry. NULL where the file names none. */
const char *model_train_contrast(const Model *model);

/* The graph of an entry point: data inputs first, then the parameters and buffers it uses, in the
 * order of their first use. `training` chooses batch statistics and buffer updates (outputs
 * "buffer.<name>" with `updates` set). NULL after errors. */
Graph *model_build(Model *model, Diag *diag, const char *entry, bool training);
/* A numeric argument or expression over arguments: "optimizer.lr", "volume[0]", "text.length".
 * False when there is no such number. */
bool model_number(const Model *model, const char *expression, double *value);
/* A text argument, NULL when there is none of that name. */
const char *model_text(const Model *model, const char *name);
/* Arguments with their values, imported models' under their import's name ("text.width"). */
int model_arg_count(const Model *model);
const char *model_arg_name(const Model *model, int i);
/* As the expression language writes it, texts with the escapes of JSON: numbers, texts and lists of
 * them are JSON. */
const char *model_arg_value(const Model *model, int i);

/* Builds every entry point once and counts. False after errors. */
bool model_summary(Model *model, Diag *diag, ModelSummary *summary);
#endif
