/* The functions of libcuda that the runtime uses, for a machine that does not exist. See fake.h. */
#include "tests/cuda_driver/fake.h"
#include <dlfcn.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- counting ---- */

enum { NAMES = 64 };
static struct {
  const char *name;
  int calls;
} counts[NAMES];

static void count(const char *name) {
  int i = 0;
  while (i < NAMES - 1 && counts[i].name && strcmp(counts[i].name, name) != 0)
    i++;
  counts[i].name = name;
  counts[i].calls++;
}
#define CALL() count(__func__)

static void __attribute__((destructor)) write_log(void) {
  const char *path = getenv("FAKE_CUDA_LOG");
  FILE *file = path ? fopen(path, "w") : NULL;
  if (!file)
    return;
  for (int i = 0; i < NAMES && counts[i].name; i++)
    fprintf(file, "%s %d\n", counts[i].name, counts[i].calls);
  fprintf(file, "left_behind %d\n", left_behind());
  fclose(file);
}

/* ---- devices ---- */

static bool started, current;

static int devices(void) {
  const char *text = getenv("FAKE_CUDA_DEVICES");
  return text ? atoi(text) : 1;
}

int cuInit(unsigned flags) {
  CALL();
  const char *text = getenv("FAKE_CUDA_DEVICES");
  if (text && strcmp(text, "stub") == 0)
    return STUB_LIBRARY;
  started = devices() > 0;
  return flags ? INVALID_VALUE : started ? DONE : NO_DEVICE;
}

