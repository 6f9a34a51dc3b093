/* The tricot command as a host of jobs: it compiles the model file a job names, for the target
 * asked for, and hands over an open program. */
#ifndef TRICOT_DRIVER_HOST_H
#define TRICOT_DRIVER_HOST_H
#include "driver/compile.h"
#include "runtime/job/job.h"

/* Options every verb that compiles a model shares: --variant, --set, --target, --skip, --dump, … */
extern const OptionRow compile_options[];
/* Fills a request's model, target and pass options from parsed options; texts live in `arena`. */
bool compile_request_from(Arena *arena, const Options *options, const char *model,
                          CompileRequest *request, Error *error);
/* Reads a run file (a YAML file with the key `run`): model, variant and sets as options, and every
 * other key as the option of that name, where the command line left it out. *model becomes the
 * model file's path. A file without `run` is a model file: nothing happens. */
bool run_file_complete(Options *options, const char **model, Error *error);
#endif
