/* Executables and libraries: a model compiled for every target that was asked for, each by itself
 * (its facts choose other tiles), the results side by side in one output. */
#ifndef TRICOT_DRIVER_ARTEFACT_H
#define TRICOT_DRIVER_ARTEFACT_H
#include "codegen/executable.h"
#include "driver/compile.h"

/* request->target lists CPU levels and CUDA architectures, "cpu:x86-64-v3,cuda:sm_80,sm_90a".
 * "cpu" alone stands for the usual levels. Architectures bring PTX of the lowest of them along,
 * which later devices run, unless PTX was asked for by name (cuda:compute_80). Tells the model's
 * errors itself. weights: a file to put inside, or NULL. */
bool artefact_build(Arena *arena, const CompileRequest *request, ExecutableKind kind,
                    const char *weights, const char *output, Error *error);
#endif
