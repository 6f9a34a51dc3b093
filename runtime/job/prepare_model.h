/* Where `prepare` learns a model's settings: reading model files is the driver's work. */
#ifndef TRICOT_RUNTIME_JOB_PREPARE_MODEL_H
#define TRICOT_RUNTIME_JOB_PREPARE_MODEL_H
#include "runtime/plan.h"

/* A model or run file, and what the command line says of it. */
typedef struct PrepareModel {
  const char *file, *variant; /* NULL: none */
  const char *const *sets;    /* "prepare.spacing=[3,1.5]" */
  int n_sets;
} PrepareModel;

/* All arguments of the model with their values, in `arena`. An error with an empty text has been
 * told already. */
typedef bool PrepareModelRead(Arena *arena, const PrepareModel *model, const PlanPair **settings,
                              int *count, Error *error);

/* The verb `prepare`; read_model NULL: without model files. Returns an exit status. */
int prepare_main(PrepareModelRead *read_model, int argc, char **argv);
#endif
