/* Memory, streams and kernels of the driver without a device. See fake.h. */
#include "tests/cuda_driver/fake.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

/* Device address: a tag no pointer of this machine has, the allocation's number, an offset. */
static const uint64_t TAG = (uint64_t)0xd << 60;
enum { OFFSET_BITS = 40, MOST = 256, ALIGNMENT = 256 };

typedef struct Memory {
  unsigned char *at; /* NULL: free again */
  size_t bytes;
} Memory;

static Memory allocated[MOST], locked[MOST];
static int n_allocated, n_locked, failure;
static size_t in_use;

static size_t capacity(void) {
  const char *text = getenv("FAKE_CUDA_MEMORY");
  return text ? strtoull(text, NULL, 10) : (size_t)1 << 30;
}

void device_memory(size_t *left, size_t *all) {
  *all = capacity();
  *left = *all - in_use;
}

int device_allocate(uint64_t *address, size_t bytes) {
  if (bytes == 0 || n_allocated == MOST)
    return INVALID_VALUE;
  if (bytes > capacity() - in_use)
    return OUT_OF_MEMORY;
  size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  Memory memory = {aligned_alloc(ALIGNMENT, rounded), bytes};
  if (!memory.at)
    return OUT_OF_MEMORY;
  memset(memory.at, 0xff, rounded);
  in_use += bytes;
  *address = TAG | (uint64_t)n_allocated << OFFSET_BITS;
  allocated[n_allocated++] = memory;
  return DONE;
}

int device_release(uint64_t address) {
  uint64_t number = (address - TAG) >> OFFSET_BITS;
  if (address < TAG || number >= (uint64_t)n_allocated || !allocated[number].at)
    return INVALID_VALUE;
  in_use -= allocated[number].bytes;
  free(allocated[number].at);
  allocated[number] = (Memory){0};
  return DONE;
}

/* Where the bytes are on this machine; NULL: they are not all in one allocation. */
static unsigned char *reach(uint64_t address, size_t bytes) {
  uint64_t number = (address - TAG) >> OFFSET_BITS;
  uint64_t offset = address & (((uint64_t)1 << OFFSET_BITS) - 1);
  if (address < TAG || number >= (uint64_t)n_allocated || !allocated[number].at ||
      offset + bytes > allocated[number].bytes)
    return NULL;
  return allocated[number].at + offset;
}

int host_allocate(void **at, size_t bytes) {
  if (n_locked == MOST || !bytes)
    return INVALID_VALUE;
  *at = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  if (!*at)
    return OUT_OF_MEMORY;
  memset(*at, 0xff, bytes); /* NaN: nobody has written there */
  locked[n_locked++] = (Memory){*at, bytes};
  return DONE;
}

int host_release(void *at) {
  for (int i = 0; i < n_locked; i++)
    if (locked[i].at == at) {
      free(at);
      locked[i] = (Memory){0};
      return DONE;
    }
  return INVALID_VALUE;
}

bool host_is_locked(const void *at, size_t bytes) {
  for (int i = 0; i < n_locked; i++)
    if (locked[i].at && (const unsigned char *)at >= locked[i].at &&
        (const unsigned char *)at + bytes <= locked[i].at + locked[i].bytes)
      return true;
  return false;
}

int left_behind(void) {
  int left = 0;
  for (int i = 0; i < n_allocated; i++)
    left += allocated[i].at != NULL;
  for (int i = 0; i < n_locked; i++)
    left += locked[i].at != NULL;
  return left;
}

/* ---- streams ---- */

static double milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

static void op_free(Op *op) {
  free(op->kept);
  free(op->arguments);
}

void list_free(OpList *list) {
  for (int i = 0; i < list->count; i++)
    op_free(&list->at[i]);
  free(list->at);
  *list = (OpList){0};
}

int stream_add(Stream *stream, Op op) {
  OpList *list = stream->capture ? &stream->capture->ops : &stream->ops;
  if (list->count == list->room) {
    list->room = list->room ? 2 * list->room : 64;
    list->at = mem_resize(list->at, sizeof *list->at * (size_t)list->room);
  }
  list->at[list->count++] = op;
  return failure;
}

static int launch(const Op *op) {
  const Kernel *kernel = op->kernel;
  void *arguments[512];
  const char *bad = getenv("FAKE_CUDA_FAIL");
  if (bad && *bad && strstr(kernel->shim->name, bad))
    return LAUNCH_FAILED;
  for (int i = 0; i < kernel->arguments; i++)
    if (!(arguments[i] = reach(op->arguments[i], 0)))
      return ILLEGAL_ADDRESS;
  kernel->edited->shared_bytes = op->shared;
  kernel->run(arguments, 0, op->grid);
  return DONE;
}

static int run(Op *op);

static int run_list(const OpList *list) {
  int result = DONE;
  for (int i = 0; i < list->count && !result; i++)
    result = run(&list->at[i]);
  return result;
}

static int run(Op *op) {
  unsigned char *to = op->kind == OP_OUT ? op->host : reach(op->to, op->bytes);
  unsigned char *from =
      op->kind == OP_IN ? (op->kept ? op->kept : op->host) : reach(op->from, op->bytes);
  switch (op->kind) {
  case OP_LAUNCH: return launch(op);
  case OP_REPLAY: return run_list(&op->graph->ops);
  case OP_RECORD:
    op->event->milliseconds = milliseconds();
    op->event->recorded = true;
    op->event->pending = false;
    return DONE;
  case OP_WAIT: return op->event->pending ? stream_drain(op->event->stream) : DONE;
  case OP_FILL:
    if (to)
      memset(to, op->value, op->bytes);
    return to ? DONE : ILLEGAL_ADDRESS;
  default:
    if (!to || !from)
      return ILLEGAL_ADDRESS;
    memcpy(to, from, op->bytes);
    return DONE;
  }
}

int stream_drain(Stream *stream) {
  OpList list = stream->ops;
  if (stream->capture)
    return CAPTURE_UNSUPPORTED;
  stream->ops = (OpList){0};
  int result = failure ? failure : run_list(&list);
  list_free(&list);
  failure = failure ? failure : result;
  return failure;
}

int device_failed(void) { return failure; }
