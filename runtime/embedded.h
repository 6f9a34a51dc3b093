/* Compiled models inside an executable or a library: choosing the best level this processor can
 * run, and opening a program on it.
 */
#ifndef TRICOT_RUNTIME_EMBEDDED_H
#define TRICOT_RUNTIME_EMBEDDED_H
#include "runtime/embedded_abi.h"
#include "runtime/program.h"

/* How demanding a level is, higher is better; 0: not a level executables are built for. */
int embedded_level_rank(const char *level);
/* Can this processor run code of the level? */
bool embedded_level_supported(const char *level);

/* The most demanding level that this processor supports, or the one called `wanted` (NULL: any).
 * NULL and an error that names what there is and what is needed. */
const EmbeddedLevel *embedded_choose(const Embedded *embedded, const char *wanted, Error *error);

typedef struct EmbeddedModel {
  Arena *arena; /* of the plan */
  Plan plan;
  Program *program;
} EmbeddedModel;

/* Reads the level's plan and opens a program on it. Close it after failures too. */
bool embedded_open(EmbeddedModel *model, const EmbeddedLevel *level, int threads, Error *error);
void embedded_close(EmbeddedModel *model);
#endif