static const struct {
  int result;
  const char *name, *words;
} errors[] = {{DONE, "CUDA_SUCCESS", "no error"},
              {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
              {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
              {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
              {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
              {INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
              {NO_BINARY, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available"},
              {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
              {NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
              {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access"},
              {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
              {CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
               "operation not permitted when stream is capturing"}};

static int describe(int result, const char **text, bool words) {
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
    if (errors[i].result == result) {
      *text = words ? errors[i].words : errors[i].name;
      return DONE;
    }
  return INVALID_VALUE;
}

int cuGetErrorName(int result, const char **text) { return describe(result, text, false); }
int cuGetErrorString(int result, const char **text) { return describe(result, text, true); }

int cuDriverGetVersion(int *version) {
  *version = 12040;
  return DONE;
}

int cuDeviceGetCount(int *number) {
  CALL();
  *number = devices();
  return started ? DONE : NOT_INITIALIZED;
}

int cuDeviceGet(int *device, int number) {
  CALL();
  *device = number + 40; /* a handle is no number */
  return number >= 0 && number < devices() ? DONE : INVALID_DEVICE;
}

int cuDeviceGetName(char *name, int room, int device) {
  CALL();
  snprintf(name, (size_t)room, "Fake %d", device - 40);
  return DONE;
}

static int capability(void) {
  const char *text = getenv("FAKE_CUDA_CAPABILITY");
  return text ? atoi(text) : 80;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
  CALL();
  *value = attribute == 75   ? capability() / 10
           : attribute == 76 ? capability() % 10
           : attribute == 16 ? 4
           : attribute == 38 ? 1 << 20
                             : 160 << 10;
  return device >= 40 ? DONE : INVALID_DEVICE;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
  CALL();
  size_t left;
  device_memory(&left, bytes);
  return device >= 40 ? DONE : INVALID_DEVICE;
}

int cuDevicePrimaryCtxRetain(void **context, int device) {
  CALL();
  *context = &current;
  return device >= 40 ? DONE : INVALID_DEVICE;
}

int cuDevicePrimaryCtxRelease_v2(int device) {
  CALL();
  return device >= 40 ? DONE : INVALID_DEVICE;
}

int cuCtxSetCurrent(void *context) {
  CALL();
  current = context != NULL;
  return DONE;
}

/* ---- modules ---- */

/* Does code that was made for `flags` run here? */
static bool runs_here(unsigned flags, bool ptx) {
  int made_for = (int)(flags & 0xff), here = capability();
  if (flags & FAKE_FEATURE)
    return made_for == here;
  return made_for <= here && (ptx || made_for / 10 == here / 10);
}

/* The shared object in an image, for whoever frees it, and its size. */
static int read_image(const char *data, char **object, size_t *size) {
  FakePtx ptx;
  Elf64_Ehdr elf;
  bool is_ptx = memcmp(data, FAKE_PTX_MAGIC, sizeof ptx.magic) == 0;
  if (!is_ptx && memcmp(data, ELFMAG, SELFMAG) != 0)
    return INVALID_IMAGE;
  if (is_ptx)
    memcpy(&ptx, data, sizeof ptx);
  memcpy(&elf, is_ptx ? data + sizeof ptx : data, sizeof elf);
  if (memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 || elf.e_machine != FAKE_MACHINE)
    return INVALID_IMAGE;
  if (!runs_here(elf.e_flags, is_ptx))
    return NO_BINARY;
  *size = is_ptx ? ptx.size : elf.e_shoff + (size_t)elf.e_shnum * elf.e_shentsize;
  *object = mem_alloc(*size);
  memcpy(*object, is_ptx ? data + sizeof ptx : data, *size);
  elf.e_machine = EM_X86_64;
#if defined(__aarch64__)
  elf.e_machine = EM_AARCH64;
#endif
  elf.e_flags = 0;
  memcpy(*object, &elf, sizeof elf);
  return DONE;
}

static void *load_object(const char *object, size_t size) {
  char path[64];
  int file = memfd_create("kernels", 0);
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  bool good = file >= 0 && write(file, object, size) == (ssize_t)size;
  void *handle = good ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
  close(file);
  return handle;
}

int cuModuleLoadDataEx(Module **result, const void *data, unsigned options, int *option,
                       void **value) {
  CALL();
  char *object;
  size_t size;
  (void)options, (void)option, (void)value;
  int read = current ? read_image(data, &object, &size) : NOT_INITIALIZED;
  if (read != DONE)
    return read;
  Module *module = mem_alloc(sizeof *module);
  module->n_kernels = 0;
  module->handle = load_object(object, size);
  free(object);
  TricotHost **host = module->handle ? dlsym(module->handle, "tricot_host") : NULL;
  if (!host) {
    free(module);
    return INVALID_IMAGE;
  }
  shim_init(&module->host);
  *host = &module->host.base;
  *result = module;
  return DONE;
}

int cuModuleUnload(Module *module) {
  CALL();
  if (module->host.failed)
    FAULT("%s", module->host.error.text);
  for (int i = 0; i < module->n_kernels; i++)
    free(module->kernels[i]);
  dlclose(module->handle);
  shim_close(&module->host);
  free(module);
  return DONE;
}

static void *find(const Module *module, const char *prefix, const char *name) {
  char symbol[512];
  snprintf(symbol, sizeof symbol, "%s%s", prefix, name);
  return dlsym(module->handle, symbol);
}

int cuModuleGetFunction(Kernel **result, Module *module, const char *name) {
  CALL();
  void *run = find(module, "fake_run_", name), *shim = find(module, "fake_kernel_", name);
  int *arguments = find(module, "fake_arguments_", name);
  if (!run || !shim || !arguments)
    return NOT_FOUND;
  if (module->n_kernels == (int)(sizeof module->kernels / sizeof *module->kernels))
    return OUT_OF_MEMORY;
  Kernel *kernel = module->kernels[module->n_kernels++] = mem_alloc(sizeof *kernel);
  *kernel =
      (Kernel){.shim = shim, .edited = shim, .arguments = *arguments, .most_shared = 48 << 10};
  memcpy(&kernel->run, &run, sizeof run);
  *result = kernel;
  return DONE;
}

int cuFuncSetAttribute(Kernel *kernel, int attribute, int value) {
  CALL();
  if (attribute != 8 || value > 160 << 10)
    return INVALID_VALUE;
  kernel->most_shared = value;
  return DONE;
}

int cuLaunchKernel(Kernel *kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                   unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                   Stream *stream, void **arguments, void **extra) {
  CALL();
  if (!grid_x || grid_y != 1 || grid_z != 1 || block_y != 1 || block_z != 1 || extra ||
      (int)block_x != kernel->shim->threads || (int)shared > kernel->most_shared)
    return INVALID_VALUE;
  Op op = {.kind = OP_LAUNCH, .kernel = kernel, .grid = grid_x, .shared = shared};
  op.arguments = mem_alloc(sizeof *op.arguments * (size_t)(kernel->arguments + 1));
  for (int i = 0; i < kernel->arguments; i++) /* values are taken when it is launched */
    memcpy(&op.arguments[i], arguments[i], sizeof op.arguments[i]);
  return stream_add(stream, op);
}

/* ---- memory ---- */

int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
  CALL();
  return current ? device_allocate(address, bytes) : NOT_INITIALIZED;
}

int cuMemFree_v2(uint64_t address) {
  CALL();
  return device_release(address);
}

int cuMemGetInfo_v2(size_t *left, size_t *all) {
  CALL();
  device_memory(left, all);
  return current ? DONE : NOT_INITIALIZED;
}

int cuMemHostAlloc(void **at, size_t bytes, unsigned flags) {
  CALL();
  return flags ? INVALID_VALUE : host_allocate(at, bytes);
}

int cuMemFreeHost(void *at) {
  CALL();
  return host_release(at);
}

int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, Stream *stream) {
  CALL();
  Op op = {.kind = OP_IN, .to = to, .host = (void *)from, .bytes = bytes};
  if (!host_is_locked(from, bytes)) {
    op.kept = mem_alloc(bytes + 1);
    memcpy(op.kept, from, bytes);
  }
  return stream_add(stream, op);
}

int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, Stream *stream) {
  CALL();
  int result = stream_add(stream, (Op){.kind = OP_OUT, .host = to, .from = from, .bytes = bytes});
  return result || host_is_locked(to, bytes) ? result : stream_drain(stream);
}

int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, Stream *stream) {
  CALL();
  return stream_add(stream, (Op){.kind = OP_COPY, .to = to, .from = from, .bytes = bytes});
}

int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, Stream *stream) {
  CALL();
  return stream_add(stream, (Op){.kind = OP_FILL, .to = to, .value = value, .bytes = bytes});
}

/* ---- streams, events, graphs ---- */

int cuStreamCreate(Stream **stream, unsigned flags) {
  CALL();
  *stream = mem_alloc(sizeof **stream);
  **stream = (Stream){0};
  return flags > 1 ? INVALID_VALUE : DONE;
}

int cuStreamDestroy_v2(Stream *stream) {
  CALL();
  int result = stream_drain(stream);
  free(stream);
  return result;
}

int cuStreamSynchronize(Stream *stream) {
  CALL();
  return stream_drain(stream);
}

int cuStreamWaitEvent(Stream *stream, Event *event, unsigned flags) {
  CALL();
  return flags ? INVALID_VALUE : stream_add(stream, (Op){.kind = OP_WAIT, .event = event});
}

int cuStreamBeginCapture_v2(Stream *stream, int mode) {
  CALL();
  if (stream->capture || mode > 2)
    return INVALID_VALUE;
  stream->capture = mem_alloc(sizeof *stream->capture);
  *stream->capture = (Graph){0};
  return DONE;
}

int cuStreamEndCapture(Stream *stream, Graph **graph) {
  CALL();
  *graph = stream->capture;
  stream->capture = NULL;
  return *graph ? DONE : INVALID_VALUE;
}

int cuEventCreate(Event **event, unsigned flags) {
  CALL();
  *event = mem_alloc(sizeof **event);
  **event = (Event){0};
  return flags ? INVALID_VALUE : DONE;
}

int cuEventDestroy_v2(Event *event) {
  CALL();
  free(event);
  return DONE;
}

int cuEventRecordWithFlags(Event *event, Stream *stream, unsigned flags) {
  CALL();
  if (flags && !stream->capture) /* an external event belongs to a capture */
    return INVALID_VALUE;
  event->inside = stream->capture && !flags;
  event->pending = !stream->capture;
  event->stream = stream;
  return stream_add(stream, (Op){.kind = OP_RECORD, .event = event});
}

int cuEventSynchronize(Event *event) {
  CALL();
  return event->pending ? stream_drain(event->stream) : device_failed();
}

int cuEventElapsedTime(float *milliseconds, const Event *from, const Event *to) {
  CALL();
  if (!from->recorded || !to->recorded || from->inside || to->inside)
    return INVALID_HANDLE;
  *milliseconds = (float)(to->milliseconds - from->milliseconds);
  return DONE;
}

int cuGraphInstantiateWithFlags(Graph **replay, Graph *graph, unsigned long long flags) {
  CALL();
  *replay = mem_alloc(sizeof **replay);
  **replay = *graph;
  graph->ops = (OpList){0};
  return flags ? INVALID_VALUE : DONE;
}

int cuGraphDestroy(Graph *graph) {
  CALL();
  list_free(&graph->ops);
  free(graph);
  return DONE;
}

int cuGraphLaunch(Graph *replay, Stream *stream) {
  CALL();
  return stream_add(stream, (Op){.kind = OP_REPLAY, .graph = replay});
}

int cuGraphExecDestroy(Graph *replay) {
  CALL();
  list_free(&replay->ops);
  free(replay);
  return DONE;
}
