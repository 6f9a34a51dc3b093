/* A program: a plan bound to code and memory, ready to run.
 *
 * All addresses are taken when the program is opened (persistent tensors once; one arena large
 * enough for any entry point, since entries never run at the same time; prepared memory per entry).
 * Pages of the arena are taken, by the workers, when an entry point first runs; later calls
 * allocate nothing. Kernels run on one persistent pool of pinned workers; how blocks are spread
 * over workers never changes a result.
 */
#ifndef TRICOT_RUNTIME_PROGRAM_H
#define TRICOT_RUNTIME_PROGRAM_H
#include "runtime/plan.h"
#include "runtime/pool.h"
#include "runtime/safetensors.h"

/* Runs blocks begin..end-1 of a kernel's grid. */
typedef void ProgramKernel(void *const *arguments, int64_t begin, int64_t end);
typedef ProgramKernel *ProgramLookup(void *context, const char *kernel);

typedef struct Program Program;

/* plan stays owned by the caller and must outlive the program. threads <= 0: one per allowed CPU.
 * Fails when a kernel is not found or memory cannot be had (naming how much was asked for). */
bool program_open(Program **program, const Plan *plan, ProgramLookup *lookup, void *context,
                  int threads, Error *);
void program_close(Program *program);
const Plan *program_plan(const Program *program);
int program_threads(const Program *program);

int program_entry(const Program *program, const char *name); /* -1: none of that name */
/* Storage of an input (to fill before a run) or output (valid until the next run of any entry).
 * NULL when there is none of that name, or of an input that is not kept whole (PlanPort.gather):
 * program_write fills both kinds. type (of the whole) may be NULL. */
void *program_input(Program *, int entry, const char *name, Type *type);
const void *program_output(Program *, int entry, const char *name, Type *type);
/* Copies a whole tensor of the input's type into its storage. False when there is no such input. */
bool program_write(Program *, int entry, const char *name, const void *whole);
/* Storage of an input, whole or only the part that *port->gather says. */
void *program_part(Program *, int entry, const char *name, const PlanPort **port);
/* Persistent tensors: current values. Writing through the pointer needs program_touch afterwards.
 */
void *program_tensor(Program *, const char *name, Type *type);
void program_touch(Program *); /* persistent tensors changed: derived ones will be recomputed */

/* Initialises every persistent tensor from its initialiser; each tensor's numbers depend on the
 * seed and its name alone. */
void program_initialize(Program *, uint64_t seed);
/* The same for state alone, where parameters and buffers are loaded. */
void program_initialize_state(Program *, uint64_t seed);
/* Loads persistent tensors from a file. Every parameter and buffer must be there with its shape
 * (dtypes are converted), and state too when want_state; otherwise state stays as it is. Tensors
 * the model does not know are passed over. Nothing is changed on an error, which lists what is
 * missing or does not fit, with counts. */
bool program_load(Program *, const TensorFile *file, bool want_state, Error *);
/* Parameters and buffers, and state when asked, as borrowed tensors for tensor_file_write. Returns
 * how many there are, and fills the first `room`. */
int program_tensors(Program *, bool state, Tensor *out, int room);

/* Runs an entry point: prepare steps when needed, then its steps. Fails only when the machine
 * cannot have the entry's memory. */
bool program_run(Program *, int entry, Error *);
/* The same in two parts, for devices, which compute beside the host: program_finish waits for the
 * rest. In between nothing else may run. */
bool program_start(Program *, int entry, Error *);
bool program_finish(Program *, int entry, Error *);
/* Between both: may the inputs of the next run, one of `entry`, be written already? All of them,
 * for what they were is gone. program_send begins to copy them to the device, beside the steps;
 * after it single ones may be changed through program_input or program_write. Other entry points
 * may run before that run. On this processor they have to wait for program_finish: false. */
bool program_ahead(Program *, int entry);
bool program_send(Program *, int entry, Error *);

/* Whether the last run of the entry point ended at its guard (PlanEntry.guard) because an output
 * `loss` or `grad_norm` was not finite: no persistent tensor has been changed then. */
bool program_stopped(const Program *, int entry);
/* Where numbers stopped being finite. */
typedef struct ProgramTrouble {
  const char *what;  /* "input", "tensor" or "step" */
  const char *name;  /* of the input or persistent tensor; the ops of the step */
  const char *place; /* of the step's model file: "models/dcformer.yaml:31" or "" */
  int step;          /* number of the step */
  int64_t bad, elements;
} ProgramTrouble;
/* Runs the steps in front of the guard again (all, where there is none) on the present inputs,
 * looking at inputs, persistent tensors, then every result in turn; false when all are finite. */
bool program_find_trouble(Program *, int entry, ProgramTrouble *trouble);

/* The entry point will not run again: gives back the memory of its derived weights, and that of
 * persistent tensors (of a page at least) which no entry point that may still run uses. Their
 * values are gone. */
void program_retire(Program *, int entry);

/* Persistent tensors will not change any more, so no entry point that trains will run: the memory
 * of those that only prepare steps read (weights that are packed once) goes back while these run.
 * Their values are gone then. */
void program_freeze(Program *);

/* Timing of the last run per step in nanoseconds, when enabled; n_steps values. */
void program_profile(Program *, bool enable);
const int64_t *program_times(const Program *, int entry);
/* When each step began: monotonic nanoseconds. */
const int64_t *program_starts(const Program *, int entry);
/* The device a program runs on, for messages and to judge its times by; NULL: this processor. */
typedef struct ProgramDevice {
  const char *name;
  /* 0: not measured. Bytes a second read and written by copies in its memory; operations a second
   * of fused multiply-adds of f32, and of products of bf16 on matrix units. */
  double copied, fused, matrix;
  int64_t l2_bytes; /* 0: not known */
} ProgramDevice;
const ProgramDevice *program_device(const Program *);
/* Measures the rates, and keeps the better of both where they were measured before. Between runs
 * only; allocates for the time it takes. Without effect on this processor. */
bool program_measure_device(Program *, Error *);
/* A device copies an entry point's inputs for every run; with `hold`, not when it ran last and they
 * are the same. */
void program_hold_inputs(Program *, bool hold);
/* The workers, to measure the machine with the threads that run the kernels. Between runs only. */
Pool *program_pool(Program *);
#endif
