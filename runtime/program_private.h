/* What program.c, program_weights.c and the backends share.
 *
 * A Program decides what runs when: which steps, whether views and derived weights are stale,
 * whether a run goes on behind its guard. A Backend knows where memory lies and how steps run
 * there. Persistent tensors always have a place in the host's memory (Program.tensors); a backend
 * with memory of its own keeps track of which of them hold their current value (Program.current).
 */
#ifndef TRICOT_RUNTIME_PROGRAM_PRIVATE_H
#define TRICOT_RUNTIME_PROGRAM_PRIVATE_H
#include "runtime/pool.h"
#include "runtime/program.h"
#include "runtime/region.h"

typedef enum StepGroup {
  GROUP_REFRESH, /* the plan's; of no entry point */
  GROUP_PREPARE, /* of an entry point, as the next */
  GROUP_STEPS
} StepGroup;

/* Every function but `close` may be called only after `open` gave true. */
typedef struct Backend {
  /* Takes the code of the plan's kernels and all memory but the host's persistent tensors. After a
   * failure too, `close` follows. */
  bool (*open)(Program *, const void *options, Error *);
  void (*close)(Program *);
  /* In front of the steps of an entry point: its memory is there, and holds the inputs and
   * persistent tensors as the host has written them. */
  bool (*begin)(Program *, int entry, Error *);
  /* Steps first..end-1 of a group; sets times and starts of GROUP_STEPS with Program.profile. They
   * may still be running when it returns. */
  bool (*run)(Program *, int entry, StepGroup, int first, int end, Error *);
  /* After the steps, also after a failure of them: all have been done. updated: they may have
   * written persistent tensors. */
  bool (*end)(Program *, int entry, bool updated, Error *);
  /* The host's storage of an input or output. */
  void *(*port)(const Program *, int entry, const PlanPort *);
  /* That of an output holds its value; after its steps have been started. */
  bool (*fetch_port)(Program *, int entry, const PlanPort *, Error *);
  /* Program.tensors[tensor] holds its value. */
  bool (*fetch_tensor)(Program *, int tensor, Error *);
  /* Any bytes between begin and end, to read until the next call. */
  const void *(*look)(Program *, int entry, PlanRef, int64_t bytes, Error *);
  void (*retire)(Program *, int entry); /* see program_retire */
  /* Of devices that copy inputs beside the steps, else NULL; see program_ahead and program_send. */
  bool (*ahead)(Program *, int entry);
  bool (*send)(Program *, int entry, Error *);
  /* Of devices; NULL: this processor. */
  bool (*measure)(Program *, Error *);
} Backend;

extern const Backend backend_cpu; /* options: a CpuCode */

typedef struct CpuCode {
  ProgramLookup *lookup;
  void *context;
} CpuCode;

typedef struct BoundEntry {
  bool stale;              /* prepared memory does not fit the persistent tensors any more */
  bool retired;            /* must not run any more */
  bool stopped;            /* the last run ended at the guard */
  bool reads_views;        /* PLAN_VIEW tensors */
  int64_t *times, *starts; /* n_steps nanoseconds of the last run */
} BoundEntry;

struct Program {
  Arena *memory; /* of everything small below */
  const Plan *plan;
  Pool *pool;
  const Backend *backend;
  void *own;           /* the backend's */
  Region persistent;   /* of the host */
  void **tensors;      /* plan->n_tensors addresses in `persistent` */
  bool *current;       /* of each: the host has its value */
  bool touched;        /* the host has written persistent tensors that the backend has not seen */
  int64_t model_bytes; /* of `persistent`, up to the last parameter or buffer: what every entry
                          point may need. The optimizer's state comes when one that updates runs */
  BoundEntry *entries;
  bool views_stale; /* parameters were set from outside, or by an entry point that outdates views */
  int running;      /* 1 + the entry point between program_start and program_finish; 0: none */
  bool frozen;      /* persistent tensors do not change any more */
  bool profile;
  bool hold;            /* program_hold_inputs */
  ProgramDevice device; /* name NULL: none */
};

/* program_open for any backend. */
bool program_open_on(Program **program, const Plan *plan, const Backend *backend,
                     const void *options, int threads, Error *error);
/* The steps of a group and how many there are. */
const PlanStep *program_steps(const Program *, int entry, StepGroup, int *count);
/* "kernel … is not there". */
bool program_no_kernel(const Plan *, int kernel, Error *);
/* Bytes of the largest entry point's arena; of all persistent tensors as they lie in
 * Program.persistent. */
int64_t plan_arena_bytes(const Plan *);
int64_t plan_persistent_bytes(const Plan *);
/* Storage of persistent tensor number `tensor`, holding its value. */
void *program_hosted(Program *, int tensor);
#endif
