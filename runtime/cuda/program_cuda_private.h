/* What program_cuda.c (memory, code, copies) and program_cuda_run.c (steps) share. */
#ifndef TRICOT_RUNTIME_CUDA_PROGRAM_CUDA_PRIVATE_H
#define TRICOT_RUNTIME_CUDA_PROGRAM_CUDA_PRIVATE_H
#include "runtime/cuda/program_cuda.h"
#include "runtime/program_private.h"

typedef struct CudaStep {
  CudaFunction function;  /* NULL: a copy */
  CudaAddress *arguments; /* of a copy: source, destination */
  void **pointers;        /* to each argument, as a launch wants them */
} CudaStep;

typedef struct CudaSegment { /* of an entry point, without a place where the host looks */
  int first, end;
  CudaReplay replay; /* NULL: no steps */
  CudaReplay timed;  /* the same with an event around every step; NULL until it is wanted */
} CudaSegment;

typedef struct CudaEntry {
  CudaAddress prepared;
  CudaStep *groups[3];     /* by StepGroup */
  CudaSegment segments[2]; /* the second begins at the guard */
  int n_segments;
  size_t *input_at, *output_at; /* in the staging buffer */
  size_t inputs_end;            /* of them, inputs from the beginning */
  bool *sent;                   /* of each input: Cuda.inbox has it, for the next run */
  bool *fetched;                /* of each output: the staging buffer has it */
  int timed_to;                 /* steps of the last run that have events */
} CudaEntry;

typedef struct Cuda {
  const CudaDevice *device;
  const CudaDriver *driver;
  CudaModule module;
  CudaFunction *functions; /* by kernel of the plan */
  CudaStream stream;
  CudaAddress persistent, arena, prepared; /* 0: empty */
  unsigned char *staging;                  /* page-locked */
  /* Inputs given ahead: copied on a stream of their own to the inbox, laid out as the staging
   * buffer is, and from there to their places when their run begins. */
  CudaAddress inbox; /* 0: no entry point updates anything by inputs */
  int64_t inbox_bytes;
  CudaStream copies;
  CudaEvent sent, taken; /* the inbox is full; inputs of the last run are in their places */
  CudaEntry *entries;
  CudaStep *refresh;
  CudaEvent *events; /* made when a run is first timed */
  int n_events;
  int resident;          /* the entry point whose inputs are on the device; -1: of none */
  int64_t origin;        /* monotonic nanoseconds when event 0 was recorded */
  unsigned char *looked; /* for Backend.look */
} Cuda;

/* Addresses for the steps of a group. */
CudaStep *cuda_bind_steps(Program *, int entry, StepGroup group);
/* Splits an entry point at its guard and captures the segments. */
bool cuda_capture_entry(Program *, int entry, Error *);
void cuda_release_entry(Program *, int entry);
CudaAddress cuda_address(const Program *, int entry, PlanRef);

/* Of the Backend; program_cuda_copies.c has those that copy. */
bool cuda_begin(Program *, int entry, Error *);
bool cuda_end(Program *, int entry, bool updated, Error *);
void *cuda_port(const Program *, int entry, const PlanPort *);
bool cuda_ahead(Program *, int entry);
bool cuda_send(Program *, int entry, Error *);
bool cuda_fetch_port(Program *, int entry, const PlanPort *, Error *);
bool cuda_fetch_tensor(Program *, int tensor, Error *);
const void *cuda_look(Program *, int entry, PlanRef, int64_t bytes, Error *);
bool cuda_run(Program *, int entry, StepGroup group, int first, int end, Error *);
/* After Cuda.stream is done: times of the last run, when it was timed. */
bool cuda_read_times(Program *, int entry, Error *);
/* Before the first step of a timed run. */
bool cuda_start_clock(Program *, Error *);
/* Sets the rates of Program.device. */
bool cuda_measure(Program *, Error *);
#endif
