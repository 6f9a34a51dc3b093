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

/* Of the Backend. */
bool cuda_run(Program *, int entry, StepGroup group, int first, int end, Error *);
/* After Cuda.stream is done: times of the last run, when it was timed. */
bool cuda_read_times(Program *, int entry, Error *);
/* Before the first step of a timed run. */
bool cuda_start_clock(Program *, Error *);
/* Sets the rates of Program.device. */
bool cuda_measure(Program *, Error *);
#endif
