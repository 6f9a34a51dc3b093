/* A CUDA driver without a device, for tests: what fake_driver.c (the functions that libcuda has)
 * and fake_device.c (memory, streams, kernels) share.
 *
 * Work is done as late as the real driver may do it: operations wait in their stream until somebody
 * waits for them, and page-locked memory is read and written only then; memory of the ordinary kind
 * is read at once. Device addresses are no host addresses, every access is checked against what is
 * allocated, and fresh memory is full of NaN, page-locked memory too. Images are what fake_nvrtc.c
 * makes: a shared object of the CUDA text over codegen/cuda_shim.h, whose kernels run with real
 * barriers. They say what they were made for as real ones do, and are refused on other devices.
 *
 * The environment says what the machine is like and what goes wrong:
 *   FAKE_CUDA_DEVICES=N     devices (1); 0: cuInit finds none; stub: cuInit is the stub's
 *   FAKE_CUDA_MEMORY=BYTES  of each device (1 GiB)
 *   FAKE_CUDA_CAPABILITY=N  ten times the compute capability (80)
 *   FAKE_CUDA_FAIL=KERNEL   a kernel whose name holds this fails when it runs
 *   FAKE_CUDA_LOG=FILE      calls by function, and what was left behind, written at the end
 */
#ifndef TRICOT_TESTS_FAKE_H
#define TRICOT_TESTS_FAKE_H
#include "codegen/shim_host.h"
#include <stddef.h>
#include <stdint.h>

enum {
  DONE = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  NOT_INITIALIZED = 3,
  STUB_LIBRARY = 34,
  NO_DEVICE = 100,
  INVALID_DEVICE = 101,
  INVALID_IMAGE = 200,
  NO_BINARY = 209,
  INVALID_HANDLE = 400,
  NOT_FOUND = 500,
  ILLEGAL_ADDRESS = 700,
  LAUNCH_FAILED = 719,
  CAPTURE_UNSUPPORTED = 900
};

/* A cubin is an ELF file of this machine (EM_CUDA); its flags are the capability, and FAKE_FEATURE
 * where it uses features of that architecture alone. */
enum { FAKE_MACHINE = 190, FAKE_FEATURE = 0x800 };

/* What PTX begins with; `size` bytes of a shared object follow. */
#define FAKE_PTX_MAGIC "fakeptx"
typedef struct FakePtx {
  char magic[8];
  uint32_t flags, unused; /* as of a cubin */
  uint64_t size;
} FakePtx;

typedef struct Kernel {
  const TricotShimKernel *shim;
  void (*run)(void *const *arguments, long long begin, long long end);
  TricotShimKernel *edited; /* the kernel's own description: a launch sets its shared memory */
  int arguments;
  int most_shared;
} Kernel;

typedef struct Module {
  void *handle;
  ShimHost host;
  struct Kernel *kernels[4096]; /* that were asked for */
  int n_kernels;
} Module;

typedef enum OpKind {
  OP_IN,
  OP_OUT,
  OP_COPY,
  OP_FILL,
  OP_LAUNCH,
  OP_RECORD,
  OP_WAIT,
  OP_REPLAY
} OpKind;

typedef struct Stream Stream;
typedef struct Graph Graph;

typedef struct Event {
  double milliseconds;            /* when it was recorded */
  bool recorded, pending, inside; /* inside: of a capture, and of no use to the host */
  Stream *stream;
} Event;

typedef struct Op {
  OpKind kind;
  uint64_t to, from; /* device addresses */
  void *host, *kept; /* kept: a copy of ordinary memory, to free */
  size_t bytes;
  unsigned char value;
  Kernel *kernel;
  unsigned grid, shared;
  uint64_t *arguments;
  Event *event;
  const Graph *graph;
} Op;

typedef struct OpList {
  Op *at;
  int count, room;
} OpList;

struct Graph {
  OpList ops;
};

struct Stream {
  OpList ops;
  Graph *capture; /* NULL: it is none */
};

/* ---- fake_device.c ---- */
int device_allocate(uint64_t *address, size_t bytes);
int device_release(uint64_t address);
void device_memory(size_t *left, size_t *all);
int host_allocate(void **at, size_t bytes);
int host_release(void *at);
bool host_is_locked(const void *at, size_t bytes);
/* Adds to the stream, or to the graph it captures. */
int stream_add(Stream *, Op);
/* Does all that waits in the stream. The first failure stays the answer to everything. */
int stream_drain(Stream *);
int device_failed(void); /* 0, or that failure */
void list_free(OpList *);
int left_behind(void); /* allocations */
#endif
